"""The measures against a textbook version, closed forms and bad numerics."""

import re

import numpy as np
import pytest
import torch
from helpers import (
    F64,
    SEEDS,
    Textbook,
    blocks,
    close,
    examples,
    isotropic,
    mixture,
    normal,
    source,
    spreads,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lecturelib.metrics import (
    ClassStatistics,
    bias_measure,
    cdnv,
    cosines,
    equiangularity,
    equinorm,
    maximal_angle,
    nc1,
    nc2,
    nc3,
    nc4,
    simplex_etf,
)

FEATURES = {"nc1": nc1, "cdnv": cdnv}
VECTORS = {
    "nc2": nc2,
    "equinorm": equinorm,
    "equiangularity": equiangularity,
    "maximal_angle": maximal_angle,
}


def one_shot(features, labels, classifier, bias):
    """Every measure of the features, their centred means and the classifier."""
    statistics = ClassStatistics.from_features(features, labels, len(classifier))
    measured = {name: measure(features, labels) for name, measure in FEATURES.items()}
    measured |= {name: measure(statistics.centred_means) for name, measure in VECTORS.items()}
    return measured | {
        "nc2_classifier": nc2(classifier),
        "nc3": nc3(classifier, statistics.means),
        "nc4": nc4(features, labels, classifier, bias),
        "bias_measure": bias_measure(classifier, bias, statistics.global_mean),
    }


def assert_same(measured, expected, rel=1e-6):
    assert {name: float(value) for name, value in measured.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=rel, abs=1e-13
    )


# --- values -----------------------------------------------------------------------------------


@examples(60)
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    dim=st.integers(1, 12),
    offset=st.floats(0, 1e3),
)
def test_every_measure_agrees_with_the_textbook(seed, counts, dim, offset):
    data = mixture(seed, counts, dim, offset=offset)
    measured, textbook = one_shot(*data), vars(Textbook(*data))
    assert measured.keys() == textbook.keys()
    for name, value in measured.items():
        assert value.shape == () and value.dtype == F64, name
        assert float(value) == pytest.approx(textbook[name], rel=1e-6, abs=1e-9), name


@examples(30)
@given(seed=SEEDS, dim=st.integers(1, 6))
def test_class_variances_and_the_whitener_agree_with_the_textbook(seed, dim):
    features, labels, *_ = mixture(seed, [4, 7, 9, 5], dim, offset=3.0)
    statistics = ClassStatistics.from_features(features, labels)
    scatters = []
    for k in range(4):
        rows = features[labels == k] - features[labels == k].mean(0)
        scatters.append(rows.T @ rows / len(rows))
    traces = torch.stack([scatter.trace() for scatter in scatters])
    close(statistics.variances(features, labels), traces)
    whitener = statistics.whitener
    assert whitener.shape == (3, dim)
    centred = statistics.centred_means
    inverse = torch.linalg.pinv(centred.T @ centred / 4, hermitian=True, rtol=1e-12)
    torch.testing.assert_close(whitener.T @ whitener, inverse, rtol=1e-6, atol=1e-9)
    whitened = torch.stack([(inverse @ scatter).trace() for scatter in scatters])
    found = statistics.variances(features, labels, whitener)
    torch.testing.assert_close(found, whitened, rtol=1e-6, atol=1e-9)


def test_variances_of_other_samples_are_around_the_means_given():
    features = torch.tensor([[0.0, 0], [2, 0], [5, 5]])
    statistics = ClassStatistics.from_features(features, torch.tensor([0, 0, 1]))
    others, classes = torch.tensor([[4.0, 4], [1, 3], [5, 9]]), torch.tensor([0, 0, 1])
    assert statistics.variances(others, classes).tolist() == [(9 + 16 + 9) / 2, 16]
    second = torch.tensor([[0.0, 1.0]])
    assert statistics.variances(others, classes, second).tolist() == [(16 + 9) / 2, 16]
    assert statistics.variances(others, classes, second.numpy()).tolist() == [12.5, 16]


def test_class_means_coincide_only_if_all_do():
    features, labels = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 4]]), torch.tensor([0, 0, 1, 1])
    assert ClassStatistics.from_features(features, labels).coincide
    features[3, 0] += 1e-6
    assert not ClassStatistics.from_features(features, labels).coincide
    three = torch.tensor([0, 1, 2, 2])
    assert not ClassStatistics.from_features(features[[0, 0, 1, 1]], three).coincide


