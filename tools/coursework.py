"""Build the editions of the coursework from its masters.

The rule: `coursework/NAME/master.py` is what people edit. From it this script, and nothing else,
makes

    assignments/NAME.ipynb                   the student edition: stubs for solutions, no outputs
    _build/coursework/NAME-instructor.ipynb  solutions, rubric, hidden tests, what they output
    _build/coursework/NAME-gradescope.zip    what Gradescope asks for

and the same sources make the same student edition and archive, byte for byte.

In a master, `# BEGIN SOLUTION` … `# END SOLUTION` is left out, and what follows `# STUB ` in it is
put in its place (`...` if nothing does); a line that ends with `# SOLUTION` keeps what it assigns
to. A cell with the metadata answer="hw1-q3" is a written solution, one with rubric="hw1-q3" is for
those who grade it; cells with question="hw1-q3" belong to the question.

Nothing is written, and the cell at fault is named, where a mark is left open or nested; where a
stub names what its solution does not; where a solution stands anywhere in the student edition, in
what the site is made of or in the history of `assignments/`; where a question has no points, no
hidden test or no place; where a cell does not run, or runs out of order; where the solutions miss
a test, or the stubs pass one.

usage: python tools/coursework.py [NAME ...]     (without names: all masters)
       python tools/coursework.py --check        (runs and writes nothing: are the marks right, is
                                                  nothing given away, are the editions fresh?)
"""

import ast
import base64
import binascii
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
from bundle import library_files, pack
from execute import notebook_from
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END, STUB = "# BEGIN SOLUTION", "# END SOLUTION", "# STUB "
LINE = re.compile(r"\s*# SOLUTION$")
YOURS = "*Your answer: double-click to write.*"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, in messages of a kernel
TIMEOUT = 600  # seconds a cell

# A line tells something from so many characters on, blanks left out; one that tells so much that
# nobody writes it twice by chance is looked for wherever the site's sources are.
TELLING, UNMISTAKABLE = 12, 50


class Unfit(Exception):
    """A master that no edition is made of; its message names the cell and says what is wrong."""


@dataclass(frozen=True)
class Solution:
    """Lines that students must not see, and where they stand."""

    where: str
    lines: list[str]


@dataclass(frozen=True)
class Master:
    """A master: its notebook, the student edition of it, and what that leaves out."""

    name: str
    notebook: nbformat.NotebookNode
    student: nbformat.NotebookNode
    solutions: list[Solution] = field(default_factory=list)

    def place(self, number):
        """Say which cell of the master it is, counted from 1."""
        return place(master_of(self.name), number, self.notebook.cells[number - 1])


def master_of(name):
    """Return where a master is."""
    return f"coursework/{name}/master.py"


def place(path, number, cell):
    """Say which cell of a notebook it is: by its number, its question and its first line."""
    meta = cell.metadata
    question = meta.get("question") or meta.get("answer") or meta.get("rubric")
    lines = cell.source.strip().splitlines()
    about = ", ".join(part for part in (question, lines[0] if lines else "empty") if part)
    return f"{path}, cell {number} ({about})"


# The student edition


def names_in(code, where):
    """Return the names that lines of code use or define."""
    try:
        tree = ast.parse(textwrap.dedent(code))
    except SyntaxError as error:
        raise Unfit(f"{where}: these lines cannot be read by themselves: {error}") from None
    names = set()
    for node in ast.walk(tree):
        for attribute in ("id", "attr", "arg", "name", "module", "asname"):
            value = getattr(node, attribute, None)
            names |= {value} if isinstance(value, str) else set()
    return names


def stub_of_line(line, where):
    """Return a line with `...` for what it assigns or returns."""
    code = LINE.sub("", line)
    indent = code[: len(code) - len(code.lstrip())]
    try:
        [statement] = ast.parse(code.strip()).body
    except (SyntaxError, ValueError):
        raise Unfit(f"{where}: a line marked # SOLUTION must be one whole statement") from None
    if isinstance(statement, ast.Assign):
        targets = [ast.get_source_segment(code.strip(), target) for target in statement.targets]
        first = statement.targets[0]
        count = len(first.elts) if isinstance(first, (ast.Tuple, ast.List)) else 1
        return indent + " = ".join([*targets, ", ".join(["..."] * count)])
    if isinstance(statement, ast.AnnAssign):
        code = f"{ast.unparse(statement.target)}: {ast.unparse(statement.annotation)} = ..."
        return indent + code
    return indent + ("return ..." if isinstance(statement, ast.Return) else "...")


