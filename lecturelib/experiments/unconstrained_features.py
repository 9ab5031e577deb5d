"""Runs of the chapter *Unconstrained features*."""

from itertools import product

import torch
from torch.nn import functional

from lecturelib import checks
from lecturelib.datasets import load_standardized
from lecturelib.experiments import Experiment
from lecturelib.metrics import ClassStatistics, cosines, nc2
from lecturelib.networks import MLP
from lecturelib.training import accuracy, evaluating, train

__all__ = ["EXPERIMENTS", "rare_digits"]

RARE = 5  # classes 5 to 9 are the rare ones


def rare_digits(*, rare, treatment, seed, weight_decay=5e-3, steps=1500):
    """Train the digits network with five rare classes, and measure what becomes of them.

    Parameters
    ----------
    rare : int
        Training images of each of the classes 5 to 9, of 140; the classes 0 to 4 keep all.
    treatment : {"none", "repeated", "shifted"}
        What the rare images undergo: nothing; each is repeated until the classes are of one size;
        or each repetition is shifted by up to one pixel, too.
    seed : int
        Of the weights, of the order of the batches and of the shifts.
    weight_decay, steps : float, int, optional
        Of the training by SGD; the same number of steps for every size of the training set, up to
        the length of an epoch.

    Returns
    -------
    dict
        The settings, and of the trained network: the least and largest cosine between
        ``rare_rows`` of W and between ``frequent_rows``; ``distance``, the mean distance between
        two rare rows over that between two frequent ones; ``length``, the mean length of the rare
        rows over that of the frequent ones; ``spread``, the mean distance between two rare rows
        over their mean length; ``nc2_means`` and ``nc2_rows``, of the class means of the images
        given and of W; accuracy on the rare images given, ``rare_train``, on rare test images,
        ``rare_test``, and on the other test images, ``frequent_test``.

    Examples
    --------
    >>> row = rare_digits(rare=14, treatment="repeated", seed=0, steps=20)
    >>> sorted(row)[:3], len(row["rare_rows"])
    (['distance', 'frequent_rows', 'frequent_test'], 2)
    """
    treatment = checks.choice("treatment", treatment, ["none", "repeated", "shifted"])
    training, testing = load_standardized("digits")
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for k in range(training.num_classes):
        images = training.inputs[training.labels == k]
        if k >= RARE:
            kept = images[:rare]
            images = kept
            if treatment != "none":
                images = kept.repeat(-(-140 // rare), 1, 1, 1)[:140]
            if treatment == "shifted":
                images = torch.cat([kept, _shifted(images[rare:], generator)])
        parts.append(images)
    inputs = torch.cat(parts)
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(p) for p in parts]))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = MLP([64, *[100] * 5, 10], batch_norm=True)
    batches = -(-len(inputs) // 350)
    epochs = round(steps / batches)
    train(
        net,
        inputs,
        labels,
        epochs=epochs,
        lr=0.05,
        milestones=[epochs * 5 // 6],
        batch_size=-(-len(inputs) // batches),
        weight_decay=weight_decay,
        every=epochs,
        generator=generator,
    )

    rows = net.head.weight.detach().double()
    with evaluating(net):
        features = torch.cat([net.features(part) for part in parts]).double()
    means = ClassStatistics.from_features(features, labels).centred_means
    given, seldom = labels >= RARE, testing.labels >= RARE
    groups = rows[RARE:], rows[:RARE]
    between = [functional.pdist(part).mean() for part in groups]
    lengths = [part.norm(dim=1).mean() for part in groups]
    return {
        "rare": rare,
        "treatment": treatment,
        "seed": seed,
        "weight_decay": weight_decay,
        "rare_rows": _ends(cosines(rows[RARE:])),
        "frequent_rows": _ends(cosines(rows[:RARE])),
        "distance": float(between[0] / between[1]),
        "length": float(lengths[0] / lengths[1]),
        "spread": float(between[0] / lengths[0]),
        "nc2_means": float(nc2(means)),
        "nc2_rows": float(nc2(rows)),
        "rare_train": float(accuracy(net, inputs[given], labels[given])),
        "rare_test": float(accuracy(net, testing.inputs[seldom], testing.labels[seldom])),
        "frequent_test": float(accuracy(net, testing.inputs[~seldom], testing.labels[~seldom])),
    }


def _shifted(images, generator):
    """Shift each image by -1, 0 or 1 pixel in each direction; what comes in is background."""
    background = images.amin()
    padded = functional.pad(images, (1, 1, 1, 1), value=float(background))
    down, right = torch.randint(3, (2, len(images)), generator=generator)
    height, width = images.shape[-2:]
    moved = [
        image[:, i : i + height, j : j + width]
        for image, i, j in zip(padded, down.tolist(), right.tolist(), strict=True)
    ]
    return torch.stack(moved)


def _ends(values):
    """Smallest and largest."""
    return [float(values.min()), float(values.max())]


def _grid():
    settings = [(rare, "none", 5e-3) for rare in (140, 28, 14, 7, 4)]
    settings += product((14, 4), ("repeated", "shifted"), (5e-3,))
    settings += product((14, 4), ("none",), (2e-3, 0.0))
    names = ("rare", "treatment", "weight_decay", "seed")
    return tuple(dict(zip(names, (*s, seed), strict=True)) for s in settings for seed in range(6))


EXPERIMENTS = (Experiment(name="rare-digits", cell=rare_digits, grid=_grid()),)
