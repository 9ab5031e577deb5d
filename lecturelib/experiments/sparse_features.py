"""Runs of the chapter *Sparse features*."""

from contextlib import contextmanager
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lecturelib.datasets import load, load_standardized
from lecturelib.experiments import Experiment
from lecturelib.experiments._sparse_measures import bytes_kept, disturbed_codes, milliseconds
from lecturelib.networks import MLP
from lecturelib.sparse_features import (
    ConvolutionalSparseCoding,
    TopK,
    activation_sparsity,
    corrupt,
    pgd_attack,
)
from lecturelib.training import accuracy, train

__all__ = [
    "EXPERIMENTS",
    "RECIPES",
    "bytes_kept",
    "dial_gain",
    "disturbed_codes",
    "milliseconds",
    "noise_curves",
    "residual_correlation",
    "robust_network",
    "sparse_labels",
    "sparse_network",
    "sparse_robust",
    "sparse_start",
    "sparse_top",
    "sparse_turned",
]

#: Ways to train by SGD: options of :func:`~lecturelib.training.train`.
RECIPES = {
    "small steps": {"lr": 0.1, "momentum": 0.0},
    "large steps": {"lr": 0.8, "momentum": 0.0},
    "larger steps": {"lr": 1.0, "momentum": 0.0},
    "batch norm": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-3},
    "batch norm only": {"lr": 0.1, "momentum": 0.0},
    "weight decay only": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-3},
}
KINDS, SEVERITIES = ("gaussian", "impulse", "shot"), (1, 2, 3, 4, 5)
# Penalties at test time; those that are trained have the second.
PENALTIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
TRAINED = 0.1
# Largest change of a pixel under attack, as on the slide, penalties that are attacked, and images.
RADIUS, ATTACKED, VICTIMS = 8 / 255, (0.1, 0.2, 0.4), 100


