"""Checks of plain values, and the wording that all share."""

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def wrong(name, expected, got, kind=ValueError):
    """Return the exception that says what an argument should have been, and what it was.

    Parameters
    ----------
    name : str
        The argument.
    expected : str
        What it must be: completes "NAME must be …".
    got : object
        What it was.
    kind : type, optional
        Of the exception.

    Returns
    -------
    Exception

    Examples
    --------
    >>> wrong("rank", "an integer in 1 .. 10", 11)
    ValueError('rank must be an integer in 1 .. 10, got 11')
    """
    return kind(f"{name} must be {expected}, got {_described(got)}")


def integer(name, value, least=None, most=None):
    """Return a whole number in a range as an ``int``.

    Parameters
    ----------
    name : str
        The argument.
    value : int
        What was given; 0-d integer tensors and arrays are integers, booleans are not.
    least, most : int, optional
        Ends of the range, both allowed.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If it is not an integer, or out of range.

    Examples
    --------
    >>> integer("steps", 10, least=1)
    10
    """
    expected = "an integer" + _range(least, most)
    plain = _plain(value)
    if not isinstance(plain, Integral) or isinstance(plain, bool):
        raise wrong(name, expected, value, TypeError)
    if (least is not None and plain < least) or (most is not None and plain > most):
        raise wrong(name, expected, value)
    return int(plain)


def number(name, value, *, least=None, most=None, above=None, below=None):
    """Return a finite number in a range as a ``float``.

    Parameters
    ----------
    name : str
        The argument.
    value : float
        What was given; 0-d tensors and arrays are numbers, booleans are not.
    least, most : float, optional
        Ends of the range that are allowed themselves.
    above, below : float, optional
        Ends that are not.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If it is not a number, or not finite, or out of range.

    Examples
    --------
    >>> number("momentum", 0.9, least=0, below=1)
    0.9
    """
    expected = "a finite number" + _range(least, most, above, below)
    plain = _plain(value)
    if not isinstance(plain, Real) or isinstance(plain, bool):
        raise wrong(name, expected, value, TypeError)
    try:
        plain = float(plain)
    except OverflowError:  # an integer larger than all floats
        raise wrong(name, expected, value) from None
    inside = (
        math.isfinite(plain)
        and (least is None or plain >= least)
        and (most is None or plain <= most)
        and (above is None or plain > above)
        and (below is None or plain < below)
    )
    if not inside:
        raise wrong(name, expected, value)
    return plain


def integers(name, value, length=None, least=None):
    """Return a sequence of whole numbers as a tuple of ``int``.

    Parameters
    ----------
    name : str
        The argument.
    value : sequence of int
        What was given.
    length : int, optional
        How many there must be.
    least : int, optional
        Smallest that each may be.

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError, ValueError
        If it is no sequence, of another length, or holds anything else.

    Examples
    --------
    >>> integers("shape", [3, 4], length=2, least=1)
    (3, 4)
    """
    count = "" if length is None else f"{length} "
    expected = f"a sequence of {count}integers" + _range(least)
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise wrong(name, expected, value, TypeError)
    if length is not None and len(value) != length:
        raise wrong(name, expected, value)
    return tuple(integer(f"each of {name}", entry, least) for entry in value)


def shape(name, value):
    """Return a shape as a tuple of positive ``int``; the empty tuple is one.

    Parameters
    ----------
    name : str
        The argument.
    value : sequence of int
        What was given.

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError, ValueError
        As :func:`integers`.

    Examples
    --------
    >>> shape("batch_shape", ())
    ()
    """
    return integers(name, value, least=1)


def choice(name, value, options):
    """Return a value that is one of a few words.

    Parameters
    ----------
    name : str
        The argument.
    value : str
        What was given.
    options : iterable of str
        What it may be.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If it is not a string, or another one.

    Examples
    --------
    >>> choice("case", "wide", ["square", "wide"])
    'wide'
    """
    words = [f'"{word}"' for word in options]
    expected = ("one of " if len(words) > 1 else "") + ", ".join(words)
    if not isinstance(value, str):
        raise wrong(name, expected, value, TypeError)
    if f'"{value}"' not in words:
        raise wrong(name, expected, value)
    return value


