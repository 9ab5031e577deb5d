"""What the chapter *Sparse features* measures without a record: memory, time, codes with noise."""

from timeit import repeat

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from lecturelib.sparse_features import fista

__all__ = ["bytes_kept", "disturbed_codes", "milliseconds"]


def bytes_kept(net, batch):
    """Return how many bytes a forward pass keeps for the backward pass.

    Parameters
    ----------
    net : torch.nn.Module
        A network.
    batch : Tensor
        Its input.

    Returns
    -------
    int
        A tensor that is kept twice counts once.

    Examples
    --------
    >>> bytes_kept(torch.nn.ReLU(), torch.ones(3, 5, requires_grad=True))
    60
    """
    sizes = {}

    def pack(tensor):
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        net(batch)
    return sum(sizes.values())


def milliseconds(net, batch):
    """Return the time of the shortest of five forward and backward passes.

    Parameters
    ----------
    net : torch.nn.Module
        A network.
    batch : Tensor
        Its input.

    Returns
    -------
    float

    Examples
    --------
    >>> milliseconds(torch.nn.Linear(3, 2), torch.ones(5, 3)) > 0
    True
    """
    return 1000 * min(repeat(lambda: net(batch).sum().backward(), number=1, repeat=5))


def disturbed_codes(dictionary, s, *, generator, count=100, noise=0.1):
    r"""Code inputs that are made of s atoms and disturbed, with a penalty of twice the noise.

    Parameters
    ----------
    dictionary : Tensor, shape (m, n), float64
        Its columns are atoms of length one.
    s : int
        Atoms of an input, at random, with coefficients of random signs and sizes from 1 to 2.
    generator : torch.Generator
        For these and the noise.
    count : int, optional
        Number of inputs.
    noise : float, optional
        Length of the noise :math:`e`, of random direction.

    Returns
    -------
    exact : Tensor, shape (count,), bool
        Which codes have exactly the true atoms, counting entries above 1e-3.
    errors : Tensor, shape (count,)
        Largest error of an entry over :math:`\|e\|`.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> exact, errors = disturbed_codes(torch.eye(9).double(), 2, generator=generator)
    >>> bool(exact.all()), bool(errors.max() < 3)
    (True, True)
    """
    m, n = dictionary.shape
    draw = {"generator": generator, "dtype": torch.float64}
    picks = torch.rand(count, n, **draw).argsort(1)[:, :s]
    sizes = 1 + torch.rand(count, s, **draw)
    true = torch.zeros(count, n, dtype=torch.float64)
    true.scatter_(1, picks, sizes * torch.randn(count, s, **draw).sign())
    e = noise * functional.normalize(torch.randn(count, m, **draw), dim=1)
    codes = fista(dictionary, true @ dictionary.T + e, 2 * noise, tol=1e-7).codes
    exact = ((codes.abs() > 1e-3) == (true != 0)).all(1)
    return exact, (codes - true).abs().amax(1) / noise
