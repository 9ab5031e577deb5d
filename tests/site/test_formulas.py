"""Formulas on a line of their own fit the column of a screen."""

import pytest
from site_pages import CONTENT, page_name, soup

WITH_FORMULAS = [page for page in CONTENT if soup(page).select_one("div.math")]
TOO_WIDE = """
[...document.querySelectorAll("mjx-container[display]")].filter((formula) =>
  formula.checkVisibility() && formula.scrollWidth > formula.clientWidth + 1
).map((formula) => formula.innerText)
"""


@pytest.mark.parametrize("page", WITH_FORMULAS, ids=page_name)
def test_no_formula_is_wider_than_the_column(browser, page):
    view = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    view.goto(page.as_uri())
    view.add_style_tag(content="article { width: 40rem !important; padding: 0 !important }")
    view.wait_for_selector("mjx-container")
    view.wait_for_function("!window.MathJax?.startup || MathJax.startup.promise.then(() => true)")
    too_wide = view.evaluate(TOO_WIDE)
    view.close()
    assert not too_wide
