"""The full-scale runs of the decay law: cells by plain descent, the record's cheap rows again."""

import json
from itertools import pairwise

import pytest
import torch
from helpers import F64, source

from lecturelib.deep_linear import gradient_descent, init_weights
from lecturelib.experiments import progressive_separation as separation_module
from lecturelib.experiments.progressive_separation import (
    EXPERIMENTS,
    separation_angles,
    separation_decay,
    separation_network,
    separation_settings,
    separation_turning,
)
from lecturelib.progressive_separation import decay_correction, feature_compression, predicted_decay
from lecturelib.records import recorded

KEYS = ("scale", "depth", "samples_per_class", "output_scale")


@pytest.mark.parametrize("scale", [0.5, 0.4])
@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize(("n", "alpha"), [(3, 1.0), (5, 2.0)])
def test_a_cell_obeys_the_corrected_law(scale, depth, n, alpha):
    settings = dict(zip(KEYS, (scale, depth, n, alpha), strict=True))
    row = separation_decay(**settings, num_classes=2)
    assert set(row) == {*KEYS, "steps", "loss", "ratios", "corrections"}
    assert {key: row[key] for key in KEYS} == settings
    assert 0 <= row["loss"] <= 1e-20 and row["steps"] > 10
    assert len(row["ratios"]) == len(row["corrections"]) == depth - 1
    law = predicted_decay(scale, depth, n, alpha)
    corrected = [law * factor for factor in row["corrections"]]
    assert row["ratios"] == pytest.approx(corrected, rel=0.4 * scale**2)
    assert row == json.loads(json.dumps(row))


@pytest.mark.parametrize(
    ("scale", "depth", "n", "alpha", "k"),
    [(0.3, 4, 5, 1.0, 5), (0.3, 4, 10, 10.0, 5), (0.5, 3, 4, 2.0, 3)],
)
def test_a_cell_is_that_of_plain_gradient_descent(scale, depth, n, alpha, k):
    row = separation_decay(
        scale=scale, depth=depth, samples_per_class=n, output_scale=alpha, num_classes=k
    )
    labels, dim = torch.arange(k).repeat_interleave(n), n * k
    weights = init_weights([dim] * depth + [k], scale, generator=source(0), dtype=F64)
    features = torch.eye(dim, dtype=F64)
    targets = torch.nn.functional.one_hot(labels).T.double() / alpha
    signal = (n**0.5 / alpha) ** (1 / depth)
    path = gradient_descent(
        weights,
        features,
        targets,
        lr=1 / (depth * signal ** (2 * depth - 2)),
        steps=row["steps"] + 10,
        every=[],
        tol=1e-20,
    )
    # Rounding may tip the last step.
    assert abs(int(path.reached) - row["steps"]) <= 1
    assert float(path["loss"][-1]) == pytest.approx(row["loss"], rel=0.5)
    values = [feature_compression(features, labels)]
    for weight in path.final[:-1]:
        features = features @ weight.T
        values.append(feature_compression(features, labels))
    ratios = [float(after / before) for before, after in pairwise(values)]
    assert row["ratios"] == pytest.approx(ratios, rel=1e-6)
    corrections = decay_correction(weights[-1], path.final[-1], depth).tolist()
    assert row["corrections"] == pytest.approx(corrections, rel=1e-6)


def test_the_record_has_a_row_for_every_cell_of_the_grid():
    record = recorded("separation-decay")
    experiment = EXPERIMENTS[0]
    assert experiment.name == "separation-decay" and experiment.cell is separation_decay
    assert [{key: row[key] for key in KEYS} for row in record.values] == list(experiment.grid)
    for row in record.values:
        assert 0 <= row["loss"] <= 1e-20, row
        assert len(row["ratios"]) == len(row["corrections"]) == row["depth"] - 1


def test_cheap_rows_of_the_record_come_out_again():
    cheap = [row for row in recorded("separation-decay").values if row["steps"] < 2000]
    assert len(cheap) > 5
    for row in cheap:
        again = separation_decay(**{key: row[key] for key in KEYS})
        assert abs(again["steps"] - row["steps"]) <= 1, row
        assert again["loss"] == pytest.approx(row["loss"], rel=0.5), row
        for key in ("ratios", "corrections"):
            assert again[key] == pytest.approx(row[key], rel=1e-6), row


# --- angles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "depth", "seed"), [(0.3, 3, 0), (0.2, 3, 1), (0.4, 4, 2)])
def test_closing_classes_follow_their_formula(scale, depth, seed):
    row = separation_angles(scale=scale, depth=depth, seed=seed, samples_per_class=4, num_classes=3)
    overlap = torch.tensor(row["overlap"])
    assert overlap.shape == (3, 3) and len(row["closing"]) == depth - 1
    torch.testing.assert_close(overlap, overlap.T)
    largest = float((overlap - overlap.diag().diag()).max())
    first = scale**2 / 4 ** (1 / depth) * largest / depth
    formula = [layer * first for layer in range(1, depth)]
    assert row["closing"] == pytest.approx(formula, rel=0.05)


