"""Neural collapse, measured: the metrics of the chapter, and one that streams over batches.

The metrics themselves are in :mod:`lecturelib.metrics`, as later chapters measure with them too;
they can be imported from here.
"""

import torch
from torchmetrics import Metric

from lecturelib.metrics import (
    ClassStatistics,
    _between_whitener,
    _check_matrix,
    _check_no_class_is_empty,
    _checked_labels,
    _class_sums,
    _or_infinite,
    nc1,
    nc2,
    nc3,
    nc4,
    simplex_etf,
)

__all__ = ["ClassStatistics", "NeuralCollapse", "nc1", "nc2", "nc3", "nc4", "simplex_etf"]


class NeuralCollapse(Metric):
    """Measure NC1, NC2 and NC3 over batches, in one pass and on any number of processes.

    One pass cannot know the final class means, so the within-class scatter is kept whole: a
    ``(d, d)`` matrix. Where a second pass over the features is cheap, prefer :func:`nc1`.

    Parameters
    ----------
    num_classes : int
        Number K of classes, at least 2.
    dim : int, optional
        Dimension d of the features (default: that of the classifier, else of the first batch). Give
        it where a process may end without a batch of its own.
    classifier : Tensor, shape (K, d), optional
        Weights of the last layer, read at each :meth:`compute`: pass ``head.weight`` itself and the
        metric follows the training.
    **kwargs
        Passed on to :class:`torchmetrics.Metric`.

    Raises
    ------
    ValueError
        For K < 2, d < 1, a classifier of another shape; in :meth:`update` for a bad batch; in
        :meth:`compute` for a class without samples.

    Notes
    -----
    The state is one matrix: class means and counts above, within-class scatter below. Two such
    states merge exactly by the parallel-axis rule, which keeps the digits that the usual difference
    of second moments loses once features collapse.

    References
    ----------
    Chan, Golub, LeVeque (1983), for the merging rule.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> features = torch.randn(100, 5, generator=generator, dtype=torch.float64)
    >>> labels = torch.arange(100) % 3
    >>> metric = NeuralCollapse(num_classes=3)
    >>> for rows, classes in zip(features.split(32), labels.split(32)):
    ...     metric.update(rows, classes)
    >>> bool(torch.isclose(metric.compute()["nc1"], nc1(features, labels)))
    True
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, num_classes, dim=None, *, classifier=None, **kwargs):
        super().__init__(**kwargs)
        if num_classes < 2 or (dim is not None and dim < 1):
            raise ValueError(f"need num_classes >= 2 and dim >= 1, got {num_classes} and {dim}")
        if classifier is not None:
            _check_matrix(classifier, "classifier")
            dim = classifier.shape[1] if dim is None else dim
            if classifier.shape != (num_classes, dim):
                raise ValueError(
                    f"classifier must have shape ({num_classes}, {dim}), "
                    f"got {tuple(classifier.shape)}"
                )
        self.num_classes = num_classes
        # In a list, so that torch does not register the model's parameter as one of this module.
        self._classifier = [classifier]
        self._allocate(dim or 0)

    def _allocate(self, dim):
        """Make an empty state for features of this dimension; 0 stands for not yet known."""
        self.dim = dim
        shape = self.num_classes + dim, dim + 1
        empty = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self.add_state("moments", empty, dist_reduce_fx=self._merge)

    def update(self, features, labels):
        """Add a batch: ``features (B, d)`` and integer ``labels (B,)``; classes may be missing."""
        labels = _checked_labels(features, labels, self.num_classes)
        if self.dim == 0:
            self._allocate(features.shape[1])
        if features.shape[1] != self.dim:
            raise ValueError(f"features must be (B, {self.dim}), got {tuple(features.shape)}")
        features = features.detach().to(self.moments.dtype)
        sums = _class_sums(features, labels, self.num_classes)
        batch = torch.zeros_like(self.moments)
        counts, means, scatter = self._unpack(batch)
        counts.copy_(torch.bincount(labels, minlength=self.num_classes))
        means.copy_(sums / counts.clamp(min=1)[:, None])
        deviations = features - means[labels]
        scatter.copy_(deviations.T @ deviations)
        self.moments = self._merge(torch.stack([self.moments, batch]))

    def forward(self, features, labels):
        """Add a batch, as :meth:`update`: a batch may lack classes and has no value of its own."""
        self.update(features, labels)

    def compute(self):
        """Return ``{"nc1": …, "nc2": …}`` and, given a classifier, ``"nc3"``; 0-d tensors each."""
        counts, means, scatter = self._unpack(self.moments)
        _check_no_class_is_empty(counts)
        whitener = _between_whitener(means)
        within = ((whitener @ scatter) * whitener).sum() / counts.sum()
        values = {"nc1": _or_infinite(within, means), "nc2": nc2(means - means.mean(0))}
        (classifier,) = self._classifier
        if classifier is not None:
            values["nc3"] = nc3(classifier.detach().to(means.device), means)
        return values

    def _unpack(self, moments):
        """Return views of states: counts (…, K), means (…, K, d), scatter (…, d, d)."""
        upper, lower = moments.split([self.num_classes, self.dim], dim=-2)
        return upper[..., -1], upper[..., :-1], lower[..., :-1]

    def _merge(self, states):
        """Merge packed states (S, K+d, d+1) of disjoint samples into one."""
        counts, means, scatter = self._unpack(states)
        merged = torch.zeros_like(states[0])
        total, centre, spread = self._unpack(merged)
        total.copy_(counts.sum(0))
        weights = counts / total.clamp(min=1)
        # Offsets from the heaviest state's means stay small where features have collapsed.
        heaviest = means.gather(0, counts.argmax(0)[None, :, None].expand(1, -1, self.dim))[0]
        centre.copy_(heaviest + (weights[..., None] * (means - heaviest)).sum(0))
        offsets = (counts.sqrt()[..., None] * (means - centre)).flatten(0, 1)
        spread.copy_(scatter.sum(0) + offsets.T @ offsets)
        return merged
