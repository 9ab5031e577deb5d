"""Valid calls of lecturelib.progressive_separation."""

import torch

from lecturelib import progressive_separation
from lecturelib.networks import MLP


def features():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def labels():
    return torch.arange(12) % 4


def labelled(function):
    return lambda: (function, {"features": features(), "labels": labels()})


def probe_data():
    return {
        "train_features": features(),
        "train_labels": labels(),
        "test_features": features(),
        "test_labels": labels(),
    }


CALLS = {
    "decay_correction": lambda: (
        progressive_separation.decay_correction,
        {"first_head": torch.eye(2, 6), "last_head": torch.ones(2, 6), "depth": 3},
    ),
    "feature_compression": labelled(progressive_separation.feature_compression),
    "feature_separation": labelled(progressive_separation.feature_separation),
    "layer_profile": lambda: (
        progressive_separation.layer_profile,
        {"network": MLP([3, 5, 5, 4]), "inputs": features(), "labels": labels()},
    ),
    "linear_probe_accuracy": lambda: (progressive_separation.linear_probe_accuracy, probe_data()),
    "predicted_decay": lambda: (
        progressive_separation.predicted_decay,
        {"scale": 0.2, "depth": 4, "samples_per_class": 16},
    ),
}
