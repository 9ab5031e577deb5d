"""What is published answers nothing: no master, no hidden test, no solution, no history."""

import os
import subprocess
import sys

import nbformat
import pytest
from helpers import ROOT, tool

public = tool("public")

MASTER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% question="tiny-q1"
def double(value):
    # BEGIN SOLUTION
    once = value * (1 + 0)
    return once + value * (0 + 1)
    # END SOLUTION
"""
SOLUTION = "    once = value * (1 + 0)\n    return once + value * (0 + 1)\n"
HIDDEN = "from lecturelib.coursework.questions import Assignment, Question, Test, Wrong, array\n"
HIDDEN += """
def others(answer, mine):
    means = mine.stream("hidden means").normal((5, 3)) + 2
    expect_close(answer(means), means.mean(0), "take the mean over the classes")
"""


def git(root, *arguments):
    names = {f"GIT_{who}": "ada@example.org" for who in ("AUTHOR_NAME", "AUTHOR_EMAIL")}
    names |= {name.replace("AUTHOR", "COMMITTER"): ada for name, ada in names.items()}
    command = ["git", "-c", "commit.gpgsign=false", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, **names})


@pytest.fixture
def root(tmp_path):
    """A small repository whose history holds a slip."""
    root = tmp_path / "full"
    files = {
        "README.md": "The book.",
        "lecturelib/__init__.py": "",
        "coursework/tiny/master.py": MASTER,
        "coursework/tiny/hidden.py": HIDDEN,
        "tests/coursework/test_assignments.py": "from coursework import answers",
        "tests/test_house.py": HIDDEN.splitlines()[0],
        "assignments/slip.md": SOLUTION,
        "coursework_of_others.md": "This is none of ours.",
        ".gitignore": "/_build/\n",
        "_build/tiny-instructor.ipynb": SOLUTION,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "a slip")
    (root / "assignments" / "slip.md").unlink()
    git(root, "commit", "--quiet", "-a", "-m", "mended")
    return root


def files_of(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != ".git"}


def commit(root, name, text):
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(text)
    git(root, "add", name)


def test_private_files_and_history_stay_behind(root, tmp_path, capsys):
    copy = tmp_path / "public"
    assert public.main([str(copy)], root) == 0, capsys.readouterr().err
    assert files_of(copy) == {
        "README.md",
        "lecturelib/__init__.py",
        "tests/test_house.py",
        "coursework_of_others.md",
        ".gitignore",
    }
    listed = subprocess.run(["git", "ls-files"], cwd=copy, capture_output=True, text=True)
    assert set(listed.stdout.split()) == files_of(copy)
    log = subprocess.run(["git", "log"], cwd=copy, capture_output=True, text=True)
    assert log.returncode and "does not have any commits" in log.stderr
    assert b"1 + 0" not in b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())


def notebook_with(source):
    cell = nbformat.v4.new_markdown_cell("Look", metadata={"hint": source})
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("chapters/a.py", f"if True:\n{SOLUTION}", "the whole solution stands in chapters/a.py"),
        ("tests/test_a.py", SOLUTION, "the whole solution stands in tests/test_a.py"),
        ("assignments/a.ipynb", notebook_with(SOLUTION), "stands in assignments/a.ipynb"),
        (
            "lecturelib/a.py",
            HIDDEN,
            "hidden.py: def others(answer, mine): stands in lecturelib/a.py",
        ),
    ],
)
def test_a_copy_that_gives_something_away_is_not_written(root, tmp_path, capsys, name, text, words):
    commit(root, name, text)
    assert public.main([str(tmp_path / "public")], root) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "public").exists()


def test_a_line_of_a_test_may_stand_elsewhere(root, tmp_path):
    commit(root, "lecturelib/a.py", HIDDEN.splitlines()[-1])
    assert public.main([str(tmp_path / "public")], root) == 0


def test_private_files_that_were_renamed_are_recognised(root, tmp_path, capsys):
    git(root, "mv", "coursework/tiny/master.py", "tests/old_master.py")
    commit(root, "coursework/tiny/master.py", MASTER)
    assert public.main([str(tmp_path / "public")], root) == 1
    assert "stands in tests/old_master.py" in capsys.readouterr().err


def test_nothing_is_written_over(root, tmp_path, capsys):
    copy = tmp_path / "public"
    copy.mkdir()
    assert public.main([str(copy)], root) == 0
    before = files_of(copy)
    assert public.main([str(copy)], root) == 1
    assert "is there and not empty" in capsys.readouterr().err
    assert files_of(copy) == before
    file = tmp_path / "file"
    file.write_text("mine")
    assert public.main([str(file)], root) == 1
    assert file.read_text() == "mine"
    assert public.main([str(root / "public")], root) == 1
    assert "lies in the repository" in capsys.readouterr().err


def test_what_git_does_not_know_is_not_guessed(root, tmp_path, capsys):
    (root / "notes.md").write_text("Answers: see my desk.")
    assert public.main([str(tmp_path / "public")], root) == 0
    assert "notes.md" not in files_of(tmp_path / "public")
    bare = tmp_path / "bare"
    bare.mkdir()
    assert public.main([str(tmp_path / "again")], bare) == 1
    assert "is no git repository" in capsys.readouterr().err
    assert public.main([], root) == 1
    assert "make public DEST=" in capsys.readouterr().err


def test_the_copy_of_this_repository_tests_itself(tmp_path):
    """As far as a few tests go: all of them take an hour."""
    copy = tmp_path / "public"
    public.publish(ROOT, copy)
    assert (copy / "Makefile").exists() and not (copy / "coursework").exists()
    code = """
import sys, pytest, lecturelib
print(lecturelib.__file__)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
    tests = ["tests/coursework/test_questions.py", "tests/coursework/test_variants.py"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", code, *tests]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
    assert result.stdout.startswith(str(copy))
