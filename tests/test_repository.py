"""The address of the repository stands in one place, and everything else follows it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from helpers import ROOT

ADDRESS = "https://github.com/ada/deep-book"


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that hold the address."""
    for name in ["_config.yml", "_toc.yml", "README.md"]:
        shutil.copy(ROOT / name, tmp_path)
    for name in ["chapters", "tools"]:
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".*", "__pycache__")
        )
    return tmp_path


def repository(root, *arguments):
    return subprocess.run(
        [sys.executable, root / "tools" / "repository.py", *arguments],
        capture_output=True,
        text=True,
    )


def contents(root):
    return {path: path.read_text(encoding="utf-8") for path in root.rglob("*") if path.is_file()}


def assert_agreement(root):
    address = repository(root).stdout.strip()
    chapters = sorted((root / "chapters").glob("*.ipynb"))
    for path in [*chapters, *(path.with_suffix(".py") for path in chapters)]:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"git\+(https://[\w./-]+)", text) == [address]
    readme = (root / "README.md").read_text(encoding="utf-8")
    badges = re.findall(r"/github/(\S+?)/blob/main/(\S+)\)", readme)
    owner_and_name = address.removeprefix("https://github.com/")
    published = owner_and_name != address
    expected = [(owner_and_name, f"chapters/{path.name}") for path in chapters if published]
    assert sorted(badges) == sorted(expected)
    return address


def test_everything_agrees_as_committed():
    assert_agreement(ROOT)


def test_setting_an_address_sets_it_everywhere(copy):
    before = contents(copy)
    old = repository(copy).stdout.strip()
    assert repository(copy, ADDRESS + ".git").returncode == 0
    assert assert_agreement(copy) == ADDRESS
    assert not any(old in text for path, text in contents(copy).items() if path.suffix != ".py")
    once = contents(copy)
    assert repository(copy, ADDRESS).returncode == 0
    assert contents(copy) == once
    assert repository(copy, old).returncode == 0
    assert contents(copy) == before


def test_a_built_page_has_buttons_that_lead_to_the_address(copy):
    """A book of one page, in the book's own configuration; the book itself has no address yet."""
    for name in ["_static", "lecturelib/claims"]:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "references.bib", copy)
    (copy / "lecturelib" / "__init__.py").touch()
    assert repository(copy, ADDRESS).returncode == 0
    shutil.rmtree(copy / "chapters")
    (copy / "chapters").mkdir()
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A chapter")])
    page.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(page, copy / "chapters" / "page.ipynb")
    (copy / "_toc.yml").write_text("format: jb-book\nroot: chapters/page\n", encoding="utf-8")
    build = [Path(sys.executable).with_name("jupyter-book"), "build", copy, "-W", "-n"]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    html = (copy / "_build" / "html" / "chapters" / "page.html").read_text(encoding="utf-8")
    header = BeautifulSoup(html, "html.parser").find(class_="article-header-buttons")
    links = {link["href"] for link in header.find_all("a", href=True) if "//" in link["href"]}
    notebook = "ada/deep-book/blob/main/chapters/page.ipynb"
    assert links == {f"https://colab.research.google.com/github/{notebook}", ADDRESS}


@pytest.mark.parametrize(
    "address", ["github.com/ada/book", "https://gitlab.com/a/b", "https://github.com/ada", "x y"]
)
def test_other_addresses_are_refused(copy, address):
    before = contents(copy)
    result = repository(copy, address)
    assert result.returncode != 0
    assert "expected https://github.com/OWNER/NAME" in result.stderr
    assert contents(copy) == before
