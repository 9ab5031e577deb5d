"""Right and wrong answers that the hidden tests of assignment 6 must tell apart."""

import math
from itertools import product

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import digamma

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw6

STUDENT = "someone.else@example.org"


# The hole


def by_all_distances(lengths):
    """The largest distance of different directions, the smallest of opposite points; NumPy."""
    lengths = np.asarray(lengths, dtype=float)
    squares = lengths[:, None] ** 2 + lengths**2
    np.fill_diagonal(squares, 0)
    found = np.array([np.sqrt(squares.max()), 2 * lengths.min()])
    return found if found[0] < found[1] else 0 * found


def by_topk(lengths):
    given = torch.tensor(lengths, dtype=torch.float64)
    appears, filled = given.topk(2).values.square().sum().sqrt(), 2 * given.min()
    return torch.stack([appears, filled]) * bool(appears < filled)


def hole(birth, death=lambda a: 2 * a[0], ordered=True, check=True):
    """Birth and death by formulas that can be wrong."""

    def answer(lengths):
        given = sorted(lengths) if ordered else list(lengths)
        found = birth(given), death(given)
        return found if found[0] < found[1] or not check else (0.0, 0.0)

    return answer


def last_two(a):
    return math.hypot(*a[-2:])


# Residual layers


def by_minors(weight):
    """Principal minors of I + W, in NumPy, in order of bits."""
    whole = np.eye(len(weight)) + np.asarray(weight)
    return all(
        np.linalg.det(whole[np.ix_(chosen, chosen)]) > 0
        for chosen in (
            [i for i in range(len(whole)) if bits >> i & 1] for bits in range(1, 1 << len(whole))
        )
    )


def by_elimination(weight):
    """Schur complements: the first unit is on or off, and the rest is a smaller matrix."""

    def positive(matrix):
        if len(matrix) == 0:
            return True
        if matrix[0, 0] <= 0:
            return False
        rest = matrix[1:, 1:]
        return positive(rest) and positive(
            rest - torch.outer(matrix[1:, 0], matrix[0, 1:]) / matrix[0, 0]
        )

    return torch.tensor(positive(torch.eye(len(weight)).double() + torch.as_tensor(weight)))


def at(corners):
    """The determinant at some s only."""

    def answer(weight):
        eye = torch.eye(len(weight)).double()
        return all(
            torch.det(eye + torch.as_tensor(s).double()[:, None] * weight) > 0
            for s in corners(len(weight))
        )

    return answer


def by_chance(dim):
    return np.random.default_rng(0).random((300, dim))


def on_the_diagonal(dim):
    return np.linspace(0, 1, 200)[:, None] * np.ones(dim)


# The summit


def by_bisection(mine):
    """Along a ray to a place where the determinant is negative; a from a cofactor, in NumPy."""
    weight, bias = (part.numpy() for part in hw6.residual_layer(mine))
    eye = np.eye(2)

    def det(s):
        return np.linalg.det(eye + np.diag(s) @ weight)

    end = min(product((0.1, 0.9), repeat=2), key=det)
    tau = brentq(lambda tau: det(tau * np.array(end)), 0, 1, xtol=1e-15)
    s = tau * np.array(end)
    matrix = eye + np.diag(s) @ weight
    # A row that is orthogonal to both columns, if one of them is not zero.
    column = matrix[:, np.abs(matrix).sum(0).argmax()]
    score = np.array([-column[1], column[0]])
    preactivation = np.sign(score) * np.arctanh(np.sqrt(1 - s))
    return {"score": 5 * score, "point": np.linalg.solve(weight, preactivation - bias)}


