"""Readers: every published format, and every way in which a file can be malformed."""

import bz2
import gzip
import io
import pickle
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from publishers import (
    IDX_FILES,
    archive_of,
    check_dataset,
    cifar_bytes,
    cifar_members,
    idx_bytes,
    random_images,
    unpack,
)

from lecturelib.datasets import load
from lecturelib.datasets._files import read_cifar, read_idx, read_libsvm


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


def test_a_pickle_is_never_executed(tmp_path, publish):
    witness = tmp_path / "executed"
    payload = pickle.dumps(Payload(witness))
    pickle.loads(payload)
    assert witness.exists(), "the payload works"
    witness.unlink()
    packed = {
        "mnist": [(file, gzip.compress(payload)) for file in IDX_FILES["train"]],
        "usps": [("usps.bz2", bz2.compress(payload))],
        "cifar10": [
            (
                "cifar-10-binary.tar.gz",
                archive_of("cifar10", {f"data_batch_{i}.bin": payload for i in range(1, 6)}),
            )
        ],
        "cifar100": [("cifar-100-binary.tar.gz", archive_of("cifar100", {"train.bin": payload}))],
    }
    for name, files in packed.items():
        for root, content_of in (("packed", lambda c: c), ("bare", lambda c: payload)):
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            for file, content in files:
                (folder / file).write_bytes(content_of(content))
            with pytest.raises(ValueError, match="is not the published"):
                load(name, root=tmp_path / root)
            for file, content in files:  # even if it had the right hash
                publish(folder, name, file, content_of(content))
            with pytest.raises(ValueError, match=r"IDX magic|gzip|libsvm|multiple of|damaged"):
                load(name, root=tmp_path / root)
    unpack(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": payload})
    with pytest.raises(ValueError, match="multiple of 3073"):
        load("cifar10", "test", root=tmp_path)
    assert not witness.exists()


# --- malformed IDX files --------------------------------------------------------------------------


@examples(60)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)),
    packed=st.booleans(),
)
def test_read_idx_round_trip(array, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "array.gz" if packed else "array")
        path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
        result = read_idx(str(path))
    assert result.dtype == np.uint8
    assert result.shape == array.shape
    assert np.array_equal(result, array)


@examples(100)
@given(content=st.binary(max_size=64), packed=st.booleans())
def test_read_idx_raises_nothing_but_value_errors(content, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.gz" if packed else "noise")
        path.write_bytes(content)
        try:
            read_idx(path)
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "IDX magic"),
        (b"\0\0\x08", "IDX magic"),
        (b"\x80\x04\x95\x00more", "IDX magic"),
        (idx_bytes(np.zeros(3, np.uint8), kind=0x0D), r"element type 0x0d, expected 0x08"),
        (idx_bytes(np.zeros(3, np.uint8))[:-1], r"10 bytes, expected 11.*shape \(3,\)"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"\0", "12 bytes, expected 11"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:9], "9 bytes, expected"),
    ],
)
def test_malformed_idx(tmp_path, content, message):
    for file, packed in (("plain", content), ("packed.gz", gzip.compress(content))):
        path = tmp_path / file
        path.write_bytes(packed)
        with pytest.raises(ValueError, match=message) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "not gzip", "flipped"])
def test_damaged_gzip(tmp_path, damage):
    whole = gzip.compress(idx_bytes(random_images(20)))
    flipped = bytes([*whole[:-6], whole[-6] ^ 1, *whole[-5:]])
    content = {"cut": whole[:-9], "not gzip": b"<html>404</html>", "flipped": flipped}[damage]
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.gz: damaged gzip file"):
        read_idx(path)


def test_missing_file_stays_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent.gz")
    with pytest.raises(FileNotFoundError):
        read_libsvm(tmp_path / "absent.bz2", 3)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((4, 28, 28), [0, 1, 2], r"labels-idx1-ubyte\.gz: labels of shape \(3,\), expected \(4,\)"),
        ((1, 28, 28), [[0]], r"labels of shape \(1, 1\), expected \(1,\)"),
        ((2, 28, 28), [0, 10], r"labels-idx1-ubyte\.gz: label 10, expected .* 0 to 9"),
        ((2, 27, 28), [0, 1], r"images-idx3-ubyte\.gz: shape \(2, 27, 28\), expected \(N, 28, 28"),
        ((2,), [0, 1], r"shape \(2,\), expected \(N, 28, 28\)"),
        ((0, 28, 28), [], r"shape \(0, 28, 28\), expected .* N > 0"),
    ],
)
def test_inconsistent_mnist(tmp_path, publish, images, labels, message):
    arrays = np.zeros(images, np.uint8), np.array(labels, np.uint8)
    for file, array in zip(IDX_FILES["train"], arrays, strict=True):
        publish(tmp_path, "mnist", file, gzip.compress(idx_bytes(array)))
    with pytest.raises(ValueError, match=message):
        load("mnist", root=tmp_path)


