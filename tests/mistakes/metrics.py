"""Valid calls of lecturelib.metrics."""

import torch

from lecturelib import metrics


def features():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def labels():
    return torch.arange(12) % 4


def classifier():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


def statistics():
    return metrics.ClassStatistics.from_features(features(), labels())


def labelled(function):
    return lambda: (function, {"features": features(), "labels": labels()})


CALLS = {
    "ClassStatistics.from_features": labelled(metrics.ClassStatistics.from_features),
    "ClassStatistics.variances": labelled(statistics().variances),
    "bias_measure": lambda: (
        metrics.bias_measure,
        {"classifier": classifier(), "bias": torch.ones(4), "global_mean": torch.ones(3)},
    ),
    "cdnv": labelled(metrics.cdnv),
    "cosines": lambda: (metrics.cosines, {"vectors": classifier()}),
    "equiangularity": lambda: (metrics.equiangularity, {"vectors": classifier()}),
    "equinorm": lambda: (metrics.equinorm, {"vectors": classifier()}),
    "maximal_angle": lambda: (metrics.maximal_angle, {"vectors": classifier()}),
    "nc1": labelled(metrics.nc1),
    "nc2": lambda: (metrics.nc2, {"vectors": classifier()}),
    "nc3": lambda: (metrics.nc3, {"classifier": classifier(), "class_means": classifier()}),
    "nc4": lambda: (
        metrics.nc4,
        {"features": features(), "labels": labels(), "classifier": classifier()},
    ),
    "simplex_etf": lambda: (metrics.simplex_etf, {"num_classes": 3, "dim": 4}),
}
