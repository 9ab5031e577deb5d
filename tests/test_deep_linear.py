"""Deep linear networks: the draw of the weights, and descents by hand beside torch's own."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights, is_whitened

F64 = torch.float64
SEEDS = st.integers(0, 2**31 - 1)
WIDTHS = st.lists(st.integers(1, 6), min_size=2, max_size=5)
KINDS = ["orthogonal", "normal", "uniform"]
BATCH = (2, 3)


def examples(count):
    return settings(max_examples=count, deadline=None, derandomize=True)


def source(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape, dtype=F64):
    return torch.randn(*shape, generator=source(seed), dtype=dtype)


def some_weights(seed, widths, scale=0.8, kind="normal", **options):
    return init_weights(widths, scale, kind, generator=source(seed), dtype=F64, **options)


def whitened(seed, dim, samples):
    return torch.linalg.qr(normal(seed, samples, dim)).Q.mT


def product(weights):
    """Multiply one network's layers the plain way."""
    return weights[0] if len(weights) == 1 else torch.linalg.multi_dot(weights[::-1])


def true_loss(weights, X, Y, reduction="sum"):
    loss = (product(weights) @ X - Y).square().sum() / 2
    return loss / Y.numel() if reduction == "mean" else loss


def torch_descent(weights, X, Y, *, lr, steps, weight_decay=0.0, momentum=0.0, reduction="sum"):
    """Let autograd and SGD train one network; return weights and losses at every step."""
    variables = [weight.detach().clone().requires_grad_() for weight in weights]
    rates = lr if isinstance(lr, list) else [lr] * len(weights)
    groups = [{"params": [v], "lr": rate} for v, rate in zip(variables, rates, strict=True)]
    solver = torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay)
    history, losses = [], []
    for _ in range(steps + 1):
        solver.zero_grad()
        loss = true_loss(variables, X, Y, reduction)
        history.append([variable.detach().clone() for variable in variables])
        losses.append(loss.detach())
        loss.backward()
        solver.step()
    return [torch.stack(layer) for layer in zip(*history, strict=True)], torch.stack(losses)


def close(actual, expected, tolerance=1e-11):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_same_path(path, weights, losses, tolerance=1e-11):
    close(path.losses, losses, tolerance)
    for layer, expected in enumerate(weights, start=1):
        close(path[f"W{layer}"], expected, tolerance)
        close(path.final[layer - 1], expected[-1], tolerance)


# --- weights ----------------------------------------------------------------------------------


