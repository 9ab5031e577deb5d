"""Right and wrong answers that the project's hidden tests must tell apart."""

import numpy as np
import torch

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import project


def share_by_means(features, labels):
    features, labels = torch.as_tensor(features).double(), torch.as_tensor(labels)
    overall, between = features.mean(0), 0.0
    for k in labels.unique():
        between += (
            (labels == k).double().mean()
            * (features[labels == k].mean(0) - overall)
            @ (features[labels == k].mean(0) - overall)
        )
    return between / features.var(0, correction=0).sum()


def share_by_regression(features, labels):
    """Between the classes is what one-hot labels explain."""
    features, labels = np.asarray(features, float), np.asarray(labels)
    one_hot = (labels[:, None] == np.unique(labels)).astype(float)
    fitted = one_hot @ np.linalg.lstsq(one_hot, features, rcond=None)[0]
    return (fitted - features.mean(0)).var(0).sum() / features.var(0).sum() + (
        (fitted.mean(0) - features.mean(0)) ** 2
    ).sum()


def parts(features, labels):
    features, labels = np.asarray(features, float), np.asarray(labels)
    means = np.stack([features[labels == k].mean(0) for k in np.unique(labels)])
    counts = np.array([(labels == k).sum() for k in np.unique(labels)])
    within = sum(
        ((features[labels == k] - mean) ** 2).sum()
        for k, mean in zip(np.unique(labels), means, strict=True)
    )
    return features, means, counts, within


def unweighted(features, labels):
    features, means, _, within = parts(features, labels)
    between = ((means - means.mean(0)) ** 2).sum() / len(means)
    return between / (between + within / len(features))


def uncentred(features, labels):
    features, means, counts, _ = parts(features, labels)
    return (counts[:, None] * means**2).sum() / (features**2).sum()


def over_within(features, labels):
    features, means, counts, within = parts(features, labels)
    return (counts[:, None] * (means - features.mean(0)) ** 2).sum() / within


def degrees_of_freedom(features, labels):
    features, means, counts, within = parts(features, labels)
    between = (counts[:, None] * (means - features.mean(0)) ** 2).sum() / (len(means) - 1)
    return between / (between + within / max(len(features) - len(means), 1))


def no_square(features, labels):
    features, means, counts, _ = parts(features, labels)
    between = (counts * np.linalg.norm(means - features.mean(0), axis=1)).sum()
    return between / np.linalg.norm(features - features.mean(0), axis=1).sum()


def wrong_axis(features, labels):
    features, means, counts, _ = parts(features, labels)
    centred = features - features.mean(1, keepdims=True)
    return (counts[:, None] * (means - means.mean(1, keepdims=True)) ** 2).sum() / (
        centred**2
    ).sum()


def memorised_loop(predicted, given, true):
    rows = [
        p == g
        for p, g, t in zip(map(int, predicted), map(int, given), map(int, true), strict=True)
        if g != t
    ]
    return sum(rows) / len(rows)


def memorised_torch(predicted, given, true):
    predicted, given, true = map(torch.as_tensor, (predicted, given, true))
    wrong = given != true
    return ((predicted == given) & wrong).sum() / wrong.sum()


def as_arrays(function):
    return lambda *arguments: function(*map(np.asarray, arguments))


def directions_by_covariance(features, part):
    values = torch.linalg.eigvalsh(torch.as_tensor(features).double().T.cov()).flip(0)
    held = 0.0
    for count, value in enumerate(values, start=1):
        held += float(value)
        if held >= part * float(values.sum()):
            return count
    return len(values)


def directions_by_search(features, part):
    features = np.asarray(features, float)
    values = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    return 1 + int(np.searchsorted(np.cumsum(values) / values.sum(), part))


def count_of(values, part):
    return 1 + int(np.searchsorted(np.cumsum(values) / values.sum(), part))


def spectrum(features):
    return np.linalg.svd(features - features.mean(0), compute_uv=False)


def evidence_of(mine, **changes):
    """What a student might hand in: features of 150 images in eight dimensions."""
    stream = mine.stream("an answer")
    labels = np.arange(150) % 5
    features = 2 * stream.normal((5, 8))[labels] + stream.normal((150, 8))
    answer = {
        "features": features,
        "labels": labels,
        "share": share_by_means(features, labels),
        "rank": directions_by_search(features, 0.95),
    }
    return answer | {name: change(answer) for name, change in changes.items()}


