"""The recorder, and the loop: three optimizers and one objective, the schedule, the threads."""

import copy
import time

import numpy as np
import pytest
import torch
from helpers import F64, close, normal, source
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from lecturelib.losses import FocalLoss
from lecturelib.networks import MLP, ViT
from lecturelib.training import History, Recorder, accuracy, evaluating, train

OPTIMIZERS = {"sgd": 0.1, "adam": 0.01, "lbfgs": 1.0}


def problem(n=60, dim=4, k=3):
    inputs, noise = normal(0, n, dim), normal(1, n, k)
    return inputs, (inputs[:, :k] + noise).argmax(1)


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def recorded(recorder, end, measure=lambda step: {"value": float(step)}):
    """The history of a run that asks at every step whether it is due."""
    for step in range(end + 1):
        if recorder.due(step):
            recorder.record(step, **measure(step))
    return recorder.history()


# --- the recorder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (0, 1, [0]),
        (1, 5, [0, 1]),
        (3, 1, [0, 1, 2, 3]),
        (6, 3, [0, 3, 6]),
        (7, 3, [0, 3, 6, 7]),
        (5, [4, 2], [2, 4, 5]),
        (5, [], [5]),
        (5, range(0, 6, 5), [0, 5]),
        (5, np.array([1, 1]), [1, 5]),
        (5, torch.tensor([0]), [0, 5]),
    ],
)
def test_the_steps_that_are_due_always_with_the_end(steps, every, expected):
    history = recorded(Recorder(steps, every), steps)
    assert history.steps.tolist() == history["value"].tolist() == expected
    assert history.steps.dtype == torch.int64 and history["value"].dtype == F64


def test_a_run_that_ends_early_records_its_own_end():
    recorder = Recorder(100, every=4)
    recorded(recorder, 9)
    recorder.record(9, value=-1.0)
    assert recorder.history().steps.tolist() == [0, 4, 8, 9]
    assert recorder.history()["value"].tolist() == [0, 4, 8, -1]


def test_metrics_see_the_state_without_gradients():
    weight = torch.ones(2, requires_grad=True)

    def metric(state):
        assert not torch.is_grad_enabled()
        return (state * weight).sum()

    recorder = Recorder(1, metrics={"sum": metric})
    recorder.record(0, torch.tensor([1.0, 2.0]), own=weight.sum())
    recorder.record(1, torch.tensor([3.0, 4.0]), own=2 * weight.sum())
    history = recorder.history()
    assert torch.is_grad_enabled()
    assert history["sum"].tolist() == [3, 7] and history["own"].tolist() == [2, 4]
    assert not history["own"].requires_grad


def test_what_was_recorded_does_not_change_with_the_run():
    weight, recorder = torch.zeros(2), Recorder(2, metrics={"state": lambda state: state})
    for step in range(3):
        recorder.record(step, weight, weight=weight)
        weight += 1
    for name in ("state", "weight"):
        assert recorder.history()[name].tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("entries", "joined"),
    [
        ([1, 2.5], torch.tensor([1, 2.5], dtype=F64)),
        ([np.float32(0.5), True], torch.tensor([0.5, 1], dtype=F64)),
        ([torch.tensor(3), torch.tensor(4)], torch.tensor([3, 4], dtype=F64)),
        ([torch.ones(2), torch.zeros(2)], torch.tensor([[1.0, 1], [0, 0]])),
    ],
)
def test_numbers_and_equally_shaped_tensors_are_joined(entries, joined):
    history = recorded(Recorder(1), 1, lambda step: {"entry": entries[step]})
    torch.testing.assert_close(history["entry"], joined, rtol=0, atol=0)


@pytest.mark.parametrize(
    "entries",
    [["a", "b"], [torch.ones(2), torch.ones(3)], [1.0, torch.ones(2)], [{"a": 1}, {"a": 2}]],
    ids=["words", "shapes", "kinds", "dicts"],
)
def test_anything_else_is_a_list(entries):
    found = recorded(Recorder(1), 1, lambda step: {"entry": entries[step]})["entry"]
    assert type(found) is list and len(found) == 2
    assert all(str(one) == str(other) for one, other in zip(found, entries, strict=True))


def test_the_clock_stands_still_while_the_recorder_records(monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])

    def metric(state):
        clock["now"] += 1000
        return 0.0

    recorder = Recorder(2, metrics={"slow": metric})
    for step, seconds in enumerate([1.0, 3.0, 6.0]):
        clock["now"] += step + 1
        recorder.record(step)
        assert recorder.seconds == seconds


