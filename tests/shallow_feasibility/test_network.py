"""Shallow networks beside formulas, and where their training ends."""

import math

import numpy as np
import pytest
import torch
from helpers import F64, close, normal, source
from torch.nn import functional

from lecturelib.metrics import nc1
from lecturelib.shallow_feasibility import ShallowNet, nc_feasibility, train_shallow


def some_net(seed=0, dim=6, width=16, K=2, batch=(), **options):
    options |= {"batch_shape": batch, "generator": source(seed), "dtype": F64}
    return ShallowNet(K, dim, width, **options)


def clouds(seed, n, d, K, batch=()):
    """Pure noise."""
    return normal(seed, *batch, K * n, d), torch.arange(K).repeat_interleave(n)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("random_width", [None, 7])
def test_net_computes_what_it_says(batch, random_width):
    net = some_net(batch=batch, random_width=random_width, K=3)
    inputs = normal(1, *batch, 5, 6)
    names = {name for name, _ in net.named_parameters()}
    assert names == {"hidden", "head"}
    for index in np.ndindex(*batch):
        seen = inputs[index]
        if random_width:
            assert net.random.shape == (*batch, random_width, 6)
            seen = (seen @ net.random[index].T).clamp_min(0)
        close(net.random_features(inputs)[index], seen)
        features = (seen @ net.hidden[index].T).clamp_min(0)
        close(net.features(inputs)[index], features)
        close(net(inputs)[index], features @ net.head[index].T)
    assert net(inputs).shape == (*batch, 5, 3)


def test_net_starts_with_normal_weights():
    net = some_net(dim=50, width=200, K=100, random_width=150, batch=(3,))
    for weights, inputs in [(net.random, 50), (net.hidden, 150), (net.head, 200)]:
        weights = weights.detach()
        assert weights.shape[-1] == inputs and weights.dtype == F64
        assert weights.square().mean().item() == pytest.approx(1 / inputs, rel=0.03)
        assert abs(weights.mean()) < 5 / math.sqrt(inputs * weights.numel())
    again = some_net(dim=50, width=200, K=100, random_width=150, batch=(3,))
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert ShallowNet(2, 3, 2).hidden.dtype == torch.get_default_dtype()
    assert ShallowNet(2, 3, 2).random is None


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((1, 2, 2), {}, "num_classes must be an integer >= 2, got 1"),
        ((2, 0, 2), {}, "dim must be an integer >= 1, got 0"),
        ((2, 2, 0), {}, "width must be an integer >= 1, got 0"),
        ((2, 2, 2), {"random_width": 0}, "random_width must be an integer >= 1, got 0"),
        ((2, 2, 2), {"random_width": -1}, "random_width must be"),
        ((2, 2, 2), {"batch_shape": (0,)}, "each of batch_shape must be"),
        ((2, 2, 2), {"scale": 0}, "scale must be a finite number > 0, got 0"),
        ((2, 2, 2), {"scale": -1}, "scale must be"),
        ((2, 2, 2), {"scale": math.inf}, "scale must be"),
        ((2, 2, 2), {"scale": math.nan}, "scale must be"),
    ],
)
def test_no_such_net(arguments, options, match):
    with pytest.raises(ValueError, match=match):
        ShallowNet(*arguments, **options)


def test_nets_refuse_inputs_of_another_size():
    net = some_net()
    with pytest.raises(ValueError, match=r"inputs must be .* of shape \(…, N, 6\)"):
        net(torch.ones(3, 5, dtype=F64))
    with pytest.raises(ValueError, match=r"inputs must be of the type torch\.float64"):
        net(torch.ones(3, 6))
    close(net(np.ones((3, 6))), net(torch.ones(3, 6, dtype=F64)))


def test_scale_multiplies_the_trained_layers_only():
    plain, small = some_net(random_width=9), some_net(random_width=9, scale=0.1)
    assert torch.equal(small.random, plain.random)
    close(small.hidden, 0.1 * plain.hidden)
    close(small.head, 0.1 * plain.head)


def objective_by_hand(net, inputs, labels, decay, penalty):
    """Return the objective of one network without leading dimensions."""
    features = net.features(inputs)
    loss = functional.cross_entropy(features @ net.head.T, labels)
    penalised = features if penalty == "features" else net.hidden
    return loss + decay / 2 * (net.head.norm() ** 2 + penalised.norm() ** 2)


@pytest.mark.parametrize("penalty", ["features", "weights"])
@pytest.mark.parametrize("random_width", [None, 9])
def test_objective_is_the_formula_and_falls(penalty, random_width):
    net = some_net(random_width=random_width, K=3)
    inputs, labels = clouds(2, 3, 6, 3)
    fixed = None if net.random is None else net.random.clone()
    first = objective_by_hand(net, inputs, labels, 0.05, penalty)
    start = net.features(inputs).detach().clone()
    history = train_shallow(
        net,
        inputs,
        labels,
        weight_decay=0.05,
        penalty=penalty,
        steps=200,
        every=2,
        metrics={"features": lambda net: net.features(inputs)},
    )
    last = objective_by_hand(net, inputs, labels, 0.05, penalty)
    assert history["objective"][0].item() == pytest.approx(first.item(), rel=1e-10)
    assert history["objective"][-1].item() == pytest.approx(last.item(), rel=1e-10)
    assert history["objective"][-1] < history["objective"][0] / 2
    assert (history["objective"].diff() <= 1e-3).all()
    close(history["features"][0], start)
    close(history["features"][-1], net.features(inputs).detach())
    if random_width:
        assert torch.equal(net.random, fixed)