def text(name, value):
    """Return a string that is not empty.

    Parameters
    ----------
    name : str
        The argument.
    value : str
        What was given.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If it is not a string, or empty.

    Examples
    --------
    >>> text("label", "NC1")
    'NC1'
    """
    if not isinstance(value, str):
        raise wrong(name, "a string", value, TypeError)
    if not value:
        raise wrong(name, "a string that is not empty", value)
    return value


def flag(name, value):
    """Return True or False, and take nothing else for it.

    Parameters
    ----------
    name : str
        The argument.
    value : bool
        What was given.

    Returns
    -------
    bool

    Raises
    ------
    TypeError
        If it is not a boolean.

    Examples
    --------
    >>> flag("bias", True)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise wrong(name, "True or False", value, TypeError)
    return bool(value)


def path(name, value):
    """Return a path; None stays None.

    Parameters
    ----------
    name : str
        The argument.
    value : str, PathLike or None
        What was given.

    Returns
    -------
    Path or None

    Raises
    ------
    TypeError, ValueError
        If it is anything else, or the empty string.

    Examples
    --------
    >>> path("root", "data").name
    'data'
    """
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise wrong(name, "a path", value, TypeError)
    if not os.fspath(value):
        raise wrong(name, "a path that is not empty", value)
    return Path(value)


def function(name, value):
    """Return something that can be called.

    Parameters
    ----------
    name : str
        The argument.
    value : callable
        What was given.

    Returns
    -------
    callable

    Raises
    ------
    TypeError
        If it cannot be called.

    Examples
    --------
    >>> function("loss", abs)
    <built-in function abs>
    """
    if not callable(value):
        raise wrong(name, "a function", value, TypeError)
    return value


def functions(name, value):
    """Return a mapping from names to functions as a ``dict``; None is the empty one.

    Parameters
    ----------
    name : str
        The argument.
    value : dict of str to callable, or None
        What was given.

    Returns
    -------
    dict of str to callable

    Raises
    ------
    TypeError
        If it is no mapping, or holds anything else.

    Examples
    --------
    >>> functions("metrics", None)
    {}
    """
    if value is None:
        return {}
    expected = "a dict from names to functions"
    if not isinstance(value, Mapping):
        raise wrong(name, expected, value, TypeError)
    for key, entry in value.items():
        if not isinstance(key, str) or not callable(entry):
            raise wrong(name, expected, {key: entry}, TypeError)
    return dict(value)


def generator(name, value):
    """Return a random number generator; None stands for torch's global one.

    Parameters
    ----------
    name : str
        The argument.
    value : torch.Generator or None
        What was given.

    Returns
    -------
    torch.Generator or None

    Raises
    ------
    TypeError
        If it is anything else, such as a seed.

    Examples
    --------
    >>> generator("generator", None) is None
    True
    """
    if value is not None and not isinstance(value, torch.Generator):
        raise wrong(name, "a torch.Generator or None", value, TypeError)
    return value


def _plain(value):
    """Return the number in a 0-d tensor or array; anything else as it is."""
    return value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value


def _range(least=None, most=None, above=None, below=None):
    """Word a range as it follows "an integer" or "a number"."""
    if least is not None and most is not None:
        return f" in {least} .. {most}"
    words = [f">= {least}"] * (least is not None) + [f"> {above}"] * (above is not None)
    words += [f"<= {most}"] * (most is not None) + [f"< {below}"] * (below is not None)
    return " " + " and ".join(words) if words else ""


def _described(value):
    """Describe a value in a few words: tensors by type and shape, the rest as it prints."""
    if isinstance(value, Tensor | np.ndarray):
        word = "tensor" if isinstance(value, Tensor) else "array"
        dtype = str(value.dtype).removeprefix("torch.")
        article = "an" if dtype[0] in "aio" else "a"
        if value.ndim == 0:
            return f"the {dtype} {value.item()}"
        return f"{article} {dtype} {word} of shape {tuple(value.shape)}"
    if isinstance(value, nn.Module):
        return f"a module {type(value).__name__}"
    shown = repr(value)
    if len(shown) > 60:
        return f"{shown[:57]}… ({type(value).__name__})"
    return shown
