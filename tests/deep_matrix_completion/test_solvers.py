"""What all routines for observed entries share: records, errors, memory, threads, devices."""

import math
import re
import subprocess
import sys
import time

import pytest
import torch
from deep_matrix_completion.cases import (
    SOLVERS,
    SQUARE,
    TALL,
    assert_same_factors,
    autograd_descent,
    some_problem,
    some_target,
)
from helpers import F64, close, normal, product, source
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion import (
    Observations,
    complete,
    factorize,
    low_rank_matrix,
    observe,
    soft_impute,
)
from lecturelib.law_of_parsimony import bulk_singular_value

F32 = torch.float32


# --- records ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_run_records_its_errors_and_metrics(form, solve, dtype):
    target, seen, mask = some_problem(TALL, dtype=dtype)
    copies = [part.clone() for part in (seen.rows, seen.cols, seen.values)]
    hidden = observe(target + normal(0, *TALL, dtype=dtype), 0.3, generator=source(9))

    def train(factors):
        return (mask * (product(factors) - target)).norm() / seen.values.norm()

    def test(factors):
        gap = product(factors)[hidden.rows, hidden.cols] - hidden.values
        return gap.norm() / hidden.values.norm()

    metrics = {"train": train, "test": test, "product": end_to_end}
    run = solve(seen, TALL, test=hidden, steps=8, every=3, metrics=metrics)
    tolerance = 1e-11 if dtype == F64 else 1e-5
    assert run.steps.tolist() == [0, 3, 6, 8] and run.steps.dtype == torch.int64
    names = {"train_error", "test_error", "seconds", "train", "test", "product"}
    assert set(run.values) == names
    close(run["train_error"], run["train"], tolerance)
    close(run["test_error"], run["test"], tolerance)
    seconds = run["seconds"]
    assert seconds.shape == (4,) and seconds[0] >= 0 and (seconds.diff() >= 0).all()
    dense = run.dense()
    assert dense.shape == TALL and dense.dtype == dtype
    assert run["product"].shape == (4, *TALL)
    close(run["product"][-1], dense, tolerance)
    close(dense, product(run.factors), tolerance)
    close(run.predict(hidden.rows, hidden.cols), dense[hidden.rows, hidden.cols], tolerance)
    for part, copy in zip((seen.rows, seen.cols, seen.values), copies, strict=True):
        assert torch.equal(part, copy)


def test_the_start_is_a_record_and_so_is_the_end(solve):
    _, seen, _ = some_problem()
    assert solve(seen, SQUARE, steps=0).steps.tolist() == [0]
    run = solve(seen, SQUARE, steps=4, every=2)
    assert run.steps.tolist() == [0, 2, 4]
    assert (run["train_error"].diff() < 0).all()
    assert solve(seen, SQUARE, steps=4, every=[1, 3]).steps.tolist() == [1, 3, 4]
    same = [solve(seen, SQUARE, generator=source(1)).dense() for _ in range(2)]
    assert torch.equal(*same)


def test_without_test_entries_there_is_no_test_error(solve):
    _, seen, _ = some_problem()
    with pytest.raises(KeyError, match="'test_error' was not recorded: 'train_error'"):
        solve(seen, SQUARE)["test_error"]


def test_a_run_ends_at_tol(solve):
    _, seen, _ = some_problem()
    errors = solve(seen, SQUARE, steps=40, every=4, generator=source(0))["train_error"]
    bound = errors[3].item() * (1 + 1e-9)
    run = solve(seen, SQUARE, steps=40, every=4, tol=bound, generator=source(0))
    assert (errors[:3] > bound).all() and run.steps.tolist() == [0, 4, 8, 12]
    assert len(run["train_error"]) == len(run["seconds"]) == 4


def test_the_time_of_recording_does_not_count(solve):
    _, seen, _ = some_problem()
    slow = {"slow": lambda factors: time.sleep(0.3) or 0}
    run = solve(seen, SQUARE, steps=2, every=1, metrics=slow)
    assert run["seconds"][-1] < 0.6  # of at least 0.9 that passed


def test_an_estimate_moves(solve):
    run = solve(some_problem()[1], SQUARE)
    moved = run.to("meta")
    assert type(moved) is type(run) and all(factor.is_meta for factor in moved.factors)
    assert moved["train_error"].is_meta and moved.steps.is_meta


def test_entries_outside_the_estimate_are_not_predicted(solve):
    run = solve(some_problem(TALL)[1], TALL)
    zero = torch.tensor([0])
    with pytest.raises(ValueError, match=r"rows must lie in 0 \.\. 14, got 15 \.\. 15"):
        run.predict(zero + 15, zero)
    with pytest.raises(ValueError, match=r"cols must lie in 0 \.\. 11, got 12 \.\. 12"):
        run.predict(zero + 14, zero + 12)


