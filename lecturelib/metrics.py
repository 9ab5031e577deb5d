"""Measures of neural collapse: how far features and classifier are from their terminal geometry.

Features are rows, ``features (N, d)`` with integer ``labels (N,)`` in ``0 .. K-1``; a classifier is
``W (K, d)``. Everything runs on the device of its inputs, gradients flow to them, and sums are
accumulated in float64 (float32 where the device has no float64). NumPy arrays are taken as well.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.deep_linear import init_weights
from lecturelib.device import Movable

__all__ = [
    "ClassStatistics",
    "bias_measure",
    "cdnv",
    "equiangularity",
    "equinorm",
    "maximal_angle",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
    "simplex_etf",
]


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
    TypeError, ValueError
        If K < 2 or d < K - 1 (K vectors with these angles span K - 1 dimensions), or an option is
        not as described.

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
    num_classes = checks.integer("num_classes", num_classes, least=2)
    dim = checks.integer("dim", dim, least=num_classes - 1)
    generator = checks.generator("generator", generator)
    dtype, device = checks.dtype("dtype", dtype), checks.device("device", device)
    if device is None and generator is not None:
        device = generator.device
    precision = torch.promote_types(dtype, torch.float32)  # QR has no half precision
    basis = _centred_basis(num_classes, dtype=precision, device=device)
    frame = basis * (num_classes / (num_classes - 1)) ** 0.5
    if generator is None:
        return torch.nn.functional.pad(frame, (0, dim - num_classes + 1)).to(dtype)
    (axes,) = init_weights(
        [num_classes - 1, dim], generator=generator, dtype=precision, device=device
    )
    return (frame @ axes.T).to(dtype)


@dataclass(frozen=True)
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
            raise checks.wrong("labels", "of at least two classes", f"{num_classes} class")
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
            raise ValueError(f"every class needs a sample, but labels has none of {empty}")
        return cls(counts.long(), means, means.mean(0))

    @property
    def centred_means(self):
        """Class means minus the global mean, shape (K, d); rank at most K - 1."""
        return self.means - self.global_mean

    @property
    def coincide(self):
        """Whether no two class means differ, so that there is no signal: a 0-d bool tensor."""
        return (self.means == self.means[0]).all()

    @property
    def whitener(self):
        """The matrix A (K-1, d) with Σ_B† = AᵀA.

        With B = CᵀM, M the class means and C an orthonormal basis of the vectors that sum to zero,
        Σ_B = BᵀB / K: the null direction of the centred means is gone by construction, no threshold
        decides about it. Then A = √K (BBᵀ)⁻¹B, which is the transposed pseudo-inverse of B. That
        way of computing it does not square the condition number, and covers d < K - 1 and means in
        special position as well.
        """
        basis = _centred_basis(len(self.means), dtype=self.means.dtype, device=self.means.device)
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
        if directions is not None:
            shifts = _shifts(self.means, features.dtype) @ directions.T
        squares = []
        for rows, classes in _chunks(features, labels):
            if directions is None:
                deviations = class_deviations(rows, classes, self.means)
            else:
                # The big product runs in the precision of the features, as the differences do;
                # what rounding the means shifted is put back in float64, where it is small.
                centres = self.means.to(torch.promote_types(rows.dtype, torch.float32))
                projected = centres[classes].sub_(rows) @ directions.T.to(centres)
                deviations = projected + shifts[classes]
            squares.append(accumulated(deviations.square().sum(1)))
        totals = self.means.new_zeros(num_classes).index_add(0, labels, torch.cat(squares))
        return totals / torch.bincount(labels, minlength=num_classes)


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
    TypeError, ValueError
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
    statistics = ClassStatistics.from_features(features, labels)
    variances = statistics.variances(features, labels, statistics.whitener)
    within = (statistics.counts * variances).sum() / statistics.counts.sum()
    return torch.where(statistics.coincide, torch.inf, within)


def cdnv(features, labels):
    r"""Class-distance normalised variance, the mean over all pairs of classes.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features of any layer.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1, each with at least one sample.

    Returns
    -------
    Tensor, 0-d
        Non-negative; 0 at full collapse, infinite if two class means coincide.

    Raises
    ------
    TypeError, ValueError
        As :meth:`ClassStatistics.from_features`.

    Notes
    -----
    For the classes k and k' it is

    .. math:: \frac{\sigma_k^2 + \sigma_{k'}^2}{2\, \|\bar h_k - \bar h_{k'}\|^2}, \qquad
        \sigma_k^2 = \frac1{n_k} \sum_{y_i = k} \|h_i - \bar h_k\|^2 .

    Unlike :func:`nc1` it counts noise in all directions.

    References
    ----------
    Galanti, György, Hutter (2022), definition 1.

    Examples
    --------
    >>> features = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    >>> cdnv(features, torch.tensor([0, 0, 1, 1])).round(decimals=6)  # (0.01 + 0.01) / (2 * 4)
    tensor(0.0025, dtype=torch.float64)
    """
    statistics = ClassStatistics.from_features(features, labels)
    return mean_cdnv(statistics, statistics.variances(features, labels))


def mean_cdnv(statistics, variances):
    """Return :func:`cdnv` where the class variances (K,) are known already.

    Parameters
    ----------
    statistics : ClassStatistics
        Of the features.
    variances : Tensor, shape (K,)
        As :meth:`ClassStatistics.variances` returns them.

    Returns
    -------
    Tensor, 0-d
    """
    rows, columns = _pairs(variances)
    distances = torch.pdist(statistics.means).square()
    pairs = (variances[rows] + variances[columns]) / (2 * distances)
    return torch.where(distances > 0, pairs, torch.inf).mean()


def nc2(vectors):
    r"""Distance of a set of vectors from a simplex ETF.

    Parameters
    ----------
    vectors : Tensor, shape (K, d)
        Rows of a classifier, or centred class means (:attr:`ClassStatistics.centred_means`).

    Returns
    -------
    Tensor, 0-d
        Between 0 (simplex ETF of any size and orientation) and :math:`\sqrt2`. For random vectors
        it falls as d grows: compare with that.

    Raises
    ------
    TypeError, ValueError
        If the input is not a finite (K, d) matrix with K >= 2, or is zero.

    Notes
    -----
    With :math:`G = V V^\top`, the distance is

    .. math:: \Big\| \frac{G}{\|G\|_F}
        - \frac{1}{\sqrt{K-1}} \Big( I - \frac1K \mathbf 1 \mathbf 1^\top \Big) \Big\|_F .

    Both matrices are positive semidefinite of norm one, so their inner product is not negative.

    References
    ----------
    Zhu et al. (2021), section 5; lecture 003, "NC is algorithm independent I".

    Examples
    --------
    >>> bool(nc2(7 * simplex_etf(5, 9, dtype=torch.float64)) < 1e-12)
    True
    """
    vectors = _vectors("vectors", vectors)
    return _distance_from_etf("vectors", vectors, vectors)


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
    TypeError, ValueError
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
    classifier = _vectors("classifier", classifier)
    means = _vectors("class_means", class_means)
    if classifier.shape != means.shape:
        shape = tuple(means.shape)
        raise checks.wrong("classifier", f"of the shape {shape} of class_means", classifier)
    return _distance_from_etf("classifier or class_means", classifier, means - means.mean(0))


def equinorm(vectors):
    r"""How much the lengths of some vectors vary: their coefficient of variation.

    Parameters
    ----------
    vectors : Tensor, shape (K, d)
        Rows of a classifier, or centred class means.

    Returns
    -------
    Tensor, 0-d
        Standard deviation (divisor K) over mean of the norms: 0 if all are equal, at most
        :math:`\sqrt{K-1}`.

    Raises
    ------
    TypeError, ValueError
        If the input is not a finite (K, d) matrix with K >= 2, or is zero.

    References
    ----------
    Papyan, Han, Donoho (2020), figure 2.

    Examples
    --------
    >>> equinorm(torch.tensor([[3.0, 4.0], [0.0, 5.0]]))
    tensor(0., dtype=torch.float64)
    """
    norms = _vectors("vectors", vectors).norm(dim=1)
    if norms.max() == 0:
        raise checks.wrong("vectors", "not all zero", norms)
    return norms.std(correction=0) / norms.mean()


def equiangularity(vectors):
    r"""How much the angles between some vectors vary: the standard deviation of their cosines.

    Parameters
    ----------
    vectors : Tensor, shape (K, d)
        Rows of a classifier, or centred class means, none of them zero.

    Returns
    -------
    Tensor, 0-d
        Over all pairs; 0 if all angles are equal, at most 1.

    Raises
    ------
    TypeError, ValueError
        If the input is not a finite (K, d) matrix with K >= 2, or a row is zero.

    References
    ----------
    Papyan, Han, Donoho (2020), figure 3.

    Examples
    --------
    >>> equiangularity(torch.eye(3))  # all at right angles
    tensor(0., dtype=torch.float64)
    """
    return _cosines(vectors).std(correction=0)


def maximal_angle(vectors):
    r"""How far the angles between some vectors are from the widest that all can have at once.

    Parameters
    ----------
    vectors : Tensor, shape (K, d)
        Rows of a classifier, or centred class means, none of them zero.

    Returns
    -------
    Tensor, 0-d
        Mean of :math:`\big| \cos + \frac1{K-1} \big|` over all pairs; 0 for a simplex ETF.

    Raises
    ------
    TypeError, ValueError
        If the input is not a finite (K, d) matrix with K >= 2, or a row is zero.

    References
    ----------
    Papyan, Han, Donoho (2020), figure 4.

    Examples
    --------
    >>> maximal_angle(torch.eye(3))  # 0 + 1/2
    tensor(0.5000, dtype=torch.float64)
    """
    return (_cosines(vectors) + 1 / (len(vectors) - 1)).abs().mean()


def bias_measure(classifier, bias, global_mean):
    r"""How far the classifier is from treating the centre of the features alike in all classes.

    Parameters
    ----------
    classifier : Tensor, shape (K, d)
        Weights W of the last layer.
    bias : Tensor, shape (K,)
        Its bias b.
    global_mean : Tensor, shape (d,)
        :math:`\bar h`, as :attr:`ClassStatistics.global_mean`.

    Returns
    -------
    Tensor, 0-d
        :math:`\| W \bar h + b \|`, not negative and in units of the logits: 0 where bias and global
        mean cancel, so that the scores are those of centred features without a bias.

    Raises
    ------
    TypeError, ValueError
        If an argument is not finite, or the shapes do not fit.

    References
    ----------
    Zhu et al. (2021), section 5, the fourth measure.

    Examples
    --------
    >>> bias_measure(torch.eye(2), torch.tensor([-1.0, 3.0]), torch.ones(2))
    tensor(4., dtype=torch.float64)
    """
    classifier = _vectors("classifier", classifier)
    num_classes, dim = classifier.shape
    bias = accumulated(checks.tensor("bias", bias, (num_classes,)))
    centre = accumulated(checks.tensor("global_mean", global_mean, (dim,)))
    return (classifier @ centre + bias).norm()


def nc4(features, labels, classifier, bias=None, *, means=None):
    r"""How often the classifier disagrees with the nearest class mean.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Last-layer features, best of new samples: on the training set there is no disagreement left
        once NC1 is small and the training error zero.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1. They define the class means unless these are given, and have no
        other use.
    classifier : Tensor, shape (K, d)
        Weights W of the last layer.
    bias : Tensor, shape (K,), optional
        Its bias b.
    means : Tensor, shape (K, d), optional
        Class means of the *training* features, as in the paper.

    Returns
    -------
    Tensor, 0-d
        A fraction in [0, 1]: how often :math:`\arg\max_k (W h + b)_k` is not
        :math:`\arg\min_k \|h - \bar h_k\|`. It has no useful gradient.

    Raises
    ------
    TypeError, ValueError
        As :meth:`ClassStatistics.from_features`; or if classifier, bias or means do not fit.

    References
    ----------
    Papyan, Han, Donoho (2020), NC4 and figure 7.

    Examples
    --------
    >>> frame = simplex_etf(3, 4)
    >>> float(nc4(frame, torch.arange(3), frame))
    0.0
    """
    weight = _vectors("classifier", classifier)
    num_classes, dim = weight.shape
    features, labels = checks.labelled("features", features, labels, num_classes, dim)
    if bias is not None:
        bias = checks.tensor("bias", bias, (num_classes,))
    if means is None:
        means = ClassStatistics.from_features(features, labels, num_classes).means
    else:
        means = accumulated(checks.tensor("means", means, (num_classes, dim)))
    disagree = [disagreements(rows, weight, bias, means) for rows, _ in _chunks(features, labels)]
    return torch.cat(disagree).to(weight.dtype).mean()


def disagreements(features, classifier, bias, means):
    """Say for every feature whether classifier and nearest mean disagree.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features.
    classifier, means : Tensor, shape (K, d)
        In the accumulation type.
    bias : Tensor, shape (K,), or None
        Bias of the classifier.

    Returns
    -------
    Tensor, shape (N,), bool
    """
    rows = features.to(classifier.dtype)
    scores = rows @ classifier.T
    if bias is not None:
        scores = scores + bias
    # Nearest centre as a linear rule: ||h||^2 is common to all classes; centring keeps digits.
    centre = means.mean(0)
    centres = means - centre
    closeness = (rows - centre) @ centres.T - centres.square().sum(1) / 2
    return scores.argmax(1) != closeness.argmax(1)


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
    for rows, classes in _chunks(features, labels):
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
    """Return a tensor in float64, or in float32 on Apple's GPUs, which have no float64."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _centred_basis(num_classes, *, dtype, device):
    """Orthonormal basis (K, K-1) of the vectors that sum to zero (Helmert's contrasts)."""
    k = torch.arange(1, num_classes, dtype=dtype, device=device)
    basis = torch.ones(num_classes, num_classes - 1, dtype=dtype, device=device).triu()
    basis.diagonal(-1).copy_(-k)
    return basis / (k * (k + 1)).sqrt()


