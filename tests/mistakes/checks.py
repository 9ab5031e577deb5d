"""Valid calls of lecturelib.checks: of each checker, with the value that it looks at."""

import numpy as np
import torch

from lecturelib import checks

CALLS = {
    "choice": lambda: (lambda x: checks.choice("x", x, ["a", "b"]), {"x": "a"}),
    "device": lambda: (lambda x: checks.device("x", x), {"x": "cpu"}),
    "dtype": lambda: (lambda x: checks.dtype("x", x), {"x": torch.float64}),
    "flag": lambda: (lambda x: checks.flag("x", x), {"x": True}),
    "function": lambda: (lambda x: checks.function("x", x), {"x": abs}),
    "functions": lambda: (lambda x: checks.functions("x", x), {"x": {"size": abs}}),
    "generator": lambda: (lambda x: checks.generator("x", x), {"x": torch.Generator()}),
    "inputs": lambda: (
        lambda x: checks.inputs("x", x, torch.nn.Linear(2, 1)),
        {"x": torch.zeros(3, 2)},
    ),
    "integer": lambda: (lambda x: checks.integer("x", x, 1, 5), {"x": 3}),
    "integers": lambda: (lambda x: checks.integers("x", x, 2, 1), {"x": [3, 4]}),
    "labelled": lambda: (
        lambda x, labels, num_classes=None: checks.labelled("x", x, labels, num_classes, 2),
        {"x": np.eye(2), "labels": np.array([0, 1])},
    ),
    "labels": lambda: (lambda x: checks.labels("x", x, 2, 2), {"x": torch.tensor([0, 1])}),
    "module": lambda: (lambda x: checks.module("x", x), {"x": torch.nn.Linear(2, 3)}),
    "number": lambda: (lambda x: checks.number("x", x, above=0, most=1), {"x": 0.5}),
    "path": lambda: (lambda x: checks.path("x", x), {"x": "here"}),
    "shape": lambda: (lambda x: checks.shape("x", x), {"x": (2, 3)}),
    "tensor": lambda: (lambda x: checks.tensor("x", x, ("N", 3)), {"x": torch.zeros(2, 3)}),
    "text": lambda: (lambda x: checks.text("x", x), {"x": "a"}),
    "wrong": lambda: (lambda got: checks.wrong("x", "a cat", got), {"got": None}),
}
