"""Full-scale completions: cells are runs of ``complete``; the records' cheap rows come again."""

import math

import pytest
import torch
from helpers import F64, product, source

from lecturelib.deep_matrix_completion import (
    Observations,
    complete,
    limiting_rate,
    low_rank_matrix,
    observe,
)
from lecturelib.experiments import deep_matrix_completion as runs
from lecturelib.experiments.deep_matrix_completion import (
    best,
    completion_map,
    completion_peer,
    completion_pixels,
    completion_regime,
    completion_scale,
    completion_width,
    grouped,
    mask_limit,
    summary,
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
    names = ("depth", "method", "width", "fraction", "draws", "scale")
    rows = {tuple(row[key] for key in names): row for row in recorded("completion-map").values}
    assert list(rows) == [tuple(cell.values()) for cell in GRIDS["completion-map"]]
    assert all(len(row["runs"]) == 3 * row["draws"] for row in rows.values())
    settings = {"depth": 3, "method": "narrow", "width": 6, "fraction": 0.25, "draws": 3}
    settings |= {"scale": 0.1}
    again = completion_map(**settings)
    for run, other in zip(again["runs"], rows[tuple(settings.values())]["runs"], strict=True):
        assert (run["seed"], run["rate"]) == (other["seed"], other["rate"])
        assert run["steps"] == pytest.approx(other["steps"], rel=0.05)


def test_no_best_start_of_the_map_is_at_an_edge():
    rows = recorded("completion-map").values
    for fraction, forms, starts in (
        (0.25, runs.FORMS, runs.STARTS),
        (0.2, [("full", 50)], runs.SCARCE),
    ):
        for depth, scales in starts.items():
            for method, width in forms:
                form = {"depth": depth, "method": method, "width": width, "fraction": fraction}
                (scale, _), *_ = best(grouped(rows, ("scale", "rate"), **form))
                assert min(scales) < scale < max(scales), form


def test_a_run_of_the_map_that_diverges_is_said_to(monkeypatch):
    monkeypatch.setattr(runs, "limiting_rate", lambda *args, **options: 100.0)
    form = {"depth": 2, "method": "narrow", "width": 3, "fraction": 0.25, "draws": 1}
    row = completion_map(**form, scale=0.1)
    assert len(row["runs"]) == 3
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
    for method in ("least squares, rank 5", "least squares, held out", "compressed"):
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


def test_pixels_are_completed_better_than_by_their_means(monkeypatch):
    """With two settings a method, of which the cheap ones stand in the record as well."""
    few = {name: own[:2] for name, own in runs.PIXEL_SETTINGS.items()}
    monkeypatch.setattr(runs, "PIXEL_SETTINGS", few)
    row = completion_pixels(dataset="digits", seed=1)
    assert row["mean of all"] > row["pixel's mean"]
    (before,) = (old for old in recorded("completion-pixels").values if old["seed"] == 1)
    for method, found in row["runs"].items():
        for run, old in zip(found, before["runs"][method], strict=False):
            assert run["hidden"] < row["pixel's mean"]
            assert run["hidden"] == pytest.approx(old["hidden"], rel=1e-3)


def test_the_record_of_the_pixels_has_all_cells_and_settings():
    rows = recorded("completion-pixels").values
    grid = list(GRIDS["completion-pixels"])
    assert [{"dataset": row["dataset"], "seed": row["seed"]} for row in rows] == grid
    for row in rows:
        for method, choices in runs.PIXEL_SETTINGS.items():
            names = tuple(choices[0])
            found = [{name: run[name] for name in names} for run in row["runs"][method]]
            assert found == choices


def test_runs_are_grouped_by_settings_of_rows_and_runs():
    rows = [
        {"depth": 2, "eps": 1, "runs": [{"rate": 3, "n": 0}, {"rate": 5, "n": 1}]},
        {"depth": 2, "eps": 4, "runs": [{"rate": 3, "n": 2}, {"rate": 3, "n": 3}]},
        {"depth": 3, "eps": 4, "runs": [{"rate": 3, "n": 4}]},
    ]
    groups = grouped(rows, ("eps", "rate"), depth=2)
    found = {setting: [run["n"] for run in own] for setting, own in groups.items()}
    assert found == {(1, 3): [0], (1, 5): [1], (4, 3): [2, 3]}
    assert grouped(rows, ("eps",), depth=4) == {}


def some_runs(times, errors):
    return [{"seconds": time, "test_error": left} for time, left in zip(times, errors, strict=True)]


def test_a_summary_counts_what_was_found():
    runs = some_runs([None, 3.0, 2.0], [0.9, 0.1, 0.2])
    assert summary(runs, "seconds") == (2, 3.0, 0.2)
    assert summary(runs[:1], "seconds") == (0, math.inf, 0.9)


def test_the_best_setting_finds_most_then_fastest_or_else_ends_lowest():
    most = some_runs([9, 9, 9], [0.3, 0.3, 0.3])
    quick = some_runs([1, 1, None], [0.1, 0.1, 0.1])
    later = some_runs([9, 9, 10], [0.1, 0.1, 0.1])
    later[0]["seconds"] = 8  # the middle one counts
    groups = {("quick",): quick, ("most",): most}
    assert best(groups, "seconds") == (("most",), 3, 9, 0.3)
    assert best(groups | {("later",): later}, "seconds")[0] == ("later",)
    one = some_runs([1, None, None], [0.1, 0.5, 0.5])
    none = some_runs([None, None, None], [0.4, 0.4, 0.4])
    assert best({("one",): one, ("none",): none}, "seconds") == (("none",), 0, math.inf, 0.4)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_limit_of_a_mask_is_that_of_its_curvature(depth):
    values = torch.tensor([4.0, 3.0], dtype=F64)
    options = {"singular_values": values.tolist(), "generator": source(0), "dtype": F64}
    target = low_rank_matrix((12, 12), 2, **options)
    seen = observe(target, 0.6, generator=source(1))
    left, _, right = torch.linalg.svd(target.dense())
    root = torch.diag(values ** (1 / depth))
    layers = [root @ right[:2], *[root] * (depth - 2), left[:, :2] @ root]

    def at_places(*factors):
        return product(list(factors))[seen.rows, seen.cols]

    ends = torch.autograd.functional.jacobian(at_places, tuple(layers))
    jacobian = torch.cat([end.flatten(1) for end in ends], dim=1)
    expected = 2 / torch.linalg.matrix_norm(jacobian, 2).item() ** 2
    assert mask_limit(target, seen, depth=depth) == pytest.approx(expected, rel=1e-4)


def test_a_column_seen_in_full_lowers_the_limit_below_the_automatic_rate():
    """As the notes of ``complete`` and ``limiting_rate`` say; two layers feel it most."""
    target = low_rank_matrix(
        (50, 50), 2, singular_values=[8.0, 6.0], generator=source(0), dtype=F64
    )
    seen = observe(target, 0.1, generator=source(1))
    others = seen[seen.cols != 7]
    column = observe(target, 1.0)
    column = column[column.cols == 7]
    parts = zip(vars(others).values(), vars(column).values(), strict=True)
    uneven = Observations(*(torch.cat(pair) for pair in parts))
    ratios = []
    for places in (seen, uneven):
        share = len(places) / 2500
        mask = torch.zeros(50, 50, dtype=F64)
        mask[places.rows, places.cols] = places.values
        strength = torch.linalg.matrix_norm(mask, 2).item() / share
        automatic = limiting_rate(strength, share, depth=2) / 2
        ratios.append(automatic / mask_limit(target, places, depth=2))
    assert ratios[0] < 1 and ratios[1] > 1.3 * ratios[0]
