"""The address of the repository stands in one place, and everything else follows it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from helpers import ROOT, tool

ADDRESS = "https://github.com/ada/deep-book"
SITE = "https://ada.github.io/deep-book/"


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that hold the address."""
    for name in ["_config.yml", "_toc.yml", "README.md", "CITATION.cff"]:
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


def citation(root):
    return yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))


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
    cited = citation(root)
    assert cited.get("repository-code") == (address if published else None)
    assert cited.get("url") == (tool("repository").site_address(address) if published else None)
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


@pytest.fixture
def published(copy):
    """The built site of a book of one page, in the book's own configuration, at an address."""
    for name in ["_static", "lecturelib/claims", "lecturelib/explore/assets"]:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "references.bib", copy)
    (copy / "lecturelib" / "__init__.py").touch()
    assert repository(copy, ADDRESS).returncode == 0
    shutil.rmtree(copy / "chapters")
    (copy / "chapters").mkdir()
    text = "# A chapter\n\nWhat it is about.\n\n![A picture](../_static/cover.png)"
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    page.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(page, copy / "chapters" / "page.ipynb")
    (copy / "_toc.yml").write_text("format: jb-book\nroot: chapters/page\n", encoding="utf-8")
    build = [Path(sys.executable).with_name("jupyter-book"), "build", copy, "-W", "-n"]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return copy / "_build" / "html"


def test_a_published_site_follows_the_address(published):
    html = (published / "chapters" / "page.html").read_text(encoding="utf-8")
    document = BeautifulSoup(html, "html.parser")
    header = document.find(class_="article-header-buttons")
    links = {link["href"] for link in header.find_all("a", href=True) if "//" in link["href"]}
    notebook = "ada/deep-book/blob/main/chapters/page.ipynb"
    assert links == {f"https://colab.research.google.com/github/{notebook}", ADDRESS}

    page = f"{SITE}chapters/page.html"
    assert document.find("link", rel="canonical")["href"] == page
    told = {tag["property"]: tag["content"] for tag in document.find_all("meta", property=True)}
    assert told["og:url"] == page
    assert told["og:title"] == "A chapter"
    assert told["og:image"] == f"{SITE}_images/cover.png"
    assert (published / "_images" / "cover.png").exists()
    assert told["og:image:alt"] == "A picture"
    assert told["og:description"] == "What it is about."
    assert document.find("meta", attrs={"name": "description"})["content"] == "What it is about."

    site_map = ElementTree.parse(published / "sitemap.xml")
    assert [place.text for place in site_map.iterfind(".//{*}loc")] == [page]
    assert (published / ".nojekyll").exists()


@pytest.mark.parametrize(
    ("address", "site"),
    [
        (ADDRESS, SITE),
        ("https://github.com/Ada/ada.github.io", "https://ada.github.io/"),
        ("https://github.com/Ada/Deep.Book", "https://ada.github.io/Deep.Book/"),
        ("https://repository.invalid/owner/book", ""),
    ],
)
def test_the_site_stands_where_pages_shows_it(address, site):
    assert tool("repository").site_address(address) == site


def test_the_citation_is_that_of_the_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    cited = citation(ROOT)
    assert cited["version"] == project["version"]
    assert str(cited["date-released"].year) == config["copyright"]
    assert cited["title"].startswith(config["title"])
    assert [author["name"] for author in cited["authors"]] == [config["author"]]
    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema"]
    result = subprocess.run(
        [*check, "vendor.citation-file-format", ROOT / "CITATION.cff"], capture_output=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "address", ["github.com/ada/book", "https://gitlab.com/a/b", "https://github.com/ada", "x y"]
)
def test_other_addresses_are_refused(copy, address):
    before = contents(copy)
    result = repository(copy, address)
    assert result.returncode != 0
    assert "expected https://github.com/OWNER/NAME" in result.stderr
    assert contents(copy) == before
