"""The loop: three optimizers and one objective, the schedule, and when metrics are called."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from lecturelib.networks import MLP
from lecturelib.training import train

OPTIMIZERS = {"sgd": 0.1, "adam": 0.01, "lbfgs": 1.0}


def problem(n=60, dim=4, k=3):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return inputs, (inputs[:, :k] + noise).argmax(1)


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(("optimizer", "lr"), OPTIMIZERS.items())
def test_objective_decreases_the_same_way_every_time(optimizer, lr):
    inputs, labels = problem()
    torch.manual_seed(1)
    first = MLP([4, 16, 3], batch_norm=True).double()
    second, other = copy.deepcopy(first), copy.deepcopy(first)
    weights = flat(first)

    def objective(net):
        loss = nn.functional.cross_entropy(net(inputs), labels)
        return loss + 5e-3 / 2 * sum(p.square().sum() for p in net.parameters())

    settings = {"epochs": 5, "batch_size": 16, "lr": lr, "weight_decay": 5e-3}
    settings |= {"optimizer": optimizer, "metrics": {"objective": objective}}
    history = train(first, inputs, labels, **settings)
    torch.manual_seed(99)
    again = train(second, inputs, labels, **settings)
    reshuffled = train(other, inputs, labels, **settings, seed=1)
    assert history["objective"][-1] < 0.95 * history["objective"][0]
    assert history == again and torch.equal(flat(first), flat(second))
    assert not torch.equal(flat(first), weights)
    if optimizer != "lbfgs":  # full batches have no order to speak of
        assert reshuffled["objective"][-1] != history["objective"][-1]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "lr": 0.5, "epochs": 300},
        {"optimizer": "adam", "lr": 0.1, "epochs": 300, "milestones": (200, 260)},
        {"optimizer": "lbfgs", "lr": 1.0, "epochs": 10},
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_all_optimizers_minimise_the_penalised_mean_loss(settings):
    inputs, labels = problem()
    decay, x, rows = 0.05, inputs.numpy(), np.arange(len(inputs))

    def objective(theta):
        logits = x @ theta[:12].reshape(3, 4).T + theta[12:]
        loss = -log_softmax(logits, axis=1)[rows, labels.numpy()].mean()
        return loss + decay / 2 * theta @ theta

    best = minimize(objective, np.zeros(15), options={"gtol": 1e-7})
    model = linear()
    train(model, inputs, labels, weight_decay=decay, batch_size=60, **settings)
    assert objective(flat(model).numpy()) == pytest.approx(best.fun, abs=1e-8)
    assert flat(model).numpy() == pytest.approx(best.x, abs=1e-4)


def test_milestones_divide_the_rate_by_ten():
    model, inputs = nn.Linear(1, 1, bias=False).double(), torch.ones(4, 1, dtype=torch.float64)
    history = train(
        model,
        inputs,
        inputs,
        epochs=5,
        lr=0.1,
        momentum=0.0,
        batch_size=4,
        milestones=(2, 4),
        loss=lambda logits, _: logits.mean(),  # its slope is 1, so each step is the rate itself
        metrics={"weight": lambda model: model.weight.squeeze()},
    )
    assert -np.diff(history["weight"]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize(
    ("epochs", "every", "measured"),
    [
        (1, 5, [0, 1]),
        (6, 3, [0, 3, 6]),
        (7, 3, [0, 3, 6, 7]),
        (3, 1, [0, 1, 2, 3]),
        (5, [4, 2], [2, 4]),
        (5, range(0, 6, 5), [0, 5]),
    ],
)
def test_metrics_at_the_right_epochs(epochs, every, measured):
    inputs, labels = problem()
    steps = []

    class Probe(nn.Linear):
        def forward(self, x):
            if self.training:
                assert torch.is_grad_enabled()
                steps.append(len(x))
            return super().forward(x)

    def seen(model):
        assert not model.training and not torch.is_grad_enabled()
        return len(steps) / 4  # batches of 16, 16, 16 and 12

    model = Probe(4, 3).double()
    history = train(
        model, inputs, labels, epochs=epochs, every=every, batch_size=16, metrics={"seen": seen}
    )
    assert history.epochs == history["seen"] == measured
    assert steps == [16, 16, 16, 12] * epochs
    assert train(model, inputs, labels, epochs=1).values == {}


def test_metrics_are_numbers_or_kept_as_they_are():
    inputs, labels = problem()
    metrics = {"number": lambda model: model.bias.sum(), "features": lambda model: model(inputs)}
    history = train(linear(), inputs, labels, epochs=1, metrics=metrics)
    assert [type(value) for value in history["number"]] == [float, float]
    first, last = history["features"]
    assert first.shape == last.shape == (60, 3) and not torch.equal(first, last)


def test_a_last_batch_of_one_joins_the_one_before():
    inputs, labels = problem(33)
    sizes = []

    def loss(logits, targets):
        sizes.append(len(targets))
        return nn.functional.cross_entropy(logits, targets)

    net = MLP([4, 8, 3], batch_norm=True).double()
    train(net, inputs, labels, epochs=2, batch_size=16, loss=loss)
    assert sizes == [16, 17] * 2


@pytest.mark.parametrize("epochs", [1, 200])
def test_divergence_names_the_rate(epochs):
    inputs, labels = problem()
    with pytest.raises(FloatingPointError, match=r"lr=1e\+200"):
        train(
            linear(),
            inputs,
            labels.double(),
            epochs=epochs,
            lr=1e200,
            batch_size=20,
            loss=lambda logits, targets: (logits[:, 0] - targets).square().mean(),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "must be positive, got 0, 1, 128"),
        ({"every": 0}, "must be positive"),
        ({"every": [0, 200]}, "must lie in 0 .. "),
        ({"batch_size": 0}, "must be positive"),
        ({"lr": 0}, "lr > 0"),
        ({"weight_decay": -1e-3}, "weight_decay >= 0"),
        ({"momentum": 1.0}, "momentum < 1"),
        ({"momentum": -0.1}, "momentum < 1"),
        ({"optimizer": "rmsprop"}, "got 'rmsprop'"),
    ],
)
def test_bad_settings(settings, message):
    inputs, labels = problem()
    with pytest.raises(ValueError, match=message):
        train(linear(), inputs, labels, **{"epochs": 1} | settings)


@pytest.mark.parametrize(("rows", "classes"), [(60, 59), (0, 0)])
def test_bad_data(rows, classes):
    inputs, labels = problem()
    with pytest.raises(ValueError, match=f"got {rows} inputs and {classes} labels"):
        train(linear(), inputs[:rows], labels[:classes], epochs=1)
