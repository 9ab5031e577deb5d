"""Problems and their weight decays check themselves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from unconstrained_features.cases import example_problem

from lecturelib.losses import CrossEntropy, FocalLoss
from lecturelib.unconstrained_features import Problem, WeightDecay


def test_a_problem_is_a_value_with_defaults():
    problem = Problem(3, 5, 4, 0.01)
    assert problem == Problem(
        num_classes=3,
        samples_per_class=5,
        dim=4,
        weight_decay=WeightDecay(0.01, 0.01, 0.01),
        loss=CrossEntropy(),
        bias=True,
        nonnegative=False,
    )
    assert WeightDecay(0.01, 0.02) == WeightDecay(W=0.01, H=0.02, b=0.0)
    assert len({problem, replace(problem), replace(problem, dim=5)}) == 2
    with pytest.raises(AttributeError):
        problem.dim = 3


def test_what_is_given_becomes_plain_numbers():
    decay = WeightDecay(torch.tensor(0.5), np.float32(0.25), 0)
    problem = Problem(np.int64(3), torch.tensor(2), 4, torch.tensor(0.5), bias=np.True_)
    assert [type(value) for value in (decay.W, decay.H, decay.b)] == [float] * 3
    assert [type(value) for value in (problem.num_classes, problem.samples_per_class)] == [int] * 2
    assert problem == Problem(3, 2, 4, 0.5) and type(problem.bias) is bool


@pytest.mark.parametrize(
    "given", [(3, 1, 2), [3, 1, 2], np.array([3, 1, 2]), torch.tensor([3, 1, 2])]
)
def test_classes_may_have_different_numbers_of_samples(given):
    problem = Problem(3, given, 4, 0.01)
    assert problem.samples_per_class == problem.counts == (3, 1, 2)
    assert problem.num_samples == 6
    assert problem.labels.tolist() == [0, 0, 0, 1, 2, 2]


def test_equal_numbers_of_samples_are_one_number():
    problem = Problem(3, (2, 2, 2), 4, 0.01)
    assert problem == Problem(3, 2, 4, 0.01) and problem.counts == (2, 2, 2)
    assert problem.num_samples == 6 and problem.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_price_of_contrast_is_that_of_equal_classes():
    assert example_problem(n=4).price == pytest.approx(0.02, rel=1e-15)
    with pytest.raises(ValueError, match=r"samples_per_class must be the same .* \(1, 2, 3, 4\)"):
        _ = example_problem(n=(1, 2, 3, 4)).price


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_classes": 1}, ValueError, "num_classes must be an integer >= 2, got 1"),
        ({"num_classes": 4.0}, TypeError, "num_classes must be an integer"),
        ({"samples_per_class": 0}, ValueError, "samples_per_class must be an integer >= 1, got 0"),
        ({"samples_per_class": None}, TypeError, "samples_per_class must be an integer"),
        ({"samples_per_class": (1, 2)}, ValueError, "samples_per_class must be .* 4 integers"),
        ({"samples_per_class": (1, 2, 3, 0)}, ValueError, "each of samples_per_class must be"),
        ({"dim": 0}, ValueError, "dim must be an integer >= 1, got 0"),
        (
            {"weight_decay": -0.1},
            ValueError,
            r"weight_decay must be a .* >= 0, got -0\.1",
        ),
        ({"weight_decay": math.nan}, ValueError, "weight_decay must be"),
        ({"weight_decay": (0.1, 0.1)}, TypeError, "weight_decay must be a WeightDecay or a number"),
        ({"loss": "ce"}, TypeError, "loss must be a loss of lecturelib.losses, got 'ce'"),
        ({"loss": FocalLoss}, TypeError, "loss must be"),
        ({"bias": 1}, TypeError, "bias must be True or False, got 1"),
        ({"nonnegative": None}, TypeError, "nonnegative must be"),
    ],
)
def test_impossible_problems(changes, error, message):
    with pytest.raises(error, match=message):
        example_problem(**changes)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ((-0.1, 0.1), ValueError, r"W must be a finite number >= 0, got -0\.1"),
        ((0.1, math.nan), ValueError, "H must be"),
        ((0.1, 0.1, -0.1), ValueError, "b must be"),
        (("0.1", 0.1), TypeError, "W must be"),
    ],
)
def test_impossible_weight_decays(weights, error, message):
    with pytest.raises(error, match=message):
        WeightDecay(*weights)
