"""One training loop for every chapter, and the recorder that every descent of this library uses."""

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from lecturelib import checks
from lecturelib.device import Movable, one_thread
from lecturelib.losses import CrossEntropy

__all__ = ["History", "Recorder", "accuracy", "evaluating", "train"]

# A network without convolutions and with fewer parameters trains on one thread.
SMALL_NETWORK = 2**20


@dataclass(frozen=True, eq=False)
class History(Movable):
    """What was measured during a run; ``history["nc1"]`` is short for ``history.values["nc1"]``.

    Attributes
    ----------
    steps : Tensor, shape (T,)
        When: steps taken before the measurement, int64; 0 is the start. Of
        :func:`~lecturelib.training.train`, epochs.
    values : dict of str to Tensor or list
        What: numbers as a float64 tensor of shape (T,) on the CPU; tensors of one shape as a tensor
        of shape (T, …); anything else as a list of length T.

    Examples
    --------
    >>> recorder = Recorder(steps=2, every=1)
    >>> for step in range(3):
    ...     recorder.record(step, square=step**2)
    >>> recorder.history()["square"]
    tensor([0., 1., 4.], dtype=torch.float64)
    """

    steps: Tensor
    values: dict

    def __getitem__(self, name):
        if name not in self.values:
            known = ", ".join(map(repr, self.values)) or "nothing"
            raise KeyError(f"{name!r} was not recorded: {known} was")
        return self.values[name]


class Recorder:
    """Observes a run: says when it is due, keeps what it saw, and the time the run itself took.

    Parameters
    ----------
    steps : int
        Number of steps that are planned, not negative.
    every : int or sequence of int, optional
        Steps between two records, or the steps to record, in 0 .. ``steps``. The end always is one.
    metrics : dict of str to callable, optional
        ``name: metric(state)``, called without gradients at every record.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> recorder = Recorder(steps=5, every=2, metrics={"half": lambda state: state / 2})
    >>> for step in range(6):
    ...     if recorder.due(step):
    ...         recorder.record(step, 10.0 * step)
    >>> recorder.history().steps.tolist(), recorder.history()["half"].tolist()
    ([0, 2, 4, 5], [0.0, 10.0, 20.0, 25.0])
    """

    def __init__(self, steps, every=1, metrics=None):
        self.end = checks.integer("steps", steps, least=0)
        self.planned = _planned(every, self.end)
        self.metrics = checks.functions("metrics", metrics)
        self._steps, self._values = [], {}
        self._spent, self._resumed = 0.0, time.perf_counter()

    @property
    def seconds(self):
        """Seconds since the recorder was made, without those that recording took."""
        return self._spent + time.perf_counter() - self._resumed

    def due(self, step):
        """Say whether a step is to be recorded."""
        return step == self.end or step in self.planned

    def record(self, step, state=None, **measured):
        """File a step.

        Parameters
        ----------
        step : int
            The step.
        state : object, optional
            What the metrics are called with.
        **measured : Tensor, number or object
            What the run has measured itself, by name.
        """
        self._spent = self.seconds
        with torch.no_grad():
            seen = {name: metric(state) for name, metric in self.metrics.items()}
        self._steps.append(step)
        for name, value in (measured | seen).items():
            # The run goes on to change its tensors in place.
            kept = value.detach().clone() if isinstance(value, Tensor) else value
            self._values.setdefault(name, []).append(kept)
        self._resumed = time.perf_counter()

    def history(self):
        """Return what was recorded, a :class:`History`."""
        values = {name: _joined(entries) for name, entries in self._values.items()}
        return History(steps=torch.tensor(self._steps, dtype=torch.int64), values=values)


def _planned(every, steps):
    if isinstance(every, Sequence | Tensor | np.ndarray) and not isinstance(every, str):
        planned = set(checks.integers("every", every, least=0))
        if planned and max(planned) > steps:
            raise checks.wrong("every", f"steps in 0 .. {steps}", sorted(planned))
        return planned
    if not isinstance(every, Integral):
        raise checks.wrong("every", "an integer >= 1 or a sequence of steps", every, TypeError)
    return range(0, steps + 1, checks.integer("every", every, least=1))


