"""What crosses the wire, and what is read of files: nothing but what is meant to."""

import hashlib
import io
import json
import math
import socket
import threading
import zipfile

import numpy as np
import pytest
import torch

from lecturelib.coursework.grading import submissions, wire
from lecturelib.coursework.grading.scoring import remove
from lecturelib.coursework.grading.wire import LENGTHS, Malformed


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def there(ends, value):
    """What arrives of a value."""
    one, other = ends
    thread = threading.Thread(target=wire.send, args=(one, {"id": "7"}), kwargs={"value": value})
    thread.start()
    message, found = wire.receive(other, 5)
    thread.join()
    assert message == {"id": "7"}
    return found["value"]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -3, 10**30, 2.5, math.inf, "ü \0", 1 + 2j, ..., [], (), {}),
        [1, (2.0, "x"), {"a": [None], 3: True, (1, 2): "pair"}],
    ],
)
def test_plain_values_arrive_as_they_are(ends, value):
    found = there(ends, value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_arrays_and_tensors_arrive_as_they_are(ends, kind, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(kind)
    found = there(ends, [array, torch.from_numpy(array), array.astype(array.dtype.newbyteorder())])
    for one, wanted in zip(found[:2], (np.ndarray, torch.Tensor), strict=True):
        assert isinstance(one, wanted)
        assert tuple(one.shape) == shape
        np.testing.assert_array_equal(np.asarray(one), array)
        assert np.asarray(one).dtype == array.dtype
    np.testing.assert_array_equal(found[2], array)


def test_views_and_what_numpy_lacks_arrive_as_numbers(ends):
    matrix = torch.arange(6.0).reshape(2, 3)
    found = there(
        ends,
        {
            "turned": matrix.T,
            "short": matrix.bfloat16(),
            "learned": matrix.clone().requires_grad_(),
            "sparse": matrix.to_sparse(),
            "mirrored": torch.tensor([1 + 2j]).conj(),
            "scalar": np.float32(0.5),
        },
    )
    torch.testing.assert_close(found["turned"], matrix.T)
    for name in ("short", "learned", "sparse"):
        torch.testing.assert_close(found[name], matrix)
    assert found["mirrored"].item() == 1 - 2j
    assert type(found["scalar"]) is np.float32


@pytest.mark.parametrize(
    "value",
    [object(), np.array([object()]), np.array(["x"]), np.zeros(2, "M8[s]"), {1, 2}, b"x", print],
)
def test_other_values_are_not_sent(ends, value):
    with pytest.raises(Malformed):
        wire.send(ends[0], {}, value=value)


def test_a_value_that_holds_itself_is_not_sent(ends):
    value = []
    value.append(value)
    with pytest.raises(Malformed, match="holds itself"):
        wire.send(ends[0], {}, value=value)


def frame(header, body=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return LENGTHS.pack(len(data), len(body)) + data + body


def with_array(kind, shape, body=b""):
    return frame({"values": {"value": {"array": 0}}, "arrays": [[kind, shape]]}, body)


def with_value(tree):
    return frame({"values": {"value": tree}, "arrays": []})


@pytest.mark.parametrize(
    "data",
    [
        LENGTHS.pack(2**32 - 1, 0),
        LENGTHS.pack(2, 2**60) + b"{}",
        frame(b"{}"),
        frame(b"\xff\xfe"),
        frame(b"[]"),
        frame(b'{"values": {}, "arrays": 3}'),
        frame(b"[" * 500_000),
        frame(b'{"values": {"value": ' + b"[" * 100_000 + b"]" * 100_000 + b'}, "arrays": []}'),
        frame(b"9" * 5000),
        with_array("|O", [1], bytes(8)),
        with_array("<f8", [2], bytes(8)),
        with_array("<f8", [1], bytes(16)),
        with_array("<f8", [-1], b""),
        with_array("<f8", [2**40, 2**40], b""),
        with_array("<f8", [0, 2**62], b""),
        with_array("<f8", [True], bytes(8)),
        with_array("<f8", "8", bytes(8)),
        with_array("<f8", [1] * 40, bytes(8)),
        with_value([1]),
        with_value({"list": 1}),
        with_value({"array": 0}),
        with_value({"array": -1}),
        with_value({"array": 0.0}),
        with_value({"dict": [[1]]}),
        with_value({"dict": [[{"list": []}, 1]]}),
        with_value({"complex": ["1", 2]}),
        with_value({"pickle": []}),
        with_value({"list": [], "tuple": []}),
    ],
)
def test_what_no_sender_wrote_is_refused(ends, data):
    one, other = ends
    thread = threading.Thread(target=one.sendall, args=(data,), daemon=True)
    thread.start()
    with pytest.raises(Malformed):
        wire.receive(other, 5)
    other.close()
    thread.join(5)


def test_a_frame_that_trickles_in_is_not_awaited_for_ever(ends):
    one, other = ends
    stop = threading.Event()

    def trickle():
        for byte in frame({"values": {}, "arrays": []}, b""):
            if stop.wait(0.05):
                return
            one.sendall(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(TimeoutError):
        wire.receive(other, 0.3)
    stop.set()
    thread.join()


def test_an_end_that_is_gone_is_told(ends):
    ends[0].close()
    with pytest.raises(EOFError):
        wire.receive(ends[1], 5)


BEGIN = "from lecturelib import coursework\nmine = coursework.begin("


def book(*sources):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def packed(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def read(tmp_path):
    def one(content, name="x.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return submissions.read(path, tmp_path, "hw1")

    return one


@pytest.mark.parametrize(
    "call",
    [
        '"hw1", student="Ada@Example.org ")',
        '"hw1", "ada@example.org")',
        'assignment="hw1", student="ada@example.org")',
    ],
)
def test_the_notebook_says_whose_it_is(read, call):
    found = read(book("%pip install x\n!ls", "broken (", BEGIN + call))
    assert (found.student, found.sure, found.notes) == ("ada@example.org", True, [])


def test_begin_of_another_assignment_says_nothing(read):
    found = read(book(BEGIN + '"hw2", "ada@example.org")'))
    assert (found.student, found.sure) == ("x", False)


@pytest.mark.parametrize(
    ("name", "student", "number"),
    [
        ("lovelaceada_12345_67890_hw1.ipynb", "lovelaceada", "12345"),
        ("lovelaceada_LATE_12345_67890_hw1-1.ipynb", "lovelaceada", "12345"),
        ("Ada Lovelace_12345_assignsubmission_file_/hw1.ipynb", "ada lovelace", "12345"),
        ("ada@example.org/hw1.ipynb", "ada@example.org", ""),
        ("Homework of Ada.ipynb", "homework of ada", ""),
    ],
)
def test_names_of_files_say_whose_they_are(read, name, student, number):
    found = read(book("x = 1"), name)
    assert (found.student, found.number) == (student, number)


def test_a_zip_is_read_in_memory_and_its_receipt_compared(read, tmp_path):
    notebook = book(BEGIN + '"hw1", "ada@example.org")')
    receipt = {"student": "ada@example.org", "sha256": hashlib.sha256(notebook).hexdigest()}
    whole = {"hw1.ipynb": notebook, "receipt.json": json.dumps(receipt)}
    found = read(packed(**whole), "hw1-ada.zip")
    assert (found.student, found.notes, len(found.cells)) == ("ada@example.org", [], 1)
    receipt["sha256"] = "0"
    assert "changed after" in read(packed(**whole | {"receipt.json": json.dumps(receipt)})).notes[0]
    receipt = json.dumps({"student": "bob@example.org"})
    assert "receipt says" in read(packed(**whole | {"receipt.json": receipt})).notes[0]
    for odd in (b"[" * 100_000, b"\xff", b"[]", b'{"student": [1]}'):
        assert read(packed(**whole | {"receipt.json": odd})).student == "ada@example.org"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hw1-ada.zip", "x.ipynb"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"{}", "no cells"),
        (b'{"cells": 3}', "no cells"),
        (b'{"cells": [3, {"cell_type": "code", "source": 3}]}', ""),
        (b'{"cells": []}', "no code"),
        (packed(**{"a.ipynb": b"{}", "b.ipynb": b"{}"}), "holds 2"),
        (packed(**{"../a.ipynb": book("x")}), "outside"),
        (packed(**{"/a.ipynb": book("x")}), "outside"),
        (packed(**{"a.ipynb": book("x")})[:-30], "JSON"),
        (packed(**{"a.ipynb": bytes(submissions.MOST + 1)}), "larger"),
    ],
)
def test_what_is_no_notebook_gets_a_note(read, content, message):
    found = read(content)
    assert message in " ".join(found.notes)
    assert [source for source in found.cells if source] == []


def test_old_notebooks_are_read(read):
    sheet = {"cells": [{"cell_type": "code", "input": ["x = 1\n", "y = 2"]}]}
    found = read(json.dumps({"worksheets": [sheet], "nbformat": 3}).encode())
    assert found.cells == ["x = 1\ny = 2"]


def test_one_path_is_found_for_each_student(tmp_path):
    for name in ("a.ipynb", "b/x.ipynb", "b/.ipynb_checkpoints/x.ipynb", "c/notes.txt", ".hidden"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in submissions.find(tmp_path)]
    assert found == ["a.ipynb", "b/x.ipynb", "c"]
    with pytest.raises(FileNotFoundError, match="no folder"):
        submissions.find(tmp_path / "none")


def test_removing_a_folder_follows_no_link(tmp_path):
    kept, work = tmp_path / "kept", tmp_path / "work"
    for folder in (kept, work / "a" / "b"):
        folder.mkdir(parents=True)
    (kept / "file").touch()
    (work / "a" / "link").symlink_to(kept)
    (work / "a" / "b").chmod(0)
    remove(work)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").exists()
