"""Alternating least squares and soft-impute: against loops, and against what they minimise."""

import math

import pytest
import torch
from deep_matrix_completion.cases import (
    SOLVERS,
    SQUARE,
    TALL,
    WIDE,
    run_from_start,
    some_problem,
    some_target,
)
from helpers import F64, close, normal, product, source

from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion import (
    Observations,
    alternating_least_squares,
    low_rank_matrix,
    observe,
    soft_impute,
)

F32 = torch.float32


@pytest.mark.parametrize("shape", [(40, 40), (30, 45), (45, 30)])
def test_alternating_least_squares_recovers(shape):
    target = low_rank_matrix(shape, 3, generator=source(0), dtype=F64)
    seen = observe(target, 0.5, generator=source(1))
    run = alternating_least_squares(
        seen, shape, rank=3, penalty=1e-12, steps=300, tol=1e-8, test=observe(target, 1.0)
    )
    assert run.steps[-1] < 300 and run["test_error"][-1] < 1e-7
    assert [factor.shape for factor in run.factors] == [(3, shape[1]), (shape[0], 3)]


@pytest.mark.parametrize("penalty", [1e-8, 0.3])
@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_one_round_solves_row_by_row(shape, penalty):
    """Among the rows one with fewer entries than unknowns."""
    _, seen, _ = some_problem(shape)
    few = (seen.rows != 4) | (seen.cols == seen.cols[seen.rows == 4][0])
    seen = seen[few]
    options = {"rank": 3, "penalty": penalty, "steps": 1}
    run, (first, zero) = run_from_start(alternating_least_squares, seen, shape, **options)
    assert not zero.any()
    close(first @ first.mT, torch.eye(3, dtype=F64))

    def rows_of(other, own, across, count):
        solved = []
        for i in range(count):
            some = other[across[own == i]]
            gram = some.mT @ some + penalty * torch.eye(3, dtype=F64)
            solved.append(torch.linalg.solve(gram, some.mT @ seen.values[own == i]))
        return torch.stack(solved)

    A = rows_of(first.mT, seen.rows, seen.cols, shape[0])
    B = rows_of(A, seen.cols, seen.rows, shape[1])
    tolerance = 1e-10 if penalty == 0.3 else 1e-5  # as far as the Gram matrices allow
    close(run.factors[1], A, tolerance)
    close(run.factors[0], B.mT, tolerance)


def test_objective_of_alternating_least_squares_falls():
    target, seen, mask = some_problem((30, 25), rank=4)

    def objective(factors):
        fit = (mask * (product(factors) - target)).square().sum()
        return fit + 0.5 * sum(factor.square().sum() for factor in factors)

    metrics = {"objective": objective}
    options = {"rank": 2, "penalty": 0.5, "steps": 30}
    run = alternating_least_squares(seen, (30, 25), **options, metrics=metrics)
    assert (run["objective"][1:].diff() <= 1e-12).all()


def test_least_squares_lowers_its_penalty_pair_by_pair():
    """Beside a loop of runs of one pair each that are begun where the last one ended."""
    target, seen, mask = some_problem(WIDE, rank=2)
    known = mask * target
    run, (first, _) = run_from_start(
        alternating_least_squares, seen, WIDE, rank=2, penalty=0.1, continuation=0.3, steps=4
    )
    B, weight = first.mT, torch.linalg.matrix_norm(known, 2).item()
    weights = []
    for _ in range(4):
        weight = max(0.3 * weight, 0.1)
        weights.append(weight)
        ridge = weight * torch.eye(2, dtype=F64)
        A = torch.stack(
            [
                torch.linalg.solve((B.mT * on) @ B + ridge, B.mT @ row)
                for row, on in zip(known, mask, strict=True)
            ]
        )
        B = torch.stack(
            [
                torch.linalg.solve((A.mT * on) @ A + ridge, A.mT @ column)
                for column, on in zip(known.mT, mask.mT, strict=True)
            ]
        )
    assert weights[0] > weights[1] > weights[-1] == 0.1
    close(run.factors[1], A, 1e-8)
    close(run.factors[0], B.mT, 1e-8)


def test_a_falling_penalty_finds_what_a_small_one_misses():
    """As the chapter says: 15 % of the entries, hardly more than there are degrees of freedom."""
    strengths = [19.9, 16.3, 13.8, 11.6, 9.9]
    generator = source(0)
    target = low_rank_matrix(
        (100, 100), 5, singular_values=strengths, generator=generator, dtype=F64
    )
    seen = observe(target, 0.15, generator=generator)
    own = {"rank": 5, "test": observe(target, 1.0), "generator": generator}
    fixed, falling = (
        alternating_least_squares(seen, (100, 100), continuation=c, **own) for c in (None, 0.8)
    )
    assert fixed["test_error"][-1] > 0.1 and falling["test_error"][-1] < 1e-3


