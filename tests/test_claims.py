"""Checked statements: bars, controls, marks, and the agreement of registry, chapters and text."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from lecturelib import claims
from lecturelib.claims import STATUSES, Claim, ClaimError, check, registry, show, table

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"


@pytest.fixture
def rows(monkeypatch):
    """A registry of four claims, one of each status, and one that has no control yet."""
    made = {"bare": Claim("bare", "chapter", "It holds.", "a slide", "x")}
    for status in STATUSES:
        made[status] = Claim(
            status,
            "chapter",
            "It holds.",
            "a slide",
            quantity="" if status == "quoted" else "x",
            control="" if status in ("quoted", "arithmetic") else "wrong x",
            status=status,
        )
    monkeypatch.setattr(claims, "registry", lambda: made)
    yield made
    claims.strict(True)


# Measurement, demand, control, and what the line shows of them.
HOLDING = [
    (0.0724, {"below": 0.12}, 0.3, "⟨0.072⟩ < 0.12; wrong x ⟨0.30⟩"),
    ([0.055, 0.0921], {"below": 0.12}, [0.3, 4], "⟨0.055 … 0.092⟩ < 0.12; wrong x ⟨0.30 … 4⟩"),
    (48.0, {"above": 30}, 1.04, "⟨48⟩ > 30; wrong x ⟨1.0⟩"),
    (1.5, {"above": 1, "below": 2}, 2.0, "⟨1.5⟩ ∈ (1, 2); wrong x ⟨2.0⟩"),
    (torch.tensor(1 + 4e-10), {"expected": 1, "abs": 1e-9}, 2, "⟨1.0⟩ ∈ 1 ± 1e−9; wrong x ⟨2⟩"),
    (1 + 4e-10, {"expected": 1, "abs": 1e-9}, 2, "⟨1 + 4.0e−10⟩ ∈ 1 ± 1e−9; wrong x ⟨2⟩"),
    (
        np.array([1.02, 0.99]),
        {"expected": 1, "rel": 0.03},
        1.5,
        "⟨1 − 0.010 … 1 + 0.020⟩ ∈ 1 ± 3 %",
    ),
    (-1.04, {"expected": -1, "rel": 0.05}, 1, "⟨−1 − 0.040⟩ ∈ −1 ± 5 %; wrong x ⟨1⟩"),
    (2.3, {"expected": 2, "rel": 0.01, "abs": 0.5}, 3, "⟨2.3⟩ ∈ 2 ± 1 % ± 0.5; wrong x ⟨3⟩"),
    (3, {"expected": 3}, 4, "3; wrong x ⟨4⟩"),
    (3.0, {"expected": 3}, 3.001, "3; wrong x ⟨3 + 0.0010⟩"),
    (0.0, {"expected": 0}, 0.25, "0; wrong x ⟨0.25⟩"),
    (True, {}, False, "true; wrong x ⟨false⟩"),
    (np.array([True, True]), {}, [False, False], "true; wrong x ⟨false⟩"),
    (1, {"expected": 1, "below": 2}, 3, "1 < 2; wrong x ⟨3⟩"),
    (1e-8, {"below": 1e-7}, np.inf, "⟨1.0e−8⟩ < 1e−7; wrong x ⟨∞⟩"),
    (123456.0, {"above": 1e4}, 12, "⟨120000⟩ > 10000; wrong x ⟨12⟩"),
    (torch.ones(2, requires_grad=True), {"expected": 1.0}, torch.zeros(2), "1; wrong x ⟨0⟩"),
    (torch.ones(2, dtype=torch.bfloat16), {"expected": 1}, 0.5, "1; wrong x ⟨0.50⟩"),
]
# Measurements that miss, each by a little, and the worst of them.
FAILING = [
    (False, {}, "0"),
    (torch.tensor([True, False]), {}, "0"),
    (3 + 1e-12, {"expected": 3}, "3.00"),
    ([1, 1.06], {"expected": 1, "rel": 0.05}, "1.06"),
    (2.11, {"expected": 2, "rel": 0.05}, "2.11"),
    (0.51, {"expected": 0.5, "rel": 0.01}, "0.510"),
    (1.4, {"expected": 2, "abs": 0.5}, "1.40"),
    (2.6, {"expected": 2, "rel": 0.05, "abs": 0.5}, "2.60"),
    (1.0, {"below": 1}, "1.00"),
    (1.0, {"above": 1}, "1.00"),
    (float("nan"), {"above": 1}, "nan"),
    (float("nan"), {"expected": 1, "abs": 9}, "nan"),
    (np.inf, {"above": 1}, "∞"),
    (1.5, {"expected": 1, "abs": 1, "below": 1.2}, "1.50"),
]


@pytest.mark.parametrize(("measured", "demand", "control", "text"), HOLDING)
def test_a_holding_claim_prints_demand_measurement_and_control(
    rows, capsys, measured, demand, control, text
):
    check("checked", measured, **demand, control=control)
    assert capsys.readouterr().out.startswith(f"✓ checked: It holds. (x: {text}")


def test_an_arithmetic_claim_has_no_control_and_another_sign(rows, capsys):
    check("arithmetic", 87.03, 87.03)
    assert capsys.readouterr().out == "∴ arithmetic: It holds. (x: 87.03)\n"


@pytest.mark.parametrize(("measured", "demand", "worst"), FAILING)
def test_a_missed_bar_raises_by_default(rows, capsys, measured, demand, worst):
    with pytest.raises(ClaimError, match=rf"^checked: It holds\. .*, but {worst}(,.*)? misses it"):
        check("checked", measured, **demand, control=-7)
    assert capsys.readouterr().out == ""


def test_by_default_a_process_is_strict():
    code = (
        "from lecturelib.claims import check, ClaimError\n"
        "try:\n    check('collapse-four-classes', 1, below=0.02, control=3)\n"
        "except ClaimError:\n    print('raised')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "raised\n", ran.stderr


@pytest.mark.parametrize(
    ("measured", "demand", "control"),
    [
        (0.05, {"below": 0.2}, 0.165),
        (0.05, {"below": 0.2}, [0.3, 0.165]),  # one of several
        (48, {"above": 30}, 31),
        (1, {"expected": 1, "rel": 0.05}, 1.04),
        (True, {}, True),
        (9, {"expected": 9}, 9),
    ],
)
def test_a_control_that_passes_raises(rows, measured, demand, control):
    with pytest.raises(ClaimError, match=r"the control passes it with .*, so it shows nothing"):
        check("checked", measured, **demand, control=control)


def test_strict_can_be_switched_off_and_on(rows, capsys):
    claims.strict(False)
    check("full-scale", [0.123456, 2, 3, 4, 5], below=0.1, control=0.05)
    line = "✗ full-scale: It holds. (x: ⟨0.12 … 5⟩ < 0.1; wrong x ⟨0.050⟩), but here "
    line += "0.123, 2, 3 misses it and the control passes it with 0.0500, so it shows nothing\n"
    assert capsys.readouterr().out == line
    check("full-scale", 0.01, below=0.1, control=1)
    assert capsys.readouterr().out.startswith("✓")
    claims.strict(True)
    with pytest.raises(ClaimError):
        check("full-scale", 1, below=0.1, control=2)


@pytest.mark.parametrize(
    ("name", "measured", "demand", "message"),
    [
        ("checkd", 1, {}, "not registered in lecturelib/claims; did you mean 'checked'"),
        ("x", 1, {}, "'x' is not registered in lecturelib/claims$"),
        ("quoted", True, {}, "only quoted"),
        ("checked", 1, {}, "names the control 'wrong x', so check must have it"),
        ("bare", 1, {"control": 2}, "names no control"),
        ("arithmetic", 1, {"control": 2}, "names no control"),
        ("checked", 1, {"below": 2, "control": float("nan")}, "control is not a number"),
        ("checked", 1, {"rel": 0.1, "control": 2}, "rel and abs need an expected value"),
        ("checked", 1, {"abs": 0.1, "below": 2, "control": 2}, "rel and abs need an expected"),
        ("checked", 1, {"below": float("nan"), "control": 2}, "below must be finite, got nan"),
        ("checked", 1, {"expected": 1, "rel": float("inf"), "control": 2}, "rel must be finite"),
        ("checked", 1, {"expected": float("nan"), "control": 2}, "expected must be finite"),
        ("checked", 1, {"above": "0", "control": 2}, "above must be a number, got '0'"),
        (None, 1, {"below": 2}, "name must be that of a claim, got None"),
        ("checked", [], {"below": 1, "control": 2}, "nothing was measured"),
        ("checked", 0, {"below": 1, "control": []}, "the control must be numbers, got none"),
        ("checked", "0", {"below": 1, "control": 2}, "must be numbers, got '0'"),
        ("checked", [None], {"below": 1, "control": 2}, "must be numbers, got None"),
    ],
)
def test_calls_that_make_no_sense(rows, name, measured, demand, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check(name, measured, **demand)


# Numbers a reader can see -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0.00131, 2, "0.0013"),
        (0.05, 2, "0.050"),
        (0.9995, 2, "1.0"),
        (0.9731, 3, "0.973"),
        (99.96, 2, "100"),
        (1234.5, 2, "1200"),
        (-1 / 3, 2, "−0.33"),
        (3.14159e-13, 2, "3.1e−13"),
        (2.5e8, 2, "2.5e8"),
        (397, 2, "397"),
        (0.0, 2, "0"),
        (float("inf"), 2, "∞"),
        (float("-inf"), 2, "−∞"),
        (float("nan"), 2, "nan"),
    ],
)
def test_measured_numbers_have_two_digits_and_marks(capsys, value, digits, shown):
    show("x", value, digits=digits)
    assert capsys.readouterr().out == f"x: ⟨{shown}⟩\n"


def test_show_takes_anything_that_holds_numbers(capsys):
    show("x and y", torch.tensor([1.5, 2.0]), [np.float32(3.25)], 4)
    assert capsys.readouterr().out == "x and y: ⟨1.5⟩ ⟨2.0⟩ ⟨3.2⟩ ⟨4⟩\n"
    with pytest.raises(ValueError, match="got none"):
        show("x")


def test_tables_are_aligned_whatever_the_numbers(capsys):
    table(["NC1", "NC2"], {"SGD": [0.00131, 0.0724], "random": [float("inf"), "none"]})
    first = capsys.readouterr().out
    table(["NC1", "NC2"], {"SGD": [123.4, 0.9], "random": [1e-9, "none"]})
    second = capsys.readouterr().out
    masked = [re.sub("⟨[^⟩]*⟩", "*", text) for text in (first, second)]
    assert masked[0] == masked[1]
    with pytest.raises(ValueError, match=r"rows\['row'\] must be 2 entries, got \[1\]"):
        table(["a", "b"], {"row": [1]})
    with pytest.raises(TypeError, match="rows must be a dict"):
        table(["a"], [[1]])
    with pytest.raises(TypeError, match="columns must be a list of strings, got 'ab'"):
        table("ab", {"row": [1, 2]})


def test_in_a_notebook_a_table_is_one_of_the_page(monkeypatch, capsys):
    displayed = []
    monkeypatch.setattr("IPython.get_ipython", lambda: True)
    monkeypatch.setattr("IPython.display.display", displayed.append)
    table(["NC1 < NC2"], {"SGD & co": [0.00131], "random": ["none"]})
    assert not capsys.readouterr().out
    html = BeautifulSoup(displayed[0]._repr_html_(), "html.parser")
    for mark in html.select("span[hidden]"):
        assert mark.extract().get_text() in "⟨⟩"
    assert html.select_one("th[scope=col]").get_text() == "NC1 < NC2"
    assert [head.get_text() for head in html.select("th[scope=row]")] == ["SGD & co", "random"]
    assert [cell.get_text() for cell in html.select("th + td")] == ["0.0013", "none"]


def test_what_stands_between_the_marks_is_masked_by_nbval(rows, capsys):
    config = configparser.ConfigParser()
    lines = (ROOT / "tests" / "nbval_sanitize.cfg").read_text("utf-8")
    config.read_string(lines.replace("regex:", "regex=").replace("replace:", "replace="))
    patterns = [re.compile(config[section]["regex"]) for section in config.sections()]

    def printed(measured, control):
        check("checked", measured, below=0.12, control=control)
        text = capsys.readouterr().out
        for pattern in patterns:
            text = pattern.sub("", text)
        return text

    assert printed(0.0724, 0.3) == printed([0.01, 0.1], [12.5, np.inf])
    assert "It holds. (x:  < 0.12; wrong x )" in printed(0.0724, 0.3)


# The registry -------------------------------------------------------------------------------------

ROW = '[a]\nstatement = "s"\nsource = "l"\nquantity = "q"\ncontrol = "c"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.replace('source = "l"\n', ""), "'a' in c.toml: .*source"),
        (ROW + 'colour = "red"\n', "'a' in c.toml: .*colour"),
        (ROW + 'chapter = "d"\n', "'a' in c.toml: .*chapter"),
        (ROW + 'status = "hoped"\n', "'a': status must be one of checked"),
        (ROW.replace('quantity = "q"\n', ""), "'a': all claims but quoted ones"),
        (ROW + 'status = "quoted"\n', "'a': all claims but quoted ones"),
        (ROW + 'status = "arithmetic"\n', "'a': claims that are arithmetic have no control"),
    ],
)
def test_bad_rows(monkeypatch, tmp_path, text, message):
    monkeypatch.setattr(claims.resources, "files", lambda package: tmp_path)
    (tmp_path / "c.toml").write_text(ROW)
    assert registry.__wrapped__() == {"a": Claim("a", "c", "s", "l", "q", "c", "checked")}
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.__wrapped__()


def test_a_name_is_registered_once(monkeypatch, tmp_path):
    monkeypatch.setattr(claims.resources, "files", lambda package: tmp_path)
    for chapter in "cd":
        (tmp_path / f"{chapter}.toml").write_text(ROW)
    with pytest.raises(ValueError, match=r"'a' is registered twice, in d.toml"):
        registry.__wrapped__()


def checked_names(path):
    """First arguments of all calls of ``claims.check`` in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "claims.check":
            assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: no literal"
            yield node.args[0].value


