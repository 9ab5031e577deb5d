"""The grader: submissions in, scores, reports and tables out.

Tests run in processes that never run a student's line. Each submission runs in a sandboxed child of
a warm process that never sees a test, and is asked for its answers over a wire that carries numbers
and nothing else (`worker`, `sandbox`, `wire`). What was graded once is kept: a run that was stopped
goes on where it was, and a corrected test regrades and says what changed.
"""

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path

import joblib
from tqdm import tqdm

from lecturelib.coursework.assignments import assignment as named
from lecturelib.coursework.grading import reports, sandbox, submissions
from lecturelib.coursework.grading.sandbox import Limits
from lecturelib.coursework.grading.scoring import (
    check_hidden,
    fingerprint,
    load_hidden,
    remove,
    score,
)
from lecturelib.coursework.grading.session import NoWorker
from lecturelib.coursework.questions import Assignment
from lecturelib.coursework.variants import student_name
from lecturelib.experiments import cluster

__all__ = ["Limits", "grade", "grade_one"]


def grade(
    folder,
    assignment,
    hidden,
    out,
    *,
    workers=1,
    dask=None,
    limits=None,
    canvas=None,
    moodle=None,
    progress=True,
):
    """Grade all submissions of a folder and write results, reports and tables.

    Parameters
    ----------
    folder : str or Path
        One notebook or zip for each student, or a folder each, named as Canvas or Moodle do or
        freely.
    assignment : str or Assignment
        For example "hw1".
    hidden : str, Path or dict
        The folder with ``hw1/hidden.py``; or the hidden tests by question.
    out : str or Path
        Where to write: ``results/`` (one JSON for each submission), ``students/`` (one page each),
        ``summary.html``, ``questions.csv``, ``canvas.csv``, ``moodle.csv``, ``copies.csv``, and
        ``changes.csv`` where grades have changed. One run at a time.
    workers : int, optional
        Processes that score, each with a warm process of its own; -1 for all cores.
    dask : str, optional
        Address of a Dask scheduler, whose workers then score in place of these processes; they must
        see the same files.
    limits : Limits, optional
        What a submission may use.
    canvas, moodle : str or Path, optional
        An exported gradebook of Canvas, a grading worksheet of Moodle: filled copies are written.
    progress : bool, optional
        Whether to show a bar.

    Returns
    -------
    list of dict
        The results, in the order of the submissions.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such folder, assignment or hidden test, or one does not fit the other.
    """
    folder, out, limits = Path(folder).resolve(), Path(out).resolve(), limits or Limits()
    if out == folder or out.is_relative_to(folder):
        raise ValueError(f"results must not be written among the submissions: {out}")
    whole, tests = _loaded(assignment, hidden)
    mark = fingerprint(whole, tests, limits)
    work = out / "work"
    for path in [out / "results", out / "students", work]:
        path.mkdir(parents=True, exist_ok=True)
    for stale in work.iterdir():  # of a run that was killed
        remove(stale)
    handed_in = [submissions.read(path, folder, whole.name) for path in submissions.find(folder)]
    results, before, todo = {}, {}, []
    for submission in handed_in:
        path = out / "results" / f"{_safe(submission.path)}.json"
        old = _read(path)
        if old is not None and old["digest"] == submission.digest and old["tests"] == mark:
            results[submission.path] = old
        else:
            before[submission.path] = old
            todo.append(submission)
    by_path = {submission.path: submission for submission in todo}
    with cluster(dask):
        arguments = (assignment, hidden, limits, work)
        parallel = joblib.Parallel(
            n_jobs=None if dask else workers, return_as="generator_unordered", batch_size=1
        )
        done = parallel(joblib.delayed(_grade)(submission, *arguments) for submission in todo)
        for result in tqdm(done, total=len(todo), desc=whole.name, disable=not progress or None):
            submission = by_path[result["file"]]
            result |= {"digest": submission.digest, "tests": mark}
            results[submission.path] = result
            if not result.pop("failed", False):  # that is tried again
                _write(out / "results" / f"{_safe(submission.path)}.json", result)
    ordered = [results[submission.path] for submission in handed_in]
    reports.write(
        ordered,
        whole,
        out,
        before=before,
        lacking=sandbox.missing(limits.without),
        canvas=canvas,
        moodle=moodle,
        page=lambda result: f"{_safe(result['file'])}.html",
    )
    return ordered


