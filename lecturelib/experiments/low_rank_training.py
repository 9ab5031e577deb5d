"""Runs of the chapter *Low-rank training*."""

import copy
import time
from dataclasses import replace
from functools import cache
from itertools import product

import torch
from torch.nn import functional

from lecturelib import checks
from lecturelib.datasets import load, load_standardized
from lecturelib.device import one_thread
from lecturelib.experiments import Experiment
from lecturelib.low_rank_training import (
    add_lora,
    energy_rank,
    factorize_layers,
    training_cost,
    update_singular_values,
)
from lecturelib.networks import MLP, ViT
from lecturelib.training import accuracy, train

__all__ = [
    "ADAPTED",
    "EXPERIMENTS",
    "RATES",
    "adapted_vit",
    "digits_vit",
    "images_of",
    "learned_directions",
    "rank_and_classes",
    "shifted_task",
    "slide_network",
    "step_times",
]

INNER = ("hidden.1.0", "hidden.2.0")  # the last two of three hidden layers
ADAPTED = tuple(
    f"blocks.{block}.{name}"
    for block in range(2)
    for name in ("self_attn.out_proj", "linear1", "linear2")
)
RATES = {
    "full": (1e-3, 3e-3, 1e-2, 3e-2),
    "last layer": (1e-2, 3e-2, 1e-1),
    "LoRA": (3e-3, 1e-2, 3e-2),
    "from scratch": (3e-3, 1e-2, 3e-2),
}


def learned_directions(
    *,
    classes,
    seed,
    batch_norm=False,
    linear_tail=0,
    fixed_head=False,
    optimizer="sgd",
    lr=0.05,
    epochs=30,
):
    """Train a perceptron on digits, and count the directions in which its layers have learned.

    Parameters
    ----------
    classes : int
        The first K digits.
    seed : int
        Of the start and of the order of the batches.
    batch_norm, linear_tail : bool, int, optional
        As in :class:`~lecturelib.networks.MLP`.
    fixed_head : bool, optional
        Whether the classifier keeps its start.
    optimizer, lr, epochs : str, float, int, optional
        As in :func:`~lecturelib.training.train`.

    Returns
    -------
    dict
        The settings; ``directions`` that hold 99 % of the change of each of three hidden layers of
        width 256, at the end; ``start``, those of the random start itself; ``last``, those of the
        third layer after 1, 3, 10 epochs and at the end; its ``rank``, singular values of the
        change above 0.0001 of the largest; the ``share`` of its square in the first K of them; and
        the directions that hold 90, 99 and 99.9 % of it, ``by_share``.

    Examples
    --------
    >>> row = learned_directions(classes=2, seed=0, epochs=1)
    >>> len(row["directions"]), row["directions"][2] < row["start"][2]
    (3, True)
    """
    data, _ = load_standardized("digits")
    few = data.labels < classes
    torch.manual_seed(seed)
    net = MLP([64, 256, 256, 256, classes], batch_norm=batch_norm, linear_tail=linear_tail)
    net.head.weight.requires_grad_(not fixed_head)
    metrics = {str(i): lambda net, i=i: net.hidden[i][0].weight for i in range(3)}
    times = [t for t in (0, 1, 3, 10) if t < epochs] + [epochs]
    own = {"optimizer": optimizer, "lr": lr, "epochs": epochs}
    history = train(net, data.inputs[few], data.labels[few], **own, metrics=metrics, every=times)
    values = [update_singular_values(history[str(i)]) for i in range(3)]
    squares = values[2][-1].square()
    return {
        "classes": classes,
        "seed": seed,
        "batch_norm": batch_norm,
        "linear_tail": linear_tail,
        "fixed_head": fixed_head,
        "optimizer": optimizer,
        "lr": lr,
        "directions": [int(energy_rank(v[-1])) for v in values],
        "start": [int(energy_rank(torch.linalg.svdvals(history[str(i)][0]))) for i in range(3)],
        "last": energy_rank(values[2])[1:].tolist(),
        "rank": int((values[2][-1] > 1e-4 * values[2][-1, 0]).sum()),
        "share": float(squares[:classes].sum() / squares.sum()),
        "by_share": [int(energy_rank(values[2][-1], share)) for share in (0.9, 0.99, 0.999)],
    }


