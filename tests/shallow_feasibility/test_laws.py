"""The law of pure noise beside counts, the bounds beside measured shares and formulas."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import chi2, norm
from torch.nn import functional

from lecturelib.datasets import gaussian_mixture
from lecturelib.shallow_feasibility import (
    any_means_bound,
    gordon_bound,
    mean_margins,
    misclassification_rate,
    nc_feasibility,
    phase_cell,
    phase_map,
    small_noise_bound,
    wendel_probability,
)

# --- pure noise -------------------------------------------------------------------------------


def wendel(d, n, K):
    m = (K - 1) * n
    return sum(math.comb(m, i) for i in range(d - n + 1)) / 2**m if d >= n else 0.0


def test_wendel_probability_by_hand():
    assert float(wendel_probability(2, 1, 1)) == pytest.approx(1 / 2)  # numbers of opposite sign
    assert float(wendel_probability(4, 1, 1)) == pytest.approx(1 / 8)
    assert float(wendel_probability(2, 2, 2)) == pytest.approx(1 / 4)
    assert float(wendel_probability(2, 2, 3)) == pytest.approx(3 / 4)
    assert float(wendel_probability(3, 1, 2)) == pytest.approx(3 / 4)
    assert float(wendel_probability(3, 3, 4)) == pytest.approx(7 / 64)
    value = wendel_probability(3, 3, 4)
    assert value.shape == () and value.dtype == F64


@pytest.mark.parametrize(("n", "K"), [(1, 2), (3, 2), (4, 3), (7, 5), (20, 4), (40, 10)])
def test_wendel_probability_for_all_dimensions(n, K):
    dims = np.arange(1, K * n + 5)
    values = wendel_probability(K, n, dims).numpy()
    np.testing.assert_allclose(values, [wendel(int(d), n, K) for d in dims], rtol=1e-9)
    assert (values[dims < n] == 0).all() and (values[dims >= K * n] == 1).all()
    # As many heads as tails.
    inside = dims[dims < (K + 1) * n]
    mirrored = np.array([wendel((K + 1) * n - 1 - int(d), n, K) for d in inside])
    np.testing.assert_allclose(values[: len(inside)] + mirrored, 1, rtol=1e-9)
    square = np.arange(1, 5).reshape(2, 2)
    for like in (square, torch.tensor(square)):
        found = wendel_probability(K, n, like)
        np.testing.assert_array_equal(found, values[:4].reshape(2, 2))
    assert wendel_probability(K, n, [1, 2, 3]).tolist() == values[:3].tolist()


def test_the_laws_take_classes_of_different_sizes():
    sizes, dims = [4, 10, 16], [3, 8, 17, 20, 30]
    law = wendel_probability(3, sizes, dims)
    assert law.shape == (5, 3) and wendel_probability(3, sizes, 17).shape == (3,)
    for (i, d), (k, n) in product(enumerate(dims), enumerate(sizes)):
        m = sum(sizes) - n
        ways = sum(math.comb(m, j) for j in range(d - n + 1)) if d >= n else 0
        assert float(law[i, k]) == pytest.approx(ways / 2**m, abs=1e-12)
    bound = gordon_bound(3, sizes, dims)
    assert bound.shape == (5, 3) and (bound <= law + 1e-12).all()
    means = torch.eye(3, dtype=F64)
    for function, options in ((wendel_probability, (3,)), (gordon_bound, (3,))):
        same = function(*options, [5, 5, 5], dims)
        close(same, function(*options, 5, dims)[:, None].expand(5, 3), 1e-12)
    same = small_noise_bound(means, [5, 5, 5], 12, [0.1, 0.5])
    assert torch.equal(same, small_noise_bound(means, 5, 12, [0.1, 0.5]))
    unequal = small_noise_bound(means, [2, 5, 8], 10, [0.1, 0.5])
    assert unequal.shape == (2, 3) and (unequal[:, 0] > unequal[:, 1]).all()
    assert (unequal[:, 2] == 0).all()  # no room for eight samples besides three means


def test_the_law_of_different_sizes_is_what_is_counted():
    sizes, draws = [3, 8, 12], 400
    labels = torch.repeat_interleave(torch.tensor(sizes))
    found = nc_feasibility(normal(0, draws, sum(sizes), 16), labels).verdict > 0
    law = wendel_probability(3, sizes, 16)
    error = (law * (1 - law) / draws).sqrt()
    assert ((found.double().mean(0) - law).abs() <= 4 * error + 1e-12).all()


@pytest.mark.parametrize("dim", [9, [5, 9, 14], torch.tensor([[9, 10]])])
def test_the_bound_for_any_means_is_the_law_without_their_dimensions(dim):
    shape = torch.as_tensor(dim).shape
    means = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 0]])
    bound = any_means_bound(means, 2, dim)
    assert bound.shape == (*shape, 4)
    for k, rank in enumerate((1, 2, 2, 2)):  # of the means of the others
        close(bound[..., k], wendel_probability(4, 2, torch.as_tensor(dim) - rank), 1e-12)
    unequal = any_means_bound(means, [1, 2, 3, 2], dim)
    assert unequal.shape == (*shape, 4)
    law = wendel_probability(4, [1, 2, 3, 2], torch.as_tensor(dim) - 2)
    close(unequal[..., 1:], law[..., 1:], 1e-12)
    for small in (2, [4, 2], torch.tensor([4, 2])):
        with pytest.raises(ValueError, match=r"dim must be .* >= 3, got"):
            any_means_bound(means, 2, small)


DRAWS = 150
CELLS = [
    (d, n, K)
    for n, K in product([1, 2, 5, 10, 20], [2, 3, 5])
    for d in {
        max(n, round(n * (K + 1) / 2 + step * math.sqrt((K - 1) * n) / 2)) for step in (-1, 0, 1)
    }
]


def share_of_first_class(inputs, n):
    """Return how often the first n samples can collapse, the others being one more class."""
    labels = (torch.arange(inputs.shape[-2]) >= n).long()
    result = nc_feasibility(inputs, labels)
    return result[:, 0].feasible.double().mean().item()


def draw_normal(seed, *shape):
    return normal(seed, *shape)


def draw_cube(seed, *shape):
    return 2 * torch.rand(*shape, generator=source(seed), dtype=F64) - 1


def draw_laplace(seed, *shape):
    uniform = draw_cube(seed, *shape)
    return -uniform.sign() * torch.log1p(-uniform.abs())


def draw_signs(seed, *shape):
    """Samples of fixed place whose sign alone is random, of different lengths."""
    signs = draw_cube(seed, *shape[:-1], 1).sign()
    return signs * normal(0, *shape[1:]) * torch.logspace(-2, 2, shape[-2], dtype=F64)[:, None]


def test_wendel_probability_is_what_is_counted():
    """Each cell alone may be off by three standard errors once in 370; together they may not."""
    scores = []
    for seed, (d, n, K) in enumerate(CELLS):
        expected = wendel_probability(K, n, d).item()
        share = share_of_first_class(normal(seed, DRAWS, K * n, d), n)
        deviation = math.sqrt(expected * (1 - expected) / DRAWS)
        if expected in (0, 1):
            assert share == expected
        else:
            scores.append((share - expected) / deviation)
    assert len(scores) > 30
    # 3.5 and not 3: with so many cells, one beyond 3 is no surprise (the seeds are fixed anyway).
    assert np.abs(scores).max() < 3.5
    assert np.mean(np.abs(scores) > 3) < 0.05
    # Nor are they off on the whole, in either direction or in size.
    assert abs(np.sum(scores)) < 3 * math.sqrt(len(scores))
    assert 1e-3 < chi2.sf(np.square(scores).sum(), len(scores)) < 1 - 1e-3


@pytest.mark.parametrize("draw", [draw_normal, draw_cube, draw_laplace, draw_signs])
def test_wendel_probability_holds_for_symmetric_samples_around_any_class(draw):
    n, K, draws = 4, 3, 400
    own = {
        "far away": 100 + normal(1, n, 9),
        "of different length": torch.logspace(-1, 1, n, dtype=F64)[:, None] * normal(2, n, 9),
        "unit vectors": torch.eye(n, 9, dtype=F64),
    }
    for seed, (points, d) in enumerate(product(own.values(), [6, 8, 9])):
        others = draw(seed, draws, (K - 1) * n, d)
        inputs = torch.cat([points[:, :d].expand(draws, n, d), others], dim=1)
        expected = wendel_probability(K, n, d).item()
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert abs(share_of_first_class(inputs, n) - expected) < 3.5 * deviation


@pytest.mark.parametrize(("n", "K"), [(1, 2), (2, 3), (5, 2), (10, 4), (50, 3), (200, 2)])
def test_gordon_bound_is_a_bound(n, K):
    dims = np.arange(1, 2 * K * n)
    bound, exact = gordon_bound(K, n, dims), wendel_probability(K, n, dims)
    assert (bound >= 0).all() and (bound <= exact + 1e-12).all()
    assert (bound.diff() >= 0).all()
    assert gordon_bound(K, n, 3).shape == () and bound.dtype == F64


def test_gordon_bound_by_hand():
    """E|g| is sqrt(pi/2) in the plane and sqrt(8/pi) in space."""
    for d, length in [(2, math.sqrt(math.pi / 2)), (3, math.sqrt(8 / math.pi))]:
        delta = 1 - 0.5 + 0.5
        expected = 1 - math.exp(-((length - math.sqrt(delta)) ** 2) / 2)
        assert float(gordon_bound(2, 1, d)) == pytest.approx(expected, rel=1e-12)
    assert gordon_bound(2, 1, 1) == 0  # E|g| = sqrt(2/pi) is less than one


@pytest.mark.parametrize("K", [2, 3, 10])
def test_gordon_bound_tends_to_one_above_its_ratio(K):
    ratio = 1.1 * (K + 1) / 2
    sizes = [100, 1000, 10_000]
    values = [float(gordon_bound(K, n, round(ratio * n))) for n in sizes]
    assert values == sorted(values) and values[-1] > 1 - 1e-6
    assert gordon_bound(K, 10_000, round(0.99 * (K + 1) / 2 * 10_000)) == 0


@pytest.mark.parametrize("function", [wendel_probability, gordon_bound])
@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ((2, 1, 0), ValueError, "dim must be an integer >= 1, got 0"),
        ((2, 1, [3, 0]), ValueError, "each of dim must be an integer >= 1, got 0"),
        ((2, 1, torch.tensor([3, 0])), ValueError, "dim must be of integers >= 1, got 0"),
        ((2, 1, 2.0), TypeError, "dim must be an integer"),
        ((2, 1, np.ones(2)), ValueError, "dim must be an integer tensor"),
        ((2, 1, "many"), TypeError, "dim must be an integer"),
        ((2, 0, 2), ValueError, "samples_per_class must be an integer >= 1, got 0"),
        ((2, 1.5, 2), TypeError, "samples_per_class must be an integer"),
        ((2, [1, 2, 3], 2), ValueError, "samples_per_class must be one number, or one for each"),
        ((2, [1, 0], 2), ValueError, "each of samples_per_class must be an integer >= 1, got 0"),
        ((2, "few", 2), TypeError, "samples_per_class must be an integer"),
        ((1, 1, 2), ValueError, "num_classes must be an integer >= 2, got 1"),
        ((2.0, 1, 2), TypeError, "num_classes must be an integer"),
    ],
)
def test_no_such_counts(function, arguments, kind, match):
    with pytest.raises(kind, match=match):
        function(*arguments)


# --- class means ------------------------------------------------------------------------------


def at_angle(degrees, lengths=(1.0, 1.0)):
    angle = math.radians(degrees)
    plane = [[1.0, 0.0], [math.cos(angle), math.sin(angle)]]
    return torch.tensor(plane, dtype=F64) * torch.tensor(lengths, dtype=F64)[:, None]


MEANS = {
    "orthogonal": torch.eye(3, dtype=F64),
    "acute": at_angle(40),
    "obtuse": at_angle(130, (0.5, 2.0)),
    "opposite": torch.tensor([[1.0], [-1.0]], dtype=F64),
    "random": normal(5, 4, 6),
    "low rank": normal(6, 4, 2),
    "equal": torch.ones(3, 2, dtype=F64),
    "zero": torch.zeros(2, 1, dtype=F64),
}


def brute_margin(means, k):
    """Minimise the distance of the hull of the other means and the ray through mean k."""
    own, others = means[k].numpy(), np.delete(means.numpy(), k, axis=0)

    def gap(x):
        return x[1:] @ others - x[0] * own

    constraint = {"type": "eq", "fun": lambda x: x[1:].sum() - 1}
    starts = np.vstack([np.full(len(others), 1 / len(others)), np.eye(len(others))])
    best = [
        minimize(
            lambda x: gap(x) @ gap(x),
            np.concatenate([[0.1], start]),
            jac=lambda x: 2 * gap(x) @ np.vstack([-own, others]).T,
            bounds=[(0, None)] * (len(others) + 1),
            constraints=constraint,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        ).fun
        for start in starts
    ]
    return math.sqrt(min(best))


@examples(40)
@given(seed=SEEDS, K=st.integers(2, 5), r=st.integers(1, 6))
def test_margins_are_smallest_distances(seed, K, r):
    means = normal(seed, K, r)
    expected = torch.tensor([brute_margin(means, k) for k in range(K)], dtype=F64)
    # A distance of zero is found as its square, hence to half the digits.
    close(mean_margins(means), expected, 1e-5)


@pytest.mark.parametrize("degrees", [1, 30, 60, 89, 91, 120, 179, 180])
def test_margins_of_two_means(degrees):
    lengths = torch.tensor([3.0, 0.5], dtype=F64)
    sine = math.sin(math.radians(degrees)) if degrees < 90 else 1.0
    close(mean_margins(at_angle(degrees, (3.0, 0.5))), sine * lengths.flip(0), 1e-9)


@examples(60)
@given(seed=SEEDS, K=st.integers(2, 7), extra=st.integers(0, 4), scale=st.floats(1e-6, 1e6))
def test_margins_are_bounded_by_singular_values_and_scale(seed, K, extra, scale):
    means = normal(seed, K, K + extra)
    margins = mean_margins(means)
    assert (margins >= torch.linalg.svdvals(means).min() / math.sqrt(K - 1) * (1 - 1e-9)).all()
    norms = means.norm(dim=1)
    for k in range(K):  # the ray starts in the origin
        assert margins[k] <= norms[torch.arange(K) != k].min() * (1 + 1e-9)
    close(mean_margins(scale * means) / scale, margins, 1e-9)
    rotation = torch.linalg.qr(normal(seed + 1, K + extra, K + extra)).Q
    close(mean_margins(means @ rotation), margins, 1e-9)


@pytest.mark.parametrize(
    ("means", "zeros"),
    [
        ([[1.0, 1.0], [2.0, 2.0]], [True, True]),  # on one ray
        ([[1.0, 1.0], [-2.0, -2.0]], [False, False]),  # on one line
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [False, False, True]),  # between two others
        ([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], [False, False, False]),
        ([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], [True, False, True]),  # zero is on all other rays
        ([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], [True, True, True]),  # zero between the others
        ([[0.0], [0.0]], [True, True]),
    ],
)
def test_margins_of_zero(means, zeros):
    margins = mean_margins(torch.tensor(means))
    assert margins.dtype == F64 and (margins >= 0).all()
    assert ((margins < 1e-7) == torch.tensor(zeros)).all()


def test_margins_take_means_of_a_graph():
    means = normal(0, 3, 4)
    assert torch.equal(mean_margins(means.clone().requires_grad_()), mean_margins(means))


@pytest.mark.parametrize(
    ("means", "match"),
    [
        (torch.ones(3), "means must be a floating-point tensor of shape"),
        (torch.ones(1, 3), "means must be of at least two classes"),
        (torch.eye(3, dtype=torch.int64), "means must be a floating-point tensor"),
        (torch.eye(3) * math.nan, "means must be finite"),
    ],
)
def test_no_such_means(means, match):
    for call in (
        mean_margins,
        lambda means: small_noise_bound(means, 2, 9, 0.1),
        lambda means: phase_map(([3], [0.1]), 1, samples_per_class=3, means=means),
        lambda means: phase_cell(9, 0.1, 1, samples_per_class=3, means=means),
        lambda means: misclassification_rate(means, means, 1.0),
    ):
        with pytest.raises(ValueError, match=match):
            call(means)


def shares_of_classes(seed, d, n, means, noise, draws):
    centres = functional.pad(means, (0, d - means.shape[1]))
    inputs, labels = gaussian_mixture(
        centres, n, noise, batch_shape=(draws,), generator=source(seed)
    )
    return nc_feasibility(inputs, labels).feasible.double().mean(0)


def assert_at_least(shares, bound, draws):
    """Three standard errors of a share whose probability is the bound."""
    assert (shares >= bound - 3 * (bound * (1 - bound) / draws).sqrt() - 1e-12).all()


@pytest.mark.parametrize("kind", MEANS)
def test_small_noise_bound_is_a_bound(kind):
    means, draws, informative = MEANS[kind], 150, 0
    K, (n, d) = len(means), (4, 12)
    for seed, noise in enumerate([0.02, 0.1, 0.2, 0.4, 1.0]):
        bound = small_noise_bound(means, n, d, noise)
        assert bound.shape == (K,)
        shares = shares_of_classes(seed, d, n, means, noise, draws)
        assert_at_least(shares, bound, draws)
        informative += ((bound > 0.05) & (bound < 0.999)).sum()
    assert informative > 0 or kind in ("equal", "zero", "low rank")


@pytest.mark.parametrize("kind", MEANS)
def test_no_means_are_worse_than_fewer_dimensions_of_noise(kind):
    """In the complement of what the means span, beyond one dimension, all is pure noise."""
    means, draws = MEANS[kind], 150
    K, n = len(means), 4
    for seed, (d, noise) in enumerate(product([max(n, 6), 10, 13], [0.1, 1.0, math.inf])):
        bound = wendel_probability(K, n, d - (K - 1))
        scaled = means / noise if noise < math.inf else 0 * means
        assert_at_least(shares_of_classes(seed, d, n, scaled, 1.0, draws), bound, draws)


def test_small_noise_bound_of_two_opposite_means_by_integration():
    """The share R of Beta(a, b) that the noise leaves of the weights, integrated numerically."""
    d, n, noise = 9, 3, 0.5
    a, b = (d - 1 - n + 1) / 2, n / 2
    constant = math.gamma(a + b) / math.gamma(a) / math.gamma(b)

    def integrand(share):
        density = constant * share ** (a - 1) * (1 - share) ** (b - 1)
        return density * norm.cdf(math.sqrt(share) / noise) ** n

    exact, _ = quad(integrand, 0, 1)
    value = small_noise_bound(MEANS["opposite"], n, d, noise)
    assert (value <= exact).all() and (value > exact - 1e-3).all()


@pytest.mark.parametrize("kind", ["orthogonal", "acute", "obtuse", "opposite", "random"])
def test_small_noise_bound_falls_with_the_noise(kind):
    means = MEANS[kind]
    noises = np.logspace(-3, 3, 30)
    values = small_noise_bound(means, 5, 20, noises.reshape(5, 6))
    assert values.shape == (5, 6, len(means))
    rows = values.reshape(30, -1)
    assert (rows <= 1).all() and (rows >= 0).all() and (rows.diff(dim=0) <= 0).all()
    np.testing.assert_array_equal(rows[7], small_noise_bound(means, 5, 20, noises[7]))
    assert (rows[0] > 0.99).all()
    m = (len(means) - 1) * 5
    pure = small_noise_bound(means, 5, 20, math.inf)
    np.testing.assert_allclose(pure, 2.0**-m, rtol=1e-9)


def test_small_noise_bound_needs_room():
    for kind, rank in [("orthogonal", 3), ("opposite", 1), ("low rank", 2), ("zero", 0)]:
        means, n = MEANS[kind], 5
        for d in (rank + n - 1, rank + n):
            values = small_noise_bound(means, n, d, [0.01, 1.0])
            assert values.shape == (2, len(means))
            assert (values > 0).all() == (values > 0).any() == (d >= rank + n)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.eye(3), 4, 2, 0.1), "dim must be an integer >= 3, got 2"),
        ((torch.eye(3), 4, [9, 10], 0.1), "dim must be an integer"),
        ((torch.eye(3), 4, 9.0, 0.1), "dim must be an integer"),
        ((torch.eye(3), 0, 9, 0.1), "samples_per_class must be an integer"),
        ((torch.eye(3), 4, 9, 0.0), "noise must be positive numbers, got 0"),
        ((torch.eye(3), 4, 9, [0.1, -1.0]), "noise must be positive numbers, got -1"),
        ((torch.eye(3), 4, 9, math.nan), "noise must be positive numbers, got nan"),
        ((torch.eye(3), 4, 9, ["little"]), "noise must be positive numbers"),
    ],
)
def test_no_such_small_noise_bound(arguments, match):
    with pytest.raises((TypeError, ValueError), match=match):
        small_noise_bound(*arguments)