@examples(30)
@given(
    seed=SEEDS, widths=WIDTHS, scale=st.floats(1e-3, 10), batch=st.sampled_from([(), (4,), BATCH])
)
def test_orthogonal_in_any_shape(seed, widths, scale, batch):
    weights = some_weights(seed, widths, scale, "orthogonal", batch_shape=batch)
    for weight, (d_in, d_out) in zip(weights, pairwise(widths), strict=True):
        assert weight.shape == (*batch, d_out, d_in)
        gram = weight @ weight.mT if d_out <= d_in else weight.mT @ weight
        identity = torch.eye(min(d_in, d_out), dtype=F64).expand_as(gram)
        close(gram / scale**2, identity, 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_scale_per_network(kind):
    scale = torch.tensor([0.1, 1.0, 7.0], dtype=F64)
    scaled = some_weights(0, [4, 4, 2], scale, kind, batch_shape=BATCH)
    plain = some_weights(0, [4, 4, 2], 1.0, kind, batch_shape=BATCH)
    for weight, unit in zip(scaled, plain, strict=True):
        close(weight, scale[:, None, None] * unit)


def test_scale_does_not_make_more_networks():
    with pytest.raises(ValueError, match="scale"):
        init_weights([3, 3], torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="scale"):
        init_weights([3, 3], torch.tensor([1.0, 2.0]), batch_shape=(3,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(7, 7), (12, 5), (5, 12), (1, 1)])
def test_all_kinds_have_one_expected_norm(kind, widths):
    (weights,) = some_weights(1, widths, 0.5, kind, batch_shape=(20_000,))
    expected = 0.5**2 * min(widths)
    assert weights.square().sum((-2, -1)).mean().item() == pytest.approx(expected, rel=0.03)
    entries = weights.flatten(1)
    deviation = 0.5 / math.sqrt(max(widths))
    assert entries.mean(0).abs().max() < 5 * deviation / math.sqrt(len(entries))
    close(entries.std(0), torch.full_like(entries[0], deviation), 0.05)


def test_uniform_fills_its_interval_and_normal_does_not():
    (uniform,) = some_weights(2, (40, 60), 2.0, "uniform", batch_shape=(50,))
    bound = 2 * math.sqrt(3 / 60)
    assert 0.999 * bound < uniform.abs().max() <= bound
    (gauss,) = some_weights(2, (40, 60), 2.0, "normal", batch_shape=(50,))
    assert gauss.abs().max() > 2 * bound
    fourth = (gauss / gauss.std()).pow(4).mean().item()
    assert fourth == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize("widths", [(3, 3), (5, 2), (2, 5)])
def test_orthogonal_is_uniformly_distributed(widths):
    (draws,) = some_weights(3, widths, 1.0, "orthogonal", batch_shape=(40_000,))
    # LAPACK alone gives one sign to the first entries and lets a diagonal's mean drift.
    assert draws.mean(0).abs().max() < 0.015
    assert (draws > 0).double().mean(0).sub(0.5).abs().max() < 0.015
    n = max(widths)  # Haar: E[q^4] = 3 / (n (n + 2)) for every entry
    expected = torch.full(draws.shape[1:], 3 / (n * (n + 2)), dtype=F64)
    close(draws.pow(4).mean(0), expected, 0.01)
    if widths == (3, 3):
        traces = draws.diagonal(dim1=1, dim2=2).sum(1)
        assert abs(traces.mean()) < 0.03
        assert traces.square().mean().item() == pytest.approx(1, abs=0.04)
        assert torch.linalg.det(draws).mean().abs() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_source_type_and_device_of_weights(kind):
    first, second = (init_weights([3, 4, 2], 0.3, kind, generator=source(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], init_weights([3, 4, 2], 0.3, kind, generator=source(6))[0])
    assert {weight.dtype for weight in first} == {torch.get_default_dtype()}
    assert {weight.dtype for weight in some_weights(0, [3, 4, 2], 0.3, kind)} == {F64}
    with torch.device("meta"):  # as if another device were the default
        assert init_weights([3, 3], kind=kind, device="cpu")[0].device.type == "cpu"
        assert init_weights([3, 3], kind=kind, generator=source(0))[0].device.type == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([4],), "widths"),
        (([],), "widths"),
        (([4, 0, 4],), "widths"),
        (([4, -1],), "widths"),
        (([4, 4], 0.0), "scale"),
        (([4, 4], -1.0), "scale"),
        (([4, 4], math.inf), "scale"),
        (([4, 4], math.nan), "scale"),
        (([4, 4], torch.tensor([1.0, 0.0])), "scale"),
        (([4, 4], 1.0, "xavier"), "kind"),
    ],
)
def test_no_such_weights(arguments, message):
    with pytest.raises(ValueError, match=message):
        init_weights(*arguments, batch_shape=(2,))


@examples(40)
@given(seed=SEEDS, widths=WIDTHS, batch=st.sampled_from([(), (4,), BATCH]))
def test_end_to_end_is_the_product(seed, widths, batch):
    weights = some_weights(seed, widths, batch_shape=batch)
    expected = torch.eye(widths[0], dtype=F64).expand(*batch, -1, -1)
    for weight in weights:
        expected = weight @ expected
    close(end_to_end(weights), expected, 1e-12)
    close(end_to_end(tuple(weights)), expected, 1e-12)
    if not batch:
        close(end_to_end(weights), product(weights), 1e-12)


@pytest.mark.parametrize("wrong", [[], [torch.ones(2, 3), torch.ones(4, 3)], torch.ones(2, 2)])
def test_end_to_end_needs_a_chain(wrong):
    with pytest.raises(ValueError, match=r"chain|sequence"):
        end_to_end(wrong)
    with pytest.raises(ValueError, match=r"chain|sequence"):
        gradient_descent(wrong, None, torch.ones(2, 2), lr=0.1, steps=1)


