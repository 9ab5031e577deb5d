"""What a reader takes home runs where it is unpacked, with the library that came with it."""

import os
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
from helpers import ROOT, tool

bundle = tool("bundle").bundle
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))

# Runs a notebook's first code cells in its own folder, cut off from any network.
RUN = """
import socket, sys, nbformat

def refuse(*arguments, **options):
    raise OSError("no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
cells = nbformat.read(sys.argv[1], as_version=4).cells
code = [cell.source for cell in cells if cell.cell_type == "code"]
cells_of = {}
for source in code[:int(sys.argv[2])]:
    exec(source, cells_of)
import lecturelib
print(lecturelib.__file__)
"""

# Runs the set-up cell where there is no library, and where installing one fails.
RUN_WITHOUT_LIBRARY = """
import sys
from IPython.core.interactiveshell import InteractiveShell

sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
shell = InteractiveShell.instance()
shell.run_line_magic = lambda name, line: print(name, line)
exec(sys.argv[1])
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    bundle(ROOT, folder / "book.zip")
    with zipfile.ZipFile(folder / "book.zip") as archive:
        archive.extractall(folder)
    return folder / "book"


def python(folder, *arguments):
    """Run Python in a folder, without this repository on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["MPLBACKEND"] = "agg"
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_everything_is_there(unpacked):
    listed = subprocess.run(
        ["git", "ls-files", "lecturelib"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in [*listed.stdout.split(), "pyproject.toml", "requirements.txt", "LICENSE"]:
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes()
    assert sorted(path.name for path in (unpacked / "chapters").iterdir()) == [
        path.name for path in CHAPTERS
    ]
    readme = (unpacked / "README.md").read_text(encoding="utf-8")
    assert "without outputs" in readme and "LECTURELIB_DATA" in readme


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_notebooks_keep_their_cells_and_lose_their_outputs(unpacked, path):
    there = nbformat.read(unpacked / "chapters" / path.name, as_version=4)
    here = nbformat.read(path, as_version=4)
    nbformat.validate(there)
    assert [cell.source for cell in there.cells] == [cell.source for cell in here.cells]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in there.cells)


def test_the_same_sources_give_the_same_bytes(tmp_path):
    for name in ["assignments", "chapters", "lecturelib"]:
        shutil.copytree(ROOT / name, tmp_path / name, copy_function=shutil.copyfile)
    for name in ["pyproject.toml", "requirements.txt", "LICENSE"]:
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "lecturelib" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "lecturelib" / "__pycache__" / "left_over.pyc").touch()
    bundle(ROOT, tmp_path / "one.zip")
    bundle(tmp_path, tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_a_chapter_runs_where_it_is_unpacked(unpacked):
    result = python(unpacked / "chapters", RUN, "low_rank_training.ipynb", "6")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == str(unpacked / "lecturelib" / "__init__.py")


def test_without_a_library_the_setup_cell_says_what_to_do(tmp_path):
    notebook = nbformat.read(CHAPTERS[0], as_version=4)
    setup = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    result = python(tmp_path, RUN_WITHOUT_LIBRARY, setup)
    assert result.stdout.startswith("pip install --quiet git+https://")
    assert "ModuleNotFoundError: lecturelib could not be installed" in result.stderr
    assert "book.zip" in result.stderr