# --- memory and threads -----------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """Notes the most numbers that any operation returned in one tensor."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                stored = tensor._nnz() if tensor.layout == torch.sparse_csr else tensor.numel()
                self.numbers = max(self.numbers, stored)
        return result


def test_nothing_of_the_size_of_a_large_matrix_is_formed(solve):
    d = 400
    target = low_rank_matrix((d, d), 2, generator=source(0), dtype=F64)
    seen, hidden = (observe(target, 0.03, generator=source(seed)) for seed in (1, 2))
    with Largest() as largest:
        run = solve(seen, (d, d), steps=2, test=hidden)
        run.predict(hidden.rows, hidden.cols)
    if solve is SOLVERS["full"]:
        assert largest.numbers >= d * d  # it would be seen
    else:
        assert largest.numbers < d * d / 3
        with largest:
            run.dense()
        assert largest.numbers == d * d


@pytest.fixture
def three_threads():
    """So that one thread is a choice."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)


def threads_of(solve, seen, shape, **options):
    """Threads within a run, which gives the setting back."""
    metrics = {"threads": lambda factors: torch.get_num_threads()}
    found = solve(seen, shape, steps=1, metrics=metrics, **options)["threads"]
    assert torch.get_num_threads() == 3
    return set(found.tolist())


def test_small_matrices_take_one_thread(form, solve, three_threads):
    assert threads_of(solve, some_problem()[1], SQUARE) == {1}


def test_large_matrices_take_all_threads(solve, three_threads):
    shape = (300, 300)
    options = {"rank": 2} if solve is SOLVERS["full"] else {"rank": 90}
    seen = observe(normal(0, *shape), 0.1, generator=source(0))
    assert threads_of(solve, seen, shape, **options) == {3}


def test_a_run_that_fails_gives_the_threads_back(three_threads):
    with pytest.raises(FloatingPointError):
        complete(some_problem()[1], SQUARE, rank=2, lr=321.0, scale=0.5)


@pytest.mark.parametrize("method", ["full", "compressed"])
def test_small_factorizations_take_one_thread(method, three_threads):
    def solve(target, shape, **options):
        return factorize(target, rank=2, lr=0.01, method=method, **options)

    assert threads_of(solve, some_target(), SQUARE) == {1}
    large = some_target((300, 300))
    assert threads_of(solve, large, (300, 300)) == ({3} if method == "full" else {1})


# --- what cannot be completed -----------------------------------------------------------------


def bad_observations():
    seen = some_problem()[1]
    rows, cols, values = seen.rows, seen.cols, seen.values

    def changed(part, place, number):
        parts = [rows.clone(), cols.clone(), values.clone()]
        parts[part][place] = number
        return tuple(parts)

    nothing = rows[:0], cols[:0], values[:0]
    twice = torch.cat([rows, rows[5:6]]), torch.cat([cols, cols[5:6]]), torch.cat([values, values])
    twice = (*twice[:2], twice[2][: len(values) + 1])
    place = re.escape(f"({rows[5].item()}, {cols[5].item()})")
    count = len(values)
    return {
        "empty": (nothing, " must be one entry or more"),
        "fewer columns": ((rows, cols[:-1], values), rf"cols must be .* of shape \({count},\)"),
        "fewer values": ((rows, cols, values[:-1]), rf"values must be .* of shape \({count},\)"),
        "matrices": ((rows[None], cols[None], values[None]), "rows must be an integer tensor"),
        "float rows": ((rows.double(), cols, values), "rows must be an integer tensor"),
        "float columns": ((rows, cols.float(), values), "cols must be an integer tensor"),
        "integer values": ((rows, cols, values.long()), "values must be a floating-point tensor"),
        "nan": (changed(2, 3, math.nan), "values must be finite"),
        "inf": (changed(2, 3, -math.inf), "values must be finite"),
        "row too large": (changed(0, -1, 13), r"rows must lie in 0 \.\. 12, got 0 \.\. 13"),
        "column too large": (changed(1, 0, 99), r"cols must lie in 0 \.\. 12, got 0 \.\. 99"),
        "negative row": (changed(0, 0, -1), r"rows .* got -1 \.\. 12"),
        "negative column": (changed(1, 0, -2), r"cols .* got -2 \.\. 12"),
        "twice": (twice, f"must hold each entry once, got {place} twice"),
        "zeros": ((rows, cols, 0 * values), "values must not all be zero"),
    }


BAD = bad_observations()


@pytest.mark.parametrize(("seen", "message"), BAD.values(), ids=BAD)
def test_bad_observations_are_named(solve, seen, message):
    for given in (seen, Observations(*seen)):
        with pytest.raises(ValueError, match=rf"^observations.*{message}"):
            solve(given, SQUARE)


@pytest.mark.parametrize("seen", [None, torch.zeros(3, 3), [1, 2, 3], (torch.zeros(3),)])
def test_observations_of_another_kind_are_named(solve, seen):
    with pytest.raises(TypeError, match="observations must be Observations"):
        solve(seen, SQUARE)


@pytest.mark.parametrize("place", [-1, 1000])
def test_test_entries_are_checked(solve, place):
    wrong = torch.tensor([place]), torch.tensor([0]), torch.ones(1, dtype=F64)
    with pytest.raises(ValueError, match=r"test\.rows must lie in"):
        solve(some_problem()[1], SQUARE, test=wrong)


@pytest.mark.parametrize("shape", [13, (13,), (13, 13, 13), (13, 0), None, "13"])
def test_a_shape_is_two_numbers(solve, shape):
    with pytest.raises((TypeError, ValueError), match="shape must be"):
        solve(some_problem()[1], shape)


def test_rows_and_columns_without_an_entry_warn(solve):
    everything = observe(some_target(), 1.0)
    few = (everything.rows % 5 != 4) & (everything.cols != 7)
    with pytest.warns(UserWarning, match="is observed") as caught:
        run = solve(everything[few], SQUARE)
    assert [str(warning.message).split(" is ")[0] for warning in caught] == [
        "no entry of row 4, 9",
        "no entry of column 7",
    ]
    # Where the routine was called.
    assert {warning.filename.rpartition("/")[2] for warning in caught} == {"cases.py"}
    assert run.dense().isfinite().all()
    with pytest.warns(UserWarning, match="no entry of row 3, 4, 5, 6, 7, … is observed"):
        solve(everything[everything.rows < 3], SQUARE)


CLEAN = """
import warnings, torch
from lecturelib.deep_matrix_completion import *
warnings.simplefilter("error")
source = torch.Generator().manual_seed(0)
target = low_rank_matrix((200, 200), 2, generator=source)
seen, test = observe(target, 0.1, generator=source), observe(target, 1.0)
for options in ({}, {"start": "gradient"}, {"method": "narrow"}, {"method": "full"}):
    complete(seen, (200, 200), rank=2, lr=1e-6, steps=3, every=2, test=test, **options)
