"""Runs of the chapter *Progressive separation*."""

from itertools import product

import torch
from torch.nn import functional

from lecturelib.deep_linear import init_weights
from lecturelib.experiments import Experiment
from lecturelib.law_of_parsimony import reduced_gradient_descent
from lecturelib.progressive_separation import decay_correction, feature_compression

__all__ = ["EXPERIMENTS", "separation_decay"]


def separation_decay(*, scale, depth, samples_per_class, output_scale, num_classes=5):
    r"""Train a deep linear network to zero loss and measure how D decays from layer to layer.

    Parameters
    ----------
    scale, depth : float, int
        :math:`\varepsilon` of the orthogonal start and number L of layers.
    samples_per_class, output_scale : int, float
        n and the factor :math:`\alpha` on the output.
    num_classes : int, optional
        Number K of classes; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    dict
        The settings, the ``steps`` to a ``loss`` of 1e-20 with targets :math:`Y / \alpha`, the
        ``ratios`` :math:`D_{l+1} / D_l` and the ``corrections`` of
        :func:`~lecturelib.progressive_separation.decay_correction`.

    Examples
    --------
    >>> row = separation_decay(scale=0.3, depth=4, samples_per_class=5, output_scale=1.0)
    >>> row["steps"] < 1000, len(row["ratios"])
    (True, 3)
    """
    width = samples_per_class * num_classes
    widths = [width] * depth + [num_classes]
    generator = torch.Generator().manual_seed(0)
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    targets = functional.one_hot(labels).T.double() / output_scale
    # Half of the rate at which the descent would leave the minimum, where the Hessian is largest.
    signal = (samples_per_class**0.5 / output_scale) ** (1 / depth)
    lr = 1 / (depth * signal ** (2 * depth - 2))
    # The noise in the last layers has energy scale^(2 depth) >= 1e-16: the loss must end far below.
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**7, every=[], tol=1e-20
    )
    trained, features = path.weights(), inputs
    compression = [feature_compression(features, labels)]
    for weight in trained[:-1]:
        features = features @ weight.T
        compression.append(feature_compression(features, labels))
    compression = torch.stack(compression)
    return {
        "scale": scale,
        "depth": depth,
        "samples_per_class": samples_per_class,
        "output_scale": output_scale,
        "steps": int(path.cores.steps[-1]),
        "loss": float(path["loss"][-1]),
        "ratios": (compression[1:] / compression[:-1]).tolist(),
        "corrections": decay_correction(weights[-1], trained[-1], depth).tolist(),
    }


EXPERIMENTS = (
    Experiment(
        name="separation-decay",
        cell=separation_decay,
        grid=tuple(
            {"scale": scale, "depth": depth, "samples_per_class": n, "output_scale": alpha}
            for depth, scale, n, alpha in product(
                (4, 6, 8), (0.3, 0.2, 0.1), (5, 10, 20), (1.0, 10.0)
            )
        ),
    ),
)
