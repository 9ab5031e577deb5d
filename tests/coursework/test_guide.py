"""What the guide and the list of assignments say is what the assignments are."""

import re

import nbformat
import pytest
from helpers import ROOT

from lecturelib.coursework.assignments import assignment, names

GUIDE = (ROOT / "backmatter" / "instructors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (hw\d|project) \|.*\| ([^|]+) \| (\d+), (\d+) \|$", re.MULTILINE)


def test_the_guide_has_a_row_for_each_assignment_with_its_points():
    rows = {
        name: (time, int(tests), int(person)) for name, time, tests, person in ROW.findall(GUIDE)
    }
    expected = {}
    for name in names():
        found = assignment(name)
        time = f"{found.minutes} minutes" if found.minutes < 600 else "a week"
        points = sum(question.points for question in found.questions)
        person = sum(question.read_by_a_person for question in found.questions)
        expected[name] = (time, points, person)
    assert rows == expected


@pytest.mark.parametrize(
    "path", sorted((ROOT / "assignments").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_an_edition_says_what_its_assignment_says(path):
    opening = nbformat.read(path, as_version=4).cells[0].source
    found = assignment(path.stem)
    title = opening.removeprefix("# ").split("\n")[0].lower()
    assert all(word in title for word in re.findall(r"[a-z]{6,}", found.title.lower()))
    tests = sum(question.points for question in found.questions)
    person = sum(question.read_by_a_person for question in found.questions)
    said = " ".join(opening.split())
    assert f"{tests:g} points are given by tests and {person:g} by a person" in said


def test_the_guide_names_commands_that_there_are():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^    |`)make ([a-z]+)", GUIDE, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
