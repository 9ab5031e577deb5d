"""Runs of the chapter *Progressive separation*."""

from itertools import product

import torch
from torch import nn
from torch.nn import functional

from lecturelib.datasets import load, load_standardized, standardize
from lecturelib.deep_linear import init_weights
from lecturelib.experiments import Experiment
from lecturelib.law_of_parsimony import reduced_gradient_descent
from lecturelib.losses import SquaredError
from lecturelib.metrics import ClassStatistics
from lecturelib.networks import MLP
from lecturelib.progressive_separation import (
    decay_correction,
    feature_compression,
    feature_separation,
    layer_profile,
    linear_probe_accuracy,
)
from lecturelib.training import accuracy, train

__all__ = [
    "EXPERIMENTS",
    "separation_angles",
    "separation_decay",
    "separation_network",
    "separation_settings",
    "separation_turning",
]

DEPTH, WIDTH, EPOCHS = 10, 128, 60
# Layers that the network of each task keeps linear.
TASKS = {"digits": 0, "hybrid": 6, "parity": 0, "labels": 0, "five": 0}


def separation_decay(*, scale, depth, samples_per_class, output_scale, num_classes=5):
    r"""Train a deep linear network to zero loss and measure how D decays from layer to layer.

    Parameters
    ----------
    scale, depth : float, int
        :math:`\varepsilon` of the orthogonal start and number L of layers.
    samples_per_class, output_scale : int, float
        n and the factor :math:`\alpha` on the output.
    num_classes : int, optional
        Number K of classes; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    dict
        The settings, the ``steps`` to a ``loss`` of 1e-20 with targets :math:`Y / \alpha`, the
        ``ratios`` :math:`D_{l+1} / D_l` and the ``corrections`` of
        :func:`~lecturelib.progressive_separation.decay_correction`.

    Examples
    --------
    >>> row = separation_decay(scale=0.3, depth=4, samples_per_class=5, output_scale=1.0)
    >>> row["steps"] < 1000, len(row["ratios"])
    (True, 3)
    """
    width = samples_per_class * num_classes
    widths = [width] * depth + [num_classes]
    generator = torch.Generator().manual_seed(0)
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    targets = functional.one_hot(labels).T.double() / output_scale
    # Half of the rate at which the descent would leave the minimum, where the Hessian is largest.
    signal = (samples_per_class**0.5 / output_scale) ** (1 / depth)
    lr = 1 / (depth * signal ** (2 * depth - 2))
    # The noise in the last layers has energy scale^(2 depth) >= 1e-16: the loss must end far below.
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**7, every=[], tol=1e-20
    )
    trained, features = path.weights(), inputs
    compression = [feature_compression(features, labels)]
    for weight in trained[:-1]:
        features = features @ weight.T
        compression.append(feature_compression(features, labels))
    compression = torch.stack(compression)
    return {
        "scale": scale,
        "depth": depth,
        "samples_per_class": samples_per_class,
        "output_scale": output_scale,
        "steps": int(path.cores.steps[-1]),
        "loss": float(path["loss"][-1]),
        "ratios": (compression[1:] / compression[:-1]).tolist(),
        "corrections": decay_correction(weights[-1], trained[-1], depth).tolist(),
    }


