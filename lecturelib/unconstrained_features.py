r"""The unconstrained features model: its losses, its exact minimisers, its landscape, its solver.

The features of a classifier are free variables, as if the network before them could do anything:

.. math::

    \min_{W, H, b} \; \frac1N \sum_{i=1}^N \mathcal L(W h_i + b,\, y_i)
      + \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 + \frac{\lambda_b}{2} \|b\|^2

with N = nK, n samples of each of K classes in the order 0, …, 0, 1, …, 1, …; rows of ``H (N, d)``
are features, ``W (K, d)`` is the classifier, ``b (K,)`` its bias. The penalties have the factor ½
of torch's ``weight_decay``; the lectures leave it out, so that their λ is half of ours. One number
decides what the minimiser looks like, :math:`c = \sqrt{n \lambda_W \lambda_H}`.

In every function the name of the loss comes with its parameters: ``"ce"`` (cross-entropy), ``"ls"``
(label smoothing, ``alpha`` in [0, 1), default 0.1), ``"fl"`` (focal loss, ``gamma`` >= 0, default
2) and ``"mse"`` (squared error, ``rescale=(kappa, target)``, default (1, 1)).
"""

import collections
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional

from lecturelib.metrics import simplex_etf
from lecturelib.training import History

__all__ = [
    "ContrastiveCheck",
    "Minimizer",
    "UnconstrainedFeatures",
    "check_contrastive",
    "contrastive_function",
    "convex_objective",
    "global_minimizer",
    "hessian_min_eigenvalue",
    "loss",
    "minimize",
    "norm_constrained_minimizer",
    "one_example_minimizer",
    "saddle",
]

PARAMETERS = {
    "ce": {},
    "ls": {"alpha": 0.1},
    "fl": {"gamma": 2.0},
    "mse": {"rescale": (1.0, 1.0)},
}


# --- losses ---------------------------------------------------------------------------------------


def loss(name, logits, labels, **parameters):
    r"""Mean loss of logits, for any leading batch dimensions.

    Parameters
    ----------
    name : {"ce", "ls", "fl", "mse"}
        Cross-entropy, label smoothing, focal loss, squared error.
    logits : Tensor, shape (…, N, K)
        Scores z.
    labels : Tensor, shape (N,)
        Integer classes y in 0 .. K-1.
    **parameters
        Those of the loss: ``alpha``, ``gamma`` or ``rescale``.

    Returns
    -------
    Tensor, shape (…)
        Mean over the N samples.

    Raises
    ------
    ValueError
        For an unknown loss or parameter, a parameter out of range, shapes that do not fit.

    Notes
    -----
    With :math:`p = \operatorname{softmax}(z)` and :math:`\mathrm{CE} = -\log p_y`, label smoothing
    is :math:`(1 - \alpha)\,\mathrm{CE} - \frac{\alpha}{K} \sum_j \log p_j` and focal loss :math:`(1
    - p_y)^\gamma\, \mathrm{CE}`. Squared error is :math:`\frac12 \big( \kappa (z_y - M)^2 + \sum_{j
    \ne y} z_j^2 \big)` with ``rescale=(κ, M)``; at (1, 1) it is K/2 times torch's ``mse_loss``
    against one-hot labels.

    References
    ----------
    Szegedy et al. (2016) for label smoothing, Lin et al. (2017) for focal loss, Hui and Belkin
    (2021) for the rescaled squared error; lecture 003, "Focal Loss (FL)" to "Mean-squared Error
    (MSE) Loss?".

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    >>> loss("fl", logits, labels, gamma=0) == loss("ce", logits, labels)
    tensor(True)
    """
    parameters = _checked_parameters(name, parameters)
    if logits.ndim < 2 or labels.shape != logits.shape[-2:-1]:
        raise ValueError(
            "logits must be (…, N, K) and labels (N,), "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    return _loss(name, logits, labels, parameters)


def _loss(name, logits, labels, parameters):
    """Compute :func:`loss` for arguments that have been checked."""
    index = labels.expand(logits.shape[:-1])[..., None]
    true = logits.gather(-1, index)[..., 0]
    if name == "mse":
        kappa, target = parameters["rescale"]
        others = logits.scatter(-1, index, 0).square().sum(-1)
        return ((kappa * (true - target).square() + others) / 2).mean(-1)
    cross_entropy = logits.logsumexp(-1) - true
    if name == "ls":
        cross_entropy = cross_entropy + parameters["alpha"] * (true - logits.mean(-1))
    if name == "fl":
        cross_entropy = _focal(cross_entropy, parameters["gamma"])
    return cross_entropy.mean(-1)


def _focal(cross_entropy, gamma):
    """Focal loss as a function of the cross-entropy, φ(x) = (1 - e^-x)^γ x."""
    return _wrong(cross_entropy) ** gamma * cross_entropy


def _focal_derivative(cross_entropy, gamma):
    """Return φ'(x), the derivative of focal loss by the cross-entropy."""
    wrong = _wrong(cross_entropy)
    right = torch.exp(-cross_entropy)
    return wrong**gamma + gamma * wrong ** (gamma - 1) * right * cross_entropy


def _wrong(cross_entropy):
    """Probability 1 - e^-x of the wrong classes, kept from 0 so that its powers have slopes."""
    wrong = -torch.expm1(-cross_entropy)
    return wrong.clamp_min(torch.finfo(wrong.dtype).tiny)


def _loss_and_gradient(name, logits, labels, parameters):
    """Return the mean loss (…) and its gradient in the logits (…, N, K).

    By hand, since the solver spends most of its time here, and autograd takes twice as long.
    """
    index = labels.expand(logits.shape[:-1])[..., None]
    true = logits.gather(-1, index)
    samples = len(labels)
    if name == "mse":
        kappa, target = parameters["rescale"]
        residual = true - target
        squares = logits.scatter(-1, index, 0).square().sum(-1, keepdim=True)
        losses = (kappa * residual.square() + squares) / 2
        gradient = logits.scatter(-1, index, kappa * residual).div_(samples)
        return losses.mean((-2, -1)), gradient
    log_sum = logits.logsumexp(-1, keepdim=True)
    losses = log_sum - true
    gradient = (logits - log_sum).exp_().scatter_add_(-1, index, -torch.ones_like(true))
    if name == "ls":
        alpha = parameters["alpha"]
        losses = losses + alpha * (true - logits.mean(-1, keepdim=True))
        gradient = gradient.scatter_add_(-1, index, torch.full_like(true, alpha))
        gradient -= alpha / logits.shape[-1]
    if name == "fl":
        gradient *= _focal_derivative(losses, parameters["gamma"])
        losses = _focal(losses, parameters["gamma"])
    return losses.mean((-2, -1)), gradient.div_(samples)


def contrastive_function(name, num_classes, **parameters):
    r"""Return ψ, the least loss at a given contrast of the logits.

    Parameters
    ----------
    name : {"ce", "ls", "fl", "mse"}
        The loss.
    num_classes : int
        Number K of classes, at least 2.
    **parameters
        Those of the loss.

    Returns
    -------
    callable
        ψ, from a tensor or number t to a tensor of its shape. If all wrong logits are equal and the
        margin is a, then :math:`t = -(K-1)a`.

    Raises
    ------
    ValueError
        As :func:`loss`; or if K < 2.

    Notes
    -----
    :math:`\mathcal L(z, y_k) \ge \psi(t)` with :math:`t = \sum_{j \ne k} (z_j - z_k)`:

    .. math::

        \psi_{\mathrm{CE}}(t) &= \log\big(1 + (K-1) e^{t/(K-1)}\big) \\
        \psi_{\mathrm{LS}}(t) &= \psi_{\mathrm{CE}}(t) - \tfrac{\alpha}{K} t \\
        \psi_{\mathrm{FL}}(t) &= \big(1 - e^{-\psi_{\mathrm{CE}}(t)}\big)^\gamma
            \psi_{\mathrm{CE}}(t) \\
        \psi_{\mathrm{MSE}}(t) &= \tfrac{\kappa (K-1)}{2 (\kappa + K - 1)}
            \big(M + \tfrac{t}{K-1}\big)^2

    For CE, LS and FL there is equality exactly where all wrong logits are equal; for MSE also the
    sum of the logits must be the right one, which takes a bias that is free.

    References
    ----------
    Zhou et al. (2022), "Are all losses created equal", definition 1; lecture 003, "Are All Loses
    Created Equal?—A NC Perspective I".

    Examples
    --------
    >>> psi = contrastive_function("ce", num_classes=10)
    >>> bool(psi(0.0).isclose(torch.tensor(10.0).double().log()))
    True
    """
    parameters = _checked_parameters(name, parameters)
    _check_num_classes(num_classes)
    rest = num_classes - 1

    def psi(t):
        t = torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else torch.float64)
        if name == "mse":
            kappa, target = parameters["rescale"]
            return kappa * rest / (2 * (kappa + rest)) * (target + t / rest).square()
        cross_entropy = functional.softplus(t / rest + math.log(rest), threshold=50)
        if name == "ls":
            return cross_entropy - parameters["alpha"] / num_classes * t
        if name == "fl":
            return _focal(cross_entropy, parameters["gamma"])
        return cross_entropy

    return psi


