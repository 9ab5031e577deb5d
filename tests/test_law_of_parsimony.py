"""The law of parsimony against descents that know nothing of it, angles and paths of vectors."""

import math
from functools import cache

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_deep_linear import close, examples, normal, source, torch_descent

from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    invariant_subspaces,
    reduced_gradient_descent,
    singular_trajectories,
    subspace_angles,
)

F64 = torch.float64
SEEDS = st.integers(0, 2**31 - 1)
D, R, STEPS = 30, 3, 250
either_case = pytest.mark.parametrize("case", ["square", "wide"])


def basis(seed, *shape):
    """Draw orthonormal columns."""
    return torch.linalg.qr(normal(seed, *shape)).Q


def target(case, d=D, rank=R, seed=1, batch=()):
    """Draw a target whose singular values fall from 2.2 to 1.3."""
    values = torch.linspace(2.2, 1.3, rank, dtype=F64)
    rows = d if case == "square" else rank
    left = basis(seed, *batch, rows, rank)
    return left * values @ basis(seed + 1, *batch, d, rank).mT


def start(case, d=D, rank=R, depth=3, scale=1.0, seed=0, batch=()):
    widths = [d] * depth + [d if case == "square" else rank]
    return init_weights(widths, scale, generator=source(seed), dtype=F64, batch_shape=batch)


def covered(case, depth):
    return depth if case == "square" else depth - 1


# --- one singular value -----------------------------------------------------------------------


@examples(30)
@given(
    scale=st.floats(0.1, 1.2),
    depth=st.integers(1, 5),
    lr=st.floats(0, 0.1),
    weight_decay=st.floats(0, 1),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_bulk_is_the_descent_of_a_number(scale, depth, lr, weight_decay, momentum):
    """All layers share one factor of a product that should vanish."""
    layers = [torch.tensor(scale, dtype=F64, requires_grad=True) for _ in range(depth)]
    solver = torch.optim.SGD(layers, lr, momentum=momentum, weight_decay=weight_decay)
    path = []
    for _ in range(21):
        path.append(layers[0].item())
        solver.zero_grad()
        (math.prod(layers) ** 2 / 2).backward()
        solver.step()
    found = bulk_singular_value(scale, depth, lr, weight_decay, 20, momentum=momentum)
    assert found.dtype == F64
    close(found, torch.tensor(path, dtype=F64), 1e-13)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_bulk_follows_the_printed_formula(depth, weight_decay):
    rho = bulk_singular_value(0.8, depth, 0.1, weight_decay, 50)
    step = rho[:-1] * (1 - 0.1 * weight_decay - 0.1 * rho[:-1] ** (2 * (depth - 1)))
    close(rho[1:], step, 1e-15)
    assert rho[0] == 0.8
    wide = bulk_singular_value(0.8, depth, 0.1, weight_decay, 50, case="wide")
    close(wide, 0.8 * (1 - 0.1 * weight_decay) ** torch.arange(51, dtype=F64), 1e-14)


def test_bulk_of_the_wide_case_decays_with_momentum():
    weight = torch.tensor(0.7, dtype=F64, requires_grad=True)
    solver = torch.optim.SGD([weight], 0.1, momentum=0.8, weight_decay=0.2)
    path = []
    for _ in range(31):
        path.append(weight.item())
        weight.grad = torch.zeros_like(weight)
        solver.step()
    found = bulk_singular_value(0.7, 3, 0.1, 0.2, 30, "wide", momentum=0.8)
    close(found, torch.tensor(path, dtype=F64), 1e-14)
    assert bulk_singular_value(0.7, 3, 0.1, 0.2, 0).tolist() == [0.7]


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"depth": 0},
        {"lr": -0.1},
        {"weight_decay": -0.1},
        {"steps": -1},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"case": "tall"},
    ],
)
def test_no_such_bulk(changes):
    arguments = {"scale": 0.5, "depth": 3, "lr": 0.1, "weight_decay": 0.0, "steps": 5}
    with pytest.raises(ValueError, match=f"{next(iter(changes))}"):
        bulk_singular_value(**arguments | changes)


def test_bulk_that_diverges():
    """Too large a rate is no overflow of Python's own numbers."""
    try:
        rho = bulk_singular_value(3.0, 3, 1.0, 0.0, 50)
    except FloatingPointError:
        return
    assert not rho[-1].isfinite()


# --- the law ----------------------------------------------------------------------------------

