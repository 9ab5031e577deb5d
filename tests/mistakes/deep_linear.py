"""Valid calls of lecturelib.deep_linear."""

import torch

from lecturelib import deep_linear


def weights():
    generator = torch.Generator().manual_seed(0)
    return deep_linear.init_weights([4, 4, 2], 0.5, generator=generator)


def problem():
    return deep_linear.LeastSquares(None, torch.eye(2, 4), 0.0, 1.0)


CALLS = {
    "checked_chain": lambda: (deep_linear.checked_chain, {"weights": weights()}),
    "descend": lambda: (
        deep_linear.descend,
        {"weights": weights(), "problem": problem(), "lr": 0.1, "steps": 2},
    ),
    "end_to_end": lambda: (deep_linear.end_to_end, {"weights": weights()}),
    "gradient_descent": lambda: (
        deep_linear.gradient_descent,
        {"weights": weights(), "X": torch.eye(4), "Y": torch.eye(2, 4), "lr": 0.1, "steps": 2},
    ),
    "init_weights": lambda: (deep_linear.init_weights, {"widths": [4, 4, 2]}),
    "is_whitened": lambda: (deep_linear.is_whitened, {"X": torch.eye(3)}),
    "LeastSquares.from_data": lambda: (
        deep_linear.LeastSquares.from_data,
        {"weights": weights(), "X": torch.eye(4), "Y": torch.eye(2, 4)},
    ),
    "moving_directions": lambda: (
        deep_linear.moving_directions,
        {"weights": weights(), "scale": 0.5, "left": torch.eye(2, 1), "right": torch.eye(4, 1)},
    ),
    # Parts of every step, which check nothing.
    "left_products": lambda: (lambda: deep_linear.left_products(weights(), None, 0), {}),
    "right_products": lambda: (
        lambda: deep_linear.right_products(weights(), None, torch.eye(2, 4)),
        {},
    ),
}
