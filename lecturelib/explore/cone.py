"""Points to drag, and whether the line through a class meets the cone of the other samples."""

import math
from collections.abc import Sequence
from html import escape

from lecturelib import checks
from lecturelib.explore.page import checked_caption, checked_name, figure_html

# Points are whole hundredths, so that both this module and the script find exact signs. Half the
# picture's width and height, and what is well outside of it.
UNIT, SIZE, FAR = 100, (300, 200), 4000

WORDS = {
    "feasible": "Feasible: the line misses the cone. The neuron with weights β answers 1 to the "
    "class and is silent for the others.",
    "meets": "Infeasible: the line meets the cone, here at the diamond. No neuron answers 1 to the "
    "class and is silent for the others.",
    "beyond": "Infeasible: the line meets the cone beyond the edge of the picture. No neuron "
    "answers 1 to the class and is silent for the others.",
}


def cone(
    own: Sequence[Sequence[float]],
    others: Sequence[Sequence[float]],
    *,
    name: str,
    alt: str,
    caption: str = "",
) -> None:
    r"""Display samples of two kinds in a plane, to be dragged, and what follows from them.

    The class, two samples, is feasible if some :math:`\beta` has :math:`x^\top \beta = 1` for its
    samples and :math:`x^\top \beta \le 0` for the others, that is if the line through the two
    misses the cone of the others. The page's own script decides it, exactly, at each move.

    Parameters
    ----------
    own : sequence of two points
        The samples of the class where the figure starts, each a pair of numbers, the first between
        -3 and 3 and the second between -2 and 2, taken to two decimals.
    others : sequence of points
        One sample of the others, or more.
    name : str
        Names the figure on its page: lowercase letters, digits and single hyphens. The id of the
        figure is ``explore-NAME``.
    alt : str
        What the figure shows, for those who cannot see it. What follows from the samples is always
        said below the figure.
    caption : str, optional
        Text below the figure; ``$…$`` is mathematics.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the two samples of the class are one.

    Examples
    --------
    >>> cone([(0.6, 1), (1.4, 1)], [(-0.5, -1), (0.8, -0.9)], name="cone", alt="A line, a cone")
    <IPython.core.display.HTML object>
    """
    from IPython.display import HTML, display

    own, others = _points("own", own), _points("others", others)
    if len(own) != 2 or own[0] == own[1]:
        raise checks.wrong("own", "two points that differ", own)
    checks.text("alt", alt)
    data = {"points": [*own, *others], "size": SIZE, "words": WORDS}
    shapes, answer = _shapes(own, others)
    width, height = 2 * SIZE[0], 2 * SIZE[1]
    lines = [
        f'<svg viewBox="{-SIZE[0]} {-SIZE[1]} {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(alt)}">',
        *shapes,
        '<path class="explore-origin" d="M-8 0L8 0M0 -8L0 8"/>',
        *(_point_html("own", "class", i, point) for i, point in enumerate(own, 1)),
        *(_point_html("other", "others", i, point) for i, point in enumerate(others, 1)),
        "</svg>",
        f'<p class="explore-answer" aria-live="polite">{answer}</p>',
        '<div class="explore-controls" hidden>',
        '<button type="button">Start again</button>',
        "</div>",
        "<noscript>Without JavaScript the points stay where they are.</noscript>",
    ]
    html = figure_html("cone", checked_name(name), checked_caption(caption), lines, data)
    display(HTML(html))


def _points(name, points) -> list[tuple[int, int]]:
    """Return points in whole hundredths."""
    expected = "a list of points (x, y) with |x| <= 3 and |y| <= 2"
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError) as error:
        raise checks.wrong(name, expected, points, type(error)) from error
    if not pairs or not all(abs(x) <= 3 and abs(y) <= 2 for x, y in pairs):
        raise checks.wrong(name, expected, points)
    return [(round(x * UNIT), round(y * UNIT)) for x, y in pairs]


def _cross(a, b):
    return a[0] * b[1] - a[1] * b[0]


def _along(a, length):
    norm = math.hypot(*a)
    return a[0] * length / norm, a[1] * length / norm


def _plus(a, b):
    return a[0] + b[0], a[1] + b[1]


def _minus(a, b):
    return a[0] - b[0], a[1] - b[1]


