"""The grader: right answers earn points, nothing else does, and nobody suffers from anybody."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from helpers import ROOT

from lecturelib.coursework import __main__ as command_line
from lecturelib.coursework import grading, variant
from lecturelib.coursework.grading import Limits, grade, grade_one, sandbox, scoring
from lecturelib.coursework.grading.session import NoWorker, Session, Worker
from lecturelib.coursework.questions import Assignment, Question, Test, expect_close

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are those of Linux")
ISOLATED = sandbox.missing() == []
LIMITS = Limits(cell=1.0, call=1.0, total=8.0)
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # other processes can't import tests


def right_spread(features, labels):
    total = 0.0
    for label in np.unique(labels):
        own = features[labels == label]
        total += ((own - own.mean(0)) ** 2).sum()
    return total / len(features)


def sample(seed):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((9, 3)), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])


def spread_test(seed, kind=np.asarray):
    def run(answer, mine):
        features, labels = sample(seed)
        found = answer(kind(features), kind(labels))
        expect_close(found, right_spread(features, labels), "the spread is not right")

    return run


def constant(mine):
    return mine.stream("constant").uniform(1, 2)


def constant_test(answer, mine):
    expect_close(answer, constant(mine) ** 2, "the square is not right")


SMALL = Assignment(
    "tiny",
    "A tiny assignment",
    5,
    (
        Question("tiny-q1", "Spread", "spread", "function", (Test("a case", spread_test(0)),), 1.0),
        Question("tiny-q2", "Square", "square", "value", ()),
        Question("tiny-q3", "Ones", "ones", "value", ()),
    ),
)


def ones_test(answer, mine):
    expect_close(answer, np.ones(3), "they are not ones")


HIDDEN = {
    "tiny-q1": (
        Test("another case", spread_test(1), points=2),
        Test("tensors", spread_test(2, torch.as_tensor), points=1),
    ),
    "tiny-q2": (Test("your own constant", constant_test, points=2),),
    "tiny-q3": (Test("ones", ones_test, points=1),),
}
SPREAD = """
def spread(features, labels):
    import numpy as np
    features, labels = np.asarray(features), np.asarray(labels)
    means = np.stack([features[labels == k].mean(0) for k in labels])
    return ((features - means) ** 2).sum() / len(features)
