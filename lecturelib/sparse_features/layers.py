"""Layers whose outputs are sparse, and how sparse the outputs of any layer are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lecturelib import checks
from lecturelib.device import Movable
from lecturelib.sparse_features.coding import (
    MOST_STEPS,
    SparseCode,
    checked_penalty,
    descend,
    gap_of,
    shrink,
)
from lecturelib.training import evaluating

# Frequencies per axis and pixel of the kernel, beyond the first, at which its norm is looked up.
FREQUENCIES = 12
# Squarings in the power iteration.
SQUARINGS = 5


class ConvolutionalSparseCoding(nn.Module):
    r"""Layer whose output is the sparse code of its input in a convolutional dictionary.

    An image is a sum of small atoms, each at any place: :math:`x = A z = \sum_j a_j * z_j`, with
    maps :math:`z_j` of the image's size. The output is what some steps of FISTA from zero make of

    .. math:: \min_{z \ge 0} \; \tfrac12 \|x - A z\|^2 + \lambda \|z\|_1 .

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of an image, and number of atoms.
    kernel : int
        Height and width of the atoms, odd.
    penalty : float
        :math:`\lambda > 0`, half of the slides'.
    steps : int
        Number of FISTA steps, at least one.
    nonnegative : bool, optional
        Without it codes may be negative.

    Attributes
    ----------
    weight : torch.nn.Parameter, shape (out_channels, in_channels, kernel, kernel)
        The atoms, trained like any weight; a fresh layer has random ones of length one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    All is differentiable, the step length included. Assign ``layer.penalty`` to change the penalty
    of a trained layer, or give one when it is called; nothing is trained again.

    References
    ----------
    Dai et al. (2022); Papyan et al. (2017); lecture 003, "Convolutional Sparse Coding (CSC) Layer".

    Examples
    --------
    >>> layer = ConvolutionalSparseCoding(1, 16, kernel=3, penalty=0.1, steps=2)
    >>> images = torch.rand(5, 1, 8, 8)
    >>> layer(images).shape, layer.reconstruct(layer(images)).shape
    (torch.Size([5, 16, 8, 8]), torch.Size([5, 1, 8, 8]))
    >>> two, many = (layer.duality_gap(images, layer(images, steps=k)) for k in (2, 500))
    >>> bool((many < two).all())
    True
    """

    def __init__(self, in_channels, out_channels, kernel, penalty, steps, *, nonnegative=True):
        super().__init__()
        self.in_channels = checks.integer("in_channels", in_channels, least=1)
        self.out_channels = checks.integer("out_channels", out_channels, least=1)
        self.kernel = checks.integer("kernel", kernel, least=1)
        if self.kernel % 2 == 0:
            raise checks.wrong("kernel", "odd", kernel)
        self.penalty = penalty
        self.steps = checks.integer("steps", steps, least=1)
        self.nonnegative = checks.flag("nonnegative", nonnegative)
        atoms = torch.randn(self.out_channels, self.in_channels, self.kernel, self.kernel)
        self.weight = nn.Parameter(atoms / atoms.flatten(1).norm(dim=1).view(-1, 1, 1, 1))

    @property
    def penalty(self):
        """The penalty λ, a positive number, for all that follows."""
        return self._penalty

    @penalty.setter
    def penalty(self, value):
        self._penalty = checks.number("penalty", value, above=0)

    def forward(self, inputs, *, penalty=None, steps=None):
        """Return the codes of images.

        Parameters
        ----------
        inputs : Tensor, shape (N, in_channels, H, W)
            Images.
        penalty : float or Tensor, shape (N,), optional
            λ for this call (default: the layer's), one for all images or one for each.
        steps : int, optional
            Number of steps for this call (default: the layer's).

        Returns
        -------
        Tensor, shape (N, out_channels, H, W)
        """
        inputs = self._checked_images("inputs", inputs, self.in_channels)
        penalty = self._checked_penalty(penalty, inputs).view(-1, 1, 1, 1)
        steps = self.steps if steps is None else checks.integer("steps", steps, least=1)
        rate = 1 / self.lipschitz_bound()
        # From zero, the first step sees the image itself.
        codes = shrink(rate * self._correlate(inputs), rate * penalty, self.nonnegative)
        ahead, t = codes, (1 + math.sqrt(5)) / 2
        for _ in range(steps - 1):
            slope = self._correlate(inputs - self._synthesize(ahead))
            new = shrink(ahead + rate * slope, rate * penalty, self.nonnegative)
            longer = (1 + math.sqrt(1 + 4 * t * t)) / 2
            ahead = new + (t - 1) / longer * (new - codes)
            codes, t = new, longer
        return codes

    def reconstruct(self, codes):
        """Return the images A z that codes stand for.

        Parameters
        ----------
        codes : Tensor, shape (N, out_channels, H, W)
            Codes.

        Returns
        -------
        Tensor, shape (N, in_channels, H, W)
        """
        return self._synthesize(self._checked_images("codes", codes, self.out_channels))

    def minimize(self, inputs, *, penalty=None, steps=None, tol=1e-10):
        """Return the codes that the layer's steps are on their way to.

        Parameters
        ----------
        inputs : Tensor, shape (N, in_channels, H, W)
            Images.
        penalty : float or Tensor, shape (N,), optional
            λ (default: the layer's).
        steps, tol
            As of :func:`fista`, restarts included.

        Returns
        -------
        SparseCode
            With codes (N, out_channels, H, W). No gradients are kept.
        """
        inputs = self._checked_images("inputs", inputs, self.in_channels).detach()
        shape = (self.out_channels, *inputs.shape[2:])
        found = descend(
            _Shifts(self, inputs.shape[1:], shape),
            inputs.flatten(1),
            self._checked_penalty(penalty, inputs).view(-1, 1),
            rate=1 / self.lipschitz_bound().detach(),
            entries=math.prod(shape),
            work=math.prod(shape) * self.in_channels * self.kernel**2,
            nonnegative=self.nonnegative,
            steps=MOST_STEPS if steps is None else checks.integer("steps", steps, least=0),
            tol=checks.number("tol", tol, least=0),
        )
        codes = found.codes.view(-1, *shape)
        return SparseCode(codes, found.objective, found.gap, found.steps)

    def critical_penalty(self, inputs):
        """Return the penalty from which on the code is zero, for each image.

        Parameters
        ----------
        inputs : Tensor, shape (N, in_channels, H, W)
            Images.

        Returns
        -------
        Tensor, shape (N,)
        """
        inputs = self._checked_images("inputs", inputs, self.in_channels)
        found = self._correlate(inputs).flatten(1)
        return (found if self.nonnegative else found.abs()).amax(1).clamp_min(0).detach()

    def duality_gap(self, inputs, codes, *, penalty=None):
        """Certify codes: their objectives are above the minima by no more than this.

        Parameters
        ----------
        inputs : Tensor, shape (N, in_channels, H, W)
            Images.
        codes : Tensor, shape (N, out_channels, H, W)
            Codes.
        penalty : float or Tensor, shape (N,), optional
            λ (default: the layer's).

        Returns
        -------
        Tensor, shape (N,)
            As of :func:`duality_gap`.
        """
        inputs = self._checked_images("inputs", inputs, self.in_channels)
        codes = self._checked_images("codes", codes, self.out_channels)
        if codes.shape[:1] + codes.shape[2:] != inputs.shape[:1] + inputs.shape[2:]:
            raise checks.wrong("codes", f"codes of {tuple(inputs.shape)} inputs", codes)
        penalty = self._checked_penalty(penalty, inputs).view(-1, 1)
        with torch.no_grad():
            residual = inputs - self._synthesize(codes)
            correlations = self._correlate(residual).flatten(1)
            return gap_of(
                residual.flatten(1), codes.flatten(1), correlations, penalty, self.nonnegative
            )

    def lipschitz_bound(self):
        r"""Return an upper bound of :math:`\|A\|^2` for images of all sizes; the step is one by it.

        Returns
        -------
        Tensor, 0-d

        Notes
        -----
        A convolution acts on each frequency for itself, by a matrix :math:`\hat A` (in_channels,
        out_channels). With :math:`P = \hat A \hat A^*` its squared norm is at most
        :math:`(\operatorname{tr} P^{32})^{1/32}`: power iteration on the whole matrix, by five
        squarings, which overestimates where that on a vector underestimates. Between M frequencies
        along an axis, no value exceeds their maximum by more than the factor
        :math:`1 / \cos(\pi (k-1) / M)`, as each is a trigonometric polynomial of degree k - 1 for a
        kernel of k pixels. Here M = 12 (k - 1), a factor of 1.07 for both axes.

        References
        ----------
        Ehlich and Zeller (1964), for the values in between.
        """
        degree = self.kernel - 1
        count = max(1, FREQUENCIES * degree)
        symbol = torch.fft.rfft2(self.weight, (count, count)).flatten(2)  # (n, C, frequencies)
        if self.in_channels <= self.out_channels:
            power = torch.einsum("nif,njf->fij", symbol, symbol.conj())
        else:
            power = torch.einsum("icf,jcf->fij", symbol, symbol.conj())
        tiny = torch.finfo(self.weight.dtype).tiny
        trace = power.diagonal(dim1=1, dim2=2).real.sum(1).clamp_min(tiny)
        logarithm = trace.log()
        if power.shape[1] > 1:
            for _ in range(SQUARINGS):
                power = power / trace[:, None, None]
                power = power @ power
                trace = power.diagonal(dim1=1, dim2=2).real.sum(1).clamp_min(tiny)
                logarithm = 2 * logarithm + trace.log()
            logarithm = logarithm / 2**SQUARINGS
        between = math.cos(math.pi * degree / count) ** 2
        rounding = 1 + 100 * torch.finfo(self.weight.dtype).eps
        return rounding * logarithm.max().exp() / between

    def mutual_coherence(self):
        """Return the largest cosine, without its sign, between two atoms at any two places.

        Returns
        -------
        Tensor, 0-d
            In [0, 1]. An atom and the same atom elsewhere are two atoms; none is cut by the edge.
        """
        with torch.no_grad():
            atoms = functional.normalize(self.weight.flatten(1)).view_as(self.weight)
            cosines = functional.conv2d(atoms, atoms, padding=self.kernel - 1).abs()
            own = torch.arange(self.out_channels)
            cosines[own, own, self.kernel - 1, self.kernel - 1] = 0
            return cosines.max().clamp_max(1)

    def extra_repr(self):
        """Say the sizes."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, "
            f"penalty={self.penalty:g}, steps={self.steps}"
        )

    def _synthesize(self, codes):
        return functional.conv_transpose2d(codes, self.weight, padding=self.kernel // 2)

    def _correlate(self, images):
        return functional.conv2d(images, self.weight, padding=self.kernel // 2)

    def _checked_images(self, name, value, channels):
        shape = ("N", channels, "H", "W")
        return checks.tensor(name, value, shape, finite=False, like=self.weight)

    def _checked_penalty(self, penalty, inputs):
        penalty = self.penalty if penalty is None else penalty
        return checked_penalty("penalty", penalty, inputs, inputs.shape[:1])


class _Shifts:
    """The dictionary of a layer, for images and codes as rows."""

    def __init__(self, layer, image, code):
        self.layer, self.image, self.code = layer, image, code

    def synthesize(self, codes):
        return self.layer._synthesize(codes.view(-1, *self.code)).flatten(1)

    def correlate(self, rows):
        return self.layer._correlate(rows.view(-1, *self.image)).flatten(1)

    def of(self, rows):
        return self


class TopK(nn.Module):
    """Layer that keeps the k largest entries and sets the others to zero.

    Parameters
    ----------
    k : int
        How many to keep, at least one.
    dim : int, optional
        Dimension along which the entries compete: the last for features (N, d), 1 for the channels
        of a convolution.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or inputs have fewer than k entries.

    Notes
    -----
    Largest, not largest in size: behind a ReLU it is the same. Gradients reach what was kept. Of
    equal entries exactly as many are kept as there is room for.

    References
    ----------
    Li et al. (2023); lecture 003, "Larger Models, the Sparser III".

    Examples
    --------
    >>> TopK(2)(torch.tensor([[3.0, 0.0, 5.0, 4.0]]))
    tensor([[0., 0., 5., 4.]])
    """

    def __init__(self, k, dim=-1):
        super().__init__()
        self.k = checks.integer("k", k, least=1)
        self.dim = checks.integer("dim", dim)

    def forward(self, inputs):
        """Return inputs with all but the k largest entries zero."""
        inputs = checks.tensor("inputs", inputs, finite=False)
        if not -inputs.ndim <= self.dim < inputs.ndim or inputs.shape[self.dim] < self.k:
            raise checks.wrong(
                "inputs", f"of {self.k} or more entries along dimension {self.dim}", inputs
            )
        values, places = inputs.topk(self.k, self.dim)
        return torch.zeros_like(inputs).scatter(self.dim, places, values)

    def extra_repr(self):
        """Say how many."""
        return f"{self.k}, dim={self.dim}"


@dataclass(frozen=True, eq=False)
class ActivationSparsity(Movable):
    """How many entries of each layer's output are not zero.

    ``sparsity[i]`` is the i-th layer, ``sparsity["name"]`` that of this name.

    Attributes
    ----------
    names : tuple of str
        The layers, in the order in which they are called.
    nonzero : Tensor, shape (layers,), float64
        Share of entries that are not zero, a mean over samples.
    spread : Tensor, shape (layers,), float64
        Standard deviation of that share over samples.
    silent : Tensor, shape (layers,), float64
        Share of entries that are zero for every sample: such a layer is sparse because it is
        smaller than it looks.
    """

    names: tuple
    nonzero: Tensor
    spread: Tensor
    silent: Tensor

    def __getitem__(self, which):
        if isinstance(which, str):
            if which not in self.names:
                raise KeyError(f"{which!r} was not measured: {', '.join(self.names)} were")
            which = self.names.index(which)
        names = self.names[which]
        return ActivationSparsity(
            names, self.nonzero[which], self.spread[which], self.silent[which]
        )


def activation_sparsity(model, loader, *, layers=None, threshold=0.0):
    """Measure which share of every layer's output is not zero.

    Parameters
    ----------
    model : torch.nn.Module
        The network; used in evaluation mode and left as it was.
    loader : Tensor, or iterable of Tensor or of (inputs, labels)
        Inputs of the network: one batch, or batches such as those of a
        :class:`torch.utils.data.DataLoader`. Labels are not looked at.
    layers : sequence of str, optional
        Names as in ``model.named_modules()`` (default: all :class:`torch.nn.ReLU`, :class:`TopK`
        and :class:`ConvolutionalSparseCoding`).
    threshold : float, optional
        Entries of at most this size count as zero: for activations that only come near it.

    Returns
    -------
    ActivationSparsity

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or there is no such layer, or no input.

    Notes
    -----
    Outputs are read by hooks, so that activations that are functions and no modules are not seen. A
    module that is called several times counts as several layers, the second one ``name[1]``.

    References
    ----------
    Rhu et al. (2018); lecture 003, "Sparse Features are Prevalent".

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU())
    >>> _ = net[0].weight.data.copy_(torch.eye(4)[:3])
    >>> sparsity = activation_sparsity(net, torch.tensor([[1.0, -1, -1, 0], [1, 1, -1, 0]]))
    >>> sparsity.names, sparsity.nonzero, sparsity.silent
    (('1',), tensor([0.5000], dtype=torch.float64), tensor([0.3333], dtype=torch.float64))
    """
    modules = dict(checks.module("model", model).named_modules())
    names = _checked_names(modules, layers)
    threshold = checks.number("threshold", threshold, least=0)
    tallies, calls = {}, {}

    def watch(name):
        def hook(module, given, output):
            number = calls[name] = calls.get(name, -1) + 1
            if not isinstance(output, Tensor) or output.ndim < 2:
                raise checks.wrong("layers", f"layers with outputs (N, …), as {name}", output)
            active = (output.abs() > threshold).flatten(1)
            key = f"{name}[{number}]" if number else name
            tallies.setdefault(key, _Tally()).add(key, active)

        return hook

    hooks = [modules[name].register_forward_hook(watch(name)) for name in names]
    try:
        with evaluating(model):
            for batch in _batches(loader, model):
                calls.clear()
                try:
                    model(batch)
                except (RuntimeError, TypeError, IndexError) as error:
                    raise ValueError(f"model and loader must fit each other: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not tallies:
        raise checks.wrong("loader", "batches of inputs, at least one, that reach a layer", loader)
    shares = [torch.cat(tally.shares) for tally in tallies.values()]
    return ActivationSparsity(
        names=tuple(tallies),
        nonzero=torch.stack([share.mean() for share in shares]),
        spread=torch.stack([share.std(correction=0) for share in shares]),
        silent=torch.stack([1 - tally.ever.double().mean().cpu() for tally in tallies.values()]),
    )


class _Tally:
    """What one layer has put out."""

    def __init__(self):
        self.shares, self.ever = [], None

    def add(self, name, active):
        if self.ever is not None and len(self.ever) != active.shape[1]:
            raise ValueError(f"loader must have inputs of one size, but outputs of {name} differ")
        self.shares.append(active.double().mean(1).cpu())
        fired = active.any(0)
        self.ever = fired if self.ever is None else self.ever | fired


def _checked_names(modules, layers):
    if layers is None:
        kinds = (nn.ReLU, TopK, ConvolutionalSparseCoding)
        names = [name for name, module in modules.items() if isinstance(module, kinds)]
        if not names:
            raise ValueError("model must have a ReLU, a TopK or a ConvolutionalSparseCoding")
        return names
    expected = f"a sequence of names of modules of the model, which are {[*modules]}"
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise checks.wrong("layers", expected, layers, TypeError)
    for name in layers:
        if not isinstance(name, str) or name not in modules:
            raise checks.wrong("layers", expected, name)
    if not layers:
        raise checks.wrong("layers", "one name or more", layers)
    return list(dict.fromkeys(layers))


def _batches(loader, model):
    """Yield the inputs of every batch, on the network's device."""
    if isinstance(loader, Tensor | np.ndarray):
        loader = [loader]
    expected = "a batch of inputs, or an iterable of batches"
    if isinstance(loader, str | nn.Module) or not isinstance(loader, Iterable):
        raise checks.wrong("loader", expected, loader, TypeError)
    parameter = next(model.parameters(), None)
    for batch in loader:
        inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
        inputs = checks.tensor("loader", inputs, kind="real", finite=False)
        if inputs.ndim == 0 or len(inputs) == 0:
            raise checks.wrong("loader", expected, inputs)
        yield inputs if parameter is None else inputs.to(parameter.device)
