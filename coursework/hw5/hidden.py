"""Hidden tests of assignment 5."""

from functools import cache
from itertools import combinations, product

import numpy as np
import torch

from lecturelib.coursework.assignments import hw5
from lecturelib.coursework.questions import Test, array, expect, expect_close, read_entries
from lecturelib.sparse_features import fista


@cache
def corners(mine):
    """Return the corners (k, 4), from all codes that some penalty could have."""
    dictionary, inputs = (part.numpy() for part in hw5.three_atoms(mine))
    found = {}
    sets = [used for size in range(3) for used in combinations(range(3), size)]
    for used, signs in ((u, s) for u in sets for s in product((1, -1), repeat=len(u))):
        atoms, signs = dictionary[:, list(used)], np.array(signs)
        # On these atoms, with these signs, the code is start - penalty * slope.
        gram = atoms.T @ atoms
        start, slope = np.linalg.solve(gram, atoms.T @ inputs), np.linalg.solve(gram, signs)
        # What must not be negative: a - b * penalty.
        seen, grows = dictionary.T @ (inputs - atoms @ start), dictionary.T @ atoms @ slope
        a = np.concatenate([signs * start, -seen, seen])
        b = np.concatenate([signs * slope, grows - 1, -grows - 1])
        # The used atoms' own correlations equal the penalty, but for rounding.
        a, b = (np.where(abs(each) < 1e-9, 0, each) for each in (a, b))
        least = max(0, *(a[b < 0] / b[b < 0])) if (b < 0).any() else 0
        most = min(a[b > 0] / b[b > 0]) if (b > 0).any() else np.inf
        if (a[b == 0] >= 0).all() and most > least + 1e-9:
            for penalty in (least, most):
                code = np.zeros(3)
                code[list(used)] = start - penalty * slope if np.isfinite(penalty) else 0
                found[round(float(penalty), 9)] = [penalty, *code]
    return np.array([found[key] for key in sorted(found, reverse=True) if np.isfinite(key)])


def right_penalties(answer, mine):
    found, expected = hw5.rows_of(answer), corners(mine)
    hint = "these are more or fewer corners than the path has: does every atom stay that joins?"
    expect(len(found) == len(expected), hint)
    hint = "at least one corner has another penalty"
    expect_close(found[:, 0], expected[:, 0], hint, abs=1e-3)


def right_codes(answer, mine):
    found, expected = hw5.rows_of(answer), corners(mine)
    # At the penalties of the answer, so that what is lost above is not lost again.
    path = [
        np.interp(found[:, 0], expected[::-1, 0], expected[::-1, 1 + j])[:, None] for j in range(3)
    ]
    hint = "at least one row has another code than belongs to its penalty"
    expect_close(found[:, 1:], np.hstack(path), hint, abs=2e-3)
    hint = "between two corners the code moves along a straight piece: some corner is missing"
    half = (found[1:] + found[:-1]) / 2
    path = [np.interp(half[:, 0], expected[::-1, 0], expected[::-1, 1 + j]) for j in range(3)]
    expect_close(half[:, 1:], np.stack(path, 1), hint, abs=2e-3)


def gap(dictionary, inputs, codes, penalty, ridge):
    """Objective less bound, each by itself."""
    dictionary, inputs, codes = (part.numpy() for part in (dictionary, inputs, codes))
    theta = inputs - dictionary @ codes
    objective = theta @ theta / 2 + penalty * abs(codes).sum() + ridge / 2 * codes @ codes
    seen = dictionary.T @ theta
    best = np.sign(seen) * np.maximum(abs(seen) - penalty, 0) / ridge
    lowest = penalty * abs(best) + ridge / 2 * best**2 - seen * best
    left = inputs - theta
    return objective - (inputs @ inputs / 2 - left @ left / 2 + lowest.sum())


def problem(stream, m, n):
    dictionary = torch.from_numpy(stream.normal((m, n)))
    return dictionary, 3 * torch.from_numpy(stream.normal(m)), torch.from_numpy(stream.normal(n))


