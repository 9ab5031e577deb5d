"""Checked statements: a claim in the text is a line of code that fails when it stops being true.

A claim could have come out otherwise. So besides what was measured it has a *control*, the same
quantity where the statement is false: random class means, the network before training, the nearest
wrong formula. The bar lies between the two, and :func:`check` demands that the measurement clears
it and that the control does not.

Every claim is registered in a file ``NAME.toml`` beside this one, ``NAME`` being its chapter, with
its statement, what is measured, what the control is, its source and its status (:data:`STATUSES`).

Measured numbers are printed between the marks ⟨ and ⟩: they may differ in their last digits from
machine to machine, and are left out when stored outputs are compared. This package needs nothing
but the standard library, so that the site can be built from it.
"""

import difflib
import math
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from numbers import Integral, Real

__all__ = ["STATUSES", "Claim", "ClaimError", "check", "registry", "show", "strict", "table"]

STATUSES = {
    "checked": "checked in the chapter",
    "full-scale": "reproduced at full scale",
    "arithmetic": "arithmetic, no experiment",
    "quoted": "quoted, not run by this book",
}

_strict = True


class ClaimError(AssertionError):
    """A measurement contradicts a registered claim, or its control does not."""


@dataclass(frozen=True)
class Claim:
    """One row of the registry.

    Attributes
    ----------
    name : str
        Lower-case words joined by hyphens.
    chapter : str
        Stem of the chapter's file.
    statement : str
        One sentence that stands alone.
    source : str
        Lecture and slide title, or the paper.
    quantity : str
        What is measured, as in "NC1"; empty for a quoted claim.
    control : str
        What is measured beside it, as in "random means"; empty if quoted or arithmetic.
    status : str
        Who vouches for it, a key of :data:`STATUSES`.
    """

    name: str
    chapter: str
    statement: str
    source: str
    quantity: str = ""
    control: str = ""
    status: str = "checked"


@cache
def registry():
    """Return all claims by name, chapter after chapter, in the order of the files.

    Returns
    -------
    dict of str to Claim

    Raises
    ------
    ValueError
        If a row lacks a field, has an unknown one or one that does not go with its status, or if
        two rows share a name.

    Examples
    --------
    >>> registry()["collapse-nc1"].chapter
    'neural_collapse'
    """
    claims = {}
    files = (file for file in resources.files(__package__).iterdir() if file.name.endswith(".toml"))
    for file in sorted(files, key=lambda file: file.name):
        chapter = file.name.removesuffix(".toml")
        for name, row in tomllib.loads(file.read_text(encoding="utf-8")).items():
            try:
                claim = Claim(name=name, chapter=chapter, **row)
            except TypeError as error:
                raise ValueError(f"claim {name!r} in {file.name}: {error}") from None
            if name in claims:
                raise ValueError(f"claim {name!r} is registered twice, in {file.name}")
            _check_row(claim)
            claims[name] = claim
    return claims


def _check_row(claim):
    if claim.status not in STATUSES:
        known = ", ".join(STATUSES)
        raise ValueError(f"claim {claim.name!r}: status must be one of {known}")
    if (claim.status == "quoted") != (claim.quantity == ""):
        raise ValueError(f"claim {claim.name!r}: all claims but quoted ones name a quantity")
    if claim.control and claim.status in ("quoted", "arithmetic"):
        raise ValueError(f"claim {claim.name!r}: claims that are {claim.status} have no control")


def strict(enabled):
    """Choose whether a failing claim raises (the default) or is only reported.

    Chapters switch it off where a reader leaves the setting for which a claim was measured, such as
    another data set: the line then says what came out instead.

    Parameters
    ----------
    enabled : bool
        True to raise.

    Raises
    ------
    TypeError
        If it is anything else.

    Examples
    --------
    >>> strict(False)
    >>> check("collapse-four-classes", 0.5, below=0.005, control=0.031)
    ✗ collapse-four-classes: The features of four digits collapse to their class means, in
    five networks of width 100 trained by SGD with weight decay 0.005. (NC1: ⟨0.50⟩ < 0.005; without
    weight decay ⟨0.031⟩), but here 0.500 misses it
    >>> strict(True)
    """
    global _strict
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled must be True or False, got {enabled!r}")
    _strict = enabled


