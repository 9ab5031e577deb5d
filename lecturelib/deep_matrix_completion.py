r"""Deep matrix completion: a low-rank matrix from some of its entries, by gradient descent.

The estimate is a product of matrices, and descent reduces

.. math:: \frac12 \sum_{(i,j) \in \Omega} \big( (W_{L:1})_{ij} - \Phi_{ij} \big)^2 .

Observed entries are kept as coordinates and values, so that nothing of the size of the matrix is
ever formed, except by ``method="full"`` and on request by ``dense()``.
"""

import math
import time
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import trange

from lecturelib.deep_linear import (
    _lefts,
    _moving_directions,
    _rights,
    end_to_end,
    init_weights,
)

__all__ = [
    "Completion",
    "LowRankMatrix",
    "Observations",
    "alternating_least_squares",
    "complete",
    "factorize",
    "low_rank_matrix",
    "observe",
    "soft_impute",
]

# Entries worked on at once: what is gathered for them must fit into a cache, or a GPU's memory.
CHUNK = {"cpu": 2**15, "cuda": 2**22}

# Rounds of subspace iteration, and vectors beyond those asked for, in a truncated SVD.
SWEEPS, OVERSAMPLING = 20, 10


class Observations(NamedTuple):
    r"""Entries of a matrix in coordinate form.

    Attributes
    ----------
    rows, cols : Tensor, shape (M,), int64
        Where the entries stand, counted from 0.
    values : Tensor, shape (M,)
        What they are.
    """

    rows: Tensor
    cols: Tensor
    values: Tensor


@dataclass(frozen=True)
class LowRankMatrix:
    r"""A matrix kept as a product, :math:`A B^\top`.

    Attributes
    ----------
    left, right : Tensor, shapes (d_1, r) and (d_2, r)
        The factors A and B.
    """

    left: Tensor
    right: Tensor

    @property
    def shape(self):
        """Shape (d_1, d_2) of the matrix."""
        return len(self.left), len(self.right)

    def predict(self, rows, cols):
        """Return the entries at ``rows`` (M,) and ``cols`` (M,), shape (M,)."""
        return _entries(self.left, self.right, rows, cols)

    def dense(self):
        """Multiply the factors out, shape (d_1, d_2)."""
        return self.left @ self.right.mT


def low_rank_matrix(
    dim, rank, *, singular_values=None, generator=None, dtype=torch.float64, device=None
):
    r"""Draw a matrix with uniformly distributed singular vectors.

    Parameters
    ----------
    dim : int or tuple of two int
        d, or :math:`(d_1, d_2)`.
    rank : int
        r, between 1 and the smaller dimension.
    singular_values : sequence of float, optional
        r numbers, not negative (default: all :math:`\sqrt{d_1 d_2 / r}`, which makes the entries'
        mean square one).
    generator : torch.Generator, optional
        Source of randomness.
    dtype, device : optional
        As in :func:`~lecturelib.deep_linear.init_weights`.

    Returns
    -------
    LowRankMatrix

    Raises
    ------
    ValueError
        If the rank does not fit, or the singular values are not r numbers :math:`\ge 0`.

    Examples
    --------
    >>> target = low_rank_matrix(50, 2, singular_values=[3.0, 1.0])
    >>> torch.linalg.svdvals(target.dense())[:3].round(decimals=6)
    tensor([3., 1., 0.], dtype=torch.float64)
    """
    rows, cols = (dim, dim) if isinstance(dim, Integral) else dim
    if not 1 <= rank <= min(rows, cols):
        raise ValueError(f"rank must lie in 1 .. {min(rows, cols)}, got {rank}")
    like = {"generator": generator, "dtype": dtype, "device": device}
    left, right = (init_weights([rank, size], **like)[0] for size in (rows, cols))
    if singular_values is None:
        singular_values = [math.sqrt(rows * cols / rank)] * rank
    strengths = torch.as_tensor(singular_values, dtype=dtype, device=left.device)
    if strengths.shape != (rank,) or not ((strengths >= 0) & strengths.isfinite()).all():
        raise ValueError(f"need {rank} finite singular values >= 0, got {singular_values}")
    return LowRankMatrix(left * strengths, right)


