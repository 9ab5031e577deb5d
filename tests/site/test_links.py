"""The built book: complete, offline, every link landing. Run after ``make book``."""

import importlib
import pkgutil
import re
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import CONTENT, PAGES, ROOT, SITE, ids, page_name, soup

import lecturelib

# Elements and attributes through which a browser fetches something by itself.
RESOURCES = {
    "script": ["src"],
    "link": ["href"],
    "img": ["src", "srcset"],
    "iframe": ["src"],
    "source": ["src", "srcset"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "object": ["data"],
    "embed": ["src"],
    "use": ["href", "xlink:href"],
    "form": ["action"],
}
# Links that are metadata: a browser does not follow them.
SILENT = {"canonical", "license", "next", "prev", "author", "index", "search", "alternate"}


every_page = pytest.mark.parametrize("page", PAGES, ids=page_name)
every_content_page = pytest.mark.parametrize("page", CONTENT, ids=page_name)


def is_foreign(address):
    return bool(re.match(r"\s*(?:[a-z]+:)?//", address, re.IGNORECASE))


def test_the_book_was_built():
    assert (SITE / "index.html").exists(), "run `make book` first"
    assert soup(SITE / "index.html").title and soup(SITE / "index.html").find("link", rel="icon")
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for file in re.findall(r"(?:file|root): (\S+)", toc):
        assert (SITE / f"{file}.html").exists()


@every_page
def test_pages_ask_no_other_host(page):
    document = soup(page)
    for name, attributes in RESOURCES.items():
        for element in document.find_all(name):
            if name == "link" and set(element.get("rel", [])) & SILENT:
                continue
            for attribute in attributes:
                assert not is_foreign(element.get(attribute, "")), element
    for style in [*document.find_all("style"), *document.find_all(style=True)]:
        css = style.string or style.get("style") or ""
        assert not re.search(r"url\(\s*['\"]?\s*(?:https?:)?//|@import", css), css[:200]
    for script in document.find_all("script", src=False):
        code = script.string or ""
        assert not re.search(r"import\s*\(?\s*['\"]https?:|fetch\(|importScripts", code), code[:200]
        assert not re.search(r"(?:src|href)\s*=\s*['\"]https?://|unpkg|jsdelivr|cdnjs", code)


@pytest.mark.parametrize("path", sorted(SITE.rglob("*.css")), ids=page_name)
def test_style_sheets_ask_no_other_host(path):
    css = path.read_text(encoding="utf-8")
    addresses = re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(
        r"@import\s+['\"]([^'\"]+)", css
    )
    assert not [address for address in addresses if is_foreign(address)]
    for address in addresses:
        local = urlsplit(address).path
        if local and not address.startswith(("data:", "#")):
            assert (path.parent / unquote(local)).exists(), address


@every_page
def test_local_links_lead_somewhere(page):
    document = soup(page)
    for element in document.find_all(["a", "img", "script", "link"]):
        address = element.get("href") or element.get("src") or ""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or address == "#":
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), f"{element.name} {address}"
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in ids(target), address


@every_content_page
def test_pages_are_accessible(page):
    document = soup(page)
    assert document.html.get("lang", "").startswith("en")
    assert document.title.string.strip()
    article = document.find("article")
    assert len(article.find_all("h1")) == 1
    levels = [int(heading.name[1]) for heading in article.find_all(re.compile("^h[1-6]$"))]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for image in article.find_all("img"):
        alt = image.get("alt", "")
        assert alt and not re.search(r"[0-9a-f]{20}|\.png$", alt), image.get("src", "")[:80]
    for slider in article.find_all("input", type="range"):
        assert slider.find_parent("label").get_text(strip=True)


@every_content_page
def test_no_directive_is_left_unparsed(page):
    literal = {"pre", "code", "script", "style"}
    strings = soup(page).find("article").find_all(string=True)
    text = "".join(s for s in strings if not literal & {parent.name for parent in s.parents})
    assert not re.search(r":::|\{(?:prf:)?\w+\}`|\]\(", text)


def test_the_library_page_has_every_public_name():
    for module in pkgutil.iter_modules(lecturelib.__path__):
        page = SITE / "backmatter" / "library" / f"{module.name}.html"
        loaded = importlib.import_module(f"lecturelib.{module.name}")
        assert soup(page).select_one('article a[href*="/chapters/"]')
        names = [name for name in loaded.__all__ if callable(getattr(loaded, name))]
        missing = {f"lecturelib.{module.name}.{name}" for name in names} - ids(page)
        assert not missing


def test_no_button_leads_to_the_placeholder():
    for page in CONTENT:
        for element in soup(page).find_all(href=True):
            assert ".invalid" not in element["href"]


def test_formulas_are_typeset_in_the_pages():
    style = (SITE / "_static" / "mathematics.css").read_text(encoding="utf-8")
    glyphs = set(re.findall(r"mjx-c\.mjx-(c[0-9A-F]+)", style))
    formulas = 0
    for page in PAGES:
        assert "MathJax" not in "".join(s.string or "" for s in soup(page).find_all("script"))
        for element in soup(page).find_all(class_="math"):
            text = "".join(element.find_all(string=True, recursive=False))
            assert "\\(" not in text and "\\[" not in text and "\ue000" not in text
            formula = element.find("mjx-container")
            assert formula.find("mjx-math")["aria-hidden"] == "true"
            assert formula.find("mjx-assistive-mml").math.get_text(strip=True)
            drawn = {
                c[4:]
                for e in formula.find_all("mjx-c")
                for c in e.get("class", [])
                if c[:5] == "mjx-c"
            }
            assert drawn <= glyphs
            formulas += 1
    assert formulas > 2_000