"""
SQUARE = "square = mine.stream('constant').uniform(1, 2) ** 2"
ONES = "import torch\nones = torch.ones(3)"


def begin(student="ada@example.org"):
    return (
        f"from lecturelib import coursework\nmine = coursework.begin('tiny', student={student!r})"
    )


def notebook(*cells):
    book = [{"cell_type": "markdown", "source": "text"}]
    book += [{"cell_type": "code", "source": cell, "outputs": []} for cell in cells]
    return json.dumps({"cells": book, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})


def whole(student="ada@example.org"):
    return [begin(student), SPREAD, SQUARE, ONES]


@pytest.fixture
def graded(tmp_path):
    """Grade one notebook made of cells; `limits` may be others."""

    def run(*cells, limits=LIMITS, hidden=HIDDEN):
        path = tmp_path / "handed_in.ipynb"
        path.write_text(notebook(*cells))
        return grade_one(path, SMALL, hidden, limits=limits)

    return run


def points(result):
    return [question["points"] for question in result["questions"]]


def test_right_answers_earn_all_points(graded):
    result = graded(*whole())
    assert points(result) == [3, 2, 1]
    assert (result["score"], result["of"], result["by_a_person"]) == (6, 6, 1)
    assert result["cells"] == result["notes"] == []


def test_a_student_is_graded_with_numbers_of_their_own(graded):
    copied = f"square = {constant(variant('bob@example.org', 'tiny')) ** 2!r}"
    result = graded(begin(), SPREAD, copied, ONES)
    assert points(result) == [3, 0, 1]


def test_what_is_not_done_is_told_from_what_is_wrong(graded):
    result = graded(begin(), "def spread(features, labels):\n    ...", "square = ...", "ones = 2")
    assert [question["done"] for question in result["questions"]] == [False, False, True]
    assert result["score"] == 0
    assert result["cells"] == []


def test_a_student_may_be_named_by_a_variable(graded):
    result = graded(
        begin().replace("'ada@example.org'", "me").replace("\n", "\nme = 'Bob@x.org'\n")
    )
    assert (result["student"], result["notes"]) == ("bob@x.org", [])
    nobody = graded("x = 1")
    assert nobody["student"] == "handed_in"
    assert "whose it is" in nobody["notes"][0]


def test_magics_shell_lines_and_checks_do_not_matter(graded):
    extra = "%matplotlib inline\n!ls\ncoursework.check('tiny-q1', None)\ncoursework.submit()"
    timed = f"%%time\n{ONES}"
    assert graded(begin(), extra, SPREAD, SQUARE, timed)["score"] == 6


def test_a_crash_costs_only_what_it_breaks(graded):
    result = graded(begin(), "1 / 0", "def broken(:", SPREAD, ONES)
    assert points(result) == [3, 0, 1]
    assert [cell["cell"] for cell in result["cells"]] == [2, 3]
    assert "ZeroDivisionError" in result["cells"][0]["error"]
    assert "there is no square" in result["questions"][1]["tests"][0]["hint"]


def test_reordered_and_deleted_cells_get_a_clear_report(graded):
    result = graded(SQUARE, begin(), ONES)
    assert points(result) == [0, 0, 1]
    assert "NameError" in result["cells"][0]["error"]


ENDLESS = (
    "while True:\n    try:\n        while True:\n            len('')\n    except BaseException:\n"
)
ENDLESS += "        pass"
ATTACKS = {  # each must cost the student nothing but itself: what stands around it earns its points
    "endless loop": ("while True: pass", "stopped after 1 s"),
    "endless loop that catches everything": (ENDLESS, "took too long"),
    "sleep": ("import time\ntime.sleep(1000)", "stopped after 1 s"),
    "ends Python": ("import os\nos._exit(0)", "ended Python"),
    "sys.exit": ("import sys\nsys.exit()", "SystemExit"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crash"),
    "allocation": ("huge = bytearray(1 << 34)", "MemoryError"),
    "recursion": ("def f(): return f()\nf()", "RecursionError"),
    "fork": ("import os\nos.fork()", "PermissionError"),
    "subprocess": ("import subprocess\nsubprocess.run(['true'])", "PermissionError"),
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "PermissionError"),
    "signal to the grader": ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
    "memory of the grader": ("import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')", "Permission"),
    "environment": ("import os\nopen(f'/proc/{os.getppid()}/environ')", "PermissionError"),
    "files of the system": ("open('/etc/passwd')", "PermissionError"),
    "files of the repository": (f"open({str(ROOT / 'README.md')!r})", "PermissionError"),
    "lifting its limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))",
        "not allowed",
    ),
    "huge file": ("open('x', 'wb').write(bytes(100 << 20))", "File too large"),
}


@pytest.mark.skipif(not ISOLATED, reason="this system lacks Landlock or seccomp")
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_fails_and_costs_nothing_else(graded, tmp_path, attack):
    code, message = ATTACKS[attack]
    cells = whole()
    result = graded(*cells[:2], code, *cells[2:])
    assert points(result) == [3, 2, 1]
    (cell,) = result["cells"]
    assert cell["cell"] == 3
    assert message in cell["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["handed_in.ipynb"]


def test_too_many_files_end_the_run(graded):
    code = "import time\nfor i in range(2100): open(f'{i}', 'w').close()\ntime.sleep(20)"
    result = graded(*whole(), code, limits=Limits(cell=20, call=1, total=30))
    assert result["score"] == 6
    assert "wrote too much" in result["cells"][0]["error"]


@pytest.mark.skipif(not ISOLATED, reason="this system lacks Landlock or seccomp")
def test_nothing_outside_its_folder_changes(graded, tmp_path):
    mine = tmp_path / "grades.csv"
    mine.write_text("ada,1")
    os.utime(mine, (1, 1))
    mine.chmod(0o640)
    code = f"""
import os
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass
path = {str(mine)!r}
attempt(open, path, "w")
attempt(open, path)
attempt(os.unlink, path)
attempt(os.rename, path, path + "x")
attempt(os.chmod, path, 0o777)
attempt(os.chown, path, 1, 1)
attempt(os.utime, path)
attempt(os.truncate, path, 0)
attempt(os.symlink, path, {str(tmp_path / "link")!r})
attempt(os.link, path, "here")
attempt(os.mkdir, {str(tmp_path / "new")!r})
attempt(os.listdir, {str(tmp_path)!r})
"""
    before = mine.stat()
    assert graded(*whole(), code)["score"] == 6
    after = mine.stat()
    assert mine.read_text() == "ada,1"
    same = ("st_mode", "st_uid", "st_mtime", "st_nlink")
    assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grades.csv", "handed_in.ipynb"]


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_children_do_not_outlive_a_submission_even_if_calls_are_not_filtered(graded):
    code = """
