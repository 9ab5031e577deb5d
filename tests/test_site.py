"""The built book: complete, offline, readable by everyone. Run after ``make book``."""

import importlib
import pkgutil
import re
import shutil
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

import lecturelib
from lecturelib.claims import STATUSES, registry

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
PAGES = sorted(page for page in SITE.rglob("*.html") if "_static" not in page.parts)
CONTENT = [page for page in PAGES if page.parent.name in {"chapters", "backmatter"}]

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


@cache
def soup(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def ids(page):
    return {element["id"] for element in soup(page).find_all(id=True)}


def page_name(page):
    return str(page.relative_to(SITE))


every_page = pytest.mark.parametrize("page", PAGES, ids=page_name)
every_content_page = pytest.mark.parametrize("page", CONTENT, ids=page_name)


def is_foreign(address):
    return bool(re.match(r"\s*(?:[a-z]+:)?//", address, re.IGNORECASE))


def test_the_book_was_built():
    assert (SITE / "index.html").exists(), "run `make book` first"
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


def test_the_claims_page_has_a_row_for_every_claim():
    article = soup(SITE / "backmatter" / "claims.html").find("article")
    titles = {section["id"]: section.h2.get_text() for section in article.find_all("section")[1:]}
    shown = {}
    for section in article.find_all("section")[1:]:
        for row in section.find("tbody").find_all("tr"):
            cells = [cell.get_text(" ", strip=True).replace("’", "'") for cell in row("td")]
            shown[row["id"]] = section["id"], cells
    assert shown.keys() == {f"claim-{name}" for name in registry()}
    for name, claim in registry().items():
        place, (statement, source, measured, bar, control) = shown[f"claim-{name}"]
        assert place == f"claims-{claim.chapter.replace('_', '-')}" and titles[place]
        assert claim.statement in statement and name in statement and source == claim.source
        if claim.status == "quoted":
            assert measured == bar == control == ""
        else:
            assert measured.startswith(f"{claim.quantity}: ") and bar
            assert bool(control) == bool(claim.control) and control.startswith(claim.control)
        if claim.status != "checked":
            assert STATUSES[claim.status] in statement


def test_claims_and_the_lines_that_check_them_link_to_each_other():
    page = SITE / "backmatter" / "claims.html"
    rows = {row["id"]: row for row in soup(page).find_all("tr", id=True)}
    for name, claim in registry().items():
        if claim.status == "quoted":
            continue
        chapter = f"../chapters/{claim.chapter}.html#check-{name}"
        assert rows[f"claim-{name}"].find("a", href=chapter)
        line = soup(SITE / "chapters" / f"{claim.chapter}.html").find(id=f"check-{name}")
        assert line.find_parent("pre") and line.get_text() == name
        assert line.find("a")["href"] == f"../backmatter/claims.html#claim-{name}"


def test_the_library_page_has_every_public_name():
    page = SITE / "backmatter" / "api.html"
    for module in pkgutil.iter_modules(lecturelib.__path__):
        loaded = importlib.import_module(f"lecturelib.{module.name}")
        names = [name for name in loaded.__all__ if callable(getattr(loaded, name))]
        missing = {f"lecturelib.{module.name}.{name}" for name in names} - ids(page)
        assert not missing


def test_no_button_leads_to_the_placeholder():
    for page in CONTENT:
        for element in soup(page).find_all(href=True):
            assert ".invalid" not in element["href"]


def test_mathjax_is_complete_and_trimmed():
    mathjax = SITE / "_static" / "mathjax"
    assert (mathjax / "tex-chtml.js").exists()
    assert len(list((mathjax / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))) > 20
    size = sum(path.stat().st_size for path in mathjax.rglob("*") if path.is_file())
    assert size < 6e6


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: the pages are not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


INLINE_FORMULAS_WIDER_THAN_THEIR_LINE = """
[...document.querySelectorAll("mjx-container:not([display])")].filter((formula) => {
  const line = formula.closest("p, li, td, dd, figcaption, h1, h2, h3");
  const width = formula.querySelector("mjx-math").getBoundingClientRect().width;
  return line && line.tagName !== "TD" && width > line.getBoundingClientRect().width + 1;
}).map((formula) => formula.closest("p, li, dd, figcaption").innerText.slice(0, 80))
"""


@pytest.mark.parametrize("width", [1280, 390])
@every_content_page
def test_pages_open_in_a_browser(browser, page, width):
    problems = []
    context = browser.new_context(viewport={"width": width, "height": 800})
    view = context.new_page()
    requested = []
    view.on("request", lambda request: requested.append(request.url))
    view.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.goto(page.as_uri())
    if soup(page).find(class_="math"):
        view.wait_for_selector("mjx-container", timeout=20_000)
        view.wait_for_function("MathJax.startup.promise.then(() => true)")
        assert not view.query_selector_all("mjx-merror, [data-mjx-error]")
        assert view.query_selector("mjx-assistive-mml")
    overflow = view.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    cut_off = view.evaluate(INLINE_FORMULAS_WIDER_THAN_THEIR_LINE)
    context.close()
    assert not problems
    assert not cut_off  # a formula this long belongs on a line of its own, where it scrolls
    assert {urlsplit(address).scheme for address in requested} <= {"file", "data", "blob"}
    assert overflow <= 0
