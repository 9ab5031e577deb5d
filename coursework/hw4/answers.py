"""Right and wrong answers that the hidden tests of assignment 4 must tell apart."""

import math

import numpy as np
import torch
from scipy.optimize import linprog, lsq_linear, minimize
from scipy.stats import binom

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw4

STUDENT = "someone.else@example.org"


# Labels by chance


def by_scipy(num_classes, num_samples, dim):
    """Two binomial distributions, one inside the other."""
    sizes = np.arange(1, num_samples + 1)
    given = binom.cdf(dim - sizes, num_samples - sizes, 0.5)
    none = (1 - 1 / num_classes) ** num_samples
    return none + (binom.pmf(sizes, num_samples, 1 / num_classes) * given).sum()


def law_of(empty=1.0, shift=0, average=False, chance=None, heads=None, conditional=False):
    """The law by sums, with something that can be wrong."""

    def given(size, num_samples, dim):
        if size == 0:
            return empty
        others = num_samples - size
        if heads is not None:
            return sum(math.comb(others, i) for i in range(heads(others, size, dim))) / 2**others
        return sum(math.comb(others, i) for i in range(dim - size + 1 + shift)) / 2**others

    def answer(num_classes, num_samples, dim):
        if average:
            return given(max(1, round(num_samples / num_classes)), num_samples, dim)
        p = 1 / num_classes if chance is None else chance(num_classes)
        total = 0.0
        for size in range(num_samples + 1):
            weight = math.comb(num_samples, size) * p**size * (1 - p) ** (num_samples - size)
            total += weight * given(size, num_samples, dim)
        none = (1 - p) ** num_samples
        return (total - none) / (1 - none) if conditional else total

    return answer


# The shortest weights


def by_distance(own, others):
    """The nearest points of hull and cone, by least squares with bounds, in torch."""
    own, others = torch.as_tensor(own), torch.as_tensor(others)
    moves = torch.cat([own[1:] - own[0], -others]).T
    lowest = [-np.inf] * (len(own) - 1) + [0] * len(others)
    nearest = lsq_linear(moves, -own[0], (lowest, np.inf), method="bvls", tol=1e-14)
    z = own[0] + moves @ torch.from_numpy(nearest.x)
    return z / z.square().sum()


