"""The networks recorded for *Neural collapse*: what a cell measures, cheap rows again."""

import json

import pytest
import torch

from lecturelib.datasets import load_standardized
from lecturelib.experiments import neural_collapse as cells
from lecturelib.experiments.neural_collapse import EXPERIMENTS, collapse
from lecturelib.metrics import ClassStatistics, nc1, nc2
from lecturelib.networks import MLP
from lecturelib.records import recorded

KEYS = ("seed", "task", "optimizer", "width", "weight_decay", "lr", "epochs")
DEFAULTS = {"optimizer": "sgd", "width": 100, "weight_decay": 5e-3, "lr": None, "epochs": None}
(EXPERIMENT,) = EXPERIMENTS


def settings(row):
    return {key: row[key] for key in KEYS}


def test_an_untrained_cell_measures_the_network_as_it_starts():
    row = collapse(seed=3, task="digits", optimizer="none", width=12)
    torch.manual_seed(3)
    net = MLP([64, *[12] * 5, 10], batch_norm=True).eval()
    training, testing = load_standardized("digits")
    with torch.no_grad():
        h, tested = net.features(training.inputs), net.features(testing.inputs)
    statistics = ClassStatistics.from_features(h, training.labels)
    means, centred = statistics.means, statistics.centred_means
    assert row["nc1"] == pytest.approx(float(nc1(h, training.labels)), rel=1e-3)
    assert row["test_nc1"] == pytest.approx(float(nc1(tested, testing.labels)), rel=1e-3)
    assert row["nc2"] == pytest.approx(float(nc2(centred)), rel=1e-3)
    scores = tested @ net.head.weight.T + net.head.bias
    nearest = torch.cdist(tested.double(), means).argmin(1)
    different = (scores.argmax(1) != nearest).double().mean()
    assert row["nc4"] == pytest.approx(float(different), abs=2e-3)
    unit = torch.nn.functional.normalize(means)
    cosines = (unit @ unit.T)[~torch.eye(10, dtype=torch.bool)]
    ends = [cosines.min(), cosines.mean(), cosines.max()]
    assert row["cosines"] == pytest.approx([float(end) for end in ends], rel=1e-3)
    assert row == json.loads(json.dumps(row))


@pytest.mark.parametrize(
    ("task", "classes"), [("digits", 10), ("four", 4), ("imbalanced", 10), ("labels", 10)]
)
def test_every_task_has_its_number_of_classes(task, classes):
    row = collapse(seed=0, task=task, optimizer="none", width=8)
    assert row["train_accuracy"] < 3 / classes
    assert ("groups" in row) == (task == "imbalanced")


def test_labels_are_shuffled_and_noise_is_no_image():
    rows = [collapse(seed=1, task=t, optimizer="none") for t in ("digits", "labels", "noise")]
    assert rows[0]["nc1"] < rows[1]["nc1"] / 5
    assert rows[1]["nc1"] != rows[2]["nc1"]


def test_a_rate_and_a_number_of_epochs_take_the_place_of_the_chapter_s(monkeypatch):
    asked = []
    monkeypatch.setattr(cells, "train", lambda *_, **options: asked.append(options))
    collapse(seed=0, task="four", width=8)
    collapse(seed=0, task="four", width=8, lr=0.5, epochs=1200)
    settings = [(a["lr"], a["epochs"], a["milestones"]) for a in asked]
    assert settings == [(0.02, 300, [250]), (0.5, 1200, [1000])]


def test_the_record_has_a_row_for_every_cell_of_the_grid():
    rows = recorded("collapse-seeds").values
    assert [settings(row) for row in rows] == [DEFAULTS | cell for cell in EXPERIMENT.grid]
    assert EXPERIMENT.name == "collapse-seeds" and EXPERIMENT.cell is collapse
    assert len({row["seed"] for row in rows}) >= 3


def test_cheap_rows_of_the_record_come_out_again():
    """Untrained networks to their digits; a trained one as far as other processors allow."""
    rows = recorded("collapse-seeds").values
    untrained = [row for row in rows if row["optimizer"] == "none"]
    assert len(untrained) >= 6
    for row in untrained:
        again = collapse(**settings(row))
        for name in ("nc1", "nc2", "nc3", "test_nc1", "bias_measure"):
            assert again[name] == pytest.approx(row[name], rel=0.02), (name, row)
    row = next(row for row in rows if row["task"] == "labels" and row["width"] == 20)
    again = collapse(**settings(row))
    assert again["train_accuracy"] == pytest.approx(row["train_accuracy"], abs=0.02)
    assert 0.3 < again["nc1"] / row["nc1"] < 3
