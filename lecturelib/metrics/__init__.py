"""Measures of neural collapse: how far features and classifier are from their terminal geometry.

Features are rows, ``features (N, d)`` with integer ``labels (N,)`` in ``0 .. K-1``; a classifier is
``W (K, d)``. Everything runs on the device of its inputs, gradients flow to them, and sums are
accumulated in float64 (float32 where the device has no float64). NumPy arrays are taken as well.
"""

from lecturelib.metrics.measures import (
    bias_measure,
    cdnv,
    cosines,
    equiangularity,
    equinorm,
    maximal_angle,
    nc1,
    nc2,
    nc3,
    nc4,
    simplex_etf,
)
from lecturelib.metrics.statistics import ClassStatistics

__all__ = [
    "ClassStatistics",
    "bias_measure",
    "cdnv",
    "cosines",
    "equiangularity",
    "equinorm",
    "maximal_angle",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
    "simplex_etf",
]
