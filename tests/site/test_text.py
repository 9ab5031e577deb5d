"""Nothing is lost between a source and its page: every word and every line of code is there."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup, Comment, NavigableString
from docutils.core import publish_string
from myst_parser.parsers.docutils_ import Parser
from site_pages import ROOT, SITE, soup

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
# The library's page is made from docstrings.
REFERENCE = sorted(set((ROOT / "backmatter").glob("*.md")) - {ROOT / "backmatter" / "api.md"})
# What a page may add between two words of a paragraph: the title that a reference shows.
GAP = 20
# Elements that do not end a word; a string has no name.
INLINE = {None, "a", "cite", "code", "em", "span", "strong"}


def path_name(path):
    return path.stem


def prose(markdown):
    """Leave of markdown what a page shows in the same words."""
    text = re.sub(r"\$\$.*?\$\$(?: \([\w-]+\))?|\$[^$]+\$", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"^\([\w-]+\)=$|^\[[a-z-]+\] |^\d+\. ", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^(?:`{3,}|:{3,})(?:\{solution(?:-start|-end)?\}.*)?$", "", text, flags=re.MULTILINE
    )
    text = re.sub(r"^(?:`{3,}|:{3,})\{[\w:-]+\}", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^ *:(?:class|name|label):.*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"\{(?:ref|term|claim)\}`([^`<]+)<[^`>]+>`", r"\1", text)
    text = re.sub(r"\{(?:term|claim)\}`([^`]+)`", r"\1", text)
    text = re.sub(r"\{[\w:]+\}`[^`]+`", " ", text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return text.replace("*", "")


def words(text):
    return re.findall(r"\w+", text)


def strings(element):
    """Yield a page's text without its formulas, which it shows in other signs."""
    for child in element.children:
        if isinstance(child, NavigableString):
            yield "" if isinstance(child, Comment) else child
        elif "math" not in child.get("class", []):
            yield from strings(child)
        if child.name not in INLINE:
            yield " "


def end_of(paragraph, shown, start):
    """Return where a paragraph ends if it begins in the page at a place, or None."""
    place = start
    for word in paragraph[1:]:
        if word not in shown[place + 1 : place + 2 + GAP]:
            return None
        place = shown.index(word, place + 1)
    return place + 1


def lost(markdown, article):
    """Return the paragraphs of a source that its page does not show, in their order."""
    shown, place, missing = words("".join(strings(article))), 0, []
    for paragraph in map(words, re.split(r"\n\s*\n", prose(markdown))):
        if not paragraph:
            continue
        starts = (i for i in range(place, len(shown)) if shown[i] == paragraph[0])
        ends = (end_of(paragraph, shown, start) for start in starts)
        end = next((end for end in ends if end is not None), None)
        if end is None:
            missing.append(" ".join(paragraph))
        else:
            place = end
    return missing


@pytest.mark.parametrize("path", CHAPTERS, ids=path_name)
def test_chapters_show_every_word(path):
    cells = nbformat.read(path, as_version=4).cells
    markdown = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    article = soup(SITE / "chapters" / f"{path.stem}.html").find("article")
    assert lost(markdown, article) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=path_name)
def test_chapters_show_every_line_of_code(path):
    cells = nbformat.read(path, as_version=4).cells
    article = soup(SITE / "chapters" / f"{path.stem}.html").find("article")
    shown = [block.get_text().strip() for block in article.select(".cell_input pre")]
    assert shown == [cell.source.strip() for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", REFERENCE, ids=path_name)
def test_pages_of_reference_show_every_word(path):
    article = soup(SITE / "backmatter" / f"{path.stem}.html").find("article")
    assert lost(path.read_text(encoding="utf-8"), article) == []


@pytest.mark.parametrize(
    ("markdown", "missing"),
    [
        ("Less than\n5 % is lost.\n\nSo\nbe it.", []),
        ("Less than 5\n% of it is\nlost.\n\nSo be it.", ["Less than 5 of it is lost"]),
        ("Less.\n\n% All of it.\n\nSo be it.", ["All of it"]),
    ],
)
def test_a_swallowed_line_is_seen(markdown, missing):
    page = publish_string(markdown, parser=Parser(), writer_name="html5").decode()
    assert lost(markdown, BeautifulSoup(page, "html.parser").main) == missing
