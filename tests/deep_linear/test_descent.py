"""Gradient descent by hand beside torch's own, in batches, with its records and ends."""

import math
from functools import partial

import pytest
import torch
from helpers import (
    F64,
    SEEDS,
    close,
    examples,
    normal,
    product,
    some_weights,
    torch_descent,
    true_loss,
    whitened,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from lecturelib.deep_linear import (
    Trajectory,
    end_to_end,
    gradient_descent,
    init_weights,
    left_products,
    moving_directions,
    right_products,
)

WIDTHS = st.lists(st.integers(1, 6), min_size=2, max_size=5)
BATCH = (2, 3)

descent = partial(gradient_descent, record_weights=True)


def assert_same_path(path, weights, losses, tolerance=1e-11):
    close(path["loss"], losses, tolerance)
    for layer, expected in enumerate(weights, start=1):
        close(path[f"W{layer}"], expected, tolerance)
        close(path.final[layer - 1], expected[-1], tolerance)


# --- descent ----------------------------------------------------------------------------------


@examples(60)
@given(
    seed=SEEDS,
    widths=WIDTHS,
    samples=st.integers(1, 12),
    white=st.booleans(),
    reduction=st.sampled_from(["sum", "mean"]),
    weight_decay=st.sampled_from([0.0, 0.3]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_same_steps_as_torch(seed, widths, samples, white, reduction, weight_decay, momentum):
    weights = some_weights(seed, widths)
    if white:
        X = whitened(seed + 1, widths[0], max(samples, widths[0]))
    else:
        X = normal(seed + 1, widths[0], samples) / samples**0.5
    Y = normal(seed + 2, widths[-1], X.shape[1])
    options = {"weight_decay": weight_decay, "momentum": momentum, "reduction": reduction}
    options |= {"lr": 0.02, "steps": 12}
    assert_same_path(descent(weights, X, Y, **options), *torch_descent(weights, X, Y, **options))


@examples(20)
@given(seed=SEEDS, widths=WIDTHS, momentum=st.sampled_from([0.0, 0.8]))
def test_targets_alone_are_whitened_inputs(seed, widths, momentum):
    weights, phi = some_weights(seed, widths), normal(seed + 1, widths[-1], widths[0])
    options = {"lr": 0.03, "steps": 10, "momentum": momentum, "weight_decay": 0.1}
    expected = torch_descent(weights, torch.eye(widths[0], dtype=F64), phi, **options)
    assert_same_path(descent(weights, None, phi, **options), *expected)
    X = whitened(seed + 2, widths[0], 8)
    path = descent(weights, X, phi @ X, **options)  # a target that can be reached
    assert_same_path(path, *expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (5, 3, 6, 2), (4, 2), (3, 5, 4)])
@pytest.mark.parametrize("samples", [3, 5, 9])
def test_batch_is_many_networks(widths, samples, momentum):
    weights = some_weights(0, widths, batch_shape=BATCH)
    X, Y = normal(1, *BATCH, widths[0], samples) / 2, normal(2, *BATCH, widths[-1], samples)
    rates = 0.02 * normal(3, *BATCH).abs()
    options = {"steps": 8, "weight_decay": 0.2, "momentum": momentum, "reduction": "mean"}
    together = descent(weights, X, Y, lr=rates, **options)
    shared = descent(weights, X[0, 0], Y[0, 0], lr=0.01, **options)
    per_column = descent(weights, X[0, 0], Y, lr=rates[0], **options)
    assert together["loss"].shape == shared["loss"].shape == (9, *BATCH)
    for i in range(BATCH[0]):
        for j in range(BATCH[1]):
            own = [weight[i, j] for weight in weights]
            cases = [
                (together, X[i, j], Y[i, j], rates[i, j]),
                (shared, X[0, 0], Y[0, 0], 0.01),
                (per_column, X[0, 0], Y[i, j], rates[0, j]),
            ]
            for path, inputs, targets, rate in cases:
                expected, losses = torch_descent(own, inputs, targets, lr=float(rate), **options)
                close(path["loss"][:, i, j], losses)
                for layer, weight in enumerate(expected, start=1):
                    close(path[f"W{layer}"][:, i, j], weight)


@pytest.mark.parametrize("batched", ["weights", "targets", "inputs", "rates", "one layer"])
def test_whatever_is_batched_makes_the_batch(batched):
    """A batch in any argument that may have one is as many networks."""
    weights, X, Y, lr = some_weights(0, (4, 3, 2)), normal(1, 4, 3), normal(2, 2, 3), 0.05
    if batched == "weights":
        weights = some_weights(0, (4, 3, 2), batch_shape=(2,))
    if batched == "one layer":
        weights = [weights[0], normal(3, 2, 2, 3)]
    if batched == "targets":
        Y = normal(2, 2, 2, 3)
    if batched == "inputs":
        X = normal(1, 2, 4, 3)
    if batched == "rates":
        lr = torch.tensor([0.05, 0.01], dtype=F64)
    path = descent(weights, X, Y, lr=lr, steps=5)
    for i in range(2):
        own = [weight[i] if weight.ndim == 3 else weight for weight in weights]
        inputs, targets = (data[i] if data.ndim == 3 else data for data in (X, Y))
        rate = lr[i].item() if isinstance(lr, torch.Tensor) else lr
        expected, losses = torch_descent(own, inputs, targets, lr=rate, steps=5)
        close(path["loss"][:, i], losses)
        close(path["W1"][:, i], expected[0])
        close(path["W2"][:, i], expected[1])


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_rate_per_layer(momentum):
    weights, X, Y = some_weights(0, (4, 3, 5, 2)), normal(1, 4, 3), normal(2, 2, 3)
    options = {"steps": 9, "momentum": momentum, "weight_decay": 0.1}
    expected = torch_descent(weights, X, Y, lr=[0.05, 0.0, 0.02], **options)
    for rates in ([0.05, 0.0, 0.02], (0.05, torch.tensor(0.0), torch.tensor(0.02, dtype=F64))):
        path = descent(weights, X, Y, lr=rates, **options)
        assert_same_path(path, *expected)
        assert torch.equal(path["W2"], weights[1].expand_as(path["W2"]))


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_depths_in_one_batch(momentum, weight_decay):
    deep, phi = some_weights(0, (4, 4, 4, 4)), normal(1, 4, 4)
    identity = torch.eye(4, dtype=F64)
    networks = [deep[:1] + [identity] * 2, [*deep[:2], identity], deep]
    stacked = [torch.stack(layers) for layers in zip(*networks, strict=True)]
    rate = 0.05
    rates = [rate * torch.tensor(on, dtype=F64) for on in ([1, 1, 1], [0, 1, 1], [0, 0, 1])]
    options = {"steps": 20, "momentum": momentum, "weight_decay": weight_decay}
    together = descent(stacked, None, phi, lr=rates, **options)
    for index, depth in enumerate((1, 2, 3)):
        alone = descent(deep[:depth], None, phi, lr=rate, **options)
        close(together["loss"][:, index], alone["loss"])
        for layer in range(1, 4):
            expected = alone[f"W{layer}"] if layer <= depth else identity.expand(21, 4, 4)
            close(together[f"W{layer}"][:, index], expected)


def test_factor_on_the_output():
    """The note on alpha: target Y / alpha, rate alpha^2 eta."""
    alpha, eta = 3.0, 0.004
    weights, X, Y = some_weights(0, (4, 3, 2)), normal(1, 4, 3), normal(2, 2, 3)
    variables = [weight.clone().requires_grad_() for weight in weights]
    for _ in range(10):
        loss = (alpha * product(variables) @ X - Y).square().sum() / 2
        slopes = torch.autograd.grad(loss, variables)
        with torch.no_grad():
            for variable, slope in zip(variables, slopes, strict=True):
                variable -= eta * slope
    path = descent(weights, X, Y / alpha, lr=alpha**2 * eta, steps=10)
    for found, expected in zip(path.final, variables, strict=True):
        close(found, expected.detach())


@pytest.mark.parametrize(
    ("inputs", "reduction"),
    [(kind, mode) for kind in ("few", "many", "white", "white many") for mode in ("sum", "mean")]
    + [("none", "sum")],
)
@pytest.mark.parametrize("seed", range(4))  # a cancellation may be exact by chance
def test_tiny_losses_are_true(inputs, reduction, seed):
    d, weights = 4, some_weights(0, (4, 4, 4), 1.0, "orthogonal")
    X = {
        "few": normal(1, d, 3) / 2,
        "many": normal(1, d, 50) / 50**0.5,
        "white": whitened(1, d, d),
        "white many": whitened(1, d, 50),
        "none": torch.eye(d, dtype=F64),
    }[inputs]
    Y = (end_to_end(weights) + 0.1 * normal(seed, d, d)) @ X
    rate = 0.2 * (Y.numel() if reduction == "mean" else 1)
    given = None if inputs == "none" else X
    path = descent(weights, given, Y, lr=rate, steps=20_000, reduction=reduction, tol=1e-22)
    assert path.reached >= 0
    expected = [
        true_loss([path[f"W{layer}"][t] for layer in (1, 2)], X, Y, reduction)
        for t in range(0, len(path.steps), 7)
    ]
    torch.testing.assert_close(path["loss"][::7], torch.stack(expected), rtol=1e-4, atol=1e-27)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("inputs", [None, normal(9, 3, 5)])
def test_products_from_both_ends_are_the_gradient(depth, inputs):
    weights = [weight.requires_grad_() for weight in some_weights(0, [3] * depth + [2])]
    Y = normal(1, 2, 3 if inputs is None else 5)
    loss = true_loss(weights, torch.eye(3, dtype=F64) if inputs is None else inputs, Y)
    expected = torch.autograd.grad(loss, weights)
    lefts, residual = left_products(weights, inputs, Y)
    close(residual.square().sum() / 2, loss)
    lefts = [*lefts, torch.eye(2, dtype=F64)]
    for left, right, slope in zip(
        lefts, right_products(weights, inputs, residual), expected, strict=True
    ):
        close(left.mT @ right, slope)


def test_directions_that_see_the_target_or_reach_it():
    weights = some_weights(0, (5, 5, 4), 0.7, "orthogonal", batch_shape=(2,))
    left, right = whitened(1, 2, 4).mT, whitened(2, 2, 5).mT
    moving = moving_directions(weights, 0.7, left, right)
    assert moving.shape == (2, 5, 4)
    close(moving[..., :2], right.expand(2, 5, 2), 0)
    close(moving[..., 2:], (end_to_end(weights) / 0.7**2).mT @ left)


def test_a_path_moves_to_another_device():
    path = descent(*small_problem()[:1], None, small_problem()[1], lr=0.1, steps=2)
    moved = path.to("meta")
    assert isinstance(moved, Trajectory)
    everything = [moved.steps, moved.reached, moved["loss"], *moved.final, *moved.weights()]
    assert {tensor.device.type for tensor in everything} == {"meta"}


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_part_of_the_loss_that_no_network_avoids(white, batched):
    X = whitened(0, 3, 40) if white else normal(0, 3, 40) / 40**0.5
    Y = normal(1, 2, 2, 40) if batched else normal(1, 2, 40)
    weights = some_weights(2, (3, 3, 2), batch_shape=(2,) if batched else ())
    path = descent(weights, X, Y, lr=0.1, steps=2000, every=[0])
    best = (Y - Y @ torch.linalg.pinv(X) @ X).square().sum((-2, -1)) / 2
    assert (best > 1).all()
    close(path["loss"][-1], best, 1e-10)
    close(path["loss"][0], (weights[1] @ weights[0] @ X - Y).square().sum((-2, -1)) / 2)


def test_many_samples_cost_what_few_do():
    d, N = 6, 20_000
    weights, X, Y = some_weights(0, (d, d, 3)), normal(1, d, N) / N**0.5, normal(2, 3, N) / N**0.5
    X[0] *= 3
    path = descent(weights, X, Y, lr=0.05, steps=100, momentum=0.5)
    assert_same_path(path, *torch_descent(weights, X, Y, lr=0.05, steps=100, momentum=0.5), 1e-9)

    def work_of_a_step(samples):
        counts = []
        for steps in (10, 20):
            with FlopCounterMode(display=False) as counter:
                descent(weights, X[:, :samples], Y[:, :samples], lr=0.05, steps=steps)
            counts.append(counter.get_total_flops())
        return counts[1] - counts[0]

    assert 0 < work_of_a_step(N) == work_of_a_step(d)


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_few_outputs_make_cheap_steps(depth, batch):
    d, d_y = 50, 2
    weights = some_weights(0, [d] * depth + [d_y], batch_shape=batch)
    counts = []
    for steps in (0, 1):
        with FlopCounterMode(display=False) as counter:
            descent(weights, None, normal(1, d_y, d), lr=1e-3, steps=steps)
        counts.append(counter.get_total_flops() / max(1, math.prod(batch)))
    # Each of about 2 L products takes 2 d^2 d_y; one of two d x d matrices would take 2 d^3.
    assert counts[1] <= 4 * depth * 2 * d**2 * d_y < 2 * d**3 * depth


# --- records and ends -------------------------------------------------------------------------


def small_problem(batch=()):
    return some_weights(0, (3, 4, 2), batch_shape=batch), normal(1, 2, 3)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("batch", [(), (2,), BATCH])
def test_nothing_given_is_changed_and_nothing_recorded_moves(batch, momentum):
    weights, phi = small_problem(batch)
    X, kept = normal(4, 3, 3), [weight.clone() for weight in weights]
    data = X.clone(), phi.clone()
    seen = []

    def first(current):
        seen.append(current[0].clone())
        return current[0]  # the very tensor that moves

    metrics = {"first": first, "rows": lambda weights: weights[-1][..., 0, :]}
    options = {"lr": 0.1, "steps": 5, "momentum": momentum, "weight_decay": 0.1}
    path = gradient_descent(weights, X, phi, metrics=metrics, **options)
    assert all(torch.equal(a, b) for a, b in zip(weights, kept, strict=True))
    assert torch.equal(X, data[0])
    assert torch.equal(phi, data[1])
    assert torch.equal(path["first"], torch.stack(seen))
    assert set(path.values) == {"loss", "first", "rows"}
    assert path["rows"].shape == (6, *batch, 4)
    plain = descent(weights, X, phi, **options)
    assert torch.equal(plain["W1"], path["first"])
    assert torch.equal(plain["W2"][..., 0, :], path["rows"])
    assert torch.equal(plain["loss"], path["loss"])
    close(plain["W1"][0], weights[0].expand(*batch, 4, 3), 0)
    assert all(torch.equal(a, b) for a, b in zip(plain.weights(), plain.final, strict=True))
    assert all(
        torch.equal(a, plain[f"W{layer}"][2]) for layer, a in enumerate(plain.weights(2), start=1)
    )
    close(path.final[0], seen[-1], 0)


def test_function_sees_all_layers_and_may_return_a_number():
    weights, phi = small_problem((2,))
    metrics = {
        "product": lambda weights: weights[1] @ weights[0],
        "count": lambda weights: torch.tensor(len(weights)),
    }
    path = descent(weights, None, phi, lr=0.1, steps=4, metrics=metrics)
    plain = descent(weights, None, phi, lr=0.1, steps=4)
    close(path["product"], plain["W2"] @ plain["W1"])
    assert path["count"].tolist() == [2] * 5
    none = gradient_descent(weights, None, phi, lr=0.1, steps=4)
    assert set(none.values) == {"loss"}
    assert torch.equal(none["loss"], plain["loss"])
    with pytest.raises(KeyError, match="'W1' was not recorded: 'loss' was"):
        none.weights()


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [
        (1, 3, [0, 1, 2, 3]),
        (2, 6, [0, 2, 4, 6]),
        (4, 6, [0, 4, 6]),
        (10, 6, [0, 6]),
        ([0], 6, [0, 6]),
        ([], 6, [6]),
        ([6], 6, [6]),
        ((5, 1, 1), 6, [1, 5, 6]),
        (range(2, 5), 6, [2, 3, 4, 6]),
        (torch.tensor([0, 2]), 6, [0, 2, 6]),
        (1, 0, [0]),
        ([], 0, [0]),
        (50, 230, [0, 50, 100, 150, 200, 230]),
        ([3], 230, [3, 230]),
    ],
)
def test_recorded_steps(every, steps, expected):
    weights, phi = small_problem()
    path = descent(weights, None, phi, lr=0.01, steps=steps, every=every)
    full = descent(weights, None, phi, lr=0.01, steps=steps)
    assert path.steps.dtype == torch.int64
    assert path.steps.tolist() == expected
    assert torch.equal(path["loss"], full["loss"][path.steps])
    assert torch.equal(path["W1"], full["W1"][path.steps])
    assert torch.equal(path.final[1], full["W2"][-1])
    assert path.reached.dtype == torch.int64
    assert path.reached.item() == -1


@pytest.mark.parametrize("every", [1, 7, [0], []])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ends_at_the_first_step_at_which_all_losses_are_low(every, reduction):
    weights = some_weights(0, (3, 3, 3), 1.0, "orthogonal", batch_shape=(4,))
    X = torch.eye(3, dtype=F64)
    Y = (
        end_to_end(weights)
        + normal(1, 4, 3, 3) * torch.tensor([0.01, 0.2, 0.1, 0.3])[:, None, None]
    )
    rate = 0.1 * (9 if reduction == "mean" else 1)
    options = {"lr": rate, "reduction": reduction}
    full = descent(weights, X, Y, steps=400, **options)
    below = full["loss"] <= 1e-4
    first = below.int().argmax(0)
    assert below[-1].all()
    assert len(set(first.tolist())) == 4
    path = descent(weights, X, Y, steps=400, tol=1e-4, every=every, **options)
    assert torch.equal(path.reached, first)
    end = int(first.max())
    assert path.steps[-1] == end < 400
    assert torch.equal(path["loss"][-1], full["loss"][end])
    assert torch.equal(path.final[0], full["W1"][end])
    short = descent(weights, X, Y, steps=end - 1, tol=1e-4, **options)
    assert short.steps[-1] == end - 1
    assert torch.equal(short.reached, torch.where(first < end, first, -1))
    exact = descent(weights, X, Y, steps=400, tol=float(full["loss"][3].max()), **options)
    assert exact.steps[-1] == 3 == exact.reached.max()  # at most, not below


def test_end_where_it_starts():
    weights, phi = small_problem()
    path = descent(weights, None, phi, lr=0.1, steps=9, tol=1e9)
    assert path.steps.tolist() == [0]
    assert path.reached.item() == 0
    close(path["loss"][0], true_loss(weights, torch.eye(3, dtype=F64), phi))
    none = descent(weights, None, phi, lr=0.1, steps=0)
    assert none["W1"].shape == (1, 4, 3)
    assert none["loss"].shape == (1,)
    assert torch.equal(none.final[0], weights[0])
    assert none.final[0].data_ptr() != weights[0].data_ptr()


def test_all_losses_are_low_at_the_end_though_one_has_come_back():
    """With momentum a loss rises again: the end is where all are low at once."""
    weights = [torch.tensor([1.0, 1.0], dtype=F64)[:, None, None]]
    phi = torch.tensor([0.0, 0.9], dtype=F64)[:, None, None]
    lr = torch.tensor([0.5, 0.004], dtype=F64)
    options = {"lr": lr, "momentum": 0.95, "tol": 1e-3}
    path = descent(weights, None, phi, steps=2000, **options)
    assert (path["loss"][-1] <= 1e-3).all()
    first = (path["loss"] <= 1e-3).int().argmax(0)
    assert torch.equal(path.reached, first)


def test_divergence_is_an_error_that_names_rate_and_network():
    weights, phi = some_weights(0, (3, 3, 3), batch_shape=(2,)), normal(1, 3, 3)
    with pytest.raises(FloatingPointError, match=r"step \d+ with lr=50"):
        descent([weight[0] for weight in weights], None, phi, lr=50, steps=200)
    rates = torch.tensor([0.01, 50.0], dtype=F64)
    with pytest.raises(FloatingPointError, match=r"network \(1,\) with lr=.*5\.0"):
        descent(weights, None, phi, lr=rates, steps=200)
    with pytest.raises(FloatingPointError, match=r"by step \d{1,3} in"):  # soon, unrecorded too
        descent(weights, None, phi, lr=rates, steps=20_000, every=[])
    with pytest.raises(FloatingPointError, match="by step 0 "):
        descent(weights, None, phi * 1e200, lr=0.1, steps=0)
    with pytest.raises(ValueError, match="Y must be finite"):
        descent(weights, None, phi * math.nan, lr=0.1, steps=0)
    stable = descent(weights, None, phi, lr=rates / 100, steps=200)
    assert stable["loss"].isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -0.1}, "lr must be a finite number >= 0, got -0.1"),
        ({"lr": torch.tensor([0.1, -0.1])}, "lr must be not negative"),
        ({"lr": [0.1, -0.1]}, "lr must be a finite number >= 0, got -0.1"),
        ({"lr": math.nan}, "lr must be a finite number"),
        ({"lr": [0.1]}, "lr must be one number, or one for each of the 2 layers"),
        ({"lr": (0.1,) * 3}, "lr must be one number, or one for each of the 2 layers"),
        ({"lr": torch.tensor([0.1] * 3)}, "leading dimensions of weights, X, Y and lr"),
        ({"steps": -1}, "steps must be an integer >= 0, got -1"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0"),
        ({"momentum": 1.0}, "momentum must be a finite number >= 0 and < 1"),
        ({"momentum": -0.1}, "momentum must be a finite number >= 0 and < 1"),
        ({"reduction": "max"}, 'reduction must be one of "sum", "mean"'),
        (
            {"reduction": "mean", "X": None, "Y": torch.ones(2, 3, dtype=F64)},
            'reduction must be "sum" without X',
        ),
        ({"every": 0}, "every must be an integer >= 1, got 0"),
        ({"every": -2}, "every must be an integer >= 1, got -2"),
        ({"every": [0, 6]}, r"every must be steps in 0 \.\. 5, got \[0, 6\]"),
        ({"every": [-1]}, "each of every must be an integer >= 0, got -1"),
        ({"tol": -1.0}, "tol must be a finite number >= 0"),
        ({"X": torch.ones(5, 3, dtype=F64)}, r"X must be .* of shape \(…, 3, N\)"),
        ({"Y": torch.ones(3, 5, dtype=F64)}, r"Y must be .* of shape \(…, 2, 5\)"),
        ({"Y": torch.ones(2, 4, dtype=F64)}, r"Y must be .* of shape \(…, 2, 5\)"),
        ({"X": None, "Y": torch.ones(2, 5, dtype=F64)}, r"Y must be .* of shape \(…, 2, 3\)"),
        ({"X": torch.ones(3, 5)}, "X must be of the type torch.float64"),
        ({"X": normal(1, 4, 3, 5), "Y": normal(1, 3, 2, 5)}, "leading dimensions of weights, X, Y"),
        ({"X": normal(1, 4, 3, 5)}, "leading dimensions of weights, X, Y"),
    ],
)
def test_no_such_descent(changes, message):
    weights = some_weights(0, (3, 4, 2), batch_shape=(2,))
    arguments = {"X": normal(1, 3, 5), "Y": normal(2, 2, 5), "lr": 0.1, "steps": 5} | changes
    X, Y = arguments.pop("X"), arguments.pop("Y")
    with pytest.raises(ValueError, match=message):
        descent(weights, X, Y, **arguments)


