"""From a master come its editions, and nothing else: each way to spoil them stops the build."""

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
from helpers import ROOT, tool

from lecturelib.coursework import assignments

coursework = tool("coursework")

ASSIGNMENT = '''\
"""A small assignment."""

from lecturelib.coursework import Assignment, Question, Test, expect_close


def doubles(answer, mine):
    expect_close(answer(2.0), 4.0, "two must come out as four")


def own(answer, mine):
    expect_close(answer, mine.stream("number").uniform(1, 2) ** 2, "square your number")


ASSIGNMENT = Assignment(
    "tiny",
    "Small things",
    5,
    (
        Question(
            "tiny-q1", "Doubling", "double", "function", (Test("two", doubles),), points=2
        ),
        Question("tiny-q2", "A number", "squared", "value", (Test("yours", own),), points=1),
        Question("tiny-q3", "Why?", "", "written", (), read_by_a_person=3),
    ),
)
'''

HIDDEN = """\
from lecturelib.coursework import Test, expect_close


def others(answer, mine):
    for number in mine.stream("hidden numbers").uniform(-9, 9, 5):
        expect_close(answer(number), 2 * number, "a number must come out twice as large")


def own(answer, mine):
    expect_close(answer, mine.stream("number").uniform(1, 2) ** 2, "square your number")


HIDDEN = {
    "tiny-q1": (Test("other numbers", others, 2),),
    "tiny-q2": (Test("your number", own, 1),),
}
"""

MASTER = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Small things

# %%
import sys

sys.path.insert(0, "LIBRARY")
from lecturelib import coursework

mine = coursework.begin("tiny", student="your.name@example.org")
number = mine.stream("number").uniform(1, 2)

# %% [markdown] question="tiny-q1"
# ## 1. Doubling (2 points)


# %% question="tiny-q1"
def double(value):
    """Return twice a number."""
    # BEGIN SOLUTION
    # STUB result = ...
    # STUB return result
    result = value * (1 + 1 + 0)
    return result
    # END SOLUTION


# %%
coursework.check("tiny-q1", double)

# %% [markdown] question="tiny-q2"
# ## 2. A number (1 point)

# %% question="tiny-q2"
squared = number**1 * number  # SOLUTION

# %%
coursework.check("tiny-q2", squared)

# %% [markdown] question="tiny-q3"
# ## 3. Why? (3 points)

# %% [markdown] answer="tiny-q3"
# Because doubling is what a sum of two equal numbers does.

# %% [markdown] rubric="tiny-q3"
# - 3 points: says that a sum of equal numbers is a multiple.

# %%
coursework.progress()

