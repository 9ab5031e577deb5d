"""What optimisers and networks do to the blocks: the record's rows again, and what they rest on."""

import json

import pytest
import torch
from helpers import F64, source

from lecturelib.deep_linear import end_to_end, init_weights
from lecturelib.experiments import law_of_parsimony as runs
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    invariant_subspaces,
    subspace_angles,
)
from lecturelib.records import recorded

OPTIMISERS, NETWORKS = runs.EXPERIMENTS


def close(found, expected):
    """Equal but for rounding, which the smallest numbers are made of."""
    assert set(found) == set(expected)
    for key, value in expected.items():
        if isinstance(value, str | int):
            assert found[key] == value, key
        else:
            assert found[key] == pytest.approx(value, rel=1e-3, abs=1e-11), key


@pytest.mark.parametrize("experiment", runs.EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_record_has_a_row_for_every_cell_of_the_grid(experiment):
    rows = recorded(experiment.name).values
    keys = experiment.grid[0]
    assert [{key: row[key] for key in keys} for row in rows] == list(experiment.grid)
    assert len({row["seed"] for row in rows}) == 3


@pytest.mark.parametrize("method", runs.METHODS)
def test_rows_of_the_optimisers_come_out_again(method):
    (row,) = (
        r for r in recorded(OPTIMISERS.name).values if (r["method"], r["seed"]) == (method, 1)
    )
    again = runs.parsimony_optimisers(method=method, seed=1)
    assert again == json.loads(json.dumps(again))
    if method == "polar factor":  # it turns rounding, which differs, into steps
        assert again["distance"] == pytest.approx(row["distance"], abs=0.005)
        assert 1e-4 < again["outside"] < 0.05
    else:
        close(again, row)


def test_noise_breaks_white_batches_but_not_the_full_batch(monkeypatch):
    method = "white, noisy targets"
    assert runs.parsimony_optimisers(method=method, seed=0)["outside"] > 0.01
    monkeypatch.setitem(runs.BATCHES, method, runs.SAMPLES)
    assert runs.parsimony_optimisers(method=method, seed=0)["outside"] < 1e-12


def test_a_row_of_the_networks_comes_out_again():
    rows = recorded(NETWORKS.name).values
    (row,) = (row for row in rows if (row["network"], row["seed"]) == ("MLP", 2))
    again = runs.parsimony_networks(network="MLP", seed=2)
    assert again == json.loads(json.dumps(again))
    # Other processors round otherwise, and training carries that on.
    assert again["accuracy"] == pytest.approx(row["accuracy"], abs=0.02)
    for key in ("shares", "median", "worst", "caught"):
        assert again[key] == pytest.approx(row[key], rel=0.05), key
    assert again["values"][:10] == pytest.approx(row["values"][:10], rel=0.02)


def test_idle_bases_of_square_layers_are_those_of_the_theorem():
    weights = init_weights([30] * 4, runs.SCALE, generator=source(0), dtype=F64)
    phi = end_to_end(init_weights([30, 3, 30], generator=source(1), dtype=F64))
    bases = runs.idle_bases(weights, phi)
    known = invariant_subspaces(weights, None, phi, 3)
    for basis, (_, V) in zip(bases, known, strict=False):
        assert subspace_angles(basis, V[:, 6:]).max() < 1e-7


@pytest.mark.parametrize(
    ("widths", "idle"), [((12, 14, 16), 8), ((12, 8, 12), 4), ((12, 15, 12), 5), ((12, 8, 9), 4)]
)
def test_idle_directions_of_unequal_widths(widths, idle):
    """A bottleneck of w leaves w - 2r, a middle of w > d leaves 2d - w - 2r."""
    weights = init_weights(widths, runs.SCALE, generator=source(2), dtype=F64)
    phi = end_to_end(init_weights([widths[0], 2, widths[-1]], generator=source(3), dtype=F64))
    bases = runs.idle_bases(weights, phi)
    assert [basis.shape[1] for basis in bases] == [idle] * len(bases)
    for weight, V, U in zip(weights, bases, bases[1:], strict=False):
        assert torch.allclose(weight @ V, runs.SCALE * U, atol=1e-10)
        assert torch.allclose(weight.mT @ U, runs.SCALE * V, atol=1e-10)
    assert (phi @ bases[0]).abs().max() < 1e-10 and (phi.mT @ bases[-1]).abs().max() < 1e-10


@pytest.mark.parametrize(
    "arguments", [{"method": "magic", "seed": 0}, {"method": "Adam", "seed": -1}]
)
def test_no_such_run_of_an_optimiser(arguments):
    with pytest.raises(ValueError, match=r"^(method|seed) must be"):
        runs.parsimony_optimisers(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"network": "RNN", "seed": 0}, {"network": "MLP", "seed": -1}]
)
def test_no_such_run_of_a_network(arguments):
    with pytest.raises(ValueError, match=r"^(network|seed) must be"):
        runs.parsimony_networks(**arguments)


def test_adam_in_the_bases_of_the_theorem_keeps_the_blocks_and_is_faster():
    """The numbers of the chapter's exercise."""
    layers = [(0.8 * torch.eye(30, dtype=F64)).requires_grad_() for _ in range(3)]
    target = torch.zeros(30, 30, dtype=F64)
    target[:6, :6] = torch.randn(6, 6, generator=source(4), dtype=F64)
    adam = torch.optim.Adam(layers, lr=0.01)
    for _ in range(50):
        adam.zero_grad()
        ((end_to_end(layers) - target).square().sum() / 2).backward()
        adam.step()
    weight = layers[0].detach()
    assert weight[:6, 6:].abs().max() == 0 and weight[6:, :6].abs().max() == 0
    assert weight.diagonal()[6:].tolist() == pytest.approx([0.47] * 24, abs=0.005)
    assert bulk_singular_value(0.8, 3, lr=0.01, steps=50)[-1] == pytest.approx(0.69, abs=0.005)
