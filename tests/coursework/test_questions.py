"""Tests compare numbers, and nothing that is no number passes them."""

import math

import numpy as np
import pytest
import torch

from lecturelib.coursework import Wrong, array, expect, expect_close
from lecturelib.coursework.questions import read_entries, same_entry

NAN = float("nan")


class Equal:
    """Says yes to everything."""

    def __eq__(self, other):
        return True

    __le__ = __ge__ = __lt__ = __gt__ = __eq__
    __bool__ = __len__ = lambda self: True


@pytest.mark.parametrize(
    "answer",
    [
        [[1, 2], [3, 4]],
        ((1.0, 2.0), (3.0, 4.0)),
        np.arange(1, 5, dtype=np.float32).reshape(2, 2),
        torch.arange(1, 5).reshape(2, 2),
        torch.arange(1.0, 5.0, requires_grad=True).reshape(2, 2),
        torch.tensor([[1.0, 3.0], [2.0, 4.0]]).T,
        [torch.tensor([1.0, 2.0], requires_grad=True), np.array([3, 4])],
        [[torch.tensor(1), 2], (3, np.float16(4))],
    ],
)
def test_numbers_of_any_kind_are_read(answer):
    found = array(answer, (2, 2))
    assert found.dtype == np.float64 and found.tolist() == [[1, 2], [3, 4]]


def test_what_is_read_is_a_copy():
    given = torch.zeros(2, dtype=torch.float64)
    array(given)[:] = 1
    assert not given.any()


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (None, "not there yet"),
        (..., "not there yet"),
        ("abc", "made of numbers, not str"),
        (object(), "made of numbers, not object"),
        (Equal(), "made of numbers, not Equal"),
        ([[1], [2, 3]], "made of numbers, not list"),
        ({"a": 1}, "made of numbers, not dict"),
        (1 + 2j, "made of numbers, not complex"),
        (torch.tensor([1 + 2j]), "made of numbers, not Tensor"),
        (["1", "2"], "made of numbers, not list"),
        ([1, None], "infinite or not numbers"),
        (NAN, "infinite or not numbers"),
        ([1, math.inf], "infinite or not numbers"),
        (torch.tensor([1.0, NAN]), "infinite or not numbers"),
    ],
)
def test_what_is_no_number_is_wrong(answer, hint):
    with pytest.raises(Wrong, match=hint):
        array(answer)
    with pytest.raises(Wrong):
        expect_close(answer, 1.0, "differs")


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((), "be one number, but has the shape"), ((3,), r"have the shape \(3,\), but has")],
)
def test_another_shape_is_said(shape, hint):
    with pytest.raises(Wrong, match=f"the slope must {hint}"):
        array([1.0, 2.0], shape, what="the slope")
    with pytest.raises(Wrong):
        array([[1.0, 2.0]], (2,))


def test_no_shape_is_stretched_to_fit():
    for answer in (1.0, [1.0], [[1.0, 1.0]], [[1.0], [1.0]]):
        with pytest.raises(Wrong):
            expect_close(answer, torch.ones(2), "differs")


def test_close_is_within_the_tolerances_and_no_further():
    expect_close([1 + 0.9e-6, -2], [1, -2], "differs")
    expect_close(0.09, 0.0, "differs", abs=0.1)
    expect_close(torch.tensor(11.0), 10, "differs", rel=0.1)
    for answer, expected, options in [
        (1 + 1.1e-6, 1.0, {}),
        (-1.0, 1.0, {}),
        (1e-300, 0.0, {}),
        (0.11, 0.0, {"abs": 0.1}),
        (11.1, 10.0, {"rel": 0.1}),
    ]:
        with pytest.raises(Wrong, match=r"^differs$"):
            expect_close(answer, expected, "differs", **options)


def test_one_entry_of_many_counts():
    with pytest.raises(Wrong):
        expect_close(np.eye(50) + np.eye(50, k=49), np.eye(50), "differs")


def test_an_expected_value_that_is_no_number_passes_nothing():
    for answer in (1.0, 0.0):
        with pytest.raises(ValueError, match="expected"):
            expect_close(answer, NAN, "differs")


@pytest.mark.parametrize("condition", [True, 1, np.True_, 0.5])
def test_what_holds_is_expected(condition):
    expect(condition, "does not hold")


@pytest.mark.parametrize("condition", [False, 0, np.False_, None, Equal(), "yes", [1], NAN < 1])
def test_what_does_not_hold_is_wrong(condition):
    with pytest.raises(Wrong, match="does not hold"):
        expect(condition, "does not hold")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ([1.0, 2.0], "must be a dict with b, a"),
        ({"a": 1.0}, "the dict lacks b"),
        ({"a": [1.0], "b": 2.0}, "a must be one number"),
        ({"a": 1.0, "b": ...}, "b is not there yet"),
    ],
)
def test_entries_that_are_no_numbers_are_said(answer, hint):
    with pytest.raises(Wrong, match=hint):
        read_entries(answer, "b", "a")


def test_one_entry_is_compared_and_all_must_be_there():
    run = same_entry(lambda mine: {"a": mine, "b": 0.0}, "a", "a differs")
    run({"b": 7, "a": 2.0 + 1e-6}, 2.0)
    for answer, hint in [({"a": 2.1, "b": 0.0}, "a differs"), ({"a": 2.0}, "lacks b")]:
        with pytest.raises(Wrong, match=hint):
            run(answer, 2.0)
    same_entry(lambda mine: {"a": 0.0}, "a", "a differs", abs=1e-3)({"a": 1e-4}, None)