def test_statistics_move_together():
    statistics = ClassStatistics.from_features(torch.eye(3), torch.arange(3)).to("meta")
    assert type(statistics) is ClassStatistics
    moved = (statistics.counts, statistics.means, statistics.global_mean)
    assert {tensor.device.type for tensor in moved} == {"meta"}


@pytest.mark.parametrize(
    ("k", "dim", "a", "s"), [(2, 1, 3.0, 0.5), (4, 3, 0.1, 2.0), (7, 12, 5, 1)]
)
def test_etf_with_isotropic_noise(k, dim, a, s):
    generator = source(1)
    frame = a * simplex_etf(k, dim, generator=generator, dtype=F64)
    features, labels = isotropic(frame, s)
    within, between = spreads(features, labels)
    assert float(nc1(features, labels)) == pytest.approx((s * (k - 1) / a) ** 2, rel=1e-10)
    assert float(within / between.trace()) == pytest.approx(dim * (s / a) ** 2, rel=1e-10)
    spectrum = torch.tensor([0.0] * (dim - k + 1) + [a**2 / (k - 1)] * (k - 1), dtype=F64)
    torch.testing.assert_close(torch.linalg.eigvalsh(between), spectrum, rtol=1e-10, atol=1e-12)


def test_etf_with_sampled_noise():
    k, dim, n, a, s = 5, 8, 2000, 2.0, 0.1
    noise = s * torch.randn(k, n, dim, generator=source(0), dtype=F64)
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


def test_nc4_of_new_samples_takes_the_means_of_the_old_ones():
    classifier = torch.tensor([[1.0, 0], [-1, 0]])
    features, labels = (
        torch.tensor([[3.0, 0], [1, 5], [-1, 2], [-2, 0]]),
        torch.tensor([0, 1, 0, 1]),
    )
    # Their own means, (1, 1) and (-0.5, 2.5), disagree with the classifier on one of them.
    assert nc4(features, labels, classifier) == 0.25
    assert nc4(features, labels, classifier, means=10 * classifier) == 0
    assert nc4(features, labels, classifier, means=-classifier) == 1
    assert nc4(features, labels, classifier, torch.tensor([0.0, 2.5]), means=classifier) == 0.25
    # Where the means are given the labels count for nothing, and a class may be absent.
    assert nc4(features, 0 * labels, classifier, means=classifier.double()) == 0


def test_nc4_is_the_same_however_many_features_fit_into_the_cache():
    means = normal(0, 3, 2048)
    features = means[torch.arange(1200) % 3] + 25 * normal(1, 1200, 2048)
    labels, classifier = torch.arange(1200) % 3, normal(2, 3, 2048)
    distances = torch.cdist(features, means)
    expected = ((features @ classifier.T).argmax(1) != distances.argmin(1)).double().mean()
    assert 0 < expected < 1
    close(nc4(features, labels, classifier, means=means), expected)


def test_cdnv_by_hand():
    # Two classes on a line: variances 1 and 4, distance 10.
    features = torch.tensor([[-1.0], [1], [8], [12]])
    labels = torch.tensor([0, 0, 1, 1])
    assert float(cdnv(features, labels)) == pytest.approx((1 + 4) / (2 * 100))
    # A third class without variance at the same distance from the second.
    features, labels = torch.cat([features, torch.tensor([[20.0]])]), torch.tensor([0, 0, 1, 1, 2])
    pairs = [(1 + 4) / 200, 1 / 800, 4 / 200]
    assert float(cdnv(features, labels)) == pytest.approx(sum(pairs) / 3)
    # Noise orthogonal to the means, of which nc1 sees nothing.
    flat = torch.tensor([[0.0, 1], [0, -1], [1, 1], [1, -1]], dtype=F64)
    labels = torch.tensor([0, 0, 1, 1])
    assert nc1(flat, labels) == 0 and cdnv(flat, labels) == 1


def test_angles_and_lengths_by_hand():
    right = torch.tensor([[3.0, 0], [0, 4], [-5, 0]])
    assert cosines(right).tolist() == [0, -1, 0]
    assert torch.equal(cosines(torch.stack([right, -2 * right]))[1], cosines(right))
    assert float(equinorm(right)) == pytest.approx((2 / 3) ** 0.5 / 4)
    assert float(equiangularity(right)) == pytest.approx(2**0.5 / 3)
    assert float(maximal_angle(right)) == pytest.approx(0.5)
    assert float(equiangularity(torch.eye(4))) == 0
    assert float(maximal_angle(torch.eye(4))) == pytest.approx(1 / 3)
    assert float(equinorm(torch.tensor([[1.0], [0], [0], [0]]))) == pytest.approx(3**0.5)


