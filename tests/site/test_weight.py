"""What a page weighs, how it comes, what it is allowed: from a folder and from a sub-path."""

import functools
import gzip
import http.server
import re
import threading
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import PAGES, SITE, page_name, soup

VISITED = [page for page in PAGES if soup(page).body]
every_page = pytest.mark.parametrize("page", VISITED, ids=page_name)
SHIFT = """
new Promise((resolve) => {
  let total = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) total += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(total), 300);
})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve the site below a sub-path, as GitHub Pages does."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "book").symlink_to(SITE)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/book"
        httpd.shutdown()


def weight(page, loaded):
    """Return the compressed bytes of a page and of what it loaded; images do not count."""
    html = re.sub(r"data:image/[^\"']+", "", page.read_text(encoding="utf-8"))
    total = len(gzip.compress(html.encode()))
    for address in set(loaded):
        path = SITE / unquote(urlsplit(address).path).removeprefix("/book/")
        if path.suffix.startswith(".woff"):
            total += path.stat().st_size
        elif path.suffix in {".js", ".css"}:
            total += len(gzip.compress(path.read_bytes()))
    return total


def test_the_site_is_small():
    files = [path for path in SITE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15e6
    assert not [path for path in files if path.suffix == ".map"]


@pytest.mark.parametrize("width", [1280, 390])
@every_page
def test_a_page_is_light_and_nothing_moves(browser, server, page, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    view = context.new_page()
    problems = []
    view.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    view.goto(f"{server}/{page_name(page)}")
    shift = view.evaluate(SHIFT)
    loaded = view.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    context.close()
    assert not problems  # the policy is obeyed on http too, and below a sub-path
    assert shift < 0.05
    assert any("/book.css" in address for address in loaded)
    assert weight(page, loaded) < 500_000


@every_page
def test_every_page_has_a_strict_policy(page):
    first = soup(page).head.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in first["content"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == "'none'"
    assert re.fullmatch(r"'self'( 'sha256-[\w+/=]+')*", policy["script-src"])
    assert not first.find_previous(["script", "link", "style"])
    for element in soup(page).find_all(True):
        assert not [name for name in element.attrs if re.match("on[a-z]+$", name)]


def test_the_policy_stops_a_script_that_was_not_there(browser, server):
    view = browser.new_page()
    problems = []
    view.on("console", lambda message: problems.append(message.text))
    view.goto(f"{server}/{page_name(VISITED[0])}")
    view.evaluate(
        "document.head.append(Object.assign(document.createElement('script'),"
        "{ textContent: 'window.intruder = 1' }))"
    )
    assert view.evaluate("window.intruder") is None
    assert any("Content Security Policy" in problem for problem in problems)
    view.close()