def compare(answer, *case, hint):
    size = float(case[1].square().sum() / 2)
    expect_close(answer(*case), gap(*case), hint, abs=1e-9 * size)


def gaps_of_any_codes(answer, mine):
    stream = mine.stream("hidden gaps")
    for m, n in ((6, 4), (5, 9), (12, 30)):
        dictionary, inputs, codes = problem(stream, m, n)
        case = (dictionary, inputs, codes, stream.uniform(0.5, 2), stream.uniform(0.3, 3))
        compare(answer, *case, hint=f"another gap for a code that is far off, {m} × {n}")
        few = codes * (codes > 0.5)
        compare(answer, dictionary, inputs, few, *case[3:], hint="another gap with zeros in a code")


def small_and_large_ridges(answer, mine):
    stream = mine.stream("hidden ridges")
    dictionary, inputs, codes = problem(stream, 8, 14)
    for ridge in (1e-3, 0.1, 50.0):
        hint = f"another gap for the ridge {ridge}"
        compare(answer, dictionary, inputs, codes, 1.3, ridge, hint=hint)


def gaps_at_the_minimum(answer, mine):
    stream = mine.stream("hidden minimum")
    dictionary, inputs, codes = problem(stream, 7, 12)
    penalty, ridge = stream.uniform(1, 3), stream.uniform(0.4, 2)
    # The ridge as further rows.
    below = ridge**0.5 * torch.eye(12, dtype=torch.float64)
    longer = torch.cat([inputs, torch.zeros(12, dtype=torch.float64)])
    least = fista(torch.cat([dictionary, below]), longer, penalty, tol=1e-13).codes
    found = float(array(answer(dictionary, inputs, least, penalty, ridge), ()))
    hint = "at the minimum nothing is lacking: the gap is zero there"
    expect(abs(found) <= 1e-7 * float(inputs.square().sum()), hint)
    near = least + 0.1 * codes
    compare(answer, dictionary, inputs, near, penalty, ridge, hint="another gap near the minimum")


@cache
def local(mine):
    """The longest step and the rate, from the singular values of the atoms in use."""
    dictionary, inputs, penalty = hw5.coding_problem(mine)
    used = fista(dictionary, inputs, penalty, tol=1e-13).codes != 0
    values = np.linalg.svd(dictionary[:, used].numpy())[1]
    largest = np.linalg.svd(dictionary.numpy())[1][0]
    return 2 / values[0] ** 2, 1 - (values[-1] / largest) ** 2


def longest_step(answer, mine):
    found, _ = read_entries(answer, "longest", "rate")
    expect_close(found, local(mine)[0], "which atoms feel a small error of the code?", rel=2e-3)


def rate_of_steps(answer, mine):
    _, found = read_entries(answer, "longest", "rate")
    rate = local(mine)[1]
    hint = "which error lives longest, and what does a step of 1 / L leave of it?"
    expect_close(1 - found, 1 - rate, hint, rel=5e-3)


def fallen(least):
    def run(answer, mine):
        changes = hw5.allowed(answer, mine)
        network, images, labels = hw5.network(mine)
        wrong = int((network(images + changes).argmax(1) != labels).sum())
        hint = f"{wrong} of {len(labels)} images are got wrong, and {least} can be with little more"
        expect(wrong >= least, hint)

    return run


HIDDEN = {
    "hw5-q1": (Test("the penalties", right_penalties, 3), Test("the codes", right_codes, 2)),
    "hw5-q2": (
        Test("codes that are far off", gaps_of_any_codes, 2),
        Test("small and large ridges", small_and_large_ridges, 1),
        Test("at the minimum", gaps_at_the_minimum, 2),
    ),
    "hw5-q4": (Test("the longest step", longest_step, 3), Test("the rate", rate_of_steps, 2)),
    "hw5-q5": (
        Test("half of the images", fallen(hw5.IMAGES // 2), 3),
        Test("three quarters of them", fallen(3 * hw5.IMAGES // 4), 2),
    ),
}