LAWS = [
    pytest.param(
        case, depth, scale, decay, momentum, id=f"{case}-{depth}-{scale}-{decay}-{momentum}"
    )
    for case in ("square", "wide")
    for depth in (2, 3, 4)
    for scale in (0.3, 1.0)
    for decay in (0.0, 0.05)
    for momentum in (0.0, 0.8)
]
every_law = pytest.mark.parametrize(("case", "depth", "scale", "decay", "momentum"), LAWS)


@cache
def descend(case, depth, scale, decay, momentum):
    """Run one setting three times: in full, reduced, and its bulk."""
    weights, phi = start(case, depth=depth, scale=scale), target(case)
    options = {"lr": 0.02 if momentum else 0.05, "weight_decay": decay, "momentum": momentum}
    full = gradient_descent(weights, None, phi, steps=STEPS, **options)
    reduced = reduced_gradient_descent(weights, None, phi, R, steps=STEPS, **options)
    rho = bulk_singular_value(scale, depth, steps=STEPS, case=case, **options)
    return weights, phi, options, full, reduced, rho


@every_law
def test_all_but_2r_singular_values_are_one(case, depth, scale, decay, momentum):
    _, _, _, full, _, rho = descend(case, depth, scale, decay, momentum)
    for layer in range(1, covered(case, depth) + 1):
        values = torch.linalg.svdvals(full[f"W{layer}"])
        near = ((values - rho[:, None]).abs() <= 1e-9).sum(-1)
        assert (near >= D - 2 * R).all()
        assert near[0] == D
        assert near[-1] == D - 2 * R
        away = (values[-1] - rho[-1]).abs().sort().values
        assert away[D - 2 * R] > 1e-6


@every_law
def test_frozen_directions_only_shrink(case, depth, scale, decay, momentum):
    weights, phi, _, full, _, rho = descend(case, depth, scale, decay, momentum)
    subspaces = invariant_subspaces(weights, None, phi, R)
    for layer in range(covered(case, depth)):
        U, V = (vectors[:, 2 * R :] for vectors in subspaces[layer])
        moved = full[f"W{layer + 1}"] @ V / rho[:, None, None]
        close(moved, (weights[layer] @ V / scale).expand_as(moved), 1e-12)
        close(moved, U.expand_as(moved), 1e-12)
        moved = full[f"W{layer + 1}"].mT @ U / rho[:, None, None]
        close(moved, V.expand_as(moved), 1e-12)
    if case == "wide":  # no bulk where it ends
        assert (full[f"W{depth}"] @ subspaces[-1][1][:, 2 * R :]).abs().max() < 1e-12


@every_law
def test_reduced_iterates_are_the_full_ones(case, depth, scale, decay, momentum):
    _, _, _, full, reduced, rho = descend(case, depth, scale, decay, momentum)
    close(reduced.bulk, rho, 1e-14)
    close(reduced.losses, full.losses, 1e-10)
    assert reduced.cores["W1"].shape == (STEPS + 1, 2 * R, 2 * R)
    for index in range(STEPS + 1):
        for layer, weight in enumerate(reduced.weights(index), start=1):
            assert (weight - full[f"W{layer}"][index]).abs().max() < 1e-10
    for weight, expected in zip(reduced.weights(), full.final, strict=True):
        close(weight, expected, 1e-10)


@every_law
def test_end_to_end_bulk(case, depth, scale, decay, momentum):
    _, _, _, full, _, rho = descend(case, depth, scale, decay, momentum)
    products = end_to_end([full[f"W{layer}"] for layer in range(1, depth + 1)])
    values = torch.linalg.svdvals(products)
    near = ((values - rho[:, None] ** depth).abs() <= 1e-9 * rho[:, None] ** depth).sum(-1)
    if case == "square":
        assert (near >= D - 2 * R).all()
        assert near[-1] == D - 2 * R
    else:
        assert products.shape[-2:] == (R, D)
        assert near[-1] == 0


@pytest.mark.parametrize(
    ("case", "depth", "scale", "decay", "momentum"),
    [("square", 3, 0.3, 0.05, 0.0), ("wide", 3, 1.0, 0.05, 0.8), ("square", 4, 1.0, 0.0, 0.8)],
)
def test_law_in_torch(case, depth, scale, decay, momentum):
    weights, phi, options, _, reduced, rho = descend(case, depth, scale, decay, momentum)
    expected, losses = torch_descent(
        weights, torch.eye(weights[0].shape[-1], dtype=F64), phi, steps=STEPS, **options
    )
    close(reduced.losses, losses, 1e-10)
    for layer in range(1, depth + 1):
        found = torch.stack([reduced.weights(index)[layer - 1] for index in range(STEPS + 1)])
        assert (found - expected[layer - 1]).abs().max() < 1e-10
    for layer in range(covered(case, depth)):
        values = torch.linalg.svdvals(expected[layer])
        assert (((values - rho[:, None]).abs() <= 1e-9).sum(-1) >= D - 2 * R).all()


