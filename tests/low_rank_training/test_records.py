"""What was recorded for the chapter: the cells on small settings, cheap rows again."""

import json

import pytest
import torch

from lecturelib.datasets import load
from lecturelib.experiments import low_rank_training as runs
from lecturelib.records import recorded

EXPERIMENTS = {experiment.name: experiment for experiment in runs.EXPERIMENTS}
NAMES = sorted(EXPERIMENTS)


def has_mnist():
    try:
        load("mnist", "test", download=False)
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_a_record_has_the_values_of_its_grid(name):
    experiment, values = EXPERIMENTS[name], recorded(name).values
    settings = [json.loads(json.dumps(cell)) for cell in experiment.grid]
    if name == "lowrank-time":
        assert [row["hidden"] for row in values] == [cell["hidden"] for cell in settings]
        assert all(row["ranks"] == [None, *settings[0]["ranks"]] for row in values)
    elif name == "lowrank-vit":
        assert len(values) == 8 * len(settings)
        found = [{key: row[key] for key in ("shift", "seed")} for row in values[::8]]
        assert found == settings
    else:
        found = [
            {key: row[key] for key in cell} for row, cell in zip(values, settings, strict=True)
        ]
        assert found == settings


@pytest.mark.parametrize("cell", [{"classes": 2, "seed": 3}, {"classes": 3, "seed": 1}])
def test_directions_come_out_again(cell):
    again = runs.learned_directions(**cell)
    assert again == json.loads(json.dumps(again))
    [row] = [
        row
        for row in recorded("lowrank-directions").values
        if not (row["batch_norm"] or row["linear_tail"] or row["fixed_head"] or row["lr"] != 0.05)
        and {key: row[key] for key in cell} == cell
    ]
    # Rounding may tip a count.
    for key in ("directions", "start", "last"):
        assert again[key] == pytest.approx(row[key], abs=2)
    assert again["rank"] == pytest.approx(row["rank"], rel=0.1)
    assert again["share"] == pytest.approx(row["share"], abs=0.01)


def test_the_lemma_holds_where_it_applies():
    row = runs.learned_directions(classes=3, seed=0, linear_tail=1, fixed_head=True, epochs=4)
    assert row["rank"] == 2 and len(row["last"]) == 3
    assert runs.learned_directions(classes=3, seed=0, epochs=4)["rank"] > 10


def test_accuracies_of_ranks_come_out_again():
    cell = {"classes": 2, "rank": 1, "seed": 0}
    again = runs.rank_and_classes(**cell)
    cell |= {"batch_norm": True}
    [row] = [r for r in recorded("lowrank-classes").values if {k: r[k] for k in cell} == cell]
    assert again["test"] == pytest.approx(row["test"], abs=0.05)
    assert again["train"] == pytest.approx(row["train"], abs=0.02)


def test_a_network_of_the_slide_costs_what_its_weights_say():
    own = {"data": "digits", "seed": 0, "epochs": 12, "width": 40}
    full, thin = (runs.slide_network(hidden=3, rank=rank, **own) for rank in (None, 5))
    assert full["parameters"] == 64 * 40 + 2 * 40**2 + 400 + 130
    assert thin["parameters"] == 64 * 40 + 2 * 400 + 400 + 130
    assert full["step_flops"] > thin["step_flops"] and full["memory"] > thin["memory"]
    assert full["test"] > 0.5
    two = runs.slide_network(hidden=2, rank=5, **own)
    assert two["parameters"] == 64 * 40 + 400 + 400 + 90
    assert two == json.loads(json.dumps(two))


def test_the_recorded_networks_are_those_of_the_slide():
    counted = {(r["hidden"], r["rank"]): r for r in recorded("lowrank-table").values}
    biases = {2: 4010, 3: 6010}
    assert counted[2, None]["parameters"] == 5_588_000 + biases[2]
    assert counted[3, None]["parameters"] == 9_588_000 + biases[3]
    assert counted[3, 10]["parameters"] == 1_668_000 + biases[3]
    assert counted[3, 1]["parameters"] == 1_596_000 + biases[3]


@pytest.mark.skipif(not has_mnist(), reason="needs the test images of MNIST")
def test_a_network_on_mnist_comes_out_again():
    cell = {"hidden": 3, "rank": 10, "seed": 0}
    [row] = [r for r in recorded("lowrank-table").values if {k: r[k] for k in cell} == cell]
    again = runs.slide_network(data="mnist-test", **cell)
    assert again["test"] == pytest.approx(row["test"], abs=0.02)
    assert again["parameters"] == row["parameters"]


@pytest.mark.skipif(not has_mnist(), reason="needs the test images of MNIST")
def test_mnist_is_split_in_halves():
    training, testing = runs.images_of("mnist-test")
    whole = load("mnist", "test")
    assert len(training.labels) == len(testing.labels) == 5000
    assert torch.equal(training.labels, whole.labels[::2])
    assert torch.equal(testing.labels, whole.labels[1::2])


def test_times_are_positive_and_in_order():
    threads = torch.get_num_threads()
    row = runs.step_times(hidden=3, ranks=[1, 100], repeats=3, width=300, d_in=50)
    assert torch.get_num_threads() == threads
    assert row["ranks"] == [None, 1, 100]
    assert all(len(row[name]) == 3 and min(row[name]) > 0 for name in ("step", "batch", "one"))
    assert row == json.loads(json.dumps(row))


@pytest.mark.parametrize("shift", ["upright", "mirrored", "turned"])
def test_shifted_digits_are_the_digits_moved(shift):
    few, held_out, test = runs.shifted_task(shift, 3)
    assert [len(part[1]) for part in (few, held_out, test)] == [30, 1370, 397]
    assert few[1].bincount().tolist() == [3] * 10
    back = {
        "upright": lambda x: x,
        "mirrored": lambda x: x.flip(3),
        "turned": lambda x: x.rot90(-1, (2, 3)),
    }
    assert torch.equal(back[shift](test[0]), runs.images_of("digits")[1].inputs)
    with pytest.raises(ValueError, match="shift must be one of"):
        runs.shifted_task("tilted")


def test_ways_of_adapting_train_what_they_say():
    options = {"ranks": [2], "data": "digits", "epochs": 2, "before": 3}
    rows = runs.adapted_vit(shift="upright", seed=1, **options)
    assert [row["way"] for row in rows] == ["full", "last layer", "LoRA", "from scratch"]
    total = sum(p.numel() for p in runs.digits_vit().parameters())
    sizes = 2 * ((32 + 32) + (32 + 64) + (64 + 32))
    assert [row["trained"] for row in rows] == [total, 330, 330 + 2 * sizes, total]
    for row in rows:
        assert len(row["test"]) == len(row["held_out"]) == len(runs.RATES[row["way"]])
        assert row["known"] == row["unadapted"] > 0.3  # upright digits are what it knows
    assert min(rows[1]["test"]) > max(rows[3]["test"])
    assert rows == json.loads(json.dumps(rows))
    torch.rand(1)
    assert runs.adapted_vit(shift="upright", seed=1, **options) == rows
