"""Hidden tests of assignment 1."""

import math
from functools import cache, partial

import numpy as np
import torch

from lecturelib.coursework.assignments import hw1
from lecturelib.coursework.questions import Test, expect_close, same_entry


def nc1(features, labels):
    """tr(Σ_W Σ_B†) through the K x K matrix of the weighted means, which has the same spectrum."""
    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([features[labels == k].mean(0) for k in classes])
    offsets = np.sqrt(counts / len(labels))[:, None] * (means - features.mean(0))
    _, values, right = np.linalg.svd(offsets, full_matrices=False)
    right, values = right[values > 1e-5 * values[0]], values[values > 1e-5 * values[0]]
    residual = features - means[np.searchsorted(classes, labels)]
    return ((residual @ right.T / values) ** 2).sum() / len(labels)


def drawn(mine, name, counts, dim, names):
    """Features of unequal classes away from the origin, in random order, and their labels."""
    stream = mine.stream(f"hidden {name}")
    classes = np.repeat(np.arange(len(counts)), counts)
    classes = classes[stream.permutation(len(classes))]
    features = 2 * stream.normal((len(counts), dim))[classes] + 3
    stretch = stream.uniform(0.2, 1.5, shape=dim)
    features = features + stretch * stream.normal((len(classes), dim)) * (1 + classes[:, None] / 2)
    return features, np.array(names)[classes]


def tensors(features, labels):
    return torch.from_numpy(features), torch.from_numpy(labels)


def unequal_classes(answer, mine):
    features, labels = drawn(mine, "unequal", [40, 12, 5], 6, [0, 1, 2])
    hint = "every sample counts once, in both scatters and in the mean of all"
    expect_close(answer(*tensors(features, labels)), nc1(features, labels), hint)


def any_labels(answer, mine):
    for name, counts, dim, names in (
        ("names", [9, 20, 7, 3], 15, [7, -2, 40, 11]),
        ("few dimensions", [8, 5, 9, 30, 4, 6], 2, [1, 2, 3, 4, 5, 9]),
    ):
        features, labels = drawn(mine, name, counts, dim, names)
        hint = "labels are any integers, and Σ_B may be singular or not"
        expect_close(answer(*tensors(features, labels)), nc1(features, labels), hint)


def means_on_a_line(answer, mine):
    stream = mine.stream("hidden line")
    labels = np.repeat(np.arange(4), [6, 9, 5, 7])
    # Off the line by a millionth: squared, and over the largest eigenvalue, far below 1e-10.
    means = np.outer([-3.0, -1.0, 1.0, 4.0], [1.0, 2.0, 0.0]) + 1e-6 * stream.normal((4, 3))
    features = means[labels]
    noise = stream.normal(features.shape)
    for k in range(4):
        features[labels == k] += noise[labels == k] - noise[labels == k].mean(0)
    hint = "eigenvalues of Σ_B below 1e-10 times the largest count as zero"
    expect_close(answer(*tensors(features, labels)), nc1(features, labels), hint, rel=1e-5)