@dataclass(frozen=True)
class ContrastiveCheck:
    """Whether a loss has the contrastive property, and where it loses it.

    Attributes
    ----------
    lower_bound : bool
        Condition 1: the loss is at least ψ(t), with equality only where all wrong logits are equal.
        Found by trying, on up to 4096 random logits.
    unique : bool
        Condition 2: for every c > 0, ψ(t) + c|t| has one minimiser, and it is not positive. Found
        by trying, from the first two derivatives of ψ at 3001 points.
    first_failure : int or None
        The smallest number of classes for which condition 2 fails, with the same parameters; None
        if there is none (below 2^53).
    critical_c : float or None
        Where condition 2 fails: the c at which the minimiser jumps to 0.
    critical_margin : float or None
        The margin from which it jumps.
    """

    lower_bound: bool
    unique: bool
    first_failure: int | None
    critical_c: float | None
    critical_margin: float | None

    @property
    def holds(self):
        """Whether both conditions hold."""
        return self.lower_bound and self.unique


def check_contrastive(name, num_classes, **parameters):
    r"""Test the contrastive property of a loss.

    Parameters
    ----------
    name : {"ce", "ls", "fl", "mse"}
        The loss.
    num_classes : int
        Number K of classes, at least 2.
    **parameters
        Those of the loss.

    Returns
    -------
    ContrastiveCheck

    Raises
    ------
    ValueError
        As :func:`contrastive_function`.

    Notes
    -----
    ψ is convex for CE, LS and MSE. Focal loss is a function φ of the cross-entropy x, and as a
    function of t it is convex exactly where :math:`x \le x^*`, the root of

    .. math:: x \Big(1 - \frac{\gamma}{e^x - 1}\Big) = 2 + \frac1\gamma ,

    whose left side increases. On :math:`t \le 0`, x goes up to log K: so condition 2 holds if and
    only if :math:`K \le e^{x^*}`. Beyond, ψ has a tangent that touches it at some t < 0 and passes
    through (0, ψ(0)); its slope is the critical c.

    References
    ----------
    Zhou et al. (2022), definition 1; lecture 003, "Are All Loses Created Equal?—A NC Perspective
    II", says that FL has the property.

    Examples
    --------
    >>> check_contrastive("ls", 1000, alpha=0.1).holds
    True
    >>> check = check_contrastive("fl", 100, gamma=3)
    >>> check.holds, check.first_failure
    (False, 18)
    """
    psi = contrastive_function(name, num_classes, **parameters)
    parameters = _checked_parameters(name, parameters)

    generator = torch.Generator().manual_seed(0)
    trials = min(4096, max(16, 2**24 // num_classes))
    logits = 3 * torch.randn(trials, 1, num_classes, generator=generator, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.int64)
    contrast = logits.sum(-1) - num_classes * logits[..., 0]
    least = psi(contrast)[:, 0]
    gap = _loss(name, logits, zero, parameters) - least
    wrong_spread = logits[..., 1:].std(-1, correction=0)[:, 0]
    strict = (wrong_spread > 1e-6) & (least > 1e-12)  # below, both sides may underflow to 0
    lower_bound = bool((gap >= -1e-12).all() and (gap[strict] > 0).all())

    # Condition 2, tried too: convex on t <= 0 (up to margins of 30, where it may underflow to 0).
    contrasts = -(num_classes - 1) * torch.linspace(0, 30, 3001, dtype=torch.float64)
    contrasts.requires_grad_()
    (slope,) = torch.autograd.grad(psi(contrasts).sum(), contrasts, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), contrasts)
    unique = bool((bend >= 0).all() and slope[0] >= 0)

    inflection = _inflection(parameters["gamma"]) if name == "fl" else math.inf
    first_failure = None
    if inflection < math.log(2.0**53):
        first_failure = max(2, math.floor(math.exp(inflection)) + 1)
    if unique:
        return ContrastiveCheck(lower_bound, unique, first_failure, None, None)

    gamma = parameters["gamma"]
    ends = _focal_value(math.log(num_classes), gamma)

    def gap_at_zero(x):
        """How far above ψ(0) the tangent at cross-entropy x passes t = 0."""
        reach = (num_classes - 1) * _margin_at(x, num_classes)
        slope = _focal_slope(x, gamma) / (num_classes - 1)
        return _focal_value(x, gamma) + slope * reach - ends

    touch = brentq(gap_at_zero, 1e-12, inflection, xtol=1e-14)
    critical_c = _focal_slope(touch, gamma) / (num_classes - 1)
    margin = _margin_at(touch, num_classes)
    return ContrastiveCheck(lower_bound, unique, first_failure, critical_c, margin)


def _margin_at(cross_entropy, num_classes, merged=1):
    """Margin a at which log(m + (K-m) e^-a) is the given cross-entropy, m classes merged."""
    return math.log((num_classes - merged) / (math.expm1(cross_entropy) - (merged - 1)))


def _margin_for(price, num_classes, merged=1):
    """Margin a that minimises log(m + (K-m) e^-a) + price (K-m) a; 0 if none is positive."""
    if num_classes * price >= 1:
        return 0.0
    return math.log((1 / price - (num_classes - merged)) / merged)


def _focal_value(x, gamma):
    """Focal loss at cross-entropy x, both floats."""
    return float(_focal(torch.tensor(x, dtype=torch.float64), gamma))


def _focal_slope(x, gamma, merged=1):
    """Return φ'(x) (1 - m e^-x): how focal loss rises as the margin falls, m classes merged."""
    derivative = _focal_derivative(torch.tensor(x, dtype=torch.float64), gamma)
    return float(derivative) * (1 - merged * math.exp(-x))


def _inflection(gamma):
    """Cross-entropy up to which focal loss is convex in the contrast t."""
    if gamma == 0:
        return math.inf

    def excess(x):
        return x * (1 - gamma / math.expm1(x)) - 2 - 1 / gamma

    lower = math.log1p(gamma)  # the left side is 0 there
    upper = lower + 1
    while excess(upper) < 0:
        upper *= 2
        if upper > 700:
            return math.inf
    return brentq(excess, lower, upper, xtol=1e-14)


# --- the global minimiser -------------------------------------------------------------------------


@dataclass(frozen=True)
class Minimizer:
    """A global minimiser, unique up to a rotation (with H >= 0: a placement) of the d axes.

    Attributes
    ----------
    W : Tensor, shape (K, d)
        Classifier.
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
    """

    W: Tensor
    H: Tensor
    b: Tensor
    margin: float
    objective: float
    collapsed: bool


def global_minimizer(
    loss,
    num_classes,
    samples_per_class,
    dim,
    *,
    weight_decay,
    bias=True,
    nonnegative=False,
    device=None,
    **loss_parameters,
):
    r"""Return the exact global minimiser of the unconstrained features model.

    Parameters
    ----------
    loss : {"ce", "ls", "fl", "mse"}
        The loss.
    num_classes, samples_per_class : int
        K >= 2 and n >= 1.
    dim : int
        Dimension d of the features: at least K - 1, and at least K where the minimiser has rank K
        (non-negative features; squared error without a bias or with a strongly penalised one).
    weight_decay : tuple of float
        :math:`(\lambda_W, \lambda_H)` or :math:`(\lambda_W, \lambda_H, \lambda_b)`, the first two
        positive, the last at least 0 (its default), all with the factor ½.
    bias : bool, optional
        Whether the model has a bias. Only then is there a :math:`\lambda_b`.
    nonnegative : bool, optional
        Whether features must be non-negative, as after a ReLU.
    device : torch.device, optional
        Of the result, which is float64.
    **loss_parameters
        Those of the loss.

    Returns
    -------
    Minimizer

    Raises
    ------
    ValueError
        For an unknown loss or parameter, weight decays out of range, K < 2, n < 1, d too small.

    Notes
    -----
    With P the projection :math:`I - \frac1K \mathbf 1 \mathbf 1^\top`, the logits of the classes
    are :math:`a P + \frac{\tau}{K} \mathbf 1 \mathbf 1^\top`, plus the bias. CE has :math:`a =
    \log(\frac1c - (K-1))` and :math:`\tau = 0`, and W = H = 0 if :math:`Kc \ge 1`; LS has :math:`c
    + \frac\alpha K` in place of c; FL is the root of :math:`\psi'(-(K-1)a) = c`, or 0 beyond the
    critical c. MSE has :math:`a = \tau = 1 - Kc` without bias; with one, :math:`a = 1 - Kc` and
    either :math:`b = \frac1{K(1+\lambda_b)}, \tau = 0`, or, if :math:`\lambda_b > \frac{Kc}{1-Kc}`,
    :math:`b = \frac{c}{\lambda_b}, \tau = a - \frac{Kc}{\lambda_b}`. For non-negative features,
    class means are orthogonal; CE, LS and FL have :math:`c \sqrt{K/(K-1)}` in place of c, and for
    MSE a scalar root remains.

    FL with a bias: proved for c < 1/(K-1); beyond, this is the best solution of the symmetric form.

    References
    ----------
    Zhu et al. (2021), theorem 3.1; Zhou et al. (2022a, 2022b); Tirer and Bruna (2022), theorem 3.1;
    Hong and Ling (2024) for non-negative features; lecture 003, "Geometric Analysis for
    Unconstrained Features Model II"; lecture 004.

    Examples
    --------
    >>> best = global_minimizer("ce", 4, 5, dim=3, weight_decay=(0.01, 0.01, 0.01))
    >>> best.collapsed, best.margin == math.log(1 / math.sqrt(5 * 0.01**2) - 3)
    (True, True)
    >>> global_minimizer("ce", 4, 5, dim=3, weight_decay=(0.2, 0.2, 0.2)).collapsed
    False
    """
    parameters = _checked_parameters(loss, loss_parameters)
    decay_w, decay_h, decay_b = _checked_problem(
        num_classes, samples_per_class, dim, weight_decay, bias
    )
    if decay_w == 0 or decay_h == 0:
        raise ValueError(
            "without weight decay on both W and H there is no minimiser to scale them: "
            f"weight_decay must be positive, got {tuple(weight_decay)}"
        )
    K, c = num_classes, math.sqrt(samples_per_class * decay_w * decay_h)
    if loss == "mse":
        decay = decay_b if bias else None
        a, tau, shift = _squared_error_solution(K, c, decay, nonnegative, *parameters["rescale"])
    else:
        price = c * math.sqrt(K / (K - 1)) if nonnegative else c
        a, tau, shift = _best_margin(loss, K, price, parameters), 0.0, 0.0
    rank = K if a > 0 and (nonnegative or tau > 0) else K - 1
    if dim < rank:
        raise ValueError(
            f"this minimiser has rank {rank}, so dim must be at least {rank}, got {dim}"
        )

    # Orthonormal columns: a basis of the vectors that sum to zero, and the direction of ones.
    centred = simplex_etf(K, K - 1, dtype=torch.float64) * math.sqrt((K - 1) / K)
    basis = torch.cat([centred, torch.full((K, 1), K**-0.5, dtype=torch.float64)], 1)
    values = torch.tensor([a] * (K - 1) + [tau], dtype=torch.float64)
    class_logits = basis @ values.diag() @ basis.T
    if nonnegative:
        means = torch.eye(K, dtype=torch.float64)
        classifier = class_logits
        penalty = c * math.sqrt(K) * float(class_logits.norm())
    else:
        means = classifier = (basis * values.sqrt())[:, :rank]
        penalty = c * float(values.sum())
    if a > 0:  # scale both factors so that λ_W |W|² = λ_H |H|²
        size_w = decay_w * float(classifier.square().sum())
        size_h = decay_h * samples_per_class * float(means.square().sum())
        classifier, means = (
            classifier * (size_h / size_w) ** 0.25,
            means * (size_w / size_h) ** 0.25,
        )
    else:
        means = classifier = torch.zeros(K, rank, dtype=torch.float64)

    offset = torch.full((K,), shift, dtype=torch.float64)
    value = float(_loss(loss, class_logits + offset, torch.arange(K), parameters))
    value += penalty + (decay_b * K * shift**2 / 2 if bias else 0.0)
    room = dim - means.shape[1]
    return Minimizer(
        W=functional.pad(classifier, (0, room)).to(device),
        H=functional.pad(means, (0, room)).repeat_interleave(samples_per_class, 0).to(device),
        b=offset.to(device),
        margin=a,
        objective=value,
        collapsed=a > 0,
    )


def _best_margin(name, num_classes, price, parameters):
    """Margin a >= 0 that minimises ψ(-(K-1)a) + price (K-1) a, for a loss of softmax type."""
    rest = num_classes - 1
    if name != "fl":
        return _margin_for(price + parameters.get("alpha", 0.0) / num_classes, num_classes)
    gamma, last = parameters["gamma"], math.log(num_classes)
    # The slope in a rises up to the inflection, so there is one candidate below it.
    convex_end = min(last, _inflection(gamma))
    if _focal_slope(convex_end, gamma) <= price * rest:
        return 0.0
    logarithm = brentq(
        lambda s: _focal_slope(math.exp(s), gamma) - price * rest, -700, math.log(convex_end)
    )
    x = math.exp(logarithm)
    margin = _margin_at(x, num_classes)
    value = _focal_value(x, gamma) + price * rest * margin
    return margin if value < _focal_value(last, gamma) else 0.0


def _squared_error_solution(num_classes, c, decay_b, nonnegative, kappa, target):
    r"""Solve for (a, τ, b) in the symmetric, convex problem that squared error comes down to.

    The right logit is :math:`\frac{K-1}K a + \frac1K \tau + b`, each wrong one :math:`-\frac1K a +
    \frac1K \tau + b`; a, τ >= 0 are singular values of the class logits and cost :math:`c ((K-1) a
    + \tau)`, or :math:`c \sqrt K \sqrt{(K-1) a^2 + \tau^2}` if features are non-negative.
    ``decay_b`` is None if there is no bias.
    """
    K = num_classes
    logits = np.array([[(K - 1) / K, 1 / K, 1], [-1 / K, 1 / K, 1]])
    weights = np.diag([kappa, K - 1])
    quadratic = logits.T @ weights @ logits
    quadratic[2, 2] += K * (decay_b or 0.0)
    linear = logits.T @ weights @ [target, 0]
    has_bias = decay_b is not None

    def solve(free, extra_quadratic, extra_linear):
        kept, solution = np.flatnonzero(free), np.zeros(3)
        system = (quadratic + extra_quadratic)[np.ix_(kept, kept)]
        solution[kept] = np.linalg.solve(system, (linear - extra_linear)[kept])
        return solution

    multiplicity = np.array([K - 1.0, 1, 0])
    if not nonnegative:
        best, least = None, math.inf
        for active in itertools.product([False, True], repeat=2):
            if active[1] and decay_b == 0:
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
    ValueError
        If K < 2.

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
    _check_num_classes(num_classes)
    K = num_classes
    margin = math.sqrt(K / (K - 1))
    identity = torch.eye(K, dtype=torch.float64)
    return Minimizer(
        W=identity,
        H=margin * (identity - 1 / K),
        b=torch.zeros(K, dtype=torch.float64),
        margin=margin,
        objective=math.log1p((K - 1) * math.exp(-margin)),
        collapsed=True,
    )


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
    ValueError
        For K < 2, n < 1 or d < K - 1.

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
    _checked_problem(num_classes, samples_per_class, dim, (1.0, 1.0), False)
    frame = simplex_etf(num_classes, dim, dtype=torch.float64)
    margin = math.sqrt(num_classes) / (num_classes - 1)
    return Minimizer(
        W=frame / math.sqrt(num_classes),
        H=frame.repeat_interleave(samples_per_class, 0),
        b=torch.zeros(num_classes, dtype=torch.float64),
        margin=margin,
        objective=math.log1p((num_classes - 1) * math.exp(-margin)),
        collapsed=True,
    )


# --- the model and its solver ---------------------------------------------------------------------


class UnconstrainedFeatures(nn.Module):
    r"""The model with its variables, at one point or at many random ones at once.

    Parameters
    ----------
    num_classes, samples_per_class : int
        K >= 2 and n >= 1.
    dim : int
        Dimension d >= K - 1 of the features.
    loss : {"ce", "ls", "fl", "mse"}, optional
        The loss.
    weight_decay : tuple of float
        :math:`(\lambda_W, \lambda_H)` or :math:`(\lambda_W, \lambda_H, \lambda_b)`, none negative.
    bias : bool, optional
        Whether there is a bias.
    nonnegative : bool, optional
        Whether features must be non-negative: :func:`minimize` then keeps them so.
    starts : int, optional
        Number S of independent copies, which are minimised together. Default: one, without the
        leading dimension.
    scale : float, optional
        Typical norm of the random features and classifiers at the start.
    generator : torch.Generator, optional
        Of the random start.
    dtype, device : optional
        Of the variables (default: float64, on the generator's device or the CPU).
    **loss_parameters
        Those of the loss.

    Attributes
    ----------
    W, H, b : torch.nn.Parameter
        Shapes (…, K, d), (…, N, d), (…, K), with S in front if ``starts`` was given; b is None
        without bias.
    labels : Tensor, shape (N,)
        0, …, 0, 1, …, 1, …

    Raises
    ------
    ValueError
        As :func:`global_minimizer`; or if starts < 1.

    References
    ----------
    Mixon et al. (2022); Zhu et al. (2021), equation (3); lecture 003, "Simplification:
    Unconstrained Features II".

    Examples
    --------
    >>> model = UnconstrainedFeatures(3, 5, dim=4, weight_decay=(0.01, 0.01, 0.01), starts=8)
    >>> model.objective().shape, model().shape
    (torch.Size([8]), torch.Size([8, 15, 3]))
    """

    def __init__(
        self,
        num_classes,
        samples_per_class,
        dim,
        *,
        loss="ce",
        weight_decay,
        bias=True,
        nonnegative=False,
        starts=None,
        scale=1.0,
        generator=None,
        dtype=torch.float64,
        device=None,
        **loss_parameters,
    ):
        super().__init__()
        self.loss, self.parameters_of_loss = loss, _checked_parameters(loss, loss_parameters)
        self.weight_decay = _checked_problem(
            num_classes, samples_per_class, dim, weight_decay, bias
        )
        if starts is not None and starts < 1:
            raise ValueError(f"starts must be at least 1, got {starts}")
        self.starts = starts
        self.num_classes, self.samples_per_class, self.dim = num_classes, samples_per_class, dim
        self.nonnegative = nonnegative
        lead = () if starts is None else (starts,)
        source = generator.device if generator is not None else "cpu"

        def normal(*shape):
            sample = torch.randn(*lead, *shape, generator=generator, dtype=dtype, device=source)
            return (sample * scale / math.sqrt(dim)).to(device or source)

        self.W = nn.Parameter(normal(num_classes, dim))
        features = normal(num_classes * samples_per_class, dim)
        self.H = nn.Parameter(features.abs() if nonnegative else features)
        self.b = nn.Parameter(torch.zeros_like(self.W[..., 0])) if bias else None
        labels = torch.arange(num_classes, device=self.W.device)
        self.register_buffer("labels", labels.repeat_interleave(samples_per_class))

    def forward(self):
        """Return the logits, shape (…, N, K)."""
        return _logits(self.W, self.H, self.b)

    def objective(self):
        """Return the objective, shape (…)."""
        return self._objective_at(self.W, self.H, self.b)

    @torch.no_grad()
    def margin(self):
        """Return the smallest margin of a sample (right minus largest wrong logit), shape (…).

        A measurement: no gradient flows through it.
        """
        logits = self()
        chosen = functional.one_hot(self.labels, self.num_classes).bool()
        right = logits.masked_fill(~chosen, -math.inf).amax(-1)
        return (right - logits.masked_fill(chosen, -math.inf).amax(-1)).amin(-1)

    def place(self, W, H, b=None):
        """Move the variables to a point: ``W (…, K, d)``, ``H (…, N, d)``, ``b (…, K)``.

        Returns the model. Shapes that do not fit, a bias that the model lacks, or negative features
        where they must not be raise ValueError and change nothing.
        """
        given = {"W": W, "H": H} | ({} if b is None else {"b": b})
        for name, value in given.items():
            variable = getattr(self, name)
            if variable is None:
                if value.any():
                    raise ValueError("the model has no bias, but b is not zero")
            elif value.shape != variable.shape and not (
                self.starts and value.shape == variable.shape[1:]
            ):
                raise ValueError(
                    f"{name} must have shape {tuple(variable.shape)}, got {tuple(value.shape)}"
                )
        if self.nonnegative and (H < 0).any():
            raise ValueError("H must not have negative entries in this model")
        with torch.no_grad():
            for name, value in given.items():
                if getattr(self, name) is not None:
                    getattr(self, name).copy_(value)
        return self

    def _objective_at(self, W, H, b):
        decay_w, decay_h, decay_b = self.weight_decay
        value = _loss(self.loss, _logits(W, H, b), self.labels, self.parameters_of_loss)
        value = value + decay_w / 2 * W.square().sum((-2, -1))
        value = value + decay_h / 2 * H.square().sum((-2, -1))
        return value if b is None else value + decay_b / 2 * b.square().sum(-1)

    def _objective_and_gradient(self, flat):
        """Return the objective (S,) and its gradient (S, p) at flat points (S, p)."""
        decay_w, decay_h, decay_b = self.weight_decay
        W, H, b = self._unflat(flat)
        logits = H @ W.mT if b is None else torch.baddbmm(b[:, None], H, W.mT)
        value, G = _loss_and_gradient(self.loss, logits, self.labels, self.parameters_of_loss)
        parts = [
            torch.baddbmm(W, G.mT, H, beta=decay_w).flatten(1),
            torch.baddbmm(H, G, W, beta=decay_h).flatten(1),
        ]
        if b is not None:
            parts.append(G.sum(1) + decay_b * b)
        for decay, variable in zip(self.weight_decay, (W, H, b), strict=True):
            if variable is not None:
                value = value + decay / 2 * _dot(variable.flatten(1), variable.flatten(1))[:, 0]
        return value, torch.cat(parts, 1)

    def _flat(self):
        """Return all variables as one tensor, shape (…, K d + N d + K)."""
        return torch.cat(self._rows(), -1).detach()

    def _rows(self):
        """Return W, H and b, if there is one, with their trailing dimensions flattened."""
        return [variable.flatten(0 if self.starts is None else 1) for variable in self.parameters()]

    def _unflat(self, flat):
        """Split what :meth:`_flat` gave into W, H, b."""
        parts = flat.split([row.shape[-1] for row in self._rows()], -1)
        W, H = (part.unflatten(-1, (-1, self.dim)) for part in parts[:2])
        return W, H, (parts[2] if self.b is not None else None)

    def _bounds_and_penalties(self):
        """Return the lower bounds of the flat variables, None if there are none; weight decays."""
        sizes = torch.tensor([row.shape[-1] for row in self._rows()])
        kinds = torch.arange(len(sizes)).repeat_interleave(sizes)
        bounds = torch.tensor([-math.inf, 0.0, -math.inf]).to(self.W)[kinds]
        penalties = torch.tensor(self.weight_decay, dtype=torch.float64).to(self.W)[kinds]
        return (bounds if self.nonnegative else None), penalties


def _logits(W, H, b):
    logits = H @ W.mT
    return logits if b is None else logits + b[..., None, :]


def minimize(
    model,
    *,
    method="lbfgs",
    iterations=2000,
    tolerance=1e-8,
    lr=1.0,
    memory=5,
    metrics=None,
    every=1,
):
    r"""Minimise the objective from where the model stands, all its starts together.

    Parameters
    ----------
    model : UnconstrainedFeatures
        Changed in place.
    method : {"lbfgs", "gd"}, optional
        L-BFGS with a backtracking line search, or gradient descent with a constant step. Both keep
        non-negative features non-negative by projection.
    iterations : int, optional
        Largest number of iterations.
    tolerance : float, optional
        Stop a start when the norm of its (projected) gradient is below this multiple of the norm of
        the penalties' gradient, or below 1e-14. In float32 it is at least 1e-5.
    lr : float, optional
        Step of gradient descent.
    memory : int, optional
        Number of steps from which L-BFGS builds its picture of the curvature.
    metrics : dict of str to callable, optional
        ``name: metric(model)``, recorded as :func:`lecturelib.training.train` does. The objective
        is always recorded, as ``"objective"``.
    every : int or sequence of int, optional
        Iterations between two measurements, of which the last is always one; or the iterations
        after which to measure.

    Returns
    -------
    lecturelib.training.History
        Its ``epochs`` are the iterations.

    Raises
    ------
    ValueError
        For an unknown method, or numbers out of range.
    FloatingPointError
        If gradient descent diverges; the message names the step.

    Notes
    -----
    Every vector of L-BFGS has one row for each start, and the starts share nothing but the calls.
    The projection is Bertsekas's: coordinates at zero whose gradient would make them negative are
    taken out of the direction, then the step is projected.

    References
    ----------
    Nocedal and Wright (2006), algorithm 7.4; Bertsekas (1982) for the projection.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> problem = dict(num_classes=3, samples_per_class=5, dim=4, weight_decay=(0.01, 0.01, 0.01))
    >>> model = UnconstrainedFeatures(**problem, starts=8, generator=generator)
    >>> history = minimize(model)
    >>> exact = global_minimizer("ce", **problem).objective
    >>> bool((model.objective() / exact - 1).abs().max() < 1e-12)
    True
    """
    if method not in ("lbfgs", "gd"):
        raise ValueError(f'method must be "lbfgs" or "gd", got {method!r}')
    if iterations < 1 or memory < 1 or (isinstance(every, int) and every < 1):
        raise ValueError(
            f"iterations, memory and every must be positive, got {iterations}, {memory}, {every}"
        )
    if not (lr > 0 and tolerance >= 0):
        raise ValueError(f"need lr > 0 and tolerance >= 0, got {lr} and {tolerance}")
    metrics = {"objective": lambda model: model.objective()} | (metrics or {})
    history = History()
    due = (lambda i: i % every == 0) if isinstance(every, int) else set(every).__contains__

    def measure(iteration):
        model.place(*model._unflat(point if model.starts else point[0]))
        history.record(iteration, model, metrics)

    point = torch.atleast_2d(model._flat())
    floor, penalty = model._bounds_and_penalties()
    precision = max(tolerance, 100 * torch.finfo(point.dtype).eps)
    value, gradient = model._objective_and_gradient(point)
    if due(0):
        measure(0)
    solver = _Lbfgs(memory, value)
    stuck = torch.zeros_like(value, dtype=torch.bool)
    iteration = 0
    while iteration < iterations:
        # What a bound holds back is no force: Bertsekas's set of free coordinates.
        held = None if floor is None else (point <= floor) & (gradient > 0)
        force = gradient if held is None else gradient.masked_fill(held, 0.0)
        enough = (precision * (penalty * point).norm(dim=-1)).clamp_min(1e-14)
        moving = (force.norm(dim=-1) > enough) & ~stuck
        if not moving.any():
            break
        if method == "gd":
            new = point - torch.where(moving[:, None], lr * force, 0.0)
            new = new if floor is None else torch.maximum(new, floor)
            new_value, new_gradient = model._objective_and_gradient(new)
            if not new_value.isfinite().all():
                raise FloatingPointError(
                    f"gradient descent diverged after {iteration} iterations: "
                    f"try a smaller step than lr={lr}"
                )
        else:
            direction = solver.direction(force)
            if not moving.all():
                direction.masked_fill_(~moving[:, None], 0.0)
            if held is not None:
                direction.masked_fill_(held, 0.0)
            new, new_value, new_gradient, failed = _line_search(
                model, point, value, gradient, direction, floor
            )
            stuck |= failed & solver.fresh  # not even steepest descent finds a lower point
            change = new_gradient - gradient
            if held is not None:
                change.masked_fill_(held, 0.0)
            solver.remember(new - point, change, failed)
        point, value, gradient = new, new_value, new_gradient
        iteration += 1
        if due(iteration):
            measure(iteration)
    if not history.epochs or history.epochs[-1] != iteration:
        measure(iteration)
    return history


class _Lbfgs:
    """The inverse Hessian of each start as its last steps suggest it."""

    def __init__(self, memory, value):
        self.pairs = collections.deque(maxlen=memory)  # of steps, changes of the gradient, 1 / sᵀy
        self.fresh = torch.ones_like(value, dtype=torch.bool)  # per start: is nothing remembered?
        self.size = torch.ones_like(value)[:, None]  # sᵀy / yᵀy of the newest convex step

    def direction(self, force):
        """Descent direction: the two-loop recursion, for all starts (S, p) at once."""
        direction, weights = -force, []
        for step, change, rho in reversed(self.pairs):
            weights.append(rho * _dot(step, direction))
            direction.addcmul_(weights[-1], change, value=-1)
        unit = 1 / force.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(force.dtype).tiny)
        direction.mul_(torch.where(self.fresh[:, None], unit, self.size))
        for step, change, rho in self.pairs:
            direction.addcmul_(weights.pop() - rho * _dot(change, direction), step)
        return direction

    def remember(self, step, change, failed):
        """Add a step and what it did to the gradient; forget everything where the search failed."""
        curvature, square = _dot(step, change), _dot(change, change)
        convex = curvature > 1e-10 * (_dot(step, step) * square).sqrt()
        self.size = torch.where(convex, curvature / square, self.size)
        rho = torch.where(convex, 1 / curvature, 0.0)
        for *_, old in self.pairs:
            old[failed] = 0.0
        self.pairs.append((step, change, rho))
        self.fresh = (self.fresh & ~convex[:, 0]) | failed


