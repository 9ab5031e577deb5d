"""Right and wrong answers that the hidden tests of assignment 5 must tell apart."""

from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.linear_model import lars_path
from torch import nn

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw5
from lecturelib.sparse_features import fista, pgd_attack, soft_threshold

STUDENT = "someone.else@example.org"


def another(right):
    """Return the right answer of another variant."""
    return lambda mine: right(variant(STUDENT, "hw5"))


# A long atom


def by_lars(mine, method="lasso", factor=1.0, unit=False):
    """The path of scikit-learn, which counts penalties per row."""
    dictionary, inputs = hw5.three_atoms(mine)
    lengths = dictionary.norm(dim=0) if unit else torch.ones(3)
    dictionary = (dictionary / lengths).numpy()
    penalties, _, codes = lars_path(dictionary, inputs.numpy(), method=method)
    rows = np.column_stack([factor * 2 * penalties, codes.T])
    # The last step of the algorithm may be one of no length.
    keep = np.append(np.diff(rows[:, 0]) < -1e-9, True)
    rows = rows[keep]
    rows[-1, 0] = 0
    return rows


def by_bisection(mine):
    """Solve at many penalties, find where an atom comes or goes, and narrow it down, in torch."""
    dictionary, inputs = hw5.three_atoms(mine)

    def solved(penalties):
        penalties = torch.as_tensor(penalties, dtype=torch.float64)
        return fista(dictionary, inputs.expand(len(penalties), 2), penalties, tol=1e-13).codes

    def used(penalty):
        return (solved([penalty])[0].abs() > 1e-7).tolist()

    top = float((dictionary.T @ inputs).abs().max())
    grid = torch.linspace(1.02 * top, 0.01 * top, 60).tolist()
    found = []
    for high, low in pairwise(grid):
        above = used(high)
        if above != used(low):
            for _ in range(24):
                middle = (high + low) / 2
                high, low = (middle, low) if used(middle) == above else (high, middle)
            found.append((high + low) / 2)
    codes = solved([*found, 1e-4])
    # From two points of the last piece to its end.
    before = solved([2e-4])[0]
    codes[-1] = 2 * codes[-1] - before
    return torch.cat([torch.tensor([*found, 0.0])[:, None].double(), codes], 1)


def roles(mine):
    """Products of the atoms and the input by role, and which atom has which role and sign."""
    dictionary, inputs = hw5.three_atoms(mine)
    signs = (dictionary.T @ inputs).sign()
    turned = (signs * dictionary).numpy()
    long = int(np.linalg.norm(turned, axis=0).argmax())
    seen = turned.T @ inputs.numpy()
    first, last = sorted({0, 1, 2} - {long}, key=lambda j: -seen[j])
    p, q = turned[:, long] @ turned[:, first], -turned[:, long] @ turned[:, last]
    return p, q, seen[first], seen[last], (long, first, last), signs.tolist()


def by_formula(change=lambda rows, p, q, u, v: rows, keep_signs=True):
    """The path by pen, with rows (penalty, long, first, last) that can be changed."""

    def answer(mine):
        p, q, u, v, order, signs = roles(mine)
        start, square = p * u - q * v, p * p + q * q
        joins, leaves = (square * u - p * start) / (square - p), q * v / (p - 1)
        rows = [
            [start, 0, 0, 0],
            [joins, (start - joins) / square, 0, 0],
            [leaves, 0, u - leaves, 0],
            [v, 0, u - v, 0],
            [0, 0, u, v],
        ]
        table = np.zeros((len(rows := change(rows, p, q, u, v)), 4))
        for row, (penalty, *code) in zip(table, rows, strict=True):
            row[0] = penalty
            for place, value in zip(order, code, strict=True):
                row[1 + place] = value * (signs[place] if keep_signs else 1)
        return table.tolist()

    return answer


def long_stays(rows, p, q, u, v):
    """The long atom and the first unit atom to the end: they span the plane."""
    return [rows[0], rows[1], [0, -v / q, u + p * v / q, 0]]


def one_after_another(rows, p, q, u, v):
    """Each atom joins at its own product with the input, as if the others were not there."""
    end = rows[-1]
    middle = [[u, (rows[0][0] - u) / (p * p + q * q), 0, 0], [v, 0, u - v, 0]]
    return [rows[0], *middle, end]


def not_divided(rows, p, q, u, v):
    """The long atom treated as if its length were one in the first piece."""
    start = rows[0][0]
    joins = (u - p * start) / (1 - p)
    return [rows[0], [joins, start - joins, 0, 0], *rows[2:]] if joins > rows[2][0] else rows[:1]


def without(number):
    return lambda rows, *_: [row for place, row in enumerate(rows) if place != number]


