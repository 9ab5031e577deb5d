r"""When can a shallow network collapse? A linear program per class, decided with a proof.

One neuron of the first layer can map class k to a constant and silence all others if and only if

.. math:: X_k \beta = \mathbf 1, \qquad X_j \beta \le 0 \quad (j \ne k)

has a solution :math:`\beta`; the rows of :math:`X_k` (n, d) are the samples of class k. By Farkas'
lemma there is none if and only if the affine hull of class k meets the cone of all other samples.
:func:`nc_feasibility` returns the solution or such a meeting point, whichever exists.
"""

from lecturelib.shallow_feasibility.certificates import Feasibility, verify_feasibility
from lecturelib.shallow_feasibility.generalisation import (
    best_neurons,
    misclassification_rate,
)
from lecturelib.shallow_feasibility.laws import (
    any_means_bound,
    gordon_bound,
    mean_margins,
    small_noise_bound,
    wendel_probability,
)
from lecturelib.shallow_feasibility.network import ShallowNet, train_shallow
from lecturelib.shallow_feasibility.phase_maps import PhaseMap, phase_cell, phase_map
from lecturelib.shallow_feasibility.solver import nc_feasibility

__all__ = [
    "Feasibility",
    "PhaseMap",
    "ShallowNet",
    "any_means_bound",
    "best_neurons",
    "gordon_bound",
    "mean_margins",
    "misclassification_rate",
    "nc_feasibility",
    "phase_cell",
    "phase_map",
    "small_noise_bound",
    "train_shallow",
    "verify_feasibility",
    "wendel_probability",
]