def _dot(left, right):
    """Inner products of rows, shape (S, 1)."""
    return torch.linalg.vecdot(left, right)[:, None]


def _line_search(model, point, value, gradient, direction, floor):
    """Step along the direction; halve the steps of those starts whose objective falls too little.

    Returns points, objectives, gradients, and which starts found no lower point and stay.
    """

    def attempt(point, value, gradient, direction, length):
        trial = torch.add(point, direction, alpha=length)
        promised = length * _dot(gradient, direction)[:, 0]
        if floor is not None:
            trial = torch.maximum(trial, floor)
            promised = _dot(gradient, trial - point)[:, 0]
        trial_value, trial_gradient = model._objective_and_gradient(trial)
        rounding = 4 * torch.finfo(value.dtype).eps * value.abs()
        return trial, trial_value, trial_gradient, trial_value <= value + 1e-4 * promised + rounding

    here = point, value, gradient, direction
    *found, good = attempt(*here, 1.0)
    rows = (~good).nonzero()[:, 0]
    for halvings in range(1, 40):
        if len(rows) == 0:
            break
        *again, good = attempt(*(part[rows] for part in here), 0.5**halvings)
        for part, better in zip(found, again, strict=True):
            part[rows[good]] = better[good]
        rows = rows[~good]
    for part, old in zip(found, here, strict=False):
        part[rows] = old[rows]
    failed = torch.zeros_like(value, dtype=torch.bool)
    failed[rows] = True
    return *found, failed


