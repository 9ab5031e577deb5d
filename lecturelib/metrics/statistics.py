"""Class means and variances: sums over the features that lose no digits where classes collapse."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import Movable


@dataclass(frozen=True, eq=False)
class ClassStatistics(Movable):
    """Counts and means of the classes, checked once and shared by the metrics.

    Attributes
    ----------
    counts : Tensor, shape (K,)
        Samples per class, int64, all positive.
    means : Tensor, shape (K, d)
        Class means, in the accumulation type (float64).
    global_mean : Tensor, shape (d,)
        Mean of the class means; equal to the sample mean when the classes are balanced.

    Examples
    --------
    >>> features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 4.0]])
    >>> statistics = ClassStatistics.from_features(features, torch.tensor([0, 0, 1]))
    >>> statistics.counts.tolist(), statistics.means.tolist(), statistics.global_mean.tolist()
    ([2, 1], [[1.0, 0.0], [4.0, 4.0]], [2.5, 2.0])
    >>> statistics.variances(features, torch.tensor([0, 0, 1])).tolist()
    [1.0, 0.0]
    """

    counts: Tensor
    means: Tensor
    global_mean: Tensor

    @classmethod
    def from_features(cls, features, labels, num_classes=None):
        """Compute the statistics of labelled features.

        Parameters
        ----------
        features : Tensor, shape (N, d)
            Floating-point features, finite.
        labels : Tensor, shape (N,)
            Integer class of each row, in 0 .. K-1.
        num_classes : int, optional
            Number K of classes, at least 2 (default: the largest label + 1).

        Returns
        -------
        ClassStatistics

        Raises
        ------
        TypeError, ValueError
            For mismatched shapes, labels that are not integers or out of range, fewer than two
            classes, a class without samples, NaN or infinite features.
        """
        features, labels = checks.labelled("features", features, labels, num_classes)
        num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
        if num_classes < 2:
            raise ValueError("labels must be of two classes or more, got one class")
        counts = torch.bincount(labels, minlength=num_classes)
        return cls.from_sums(counts, class_sums(features, labels, num_classes))

    @classmethod
    def from_sums(cls, counts, sums):
        """Compute the statistics from the number of samples and their sum, class by class.

        Parameters
        ----------
        counts : Tensor, shape (K,)
            Samples per class.
        sums : Tensor, shape (K, d)
            Sums of their features, in the accumulation type.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        ValueError
            If a class has no samples; the message names it.
        """
        return cls.from_means(counts, sums / counts[:, None])

    @classmethod
    def from_means(cls, counts, means):
        """Compute the statistics from the number of samples and their mean, class by class.

        Parameters
        ----------
        counts : Tensor, shape (K,)
            Samples per class.
        means : Tensor, shape (K, d)
            Class means, in the accumulation type.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        ValueError
            If a class has no samples; the message names it.
        """
        if (counts == 0).any():
            empty = (counts == 0).nonzero().flatten().tolist()
            raise ValueError(
                f"labels must be of every class 0 .. {len(counts) - 1}, got none of {empty}"
            )
        return cls(counts.long(), means, means.mean(0))

    @property
    def centred_means(self):
        """Class means minus the global mean, shape (K, d); rank at most K - 1."""
        return self.means - self.global_mean

    @property
    def coincide(self):
        """Whether class means differ by no more than rounding, so that there is no signal: 0-d."""
        spread = (self.means - self.means[0]).abs().max()
        rounding = self.counts.max() * torch.finfo(self.means.dtype).eps
        return spread <= rounding * self.means.abs().max()

    @property
    def whitener(self):
        """The matrix A (K-1, d) with Σ_B† = AᵀA.

        With B = CᵀM, M the class means and C an orthonormal basis of the vectors that sum to zero,
        Σ_B = BᵀB / K: the null direction of the centred means is gone by construction, no threshold
        decides about it. Then A = √K (BBᵀ)⁻¹B, which is the transposed pseudo-inverse of B. That
        way of computing it does not square the condition number, and covers d < K - 1 and means in
        special position as well.
        """
        basis = centred_basis(len(self.means), dtype=self.means.dtype, device=self.means.device)
        # Subtracting a class mean changes nothing but the rounding: large common offsets cancel.
        between = basis.T @ (self.means - self.means[0])
        return len(self.means) ** 0.5 * torch.linalg.pinv(between).T

    def variances(self, features, labels, directions=None):
        r"""Mean squared distance of each class's features from its mean.

        Parameters
        ----------
        features : Tensor, shape (N, d)
            Features, those of the statistics or others.
        labels : Tensor, shape (N,)
            Their classes, each with at least one sample.
        directions : Tensor, shape (p, d), optional
            A matrix A to apply first: :math:`\|A (h - \bar h_k)\|^2`, by default the identity.

        Returns
        -------
        Tensor, shape (K,)
            In the accumulation type.

        Raises
        ------
        TypeError, ValueError
            If the features do not fit the statistics.
        """
        num_classes, dim = self.means.shape
        features, labels = checks.labelled("features", features, labels, num_classes, dim)
        if directions is not None:
            directions = accumulated(checks.tensor("directions", directions, ("p", dim)))
            centres = self.means.to(torch.promote_types(features.dtype, torch.float32))
            shifts = _shifts(self.means, features.dtype) @ directions.T
        totals = self.means.new_zeros(num_classes)
        for rows, classes in chunks(features, labels):
            if directions is None:
                deviations = self.means[classes] - rows
            else:
                # The big product runs in the precision of the features, as the differences do;
                # what rounding the means shifted is put back in float64, where it is small.
                projected = centres[classes].sub_(rows) @ directions.T.to(centres)
                deviations = projected + shifts[classes]
            totals.index_add_(0, classes, deviations.square().sum(1))
        return totals / torch.bincount(labels, minlength=num_classes)


def class_sums(features, labels, num_classes):
    """Return the sum of the features of each class, accumulated in float64 chunk by chunk.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Floating point.
    labels : Tensor, shape (N,)
        int64, in 0 .. K-1.
    num_classes : int
        K.

    Returns
    -------
    Tensor, shape (K, d)
        In the accumulation type.

    Raises
    ------
    ValueError
        If a feature is NaN or infinite.
    """
    sums = accumulated(features[:0]).new_zeros(num_classes, features.shape[1])
    for rows, classes in chunks(features, labels):
        sums.index_add_(0, classes, accumulated(rows))
    if not sums.isfinite().all():  # one NaN or infinity makes its sum one, too
        raise ValueError("features must be finite, got NaN or infinite entries")
    return sums


def class_deviations(features, labels, means):
    """Return features minus their class means, in the precision of the features.

    Differences of nearby floats are exact, so that no digits are lost; what rounding the means to
    that precision shifted is subtracted after.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Floating point; half precision counts as single.
    labels : Tensor, shape (N,)
        int64, in 0 .. K-1.
    means : Tensor, shape (K, d)
        In the accumulation type.

    Returns
    -------
    Tensor, shape (N, d)
    """
    centres = means.to(torch.promote_types(features.dtype, torch.float32))
    shifts = _shifts(means, features.dtype).to(centres)
    return (features - centres[labels]).sub_(shifts[labels])


def _shifts(means, dtype):
    """By how much rounding the means to a precision shifts them."""
    return means - means.to(torch.promote_types(dtype, torch.float32))


def accumulated(tensor):
    """Return a tensor in the accumulation type.

    Parameters
    ----------
    tensor : Tensor
        Any real one.

    Returns
    -------
    Tensor
        In float64; in float32 on Apple's GPUs, which have no float64.
    """
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def chunks(features, labels):
    """Split samples into batches that are few enough to stay in a CPU's cache.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features.
    labels : Tensor, shape (N,)
        Their classes.

    Returns
    -------
    iterator of pairs of Tensor
        Rows with their labels.
    """
    elements = 2**20 if features.device.type == "cpu" else 2**26
    size = max(1, elements // features.shape[1])
    return zip(features.split(size), labels.split(size), strict=True)


def centred_basis(num_classes, *, dtype, device):
    """Return an orthonormal basis of the vectors that sum to zero (Helmert's contrasts).

    Parameters
    ----------
    num_classes : int
        Number K of entries.
    dtype : torch.dtype
        Floating type of the result.
    device : torch.device
        Its device.

    Returns
    -------
    Tensor, shape (K, K-1)
        The basis as columns.
    """
    k = torch.arange(1, num_classes, dtype=dtype, device=device)
    basis = torch.ones(num_classes, num_classes - 1, dtype=dtype, device=device).triu()
    basis.diagonal(-1).copy_(-k)
    return basis / (k * (k + 1)).sqrt()
