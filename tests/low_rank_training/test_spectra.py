"""Singular values of a change, and how many of them matter."""

import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal
from hypothesis import given
from hypothesis import strategies as st
from low_rank_training.cases import inputs_for, mlp
from torch import nn

from lecturelib.low_rank_training import energy_rank, factorize_layers, update_singular_values
from lecturelib.training import train


@examples(30)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, F64]),
    stacked=st.booleans(),
)
def test_singular_values_are_those_of_the_change(seed, shape, dtype, stacked):
    weights = normal(seed, *shape, dtype=dtype)
    history = weights if stacked else list(weights)
    values = update_singular_values(history)
    assert values.shape == (shape[0], min(shape[1:])) and values.dtype == F64
    x = weights.double().numpy()
    expected = np.linalg.svd(x - x[:1], compute_uv=False)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-12)
    assert not values[0].any() and (values.diff(dim=1) <= 0).all()


def test_changes_of_a_run_have_the_rank_of_its_factors():
    net = factorize_layers(mlp(), 2, ["hidden.1.0"])
    images, labels = inputs_for(net)
    metrics = {"weight": lambda net: net.hidden[1][0].weight}
    history = train(net, images, labels, epochs=3, metrics=metrics)
    values = update_singular_values(history["weight"])
    assert values.shape == (4, 7) and (values[1:, 0] > 0).all()
    assert (values[:, 4:] < 1e-6).all()  # two matrices of rank two differ by one of rank four
    leaves = [nn.Parameter(torch.eye(3)), nn.Parameter(3 * torch.eye(3))]
    assert torch.equal(update_singular_values(leaves)[1], 2 * torch.ones(3, dtype=F64))
    assert not update_singular_values(leaves).requires_grad


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"weights must be a sequence of matrices, got \[\]"),
        (None, "weights must be a sequence of matrices, got None"),
        (torch.zeros(0, 2, 3), r"weights must be .* of shape \(T, d_out, d_in\)"),
        ([torch.zeros(2)], r"weights\[0\] must be .* of shape \(d_out, d_in\)"),
        ([torch.zeros(2, 3, 4)], r"weights\[0\] must be .* of shape \(d_out, d_in\)"),
        ([torch.zeros(2, 3), torch.zeros(3, 2)], r"weights\[1\] must be .* of shape \(2, 3\)"),
        ([torch.zeros(2, 2), torch.tensor([[0.0, math.nan], [0, 0]])], r"weights\[1\] .* finite"),
        ([torch.tensor([[math.inf]])], r"weights\[0\] must be finite"),
    ],
)
def test_weights_are_matrices_of_one_shape(weights, message):
    with pytest.raises((TypeError, ValueError), match=message):
        update_singular_values(weights)


@examples(200)
@given(
    values=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    percent=st.integers(1, 100),
    power=st.integers(-60, 60),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_the_energy_rank_is_exact_in_whole_numbers(values, percent, power, dtype):
    """Exact ties included; and a scale, here a power of two, changes nothing."""
    values = sorted(values, reverse=True)
    squares = [value**2 for value in values]
    needed = (100 * sum(squares[:k]) >= percent * sum(squares) for k in range(len(values) + 1))
    found = energy_rank(torch.tensor(values, dtype=dtype) * 2.0**power, percent / 100)
    assert found.shape == () and found.dtype == torch.int64
    assert int(found) == list(needed).index(True)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_equal_values_count_one_by_one(dtype):
    for size in (1e-30, 1e30):  # whose squares leave single precision
        assert int(energy_rank(torch.full((3,), size, dtype=dtype))) == 3
    values = torch.full((100,), 0.1, dtype=dtype)
    assert int(energy_rank(values)) == 99
    assert [int(energy_rank(values, share)) for share in (0.01, 0.015, 0.5, 0.991, 1)] == [
        *(1, 2, 50, 100, 100)
    ]


def test_rows_are_counted_each_for_itself():
    values = normal(0, 2, 3, 20).abs().sort(dim=-1, descending=True).values
    values[0, 1] = 0
    values[1, 2, 1:] = 0
    found = energy_rank(values, 0.9)
    assert found.shape == (2, 3) and found.dtype == torch.int64
    for row, k in zip(values.flatten(0, 1).numpy(), found.flatten().tolist(), strict=True):
        shares = np.cumsum(row**2) / max(np.sum(row**2), 1e-300)
        assert k == (np.argmax(shares >= 0.9) + 1 if row.any() else 0)
    assert found[0, 1] == 0 and found[1, 2] == 1
    assert torch.equal(energy_rank(torch.zeros(4, 5)), torch.zeros(4, dtype=torch.int64))
    assert int(energy_rank(torch.tensor([3.0, 1.0, 0.1]))) == 2  # the default share is 0.99
    assert int(energy_rank(torch.tensor([9.9, 1.0, 0.0]))) == 2  # 0.9899
    assert int(energy_rank(torch.tensor([10.1, 1.0, 0.0]))) == 1  # 0.9903


@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan])
def test_a_share_is_positive_and_at_most_one(share):
    with pytest.raises(ValueError, match="share must be a finite number > 0 and <= 1"):
        energy_rank(torch.ones(3), share)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_have_no_energy_rank(value):
    with pytest.raises(ValueError, match="values must be finite"):
        energy_rank(torch.tensor([value, 1.0]))


def test_arrays_will_do():
    changes = normal(0, 3, 4, 5)
    values = update_singular_values(changes.numpy())
    assert torch.equal(values, update_singular_values(changes))
    assert torch.equal(energy_rank(values.numpy()), energy_rank(values))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_spectra_are_the_same_on_a_gpu():
    weights = normal(0, 4, 5, 6)
    here, far = update_singular_values(weights), update_singular_values(weights.cuda())
    assert far.is_cuda and energy_rank(far).is_cuda
    close(far.cpu(), here, 1e-10)
    assert torch.equal(energy_rank(far).cpu(), energy_rank(here))