def without_solutions(source, where):
    """Return a code cell as students get it, and the blocks of lines that this leaves out."""
    kept, blocks, block = [], [], None
    for line in source.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if block is not None:
                raise Unfit(f"{where}: a solution begins within a solution")
            block, stubs, indent = [], [], line[: len(line) - len(line.lstrip())]
        elif mark == END:
            if block is None:
                raise Unfit(f"{where}: a solution ends that was not begun")
            unknown = names_in("\n".join(stubs), where) - names_in("\n".join(block), where)
            if unknown:
                raise Unfit(
                    f"{where}: the stub names {', '.join(sorted(unknown))}, which its solution "
                    "does not: a stub may only name what the solution names"
                )
            kept += stubs or [f"{indent}..."]
            blocks.append(block)
            block = None
        elif block is not None and (mark + " ").startswith(STUB):
            stubs.append((indent + mark[len(STUB) :]).rstrip())
        elif block is not None:
            block.append(line)
        elif LINE.search(line):
            kept.append(stub_of_line(line, where))
            blocks.append([LINE.sub("", line)])
        else:
            kept.append(line)
    if block is not None:
        raise Unfit(f"{where}: a solution begins and does not end: write {END}")
    text = "\n".join(kept)
    for mark in (BEGIN, END, STUB.strip(), "# SOLUTION"):
        if mark in text:
            raise Unfit(f"{where}: {mark} stands where it marks nothing; give it a line of its own")
    return text, blocks


def read_master(path):
    """Read a master, and make the student edition of it."""
    name = path.parent.name
    notebook = notebook_from(path)
    student = nbformat.from_dict({**notebook, "cells": []})
    solutions = []
    for number, cell in enumerate(notebook.cells, 1):
        where = place(master_of(name), number, cell)
        source, blocks = cell.source, []
        if cell.cell_type == "code":
            source, blocks = without_solutions(source, where)
        elif "answer" in cell.metadata:
            source, blocks = YOURS, [source.splitlines()]
        elif "rubric" in cell.metadata:
            source, blocks = None, [source.splitlines()]
        solutions += [Solution(where, lines) for lines in blocks]
        if source is not None:
            given = nbformat.from_dict({**cell, "source": source})
            given.metadata.pop("lines_to_next_cell", None)
            given["id"] = f"cell-{len(student.cells) + 1:03d}"
            student.cells.append(given)
    return Master(name, notebook, student, solutions)


def as_text(notebook):
    """Return a notebook as the text of its file, without outputs and counts."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(notebook) + "\n"


# What gives a solution away


def squeezed(text):
    """Return a text without its blanks, so that a change of layout hides nothing."""
    return "".join(text.split())


def strings(value):
    """Yield the strings in what was read from JSON, names included, and what base64 hides."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings(inner)
    elif isinstance(value, list):
        if value and all(isinstance(line, str) for line in value):
            yield "".join(value)  # a cell's source or an output, line by line
        else:
            for inner in value:
                yield from strings(inner)
    elif isinstance(value, str):
        yield value
        if len(value) >= 16 and re.fullmatch(r"[A-Za-z0-9+/\s]+={0,2}\s*", value):
            with suppress(binascii.Error):
                yield base64.b64decode(value).decode(errors="ignore")


def telling(solution, given):
    """Return the lines of a solution that tell something, without those that are `given` anyway.

    Imports tell nothing, nor does a line of which a bracket opens the rest.
    """
    lines = [squeezed(line) for line in solution.lines]
    code = [line for line in lines if not line.startswith(("import", "from"))]
    whole = [line for line in code if not line.endswith(("(", "[", "{"))]
    return [line for line in whole if len(line) >= TELLING and line not in given]


def given_lines(master):
    """Return the lines that students get: those of the master that no mark leaves out."""
    return {
        squeezed(line) for cell in master.student.cells for line in cell.source.splitlines()
    } | {squeezed(YOURS)}


def leaks_in_notebook(master, notebook):
    """Yield what a student notebook, as read from JSON, gives away."""
    sources = {squeezed("".join(cell["source"])) for cell in notebook.get("cells", ())}
    elsewhere = squeezed("\n".join(strings(notebook)))
    everything = "\n".join([*sources, elsewhere])
    given = given_lines(master)
    for solution in master.solutions:
        whole = telling(solution, ())
        if whole and all(line in everything for line in whole):
            yield f"{solution.where}: the whole solution stands in the student edition"
            continue
        for line in telling(solution, given):
            if line in everything:
                yield f"{solution.where}: a line of it stands in the student edition: {line}"


