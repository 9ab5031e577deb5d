"""Descent on observed entries: against loops with dense masks and autograd; what it recovers."""

import math

import pytest
import torch
from deep_matrix_completion.cases import (
    METHODS,
    SQUARE,
    TALL,
    WIDE,
    assert_same_factors,
    autograd_descent,
    options_for,
    run_from_start,
    some_problem,
    some_target,
)
from helpers import F64, SEEDS, close, examples, normal, product, source
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.deep_matrix_completion import complete, errors, low_rank_matrix, observe
from lecturelib.deep_matrix_completion.observations import Observed
from lecturelib.law_of_parsimony import subspace_angles

F32 = torch.float32
STARTS = ["surrogate", "gradient"]


# --- beside autograd --------------------------------------------------------------------------


def rates_for(method, start, depth, lr, ratio):
    if method != "compressed":
        return [lr] * depth
    inside = depth - 2 if start == "surrogate" else depth
    return [ratio * lr, *[lr] * inside, ratio * lr]


@pytest.mark.parametrize("shape", [SQUARE, WIDE, TALL])
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize(("method", "start"), METHODS)
@pytest.mark.parametrize("ratio", [1.0, 0.0, 0.3, 5.0])
def test_a_completion_takes_the_steps_of_autograd(form, shape, depth, method, start, ratio):
    target, seen, mask = some_problem(shape)
    options = {"rank": 2, "lr": 0.03, "depth": depth, "scale": 0.6, "steps": 25}
    options |= options_for(method, start) | {"factor_lr_ratio": ratio, "every": 10}
    run, first = run_from_start(complete, seen, shape, **options)
    rates = rates_for(method, start, depth, 0.03, ratio)
    assert_same_factors(run.factors, autograd_descent(first, rates, target, 25, mask))
    assert run.steps.tolist() == [0, 10, 20, 25]
    if method == "compressed" and ratio == 0:
        assert torch.equal(run.factors[0], first[0]) and torch.equal(run.factors[-1], first[-1])
    else:
        assert (run.factors[0] - first[0]).abs().max() > 1e-3
    gap = mask * (product(run.factors) - target)
    close(run["train_error"][-1], gap.norm().double() / (mask * target).norm())


@pytest.mark.parametrize(("method", "start"), METHODS)
def test_a_completion_keeps_float32(form, method, start):
    target, seen, mask = some_problem(dtype=F32)
    options = {"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 25} | options_for(method, start)
    run, first = run_from_start(complete, seen, SQUARE, **options)
    assert {factor.dtype for factor in run.factors} == {F32}
    assert run.dense().dtype == run.predict(seen.rows, seen.cols).dtype == F32
    rates = rates_for(method, start, 3, 0.03, 1.0)
    assert_same_factors(run.factors, autograd_descent(first, rates, target, 25, mask), 1e-4)


@pytest.mark.parametrize(("method", "start"), METHODS)
def test_the_order_of_observations_does_not_matter(form, method, start):
    _, seen, _ = some_problem(WIDE)
    shuffled = seen[torch.randperm(len(seen), generator=source(3))]
    copies = [part.clone() for part in (shuffled.rows, shuffled.cols, shuffled.values)]
    arrays = tuple(part.numpy() for part in copies)  # a plain tuple will do
    options = {"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 20} | options_for(method, start)
    expected, *others = (
        complete(given, WIDE, **options, generator=source(0)).dense()
        for given in (seen, shuffled, arrays)
    )
    for estimate in others:
        close(estimate, expected)
    for part, copy in zip((shuffled.rows, shuffled.cols, shuffled.values), copies, strict=True):
        assert torch.equal(part, copy)  # a run changes nothing


# --- two forms of the errors ------------------------------------------------------------------


@examples(60)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    width=st.integers(1, 6),
    share=st.floats(0.1, 1.0),
)
@pytest.mark.filterwarnings("ignore:no entry of")
def test_multiplying_out_and_gathering_agree_to_rounding(seed, shape, width, share):
    target = normal(seed, *shape)
    observed = Observed(observe(target, max(share, 1 / target.numel())), shape)
    left, right = normal(seed + 1, shape[0], width), normal(seed + 2, shape[1], width)
    forms = errors.DenseErrors(observed), errors.SparseErrors(observed, width)
    for form in forms:
        assert torch.equal(form.laid_out(left), left) and form.laid_out(left) is not left
    mask = torch.zeros(shape, dtype=F64)
    mask[observed.rows, observed.cols] = 1
    for form in forms:
        form.hold(observed.values)
        close(form.by_rows @ right, (mask * target) @ right)
        close(form.by_cols @ left, (mask * target).mT @ left)
        found = form.hold_residual(form.laid_out(left), form.laid_out(right))
        gap = mask * (left @ right.mT - target)
        close(found.norm(), gap.norm())
        close(form.by_rows @ right, gap @ right)
        close(form.by_cols @ left, gap.mT @ left)


@pytest.mark.filterwarnings("ignore:no entry of")
@pytest.mark.parametrize(
    ("shape", "fraction", "expected"),
    [
        ((128, 128), 0.01, errors.DenseErrors),
        ((128, 129), 0.1, errors.SparseErrors),
        ((128, 129), 0.2, errors.DenseErrors),
        ((512, 512), 0.2, errors.DenseErrors),
        ((512, 512), 0.1, errors.SparseErrors),
        ((512, 513), 0.9, errors.SparseErrors),
    ],
)
def test_small_or_well_observed_matrices_are_multiplied_out(shape, fraction, expected):
    observed = Observed(observe(torch.ones(shape), fraction), shape)
    assert type(errors.errors_at(observed, 10)) is expected


# --- starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 40), (30, 45), (45, 30)])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_surrogate_start_has_singular_vectors_of_what_was_seen(form, shape, depth):
    """Sure where values are apart: here at 2 and at 4."""
    target = some_target(shape, 4)
    for fraction, wanted, tolerance in ((1.0, 4, 1e-7), (0.7, 2, 1e-5)):
        seen = observe(target, fraction, generator=source(1))
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
def test_the_gradient_start_pairs_what_was_seen_with_random_directions(form, shape, depth):
    target = some_target(shape, 2)
    seen = observe(target, 0.7, generator=source(1))
    matrix = torch.zeros(shape, dtype=F64)
    matrix[seen.rows, seen.cols] = seen.values
    left, _, right = torch.linalg.svd(matrix)
    options = {"rank": 2, "lr": 1.0, "depth": depth, "scale": 0.3, "steps": 0}
    options |= {"start": "gradient"}
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
    ("method", "start", "ratio"),
    [
        ("compressed", "surrogate", 2.0),
        ("compressed", "gradient", 0.05),
        ("narrow", None, 1.0),
        ("full", None, 1.0),
    ],
)
def test_the_whole_matrix_is_recovered(form, method, start, ratio):
    options = {"singular_values": [8.0, 6.0], "generator": source(0), "dtype": F64}
    target = low_rank_matrix((40, 44), 2, **options)
    run = complete(
        observe(target, 0.5, generator=source(1)),
        (40, 44),
        rank=2,
        lr=0.02,
        scale=0.01,
        **options_for(method, start),
        factor_lr_ratio=ratio,
        steps=6000,
        tol=1e-6,
        test=observe(target, 1.0),
        generator=source(2),
    )
    assert run["test_error"][-1] < 1e-4 and run["train_error"][-1] < 1e-4


