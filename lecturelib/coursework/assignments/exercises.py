"""Exercises of the chapters whose answers can be checked before the solution is opened.

They are named as in the chapters, are the same for all readers, and earn nothing. In a chapter:
`coursework.check("ex-nc-angle", [..., ..., ..., ...])`.
"""

import numpy as np

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    Wrong,
    array,
    expect,
    expect_close,
)


def _angles(answer, mine):
    found = array(answer, (4,))
    expect(found.max() > np.pi, "give degrees, not radians")
    expected = np.degrees(np.arccos(-1 / (np.array([2, 3, 10, 1000]) - 1)))
    expect_close(
        found, expected, "the cosine of two of K class means is a simple fraction", abs=0.06
    )


def _nearer_than_right_angles(answer, mine):
    found = array(answer, (4,))
    expect(90.03 < found[3] < 90.1, "with a thousand classes, two digits after the point matter")


def _unit_and_positive(answer, mine):
    vectors = _rows(answer)
    expect((vectors >= 0).all(), "no entry may be negative")
    expect_close(np.linalg.norm(vectors, axis=1), np.ones(len(vectors)), "rows have length one")


def _etf_when_centred(answer, mine):
    vectors = _rows(answer)
    centred = vectors - vectors.mean(0)
    lengths = np.linalg.norm(centred, axis=1)
    expect(lengths.min() > 1e-6, "a centred vector must not vanish")
    expect_close(lengths, np.full(len(lengths), lengths.mean()), "centred, all must be as long")
    cosines = (centred @ centred.T) / np.outer(lengths, lengths)
    apart = cosines[~np.eye(len(vectors), dtype=bool)]
    expected = np.full(apart.shape, -1 / (len(vectors) - 1))
    expect_close(apart, expected, "centred, any two must have the angle of an ETF", abs=1e-6)


def _rows(answer):
    vectors = array(answer)
    expect(vectors.ndim == 2, "give a matrix with a vector in each row")
    expect(len(vectors) >= 3, "take at least three vectors")
    return vectors


def _nearest_centre(answer, mine):
    stream = mine.stream("means")
    for sizes in ((3, 2), (5, 8), (10, 4)):
        means = 3 * stream.normal(sizes) + 1
        features = 4 * stream.normal((200, sizes[1]))
        try:
            weights, bias = answer(means)
        except (TypeError, ValueError):
            raise Wrong("return two things: the weights (K, d) and the bias (K,)") from None
        scores = features @ array(weights, sizes, what="the weights").T
        scores = scores + array(bias, sizes[:1], what="the bias")
        distances = ((features[:, None] - means) ** 2).sum(2)
        agree = (scores.argmax(1) == distances.argmin(1)).mean()
        hint = "write out the squared distance: which part is the same for all classes?"
        expect(agree > 0.999, hint)


def _samples(answer, mine):
    expect_close(
        array(answer, (3,))[:2], [40_000, 4], "when does the price reach that of nothing?", rel=1e-3
    )


def _penalty(answer, mine):
    expect_close(array(answer, (3,))[2], 1 / 650_000, "solve the same bound for it", rel=0.05)


def _margin(answer, mine):
    found = array(answer, ())
    hint = "at which margin do the wrong classes get just the probability they are meant to have?"
    expect_close(found, np.log(91), hint, abs=0.01)


ASSIGNMENT = Assignment(
    "ex",
    "Exercises of the chapters",
    60,
    (
        Question(
            "ex-nc-angle",
            "Angles between class means, in degrees, for 2, 3, 10 and 1000 classes",
            "angles",
            "value",
            (
                Test("four angles", _angles),
                Test("what is left of the difference", _nearer_than_right_angles),
            ),
        ),
        Question(
            "ex-nc-relu",
            "Vectors, one a row, that are an ETF once they are centred",
            "vectors",
            "value",
            (
                Test("non-negative, of length one", _unit_and_positive),
                Test("an ETF when centred", _etf_when_centred),
            ),
        ),
        Question(
            "ex-nc-four-without-two",
            "From any means (K, d), the weights (K, d) and bias (K,) of the nearest-centre rule",
            "classifier",
            "function",
            (Test("means drawn at random", _nearest_centre),),
        ),
        Question(
            "ex-ufm-imagenet",
            "Samples for ten classes, for a thousand, and the largest penalty",
            "numbers",
            "value",
            (Test("samples per class", _samples), Test("the penalty", _penalty)),
        ),
        Question(
            "ex-losses-smoothing",
            "The margin that label smoothing aims for",
            "margin",
            "value",
            (Test("smoothing by a tenth, ten classes", _margin),),
        ),
    ),
)
