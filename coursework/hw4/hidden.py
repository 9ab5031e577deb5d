"""Hidden tests of assignment 4."""

import math
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import nnls

from lecturelib.coursework.assignments import hw4
from lecturelib.coursework.questions import Test, array, expect, expect_close


def law(num_classes, num_samples, dim):
    """Return the probability that class 0 is feasible, in rational numbers."""
    total = Fraction(0)
    for size in range(num_samples + 1):
        others = num_samples - size
        chance = Fraction(math.comb(num_samples, size) * (num_classes - 1) ** others)
        if size > 0:
            signs = sum(math.comb(others, i) for i in range(dim - size + 1))
            chance *= Fraction(signs, 2**others)
        total += chance
    return float(total / num_classes**num_samples)


def laws(*sizes):
    """Return a test of the law for some sizes."""

    def run(answer, mine):
        for case in sizes:
            hint = "for other numbers of classes, samples and dimensions the probability differs"
            expect_close(answer(*case), law(*case), hint, rel=1e-6, abs=1e-12)

    return run


def sizes_of_a_variant(answer, mine):
    stream = mine.stream("hidden law")
    case = stream.integers(3, 6), stream.integers(14, 20), stream.integers(5, 8)
    laws(case)(answer, mine)


def shortest(own, others):
    """Return the shortest feasible weights: least distance to a polyhedron (Lawson and Hanson)."""
    first = np.linalg.lstsq(own, np.ones(len(own)), rcond=None)[0]
    basis = np.linalg.svd(own)[2][len(own) :].T
    if basis.shape[1] == 0:
        return first
    sides, limits = -others @ basis, others @ first  # sides @ y >= limits
    system = np.vstack([sides.T, limits])
    target = np.zeros(len(system))
    target[-1] = 1
    left = system @ nnls(system, target)[0] - target
    return first - basis @ (left[:-1] / left[-1])


def instance(stream, own, others, dim, size=1.0):
    """Draw a feasible class and the others, tensors (own, dim) and (others, dim)."""
    # Of unequal length around a mean: so it matters that own outputs are one and not more.
    lengths = size * np.linspace(1, 3, own)[:, None]
    own, rest = stream.normal((own, dim)) + 1.5 * stream.normal(dim), stream.normal((others, dim))
    own = lengths * own
    # Feasible, since these weights do, and rarely the shortest.
    away = np.linalg.svd(own)[2][len(own) :]
    beta = np.linalg.pinv(own).sum(1) + away.T @ stream.normal(len(away)) / size
    outputs = rest @ beta
    rest[outputs > 0] *= -1
    return torch.from_numpy(own), torch.from_numpy(rest)


def weights_for(*sizes, size=1.0):
    def run(answer, mine):
        stream = mine.stream(f"hidden weights {sizes} {size}")
        for case in sizes:
            own, others = instance(stream, *case, size)
            expected = shortest(own.numpy(), others.numpy())
            found = array(answer(own, others), expected.shape)
            length = np.linalg.norm(expected)
            hint = "these are not the shortest weights for which the class is feasible"
            expect(np.linalg.norm(found - expected) <= 1e-4 * length, hint)

    return run


def nobody_in_the_way(answer, mine):
    stream = mine.stream("hidden free")
    own, others = torch.from_numpy(stream.normal((3, 6))), torch.from_numpy(stream.normal((5, 6)))
    expected = torch.linalg.pinv(own).sum(1)
    others[others @ expected > 0] *= -1
    hint = "if no other sample is in the way, only the own samples decide"
    expect_close(answer(own, others), expected, hint, rel=0, abs=1e-4 * float(expected.norm()))


def entries(answer, mine):
    inputs, labels = (part.numpy() for part in hw4.samples(mine))
    return array(answer, labels.shape), inputs, labels == 0


def proves_it(answer, mine):
    found, inputs, own = entries(answer, mine)
    sizes = np.abs(found) * np.linalg.norm(inputs, axis=1)
    hint = "the samples of class 0 and the others do not add up to the same point"
    expect(np.linalg.norm(found @ inputs) <= 1e-6 * sizes.sum(), hint)
    expect(abs(found[own].sum() - 1) <= 1e-6, "the entries of class 0 must sum to one")
    expect((found[~own] <= 1e-9 * np.abs(found).max()).all(), "the others must form a cone")


def is_short(answer, mine):
    proves_it(answer, mine)
    found, inputs, _ = entries(answer, mine)
    used = (np.abs(found) > 1e-9 * np.abs(found).max()).sum()
    expect(used <= inputs.shape[1] + 1, "fewer samples are enough")


def chances(mine):
    """Return the probability of each class, from areas of spherical triangles."""
    rows = hw4.means(mine).numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for k in range(3):
        # Both signs of z: the triangle of the z with k on one side and the others on the other.
        sides = rows * np.where(np.arange(3) == k, 1, -1)[:, None]
        a, b, c = sides
        # Its area is that of the polar triangle's angles: Girard.
        cosines = (a @ b, b @ c, c @ a)
        angles = [math.pi - math.acos(cosine) for cosine in cosines]
        found.append(2 * (sum(angles) - math.pi) / (4 * math.pi))
    return found


def probabilities(answer, mine):
    hint = "at least one of the probabilities is another"
    expect_close(answer, chances(mine), hint, rel=0, abs=1e-3)


HIDDEN = {
    "hw4-q1": (
        Test("few samples", laws((2, 5, 2), (3, 6, 1), (4, 7, 3), (2, 6, 6), (3, 4, 9)), 2),
        Test("many samples", laws((10, 120, 60), (3, 100, 70), (2, 80, 60)), 1),
        Test("sizes of your own", sizes_of_a_variant, 2),
    ),
    "hw4-q2": (
        Test("some in the way", weights_for((3, 9, 8), (2, 12, 6), (4, 10, 7)), 3),
        Test("short and long samples", weights_for((1, 6, 5), (3, 8, 6), size=20.0), 1),
        Test("nobody in the way", nobody_in_the_way, 1),
    ),
    "hw4-q4": (
        Test("it proves that class 0 cannot collapse", proves_it, 2),
        Test("it is short", is_short, 3),
    ),
    "hw4-q6": (Test("three probabilities", probabilities, 5),),
}
