"""Runs of the chapter *Topology and intrinsic dimension*."""

from itertools import product

import torch
from torch import nn

from lecturelib.datasets import load, standardize
from lecturelib.experiments import Experiment
from lecturelib.metrics import nc1
from lecturelib.networks import MLP
from lecturelib.topology_and_dimension import (
    layer_profiles,
    linked_rings,
    mle_dimension,
    nested_spheres,
    persistence,
    two_nn,
)
from lecturelib.training import accuracy, evaluating, train

__all__ = ["EXPERIMENTS", "dimension_images", "dimension_network", "topology_network"]

DEPTH, WIDTH, SAMPLES, NOISE = 8, 15, 500, 0.02
SHAPES = {  # how two classes are drawn, which holes are looked for, and with how many points
    "rings": (lambda source: linked_rings(SAMPLES, noise=NOISE, generator=source), 1, 150),
    "tori": (lambda source: linked_rings(SAMPLES, tube=0.25, generator=source), 1, 150),
    "spheres": (lambda source: nested_spheres(SAMPLES, noise=NOISE, generator=source), 2, 80),
}


def topology_network(*, shape, activation, task, seed, epochs=400):
    """Train a network on two entangled classes and measure how long their holes last, per layer.

    Parameters
    ----------
    shape : {"rings", "tori", "spheres"}
        Two rings or tori through each other, or a sphere within another.
    activation : {"relu", "tanh"}
        Of all 8 hidden layers, which are 15 wide.
    task : {"true", "untrained", "shuffled"}
        Train on the classes, not at all, or on shuffled labels.
    seed : int
        Of the points and the weights.
    epochs : int, optional
        Steps of Adam with all points.

    Returns
    -------
    dict
        The settings, the ``accuracy`` on the labels trained on, the ``components`` of both classes
        together, input first, as :meth:`PersistenceDiagrams.prominent` counts them with a ratio of
        3, and for each class ``ratios``, the largest death over birth of a loop (of spheres: of a
        cavity) in every layer; 1 if there is none.

    Examples
    --------
    >>> row = topology_network(shape="rings", activation="tanh", task="untrained", seed=0)
    >>> len(row["ratios"]), len(row["ratios"][0]), row["components"][0]
    (2, 9, 2)
    """
    draw, dim, samples = SHAPES[shape]
    source = torch.Generator().manual_seed(seed)
    points, labels = draw(source)
    points, known = points.float(), labels
    if task == "shuffled":
        known = labels[torch.randperm(len(labels), generator=source)]
    torch.manual_seed(seed)
    network = MLP([3, *[WIDTH] * DEPTH, 2])
    if activation == "tanh":
        for layer in network.hidden:
            layer[-1] = nn.Tanh()
    if task != "untrained":
        settings = {"optimizer": "adam", "lr": 0.005, "batch_size": len(points)}
        train(network, points, known, epochs=epochs, every=[], generator=source, **settings)
    with evaluating(network):
        layers = [points, *network.taps(points)]
    wholes = [persistence(layer, 0, samples=samples) for layer in layers]
    return {
        "shape": shape,
        "activation": activation,
        "task": task,
        "seed": seed,
        "accuracy": float(accuracy(network, points, known)),
        "components": [whole.prominent(3.0)[0] for whole in wholes],
        "ratios": [[longest(layer[labels == k], dim, samples) for layer in layers] for k in (0, 1)],
    }


def longest(points, dim, samples):
    """Return the largest death over birth of the holes of a dimension; 1 if there is none."""
    bars = persistence(points, dim, samples=samples)[dim]
    return float((bars[:, 1] / bars[:, 0]).max()) if len(bars) else 1.0


