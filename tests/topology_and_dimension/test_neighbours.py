"""Nearest neighbours are those of brute force, whatever the cloud, and never hold N x N."""

import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lecturelib.topology_and_dimension import farthest_points, nearest_neighbours, sphere
from lecturelib.topology_and_dimension import neighbours as module


def all_distances(points):
    return (points[:, None].double() - points.double()).square().sum(2).sqrt()


def brute_force(points, count):
    distances = all_distances(points).fill_diagonal_(torch.inf)
    return distances.sort(dim=1).values[:, :count]


def clusters(seed, gap, size=1e-6):
    """Six small clusters of twenty points, about 1 from each other, ``gap`` from zero."""
    return normal(seed, 6, 1, 5).add(gap).expand(6, 20, 5).flatten(0, 1) + size * normal(9, 120, 5)


def ties(offset):
    """A point and sixty others around it, whose distances differ in the eighth digit."""
    around = torch.nn.functional.normalize(normal(10, 60, 30)) * (1 + 1e-8 * normal(11, 60, 1))
    return torch.cat([torch.zeros(1, 30, dtype=F64), around]) + offset


CLOUDS = {
    "normal": lambda: normal(0, 200, 7),
    "high": lambda: normal(1, 60, 300),
    "a circle": lambda: sphere(300, dim=1, generator=source(2)),
    "on a line": lambda: torch.rand(150, 1, generator=source(3), dtype=F64),
    "tight clusters": lambda: clusters(4, 0.0),
    "tight clusters far away": lambda: clusters(5, 1e5),
    "the tightest clusters": lambda: clusters(4, 0.0, 1e-11),
    "ties": lambda: ties(0.0),
    "ties far away": lambda: ties(100.0),
    "a grid": lambda: torch.cartesian_prod(*[torch.arange(6.0, dtype=F64)] * 3),
    "each point twelve times": lambda: normal(6, 20, 3).repeat(12, 1),
    "one point": lambda: torch.full((15, 4), 0.1, dtype=F64),
    "zeros": lambda: torch.zeros(15, 4, dtype=F64),
    "huge": lambda: 1e250 * normal(7, 50, 4),
    "tiny": lambda: 1e-250 * normal(8, 50, 4),
    "single precision": lambda: clusters(4, 0.0).float(),
    "half precision": lambda: normal(0, 80, 3).half(),
    "two points": lambda: normal(0, 2, 3),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("block", [module.BLOCK, 500])
def test_distances_are_those_of_brute_force(monkeypatch, cloud, block):
    monkeypatch.setattr(module, "BLOCK", block)
    points = CLOUDS[cloud]()
    for count in {1, min(3, len(points) - 1), min(20, len(points) - 1)}:
        distances, indices = nearest_neighbours(points, count)
        unit = float(points.double().abs().max()) or 1.0  # so that the squares stay in range
        torch.testing.assert_close(
            distances / unit, brute_force(points.double() / unit, count), rtol=1e-9, atol=1e-15
        )
        rows = torch.arange(len(points))[:, None]
        assert (indices != rows).all()
        assert all(len(set(row)) == count for row in indices.tolist())
        found = (points.double()[indices] / unit - points.double()[rows] / unit).norm(dim=2)
        torch.testing.assert_close(distances / unit, found, rtol=1e-9, atol=1e-15)


def test_products_alone_would_be_wrong_there():
    points = clusters(4, 0.0).float()
    squares = points.square().sum(1)
    products = (squares + squares[:, None] - 2 * points @ points.T).fill_diagonal_(torch.inf)
    nearest = products.argmin(1)
    chosen = all_distances(points).gather(1, nearest[:, None])
    assert (chosen > 1.01 * brute_force(points, 1)).double().mean() > 0.3


@pytest.mark.parametrize(
    ("cloud", "rows"), [("normal", 0), ("tight clusters", 120), ("each point twelve times", 0)]
)
def test_a_search_in_single_precision_is_repeated_only_where_it_may_be_wrong(
    monkeypatch, cloud, rows
):
    searches = []

    def watched(left, exact, copy, *rest, search=module._by_products):
        searches.append((len(left), copy.dtype))
        return search(left, exact, copy, *rest)

    monkeypatch.setattr(module, "_by_products", watched)
    nearest_neighbours(CLOUDS[cloud](), 2)
    points = len(CLOUDS[cloud]())
    assert searches == [(points, torch.float32), (rows, torch.float64)]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_that_are_not_of_single_precision_are_not_used(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert module._precisions(torch.zeros(1, dtype=F64)) == [F64]
    finally:
        torch.set_float32_matmul_precision(before)
    assert module._precisions(torch.zeros(1, dtype=F64)) == [torch.float32, F64]


class Largest(TorchDispatchMode):
    """Note the number of entries of the largest tensor that any operation makes."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return result


@pytest.mark.parametrize("cloud", ["normal", "tight clusters", "each point twelve times"])
def test_no_tensor_is_larger_than_a_block(monkeypatch, cloud):
    monkeypatch.setattr(module, "BLOCK", 3000)
    points = CLOUDS[cloud]()
    with Largest() as largest:
        nearest_neighbours(points, 2)
    assert points.numel() <= largest.entries <= 3000 < len(points) ** 2 / 4


@examples(60)
@given(SEEDS, st.integers(2, 40), st.integers(1, 6), st.floats(-12, 0), st.booleans())
def test_random_clouds_of_many_scales(seed, count, dim, exponent, single):
    """Points whose distances range over many orders."""
    generator = source(seed)
    sizes = 10 ** (exponent * torch.rand(count, 1, generator=generator, dtype=F64))
    centre = torch.randn(dim, generator=generator, dtype=F64)
    points = centre + sizes * torch.randn(count, dim, generator=generator, dtype=F64)
    points = points.float() if single else points
    wanted = min(3, count - 1)
    distances, _ = nearest_neighbours(points, wanted)
    torch.testing.assert_close(distances, brute_force(points, wanted), rtol=1e-9, atol=1e-16)


def test_gradients_and_inputs_are_left_alone():
    points = normal(0, 20, 3).requires_grad_()
    before = points.detach().clone()
    distances, _ = nearest_neighbours(points, 2)
    assert not distances.requires_grad and torch.equal(points, before)


@pytest.mark.parametrize(
    ("points", "count", "message"),
    [
        (torch.zeros(1, 2), 1, "points must be two points or more"),
        (torch.zeros(5, 2), 5, r"neighbours must be an integer in 1 \.\. 4, got 5"),
        (torch.full((5, 2), torch.nan), 1, "points must be finite"),
        (torch.zeros(5), 1, r"points must be a floating-point tensor of shape \(N, D\)"),
    ],
)
def test_what_cannot_be_searched(points, count, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(points, count)


# --- farthest points ----------------------------------------------------------------------------


def test_every_next_point_is_the_farthest():
    points = normal(0, 60, 3)
    distances = all_distances(points)
    indices, cover = farthest_points(points, 12, start=7)
    assert indices[0] == 7 and indices.dtype == torch.long
    for size in range(1, 12):
        nearest = distances[indices[:size]].amin(0)
        assert nearest[indices[size]] == nearest.max()
    close(cover, distances[indices].amin(0).max())


def test_few_points_cover_a_cloud_within_twice_the_optimum():
    points = normal(1, 14, 2)
    distances = all_distances(points)
    optimum = min(
        torch.maximum(torch.maximum(distances[a], 0 * distances[a]), 0 * distances[a]).new_tensor(
            float(torch.stack([distances[a], distances[b], distances[c]]).amin(0).max())
        )
        for a in range(14)
        for b in range(a)
        for c in range(b)
    )
    _, cover = farthest_points(points, 3)
    assert optimum <= cover <= 2 * optimum


def test_repeated_points_are_chosen_once_and_all_points_at_most_once():
    points = normal(2, 5, 2)
    indices, cover = farthest_points(points.repeat(4, 1), 20)
    assert sorted(index % 5 for index in indices.tolist()) == [0, 1, 2, 3, 4] and cover == 0
    indices, cover = farthest_points(points, 100)
    assert sorted(indices.tolist()) == [0, 1, 2, 3, 4] and cover == 0


@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_cover_of_any_choice(monkeypatch, count):
    monkeypatch.setattr(module, "BLOCK", 100)
    points, indices = normal(3, 60, 4), torch.arange(count)
    close(module.cover_radius(points, indices), all_distances(points)[:count].amin(0).max())
