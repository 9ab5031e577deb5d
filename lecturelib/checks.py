r"""Validation in one wording: *name* must be *what was expected*, got *what was given*.

Every public function checks its arguments through these, one at a time, so that a message always
names the culprit. A checker returns the value in the form that the library works with: a number
as a Python number, a NumPy array where a tensor is meant as a tensor that shares its memory.
A value of the wrong kind (a list in place of a tensor) raises ``TypeError``, a value out of range
``ValueError``.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "choice",
    "device",
    "dtype",
    "flag",
    "function",
    "functions",
    "generator",
    "inputs",
    "integer",
    "integers",
    "labelled",
    "labels",
    "module",
    "number",
    "shape",
    "tensor",
    "text",
    "wrong",
]

# Letters of a shape that stand for any number of leading dimensions, none included.
LEADING = "…"


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
        What was given; NumPy's integers and 0-d integer tensors are integers, booleans are not.
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
    if isinstance(value, Tensor) and value.ndim == 0 and _is_integer(value):
        value = value.item()
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise wrong(name, expected, value, TypeError)
    if (least is not None and value < least) or (most is not None and value > most):
        raise wrong(name, expected, value)
    return int(value)


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
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool):
        raise wrong(name, expected, value, TypeError)
    inside = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        raise wrong(name, expected, value)
    return float(value)


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


def device(name, value):
    """Return a device; None stays None.

    Parameters
    ----------
    name : str
        The argument.
    value : torch.device, str, int or None
        What was given.

    Returns
    -------
    torch.device or None

    Raises
    ------
    TypeError, ValueError
        If torch knows no such device.

    Examples
    --------
    >>> device("device", "cpu")
    device(type='cpu')
    """
    if value is None:
        return None
    try:
        return torch.device(value)
    except TypeError:
        raise wrong(name, 'a device such as "cpu" or "cuda"', value, TypeError) from None
    except RuntimeError:
        raise wrong(name, 'a device such as "cpu" or "cuda"', value) from None


def dtype(name, value):
    """Return a floating type; None stands for torch's default.

    Parameters
    ----------
    name : str
        The argument.
    value : torch.dtype or None
        What was given.

    Returns
    -------
    torch.dtype

    Raises
    ------
    TypeError, ValueError
        If it is no type of torch's, or not a floating one.

    Examples
    --------
    >>> dtype("dtype", torch.float64)
    torch.float64
    """
    if value is None:
        return torch.get_default_dtype()
    expected = "a floating type such as torch.float64"
    if not isinstance(value, torch.dtype):
        raise wrong(name, expected, value, TypeError)
    if not value.is_floating_point:
        raise wrong(name, expected, value)
    return value


def module(name, value, *methods):
    """Return a network, which has the methods asked for.

    Parameters
    ----------
    name : str
        The argument.
    value : torch.nn.Module
        What was given.
    *methods : str
        What it must be able to do beyond being called.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    TypeError
        If it is no module, or lacks a method.

    Examples
    --------
    >>> module("model", nn.Linear(2, 3))
    Linear(in_features=2, out_features=3, bias=True)
    """
    having = f" with a method {', '.join(methods)}" if methods else ""
    expected = f"a torch.nn.Module{having}"
    able = all(callable(getattr(value, method, None)) for method in methods)
    if not isinstance(value, nn.Module) or not able:
        raise wrong(name, expected, value, TypeError)
    return value


def tensor(name, value, shape=None, *, finite=True, kind="floating-point", like=None):
    """Return a tensor of a shape; a NumPy array becomes a tensor that shares its memory.

    Parameters
    ----------
    name : str
        The argument.
    value : Tensor or ndarray
        What was given.
    shape : tuple, optional
        A number for each dimension of that size, a letter for one of any positive size; ``"…"`` in
        front for any leading dimensions. Default: any shape.
    finite : bool, optional
        Whether all entries must be finite, which takes a pass over them.
    kind : {"floating-point", "integer", "real"}, optional
        Of its entries; real is either of the other two.
    like : Tensor, optional
        A tensor whose type it must have; an array gets that type, and the device too.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If it is neither tensor nor array.
    ValueError
        If its type, its shape or an entry is not as asked for.

    Examples
    --------
    >>> tensor("features", np.zeros((3, 2)), ("N", "d")).shape
    torch.Size([3, 2])
    >>> tensor("features", torch.zeros(3), ("N", "d"))
    Traceback (most recent call last):
    ...
    ValueError: features must be a floating-point tensor of shape (N, d), got a float32 tensor of
    shape (3,)
    """
    expected = f"{'an' if kind == 'integer' else 'a'} {kind} tensor"
    if shape is not None:
        expected += f" of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    given, value = value, _as_tensor(name, value, expected)
    kinds = {"floating-point": value.is_floating_point(), "integer": _is_integer(value)}
    right = kinds[kind] if kind in kinds else any(kinds.values())
    if not right or (shape is not None and not _fits(value.shape, shape)):
        raise wrong(name, expected, value)
    if finite and not value.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    if like is None or value.dtype == like.dtype:
        return value
    if given is value:
        raise wrong(name, f"of the type {like.dtype} of what it goes with", value)
    return value.to(like)


def labels(name, value, count, num_classes=None):
    """Return class numbers as an int64 tensor, after checking that they fit.

    Parameters
    ----------
    name : str
        The argument.
    value : Tensor or ndarray, shape (N,)
        What was given: integers, not booleans.
    count : int
        N.
    num_classes : int, optional
        Number K of classes; without it the range is not looked at.

    Returns
    -------
    Tensor, shape (N,), int64

    Raises
    ------
    TypeError, ValueError
        As :func:`tensor`; or if a label is out of range.

    Examples
    --------
    >>> labels("labels", torch.tensor([0, 2], dtype=torch.uint8), 2)
    tensor([0, 2])
    """
    value = tensor(name, value, (count,), finite=False, kind="integer").long()
    if num_classes is not None and len(value):
        least, most = map(int, value.aminmax())
        if not 0 <= least <= most < num_classes:
            raise ValueError(f"{name} must lie in 0 .. {num_classes - 1}, got {least} .. {most}")
    return value


def labelled(name, value, classes, num_classes=None, dim=None):
    """Return features and their labels, after checking that they fit each other.

    Parameters
    ----------
    name : str
        The argument that holds the features.
    value : Tensor or ndarray, shape (N, d)
        Features, floating point; not looked at for NaN.
    classes : Tensor or ndarray, shape (N,)
        Labels, the argument ``labels``: integers.
    num_classes : int, optional
        K, at least 2: labels lie in 0 .. K-1. Without it they are only not negative.
    dim : int, optional
        d (default: any).

    Returns
    -------
    features : Tensor, shape (N, d)
    labels : Tensor, shape (N,), int64

    Raises
    ------
    TypeError, ValueError
        If they are not as described, or N = 0.

    Examples
    --------
    >>> labelled("features", np.zeros((2, 3)), np.array([0, 1]))[1]
    tensor([0, 1])
    """
    features = tensor(name, value, ("N", "d" if dim is None else dim), finite=False)
    if num_classes is not None:
        num_classes = integer("num_classes", num_classes, least=2)
    classes = labels("labels", classes, len(features), num_classes)
    if num_classes is None and classes.min() < 0:
        raise ValueError(f"labels must not be negative, got {int(classes.min())}")
    return features, classes.to(features.device)


def inputs(name, value, model):
    """Return samples as a network takes them; an array gets the network's type and device.

    Parameters
    ----------
    name : str
        The argument.
    value : Tensor or ndarray
        What was given: floating point.
    model : torch.nn.Module
        The network.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If it is neither, or a tensor of another floating type than the network's parameters.

    Examples
    --------
    >>> inputs("inputs", np.zeros((3, 2)), nn.Linear(2, 1)).dtype
    torch.float32
    """
    return tensor(name, value, finite=False, like=next(model.parameters(), None))


def _as_tensor(name, value, expected):
    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(value)
        except (TypeError, ValueError):  # texts and objects; negative strides
            raise wrong(name, f"{expected} (torch.tensor makes one)", value, TypeError) from None
    if not isinstance(value, Tensor):
        advice = " (torch.tensor makes one)" if isinstance(value, list | tuple) else ""
        raise wrong(name, expected + advice, value, TypeError)
    return value


def _is_integer(value):
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def _fits(sizes, shape):
    if shape and shape[0] == LEADING:
        sizes, shape = sizes[max(0, len(sizes) - len(shape) + 1) :], shape[1:]
    return len(sizes) == len(shape) and all(
        size == want if isinstance(want, int) else size > 0
        for size, want in zip(sizes, shape, strict=True)
    )


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