def test_the_record_of_angles_has_a_row_for_every_cell_and_cheap_ones_come_out_again():
    rows = recorded("separation-angles").values
    experiment = EXPERIMENTS[2]
    keys = ("scale", "depth", "seed")
    assert [{key: row[key] for key in keys} for row in rows] == list(experiment.grid)
    for row in rows[:2]:
        again = separation_angles(**{key: row[key] for key in keys})
        assert again["closing"] == pytest.approx(row["closing"], rel=1e-5)
        for new, old in zip(again["overlap"], row["overlap"], strict=True):
            assert new == pytest.approx(old, rel=1e-5, abs=1e-9)


# --- turning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "depth"), [(0.1, 2), (0.3, 4), (0.5, 6)])
def test_what_the_last_layer_turned_is_what_the_correction_misses(scale, depth):
    """For l = 0 the correction is 1 - K mean(sin² θ) / (d - K), here with the start of a cell."""
    row = separation_turning(scale=scale, depth=depth, seed=1)
    generator = torch.Generator().manual_seed(1)
    weights = init_weights([8] * depth + [2], scale, generator=generator, dtype=F64)
    targets = torch.nn.functional.one_hot(torch.arange(2).repeat_interleave(4)).T.double()
    path = gradient_descent(
        weights, torch.eye(8, dtype=F64), targets, lr=0.01, steps=10**5, every=[], tol=1e-12
    )
    correction = decay_correction(weights[-1], path.final[-1], depth)[0]
    # The path to the end has other steps here, and so turns a little differently.
    assert 1 - 2 * row["turned"] / 6 == pytest.approx(float(correction), abs=0.02)


def test_the_record_of_turning_has_a_row_for_every_cell_and_cheap_ones_come_out_again():
    rows = recorded("separation-turning").values
    (experiment,) = [e for e in EXPERIMENTS if e.name == "separation-turning"]
    keys = ("scale", "depth", "seed")
    assert [{key: row[key] for key in keys} for row in rows] == list(experiment.grid)
    for row in rows[::24]:
        again = separation_turning(**{key: row[key] for key in keys})
        assert again["turned"] == pytest.approx(row["turned"], rel=1e-5)


# --- networks ---------------------------------------------------------------------------------

LAYERS = {
    "digits": {"D", "S", "nc1", "D_new", "D_shifted"},
    "hybrid": {"D", "S", "nc1"},
    "parity": {"D", "S", "nc1", "D_ten", "nc1_ten", "D_even", "D_odd", "share", "probe"},
    "labels": {"D", "S", "nc1", "D_ten"},
    "five": {"D", "S", "nc1", "D_ten", "nc1_ten"},
}


def test_the_record_of_networks_has_a_row_for_every_cell():
    rows, keys = recorded("separation-networks").values, ("seed", "task", "batch_norm", "epochs")
    assert [{key: row[key] for key in keys} for row in rows] == list(EXPERIMENTS[1].grid)
    for row in rows:
        assert set(row) == {*keys, "accuracy", *LAYERS[row["task"]]}
        assert all(len(row[name]) == 11 for name in LAYERS[row["task"]])
        assert (row["accuracy"][0] > 0.99) == (row["epochs"] > 0)


@pytest.mark.parametrize(
    ("task", "batch_norm"), [("digits", True), ("digits", False), ("hybrid", True)]
)
def test_networks_before_training_come_out_again(task, batch_norm):
    settings = {"seed": 0, "task": task, "batch_norm": batch_norm, "epochs": 0}
    again = separation_network(**settings)
    (row,) = [
        row
        for row in recorded("separation-networks").values
        if all(row[key] == value for key, value in settings.items())
    ]
    for name in LAYERS[task]:
        assert again[name] == pytest.approx(row[name], rel=2e-3, abs=2e-4), name


def test_the_record_of_settings_has_a_row_for_every_cell():
    rows = recorded("separation-settings").values
    (experiment,) = [e for e in EXPERIMENTS if e.name == "separation-settings"]
    keys = ("seed", "batch_norm", "optimizer", "lr")
    assert [{key: row[key] for key in keys} for row in rows] == list(experiment.grid)
    for row in rows:
        assert set(row) == {*keys, "D", "accuracy"}
        assert len(row["D"]) == 11 and row["accuracy"] > 0.95


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_setting_is_the_network_of_the_same_rate(batch_norm):
    again = separation_settings(seed=0, batch_norm=batch_norm, optimizer="sgd", lr=0.02, epochs=6)
    row = separation_network(seed=0, task="digits", batch_norm=batch_norm, epochs=6)
    assert again["D"] == pytest.approx(row["D"], rel=2e-3)


def test_the_parity_share_in_closed_form():
    """Ten means: the gap of length 2 along the first axis, five points of spread 2 along others."""
    means = torch.zeros(10, 6, dtype=F64)
    means[::2, 0], means[1::2, 0] = 1, -1
    for k in range(10):
        means[k, 1 + k // 2] = 3
    labels = torch.arange(10).repeat(2)
    # Around their middle the means have squared length 1 + 9 (1 - 1/5), the gap's part being 1.
    share = separation_module._parity_share(means[labels], labels)
    assert float(share) == pytest.approx(1 / (1 + 9 * 0.8))