@pytest.mark.parametrize("start", STARTS)
def test_frozen_factors_stall(start):
    """Lecture 001: what the start does not span is out of reach."""
    options = {"singular_values": [8.0, 6.0], "generator": source(0), "dtype": F64}
    target = low_rank_matrix((40, 40), 2, **options)
    options = {"rank": 2, "lr": 0.02, "scale": 1.0, "start": start, "steps": 3000}
    options |= {"test": observe(target, 1.0), "factor_lr_ratio": 0, "generator": source(2)}
    run = complete(observe(target, 0.5, generator=source(1)), (40, 40), **options)
    test_error = run["test_error"]
    assert test_error[-1] > 1e-2
    assert (test_error[-1] - test_error[-2]).abs() < 1e-5  # as far as it gets


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank must be an integer >= 1, got 0"),
        ({"rank": 7}, "rank must be less than half of the dimension 13, got 7"),
        ({"depth": 1}, "depth"),
        ({"depth": 0}, "depth"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -0.1}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"scale": 0.0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"steps": -1}, "steps"),
        ({"every": 0}, "every"),
        ({"every": [3]}, "every"),
        ({"tol": -0.1}, "tol"),
        ({"factor_lr_ratio": -0.1}, "factor_lr_ratio"),
        ({"factor_lr_ratio": math.nan}, "factor_lr_ratio"),
        ({"method": "wide"}, "method .*'wide'"),
        ({"start": "random"}, "start .*'random'"),
    ],
)
def test_a_completion_names_what_is_wrong(change, message):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=message):
        complete(seen, SQUARE, **{"rank": 2, "lr": 0.01, "steps": 2} | change)


def test_the_rank_is_measured_against_the_smaller_dimension():
    _, seen, _ = some_problem(TALL)
    with pytest.raises(ValueError, match="half of the dimension 12"):
        complete(seen, TALL, rank=6, lr=0.01)
    assert complete(seen, TALL, rank=5, lr=0.01, steps=1).factors[0].shape == (10, 12)


def test_the_full_network_needs_no_rank_and_ignores_one():
    _, seen, _ = some_problem(TALL)
    options = {"lr": 0.03, "method": "full", "scale": 0.6, "steps": 9}
    runs = [
        complete(seen, TALL, rank=rank, **options, generator=source(0)) for rank in (None, 2, 12)
    ]
    assert [tuple(factor.shape) for factor in runs[0].factors] == [(12, 12), (12, 12), (15, 12)]
    assert torch.equal(runs[0].dense(), runs[1].dense())
    assert torch.equal(runs[0].dense(), runs[2].dense())
    for method in ("compressed", "narrow"):
        with pytest.raises(TypeError, match="rank must be an integer >= 1, got None"):
            complete(seen, TALL, lr=0.03, method=method)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(("method", "start"), METHODS)
def test_divergence_names_the_learning_rate(form, method, start, ratio):
    """The one that was given, whatever the factors' own."""
    _, seen, _ = some_problem()
    options = {"rank": 2, "lr": 321.0, "scale": 0.5, "steps": 300, "factor_lr_ratio": ratio}
    with pytest.raises(FloatingPointError, match=r"lr=321\.0"):
        complete(seen, SQUARE, **options, **options_for(method, start))


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
@pytest.mark.parametrize("name", ["lr", "scale", "factor_lr_ratio"])
def test_rates_are_finite(method, name):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        complete(seen, SQUARE, **{"rank": 2, "lr": 0.1, "method": method, name: math.inf})


@pytest.mark.parametrize("method", ["full", "narrow", "compressed"])
def test_the_start_is_checked_by_all_methods(method):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match=r"start .*nonsense"):
        complete(seen, SQUARE, rank=2, lr=0.1, method=method, start="nonsense")
