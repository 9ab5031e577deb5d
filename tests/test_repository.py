"""The address of the repository stands in one place, and everything else follows it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
PLACEHOLDER = "https://repository.invalid/owner/book"
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


def buttons(site):
    html = (site / "chapters" / "neural_collapse.html").read_text(encoding="utf-8")
    header = BeautifulSoup(html, "html.parser").find(class_="article-header-buttons")
    return [link["href"] for link in header.find_all("a", href=True) if "//" in link["href"]]


def test_built_pages_have_buttons_only_with_an_address(copy):
    for name in ["_static", "backmatter", "lecturelib"]:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["intro.md", "references.bib"]:
        shutil.copy(ROOT / name, copy)
    notebook = "ada/deep-book/blob/main/chapters/neural_collapse.ipynb"
    for address in [ADDRESS, None]:
        repository(copy, address or PLACEHOLDER)
        command = [
            Path(sys.executable).with_name("jupyter-book"),
            "build",
            copy,
            "--all",
            "-W",
            "-n",
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        links = buttons(copy / "_build" / "html")
        if address is None:
            assert links == []
        else:
            assert f"https://colab.research.google.com/github/{notebook}" in links
            assert ADDRESS in links


@pytest.mark.parametrize(
    "address", ["github.com/ada/book", "https://gitlab.com/a/b", "https://github.com/ada", "x y"]
)
def test_other_addresses_are_refused(copy, address):
    before = contents(copy)
    result = repository(copy, address)
    assert result.returncode != 0
    assert "expected https://github.com/OWNER/NAME" in result.stderr
    assert contents(copy) == before
