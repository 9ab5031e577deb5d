"""The variables of a problem: shapes, start, objective, margin, moving to a point."""

import math

import pytest
import torch
from helpers import F64, normal, source
from torch.nn import functional
from unconstrained_features.cases import either_bias, example_problem, model_of

from lecturelib.losses import FocalLoss
from lecturelib.unconstrained_features import (
    Problem,
    UnconstrainedFeatures,
    WeightDecay,
    global_minimizer,
    minimize,
)
from lecturelib.unconstrained_features.model import flat, split


@either_bias
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3)])
def test_shapes(lead, bias):
    model = model_of(example_problem(bias=bias), batch_shape=lead)
    minimize(model, steps=2)
    assert model.W.shape == (*lead, 4, 5) and model.H.shape == (*lead, 12, 5)
    assert (model.b.shape == (*lead, 4)) if bias else (model.b is None)
    assert model().shape == (*lead, 12, 4)
    assert model.objective().shape == model.margin().shape == lead
    assert model.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("counts", [3, (5, 1, 2, 4)], ids=["equal", "unequal"])
def test_objective_and_margin_as_defined(counts):
    problem = example_problem(n=counts)
    model = model_of(problem, 0, batch_shape=(2,), scale=3.0)
    model.place(model.W, model.H, normal(0, 2, 4))
    assert len(model.labels) == 12 and torch.bincount(model.labels).tolist() == list(problem.counts)
    for i in range(2):
        W, H, b = model.W[i], model.H[i], model.b[i]
        logits = H @ W.T + b
        value = functional.cross_entropy(logits, model.labels) + 0.01 * W.square().sum()
        value += 0.0025 * H.square().sum() + 0.005 * b.square().sum()
        assert model.objective()[i].item() == pytest.approx(value.item(), rel=1e-13)
        margins = [
            row[y] - max(row[j] for j in range(4) if j != y)
            for row, y in zip(logits.tolist(), model.labels.tolist(), strict=True)
        ]
        assert model.margin()[i].item() == pytest.approx(min(margins), rel=1e-13)
    assert not model.margin().requires_grad and model.objective().requires_grad


def test_the_generator_decides_about_the_start():
    def features(seed, problem=None, **options):
        return model_of(problem or example_problem(), seed, **options).H

    assert torch.equal(features(0, batch_shape=(2,)), features(0, batch_shape=(2,)))
    assert not torch.equal(features(0), features(1))
    first, second = features(0, batch_shape=(2,))
    assert not torch.equal(first, second)
    assert torch.allclose(features(0, scale=3.0), 3 * features(0))
    rows = features(0, batch_shape=(500,), scale=3.0).detach().norm(dim=-1)
    assert float(rows.square().mean().sqrt()) == pytest.approx(3, rel=0.05)
    assert (features(0, example_problem(nonnegative=True)) >= 0).all()
    assert not features(0, scale=0.0).any() and not model_of(example_problem(), 0).b.any()


def test_without_a_generator_the_global_one_decides():
    torch.manual_seed(3)
    first = UnconstrainedFeatures(example_problem())
    torch.manual_seed(3)
    assert torch.equal(UnconstrainedFeatures(example_problem()).W, first.W)
    assert not torch.equal(UnconstrainedFeatures(example_problem()).W, first.W)


def test_the_type_is_that_of_torch_unless_it_is_given():
    assert UnconstrainedFeatures(example_problem()).W.dtype == torch.float32
    model = UnconstrainedFeatures(example_problem(), dtype=F64, device="meta")
    assert {(v.dtype, v.is_meta) for v in model.parameters()} == {(F64, True)}
    torch.set_default_dtype(F64)
    try:
        assert UnconstrainedFeatures(example_problem()).W.dtype == F64
    finally:
        torch.set_default_dtype(torch.float32)


@either_bias
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_flat_variables_are_split_again(lead, bias):
    model = model_of(example_problem(n=(1, 2, 3, 4), bias=bias), 0, batch_shape=lead)
    vector = flat(model)
    assert vector.shape == (*lead, 20 + 50 + 4 * bias) and not vector.requires_grad
    W, H, b = split(model.problem, vector)
    assert torch.equal(W, model.W) and torch.equal(H, model.H)
    assert (b is None) if not bias else torch.equal(b, model.b)


# --- moving to a point ------------------------------------------------------------------------

W_FITS, H_FITS, B_FITS = torch.ones(4, 5), torch.ones(12, 5), torch.ones(4)


