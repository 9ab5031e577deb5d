"""Scoring: the tests look at a submission's answers from a process that never runs its code."""

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import types
from functools import cache
from pathlib import Path

import numpy as np
import torch

from lecturelib.coursework.grading.sandbox import LIBRARY, Limits, readable
from lecturelib.coursework.grading.session import NotDone, Session, Slow, worker
from lecturelib.coursework.questions import Wrong
from lecturelib.coursework.variants import variant

__all__ = ["check_hidden", "fingerprint", "load_hidden", "numbers", "remove", "score"]

DIGITS = 6  # to which numbers of two students are compared


def load_hidden(folder, assignment):
    """Return the hidden tests of an assignment.

    Parameters
    ----------
    folder : Path
        The one that holds ``hw1/hidden.py``; or, for an archive, ``hidden.py`` itself.
    assignment : Assignment
        Whose questions they look at.

    Returns
    -------
    dict
        Question → tests.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are none, if one is of a question that does not exist, if a question has neither
        points by a test nor by a person, or if submissions could read them.
    """
    folder = Path(folder)
    places = [folder / assignment.name / "hidden.py", folder / "hidden.py"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"there are no hidden tests at {places[0]}")
    resolved = path.resolve()
    for open_to_all in readable():
        if resolved.is_relative_to(Path(open_to_all).resolve()):
            raise ValueError(
                f"{path} lies in {open_to_all}, which submissions must be able to read: move the "
                "hidden tests elsewhere"
            )
    module = types.ModuleType(f"hidden_tests_of_{assignment.name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    # Not imported: that would leave a compiled copy beside it.
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
    hidden = getattr(module, "HIDDEN", None)
    if not isinstance(hidden, dict):
        raise ValueError(f"{path} must define HIDDEN, a dictionary of questions and their tests")
    return check_hidden(hidden, assignment)


def check_hidden(hidden, assignment):
    """Return hidden tests if they fit the questions of an assignment; see `load_hidden`."""
    names = [question.name for question in assignment.questions]
    for name in hidden:
        if name not in names:
            raise ValueError(f"there are hidden tests of {name!r}, but no such question: {names}")
    for question in assignment.questions:
        tests = (*question.tests, *hidden.get(question.name, ()))
        if not sum(test.points for test in tests) + question.read_by_a_person > 0:
            raise ValueError(f"nobody gives points for {question.name}: no test, and no person")
    return hidden


def fingerprint(assignment, hidden, limits):
    """Return a hash of all that a score depends on beside the submission.

    Parameters
    ----------
    assignment : Assignment
        With its public tests.
    hidden : dict
        The hidden tests.
    limits : Limits
        What a submission may use.

    Returns
    -------
    str
    """
    digest = hashlib.sha256(repr(limits).encode())
    digest.update(_library())
    files = set()
    for question in assignment.questions:
        about = [question.name, question.answer, question.kind, question.read_by_a_person]
        for test in (*question.tests, *hidden.get(question.name, ())):
            about += [test.looks_at, test.points]
            code = getattr(inspect.unwrap(test.run), "__code__", None)
            if code is not None:
                about.append(code.co_code.hex())
                files.add(code.co_filename)
        digest.update(json.dumps(about).encode())
    for name in sorted(files):
        with contextlib.suppress(OSError):
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()


@cache
def _library():
    digest = hashlib.sha256(f"{torch.__version__} {np.__version__}".encode())
    for path in sorted(LIBRARY.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def score(submission, assignment, hidden, limits=None, workplace=None):
    """Run a submission and let all tests look at its answers.

    Parameters
    ----------
    submission : Submission
        What was handed in.
    assignment : Assignment
        With its public tests.
    hidden : dict
        The hidden tests.
    limits : Limits, optional
        What it may use.
    workplace : Path, optional
        Where its own folder is made, and removed afterwards.

    Returns
    -------
    dict
        JSON can hold it: score and points of each question, what each test said, what went wrong.
    """
    limits = limits or Limits()
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=workplace))
    questions, notes, student = [], list(submission.notes), submission.student
    try:
        with worker() as host:
            session = Session(host, submission.cells, folder, limits)
            try:
                if submission.cells:
                    session.run()
                    if not submission.sure and session.begun:
                        student = session.begun
                    elif not submission.sure:
                        notes.append("the notebook does not say whose it is: nothing begins it")
                mine = variant(student, assignment.name)
                for question in assignment.questions:
                    tests = hidden.get(question.name, ())
                    questions.append(_question(session, question, tests, mine, submission.cells))
            finally:
                session.close()
    finally:
        remove(folder)
    notes += session.notes
    notes += [
        f"{question['name']}: a test could not judge the answer, look at it yourself"
        for question in questions
        if any(test["broken"] for test in question["tests"])
    ]
    return {
        "student": student,
        "name": submission.name,
        "number": submission.number,
        "file": submission.path,
        "assignment": assignment.name,
        "score": sum(question["points"] for question in questions),
        "of": sum(question["of"] for question in questions),
        "by_a_person": sum(question["by_a_person"] for question in questions),
        "questions": questions,
        "cells": [
            {"cell": index + 1, "error": error}
            for index, error in enumerate(session.errors)
            if error is not None
        ],
        "output": session.output,
        "notes": notes,
    }