def cosines_of(sizes):
    """Build the simplex ETF as centred unit vectors, average groups, and measure."""
    number = sum(sizes)
    frame = np.eye(number) - 1 / number
    ends = np.cumsum(sizes)
    means = np.stack(
        [frame[end - size : end].mean(0) for size, end in zip(sizes, ends, strict=True)]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means @ means.T


def unequal_groups(answer, mine):
    sizes = [size + 1 for size in mine.stream("hidden groups").permutation(5).tolist()]
    hint = "groups of different sizes have different angles"
    expect_close(answer(sizes), cosines_of(sizes), hint, abs=1e-9)


def equal_groups(answer, mine):
    size = mine.stream("hidden equal").integers(2, 6)
    hint = "what are the angles if all groups have one size?"
    expect_close(answer([size] * 4), cosines_of([size] * 4), hint, abs=1e-9)


@cache
def minimum(mine):
    """Solve for the penalty that gives the confidence: bisection on the chapter's margin."""
    task = hw1.model(mine)
    K, n = task.num_classes, task.samples_per_class

    def confidence(decay_h):
        margin = math.log(1 / math.sqrt(n * task.decay_w * decay_h) - (K - 1))
        return 1 / (1 + (K - 1) * math.exp(-margin)), margin

    low, high = 0.0, 1 / (K**2 * n * task.decay_w)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if confidence(middle)[0] > task.confidence else (low, middle)
    _, margin = confidence(low)
    norm_h = math.sqrt(math.sqrt(n * task.decay_w / low) * (K - 1) * margin)
    norm_w = math.sqrt(low / task.decay_w) * norm_h
    cost = (task.decay_w * norm_w**2 + low * norm_h**2) / 2
    return {"decay_h": low, "objective": cost - math.log(task.confidence), "norm_w": norm_w}


def margin(num_classes, samples_per_class, decay_h, length):
    """The root of q a = (K - 1) / (e^a + K - 1), by bisection."""
    wrong = num_classes - 1
    q = samples_per_class * decay_h * wrong**2 / (num_classes * length**2)
    low, high = 0.0, 1 / q
    for _ in range(200):
        middle = (low + high) / 2
        push = wrong / (math.exp(min(middle, 700.0)) + wrong)
        low, high = (middle, high) if q * middle < push else (low, middle)
    return low


def many_settings(answer, mine):
    stream = mine.stream("hidden margins")
    for _ in range(4):
        classes, samples = stream.integers(3, 30), stream.integers(2, 60)
        decay, length = 10 ** stream.uniform(-4, -1), stream.uniform(0.5, 4)
        expected = margin(classes, samples, decay, length)
        hint = f"not so with {classes} classes of {samples} samples, decay_h = {decay:.4g}"
        expect_close(answer(classes, samples, decay, length), expected, hint, rel=1e-5)


def ends_of_the_range(answer, mine):
    for decay in (1e-5, 10.0):
        expected = margin(6, 8, decay, 1.5)
        hint = "very small and very large penalties have a margin too"
        expect_close(answer(6, 8, decay, 1.5), expected, hint, rel=1e-5)


@cache
def nearest(mine):
    net = hw1.classifier(mine)
    features, labels, weights, bias, new = (
        part.numpy() for part in (net.features, net.labels, net.weights, net.bias, net.new)
    )
    means = np.stack([features[labels == k].mean(0) for k in range(len(bias))])
    centred = means - means.mean(0)
    c = np.linalg.lstsq(centred.reshape(-1, 1), weights.reshape(-1), rcond=None)[0].item()
    centre = ((new[:, None] - means) ** 2).sum(2).argmin(1)
    shares = [
        ((new @ weights.T + b).argmax(1) != centre).mean()
        for b in (bias, -c / 2 * (means**2).sum(1))
    ]
    return {"c": c, "before": shares[0], "after": shares[1]}


same = partial(same_entry, minimum)
near = partial(same_entry, nearest, abs=1e-9)

HIDDEN = {
    "hw1-q1": (
        Test("unequal classes", unequal_classes, 3),
        Test("any labels and any number of dimensions", any_labels, 1),
        Test("means on a line", means_on_a_line, 1),
    ),
    "hw1-q3": (
        Test("unequal groups", unequal_groups, 3),
        Test("equal groups", equal_groups, 1),
    ),
    "hw1-q4": (
        Test("the penalty", same("decay_h", "which price gives the probability p?"), 2),
        Test("the objective", same("objective", "is the whole objective counted?"), 2),
        Test("the classifier", same("norm_w", "how is the penalty shared between W and H?"), 2),
    ),
    "hw1-q5": (
        Test("many settings", many_settings, 3),
        Test("very small and very large penalties", ends_of_the_range, 2),
    ),
    "hw1-q7": (
        Test("the scale", near("c", "c is that of the best fit to the centred means"), 1),
        Test("before", near("before", "which class mean is nearest to each new input?"), 2),
        Test("after", near("after", "the bias must turn scores into distances"), 2),
    ),
}