def with_one_more(rows, *_):
    """A row where the path does not bend."""
    middle = [(a + b) / 2 for a, b in zip(rows[0], rows[1], strict=True)]
    return [rows[0], middle, *rows[1:]]


def nonnegative_path(mine):
    """The path of codes that must not be negative."""
    dictionary, inputs = hw5.three_atoms(mine)
    rows = lars_path(dictionary.numpy(), inputs.numpy(), method="lasso", positive=True)
    found = np.column_stack([2 * rows[0], rows[2].T])
    found[-1, 0] = 0
    return found


# The gap


def by_numpy(dictionary, inputs, codes, penalty, ridge, **changes):
    """Objective and bound apart, the bound by the best z'; all in NumPy."""
    dictionary, inputs, codes = (np.asarray(part) for part in (dictionary, inputs, codes))
    theta = inputs - dictionary @ codes
    objective = theta @ theta / 2 + penalty * abs(codes).sum() + ridge / 2 * codes @ codes
    seen = dictionary.T @ theta
    best = np.sign(seen) * np.clip(abs(seen) - penalty, 0, None) / ridge
    second = penalty * abs(best).sum() + ridge / 2 * best @ best - seen @ best
    return objective - (inputs @ inputs / 2 - (inputs - theta) @ (inputs - theta) / 2 + second)


def by_fenchel(dictionary, inputs, codes, penalty, ridge):
    """A sum of squares: half of the ridge times how far each entry is from where it should be."""
    seen = dictionary.T @ (inputs - dictionary @ codes)
    best = soft_threshold(seen, penalty) / ridge
    # Bregman: the penalty's part above its tangent, and the squares.
    above = penalty * codes.abs() - (seen - ridge * best) * codes
    return (above + ridge / 2 * (codes - best).square()).sum()


def elastic(
    *, positive=True, power=2, over=2.0, one_sided=False, scale=1.0, half=0.5, lasso=False, price=1
):
    """Answer question 2 with mistakes to choose from."""

    def answer(dictionary, inputs, codes, penalty, ridge):
        penalty = price * penalty
        seen = dictionary.T @ (inputs - dictionary @ codes)
        if lasso:  # scaled until it is allowed there
            seen = seen * min(1.0, float(penalty / seen.abs().max()))
        more = (seen if one_sided else seen.abs()) - penalty
        more = more.clamp_min(0) if positive else more
        own = penalty * codes.abs() + half * ridge * codes.square() - scale * seen * codes
        return float((own + more**power / (over * ridge)).sum())

    return answer


def objective_of(dictionary, inputs, codes, penalty, ridge):
    missed = inputs - dictionary @ codes
    return float(
        missed @ missed / 2 + penalty * codes.abs().sum() + ridge / 2 * codes.square().sum()
    )


def with_rows(dictionary, inputs, ridge, root=0.5):
    """Dictionary and input of the lasso that the elastic net is."""
    count = dictionary.shape[1]
    below = ridge**root * torch.eye(count, dtype=torch.float64)
    return torch.cat([dictionary, below]), torch.cat([inputs, inputs.new_zeros(count)])


def true_distance(dictionary, inputs, codes, penalty, ridge):
    """From the minimum itself, which takes a solver, and is less than the gap."""
    longer = with_rows(dictionary, inputs, ridge)
    least = fista(*longer, penalty, tol=1e-12).objective
    return objective_of(dictionary, inputs, codes, penalty, ridge) - float(least)


def scaled_residual(dictionary, inputs, codes, penalty, ridge):
    """The chapter's gap of the lasso with further rows: another θ, which has to be scaled."""
    longer, ends = with_rows(dictionary, inputs, ridge)
    residual = ends - longer @ codes
    scale = min(1.0, float(penalty / (longer.T @ residual).abs().max()))
    bound = ends @ ends / 2 - (ends - scale * residual).square().sum() / 2
    return objective_of(dictionary, inputs, codes, penalty, ridge) - float(bound)


# The longest step


def by_jacobian(mine):
    """The code by scikit-learn's path; slopes of a step by automatic differentiation."""
    dictionary, inputs, penalty = hw5.coding_problem(mine)
    end = penalty / len(inputs)
    path = lars_path(dictionary.numpy(), inputs.numpy(), method="lasso", alpha_min=end)
    code = torch.from_numpy(path[2][:, -1])

    def radius(t):
        def step(z):
            v = z + t * dictionary.T @ (inputs - dictionary @ z)
            return v - v.clamp(-t * penalty, t * penalty)

        return float(torch.linalg.eigvals(torch.func.jacrev(step)(code)).abs().max())

    safe = 1 / float(torch.linalg.matrix_norm(dictionary, 2)) ** 2
    return {
        "longest": brentq(lambda t: radius(t) - 1, 1.5 * safe, 200 * safe),
        "rate": radius(safe),
    }


