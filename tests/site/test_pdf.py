"""The book on paper: whole, numbered, linked, and nothing wider than its page."""

import re
import shutil
import unicodedata

import pytest
import yaml
from helpers import tool
from pypdf import PdfReader
from site_pages import CONTENT, ROOT, SITE, page_name, soup

pdf = tool("pdf")
BOOK = ROOT / "_build" / "book.pdf"
A4 = [595, 842]


@pytest.fixture(scope="module")
def book():
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: the book is not printed")
    assert BOOK.exists(), "run `make pdf` first"
    return PdfReader(BOOK)


@pytest.fixture(scope="module")
def outline(book):
    """The book's outline: [(level, title, page number)]."""
    entries = []
    for item in book.outline:
        level, items = (2, item) if isinstance(item, list) else (1, [item])
        entries += [(level, it.title, book.get_destination_page_number(it) + 1) for it in items]
    return entries


def squeezed(text):
    """Leave out what depends on how text is set: white space, ligatures."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


def lines_of(book, number):
    """The lines of text of a page, without its number."""
    lines = book.pages[number - 1].extract_text().splitlines()
    assert (str(number) in lines) == (number > 1)
    return [line for line in lines if line != str(number)]


def test_every_chapter_and_section_is_in_the_outline(outline):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    expected = []
    for name in pdf.chapters_of(toc):
        article = soup(SITE / f"{name}.html").find("article")
        titles = [
            (int(heading.name[1]), heading.get_text().removesuffix("#"))
            for heading in article.find_all(["h1", "h2"])
        ]
        expected += titles + [(2, "Solutions")] * bool(article.find(class_="solution"))
    assert [(level, title) for level, title, _ in outline] == expected
    assert len({title for level, title, _ in outline if level == 1}) >= 10


def test_the_contents_show_the_numbers_of_the_outline(book, outline):
    pages = range(2, outline[0][2])
    shown = squeezed("".join(line for page in pages for line in lines_of(book, page)))
    assert shown == "Contents" + "".join(squeezed(f"{title}{page}") for _, title, page in outline)


def test_pages_bear_the_numbers_that_the_contents_name(book, outline):
    for _, title, number in outline:
        assert squeezed(title) in squeezed("".join(lines_of(book, number)))
    assert lines_of(book, 1)


def test_chapters_begin_on_a_new_page(outline):
    starts = [number for level, _, number in outline if level == 1]
    assert len(set(starts)) == len(starts)
    assert outline == sorted(outline, key=lambda entry: entry[2])


def test_links_resolve(book):
    targets, inner = book.named_destinations, 0
    for page in book.pages:
        assert [round(float(length)) for length in page.mediabox[2:]] == A4
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            if "/Dest" in link:
                assert link["/Dest"] in targets or f"/{link['/Dest']}" in targets
                inner += 1
            else:
                assert link["/A"]["/URI"].startswith("https://")
    assert inner > 300


def test_the_book_says_what_it_is(book):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert book.metadata.title == citation["title"]
    catalog = book.trailer["/Root"]
    assert catalog["/Lang"] == "en"
    assert catalog["/MarkInfo"]["/Marked"]
    assert citation["version"] in book.pages[0].extract_text()


@pytest.mark.parametrize(
    "wide",
    [
        "<pre style='white-space: pre; font-size: 30px'>" + "code " * 100 + "</pre>",
        "<table><tr><td style='min-width: 1200px'>a cell</td></tr></table>",
        "<p style='width: 800px'>words</p>",
    ],
)
def test_what_is_wider_than_its_page_is_not_printed(browser, tmp_path, wide):
    page = tmp_path / "wide.html"
    page.write_text(f"<!DOCTYPE html><body style='margin: 0'><div id='it'>{wide}</div>")
    with pytest.raises(RuntimeError, match="wider than a page"):
        pdf.open_page(browser, page)


@pytest.mark.parametrize("page", CONTENT, ids=page_name)
def test_a_page_of_the_site_prints_whole_and_light(browser, page):
    context = browser.new_context(viewport={"width": pdf.TEXT_WIDTH, "height": 900})
    context.add_init_script("localStorage.setItem('mode', 'dark')")
    context.add_init_script("localStorage.setItem('theme', 'dark')")
    view = context.new_page()
    view.goto(page.as_uri())
    assert view.evaluate("document.documentElement.dataset.theme") == "dark"
    view.emulate_media(media="print")
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    cut = view.evaluate(pdf.TOO_WIDE)
    light = view.evaluate("getComputedStyle(document.body).backgroundColor")
    seen = view.evaluate(
        "[...document.querySelectorAll('.bd-sidebar-primary, .bd-header-article, .bd-footer, h1')]"
        ".filter((it) => it.checkVisibility()).map((it) => it.tagName)"
    )
    view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert view.evaluate("document.documentElement.dataset.theme") == "dark"
    context.close()
    assert not cut
    assert light == "rgb(255, 255, 255)"
    assert seen == ["H1"]
