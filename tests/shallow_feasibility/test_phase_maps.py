"""Maps of feasibility beside loops over their cells, and the law of pure noise."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from helpers import F64, normal, source
from torch.nn import functional

from lecturelib.shallow_feasibility import (
    PhaseMap,
    nc_feasibility,
    phase_cell,
    phase_map,
    phase_maps,
    wendel_probability,
)

GRID = [1.0, 1.5, 2.5], [0.2, 1.0, math.inf]
SWEEP = {"samples_per_class": 4, "means": torch.eye(2, dtype=F64)}


def assert_same_map(result, other):
    assert isinstance(result, PhaseMap)
    for name, value in vars(other).items():
        assert torch.equal(getattr(result, name), value), name


@pytest.fixture(scope="module")
def small_map():
    return phase_map(GRID, 40, generator=source(0), **SWEEP)


@pytest.fixture
def solved(monkeypatch):
    """Keep all problems that are solved."""
    kept, solve = [], nc_feasibility

    def keep(inputs, labels, **options):
        kept.append((inputs, labels, options))
        return solve(inputs, labels, **options)

    monkeypatch.setattr(phase_maps, "nc_feasibility", keep)
    return kept


def test_a_map_has_its_axes(small_map):
    assert small_map.dims.tolist() == [4, 6, 10] and small_map.noises.tolist() == GRID[1]
    assert small_map.per_class.shape == small_map.joint.shape == small_map.undecided.shape == (3, 3)
    assert small_map.per_class.dtype == small_map.joint.dtype == small_map.noises.dtype == F64
    assert (small_map.joint <= small_map.per_class).all()
    assert (small_map.joint < small_map.per_class).any()
    assert (small_map.undecided == 0).all()
    assert (small_map.per_class[-1] > small_map.per_class[0]).all()


def test_a_map_is_its_cells_one_after_the_other(small_map):
    generator = source(0)
    for i, j in product(range(3), range(3)):
        counts = phase_cell(small_map.dims[i], GRID[1][j], 40, generator=generator, **SWEEP)
        assert counts[0] == 80 * small_map.per_class[i, j]
        assert counts[1:] == (40 * small_map.joint[i, j], small_map.undecided[i, j])


def test_seeds_differ_and_repeat(small_map):
    assert_same_map(phase_map(GRID, 40, generator=source(0), **SWEEP), small_map)
    other = phase_map(GRID, 40, generator=source(1), **SWEEP)
    assert not torch.equal(other.per_class, small_map.per_class)
    torch.manual_seed(0)
    assert_same_map(phase_map(GRID, 40, **SWEEP), small_map)


def test_every_cell_and_block_has_numbers_of_its_own(solved):
    phase_map(([1.5], [1e6, 1e7, math.inf]), 150, generator=source(0), **SWEEP)
    assert [len(inputs) for inputs, _, _ in solved] == [100, 50] * 3
    starts = torch.stack([inputs[:50, 0, 0] for inputs, _, _ in solved])
    gaps = (starts[:, None] - starts).abs().amax(-1)
    assert gaps[~torch.eye(6, dtype=torch.bool)].min() > 0.1


@pytest.mark.parametrize("noise", [0.3, 2.0, math.inf])
def test_a_cell_is_what_a_loop_counts(solved, noise):
    means, n, trials = normal(3, 3, 2), 5, 30
    d = round(1.55 * n)
    sweep = {"samples_per_class": n, "means": means, "method": "highs", "generator": source(0)}
    result = phase_map(([1.55], [noise]), trials, **sweep)
    assert result.dims.tolist() == [d]
    ((inputs, labels, options),) = solved
    assert inputs.shape == (trials, 15, d) and options == {"method": "highs"}
    answers = [nc_feasibility(X, labels).feasible.tolist() for X in inputs]
    assert result.per_class.item() == pytest.approx(np.mean(answers))
    assert result.joint.item() == pytest.approx(np.mean([all(answer) for answer in answers]))
    # What remains of the samples without their means is standard normal.
    centres = functional.pad(means / noise, (0, d - 2))[labels]
    rest = inputs - centres
    size = rest.numel()
    assert abs(rest.mean()) < 4 / math.sqrt(size)
    assert abs(rest.square().mean() - 1) < 4 * math.sqrt(2 / size)
    assert rest.mean((0, 1)).abs().max() < 4.5 / math.sqrt(size / d)


def test_infinite_noise_is_pure_noise():
    trials, n, K = 150, 6, 3
    ratios = [5 / 6, 10 / 6, 2, 14 / 6, 3]
    maps = [
        phase_map(
            (ratios, [math.inf]),
            trials,
            samples_per_class=n,
            means=means,
            generator=source(0),
        )
        for means in (torch.eye(K), 1e3 * normal(0, K, 2))
    ]
    assert_same_map(*maps)
    expected = wendel_probability(K, n, maps[0].dims)
    # Classes of one trial are not independent: count them as one.
    deviation = (expected * (1 - expected) / trials).sqrt()
    assert ((maps[0].per_class[:, 0] - expected).abs() <= 3 * deviation).all()


def test_undecided_classes_are_counted_apart(monkeypatch, small_map):
    """The first class of every trial is made undecided: neither share may count it."""
    solve = nc_feasibility

    def half(inputs, labels, **options):
        result = solve(inputs, labels, **options)
        result.verdict[:, 0] = 0
        return result

    monkeypatch.setattr(phase_maps, "nc_feasibility", half)
    left = phase_map(GRID, 40, generator=source(0), **SWEEP)
    assert (left.undecided == 40).all() and (left.joint == 0).all()
    assert (left.per_class <= 0.5).all() and (left.per_class <= small_map.per_class).all()
    assert (left.per_class[2] == 0.5).all()


@pytest.mark.parametrize(
    ("grid", "trials", "changes", "match"),
    [
        (([1.0], [0.0]), 1, {}, "grid must be of noise levels that are positive, got"),
        (([1.0], [0.1, -1.0]), 1, {}, "grid must be of noise levels that are positive"),
        (([1.0], [math.nan]), 1, {}, "grid must be of noise levels that are positive"),
        (([0.0], [0.1]), 1, {}, "grid must be of ratios d/n that are positive and finite"),
        (([math.inf], [0.1]), 1, {}, "grid must be of ratios d/n that are positive and finite"),
        (([math.nan], [0.1]), 1, {}, "grid must be of ratios d/n that are positive and finite"),
        (([], [0.1]), 1, {}, "grid must be of ratios d/n"),
        (([1.0], []), 1, {}, "grid must be of noise levels"),
        (([0.3], [0.1]), 1, {}, r"grid must be of ratios with d >= 2, .* got \[1\]"),
        ([[1.0]], 1, {}, "grid must be a pair of sequences"),
        (([1.0], ["loud"]), 1, {}, "grid must be a pair of sequences"),
        (([2.0], [0.1]), 0, {}, "trials must be an integer >= 1, got 0"),
        (([2.0], [0.1]), 1.5, {}, "trials must be an integer"),
        (([2.0], [0.1]), 1, {"samples_per_class": 0}, "samples_per_class must be an integer"),
        (([2.0], [0.1]), 1, {"generator": 0}, "generator must be a torch.Generator or None"),
        (([2.0], [0.1]), 1, {"method": "simplex"}, "method must be one of"),
    ],
)
def test_no_such_map(grid, trials, changes, match):
    with pytest.raises((TypeError, ValueError), match=match):
        phase_map(grid, trials, **SWEEP | changes)


@pytest.mark.parametrize(
    ("dim", "noise", "trials", "match"),
    [
        (1, 0.1, 1, "dim must be an integer >= 2, got 1"),
        (4, 0.0, 1, "noise must be a finite number > 0, got 0"),
        (4, -math.inf, 1, "noise must be"),
        (4, 0.1, 0, "trials must be an integer >= 1, got 0"),
    ],
)
def test_no_such_cell(dim, noise, trials, match):
    with pytest.raises(ValueError, match=match):
        phase_cell(dim, noise, trials, **SWEEP)
