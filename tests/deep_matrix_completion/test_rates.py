"""The limiting rate: against closed forms, the curvature itself, and descents on either side."""

import math

import pytest
import torch
from deep_matrix_completion.cases import METHODS, SQUARE, options_for, some_problem, some_target
from helpers import F64, close, product, source

from lecturelib.deep_matrix_completion import complete, limiting_rate, observe


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("strength", [0.3, 1.0, 40.0])
def test_equal_layers_have_a_closed_form(depth, strength):
    expected = 2 / (depth * 0.4 * strength ** (2 - 2 / depth))
    assert limiting_rate(strength, 0.4, depth=depth) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("start", ["surrogate", "gradient"])
@pytest.mark.parametrize("gamma", [0.01, 1.0, 5.0])
def test_it_is_two_over_the_curvature(start, gamma):
    """Of a rank-one matrix seen in full, in the parameters that all learn at one rate."""
    strength, scale, depth = 7.0, 0.01, 3
    cores, first = (depth, 1.0) if start == "gradient" else (depth - 2, scale**2)
    low, high = 0.0, 20.0
    for _ in range(200):
        c = (low + high) / 2
        low, high = (
            (c, high) if (first + gamma * (c**2 - scale**2)) * c**cores < strength else (low, c)
        )
    a = math.sqrt(first + gamma * (c**2 - scale**2))
    sizes = torch.tensor([a / gamma**0.5, *[c] * cores, a / gamma**0.5], dtype=F64)
    curvature = torch.autograd.functional.hessian(
        lambda x: (gamma * x.prod() - strength).square() / 2, sizes
    )
    rate = limiting_rate(
        strength, 1.0, depth=depth, start=start, factor_lr_ratio=gamma, scale=scale
    )
    assert rate == pytest.approx(2 / torch.linalg.eigvalsh(curvature)[-1].item(), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_descent_is_stable_below_and_not_above(gamma):
    seen = observe(some_target(rank=1), 1.0)
    limit = limiting_rate(4.0, 1.0, factor_lr_ratio=gamma, scale=0.1)

    def last(rate):
        own = {"rank": 1, "factor_lr_ratio": gamma, "scale": 0.1, "steps": 3000}
        try:
            run = complete(seen, SQUARE, lr=rate, **own, generator=source(1))
        except FloatingPointError:
            return math.inf
        return run["train_error"][-1].item()

    assert last(0.9 * limit) < 1e-3 and last(1.1 * limit) > 0.01


@pytest.mark.parametrize(("method", "start"), METHODS)
def test_without_a_rate_it_is_half_the_limit(method, start):
    target, seen, mask = some_problem()
    share = mask.mean().item()
    strength = torch.linalg.matrix_norm(mask * target, 2).item() / share
    form = {"start": start} if start else {}
    gamma = 3.0 if method == "compressed" else 1.0
    limit = limiting_rate(strength, share, **form, factor_lr_ratio=gamma, scale=0.1)
    own = options_for(method, start) | {"rank": 2, "scale": 0.1, "steps": 20}
    own |= {"factor_lr_ratio": 3.0}
    automatic, given = (
        complete(seen, SQUARE, lr=lr, **own, generator=source(2)) for lr in (None, limit / 2)
    )
    close(product(automatic.factors), product(given.factors), 1e-8)


def test_a_network_that_does_not_move_has_no_limit():
    with pytest.raises(ValueError, match="do not move"):
        limiting_rate(1.0, 0.5, depth=2, factor_lr_ratio=0)


@pytest.mark.parametrize("method", ["narrow", "compressed"])
def test_a_width_is_taken_in_place_of_a_rank(method):
    _, seen, _ = some_problem()
    own = {"method": method, "steps": 3, "lr": 0.01}
    by_width = complete(seen, SQUARE, width=4, **own, generator=source(3))
    by_rank = complete(seen, SQUARE, rank=2, **own, generator=source(3))
    close(product(by_width.factors), product(by_rank.factors), 1e-12)
    odd = complete(seen, SQUARE, width=3, **own, generator=source(3))
    assert [tuple(factor.shape) for factor in odd.factors] == [(3, 13), (3, 3), (13, 3)]


@pytest.mark.parametrize("own", [{"rank": 2}, {"method": "full"}, {"start": "gradient"}])
def test_a_width_goes_with_nothing_that_sets_it(own):
    _, seen, _ = some_problem()
    with pytest.raises(ValueError, match="width is for narrow and surrogate"):
        complete(seen, SQUARE, width=4, **own)


@pytest.mark.parametrize(("depth", "least", "most"), [(2, 1.3, 1.8), (3, 1.2, 1.5)])
def test_for_a_given_mask_the_curvature_is_higher(depth, least, most):
    """As the chapter says of 50 × 50 matrices of rank three of which 25 % are seen."""
    target = some_target((50, 50), 3, values=[12.0, 10.0, 8.0])
    seen = observe(target, 0.25, generator=source(1))
    mask = torch.zeros(50, 50, dtype=F64)
    mask[seen.rows, seen.cols] = 1
    left, values, right = torch.linalg.svd(target)
    root = torch.diag(values[:3] ** (1 / depth))
    layers = [root @ right[:3], *[root] * (depth - 2), left[:, :3] @ root]

    def seen_product(*factors):
        return mask * product(list(factors))

    ends = torch.autograd.functional.jacobian(seen_product, tuple(layers))
    jacobian = torch.cat([end.flatten(2).flatten(0, 1) for end in ends], dim=1)
    curvature = torch.linalg.matrix_norm(jacobian, 2).item() ** 2
    assert least < curvature * limiting_rate(12.0, 0.25, depth=depth) / 2 < most