def rank_and_classes(*, classes, rank, seed, batch_norm=True, passes=30):
    """Train a perceptron on digits, its last two hidden layers of one rank.

    Parameters
    ----------
    classes : int
        The first K digits.
    rank : int or None
        Of the last two of three hidden layers of width 256; None for full layers.
    seed : int
        Of the start and of the order of the batches.
    batch_norm : bool, optional
        Whether its layers are normalised.
    passes : int, optional
        Over the images of all ten digits; fewer classes have fewer images and are passed over more
        often, so that all networks take about equally many steps.

    Returns
    -------
    dict
        The settings, and accuracy on ``test`` and ``train`` images.

    Examples
    --------
    >>> row = rank_and_classes(classes=2, rank=1, seed=0, passes=1)
    >>> row["rank"], row["test"] > 0.4
    (1, True)
    """
    data, new = load_standardized("digits")
    few, new_few = data.labels < classes, new.labels < classes
    torch.manual_seed(seed)
    net = _perceptron([64, 256, 256, 256, classes], rank, batch_norm=batch_norm)
    own = {"epochs": 10 * passes // classes, "lr": 0.05, "weight_decay": 5e-4, "every": []}
    train(net, data.inputs[few], data.labels[few], **own)
    return {
        "classes": classes,
        "rank": rank,
        "seed": seed,
        "batch_norm": batch_norm,
        "test": float(accuracy(net, new.inputs[new_few], new.labels[new_few])),
        "train": float(accuracy(net, data.inputs[few], data.labels[few])),
    }


def images_of(data):
    """Return images to train on and images to test on, centred and scaled as a whole.

    Parameters
    ----------
    data : str
        A data set of :func:`~lecturelib.datasets.load`; or ``"mnist-test"``, the 10 000 test images
        of MNIST alone, those with an even number to train on, the others to test on.

    Returns
    -------
    train, test : Dataset

    Examples
    --------
    >>> train, test = images_of("digits")
    >>> train.inputs.shape, abs(float(train.inputs.mean())) < 1e-6
    (torch.Size([1400, 1, 8, 8]), True)
    """
    if data == "mnist-test":
        both = load("mnist", "test")
        parts = [
            replace(both, inputs=both.inputs[i::2], labels=both.labels[i::2]) for i in range(2)
        ]
    else:
        parts = [load(data, split) for split in ("train", "test")]
    mean, std = parts[0].inputs.mean(), parts[0].inputs.std()
    return tuple(replace(part, inputs=(part.inputs - mean) / std) for part in parts)


def _perceptron(widths, rank, **options):
    """Build an MLP, all hidden layers but the first of one rank; None leaves them full."""
    net = MLP(widths, **options)
    return net if rank is None else factorize_layers(net, rank, INNER[: len(widths) - 3])


def slide_network(*, data, hidden, rank, seed, epochs=6, width=2000):
    """Train a network of the slide *Low-Rank Training of Nonlinear Networks?* at its own widths.

    Parameters
    ----------
    data : str
        As in :func:`images_of`.
    hidden : {2, 3}
        Hidden layers; all but the first are factorised.
    rank : int or None
        Of these layers; None for full ones.
    seed : int
        Of the start and of the order of the batches.
    epochs, width : int, optional
        Passes over the data, and the width of the hidden layers.

    Returns
    -------
    dict
        The settings; ``parameters``; ``step_flops`` and ``memory`` in bytes of a step with a batch
        of 128, as :func:`~lecturelib.low_rank_training.training_cost` counts them; and accuracy on
        ``test`` and ``train`` images.

    Examples
    --------
    >>> row = slide_network(data="digits", hidden=3, rank=1, seed=0, epochs=1, width=20)
    >>> row["parameters"]  # 64·20 + 2·(20 + 20) + 20·10 weights, 3·20 + 10 biases
    1630
    """
    training, testing = images_of(data)
    torch.manual_seed(seed)
    net = _perceptron([training.inputs[0].numel(), *[width] * hidden, 10], rank)
    cost = training_cost(net, training.inputs[:128], training.labels[:128])
    own = {"epochs": epochs, "optimizer": "adam", "lr": 1e-3, "every": []}
    train(net, training.inputs, training.labels, **own, milestones=[epochs * 2 // 3])
    return {
        "data": data,
        "hidden": hidden,
        "rank": rank,
        "seed": seed,
        "epochs": epochs,
        "parameters": cost.parameters,
        "step_flops": cost.step_flops,
        "memory": cost.memory,
        "test": float(accuracy(net, testing.inputs, testing.labels)),
        "train": float(accuracy(net, training.inputs, training.labels)),
    }


def step_times(*, hidden, ranks, trial=0, repeats=10, width=2000, d_in=784):
    """Time a training step and a forward pass, dense and factorised networks in turns.

    Parameters
    ----------
    hidden : {2, 3}
        Hidden layers; all but the first are factorised.
    ranks : sequence of int
        Of these layers; the dense network is timed in the same turns.
    trial : int, optional
        A number of the measurement, and the seed of the networks.
    repeats : int, optional
        Turns, after two that are not counted.
    width, d_in : int, optional
        Of the hidden layers and of the images.

    Returns
    -------
    dict
        ``hidden`` and ``trial``; ``ranks``, None first, for full layers; and for each the least
        seconds of a ``step`` with a batch of 128 (forwards, backwards, update with momentum), of a
        forward pass with ``batch`` 128 and of one image (``one``), on one thread.

    Examples
    --------
    >>> row = step_times(hidden=3, ranks=[1], repeats=2, width=30, d_in=20)
    >>> row["ranks"], len(row["step"]), min(row["one"]) > 0
    ([None, 1], 2, True)
    """
    torch.manual_seed(trial)
    inputs, labels = torch.randn(128, d_in), torch.arange(128) % 10
    ranks = [None, *ranks]
    nets = [_perceptron([d_in, *[width] * hidden, 10], rank) for rank in ranks]
    solvers = [torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9) for net in nets]

    def step(net, solver):
        solver.zero_grad()
        functional.cross_entropy(net(inputs), labels).backward()
        solver.step()

    @torch.no_grad()
    def forward(net, images):
        net(images)

    jobs = {
        "step": step,
        "batch": lambda net, _: forward(net, inputs),
        "one": lambda net, _: forward(net, inputs[:1]),
    }
    taken = {name: [[] for _ in nets] for name in jobs}
    with one_thread():
        for turn, i, (name, job) in product(range(repeats + 2), range(len(nets)), jobs.items()):
            start = time.perf_counter()
            job(nets[i], solvers[i])
            if turn >= 2:
                taken[name][i].append(time.perf_counter() - start)
    least = {name: [float(f"{min(values):.4g}") for values in many] for name, many in taken.items()}
    return {"hidden": hidden, "ranks": ranks, "trial": trial, **least}


def shifted_task(shift, per_class=20):
    """Return digits that a trained transformer has not seen, few of them to learn from.

    Parameters
    ----------
    shift : {"upright", "mirrored", "turned"}
        What the images of the data set ``digits`` undergo: nothing, a reflection from left to
        right, or a quarter turn.
    per_class : int, optional
        Images of each class to learn from.

    Returns
    -------
    few, held_out, test : tuple of (Tensor, Tensor)
        Images and labels: to learn from; to choose rates by; and to test on.

    Examples
    --------
    >>> [len(labels) for _, labels in shifted_task("turned")]
    [200, 1200, 397]
    """
    change = {
        "upright": lambda images: images,
        "mirrored": lambda images: images.flip(3),
        "turned": lambda images: images.rot90(1, (2, 3)),
    }[checks.choice("shift", shift, ["upright", "mirrored", "turned"])]
    training, testing = images_of("digits")
    inputs, labels = change(training.inputs), training.labels
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for k in range(training.num_classes):
        chosen[(labels == k).nonzero()[:per_class, 0]] = True
    return (
        (inputs[chosen], labels[chosen]),
        (inputs[~chosen], labels[~chosen]),
        (change(testing.inputs), testing.labels),
    )


def digits_vit():
    """Return the book's vision transformer for 8 x 8 digits: two blocks of width 32, patches of 4.

    Returns
    -------
    ViT

    Examples
    --------
    >>> sum(parameter.numel() for parameter in digits_vit().parameters())
    18218
    """
    return ViT((1, 8, 8), 10, patch=4, dim=32, depth=2, heads=4, hidden=64)


@cache
def _trained(data, seed, epochs):
    """Return a transformer that knows MNIST at 8 x 8 pixels, or digits, and its accuracy."""
    if data == "mnist-test":
        images = load("mnist", "test")
        # The digit stands in the 20 x 20 pixels of the middle.
        inputs = functional.adaptive_avg_pool2d(images.inputs[..., 4:24, 4:24], 8)
        inputs, labels = (inputs - inputs.mean()) / inputs.std(), images.labels
        parts = (inputs[:9000], labels[:9000]), (inputs[9000:], labels[9000:])
    else:
        parts = tuple((part.inputs, part.labels) for part in images_of(data))
    torch.manual_seed(seed)
    net = digits_vit()
    own = {"optimizer": "adam", "lr": 3e-3, "batch_size": 100, "every": []}
    train(net, *parts[0], epochs=epochs, milestones=[-(-epochs * 3 // 4)], **own)
    return net, float(accuracy(net, *parts[1]))


def adapted_vit(
    *, shift, seed, ranks=(1, 2, 4, 8, 16), data="mnist-test", epochs=40, before=10, rates=RATES
):
    """Teach a trained transformer shifted images: all of it, its last layer, or LoRA updates.

    Parameters
    ----------
    shift : str
        As in :func:`shifted_task`.
    seed : int
        Of the starts and of the order of the batches.
    ranks : sequence of int, optional
        Of the updates to the layers in ``ADAPTED``.
    data : {"mnist-test", "digits"}, optional
        What the transformer was trained on: 9000 test images of MNIST, reduced to 8 x 8 pixels, or
        the upright digits.
    epochs, before : int, optional
        Passes over the new images, and over the old ones.
    rates : dict of str to sequence of float, optional
        Rates of Adam that are tried, for each way.

    Returns
    -------
    list of dict
        One for each way: ``shift``, ``seed``, ``way`` ("full", "last layer", "LoRA" or "from
        scratch": everything, from a random start), ``rank``, ``trained`` parameters; for each rate
        accuracy on the images ``held_out`` and in the ``test``; and accuracy of the trained
        network on the test images of what it knows, ``known``, and on the shifted ones before
        anything is learned, ``unadapted``.

    Examples
    --------
    >>> few = {"epochs": 1, "before": 1, "rates": dict.fromkeys(RATES, (1e-3,))}
    >>> rows = adapted_vit(shift="turned", seed=0, ranks=[1], data="digits", **few)
    >>> [row["trained"] for row in rows]
    [18218, 330, 842, 18218]
    """
    few, held_out, test = shifted_task(shift)
    base, known = _trained(data, seed, before)
    unadapted = float(accuracy(base, *test))
    rows = []
    ways = [("full", None), ("last layer", None)]
    ways += [*(("LoRA", rank) for rank in ranks), ("from scratch", None)]
    for way, rank in ways:
        on_held_out, on_test = [], []
        for lr in rates[way]:
            torch.manual_seed(1000 + seed)
            net = digits_vit() if way == "from scratch" else copy.deepcopy(base)
            if way == "last layer":
                net.requires_grad_(False)
            elif way == "LoRA":
                add_lora(net, rank, ADAPTED)
            net.head.requires_grad_(True)
            own = {"optimizer": "adam", "lr": lr, "batch_size": 50, "every": []}
            train(net, *few, epochs=epochs, milestones=[-(-epochs * 3 // 4)], **own)
            on_held_out.append(float(accuracy(net, *held_out)))
            on_test.append(float(accuracy(net, *test)))
        rows.append(
            {
                "shift": shift,
                "seed": seed,
                "way": way,
                "rank": rank,
                "trained": sum(p.numel() for p in net.parameters() if p.requires_grad),
                "held_out": on_held_out,
                "test": on_test,
                "known": known,
                "unadapted": unadapted,
            }
        )
    return rows


def _flat(results):
    return [row for rows in results for row in rows]


def _directions_grid():
    plain = [{"classes": k, "seed": s} for k in (2, 3, 5, 10) for s in range(5)]
    others = [
        {"lr": 0.01},
        {"lr": 0.2},
        {"optimizer": "adam", "lr": 1e-3},
        {"batch_norm": True},
        {"linear_tail": 1},
        {"fixed_head": True},
        {"linear_tail": 1, "fixed_head": True},
    ]
    two = [{"classes": 2, "seed": s, "batch_norm": True} for s in range(5)]
    return (
        *plain,
        *two,
        *({"classes": 10, "seed": s} | other for other in others for s in range(5)),
    )


EXPERIMENTS = (
    Experiment("lowrank-directions", learned_directions, _directions_grid()),
    Experiment(
        "lowrank-classes",
        rank_and_classes,
        tuple(
            {"classes": k, "rank": r, "seed": s}
            for k, r, s in product((2, 3, 5, 10), (None, 1, 2, 3, 5, 10), range(3))
        )
        + tuple(
            {"classes": 10, "rank": r, "seed": s, "batch_norm": False}
            for r, s in product((None, 5, 10, 20), range(3))
        ),
    ),
    Experiment(
        "lowrank-table",
        slide_network,
        tuple(
            {"data": "mnist-test", "hidden": h, "rank": r, "seed": s}
            for h, ranks in ((3, (1, 2, 5, 10, 20, None)), (2, (1, 10, None)))
            for r, s in product(ranks, range(3))
        ),
    ),
    Experiment(
        "lowrank-longer",
        slide_network,
        tuple(
            {"data": "mnist-test", "hidden": 3, "rank": r, "seed": s, "epochs": 24}
            for r, s in product((1, 10), range(3))
        ),
    ),
    Experiment(
        "lowrank-time",
        step_times,
        tuple(
            {"hidden": h, "ranks": (1, 10, 20, 100, 500, 1000), "trial": t}
            for h, t in product((2, 3), range(3))
        ),
    ),
    Experiment(
        "lowrank-vit",
        adapted_vit,
        tuple(
            {"shift": shift, "seed": seed}
            for shift in ("upright", "mirrored", "turned")
            for seed in range(3)
        ),
        _flat,
    ),
)
