"""What crosses between the process that scores and the one that runs a student's code.

A frame is two lengths, a JSON header and raw bytes. Nothing in it can make the reader run code: it
knows a few kinds of values and a few types of numbers, and refuses the rest.
"""

import json
import math
import struct
import time

import numpy as np
import torch

__all__ = ["Malformed", "decode", "encode", "receive", "send"]

LENGTHS = struct.Struct("<IQ")
HEADER_LIMIT = 8 << 20  # bytes; a list of some 400 000 numbers
BODY_LIMIT = 128 << 20  # bytes of all arrays of one frame
DTYPES = {
    np.dtype(kind).str
    for kind in (
        "bool",
        *["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"],
    )
}


class Malformed(ValueError):
    """A frame or a value that this wire does not carry."""


def encode(value, arrays):
    """Return a value as something JSON can hold; its arrays are appended to a list.

    Parameters
    ----------
    value : object
        None, ..., a bool, number, string, array or tensor, or a list, tuple or dict of these.
    arrays : list
        Receives the arrays.

    Returns
    -------
    object

    Raises
    ------
    Malformed
        If there is something else in it.

    Examples
    --------
    >>> arrays = []
    >>> encode({"x": (1, np.zeros(2))}, arrays)
    {'dict': [['x', {'tuple': [1, {'array': 0}]}]]}
    >>> decode(encode({"x": (1, 2.5)}, []), [])
    {'x': (1, 2.5)}
    """
    if value is None or isinstance(value, bool):
        return value
    if value is ...:
        return {"ellipsis": 0}
    if isinstance(value, np.generic):
        return {"scalar": _append(np.asarray(value), arrays)}
    if isinstance(value, torch.Tensor):
        plain = value.detach().to("cpu").resolve_conj().resolve_neg()
        if plain.layout is not torch.strided:
            plain = plain.to_dense()
        if plain.dtype == torch.bfloat16:  # which NumPy lacks
            plain = plain.float()
        try:
            return {"tensor": _append(plain.numpy(), arrays)}
        except (TypeError, RuntimeError) as error:
            raise Malformed(f"a tensor of {value.dtype} cannot be handed over") from error
    if isinstance(value, np.ndarray):
        return {"array": _append(np.asarray(value), arrays)}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (list, tuple)):
        name = "list" if isinstance(value, list) else "tuple"
        return {name: [encode(entry, arrays) for entry in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]}
    raise Malformed(
        f"{type(value).__name__} is none of the kinds that can be handed over: numbers, strings, "
        "arrays, tensors, and lists, tuples and dictionaries of them"
    )


def _append(array, arrays):
    if array.dtype.newbyteorder("<").str not in DTYPES and array.dtype.str not in DTYPES:
        raise Malformed(f"an array of {array.dtype} cannot be handed over: only one of numbers")
    arrays.append(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))))
    arrays[-1].shape = array.shape  # ascontiguousarray makes a vector of a single number
    return len(arrays) - 1


def decode(tree, arrays):
    """Return the value that `encode` made a tree of.

    Parameters
    ----------
    tree : object
        What JSON held; anything may be in it.
    arrays : list of ndarray
        Those that came with it.

    Returns
    -------
    object

    Raises
    ------
    Malformed
        If `encode` did not make it.

    Examples
    --------
    >>> decode({"tensor": 0}, [np.ones(2)])
    tensor([1., 1.], dtype=torch.float64)
    """
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if not isinstance(tree, dict) or len(tree) != 1:
        raise Malformed("a value that no encoder wrote")
    ((kind, inner),) = tree.items()
    if kind == "ellipsis":
        return ...
    if kind in ("array", "tensor", "scalar"):
        if type(inner) is not int or not 0 <= inner < len(arrays):
            raise Malformed("an array that did not come along")
        array = arrays[inner]
        if kind == "array":
            return array
        if kind == "tensor":
            return torch.from_numpy(array)
        if array.shape != ():
            raise Malformed("a single number with a shape")
        return array[()]
    if not isinstance(inner, list):
        raise Malformed("a value that no encoder wrote")
    if kind == "complex" and len(inner) == 2 and all(isinstance(x, (int, float)) for x in inner):
        return complex(*inner)
    if kind == "list":
        return [decode(entry, arrays) for entry in inner]
    if kind == "tuple":
        return tuple(decode(entry, arrays) for entry in inner)
    if kind == "dict":
        try:
            return {decode(k, arrays): decode(v, arrays) for k, v in inner}
        except TypeError as error:
            raise Malformed("a dictionary with entries that are no pairs, or odd keys") from error
    raise Malformed("a value of an unknown kind")