def _joined(entries):
    """Join the values of one metric: numbers and equally shaped tensors to a tensor."""
    if all(isinstance(entry, int | float | np.number) for entry in entries):
        return torch.tensor([float(entry) for entry in entries], dtype=torch.float64)
    if not all(isinstance(entry, Tensor) for entry in entries):
        return entries
    if len({entry.shape for entry in entries}) > 1:
        return entries
    joined = torch.stack(entries)
    return joined.cpu().double() if joined.ndim == 1 else joined


@contextmanager
def evaluating(model):
    """Put a model into evaluation mode within a block, then every part back into its own mode.

    Gradients are off within the block.

    Parameters
    ----------
    model : torch.nn.Module
        The model.

    Yields
    ------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If it is no module.

    Examples
    --------
    >>> model = torch.nn.Dropout()
    >>> with evaluating(model):
    ...     model.training, torch.is_grad_enabled()
    (False, False)
    >>> model.training
    True
    """
    model = checks.module("model", model)
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for part, mode in modes:
            part.training = mode


def accuracy(model, inputs, labels):
    """Return the share of inputs that a classifier gets right.

    Parameters
    ----------
    model : torch.nn.Module
        Maps inputs to logits (N, K); used in evaluation mode and left as it was.
    inputs : Tensor, shape (N, …)
        Inputs, on the model's device.
    labels : Tensor, shape (N,)
        Their classes.

    Returns
    -------
    Tensor, 0-d
        In [0, 1], float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> model = torch.nn.Identity()
    >>> accuracy(model, torch.eye(4), torch.tensor([0, 1, 2, 0]))
    tensor(0.7500, dtype=torch.float64)
    """
    model = checks.module("model", model)
    inputs, labels = _checked_data(model, inputs, labels)
    labels = checks.labels("labels", labels, len(inputs))
    with evaluating(model):
        predicted = model(inputs).argmax(-1)
    if predicted.shape != labels.shape:
        raise checks.wrong("model", "a network with outputs of shape (N, K)", model)
    return (predicted == labels).double().mean()


