"""Hidden tests of assignment 6."""

import itertools
import math
from functools import cache

import numpy as np
import torch

from lecturelib.coursework.assignments import hw6
from lecturelib.coursework.questions import Test, array, expect, expect_close
from lecturelib.topology_and_dimension import persistence


def bar(lengths):
    """Return birth and death of the hole, by the formula."""
    low, *_ = lengths = sorted(lengths)
    birth, death = math.hypot(*lengths[-2:]), 2 * low
    return (birth, death) if birth < death else (0.0, 0.0)


def by_machine(lengths):
    """Return birth and death of the hole, from all simplices."""
    axes = torch.diag(torch.tensor(lengths, dtype=torch.float64))
    bars = persistence(torch.cat([axes, -axes]), len(lengths) - 1)[len(lengths) - 1]
    return tuple(bars[0].tolist()) if len(bars) else (0.0, 0.0)


def few_directions(answer, mine):
    stream = mine.stream("hidden few")
    for dim in (2, 3, 4):
        lengths = stream.uniform(1.0, 1.2, dim).tolist()
        hint = f"{dim} directions: the machine finds another birth or death"
        expect_close(answer(lengths), by_machine(lengths), hint)
    own = hw6.lengths(mine)
    expect_close(answer(own[::-1]), bar(own), "the order of the lengths makes no difference")


def many_directions(answer, mine):
    stream = mine.stream("hidden many")
    for dim in (5, 13, 40):
        lengths = stream.uniform(20.0, 25.0, dim).tolist()
        expect_close(answer(lengths), bar(lengths), f"{dim} directions: another birth or death")


def no_hole(answer, mine):
    stream = mine.stream("hidden none")
    for dim in (2, 3, 4, 9):
        lengths = stream.uniform(1.0, 1.2, dim)
        lengths[stream.integers(0, dim)] = 0.5
        hint = "if the shortest diagonal comes first, there is no such hole at any scale"
        expect_close(answer(lengths.tolist()), (0.0, 0.0), hint)
        lengths[stream.integers(0, dim)] = 9.0
        expect_close(answer(lengths.tolist()), (0.0, 0.0), hint)
    hint = "3, 4 and 2.5: what is born when it dies is at no scale"
    expect_close(answer([3.0, 4.0, 2.5]), (0.0, 0.0), hint)


def corners(weight):
    """Return det(I + diag(s) W) at all corners of the cube, as principal minors of I + W."""
    whole = np.eye(len(weight)) + weight
    chosen = (
        list(subset)
        for size in range(1, len(weight) + 1)
        for subset in itertools.combinations(range(len(weight)), size)
    )
    return np.array([np.linalg.det(whole[np.ix_(subset, subset)]) for subset in chosen])


def verdicts(answer, matrices):
    for weight in matrices:
        lowest = corners(weight).min()
        assert abs(lowest) > 1e-3, "the case is too close to call"
        found = array(answer(torch.from_numpy(weight)), ())
        hint = (
            f"{len(weight)} units: there is an s for which the determinant is zero"
            if lowest < 0
            else f"{len(weight)} units: here no s makes the determinant zero"
        )
        expect(found == (lowest > 0), hint)


def drawn(answer, mine):
    """Matrices of each kind, drawn until there are six of both verdicts."""
    stream = mine.stream("hidden matrices")
    for dim in (2, 3, 5):
        kinds = {True: [], False: []}
        while min(map(len, kinds.values())) < 6:
            weight = stream.normal((dim, dim)) + stream.uniform(-1, 1.5) * np.eye(dim)
            lowest = corners(weight).min()
            if abs(lowest) > 0.02:
                kinds[bool(lowest > 0)].append(weight)
        for kind in kinds.values():
            verdicts(answer, kind[:6])


def large_and_harmless(answer, mine):
    """Norms far above one, and eigenvalues of the symmetric part far below minus one."""
    stream = mine.stream("hidden harmless")
    skew = 4 * stream.normal((4, 4))
    above = np.triu(6 * stream.normal((4, 4)), 1) - 0.5 * np.eye(4)
    root = 3 * stream.normal((4, 4))
    verdicts(answer, [skew - skew.T, above, root @ root.T / 4])