def test_whitened_or_not():
    X = whitened(0, 4, 9)
    assert is_whitened(X)
    assert is_whitened(X.float())
    assert is_whitened(torch.stack([X, -X]))
    assert not is_whitened(torch.stack([X, 1.1 * X]))
    assert not is_whitened(X + 1e-8)
    assert not is_whitened(X[:, :3])
    assert not is_whitened(X.mT)  # orthonormal columns are not enough


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
    assert_same_path(
        gradient_descent(weights, X, Y, **options), *torch_descent(weights, X, Y, **options)
    )


@examples(20)
@given(seed=SEEDS, widths=WIDTHS, momentum=st.sampled_from([0.0, 0.8]))
def test_targets_alone_are_whitened_inputs(seed, widths, momentum):
    weights, phi = some_weights(seed, widths), normal(seed + 1, widths[-1], widths[0])
    options = {"lr": 0.03, "steps": 10, "momentum": momentum, "weight_decay": 0.1}
    expected = torch_descent(weights, torch.eye(widths[0], dtype=F64), phi, **options)
    assert_same_path(gradient_descent(weights, None, phi, **options), *expected)
    X = whitened(seed + 2, widths[0], 8)
    path = gradient_descent(weights, X, phi @ X, **options)  # a target that can be reached
    assert_same_path(path, *expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (5, 3, 6, 2), (4, 2), (3, 5, 4)])
@pytest.mark.parametrize("samples", [3, 5, 9])
def test_batch_is_many_networks(widths, samples, momentum):
    weights = some_weights(0, widths, batch_shape=BATCH)
    X, Y = normal(1, *BATCH, widths[0], samples) / 2, normal(2, *BATCH, widths[-1], samples)
    rates = 0.02 * normal(3, *BATCH).abs()
    options = {"steps": 8, "weight_decay": 0.2, "momentum": momentum, "reduction": "mean"}
    together = gradient_descent(weights, X, Y, lr=rates, **options)
    shared = gradient_descent(weights, X[0, 0], Y[0, 0], lr=0.01, **options)
    per_column = gradient_descent(weights, X[0, 0], Y, lr=rates[0], **options)
    assert together.losses.shape == shared.losses.shape == (9, *BATCH)
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
                close(path.losses[:, i, j], losses)
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
    try:
        path = gradient_descent(weights, X, Y, lr=lr, steps=5)
    except ValueError:  # then the weights must say how many networks there are
        assert batched in ("targets", "inputs", "rates")
        weights = [weight.expand(2, *weight.shape) for weight in weights]
        path = gradient_descent(weights, X, Y, lr=lr, steps=5)
    for i in range(2):
        own = [weight[i] if weight.ndim == 3 else weight for weight in weights]
        inputs, targets = (data[i] if data.ndim == 3 else data for data in (X, Y))
        rate = lr[i].item() if isinstance(lr, torch.Tensor) else lr
        expected, losses = torch_descent(own, inputs, targets, lr=rate, steps=5)
        close(path.losses[:, i], losses)
        close(path["W1"][:, i], expected[0])
        close(path["W2"][:, i], expected[1])


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_rate_per_layer(momentum):
    weights, X, Y = some_weights(0, (4, 3, 5, 2)), normal(1, 4, 3), normal(2, 2, 3)
    options = {"steps": 9, "momentum": momentum, "weight_decay": 0.1}
    expected = torch_descent(weights, X, Y, lr=[0.05, 0.0, 0.02], **options)
    for rates in ([0.05, 0.0, 0.02], (0.05, torch.tensor(0.0), torch.tensor(0.02, dtype=F64))):
        path = gradient_descent(weights, X, Y, lr=rates, **options)
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
    together = gradient_descent(stacked, None, phi, lr=rates, **options)
    for index, depth in enumerate((1, 2, 3)):
        alone = gradient_descent(deep[:depth], None, phi, lr=rate, **options)
        close(together.losses[:, index], alone.losses)
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
    path = gradient_descent(weights, X, Y / alpha, lr=alpha**2 * eta, steps=10)
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
    path = gradient_descent(
        weights, given, Y, lr=rate, steps=20_000, reduction=reduction, tol=1e-22
    )
    assert path.reached >= 0
    expected = [
        true_loss([path[f"W{layer}"][t] for layer in (1, 2)], X, Y, reduction)
        for t in range(0, len(path.steps), 7)
    ]
    torch.testing.assert_close(path.losses[::7], torch.stack(expected), rtol=1e-4, atol=1e-27)


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_part_of_the_loss_that_no_network_avoids(white, batched):
    X = whitened(0, 3, 40) if white else normal(0, 3, 40) / 40**0.5
    Y = normal(1, 2, 2, 40) if batched else normal(1, 2, 40)
    weights = some_weights(2, (3, 3, 2), batch_shape=(2,) if batched else ())
    path = gradient_descent(weights, X, Y, lr=0.1, steps=2000, record_every=[0])
    best = (Y - Y @ torch.linalg.pinv(X) @ X).square().sum((-2, -1)) / 2
    assert (best > 1).all()
    close(path.losses[-1], best, 1e-10)
    close(path.losses[0], (weights[1] @ weights[0] @ X - Y).square().sum((-2, -1)) / 2)


