"""Valid calls of lecturelib.neural_collapse."""

import torch

from lecturelib.neural_collapse import ClassMeans, NeuralCollapse


def batch():
    return {"features": torch.eye(4, 3), "labels": torch.tensor([0, 1, 0, 1])}


CALLS = {
    "ClassMeans": lambda: (ClassMeans, {"num_classes": 2}),
    "ClassMeans.update": lambda: (ClassMeans(2).update, batch()),
    "NeuralCollapse": lambda: (
        lambda num_classes, dim=None, means=None, classifier=None, bias=None: NeuralCollapse(
            num_classes, dim, means=means, classifier=classifier, bias=bias
        ),
        {"num_classes": 2, "means": torch.eye(2, 3), "classifier": torch.ones(2, 3)},
    ),
    "NeuralCollapse.update": lambda: (NeuralCollapse(2).update, batch()),
}