def summit(
    mine,
    *,
    signs=lambda a: a.sign(),
    left=True,
    columns=False,
    shift=1,
    place=None,
    step=0.0,
    sign=1,
):
    """The construction, in torch, with mistakes to choose from."""
    weight, bias = hw6.residual_layer(mine)
    s = torch.cartesian_prod(torch.linspace(0.02, 0.98, 193), torch.tensor([1.0])).double()
    s[:, 1] = -(1 + s[:, 0] * weight[0, 0]) / (weight[1, 1] + s[:, 0] * weight.det())
    inside = s[(s > 0.02).all(1) & (s < 0.98).all(1)]
    s = inside[len(inside) // 2] if place is None else torch.tensor(place).double()
    scaled = weight * s if columns else s[:, None] * weight
    matrix = torch.eye(2).double() + scaled
    square = matrix @ matrix.T if left else matrix.T @ matrix
    a = sign * torch.linalg.eigh(square).eigenvectors[:, 0]
    u = signs(a) * torch.atanh((1 - s).sqrt())
    return {"score": a, "point": torch.linalg.solve(weight, u - shift * bias) + step}


def without_skip(mine):
    """At the middle of tanh, where a plain layer has its steepest place."""
    weight, bias = hw6.residual_layer(mine)
    return {"score": torch.ones(2), "point": torch.linalg.solve(weight, -bias)}


def preactivation_as_point(mine):
    weight, bias = hw6.residual_layer(mine)
    found = summit(mine)
    return {**found, "point": weight @ found["point"] + bias}


def far_away(mine):
    """Where all units are flat."""
    return {"score": torch.tensor([1.0, 0.0]), "point": torch.tensor([1e6, 1e6])}


# Dimension


def by_digamma(distances, near, far):
    distances = np.asarray(distances)
    kept = distances[distances[:, near - 1] > 0]
    return (digamma(far) - digamma(near)) / np.mean(np.log(kept[:, far - 1] / kept[:, near - 1]))


def step_by_step(distances, near, far):
    """One neighbour after the other, in torch."""
    kept = distances[distances[:, near - 1] > 0].log()
    total = sum(1 / rank for rank in range(near, far))
    return total / (kept[:, near:far] - kept[:, near - 1 : far - 1]).sum(1).mean()


def harmonic(low, high):
    return sum(1 / j for j in range(low, high))


def between(c=harmonic, shift=0, spread=lambda logs: logs.mean(), keep=False):
    """The estimate, with mistakes to choose from."""

    def answer(distances, near, far):
        kept = distances if keep else distances[distances[:, near - 1] > 0]
        logs = torch.log(kept[:, far - 1 + shift] / kept[:, near - 1 + shift])
        return c(near, far) / spread(logs)

    return answer


def local_mean(distances, near, far):
    kept = distances[distances[:, near - 1] > 0]
    return (harmonic(near, far) / torch.log(kept[:, far - 1] / kept[:, near - 1])).mean()


def levina_bickel(distances, near, far):
    kept = distances[distances[:, near - 1] > 0]
    return 1 / torch.log(kept[:, far - 1 : far] / kept[:, near - 1 : far - 1]).mean()


def of_mean_distances(distances, near, far):
    """The slope of the number of neighbours against the mean distance, in logarithms."""
    kept = distances[distances[:, near - 1] > 0].mean(0)
    return harmonic(near, far) / torch.log(kept[far - 1] / kept[near - 1])


RIGHT = {
    "hw6-q2": {"all distances": by_all_distances, "the two largest": by_topk},
    "hw6-q3": {"principal minors": by_minors, "elimination": by_elimination},
    "hw6-q4": {
        "along a ray": by_bisection,
        "another place": summit,
        "the score turned, as lists": lambda mine: {
            name: value.tolist() for name, value in summit(mine, sign=-1).items()
        },
    },
    "hw6-q6": {"digamma": by_digamma, "step by step": step_by_step, "by a sum": between()},
}

WRONG = {
    "hw6-q2": {
        "born with the shortest edge": hole(lambda a: math.hypot(a[0], a[1])),
        "born with the longest direction": hole(lambda a: math.sqrt(2) * a[-1]),
        "born with the shortest direction": hole(lambda a: math.sqrt(2) * a[0]),
        "born at the norm of all": hole(lambda a: math.hypot(*a), check=False),
        "dies with the longest diagonal": hole(last_two, lambda a: 2 * a[-1]),
        "dies with the second diagonal": hole(last_two, lambda a: 2 * a[1]),
        "dies at √2 times the birth": hole(last_two, lambda a: math.sqrt(2) * last_two(a)),
        "dies at √3 times the shortest": hole(last_two, lambda a: math.sqrt(3) * a[0]),
        "radii of balls": hole(lambda a: last_two(a) / 2, lambda a: a[0]),
        "a hole without life": hole(last_two, check=False),
        "taken for ordered": hole(last_two, ordered=False),
        "death first": lambda lengths: hole(last_two)(lengths)[::-1],
        "the public answer": lambda lengths: (math.sqrt(2), 2.0),
    },
    "hw6-q3": {
        "norm below one": lambda weight: torch.linalg.matrix_norm(weight, 2) < 1,
        "all units alike": at(on_the_diagonal),
        "all units on": at(lambda dim: [[1.0] * dim]),
        "one unit on": at(np.eye),
        "one unit or all": at(lambda dim: [*np.eye(dim), np.ones(dim)]),
        "one or two units on": at(
            lambda dim: [s for s in product((0.0, 1.0), repeat=dim) if sum(s) <= 2]
        ),
        "by chance": at(by_chance),
        "symmetric part": lambda weight: torch.linalg.eigvalsh(weight + weight.T).min() > -2,
        "eigenvalues of W": lambda weight: torch.linalg.eigvals(weight).real.min() > -1,
        "W invertible": lambda weight: torch.det(weight).abs() > 1e-9,
        "minors of W": lambda weight: by_minors(weight - torch.eye(len(weight)).double()),
        "rows that dominate": lambda weight: (
            1 + weight.diagonal() > (weight - weight.diagonal().diag()).abs().sum(1)
        ).all(),
        "not zero at a corner": lambda weight: all(
            torch.det(torch.eye(len(weight)).double() + torch.tensor(s)[:, None] * weight) != 0
            for s in product((0.0, 1.0), repeat=len(weight))
        ),
        "the other way round": lambda weight: not by_minors(weight),
        "always": lambda weight: True,
    },
    "hw6-q4": {
        "a minimum": lambda mine: summit(mine, signs=lambda a: -a.sign()),
        "a saddle": lambda mine: summit(mine, signs=lambda a: a.sign() * torch.tensor([1, -1])),
        "signs the other way, of the second": lambda mine: summit(
            mine, signs=lambda a: a.sign() * torch.tensor([-1, 1])
        ),
        "the right null vector": lambda mine: summit(mine, left=False),
        "W diag(s)": lambda mine: summit(mine, columns=True),
        "no bias": lambda mine: summit(mine, shift=0),
        "the bias added": lambda mine: summit(mine, shift=-1),
        "preactivation for the point": preactivation_as_point,
        "the middle of tanh": without_skip,
        "not singular there": lambda mine: summit(mine, place=(0.5, 0.5)),
        "beside the summit": lambda mine: summit(mine, step=0.02),
        "where all is flat": far_away,
        "another variant": lambda mine: summit(variant(STUDENT, "hw6")),
    },
    "hw6-q6": {
        "logarithm of the ranks": between(c=lambda k, m: math.log(m / k)),
        "one rank late": between(c=lambda k, m: harmonic(k + 1, m + 1)),
        "one term more": between(c=lambda k, m: harmonic(k, m + 1)),
        "from the first": between(c=lambda k, m: harmonic(1, m)),
        "one over k": between(c=lambda k, m: 1 / k),
        "the difference of ranks": between(c=lambda k, m: (m - k) / k),
        "one": between(c=lambda k, m: 1.0),
        "the next neighbours": between(shift=1),
        "local estimates averaged": local_mean,
        "the median": between(spread=lambda logs: logs.median()),
        "logarithm of the mean ratio": between(spread=lambda logs: logs.exp().mean().log()),
        "ratio of mean distances": of_mean_distances,
        "all in between, without weights": levina_bickel,
        "inverse": lambda distances, near, far: 1 / between()(distances, near, far),
        "coinciding points kept": between(keep=True),
    },
}

DET = "line 7: torch.det(eye + torch.tensor(corner, dtype=torch.float64)[:, None] * weight)"

EQUIVALENT = {
    "hw6-q3": {
        "line 4: torch.eye(len(weight), dtype=torch.float64) → torch.eye(len(weight))": "ones and "
        "zeros are the same in single precision",
        f"{DET} > 0 → {DET.removeprefix('line 7: ')} >= 0": "no determinant is exactly zero",
        "line 7: torch.tensor(corner, dtype=torch.float64) → torch.tensor(corner)": "whole numbers "
        "become double precision in the product",
    },
    "hw6-q4": {
        "line 4: torch.linspace(0.01, 0.99, 9801, dtype=torch.float64) → "
        "torch.linspace(0.01, 0.99, 9801)": "any s on the curve will do, and the rest is in double "
        "precision",
        "line 4: 0.99 → 1.99": "what lies outside is not chosen",
        "line 4: 9801 → 9802": "any fine grid will do",
        "line 8: torch.minimum(pairs, 1 - pairs).amin → torch.minimum(pairs, 1 - pairs).amax": "in "
        "this variant the point that it chooses lies in the square, too",
        "line 10: torch.eye(2, dtype=torch.float64) → torch.eye(2)": "ones and zeros are the same "
        "in single precision",
        "line 11: -1 → 1": "of two columns the last is the second",
    },
}
