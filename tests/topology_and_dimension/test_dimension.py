"""Both estimators are those of the papers and of scikit-dimension; what their errors are worth."""

import math

import numpy as np
import pytest
import skdim
import torch
from helpers import F64, SEEDS, close, examples, normal, rotation, source
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.topology_and_dimension import mle_dimension, sphere, two_nn
from lecturelib.topology_and_dimension.dimension import from_distances, local_dimensions

METHODS = {"fit": "linear", "likelihood": "mle"}


def cube(seed, count, dim, *, inside=None):
    """A uniform cube, perhaps turned inside a larger space."""
    points = torch.rand(count, dim, generator=source(seed), dtype=F64)
    return points if inside is None else points @ rotation(seed, inside)[:dim]


CLOUDS = {
    "a square": lambda: cube(0, 400, 2),
    "a cube in 40 dimensions": lambda: cube(1, 300, 6, inside=40),
    "normal": lambda: normal(2, 500, 30),
    "a sphere": lambda: sphere(350, 3, generator=source(3)),
    "few": lambda: normal(4, 25, 3),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("discard", [0.1, 0.25, 0.02])
def test_two_nn_is_that_of_scikit_dimension(cloud, method, discard):
    if discard == 0.02 and cloud == "few" and method == "fit":
        discard = 0.05  # with 24 of 25 points
    points = CLOUDS[cloud]()
    peer = skdim.id.TwoNN(discard_fraction=discard, method=METHODS[method]).fit(points.numpy())
    found = two_nn(points, discard=discard, method=method)
    assert float(found.dimension) == pytest.approx(peer.dimension_, rel=1e-9)
    assert found.kept == len(peer.x_)
    np.testing.assert_allclose(found.log_ratios[: found.kept], peer.x_[:, 0], atol=1e-8)
    np.testing.assert_allclose(found.log_survival[: found.kept], peer.y_[:, 0], rtol=1e-9)


def test_two_nn_keeps_all_ratios_for_the_likelihood_as_the_peer_does():
    points = CLOUDS["a square"]()
    peer = skdim.id.TwoNN(discard_fraction=0.0, method="mle").fit(points.numpy())
    found = two_nn(points, discard=0.0, method="likelihood")
    assert float(found.dimension) == pytest.approx(peer.dimension_, rel=1e-9)
    assert two_nn(points, discard=0.0).kept == len(points) - 1  # the last has no place on the line


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("neighbours", [5, 20])
@pytest.mark.parametrize(("average", "comb"), [("inverse", "mle"), ("mean", "mean")])
def test_levina_bickel_is_that_of_scikit_dimension(cloud, neighbours, average, comb):
    points = CLOUDS[cloud]()
    peer = skdim.id.MLE().fit(points.numpy(), n_neighbors=neighbours, comb=comb)
    found = mle_dimension(points, neighbours=neighbours, average=average)
    assert float(found.dimension) == pytest.approx(peer.dimension_, rel=1e-9)
    np.testing.assert_allclose(found.local, peer.dimension_pw_, rtol=1e-7)


def by_hand(ratios):
    """Distances 1 and the ratio."""
    ratios = torch.tensor(ratios, dtype=F64)
    return torch.stack([torch.ones_like(ratios), ratios], dim=1)


def test_two_nn_by_hand():
    """Ratios 2, 2, 4, 8: n = 4; without the last, x = log 2 (1, 1, 2), y = log (4/3, 2, 4)."""
    distances, log = by_hand([8.0, 2.0, 4.0, 2.0]), math.log
    line = (log(4 / 3) + log(2) + 2 * log(4)) / (6 * log(2))
    assert float(from_distances(distances, 0.25).dimension) == pytest.approx(line)
    likelihood = from_distances(distances, 0.25, "likelihood")  # 2 / ((1 + 1 + 2 + 2) log 2)
    assert float(likelihood.dimension) == pytest.approx(2 / (6 * log(2)))
    assert float(likelihood.error) == pytest.approx(2 / (6 * log(2)))


def test_levina_bickel_by_hand():
    """Distances 1, 2, 4: the logarithms of 4 and 2, so that d = 2 / (3 log 2)."""
    found = local_dimensions(torch.tensor([[1.0, 2.0, 4.0]]))
    assert float(found.dimension) == pytest.approx(2 / (3 * math.log(2)))
    assert float(found.error) == pytest.approx(float(found.dimension) / 2**0.5)


@examples(20)
@given(SEEDS, st.floats(1e-8, 1e8), st.sampled_from(list(METHODS)))
def test_estimates_do_not_depend_on_scale_place_turn_and_order(seed, factor, method):
    points = cube(seed, 60, 3)
    turned = factor * (points @ rotation(seed, 3) + 1)
    turned = turned[torch.randperm(60, generator=source(seed))]
    close(two_nn(turned, method=method).dimension, two_nn(points, method=method).dimension, 1e-6)
    close(mle_dimension(turned).dimension, mle_dimension(points).dimension, 1e-6)


@pytest.mark.parametrize("dim", [1, 2])
def test_low_dimensions_are_found_and_high_ones_are_underestimated(dim):
    low = [two_nn(cube(seed, 1000, dim, inside=20)).dimension for seed in range(5)]
    assert torch.stack(low).mean() == pytest.approx(dim, rel=0.05)
    high = cube(0, 1000, 12)
    assert 7 < two_nn(high).dimension < 11
    assert 6 < mle_dimension(high).dimension < 10.5
    control = normal(0, 1000, 20)  # noise has no low dimension
    assert two_nn(control).dimension > 10


@pytest.mark.parametrize("method", METHODS)
def test_the_error_is_the_spread_for_independent_ratios(method):
    """Ratios that are Pareto distributed and independent, as the model has it."""
    generator = source(0)
    ratios = torch.rand(400, 500, generator=generator, dtype=F64) ** (-1 / 3)
    found = [from_distances(by_hand(row.tolist()), 0.1, method) for row in ratios]
    estimates = torch.stack([one.dimension for one in found])
    errors = torch.stack([one.error for one in found])
    assert estimates.mean() == pytest.approx(3, abs=4 * 3 / (400 * 450) ** 0.5 + 0.01)
    assert estimates.std() == pytest.approx(float(errors.mean()), rel=0.12)
    assert errors.mean() == pytest.approx(3 / 450**0.5, rel=0.1)


@pytest.mark.parametrize("estimate", [two_nn, mle_dimension], ids=lambda one: one.__name__)
def test_the_spread_over_clouds_is_near_the_error(estimate):
    found = [estimate(cube(seed, 300, 2)) for seed in range(60)]
    spread = torch.stack([one.dimension for one in found]).std()
    error = torch.stack([one.error for one in found]).mean()
    assert 0.9 < spread / error < 1.9


def test_points_that_coincide_do_not_count():
    points = cube(0, 200, 2)
    more = torch.cat([points, torch.full((2, 2), 5.0, dtype=F64)])  # far away, and twice
    for method in METHODS:
        found, alone = two_nn(more, method=method), two_nn(points, method=method)
        assert found.dimension == alone.dimension and len(found.log_ratios) == 200
    found, alone = mle_dimension(more), mle_dimension(points)
    close(found.dimension, alone.dimension)
    assert found.local[200:].isnan().all() and not found.local[:200].isnan().any()
    assert not mle_dimension(more, average="mean").dimension.isnan()


def test_a_grid_has_no_dimension_at_the_scale_of_its_step():
    grid = torch.cartesian_prod(*[torch.arange(9.0)] * 2)
    assert two_nn(grid).dimension == torch.inf
    assert two_nn(grid, method="likelihood").dimension == torch.inf


def test_results_move():
    found = two_nn(cube(0, 50, 2)).to("meta")
    assert found.dimension.device.type == "meta" and found.kept == 45


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_nn(normal(0, 2, 3)), "points must be three points or more"),
        (lambda: two_nn(torch.zeros(9, 3)), "points must be so many, different from each other"),
        (lambda: two_nn(normal(0, 9, 3), discard=1.0), "discard must be .* < 1"),
        (lambda: two_nn(normal(0, 9, 3), discard=0.9), "discard leaves 0 of them"),
        (lambda: two_nn(normal(0, 9, 3), method="mle"), 'method must be one of "fit"'),
        (lambda: mle_dimension(normal(0, 20, 3)), "points must be more than neighbours=20"),
        (lambda: mle_dimension(normal(0, 20, 3), neighbours=1), "neighbours must be .* >= 2"),
        (
            lambda: mle_dimension(normal(0, 20, 3), neighbours=2, average="mean"),
            "neighbours must be .* >= 3",
        ),
        (lambda: mle_dimension(torch.ones(30, 3)), "points must not all coincide"),
    ],
)
def test_what_has_no_estimate(call, message):
    with pytest.raises(ValueError, match=message):
        call()