def by_following(mine):
    """Follow errors: power iteration on the step itself, at two lengths."""
    dictionary, inputs, penalty = hw5.coding_problem(mine)
    code = fista(dictionary, inputs, penalty, tol=1e-14).codes
    safe = 1 / float(torch.linalg.matrix_norm(dictionary, 2)) ** 2
    products = dictionary.T @ dictionary

    def growth(t, count):
        error = torch.from_numpy(np.cos(np.arange(len(code)) ** 2.0)) * (code != 0)
        for _ in range(count):
            error = error / error.norm()
            error = (error - t * products @ error) * (code != 0)
        return float(error.norm())

    # A very long step multiplies the largest error by t λ - 1.
    return {"longest": 2 * 100 / (growth(100, 500) + 1), "rate": growth(safe, 3000)}


def local(*, support="code", longest=None, rate=None):
    """Answer question 4 with mistakes to choose from."""

    def answer(mine):
        dictionary, inputs, penalty = hw5.coding_problem(mine)
        if support == "code":
            used = fista(dictionary, inputs, penalty, tol=1e-13).codes != 0
        elif support == "slide":
            used = fista(dictionary, inputs, penalty / 2, tol=1e-13).codes != 0
        elif support == "nonnegative":
            used = fista(dictionary, inputs, penalty, nonnegative=True, tol=1e-13).codes != 0
        elif support == "correlated":
            used = (dictionary.T @ inputs).abs() > penalty
        elif support == "unused":
            used = fista(dictionary, inputs, penalty, tol=1e-13).codes == 0
        else:
            used = torch.ones(dictionary.shape[1], dtype=torch.bool)
        values = torch.linalg.svdvals(dictionary[:, used]).square().tolist()
        whole = float(torch.linalg.matrix_norm(dictionary, 2)) ** 2
        right = 2 / values[0], 1 - values[-1] / whole
        return {
            "longest": longest(values, whole) if longest else right[0],
            "rate": rate(values, whole) if rate else right[1],
        }

    return answer


# The attack


class Copy(nn.Module):
    """A network with another function in place of the jumps."""

    def __init__(self, network, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, points):
        above = points @ self.network.weights.T - self.network.thresholds
        return self.function(above) @ self.network.readout


def generator():
    return torch.Generator().manual_seed(3)


def attacked(function=None, radius=hw5.RADIUS, wrong_way=False, **options):
    """Changes that PGD finds on a copy, or on the network itself."""

    def answer(mine):
        network, images, labels = hw5.network(mine)
        if wrong_way:  # to labels that the images have already
            labels = (labels + 1) % 10
        model = network if function is None else Copy(network, function)
        settings = {"loss": "margin", "generator": generator()} | options
        return pgd_attack(model, images, labels, radius, **settings) - images

    return answer


def straight_through(mine):
    """The network's own jumps forward, slopes of a bump back; the best on the network is kept."""
    network, images, labels = hw5.network(mine)
    best, done = torch.zeros_like(images), torch.zeros(len(images), dtype=torch.bool)
    changes = torch.zeros_like(images)
    for number in range(80):
        points = (images + changes).requires_grad_()
        above = points @ network.weights.T - network.thresholds
        slope = torch.sigmoid(12 * above)
        on = (above > 0).double() + slope - slope.detach()
        logits = on @ network.readout
        new = (logits.argmax(1) != labels) & ~done
        best[new], done = changes[new], done | new
        loss = nn.functional.cross_entropy(20 * logits, labels, reduction="sum")
        [uphill] = torch.autograd.grad(loss, points)
        changes = changes + 0.03 * 0.97**number * uphill.sign()
        changes = (images + changes.clamp(-hw5.RADIUS, hw5.RADIUS)).clamp(0, 1) - images
    return torch.where(done[:, None], best, changes).detach().numpy()


def by_trying(mine):
    """No slopes at all: change some pixels, and keep what lowers the margin."""
    network, images, labels = hw5.network(mine)
    stream = np.random.default_rng(0)
    rows = torch.arange(len(images))

    def margin(changes):
        logits = network(images + changes)
        own = logits[rows, labels].clone()
        logits[rows, labels] = -torch.inf
        return own - logits.amax(1)

    lowest = (images - hw5.RADIUS).clamp(0, 1) - images
    highest = (images + hw5.RADIUS).clamp(0, 1) - images
    changes = torch.where(torch.from_numpy(stream.random(images.shape) < 0.5), lowest, highest)
    value = margin(changes)
    for number in range(2000):
        swap = torch.from_numpy(stream.random(images.shape) < (0.1 if number < 500 else 0.03))
        other = torch.where(changes == lowest, highest, lowest)
        tried = torch.where(swap, other, changes)
        found = margin(tried)
        better = found < value
        changes[better], value[better] = tried[better], found[better]
    return changes


