"""The metrics against a textbook version, closed forms and bad numerics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lecturelib.metrics import (
    ClassStatistics,
    nc1,
    nc2,
    nc3,
    nc4,
    simplex_etf,
)

SEEDS = st.integers(0, 2**32 - 1)
examples = settings(max_examples=60, deadline=None, derandomize=True)
F64 = torch.float64


def blocks(counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def mixture(seed, counts, dim, *, noise=1.0, offset=0.0, dtype=F64):
    """Gaussian classes around Gaussian means, in random order; also a classifier and a bias."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64)

    labels = blocks(counts)[torch.randperm(sum(counts), generator=generator)]
    means = normal(len(counts), dim) + offset * normal(dim)
    features = means[labels] + noise * normal(len(labels), dim)
    return features.to(dtype), labels, normal(len(counts), dim), normal(len(counts))


def isotropic(means, scale):
    """2d samples per class whose within-class scatter is exactly scale² I."""
    steps = scale * means.shape[1] ** 0.5 * torch.eye(means.shape[1], dtype=means.dtype)
    features = means[:, None] + torch.cat([steps, -steps])
    return features.flatten(0, 1), blocks([features.shape[1]] * len(means))


def spreads(features, labels):
    """Tr Σ_W, and Σ_B in full, from the class statistics."""
    statistics = ClassStatistics.from_features(features, labels)
    within = (features - statistics.means[labels]).square().sum() / len(features)
    centred = statistics.centred_means
    return within, centred.T @ centred / len(centred)


class Textbook:
    """The formulas as they are printed: class loop, d x d matrices, every distance."""

    def __init__(self, features, labels, classifier, bias):
        x, y = np.asarray(features, np.float64), np.asarray(labels)
        w, b = np.asarray(classifier, np.float64), np.asarray(bias, np.float64)
        k = len(w)
        means = np.stack([x[y == c].mean(0) for c in range(k)])
        centred = means - means.mean(0)
        sigma_w = sum((x[y == c] - means[c]).T @ (x[y == c] - means[c]) for c in range(k)) / len(x)
        sigma_b = sum(np.outer(m, m) for m in centred) / k
        self.nc1 = np.trace(sigma_w @ np.linalg.pinv(sigma_b, rcond=1e-12, hermitian=True))
        self.nc2 = self.distance(centred @ centred.T)
        self.nc3 = self.distance(w @ centred.T)
        nearest = np.linalg.norm(x[:, None] - means, axis=2).argmin(1)
        self.nc4 = np.mean((x @ w.T + b).argmax(1) != nearest)

    @staticmethod
    def distance(gram):
        k = len(gram)
        target = (np.eye(k) - np.ones((k, k)) / k) / np.sqrt(k - 1)
        return np.linalg.norm(gram / np.linalg.norm(gram) - target)


def one_shot(features, labels, classifier):
    statistics = ClassStatistics.from_features(features, labels, len(classifier))
    return {
        "nc1": nc1(features, labels),
        "nc2": nc2(statistics.centred_means),
        "nc3": nc3(classifier, statistics.means),
    }


def assert_same(measured, expected, rel=1e-6):
    assert {name: float(value) for name, value in measured.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=rel, abs=1e-13
    )


# --- values -----------------------------------------------------------------------------------


@examples
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    dim=st.integers(1, 12),
    offset=st.floats(0, 1e3),
)
def test_agrees_with_the_textbook(seed, counts, dim, offset):
    features, labels, classifier, bias = mixture(seed, counts, dim, offset=offset)
    textbook = Textbook(features, labels, classifier, bias)
    statistics = ClassStatistics.from_features(features, labels)
    assert float(nc1(features, labels)) == pytest.approx(textbook.nc1, rel=1e-6, abs=1e-9)
    assert float(nc2(statistics.centred_means)) == pytest.approx(textbook.nc2, rel=1e-6, abs=1e-9)
    assert float(nc3(classifier, statistics.means)) == pytest.approx(
        textbook.nc3, rel=1e-6, abs=1e-9
    )
    assert float(nc4(features, labels, classifier, bias)) == pytest.approx(textbook.nc4)


