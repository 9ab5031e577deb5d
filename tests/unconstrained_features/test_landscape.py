"""Saddles, curvature, and the convex twin."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import F64, close, every_loss, examples, normal, powers, source
from hypothesis import assume, given
from hypothesis import strategies as st
from unconstrained_features.cases import (
    CLASSES,
    SAMPLES,
    at_minimum,
    cosines,
    either_bias,
    example_problem,
    furthest,
    gradient,
    model_of,
    simplex_cosines,
    threshold,
)

from lecturelib.losses import CrossEntropy, FocalLoss, SquaredError, check_contrastive
from lecturelib.unconstrained_features import (
    Problem,
    WeightDecay,
    convex_objective,
    global_minimizer,
    hessian_min_eigenpair,
    hessian_min_eigenvalue,
    saddle,
)
from lecturelib.unconstrained_features.model import flat, objective_at, split


def dense_hessian(model):
    def objective(vector):
        return objective_at(model.problem, model.labels, *split(model.problem, vector))

    return torch.autograd.functional.hessian(objective, flat(model))


# --- saddles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [4, 6])
@either_bias
@every_loss
def test_merged_classes_are_strict_saddles(loss, bias, k):
    problem = example_problem(loss, k=k, n=2, dim=k, bias=bias)
    model, least = model_of(problem), global_minimizer(problem)
    for groups in (m for m in range(1, k) if k % m == 0):
        point = saddle(model, groups)
        assert max(furthest(part, 0.0) for part in gradient(point)) < 1e-12
        assert int(torch.linalg.matrix_rank(point.W)) == groups - 1
        assert len(torch.unique(point.W.detach().round(decimals=9), dim=0)) == groups
        assert point.objective().item() > least.objective + 1e-3
        exact = torch.linalg.eigvalsh(dense_hessian(point))
        eigenvalue = hessian_min_eigenvalue(point)
        assert eigenvalue < -1e-3
        assert float(eigenvalue) == pytest.approx(float(exact[0]), abs=1e-8)


@either_bias
@every_loss
def test_as_many_groups_as_classes_make_a_simplex(loss, bias):
    problem = example_problem(loss, bias=bias)
    point, best = saddle(model_of(problem), 4), global_minimizer(problem)
    assert max(furthest(part, 0.0) for part in gradient(point)) < 1e-12
    assert furthest(cosines(point.W, point.W), simplex_cosines(4)) < 1e-12
    if not isinstance(loss, SquaredError) or bias:
        assert point.objective().item() == pytest.approx(best.objective, rel=1e-12)
    else:  # the frame of the minimiser is another one
        assert hessian_min_eigenvalue(point) < -1e-3


def test_few_dimensions_leave_room_for_few_groups():
    problem = Problem(6, 2, 1, 0.01)
    point = saddle(model_of(problem), 2)
    assert max(furthest(part, 0.0) for part in gradient(point)) < 1e-12
    with pytest.raises(ValueError, match=r"groups must be an integer in 1 \.\. 2, got 3"):
        saddle(model_of(problem), 3)


def test_saddles_leave_the_random_numbers_alone():
    model = model_of(example_problem())
    state = torch.get_rng_state()
    saddle(model, 2)
    assert torch.equal(torch.get_rng_state(), state)


def bistable_problem():
    """Focal loss between the price where zero becomes stable and that where it becomes best."""
    loss, k = FocalLoss(3), 100
    c = (threshold(loss, k) + check_contrastive(loss, k).critical_c) / 2
    return Problem(k, 1, k - 1, c, loss, bias=False)


def test_zero_is_a_local_minimum_of_focal_loss_above_a_lower_collapsed_one():
    model, best = at_minimum(bistable_problem())
    origin = saddle(model)
    assert hessian_min_eigenvalue(origin) > 1e-6
    assert best.collapsed and origin.objective().item() > best.objective + 1e-3


def test_simplex_beside_a_stable_zero():
    model, best = at_minimum(bistable_problem())
    assert saddle(model, 100).objective().item() == pytest.approx(best.objective, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "groups", "message"),
    [
        ({}, 3, "groups must be a divisor of the number of classes, 4, got 3"),
        ({}, 0, r"groups must be an integer in 1 \.\. 4, got 0"),
        ({}, 8, "groups must be"),
        ({"nonnegative": True}, 2, "model must be one whose features may be negative"),
        ({"weight_decay": WeightDecay(0.0, 0.1)}, 1, "model must be one with weight decay on W"),
        ({"samples_per_class": (1, 2, 3, 4)}, 1, "samples_per_class must be the same"),
        ({"weight_decay": 1.0}, 2, "groups must be 1: .* all classes merge, got 2"),
        ({"weight_decay": 1.0, "loss": SquaredError()}, 2, "groups must be 1"),
        ({"weight_decay": 1.0, "loss": FocalLoss()}, 4, "groups must be 1"),
    ],
)
def test_saddles_that_do_not_exist(changes, groups, message):
    model = model_of(example_problem(**changes))
    with pytest.raises(ValueError, match=message):
        saddle(model, groups)


# --- curvature --------------------------------------------------------------------------------


@either_bias
@every_loss
def test_minimiser_has_no_descent_direction(loss, bias):
    model, _ = at_minimum(example_problem(loss, bias=bias))
    eigenvalue = hessian_min_eigenvalue(model)
    assert eigenvalue.shape == () and eigenvalue.dtype == F64
    assert eigenvalue >= -1e-10
    exact = float(torch.linalg.eigvalsh(dense_hessian(model))[0])
    assert float(eigenvalue) == pytest.approx(exact, abs=1e-8)


@either_bias
@every_loss
def test_descent_direction_of_a_saddle(loss, bias):
    problem = example_problem(loss, bias=bias)
    point = saddle(model_of(problem, batch_shape=(3,)), 2)
    eigenvalue, direction = hessian_min_eigenpair(point)
    assert float(eigenvalue) == pytest.approx(float(hessian_min_eigenvalue(point)), abs=1e-14)
    assert (direction[2] is None) == (not bias)
    parts = direction[: 2 + bias]
    vector = torch.cat([part.flatten() for part in parts])
    assert float(vector.norm()) == pytest.approx(1, rel=1e-12)
    assert furthest(dense_hessian(point) @ vector, eigenvalue * vector) < 1e-8
    before = point.objective().item()
    with torch.no_grad():
        for variable, part in zip(point.parameters(), parts, strict=True):
            variable += 1e-2 * part
    fall = point.objective().item() - before
    assert fall == pytest.approx(float(eigenvalue) / 2 * 1e-4, rel=0.05)


@every_loss
@examples(10)
@given(k=CLASSES, n=SAMPLES, w=powers(-2, 1), h=powers(-2, 1), bias=st.booleans())
def test_curvature_at_zero_is_known(loss, k, n, w, h, bias):
    origin = saddle(model_of(Problem(k, n, k, WeightDecay(w, h, 0.1), loss, bias)))
    logits = origin().detach().requires_grad_()
    loss(logits, origin.labels).backward()
    sigma = float(torch.linalg.matrix_norm(logits.grad, 2))
    expected = (w + h) / 2 - math.sqrt((w - h) ** 2 / 4 + sigma**2)
    assume(not bias or expected < 0)  # else the bias may have less curvature
    assert float(hessian_min_eigenvalue(origin)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [2, (1, 2, 3)], ids=["equal", "unequal"])
def test_curvature_anywhere_is_that_of_the_dense_hessian(n):
    for seed in range(5):
        model = model_of(Problem(3, n, 2, 0.05, FocalLoss(1.0)), seed)
        values, vectors = torch.linalg.eigh(dense_hessian(model))
        eigenvalue, direction = hessian_min_eigenpair(model)
        assert float(eigenvalue) == pytest.approx(float(values[0]), abs=1e-11)
        overlap = torch.cat([part.flatten() for part in direction]) @ vectors[:, 0]
        assert float(overlap.abs()) == pytest.approx(1, abs=1e-9)


def test_curvature_is_computed_in_double_precision():
    exact, rough = (saddle(model_of(example_problem(), dtype=t)) for t in (F64, torch.float32))
    exact.place(rough.W.double(), rough.H.double(), rough.b.double())
    close(hessian_min_eigenvalue(rough), hessian_min_eigenvalue(exact), 1e-14)
    assert all(part.dtype == torch.float32 for part in hessian_min_eigenpair(rough)[1])


def test_hessian_of_many_points_at_once():
    model = model_of(example_problem(), batch_shape=(2,))
    for function in (hessian_min_eigenvalue, hessian_min_eigenpair):
        with pytest.raises(ValueError, match=r"model must be at one point, .*, got \(2,\)"):
            function(model)


# --- the convex twin --------------------------------------------------------------------------


def objective_of(problem, W, H, b):
    model = model_of(replace(problem, dim=W.shape[-1]), batch_shape=(len(W),))
    return model.place(W, H, b).objective().detach()


@pytest.mark.parametrize("n", [3, (2, 3, 1, 6)], ids=["equal", "unequal"])
@either_bias
@every_loss
def test_convex_objective_is_the_least_over_factors(loss, bias, n):
    problem = example_problem(loss, bias=bias, n=n)
    decay, b = problem.weight_decay, normal(2, 6, 4) if bias else None
    Z = 3 * normal(0, 6, 12, 4)
    value = convex_objective(problem, Z, b)
    U, s, V = torch.linalg.svd(Z, full_matrices=False)
    root = s.sqrt()[:, None]
    ratio = (decay.H / decay.W) ** 0.25
    W, H = V.mT * root * ratio, U * root / ratio
    close(value, objective_of(problem, W, H, b), 1e-12)
    for seed in range(5):
        mixing = normal(seed, 6, 4, 4)
        W_other, H_other = W @ mixing, H @ torch.linalg.inv(mixing).mT
        assert (objective_of(problem, W_other, H_other, b) > value + 1e-3).all()
    W, H = normal(3, 6, 4, 5), normal(4, 6, 12, 5)
    assert (objective_of(problem, W, H, b) >= convex_objective(problem, H @ W.mT, b)).all()


@either_bias
@every_loss
def test_convex_objective_at_the_minimiser(loss, bias):
    problem = example_problem(loss, bias=bias)
    best = global_minimizer(problem)
    Z, b = best.H @ best.W.T, best.b if bias else None
    value = float(convex_objective(problem, Z, b))
    assert value == pytest.approx(best.objective, rel=1e-12)
    nearby = Z + 1e-2 * normal(0, 50, 12, 4)
    assert (convex_objective(problem, nearby, b) > value).all()


@either_bias
def test_convex_objective_is_convex(bias):
    problem = example_problem(bias=bias)
    ends = [5 * normal(seed, 200, 12, 4) for seed in (0, 1)]
    shifts = [normal(seed, 200, 4) for seed in (2, 3)] if bias else [None, None]
    share = torch.rand(200, generator=source(4), dtype=F64)
    start, end = (convex_objective(problem, *pair) for pair in zip(ends, shifts, strict=True))
    inside = torch.lerp(*ends, share[:, None, None])
    shift = torch.lerp(*shifts, share[:, None]) if bias else None
    assert (convex_objective(problem, inside, shift) < torch.lerp(start, end, share)).all()


def test_a_bias_that_is_not_given_is_zero():
    problem, Z = example_problem(), normal(0, 2, 12, 4)
    zero = torch.zeros(4, dtype=F64)
    assert torch.equal(convex_objective(problem, Z), convex_objective(problem, Z, zero))
    assert torch.equal(convex_objective(problem, Z.numpy()), convex_objective(problem, Z, zero))


def test_nuclear_norm_weighs_twice_the_lambda_of_the_lectures():
    lam = 0.01
    problem = example_problem(bias=False, weight_decay=2 * lam)
    best = global_minimizer(problem)
    Z = best.H @ best.W.T
    fit = float(CrossEntropy()(Z, problem.labels))
    lectures = fit + lam * float(best.W.square().sum() + best.H.square().sum())
    assert best.objective == pytest.approx(lectures, rel=1e-12)
    nuclear = float(torch.linalg.matrix_norm(Z, "nuc"))
    assert fit + 2 * lam * nuclear == pytest.approx(lectures, rel=1e-12)
    assert fit + lam * nuclear < lectures - 0.01
    # With weight λ the convex problem is another one: a larger multiple of Z is better.
    right, wrong = (
        [float(convex_objective(replace(problem, weight_decay=x), s * Z)) for s in (1, 1.1)]
        for x in (2 * lam, lam)
    )
    assert right[1] > right[0] and wrong[1] < wrong[0]


@pytest.mark.parametrize(
    ("Z", "b", "changes", "message"),
    [
        ((12,), None, {}, r"Z must be a floating-point tensor of shape \(…, 12, 4\)"),
        ((11, 4), None, {}, "Z must be"),
        ((12, 3), None, {}, "Z must be"),
        ((12, 4), (3,), {}, r"b must be a floating-point tensor of shape \(…, 4\)"),
        ((12, 4), (2, 4), {}, "b must be one vector, or one for each matrix of Z, got"),
        ((12, 4), (4,), {"bias": False}, "b must be None, as the problem has no bias"),
    ],
)
def test_convex_objective_of_what_does_not_fit(Z, b, changes, message):
    with pytest.raises(ValueError, match=message):
        convex_objective(
            example_problem(**changes), torch.zeros(Z), None if b is None else torch.zeros(b)
        )


def test_convex_objective_of_what_is_no_problem():
    with pytest.raises(TypeError, match="problem must be a Problem"):
        convex_objective(None, torch.zeros(2, 2))