@either_case
@pytest.mark.parametrize("samples", [D, 50])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_law_with_samples(case, samples, reduction, momentum):
    X = basis(5, samples, D).mT
    weights, phi = start(case, scale=0.5), target(case)
    noise = normal(6, len(phi), samples)
    Y = phi @ X + 0.1 * (noise - noise @ X.mT @ X)  # the noise is out of reach
    entries = Y.numel() if reduction == "mean" else 1
    options = {"lr": (0.02 if momentum else 0.05) * entries, "weight_decay": 0.05 / entries}
    options |= {"steps": STEPS, "momentum": momentum, "reduction": reduction}
    full = gradient_descent(weights, X, Y, **options)
    reduced = reduced_gradient_descent(weights, X, Y, R, **options)
    close(reduced.losses, full.losses, 1e-10)
    direct = (end_to_end(full.final) @ X - Y).square().sum() / 2 / entries
    close(reduced.losses[-1], direct, 1e-10)
    rho = bulk_singular_value(0.5, 3, options["lr"] / entries, 0.05, STEPS, case, momentum=momentum)
    close(reduced.bulk, rho, 1e-13)
    for layer in range(1, covered(case, 3) + 1):
        values = torch.linalg.svdvals(full[f"W{layer}"])
        assert (((values - rho[:, None]).abs() <= 1e-9).sum(-1) >= D - 2 * R).all()
    for index in (0, 1, 100, STEPS):
        for layer, weight in enumerate(reduced.weights(index), start=1):
            close(weight, full[f"W{layer}"][index], 1e-10)
    without = invariant_subspaces(weights, None, phi, R)
    with_samples = invariant_subspaces(weights, X, Y, R)
    for (_, V), (_, other) in zip(without, with_samples, strict=True):
        assert subspace_angles(V[:, 2 * R :], other[:, 2 * R :]).max() < 1e-10


# --- subspaces --------------------------------------------------------------------------------


def check_subspaces(weights, phi, rank, scale, case):
    subspaces = invariant_subspaces(weights, None, phi, rank)
    assert len(subspaces) == len(weights)
    for layer, (weight, (U, V)) in enumerate(zip(weights, subspaces, strict=True)):
        for matrix in (U, V):
            close(
                matrix.mT @ matrix, torch.eye(matrix.shape[-1], dtype=F64).expand_as(matrix), 1e-12
            )
        if layer + 1 < len(weights):
            close(subspaces[layer + 1][1], U, 0)
        if case == "square" or layer + 1 < len(weights):
            close(weight @ V, scale * U, 1e-12)
        else:
            close(U, torch.eye(rank, dtype=F64).expand_as(U), 0)
    frozen = subspaces[0][1][..., 2 * rank :]
    assert (phi @ frozen).abs().max() < 1e-12
    assert (phi.mT @ end_to_end(weights) @ frozen).abs().max() < 1e-12
    return subspaces


@examples(25)
@given(
    seed=SEEDS,
    case=st.sampled_from(["square", "wide"]),
    rank=st.integers(1, 4),
    bulk=st.integers(1, 6),
    depth=st.integers(1, 4),
    scale=st.floats(0.1, 2),
    batch=st.sampled_from([(), (3,), (2, 2)]),
)
def test_frozen_conditions(seed, case, rank, bulk, depth, scale, batch):
    d = 2 * rank + bulk
    weights = start(case, d, rank, depth, scale, seed, batch)
    check_subspaces(weights, target(case, d, rank, seed + 1, batch), rank, scale, case)


@either_case
def test_batch_of_descents(case):
    """Three networks of one target, and of one target each."""
    weights, shared = start(case, 12, 2, 3, 0.6, batch=(3,)), target(case, 12, 2)
    own = target(case, 12, 2, seed=8, batch=(3,))
    options = {"lr": 0.05, "steps": 40, "weight_decay": 0.02}
    for phi in (own, shared):
        reduced = reduced_gradient_descent(weights, None, phi, 2, **options)
        check_subspaces(weights, phi, 2, 0.6, case)
        assert reduced.losses.shape == (41, 3)
        for i in range(3):
            one = [weight[i] for weight in weights]
            matrix = phi[i] if phi.ndim == 3 else phi
            expected, losses = torch_descent(
                one, torch.eye(one[0].shape[-1], dtype=F64), matrix, **options
            )
            close(reduced.losses[:, i], losses)
            for layer in range(3):
                close(reduced.weights(17)[layer][i], expected[layer][17])
                close(reduced.weights()[layer][i], expected[layer][-1])