def _at(point) -> str:
    """Write a point as it is drawn: whole numbers, y pointing down."""
    return f"{math.floor(point[0] + 0.5)} {math.floor(-point[1] + 0.5)}"


def _path(*points) -> str:
    return "M" + "L".join(map(_at, points))


def _separate(own, others):
    """Return where the neuron points, and where the line meets the cone: None if nowhere."""
    p, q = own
    area = _cross(p, q)
    sign = (area > 0) - (area < 0)
    normal = sign * (q[1] - p[1]), sign * (p[0] - q[0])
    if area == 0:
        return normal, (0, 0)
    outputs = [x[0] * normal[0] + x[1] * normal[1] for x in others]
    if max(outputs) <= 0:
        return normal, None
    # Of the rays that hit the line, the one that hits it nearest to where the neuron points.
    slant = [output / (math.hypot(*x) or 1) for x, output in zip(others, outputs, strict=True)]
    nearest = slant.index(max(slant))
    reach = abs(area) / outputs[nearest]
    return normal, (others[nearest][0] * reach, others[nearest][1] * reach)


def _cone_path(rays) -> str:
    """Return each pair's cone, all turning one way so that none is cut out of another."""
    parts = []
    for i, a in enumerate(rays):
        for b in rays[i + 1 :]:
            first, second = (b, a) if _cross(a, b) < 0 else (a, b)
            middle = _plus(first, second)
            far = [] if math.hypot(*middle) < 1 else [_along(middle, FAR)]
            parts.append(_path((0, 0), first, *far, second) + "Z")
    return "".join(parts)


def _neuron(normal) -> tuple[str, str, str]:
    """Return the half-plane where a neuron fires, its arrow, and where its name stands."""
    tip, side = _along(normal, 100), (-normal[1], normal[0])
    up, across = _along(normal, FAR), _along(side, FAR)
    barbs = [_plus(_along(normal, 84), _along(side, length)) for length in (-9, 9)]
    back = _minus((0, 0), across)
    half = _path(across, _plus(across, up), _plus(back, up), back)
    arrow = _path((0, 0), tip) + _path(barbs[0], tip, barbs[1])
    return f"{half}Z", arrow, _at(_along(normal, 122))


def _shapes(own, others) -> tuple[list[str], str]:
    """Draw where the figure starts as the script would, and say what follows."""
    normal, meeting = _separate(own, others)
    direction = _along(_minus(own[1], own[0]), FAR)
    rays = [_along(x, FAR) for x in others if x != (0, 0)]
    feasible = meeting is None
    seen = not feasible and all(abs(x) <= bound for x, bound in zip(meeting, SIZE, strict=True))
    half = beta = tip = ""
    if feasible:
        half, beta, tip = _neuron(normal)
    line = _path(_minus(own[0], direction), _plus(own[1], direction))
    fires, meets = (f'display="{"inline" if on else "none"}"' for on in (feasible, seen))
    shapes = [
        f'<path class="explore-half" {fires} d="{half}"/>',
        f'<path class="explore-cone" d="{_cone_path(rays)}"/>',
        f'<path class="explore-rays" d="{"".join(_path((0, 0), ray) for ray in rays)}"/>',
        f'<path class="explore-line" d="{line}"/>',
        f'<path class="explore-beta" {fires} d="{beta}"/>',
        f'<text class="explore-name" {fires} text-anchor="middle" dominant-baseline="central" '
        f'transform="translate({tip or "0 0"})">β</text>',
        f'<path class="explore-meeting" {meets} '
        f'transform="translate({_at(meeting or (0, 0))})" d="M-11 0L0 -11L11 0L0 11Z"/>',
    ]
    return shapes, WORDS["feasible" if feasible else "meets" if seen else "beyond"]


def _point_html(kind, of, number, point) -> str:
    mark = {
        "own": '<circle r="9"/>',
        "other": '<path d="M-9 -5L-5 -9L0 -4L5 -9L9 -5L4 0L9 5L5 9L0 4L-5 9L-9 5L-4 0Z"/>',
    }[kind]
    return (
        f'<g class="explore-point explore-{kind}" aria-label="sample {number} of the {of}" '
        f'transform="translate({_at(point)})"><circle r="24"/>{mark}</g>'
    )