def runs_of(mine, seeds=(0, 1, 2), decays=None, same=False):
    stream = mine.stream("some runs")
    return [
        {
            "seed": seed,
            "weight_decay": decay,
            "train_accuracy": 0.9 if same else stream.uniform(0.8, 1),
            "test_accuracy": 0.8 if same else stream.uniform(0.7, 0.9),
            "memorised": 0.5 if same else stream.uniform(),
        }
        for decay in decays or project.task(mine).weight_decays
        for seed in seeds
    ]


def someone_else(mine):
    """Return a variant with another task."""
    place = 0
    while True:
        other = variant(f"someone.else.{place}@example.org", "project")
        if project.task(other).weight_decays != project.task(mine).weight_decays:
            return other
        place += 1


RIGHT = {
    "project-q1": {"by the means": share_by_means, "by regression": share_by_regression},
    "project-q2": {"a loop": memorised_loop, "torch": memorised_torch},
    "project-q3": {
        "by the covariance": directions_by_covariance,
        "by search": directions_by_search,
    },
    "project-q4": {
        "arrays": evidence_of,
        "tensors": lambda mine: {
            name: torch.as_tensor(value) for name, value in evidence_of(mine).items()
        },
    },
    "project-q5": {
        "three seeds": runs_of,
        "four seeds": lambda mine: runs_of(mine, seeds=(3, 5, 7, 11)),
    },
}

WRONG = {
    "project-q1": {
        "classes weighted alike": unweighted,
        "uncentred": uncentred,
        "over what is within": over_within,
        "degrees of freedom": degrees_of_freedom,
        "no square": no_square,
        "wrong axis": wrong_axis,
        "the public answer": lambda features, labels: 0.8,
    },
    "project-q2": {
        "of all samples": as_arrays(lambda p, g, t: ((p == g) & (g != t)).mean()),
        "training accuracy": as_arrays(lambda p, g, t: (p == g).mean()),
        "predicted truly": as_arrays(lambda p, g, t: (p == t)[g != t].mean()),
        "anything but the truth": as_arrays(lambda p, g, t: (p != t)[g != t].mean()),
        "the public answer": lambda p, g, t: 0.5,
    },
    "project-q3": {
        "uncentred": lambda f, part: count_of(np.linalg.svd(f, compute_uv=False) ** 2, part),
        "no square": lambda f, part: count_of(spectrum(np.asarray(f)), part),
        "one less": lambda f, part: count_of(spectrum(np.asarray(f)) ** 2, part) - 1,
        "one more": lambda f, part: count_of(spectrum(np.asarray(f)) ** 2, part) + 1,
        "wrong axis": lambda f, part: count_of(
            np.linalg.svd(f - f.mean(1, keepdims=True), compute_uv=False) ** 2, part
        ),
        "the public answer": lambda f, part: 1,
    },
    "project-q4": {
        "a share that does not fit": lambda mine: evidence_of(
            mine, share=lambda answer: over_within(answer["features"], answer["labels"])
        ),
        "labels of other images": lambda mine: evidence_of(
            mine, labels=lambda answer: np.sort(answer["labels"])
        ),
        "rank of uncentred features": lambda mine: evidence_of(
            mine, rank=lambda answer: answer["features"].shape[1]
        ),
        "one image again and again": lambda mine: evidence_of(
            mine, features=lambda answer: np.ones((150, 1)) @ answer["features"][:1]
        ),
        "not a number": lambda mine: evidence_of(mine, share=lambda answer: float("nan")),
    },
    "project-q5": {
        "one seed": lambda mine: runs_of(mine, seeds=(0,)),
        "the same seed three times": lambda mine: runs_of(mine, seeds=(0, 0, 0)),
        "another variant": lambda mine: runs_of(someone_else(mine)),
        "one weight decay": lambda mine: runs_of(mine, decays=(0.0,)),
        "invented": lambda mine: runs_of(mine, same=True),
    },
}

EQUIVALENT = {
    "project-q3": {
        "line 7: held < part → held <= part": "differs only where a share equals `part` exactly, "
        "which rounding decides",
    },
    "project-q4": {"*": "which network and which images is free; the tests compare the numbers"},
    "project-q5": {"*": "how a network is trained is free"},
}
