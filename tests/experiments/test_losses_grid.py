"""The networks recorded for *Are all losses created equal?*: what a cell measures, rows again."""

import json

import pytest
import torch

from lecturelib.datasets import load_standardized
from lecturelib.experiments.losses import (
    EXPERIMENTS,
    LOSSES,
    classifier_pull,
    digits_split,
    geometry,
    loss_grid,
)
from lecturelib.losses import CrossEntropy, FocalLoss, LabelSmoothing, SquaredError
from lecturelib.networks import MLP
from lecturelib.records import recorded

KEYS = ("loss", "width", "epochs", "seed", "weight_decay")
(EXPERIMENT,) = EXPERIMENTS


def settings(row):
    return {key: row[key] for key in KEYS}


@pytest.mark.parametrize("n", [1, 30, 140])
def test_few_images_are_learned_from_and_all_others_tested(n):
    (inputs, labels), (others, test) = digits_split(n)
    assert labels.tolist() == [k for k in range(10) for _ in range(n)]
    assert len(test) == 1797 - 10 * n
    first, second = load_standardized("digits")
    for k in range(10):
        assert torch.equal(inputs[labels == k], first.inputs[first.labels == k][:n])
    images = {image.numpy().tobytes() for image in [*inputs, *others]}
    assert images == {image.numpy().tobytes() for image in [*first.inputs, *second.inputs]}


def test_geometry_by_hand():
    (inputs, labels), _ = digits_split(3)
    torch.manual_seed(1)
    net = MLP([64, 12, 10]).eval()
    found = geometry(net, inputs, labels)
    with torch.no_grad():
        h, scores = net.features(inputs).double(), net(inputs).double()
    means = torch.stack([h[labels == k].mean(0) for k in range(10)])
    margins = [
        float(z[y] - (z.sum() - z[y]) / 9) for z, y in zip(scores, labels.tolist(), strict=True)
    ]
    assert found["margin"] == pytest.approx(sum(margins) / 30, rel=1e-4, abs=1e-5)
    assert found["margin_sd"] == pytest.approx(float(torch.tensor(margins).std()), rel=1e-4)
    pairs = [(i, j) for i in range(10) for j in range(i)]
    cosines = [float(means[i] @ means[j] / means[i].norm() / means[j].norm()) for i, j in pairs]
    assert found["cosine"] == pytest.approx(sum(cosines) / 45, rel=1e-4)
    ends = found["cosine_min"], found["cosine_max"]
    assert ends == pytest.approx((min(cosines), max(cosines)), rel=1e-4)
    assert found["norm_h"] == pytest.approx(float(h.square().sum() ** 0.5), rel=1e-4)
    centre = (net.head.weight.double() @ h.mean(0) + net.head.bias.double()).detach()
    assert found["bias_measure"] == pytest.approx(float(centre.norm()), rel=1e-4)


def test_alignment_is_one_for_the_positive_model():
    class Collapsed(torch.nn.Module):
        head = torch.nn.Linear(12, 10)
        features = staticmethod(lambda inputs: inputs)
        forward = head.forward

    means = torch.eye(12)[:10] * 3
    net, labels = Collapsed(), torch.arange(10).repeat_interleave(4)
    net.head.weight.data = 0.7 * (means - means.mean(0))
    assert geometry(net, means[labels], labels)["alignment"] == pytest.approx(1)
    net.head.weight.data = torch.randn(10, 12)
    assert geometry(net, means[labels], labels)["alignment"] < 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_the_pull_is_the_derivative_of_the_loss_by_the_size_of_w(name):
    (inputs, labels), _ = digits_split(3)
    torch.manual_seed(1)
    net, loss = MLP([64, 12, 10]).eval(), LOSSES[name]
    size = float(net.head.weight.detach().double().square().sum())
    pull, values, start = classifier_pull(net, inputs, labels, loss), [], net.head.weight.data
    for factor in (1 - 1e-3, 1 + 1e-3):
        net.head.weight.data = factor * start
        with torch.no_grad():
            values.append(float(loss(net(inputs).double(), labels)))
    assert pull == pytest.approx((values[0] - values[1]) / 2e-3 / size, rel=1e-2, abs=1e-4)


def test_losses_are_those_of_the_chapter():
    (inputs, labels), _ = digits_split()
    chosen = [CrossEntropy(), FocalLoss(3.0), LabelSmoothing(0.1), SquaredError()]
    assert list(LOSSES.values()) == chosen
    rows = [loss_grid(loss=name, width=8, epochs=1, seed=0, weight_decay=0.005) for name in LOSSES]
    assert len({row["norm_w"] for row in rows}) == len(rows)
    assert rows[0] == json.loads(json.dumps(rows[0]))
    assert rows[0]["train"] == pytest.approx(round(rows[0]["train"] * len(labels)) / len(inputs))


def test_the_record_has_a_row_for_every_cell_of_the_grid():
    rows = recorded("losses-grid").values
    assert EXPERIMENT.name == "losses-grid" and EXPERIMENT.cell is loss_grid
    assert [settings(row) for row in rows] == list(EXPERIMENT.grid)
    assert {row["seed"] for row in rows} == set(range(5))


def test_cheap_rows_of_the_record_come_out_again():
    """As far as other processors allow: trainings in float32 drift apart."""
    rows = recorded("losses-grid").values
    cheap = [row for row in rows if row["epochs"] == 30 and row["width"] == 100]
    for row in [row for row in cheap if row["seed"] == 0]:
        again = loss_grid(**settings(row))
        for key in ("train", "test"):
            assert again[key] == pytest.approx(row[key], abs=0.03), row
        for key in ("margin", "norm_w", "norm_h"):
            assert again[key] == pytest.approx(row[key], rel=0.1), row
        for key in ("nc1", "nc2", "cosine"):
            assert again[key] == pytest.approx(row[key], rel=0.3), row
