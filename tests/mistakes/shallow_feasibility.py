"""Valid calls of lecturelib.shallow_feasibility."""

import torch

from lecturelib import shallow_feasibility


def data():
    return {"inputs": torch.eye(4), "labels": torch.tensor([0, 0, 1, 1])}


def counts():
    return {"num_classes": 2, "samples_per_class": 3, "dim": 4}


def cell():
    return {"samples_per_class": 2, "means": torch.eye(2)}


def net():
    return shallow_feasibility.ShallowNet(2, 4, 3)


CALLS = {
    "ShallowNet": lambda: (
        shallow_feasibility.ShallowNet,
        {"num_classes": 2, "dim": 4, "width": 3},
    ),
    "any_means_bound": lambda: (
        shallow_feasibility.any_means_bound,
        {"means": torch.eye(2), "samples_per_class": 3, "dim": 6},
    ),
    "best_neurons": lambda: (
        shallow_feasibility.best_neurons,
        {**data(), "means": torch.eye(2, 4)},
    ),
    "gordon_bound": lambda: (shallow_feasibility.gordon_bound, counts()),
    "mean_margins": lambda: (shallow_feasibility.mean_margins, {"means": torch.eye(2)}),
    "misclassification_rate": lambda: (
        shallow_feasibility.misclassification_rate,
        {"weights": torch.eye(2), "means": torch.eye(2), "noise": 1.0},
    ),
    "nc_feasibility": lambda: (shallow_feasibility.nc_feasibility, data()),
    "phase_cell": lambda: (
        shallow_feasibility.phase_cell,
        {"dim": 3, "noise": 0.5, "trials": 1, **cell()},
    ),
    "phase_map": lambda: (
        shallow_feasibility.phase_map,
        {"grid": ([2.0], [0.5]), "trials": 1, **cell()},
    ),
    "small_noise_bound": lambda: (
        shallow_feasibility.small_noise_bound,
        {"means": torch.eye(2), "samples_per_class": 3, "dim": 6, "noise": 0.1},
    ),
    "train_shallow": lambda: (
        shallow_feasibility.train_shallow,
        {"net": net(), **data(), "weight_decay": 0.1, "steps": 2},
    ),
    "verify_feasibility": lambda: (
        shallow_feasibility.verify_feasibility,
        {**data(), "result": shallow_feasibility.nc_feasibility(**data())},
    ),
    "wendel_probability": lambda: (shallow_feasibility.wendel_probability, counts()),
}
