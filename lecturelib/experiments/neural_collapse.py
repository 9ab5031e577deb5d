"""Runs of the chapter *Neural collapse*: its networks again, from five starts."""

from dataclasses import dataclass

import torch

from lecturelib.datasets import load_standardized
from lecturelib.device import seed_everything
from lecturelib.experiments import Experiment
from lecturelib.metrics import (
    ClassStatistics,
    bias_measure,
    cosines,
    equiangularity,
    equinorm,
    nc1,
    nc2,
    nc3,
    nc4,
)
from lecturelib.networks import MLP
from lecturelib.training import accuracy, train

__all__ = ["EXPERIMENTS", "collapse"]

SEEDS = range(5)
WIDTHS = (10, 20, 50, 100, 200)
# The chapter's settings of each task: all digits, those below 4, frequent and rare ones, 500 images
# with random labels, and noise in their place.
TASKS = {
    "digits": {"epochs": 480, "milestones": [400], "batch_size": 350},
    "four": {"epochs": 300, "milestones": [250], "batch_size": 140},
    "imbalanced": {"epochs": 480, "milestones": [400], "batch_size": 350},
    "labels": {"epochs": 600, "milestones": [450], "batch_size": 250},
    "noise": {"epochs": 600, "milestones": [450], "batch_size": 250},
}
OPTIMIZERS = {
    "sgd": {"lr": 0.02},
    "adam": {"lr": 1e-3},
    "lbfgs": {"lr": 1.0, "epochs": 32, "milestones": []},
}


@dataclass(frozen=True)
class _Data:
    """Training and test images of a task with their labels."""

    inputs: torch.Tensor
    labels: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor


