"""Bundle what a reader takes home: one archive with the notebooks and the library they use.

The rule: unpacked, the folder `book` runs. It holds the chapters as notebooks without their outputs
(the pages show those, and the site stays small), the assignments for students, all of `lecturelib`
with its claims and records, and what an installation needs. The notebooks find the library beside
them; only other packages have to be installed. The same sources give the same bytes: files are
sorted and bear one time.

usage: python tools/bundle.py ARCHIVE
"""

import sys
import zipfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("book")
COPIED = ["LICENSE", "pyproject.toml", "requirements.txt"]
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time that an archive can hold

README = """\
# Low-dimensional structures in deep representation learning

The notebooks of the book, its assignments, and the library they use.

## Run

With Python 3.11 or newer, in this folder:

    python -m venv .venv
    .venv/bin/python -m pip install . jupyterlab jupyterlab-myst
    .venv/bin/jupyter lab chapters

(On Windows, write `.venv\\Scripts` for `.venv/bin`.) The notebooks take the library from this
folder, so what you change in `lecturelib` counts. `jupyterlab-myst` draws theorems and exercises as
the book's pages do. The versions that made the outputs on those pages are in `requirements.txt`:
add `--constraint requirements.txt` to install exactly these.

The notebooks come without outputs: run their cells from the top. A chapter takes a minute or two on
a CPU.

## Data

The chapters use the handwritten digits that scikit-learn brings. Other data sets (MNIST,
FashionMNIST, USPS, CIFAR-10 and CIFAR-100) are downloaded once, when you ask for them, and checked
against published hashes. Without a network, put the files as published into a folder, each data
set's into a subfolder of its name (`mnist`, `fashion_mnist`, `usps`, `cifar10`, `cifar100`), and
name the outer folder in the environment variable `LECTURELIB_DATA`. Where a file is missing, the
error message says its address and its place.

## Licence

Code: MIT. Text: CC BY 4.0. See LICENSE.
"""


def without_outputs(path):
    """Return a notebook as text, with its outputs and counts left out."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(notebook) + "\n"


def library_files(root):
    """Yield the paths of the library's files, without what Python or an editor leaves there."""
    for path in (root / "lecturelib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != ".":
            yield path


def contents(root):
    """Return the bytes of each file of the archive, by its path there."""
    files = {Path("README.md"): README.encode()}
    for folder in ("chapters", "assignments"):
        for path in (root / folder).glob("*.ipynb"):
            files[path.relative_to(root)] = without_outputs(path).encode()
    for path in [*library_files(root), *(root / name for name in COPIED)]:
        files[path.relative_to(root)] = path.read_bytes()
    return files


def pack(files, archive, executable=()):
    """Write an archive of files, given as bytes by path: the same ones give the same archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path.as_posix(), EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, which knows what may be executed
            entry.external_attr = (0o100755 if path in executable else 0o100644) << 16
            packed.writestr(entry, files[path])


def bundle(root, archive):
    """Write the archive."""
    pack({FOLDER / path: data for path, data in contents(root).items()}, archive)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/bundle.py ARCHIVE")
    Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    bundle(ROOT, sys.argv[1])
