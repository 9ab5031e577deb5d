"""Assignment 5: sparse codes, and an attack that seems to fail.

A variant is three atoms in the plane, a sparse coding problem, and a network of hard thresholds
with images of digits that it knows.
"""

import math

import numpy as np
import torch
from sklearn.linear_model import lars_path
from torch import nn

from lecturelib import datasets
from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    array,
    expect,
    expect_close,
    read_entries,
)

# Length and depth of the long atom, with which the others fall into place.
LONG = ((2, 1.5), (2, 2), (2, 2.5), (2.5, 2), (2.5, 3), (3, 2.5), (3, 3))
RADIUS = 0.15  # largest change of a pixel
UNITS, IMAGES = 200, 24


def three_atoms(mine):
    """Return the three atoms of a variant in the plane, and an input.

    Parameters
    ----------
    mine : Variant
        Whose atoms.

    Returns
    -------
    dictionary : Tensor, shape (2, 3)
        One atom a column, float64; two of them have length one.
    inputs : Tensor, shape (2,)
        The input.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw5
    >>> dictionary, inputs = hw5.three_atoms(variant("ada@example.org", "hw5"))
    >>> sorted(dictionary.norm(dim=0).tolist())[:2]
    [1.0, 1.0]
    """
    stream = mine.stream("atoms")
    p, q = LONG[stream.integers(len(LONG))]
    small = stream.integers(1, 4)
    large = math.floor(q * small / (p - 1)) + stream.integers(1, 4)
    dictionary = torch.tensor([[1, 0, p], [0, 1, -q]], dtype=torch.float64)
    inputs = torch.tensor([large, small], dtype=torch.float64)
    # The same in another order, and seen in mirrors.
    rows = torch.from_numpy(stream.permutation(2))
    flips = torch.from_numpy(1.0 - 2 * stream.integers(0, 2, 2))
    order = torch.from_numpy(stream.permutation(3))
    signs = torch.from_numpy(1.0 - 2 * stream.integers(0, 2, 3))
    signs[stream.integers(0, 3)] = -1  # at least one atom that points elsewhere
    turned = flips[:, None] * dictionary[rows]
    return (turned * signs)[:, order] + 0.0, flips * inputs[rows]


def coding_problem(mine):
    """Return the sparse coding problem of a variant.

    Parameters
    ----------
    mine : Variant
        Whose problem.

    Returns
    -------
    dictionary : Tensor, shape (m, n)
        Atoms of length one, float64, twice as many as dimensions.
    inputs : Tensor, shape (m,)
        The input.
    penalty : float
        The penalty, less than what makes the code zero.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw5
    >>> dictionary, inputs, penalty = hw5.coding_problem(variant("ada@example.org", "hw5"))
    >>> dictionary.shape[1] == 2 * len(inputs)
    True
    """
    stream = mine.stream("coding")
    m = stream.integers(14, 21)
    # Atoms that have something in common, as patches of images have.
    dictionary = torch.from_numpy(stream.normal((m, 2 * m)) + 0.5 * stream.normal((m, 1)))
    dictionary = dictionary / dictionary.norm(dim=0)
    inputs = torch.from_numpy(stream.normal(m))
    # Well between two corners of the path, so that nobody has to ask whether an atom is in use.
    corners, _, codes = lars_path(dictionary.numpy(), inputs.numpy(), method="lasso")
    number = stream.integers(5, 9)  # of m + 1 corners or more
    steps = np.diff(np.log(corners[number - 2 : number + 4]))
    number += int(steps.argmin()) - 2
    penalty = m * math.sqrt(corners[number] * corners[number + 1])
    if (codes[:, number + 1] >= 0).all():  # then signs would make no difference
        dictionary[:, codes[:, number + 1].argmax()] *= -1
    return dictionary, inputs, round(penalty, 4)


class Switches(nn.Module):
    """A network of units that are on or off: it maps images (N, 64) to logits (N, 10).

    Unit j is one if its row of `weights` times the image is above its entry of `thresholds`, and
    zero otherwise. `readout` (units, 10) makes logits of that.
    """

    def __init__(self, weights, thresholds, readout):
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("thresholds", thresholds)
        self.register_buffer("readout", readout)

    def forward(self, images):
        """Return the logits. PyTorch differentiates the sign, too: its slope is zero."""
        return self.switched(images) @ self.readout

    def switched(self, images):
        """Return what is on, shape (N, units)."""
        return (1 + torch.sign(images @ self.weights.T - self.thresholds)) / 2


