"""Valid calls of lecturelib.coursework.

What is wrong with an answer is a hint for the student, raised as `Wrong`; what a notebook calls
says what is wrong, and raises nothing but for `begin`.
"""

import contextlib
import io
import tempfile
from contextlib import chdir

from lecturelib import coursework


def hinting(function):
    """A test's own function, whose hints are no mistakes."""

    def called(**arguments):
        with contextlib.suppress(coursework.Wrong):
            function(**arguments)

    return called


def array(answer=(1.0,), shape=(1,), what="it"):
    hinting(coursework.array)(answer=answer, shape=shape, what=what)


def expect_close(answer=1.0, expected=1.0, hint="no", rel=0.1, abs=0.1, what="it"):
    hinting(coursework.expect_close)(
        answer=answer, expected=expected, hint=hint, rel=rel, abs=abs, what=what
    )


def expect(condition=True, hint="no"):
    hinting(coursework.expect)(condition=condition, hint=hint)


def quietly(function, **arguments):
    """Call in an empty folder, without what is shown."""
    out = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as place, chdir(place), out:
        function(**arguments)


def begin(assignment="project", student="ada@example.org"):
    quietly(coursework.begin, assignment=assignment, student=student)


def check(question="project-q1", answer=None):
    quietly(coursework.begin, assignment="project", student="ada@example.org")
    quietly(coursework.check, question=question, answer=answer)


def submit(path=None):
    quietly(coursework.begin, assignment="project", student="ada@example.org")
    quietly(coursework.submit, path=path)


CALLS = {
    "Stream": lambda: (coursework.Stream, {"seed": 3}),
    "array": lambda: (array, {}),
    "begin": lambda: (begin, {}),
    "check": lambda: (check, {}),
    "done": lambda: (coursework.done, {"question": "project-q1"}),
    "expect": lambda: (expect, {}),
    "expect_close": lambda: (expect_close, {}),
    "progress": lambda: (lambda: quietly(coursework.progress), {}),
    "submit": lambda: (submit, {}),
    "variant": lambda: (coursework.variant, {"student": "ada", "assignment": "hw1"}),
}