alternating_least_squares(seen, (200, 200), rank=2, penalty=1e-2, steps=2)
soft_impute(seen, (200, 200), rank=2, penalty=1.0, steps=2)
for method in ("full", "compressed", "narrow"):
    factorize(target.dense(), rank=2, lr=1e-6, steps=2, method=method)
"""


def test_a_clean_run_warns_of_nothing():
    """In a fresh process: torch gives some of its warnings only once."""
    run = subprocess.run([sys.executable, "-c", CLEAN], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_short_integers_count_places_too(form, solve, dtype):
    """13 * 13 places are too many for eight bits with a sign, and 40 * 40 without."""
    shape = (40, 41)
    _, seen, _ = some_problem(shape)
    short = seen.rows.to(dtype), seen.cols.to(dtype), seen.values
    one, other = (solve(given, shape, generator=source(0)).dense() for given in (seen, short))
    assert torch.equal(one, other)


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same(form):
    """With all entries seen and 2r values apart, the start is sure, but for signs."""
    shape, target = (30, 33), some_target((30, 33), 4)
    cases = [
        (1.0, SOLVERS["compressed surrogate"]),
        (1.0, lambda *args: SOLVERS["als"](*args, rank=4)),
        (0.8, lambda *args: soft_impute(*args, penalty=0.3, rank=12, steps=600)),
    ]
    for fraction, routine in cases:
        seen = observe(target, fraction, generator=source(1))
        here, far = routine(seen, shape), routine(seen.to("cuda"), shape)
        assert all(factor.is_cuda for factor in far.factors)
        assert far.predict(seen.rows.cuda(), seen.cols.cuda()).is_cuda
        close(far.dense().cpu(), here.dense(), 1e-8)
        close(far["train_error"], here["train_error"], 1e-8)
    seen = observe(target.cuda(), 0.6, generator=source(1))
    mask = torch.zeros(shape, dtype=F64)
    mask[seen.rows.cpu(), seen.cols.cpu()] = 1
    for name in ("compressed gradient", "narrow", "full"):
        start = []

        def keep(factors, to=start):
            to.extend(factor.cpu().clone() for factor in factors if len(to) < len(factors))
            return 0

        run = SOLVERS[name](seen, shape, every=6, metrics={"keep": keep}, generator=source(0))
        expected = autograd_descent(start, [0.03] * len(start), target, 6, mask)
        assert run.factors[0].is_cuda
        assert_same_factors([factor.cpu() for factor in run.factors], expected, 1e-8)
    square, options = some_target((24, 24)).cuda(), {"rank": 2, "lr": 0.02, "scale": 0.4}
    full, compressed = (
        factorize(square, method=method, steps=200, **options, generator=source(0)).dense()
        for method in ("full", "compressed")
    )
    rho = bulk_singular_value(0.4, 3, lr=0.02, steps=200)[-1].item()
    assert full.is_cuda and compressed.is_cuda
    assert (full - compressed).norm().item() == pytest.approx(rho**3 * math.sqrt(20), rel=1e-8)
