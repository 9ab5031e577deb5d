"""Valid calls of lecturelib.training."""

import torch

from lecturelib import training
from lecturelib.networks import MLP


def data():
    return {"inputs": torch.eye(6, 4), "labels": torch.arange(6) % 2}


def recorder():
    return training.Recorder(3)


CALLS = {
    "Recorder": lambda: (training.Recorder, {"steps": 3}),
    "accuracy": lambda: (training.accuracy, {"model": MLP([4, 3, 2]), **data()}),
    "train": lambda: (training.train, {"model": MLP([4, 3, 2]), **data(), "epochs": 1}),
}
