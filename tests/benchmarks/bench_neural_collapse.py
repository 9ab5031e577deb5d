"""``nc1``, whole and in batches, beside the textbook formula with d x d matrices, in one process.

Run ``pytest tests/benchmarks/bench_neural_collapse.py``: the table is printed at the end. Medians
of runs, interleaved as long as the dense one repeats; memory is the growth of the peak during the
first run of each.
"""

import ctypes
import gc
import re
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lecturelib.device import default_device
from lecturelib.metrics import nc1
from lecturelib.neural_collapse import ClassMeans, NeuralCollapse

DEVICE = default_device()


def dense_nc1(features, labels):
    """Tr(Σ_W Σ_B†) as it is printed, the pseudo-inverse by an SVD with torch's default cutoff."""
    num_classes = int(labels.max()) + 1
    counts = torch.bincount(labels, minlength=num_classes)
    sums = features.new_zeros(num_classes, features.shape[1]).index_add(0, labels, features)
    means = sums / counts[:, None]
    deviations = features - means[labels]
    within = deviations.T @ deviations / len(features)
    centred = means - means.mean(0)
    between = centred.T @ centred / num_classes
    return torch.trace(within @ torch.linalg.pinv(between))


def exact_nc1(features, labels):
    """Σ_W and Σ_B in float64, and the K - 1 eigenvalues of Σ_B that are not zero."""
    features = features.double()
    num_classes = int(labels.max()) + 1
    rows = [features[labels == k] for k in range(num_classes)]
    means = torch.stack([row.mean(0) for row in rows])
    centred = means - means.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / num_classes)
    values, vectors = values[1 - num_classes :], vectors[:, 1 - num_classes :]
    within = sum((row - mean).T @ (row - mean) for row, mean in zip(rows, means, strict=True))
    return ((vectors.T @ within @ vectors).diagonal() / values).sum() / len(features)


def inputs(n, dim, num_classes):
    generator = torch.Generator().manual_seed(dim)
    labels = torch.arange(n) % num_classes
    features = torch.randn(n, dim, generator=generator)
    features += torch.randn(num_classes, dim, generator=generator)[labels]
    return features.to(DEVICE), labels.to(DEVICE)


def seconds(function, *args):
    """Run once; return the time and the value."""
    start = time.perf_counter()
    value = float(function(*args))  # waits for a GPU
    return time.perf_counter() - start, value


def resident(field):
    """Resident memory of this process in MiB: ``VmRSS`` now, ``VmHWM`` its peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


def extra_memory(function, *args):
    """Run once; return the growth of the peak memory in MiB, LAPACK's workspace included."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function(*args)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not sys.platform.startswith("linux"):
        function(*args)
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # what the heap kept would hide what is asked for again
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to now
    before = resident("VmRSS")
    function(*args)
    return resident("VmHWM") - before


def start():
    nc1(*inputs(100, 8, 3))
    return f"nc1 against the dense formula, {DEVICE.type}"


@pytest.mark.parametrize(
    ("n", "dim", "num_classes", "rounds", "required"),
    [(20_000, 512, 10, 9, 5), (20_000, 2048, 100, 5, 20), (20_000, 4096, 100, 1, 80)],
)
def test_faster_than_the_dense_formula(benchmark, report, n, dim, num_classes, rounds, required):
    data = inputs(n, dim, num_classes)
    exact = float(exact_nc1(*data))
    memory = extra_memory(nc1, *data)
    dense_times, dense_values = [], []

    def dense_before_each_round():
        duration, value = seconds(dense_nc1, *data)
        dense_times.append(duration)
        dense_values.append(value)

    dense_memory = extra_memory(dense_before_each_round)
    value = benchmark.pedantic(
        lambda: float(nc1(*data)),
        setup=lambda: dense_before_each_round() if len(dense_times) < rounds else None,
        rounds=9,
    )
    own, dense = benchmark.stats.stats.median, statistics.median(dense_times)
    ratio = benchmark.extra_info["ratio"] = dense / own
    report.append(
        f"N={n} d={dim:5} K={num_classes:3}: nc1 {own:7.3f} s {memory:7.0f} MiB"
        f" | dense {dense:7.3f} s {dense_memory:7.0f} MiB"
        f" | {ratio:6.1f} x faster, goal {required} {'met' if ratio >= required else 'MISSED'}"
        f" | off by {abs(value / exact - 1):.0e} and {abs(dense_values[0] / exact - 1):.0e}"
    )
    assert value == pytest.approx(exact, rel=1e-5)
    assert dense_values[0] == pytest.approx(exact, rel=1e-5)


def test_time_grows_linearly_with_the_dimension(report):
    dims = [512, 1024, 2048, 4096, 8192, 16384]
    features, labels = inputs(10_000, dims[-1], 100)
    data = [(features[:, :dim].contiguous(), labels) for dim in dims]
    times = np.min([[seconds(nc1, *pair)[0] for pair in data] for _ in range(5)], axis=0)
    exponent = np.polyfit(np.log(dims), np.log(times), 1)[0]
    milliseconds = ", ".join(
        f"d={dim}: {1e3 * own:.0f} ms" for dim, own in zip(dims, times, strict=True)
    )
    report.append(f"N=10000 K=100: nc1 takes {milliseconds}: time ~ d^{exponent:.2f}")


def streamed(metric, parts):
    """Give a metric all batches."""
    for rows, classes in parts:
        metric.update(rows, classes)
    return metric.compute()


@pytest.mark.parametrize("batch", [256, 1000])
def test_in_batches_against_the_dense_formula_and_nc1(report, batch):
    features, labels = inputs(20_000, 2048, 100)
    exact = float(exact_nc1(features, labels))
    parts = list(zip(features.split(batch), labels.split(batch), strict=True))

    def one_pass(features, labels):
        return streamed(NeuralCollapse(100).to(DEVICE), parts)["nc1"]

    def two_passes(features, labels):
        means = streamed(ClassMeans(100).to(DEVICE), parts)
        return streamed(NeuralCollapse(100, means=means).to(DEVICE), parts)["nc1"]

    functions = {"one": one_pass, "two": two_passes, "nc1": nc1, "dense": dense_nc1}
    times = {name: [] for name in functions}
    for _ in range(3):
        for name, function in functions.items():
            duration, value = seconds(function, features, labels)
            times[name].append(duration)
            assert value == pytest.approx(exact, rel=1e-6)
    own = {name: statistics.median(durations) for name, durations in times.items()}
    faster, slower = own["dense"] / own["one"], own["two"] / own["nc1"]
    report.append(
        f"N=20000 d=2048 K=100 in batches of {batch}: one pass {own['one']:.2f} s, {faster:.1f} x "
        f"faster than dense ({own['dense']:.2f} s), goal 1 {'met' if faster >= 1 else 'MISSED'}"
        f" | two passes {own['two']:.2f} s, {slower:.1f} x the time of nc1"
    )