def dense_soft_impute(target, mask, penalty, steps):
    """Descend by proximal gradient steps of length one, from zero."""
    Z = torch.zeros_like(target)
    for _ in range(steps):
        U, values, V = torch.linalg.svd(Z + mask * (target - Z), full_matrices=False)
        Z = U * (values - penalty).clamp(min=0) @ V
    return Z


def nuclear_objective(Z, target, mask, penalty):
    fit = (mask * (Z - target)).square().sum() / 2
    return fit + penalty * torch.linalg.svdvals(Z).sum()


@pytest.mark.parametrize("shape", [(24, 24), (20, 28), (28, 20)])
@pytest.mark.parametrize("penalty", [0.1, 0.6])
def test_soft_impute_finds_the_minimum(shape, penalty):
    _, seen, mask = some_problem(shape, rank=3, fraction=0.7, seed=2)
    noise = 0.02 * normal(5, len(seen))
    noisy = Observations(seen.rows, seen.cols, seen.values + noise)
    known = torch.zeros(shape, dtype=F64)
    known[noisy.rows, noisy.cols] = noisy.values
    run = soft_impute(
        noisy, shape, penalty=penalty, rank=12, steps=700, every=700, generator=source(0)
    )
    Z = run.dense()
    expected = dense_soft_impute(known, mask, penalty, 700)
    close(Z, expected, 1e-5)
    best = nuclear_objective(expected, known, mask, penalty)
    close(nuclear_objective(Z, known, mask, penalty), best, 1e-8)
    # Optimal: the residual is penalty times a subgradient of the nuclear norm.
    U, values, V = torch.linalg.svd(Z, full_matrices=False)
    rank = int((values > 1e-6).sum())
    assert 1 <= rank < 12
    residual = mask * (known - Z)
    inner = U[:, :rank].mT @ residual @ V[:rank].mT
    close(inner, penalty * torch.eye(rank, dtype=F64), 1e-5)
    close(residual @ V[:rank].mT, penalty * U[:, :rank], 1e-5)
    assert torch.linalg.matrix_norm(residual, 2) <= penalty * (1 + 1e-5)


def test_soft_impute_lowers_the_penalty_step_by_step():
    """With all entries known the t-th estimate is one shrinkage, by 0.8^t of the largest."""
    values = [4.0, 3.0, 1.0]
    target = some_target((20, 22), 3, values=values)
    options = {"penalty": 1.5, "rank": 5, "continuation": 0.8, "steps": 8}
    metrics = {"values": lambda factors: torch.linalg.svdvals(end_to_end(factors))}
    run = soft_impute(observe(target, 1.0), (20, 22), **options, metrics=metrics)
    estimates = run["values"]
    assert estimates[0].max() == 0
    for step, found in enumerate(estimates[1:], start=1):
        shrunk = (torch.tensor(values, dtype=F64) - max(4 * 0.8**step, 1.5)).clamp(min=0)
        close(found[:3], shrunk, 1e-9)
    assert len(estimates) == len(run.steps) == 9


def test_recovery_by_soft_impute():
    target = low_rank_matrix((40, 45), 2, generator=source(0), dtype=F64)
    run = soft_impute(
        observe(target, 0.6, generator=source(1)),
        (40, 45),
        penalty=1e-3,
        rank=4,
        test=observe(target, 1.0),
        steps=400,
        every=400,
    )
    assert run["test_error"][-1] < 1e-3


@pytest.mark.parametrize(
    ("solve", "change"),
    [
        ("als", {"rank": 0}),
        ("als", {"rank": 14}),
        ("als", {"penalty": 0.0}),
        ("als", {"penalty": math.nan}),
        ("als", {"continuation": 0.0}),
        ("als", {"continuation": 1.0}),
        ("als", {"steps": -1}),
        ("als", {"every": 0}),
        ("als", {"tol": -1.0}),
        ("soft-impute", {"rank": 0}),
        ("soft-impute", {"rank": 14}),
        ("soft-impute", {"penalty": 0.0}),
        ("soft-impute", {"penalty": -1.0}),
        ("soft-impute", {"continuation": 0.0}),
        ("soft-impute", {"continuation": 1.0}),
        ("soft-impute", {"steps": -1}),
        ("soft-impute", {"every": 0}),
        ("soft-impute", {"tol": -1.0}),
    ],
)
def test_a_peer_names_what_is_wrong(solve, change):
    (name,) = change
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        SOLVERS[solve](seen, SQUARE, **change)


def test_a_penalty_that_drowns_is_named():
    """In float32 a guess of the rank from above needs a larger penalty than the default."""
    target = low_rank_matrix((60, 60), 3, generator=source(0), dtype=F32)
    seen = observe(target, 0.5, generator=source(1))
    with pytest.raises(FloatingPointError, match="penalty=1e-08"):
        alternating_least_squares(seen, (60, 60), rank=5)
    run = alternating_least_squares(seen, (60, 60), rank=5, penalty=1e-2)
    assert run["train_error"][-1] < 1e-2
