"""The recorded runs of sparse features: a row for every cell, and the cheap parts again."""

import json

import pytest
import torch

from lecturelib.experiments.sparse_features import (
    ATTACKED,
    EXPERIMENTS,
    KINDS,
    PENALTIES,
    SEVERITIES,
    bytes_kept,
    dial_gain,
    disturbed_codes,
    noise_curves,
    residual_correlation,
    robust_network,
    sparse_labels,
    sparse_network,
    sparse_robust,
    sparse_start,
    sparse_top,
    sparse_turned,
)
from lecturelib.records import recorded
from lecturelib.sparse_features import ConvolutionalSparseCoding

CONDITIONS = {"none", *(f"{kind}-{severity}" for kind in KINDS for severity in SEVERITIES)}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_cell_of_the_grid_has_its_row(experiment):
    rows = recorded(experiment.name).values
    assert [{key: row[key] for key in experiment.grid[0]} for row in rows] == list(experiment.grid)


def test_networks_before_training_come_out_again():
    rows = [*recorded("sparse-networks").values, *recorded("sparse-norms").values]
    for row in rows[::10]:
        settings = {key: row[key] for key in ("seed", "width", "recipe", "labels")}
        again = sparse_network(**settings, epochs=1)
        assert again["before"] == pytest.approx(row["before"], abs=2e-3)
    for row in rows:
        for key in ("before", "after", "silent"):
            assert len(row[key]) == 4 and all(0 <= share <= 1 for share in row[key])
        assert row["accuracy"][0] > 0.9
        assert (row["accuracy"][1] > 0.85) == (row["labels"] == "true")


def test_a_narrow_network_with_wrong_labels_comes_out_again():
    rows = recorded("sparse-labels").values
    [row] = [r for r in rows if (r["seed"], r["noise"], r["width"]) == (0, 0.4, 16)]
    again = sparse_labels(seed=0, noise=0.4, width=16)
    for key in ("fitted", "test", "best"):
        assert again[key] == pytest.approx(row[key], abs=0.05), key
    assert all(row["test"] <= row["best"] for row in rows)


def test_the_share_of_wrong_labels_is_that_asked_for():
    """A network that has learned little fits the true labels and misses the wrong ones."""
    row = sparse_labels(seed=1, noise=0.4, width=16, epochs=5)
    assert row["fitted"] == pytest.approx(0.6 * row["best"], abs=0.08)


@pytest.mark.parametrize("k", [1, 5])
def test_what_a_network_keeps(k):
    net, images = sparse_top(20, k), torch.rand(7, 1, 8, 8)
    for stop in (4, 7):
        assert ((net[:stop](images) != 0).sum(1) <= k).all()


def test_a_cell_of_noise_and_attacks():
    row = sparse_robust(seed=0, dataset="digits", epochs=1, images=100, new=20)
    assert row == json.loads(json.dumps(row))
    for name, count in (("conv", 1), ("one", len(PENALTIES)), ("two", len(PENALTIES))):
        for split in ("validation", "test"):
            assert set(row[name][split]) == CONDITIONS
            assert all(len(accuracies) == count for accuracies in row[name][split].values())
    for table, count in ((row["conv"]["attacks"], 1), (row["two"]["attacks"], len(ATTACKED))):
        assert len(table) == count
        for clean, noise, short, long, _ in table:
            assert clean >= noise and clean >= short >= long


@pytest.mark.parametrize("bias", ["free", "fixed"])
def test_a_convolution_with_a_threshold(bias):
    row = sparse_start(seed=1, bias=bias, dataset="digits", epochs=8, images=600, new=100)
    assert row["test"][0] > 0.7 and len(row["test"]) == 6
    clean, noise, short, long = row["attacks"]
    assert clean >= noise and clean >= short >= long


def synthetic(best, residual):
    """A row in which the penalty with index best[c] is right in condition c."""
    net = {
        "validation": {c: [float(i == best[c]) for i in range(len(PENALTIES))] for c in best},
        "test": {c: [i / 10 for i in range(len(PENALTIES))] for c in best},
        "residual": {c: [value, value] for c, value in residual.items()},
    }
    return {"two": net, "conv": {"test": {c: [0.5] for c in best}}}


