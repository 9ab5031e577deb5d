"""Coursework: questions that check themselves in a notebook, variants, and grading."""

from lecturelib.coursework.notebook import begin, check, done, progress, submit
from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    Wrong,
    array,
    expect,
    expect_close,
)
from lecturelib.coursework.variants import Stream, Variant, variant

__all__ = [
    "Assignment",
    "Question",
    "Stream",
    "Test",
    "Variant",
    "Wrong",
    "array",
    "begin",
    "check",
    "done",
    "expect",
    "expect_close",
    "progress",
    "submit",
    "variant",
]
