"""Where a chapter computes, on how many threads, and how its random numbers start."""

import dataclasses
import random
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lecturelib import checks

__all__ = ["Movable", "default_device", "one_thread", "seed_everything"]


class Movable:
    """Base of result dataclasses whose tensors move together.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Point(Movable):
    ...     position: Tensor
    >>> Point(torch.zeros(2)).to("meta").position.device
    device(type='meta')
    """

    def to(self, device):
        """Return a copy whose tensors, also those in lists and dicts, are on a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        Movable
            Of the same class.
        """
        device = checks.device("device", device)
        moved = {
            field.name: _moved(getattr(self, field.name), device)
            for field in dataclasses.fields(self)
        }
        return dataclasses.replace(self, **moved)


def _moved(value, device):
    if isinstance(value, Tensor | Movable):
        return value.to(device)
    if isinstance(value, list):
        return [_moved(entry, device) for entry in value]
    if type(value) is tuple:
        return tuple(_moved(entry, device) for entry in value)
    if isinstance(value, dict):
        return {key: _moved(entry, device) for key, entry in value.items()}
    return value


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


@contextmanager
def one_thread(condition=True):
    """Run torch on one thread within a block or a function, and give the setting back.

    Many operations on small tensors lose more by waiting for a second thread than it brings: on a
    machine that is busy with something else, up to eighty times their own time.

    Parameters
    ----------
    condition : bool, optional
        Leave the setting as it is where this is False: for work that is large.

    Examples
    --------
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    checks.flag("condition", condition)
    threads = torch.get_num_threads()
    if not condition or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    TypeError, ValueError
        If the seed is not an integer in that range.

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
    seed = checks.integer("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