def test_the_penalty_is_read_off_a_line_through_other_kinds_of_noise():
    """Where the residual is the best penalty, the line is the diagonal."""
    best = {c: 0 if c == "none" else int(c[-1]) for c in CONDITIONS}
    residual = {c: PENALTIES[i] for c, i in best.items()}
    row = synthetic(best, residual)
    assert noise_curves(row, "conv", "shot") == {"fixed": [0.5] * 6}
    for kind in KINDS:
        found = noise_curves(row, "two", kind)
        assert found["fixed"] == [PENALTIES.index(0.1) / 10] * 6
        assert found["best"] == found["residual"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
        assert residual_correlation(row, "two") > 0.98
        # What is best for the kind itself is not looked at.
        own = {c: 6 if c.startswith(kind) else i for c, i in best.items()}
        other = noise_curves(synthetic(own, residual), "two", kind)
        assert other["residual"] == found["residual"] and other["best"] == [0] + [0.6] * 5


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_first_layers_have_maps_of_the_size_of_the_image(steps, channels):
    net, images = robust_network(steps, channels), torch.rand(2, channels, 9, 10)
    assert isinstance(net[0], ConvolutionalSparseCoding) == bool(steps)
    assert net[0](images).shape == (2, 16, 9, 10) and net(images).shape == (2, 10)


def test_the_record_of_noise_has_every_condition():
    for row in recorded("sparse-robust").values:
        for name in ("one", "two"):
            assert set(row[name]["residual"]) == set(row[name]["test"]) == CONDITIONS
        clean = row["two"]["test"]["none"][PENALTIES.index(0.1)]
        assert 0.8 < clean < 1 and row["two"]["attacks"][0][0] > 0.7


@pytest.mark.parametrize("net", ["conv", "fixed", "two"])
def test_a_network_that_is_turned(net):
    row = sparse_turned(seed=1, net=net, epochs=8, dataset="digits", images=600, new=100)
    assert row["fitted"] > 0.8 and row["test"]["none"][0] > 0.6
    for split in ("validation", "test"):
        assert set(row[split]) == {c for c in CONDITIONS if not c.startswith("shot")}
        for accuracies in row[split].values():
            assert len(accuracies) == (1 if net == "conv" else len(PENALTIES))
    if net == "fixed":  # the bias of training is among those that are tried
        start = sparse_start(seed=1, bias="fixed", dataset="digits", epochs=8, images=600, new=100)
        found = noise_curves({net: row}, net, "gaussian")["fixed"]
        assert start["test"] == pytest.approx(found, abs=1e-9)


def test_four_epochs_are_those_of_the_other_record():
    """Two records of the same networks, by two functions, agree."""
    turned = [r for r in recorded("sparse-turned").values if r["epochs"] == 4]
    starts = [r for r in recorded("sparse-start").values if r["bias"] == "fixed"]
    assert len(turned) == len(starts) == 3
    for row, other in zip(turned, starts, strict=True):
        found = noise_curves({"fixed": row}, "fixed", "gaussian")
        assert found["fixed"] == other["test"]
        assert "residual" not in found


def test_the_gain_of_a_dial():
    """A right penalty is worth one where the trained one is wrong, at severities 4 and 5 only."""
    best = {c: 1 if c == "none" else int(c[-1]) for c in CONDITIONS}
    row = synthetic(best, {c: PENALTIES[i] for c, i in best.items()})
    assert dial_gain(row, "two") == pytest.approx((0.3 + 0.4) / 2)
    assert dial_gain(row, "two", "residual") == pytest.approx((0.3 + 0.4) / 2)


def test_memory_grows_with_the_steps():
    batch = torch.rand(2, 1, 9, 9)
    one, two, five = (bytes_kept(robust_network(k), batch) for k in (1, 2, 5))
    maps = 4 * 2 * 16 * 9 * 9
    assert one + maps <= two and two + 3 * maps <= five


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_codes_of_orthonormal_atoms_are_exact(noise):
    generator = torch.Generator().manual_seed(3)
    atoms = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    exact, errors = disturbed_codes(atoms, 4, generator=generator, count=20, noise=noise)
    # Every entry is off by the penalty, twice the noise, and by no more than the noise besides.
    assert exact.shape == (20,) and exact.all()
    assert (errors > 1).all() and (errors <= 3 + 1e-6).all()
