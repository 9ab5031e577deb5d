"""Checks of tensors, of what goes with them, and of networks."""

import numpy as np
import torch
from torch import Tensor, nn

from lecturelib.checks.values import integer, wrong

# Letters of a shape that stand for any number of leading dimensions, none included.
LEADING = "…"


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
    """Return a tensor of a shape; a NumPy array becomes one.

    Parameters
    ----------
    name : str
        The argument.
    value : Tensor or ndarray
        What was given. An array shares its memory with the result where that can be written.
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
        # A tensor cannot share memory that is read-only, or that runs backwards.
        shared = value.flags.writeable and min(value.strides, default=0) >= 0
        try:
            return torch.from_numpy(value if shared else value.copy())
        except (TypeError, ValueError):  # texts, objects, foreign byte orders
            raise wrong(name, expected, value, TypeError) from None
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