@pytest.mark.parametrize(("k", "dim"), [(2, 1), (3, 2), (5, 9)])
def test_an_etf_has_equal_norms_and_the_widest_angles(k, dim):
    frame = 3 * simplex_etf(k, dim, generator=source(0), dtype=F64)
    for measure in VECTORS.values():
        assert measure(frame) < 1e-7, measure.__name__
    lengths = torch.arange(1.0, k + 1, dtype=F64)[:, None]
    assert equinorm(lengths * frame) > 0.3
    assert equiangularity(lengths * frame) < 1e-7 and maximal_angle(lengths * frame) < 1e-7


def test_bias_measure_by_hand():
    classifier, centre = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([1.0, -1])
    assert bias_measure(classifier, torch.zeros(2), centre) == 2**0.5
    assert bias_measure(classifier, torch.ones(2), centre) == 0


def test_bounds_are_attained():
    frame = simplex_etf(6, 9, generator=source(3), dtype=F64)
    assert nc2(5 * frame) < 1e-13
    assert float(nc2(torch.ones(4, 3))) == pytest.approx(2**0.5, rel=1e-13)
    assert nc3(frame, 3 * frame + 7) < 1e-13
    assert float(nc3(-frame, frame)) == pytest.approx(2, rel=1e-13)


# --- invariances and precision ----------------------------------------------------------------


@examples(60)
@given(seed=SEEDS, scale=st.floats(1e-6, 1e6), k=st.integers(2, 6), dim=st.integers(1, 9))
def test_invariances(seed, scale, k, dim):
    features, labels, *_ = mixture(seed, [7] * k, dim)
    rng = np.random.default_rng(seed)
    rotation = torch.linalg.qr(torch.from_numpy(rng.normal(size=(dim, dim)))).Q
    shift = 10 * torch.from_numpy(rng.normal(size=dim))
    rows, classes = torch.from_numpy(rng.permutation(7 * k)), torch.from_numpy(rng.permutation(k))
    for name, measure in FEATURES.items():
        value = pytest.approx(float(measure(features, labels)), rel=1e-7)
        assert float(measure(scale * (features @ rotation + shift), labels)) == value, name
        assert float(measure(features[rows], classes[labels[rows]])) == value, name
    means = ClassStatistics.from_features(features, labels).centred_means
    for name, measure in VECTORS.items():
        value = pytest.approx(float(measure(means)), abs=1e-7)
        assert float(measure(scale * means[classes] @ rotation)) == value, name


@pytest.mark.parametrize("offset", [0.0, 10.0, 300.0])
@pytest.mark.parametrize("seed", range(3))
def test_collapsed_float32_features_keep_their_digits(seed, offset):
    features, labels, classifier, bias = mixture(
        seed, [40, 30, 50, 20], 64, noise=1e-5, offset=offset, dtype=torch.float32
    )
    textbook = vars(Textbook(features, labels, classifier, bias))
    for name, measure in FEATURES.items():
        value = float(measure(features, labels))
        assert value == pytest.approx(float(measure(features.double(), labels)), rel=1e-6), name
        assert value == pytest.approx(textbook[name], rel=1e-6), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features(dtype):
    features, *rest = mixture(0, [300, 400, 500], 16, offset=1.0, dtype=dtype)
    assert_same(one_shot(features, *rest), one_shot(features.double(), *rest))


def test_arrays_measure_as_tensors_do():
    data = mixture(0, [4, 5, 6], 4)
    arrays = [tensor.numpy() for tensor in data]
    features, labels, classifier, bias = arrays
    statistics = ClassStatistics.from_features(features, labels)
    expected = one_shot(*data)
    measured = {name: measure(features, labels) for name, measure in FEATURES.items()}
    centred = statistics.centred_means.numpy()
    measured |= {name: measure(centred) for name, measure in VECTORS.items()}
    measured |= {
        "nc2_classifier": nc2(classifier),
        "nc3": nc3(classifier, statistics.means.numpy()),
        "nc4": nc4(features, labels, classifier, bias),
        "bias_measure": bias_measure(classifier, bias, statistics.global_mean.numpy()),
    }
    assert measured == expected
    means = statistics.means
    nearest = nc4(*data[:3], means=means)
    assert nc4(features, labels, classifier, means=means.numpy()) == nearest


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_any_integer_labels(dtype):
    features, labels, classifier, _ = mixture(0, [4, 5, 6], 4)
    assert nc1(features, labels.to(dtype)) == nc1(features, labels)
    assert nc4(features, labels.to(dtype), classifier) == nc4(features, labels, classifier)


