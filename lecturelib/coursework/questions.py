"""What an assignment is: questions, and tests that look at their answers.

A test is a function of an answer and a variant. It returns nothing if the answer passes, and raises
`Wrong` with a hint for the student if it does not. The answer is a value, or something to call; it
need not be in this process, so a test compares numbers and looks at nothing else.
"""

import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lecturelib import checks


class Wrong(Exception):
    """An answer that does not pass; its message is a hint, and never the answer."""


@dataclass(frozen=True)
class Test:
    """One look at an answer.

    Parameters
    ----------
    looks_at : str
        What is tested, in words: "unequal classes".
    run : callable
        Takes the answer and the `Variant`, and raises `Wrong` if the answer does not pass.
    points : float
        What passing earns. Public tests earn nothing: they are there to help.

    Examples
    --------
    >>> from lecturelib.coursework import Test, expect_close
    >>> def zero(answer, mine):
    ...     expect_close(answer(0.0), 1.0, "at 0 it is known without a computer")
    >>> Test("zero", zero, points=2).points
    2
    """

    __test__ = False  # pytest would take it for one of its own

    looks_at: str
    run: Callable
    points: float = 0.0


@dataclass(frozen=True)
class Question:
    """A question of an assignment.

    Parameters
    ----------
    name : str
        The assignment's name, a hyphen and its own: "hw1-q2".
    title : str
        What it is about, in a few words.
    answer : str
        The variable or function of the notebook that holds the answer; empty if it is written.
    kind : str
        "value", "function", or "written", which has no tests.
    tests : tuple of Test
        The public ones.
    read_by_a_person : float
        Points that no test gives, for what the rubric describes.
    points : float
        Points that the hidden tests give, so that a student sees what they are worth.

    Examples
    --------
    >>> from lecturelib.coursework import Question
    >>> Question("hw1-q3", "Why?", "", "written", (), read_by_a_person=3).tests
    ()
    """

    name: str
    title: str
    answer: str
    kind: str
    tests: tuple[Test, ...]
    read_by_a_person: float = 0.0
    points: float = 0.0


@dataclass(frozen=True)
class Assignment:
    """An assignment.

    Parameters
    ----------
    name : str
        For example "hw1".
    title : str
        What it is about.
    minutes : int
        The estimated time.
    questions : tuple of Question
        In the order of the notebook.

    Examples
    --------
    >>> from lecturelib.coursework import Assignment, Question
    >>> why = Question("hw1-q1", "Why?", "", "written", (), read_by_a_person=3)
    >>> Assignment("hw1", "Reasons", 10, (why,)).minutes
    10
    """

    name: str
    title: str
    minutes: int
    questions: tuple[Question, ...]


def array(answer, shape=None, *, what="the answer"):
    """Return an answer as an array of float64 numbers, or say what is wrong with it.

    Parameters
    ----------
    answer : number, array or tensor
        On any device; a nested list of numbers will do.
    shape : tuple of int, optional
        The shape that it must have; `()` for one number.
    what : str
        What to call it in the hint.

    Returns
    -------
    ndarray
        A copy on the CPU, float64.

    Raises
    ------
    Wrong
        If it is not made of finite numbers, or has another shape.
    TypeError, ValueError
        If `shape` is no shape.

    Examples
    --------
    >>> from lecturelib.coursework.questions import array
    >>> array(torch.ones(2), shape=(2,))
    array([1., 1.])
    >>> array([1, 2], shape=())
    Traceback (most recent call last):
    lecturelib.coursework.questions.Wrong: the answer must be one number, but has the shape (2,)
    """
    return _finite(answer, None if shape is None else checks.shape("shape", shape), what)


def _finite(answer, shape, what):
    """Do the work of `array`, for a shape that may be empty, too."""
    if answer is None or answer is ...:
        raise Wrong(f"{what} is not there yet")
    try:
        found = np.array(_without_tensors(answer))
        if (
            found.dtype.kind in "cSU"
        ):  # the conversion would cut off an imaginary part, and read text
            raise TypeError
        found = found.astype(float)
    except (TypeError, ValueError, RecursionError):
        raise Wrong(f"{what} must be made of numbers, not {type(answer).__name__}") from None
    if shape is not None and found.shape != shape:
        wanted = "must be one number" if shape == () else f"must have the shape {shape}"
        raise Wrong(f"{what} {wanted}, but has the shape {found.shape}")
    if not np.isfinite(found).all():
        raise Wrong(f"{what} has entries that are infinite or not numbers")
    return found


