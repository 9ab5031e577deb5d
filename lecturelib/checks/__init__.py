r"""Validation in one wording: *name* must be *what was expected*, got *what was given*.

Every public function checks its arguments through these, one at a time, so that a message always
names the culprit. A checker returns the value in the form that the library works with: a number
as a Python number; a NumPy array, where a tensor is meant, as a tensor that shares its memory if
that can be written. A value of the wrong kind (a list in place of a tensor) raises ``TypeError``, a
value out of range ``ValueError``.
"""

from lecturelib.checks.tensors import device, dtype, inputs, labelled, labels, module, tensor
from lecturelib.checks.values import (
    choice,
    flag,
    function,
    functions,
    generator,
    integer,
    integers,
    number,
    path,
    shape,
    text,
    wrong,
)

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
    "path",
    "shape",
    "tensor",
    "text",
    "wrong",
]
