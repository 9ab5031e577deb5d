"""Matrix completion against loops with dense masks and autograd, and what its papers promise."""

import math
import re
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_deep_linear import SEEDS, close, examples, normal, product, source
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lecturelib.deep_linear import end_to_end, init_weights
from lecturelib.deep_matrix_completion import (
    Observations,
    alternating_least_squares,
    complete,
    factorize,
    low_rank_matrix,
    observe,
    soft_impute,
)
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    reduced_gradient_descent,
    subspace_angles,
)

F32, F64 = torch.float32, torch.float64
WIDE, TALL, SQUARE = (11, 14), (15, 12), (13, 13)
STARTS = ["surrogate", "gradient"]
METHODS = [
    ("compressed", "surrogate"),
    ("compressed", "gradient"),
    ("narrow", None),
    ("full", None),
]


def some_target(shape=SQUARE, rank=2, seed=0, dtype=F64, values=None):
    values = [4.0, 3.0, 2.5, 2.2][:rank] if values is None else values
    return low_rank_matrix(
        shape, rank, singular_values=values, generator=source(seed), dtype=dtype
    ).dense()


def some_problem(shape=SQUARE, rank=2, fraction=0.6, seed=0, dtype=F64):
    """Return a target, what is seen of it, and the mask of that."""
    target = some_target(shape, rank, seed, dtype)
    seen = observe(target, fraction, source(seed + 1))
    mask = torch.zeros(shape, dtype=dtype)
    mask[seen.rows, seen.cols] = 1
    assert mask.any(0).all() and mask.any(1).all()
    return target, seen, mask


def run_from_start(function, *args, **options):
    """Run; return the result and copies of the factors it started from."""
    starts = []

    def keep(step, factors):
        if step == 0:
            starts.extend(factor.clone() for factor in factors)

    return function(*args, **options, generator=source(7), callback=keep), starts


def options_for(method, factors):
    return {"method": method} | ({"factors": factors} if factors else {})


def autograd_descent(weights, rates, target, mask, steps):
    variables = [weight.clone().requires_grad_() for weight in weights]
    for _ in range(steps):
        loss = (mask * (product(variables) - target)).square().sum() / 2
        gradients = torch.autograd.grad(loss, variables)
        with torch.no_grad():
            for variable, rate, gradient in zip(variables, rates, gradients, strict=True):
                variable -= rate * gradient
    return [variable.detach() for variable in variables]


def assert_same_factors(actual, expected, tolerance=1e-11):
    assert len(actual) == len(expected)
    for factor, other in zip(actual, expected, strict=True):
        close(factor, other, tolerance)


# --- targets ----------------------------------------------------------------------------------


@examples(25)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    data=st.data(),
    dtype=st.sampled_from([F32, F64]),
)
def test_low_rank_matrix(seed, shape, data, dtype):
    rank = data.draw(st.integers(1, min(shape)))
    values = data.draw(st.lists(st.floats(0, 5, width=32), min_size=rank, max_size=rank))
    matrix = low_rank_matrix(
        shape, rank, singular_values=values, generator=source(seed), dtype=dtype
    )
    dense, tolerance = matrix.dense(), 1e-12 if dtype == F64 else 1e-4
    assert dense.dtype == dtype and dense.shape == matrix.shape == shape
    expected = torch.zeros(min(shape), dtype=dtype)
    expected[:rank] = torch.tensor(sorted(values, reverse=True), dtype=dtype)
    close(torch.linalg.svdvals(dense), expected, tolerance)
    rows, cols = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    close(matrix.predict(rows.flatten(), cols.flatten()), dense.flatten(), tolerance)
    again = low_rank_matrix(
        shape, rank, singular_values=values, generator=source(seed), dtype=dtype
    )
    assert torch.equal(again.left, matrix.left) and torch.equal(again.right, matrix.right)


@pytest.mark.parametrize(("dim", "shape"), [(12, (12, 12)), ((8, 18), (8, 18)), ((18, 8), (18, 8))])
def test_mean_square_is_one_unless_told(dim, shape):
    matrix = low_rank_matrix(dim, 3, generator=source(0))
    dense = matrix.dense()
    assert matrix.shape == shape and dense.dtype == F64
    assert dense.square().mean().item() == pytest.approx(1, abs=1e-12)
    values = torch.linalg.svdvals(dense)
    close(values[:3], values[:1].expand(3))
    other = low_rank_matrix(dim, 3, generator=source(1)).dense()
    assert (other - dense).abs().max() > 0.1