def sparse_network(*, seed, width, recipe, labels="true", depth=4, epochs=60):
    r"""Train a network on digits and measure how sparse its layers are, before and after.

    Parameters
    ----------
    seed : int
        Of the weights, the order of the batches and the shuffled labels.
    width, depth : int
        Of the hidden layers, and their number.
    recipe : str
        A key of :data:`RECIPES`; those that begin with "batch norm" have that after each layer.
    labels : {"true", "shuffled"}, optional
        What is learned.
    epochs : int, optional
        Passes; the learning rate is divided by 10 after two thirds.

    Returns
    -------
    dict
        The settings, the ``accuracy`` on the training set and on new images, and of every hidden
        layer on the training set: ``before`` and ``after`` training the share of outputs that are
        not zero, and ``silent``, the share of units that are zero for all images after training.

    Examples
    --------
    >>> row = sparse_network(seed=0, width=16, recipe="batch norm", epochs=5)
    >>> len(row["before"]), row["accuracy"][0] > 0.5
    (4, True)
    """
    data, new = load_standardized("digits")
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = MLP([64] + [width] * depth + [10], batch_norm=recipe.startswith("batch norm"))
    targets = data.labels
    if labels == "shuffled":
        targets = targets[torch.randperm(len(targets), generator=generator)]
    before = activation_sparsity(net, data.inputs)
    settings = RECIPES[recipe] | {"epochs": epochs, "milestones": [2 * epochs // 3]}
    train(net, data.inputs, targets, every=[epochs], generator=generator, **settings)
    after = activation_sparsity(net, data.inputs)
    return {
        "seed": seed,
        "width": width,
        "recipe": recipe,
        "labels": labels,
        "accuracy": [
            float(accuracy(net, data.inputs, targets)),
            float(accuracy(net, new.inputs, new.labels)),
        ],
        "before": _rounded(before.nonzero),
        "after": _rounded(after.nonzero),
        "silent": _rounded(after.silent),
    }


def sparse_top(width, k):
    """Return a network for digits with two hidden layers, of whose outputs k are kept, or all.

    Parameters
    ----------
    width : int
        Of both hidden layers.
    k : int or None
        How many outputs of a layer may differ from zero.

    Returns
    -------
    torch.nn.Sequential

    Examples
    --------
    >>> net = sparse_top(32, 4)
    >>> int((net[:4](torch.ones(1, 1, 8, 8)) != 0).sum()) <= 4
    True
    """
    keep = [] if k is None else [TopK(k)]
    layers = [nn.Flatten(), nn.Linear(64, width), nn.ReLU(), *keep]
    layers += [nn.Linear(width, width), nn.ReLU(), *keep, nn.Linear(width, 10)]
    return nn.Sequential(*layers)


def sparse_labels(*, seed, noise, width=128, k=None, epochs=40):
    """Train a network on digits, some of them with wrong labels, and keep its k largest features.

    Parameters
    ----------
    seed : int
        Of the weights, the order of the batches and the wrong labels.
    noise : float
        Share of training images whose label is drawn anew among the nine wrong ones.
    width, k : int, int or None
        As of :func:`sparse_top`.
    epochs : int, optional
        Of SGD with learning rate 0.05 and momentum, divided by 10 after two thirds.

    Returns
    -------
    dict
        The settings, and accuracies: ``fitted`` on the labels it was given, ``test`` on new images
        after all epochs, and ``best``, the largest after any fifth one.

    Examples
    --------
    >>> row = sparse_labels(seed=0, noise=0.4, width=32, k=8, epochs=5)
    >>> 0.2 < row["test"] <= row["best"] < 1
    True
    """
    data, new = load_standardized("digits")
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(data.labels), generator=generator) < noise
    other = torch.randint(1, 10, data.labels.shape, generator=generator)
    targets = torch.where(wrong, (data.labels + other) % 10, data.labels)
    torch.manual_seed(seed)
    net = sparse_top(width, k)
    history = train(
        net,
        data.inputs,
        targets,
        epochs=epochs,
        lr=0.05,
        milestones=[2 * epochs // 3],
        metrics={"test": lambda net: accuracy(net, new.inputs, new.labels)},
        every=5,
        generator=generator,
    )
    return {
        "seed": seed,
        "noise": noise,
        "width": width,
        "k": k,
        "fitted": float(accuracy(net, data.inputs, targets)),
        "test": float(history["test"][-1]),
        "best": float(history["test"].max()),
    }


def sparse_robust(*, seed, dataset="mnist", epochs=None, images=4000, new=300):
    """Train three small networks, whose first layers differ, and make their inputs worse.

    Parameters
    ----------
    seed : int
        Of the weights and the order of the batches.
    dataset : {"digits", "mnist"}, optional
        The latter's 10 000 test images, 28 x 28, averaged over squares of 2 x 2 pixels.
    epochs, images, new : int, optional
        Passes (default: 4 for mnist, 10 for digits), training images, and images of both the
        validation and the test set; digits have 1400 and 198.

    Returns
    -------
    dict
        The settings and a dict for each first layer: ``conv``, a convolution with ReLU, ``one``
        and ``two``, one and two steps of sparse coding. In these, for "none" and for every kind
        and severity of noise, accuracies on ``validation`` and ``test`` images, one for each of
        :data:`PENALTIES` where there is a penalty; for the codes the mean length of the
        ``residual`` on both sets at the trained penalty; and for ``conv`` and ``two`` under
        ``attacks`` the shares of 100 test images that stay right, a row for each penalty of
        :data:`ATTACKED`: without attack, after the worst of 20 draws of noise of the same size,
        after 20 steps, after 100 steps on the margin as well, and after the 20 steps made for
        the other network.

    Examples
    --------
    >>> row = sparse_robust(seed=0, dataset="digits", epochs=1, images=100, new=20)
    >>> sorted(row["two"]["test"])[:2], len(row["two"]["test"]["none"])
    (['gaussian-1', 'gaussian-2'], 7)
    """
    known, held, test = _images(dataset, images, new)
    nets = {}
    for name, steps in (("conv", 0), ("one", 1), ("two", 2)):
        torch.manual_seed(seed)
        nets[name] = robust_network(steps)
        _train(nets[name], known, dataset, epochs, seed)
    noisy = {"none": [held[0], test[0]]} | {
        f"{kind}-{severity}": [_noisy(part[0], kind, severity) for part in (held, test)]
        for kind, severity in product(KINDS, SEVERITIES)
    }
    row = {"seed": seed, "dataset": dataset}
    for name, net in nets.items():
        row[name] = {"validation": {}, "test": {}}
        for condition, parts in noisy.items():
            row[name]["validation"][condition] = _accuracies(net, parts[0], held[1])
            row[name]["test"][condition] = _accuracies(net, parts[1], test[1])
        if name != "conv":
            row[name]["residual"] = {
                condition: _rounded(_residuals(net[0], part) for part in parts)
                for condition, parts in noisy.items()
            }
    pixels, labels = (part[:VICTIMS] for part in test)
    for name, other in (("conv", "two"), ("two", "conv")):
        transferred = _attack(nets[other], pixels, labels, seed)
        row[name]["attacks"] = []
        for penalty in ATTACKED if name == "two" else (None,):
            with _penalty(nets[name], penalty):
                stays = _survived(nets[name], pixels, labels, seed)
                moved = nets[name](transferred).argmax(1) == labels
                shares = [float(stay.double().mean()) for stay in (*stays, moved)]
                row[name]["attacks"].append(_rounded(shares))
    return row


def sparse_start(*, seed, bias, dataset="mnist", epochs=None, images=4000, new=300):
    """Train a network with a convolution from where the one with two steps of coding starts.

    Parameters
    ----------
    seed : int
        Of the weights and the order of the batches.
    bias : {"free", "fixed"}
        Of the convolution: zero at first and trained, or kept at minus the trained penalty. Its
        atoms, and all weights behind it, start as those of ``two`` in :func:`sparse_robust`.
    dataset, epochs, images, new : str, int, optional
        As of :func:`sparse_robust`.

    Returns
    -------
    dict
        The settings, ``test``, accuracies on test images under Gaussian noise of severities 0 to 5,
        and ``attacks``, the shares of 100 test images that stay right: without attack, after the
        worst of 20 draws of noise, after 20 steps, and after 100 steps on the margin as well.

    Examples
    --------
    >>> row = sparse_start(
    ...     seed=0, bias="free", dataset="digits", epochs=1, images=100, new=20
    ... )
    >>> len(row["test"]), len(row["attacks"])
    (6, 4)
    """
    known, _, (pixels, labels) = _images(dataset, images, new)
    net = _same_start(seed, bias)
    _train(net, known, dataset, epochs, seed)
    accuracies = [float(accuracy(net, pixels, labels))] + [
        float(accuracy(net, _noisy(pixels, "gaussian", severity), labels))
        for severity in SEVERITIES
    ]
    stays = _survived(net, pixels[:VICTIMS], labels[:VICTIMS], seed)
    return {
        "seed": seed,
        "bias": bias,
        "test": _rounded(accuracies),
        "attacks": _rounded(stay.double().mean() for stay in stays),
    }


def sparse_turned(*, seed, net, epochs, dataset="mnist", images=4000, new=300):
    """Train a network for as long as asked, then turn its penalty, or the bias in place of it.

    Parameters
    ----------
    seed : int
        Of the weights and the order of the batches.
    net : {"conv", "fixed", "two"}
        The first layer: a convolution, the same from where ``two`` starts and with a bias that
        stays at minus the trained penalty, or two steps of sparse coding.
    epochs : int
        Passes.
    dataset, images, new : str, int, optional
        As of :func:`sparse_robust`.

    Returns
    -------
    dict
        The settings, ``fitted``, the accuracy on the training images, and for "none", Gaussian and
        impulse noise of every severity accuracies on ``validation`` and ``test`` images: one for
        each of :data:`PENALTIES`, which for ``fixed`` are minus the bias, and one for ``conv``.

    Examples
    --------
    >>> row = sparse_turned(
    ...     seed=0, net="fixed", epochs=1, dataset="digits", images=100, new=20
    ... )
    >>> len(row["test"]), len(row["test"]["none"])
    (11, 7)
    """
    known, held, test = _images(dataset, images, new)
    if net == "fixed":
        trained = _same_start(seed, "fixed")
    else:
        torch.manual_seed(seed)
        trained = robust_network({"conv": 0, "two": 2}[net])
    _train(trained, known, dataset, epochs, seed)
    row = {"seed": seed, "net": net, "epochs": epochs}
    row |= {"fitted": round(float(accuracy(trained, *known)), 4), "validation": {}, "test": {}}
    conditions = ["none", *(f"{kind}-{s}" for kind in KINDS[:2] for s in SEVERITIES)]
    for (split, (pixels, labels)), condition in product(
        (("validation", held), ("test", test)), conditions
    ):
        kind, _, severity = condition.partition("-")
        seen = _noisy(pixels, kind, int(severity)) if severity else pixels
        found = []
        for penalty in (None,) if net == "conv" else PENALTIES:
            if net == "fixed":
                trained[0][0].bias.data.fill_(-penalty)
            with _penalty(trained, penalty if net == "two" else None):
                found.append(accuracy(trained, seen, labels))
        row[split][condition] = _rounded(found)
    return row


def robust_network(steps, channels=1):
    """Return a small network for images whose first layer has 16 maps of their size.

    Parameters
    ----------
    steps : int
        Of sparse coding in the first layer; with 0 it is a convolution with ReLU.
    channels : int, optional
        Of the images.

    Returns
    -------
    torch.nn.Sequential

    Examples
    --------
    >>> robust_network(2)(torch.ones(2, 1, 14, 14)).shape
    torch.Size([2, 10])
    """
    if steps:
        first = ConvolutionalSparseCoding(channels, 16, 5, TRAINED, steps)
    else:
        first = nn.Sequential(nn.Conv2d(channels, 16, 5, padding=2), nn.ReLU())
    return nn.Sequential(
        first,
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def noise_curves(row, net, kind):
    """Return accuracies on test images by severity, for three ways to choose the penalty.

    Parameters
    ----------
    row : dict
        Of :func:`sparse_robust`, or ``{net: row}`` with one of :func:`sparse_turned`.
    net : {"conv", "fixed", "one", "two"}
        The first layer.
    kind : {"gaussian", "impulse", "shot"}
        The noise.

    Returns
    -------
    dict of str to list of float
        At severities 0 to 5. ``fixed`` has the trained penalty, ``best`` that with the highest
        accuracy on validation images with this noise, and ``residual`` the one nearest to what a
        straight line makes of the mean residual; the line is fitted to the best penalties under
        no noise and the two other kinds. A convolution without a dial has the first only, and
        where no residual was recorded there is no ``residual``.

    Examples
    --------
    >>> from lecturelib.records import recorded
    >>> found = noise_curves(recorded("sparse-robust").values[-1], "two", "gaussian")
    >>> sorted(found), len(found["best"])
    (['best', 'fixed', 'residual'], 6)
    """

    def conditions(*kinds):
        return ["none", *(f"{name}-{severity}" for name in kinds for severity in SEVERITIES)]

    test, at = row[net]["test"], conditions(kind)
    if net == "conv":
        return {"fixed": [test[c][0] for c in at]}
    best = {c: int(np.argmax(accuracies)) for c, accuracies in row[net]["validation"].items()}
    found = {
        "fixed": [test[c][PENALTIES.index(TRAINED)] for c in at],
        "best": [test[c][best[c]] for c in at],
    }
    if "residual" not in row[net]:
        return found
    residual = row[net]["residual"]
    known = conditions(*(other for other in KINDS if other != kind))
    needed = [PENALTIES[best[c]] for c in known]
    line = np.polyfit([residual[c][0] for c in known], needed, 1)
    wanted = np.polyval(line, [residual[c][1] for c in at])
    nearest = np.abs(wanted[:, None] - PENALTIES).argmin(1)
    return found | {"residual": [test[c][i] for c, i in zip(at, nearest, strict=True)]}


def dial_gain(row, net, way="best"):
    """Return what a penalty chosen at test time gains, under much Gaussian and impulse noise.

    Parameters
    ----------
    row, net : dict, str
        As of :func:`noise_curves`; not a convolution without a dial.
    way : {"best", "residual"}, optional
        To choose the penalty.

    Returns
    -------
    float
        Accuracy less that at the trained penalty, mean over both kinds at severities 4 and 5.

    Examples
    --------
    >>> from lecturelib.records import recorded
    >>> 0 < dial_gain(recorded("sparse-robust").values[-1], "two") < 0.1
    True
    """
    curves = [noise_curves(row, net, kind) for kind in KINDS[:2]]
    return float(np.mean([np.subtract(c[way], c["fixed"])[4:] for c in curves]))


def residual_correlation(row, net):
    """Return the correlation of the mean residual with the best penalty, over all noises.

    Parameters
    ----------
    row : dict
        Of :func:`sparse_robust`.
    net : {"one", "two"}
        The first layer.

    Returns
    -------
    float
        Over no noise and three kinds of five severities, both measured on validation images.

    Examples
    --------
    >>> from lecturelib.records import recorded
    >>> residual_correlation(recorded("sparse-robust").values[-1], "one") > 0.5
    True
    """
    validation, residual = row[net]["validation"], row[net]["residual"]
    best = [PENALTIES[int(np.argmax(accuracies))] for accuracies in validation.values()]
    return float(np.corrcoef([residual[c][0] for c in validation], best)[0, 1])


def _images(dataset, images, new):
    """Return images and labels to train, to choose by and to test with."""
    if dataset == "digits":
        data, other = load("digits"), load("digits", "test")
        new = min(new, 198)
        order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(0))
        known = data.inputs[order[:images]], data.labels[order[:images]]
        pixels, labels = other.inputs, other.labels
    else:
        data = load("mnist", "test")
        pooled = functional.avg_pool2d(data.inputs, 2)
        known = pooled[:images], data.labels[:images]
        pixels, labels = pooled[-2 * new :], data.labels[-2 * new :]
    held, test = slice(0, new), slice(new, 2 * new)
    return known, (pixels[held], labels[held]), (pixels[test], labels[test])


@contextmanager
def _penalty(net, penalty):
    """Let a network's first layer have another penalty within a block, if there is one."""
    trained = getattr(net[0], "penalty", None)
    if penalty is not None:
        net[0].penalty = penalty
    try:
        yield
    finally:
        if penalty is not None:
            net[0].penalty = trained


def _accuracies(net, images, labels):
    """Return the accuracy at all penalties, of a network without a penalty once."""
    found = []
    for penalty in PENALTIES if hasattr(net[0], "penalty") else (None,):
        with _penalty(net, penalty):
            found.append(float(accuracy(net, images, labels)))
    return _rounded(found)


def _same_start(seed, bias):
    """Return a network with a convolution that starts as the one with two steps of coding."""
    torch.manual_seed(seed)
    coded, net = robust_network(2), robust_network(0)
    convolution = net[0][0]
    with torch.no_grad():
        convolution.weight.copy_(coded[0].weight)
        convolution.bias.fill_(0.0 if bias == "free" else -TRAINED)
    net[1:].load_state_dict(coded[1:].state_dict())
    convolution.bias.requires_grad_(bias == "free")
    return net


def _train(net, known, dataset, epochs, seed):
    """Train a network on images and labels with Adam."""
    epochs = {"mnist": 4, "digits": 10}[dataset] if epochs is None else epochs
    settings = {"optimizer": "adam", "lr": 3e-3, "batch_size": 64, "every": [epochs]}
    generator = torch.Generator().manual_seed(seed)
    train(net, *known, epochs=epochs, generator=generator, **settings)


def _noisy(images, kind, severity):
    """Return images with noise, the same one for every network."""
    return corrupt(images, kind, severity, generator=torch.Generator().manual_seed(severity))


def _residuals(layer, images):
    """Return the mean length of what a layer's code leaves of images."""
    with torch.no_grad():
        rest = images - layer.reconstruct(layer(images))
    return rest.flatten(1).norm(dim=1).mean()


def _attack(net, pixels, labels, seed, **options):
    generator = torch.Generator().manual_seed(seed)
    return pgd_attack(net, pixels, labels, RADIUS, generator=generator, **options)


def _survived(net, pixels, labels, seed):
    """Return which images stay right: as they are, with noise, after 20 steps, after 100 too."""
    attacks = [
        pixels,
        _attack(net, pixels, labels, seed, steps=0, starts=20),
        _attack(net, pixels, labels, seed),
        _attack(net, pixels, labels, seed, steps=100, loss="margin"),
    ]
    plain, noise, short, long = (net(attack).argmax(1) == labels for attack in attacks)
    return plain, noise, short, short & long


def _rounded(values):
    return [round(float(value), 4) for value in values]


EXPERIMENTS = (
    Experiment(
        name="sparse-networks",
        cell=sparse_network,
        grid=tuple(
            {"seed": seed, "width": width, "recipe": recipe, "labels": labels}
            for width, recipe, labels in (
                (128, "small steps", "true"),
                (128, "large steps", "true"),
                (128, "batch norm", "true"),
                (128, "large steps", "shuffled"),
                (64, "large steps", "true"),
                (256, "large steps", "true"),
                (64, "larger steps", "true"),
                (256, "larger steps", "true"),
            )
            for seed in range(5)
        ),
    ),
    Experiment(
        name="sparse-norms",
        cell=sparse_network,
        grid=tuple(
            {"seed": seed, "width": 128, "recipe": recipe}
            for recipe in ("batch norm only", "weight decay only")
            for seed in range(5)
        ),
    ),
    Experiment(
        name="sparse-labels",
        cell=sparse_labels,
        grid=tuple(
            {"seed": seed, "noise": noise, "width": width, "k": k}
            for noise, width, k in (
                (0.0, 128, None),
                (0.0, 128, 8),
                *((0.4, *size) for size in ((128, None), (128, 32), (128, 8), (16, None))),
                *((0.8, *size) for size in ((128, None), (128, 32), (128, 8), (16, None))),
            )
            for seed in range(5)
        ),
    ),
    Experiment(
        name="sparse-robust",
        cell=sparse_robust,
        grid=tuple(
            {"seed": seed, "dataset": dataset}
            for dataset in ("digits", "mnist")
            for seed in range(3)
        ),
    ),
    Experiment(
        name="sparse-start",
        cell=sparse_start,
        grid=tuple({"seed": seed, "bias": bias} for bias in ("free", "fixed") for seed in range(3)),
    ),
    Experiment(
        name="sparse-turned",
        cell=sparse_turned,
        grid=tuple(
            {"seed": seed, "net": net, "epochs": epochs}
            for net, epochs in (("two", 16), ("fixed", 16), ("conv", 16), ("fixed", 4))
            for seed in range(3)
        ),
    ),
)
