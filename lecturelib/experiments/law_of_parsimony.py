"""Runs of the chapter *The law of parsimony*."""

import math
from itertools import pairwise, product

import torch
from torch import nn

from lecturelib import checks
from lecturelib.datasets import load_standardized
from lecturelib.deep_linear import end_to_end, init_weights, left_products, right_products
from lecturelib.device import seed_everything
from lecturelib.experiments import Experiment
from lecturelib.law_of_parsimony import subspace_angles
from lecturelib.networks import MLP, ViT
from lecturelib.training import accuracy, train

__all__ = ["EXPERIMENTS", "METHODS", "parsimony_networks", "parsimony_optimisers"]

WIDTH, RANK, DEPTH, SCALE, STEPS, SAMPLES = 30, 3, 3, 0.8, 600, 600

SGD, ADAM = torch.optim.SGD, torch.optim.Adam
METHODS = {
    "gradient descent": (SGD, {"lr": 0.02}),
    "weight decay": (SGD, {"lr": 0.02, "weight_decay": 0.02}),
    "cosine schedule": (SGD, {"lr": 0.04}),
    "clipping": (SGD, {"lr": 0.04}),
    "momentum": (SGD, {"lr": 0.005, "momentum": 0.9}),
    "Nesterov": (SGD, {"lr": 0.005, "momentum": 0.9, "nesterov": True}),
    "polar factor, short": (SGD, {"lr": 0.0011}),
    "polar factor": (SGD, {"lr": 0.005}),
    "growing widths": (SGD, {"lr": 0.02}),
    "bottleneck": (SGD, {"lr": 0.02}),
    "wide middle": (SGD, {"lr": 0.02}),
    "white batches": (SGD, {"lr": 0.02}),
    "white, noisy targets": (SGD, {"lr": 0.02}),
    "batches of 300": (SGD, {"lr": 0.02}),
    "batches of 60": (SGD, {"lr": 0.02}),
    "batches of 20": (SGD, {"lr": 0.02}),
    "whitened one by one": (SGD, {"lr": 0.02}),
    "Adam": (ADAM, {"lr": 0.01}),
    "signs": (SGD, {"lr": 0.003}),
}
"""What is run, with torch's optimiser and its settings."""

WIDTHS = {
    "growing widths": (30, 35, 40, 45),
    "bottleneck": (30, 24, 24, 30),
    "wide middle": (30, 36, 36, 30),
}
BATCHES = {
    "white batches": 60,
    "white, noisy targets": 60,
    "batches of 300": 300,
    "batches of 60": 60,
    "batches of 20": 20,
    "whitened one by one": 60,
}


