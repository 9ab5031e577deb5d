"""The recorded networks and images: every cell has its row, and cheap ones come out again."""

import json

import pytest

from lecturelib.experiments.topology_and_dimension import (
    EXPERIMENTS,
    dimension_images,
    dimension_network,
    topology_network,
)
from lecturelib.records import recorded


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_record_has_a_row_for_every_cell_of_the_grid(experiment):
    rows = recorded(experiment.name).values
    assert [{key: row[key] for key in experiment.grid[0]} for row in rows] == list(experiment.grid)


@pytest.mark.parametrize("shape", ["rings", "tori", "spheres"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_untrained_networks_of_the_record_come_out_again(shape, activation):
    settings = {"shape": shape, "activation": activation, "task": "untrained", "seed": 0}
    [row] = [r for r in recorded("topology-networks").values if settings.items() <= r.items()]
    again = topology_network(**settings)
    assert again["accuracy"] == row["accuracy"]
    for found, kept in zip(again["ratios"], row["ratios"], strict=True):
        assert found == pytest.approx(kept, rel=1e-3)


def test_trained_networks_of_the_record_know_their_classes():
    for row in recorded("topology-networks").values:
        assert len(row["ratios"]) == 2 and {len(layers) for layers in row["ratios"]} == {9}
        assert all(ratio >= 1 for layers in row["ratios"] for ratio in layers)
        if row["task"] == "true":
            assert row["accuracy"] == 1


def test_tanh_keeps_the_holes_that_an_untrained_relu_loses():
    kept, lost = (
        [
            layers[-1]
            for seed in (0, 1)
            for layers in topology_network(
                shape="spheres", activation=activation, task="untrained", seed=seed
            )["ratios"]
        ]
        for activation in ("tanh", "relu")
    )
    assert sum(kept) > sum(lost)


def test_a_network_can_be_trained_on_either_labels():
    for task in ("true", "shuffled"):
        row = topology_network(shape="rings", activation="tanh", task=task, seed=0, epochs=2)
        assert row == json.loads(json.dumps(row)) and 0.3 < row["accuracy"] < 0.8


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_network_on_digits_starts_as_in_the_record(shuffled):
    settings = {"data": "digits", "seed": 0, "batch_norm": True, "shuffled": shuffled}
    row = dimension_network(**settings, epochs=1)
    [kept] = [r for r in recorded("dimension-networks").values if settings.items() <= r.items()]
    assert row["before"] == pytest.approx(kept["before"], rel=1e-3)
    assert row["after"][0] == pytest.approx(kept["after"][0], rel=1e-6)
    assert (row["nc1"] == row["nc1_true"]) != shuffled
    assert row["nc1_before"] == pytest.approx(kept["nc1_before"], rel=1e-3)
    assert (row["nc1_before"] == row["nc1_true_before"]) != shuffled
    assert all(len(row[key]) == 6 for key in ("before", "after", "new", "mle"))
    assert row == json.loads(json.dumps(row))


def test_recorded_networks_know_what_they_were_taught():
    for row in recorded("dimension-networks").values:
        assert row["accuracy"][0] > 0.99, row
        assert (row["accuracy"][1] > 0.8) != row["shuffled"], row


def test_recorded_digits_come_out_again():
    rows = [row for row in recorded("dimension-images").values if row["data"] == "digits"]
    assert len(rows) == 3
    for row in rows:
        again = dimension_images(data="digits", seed=row["seed"])
        for key in ("two_nn", "mle", "apart"):
            assert again[key] == pytest.approx(row[key], rel=1e-6)


def test_every_pixel_of_the_control_comes_from_another_image():
    row = dimension_images(data="digits", seed=5, sizes=[1600])
    assert len(row["two_nn"]) == 1 and row["apart"][0] > 2 * row["two_nn"][0]