def train(
    model,
    inputs,
    labels,
    *,
    epochs,
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    weight_decay=0.0,
    milestones=(),
    batch_size=128,
    loss=None,
    metrics=None,
    every=1,
    generator=None,
):
    r"""Minimise the mean loss plus :math:`\frac{\lambda}{2} \|\theta\|^2` and record metrics.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place, on the device where it is.
    inputs : Tensor, shape (N, …)
        Training inputs, on the model's device.
    labels : Tensor, shape (N,)
        Their labels, on the same device; or whatever the loss compares outputs with, N of them.
    epochs : int
        Passes over the data; for L-BFGS, outer steps of up to 20 inner iterations each.
    optimizer : {"sgd", "adam", "lbfgs"}, optional
        SGD with momentum, Adam, or full-batch L-BFGS with strong Wolfe line search. All three
        treat weight decay as the penalty above, so that they minimise the same function.
    lr : float, optional
        Learning rate (for L-BFGS the first trial step), positive.
    momentum : float, optional
        Momentum of SGD, in [0, 1).
    weight_decay : float, optional
        The penalty's :math:`\lambda \ge 0`, on all parameters.
    milestones : sequence of int, optional
        Epochs after which the learning rate is divided by 10.
    batch_size : int, optional
        Samples per step; a last batch of a single sample joins the one before it.
    loss : Loss or callable, optional
        ``loss(logits, labels)`` → 0-d tensor, a mean over the batch, such as the losses of
        :mod:`lecturelib.losses` (default: cross-entropy).
    metrics : dict of str to callable, optional
        ``name: metric(model)``, called without gradients and in evaluation mode.
    every : int or sequence of int, optional
        Epochs between two measurements; or the epochs after which to measure, in 0 .. ``epochs``.
        The last epoch always is one.
    generator : torch.Generator, optional
        Of the batches' order, on the CPU (default: torch's global one).

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or inputs and labels differ in number.
    FloatingPointError
        If the loss or a parameter stops being finite; the message names the learning rate.

    Notes
    -----
    A network without convolutions and with fewer than a million parameters is trained on one CPU
    thread: on a busy machine two lose far more by waiting for each other than they gain. The model
    is left in evaluation mode.

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> _ = torch.manual_seed(0)
    >>> inputs = torch.randn(60, 4)
    >>> labels = (inputs[:, 0] > 0).long()
    >>> net = MLP([4, 16, 2])
    >>> metrics = {"accuracy": lambda net: accuracy(net, inputs, labels)}
    >>> history = train(net, inputs, labels, epochs=30, metrics=metrics, every=10)
    >>> history.steps.tolist(), bool(history["accuracy"][-1] > 0.9)
    ([0, 10, 20, 30], True)
    """
    model = checks.module("model", model)
    inputs, labels = _checked_data(model, inputs, labels)
    epochs = checks.integer("epochs", epochs, least=1)
    optimizer = checks.choice("optimizer", optimizer, ["sgd", "adam", "lbfgs"])
    lr = checks.number("lr", lr, above=0)
    momentum = checks.number("momentum", momentum, least=0, below=1)
    weight_decay = checks.number("weight_decay", weight_decay, least=0)
    milestones = checks.integers("milestones", milestones, least=0)
    batch_size = checks.integer("batch_size", batch_size, least=1)
    loss = CrossEntropy() if loss is None else checks.function("loss", loss)
    generator = checks.generator("generator", generator)
    recorder = Recorder(epochs, every, metrics)

    parameters = list(model.parameters())
    if not parameters:
        raise checks.wrong("model", "a network with parameters", model)
    if optimizer == "sgd":
        solver = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    elif optimizer == "adam":
        solver = torch.optim.Adam(parameters, lr, weight_decay=weight_decay)
    else:
        solver = torch.optim.LBFGS(parameters, lr, line_search_fn="strong_wolfe")
        batch_size = len(inputs)
    schedule = torch.optim.lr_scheduler.MultiStepLR(solver, milestones, gamma=0.1)

    def step(rows, targets):
        def closure():
            solver.zero_grad()
            objective = _mean_loss(loss, model(rows), targets)
            if optimizer == "lbfgs":  # the other two add the penalty's gradient themselves
                squares = sum(parameter.square().sum() for parameter in parameters)
                objective = objective + weight_decay / 2 * squares
            objective.backward()
            return objective

        return solver.step(closure)

    with one_thread(_is_small(parameters)):
        for epoch in trange(epochs + 1, desc=f"training ({optimizer})", unit="epoch", leave=False):
            if epoch > 0:
                model.train()
                order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
                for batch in _batches(order, batch_size):
                    value = step(inputs[batch], labels[batch])
                schedule.step()
                if not (value.isfinite() and all(p.isfinite().all() for p in parameters)):
                    raise FloatingPointError(
                        f"training diverged in epoch {epoch}, where the loss was "
                        f"{value.item():.3g}, with lr={lr}: try a smaller one"
                    )
            if recorder.due(epoch):
                model.eval()
                recorder.record(epoch, model)
    return recorder.history()


def _checked_data(model, inputs, labels):
    inputs = checks.inputs("inputs", inputs, model)
    labels = checks.tensor("labels", labels, kind="real", finite=False)
    if inputs.ndim == 0 or labels.ndim == 0 or not 0 < len(inputs) == len(labels):
        raise ValueError(
            "inputs and labels must be N samples each, N >= 1, "
            f"got shapes {tuple(inputs.shape)} and {tuple(labels.shape)}"
        )
    try:
        with evaluating(model):
            model(inputs[:1])
    except RuntimeError as error:
        raise ValueError(f"model and inputs must fit each other, but: {error}") from error
    return inputs, labels.to(inputs.device)


def _mean_loss(loss, outputs, targets):
    """Return the loss of a batch, after checking that it is one."""
    try:
        value = loss(outputs, targets)
    except TypeError as error:
        raise TypeError(f"loss must be a function of logits and labels, but: {error}") from error
    if not isinstance(value, Tensor) or value.ndim > 0:
        raise checks.wrong("loss", "a function that returns a 0-d tensor", value, TypeError)
    return value


def _is_small(parameters):
    flat = all(parameter.ndim <= 2 for parameter in parameters)
    return flat and sum(parameter.numel() for parameter in parameters) < SMALL_NETWORK


def _batches(order, size):
    """Split an order of the samples into batches; batch norm cannot take a batch of one."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
