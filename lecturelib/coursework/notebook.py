"""What a student calls in a notebook: begin, check, done, progress, submit.

Nothing here decides a grade. A check runs the tests that everybody may see, so that mistakes show
while there is time to mend them; the receipt that `submit` writes repeats what they said, and
whoever grades asks the notebook again. A wrong answer, a crash in an answer or a missing one is
reported, and the notebook goes on.
"""

import ast
import contextlib
import copy
import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib import import_module
from pathlib import Path

import lecturelib
from lecturelib import checks
from lecturelib.coursework import assignments
from lecturelib.coursework.questions import Wrong
from lecturelib.coursework.variants import Variant, variant

PLACEHOLDER = "your.name@example.org"

PASSED, FAILED, NOT_DONE, NOT_CHECKED = "passed", "not right yet", "not done yet", "not checked"

# A sign says it without colour; the colours stand out on white and on black.
_SIGNS = {PASSED: "✓", FAILED: "✗", NOT_DONE: "○", NOT_CHECKED: "·"}
_COLOURS = {PASSED: "#1f9d55", FAILED: "#e0491f", NOT_DONE: "#808080", NOT_CHECKED: "#808080"}


@dataclass
class _Session:
    """What this run of the notebook has begun and checked."""

    variants: dict[str, Variant] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    current: str | None = None

    def outcome(self, question):
        return self.outcomes.get(question, NOT_CHECKED)


_session = _Session()


def begin(assignment, student):
    """Begin an assignment: name it and yourself, and get your own variant of it.

    Parameters
    ----------
    assignment : str
        Its name, for example "hw1".
    student : str
        What names you in the course, for example your e-mail address. It decides the data you get,
        so it must be the one that your course uses.

    Returns
    -------
    Variant
        Your own version: the functions of the assignment make your data from it.

    Raises
    ------
    TypeError, ValueError
        If there is no assignment of this name, or `student` is no string or empty.

    Examples
    --------
    >>> from lecturelib import coursework
    >>> mine = coursework.begin("project", student="ada@example.org")
    project: What does a network do with wrong labels? (the version of ada@example.org)
    """
    chosen = assignments.assignment(checks.text("assignment", assignment))
    mine = variant(student, assignment)
    if _session.variants.get(assignment) != mine:  # a cell that is run again forgets nothing
        for question in chosen.questions:
            _session.outcomes.pop(question.name, None)
    _session.variants[assignment] = mine
    _session.current = assignment
    says = f"{assignment}: {chosen.title} (the version of {mine.student})"
    if mine.student == PLACEHOLDER:
        says += ". Put your own address in its place: your data depend on it."
    _show(f"<div>{escape(says)}</div>", says)
    return mine


def check(question, answer):
    """Try an answer on the tests that everybody may see, and show what they say.

    A wrong answer does not stop the notebook, and neither does one that crashes.

    Parameters
    ----------
    question : str
        Its name, for example "hw1-q2".
    answer : value or function
        Your answer: what the question asks for.

    Examples
    --------
    >>> from lecturelib import coursework
    >>> mine = coursework.begin("project", student="ada@example.org")
    project: What does a network do with wrong labels? (the version of ada@example.org)
    >>> coursework.check("project-q3", ...)
    ○ project-q3: not done yet
    >>> coursework.check("project-q3", lambda features, part: 1)
    ✓ project-q3: passed
        ✓ points on a line
    """
    try:
        asked = assignments.question(question)
        mine = _variant_for(question)
    except (AttributeError, TypeError, ValueError) as error:
        _report(str(question), "", FAILED, [(FAILED, str(error))])
        return
    outcome, lines = _outcome(asked, answer, mine)
    _session.outcomes[asked.name] = outcome
    _report(asked.name, asked.title, outcome, lines)


def done(question):
    """Say whether a question's answer passed when it was last checked.

    Parameters
    ----------
    question : str
        Its name, for example "hw1-q2".

    Returns
    -------
    bool
        True if the last check of it in this run of the notebook passed.

    Examples
    --------
    >>> from lecturelib import coursework
    >>> coursework.done("project-q6")
    False
    """
    return isinstance(question, str) and _session.outcome(question) == PASSED


