"""Records: what is written is what is read; the rows of the full-scale run still come out."""

import inspect
import json
import platform
import subprocess
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lecturelib
from lecturelib import experiments
from lecturelib.deep_matrix_completion import complete
from lecturelib.experiments import (
    EXPERIMENTS,
    completion_regimes,
    completion_scale,
    feasibility_cost,
    phase_diagrams,
    recorded,
    run,
)
from lecturelib.shallow_feasibility import noise_probability, phase_map

ROOT = Path(lecturelib.__file__).parents[1]
TINY = [{"scale": 0.1, "ratios": [1 / 3, 2e-17]}, {"scale": 0.2, "ratios": []}]


def recorded_or_skipped(name):
    path = Path(lecturelib.__file__).parent / "records" / f"{name}.json"
    command = f"python -m lecturelib.experiments {name}"
    return pytest.mark.skipif(not path.exists(), reason=f"not written yet: {command}")


@pytest.fixture
def tiny(monkeypatch):
    calls = []
    monkeypatch.setitem(EXPERIMENTS, "tiny", lambda: calls.append(1) or TINY)
    monkeypatch.chdir(ROOT)
    return calls


def test_a_run_writes_what_is_read_back(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "records"
    folder.mkdir()
    record = run("tiny", str(folder))
    assert tiny == [1] and record.values == TINY
    assert [path.name for path in folder.iterdir()] == ["tiny.json"]
    text = (folder / "tiny.json").read_text("utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == {"values": TINY, "provenance": record.provenance}

    def files(package):
        assert package == "lecturelib"
        return tmp_path

    monkeypatch.setattr(experiments, "resources", SimpleNamespace(files=files))
    assert recorded("tiny") == record
    assert tiny == [1]  # reading runs nothing


def test_provenance(tiny, tmp_path, monkeypatch):
    clock = iter([10.0, 73.6])
    monkeypatch.setattr(experiments, "time", SimpleNamespace(perf_counter=clock.__next__))
    days = [date.today().isoformat()]
    provenance = run("tiny", tmp_path).provenance
    days.append(date.today().isoformat())
    assert set(provenance) >= {
        *("command", "date", "seconds", "python", "torch", "machine", "commit")
    }
    assert provenance["command"] == "python -m lecturelib.experiments tiny"
    assert provenance["date"] in days
    assert provenance["seconds"] == 64
    assert provenance["python"] == platform.python_version()
    assert provenance["torch"] == torch.__version__
    assert provenance["machine"].startswith(platform.machine())
    assert f"{torch.get_num_threads()} CPU threads" in provenance["machine"]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert provenance["commit"].startswith(head)


def test_a_second_run_replaces_the_record(tiny, tmp_path, monkeypatch):
    run("tiny", tmp_path)
    monkeypatch.setitem(EXPERIMENTS, "tiny", lambda: {"other": 1})
    run("tiny", tmp_path)
    assert json.loads((tmp_path / "tiny.json").read_text("utf-8"))["values"] == {"other": 1}


@pytest.mark.parametrize("name", ["no-such-run", "separation_decay", "../claims", ""])
def test_unknown_experiments(name, tmp_path):
    with pytest.raises(ValueError, match=r"no experiment .*: there are .*separation-decay"):
        run(name, tmp_path)
    with pytest.raises(ValueError, match=r"no experiment .*: there are .*separation-decay"):
        recorded(name)
    assert list(tmp_path.iterdir()) == []


def test_the_commit_is_that_of_the_library(tiny, tmp_path, monkeypatch):
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    monkeypatch.chdir(tmp_path)
    try:
        commit = run("tiny", tmp_path).provenance["commit"]
    except subprocess.CalledProcessError:
        commit = None
    assert commit is not None and commit.startswith(head)


# --- completion ---------------------------------------------------------------------------------

REGIMES = [("Kwon", 1), ("Kwon", 2), ("Kwon", 5), ("Yaras", 0), ("Yaras", 0.01)]


def test_a_regime_is_a_run_of_complete(monkeypatch):
    """Settings as the papers have them, with few steps."""
    calls = []

    def short(observations, shape, **options):
        calls.append((observations, shape, dict(options)))
        return complete(observations, shape, **options | {"steps": 3, "record_every": 1})

    monkeypatch.setattr(experiments, "complete", short)
    kwon, yaras = completion_regimes([("Kwon", 2), ("Yaras", 0.01)])
    assert (kwon["setting"], kwon["gamma"]) == ("Kwon", 2)
    assert (yaras["setting"], yaras["gamma"]) == ("Yaras", 0.01)
    for row in (kwon, yaras):
        assert row["steps"] == [0, 1, 2, 3]
        assert len(row["train_error"]) == len(row["test_error"]) == 4
    (seen, shape, options), (more, large, others) = calls
    assert (shape, len(seen.values)) == ((100, 100), 3000)
    assert (large, len(more.values)) == ((1000, 1000), 200_000)
    assert options["lr"] == pytest.approx(10 / 3000) and others["lr"] == pytest.approx(5e-3)
    assert (options["factors"], options["scale"]) == ("surrogate", 1e-2)
    assert (others["factors"], others["scale"]) == ("gradient", 1e-3)
    assert options["rank"] == others["rank"] == 5
    assert (options["factor_lr_ratio"], others["factor_lr_ratio"]) == (2, 0.01)


def test_a_size_is_completed():
    (row,) = completion_scale([300])
    assert row["dim"] == 300 and row["observations"] == 60_000
    assert 0 < row["test_error"] < 1e-3 and row["steps"] > 10
    assert row["seconds"] > 0 and row["gigabytes"] > 0.05


@recorded_or_skipped("completion-regimes")
def test_the_record_of_the_regimes():
    rows = recorded("completion-regimes").values
    assert [(row["setting"], row["gamma"]) for row in rows] == REGIMES
    for row in rows:
        lengths = {len(row[name]) for name in ("steps", "train_error", "test_error")}
        assert len(lengths) == 1 and row["steps"] == sorted(row["steps"])


@recorded_or_skipped("completion-regimes")
def test_kwon_comes_out_again():
    """Steps to the end may differ by a few records: stairs amplify rounding."""
    for row in recorded("completion-regimes").values[:3]:
        (again,) = completion_regimes([("Kwon", row["gamma"])])
        assert again["steps"][-1] == pytest.approx(row["steps"][-1], rel=0.05)
        assert again["test_error"][:20] == pytest.approx(row["test_error"][:20], rel=1e-6)


@recorded_or_skipped("completion-scale")
def test_the_record_of_the_sizes():
    rows = recorded("completion-scale").values
    defaults = inspect.signature(completion_scale).parameters
    assert [row["dim"] for row in rows] == list(defaults["dims"].default)
    assert all(row["observations"] == 200 * row["dim"] for row in rows)
    (again,) = completion_scale([rows[0]["dim"]])
    assert again["steps"] == rows[0]["steps"]
    assert again["test_error"] == pytest.approx(rows[0]["test_error"], rel=1e-3)


# --- feasibility --------------------------------------------------------------------------------


def test_a_small_phase_diagram():
    (row,) = phase_diagrams(["two at 45°"], 6, 10, num_dims=8, num_noises=2)
    assert row["dims"] == [5, 6, 7, 8, 10, 11, 12, 13]
    assert row["noises"] == pytest.approx([0.02, 5])
    means = torch.tensor(row["means"], dtype=torch.float64)
    assert means.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert float(means[0] @ means[1]) == pytest.approx(0.5**0.5)
    assert row["per_class"][0] == [0, 0] and row["per_class"][-1] == [1, 1]
    assert row["trials"] == 10 and row["undecided"] == 0


@recorded_or_skipped("phase-diagrams")
def test_the_record_of_the_phase_diagrams():
    rows = recorded("phase-diagrams").values
    assert [row["case"] for row in rows] == list(experiments.PHASE_CASES)
    for row in rows:
        shape = len(row["dims"]), len(row["noises"])
        per_class, joint = torch.tensor(row["per_class"]), torch.tensor(row["joint"])
        assert per_class.shape == joint.shape == shape == (43, 25)
        assert (joint <= per_class).all()
        n, K = row["samples_per_class"], len(row["means"])
        dims = torch.tensor(row["dims"])
        assert (per_class[dims < n] == 0).all()
        answers = row["trials"] * K
        assert (1 - per_class[dims >= K * n]).sum() * answers <= row["undecided"]
        # At the largest noise the means hardly count: pure noise, but for a little help.
        law = torch.tensor(noise_probability(row["dims"], n, K))
        assert abs(per_class[:, -1] - law).max() < 0.2


@recorded_or_skipped("phase-diagrams")
@pytest.mark.parametrize(
    ("case", "dim", "noise"), [(0, 8, 10), (1, 15, 18), (2, 15, 20), (3, 8, 3)]
)
def test_a_cell_of_the_phase_diagrams_comes_out_again(case, dim, noise):
    row = recorded("phase-diagrams").values[case]
    ratio, n = row["dims"][dim] / row["samples_per_class"], row["samples_per_class"]
    again = phase_map(
        ([ratio], [row["noises"][noise]]),
        row["trials"],
        samples_per_class=n,
        means=torch.tensor(row["means"], dtype=torch.float64),
    )
    # One answer in a million stays open, and which one may depend on rounding.
    few = 2 / (row["trials"] * len(row["means"]))
    assert 0 < row["per_class"][dim][noise] < 1 or case == 3
    assert float(again.per_class) == pytest.approx(row["per_class"][dim][noise], abs=few)


def test_what_a_decision_costs():
    (row,) = feasibility_cost([(6, 12)], instances=3)
    assert (row["samples_per_class"], row["dim"]) == (6, 12)
    assert 0 < row["feasible"] < 1
    assert 0 < row["newton"] < 1 and 0 < row["highs"] < 1


@recorded_or_skipped("feasibility-cost")
def test_the_record_of_the_costs():
    rows = recorded("feasibility-cost").values
    defaults = inspect.signature(feasibility_cost).parameters
    assert [(row["samples_per_class"], row["dim"]) for row in rows] == list(
        defaults["sizes"].default
    )
    (again,) = feasibility_cost([(10, 20)])
    assert again["feasible"] == pytest.approx(rows[0]["feasible"], abs=0.01)
