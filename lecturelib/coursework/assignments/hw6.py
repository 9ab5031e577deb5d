"""Assignment 6: holes of few points, residual layers, and dimension at a scale.

A variant is three lengths, a residual layer of two units, and two clouds of points.
"""

import math
from itertools import pairwise

import torch

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    array,
    expect,
    expect_close,
)

CLOUD = 2000


def lengths(mine):
    """Return the lengths of a variant, which place six points in space.

    Parameters
    ----------
    mine : Variant
        Whose lengths.

    Returns
    -------
    list of float
        Three lengths, ascending, with two decimals.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw6
    >>> hw6.lengths(variant("ada@example.org", "hw6"))
    [1.0, 1.08, 1.19]
    """
    stream = mine.stream("lengths")
    first = stream.integers(100, 110)
    second = first + stream.integers(5, 13)
    third = second + stream.integers(5, 13)
    return [first / 100, second / 100, third / 100]


def residual_layer(mine):
    """Return the residual layer of a variant, x + tanh(W x + b) in the plane.

    Parameters
    ----------
    mine : Variant
        Whose layer.

    Returns
    -------
    weight : Tensor, shape (2, 2)
        W, float64, invertible.
    bias : Tensor, shape (2,)
        b.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw6
    >>> weight, bias = hw6.residual_layer(variant("ada@example.org", "hw6"))
    >>> weight.shape, bias.shape
    (torch.Size([2, 2]), torch.Size([2]))
    """
    stream = mine.stream("residual layer")
    while True:
        # Until the derivative is singular at some s with entries from 0.1 to 0.9.
        (a, b), (c, d) = 1.5 * stream.normal((2, 2))
        bias = stream.normal(2)
        product = a * d - b * c
        least, *others = (
            1 + s * a + t * d + s * t * product for s in (0.1, 0.9) for t in (0.1, 0.9)
        )
        if least > 0 and min(others) < -0.2 and min(abs(b), abs(c), abs(product)) > 0.3:
            weight = torch.tensor([[a, b], [c, d]], dtype=torch.float64)
            return weight, torch.from_numpy(bias)


def sheet(mine):
    """Return a noisy square of a variant.

    Parameters
    ----------
    mine : Variant
        Whose square.

    Returns
    -------
    Tensor, shape (2000, 10)
        Points of a square of side 1 that is turned into ten dimensions, with noise in all of
        them, float64.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw6
    >>> hw6.sheet(variant("ada@example.org", "hw6")).shape
    torch.Size([2000, 10])
    """
    stream = mine.stream("sheet")
    noise = stream.integers(6, 13) / 1000
    frame = torch.linalg.qr(torch.from_numpy(stream.normal((10, 2)))).Q
    square = torch.from_numpy(stream.uniform(shape=(CLOUD, 2)))
    return square @ frame.T + noise * torch.from_numpy(stream.normal((CLOUD, 10)))


def union(mine):
    """Return two clouds of a variant that lie far apart: a part of a line, and a cube.

    Parameters
    ----------
    mine : Variant
        Whose clouds.

    Returns
    -------
    line : Tensor, shape (n, 10)
        Points of a piece of a line, float64.
    cube : Tensor, shape (2000 - n, 10)
        Points of a cube of four or five dimensions, nowhere near the line.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw6
    >>> line, cube = hw6.union(variant("ada@example.org", "hw6"))
    >>> len(line) + len(cube)
    2000
    """
    stream = mine.stream("union")
    count, dim = 50 * stream.integers(12, 25), stream.integers(4, 6)
    frame = torch.linalg.qr(torch.from_numpy(stream.normal((10, 10)))).Q
    line = torch.zeros(count, 10, dtype=torch.float64)
    line[:, 0] = 10 + torch.from_numpy(stream.uniform(shape=count))
    cube = torch.zeros(CLOUD - count, 10, dtype=torch.float64)
    cube[:, :dim] = torch.from_numpy(stream.uniform(shape=(CLOUD - count, dim)))
    return line @ frame, cube @ frame


# What public tests look at


def _all_alike(answer, mine):
    for dim in (2, 3, 7):
        hint = "all lengths one: two opposite points are 2 apart, all others √2"
        expect_close(answer([1.0] * dim), [math.sqrt(2), 2.0], hint)


