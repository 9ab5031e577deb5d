"""Every page in a browser, wide and narrow, light and dark: whole, still, light, accessible."""

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import VISITED, page_name, violations

every_page = pytest.mark.parametrize("page", VISITED, ids=page_name)

# What is wider than its place and neither scrolls nor shows that it does.
CUT = """
[...document.querySelectorAll(
  ".bd-article :is(pre, table, img, svg, mjx-container, details, div.math)")].filter((element) => {
  if (!element.checkVisibility()) return false;
  const scroller = element.closest(".scrolls");
  if (scroller) return getComputedStyle(scroller).maskImage === "none";
  const room = document.querySelector(".bd-article-container").getBoundingClientRect();
  const box = (element.querySelector(":scope > mjx-math") ?? element).getBoundingClientRect();
  const cut = getComputedStyle(element).overflowX !== "visible";
  return cut && element.scrollWidth > element.clientWidth + 1
    || box.right > room.right + 1 || box.left < room.left - 1;
}).map((element) => element.outerHTML.slice(0, 120))
"""
# A long formula inside a line belongs on a line of its own, where it can scroll.
WIDER_THAN_ITS_LINE = """
[...document.querySelectorAll(".bd-article mjx-container:not([display])")].filter((formula) => {
  const line = formula.closest("p, li, td, th, dd, dt, figcaption, h1, h2, h3, summary");
  const width = formula.querySelector("mjx-math").getBoundingClientRect().width;
  return line && !line.closest(".scrolls") && line.checkVisibility()
    && width > line.getBoundingClientRect().width + 1;
}).map((formula) => formula.parentElement.outerHTML.slice(0, 120))
"""
# A stop of the Tab key has something to do: a control, or a region that scrolls.
IDLE_STOPS = """
[...document.querySelectorAll("[tabindex='0']")].filter((element) =>
  !element.matches("a[href], button, input, select, summary, [role=slider], [role=button]")
  && element.checkVisibility() && element.scrollWidth <= element.clientWidth
).map((element) => element.outerHTML.slice(0, 120))
"""
NAMELESS_FOLDS = """
[...document.querySelectorAll("summary")].filter((fold) =>
  fold.querySelector("a[href]")
    || !fold.innerText.trim() && !fold.ariaLabel && fold.checkVisibility()
).map((fold) => fold.outerHTML.slice(0, 160))
"""
# On a column of 40rem, which a screen has room for, no formula on a line of its own need scroll.
TOO_WIDE = """
(() => {
  const article = document.querySelector("article");
  article?.style.setProperty("width", "40rem", "important");
  article?.style.setProperty("padding", "0", "important");
  return [...document.querySelectorAll("mjx-container[display]")].filter((formula) =>
    formula.checkVisibility() && formula.scrollWidth > formula.clientWidth + 1
  ).map((formula) => formula.innerText);
})()
"""
SHIFT = """
new Promise((resolve) => {
  let total = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) total += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(total), 300);
})
"""


def weight(page, loaded):
    """Return the compressed bytes of a page and of what it loaded; images do not count."""
    html = re.sub(r"data:image/[^\"']+", "", page.read_text(encoding="utf-8"))
    total = len(gzip.compress(html.encode()))
    for address in set(loaded):
        path = Path(unquote(urlsplit(address).path))
        if path.suffix.startswith(".woff"):
            total += path.stat().st_size
        elif path.suffix in {".js", ".css"}:
            total += len(gzip.compress(path.read_bytes()))
    return total


@pytest.mark.parametrize("width", [1280, 390])
@every_page
def test_pages_are_whole_still_and_light(open_window, page, width):
    view = open_window(viewport={"width": width, "height": 800})
    said, loaded = [], []
    view.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
    view.on("request", lambda request: loaded.append(request.url))
    view.goto(page.as_uri())
    assert view.evaluate(SHIFT) < 0.05
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert view.evaluate(overflow) <= 0
    for cut in (CUT, WIDER_THAN_ITS_LINE, IDLE_STOPS, NAMELESS_FOLDS):
        assert view.evaluate(cut) == []
    if width == 1280:
        assert view.evaluate(TOO_WIDE) == []
    assert not said
    assert {address.partition(":")[0] for address in loaded} <= {"file", "data", "blob"}
    loaded = [address for address in loaded if address.startswith("file:")]
    assert any(address.partition("?")[0].endswith("/book.css") for address in loaded)
    assert weight(page, loaded) < 500_000


# A theme changes only colours and a width only what is not colour, so that these three look at all
# that four would. Its glyphs apart, a formula is MathML; code has one test of its own.
AXE = {
    "wide, light": (1400, "light", {}),
    "wide, dark": (1400, "dark", {"runOnly": ["color-contrast"]}),
    "narrow": (390, "light", {"rules": {"color-contrast": {"enabled": False}}}),
}
COSTLY = {"exclude": [["mjx-math"], [".highlight pre"]]}
SERIOUS = {"serious", "critical"}
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@every_page
def test_pages_pass_axe(open_window, page):
    view = open_window(reduced_motion="reduce")  # no colour is on its way to another
    view.goto(page.as_uri())
    view.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    found = {}
    for case, (width, theme, options) in AXE.items():
        view.set_viewport_size({"width": width, "height": 800})
        view.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        view.wait_for_timeout(100)  # for what a page does with regions that it shows only now,
        view.evaluate(TWO_FRAMES)  # which a busy machine draws late
        found[case] = violations(view, COSTLY, SERIOUS, **options)
    assert not any(found.values()), found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_code_and_formulas_pass_axe(open_window, theme):
    view = open_window(viewport={"width": 1400, "height": 800}, color_scheme=theme)
    [page] = [page for page in VISITED if page_name(page) == "chapters/low_rank_training.html"]
    view.goto(page.as_uri())
    assert not violations(view, {"exclude": [["mjx-math"]]}, SERIOUS)
