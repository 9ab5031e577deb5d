"""Global minimisers in closed form."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

from lecturelib import checks
from lecturelib.device import Movable
from lecturelib.losses import CrossEntropy, SquaredError
from lecturelib.metrics import simplex_etf
from lecturelib.unconstrained_features.problem import checked_problem


@dataclass(frozen=True, eq=False)
class Minimizer(Movable):
    """A global minimiser.

    Attributes
    ----------
    W : Tensor, shape (K, d)
        Classifier, float64.
    H : Tensor, shape (N, d)
        Features, class after class.
    b : Tensor, shape (K,)
        Bias; 0 if the model has none.
    margin : float
        Right logit minus each wrong one.
    objective : float
        Value of the objective.
    collapsed : bool
        False if W = H = 0: the weight decay is too large for features to pay.

    Notes
    -----
    For cross-entropy, label smoothing and squared error there is no other, up to a rotation of the
    feature space (with H >= 0, one that keeps H so) and two freedoms that a bias has where it has
    no weight decay. Cross-entropy, label smoothing and focal loss do not see a constant that is
    added to all of b. And for two classes with H >= 0, one class mean may be longer and the other
    shorter, if b makes up for the difference. For focal loss, zero and a collapsed point have the
    same value at the critical price.
    """

    W: Tensor
    H: Tensor
    b: Tensor
    margin: float
    objective: float
    collapsed: bool


def global_minimizer(problem, *, device=None):
    r"""Return the exact global minimiser of the unconstrained features model.

    Parameters
    ----------
    problem : Problem
        With equal classes, and :math:`\lambda_W, \lambda_H > 0`. If the minimiser is not zero, d
        must be at least its rank: K - 1, or K for non-negative features and for squared error
        without a bias or with a strongly penalised one.
    device : torch.device, optional
        Of the result.

    Returns
    -------
    Minimizer
        In float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    With P the projection :math:`I - \frac1K \mathbf 1 \mathbf 1^\top`, the logits of the classes
    are :math:`a P + \frac{\tau}{K} \mathbf 1 \mathbf 1^\top`, plus the bias. Cross-entropy has
    :math:`a = \log(\frac1c - (K-1))` and :math:`\tau = 0`, and W = H = 0 if :math:`Kc \ge 1`; label
    smoothing has :math:`c + \frac\alpha K` in place of c; for focal loss, a is the root of
    :math:`\psi'(-(K-1)a) = c`, or 0 beyond a critical c (see :class:`lecturelib.losses.FocalLoss`),
    where Kc may be less than 1. Squared error has :math:`a = \tau = 1 - Kc` without bias; with one,
    :math:`a = 1 - Kc` and either :math:`b = \frac1{K(1+\lambda_b)}, \tau = 0`, or, if
    :math:`\lambda_b > \frac{Kc}{1-Kc}`, :math:`b = \frac{c}{\lambda_b}, \tau = a -
    \frac{Kc}{\lambda_b}`. For non-negative features, class means are orthogonal; all losses but
    squared error have :math:`c \sqrt{K/(K-1)}` in place of c, and for that a scalar root remains.

    For focal loss with a bias this is proved for c < 1/(K-1); beyond, it is the best solution of
    the symmetric form.

    References
    ----------
    Zhu et al. (2021), theorem 3.1; Zhou et al. (2022a, 2022b); Tirer and Bruna (2022), theorem 3.1;
    Hong and Ling (2024) for non-negative features; lecture 003, "Geometric Analysis for
    Unconstrained Features Model II"; lecture 004.

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem
    >>> best = global_minimizer(Problem(4, 25, dim=3, weight_decay=0.01))
    >>> best.collapsed, best.margin == math.log(1 / 0.05 - 3)
    (True, True)
    >>> global_minimizer(Problem(4, 25, dim=3, weight_decay=0.1)).collapsed
    False
    """
    problem, device = checked_problem(problem), checks.device("device", device)
    K, c, decay = problem.num_classes, problem.price, problem.weight_decay
    if decay.W == 0 or decay.H == 0:
        raise checks.wrong("weight_decay", "positive for W and H, to have a minimiser", decay)
    if isinstance(problem.loss, SquaredError):
        a, tau, shift = _squared_error_solution(problem)
    else:
        price = c * math.sqrt(K / (K - 1)) if problem.nonnegative else c
        a, tau, shift = problem.loss.margin(price, K), 0.0, 0.0
    classifier, means, penalty = _factors(problem, a, tau)
    room = problem.dim - means.shape[1]
    if room < 0:
        rank = means.shape[1]
        raise checks.wrong("dim", f">= {rank}, the rank of this minimiser", problem.dim)

    offset = torch.full((K,), shift, dtype=torch.float64)
    value = problem.loss(_class_logits(K, a, tau) + offset, torch.arange(K))
    value = float(value) + penalty + (decay.b * K * shift**2 / 2 if problem.bias else 0.0)
    features = means.repeat_interleave(problem.samples_per_class, 0)
    best = Minimizer(
        W=functional.pad(classifier, (0, room)),
        H=functional.pad(features, (0, room)),
        b=offset,
        margin=a,
        objective=value,
        collapsed=a > 0,
    )
    return best if device is None else best.to(device)


def _class_logits(num_classes, a, tau):
    """Logits of the classes without the bias: a I + (τ - a) / K."""
    return a * torch.eye(num_classes, dtype=torch.float64) + (tau - a) / num_classes


def _factors(problem, a, tau):
    """Return the cheapest W and class means with the logits of (a, τ), and what they cost."""
    K, n, c, decay = (
        problem.num_classes,
        problem.samples_per_class,
        problem.price,
        problem.weight_decay,
    )
    if a == 0:
        nothing = torch.zeros(K, 0, dtype=torch.float64)
        return nothing, nothing, 0.0
    if problem.nonnegative:
        means, classifier = torch.eye(K, dtype=torch.float64), _class_logits(K, a, tau)
        penalty = c * math.sqrt(K) * float(classifier.norm())
    else:
        means = simplex_etf(K, K - 1, dtype=torch.float64) * math.sqrt(a * (K - 1) / K)
        if tau > 0:
            common = torch.full((K, 1), math.sqrt(tau / K), dtype=torch.float64)
            means = torch.cat([means, common], 1)
        classifier, penalty = means, c * ((K - 1) * a + tau)
    # Scale both so that λ_W |W|² = λ_H |H|².
    size_w = decay.W * float(classifier.square().sum())
    size_h = decay.H * n * float(means.square().sum())
    return classifier * (size_h / size_w) ** 0.25, means * (size_w / size_h) ** 0.25, penalty


def _squared_error_solution(problem):
    r"""Solve for (a, τ, b) in the symmetric, convex problem that squared error comes down to.

    The right logit is :math:`\frac{K-1}K a + \frac1K \tau + b`, each wrong one :math:`-\frac1K a +
    \frac1K \tau + b`; a, τ >= 0 are singular values of the class logits and cost :math:`c ((K-1) a
    + \tau)`, or :math:`c \sqrt K \sqrt{(K-1) a^2 + \tau^2}` if features are non-negative.
    """
    K, c, has_bias = problem.num_classes, problem.price, problem.bias
    kappa, target = problem.loss.kappa, problem.loss.target
    logits = np.array([[(K - 1) / K, 1 / K, 1], [-1 / K, 1 / K, 1]])
    weights = np.diag([kappa, K - 1])
    quadratic = logits.T @ weights @ logits
    quadratic[2, 2] += K * problem.weight_decay.b
    linear = logits.T @ weights @ [target, 0]

    def solve(free, extra_quadratic, extra_linear):
        kept, solution = np.flatnonzero(free), np.zeros(3)
        system = (quadratic + extra_quadratic)[np.ix_(kept, kept)]
        solution[kept] = np.linalg.solve(system, (linear - extra_linear)[kept])
        return solution

    multiplicity = np.array([K - 1.0, 1, 0])
    if not problem.nonnegative:
        best, least = None, math.inf
        for active in itertools.product([False, True], repeat=2):
            if active[1] and has_bias and problem.weight_decay.b == 0:
                continue  # what τ could do, a free bias does for nothing
            solution = solve([*active, has_bias], 0, c * multiplicity)
            value = solution @ quadratic @ solution / 2 - solution @ linear
            value += c * multiplicity @ solution
            if (solution[:2] >= 0).all() and value < least:
                best, least = solution, value
        return tuple(best.tolist())

    # Stationary points for a given norm r of the class logits; r is where the norm is r.
    def solution_at(r):
        return solve([True, True, has_bias], c * math.sqrt(K) / r * np.diag(multiplicity), 0)

    def excess(r):
        return math.sqrt(multiplicity @ solution_at(r) ** 2) / r - 1

    low, high = 1e-12 * target, 2 * K * target
    if excess(low) <= 0:
        return tuple(solve([False, False, has_bias], 0, 0).tolist())
    return tuple(solution_at(brentq(excess, low, high, xtol=1e-15)).tolist())


def one_example_minimizer(num_classes):
    r"""Return the minimiser of cross-entropy for one unit vector of logits per class.

    Parameters
    ----------
    num_classes : int
        Number K of classes, at least 2.

    Returns
    -------
    Minimizer
        H (K, K) is a simplex ETF; there is no classifier, so W is the identity.

    Raises
    ------
    TypeError, ValueError
        If K is not an integer, or less than 2.

    Notes
    -----
    The problem is :math:`\min \frac1K \sum_k \mathcal L_{\mathrm{CE}}(h_k, k)` over
    :math:`\|h_k\| = 1`; the margin of the solution is :math:`\sqrt{K/(K-1)}`.

    References
    ----------
    Lu and Steinerberger (2022); lecture 003, "Simplification: Unconstrained Features IV".

    Examples
    --------
    >>> one_example_minimizer(2).H
    tensor([[ 0.7071, -0.7071],
            [-0.7071,  0.7071]], dtype=torch.float64)
    """
    K = checks.integer("num_classes", num_classes, least=2)
    margin = math.sqrt(K / (K - 1))
    identity = torch.eye(K, dtype=torch.float64)
    return _collapsed(identity, margin * (identity - 1 / K), margin)


def norm_constrained_minimizer(num_classes, samples_per_class, dim):
    r"""Return the minimiser of cross-entropy where norms are bounded rather than penalised.

    Parameters
    ----------
    num_classes, samples_per_class : int
        K >= 2 and n >= 1.
    dim : int
        Dimension d >= K - 1.

    Returns
    -------
    Minimizer
        Of the mean cross-entropy of :math:`W h_i` over :math:`\|W\|_F \le 1` and
        :math:`\|h_i\| \le 1`: W and the class means are simplex ETFs, with margin
        :math:`\frac{\sqrt K}{K-1}`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    E and Wojtowytsch (2022), Fang et al. (2021), Graf et al. (2021); lecture 003, "Simplification:
    Unconstrained Features IV".

    Examples
    --------
    >>> best = norm_constrained_minimizer(4, 2, dim=3)
    >>> float(best.W.norm()), best.margin == math.sqrt(4) / 3
    (1.0, True)
    """
    K = checks.integer("num_classes", num_classes, least=2)
    n = checks.integer("samples_per_class", samples_per_class, least=1)
    frame = simplex_etf(K, dim, dtype=torch.float64)
    return _collapsed(frame / math.sqrt(K), frame.repeat_interleave(n, 0), math.sqrt(K) / (K - 1))


def _collapsed(W, H, margin):
    """Return a minimiser of cross-entropy alone, with this margin and no bias."""
    value = CrossEntropy().bound(-(len(W) - 1) * margin, len(W))
    bias = torch.zeros(len(W), dtype=torch.float64)
    return Minimizer(W, H, bias, margin=margin, objective=float(value), collapsed=True)
