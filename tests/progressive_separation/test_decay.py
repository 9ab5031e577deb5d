"""The decay law: its formulas, descents that obey it, and the record of the full-scale runs."""

import numpy as np
import pytest
import torch
from helpers import F64, blocks, rotation
from torch import nn

from lecturelib.deep_linear import gradient_descent, init_weights
from lecturelib.progressive_separation import decay_correction, feature_compression, predicted_decay


@pytest.mark.parametrize(
    ("scale", "depth", "n", "alpha", "expected"),
    [
        (0.2, 4, 16, 1.0, 0.02),
        (0.5, 2, 1, 1.0, 0.25),
        (1.0, 3, 8, 1.0, 0.5),
        (0.1, 2, 25, 10.0, 0.02),
        (0.3, 3, 27, 27**0.5, 0.09),
    ],
)
def test_predicted_decay(scale, depth, n, alpha, expected):
    assert predicted_decay(scale, depth, n, alpha) == pytest.approx(expected, rel=1e-13)
    if alpha == 1:
        assert predicted_decay(scale, depth, n) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((0.0, 2, 1), "scale"),
        ((-0.1, 2, 1), "scale"),
        ((0.1, 1, 1), "depth"),
        ((0.1, 2, 0), "samples_per_class"),
        ((0.1, 2, 1, 0.0), "output_scale"),
        ((0.1, 2, 1, -1.0), "output_scale"),
    ],
)
def test_predicted_decay_out_of_range(arguments, culprit):
    with pytest.raises(ValueError, match=f"^{culprit} must be"):
        predicted_decay(*arguments)


def heads(seed, k, dim, degrees):
    """Two heads whose row spaces differ by the given principal angles."""
    axes, theta = rotation(seed, dim)[: 2 * k], torch.deg2rad(torch.tensor(degrees, dtype=F64))
    return axes[:k], theta.cos()[:, None] * axes[:k] + theta.sin()[:, None] * axes[k:]


@pytest.mark.parametrize("depth", [2, 3, 7])
@pytest.mark.parametrize(
    ("k", "dim", "degrees"),
    [
        (2, 4, [30.0, 60]),
        (2, 9, [30.0, 60]),
        (3, 6, [0.0, 10, 80]),
        (3, 20, [45.0, 45, 45]),
        (3, 7, [90.0, 90, 0]),
    ],
)
def test_decay_correction_in_closed_form(k, dim, degrees, depth):
    first, last = heads(dim, k, dim, degrees)
    energy = [
        dim - 2 * k + sum(np.cos(np.deg2rad(angle)) ** (2 * level) for angle in degrees)
        for level in range(depth)
    ]
    expected = torch.tensor([energy[i + 1] / energy[i] for i in range(depth - 1)], dtype=F64)
    factors = decay_correction(first, last, depth)
    torch.testing.assert_close(factors, expected, rtol=1e-12, atol=0)
    # Only the row spaces count: any invertible mixing of the rows leaves the factors alone.
    generator = torch.Generator().manual_seed(depth)
    for _ in range(3):
        left, right = torch.randn(2, k, k, generator=generator, dtype=F64)
        mixed = decay_correction(left @ first, right @ last, depth)
        torch.testing.assert_close(mixed, expected, rtol=1e-8, atol=0)
    torch.testing.assert_close(decay_correction(last, first, depth), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("k", "dim"), [(2, 4), (2, 5), (5, 50)])
def test_decay_correction_of_a_head_that_keeps_its_rows(k, dim):
    head = torch.randn(k, dim, generator=torch.Generator().manual_seed(0), dtype=F64)
    ones = torch.ones(4, dtype=F64)
    torch.testing.assert_close(decay_correction(head, head, 5), ones, rtol=0, atol=1e-12)
    torch.testing.assert_close(decay_correction(head, -3 * head.flip(0), 5), ones)


def test_decay_correction_is_at_most_one_in_spite_of_rounding():
    for seed in range(50):
        head = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed), dtype=F64)
        assert (decay_correction(head, head.flip(0), 5) <= 1).all()


@pytest.mark.parametrize(("k", "dim"), [(2, 5), (3, 10), (5, 50)])
def test_decay_correction_of_orthogonal_row_spaces(k, dim):
    axes = rotation(0, dim)
    factors = decay_correction(axes[:k], axes[k : 2 * k], 5)
    expected = [(dim - 2 * k) / (dim - k), 1, 1, 1]
    assert factors.tolist() == pytest.approx(expected, rel=1e-12)


