"""Reading what was handed in: the notebook, whose it is, and what is odd about it.

Nothing is unpacked to disk and nothing in a file is believed without a look: a zip's members are
read in memory by name, and a notebook is a JSON file that may be anything.
"""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from lecturelib.coursework.notebook import PLACEHOLDER, begin_calls
from lecturelib.coursework.variants import student_name

__all__ = ["Submission", "find", "read"]

MOST = 32 << 20  # bytes of a notebook, pictures included
# What Canvas and Moodle make of the names of files and folders.
CANVAS = re.compile(r"^(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_")
MOODLE = re.compile(r"^(?P<name>.+)_(?P<id>\d+)_assignsubmission_", re.IGNORECASE)


@dataclass
class Submission:
    """What one student handed in.

    Attributes
    ----------
    path : str
        Its place below the folder of all submissions.
    name, number : str
        Of the student, as Canvas or Moodle write them into file names; else of the file, and empty.
    student : str
        Whose variant it is: what the notebook gave to `begin`, else the receipt, else `name`.
    sure : bool
        Whether it is known whose it is; otherwise the notebook may say so as it runs.
    cells : list of str
        Source of its code; empty if it can't be read.
    notes : list of str
        What a person should know.
    digest : str
        SHA-256 of the file.
    receipt : dict
        What `submit` wrote, or empty.
    """

    path: str
    name: str
    number: str = ""
    student: str = ""
    sure: bool = False
    cells: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    digest: str = ""
    receipt: dict = field(default_factory=dict)


def find(folder):
    """Return what was handed in below a folder, one path for each student, in order.

    Parameters
    ----------
    folder : Path
        Files, or folders with a file each; zips that hold all of them are to be unpacked before.

    Returns
    -------
    list of Path
        Of a folder within it, the newest notebook or zip, by name if of one age; or the folder
        itself if there is none, so that nobody gets lost.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} with submissions")
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.is_dir() and not path.is_symlink():
            inside = [
                inner
                for inner in path.rglob("*")
                if inner.suffix.lower() in (".ipynb", ".zip")
                and inner.is_file()
                and not inner.is_symlink()
                and not any(part.startswith((".", "__")) for part in inner.relative_to(path).parts)
            ]
            inside.sort(key=lambda inner: (inner.stat().st_mtime, str(inner)))
            found.append(inside[-1] if inside else path)
        else:
            found.append(path)
    return found


def read(path, folder, assignment):
    """Read one submission; whatever is wrong with it becomes a note.

    Parameters
    ----------
    path : Path
        A notebook, or a zip with one.
    folder : Path
        The one of all submissions.
    assignment : str
        Its name, by which `begin` is found.

    Returns
    -------
    Submission
    """
    path, folder = Path(path), Path(folder)
    place = path.relative_to(folder)
    label = place.parts[0]
    known = CANVAS.match(label) or MOODLE.match(label)
    plain = Path(label).stem if len(place.parts) == 1 else label
    found = Submission(str(place), known["name"] if known else plain)
    found.number = known["id"] if known else ""
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("there is no notebook")
        if path.stat().st_size > MOST:
            raise ValueError(f"the file is larger than {MOST >> 20} MiB")
        data = path.read_bytes()
        found.digest = hashlib.sha256(data).hexdigest()
        if zipfile.is_zipfile(io.BytesIO(data)):
            data = _unpack(data, found)
        found.cells = _code(data)
        if not found.cells:
            found.notes.append("the notebook has no code")
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        found.notes.append(f"nothing could be run: {error}"[:300])
    except Exception as error:  # a zip can fail in many ways
        found.notes.append(f"nothing could be run: {type(error).__name__}")
    begun = _begun(found.cells, assignment)
    handed = found.receipt.get("student")
    handed = student_name(handed) if isinstance(handed, str) else ""
    found.student = begun or handed or student_name(found.name) or "unknown"
    found.sure = bool(begun)
    if begun and handed and begun != handed:
        found.notes.append(f"the notebook begins as {begun!r}, its receipt says {handed!r}")
    if begun == PLACEHOLDER:
        found.notes.append(f"the notebook still begins as {PLACEHOLDER}")
    return found


def _unpack(data, found):
    """Return the notebook of a zip, and read its receipt; nothing is written anywhere."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        odd = [
            info.filename
            for info in members
            if info.filename.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", info.filename)
        ]
        if odd:
            found.notes.append(f"the zip names a place outside its folder: {odd[0]!r}"[:200])
        books = [
            info
            for info in members
            if info.filename.lower().endswith(".ipynb")
            and info.filename not in odd
            and not info.filename.startswith("__MACOSX")
        ]
        if len(books) != 1:
            raise ValueError(f"the zip must hold one notebook, and holds {len(books)}")
        notebook = _member(archive, books[0])
        for info in members:
            if info.filename.rpartition("/")[2] == "receipt.json" and info.filename not in odd:
                try:
                    receipt = json.loads(_member(archive, info))
                except (ValueError, RecursionError):
                    receipt = None
                if isinstance(receipt, dict):
                    found.receipt = receipt
                    claimed = receipt.get("sha256")
                    if claimed and claimed != hashlib.sha256(notebook).hexdigest():
                        found.notes.append("the notebook was changed after its receipt was written")
    return notebook


def _member(archive, info):
    """Read a member, however large it says it is, up to a limit."""
    with archive.open(info) as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"the zip holds a file larger than {MOST >> 20} MiB")
    return data


def _code(data):
    """Return the source of the code cells of a notebook."""
    try:
        book = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError("the file is no notebook: it can't be read as JSON") from None
    cells = book.get("cells") if isinstance(book, dict) else None
    if cells is None and isinstance(book, dict) and isinstance(book.get("worksheets"), list):
        cells = [
            cell
            for sheet in book["worksheets"]
            if isinstance(sheet, dict)
            for cell in sheet.get("cells") or ()
        ]  # notebooks of format 3
    if not isinstance(cells, list):
        raise ValueError("the file is no notebook: it has no cells")
    sources = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            if isinstance(source, list):
                source = "".join(piece for piece in source if isinstance(piece, str))
            sources.append(source if isinstance(source, str) else "")
    return sources


def _begun(cells, assignment):
    """Return the student that a notebook gives to `begin` for an assignment, or nothing."""
    for which, who in begin_calls(cells):
        if which == assignment and isinstance(who, str) and who.strip():
            return student_name(who)
    return ""