def smooth(above):
    return torch.sigmoid(16 * above)


RIGHT = {
    "hw5-q1": {
        "scikit-learn's path": by_lars,
        "by bisection": by_bisection,
        "by pen": by_formula(),
        "three decimals": lambda mine: np.round(by_lars(mine), 3),
    },
    "hw5-q2": {"in NumPy": by_numpy, "a sum of squares": by_fenchel, "in torch": elastic()},
    "hw5-q4": {
        "by the slopes of a step": by_jacobian,
        "by following errors": by_following,
        "by singular values": local(),
    },
    "hw5-q5": {
        "straight through": straight_through,
        "without slopes": by_trying,
        "another smooth copy": attacked(
            lambda above: (1 + torch.tanh(10 * above)) / 2, steps=60, starts=2
        ),
    },
}

WRONG = {
    "hw5-q1": {
        "the slide's penalty": lambda mine: by_lars(mine, factor=2.0),
        "penalties per row": lambda mine: by_lars(mine, factor=0.5),
        "atoms made one long": lambda mine: by_lars(mine, unit=True),
        "an atom that stays": by_formula(long_stays),
        "least angles": lambda mine: by_lars(mine, method="lar"),
        "forgotten signs": by_formula(keep_signs=False),
        "not negative": nonnegative_path,
        "each by itself": by_formula(one_after_another),
        "not divided by the length": by_formula(not_divided),
        "the last atom forgotten": by_formula(without(3)),
        "the first corner forgotten": by_formula(without(1)),
        "a row without a corner": by_formula(with_one_more),
        "only where it begins and ends": by_formula(lambda rows, *_: [rows[0], rows[-1]]),
        "another variant": another(by_formula()),
    },
    "hw5-q2": {
        "no positive part": elastic(positive=False),
        "no square": elastic(power=1),
        "no half": elastic(over=1.0),
        "half of it again": elastic(over=4.0),
        "products of one sign": elastic(one_sided=True),
        "the ridge without its half": elastic(half=1.0),
        "no ridge on the code": elastic(half=0.0),
        "twice the penalty": elastic(price=2),
        "half of the penalty": elastic(price=0.5),
        "a scaled residual": elastic(lasso=True),
        "the lasso with further rows": scaled_residual,
        "the true distance": true_distance,
        "the objective": objective_of,
        "no bracket": elastic(scale=0.0),
        "nothing": lambda *_: 0.0,
    },
    "hw5-q4": {
        "all atoms": local(support="all"),
        "all atoms in the longest step": local(longest=lambda values, whole: 2 / whole),
        "one by the norm": local(longest=lambda values, whole: 1 / values[0]),
        "no square": local(longest=lambda values, whole: 2 / values[0] ** 0.5),
        "as 1 / L": local(longest=lambda values, whole: 1 / whole),
        "the smallest product": local(longest=lambda values, whole: 2 / values[-1]),
        "the slide's penalty": local(support="slide"),
        "codes not negative": local(support="nonnegative"),
        "atoms that the input sees": local(support="correlated"),
        "atoms not in use": local(support="unused"),
        "of the used atoms' norm": local(rate=lambda values, whole: 1 - values[-1] / values[0]),
        "of the objective": local(rate=lambda values, whole: (1 - values[-1] / whole) ** 2),
        "the fastest error": local(rate=lambda values, whole: 1 - values[0] / whole),
        "singular values": local(rate=lambda values, whole: 1 - (values[-1] / whole) ** 0.5),
        "what is gone": local(rate=lambda values, whole: values[-1] / whole),
        "another variant": another(local()),
    },
    "hw5-q5": {
        "nothing": lambda mine: torch.zeros_like(hw5.network(mine)[1]),
        "PGD on the network": attacked(steps=20),
        "100 steps, three starts": attacked(steps=100, starts=3),
        "noise": attacked(steps=0, starts=200),
        "too large": attacked(smooth, radius=2 * hw5.RADIUS),
        "pixels below zero": lambda mine: attacked(smooth, bounds=None, steps=40)(mine),
        "of another loss's sign": attacked(smooth, wrong_way=True, steps=40),
        "through the thresholds as if not there": attacked(lambda above: above, steps=40),
        "the images, changed": lambda mine: attacked(smooth, steps=40)(mine) + hw5.network(mine)[1],
        "of the wrong sign": lambda mine: -attacked(smooth, steps=40)(mine),
        "another variant": another(attacked(smooth, steps=40)),
    },
}

EQUIVALENT = {"hw5-q5": {"*": "whatever succeeds is right"}}