@pytest.mark.parametrize(
    ("k", "dim", "a", "s"), [(2, 1, 3.0, 0.5), (4, 3, 0.1, 2.0), (7, 12, 5, 1)]
)
def test_etf_with_isotropic_noise(k, dim, a, s):
    generator = torch.Generator().manual_seed(1)
    frame = a * simplex_etf(k, dim, generator=generator, dtype=F64)
    features, labels = isotropic(frame, s)
    within, between = spreads(features, labels)
    assert float(nc1(features, labels)) == pytest.approx((s * (k - 1) / a) ** 2, rel=1e-10)
    assert float(within / between.trace()) == pytest.approx(dim * (s / a) ** 2, rel=1e-10)
    spectrum = torch.tensor([0.0] * (dim - k + 1) + [a**2 / (k - 1)] * (k - 1), dtype=F64)
    torch.testing.assert_close(torch.linalg.eigvalsh(between), spectrum, rtol=1e-10, atol=1e-12)


def test_etf_with_sampled_noise():
    k, dim, n, a, s = 5, 8, 2000, 2.0, 0.1
    noise = s * torch.randn(k, n, dim, generator=torch.Generator().manual_seed(0), dtype=F64)
    means = a * simplex_etf(k, dim, dtype=F64)
    features = (means[:, None] + noise - noise.mean(1, keepdim=True)).flatten(0, 1)
    expected = (n - 1) / n * (s * (k - 1) / a) ** 2
    four_sigma = 4 * (2 / (k * (k - 1) * (n - 1))) ** 0.5
    assert float(nc1(features, blocks([n] * k))) == pytest.approx(expected, rel=four_sigma)


@pytest.mark.parametrize(("k", "n"), [(2, 3), (5, 10)])
def test_orthonormal_inputs(k, n):
    features, labels = torch.eye(k * n, dtype=F64), blocks([n] * k)
    within, between = spreads(features, labels)
    assert float(within / between.trace()) == pytest.approx((n - 1) * k / (k - 1), rel=1e-13)
    assert 0 <= float(nc1(features, labels)) < 1e-28


def test_nc4_counts_rows():
    features = torch.tensor([[2.0, 0], [2, 1], [-2, 0], [-2, 1]])
    labels = torch.tensor([0, 0, 1, 1])
    agreeing = torch.tensor([[1.0, 0], [-1, 0]])
    assert nc4(features, labels, agreeing) == 0
    assert nc4(features, labels, -agreeing) == 1
    assert nc4(features, labels, agreeing, torch.tensor([5.0, 0])) == 0.5


def test_bounds_are_attained():
    frame = simplex_etf(6, 9, generator=torch.Generator().manual_seed(3), dtype=F64)
    assert nc2(5 * frame) < 1e-13
    assert nc3(frame, 3 * frame + 7) < 1e-13
    assert float(nc3(-frame, frame)) == pytest.approx(2, rel=1e-13)


# --- invariances and precision ----------------------------------------------------------------


@examples
@given(seed=SEEDS, scale=st.floats(1e-6, 1e6), k=st.integers(2, 6), dim=st.integers(1, 9))
def test_invariances(seed, scale, k, dim):
    features, labels, *_ = mixture(seed, [7] * k, dim)
    rng = np.random.default_rng(seed)
    rotation = torch.linalg.qr(torch.from_numpy(rng.normal(size=(dim, dim)))).Q
    shift = 10 * torch.from_numpy(rng.normal(size=dim))
    rows, classes = torch.from_numpy(rng.permutation(7 * k)), torch.from_numpy(rng.permutation(k))
    value = pytest.approx(float(nc1(features, labels)), rel=1e-7)
    assert float(nc1(scale * (features @ rotation + shift), labels)) == value
    assert float(nc1(features[rows], classes[labels[rows]])) == value
    means = ClassStatistics.from_features(features, labels).centred_means
    assert float(nc2(scale * means[classes] @ rotation)) == pytest.approx(float(nc2(means)))