def grade_one(path, assignment, hidden, *, student=None, names=(), limits=None):
    """Grade one submission.

    Parameters
    ----------
    path : str or Path
        A notebook, or a zip with one.
    assignment : str or Assignment
        For example "hw1".
    hidden : str, Path or dict
        The folder with ``hw1/hidden.py`` or ``hidden.py``; or the hidden tests by question.
    student : str, optional
        Who handed it in, if that is known for sure: a notebook of somebody else is then graded with
        this student's own numbers.
    names : list of str, optional
        Other names that this student may have begun the notebook with.
    limits : Limits, optional
        What it may use.

    Returns
    -------
    dict
        Points by question, what each test said, and what a person should know.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, assignment or hidden test.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no submission {path}")
    whole, tests = _loaded(assignment, hidden)
    submission = submissions.read(path, path.parent, whole.name)
    if student is not None:
        allowed = {student_name(name) for name in (student, *names)} - {""}
        if submission.student not in allowed:
            submission.notes.append(
                f"the notebook is that of {submission.student!r}, but was handed in by "
                f"{student!r}, and is graded with the numbers of the latter"
            )
            submission.student = student_name(student)
        submission.sure = True
    return score(submission, whole, tests, limits)


def _grade(submission, assignment, hidden, limits, work):
    """Score a submission, whatever it is."""
    whole, tests = _loaded(assignment, hidden)
    try:
        return score(submission, whole, tests, limits, work)
    except NoWorker:
        raise
    except Exception as error:  # a submission must not stop the others, not even by our mistake
        return {
            "student": submission.student,
            "name": submission.name,
            "number": submission.number,
            "file": submission.path,
            "assignment": whole.name,
            "score": 0.0,
            "of": sum(
                test.points
                for question in whole.questions
                for test in (*question.tests, *tests.get(question.name, ()))
            ),
            "by_a_person": float(sum(question.read_by_a_person for question in whole.questions)),
            "questions": [],
            "cells": [],
            "output": "",
            "notes": [
                *submission.notes,
                f"the grader itself failed: {type(error).__name__}: {error}"[:300],
            ],
            "failed": True,
        }


def _loaded(assignment, hidden):
    """Return an assignment and its hidden tests, however they were named."""
    if isinstance(assignment, Assignment) and isinstance(hidden, dict):
        return assignment, check_hidden(hidden, assignment)
    if isinstance(assignment, Assignment):
        return assignment, load_hidden(hidden, assignment)
    if isinstance(hidden, dict):
        return named(assignment), check_hidden(hidden, named(assignment))
    path = Path(hidden).resolve()
    files = [path / assignment / "hidden.py", path / "hidden.py"]
    times = tuple(file.stat().st_mtime_ns for file in files if file.is_file())
    return _from_names(assignment, path, times)


@lru_cache(maxsize=8)
def _from_names(assignment, hidden, times):
    """Read the tests once in each process, and anew when the file changes."""
    return named(assignment), load_hidden(hidden, named(assignment))


def _safe(path):
    """Return a name for the files of one submission; different paths have different names."""
    words = re.sub(r"[^A-Za-z0-9-]+", "-", path).strip("-")[:60] or "submission"
    return f"{words}-{hashlib.sha256(path.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _read(path):
    """Return an earlier result, or None if there is no whole one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found["digest"] is not None and found["tests"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path, result):
    """Write a result at once: a run that is killed leaves the whole of it, or nothing."""
    aside = path.with_suffix(".part")
    text = json.dumps(result, indent=1, ensure_ascii=False)
    aside.write_text(text + "\n", encoding="utf-8", errors="replace")
    os.replace(aside, path)