def cited_names(path):
    """Names in all ``{claim}`` roles of a chapter's text."""
    text = path.read_text(encoding="utf-8")
    for content in re.findall(r"\{claim\}`([^`]+)`", text):
        words = " ".join(content.replace("\n#", " ").split())
        yield words.partition("<")[2].removesuffix(">") or words


def test_every_claim_but_quoted_ones_is_checked_in_its_chapter():
    checked = [(path.stem, name) for path in CHAPTERS.glob("*.py") for name in checked_names(path)]
    registered = {
        (claim.chapter, claim.name) for claim in registry().values() if claim.status != "quoted"
    }
    assert set(checked) == registered
    assert len(checked) == len(registered)  # each once


def test_every_quoted_claim_is_a_sentence_of_its_chapter():
    cited = {(path.stem, name) for path in CHAPTERS.glob("*.py") for name in cited_names(path)}
    quoted = {
        (claim.chapter, claim.name) for claim in registry().values() if claim.status == "quoted"
    }
    assert not quoted - cited
    assert not {name for _, name in cited} - registry().keys()


def test_every_claim_that_measures_has_a_control():
    measured = [claim for claim in registry().values() if claim.status in ("checked", "full-scale")]
    assert len(measured) > 200
    assert not [claim.name for claim in measured if not claim.control]


def test_registered_chapters_exist():
    named = {claim.chapter for claim in registry().values()}
    assert named == {path.stem for path in CHAPTERS.glob("*.py")}


def test_rows_are_worded_for_the_page():
    for claim in registry().values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.name)
        assert claim.statement.endswith(".") and claim.source, claim.name
        assert not claim.statement.startswith(("It ", "They ", "There ")), claim.name
        assert not claim.quantity.endswith((",", ".", ":")), claim.name
        assert not claim.control.endswith((",", ".", ":")), claim.name