def separation_angles(*, scale, depth, seed, samples_per_class=10, num_classes=5):
    r"""Train a deep linear network to zero loss and measure by how much its classes close.

    Parameters
    ----------
    scale, depth : float, int
        :math:`\varepsilon` of the orthogonal start and number L of layers.
    seed : int
        Of the start.
    samples_per_class, num_classes : int, optional
        n and K; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    dict
        The settings, ``closing``, :math:`1 - S_l` of layers 1 .. L-1, and ``overlap``, the K x K
        matrix b: :math:`I - P_0`, with :math:`P_0` on the row space of the last layer's start,
        between the K large singular directions, in the basis of the classes.

    Examples
    --------
    >>> row = separation_angles(scale=0.4, depth=2, seed=0, samples_per_class=3)
    >>> len(row["closing"]), len(row["overlap"])
    (1, 5)
    """
    width = samples_per_class * num_classes
    generator = torch.Generator().manual_seed(seed)
    widths = [width] * depth + [num_classes]
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    targets = functional.one_hot(labels).T.double()
    # Steps so short that they follow the flow: they cost balance of the order of their length.
    lr = 0.02 / (depth * samples_per_class ** (1 - 1 / depth))
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**7, every=[], tol=1e-18
    )
    trained, features, closing = path.weights(), inputs, []
    for weight in trained[:-1]:
        features = features @ weight.T
        closing.append(float(1 - feature_separation(features, labels)))
    start = weights[-1] / scale
    large = torch.linalg.svd(trained[-2]).U[:, :num_classes]
    left, _, right = torch.linalg.svd(trained[-1] @ large)
    large = large @ (left @ right).T
    outside = large - start.T @ (start @ large)
    return {
        "scale": scale,
        "depth": depth,
        "seed": seed,
        "closing": closing,
        "overlap": (large.T @ outside).tolist(),
    }


def separation_turning(*, scale, depth, seed, samples_per_class=4, num_classes=2):
    r"""Train a deep linear network to zero loss and measure by how much its last layer turned.

    Parameters
    ----------
    scale, depth : float, int
        :math:`\varepsilon` of the orthogonal start and number L of layers.
    seed : int
        Of the start.
    samples_per_class, num_classes : int, optional
        n and K; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    dict
        The settings, and ``turned``, the mean of :math:`\sin^2 \theta_i` over the principal angles
        between the row spaces of the last layer before and after.

    Examples
    --------
    >>> row = separation_turning(scale=0.3, depth=3, seed=0)
    >>> 0 < row["turned"] < 1
    True
    """
    width = samples_per_class * num_classes
    generator = torch.Generator().manual_seed(seed)
    widths = [width] * depth + [num_classes]
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    targets = functional.one_hot(labels).T.double()
    # A quarter of the rate at which the descent would leave the minimum.
    lr = 0.5 / (depth * samples_per_class ** (1 - 1 / depth))
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**6, every=[], tol=1e-12
    )
    before, after = (torch.linalg.qr(layer.T).Q for layer in (weights[-1], path.weights()[-1]))
    cosines = torch.linalg.svdvals(before.T @ after)
    turned = 1 - float(cosines.square().mean())
    return {"scale": scale, "depth": depth, "seed": seed, "turned": turned}