def progress():
    """Show which questions of the assignment pass, with their points.

    Examples
    --------
    >>> from lecturelib import coursework
    >>> mine = coursework.begin("project", student="ada@example.org")
    project: What does a network do with wrong labels? (the version of ada@example.org)
    >>> coursework.progress()  # doctest: +ELLIPSIS
    project: ...
    """
    if _session.current is None:
        _say("Run the cell with coursework.begin(...) first: it names the assignment.")
        return
    assignment = assignments.assignment(_session.current)
    rows = [_progress_row(question) for question in assignment.questions]
    tested = [question for question in assignment.questions if question.tests]
    passing = sum(done(question.name) for question in tested)
    title = f"{assignment.name}: {assignment.title}"
    summary = (
        f"{passing} of {len(tested)} questions pass the tests that you can see; "
        "hidden tests and a person decide the points."
    )
    width = max(len(name) for name, *_ in rows)
    text = [title]
    text += [
        f"  {_SIGNS[outcome]} {name:<{width}}  {words:<13}  {points:<10}  {about}"
        for name, about, outcome, words, points in rows
    ]
    cell = '<td style="text-align:left;padding:0.15em 1em 0.15em 0">'
    table = "".join(
        f"<tr>{cell}{escape(name)}</td>{cell}{escape(about)}</td>"
        f"{cell}{_sign(outcome)} {escape(words)}</td>{cell}{escape(points)}</td></tr>"
        for name, about, outcome, words, points in rows
    )
    _show(
        f"<div><strong>{escape(title)}</strong>"
        f'<table style="border-collapse:collapse;margin:0.4em 0;color:inherit">{table}</table>'
        f"{escape(summary)}</div>",
        "\n".join([*text, summary]),
    )


def submit(path=None):
    """Write the one file to hand in: the notebook and a receipt.

    The file is `ASSIGNMENT-STUDENT.zip`, in the folder where the notebook runs. A file that is
    there already is kept, and the new one gets a number.

    Parameters
    ----------
    path : str or path, optional
        The notebook, if it cannot be found by itself. Save it first.

    Examples
    --------
    >>> from lecturelib import coursework
    >>> mine = coursework.begin("project", student="ada@example.org")
    project: What does a network do with wrong labels? (the version of ada@example.org)
    >>> coursework.submit("no_such.ipynb")
    Nothing was written: there is no notebook no_such.ipynb. Save it, then call submit(path).
    """
    try:
        if _session.current is None:
            raise _NoSubmission("run the cell with coursework.begin(...) first.")
        mine = _session.variants[_session.current]
        if mine.student == PLACEHOLDER:
            raise _NoSubmission(
                "the name is still the placeholder. Put your own address into "
                "coursework.begin(...), run all cells again, and submit."
            )
        notebook, whence = _find_notebook(path, mine)
        written, code = _write_submission(notebook, mine)
    except _NoSubmission as problem:
        _say(f"Nothing was written: {problem}")
        return
    except OSError as error:
        _say(f"Nothing was written: the file could not be read or written ({error}).")
        return
    _say(
        f"Hand in the file {written.name} (in {written.parent.resolve()}). It holds {whence}. "
        f"Receipt: {code}"
    )
    if "google.colab" in sys.modules:  # the file is on a machine that will be gone
        with contextlib.suppress(Exception):
            import_module("google.colab.files").download(str(written))


# What a check finds


def _variant_for(question):
    name = question.partition("-")[0]
    if name in _session.variants:
        return _session.variants[name]
    if name == assignments.EXERCISES:  # those of the chapters, the same for all readers
        return variant("reader", name)
    raise ValueError(f"run the cell with coursework.begin({name!r}, ...) first")


def _is_missing(answer):
    """Say whether nothing was answered: `...`, None, or a collection of nothing else."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)) and len(answer) > 0:
        return all(part is None or part is ... for part in answer)
    return answer is None or answer is ...


class _Called:
    """A student's function, kept from changing the inputs of the tests and from stopping them."""

    def __init__(self, function):
        self._function = function
        self.gave_nothing = False

    def __call__(self, *arguments):
        try:
            result = self._function(*copy.deepcopy(arguments))
        except (Exception, SystemExit) as error:
            raise Wrong(f"it stopped with {type(error).__name__}: {error}") from None
        self.gave_nothing |= _is_missing(result)
        return result