def leaks_in_site(master, texts):
    """Yield what files of the site give away: a whole solution, or a line that none shares."""
    given = given_lines(master)
    squeezed_texts = {path: squeezed(text) for path, text in texts.items()}
    for solution in master.solutions:
        lines = telling(solution, given)
        for path, text in squeezed_texts.items():
            found = [line for line in lines if line in text]
            if found and len(found) == len(lines):
                yield f"{solution.where}: the whole solution stands in {path}"
            elif any(len(line) >= UNMISTAKABLE for line in found):
                line = max(found, key=len)
                yield f"{solution.where}: a line of it stands in {path}: {line}"


def leaks_in_history(master, history, others):
    """Yield what earlier versions of the student editions give away.

    Lines that other student editions hold today tell nothing: a call that draws a legend, say.
    """
    given = given_lines(master)
    for path, text in others.items():
        if path.startswith("assignments/"):
            given |= {squeezed(line) for line in text.splitlines()}
    for solution in master.solutions:
        for line in telling(solution, given):
            if line in history:
                yield (
                    f"{solution.where}: a line of it stands in the history of assignments/: "
                    f"{line}: take it out of the history, or ask something else"
                )


def text_of(path):
    """Return the text of a file; that of a notebook is what its cells and their outputs hold."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    return "\n".join(strings(json.loads(text))) if path.suffix == ".ipynb" else text


def site_sources(root):
    """Return the texts that the site, and what readers take home, are made of."""
    folders = [root / name for name in ("chapters", "backmatter", "lecturelib", "assignments")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    paths += [root / "intro.md", root / "README.md"]
    return {
        path.relative_to(root).as_posix(): text_of(path)
        for path in paths
        if path.suffix in {".py", ".md", ".toml", ".json", ".ipynb"} and path.is_file()
    }


def public_history(root):
    """Return all lines that were ever committed below `assignments/`, without blanks."""
    command = ["git", "log", "-p", "--all", "--no-color", "--format=", "--", "assignments"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace")
    if found.returncode:  # no repository: a copy without a history
        return ""
    lines = []
    for line in found.stdout.splitlines():
        if line.startswith(("+", "-")):
            text = line[1:].strip().removesuffix(",")
            with suppress(ValueError):
                text = str(json.loads(text))
            lines.append(squeezed(text))
    return "\n".join(lines)


# What an assignment promises


def load(path):
    """Import a file that is in no package."""
    spec = spec_from_file_location(f"{path.stem}_of_{path.parent.name}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_hidden(path):
    """Return the hidden tests that a file defines."""
    try:
        return load(path).HIDDEN
    except Exception as error:  # whatever is wrong with it, the others are built
        said = f"{type(error).__name__}: {error}"
        raise Unfit(f"coursework/{path.parent.name}/hidden.py cannot be read: {said}") from None


def broken_promises(master, assignment, hidden):
    """Yield what a master, its questions and its hidden tests do not agree about."""
    cells = master.notebook.cells
    names = {question.name for question in assignment.questions}
    for number, cell in enumerate(cells, 1):
        for kind in ("question", "answer", "rubric"):
            if kind in cell.metadata and cell.metadata[kind] not in names:
                yield f"{master.place(number)}: there is no question {cell.metadata[kind]!r}"
    for name in set(hidden) - names:
        yield f"coursework/{master.name}/hidden.py: there is no question {name!r}"
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for question in assignment.questions:
        name, tests = question.name, hidden.get(question.name, ())
        marked = [
            (cell.cell_type, kind)
            for cell in cells
            for kind in ("question", "answer", "rubric")
            if cell.metadata.get(kind) == name
        ]
        wanted = [("markdown", "question")]
        earned = sum(test.points for test in tests)
        if question.kind == "written":
            wanted += [("markdown", "answer")]
        else:
            wanted += [("code", "question")]
            if not tests:
                yield f"{name} has no hidden test in coursework/{master.name}/hidden.py"
            if not question.tests:
                yield f"{name} has no public test"
            if f'check("{name}", {question.answer})' not in code:
                yield f'{name} has no cell with coursework.check("{name}", {question.answer})'
        if question.read_by_a_person:
            wanted += [("markdown", "rubric")]
        for kind, mark in wanted:
            if (kind, mark) not in marked:
                yield f"{name} has no place: no {kind} cell is marked {mark}={name!r}"
        if not earned + question.read_by_a_person > 0:
            yield f"{name} has no points: give them to its hidden tests, or to a person"
        elif question.points != earned:
            yield (
                f"{name} promises points={question.points:g}, but its hidden tests give {earned:g}"
            )


# Running


def run(notebook, folder, describe):
    """Execute a notebook in a folder; say which cell fails."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    started = [0]
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=lambda cell, cell_index: started.append(cell_index),
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        last = COLOURS.sub("", str(error).strip().splitlines()[-1])
        raise Unfit(f"{describe(started[-1] + 1)} does not run: {last}") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("language_info", None)
    return notebook


