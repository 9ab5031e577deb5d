"""What a student calls: nothing that a student answers stops the notebook, and nothing is lost."""

import hashlib
import json
import os
import subprocess
import sys
import types
import zipfile

import nbformat
import numpy as np
import pytest
import torch
from helpers import ROOT

from lecturelib import coursework
from lecturelib.coursework import Assignment, Question, Test, assignments, expect_close, notebook

ADA = "ada@example.org"


def twice(answer, mine):
    inputs = torch.tensor([1.0, 2.0])
    expect_close(answer(inputs), 2 * inputs, "each number must come out twice as large")


def not_all(answer, mine):
    expect_close(answer(torch.zeros(3)), torch.zeros(3), "nothing stays nothing", abs=1e-9)


def own_number(answer, mine):
    expect_close(answer, mine.stream("number").uniform(1, 2), "your own number is another one")


TINY = Assignment(
    "tiny",
    "Small <things>",
    5,
    (
        Question(
            "tiny-q1",
            "Doubling",
            "double",
            "function",
            (Test("two numbers", twice), Test("zeros", not_all)),
            points=2,
        ),
        Question("tiny-q2", "A number", "number", "value", (Test("your number", own_number),)),
        Question("tiny-q3", "Why?", "", "written", (), read_by_a_person=1),
    ),
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A session in a folder of its own, which knows one small assignment."""
    monkeypatch.setattr(assignments, "assignment", {"tiny": TINY}.__getitem__)
    monkeypatch.setattr(notebook, "_session", type(notebook._session)())
    monkeypatch.setattr(notebook, "_show", lambda html, text: print(text))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mine(capsys):
    begun = coursework.begin("tiny", ADA)
    capsys.readouterr()
    return begun


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().out


def write(name, *cells):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(made, name)


def test_begin_says_whose_version_it_is(said):
    assert coursework.begin("tiny", " Ada@example.org ") == coursework.variant(ADA, "tiny")
    assert said() == f"tiny: Small <things> (the version of {ADA})\n"
    coursework.begin("tiny", "your.name@example.org")
    assert "Put your own address" in said()


def test_a_right_answer_passes(mine, said):
    coursework.check("tiny-q1", lambda inputs: 2 * inputs)
    assert said() == "✓ tiny-q1: passed\n    ✓ two numbers\n    ✓ zeros\n"
    coursework.check("tiny-q2", torch.tensor(mine.stream("number").uniform(1, 2)))
    assert said() == "✓ tiny-q2: passed\n    ✓ your number\n"
    assert coursework.done("tiny-q1") and coursework.done("tiny-q2")


def test_a_wrong_answer_gets_a_hint_for_each_test(mine, said):
    coursework.check("tiny-q1", lambda inputs: inputs)
    assert said() == (
        "✗ tiny-q1: not right yet\n"
        "    ✗ two numbers: each number must come out twice as large\n"
        "    ✓ zeros\n"
    )
    assert not coursework.done("tiny-q1")


def test_what_passed_and_was_broken_is_no_longer_done(mine, said):
    coursework.check("tiny-q1", lambda inputs: 2 * inputs)
    coursework.check("tiny-q1", lambda inputs: inputs)
    assert not coursework.done("tiny-q1")


def nothing(inputs):
    """What a stub leaves."""


def endless(inputs):
    return endless(inputs)


def leave(inputs):
    sys.exit("bye")


def change_and_return(inputs):
    inputs *= 0
    return inputs


ROUND = []
ROUND.append(ROUND)


class Equal:
    def __eq__(self, other):
        return True

    __array_priority__ = 1e9
    __sub__ = __rsub__ = __mul__ = __rmul__ = __abs__ = lambda *_: 0.0


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (..., "○ tiny-q1: not done yet\n"),
        (None, "○ tiny-q1: not done yet\n"),
        (nothing, "○ tiny-q1: not done yet (the function returns nothing)\n"),
        (lambda inputs: ..., "○ tiny-q1: not done yet (the function returns nothing)\n"),
        (lambda inputs: (..., None), "○ tiny-q1: not done yet (the function returns nothing)\n"),
        (lambda inputs: 1 / 0, "it stopped with ZeroDivisionError: division by zero"),
        (endless, "it stopped with RecursionError"),
        (leave, "it stopped with SystemExit: bye"),
        (lambda: 0, "it stopped with TypeError"),
        (3.0, "must be a function, not float"),
        (lambda inputs: inputs * float("nan"), "infinite or not numbers"),
        (lambda inputs: inputs[:1], "must have the shape (2,)"),
        (lambda inputs: "abc", "must be made of numbers, not str"),
        (lambda inputs: Equal(), "✗ two numbers"),
        (change_and_return, "✗ two numbers: each number must come out twice as large"),
    ],
)
def test_no_function_stops_the_notebook(mine, said, answer, report):
    coursework.check("tiny-q1", answer)
    assert report in said()
    assert not coursework.done("tiny-q1")


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (..., "○ tiny-q2: not done yet\n"),
        ([..., ...], "○ tiny-q2: not done yet\n"),
        ({"a": None}, "○ tiny-q2: not done yet\n"),
        (nothing, "this is a function: call it"),
        (float("nan"), "infinite or not numbers"),
        (float("inf"), "infinite or not numbers"),
        ("1.5", "must be made of numbers, not str"),
        ([1.5], "must be one number, but has the shape (1,)"),
        (object(), "must be made of numbers, not object"),
        (Equal(), "✗ tiny-q2"),
        (ROUND, "must be made of numbers, not list"),
        (np.zeros(0), "must be one number"),
        (torch.tensor(1.0, requires_grad=True), "your own number is another one"),
    ],
)
def test_no_value_stops_the_notebook(mine, said, answer, report):
    coursework.check("tiny-q2", answer)
    assert report in said()
    assert not coursework.done("tiny-q2")


def test_the_number_of_somebody_else_does_not_pass(mine, said):
    other = coursework.variant("bob@example.org", "tiny").stream("number").uniform(1, 2)
    coursework.check("tiny-q2", other)
    assert "your own number is another one" in said()


def test_a_test_that_cannot_look_says_so(mine, said, monkeypatch):
    question = Question(
        "tiny-q1", "", "", "value", (Test("its first row", lambda answer, mine: answer[0][0]),)
    )
    monkeypatch.setattr(assignments, "question", lambda name: question)
    coursework.check("tiny-q1", 3)
    assert "not of the kind that was asked" in said()


@pytest.mark.parametrize("name", ["tiny-q9", "huge-q1", "", 3, None, ["tiny-q1"]])
def test_a_question_that_is_not_there_is_reported(mine, said, name, monkeypatch):
    monkeypatch.undo()  # the names of all assignments
    monkeypatch.setattr(notebook, "_show", lambda html, text: print(text))
    coursework.check(name, 3.0)
    assert said().startswith(f"✗ {name}: ")


def test_a_check_before_begin_says_what_to_do(said):
    coursework.check("tiny-q1", nothing)
    assert said() == "✗ tiny-q1: run the cell with coursework.begin('tiny', ...) first\n"


def test_a_written_question_is_left_to_a_person(mine, said):
    coursework.check("tiny-q3", "because")
    assert said() == "· tiny-q3: a person reads this answer: no test looks at it\n"


def test_another_student_begins_from_nothing(mine, said):
    coursework.check("tiny-q1", lambda inputs: 2 * inputs)
    coursework.begin("tiny", ADA)
    assert coursework.done("tiny-q1")
    coursework.begin("tiny", "bob@example.org")
    assert not coursework.done("tiny-q1")


def test_progress_names_each_question_once(mine, said):
    coursework.check("tiny-q1", lambda inputs: 2 * inputs)
    coursework.check("tiny-q2", ...)
    said()
    coursework.progress()
    lines = said().splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["✓", "tiny-q1"],
        ["○", "tiny-q2"],
        ["·", "tiny-q3"],
    ]
    assert "2 points" in lines[1] and "not done yet" in lines[2] and "1 point " in lines[3]
    assert lines[4].startswith("1 of 2 questions pass")


def test_progress_before_begin_says_what_to_do(said):
    coursework.progress()
    assert "coursework.begin" in said()


def test_notebooks_get_html_in_which_nothing_is_code(monkeypatch, mine):
    shown = []
    import IPython.display

    monkeypatch.undo()
    monkeypatch.setattr(assignments, "assignment", {"tiny": TINY}.__getitem__)
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    coursework.begin("tiny", "<script>alert(1)</script>")

    def fail(inputs):
        raise ValueError("<img src=x>")

    coursework.check("tiny-q1", fail)
    coursework.progress()
    assert all(set(data) == {"text/html", "text/plain"} for data in shown) and len(shown) == 3
    html = "".join(data["text/html"] for data in shown)
    assert "<script" not in html and "<img" not in html and "<things>" not in html
    assert "background" not in html  # colours that must be read on white and on black
    assert "<img src=x>" in shown[1]["text/plain"]


def test_it_works_without_ipython():
    code = """
import sys
from lecturelib import coursework
coursework.begin("project", "ada@example.org")
coursework.check("project-q3", lambda features, part: 1)
coursework.progress()
coursework.submit()
assert "IPython" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    assert "✓ project-q3: passed" in result.stdout and "Nothing was written" in result.stdout


def test_submit_writes_the_notebook_and_a_receipt(mine, said, tmp_path):
    write("homework.ipynb", "import x", "%pip install y", 'mine = coursework.begin("tiny", "a@b")')
    write("other.ipynb", "print(1)", "begin(")
    coursework.check("tiny-q1", lambda inputs: 2 * inputs)
    coursework.submit()
    says = said()
    with zipfile.ZipFile(f"tiny-{ADA}.zip") as archive:
        assert archive.namelist() == ["tiny.ipynb", "receipt.json"]
        content = archive.read("tiny.ipynb")
        receipt = json.loads(archive.read("receipt.json"))
    assert content == (tmp_path / "homework.ipynb").read_bytes()
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert receipt["student"] == ADA and receipt["assignment"] == "tiny"
    assert receipt["checks"] == {
        "tiny-q1": "passed",
        "tiny-q2": "not checked",
        "tiny-q3": "not checked",
    }
    code = receipt.pop("code")
    digest = hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest().upper()
    assert code == f"{digest[:4]}-{digest[4:8]}" and f"Receipt: {code}" in says
    assert "homework.ipynb as saved at" in says


def test_submit_keeps_what_was_written_before(mine, said, tmp_path):
    write("homework.ipynb", 'coursework.begin("tiny", "a@b")')
    coursework.submit()
    first = (tmp_path / f"tiny-{ADA}.zip").read_bytes()
    coursework.submit()
    assert f"tiny-{ADA}-2.zip" in said()
    assert (tmp_path / f"tiny-{ADA}.zip").read_bytes() == first
    assert (tmp_path / f"tiny-{ADA}-2.zip").exists()


@pytest.mark.parametrize(
    ("student", "name"),
    [
        ("../../etc/passwd", "tiny-_.._etc_passwd.zip"),
        ("a:b*c?", "tiny-a_b_c_.zip"),
        ("…", "tiny-_.zip"),
        ("...", "tiny-student.zip"),
        ("x" * 300, f"tiny-{'x' * 80}.zip"),
    ],
)
def test_no_name_leads_out_of_the_folder(said, tmp_path, student, name):
    write("homework.ipynb", 'coursework.begin(assignment="tiny", student="a@b")')
    coursework.begin("tiny", student)
    coursework.submit()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["homework.ipynb", name]
    with zipfile.ZipFile(name) as archive:
        assert json.loads(archive.read("receipt.json"))["student"] == student


def test_submit_asks_which_of_several(mine, said, tmp_path):
    for name in ("a.ipynb", "b.ipynb"):
        write(name, 'begin("tiny", "a@b")')
    coursework.submit()
    assert said().startswith("Nothing was written: several notebooks begin tiny (a.ipynb, b.ipynb)")
    coursework.submit("b.ipynb")
    assert "b.ipynb as saved" in said()
    assert (tmp_path / f"tiny-{ADA}.zip").exists()


def test_submit_takes_the_notebook_of_the_session(mine, said, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for name in ("a.ipynb", "deep/b.ipynb"):
        write(name, 'begin("tiny", "a@b")')
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "deep/b.ipynb"))
    coursework.submit()
    assert "b.ipynb as saved" in said()


