"""What each student gets: data, sizes and constants that are the student's own.

A variant is a name for streams of random numbers. They depend on the assignment and the student
alone, so whoever grades draws them again. Only draws whose bits do not change between versions and
machines are offered: integers, uniform numbers, permutations, and what is computed from them.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from lecturelib import checks


class Stream:
    """Random numbers that are the same on every machine; each call draws on.

    Parameters
    ----------
    seed : int
        Not negative.

    Raises
    ------
    TypeError, ValueError
        If `seed` is no such number.

    Examples
    --------
    >>> from lecturelib.coursework import Stream
    >>> Stream(3).integers(0, 10, shape=4)
    array([8, 0, 1, 2])
    """

    def __init__(self, seed):
        seed = checks.integer("seed", seed, least=0)
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    def integers(self, low, high=None, shape=None):
        """Return integers from `low` to `high` - 1 (from 0 to `low` - 1): int64 or an int."""
        drawn = self._generator.integers(low, high, size=shape)
        return int(drawn) if shape is None else drawn

    def uniform(self, low=0.0, high=1.0, shape=None):
        """Return numbers from [`low`, `high`): float64 or a float."""
        drawn = low + (high - low) * self._generator.random(shape)
        return float(drawn) if shape is None else drawn

    def normal(self, shape=None):
        """Return standard normal numbers: float64 or a float.

        They are quantiles of uniform ones, and so agree between machines to about 1e-15.
        """
        drawn = ndtri(self._generator.random(shape))
        return float(drawn) if shape is None else drawn

    def permutation(self, n):
        """Return the numbers 0 … n - 1 in random order: int64, shape (n,)."""
        return self._generator.permutation(n)


@dataclass(frozen=True)
class Variant:
    """A student's own version of an assignment, which `variant` makes.

    Attributes
    ----------
    student, assignment : str
        Their names.
    """

    student: str
    assignment: str

    def stream(self, name):
        """Return the random numbers of one purpose, from their beginning.

        Parameters
        ----------
        name : str
            The purpose, for example that of a question: streams of different names are independent.

        Returns
        -------
        Stream
        """
        words = "\0".join(["lecturelib.coursework", self.assignment, self.student, str(name)])
        digest = hashlib.sha256(words.encode()).digest()
        return Stream(int.from_bytes(digest[:16], "big"))


def student_name(text):
    """Return a student's name as variants know it: small letters, no white space around it.

    Examples
    --------
    >>> from lecturelib.coursework.variants import student_name
    >>> student_name(" Ada@example.org")
    'ada@example.org'
    """
    return text.strip().lower()


def variant(student, assignment):
    """Return a student's own version of an assignment.

    Parameters
    ----------
    student : str
        What names the student, for example an e-mail address. White space around it and capitals
        make no difference.
    assignment : str
        What names the assignment, for example "hw1".

    Returns
    -------
    Variant
        Its `stream(name)` gives random numbers.

    Raises
    ------
    TypeError, ValueError
        If a name is no string, or is empty.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> ada = variant("ada@example.org", "hw1")
    >>> ada.stream("sizes").integers(3, 9, shape=4)
    array([4, 3, 4, 3])
    >>> ada == variant(" Ada@example.org", "hw1")
    True
    """
    for name, value in {"student": student, "assignment": assignment}.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {type(value).__name__}")
        if not value.strip():
            raise ValueError(f"{name} must not be empty")
    return Variant(student_name(student), assignment.strip())
