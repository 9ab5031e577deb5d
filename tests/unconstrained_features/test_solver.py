"""The batched solver: what it records, that points share nothing, where it ends."""

import math

import pytest
import torch
from helpers import F64, every_loss, normal
from unconstrained_features.cases import (
    either_bias,
    example_problem,
    furthest,
    gradient,
    model_of,
)

from lecturelib.losses import CrossEntropy, SquaredError
from lecturelib.unconstrained_features import (
    WeightDecay,
    convex_objective,
    global_minimizer,
    hessian_min_eigenvalue,
    minimize,
    saddle,
)
from lecturelib.unconstrained_features.model import flat
from lecturelib.unconstrained_features.solver import _value_and_gradient

either_sign = pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])


@either_sign
@every_loss
def test_points_of_a_batch_share_nothing(loss, nonnegative):
    problem = example_problem(loss, dim=12, nonnegative=nonnegative)
    model = model_of(problem, 0, batch_shape=(5,), scale=2.0)
    # One point has arrived before the others begin, one stands on the saddle, one is hopeless.
    arrived = global_minimizer(problem)
    H = model.H.detach().clone()
    W, H[1], H[2] = model.W.detach().clone(), arrived.H, 0.0
    W[1], W[2], W[3] = arrived.W, 0.0, math.nan
    model.place(W, H)
    alone = model_of(problem)
    together = minimize(model, steps=30, tol=1e-2)["objective"]
    for i in range(5):
        alone.place(W[i], H[i], torch.zeros(4))
        own = minimize(alone, steps=30, tol=1e-2)["objective"]
        end = len(own)
        assert together[:end, i].tolist() == pytest.approx(own.tolist(), rel=1e-9, nan_ok=True)
        rest = [float(together[end - 1, i])] * (len(together) - end)
        assert together[end:, i].tolist() == pytest.approx(rest, rel=1e-15, nan_ok=True)
        torch.testing.assert_close(model.H[i], alone.H, rtol=0, atol=1e-6, equal_nan=True)


def test_a_batch_of_any_shape_is_a_batch():
    problem = example_problem()
    rows, grid = model_of(problem, 0, batch_shape=(6,)), model_of(problem, 0, batch_shape=(2, 3))
    grid.place(*(v.detach().view(2, 3, *v.shape[1:]) for v in (rows.W, rows.H, rows.b)))
    listed, arranged = minimize(rows, steps=10), minimize(grid, steps=10)
    assert arranged["objective"].shape == (11, 2, 3)
    assert torch.equal(arranged["objective"].flatten(1), listed["objective"])
    assert torch.equal(grid.W.flatten(0, 1), rows.W)


@either_bias
@every_loss
def test_every_nonnegative_start_ends_where_no_feature_wants_to_grow(loss, bias):
    problem = example_problem(loss, bias=bias, dim=8, nonnegative=True)
    model = model_of(problem, 0, batch_shape=(6,))
    sparse = model.H.detach() * (normal(1, 6, 12, 8) > 0)
    sparse[0] = 0.0
    minimize(model.place(model.W, sparse), every=[])
    along_w, along_h, *_ = gradient(model)
    assert (model.H >= 0).all() and (along_h > -1e-8).all()
    assert furthest(along_w, 0.0) < 1e-8
    assert furthest(torch.where(model.H > 0, along_h, 0.0), 0.0) < 1e-8


@either_sign
@either_bias
@every_loss
def test_objective_never_rises(loss, bias, nonnegative):
    problem = example_problem(loss, bias=bias, dim=12, nonnegative=nonnegative)
    model = model_of(problem, 0, batch_shape=(8,), scale=3.0)
    values = minimize(model, steps=40)["objective"]
    assert (values[1:] <= values[:-1] * (1 + 1e-14)).all() and (values[5] < values[0]).all()


# --- what is recorded -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "measured"),
    [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 3, 6, 7]), ([2, 5], [2, 5, 7]), ([], [7])],
)
def test_the_steps_that_were_asked_for_are_recorded(every, measured):
    model = model_of(example_problem(), 0)
    metrics = {"margin": lambda model: model.margin(), "features": lambda model: model.H}
    history = minimize(model, steps=7, every=every, metrics=metrics)
    assert history.steps.tolist() == measured
    assert set(history.values) == {"objective", "margin", "features"}
    assert history["objective"].shape == history["margin"].shape == (len(measured),)
    assert history["objective"][-1].item() == pytest.approx(model.objective().item(), rel=1e-14)
    assert history["margin"][-1] == model.margin()
    assert torch.equal(history["features"][-1], model.H)
    if len(measured) > 1:
        assert not torch.equal(history["features"][0], model.H)


def test_metrics_see_the_objective_that_is_recorded():
    model = model_of(example_problem(), 0, batch_shape=(3,), scale=2.0)
    history = minimize(model, steps=5, metrics={"again": lambda model: model.objective()})
    torch.testing.assert_close(history["again"], history["objective"], rtol=1e-14, atol=0)


def test_the_record_ends_where_the_solver_stops():
    model = model_of(example_problem(), 0, batch_shape=(2,))
    history = minimize(model, every=1000)
    start, end = history.steps.tolist()
    assert start == 0 and 5 < end < 200 and history["objective"].shape == (2, 2)
    again = minimize(model)
    assert again.steps.tolist() == [0]
    assert torch.equal(again["objective"][0], history["objective"][1])


def test_no_steps_only_record_the_start():
    model = model_of(example_problem(), 0)
    before = flat(model).clone()
    assert minimize(model, steps=0).steps.tolist() == [0]
    assert torch.equal(flat(model), before)


