"""Checked statements, and the agreement of registry and chapters."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lecturelib import claims
from lecturelib.claims import Claim, ClaimError, check, registry

CHAPTERS = Path(__file__).parents[1] / "chapters"


@pytest.fixture
def rows(monkeypatch):
    """A registry of three claims, one of each status."""
    made = {
        f"claim-{status}": Claim(f"claim-{status}", "chapter", "It holds.", "a slide", status, "x")
        for status in claims.STATUSES
    }
    monkeypatch.setattr(claims, "registry", lambda: made)
    yield made
    claims.strict(True)


HOLDING = [
    (True, {}, "= true"),
    (np.array([True, True]), {}, "= true"),
    (False, {"expected": False}, "= false"),
    (3, {"expected": 3}, "= 3"),
    (torch.tensor([1.04, 0.96]), {"expected": 1, "rel": 0.05}, "= 1 ± 5 %"),
    (-1.04, {"expected": -1, "rel": 0.05}, "= −1 ± 5 %"),
    (1.5, {"expected": 2, "abs": 0.5}, "= 2 ± 0.5"),
    (2.3, {"expected": 2, "rel": 0.01, "abs": 0.5}, "= 2 ± 1 % ± 0.5"),
    ([1e-8, -1], {"below": 1e-7}, "< 1e−07"),
    (-0.1, {"above": -0.112}, "> −0.112"),
    (0.5, {"above": 0, "below": 1}, "< 1, > 0"),
    (1, {"expected": 1, "below": 2}, "= 1, < 2"),
    (torch.ones(2, requires_grad=True), {"expected": 1.0}, "= 1"),
    (torch.ones(2, dtype=torch.bfloat16), {"expected": 1}, "= 1"),
]
FAILING = [
    (False, {}, "0.0"),
    (torch.tensor([True, False]), {}, "0.0"),
    (3 + 1e-12, {"expected": 3}, "3.0"),
    ([1, 1.06], {"expected": 1, "rel": 0.05}, "1.06"),
    (1.4, {"expected": 2, "abs": 0.5}, "1.4"),
    (1.0, {"below": 1}, "1.0"),
    (1.0, {"above": 1}, "1.0"),
    (float("nan"), {"above": 1}, "nan"),
    (float("nan"), {"expected": 1, "abs": 9}, "nan"),
    (np.inf, {"above": 1}, "inf"),
    (1.5, {"expected": 1, "abs": 1, "below": 1.2}, "1.5"),
]


@pytest.mark.parametrize(("measured", "demand", "text"), HOLDING)
def test_holding_claims_print_one_line(rows, capsys, measured, demand, text):
    check("claim-here", measured, **demand)
    assert capsys.readouterr().out == f"✓ claim-here: It holds. (x {text})\n"


@pytest.mark.parametrize(("measured", "demand", "worst"), FAILING)
def test_failing_claims_raise_with_the_measurement(rows, capsys, measured, demand, worst):
    with pytest.raises(ClaimError, match=rf"^claim-here: It holds\..*, but measured \[{worst}"):
        check("claim-here", measured, **demand)
    assert capsys.readouterr().out == ""


def test_strict_can_be_switched_off_and_on(rows, capsys):
    claims.strict(False)
    check("claim-full-scale", [0.123456, 2, 3, 4, 5], below=0.1)
    line = "✗ claim-full-scale: It holds. (x < 0.1), but here 0.123, 2, 3\n"
    assert capsys.readouterr().out == line
    check("claim-full-scale", 0.01, below=0.1)
    assert capsys.readouterr().out.startswith("✓")
    claims.strict(True)
    with pytest.raises(ClaimError):
        check("claim-full-scale", 1, below=0.1)


@pytest.mark.parametrize(
    ("name", "measured", "demand", "message"),
    [
        ("claim-her", 1, {}, "not registered in claims.toml; did you mean 'claim-here'"),
        ("x", 1, {}, "'x' is not registered in claims.toml$"),
        ("claim-quoted", True, {}, "only quoted"),
        ("claim-here", 1, {"rel": 0.1}, "needs an expected value"),
        ("claim-here", 1, {"abs": 0.1, "below": 2}, "needs an expected value"),
        ("claim-here", 1, {"below": float("nan")}, "must be finite"),
        ("claim-here", 1, {"expected": 1, "rel": float("inf")}, "must be finite"),
        ("claim-here", [], {"below": 1}, "nothing was measured"),
    ],
)
def test_bad_checks(rows, name, measured, demand, message):
    with pytest.raises(ValueError, match=message):
        check(name, measured, **demand)


ROW = '[a]\nchapter = "c"\nstatement = "s"\nsource = "l"\nstatus = "here"\nquantity = "q"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.replace('source = "l"\n', ""), "'a' in claims.toml: .*source"),
        (ROW + 'colour = "red"\n', "'a' in claims.toml: .*colour"),
        (ROW.replace("here", "hoped"), "'a': status 'hoped' is not one of"),
        (ROW.replace('quantity = "q"\n', ""), "'a': a quantity is for"),
        (ROW.replace("here", "quoted"), "'a': a quantity is for"),
    ],
)
def test_bad_rows(monkeypatch, tmp_path, text, message):
    monkeypatch.setattr(claims.resources, "files", lambda package: tmp_path)
    (tmp_path / "claims.toml").write_text(ROW)
    assert registry.__wrapped__() == {"a": Claim("a", "c", "s", "l", "here", "q")}
    (tmp_path / "claims.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.__wrapped__()


def checked_names(path):
    """First arguments of all calls of ``claims.check`` in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "claims.check":
            assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: no literal"
            yield node.args[0].value


def test_registry_and_chapters_agree():
    checked = {(name, path.stem) for path in CHAPTERS.glob("*.py") for name in checked_names(path)}
    registered = {
        (claim.name, claim.chapter) for claim in registry().values() if claim.status != "quoted"
    }
    assert checked == registered


def test_registered_chapters_exist():
    named = {claim.chapter for claim in registry().values()}
    assert named and not {name for name in named if not (CHAPTERS / f"{name}.py").exists()}


def test_registered_names_are_words_joined_by_hyphens():
    for claim in registry().values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.name)
        assert claim.statement and claim.source
