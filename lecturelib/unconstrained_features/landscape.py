"""The landscape: the convex twin, curvature, saddles."""

import math

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from lecturelib import checks
from lecturelib.device import one_thread
from lecturelib.losses import SquaredError
from lecturelib.metrics import simplex_etf
from lecturelib.unconstrained_features.model import (
    SMALL,
    UnconstrainedFeatures,
    flat,
    objective_at,
    split,
)
from lecturelib.unconstrained_features.problem import checked_problem


def convex_objective(problem, Z, b=None):
    r"""Return the objective of the convex twin, in which only the product of the factors is left.

    Parameters
    ----------
    problem : Problem
        The problem; convex for all losses but focal loss.
    Z : Tensor, shape (…, N, K)
        Logits without the bias, :math:`H W^\top`, class after class.
    b : Tensor, shape (K,) or (…, K), optional
        Bias (default: zero).

    Returns
    -------
    Tensor, shape (…)
        Mean loss and penalties.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a bias is given that the problem lacks.

    Notes
    -----
    The cheapest factors of Z cost its nuclear norm,

    .. math:: \|Z\|_* = \min_{H W^\top = Z} \tfrac12 \big( \|W\|_F^2 + \|H\|_F^2 \big) ,

    so that, with the sizes of the factors chosen best, the penalties are worth

    .. math:: \sqrt{\lambda_W \lambda_H}\, \|Z\|_* + \frac{\lambda_b}{2} \|b\|^2 .

    In the lectures' convention, :math:`\lambda (\|W\|_F^2 + \|H\|_F^2)`, the weight of the nuclear
    norm is :math:`2 \lambda`; the slides have :math:`\lambda`. Factors with this value exist if the
    dimension d is at least the rank of Z and features may be negative; otherwise it is a lower
    bound.

    References
    ----------
    Haeffele and Vidal (2015); lecture 003, "Geometric Analysis for Unconstrained Features Model
    IV".

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem, global_minimizer
    >>> problem = Problem(3, samples_per_class=5, dim=4, weight_decay=0.01)
    >>> best = global_minimizer(problem)
    >>> abs(float(convex_objective(problem, best.H @ best.W.T, best.b)) - best.objective) < 1e-12
    True
    """
    problem = checked_problem(problem)
    K, N, decay = problem.num_classes, problem.num_samples, problem.weight_decay
    Z = checks.tensor("Z", Z, ("…", N, K))
    value = math.sqrt(decay.W * decay.H) * torch.linalg.matrix_norm(Z, "nuc")
    logits = Z
    if b is not None:
        b = checks.tensor("b", b, ("…", K), like=Z)
        if not problem.bias:
            raise checks.wrong("b", "None, as the problem has no bias", b)
        if b.shape[:-1] not in ((), Z.shape[:-2]):
            raise checks.wrong("b", "one vector, or one for each matrix of Z", b)
        logits = Z + b[..., None, :]
        value = value + decay.b / 2 * b.square().sum(-1)
    return value + problem.loss(logits, problem.labels.to(Z.device))


def hessian_min_eigenvalue(model):
    """Return the smallest eigenvalue of the objective's Hessian where the model stands.

    Parameters
    ----------
    model : UnconstrainedFeatures
        At one point, without a batch.

    Returns
    -------
    Tensor, 0-d
        Negative at a strict saddle; 0 at a minimiser if rotations leave the objective as it is.
        float64, on the CPU.

    Raises
    ------
    TypeError, ValueError
        If it is no model, or holds a batch of points.

    Notes
    -----
    Lanczos's method, in float64. The Hessian, whose size is the square of the number of variables,
    is never formed: each step needs one product of it with a vector, which costs about two
    gradients. That non-negative features cannot move everywhere is not taken into account.

    References
    ----------
    Pearlmutter (1994), for products with the Hessian.

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem
    >>> model = UnconstrainedFeatures(Problem(3, 2, dim=4, weight_decay=0.01))
    >>> bool(hessian_min_eigenvalue(saddle(model)) < -0.1)  # at W = H = b = 0
    True
    """
    return hessian_min_eigenpair(model)[0]


def hessian_min_eigenpair(model):
    """Return the smallest eigenvalue of the Hessian together with its eigenvector.

    Parameters
    ----------
    model : UnconstrainedFeatures
        As in :func:`hessian_min_eigenvalue`.

    Returns
    -------
    eigenvalue : Tensor, 0-d
        As there.
    direction : tuple of Tensor
        The unit eigenvector as (W, H, b), shaped and placed as the model's variables; b is None
        without bias.

    Raises
    ------
    TypeError, ValueError
        As there.

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem
    >>> model = UnconstrainedFeatures(Problem(3, 2, dim=4, weight_decay=0.01))
    >>> eigenvalue, (W, H, b) = hessian_min_eigenpair(saddle(model))
    >>> W.shape, H.shape, b.shape
    (torch.Size([3, 4]), torch.Size([6, 4]), torch.Size([3]))
    """
    if _checked_model(model).batch_shape:
        raise checks.wrong("model", "at one point, without batch_shape", model.batch_shape)
    point = flat(model).double().requires_grad_()
    value = objective_at(model.problem, model.labels, *split(model.problem, point))
    (gradient,) = torch.autograd.grad(value, point, create_graph=True)

    def product(vector):
        vector = torch.from_numpy(vector).to(point.device)
        return torch.autograd.grad(gradient, point, vector, retain_graph=True)[0].cpu().numpy()

    with one_thread(len(point) < SMALL):
        start = np.random.default_rng(0).standard_normal(len(point))
        start /= np.linalg.norm(start)
        # The precision is relative, and eigenvalues that are zero have none: so shift them.
        shift = float(np.linalg.norm(product(start)))
        shifted = LinearOperator(
            (len(point), len(point)), lambda v: product(v) + shift * v, dtype=np.float64
        )
        values, vectors = eigsh(shifted, k=1, which="SA", tol=1e-10, v0=start)
    eigenvalue = torch.tensor(values[0] - shift, dtype=torch.float64)
    return eigenvalue, split(model.problem, torch.from_numpy(vectors[:, 0]).to(model.W))


