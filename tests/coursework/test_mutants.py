"""Mutants: what is changed and what is not, and that a blind test is told from one that sees."""

import pytest
from helpers import tool

mutants = tool("mutants")

CELL = """\
def spread(x):
    n = len(x) - 1
    # BEGIN SOLUTION
    return (x.mean(0) * 2 if n > 0 else -x).T
    # END SOLUTION
share = a / b  # SOLUTION
"""

ASSIGNMENT = '''\
"""An assignment made for a test."""

from lecturelib.coursework.questions import Assignment, Question

ASSIGNMENT = Assignment("hw1", "A test", 1, (Question("hw1-q1", "Twice", "twice", "function", ()),))
'''
MASTER = """\
# %% question="hw1-q1"
def twice(x):
    # BEGIN SOLUTION
    return x + x
    # END SOLUTION
"""
HIDDEN = """\
from lecturelib.coursework.questions import Test, expect

HIDDEN = {{"hw1-q1": (Test("a number", lambda answer, mine: expect({}, "no"), 1),)}}
"""


def described(source):
    return {words for words, _ in mutants.mutants(source)}


def test_only_solutions_are_changed_each_place_once():
    assert described(CELL) == {
        "line 4: x.mean(0) * 2 → x.mean(0) / 2",
        "line 4: x.mean → x.sum",
        "line 4: 0 → 1",
        "line 4: 2 → 3",
        "line 4: n > 0 → n >= 0",
        "line 4: n > 0 → n < 0",
        "line 4: -x → x",
        "line 4: (x.mean(0) * 2 if n > 0 else -x).T → x.mean(0) * 2 if n > 0 else -x",
        "line 6: a / b → a * b",
    }


def test_each_mutant_differs_from_the_cell_in_its_change_alone():
    codes = [code for _, code in mutants.mutants("y = f(a + 1, k=2)  # SOLUTION\n")]
    assert codes == [
        "y = f(a + 1)",
        "y = f(a - 1, k=2)",
        "y = f(a + 2, k=2)",
        "y = f(a + 1, k=3)",
    ]


@pytest.fixture
def coursework(tmp_path, monkeypatch):
    """A folder with one assignment, and the function that writes its hidden test."""
    folder = tmp_path / "hw1"
    folder.mkdir()
    (folder / "master.py").write_text(MASTER)
    (folder / "answers.py").write_text("EQUIVALENT = {}\n")
    namespace = {}
    exec(ASSIGNMENT, namespace)
    monkeypatch.setattr(mutants, "assignment", lambda name: namespace["ASSIGNMENT"])

    def written(condition, equivalent="{}"):
        (folder / "hidden.py").write_text(HIDDEN.format(condition))
        (folder / "answers.py").write_text(f"EQUIVALENT = {equivalent}\n")
        return tmp_path

    return written


def test_a_test_that_sees_kills_and_a_blind_one_does_not(coursework):
    seeing = list(mutants.examine("hw1", coursework("answer(3) == 6")))
    assert seeing == [("hw1-q1", "line 3: x + x → x - x", False, None)]
    [(_, _, survived, _)] = mutants.examine("hw1", coursework("answer(0) == 0"))
    assert survived


def test_what_cannot_differ_is_named(coursework):
    folder = coursework("answer(0) == 0", '{"hw1-q1": {"line 3: x + x → x - x": "so be it"}}')
    [(_, _, survived, reason)] = mutants.examine("hw1", folder)
    assert survived and reason == "so be it"
    assert not list(mutants.examine("hw1", coursework("True", '{"hw1-q1": {"*": "free"}}')))


def test_too_few_noticed_fails(coursework, monkeypatch, capsys):
    folder = coursework("answer(0) == 0")
    examine = mutants.examine
    monkeypatch.setattr(mutants, "examine", lambda name: examine(name, folder))
    assert not mutants.main(["hw1"])
    assert "passes all tests" in capsys.readouterr().out
    coursework("answer(3) == 6")
    assert mutants.main(["hw1"])
