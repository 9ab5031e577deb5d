"""Every page offers what can be taken home, and says what it is about."""

import zipfile

import pytest
from helpers import tool
from site_pages import CONTENT, ROOT, SITE, page_name, soup

every_page = pytest.mark.parametrize("page", [SITE / "intro.html", *CONTENT], ids=page_name)


@every_page
def test_pages_offer_the_book_and_no_source_that_does_not_run(page):
    menu = soup(page).find(class_="dropdown-download-buttons")
    offered = {(page.parent / link["href"]).resolve() for link in menu.find_all("a")}
    assert SITE / "book.zip" in offered
    assert offered <= {SITE / "book.zip", SITE / "book.pdf"}
    assert all(file.exists() for file in offered)


def test_the_archive_is_whole():
    with zipfile.ZipFile(SITE / "book.zip") as archive:
        assert archive.testzip() is None
        assert {"book/README.md", "book/lecturelib/__init__.py"} <= set(archive.namelist())


def test_assignments_are_listed_and_can_be_taken_home():
    page = SITE / "backmatter" / "assignments.html"
    article = soup(page).find("article")
    offered = {
        (page.parent / link["href"]).resolve() for link in article.select("a.reference.download")
    }
    assert {file.read_bytes() for file in offered} == {
        file.read_bytes() for file in (ROOT / "assignments").glob("*.ipynb")
    }
    words = article.get_text()
    assert words.count("Time: ") == len(offered) and "**" not in words


@every_page
def test_pages_say_what_they_are(page):
    document = soup(page)
    told = {tag["property"]: tag["content"] for tag in document.find_all("meta", property=True)}
    heading = document.find("article").h1
    assert told["og:title"] == heading.find(string=True)
    assert told["og:type"] == ("website" if page.stem == "intro" else "article")
    paragraph = document.find("article").select_one("section > p")
    about = document.find("meta", attrs={"name": "description"})
    if paragraph is not None:
        assert 50 < len(about["content"]) <= 300
        assert told["og:description"] == about["content"]
        assert "\\" not in about["content"]  # no formula in TeX


def test_addresses_are_those_of_the_repository_or_none():
    repository = tool("repository")
    site = repository.site_address(repository.current(ROOT))
    for page in CONTENT:
        shown = [link["href"] for link in soup(page).find_all("link", rel="canonical")]
        shared = [tag["content"] for tag in soup(page).find_all("meta", property="og:url")]
        assert shown == shared == ([f"{site}{page_name(page)}"] if site else [])
    assert (SITE / "sitemap.xml").exists() == bool(site)
    assert (SITE / ".nojekyll").exists()
