"""Valid calls of lecturelib.low_rank_training."""

import torch
from torch import nn

from lecturelib import low_rank_training as topic
from lecturelib.losses import FocalLoss
from lecturelib.networks import MLP


def thin(change, **own):
    """A call of what makes layers of a network thin."""
    arguments = {"rank": {"head": 2}, "which": ["head"]} | own
    return lambda: (change, {"model": MLP([4, 6, 3])} | arguments)


CALLS = {
    "FactorizedLinear": lambda: (
        topic.FactorizedLinear,
        {"in_features": 4, "out_features": 3, "rank": 2, "bias": True},
    ),
    "FactorizedLinear.forward": lambda: (
        topic.FactorizedLinear(4, 3, 2).forward,
        {"inputs": torch.ones(2, 4)},
    ),
    "FactorizedLinear.from_linear": lambda: (
        topic.FactorizedLinear.from_linear,
        {"linear": nn.Linear(4, 3), "rank": 2},
    ),
    "LoRALinear": lambda: (topic.LoRALinear, {"base": nn.Linear(4, 3), "rank": 2, "alpha": 1.0}),
    "LoRALinear.forward": lambda: (
        topic.LoRALinear(nn.Linear(4, 3), 2).forward,
        {"inputs": torch.ones(2, 4)},
    ),
    "add_lora": thin(topic.add_lora, alpha=2.0),
    "energy_rank": lambda: (
        topic.energy_rank,
        {"values": torch.tensor([3.0, 1.0, 0.1]), "share": 0.9},
    ),
    "factorize_layers": thin(topic.factorize_layers),
    "training_cost": lambda: (
        topic.training_cost,
        {
            "model": MLP([4, 6, 3]),
            "inputs": torch.ones(4, 4),
            "labels": torch.arange(4) % 3,
            "loss": FocalLoss(),
        },
    ),
    "update_singular_values": lambda: (
        topic.update_singular_values,
        {"weights": [torch.zeros(3, 2), torch.ones(3, 2)]},
    ),
}
