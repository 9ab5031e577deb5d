"""Valid calls of lecturelib.sparse_features."""

import torch
from torch import nn

from lecturelib import sparse_features as topic

DICTIONARY = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])


def problem(function, **own):
    """A call of what solves or measures two problems in a dictionary of three atoms."""
    arguments = {"dictionary": DICTIONARY, "inputs": torch.tensor([[2.0, 1.0], [0.0, 3.0]])}
    return lambda: (function, arguments | own)


def layer(steps=2):
    """A small layer of convolutional sparse coding."""
    return topic.ConvolutionalSparseCoding(1, 2, kernel=3, penalty=0.1, steps=steps)


def classifier():
    """A network with a layer whose outputs are sparse."""
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))


IMAGES = torch.ones(3, 1, 4, 4)

CALLS = {
    "ConvolutionalSparseCoding": lambda: (
        topic.ConvolutionalSparseCoding,
        {
            "in_channels": 1,
            "out_channels": 2,
            "kernel": 3,
            "penalty": 0.1,
            "steps": 2,
            "nonnegative": True,
        },
    ),
    "ConvolutionalSparseCoding.critical_penalty": lambda: (
        layer().critical_penalty,
        {"inputs": IMAGES},
    ),
    "ConvolutionalSparseCoding.duality_gap": lambda: (
        layer().duality_gap,
        {"inputs": IMAGES, "codes": torch.ones(3, 2, 4, 4), "penalty": 0.2},
    ),
    "ConvolutionalSparseCoding.forward": lambda: (
        layer().forward,
        {"inputs": IMAGES, "penalty": torch.full((3,), 0.2), "steps": 3},
    ),
    "ConvolutionalSparseCoding.minimize": lambda: (
        layer().minimize,
        {"inputs": IMAGES, "penalty": 0.2, "steps": 20, "tol": 1e-3},
    ),
    "ConvolutionalSparseCoding.reconstruct": lambda: (
        layer().reconstruct,
        {"codes": torch.ones(3, 2, 4, 4)},
    ),
    "TopK": lambda: (topic.TopK, {"k": 2, "dim": 1}),
    "TopK.forward": lambda: (topic.TopK(2).forward, {"inputs": torch.ones(2, 4)}),
    "activation_sparsity": lambda: (
        topic.activation_sparsity,
        {
            "model": classifier(),
            "loader": [(torch.ones(4, 2), torch.zeros(4))],
            "layers": ["1"],
            "threshold": 0.1,
        },
    ),
    "corrupt": lambda: (
        topic.corrupt,
        {
            "images": IMAGES,
            "kind": "shot",
            "severity": 2,
            "family": "cifar",
            "generator": torch.Generator(),
        },
    ),
    "critical_penalty": problem(topic.critical_penalty, nonnegative=True),
    "duality_gap": problem(
        topic.duality_gap,
        codes=torch.ones(2, 3),
        penalty=torch.tensor([0.1, 0.2]),
        nonnegative=True,
    ),
    "fista": problem(
        topic.fista,
        penalty=0.5,
        nonnegative=False,
        momentum=True,
        restart=True,
        steps=50,
        tol=1e-6,
    ),
    "mutual_coherence": lambda: (topic.mutual_coherence, {"dictionary": DICTIONARY}),
    "pgd_attack": lambda: (
        topic.pgd_attack,
        {
            "model": classifier(),
            "inputs": torch.full((4, 2), 0.5),
            "labels": torch.arange(4) % 3,
            "radius": 0.1,
            "norm": "l2",
            "steps": 2,
            "lr": 0.1,
            "starts": 2,
            "random_start": True,
            "loss": "margin",
            "bounds": (0.0, 1.0),
            "generator": torch.Generator(),
        },
    ),
    "relative_residual": lambda: (
        topic.relative_residual,
        {"inputs": torch.ones(2, 3), "reconstructions": torch.zeros(2, 3)},
    ),
    "soft_threshold": lambda: (
        topic.soft_threshold,
        {"values": torch.ones(2, 3), "threshold": torch.ones(3), "nonnegative": False},
    ),
}