def test_many_targets_of_one_start():
    weights, phi = start("square", 12, 2, 3, 0.6), target("square", 12, 2, batch=(3,))
    subspaces = check_subspaces(weights, phi, 2, 0.6, "square")
    for i in range(3):
        alone = invariant_subspaces(weights, None, phi[i], 2)
        angles = subspace_angles(alone[0][1][:, 4:], subspaces[0][1][i, :, 4:])
        assert angles.max() < 1e-10


@pytest.mark.parametrize("given_rank", [2, 3, 5])
def test_rank_may_be_too_large_in_the_square_case(given_rank):
    weights, phi = start("square", 12, 2, 3, 0.7), target("square", 12, 2)
    check_subspaces(weights, phi, given_rank, 0.7, "square")
    options = {"lr": 0.05, "steps": 60}
    full = gradient_descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, given_rank, **options)
    close(reduced.losses, full.losses, 1e-12)
    for layer in range(3):
        close(reduced.weights()[layer], full.final[layer], 1e-12)
    zero = torch.zeros_like(phi)
    assert len(check_subspaces(weights, zero, given_rank, 0.7, "square")) == 3


@either_case
@pytest.mark.parametrize("nearly", [0.0, 1e-13])
def test_target_in_line_with_the_start(case, nearly):
    """The conditions coincide, so that fewer than 2r directions move."""
    d, rank, scale = 12, 2, 0.7
    weights = start(case, d, rank, 3, scale)
    product = end_to_end(weights)
    phi = 4 * product
    if case == "square":
        right = basis(3, d, rank)
        phi = 4 * product @ right @ right.mT
    phi = phi + nearly * torch.linalg.norm(phi) * target(case, d, rank)
    if case == "square" and nearly:
        left, values, right = torch.linalg.svd(phi)
        phi = left[:, :rank] * values[:rank] @ right[:rank]
    subspaces = check_subspaces(weights, phi, rank, scale, case)
    options = {"lr": 0.05, "steps": 60, "weight_decay": 0.1}
    full = gradient_descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, rank, **options)
    rho = bulk_singular_value(scale, 3, case=case, **options)
    close(reduced.losses, full.losses, 1e-11)
    for layer in range(covered(case, 3)):
        U, V = (vectors[:, 2 * rank :] for vectors in subspaces[layer])
        close(full.final[layer] @ V, rho[-1] * U, 1e-11)
        near = (torch.linalg.svdvals(full.final[layer]) - rho[-1]).abs() < 1e-9
        assert near.sum() == d - rank  # more than d - 2r


@either_case
def test_null_space_of_the_first_gradient(case):
    """The recipe of the gradient at the start is right in the wide case only."""
    weights, phi = start(case, scale=0.5), target(case)
    first = weights[0].clone().requires_grad_()
    loss = (weights[2] @ weights[1] @ first - phi).square().sum() / 2
    (gradient,) = torch.autograd.grad(loss, first)
    conditions = torch.cat([gradient, gradient.mT @ weights[0]])
    _, values, right = torch.linalg.svd(conditions)
    rank = int((values > 1e-10 * values[0]).sum())
    if case == "square":  # all of the orthogonal start is in the gradient
        assert torch.linalg.matrix_rank(gradient) == D
        assert rank == D
        return
    assert torch.linalg.matrix_rank(gradient) == R
    assert rank == 2 * R
    frozen = invariant_subspaces(weights, None, phi, R)[0][1][:, 2 * R :]
    assert subspace_angles(right[rank:].mT, frozen).max() < 1e-10


