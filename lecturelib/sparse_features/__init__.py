r"""Sparse features: codes with few non-zeros, layers that compute them, and what they withstand.

A code of an input :math:`x` in a dictionary :math:`A` minimises

.. math:: \tfrac12 \|x - A z\|_2^2 + \lambda \|z\|_1 ,

where the atoms are the columns of :math:`A` (m, n), an input has m entries and its code n. The
slides leave the ½ out, so that their :math:`\lambda` is twice the one here. Every function that has
``nonnegative`` demands :math:`z \ge 0` on request.
"""

from lecturelib.sparse_features.coding import (
    SparseCode,
    critical_penalty,
    duality_gap,
    fista,
    mutual_coherence,
    relative_residual,
    soft_threshold,
)
from lecturelib.sparse_features.layers import (
    ActivationSparsity,
    ConvolutionalSparseCoding,
    TopK,
    activation_sparsity,
)
from lecturelib.sparse_features.perturbations import CORRUPTIONS, corrupt, pgd_attack

__all__ = [
    "CORRUPTIONS",
    "ActivationSparsity",
    "ConvolutionalSparseCoding",
    "SparseCode",
    "TopK",
    "activation_sparsity",
    "corrupt",
    "critical_penalty",
    "duality_gap",
    "fista",
    "mutual_coherence",
    "pgd_attack",
    "relative_residual",
    "soft_threshold",
]