def network(mine):
    """Return the network of hard thresholds of a variant, and images that it knows.

    Parameters
    ----------
    mine : Variant
        Whose network.

    Returns
    -------
    network : Switches
        It has the buffers `weights` (200, 64), `thresholds` (200,) and `readout` (200, 10).
    images : Tensor, shape (24, 64)
        Digits of the test set, float64, pixels from 0 to 1; the network gets all of them right.
    labels : Tensor, shape (24,)
        Their classes.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw5
    >>> network, images, labels = hw5.network(variant("ada@example.org", "hw5"))
    >>> bool((network(images).argmax(1) == labels).all())
    True
    """
    stream = mine.stream("network")
    train, test = (datasets.load("digits", split) for split in ("train", "test"))
    known, new = (split.inputs.double().flatten(1) for split in (train, test))
    weights = torch.from_numpy(stream.normal((UNITS, known.shape[1]))) / 8
    thresholds = weights @ known.mean(0) + torch.from_numpy(stream.uniform(-0.5, 0.5, UNITS))
    wanted = nn.functional.one_hot(train.labels, 10).double()
    found = Switches(weights, thresholds, torch.zeros(UNITS, 10, dtype=torch.float64))
    on = found.switched(known)
    ridge = torch.eye(UNITS, dtype=torch.float64)
    found.readout = torch.linalg.solve(on.T @ on + ridge, on.T @ wanted)
    logits = found(new)
    own = logits.gather(1, test.labels[:, None])[:, 0]
    others = logits.scatter(1, test.labels[:, None], -torch.inf).amax(1)
    # Images about which the network is sure, and other ones for everybody.
    sure = (own - others).argsort(descending=True)[: 4 * IMAGES]
    chosen = sure[torch.from_numpy(stream.permutation(len(sure))[:IMAGES])]
    return found, new[chosen], test.labels[chosen]


# What public tests look at


def rows_of(answer):
    """Return corners as an array (k, 4), from the largest penalty to zero."""
    found = array(answer)
    expect(found.ndim == 2 and found.shape[1] == 4, "each row holds the penalty and three numbers")
    penalties = found[:, 0]
    expect(len(found) >= 2, "there are more corners than one: the code does not stay at zero")
    expect((penalties[1:] < penalties[:-1]).all(), "penalties must fall from row to row")
    return found


def _ends(answer, mine):
    found = rows_of(answer)
    expect(abs(found[-1, 0]) <= 1e-3, "the last row is the limit at the penalty zero")
    expect((abs(found[0, 1:]) <= 1e-3).all(), "the first row is where the code has just been zero")


def _one_atom(answer, mine):
    one = torch.ones(1, 1, dtype=torch.float64)
    found = answer(one, torch.tensor([3.0]).double(), torch.tensor([1.0]).double(), 1.0, 1.0)
    hint = "one atom 1, x = 3, λ = ρ = 1: by hand, z = 1 is the minimiser, and its gap is zero"
    expect_close(found, 0.0, hint, abs=1e-9)


def _a_bound(answer, mine):
    stream = mine.stream("public gap")
    dictionary = torch.from_numpy(stream.normal((5, 8)))
    inputs, codes = torch.from_numpy(stream.normal(5)), torch.from_numpy(stream.normal((40, 8)))
    penalty, ridge = stream.uniform(0.2, 0.6), stream.uniform(0.5, 2.0)
    missed = inputs - codes @ dictionary.T
    objective = missed.square().sum(1) / 2 + penalty * codes.abs().sum(1)
    objective = objective + ridge / 2 * codes.square().sum(1)
    found = float(array(answer(dictionary, inputs, codes[0], penalty, ridge), ()))
    hint = "a code was found that is better by more than the gap: so it promises too much"
    expect(found >= float(objective[0] - objective.min()) - 1e-9, hint)


def _in_range(answer, mine):
    longest, rate = read_entries(answer, "longest", "rate")
    dictionary = coding_problem(mine)[0]
    safe = 1 / float(torch.linalg.matrix_norm(dictionary, 2)) ** 2
    expect(longest > safe, "1 / L never fails: the longest step is longer than that")
    expect(0 < rate < 1, "errors shrink in the long run: the factor lies between 0 and 1")


def allowed(answer, mine):
    """Return changes as a tensor (24, 64), if all of them are allowed."""
    _, images, _ = network(mine)
    found = torch.from_numpy(array(answer, tuple(images.shape)))
    hint = f"no pixel may change by more than {RADIUS}"
    expect(float(found.abs().max()) <= RADIUS + 1e-9, hint)
    changed = images + found
    hint = "pixels of the changed images must lie between 0 and 1"
    expect(float(changed.min()) >= -1e-9 and float(changed.max()) <= 1 + 1e-9, hint)
    return found


ASSIGNMENT = Assignment(
    name="hw5",
    title="Sparse codes, and an attack that seems to fail",
    minutes=90,
    questions=(
        Question(
            "hw5-q1",
            "A long atom",
            "corners",
            "value",
            (Test("where it begins and ends", _ends),),
            points=5,
        ),
        Question(
            "hw5-q2",
            "A gap for the elastic net",
            "elastic_gap",
            "function",
            (Test("one atom", _one_atom), Test("it is a bound", _a_bound)),
            points=5,
        ),
        Question("hw5-q3", "Stability without signs", "", "written", (), read_by_a_person=6),
        Question(
            "hw5-q4",
            "How long may a step be?",
            "steps",
            "value",
            (Test("two numbers in their ranges", _in_range),),
            points=5,
        ),
        Question(
            "hw5-q5",
            "An attack that seems to fail",
            "changes",
            "value",
            (Test("changes that are allowed", allowed),),
            points=5,
        ),
        Question("hw5-q6", "What the table shows", "", "written", (), read_by_a_person=6),
    ),
)
