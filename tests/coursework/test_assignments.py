"""In each assignment, hidden tests pass every right answer and fail every wrong one."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from lecturelib.coursework import Wrong, variant
from lecturelib.coursework.assignments import assignment

PRIVATE = Path(__file__).parents[2] / "coursework"
NAMES = sorted(folder.parent.name for folder in PRIVATE.glob("*/answers.py"))
STUDENTS = ("ada@example.org", "emmy@example.org", "sofia@example.org")


@cache
def private(name, part):
    """Import `answers` or `hidden` of an assignment, which lie in no package."""
    path = PRIVATE / name / f"{part}.py"
    spec = importlib.util.spec_from_file_location(f"private_{name}_{part}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def promised(name):
    """What the headings of a master say each question is worth, by tests and by a person."""
    text = (PRIVATE / name / "master.py").read_text(encoding="utf-8")
    found = {}
    for question, cell in re.findall(
        r'^# %% \[markdown\] question="([^"]+)"\n((?:#.*\n)+)', text, flags=re.MULTILINE
    ):
        heading = re.search(r"^# ## .*\((\d+) points?(, read by a person)?\)$", cell, re.MULTILINE)
        if heading:
            found[question] = (float(heading[1]), heading[2] is not None)
    return found


def with_tests(name):
    return [question for question in assignment(name).questions if question.kind != "written"]


@cache
def solved(name, student):
    """Run a master from top to bottom as a student's, and return what it defined."""
    text = (PRIVATE / name / "master.py").read_text(encoding="utf-8")
    assert "your.name@example.org" in text
    found = {"__name__": "master"}
    exec(
        compile(text.replace("your.name@example.org", student), f"{name}/master.py", "exec"), found
    )
    return found


def cases(kind):
    for name in NAMES:
        for question, answers in getattr(private(name, "answers"), kind).items():
            for label, answer in answers.items():
                yield pytest.param(name, question, answer, id=f"{question}: {label}")


def outcomes(name, question, answer, mine, *, public):
    """Run tests as the grader does, and return what they looked at and why they failed."""
    asked = {each.name: each for each in assignment(name).questions}[question]
    hidden = private(name, "hidden").HIDDEN[question]
    given = answer if asked.kind == "function" else answer(mine)
    found = {}
    for test in asked.tests if public else hidden:
        try:
            test.run(_Guarded(given) if asked.kind == "function" else given, mine)
        except Wrong as wrong:
            found[test.looks_at] = str(wrong)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            found[test.looks_at] = f"{type(error).__name__}: {error}"
    return found


class _Guarded:
    """A function whose exceptions arrive as `Wrong`, as they do in the grader."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        try:
            return self.function(*arguments)
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}") from error


@pytest.mark.parametrize(("name", "question", "answer"), list(cases("RIGHT")))
@pytest.mark.parametrize("student", STUDENTS)
def test_right_answers_pass_all_tests(name, question, answer, student):
    mine = variant(student, name)
    assert not outcomes(name, question, answer, mine, public=True)
    assert not outcomes(name, question, answer, mine, public=False)


@pytest.mark.parametrize(("name", "question", "answer"), list(cases("WRONG")))
@pytest.mark.parametrize("student", STUDENTS)
def test_wrong_answers_fail_a_hidden_test(name, question, answer, student):
    assert outcomes(name, question, answer, variant(student, name), public=False)


@pytest.mark.parametrize("name", [name for name in NAMES if assignment(name).minutes < 200])
@pytest.mark.parametrize("student", STUDENTS)
def test_the_master_runs_and_passes_all_tests(name, student, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # nothing is handed in here
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    found, mine = solved(name, student), variant(student, name)
    for question in with_tests(name):
        answer = found[question.answer]
        given = answer if question.kind == "function" else lambda mine, answer=answer: answer
        assert not outcomes(name, question.name, given, mine, public=True), question.name
        assert not outcomes(name, question.name, given, mine, public=False), question.name


@pytest.mark.parametrize("name", NAMES)
def test_every_tested_question_has_right_and_wrong_answers(name):
    answers = private(name, "answers")
    names = {question.name for question in with_tests(name)}
    assert set(private(name, "hidden").HIDDEN) == names
    assert set(answers.RIGHT) == set(answers.WRONG) == names
    for question in names:
        assert len(answers.RIGHT[question]) >= 2, question
        assert len(answers.WRONG[question]) >= 3, question


@pytest.mark.parametrize("name", NAMES)
def test_points_are_those_that_the_master_promises(name):
    points = promised(name)
    assert set(points) == {question.name for question in assignment(name).questions}
    hidden = private(name, "hidden").HIDDEN
    for question in assignment(name).questions:
        worth, by_a_person = points[question.name]
        given = sum(test.points for test in hidden.get(question.name, ()))
        assert (question.points, question.read_by_a_person) == (given, worth - given), question.name
        assert by_a_person == (question.kind == "written"), question.name


@pytest.mark.parametrize("name", NAMES)
def test_public_tests_earn_nothing_and_hidden_ones_something(name):
    for question in with_tests(name):
        assert question.tests, question.name
        assert all(test.points == 0 for test in question.tests), question.name
    for question, tests in private(name, "hidden").HIDDEN.items():
        assert all(test.points > 0 for test in tests), question
        assert len({test.looks_at for test in tests}) == len(tests), question


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nothing", [None, ..., "words", float("nan"), [], {}], ids=repr)
def test_junk_fails_every_hidden_test(name, nothing):
    mine = variant(STUDENTS[0], name)
    for question in with_tests(name):
        answer = (lambda *_: nothing) if question.kind == "function" else (lambda _: nothing)
        found = outcomes(name, question.name, answer, mine, public=False)
        worthless = {test.looks_at for test in private(name, "hidden").HIDDEN[question.name]}
        assert set(found) == worthless, question.name