@either_case
@pytest.mark.parametrize("record_every", [1, 10, [0, 3, 77], []])
def test_reduced_records(case, record_every):
    weights, phi = start(case, 12, 2, 3, 0.6), target(case, 12, 2)
    options = {"lr": 0.05, "steps": 100, "weight_decay": 0.01, "record_every": record_every}
    full = gradient_descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, 2, **options)
    assert torch.equal(reduced.cores.steps, full.steps)
    assert len(reduced.bulk) == len(reduced.losses) == len(full.steps)
    close(reduced.losses, full.losses, 1e-12)
    for index in (0, len(full.steps) // 2, len(full.steps) - 1, -1):
        for found, expected in zip(reduced.weights(index), full.weights(index), strict=True):
            close(found, expected, 1e-12)


@either_case
def test_reduced_ends_when_its_cores_are_done(case):
    weights, phi = start(case, 12, 2, 3, 0.5), target(case, 12, 2)
    options = {"lr": 0.05, "record_every": 7}
    every = reduced_gradient_descent(weights, None, phi, 2, lr=0.05, steps=500)
    tol = 1e-3
    first = int((every.cores.losses <= tol).int().argmax())
    reduced = reduced_gradient_descent(weights, None, phi, 2, steps=500, tol=tol, **options)
    assert 0 < first < 500
    assert reduced.cores.steps[-1] == first == reduced.cores.reached
    assert len(reduced.bulk) == len(reduced.losses) == len(reduced.cores.steps)
    close(reduced.losses[-1], every.losses[first], 1e-13)
    close(reduced.bulk[-1], every.bulk[first], 1e-13)
    for found, expected in zip(reduced.weights(), every.weights(first), strict=True):
        close(found, expected, 1e-12)


@either_case
def test_large_network(case):
    weights, phi = start(case, 300, scale=0.3), target(case, 300)
    options = {"lr": 0.05, "steps": 60, "record_every": [0, 30]}
    full = gradient_descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, R, **options)
    close(reduced.losses, full.losses, 1e-11)
    for index in range(3):
        for found, expected in zip(reduced.weights(index), full.weights(index), strict=True):
            assert (found - expected).abs().max() < 1e-11


def test_reduced_that_diverges_names_the_rate():
    weights, phi = start("square", 12, 2), target("square", 12, 2)
    X = torch.eye(12, dtype=F64)
    for reduction in ("sum", "mean"):
        with pytest.raises(FloatingPointError, match="lr=7777"):
            reduced_gradient_descent(weights, X, phi, 2, lr=7777, steps=200, reduction=reduction)


@either_case
def test_single_precision(case):
    weights, phi = start(case, 12, 2, 3, 0.6), target(case, 12, 2)
    double = reduced_gradient_descent(weights, None, phi, 2, lr=0.05, steps=50)
    singles = [weight.float() for weight in weights]
    single = reduced_gradient_descent(singles, None, phi.float(), 2, lr=0.05, steps=50)
    assert {single.losses.dtype, single.weights()[0].dtype, single.bulk.dtype} == {torch.float32}
    close(single.losses.double(), double.losses, 1e-4)
    for found, expected in zip(single.weights(), double.weights(), strict=True):
        close(found.double(), expected, 1e-4)


def broken(change):
    """Change the square setting d = 8, r = 2, L = 3 so that it no longer fits."""
    weights, X, Y, rank = start("square", 8, 2), torch.eye(8, dtype=F64), target("square", 8, 2), 2
    wide = start("wide", 8, 2), X, target("wide", 8, 2)
    return {
        "inputs not whitened": (weights, 2 * X, Y, rank),
        "few inputs": (weights, X[:, :7], Y[:, :7], rank),
        "inputs not orthogonal": (weights, basis(0, 20, 8).mT + 1e-6, Y @ basis(0, 20, 8).mT, rank),
        "narrow layer": (init_weights([8, 7, 8], dtype=F64), X, Y, rank),
        "wide layer inside": (init_weights([8, 9, 8], dtype=F64), X, Y, rank),
        "more outputs": (init_weights([8, 8, 9], dtype=F64), X, normal(0, 9, 8), rank),
        "rank 0": (weights, X, Y, 0),
        "rank negative": (weights, X, Y, -1),
        "no bulk": (weights, X, Y, 4),
        "bulk below 0": (weights, X, Y, 5),
        "rank too small": (weights, X, Y, 1),
        "rank below d_y": (*wide, 1),
        "rank above d_y": (*wide, 3),
        "normal start": ([*weights[:2], normal(0, 8, 8)], X, Y, rank),
        "first layer normal": ([normal(0, 8, 8), *weights[1:]], X, Y, rank),
        "wide layer normal": ([*wide[0][:2], normal(0, 2, 8)], *wide[1:], 2),
        "two scales": ([weights[0], 1.001 * weights[1], weights[2]], X, Y, rank),
        "other scale of a wide layer": ([*wide[0][:2], 0.9 * wide[0][2]], *wide[1:], 2),
        "one network of two": ([torch.stack([w, 1.1 * w]) for w in weights], X, Y, rank),
        "zero": ([0 * weight for weight in weights], X, Y, rank),
        "not a number": ([math.nan * weight for weight in weights], X, Y, rank),
        "not chaining": ([weights[0], normal(0, 8, 7), weights[2]], X, Y, rank),
        "targets misfit": (weights, X, Y[:7], rank),
    }[change]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("inputs not whitened", "whitened"),
        ("few inputs", "whitened"),
        ("inputs not orthogonal", "whitened"),
        ("narrow layer", "d x d"),
        ("wide layer inside", "d x d"),
        ("more outputs", "d x d"),
        ("rank 0", "m = d - 2 rank"),
        ("rank negative", "m = d - 2 rank"),
        ("no bulk", "m = d - 2 rank"),
        ("bulk below 0", "m = d - 2 rank"),
        ("rank too small", "less than the rank"),
        ("rank below d_y", "rank must be d_y"),
        ("rank above d_y", "rank must be d_y"),
        ("normal start", "W3 must start"),
        ("first layer normal", "W1 must start"),
        ("wide layer normal", "W3 must start"),
        ("two scales", "W2 must start"),
        ("other scale of a wide layer", "W3 must start"),
        ("one network of two", "must start"),
        ("zero", "start|scale"),
        ("not a number", "start|scale|finite"),
        ("not chaining", "chain"),
        ("targets misfit", "columns"),
    ],
)
def test_outside_the_setting(change, message):
    weights, X, Y, rank = broken(change)
    with pytest.raises(ValueError, match=message):
        invariant_subspaces(weights, X, Y, rank)
    with pytest.raises(ValueError, match=message):
        reduced_gradient_descent(weights, X, Y, rank, lr=0.1, steps=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -0.1}, "lr|learning rate"),
        ({"steps": -1}, "steps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"momentum": 1.0}, "momentum"),
        ({"reduction": "max"}, "reduction"),
        ({"reduction": "mean"}, "mean"),
        ({"record_every": 0}, "record_every"),
        ({"record_every": [9]}, "steps to record"),
    ],
)
def test_no_such_reduced_descent(changes, message):
    weights, phi = start("square", 8, 2), target("square", 8, 2)
    with pytest.raises(ValueError, match=message):
        reduced_gradient_descent(weights, None, phi, 2, **{"lr": 0.1, "steps": 5} | changes)