# --- malformed libsvm files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "1 0:1",
        "1 -1:1",
        "1 4:1",
        "1 99999999999999999999999:1",
        "1 2:1 1:1",
        "1 1:1 1:1",
        "1 a:1",
        "1 1.5:1",
        "1 :1",
        "1 1",
        "1 1:",
        "1 1:x",
        "1 1:2:3",
        "one 1:1",
        "1,2 1:1",
    ],
)
def test_malformed_libsvm_line(tmp_path, line):
    path = tmp_path / "data.bz2"
    path.write_bytes(bz2.compress(f"1 1:0.5\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"data\.bz2: not libsvm text.*indices from 1 to 3"):
        read_libsvm(path, 3)


@pytest.mark.parametrize("line", ["1 1:nan", "1 1:inf", "1 2:-1e999", "nan 1:1"])
def test_libsvm_values_must_be_finite(tmp_path, line):
    path = tmp_path / "data"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match="infinite or NaN, expected finite"):
        read_libsvm(path, 3)


def test_empty_and_damaged_libsvm(tmp_path):
    path = tmp_path / "data.bz2"
    whole = bz2.compress(b"1 1:0.5\n" * 50)
    for content in (whole[:-5], b"1 1:0.5\n", whole[:8] + b"\xff\xff" + whole[10:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data\.bz2: not libsvm text"):
            read_libsvm(path, 3)
    for content in (b"", b"\n\n"):
        path.write_bytes(bz2.compress(content))
        with pytest.raises(ValueError, match="no lines"):
            read_libsvm(path, 3)


@pytest.mark.parametrize("label", [0, 11, -1, 1.5])
def test_usps_label_out_of_range(tmp_path, publish, label):
    publish(tmp_path, "usps", "usps.bz2", bz2.compress(f"1 1:0\n{label} 1:1\n".encode()))
    with pytest.raises(ValueError, match=rf"usps\.bz2: label {label}, expected .* 1 to 10"):
        load("usps", root=tmp_path)


# --- malformed CIFAR files ------------------------------------------------------------------------


def test_read_cifar_layout():
    images, labels = random_images(4, 3, 32, 32), np.array([3, 0, 9, 3])
    pixels, found = read_cifar(cifar_bytes(images, labels))
    assert np.array_equal(pixels, images)
    assert found.tolist() == labels.tolist()
    # Published layout: 1024 red bytes, row by row, then green, then blue.
    record = bytes([1]) + bytes([10] * 1024 + [20] * 1024 + [30] * 1024)
    pixels, _ = read_cifar(record)
    assert pixels[0].reshape(3, -1).T.tolist() == [[10, 20, 30]] * 1024


@pytest.mark.parametrize(
    ("data", "num_classes", "message"),
    [
        (b"", (10,), "batch: 0 bytes, expected a positive multiple of 3073"),
        (bytes(3072), (10,), "batch: 3072 bytes, expected a positive multiple of 3073"),
        (bytes(3073), (20, 100), "batch: 3073 bytes, expected a positive multiple of 3074"),
        (bytes([10]) + bytes(3072), (10,), "batch: label 10, expected .* 0 to 9"),
        (bytes([20, 0]) + bytes(3072), (20, 100), "batch: label 20, expected .* 0 to 19"),
        (bytes([0, 100]) + bytes(3072), (20, 100), "batch: label 100, expected .* 0 to 99"),
    ],
)
def test_malformed_cifar(data, num_classes, message):
    with pytest.raises(ValueError, match=message):
        read_cifar(data, num_classes, source="batch")


def test_malformed_cifar_is_named_in_archive_and_folder(tmp_path, publish):
    contents, _, _ = cifar_members("cifar10")
    contents["data_batch_4.bin"] = contents["data_batch_4.bin"][:-1]
    publish(tmp_path / "a", "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz/data_batch_4\.bin: 9218 bytes"):
        load("cifar10", root=tmp_path / "a")
    unpack(tmp_path / "b/cifar-10-batches-bin", contents)
    with pytest.raises(ValueError, match=r"cifar-10-batches-bin/data_batch_4\.bin: 9218 bytes"):
        load("cifar10", root=tmp_path / "b")


def test_incomplete_cifar(tmp_path, publish):
    contents, expected, classes = cifar_members("cifar10")
    del contents["data_batch_3.bin"]
    publish(tmp_path / "a", "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    unpack(tmp_path / "b/cifar-10-batches-bin", contents)
    for root in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(ValueError, match=r"cifar-10-.* lacks data_batch_3\.bin"):
            load("cifar10", root=root)
        check_dataset(load("cifar10", "test", root=root), *expected["test"], classes)


def test_cifar_member_that_is_no_plain_file_counts_as_missing(tmp_path, publish):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    publish(tmp_path, "cifar10", "cifar-10-binary.tar.gz", buffer.getvalue())
    with pytest.raises(ValueError, match=r"lacks test_batch\.bin"):
        load("cifar10", "test", root=tmp_path)


def test_wrong_number_of_class_names(tmp_path):
    contents, _, _ = cifar_members("cifar100")
    contents["fine_label_names.txt"] = b"apple\nbear\n"
    unpack(tmp_path / "cifar-100-binary", contents)
    with pytest.raises(ValueError, match=r"fine_label_names\.txt: 2 class names, expected 100"):
        load("cifar100", root=tmp_path)


@pytest.mark.parametrize("part", [0, 0.3, 0.9, 0.9999])
def test_truncated_archive(tmp_path, publish, part):
    contents, _, _ = cifar_members("cifar100")
    whole = archive_of("cifar100", contents)
    cut = whole[: int(part * len(whole))]
    publish(tmp_path, "cifar100", "cifar-100-binary.tar.gz", cut)
    with pytest.raises(ValueError, match=r"cifar-100-binary\.tar\.gz: damaged tar\.gz archive"):
        load("cifar100", root=tmp_path)


def test_damaged_archive(tmp_path, publish):
    contents, _, _ = cifar_members("cifar100")
    whole = archive_of("cifar100", contents)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(64) + whole[middle + 64 :]
    for content in (b"<html>404</html>", gzip.compress(b"no tar" * 200), flipped):
        publish(tmp_path, "cifar100", "cifar-100-binary.tar.gz", content)
        with pytest.raises(ValueError, match=r"cifar-100-binary\.tar\.gz: damaged"):
            load("cifar100", root=tmp_path)
