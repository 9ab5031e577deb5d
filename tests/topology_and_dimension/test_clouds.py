"""Clouds lie where they should, evenly; linked means linked."""

import math

import pytest
import torch
from helpers import close, source

from lecturelib.topology_and_dimension import linked_rings, nested_spheres, sphere, torus


def test_points_of_a_sphere_are_even():
    points = sphere(4000, 3, radius=2.0, generator=source(0))
    close(points.norm(dim=1), torch.full((4000,), 2.0, dtype=points.dtype))
    assert points.mean(0).norm() < 0.15
    close(points.T.cov(), torch.eye(4, dtype=points.dtype), 0.1)
    assert set(sphere(50, 0, generator=source(0)).flatten().tolist()) == {-1.0, 1.0}


def test_points_of_a_torus_are_even_by_area():
    points = torus(20_000, radius=2.0, tube=1.0, generator=source(0))
    outwards = points[:, :2].norm(dim=1) - 2
    close(outwards.square() + points[:, 2].square(), torch.ones(20_000, dtype=points.dtype))
    # The outer half has the share 1/2 + tube / (pi radius), 0.66; evenly by angle it would be 0.5.
    share = (outwards > 0).double().mean()
    assert share == pytest.approx(0.5 + 1 / (2 * math.pi), abs=4 * 0.5 / 20_000**0.5)
    angles = torch.atan2(points[:, 1], points[:, 0])
    assert angles.cos().mean().abs() < 0.03 and angles.sin().mean().abs() < 0.03


def linking_number(first, second):
    """Gauss's integral over two closed curves, given by their corners in order."""
    steps = [curve.roll(-1, 0) - curve for curve in (first, second)]
    middles = [curve + step / 2 for curve, step in zip((first, second), steps, strict=True)]
    apart = middles[0][:, None] - middles[1]
    crosses = torch.linalg.cross(*torch.broadcast_tensors(steps[0][:, None], steps[1]))
    return ((apart * crosses).sum(2) / apart.norm(dim=2) ** 3).sum() / (4 * math.pi)


def in_order(ring, centre, plane):
    around = ring[:, plane] - torch.tensor(centre, dtype=ring.dtype)
    return ring[torch.atan2(around[:, 1], around[:, 0]).argsort()]


def test_rings_are_linked():
    points, labels = linked_rings(800, generator=source(0))
    first, second = points[labels == 0], points[labels == 1]
    close(first.norm(dim=1), torch.ones(800, dtype=points.dtype))
    assert (first[:, 2] == 0).all() and (second[:, 1] == 0).all()
    first, second = in_order(first, [0.0, 0.0], [0, 1]), in_order(second, [1.0, 0.0], [0, 2])
    assert linking_number(first, second).abs() == pytest.approx(1, abs=0.02)
    moved = second + torch.tensor([5.0, 0.0, 0.0])  # the control: pulled apart
    assert linking_number(first, moved).abs() < 0.02
    distances = torch.cdist(first, second)
    assert distances.amin(1).max() < 1.02 and distances.min() > 1 - 1e-9


def test_tubes_are_thick_and_do_not_touch():
    points, labels = linked_rings(500, tube=0.3, generator=source(0))
    first, second = points[labels == 0], points[labels == 1]
    for ring, centre, plane, axis in [(first, 0.0, [0, 1], 2), (second, 1.0, [0, 2], 1)]:
        shifted = ring[:, plane] - torch.tensor([centre, 0.0], dtype=ring.dtype)
        outwards = shifted.norm(dim=1) - 1
        close(outwards.hypot(ring[:, axis]), torch.full((500,), 0.3, dtype=ring.dtype))
    assert torch.cdist(first, second).min() > 0.4


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_spheres_are_nested(dim):
    points, labels = nested_spheres(50, dim, radii=[1.0, 2.5, 4.0], generator=source(0))
    assert points.shape == (150, dim + 1) and labels.bincount().tolist() == [50, 50, 50]
    radii = torch.tensor([1.0, 2.5, 4.0], dtype=points.dtype)
    close(points.norm(dim=1), radii[labels])


DRAWS = {
    "sphere": lambda **options: sphere(300, **options),
    "torus": lambda **options: torus(300, **options),
    "linked_rings": lambda **options: linked_rings(150, **options)[0],
    "nested_spheres": lambda **options: nested_spheres(150, **options)[0],
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_noise_is_added_and_draws_repeat(draw):
    clean, noisy = draw(generator=source(0)), draw(generator=source(0), noise=0.1)
    assert (noisy - clean).std() == pytest.approx(0.1, rel=0.15)
    assert torch.equal(clean, draw(generator=source(0)))
    assert not torch.equal(clean, draw(generator=source(1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sphere(0), "samples must be an integer >= 1"),
        (lambda: sphere(3, radius=0.0), "radius must be .* > 0"),
        (lambda: torus(3, tube=2.0), r"tube must be .* < 2\.0"),
        (lambda: linked_rings(3, tube=0.5), r"tube must be .* < 0\.5"),
        (lambda: nested_spheres(3, radii=()), "radii must be one positive number or more"),
        (lambda: nested_spheres(3, radii=(1.0, -1.0)), "each of radii must be"),
        (lambda: nested_spheres(3, noise=-1.0), "noise must be"),
    ],
)
def test_what_cannot_be_drawn(call, message):
    with pytest.raises(ValueError, match=message):
        call()
