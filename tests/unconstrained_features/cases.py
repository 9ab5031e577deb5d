"""Problems to test, and what is measured on their solutions."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import F64, powers, source
from hypothesis import strategies as st
from torch.nn import functional

from lecturelib.losses import CrossEntropy, FocalLoss, LabelSmoothing, SquaredError
from lecturelib.unconstrained_features import (
    Problem,
    UnconstrainedFeatures,
    WeightDecay,
    global_minimizer,
)

CLASSES = st.integers(2, 12)
SAMPLES = st.integers(1, 6)
FAMILIES = {
    "cross-entropy": st.just(CrossEntropy()),
    "label smoothing": st.builds(LabelSmoothing, st.floats(0, 0.9)),
    "focal loss": st.builds(FocalLoss, st.floats(0, 6)),
    "squared error": st.just(SquaredError()),
    "rescaled squared error": st.builds(SquaredError, powers(-0.5, 0.8), powers(-0.5, 0.8)),
}
every_family = pytest.mark.parametrize("family", FAMILIES)
either_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


def threshold(loss, k, *, decay_b=None, nonnegative=False):
    """Return c from which on zero is a critical point that no small step improves."""
    if isinstance(loss, SquaredError):
        b = 0.0
        if decay_b is not None:
            b = loss.kappa * loss.target / (loss.kappa + k - 1 + k * decay_b)
        right = loss.kappa * (loss.target - b)
        if nonnegative:
            return math.sqrt(right**2 + (k - 1) * b**2) / k
        return max(right + b, abs(right - (k - 1) * b)) / k
    slope = 1 - getattr(loss, "alpha", 0.0)
    if isinstance(loss, FocalLoss):
        gamma, wrong = loss.gamma, 1 - 1 / k
        slope = wrong**gamma + gamma * wrong ** (gamma - 1) * math.log(k) / k
    return slope / k * (math.sqrt((k - 1) / k) if nonnegative else 1)


@st.composite
def problems(draw, family, bias, k, n, dims, *, nonnegative=False):
    """Draw a problem on either side of the threshold; also tell whether it collapses."""
    loss = draw(FAMILIES[family])
    decay_b = draw(st.just(0.0) | powers(-3, 0.5)) if bias else None
    fraction = draw(st.floats(0.03, 0.85) | st.floats(1.05, 3))
    limit = threshold(loss, k, decay_b=decay_b, nonnegative=nonnegative)
    product, ratio = (fraction * limit) ** 2 / n, 20 ** draw(st.floats(-1, 1))
    decay = WeightDecay(math.sqrt(product * ratio), math.sqrt(product / ratio), decay_b or 0.0)
    return Problem(k, n, draw(dims), decay, loss, bias, nonnegative), fraction < 1


def example_problem(loss=None, *, k=4, n=3, dim=5, bias=True, **changes):
    """A problem in which all sizes and weights differ."""
    decay = WeightDecay(0.02, 0.005, 0.01)
    return replace(Problem(k, n, dim, decay, loss or CrossEntropy(), bias), **changes)


def model_of(problem, seed=None, **options):
    """A model in float64, with its own random numbers if there is a seed."""
    generator = None if seed is None else source(seed)
    return UnconstrainedFeatures(problem, generator=generator, **{"dtype": F64} | options)


def at_minimum(problem):
    """A model at the global minimiser, and the minimiser."""
    best = global_minimizer(problem)
    return model_of(problem).place(best), best


def gradient(model):
    """Return the gradient with respect to W, H and b."""
    return torch.autograd.grad(model.objective().sum(), list(model.parameters()))


def class_means(H, k):
    return H.unflatten(-2, (k, -1)).mean(-2)


def cosines(left, right):
    return functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).mT


def simplex_cosines(k):
    identity = torch.eye(k, dtype=F64)
    return (k * identity - 1) / (k - 1)


def furthest(tensors, others):
    return float((tensors - others).detach().abs().max())