# %%
coursework.submit()
'''


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository with one small assignment; the library is this one."""
    for name in ("pyproject.toml", "requirements.txt", "README.md", "intro.md"):
        shutil.copy(ROOT / name, tmp_path)
    package = tmp_path / "lecturelib" / "coursework" / "assignments"
    package.mkdir(parents=True)
    (tmp_path / "coursework" / "tiny").mkdir(parents=True)
    (package / "tiny.py").write_text(ASSIGNMENT)
    (tmp_path / "coursework" / "tiny" / "hidden.py").write_text(HIDDEN)
    monkeypatch.setattr(assignments, "__path__", [str(package)])
    monkeypatch.delitem(sys.modules, f"{assignments.__name__}.tiny", raising=False)
    yield tmp_path
    sys.modules.pop(f"{assignments.__name__}.tiny", None)


@pytest.fixture
def whole_library(root):
    """The whole library beside the assignment, for kernels."""
    shutil.copytree(
        ROOT / "lecturelib",
        root / "lecturelib",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return root


def write(root, master=MASTER):
    path = root / "coursework" / "tiny" / "master.py"
    path.write_text(master.replace("LIBRARY", str(root)))
    return path


def changed(old, new):
    assert MASTER.count(old) == 1, old
    return MASTER.replace(old, new)


def student(root):
    return coursework.read_master(root / "coursework" / "tiny" / "master.py").student


def publish(root):
    """Write the student edition without running it."""
    (root / "assignments").mkdir(exist_ok=True)
    path = root / "assignments" / "tiny.ipynb"
    path.write_text(coursework.as_text(student(root)))
    return path


def take(root, step=coursework.examine):
    """Take a step for the assignment, with what is public now."""
    return step(root, "tiny", coursework.site_sources(root), coursework.public_history(root))


def problem(root, step=coursework.examine):
    with pytest.raises(coursework.Unfit) as caught:
        take(root, step)
    return str(caught.value)


def test_the_student_editions_that_are_here_are_what_their_masters_make(capsys):
    """And nothing is given away, here or in the history of assignments/."""
    assert coursework.main(["--check"]) == 0, capsys.readouterr().err


# What students get


def test_students_get_stubs_and_nothing_else_changes(root):
    write(root)
    cells = [cell.source for cell in student(root).cells]
    assert 'def double(value):\n    """Return twice a number."""\n    result = ...\n' in cells[3]
    assert cells[3].endswith("result = ...\n    return result")
    assert "squared = ..." in cells
    assert coursework.YOURS in cells
    text = "\n".join(cells)
    for absent in ("SOLUTION", "STUB", "1 + 1", "number**1", "Because", "says that"):
        assert absent not in text
    assert text.count("## ") == 3 and "## 3. Why? (3 points)" in cells


def test_a_master_that_keeps_the_rules_passes(root):
    write(root)
    take(root)
    publish(root)
    take(root, coursework.check)


def test_the_same_master_gives_the_same_bytes(root):
    write(root)
    first = publish(root).read_bytes()
    assert publish(root).read_bytes() == first
    notebook = nbformat.reads(first.decode(), as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize(
    ("line", "stub"),
    [
        ("x = 3  # SOLUTION", "x = ..."),
        ("    x = y = f(3)  # SOLUTION", "    x = y = ..."),
        ("a, b = f(3)  # SOLUTION", "a, b = ..., ..."),
        ("x: float = 3  # SOLUTION", "x: float = ..."),
        ("    return x + y  # SOLUTION", "    return ..."),
        ("print(x)  # SOLUTION", "..."),
    ],
)
def test_a_solution_of_one_line_keeps_what_it_assigns_to(line, stub):
    kept, blocks = coursework.without_solutions(line, "here")
    assert kept == stub
    assert blocks == [[line.removesuffix("  # SOLUTION")]]


def test_a_stub_keeps_its_place_in_the_function():
    source = "if x:\n    # BEGIN SOLUTION\n    # STUB for y in x:\n    # STUB     y\n"
    source += "    for y in x:\n        print(y)\n    # END SOLUTION\nz"
    kept, _ = coursework.without_solutions(source, "here")
    assert kept == "if x:\n    for y in x:\n        y\nz"


# Marks


@pytest.mark.parametrize(
    ("master", "words"),
    [
        (changed("    # END SOLUTION\n", ""), "begins and does not end"),
        (changed("    # BEGIN SOLUTION\n", ""), "ends that was not begun"),
        (changed("    result = value", "    # BEGIN SOLUTION\n    result = value"), "within"),
        (changed("# STUB return result", "# STUB return total"), "the stub names total"),
        (changed("# STUB return result", "# STUB return ("), "cannot be read"),
        (changed("# STUB return result", "# STUB raise NotImplementedError"), "NotImplemented"),
        (
            changed("    # BEGIN SOLUTION\n", "    # STUB x\n    # BEGIN SOLUTION\n"),
            "# STUB stands",
        ),
        (changed("    # END SOLUTION", "    pass  # END SOLUTION"), "does not end"),
        (changed("    # BEGIN SOLUTION", "    pass  # BEGIN SOLUTION"), "not begun"),
    ],
)
def test_a_bad_mark_is_named_with_its_cell(root, master, words):
    write(root, master)
    message = problem(root)
    assert message.startswith("coursework/tiny/master.py, cell 4 (tiny-q1, def double(value):)")
    assert words in message


def test_a_marked_line_must_be_whole(root):
    write(root, changed("squared = number**1 * number  # SOLUTION", "squared = (  # SOLUTION\n3)"))
    assert "cell 7" in problem(root) and "one whole statement" in problem(root)


# Leaks


@pytest.mark.parametrize(
    "spoiled",
    [
        changed("# %%\ncoursework.progress()", "# %%\n# result=value * (1+1 + 0)\n"),
        changed("# # Small things", "# # Small things\n#\n# Hint: `squared = number**1 * number`"),
        changed(
            '# %% [markdown] question="tiny-q2"',
            '# %% [markdown] question="tiny-q2" hint="squared = number**1 * number"',
        ),
        changed(
            "# ## 3. Why?",
            "# Because doubling is what a sum of two equal numbers does.\n#\n# ## 3. Why?",
        ),
    ],
    ids=["code", "text", "metadata", "written"],
)
def test_a_solution_in_another_cell_is_found(root, spoiled):
    write(root, spoiled)
    assert "stands in the student edition" in problem(root)


def given_away(root, change):
    """What is said of a student edition that was changed after it was built."""
    write(root)
    path = publish(root)
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook))
    return problem(root, coursework.check)


SECRET = "result = value * (1 + 1 + 0)"


def into_output(notebook):
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [SECRET, "\n"]}]


def into_notebook_metadata(notebook):
    notebook["metadata"]["celltoolbar"] = {"deep": [{SECRET: 1}]}


def into_attachment(notebook):
    picture = base64.b64encode(b"\x89PNG" + SECRET.encode()).decode()
    notebook["cells"][0]["attachments"] = {"a.png": {"image/png": picture}}


def into_cell(notebook):
    notebook["cells"][0]["source"] = ["# Small\n", SECRET]


@pytest.mark.parametrize(
    "change", [into_output, into_notebook_metadata, into_attachment, into_cell]
)
def test_a_solution_anywhere_in_the_file_is_found(root, change):
    message = given_away(root, change)
    assert "cell 4" in message and "stands in the student edition" in message


def test_an_edition_that_was_changed_or_lost_is_stale(root):
    message = given_away(root, lambda notebook: notebook["cells"].pop())
    assert "is not what its master makes: run make coursework" in message
    (root / "assignments" / "tiny.ipynb").unlink()
    assert "run make coursework" in problem(root, coursework.check)


@pytest.mark.parametrize(
    "path",
    ["chapters/topic.py", "backmatter/page.md", "lecturelib/topic.py", "assignments/hw9.ipynb"],
)
def test_a_solution_among_the_sites_sources_is_found(root, path):
    write(root)
    file = root / path
    file.parent.mkdir(exist_ok=True)
    text = "squared = number**1 * number"
    if path.endswith(".ipynb"):
        cell = nbformat.v4.new_code_cell("x = 3\n  " + text)
        text = nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))
    file.write_text(text)
    assert f"the whole solution stands in {path}" in problem(root)


def test_a_long_line_among_the_sites_sources_is_found(root):
    line = "A number that is added to itself is taken twice, whatever it is."
    (root / "intro.md").write_text(line.replace("twice, ", "twice,\n"))
    write(root, changed("equal numbers does.", f"equal numbers does.\n# {line}"))
    assert "a line of it stands in intro.md" in problem(root)


def test_a_common_line_among_the_sites_sources_is_none(root):
    (root / "intro.md").write_text("return result\n")
    write(root)
    take(root)


def test_lines_that_tell_nothing_are_not_looked_for():
    lines = [
        "import torch.nn as nn",
        "x = y",
        "measured = [",
        "    first + second,",
        "]",
        "given = 3 + 4",
    ]
    found = coursework.telling(coursework.Solution("here", lines), {"given=3+4"})
    assert found == ["first+second,"]


def git(root, *arguments):
    names = {
        f"GIT_{who}_{what}": "ada@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    command = ["git", "-c", "commit.gpgsign=false", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, **names})


def test_a_solution_in_the_history_of_the_public_folder_is_found(root):
    write(root)
    path = publish(root)
    clean = path.read_text()
    git(root, "init", "--quiet")
    git(root, "add", "assignments")
    git(root, "commit", "--quiet", "-m", "clean")
    take(root)
    path.write_text(clean.replace("result = ...", "result = value * (1 + 1 + 0)"))
    git(root, "commit", "--quiet", "-a", "-m", "slip")
    path.write_text(clean)
    git(root, "commit", "--quiet", "-a", "-m", "mended")
    message = problem(root)
    assert "history of assignments/" in message and "cell 4" in message


# Promises


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("points=2", "points=3", "tiny-q1 promises points=3, but its hidden tests give 2"),
        ("read_by_a_person=3", "read_by_a_person=0", "tiny-q3 has no points"),
        ('"tiny-q3", "Why?"', '"tiny-q4", "Why?"', "tiny-q4 has no place"),
        ('(Test("two", doubles),)', "()", "tiny-q1 has no public test"),
        ('"squared", "value"', '"square", "value"', 'has no cell with coursework.check("tiny-q2"'),
    ],
)
def test_an_assignment_that_promises_something_else_is_found(root, old, new, words):
    write(root)
    path = root / "lecturelib" / "coursework" / "assignments" / "tiny.py"
    assert ASSIGNMENT.count(old) == 1
    path.write_text(ASSIGNMENT.replace(old, new))
    assert words in problem(root)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('    "tiny-q2": (Test("your number", own, 1),),\n', "", "tiny-q2 has no hidden test"),
        ("own, 1", "own, 0", "tiny-q2 has no points"),
        ('"tiny-q2": (', '"tiny-q9": (', "there is no question 'tiny-q9'"),
        ("HIDDEN = {", "1 / 0\nHIDDEN = {", "hidden.py cannot be read: ZeroDivisionError"),
    ],
)
def test_hidden_tests_that_miss_a_question_are_found(root, old, new, words):
    write(root)
    assert HIDDEN.count(old) == 1
    (root / "coursework" / "tiny" / "hidden.py").write_text(HIDDEN.replace(old, new))
    assert words in problem(root)


@pytest.mark.parametrize(
    ("master", "words"),
    [
        (changed('# %% question="tiny-q2"', "# %%"), "no code cell is marked question='tiny-q2'"),
        (changed('[markdown] answer="tiny-q3"', "[markdown]"), "no markdown cell is marked answer"),
        (changed('[markdown] rubric="tiny-q3"', "[markdown]"), "no markdown cell is marked rubric"),
        (changed('rubric="tiny-q3"', 'rubric="tiny-q7"'), "there is no question 'tiny-q7'"),
        (changed('coursework.check("tiny-q1", double)', "double"), "has no cell with"),
    ],
)
def test_a_question_without_its_place_is_found(root, master, words):
    write(root, master)
    assert words in problem(root)


def test_an_assignment_that_is_not_there_is_named(root):
    write(root)
    (root / "lecturelib" / "coursework" / "assignments" / "tiny.py").unlink()
    assert "there is no assignment 'tiny'" in problem(root)


# Running


def test_a_cell_that_fails_is_named(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("x = 1", "1 / 0", "x")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(coursework.Unfit, match="cell 2 does not run: ZeroDivisionError"):
        coursework.run(notebook, tmp_path, lambda number: f"cell {number}")


@pytest.mark.parametrize("counts", [(1, None), (2, 1), (1, 3), (5, 6)])
def test_cells_that_did_not_run_in_their_turn_are_named(counts):
    cells = [nbformat.v4.new_code_cell("x", execution_count=count) for count in counts]
    cells.insert(1, nbformat.v4.new_markdown_cell("text"))
    found = coursework.out_of_order(nbformat.v4.new_notebook(cells=cells), str)
    assert any("did not run, or not in its turn" in line for line in found)


def test_three_editions_are_built(whole_library, capsys):
    """And a second time with the same bytes, where they should be."""
    root = whole_library
    write(root)
    assert coursework.main([], root) == 0, capsys.readouterr().err
    assert capsys.readouterr().out == "✓ tiny\n"
    archive = root / "_build" / "coursework" / "tiny-gradescope.zip"
    first = archive.read_bytes(), (root / "assignments" / "tiny.ipynb").read_bytes()

    instructor = nbformat.read(root / "_build/coursework/tiny-instructor.ipynb", as_version=4)
    nbformat.validate(instructor)
    text = "\n".join(cell.source for cell in instructor.cells)
    for present in (SECRET, "Because doubling", "- 3 points", "a number must come out twice"):
        assert present in text
    outputs = "".join(output.text for output in instructor.cells[-1].outputs)
    assert "✓ tiny-q1: other numbers (2 points)" in outputs and "✓ tiny-q2" in outputs
    assert coursework.main(["--check"], root) == 0

    with zipfile.ZipFile(archive) as files:
        modes = {entry.filename: entry.external_attr >> 16 for entry in files.infolist()}
        requirements = files.read("requirements.txt").decode().split()
        for script in ("setup.sh", "run_autograder"):
            assert modes[script] & 0o111
            subprocess.run(["bash", "-n"], input=files.read(script), check=True)
        assert files.read("hidden/tiny/hidden.py").decode() == HIDDEN
    assert "lecturelib/coursework/questions.py" in modes
    assert not any("master" in name or "answers" in name or "pyc" in name for name in modes)
    pins = (ROOT / "requirements.txt").read_text().split("\n")
    assert {"numpy", "torch", "ipython"} <= {line.split("==")[0] for line in requirements}
    assert all("==" in line and line in pins for line in requirements)

    coursework.gradescope_archive(take(root)[0], root, archive)
    publish(root)
    assert (archive.read_bytes(), (root / "assignments" / "tiny.ipynb").read_bytes()) == first


def test_what_fails_when_it_runs_stops_the_build(whole_library):
    """A student edition that crashes or is done at once; solutions that a hidden test fails."""
    root = whole_library
    (root / "assignments").mkdir()
    assignment = coursework.assignment_of("tiny")

    def read(old, new):
        return coursework.read_master(write(root, changed(old, new)))

    crash = read('coursework.check("tiny-q2", squared)', 'coursework.check("tiny-q2", squared + 0)')
    with pytest.raises(coursework.Unfit, match=r"assignments/tiny.ipynb, cell 8 .*: TypeError"):
        coursework.student_runs(crash, assignment, root)
    done = read("# STUB return result", "# STUB return value * 2")
    with pytest.raises(coursework.Unfit, match="tiny-q1 is not reported as not done yet"):
        coursework.student_runs(done, assignment, root)
    wrong = read("result = value * (1 + 1 + 0)", "result = 2 * abs(value)")
    with pytest.raises(coursework.Unfit, match="tiny-q1, other numbers: Wrong: a number must come"):
        coursework.instructor_edition(wrong, root)


def test_one_unfit_master_does_not_hide_another(root, capsys):
    write(root, changed("    # END SOLUTION\n", ""))
    other = root / "coursework" / "other"
    other.mkdir()
    (other / "master.py").write_text(changed("    # BEGIN SOLUTION\n", ""))
    assert coursework.main(["--check"], root) == 2
    said = capsys.readouterr().err
    assert "does not end" in said and "✗ other" in said and "not begun" in said
    assert coursework.main(["--check", "nothing"], root) == 1
    assert "there is no master of nothing" in capsys.readouterr().err


def test_gradescopes_archive_grades_where_it_is_unpacked(whole_library):
    """In a folder laid out as Gradescope's, with this environment for the one of setup.sh."""
    root = whole_library
    write(root)
    (root / "_build").mkdir()
    coursework.gradescope_archive(take(root)[0], root, root / "_build/a.zip")
    autograder = root / "autograder"
    for name in ("source", "submission", "results"):
        (autograder / name).mkdir(parents=True)
    subprocess.run(["unzip", "-q", root / "_build/a.zip", "-d", autograder / "source"], check=True)
    handed_in = student(root)
    for cell in handed_in.cells:
        for old, new in [
            ("return result", "return 2 * value"),
            ("squared = ...", "squared = number * 2"),
            ("your.name@example.org", "ada@example.org"),
        ]:
            cell.source = cell.source.replace(old, new)
    nbformat.write(handed_in, autograder / "submission" / "mine.ipynb")
    metadata = {"users": [{"email": "ada@example.org", "name": "Ada"}]}
    (autograder / "submission_metadata.json").write_text(json.dumps(metadata))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"AUTOGRADER_ROOT": str(autograder), "AUTOGRADER_PYTHON": sys.executable}
    script = autograder / "source" / "run_autograder"
    result = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    results = json.loads((autograder / "results" / "results.json").read_text())
    scores = {test["name"]: test["score"] for test in results["tests"]}
    assert scores["tiny-q1 Doubling: other numbers"] == 2
    assert scores["tiny-q2 A number: your number"] == 0  # twice it, where its square was asked for
    assert results["score"] == 2
    assert results["stdout_visibility"] == "hidden"
