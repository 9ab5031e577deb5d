r"""When can a shallow network collapse? A linear program per class, decided with a proof.

One neuron of the first layer can map class k to a constant and silence all others if and only if

.. math:: X_k \beta = \mathbf 1, \qquad X_j \beta \le 0 \quad (j \ne k)

has a solution :math:`\beta`; the rows of :math:`X_k` (n, d) are the samples of class k. By Farkas'
lemma there is none if and only if the affine hull of class k meets the cone of all other samples.
:func:`nc_feasibility` returns the solution or such a meeting point, whichever exists.
"""

import math
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from joblib import Memory, Parallel, delayed
from scipy.optimize import linprog, nnls
from scipy.special import gammaln, ndtr, owens_t
from scipy.stats import beta, binom
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm, trange

from lecturelib.metrics import _check_matrix, _check_no_class_is_empty, _checked_labels
from lecturelib.training import History

__all__ = [
    "Feasibility",
    "PhaseMap",
    "ShallowNet",
    "gordon_bound",
    "mean_margins",
    "misclassification_rate",
    "nc_feasibility",
    "noise_probability",
    "phase_map",
    "small_noise_bound",
    "train_shallow",
    "verify",
]

# Numbers that the solver keeps at once for one class: they should fit a cache, or a GPU's memory.
CHUNK = {"cpu": 2**20, "cuda": 2**26}

NEWTON_STEPS = 200

TINY = torch.finfo(torch.float64).tiny  # stands for zero in a denominator

# Instances that a cell of a phase map draws and decides together.
BLOCK = 100


@dataclass(frozen=True)
class Feasibility:
    r"""For every class a proof that collapse is feasible, or that it is not.

    Attributes
    ----------
    feasible : Tensor, shape (…, K), bool
        Whether :math:`\beta` was found. Where ``decided`` is False it is False and says nothing.
    decided : Tensor, shape (…, K), bool
        Whether either proof holds within the tolerance.
    weights : Tensor, shape (…, K, d) or, with bias, (…, K, d + 1), float64
        :math:`\beta` of the feasible classes, the bias last; NaN elsewhere.
    certificate : Tensor, shape (…, K, N), float64
        Farkas vector c of the infeasible classes, one number per sample; NaN elsewhere. Its entries
        in the class sum to one, all others are at most zero, and :math:`X^\top c = 0`.
    violation : Tensor, shape (…, K), float64
        By how much the proof misses its conditions, at most the tolerance; more than that, as a
        rule infinite, where undecided.
    """

    feasible: Tensor
    decided: Tensor
    weights: Tensor
    certificate: Tensor
    violation: Tensor


def nc_feasibility(inputs, labels, *, bias=False, tol=1e-9, method="newton"):
    r"""Decide for every class whether a neuron can collapse it and silence the others.

    Parameters
    ----------
    inputs : Tensor, shape (…, N, d)
        Samples, floating point, d at least 1; leading dimensions are independent instances.
    labels : Tensor, shape (N,)
        Classes 0 .. K-1, K at least 2, none empty; the same in all instances. Classes may differ
        in size.
    bias : bool, optional
        Give the neuron a bias: it sees a constant input 1 beside the d others.
    tol : float, optional
        By how much a proof may miss its conditions, in (0, 1); see Notes.
    method : {"newton", "highs"}, optional
        Newton's method alone, or followed by SciPy's HiGHS for what Newton left undecided.

    Returns
    -------
    Feasibility
        On the device of the inputs, in float64.

    Raises
    ------
    ValueError
        If the inputs are not finite floating-point numbers of the shape above, the labels do not
        fit them, there is a single class, or an option is out of range.

    Notes
    -----
    Newton's method minimises :math:`\frac12 \|(B \beta)_+\|^2` subject to :math:`A \beta = 1`,
    where A holds the class and B all others. The minimum is zero, and :math:`\beta` fits; or it is
    not, and stationarity :math:`B^\top v = A^\top u` with :math:`v = (B \beta)_+ \ge 0` and
    :math:`1^\top u = \|v\|^2 > 0` shows that nothing can fit. With both divided by
    :math:`1^\top u`, the certificate holds u in the class and -v elsewhere.

    In floating point, "fits" means :math:`|A \beta - 1| \le` tol and :math:`B \beta \le` tol. The
    sums and signs of a certificate hold to within tol. It leaves a remainder :math:`r = X^\top c`,
    and every solution has

    .. math:: \|\beta\| \ge 1 / \|r\| .

    It is accepted once :math:`\|r\|` is at most tol times the largest norm of a sample of the
    class: a solution would have to be 1 / tol times longer than one that fits this sample alone.
    What needs very long weights, such as samples of two classes that nearly coincide or differ
    in length by factors of thousands, can stay undecided, also by HiGHS.

    References
    ----------
    Hong and Ling (2024); lecture 004. For Farkas' lemma, Boyd and Vandenberghe (2004), section 5.8.

    Examples
    --------
    >>> inputs = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, 2.0]])
    >>> result = nc_feasibility(inputs, torch.tensor([0, 0, 1, 1]))
    >>> result.feasible
    tensor([True, True])
    >>> result.weights + 0.0
    tensor([[ 1.,  0.],
            [-1.,  0.]], dtype=torch.float64)

    With a sample of class 1 between two of class 0, the proof is their common point.

    >>> between = torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 1.0], [-1.0, 0.0]])
    >>> result = nc_feasibility(between, torch.tensor([0, 0, 1, 1]))
    >>> result.feasible[0], result.certificate[0].round(decimals=6) + 0.0
    (tensor(False), tensor([ 0.5000,  0.5000, -1.0000,  0.0000], dtype=torch.float64))
    >>> verify(between, torch.tensor([0, 0, 1, 1]), result)
    tensor([True, True])
    """
    samples, members = _checked(inputs, labels, bias)
    _check_tol(tol)
    if method not in ("newton", "highs"):
        raise ValueError(f'method must be "newton" or "highs", got {method!r}')
    *batch, N, d = samples.shape
    chunk = CHUNK.get(samples.device.type, CHUNK["cuda"]) // (N * d)
    parts = [
        _prove(part, members, tol, method)
        for part in samples.reshape(math.prod(batch), N, d).split(max(1, chunk))
    ]
    weights, certificate = (
        torch.cat(proofs).reshape(*batch, len(members), size)
        for proofs, size in zip(zip(*parts, strict=True), (d, N), strict=True)
    )
    violation = _violation(samples, members, weights, certificate)
    decided = violation <= tol
    feasible = decided & weights.isfinite().all(-1)
    return Feasibility(
        feasible=feasible,
        decided=decided,
        weights=weights.masked_fill(~feasible.unsqueeze(-1), math.nan),
        certificate=certificate.masked_fill((feasible | ~decided).unsqueeze(-1), math.nan),
        violation=violation,
    )


