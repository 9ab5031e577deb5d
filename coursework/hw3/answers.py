"""Right and wrong answers that the hidden tests of assignment 3 must tell apart."""

from itertools import product

import numpy as np
import torch
from scipy.integrate import solve_ivp

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw3

STUDENT = "someone.else@example.org"


# Loose directions


def by_differentiation(left, right, rows, cols):
    """The derivative of the observed entries, by torch."""
    left, right = torch.as_tensor(left).double(), torch.as_tensor(right).double()

    def seen(a, b):
        return (a @ b.T)[rows, cols]

    parts = torch.autograd.functional.jacobian(seen, (left, right))
    derivative = torch.cat([part.flatten(1) for part in parts], 1)
    rank = left.shape[1]
    return rank * (len(left) + len(right) - rank) - int(torch.linalg.matrix_rank(derivative))


def entry_by_entry(left, right, rows, cols):
    """One row of the matrix of equations after the other, in NumPy."""
    left, right = np.asarray(left), np.asarray(right)
    (d_1, rank), d_2 = left.shape, len(right)
    equations = np.zeros((len(rows), d_1 + d_2, rank))
    for equation, i, j in zip(equations, rows, cols, strict=True):
        equation[int(i)] = right[int(j)]
        equation[d_1 + int(j)] = left[int(i)]
    # The kernel, less the changes of basis that change nothing.
    flat = equations.reshape(len(rows), -1)
    return flat.shape[1] - np.linalg.matrix_rank(flat) - rank**2


def rank_of(left, right, rows, cols):
    left, right = torch.as_tensor(left), torch.as_tensor(right)
    rank = left.shape[1]
    free = rank * (len(left) + len(right) - rank)
    return free - by_differentiation(left, right, rows, cols)


def only_counted(left, right, rows, cols):
    """Degrees of freedom less the different places."""
    rank, places = left.shape[1], set(zip(rows.tolist(), cols.tolist(), strict=True))
    return max(rank * (len(left) + len(right) - rank) - len(places), 0)


def without_the_square(left, right, rows, cols):
    return left.shape[1] * (len(left) + len(right)) - rank_of(left, right, rows, cols)


def of_a_square_matrix(left, right, rows, cols):
    rank = left.shape[1]
    return rank * (2 * len(left) - rank) - rank_of(left, right, rows, cols)


def number_of_entries(left, right, rows, cols):
    rank = left.shape[1]
    return rank * (len(left) + len(right) - rank) - len(rows)


def thin_lines(left, right, rows, cols):
    """What rows and columns with fewer than r entries lack."""
    rank = left.shape[1]
    counts = [torch.bincount(rows, minlength=len(left)), torch.bincount(cols, minlength=len(right))]
    return int(sum((rank - count).clamp(min=0).sum() for count in counts))


def left_only(left, right, rows, cols):
    """As if the right factor were known."""
    right = torch.as_tensor(right)
    found = sum(
        int(torch.linalg.matrix_rank(right[cols[rows == i]])) if (rows == i).any() else 0
        for i in range(len(left))
    )
    return left.shape[1] * len(left) - found


# More places


def greedy(mine, order=None):
    """Take the first places of an order that each tie something down."""
    task = hw3.pattern(mine)
    generator = np.random.default_rng(1)
    drawn = [generator.normal(size=(size, task.rank)) for size in task.shape]
    rows, cols, chosen = task.rows.tolist(), task.cols.tolist(), []
    seen = set(zip(rows, cols, strict=True))
    places = [place for place in product(*map(range, task.shape)) if place not in seen]
    now = entry_by_entry(*drawn, rows, cols)
    for i, j in places if order is None else order(places):
        if now == 0:
            break
        after = entry_by_entry(*drawn, [*rows, i], [*cols, j])
        if after < now:
            rows, cols, now = [*rows, i], [*cols, j], after
            chosen.append((i, j))
    return chosen


def unseen(mine):
    task = hw3.pattern(mine)
    seen = set(zip(task.rows.tolist(), task.cols.tolist(), strict=True))
    return [place for place in product(*map(range, task.shape)) if place not in seen]


def in_one_row(mine):
    """As many as are needed, one row after the other."""
    return unseen(mine)[: len(greedy(mine))]


# The gap


def parts(estimate, rows, cols, values):
    estimate, values = torch.as_tensor(estimate), torch.as_tensor(values)
    residual, wanted = torch.zeros_like(estimate), torch.zeros_like(estimate)
    wanted[rows, cols] = values
    residual[rows, cols] = values - estimate[rows, cols]
    return estimate, residual, wanted


def gap_of(shrink=None, half=0.5, norm="nuc", whole=False, penalised=True, bound_half=0.5):
    """A gap with something that can be wrong."""

    def answer(estimate, rows, cols, values, penalty):
        estimate, residual, wanted = parts(estimate, rows, cols, values)
        if whole:
            residual = wanted - estimate
        sizes = torch.linalg.svdvals(residual)
        scale = (shrink or (lambda sizes, penalty: min(1, penalty / sizes[0])))(sizes, penalty)
        dual = scale * residual
        objective = half * residual.square().sum()
        objective += penalised * penalty * torch.linalg.matrix_norm(estimate, norm)
        return objective - (dual * wanted).sum() + bound_half * dual.square().sum()

    return answer


