"""The full-scale runs of the decay law: cells by plain descent, the record's cheap rows again."""

import json
from itertools import pairwise

import pytest
import torch
from helpers import F64, source

from lecturelib.deep_linear import gradient_descent, init_weights
from lecturelib.experiments.progressive_separation import EXPERIMENTS, separation_decay
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
    (experiment,) = EXPERIMENTS
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