def collapse(*, seed, task, optimizer="sgd", width=100, weight_decay=5e-3, lr=None, epochs=None):
    r"""Train a network past zero error and measure its collapse at the end.

    Parameters
    ----------
    seed : int
        Of the weights, the order of the batches, and what the task draws.
    task : {"digits", "four", "imbalanced", "labels", "noise"}
        What it learns: all digits; the digits below 4; ten images of each digit above 4; random
        labels of 50 images a digit; these labels of Gaussian noise.
    optimizer : {"sgd", "adam", "lbfgs", "none"}, optional
        The algorithm; with "none" the network stays as it starts.
    width : int, optional
        Of the five hidden layers.
    weight_decay : float, optional
        :math:`\lambda`.
    lr : float, optional
        Learning rate in place of the chapter's.
    epochs : int, optional
        Passes through the data in place of the chapter's; milestones move in proportion.

    Returns
    -------
    dict
        The settings and the measures by name, rounded to four digits. Of the training features
        ``nc1``, ``nc2`` (centred means), ``nc2_classifier``, ``nc3``, ``duality`` (the smallest
        cosine of a row of W and its centred mean), ``cosines`` (least, mean and largest between
        uncentred means), ``equinorm`` and ``equiangularity`` of centred means and of W,
        ``bias_measure`` and, beside it, ``logits`` (root mean square of their norm); of the test
        images ``nc4`` (with the training means) and ``test_nc1``; both accuracies. Where classes
        differ in size, ``groups``: mean cosines of the centred means among the frequent, among the
        rare, and between them, and the rare ones' length over the frequent ones'.

    Examples
    --------
    >>> row = collapse(seed=0, task="four", optimizer="none")
    >>> row["nc1"] > 1, row["train_accuracy"] < 0.5
    (True, True)
    """
    data = _data(task, seed)
    num_classes = int(data.labels.max()) + 1
    seed_everything(seed)
    net = MLP([data.inputs[0].numel(), *[width] * 5, num_classes], batch_norm=True).eval()
    if optimizer != "none":
        options = TASKS[task] | OPTIMIZERS[optimizer] | {"weight_decay": weight_decay}
        if lr is not None:
            options["lr"] = lr
        if epochs is not None:
            stretched = [at * epochs // options["epochs"] for at in options["milestones"]]
            options |= {"epochs": epochs, "milestones": stretched}
        train(net, data.inputs, data.labels, optimizer=optimizer, every=[0], **options)
    row = {
        "seed": seed,
        "task": task,
        "optimizer": optimizer,
        "width": width,
        "weight_decay": weight_decay,
        "lr": lr,
        "epochs": epochs,
    }
    with torch.no_grad():
        return row | _measured(net, data, grouped=task == "imbalanced")


def _data(task, seed):
    """Return what a task trains and tests on."""
    training, testing = load_standardized("digits")
    inputs, labels = training.inputs, training.labels
    generator = torch.Generator().manual_seed(seed)
    places = [(labels == k).nonzero().flatten() for k in range(10)]
    if task == "four":
        kept, tested = labels < 4, testing.labels < 4
        return _Data(inputs[kept], labels[kept], testing.inputs[tested], testing.labels[tested])
    if task == "imbalanced":
        rows = torch.cat([place[: 140 if k < 5 else 10] for k, place in enumerate(places)])
        inputs, labels = inputs[rows], labels[rows]
    elif task != "digits":
        rows = torch.cat([place[:50] for place in places])
        order = torch.randperm(len(rows), generator=generator)
        inputs, labels = inputs[rows], labels[rows][order]
        if task == "noise":
            inputs = torch.randn(inputs.shape, generator=generator)
    return _Data(inputs, labels, testing.inputs, testing.labels)


def _measured(net, data, *, grouped):
    """Measure a network's collapse."""
    features, tested = net.features(data.inputs), net.features(data.test_inputs)
    head = net.head
    statistics = ClassStatistics.from_features(features, data.labels)
    means, centred = statistics.means, statistics.centred_means
    angles = cosines(means)
    duality = torch.cosine_similarity(head.weight.to(centred), centred)
    values = {
        "nc1": nc1(features, data.labels),
        "nc2": nc2(centred),
        "nc2_classifier": nc2(head.weight),
        "nc3": nc3(head.weight, means),
        "nc4": nc4(tested, data.test_labels, head.weight, head.bias, means=means),
        "duality": duality.min(),
        "cosines": torch.stack([angles.min(), angles.mean(), angles.max()]),
        "equinorm": equinorm(centred),
        "equiangularity": equiangularity(centred),
        "equinorm_classifier": equinorm(head.weight),
        "equiangularity_classifier": equiangularity(head.weight),
        "bias_measure": bias_measure(head.weight, head.bias, statistics.global_mean),
        "logits": net(data.inputs).square().sum(1).mean().sqrt(),
        "test_nc1": nc1(tested, data.test_labels),
        "train_accuracy": accuracy(net, data.inputs, data.labels),
        "test_accuracy": accuracy(net, data.test_inputs, data.test_labels),
    }
    if grouped:
        values["groups"] = _groups(centred)
    return {name: _rounded(value.tolist()) for name, value in values.items()}


def _groups(centred):
    """Cosines within and between the first and the second half, and the halves' lengths."""
    half = len(centred) // 2
    frequent, rare = centred[:half], centred[half:]
    lengths = centred.norm(dim=1)
    between = torch.cosine_similarity(frequent[:, None], rare, dim=-1)
    ratio = lengths[half:].mean() / lengths[:half].mean()
    return torch.stack([cosines(frequent).mean(), cosines(rare).mean(), between.mean(), ratio])


def _rounded(value):
    """Round to four significant digits."""
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.4g}")


_RUNS = (
    {"task": "digits", "optimizer": "none"},
    {"task": "digits"},
    {"task": "digits", "weight_decay": 0.0},
    {"task": "digits", "weight_decay": 2e-4},
    {"task": "digits", "weight_decay": 2e-2},
    {"task": "digits", "optimizer": "adam"},
    {"task": "digits", "optimizer": "lbfgs"},
    {"task": "digits", "optimizer": "adam", "weight_decay": 0.0},
    {"task": "digits", "optimizer": "lbfgs", "weight_decay": 0.0},
    {"task": "digits", "weight_decay": 2e-4, "lr": 0.5},
    {"task": "digits", "weight_decay": 0.0, "lr": 0.5},
    {"task": "digits", "epochs": 1920},
    {"task": "digits", "epochs": 1920, "weight_decay": 0.0},
    {"task": "four", "optimizer": "none"},
    {"task": "four"},
    {"task": "four", "weight_decay": 0.0},
    {"task": "imbalanced"},
    *({"task": "labels", "width": width, "weight_decay": 1e-2} for width in WIDTHS),
    {"task": "labels", "width": 20, "weight_decay": 1e-2, "epochs": 2400},
    {"task": "labels", "width": 200, "weight_decay": 0.0},
    {"task": "noise", "width": 200, "weight_decay": 1e-2},
    {"task": "noise", "width": 200, "weight_decay": 0.0},
)

EXPERIMENTS = (
    Experiment(
        name="collapse-seeds",
        cell=collapse,
        grid=tuple({"seed": seed} | settings for seed in SEEDS for settings in _RUNS),
    ),
)