def verify(inputs, labels, result, *, tol=1e-9):
    r"""Check the proofs in a result against the data, without solving anything.

    Parameters
    ----------
    inputs, labels : Tensor, shapes (…, N, d) and (N,)
        The data, as in :func:`nc_feasibility`.
    result : Feasibility
        What is claimed about them. Whether a bias was allowed shows in the length of its weights.
    tol : float, optional
        By how much a proof may miss its conditions.

    Returns
    -------
    Tensor, shape (…, K), bool
        Where the answer is proved: for a feasible class by weights that satisfy every constraint,
        for an infeasible one by a certificate. False where undecided.

    Raises
    ------
    ValueError
        If the data or the tolerance are not as in :func:`nc_feasibility`, or the result does not
        belong to data of this shape.

    Examples
    --------
    >>> inputs, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> result = nc_feasibility(inputs, labels)
    >>> verify(inputs, labels, result)
    tensor([True, True])
    >>> verify(-inputs, labels, result)
    tensor([False, False])
    """
    bias = result.weights.shape[-1] == inputs.shape[-1] + 1
    samples, members = _checked(inputs, labels, bias)
    _check_tol(tol)
    *batch, N, d = samples.shape
    given = tuple(result.weights.shape), tuple(result.certificate.shape)
    needed = (*batch, len(members), d), (*batch, len(members), N)
    if given != needed:
        raise ValueError(
            "weights and certificates of these data have the shapes {} and {}, the result's have "
            "{} and {}".format(*needed, *given)
        )
    weights = result.weights.masked_fill(~result.feasible.unsqueeze(-1), math.nan)
    certificate = result.certificate.masked_fill(result.feasible.unsqueeze(-1), math.nan)
    return _violation(samples, members, weights, certificate) <= tol


def _checked(inputs, labels, bias):
    """Return the samples in float64, with ones if there is a bias, and each class as a mask."""
    if inputs.ndim < 2 or 0 in inputs.shape[-2:] or not inputs.is_floating_point():
        raise ValueError(
            "inputs must be a floating-point tensor of shape (…, N, d) with N, d >= 1, got "
            f"{inputs.dtype} of shape {tuple(inputs.shape)}"
        )
    if not inputs.isfinite().all():
        raise ValueError("inputs must be finite, but contain NaN or infinite values")
    labels = _checked_labels(inputs.new_empty(inputs.shape[-2:]), labels).to(inputs.device)
    counts = labels.bincount()
    if len(counts) < 2:
        raise ValueError("need at least two classes, got a single one")
    _check_no_class_is_empty(counts)
    samples = inputs.detach().double()
    if bias:
        samples = torch.cat([samples, torch.ones_like(samples[..., :1])], dim=-1)
    return samples, [labels == k for k in range(len(counts))]


def _check_tol(tol):
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}")


def _violation(samples, members, weights, certificate):
    """By how much the better one of the two proofs misses its conditions, shape (…, K)."""
    outputs = torch.einsum("...nd, ...kd -> ...kn", samples, weights)
    remainder = torch.einsum("...nd, ...kn -> ...kd", samples, certificate).norm(dim=-1)
    columns = []
    for k, own in enumerate(members):
        misfit = _misfit(outputs[..., k, own], outputs[..., k, ~own])
        scale = samples[..., own, :].norm(dim=-1).amax(-1)
        imbalance = _imbalance(
            remainder[..., k], scale, certificate[..., k, own], certificate[..., k, ~own]
        )
        columns.append(misfit.minimum(imbalance))
    return torch.stack(columns, dim=-1)


def _misfit(own, others):
    """By how much outputs miss 1 in the class and exceed 0 elsewhere; NaN counts as infinite."""
    misfit = torch.maximum((own - 1).abs().amax(-1), others.amax(-1).clamp_min(0))
    return misfit.nan_to_num(math.inf)


def _imbalance(remainder, scale, own, others):
    """By how much a certificate misses its conditions; NaN counts as infinite."""
    relative = remainder / scale.clamp_min(TINY)
    signs = others.amax(-1).clamp_min(0)
    return torch.maximum(relative, signs).maximum((own.sum(-1) - 1).abs()).nan_to_num(math.inf)