# --- angles -----------------------------------------------------------------------------------


@examples(40)
@given(seed=SEEDS, d=st.integers(1, 12), data=st.data())
def test_angles_agree_with_scipy(seed, d, data):
    p, q = data.draw(st.integers(1, d)), data.draw(st.integers(1, d))
    A, B = normal(seed, d, p), normal(seed + 1, d, q)
    angles = subspace_angles(A, B)
    assert angles.shape == (min(p, q),)
    expected = np.sort(scipy.linalg.subspace_angles(A.numpy(), B.numpy()))
    np.testing.assert_allclose(angles, expected, rtol=0, atol=1e-7)  # scipy: sqrt(eps) near 0
    assert (angles.diff() >= 0).all()
    assert angles.min() >= 0
    assert angles.max() <= math.pi / 2 + 1e-15
    close(subspace_angles(B, A), angles, 1e-10)
    mixed = subspace_angles(A @ normal(seed + 2, p, p), B @ basis(seed + 3, q, q))
    close(mixed, angles, 1e-6)


@pytest.mark.parametrize(("p", "q"), [(3, 3), (3, 4), (4, 3)])
def test_small_and_large_angles_are_precise(p, q):
    expected = torch.tensor([1e-12, 1e-6, math.pi / 2 - 1e-12], dtype=F64)
    frame, identity = basis(0, 12, 12), torch.eye(12, dtype=F64)
    A = identity[:, :3]
    B = A * expected.cos() + identity[:, 3:6] * expected.sin()
    A = torch.cat([A, identity[:, 6:7]], 1)[:, :p]
    B = torch.cat([B, identity[:, 7:8]], 1)[:, :q]
    found = subspace_angles(frame @ A @ basis(1, p, p), frame @ B @ basis(2, q, q))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    close(subspace_angles(A, A @ normal(3, p, p)), torch.zeros(p, dtype=F64), 1e-14)


def test_angles_in_batches():
    A, B = normal(0, 2, 3, 7, 4), normal(1, 3, 7, 2)
    angles = subspace_angles(A, B)
    assert angles.shape == (2, 3, 2)
    for i in range(2):
        for j in range(3):
            close(angles[i, j], subspace_angles(A[i, j], B[j]), 1e-12)
    assert subspace_angles(A.float(), B.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        (normal(0, 4, 2), normal(1, 5, 2), "length"),
        (normal(0, 4, 5), normal(1, 4, 2), "A .* independent"),
        (normal(0, 4, 2), normal(1, 4, 5), "B .* independent"),
        (torch.ones(4, 2, dtype=F64), normal(1, 4, 2), "A .* independent"),
        (normal(1, 4, 2), torch.zeros(4, 1, dtype=F64), "B .* independent"),
        (normal(0, 4, 0), normal(1, 4, 2), "A .* independent"),
        (torch.stack([normal(0, 4, 2), torch.ones(4, 2)]), normal(1, 4, 2), "A .* independent"),
    ],
)
def test_no_such_angles(A, B, message):
    with pytest.raises(ValueError, match=message):
        subspace_angles(A, B)


