"""Error rates of collapsed classifiers beside integrals, counts and the Bayes limit."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm

from lecturelib.shallow_feasibility import best_neurons, misclassification_rate, nc_feasibility


def angular_density(angle, mean):
    """Density of the direction of a standard normal vector around a mean of the plane."""
    along = mean[0] * math.cos(angle) + mean[1] * math.sin(angle)
    aside = mean @ mean - along**2  # both terms carry exp(-|mean|^2 / 2)
    tail = math.sqrt(2 * math.pi) * along * norm.cdf(along) * math.exp(-aside / 2)
    return (math.exp(-(mean @ mean) / 2) + tail) / (2 * math.pi)


def error_by_integration(weights, means, noise):
    """Integrate over directions in the plane, as the winner depends on nothing else."""
    weights, means = weights.numpy(), means.numpy()
    normals = [*weights, weights[1] - weights[0]]
    edges = {-math.pi, math.pi}
    for vector in normals:
        edges |= {math.atan2(vector[0], -vector[1]), math.atan2(-vector[0], vector[1])}
    edges, total = sorted(edges), 0.0
    for low, high in pairwise(edges):
        middle = (low + high) / 2
        first, second = np.maximum(weights @ [math.cos(middle), math.sin(middle)], 0)
        costs = [1 / 2, 1 / 2] if first == second else [second > first, first > second]
        for mean, cost in zip(means, costs, strict=True):
            if cost and high - low > 1e-12:
                value, _ = quad(angular_density, low, high, (mean / noise,), epsabs=1e-12)
                total += cost * value / 2
    return total


@examples(60)
@given(seed=SEEDS, noise=st.floats(0.2, 20))
def test_error_rate_is_an_integral(seed, noise):
    weights, means = normal(seed, 2, 2), normal(seed + 1, 2, 2)
    expected = error_by_integration(weights, means, noise)
    assert misclassification_rate(weights, means, noise).item() == pytest.approx(expected, abs=1e-9)


LEFT, UP, DOWN = [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]
RIGHT, FAR = [1.0, 0.0], [3.0, 0.0]


@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize(
    ("weights", "means"),
    [
        ([RIGHT, FAR], [RIGHT, LEFT]),  # parallel: one of the neurons always wins
        ([FAR, RIGHT], [RIGHT, LEFT]),
        ([RIGHT, LEFT], [RIGHT, LEFT]),  # antiparallel
        ([RIGHT, [-3.0, 0.0]], [RIGHT, UP]),
        ([LEFT, RIGHT], [RIGHT, LEFT]),
        ([UP, DOWN], [RIGHT, LEFT]),  # orthogonal to the means
        ([UP, [0.0, 2.0]], [RIGHT, LEFT]),
        ([RIGHT, UP], [UP, RIGHT]),
        ([RIGHT, UP], [[0.0, 0.0], [0.0, 0.0]]),
        ([RIGHT, UP], [[1.0, 1.0], [-1.0, -1.0]]),  # on the boundary of the two
        ([[2.0, 1.0], [1.0, 1.0]], [DOWN, UP]),
        ([[1.0, 1e-9], RIGHT], [RIGHT, UP]),  # almost parallel
    ],
)
def test_error_rate_at_the_edges(weights, means, noise):
    weights, means = torch.tensor(weights, dtype=F64), torch.tensor(means, dtype=F64)
    rate = misclassification_rate(weights, means, noise).item()
    assert rate == pytest.approx(error_by_integration(weights, means, noise), abs=1e-8)


@pytest.mark.parametrize("noise", [0.01, 0.5, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("length", [0.5, 2.0])
def test_error_rate_of_opposite_classes(noise, length):
    mean = normal(0, 5)
    mean = length * mean / mean.norm()
    means = torch.stack([mean, -mean])
    rate = misclassification_rate(3 * means, means, noise).item()
    assert rate == pytest.approx(norm.cdf(-length / noise), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_error_rate_by_bivariate_normal_distribution(d):
    """Lost if the other output is positive and larger, half of the times if both are silent."""
    for seed in range(10):
        weights, means, noise = normal(seed, 2, d), normal(seed + 100, 2, d), 0.8
        total = 0.0
        for k in range(2):
            own, other = weights[k], weights[1 - k]
            for share, pair in [(1, (other, other - own)), (0.5, (-own, -other))]:
                rows = torch.stack(pair)
                covariance = (noise**2 * rows @ rows.T).numpy()
                centre = (rows @ means[k]).numpy()
                options = {"abseps": 1e-11, "releps": 1e-11}
                total += share * multivariate_normal(-centre, covariance, **options).cdf([0, 0])
        rate = misclassification_rate(weights, means, noise).item()
        assert rate == pytest.approx(total / 2, abs=1e-7)


@examples(100)
@given(seed=SEEDS, d=st.integers(1, 5), noise=st.floats(0.05, 50))
def test_no_classifier_beats_bayes(seed, d, noise):
    means = normal(seed, 2, d)
    best = norm.cdf(-(means[0] - means[1]).norm().item() / (2 * noise))
    rate = misclassification_rate(normal(seed + 1, 2, d), means, noise).item()
    assert best - 1e-10 <= rate <= 1


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_sampled_rate_is_the_closed_form(noise):
    weights, means, samples = normal(0, 6, 2, 3), normal(1, 2, 3), 40_000
    exact = misclassification_rate(weights, means, noise)
    rates = misclassification_rate(weights, means, noise, samples=samples, generator=source(2))
    assert exact.shape == rates.shape == (6,) and exact.dtype == rates.dtype == F64
    assert ((rates - exact).abs() < 4 * (exact * (1 - exact) / (2 * samples)).sqrt()).all()
    again = misclassification_rate(weights, means, noise, samples=samples, generator=source(2))
    assert torch.equal(rates, again)


def test_sampled_rate_of_three_classes():
    """On a line: the steepest neuron wins to the right of zero, nobody to the left."""
    weights = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    means, samples = torch.tensor([[-1.0], [0.5], [1.0]], dtype=F64), 50_000
    left = norm.cdf(-means[:, 0].numpy() / 0.7)
    expected = np.mean(left * 2 / 3 + (1 - left) * [1, 1, 0])
    rate = misclassification_rate(weights, means, 0.7, samples=samples, generator=source(0))
    assert rate.item() == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(3 * samples))
    easy = misclassification_rate(torch.eye(3), torch.eye(3), 0.01, samples=100)
    assert easy.item() == 0
    with pytest.raises(ValueError, match="samples must be a number, as there are 3 classes"):
        misclassification_rate(weights, means, 0.7)


def test_error_rates_of_a_batch():
    weights, means = normal(0, 2, 3, 2, 4), normal(1, 2, 4)
    rates = misclassification_rate(weights.float(), means, 1.0)
    assert rates.shape == (2, 3) and rates.dtype == F64
    for index in np.ndindex(2, 3):
        alone = misclassification_rate(weights[index].float(), means, 1.0)
        assert alone.shape == () and alone.item() == pytest.approx(rates[index].item(), abs=1e-12)
    lengths = torch.tensor([2.0, 2.0], dtype=F64)[:, None]
    close(misclassification_rate(lengths * weights, means, 1.0), rates, 1e-6)
    swapped = misclassification_rate(weights.flip(-2).float(), means.flip(0), 1.0)
    close(swapped, rates, 1e-12)
    variable = weights.clone().requires_grad_()
    close(misclassification_rate(variable, means, 1.0), rates, 1e-6)


@pytest.mark.parametrize(
    ("weights", "changes", "match"),
    [
        (torch.ones(2, 3), {}, r"weights must be a floating-point tensor of shape \(…, 2, 2\)"),
        (torch.ones(3, 2), {}, "weights must be a floating-point tensor of shape"),
        (torch.tensor([[1, 0], [0, 1]]), {}, "weights must be a floating-point tensor"),
        (
            torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
            {},
            "weights must be of neurons that are not zero",
        ),
        (torch.tensor([[1.0, 0.0], [0.0, math.nan]]), {}, "weights must be finite"),
        (torch.tensor([[1.0, 0.0], [0.0, math.inf]]), {}, "weights must be finite"),
        (torch.ones(2, 2), {}, "weights must be of two neurons that differ"),
        (torch.eye(2), {"noise": 0.0}, "noise must be a finite number > 0, got 0"),
        (torch.eye(2), {"noise": -1.0}, "noise must be"),
        (torch.eye(2), {"noise": math.inf}, "noise must be"),
        (torch.eye(2), {"noise": math.nan}, "noise must be"),
        (torch.eye(2), {"samples": 0}, "samples must be an integer >= 1, got 0"),
    ],
)
def test_no_such_error_rate(weights, changes, match):
    with pytest.raises(ValueError, match=match):
        misclassification_rate(weights, torch.eye(2), **{"noise": 1.0} | changes)


# --- the best neurons -------------------------------------------------------------------------


def clouds_of_two(seed, noise, n=5, d=9):
    means = torch.zeros(2, d, dtype=F64)
    means[0, 0], means[1, 0] = 1.0, -1.0
    labels = torch.tensor([0, 1]).repeat_interleave(n)
    return means[labels] + noise * normal(seed, 2 * n, d), labels, means


@pytest.mark.parametrize("noise", [0.2, 0.6, 2.0])
def test_best_neurons_are_collapsed_and_none_is_better(noise):
    """Against a general-purpose solver of the same problem."""
    for seed in range(4):
        inputs, labels, means = clouds_of_two(seed, noise, d=11)
        found = best_neurons(inputs, labels, means)
        assert found.shape == (2, 11) and found.dtype == F64
        close(found.norm(dim=-1), torch.ones(2, dtype=F64), 1e-9)
        for k in range(2):
            outputs = inputs @ found[k]
            own, others = outputs[labels == k], outputs[labels != k]
            close(own, own[:1].expand(5), 1e-9)
            assert own[0] > -1e-9 and others.max() < 1e-9
            X, B = inputs[labels == k].numpy(), inputs[labels != k].numpy()
            mean, sides = means[k].numpy(), np.vstack([X[:1], -B])
            limits = [
                {"type": "eq", "fun": lambda v, D=X[1:] - X[0]: D @ v},
                {"type": "ineq", "fun": lambda v, A=sides: A @ v},
            ]
            start = mean / 2

            def distance(v, mean=mean):
                return ((v - mean) ** 2).sum()

            other = minimize(distance, start, constraints=limits, method="SLSQP", tol=1e-12)
            length = np.linalg.norm(other.x)
            assert float(found[k] @ means[k]) == pytest.approx(length, abs=1e-5)


def test_no_collapsed_pair_errs_less_than_its_neurons_miss():
    for seed, noise in enumerate([0.2, 0.4, 0.8]):
        inputs, labels, means = clouds_of_two(seed, noise, d=12)
        best = best_neurons(inputs, labels, means)
        missed = norm.cdf(-(best * means).sum(-1).numpy() / noise)
        weights = nc_feasibility(inputs, labels).weights
        assert misclassification_rate(weights, means, noise) >= missed.sum() / 4
        outputs = torch.stack([inputs[0] @ best[0], inputs[-1] @ best[1]])
        pair = misclassification_rate(best / outputs[:, None], means, noise)
        assert missed.sum() / 4 <= pair <= misclassification_rate(weights, means, noise)


def test_best_neurons_of_a_batch_and_of_hopeless_classes():
    inputs, labels, means = clouds_of_two(0, 0.3)
    batch = torch.stack([inputs, -inputs]).view(2, 1, 10, 9)
    found = best_neurons(batch.float(), labels, means)
    assert found.shape == (2, 1, 2, 9)
    close(found[0, 0], best_neurons(inputs, labels, means), 1e-5)
    # One point each, on one ray: no neuron tells them apart, and none fires for either class.
    points = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert (best_neurons(points, torch.tensor([0, 1]), points) == 0).all()
    with pytest.raises(ValueError, match="means must be"):
        best_neurons(inputs, labels, means[:, :3])


def test_the_best_pair_errs_little_more_than_its_neurons_miss():
    """And at small noise no more, for opposite means."""
    excess = []
    for noise in (0.6, 0.3, 0.15):
        inputs, labels, means = clouds_of_two(3, noise, d=9)
        best = best_neurons(inputs, labels, means)
        outputs = torch.stack([inputs[0] @ best[0], inputs[-1] @ best[1]])
        pair = best / outputs[:, None]
        missed = norm.cdf(-(best * means).sum(-1).numpy() / noise).sum() / 4
        apart = (pair[0] - pair[1]) / (pair[0] - pair[1]).norm()
        confused = norm.cdf(-(means[0] @ apart).item() / noise) / 2
        confused += norm.cdf((means[1] @ apart).item() / noise) / 2
        error = float(misclassification_rate(pair, means, noise))
        assert missed <= error <= missed + confused
        excess.append(error / missed - 1)
    assert excess[0] > excess[1] > excess[2] and excess[2] < 0.1