def parsimony_optimisers(*, method, seed):
    r"""Train three linear layers on a target of rank 3, and measure what leaves the block form.

    Parameters
    ----------
    method : str
        A key of ``METHODS``.
    seed : int
        Of start, target, inputs, batches and noise.

    Returns
    -------
    dict
        The settings; ``idle``, the number m of idle directions; the relative ``distance`` of the
        product from the target after 600 steps; and the largest value over the layers of:
        ``outside``, the norm of the part of the change that is neither in the core nor a multiple
        of the idle block's start, over the norm of the change; ``random``, the same in random
        bases; and ``spread``, the largest less the smallest singular value of the idle block, over
        :math:`\varepsilon`.

    Raises
    ------
    TypeError, ValueError
        For another method, or a seed that is none.

    Examples
    --------
    >>> row = parsimony_optimisers(method="momentum", seed=0)
    >>> row["idle"], row["outside"] < 1e-12, row["random"] > 0.1
    (24, True, True)
    """
    method = checks.choice("method", method, list(METHODS))
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, least=0))
    like = {"generator": generator, "dtype": torch.float64}
    widths = WIDTHS.get(method, (WIDTH,) * (DEPTH + 1))
    weights = init_weights(widths, SCALE, **like)
    start = [weight.clone() for weight in weights]
    phi = 3 * end_to_end(init_weights([WIDTH, RANK, widths[-1]], **like))
    size, kind = BATCHES.get(method, SAMPLES), METHODS[method][0]
    solver = kind(weights, **METHODS[method][1])
    rate = solver.param_groups[0]["lr"]
    (X,) = init_weights([SAMPLES, WIDTH], **like)
    white = method.startswith("white,") or method == "white batches"
    if white:
        parts = [init_weights([size, WIDTH], **like)[0] for _ in range(SAMPLES // size)]
        X = torch.cat(parts, dim=1) * (size / SAMPLES) ** 0.5
    Y = phi @ X
    if method == "white, noisy targets":  # noise in the target's outputs: Phi keeps its rank
        noise = torch.randn(RANK, SAMPLES, **like) / SAMPLES**0.5
        Y += torch.linalg.svd(phi).U[:, :RANK] @ noise
        phi = Y @ X.mT
    for step in range(STEPS):
        place = step % (SAMPLES // size) * size
        if place == 0:
            order = torch.randperm(SAMPLES, generator=generator)
        part = slice(place, place + size) if white else order[place:][:size]
        inputs, targets = ((SAMPLES / size) ** 0.5 * data[:, part] for data in (X, Y))
        if method == "whitened one by one":
            inputs = _polar(inputs)
        if size == SAMPLES:  # nothing but Phi enters
            inputs, targets = None, phi
        for weight, gradient in zip(weights, _gradients(weights, inputs, targets), strict=True):
            weight.grad = gradient
        if method == "cosine schedule":
            solver.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        if method == "clipping":
            nn.utils.clip_grad_norm_(weights, 1.0)
        for weight in weights:
            if method.startswith("polar factor"):
                weight.grad = _polar(weight.grad)
            if method == "signs":
                weight.grad = weight.grad.sign()
        solver.step()
    bases = idle_bases(start, phi)
    others = [init_weights([basis.shape[1], len(basis)], **like)[0] for basis in bases]
    spreads = [
        torch.linalg.svdvals(U.mT @ weight @ V)
        for weight, (V, U) in zip(weights, pairwise(bases), strict=True)
    ]
    return {
        "method": method,
        "seed": seed,
        "idle": bases[0].shape[1],
        "distance": float((end_to_end(weights) - phi).norm() / phi.norm()),
        "outside": max(_outside(start, weights, bases)),
        "random": max(_outside(start, weights, others)),
        "spread": max(float(values[0] - values[-1]) for values in spreads) / SCALE,
    }


def idle_bases(weights, phi):
    r"""Find what all layers hand on whole and :math:`\Phi` sees at neither end, for any widths.

    Parameters
    ----------
    weights : list of Tensor, shapes (d_l, d_{l-1})
        The start, ``SCALE`` times matrices with orthonormal rows or columns.
    phi : Tensor, shape (d_L, d_0)
        :math:`\Phi`.

    Returns
    -------
    list of Tensor, shapes (d_l, m)
        Orthonormal columns at the input and after every layer.

    Examples
    --------
    >>> start = init_weights([9, 6, 9], SCALE, dtype=torch.float64)
    >>> [tuple(basis.shape) for basis in idle_bases(start, torch.eye(9, 1) @ torch.eye(1, 9))]
    [(9, 4), (6, 4), (9, 4)]
    """
    carried = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype)
    conditions = [phi.to(carried)]
    for weight in weights:
        onwards = weight @ carried / SCALE
        conditions.append(carried - weight.mT @ onwards / SCALE)
        carried = onwards
    conditions.append(phi.to(carried).mT @ carried)
    _, values, right = torch.linalg.svd(torch.cat(conditions))
    bases = [right[(values > 1e-9 * values[0]).sum() :].mT]
    for weight in weights:
        bases.append(weight @ bases[-1] / SCALE)
    return bases


def _gradients(weights, inputs, targets):
    lefts, residual = left_products(weights, inputs, targets)
    rights = right_products(weights, inputs, residual)
    return [left.mT @ right for left, right in zip(lefts, rights[:-1], strict=True)] + rights[-1:]


def _polar(matrix):
    """Set all singular values to one: for samples, whiten them."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _outside(start, weights, bases):
    """Share of each layer's change that the block form has no place for."""
    shares = []
    for before, after, (V, U) in zip(start, weights, pairwise(bases), strict=True):
        change = after - before
        block = U.mT @ change @ V
        rows, columns = U @ (U.mT @ change), (change @ V) @ V.mT
        core = change - rows - columns + U @ block @ V.mT
        common = block.diagonal().mean() * U @ V.mT
        shares.append(float((change - core - common).norm() / change.norm()))
    return shares


NETWORKS = ["linear", "MLP", "ViT", "linear, Adam", "MLP, Adam"]
"""What is trained on digits."""


def parsimony_networks(*, network, seed):
    """Train a network on digits and ask in how few directions its last weight changes.

    Parameters
    ----------
    network : {"linear", "MLP", "ViT", "linear, Adam", "MLP, Adam"}
        Three hidden layers of width 128 without and with ReLUs, or a small vision transformer; by
        SGD if not by Adam.
    seed : int
        Of weights and batches.

    Returns
    -------
    dict
        The settings; the ``accuracy`` on new images; the ``shares`` of the squared change in
        K - 1, K and 2K = 20 directions; the ``median`` and the ``worst`` principal angle, in
        degrees, between the K strongest right directions of the change in the first quarter of the
        training and of the change after it; the share of the squared later change that acts on the
        earlier K directions, ``caught``; and the singular values at the end, ``values``, and of
        the ``change``, rounded and those of the change below 0.001 left out.

    Raises
    ------
    TypeError, ValueError
        For another network, or a seed that is none.
    """
    network = checks.choice("network", network, NETWORKS)
    seed_everything(checks.integer("seed", seed, least=0))
    data, new = load_standardized("digits")
    K, shape = data.num_classes, tuple(data.inputs.shape[1:])
    if network == "ViT":
        net = ViT(shape, K, patch=shape[1] // 4, dim=64, depth=3)
        last, options = net.blocks[-1].linear2.weight, {"epochs": 20, "lr": 0.05, "momentum": 0.9}
    else:
        widths = [data.inputs[0].numel(), 128, 128, 128, K]
        net = MLP(widths, linear_tail=3) if network.startswith("linear") else MLP(widths)
        last, options = net.hidden[-1][0].weight, {"epochs": 60, "lr": 0.05, "momentum": 0.0}
    if network.endswith("Adam"):
        options |= {"optimizer": "adam", "lr": 0.001}
    nn.init.orthogonal_(last)
    options |= {"metrics": {"weight": lambda _: last}, "every": options["epochs"] // 4}
    history = train(net, data.inputs, data.labels, **options)
    weights = history["weight"].double()
    values = torch.linalg.svdvals(weights[-1] - weights[0])
    early, late = weights[1] - weights[0], weights[-1] - weights[1]
    first, second = (torch.linalg.svd(change).Vh[:K].mT for change in (early, late))
    angles = torch.rad2deg(subspace_angles(first, second))
    energy = values.square().cumsum(0) / values.square().sum()
    return {
        "network": network,
        "seed": seed,
        "accuracy": float(accuracy(net, new.inputs, new.labels)),
        "shares": [float(energy[count - 1]) for count in (K - 1, K, 2 * K)],
        "median": float(angles.median()),
        "worst": float(angles[-1]),
        "caught": float((late @ first).square().sum() / late.square().sum()),
        "values": [round(float(value), 3) for value in torch.linalg.svdvals(weights[-1])],
        "change": [round(float(value), 4) for value in values if value > 1e-3],
    }


EXPERIMENTS = (
    Experiment(
        name="parsimony-optimisers",
        cell=parsimony_optimisers,
        grid=tuple({"method": method, "seed": seed} for method, seed in product(METHODS, range(3))),
    ),
    Experiment(
        name="parsimony-networks",
        cell=parsimony_networks,
        grid=tuple(
            {"network": network, "seed": seed} for network, seed in product(NETWORKS, range(3))
        ),
    ),
)
