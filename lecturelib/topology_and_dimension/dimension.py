"""Intrinsic dimension from the distances of nearest neighbours."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import Movable
from lecturelib.topology_and_dimension.neighbours import nearest_neighbours


@dataclass(frozen=True, eq=False)
class TwoNN(Movable):
    r"""An estimate of intrinsic dimension from two neighbours of every point.

    Attributes
    ----------
    dimension : Tensor, 0-d
        The estimate, float64; infinite if all ratios kept are one, as on a grid.
    error : Tensor, 0-d
        Its standard error.
    log_ratios : Tensor, shape (n,)
        :math:`\log \mu_i`, ascending, of the n points that do not coincide with another one.
    kept : int
        How many of the ratios, the smallest ones, were used.

    Examples
    --------
    >>> found = two_nn(torch.rand(500, 2, generator=torch.Generator().manual_seed(0)))
    >>> found.log_ratios.shape, found.log_survival.shape, found.kept
    (torch.Size([500]), torch.Size([500]), 450)
    """

    dimension: Tensor
    error: Tensor
    log_ratios: Tensor
    kept: int

    @property
    def log_survival(self) -> Tensor:
        r""":math:`-\log(1 - i/n)` of the i-th ratio: d times its logarithm, if the model holds."""
        return _log_survival(len(self.log_ratios), self.log_ratios)


@dataclass(frozen=True, eq=False)
class LevinaBickel(Movable):
    """An estimate of intrinsic dimension from k neighbours of every point.

    Attributes
    ----------
    dimension : Tensor, 0-d
        The estimate, float64.
    error : Tensor, 0-d
        Its standard error.
    local : Tensor, shape (N,)
        The estimate at every point, float64; NaN where a point coincides with another one.

    Examples
    --------
    >>> found = mle_dimension(torch.rand(500, 2, generator=torch.Generator().manual_seed(0)))
    >>> found.local.shape
    torch.Size([500])
    """

    dimension: Tensor
    error: Tensor
    local: Tensor


def two_nn(points, *, discard=0.1, method="fit"):
    r"""Estimate the intrinsic dimension from how much farther the second neighbour is.

    Parameters
    ----------
    points : Tensor, shape (N, D)
        Points as rows, at least three. Those that coincide with another one do not count.
    discard : float, optional
        Share of the largest ratios that is left out, in [0, 1): they are the ones that noise and
        uneven sampling spoil.
    method : {"fit", "likelihood"}, optional
        Fit a line through the origin to the empirical law of the ratios, as in the paper, or
        maximise the likelihood, where the ratios left out still count as large.

    Returns
    -------
    TwoNN
        ``dimension`` and its standard ``error``, and what they were computed from.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or fewer than two ratios are left.

    Notes
    -----
    Let :math:`\mu = r_2 / r_1` be the ratio of the distances to the second and the first neighbour.
    If the density hardly changes within the second one, then
    :math:`P(\mu > t) = t^{-d}`: the logarithm of :math:`\mu` is exponentially distributed with rate
    d. With :math:`x_i`, the i-th smallest of n logarithms, and :math:`y_i = -\log(1 - i/n)`, the
    estimates from the k that are kept are

    .. math::

        \frac{\sum_{i \le k} x_i y_i}{\sum_{i \le k} x_i^2} \;\text{(fit)}, \qquad
        \frac{k - 1}{\sum_{i \le k} x_i + (n - k) x_k} \;\text{(likelihood)}.

    The second has the standard error :math:`d / \sqrt{k - 2}`, for independent ratios. The error
    of the first one, to leading order, follows from
    :math:`x_i = \sum_{j \le i} z_j / (n - j + 1)` with independent exponential :math:`z_j`. Ratios
    of neighbours are not independent: in our trials the true spread is 1.1 to 1.4 times as large.

    An error bar is about the sample and not about the method: for d above about 5 the estimate is
    too small, and more so the fewer the points.

    References
    ----------
    Facco, d'Errico, Rodriguez, Laio (2017), equations 3 to 5. The likelihood: Denti et al. (2022).

    Examples
    --------
    >>> square = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    >>> flat_in_space = square @ torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    >>> found = two_nn(flat_in_space)
    >>> bool((found.dimension - 2).abs() < 4 * found.error), bool(found.error < 0.1)
    (True, True)
    """
    discard = checks.number("discard", discard, least=0, below=1)
    method = checks.choice("method", method, ["fit", "likelihood"])
    points = checks.tensor("points", points, ("N", "D"))
    if len(points) < 3:
        raise checks.wrong("points", "three points or more", points)
    distances, _ = nearest_neighbours(points, 2)
    return from_distances(distances, discard, method)


def from_distances(distances, discard=0.1, method="fit"):
    """Return what :func:`two_nn` does, from the distances to two neighbours or more."""
    first, second = _wide(distances)[:, :2].T
    apart = first > 0
    logs = torch.log1p((second - first)[apart] / first[apart]).sort().values
    count = len(logs)
    kept = int(count * (1 - discard))
    if method == "fit":
        kept = min(kept, count - 1)  # the last one has no place on the line
    if kept < 2:
        raise ValueError(
            "points must be so many, different from each other, that two ratios are left: "
            f"{count} are, and discard leaves {max(kept, 0)} of them"
        )
    x, ranks = logs[:kept], torch.arange(1, kept + 1, device=logs.device)
    if method == "fit":
        y = _log_survival(count, logs)[:kept]
        # On a grid all ratios are one.
        dimension = (x @ y) / (x @ x) if x[-1] > 0 else x.new_tensor(torch.inf)
        # d x_i = the sum over j <= i of z_j / (n - j + 1): the derivative by z_j.
        slopes = y.flip(0).cumsum(0).flip(0) / (y @ y) / (count - ranks + 1)
        error = dimension * slopes.norm()
    else:
        dimension = (kept - 1) / (x.sum() + (count - kept) * x[-1])
        error = dimension / torch.tensor(kept - 2.0).sqrt()  # infinite for two of them
    return TwoNN(dimension, error, logs, kept)


def _log_survival(count, like):
    shares = torch.arange(1, count + 1, dtype=like.dtype, device=like.device) / count
    return -torch.log1p(-shares)


def _wide(distances):
    """In double precision, which Apple's GPUs have not."""
    return (distances.cpu() if distances.device.type == "mps" else distances).double()