def test_an_offset_that_all_features_share_costs_no_digits():
    features, labels, *_ = mixture(0, [8, 8, 8], 5)
    features = (features * 2**12).round() / 2**12  # so that the shifted ones are exact as well
    for measure in FEATURES.values():
        close(measure(features + 2**30, labels), measure(features, labels), 1e-10)


@pytest.mark.parametrize("height", [1e-3, 1e-6, 1e-9])
def test_nearly_collinear_means_lose_no_direction(height):
    means = torch.tensor([[0, 0], [1, 0], [0, height]], dtype=F64)
    noise = 1e-6 * height
    variances = np.linalg.svd(means - means.mean(0), compute_uv=False) ** 2 / 3
    expected = noise**2 * (1 / variances).sum()
    assert float(nc1(*isotropic(means, noise))) == pytest.approx(expected, rel=1e-6)


def test_infinite_where_class_means_coincide():
    features = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    assert nc1(features, torch.tensor([0, 0, 1, 1])) == torch.inf
    assert cdnv(features, torch.tensor([0, 0, 1, 1])) == torch.inf
    # For cdnv one pair is enough; nc1 still has a direction.
    more = torch.cat([features, torch.tensor([[9.0, 9.0]])])
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert cdnv(more, labels) == torch.inf and nc1(more, labels).isfinite()


class LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_no_square_matrix_of_the_dimension():
    n, dim = 200, 20_000
    features = torch.randn(n, dim, generator=source(0), requires_grad=True)
    for measure in FEATURES.values():
        features.grad = None
        with LargestTensor() as largest:
            measure(features, torch.arange(n) % 3).backward()
        assert n * dim <= largest.elements < 2 * n * dim
        assert features.grad.isfinite().all()


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "dim"), [(3, 5), (3, 2), (5, 2)])
def test_gradients(k, dim):
    features, labels, classifier, _ = mixture(4, [3] * k, dim)
    inputs = features.requires_grad_(), classifier.requires_grad_()
    for measure in FEATURES.values():
        assert torch.autograd.gradcheck(lambda x, measure=measure: measure(x, labels), inputs[:1])
    for measure in VECTORS.values():
        assert torch.autograd.gradcheck(measure, inputs[1:])
    assert torch.autograd.gradcheck(
        lambda x, w: nc3(w, ClassStatistics.from_features(x, labels).means), inputs
    )


def test_gradient_at_an_exact_etf():
    features, labels = isotropic(simplex_etf(4, 3, dtype=F64), 0.3)
    assert torch.autograd.gradcheck(lambda x: nc1(x, labels), features.requires_grad_())


@pytest.mark.parametrize("noise", [1.0, 1e-6, 0.0])
def test_float32_gradients_are_finite(noise):
    features, *rest = mixture(0, [6, 7, 8], 5, noise=noise, dtype=torch.float32)
    features.requires_grad_()
    sum(one_shot(features, *rest).values()).backward()
    assert features.grad.dtype == torch.float32 and features.grad.isfinite().all()
    assert (features.grad != 0).any()


# --- simplex ETF and class statistics ---------------------------------------------------------


@pytest.mark.parametrize(("k", "dim"), [(2, 1), (2, 3), (5, 4), (5, 11)])
@pytest.mark.parametrize("seed", [None, 0])
def test_simplex_etf_geometry(k, dim, seed):
    generator = None if seed is None else source(seed)
    frame = simplex_etf(k, dim, generator=generator, dtype=F64)
    gram = (k * torch.eye(k, dtype=F64) - 1) / (k - 1)
    torch.testing.assert_close(frame @ frame.T, gram, rtol=0, atol=1e-14)
    assert frame.shape == (k, dim) and frame.sum(0).abs().max() < 1e-14


def test_simplex_etf_orientation():
    def draw(seed):
        return simplex_etf(3, 4, generator=source(seed))

    assert torch.equal(draw(0), draw(0)) and not torch.allclose(draw(0), draw(1))
    generator, dim = source(0), 4
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
    ("k", "dim", "message"),
    [
        (1, 3, "num_classes must be an integer >= 2, got 1"),
        (5, 3, "dim must be an integer >= 4, got 3"),
    ],
)
def test_a_frame_that_does_not_fit(k, dim, message):
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