# --- the landscape --------------------------------------------------------------------------------


def convex_objective(Z, b=None, *, samples_per_class, weight_decay, loss="ce", **loss_parameters):
    r"""Objective of the convex twin, in which only the product of the factors is left.

    Parameters
    ----------
    Z : Tensor, shape (…, N, K)
        Logits without the bias, :math:`H W^\top`, class after class.
    b : Tensor, shape (…, K), optional
        Bias.
    samples_per_class : int
        n = N / K.
    weight_decay : tuple of float
        :math:`(\lambda_W, \lambda_H)` or :math:`(\lambda_W, \lambda_H, \lambda_b)`.
    loss : {"ce", "ls", "fl", "mse"}, optional
        The loss; the problem is convex for all but ``"fl"``.
    **loss_parameters
        Those of the loss.

    Returns
    -------
    Tensor, shape (…)

    Raises
    ------
    ValueError
        As :class:`UnconstrainedFeatures`; or for shapes that do not fit.

    Notes
    -----
    The cheapest factors of Z cost its nuclear norm,

    .. math:: \|Z\|_* = \min_{H W^\top = Z} \tfrac12 \big( \|W\|_F^2 + \|H\|_F^2 \big) ,

    so that, with the sizes of the factors chosen best, the penalties are worth

    .. math:: \sqrt{\lambda_W \lambda_H}\, \|Z\|_* + \frac{\lambda_b}{2} \|b\|^2 .

    In the lectures' convention, :math:`\lambda (\|W\|_F^2 + \|H\|_F^2)`, the weight of the nuclear
    norm is :math:`2 \lambda`; the slides have :math:`\lambda`.

    References
    ----------
    Haeffele and Vidal (2015); lecture 003, "Geometric Analysis for Unconstrained Features Model
    IV".

    Examples
    --------
    >>> problem = dict(samples_per_class=5, weight_decay=(0.01, 0.02, 0.01))
    >>> best = global_minimizer("ce", 3, dim=4, **problem)
    >>> abs(float(convex_objective(best.H @ best.W.T, best.b, **problem)) - best.objective) < 1e-12
    True
    """
    parameters = _checked_parameters(loss, loss_parameters)
    if Z.ndim < 2 or Z.shape[-2] != samples_per_class * Z.shape[-1]:
        raise ValueError(
            f"Z must be (…, N, K) with N = {samples_per_class} K, got {tuple(Z.shape)}"
        )
    K = Z.shape[-1]
    decay_w, decay_h, decay_b = _checked_problem(
        K, samples_per_class, K, weight_decay, b is not None
    )
    logits = Z
    if b is not None:
        if b.shape != (*Z.shape[:-2], K) and b.shape != (K,):
            raise ValueError(
                f"b must have shape {(*Z.shape[:-2], K)} or {(K,)}, got {tuple(b.shape)}"
            )
        logits = Z + b[..., None, :]
    labels = torch.arange(K, device=Z.device).repeat_interleave(samples_per_class)
    value = _loss(loss, logits, labels, parameters)
    value = value + math.sqrt(decay_w * decay_h) * torch.linalg.matrix_norm(Z, "nuc")
    return value if b is None else value + decay_b / 2 * b.square().sum(-1)


