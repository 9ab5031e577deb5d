"""The simplex ETF, and how far features and classifiers are from it: a function per quantity."""

import torch

from lecturelib import checks
from lecturelib.deep_linear import init_weights
from lecturelib.metrics.statistics import ClassStatistics, accumulated, centred_basis, chunks


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
    basis = centred_basis(num_classes, dtype=precision, device=device)
    frame = basis * (num_classes / (num_classes - 1)) ** 0.5
    if generator is None:
        return torch.nn.functional.pad(frame, (0, dim - num_classes + 1)).to(dtype)
    (axes,) = init_weights(
        [num_classes - 1, dim], generator=generator, dtype=precision, device=device
    )
    return (frame @ axes.T).to(dtype)


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

        \Sigma_W = \frac1N \sum_i (h_i - \bar h_{y_i})(h_i - \bar h_{y_i})^\top, \\
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
    rows, columns = _pairs(len(variances), variances.device)
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
        Between 0 (if the centred means form a simplex ETF and W is a positive multiple, not only
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


def cosines(vectors):
    r"""Compute the cosines of the angles between all pairs of some vectors.

    Parameters
    ----------
    vectors : Tensor, shape (…, K, d)
        Rows of a classifier, or class means, K >= 2 and none of them zero; several sets in a batch.

    Returns
    -------
    Tensor, shape (…, K (K - 1) / 2)
        Each pair once, in the order 01, 02, …, 12, …; :math:`-\frac1{K-1}` for a simplex ETF.

    Raises
    ------
    TypeError, ValueError
        If the input is not finite, of fewer than two rows, or a row is zero.

    References
    ----------
    Papyan, Han, Donoho (2020), figures 3 and 4.

    Examples
    --------
    >>> cosines(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]]))
    tensor([ 0., -1.,  0.], dtype=torch.float64)
    """
    vectors = accumulated(checks.tensor("vectors", vectors, ("…", "K", "d")))
    if vectors.shape[-2] < 2:
        raise checks.wrong("vectors", "two rows or more", vectors)
    norms = vectors.norm(dim=-1, keepdim=True)
    if (norms == 0).any():
        raise checks.wrong("vectors", "without a row of zeros", vectors)
    unit = vectors / norms
    first, second = _pairs(unit.shape[-2], unit.device)
    return (unit @ unit.mT)[..., first, second]


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
    return cosines(_vectors("vectors", vectors)).std(correction=0)


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
    return (cosines(_vectors("vectors", vectors)) + 1 / (len(vectors) - 1)).abs().mean()


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
        features = checks.tensor("features", features)  # class sums would have seen what is NaN
        means = accumulated(checks.tensor("means", means, (num_classes, dim)))
    disagree = [disagreements(rows, weight, bias, means) for rows, _ in chunks(features, labels)]
    return torch.cat(disagree).to(weight.dtype).mean()


def disagreements(features, classifier, bias, means):
    """Say for every feature whether classifier and nearest mean disagree.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features.
    classifier : Tensor, shape (K, d)
        In the accumulation type.
    bias : Tensor, shape (K,), or None
        Its bias.
    means : Tensor, shape (K, d)
        In the accumulation type.

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


def _distance_from_etf(name, left, right):
    """Frobenius distance of ``left @ right.T``, scaled to norm 1, from a simplex ETF's Gram."""
    gram = left @ right.T
    norm = gram.norm()
    if norm == 0:
        raise ValueError(f"{name} must not be zero (or cancel): the angles would not be defined")
    num_classes = len(gram)
    target = torch.eye(num_classes, dtype=gram.dtype, device=gram.device) - 1 / num_classes
    return (gram / norm - target / (num_classes - 1) ** 0.5).norm()


def _pairs(count, device):
    """Return the indices of all pairs of so many things, each pair once."""
    return torch.triu_indices(count, count, offset=1, device=device).unbind()


def _vectors(name, vectors):
    """Return vectors (K, d), K >= 2, in the accumulation type."""
    vectors = checks.tensor(name, vectors, ("K", "d"))
    if len(vectors) < 2:
        raise checks.wrong(name, "two rows or more", vectors)
    return accumulated(vectors)
