"""The law of parsimony against descents that know nothing of it, angles and paths of vectors."""

import math
from functools import cache, partial

import pytest
import torch
from helpers import F64, SEEDS, close, columns, examples, normal, source, torch_descent
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    invariant_subspaces,
    reduced_gradient_descent,
    singular_trajectories,
    subspace_angles,
)

descent = partial(gradient_descent, record_weights=True)
D, R, STEPS = 30, 3, 250
either_case = pytest.mark.parametrize("case", ["square", "wide"])


def target(case, d=D, rank=R, seed=1, batch=()):
    """Draw a target whose singular values fall from 2.2 to 1.3."""
    values = torch.linspace(2.2, 1.3, rank, dtype=F64)
    rows = d if case == "square" else rank
    left = columns(seed, *batch, rows, rank)
    return left * values @ columns(seed + 1, *batch, d, rank).mT


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
    found = bulk_singular_value(
        scale, depth, lr=lr, steps=20, weight_decay=weight_decay, momentum=momentum
    )
    assert found.dtype == F64
    close(found, torch.tensor(path, dtype=F64), 1e-13)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_bulk_follows_the_printed_formula(depth, weight_decay):
    options = {"lr": 0.1, "steps": 50, "weight_decay": weight_decay}
    rho = bulk_singular_value(0.8, depth, **options)
    step = rho[:-1] * (1 - 0.1 * weight_decay - 0.1 * rho[:-1] ** (2 * (depth - 1)))
    close(rho[1:], step, 1e-15)
    assert rho[0] == 0.8
    wide = bulk_singular_value(0.8, depth, case="wide", **options)
    close(wide, 0.8 * (1 - 0.1 * weight_decay) ** torch.arange(51, dtype=F64), 1e-14)


def test_bulk_of_the_wide_case_decays_with_momentum():
    weight = torch.tensor(0.7, dtype=F64, requires_grad=True)
    solver = torch.optim.SGD([weight], 0.1, momentum=0.8, weight_decay=0.2)
    path = []
    for _ in range(31):
        path.append(weight.item())
        weight.grad = torch.zeros_like(weight)
        solver.step()
    options = {"lr": 0.1, "weight_decay": 0.2}
    found = bulk_singular_value(0.7, 3, steps=30, momentum=0.8, case="wide", **options)
    close(found, torch.tensor(path, dtype=F64), 1e-14)
    assert bulk_singular_value(0.7, 3, steps=0, **options).tolist() == [0.7]


@examples(100)
@given(
    scale=st.floats(0.1, 1.5),
    depth=st.integers(1, 6),
    weight_decay=st.floats(0, 2),
    momentum=st.floats(0, 0.98),
    case=st.sampled_from(["square", "wide"]),
)
def test_bulk_stays_between_zero_and_its_start_for_steps_that_are_small(
    scale, depth, weight_decay, momentum, case
):
    """The condition of the docstring, which is sharp where the force is linear."""
    curvature = weight_decay + scale ** (2 * depth - 2)
    lr = (1 - momentum**0.5) ** 2 / curvature
    options = {"steps": 500, "weight_decay": weight_decay, "momentum": momentum}
    rho = bulk_singular_value(scale, depth, lr=0.999 * lr, case=case, **options)
    assert (rho > -1e-12).all() and (rho <= scale).all()
    if case == "square" and depth == 1 and 0 < momentum < 0.8:
        assert bulk_singular_value(scale, 1, lr=1.5 * lr, **options).min() < 0


def test_momentum_can_turn_the_sign_of_the_bulk_where_plain_descent_does_not():
    settings = {"lr": 0.5, "steps": 200}
    assert bulk_singular_value(1.0, 2, **settings).min() > 0
    assert bulk_singular_value(1.0, 2, momentum=0.9, **settings).min() < -0.8
    settings = {"lr": 1.0, "steps": 20}
    assert bulk_singular_value(1.0, 3, **settings).min() >= 0
    with pytest.raises(FloatingPointError, match=r"by step \d+ with lr=1\.0"):
        bulk_singular_value(1.0, 3, momentum=0.9, **settings)


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
    arguments = {"scale": 0.5, "depth": 3, "lr": 0.1, "steps": 5}
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} must be"):
        bulk_singular_value(**arguments | changes)


