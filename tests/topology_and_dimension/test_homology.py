"""Betti numbers by hand, by ranks and by machine agree; shapes have theirs, noise has none."""

import math
from itertools import combinations

import gudhi
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, rotation, source
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.topology_and_dimension import (
    betti_numbers,
    boundary_matrix,
    linked_rings,
    nested_spheres,
    persistence,
    rips_complex,
    simplicial_betti_numbers,
    sphere,
    torus,
)

SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)])
# The corners of a 3 x 3 grid whose opposite sides are one, each of its squares cut in two.
SEVEN = [(i, (i + 1) % 7, (i + 3) % 7) for i in range(7)]
SEVEN += [(i, (i + 2) % 7, (i + 3) % 7) for i in range(7)]
# Six vertices, ten triangles: every edge of two of them.
PROJECTIVE = ["012", "013", "024", "035", "045", "125", "134", "145", "234", "235"]


# --- complexes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("simplices", "expected"),
    {
        "a point": ([(0,)], (1,)),
        "two points": ([(0,), (5,)], (2,)),
        "the outline of a triangle": ([(0, 1), (1, 2), (2, 0)], (1, 1)),
        "a filled triangle": ([(2, 1, 0)], (1, 0, 0)),
        "two loops that share a point": ([(0, 1), (1, 2), (2, 0), (0, 3), (3, 4), (4, 0)], (1, 2)),
        "a triangle and an outline": ([(0, 1, 2), (3, 4), (4, 5), (3, 5)], (2, 1, 0)),
        "a hollow tetrahedron": (list(combinations(range(4), 3)), (1, 0, 1)),
        "a full tetrahedron": ([range(4)], (1, 0, 0, 0)),
        "the boundary of a simplex in five dimensions": (
            list(combinations(range(6), 5)),
            (1, 0, 0, 0, 1),
        ),
        "the torus of seven vertices": (SEVEN, (1, 2, 1)),
        "the projective plane, modulo two": ([tuple(map(int, t)) for t in PROJECTIVE], (1, 1, 1)),
    }.values(),
)
def test_betti_numbers_of_known_complexes(simplices, expected):
    assert simplicial_betti_numbers(simplices) == expected


@examples(30)
@given(SEEDS, st.integers(1, 12))
def test_the_alternating_sum_of_betti_numbers_is_that_of_simplices(seed, count):
    generator = source(seed)
    simplices = [torch.randperm(9, generator=generator)[: 1 + i % 4].tolist() for i in range(count)]
    faces = {face for s in simplices for k in range(1, 5) for face in combinations(sorted(s), k)}
    characteristic = sum((-1) ** (len(face) - 1) for face in faces)
    betti = simplicial_betti_numbers(simplices)
    assert sum((-1) ** k * number for k, number in enumerate(betti)) == characteristic
    assert min(betti) >= 0 and betti[0] >= 1


def test_boundaries_have_no_boundary():
    simplices = [(0, 1, 2, 3), (2, 3, 4), (4, 5)]
    edges, triangles, solids = (boundary_matrix(simplices, dim) for dim in (1, 2, 3))
    assert (edges.shape, triangles.shape, solids.shape) == ((6, 9), (9, 5), (5, 1))
    assert all((m.sum(0) == k).all() for k, m in [(2, edges), (3, triangles), (4, solids)])
    for low, high in [(edges, triangles), (triangles, solids)]:
        product = low @ high
        assert product.any() and (product % 2 == 0).all()
    assert boundary_matrix(simplices, 4).shape == (1, 0)
    assert boundary_matrix(simplices, 7).shape == (0, 0)


def rips_by_definition(points, scale, most):
    distances = (points[:, None] - points).norm(dim=2)
    return [
        vertices
        for size in range(1, most + 1)
        for vertices in combinations(range(len(points)), size)
        if all(distances[pair] <= scale for pair in combinations(vertices, 2))
    ]