def test_many_samples_cost_what_few_do():
    d, N = 6, 20_000
    weights, X, Y = some_weights(0, (d, d, 3)), normal(1, d, N) / N**0.5, normal(2, 3, N) / N**0.5
    X[0] *= 3
    path = gradient_descent(weights, X, Y, lr=0.05, steps=100, momentum=0.5)
    assert_same_path(path, *torch_descent(weights, X, Y, lr=0.05, steps=100, momentum=0.5), 1e-9)

    def work_of_a_step(samples):
        counts = []
        for steps in (10, 20):
            with FlopCounterMode(display=False) as counter:
                gradient_descent(weights, X[:, :samples], Y[:, :samples], lr=0.05, steps=steps)
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
            gradient_descent(weights, None, normal(1, d_y, d), lr=1e-3, steps=steps)
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

    record = {"first": first, "rows": lambda weights: weights[-1][..., 0, :]}
    options = {"lr": 0.1, "steps": 5, "momentum": momentum, "weight_decay": 0.1}
    path = gradient_descent(weights, X, phi, record=record, **options)
    assert all(torch.equal(a, b) for a, b in zip(weights, kept, strict=True))
    assert torch.equal(X, data[0])
    assert torch.equal(phi, data[1])
    assert torch.equal(path["first"], torch.stack(seen))
    assert set(path.records) == {"first", "rows"}
    assert path["rows"].shape == (6, *batch, 4)
    plain = gradient_descent(weights, X, phi, **options)
    assert torch.equal(plain["W1"], path["first"])
    assert torch.equal(plain["W2"][..., 0, :], path["rows"])
    assert torch.equal(plain.losses, path.losses)
    close(plain["W1"][0], weights[0].expand(*batch, 4, 3), 0)
    assert all(torch.equal(a, b) for a, b in zip(plain.weights(), plain.final, strict=True))
    assert all(
        torch.equal(a, plain[f"W{layer}"][2]) for layer, a in enumerate(plain.weights(2), start=1)
    )
    close(path.final[0], seen[-1], 0)


def test_function_sees_all_layers_and_may_return_a_number():
    weights, phi = small_problem((2,))
    record = {
        "product": lambda weights: weights[1] @ weights[0],
        "count": lambda weights: torch.tensor(len(weights)),
    }
    path = gradient_descent(weights, None, phi, lr=0.1, steps=4, record=record)
    plain = gradient_descent(weights, None, phi, lr=0.1, steps=4)
    close(path["product"], plain["W2"] @ plain["W1"])
    assert path["count"].tolist() == [2] * 5
    none = gradient_descent(weights, None, phi, lr=0.1, steps=4, record={})
    assert none.records == {}
    assert torch.equal(none.losses, plain.losses)


