"""Print the whole book as one PDF.

The rule: the book on paper is the built site, page after page in the order of its contents. Cover,
contents and page numbers are all that is added; each chapter's solutions move to its end; code that
the site folds, and the library's reference, which nobody reads in order, stay on the site. Nothing
may be wider than its page: formulas and tables that are get smaller, and if that doesn't help,
there is no PDF.

The contents need page numbers, which are known only once the book is printed: it is printed, the
numbers are filled in, and it is printed again.

usage: python tools/pdf.py BOOK.pdf      (after `make book`)
"""

import os
import posixpath
import re
import shutil
import sys
import tempfile
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
STYLE = Path(__file__).with_suffix(".css")
TEXT_WIDTH = 643  # of a page in CSS pixels: A4 without the margins that pdf.css sets
ON_SCREEN_ONLY = (
    "a.headerlink, script, noscript, input, button, .explore-controls, details.hide > summary"
)
FOLDED = ".tag_hide-cell, .tag_hide-input .cell_input, .tag_hide-input details"

FILL_IN = """
(numbers) => document.querySelectorAll("[data-page-of]").forEach((place) => {
  place.textContent = numbers[place.dataset.pageOf] ?? "000";
})
"""
# Formulas and tables wider than their page are made smaller, by not more than a third.
FIT = """
for (const wide of document.querySelectorAll("mjx-container[display], table")) {
  const inner = wide.querySelector("mjx-math") ?? wide;
  const available = wide.parentElement.clientWidth;
  const width = Math.max(inner.scrollWidth, inner.getBoundingClientRect().width);
  if (width > available) wide.style.fontSize = `${Math.max(66, 99 * available / width)}%`;
}
"""
TOO_WIDE = """
[...document.querySelectorAll("mjx-math, table, pre, img, svg, p, h1, h2, h3")].filter((it) =>
  it.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1
  || (it.tagName === "PRE" && it.scrollWidth > it.clientWidth + 1)
).map((it) => it.closest("[id]")?.id + ": " + it.textContent.slice(0, 60))
"""


def chapters_of(toc):
    """Return the names of the pages to print, in order, from the parsed table of contents."""
    parts = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [name for name in [toc["root"], *parts] if not name.startswith("backmatter/library")]


def read_article(site, name):
    """Return the article of a built page without what serves only a screen."""
    page = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    article = page.find("article")
    for element in article.select(f"{FOLDED}, {ON_SCREEN_ONLY}"):
        element.decompose()
    for fold in article.find_all("details"):
        fold["open"] = ""
    # A section may begin at the foot of a page whose next page has its title: links lead to that.
    for section in article.find_all("section", id=True):
        section.find(["h1", "h2", "h3", "h4"])["id"] = section["id"]
        del section["id"]
    return article


def anchor(name, fragment=""):
    """Return the id, unique in the book, of a page or of an id in it."""
    return f"{name}--{fragment}" if fragment else name


def make_local(article, name, names, site):
    """Make a page's ids its own, its links internal, and its images found from anywhere."""
    for element in article.find_all(id=True):
        element["id"] = anchor(name, element["id"])
    for element in article.find_all(href=True):
        address = urlsplit(element["href"])
        if address.scheme or address.netloc:
            continue
        path = unquote(address.path).removesuffix(".html")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        if target in names:
            element["href"] = "#" + anchor(target, unquote(address.fragment))
        else:
            del element["href"]
    for image in article.find_all("img"):
        if not image["src"].startswith("data:"):
            image["src"] = (site / name).parent.joinpath(unquote(image["src"])).resolve().as_uri()
    for drawing in article.find_all("svg"):
        for element in drawing.find_all(True):
            for attribute, value in element.attrs.items():
                if isinstance(value, str):
                    element[attribute] = re.sub(
                        r"url\(#(.+?)\)", lambda match: f"url(#{anchor(name, match[1])})", value
                    )


def move_solutions(article):
    """Move the solutions of a chapter's exercises into a section at its end."""
    if solutions := article.select(".solution"):
        page = BeautifulSoup('<section><h2 id="solutions">Solutions</h2></section>', "html.parser")
        page.section.extend(solution.extract() for solution in solutions)
        article.find("section").append(page.section)


def contents(articles):
    """Return the entries of the contents: level, id and title of each chapter and section."""
    entries = []
    for name, article in articles.items():
        for heading in article.find_all(["h1", "h2"]):
            target = name if heading.name == "h1" else heading["id"]
            entries.append((heading.name, target, heading.decode_contents()))
    return entries


def contents_list(entries):
    """Return the contents as HTML, their page numbers still to be filled in."""
    lines = (
        f'<li class="{level}-entry"><a href="#{target}">{title}</a>'
        f'<span data-page-of="{target}"></span></li>'
        for level, target, title in entries
    )
    return f'<nav class="book-contents"><h1>Contents</h1><ul>{"".join(lines)}</ul></nav>'