SHAPED = "features must be a floating-point tensor of shape (N, d), got a float32 tensor of shape "
LABELLED = "labels must be an integer tensor of shape (4,), got a"
FINITE = "must be finite, got NaN or infinite entries"


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD, torch.tensor([0, 0, 2, 2]), "got none of [1]"),
        (GOOD, torch.tensor([0, 0, 1, -1]), "labels must not be negative, got -1"),
        (GOOD, LABELS.float(), f"{LABELLED} float32 tensor of shape (4,)"),
        (GOOD, LABELS.bool(), f"{LABELLED} bool tensor of shape (4,)"),
        (GOOD, LABELS * 0, "labels must be of two classes or more, got one"),
        (spoilt(torch.nan), LABELS, f"features {FINITE}"),
        (spoilt(torch.inf), LABELS, f"features {FINITE}"),
        (spoilt(-torch.inf), LABELS, f"features {FINITE}"),
        (GOOD[0], LABELS, f"{SHAPED}(2,)"),
        (GOOD[None], LABELS, f"{SHAPED}(1, 4, 2)"),
        (GOOD.long(), LABELS, "features must be a floating-point tensor"),
        (GOOD, LABELS[:, None], f"{LABELLED}n int64 tensor of shape (4, 1)"),
        (GOOD, LABELS[:3], f"{LABELLED}n int64 tensor of shape (3,)"),
        (GOOD[:0], LABELS[:0], f"{SHAPED}(0, 2)"),
    ],
)
@pytest.mark.parametrize("measure", FEATURES.values(), ids=FEATURES)
def test_bad_samples(measure, features, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(features, labels)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (GOOD[:1], "vectors must be two rows or more, got a float32 tensor of shape (1, 2)"),
        (GOOD[0], "vectors must be a floating-point tensor of shape (K, d)"),
        (GOOD.long(), "vectors must be a floating-point tensor of shape (K, d)"),
        (spoilt(torch.nan), f"vectors {FINITE}"),
        (0 * GOOD, "vectors must "),
    ],
)
@pytest.mark.parametrize("measure", VECTORS.values(), ids=VECTORS)
def test_bad_vectors(measure, vectors, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(vectors)


def test_angles_need_vectors_that_are_not_zero():
    vectors = torch.tensor([[1.0, 0], [0, 0]])
    for measure in (cosines, equiangularity, maximal_angle):
        with pytest.raises(ValueError, match="vectors must be without a row of zeros"):
            measure(vectors)
    assert equinorm(vectors) == 1


STATISTICS = ClassStatistics.from_features(GOOD, LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClassStatistics.from_features(GOOD, LABELS, 4), "got none of [2, 3]"),
        (lambda: ClassStatistics.from_features(GOOD, LABELS, 1), "num_classes must be an integer"),
        (lambda: STATISTICS.variances(GOOD[:, :1], LABELS), "features must be .* (N, 2)"),
        (lambda: STATISTICS.variances(GOOD, LABELS + 1), "labels must lie in 0 .. 1, got 1 .. 2"),
        (lambda: STATISTICS.variances(GOOD, LABELS, torch.eye(3)), "directions must be .* (p, 2)"),
        (lambda: nc3(GOOD, GOOD[:3]), "classifier must be of the shape (3, 2) of class_means"),
        (lambda: nc3(GOOD.long(), GOOD), "classifier must be a floating-point tensor"),
        (lambda: nc3(GOOD, spoilt(torch.inf)), f"class_means {FINITE}"),
        (lambda: nc3(GOOD, torch.ones(4, 2)), "classifier or class_means must not be zero"),
        (lambda: nc4(GOOD, LABELS + 1, torch.eye(2)), "labels must lie in 0 .. 1, got 1 .. 2"),
        (lambda: nc4(GOOD, LABELS, torch.ones(2, 3)), "features must be .* (N, 3)"),
        (lambda: nc4(GOOD, LABELS, torch.ones(3, 2)), "got none of [2]"),
        (lambda: nc4(GOOD, LABELS, torch.eye(2), torch.ones(3)), "bias must be .* (2,), got"),
        (lambda: nc4(GOOD, LABELS, torch.eye(2), torch.ones(2, 1)), "bias must be .* (2,), got"),
        (lambda: nc4(GOOD, LABELS, torch.eye(2), means=GOOD), "means must be .* (2, 2), got"),
        (
            lambda: nc4(spoilt(torch.nan), LABELS, torch.eye(2), means=GOOD[:2]),
            f"features {FINITE}",
        ),
        (lambda: bias_measure(GOOD, torch.ones(3), torch.ones(2)), "bias must be .* (4,), got"),
        (lambda: bias_measure(GOOD, torch.ones(4), GOOD), "global_mean must be .* (2,), got"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        call()
