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


class Wrong(Exception):
    """An answer that does not pass; its message is a hint, and never the answer."""


@dataclass(frozen=True)
class Test:
    """One look at an answer.

    `looks_at` says in words what is tested ("works for unequal classes"); `run(answer, variant)`
    raises `Wrong` if the answer doesn't pass; `points` is what passing earns (public tests earn
    nothing: they are there to help).
    """

    __test__ = False  # pytest would take it for one of its own

    looks_at: str
    run: Callable
    points: float = 0.0


@dataclass(frozen=True)
class Question:
    """A question of an assignment.

    `name` is "hw1-q2"; `answer` names the variable or function of the notebook that holds the
    answer; `kind` is "value", "function", or "written" (no tests, and `answer` is empty); `tests`
    are the public ones; `read_by_a_person` are the points that no test gives, for what the rubric
    describes; `points` are those of the hidden tests, so that a student sees what they are worth.
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
    """An assignment: `name` is "hw1"; `minutes` is the estimated time."""

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

    Examples
    --------
    >>> from lecturelib.coursework.questions import array
    >>> array(torch.ones(2), shape=(2,))
    array([1., 1.])
    >>> array([1, 2], shape=())
    Traceback (most recent call last):
    lecturelib.coursework.questions.Wrong: the answer must be one number, but has the shape (2,)
    """
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
    if shape is not None and found.shape != tuple(shape):
        wanted = "must be one number" if shape == () else f"must have the shape {tuple(shape)}"
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
    """
    expected = np.asarray(torch.as_tensor(expected).detach().cpu(), dtype=float)
    found = array(answer, expected.shape, what=what)
    if not (np.abs(found - expected) <= abs + rel * np.abs(expected)).all():
        raise Wrong(hint)


def expect(condition, hint):
    """Raise `Wrong` with a hint unless a condition holds; a NaN that was compared holds nothing."""
    if not (isinstance(condition, (bool, np.bool_, numbers.Number)) and condition):
        raise Wrong(hint)