def _distance_from_etf(name, left, right):
    """Frobenius distance of ``left @ right.T``, scaled to norm 1, from a simplex ETF's Gram."""
    gram = left @ right.T
    norm = gram.norm()
    if norm == 0:
        raise ValueError(f"{name} must not be zero (or cancel): the angles would not be defined")
    num_classes = len(gram)
    target = torch.eye(num_classes, dtype=gram.dtype, device=gram.device) - 1 / num_classes
    return (gram / norm - target / (num_classes - 1) ** 0.5).norm()


def _cosines(vectors):
    """Cosines between all pairs of rows, none of which may be zero."""
    vectors = _vectors("vectors", vectors)
    norms = vectors.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise checks.wrong("vectors", "without a row of zeros", vectors)
    unit = vectors / norms
    return (unit @ unit.T)[_pairs(unit)]


def _pairs(rows):
    """Return the indices of all pairs of rows, each pair once."""
    return torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device).unbind()


def _vectors(name, vectors):
    """Return vectors (K, d), K >= 2, in the accumulation type."""
    vectors = checks.tensor(name, vectors, ("K", "d"))
    if len(vectors) < 2:
        raise checks.wrong(name, "two rows or more", vectors)
    return accumulated(vectors)


def _chunks(features, labels):
    """Yield batches of rows with their labels: few enough to stay in a CPU's cache."""
    elements = 2**20 if features.device.type == "cpu" else 2**26
    size = max(1, elements // features.shape[1])
    return zip(features.split(size), labels.split(size), strict=True)
