"""How the house is built: which module may use which, how large a file grows, how lines begin."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import jupytext
import pytest
from helpers import ROOT

LIBRARY = ROOT / "lecturelib"
CHAPTERS = sorted((ROOT / "chapters").glob("*.py"))
SOURCES = sorted(LIBRARY.rglob("*.py"))
# Losses are derived in a chapter of their own, but every chapter may train with them.
SHARED = {"losses"}
TWINS = {path.stem for path in CHAPTERS} - SHARED


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree, *, everywhere=True):
    """Modules of the library that a file imports, each with the names it takes from it.

    Without ``everywhere``, those that it needs to be imported itself: not those within functions.
    """
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lecturelib":
                    yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            if node.module.split(".")[0] == "lecturelib":
                names = [alias.name for alias in node.names]
                inner = [name for name in names if f"{node.module}.{name}" in MODULES]
                yield from ((f"{node.module}.{name}", []) for name in inner)
                if len(inner) < len(names):
                    yield node.module, [name for name in names if name not in inner]


def topic(module):
    """What stands behind ``lecturelib.`` first."""
    return module.split(".")[1] if "." in module else ""


def prerequisites(chapter):
    """Chapters that the box in front of a chapter asks for."""
    text = (ROOT / "chapters" / f"{chapter}.py").read_text(encoding="utf-8")
    paragraph = re.search(r"\*\*You need\*\*.*?\n#\n", text, re.DOTALL)
    return set(re.findall(r"\]\((\w+)\.ipynb\)", paragraph[0])) if paragraph else set()


@pytest.mark.parametrize("module", MODULES)
def test_twins_use_shared_modules_and_those_of_their_prerequisites(module):
    own = topic(module)
    if own == "experiments":  # which run what the twins have
        return
    used = {topic(name) for name, _ in imports(parsed(MODULES[module]))} & TWINS
    allowed = {own} | prerequisites(own) if own in TWINS else set()
    assert used <= allowed


@pytest.mark.parametrize("chapter", [path.stem for path in CHAPTERS])
def test_chapters_use_shared_modules_their_twin_and_those_of_their_prerequisites(chapter):
    used = {topic(name) for name, _ in imports(parsed(ROOT / "chapters" / f"{chapter}.py"))}
    assert used
    assert used & TWINS <= {chapter} | prerequisites(chapter)


def test_prerequisites_are_read_from_the_box():
    assert prerequisites("deep_matrix_completion") == {"law_of_parsimony"}


def test_no_module_imports_itself_in_a_circle():
    graph = {
        name: {found for found, _ in imports(parsed(path), everywhere=False)} - {name}
        for name, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def trespasses(tree, package):
    """Underscored names that a file of a package takes from modules outside it."""
    for module, names in imports(tree):
        if topic(module) != topic(package) or not topic(package):
            yield from (word for word in [*module.split("."), *names] if word.startswith("_"))
    modules = {name.rpartition(".")[2] for name, _ in imports(tree)}
    for node in ast.walk(tree):
        place = ast.unparse(node.value) if isinstance(node, ast.Attribute) else ""
        if place in modules and node.attr.startswith("_") and not place.startswith("_"):
            yield node.attr


@pytest.mark.parametrize(
    "path", [*SOURCES, *CHAPTERS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_is_underscored_stays_within_its_walls(path):
    assert list(trespasses(parsed(path), module_name(path.parent / "__init__.py"))) == []


def test_a_trespass_is_seen():
    code = "from lecturelib import checks\nfrom lecturelib.datasets import _files, load\n"
    code += "from lecturelib.metrics import _vectors\nchecks._range(), _files.read, load._own"
    assert sorted(trespasses(ast.parse(code), "lecturelib")) == ["_files", "_range", "_vectors"]
    assert sorted(trespasses(ast.parse(code), "lecturelib.datasets")) == ["_range", "_vectors"]


@pytest.mark.parametrize("package", ["claims", "records"])
def test_the_site_can_read_it_with_the_standard_library_alone(package):
    """No site-packages: the book is built, and a chapter's record read, without torch."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import lecturelib.{package}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("lecturelib", "tests", "tools", "backmatter")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".toml", ".md"}
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_file_but_a_chapter_grows_beyond_700_lines(path):
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= 700


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_line_of_text_begins_as_a_comment_a_heading_or_a_list_by_accident(path):
    """A line that begins with % is left out by MyST; = and + make headings and lists."""
    for cell in jupytext.read(path).cells:
        if cell.cell_type != "markdown":
            continue
        apart = False  # within a displayed formula or a block of code
        for line in cell.source.splitlines():
            ends = line.count("$$") % 2 + line.strip().startswith("```")
            assert apart or not re.match(r"\s*[%=+]", line), line
            apart ^= bool(ends)