def test_a_history_names_what_it_has():
    history = recorded(Recorder(1), 1, lambda step: {"loss": 0.0, "nc1": 1.0})
    assert history.values.keys() == {"loss", "nc1"}
    with pytest.raises(KeyError, match="'nc2' was not recorded: 'loss', 'nc1' was"):
        history["nc2"]
    with pytest.raises(KeyError, match="nothing was"):
        Recorder(1).history()["nc2"]


def test_a_history_moves_with_all_it_holds():
    history = History(torch.tensor([0]), {"a": torch.zeros(1, 2), "b": [torch.ones(1), "word"]})
    moved = history.to("meta")
    assert type(moved) is History and moved["b"][1] == "word"
    assert {tensor.device.type for tensor in (moved.steps, moved["a"], moved["b"][0])} == {"meta"}
    assert history["a"].device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"steps": -1}, ValueError, "steps must be an integer >= 0, got -1"),
        ({"steps": 2.0}, TypeError, "steps must be an integer >= 0, got 2.0"),
        ({"every": 0}, ValueError, "every must be an integer >= 1, got 0"),
        ({"every": [0, 6]}, ValueError, r"every must be steps in 0 \.\. 5, got \[0, 6\]"),
        ({"every": [-1]}, ValueError, "each of every must be an integer >= 0, got -1"),
        ({"every": 1.5}, TypeError, "every must be an integer >= 1 or a sequence of steps"),
        ({"every": "2"}, TypeError, "every must be an integer >= 1 or a sequence of steps"),
        ({"metrics": [abs]}, TypeError, "metrics must be a dict from names to functions"),
        ({"metrics": {"a": 1}}, TypeError, "metrics must be a dict from names to functions"),
    ],
)
def test_a_recorder_refuses(options, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        Recorder(**{"steps": 5} | options)


# --- modes and accuracy -------------------------------------------------------------------------


def mixed():
    """A model of which one part is in evaluation mode and another is not."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    model[1].eval()
    return model


def modes(model):
    return [part.training for part in model.modules()]


def test_evaluating_gives_every_part_its_own_mode_back():
    model = mixed()
    before = modes(model)
    assert set(before) == {True, False}
    with evaluating(model) as same:
        assert same is model and not any(modes(model)) and not torch.is_grad_enabled()
    assert modes(model) == before and torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="on purpose"), evaluating(model):
        raise RuntimeError("on purpose")
    assert modes(model) == before and torch.is_grad_enabled()
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"), evaluating(abs):
        pass


def test_accuracy_is_the_share_of_right_answers_in_evaluation_mode():
    inputs, labels = problem()
    model = mixed()
    before, statistics = modes(model), copy.deepcopy(model[1].state_dict())
    weight, bias = model[0].weight.detach(), model[0].bias.detach()
    scores = (inputs @ weight.T + bias) / (1 + model[1].eps) ** 0.5
    expected = (scores.argmax(1) == labels).double().mean()
    assert 0 < expected < 1
    measured = accuracy(model, inputs, labels)
    assert measured == expected and measured.shape == () and measured.dtype == F64
    assert modes(model) == before and not measured.requires_grad
    assert all(torch.equal(model[1].state_dict()[key], value) for key, value in statistics.items())
    assert accuracy(model, inputs.numpy(), labels.numpy()) == expected


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"model": abs}, TypeError, "model must be a torch.nn.Module"),
        ({"model": nn.Flatten(0)}, ValueError, r"model must be a network with outputs .*\(N, K\)"),
        ({"labels": torch.zeros(6, 1).long()}, ValueError, r"labels must be .* shape \(6,\)"),
        ({"labels": torch.zeros(6)}, ValueError, "labels must be an integer tensor"),
        ({"labels": torch.zeros(5).long()}, ValueError, r"N samples each.*\(6, 3\) and \(5,\)"),
        ({"inputs": torch.zeros(0, 3), "labels": torch.zeros(0).long()}, ValueError, "N >= 1"),
    ],
)
def test_accuracy_refuses(arguments, kind, message):
    good = {"model": nn.Identity(), "inputs": torch.ones(6, 3), "labels": torch.zeros(6).long()}
    with pytest.raises(kind, match=message):
        accuracy(**good | arguments)


# --- the objective ------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "lr"), OPTIMIZERS.items())
def test_objective_decreases_the_same_way_every_time(optimizer, lr):
    inputs, labels = problem()
    torch.manual_seed(1)
    first = MLP([4, 16, 3], batch_norm=True).double()
    second, third, other = (copy.deepcopy(first) for _ in range(3))
    weights = flat(first)

    def objective(net):
        loss = nn.functional.cross_entropy(net(inputs), labels)
        return loss + 5e-3 / 2 * sum(p.square().sum() for p in net.parameters())

    settings = {"epochs": 5, "batch_size": 16, "lr": lr, "weight_decay": 5e-3}
    settings |= {"optimizer": optimizer, "metrics": {"objective": objective}}
    history = train(first, inputs, labels, **settings, generator=source(0))
    torch.manual_seed(99)
    again = train(second, inputs, labels, **settings, generator=source(0))
    assert history["objective"][-1] < 0.95 * history["objective"][0]
    assert torch.equal(history["objective"], again["objective"])
    assert torch.equal(flat(first), flat(second)) and not torch.equal(flat(first), weights)
    reshuffled = train(other, inputs, labels, **settings, generator=source(1))
    torch.manual_seed(0)  # without a generator it is torch's own
    own = train(third, inputs, labels, **settings)
    if optimizer != "lbfgs":  # full batches have no order to speak of
        assert reshuffled["objective"][-1] != history["objective"][-1]
        assert torch.equal(own["objective"], history["objective"])


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


def test_any_loss_is_minimised():
    inputs, labels = problem()
    ours, theirs = linear(), linear()
    train(ours, inputs, labels, epochs=3, batch_size=60, loss=FocalLoss(3.0))
    solver = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        solver.zero_grad()
        right = theirs(inputs).log_softmax(1)[torch.arange(60), labels]
        (-((1 - right.exp()) ** 3) * right).mean().backward()
        solver.step()
    close(flat(ours), flat(theirs))
    assert (flat(ours) - flat(linear())).abs().max() > 1e-3


def test_arrays_train_as_tensors_do():
    inputs, labels = problem()
    ours, theirs = linear(), linear()
    train(ours, inputs.numpy(), labels.numpy(), epochs=2, generator=source(0))
    train(theirs, inputs, labels, epochs=2, generator=source(0))
    assert torch.equal(flat(ours), flat(theirs))


# --- the course of a training -------------------------------------------------------------------


def test_milestones_divide_the_rate_by_ten():
    model, inputs = nn.Linear(1, 1, bias=False).double(), torch.ones(4, 1, dtype=F64)
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
    assert -history["weight"].diff().numpy() == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize(
    ("epochs", "every", "measured"),
    [
        (1, 5, [0, 1]),
        (6, 3, [0, 3, 6]),
        (7, 3, [0, 3, 6, 7]),
        (3, 1, [0, 1, 2, 3]),
        (5, [4, 2], [2, 4, 5]),
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
    assert history.steps.tolist() == history["seen"].tolist() == measured
    assert steps == [16, 16, 16, 12] * epochs
    assert not model.training
    assert train(model, inputs, labels, epochs=1).values == {}


def test_snapshots_of_the_features_are_joined():
    inputs, labels = problem()
    metrics = {"number": lambda model: model.bias.sum(), "features": lambda model: model(inputs)}
    history = train(linear(), inputs, labels, epochs=1, metrics=metrics)
    assert history["number"].shape == (2,) and history["features"].shape == (2, 60, 3)
    assert not torch.equal(*history["features"])


def test_every_sample_is_seen_once_an_epoch_in_a_new_order():
    inputs = torch.arange(10.0, dtype=F64)[:, None]
    seen = []

    def loss(logits, targets):
        seen.extend(targets.tolist())
        return logits.mean()

    model = nn.Linear(1, 1).double()
    train(model, inputs, inputs[:, 0], epochs=3, batch_size=4, loss=loss, generator=source(0))
    orders = [seen[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != sorted(orders[2])


def test_a_last_batch_of_one_joins_the_one_before():
    inputs, labels = problem(33)
    sizes = []

    def loss(logits, targets):
        sizes.append(len(targets))
        return nn.functional.cross_entropy(logits, targets)

    net = MLP([4, 8, 3], batch_norm=True).double()
    train(net, inputs, labels, epochs=2, batch_size=16, loss=loss)
    assert sizes == [16, 17] * 2


@pytest.mark.parametrize(
    ("network", "one"),
    [
        (lambda: MLP([4, 8, 3]), True),
        (lambda: MLP([4, 1023, 1023, 3]), False),  # 1 055 739 parameters
        (
            lambda: nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Flatten()),
            False,
        ),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, 2, 2)), ViT((1, 2, 2), 3, patch=1)), True),
    ],
    ids=["small", "large", "convolution", "transformer"],
)
def test_small_networks_without_convolutions_train_on_one_thread(network, one):
    inputs, labels = torch.randn(6, 4, generator=source(0)), torch.arange(6) % 3
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        metrics = {"threads": lambda model: seen.append(torch.get_num_threads())}
        train(network(), inputs, labels, epochs=1, metrics=metrics)
        assert seen == [1 if one else 2] * 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- what is refused ----------------------------------------------------------------------------


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


def test_a_finite_loss_with_a_parameter_that_is_not_is_divergence():
    model, inputs = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    with pytest.raises(FloatingPointError, match=r"epoch 1, where the loss was 1\b"):
        # The loss is 1 when the step begins that carries the weight beyond all floats.
        train(
            model,
            inputs,
            inputs,
            epochs=2,
            lr=1e38,
            loss=lambda z, _: 1 + 1e3 * (z - z.detach()).mean(),
        )
    assert model.weight.isinf().all()


def test_a_loss_that_is_not_finite_with_finite_parameters_is_divergence():
    model, inputs = nn.Linear(1, 1), torch.ones(2, 1)
    with pytest.raises(FloatingPointError, match=r"epoch 1, where the loss was inf"):
        train(model, inputs, inputs, epochs=2, lr=0.1, loss=lambda z, _: z.mean() + torch.inf)
    assert flat(model).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer >= 1, got 0"),
        ({"every": 0}, ValueError, "every must be an integer >= 1, got 0"),
        ({"every": [0, 200]}, ValueError, r"every must be steps in 0 \.\. 1, got \[0, 200\]"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1, got 0"),
        ({"lr": 0}, ValueError, "lr must be a finite number > 0, got 0"),
        ({"weight_decay": -1e-3}, ValueError, "weight_decay must be a finite number >= 0"),
        ({"momentum": 1.0}, ValueError, "momentum must be a finite number >= 0 and < 1, got 1.0"),
        ({"momentum": -0.1}, ValueError, "momentum must be a finite number >= 0 and < 1"),
        ({"optimizer": "rmsprop"}, ValueError, "optimizer must be one of .*, got 'rmsprop'"),
        ({"milestones": [-1]}, ValueError, "each of milestones must be an integer >= 0, got -1"),
        ({"generator": 0}, TypeError, "generator must be a torch.Generator or None, got 0"),
        ({"loss": "mse"}, TypeError, "loss must be a function, got 'mse'"),
        ({"loss": lambda logits: 0}, TypeError, "loss must be a function of logits and labels"),
        ({"loss": lambda *_: 0.5}, TypeError, "loss must be .* a 0-d tensor, got 0.5"),
        ({"loss": lambda z, _: z}, TypeError, r"loss must be .* tensor, got .* shape \(60, 3\)"),
    ],
)
def test_bad_settings(settings, kind, message):
    inputs, labels = problem()
    with pytest.raises(kind, match=f"^{message}"):
        train(linear(), inputs, labels, **{"epochs": 1} | settings)


@pytest.mark.parametrize(
    ("rows", "classes", "shapes"), [(60, 59, r"\(60, 4\) and \(59,\)"), (0, 0, r"\(0, 4\) and")]
)
def test_as_many_inputs_as_labels_and_at_least_one(rows, classes, shapes):
    inputs, labels = problem()
    with pytest.raises(ValueError, match=f"inputs and labels must be N samples each.*{shapes}"):
        train(linear(), inputs[:rows], labels[:classes], epochs=1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 3).double(), "model and inputs must fit each other, but: "),
        (nn.Linear(4, 3), "inputs must be of the type torch.float32"),
        (nn.Identity(), "model must be a network with parameters, got a module Identity"),
    ],
)
def test_models_that_do_not_fit_the_data(model, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        train(model, *problem(), epochs=1)


def test_the_first_failure_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(FloatingPointError):
            train(linear(), *problem(), epochs=1, loss=lambda z, _: z.mean() + torch.inf)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
