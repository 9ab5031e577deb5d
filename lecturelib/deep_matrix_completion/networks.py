"""Completion and factorisation by gradient descent on deep linear networks."""

import math

import torch
from tqdm import trange

from lecturelib import checks
from lecturelib.deep_linear import (
    SMALL_LAYER,
    end_to_end,
    init_weights,
    left_products,
    moving_directions,
    right_products,
)
from lecturelib.deep_matrix_completion.completion import ErrorRecorder
from lecturelib.deep_matrix_completion.errors import errors_at, leading_vectors, normal
from lecturelib.deep_matrix_completion.observations import Observed
from lecturelib.deep_matrix_completion.rates import limiting_rate
from lecturelib.device import one_thread

__all__ = ["complete", "factorize"]


def complete(
    observations,
    shape,
    *,
    rank=None,
    width=None,
    lr=None,
    depth=3,
    method="compressed",
    start="surrogate",
    factor_lr_ratio=1.0,
    scale=1e-2,
    steps=10_000,
    tol=None,
    test=None,
    every=100,
    metrics=None,
    generator=None,
):
    r"""Complete a matrix by gradient descent on a deep factorisation.

    Parameters
    ----------
    observations : Observations
        Observed entries, in any order, each at most once; a plain tuple will do. Runs on their
        device and in their floating type.
    shape : tuple of two int
        :math:`(d_1, d_2)`.
    rank : int, optional
        :math:`\hat r`, the guess of the rank from above, less than half of each dimension. Needed
        by all methods but ``"full"``, which ignores it, unless there is a ``width``.
    width : int, optional
        Of the layers, less than each dimension, in place of a rank where it should not be
        :math:`2 \hat r`: for ``"narrow"``, and for the start ``"surrogate"``.
    lr : float, optional
        Learning rate :math:`\eta > 0` for the sum over the observed entries given above. A rate for
        the mean over M entries has to be divided by M, one for the mean over all entries by
        :math:`d_1 d_2`. Default: half of :func:`limiting_rate`, with the largest singular value of
        the observed matrix over its share of entries for that of the whole matrix. Where one row
        or column is seen much more often than the others a smaller one is needed.
    depth : int, optional
        Number L of layers, at least 2.
    method : {"compressed", "narrow", "full"}, optional
        Layers as wide as the smaller dimension (full); layers of width :math:`2 \hat r` from a
        random orthogonal start (narrow); or :math:`U \widetilde W_L \cdots \widetilde W_1 V^\top`
        with the same inner width, from a start that has seen the data.
    start : {"surrogate", "gradient"}, optional
        Which start, of ``method="compressed"``.

        ``surrogate``: the leading :math:`2 \hat r` singular vectors of the observed matrix with
        zeros elsewhere, times :math:`\varepsilon`, are the first and the last of the L layers; the
        others start at :math:`\varepsilon I` (Kwon et al.).

        ``gradient``: the subspaces in which the first step from an orthogonal start would move,
        spanned by the leading :math:`\hat r` of these vectors on each side and what the start pairs
        them with. U and V are orthonormal and come in addition to L layers that start at
        :math:`\varepsilon I` (Yaras et al.).
    factor_lr_ratio : float, optional
        :math:`\gamma \ge 0`: in the compressed method U and V learn with the rate
        :math:`\gamma \eta`; 0 freezes them. Published: 1 to 5 with ``surrogate``, 0.01 with
        ``gradient``.
    scale : float, optional
        :math:`\varepsilon > 0`.
    steps : int, optional
        Largest number of steps.
    tol : float, optional
        End at the first record whose error at the observed entries, relative, is at most this.
    test : Observations, optional
        Entries on which to record a test error.
    every : int or sequence of int, optional
        Steps between two records, or the steps to record. The last one always is.
    metrics : dict of str to callable, optional
        ``name: metric(factors)``, recorded beside the errors. The factors change in place
        afterwards.
    generator : torch.Generator, optional
        Source of randomness.

    Returns
    -------
    Completion

    Raises
    ------
    TypeError, ValueError
        If observations are empty, out of range, duplicated or not finite, if the rank is at least
        half a dimension, or another argument is not as described.
    FloatingPointError
        If the descent diverges; the message names the learning rate.

    Warns
    -----
    UserWarning
        If a row or a column has no observed entry: nothing can recover it.

    Notes
    -----
    With residual E, a sparse matrix with M entries, the gradients need :math:`E V` and
    :math:`E^\top U`, the rest is of size :math:`2 \hat r`: a step takes :math:`O(M \hat r + d
    \hat r^2 + L \hat r^3)`, and memory is :math:`O(M + d \hat r + L \hat r^2)`. A small matrix is
    multiplied out instead, as that is faster there. A full step takes :math:`O(L d^3)`.

    Close to a target with largest singular value :math:`\sigma` of which a share p is observed,
    steps are stable up to about :math:`\eta = 2 / (L p\, \sigma^{2 - 2/L})`, for
    ``factor_lr_ratio=1`` and the start ``"surrogate"``; see :func:`limiting_rate`.

    References
    ----------
    Yaras et al. (2023); Kwon et al. (2024); lectures 000 and 001, "Efficient Deep Matrix
    Completion".

    Examples
    --------
    >>> from lecturelib.deep_matrix_completion import low_rank_matrix, observe
    >>> source = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix((60, 60), 2, singular_values=[8, 5], generator=source)
    >>> seen, test = observe(target, 0.4, generator=source), observe(target, 1.0)
    >>> run = complete(seen, (60, 60), rank=2, steps=3000, test=test)
    >>> bool(run["test_error"][-1] < 1e-3), [tuple(factor.shape) for factor in run.factors]
    (True, [(4, 60), (4, 4), (60, 4)])
    """
    shape = checks.integers("shape", shape, length=2, least=1)
    method = checks.choice("method", method, ["compressed", "narrow", "full"])
    start = checks.choice("start", start, ["surrogate", "gradient"])
    if width is None:
        width, depth, scale = _checked_network(method, shape, rank, depth, scale)
    else:
        if rank is not None or method == "full" or start == "gradient":
            raise ValueError("width is for narrow and surrogate networks, in place of a rank")
        width = checks.integer("width", width, 1, min(shape) - 1)
        _, depth, scale = _checked_network("full", shape, None, depth, scale)
    lr = None if lr is None else checks.number("lr", lr, above=0)
    ratio = checks.number("factor_lr_ratio", factor_lr_ratio, least=0)
    tol = None if tol is None else checks.number("tol", tol, least=0)
    generator = checks.generator("generator", generator)
    observed = Observed(observations, shape)
    recorder = ErrorRecorder(observed.norm, shape, test, steps, every, metrics)
    if method != "compressed":
        start, ratio = "surrogate", 1.0
    if method != "full" or lr is None:
        errors = errors_at(observed, 1 if method == "full" else width)
    if lr is None:
        share = len(observed.values) / (shape[0] * shape[1])
        form = {"depth": depth, "start": start, "factor_lr_ratio": ratio, "scale": scale}
        lr = limiting_rate(_strength(errors) / share, share, **form) / 2
    if method == "full":
        layers = _orthogonal_layers(shape, width, depth, scale, observed.values, generator)
        network = _WideNetwork(layers, *_with_zeros(observed), lr=lr)
        with one_thread(network.small):
            return _descend(network, recorder, lr, tol)
    with one_thread(errors.small):
        if method == "compressed":
            chain = _compressed_start(errors, width, depth, start, scale, generator)
        else:
            chain = _orthogonal_layers(shape, width, depth, scale, observed.values, generator)
        return _descend(_ThinNetwork(chain, errors, lr, ratio), recorder, lr, tol)


