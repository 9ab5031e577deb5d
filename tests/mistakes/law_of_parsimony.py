"""Valid calls of lecturelib.law_of_parsimony."""

import torch

from lecturelib import law_of_parsimony
from lecturelib.deep_linear import init_weights


def setting():
    generator = torch.Generator().manual_seed(0)
    weights = init_weights([4, 4, 4], 0.5, generator=generator)
    return {"weights": weights, "X": torch.eye(4), "Y": torch.ones(4, 4), "rank": 1}


def tracks():
    return law_of_parsimony.singular_trajectories(torch.ones(2, 3, 2))


CALLS = {
    "SingularTrajectories.angles": lambda: (tracks().angles, {"side": "left"}),
    "bulk_singular_value": lambda: (
        law_of_parsimony.bulk_singular_value,
        {"scale": 0.5, "depth": 3, "lr": 0.1, "steps": 2},
    ),
    "invariant_subspaces": lambda: (law_of_parsimony.invariant_subspaces, setting()),
    "reduced_gradient_descent": lambda: (
        law_of_parsimony.reduced_gradient_descent,
        setting() | {"lr": 0.1, "steps": 2},
    ),
    "singular_trajectories": lambda: (
        law_of_parsimony.singular_trajectories,
        {"matrices": torch.ones(2, 3, 2)},
    ),
    "subspace_angles": lambda: (
        law_of_parsimony.subspace_angles,
        {"A": torch.eye(4)[:, :2], "B": torch.ones(4, 1)},
    ),
}