@pytest.mark.parametrize("offset", [0.0, 10.0, 300.0])
@pytest.mark.parametrize("seed", range(3))
def test_collapsed_float32_features_keep_their_digits(seed, offset):
    features, labels, classifier, bias = mixture(
        seed, [40, 30, 50, 20], 64, noise=1e-5, offset=offset, dtype=torch.float32
    )
    value = float(nc1(features, labels))
    assert value == pytest.approx(float(nc1(features.double(), labels)), rel=1e-6)
    assert value == pytest.approx(Textbook(features, labels, classifier, bias).nc1, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features(dtype):
    features, labels, classifier, _ = mixture(0, [300, 400, 500], 16, offset=1.0, dtype=dtype)
    exact = features.double(), labels, classifier
    assert_same(one_shot(features, labels, classifier), one_shot(*exact))
    assert nc4(features, labels, classifier) == nc4(*exact)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_any_integer_labels(dtype):
    features, labels, classifier, _ = mixture(0, [4, 5, 6], 4)
    assert nc1(features, labels.to(dtype)) == nc1(features, labels)
    assert nc4(features, labels.to(dtype), classifier) == nc4(features, labels, classifier)


@pytest.mark.parametrize("height", [1e-3, 1e-6, 1e-9])
def test_nearly_collinear_means_lose_no_direction(height):
    means = torch.tensor([[0, 0], [1, 0], [0, height]], dtype=F64)
    noise = 1e-6 * height
    variances = np.linalg.svd(means - means.mean(0), compute_uv=False) ** 2 / 3
    expected = noise**2 * (1 / variances).sum()
    assert float(nc1(*isotropic(means, noise))) == pytest.approx(expected, rel=1e-6)


def test_infinite_where_all_class_means_coincide():
    features = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    assert nc1(features, torch.tensor([0, 0, 1, 1])) == torch.inf


class LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_no_square_matrix_of_the_dimension():
    n, dim = 200, 100_000
    features = torch.randn(n, dim, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with LargestTensor() as largest:
        nc1(features, torch.arange(n) % 3).backward()
    assert n * dim <= largest.elements < 2 * n * dim
    assert features.grad.isfinite().all()


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "dim"), [(3, 5), (3, 2), (5, 2)])
def test_gradients(k, dim):
    features, labels, classifier, _ = mixture(4, [3] * k, dim)
    inputs = features.requires_grad_(), classifier.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nc1(x, labels), inputs[:1])
    assert torch.autograd.gradcheck(nc2, inputs[1:])
    assert torch.autograd.gradcheck(
        lambda x, w: nc3(w, ClassStatistics.from_features(x, labels).means), inputs
    )


def test_gradient_at_an_exact_etf():
    features, labels = isotropic(simplex_etf(4, 3, dtype=F64), 0.3)
    assert torch.autograd.gradcheck(lambda x: nc1(x, labels), features.requires_grad_())


@pytest.mark.parametrize("noise", [1.0, 1e-6, 0.0])
def test_float32_gradients_are_finite(noise):
    features, labels, classifier, _ = mixture(0, [6, 7, 8], 5, noise=noise, dtype=torch.float32)
    features.requires_grad_()
    sum(one_shot(features, labels, classifier).values()).backward()
    assert features.grad.dtype == torch.float32 and features.grad.isfinite().all()
    assert (features.grad != 0).any()


# --- simplex ETF and class statistics ---------------------------------------------------------


