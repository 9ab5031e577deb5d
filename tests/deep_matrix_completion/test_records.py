"""Full-scale completions: cells are runs of ``complete``; the records' cheap rows come again."""

import pytest

from lecturelib.deep_matrix_completion import complete
from lecturelib.experiments import deep_matrix_completion as runs
from lecturelib.experiments.deep_matrix_completion import (
    completion_map,
    completion_peer,
    completion_pixels,
    completion_regime,
    completion_scale,
    completion_width,
)
from lecturelib.records import recorded

GRIDS = {experiment.name: experiment.grid for experiment in runs.EXPERIMENTS}


def test_a_regime_has_the_settings_of_its_paper(monkeypatch):
    calls = []

    def short(observations, shape, **options):
        calls.append((observations, shape, dict(options)))
        return complete(observations, shape, **options | {"steps": 3, "every": 1})

    monkeypatch.setattr(runs, "complete", short)
    kwon = completion_regime(setting="Kwon", gamma=2)
    yaras = completion_regime(setting="Yaras", gamma=0.01)
    assert (kwon["setting"], kwon["gamma"]) == ("Kwon", 2)
    assert (yaras["setting"], yaras["gamma"]) == ("Yaras", 0.01)
    for row in (kwon, yaras):
        assert row["steps"] == [0, 1, 2, 3]
        assert len(row["train_error"]) == len(row["test_error"]) == 4
    (seen, shape, options), (more, large, others) = calls
    assert (shape, len(seen)) == ((100, 100), 3000)
    assert (large, len(more)) == ((1000, 1000), 200_000)
    assert options["lr"] == pytest.approx(10 / 3000) and others["lr"] == pytest.approx(5e-3)
    assert (options["start"], options["scale"]) == ("surrogate", 1e-2)
    assert (others["start"], others["scale"]) == ("gradient", 1e-3)
    assert options["rank"] == others["rank"] == 5
    assert (options["factor_lr_ratio"], others["factor_lr_ratio"]) == (2, 0.01)


def test_there_are_two_settings():
    with pytest.raises(ValueError, match=r'setting must be one of "Kwon", "Yaras"'):
        completion_regime(setting="Arora", gamma=1)


def test_a_matrix_of_any_size_is_completed():
    row = completion_scale(dim=300)
    assert row["dim"] == 300 and row["observations"] == 60_000
    assert 0 < row["test_error"] < 1e-3 and row["steps"] > 10
    assert row["seconds"] > 0 and row["gigabytes"] > 0.05


def test_the_record_of_the_regimes_has_all_cells():
    rows = recorded("completion-regimes").values
    grid = list(GRIDS["completion-regimes"])
    assert [{"setting": row["setting"], "gamma": row["gamma"]} for row in rows] == grid
    for row in rows:
        lengths = {len(row[name]) for name in ("steps", "train_error", "test_error")}
        assert len(lengths) == 1 and row["steps"] == sorted(row["steps"])


@pytest.mark.parametrize("gamma", [1, 2, 5])
def test_kwon_comes_out_again(gamma):
    """Steps to the end may differ by a few records: stairs amplify rounding."""
    rows = recorded("completion-regimes").values
    (row,) = (row for row in rows if (row["setting"], row["gamma"]) == ("Kwon", gamma))
    again = completion_regime(setting="Kwon", gamma=gamma)
    assert again["steps"][-1] == pytest.approx(row["steps"][-1], rel=0.05)
    assert again["test_error"][:20] == pytest.approx(row["test_error"][:20], rel=1e-6)


def test_the_record_of_the_sizes_comes_out_again():
    rows = recorded("completion-scale").values
    assert [{"dim": row["dim"]} for row in rows] == list(GRIDS["completion-scale"])
    assert all(row["observations"] == 200 * row["dim"] for row in rows)
    again = completion_scale(dim=rows[0]["dim"])
    assert again["steps"] == rows[0]["steps"]
    assert again["test_error"] == pytest.approx(rows[0]["test_error"], rel=1e-3)


def test_the_map_has_all_cells_and_a_cheap_one_comes_out_again():
    rows = {
        tuple(row[key] for key in ("depth", "method", "width", "fraction", "scale")): row
        for row in recorded("completion-map").values
    }
    assert list(rows) == [tuple(cell.values()) for cell in GRIDS["completion-map"]]
    assert all(len(row["runs"]) == 6 for row in rows.values())
    settings = {"depth": 3, "method": "narrow", "width": 6, "fraction": 0.25, "scale": 0.1}
    again = completion_map(**settings)
    for run, other in zip(again["runs"], rows[tuple(settings.values())]["runs"], strict=True):
        assert (run["seed"], run["rate"]) == (other["seed"], other["rate"])
        assert run["steps"] == pytest.approx(other["steps"], rel=0.05)


def test_a_run_of_the_map_that_diverges_is_said_to(monkeypatch):
    monkeypatch.setattr(runs, "limiting_rate", lambda *args, **options: 100.0)
    row = completion_map(depth=2, method="narrow", width=3, fraction=0.25, scale=0.1)
    for run in row["runs"]:
        assert run["steps"] is None and run["test_error"] == run["train_error"] == float("inf")


def test_the_figure_of_width_has_all_cells_and_a_cheap_one_comes_out_again():
    rows = recorded("completion-width").values
    grid = list(GRIDS["completion-width"])
    assert [{"depth": row["depth"], "width": row["width"]} for row in rows] == grid
    again = completion_width(depth=2, width=10)
    assert again["steps"] == pytest.approx(rows[0]["steps"], rel=0.05)
    assert max(again["test_error"]) < 1e-3


def test_the_race_has_all_cells_and_cheap_ones_come_out_again():
    rows = recorded("completion-peers").values
    grid = list(GRIDS["completion-peers"])
    keys = ("method", "fraction", "seed")
    assert [{key: row[key] for key in keys} for row in rows] == grid
    for method in ("least squares, rank 5", "compressed"):
        settings = {"method": method, "fraction": 0.3, "seed": 0}
        (row,) = (row for row in rows if {key: row[key] for key in keys} == settings)
        again = completion_peer(**settings)
        for run, other in zip(again["runs"], row["runs"], strict=True):
            assert run["test_error"] == pytest.approx(other["test_error"], rel=0.2)
            assert (run["seconds"] is None) == (other["seconds"] is None)


@pytest.mark.parametrize("method", ["soft-impute", "full"])
def test_every_peer_runs(method, monkeypatch):
    def short(function):
        return lambda *args, **options: function(*args, **options | {"steps": 10})

    for name in ("complete", "soft_impute"):
        monkeypatch.setattr(runs, name, short(getattr(runs, name)))
    row = completion_peer(method=method, fraction=0.3, seed=0)
    assert row["method"] == method and len(row["runs"]) == len(runs.PEERS[method])
    assert all(run["seconds"] is None for run in row["runs"])


def test_pixels_are_completed_better_than_by_their_means():
    errors = completion_pixels(dataset="digits", seed=1)
    assert errors["mean of all"] > errors["pixel's mean"]
    learned = ("L = 2", "L = 3", "least squares", "soft-impute")
    assert all(errors[name] < errors["pixel's mean"] for name in learned)
