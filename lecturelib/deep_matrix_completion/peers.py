"""Classical routines for the same problem: alternating least squares and soft-impute."""

import torch
from tqdm import trange

from lecturelib import checks
from lecturelib.deep_matrix_completion.completion import ErrorRecorder
from lecturelib.deep_matrix_completion.errors import SparseErrors, leading_vectors
from lecturelib.deep_matrix_completion.observations import Observed
from lecturelib.device import one_thread

__all__ = ["alternating_least_squares", "soft_impute"]


def alternating_least_squares(
    observations,
    shape,
    *,
    rank,
    penalty=1e-8,
    continuation=None,
    steps=100,
    tol=None,
    test=None,
    every=1,
    metrics=None,
    generator=None,
):
    r"""Complete a matrix by solving for its two factors in turn.

    Parameters
    ----------
    observations, shape
        As in :func:`complete`.
    rank : int
        Columns of the factors A and B, at most the smaller dimension.
    penalty : float, optional
        :math:`\lambda > 0` below; a small one keeps rows with fewer than ``rank`` observations
        solvable. Where hardly enough entries are seen a larger one keeps rows from running away.
    continuation : float, optional
        In (0, 1): the penalty falls from the largest singular value of the observed matrix to
        ``penalty`` by this factor per pair of solves. Default: it is the same throughout.
    steps : int, optional
        Largest number of pairs of solves.
    tol, test, every, metrics, generator
        As in :func:`complete`.

    Returns
    -------
    Completion
        With the factors :math:`B^\top` and A.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    FloatingPointError
        If the penalty is so small that rounding leaves a row's system singular (in float32).

    Warns
    -----
    UserWarning
        As :func:`complete`.

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
    >>> from lecturelib.deep_matrix_completion import low_rank_matrix, observe
    >>> source = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix((60, 60), 2, generator=source, dtype=torch.float64)
    >>> seen = observe(target, 0.4, generator=source)
    >>> run = alternating_least_squares(seen, (60, 60), rank=2)
    >>> bool((run.dense() - target.dense()).norm() < 1e-6 * target.dense().norm())
    True
    """
    shape = checks.integers("shape", shape, length=2, least=1)
    rank = checks.integer("rank", rank, 1, min(shape))
    penalty = checks.number("penalty", penalty, above=0)
    if continuation is not None:
        continuation = checks.number("continuation", continuation, above=0, below=1)
    tol = None if tol is None else checks.number("tol", tol, least=0)
    generator = checks.generator("generator", generator)
    observed = Observed(observations, shape)
    recorder = ErrorRecorder(observed.norm, shape, test, steps, every, metrics)
    errors, values = SparseErrors(observed, rank), observed.values
    eye = torch.eye(rank, dtype=values.dtype, device=values.device)

    def solve(matrix, other, weight):
        errors.hold(torch.ones_like(values))
        products = other.unsqueeze(2) * other.unsqueeze(1)
        grams = (matrix @ products.flatten(1)).unflatten(1, (rank, rank))
        errors.hold(values)
        roots, failed = torch.linalg.cholesky_ex(grams + weight * eye)
        if failed.any():
            raise FloatingPointError(f"penalty={penalty} drowns in rounding: try a larger one")
        return torch.cholesky_solve((matrix @ other).unsqueeze(2), roots).squeeze(2)

    with one_thread(errors.small):
        _, B = leading_vectors(errors, rank, generator)
        A = B.new_zeros(shape[0], rank)
        weight = penalty if continuation is None else (errors.by_rows @ B[:, :1]).norm().item()
        for step in trange(recorder.end + 1, desc="least squares", unit="step", leave=False):
            if recorder.due(step):
                error = recorder.record_errors(step, [B.mT, A], errors.hold_residual(A, B))
                if step == recorder.end or (tol is not None and error <= tol):
                    return recorder.completion([B.mT, A])
            weight = max(weight * (continuation or 1), penalty)
            A = solve(errors.by_rows, B, weight)
            B = solve(errors.by_cols, A, weight)


def soft_impute(
    observations,
    shape,
    *,
    penalty,
    rank,
    continuation=0.9,
    steps=1000,
    tol=None,
    test=None,
    every=1,
    metrics=None,
    generator=None,
):
    r"""Complete a matrix by nuclear-norm minimisation.

    Parameters
    ----------
    observations, shape
        As in :func:`complete`.
    penalty : float
        :math:`\lambda > 0` below.
    rank : int
        Singular values kept, at most the smaller dimension: exact if the solution has no more.
    continuation : float, optional
        In (0, 1): the penalty falls from the largest singular value of the observed matrix to
        ``penalty`` by this factor per step.
    steps : int, optional
        Largest number of steps.
    tol, test, every, metrics, generator
        As in :func:`complete`.

    Returns
    -------
    Completion
        With two factors.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Warns
    -----
    UserWarning
        As :func:`complete`.

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
    >>> from lecturelib.deep_matrix_completion import low_rank_matrix, observe
    >>> source = torch.Generator().manual_seed(0)
    >>> target = low_rank_matrix((60, 60), 2, generator=source, dtype=torch.float64)
    >>> seen = observe(target, 0.6, generator=source)
    >>> run = soft_impute(seen, (60, 60), penalty=1e-4, rank=4)
    >>> bool((run.dense() - target.dense()).norm() < 1e-3 * target.dense().norm())
    True
    """
    shape = checks.integers("shape", shape, length=2, least=1)
    penalty = checks.number("penalty", penalty, above=0)
    rank = checks.integer("rank", rank, 1, min(shape))
    continuation = checks.number("continuation", continuation, above=0, below=1)
    tol = None if tol is None else checks.number("tol", tol, least=0)
    generator = checks.generator("generator", generator)
    observed = Observed(observations, shape)
    recorder = ErrorRecorder(observed.norm, shape, test, steps, every, metrics)
    errors = SparseErrors(observed, rank)
    with one_thread(errors.small):
        U, V = leading_vectors(errors, rank, generator)
        shrunk = U.new_zeros(rank)  # Z = U diag(shrunk) V^T
        weight = (errors.by_rows @ V[:, :1]).norm().item()
        for step in trange(recorder.end + 1, desc="soft-impute", unit="step", leave=False):
            residual = errors.hold_residual(U * shrunk, V)
            if recorder.due(step):
                error = recorder.record_errors(step, [V.mT, U * shrunk], residual)
                if step == recorder.end or (tol is not None and error <= tol):
                    return recorder.completion([V.mT, U * shrunk])
            weight = max(continuation * weight, penalty)
            basis = torch.linalg.qr(V * shrunk - errors.by_cols @ U).Q
            filled = (U * shrunk) @ (V.mT @ basis) - errors.by_rows @ basis
            U, strengths, rotation = torch.linalg.svd(filled, full_matrices=False)
            V = basis @ rotation.mT
            shrunk = (strengths - weight).clamp(min=0)