@pytest.mark.parametrize(("k", "dim"), [(2, 1), (2, 3), (5, 4), (5, 11)])
@pytest.mark.parametrize("seed", [None, 0])
def test_simplex_etf_geometry(k, dim, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    frame = simplex_etf(k, dim, generator=generator, dtype=F64)
    gram = (k * torch.eye(k, dtype=F64) - 1) / (k - 1)
    torch.testing.assert_close(frame @ frame.T, gram, rtol=0, atol=1e-14)
    assert frame.shape == (k, dim) and frame.sum(0).abs().max() < 1e-14


def test_simplex_etf_orientation():
    def draw(seed):
        return simplex_etf(3, 4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(0), draw(0)) and not torch.allclose(draw(0), draw(1))
    generator, dim = torch.Generator().manual_seed(0), 4
    frames = torch.stack([simplex_etf(3, dim, generator=generator) for _ in range(2000)])
    assert frames.mean(0).abs().max() < 5 * (1 / dim / 2000) ** 0.5
    spread = (2 * (dim - 1) / (dim**2 * (dim + 2)) / 2000) ** 0.5
    assert (frames[..., 0].square().mean(0) - 1 / dim).abs().max() < 5 * spread


def test_simplex_etf_dtype_and_device():
    assert simplex_etf(3, 2).dtype == torch.get_default_dtype()
    assert simplex_etf(3, 2, dtype=F64, device="meta").device.type == "meta"
    half = simplex_etf(3, 2, generator=torch.Generator(), dtype=torch.float16)
    assert half.dtype == torch.float16


@pytest.mark.parametrize(
    ("k", "dim", "message"), [(1, 3, "num_classes >= 2"), (5, 3, "at least 4")]
)
def test_simplex_etf_errors(k, dim, message):
    with pytest.raises(ValueError, match=message):
        simplex_etf(k, dim)


def test_class_statistics_of_unbalanced_classes():
    features = torch.tensor([[0.0, 0], [2, 0], [4, 3], [4, 9], [4, 0]])
    statistics = ClassStatistics.from_features(features, torch.tensor([0, 0, 1, 1, 1]), 2)
    assert statistics.counts.tolist() == [2, 3] and statistics.counts.dtype == torch.int64
    assert statistics.means.tolist() == [[1, 0], [4, 4]] and statistics.means.dtype == F64
    assert statistics.global_mean.tolist() == [2.5, 2]
    assert statistics.centred_means.tolist() == [[-1.5, -2], [1.5, 2]]


# --- errors -----------------------------------------------------------------------------------

GOOD, LABELS = torch.arange(8.0).reshape(4, 2) ** 2, torch.tensor([0, 0, 1, 1])


def spoilt(value):
    features = GOOD.clone()
    features[1, 1] = value
    return features


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD, torch.tensor([0, 0, 2, 2]), r"none: \[1\]"),
        (GOOD, torch.tensor([0, 0, 1, -1]), r"0 \.\. .*, got -1 \.\. 1"),
        (GOOD, LABELS.float(), "must be integers, got torch.float32"),
        (GOOD, LABELS.bool(), "must be integers, got torch.bool"),
        (GOOD, LABELS * 0, "at least 2, got 1"),
        (spoilt(torch.nan), LABELS, "features must be finite"),
        (spoilt(torch.inf), LABELS, "features must be finite"),
        (spoilt(-torch.inf), LABELS, "features must be finite"),
        (GOOD[0], LABELS, r"\(N, d\) with d >= 1, got .*\(2,\)"),
        (GOOD[None], LABELS, r"\(N, d\) with d >= 1, got .*\(1, 4, 2\)"),
        (GOOD.long(), LABELS, "floating-point .* got torch.int64"),
        (GOOD, LABELS[:, None], r"labels must have shape \(4,\).*\(4, 1\)"),
        (GOOD, LABELS[:3], r"labels must have shape \(4,\).*\(3,\)"),
        (GOOD[:0], LABELS[:0], "at least one sample"),
    ],
)
def test_bad_samples(features, labels, message):
    with pytest.raises(ValueError, match=message):
        nc1(features, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClassStatistics.from_features(GOOD, LABELS, 4), r"none: \[2, 3\]"),
        (lambda: ClassStatistics.from_features(GOOD, LABELS, 1), r"0 \.\. 0, got 0 \.\. 1"),
        (lambda: nc4(GOOD, LABELS + 1, torch.eye(2)), r"0 \.\. 1, got 1 \.\. 2"),
        (lambda: nc2(GOOD[:1]), "vectors must be .* K >= 2"),
        (lambda: nc2(GOOD[0]), "vectors must be"),
        (lambda: nc2(spoilt(torch.nan)), "vectors must be finite"),
        (lambda: nc2(0 * GOOD), "are zero"),
        (lambda: nc3(GOOD, GOOD[:3]), r"\(4, 2\) and \(3, 2\)"),
        (lambda: nc3(GOOD.long(), GOOD), "classifier must be a floating-point"),
        (lambda: nc3(GOOD, spoilt(torch.inf)), "class_means must be finite"),
        (lambda: nc3(GOOD, torch.ones(4, 2)), "are zero"),
        (lambda: nc4(GOOD, LABELS, torch.ones(2, 3)), r"\(2, 2\) .* got \(2, 3\)"),
        (lambda: nc4(GOOD, LABELS, torch.ones(3, 2)), r"none: \[2\]"),
        (lambda: nc4(GOOD, LABELS, torch.eye(2), torch.ones(3)), r"\(2,\), got \(3,\)"),
        (lambda: nc4(GOOD, LABELS, torch.eye(2), torch.ones(2, 1)), r"\(2,\), got \(2, 1\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
