"""The front page: what it says is so, and it is laid out for every width."""

import io
import re
import tomllib
from datetime import date

import pytest
import yaml
from book_extension.chapters import Chapter, chapters
from book_extension.front import bibtex
from PIL import Image
from pybtex.database import parse_string
from site_pages import ROOT, SITE, soup
from sphinx.errors import ExtensionError

from lecturelib.claims import registry

PAGE = SITE / "intro.html"
NAMES = [chapter.name for chapter in chapters()]
# What each chapter presupposes; the sign of what only helps is a question mark.
PREREQUISITES = {
    "sparse_features": [],
    "topology_and_dimension": [],
    "neural_collapse": [],
    "unconstrained_features": ["neural_collapse"],
    "losses": ["unconstrained_features"],
    "law_of_parsimony": [],
    "progressive_separation": ["neural_collapse", "law_of_parsimony"],
    "deep_matrix_completion": ["law_of_parsimony"],
    "low_rank_training": ["law_of_parsimony?"],
    "shallow_feasibility": ["unconstrained_features"],
}


@pytest.fixture(params=[(1400, "light"), (1400, "dark"), (768, "light"), (390, "dark")], ids=str)
def view(open_window, request):
    width, theme = request.param
    page = open_window(viewport={"width": width, "height": 800}, color_scheme=theme)
    page.goto(PAGE.as_uri())
    return page


def chapter_of(address):
    return re.fullmatch(r"chapters/(\w+)\.html", address)[1]


def test_the_boxes_of_the_chapters_say_what_is_needed():
    found = {
        chapter.name: [
            name if needed else f"{name}?" for name, needed in chapter.prerequisites.items()
        ]
        for chapter in chapters()
    }
    assert found == PREREQUISITES
    for name, before in PREREQUISITES.items():
        assert all(NAMES.index(other.rstrip("?")) < NAMES.index(name) for other in before)


@pytest.mark.parametrize("kind", ["wide", "tall"])
def test_the_map_has_every_chapter_and_an_arrow_for_each_prerequisite(kind):
    titles = {chapter.name: chapter.title for chapter in chapters()}
    picture = soup(PAGE).select_one(f"nav.chapter-map svg.{kind}")
    assert [chapter_of(box["href"]) for box in picture("a")] == NAMES
    for box, name in zip(picture("a"), NAMES, strict=True):
        before = [titles[other.rstrip("?")] for other in PREREQUISITES[name]]
        spoken = " and ".join(before)
        assert box["aria-label"] == f"{titles[name]}, after {spoken}".removesuffix(", after ")
        assert " ".join(box.get_text().split()) == titles[name]
    arrows = [other for before in PREREQUISITES.values() for other in before]
    assert len(picture.select("path.head")) == len(arrows)
    assert len(picture.select("path.helps")) == sum(other.endswith("?") for other in arrows)


def test_every_chapter_has_a_card():
    cards = soup(PAGE).select("ul.cards > li")
    assert [chapter_of(card.select_one(".title a")["href"]) for card in cards] == NAMES
    for card, name in zip(cards, NAMES, strict=True):
        heading = soup(SITE / "chapters" / f"{name}.html").h1
        assert card.select_one(".title").get_text() == heading.find(string=True)
        assert len(card.img["alt"]) > 30
        with Image.open(SITE / card.img["src"]) as picture:
            assert picture.width <= 660 and picture.height <= 400
        count = sum(claim.chapter == name for claim in registry().values())
        link = card.select_one(".facts a")
        assert link.get_text() == f"{count} claims"
        assert link["href"] == f"backmatter/claims.html#claims-{name.replace('_', '-')}"
        assert re.match(r"[A-Z].* to read, .* to run, ", card.select_one(".facts").get_text())


def test_a_figure_that_no_cell_draws_is_an_error():
    with pytest.raises(ExtensionError, match="no figure 'fig-none'"):
        Chapter("neural_collapse").figure("fig-none")
    with pytest.raises(ExtensionError, match="no entry 'You own'"):
        Chapter("neural_collapse").entry("You own")


def test_the_number_of_claims_is_that_of_the_registry():
    measured = [claim for claim in registry().values() if claim.status in ("checked", "full-scale")]
    assert all(claim.control for claim in measured)
    assert f"{len(measured)} claims are checked by the pages" in soup(PAGE).article.get_text()


