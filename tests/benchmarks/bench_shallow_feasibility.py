"""``nc_feasibility`` beside SciPy's HiGHS, what it costs by size, and on a busy machine.

Run ``OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_shallow_feasibility.py``, or with all threads
where nothing else runs: the table is printed at the end, in about two minutes. K = 3 classes of n
samples, float64; a time is that of one class problem, a median over rounds. Each round decides the
whole batch with ``nc_feasibility`` and another part of the same batch with each form of HiGHS. Only
the correctness of the results is asserted.

The goals are set beside the program as it stands: X_k b = 1, X_j b <= 0, b free. "Without
equations" is HiGHS on the same program after the elimination of b by a QR decomposition, whose time
counts.
"""

import math
import statistics
import time

import numpy as np
import pytest
import torch

from lecturelib.datasets import gaussian_mixture
from lecturelib.experiments.shallow_feasibility import with_equations as plain
from lecturelib.experiments.shallow_feasibility import without_equations as reduced
from lecturelib.shallow_feasibility import nc_feasibility, verify_feasibility

K = 3
GOALS = {30: 10, 100: 5}
BATCH = {30: 30, 100: 6}
ROUNDS = 3
NAMES = {plain: "with equations", reduced: "without equations"}


def problem(n, d, noise, instances, seed=0):
    """Draw classes around orthogonal unit means, or around zero where the noise is infinite."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(K, d, dtype=torch.float64) / noise
    return gaussian_mixture(centres, n, 1.0, batch_shape=(instances,), generator=generator)


def seconds(function, *args, **options):
    start = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - start, result


def ours(inputs, labels):
    """Decide a batch; return the time per class problem, and the answers once they are checked."""
    wait = torch.cuda.synchronize if inputs.is_cuda else lambda: None
    wait()
    start = time.perf_counter()
    result = nc_feasibility(inputs, labels)
    wait()
    taken = time.perf_counter() - start
    assert verify_feasibility(inputs, labels, result).all()
    return taken / result.verdict.numel(), result.feasible.cpu()


def theirs(form, method, inputs, labels, expected):
    """Decide one class after the other; return the time of each, and how many HiGHS missed.

    Missed is what it leaves open ("model status unknown", 4 in SciPy). Where it does answer, it
    must agree with the proof. The interior-point method alone is let off: it calls a few problems
    infeasible whose solution is there to see. A wrong answer of it counts as missed.
    """
    samples, members = inputs.numpy(), [(labels == k).numpy() for k in range(K)]
    pairs = [(X[own], X[~own]) for X in samples for own in members]
    taken, solutions = seconds(lambda: [form(A, B, method) for A, B in pairs])
    found = [solution.status for solution in solutions]
    proved = [0 if feasible else 2 for feasible in expected.flatten().tolist()]
    missed = [pair for pair in zip(found, proved, strict=True) if pair[0] != pair[1]]
    assert method == "highs-ipm" or all(status == 4 for status, _ in missed)
    return taken / len(pairs), len(missed)


def interleaved(n, d, noise, forms, instances):
    """Return our time, times and misses of all forms of HiGHS, and the share of feasible classes.

    The forms of ``plain`` beside the first are slow and much alike: they run in one round only.
    """
    inputs, labels = problem(n, d, noise, instances)
    own, others = [], {pair: [] for pair in forms}
    for number, part in enumerate(torch.arange(instances).chunk(ROUNDS)):
        taken, feasible = ours(inputs, labels)
        own.append(taken)
        for index, (form, method) in enumerate(forms):
            if number == 0 or index == 0 or form is reduced:
                found = theirs(form, method, inputs[part], labels, feasible[part])
                others[form, method].append(found)
    columns = {pair: list(zip(*found, strict=True)) for pair, found in others.items()}
    results = {pair: (statistics.median(times), sum(c)) for pair, (times, c) in columns.items()}
    return statistics.median(own), results, feasible.double().mean().item()


def verdict(ratio, goal):
    return f"{ratio:6.1f} x faster, goal {goal:3} {'met' if ratio >= goal else 'MISSED'}"


def beside(found):
    taken, missed = found
    return duration(taken) + f" (missed {missed})" * (missed > 0)


def duration(value):
    return f"{value * 1e3:8.2f} ms"


def title(n, d, noise):
    kind = "pure noise" if noise == math.inf else f"noise {noise:.2f}"
    return f"n={n:3} d={d:3} {kind}"


def start():
    interleaved(5, 10, math.inf, [(plain, "highs")], 3)  # the first calls are slow
    return f"one class problem, K={K}, float64"


@pytest.mark.parametrize(
    ("n", "d", "noise"),
    [
        (30, 45, math.inf),
        (30, 60, math.inf),
        (30, 75, math.inf),
        (30, 33, 0.25),
        (30, 39, 0.25),
        (30, 48, 0.25),
        (100, 150, math.inf),
        (100, 200, math.inf),
        (100, 250, math.inf),
        (100, 115, 0.25),
        (100, 133, 0.25),
        (100, 160, 0.25),
    ],
)
def test_beside_highs(report, n, d, noise):
    methods = "highs", "highs-ds", "highs-ipm"
    forms = [(form, method) for form in (plain, reduced) for method in methods]
    own, others, share = interleaved(n, d, noise, forms, BATCH[n])
    usual = others.pop((plain, "highs"))
    ratio = usual[0] / own
    report.append(
        f"{title(n, d, noise)}, {share:4.0%} feasible: {duration(own)} | HiGHS {beside(usual)} | "
        f"{verdict(ratio, GOALS[n])}"
    )
    (form, method), best = min(others.items(), key=lambda item: item[1])
    report.append(
        f"    its best other form, {NAMES[form]} {method}: {beside(best)} | {best[0] / own:.1f} x"
    )


def cost_table(report, sizes):
    """List the cost for pure noise by (n, d); return our times."""
    times = []
    for n, d in sizes:
        forms = [(plain, "highs")] * (n <= 80) + [(reduced, "highs-ds")]
        instances = max(3, min(60, round(4000 / n**1.5)))
        own, others, share = interleaved(n, d, math.inf, forms, instances)
        line = f"{title(n, d, math.inf)}, {share:4.0%} feasible: {duration(own)}"
        for (form, _), found in others.items():
            line += f" | HiGHS, {NAMES[form]}: {beside(found)}"
        report.append(line)
        times.append(own)
    return times


def test_cost_by_dimension(report):
    """It peaks at the transition; beyond d = K n, here 150, only a QR decomposition grows."""
    cost_table(report, [(50, d) for d in (60, 75, 90, 100, 110, 125, 150, 300)])


@pytest.mark.parametrize("ratio", [1.5, 2, 2.5])
def test_cost_by_samples(report, ratio):
    sizes = [10, 20, 40, 80, 160]
    times = cost_table(report, [(n, round(ratio * n)) for n in sizes])
    power = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    report.append(f"    d/n = {ratio}: time ~ n^{power:.1f}")


@pytest.mark.parametrize(("n", "d", "instances"), [(30, 60, 3000), (100, 200, 600)])
def test_on_a_gpu(report, n, d, instances):
    if not torch.cuda.is_available():
        report.append(f"{title(n, d, math.inf)}, on a GPU: skipped, there is none")
        pytest.skip("needs CUDA")
    inputs, labels = problem(n, d, math.inf, instances)
    on_gpu = inputs.cuda(), labels.cuda()
    ours(*on_gpu)
    own, usual = [], []
    for part in torch.arange(BATCH[n]).chunk(ROUNDS):
        taken, feasible = ours(*on_gpu)
        own.append(taken)
        usual.append(theirs(plain, "highs", inputs[part], labels, feasible[part])[0])
    own, usual = statistics.median(own), statistics.median(usual)
    report.append(
        f"{title(n, d, math.inf)}, {instances} instances on {torch.cuda.get_device_name()}: "
        f"{duration(own)} | HiGHS {duration(usual)} | {verdict(usual / own, 200)}"
    )


@pytest.mark.parametrize(("n", "d", "instances"), [(10, 20, 1000), (30, 60, 200)])
def test_a_second_thread_on_a_busy_machine(report, slowdown, n, d, instances):
    inputs, labels = problem(n, d, math.inf, instances)
    ratio = slowdown(lambda: seconds(nc_feasibility, inputs, labels)[0])
    met = "met" if ratio <= 1.5 else "MISSED"
    report.append(
        f"{title(n, d, math.inf)}, {instances} instances on a busy machine: two threads take "
        f"{ratio:.2f} x as long as one, goal 1.5 {met}"
    )