def test_weights_that_ask_for_gradients_leave_no_graph():
    weights, phi = small_problem()
    variables = [weight.clone().requires_grad_() for weight in weights]
    path = descent(variables, None, phi, lr=0.1, steps=3)
    assert not path["loss"].requires_grad
    assert not path["W1"].requires_grad
    assert torch.equal(path["W1"], descent(weights, None, phi, lr=0.1, steps=3)["W1"])


@pytest.mark.parametrize("inputs", ["many", "few", "white", "none"])
def test_single_precision(inputs):
    X = {"many": normal(1, 3, 9) / 3, "few": normal(1, 3, 2), "white": whitened(1, 3, 7)}.get(
        inputs
    )
    Y = normal(2, 2, 3 if X is None else X.shape[1])
    weights = some_weights(0, (3, 4, 2), batch_shape=(2,))
    options = {"steps": 20, "momentum": 0.5, "weight_decay": 0.01}
    rates = torch.tensor([0.05, 0.01])  # of whatever type
    double = descent(weights, X, Y, lr=rates, **options)
    singles = [weight.float() for weight in weights]
    single = descent(singles, None if X is None else X.float(), Y.float(), lr=rates, **options)
    assert single["loss"].dtype == single["W1"].dtype == torch.float32
    alone = descent(
        [weight[0] for weight in singles], None, normal(1, 2, 3).float(), lr=0.1, steps=1
    )
    assert alone["W1"].dtype == torch.float32
    assert alone["loss"].dtype == F64  # a number, as all that is recorded
    assert double["loss"].dtype == F64
    close(single["W2"].double(), double["W2"], 1e-4)
    close(single["loss"].double(), double["loss"], 1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    drawn = init_weights([3, 3], 0.1, generator=torch.Generator("cuda"), dtype=F64)
    assert drawn[0].is_cuda
    assert init_weights([3, 3], 0.1, device="cuda")[0].is_cuda
    weights, X, Y = (
        some_weights(0, (4, 4, 2), batch_shape=(3,)),
        normal(1, 4, 9) / 3,
        normal(2, 2, 9),
    )
    for rates in (0.02, torch.tensor([0.01, 0.02, 0.03])):
        here = descent(weights, X, Y, lr=rates, steps=50, momentum=0.5, tol=1e-30)
        there = descent(
            [weight.cuda() for weight in weights],
            *(X.cuda(), Y.cuda()),
            **{"lr": rates, "steps": 50, "momentum": 0.5, "tol": 1e-30},
        )
        assert there["loss"].is_cuda
        assert there.reached.is_cuda
        close(there["W1"].cpu(), here["W1"], 1e-9)
        close(there["loss"].cpu(), here["loss"], 1e-9)
