"""Valid calls of lecturelib.datasets."""

import torch

from lecturelib import datasets

CALLS = {
    "gaussian_mixture": lambda: (
        datasets.gaussian_mixture,
        {"means": torch.eye(2), "samples_per_class": 2, "noise": 0.1},
    ),
    "load": lambda: (datasets.load, {"name": "digits", "download": False}),
    "load_standardized": lambda: (
        datasets.load_standardized,
        {"name": "digits", "download": False},
    ),
    "standardize": lambda: (datasets.standardize, {"inputs": torch.eye(3)}),
}
