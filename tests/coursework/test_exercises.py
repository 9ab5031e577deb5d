"""The chapters' exercises that check an answer: their solutions pass, what is near does not."""

import math
import re

import numpy as np
import pytest
import torch
from helpers import ROOT

from lecturelib import coursework
from lecturelib.coursework import assignments

ANGLES = [180.0, 120.0, 96.38, 90.06]


def nearest_centre(means):
    return means, -0.5 * (means**2).sum(1)


RIGHT = {
    "ex-nc-angle": [ANGLES, torch.tensor(ANGLES)],
    "ex-nc-relu": [np.eye(5), torch.eye(3)],
    "ex-nc-four-without-two": [
        nearest_centre,
        lambda means: (torch.from_numpy(2 * means), torch.tensor(-(means**2).sum(1))),
    ],
    "ex-ufm-imagenet": [(40_000, 4, 1.5e-6), (40_000, 4, 1 / 650_000)],
    "ex-losses-smoothing": [math.log(91), 4.511],
}
WRONG = {
    "ex-nc-angle": [
        [math.radians(angle) for angle in ANGLES],
        [180, 120, 90, 90],
        [90.0] * 4,
        [180.0, 120.0, 96.38, 90.0],
    ],
    "ex-nc-relu": [
        np.eye(2),
        np.eye(3) - 1 / 3,
        np.ones((3, 3)) / 3**0.5,
        2 * np.eye(4),
        np.abs(np.linalg.qr(np.vander([1.0, 2, 3, 4]))[0]),
    ],
    "ex-nc-four-without-two": [
        lambda means: (means, np.zeros(len(means))),
        lambda means: (means, (means**2).sum(1) / 2),
        lambda means: (means - means.mean(0), -0.5 * ((means - means.mean(0)) ** 2).sum(1)),
        lambda means: (means.T, -0.5 * (means**2).sum(1)),
        lambda means: means,
    ],
    "ex-ufm-imagenet": [(40_000, 40, 1.5e-6), (4_000_000, 400, 1.5e-6), (40_000, 4, 1.5e-3)],
    "ex-losses-smoothing": [math.log(90), math.log(9), math.log10(91), math.log(81)],
}


def names():
    return [question.name for question in assignments.assignment("ex").questions]


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in RIGHT for a in RIGHT[n]])
def test_a_right_answer_passes(name, answer):
    coursework.check(name, answer)
    assert coursework.done(name)


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in WRONG for a in WRONG[n]])
def test_a_wrong_answer_does_not(name, answer, capsys):
    coursework.check(name, answer)
    assert not coursework.done(name)
    assert capsys.readouterr().out.startswith(f"✗ {name}: ")


def test_each_is_an_exercise_of_a_chapter():
    chapters = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("chapters/*.py"))
    labels = re.findall(r"^# :label: (ex-\S+)$", chapters, re.MULTILINE)
    assert set(names()) <= set(labels)
    assert set(names()) == set(RIGHT) == set(WRONG)


def test_they_are_no_assignment():
    assert "exercises" not in assignments.names() and "ex" not in assignments.names()
    with pytest.raises(ValueError, match="there is no assignment 'exercises'"):
        assignments.assignment("exercises")
    with pytest.raises(ValueError, match="there is no question 'ex-nc-none': choose one of ex-nc"):
        assignments.question("ex-nc-none")