def saddle(model, groups=1):
    r"""Return a copy of the model at a critical point that merges classes.

    Parameters
    ----------
    model : UnconstrainedFeatures
        Gives the problem, which must have equal classes, :math:`\lambda_W, \lambda_H > 0` and
        features that may be negative.
    groups : int, optional
        Number m of groups of :math:`g = K/m` classes each; m divides K, and is at most d + 1. One
        group is W = H = 0; each m between 1 and K gives a saddle of rank m - 1; K groups are a
        simplex ETF, which is the minimiser itself wherever that is one.

    Returns
    -------
    UnconstrainedFeatures
        Without a batch, its gradient zero up to rounding.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or weight decay is so large that it is better to merge
        all classes.

    Notes
    -----
    The classes of a group share their logits: a more for their own group than for the others. Then
    cross-entropy is :math:`\log(g + (K-g) e^{-a})` and the penalties are worth :math:`c (K-g) a`,
    so that :math:`a = \log \frac{1/c - (K-g)}{g}`. Any critical point is one of the model in a
    smaller space, so points of this kind exist for every rank; these have closed forms.

    References
    ----------
    Zhu et al. (2021), theorem 3.2; lecture 003, "Geometric Analysis for Unconstrained Features
    Model III".

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem
    >>> problem = Problem(4, samples_per_class=3, dim=5, weight_decay=0.01)
    >>> model = saddle(UnconstrainedFeatures(problem), groups=2)
    >>> int(torch.linalg.matrix_rank(model.W))
    1
    """
    problem = _checked_model(model).problem
    K, n, c, decay = (
        problem.num_classes,
        problem.samples_per_class,
        problem.price,
        problem.weight_decay,
    )
    m = checks.integer("groups", groups, 1, min(K, problem.dim + 1))
    if K % m:
        raise checks.wrong("groups", f"a divisor of the number of classes, {K}", m)
    if problem.nonnegative:
        raise checks.wrong("model", "one whose features may be negative", problem)
    if decay.W == 0 or decay.H == 0:
        raise checks.wrong("model", "one with weight decay on W and H", decay)
    g, a, shift = K // m, 0.0, 0.0
    if isinstance(problem.loss, SquaredError):
        a, shift = _squared_error_groups(problem, m)
    elif m > 1:
        a = problem.loss.margin(c, K, group=g)
    if m > 1 and a <= 0:
        raise checks.wrong("groups", "1: with so much weight decay all classes merge", m)

    frame = torch.zeros(K, problem.dim, dtype=torch.float64)
    if m > 1:
        centred = simplex_etf(m, problem.dim, dtype=torch.float64) * math.sqrt(a * (m - 1) / m)
        frame = centred.repeat_interleave(g, 0)
    ratio = (n * decay.H / decay.W) ** 0.25
    point = UnconstrainedFeatures(
        problem,
        generator=torch.Generator(),  # leaves torch's own random numbers as they are
        dtype=model.W.dtype,
        device=model.W.device,
    )
    offset = torch.full((K,), shift, dtype=torch.float64)
    return point.place(frame * ratio, (frame / ratio).repeat_interleave(n, 0), offset)


def _squared_error_groups(problem, groups):
    """Return the margin between groups and the bias at which squared error is stationary."""
    K, m, g = problem.num_classes, groups, problem.num_classes // groups
    kappa, target = problem.loss.kappa, problem.loss.target
    # Logits of the right class, of the rest of its group, of the other groups: (by a, by b).
    logits = np.array([[1 - 1 / m, 1], [1 - 1 / m, 1], [-1 / m, 1]])
    weights = np.diag([kappa, g - 1, K - g])
    quadratic = logits.T @ weights @ logits + np.diag([0, K * problem.weight_decay.b])
    linear = logits.T @ weights @ [target, 0, 0] - [problem.price * (K - g), 0]
    kept, solution = np.flatnonzero([m > 1, problem.bias]), np.zeros(2)
    solution[kept] = np.linalg.solve(quadratic[np.ix_(kept, kept)], linear[kept])
    return tuple(solution.tolist())


def _checked_model(model):
    if not isinstance(model, UnconstrainedFeatures):
        raise checks.wrong("model", "an UnconstrainedFeatures", model, TypeError)
    return model
