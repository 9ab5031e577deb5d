"""What the pages' own script does: reading mode, folds, drawers; and the pages without it."""

import re

import pytest
from site_pages import SITE, soup

CHAPTER = SITE / "chapters" / "unconstrained_features.html"
OPEN_CELLS = "document.querySelectorAll('details.code:not(.hidden-code)[open]').length"


def test_reading_mode_folds_cells_and_is_remembered(view):
    view.goto(CHAPTER.as_uri())
    shown = view.evaluate(OPEN_CELLS)
    assert shown > 10
    text, code = view.query_selector_all(".reading-switch button")
    text.focus()
    view.keyboard.press("Enter")
    assert view.evaluate(OPEN_CELLS) == 0
    assert (text.get_attribute("aria-pressed"), code.get_attribute("aria-pressed")) == (
        "true",
        "false",
    )
    view.goto((SITE / "chapters" / "neural_collapse.html").as_uri())
    assert view.evaluate(OPEN_CELLS) == 0
    summary = view.query_selector("details.code:not(.hidden-code) > summary")
    summary.focus()
    view.keyboard.press("Enter")
    assert view.evaluate(OPEN_CELLS) == 1
    view.query_selector(".reading-switch button[value=code]").click()
    assert view.evaluate(OPEN_CELLS) > 10


def test_the_line_of_a_folded_cell_names_all_its_claims():
    seen = set()
    for fold in soup(CHAPTER).select("details.code"):
        line = fold.summary.get_text(" ", strip=True)
        assert re.search(r"\w+.* \d+ lines?", line)
        cell = fold.find_parent(class_="cell")
        checked = re.findall(r"^[✓∴] ([a-z0-9-]+): ", cell.get_text(), re.MULTILINE)
        assert all(name in line for name in checked)
        seen.update(checked)
    assert len(seen) > 20


def test_reading_keeps_the_place(view):
    view.goto(CHAPTER.as_uri())
    heading = "document.getElementById('positive-features').getBoundingClientRect().top"
    view.evaluate(f"scrollBy({{ top: {heading} - 100, behavior: 'instant' }})")
    before = view.evaluate(heading)
    # A click by the mouse would first scroll the switch into view.
    view.evaluate("document.querySelector('.reading-switch button[value=text]').click()")
    assert abs(view.evaluate(heading) - before) < 2


def test_without_script_everything_is_shown(open_window):
    view = open_window(java_script_enabled=False)
    view.goto(CHAPTER.as_uri())
    for cell in view.query_selector_all("details.code:not(.hidden-code)"):
        assert cell.get_attribute("open") is not None
    assert not view.query_selector(".reading-switch").is_visible()
    assert view.query_selector("mjx-math").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_known_before_the_page_is_drawn(open_window, scheme):
    view = open_window(color_scheme=scheme)
    # The theme's own script runs only when the page has been drawn.
    view.route("**/pydata-sphinx-theme.js*", lambda route: route.fulfill(body=""))
    view.goto(CHAPTER.as_uri())
    assert view.evaluate("document.documentElement.dataset.theme") == scheme


def test_without_script_a_page_is_light_and_has_its_colours(open_window):
    view = open_window(java_script_enabled=False, color_scheme="dark")
    view.goto(CHAPTER.as_uri())
    rule = view.locator(".bd-article .admonition").first
    assert rule.evaluate("box => getComputedStyle(box).borderLeftStyle") == "solid"


def test_a_link_into_a_closed_fold_opens_it(view):
    inside = soup(CHAPTER).select_one("details.solution")["id"]
    view.goto(f"{CHAPTER.as_uri()}#{inside}")
    view.wait_for_selector("details.solution[open]")


def test_the_drawer_closes_when_it_has_been_used(open_window):
    view = open_window(viewport={"width": 390, "height": 800}, has_touch=True)
    view.goto(CHAPTER.as_uri())
    view.click(".secondary-toggle")
    view.wait_for_selector("dialog[open] #pst-page-toc-nav a")
    view.click("dialog[open] #pst-page-toc-nav a >> nth=3")
    view.wait_for_selector("dialog[open]", state="detached")


def test_paper_has_text_and_solutions_but_code_only_on_demand(view):
    view.goto(CHAPTER.as_uri())
    view.emulate_media(media="print")
    cell = "details.code:not(.hidden-code) .cell_input"
    assert not view.query_selector(cell).is_visible()
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert view.query_selector("details.solution p").is_visible()
    view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert view.evaluate("document.querySelectorAll('details.solution[open]').length") == 0
    view.evaluate("localStorage.setItem('reading', 'code')")
    view.reload()
    assert view.query_selector(cell).is_visible()
