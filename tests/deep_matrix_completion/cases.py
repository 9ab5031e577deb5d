"""Problems and routines that all tests of matrix completion share."""

import torch
from helpers import F64, close, product, source

from lecturelib.deep_matrix_completion import (
    alternating_least_squares,
    complete,
    low_rank_matrix,
    observe,
    soft_impute,
)

WIDE, TALL, SQUARE = (11, 14), (15, 12), (13, 13)
METHODS = [
    ("compressed", "surrogate"),
    ("compressed", "gradient"),
    ("narrow", None),
    ("full", None),
]


def some_target(shape=SQUARE, rank=2, seed=0, dtype=F64, values=None):
    """A matrix of low rank, in full."""
    values = [4.0, 3.0, 2.5, 2.2][:rank] if values is None else values
    return low_rank_matrix(
        shape, rank, singular_values=values, generator=source(seed), dtype=dtype
    ).dense()


def some_problem(shape=SQUARE, rank=2, fraction=0.6, seed=0, dtype=F64):
    """A target, what is seen of it, and the mask of that."""
    target = some_target(shape, rank, seed, dtype)
    seen = observe(target, fraction, generator=source(seed + 1))
    mask = torch.zeros(shape, dtype=dtype)
    mask[seen.rows, seen.cols] = 1
    assert mask.any(0).all() and mask.any(1).all()
    return target, seen, mask


def run_from_start(function, *args, **options):
    """Run; return the result and copies of the factors it started from."""
    starts = []

    def keep(factors):
        if not starts:
            starts.extend(factor.clone() for factor in factors)
        return 0

    return function(*args, **options, generator=source(7), metrics={"keep": keep}), starts


def autograd_descent(weights, rates, target, steps, mask=1.0):
    """Descend with one rate for each factor, on the errors where the mask is one."""
    variables = [weight.clone().requires_grad_() for weight in weights]
    for _ in range(steps):
        loss = (mask * (product(variables) - target)).square().sum() / 2
        gradients = torch.autograd.grad(loss, variables)
        with torch.no_grad():
            for variable, rate, gradient in zip(variables, rates, gradients, strict=True):
                variable -= rate * gradient
    return [variable.detach() for variable in variables]


def assert_same_factors(actual, expected, tolerance=1e-11):
    """Demand that two chains agree, factor by factor."""
    assert len(actual) == len(expected)
    for factor, other in zip(actual, expected, strict=True):
        close(factor, other, tolerance)


def options_for(method, start):
    """Options of one way to complete."""
    return {"method": method} | ({"start": start} if start else {})


def solvers():
    """All routines for observed entries, as functions of these, with few steps."""

    def descent(method, start):
        def solve(seen, shape, **options):
            own = {"rank": 2, "lr": 0.03, "scale": 0.6, "steps": 6} | options_for(method, start)
            return complete(seen, shape, **own | options)

        return solve

    descents = {f"{way[0]} {way[1] or ''}".strip(): descent(*way) for way in METHODS}
    return descents | {
        "als": lambda seen, shape, **options: alternating_least_squares(
            seen, shape, **{"rank": 2, "steps": 6} | options
        ),
        "soft-impute": lambda seen, shape, **options: soft_impute(
            seen, shape, **{"rank": 4, "penalty": 0.1, "steps": 6} | options
        ),
    }


SOLVERS = solvers()
