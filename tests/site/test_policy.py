"""What a page is allowed, from a folder and from a sub-path; and what the whole site weighs."""

import functools
import http.server
import re
import threading

import pytest
from site_pages import SITE, VISITED, page_name, soup

every_page = pytest.mark.parametrize("page", VISITED, ids=page_name)


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


def test_the_site_is_small():
    files = [path for path in SITE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 18e6  # ten chapters
    assert not [path for path in files if path.suffix == ".map"]


@pytest.mark.parametrize("name", ["index", "chapters/neural_collapse", "search"])
def test_a_served_page_obeys_its_policy(open_window, server, name):
    view = open_window()
    said = []
    view.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    view.goto(f"{server}/{name}.html")
    view.wait_for_load_state("networkidle")
    assert not said


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