def _prove(samples, members, tol, method):
    """Return weights (P, K, d) and certificates (P, K, N), with NaN for what was not found."""
    P, N, d = samples.shape
    if d > N:  # the samples span N dimensions at most, and weights need no others
        axes, coordinates = torch.linalg.qr(samples.mT)
        weights, certificate = _prove(coordinates.mT, members, tol, method)
        return weights @ axes.mT, certificate
    weights = samples.new_full((P, len(members), d), math.nan)
    certificate = samples.new_full((P, len(members), N), math.nan)
    for k, own in enumerate(members):
        attempts = [_newton_by_svd, _highs] if method == "highs" else [_newton_by_svd]
        if own.sum() <= d:
            attempts.insert(0, _newton_by_qr)
        A, B, rows = samples[:, own], samples[:, ~own], torch.arange(P, device=samples.device)
        for attempt in attempts:
            scale = A.norm(dim=-1).amax(-1).clamp_min(TINY).view(-1, 1, 1)
            x, u, v = attempt(A / scale, B / scale, tol)
            x = x / scale.squeeze(-1)
            fits = _misfit(_apply(A, x), _apply(B, x)) <= tol
            remainder = (_apply(A.mT, u) - _apply(B.mT, v)).norm(dim=-1)
            fails = ~fits & (_imbalance(remainder, scale.flatten(), u, -v) <= tol)
            weights[rows[fits], k] = x[fits]
            proof = samples.new_empty(int(fails.sum()), N)
            proof[:, own], proof[:, ~own] = u[fails], -v[fails]
            certificate[rows[fails], k] = proof
            rest = ~(fits | fails)
            A, B, rows = A[rest], B[rest], rows[rest]
            if not len(rows):
                break
    return weights, certificate


def _newton_by_qr(A, B, tol):
    """Newton's method where the class is in general position: A (P, n, d) of full rank n <= d."""
    n = A.shape[1]
    Q, R = torch.linalg.qr(A.mT, mode="complete")
    triangle, eye = R[:, :n].mT, torch.eye(n, dtype=A.dtype, device=A.device)
    inverse = Q[..., :n] @ torch.linalg.solve_triangular(triangle, eye, upper=False)
    return _newton_proof(A, B, inverse, Q[..., n:], tol)


def _newton_by_svd(A, B, tol):
    """Newton's method for any class: duplicates, low rank, more samples than dimensions."""
    left, values, right = torch.linalg.svd(A, full_matrices=False)
    cutoff = max(A.shape[1:]) * torch.finfo(A.dtype).eps * values[:, :1]
    kept = values > cutoff
    right = right * kept.unsqueeze(-1)
    inverse = (right.mT / values.masked_fill(~kept, 1).unsqueeze(-2)) @ left.mT
    eye = torch.eye(A.shape[2], dtype=A.dtype, device=A.device)
    return _newton_proof(A, B, inverse, eye - right.mT @ right, tol)


def _newton_proof(A, B, inverse, basis, tol):
    """Return weights x (P, d) and multipliers u (P, n), v (P, m), at least one of them a proof.

    Solutions of A x = 1 are ``inverse @ 1 + basis @ y``; ``inverse`` (P, d, n) is A's
    pseudo-inverse, the columns of ``basis`` (P, d, p) span its null space.
    """
    # A may be ill-conditioned: what its pseudo-inverse gives is corrected once by the remainder.
    start = inverse.sum(-1)
    start = start + _apply(inverse, 1 - _apply(A, start))
    y, slack = _newton(B @ basis, _apply(B, start), tol)
    v = slack.clamp_min(0)
    pull = _apply(B.mT, v)
    u = _apply(inverse.mT, pull)
    u = u + _apply(inverse.mT, pull - _apply(A.mT, u))
    # Where A x = 1 has no solution at all, what is left of 1 is a certificate by itself. Less than
    # this threshold can be rounding.
    rest = 1 - _apply(A, start)
    rest = rest - _apply(A, _apply(inverse, rest))
    unsolvable = (rest.norm(dim=-1) > tol ** (2 / 3)).unsqueeze(-1)
    u, v = torch.where(unsolvable, rest, u), v.masked_fill(unsolvable, 0)
    total = u.sum(-1, keepdim=True)
    return start + _apply(basis, y), u / total, v / total


def _newton(C, b, tol):
    r"""Minimise :math:`\frac12 \|(C y + b)_+\|^2`; return y (P, p) and C y + b (P, m).

    C (P, m, p) and b (P, m). The function is piecewise quadratic: Newton's step is exact once the
    rows with a positive slack no longer change.
    """
    P, _, p = C.shape
    final_y, final_slack = b.new_zeros(P, p), b.clone()
    rows, y, slack = torch.arange(P, device=b.device), final_y.clone(), b
    for _ in range(NEWTON_STEPS):
        positive = slack.clamp_min(0)
        gradient = _apply(C.mT, positive)
        # Ten times better than asked, as the proofs are checked anew. NaN counts as finished.
        going = (slack.amax(-1) > tol / 10) & (
            gradient.norm(dim=-1) > tol / 10 * positive.square().sum(-1)
        )
        if not going.all():
            final_y[rows], final_slack[rows] = y, slack
            rows, C, y, slack, gradient = (
                tensor[going] for tensor in (rows, C, y, slack, gradient)
            )
            if not len(rows):
                break
        active = C * (slack > 0).unsqueeze(-1)
        hessian = active.mT @ active
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(1e-10 * diagonal.mean(-1, keepdim=True))
        factor = torch.linalg.cholesky_ex(hessian).L
        step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        change = _apply(C, step)
        length = _exact_step(slack, change)
        y, slack = y + length * step, slack + length * change
    return final_y, final_slack