def test_singular_vectors_are_uniformly_distributed():
    """The mean vanishes and the fourth moment is that of the sphere, on both sides."""
    generator = source(0)
    draws = [
        low_rank_matrix((3, 4), 1, singular_values=[2.0], generator=generator) for _ in range(4000)
    ]
    for side, size in (("left", 3), ("right", 4)):
        vectors = torch.stack([getattr(draw, side)[:, 0] for draw in draws])
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        assert vectors.mean(0).abs().max() < 0.05
        fourth = torch.full((size,), 3 / (size * (size + 2)), dtype=F64)
        close(vectors.pow(4).mean(0), fourth, 0.02)


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_no_such_rank_of_a_target(rank):
    with pytest.raises(ValueError, match=r"rank must lie in 1 \.\. 4"):
        low_rank_matrix((4, 6), rank)


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0, 3.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], []]
)
def test_no_such_singular_values(values):
    with pytest.raises(ValueError, match="need 2 finite singular values"):
        low_rank_matrix(5, 2, singular_values=values)


def test_predictions_of_many_entries():
    """More than are worked on at once."""
    matrix = low_rank_matrix((310, 290), 2, generator=source(0))
    places = torch.randperm(310 * 290, generator=source(1))
    rows, cols = places // 290, places % 290
    close(matrix.predict(rows, cols), matrix.dense()[rows, cols])
    assert matrix.predict(rows[:0], cols[:0]).shape == (0,)


# --- observations -----------------------------------------------------------------------------


@examples(40)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    fraction=st.floats(0.001, 1.0),
)
def test_observe(seed, shape, fraction):
    """Both with few entries, drawn anew, and with many, from a permutation."""
    target = normal(seed, *shape)
    count = round(fraction * target.numel())
    if count == 0:
        with pytest.raises(ValueError, match="fraction"):
            observe(target, fraction)
        return
    rows, cols, values = observe(target, fraction, source(seed))
    assert rows.dtype == cols.dtype == torch.int64
    assert rows.shape == cols.shape == values.shape == (count,)
    for index, size in ((rows, shape[0]), (cols, shape[1])):
        assert index.min() >= 0 and index.max() < size
    assert ((rows * shape[1] + cols).diff() > 0).all()  # sorted, none twice
    assert torch.equal(values, target[rows, cols])
    again = observe(target, fraction, source(seed))
    assert all(map(torch.equal, again, (rows, cols, values)))


@pytest.mark.parametrize("fraction", [0.03, 0.2, 0.5])
def test_places_are_uniform(fraction):
    """Of 500 places each is seen as often as any other: a chi-square of mean 500, deviation 32."""
    generator, target, draws = source(0), torch.ones(20, 25), 600
    counts = torch.zeros(500, dtype=F64)
    for _ in range(draws):
        rows, cols, _ = observe(target, fraction, generator)
        counts[rows * 25 + cols] += 1
    spread = (counts - draws * fraction).square().sum() / (draws * fraction * (1 - fraction))
    assert 360 < spread < 640


@pytest.mark.parametrize("fraction", [0.1, 0.7, 1.0])
def test_factors_are_observed_like_the_matrix(fraction):
    matrix = low_rank_matrix((23, 17), 3, generator=source(0))
    one, other = (observe(form, fraction, source(1)) for form in (matrix, matrix.dense()))
    assert torch.equal(one.rows, other.rows) and torch.equal(one.cols, other.cols)
    close(one.values, other.values)
    assert isinstance(one, Observations)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, math.nan, 1e-3])
def test_no_such_fraction(fraction):
    with pytest.raises(ValueError, match="fraction must be in"):
        observe(torch.ones(5, 5), fraction)


# --- a matrix known in full -------------------------------------------------------------------


def paired_paths(target, rank, depth, scale, lr, steps, every):
    """Run the full and the compressed network from one start; return their products."""
    paths = {}
    for method in ("full", "compressed"):
        products = []
        run = factorize(
            target,
            rank=rank,
            lr=lr,
            depth=depth,
            method=method,
            scale=scale,
            steps=steps,
            record_every=every,
            callback=lambda step, factors, to=products: to.append(end_to_end(factors)),
            generator=source(5),
        )
        paths[method] = run, torch.stack(products)
    return paths


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("rank", [2, 4])
def test_gap_between_full_and_compressed(depth, rank):
    """Theory has it to rounding, whether the rank is met or guessed from above."""
    d, scale, lr, steps, every = 24, 0.4, 0.02, 300, 25
    paths = paired_paths(some_target((d, d)), rank, depth, scale, lr, steps, every)
    run, products = paths["compressed"]
    assert len(run.factors) == depth + 2
    rho = bulk_singular_value(scale, depth, lr, 0.0, steps)[run.steps]
    gap = (paths["full"][1] - products).norm(dim=(1, 2))
    torch.testing.assert_close(gap, rho**depth * math.sqrt(d - 2 * rank), rtol=1e-10, atol=0)
    assert run.train_error[-1] < run.train_error[0] / 4


