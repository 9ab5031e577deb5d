"""Valid calls of lecturelib.deep_matrix_completion."""

import torch

from lecturelib import deep_matrix_completion as topic


def source():
    return torch.Generator().manual_seed(0)


def target():
    return topic.low_rank_matrix((8, 7), 2, generator=source())


def seen():
    return topic.observe(target(), 0.9, generator=source())


def routine(function, **own):
    """A call of what completes a matrix, with all that these have in common."""
    shared = {"observations": seen(), "shape": (8, 7), "rank": 2, "steps": 2, "every": 1}
    shared |= {"tol": 1e-9, "test": seen(), "metrics": {}, "generator": source()}
    return lambda: (function, shared | own)


CALLS = {
    "LowRankMatrix.predict": lambda: (
        target().predict,
        {"rows": torch.tensor([0, 7]), "cols": torch.tensor([6, 0])},
    ),
    "Completion.predict": lambda: (
        topic.complete(seen(), (8, 7), rank=2, lr=0.01, steps=1).predict,
        {"rows": torch.tensor([0, 7]), "cols": torch.tensor([6, 0])},
    ),
    "alternating_least_squares": routine(
        topic.alternating_least_squares, penalty=0.1, continuation=0.9
    ),
    "complete": routine(
        topic.complete,
        lr=0.01,
        depth=2,
        method="compressed",
        start="gradient",
        factor_lr_ratio=1.0,
        scale=0.1,
    ),
    "factorize": lambda: (
        topic.factorize,
        {
            "target": torch.eye(6),
            "rank": 2,
            "lr": 0.01,
            "depth": 2,
            "method": "compressed",
            "scale": 0.1,
            "steps": 2,
            "tol": 1e-9,
            "every": 1,
            "metrics": {},
            "generator": source(),
        },
    ),
    "limiting_rate": lambda: (
        topic.limiting_rate,
        {
            "strength": 4.0,
            "share": 0.5,
            "depth": 3,
            "start": "gradient",
            "factor_lr_ratio": 0.1,
            "scale": 0.01,
        },
    ),
    "low_rank_matrix": lambda: (
        topic.low_rank_matrix,
        {"shape": (5, 6), "rank": 2, "singular_values": [2.0, 1.0], "generator": source()},
    ),
    "observe": lambda: (topic.observe, {"target": torch.eye(5), "fraction": 0.5}),
    "soft_impute": routine(topic.soft_impute, penalty=0.1, continuation=0.9),
}
