"""Intrinsic dimension beside scikit-dimension, in one process, and a large cloud in little memory.

Run ``OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_topology_and_dimension.py``, or with all
threads where nothing else runs: the table is printed at the end. Medians of interleaved runs; the
peer gets a NumPy array, in the precision that it computes in. Only the agreement of the results,
and the memory, are asserted. The long part, N = 100 000, comes last; ``-k "not large"`` leaves it
out.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import pytest
import skdim
import torch

from lecturelib.topology_and_dimension import mle_dimension, persistence, sphere, two_nn

LARGE = """
import json, resource, sys, time
import torch
from lecturelib.topology_and_dimension import two_nn

torch.set_num_threads(int(sys.argv[1]))
points = torch.randn(100_000, 100, generator=torch.Generator().manual_seed(0)).to(
    getattr(torch, sys.argv[2])
)
begin, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = two_nn(points)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([time.perf_counter() - begin, peak * unit, after * unit, float(found.dimension)]))
"""


def cloud(count, dim, inside):
    """A normal cloud of a dimension within a larger space, with a little noise all around."""
    generator = torch.Generator().manual_seed(dim)
    points = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    points = points @ torch.randn(dim, inside, generator=generator, dtype=torch.float64)
    return points + 1e-3 * torch.randn(points.shape, generator=generator, dtype=torch.float64)


def start():
    two_nn(cloud(100, 3, 30))
    skdim.id.TwoNN().fit(cloud(100, 3, 30).numpy())
    return "two_nn and mle_dimension against scikit-dimension, float64, CPU"


def interleaved(rounds, **functions):
    """Return the median time of each function, and its last value."""
    times, values = {name: [] for name in functions}, {}
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.perf_counter()
            values[name] = float(function())
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken) for name, taken in times.items()}, values


def line(what, own, peer, goal=None):
    ratio = peer / own
    verdict = "" if goal is None else f", goal {goal} {'met' if ratio >= goal else 'MISSED'}"
    return f"{what}: {own:7.3f} s | peer {peer:7.3f} s | {ratio:6.1f} x faster{verdict}"


@pytest.mark.parametrize(
    ("count", "inside", "rounds", "goal"),
    [(1000, 100, 7, None), (5000, 100, 5, 2), (5000, 784, 3, None), (5000, 10, 5, None)],
)
def test_two_nn(report, count, inside, rounds, goal):
    points = cloud(count, 8, inside)
    array = points.numpy()
    times, values = interleaved(
        rounds,
        own=lambda: two_nn(points).dimension,
        peer=lambda: skdim.id.TwoNN(discard_fraction=0.1).fit(array).dimension_,
    )
    apart = abs(values["own"] - values["peer"])
    text = line(f"two_nn, N={count:5} D={inside:3}", times["own"], times["peer"], goal)
    report.append(f"{text} | {values['own']:.3f}, apart by {apart:.0e}")
    assert apart < 1e-6


def test_mle_dimension(report):
    points = cloud(5000, 8, 100)
    array = points.numpy()
    times, values = interleaved(
        3,
        own=lambda: mle_dimension(points).dimension,
        peer=lambda: skdim.id.MLE().fit(array, n_neighbors=20).dimension_,
    )
    apart = abs(values["own"] - values["peer"])
    text = line("mle_dimension, N= 5000 D=100", times["own"], times["peer"])
    report.append(f"{text} | {values['own']:.3f}, apart by {apart:.0e}")
    assert apart < 1e-6


@pytest.mark.parametrize(
    ("max_dim", "sizes"), [(1, (200, 400, 800)), (2, (60, 120, 180))], ids=["loops", "cavities"]
)
def test_what_persistence_costs(report, max_dim, sizes):
    """Of a sphere, the worst case: its cavity is filled late."""
    points = sphere(2000, generator=torch.Generator().manual_seed(0))
    found = []
    for samples in sizes:
        begin = time.perf_counter()
        persistence(points, max_dim, samples=samples)
        found.append(f"{samples}: {time.perf_counter() - begin:.2f} s")
    report.append(f"persistence up to dimension {max_dim}, points used: {', '.join(found)}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_cloud_in_two_gigabytes(report, dtype):
    command = [sys.executable, "-c", LARGE, str(torch.get_num_threads()), dtype]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    seconds, before, after, dimension = json.loads(result.stdout)
    report.append(
        f"two_nn, N=100000 D=100, {dtype}: {seconds:.0f} s, peak {after / 1e9:.2f} GB of the whole "
        f"process, goal 2 {'met' if after <= 2e9 else 'MISSED'} (with the points {before / 1e9:.2f}"
        f" GB; all distances would be {8 * 1e10 / 1e9:.0f} GB) | {dimension:.2f}"
    )
    assert after <= 2e9
