"""Steps of gradient descent: reduced beside full, by hand beside autograd, batched beside single.

Run ``OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_law_of_parsimony.py``: the table is printed at
the end. Medians of interleaved repeats in one process, float64, L = 3 layers, whitened inputs. A
time is that of one step; finding the subspaces, once per reduced run, is listed apart. Only the
agreement of the results is asserted, and that a second thread costs little on a busy machine.
"""

import statistics
import time

import pytest
import torch

from lecturelib.deep_linear import gradient_descent, init_weights
from lecturelib.law_of_parsimony import reduced_gradient_descent

RANK, DEPTH, SCALE, RATE = 3, 3, 0.5, 0.02
SEEDS = 32


def problem(case, d, batch_shape=()):
    """Draw a start and a target of rank 3."""
    generator = torch.Generator().manual_seed(0)
    rows = d if case == "square" else RANK
    weights = init_weights(
        [d] * DEPTH + [rows],
        SCALE,
        batch_shape=batch_shape,
        generator=generator,
        dtype=torch.float64,
    )
    left, right = (
        torch.linalg.qr(torch.randn(size, RANK, generator=generator, dtype=torch.float64)).Q
        for size in (rows, d)
    )
    return weights, left @ right.mT


def by_hand(weights, phi, steps):
    """Descend; the loss at the end is in the time too, of a step's products a third."""
    return gradient_descent(weights, None, phi, lr=RATE, steps=steps, every=[]).final


def by_autograd(weights, phi, steps):
    variables = [weight.clone().requires_grad_() for weight in weights]
    for _ in range(steps):
        product = variables[0]
        for weight in variables[1:]:
            product = weight @ product
        loss = (product - phi).square().sum() / 2
        gradients = torch.autograd.grad(loss, variables)
        with torch.no_grad():
            for weight, gradient in zip(variables, gradients, strict=True):
                weight.sub_(gradient, alpha=RATE)
    return [variable.detach() for variable in variables]


def one_by_one(descent, weights, phi, steps):
    paths = [descent(list(network), phi, steps) for network in zip(*weights, strict=True)]
    return [torch.stack(layers) for layers in zip(*paths, strict=True)]


def reduced_problem(weights, phi):
    """Reduce to the cores and their target, as ``reduced_gradient_descent`` does."""
    start = reduced_gradient_descent(weights, None, phi, RANK, lr=RATE, steps=0)
    left, right = start.subspaces[-1][0], start.subspaces[0][1]
    return start.cores.final, left[:, : 2 * RANK].mT @ phi @ right[:, : 2 * RANK]


def seconds(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def compare(benchmark, own, others, rounds):
    """Time all of them in turn; return medians, own first, and the last results."""
    times, results = [[] for _ in others], [None] * len(others)

    def others_first():
        for index, (function, *args) in enumerate(others):
            taken, results[index] = seconds(function, *args)
            times[index].append(taken)

    function, *args = own
    result = benchmark.pedantic(
        function, args=args, setup=others_first, rounds=rounds, warmup_rounds=1
    )
    taken = [benchmark.stats.stats.median, *(statistics.median(column) for column in times)]
    return taken, [result, *results]


def furthest(weights, others):
    return max(float((a - b).abs().max()) for a, b in zip(weights, others, strict=True))


def verdict(ratio, goal):
    return f"{ratio:7.1f} x faster, goal {goal:4} {'met' if ratio >= goal else 'MISSED'}"


def duration(value):
    return f"{value * 1e6:9.0f} us"


def start():
    reduced_problem(*problem("square", 50))  # LAPACK is slow the first time
    return f"one step, L={DEPTH}, r={RANK}, float64"


@pytest.fixture(scope="module")
def reduced_times():
    return {}


@pytest.mark.parametrize(
    ("d", "goal", "steps", "rounds"), [(100, 10, 200, 9), (400, 100, 10, 7), (1000, 1000, 3, 3)]
)
def test_reduced_step(benchmark, report, reduced_times, d, goal, steps, rounds):
    weights, phi = problem("square", d)
    setup, (cores, core_phi) = seconds(reduced_problem, weights, phi)
    many = 1000
    (own, full), (_, final) = compare(
        benchmark, (by_hand, cores, core_phi, many), [(by_hand, weights, phi, steps)], rounds
    )
    own, full = own / many, full / steps
    reduced_times[d] = own
    ratio = benchmark.extra_info["ratio"] = full / own
    report.append(
        f"reduced against full, d={d:4}: {duration(own)} | {duration(full)} | "
        f"{verdict(ratio, goal)} | subspaces: {duration(setup)}, {setup / full:.0f} full steps"
    )
    if d == 1000:
        growth = own / reduced_times[100]
        report.append(
            f"reduced step at d=1000 against d=100: {growth:.2f} x its time, goal about 1"
        )
    reduced = reduced_gradient_descent(weights, None, phi, RANK, lr=RATE, steps=steps)
    assert furthest(reduced.weights(), final) < 1e-10


@pytest.mark.parametrize(("d", "goal", "steps", "rounds"), [(30, 2, 500, 9), (1000, 1, 30, 3)])
def test_gradient_by_hand(benchmark, report, d, goal, steps, rounds):
    arguments = (*problem("square", d), steps)
    (own, theirs), (final, expected) = compare(
        benchmark, (by_hand, *arguments), [(by_autograd, *arguments)], rounds
    )
    ratio = benchmark.extra_info["ratio"] = theirs / own
    report.append(
        f"by hand against autograd, d={d:4}: {duration(own / steps)} | "
        f"{duration(theirs / steps)} | {verdict(ratio, goal)}"
    )
    assert furthest(final, expected) < 1e-10


@pytest.mark.parametrize("case", ["square", "wide"])
def test_batch_of_seeds(benchmark, report, case):
    steps, goal = 100, 8
    arguments = (*problem(case, 30, (SEEDS,)), steps)
    others = [(one_by_one, by_hand, *arguments), (one_by_one, by_autograd, *arguments)]
    times, (final, *expected) = compare(benchmark, (by_hand, *arguments), others, 5)
    names = ["by hand", "autograd"]
    for name, theirs in zip(names, times[1:], strict=True):
        ratio = benchmark.extra_info[f"ratio, {name}"] = theirs / times[0]
        report.append(
            f"{SEEDS} seeds at once against {name} one by one, d=30, {case}: "
            f"{duration(times[0] / steps)} | {duration(theirs / steps)} | {verdict(ratio, goal)}"
        )
    assert max(furthest(final, other) for other in expected) < 1e-10


def test_two_threads_on_a_busy_machine(report, slowdown):
    weights, phi = problem("square", 30)

    def descent():
        return seconds(by_hand, weights, phi, 500)[0]

    ratio = slowdown(descent)
    report.append(f"two threads on a busy machine, d=30: {ratio:.2f} x the time of one, goal 1.5")
    assert ratio < 2
