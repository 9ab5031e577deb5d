"""Previews in a browser: what each kind of link shows, by mouse, keyboard and touch."""

import gzip
import re
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import CONTENT, SITE, page_name, soup, violations

CHAPTERS = SITE / "chapters"
FEATURES = CHAPTERS / "unconstrained_features.html"
SHOWN = ".preview:popover-open"
THEOREM = "a[data-preview][href='#thm-ufm']"

# A page, a link in it, and words that the preview shows.
KINDS = {
    "theorem": (FEATURES, "#thm-ufm", "Global minimisers"),
    "lemma of another page": (
        CHAPTERS / "shallow_feasibility.html",
        "unconstrained_features.html#thm-positive",
        "Positive features",
    ),
    "equation": (FEATURES, "#equation-", r"\(\d+\)"),
    "figure": (CHAPTERS / "progressive_separation.html", "#fig-layers", "Four measures"),
    "exercise": (CHAPTERS / "neural_collapse.html", "#ex-nc-relu", r"Exercise \d"),
    "citation": (CHAPTERS / "neural_collapse.html", "bibliography.html#", "Papyan"),
    "claim": (
        CHAPTERS / "neural_collapse.html",
        "claims.html#claim-collapse-prevalent",
        "Neural collapse is a common outcome",
    ),
}


def previewed(address):
    return f"article a[data-preview][href*='{address}']"


@pytest.fixture
def phone(open_window):
    return open_window(bypass_csp=True, viewport={"width": 390, "height": 800}, has_touch=True)


def shown(page):
    page.wait_for_selector(SHOWN)
    return page.locator(SHOWN)


def hidden(page):
    page.wait_for_selector(SHOWN, state="hidden")


def hover(page, selector):
    link = page.locator(selector).first
    link.scroll_into_view_if_needed()
    link.hover()
    return link


@pytest.mark.parametrize("page", CONTENT, ids=page_name)
def test_links_to_what_can_be_shown_are_marked(page):
    kinds = ["theorem", "lemma", "definition", "exercise", "citation"]
    for link in soup(page).select("article a.reference.internal[href*='#']"):
        address = urlsplit(link["href"])
        target = (page.parent / address.path).resolve() if address.path else page
        element = soup(target).find(id=unquote(address.fragment))
        can_be_shown = set(kinds) & set(element.get("class", [])) or element.name == "figure"
        is_claim = element["id"].startswith("claim-")
        is_equation = element["id"].startswith("equation-")
        if can_be_shown or is_claim or is_equation:
            assert link.has_attr("data-preview"), link
        if element.name == "section" and not element["id"].startswith("erratum-"):
            assert not link.has_attr("data-preview"), link


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_target_is_shown(view, kind):
    page, address, words = KINDS[kind]
    view.goto(page.as_uri())
    hover(view, previewed(address))
    preview = shown(view)
    assert re.search(words, preview.inner_text())
    assert not preview.locator("[id], .headerlink, script, style, input").count()
    for link in preview.locator("a[href]").all():
        assert link.evaluate("link => link.href.startsWith('file:') || link.hostname")
    for image in preview.locator("img").all():
        assert image.evaluate("async (image) => { await image.decode(); return true; }")


