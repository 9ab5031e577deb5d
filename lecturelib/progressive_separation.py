r"""Progressive separation, layer by layer: compression within classes, angles between them.

Layers are counted from the input, l = 0, so that the feature of layer l is
:math:`z^l = \phi_l(\dots \phi_1(x))`. Features are rows, as everywhere but in
:mod:`lecturelib.deep_linear`.
"""

import torch
from torch import nn

from lecturelib import checks
from lecturelib.datasets import standardize
from lecturelib.metrics import ClassStatistics, nc1
from lecturelib.training import accuracy, evaluating, train

__all__ = [
    "decay_correction",
    "feature_compression",
    "feature_separation",
    "layer_profile",
    "linear_probe_accuracy",
    "predicted_decay",
]


def feature_compression(features, labels):
    r"""Spread within the classes relative to the spread of their means.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features of one layer.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1, each with at least one sample.

    Returns
    -------
    Tensor, 0-d
        :math:`D = \operatorname{tr} \Sigma_W / \operatorname{tr} \Sigma_B`: non-negative, 0 at full
        collapse, infinite if all class means coincide.

    Raises
    ------
    TypeError, ValueError
        As :meth:`~lecturelib.metrics.ClassStatistics.from_features`.

    Notes
    -----
    Both covariances are those of :func:`~lecturelib.metrics.nc1`, which weighs the directions by
    the inverse of :math:`\Sigma_B` instead. Not changed by rotations and by one factor on all
    features.

    References
    ----------
    Wang et al. (2023), definition 1; lecture 002, "Measure of Feature Compression and Separation".

    Examples
    --------
    >>> X, labels = torch.eye(6), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> feature_compression(X, labels).round(decimals=4)  # (n - 1) K / (K - 1), if orthonormal
    tensor(4., dtype=torch.float64)
    """
    statistics = ClassStatistics.from_features(features, labels)
    variances = statistics.variances(features, labels)
    within = (statistics.counts * variances).sum() / statistics.counts.sum()
    between = statistics.centred_means.square().sum(1).mean()
    return torch.where(statistics.coincide, torch.inf, within / between)


def feature_separation(features, labels, *, centred=False):
    r"""How far the class means are from pointing the same way.

    Parameters
    ----------
    features : Tensor, shape (N, d)
        Features of one layer.
    labels : Tensor, shape (N,)
        Integer classes in 0 .. K-1, each with at least one sample.
    centred : bool, optional
        Subtract the global mean and take absolute cosines, as the slide has it. For K classes this
        cannot exceed :math:`1 - 1/(K-1)`.

    Returns
    -------
    Tensor, 0-d
        :math:`S = 1 - \max_{k \ne k'} \cos(\bar z_k, \bar z_{k'})` in [0, K/(K-1)]: 0 if two means
        are parallel, 1 if the closest two are at right angles.

    Raises
    ------
    TypeError, ValueError
        As :meth:`~lecturelib.metrics.ClassStatistics.from_features`, or if a mean is zero and so
        has no direction.

    References
    ----------
    Wang et al. (2023), definition 2; lecture 002, "Measure of Feature Compression and Separation"
    (the centred version).

    Examples
    --------
    >>> X, labels = torch.eye(6), torch.tensor([0, 0, 1, 1, 2, 2])
    >>> feature_separation(X, labels), feature_separation(X, labels, centred=True)
    (tensor(1., dtype=torch.float64), tensor(0.5000, dtype=torch.float64))
    """
    centred = checks.flag("centred", centred)
    statistics = ClassStatistics.from_features(features, labels)
    means = statistics.centred_means if centred else statistics.means
    lengths = means.norm(dim=1, keepdim=True)
    # Centred, a zero mean comes out as rounding noise.
    smallest = 8 * torch.finfo(means.dtype).eps * statistics.means.norm(dim=1).max()
    if (lengths <= smallest).any():
        raise ValueError("features must have class means other than zero, which has no angles")
    directions = means / lengths
    pairs = ~torch.eye(len(means), dtype=torch.bool, device=means.device)
    cosines = (directions @ directions.T)[pairs].clamp(-1, 1)
    return 1 - (cosines.abs() if centred else cosines).max()