def mle_dimension(points, *, neighbours=20, average="inverse"):
    r"""Estimate the intrinsic dimension by the likelihood of the distances to k neighbours.

    Parameters
    ----------
    points : Tensor, shape (N, D)
        Points as rows, more than ``neighbours``. Those that coincide with another one do not count.
    neighbours : int, optional
        k, at least 2 (at least 3 with ``average="mean"``). A larger one looks at a larger piece
        around every point.
    average : {"inverse", "mean"}, optional
        Average the inverses of the local estimates, as the likelihood of all points together has
        it, or the local estimates themselves, as in the paper.

    Returns
    -------
    LevinaBickel
        ``dimension``, its standard ``error`` and the ``local`` estimates.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or all points coincide with another one.

    Notes
    -----
    With :math:`T_j` the distance of a point to its j-th neighbour, its local estimate is

    .. math:: \hat d = \Big( \frac{1}{k - 1} \sum_{j < k} \log \frac{T_k}{T_j} \Big)^{-1} .

    The sum is a Gamma variable with shape k - 1 and rate d, so that a local estimate exceeds d by
    the factor (k - 1) / (k - 2) on average, and its inverse has no such bias.

    The standard error, :math:`d / \sqrt{N (k - 1)}`, takes all N sums for independent. As
    neighbours share neighbours, they are not: in our trials the true spread is 1.2 to 1.6 times as
    large.

    References
    ----------
    Levina, Bickel (2004), equation 8. The average of inverses: MacKay, Ghahramani (2005).

    Examples
    --------
    >>> square = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    >>> found = mle_dimension(square @ torch.ones(2, 10).tril(), neighbours=10)
    >>> bool((found.dimension - 2).abs() < 0.1)
    True
    """
    average = checks.choice("average", average, ["inverse", "mean"])
    points = checks.tensor("points", points, ("N", "D"))
    least = 2 if average == "inverse" else 3
    neighbours = checks.integer("neighbours", neighbours, least=least)
    if len(points) <= neighbours:
        raise checks.wrong("points", f"more than neighbours={neighbours} points", points)
    distances, _ = nearest_neighbours(points, neighbours)
    return local_dimensions(distances, average)


def local_dimensions(distances, average="inverse"):
    """Return what :func:`mle_dimension` does, from the distances to all k neighbours."""
    distances = _wide(distances)
    inverses = torch.log(distances[:, -1:] / distances[:, :-1]).mean(1)
    inverses = inverses.masked_fill(distances[:, 0] == 0, torch.nan)
    local, known = 1 / inverses, ~inverses.isnan()
    if not known.any():
        raise ValueError("points must not all coincide with another one")
    dimension = 1 / inverses[known].mean() if average == "inverse" else local[known].mean()
    error = dimension / (known.sum() * (distances.shape[1] - 1)).sqrt()
    return LevinaBickel(dimension, error, local)