def test_decay_correction_keeps_float32():
    first, last = heads(0, 2, 7, [20.0, 70])
    factors = decay_correction(first.float(), last.float(), 4)
    assert factors.dtype == torch.float32 and factors.shape == (3,)
    torch.testing.assert_close(
        factors.double(), decay_correction(first, last, 4), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("first", "last", "depth", "message"),
    [
        (
            torch.ones(2, 3),
            torch.ones(2, 3),
            3,
            r"first_head must be of shape \(K, d\) with d >= 2K",
        ),
        (torch.ones(2, 6), torch.ones(2, 5), 3, r"last_head must be .* of shape \(2, 6\)"),
        (torch.ones(2, 6), torch.ones(3, 6), 3, r"last_head must be .* of shape \(2, 6\)"),
        (torch.ones(6), torch.ones(6), 3, "first_head must be"),
        (torch.ones(2, 6), torch.ones(2, 6).long(), 3, "last_head must be a floating-point"),
        (torch.ones(2, 6), torch.ones(2, 6) / 0, 3, "last_head must be finite"),
        (torch.eye(2, 6), torch.eye(2, 6), 1, "depth must be an integer >= 2, got 1"),
    ],
)
def test_decay_correction_errors(first, last, depth, message):
    with pytest.raises(ValueError, match=message):
        decay_correction(first, last, depth)


def descend(k, n, depth, scale, alpha, seed):
    """Train on orthonormal inputs; return ratios of D, their prediction and its correction."""
    dim = k * n
    weights = init_weights(
        [dim] * depth + [k], scale, generator=torch.Generator().manual_seed(seed), dtype=F64
    )
    labels, features = blocks([n] * k), torch.eye(dim, dtype=F64)
    targets = nn.functional.one_hot(labels).T.to(F64) / alpha
    signal = (n**0.5 / alpha) ** (1 / depth)
    # Steps this long leave a gap of their own: in three layers half as much as the scale does.
    lr = (0.5 if depth > 3 else 0.1) / (depth * signal ** (2 * depth - 2))
    path = gradient_descent(weights, features, targets, lr=lr, steps=5000, every=[], tol=1e-12)
    assert path["loss"][-1] <= 1e-12
    values = [feature_compression(features, labels)]
    for weight in path.final[:-1]:
        features = features @ weight.T
        values.append(feature_compression(features, labels))
    values = torch.stack(values)
    assert float(values[0]) == pytest.approx((n - 1) * k / (k - 1))
    law = predicted_decay(scale, depth, n, alpha)
    return values[1:] / values[:-1], law, decay_correction(weights[-1], path.final[-1], depth)


@pytest.mark.parametrize(
    ("k", "n", "depth", "alpha"),
    [(3, 4, 4, 1.0), (4, 7, 4, 1.0), (5, 10, 4, 1.0), (3, 5, 3, 1.0), (3, 9, 4, 2.0)],
)
@pytest.mark.parametrize("seed", range(2))
def test_descent_obeys_the_corrected_law_to_second_order(k, n, depth, alpha, seed):
    scales, gaps, uncorrected = [0.4, 0.2, 0.1], [], []
    for scale in scales:
        ratios, law, correction = descend(k, n, depth, scale, alpha, seed)
        gaps.append((ratios / (law * correction) - 1).abs())
        uncorrected.append((ratios / law - 1).abs())
    gaps, uncorrected = torch.stack(gaps), torch.stack(uncorrected)
    assert gaps.shape == (3, depth - 1)
    assert (gaps < 0.2 * torch.tensor(scales, dtype=F64)[:, None] ** 2).all()
    quarters = gaps[:-1] / gaps[1:]
    assert ((quarters > 3.4) & (quarters < 4.8)).all()
    # Without the correction the gap does not go away.
    assert (uncorrected[-1] > 0.9 * uncorrected[-2]).all()
    assert (uncorrected[-1] > 10 * gaps[-1]).all()


def test_decay_correction_where_nothing_is_left():
    """No other direction, and all of these turned by a right angle: 0 of 0 counts as 0."""
    first = torch.eye(2, 4)
    factors = decay_correction(first, first.roll(2, dims=1), 4)
    assert factors.tolist() == [0, 0, 0]
    half = decay_correction(first, torch.eye(4)[[0, 3]], 4)  # one direction stays
    assert half.tolist() == [0.5, 1, 1]