def test_submit_takes_the_notebook_that_vs_code_names(mine, said, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for name in ("a.ipynb", "deep/b.ipynb"):
        write(name, 'begin("tiny", "a@b")')
    shell = types.SimpleNamespace(user_ns={"__vsc_ipynb_file__": str(tmp_path / "deep/b.ipynb")})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    coursework.submit()
    assert "b.ipynb as saved" in said()


def test_submit_in_colab_takes_what_the_browser_has(mine, said, monkeypatch):
    cell = {
        "cell_type": "code",
        "source": ["begin('tiny')"],
        "metadata": {"executionInfo": {"user": {"displayName": "Ada"}}},
    }
    downloads = []
    message = types.ModuleType("google.colab._message")
    message.blocking_request = lambda *_, **__: {"ipynb": {"cells": [cell], "nbformat": 4}}
    files = types.ModuleType("google.colab.files")
    files.download = downloads.append
    for module in (types.ModuleType("google.colab"), message, files):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    coursework.submit()
    assert downloads == [f"tiny-{ADA}.zip"]
    with zipfile.ZipFile(downloads[0]) as archive:
        content = archive.read("tiny.ipynb").decode()
    assert "begin('tiny')" in content and "displayName" not in content
    # Where Colab answers otherwise one day, a file will do.
    del message.blocking_request
    write("homework.ipynb", 'begin("tiny", "a@b")')
    coursework.submit()
    assert "homework.ipynb as saved" in said()


def test_submit_says_what_is_missing(said, tmp_path, monkeypatch):
    coursework.submit()
    assert "run the cell with coursework.begin" in said()
    coursework.begin("tiny", "your.name@example.org")
    coursework.submit()
    assert "still the placeholder" in said()
    coursework.begin("tiny", ADA)
    said()
    coursework.submit()
    assert said().startswith("Nothing was written: the notebook was not found. Save it")
    coursework.submit("gone.ipynb")
    assert "there is no notebook gone.ipynb" in said()
    for content in ["not json", "[]", '{"cells": 3}', "[" * 100_000]:
        (tmp_path / "broken.ipynb").write_text(content)
        coursework.submit("broken.ipynb")
        assert "broken.ipynb is not a notebook" in said()
    write("other.ipynb", 'coursework.begin("hw9", "a@b")')
    coursework.submit("other.ipynb")
    assert "has no cell that calls coursework.begin('tiny', ...)" in said()
    write("right.ipynb", 'coursework.begin("tiny", "a@b")')

    def refuse(self, *_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    coursework.submit("right.ipynb")
    assert "could not be read or written (read-only)" in said()
    assert not list(tmp_path.glob("*.zip"))