@pytest.mark.parametrize(
    ("record_every", "steps", "expected"),
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
def test_recorded_steps(record_every, steps, expected):
    weights, phi = small_problem()
    path = gradient_descent(weights, None, phi, lr=0.01, steps=steps, record_every=record_every)
    every = gradient_descent(weights, None, phi, lr=0.01, steps=steps)
    assert path.steps.dtype == torch.int64
    assert path.steps.tolist() == expected
    assert torch.equal(path.losses, every.losses[path.steps])
    assert torch.equal(path["W1"], every["W1"][path.steps])
    assert torch.equal(path.final[1], every["W2"][-1])
    assert path.reached.dtype == torch.int64
    assert path.reached.item() == -1


@pytest.mark.parametrize("record_every", [1, 7, [0], []])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ends_at_the_first_step_at_which_all_losses_are_low(record_every, reduction):
    weights = some_weights(0, (3, 3, 3), 1.0, "orthogonal", batch_shape=(4,))
    X = torch.eye(3, dtype=F64)
    Y = (
        end_to_end(weights)
        + normal(1, 4, 3, 3) * torch.tensor([0.01, 0.2, 0.1, 0.3])[:, None, None]
    )
    rate = 0.1 * (9 if reduction == "mean" else 1)
    options = {"lr": rate, "reduction": reduction}
    every = gradient_descent(weights, X, Y, steps=400, **options)
    below = every.losses <= 1e-4
    first = below.int().argmax(0)
    assert below[-1].all()
    assert len(set(first.tolist())) == 4
    path = gradient_descent(
        weights, X, Y, steps=400, tol=1e-4, record_every=record_every, **options
    )
    assert torch.equal(path.reached, first)
    end = int(first.max())
    assert path.steps[-1] == end < 400
    assert torch.equal(path.losses[-1], every.losses[end])
    assert torch.equal(path.final[0], every["W1"][end])
    short = gradient_descent(weights, X, Y, steps=end - 1, tol=1e-4, **options)
    assert short.steps[-1] == end - 1
    assert torch.equal(short.reached, torch.where(first < end, first, -1))
    exact = gradient_descent(weights, X, Y, steps=400, tol=float(every.losses[3].max()), **options)
    assert exact.steps[-1] == 3 == exact.reached.max()  # at most, not below


def test_end_where_it_starts():
    weights, phi = small_problem()
    path = gradient_descent(weights, None, phi, lr=0.1, steps=9, tol=1e9)
    assert path.steps.tolist() == [0]
    assert path.reached.item() == 0
    close(path.losses[0], true_loss(weights, torch.eye(3, dtype=F64), phi))
    none = gradient_descent(weights, None, phi, lr=0.1, steps=0)
    assert none["W1"].shape == (1, 4, 3)
    assert none.losses.shape == (1,)
    assert torch.equal(none.final[0], weights[0])
    assert none.final[0].data_ptr() != weights[0].data_ptr()


def test_all_losses_are_low_at_the_end_though_one_has_come_back():
    """With momentum a loss rises again: the end is where all are low at once."""
    weights = [torch.tensor([1.0, 1.0], dtype=F64)[:, None, None]]
    phi = torch.tensor([0.0, 0.9], dtype=F64)[:, None, None]
    lr = torch.tensor([0.5, 0.004], dtype=F64)
    options = {"lr": lr, "momentum": 0.95, "tol": 1e-3}
    path = gradient_descent(weights, None, phi, steps=2000, **options)
    assert (path.losses[-1] <= 1e-3).all()
    first = (path.losses <= 1e-3).int().argmax(0)
    assert torch.equal(path.reached, first)


def test_divergence_is_an_error_that_names_rate_and_network():
    weights, phi = some_weights(0, (3, 3, 3), batch_shape=(2,)), normal(1, 3, 3)
    with pytest.raises(FloatingPointError, match=r"step \d+ with lr=50"):
        gradient_descent([weight[0] for weight in weights], None, phi, lr=50, steps=200)
    rates = torch.tensor([0.01, 50.0], dtype=F64)
    with pytest.raises(FloatingPointError, match=r"network \(1,\) with lr=.*5\.0"):
        gradient_descent(weights, None, phi, lr=rates, steps=200)
    with pytest.raises(FloatingPointError, match=r"by step \d{1,3} in"):  # soon, unrecorded too
        gradient_descent(weights, None, phi, lr=rates, steps=20_000, record_every=[])
    with pytest.raises(FloatingPointError):
        gradient_descent(weights, None, phi * math.nan, lr=0.1, steps=0)
    stable = gradient_descent(weights, None, phi, lr=rates / 100, steps=200)
    assert stable.losses.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -0.1}, "learning rates"),
        ({"lr": torch.tensor([0.1, -0.1])}, "learning rates"),
        ({"lr": [0.1, -0.1]}, "learning rates"),
        ({"lr": math.nan}, "learning rates"),
        ({"lr": [0.1]}, "1 learning rates for 2 layers"),
        ({"lr": (0.1,) * 3}, "3 learning rates for 2 layers"),
        ({"steps": -1}, "steps"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"reduction": "max"}, "reduction"),
        ({"reduction": "mean", "X": None, "Y": torch.ones(2, 3, dtype=F64)}, "mean"),
        ({"record_every": 0}, "record_every"),
        ({"record_every": -2}, "record_every"),
        ({"record_every": [0, 6]}, "steps to record"),
        ({"record_every": [-1]}, "steps to record"),
        ({"X": torch.ones(5, 3, dtype=F64)}, "columns"),
        ({"Y": torch.ones(3, 5, dtype=F64)}, "columns"),
        ({"Y": torch.ones(2, 4, dtype=F64)}, "columns"),
        ({"X": None, "Y": torch.ones(2, 5, dtype=F64)}, "columns"),
    ],
)
def test_no_such_descent(changes, message):
    weights = some_weights(0, (3, 4, 2), batch_shape=(2,))
    arguments = {"X": normal(1, 3, 5), "Y": normal(2, 2, 5), "lr": 0.1, "steps": 5} | changes
    X, Y = arguments.pop("X"), arguments.pop("Y")
    with pytest.raises(ValueError, match=message):
        gradient_descent(weights, X, Y, **arguments)