def check(
    name, measured, expected=None, *, rel=None, abs=None, below=None, above=None, control=None
):
    """Check a measurement, and its control, against a registered claim and print one line.

    Parameters
    ----------
    name : str
        A name in the registry, not of a quoted claim.
    measured : number, bool, or array or Tensor of them
        What came out. Every entry must be finite and satisfy the claim.
    expected : number or bool, optional
        The value that it should have (default: True, if no bound is given).
    rel, abs : float, optional
        Largest relative or absolute deviation from ``expected``; without either it must be equal.
    below, above : float, optional
        Strict upper and lower bound.
    control : number, bool, or array or Tensor of them, optional
        The same quantity where the statement is false; given exactly if the registry says what it
        is. No entry may satisfy the claim.

    Raises
    ------
    ClaimError
        If the measurement is not as claimed, or the control is (see :func:`strict`).
    TypeError, ValueError
        If the name is not registered, or the call makes no sense.

    Examples
    --------
    >>> check("collapse-four-classes", 0.0005, below=0.005, control=0.031)
    ✓ collapse-four-classes: The features of four digits collapse to their class means, in
    five networks of width 100 trained by SGD with weight decay 0.005. (NC1: ⟨0.00050⟩ < 0.005;
    without weight decay ⟨0.031⟩)
    """
    claim = _lookup(name)
    demand = _Demand(expected, rel, abs, below, above, name)
    values = _numbers(measured, f"claim {name!r}: what was measured")
    if (control is None) != (claim.control == ""):
        named = f"names the control {claim.control!r}" if claim.control else "names no control"
        raise ValueError(f"claim {name!r}: the registry {named}, so check must have it, or neither")
    controls = [] if control is None else _numbers(control, f"claim {name!r}: the control")
    if any(math.isnan(value) for value in controls):
        raise ValueError(f"claim {name!r}: the control is not a number, which proves nothing")

    problems = []
    if missed := [v for v in values if not (math.isfinite(v) and demand.holds(v))]:
        problems.append(f"{_listed(missed)} misses it")
    if passed := [value for value in controls if demand.holds(value)]:
        problems.append(f"the control passes it with {_listed(passed)}, so it shows nothing")
    line = f"{name}: {claim.statement} ({claim.quantity}: {demand.against(values)}"
    if controls:
        line += f"; {claim.control} {demand.shown(controls)}"
    line += ")"
    if not problems:
        print(f"{'∴' if claim.status == 'arithmetic' else '✓'} {line}")
    elif _strict:
        raise ClaimError(f"{line}, but {' and '.join(problems)}")
    else:
        print(f"✗ {line}, but here {' and '.join(problems)}")


def show(label, *values, digits=2):
    """Print measured numbers behind a label, in the marks that nbval leaves out.

    Parameters
    ----------
    label : str
        What they are.
    *values : number or array or Tensor of them
        What came out.
    digits : int, optional
        Significant digits.

    Raises
    ------
    TypeError, ValueError
        If there are no numbers, or ``digits`` is not a positive integer.

    Examples
    --------
    >>> show("NC1 and NC2", 0.00131, 0.0724)
    NC1 and NC2: ⟨0.0013⟩ ⟨0.072⟩
    """
    digits = _positive("digits", digits)
    numbers = _numbers(values, f"values of {label!r}")
    print(f"{label}:", *(_marked(_digits(number, digits)) for number in numbers))


def table(columns, rows, digits=2):
    """Show a table of measured numbers, in the marks that nbval leaves out.

    A notebook gets a table of html, whose marks are hidden; elsewhere it is printed.

    Parameters
    ----------
    columns : sequence of str
        Heads of the columns.
    rows : dict of str to sequence of number or str
        What stands in each row behind its label; a string is no measurement and gets no marks.
    digits : int, optional
        Significant digits.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a row has not as many entries as there are columns.

    Examples
    --------
    >>> table(["NC1", "NC2"], {"SGD": [0.00131, 0.0724], "random": [float("inf"), 0.3]})
             NC1        NC2
    SGD    ⟨ 0.0013⟩  ⟨  0.072⟩
    random ⟨      ∞⟩  ⟨   0.30⟩
    """
    if not isinstance(columns, list | tuple) or not all(isinstance(c, str) for c in columns):
        raise TypeError(f"columns must be a list of strings, got {columns!r}")
    if not isinstance(rows, Mapping):
        raise TypeError(f"rows must be a dict from labels to numbers, got {rows!r}")
    digits = _positive("digits", digits)
    cells = {}
    for label, entries in rows.items():
        if not hasattr(entries, "__len__") or len(entries) != len(columns):
            raise ValueError(f"rows[{label!r}] must be {len(columns)} entries, got {entries!r}")
        cells[label] = [
            entry
            if isinstance(entry, str)
            else _marked(_digits(*_numbers(entry, f"rows[{label!r}]"), digits))
            for entry in entries
        ]
    shown = _Table(tuple(columns), cells)
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from IPython.display import display  # is there, as this is a notebook

        display(shown)
    else:
        print(shown)


@dataclass(frozen=True)
class _Table:
    """A table as text and, where there is a page, as html."""

    columns: tuple
    rows: dict

    def __repr__(self):
        widths = [max(7, len(head)) for head in self.columns]
        lines = {
            "": [f" {head:>{width}} " for head, width in zip(self.columns, widths, strict=True)]
        }
        for label, entries in self.rows.items():
            lines[label] = [
                f"⟨{entry[1:-1]:>{width}}⟩" if entry[:1] == "⟨" else f" {entry:>{width}} "
                for entry, width in zip(entries, widths, strict=True)
            ]
        width = max(map(len, lines))
        return "\n".join(
            f"{label:<{width}} {'  '.join(entries)}".rstrip() for label, entries in lines.items()
        )

    def _repr_html_(self):
        def row(label, entries):
            return f"<tr>{label}{''.join(entries)}</tr>\n"

        heads = [f'<th scope="col">{escape(head)}</th>' for head in self.columns]
        html = row("<td></td>", heads)
        for label, entries in self.rows.items():
            entries = [f"<td>{escape(entry)}</td>" for entry in entries]
            html += row(f'<th scope="row">{escape(label)}</th>', entries)
        html = re.sub("[⟨⟩]", r"<span hidden>\g<0></span>", html)
        return (
            '<div class="pst-scrollable-table-container"><table class="table measured">\n'
            f"{html}</table></div>"
        )


