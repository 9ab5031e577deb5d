"""Hidden tests of the project."""

import numpy as np

from lecturelib.coursework.assignments import project
from lecturelib.coursework.questions import Test, array, expect, expect_close


def share(features, labels):
    """Return the share of the total variance that lies between the classes, by sums of squares."""
    centred = features - features.mean(0)
    within = sum(
        ((features[labels == k] - features[labels == k].mean(0)) ** 2).sum() for k in set(labels)
    )
    return 1 - within / (centred**2).sum()


def rank(features, part):
    """Return how many principal directions hold at least a part of the variance."""
    values = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    held = np.cumsum(values) / values.sum()
    return int((held < part).sum()) + 1


def unequal(mine, name):
    """Draw features (60, 4) far from the origin, and labels of three unequal classes."""
    stream = mine.stream(f"hidden {name}")
    labels = stream.permutation(60) % 10
    labels = np.where(labels < 6, 0, np.where(labels < 9, 1, 2))
    means = 3 * stream.normal((3, 4)) + 10
    return means[labels] + stream.normal((60, 4)) * np.array([3.0, 1.0, 0.5, 0.1]), labels


def unequal_classes(answer, mine):
    features, labels = unequal(mine, "share")
    hint = "the classes need not be equally large, nor their mean zero"
    expect_close(answer(features, labels), share(features, labels), hint)


def one_point_classes(answer, mine):
    features = mine.stream("hidden points").normal((5, 3))
    expect_close(answer(features, np.arange(5)), 1.0, "classes of one point have nothing within")


def labels_drawn(answer, mine):
    stream = mine.stream("hidden memory")
    true = stream.integers(0, 5, shape=200)
    given = np.where(stream.uniform(shape=200) < 0.3, (true + 1) % 5, true)
    predicted = np.where(stream.uniform(shape=200) < 0.6, given, stream.integers(0, 5, shape=200))
    expected = (predicted == given)[given != true].mean()
    hint = "of the samples whose label is wrong, how many are predicted as labelled?"
    expect_close(answer(predicted, given, true), expected, hint)


def known_spectrum(answer, mine):
    stream = mine.stream("hidden directions")
    basis = np.linalg.qr(stream.normal((40, 7)) - 0)[0]
    basis = np.linalg.qr(basis - basis.mean(0))[0]
    right = np.linalg.qr(stream.normal((7, 7)))[0]
    values = np.array([8.0, 5.0, 3.0, 2.0, 1.0, 0.4, 0.1])
    features = basis * values @ right.T + 20
    for part in (0.5, 0.9, 0.95, 0.99):
        hint = "variances are squares of singular values, about the mean"
        expect(array(answer(features, part), ()) == rank(features, part), hint)


def all_of_it(answer, mine):
    features = mine.stream("hidden all").normal((30, 3)) @ np.diag([1.0, 2.0, 3.0])
    expect(array(answer(features, 0.999999), ()) == 3, "nearly all variance needs all directions")


def numbers_fit_the_evidence(answer, mine):
    features, labels = project.read_evidence(answer)
    hint = "the share is not that of these features and labels"
    expect_close(answer["share"], share(features, labels), hint, rel=1e-3, abs=1e-4)
    expect(array(answer["rank"], ()) == rank(features, 0.95), "the rank is not that of 95 %")


def the_evidence_is_a_sample(answer, mine):
    features, labels = project.read_evidence(answer)
    expect(len(np.unique(features, axis=0)) > 0.5 * len(labels), "rows repeat")
    expect(features.shape[1] >= 4, "the last hidden layer has more units than that")


def three_seeds_each(answer, mine):
    rows = [{name: float(value) for name, value in run.items()} for run in answer]
    for decay in project.task(mine).weight_decays:
        seeds = {run["seed"] for run in rows if abs(run["weight_decay"] - decay) <= 1e-9}
        expect(
            len(seeds) >= 3, f"three seeds are wanted for each of your weight decays ({decay:g})"
        )


def runs_differ(answer, mine):
    names = ("train_accuracy", "test_accuracy", "memorised")
    shown = {tuple(float(run[name]) for name in names) for run in answer}
    expect(len(shown) > 1, "different runs give different numbers")


HIDDEN = {
    "project-q1": (
        Test("unequal classes, away from the origin", unequal_classes, 3),
        Test("classes of one point", one_point_classes, 1),
    ),
    "project-q2": (Test("labels drawn at random", labels_drawn, 3),),
    "project-q3": (
        Test("a known spectrum", known_spectrum, 3),
        Test("nearly all of the variance", all_of_it, 1),
    ),
    "project-q4": (
        Test("the numbers fit the evidence", numbers_fit_the_evidence, 3),
        Test("the evidence is a sample", the_evidence_is_a_sample, 1),
    ),
    "project-q5": (
        Test("three seeds for each weight decay", three_seeds_each, 3),
        Test("the runs differ", runs_differ, 1),
    ),
}
