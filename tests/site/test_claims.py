"""The claims page: complete, linked both ways, readable and filtered in a browser."""

import re
from urllib.parse import urlencode

import pytest
from site_pages import SITE, soup, violations

from lecturelib.claims import STATUSES, registry

PAGE = SITE / "backmatter" / "claims.html"
CLAIMS = registry()
SHOWN = (
    "[...document.querySelectorAll('li.claim')].filter((e) => e.checkVisibility()).map((e) => e.id)"
)


def parts(item):
    """The texts of an item's parts by the class that names each, without their labels."""
    found = {}
    for part in item.select("p.measurement > span, p.about > span"):
        label = part.find(class_="label")
        text = part.get_text().removeprefix(label.get_text() if label else "").strip()
        found[part["class"][0]] = text.replace("’", "'")
    return found


def chosen(fits):
    """Ids of the claims that a filter is to show, in the order of the page."""
    wanted = {f"claim-{claim.name}" for claim in CLAIMS.values() if fits(claim)}
    return [item["id"] for item in soup(PAGE).select("li.claim") if item["id"] in wanted]


@pytest.fixture
def view(open_window):
    """The claims page at an address."""
    page = open_window(bypass_csp=True)

    def opened(fragment=""):
        page.goto("about:blank")  # a change of the fragment alone would not load the page
        page.goto(f"{PAGE.as_uri()}{fragment}")
        return page

    return opened


def test_the_page_has_an_item_for_every_claim():
    shown = {}
    for section in soup(PAGE).select("section.claims-section"):
        for item in section.select("li.claim"):
            shown[item["id"]] = section["id"], item
    assert shown.keys() == {f"claim-{name}" for name in CLAIMS}
    for name, claim in CLAIMS.items():
        place, item = shown[f"claim-{name}"]
        assert place == f"claims-{claim.chapter.replace('_', '-')}"
        statement = item.find(class_="statement").get_text().replace("’", "'")
        assert claim.statement in statement.replace("“", '"').replace("”", '"')
        about = parts(item)
        assert about["name"] == name
        assert about["source"] == claim.source.replace("’", "'")
        assert about["status"] == STATUSES[claim.status]
        if claim.status == "quoted":
            assert not {"measured", "bar", "control"} & about.keys()
        else:
            assert about["measured"].startswith(f"{claim.quantity}: ") and about["bar"]
            assert bool(claim.control) == ("control" in about)
            assert about.get("control", "").startswith(claim.control)


def test_claims_and_the_lines_that_check_them_link_to_each_other():
    for name, claim in CLAIMS.items():
        if claim.status == "quoted":
            continue
        line = soup(SITE / "chapters" / f"{claim.chapter}.html").find(id=f"check-{name}")
        item = soup(PAGE).find(id=f"claim-{name}")
        assert item.find("a", href=f"../chapters/{claim.chapter}.html#check-{name}")
        assert line.find_parent("pre") and line.get_text() == name
        assert line.find("a")["href"] == f"../backmatter/claims.html#claim-{name}"


def test_every_section_says_how_many_claims_of_which_kind_it_has():
    for section in soup(PAGE).select("section.claims-section"):
        total, *counts = map(int, re.findall(r"\d+", section.find("summary").get_text()))
        assert total == sum(counts) == len(section.select("li.claim"))


FILTERS = {
    "lecture=003": lambda claim: "003" in claim.source,
    "lecture=none": lambda claim: not re.search(r"\b00\d\b", claim.source),
    "chapter=low-rank-training": lambda claim: claim.chapter == "low_rank_training",
    "status=full-scale": lambda claim: claim.status == "full-scale",
    "lecture=002&status=arithmetic": (
        lambda claim: "002" in claim.source and claim.status == "arithmetic"
    ),
    "words=Tetrahedron+digits": (
        lambda claim: "tetrahedron" in claim.statement and "digits" in claim.statement
    ),
}


@pytest.mark.parametrize("address", FILTERS)
def test_an_address_filters_the_claims(view, address):
    page = view(f"#{address}")
    expected = chosen(FILTERS[address])
    assert expected and page.evaluate(SHOWN) == expected
    assert page.inner_text("output") == f"{len(expected)} of {len(CLAIMS)} claims"


