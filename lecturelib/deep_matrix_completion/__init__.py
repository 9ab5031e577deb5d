r"""Deep matrix completion: a low-rank matrix from some of its entries, by gradient descent.

The estimate is a product of matrices, and descent reduces

.. math:: \frac12 \sum_{(i,j) \in \Omega} \big( (W_{L:1})_{ij} - \Phi_{ij} \big)^2 .

Observed entries are kept as coordinates and values. Nothing of the size of a large matrix is ever
formed, except by ``method="full"`` and on request by ``dense()``.
"""

from lecturelib.deep_matrix_completion.completion import Completion
from lecturelib.deep_matrix_completion.networks import complete, factorize
from lecturelib.deep_matrix_completion.observations import (
    LowRankMatrix,
    Observations,
    low_rank_matrix,
    observe,
)
from lecturelib.deep_matrix_completion.peers import alternating_least_squares, soft_impute
from lecturelib.deep_matrix_completion.rates import limiting_rate

__all__ = [
    "Completion",
    "LowRankMatrix",
    "Observations",
    "alternating_least_squares",
    "complete",
    "factorize",
    "limiting_rate",
    "low_rank_matrix",
    "observe",
    "soft_impute",
]
