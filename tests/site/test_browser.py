"""Every page in a browser, wide and narrow, light and dark: whole, quiet, operable, accessible."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from site_pages import PAGES, page_name, soup

VISITED = [page for page in PAGES if soup(page).body]  # the others only redirect
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
  && element.checkVisibility() && element.scrollWidth <= element.clientWidth + 1
).map((element) => element.outerHTML.slice(0, 120))
"""
NAMELESS_FOLDS = """
[...document.querySelectorAll("summary")].filter((fold) =>
  fold.querySelector("a[href]")
    || !fold.innerText.trim() && !fold.ariaLabel && fold.checkVisibility()
).map((fold) => fold.outerHTML.slice(0, 160))
"""


def problems_of(view):
    problems = []
    view.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on(
        "console",
        lambda message: problems.append(message.text) if message.type != "log" else None,
    )
    return problems


@pytest.mark.parametrize("width", [1280, 390])
@every_page
def test_pages_are_whole(browser, page, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    view = context.new_page()
    problems = problems_of(view)
    requested = []
    view.on("request", lambda request: requested.append(request.url))
    view.goto(page.as_uri())
    view.wait_for_timeout(200)
    overflow = view.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    found = [view.evaluate(s) for s in (CUT, WIDER_THAN_ITS_LINE, IDLE_STOPS, NAMELESS_FOLDS)]
    context.close()
    assert not problems
    assert found == [[], [], [], []]
    assert overflow <= 0
    assert {address.partition(":")[0] for address in requested} <= {"file", "data", "blob"}


# A theme changes only colours and a width only what is not colour, so that three runs of axe look
# at all that four would. Its glyphs apart, a formula is MathML; code has one test of its own.
AXE = {
    "wide, light": (1400, "light", {}),
    "wide, dark": (1400, "dark", {"runOnly": ["color-contrast"]}),
    "narrow": (390, "light", {"rules": {"color-contrast": {"enabled": False}}}),
}
COSTLY = [["mjx-math"], [".highlight pre"]]


def serious_violations(browser, page, width, theme, options, exclude):
    context = browser.new_context(viewport={"width": width, "height": 800})
    context.add_init_script(f"localStorage.mode = localStorage.theme = {theme!r}")
    view = context.new_page()
    view.goto(page.as_uri())
    view.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    view.wait_for_timeout(100)  # for what a page does with regions that are seen only now
    results = Axe().run(view, {"exclude": exclude}, {"resultTypes": ["violations"], **options})
    context.close()
    return [
        f"{found['id']}: {node['html'][:160]}"
        for found in results.response["violations"]
        if found["impact"] in {"serious", "critical"}
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("case", AXE)
@every_page
def test_pages_pass_axe(browser, page, case):
    width, theme, options = AXE[case]
    assert not serious_violations(browser, page, width, theme, options, COSTLY)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_code_and_formulas_pass_axe(browser, theme):
    [page] = [page for page in VISITED if page.stem == "low_rank_training"][:1]
    assert not serious_violations(browser, page, 1400, theme, {}, [["mjx-math"]])