def test_weights_that_ask_for_gradients_leave_no_graph():
    weights, phi = small_problem()
    variables = [weight.clone().requires_grad_() for weight in weights]
    path = gradient_descent(variables, None, phi, lr=0.1, steps=3)
    assert not path.losses.requires_grad
    assert not path["W1"].requires_grad
    assert torch.equal(path["W1"], gradient_descent(weights, None, phi, lr=0.1, steps=3)["W1"])


@pytest.mark.parametrize("inputs", ["many", "few", "white", "none"])
def test_single_precision(inputs):
    X = {"many": normal(1, 3, 9) / 3, "few": normal(1, 3, 2), "white": whitened(1, 3, 7)}.get(
        inputs
    )
    Y = normal(2, 2, 3 if X is None else X.shape[1])
    weights = some_weights(0, (3, 4, 2), batch_shape=(2,))
    options = {"steps": 20, "momentum": 0.5, "weight_decay": 0.01}
    rates = torch.tensor([0.05, 0.01])  # of whatever type
    double = gradient_descent(weights, X, Y, lr=rates, **options)
    singles = [weight.float() for weight in weights]
    single = gradient_descent(
        singles, None if X is None else X.float(), Y.float(), lr=rates, **options
    )
    assert single.losses.dtype == single["W1"].dtype == torch.float32
    assert double.losses.dtype == F64
    close(single["W2"].double(), double["W2"], 1e-4)
    close(single.losses.double(), double.losses, 1e-4)


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
        here = gradient_descent(weights, X, Y, lr=rates, steps=50, momentum=0.5, tol=1e-30)
        there = gradient_descent(
            [weight.cuda() for weight in weights],
            *(X.cuda(), Y.cuda()),
            **{"lr": rates, "steps": 50, "momentum": 0.5, "tol": 1e-30},
        )
        assert there.losses.is_cuda
        assert there.reached.is_cuda
        close(there["W1"].cpu(), here["W1"], 1e-9)
        close(there.losses.cpu(), here.losses, 1e-9)