def _outcome(question, answer, mine):
    """Run a question's public tests: what they say in one word, and line by line."""
    if not question.tests:
        return NOT_CHECKED, [(NOT_CHECKED, "a person reads this answer: no test looks at it")]
    if _is_missing(answer):
        return NOT_DONE, []
    if question.kind == "function":
        if not isinstance(answer, Callable):
            hint = f"the answer must be a function, not {type(answer).__name__}"
            return FAILED, [(FAILED, f"{hint}: pass it by its name, without calling it")]
        answer = _Called(answer)
    elif isinstance(answer, Callable) and not hasattr(answer, "shape"):
        return FAILED, [(FAILED, "the answer must be a value, and this is a function: call it")]
    lines = []
    for test in question.tests:
        try:
            test.run(answer, mine)
        except Wrong as wrong:
            lines.append((FAILED, f"{test.looks_at}: {wrong}"))
        except Exception as error:  # an answer of a kind that the test did not think of
            lines.append(
                (FAILED, f"{test.looks_at}: the answer is not of the kind that was asked ({error})")
            )
        else:
            lines.append((PASSED, test.looks_at))
    failed = any(outcome == FAILED for outcome, _ in lines)
    if failed and getattr(answer, "gave_nothing", False):
        return NOT_DONE, [(NOT_DONE, "the function returns nothing")]
    return (FAILED if failed else PASSED), lines


# What is shown


def _show(html, text):
    """Show html in a notebook, and text elsewhere."""
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display({"text/html": html, "text/plain": text}, raw=True)
            return
    print(text)


def _say(text):
    _show(f"<div>{escape(text)}</div>", text)


def _sign(outcome):
    return f'<strong style="color:{_COLOURS[outcome]}">{_SIGNS[outcome]}</strong>'


def _report(name, title, outcome, lines):
    """Show what the tests said: one line if there is one, else one for each of them."""
    heading = f"{_SIGNS[outcome]} {name}: "
    if len(lines) == 1 and outcome != PASSED:
        says, rest = lines[0][1], []
        says = f"{outcome} ({says})" if outcome == NOT_DONE else says
    else:
        says, rest = outcome, lines
    text = [heading + says] + [f"    {_SIGNS[each]} {line}" for each, line in rest]
    items = "".join(f"<div>{_sign(each)} {escape(line)}</div>" for each, line in rest)
    about = f" {escape(title)}" if title else ""
    _show(
        f'<div style="border-left:0.25em solid {_COLOURS[outcome]};padding-left:0.7em">'
        f"<div>{_sign(outcome)} <strong>{escape(name)}</strong>{about}: {escape(says)}</div>"
        f"{items}</div>",
        "\n".join(text),
    )


def _progress_row(question):
    outcome = _session.outcome(question.name)
    words = outcome if question.tests else "for a person"
    total = question.points + question.read_by_a_person
    points = f"{total:g} point{'s' * (total != 1)}" if total else ""
    return question.name, question.title, outcome, words, points


# What is handed in


class _NoSubmission(Exception):
    """Why nothing can be handed in; its message says what to do."""


def _find_notebook(path, mine):
    """Return the notebook's bytes, and in words which one it is."""
    if path is not None:
        try:
            return _read_notebook(Path(path), mine)
        except TypeError:
            raise _NoSubmission(
                f"path must name the notebook's file, not be a {type(path).__name__}."
            ) from None
    if "google.colab" in sys.modules:
        with contextlib.suppress(Exception):  # it is not documented; then the file will do
            return _notebook_in_colab(), "the notebook as you see it"
    for named in _session_names():
        if named.suffix == ".ipynb" and named.is_file():
            return _read_notebook(named, mine)
    found = []
    for candidate in sorted(Path().glob("*.ipynb")):
        with contextlib.suppress(_NoSubmission, OSError):
            cells = _cells(candidate.read_bytes(), candidate)
            if mine.assignment in dict(begin_calls(cells)):
                found.append(candidate)
    if len(found) == 1:
        return _read_notebook(found[0], mine)
    if found:
        names = ", ".join(candidate.name for candidate in found)
        raise _NoSubmission(
            f"several notebooks begin {mine.assignment} ({names}). Call submit(path) with yours."
        )
    raise _NoSubmission(
        "the notebook was not found. Save it (in Colab: File ▸ Download ▸ Download .ipynb), "
        "then call submit(path)."
    )