def predicted_decay(scale, depth, samples_per_class, output_scale=1.0):
    r"""Ratio :math:`D_{l+1} / D_l` of a trained deep linear network, to leading order.

    Parameters
    ----------
    scale : float
        :math:`\varepsilon > 0` of the orthogonal start.
    depth : int
        Number L of layers, at least 2.
    samples_per_class : int
        Samples n of each class, with orthonormal inputs and one-hot targets.
    output_scale : float, optional
        :math:`\alpha > 0` of a network :math:`\alpha W_{L:1} x`.

    Returns
    -------
    float
        :math:`\varepsilon^2 / (n / \alpha^2)^{1/L}`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    :math:`\varepsilon` is the singular value that nothing moves, :math:`(\sqrt n / \alpha)^{1/L}`
    the one that each of K signal directions needs in each of L layers. What is left out, for small
    steps, is :func:`decay_correction` and terms of order :math:`\varepsilon^2`.

    References
    ----------
    Wang et al. (2023), theorem 1; lecture 002, "Progressive Feature Compression with Linear Rate".

    Examples
    --------
    >>> round(predicted_decay(0.2, depth=4, samples_per_class=16), 6)
    0.02
    """
    scale = checks.number("scale", scale, above=0)
    depth = checks.integer("depth", depth, least=2)
    samples_per_class = checks.integer("samples_per_class", samples_per_class, least=1)
    output_scale = checks.number("output_scale", output_scale, above=0)
    return scale**2 / (samples_per_class / output_scale**2) ** (1 / depth)


def decay_correction(first_head, last_head, depth):
    r"""Factor that :func:`predicted_decay` lacks, and that remains as the scale goes to 0.

    Parameters
    ----------
    first_head, last_head : Tensor, shape (K, d)
        Last layer before and after training, :math:`d \ge 2K`, rank K.
    depth : int
        Number L of layers, at least 2.

    Returns
    -------
    Tensor, shape (L - 1,)
        The factors for l = 0 .. L-2, in [0, 1]; 0 where nothing is left within the classes.

    Raises
    ------
    TypeError, ValueError
        If the heads do not fit each other, d < 2K, or depth < 2.

    Notes
    -----
    Of the d - K directions within classes, d - 2K keep the singular value :math:`\varepsilon`. The
    other K keep :math:`\varepsilon \cos\theta_i`, with :math:`\theta_i` the principal angles by
    which the last layer turned its row space. So the factor is

    .. math::

        \frac{d - 2K + \sum_i \cos^{2(l+1)} \theta_i}{d - 2K + \sum_i \cos^{2l} \theta_i} .

    References
    ----------
    This book, chapter "Progressive separation"; it follows from the balancedness of Arora, Cohen,
    Hazan (2018), theorem 1.

    Examples
    --------
    >>> start = torch.eye(2, 6)
    >>> end = start.roll(2, dims=1) + start  # both rows turned by 45 degrees
    >>> decay_correction(start, end, depth=3)  # (2 + 1) / (2 + 2), (2 + 1/2) / (2 + 1)
    tensor([0.7500, 0.8333])
    """
    first_head = checks.tensor("first_head", first_head, ("K", "d"))
    num_classes, dim = first_head.shape
    if dim < 2 * num_classes:
        raise checks.wrong("first_head", "of shape (K, d) with d >= 2K", first_head)
    last_head = checks.tensor("last_head", last_head, (num_classes, dim), like=first_head)
    depth = checks.integer("depth", depth, least=2)
    first, last = torch.linalg.qr(first_head.T).Q, torch.linalg.qr(last_head.T).Q
    cosines = torch.linalg.svdvals(first.T @ last).clamp(max=1)
    levels = torch.arange(depth, device=cosines.device)
    energy = dim - 2 * num_classes + (cosines ** (2 * levels[:, None])).sum(1)
    return torch.where(energy[:-1] > 0, energy[1:] / energy[:-1], 0)