def factorize(
    target,
    *,
    rank=None,
    lr,
    depth=3,
    method="compressed",
    scale=1e-2,
    steps=10_000,
    tol=None,
    every=100,
    metrics=None,
    generator=None,
):
    r"""Fit a deep linear network to a matrix that is known in full.

    The full and the compressed network draw the same orthogonal start from the same state of the
    generator, so that their runs can be compared step by step.

    Parameters
    ----------
    target : Tensor, shape (d_1, d_2)
        :math:`\Phi`; square for ``method="compressed"``.
    rank : int, optional
        :math:`\hat r`, less than half of each dimension; for the gap below at least the rank of
        :math:`\Phi`. Needed by all methods but ``"full"``, which ignores it.
    lr : float
        Learning rate :math:`\eta > 0` for :math:`\frac12 \|W_{L:1} - \Phi\|_F^2`.
    depth : int, optional
        Number L of layers, at least 2.
    method : {"compressed", "narrow", "full"}, optional
        As in :func:`complete`. Here U and V are fixed: descent takes place in the
        :math:`2 \hat r \times 2 \hat r` cores, at a cost that does not depend on d.
    scale, steps
        As in :func:`complete`.
    tol : float, optional
        End at the first record whose relative error is at most this.
    every, metrics, generator
        As in :func:`complete`.

    Returns
    -------
    Completion
        With a ``"train_error"`` over all entries, and no test error.

    Raises
    ------
    TypeError, ValueError
        If the target is not a finite matrix or zero, not square where it must be, or another
        argument is not as described.
    FloatingPointError
        If the descent diverges; the message names the learning rate.

    Notes
    -----
    With :math:`\rho(0) = \varepsilon` and :math:`\rho \leftarrow \rho (1 - \eta \rho^{2(L-1)})`,
    the two runs differ at all steps by

    .. math::

        \| W_{L:1}(t) - U \widetilde W_{L:1}(t) V^\top \|_F = |\rho(t)|^L \sqrt{d - 2 \hat r} .

    References
    ----------
    Yaras et al. (2023); lecture 002, "How to Achieve the Best of Two Worlds?".

    Examples
    --------
    >>> from lecturelib.deep_matrix_completion import low_rank_matrix
    >>> target = low_rank_matrix((40, 40), 2, singular_values=[3, 2]).dense()
    >>> run = factorize(target, rank=2, lr=0.05, scale=0.1, steps=2000, tol=1e-3)
    >>> bool(run["train_error"][-1] <= 1e-3), [tuple(factor.shape) for factor in run.factors]
    (True, [(4, 40), (4, 4), (4, 4), (4, 4), (40, 4)])
    """
    target = checks.tensor("target", target, ("d_1", "d_2"))
    if not target.any():
        raise ValueError("target must not be zero")
    shape = tuple(target.shape)
    width, depth, scale = _checked_network(method, shape, rank, depth, scale)
    lr = checks.number("lr", lr, above=0)
    tol = None if tol is None else checks.number("tol", tol, least=0)
    generator = checks.generator("generator", generator)
    recorder = ErrorRecorder(target.norm().item(), shape, None, steps, every, metrics)
    drawn = min(shape) if method == "compressed" else width
    layers = _orthogonal_layers(shape, drawn, depth, scale, target, generator)
    floor = 0.0
    if method == "compressed":
        if shape[0] != shape[1]:
            raise checks.wrong("target", "square, to be compressed", target)
        left, _, right = torch.linalg.svd(target, full_matrices=False)
        moving = moving_directions(layers, scale, left[:, :rank], right.mT[:, :rank])
        V = torch.linalg.qr(moving).Q
        U = end_to_end(layers) @ V / scale**depth
        inside = U.mT @ target @ V
        floor = (target - U @ inside @ V.mT).square().sum().item()
        network = _WideNetwork(_cores(depth, width, scale, target), inside, frames=(V.mT, U), lr=lr)
    else:
        network = _WideNetwork(layers, target, lr=lr)
    with one_thread(network.small):
        return _descend(network, recorder, lr, tol, floor)