def test_the_number_of_threads_is_given_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        metrics = {"threads": lambda model: torch.get_num_threads()}
        history = minimize(model_of(example_problem()), steps=1, metrics=metrics)
        assert set(history["threads"].tolist()) == {1.0}
        assert torch.get_num_threads() == 2
        with pytest.raises(FloatingPointError):
            minimize(model_of(example_problem(SquaredError()), 0), method="gd", lr=1000.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


# --- gradient descent -------------------------------------------------------------------------


@either_sign
@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()], ids=str)
def test_gradient_descent_reaches_the_same_minimum(loss, nonnegative):
    decay = WeightDecay(0.05, 0.02, 0.1)
    problem = example_problem(loss, dim=8, weight_decay=decay, nonnegative=nonnegative)
    model = model_of(problem, 0, batch_shape=(4,))
    history = minimize(model, method="gd", lr=1.0, steps=5000, every=50)
    assert history.steps[-1] < 5000 and (model.H >= 0).all() == nonnegative
    values = model.objective().detach()
    best = pytest.approx(global_minimizer(problem).objective, rel=1e-10)
    assert float(values.min()) == best
    assert nonnegative or values.tolist() == [best] * 4


def test_gradient_descent_takes_plain_steps():
    model = model_of(example_problem(), 0)
    moved = [v - 0.3 * g for v, g in zip(model.parameters(), gradient(model), strict=True)]
    minimize(model, method="gd", lr=0.3, steps=1)
    for variable, expected in zip(model.parameters(), moved, strict=True):
        torch.testing.assert_close(variable, expected, rtol=1e-13, atol=1e-15, check_stride=False)


def test_gradient_descent_that_diverges_says_so():
    model = model_of(example_problem(SquaredError()), 0, batch_shape=(3,))
    with pytest.raises(FloatingPointError, match=r"diverged in step \d+: .* lr=1000\.0"):
        minimize(model, method="gd", lr=1000.0)


@pytest.mark.parametrize("n", [3, (1, 2, 3, 4)], ids=["equal", "unequal"])
@either_bias
@every_loss
def test_the_solver_takes_the_gradient_of_the_objective(loss, bias, n):
    problem = example_problem(loss, bias=bias, n=n)
    model = model_of(problem, 0, batch_shape=(3,), scale=4.0)
    if bias:
        model.place(model.W, model.H, normal(1, 3, 4))
    value, found = _value_and_gradient(problem, model.labels, flat(model))
    expected = torch.cat([part.flatten(1) for part in gradient(model)], 1)
    torch.testing.assert_close(value, model.objective().detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-15)


# --- types and devices ------------------------------------------------------------------------


def test_a_point_at_zero_does_not_hold_up_the_others():
    problem = example_problem(bias=False)
    model = model_of(problem, 0, batch_shape=(2,), dtype=torch.float32)
    ones = torch.tensor([1.0, 0.0])[:, None, None]
    model.place(ones * model.W.detach(), ones * model.H.detach())
    assert minimize(model).steps[-1] < 500
    found = model.objective().tolist()
    assert found == pytest.approx([global_minimizer(problem).objective, math.log(4)], rel=1e-5)


@every_loss
def test_float32(loss):
    problem = example_problem(loss)
    model = model_of(problem, 0, batch_shape=(2,), dtype=torch.float32)
    minimize(model, steps=200)
    best = global_minimizer(problem)
    assert model.W.dtype == model().dtype == torch.float32
    assert model.objective().detach().numpy() == pytest.approx(best.objective, rel=1e-6)
    assert model.margin().detach().numpy() == pytest.approx(best.margin, rel=1e-2)
    assert saddle(model).W.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["lbfgs", "gd"])
@every_loss
def test_gpu(loss, method):
    problem = example_problem(loss, weight_decay=WeightDecay(0.1, 0.05, 0.1))
    best = global_minimizer(problem, device="cuda")
    model = model_of(problem, 0, batch_shape=(4,), device="cuda")
    history = minimize(model, method=method, lr=0.3)
    assert best.W.is_cuda and model.W.is_cuda and model.labels.is_cuda
    assert history["objective"].is_cuda and history["objective"].dtype == F64
    assert model.objective().detach().cpu().numpy() == pytest.approx(best.objective, rel=1e-8)
    assert hessian_min_eigenvalue(saddle(model)) < -1e-3
    value = convex_objective(problem, best.H @ best.W.T, best.b)
    assert value.is_cuda and float(value) == pytest.approx(best.objective, rel=1e-10)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "newton"}, ValueError, 'method must be one of "lbfgs", "gd", got \'newton\''),
        ({"steps": -1}, ValueError, "steps must be an integer >= 0, got -1"),
        ({"memory": 0}, ValueError, "memory must be an integer >= 1, got 0"),
        ({"every": 0}, ValueError, "every must be an integer >= 1, got 0"),
        ({"every": [3000]}, ValueError, r"every must be steps in 0 \.\. 2000"),
        ({"tol": -1e-8}, ValueError, "tol must be a finite number >= 0"),
        ({"tol": math.nan}, ValueError, "tol must be"),
        ({"method": "gd", "lr": 0.0}, ValueError, "lr must be a finite number > 0, got 0"),
        ({"metrics": [abs]}, TypeError, "metrics must be a dict"),
    ],
)
def test_impossible_settings_of_the_solver(options, error, message):
    model = model_of(example_problem())
    before = flat(model).clone()
    with pytest.raises(error, match=message):
        minimize(model, **options)
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize("model", [None, example_problem(), torch.nn.Linear(2, 3)])
@pytest.mark.parametrize("function", [minimize, saddle, hessian_min_eigenvalue])
def test_other_things_than_models(function, model):
    with pytest.raises(TypeError, match="model must be an UnconstrainedFeatures"):
        function(model)
