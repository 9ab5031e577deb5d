"""A matrix known in full: compression against theory, descent against autograd."""

import math

import pytest
import torch
from deep_matrix_completion.cases import (
    SQUARE,
    TALL,
    WIDE,
    assert_same_factors,
    autograd_descent,
    run_from_start,
    some_target,
)
from helpers import F64, close, product, source

from lecturelib.deep_linear import end_to_end, init_weights
from lecturelib.deep_matrix_completion import factorize
from lecturelib.law_of_parsimony import bulk_singular_value, reduced_gradient_descent

F32 = torch.float32


def paired_runs(target, rank, depth, scale, lr, steps, every):
    """Run the full and the compressed network from one start, with their products."""
    options = {"rank": rank, "lr": lr, "depth": depth, "scale": scale, "steps": steps}
    options |= {"every": every, "metrics": {"product": end_to_end}}
    return [
        factorize(target, method=method, **options, generator=source(5))
        for method in ("full", "compressed")
    ]


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("rank", [2, 4])
def test_the_gap_between_full_and_compressed_is_that_of_the_theorem(depth, rank):
    """To rounding, whether the rank is met or guessed from above."""
    d, scale, lr, steps, every = 24, 0.4, 0.02, 300, 25
    full, run = paired_runs(some_target((d, d)), rank, depth, scale, lr, steps, every)
    assert len(run.factors) == depth + 2
    rho = bulk_singular_value(scale, depth, lr=lr, steps=steps)[run.steps]
    gap = (full["product"] - run["product"]).norm(dim=(1, 2))
    torch.testing.assert_close(gap, rho**depth * math.sqrt(d - 2 * rank), rtol=1e-10, atol=0)
    assert run["train_error"][-1] < run["train_error"][0] / 4


@pytest.mark.parametrize("depth", [2, 3])
def test_the_cores_are_those_of_the_law_of_parsimony(depth):
    d, rank, scale, lr, steps = 20, 3, 0.3, 0.03, 200
    target = some_target((d, d))
    _, run = paired_runs(target, rank, depth, scale, lr, steps, 20)
    weights = init_weights([d] * (depth + 1), scale, generator=source(5), dtype=F64)
    path = reduced_gradient_descent(weights, None, target, rank, lr=lr, steps=steps)
    U, V = path.subspaces[-1][0][:, : 2 * rank], path.subspaces[0][1][:, : 2 * rank]
    for step, found in zip(run.steps, run["product"], strict=True):
        close(found, U @ product(path.cores.weights(step)) @ V.mT, 1e-10)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("method", ["compressed", "narrow", "full"])
def test_the_train_error_is_that_of_the_product(rank, method):
    """Also of a target whose rank, 4, is larger than the guess."""
    target = some_target(SQUARE, 4)
    options = {"rank": rank, "lr": 0.02, "method": method, "scale": 0.3, "steps": 105, "every": 10}
    metrics = {"gap": lambda factors: (end_to_end(factors) - target).norm()}
    run = factorize(target, **options, metrics=metrics, generator=source(0))
    close(run["train_error"], run["gap"] / target.norm())
    assert run.steps.tolist() == [*range(0, 101, 10), 105] and run.steps.dtype == torch.int64
    assert set(run.values) == {"train_error", "seconds", "gap"}
    assert run["train_error"][-1] < run["train_error"][0]