def gap_by_vectors(estimate, rows, cols, values, penalty):
    """Only observed entries as vectors, in NumPy."""
    rows, cols, values = (np.asarray(part) for part in (rows, cols, values))
    estimate = np.asarray(estimate)
    residual = values - estimate[rows, cols]
    matrix = np.zeros(estimate.shape)
    matrix[rows, cols] = residual
    dual = residual / max(1, np.linalg.norm(matrix, 2) / penalty)
    nuclear = np.linalg.svd(estimate)[1].sum()
    return residual @ residual / 2 + penalty * nuclear - dual @ values + dual @ dual / 2


# The adapter


def integrated(mine):
    """Gradient flow, step by step."""
    task = hw3.adapter(mine)
    update, scale = (task.wanted - task.weights).numpy(), task.scale
    into = len(task.start)

    def flow(time, state):
        a, b = state[:into], state[into:]
        error = scale * (update - scale * np.outer(b, a))
        return np.concatenate([error.T @ b, error @ a])

    start = np.concatenate([task.start.numpy(), np.zeros(len(update))])
    end = solve_ivp(flow, (0, 200), start, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    return {"a": end[:into], "b": end[into:]}


def ends(mine, size=None, length=None, sign=True):
    """The closed form, with something that can be wrong."""
    task = hw3.adapter(mine)
    U, sizes, V = torch.linalg.svd(task.wanted - task.weights)
    u, v, start = U[:, 0], V[0], task.start
    size = (size or (lambda sizes, scale: sizes / scale))(sizes[0], task.scale)
    known = start.norm()
    if length is None:
        alpha = known * (0.5 + (0.25 + (size / known**2) ** 2).sqrt()).sqrt()
    else:
        alpha = length(known, size, start, v)
    turned = torch.sign(start @ v) if sign else -torch.sign(start @ v)
    return {"a": turned * alpha * v, "b": turned * size / alpha * u}


def still(mine):
    """a stays, b solves what is left."""
    task = hw3.adapter(mine)
    update = task.wanted - task.weights
    return {"a": task.start, "b": update @ task.start / task.start.square().sum() / task.scale}


# Ranks


def cost_of(shape, rank, whole=True):
    thin = rank * sum(shape)
    return min(thin, shape[0] * shape[1]) if whole else thin


def by_trying(power=2, whole=True, strictly=False):
    """All ranks, with something that can be wrong."""

    def answer(updates, budget):
        values = [torch.linalg.svdvals(torch.as_tensor(update)) ** power for update in updates]
        shapes = [tuple(update.shape) for update in updates]
        best = [0] * len(shapes), 0.0
        for ranks in product(*(range(len(each) + 1) for each in values)):
            cost = sum(
                cost_of(shape, rank, whole) for shape, rank in zip(shapes, ranks, strict=True)
            )
            held = float(sum(each[:rank].sum() for each, rank in zip(values, ranks, strict=True)))
            fits = cost < budget if strictly else cost <= budget
            if fits and held > best[1]:
                best = list(ranks), held
        return best[0]

    return answer


def by_table(updates, budget):
    """A table of what every budget keeps, layer by layer, in NumPy."""
    budget = int(budget)
    held, ranks = np.zeros(budget + 1), [[] for _ in range(budget + 1)]
    for update in updates:
        squares = np.linalg.svd(np.asarray(update), compute_uv=False) ** 2
        sums = np.concatenate([[0], np.cumsum(squares)])
        costs = [cost_of(update.shape, rank) for rank in range(len(sums))]
        new = []
        for money in range(budget + 1):
            options = [
                (held[money - cost] + total, [*ranks[money - cost], rank])
                for rank, (cost, total) in enumerate(zip(costs, sums, strict=True))
                if cost <= money
            ]
            new.append(max(options))
        held, ranks = np.array([value for value, _ in new]), [chosen for _, chosen in new]
    return ranks[-1]


def greedily(worth):
    """The next best direction as long as it fits, by some worth of it."""

    def answer(updates, budget):
        shapes = [tuple(update.shape) for update in updates]
        values = [np.linalg.svd(np.asarray(update), compute_uv=False) for update in updates]
        ranks = [0] * len(shapes)
        while True:
            spent = sum(map(cost_of, shapes, ranks))
            options = []
            for layer, shape in enumerate(shapes):
                if ranks[layer] < len(values[layer]):
                    step = cost_of(shape, ranks[layer] + 1) - cost_of(shape, ranks[layer])
                    if spent + step <= budget:
                        options.append((worth(values[layer][ranks[layer]], step), layer))
            if not options:
                return ranks
            ranks[max(options)[1]] += 1

    return answer


def one_rank_for_all(updates, budget):
    shapes = [tuple(update.shape) for update in updates]
    for rank in range(max(map(min, shapes)), -1, -1):
        ranks = [min(rank, *shape) for shape in shapes]
        if sum(map(cost_of, shapes, ranks)) <= budget:
            return ranks
    return [0] * len(shapes)


RIGHT = {
    "hw3-q1": {"by differentiation": by_differentiation, "entry by entry": entry_by_entry},
    "hw3-q2": {
        "greedy": greedy,
        "greedy from the end": lambda mine: np.array(greedy(mine, lambda places: places[::-1])),
    },
    "hw3-q4": {"torch": gap_of(), "vectors": gap_by_vectors},
    "hw3-q5": {"integrated": integrated, "closed form": ends},
    "hw3-q7": {"by trying": by_trying(), "by a table": by_table},
}

WRONG = {
    "hw3-q1": {
        "only counted": only_counted,
        "number of entries": number_of_entries,
        "without the square": without_the_square,
        "of a square matrix": of_a_square_matrix,
        "thin lines": thin_lines,
        "the right factor known": left_only,
        "transposed": lambda left, right, rows, cols: entry_by_entry(
            right, left, cols.clamp(max=len(right) - 1), rows.flip(0)
        ),
        "the rank": rank_of,
        "the public answer": lambda left, right, rows, cols: 0 if len(rows) > 2 else 1,
    },
    "hw3-q2": {
        "one too few": lambda mine: greedy(mine)[:-1],
        "one too many": lambda mine: [
            *greedy(mine),
            next(place for place in unseen(mine) if place not in greedy(mine)),
        ],
        "row after row": in_one_row,
        "all": unseen,
        "one place again and again": lambda mine: greedy(mine)[:1] * len(greedy(mine)),
        "another variant": lambda mine: greedy(variant(STUDENT, "hw3")),
        "transposed": lambda mine: [(j, i) for i, j in greedy(mine)],
    },
    "hw3-q4": {
        "not scaled": gap_of(lambda sizes, penalty: 1),
        "always scaled": gap_of(lambda sizes, penalty: penalty / sizes[0]),
        "by the Frobenius norm": gap_of(lambda sizes, penalty: min(1, penalty / sizes.norm())),
        "by the nuclear norm": gap_of(lambda sizes, penalty: min(1, penalty / sizes.sum())),
        "without a half": gap_of(half=1.0),
        "Frobenius penalty": gap_of(norm="fro"),
        "residual everywhere": gap_of(whole=True),
        "without the penalty": gap_of(penalised=False),
        "bound without its square": gap_of(bound_half=0.0),
        "the public answer": lambda estimate, *rest: 2.0 if float(estimate.sum()) == 0 else 0.0,
    },
    "hw3-q5": {
        "balanced": lambda mine: ends(mine, length=lambda known, size, start, v: size.sqrt()),
        "a keeps its length": lambda mine: ends(mine, length=lambda known, *rest: known),
        "a keeps its part": lambda mine: ends(
            mine, length=lambda known, size, start, v: (start @ v).abs()
        ),
        "only the part counts": lambda mine: ends(
            mine,
            length=lambda known, size, start, v: (
                ((start @ v) ** 2 + ((start @ v) ** 4 + 4 * size**2).sqrt()) / 2
            ).sqrt(),
        ),
        "no scale": lambda mine: ends(mine, size=lambda size, scale: size),
        "a root of the scale": lambda mine: ends(mine, size=lambda size, scale: size / scale**0.5),
        "the other sign": lambda mine: ends(mine, sign=False),
        "two in place of four": lambda mine: ends(
            mine,
            length=lambda known, size, *rest: (
                (known**2 + (known**4 + 2 * size**2).sqrt()) / 2
            ).sqrt(),
        ),
        "a stays": still,
        "exchanged": lambda mine: dict(zip("ba", ends(mine).values(), strict=True)),
        "another variant": lambda mine: ends(variant(STUDENT, "hw3")),
    },
    "hw3-q7": {
        "no squares": by_trying(power=1),
        "no whole layers": by_trying(whole=False),
        "below the budget": by_trying(strictly=True),
        "the largest first": greedily(lambda value, step: value),
        "the most for its price first": greedily(lambda value, step: value**2 / max(step, 1e-9)),
        "one rank for all": one_rank_for_all,
        "nothing": lambda updates, budget: [0] * len(updates),
        "everything": lambda updates, budget: [min(update.shape) for update in updates],
    },
}

EQUIVALENT = {
    "hw3-q2": {
        "line 3: 0 → 1": "factors of another seed leave as much loose",
        "line 5: torch.randn(size, task.rank, generator=generator, dtype=torch.float64) → "
        "torch.randn(size, task.rank, dtype=torch.float64)": "and so do any factors",
        "line 5: torch.randn(size, task.rank, generator=generator, dtype=torch.float64) → "
        "torch.randn(size, task.rank, generator=generator)": "and factors of single precision",
    },
    "hw3-q4": {
        "line 9: largest <= penalty → largest < penalty": "both branches agree where they meet",
    },
    "hw3-q7": {
        "line 4: 0.0 → 1.0": "all sums are larger by one, and their order is the same",
        "line 12: option > longer.get(price, (-1.0,)) → option >= longer.get(price, (-1.0,))": (
            "of two equal options either will do"
        ),
        "line 12: 1.0 → 2.0": "nothing that is kept is negative",
    },
}
