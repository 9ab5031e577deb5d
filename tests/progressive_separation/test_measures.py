"""Measures per layer against textbook versions and closed forms; the decay law against descent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from test_metrics import (
    F64,
    GOOD,
    LABELS,
    SEEDS,
    blocks,
    examples,
    isotropic,
    mixture,
    spoilt,
)
from torch import nn

from lecturelib.deep_linear import gradient_descent, init_weights
from lecturelib.metrics import nc1, simplex_etf
from lecturelib.networks import MLP, ViT
from lecturelib.progressive_separation import (
    decay_correction,
    feature_compression,
    feature_separation,
    layer_profile,
    linear_probe_accuracy,
    predicted_decay,
)


def class_means(features, labels):
    x, y = np.asarray(features, np.float64), np.asarray(labels)
    return np.stack([x[y == k].mean(0) for k in range(y.max() + 1)])


def compression(features, labels):
    """Traces of two explicit covariance matrices."""
    x, y, means = (
        np.asarray(features, np.float64),
        np.asarray(labels),
        class_means(features, labels),
    )
    within = sum((x[y == k] - means[k]).T @ (x[y == k] - means[k]) for k in range(len(means)))
    centred = means - means.mean(0)
    between = sum(np.outer(mean, mean) for mean in centred)
    return np.trace(within) / len(x) / (np.trace(between) / len(means))


def separation(features, labels, centred):
    """The definition, pair by pair."""
    means = class_means(features, labels)
    if centred:
        means = means - means.mean(0)
    cosines = [
        means[i] @ means[j] / np.linalg.norm(means[i]) / np.linalg.norm(means[j])
        for i in range(len(means))
        for j in range(i)
    ]
    return 1 - max(abs(cosine) if centred else cosine for cosine in cosines)


def rotation(seed, dim):
    rng = np.random.default_rng(seed)
    return torch.linalg.qr(torch.from_numpy(rng.normal(size=(dim, dim)))).Q


# --- compression ------------------------------------------------------------------------------


@examples
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    dim=st.integers(1, 60),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_compression_is_a_ratio_of_traces(seed, counts, dim, dtype):
    features, labels, *_ = mixture(seed, counts, dim, dtype=dtype)
    value = feature_compression(features, labels)
    assert value.shape == () and value.dtype == F64
    assert float(value) == pytest.approx(compression(features, labels), rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(("counts", "dim"), [([120_000, 70_000, 90_000], 8), ([300, 400], 3000)])
def test_compression_of_more_rows_than_one_chunk(counts, dim, dtype):
    assert sum(counts) * dim > 2 * 2**20  # chunks have at most 2^20 elements
    generator = torch.Generator().manual_seed(0)
    labels = blocks(counts)[torch.randperm(sum(counts), generator=generator)]
    features = torch.randn(len(labels), dim, generator=generator, dtype=dtype)
    features += 0.3 * torch.randn(len(counts), dim, generator=generator, dtype=dtype)[labels]
    x, y, means = features.double().numpy(), labels.numpy(), class_means(features, labels)
    within = np.square(x - means[y]).sum() / len(x)
    expected = within / means.var(0).sum()
    assert float(feature_compression(features, labels)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("k", "dim", "a", "s"), [(2, 1, 3.0, 0.5), (4, 3, 0.1, 2.0), (7, 12, 5, 1)]
)
def test_compression_of_an_etf_with_isotropic_noise(k, dim, a, s):
    frame = a * simplex_etf(k, dim, generator=torch.Generator().manual_seed(1), dtype=F64)
    features, labels = isotropic(frame, s)
    assert float(feature_compression(features, labels)) == pytest.approx(dim * (s / a) ** 2)


def test_compression_of_an_etf_with_sampled_noise():
    k, dim, n, a, s = 4, 6, 20_000, 2.0, 0.7
    labels, generator = blocks([n] * k), torch.Generator().manual_seed(0)
    noise = s * torch.randn(k * n, dim, generator=generator, dtype=F64)
    features = a * simplex_etf(k, dim, generator=generator, dtype=F64)[labels] + noise
    expected = s**2 * dim / a**2
    # The spread within has k n d degrees of freedom; that between, k - 1 of noise along the means.
    four_sigma = 4 * (2 / (k * n * dim) + 4 * (s / a) ** 2 / (k * n)) ** 0.5
    assert float(feature_compression(features, labels)) == pytest.approx(expected, rel=four_sigma)


@pytest.mark.parametrize(("k", "n"), [(2, 1), (2, 3), (5, 10), (10, 7)])
def test_compression_of_orthonormal_inputs(k, n):
    value = float(feature_compression(torch.eye(k * n), blocks([n] * k)))
    assert value == pytest.approx((n - 1) * k / (k - 1), rel=1e-13)


@examples
@given(seed=SEEDS, scale=st.floats(1e-6, 1e6), k=st.integers(2, 6), dim=st.integers(1, 20))
def test_compression_invariances(seed, scale, k, dim):
    features, labels, *_ = mixture(seed, [7] * k, dim)
    value = pytest.approx(float(feature_compression(features, labels)), rel=1e-9)
    rng = np.random.default_rng(seed)
    rows, classes = torch.from_numpy(rng.permutation(7 * k)), torch.from_numpy(rng.permutation(k))
    shift = 10 * torch.from_numpy(rng.normal(size=dim))
    assert float(feature_compression(features @ rotation(seed, dim), labels)) == value
    assert float(feature_compression(scale * features, labels)) == value
    assert float(feature_compression(features + shift, labels)) == value
    assert float(feature_compression(features[rows], classes[labels[rows]])) == value


def test_compression_weighs_classes_equally_in_the_spread_of_their_means():
    features = torch.tensor([[-1.0], [1], [9], [9], [9], [11], [11], [11]])
    value = feature_compression(features, torch.tensor([0, 0, 1, 1, 1, 1, 1, 1]))
    assert float(value) == pytest.approx(1 / 25)  # global mean 5, not 7.5


def test_compression_at_its_limits():
    collapsed = mixture(0, [3, 4, 5], 6, noise=0.0, dtype=torch.float32)[:2]
    assert 0 <= float(feature_compression(*collapsed)) < 1e-28
    assert feature_compression(torch.tensor([[1.0], [1], [3]]), torch.tensor([0, 0, 1])) == 0
    coinciding = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    assert feature_compression(coinciding, LABELS) == torch.inf
    assert feature_compression(torch.ones(4, 2), LABELS) == torch.inf


@pytest.mark.parametrize("offset", [1e2, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_compression_survives_a_common_offset(seed, offset):
    features, labels, *_ = mixture(seed, [40, 30, 50], 64, offset=offset, dtype=torch.float32)
    value = float(feature_compression(features, labels))
    assert value == pytest.approx(compression(features, labels), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_compression_of_half_precision(dtype):
    features, labels, *_ = mixture(0, [300, 400, 500], 16, offset=1.0, dtype=dtype)
    exact = float(feature_compression(features.double(), labels))
    assert float(feature_compression(features, labels)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("k", "dim"), [(3, 5), (2, 1), (5, 2)])
def test_gradients(k, dim):
    features, labels, *_ = mixture(4, [3] * k, dim)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: feature_compression(x, labels), features)
    if dim > 1:  # angles on a line do not change
        assert torch.autograd.gradcheck(lambda x: feature_separation(x, labels), features)
        centred = torch.autograd.gradcheck(
            lambda x: feature_separation(x, labels, centred=True), features
        )
        assert centred


@pytest.mark.parametrize("metric", [feature_compression, feature_separation])
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD, torch.tensor([0, 0, 2, 2]), r"none: \[1\]"),
        (GOOD, torch.tensor([0, 0, 1, -1]), r"got -1 \.\. 1"),
        (GOOD, LABELS.float(), "must be integers"),
        (GOOD, LABELS * 0, "at least 2, got 1"),
        (GOOD, LABELS[:3], r"labels must have shape \(4,\)"),
        (GOOD[0], LABELS, r"\(N, d\)"),
        (GOOD.long(), LABELS, "floating-point"),
        (GOOD[:0], LABELS[:0], "at least one sample"),
        (spoilt(torch.nan), LABELS, "features must be finite"),
        (spoilt(-torch.inf), LABELS, "features must be finite"),
    ],
)
def test_bad_samples(metric, features, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(features, labels)


@pytest.mark.parametrize("metric", [feature_compression, feature_separation])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_any_integer_labels(metric, dtype):
    features, labels, *_ = mixture(0, [4, 5, 6], 4)
    assert metric(features, labels.to(dtype)) == metric(features, labels)


# --- separation -------------------------------------------------------------------------------


@examples
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    dim=st.integers(1, 20),
    scale=st.floats(1e-6, 1e6),
    centred=st.booleans(),
)
def test_separation_is_a_largest_cosine(seed, counts, dim, scale, centred):
    features, labels, *_ = mixture(seed, counts, dim)
    value = float(feature_separation(features, labels, centred=centred))
    assert value == pytest.approx(separation(features, labels, centred), abs=1e-9)
    scaled = feature_separation(scale * features @ rotation(seed, dim), labels, centred=centred)
    assert float(scaled) == pytest.approx(value, abs=1e-9)
    k = len(counts)
    assert -1e-12 <= value <= (1 - 1 / (k - 1) if centred else k / (k - 1)) + 1e-12
    if centred and k == 2:
        assert abs(value) < 1e-12
    if centred:
        shifted = feature_separation(features + 10, labels, centred=True)
        assert float(shifted) == pytest.approx(value, abs=1e-9)


@examples
@given(seed=SEEDS, k=st.integers(2, 12), dim=st.integers(1, 12), offset=st.floats(0, 100))
def test_centred_separation_cannot_exceed_that_of_an_etf(seed, k, dim, offset):
    means, labels, *_ = mixture(seed, [1] * k, dim, offset=offset)
    assert float(feature_separation(means, labels, centred=True)) <= 1 - 1 / (k - 1) + 1e-9


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_separation_in_closed_form(k, scale):
    generator = torch.Generator().manual_seed(k)
    basis = scale * rotation(k, k + 2)[:k]
    features, labels = isotropic(basis, 3 * scale)
    bound = 1 - 1 / (k - 1)
    assert float(feature_separation(features, labels)) == pytest.approx(1)
    centred = feature_separation(features, labels, centred=True)
    assert float(centred) == pytest.approx(bound, abs=1e-12)

    frame = scale * simplex_etf(k, k + 1, generator=generator, dtype=F64)
    assert float(feature_separation(frame, torch.arange(k))) == pytest.approx(k / (k - 1))
    centred = feature_separation(frame, torch.arange(k), centred=True)
    assert float(centred) == pytest.approx(bound, abs=1e-12)


def test_separation_of_parallel_and_opposite_means():
    parallel = torch.tensor([[1.0, 2], [3, 6], [2, -1]])
    assert float(feature_separation(parallel, torch.arange(3))) == pytest.approx(0, abs=1e-12)
    opposite = torch.tensor([[1.0, 2], [-3, -6]])
    assert float(feature_separation(opposite, torch.arange(2))) == pytest.approx(2)
    centred = feature_separation(opposite, torch.arange(2), centred=True)
    assert float(centred) == pytest.approx(0, abs=1e-12)
    # Two pairs of opposite means at right angles: the sign decides.
    cross = torch.tensor([[1.0, 0], [-2, 0], [0, 1], [0, -1]])
    assert float(feature_separation(cross, torch.arange(4))) == pytest.approx(1)
    cross = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    centred = feature_separation(cross, torch.arange(4), centred=True)
    assert float(centred) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("features", "centred"),
    [
        (torch.tensor([[1.0, 2], [-1, -2], [3, 4], [3, 4]]), False),
        (torch.ones(4, 2), True),
        (torch.zeros(4, 2), False),
    ],
)
def test_a_zero_mean_has_no_direction(features, centred):
    with pytest.raises(ValueError, match="class mean is zero"):
        feature_separation(features, LABELS, centred=centred)


# --- the law ----------------------------------------------------------------------------------


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
    "arguments",
    [(0.0, 2, 1), (-0.1, 2, 1), (0.1, 1, 1), (0.1, 2, 0), (0.1, 2, 1, 0.0), (0.1, 2, 1, -1.0)],
)
def test_predicted_decay_out_of_range(arguments):
    with pytest.raises(ValueError, match="need scale > 0, depth >= 2"):
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
        (torch.ones(2, 3), torch.ones(2, 3), 3, r"d >= 2K, got \(2, 3\) and \(2, 3\)"),
        (torch.ones(2, 6), torch.ones(2, 5), 3, r"\(2, 6\) and \(2, 5\)"),
        (torch.ones(2, 6), torch.ones(3, 6), 3, r"\(2, 6\) and \(3, 6\)"),
        (torch.ones(6), torch.ones(6), 3, "first_head must be"),
        (torch.ones(2, 6), torch.ones(2, 6).long(), 3, "last_head must be a floating-point"),
        (torch.ones(2, 6), torch.ones(2, 6) / 0, 3, "last_head must be finite"),
        (torch.eye(2, 6), torch.eye(2, 6), 1, "depth must be at least 2, got 1"),
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
    path = gradient_descent(
        weights, features, targets, lr=lr, steps=5000, record_every=[], tol=1e-12
    )
    assert path.losses[-1] <= 1e-12
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


# --- linear probes ----------------------------------------------------------------------------


def probe_data(seed, noise, sizes=(60, 90, 40), dim=5):
    rng = np.random.default_rng(seed)
    means, scales = rng.normal(size=(len(sizes), dim)), 10.0 ** rng.uniform(-3, 3, dim)

    def draw(sizes):
        labels = blocks(list(sizes))
        features = means[labels] + noise * rng.normal(size=(len(labels), dim))
        return torch.from_numpy(scales * (features + 3)), labels

    return (*draw(sizes), *draw([200] * len(sizes)))


def sklearn_predictions(train_features, train_labels, test_features, weight_decay):
    """The same optimum: a column of ones in place of an intercept puts the penalty on it, too."""
    known, new = np.asarray(train_features), np.asarray(test_features)
    new = (new - known.mean(0)) / known.std(0)
    known = (known - known.mean(0)) / known.std(0)
    solver = LogisticRegression(
        C=1 / (weight_decay * len(known)), fit_intercept=False, tol=1e-10, max_iter=10_000
    )
    known, new = (np.hstack([x, np.ones((len(x), 1))]) for x in (known, new))
    return torch.from_numpy(solver.fit(known, np.asarray(train_labels)).predict(new))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("weight_decay", [1e-3, 0.1, 1.0])
def test_probe_finds_the_optimum_of_logistic_regression(seed, noise, weight_decay):
    features, labels, new, truth = probe_data(seed, noise)
    predicted = sklearn_predictions(features, labels, new, weight_decay)

    def accuracy(reference, **options):
        return linear_probe_accuracy(features, labels, new, reference, **options)

    assert accuracy(predicted, weight_decay=weight_decay) == 1.0
    expected = (predicted == truth).double().mean().item()
    assert accuracy(truth, weight_decay=weight_decay) == expected
    if weight_decay == 1e-3:
        assert accuracy(truth) == expected
    if weight_decay == 1.0 and noise == 3.0:  # else the test could not tell penalties apart
        assert accuracy(predicted, weight_decay=1e-3) < 1.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("weight_decay", [1e-3, 1e-4])
def test_probe_finds_the_optimum_in_many_correlated_dimensions(seed, weight_decay):
    rng, k, dim = np.random.default_rng(seed), 6, 40
    mixing = rng.normal(size=(dim, dim)) / np.arange(1, dim + 1)[:, None] ** 3.0
    means = rng.normal(size=(k, dim))
    labels, new_labels = blocks([50] * k), blocks([200] * k)
    features, new = (
        torch.from_numpy((means[y] + 1.5 * rng.normal(size=(len(y), dim))) @ mixing)
        for y in (labels, new_labels)
    )
    predicted = sklearn_predictions(features, labels, new, weight_decay)
    accuracy = linear_probe_accuracy(features, labels, new, predicted, weight_decay=weight_decay)
    assert accuracy >= 1 - 2 / len(new)  # one or two may lie on a boundary


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e3), (1e-4, 0.0), (-1e5, -7.0)])
def test_probe_does_not_see_shift_and_scale(seed, scale, shift):
    features, labels, new, _ = probe_data(seed, 1.0)
    predicted = sklearn_predictions(features, labels, new, 1e-3)
    moved = linear_probe_accuracy(scale * features + shift, labels, scale * new + shift, predicted)
    assert moved == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_probe_of_separable_classes(dtype):
    features, labels = isotropic(100 * simplex_etf(4, 6, dtype=dtype), 1.0)
    assert linear_probe_accuracy(features, labels, features, labels) == 1.0
    assert linear_probe_accuracy(features, labels.int(), features, (labels + 1) % 4) == 0.0


def test_probe_of_constant_features_predicts_the_majority():
    labels = blocks([3, 5, 2])
    new, truth = torch.randn(10, 4), blocks([2, 4, 4])
    assert linear_probe_accuracy(torch.ones(10, 4), labels, new, truth) == 0.4
    # A constant column, or one that varies only in the test set, does not count.
    features, labels, new, truth = probe_data(0, 1.0)
    accuracy = linear_probe_accuracy(features, labels, new, truth)
    padded = torch.cat([features, torch.ones(len(features), 1)], 1)
    varying = torch.cat([new, 100 * torch.arange(len(new))[:, None]], 1)
    assert linear_probe_accuracy(padded, labels, varying, truth) == accuracy


def test_probe_may_miss_classes_in_the_test_set():
    features, labels = isotropic(100 * simplex_etf(4, 6), 1.0)
    one = labels == 2
    assert linear_probe_accuracy(features, labels, features[one], labels[one]) == 1.0


@pytest.mark.parametrize(
    ("features", "labels", "new", "truth", "message"),
    [
        (GOOD, LABELS, GOOD, LABELS + 1, r"0 \.\. 1, got 1 \.\. 2"),
        (GOOD, LABELS, GOOD, LABELS - 1, r"0 \.\. 1, got -1 \.\. 0"),
        (GOOD, LABELS - 1, GOOD, LABELS, r"0 \.\. K - 1, got -1 \.\. 0"),
        (GOOD, LABELS[:3], GOOD, LABELS, r"shape \(4,\)"),
        (GOOD, LABELS, GOOD, LABELS[:3], r"shape \(4,\)"),
        (GOOD, LABELS, GOOD[:, :1], LABELS, "must agree"),
        (GOOD[0], LABELS, GOOD, LABELS, r"\(N, d\)"),
        (GOOD, LABELS, GOOD[None], LABELS, r"\(N, d\)"),
        (GOOD, LABELS.float(), GOOD, LABELS, "must be integers"),
        (GOOD[:0], LABELS[:0], GOOD, LABELS, "at least one sample"),
        (GOOD, LABELS, GOOD[:0], LABELS[:0], "at least one sample"),
        (spoilt(torch.nan), LABELS, GOOD, LABELS, "must be finite"),
        (GOOD, LABELS, spoilt(torch.inf), LABELS, "must be finite"),
    ],
)
def test_probe_errors(features, labels, new, truth, message):
    with pytest.raises(ValueError, match=message):
        linear_probe_accuracy(features, labels, new, truth)


def test_probe_works_without_gradients():
    features, labels, new, truth = probe_data(0, 1.0)
    accuracy = linear_probe_accuracy(features, labels, new, truth)
    with torch.no_grad():
        assert linear_probe_accuracy(features, labels, new, truth) == accuracy


def test_probe_takes_features_with_a_graph():
    (inputs, labels), network = batch(), NETWORKS["plain"]()
    features = network.features(inputs)
    detached = linear_probe_accuracy(features.detach(), labels, features.detach(), labels)
    assert linear_probe_accuracy(features, labels, features, labels) == detached
    assert all(parameter.grad is None for parameter in network.parameters())


# --- profiles ---------------------------------------------------------------------------------


def batch(shape=(1, 4, 4), n=24, k=4):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(n) % k


NETWORKS = {
    "plain": lambda: MLP([16, 12, 10, 8, 4]),
    "hybrid": lambda: MLP([16, 12, 10, 8, 4], batch_norm=True, linear_tail=2),
    "transformer": lambda: ViT((1, 4, 4), 4, patch=2, dim=8, depth=3),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_profile_counts_layers_from_the_flattened_input(name, training):
    torch.manual_seed(0)
    (inputs, labels), network = batch(), NETWORKS[name]()
    network.train()
    network.taps(inputs)  # statistics of the batch norm move away from their start
    network.train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    profile = layer_profile(network, inputs, labels)

    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    network.eval()
    layers = [inputs.flatten(1), *network.taps(inputs)]
    assert len(layers) == 4
    assert list(profile) == ["D", "S", "nc1"]
    metrics = {"D": feature_compression, "S": feature_separation, "nc1": nc1}
    for key, metric in metrics.items():
        assert all(type(value) is float for value in profile[key])
        expected = [float(metric(layer.detach(), labels)) for layer in layers]
        assert profile[key] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_profile_of_own_metrics(name):
    (inputs, labels), network, seen = batch(), NETWORKS[name]().train(), []

    def width(features, classes):
        seen.append(features)
        assert torch.equal(classes, labels)
        return features.shape[1]

    profile = layer_profile(network, inputs, labels, {"width": width, "half": lambda *_: 0.5})
    widths = [16, 8, 8, 8] if name == "transformer" else [16, 12, 10, 8]
    assert profile == {"width": widths, "half": [0.5] * 4}
    assert all(type(value) is float for value in profile["width"])
    assert torch.equal(seen[0], inputs.flatten(1))
    assert not any(features.requires_grad for features in seen)


def test_profile_of_a_function_alone():
    class Doubling(nn.Module):
        def taps(self, inputs):
            return [2 * inputs.flatten(1), torch.zeros(len(inputs), 3)]

    inputs, labels = batch((2, 3))
    profile = layer_profile(Doubling(), inputs, labels, {"norm": lambda x, _: x.norm()})
    norm = float(inputs.norm())
    assert profile["norm"] == pytest.approx([norm, 2 * norm, 0])


@pytest.mark.parametrize("training", [True, False])
def test_profile_leaves_the_network_as_it_was_if_a_metric_raises(training):
    (inputs, _), network = batch(), NETWORKS["hybrid"]().train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"none: \[1\]"):
        layer_profile(network, inputs, 2 * (torch.arange(24) % 2))
    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# --- corner cases ---------------------------------------------------------------------------------


def test_profile_leaves_the_network_as_it_was_if_the_inputs_do_not_fit():
    network = NETWORKS["hybrid"]().train()
    with pytest.raises(RuntimeError):
        layer_profile(network, torch.randn(4, 7), LABELS)
    assert network.training


def test_profile_keeps_frozen_layers_frozen():
    (inputs, labels), network = batch(), NETWORKS["hybrid"]().train()
    network.hidden[0].eval()
    layer_profile(network, inputs, labels)
    assert network.training and not network.hidden[0].training


def test_probe_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    linear_probe_accuracy(GOOD, LABELS, GOOD, LABELS)
    assert torch.equal(state, torch.get_rng_state())


def test_decay_correction_where_nothing_is_left():
    first = torch.eye(2, 4)
    factors = decay_correction(first, first.roll(2, dims=1), 4)
    assert ((factors >= 0) & (factors <= 1)).all()


def test_separation_is_not_negative():
    means = torch.tensor([[0.1, 0.7], [0.2, 1.4], [0.3, 2.1]], dtype=F64)
    assert feature_separation(means, torch.arange(3)) >= 0


def test_a_mean_that_is_zero_to_rounding_has_no_direction():
    means = torch.tensor([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]], dtype=F64)
    with pytest.raises(ValueError, match="class mean is zero"):
        feature_separation(means, torch.arange(3), centred=True)