@pytest.mark.parametrize("shape", [SQUARE, WIDE, TALL])
@pytest.mark.parametrize("method", ["full", "narrow"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_factorization_takes_the_steps_of_autograd(shape, method, depth):
    target = some_target(shape)
    options = {"rank": 2, "lr": 0.03, "depth": depth, "scale": 0.5, "steps": 40}
    run, start = run_from_start(factorize, target, method=method, **options)
    width = min(shape) if method == "full" else 4
    widths = [shape[1], *[width] * (depth - 1), shape[0]]
    assert_same_factors(start, init_weights(widths, 0.5, generator=source(7), dtype=F64), 1e-15)
    assert_same_factors(run.factors, autograd_descent(start, [0.03] * depth, target, 40))
    assert (run.factors[0] - start[0]).abs().max() > 0.01


@pytest.mark.parametrize("depth", [2, 3])
def test_a_compressed_factorization_takes_the_steps_of_autograd(depth):
    target = some_target(SQUARE, 4)
    options = {"rank": 2, "lr": 0.03, "depth": depth, "scale": 0.5, "steps": 40}
    run, start = run_from_start(factorize, target, **options)
    rates = [0.0, *[0.03] * depth, 0.0]
    assert_same_factors(run.factors, autograd_descent(start, rates, target, 40))
    for core in start[1:-1]:
        close(core, 0.5 * torch.eye(4, dtype=F64), 0)
    for frame, first in ((run.factors[0].mT, start[0].mT), (run.factors[-1], start[-1])):
        assert torch.equal(frame, first)
        close(frame.mT @ frame, torch.eye(4, dtype=F64))


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
def test_a_factorization_keeps_float32_and_its_target(method):
    target = some_target(dtype=F32)
    copy = target.clone()
    options = {"rank": 2, "lr": 0.03, "method": method, "scale": 0.5, "steps": 20}
    run = factorize(target, **options, generator=source(0))
    assert all(factor.dtype == F32 for factor in run.factors) and run.dense().dtype == F32
    assert torch.equal(target, copy)
    again = factorize(target.numpy(), **options, generator=source(0))
    assert torch.equal(again.dense(), run.dense())


@pytest.mark.parametrize("method", ["compressed", "full"])
def test_a_factorization_ends_at_tol(method):
    options = {"rank": 2, "lr": 0.05, "scale": 0.1, "every": 7, "method": method}
    run = factorize(some_target(), **options, steps=5000, tol=1e-2, generator=source(0))
    assert run.steps[-1] < 5000 and run.steps[-1] % 7 == 0
    assert run["train_error"][-1] <= 1e-2 and (run["train_error"][:-1] > 1e-2).all()


@pytest.mark.parametrize("method", ["compressed", "full", "narrow"])
def test_divergence_of_a_factorization_names_the_rate(method):
    with pytest.raises(FloatingPointError, match=r"lr=123\.0"):
        factorize(some_target(), rank=2, lr=123.0, scale=0.5, method=method, steps=200)


def test_the_full_network_needs_no_rank():
    options = {"lr": 0.03, "method": "full", "scale": 0.5, "steps": 20}
    runs = [
        factorize(some_target(), rank=rank, **options, generator=source(0)) for rank in (None, 6, 9)
    ]
    assert torch.equal(runs[0].dense(), runs[1].dense())
    assert torch.equal(runs[0].dense(), runs[2].dense())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": some_target(WIDE)}, "target must be square"),
        ({"target": some_target() * math.nan}, "target must be finite"),
        ({"target": some_target() / 0}, "target must be finite"),
        ({"target": torch.zeros(13, 13)}, "target must not be zero"),
        ({"target": torch.ones(13)}, r"target must be .* \(d_1, d_2\)"),
        ({"target": torch.ones(2, 13, 13)}, r"target must be .* \(d_1, d_2\)"),
        ({"rank": 7}, "rank must be less than half of the dimension 13, got 7"),
        ({"rank": 0}, "rank must be an integer >= 1"),
        ({"target": some_target((13, 40)), "rank": 7, "method": "narrow"}, "rank .* dimension 13"),
        ({"depth": 1}, "depth"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -1.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"scale": 0.0}, "scale"),
        ({"steps": -1}, "steps"),
        ({"every": 0}, "every"),
        ({"tol": -1e-3}, "tol"),
        ({"method": "reduced"}, "method .*'reduced'"),
    ],
)
def test_a_factorization_names_what_is_wrong(change, message):
    options = {"target": some_target(), "rank": 2, "lr": 0.01, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        factorize(options.pop("target"), **options)


def test_a_thin_factorization_needs_a_rank():
    for method in ("compressed", "narrow"):
        with pytest.raises(TypeError, match="rank must be an integer >= 1, got None"):
            factorize(some_target(), lr=0.01, method=method)