def test_every_reference_has_something_to_show(view):
    for page in CONTENT:
        if not soup(page).select("a[data-preview]"):
            continue
        view.goto(page.as_uri())
        links = {link["href"]: link for link in soup(page).select("a[data-preview]")}
        for address in list(links)[:: max(1, len(links) // 3)]:
            link = view.locator(f"a[data-preview][href='{address}']").first
            link.evaluate("""link => {
              document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
              link.scrollIntoView({ block: "center" });
              link.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
            }""")
            view.wait_for_function("document.querySelector('.preview').matches(':popover-open')")
            assert shown(view).inner_text().strip()
            view.keyboard.press("Escape")
            hidden(view)
            view.dispatch_event("body", "pointerover")


def test_an_equation_is_shown_with_its_number_and_a_theorem_without_proof(view):
    view.goto(FEATURES.as_uri())
    hover(view, previewed("#equation-"))
    assert shown(view).locator(".math .eqno").count() == 1
    view.mouse.move(2, 2)
    hidden(view)
    hover(view, THEOREM)
    assert "Proof" not in shown(view).inner_text()


def test_an_interactive_figure_is_shown_without_its_controls(view):
    """A link to the first such figure is made here, whatever the text refers to."""
    page = CHAPTERS / "neural_collapse.html"
    view.goto(page.as_uri())
    view.evaluate("""() => {
      const link = document.createElement("a");
      link.href = "#" + document.querySelector("[data-explore]").closest("figure").id;
      link.dataset.preview = "";
      link.textContent = "figure to try";
      link.id = "try";
      document.querySelector("article h1").after(link);
    }""")
    hover(view, "#try")
    preview = shown(view)
    assert preview.locator("img").count() == 1
    assert not preview.locator("input, button, output").count()


def test_a_pointer_may_move_into_a_preview_and_leaving_closes_it(view):
    view.goto(FEATURES.as_uri())
    hover(view, THEOREM)
    box = shown(view).bounding_box()
    view.mouse.move(box["x"] + 30, box["y"] + 30, steps=8)
    view.wait_for_timeout(600)
    assert view.locator(SHOWN).count() == 1
    view.mouse.move(2, 2)
    hidden(view)


def test_one_preview_at_a_time(view):
    view.goto(FEATURES.as_uri())
    hover(view, THEOREM)
    shown(view)
    view.locator(previewed("#equation-")).first.focus()
    hover(view, previewed("#equation-"))
    view.wait_for_selector(f"{SHOWN} .eqno")
    assert view.locator(SHOWN).count() == 1
    assert view.locator("[aria-describedby=book-preview]").count() == 1


def test_by_keyboard_focus_shows_escape_dismisses_and_focus_stays(view):
    view.goto(FEATURES.as_uri())
    link = view.locator(THEOREM).first
    link.focus()
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Tab")
    preview = shown(view)
    assert preview.get_attribute("role") == "tooltip"
    assert link.get_attribute("aria-describedby") == preview.get_attribute("id")
    view.keyboard.press("Escape")
    hidden(view)
    assert link.evaluate("link => link === document.activeElement")
    assert link.get_attribute("aria-describedby") is None


def test_escape_keeps_a_preview_away_until_the_pointer_comes_back(view):
    view.goto(FEATURES.as_uri())
    link = hover(view, THEOREM)
    shown(view)
    view.keyboard.press("Escape")
    hidden(view)
    box = link.bounding_box()
    view.mouse.move(box["x"] + 3, box["y"] + 4)
    view.wait_for_timeout(500)
    assert not view.locator(SHOWN).count()
    view.mouse.move(2, 2)
    link.hover()
    shown(view)


def test_a_click_follows_the_link(view):
    view.goto(FEATURES.as_uri())
    hover(view, THEOREM)
    shown(view)
    view.locator(THEOREM).first.click()
    view.wait_for_url("**#thm-ufm")
    hidden(view)


def test_enter_follows_the_link(view):
    view.goto(FEATURES.as_uri())
    view.locator(THEOREM).first.focus()
    view.keyboard.press("Enter")
    view.wait_for_url("**#thm-ufm")


def test_links_to_sections_and_pages_have_no_preview(view):
    view.goto(FEATURES.as_uri())
    hover(view, ".bd-sidebar-primary a")
    view.wait_for_timeout(500)
    assert not view.locator(SHOWN).count()


def test_a_first_tap_shows_a_second_follows(phone):
    phone.goto(FEATURES.as_uri())
    link = phone.locator(THEOREM).first
    link.scroll_into_view_if_needed()
    link.tap()
    preview = shown(phone)
    assert "#thm-ufm" not in phone.url
    assert preview.locator(".preview-go").get_attribute("href").endswith("#thm-ufm")
    link.tap()
    phone.wait_for_url("**#thm-ufm")


def test_go_there_and_a_tap_elsewhere(phone):
    phone.goto((CHAPTERS / "neural_collapse.html").as_uri())
    link = phone.locator(previewed("bibliography.html#")).first
    link.scroll_into_view_if_needed()
    link.tap()
    shown(phone)
    phone.touchscreen.tap(120, 20)
    hidden(phone)
    link.tap()
    shown(phone).locator(".preview-go").tap()
    phone.wait_for_url("**/bibliography.html#*")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_stays_within_the_screen_and_reachable(open_window, width, kind):
    page, address, _ = KINDS[kind]
    view = open_window(bypass_csp=True, viewport={"width": width, "height": 700})
    view.goto(page.as_uri())
    hover(view, previewed(address))
    preview = shown(view)
    box = preview.bounding_box()
    scrolls = preview.evaluate(
        "tip => tip.scrollHeight > tip.clientHeight || tip.scrollWidth > tip.clientWidth"
    )
    reachable = preview.get_attribute("tabindex") == "0"
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert box["y"] >= 0 and box["y"] + box["height"] <= 700
    assert scrolls == reachable


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_preview_is_accessible(open_window, kind):
    page, address, _ = KINDS[kind]
    view = open_window(bypass_csp=True, reduced_motion="reduce")
    view.goto(page.as_uri())
    hover(view, previewed(address))
    shown(view)
    for theme in ("light", "dark"):
        view.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        assert not violations(view, {"include": [[".preview"]]})


def test_a_preview_is_not_printed(view):
    view.goto(FEATURES.as_uri())
    hover(view, THEOREM)
    shown(view)
    view.emulate_media(media="print")
    assert not view.locator(".preview").is_visible()


def test_the_previews_of_a_page_are_light():
    scripts = list((SITE / "_previews").rglob("*.js"))
    assert scripts
    for script in scripts:
        assert len(gzip.compress(script.read_bytes())) < 100_000, script