@pytest.mark.parametrize("depth", [2, 3])
def test_cores_are_those_of_the_law_of_parsimony(depth):
    d, rank, scale, lr, steps = 20, 3, 0.3, 0.03, 200
    target = some_target((d, d))
    run, products = paired_paths(target, rank, depth, scale, lr, steps, 20)["compressed"]
    weights = init_weights([d] * (depth + 1), scale, generator=source(5), dtype=F64)
    path = reduced_gradient_descent(weights, None, target, rank, lr=lr, steps=steps)
    U, V = path.subspaces[-1][0][:, : 2 * rank], path.subspaces[0][1][:, : 2 * rank]
    for step, found in zip(run.steps, products, strict=True):
        close(found, U @ product(path.cores.weights(step)) @ V.mT, 1e-10)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("method", ["compressed", "narrow", "full"])
def test_train_error_of_a_factorization(rank, method):
    """Also of a target whose rank, 4, is larger than the guess."""
    target, errors = some_target(SQUARE, 4), []
    run = factorize(
        target,
        rank=rank,
        lr=0.02,
        method=method,
        scale=0.3,
        steps=105,
        record_every=10,
        callback=lambda _, factors: errors.append((end_to_end(factors) - target).norm()),
        generator=source(0),
    )
    close(run.train_error, torch.stack(errors) / target.norm())
    assert run.steps.tolist() == [*range(0, 101, 10), 105] and run.steps.dtype == torch.int64
    assert run.test_error.isnan().all() and run.test_error.shape == run.steps.shape
    assert run.train_error[-1] < run.train_error[0]


