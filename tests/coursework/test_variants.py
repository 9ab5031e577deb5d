"""What a student gets is the same on every machine, and another student gets something else."""

import numpy as np
import pytest
from scipy import stats

from lecturelib.coursework import variant

MINE = variant("ada@example.org", "hw1")


def golden():
    return MINE.stream("golden")


def test_streams_are_these_in_every_supported_version():
    """If this fails, variants that were handed out can no longer be graded."""
    assert golden().integers(0, 1000, shape=6).tolist() == [661, 430, 33, 378, 218, 620]
    assert [number.hex() for number in golden().uniform(shape=3)] == [
        "0x1.b8fe1f2aa59dap-2",
        "0x1.840c180c22652p-2",
        "0x1.3d9f6e046f9f4p-1",
    ]
    assert golden().uniform(-2.0, 3.0).hex() == "0x1.39ed37aa78280p-3"
    assert golden().permutation(8).tolist() == [1, 7, 6, 0, 3, 4, 2, 5]
    np.testing.assert_allclose(
        golden().normal(4),
        [-0.17470200143148923, -0.3082333604873257, 0.3064184729531971, 0.8726759035109846],
        rtol=1e-12,
    )


def test_each_call_draws_on():
    stream = golden()
    drawn = [stream.integers(7), stream.uniform(), stream.permutation(3).tolist(), stream.normal()]
    assert drawn[0] == 4 and drawn[2] == [1, 0, 2]
    assert drawn[1] == pytest.approx(0.3789523847013686, rel=1e-15)
    assert drawn[3] == pytest.approx(0.8726759035109846, rel=1e-12)


def test_a_stream_begins_again_each_time_it_is_asked_for():
    used = golden()
    used.uniform(shape=100)
    assert golden().uniform() == golden().uniform() != used.uniform()


def test_capitals_and_blanks_make_no_difference():
    assert variant("\t ADA@Example.ORG \n", " hw1 ") == MINE
    assert variant("ÉMILIE", "hw1") == variant("émilie", "hw1")


@pytest.mark.parametrize(
    "other",
    [
        variant("ada@example.com", "hw1").stream("golden"),
        variant("ada@example.org", "hw2").stream("golden"),
        variant("ada@example.org", "HW1").stream("golden"),
        MINE.stream("golden "),
        MINE.stream("Golden"),
        MINE.stream(""),
        variant("ada@example.orghw1", "g").stream("olden"),
    ],
)
def test_another_name_gives_other_numbers(other):
    """Neither the numbers nor their places have anything in common."""
    ours, theirs = golden().uniform(shape=2000), other.uniform(shape=2000)
    assert not set(ours) & set(theirs)
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.1


def test_names_do_not_run_into_each_other():
    names = [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"), ("abc", "d", "")]
    streams = [variant(student, name).stream(purpose) for student, name, purpose in names]
    assert len({stream.uniform() for stream in streams}) == 4


def test_students_are_spread_over_what_can_be_drawn():
    students = [variant(f"student{number}@example.org", "hw1") for number in range(2000)]
    first = [student.stream("share").uniform() for student in students]
    assert stats.kstest(first, "uniform").pvalue > 0.01
    sizes = np.bincount([student.stream("size").integers(3, 7) for student in students])
    assert sizes[:3].sum() == 0 and stats.chisquare(sizes[3:]).pvalue > 0.01


def test_numbers_have_the_laws_they_are_named_for():
    assert stats.kstest(golden().normal(5000), "norm").pvalue > 0.01
    assert stats.kstest(golden().uniform(-1, 3, 5000), "uniform", (-1, 4)).pvalue > 0.01


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda stream: stream.integers(5), int),
        (lambda stream: stream.uniform(), float),
        (lambda stream: stream.normal(), float),
    ],
)
def test_one_number_is_a_python_number(draw, kind):
    assert type(draw(golden())) is kind


def test_several_numbers_are_an_array():
    assert golden().integers(2, 5, shape=(2, 3)).shape == (2, 3)
    assert golden().normal((4, 1)).shape == (4, 1)
    assert golden().uniform(0, 1, 3).dtype == golden().normal(3).dtype == np.float64


@pytest.mark.parametrize(
    ("student", "assignment", "error", "words"),
    [
        (3, "hw1", TypeError, "student must be a string, not int"),
        ("ada", None, TypeError, "assignment must be a string, not NoneType"),
        (" ", "hw1", ValueError, "student must not be empty"),
        ("ada", "", ValueError, "assignment must not be empty"),
    ],
)
def test_what_is_no_name_is_refused(student, assignment, error, words):
    with pytest.raises(error, match=words):
        variant(student, assignment)