@pytest.mark.parametrize("max_dim", [0, 1, 2])
@pytest.mark.parametrize("scale", [0.0, 0.7, 1.3, 9.0])
def test_the_complex_of_a_scale_has_all_simplices_of_that_diameter(max_dim, scale):
    points = normal(max_dim, 9, 2)
    expected = rips_by_definition(points, scale, max_dim + 2)
    assert rips_complex(points, scale, max_dim) == expected


# --- persistence --------------------------------------------------------------------------------


def test_three_points_never_have_a_loop_and_four_have_one_for_a_while():
    assert [persistence(TRIANGLE).betti(scale) for scale in (0.9, 1.1)] == [(3, 0), (1, 0)]
    diagrams = persistence(SQUARE)
    close(diagrams[1], torch.tensor([[1.0, 2**0.5]], dtype=F64), 1e-7)
    close(diagrams[0][1:], torch.tensor([[0.0, 1.0]] * 3, dtype=F64))
    assert diagrams[0][0].tolist() == [0.0, math.inf]
    close(persistence(OCTAHEDRON, 2)[2], torch.tensor([[2**0.5, 2.0]], dtype=F64), 1e-7)


@examples(40)
@given(SEEDS, st.integers(1, 9), st.integers(1, 3), st.integers(0, 2))
def test_the_machine_counts_as_the_ranks_do(seed, count, dim, max_dim):
    points = normal(seed, count, dim)
    diagrams = persistence(points, max_dim)
    distances = (points[:, None] - points).norm(dim=2).flatten().unique()
    for scale in [*(distances + 1e-9).tolist()[:: max(1, len(distances) // 6)], 0.3, 2.0]:
        by_ranks = simplicial_betti_numbers(rips_complex(points, scale, max_dim))
        expected = (*by_ranks, 0, 0, 0)[: max_dim + 1]
        assert diagrams.betti(scale) == expected
        assert betti_numbers(points, max_dim, scale) == expected


def bars_of(diagrams):
    return [sorted(map(tuple, bars.round(decimals=9).tolist())) for bars in diagrams.bars]


@pytest.mark.parametrize("max_dim", [0, 1, 2])
def test_a_limit_only_cuts_the_bars(max_dim):
    points = sphere(60, 2, generator=source(0))
    whole, cut = persistence(points, max_dim), persistence(points, max_dim, max_scale=0.8)
    assert (whole.reach, cut.reach) == (math.inf, 0.8)
    for all_bars, cut_bars in zip(bars_of(whole), bars_of(cut), strict=True):
        born = [(b, d if d <= 0.8 else math.inf) for b, d in all_bars if b <= 0.8]
        assert cut_bars == sorted(born)
    assert cut.betti(0.8) == whole.betti(0.8)
    with pytest.raises(
        ValueError, match=r"scale must be at most 0\.8, which was reached, got 0\.9"
    ):
        cut.betti(0.9)


def test_curves_are_the_numbers_at_each_scale():
    diagrams = persistence(torus(300, generator=source(0)), samples=40)
    scales = torch.tensor([2.0, 0.1, 1.4, 0.0, 9.0])
    assert diagrams.curves(scales).tolist() == [list(diagrams.betti(float(s))) for s in scales]
    assert diagrams.betti(0.0) == (40, 0) and diagrams.betti(9.0) == (1, 0)
    with pytest.raises(ValueError, match="scales must be between 0 and inf"):
        diagrams.curves(torch.tensor([-1.0]))


def test_bars_are_sorted_by_length():
    for bars in persistence(normal(0, 60, 2)).bars:
        lengths = bars[:, 1] - bars[:, 0]
        assert (lengths[1:] <= lengths[:-1]).all() and (lengths > 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("max_dim", [0, 1, 2, 3])
def test_few_points_and_equal_ones(count, max_dim):
    none = (0,) * max_dim
    for points in (torch.ones(count, 2), torch.ones(5, 3)):
        for relative in (False, True):
            diagrams = persistence(points, max_dim, relative=relative)
            assert diagrams.betti(0.0) == diagrams.betti(1.0) == diagrams.prominent() == (1, *none)
    apart = 10 * torch.arange(count)[:, None].float()
    assert persistence(apart, max_dim).betti(1.0) == (count, *none)


# --- shapes -------------------------------------------------------------------------------------

SHAPES = {
    "a circle": (
        lambda g: sphere(500, 1, generator=g),
        {"max_dim": 1, "samples": 60},
        (0.3, 1.0, 1.6),
        (1, 1),
    ),
    "a circle with noise": (
        lambda g: sphere(500, 1, noise=0.08, generator=g),
        {"max_dim": 1},
        (0.5, 1.0, 1.4),
        (1, 1),
    ),
    "a sphere": (
        lambda g: sphere(2000, generator=g),
        {"max_dim": 2},
        (0.7, 1.0, 1.5),
        (1, 0, 1),
    ),
    "a torus": (
        lambda g: torus(4000, generator=g),
        {"max_dim": 2, "samples": 200},
        (1.25, 1.5, 1.65),
        (1, 2, 1),
    ),
    "linked rings": (
        lambda g: linked_rings(500, generator=g)[0],
        {"max_dim": 1, "samples": 120},
        (0.25, 0.5, 0.95),
        (2, 2),
    ),
    "nested spheres": (
        lambda g: nested_spheres(2000, radii=(1.0, 3.0), generator=g)[0],
        {"max_dim": 2, "samples": 200, "max_scale": 1.9},
        (1.55, 1.6),
        (2, 0, 2),
    ),
    "nested circles": (
        lambda g: nested_spheres(900, 1, radii=(1.0, 2.0, 3.0), generator=g)[0],
        {"max_dim": 1, "samples": 200},
        (0.5, 0.7, 0.9),
        (3, 3),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_shapes_have_their_betti_numbers_and_noise_has_not(shape, seed):
    draw, options, scales, expected = SHAPES[shape]
    points = draw(source(seed))
    diagrams = persistence(points, **options)
    assert [diagrams.betti(scale) for scale in scales] == [expected] * len(scales)
    # The control: as many points with the same mean and covariance, and no shape. By chance it may
    # have the numbers at one scale, as anything goes through many of them, but not at two.
    root = torch.linalg.cholesky(points.T.cov())
    noise = points.mean(0) + normal(seed, *points.shape) @ root.T
    control = persistence(noise, **options)
    assert [control.betti(scale) for scale in scales].count(expected) < 2


def test_each_of_two_linked_tori_is_a_torus():
    points, labels = linked_rings(3000, tube=0.3, generator=source(0))
    for label in range(2):
        chosen = points[labels == label]
        assert betti_numbers(chosen, 2, 0.42, samples=250) == (1, 2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_loops_that_last_are_counted_without_a_scale(seed):
    def count(points, **options):
        return persistence(points, **options).prominent()

    generator = source(seed)
    assert count(sphere(500, 1, generator=generator)) == (1, 1)
    assert count(1e6 * sphere(500, 1, noise=0.05, generator=generator)) == (1, 1)
    assert count(linked_rings(500, generator=generator)[0], samples=120) == (2, 2)
    assert count(torus(4000, generator=generator), samples=200) == (1, 2)
    assert count(sphere(2000, generator=generator), max_dim=2) == (1, 0, 1)
    assert count(torch.randn(500, 3, generator=generator)) == (1, 0)
    assert count(torch.randn(500, 10, generator=generator)) == (1, 0)
    three = torch.eye(3).repeat(50, 1) + 0.01 * torch.randn(150, 3, generator=generator)
    assert count(three, max_dim=0) == (3,)
    assert persistence(three, max_dim=0, max_scale=0.5).prominent() == (3,)


# --- which points, which unit -------------------------------------------------------------------


@examples(15)
@given(SEEDS, st.sampled_from(["farthest", "random"]))
def test_no_bar_moves_by_more_than_twice_the_cover(seed, subsample):
    points = sphere(100, 1, noise=0.1, generator=source(seed))
    whole = persistence(points)
    part = persistence(points, samples=30, subsample=subsample, generator=source(seed))
    for bars, others in zip(whole.bars, part.bars, strict=True):
        moved = gudhi.bottleneck_distance(bars.numpy(), others.numpy())
        assert moved <= 2 * part.cover + 1e-9


def test_the_points_that_were_used_are_named():
    points = normal(0, 100, 3)
    first = persistence(points, samples=30, subsample="random", generator=source(1))
    again = persistence(points, samples=30, subsample="random", generator=source(1))
    other = persistence(points, samples=30, subsample="random", generator=source(2))
    assert torch.equal(first.indices, again.indices) and not torch.equal(
        first.indices, other.indices
    )
    assert len(first.indices.unique()) == 30
    alone = persistence(points[first.indices])
    assert bars_of(first) == bars_of(alone) and alone.cover == 0
    distances = (points[:, None] - points[first.indices]).norm(dim=2)
    close(first.cover, distances.amin(1).max())
    farthest = persistence(points, samples=30)
    assert farthest.cover < first.cover
    everything = persistence(points, samples=1000)
    assert len(everything.indices) == 100


def test_a_random_part_hardly_sees_outliers():
    points = torch.cat([sphere(400, 1, generator=source(0)), 5 * normal(1, 8, 2)])
    scale = {"max_dim": 1, "scale": 1.0, "samples": 60}
    drawn = betti_numbers(points, **scale, subsample="random", generator=source(3))
    assert betti_numbers(points, **scale)[0] > drawn[0]


@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
def test_relative_scales_do_not_depend_on_size_place_and_turn(factor):
    points = torus(80, generator=source(0))
    turned = factor * (points @ rotation(0, 3) + 1)
    first, second = (persistence(cloud, relative=True) for cloud in (points, turned))
    for one, other in zip(first.bars, second.bars, strict=True):
        close(one, other, 1e-9)
    radius = (points - points.mean(0)).norm(dim=1).square().mean().sqrt()
    close(first.unit, radius)
    close(first.bars[1] * radius, persistence(points).bars[1])
    close(second.unit / factor, first.unit)


def test_results_move_and_inputs_stay():
    points = normal(0, 20, 3).requires_grad_()
    before = points.detach().clone()
    diagrams = persistence(points).to("meta")
    assert diagrams[1].device.type == diagrams.cover.device.type == "meta"
    assert torch.equal(points, before)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: simplicial_betti_numbers([]), ValueError, "simplices must be at least one"),
        (lambda: simplicial_betti_numbers([(0, 0)]), ValueError, "simplices must be simplices"),
        (lambda: simplicial_betti_numbers([3]), TypeError, "each of simplices must be a sequence"),
        (lambda: simplicial_betti_numbers([(0, -1)]), ValueError, "each of simplices"),
        (lambda: boundary_matrix([(0, 1)], 0), ValueError, "dim must be an integer >= 1"),
        (lambda: rips_complex(SQUARE, -1.0), ValueError, "scale must be"),
        (lambda: persistence(SQUARE, 4), ValueError, r"max_dim must be an integer in 0 \.\. 3"),
        (lambda: persistence(SQUARE, max_scale=0.0), ValueError, "max_scale must be .* > 0"),
        (lambda: persistence(SQUARE, subsample="grid"), ValueError, "subsample must be one of"),
        (lambda: betti_numbers(SQUARE, 1, 0.0), ValueError, "scale must be .* > 0"),
        (lambda: persistence(SQUARE).prominent(1.0), ValueError, "ratio must be .* > 1"),
    ],
)
def test_what_has_no_holes_to_count(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