@pytest.mark.parametrize("shape", [SQUARE, WIDE, TALL])
@pytest.mark.parametrize("method", ["full", "narrow"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_factorization_beside_autograd(shape, method, depth):
    target = some_target(shape)
    run, start = run_from_start(
        factorize,
        target,
        rank=2,
        lr=0.03,
        depth=depth,
        method=method,
        scale=0.5,
        steps=40,
    )
    width = min(shape) if method == "full" else 4
    widths = [shape[1], *[width] * (depth - 1), shape[0]]
    assert_same_factors(start, init_weights(widths, 0.5, generator=source(7), dtype=F64), 1e-15)
    expected = autograd_descent(start, [0.03] * depth, target, torch.ones(shape, dtype=F64), 40)
    assert_same_factors(run.factors, expected)
    assert (run.factors[0] - start[0]).abs().max() > 0.01


@pytest.mark.parametrize("depth", [2, 3])
def test_compressed_factorization_beside_autograd(depth):
    target = some_target(SQUARE, 4)
    options = {"rank": 2, "lr": 0.03, "depth": depth, "scale": 0.5, "steps": 40}
    run, start = run_from_start(factorize, target, **options)
    mask, rates = torch.ones_like(target), [0.0, *[0.03] * depth, 0.0]
    assert_same_factors(run.factors, autograd_descent(start, rates, target, mask, 40))
    for core in start[1:-1]:
        close(core, 0.5 * torch.eye(4, dtype=F64), 0)
    for frame, first in ((run.factors[0].mT, start[0].mT), (run.factors[-1], start[-1])):
        assert torch.equal(frame, first)
        close(frame.mT @ frame, torch.eye(4, dtype=F64))


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
def test_factorization_in_float32_and_its_target_stays(method):
    target = some_target(dtype=F32)
    copy = target.clone()
    options = {"rank": 2, "lr": 0.03, "method": method, "scale": 0.5, "steps": 20}
    run = factorize(target, **options, generator=source(0))
    assert all(factor.dtype == F32 for factor in run.factors) and run.dense().dtype == F32
    assert torch.equal(target, copy)


@pytest.mark.parametrize("method", ["compressed", "full"])
def test_factorization_ends_at_tol(method):
    options = {"rank": 2, "lr": 0.05, "scale": 0.1, "record_every": 7, "method": method}
    run = factorize(some_target(), **options, steps=5000, tol=1e-2, generator=source(0))
    assert run.steps[-1] < 5000 and run.steps[-1] % 7 == 0
    assert run.train_error[-1] <= 1e-2 and (run.train_error[:-1] > 1e-2).all()


@pytest.mark.parametrize("method", ["compressed", "full", "narrow"])
def test_divergence_of_a_factorization(method):
    with pytest.raises(FloatingPointError, match=r"lr=123\.0"):
        factorize(some_target(), rank=2, lr=123.0, scale=0.5, method=method, steps=200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": some_target(WIDE)}, "square"),
        ({"target": some_target() * math.nan}, "finite"),
        ({"target": some_target() / 0}, "finite"),
        ({"target": torch.zeros(13, 13)}, "zero"),
        ({"target": torch.ones(13)}, "matrix"),
        ({"target": torch.ones(2, 13, 13)}, "matrix"),
        ({"rank": 7}, "rank .* less than half of 13"),
        ({"rank": 0}, "rank"),
        ({"target": some_target((13, 40)), "rank": 7, "method": "narrow"}, "half of 13"),
        ({"depth": 1}, "depth"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -1.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"scale": 0.0}, "scale"),
        ({"steps": -1}, "steps"),
        ({"record_every": 0}, "record_every"),
        ({"method": "reduced"}, "method .*'reduced'"),
    ],
)
def test_no_such_factorization(change, message):
    options = {"target": some_target(), "rank": 2, "lr": 0.01, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        factorize(options.pop("target"), **options)


# --- completion beside autograd ---------------------------------------------------------------


def rates_for(method, factors, depth, lr, ratio):
    if method != "compressed":
        return [lr] * depth
    inside = depth - 2 if factors == "surrogate" else depth
    return [ratio * lr, *[lr] * inside, ratio * lr]


@pytest.mark.parametrize("shape", [SQUARE, WIDE, TALL])
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize(("method", "factors"), METHODS)
@pytest.mark.parametrize("ratio", [1.0, 0.0, 0.3, 5.0])
def test_completion_beside_autograd(shape, depth, method, factors, ratio):
    target, seen, mask = some_problem(shape)
    options = {"rank": 2, "lr": 0.03, "depth": depth, "scale": 0.6, "steps": 25}
    options |= options_for(method, factors) | {"factor_lr_ratio": ratio, "record_every": 10}
    run, start = run_from_start(complete, seen, shape, **options)
    rates = rates_for(method, factors, depth, 0.03, ratio)
    expected = autograd_descent(start, rates, target, mask, 25)
    assert_same_factors(run.factors, expected)
    assert run.steps.tolist() == [0, 10, 20, 25]
    if method == "compressed" and ratio == 0:
        assert torch.equal(run.factors[0], start[0]) and torch.equal(run.factors[-1], start[-1])
    else:
        assert (run.factors[0] - start[0]).abs().max() > 1e-3
    gap = mask * (product(run.factors) - target)
    close(run.train_error[-1], gap.norm() / (mask * target).norm())


@pytest.mark.parametrize(("method", "factors"), METHODS)
def test_completion_in_float32(method, factors):
    target, seen, mask = some_problem(dtype=F32)
    options = {"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 25} | options_for(method, factors)
    run, start = run_from_start(complete, seen, SQUARE, **options)
    assert {factor.dtype for factor in run.factors} == {F32}
    assert run.dense().dtype == run.predict(seen.rows, seen.cols).dtype == F32
    rates = rates_for(method, factors, 3, 0.03, 1.0)
    expected = autograd_descent(start, rates, target, mask, 25)
    assert_same_factors(run.factors, expected, 1e-4)


@pytest.mark.parametrize(("method", "factors"), METHODS)
def test_order_of_observations_does_not_matter(method, factors):
    _, seen, _ = some_problem(WIDE)
    order = torch.randperm(len(seen.rows), generator=source(3))
    shuffled = tuple(part[order] for part in seen)  # a plain tuple will do
    copies = [part.clone() for part in shuffled]
    options = {"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 20} | options_for(method, factors)
    runs = [
        complete(form, WIDE, **options, generator=source(0)).dense() for form in (seen, shuffled)
    ]
    close(*runs)
    for part, copy in zip(shuffled, copies, strict=True):
        assert torch.equal(part, copy)  # a run changes nothing


def solvers():
    """All routines for observed entries, as functions of these, with few steps."""
    descents = {
        f"{method} {factors or ''}".strip(): (
            lambda seen, shape, method=method, factors=factors, **options: complete(
                seen,
                shape,
                **{"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 6}
                | options_for(method, factors)
                | options,
            )
        )
        for method, factors in METHODS
    }
    return descents | {
        "als": lambda seen, shape, **options: alternating_least_squares(
            seen, shape, **{"rank": 2, "steps": 6} | options
        ),
        "soft-impute": lambda seen, shape, **options: soft_impute(
            seen, shape, **{"rank": 4, "penalty": 0.1, "steps": 6} | options
        ),
    }


SOLVERS = solvers()
every_solver = pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)


@every_solver
@pytest.mark.parametrize("dtype", [F32, F64])
def test_what_a_run_returns(solve, dtype):
    target, seen, mask = some_problem(TALL, dtype=dtype)
    copies = [part.clone() for part in seen]
    hidden = observe(target + normal(0, *TALL, dtype=dtype), 0.3, source(9))
    calls = []

    def note(step, factors):
        estimate = product(factors)
        train = (mask * (estimate - target)).norm() / seen.values.norm()
        test = (estimate[hidden.rows, hidden.cols] - hidden.values).norm() / hidden.values.norm()
        calls.append((step, train.item(), test.item()))

    run = solve(seen, TALL, test=hidden, steps=8, record_every=3, callback=note)
    steps, train, test = torch.tensor(calls, dtype=F64).unbind(1)
    tolerance = 1e-11 if dtype == F64 else 1e-5
    assert run.steps.tolist() == steps.tolist() == [0, 3, 6, 8] and run.steps.dtype == torch.int64
    close(run.train_error, train, tolerance)
    close(run.test_error, test, tolerance)
    assert run.seconds.shape == (4,) and run.seconds[0] >= 0 and (run.seconds.diff() >= 0).all()
    dense = run.dense()
    assert dense.shape == TALL and dense.dtype == dtype
    close(dense, product(run.factors), tolerance)
    close(run.predict(hidden.rows, hidden.cols), dense[hidden.rows, hidden.cols], tolerance)
    for part, copy in zip(seen, copies, strict=True):
        assert torch.equal(part, copy)


@every_solver
def test_start_is_a_record_and_so_is_the_end(solve):
    _, seen, _ = some_problem()
    assert solve(seen, SQUARE, steps=0).steps.tolist() == [0]
    run = solve(seen, SQUARE, steps=4, record_every=2)
    assert run.steps.tolist() == [0, 2, 4]
    assert run.test_error.isnan().all() and run.test_error.shape == (3,)
    assert (run.train_error.diff() < 0).all()
    same = [solve(seen, SQUARE, generator=source(1)).dense() for _ in range(2)]
    assert torch.equal(*same)


@every_solver
def test_run_ends_at_tol(solve):
    _, seen, _ = some_problem()
    errors = solve(seen, SQUARE, steps=40, record_every=4, generator=source(0)).train_error
    bound = errors[3].item() * (1 + 1e-9)
    run = solve(seen, SQUARE, steps=40, record_every=4, tol=bound, generator=source(0))
    assert (errors[:3] > bound).all() and run.steps.tolist() == [0, 4, 8, 12]


@every_solver
def test_time_of_recording_does_not_count(solve):
    _, seen, _ = some_problem()
    run = solve(seen, SQUARE, steps=2, record_every=1, callback=lambda *_: time.sleep(0.2))
    assert run.seconds[-1] < 0.3  # of at least 0.6 that passed


# --- starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 40), (30, 45), (45, 30)])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_surrogate_start(shape, depth):
    """Singular vectors of what was seen, sure where values are apart: here at 2 and at 4."""
    target = some_target(shape, 4)
    for fraction, wanted, tolerance in ((1.0, 4, 1e-7), (0.7, 2, 1e-5)):
        seen = observe(target, fraction, source(1))
        matrix = torch.zeros(shape, dtype=F64)
        matrix[seen.rows, seen.cols] = seen.values
        run = complete(seen, shape, rank=2, lr=1.0, depth=depth, scale=0.3, steps=0)
        assert len(run.factors) == depth
        left, values, right = torch.linalg.svd(matrix)
        U, V = run.factors[-1] / 0.3, run.factors[0].mT / 0.3
        for found, expected in ((U, left), (V, right.mT)):
            close(found.mT @ found, torch.eye(4, dtype=F64))
            assert subspace_angles(found, expected[:, :wanted]).max() < tolerance
        small = U.mT @ matrix @ V  # left and right belong together, the largest come first
        close(small[:wanted, :wanted], values[:wanted].diag(), 1e-6)
        close(small, values[:4].diag(), 1e-6 if fraction == 1 else 0.1)
        for core in run.factors[1:-1]:
            close(core, 0.3 * torch.eye(4, dtype=F64), 0)


@pytest.mark.parametrize("shape", [(40, 40), (30, 45), (45, 30)])
@pytest.mark.parametrize("depth", [2, 3])
def test_gradient_start(shape, depth):
    target = some_target(shape, 2)
    seen = observe(target, 0.7, source(1))
    matrix = torch.zeros(shape, dtype=F64)
    matrix[seen.rows, seen.cols] = seen.values
    left, _, right = torch.linalg.svd(matrix)
    options = {"rank": 2, "lr": 1.0, "depth": depth, "scale": 0.3, "steps": 0}
    options |= {"factors": "gradient"}
    runs = [complete(seen, shape, **options, generator=source(seed)) for seed in (0, 0, 1)]
    spaces = []
    for run in runs:
        assert len(run.factors) == depth + 2
        for frame, known in ((run.factors[-1], left), (run.factors[0].mT, right.mT)):
            close(frame.mT @ frame, torch.eye(4, dtype=F64))
            assert subspace_angles(frame, known[:, :2]).max() < 1e-6
            spaces.append(frame)
        for core in run.factors[1:-1]:
            close(core, 0.3 * torch.eye(4, dtype=F64), 0)
    assert torch.equal(spaces[0], spaces[2]) and torch.equal(spaces[1], spaces[3])
    for side in (0, 1):  # the other half is random
        assert subspace_angles(spaces[side], spaces[side + 4]).max() > 0.3
    # V goes to U as in an orthogonal start: leading rows to random columns and vice versa.
    U, V = spaces[:2]
    assert torch.linalg.matrix_norm(left[:, :2].mT @ U @ V.mT @ right[:2].mT, 2) < 0.8


# --- what gets recovered ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "factors", "ratio"),
    [
        ("compressed", "surrogate", 2.0),
        ("compressed", "gradient", 0.05),
        ("narrow", None, 1.0),
        ("full", None, 1.0),
    ],
)
def test_recovery(method, factors, ratio):
    target = low_rank_matrix((40, 44), 2, singular_values=[8.0, 6.0], generator=source(0))
    seen, everything = observe(target, 0.5, source(1)), observe(target, 1.0)
    run = complete(
        seen,
        (40, 44),
        rank=2,
        lr=0.02,
        scale=0.01,
        **options_for(method, factors),
        factor_lr_ratio=ratio,
        steps=6000,
        tol=1e-6,
        test=everything,
        generator=source(2),
    )
    assert run.test_error[-1] < 1e-4 and run.train_error[-1] < 1e-4


@pytest.mark.parametrize("factors", STARTS)
def test_frozen_factors_stall(factors):
    """Lecture 001: what the start does not span is out of reach."""
    target = low_rank_matrix(40, 2, singular_values=[8.0, 6.0], generator=source(0))
    options = {"rank": 2, "lr": 0.02, "scale": 1.0, "factors": factors, "steps": 3000}
    options |= {"test": observe(target, 1.0), "factor_lr_ratio": 0, "generator": source(2)}
    run = complete(observe(target, 0.5, source(1)), (40, 40), **options)
    assert run.test_error[-1] > 1e-2
    assert (run.test_error[-1] - run.test_error[-2]).abs() < 1e-5  # as far as it gets


# --- memory -----------------------------------------------------------------------------------


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


@every_solver
def test_nothing_of_the_size_of_the_matrix(solve):
    d = 400
    target = low_rank_matrix(d, 2, generator=source(0))
    seen, hidden = observe(target, 0.03, source(1)), observe(target, 0.03, source(2))
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


# --- what cannot be completed -----------------------------------------------------------------


def bad_observations():
    rows, cols, values = (part.clone() for part in some_problem()[1])

    def changed(part, place, number):
        parts = [rows.clone(), cols.clone(), values.clone()]
        parts[part][place] = number
        return tuple(parts)

    nothing = rows[:0], cols[:0], values[:0]
    twice = torch.cat([rows, rows[5:6]]), torch.cat([cols, cols[5:6]]), torch.cat([values] * 2)
    twice = (*twice[:2], twice[2][: len(values) + 1])
    return {
        "empty": (nothing, "M >= 1"),
        "fewer columns": ((rows, cols[:-1], values), "must be"),
        "fewer values": ((rows, cols, values[:-1]), "must be"),
        "matrices": ((rows[None], cols[None], values[None]), "must be"),
        "float rows": ((rows.double(), cols, values), "integers"),
        "float columns": ((rows, cols.float(), values), "integers"),
        "integer values": ((rows, cols, values.long()), "floating"),
        "nan": (changed(2, 3, math.nan), "finite"),
        "inf": (changed(2, 3, -math.inf), "finite"),
        "row too large": (changed(0, -1, 13), r"rows must lie in 0 \.\. 12, got 0 \.\. 13"),
        "column too large": (changed(1, 0, 99), r"cols must lie in 0 \.\. 12, got 0 \.\. 99"),
        "negative row": (changed(0, 0, -1), r"rows .* got -1 \.\. 12"),
        "negative column": (changed(1, 0, -2), r"cols .* got -2 \.\. 12"),
        "twice": (twice, re.escape(f"({rows[5].item()}, {cols[5].item()}) is observed twice")),
        "zeros": ((rows, cols, 0 * values), "zero"),
    }


BAD = bad_observations()


@pytest.mark.parametrize(("seen", "message"), BAD.values(), ids=BAD)
def test_no_such_observations(seen, message):
    for solve in SOLVERS.values():
        with pytest.raises(ValueError, match=message):
            solve(seen, SQUARE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"rank": 7}, "less than half of 13"),
        ({"depth": 1}, "depth"),
        ({"depth": 0}, "depth"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -0.1}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"scale": 0.0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"steps": -1}, "steps"),
        ({"record_every": 0}, "record_every"),
        ({"factor_lr_ratio": -0.1}, "factor_lr_ratio"),
        ({"factor_lr_ratio": math.nan}, "factor_lr_ratio"),
        ({"method": "wide"}, "method .*'wide'"),
        ({"factors": "random"}, "factors .*'random'"),
    ],
)
def test_no_such_completion(change, message):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=message):
        complete(seen, SQUARE, **{"rank": 2, "lr": 0.01, "steps": 2} | change)


