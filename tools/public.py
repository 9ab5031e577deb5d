"""Write the copy of this repository that may be published.

The rule: the copy holds every file that git tracks, as it is now, but those that answer the
coursework or need what does: the folder `coursework/` and the tests of its answers. It has no
history, but is a repository with everything staged, so that it builds, tests and can be committed.
The folder must be new or empty. When it is written, all of it is searched for what the masters,
hidden tests and collected answers hold; if anything is found, the copy is removed again.

usage: python tools/public.py DEST
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

from coursework import (
    UNMISTAKABLE,
    Solution,
    Unfit,
    leaks_in_site,
    read_master,
    squeezed,
    telling,
    text_of,
)

ROOT = Path(__file__).resolve().parents[1]
PRIVATE = ("coursework", "tests/coursework/test_assignments.py")


def is_private(path):
    """Say whether a path, relative to the repository, is left out."""
    return any(path == private or path.startswith(f"{private}/") for private in PRIVATE)


def tracked(root):
    """Return the paths of the files that git tracks and that are there."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if listed.returncode:
        raise Unfit(f"{root} is no git repository: only files that git tracks are published")
    return [path for path in listed.stdout.split("\0") if path and (root / path).is_file()]


def copy(root, destination):
    """Copy what is not private."""
    for path in tracked(root):
        if not is_private(path):
            target = destination / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, target)  # a link becomes what it leads to


def texts(folder):
    """Return the texts of all files below a folder, those of notebooks cell by cell."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): text_of(path) for path in paths}


def leaks(root, destination):
    """Yield what a copy gives away."""
    found = texts(destination)
    for path in found:
        if is_private(path) or ".git" in Path(path).parts:
            yield f"{path} is there"
    for path in sorted(root.glob("coursework/*/master.py")):
        yield from leaks_in_site(read_master(path), found)
    without_blanks = {path: squeezed(text) for path, text in found.items()}
    for path in sorted(root.glob("coursework/*/*.py")):
        for what, lines in statements(path) if path.name != "master.py" else ():
            for place, text in without_blanks.items():
                if all(line in text for line in lines):
                    yield f"{path.relative_to(root)}: {what} stands in {place}"


def statements(path):
    """Yield the functions and other statements of a file that are long enough to tell something.

    Each comes with what begins it and its telling lines: a single line of a test may well stand
    elsewhere, but not all of them.
    """
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        code = ast.get_source_segment(source, node).splitlines()
        lines = telling(Solution(str(path), code), ())
        if sum(map(len, lines)) >= UNMISTAKABLE:
            yield code[0], lines


def publish(root, destination):
    """Write the copy, search it, and make a repository of it."""
    destination = destination.resolve()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise Unfit(f"{destination} is there and not empty: name a new folder")
    if destination.is_relative_to(root.resolve()):
        raise Unfit(f"{destination} lies in the repository: name a folder outside of it")
    destination.mkdir(parents=True, exist_ok=True)
    try:
        copy(root, destination)
        found = list(leaks(root, destination))
        if found:
            raise Unfit("\n".join(found))
    except BaseException:
        shutil.rmtree(destination)
        raise
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=destination, check=True)


def main(arguments, root=ROOT):
    """Write the copy; return 1 if it may not be written."""
    if len(arguments) != 1 or not arguments[0]:
        print("usage: make public DEST=FOLDER", file=sys.stderr)
        return 1
    try:
        publish(root, Path(arguments[0]))
    except Unfit as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{arguments[0]} may be published. It has no history: commit it, and push it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
