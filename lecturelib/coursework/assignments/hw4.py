"""Assignment 4: when a shallow network can collapse.

A variant is a set of samples of which one class cannot collapse, and the means of three classes.
"""

from itertools import pairwise

import torch

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    array,
    expect,
    expect_close,
)

NUM_CLASSES, SAMPLES_PER_CLASS = 5, 5


def samples(mine):
    """Return the samples of a variant, of five classes with five samples each.

    Parameters
    ----------
    mine : Variant
        Whose samples.

    Returns
    -------
    inputs : Tensor, shape (25, d)
        The samples, float64, in 6 or 7 dimensions. Class 0 cannot collapse.
    labels : Tensor, shape (25,)
        Their classes 0 … 4.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw4
    >>> inputs, labels = hw4.samples(variant("ada@example.org", "hw4"))
    >>> labels.bincount()
    tensor([5, 5, 5, 5, 5])
    """
    stream = mine.stream("samples")
    dim = stream.integers(6, 8)
    own = torch.from_numpy(stream.normal((SAMPLES_PER_CLASS, dim)))
    others = torch.from_numpy(stream.normal(((NUM_CLASSES - 1) * SAMPLES_PER_CLASS, dim)))
    # A point of the affine hull of class 0 is put where all others together point.
    along = torch.from_numpy(stream.uniform(0.5, 1.5, len(others))) @ others
    shares = torch.from_numpy(stream.uniform(-0.2, 0.2, len(own)))
    shares[0] = 0
    shares[0] = 1 - shares.sum()
    own[0] += (along / along.norm() - shares @ own) / shares[0]
    inputs = torch.cat([own, others])
    labels = torch.arange(NUM_CLASSES).repeat_interleave(SAMPLES_PER_CLASS)
    order = torch.from_numpy(stream.permutation(len(inputs)))
    return inputs[order], labels[order]


def means(mine):
    """Return the means of the three classes of a variant.

    Parameters
    ----------
    mine : Variant
        Whose means.

    Returns
    -------
    Tensor, shape (3, 3)
        One mean a row, float64, of different lengths; the first two have an acute angle.

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw4
    >>> hw4.means(variant("ada@example.org", "hw4")).shape
    torch.Size([3, 3])
    """
    stream = mine.stream("means")
    first, second, third = torch.eye(3, dtype=torch.float64)
    second = second + stream.uniform(0.3, 0.9) * first
    third = third + stream.uniform(-0.9, -0.3) * first + stream.uniform(-0.3, 0.3) * second
    rows = torch.stack([first, second, third])
    lengths = torch.from_numpy(stream.uniform(0.7, 2.0, 3))
    turned, _ = torch.linalg.qr(torch.from_numpy(stream.normal((3, 3))))
    return lengths[:, None] * (rows / rows.norm(dim=1, keepdim=True)) @ turned


# What public tests look at


def _one_sample(answer, mine):
    hint = "a single sample, in class 0 or not: is class 0 ever infeasible?"
    expect_close(answer(2, 1, 1), 1.0, hint)


def _more_dimensions(answer, mine):
    found = [float(array(answer(3, 12, dim), ())) for dim in (2, 4, 6, 8, 12)]
    expect(all(0 <= each <= 1 + 1e-12 for each in found), "a probability lies between 0 and 1")
    expect(all(low < high for low, high in pairwise(found)), "more dimensions make it easier")
    expect_close(found[-1], 1.0, "12 samples in 12 dimensions: is any class ever infeasible?")


def _in_the_plane(answer, mine):
    own, other = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    hint = "one sample (1, 0) against (1, 1): solve it by hand"
    expect_close(answer(own, other), [1.0, -1.0], hint, abs=1e-6)


def _feasible(answer, mine):
    stream = mine.stream("public weights")
    own = torch.from_numpy(stream.normal((3, 8)))
    others = torch.from_numpy(stream.normal((6, 8)))
    others[(others @ torch.linalg.pinv(own)).sum(1) > 0] *= -1
    found = torch.from_numpy(array(answer(own, others), (8,)))
    expect_close(own @ found, torch.ones(3), "the own samples must have the output 1", abs=1e-6)
    expect(float((others @ found).max()) <= 1e-6, "the others must not have a positive output")


def _form(answer, mine):
    _, labels = samples(mine)
    found = array(answer, labels.shape)
    own = labels.numpy() == 0
    expect(abs(found[own].sum() - 1) <= 1e-6, "the entries of class 0 must sum to one")
    expect(
        (found[~own] <= 0).all(), "as in `nc_feasibility`, entries of other classes are negative"
    )


def _three_numbers(answer, mine):
    found = array(answer, (3,))
    expect(((found > 0) & (found < 1)).all(), "probabilities lie between 0 and 1")


ASSIGNMENT = Assignment(
    name="hw4",
    title="When a shallow network can collapse",
    minutes=90,
    questions=(
        Question(
            "hw4-q1",
            "Labels by chance",
            "random_label_law",
            "function",
            (
                Test("one sample", _one_sample),
                Test("more and more dimensions", _more_dimensions),
            ),
            points=5,
        ),
        Question(
            "hw4-q2",
            "The shortest weights",
            "shortest_weights",
            "function",
            (Test("one sample each", _in_the_plane), Test("weights that do", _feasible)),
            points=5,
        ),
        Question("hw4-q3", "What their length says", "", "written", (), read_by_a_person=6),
        Question(
            "hw4-q4",
            "A short certificate",
            "certificate",
            "value",
            (Test("the form of a certificate", _form),),
            points=5,
        ),
        Question("hw4-q5", "Why so few samples", "", "written", (), read_by_a_person=6),
        Question(
            "hw4-q6",
            "Three means and no room",
            "chances",
            "value",
            (Test("three probabilities", _three_numbers),),
            points=5,
        ),
        Question("hw4-q7", "Does width help?", "", "written", (), read_by_a_person=6),
    ),
)
