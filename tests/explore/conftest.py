"""A browser, a page as the book wraps outputs, and what a notebook would display."""

import shutil

import pytest

PAGE = """<!doctype html><html lang="en" data-theme="dark"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Page</title>
<style>body {{ margin: 0 }} main {{ max-width: 800px; padding: 0 1rem }}</style></head><body>
<main class="bd-content"><div class="cell_output docutils container"><div class="output text_html">
{}
</div></div></main></body></html>"""


@pytest.fixture
def displayed(monkeypatch):
    """Collect what is displayed, as a notebook would show it."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    return outputs


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium found on PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open html in a page as the book wraps it; complain about errors in its scripts."""
    contexts, errors = [], []

    def open_page(html, **options):
        file = tmp_path / "page.html"
        file.write_text(PAGE.format(html), encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("pageerror", lambda error: errors.append(error))
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
