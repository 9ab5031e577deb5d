"""One training loop for every chapter."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import trange

__all__ = ["History", "train"]


@dataclass
class History:
    """What was measured during training.

    Attributes
    ----------
    epochs : list of int
        Epochs after which the metrics were taken; 0 is before the first step.
    values : dict of str to list
        One list per metric, as long as ``epochs``; ``history["nc1"]`` is short for its entry.
    """

    epochs: list = field(default_factory=list)
    values: dict = field(default_factory=dict)

    def __getitem__(self, name):
        return self.values[name]

    def record(self, epoch, model, metrics):
        """Take ``{name: metric(model)}`` without gradients and file it under an epoch."""
        self.epochs.append(epoch)
        with torch.no_grad():
            for name, metric in metrics.items():
                value = metric(model)
                if isinstance(value, Tensor):
                    value = value.item() if value.ndim == 0 else value.detach().clone()
                self.values.setdefault(name, []).append(value)


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
    loss=functional.cross_entropy,
    metrics=None,
    every=1,
    seed=0,
):
    r"""Minimise the mean loss plus :math:`\frac{\lambda}{2} \|\theta\|^2` and record metrics.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place, on the device where it is.
    inputs : Tensor, shape (N, …)
        Training inputs, on the model's device.
    labels : Tensor, shape (N,)
        Their labels, on the same device.
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
    loss : callable, optional
        ``loss(logits, labels)`` → 0-d tensor, a mean over the batch.
    metrics : dict of str to callable, optional
        ``name: metric(model)``, called without gradients and in evaluation mode. A 0-d tensor is
        recorded as a number, anything else (a snapshot of the features, say) as it is.
    every : int or sequence of int, optional
        Epochs between two measurements, of which the last epoch is always one; or the epochs after
        which to measure, in 0 .. epochs.
    seed : int, optional
        Seed of the batches' order.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        For an unknown optimizer, or numbers out of range.
    FloatingPointError
        If the loss or a parameter stops being finite; the message names the learning rate.

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> _ = torch.manual_seed(0)
    >>> inputs = torch.randn(60, 4)
    >>> labels = (inputs[:, 0] > 0).long()
    >>> net = MLP([4, 16, 2])
    >>> accuracy = lambda net: (net(inputs).argmax(1) == labels).float().mean()
    >>> history = train(net, inputs, labels, epochs=30, metrics={"accuracy": accuracy}, every=10)
    >>> history.epochs, history["accuracy"][-1] > 0.9
    ([0, 10, 20, 30], True)
    """
    if epochs < 1 or batch_size < 1 or (isinstance(every, int) and every < 1):
        raise ValueError(
            f"epochs, every and batch_size must be positive, got {epochs}, {every}, {batch_size}"
        )
    measured = {*range(0, epochs, every), epochs} if isinstance(every, int) else set(every)
    if not measured <= set(range(epochs + 1)):
        raise ValueError(f"epochs to measure must lie in 0 .. {epochs}, got {sorted(measured)}")
    if lr <= 0 or weight_decay < 0 or not 0 <= momentum < 1:
        raise ValueError(
            "need lr > 0, weight_decay >= 0 and 0 <= momentum < 1, "
            f"got {lr}, {weight_decay}, {momentum}"
        )
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(f"got {len(inputs)} inputs and {len(labels)} labels")
    parameters = list(model.parameters())
    if optimizer == "sgd":
        solver = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    elif optimizer == "adam":
        solver = torch.optim.Adam(parameters, lr, weight_decay=weight_decay)
    elif optimizer == "lbfgs":
        solver = torch.optim.LBFGS(parameters, lr, line_search_fn="strong_wolfe")
        batch_size = len(inputs)
    else:
        raise ValueError(f'optimizer must be "sgd", "adam" or "lbfgs", got {optimizer!r}')
    schedule = torch.optim.lr_scheduler.MultiStepLR(solver, list(milestones), gamma=0.1)
    generator = torch.Generator().manual_seed(seed)
    history = History()

    def measure(epoch):
        model.eval()
        history.record(epoch, model, metrics or {})

    if 0 in measured:
        measure(0)
    for epoch in trange(1, epochs + 1, desc=f"training ({optimizer})", unit="epoch", leave=False):
        model.train()
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for batch in _batches(order, batch_size):
            rows, classes = inputs[batch], labels[batch]

            def closure(rows=rows, classes=classes):
                solver.zero_grad()
                objective = loss(model(rows), classes)
                if optimizer == "lbfgs":  # the other two add the penalty's gradient themselves
                    squares = sum(parameter.square().sum() for parameter in parameters)
                    objective = objective + weight_decay / 2 * squares
                objective.backward()
                return objective

            value = solver.step(closure)
        schedule.step()
        if not (value.isfinite() and all(p.isfinite().all() for p in parameters)):
            raise FloatingPointError(
                f"training diverged in epoch {epoch}, where the loss was {value.item():.3g}, "
                f"with lr={lr}: try a smaller one"
            )
        if epoch in measured:
            measure(epoch)
    return history


def _batches(order, size):
    """Split an order of the samples into batches; batch norm cannot take a batch of one."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