def out_of_order(notebook, describe):
    """Yield the code cells that did not run, or not in their turn."""
    turn = 0
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            turn += 1
            if cell.execution_count != turn:
                yield f"{describe(number)} did not run, or not in its turn"


TRIAL = """\
# The tests of the solutions above, public and hidden.
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import module_from_spec, spec_from_file_location

from lecturelib.coursework import assignments

spec = spec_from_file_location("hidden", "hidden.py")  # in the folder of the master
hidden = module_from_spec(spec)
spec.loader.exec_module(hidden)
for question in assignments.assignment("{name}").questions:
    for test in (*question.tests, *hidden.HIDDEN.get(question.name, ())):
        try:
            test.run(globals()[question.answer], mine)
        except Exception as error:
            said = f"{{type(error).__name__}}: {{error}}"
            raise AssertionError(f"{{question.name}}, {{test.looks_at}}: {{said}}") from None
        earns = f"{{test.points:g}} points" if test.points else "public"
        print(f"✓ {{question.name}}: {{test.looks_at}} ({{earns}})")
"""


def instructor_edition(master, root):
    """Execute a master and its hidden tests; return the notebook with all that students miss."""
    folder = root / "coursework" / master.name
    notebook = nbformat.from_dict(json.loads(json.dumps(master.notebook)))
    source = (folder / "hidden.py").read_text(encoding="utf-8")
    text = f"# Hidden tests\n\nNot in the student edition.\n\n```python\n{source}```"
    added = [nbformat.v4.new_markdown_cell(text)]
    added += [nbformat.v4.new_code_cell(TRIAL.format(name=master.name))]
    for cell in added:
        cell["id"] = f"cell-{len(notebook.cells) + 1:03d}"
        notebook.cells.append(cell)

    def describe(number):
        own = number <= len(master.notebook.cells)
        return master.place(number) if own else f"coursework/{master.name}: its solution"

    executed = run(notebook, folder, describe)
    problems = list(out_of_order(executed, describe))
    if problems:
        raise Unfit("\n".join(problems))
    return executed


def student_runs(master, assignment, root):
    """Execute the student edition as it is: it must not fail, and nothing may be done."""
    folder = root / "assignments"

    def describe(number):
        return place(f"assignments/{master.name}.ipynb", number, master.student.cells[number - 1])

    executed = run(master.student, folder, describe)
    shown = "\n".join(strings([cell.get("outputs", []) for cell in executed.cells]))
    for question in assignment.questions:
        if question.kind != "written" and f"{question.name}: not done yet" not in shown:
            raise Unfit(
                f"assignments/{master.name}.ipynb: {question.name} is not reported as not done yet"
            )
    for leak in leaks_in_notebook(master, json.loads(nbformat.writes(executed))):
        raise Unfit(f"when it has run, {leak}")


# Gradescope

SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the machine that grades.
set -euo pipefail
cd "$(dirname "$0")"
python=""
for version in 3.13 3.12 3.11; do
    if command -v "python$version" > /dev/null; then python="python$version"; break; fi
done
if [ -z "$python" ] || ! "$python" -m venv --help > /dev/null 2>&1; then
    apt-get update
    apt-get install --yes python3.11 python3.11-venv
    python=python3.11
fi
"$python" -m venv venv
# This index has the build of torch that asks for no graphics card; its version counts as newer.
venv/bin/python -m pip install --quiet --requirement requirements.txt \\
    --extra-index-url https://download.pytorch.org/whl/cpu
"""

RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission: /autograder/submission is what was handed in.
root="${{AUTOGRADER_ROOT:-/autograder}}"
source="$root/source"
cd "$source" || exit 1
export OMP_NUM_THREADS=1 PYTHONPATH="$source"
exec "${{AUTOGRADER_PYTHON:-venv/bin/python}}" -m lecturelib.coursework gradescope "$root" \\
    --assignment {name} --hidden "$source/hidden"
"""