def linear_probe_accuracy(
    train_features, train_labels, test_features, test_labels, *, weight_decay=1e-3
):
    r"""Test accuracy of a linear classifier trained on frozen features.

    Parameters
    ----------
    train_features : Tensor, shape (N, d)
        Features of one layer, to train on.
    train_labels : Tensor, shape (N,)
        Their integer classes in 0 .. K-1.
    test_features : Tensor, shape (M, d)
        Features of the same layer, to test on.
    test_labels : Tensor, shape (M,)
        Their classes.
    weight_decay : float, optional
        Penalty of the logistic regression, on standardised features.

    Returns
    -------
    Tensor, 0-d
        A fraction in [0, 1], float64.

    Raises
    ------
    TypeError, ValueError
        If features are not finite, or shapes or labels do not fit.

    Notes
    -----
    Multinomial logistic regression by L-BFGS in float64; with the penalty, which includes the bias,
    its optimum is unique. K is the number of classes in ``train_labels``.

    References
    ----------
    Alain, Bengio (2016), "Understanding intermediate layers using linear classifier probes".

    Examples
    --------
    >>> X = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> linear_probe_accuracy(X, torch.tensor([0, 0, 1, 1]), -X, torch.tensor([1, 1, 0, 1]))
    tensor(0.7500, dtype=torch.float64)
    """
    train_features = checks.tensor("train_features", train_features, ("N", "d"))
    samples, dim = train_features.shape
    train_labels = checks.labels("train_labels", train_labels, samples)
    num_classes = max(0, int(train_labels.max())) + 1
    checks.labels("train_labels", train_labels, samples, num_classes)
    test_features = checks.tensor("test_features", test_features, ("M", dim))
    test_labels = checks.labels("test_labels", test_labels, len(test_features), num_classes)
    # Apple's GPUs have no float64; a probe is small enough for the CPU.
    device = "cpu" if train_features.device.type == "mps" else train_features.device
    known, new = (
        features.detach().to(device).double() for features in (train_features, test_features)
    )
    probe = nn.utils.skip_init(nn.Linear, dim, num_classes, dtype=torch.float64, device=device)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    train(
        probe,
        standardize(known),
        train_labels,
        epochs=10,
        optimizer="lbfgs",
        lr=1.0,
        weight_decay=weight_decay,
        every=[],
        generator=torch.Generator(),  # whole batches: no random numbers of the caller's
    )
    return accuracy(probe, standardize(new, reference=known), test_labels)


def layer_profile(network, inputs, labels, metrics=None):
    """Measure the features of every layer of a network, the input included.

    Parameters
    ----------
    network : torch.nn.Module
        Any network with feature taps: ``network.taps(inputs)`` returns one (N, width) tensor per
        layer, first to last. Used in evaluation mode and left as it was.
    inputs : Tensor, shape (N, ...)
        Inputs, on the network's device.
    labels : Tensor, shape (N,)
        Their classes.
    metrics : dict of str to callable, optional
        ``name: metric(features, labels)``. Default: ``"D"``, ``"S"`` and ``"nc1"``, that is
        :func:`feature_compression`, :func:`feature_separation` and :func:`lecturelib.metrics.nc1`.

    Returns
    -------
    dict of str to Tensor, shape (number of layers + 1,)
        For each metric its values at layers 0 (the flattened inputs), 1, 2, …, float64 on the CPU.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, and from the metrics.

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> inputs, labels = torch.randn(20, 1, 3, 3), torch.arange(20) % 4
    >>> profile = layer_profile(MLP([9, 8, 8, 8, 4]), inputs, labels)
    >>> {name: tuple(values.shape) for name, values in profile.items()}
    {'D': (4,), 'S': (4,), 'nc1': (4,)}
    """
    network = checks.module("network", network, "taps")
    inputs = checks.inputs("inputs", inputs, network).detach()
    if inputs.ndim < 2:
        raise checks.wrong("inputs", "N samples of at least one dimension", inputs)
    metrics = checks.functions("metrics", metrics) or {
        "D": feature_compression,
        "S": feature_separation,
        "nc1": nc1,
    }
    with evaluating(network):
        features = [inputs.flatten(1), *network.taps(inputs)]
        return {
            name: torch.tensor(
                [float(metric(layer, labels)) for layer in features], dtype=torch.float64
            )
            for name, metric in metrics.items()
        }
