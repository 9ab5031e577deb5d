"""The built site, for the tests that look at its pages. Run after ``make book``."""

from functools import cache
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
PAGES = sorted(page for page in SITE.rglob("*.html") if "_static" not in page.parts)
CONTENT = [page for page in PAGES if {"chapters", "backmatter"} & set(page.parts)]


def page_name(page):
    return page.relative_to(SITE).as_posix()


@cache
def soup(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


VISITED = [page for page in PAGES if soup(page).body]  # the others only redirect


@cache
def ids(page):
    return {element["id"] for element in soup(page).find_all(id=True)}


def violations(view, context=None, impacts=None, **options):
    """What axe finds on a page, or in a part of it: "rule: element", of these impacts or of all."""
    options = {"resultTypes": ["violations"], "preload": False, **options}
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in Axe().run(view, context, options).response["violations"]
        if impacts is None or rule["impact"] in impacts
        for node in rule["nodes"]
    ]
