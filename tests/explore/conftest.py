"""A page as the book wraps outputs, and what a notebook would display."""

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


@pytest.fixture
def opened(open_window, tmp_path):
    """Open html in a page as the book wraps it."""

    def open_page(html, **options):
        file = tmp_path / "page.html"
        file.write_text(PAGE.format(html), encoding="utf-8")
        page = open_window(**options)
        page.set_default_timeout(5000)
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(file.as_uri())
        return page

    return open_page
