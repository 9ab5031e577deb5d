"""Runs of the chapter *Are all losses created equal?*."""

import math
from itertools import product

import torch

from lecturelib.datasets import load_standardized
from lecturelib.experiments import Experiment
from lecturelib.losses import CrossEntropy, FocalLoss, LabelSmoothing, SquaredError
from lecturelib.metrics import ClassStatistics, bias_measure, cosines, equinorm, nc1, nc2, nc3
from lecturelib.networks import MLP
from lecturelib.training import accuracy, train

__all__ = ["EXPERIMENTS", "classifier_pull", "digits_split", "geometry", "loss_grid"]

LOSSES = {
    "CE": CrossEntropy(),
    "FL": FocalLoss(3.0),
    "LS": LabelSmoothing(0.1),
    "MSE": SquaredError(),
}


def digits_split(samples_per_class=30):
    """Split the digits so that few are learned from and many are tested on.

    Parameters
    ----------
    samples_per_class : int, optional
        Number n of training images of each class, at most 140.

    Returns
    -------
    train, test : tuple of (Tensor, Tensor)
        Inputs and labels: the first n of each class of the training set, and all others of both
        sets, 1797 - 10 n.

    Examples
    --------
    >>> (_, train), (_, test) = digits_split()
    >>> train.bincount().tolist(), len(test)
    ([30, 30, 30, 30, 30, 30, 30, 30, 30, 30], 1497)
    """
    first, second = load_standardized("digits")
    few = torch.cat([(first.labels == k).nonzero()[:samples_per_class, 0] for k in range(10)])
    rest = torch.ones(len(first.labels), dtype=torch.bool)
    rest[few] = False
    inputs = torch.cat([first.inputs[rest], second.inputs])
    labels = torch.cat([first.labels[rest], second.labels])
    return (first.inputs[few], first.labels[few]), (inputs, labels)


@torch.no_grad()
def geometry(net, inputs, labels):
    r"""Measure the features of a network and its classifier, and what the models predict of them.

    Parameters
    ----------
    net : MLP
        The network, in evaluation mode.
    inputs : Tensor, shape (N, …)
        Training inputs.
    labels : Tensor, shape (N,)
        Their classes.

    Returns
    -------
    dict of str to float
        ``nc1``, ``nc2`` of the centred class means, ``nc2_w`` of the classifier, ``nc3``; mean,
        least and largest cosine between class means that are not centred (``cosine``,
        ``cosine_min``, ``cosine_max``); ``equinorm`` of these means; mean and standard deviation of
        the margins, right score minus mean of the wrong ones (``margin``, ``margin_sd``);
        ``bias_measure``; the norms ``norm_w`` of the classifier and ``norm_h`` of all features; and
        ``alignment``, how near :math:`\langle W, P S \rangle`, with the centred class sums, comes
        to the most that it can be for positive features of these norms, as many in each class.

    Examples
    --------
    >>> (inputs, labels), _ = digits_split(2)
    >>> _ = torch.manual_seed(0)
    >>> measured = geometry(MLP([64, 8, 10]).eval(), inputs, labels)
    >>> measured["cosine_min"] <= measured["cosine"] <= measured["cosine_max"]
    True
    """
    features = net.features(inputs).double()
    weight, bias = net.head.weight.double(), net.head.bias.double()
    statistics = ClassStatistics.from_features(features, labels)
    means = statistics.means
    angles = cosines(means)
    scores = features @ weight.T + bias
    right = scores.gather(1, labels[:, None])
    margins = (right - scores).sum(1) / (len(weight) - 1)
    counts = labels.bincount(minlength=len(means)).double()[:, None]
    sums = counts * means
    most = weight.norm() * features.norm() * math.sqrt(len(labels) * (len(means) - 1)) / len(means)
    measured = {
        "nc1": nc1(features, labels),
        "nc2": nc2(statistics.centred_means),
        "nc2_w": nc2(weight),
        "nc3": nc3(weight, means),
        "cosine": angles.mean(),
        "cosine_min": angles.min(),
        "cosine_max": angles.max(),
        "equinorm": equinorm(means),
        "margin": margins.mean(),
        "margin_sd": margins.std(),
        "bias_measure": bias_measure(weight, bias, statistics.global_mean),
        "norm_w": weight.norm(),
        "norm_h": features.norm(),
        "alignment": (weight * (sums - sums.mean(0))).sum() / most,
    }
    return {name: float(f"{value:.6g}") for name, value in measured.items()}