@pytest.mark.parametrize("lr", [1.0, 1e300])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_bulk_that_diverges(lr, depth):
    """Whether a power overflows, which Python reports, or a product, which it does not."""
    with pytest.raises(FloatingPointError, match=r"diverged by step .* try a smaller one"):
        bulk_singular_value(3.0, depth, lr=3 * lr, steps=2000)


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
    full = descent(weights, None, phi, steps=STEPS, **options)
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
    close(reduced["bulk"], rho, 1e-14)
    close(reduced["loss"], full["loss"], 1e-10)
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
    close(reduced["loss"], losses, 1e-10)
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
    X = columns(5, samples, D).mT
    weights, phi = start(case, scale=0.5), target(case)
    noise = normal(6, len(phi), samples)
    Y = phi @ X + 0.1 * (noise - noise @ X.mT @ X)  # the noise is out of reach
    entries = Y.numel() if reduction == "mean" else 1
    options = {"lr": (0.02 if momentum else 0.05) * entries, "weight_decay": 0.05 / entries}
    options |= {"steps": STEPS, "momentum": momentum, "reduction": reduction}
    full = descent(weights, X, Y, **options)
    reduced = reduced_gradient_descent(weights, X, Y, R, **options)
    close(reduced["loss"], full["loss"], 1e-10)
    direct = (end_to_end(full.final) @ X - Y).square().sum() / 2 / entries
    close(reduced["loss"][-1], direct, 1e-10)
    rho = bulk_singular_value(
        *(0.5, 3),
        lr=options["lr"] / entries,
        steps=STEPS,
        weight_decay=0.05,
        momentum=momentum,
        case=case,
    )
    close(reduced["bulk"], rho, 1e-13)
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


@either_case
def test_a_reduced_path_moves_to_another_device(case):
    *_, reduced, _ = descend(case, 3, 1.0, 0.0, 0.0)
    moved = reduced.to("meta")
    assert moved["loss"].device.type == moved.weights()[0].device.type == "meta"
    assert moved.cores.final[0].device.type == "meta"


def test_what_reaches_the_outputs_is_not_frozen_in_the_wide_case():
    """With fewer target directions than outputs, the square case's conditions hold for more."""
    d, d_y, scale = 14, 4, 0.8
    weights = start("wide", d, d_y, 3, scale)
    phi = columns(1, d_y, 2) @ columns(2, d, 2).mT
    subspaces = check_subspaces(weights, phi, d_y, scale, "wide")
    full = descent(weights, None, phi, lr=0.05, steps=STEPS)
    frozen = subspaces[0][1][:, 2 * d_y :]
    close(full.final[0] @ frozen, weights[0] @ frozen, 1e-12)
    product = end_to_end(weights)
    assert (product @ frozen).abs().max() < 1e-12
    conditions = torch.cat([phi, phi.mT @ product])
    fewer = torch.linalg.svd(conditions).Vh[4:].mT  # ten dimensions
    assert (conditions @ fewer).abs().max() < 1e-12
    lengths = torch.linalg.svdvals(full.final[0] @ fewer)
    assert ((lengths - scale).abs() < 1e-9).sum() == 8  # but two shrink
    assert lengths[-1] < 0.9 * scale


@either_case
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_inputs_that_are_whitened_up_to_a_factor(case, reduction):
    """X X^T = c I is the scale of Phi, of the rate and of the weight decay."""
    X = 3 * columns(5, 50, D).mT
    weights, phi = start(case, scale=0.5), target(case)
    noise = normal(6, len(phi), 50)
    Y = phi @ X + noise - noise @ X.mT @ X / 9  # the noise is out of reach
    entries = Y.numel() if reduction == "mean" else 1
    options = {"lr": 0.004 * entries, "weight_decay": 0.2 / entries, "steps": 100}
    reduced = reduced_gradient_descent(weights, X, Y, R, reduction=reduction, **options)
    layers = [weight.clone().requires_grad_() for weight in weights]
    solver = torch.optim.SGD(layers, options["lr"], weight_decay=options["weight_decay"])
    for step in range(101):
        solver.zero_grad()
        loss = (end_to_end(layers) @ X - Y).square().sum() / 2 / entries
        close(reduced["loss"][step], loss.detach(), 1e-10)
        if step < 100:
            loss.backward()
            solver.step()
    for found, layer in zip(reduced.weights(), layers, strict=True):
        close(found, layer.detach(), 1e-10)
    rho = bulk_singular_value(*(0.5, 3), lr=0.036, steps=100, weight_decay=0.2 / 9, case=case)
    close(reduced["bulk"], rho, 1e-13)