def _notebook_in_colab():
    """Ask Colab for the notebook in the browser, without who ran its cells and when."""
    message = import_module("google.colab._message")
    notebook = message.blocking_request("get_ipynb", request="", timeout_sec=30)["ipynb"]
    for cell in notebook["cells"]:
        cell.get("metadata", {}).pop("executionInfo", None)
    return json.dumps(notebook, indent=1).encode()


def _session_names():
    """Names that Jupyter and VS Code give to the notebook of a session."""
    if "JPY_SESSION_NAME" in os.environ:
        yield Path(os.environ["JPY_SESSION_NAME"])
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and "__vsc_ipynb_file__" in shell.user_ns:
        yield Path(shell.user_ns["__vsc_ipynb_file__"])


def _read_notebook(path, mine):
    if not path.is_file():
        raise _NoSubmission(f"there is no notebook {path}. Save it, then call submit(path).")
    content = path.read_bytes()
    if mine.assignment not in dict(begin_calls(_cells(content, path))):
        raise _NoSubmission(
            f"{path} has no cell that calls coursework.begin({mine.assignment!r}, ...). "
            "Call submit(path) with the notebook of the assignment."
        )
    saved = datetime.fromtimestamp(path.stat().st_mtime).strftime("%H:%M on %d %B")
    return content, f"{path.name} as saved at {saved}; save and submit again if you changed it"


def _cells(content, path):
    """Return the sources of a notebook's code cells."""
    try:
        cells = json.loads(content)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _NoSubmission(
            f"{path} is not a notebook (.ipynb). Save the notebook, then call submit(path)."
        ) from None


def begin_calls(cells):
    """Yield the assignment and the student that cells give to any function `begin`.

    What is not written out is None.

    Examples
    --------
    >>> from lecturelib.coursework.notebook import begin_calls
    >>> list(begin_calls(["mine = coursework.begin('hw1', student=me)"]))
    [('hw1', None)]
    """
    for source in cells:
        lines = (line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        try:
            tree = ast.parse("\n".join(lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a cell half written
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "attr", getattr(node.func, "id", "")) != "begin":
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            given |= zip(("assignment", "student"), node.args, strict=False)
            given = {k: v.value for k, v in given.items() if isinstance(v, ast.Constant)}
            yield given.get("assignment"), given.get("student")


def _safe(name):
    """Return a name that any system takes as part of a file's name."""
    return re.sub(r"[^\w.@-]", "_", name, flags=re.ASCII).strip(".")[:80] or "student"


def _write_submission(notebook, mine):
    """Write notebook and receipt into a file that was not there; return its path and the code."""
    asked = assignments.assignment(mine.assignment).questions
    receipt = {
        "receipt": 1,
        "assignment": mine.assignment,
        "student": mine.student,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "notebook": f"{mine.assignment}.ipynb",
        "sha256": hashlib.sha256(notebook).hexdigest(),
        "lecturelib": vars(lecturelib)["__version__"],
        "checks": {question.name: _session.outcome(question.name) for question in asked},
    }
    digest = hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest().upper()
    receipt["code"] = f"{digest[:4]}-{digest[4:8]}"
    stem = f"{_safe(mine.assignment)}-{_safe(mine.student)}"
    number = 1
    while True:
        path = Path(f"{stem}.zip" if number == 1 else f"{stem}-{number}.zip")
        try:
            file = path.open("xb")
        except FileExistsError:
            number += 1
            continue
        with file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(receipt["notebook"], notebook)
            archive.writestr("receipt.json", json.dumps(receipt, indent=1) + "\n")
        return path, receipt["code"]