def _exact_step(slack, change):
    r"""Minimise :math:`\|(s + t c)_+\|^2` over t >= 0, shape (P, 1), for s, c (P, m).

    Its derivative S + Q t is increasing and linear between the points where an entry of s + t c
    changes sign. So sort these, sum up S and Q, and take the piece in which it crosses zero.
    """
    knots = -slack / change
    knots, order = torch.where((knots > 0) & knots.isfinite(), knots, math.inf).sort(dim=-1)
    # At its knot an entry with a positive change enters the sums, one with a negative leaves them:
    # either way they gain |change| times the factor.
    inside = (slack > 0) | ((slack == 0) & (change > 0))
    S0 = (inside * change * slack).sum(-1, keepdim=True)
    Q0 = (inside * change * change).sum(-1, keepdim=True)
    S, Q = (
        torch.cat([first, first + (change.abs() * factor).gather(-1, order).cumsum(-1)], dim=-1)
        for first, factor in ((S0, slack), (Q0, change))
    )
    ends = torch.cat([knots, torch.full_like(S0, math.inf)], dim=-1)
    falling = torch.where(ends.isfinite(), S + Q * ends, math.inf) < 1e-12 * S0
    piece = falling.sum(-1, keepdim=True)
    S, Q, end = (tensor.gather(-1, piece) for tensor in (S, Q, ends))
    begin = torch.cat([torch.zeros_like(S0), knots], dim=-1).gather(-1, piece)
    return (-S / Q.clamp_min(TINY)).clamp(begin, end)


def _highs(A, B, tol):
    """Solve one instance after the other with HiGHS: the least t such that t covers every misfit.

    It is zero if all constraints can be met; otherwise the dual solution is a certificate.
    """
    proofs = [_highs_one(*pair, tol) for pair in zip(A.cpu().numpy(), B.cpu().numpy(), strict=True)]
    return tuple(
        torch.as_tensor(np.stack(part), device=A.device) for part in zip(*proofs, strict=True)
    )


