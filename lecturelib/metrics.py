"""Measures of neural collapse: how far features and classifier are from their terminal geometry.

Features are rows, ``features (N, d)`` with integer ``labels (N,)`` in ``0 .. K-1``; a classifier is
``W (K, d)``. Everything runs on the device of its inputs, gradients flow to them, and sums are
accumulated in float64 (float32 where the device has no float64).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib.deep_linear import init_weights

__all__ = ["ClassStatistics", "nc1", "nc2", "nc3", "nc4", "simplex_etf"]


def simplex_etf(num_classes, dim, *, generator=None, dtype=None, device=None):
    """Return the vertices of a simplex equiangular tight frame (ETF).

    Parameters
    ----------
    num_classes : int
        Number K of vectors, at least 2.
    dim : int
        Dimension d of the space, at least K - 1.
    generator : torch.Generator, optional
        Draws a uniformly random orientation. Without it the frame spans the first K - 1 axes.
    dtype : torch.dtype, optional
        Floating type of the result (default: torch's default).
    device : torch.device, optional
        Device of the result (default: the generator's, else torch's default).

    Returns
    -------
    Tensor, shape (K, d)
        Unit rows with inner product -1/(K-1) between any two; they sum to zero.

    Raises
    ------
    ValueError
        If K < 2 or d < K - 1: K vectors with these angles span K - 1 dimensions.

    References
    ----------
    Papyan, Han, Donoho (2020), definition of NC2; lecture 003, "Neural Collapse in Classification
    III".

    Examples
    --------
    >>> frame = simplex_etf(4, 3, dtype=torch.float64)
    >>> (frame @ frame.T).round(decimals=4)[0]
    tensor([ 1.0000, -0.3333, -0.3333, -0.3333], dtype=torch.float64)
    """
    if num_classes < 2:
        raise ValueError(f"a simplex ETF needs num_classes >= 2, got {num_classes}")
    if dim < num_classes - 1:
        raise ValueError(
            f"{num_classes} vectors of a simplex ETF span {num_classes - 1} dimensions, "
            f"so dim must be at least {num_classes - 1}, got {dim}"
        )
    if device is None and generator is not None:
        device = generator.device
    dtype = dtype or torch.get_default_dtype()
    precision = torch.promote_types(dtype, torch.float32)  # QR has no half precision
    basis = _centred_basis(num_classes, dtype=precision, device=device)
    frame = basis * (num_classes / (num_classes - 1)) ** 0.5
    if generator is None:
        return torch.nn.functional.pad(frame, (0, dim - num_classes + 1)).to(dtype)
    (axes,) = init_weights(
        [num_classes - 1, dim], generator=generator, dtype=precision, device=device
    )
    return (frame @ axes.T).to(dtype)


def _centred_basis(num_classes, *, dtype, device):
    """Orthonormal basis (K, K-1) of the vectors that sum to zero (Helmert's contrasts)."""
    k = torch.arange(1, num_classes, dtype=dtype, device=device)
    basis = torch.ones(num_classes, num_classes - 1, dtype=dtype, device=device).triu()
    basis.diagonal(-1).copy_(-k)
    return basis / (k * (k + 1)).sqrt()


@dataclass(frozen=True)
class ClassStatistics:
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
        ValueError
            For mismatched shapes, labels that are not integers or out of range, fewer than two
            classes, a class without samples, NaN or infinite features.
        """
        labels = _checked_labels(features, labels, num_classes)
        if num_classes is None:
            num_classes = int(labels.max()) + 1 if len(labels) else 0
        if num_classes < 2:
            raise ValueError(f"collapse compares classes: need at least 2, got {num_classes}")
        counts = torch.bincount(labels, minlength=num_classes)
        _check_no_class_is_empty(counts)
        means = _class_sums(features, labels, num_classes) / counts[:, None]
        return cls(counts, means, means.mean(0))

    @property
    def centred_means(self):
        """Class means minus the global mean, shape (K, d); rank at most K - 1."""
        return self.means - self.global_mean


def nc1(features, labels):
    r"""Within-class variability relative to the spread of the class means.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Last-layer features.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1, each with at least one sample.

    Returns
    -------
    Tensor, 0-d
        Non-negative; 0 at full collapse, infinite if all class means coincide.

    Raises
    ------
    ValueError
        As :meth:`ClassStatistics.from_features`.

    Notes
    -----
    :math:`\mathrm{NC}_1 = \operatorname{tr}(\Sigma_W \Sigma_B^\dagger)` with

    .. math::

        \Sigma_W = \frac1N \sum_i (h_i - \bar h_{y_i})(h_i - \bar h_{y_i})^\top, \quad
        \Sigma_B = \frac1K \sum_k (\bar h_k - \bar h)(\bar h_k - \bar h)^\top .

    Public codes that divide by K show the same curve on another scale. No d x d matrix is formed:
    time O(NdK), memory O(Kd) beside the features.

    References
    ----------
    Papyan, Han, Donoho (2020); lecture 003, "NC is algorithm independent I".

    Examples
    --------
    >>> features = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    >>> float(nc1(features, torch.tensor([0, 0, 1, 1])))  # the noise is orthogonal to the signal
    0.0
    """
    means = ClassStatistics.from_features(features, labels).means
    labels, whitener = labels.long(), _between_whitener(means)
    # The big product runs in the precision of the features. It loses nothing: differences of nearby
    # floats are exact, and what rounding the means to `centres` shifted is put back in float64.
    precision = torch.promote_types(features.dtype, torch.float32)
    centres, directions = means.to(precision), whitener.to(precision)
    shifts = (means - centres) @ whitener.T
    total = 0.0
    for rows, classes in _chunks(features, labels):
        projected = centres[classes].sub_(rows) @ directions.T + shifts[classes]
        total = total + projected.square().sum()
    return _or_infinite(total / len(features), means)


def nc2(vectors):
    r"""Distance of a set of vectors from a simplex ETF.

    Parameters
    ----------
    vectors : Tensor, shape (K, d)
        Rows of a classifier, or centred class means (:attr:`ClassStatistics.centred_means`).

    Returns
    -------
    Tensor, 0-d
        Between 0 (simplex ETF of any size and orientation) and 2.

    Raises
    ------
    ValueError
        If the input is not a finite (K, d) matrix with K >= 2, or is zero.

    Notes
    -----
    With :math:`G = V V^\top`, the distance is

    .. math:: \Big\| \frac{G}{\|G\|_F}
        - \frac{1}{\sqrt{K-1}} \Big( I - \frac1K \mathbf 1 \mathbf 1^\top \Big) \Big\|_F .

    References
    ----------
    Zhu et al. (2021), section 5; lecture 003, "NC is algorithm independent I".

    Examples
    --------
    >>> bool(nc2(7 * simplex_etf(5, 9, dtype=torch.float64)) < 1e-12)
    True
    """
    _check_matrix(vectors, "vectors")
    return _distance_from_etf(_accumulated(vectors), _accumulated(vectors))


def nc3(classifier, class_means):
    r"""Distance of classifier and class means from being duals of each other.

    Parameters
    ----------
    classifier : Tensor, shape (K, d)
        Weights W of the last layer.
    class_means : Tensor, shape (K, d)
        Class means; they are centred here.

    Returns
    -------
    Tensor, 0-d
        Between 0 (if the centred means form a simplex ETF and W is a multiple of them, but not only
        then: what W has orthogonal to the centred means goes unseen) and 2.

    Raises
    ------
    ValueError
        If the shapes differ, K < 2, or either is zero or not finite.

    Notes
    -----
    As :func:`nc2`, with :math:`G = W \bar H^\top`.

    References
    ----------
    Zhu et al. (2021), section 5; lecture 003, "NC is algorithm independent I".

    Examples
    --------
    >>> frame = simplex_etf(5, 9, dtype=torch.float64)
    >>> bool(nc3(2 * frame, 3 * frame + 1) < 1e-12)
    True
    """
    _check_matrix(classifier, "classifier")
    _check_matrix(class_means, "class_means")
    if classifier.shape != class_means.shape:
        raise ValueError(
            "classifier and class_means must both be (K, d), got "
            f"{tuple(classifier.shape)} and {tuple(class_means.shape)}"
        )
    means = _accumulated(class_means)
    return _distance_from_etf(_accumulated(classifier), means - means.mean(0))


def nc4(features, labels, classifier, bias=None):
    r"""How often the classifier disagrees with the nearest class mean.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Last-layer features.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1; they define the class means.
    classifier : Tensor, shape (K, d)
        Weights W of the last layer.
    bias : Tensor, shape (K,), optional
        Its bias b.

    Returns
    -------
    Tensor, 0-d
        A fraction in [0, 1]: how often :math:`\arg\max_k (W h + b)_k` is not
        :math:`\arg\min_k \|h - \bar h_k\|`. It has no useful gradient.

    Raises
    ------
    ValueError
        As :meth:`ClassStatistics.from_features`; or if the classifier does not fit the features.

    References
    ----------
    Papyan, Han, Donoho (2020), NC4.

    Examples
    --------
    >>> frame = simplex_etf(3, 4)
    >>> float(nc4(frame, torch.arange(3), frame))
    0.0
    """
    _check_matrix(classifier, "classifier")
    num_classes = len(classifier)
    statistics = ClassStatistics.from_features(features, labels, num_classes)
    if classifier.shape != statistics.means.shape:
        raise ValueError(
            f"classifier must be (K, d) = {tuple(statistics.means.shape)} to fit the features, "
            f"got {tuple(classifier.shape)}"
        )
    if bias is not None and not (bias.shape == (num_classes,) and bias.isfinite().all()):
        raise ValueError(
            f"bias must be finite and have shape ({num_classes},), got {tuple(bias.shape)}"
        )
    # Nearest centre as a linear rule: ||h||^2 is common to all classes; centring keeps digits.
    centres, weight = statistics.centred_means, _accumulated(classifier)
    disagreements = weight.new_zeros(())
    for rows, _ in _chunks(features, labels):
        rows = rows.to(weight.dtype)
        scores = rows @ weight.T
        if bias is not None:
            scores = scores + bias
        closeness = (rows - statistics.global_mean) @ centres.T - centres.square().sum(1) / 2
        disagreements += (scores.argmax(1) != closeness.argmax(1)).sum()
    return disagreements / len(features)


def _between_whitener(means):
    """Return A (K-1, d) with Σ_B† = AᵀA, from the class means (K, d).

    With B = CᵀM, C an orthonormal basis of the vectors that sum to zero, Σ_B = BᵀB / K: the null
    direction of the centred means is gone by construction, no threshold decides about it. Then
    A = √K (BBᵀ)⁻¹B, which is the transposed pseudo-inverse of B. That way of computing it does not
    square the condition number, and covers d < K - 1 and means in special position as well.
    """
    basis = _centred_basis(len(means), dtype=means.dtype, device=means.device)
    # Subtracting a class mean changes nothing but the rounding: large common offsets cancel first.
    between = basis.T @ (means - means[0])
    return len(means) ** 0.5 * torch.linalg.pinv(between).T


def _or_infinite(within, means):
    """Return ``within``, or infinity where no two class means differ, as no signal is left."""
    return torch.where((means == means[0]).all(), torch.inf, within)


def _distance_from_etf(left, right):
    """Frobenius distance of ``left @ right.T``, scaled to norm 1, from a simplex ETF's Gram."""
    gram = left @ right.T
    norm = gram.norm()
    if norm == 0:
        raise ValueError("the vectors are zero (or cancel): their angles are not defined")
    num_classes = len(gram)
    target = torch.eye(num_classes, dtype=gram.dtype, device=gram.device) - 1 / num_classes
    return (gram / norm - target / (num_classes - 1) ** 0.5).norm()


def _class_sums(features, labels, num_classes):
    """Sum of the rows of each class, shape (K, d), accumulated in float64 chunk by chunk."""
    sums = _accumulated(features[:0]).new_zeros(num_classes, features.shape[1])
    for rows, classes in _chunks(features, labels):
        sums.index_add_(0, classes, _accumulated(rows))
    if not sums.isfinite().all():  # one NaN or infinity makes its sum one, too
        raise ValueError("features must be finite, but they contain NaN or infinite values")
    return sums


def _chunks(features, labels):
    """Yield batches of rows with their labels: few enough to stay in a CPU's cache."""
    elements = 2**20 if features.device.type == "cpu" else 2**26
    size = max(1, elements // features.shape[1])
    return zip(features.split(size), labels.split(size), strict=True)


def _accumulated(tensor):
    """Return the tensor in float64, or in float32 on Apple's GPUs, which have no float64."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _checked_labels(features, labels, num_classes=None):
    """Return the labels as int64, after checking that they fit the features."""
    if features.ndim != 2 or features.shape[1] == 0 or not features.is_floating_point():
        raise ValueError(
            "features must be a floating-point tensor of shape (N, d) with d >= 1, got "
            f"{features.dtype} of shape {tuple(features.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(features)},) to match the features, "
            f"got {tuple(labels.shape)}"
        )
    if len(labels) == 0:
        raise ValueError("need at least one sample, got none")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (num_classes is not None and highest >= num_classes):
        last = "K - 1" if num_classes is None else num_classes - 1
        raise ValueError(f"labels must lie in 0 .. {last}, got {lowest} .. {highest}")
    return labels.long()


def _check_no_class_is_empty(counts):
    if (counts == 0).any():
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"every class needs a sample, but these have none: {empty}")


def _check_matrix(matrix, name):
    if matrix.ndim != 2 or len(matrix) < 2 or not matrix.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point tensor of shape (K, d) with K >= 2, got "
            f"{matrix.dtype} of shape {tuple(matrix.shape)}"
        )
    if not matrix.isfinite().all():
        raise ValueError(f"{name} must be finite, but contains NaN or infinite values")
