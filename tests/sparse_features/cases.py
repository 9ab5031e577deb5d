"""Problems and networks that all tests of sparse features share."""

import numpy as np
import torch
from helpers import F64, normal

from lecturelib.sparse_features import ConvolutionalSparseCoding, critical_penalty


def problem(seed, count, m, n, *, each=False, share=0.2, nonnegative=False):
    """Random dictionaries, inputs, and penalties at a share of those that make the code zero."""
    dictionary = normal(seed, *([count] if each else []), m, n)
    inputs = normal(seed + 1, count, m)
    largest = critical_penalty(dictionary, inputs, nonnegative=nonnegative)
    return dictionary, inputs, share * largest.clamp_min(1e-3)


def objective(dictionary, inputs, codes, penalty):
    """The objective as it is printed, of one problem."""
    A, x, z = (np.asarray(part, np.float64) for part in (dictionary, inputs, codes))
    return ((x - A @ z) ** 2).sum() / 2 + float(penalty) * np.abs(z).sum()


def textbook(dictionary, inputs, penalty, rate, steps, *, momentum=True, nonnegative=False):
    """FISTA of one problem, without restarts: the codes after each step."""
    A, x = (np.asarray(part, np.float64) for part in (dictionary, inputs))
    z, y, t, found = np.zeros(A.shape[1]), np.zeros(A.shape[1]), 1.0, []
    for _ in range(steps):
        v = y + rate * A.T @ (x - A @ y)
        if nonnegative:
            new = np.maximum(v - rate * penalty, 0)
        else:
            new = np.sign(v) * np.maximum(np.abs(v) - rate * penalty, 0)
        longer = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y = new + (t - 1) / longer * (new - z) if momentum else new
        z, t = new, longer
        found.append(z)
    return found


def coding(seed=0, channels=1, atoms=6, kernel=3, penalty=0.2, steps=2, **options):
    """A layer of convolutional sparse coding with random atoms, in double precision."""
    layer = ConvolutionalSparseCoding(channels, atoms, kernel, penalty, steps, **options).double()
    with torch.no_grad():
        layer.weight.copy_(normal(seed, atoms, channels, kernel, kernel))
    return layer


def as_matrix(layer, height, width):
    """A layer's dictionary, its columns the images of the unit codes."""
    count = layer.out_channels * height * width
    units = torch.eye(count, dtype=F64).view(count, layer.out_channels, height, width)
    return layer.reconstruct(units).flatten(1).detach().T
