"""Lectures, errata, notation, glossary and bibliography: each mention leads there, and back."""

import re

import pytest
from site_pages import CONTENT, PAGES, SITE, page_name, soup

BACKMATTER = SITE / "backmatter"
LECTURES = BACKMATTER / "lectures.html"
CHAPTERS = [page for page in CONTENT if page.parent.name == "chapters"]
READ = [page for page in PAGES if soup(page).article]
every_page_but_theirs = pytest.mark.parametrize(
    "page", [page for page in READ if page != LECTURES], ids=page_name
)
# Not a part of 10 000, of 0.001 or of an identifier.
LECTURE = re.compile(r"(?<![\d-])(?<!\d[\s.,])\b(00[0-4])\b(?!\d)")
NOT_PROSE = {"pre", "code", "script", "style", "h1", "h2", "h3", "h4", "h5"}


def fragments(element):
    """Return the places that the links within an element lead to."""
    return {link["href"].rpartition("#")[2] for link in element.find_all("a", href=True)}


def definitions(term):
    """Return the definitions that follow a term."""
    following = term.find_next_sibling(["dt", "dd"])
    while following is not None and following.name == "dd":
        yield following
        following = following.find_next_sibling(["dt", "dd"])


def entries(page, listing):
    """Return the entries of a definition list: each term's id, and where its definitions lead."""
    return {
        term["id"]: set().union(*map(fragments, definitions(term)))
        for term in soup(BACKMATTER / page).select(f"dl.{listing} > dt")
    }


def chapter_links(page, listing):
    """Return for each term of a definition list the chapters that its definitions link to."""
    return {
        term["id"]: [d.select("a[href^='../chapters/']") for d in definitions(term)]
        for term in soup(BACKMATTER / page).select(f"dl.{listing} > dt")
    }


@every_page_but_theirs
def test_every_mention_of_a_lecture_leads_to_it(page):
    unlinked = []
    for string in soup(page).article.find_all(string=LECTURE):
        above = list(string.parents)
        if NOT_PROSE & {element.name for element in above}:
            continue
        if any("math" in element.get("class", []) for element in above):
            continue
        link = next((element for element in above if element.name == "a"), None)
        [number] = LECTURE.findall(string) if link else [""]
        if not link or not link["href"].endswith(f"lectures.html#lecture-{number}"):
            unlinked.append(string)
    assert not unlinked


@every_page_but_theirs
def test_only_a_lecture_leads_to_the_lectures(page):
    for link in soup(page).article.select("a[href*='lectures.html#lecture-']"):
        assert re.fullmatch(r"([Ll]ecture\s+)?00[0-4]", link.get_text())
        assert not re.search(r"\d[\s.,]$", str(link.previous_sibling or ""))


def test_each_lecture_says_where_it_comes_from():
    sections = soup(LECTURES).select("article section section")
    assert len(sections) == 5
    for number, section in enumerate(sections):
        assert section.h2.get_text().startswith(f"{number:03d}: ")
        assert {f"lecture-{number:03d}"} <= {element["id"] for element in section("span", id=True)}
        terms = [term.get_text().rstrip("s") for term in section("dt")]
        assert terms == ["Speaker", "Occasion", "Date"]


def test_boxes_and_cards_of_errata_lead_to_each_other():
    cards = {card["id"]: card for card in soup(BACKMATTER / "errata.html").select(".erratum")}
    boxes = {}
    for page in CHAPTERS:
        for box in soup(page).select(".admonition:has(> .admonition-title)"):
            title = box.find(class_="admonition-title").get_text()
            assert title.startswith("Slide check") == ("slide-check" in box["class"]), title
            if "slide-check" in box["class"]:
                boxes[box["id"]] = box
                card = box["id"].replace("slide-check", "erratum", 1)
                assert box.find_all("a")[-1]["href"] == f"../backmatter/errata.html#{card}"
                assert fragments(cards[card]("dd")[-1]) >= {box["id"]}
    assert len(boxes) >= 15
    for name, card in cards.items():
        terms = [term.get_text() for term in card("dt")]
        assert terms == ["Slides", "They say", "What holds", "Where"]
        places = fragments(card("dd")[-1]) - {""}
        assert places, name
        assert {place for place in places if place.startswith("slide-check-")} <= boxes.keys()


@pytest.mark.parametrize(
    ("page", "listing"), [("notation.html", "notation"), ("glossary.html", "glossary")]
)
def test_every_symbol_and_every_term_leads_to_a_chapter(page, listing):
    found = chapter_links(page, listing)
    assert len(found) >= 30
    assert not [name for name, links in found.items() if not any(links)]


def test_terms_and_their_symbols_lead_to_each_other():
    symbols, terms = entries("notation.html", "notation"), entries("glossary.html", "glossary")
    there = {(t, s) for t, places in terms.items() for s in places if s in symbols}
    back = {(t, s) for s, places in symbols.items() for t in places if t in terms}
    assert len(there) >= 20
    assert {term for term, _ in there} <= {term for term, _ in back}
    assert {symbol for _, symbol in there & back} >= {"notation-contrast", "notation-margin"}


def test_chapters_lead_to_the_glossary():
    linked = set()
    for page in CHAPTERS:
        links = soup(page).article.select("a[href*='glossary.html#term-']")
        assert len(links) >= 4, page
        linked |= {link["href"].rpartition("#")[2] for link in links}
    assert linked == entries("glossary.html", "glossary").keys()


def test_every_source_has_a_link_and_is_named_as_where_it_is_cited():
    sources = soup(BACKMATTER / "bibliography.html").select("div.citation")
    assert len(sources) >= 40
    labels = {}
    for source in sources:
        label = source.find(class_="label").get_text().strip("[]")
        labels[source["id"]] = label
        assert re.search(r", \d{4}[a-z]?$", label)
        assert source.select("a.external[href^='https://']"), label
        assert not re.search(r"[$\\{}]", source.get_text())
    assert len(set(labels.values())) == len(labels)
    for page in CHAPTERS:
        for link in soup(page).article.select("a[href*='bibliography.html#']"):
            assert labels[link["href"].rpartition("#")[2]] == link.get_text()


@pytest.mark.parametrize("page", CHAPTERS, ids=page_name)
def test_exercises_have_titles_and_are_linked_where_they_are_named(page):
    for exercise in soup(page).select(".exercise.admonition"):
        title = exercise.find(class_="admonition-title").get_text()
        assert re.search(r"Exercise \d+\s+\(.+\)", title), title
    for string in soup(page).article.find_all(string=re.compile(r"\b(?:an|first|second) exercise")):
        assert string.find_parent("a"), string
