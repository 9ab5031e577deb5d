"""Valid calls of lecturelib.unconstrained_features."""

import torch

from lecturelib import unconstrained_features as ufm

PROBLEM = ufm.Problem(2, samples_per_class=2, dim=3, weight_decay=0.1)


def model(**options):
    generator = torch.Generator().manual_seed(0)
    return ufm.UnconstrainedFeatures(PROBLEM, generator=generator, **options)


CALLS = {
    "Problem": lambda: (
        ufm.Problem,
        {"num_classes": 2, "samples_per_class": 2, "dim": 3, "weight_decay": 0.1},
    ),
    "UnconstrainedFeatures": lambda: (ufm.UnconstrainedFeatures, {"problem": PROBLEM}),
    "UnconstrainedFeatures.place": lambda: (
        model().place,
        {"W": torch.ones(2, 3), "H": torch.ones(4, 3), "b": torch.ones(2)},
    ),
    "WeightDecay": lambda: (ufm.WeightDecay, {"W": 0.1, "H": 0.1}),
    "convex_objective": lambda: (
        ufm.convex_objective,
        {"problem": PROBLEM, "Z": torch.ones(4, 2), "b": torch.zeros(2)},
    ),
    "global_minimizer": lambda: (ufm.global_minimizer, {"problem": PROBLEM}),
    "hessian_min_eigenpair": lambda: (ufm.hessian_min_eigenpair, {"model": model()}),
    "hessian_min_eigenvalue": lambda: (ufm.hessian_min_eigenvalue, {"model": model()}),
    "minimize": lambda: (ufm.minimize, {"model": model(batch_shape=(2,)), "steps": 2}),
    "norm_constrained_minimizer": lambda: (
        ufm.norm_constrained_minimizer,
        {"num_classes": 2, "samples_per_class": 2, "dim": 3},
    ),
    "one_example_minimizer": lambda: (ufm.one_example_minimizer, {"num_classes": 3}),
    "saddle": lambda: (ufm.saddle, {"model": model(), "groups": 2}),
}
