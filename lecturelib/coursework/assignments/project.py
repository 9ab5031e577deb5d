"""The project: what a network does with labels that are wrong, on real images.

A variant is five classes of a data set, a share of training labels that are replaced by wrong ones,
and two weight decays to compare.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lecturelib import datasets
from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    Wrong,
    array,
    expect,
    expect_close,
)

CLASSES = 5


@dataclass(frozen=True)
class Task:
    """A student's own task.

    `classes` are five of the numbers 0 … 9, ascending: the classes of the data set to keep, which
    are then called 0 … 4. `wrong_share` is the share of training labels to replace, and
    `weight_decays` the two penalties to compare.
    """

    classes: tuple[int, ...]
    wrong_share: float
    weight_decays: tuple[float, float]


def task(mine):
    """Return the task of a variant.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments.project import task
    >>> mine = task(variant("ada@example.org", "project"))
    >>> len(mine.classes), 0.05 <= mine.wrong_share <= 0.2
    (5, True)
    """
    stream = mine.stream("task")
    classes = tuple(sorted(int(c) for c in stream.permutation(10)[:CLASSES]))
    wrong_share = stream.integers(5, 21) / 100
    large = (0.05, 0.07, 0.1)[stream.integers(3)]
    return Task(classes, wrong_share, (0.0, large))


@dataclass(frozen=True, eq=False)
class Data:
    """Training and test images of the task's classes.

    `inputs` (N, C, H, W) are standardised; `given` (N,) are the training labels, some of them
    wrong; `true` (N,) are the right ones; `test_inputs` and `test_labels` are not touched. Labels
    are int64 from 0 to 4.
    """

    inputs: torch.Tensor
    given: torch.Tensor
    true: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor


def data(mine, name="digits", **options):
    """Load a data set and make the variant's data of it.

    Parameters
    ----------
    mine : Variant
        Whose data.
    name : str
        A data set of ten classes that `lecturelib.datasets.load` knows.
    **options
        `device`, `root` and `download` of `lecturelib.datasets.load_standardized`.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        If the data set does not have ten classes.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import project
    >>> mine = variant("ada@example.org", "project")
    >>> found = project.data(mine, "digits")
    >>> wrong = (found.given != found.true).double().mean()
    >>> bool(abs(wrong - project.task(mine).wrong_share) < 0.002)
    True
    """
    train, test = datasets.load_standardized(name, **options)
    if train.num_classes != 10:
        raise ValueError(f"the project needs ten classes, but {name} has {train.num_classes}")
    chosen = task(mine)
    inputs, true = _only(train, chosen.classes)
    test_inputs, test_labels = _only(test, chosen.classes)
    stream = mine.stream("labels")
    count = round(chosen.wrong_share * len(true))
    places = torch.from_numpy(stream.permutation(len(true))[:count]).to(true.device)
    given = true.clone()
    # One of the four other classes: 1 … 4 further on.
    steps = torch.from_numpy(stream.integers(1, CLASSES, shape=count)).to(true.device)
    given[places] = (true[places] + steps) % CLASSES
    return Data(inputs, given, true, test_inputs, test_labels)


def _only(dataset, classes):
    """Images and labels of some classes, which are numbered anew."""
    numbers = torch.full((10,), -1, dtype=torch.int64, device=dataset.labels.device)
    numbers[list(classes)] = torch.arange(len(classes), device=dataset.labels.device)
    labels = numbers[dataset.labels]
    return dataset.inputs[labels >= 0], labels[labels >= 0]


def _two_points_a_class(answer, mine):
    features = torch.tensor([[0.0], [2.0], [4.0], [6.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    # By hand: the variance is 5; each class has 1 within, and the means 1 and 5 have 4 between.
    expect_close(answer(features, labels), 0.8, "on 0, 2 | 4, 6 the shares can be had by hand")


def _one_class_of_three(answer, mine):
    predicted = torch.tensor([1, 0, 2, 2])
    given = torch.tensor([1, 1, 2, 2])
    true = torch.tensor([0, 0, 2, 2])
    # Two labels are wrong, and the network says one of them.
    expect_close(answer(predicted, given, true), 0.5, "two labels are wrong here: which count?")


def _line(answer, mine):
    features = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None] * torch.ones(1, 3).double()
    expect(answer(features, 0.95) == 1, "points on a line have one direction that varies")


def _evidence(answer, mine):
    features, labels = read_evidence(answer)
    expect(len(labels) >= 100, "give the features of at least 100 test images")
    expect(len(set(labels.tolist())) == CLASSES, "each of the five classes must be there")
    expect(features.std(0).max() > 0, "the features must differ between images")


def read_evidence(answer):
    """Return features (N, d) and labels (N,) of an answer to the fourth question, as arrays."""
    expect(isinstance(answer, dict), "the answer must be a dict")
    missing = {"features", "labels", "share", "rank"} - set(answer)
    if missing:
        raise Wrong(f"the dict lacks {', '.join(sorted(missing))}")
    features = array(answer["features"], what="features")
    labels = array(answer["labels"], what="labels")
    expect(features.ndim == 2, "features must have the shape (N, d)")
    expect(labels.shape == features.shape[:1], "there must be one label for each row of features")
    expect(bool(np.isin(labels, range(CLASSES)).all()), "labels must be numbers from 0 to 4")
    return features, labels.astype(int)


def _runs(answer, mine):
    expect(isinstance(answer, list), "the answer must be a list of dicts, one a run")
    for run in answer:
        expect(isinstance(run, dict), "the answer must be a list of dicts, one a run")
        for name in ("seed", "weight_decay", "train_accuracy", "test_accuracy", "memorised"):
            if name not in run:
                raise Wrong(f"a run lacks {name!r}")
            number = array(run[name], (), what=name)
            if name.endswith("accuracy") or name == "memorised":
                expect(0 <= number <= 1, f"{name} must be a share, between 0 and 1")


ASSIGNMENT = Assignment(
    name="project",
    title="What does a network do with wrong labels?",
    minutes=1500,
    questions=(
        Question(
            "project-q1",
            "The share of variance between classes",
            "share_between",
            "function",
            (Test("two classes of two points", _two_points_a_class),),
            points=4,
        ),
        Question(
            "project-q2",
            "What was memorised",
            "memorised",
            "function",
            (Test("four labels, two of them wrong", _one_class_of_three),),
            points=3,
        ),
        Question(
            "project-q3",
            "How many directions",
            "directions",
            "function",
            (Test("points on a line", _line),),
            points=4,
        ),
        Question(
            "project-q4",
            "The evidence",
            "evidence",
            "value",
            (Test("features and labels of test images", _evidence),),
            points=4,
        ),
        Question(
            "project-q5",
            "The runs",
            "runs",
            "value",
            (Test("a row for each run", _runs),),
            points=4,
        ),
        Question("project-q6", "The report", "", "written", (), read_by_a_person=24),
    ),
)
