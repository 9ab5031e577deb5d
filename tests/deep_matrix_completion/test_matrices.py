"""Matrices of low rank, and what is seen of them."""

import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.deep_matrix_completion import Observations, low_rank_matrix, observe

F32 = torch.float32


# --- targets ----------------------------------------------------------------------------------


@examples(25)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    data=st.data(),
    dtype=st.sampled_from([F32, F64]),
)
def test_a_matrix_has_the_singular_values_it_was_given(seed, shape, data, dtype):
    rank = data.draw(st.integers(1, min(shape)))
    values = data.draw(st.lists(st.floats(0, 5, width=32), min_size=rank, max_size=rank))
    given = data.draw(st.sampled_from([list, tuple, np.array, torch.tensor]))(values)

    def draw():
        return low_rank_matrix(
            shape, rank, singular_values=given, generator=source(seed), dtype=dtype
        )

    matrix = draw()
    dense, tolerance = matrix.dense(), 1e-12 if dtype == F64 else 1e-4
    assert dense.dtype == dtype and dense.shape == matrix.shape == shape
    expected = torch.zeros(min(shape), dtype=dtype)
    expected[:rank] = torch.tensor(sorted(values, reverse=True), dtype=dtype)
    close(torch.linalg.svdvals(dense), expected, tolerance)
    rows, cols = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    close(matrix.predict(rows.flatten(), cols.flatten()), dense.flatten(), tolerance)
    again = draw()
    assert torch.equal(again.left, matrix.left) and torch.equal(again.right, matrix.right)


@pytest.mark.parametrize("shape", [(12, 12), (8, 18), (18, 8)])
def test_the_mean_square_is_one_unless_told(shape):
    matrix = low_rank_matrix(shape, 3, generator=source(0), dtype=F64)
    dense = matrix.dense()
    assert matrix.shape == shape and dense.shape == shape
    assert dense.square().mean().item() == pytest.approx(1, abs=1e-12)
    values = torch.linalg.svdvals(dense)
    close(values[:3], values[:1].expand(3))
    other = low_rank_matrix(shape, 3, generator=source(1), dtype=F64).dense()
    assert (other - dense).abs().max() > 0.1


def test_the_type_is_that_of_torch_unless_told():
    assert low_rank_matrix((4, 5), 2).dense().dtype == F32
    torch.set_default_dtype(F64)
    try:
        assert low_rank_matrix((4, 5), 2).dense().dtype == F64
    finally:
        torch.set_default_dtype(F32)


def test_matrices_and_observations_move():
    matrix = low_rank_matrix((4, 5), 2, device="meta")
    assert matrix.left.is_meta and matrix.right.is_meta and matrix.shape == (4, 5)
    seen = observe(torch.ones(4, 5), 0.5).to("meta")
    assert seen.rows.is_meta and seen.cols.is_meta and seen.values.is_meta


def test_singular_vectors_are_uniformly_distributed():
    """The mean vanishes and the fourth moment is that of the sphere, on both sides."""
    options = {"singular_values": [2.0], "generator": source(0), "dtype": F64}
    draws = [low_rank_matrix((3, 4), 1, **options) for _ in range(4000)]
    for side, size in (("left", 3), ("right", 4)):
        vectors = torch.stack([getattr(draw, side)[:, 0] for draw in draws])
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        assert vectors.mean(0).abs().max() < 0.05
        fourth = torch.full((size,), 3 / (size * (size + 2)), dtype=F64)
        close(vectors.pow(4).mean(0), fourth, 0.02)


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_a_rank_larger_than_the_matrix_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank must be an integer in 1 \.\. 4, got {rank}"):
        low_rank_matrix((4, 6), rank)


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0, 3.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], []]
)
def test_singular_values_are_as_many_as_the_rank_and_not_negative(values):
    with pytest.raises(ValueError, match=r"singular_values must be .* >= 0, got"):
        low_rank_matrix((5, 5), 2, singular_values=values)