def dimension_network(*, data, seed, batch_norm, shuffled, epochs=120):
    """Train a network with five hidden layers of 128 units; measure dimension in all layers.

    Parameters
    ----------
    data : {"digits", "mnist"}
        Train on 1400 digits, or on the first 2000 of MNIST's test images; the other digits, or the
        next 2000 images, are new.
    seed : int
        Of the weights, the shuffling and the order of the batches.
    batch_norm : bool
        Whether the network has batch normalisation.
    shuffled : bool
        Train on the labels in random order.
    epochs : int, optional
        Of SGD; the step is 0.05, and smaller in the last third.

    Returns
    -------
    dict
        The settings; ``before``, ``after``, ``new`` and ``mle``: the dimensions by
        :func:`two_nn` of the training images before and after training and of new ones after it,
        and of the training images after it by :func:`mle_dimension`, all from the input to layer 5;
        ``accuracy`` on training and new images; ``nc1`` of layer 5 for the labels trained on and
        ``nc1_true`` for the true ones, and ``nc1_before`` and ``nc1_true_before``, before training.

    Examples
    --------
    >>> row = dimension_network(data="digits", seed=0, batch_norm=False, shuffled=False, epochs=1)
    >>> len(row["before"]), len(row["after"])
    (6, 6)
    """
    if data == "digits":
        known, other = load("digits"), load("digits", "test")
        inputs, labels, new, answers = known.inputs, known.labels, other.inputs, other.labels
    else:
        known = load(data, "test")
        inputs, new = known.inputs[:2000], known.inputs[2000:4000]
        labels, answers = known.labels[:2000], known.labels[2000:4000]
    inputs, new = (standardize(part, reference=inputs) for part in (inputs, new))
    source = torch.Generator().manual_seed(seed)
    taught = labels[torch.randperm(len(labels), generator=source)] if shuffled else labels
    torch.manual_seed(seed)
    network = MLP([inputs[0].numel(), *[128] * 5, 10], batch_norm=batch_norm)
    before = layer_profiles(network, inputs, max_dim=None)
    with evaluating(network):
        start = network.features(inputs)
    train(
        network,
        inputs,
        taught,
        epochs=epochs,
        lr=0.05,
        milestones=[epochs * 2 // 3, epochs * 5 // 6],
        every=[],
        generator=source,
    )
    after, fresh = (layer_profiles(network, part, max_dim=None) for part in (inputs, new))
    with evaluating(network):
        features = network.features(inputs)
    return {
        "data": data,
        "seed": seed,
        "batch_norm": batch_norm,
        "shuffled": shuffled,
        "before": before.two_nn.tolist(),
        "after": after.two_nn.tolist(),
        "new": fresh.two_nn.tolist(),
        "mle": after.mle.tolist(),
        "accuracy": [
            float(accuracy(network, *pair)) for pair in ((inputs, taught), (new, answers))
        ],
        "nc1": float(nc1(features, taught)),
        "nc1_true": float(nc1(features, labels)),
        "nc1_before": float(nc1(start, taught)),
        "nc1_true_before": float(nc1(start, labels)),
    }


def dimension_images(*, data, seed, sizes=(5000, 1250)):
    """Measure the intrinsic dimension of images, and of images whose pixels do not belong together.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10"}
        All 1797 digits, MNIST's 10 000 test images or 10 000 training images of CIFAR-10.
    seed : int
        Of the choice of images and of the control.
    sizes : sequence of int, optional
        How many images, drawn anew; of digits a quarter as many.

    Returns
    -------
    dict
        The settings; ``two_nn`` and ``mle`` of the images, and ``apart``, :func:`two_nn` where
        every pixel is drawn from another image; one number for each size.

    Examples
    --------
    >>> row = dimension_images(data="digits", seed=0, sizes=[1200])
    >>> row["two_nn"][0] < 11, row["apart"][0] > 20
    (True, True)
    """
    if data == "digits":
        images = torch.cat([load(data).inputs, load(data, "test").inputs]).flatten(1)
        sizes = [size // 4 for size in sizes]
    else:
        images = load(data, "test" if data == "mnist" else "train").inputs.flatten(1)
    source = torch.Generator().manual_seed(seed)
    row = {"data": data, "seed": seed, "two_nn": [], "mle": [], "apart": []}
    for size in sizes:
        chosen = images[torch.randperm(len(images), generator=source)[:size]]
        apart = [pixel[torch.randperm(size, generator=source)] for pixel in chosen.T]
        row["two_nn"].append(float(two_nn(chosen).dimension))
        row["mle"].append(float(mle_dimension(chosen).dimension))
        row["apart"].append(float(two_nn(torch.stack(apart, dim=1)).dimension))
    return row


EXPERIMENTS = (
    Experiment(
        "topology-networks",
        topology_network,
        tuple(
            {"shape": shape, "activation": activation, "task": task, "seed": seed}
            for shape, activation, task, seed in product(
                SHAPES, ("relu", "tanh"), ("true", "untrained", "shuffled"), range(5)
            )
            if task != "shuffled" or shape == "rings"
        ),
    ),
    Experiment(
        "dimension-networks",
        dimension_network,
        tuple(
            {"data": data, "seed": seed, "batch_norm": norm, "shuffled": shuffled}
            for data, norm, shuffled, seed in product(
                ("digits", "mnist"), (False, True), (False, True), range(5)
            )
            if data == "digits" or (not norm and seed < 3)
        ),
    ),
    Experiment(
        "dimension-images",
        dimension_images,
        tuple(
            {"data": data, "seed": seed}
            for data, seed in product(("digits", "mnist", "cifar10"), range(3))
        ),
    ),
)
