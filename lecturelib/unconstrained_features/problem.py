"""What is minimised: the sizes, the loss and the penalties."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lecturelib import checks
from lecturelib.losses import CrossEntropy, Loss


@dataclass(frozen=True)
class WeightDecay:
    r"""Weights of the three penalties, with the factor ½ of torch's ``weight_decay``.

    Parameters
    ----------
    W, H : float
        :math:`\lambda_W, \lambda_H \ge 0`, of the classifier and the features.
    b : float, optional
        :math:`\lambda_b \ge 0`, of the bias; of no account where there is none.

    Raises
    ------
    TypeError, ValueError
        If one is not a finite number, or negative.

    Examples
    --------
    >>> WeightDecay(0.01, 0.005)
    WeightDecay(W=0.01, H=0.005, b=0.0)
    """

    W: float
    H: float
    b: float = 0.0

    def __post_init__(self):
        for name in ("W", "H", "b"):
            object.__setattr__(self, name, checks.number(name, getattr(self, name), least=0))


@dataclass(frozen=True)
class Problem:
    r"""An unconstrained features model to be minimised, without its variables.

    Parameters
    ----------
    num_classes : int
        K, at least 2.
    samples_per_class : int or sequence of int
        Number n, at least 1; or one for each class.
    dim : int
        Dimension d of the features, at least 1.
    weight_decay : WeightDecay or float
        Weights of the penalties; one number for all three.
    loss : Loss, optional
        One of :mod:`lecturelib.losses`.
    bias : bool, optional
        Whether there is a bias.
    nonnegative : bool, optional
        Whether features must be non-negative, as after a ReLU.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Mixon et al. (2022); Zhu et al. (2021), equation (3); lecture 003, "Simplification:
    Unconstrained Features II"; lecture 004 for non-negative features.

    Examples
    --------
    >>> problem = Problem(3, samples_per_class=25, dim=4, weight_decay=0.01)
    >>> problem.weight_decay, problem.price
    (WeightDecay(W=0.01, H=0.01, b=0.01), 0.05)
    >>> Problem(3, samples_per_class=(3, 1, 2), dim=4, weight_decay=0.01).labels
    tensor([0, 0, 0, 1, 2, 2])
    """

    num_classes: int
    samples_per_class: int | tuple
    dim: int
    weight_decay: WeightDecay
    loss: Loss = field(default_factory=CrossEntropy)
    bias: bool = True
    nonnegative: bool = False

    def __post_init__(self):
        num_classes = checks.integer("num_classes", self.num_classes, least=2)
        checked = {
            "num_classes": num_classes,
            "samples_per_class": _samples(self.samples_per_class, num_classes),
            "dim": checks.integer("dim", self.dim, least=1),
            "weight_decay": _weight_decay(self.weight_decay),
            "bias": checks.flag("bias", self.bias),
            "nonnegative": checks.flag("nonnegative", self.nonnegative),
        }
        if not isinstance(self.loss, Loss):
            raise checks.wrong("loss", "a loss of lecturelib.losses", self.loss, TypeError)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def counts(self):
        """Number of samples of each class, a tuple of K."""
        equal = isinstance(self.samples_per_class, int)
        return (self.samples_per_class,) * self.num_classes if equal else self.samples_per_class

    @property
    def num_samples(self):
        """Number N of samples."""
        return sum(self.counts)

    @property
    def labels(self):
        """Classes of the samples: 0, …, 0, 1, …, 1 and so on, a tensor of shape (N,)."""
        return torch.arange(self.num_classes).repeat_interleave(torch.tensor(self.counts))

    @property
    def price(self):
        r"""Price of one unit of contrast, :math:`c = \sqrt{n \lambda_W \lambda_H}`.

        Raises
        ------
        ValueError
            If the classes have different numbers of samples: then there is no one price.
        """
        if not isinstance(self.samples_per_class, int):
            raise checks.wrong(
                "samples_per_class", "the same for all classes here", self.samples_per_class
            )
        return math.sqrt(self.samples_per_class * self.weight_decay.W * self.weight_decay.H)


def checked_problem(problem):
    """Return a problem, after checking that it is one."""
    if not isinstance(problem, Problem):
        raise checks.wrong("problem", "a Problem", problem, TypeError)
    return problem


def _samples(given, num_classes):
    """One number of samples if all classes have it, else a tuple of one for each class."""
    if not isinstance(given, Sequence) and getattr(given, "ndim", 0) != 1:
        return checks.integer("samples_per_class", given, least=1)
    counts = checks.integers("samples_per_class", given, length=num_classes, least=1)
    return counts[0] if len(set(counts)) == 1 else counts


def _weight_decay(given):
    if isinstance(given, WeightDecay):
        return given
    try:
        number = checks.number("weight_decay", given, least=0)
    except TypeError:
        expected = "a WeightDecay or a number >= 0"
        raise checks.wrong("weight_decay", expected, given, TypeError) from None
    return WeightDecay(number, number, number)
