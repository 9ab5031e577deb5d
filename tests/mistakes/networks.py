"""Valid calls of lecturelib.networks."""

import torch

from lecturelib import networks

CALLS = {
    "MLP": lambda: (networks.MLP, {"widths": [4, 3, 2]}),
    "MLP.forward": lambda: (networks.MLP([4, 3, 2]).forward, {"inputs": torch.zeros(2, 4)}),
    "MLP.taps": lambda: (networks.MLP([4, 3, 2]).taps, {"inputs": torch.zeros(2, 4)}),
    "ViT": lambda: (
        networks.ViT,
        {"image_shape": (1, 4, 4), "num_classes": 2, "patch": 2, "dim": 8, "depth": 1},
    ),
    "ViT.forward": lambda: (
        networks.ViT((1, 4, 4), 2, patch=2, dim=8, depth=1).forward,
        {"images": torch.zeros(2, 1, 4, 4)},
    ),
}