def test_the_example_is_the_line_that_the_chapter_prints():
    example = soup(PAGE).select_one("blockquote.checked-line")
    assert example.a["href"] == "backmatter/claims.html#claim-collapse-nc1"
    printed = soup(SITE / "chapters" / "neural_collapse.html").find(id="check-collapse-nc1")
    assert example.get_text().strip().replace("’", "'") in printed.find_parent("pre").get_text()


def test_version_and_citation_are_those_of_the_citation_file():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    day = citation["date-released"]
    line = f"This is version {citation['version']} of {day.day} {day:%B %Y}."
    assert soup(PAGE).find(class_="version").get_text() == line
    [entry] = parse_string(
        soup(PAGE).select_one(".highlight-bibtex pre").get_text(), "bibtex"
    ).entries.values()
    assert entry.fields["title"].strip("{}") == citation["title"]
    assert entry.fields["year"] == str(day.year)


def test_bibtex_names_persons_and_the_address_once_there_is_one():
    citation = {
        "title": "T",
        "authors": [{"family-names": "Lovelace", "given-names": "Ada"}, {"name": "The others"}],
        "version": "1.0",
        "date-released": date(2027, 1, 2),
        "url": "https://ada.github.io/book/",
    }
    [entry] = parse_string(bibtex(citation), "bibtex").entries.values()
    assert [str(person) for person in entry.persons["author"]] == ["Lovelace, Ada", "{The others}"]
    assert entry.fields["url"] == citation["url"]
    hidden = citation | {"url": "https://repository.invalid/owner/book"}
    assert "url" not in bibtex(hidden)


def test_the_map_is_readable(view):
    pictures = view.locator("nav.chapter-map svg").all()
    [picture] = [picture for picture in pictures if picture.is_visible()]
    narrow = view.viewport_size["width"] == 390
    assert picture.get_attribute("class") == ("tall" if narrow else "wide")
    boxes = [link.locator("rect").bounding_box() for link in picture.locator("a").all()]
    texts = [link.locator("text").bounding_box() for link in picture.locator("a").all()]
    for box, text in zip(boxes, texts, strict=True):
        assert box["x"] < text["x"] and box["y"] < text["y"]
        assert text["x"] + text["width"] < box["x"] + box["width"]
        assert text["y"] + text["height"] < box["y"] + box["height"]
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            beside = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
            assert beside or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
    size = picture.evaluate(
        "(svg) => 16 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    )
    assert size > 12  # pixels of the letters
    picture.locator("a").first.focus()
    reached = []
    for _ in NAMES:
        reached.append(view.evaluate("document.activeElement.getAttribute('href')"))
        view.keyboard.press("Tab")
    assert [chapter_of(address) for address in reached] == NAMES
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Enter")
    view.wait_for_url(f"**/{NAMES[-1]}.html")


def test_cards_stand_in_two_columns_and_on_a_phone_in_one(view):
    cards = [card.bounding_box() for card in view.locator("ul.cards > li").all()]
    assert len({card["x"] for card in cards}) == (1 if view.viewport_size["width"] == 390 else 2)
    card = view.locator("ul.cards > li").nth(1)
    card.click(position={"x": 20, "y": 20})  # anywhere, the title's link covers the card
    view.wait_for_url(f"**/{NAMES[1]}.html")


def test_each_frame_of_the_cover_shows_another_quarter(view):
    frames = [frame.bounding_box() for frame in view.locator("figure.cover img").all()]
    assert len({frame["y"] for frame in frames}) == (2 if view.viewport_size["width"] == 390 else 1)
    assert all(abs(frame["width"] - frame["height"]) < 1 for frame in frames)
    pictures = [
        Image.open(io.BytesIO(frame.screenshot())).tobytes()
        for frame in view.locator("figure.cover img").all()
    ]
    assert len(set(pictures)) == 4
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_cover_is_small_sharp_and_transparent():
    path = ROOT / "_static" / "cover.png"
    assert path.stat().st_size < 150_000
    with Image.open(path) as picture:
        assert picture.width == 4 * picture.height and picture.height >= 400
        least, most = picture.convert("RGBA").getchannel("A").getextrema()
    assert least == 0 and most > 250
