"""``fista`` on a batch beside a loop over its problems, at equal gaps, in one process.

Run ``pytest tests/benchmarks/bench_sparse_features.py``: the table is printed at the end. Medians
of interleaved repeats. The loop calls the same function for one problem after the other, and with
the same tolerance; scikit-learn's Lasso, run until its own gap is as small, stands beside it.
"""

import statistics
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from lecturelib.sparse_features import critical_penalty, duality_gap, fista

PROBLEMS, SHAPE, REPEATS, REQUIRED, TOLERANCE = 256, (100, 200), 3, 5, 1e-10


def problems(each):
    """Random dictionaries and inputs, penalties at a tenth of those that make the code zero."""
    generator = torch.Generator().manual_seed(0)
    lead = [PROBLEMS] if each else []
    dictionary = torch.randn(*lead, *SHAPE, generator=generator, dtype=torch.float64)
    inputs = torch.randn(PROBLEMS, SHAPE[0], generator=generator, dtype=torch.float64)
    return dictionary, inputs, critical_penalty(dictionary, inputs) / 10


def loop(dictionary, inputs, penalty):
    """Solve one problem after the other; return the largest gap."""
    each = dictionary.ndim == 3
    return max(
        float(fista(dictionary[i] if each else dictionary, inputs[i], penalty[i]).gap)
        for i in range(PROBLEMS)
    )


def coordinates(dictionary, inputs, penalty):
    """Let scikit-learn solve one problem after the other; return the largest gap."""
    codes = np.stack(
        [
            Lasso(
                float(penalty[i]) / SHAPE[0], fit_intercept=False, tol=TOLERANCE, max_iter=100_000
            )
            .fit((dictionary[i] if dictionary.ndim == 3 else dictionary).numpy(), inputs[i].numpy())
            .coef_
            for i in range(PROBLEMS)
        ]
    )
    return float(duality_gap(dictionary, inputs, codes, penalty).max())


def batch(dictionary, inputs, penalty):
    """Solve all at once; return the largest gap."""
    return float(fista(dictionary, inputs, penalty).gap.max())


def seconds(function, *args):
    """Run once; return the time and the value."""
    start = time.perf_counter()
    value = function(*args)
    return time.perf_counter() - start, value


def start():
    dictionary, inputs, penalty = problems(False)
    fista(dictionary, inputs[:2], penalty[:2])
    return f"{PROBLEMS} problems {SHAPE[0]} x {SHAPE[1]}, float64, relative gap {TOLERANCE:.0e}"


@pytest.mark.parametrize("each", [False, True], ids=["one dictionary", "one each"])
def test_a_batch_is_faster_than_a_loop(benchmark, report, each):
    data = problems(each)
    others = {loop: [], coordinates: []}

    def others_first():
        for function, runs in others.items():
            runs.append(seconds(function, *data))

    gap = benchmark.pedantic(batch, args=data, setup=others_first, rounds=REPEATS)
    own = benchmark.stats.stats.median
    theirs = {f: statistics.median(t for t, _ in runs) for f, runs in others.items()}
    ratio = benchmark.extra_info["ratio"] = theirs[loop] / own
    gaps = {f: max(found for _, found in runs) for f, runs in others.items()}
    report.append(
        f"{'a dictionary each' if each else 'one dictionary':17}: batch {own:6.2f} s"
        f" | loop {theirs[loop]:6.2f} s, {ratio:4.1f} x faster, goal {REQUIRED}"
        f" {'met' if ratio >= REQUIRED else 'MISSED'}"
        f" | scikit-learn {theirs[coordinates]:6.2f} s, {theirs[coordinates] / own:4.1f} x"
        f" | gaps {gap:.0e}, {gaps[loop]:.0e}, {gaps[coordinates]:.0e}"
    )
    assert max(gap, gaps[loop]) < 1e-8
    assert gap < 2 * gaps[loop]
