"""The search page in a browser, from a folder: what it finds, and where its results lead."""

import json
import re
from functools import cache
from urllib.parse import quote

import pytest
from site_pages import CONTENT, PAGES, SITE, ids, page_name, soup, violations

SEARCH = SITE / "search.html"
ASSETS = SITE / "_search"

# What a reader types, and anchors of which one must be among the first three results.
WANTED = {
    "neural collapse": ["def-nc", "neural-collapse"],
    "Neural Collpase": ["def-nc", "neural-collapse"],
    "simplex ETF": ["term-Simplex-ETF"],
    "NC1": ["def-nc"],
    "nuclear norm": ["the-convex-twin"],
    "balancedness": ["term-Balancedness"],
    "Kc": ["the-threshold"],
    "K_c": ["the-threshold"],
    "certificate": ["term-Certificate"],
    "focal loss": ["lem-focal", "one-family"],
    "escape time": ["term-Escape-time"],
    "weight decay": ["term-Weight-decay"],
    "Farkas": ["thm-farkas"],
    "farkas' lemma": ["thm-farkas"],
    "LoRA": ["term-LoRA"],
    "completion depth": ["what-depth-buys"],
    "standardization": ["a-classifier-is-a-map-and-a-rule"],
    "feature_compression": ["lecturelib.progressive_separation.feature_compression"],
}


@cache
def entries():
    script = (ASSETS / "entries.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("window.bookEntries = ").rstrip(";\n"))


def look_for(view, query):
    view.goto(f"{SEARCH.as_uri()}?q={quote(query)}")
    view.wait_for_function("document.querySelector('#search-status').textContent")
    return view.locator("#search-hits > li")


@pytest.fixture(scope="module")
def found(browser):
    """The first results of every query, one page for all."""
    view = browser.new_page(bypass_csp=True)
    results = {}
    for query in WANTED:
        links = look_for(view, query).locator(".search-title")
        results[query] = [link.get_attribute("href") for link in links.all()[:3]]
    return results


@pytest.mark.parametrize("query", WANTED)
def test_what_a_reader_wants_is_among_the_first_three(found, query):
    anchors = [address.split("#")[1].split(":~:")[0] for address in found[query]]
    assert set(anchors) & set(WANTED[query]), anchors


def test_every_entry_leads_somewhere():
    assert {"chapter", "section", "definition", "statement", "exercise", "term", "library"} <= {
        entry["kind"] for entry in entries()
    }
    for entry in entries():
        page, anchor = entry["address"].split("#")
        assert anchor in ids(SITE / page), entry["address"]
        assert entry["title"]


def test_entries_hold_neither_outputs_nor_imports_nor_raw_formulas():
    for entry in entries():
        assert "import lecturelib" not in entry["code"]
        assert "import torch" not in entry["code"]
        if entry["address"].startswith("chapters/"):
            assert not re.search(r"✓ [\w-]+:|\\\(|\\frac|\\lambda", entry["text"])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_search_is_loaded_on_its_page_only(page):
    loaded = [script["src"] for script in soup(page).find_all("script", src=True)]
    assert any("_search/" in source for source in loaded) == (page == SEARCH)
    assert not [source for source in loaded if "searchtools" in source or "searchindex" in source]


def test_sphinx_search_is_not_shipped():
    for name in ("searchindex.js", "_static/searchtools.js", "_static/language_data.js"):
        assert not (SITE / name).exists()


def test_results_have_a_breadcrumb_an_excerpt_and_marks(view):
    hit = look_for(view, "nuclear norm").first
    assert hit.locator(".search-above").inner_text().endswith("Unconstrained features")
    assert "nuclear norm" in hit.locator(".search-excerpt").inner_text()
    assert hit.locator("mark").all_inner_texts()[:2] == ["nuclear", "norm"]


def test_results_come_as_one_types_and_are_counted_aloud(view):
    view.goto(SEARCH.as_uri())
    status = view.locator("#search-status")
    assert status.get_attribute("role") == "status" and not status.inner_text()
    view.keyboard.type("balanced")  # the field has the focus; words need not be complete
    # A slow machine answers for the letters before the last one, too.
    view.wait_for_function(
        "document.querySelector('#search-status').textContent.includes('places for “balanced”')"
    )
    view.wait_for_url("**q=balanced")
    view.keyboard.type("nessqqqqqqqqq")
    view.wait_for_selector("#search-hits > li", state="detached")
    assert status.inner_text().startswith("Nothing for")
    view.fill("#search-query", "")
    view.wait_for_function("!document.querySelector('#search-status').textContent")
    assert "q=" not in view.url


def test_by_keyboard_from_the_field_to_a_result(view):
    look_for(view, "Rankin")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowUp")
    address = view.evaluate("document.activeElement.getAttribute('href')")
    assert "#thm-rankin" in address
    view.keyboard.press("ArrowUp")
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.getAttribute('href')") == address
    view.keyboard.press("Enter")
    view.wait_for_url("**/neural_collapse.html#*")


@pytest.mark.parametrize("query", ["nuclear norm", "shuffle their labels", "Soft-impute"])
def test_a_result_scrolls_to_its_words(view, query):
    link = look_for(view, query).locator(".search-title").first
    assert ":~:text=" in link.get_attribute("href")
    link.click()
    view.wait_for_url(lambda address: "search.html" not in address)
    where = """query => {
      const walker = document.createTreeWalker(
        document.querySelector("article"), NodeFilter.SHOW_TEXT);
      const tops = [];
      for (let text = walker.nextNode(); text; text = walker.nextNode()) {
        if (text.data.replace(/\\s+/g, " ").toLowerCase().includes(query.toLowerCase())) {
          tops.push(text.parentElement.getBoundingClientRect());
        }
      }
      return tops.some((box) => box.bottom > 0 && box.top < innerHeight);
    }"""
    view.wait_for_function(where, arg=query)
    assert view.evaluate("scrollY") > 0


@pytest.mark.parametrize("page", [SITE / "intro.html", *CONTENT[:1], CONTENT[-1]], ids=page_name)
def test_the_search_dialog_of_every_page_leads_to_the_search_page(view, page):
    view.goto(page.as_uri())
    view.keyboard.press("Control+k")
    view.keyboard.type("nuclear norm")
    view.keyboard.press("Enter")
    view.wait_for_url("**/search.html?q=nuclear+norm")
    view.wait_for_selector("#search-hits > li")


def test_without_script_the_page_says_what_to_do(open_window):
    view = open_window(bypass_csp=True, java_script_enabled=False)
    view.goto(SEARCH.as_uri())
    assert view.locator("noscript a").get_attribute("href") == "genindex.html"
    assert not view.locator("#search-query").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_search_page_is_accessible(open_window, scheme, width):
    view = open_window(
        bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    look_for(view, "weight decay")
    found = violations(view, {"include": [["article"]]})
    overflow = view.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert not found
    assert overflow <= 0