def test_more_entries_are_predicted_than_are_worked_on_at_once():
    matrix = low_rank_matrix((610, 590), 2, generator=source(0), dtype=F64)
    places = torch.randperm(610 * 590, generator=source(1))
    rows, cols = places // 590, places % 590
    close(matrix.predict(rows, cols), matrix.dense()[rows, cols])
    assert matrix.predict(rows[:0], cols[:0]).shape == (0,)
    assert torch.equal(matrix.predict(rows.numpy(), cols.int()), matrix.predict(rows, cols))


@pytest.mark.parametrize(
    ("rows", "cols", "message"),
    [
        (torch.tensor([0, 4]), torch.tensor([0, 0]), r"rows must lie in 0 \.\. 3, got 0 \.\. 4"),
        (torch.tensor([0, 0]), torch.tensor([-1, 0]), r"cols must lie in 0 \.\. 4, got -1 \.\. 0"),
        (torch.tensor([0, 0]), torch.tensor([0]), r"cols must be .* of shape \(2,\)"),
        (torch.tensor([[0]]), torch.tensor([[0]]), r"rows must be .* of shape \(M,\)"),
        (torch.tensor([0.0]), torch.tensor([0]), "rows must be an integer tensor"),
    ],
)
def test_entries_outside_the_matrix_are_not_predicted(rows, cols, message):
    with pytest.raises(ValueError, match=message):
        low_rank_matrix((4, 5), 2).predict(rows, cols)


# --- observations -----------------------------------------------------------------------------


@examples(40)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    fraction=st.floats(0.001, 1.0),
)
def test_a_share_of_the_entries_is_observed_in_order(seed, shape, fraction):
    """Both with few entries, drawn anew, and with many, from a permutation."""
    target = normal(seed, *shape)
    count = round(fraction * target.numel())
    if count == 0:
        with pytest.raises(ValueError, match="fraction"):
            observe(target, fraction)
        return
    seen = observe(target, fraction, generator=source(seed))
    assert seen.rows.dtype == seen.cols.dtype == torch.int64
    assert seen.rows.shape == seen.cols.shape == seen.values.shape == (count,)
    for index, size in ((seen.rows, shape[0]), (seen.cols, shape[1])):
        assert index.min() >= 0 and index.max() < size
    assert ((seen.rows * shape[1] + seen.cols).diff() > 0).all()  # sorted, none twice
    assert torch.equal(seen.values, target[seen.rows, seen.cols])
    again = observe(target.numpy(), fraction, generator=source(seed))
    assert torch.equal(seen.rows, again.rows) and torch.equal(seen.cols, again.cols)
    assert torch.equal(seen.values, again.values)


def test_some_observations_are_observations():
    seen = observe(normal(0, 6, 5), 0.8, generator=source(1))
    upper = seen[seen.rows < 3]
    assert isinstance(upper, Observations) and 0 < len(upper) < len(seen) == 24
    assert upper.rows.max() == 2
    first = seen[:7]
    assert torch.equal(first.cols, seen.cols[:7]) and torch.equal(first.values, seen.values[:7])


@pytest.mark.parametrize("fraction", [0.03, 0.2, 0.5])
def test_places_are_uniform(fraction):
    """Of 500 places each is seen as often as any other: a chi-square of mean 500, deviation 32."""
    generator, target, draws = source(0), torch.ones(20, 25), 600
    counts = torch.zeros(500, dtype=F64)
    for _ in range(draws):
        seen = observe(target, fraction, generator=generator)
        counts[seen.rows * 25 + seen.cols] += 1
    spread = (counts - draws * fraction).square().sum() / (draws * fraction * (1 - fraction))
    assert 360 < spread < 640


@pytest.mark.parametrize("fraction", [0.1, 0.7, 1.0])
def test_factors_are_observed_like_the_matrix(fraction):
    matrix = low_rank_matrix((23, 17), 3, generator=source(0), dtype=F64)
    one, other = (observe(form, fraction, generator=source(1)) for form in (matrix, matrix.dense()))
    assert torch.equal(one.rows, other.rows) and torch.equal(one.cols, other.cols)
    close(one.values, other.values)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, math.nan, 1e-3])
def test_a_share_leaves_an_entry_and_is_at_most_one(fraction):
    with pytest.raises(ValueError, match="fraction must be"):
        observe(torch.ones(5, 5), fraction)