# --- trajectories -----------------------------------------------------------------------------


def check_reconstruction(matrices, path, tolerance=1e-11):
    close(path.left * path.values[:, None] @ path.right.mT, matrices, tolerance)
    for vectors in (path.left, path.right):
        gram = vectors.mT @ vectors
        close(gram, torch.eye(gram.shape[-1], dtype=F64).expand_as(gram), tolerance)


def moving(seed, times, m, n, offset=0.0123):
    """Rotate singular vectors slowly while their values cross."""
    p = min(m, n)
    rate = torch.linspace(0, 1, times, dtype=F64)
    turns = []
    for k, size in enumerate((m, n)):
        skew = normal(seed + k, size, size)
        skew = 0.3 * (skew - skew.mT)
        turns.append(torch.linalg.matrix_exp(rate[:, None, None] * skew)[..., :p])
    first = torch.linspace(1, 3, p, dtype=F64)
    values = first * (1 - rate[:, None]) + first.flip(0) * rate[:, None]
    values = values + offset * torch.arange(p, dtype=F64)
    return turns[0] * values[:, None] @ turns[1].mT, turns, values


@pytest.mark.parametrize(("m", "n"), [(5, 5), (7, 4), (4, 7), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0123, 1e-6), (0.01, 1e-2)])
def test_crossing_values_are_followed(seed, m, n, offset, tolerance):
    """All cross at once: between two times, or (less precise by a step) at one of them."""
    matrices, (left, right), values = moving(seed, 401, m, n, offset)
    copy = matrices.clone()
    path = singular_trajectories(matrices)
    assert torch.equal(matrices, copy)
    assert path.values.shape == (401, min(m, n))
    check_reconstruction(matrices, path)
    assert (path.values[-1].diff() <= 0).all()
    order = values[-1].argsort(descending=True)
    close(path.values, values[:, order], 1e-10)
    crossings = (values.argsort(-1) != values[-1].argsort()).any()
    assert crossings == (min(m, n) > 1)
    for found, expected in ((path.left, left[..., order]), (path.right, right[..., order])):
        signs = (found[-1] * expected[-1]).sum(0)
        close(found, expected * signs.sign(), tolerance)  # one sign, at all times
    for side, expected in (("left", left), ("right", right)):
        cosines = (expected[..., order] * expected[0][..., order]).sum(1).clamp(-1, 1)
        close(path.angles(side), torch.rad2deg(cosines.acos()), 100 * tolerance)


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_equal_values_at_the_start_take_the_basis_that_follows(noise):
    """From a multiple of an orthogonal matrix three values grow; the rest does not turn."""
    left, right = basis(0, 12, 12), basis(1, 12, 12)
    growth = torch.linspace(0, 1, 30, dtype=F64)
    values = torch.ones(30, 12, dtype=F64)
    values[:, :3] += growth[:, None] * torch.tensor([3.0, 2.0, 1.0], dtype=F64)
    matrices = 0.3 * (left * values[:, None] @ right.mT) + noise * normal(2, 30, 12, 12)
    path = singular_trajectories(matrices)
    check_reconstruction(matrices, path, 1e-9)
    close(path.values, 0.3 * values, 1e-9)
    for side in ("left", "right"):
        assert path.angles(side).max() < 1e-6


@either_case
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_bulk_vectors_stay_while_others_turn(case, scale):
    weights, phi = start(case, scale=scale), target(case)
    full = gradient_descent(weights, None, phi, lr=0.05, steps=STEPS, weight_decay=0.02)
    rho = bulk_singular_value(scale, 3, 0.05, 0.02, STEPS, case)
    for layer in range(1, covered(case, 3) + 1):
        matrices = full[f"W{layer}"][::5]
        path = singular_trajectories(matrices)
        check_reconstruction(matrices, path)
        bulk = ((path.values - rho[::5, None]).abs() < 1e-9).all(0)
        assert bulk.sum() == D - 2 * R
        for side in ("left", "right"):
            angles = path.angles(side)
            assert angles[0].abs().max() == 0
            assert angles[:, bulk].max() < 1e-6
            assert angles[-1, ~bulk].max() > 1


