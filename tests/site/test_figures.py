"""Interactive figures on the pages: numbered, captioned once, alive, spoken, good in the dark."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from site_pages import CONTENT, SITE, page_name, soup

ACTIVE = [page for page in CONTENT if soup(page).find(attrs={"data-explore": True})]
FIGURES = [
    (page, figure["id"])
    for page in ACTIVE
    for figure in soup(page).find_all("figure")
    if figure.find(attrs={"data-explore": True})
]
every_figure = pytest.mark.parametrize(
    ("page", "name"), FIGURES, ids=[f"{page.stem}-{name}" for page, name in FIGURES]
)


@pytest.fixture
def opened(open_window):
    """Open a page in a window."""

    def open_page(page, **options):
        view = open_window(bypass_csp=True, **options)
        view.goto(page.as_uri())
        return view

    return open_page


def test_there_are_sliders_and_points_to_drag():
    kinds = [
        element["data-explore"]
        for page in ACTIVE
        for element in soup(page).find_all(attrs={"data-explore": True})
    ]
    assert kinds.count("frames") >= 6 and kinds.count("cone") >= 1
    assert len(FIGURES) == len(kinds)


@every_figure
def test_it_is_a_figure_like_any_other(page, name):
    figure = soup(page).find(id=name)
    captions = figure.find_all("figcaption")
    assert len(captions) == 1
    assert re.match(r"Fig\. \d+", captions[0].get_text(strip=True))
    assert "$" not in captions[0].get_text()
    content = figure.find(attrs={"data-explore": True})
    assert name == content["id"].replace("explore-", "fig-")
    assert len(soup(page).find_all(id=content["id"])) == 1


def test_numbers_count_up_on_a_page():
    for page in ACTIVE:
        numbers = [
            int(re.search(r"\d+", span.get_text())[0])
            for span in soup(page).select("figcaption .caption-number")
        ]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_figures_that_move_are_referred_to_by_their_number():
    for page in ACTIVE:
        for link in soup(page).select("a[href^='#fig-']:not(.headerlink)"):
            assert re.match(r"Fig\. \d+$", link.get_text(strip=True)), link


@pytest.mark.parametrize("page", ACTIVE, ids=page_name)
def test_script_and_style_come_once_as_files(page):
    document = soup(page)
    assert len(document.find_all("script", src=re.compile(r"explore\.js"))) == 1
    assert len(document.find_all("link", href=re.compile(r"explore\.css"))) == 1
    for content in document.find_all(attrs={"data-explore": True}):
        assert content.find("style") is None
        assert [script.get("type") for script in content.find_all("script")] == ["application/json"]


def test_pages_without_such_figures_do_not_load_the_script():
    assert "explore.js" not in (SITE / "backmatter" / "claims.html").read_text(encoding="utf-8")


@every_figure
def test_it_answers(opened, page, name):
    view = opened(page)
    figure = view.locator(f"#{name}")
    if figure.locator("svg").count():
        point = figure.get_by_role("slider").last
        before = point.get_attribute("aria-valuetext")
        point.press("ArrowUp")
        assert point.get_attribute("aria-valuetext") != before
        return
    image, slider = figure.locator("img"), figure.locator("input").first
    before = image.get_attribute("src"), image.get_attribute("alt")
    slider.press("ArrowRight")
    if image.get_attribute("src") == before[0]:  # it stood at its end
        slider.press("ArrowLeft")
    assert image.get_attribute("src") != before[0] and image.get_attribute("alt") != before[1]
    said = slider.get_attribute("aria-valuetext")
    assert figure.locator("output").first.text_content() == said
    view.wait_for_function(
        "name => document.querySelector(`#${name} .explore-spoken`).textContent"
        " === document.querySelector(`#${name} img`).alt",
        arg=name,
    )


@every_figure
def test_it_stays_within_a_phone(opened, page, name):
    view = opened(page, viewport={"width": 390, "height": 800})
    box = view.locator(f"#{name}").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


@every_figure
def test_it_does_not_glare_in_the_dark(opened, page, name):
    view = opened(page, color_scheme="dark")
    view.evaluate("document.documentElement.dataset.theme = 'dark'")
    shown = view.locator(f"#{name} [data-explore] :is(img, svg)")
    shot = Image.open(io.BytesIO(shown.screenshot())).convert("L")
    assert np.mean(np.asarray(shot)) < 100


@every_figure
def test_it_shows_without_a_script(opened, page, name):
    view = opened(page, java_script_enabled=False)
    assert view.locator(f"#{name} [data-explore] :is(img, svg)").is_visible()
    assert not view.locator(f"#{name} button").first.is_visible()