def _without_tensors(answer):
    """Return an answer with arrays for the tensors in it."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().cpu().resolve_conj().resolve_neg().numpy()
    if isinstance(answer, (list, tuple)):
        return [_without_tensors(part) for part in answer]
    return answer


def expect_close(answer, expected, hint, *, rel=1e-6, abs=0.0, what="the answer"):
    """Compare an answer with what is expected, entry by entry.

    Parameters
    ----------
    answer : number, array or tensor
        What was answered.
    expected : number, array or tensor
        What is right; the answer must have its shape.
    hint : str
        What to say if it differs.
    rel, abs : float
        How far an entry may be off: `abs + rel * |expected|`.
    what : str
        What to call it in hints about its shape.

    Raises
    ------
    Wrong
        If the shape differs, or an entry by more.
    TypeError, ValueError
        If `expected` is not made of finite numbers, or `rel` or `abs` is no number of at least 0.

    Examples
    --------
    >>> from lecturelib.coursework import expect_close
    >>> expect_close(0.333, 1 / 3, "did you divide by the number of classes?", abs=1e-3)
    """
    rel, abs = checks.number("rel", rel, least=0), checks.number("abs", abs, least=0)
    try:
        expected = _finite(expected, None, "expected")
    except Wrong as error:
        raise ValueError(str(error)) from None  # the mistake is the test's
    found = _finite(answer, expected.shape, what)
    if not (np.abs(found - expected) <= abs + rel * np.abs(expected)).all():
        raise Wrong(hint)


def expect(condition, hint):
    """Raise `Wrong` with a hint unless a condition holds; a NaN that was compared holds nothing.

    Parameters
    ----------
    condition : bool or number
        What must be true, or not zero; anything of another kind does not hold.
    hint : str
        What to say if it does not hold.

    Raises
    ------
    Wrong
        If the condition does not hold.

    Examples
    --------
    >>> from lecturelib.coursework import expect
    >>> expect(0 <= 0.5 <= 1, "it must be a share, between 0 and 1")
    >>> expect(float("nan") <= 1, "it must be a share, between 0 and 1")
    Traceback (most recent call last):
    lecturelib.coursework.questions.Wrong: it must be a share, between 0 and 1
    """
    if not (isinstance(condition, (bool, np.bool_, numbers.Number)) and condition):
        raise Wrong(hint)


def read_entries(answer, *names):
    """Return the numbers of an answer that is a dict with certain names, in that order.

    Raises
    ------
    Wrong
        If it is no dict, lacks a name, or has something else than a number there.

    Examples
    --------
    >>> from lecturelib.coursework.questions import read_entries
    >>> read_entries({"ratio": 2, "drift": torch.tensor(0.5)}, "drift", "ratio")
    [0.5, 2.0]
    """
    expect(isinstance(answer, dict), f"the answer must be a dict with {', '.join(names)}")
    missing = [name for name in names if name not in answer]
    if missing:
        raise Wrong(f"the dict lacks {', '.join(missing)}")
    return [float(array(answer[name], (), what=name)) for name in names]


def same_entry(right, name, hint, *, abs=0.0):
    """Return what a `Test` runs to compare one entry of a dict with that of the right one.

    Parameters
    ----------
    right : callable
        Takes the `Variant` and returns the right dict; an answer must have all its names.
    name : str
        Of the entry.
    hint : str
        What to say if it differs.
    abs : float
        How far it may be off besides a millionth of it.

    Returns
    -------
    callable
        Takes the answer and the `Variant`.

    Examples
    --------
    >>> from lecturelib.coursework.questions import same_entry
    >>> run = same_entry(lambda mine: {"ratio": 2.0}, "ratio", "count the steps")
    >>> run({"ratio": 3.0}, None)
    Traceback (most recent call last):
    lecturelib.coursework.questions.Wrong: count the steps
    """

    def run(answer, mine):
        expected = right(mine)
        found = dict(zip(expected, read_entries(answer, *expected), strict=True))
        expect_close(found[name], expected[name], hint, abs=abs, what=name)

    run.__wrapped__ = right  # a grader's fingerprint must see the file in which it stands
    return run