@pytest.mark.parametrize(("m", "n"), [(5, 5), (7, 4), (4, 7)])
@pytest.mark.parametrize("zeros", [1, 2])
def test_vectors_of_zero_are_followed_too(m, n, zeros):
    """Where values vanish, left and right vectors have each their own freedom."""
    _, (left, right), _ = moving(0, 60, m, n)
    p = min(m, n)
    values = torch.linspace(3, 1, p, dtype=F64)
    values[p - zeros :] = 0
    matrices = left * values @ right.mT
    path = singular_trajectories(matrices)
    check_reconstruction(matrices, path)
    close(path.values, values.expand(60, p), 1e-12)
    for vectors in (path.left, path.right):
        if vectors.shape[1] == p:  # else the vectors of zero may leave their span
            turn = (vectors[1:] - vectors[:-1]).norm(dim=1)
            assert turn.max() < 0.1  # a flip is 2


def test_angles_of_a_flip():
    """A vector may come to stand opposite to where it was."""
    t = torch.linspace(0, math.pi, 50, dtype=F64)
    rotation = torch.stack([t.cos(), -t.sin(), t.sin(), t.cos()], -1).view(50, 2, 2)
    path = singular_trajectories(rotation * torch.tensor([2.0, 1.0], dtype=F64))
    close(path.angles("left"), torch.rad2deg(t)[:, None].expand(50, 2), 1e-6)
    close(path.angles("right"), torch.zeros(50, 2, dtype=F64), 1e-6)
    with pytest.raises(ValueError, match="side"):
        path.angles("up")


def test_closest_basis_is_so_on_both_sides():
    """Where only the left vectors turn, the start shares the turn between left and right."""
    turn = torch.tensor([[0.96, -0.28], [0.28, 0.96]], dtype=F64)
    later = turn * torch.tensor([2.0, 1.0], dtype=F64)
    path = singular_trajectories(torch.stack([torch.eye(2, dtype=F64), later]))
    half = torch.full((2,), math.degrees(math.acos(0.96)) / 2, dtype=F64)
    close(path.angles("left")[1], half)
    close(path.angles("right")[1], half)


def test_tolerance_says_which_values_are_equal():
    matrices = torch.stack([torch.diag(torch.tensor([1 + 1e-6, 1.0], dtype=F64))] * 2)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=F64)
    matrices[1] = turn @ torch.diag(torch.tensor([2.0, 1.0], dtype=F64)) @ turn.mT
    fine = singular_trajectories(matrices)
    assert fine.angles("left")[1].min() > 30
    check_reconstruction(matrices, fine)
    coarse = singular_trajectories(matrices, rtol=1e-5)
    assert coarse.angles("left").max() < 1e-3


def test_one_time_is_an_svd():
    matrix = normal(0, 1, 4, 3)
    path = singular_trajectories(matrix)
    close(path.values, torch.linalg.svdvals(matrix), 1e-13)
    check_reconstruction(matrix, path)
    assert path.angles("left").abs().max() == 0


@pytest.mark.parametrize(
    "matrices",
    [
        normal(0, 3, 4),
        normal(0, 2, 2, 3, 4),
        normal(0, 0, 3, 4),
        normal(0, 2, 0, 4),
        normal(0, 2, 3, 4) * math.nan,
        normal(0, 2, 3, 4) / 0,
    ],
)
def test_no_such_trajectories(matrices):
    with pytest.raises(ValueError, match="finite"):
        singular_trajectories(matrices)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@either_case
def test_on_a_gpu(case):
    weights, phi = start(case, 12, 2, 3, 0.6, batch=(2,)), target(case, 12, 2, batch=(2,))
    there = [weight.cuda() for weight in weights]
    options = {"lr": 0.05, "steps": 50, "weight_decay": 0.01}
    expected = reduced_gradient_descent(weights, None, phi, 2, **options)
    found = reduced_gradient_descent(there, None, phi.cuda(), 2, **options)
    assert found.losses.is_cuda
    close(found.losses.cpu(), expected.losses, 1e-10)
    for weight, other in zip(found.weights(20), expected.weights(20), strict=True):
        close(weight.cpu(), other, 1e-10)
    full = gradient_descent([weight[0] for weight in there], None, phi[0].cuda(), **options)
    path = singular_trajectories(full["W1"])
    assert path.values.is_cuda
    check_reconstruction(
        full["W1"].cpu(), type(path)(path.values.cpu(), path.left.cpu(), path.right.cpu())
    )
    assert subspace_angles(there[0][0, :, :3], there[1][0, :, :2]).is_cuda
