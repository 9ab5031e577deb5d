"""How likely collapse is: the exact law of pure noise, and bounds where there are means."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import gammaln, ndtr
from scipy.stats import beta, binom
from torch import Tensor

from lecturelib import checks

__all__ = [
    "any_means_bound",
    "gordon_bound",
    "mean_margins",
    "small_noise_bound",
    "wendel_probability",
]


def wendel_probability(num_classes, samples_per_class, dim):
    r"""Probability that a class can collapse when the data are pure noise, exact.

    Parameters
    ----------
    num_classes : int
        K, at least 2.
    samples_per_class : int, or sequence of K of them
        n, at least 1; or the size :math:`n_k` of every class.
    dim : int, or sequence or Tensor of them
        Input dimension d, at least 1.

    Returns
    -------
    Tensor, shape of ``dim``, float64
        Probability that one given class is feasible, in [0, 1]. For classes of different sizes that
        of each class, in one more dimension (…, K).

    Raises
    ------
    TypeError, ValueError
        If a number is too small or not an integer.

    Notes
    -----
    .. math:: P_k = 2^{-m} \sum_{i=0}^{d-n_k} \binom mi, \qquad m = N - n_k,

    the chance of at least N - d heads among m fair coins, N being the number of all samples. It
    holds for any class, random or not, whose samples are linearly independent, as long as the other
    samples are drawn independently of it and of each other, from distributions that are symmetric
    about the origin and put the samples in general position: signs of the others are all that the
    proof averages over.

    References
    ----------
    Wendel (1962); Cover (1965), for the regions cut out by hyperplanes. The chapter derives it.

    Examples
    --------
    >>> wendel_probability(2, samples_per_class=10, dim=10)
    tensor(0.0010, dtype=torch.float64)
    >>> wendel_probability(2, samples_per_class=10, dim=[9, 15, 20])
    tensor([0.0000, 0.6230, 1.0000], dtype=torch.float64)
    >>> wendel_probability(2, samples_per_class=[2, 1], dim=2)  # the larger class has it harder
    tensor([0.5000, 0.7500], dtype=torch.float64)
    """
    own, others, dims = _checked_counts(num_classes, samples_per_class, dim)
    return _coin_law(own, others, dims)


def gordon_bound(num_classes, samples_per_class, dim):
    r"""Lower bound of :func:`wendel_probability` by Gordon's comparison inequality.

    Parameters
    ----------
    num_classes, samples_per_class, dim
        K, n (or all :math:`n_k`) and d, as in :func:`wendel_probability`.

    Returns
    -------
    Tensor, shape of ``dim`` or, for classes of different sizes, (…, K), float64
        The bound; zero where it says nothing.

    Raises
    ------
    TypeError, ValueError
        If a number is too small or not an integer.

    Notes
    -----
    A certificate :math:`(u, -v)`, which :math:`X^\top` maps to zero, lies in the cone
    :math:`D = \{1^\top u \ge 0\} \times \{-v \le 0\}` of :math:`\mathbb R^N`, whose statistical
    dimension is :math:`\delta = n_k - \frac12 + \frac{N - n_k}2`. With a standard Gaussian g in
    :math:`\mathbb R^d`, Gordon's inequality says that the least :math:`\|X^\top x\|` over unit
    vectors x of D has a mean of at least :math:`E\|g\| - \sqrt\delta`. By concentration it is zero
    with a probability that is small if that is large:

    .. math:: P \ge 1 - \exp\!\Big(\!-\tfrac12 \big(E\|g\| - \sqrt\delta\big)_+^2\Big) ,

    which tends to one for large n where d/n > (K + 1)/2, classes being of one size n.

    References
    ----------
    Gordon (1988); lecture 004, d/n > (K + 1)/2. The statistical dimension: Amelunxen et al. (2014).

    Examples
    --------
    >>> gordon_bound(3, 20, dim=60), wendel_probability(3, 20, dim=60)
    (tensor(0.6397, dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    own, others, dims = _checked_counts(num_classes, samples_per_class, dim)
    length = 2**0.5 * np.exp(gammaln((dims + 1) / 2) - gammaln(dims / 2))
    statistical_dimension = own - 0.5 + others / 2
    excess = np.maximum(length - statistical_dimension**0.5, 0)
    return torch.as_tensor(-np.expm1(-(excess**2) / 2))


def any_means_bound(means, samples_per_class, dim):
    r"""Lower bound of the probability that a class can collapse, at every noise level.

    Parameters
    ----------
    means : Tensor, shape (K, r)
        Class means; their coordinates beyond r are zero.
    samples_per_class : int, or sequence of K of them
        n, at least 1; or the size :math:`n_k` of every class.
    dim : int, or sequence or Tensor of them
        Input dimension d, at least r.

    Returns
    -------
    Tensor, shape (…, K) with the shape of ``dim`` in front, float64
        The bound for every class.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the means are not a finite matrix of two or more rows.

    Notes
    -----
    Weights orthogonal to the means of the other classes see pure noise of these, in :math:`d - r_k`
    dimensions, where :math:`r_k` is the rank of these means:

    .. math:: P_k \ge 2^{-m} \sum_{i=0}^{d-r_k-n_k} \binom mi, \qquad m = N - n_k.

    References
    ----------
    Derived in the chapter.

    Examples
    --------
    Two classes around any two means are at least as easy as pure noise in one dimension less.

    >>> any_means_bound(torch.eye(2), 20, dim=31), wendel_probability(2, 20, dim=30)
    (tensor([0.5881, 0.5881], dtype=torch.float64), tensor(0.5881, dtype=torch.float64))
    """
    means = checked_means(means)
    K, r = means.shape
    own, others, dims = _checked_counts(K, samples_per_class, dim, least=r)
    if np.ndim(own) == 0:  # one size for all
        dims = dims[..., None]
    rest = [torch.cat([means[:k], means[k + 1 :]]) for k in range(K)]
    ranks = np.array([int(torch.linalg.matrix_rank(rows)) for rows in rest])
    return _coin_law(own, others, dims - ranks)


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
    TypeError, ValueError
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
    means = checked_means(means)
    rows = means.cpu().numpy()
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


def small_noise_bound(means, samples_per_class, dim, noise):
    r"""Lower bound of the probability that a class can collapse, by its distance from the others.

    Parameters
    ----------
    means : Tensor, shape (K, r)
        Class means; their coordinates beyond r are zero.
    samples_per_class : int, or sequence of K of them
        n, at least 1; or the size :math:`n_k` of every class.
    dim : int
        Input dimension d, at least r.
    noise : float, or sequence or Tensor of them
        Standard deviation :math:`\sigma > 0` of the noise in every coordinate.

    Returns
    -------
    Tensor, shape (…, K) with the shape of ``noise`` in front, float64
        The bound for every class; zero where d - rank(means) < n_k, as it needs that room.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the means are not a finite matrix of two or more rows.

    Notes
    -----
    The weights are built in two steps: the shortest b that separates the means
    (:func:`mean_margins`), and a correction orthogonal to all means that makes the outputs of class
    k equal. Their squared norm is :math:`\|b\|^2 / R` with :math:`R \sim \mathrm{Beta}((d - r -
    n_k + 1)/2,\, n_k/2)`, r the rank of the means, and the m others' samples, independent of them,
    are all on the right side with probability at least

    .. math:: P_k \ge E\, \Phi\big(\sqrt R\, \Delta_k / \sigma\big)^m .

    The mean over R is taken as a lower sum over 2000 quantiles, so that it stays a bound. With
    :math:`\Delta_k = 0` it is :math:`2^{-m}`, which only says that there is room.

    References
    ----------
    Derived in the chapter. Lecture 004 states such bounds for two classes (by the angle of the
    means) and K classes (by their smallest singular value) without constants.

    Examples
    --------
    >>> small_noise_bound(torch.eye(2), 20, dim=60, noise=[0.05, 0.2])
    tensor([[0.9995, 0.9995],
            [0.9985, 0.9985]], dtype=torch.float64)
    """
    means = checked_means(means)
    K = len(means)
    own, others, _ = _checked_counts(K, samples_per_class, 1)
    dim = checks.integer("dim", dim, least=means.shape[1])
    noise = _checked_noise(noise)
    room = dim - int(torch.linalg.matrix_rank(means))
    distances = mean_margins(means).numpy() / noise.numpy()[..., None]
    bounds = np.zeros(distances.shape)
    sizes = np.broadcast_to(own, K), np.broadcast_to(others, K)
    for k, (n, m) in enumerate(zip(*sizes, strict=True)):
        if room >= n:
            shares = beta.ppf(np.arange(2000) / 2000, (room - n + 1) / 2, n / 2)
            right = ndtr(np.sqrt(shares) * distances[..., k, None])
            bounds[..., k] = (right**m).mean(-1)
    return torch.as_tensor(bounds)


def checked_means(means):
    """Return class means (K, r) in float64, K at least 2, after checking that they are some.

    Parameters
    ----------
    means : Tensor, shape (K, r)
        What was given.

    Returns
    -------
    Tensor, shape (K, r), float64

    Raises
    ------
    TypeError, ValueError
        If they are not a finite floating-point matrix with at least two rows.

    Examples
    --------
    >>> checked_means(torch.eye(2)).dtype
    torch.float64
    """
    means = checks.tensor("means", means, ("K", "r"))
    if len(means) < 2:
        raise checks.wrong("means", "of at least two classes", means)
    return means.detach().double()


def _coin_law(own, others, dims):
    """Return the chance of at least N - d heads among as many fair coins as there are others."""
    return torch.as_tensor(binom.sf(own + others - dims - 1, others, 0.5))


def _checked_counts(num_classes, samples_per_class, dim, least=1):
    """Return sizes of a class and of the others, and d as an array: for all classes if they differ.

    Sizes are integers and d an array of any shape; or sizes are arrays (K,) and d is (…, 1).
    """
    num_classes = checks.integer("num_classes", num_classes, least=2)
    if unequal := isinstance(samples_per_class, Sequence) and not isinstance(
        samples_per_class, str
    ):
        own = np.array(checks.integers("samples_per_class", samples_per_class, least=1), dtype=int)
        if len(own) != num_classes:
            expected = f"one number, or one for each of {num_classes} classes"
            raise checks.wrong("samples_per_class", expected, samples_per_class)
        others = own.sum() - own
    else:
        own = checks.integer("samples_per_class", samples_per_class, least=1)
        others = (num_classes - 1) * own
    if isinstance(dim, Sequence) and not isinstance(dim, str):
        dim = np.array(checks.integers("dim", dim, least=least), dtype=int)
    elif isinstance(dim, Tensor | np.ndarray) and dim.ndim > 0:
        dim = checks.tensor("dim", dim, kind="integer").cpu().numpy()
        if (dim < least).any():
            raise checks.wrong("dim", f"of integers >= {least}", int(dim.min()))
    else:
        dim = np.array(checks.integer("dim", dim, least=least))
    return own, others, dim[..., None] if unequal else dim


def _checked_noise(noise):
    """Return noise levels, which may be infinite, as a tensor of any shape on the CPU."""
    expected = "positive numbers"
    try:
        levels = torch.as_tensor(noise, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise checks.wrong("noise", expected, noise, TypeError) from None
    if not (levels > 0).all():
        raise checks.wrong("noise", expected, float(levels.min()))
    return levels