def test_the_controls_filter_and_the_address_follows(view):
    page = view()
    assert page.evaluate(SHOWN) == []
    assert page.inner_text("output") == f"{len(CLAIMS)} claims"
    page.get_by_label("Lecture").select_option("004")
    page.get_by_label("Words").press_sequentially("linear program")
    page.get_by_label("Words").press("Enter")
    shown = page.evaluate(SHOWN)
    stated = chosen(lambda c: "004" in c.source and "linear program" in c.statement)
    assert stated and set(stated) <= set(shown) <= set(chosen(lambda c: "004" in c.source))
    query = urlencode({"words": "linear program", "lecture": "004"})
    assert page.url == f"{PAGE.as_uri()}#{query}"
    assert view(f"#{query}").evaluate(SHOWN) == shown
    page.get_by_role("button", name="Show all").press("Enter")
    assert page.evaluate(SHOWN) == [] and page.url == PAGE.as_uri()
    assert page.evaluate("document.activeElement.name") == "words"


def test_a_choice_that_nothing_fits_says_so(view):
    assert view("#words=nosuchword").inner_text("output") == "No claim fits this choice"


def test_an_unknown_choice_filters_nothing(view):
    page = view("#lecture=007&colour=red")
    assert page.inner_text("output") == f"{len(CLAIMS)} claims"


def test_a_link_to_a_claim_shows_it_whatever_the_filter(view):
    page = view("#lecture=004&status=quoted")
    before = page.evaluate(SHOWN)
    assert before and "claim-collapse-nc1" not in before
    page.evaluate("location.hash = '#claim-collapse-nc1'")
    page.wait_for_function("document.getElementById('claim-collapse-nc1').checkVisibility()")
    claim = page.locator("#claim-collapse-nc1")
    assert claim.evaluate("(e) => e.getBoundingClientRect().top < innerHeight")
    page.go_back()
    page.wait_for_function(
        f"document.querySelector('output').innerText.startsWith('{len(before)} ')"
    )
    assert page.evaluate(SHOWN) == before


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_link_to_a_claim_opens_its_section(open_window, script):
    page = open_window(bypass_csp=True, java_script_enabled=script)
    page.goto(f"{PAGE.as_uri()}#claim-shallow-exact")
    claim = page.locator("#claim-shallow-exact")
    claim.wait_for(state="visible")
    box = claim.bounding_box()
    assert 0 <= box["y"] < 720
    assert not page.locator("#claim-collapse-nc1").is_visible()


def test_without_script_all_claims_can_be_unfolded(open_window):
    page = open_window(bypass_csp=True, java_script_enabled=False)
    page.goto(PAGE.as_uri())
    for summary in page.locator("details.claims > summary").all():
        summary.press("Enter")
    assert all(claim.is_visible() for claim in page.locator("li.claim").all()[::20])
    assert page.locator(".claims-filter").bounding_box()["height"] == 0


@pytest.mark.parametrize("width", [1400, 1280, 768, 390])
def test_nothing_is_cut_at_any_width(open_window, width):
    page = open_window(bypass_csp=True, viewport={"width": width, "height": 800})
    page.goto(PAGE.as_uri())
    assert page.evaluate("document.documentElement.scrollHeight") < 3500
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    cut = page.evaluate(
        """[...document.querySelectorAll("li.claim, li.claim p, li.claim span, .claims-filter *")]
        .filter((e) => e.tagName !== "SELECT" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
        .map((e) => e.outerHTML.slice(0, 90))"""
    )
    beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert not cut and beyond <= 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("fragment", "width"), [("#words=tetrahedron", 390), ("#claim-collapse-nc1", 1400)]
)
def test_an_open_page_is_accessible(open_window, fragment, width, theme):
    page = open_window(
        bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=theme
    )
    page.goto(f"{PAGE.as_uri()}{fragment}")
    assert not violations(page, {"include": [["article"]]}, {"serious", "critical"})