import os, time
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork() == 0:
        with open("numbers", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
os.waitpid(child, 0)
while not (os.path.exists("numbers") and open("numbers").read()):
    time.sleep(0.01)
print("daemon", open("numbers").read())
"""
    limits = Limits(cell=3, call=1, total=8, without=("seccomp",))
    result = graded(*whole(), code, limits=limits)
    assert result["score"] == 6
    daemon = int(result["output"].split()[-1])
    assert not alive(daemon)


@pytest.mark.parametrize(
    "code",
    [
        "print('score: 6 of 6')",
        "from lecturelib.coursework import questions\n"
        "questions.expect_close = lambda *_, **__: None\nquestions.expect = lambda *_: None",
        "from lecturelib import coursework\ncoursework.check = lambda *_: True",
        "import numpy as np\nnp.allclose = np.array_equal = lambda *_: True\n"
        "import builtins\nbuiltins.abs = lambda _: 0",
        "import json\njson.dumps = lambda *_: '{}'",
        "open('results.json', 'w').write('{\"score\": 6}')",
    ],
)
def test_what_is_printed_patched_or_written_by_hand_earns_nothing(graded, code):
    result = graded(begin(), code, "square = 1.0", "ones = [2, 2, 2]")
    assert result["score"] == 0


EQUAL = """
class Equal(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __array__(self, *_, **__): raise KeyError
    __hash__ = float.__hash__
"""


@pytest.mark.parametrize(
    "answer",
    ["Equal(3.0)", "float('nan')", "10 ** 5000", "'1'", "object()", "print", "{}", "[[[]]]"],
)
def test_odd_answers_earn_nothing(graded, answer):
    body = f"def spread(features, labels):\n    return {answer}"
    result = graded(begin(), EQUAL, f"square = {answer}", f"ones = [{answer}] * 3", body)
    assert points(result) == [0, 0, 0]
    assert all(test["hint"] for question in result["questions"] for test in question["tests"])


def test_a_value_that_holds_itself_or_is_nested_too_deep_is_no_answer(graded):
    deep = "square = []\nfor _ in range(100_000): square = [square]\nones = []\nones.append(ones)"
    result = graded(begin(), SPREAD, deep)
    assert points(result) == [3, 0, 0]


def test_a_submission_can_answer_neither_before_nor_beyond_what_it_is_asked(graded):
    """It finds the socket, and sends what might be taken for replies and for the end of its run."""
    code = """
import socket, os
from lecturelib.coursework.grading import wire
for number in range(3, 64):
    try:
        mine = socket.socket(fileno=number)
    except OSError:
        continue
    wire.send(mine, {"ran": 1}, errors=[None] * 2, output="6 of 6")
    for index in range(5):
        wire.send(mine, {"id": index}, value=[1.0, 1.0, 1.0])
    mine.detach()
"""
    result = graded(begin(), code)
    assert points(result) == [0, 0, 0]


def test_garbage_on_the_wire_is_reported_and_the_rest_is_graded(graded):
    code = """
import os
for number in range(3, 64):
    try:
        os.write(number, b"\\xff" * 4096)
    except OSError:
        pass
"""
    result = graded(*whole(), code)
    assert points(result) == [3, 2, 1]
    assert "cannot be read" in result["notes"][0]


def test_a_function_that_hangs_or_crashes_costs_its_own_question(graded):
    for body in ("import os; os._exit(1)", "import ctypes; ctypes.string_at(0)"):
        result = graded(begin(), f"def spread(features, labels):\n    {body}", SQUARE, ONES)
        assert points(result) == [0, 2, 1]
        assert "could not be looked at" in result["questions"][0]["tests"][0]["hint"]
    slow = "def spread(features, labels):\n    while True: pass"
    result = graded(begin(), slow, SQUARE, ONES)
    assert points(result) == [0, 2, 1]
    assert "stopped after 1 s" in result["questions"][0]["tests"][0]["hint"]


def test_inputs_of_hidden_tests_are_not_seen_in_any_report(graded):
    code = """
def spread(features, labels):
    text = "leak " + str(float(features[0][0]))
    print(text)
    open("leak", "w").write(text)
    raise type(text, (Exception,), {})(text)
"""
    result = graded(begin(), code, SQUARE, ONES)
    (shown, *hidden) = result["questions"][0]["tests"]
    assert "leak" in shown["hint"]  # the public test's inputs are no secret
    told = json.dumps([hidden, result["output"], result["notes"]])
    assert "leak" not in told
    assert str(sample(1)[0][0, 0])[:8] not in told


def test_output_is_cut(graded):
    result = graded(*whole(), "while True: print('x' * 1000)")
    assert result["score"] == 6
    assert 10_000 <= len(result["output"]) <= 20_000
    assert result["cells"][0]["error"] == "stopped after 1 s"


def test_no_line_is_run_without_the_walls(graded):
    """Where one cannot be built, that is an error of the grader, not of a student."""
    with pytest.raises(NoWorker, match="walls"):
        graded(*whole(), limits=Limits(cell=1, call=1, total=8, disk=1 << 70))


def test_a_test_that_fails_itself_is_for_a_person(graded):
    def clumsy(answer, mine):
        raise KeyError("the teacher's mistake")

    hidden = {**HIDDEN, "tiny-q3": (Test("clumsy", clumsy, points=1),)}
    result = graded(*whole(), hidden=hidden)
    assert points(result) == [3, 2, 0]
    assert any("look at it yourself" in note for note in result["notes"])


def test_a_deep_folder_is_removed(tmp_path):
    inner = tmp_path / "work"
    inner.mkdir()
    code = "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')"
    subprocess.run([sys.executable, "-c", code], cwd=inner, check=True)
    grading.remove(inner)
    assert not inner.exists()


def test_a_warm_process_keeps_no_secret_and_ends_with_the_grader_and_what_it_runs(tmp_path):
    os.environ["COURSE_SECRET"] = "very"
    try:
        host = Worker()
    finally:
        del os.environ["COURSE_SECRET"]
    number = host.process.pid
    assert b"very" not in Path(f"/proc/{number}/environ").read_bytes()
    session = Session(host, ["x = 1"], tmp_path, LIMITS)
    session.run()
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    assert len(children) == 1
    assert alive(children[0])
    host.control.close()  # as the system does when the grader is killed
    host.process.wait(20)
    assert not alive(children[0])
    assert not Path(host.home).exists()
    assert session.host.usable is False


def test_where_nothing_forks_each_submission_has_a_process_of_its_own(tmp_path):
    host = Worker(forks=False)
    session = Session(host, ["x = 2", "while True: pass"], tmp_path, LIMITS)
    try:
        session.run()
        assert session.get("x") == 2
        assert session.errors == [None, "stopped after 1 s"]
    finally:
        session.close()
    assert not host.usable


def test_what_a_system_lacks_is_said_plainly(monkeypatch):
    assert "hidden tests included" in sandbox.missing(("landlock",))[0]
    assert "start processes" in sandbox.missing(("seccomp",))[-1]
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert "not isolated" in sandbox.missing()[0]


@pytest.fixture
def class_folder(tmp_path):
    """A class: names as of Canvas, of Moodle and free; right, wrong, broken, hostile."""
    folder = tmp_path / "submissions"
    folder.mkdir()

    def put(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    put("lovelaceada_101_9001_tiny.ipynb", notebook(*whole()))
    bob = whole("bob@example.org")
    put("Bob Builder_102_assignsubmission_file_/tiny (2).ipynb", notebook(*bob[:2], bob[3]))
    value = constant(variant("ada@example.org", "tiny")) ** 2
    eve = [begin("eve@example.org"), SPREAD, f"square = {value!r}"]
    put("eve.ipynb", notebook(*eve))
    put("broken.ipynb", "{ this is no notebook")
    put("list.ipynb", "[1, 2]")
    put("picture.ipynb", bytes(range(256)))
    put("hostile.ipynb", notebook(begin("mallory@example.org"), "import os\nos._exit(0)", ONES))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../../../outside.ipynb", notebook("x = 1"))
        archive.writestr("tiny.ipynb", notebook(*whole("zoe@example.org")))
        archive.writestr("receipt.json", json.dumps({"student": "zoe@example.org", "sha256": "0"}))
    put("tiny-zoe.zip", stream.getvalue())
    (folder / "empty").mkdir()
    (folder / "link.ipynb").symlink_to("/etc/passwd")
    return folder


def table(path):
    return list(csv.reader(io.StringIO(path.read_text())))


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_class_is_graded_stopped_resumed_and_graded_anew(class_folder, tmp_path, monkeypatch):
    before = tree(class_folder)
    out = tmp_path / "grades"
    results = grade(class_folder, SMALL, HIDDEN, out, limits=LIMITS, progress=False)
    scores = {result["file"].partition("/")[0]: result["score"] for result in results}
    assert scores == {
        "lovelaceada_101_9001_tiny.ipynb": 6,
        "Bob Builder_102_assignsubmission_file_": 4,
        "eve.ipynb": 3,
        "hostile.ipynb": 1,
        "tiny-zoe.zip": 6,
        **dict.fromkeys(["broken.ipynb", "list.ipynb", "picture.ipynb"], 0),
        **dict.fromkeys(["empty", "link.ipynb"], 0),
    }
    by_file = {result["file"]: result for result in results}
    assert all(by_file[name]["notes"] for name in ("broken.ipynb", "empty", "link.ipynb"))
    zoe = " ".join(by_file["tiny-zoe.zip"]["notes"])
    assert "outside its folder" in zoe
    assert "changed after its receipt" in zoe
    assert tree(class_folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"submissions", "grades"}
    assert list((out / "work").iterdir()) == []

    rows = table(out / "questions.csv")
    assert rows[0][4:8] == ["tiny-q1", "tiny-q2", "tiny-q3", "score"]
    assert len(rows) == 11
    # The same number as ada's, although the data differ.
    (pair,) = [row for row in table(out / "copies.csv")[1:] if row[2] == "tiny-q2"]
    assert set(pair[:2]) == {"eve.ipynb", "lovelaceada_101_9001_tiny.ipynb"}
    assert len(list((out / "students").iterdir())) == 10
    assert not (out / "changes.csv").exists()

    # Of a run that was killed some results are missing, or half written: only these are made.
    stored = sorted((out / "results").iterdir())
    lost = next(path for path in stored if path.name.startswith("eve"))
    half = next(path for path in stored if path.name.startswith("hostile"))
    lost.unlink()
    half.write_text(half.read_text()[:100])
    (out / "work" / "run-stale").mkdir()
    ran, original = [], grading.score
    monkeypatch.setattr(grading, "score", lambda s, *rest: ran.append(s.path) or original(s, *rest))
    again = grade(class_folder, SMALL, HIDDEN, out, limits=LIMITS, progress=False)
    assert sorted(ran) == ["eve.ipynb", "hostile.ipynb"]
    assert [result["score"] for result in again] == [result["score"] for result in results]
    assert list((out / "work").iterdir()) == []

    # A corrected test: whoever it concerns, and nobody else, has other points; that is said.
    generous = {**HIDDEN, "tiny-q2": (Test("any number", lambda answer, mine: None, points=2),)}
    grade(class_folder, SMALL, generous, out, limits=LIMITS, progress=False)
    (change,) = table(out / "changes.csv")[1:]
    assert change == ["eve@example.org", "eve.ipynb", "tiny-q2", "0", "2", "the tests changed"]


def test_two_processes_grade_as_one(class_folder, tmp_path):
    one = grade(class_folder, SMALL, HIDDEN, tmp_path / "1", limits=LIMITS, progress=False)
    two = grade(
        class_folder, SMALL, HIDDEN, tmp_path / "2", workers=2, limits=LIMITS, progress=False
    )
    assert [points(result) for result in one] == [points(result) for result in two]


def test_dask_grades_as_one_process_does(class_folder, tmp_path):
    distributed = pytest.importorskip("distributed")
    one = grade(class_folder, SMALL, HIDDEN, tmp_path / "1", limits=LIMITS, progress=False)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(processes=False, **options) as cluster:
        address = cluster.scheduler_address
        two = grade(
            class_folder, SMALL, HIDDEN, tmp_path / "2", dask=address, limits=LIMITS, progress=False
        )
    assert [points(result) for result in one] == [points(result) for result in two]


def test_results_are_not_written_among_submissions(class_folder):
    with pytest.raises(ValueError, match="among the submissions"):
        grade(class_folder, SMALL, HIDDEN, class_folder / "grades")


def test_hidden_tests_that_submissions_can_read_are_refused():
    place = ROOT / "lecturelib" / "coursework"
    readable = [Path(path) for path in sandbox.readable()]
    assert any(place.is_relative_to(path) for path in readable)
    with pytest.raises(FileNotFoundError, match="no hidden tests"):
        grade_one(__file__, SMALL, place)


def test_hidden_tests_of_no_question_and_questions_without_points_are_refused():
    with pytest.raises(ValueError, match="no such question"):
        grade_one(__file__, SMALL, {**HIDDEN, "tiny-q9": ()})
    with pytest.raises(ValueError, match="nobody gives points for tiny-q3"):
        grade_one(__file__, SMALL, {**HIDDEN, "tiny-q3": ()})


def test_a_changed_right_entry_is_graded_anew(tmp_path):
    """Though no function of the file itself is what a test runs."""
    marks = set()
    for right in ("1.0", "2.0"):
        (tmp_path / "hidden.py").write_text(
            "from lecturelib.coursework.questions import Test, same_entry\n"
            f"run = same_entry(lambda mine: {{'a': {right}}}, 'a', 'a differs')\n"
            "HIDDEN = {name: (Test('a', run, 1),) for name in ('tiny-q1', 'tiny-q2', 'tiny-q3')}\n"
        )
        marks.add(scoring.fingerprint(SMALL, scoring.load_hidden(tmp_path, SMALL), LIMITS))
    assert len(marks) == 2


def test_a_notebook_of_somebody_else_is_graded_with_ones_own_numbers(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(notebook(*whole("bob@example.org")))
    result = grade_one(path, SMALL, HIDDEN, student="ada@example.org", limits=LIMITS)
    assert points(result) == [3, 0, 1]
    assert "handed in by" in result["notes"][0]
    known = ["bob@example.org"]
    result = grade_one(path, SMALL, HIDDEN, student="ada@x.org", names=known, limits=LIMITS)
    assert result["score"] == 6


def test_gradescope_finds_results_where_it_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "named", lambda name: SMALL)
    monkeypatch.setattr(grading, "load_hidden", lambda folder, assignment: HIDDEN)
    (tmp_path / "submission").mkdir()
    arguments = ["gradescope", str(tmp_path), "--assignment", "tiny", "--hidden", str(tmp_path)]
    assert command_line.main(arguments) == 0
    found = json.loads((tmp_path / "results" / "results.json").read_text())
    assert found["score"] == 0
    assert "there are 0" in found["output"]
    (tmp_path / "submission" / "tiny.ipynb").write_text(notebook(*whole()))
    (tmp_path / "submission_metadata.json").write_text(
        json.dumps({"users": [{"email": "Ada@example.org", "name": "Ada"}]})
    )
    assert command_line.main(arguments) == 0
    found = json.loads((tmp_path / "results" / "results.json").read_text())
    assert found["score"] == sum(test["score"] for test in found["tests"]) == 6
    assert found["stdout_visibility"] == "hidden"
    seen = [test["visibility"] for test in found["tests"]]
    assert seen == ["visible", *["after_published"] * 4]


CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,A tiny assignment (42)
    Points Possible,,,,,
"Lovelace, Ada",101,u1,ada@example.org,A,
"Builder, Bob",102,u2,bob,A,
"""


def test_the_command_grades_a_folder_and_fails_politely(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grading, "named", lambda name: SMALL)
    monkeypatch.setattr(grading, "load_hidden", lambda folder, assignment: HIDDEN)
    arguments = ["grade", str(tmp_path / "in"), "--assignment", "tiny", "--hidden", str(tmp_path)]
    arguments += ["--out", str(tmp_path / "out"), "--cell-seconds", "1", "--memory", "512"]
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert "no folder" in capsys.readouterr().err
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text(notebook(*whole()))
    (tmp_path / "canvas.csv").write_text(CANVAS)
    assert command_line.main([*arguments, "--canvas", str(tmp_path / "canvas.csv")]) == 0
    assert "1 submissions graded" in capsys.readouterr().out
    filled = table(tmp_path / "out" / "canvas.csv")
    assert [row[-1] for row in filled] == ["A tiny assignment (42)", "7", "6", ""]
