r"""Losses of classification as objects: one family, from cross-entropy to squared error.

A loss is called with logits and labels, as those of torch are. Beyond that it knows its gradient in
closed form, the least value that it can have at a given contrast of the logits, and the margin that
is best when contrast has a price. Solvers and theorems need no more of it.

Logits z of a sample of class y have K entries, and :math:`\mathrm{CE} = \log \sum_j e^{z_j} - z_y`.
Their *contrast* is :math:`t = \sum_{j \ne y} (z_j - z_y)`; where all wrong logits are equal, and
the right one is larger by the margin a, it is :math:`t = -(K-1) a`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

from lecturelib import checks

__all__ = [
    "ContrastiveCheck",
    "CrossEntropy",
    "FocalLoss",
    "LabelSmoothing",
    "Loss",
    "SquaredError",
    "check_contrastive",
]


class Loss(ABC):
    r"""What every loss can do.

    Notes
    -----
    A loss of your own inherits from this class. It defines ``_values(logits, index, true)``, the
    loss of every sample, shape (…, N, 1), where ``true = logits.gather(-1, index)`` is its right
    logit, with operations that autograd can follow; :meth:`bound`, which is ψ; and :meth:`margin`.
    The unconstrained features model takes it as it takes those below. A network can be trained
    with any function of logits and labels.

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    >>> CrossEntropy()(logits, labels).isclose(functional.cross_entropy(logits, labels))
    tensor(True)
    >>> FocalLoss(gamma=0)(logits, labels) == CrossEntropy()(logits, labels)
    tensor(True)

    The squared hinge, :math:`\frac12 \sum_{j \ne y} \max(0, 1 + z_j - z_y)^2`:

    >>> class SquaredHinge(Loss):
    ...     def _values(self, logits, index, true):
    ...         excess = (1 + logits - true).clamp_min(0).scatter(-1, index, 0)
    ...         return excess.square().sum(-1, keepdim=True) / 2
    ...
    ...     def bound(self, contrast, num_classes):
    ...         others = num_classes - 1
    ...         mean = torch.as_tensor(contrast, dtype=torch.float64) / others
    ...         return others * (1 + mean).clamp_min(0).square() / 2
    ...
    ...     def margin(self, price, num_classes, group=1):
    ...         return max(0.0, 1 - price)  # 1 - a is what a unit of contrast earns
    >>> value, gradient = SquaredHinge().value_and_gradient(logits, labels)
    >>> float(value), gradient.tolist()
    (0.25, [[0.0, 0.0], [0.5, -0.5]])
    >>> check_contrastive(SquaredHinge(), num_classes=10).unique
    True
    """

    def __call__(self, logits, labels):
        """Return the mean loss.

        Parameters
        ----------
        logits : Tensor, shape (…, N, K)
            Scores z, floating point.
        labels : Tensor, shape (N,)
            Classes y in 0 .. K-1, the same for all leading dimensions.

        Returns
        -------
        Tensor, shape (…)
            Mean over the N samples.

        Raises
        ------
        TypeError, ValueError
            If they do not fit each other.
        """
        logits, index = _checked(logits, labels)
        true = logits.gather(-1, index)
        return self._values(logits, index, true).mean((-2, -1))

    def value_and_gradient(self, logits, labels):
        """Return the mean loss and its gradient, which autograd takes twice as long to find.

        Parameters
        ----------
        logits : Tensor, shape (…, N, K)
            Scores z, floating point.
        labels : Tensor, shape (N,)
            Classes y in 0 .. K-1.

        Returns
        -------
        value : Tensor, shape (…)
            Mean over the N samples.
        gradient : Tensor, shape (…, N, K)
            Its derivative by the logits; neither carries a graph of its own.

        Raises
        ------
        TypeError, ValueError
            If they do not fit each other.
        """
        logits, index = _checked(logits.detach() if isinstance(logits, Tensor) else logits, labels)
        values, gradient = self._values_and_gradients(logits, index, logits.gather(-1, index))
        return values.mean((-2, -1)), gradient.div_(logits.shape[-2])

    @abstractmethod
    def _values(self, logits, index, true):
        """Loss of every sample (…, N, 1), given its right logit ``true`` (…, N, 1)."""

    def _values_and_gradients(self, logits, index, true):
        """Loss of every sample (…, N, 1) and its gradient (…, N, K), a new tensor."""
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            values = self._values(logits, index, logits.gather(-1, index))
            (gradient,) = torch.autograd.grad(values.sum(), logits)
        return values.detach(), gradient

    @abstractmethod
    def bound(self, contrast, num_classes):
        r"""Return ψ(t), the least loss of a sample at a given contrast.

        Parameters
        ----------
        contrast : Tensor or float
            :math:`t = \sum_{j \ne y} (z_j - z_y)`.
        num_classes : int
            K, at least 2.

        Returns
        -------
        Tensor
            Of the contrast's shape; float64 if that is a number.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Notes
        -----
        For cross-entropy, label smoothing and focal loss it is attained exactly where all wrong
        logits are equal; for squared error the sum of the logits must be the right one as well,
        which takes a bias that is free.

        References
        ----------
        Zhou et al. (2022), "Are all losses created equal", definition 1; lecture 003, "Are All
        Loses Created Equal?—A NC Perspective I".
        """

    @abstractmethod
    def margin(self, price, num_classes, group=1):
        r"""Return the margin that is best when one unit of contrast costs a price.

        Parameters
        ----------
        price : float
            :math:`c > 0`.
        num_classes : int
            K, at least 2.
        group : int, optional
            Number g < K of classes, the right one among them, that share one logit; the others
            share another, smaller by the margin.

        Returns
        -------
        float
            The :math:`a \ge 0` that minimises :math:`\psi(-(K-1) a) + c\, (K-1)\, a`; for g > 1
            the least loss of such logits, plus :math:`c\, (K-g)\, a`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """


@dataclass(frozen=True)
class CrossEntropy(Loss):
    r"""Cross-entropy, :math:`-\log p_y` with :math:`p = \operatorname{softmax}(z)`.

    Notes
    -----
    :math:`\psi(t) = \log\big(1 + (K-1) e^{t/(K-1)}\big)`, and the best margin at the price c is
    :math:`\log\big(\tfrac1c - (K-1)\big)`, or zero if :math:`Kc \ge 1`.

    References
    ----------
    Lecture 003, "Setup: Image Classification Problem"; Zhu et al. (2021), theorem 3.1.

    Examples
    --------
    >>> round(CrossEntropy().margin(price=0.01, num_classes=2), 3)
    4.595
    >>> bool(CrossEntropy().bound(0.0, num_classes=10).isclose(torch.tensor(10.0).double().log()))
    True
    """

    def bound(self, contrast, num_classes):
        """See :meth:`Loss.bound`."""
        contrast, rest = _contrast(contrast, num_classes)
        return functional.softplus(contrast / rest + math.log(rest), threshold=50)

    def margin(self, price, num_classes, group=1):
        """See :meth:`Loss.margin`; with groups, cross-entropy is log(g + (K-g) e^-a)."""
        price, num_classes, group = _price(price, num_classes, group)
        return _cross_entropy_margin(price, num_classes, group)

    def _values(self, logits, index, true):
        return logits.logsumexp(-1, keepdim=True) - true

    def _values_and_gradients(self, logits, index, true):
        log_sum = logits.logsumexp(-1, keepdim=True)
        gradient = (logits - log_sum).exp_().scatter_add_(-1, index, -torch.ones_like(true))
        return log_sum - true, gradient


@dataclass(frozen=True)
class LabelSmoothing(Loss):
    r"""Cross-entropy with labels of which a share is spread over all classes.

    Parameters
    ----------
    alpha : float, optional
        The share :math:`\alpha` in [0, 1).

    Notes
    -----
    :math:`(1 - \alpha)\, \mathrm{CE} - \frac\alpha K \sum_j \log p_j`, that is cross-entropy plus
    :math:`\alpha (z_y - \bar z)`. So :math:`\psi = \psi_{\mathrm{CE}} - \frac\alpha K t`, and the
    best margin is that of cross-entropy at the price :math:`c + \frac\alpha K`.

    References
    ----------
    Szegedy et al. (2016); lecture 003, "Label Smoothing (LS)".

    Examples
    --------
    >>> loss = LabelSmoothing(0.1)
    >>> loss.margin(0.01, num_classes=10) == CrossEntropy().margin(0.02, num_classes=10)
    True
    """

    alpha: float = 0.1

    def __post_init__(self):
        checks.number("alpha", self.alpha, least=0, below=1)

    def bound(self, contrast, num_classes):
        """See :meth:`Loss.bound`."""
        contrast, _ = _contrast(contrast, num_classes)
        return CrossEntropy().bound(contrast, num_classes) - self.alpha / num_classes * contrast

    def margin(self, price, num_classes, group=1):
        """See :meth:`Loss.margin`."""
        price, num_classes, group = _price(price, num_classes, group)
        return _cross_entropy_margin(price + self.alpha / num_classes, num_classes, group)

    def _values(self, logits, index, true):
        smoothing = self.alpha * (true - logits.mean(-1, keepdim=True))
        return CrossEntropy()._values(logits, index, true) + smoothing

    def _values_and_gradients(self, logits, index, true):
        values, gradient = CrossEntropy()._values_and_gradients(logits, index, true)
        gradient.scatter_add_(-1, index, torch.full_like(true, self.alpha))
        gradient -= self.alpha / logits.shape[-1]
        return values + self.alpha * (true - logits.mean(-1, keepdim=True)), gradient


@dataclass(frozen=True)
class FocalLoss(Loss):
    r"""Cross-entropy that counts little where the sample is right already.

    Parameters
    ----------
    gamma : float, optional
        The exponent :math:`\gamma \ge 0`.

    Notes
    -----
    :math:`(1 - p_y)^\gamma\, \mathrm{CE} = \varphi(\mathrm{CE})` with :math:`\varphi(x) =
    (1 - e^{-x})^\gamma x`. As a function of the contrast it is convex exactly where the
    cross-entropy is at most :attr:`inflection`. For so many classes that :math:`\log K` is more,
    the best margin jumps to zero, at a price :math:`c > 1/K`. For fewer it runs into zero at
    :math:`Kc = \varphi'(\log K)`, which is below 1 for very few: for two and three at
    :math:`\gamma = 3`.

    References
    ----------
    Lin et al. (2017); lecture 003, "Focal Loss (FL)".

    Examples
    --------
    >>> FocalLoss(3.0).margin(0.01, num_classes=10) < CrossEntropy().margin(0.01, num_classes=10)
    True
    """

    gamma: float = 2.0

    def __post_init__(self):
        checks.number("gamma", self.gamma, least=0)

    @property
    def inflection(self):
        r"""Cross-entropy up to which focal loss is convex in the contrast, a float.

        The root of :math:`x \big(1 - \frac{\gamma}{e^x - 1}\big) = 2 + \frac1\gamma`, whose left
        side increases; infinity for :math:`\gamma = 0`.
        """
        gamma = self.gamma

        def excess(x):
            return x * (1 - gamma / math.expm1(x)) - 2 - 1 / gamma

        if gamma == 0:
            return math.inf
        lower = math.log1p(gamma)  # the left side is 0 there
        upper = lower + 1
        while upper < 700 and excess(upper) < 0:
            upper *= 2
        return brentq(excess, lower, upper, xtol=1e-14) if upper < 700 else math.inf

    def bound(self, contrast, num_classes):
        """See :meth:`Loss.bound`."""
        return self.of_cross_entropy(CrossEntropy().bound(contrast, num_classes))

    def margin(self, price, num_classes, group=1):
        """See :meth:`Loss.margin`."""
        price, num_classes, group = _price(price, num_classes, group)
        cost, least = price * (num_classes - group), math.log(group)
        last = math.log(num_classes / group)

        def excess(rise):
            """Slope in the margin minus the cost, where cross-entropy is log g + rise."""
            rise = torch.as_tensor(rise, dtype=torch.float64)
            return self._derivative(least + rise) * -torch.expm1(-rise) - cost

        # From 0 the slope goes up to one peak and down again: proved for g = 1, seen for others.
        # Where it passes the cost on its way up is the only minimum with a positive margin.
        if group == 1:
            steep = min(last, self.inflection)
        else:
            grid = torch.linspace(0, last, 2001, dtype=torch.float64)
            steep = float(grid[excess(grid).argmax()])
        if excess(steep) <= 0:
            return 0.0
        rise = math.exp(brentq(lambda s: float(excess(math.exp(s))), -700, math.log(steep)))
        margin = math.log((num_classes - group) / (group * math.expm1(rise)))
        value = self.of_cross_entropy(least + rise) + cost * margin
        return margin if value < self.of_cross_entropy(least + last) else 0.0

    def of_cross_entropy(self, cross_entropy):
        """Return focal loss where the cross-entropy is known.

        Parameters
        ----------
        cross_entropy : float or Tensor
            Cross-entropy x, not negative.

        Returns
        -------
        float or Tensor
            The loss φ(x), of the same kind.

        Raises
        ------
        TypeError, ValueError
            If it is neither.
        """
        if isinstance(cross_entropy, Tensor | np.ndarray):
            x = checks.tensor("cross_entropy", cross_entropy, finite=False)
            return _wrong(x) ** self.gamma * x
        x = checks.number("cross_entropy", cross_entropy, least=0)
        return float(self.of_cross_entropy(torch.tensor(x, dtype=torch.float64)))

    def slope(self, cross_entropy):
        """Return how fast focal loss rises as the margin falls.

        Parameters
        ----------
        cross_entropy : float
            Cross-entropy x, not negative.

        Returns
        -------
        float
            The slope φ'(x) (1 - e^-x).

        Raises
        ------
        TypeError, ValueError
            If it is no number, or negative.
        """
        x = checks.number("cross_entropy", cross_entropy, least=0)
        return float(self._derivative(torch.tensor(x, dtype=torch.float64))) * -math.expm1(-x)

    def _derivative(self, cross_entropy):
        wrong, right = _wrong(cross_entropy), torch.exp(-cross_entropy)
        return wrong**self.gamma + self.gamma * wrong ** (self.gamma - 1) * right * cross_entropy

    def _values(self, logits, index, true):
        return self.of_cross_entropy(CrossEntropy()._values(logits, index, true))

    def _values_and_gradients(self, logits, index, true):
        values, gradient = CrossEntropy()._values_and_gradients(logits, index, true)
        gradient *= self._derivative(values)
        return self.of_cross_entropy(values), gradient


@dataclass(frozen=True)
class SquaredError(Loss):
    r"""Half the squared distance from one-hot labels, rescaled if wanted.

    Parameters
    ----------
    kappa : float, optional
        Weight :math:`\kappa > 0` of the right class.
    target : float, optional
        Score :math:`M > 0` that the right class should have.

    Notes
    -----
    :math:`\frac12 \big( \kappa (z_y - M)^2 + \sum_{j \ne y} z_j^2 \big)`, at (1, 1) K/2 times
    torch's ``mse_loss`` against one-hot labels. If the sum of the logits is free,

    .. math:: \psi(t) = \frac{\kappa (K-1)}{2 (\kappa + K - 1)} \Big(M + \frac{t}{K-1}\Big)^2 ,

    and the best margin is :math:`M - c\, (\kappa + K - 1) / \kappa`, or zero.

    References
    ----------
    Hui and Belkin (2021); lecture 003, "Mean-squared Error (MSE) Loss?".

    Examples
    --------
    >>> SquaredError().margin(0.01, num_classes=10)  # 1 - Kc
    0.9
    """

    kappa: float = 1.0
    target: float = 1.0

    def __post_init__(self):
        checks.number("kappa", self.kappa, above=0)
        checks.number("target", self.target, above=0)

    def bound(self, contrast, num_classes):
        """See :meth:`Loss.bound`."""
        contrast, rest = _contrast(contrast, num_classes)
        share = self.kappa * rest / (2 * (self.kappa + rest))
        return share * (self.target + contrast / rest).square()

    def margin(self, price, num_classes, group=1):
        """See :meth:`Loss.margin`; the sum of the logits is free."""
        price, num_classes, group = _price(price, num_classes, group)
        pull = self.kappa * self.target - price * (self.kappa + num_classes - 1)
        return max(0.0, pull / (self.kappa + group - 1))

    def _values(self, logits, index, true):
        others = logits.scatter(-1, index, 0).square().sum(-1, keepdim=True)
        return (self.kappa * (true - self.target).square() + others) / 2

    def _values_and_gradients(self, logits, index, true):
        gradient = logits.scatter(-1, index, self.kappa * (true - self.target))
        return self._values(logits, index, true), gradient


def margin_at(cross_entropy, num_classes):
    """Return the margin a at which log(1 + (K-1) e^-a) is a given cross-entropy.

    Parameters
    ----------
    cross_entropy : float
        Positive.
    num_classes : int
        Number K of classes.

    Returns
    -------
    float
        The margin.

    Examples
    --------
    >>> round(margin_at(math.log(1 + 9 * math.exp(-2)), num_classes=10), 12)
    2.0
    """
    return math.log((num_classes - 1) / math.expm1(cross_entropy))


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
        by trying, at 3001 points of t ≤ 0: ψ does not fall at 0, its second derivative is nowhere
        negative, and where it is 0, ψ does not rise along a straight line.
    first_failure : int or None
        The smallest number of classes for which condition 2 fails, with the same parameters; None
        if there is none (below 2^53).
    critical_c : float or None
        Where condition 2 fails for focal loss: the c at which the minimiser jumps to 0.
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


def check_contrastive(loss, num_classes):
    r"""Test the contrastive property of a loss.

    Parameters
    ----------
    loss : Loss
        The loss.
    num_classes : int
        K, at least 2.

    Returns
    -------
    ContrastiveCheck
        What holds, and where it stops to hold.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    ψ is convex for cross-entropy, label smoothing and squared error. Focal loss is convex in t up
    to the cross-entropy :attr:`FocalLoss.inflection`, which does not depend on K. On :math:`t \le
    0`, cross-entropy goes up to log K: so condition 2 holds if and only if log K is no larger.
    Beyond, ψ has a tangent that touches it at some t < 0 and passes through (0, ψ(0)); its slope is
    the critical c.

    References
    ----------
    Zhou et al. (2022), "Are all losses created equal", definition 1; lecture 003, "Are All Loses
    Created Equal?—A NC Perspective II", says that focal loss has the property.

    Examples
    --------
    >>> check_contrastive(LabelSmoothing(0.1), 1000).holds
    True
    >>> check = check_contrastive(FocalLoss(3), 100)
    >>> check.holds, check.first_failure
    (False, 18)
    """
    if not isinstance(loss, Loss):
        raise checks.wrong("loss", "a loss of lecturelib.losses", loss, TypeError)
    num_classes = checks.integer("num_classes", num_classes, least=2)
    lower_bound = _is_lower_bound(loss, num_classes)

    # Condition 2, tried too: convex on t <= 0 (up to margins of 30, where it may underflow to 0).
    contrasts = -(num_classes - 1) * torch.linspace(0, 30, 3001, dtype=torch.float64)
    contrasts.requires_grad_()
    psi = loss.bound(contrasts, num_classes)
    (slope,) = torch.autograd.grad(psi.sum(), contrasts, create_graph=True)
    bend = torch.zeros_like(slope)
    if slope.requires_grad:  # autograd keeps no graph of a ψ made of straight pieces
        (bend,) = torch.autograd.grad(slope.sum(), contrasts, materialize_grads=True)
    straight = (bend == 0) & (slope > 1e-100)  # at a price equal to the slope, all of it is best
    unique = bool((bend >= 0).all() and slope[0] >= 0 and not straight.any())

    inflection = loss.inflection if isinstance(loss, FocalLoss) else math.inf
    first_failure = None
    if inflection < math.log(2.0**53):
        first_failure = max(2, math.floor(math.exp(inflection)) + 1)
    if unique or not isinstance(loss, FocalLoss):
        return ContrastiveCheck(lower_bound, unique, first_failure, None, None)

    ends = loss.of_cross_entropy(math.log(num_classes))

    def gap_at_zero(x):
        """How far above ψ(0) the tangent at cross-entropy x passes t = 0."""
        return loss.of_cross_entropy(x) + loss.slope(x) * margin_at(x, num_classes) - ends

    touch = brentq(gap_at_zero, 1e-12, inflection, xtol=1e-14)
    critical_c = loss.slope(touch) / (num_classes - 1)
    return ContrastiveCheck(
        lower_bound, unique, first_failure, critical_c, margin_at(touch, num_classes)
    )


def _is_lower_bound(loss, num_classes):
    """Try condition 1 on random logits of class 0."""
    generator = torch.Generator().manual_seed(0)
    trials = min(4096, max(16, 2**24 // num_classes))
    logits = 3 * torch.randn(trials, 1, num_classes, generator=generator, dtype=torch.float64)
    contrast = logits.sum(-1) - num_classes * logits[..., 0]
    least = loss.bound(contrast, num_classes)[:, 0]
    gap = loss(logits, torch.zeros(1, dtype=torch.int64)) - least
    wrong_spread = logits[..., 1:].std(-1, correction=0)[:, 0]
    strict = (wrong_spread > 1e-6) & (least > 1e-12)  # below, both sides may underflow to 0
    return bool((gap >= -1e-12).all() and (gap[strict] > 0).all())


def _cross_entropy_margin(price, num_classes, group):
    if num_classes * price >= 1:
        return 0.0
    return math.log((1 / price - (num_classes - group)) / group)


def _wrong(cross_entropy):
    """Probability 1 - e^-x of the wrong classes, kept from 0 so that its powers have slopes."""
    wrong = -torch.expm1(-cross_entropy)
    return wrong.clamp_min(torch.finfo(wrong.dtype).tiny)


def _checked(logits, labels):
    """Return logits, and the place of each sample's right one, shape (…, N, 1)."""
    logits = checks.tensor("logits", logits, ("…", "N", "K"), finite=False)
    *_, samples, num_classes = logits.shape
    # Elsewhere a look at the values would wait for the device in every step of a training.
    known = num_classes if logits.device.type == "cpu" else None
    labels = checks.labels("labels", labels, samples, known)
    return logits, labels.expand(logits.shape[:-1])[..., None]


def _contrast(contrast, num_classes):
    """Return the contrast as a tensor, and K - 1."""
    num_classes = checks.integer("num_classes", num_classes, least=2)
    if not isinstance(contrast, Tensor | np.ndarray):
        contrast = torch.tensor(checks.number("contrast", contrast), dtype=torch.float64)
    return checks.tensor("contrast", contrast, finite=False), num_classes - 1


def _price(price, num_classes, group):
    num_classes = checks.integer("num_classes", num_classes, least=2)
    group = checks.integer("group", group, 1, num_classes - 1)
    return checks.number("price", price, above=0), num_classes, group
