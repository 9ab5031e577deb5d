"""Checked statements: a claim in the text is a line of code that fails when it stops being true.

Every claim is registered in ``claims.toml`` with its statement, its chapter, its source slide and
its status:

``here``
    the chapter's own cells check it with :func:`check`;
``full-scale``
    the chapter checks the record of a run that it can't wait for;
``quoted``
    taken from the lectures, not run by this book.
"""

import difflib
import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from torch import Tensor

__all__ = ["STATUSES", "Claim", "ClaimError", "check", "registry", "strict"]

STATUSES = ("here", "full-scale", "quoted")

_strict = True


class ClaimError(AssertionError):
    """A measurement contradicts a registered claim."""


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
        One sentence, as the claims page shows it.
    quantity : str
        What is measured, as in "NC1 < 0.05"; empty for a quoted claim.
    source : str
        Lecture and slide title, or the paper.
    status : {"here", "full-scale", "quoted"}
        Who vouches for it.
    """

    name: str
    chapter: str
    statement: str
    source: str
    status: str
    quantity: str = ""


@cache
def registry():
    """Return all claims, by name, in the order of the file.

    Returns
    -------
    dict of str to Claim

    Raises
    ------
    ValueError
        If a row lacks a field, has an unknown one, or an unknown status; if it is checked but names
        no quantity.

    Examples
    --------
    >>> registry()["rankin-bound"].chapter
    'neural_collapse'
    """
    text = resources.files(__package__).joinpath("claims.toml").read_text(encoding="utf-8")
    claims = {}
    for name, row in tomllib.loads(text).items():
        try:
            claim = Claim(name=name, **row)
        except TypeError as error:
            raise ValueError(f"claim {name!r} in claims.toml: {error}") from None
        if claim.status not in STATUSES:
            raise ValueError(f"claim {name!r}: status {claim.status!r} is not one of {STATUSES}")
        if (claim.status == "quoted") != (claim.quantity == ""):
            raise ValueError(f"claim {name!r}: a quantity is for all claims that are not quoted")
        claims[name] = claim
    return claims


def strict(enabled):
    """Choose whether a failing claim raises (the default) or is only reported.

    Chapters switch it off where a reader leaves the setting for which a claim was measured, such as
    another data set: the line then says what came out instead.

    Parameters
    ----------
    enabled : bool
        True to raise.
    """
    global _strict
    _strict = bool(enabled)


def check(name, measured, expected=None, *, rel=None, abs=None, below=None, above=None):
    """Check a measurement against a registered claim and print one line.

    The line shows what was demanded, not what was measured: it is the same on every machine.

    Parameters
    ----------
    name : str
        A name in the registry with status ``here`` or ``full-scale``.
    measured : bool, number, array or Tensor
        What came out. Every entry must satisfy the claim.
    expected : bool or number, optional
        The value that it should have (default: True, if no bound is given).
    rel, abs : float, optional
        Largest relative or absolute deviation from ``expected``; without either it must be equal.
    below, above : float, optional
        Strict upper and lower bound.

    Raises
    ------
    ClaimError
        If the measurement is not as claimed (see :func:`strict`).
    ValueError
        If the name is not registered, or the demand makes no sense.

    Examples
    --------
    >>> check("collapse-four-classes", 0.0005, below=0.02)
    ✓ collapse-four-classes: The features of four digits collapse to their class means. (NC1 < 0.02)
    """
    claim = _lookup(name)
    bounds = [bound for bound in (rel, abs, below, above) if bound is not None]
    if not all(math.isfinite(bound) for bound in bounds):
        raise ValueError(f"claim {name!r}: tolerances and bounds must be finite, got {bounds}")
    if expected is None and (rel is not None or abs is not None):
        raise ValueError(f"claim {name!r}: a tolerance needs an expected value")
    if expected is None and below is None and above is None:
        expected = True
    values = measured.detach().cpu().double() if isinstance(measured, Tensor) else measured
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        raise ValueError(f"claim {name!r}: nothing was measured")

    demands, holds = [], np.isfinite(values)
    if expected is not None:
        tolerance = max(abs or 0.0, (rel or 0.0) * np.abs(float(expected)))
        holds &= np.abs(values - float(expected)) <= tolerance
        demand = f"= {_number(expected)}"
        demand += f" ± {_number(100 * rel)} %" if rel is not None else ""
        demand += f" ± {_number(abs)}" if abs is not None else ""
        demands.append(demand)
    if below is not None:
        holds &= values < below
        demands.append(f"< {_number(below)}")
    if above is not None:
        holds &= values > above
        demands.append(f"> {_number(above)}")
    line = f"{name}: {claim.statement} ({claim.quantity} {', '.join(demands)})"
    if holds.all():
        print(f"✓ {line}")
        return
    worst = values[~holds].ravel()[:3].tolist()
    if _strict:
        raise ClaimError(f"{line}, but measured {worst}")
    print(f"✗ {line}, but here {', '.join(f'{value:.3g}' for value in worst)}")


def _lookup(name):
    claims = registry()
    if name not in claims:
        close = difflib.get_close_matches(name, claims)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"claim {name!r} is not registered in claims.toml{hint}")
    if claims[name].status == "quoted":
        raise ValueError(f"claim {name!r} is only quoted: a checked claim has another status")
    return claims[name]


def _number(value):
    """Format a number as the text does: a true minus sign, at most six digits."""
    return str(value).lower() if isinstance(value, bool) else f"{value:.6g}".replace("-", "−")