def _checked_network(method, shape, rank, depth, scale):
    """Return width, depth and scale, if they make a network of this form for this matrix."""
    method, width = checks.choice("method", method, ["compressed", "narrow", "full"]), min(shape)
    if method != "full":
        rank = checks.integer("rank", rank, least=1)
        if 2 * rank >= width:
            raise checks.wrong("rank", f"less than half of the dimension {width}", rank)
        width = 2 * rank
    return width, checks.integer("depth", depth, least=2), checks.number("scale", scale, above=0)


def _strength(errors):
    """Return the largest singular value of the observed matrix, zeros elsewhere."""
    with one_thread(errors.small):
        _, right = leading_vectors(errors, 1, torch.Generator().manual_seed(0))
        return (errors.by_rows @ right).norm().item()


def _orthogonal_layers(shape, width, depth, scale, like, generator):
    """Draw layers of a width."""
    widths = [shape[1], *[width] * (depth - 1), shape[0]]
    layers = init_weights(widths, scale, generator=generator, dtype=like.dtype)
    return [layer.to(like.device) for layer in layers]


def _cores(count, width, scale, like):
    eye = scale * torch.eye(width, dtype=like.dtype, device=like.device)
    return [eye.clone() for _ in range(count)]


def _compressed_start(errors, width, depth, start, scale, generator):
    like = errors.observed.values
    if start == "surrogate":
        left, right = leading_vectors(errors, width, generator)
        return [scale * right.mT, *_cores(depth - 2, width, scale, like), scale * left]
    left, right = leading_vectors(errors, width // 2, generator)
    # An orthogonal start pairs the leading rows with random columns and the leading columns with
    # random rows: V is taken to U, whatever it does elsewhere.
    V = torch.linalg.qr(torch.cat([right, normal(right.shape, like, generator)], dim=1)).Q
    U = torch.linalg.qr(torch.cat([normal(left.shape, like, generator), left], dim=1)).Q
    return [V.mT, *_cores(depth, width, scale, like), U]


def _with_zeros(observed):
    """Return the observed matrix, zeros elsewhere, and ones where it was observed."""
    target, mask = observed.values.new_zeros((2, *observed.shape))
    target[observed.rows, observed.cols] = observed.values
    mask[observed.rows, observed.cols] = 1.0
    return target, mask


def _descend(network, recorder, lr, tol, floor=0.0):
    """Take steps until the end, or until an error recorded on the way is at most ``tol``."""
    for step in trange(recorder.end + 1, desc="gradient descent", unit="step", leave=False):
        residual = network.residual()
        if recorder.due(step):
            error = recorder.record_errors(step, network.factors, residual, floor)
            if not math.isfinite(error):
                raise FloatingPointError(
                    f"gradient descent diverged by step {step} with lr={lr}: try a smaller one"
                )
            if step == recorder.end or (tol is not None and error <= tol):
                return recorder.completion(network.factors)
        network.step()


class _ThinNetwork:
    """U W_k … W_1 Vᵀ, thin inside, with errors at the observed places only."""

    def __init__(self, chain, errors, lr, ratio):
        self.errors, self.lr, self.factor_lr = errors, lr, ratio * lr
        self.V, self.U = errors.laid_out(chain[0].mT), errors.laid_out(chain[-1])
        self.cores = chain[1:-1]
        self.factors = [self.V.mT, *self.cores, self.U]
        # Whatever is as large as U is written to the same place in each step, in U's layout.
        self.along, self.on_V = torch.empty_like(self.U), torch.empty_like(self.U)

    def residual(self):
        """Compute the errors at the observed places."""
        if self.cores:
            self.lefts, self.inner = left_products(self.cores, None, 0)
            torch.mm(self.U, self.inner, out=self.along)
        else:
            self.along = self.U
        return self.errors.hold_residual(self.along, self.V)

    def step(self):
        """Move all factors against their gradients, after :meth:`residual`."""
        torch.mm(self.errors.by_rows, self.V, out=self.on_V)
        inside = self.U.mT @ self.on_V if self.cores else None
        if self.factor_lr:
            self.V.addmm_(self.errors.by_cols, self.along, alpha=-self.factor_lr)
            if self.cores:
                self.U.addmm_(self.on_V, self.inner.mT, alpha=-self.factor_lr)
            else:
                self.U.sub_(self.on_V, alpha=self.factor_lr)
        if self.cores:
            _update(self.cores, self.lefts, right_products(self.cores, None, inside), self.lr)


class _WideNetwork:
    """W_L … W_1, all entries of which are computed, within fixed frames if there are any."""

    def __init__(self, layers, target, mask=None, *, lr, frames=None):
        self.layers, self.target, self.mask, self.lr = layers, target, mask, lr
        self.factors = [frames[0], *layers, frames[1]] if frames else layers
        self.small = max(layer.numel() for layer in layers) < SMALL_LAYER

    def residual(self):
        """Compute the errors, zero where nothing was observed."""
        self.lefts, self.errors = left_products(self.layers, None, self.target)
        return self.errors if self.mask is None else self.errors.mul_(self.mask)

    def step(self):
        """Move all layers against their gradients, after :meth:`residual`."""
        _update(self.layers, self.lefts, right_products(self.layers, None, self.errors), self.lr)


def _update(layers, lefts, rights, lr):
    """Join what stands to the left and to the right; the last layer has nothing to its left."""
    for layer, left, right in zip(layers, lefts, rights, strict=False):
        layer.addmm_(left.mT, right, alpha=-lr)
    layers[-1].sub_(rights[-1], alpha=lr)
