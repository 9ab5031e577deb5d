"""What collapsed classifiers of two neurons do to new samples."""

import math

import numpy as np
import torch
from scipy.linalg import null_space
from scipy.optimize import nnls
from scipy.special import ndtr, owens_t

from lecturelib import checks
from lecturelib.shallow_feasibility.certificates import labelled_samples
from lecturelib.shallow_feasibility.laws import checked_means

__all__ = ["best_neurons", "misclassification_rate"]

TINY = torch.finfo(torch.float64).tiny  # stands for zero in a denominator


def best_neurons(inputs, labels, means):
    r"""Of all collapsed neurons, those that miss the fewest new samples of their class.

    A collapsed neuron of class k answers the same, not less than zero, to all samples of its class,
    and at most zero to all others. It misses a new sample of its class, with the mean
    :math:`\mu_k`, if it does not fire.

    Parameters
    ----------
    inputs : Tensor, shape (…, N, d)
        Training samples; leading dimensions are independent data sets.
    labels : Tensor, shape (N,)
        Their classes.
    means : Tensor, shape (K, d)
        Class means of the new samples.

    Returns
    -------
    Tensor, shape (…, K, d), float64
        A unit vector for every class; zero where no collapsed neuron fires for more than half of
        the new samples.

    Raises
    ------
    TypeError, ValueError
        If the data are not as described, or there are not as many means as classes.

    Notes
    -----
    With Gaussian noise of standard deviation :math:`\sigma`, a neuron misses a share
    :math:`\Phi(-\mu_k^\top \beta / \sigma \|\beta\|)` of its class. Collapsed neurons form a cone,
    so the best of them is the projection of :math:`\mu_k` onto this cone, which non-negative least
    squares gives.

    References
    ----------
    The chapter derives it; Lawson and Hanson (1974), chapter 23, for the projection.

    Examples
    --------
    >>> inputs = torch.tensor([[1.0, 0.5], [-1.0, 0.5]])
    >>> means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> best_neurons(inputs, torch.tensor([0, 1]), means).round(decimals=2)
    tensor([[ 1.,  0.],
            [-1.,  0.]], dtype=torch.float64)
    """
    samples, members = labelled_samples(inputs, labels)
    *batch, _, d = samples.shape
    means = checked_means(checks.tensor("means", means, (len(members), d)))
    found = [
        _projection(instance[own].numpy(), instance[~own].numpy(), mean.numpy())
        for instance in samples.cpu().reshape(-1, *samples.shape[-2:])
        for own, mean in zip((own.cpu() for own in members), means.cpu(), strict=True)
    ]
    return torch.as_tensor(np.array(found), device=samples.device).view(*batch, len(members), d)


def _projection(own, others, mean):
    """Project a mean (d,) onto the cone of collapsed neurons; of length one, or zero."""
    basis = null_space(own[1:] - own[0]) if len(own) > 1 else np.eye(len(mean))
    limits = np.vstack([-own[:1], others]) @ basis
    target = basis.T @ mean
    projection = target - limits.T @ nnls(limits.T, target, maxiter=100 * sum(limits.shape))[0]
    length = np.linalg.norm(projection)
    if length <= 1e-9 * np.linalg.norm(mean):
        return np.zeros(len(mean))
    return basis @ (projection / length)


def misclassification_rate(weights, means, noise, *, samples=None, generator=None):
    r"""Test error of a classifier with one neuron per class on a Gaussian mixture.

    An input x goes to the class whose output :math:`(\beta_k^\top x)_+` is largest; where no neuron
    fires, to one of the classes at random.

    Parameters
    ----------
    weights : Tensor, shape (…, K, d)
        :math:`\beta_k`, for instance those of
        :func:`~lecturelib.shallow_feasibility.nc_feasibility`; leading dimensions are independent
        classifiers.
    means : Tensor, shape (K, d)
        Class means; all classes are equally frequent.
    noise : float
        Standard deviation of every coordinate, positive.
    samples : int, optional
        Estimate the rate with that many new samples per class. The default is the closed form,
        which exists for two classes.
    generator : torch.Generator, optional
        Source of random numbers for the samples, on the CPU (default: torch's global one).

    Returns
    -------
    Tensor, shape (…,), float64
        Probability that a new sample is put into a wrong class.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, a weight vector is zero, or ``samples`` is missing and
        there are more than two classes, or two equal weight vectors.

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
    means = checked_means(means)
    weights = checks.tensor("weights", weights, ("…", *means.shape)).detach().double()
    noise = checks.number("noise", noise, above=0)
    generator = checks.generator("generator", generator)
    if (weights.norm(dim=-1) == 0).any():
        raise checks.wrong("weights", "of neurons that are not zero", weights)
    if samples is not None:
        samples = checks.integer("samples", samples, least=1)
        return _measured_error(weights, means, noise, samples, generator)
    if len(means) != 2:
        expected = f"a number, as there are {len(means)} classes: the closed form is for two"
        raise checks.wrong("samples", expected, samples)
    if (weights[..., 0, :] == weights[..., 1, :]).all(-1).any():
        raise checks.wrong("weights", "of two neurons that differ", weights)
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
    K, d = means.shape
    errors = []
    for k in range(K):
        normal = torch.randn(samples, d, generator=generator, dtype=means.dtype).to(means.device)
        outputs = ((means[k] + noise * normal) @ weights.mT).relu()
        silent = (outputs == 0).all(-1)
        wrong = (outputs.argmax(-1) != k).double()
        errors.append(wrong.masked_fill(silent, 1 - 1 / K).mean(-1))
    return torch.stack(errors).mean(0)