def one_corner_only(answer, mine):
    """What is negative at few corners, or only where some units are off."""
    stream = mine.stream("hidden corners")
    size = stream.uniform(1.05, 1.15)
    block = -size / 4 * np.ones((4, 4))
    twice = np.kron(np.eye(2), block)  # positive again where all are on
    order = stream.permutation(8)
    pair = np.array([[0.0, size], [size, 0.0]])
    hidden = np.zeros((3, 3))
    hidden[:2, :2] = pair
    hidden[2, :2], hidden[:2, 2] = [3.0, -3.0], [-3.0, 3.0]
    verdicts(answer, [twice[np.ix_(order, order)], np.kron(np.eye(2), pair), block, hidden])


def bend(score, point, weight, bias):
    """Return slope and second derivatives of score · (x + tanh(W x + b)) at a point."""
    height = np.tanh(weight @ point + bias)
    flat = 1 - height**2
    slope = score + weight.T @ (flat * score)
    return slope, weight.T @ np.diag(-2 * score * height * flat) @ weight


def is_a_summit(answer, mine):
    score, point = hw6.read_summit(answer)
    weight, bias = (part.numpy() for part in hw6.residual_layer(mine))
    slope, curved = bend(score, point, weight, bias)
    values = np.linalg.eigvalsh(curved)
    expect(np.linalg.norm(slope) <= 1e-4, "the score still has a slope at this point")
    expect(values.max() < -1e-6, "there is a direction in which the score rises from this point")
    off = np.linalg.norm(np.linalg.solve(curved, slope))
    expect(off <= 1e-3, "the summit is nearby, and not at this point")


def no_slope(answer, mine):
    score, point = hw6.read_summit(answer)
    weight, bias = (part.numpy() for part in hw6.residual_layer(mine))
    slope, _ = bend(score, point, weight, bias)
    expect(np.linalg.norm(slope) <= 1e-4, "the score still has a slope at this point")


def between(distances, near, far):
    """Return the estimate, from logarithms of the columns."""
    distances = np.asarray(distances)
    kept = distances[distances[:, near - 1] > 0]
    logs = np.log(kept[:, far - 1]) - np.log(kept[:, near - 1])
    return np.sum(1 / np.arange(near, far)) / logs.mean()


def of_ranks(*pairs, name, dim=3, repeated=0):
    def run(answer, mine):
        distances = hw6.ranked(mine, name, 200, 130, dim)
        distances[:repeated, :10] = 0.0
        for near, far in pairs:
            hint = f"near = {near}, far = {far}: another number"
            given = distances.clone()
            expect_close(answer(given, near, far), between(distances, near, far), hint)

    return run


@cache
def many_distances(mine):
    return hw6.ranked(mine, "hidden many distances", 20000, 41, 6)


def right_on_average(answer, mine):
    """With 20 000 points that fulfil the assumptions, it must find the dimension."""
    distances = many_distances(mine)
    for near, far in ((1, 4), (2, 3), (5, 10), (3, 41)):
        hint = "on points that are even in six directions it does not find six"
        expect_close(answer(distances, near, far), 6.0, hint, rel=0.04)


HIDDEN = {
    "hw6-q2": (
        Test("few directions", few_directions, 2),
        Test("many directions", many_directions, 1),
        Test("no hole", no_hole, 1),
    ),
    "hw6-q3": (
        Test("matrices of a variant", drawn, 2),
        Test("large and harmless", large_and_harmless, 1),
        Test("few corners", one_corner_only, 2),
    ),
    "hw6-q4": (Test("no slope", no_slope, 2), Test("a summit", is_a_summit, 3)),
    "hw6-q6": (
        Test("right on average", right_on_average, 2),
        Test("distances of a variant", of_ranks((1, 2), (2, 7), (9, 128), name="hidden"), 2),
        Test(
            "points that coincide", of_ranks((3, 8), (9, 30), name="hidden twins", repeated=20), 1
        ),
    ),
}