def hessian_min_eigenvalue(model, *, direction=False):
    """Return the smallest eigenvalue of the objective's Hessian where the model stands.

    Parameters
    ----------
    model : UnconstrainedFeatures
        At one point (no ``starts``), in float64.
    direction : bool, optional
        Whether to return the eigenvector, too.

    Returns
    -------
    float, or (float, tuple)
        The eigenvalue; the unit eigenvector as ``(W, H, b)``, b None without bias. Negative at a
        strict saddle; 0 at a minimiser if rotations leave the objective as it is.

    Raises
    ------
    ValueError
        If the model holds several starts.

    Notes
    -----
    Lanczos's method, to 1e-10 of the largest eigenvalue. The Hessian, whose size is the square of
    the number of variables, is never formed: each step needs one product of it with a vector, which
    costs about two gradients.

    References
    ----------
    Pearlmutter (1994), for products with the Hessian.

    Examples
    --------
    >>> model = UnconstrainedFeatures(3, 2, dim=4, weight_decay=(0.01, 0.01, 0.01))
    >>> hessian_min_eigenvalue(saddle(model)) < -0.1  # at W = H = b = 0
    True
    """
    if model.starts is not None:
        raise ValueError("the Hessian is taken at one point: make a model without starts")
    point = model._flat().requires_grad_()
    value = model._objective_at(*model._unflat(point))
    (gradient,) = torch.autograd.grad(value, point, create_graph=True)

    def product(vector):
        return torch.autograd.grad(gradient, point, vector, retain_graph=True)[0]

    eigenvalue, vector = _lanczos_smallest(product, len(point), point)
    return (eigenvalue, model._unflat(vector)) if direction else eigenvalue