@pytest.mark.parametrize(
    ("changes", "lead", "point", "message"),
    [
        ({}, (), (W_FITS.T, H_FITS), r"W must be a tensor of shape \(4, 5\), got .* \(5, 4\)"),
        ({}, (), (W_FITS, H_FITS[1:]), "H must be a tensor of shape"),
        ({}, (), (W_FITS, H_FITS, B_FITS[1:]), "b must be a tensor of shape"),
        ({}, (), (W_FITS[None], H_FITS[None]), "W must be a tensor of shape"),
        ({}, (), (W_FITS[0], H_FITS), "W must be a tensor of shape"),
        ({}, (), (W_FITS.int(), H_FITS), "W must be a floating-point tensor"),
        ({}, (2,), (W_FITS.repeat(3, 1, 1), H_FITS), r"W .* \(4, 5\), or \(2, 4, 5\), got"),
        ({}, (2,), (W_FITS[0], H_FITS), "W must be a tensor of shape"),
        ({"bias": False}, (), (W_FITS, H_FITS, B_FITS), "b must be zero, as the problem has no"),
        ({"nonnegative": True}, (), (W_FITS, -H_FITS), "H must be without negative entries"),
    ],
)
def test_points_that_do_not_fit_change_nothing(changes, lead, point, message):
    model = model_of(example_problem(**changes), batch_shape=lead)
    before = flat(model).clone()
    with pytest.raises(ValueError, match=message):
        model.place(*point)
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize(
    ("point", "name"), [((None, H_FITS), "W"), ((W_FITS,), "H"), ((W_FITS, H_FITS, [1.0]), "b")]
)
def test_points_that_are_no_tensors(point, name):
    with pytest.raises(TypeError, match=f"^{name} must be a floating-point tensor"):
        model_of(example_problem()).place(*point)


def test_placing_one_point_for_the_whole_batch():
    model = model_of(example_problem(bias=False), batch_shape=(3,))
    assert model.place(W_FITS, 2 * H_FITS.numpy(), torch.zeros(4)) is model
    assert (model.W == 1).all() and (model.H == 2).all() and model.W.shape == (3, 4, 5)
    assert model.W.requires_grad


def test_placing_leaves_a_bias_that_is_not_given():
    model = model_of(example_problem()).place(W_FITS, H_FITS, B_FITS)
    assert (model.place(2 * W_FITS, H_FITS).b == 1).all()


@either_bias
def test_placing_a_minimiser(bias):
    problem = example_problem(bias=bias)
    best = global_minimizer(problem)
    whole = model_of(problem, batch_shape=(2,)).place(best)
    parts = model_of(problem, batch_shape=(2,)).place(best.W, best.H, best.b)
    assert torch.equal(flat(whole), flat(parts))
    other = global_minimizer(example_problem(dim=6))
    with pytest.raises(ValueError, match=r"W must be a tensor of shape \(4, 5\)"):
        model_of(problem).place(other)
    for name in ("H", "b"):
        with pytest.raises(ValueError, match=f"^{name} must be left out beside a minimiser"):
            model_of(problem).place(best, **{name: getattr(best, name)})


# --- unequal classes, few dimensions ----------------------------------------------------------


def test_rows_of_rare_classes_merge_as_they_grow_rarer():
    distances = []
    for ratio in (10, 40):
        counts = (2 * ratio,) * 5 + (2,) * 5
        problem = Problem(10, counts, 16, WeightDecay(0.005, 0.0025, 0.005))
        model = model_of(problem, 0, batch_shape=(3,))
        minimize(model, every=[])
        values, rare = model.objective().detach(), model.W.detach()[:, 5:]
        assert float(values.max() / values.min()) == pytest.approx(1, abs=1e-12)
        distances.append(torch.cdist(rare, rare).amax((-2, -1)))
        assert (rare.norm(dim=-1) < model.W[:, :5].norm(dim=-1)).all()
    assert (distances[0] - 2.657).abs().max() < 1e-3 and distances[1].max() < 1e-4


def test_seven_classes_in_the_plane_form_a_heptagon_without_a_bias():
    model = model_of(Problem(7, 2, 2, 0.001, bias=False), 0, batch_shape=(6,))
    minimize(model, every=[])
    means = model.H.detach().unflatten(-2, (7, 2)).mean(-2)
    best = means[model.objective().argmin()]
    angles = torch.atan2(best[:, 1], best[:, 0]).sort().values
    assert (angles.diff() - 2 * math.pi / 7).abs().max() < 1e-4


def test_focal_loss_of_unequal_classes_falls():
    problem = example_problem(FocalLoss(1.0), n=(1, 2, 3, 4), dim=2)
    model = model_of(problem, 0, batch_shape=(3,))
    values = minimize(model, steps=50)["objective"]
    assert (values.diff(dim=0) <= 1e-14).all() and (values[-1] < values[0]).all()


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_shape": (0,)}, ValueError, "each of batch_shape must be an integer >= 1, got 0"),
        ({"batch_shape": 3}, TypeError, "batch_shape must be a sequence"),
        ({"scale": -1.0}, ValueError, "scale must be a finite number >= 0"),
        ({"generator": 0}, TypeError, "generator must be a torch.Generator or None, got 0"),
        ({"dtype": torch.int64}, ValueError, "dtype must be a floating type"),
        ({"device": "nowhere"}, ValueError, "device must be a device"),
    ],
)
def test_impossible_models(options, error, message):
    with pytest.raises(error, match=message):
        UnconstrainedFeatures(example_problem(), **options)


def test_models_are_of_problems():
    with pytest.raises(TypeError, match="problem must be a Problem, got 3"):
        UnconstrainedFeatures(3, generator=source(0))
