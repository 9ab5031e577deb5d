"""Compression and separation against textbook versions and closed forms."""

import numpy as np
import pytest
import torch
from helpers import F64, GOOD, LABELS, SEEDS, blocks, examples, isotropic, mixture, rotation, spoilt
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.metrics import simplex_etf
from lecturelib.progressive_separation import feature_compression, feature_separation


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


# --- compression ------------------------------------------------------------------------------


@examples(60)
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


@examples(60)
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
        (GOOD, torch.tensor([0, 0, 2, 2]), r"every class 0 .. 2, got none of \[1\]"),
        (GOOD, torch.tensor([0, 0, 1, -1]), "labels must not be negative, got -1"),
        (GOOD, LABELS.float(), "labels must be an integer tensor"),
        (GOOD, LABELS * 0, "labels must be of two classes or more"),
        (GOOD, LABELS[:3], r"labels must be an integer tensor of shape \(4,\)"),
        (GOOD[0], LABELS, r"features must be .* of shape \(N, d\)"),
        (GOOD.long(), LABELS, "features must be a floating-point tensor"),
        (GOOD[:0], LABELS[:0], r"features must be .* of shape \(N, d\)"),
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


@pytest.mark.parametrize("metric", [feature_compression, feature_separation])
def test_arrays_are_taken_for_tensors(metric):
    features, labels, *_ = mixture(0, [4, 5, 6], 4)
    assert metric(features.numpy(), labels.numpy()) == metric(features, labels)


# --- separation -------------------------------------------------------------------------------


@examples(60)
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


@examples(60)
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
    with pytest.raises(ValueError, match="features must have class means other than zero"):
        feature_separation(features, LABELS, centred=centred)


def test_separation_is_not_negative():
    means = torch.tensor([[0.1, 0.7], [0.2, 1.4], [0.3, 2.1]], dtype=F64)
    assert feature_separation(means, torch.arange(3)) >= 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_mean_that_is_zero_to_rounding_has_no_direction(scale):
    means = scale * torch.tensor([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]], dtype=F64)
    with pytest.raises(ValueError, match="features must have class means other than zero"):
        feature_separation(means, torch.arange(3), centred=True)