def by_slsqp(own, others, power=2):
    """A solver for smooth problems with conditions."""
    own, others = np.asarray(own), np.asarray(others)
    scale = np.abs(np.linalg.pinv(own).sum(1)).max()
    conditions = [
        {"type": "eq", "fun": lambda x: scale * own @ x - 1, "jac": lambda x: scale * own},
        {"type": "ineq", "fun": lambda x: -others @ x, "jac": lambda x: -others},
    ]
    start = np.linalg.pinv(own).sum(1) / scale
    found = minimize(
        lambda x: (x @ x) ** (power / 2) / 2,
        start,
        jac=(lambda x: x) if power == 2 else None,
        constraints=conditions,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return scale * found.x


def any_weights(own, others, cost=None):
    """What a linear program finds, or the smallest sum of magnitudes."""
    own, others = np.asarray(own), np.asarray(others)
    dim = own.shape[1]
    both = np.hstack([own, -own]), np.hstack([others, -others])
    result = linprog(
        np.ones(2 * dim) if cost is None else np.zeros(2 * dim),
        A_eq=both[0],
        b_eq=np.ones(len(own)),
        A_ub=both[1],
        b_ub=np.zeros(len(others)),
    )
    return result.x[:dim] - result.x[dim:]


def own_only(own, others):
    return np.linalg.pinv(np.asarray(own)).sum(1)


def all_at_zero(own, others):
    """The others at zero, not below."""
    both = np.vstack([np.asarray(own), np.asarray(others)])
    targets = np.concatenate([np.ones(len(own)), np.zeros(len(others))])
    return np.linalg.lstsq(both, targets, rcond=None)[0]


def of_the_mean(own, others):
    return by_distance(torch.as_tensor(own).mean(0, keepdim=True), others)


def at_least_one(own, others):
    """Own outputs of at least one in place of one: the usual margin."""
    own, others = np.asarray(own), np.asarray(others)
    conditions = [{"type": "ineq", "fun": lambda x: np.concatenate([own @ x - 1, -others @ x])}]
    start = by_distance(own, others).numpy()
    return minimize(lambda x: x @ x, start, constraints=conditions, method="SLSQP").x


def normalised(own, others):
    beta = by_distance(own, others)
    return beta / beta.norm()


# The certificate


def vertex(mine, method="highs-ds", seed=None, k=0):
    """A certificate that a simplex method finds."""
    inputs, labels = (part.numpy() for part in hw4.samples(mine))
    own = labels == k
    columns = np.vstack([inputs.T, own])
    # Own entries of any sign, others not above zero.
    bounds = [(None, None) if mine_too else (None, 0) for mine_too in own]
    wanted = np.zeros(len(columns))
    wanted[-1] = 1
    if seed is None:
        cost = np.where(own, 0, -1)
    else:
        cost = np.where(own, 0, -np.random.default_rng(seed).uniform(0.5, 1.5, len(own)))
    return linprog(cost, A_eq=columns, b_eq=wanted, bounds=bounds, method=method).x


def shortened(mine):
    """Start with many and drop one after the other, in torch."""
    inputs, labels = hw4.samples(mine)
    own = labels == 0
    found = torch.from_numpy(np.mean([vertex(mine, seed=seed) for seed in range(8)], 0))
    system = torch.cat([inputs.T, own[None].double()])
    while True:
        used = found.nonzero().flatten()
        if len(used) <= len(system):
            return found
        along = torch.linalg.svd(system[:, used]).Vh[-1]
        # The first entry that reaches zero, on the side where it is nearest.
        ratios = found[used] / along
        first = ratios.abs().argmin()
        found[used] -= ratios[first] * along
        found[used[first]] = 0


def many(mine):
    return np.mean([vertex(mine, seed=seed) for seed in range(12)], 0)


def unsigned(mine):
    own = hw4.samples(mine)[1].numpy() == 0
    return np.where(own, 1, -1) * vertex(mine)


def cut(mine):
    """The largest d + 1 entries of a longer one."""
    found, dim = many(mine), hw4.samples(mine)[0].shape[1]
    found[np.argsort(np.abs(found))[: -(dim + 1)]] = 0
    own = hw4.samples(mine)[1].numpy() == 0
    return found / found[own].sum()


# Three means


def angles(mine):
    rows = hw4.means(mine)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return torch.arccos((rows @ rows.T).clamp(-1, 1))


def by_pairs(mine):
    """Which pairs does a random plane separate?"""
    theta = angles(mine)
    return [
        float(theta[k, i] + theta[k, j] - theta[i, j]) / (2 * math.pi)
        for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]


def by_sampling(mine):
    """Four million directions."""
    rows = hw4.means(mine)
    generator = torch.Generator().manual_seed(0)
    count, total = torch.zeros(3), 4_000_000
    for _ in range(8):
        above = torch.randn(total // 8, 3, generator=generator).double() @ rows.T > 0
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            alone = (above[:, i] == above[:, j]) & (above[:, k] != above[:, i])
            count[k] += alone.sum()
    return count / total


def of_angles(combine):
    def answer(mine):
        theta = angles(mine) / math.pi
        return [
            float(combine(theta[k, i], theta[k, j], theta[i, j]))
            for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
        ]

    return answer


def one_sided(mine):
    return np.array(by_pairs(mine)) / 2


def centred(mine):
    rows = hw4.means(mine)
    rows = rows - rows.mean(0)
    rows = rows / rows.norm(dim=1, keepdim=True)
    theta = torch.arccos((rows @ rows.T).clamp(-1, 1)) / math.pi
    return [
        float(theta[k, i] + theta[k, j] - theta[i, j]) / 2
        for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]


RIGHT = {
    "hw4-q1": {"by scipy": by_scipy, "by sums": law_of()},
    "hw4-q2": {"by distance": by_distance, "SLSQP": by_slsqp},
    "hw4-q4": {
        "simplex": vertex,
        "another vertex": lambda mine: vertex(mine, seed=5),
        "shortened": shortened,
    },
    "hw4-q6": {
        "pairs": by_pairs,
        "as a tensor": lambda mine: torch.tensor(by_pairs(mine)),
        "by sampling": by_sampling,
    },
}

WRONG = {
    "hw4-q1": {
        "empty classes are infeasible": law_of(empty=0.0),
        "given that the class is not empty": law_of(conditional=True),
        "one dimension more": law_of(shift=1),
        "one dimension less": law_of(shift=-1),
        "all of average size": law_of(average=True),
        "labels of two classes": law_of(chance=lambda num_classes: 0.5),
        "the others' share": law_of(chance=lambda num_classes: 1 - 1 / num_classes),
        "a separating hyperplane": law_of(heads=lambda others, size, dim: dim),
        "labels of a fixed class": law_of(average=True, shift=1),
        "always": lambda *sizes: 1.0,
    },
    "hw4-q2": {
        "own samples only": own_only,
        "the others at zero": all_at_zero,
        "any weights": lambda own, others: any_weights(own, others, cost=0),
        "smallest sum of magnitudes": any_weights,
        "of the mean": of_the_mean,
        "own outputs of at least one": at_least_one,
        "normalised": normalised,
        "the public answer": lambda own, others: [1.0, -1.0, *[0.0] * (own.shape[1] - 2)],
    },
    "hw4-q4": {
        "long": many,
        "the largest entries of a long one": cut,
        "unsigned": unsigned,
        "not scaled": lambda mine: 2 * vertex(mine),
        "rounded": lambda mine: np.round(vertex(mine), 2),
        "of another class": lambda mine: vertex(mine, k=1),
        "another variant": lambda mine: vertex(variant(STUDENT, "hw4")),
        "one sample": lambda mine: np.eye(25)[int((hw4.samples(mine)[1] == 0).nonzero()[0])],
    },
    "hw4-q6": {
        "independent pairs": of_angles(lambda a, b, c: a * b),
        "the nearer mean": of_angles(lambda a, b, c: min(a, b)),
        "the sum": of_angles(lambda a, b, c: (a + b) / 2),
        "one side only": one_sided,
        "the neighbouring sign": of_angles(lambda a, b, c: (a + b + c) / 6),
        "solid angle of the means": of_angles(lambda a, b, c: 1 - (a + b + c) / 2),
        "means centred": centred,
        "in another order": lambda mine: by_pairs(mine)[::-1],
        "another variant": lambda mine: by_pairs(variant(STUDENT, "hw4")),
    },
}

EQUIVALENT = {
    "hw4-q4": {
        "line 9: linprog(no_cost, A_eq=equations, b_eq=ends, bounds=signs, method='highs-ds') → "
        "linprog(no_cost, A_eq=equations, b_eq=ends, bounds=signs)": (
            "the solver's own choice ends at a vertex too"
        ),
    },
}
