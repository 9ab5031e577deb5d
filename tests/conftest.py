"""One browser for all tests of a process, and windows in it that may not complain."""

import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: the pages are not opened in a browser")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_window(browser):
    """Open windows with options of Playwright; scripts must not fail there, nor requests."""
    contexts, problems = [], []

    def note_failure(request):
        if request.failure != "net::ERR_ABORTED":  # as when a window closes
            problems.append(f"failed: {request.url}: {request.failure}")

    def open_one(**options):
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        contexts.append(browser.new_context(**options))
        window = contexts[-1].new_page()
        window.on("pageerror", lambda error: problems.append(str(error)))
        if options.get("java_script_enabled", True):  # without it, what is not asked for fails
            window.on("requestfailed", note_failure)
        return window

    yield open_one
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def view(open_window):
    """A window beside a page's strict policy, which forbids Playwright to wait for functions."""
    return open_window(bypass_csp=True)
