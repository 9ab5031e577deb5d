r"""The unconstrained features model: its exact minimisers, its landscape, its solver.

The features of a classifier are free variables, as if the network before them could do anything:

.. math::

    \min_{W, H, b} \; \frac1N \sum_{i=1}^N \mathcal L(W h_i + b,\, y_i)
      + \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 + \frac{\lambda_b}{2} \|b\|^2

with N samples, class after class; rows of ``H (N, d)`` are features, ``W (K, d)`` is the
classifier, ``b (K,)`` its bias. The penalties have the factor ½ of torch's ``weight_decay``; the
lectures leave it out, so that their λ is half of ours. For n samples in every class one number
decides what the minimiser looks like, :math:`c = \sqrt{n \lambda_W \lambda_H}`.

A :class:`Problem` says what is minimised, with a loss of :mod:`lecturelib.losses`. The theory holds
to rounding in float64: take ``dtype=torch.float64`` where more than six digits matter.
"""

from lecturelib.unconstrained_features.landscape import (
    convex_objective,
    hessian_min_eigenpair,
    hessian_min_eigenvalue,
    saddle,
)
from lecturelib.unconstrained_features.minimizers import (
    Minimizer,
    global_minimizer,
    norm_constrained_minimizer,
    one_example_minimizer,
)
from lecturelib.unconstrained_features.model import UnconstrainedFeatures
from lecturelib.unconstrained_features.problem import Problem, WeightDecay
from lecturelib.unconstrained_features.solver import minimize

__all__ = [
    "Minimizer",
    "Problem",
    "UnconstrainedFeatures",
    "WeightDecay",
    "convex_objective",
    "global_minimizer",
    "hessian_min_eigenpair",
    "hessian_min_eigenvalue",
    "minimize",
    "norm_constrained_minimizer",
    "one_example_minimizer",
    "saddle",
]