@either_case
def test_the_rank_is_found_where_it_is_not_given(case):
    weights, phi = start(case), target(case)
    for found, expected in zip(
        invariant_subspaces(weights, None, phi),
        invariant_subspaces(weights, None, phi, R),
        strict=True,
    ):
        for matrix, other in zip(found, expected, strict=True):
            close(matrix, other, 1e-12)
    outputs = start("wide", rank=5)  # and a target of rank 3
    subspaces = invariant_subspaces(outputs, None, columns(1, 5, R) @ columns(2, D, R).mT)
    assert subspaces[-1][0].shape == (5, 5)
    assert (end_to_end(outputs) @ subspaces[0][1][:, 10:]).abs().max() < 1e-12
    assert invariant_subspaces(start("square"), None, torch.zeros(D, D, dtype=F64))


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
        assert reduced["loss"].shape == (41, 3)
        for i in range(3):
            one = [weight[i] for weight in weights]
            matrix = phi[i] if phi.ndim == 3 else phi
            expected, losses = torch_descent(
                one, torch.eye(one[0].shape[-1], dtype=F64), matrix, **options
            )
            close(reduced["loss"][:, i], losses)
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
    full = descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, given_rank, **options)
    close(reduced["loss"], full["loss"], 1e-12)
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
        right = columns(3, d, rank)
        phi = 4 * product @ right @ right.mT
    phi = phi + nearly * torch.linalg.norm(phi) * target(case, d, rank)
    if case == "square" and nearly:
        left, values, right = torch.linalg.svd(phi)
        phi = left[:, :rank] * values[:rank] @ right[:rank]
    subspaces = check_subspaces(weights, phi, rank, scale, case)
    options = {"lr": 0.05, "steps": 60, "weight_decay": 0.1}
    full = descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, rank, **options)
    rho = bulk_singular_value(scale, 3, case=case, **options)
    close(reduced["loss"], full["loss"], 1e-11)
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
@pytest.mark.parametrize("every", [1, 10, [0, 3, 77], []])
def test_reduced_records(case, every):
    weights, phi = start(case, 12, 2, 3, 0.6), target(case, 12, 2)
    options = {"lr": 0.05, "steps": 100, "weight_decay": 0.01, "every": every}
    full = descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, 2, **options)
    assert torch.equal(reduced.cores.steps, full.steps)
    assert len(reduced["bulk"]) == len(reduced["loss"]) == len(full.steps)
    close(reduced["loss"], full["loss"], 1e-12)
    for index in (0, len(full.steps) // 2, len(full.steps) - 1, -1):
        for found, expected in zip(reduced.weights(index), full.weights(index), strict=True):
            close(found, expected, 1e-12)


@either_case
def test_reduced_ends_when_its_cores_are_done(case):
    weights, phi = start(case, 12, 2, 3, 0.5), target(case, 12, 2)
    options = {"lr": 0.05, "every": 7}
    full = reduced_gradient_descent(weights, None, phi, 2, lr=0.05, steps=500)
    tol = 1e-3
    first = int((full.cores["loss"] <= tol).int().argmax())
    reduced = reduced_gradient_descent(weights, None, phi, 2, steps=500, tol=tol, **options)
    assert 0 < first < 500
    assert reduced.cores.steps[-1] == first == reduced.cores.reached
    assert len(reduced["bulk"]) == len(reduced["loss"]) == len(reduced.cores.steps)
    close(reduced["loss"][-1], full["loss"][first], 1e-13)
    close(reduced["bulk"][-1], full["bulk"][first], 1e-13)
    for found, expected in zip(reduced.weights(), full.weights(first), strict=True):
        close(found, expected, 1e-12)


@either_case
def test_large_network(case):
    weights, phi = start(case, 300, scale=0.3), target(case, 300)
    options = {"lr": 0.05, "steps": 60, "every": [0, 30]}
    full = descent(weights, None, phi, **options)
    reduced = reduced_gradient_descent(weights, None, phi, R, **options)
    close(reduced["loss"], full["loss"], 1e-11)
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
    assert single.weights()[0].dtype == torch.float32
    assert single["loss"].dtype == single["bulk"].dtype == F64  # numbers, as all that is recorded
    close(single["loss"], double["loss"], 1e-4)
    for found, expected in zip(single.weights(), double.weights(), strict=True):
        close(found.double(), expected, 1e-4)


def broken(change):
    """Change the square setting d = 8, r = 2, L = 3 so that it no longer fits."""
    weights, X, Y, rank = start("square", 8, 2), torch.eye(8, dtype=F64), target("square", 8, 2), 2
    wide = start("wide", 8, 2), X, target("wide", 8, 2)
    return {
        "inputs not whitened": (weights, X.cumsum(0), Y, rank),
        "few inputs": (weights, X[:, :7], Y[:, :7], rank),
        "inputs not orthogonal": (
            weights,
            columns(0, 20, 8).mT + 1e-6,
            Y @ columns(0, 20, 8).mT,
            rank,
        ),
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
        ("inputs not whitened", "X must be whitened"),
        ("few inputs", "X must be whitened"),
        ("inputs not orthogonal", "X must be whitened"),
        ("narrow layer", "weights must be d x d"),
        ("wide layer inside", "weights must be d x d"),
        ("more outputs", "weights must be d x d"),
        ("rank 0", "rank must be an integer >= 1, got 0"),
        ("rank negative", "rank must be an integer >= 1, got -1"),
        ("no bulk", "rank must be less than half of the width, 8, got 4"),
        ("bulk below 0", "rank must be less than half of the width, 8, got 5"),
        ("rank too small", "rank must be at least the rank of Y X"),
        ("rank below d_y", "rank must be the number of outputs, 2"),
        ("rank above d_y", "rank must be the number of outputs, 2"),
        ("normal start", "weights must start .* but W3 is not"),
        ("first layer normal", "weights must start .* but W1 is not"),
        ("wide layer normal", "weights must start .* but W3 is not"),
        ("two scales", "weights must start .* but W2 is not"),
        ("other scale of a wide layer", "weights must start .* but W3 is not"),
        ("one network of two", "weights must start .* but W1 is not"),
        ("zero", "weights must be other than zero"),
        ("not a number", r"weights\[0\] must be finite"),
        ("not chaining", "weights must have widths that chain"),
        ("targets misfit", "Y must be"),
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
        ({"lr": -0.1}, "lr must be a finite number >= 0"),
        ({"steps": -1}, "steps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"momentum": 1.0}, "momentum"),
        ({"reduction": "max"}, "reduction"),
        ({"reduction": "mean"}, 'reduction must be "sum" without X'),
        ({"every": 0}, "every"),
        ({"every": [9]}, "every must be steps in"),
    ],
)
def test_no_such_reduced_descent(changes, message):
    weights, phi = start("square", 8, 2), target("square", 8, 2)
    with pytest.raises(ValueError, match=message):
        reduced_gradient_descent(weights, None, phi, 2, **{"lr": 0.1, "steps": 5} | changes)


@either_case
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_bulk_vectors_stay_while_others_turn(case, scale):
    weights, phi = start(case, scale=scale), target(case)
    full = descent(weights, None, phi, lr=0.05, steps=STEPS, weight_decay=0.02)
    rho = bulk_singular_value(scale, 3, lr=0.05, steps=STEPS, weight_decay=0.02, case=case)
    for layer in range(1, covered(case, 3) + 1):
        matrices = full[f"W{layer}"][::5]
        path = singular_trajectories(matrices)
        bulk = ((path.values - rho[::5, None]).abs() < 1e-9).all(0)
        assert bulk.sum() == D - 2 * R
        for side in ("left", "right"):
            angles = path.angles(side)
            assert angles[0].abs().max() == 0
            assert angles[:, bulk].max() < 1e-6
            assert angles[-1, ~bulk].max() > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@either_case
def test_on_a_gpu(case):
    weights, phi = start(case, 12, 2, 3, 0.6, batch=(2,)), target(case, 12, 2, batch=(2,))
    there = [weight.cuda() for weight in weights]
    options = {"lr": 0.05, "steps": 50, "weight_decay": 0.01}
    expected = reduced_gradient_descent(weights, None, phi, 2, **options)
    found = reduced_gradient_descent(there, None, phi.cuda(), 2, **options)
    assert found["loss"].is_cuda
    close(found["loss"].cpu(), expected["loss"], 1e-10)
    for weight, other in zip(found.weights(20), expected.weights(20), strict=True):
        close(weight.cpu(), other, 1e-10)
    X = columns(3, 20, 12).mT  # one network: its numbers are recorded on the CPU
    alone = [weight[0] for weight in weights], X, phi[0] @ X, 2
    expected = reduced_gradient_descent(*alone, **options)
    alone = [weight.cuda() for weight in alone[0]], X.cuda(), alone[2].cuda(), 2
    found = reduced_gradient_descent(*alone, **options)
    close(found["loss"], expected["loss"], 1e-10)
    close(found.weights()[0].cpu(), expected.weights()[0], 1e-10)
