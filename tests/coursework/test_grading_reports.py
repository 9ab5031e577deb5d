"""Tables for Canvas and Moodle, a page for each student, the class at a glance."""

import csv
import io
import math

import pytest

from lecturelib.coursework.grading import reports
from lecturelib.coursework.grading.scoring import numbers
from lecturelib.coursework.questions import Assignment, Question


def a_result(student, **more):
    result = {"student": student, "name": student, "number": "", "file": f"{student}.ipynb"}
    result |= {"score": 3.0, "of": 6.0, "by_a_person": 0.0, "questions": []}
    return result | {"notes": [], "cells": [], "output": "", **more}


CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Homework 0 (7),Tiny (42)
    Points Possible,,,,,5,6
"Lovelace, Ada",101,u1,ada@example.org,A,4,
"Builder, Bob",102,u2,bob,A,3,
"""


def test_a_canvas_export_is_filled_and_nothing_else_changes():
    people = [a_result("ada@example.org"), a_result("x", number="102"), a_result("stranger")]
    text, lost = reports.fill_canvas(CANVAS, people, "Tiny")
    assert text == CANVAS.replace("A,4,", "A,4,3").replace("A,3,", "A,3,3")
    assert len(lost) == 1
    assert "stranger" in lost[0]
    text, _ = reports.fill_canvas(CANVAS, people, "New")
    assert text.splitlines()[0].endswith("Tiny (42),New")
    with pytest.raises(ValueError, match="export of Canvas"):
        reports.fill_canvas("a,b\n", people, "Tiny")


MOODLE = """\
Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified (grade)
Participant 101,Ada Lovelace,ada@example.org,Submitted,,6.00,-
Participant 102,Bob Builder,bob@example.org,Submitted,,6.00,-
"""


def test_a_moodle_worksheet_is_filled_in_its_language_and_within_its_maximum():
    people = [a_result("ada@example.org"), a_result("someone", number="102")]
    text, lost = reports.fill_moodle(MOODLE, people)
    assert text == MOODLE.replace("Submitted,,", "Submitted,3,")
    assert lost == []
    german = MOODLE.replace("Grade,Maximum Grade", "Bewertung,Maximalbewertung")
    assert "Submitted,3," in reports.fill_moodle(german, people)[0]
    with pytest.raises(ValueError, match="raise the maximum"):
        reports.fill_moodle(MOODLE, [a_result("ada@example.org", score=7.0)])
    with pytest.raises(ValueError, match="column of grades"):
        reports.fill_moodle("a,b\n", people)


def test_what_students_wrote_is_text_in_pages_and_tables(tmp_path):
    evil = "<script>alert(1)</script>"
    test = {"looks_at": "x", "passed": False, "hidden": True, "points": 0.0, "of": 1.0}
    question = {"name": "tiny-q1", "title": "Spread", "points": 0.0, "of": 1.0, "done": True}
    question |= {"by_a_person": 2.0, "numbers": "", "tests": [{**test, "hint": evil}]}
    more = {"cells": [{"cell": 1, "error": evil}], "output": evil, "notes": [evil]}
    result = a_result("=1+1", **more | {"questions": [question], "file": f"{evil}.ipynb"})
    tiny = Assignment("tiny", "Tiny", 5, (Question("tiny-q1", "Spread", "f", "function", ()),))
    page = reports.student_page(result, tiny)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5
    assert "up to 2 points by a person" in page
    (tmp_path / "students").mkdir()
    reports.write([result], tiny, tmp_path, before={}, lacking=[evil], page=lambda _: "x.html")
    assert "<script" not in (tmp_path / "summary.html").read_text()
    for name in ("questions.csv", "moodle.csv"):
        rows = list(csv.reader(io.StringIO((tmp_path / name).read_text())))
        assert "'=1+1" in rows[1]
        assert "=1+1" not in rows[1]


def question_result(points):
    return [{"name": name, "points": value} for name, value in points.items()]


def test_a_question_that_the_best_get_wrong_discriminates_badly():
    people = [
        a_result(
            str(i), score=total, questions=question_result({"good": good, "bad": total - good})
        )
        for i, (good, total) in enumerate([(0, 2), (1, 3), (4, 5), (6, 6)])
    ]
    assert reports.discrimination(people, "bad") < 0
    same = [a_result(str(i), questions=question_result({"q": 1})) for i in range(4)]
    assert reports.discrimination(same, "q") is None


def answered(student, numbers, right):
    test = {"passed": right}
    question = {"name": "q", "points": float(right), "numbers": numbers, "tests": [test]}
    return a_result(student, questions=[question])


def test_likely_copies_are_wrong_numbers_that_two_share():
    people = [
        answered("ada", "1.23 #a", True),
        answered("bob", "1.23 #a", False),
        answered("cy", "1.23 #b", False),
        answered("di", "", False),
        answered("eve", "", False),
    ]
    (row,) = reports.copies(people)
    assert row[:4] == ["ada.ipynb", "bob.ipynb", "q", "1.23"]
    both = reports.copies([answered("ada", "1.5 #a", True), answered("bob", "1.5 #a", True)])
    assert both == []  # what is right may agree
    twice = [a_result("ada"), a_result("ada", file="again.ipynb")]
    assert reports.copies(twice)[0][4] == "both begin as ada"


@pytest.mark.parametrize("value", [0.0, 1, [1.0, 0.5], "text", None, {}, [[1], [2, 3]], math.nan])
def test_numbers_that_are_shared_by_chance_are_not_compared(value):
    assert numbers(value) == ""


def test_numbers_are_compared_to_six_digits():
    assert numbers(0.123456781) == numbers(0.123456782) != numbers(0.123458)
    assert numbers([0.137, 1.0, math.pi]).startswith("0.137 3.14159 #")
