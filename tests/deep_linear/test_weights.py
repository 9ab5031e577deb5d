"""Deep linear networks: how their weights are drawn, and what they compute."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, product, some_weights, source, whitened
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.deep_linear import (
    LeastSquares,
    descend,
    end_to_end,
    gradient_descent,
    init_weights,
    is_whitened,
)

WIDTHS = st.lists(st.integers(1, 6), min_size=2, max_size=5)
KINDS = ["orthogonal", "normal", "uniform"]
BATCH = (2, 3)


@examples(30)
@given(
    seed=SEEDS, widths=WIDTHS, scale=st.floats(1e-3, 10), batch=st.sampled_from([(), (4,), BATCH])
)
def test_orthogonal_in_any_shape(seed, widths, scale, batch):
    weights = some_weights(seed, widths, scale, "orthogonal", batch_shape=batch)
    for weight, (d_in, d_out) in zip(weights, pairwise(widths), strict=True):
        assert weight.shape == (*batch, d_out, d_in)
        gram = weight @ weight.mT if d_out <= d_in else weight.mT @ weight
        identity = torch.eye(min(d_in, d_out), dtype=F64).expand_as(gram)
        close(gram / scale**2, identity, 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_scale_per_network(kind):
    scale = torch.tensor([0.1, 1.0, 7.0], dtype=F64)
    scaled = some_weights(0, [4, 4, 2], scale, kind, batch_shape=BATCH)
    plain = some_weights(0, [4, 4, 2], 1.0, kind, batch_shape=BATCH)
    for weight, unit in zip(scaled, plain, strict=True):
        close(weight, scale[:, None, None] * unit)


def test_scale_does_not_make_more_networks():
    with pytest.raises(ValueError, match="scale must be of a shape that fits"):
        init_weights([3, 3], torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="scale must be of a shape that fits"):
        init_weights([3, 3], torch.tensor([1.0, 2.0]), batch_shape=(3,))


@pytest.mark.parametrize("scale", [0.1, np.float64(0.1), torch.tensor(0.1, dtype=F64)])
def test_scale_is_not_rounded_to_single_precision(scale):
    (weight,) = some_weights(0, [5, 5], scale, "orthogonal")
    close(torch.linalg.svdvals(weight), torch.full((5,), 0.1, dtype=F64), 1e-15)


def test_scales_may_be_an_array():
    scales = np.array([0.1, 0.2])
    for found, expected in zip(
        some_weights(0, [3, 3], scales, batch_shape=(2,)),
        some_weights(0, [3, 3], torch.from_numpy(scales), batch_shape=(2,)),
        strict=True,
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(7, 7), (12, 5), (5, 12), (1, 1)])
def test_all_kinds_have_one_expected_norm(kind, widths):
    (weights,) = some_weights(1, widths, 0.5, kind, batch_shape=(20_000,))
    expected = 0.5**2 * min(widths)
    assert weights.square().sum((-2, -1)).mean().item() == pytest.approx(expected, rel=0.03)
    entries = weights.flatten(1)
    deviation = 0.5 / math.sqrt(max(widths))
    assert entries.mean(0).abs().max() < 5 * deviation / math.sqrt(len(entries))
    close(entries.std(0), torch.full_like(entries[0], deviation), 0.05)


def test_uniform_fills_its_interval_and_normal_does_not():
    (uniform,) = some_weights(2, (40, 60), 2.0, "uniform", batch_shape=(50,))
    bound = 2 * math.sqrt(3 / 60)
    assert 0.999 * bound < uniform.abs().max() <= bound
    (gauss,) = some_weights(2, (40, 60), 2.0, "normal", batch_shape=(50,))
    assert gauss.abs().max() > 2 * bound
    fourth = (gauss / gauss.std()).pow(4).mean().item()
    assert fourth == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize("widths", [(3, 3), (5, 2), (2, 5)])
def test_orthogonal_is_uniformly_distributed(widths):
    (draws,) = some_weights(3, widths, 1.0, "orthogonal", batch_shape=(40_000,))
    # LAPACK alone gives one sign to the first entries and lets a diagonal's mean drift.
    assert draws.mean(0).abs().max() < 0.015
    assert (draws > 0).double().mean(0).sub(0.5).abs().max() < 0.015
    n = max(widths)  # Haar: E[q^4] = 3 / (n (n + 2)) for every entry
    expected = torch.full(draws.shape[1:], 3 / (n * (n + 2)), dtype=F64)
    close(draws.pow(4).mean(0), expected, 0.01)
    if widths == (3, 3):
        traces = draws.diagonal(dim1=1, dim2=2).sum(1)
        assert abs(traces.mean()) < 0.03
        assert traces.square().mean().item() == pytest.approx(1, abs=0.04)
        assert torch.linalg.det(draws).mean().abs() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_source_type_and_device_of_weights(kind):
    first, second = (init_weights([3, 4, 2], 0.3, kind, generator=source(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], init_weights([3, 4, 2], 0.3, kind, generator=source(6))[0])
    assert {weight.dtype for weight in first} == {torch.get_default_dtype()}
    assert {weight.dtype for weight in some_weights(0, [3, 4, 2], 0.3, kind)} == {F64}
    with torch.device("meta"):  # as if another device were the default
        assert init_weights([3, 3], kind=kind, device="cpu")[0].device.type == "cpu"
        assert init_weights([3, 3], kind=kind, generator=source(0))[0].device.type == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([4],), "widths"),
        (([],), "widths"),
        (([4, 0, 4],), "widths"),
        (([4, -1],), "widths"),
        (([4, 4], 0.0), "scale"),
        (([4, 4], -1.0), "scale"),
        (([4, 4], math.inf), "scale"),
        (([4, 4], math.nan), "scale"),
        (([4, 4], torch.tensor([1.0, 0.0])), "scale"),
        (([4, 4], 1.0, "xavier"), "kind"),
    ],
)
def test_no_such_weights(arguments, message):
    with pytest.raises(ValueError, match=message):
        init_weights(*arguments, batch_shape=(2,))


@examples(40)
@given(seed=SEEDS, widths=WIDTHS, batch=st.sampled_from([(), (4,), BATCH]))
def test_end_to_end_is_the_product(seed, widths, batch):
    weights = some_weights(seed, widths, batch_shape=batch)
    expected = torch.eye(widths[0], dtype=F64).expand(*batch, -1, -1)
    for weight in weights:
        expected = weight @ expected
    close(end_to_end(weights), expected, 1e-12)
    close(end_to_end(tuple(weights)), expected, 1e-12)
    if not batch:
        close(end_to_end(weights), product(weights), 1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "weights must be one matrix or more"),
        ([torch.ones(2, 3), torch.ones(4, 3)], "weights must have widths that chain"),
        (torch.ones(2, 2), "weights must be a sequence of matrices"),
        (
            [torch.ones(2, 2), torch.ones(2)],
            r"weights\[1\] must be a floating-point tensor of shape",
        ),
        ([torch.ones(2, 2), torch.ones(2, 2, dtype=F64)], r"weights\[1\] must be of the type"),
        ([torch.ones(2, 2, 2), torch.ones(3, 2, 2)], "leading dimensions of weights"),
    ],
)
def test_end_to_end_needs_a_chain(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        end_to_end(wrong)
    with pytest.raises((TypeError, ValueError), match=message):
        gradient_descent(wrong, None, torch.ones(2, 2), lr=0.1, steps=1)
    with pytest.raises((TypeError, ValueError), match=message):
        descend(wrong, LeastSquares(None, torch.ones(2, 2), 0.0, 1.0), lr=0.1, steps=1)


def test_arrays_are_taken_for_tensors():
    weights, X, Y = some_weights(0, (3, 4, 2)), normal(1, 3, 5), normal(2, 2, 5)
    arrays = [weight.numpy() for weight in weights]
    assert torch.equal(end_to_end(arrays), end_to_end(weights))
    assert not is_whitened(X.numpy())
    path = gradient_descent(arrays, X.numpy(), Y.numpy(), lr=0.1, steps=3)
    expected = gradient_descent(weights, X, Y, lr=0.1, steps=3)
    assert torch.equal(path.final[0], expected.final[0])
    rates = gradient_descent(weights, X, Y, lr=np.array([0.1, 0.0]), steps=3)
    assert torch.equal(rates["loss"][:, 0], expected["loss"])


def test_whitened_or_not():
    X = whitened(0, 4, 9)
    assert is_whitened(X)
    assert is_whitened(X.float())
    assert is_whitened(torch.stack([X, -X]))
    assert not is_whitened(torch.stack([X, 1.1 * X]))
    assert not is_whitened(X + 1e-8)
    assert not is_whitened(X[:, :3])
    assert not is_whitened(X.mT)  # orthonormal columns are not enough