def test_rank_is_measured_against_the_smaller_dimension():
    _, seen, _ = some_problem(TALL)
    with pytest.raises(ValueError, match="half of 12"):
        complete(seen, TALL, rank=6, lr=0.01)
    assert complete(seen, TALL, rank=5, lr=0.01, steps=1).factors[0].shape == (10, 12)


@pytest.mark.parametrize(
    ("solve", "change"),
    [
        ("als", {"rank": 0}),
        ("als", {"rank": 14}),
        ("als", {"penalty": 0.0}),
        ("als", {"penalty": math.nan}),
        ("als", {"steps": -1}),
        ("als", {"record_every": 0}),
        ("soft-impute", {"rank": 0}),
        ("soft-impute", {"rank": 14}),
        ("soft-impute", {"penalty": 0.0}),
        ("soft-impute", {"penalty": -1.0}),
        ("soft-impute", {"decay": 0.0}),
        ("soft-impute", {"decay": 1.0}),
        ("soft-impute", {"steps": -1}),
        ("soft-impute", {"record_every": 0}),
    ],
)
def test_no_such_baseline(solve, change):
    (name,) = change
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=name):
        SOLVERS[solve](seen, SQUARE, **change)


@pytest.mark.parametrize("ratio", [0.5, 1.0])
@pytest.mark.parametrize(("method", "factors"), METHODS)
def test_divergence_names_the_learning_rate(method, factors, ratio):
    _, seen, _ = some_problem()
    options = {"rank": 2, "lr": 321.0, "scale": 0.5, "steps": 300, "factor_lr_ratio": ratio}
    with pytest.raises(FloatingPointError, match=r"lr=321\.0"):
        complete(seen, SQUARE, **options, **options_for(method, factors))