def separation_settings(*, seed, batch_norm, optimizer, lr, epochs=EPOCHS):
    r"""Train a network with ten hidden layers on digits at other settings; measure D in all layers.

    Parameters
    ----------
    seed : int
        Of the weights and the order of the batches.
    batch_norm : bool
        As in :func:`separation_network`, which has a learning rate of 0.02 with SGD.
    optimizer, lr, epochs : str, float, int
        As in :func:`~lecturelib.training.train`; the learning rate is divided by 10 after 2/3 and
        5/6 of the epochs.

    Returns
    -------
    dict
        The settings, ``D`` of the layers 0 .. 10, rounded to four digits, and the ``accuracy`` on
        the training set.

    Examples
    --------
    >>> row = separation_settings(seed=0, batch_norm=True, optimizer="adam", lr=1e-3, epochs=5)
    >>> len(row["D"]), row["accuracy"] > 0.5
    (11, True)
    """
    inputs, labels, _, _ = _digits()
    torch.manual_seed(seed)
    net = MLP([inputs[0].numel(), *[WIDTH] * DEPTH, int(labels.max()) + 1], batch_norm=batch_norm)
    if not batch_norm:
        for layer in net.hidden:
            nn.init.kaiming_normal_(layer[0].weight, nonlinearity="relu")
            nn.init.zeros_(layer[0].bias)
    milestones = sorted({epochs * 2 // 3, epochs * 5 // 6})
    options = {"optimizer": optimizer, "lr": lr, "milestones": milestones}
    train(net, inputs, labels, epochs=epochs, every=[0], **options)
    compression = layer_profile(net, inputs, labels, {"D": feature_compression})["D"]
    row = {"seed": seed, "batch_norm": batch_norm, "optimizer": optimizer, "lr": lr}
    row["D"] = [float(f"{value:.4g}") for value in compression]
    return row | {"accuracy": float(accuracy(net, inputs, labels))}


def separation_network(*, seed, task, batch_norm=True, epochs=EPOCHS):
    r"""Train a network with ten hidden layers on digits and measure all its layers.

    Parameters
    ----------
    seed : int
        Of the weights, the order of the batches, and the random labels.
    task : {"digits", "hybrid", "parity", "labels", "five"}
        What it learns: the ten digits; the same with the last six hidden layers linear, by the
        squared error; even against odd; labels shuffled among all images; the digits below 5.
    batch_norm : bool, optional
        Normalise before each ReLU; without, the weights start as He et al. (2015) propose.
    epochs : int, optional
        Passes through the data; the learning rate is divided by 10 after 2/3 and 5/6 of them.

    Returns
    -------
    dict
        The settings; lists over the layers 0 .. 10, rounded to four digits: ``D``, ``S`` and
        ``nc1`` with respect to what it learns, and, by task,

        - digits: ``D_new`` and ``D_shifted``, of new images and of these moved up by half a pixel;
        - parity: ``D_ten`` and ``nc1_ten`` of the ten digits, ``D_even`` and ``D_odd`` of the five
          digits of one kind, ``share`` of the parity in the spread of the ten means, and ``probe``;
        - labels: ``D_ten`` of the true classes;
        - five: ``D_ten`` and ``nc1_ten`` of the digits from 5, which it has not seen;

        and ``accuracy``: that on the training set, and for digits those on new and shifted images.

    Examples
    --------
    >>> row = separation_network(seed=0, task="parity", epochs=0)
    >>> len(row["D"]), row["accuracy"][0] < 0.8
    (11, True)
    """
    inputs, labels, new, shifted = _digits()
    if task == "five":
        kept = labels < 5
        unseen, inputs = (inputs[~kept], labels[~kept] - 5), inputs[kept]
        labels = labels[kept]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    learned = {"parity": labels % 2, "labels": labels[order]}.get(task, labels)
    torch.manual_seed(seed)
    widths = [inputs[0].numel(), *[WIDTH] * DEPTH, int(learned.max()) + 1]
    net = MLP(widths, batch_norm=batch_norm, linear_tail=TASKS[task]).eval()
    if not batch_norm:
        for layer in net.hidden:
            nn.init.kaiming_normal_(layer[0].weight, nonlinearity="relu")
            nn.init.zeros_(layer[0].bias)
    options = {"lr": 0.02}
    if task == "hybrid":
        for layer in [*(layer[0] for layer in net.hidden[-6:]), net.head]:
            nn.init.orthogonal_(layer.weight, 0.5)
            nn.init.zeros_(layer.bias)
        options = {"lr": 0.05, "loss": SquaredError()}
    if epochs:
        options["milestones"] = [epochs * 2 // 3, epochs * 5 // 6]
        train(net, inputs, learned, epochs=epochs, every=[0], **options)
    row = {"seed": seed, "task": task, "batch_norm": batch_norm, "epochs": epochs}
    row |= layer_profile(net, inputs, learned)
    measured = [(inputs, learned)]
    if task == "digits":
        measured += [new, shifted]
        for name, images in (("D_new", new), ("D_shifted", shifted)):
            row[name] = layer_profile(net, *images, {name: feature_compression})[name]
    elif task == "parity":
        row |= _ten(layer_profile(net, inputs, labels))
        for name, kind in (("D_even", 0), ("D_odd", 1)):
            one = labels % 2 == kind
            profile = layer_profile(net, inputs[one], labels[one] // 2, {name: feature_compression})
            row |= profile
        row |= layer_profile(net, inputs, labels, {"share": _parity_share})
        row["probe"] = _probes(net, inputs, labels, *new)
    elif task == "labels":
        row |= _ten(layer_profile(net, inputs, labels, {"D": feature_compression}))
    elif task == "five":
        row |= _ten(layer_profile(net, *unseen))
    row["accuracy"] = [float(accuracy(net, *pair)) for pair in measured]
    return {
        name: [float(f"{value:.4g}") for value in values]
        if isinstance(values, torch.Tensor | list)
        else values
        for name, values in row.items()
    }


def _digits():
    """Return the training images and labels, and pairs of new ones and shifted ones."""
    data, new = load_standardized("digits")
    images = load("digits", "test").inputs
    row_below = functional.pad(images, (0, 0, 0, 1))[..., 1:, :]
    shifted = standardize((images + row_below) / 2, reference=load("digits").inputs)
    return data.inputs, data.labels, (new.inputs, new.labels), (shifted, new.labels)


def _ten(profile):
    """Rename D and NC1, of other classes than those that the network learned."""
    return {f"{name}_ten": profile[name] for name in ("D", "nc1") if name in profile}


def _parity_share(features, labels):
    """Return how much of the spread of the ten means lies between even and odd."""
    means = ClassStatistics.from_features(features, labels).centred_means
    gap = means[::2].mean(0) - means[1::2].mean(0)
    # Two groups of equal size: each of their means is half of the gap away from the centre.
    return (gap / 2).square().sum() / means.square().sum(1).mean()


def _probes(net, inputs, labels, new_inputs, new_labels):
    """Return the test accuracy of a linear probe on every layer."""
    with torch.no_grad():
        known = [inputs.flatten(1), *net.taps(inputs)]
        other = [new_inputs.flatten(1), *net.taps(new_inputs)]
    return [
        float(linear_probe_accuracy(before, labels, after, new_labels))
        for before, after in zip(known, other, strict=True)
    ]


EXPERIMENTS = (
    Experiment(
        name="separation-decay",
        cell=separation_decay,
        grid=tuple(
            {"scale": scale, "depth": depth, "samples_per_class": n, "output_scale": alpha}
            for depth, scale, n, alpha in product(
                (4, 6, 8), (0.3, 0.2, 0.1), (5, 10, 20), (1.0, 10.0)
            )
        ),
    ),
    Experiment(
        name="separation-networks",
        cell=separation_network,
        grid=tuple(
            {"seed": seed, "task": task, "batch_norm": batch_norm, "epochs": epochs}
            for task, batch_norm, lengths in (
                ("digits", True, (0, 20, 60, 240)),
                ("digits", False, (0, 20, 60, 240)),
                ("hybrid", True, (0, 60)),
                ("parity", True, (0, 60)),
                ("labels", True, (0, 150)),
                ("five", True, (60,)),
            )
            for epochs in lengths
            for seed in range(5)
        ),
    ),
    Experiment(
        name="separation-angles",
        cell=separation_angles,
        grid=tuple(
            {"scale": scale, "depth": depth, "seed": seed}
            for scale, depth in ((0.2, 3), (0.3, 4), (0.15, 4), (0.3, 6))
            for seed in range(3)
        ),
    ),
    Experiment(
        name="separation-turning",
        cell=separation_turning,
        # The deeper, the larger the scale: an escape takes about scale^(2 - depth) steps.
        grid=tuple(
            {"scale": scale, "depth": depth, "seed": seed}
            for depth, scale in (
                (2, 0.1),
                (3, 0.2),
                (4, 0.3),
                (6, 0.4),
                (8, 0.5),
                (12, 0.6),
                (16, 0.65),
            )
            for seed in range(12)
        ),
    ),
    Experiment(
        name="separation-settings",
        cell=separation_settings,
        grid=tuple(
            {"seed": seed, "batch_norm": batch_norm, "optimizer": optimizer, "lr": lr}
            for batch_norm, optimizer, lr in (
                (True, "sgd", 0.003),
                (True, "sgd", 0.1),
                (True, "adam", 0.001),
                (False, "sgd", 0.003),
                (False, "sgd", 0.04),  # at 0.05 some starts diverge
                (False, "adam", 0.001),
            )
            for seed in range(5)
        ),
    ),
)