def _highs_one(A, B, tol):
    (n, d), m = A.shape, len(B)
    rows = np.hstack([np.vstack([A, -A, B]), -np.ones((2 * n + m, 1))])
    solution = linprog(
        np.eye(d + 1)[d],
        A_ub=rows,
        b_ub=np.repeat([1.0, -1.0, 0.0], [n, n, m]),
        bounds=[(None, None)] * d + [(0, None)],
        method="highs",
        # The finest that HiGHS takes is 1e-10.
        options=dict.fromkeys(
            ["primal_feasibility_tolerance", "dual_feasibility_tolerance"], max(tol / 10, 1e-10)
        ),
    )
    if solution.x is None:
        return np.full(d, math.nan), np.full(n, math.nan), np.full(m, math.nan)
    above, below, v = np.split(-solution.ineqlin.marginals, [n, 2 * n])
    u, v = below - above, v.clip(min=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return solution.x[:d], u / u.sum(), v / u.sum()


def _apply(matrix, vector):
    """Multiply matrices (…, a, b) and vectors (…, b)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def noise_probability(dim, samples_per_class, num_classes):
    r"""Probability that a class can collapse when the data are pure noise, exact.

    Parameters
    ----------
    dim : int or array_like of int
        Input dimension d, at least 1.
    samples_per_class : int
        n, at least 1.
    num_classes : int
        K, at least 2.

    Returns
    -------
    float or ndarray, shape of ``dim``
        Probability that one given class is feasible, in [0, 1].

    Raises
    ------
    ValueError
        If a number is too small or not an integer.

    Notes
    -----
    .. math:: P = 2^{-m} \sum_{i=0}^{d-n} \binom mi, \qquad m = (K - 1) n,

    the chance of at least Kn - d heads among m fair coins. It holds for any class, random or not,
    whose n samples are linearly independent, as long as the other samples are drawn independently
    of it from distributions that are symmetric about the origin and put the samples in general
    position: signs of the others are all that the proof averages over.

    References
    ----------
    Wendel (1962); Cover (1965), for the regions cut out by hyperplanes. The chapter derives it.

    Examples
    --------
    >>> noise_probability(10, samples_per_class=10, num_classes=2)
    0.0009765625
    >>> noise_probability([9, 15, 20], samples_per_class=10, num_classes=2)
    array([0.        , 0.62304688, 1.        ])
    """
    dims, n, K = _checked_counts(dim, samples_per_class, num_classes)
    return _plain(binom.sf(K * n - dims - 1, (K - 1) * n, 0.5))


def gordon_bound(dim, samples_per_class, num_classes):
    r"""Lower bound of :func:`noise_probability` by Gordon's comparison inequality.

    Parameters
    ----------
    dim, samples_per_class, num_classes
        d, n and K, as in :func:`noise_probability`.

    Returns
    -------
    float or ndarray, shape of ``dim``
        The bound; zero where it says nothing.

    Raises
    ------
    ValueError
        If a number is too small or not an integer.

    Notes
    -----
    A Farkas vector lies in the cone :math:`D = \{1^\top u \ge 0\} \times \{v \le 0\}` of
    :math:`\mathbb R^{Kn}`, whose statistical dimension is :math:`\delta = n - \frac12 +
    \frac{(K-1) n}2`. With a standard Gaussian g in :math:`\mathbb R^d`, Gordon's inequality and
    concentration give

    .. math:: P \ge 1 - \exp\!\Big(\!-\tfrac12 \big(E\|g\| - \sqrt\delta\big)_+^2\Big) ,

    which tends to one for large n where d/n > (K + 1)/2.

    References
    ----------
    Gordon (1988); lecture 004, d/n > (K + 1)/2. The statistical dimension: Amelunxen et al. (2014).

    Examples
    --------
    >>> round(gordon_bound(60, 20, 3), 3), round(noise_probability(60, 20, 3), 3)
    (0.64, 1.0)
    """
    dims, n, K = _checked_counts(dim, samples_per_class, num_classes)
    length = 2**0.5 * np.exp(gammaln((dims + 1) / 2) - gammaln(dims / 2))
    statistical_dimension = n - 0.5 + (K - 1) * n / 2
    excess = np.maximum(length - statistical_dimension**0.5, 0)
    return _plain(-np.expm1(-(excess**2) / 2))


def mean_margins(means):
    r"""How far the means of the other classes stay from the ray through each class's mean.

    Parameters
    ----------
    means : Tensor, shape (K, r)
        Class means :math:`\mu_k`, K at least 2.

    Returns
    -------
    Tensor, shape (K,), float64
        :math:`\Delta_k`, the distance between the convex hull of :math:`\mu_j, j \ne k`, and the
        ray :math:`\{\nu \mu_k : \nu \ge 0\}`. Zero where they meet.

    Raises
    ------
    ValueError
        If the means are not a finite floating-point matrix with at least two rows.

    Notes
    -----
    By duality :math:`1 / \Delta_k` is the norm of the shortest b with :math:`\mu_j^\top b \le -1`
    for all other classes and :math:`\mu_k^\top b \ge 0`; it is found by non-negative least squares.
    If the means are linearly independent, with smallest singular value s, then
    :math:`\Delta_k \ge s / \sqrt{K - 1}`.

    References
    ----------
    Lawson and Hanson (1974), chapter 23, for the reduction to non-negative least squares.

    Examples
    --------
    For two means it is the norm of the other one, times the sine of the angle where this is acute.

    >>> mean_margins(torch.tensor([[2.0, 0.0], [-0.6, 0.8]])).round(decimals=6)
    tensor([1., 2.], dtype=torch.float64)
    >>> mean_margins(torch.tensor([[2.0, 0.0], [0.6, 0.8]])).round(decimals=6)
    tensor([0.8000, 1.6000], dtype=torch.float64)
    """
    _check_matrix(means, "means")
    rows = means.detach().cpu().double().numpy()
    scale = np.linalg.norm(rows, axis=1).max()
    if scale == 0:
        return torch.zeros(len(rows), dtype=torch.float64)
    margins = []
    for k in range(len(rows)):
        signed = -rows / scale
        signed[k] *= -1
        target = np.zeros(rows.shape[1] + 1)
        target[-1] = 1
        wanted = np.ones(len(rows))
        wanted[k] = 0
        system = np.vstack([signed.T, wanted])
        remainder = target - system @ nnls(system, target)[0]
        # b is -remainder[:-1] / remainder[-1]; without remainder there is none.
        solvable = remainder[-1] > 1e-12
        norm = np.linalg.norm(remainder[:-1])
        margins.append(scale * remainder[-1] / norm if solvable else 0.0)
    return torch.tensor(margins, dtype=torch.float64)


def small_noise_bound(dim, samples_per_class, means, noise):
    r"""Lower bound of the probability that a class can collapse, by its distance from the others.

    Parameters
    ----------
    dim : int
        Input dimension d, at least the length of the means.
    samples_per_class : int
        n, at least 1.
    means : Tensor, shape (K, …)
        Class means; if they are shorter than d, the remaining coordinates are zero.
    noise : float or array_like
        Standard deviation :math:`\sigma > 0` of the noise in every coordinate.

    Returns
    -------
    ndarray, shape (…, K) with the shape of ``noise`` in front
        The bound for every class; zero where d - rank(means) < n, as it needs that room.

    Raises
    ------
    ValueError
        If a number is out of range or the means are not a finite matrix of two or more rows.

    Notes
    -----
    The weights are built in two steps: the shortest b that separates the means
    (:func:`mean_margins`), and a correction orthogonal to all means that makes the outputs of class
    k equal. Their squared norm is :math:`\|b\|^2 / R` with :math:`R \sim \mathrm{Beta}((d - r - n +
    1)/2,\, n/2)`, r the rank of the means, and the others' samples, independent of them, are all
    on the right side with probability at least

    .. math:: P_k \ge E\, \Phi\big(\sqrt R\, \Delta_k / \sigma\big)^{(K - 1) n} .

    The mean over R is taken as a lower sum over 2000 quantiles, so that it stays a bound. With
    :math:`\Delta_k = 0` it is :math:`2^{-(K-1)n}`, which only says that there is room.

    References
    ----------
    Derived in the chapter. Lecture 004 states such bounds for two classes (by the angle of the
    means) and K classes (by their smallest singular value) without constants.

    Examples
    --------
    >>> small_noise_bound(60, 20, torch.eye(2), [0.05, 0.2]).round(3)
    array([[1.   , 1.   ],
           [0.999, 0.999]])
    """
    margins = mean_margins(means).numpy()
    dims, n, K = _checked_counts(dim, samples_per_class, len(means))
    noise = np.asarray(noise, dtype=float)
    if dims.ndim or dims < means.shape[1]:
        raise ValueError(f"dim must be one integer, at least {means.shape[1]}, got {dim}")
    if not (noise > 0).all():
        raise ValueError(f"noise must be positive, got {noise}")
    room = int(dims) - int(torch.linalg.matrix_rank(means.double()))
    if room < n:
        return np.zeros((*noise.shape, K))
    shares = beta.ppf(np.arange(2000) / 2000, (room - n + 1) / 2, n / 2)
    distances = margins / noise[..., None]
    right = ndtr(np.sqrt(shares) * distances[..., None])
    return (right ** ((K - 1) * n)).mean(-1)


def _checked_counts(dim, samples_per_class, num_classes):
    dims = np.asarray(dim)
    if dims.dtype.kind not in "iu" or (dims < 1).any():
        raise ValueError(f"dim must be an integer of at least 1, got {dim}")
    _check_count("samples_per_class", samples_per_class, 1)
    _check_count("num_classes", num_classes, 2)
    return dims, int(samples_per_class), int(num_classes)


def _check_count(name, number, least):
    if not isinstance(number, Integral) or number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {number}")


def _plain(values):
    return float(values) if np.ndim(values) == 0 else values


@dataclass(frozen=True)
class PhaseMap:
    r"""How often collapse was feasible on a grid of dimensions and noise levels.

    Attributes
    ----------
    dims : Tensor, shape (R,), int64
        d.
    noises : Tensor, shape (S,), float64
        :math:`\sigma`.
    per_class : Tensor, shape (R, S), float64
        Share of feasible classes among all classes of all trials.
    joint : Tensor, shape (R, S), float64
        Share of trials in which all classes were feasible.
    undecided : Tensor, shape (R, S), int64
        Classes without a proof either way; both shares count them as not feasible.
    """

    dims: Tensor
    noises: Tensor
    per_class: Tensor
    joint: Tensor
    undecided: Tensor


def phase_map(
    grid,
    trials,
    *,
    samples_per_class,
    means,
    seed=0,
    method="newton",
    jobs=None,
    cache=None,
    device=None,
):
    r"""Measure how often classes around given means can collapse, for every dimension and noise.

    Parameters
    ----------
    grid : pair of sequences
        The ratios d/n, d being rounded to integers, and the noise levels :math:`\sigma > 0`;
        infinity is pure noise.
    trials : int
        Instances drawn for every cell of the grid.
    samples_per_class : int
        n, at least 1.
    means : Tensor, shape (K, r)
        Class means; coordinates r .. d-1 are zero. Two means at an angle, the rows of an identity,
        or any others.
    seed : int, optional
        At least 0. A cell's instances depend on it and on the cell's own d and :math:`\sigma`
        alone: not on the rest of the grid, nor on who computes it.
    method : {"newton", "highs"}, optional
        See :func:`nc_feasibility`.
    jobs : int, optional
        Processes: -1 for all cores. The default is one, or what :func:`joblib.parallel_config`
        says: within ``parallel_config("dask")``, a cluster.
    cache : str or Path, optional
        Folder that keeps every finished cell. A sweep that was stopped finds them there.
    device : torch.device or str, optional
        Where the problems are solved. They are drawn on the CPU, the same for all devices.

    Returns
    -------
    PhaseMap
        On the CPU.

    Raises
    ------
    ValueError
        If a number is out of range, or a dimension is smaller than r.

    Notes
    -----
    Sample i of class k is :math:`\mu_k + \sigma z`, z standard normal; as feasibility does not
    depend on scale, :math:`\mu_k / \sigma + z` is used.

    References
    ----------
    Hong and Ling (2024), the phase diagrams; lecture 004.

    Examples
    --------
    >>> result = phase_map(([0.5, 3], [0.1, math.inf]), 5, samples_per_class=4, means=torch.eye(2))
    >>> result.joint
    tensor([[0., 0.],
            [1., 1.]], dtype=torch.float64)
    """
    _check_matrix(means, "means")
    ratios, noises = ([float(value) for value in axis] for axis in grid)
    _check_count("samples_per_class", samples_per_class, 1)
    _check_count("trials", trials, 1)
    if not noises or not all(noise > 0 for noise in noises):
        raise ValueError(f"noise levels must be positive, and at least one, got {noises}")
    if not ratios or not all(0 < ratio < math.inf for ratio in ratios):
        raise ValueError(f"ratios must be positive and finite, and at least one, got {ratios}")
    dims = [round(ratio * samples_per_class) for ratio in ratios]
    if min(dims) < means.shape[1]:
        raise ValueError(f"means of length {means.shape[1]} do not fit into {min(dims)} dimensions")
    # joblib would give a string a folder of its own, beside that of an equal Path.
    cell = Memory(cache and Path(cache), verbose=0).cache(_phase_cell, ignore=["device"])
    rows = tuple(map(tuple, means.tolist()))
    work = [
        delayed(cell)(dim, noise, trials, samples_per_class, rows, seed, method, device)
        for dim in dims
        for noise in noises
    ]
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    counts = list(tqdm(done, total=len(work), desc="phase map", unit="cell", leave=False))
    classes, joint, undecided = torch.tensor(counts).view(len(dims), len(noises), 3).unbind(-1)
    return PhaseMap(
        dims=torch.tensor(dims),
        noises=torch.tensor(noises, dtype=torch.float64),
        per_class=classes.double() / (trials * len(means)),
        joint=joint.double() / trials,
        undecided=undecided,
    )


def _phase_cell(dim, noise, trials, samples_per_class, means, seed, method, device):
    """Count feasible classes, wholly feasible instances and undecided classes of one cell."""
    means = torch.tensor(means, dtype=torch.float64)
    centres = functional.pad(means, (0, dim - means.shape[1])) / noise
    centres = centres.repeat_interleave(samples_per_class, dim=0)
    labels = torch.arange(len(means)).repeat_interleave(samples_per_class)
    bits = int(np.float64(noise).view(np.uint64))
    entropy = np.random.SeedSequence([seed, dim, bits]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(entropy[0]))
    counts = np.zeros(3, dtype=int)
    for start in range(0, trials, BLOCK):
        shape = min(BLOCK, trials - start), *centres.shape
        noisy = centres + torch.randn(shape, generator=generator, dtype=torch.float64)
        result = nc_feasibility(noisy.to(device), labels, method=method)
        feasible, decided = result.feasible, result.decided
        counts += [int(feasible.sum()), int(feasible.all(-1).sum()), int((~decided).sum())]
    return counts.tolist()


class ShallowNet(nn.Module):
    r"""Network of one trained ReLU layer and a linear head, behind a fixed random layer if wanted.

    Two layers: :math:`f(x) = W_2 (W_1 x)_+`. Three: :math:`f(x) = W_2 (W_1 (G x)_+)_+`, G random.

    Parameters
    ----------
    dim, width, num_classes : int
        Input dimension d, neurons of the trained layer, K.
    random_width : int, optional
        Neurons of the random layer; the default is to have none.
    scale : float, optional
        Positive factor on the starts of both trained layers.
    batch : tuple of int, optional
        Leading dimensions: that many independent networks, each for its own data.
    generator : torch.Generator, optional
        Source of random numbers; the default is torch's global one.
    dtype, device : optional
        Of the weights; the defaults are torch's.

    Attributes
    ----------
    random : Tensor, shape (…, D, d), or None
        G, a buffer: normal, of variance 1/d.
    hidden : torch.nn.Parameter, shape (…, width, d) or (…, width, D)
        :math:`W_1`; starts normal, of variance one over its number of inputs.
    head : torch.nn.Parameter, shape (…, K, width)
        :math:`W_2`; starts normal, of variance 1 / width.

    Raises
    ------
    ValueError
        If a width or the scale is not positive, or there are fewer than two classes.

    References
    ----------
    Hong and Ling (2024); lecture 004, two- and three-layer networks.

    Examples
    --------
    >>> net = ShallowNet(8, 32, 3, random_width=64, batch=(5,))
    >>> inputs = torch.zeros(5, 12, 8)
    >>> net(inputs).shape, net.features(inputs).shape, net.random_features(inputs).shape
    (torch.Size([5, 12, 3]), torch.Size([5, 12, 32]), torch.Size([5, 12, 64]))
    """

    def __init__(
        self,
        dim,
        width,
        num_classes,
        *,
        random_width=None,
        scale=1.0,
        batch=(),
        generator=None,
        dtype=None,
        device=None,
    ):
        super().__init__()
        widths = [dim, width] if random_width is None else [dim, random_width, width]
        if min(widths) < 1 or num_classes < 2 or not 0 < scale < math.inf:
            raise ValueError(
                "need positive widths, at least two classes and a positive scale, got "
                f"{widths}, {num_classes} and {scale}"
            )

        def normal(outputs, inputs):
            options = {"generator": generator, "dtype": dtype, "device": device}
            return torch.randn(*batch, outputs, inputs, **options) / inputs**0.5

        self.register_buffer("random", None if random_width is None else normal(random_width, dim))
        self.hidden = nn.Parameter(scale * normal(width, widths[-2]))
        self.head = nn.Parameter(scale * normal(num_classes, width))

    def random_features(self, inputs):
        """Return what the trained layer sees, shape (…, N, D): the inputs if G is None."""
        return inputs if self.random is None else (inputs @ self.random.mT).relu()

    def features(self, inputs):
        """Return the output of the trained layer, shape (…, N, width)."""
        return (self.random_features(inputs) @ self.hidden.mT).relu()

    def forward(self, inputs):
        """Return the logits, shape (…, N, K), of inputs (…, N, d)."""
        return self.features(inputs) @ self.head.mT


def train_shallow(
    net, inputs, labels, *, weight_decay, penalty="features", steps=5000, lr=0.01, every=None
):
    r"""Train with a penalty on the features and record loss and features.

    The whole data set is used in every step of Adam, whose rate falls from ``lr`` to zero along a
    cosine. Each network of a batch minimises, on its own data,

    .. math:: \frac1N \sum_i L(f(x_i), y_i) + \frac\lambda2 \big(\|W_2\|_F^2 + \|H\|_F^2\big),

    L the cross-entropy and H the features of all N samples.

    Parameters
    ----------
    net : ShallowNet
        Trained in place.
    inputs : Tensor, shape (…, N, d)
        Samples, of the dtype, device and leading dimensions of the network.
    labels : Tensor, shape (N,)
        Their classes, the same for all networks.
    weight_decay : float
        :math:`\lambda`, at least 0.
    penalty : {"features", "weights"}, optional
        What is penalised beside :math:`W_2`: the features, or :math:`W_1` as in ordinary weight
        decay.
    steps : int, optional
        At least 1.
    lr : float, optional
        First learning rate, positive.
    every : int, optional
        Steps between two records; the default is one hundredth of all, at least one.

    Returns
    -------
    History
        ``"objective"``, shape (…,), and ``"features"``, shape (…, N, width), at recorded steps, the
        last among them. ``epochs`` counts steps.

    Raises
    ------
    ValueError
        If an option is out of range, or inputs and labels do not fit.
    FloatingPointError
        If the objective stops being finite.

    References
    ----------
    Lecture 004, empirical risk with activation regularisation.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> net = ShallowNet(6, 16, 2, generator=generator)
    >>> inputs, labels = torch.eye(6), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> history = train_shallow(net, inputs, labels, weight_decay=0.01, steps=500)
    >>> history.epochs[-1], history["features"][-1].shape
    (500, torch.Size([6, 16]))
    """
    if weight_decay < 0 or lr <= 0 or steps < 1 or (every is not None and every < 1):
        raise ValueError(
            "need weight_decay >= 0, lr > 0, steps >= 1 and every >= 1, "
            f"got {weight_decay}, {lr}, {steps} and {every}"
        )
    if penalty not in ("features", "weights"):
        raise ValueError(f'penalty must be "features" or "weights", got {penalty!r}')
    *batch, num_classes, _ = net.head.shape
    dim = (net.hidden if net.random is None else net.random).shape[-1]
    if inputs.shape != (*batch, len(labels), dim) or len(labels) == 0:
        raise ValueError(
            f"inputs must have shape {(*batch, len(labels), dim)} to match the network and the "
            f"labels, got {tuple(inputs.shape)}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must lie in 0 .. {num_classes - 1}, got {labels.tolist()}")
    every = every or max(1, steps // 100)
    seen = net.random_features(inputs)  # the same in all steps
    targets = functional.one_hot(labels, num_classes).to(inputs.dtype)
    optimizer = torch.optim.Adam([net.hidden, net.head], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = History()
    for step in trange(steps + 1, desc="training", unit="step", leave=False):
        features = (seen @ net.hidden.mT).relu()
        logits = features @ net.head.mT
        losses = -(targets * logits.log_softmax(-1)).sum(-1).mean(-1)
        penalised = features if penalty == "features" else net.hidden
        squares = net.head.square().sum((-2, -1)) + penalised.square().sum((-2, -1))
        objective = losses + weight_decay / 2 * squares
        if step % every == 0 or step == steps:
            if not objective.isfinite().all():
                raise FloatingPointError(
                    f"training diverged before step {step} with lr={lr}: try a smaller one"
                )
            history.epochs.append(step)
            for name, value in (("objective", objective), ("features", features)):
                history.values.setdefault(name, []).append(value.detach())
        if step < steps:
            optimizer.zero_grad()
            objective.sum().backward()
            optimizer.step()
            schedule.step()
    return history


def misclassification_rate(weights, means, noise, *, samples=None, generator=None):
    r"""Test error of a classifier with one neuron per class on a Gaussian mixture.

    An input x goes to the class whose output :math:`(\beta_k^\top x)_+` is largest; where no neuron
    fires, to one of the classes at random.

    Parameters
    ----------
    weights : Tensor, shape (…, K, d)
        :math:`\beta_k`, for instance those of :func:`nc_feasibility`; leading dimensions are
        independent classifiers.
    means : Tensor, shape (K, d)
        Class means; all classes are equally frequent.
    noise : float
        Standard deviation of every coordinate, positive.
    samples : int, optional
        Estimate the rate with that many new samples per class. The default is the closed form,
        which exists for two classes.
    generator : torch.Generator, optional
        Source of random numbers for the samples.

    Returns
    -------
    Tensor, shape (…,), float64
        Probability that a new sample is put into a wrong class.

    Raises
    ------
    ValueError
        If the shapes do not fit, the noise or ``samples`` is not positive, a weight vector is zero
        or not finite, or ``samples`` is missing and there are more than two classes, or two equal
        weight vectors.

    Notes
    -----
    For two classes, an input of class 1 gives two jointly normal outputs :math:`p = \beta_1^\top
    x` and :math:`q = \beta_2^\top x`, and it is lost if :math:`q > 0` and :math:`q > p`, and half
    of the times when :math:`p, q \le 0`. Both are probabilities that two normal variables are
    positive, which Owen's T function gives.

    References
    ----------
    Lecture 004, two-neuron classifier; Owen (1956), for the bivariate normal distribution.

    Examples
    --------
    >>> means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> misclassification_rate(means, means, noise=1.0)  # Phi(-1), the best possible
    tensor(0.1587, dtype=torch.float64)
    """
    K = len(means)
    _check_matrix(means, "means")
    if weights.shape[-2:] != means.shape or not weights.is_floating_point():
        raise ValueError(
            f"weights must be floating-point of shape (…, {K}, {means.shape[1]}), got "
            f"{weights.dtype} of shape {tuple(weights.shape)}"
        )
    norms = weights.double().norm(dim=-1)
    if not (norms.isfinite() & (norms > 0)).all():
        raise ValueError("weights must be finite and no weight vector zero")
    if not 0 < noise < math.inf:
        raise ValueError(f"noise must be positive and finite, got {noise}")
    weights, means = weights.detach().double(), means.double()
    if samples is not None:
        return _measured_error(weights, means, noise, samples, generator)
    if K != 2:
        raise ValueError(f"the closed form is for two classes, with {K} give the number of samples")
    if (weights[..., 0, :] == weights[..., 1, :]).all(-1).any():
        raise ValueError("the two weight vectors must differ")
    rates = [_error_of_class(weights[..., [k, 1 - k], :], means[k], noise) for k in range(2)]
    return torch.stack(rates).mean(0)


def _error_of_class(weights, mean, noise):
    """Probability that the first of two neurons loses an input of its own class."""
    first, second = weights.unbind(-2)
    wins = _both_positive(second, second - first, mean, noise)
    return wins + _both_positive(-first, -second, mean, noise) / 2


def _both_positive(a, b, mean, noise):
    """Probability that a.x and b.x (…) are positive for normal x around the mean."""
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    mean = mean / noise
    cosine = (a * b).sum(-1)
    rest = b - cosine.unsqueeze(-1) * a
    sine = rest.norm(dim=-1)
    h, k = a @ mean, b @ mean
    # (k - cosine h) / sine, which would lose all digits for nearly parallel a and b.
    side = rest @ mean / sine.clamp_min(TINY)
    h, k, side, cosine, sine = (x.cpu().numpy() for x in (h, k, side, cosine, sine))
    origin = (h == 0) & (k == 0)
    h, k = np.where(h == 0, 1e-300, h), np.where(k == 0, 1e-300, k)
    with np.errstate(over="ignore"):
        tails = owens_t(h, side / h) + owens_t(k, (h * sine - side * cosine) / k)
    value = (ndtr(h) + ndtr(k)) / 2 - tails - np.where((h < 0) != (k < 0), 0.5, 0.0)
    value = np.where(origin, 0.25 + np.arcsin(cosine.clip(-1, 1)) / (2 * math.pi), value)
    return torch.as_tensor(value, dtype=torch.float64, device=mean.device)


def _measured_error(weights, means, noise, samples, generator):
    """Share of wrong answers on new samples; a guess counts by its chance to be wrong."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    K, d = means.shape
    errors = []
    for k in range(K):
        normal = torch.randn(
            samples, d, generator=generator, dtype=means.dtype, device=means.device
        )
        outputs = ((means[k] + noise * normal) @ weights.mT).relu()
        silent = (outputs == 0).all(-1)
        wrong = (outputs.argmax(-1) != k).double()
        errors.append(wrong.masked_fill(silent, 1 - 1 / K).mean(-1))
    return torch.stack(errors).mean(0)
