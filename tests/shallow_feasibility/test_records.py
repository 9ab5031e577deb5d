"""What was recorded for the chapter, and that its cheaper cells come out again."""

import pytest
import torch

from lecturelib.experiments.shallow_feasibility import (
    EXPERIMENTS,
    PHASE_CASES,
    feasibility_cost,
    phase_diagram_cell,
    phase_diagrams,
)
from lecturelib.records import recorded
from lecturelib.shallow_feasibility import phase_map, wendel_probability

RUNS = {experiment.name: experiment for experiment in EXPERIMENTS}


def test_a_small_phase_diagram():
    cells = [
        phase_diagram_cell(case=case, dim=dim, noise=noise, trials=4)
        for case in ("two at 45°", "five orthogonal")
        for dim in (25, 40, 150)
        for noise in (0.02, 5.0)
    ]
    narrow, wide = phase_diagrams(cells)
    assert [narrow["case"], wide["case"]] == ["two at 45°", "five orthogonal"]
    assert len(wide["means"]) == 5 and narrow["trials"] == 4
    means = torch.tensor(narrow["means"], dtype=torch.float64)
    assert means.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert float(means[0] @ means[1]) == pytest.approx(0.5**0.5)
    for row in (narrow, wide):
        assert row["dims"] == [25, 40, 150] and row["noises"] == [0.02, 5.0]
        assert row["per_class"][0] == [0, 0] and row["per_class"][-1] == [1, 1]
        assert row["undecided"] == [[0, 0]] * 3
    assert narrow["per_class"][1][0] > narrow["per_class"][1][1]
    assert narrow["per_class"][1][0] == cells[2]["feasible"] / 8
    assert narrow["joint"][1][0] == cells[2]["joint"] / 4


def test_a_cell_has_random_numbers_of_its_own():
    settings = {"case": "three orthogonal", "noise": 1.0, "trials": 40}
    first = phase_diagram_cell(dim=62, **settings)
    torch.randn(3)
    assert phase_diagram_cell(dim=62, **settings) == first
    assert 0 < first["feasible"] < 120
    assert phase_diagram_cell(dim=62, **settings | {"noise": 1.0001}) != first | {"noise": 1.0001}


def test_the_grid_of_the_phase_diagrams():
    grid = RUNS["phase-diagrams"].grid
    assert len(grid) == 4 * 43 * 25
    for case, (num_classes, _) in PHASE_CASES.items():
        own = [cell for cell in grid if cell["case"] == case]
        dims, noises = ({cell[axis] for cell in own} for axis in ("dim", "noise"))
        assert (len(dims), min(dims), max(dims)) == (43, 24, 30 * num_classes + 6)
        assert len(noises) == 25
        assert (min(noises), max(noises)) == pytest.approx((0.02, 5))


def test_the_record_of_the_phase_diagrams():
    rows = recorded("phase-diagrams").values
    assert [row["case"] for row in rows] == list(PHASE_CASES)
    for row in rows:
        per_class, joint = torch.tensor(row["per_class"]), torch.tensor(row["joint"])
        undecided = torch.tensor(row["undecided"])
        assert per_class.shape == joint.shape == undecided.shape == (43, 25)
        assert (joint <= per_class).all()
        n, K = row["samples_per_class"], len(row["means"])
        dims = torch.tensor(row["dims"])
        assert (per_class[dims < n] == 0).all()
        answers = row["trials"] * K
        assert ((1 - per_class) * answers <= undecided)[dims >= K * n].all()
        # At the largest noise the means hardly count: pure noise, but for a little help.
        law = wendel_probability(K, n, dims)
        assert (per_class[:, -1] - law).abs().max() < 0.2


@pytest.mark.parametrize(
    ("case", "dim", "noise"), [(0, 8, 10), (1, 15, 18), (2, 15, 20), (3, 8, 3)]
)
def test_a_cell_of_the_phase_diagrams_comes_out_again(case, dim, noise):
    row = recorded("phase-diagrams").values[case]
    again = phase_diagram_cell(
        case=row["case"], dim=row["dims"][dim], noise=row["noises"][noise], trials=row["trials"]
    )
    assert 0 < row["per_class"][dim][noise] < 1 or case == 3
    answers = row["trials"] * len(row["means"])
    share = again["feasible"] / answers
    # Whether an answer stays open may depend on rounding.
    undecided = max(again["undecided"], row["undecided"][dim][noise])
    assert share == pytest.approx(row["per_class"][dim][noise], abs=1e-12 + undecided / answers)
    measured = phase_map(
        ([row["dims"][dim] / 30], [row["noises"][noise]]),
        row["trials"],
        samples_per_class=30,
        means=torch.tensor(row["means"], dtype=torch.float64),
        generator=torch.Generator().manual_seed(0),
    )
    # Other instances of the same kind: four standard errors of the difference of two shares.
    assert abs(float(measured.per_class) - share) < 4 * (2 * 0.25 / row["trials"]) ** 0.5


def test_what_a_decision_costs():
    row = feasibility_cost(samples_per_class=6, dim=12, instances=3)
    assert (row["samples_per_class"], row["dim"]) == (6, 12)
    assert 0 < row["feasible"] < 1
    assert all(0 < row[name] < 1 for name in ("newton", "highs", "reduced"))


def test_the_record_of_the_costs():
    rows = recorded("feasibility-cost").values
    keys = "samples_per_class", "dim"
    sizes = [{key: row[key] for key in keys} for row in rows]
    assert sizes == list(RUNS["feasibility-cost"].grid)
    again = feasibility_cost(**sizes[0])
    assert again["feasible"] == rows[0]["feasible"]
