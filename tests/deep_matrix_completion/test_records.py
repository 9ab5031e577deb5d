"""Full-scale completions: cells are runs of ``complete``; the records' cheap rows come again."""

import pytest

from lecturelib.deep_matrix_completion import complete
from lecturelib.experiments import deep_matrix_completion as runs
from lecturelib.experiments.deep_matrix_completion import completion_regime, completion_scale
from lecturelib.records import recorded

REGIMES, SCALES = runs.EXPERIMENTS


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
    assert [{"setting": row["setting"], "gamma": row["gamma"]} for row in rows] == list(
        REGIMES.grid
    )
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
    assert [{"dim": row["dim"]} for row in rows] == list(SCALES.grid)
    assert all(row["observations"] == 200 * row["dim"] for row in rows)
    again = completion_scale(dim=rows[0]["dim"])
    assert again["steps"] == rows[0]["steps"]
    assert again["test_error"] == pytest.approx(rows[0]["test_error"], rel=1e-3)