def _question(session, question, hidden, mine, cells):
    results, telling, answer = [], "", None
    tests = [*((test, False) for test in question.tests), *((test, True) for test in hidden)]
    missing = Wrong("nothing could be run") if not cells else None
    session.quiet = False
    if tests and missing is None:
        session.run()  # anew, if an earlier question ended it
        try:
            answer = _answer(session, question)
            telling = numbers(answer) if question.kind == "value" else ""
        except Wrong as error:
            missing = error
    for test, is_hidden in tests:
        session.quiet = is_hidden
        hint, broken = "", False
        try:
            if missing is not None:
                raise missing
            # Copies: a test may change what it looks at.
            test.run(_copy(answer), mine)
        except Wrong as error:
            hint = str(error) or "it does not pass"
        except Exception as error:  # the test's own: no answer may stop the grading
            hint, broken = f"the test could not judge this answer ({type(error).__name__})", True
        results.append(
            {
                "looks_at": test.looks_at,
                "hidden": is_hidden,
                "passed": not hint,
                "points": 0.0 if hint else float(test.points),
                "of": float(test.points),
                "hint": hint[:1000],
                "broken": broken,
            }
        )
    not_done = isinstance(missing, NotDone) or (
        isinstance(answer, Remote) and answer.asked and not answer.answered
    )
    return {
        "name": question.name,
        "title": question.title,
        "points": sum(test["points"] for test in results),
        "of": sum(test["of"] for test in results),
        "by_a_person": float(question.read_by_a_person),
        "done": not not_done,
        "tests": results,
        "numbers": telling,
    }


def _answer(session, question):
    if question.kind == "function":
        return Remote(session, question.answer)
    found = session.get(question.answer)
    if found is None or found is ...:
        raise NotDone("not done yet")
    return found


def _copy(answer):
    if isinstance(answer, (np.ndarray, torch.Tensor)):
        return answer.copy() if isinstance(answer, np.ndarray) else answer.clone()
    if isinstance(answer, (list, tuple)):
        return type(answer)(_copy(entry) for entry in answer)
    if isinstance(answer, dict):
        return {key: _copy(entry) for key, entry in answer.items()}
    return answer


class Remote:
    """A function of a submission, called where the submission is."""

    def __init__(self, session, name):
        self._session, self._name = session, name
        self.asked = self.answered = False
        self._slow = None

    def __call__(self, *arguments):
        """Return what the student's function returns; raise `Wrong` if it does not."""
        self.asked = True
        if self._slow is not None:  # time is precious: once is enough for a question
            raise self._slow
        try:
            found = self._session.call(self._name, arguments)
        except NotDone:
            raise
        except Slow as error:
            self.answered, self._slow = True, error
            raise
        except Wrong:
            self.answered = True  # by an error, but something is there
            raise
        self.answered = self.answered or not (found is None or found is ...)
        return found


def numbers(value):
    """Return the numbers of an answer by which copies may be found, as text.

    Parameters
    ----------
    value : object
        What a student answered.

    Returns
    -------
    str
        The first of them and a hash of all, to six digits; empty if it has none that two students
        would not share by chance.

    Examples
    --------
    >>> numbers([1.0, 0.5]), numbers(0.1234)[:6]
    ('', '0.1234')
    """
    try:
        if isinstance(value, (dict, str)) or value is None:
            return ""
        found = np.asarray(value, dtype=complex if np.iscomplexobj(value) else float).ravel()
    except (TypeError, ValueError, RuntimeError):
        return ""
    found = found[np.isfinite(found)]
    # Small whole numbers, and their halves and the like, are shared by chance.
    telling = found[(found * 120 != np.round(found * 120)) | (np.abs(found) > 1000)]
    if len(telling) == 0:
        return ""
    text = " ".join(f"{number:.{DIGITS}g}" for number in telling)
    short = " ".join(text.split(" ")[:4])
    return f"{short} #{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def remove(folder):
    """Remove a folder that a submission wrote to, however deep it is nested."""
    folder = Path(folder)
    aside = 0
    todo = [folder]
    # Folders come up to the first level before they are emptied: no path gets long.
    while todo:
        place = todo.pop()
        os.chmod(place, 0o700)
        with os.scandir(place) as entries:
            inside = list(entries)
        for entry in inside:
            if entry.is_dir(follow_symlinks=False):
                aside += 1
                target = folder / f".{aside}.removed"
                while target.exists():
                    aside += 1
                    target = folder / f".{aside}.removed"
                if place != folder:
                    os.rename(entry.path, target)
                    todo.append(target)
                else:
                    todo.append(Path(entry.path))
            else:
                os.unlink(entry.path)
        if place != folder:
            os.rmdir(place)
    shutil.rmtree(folder, ignore_errors=True)
