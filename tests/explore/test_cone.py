"""Points to drag: what the script answers, against the solver; by mouse, touch and key."""

import re

import pytest
import torch
from helpers import source

from lecturelib.explore import cone
from lecturelib.shallow_feasibility import nc_feasibility

OWN, OTHERS = [(-1.0, 1.0), (1.0, 1.0)], [(-1.2, -0.3), (-0.5, -1.0), (0.8, -0.9)]
FEASIBLE, MEETS, BEYOND = (
    "Feasible: ",
    "Infeasible: the line meets",
    "Infeasible: .*beyond the edge",
)


@pytest.fixture
def make(displayed):
    def html(own=OWN, others=OTHERS, name="demo", alt="A line and a cone", **arguments):
        cone(own, others, name=name, alt=alt, **arguments)
        return displayed[-1].data

    return html


def shapes(page):
    """All that is drawn, and what is said of it."""
    drawn = page.locator("svg *").evaluate_all(
        """elements => elements.map((element) => ["class", "d", "transform", "display"]
             .map((name) => element.getAttribute(name)))"""
    )
    return drawn, page.locator(".explore-answer").text_content()


def answer(page):
    return page.locator(".explore-answer").text_content()


def solved(points):
    """What the library's solver says of the class of the first two points."""
    labels = torch.tensor([0, 0] + [1] * (points.shape[-2] - 2)).expand(points.shape[:-1])
    return nc_feasibility(points, labels[0] if points.dim() == 3 else labels).feasible[..., 0]


STARTS = {
    FEASIBLE: (OWN, OTHERS),
    MEETS: (OWN, [(-1.5, 0.7), (-0.6, -0.9)]),
    BEYOND: (OWN, [(-2.0, 0.2), (-0.6, -0.9)]),
    "Infeasible: ": ([(-1.0, 1.0), (1.0, -1.0)], OTHERS),  # through the origin
}


@pytest.mark.parametrize("start", STARTS)
def test_python_draws_and_says_what_the_script_does(make, opened, start):
    html = make(*STARTS[start])
    still, alive = opened(html, java_script_enabled=False), opened(html)
    assert shapes(still) == shapes(alive)
    assert re.match(start, answer(still))
    assert not still.get_by_role("button").is_visible() and not still.locator("[tabindex]").count()


def test_the_script_agrees_with_the_solver(make, opened):
    """Random positions on a grid as coarse as a reader's steps, so that ties occur as well."""
    points = torch.stack(
        [
            torch.randint(-bound, bound + 1, (400, 5), generator=source(0)) * step
            for bound, step in ((12, 25), (8, 25))
        ],
        dim=-1,
    )
    points = points[(points[:, 0] != points[:, 1]).any(-1)]
    page = opened(make())
    answers = page.locator("[data-explore]").evaluate(
        "(figure, all) => all.map((points) => figure.explore.place(points))", points.tolist()
    )
    expected = [bool(solved(example / 100)) for example in points.double()]
    assert answers == expected
    assert 20 < sum(expected) < len(expected) - 20


def test_the_meeting_point_is_on_the_line_and_in_the_cone(make, opened):
    page = opened(make())
    points = torch.randint(-200, 201, (200, 5, 2), generator=source(1))
    seen = 0
    for example in points.tolist():
        feasible = page.locator("[data-explore]").evaluate(
            "(figure, points) => figure.explore.place(points)", example
        )
        mark = page.locator(".explore-meeting")
        if feasible or mark.get_attribute("display") == "none":
            continue
        x, y = map(int, re.findall(r"-?\d+", mark.get_attribute("transform")))
        p, q, *others = torch.tensor(example).double()
        meeting = torch.tensor([x, -y]).double()
        off = torch.linalg.det(torch.stack([q - p, meeting - p])) / (q - p).norm()
        angles = [torch.linalg.det(torch.stack([meeting, o])) / o.norm() for o in others]
        assert off.abs() < 1.5
        assert min(angle.abs() for angle in angles) < 1.5  # on the ray of one of them
        seen += 1
    assert seen > 30


def box_centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_point_is_dragged_across_the_line(make, opened):
    page = opened(make())
    assert re.match(FEASIBLE, answer(page))
    x, y = box_centre(page.get_by_role("slider", name="sample 3 of the others"))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 100, steps=4)
    page.mouse.move(x, y - 230, steps=4)
    page.mouse.up()
    assert re.match(MEETS, answer(page))
    page.mouse.move(x, y)  # let go: it stays
    assert re.match(MEETS, answer(page))
    page.get_by_role("button", name="Start again").click()
    assert re.match(FEASIBLE, answer(page))


def test_a_point_is_moved_by_touch_and_the_page_does_not_scroll(make, opened):
    page = opened(make(), has_touch=True, viewport={"width": 390, "height": 800})
    point = page.get_by_role("slider", name="sample 3 of the others")
    assert min(point.bounding_box()["width"], point.bounding_box()["height"]) >= 24
    x, y = box_centre(point)
    client = page.context.new_cdp_session(page)
    for kind, dy in [("Start", 0), ("Move", -60), ("Move", -130), ("End", None)]:
        touches = [] if dy is None else [{"x": x, "y": y + dy}]
        client.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})
    assert re.match(MEETS, answer(page))
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_point_is_moved_by_the_arrow_keys(make, opened):
    page = opened(make())
    point = page.get_by_role("slider", name="sample 1 of the class")
    point.press("ArrowUp")
    assert point.get_attribute("aria-valuetext") == "x -1.00, y 1.05"
    point.press("Shift+ArrowLeft")
    assert point.get_attribute("aria-valuetext") == "x -1.25, y 1.05"
    for _ in range(30):
        point.press("Shift+ArrowDown")
    assert point.get_attribute("aria-valuetext") == "x -1.25, y -2.00"  # the edge
    assert re.match("Infeasible", answer(page))


def test_the_samples_of_the_class_never_fall_together(make, opened):
    page = opened(make([(0.0, 1.0), (0.05, 1.0)]))
    point = page.get_by_role("slider", name="sample 1 of the class")
    point.press("ArrowRight")
    assert point.get_attribute("aria-valuetext") == "x 0.00, y 1.00"


def test_what_follows_is_said_only_when_it_changes(make, opened):
    page = opened(make())
    region = page.locator(".explore-answer")
    assert region.get_attribute("aria-live") == "polite"
    region.evaluate(
        """element => { window.said = 0;
          new MutationObserver(() => { said += 1; }).observe(element, { childList: true }); }"""
    )
    point = page.get_by_role("slider", name="sample 3 of the others")
    for _ in range(10):
        point.press("Shift+ArrowUp")
    assert re.match(MEETS, answer(page))
    assert page.evaluate("said") == 2  # beyond the edge, then within it


def test_what_the_user_gives_is_escaped(make):
    evil = '</script><b title="x">&'
    html = make(alt=evil, caption=evil)
    assert "<b " not in html and html.count("</script>") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"own": [(0, 1)]}, "own must be two points that differ, got"),
        ({"own": [(0, 1), (0, 1.001)]}, "own must be two points that differ, got"),
        ({"own": [(0, 1), (4, 1)]}, r"own must be a list of points \(x, y\) with"),
        ({"others": []}, r"others must be a list of points \(x, y\) with"),
        ({"others": [(0, float("nan"))]}, r"others must be a list of points \(x, y\) with"),
        ({"others": [(0, 1, 2)]}, r"others must be a list of points \(x, y\) with"),
        ({"name": "A b"}, "name must be lowercase"),
        ({"alt": ""}, "alt must be a string that is not empty"),
    ],
)
def test_bad_arguments_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**arguments)
