"""Matrices of low rank, and entries of them."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.deep_linear import init_weights
from lecturelib.deep_matrix_completion.errors import entries
from lecturelib.device import Movable

__all__ = [
    "LowRankMatrix",
    "Observations",
    "Observed",
    "checked_observations",
    "low_rank_matrix",
    "observe",
    "places",
]


@dataclass(frozen=True, eq=False)
class Observations(Movable):
    r"""Entries of a matrix in coordinate form; ``observations[which]`` are some of them.

    Attributes
    ----------
    rows, cols : Tensor, shape (M,), int64
        Where the entries stand, counted from 0.
    values : Tensor, shape (M,)
        What they are.

    Examples
    --------
    >>> seen = observe(torch.eye(3), 1.0)
    >>> len(seen), seen[seen.rows == seen.cols].values
    (9, tensor([1., 1., 1.]))
    """

    rows: Tensor
    cols: Tensor
    values: Tensor

    def __len__(self):
        return len(self.values)

    def __getitem__(self, which):
        return Observations(self.rows[which], self.cols[which], self.values[which])


@dataclass(frozen=True, eq=False)
class LowRankMatrix(Movable):
    r"""A matrix kept as a product, :math:`A B^\top`.

    Attributes
    ----------
    left, right : Tensor, shapes (d_1, r) and (d_2, r)
        The factors A and B.
    """

    left: Tensor
    right: Tensor

    @property
    def shape(self):
        """Shape (d_1, d_2) of the matrix."""
        return len(self.left), len(self.right)

    def predict(self, rows, cols):
        """Return some entries, without the others.

        Parameters
        ----------
        rows, cols : Tensor, shape (M,)
            Where they stand, integers.

        Returns
        -------
        Tensor, shape (M,)

        Raises
        ------
        TypeError, ValueError
            If these are not places in the matrix.
        """
        rows, cols = places(rows, cols, self.shape)
        return entries(self.left, self.right, rows, cols)

    def dense(self):
        """Multiply the factors out, shape (d_1, d_2)."""
        return self.left @ self.right.mT


def low_rank_matrix(shape, rank, *, singular_values=None, generator=None, dtype=None, device=None):
    r"""Draw a matrix with uniformly distributed singular vectors.

    Parameters
    ----------
    shape : tuple of two int
        :math:`(d_1, d_2)`.
    rank : int
        r, between 1 and the smaller dimension.
    singular_values : sequence of float, optional
        r numbers, not negative (default: all :math:`\sqrt{d_1 d_2 / r}`, which makes the entries'
        mean square one).
    generator : torch.Generator, optional
        Source of randomness.
    dtype : torch.dtype, optional
        Floating type (default: torch's default). To recover a matrix to many digits take float64.
    device : torch.device, optional
        Where the factors are moved (default: they stay on the generator's).

    Returns
    -------
    LowRankMatrix

    Raises
    ------
    TypeError, ValueError
        If the rank does not fit, the singular values are not r numbers :math:`\ge 0`, or another
        argument is not as described.

    Examples
    --------
    >>> target = low_rank_matrix((50, 40), 2, singular_values=[3, 1], dtype=torch.float64)
    >>> torch.linalg.svdvals(target.dense())[:3].round(decimals=6)
    tensor([3., 1., 0.], dtype=torch.float64)
    """
    shape = checks.integers("shape", shape, length=2, least=1)
    rank = checks.integer("rank", rank, 1, min(shape))
    if singular_values is None:
        singular_values = [math.sqrt(math.prod(shape) / rank)] * rank
    values = _checked_values(singular_values, rank)
    device = checks.device("device", device)
    left, right = (
        init_weights([rank, size], generator=generator, dtype=dtype)[0] for size in shape
    )
    values = torch.tensor(values, dtype=left.dtype, device=left.device)
    return LowRankMatrix(left * values, right).to(device)


def observe(target, fraction, *, generator=None):
    r"""Look at some entries, drawn without replacement.

    Parameters
    ----------
    target : Tensor, shape (d_1, d_2), or LowRankMatrix
        The matrix.
    fraction : float
        Share of the entries, in (0, 1]; their number is rounded.
    generator : torch.Generator, optional
        Source of randomness.

    Returns
    -------
    Observations
        In the order of rows, then columns, on the device of the matrix.

    Raises
    ------
    TypeError, ValueError
        If the fraction is out of range or rounds to no entry at all, or another argument is not as
        described.

    Examples
    --------
    >>> seen = observe(torch.eye(20), 0.3)
    >>> len(seen), torch.equal(seen.values, (seen.rows == seen.cols).float())
    (120, True)
    """
    known = isinstance(target, LowRankMatrix)
    target = target if known else checks.tensor("target", target, ("d_1", "d_2"))
    n_rows, n_cols = target.shape
    total = n_rows * n_cols
    fraction = checks.number("fraction", fraction, above=0, most=1)
    count = round(fraction * total)
    if count < 1:
        raise checks.wrong("fraction", f"large enough for one of {total} entries", fraction)
    generator = checks.generator("generator", generator)
    source = {"generator": generator, "device": generator.device if generator else None}
    if 4 * count > total:
        chosen = torch.randperm(total, **source)[:count]
    else:  # few places out of many: draw, drop what came twice, and fill up
        chosen = torch.empty(0, dtype=torch.int64, device=source["device"])
        while len(chosen) < count:
            more = torch.randint(total, (count - len(chosen) + count // 4 + 16,), **source)
            chosen = torch.cat([chosen, more]).unique()
        chosen = chosen[torch.randperm(len(chosen), **source)[:count]]
    chosen = chosen.sort().values.to(target.left.device if known else target.device)
    rows, cols = chosen // n_cols, chosen % n_cols
    return Observations(rows, cols, target.predict(rows, cols) if known else target[rows, cols])


def _checked_values(singular_values, rank):
    if isinstance(singular_values, Tensor | np.ndarray) and singular_values.ndim == 1:
        singular_values = singular_values.tolist()
    expected = f"a sequence of {rank} numbers >= 0"
    if not isinstance(singular_values, Sequence) or isinstance(singular_values, str):
        raise checks.wrong("singular_values", expected, singular_values, TypeError)
    if len(singular_values) != rank:
        raise checks.wrong("singular_values", expected, singular_values)
    return [checks.number("each of singular_values", value, least=0) for value in singular_values]


def places(rows, cols, shape, prefix=""):
    """Return row and column numbers as int64, after checking that they are places in a matrix.

    Parameters
    ----------
    rows, cols : Tensor, shape (M,)
        What was given: integers.
    shape : tuple of two int
        Of the matrix.
    prefix : str, optional
        What stands in front of their names in an error.

    Returns
    -------
    rows, cols : Tensor, shape (M,), int64

    Raises
    ------
    TypeError, ValueError
        If they are not as described or out of range.
    """
    rows = checks.tensor(f"{prefix}rows", rows, finite=False, kind="integer")
    if rows.ndim != 1:
        raise checks.wrong(f"{prefix}rows", "an integer tensor of shape (M,)", rows)
    cols = checks.tensor(f"{prefix}cols", cols, (len(rows),), finite=False, kind="integer")
    for name, index, size in (("rows", rows, shape[0]), ("cols", cols, shape[1])):
        if len(index) and not 0 <= index.min() <= index.max() < size:
            found = f"{int(index.min())} .. {int(index.max())}"
            raise ValueError(f"{prefix}{name} must lie in 0 .. {size - 1}, got {found}")
    return rows.long(), cols.long()


def checked_observations(name, given, shape):
    """Return observations that are entries of a matrix of a shape.

    Parameters
    ----------
    name : str
        The argument.
    given : Observations
        What was given; a plain tuple of rows, columns and values will do.
    shape : tuple of two int
        Of the matrix.

    Returns
    -------
    Observations
        With int64 places.

    Raises
    ------
    TypeError, ValueError
        If they are anything else, empty, out of range, not finite, or all zero.
    """
    if isinstance(given, tuple) and len(given) == 3:
        given = Observations(*given)
    if not isinstance(given, Observations):
        raise checks.wrong(name, "Observations (observe makes them)", given, TypeError)
    rows, cols = places(given.rows, given.cols, shape, prefix=f"{name}.")
    if not len(rows):
        raise checks.wrong(name, "one entry or more", rows)
    values = checks.tensor(f"{name}.values", given.values, (len(rows),))
    if not values.any():
        raise ValueError(f"{name}.values must not all be zero")
    return Observations(rows.to(values.device), cols.to(values.device), values)


class Observed:
    """Checked observations in the order of rows, then columns.

    Parameters
    ----------
    observations : Observations
        What was observed, each entry once.
    shape : tuple of two int
        Of the matrix.
    """

    def __init__(self, observations, shape):
        seen = checked_observations("observations", observations, shape)
        n_rows, n_cols = self.shape = shape
        order = (seen.rows * n_cols + seen.cols).argsort()
        seen = seen[order]
        self.rows, self.cols, self.values = seen.rows, seen.cols, seen.values
        again = (self.rows.diff() == 0) & (self.cols.diff() == 0)
        if again.any():
            twice = int(again.nonzero()[0])
            place = int(self.rows[twice]), int(self.cols[twice])
            raise ValueError(f"observations must hold each entry once, got {place} twice")
        self.norm = self.values.norm().item()
        for name, index, size in (("row", self.rows, n_rows), ("column", self.cols, n_cols)):
            empty = (index.bincount(minlength=size) == 0).nonzero().flatten().tolist()
            if empty:
                which = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
                warnings.warn(
                    f"no entry of {name} {which} is observed: nothing can recover it",
                    stacklevel=3,
                )