def observe(target, fraction, generator=None):
    r"""Look at some entries, drawn without replacement.

    Parameters
    ----------
    target : Tensor, shape (d_1, d_2), or LowRankMatrix
        The matrix.
    fraction : float
        Share of the entries, in (0, 1]; their number is rounded.
    generator : torch.Generator, optional
        Source of randomness.

    Returns
    -------
    Observations
        In the order of rows, then columns.

    Raises
    ------
    ValueError
        If the fraction is out of range or rounds to no entry at all.

    Examples
    --------
    >>> rows, cols, values = observe(torch.eye(20), 0.3)
    >>> len(values), torch.equal(values, (rows == cols).float())
    (120, True)
    """
    n_rows, n_cols = target.shape
    total = n_rows * n_cols
    count = round(fraction * total) if 0 < fraction <= 1 else 0
    if count < 1:
        raise ValueError(f"fraction must be in (0, 1] and leave an entry, got {fraction}")
    source = {"generator": generator, "device": generator.device if generator else None}
    if 4 * count > total:
        places = torch.randperm(total, **source)[:count]
    else:  # few places out of many: draw, drop what came twice, and fill up
        places = torch.empty(0, dtype=torch.int64, device=source["device"])
        while len(places) < count:
            more = torch.randint(total, (count - len(places) + count // 4 + 16,), **source)
            places = torch.cat([places, more]).unique()
        places = places[torch.randperm(len(places), **source)[:count]]
    places = places.sort().values
    device = target.device if isinstance(target, Tensor) else target.left.device
    rows, cols = (places // n_cols).to(device), (places % n_cols).to(device)
    values = target[rows, cols] if isinstance(target, Tensor) else target.predict(rows, cols)
    return Observations(rows, cols, values)


@dataclass(frozen=True)
class Completion:
    r"""An estimate and how it came about.

    Attributes
    ----------
    factors : list of Tensor
        Matrices whose product is the estimate, the rightmost first, as in
        :func:`~lecturelib.deep_linear.end_to_end`.
    steps : Tensor, shape (T,)
        Recorded steps, int64; the last one is where the descent ended.
    train_error : Tensor, shape (T,)
        Error at the observed entries, relative: norm of the difference over norm of the values.
    test_error : Tensor, shape (T,)
        The same at the entries of ``test``; without one NaN.
    seconds : Tensor, shape (T,)
        Wall time up to a record, the start included, without the time that recording took.
    """

    factors: list
    steps: Tensor
    train_error: Tensor
    test_error: Tensor
    seconds: Tensor

    def predict(self, rows, cols):
        """Return the estimates at ``rows`` (M,) and ``cols`` (M,), shape (M,)."""
        return _predict(self.factors, rows, cols)

    def dense(self):
        """Multiply all factors, shape (d_1, d_2)."""
        return end_to_end(self.factors)


def complete(
    observations,
    shape,
    *,
    rank,
    lr,
    depth=3,
    method="compressed",
    factors="surrogate",
    factor_lr_ratio=1.0,
    scale=1e-2,
    steps=10_000,
    tol=None,
    test=None,
    record_every=100,
    callback=None,
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
    rank : int
        :math:`\hat r`, the guess of the rank from above, less than half of each dimension.
    lr : float
        Learning rate :math:`\eta > 0` for the sum over the observed entries given above. (For the
        mean over M entries divide a rate by M, for one over all entries by :math:`d_1 d_2`.)
    depth : int, optional
        Number L of layers, at least 2.
    method : {"compressed", "narrow", "full"}, optional
        Layers as wide as the smaller dimension (full); layers of width :math:`2 \hat r` from a
        random orthogonal start (narrow); or :math:`U \widetilde W_L \cdots \widetilde W_1 V^\top`
        with the same inner width, from a start that has seen the data.
    factors : {"surrogate", "gradient"}, optional
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
    record_every : int, optional
        Steps between two records; the last step always is one.
    callback : callable, optional
        ``callback(step, factors)`` at every record. The factors change in place afterwards.
    generator : torch.Generator, optional
        Source of randomness.

    Returns
    -------
    Completion

    Raises
    ------
    ValueError
        If observations are empty, out of range, duplicated or not finite, if the rank is at least
        half a dimension, or another number or word is out of range.
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
    \hat r^2 + L \hat r^3)`, and memory is :math:`O(M + d \hat r + L \hat r^2)`. A full step takes
    :math:`O(L d^3)`.

    Close to a target with largest singular value :math:`\sigma` of which a share p is observed,
    steps are stable up to about :math:`\eta = 2 / (L p\, \sigma^{2 - 2/L})`.

    References
    ----------
    Yaras et al. (2023); Kwon et al. (2024); lectures 000 and 001, "Efficient Deep Matrix
    Completion".

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix(60, 2, singular_values=[8.0, 5.0], generator=generator)
    >>> seen, test = observe(target, 0.4, generator), observe(target, 1.0)
    >>> run = complete(seen, (60, 60), rank=2, lr=0.02, factor_lr_ratio=2, steps=3000, test=test)
    >>> bool(run.test_error[-1] < 1e-4), [tuple(factor.shape) for factor in run.factors]
    (True, [(4, 60), (4, 4), (60, 4)])
    """
    _check_numbers(shape, rank, lr, depth, scale, steps, record_every)
    if not 0 <= factor_lr_ratio < math.inf:
        raise ValueError(f"factor_lr_ratio must be in [0, inf), got {factor_lr_ratio}")
    if factors not in ("surrogate", "gradient"):
        raise ValueError(f'factors must be "surrogate" or "gradient", got {factors!r}')
    observed = _Observed(observations, shape)
    history = _History(observed.norm, shape, test, callback)
    like = _like(observed.values, generator)
    if method == "compressed":
        chain = _compressed_start(observed, rank, depth, factors, scale, like)
        rates = [factor_lr_ratio * lr, *[lr] * (len(chain) - 2), factor_lr_ratio * lr]
    else:
        chain = init_weights(_widths(method, shape, rank, depth), scale, **like)
        rates = [lr] * depth
    if method == "full":
        target, mask = observed.values.new_zeros((2, *shape))
        target[observed.rows, observed.cols] = observed.values
        mask[observed.rows, observed.cols] = 1.0
        gradients = _DenseGradients(target, mask)
    else:
        gradients = _SampledGradients(observed, frozen=rates[0] == 0)
    return _descend(chain, rates, gradients, history, lr, steps, tol, record_every)


def factorize(
    target,
    *,
    rank,
    lr,
    depth=3,
    method="compressed",
    scale=1e-2,
    steps=10_000,
    tol=None,
    record_every=100,
    callback=None,
    generator=None,
):
    r"""Fit a deep linear network to a matrix that is known in full.

    The full and the compressed network draw the same orthogonal start from the same state of the
    generator, so that their runs can be compared step by step.

    Parameters
    ----------
    target : Tensor, shape (d_1, d_2)
        :math:`\Phi`; square for ``method="compressed"``.
    rank : int
        :math:`\hat r`, less than half of each dimension; for the gap below at least the rank of
        :math:`\Phi`.
    lr : float
        Learning rate :math:`\eta > 0` for :math:`\frac12 \|W_{L:1} - \Phi\|_F^2`.
    depth : int, optional
        Number L of layers, at least 2.
    method : {"compressed", "narrow", "full"}, optional
        As in :func:`complete`. Here U and V are fixed: descent takes place in the
        :math:`2 \hat r \times 2 \hat r` cores, at a cost that does not depend on d.
    scale, steps, record_every, callback, generator
        As in :func:`complete`.
    tol : float, optional
        End at the first record whose relative error is at most this.

    Returns
    -------
    Completion
        With a ``train_error`` over all entries, and no test error.

    Raises
    ------
    ValueError
        If the target is not a finite matrix, not square where it must be, or a number or word is
        out of range.
    FloatingPointError
        If the descent diverges; the message names the learning rate.

    Notes
    -----
    With :math:`\rho(0) = \varepsilon` and :math:`\rho \leftarrow \rho (1 - \eta \rho^{2(L-1)})`,
    the two runs differ at all steps by

    .. math::

        \| W_{L:1}(t) - U \widetilde W_{L:1}(t) V^\top \|_F = \rho(t)^L \sqrt{d - 2 \hat r} .

    References
    ----------
    Yaras et al. (2023); lecture 002, "How to Achieve the Best of Two Worlds?".

    Examples
    --------
    >>> target = low_rank_matrix(40, 2, singular_values=[3.0, 2.0]).dense()
    >>> run = factorize(target, rank=2, lr=0.05, scale=0.1, steps=2000, tol=1e-3)
    >>> bool(run.train_error[-1] <= 1e-3), [tuple(factor.shape) for factor in run.factors]
    (True, [(4, 40), (4, 4), (4, 4), (4, 4), (40, 4)])
    """
    if target.ndim != 2 or not target.isfinite().all() or not target.any():
        raise ValueError(f"target must be a finite matrix, not zero, got {tuple(target.shape)}")
    shape = tuple(target.shape)
    _check_numbers(shape, rank, lr, depth, scale, steps, record_every)
    history = _History(target.norm().item(), shape, None, callback)
    like = _like(target, generator)
    drawn = "full" if method == "compressed" else method
    chain = init_weights(_widths(drawn, shape, rank, depth), scale, **like)
    rates, gradients = [lr] * depth, _DenseGradients(target)
    if method == "compressed":
        if shape[0] != shape[1]:
            raise ValueError(f"compression needs a square target, got {shape}")
        left, _, right = torch.linalg.svd(target, full_matrices=False)
        moving = _moving_directions(chain, scale, left[:, :rank], right.mT[:, :rank])
        V = torch.linalg.qr(moving).Q
        U = end_to_end(chain) @ V / scale**depth
        chain = [V.mT, *_cores(depth, rank, scale, like), U]
        rates = [0.0, *rates, 0.0]
        inside = U.mT @ target @ V
        gradients = _CoreGradients(inside)
        history.floor = (target - U @ inside @ V.mT).square().sum().item()
    return _descend(chain, rates, gradients, history, lr, steps, tol, record_every)


def alternating_least_squares(
    observations,
    shape,
    *,
    rank,
    penalty=1e-8,
    steps=100,
    tol=None,
    test=None,
    record_every=1,
    callback=None,
    generator=None,
):
    r"""Complete a matrix by solving for its two factors in turn.

    Parameters
    ----------
    observations, shape, test, callback, generator
        As in :func:`complete`.
    rank : int
        Columns of the factors A and B.
    penalty : float, optional
        :math:`\lambda > 0` below; a small one keeps rows with fewer than ``rank`` observations
        solvable.
    steps : int, optional
        Largest number of pairs of solves.
    tol, record_every
        As in :func:`complete`.

    Returns
    -------
    Completion
        With the factors :math:`B^\top` and A.

    Raises
    ------
    ValueError, UserWarning
        As in :func:`complete`, but for ranks up to the smaller dimension.
    FloatingPointError
        If the penalty is so small that rounding leaves a row's system singular (in float32).

    Notes
    -----
    What is minimised is

    .. math::

        \sum_{(i,j) \in \Omega} \big( (A B^\top)_{ij} - \Phi_{ij} \big)^2
            + \lambda \big( \|A\|_F^2 + \|B\|_F^2 \big) .

    Each row of A is a least-squares problem of its own, whose Gram matrix sums :math:`b_j b_j^\top`
    over the observed j: one sparse product for all of them. A step takes :math:`O(M r^2 + d r^3)`.

    References
    ----------
    Koren, Bell, Volinsky (2009), "Matrix factorization techniques for recommender systems".

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix(60, 2, generator=generator)
    >>> run = alternating_least_squares(observe(target, 0.4, generator), (60, 60), rank=2)
    >>> bool((run.dense() - target.dense()).norm() < 1e-6 * target.dense().norm())
    True
    """
    if not 1 <= rank <= min(shape) or not penalty > 0 or steps < 0 or record_every < 1:
        raise ValueError(
            f"need 1 <= rank <= {min(shape)}, penalty > 0, steps >= 0 and record_every >= 1, "
            f"got {rank}, {penalty}, {steps} and {record_every}"
        )
    observed = _Observed(observations, shape)
    history, values = _History(observed.norm, shape, test, callback), observed.values
    _, B = _leading_vectors(observed, rank, generator)
    A = B.new_zeros(shape[0], rank)
    ridge = penalty * torch.eye(rank, dtype=values.dtype, device=values.device)

    def solve(transposed, other):
        matrix = observed.by_cols if transposed else observed.by_rows
        observed.hold(torch.ones_like(values))
        products = other.unsqueeze(2) * other.unsqueeze(1)
        grams = (matrix @ products.flatten(1)).unflatten(1, (rank, rank)) + ridge
        observed.hold(values)
        roots, failed = torch.linalg.cholesky_ex(grams)
        if failed.any():
            raise FloatingPointError(f"penalty={penalty} drowns in rounding: try a larger one")
        return torch.cholesky_solve((matrix @ other).unsqueeze(2), roots).squeeze(2)

    for step in trange(steps + 1, desc="alternating least squares", unit="step", leave=False):
        if step == steps or step % record_every == 0:
            error = history.record(step, [B.mT, A], observed.hold_residual(A, B))
            if step == steps or (tol is not None and error <= tol):
                break
        A = solve(False, B)
        B = solve(True, A)
    return history.completion([B.mT, A])


def soft_impute(
    observations,
    shape,
    *,
    penalty,
    rank,
    decay=0.9,
    steps=1000,
    tol=None,
    test=None,
    record_every=1,
    callback=None,
    generator=None,
):
    r"""Complete a matrix by nuclear-norm minimisation.

    Parameters
    ----------
    observations, shape, test, callback, generator
        As in :func:`complete`.
    penalty : float
        :math:`\lambda > 0` below.
    rank : int
        Singular values kept, at most the smaller dimension: exact if the solution has no more.
    decay : float, optional
        In (0, 1): the penalty falls from the largest singular value of the observed matrix to
        ``penalty`` by this factor per step.
    steps : int, optional
        Largest number of steps.
    tol, record_every
        As in :func:`complete`.

    Returns
    -------
    Completion
        With two factors.

    Raises
    ------
    ValueError, UserWarning
        As in :func:`complete`, but for ranks up to the smaller dimension.

    Notes
    -----
    What is minimised is

    .. math::

        \frac12 \sum_{(i,j) \in \Omega} \big( Z_{ij} - \Phi_{ij} \big)^2 + \lambda \|Z\|_* .

    Soft-impute fills the gaps with the current estimate Z and shrinks the singular values of the
    result by :math:`\lambda`. The filled matrix is the product Z minus the sparse residual, so that
    its SVD can be followed by alternating products without ever forming it:
    :math:`O(M r + d r^2)` per step.

    References
    ----------
    Mazumder, Hastie, Tibshirani (2010), algorithm 1; Hastie, Mazumder, Lee, Zadeh (2015),
    algorithm 3.1.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix(60, 2, generator=generator)
    >>> seen = observe(target, 0.6, generator)
    >>> run = soft_impute(seen, (60, 60), penalty=1e-4, rank=4)
    >>> bool((run.dense() - target.dense()).norm() < 1e-3 * target.dense().norm())
    True
    """
    if not 1 <= rank <= min(shape) or not (penalty > 0 and 0 < decay < 1):
        raise ValueError(
            f"need 1 <= rank <= {min(shape)}, penalty > 0 and decay in (0, 1), "
            f"got {rank}, {penalty} and {decay}"
        )
    if steps < 0 or record_every < 1:
        raise ValueError(f"need steps >= 0, record_every >= 1, got {steps} and {record_every}")
    observed = _Observed(observations, shape)
    history = _History(observed.norm, shape, test, callback)
    U, V = _leading_vectors(observed, rank, generator)
    shrunk = U.new_zeros(rank)  # Z = U diag(shrunk) V^T
    weight = (observed.by_rows @ V[:, :1]).norm().item()

    for step in trange(steps + 1, desc="soft-impute", unit="step", leave=False):
        residual = observed.hold_residual(U * shrunk, V)
        if step == steps or step % record_every == 0:
            error = history.record(step, [V.mT, U * shrunk], residual)
            if step == steps or (tol is not None and error <= tol):
                break
        weight = max(decay * weight, penalty)
        basis = torch.linalg.qr(V * shrunk - observed.by_cols @ U).Q
        filled = (U * shrunk) @ (V.mT @ basis) - observed.by_rows @ basis
        U, strengths, rotation = torch.linalg.svd(filled, full_matrices=False)
        V = basis @ rotation.mT
        shrunk = (strengths - weight).clamp(min=0)
    return history.completion([V.mT, U * shrunk])


def _check_numbers(shape, rank, lr, depth, scale, steps, record_every):
    if not 0 < 2 * rank < min(shape):
        raise ValueError(f"rank must be positive and less than half of {min(shape)}, got {rank}")
    if depth < 2 or steps < 0 or record_every < 1:
        raise ValueError(
            "need depth >= 2, steps >= 0 and record_every >= 1, "
            f"got {depth}, {steps} and {record_every}"
        )
    if not (0 < lr < math.inf and 0 < scale < math.inf):
        raise ValueError(f"lr and scale must be positive and finite, got {lr} and {scale}")


def _like(tensor, generator):
    """Options that make random matrices fit a tensor."""
    return {"generator": generator, "dtype": tensor.dtype, "device": tensor.device}


def _widths(method, shape, rank, depth):
    if method not in ("full", "narrow"):
        raise ValueError(f'method must be "full", "compressed" or "narrow", got {method!r}')
    width = min(shape) if method == "full" else 2 * rank
    return [shape[1], *[width] * (depth - 1), shape[0]]


def _cores(count, rank, scale, like):
    eye = scale * torch.eye(2 * rank, dtype=like["dtype"], device=like["device"])
    return [eye.clone() for _ in range(count)]


def _compressed_start(observed, rank, depth, factors, scale, like):
    if factors == "surrogate":
        left, right = _leading_vectors(observed, 2 * rank, like["generator"])
        return [scale * right.mT, *_cores(depth - 2, rank, scale, like), scale * left]
    left, right = _leading_vectors(observed, rank, like["generator"])
    # An orthogonal start pairs the leading rows with random columns and the leading columns with
    # random rows: V is taken to U, whatever it does elsewhere.
    V = torch.linalg.qr(torch.cat([right, torch.randn(right.shape, **like)], dim=1)).Q
    U = torch.linalg.qr(torch.cat([torch.randn(left.shape, **like), left], dim=1)).Q
    return [V.mT, *_cores(depth, rank, scale, like), U]


def _leading_vectors(observed, count, generator):
    """Left and right singular vectors of the observed matrix, by subspace iteration."""
    n_rows, n_cols = observed.shape
    observed.hold(observed.values)
    width = min(count + OVERSAMPLING, n_rows, n_cols)
    basis = torch.randn((n_cols, width), **_like(observed.values, generator))
    for _ in range(SWEEPS):
        image = torch.linalg.qr(observed.by_rows @ basis).Q
        basis = torch.linalg.qr(observed.by_cols @ image).Q
    left, _, small = torch.linalg.svd(observed.by_rows @ basis, full_matrices=False)
    return left[:, :count], basis @ small.mT[:, :count]


def _descend(chain, rates, gradients, history, lr, steps, tol, record_every):
    # Rows of V and U are gathered: that is their layout.
    chain[0], chain[-1] = chain[0].mT.contiguous().mT, chain[-1].contiguous()
    for step in trange(steps + 1, desc="gradient descent", unit="step", leave=False):
        last = step == steps
        residual, slopes = gradients(chain)
        if last or step % record_every == 0:
            error = history.record(step, chain, residual)
            if not math.isfinite(error):
                raise FloatingPointError(
                    f"gradient descent diverged by step {step} with lr={lr}: try a smaller one"
                )
            last = last or (tol is not None and error <= tol)
        if last:
            return history.completion(chain)
        for matrix, rate, slope in zip(chain, rates, slopes, strict=True):
            if rate:
                matrix.sub_(slope, alpha=rate)


class _SampledGradients:
    """Residual at the observed entries, and gradients, of a chain with a narrow inside."""

    def __init__(self, observed, frozen):
        self.observed, self.frozen = observed, frozen

    def __call__(self, chain):
        first, *cores, U = chain
        V, observed = first.mT, self.observed
        lefts, inner = _lefts(cores, None, 0) if cores else ([], None)
        along = U @ inner if cores else U
        residual = observed.hold_residual(along, V)
        on_V = observed.by_rows @ V
        slopes = [None] * len(chain)
        if cores:
            slopes[1:-1] = _layer_gradients(lefts, _rights(cores, None, U.mT @ on_V))
        if not self.frozen:
            slopes[0] = (observed.by_cols @ along).mT
            slopes[-1] = on_V @ inner.mT if cores else on_V
        return residual, slopes


class _DenseGradients:
    """The same for layers so wide that all entries might as well be computed."""

    def __init__(self, target, mask=None):
        self.target, self.mask = target, mask

    def __call__(self, chain):
        lefts, residual = _lefts(chain, None, self.target)
        if self.mask is not None:
            residual.mul_(self.mask)
        return residual, _layer_gradients(lefts, _rights(chain, None, residual))


class _CoreGradients:
    """The same for the cores of a chain whose ends are fixed."""

    def __init__(self, inside):
        self.dense = _DenseGradients(inside)

    def __call__(self, chain):
        residual, slopes = self.dense(chain[1:-1])
        return residual, [None, *slopes, None]


def _layer_gradients(lefts, rights):
    """Join what stands to the left and to the right; the last layer has nothing to its left."""
    inner = [left.mT @ right for left, right in zip(lefts, rights, strict=False)]
    return [*inner, rights[-1]]


def _checked(observations, shape):
    """Return rows and cols as int64, and values, if they are entries of a matrix of this shape."""
    rows, cols, values = observations
    if not (rows.ndim == 1 and rows.shape == cols.shape == values.shape and len(rows)):
        shapes = [tuple(tensor.shape) for tensor in (rows, cols, values)]
        raise ValueError(f"rows, cols and values must be (M,) with M >= 1, got {shapes}")
    if rows.is_floating_point() or cols.is_floating_point() or not values.is_floating_point():
        types = [tensor.dtype for tensor in (rows, cols, values)]
        raise ValueError(f"rows and cols must be integers, values floating, got {types}")
    if not values.isfinite().all():
        raise ValueError("values must be finite")
    for name, index, size in (("rows", rows, shape[0]), ("cols", cols, shape[1])):
        if index.min() < 0 or index.max() >= size:
            found = f"{index.min().item()} .. {index.max().item()}"
            raise ValueError(f"{name} must lie in 0 .. {size - 1}, got {found}")
    if not values.any():
        raise ValueError("all values are zero")
    return Observations(rows.long(), cols.long(), values)


class _Observed:
    """Checked observations, and the sparse matrix that has any values at their places.

    The matrix is kept twice, by rows and by columns: a product with either is fast.
    """

    def __init__(self, observations, shape):
        rows, cols, values = _checked(observations, shape)
        n_rows, n_cols = self.shape = tuple(shape)
        places, order = (rows * n_cols + cols).sort()
        if (places.diff() == 0).any():
            twice = places[1:][places.diff() == 0][0].item()
            raise ValueError(f"entry ({twice // n_cols}, {twice % n_cols}) is observed twice")
        self.rows, self.cols, self.values = rows[order], cols[order], values[order]
        self.norm = self.values.norm().item()
        self.by_columns = (self.cols * n_rows + self.rows).argsort()  # of the entries by rows
        self.by_rows = _sparse(self.rows, self.cols, self.shape, values.dtype)
        rows, cols = self.rows[self.by_columns], self.cols[self.by_columns]
        self.by_cols = _sparse(cols, rows, self.shape[::-1], values.dtype)
        self.row_values, self.col_values = self.by_rows.values(), self.by_cols.values()
        for name, pattern in (("row", self.by_rows), ("column", self.by_cols)):
            empty = (pattern.crow_indices().diff() == 0).nonzero().flatten().tolist()
            if empty:
                which = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
                warnings.warn(
                    f"no entry of {name} {which} is observed: nothing can recover it",
                    stacklevel=3,
                )

    def hold(self, values):
        """Put values at the observed places."""
        self.row_values.copy_(values)
        torch.index_select(values, 0, self.by_columns, out=self.col_values)

    def hold_residual(self, left, right):
        """Put the errors of left right^T at the observed places, and return them."""
        _entries(left, right, self.rows, self.cols, out=self.row_values).sub_(self.values)
        torch.index_select(self.row_values, 0, self.by_columns, out=self.col_values)
        return self.row_values


def _sparse(rows, cols, shape, dtype):
    """Return zeros at sorted places, as a matrix in compressed rows."""
    starts = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = rows.bincount(minlength=shape[0]).cumsum(0)
    zeros = torch.zeros(len(rows), dtype=dtype, device=rows.device)
    with warnings.catch_warnings():  # torch calls this layout beta at its first use
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        return torch.sparse_csr_tensor(starts, cols, zeros, shape, check_invariants=True)


def _entries(left, right, rows, cols, out=None):
    """Entries of left right^T, without the product."""
    chunk = CHUNK.get(left.device.type, CHUNK["cpu"])
    values = left.new_empty(len(rows)) if out is None else out
    ones = left.new_ones(left.shape[1], 1)  # a product with them is the faster sum
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        pairs = left.index_select(0, rows[part]).mul_(right.index_select(0, cols[part]))
        torch.mm(pairs, ones, out=values[part].unsqueeze(1))
    return values


def _predict(factors, rows, cols):
    """Entries of the product of a chain whose inner widths are all the same."""
    first, *others = factors
    if len(first) >= min(first.shape[1], len(others[-1])):
        return end_to_end(factors)[rows, cols]
    return _entries(end_to_end(others).contiguous(), first.mT.contiguous(), rows, cols)


class _History:
    """Errors and wall time of a run; the time that recording takes does not count."""

    def __init__(self, norm, shape, test, callback):
        self.norm, self.floor, self.callback = norm, 0.0, callback
        self.test = None if test is None else _checked(test, shape)
        self.steps, self.train_errors, self.test_errors, self.seconds = [], [], [], []
        self.spent, self.resumed = 0.0, time.perf_counter()

    def record(self, step, chain, residual):
        """File a step; return its relative error at the observed entries."""
        squares = residual.square().sum().item()  # waits for the device
        self.spent += time.perf_counter() - self.resumed
        self.steps.append(step)
        self.seconds.append(self.spent)
        self.train_errors.append(math.sqrt(squares + self.floor) / self.norm)
        error = math.nan
        if self.test is not None:
            rows, cols, values = self.test
            error = ((_predict(chain, rows, cols) - values).norm() / values.norm()).item()
        self.test_errors.append(error)
        if self.callback:
            self.callback(step, chain)
        self.resumed = time.perf_counter()
        return self.train_errors[-1]

    def completion(self, chain):
        lists = (self.train_errors, self.test_errors, self.seconds)
        numbers = [torch.tensor(values, dtype=torch.float64) for values in lists]
        return Completion(chain, torch.tensor(self.steps), *numbers)