def _larger(answer, mine):
    given = lengths(mine)
    found = array(answer(given), (2,))
    expect(0 < found[0] < found[1], "these points have a hole: it is born before it dies")
    hint = "points three times as far apart: birth and death, too"
    expect_close(answer([3 * length for length in given]), 3 * found, hint)


def _one_unit(answer, mine):
    for weight in (-3.0, -1.2, -0.8, 0.0, 2.0):
        found = array(answer(torch.tensor([[weight]], dtype=torch.float64)), ())
        hint = "one unit: where can 1 + s w vanish, for 0 < s ≤ 1?"
        expect(found == (weight > -1), hint)


def _triangular(answer, mine):
    weight = torch.eye(3, dtype=torch.float64)
    weight[0, 2] = 20.0
    hint = "ones on the diagonal, one more entry above it: the determinant is easily found"
    expect_close(answer(weight), 1.0, hint)


def read_summit(answer):
    """Return `score` and `point` of an answer, or say what is wrong with it."""
    expect(isinstance(answer, dict), "the answer must be a dict with score, point")
    for name in ("score", "point"):
        expect(name in answer, f"the dict lacks {name}")
    score, point = (array(answer[name], (2,), what=name) for name in ("score", "point"))
    length = math.hypot(*score)
    expect(length > 0, "a score that is zero everywhere has no summit")
    return score / length, point


def _level(answer, mine):
    score, point = (torch.from_numpy(part) for part in read_summit(answer))
    weight, bias = residual_layer(mine)
    slope = score + (score * (1 - (weight @ point + bias).tanh().square())) @ weight
    expect(float(slope.norm()) <= 1e-4, "at the point that you give the score still has a slope")


def _first_two(answer, mine):
    distances = ranked(mine, "public distances", 40, 6)
    expected = 1 / float(torch.log(distances[:, 1] / distances[:, 0]).mean())
    hint = "near = 1 and far = 2: this is what the chapter derives for two neighbours"
    expect_close(answer(distances, 1, 2), expected, hint)


def _units(answer, mine):
    distances = ranked(mine, "public distances", 40, 20)
    found = [float(array(answer(distances, near, 2 * near), ())) for near in (1, 3, 10)]
    expect(all(each > 0 for each in found), "a dimension is positive")
    for near, each in zip((1, 3, 10), found, strict=True):
        hint = "in other units of length the dimension is the same"
        expect_close(answer(1000 * distances, near, 2 * near), each, hint)
    halves = [float(array(answer(distances, 2, far), ())) for far in (4, 9, 15)]
    hint = "if all distances are replaced by their squares, the dimension is halved"
    expect(all(abs(a - b) > 1e-9 for a, b in pairwise(halves)), "other neighbours, other numbers")
    expect_close(answer(distances**2, 3, 7), float(array(answer(distances, 3, 7), ())) / 2, hint)


def ranked(mine, name, points, neighbours, dim=3):
    """Draw distances to neighbours, ascending, (points, neighbours), as in `dim` directions."""
    steps = -torch.log1p(-torch.from_numpy(mine.stream(name).uniform(shape=(points, neighbours))))
    return steps.cumsum(1) ** (1 / dim)


ASSIGNMENT = Assignment(
    name="hw6",
    title="Topology and intrinsic dimension",
    minutes=90,
    questions=(
        Question("hw6-q1", "Two points for each direction", "", "written", (), read_by_a_person=5),
        Question(
            "hw6-q2",
            "The hole of highest dimension",
            "hole",
            "function",
            (Test("all lengths alike", _all_alike), Test("your six points", _larger)),
            points=4,
        ),
        Question(
            "hw6-q3",
            "Past the narrow layer",
            "never_singular",
            "function",
            (Test("one unit", _one_unit), Test("a triangular matrix", _triangular)),
            points=5,
        ),
        Question(
            "hw6-q4",
            "A summit of your own",
            "summit",
            "value",
            (Test("no slope", _level),),
            points=5,
        ),
        Question("hw6-q5", "What a residual layer may do", "", "written", (), read_by_a_person=6),
        Question(
            "hw6-q6",
            "From the near to the far",
            "dimension_between",
            "function",
            (Test("two neighbours", _first_two), Test("other units", _units)),
            points=5,
        ),
        Question("hw6-q7", "One number for two dimensions", "", "written", (), read_by_a_person=6),
    ),
)
