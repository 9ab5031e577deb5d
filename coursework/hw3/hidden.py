"""Hidden tests of assignment 3."""

from functools import cache
from itertools import product

import numpy as np
import torch

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw3
from lecturelib.coursework.questions import Test, array, expect, expect_close


def loose(left, right, rows, cols):
    """Return what the observed entries leave loose, by projections onto the tangent space."""
    left, right = np.asarray(left), np.asarray(right)
    U, V = np.linalg.qr(left)[0], np.linalg.qr(right)[0]
    identity = np.eye(len(U)), np.eye(len(V))
    outside = identity[0] - U @ U.T, identity[1] - V @ V.T
    # The tangent space: all matrices but those that vanish on both sides.
    projection = np.eye(len(U) * len(V)) - np.kron(*outside)
    seen = np.zeros((len(U), len(V)), dtype=bool)
    seen[np.asarray(rows), np.asarray(cols)] = True
    values = np.linalg.svd(projection[seen.ravel()], compute_uv=False)
    dimension = U.shape[1] * (len(U) + len(V) - U.shape[1])
    return dimension - int((values > 1e-9).sum())


def some_places(stream, shape, number):
    """Draw different places of a matrix: rows and columns, tensors."""
    places = stream.permutation(shape[0] * shape[1])[:number]
    return torch.from_numpy(places // shape[1]), torch.from_numpy(places % shape[1])


def factors(stream, shape, rank):
    return (torch.from_numpy(stream.normal((size, rank))) for size in shape)


def random_places(answer, mine):
    stream = mine.stream("hidden places")
    # From far too few to more than the count asks for; the third often leaves rows thin.
    for shape, rank, number in (((5, 8), 2, 9), ((9, 4), 1, 12), ((7, 6), 2, 25), ((8, 5), 3, 33)):
        left, right = factors(stream, shape, rank)
        rows, cols = some_places(stream, shape, number)
        hint = "for places at random, the number of loose directions is another"
        expect_close(answer(left, right, rows, cols), loose(left, right, rows, cols), hint)


def a_thin_row(answer, mine):
    stream = mine.stream("hidden row")
    left, right = factors(stream, (7, 9), 2)
    rows, cols = torch.cartesian_prod(torch.arange(7), torch.arange(9)).T
    kept = (rows != 3) | (cols == 5)
    hint = "a row of which one entry is seen leaves the matrix loose, however many others are seen"
    expect_close(answer(left, right, rows[kept], cols[kept]), 1, hint)


def two_blocks(answer, mine):
    stream = mine.stream("hidden blocks")
    for rank, shared in ((2, 0), (2, 1), (3, 1)):
        left, right = factors(stream, (12 - shared, 10), rank)
        seen = torch.zeros(12 - shared, 10, dtype=torch.bool)
        seen[:6, :5] = seen[6 - shared :, 5:] = True
        rows, cols = seen.nonzero().T
        hint = "enough entries in all are not enough: look at where they are"
        expect_close(answer(left, right, rows, cols), rank * (rank - shared), hint)


def seen_twice(answer, mine):
    stream = mine.stream("hidden twice")
    left, right = factors(stream, (6, 5), 2)
    rows, cols = some_places(stream, (6, 5), 11)
    once = loose(left, right, rows, cols)
    twice = answer(left, right, torch.cat([rows, rows]), torch.cat([cols, cols]))
    expect_close(twice, once, "an entry that is seen twice says nothing new the second time")


def ground(task, more):
    """Return what a pattern leaves loose with more places, at factors drawn for it."""
    generator = np.random.default_rng(0)
    drawn = (generator.normal(size=(size, task.rank)) for size in task.shape)
    rows = np.concatenate([task.rows, more[:, 0]])
    cols = np.concatenate([task.cols, more[:, 1]])
    return loose(*drawn, rows, cols)


def places_of(answer, task):
    found = array(answer)
    expect(found.ndim == 2 and found.shape[1] == 2, "give pairs (row, column)")
    inside = (found == found.round()).all() and (found >= 0).all() and (found < task.shape).all()
    expect(inside, "these are not places of your matrix")
    return found.astype(int)


def as_few_as_possible(answer, mine):
    task = hw3.pattern(mine)
    needed = ground(task, np.zeros((0, 2), dtype=int))
    expect(len(places_of(answer, task)) == needed, "another number of entries is needed")


def nothing_is_loose(answer, mine):
    task = hw3.pattern(mine)
    hint = "with these entries too, some direction is loose"
    expect(ground(task, places_of(answer, task)) == 0, hint)


def gap(estimate, rows, cols, values, penalty):
    """Return objective minus bound, for the scaled residual."""
    residual = np.zeros(np.shape(estimate))
    residual[np.asarray(rows), np.asarray(cols)] = np.asarray(values)
    wanted = residual.copy()
    seen = np.zeros(np.shape(estimate), dtype=bool)
    seen[np.asarray(rows), np.asarray(cols)] = True
    residual -= np.where(seen, np.asarray(estimate), 0)
    largest = np.linalg.norm(residual, 2)
    dual = residual * (1 if largest <= penalty else penalty / largest)
    objective = (residual**2).sum() / 2 + penalty * np.linalg.norm(np.asarray(estimate), "nuc")
    return objective - (dual * wanted).sum() + (dual**2).sum() / 2


def problem(stream, shape=(7, 5), number=21):
    left, right = factors(stream, shape, 2)
    rows, cols = some_places(stream, shape, number)
    return rows, cols, (left @ right.T)[rows, cols]


def far_away(answer, mine):
    stream = mine.stream("hidden gap")
    for shape in ((7, 5), (4, 9)):
        rows, cols, values = problem(stream, shape)
        estimate = torch.from_numpy(stream.normal(shape))
        for penalty in (0.3, 2.0):  # below the largest singular value of the residual
            expected = gap(estimate, rows, cols, values, penalty)
            hint = "away from the minimum the gap is another"
            expect_close(answer(estimate, rows, cols, values, penalty), expected, hint)


def a_large_penalty(answer, mine):
    rows, cols, values = problem(mine.stream("hidden penalty"))
    estimate = torch.from_numpy(0.1 * mine.stream("hidden estimate").normal((7, 5)))
    for penalty in (30.0, 100.0):  # above it
        expected = gap(estimate, rows, cols, values, penalty)
        hint = "where the residual is small already, it need not be scaled"
        expect_close(answer(estimate, rows, cols, values, penalty), expected, hint)


@cache
def minimum():
    """Return a problem and its minimum, the same for all: it takes a while to get there."""
    rows, cols, values = problem(variant("nobody@example.org", "hw3").stream("hidden minimum"))
    estimate = np.zeros((7, 5))
    for _ in range(3000):
        filled = estimate.copy()
        filled[rows, cols] = values
        U, sizes, V = np.linalg.svd(filled, full_matrices=False)
        estimate = U * np.maximum(sizes - 0.5, 0) @ V
    return torch.from_numpy(estimate), rows, cols, values, 0.5


def at_the_minimum(answer, mine):
    found = array(answer(*minimum()), ())
    expect(-1e-9 <= found <= 1e-6, "at the minimum the gap is zero")


def ends(mine):
    """Return a and b at the end, from what gradient flow keeps."""
    task = hw3.adapter(mine)
    left, sizes, right = np.linalg.svd((task.wanted - task.weights).numpy())
    start, size = task.start.numpy(), sizes[0] / task.scale
    u, v = left[:, 0], right[0]
    sign = np.sign(start @ v)
    kept = start @ start
    square = (kept + np.sqrt(kept**2 + 4 * size**2)) / 2
    return sign * np.sqrt(square) * v, sign * size / np.sqrt(square) * u


def vectors(answer, task):
    """Return a and b of an answer, as arrays."""
    expect(isinstance(answer, dict) and {"a", "b"} <= set(answer), "give a dict with 'a' and 'b'")
    out, into = task.weights.shape
    return array(answer["a"], (into,), what="a"), array(answer["b"], (out,), what="b")


def what_is_wanted(answer, mine):
    task = hw3.adapter(mine)
    a, b = vectors(answer, task)
    update = (task.wanted - task.weights).numpy()
    hint = "with these, the layer is not yet what is wanted"
    expect(
        np.abs(task.scale * np.outer(b, a) - update).max() <= 1e-3 * np.linalg.norm(update), hint
    )


def where_the_flow_ends(answer, mine):
    hint = "many pairs of vectors make the same layer: this is not the one where the flow ends"
    for found, expected in zip(vectors(answer, hw3.adapter(mine)), ends(mine), strict=True):
        expect_close(found, expected, hint, rel=0, abs=1e-3 * np.linalg.norm(expected))


def kept(updates, ranks):
    """Return the share of squares kept, and the cost."""
    squares, cost = 0.0, 0
    for update, rank in zip(updates, ranks, strict=True):
        values = np.linalg.svd(np.asarray(update), compute_uv=False)
        squares += (values[:rank] ** 2).sum()
        cost += min(rank * sum(update.shape), update.shape[0] * update.shape[1])
    return squares, cost


def most(updates, budget):
    """Return the most that can be kept, by trying all ranks."""
    choices = product(*(range(min(update.shape) + 1) for update in updates))
    outcomes = (kept(updates, ranks) for ranks in choices)
    return max(squares for squares, cost in outcomes if cost <= budget)


def keeps_the_most(answer, updates, budget):
    found = array(answer(updates, budget), (len(updates),))
    fit = (found == found.round()).all() and all(
        0 <= rank <= min(update.shape) for rank, update in zip(found, updates, strict=True)
    )
    expect(fit, "the ranks must be integers between 0 and the smaller side of each layer")
    squares, cost = kept(updates, found.astype(int).tolist())
    expect(cost <= budget, "these ranks cost more than the budget")
    expect(squares >= most(updates, budget) * (1 - 1e-9), "other ranks keep more")


def with_values(stream, shape, values):
    """Draw a matrix with given singular values."""
    smaller = len(values)
    left, right = (np.linalg.qr(stream.normal((size, smaller)))[0] for size in shape)
    return torch.from_numpy(left * np.asarray(values) @ right.T)


def greed_fails(answer, mine):
    stream = mine.stream("hidden greed")
    wide = with_values(stream, (10, 10), [9.0, 8.5, *[0.3] * 8])
    thin = with_values(stream, (3, 9), [8.0, 7.9, 1.0])
    flat = with_values(stream, (6, 4), [5.0, 4.9, 4.8, 4.7])
    for budget in (21, 24, 44, 60):
        keeps_the_most(answer, [wide, thin, flat], budget)


def whole_layers(answer, mine):
    stream = mine.stream("hidden whole")
    square = with_values(stream, (6, 6), [4.0, 3.9, 3.8, 3.7, 3.6, 3.5])
    other = with_values(stream, (12, 4), [6.0, 1.0, 0.9, 0.8])
    for budget in (36, 52, 64, 84):  # whole layers, exactly paid for
        keeps_the_most(answer, [square, other], budget)


def at_random(answer, mine):
    stream = mine.stream("hidden ranks")
    for shapes, budget in ((((7, 5), (5, 5), (4, 8)), 40), (((3, 11), (9, 6)), 55)):
        updates = [torch.from_numpy(stream.normal(shape)) for shape in shapes]
        keeps_the_most(answer, updates, budget)


HIDDEN = {
    "hw3-q1": (
        Test("places at random", random_places, 2),
        Test("a row with one entry", a_thin_row, 1),
        Test("two blocks", two_blocks, 1),
        Test("entries seen twice", seen_twice, 1),
    ),
    "hw3-q2": (
        Test("as few entries as possible", as_few_as_possible, 2),
        Test("nothing is loose", nothing_is_loose, 2),
    ),
    "hw3-q4": (
        Test("away from the minimum", far_away, 3),
        Test("a large penalty", a_large_penalty, 1),
        Test("at the minimum", at_the_minimum, 1),
    ),
    "hw3-q5": (
        Test("the layer is what is wanted", what_is_wanted, 1),
        Test("where the flow ends", where_the_flow_ends, 4),
    ),
    "hw3-q7": (
        Test("where greed fails", greed_fails, 2),
        Test("whole layers", whole_layers, 2),
        Test("layers at random", at_random, 1),
    ),
}
