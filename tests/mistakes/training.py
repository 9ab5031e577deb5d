"""Valid calls of lecturelib.training."""

import torch

from lecturelib import training
from lecturelib.networks import MLP


def data():
    return {"inputs": torch.eye(6, 4), "labels": torch.arange(6) % 2}


def evaluate(model):
    with training.evaluating(model):
        pass


CALLS = {
    "Recorder": lambda: (training.Recorder, {"steps": 3}),
    "accuracy": lambda: (training.accuracy, {"model": MLP([4, 3, 2]), **data()}),
    "evaluating": lambda: (evaluate, {"model": MLP([4, 3, 2])}),
    "train": lambda: (training.train, {"model": MLP([4, 3, 2]), **data(), "epochs": 1}),
}
