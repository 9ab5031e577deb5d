r"""What weights and multipliers prove about a class, in spite of rounding.

The question is whether an x exists with A x = w and B x <= 0. Both answers need one number of a
matrix, by how much it stretches every vector at least: its smallest singular value :math:`\sigma`.

**Yes.** Weights x leave a remainder r = w - A x. If the rows of A are linearly independent, a
solution of A x = w lies within :math:`\|r\| / \sigma(A^\top)` of x. So if all outputs B x are so
far below zero that this step keeps them there, it solves everything. Rows that are there twice are
left out.

**No.** Multipliers u and v >= 0, in a scale with :math:`w^\top u \ge \|w\|`, leave a remainder
:math:`r = A^\top u - B^\top v`. With Z being A on top of V B, V = diag(v), a solution x would have

.. math:: \|Z x\| \le \|w\| + \|V B x\| \le w^\top u - v^\top B x = r^\top x \le \|r\| \|x\|.

Where :math:`\sigma(Z) > \|r\|`, there is none.

Rounding: a sum of k products, added in any order, is wrong by at most :math:`\gamma_k = k \epsilon
/ (1 - k \epsilon)` times the sum of their sizes (Higham, 2002, section 3.1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Systems",
    "apply",
    "columns_of_weights",
    "demands_of_certificates",
    "demands_of_weights",
    "normalized",
    "rows_of_certificates",
    "stretches",
]

# Twice the unit roundoff: the bounds are rounded themselves.
EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).tiny  # more than a product can lose by underflow


@dataclass(frozen=True, eq=False)
class Systems:
    """Q systems A x = w, B x <= 0, all entries being at most one in size.

    Attributes
    ----------
    samples : Tensor, shape (Q, N, d)
        The n rows of A, then those of B.
    lengths : Tensor, shape (Q, N)
        Their norms.
    targets : Tensor, shape (Q, n)
        w, positive.
    """

    samples: Tensor
    lengths: Tensor
    targets: Tensor

    def __getitem__(self, index):
        return Systems(*(tensor[index] for tensor in vars(self).values()))

    @property
    def size(self):
        """The number n of equations."""
        return self.targets.shape[1]

    @property
    def own(self):
        """A, shape (Q, n, d)."""
        return self.samples[:, : self.size]

    @property
    def others(self):
        """B, shape (Q, N - n, d)."""
        return self.samples[:, self.size :]

    @property
    def unit(self):
        """Length of the shortest row of A that is not zero, if all targets were one, shape (Q,)."""
        lengths = self.lengths[:, : self.size] / self.targets
        unit = lengths.masked_fill(lengths == 0, torch.inf).amin(1)
        return unit.masked_fill(unit.isinf(), 1)


def demands_of_weights(systems, weights, closely=True):
    """Return by how much A^T must stretch for weights (Q, d) to be a proof, and their violation.

    Both have the shape (Q,); the first is infinite where nothing helps, the second is that of
    :class:`~lecturelib.shallow_feasibility.Feasibility`. Rounding is bounded by the sizes of all
    terms, or, where not ``closely``, by lengths, which saves a pass over the samples.
    """
    n = systems.size
    outputs = apply(systems.samples, weights)
    if closely:
        sizes = apply(systems.samples.abs(), weights.abs())
    else:
        sizes = systems.lengths * weights.norm(dim=1, keepdim=True)
    errors = _gamma(weights.shape[1]) * sizes + TINY
    missed = (systems.targets - outputs[:, :n]).abs() + errors[:, :n]
    above = ((outputs + errors) / systems.lengths)[:, n:]
    # Samples at the origin are silent.
    above = above.masked_fill(systems.lengths[:, n:] == 0, -torch.inf).amax(1)
    factor = torch.where(above < 0, 2 * missed.norm(dim=1) / -above, torch.inf)
    return factor, (missed / systems.targets).amax(1).maximum(systems.unit * above.clamp_min(0))


def normalized(systems, certificate):
    """Multiply c = (u, -v) (Q, N) by powers of two that bring w^T u to one or two times |w|."""
    gain, _ = _gain(systems, certificate)
    _, exponents = torch.frexp(systems.targets.norm(dim=1) / gain)
    exponents = exponents.masked_fill(~(gain > 0), 0).clamp(-1000, 1000)
    return torch.ldexp(certificate, exponents.unsqueeze(1))


def _gain(systems, certificate):
    """Return a lower bound of w^T u, and by how much rounding has lowered it."""
    own = systems.targets * certificate[:, : systems.size]
    rounding = _gamma(systems.size) * own.abs().sum(1)
    return own.sum(1) - rounding, rounding


def demands_of_certificates(systems, certificate):
    """Return by how much Z must stretch for c = (u, -v) (Q, N) to be a proof, and its violation.

    Both have the shape (Q,) and are infinite where nothing helps; the first only serves a
    certificate that is normalised.
    """
    n, N = systems.size, systems.samples.shape[1]
    gain, rounding = _gain(systems, certificate)
    remainder = apply(systems.samples.mT, certificate).norm(dim=1)
    remainder = remainder + _gamma(N) * (systems.lengths * certificate.abs()).sum(1) + TINY
    valid = (gain > 0) & (certificate[:, n:] <= 0).all(1)
    enough = gain >= systems.targets.norm(dim=1)
    factor = torch.where(valid & enough, 2 * remainder, torch.inf)
    missed = (remainder / systems.unit).maximum(2 * rounding) / gain
    return factor, missed.masked_fill(~valid, torch.inf)


def columns_of_weights(systems):
    """Return A^T as blocks (Q, …, n), but for samples that repeat an earlier one of the class.

    An equation that is there twice needs no solution of its own: each repetition is replaced by a
    coordinate that only it has.
    """
    own = systems.own
    equations = torch.cat([own, systems.targets.unsqueeze(-1)], 2)
    repeats = torch.stack([_repeats(rows) for rows in equations])
    return own.masked_fill(repeats.unsqueeze(-1), 0).mT, torch.diag_embed(repeats.to(own.dtype))


def _repeats(rows):
    """Say which rows (n, d) are the same as an earlier one."""
    _, kinds = rows.unique(dim=0, return_inverse=True)
    return (kinds.unsqueeze(0) == kinds.unsqueeze(1)).tril(-1).any(1)


def rows_of_certificates(systems, certificate):
    """Return the rows of Z as blocks (Q, …, d), on top of each other."""
    n, (Q, N, d) = systems.size, systems.samples.shape
    own, v = systems.own, -certificate[:, n:]
    # All of them would do as well; these are enough, as a rule, to leave no direction unstretched.
    v, order = v.topk(min(N - n, 2 * max(0, d - n) + 8), sorted=False)
    places = order + n + N * torch.arange(Q, device=order.device).unsqueeze(1)
    others = systems.samples.reshape(-1, d)[places] * v.unsqueeze(-1)
    if not (own[:, 0] == 0).any():
        return own, others
    # A coordinate that no sample of the certificate has does not count: the remainder is exactly
    # zero there.
    involved = torch.nn.functional.pad(certificate[:, n:] != 0, (n, 0), value=True)
    unused = ~((systems.samples != 0) & involved.unsqueeze(-1)).any(1)
    return own, others, torch.diag_embed(unused.to(own.dtype))


def stretches(blocks, factor):
    """Say of which matrices Z it is proved that ``|Z x| > factor |x|`` for all x but 0.

    Z has blocks (Q, …, d) of rows; factor and answer have the shape (Q,). The proof is a Cholesky
    factorisation of Z^T Z - s I that exists: then no eigenvalue of Z^T Z is below s, but for a
    rounding error that is known (Rump, 2006).
    """
    proved = factor.isfinite()
    if proved.any():
        tried = slice(None) if proved.all() else proved.clone()
        proved[tried] = _squares_exceed([block[tried] for block in blocks], factor[tried])
    rest = ~proved & factor.isfinite()
    if rest.any():
        matrices = torch.cat([block[rest] for block in blocks], 1)
        proved[rest] = _straightened_exceed(matrices, factor[rest])
    return proved


def _squares_exceed(blocks, factor):
    first, *rest = blocks
    squares = first.mT @ first
    for block in rest:
        squares += block.mT @ block
    diagonal = squares.diagonal(dim1=-2, dim2=-1)
    terms = sum(map(sum, (block.shape[1:] for block in blocks)))
    shift = 2 * factor.square() + 2 * _gamma(terms) * diagonal.sum(-1) + TINY
    diagonal -= shift.unsqueeze(-1)
    return (torch.linalg.cholesky_ex(squares).info == 0) & shift.isfinite()


def _straightened_exceed(matrices, factor):
    """As above, after columns were made nearly orthonormal: squares lose half of the digits."""
    *_, a, b = matrices.shape
    if a < b:
        return torch.zeros_like(factor, dtype=torch.bool)
    triangle = torch.linalg.qr(matrices, mode="r").R
    eye = torch.eye(b, dtype=triangle.dtype, device=triangle.device)
    inverse = torch.linalg.solve_triangular(triangle, eye, upper=True)
    lost = _gamma(b) * _frobenius(matrices)
    return _squares_exceed([matrices @ inverse], 2 * _frobenius(inverse) * (factor + lost))


def _gamma(terms):
    return (terms + 8) * EPS


def _frobenius(matrices):
    return matrices.flatten(1).norm(dim=1)


def apply(matrix, vector):
    """Multiply matrices (…, a, b) and vectors (…, b)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
