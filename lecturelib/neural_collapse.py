"""Neural collapse measured over batches, for features that do not fit into memory at once.

The measures themselves are in :mod:`lecturelib.metrics`.
"""

import torch
from torchmetrics import Metric

from lecturelib import checks
from lecturelib.metrics import (
    ClassStatistics,
    bias_measure,
    equiangularity,
    equinorm,
    maximal_angle,
    nc2,
    nc3,
)
from lecturelib.metrics.measures import disagreements, mean_cdnv
from lecturelib.metrics.statistics import accumulated, class_deviations, class_sums

__all__ = ["ClassMeans", "NeuralCollapse"]

# Columns of the scatter that one product computes: only its upper half is needed.
BLOCK = 512


class ClassMeans(Metric):
    """Class means over batches: the first of two passes.

    Parameters
    ----------
    num_classes : int
        Number K of classes, at least 2.
    dim : int, optional
        Dimension d of the features (default: that of the first batch). Give it where a process may
        end without a batch of its own.
    **kwargs
        Passed on to :class:`torchmetrics.Metric`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; in :meth:`update` for a bad batch; in :meth:`compute`
        for a class without samples.

    Examples
    --------
    >>> means = ClassMeans(num_classes=2)
    >>> means.update(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1]))
    >>> means.update(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    >>> means.compute().tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, num_classes, dim=None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = checks.integer("num_classes", num_classes, least=2)
        self.dim = None if dim is None else checks.integer("dim", dim, least=1)
        self._allocate()

    def _allocate(self):
        """Make an empty state; its last column counts the samples."""
        empty = torch.zeros(self.num_classes, (self.dim or 0) + 1, dtype=torch.float64)
        self.add_state("sums", empty.to(self.device), dist_reduce_fx="sum")

    def update(self, features, labels):
        """Add a batch: ``features (B, d)`` and integer ``labels (B,)``; classes may be missing."""
        features, labels = checks.labelled("features", features, labels, self.num_classes, self.dim)
        if self.dim is None:
            self.dim = features.shape[1]
            self._allocate()
        self.sums[:, :-1] += class_sums(features.detach(), labels, self.num_classes)
        self.sums[:, -1] += torch.bincount(labels, minlength=self.num_classes)

    def compute(self):
        """Return the class means of all batches, shape (K, d), float64."""
        return ClassStatistics.from_sums(self.sums[:, -1], self.sums[:, :-1]).means


class NeuralCollapse(Metric):
    """Measure collapse over batches, on any number of processes.

    Two passes over the features are the better choice where they can be read twice: a first for the
    class means (:class:`ClassMeans`), a second around them, which costs what
    :func:`~lecturelib.metrics.nc1` costs. A single pass cannot know the final means: it keeps the
    within-class scatter whole, a ``(d, d)`` matrix, and takes O(B d²) for a batch of B.

    Parameters
    ----------
    num_classes : int
        Number K of classes, at least 2.
    dim : int, optional
        Dimension d of the features (default: that of the means, the classifier or the first batch).
        Give it where a process may end without a batch of its own.
    means : Tensor, shape (K, d), optional
        Class means, of a first pass over the same features. Without them this pass is the only one.
    classifier : Tensor, shape (K, d), optional
        Weights of the last layer: pass ``head.weight`` itself and the metric follows the training.
        They are read at each :meth:`compute`, and for nc4 at each :meth:`update`.
    bias : Tensor, shape (K,), optional
        Its bias.
    **kwargs
        Passed on to :class:`torchmetrics.Metric`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; in :meth:`update` for a bad batch; in :meth:`compute`
        for a class without samples, or class means that all coincide.

    Notes
    -----
    A single pass keeps counts, class means, class variances and the scatter. A batch is centred
    around its own means first, so that its scatter can be computed in the precision of the
    features, and is then merged in float64 by the parallel-axis rule. That keeps the digits that
    the usual difference of second moments loses once features collapse. In float32, distances from
    the means must lie between 1e-18 and 1e18, or their squares leave the range of the type.

    References
    ----------
    Chan, Golub, LeVeque (1983), for the merging rule.

    Examples
    --------
    >>> from lecturelib.metrics import nc1
    >>> generator = torch.Generator().manual_seed(0)
    >>> features = torch.randn(100, 5, generator=generator, dtype=torch.float64)
    >>> labels = torch.arange(100) % 3
    >>> batches = list(zip(features.split(32), labels.split(32)))
    >>> means, once = ClassMeans(3), NeuralCollapse(3)
    >>> for rows, classes in batches:
    ...     means.update(rows, classes)
    ...     once.update(rows, classes)
    >>> twice = NeuralCollapse(3, means=means.compute())
    >>> for rows, classes in batches:
    ...     twice.update(rows, classes)
    >>> expected = nc1(features, labels)
    >>> [bool(metric.compute()["nc1"].isclose(expected)) for metric in (once, twice)]
    [True, True]
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, num_classes, dim=None, *, means=None, classifier=None, bias=None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = checks.integer("num_classes", num_classes, least=2)
        self.dim = None if dim is None else checks.integer("dim", dim, least=1)
        self._means = self._whitener = None
        if means is not None:
            self._means = accumulated(checks.tensor("means", means, (self.num_classes, "d")))
            self._fit_dim("means", self._means)
            # Counts have no part in it.
            counts = torch.ones(self.num_classes, device=self._means.device)
            self._whitener = ClassStatistics.from_means(counts, self._means).whitener
        if classifier is not None:
            classifier = checks.tensor("classifier", classifier, (self.num_classes, "d"))
            self._fit_dim("classifier", classifier)
        if bias is not None:
            if classifier is None:
                raise checks.wrong("bias", "None without a classifier", bias)
            bias = checks.tensor("bias", bias, (self.num_classes,))
        # In a list, so that torch does not register the model's parameters as some of this module.
        self._head = [classifier, bias]
        self._allocate()

    def _fit_dim(self, name, matrix):
        """Take the dimension from a (K, d) matrix, or complain if it is another one."""
        shape = (self.num_classes, matrix.shape[1] if self.dim is None else self.dim)
        if matrix.shape != shape:
            raise checks.wrong(name, f"of shape {shape}", matrix)
        self.dim = shape[1]

    def _allocate(self):
        """Make an empty state: of the second pass, or of the only one."""
        if self._means is not None:
            # Of each class: samples, squared distances from its mean before and after whitening,
            # disagreements of classifier and nearest mean.
            shape, reduce = (self.num_classes, 4), "sum"
        else:
            # Above: class means, samples, squared distances from the mean. Below: the scatter.
            dim = self.dim or 0
            shape, reduce = (self.num_classes + dim, dim + 2), self._merge
        empty = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self.add_state("moments", empty, dist_reduce_fx=reduce)

    def update(self, features, labels):
        """Add a batch: ``features (B, d)`` and integer ``labels (B,)``; classes may be missing."""
        features, labels = checks.labelled("features", features, labels, self.num_classes, self.dim)
        if self.dim is None:
            self.dim = features.shape[1]
            self._allocate()
        features = features.detach()
        counts = torch.bincount(labels, minlength=self.num_classes)
        if self._means is not None:
            self._update_around(features, labels, counts)
            return
        sums = class_sums(features, labels, self.num_classes)
        means = sums / counts.clamp(min=1)[:, None]
        deviations = class_deviations(features, labels, means)
        squares = _class_sums(deviations.square().sum(1), labels, self.num_classes)
        offsets = self._join(self.moments, counts.to(means), means, squares)
        rows = torch.cat([deviations, offsets.to(deviations)])
        _add_gram(self._unpack(self.moments)[3], rows)

    def _update_around(self, features, labels, counts):
        """Add a batch around the means of the first pass."""
        self._means = self._means.to(features.device)
        self._whitener = self._whitener.to(features.device)
        deviations = class_deviations(features, labels, self._means)
        whitened = deviations @ self._whitener.T.to(deviations)
        columns = [
            counts,
            _class_sums(deviations.square().sum(1), labels, self.num_classes),
            _class_sums(whitened.square().sum(1), labels, self.num_classes),
            torch.zeros_like(counts),
        ]
        classifier, bias = self._head
        if classifier is not None:
            weight = accumulated(classifier.detach()).to(features.device)
            bias = bias if bias is None else bias.detach().to(weight)
            wrong = disagreements(features, weight, bias, self._means)
            columns[3] = _class_sums(wrong, labels, self.num_classes)
        self.moments += torch.stack([column.to(self.moments) for column in columns], dim=1)

    def forward(self, features, labels):
        """Add a batch, as :meth:`update`: a batch may lack classes and has no value of its own."""
        self.update(features, labels)

    def compute(self):
        """Return the measures by name, 0-d tensors each.

        Always ``"nc1"``, ``"cdnv"``, and of the centred class means ``"nc2"``, ``"equinorm"``,
        ``"equiangularity"`` and ``"maximal_angle"``. Given a classifier, the last four of its rows
        (``"nc2_classifier"`` …) and ``"nc3"``; with its bias ``"bias_measure"``; in a second pass
        ``"nc4"``.
        """
        if self._means is None:
            counts, means, squares, scatter = self._unpack(self.moments)
            statistics = ClassStatistics.from_means(counts, means)
            scatter = scatter.triu() + scatter.triu(1).T
            whitener = statistics.whitener
            within = ((whitener @ scatter) * whitener).sum()
        else:
            counts, squares, whitened, wrong = self.moments.T
            statistics = ClassStatistics.from_means(counts, self._means.to(counts.device))
            within = whitened.sum()
        total = counts.sum()
        values = {
            "nc1": torch.where(statistics.coincide, torch.inf, within / total),
            "cdnv": mean_cdnv(statistics, squares / counts),
            **_angles(statistics.centred_means),
        }
        classifier, bias = self._head
        if classifier is None:
            return values
        weight = classifier.detach().to(statistics.means)
        values |= {f"{name}_classifier": value for name, value in _angles(weight).items()}
        values["nc3"] = nc3(weight, statistics.means)
        if bias is not None:
            centre = statistics.global_mean
            values["bias_measure"] = bias_measure(weight, bias.detach().to(centre), centre)
        if self._means is not None:
            values["nc4"] = wrong.sum() / total
        return values

    def _unpack(self, moments):
        """Return views of a state: counts (K,), means (K, d), squares (K,), scatter (d, d)."""
        upper, lower = moments.split([self.num_classes, self.dim or 0])
        return upper[:, -2], upper[:, :-2], upper[:, -1], lower[:, :-2]

    def _join(self, moments, counts, means, squares):
        """Join other samples to a state, all but their scatter; return what it gains besides.

        That is the scatter of the returned rows (K, d), the parallel-axis rule: what two groups of
        samples scatter around their common mean beyond what each does around its own.
        """
        total, centre, spread, _ = self._unpack(moments)
        merged = total + counts
        share = counts / merged.clamp(min=1)
        # Zero where either group is empty; differences of nearby means keep their digits.
        offsets = (total * share).sqrt()[:, None] * (means - centre)
        centre += share[:, None] * (means - centre)
        spread += squares + offsets.square().sum(1)
        total.copy_(merged)
        return offsets

    def _merge(self, states):
        """Merge states (S, …) of disjoint samples into one."""
        merged = states[0].clone()
        for state in states[1:]:
            counts, means, squares, scatter = self._unpack(state)
            offsets = self._join(merged, counts, means, squares)
            total = self._unpack(merged)[3]
            total += scatter
            _add_gram(total, offsets)
        return merged


def _class_sums(values, labels, num_classes):
    """Sum of each class's values, shape (K,), in the accumulation type."""
    values = accumulated(values)
    return values.new_zeros(num_classes).index_add_(0, labels, values)


def _add_gram(total, rows):
    """Add the upper half of rowsᵀ rows to a (d, d) matrix, block by block."""
    for start in range(0, rows.shape[1], BLOCK):
        left, right = rows[:, start : start + BLOCK], rows[:, start:]
        total[start : start + BLOCK, start:] += left.T @ right


def _angles(vectors):
    measures = {
        "nc2": nc2,
        "equinorm": equinorm,
        "equiangularity": equiangularity,
        "maximal_angle": maximal_angle,
    }
    return {name: measure(vectors) for name, measure in measures.items()}