@every_solver
def test_rows_and_columns_without_an_entry_warn(solve):
    target = some_target()
    rows, cols, values = observe(target, 1.0)
    few = (rows % 5 != 4) & (cols != 7)
    with pytest.warns(UserWarning, match="is observed") as caught:
        run = solve((rows[few], cols[few], values[few]), SQUARE)
    assert [str(warning.message).split(" is ")[0] for warning in caught] == [
        "no entry of row 4, 9",
        "no entry of column 7",
    ]
    assert {warning.filename for warning in caught} <= {__file__}
    assert run.dense().isfinite().all()
    many = rows < 3
    with pytest.warns(UserWarning, match="no entry of row 3, 4, 5, 6, 7, … is observed"):
        solve((rows[many], cols[many], values[many]), SQUARE)


CLEAN = """
import warnings, torch
from lecturelib.deep_matrix_completion import *
warnings.simplefilter("error")
target = low_rank_matrix(20, 2, generator=torch.Generator().manual_seed(0))
seen, test = observe(target, 0.6, torch.Generator().manual_seed(1)), observe(target, 1.0)
for options in ({}, {"factors": "gradient"}, {"method": "narrow"}, {"method": "full"}):
    complete(seen, (20, 20), rank=2, lr=1e-3, steps=3, record_every=2, test=test, **options)
alternating_least_squares(seen, (20, 20), rank=2, steps=2)
soft_impute(seen, (20, 20), rank=2, penalty=1.0, steps=2)
for method in ("full", "compressed", "narrow"):
    factorize(target.dense(), rank=2, lr=1e-3, steps=2, method=method)
"""


