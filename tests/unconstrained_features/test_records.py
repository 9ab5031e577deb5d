"""The recorded run of rare digits: the cell on small settings, a cheap row of the record again."""

import json

import pytest
import torch
from helpers import F64

from lecturelib.datasets import load_standardized
from lecturelib.experiments import unconstrained_features as experiment
from lecturelib.records import recorded

KEYS = ("rare", "treatment", "weight_decay", "seed")
SHARES = ("rare_train", "rare_test", "frequent_test")


@pytest.mark.parametrize("treatment", ["none", "repeated", "shifted"])
def test_a_cell_measures_what_it_says(treatment):
    settings = {"rare": 14, "treatment": treatment, "weight_decay": 5e-3, "seed": 1}
    row = experiment.rare_digits(**settings, steps=40)
    assert row == json.loads(json.dumps(row))
    assert {key: row[key] for key in KEYS} == settings
    for low, high in (row["rare_rows"], row["frequent_rows"]):
        assert -1 <= low <= high <= 1
    assert 0 < row["length"] < 2 and 0 < row["spread"] < 2
    assert 0 < row["distance"] < 2 and 0 < row["nc2_rows"] < 2 and 0 < row["nc2_means"] < 2
    assert all(0 <= row[name] <= 1 for name in SHARES)
    assert row["frequent_test"] > 0.5  # of which even a short training learns something


def test_a_cell_leaves_the_global_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    row = experiment.rare_digits(rare=4, treatment="shifted", seed=0, steps=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert row == experiment.rare_digits(rare=4, treatment="shifted", seed=0, steps=4)


def test_an_unknown_treatment_is_named():
    with pytest.raises(ValueError, match="treatment"):
        experiment.rare_digits(rare=4, treatment="doubled", seed=0)


def test_shifted_images_are_the_old_ones_moved_by_a_pixel_at_most():
    images = load_standardized("digits")[0].inputs[:50].to(F64)
    background = float(images.amin())
    moved = experiment._shifted(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=background)
    seen = set()
    for image, old in zip(moved, padded, strict=True):
        places = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if torch.equal(image, old[:, i : i + 8, j : j + 8])
        ]
        assert places
        seen.update(places[:1])
    assert len(seen) > 5


def test_the_record_has_a_row_for_every_cell_of_the_grid():
    (run,) = experiment.EXPERIMENTS
    record = recorded(run.name)
    assert run.cell is experiment.rare_digits
    assert [{key: row[key] for key in KEYS} for row in record.values] == list(run.grid)


def test_a_row_of_the_record_comes_out_again():
    """Training amplifies rounding: the same geometry, not the same digits."""
    old = recorded("rare-digits").values[12]
    new = experiment.rare_digits(**{key: old[key] for key in KEYS})
    assert old["rare"] == 14 and old["treatment"] == "none"
    assert new["length"] == pytest.approx(old["length"], abs=0.05)
    assert new["spread"] == pytest.approx(old["spread"], abs=0.05)
    assert new["distance"] == pytest.approx(old["distance"], abs=0.05)
    assert new["nc2_rows"] == pytest.approx(old["nc2_rows"], abs=0.05)
    for name in SHARES:
        assert new[name] == pytest.approx(old[name], abs=0.1)
