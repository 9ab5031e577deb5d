"""Where a chapter computes, and how its random numbers start."""

import random

import numpy as np
import torch

__all__ = ["default_device", "seed_everything"]


def default_device():
    """Return the fastest device at hand: a CUDA GPU, else an Apple GPU, else the CPU.

    Returns
    -------
    torch.device

    Examples
    --------
    >>> default_device().type in {"cuda", "mps", "cpu"}
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def seed_everything(seed):
    """Seed Python, NumPy and torch, and ask torch for deterministic algorithms.

    Parameters
    ----------
    seed : int
        Between 0 and 2**32 - 1.

    Returns
    -------
    torch.Generator
        A CPU generator with the same seed, for functions that take one.

    Raises
    ------
    ValueError
        If the seed is out of range.

    Notes
    -----
    Operations that have no deterministic version on the device warn instead of failing. Two
    machines may still differ in the last digits: their libraries sum in different orders.

    Examples
    --------
    >>> first = seed_everything(7), torch.rand(2)
    >>> again = seed_everything(7), torch.rand(2)
    >>> bool((first[1] == again[1]).all())
    True
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0 .. 2**32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