def _lanczos_smallest(product, size, like, tolerance=1e-10):
    """Smallest eigenvalue and unit eigenvector of a symmetric matrix, given by its products.

    All Lanczos vectors are kept and orthogonalised twice, so that clustered eigenvalues do no harm.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=generator, dtype=like.dtype).to(like.device)
    basis = [start / start.norm()]
    diagonal, beside = [], []
    while True:
        vector = product(basis[-1])
        diagonal.append(vector @ basis[-1])
        stacked = torch.stack(basis)
        for _ in range(2):
            vector = vector - stacked.T @ (stacked @ vector)
        beside.append(vector.norm())
        off = torch.stack(beside[:-1]) if len(beside) > 1 else like.new_zeros(0)
        ritz_matrix = torch.stack(diagonal).diag() + off.diag(1) + off.diag(-1)
        values, vectors = torch.linalg.eigh(ritz_matrix)
        residual = beside[-1] * vectors[-1, 0].abs()
        if len(basis) == size or residual <= tolerance * values.abs().max():
            eigenvector = stacked.T @ vectors[:, 0]
            return float(values[0]), (eigenvector / eigenvector.norm()).detach()
        basis.append(vector / beside[-1])


def saddle(model, groups=1):
    r"""Return a copy of the model at a critical point that merges classes.

    Parameters
    ----------
    model : UnconstrainedFeatures
        Gives the problem; with a leading dimension of starts or not.
    groups : int, optional
        Number m of groups of :math:`g = K/m` classes each; m divides K. One group is W = H = 0;
        each m between 1 and K gives a saddle of rank m - 1; K groups are a simplex ETF, which is
        the minimiser itself wherever that is one.

    Returns
    -------
    UnconstrainedFeatures
        Without starts, its gradient zero up to rounding.

    Raises
    ------
    ValueError
        If m does not divide K; if features must be non-negative; if W or H has no weight decay, or
        so much that there is no such point but zero.

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
    >>> problem = dict(num_classes=4, samples_per_class=3, dim=5, weight_decay=(0.01, 0.01))
    >>> model = saddle(UnconstrainedFeatures(**problem, bias=False), groups=2)
    >>> int(torch.linalg.matrix_rank(model.W))
    1
    """
    K, m = model.num_classes, groups
    if not 1 <= m <= K or K % m:
        raise ValueError(f"groups must divide the number of classes, {K}, got {m}")
    if model.nonnegative:
        raise ValueError("these points have negative features, which this model excludes")
    g, parameters = K // m, model.parameters_of_loss
    decay_w, decay_h, decay_b = model.weight_decay
    if decay_w == 0 or decay_h == 0:
        raise ValueError(f"weight decay must be positive for W and H, got {model.weight_decay}")
    c = math.sqrt(model.samples_per_class * decay_w * decay_h)
    has_bias = model.b is not None
    a, shift = 0.0, 0.0
    if model.loss == "mse":
        kappa, target = parameters["rescale"]
        # Logits of the right class, of the rest of its group, of the other groups: (by a, by b).
        logits = np.array([[1 - 1 / m, 1], [1 - 1 / m, 1], [-1 / m, 1]])
        weights = np.diag([kappa, g - 1, K - g])
        quadratic = logits.T @ weights @ logits + np.diag([0, K * decay_b])
        linear = logits.T @ weights @ [target, 0, 0] - [c * (K - g), 0]
        kept, solution = np.flatnonzero([m > 1, has_bias]), np.zeros(2)
        solution[kept] = np.linalg.solve(quadratic[np.ix_(kept, kept)], linear[kept])
        a, shift = solution.tolist()
    elif m > 1 and model.loss == "fl":
        gamma = parameters["gamma"]

        def excess(x):
            return _focal_slope(x, gamma, merged=g) - c * (K - g)

        lowest = math.log(g) + 1e-300
        # Where focal loss is not convex, the excess may be negative at both ends.
        grid = np.linspace(lowest, math.log(K), 2001)[1:]
        rising = next((x for x in grid if excess(x) > 0), None)
        if rising is not None:
            a = _margin_at(brentq(excess, lowest, rising, xtol=1e-15), K, merged=g)
    elif m > 1:
        a = _margin_for(c + parameters.get("alpha", 0.0) / K, K, merged=g)
    if m > 1 and a <= 0:
        raise ValueError("with this weight decay the classes merge completely: groups must be 1")

    point = UnconstrainedFeatures(
        K,
        model.samples_per_class,
        model.dim,
        loss=model.loss,
        weight_decay=model.weight_decay if has_bias else (decay_w, decay_h),
        bias=has_bias,
        generator=torch.Generator(),  # leaves torch's own random numbers as they are
        dtype=model.W.dtype,
        device=model.W.device,
        **parameters,
    )
    frame = torch.zeros(K, model.dim, dtype=torch.float64)
    if m > 1:
        centred = simplex_etf(m, model.dim, dtype=torch.float64) * math.sqrt(a * (m - 1) / m)
        frame = centred.repeat_interleave(g, 0)
    ratio = (model.samples_per_class * decay_h / decay_w) ** 0.25
    features = (frame / ratio).repeat_interleave(model.samples_per_class, 0)
    offset = torch.full((K,), shift, dtype=torch.float64)
    return point.place(frame * ratio, features, offset if has_bias else None)


# --- checks ---------------------------------------------------------------------------------------


def _checked_parameters(name, given):
    """Return all parameters of the loss; complain about the name, or a parameter out of range."""
    if name not in PARAMETERS:
        raise ValueError(f"loss must be one of {', '.join(PARAMETERS)}, got {name!r}")
    if unknown := set(given) - set(PARAMETERS[name]):
        allowed = ", ".join(PARAMETERS[name]) or "no parameters"
        raise ValueError(f'loss "{name}" takes {allowed}, got {", ".join(sorted(unknown))}')
    parameters = PARAMETERS[name] | given
    if name == "ls" and not 0 <= parameters["alpha"] < 1:
        raise ValueError(f"label smoothing needs 0 <= alpha < 1, got {parameters['alpha']}")
    if name == "fl" and not 0 <= parameters["gamma"] < math.inf:
        raise ValueError(f"focal loss needs gamma >= 0, got {parameters['gamma']}")
    if name == "mse":
        rescale = parameters["rescale"]
        if len(rescale) != 2 or not all(0 < number < math.inf for number in rescale):
            raise ValueError(f"rescale must be two positive numbers, got {rescale}")
    return parameters


def _check_num_classes(num_classes):
    if num_classes < 2:
        raise ValueError(f"need num_classes >= 2, got {num_classes}")


def _checked_problem(num_classes, samples_per_class, dim, weight_decay, bias):
    """Return the three weight decays; complain about sizes or weight decays out of range."""
    _check_num_classes(num_classes)
    if samples_per_class < 1:
        raise ValueError(f"need samples_per_class >= 1, got {samples_per_class}")
    if dim < num_classes - 1:
        raise ValueError(
            f"{num_classes} classes need dim >= {num_classes - 1} to collapse, got {dim}"
        )
    decays = tuple(map(float, weight_decay)) if isinstance(weight_decay, (tuple, list)) else ()
    if len(decays) not in (2, 3):
        raise ValueError(f"weight_decay must be (λ_W, λ_H) or (λ_W, λ_H, λ_b), got {weight_decay}")
    if not all(0 <= decay < math.inf for decay in decays):
        raise ValueError(f"weight decay must not be negative, got {weight_decay}")
    if len(decays) == 3 and not bias:
        raise ValueError(f"λ_b = {decays[2]} given, but the model has no bias (bias=False)")
    return decays if len(decays) == 3 else (*decays, 0.0)