def send(connection, message, **values):
    """Send a message and values that belong to it.

    Parameters
    ----------
    connection : socket
        Its time limit holds for each piece.
    message : dict
        Anything JSON holds.
    **values : object
        Anything `encode` takes.

    Raises
    ------
    Malformed
        If a value cannot be sent, or all together are too large.
    OSError
        If nobody is there to receive it.
    """
    arrays = []
    try:
        trees = {name: encode(value, arrays) for name, value in values.items()}
        kinds = [[array.dtype.str, list(array.shape)] for array in arrays]
        header = json.dumps({**message, "values": trees, "arrays": kinds}).encode()
    except RecursionError:
        raise Malformed("the value holds itself, or is nested too deep") from None
    body = b"".join(array.tobytes() for array in arrays)
    if len(header) > HEADER_LIMIT or len(body) > BODY_LIMIT:
        raise Malformed(f"the value is larger than {BODY_LIMIT >> 20} MiB, or a list too long")
    connection.sendall(LENGTHS.pack(len(header), len(body)) + header + body)


def receive(connection, seconds=None):
    """Receive what `send` sent.

    Parameters
    ----------
    connection : socket
        Whoever is at its other end is not trusted.
    seconds : float, optional
        For the whole frame, however it trickles in; otherwise forever.

    Returns
    -------
    message : dict
    values : dict

    Raises
    ------
    Malformed
        If it is no such frame.
    TimeoutError, EOFError, OSError
        If it did not come in time, or the other end is gone.
    """
    end = None if seconds is None else time.monotonic() + seconds
    header_size, body_size = LENGTHS.unpack(_exactly(connection, LENGTHS.size, end))
    if header_size > HEADER_LIMIT or body_size > BODY_LIMIT:
        raise Malformed("a frame larger than any that is allowed")
    header = _exactly(connection, header_size, end)
    body = _exactly(connection, body_size, end)
    try:
        message = json.loads(header)
        if not isinstance(message, dict):
            raise Malformed("a frame without a message")
        kinds, trees = message.pop("arrays", None), message.pop("values", None)
        arrays = _arrays(kinds, body)
        if not isinstance(trees, dict):
            raise Malformed("a frame without values")
        return message, {name: decode(tree, arrays) for name, tree in trees.items()}
    except Malformed:
        raise
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise Malformed(f"a frame that cannot be read ({type(error).__name__})") from None


def _exactly(connection, size, end):
    data = bytearray()
    while len(data) < size:
        if end is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the frame did not come in time")
            connection.settimeout(left)
        else:
            connection.settimeout(None)
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError("the other end is gone")
        data += piece
    return bytes(data)


def _arrays(kinds, body):
    if not isinstance(kinds, list):
        raise Malformed("a frame without a list of arrays")
    arrays, at = [], 0
    for kind in kinds:
        match kind:
            case [str(dtype), list(shape)] if dtype in DTYPES and len(shape) <= 32:
                if not all(type(size) is int and 0 <= size <= BODY_LIMIT for size in shape):
                    raise Malformed("an array of an impossible shape")
            case _:
                raise Malformed("an array of a type that is not allowed")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if at + size > len(body):
            raise Malformed("an array larger than what came along")
        flat = np.frombuffer(body, dtype, math.prod(shape), at) if size else np.zeros(0, dtype)
        arrays.append(flat.reshape(shape).copy())
        at += size
    if at != len(body):
        raise Malformed("more bytes than arrays")
    return arrays