def pinned(root, distributions):
    """Return the lines of requirements.txt that distributions and what they need ask for."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(re.split("[=<>@ ]", line)[0]): line for line in lines if line[:1] > "#"
    }
    wanted, seen = [*distributions], set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # of another system
            continue
        wanted += [one.name for one in needed if one.marker is None or one.marker.evaluate()]
    return [pins[name] for name in sorted(seen & set(pins))]


def gradescope_archive(master, root, archive):
    """Write the archive that Gradescope asks for."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split("[<>=~! ]", line)[0] for line in project["dependencies"]]
    requirements = pinned(root, [*names, "ipython"])
    hidden = root / "coursework" / master.name / "hidden.py"
    files = {path.relative_to(root): path.read_bytes() for path in library_files(root)}
    files[Path("hidden", master.name, "hidden.py")] = hidden.read_bytes()
    files[Path("requirements.txt")] = ("\n".join(requirements) + "\n").encode()
    scripts = {Path("setup.sh"): SETUP, Path("run_autograder"): RUN.format(name=master.name)}
    files |= {path: script.encode() for path, script in scripts.items()}
    pack(files, archive, executable=scripts)


# All of it


def assignment_of(name):
    """Return what the library knows of an assignment."""
    from lecturelib.coursework import assignments  # found only now that the path is set

    try:
        return assignments.assignment(name)
    except Exception as error:  # whatever is wrong with it, the others are built
        raise Unfit(f"lecturelib/coursework/assignments/{name}.py: {error}") from None


def examine(root, name, sources, history):
    """Read a master, and find all that is wrong with it without running it.

    What is public is given: `site_sources` and `public_history` are the same for all masters.
    """
    folder = root / "coursework" / name
    master = read_master(folder / "master.py")
    assignment = assignment_of(name)
    problems = [*broken_promises(master, assignment, read_hidden(folder / "hidden.py"))]
    problems += leaks_in_notebook(master, json.loads(as_text(master.student)))
    own = f"assignments/{name}.ipynb"  # it is written anew, and looked at closely
    others = {path: text for path, text in sources.items() if path != own}
    problems += leaks_in_site(master, others)
    problems += leaks_in_history(master, history, others)
    if problems:
        raise Unfit("\n".join(problems))
    return master, assignment


def check(root, name, *public):
    """Examine a master and its student edition, and run nothing."""
    master, _ = examine(root, name, *public)
    path = root / "assignments" / f"{name}.ipynb"
    there = path.read_text(encoding="utf-8") if path.exists() else "{}"
    leaks = list(leaks_in_notebook(master, json.loads(there)))
    if leaks:
        raise Unfit("\n".join(leaks))
    if there != as_text(master.student):
        raise Unfit(f"assignments/{name}.ipynb is not what its master makes: run make coursework")


def build(root, name, *public):
    """Examine and run a master, and write its three editions."""
    master, assignment = examine(root, name, *public)
    (root / "assignments").mkdir(exist_ok=True)
    student_runs(master, assignment, root)
    instructor = instructor_edition(master, root)
    built = root / "_build" / "coursework"
    built.mkdir(parents=True, exist_ok=True)
    nbformat.write(instructor, built / f"{name}-instructor.ipynb")
    gradescope_archive(master, root, built / f"{name}-gradescope.zip")
    (root / "assignments" / f"{name}.ipynb").write_text(as_text(master.student), encoding="utf-8")


def attempt(step, root, name, *public):
    """Take a step for a master; return what is wrong with it, or nothing."""
    try:
        step(root, name, *public)
    except Unfit as problem:
        return str(problem)
    return ""


def main(arguments, root=ROOT):
    """Build or check the masters that are named, or all; return how many are unfit."""
    os.environ["TQDM_DISABLE"] = "1"
    step = check if "--check" in arguments else build
    names = [name for name in arguments if name != "--check"]
    names = names or sorted(path.parent.name for path in root.glob("coursework/*/master.py"))
    missing = [name for name in names if not (root / "coursework" / name / "master.py").exists()]
    if missing:
        print(f"there is no master of {', '.join(missing)} in coursework/", file=sys.stderr)
        return len(missing)
    public = site_sources(root), public_history(root)
    with ThreadPoolExecutor(2) as pool:  # what runs is in kernels of its own
        found = list(pool.map(lambda name: attempt(step, root, name, *public), names))
    for name, problem in zip(names, found, strict=True):
        if problem:
            print(f"✗ {name}\n{textwrap.indent(problem, '  ')}", file=sys.stderr)
        else:
            print(f"✓ {name}")
    return sum(map(bool, found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(min(main(sys.argv[1:]), 1))
