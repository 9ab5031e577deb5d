"""Valid calls of lecturelib.losses."""

import torch

from lecturelib import losses


def of(loss):
    """Calls of one loss: itself, its constructor and its methods."""
    name = type(loss).__name__
    batch = {"logits": torch.eye(3), "labels": torch.tensor([0, 1, 1])}
    return {
        f"{name}": lambda: (type(loss), {}),
        f"{name}.__call__": lambda: (loss, dict(batch)),
        f"{name}.value_and_gradient": lambda: (loss.value_and_gradient, dict(batch)),
        f"{name}.bound": lambda: (loss.bound, {"contrast": -1.0, "num_classes": 3}),
        f"{name}.margin": lambda: (loss.margin, {"price": 0.1, "num_classes": 3}),
    }


CALLS = {
    "FocalLoss.of_cross_entropy": lambda: (
        losses.FocalLoss().of_cross_entropy,
        {"cross_entropy": 0.5},
    ),
    "FocalLoss.slope": lambda: (losses.FocalLoss().slope, {"cross_entropy": 0.5}),
    **of(losses.FocalLoss()),
    **of(losses.LabelSmoothing()),
    **of(losses.SquaredError()),
    "check_contrastive": lambda: (
        losses.check_contrastive,
        {"loss": losses.FocalLoss(), "num_classes": 3},
    ),
}
CALLS |= {key: make for key, make in of(losses.CrossEntropy()).items() if "." in key}