class _Demand:
    """What is asked of every number: a value with a tolerance, bounds, or both."""

    def __init__(self, expected, rel, abs, below, above, name):
        given = {"expected": expected, "rel": rel, "abs": abs, "below": below, "above": above}
        for argument, value in given.items():
            if value is not None and not isinstance(value, Real):
                raise TypeError(f"claim {name!r}: {argument} must be a number, got {value!r}")
            if value is not None and not math.isfinite(value):
                raise ValueError(f"claim {name!r}: {argument} must be finite, got {value}")
        if expected is None and (rel is not None or abs is not None):
            raise ValueError(f"claim {name!r}: rel and abs need an expected value")
        if expected is None and below is None and above is None:
            expected = True
        self.expected, self.below, self.above = expected, below, above
        self.rel, self.abs = rel, abs
        if expected is not None:
            self.tolerance = max(abs or 0.0, (rel or 0.0) * math.fabs(expected))

    def holds(self, value):
        """Say whether a number, perhaps infinite, is as demanded."""
        return (
            (self.expected is None or math.fabs(value - self.expected) <= self.tolerance)
            and (self.below is None or value < self.below)
            and (self.above is None or value > self.above)
        )

    def against(self, values):
        """Word the measured values and the demand: "⟨0.072⟩ < 0.12", or "9" if it is exact."""
        words = [self.shown(values)]
        if self.expected is not None and self.rel is None and self.abs is None:
            exact = all(value == self.expected for value in values)
            words = [_number(self.expected)] if exact else [*words, f"= {_number(self.expected)}"]
        if self.rel is not None or self.abs is not None:
            words.append(f"∈ {_number(self.expected)}")
            if self.rel is not None:
                words.append(f"± {_number(100 * self.rel)} %")
            if self.abs is not None:
                words.append(f"± {_number(self.abs)}")
        if self.below is not None and self.above is not None:
            words.append(f"∈ ({_number(self.above)}, {_number(self.below)})")
        elif self.below is not None:
            words.append(f"< {_number(self.below)}")
        elif self.above is not None:
            words.append(f"> {_number(self.above)}")
        return " ".join(words)

    def shown(self, values):
        """Write the range of some values, between marks."""
        ends = dict.fromkeys(self._written(value) for value in (min(values), max(values)))
        return _marked(" … ".join(ends))

    def _written(self, value):
        """Write two digits of a value, or of its distance from the expected one if it is close."""
        if isinstance(value, bool):
            return _number(value)
        expected = None if isinstance(self.expected, bool) else self.expected
        if expected and 0 < math.fabs(value - expected) < 0.05 * math.fabs(expected):
            sign = "+" if value > expected else "−"
            return f"{_number(expected)} {sign} {_digits(math.fabs(value - expected))}"
        return _digits(value)


def _lookup(name):
    claims = registry()
    if not isinstance(name, str):
        raise TypeError(f"name must be that of a claim, got {name!r}")
    if name not in claims:
        close = difflib.get_close_matches(name, claims)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"name {name!r} is not registered in lecturelib/claims{hint}")
    if claims[name].status == "quoted":
        raise ValueError(f"claim {name!r} is only quoted: a checked claim has another status")
    return claims[name]


def _positive(name, value):
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a positive integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value}")
    return value


def _numbers(value, what):
    """Return all numbers in a number, a sequence, an array or a tensor."""
    numbers, left = [], [value]
    while left:
        entry = left.pop()
        entry = entry.tolist() if hasattr(entry, "tolist") else entry
        if isinstance(entry, list | tuple):
            left.extend(reversed(entry))
        elif isinstance(entry, Real):
            numbers.append(entry)
        else:
            raise TypeError(f"{what} must be numbers, got {entry!r}")
    if not numbers:
        raise ValueError(f"{what} must be numbers, got none: nothing was measured")
    return numbers


def _marked(text):
    return f"⟨{text}⟩"


def _listed(values):
    return ", ".join(_digits(value, 3) for value in values[:3])


def _number(value):
    """Write a number of the text, which is the same everywhere: at most six digits."""
    return str(value).lower() if isinstance(value, bool) else _pretty(f"{value:.6g}")


def _digits(value, digits=2):
    """Write a measured number with so many significant digits; integers whole."""
    if isinstance(value, Integral) or value == 0:
        return _pretty(f"{int(value)}")
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "nan")
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if -5 < exponent < 6:
        places = digits - 1 - exponent
        return _pretty(f"{round(value, places):.{max(0, places)}f}")
    return _pretty(scientific)


def _pretty(number):
    """Write minus signs as such, and no zeros in front of an exponent."""
    return re.sub(r"e\+?(-?)0*", r"e\1", number).replace("-", "−")
