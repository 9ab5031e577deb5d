"""Assignment 1: neural collapse and unconstrained features.

A variant is a classifier with features, whose bias spoils the nearest-centre rule, and the sizes
and penalties of an unconstrained features model.
"""

import math
from dataclasses import dataclass

import torch

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    array,
    expect,
    expect_close,
    read_entries,
)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Features of a network near collapse, and its last layer; all float64 but the labels.

    `features` (N, d) are those of the training set and `labels` (N,) their classes 0 … K - 1, which
    are not equally large; `weights` (K, d) and `bias` (K,) are the last layer; `new` (M, d) are
    features of inputs that the network was not trained on.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    new: torch.Tensor


def classifier(mine):
    """Return the classifier of a variant.

    Parameters
    ----------
    mine : Variant
        Whose classifier.

    Returns
    -------
    Classifier

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw1
    >>> net = hw1.classifier(variant("ada@example.org", "hw1"))
    >>> len(net.weights) == len(net.bias) == len(net.labels.unique())
    True
    """
    stream = mine.stream("classifier")
    num_classes, dim = stream.integers(4, 8), stream.integers(8, 13)
    # Unequal lengths, and far from the origin as after a ReLU: otherwise no bias is needed.
    lengths = stream.uniform(1.0, 2.5, shape=(num_classes, 1))
    means = torch.from_numpy(lengths * stream.normal((num_classes, dim)) + 1.5)
    counts = torch.from_numpy(stream.integers(15, 40, shape=num_classes))
    labels = torch.arange(num_classes).repeat_interleave(counts)
    noise = torch.from_numpy(stream.normal((len(labels), dim)))
    features = means[labels] + 0.4 * noise
    centres = torch.stack([features[labels == k].mean(0) for k in range(num_classes)])
    scale = stream.uniform(0.3, 0.9)
    errors = torch.from_numpy(stream.normal((num_classes, dim)))
    weights = scale * (centres - centres.mean(0) + 0.25 * errors)
    bias = 2 * torch.from_numpy(stream.normal(num_classes))
    drawn = torch.from_numpy(stream.integers(num_classes, shape=2000))
    new = means[drawn] + 1.5 * torch.from_numpy(stream.normal((2000, dim)))
    return Classifier(features, labels, weights, bias, new)


@dataclass(frozen=True)
class Model:
    """Sizes and penalties of an unconstrained features model, and what it should reach.

    There are `num_classes` classes with `samples_per_class` samples each. `decay_w` is the penalty
    on the classifier, and `confidence` the probability that each sample's own class should get.
    """

    num_classes: int
    samples_per_class: int
    decay_w: float
    confidence: float


def model(mine):
    """Return the unconstrained features model of a variant.

    Parameters
    ----------
    mine : Variant
        Whose model.

    Returns
    -------
    Model

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw1
    >>> task = hw1.model(variant("ada@example.org", "hw1"))
    >>> task.num_classes >= 5, 0.8 <= task.confidence < 1
    (True, True)
    """
    stream = mine.stream("model")
    return Model(
        num_classes=stream.integers(5, 13),
        samples_per_class=stream.integers(20, 200),
        decay_w=stream.integers(10, 100) / 10_000,
        confidence=stream.integers(80, 99) / 100,
    )


def _five_points(answer, mine):
    features = torch.tensor([[0.0], [2.0], [4.0], [4.0], [4.0]], dtype=torch.float64)
    labels = torch.tensor([5, 5, 9, 9, 9])
    # By hand: 2/5 within; the means 1 and 4 lie 1.8 and 1.2 from that of all points, 2.8.
    hint = "on 0, 2 | 4, 4, 4 both scatters can be had by hand: count every point once"
    expect_close(answer(features, labels), 5 / 27, hint)


def _nothing_within(answer, mine):
    features = mine.stream("public points").normal((3, 6))
    features = torch.from_numpy(features).repeat_interleave(torch.tensor([2, 5, 3]), 0)
    labels = torch.tensor([0] * 2 + [1] * 5 + [2] * 3)
    hint = "classes that are points have no scatter within"
    expect_close(answer(features, labels), 0.0, hint, abs=1e-9)


def _nothing_merged(answer, mine):
    expected = 4 / 3 * torch.eye(4, dtype=torch.float64) - 1 / 3
    hint = "groups of one class each leave the simplex ETF as it is"
    expect_close(answer([1, 1, 1, 1]), expected, hint, abs=1e-9)


def _two_groups(answer, mine):
    hint = "the means of two groups must be opposite, for all classes together have the mean zero"
    expected = [[1.0, -1.0], [-1.0, 1.0]]
    expect_close(answer([2, 5]), expected, hint, abs=1e-9)


def _penalty(answer, mine):
    task = model(mine)
    decay_h, objective, norm_w = read_entries(answer, "decay_h", "objective", "norm_w")
    expect(decay_h > 0, "decay_h must be positive: without a penalty the features grow for ever")
    price = math.sqrt(task.samples_per_class * task.decay_w * decay_h)
    expect(task.num_classes * price < 1, "with so large a decay_h the model learns nothing")
    hint = "the minimum must lie below the loss without features"
    expect(0 < objective < math.log(task.num_classes), hint)
    expect(norm_w > 0, "norm_w must be positive")


def _penalty_grows(answer, mine):
    margins = [array(answer(4, 10, penalty, 1.5), ()) for penalty in (1e-3, 1e-1, 10.0)]
    expect(margins[0] > margins[1] > margins[2], "a dearer feature should buy less margin")


def _two_classes(answer, mine):
    hint = "two classes of one sample each: write down the objective in one unknown"
    expect_close(answer(2, 1, 0.5, 1.0), TWO_CLASSES, hint, rel=1e-5)


# The margin of two classes with one sample each, penalty ½, and rows of length one.
TWO_CLASSES = 1.042596914000558


def _shares(answer, mine):
    c, before, after = read_entries(answer, "c", "before", "after")
    expect(c > 0, "features and classifier point in the same direction: c is positive")
    for name, share in (("before", before), ("after", after)):
        expect(0 <= share <= 1, f"{name!r} must be a share, between 0 and 1")
    expect(after < before, "the new bias should make the rules agree more often")


ASSIGNMENT = Assignment(
    name="hw1",
    title="Neural collapse and unconstrained features",
    minutes=90,
    questions=(
        Question(
            "hw1-q1",
            "Collapse of unequal classes",
            "weighted_nc1",
            "function",
            (
                Test("five points on a line", _five_points),
                Test("classes that are points", _nothing_within),
            ),
            points=5,
        ),
        Question("hw1-q2", "Coarse labels", "", "written", (), read_by_a_person=6),
        Question(
            "hw1-q3",
            "Cosines of coarse classes",
            "coarse_cosines",
            "function",
            (
                Test("groups of one class", _nothing_merged),
                Test("two groups", _two_groups),
            ),
            points=4,
        ),
        Question(
            "hw1-q4",
            "A penalty for a given confidence",
            "penalty",
            "value",
            (Test("three numbers in their ranges", _penalty),),
            points=6,
        ),
        Question(
            "hw1-q5",
            "A classifier that does not learn",
            "fixed_margin",
            "function",
            (
                Test("the margin against the penalty", _penalty_grows),
                Test("two classes of one sample", _two_classes),
            ),
            points=5,
        ),
        Question("hw1-q6", "Why one has a threshold", "", "written", (), read_by_a_person=5),
        Question(
            "hw1-q7",
            "A bias for the nearest centre",
            "nearest",
            "value",
            (Test("shares and a scale", _shares),),
            points=5,
        ),
    ),
)