@torch.no_grad()
def classifier_pull(net, inputs, labels, loss):
    r"""Return the weight decay at which the classifier would be at rest.

    Parameters
    ----------
    net : MLP
        The network; in training mode its batch normalisation takes the statistics of the inputs.
    inputs : Tensor, shape (N, …)
        Training inputs.
    labels : Tensor, shape (N,)
        Their classes.
    loss : Loss
        The loss.

    Returns
    -------
    float
        :math:`-\langle \nabla_W L, W \rangle / \|W\|_F^2`: how much the loss falls if W grows,
        relative to how much the penalty of weight decay 1 rises.

    Examples
    --------
    >>> (inputs, labels), _ = digits_split(2)
    >>> _ = torch.manual_seed(0)
    >>> net = MLP([64, 8, 10]).eval()
    >>> pull = classifier_pull(net, inputs, labels, CrossEntropy())
    >>> _ = net.head.weight.data.mul_(1e6)
    >>> abs(classifier_pull(net, inputs, labels, CrossEntropy())) < abs(pull)
    True
    """
    weight = net.head.weight.detach().double()
    products = net.features(inputs).double() @ weight.T
    _, gradient = loss.value_and_gradient(products + net.head.bias.double(), labels)
    return float(-(gradient * products).sum() / weight.square().sum())


def loss_grid(*, loss, width, epochs, seed, weight_decay):
    """Train an MLP on 300 digits with one of four losses, and measure it.

    Parameters
    ----------
    loss : {"CE", "FL", "LS", "MSE"}
        Cross-entropy, focal loss with γ = 3, label smoothing with α = 0.1, or squared error.
    width, epochs, seed : int
        Of each of the five hidden layers, passes over the data, and of the start and the batches.
    weight_decay : float
        On all parameters.

    Returns
    -------
    dict
        The settings; accuracies ``train`` and ``test``; what :func:`geometry` measures; and
        :func:`classifier_pull`, in evaluation (``pull``) and as in training, the mean over sixty
        batches of 100 (``pull_batch``).

    Examples
    --------
    >>> row = loss_grid(loss="CE", width=10, epochs=2, seed=0, weight_decay=0.005)
    >>> 0 < row["train"] < 1, row["loss"]
    (True, 'CE')
    """
    (inputs, labels), test = digits_split()
    torch.manual_seed(seed)
    net = MLP([64, *[width] * 5, 10], batch_norm=True)
    train(
        net,
        inputs,
        labels,
        epochs=epochs,
        lr=0.05,
        milestones=[epochs * 5 // 6],
        batch_size=100,
        weight_decay=weight_decay,
        loss=LOSSES[loss],
        every=[],
    )
    measured = geometry(net, inputs, labels)
    pull = classifier_pull(net, inputs, labels, LOSSES[loss])
    correct = {"train": accuracy(net, inputs, labels), "test": accuracy(net, *test)}
    generator, pulls = torch.Generator().manual_seed(seed), []
    net.train()  # from here on its running averages change
    for _ in range(20):
        for batch in torch.randperm(len(labels), generator=generator).split(100):
            pulls.append(classifier_pull(net, inputs[batch], labels[batch], LOSSES[loss]))
    return {
        "loss": loss,
        "width": width,
        "epochs": epochs,
        "seed": seed,
        "weight_decay": weight_decay,
        **{name: float(share) for name, share in correct.items()},
        **measured,
        "pull": float(f"{pull:.6g}"),
        "pull_batch": float(f"{sum(pulls) / len(pulls):.6g}"),
    }


def _cells(widths, epochs, decay):
    return [
        {"loss": loss, "width": width, "epochs": passes, "seed": seed, "weight_decay": decay}
        for passes, width, loss, seed in product(epochs, widths, LOSSES, range(5))
    ]


EXPERIMENTS = (
    Experiment(
        name="losses-grid",
        cell=loss_grid,
        grid=(
            *_cells((10, 30, 100), (30, 120, 480), 5e-3),
            *_cells((100,), (480,), 0.0),
        ),
    ),
)