@pytest.mark.parametrize("penalty", ["features", "weights"])
def test_trained_nets_are_stationary(penalty):
    """The gradient of the formula vanishes there, and a wrong penalty would leave one."""
    net = some_net(width=6)
    inputs, labels = clouds(2, 3, 6, 2)
    train_shallow(net, inputs, labels, weight_decay=0.05, penalty=penalty, steps=2000)
    value = objective_by_hand(net, inputs, labels, 0.05, penalty)
    slopes = torch.autograd.grad(value, [net.head])
    assert slopes[0].abs().max() < 1e-3
    assert net.head.abs().max() > 0.1


@pytest.mark.parametrize("random_width", [None, 9])
@pytest.mark.parametrize("penalty", ["features", "weights"])
def test_a_batch_of_nets_is_trained_like_single_ones(random_width, penalty):
    options = {"weight_decay": 0.02, "penalty": penalty, "steps": 60}
    together = some_net(batch=(2, 2), random_width=random_width)
    inputs, labels = clouds(1, 3, 6, 2, batch=(2, 2))
    parts = {}
    for index in np.ndindex(2, 2):
        parts[index] = some_net(random_width=random_width)
        parts[index].load_state_dict(
            {name: value[index] for name, value in together.state_dict().items()}
        )
    history = train_shallow(together, inputs, labels, **options)
    for index, single in parts.items():
        alone = train_shallow(single, inputs[index], labels, **options)
        assert torch.equal(alone.steps, history.steps)
        close(history["objective"][:, *index], alone["objective"], 1e-8)
        close(together.hidden[index].detach(), single.hidden.detach(), 1e-8)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(7, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 6]), (5, [2], [2, 5]), (5, [], [5]), (1, 9, [0, 1])],
)
def test_recorded_steps(steps, every, expected):
    inputs, labels = clouds(1, 3, 6, 2)
    metrics = {"width": lambda net: net.hidden.shape[-2]}
    options = {"weight_decay": 0.1, "steps": steps, "every": every, "metrics": metrics}
    history = train_shallow(some_net(), inputs, labels, **options)
    assert history.steps.tolist() == expected
    assert history["objective"].shape == (len(expected),)
    assert history["width"].tolist() == [16] * len(expected)


def test_training_is_deterministic():
    inputs, labels = clouds(1, 3, 6, 2)
    nets = [some_net(), some_net()]
    runs = [train_shallow(net, inputs, labels, weight_decay=0.1, steps=30) for net in nets]
    assert torch.equal(runs[0]["objective"], runs[1]["objective"])
    assert torch.equal(nets[0].hidden, nets[1].hidden)


def test_training_runs_on_one_thread_and_gives_the_setting_back():
    seen, threads = [], torch.get_num_threads()
    metrics = {"threads": lambda net: seen.append(torch.get_num_threads()) or 0}
    torch.set_num_threads(2)
    try:
        train_shallow(some_net(), *clouds(1, 3, 6, 2), weight_decay=0.1, steps=2, metrics=metrics)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(threads)


def positive_optimum(n, K, decay):
    """Least objective over all non-negative features, if that is not zero features."""
    c = math.sqrt(n) * decay
    a = math.log(1 / (c * math.sqrt(K / (K - 1))) - (K - 1))
    return math.log(1 + (K - 1) * math.exp(-a)) + c * math.sqrt(K * (K - 1)) * a


@pytest.mark.parametrize("random_width", [None, 60])
def test_training_collapses_where_it_can_and_only_there(random_width):
    n, K, d, decay = 3, 2, 8, 0.01
    inputs, labels = clouds(0, n, d, K, batch=(4,))
    if random_width is None:  # no line passes through three points of the plane
        inputs[2:, :, 2:] = 0
    net = some_net(dim=d, width=32, K=K, batch=(4,), random_width=random_width)
    feasible = nc_feasibility(net.random_features(inputs), labels).feasible.all(-1).tolist()
    assert feasible == [True, True, *[random_width is not None] * 2]
    history = train_shallow(net, inputs, labels, weight_decay=decay, steps=4000)
    best = positive_optimum(n, K, decay)
    reached = history["objective"][-1].tolist(), net.features(inputs).detach()
    for possible, objective, features in zip(feasible, *reached, strict=True):
        assert objective > best - 1e-9
        if possible:
            assert objective < best * 1.001 and nc1(features, labels) < 1e-3
        else:
            assert objective > best * 1.1 and nc1(features, labels) > 0.05


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1"),
        ({"lr": 0}, "lr must be a finite number > 0, got 0"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"every": 0}, "every must be an integer >= 1, got 0"),
        ({"every": [9]}, r"every must be steps in 0 \.\. 2"),
        ({"penalty": "none"}, 'penalty must be one of "features", "weights", got'),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"labels must be .* of shape \(6,\)"),
        ({"inputs": torch.ones(6, dtype=F64)}, r"inputs must be .* of shape \(N, 6\), got .*6,"),
        ({"inputs": torch.ones(6, 6)}, "inputs must be of the type torch.float64"),
        (
            {"labels": torch.tensor([0, 0, 0, 1, 1, 7])},
            r"labels must lie in 0 \.\. 1, got 0 \.\. 7",
        ),
    ],
)
def test_no_such_training(changes, match):
    inputs, labels = clouds(1, 3, 6, 2)
    arguments = {"inputs": inputs, "labels": labels, "weight_decay": 0.1, "steps": 2} | changes
    with pytest.raises(ValueError, match=match):
        train_shallow(some_net(), **arguments)


def test_divergence_is_an_error():
    inputs, labels = clouds(1, 3, 6, 2)
    with pytest.raises(FloatingPointError, match=r"before step 20 with lr=1e\+200: try a smaller"):
        train_shallow(some_net(), inputs, labels, weight_decay=0.1, steps=20, lr=1e200)