def test_a_clean_run_warns_of_nothing():
    """In a fresh process: torch gives some of its warnings only once."""
    run = subprocess.run([sys.executable, "-c", CLEAN], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


# --- baselines --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 40), (30, 45), (45, 30)])
def test_alternating_least_squares_recovers(shape):
    target = low_rank_matrix(shape, 3, generator=source(0))
    seen = observe(target, 0.5, source(1))
    run = alternating_least_squares(
        seen, shape, rank=3, penalty=1e-12, steps=300, tol=1e-8, test=observe(target, 1.0)
    )
    assert run.steps[-1] < 300 and run.test_error[-1] < 1e-7
    assert [factor.shape for factor in run.factors] == [(3, shape[1]), (shape[0], 3)]


@pytest.mark.parametrize("penalty", [1e-8, 0.3])
@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_one_round_solves_row_by_row(shape, penalty):
    """Among the rows one with fewer entries than unknowns."""
    _, seen, _ = some_problem(shape)
    few = (seen.rows != 4) | (seen.cols == seen.cols[seen.rows == 4][0])
    seen = Observations(*(part[few] for part in seen))
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
    values = []

    def objective(_, factors):
        fit = (mask * (product(factors) - target)).square().sum()
        values.append(fit + 0.5 * sum(factor.square().sum() for factor in factors))

    alternating_least_squares(seen, (30, 25), rank=2, penalty=0.5, steps=30, callback=objective)
    assert (torch.stack(values[1:]).diff() <= 1e-12).all()


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
    noisy = seen._replace(values=seen.values + 0.02 * normal(5, len(seen.values)))
    known = torch.zeros(shape, dtype=F64)
    known[noisy.rows, noisy.cols] = noisy.values
    run = soft_impute(
        noisy, shape, penalty=penalty, rank=12, steps=700, record_every=700, generator=source(0)
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
    """With all entries known the t-th estimate is one shrinkage, by decay^t of the largest."""
    values = [4.0, 3.0, 1.0]
    target = some_target((20, 22), 3, values=values)
    estimates = []
    run = soft_impute(
        observe(target, 1.0),
        (20, 22),
        penalty=1.5,
        rank=5,
        decay=0.8,
        steps=8,
        callback=lambda _, factors: estimates.append(torch.linalg.svdvals(end_to_end(factors))),
    )
    assert estimates[0].max() == 0
    for step, found in enumerate(estimates[1:], start=1):
        shrunk = (torch.tensor(values, dtype=F64) - max(4 * 0.8**step, 1.5)).clamp(min=0)
        close(found[:3], shrunk, 1e-9)
    assert len(estimates) == len(run.steps) == 9


def test_recovery_by_soft_impute():
    target = low_rank_matrix((40, 45), 2, generator=source(0))
    run = soft_impute(
        observe(target, 0.6, source(1)),
        (40, 45),
        penalty=1e-3,
        rank=4,
        test=observe(target, 1.0),
        steps=400,
        record_every=400,
    )
    assert run.test_error[-1] < 1e-3


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    """With all entries seen and 2r values apart, the start is sure, but for signs."""
    shape, target = (30, 33), some_target((30, 33), 4)
    cases = [
        (1.0, SOLVERS["compressed surrogate"]),
        (1.0, lambda *args: SOLVERS["als"](*args, rank=4)),
        (0.8, lambda *args: soft_impute(*args, penalty=0.3, rank=12, steps=600)),
    ]
    for fraction, solve in cases:
        seen = observe(target, fraction, source(1))
        there = tuple(part.cuda() for part in seen)
        here, far = solve(seen, shape), solve(there, shape)
        assert all(factor.is_cuda for factor in far.factors)
        assert far.predict(there[0], there[1]).is_cuda
        close(far.dense().cpu(), here.dense(), 1e-8)
        close(far.train_error, here.train_error, 1e-8)
    for name in ("compressed gradient", "narrow", "full"):
        seen = observe(target.cuda(), 0.6, source(1))
        mask = torch.zeros(shape, dtype=F64)
        mask[seen.rows.cpu(), seen.cols.cpu()] = 1
        start = []
        run = SOLVERS[name](
            seen,
            shape,
            record_every=6,
            callback=lambda step, factors, to=start: to.extend(
                factor.cpu().clone() for factor in factors if step == 0
            ),
            generator=torch.Generator("cuda").manual_seed(0),
        )
        expected = autograd_descent(start, [0.03] * len(start), target, mask, 6)
        assert run.factors[0].is_cuda
        assert_same_factors([factor.cpu() for factor in run.factors], expected, 1e-8)
    square = some_target((24, 24)).cuda()
    full, compressed = (
        factorize(
            square,
            rank=2,
            lr=0.02,
            scale=0.4,
            steps=200,
            method=method,
            generator=torch.Generator("cuda").manual_seed(0),
        ).dense()
        for method in ("full", "compressed")
    )
    rho = bulk_singular_value(0.4, 3, 0.02, 0.0, 200)[-1].item()
    assert full.is_cuda and compressed.is_cuda
    assert (full - compressed).norm().item() == pytest.approx(rho**3 * math.sqrt(20), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_short_integers_count_places_too(dtype):
    """13 * 13 places are too many for eight bits with a sign, and 40 * 40 without."""
    shape = (40, 41)
    _, seen, _ = some_problem(shape)
    short = seen.rows.to(dtype), seen.cols.to(dtype), seen.values
    for solve in SOLVERS.values():
        one, other = (solve(form, shape, generator=source(0)).dense() for form in (seen, short))
        assert torch.equal(one, other)


@pytest.mark.parametrize("ratio", [0.0, 5.0])
def test_divergence_names_the_rate_that_was_given(ratio):
    _, seen, _ = some_problem()
    options = {"rank": 2, "lr": 321.0, "scale": 0.5, "steps": 300, "factor_lr_ratio": ratio}
    with pytest.raises(FloatingPointError, match=r"lr=321\.0"):
        complete(seen, SQUARE, **options)


def test_penalty_that_drowns():
    """In float32 a guess of the rank from above needs a larger penalty than the default."""
    target = low_rank_matrix(60, 3, generator=source(0), dtype=F32)
    seen = observe(target, 0.5, source(1))
    with pytest.raises(FloatingPointError, match="penalty=1e-08"):
        alternating_least_squares(seen, (60, 60), rank=5)
    run = alternating_least_squares(seen, (60, 60), rank=5, penalty=1e-2)
    assert run.train_error[-1] < 1e-2


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
@pytest.mark.parametrize("name", ["lr", "scale", "factor_lr_ratio"])
def test_rates_are_finite(method, name):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=name):
        complete(seen, SQUARE, **{"rank": 2, "lr": 0.1, "method": method, name: math.inf})


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
def test_a_start_is_checked_by_all_methods(method):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match="nonsense"):
        complete(seen, SQUARE, rank=2, lr=0.1, method=method, factors="nonsense")


@pytest.mark.parametrize("place", [-1, 1000])
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_test_entries_are_checked(name, place):
    _, seen, _ = some_problem()
    wrong = torch.tensor([place]), torch.tensor([0]), torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="rows must lie in"):
        SOLVERS[name](seen, SQUARE, test=wrong)
