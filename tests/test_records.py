"""Records: what a chapter reads, without anything that could run."""

import json

import pytest
from helpers import ROOT

from lecturelib import records
from lecturelib.records import Record, recorded

FOLDER = ROOT / "lecturelib" / "records"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_what_its_file_holds(name):
    record = recorded(name)
    assert type(record) is Record
    assert vars(record) == json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert record.values


@pytest.mark.parametrize("name", NAMES)
def test_a_record_says_where_it_comes_from(name):
    provenance = recorded(name).provenance
    names = {"command", "date", "seconds", "python", "torch", "machine", "commit"}
    assert set(provenance) == names
    words = provenance["command"].split()
    assert words[:3] == ["python", "-m", "lecturelib.experiments"] and name in words
    assert not provenance["commit"].endswith("-dirty")
    assert provenance["seconds"] > 0


def test_records_are_read_from_the_library_itself(monkeypatch, tmp_path):
    (tmp_path / "tiny.json").write_text('{"values": [1], "provenance": {}}', encoding="utf-8")
    (tmp_path / "tiny.txt").write_text("no record", encoding="utf-8")
    monkeypatch.setattr(records.resources, "files", lambda package: tmp_path)
    assert recorded("tiny") == Record(values=[1], provenance={})
    with pytest.raises(ValueError, match=r"^name must be one of tiny, got 'separation-decay'$"):
        recorded("separation-decay")


@pytest.mark.parametrize("name", ["no-such-run", "../claims", "", None, 3, [], {}])
def test_an_unknown_record_names_those_there_are(name):
    with pytest.raises(ValueError, match=r"name must be one of .*separation-decay.*, got"):
        recorded(name)