def cover(citation, site):
    """Return the first page, from what the book says of itself to those who cite it."""
    title, _, subtitle = citation["title"].partition(": ")
    authors = ", ".join(author["name"] for author in citation["authors"])
    where = f'<p><a href="{citation["url"]}">{citation["url"]}</a></p>' if "url" in citation else ""
    picture = (site / "_images" / "cover.png").as_uri()
    return (
        f'<div class="book-cover"><p class="book-title">{escape(title)}</p>'
        f'<p class="book-subtitle">{escape(subtitle)}</p><p>{escape(authors)}</p>'
        f'<img src="{picture}" alt="" />'
        f"<p>Version {citation['version']}, {citation['date-released']:%-d %B %Y}</p>{where}"
        "<p>Text: CC BY 4.0. Code: MIT licence.</p></div>"
    )


def running_heads(articles):
    """Return style rules that put each chapter's title at the top of its pages."""
    rules = []
    for place, article in enumerate(articles.values()):
        title = article.h1.get_text().replace("\\", "").replace('"', "\\22 ")
        rules.append(f'@page chapter-{place} {{ @top-right {{ content: "{title}"; }} }}')
    return "\n".join(rules)


def styles(site, name):
    """Return the style sheets of a page."""
    page = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    sheets = page.head.find_all("link", rel="stylesheet")
    for sheet in sheets:
        path = (site / name).parent.joinpath(urlsplit(sheet["href"]).path).resolve()
        sheet["href"] = path.as_uri()
    return "\n".join(str(sheet) for sheet in sheets)


def assemble(site, citation):
    """Return the book as one page of HTML, and the entries of its contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = chapters_of(toc)
    articles = {name: read_article(site, name) for name in names}
    for name, article in articles.items():
        move_solutions(article)
        make_local(article, name, names, site)
    entries = contents(articles)
    chapters = "\n".join(
        f'<article class="bd-article" id="{name}" style="page: chapter-{place}">'
        f"{article.decode_contents()}</article>"
        for place, (name, article) in enumerate(articles.items())
    )
    style = STYLE.read_text(encoding="utf-8") + running_heads(articles)
    first_chapter = next(name for name in names if name.startswith("chapters/"))
    html = (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{escape(citation['title'])}</title>{styles(site, first_chapter)}"
        f"<style>{style}</style></head><body>{cover(citation, site)}{contents_list(entries)}"
        f'<main class="bd-content">{chapters}</main></body></html>'
    )
    return html, entries


def open_page(browser, path):
    """Open a page as it is printed, and make all of it as narrow as the paper."""
    view = browser.new_page(viewport={"width": TEXT_WIDTH, "height": 900})
    view.emulate_media(media="print", color_scheme="light")
    view.goto(path.as_uri(), timeout=120_000)
    view.evaluate(FIT)
    if cut := view.evaluate(TOO_WIDE):
        raise RuntimeError("wider than a page:\n" + "\n".join(cut))
    return view


def print_page(browser, path, numbers, **options):
    """Print a page with these page numbers in its contents; return a reader of what came out.

    It is opened anew each time: chromium breaks a page into sheets differently when it did so
    before.
    """
    view = open_page(browser, path)
    view.evaluate(FILL_IN, numbers)
    printed = view.pdf(prefer_css_page_size=True, **options)
    view.close()
    return PdfReader(BytesIO(printed))


def page_numbers(reader, entries):
    """Return the number of the page on which each entry of the contents stands."""
    places = {unquote(name).lstrip("/"): at for name, at in reader.named_destinations.items()}
    return {
        target: reader.get_destination_page_number(places[target]) + 1 for _, target, _ in entries
    }


def add_outline(writer, entries, numbers):
    """Add the contents as the outline that a reader shows beside the pages."""
    chapter = None
    for level, target, title in entries:
        words = BeautifulSoup(title, "html.parser").get_text()
        parent = None if level == "h1" else chapter
        entry = writer.add_outline_item(title=words, page_number=numbers[target] - 1, parent=parent)
        chapter = entry if level == "h1" else chapter


def print_book(browser, site, target):
    """Print the book with its page numbers, outline, title and authors."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    html, entries = assemble(site, citation)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "book.html")
        page.write_text(html, encoding="utf-8")
        numbers = page_numbers(print_page(browser, page, {}), entries)
        reader = print_page(browser, page, numbers, tagged=True)
    if page_numbers(reader, entries) != numbers:
        raise RuntimeError("the numbers in the contents moved the pages that they name")
    writer = PdfWriter(clone_from=reader)
    authors = ", ".join(author["name"] for author in citation["authors"])
    writer.add_metadata({"/Title": citation["title"], "/Author": authors})
    add_outline(writer, entries, numbers)
    writer.compress_identical_objects()
    writer.write(target)


def main(target):
    """Print the built site."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("the PDF is printed by chromium, which was not found")
    if not (SITE / "index.html").exists():
        sys.exit("run `make book` first")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        print_book(browser, SITE, target)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/pdf.py BOOK.pdf")
    main(Path(sys.argv[1]))
