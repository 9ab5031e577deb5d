"""Assignment 3: matrix completion and low-rank training.

A variant is a pattern of observed entries, a layer with what it should learn, and the start of an
adapter.
"""

from dataclasses import dataclass

import torch

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    Wrong,
    array,
    expect,
    expect_close,
)


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which entries of a matrix of known rank are observed.

    `shape` is (d_1, d_2), `rank` is r; the observed entries are at `rows` (M,) and `cols` (M,),
    int64, each place once.
    """

    shape: tuple[int, int]
    rank: int
    rows: torch.Tensor
    cols: torch.Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """A layer, what it should become, and where an update of rank one starts; all float64.

    `weights` (d_out, d_in) are frozen, `wanted` (d_out, d_in) differ from them by a matrix of rank
    one; the adapted layer is `weights + scale * b a^T`, with a (d_in,) at `start` and b (d_out,) at
    zero.
    """

    weights: torch.Tensor
    wanted: torch.Tensor
    start: torch.Tensor
    scale: float


def pattern(mine):
    """Return the observed places of a variant.

    Parameters
    ----------
    mine : Variant
        Whose pattern.

    Returns
    -------
    Pattern
        Of rank 3, with some 12 to 17 rows and columns.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw3
    >>> seen = hw3.pattern(variant("ada@example.org", "hw3"))
    >>> seen.rank, len(seen.rows) == len(seen.cols)
    (3, True)
    """
    stream, rank = mine.stream("pattern"), 3
    above, below, left, right = stream.integers(6, 9, shape=4).tolist()
    shared = stream.integers(0, 2)
    shape = above + below - shared, left + right
    observed = torch.zeros(shape, dtype=torch.bool)
    observed[:above, :left] = True
    observed[above - shared :, left:] = True
    observed[stream.integers(0, above - shared), left + stream.integers(0, right)] = True
    rows, cols = (torch.from_numpy(stream.permutation(size)) for size in shape)
    return Pattern(shape, rank, *observed[rows][:, cols].nonzero().T)


def adapter(mine):
    """Return the layer and the adapter of a variant.

    Parameters
    ----------
    mine : Variant
        Whose adapter.

    Returns
    -------
    Adapter

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw3
    >>> layer = hw3.adapter(variant("ada@example.org", "hw3"))
    >>> int(torch.linalg.matrix_rank(layer.wanted - layer.weights))
    1
    """
    stream = mine.stream("adapter")
    out, into = stream.integers(4, 7), stream.integers(5, 9)
    left, right, start = (torch.from_numpy(stream.normal(size)) for size in (out, into, into))
    right, left = right / right.norm(), left / left.norm()
    # The start leans towards the wanted direction: at a right angle nothing would ever move.
    start = start - (start @ right) * right
    start = start / start.norm() + stream.uniform(0.6, 1.2) * right
    start = stream.uniform(0.8, 1.4) * start / start.norm()
    weights = torch.from_numpy(stream.normal((out, into)))
    update = stream.uniform(1.5, 3.0) * torch.outer(left, right)
    return Adapter(weights, weights + update, start, stream.uniform(1.5, 4.0))


# What public tests look at


def _everything_seen(answer, mine):
    left, right = (
        mine.stream("public left").normal((4, 2)),
        mine.stream("public right").normal((5, 2)),
    )
    rows, cols = torch.cartesian_prod(torch.arange(4), torch.arange(5)).T
    hint = "where all entries are seen, nothing is loose"
    expect_close(answer(torch.tensor(left), torch.tensor(right), rows, cols), 0, hint)


def _a_diagonal(answer, mine):
    ones, places = torch.ones(2, 1, dtype=torch.float64), torch.arange(2)
    hint = "2 x 2 and rank one, with the diagonal seen: which changes are left? Count them by hand"
    expect_close(answer(ones, ones, places, places), 1, hint)


def _places(answer, mine):
    task = pattern(mine)
    found = array(answer)
    expect(found.ndim == 2 and found.shape[1] == 2, "give pairs (row, column)")
    expect(len(found) > 0, "give at least one pair")
    expect((found == found.round()).all(), "rows and columns are integers, counted from 0")
    inside = (found >= 0).all() and (found < task.shape).all()
    expect(inside, f"rows and columns must fit a matrix of shape {task.shape}")
    seen = set(zip(task.rows.tolist(), task.cols.tolist(), strict=True))
    pairs = [tuple(pair) for pair in found.astype(int).tolist()]
    expect(seen.isdisjoint(pairs), "one of these entries is observed already")
    expect(len(set(pairs)) == len(pairs), "one of these pairs occurs twice")


def _one_entry(answer, mine):
    place, value = torch.tensor([0]), torch.tensor([3.0], dtype=torch.float64)
    for estimate, expected in ((0.0, 2.0), (2.0, 0.0)):
        matrix = torch.full((1, 1), estimate, dtype=torch.float64)
        hint = "a matrix with one entry, penalty 1: work it out by hand"
        expect_close(answer(matrix, place, place, value, 1.0), expected, hint, abs=1e-9)


def _never_negative(answer, mine):
    stream = mine.stream("public gap")
    rows, cols = torch.cartesian_prod(torch.arange(5), torch.arange(4)).T
    rows, cols = rows[::2], cols[::2]
    values = torch.from_numpy(stream.normal(len(rows)))
    for _ in range(5):
        estimate = torch.from_numpy(stream.normal((5, 4)))
        found = array(answer(estimate, rows, cols, values, 0.7), ())
        expect(found > 0, "no lower bound lies above a value of the objective")


def _ends(answer, mine):
    task = adapter(mine)
    if not isinstance(answer, dict) or {"a", "b"} - set(answer):
        raise Wrong("the answer must be a dict with the vectors 'a' and 'b'")
    a = array(answer["a"], (task.weights.shape[1],), what="a")
    b = array(answer["b"], (task.weights.shape[0],), what="b")
    expect((a**2).sum() > 0 and (b**2).sum() > 0, "both vectors have moved away from zero")


def _ranks(answer, mine):
    updates = [torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.diag(torch.tensor([5.0, 1.0, 1.0]))]
    expect_close(answer(updates, 0), [0, 0], "without a budget there is nothing to keep")
    expect_close(answer(updates, 6), [0, 1], "one direction can be paid for: which?")
    expect_close(
        answer(updates, 18), [3, 3], "here both layers can stay whole: what does that cost?"
    )


ASSIGNMENT = Assignment(
    name="hw3",
    title="Matrix completion and low-rank training",
    minutes=90,
    questions=(
        Question(
            "hw3-q1",
            "What the entries leave loose",
            "loose_directions",
            "function",
            (Test("all entries are seen", _everything_seen), Test("a diagonal", _a_diagonal)),
            points=5,
        ),
        Question(
            "hw3-q2",
            "The entries that are missing",
            "more",
            "value",
            (Test("new places in the matrix", _places),),
            points=4,
        ),
        Question("hw3-q3", "Two blocks", "", "written", (), read_by_a_person=6),
        Question(
            "hw3-q4",
            "How far from the minimum?",
            "gap",
            "function",
            (
                Test("a matrix with one entry", _one_entry),
                Test("gaps are positive", _never_negative),
            ),
            points=5,
        ),
        Question(
            "hw3-q5",
            "Where an adapter ends",
            "adapted",
            "value",
            (Test("two vectors", _ends),),
            points=5,
        ),
        Question("hw3-q6", "A long start", "", "written", (), read_by_a_person=6),
        Question(
            "hw3-q7",
            "Ranks for a budget",
            "best_ranks",
            "function",
            (Test("two layers of three by three", _ranks),),
            points=5,
        ),
    ),
)
