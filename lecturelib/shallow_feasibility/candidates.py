"""Weights and multipliers that are likely to be proofs: by Newton's method, or by SciPy's HiGHS.

What is found here is not trusted: :mod:`~lecturelib.shallow_feasibility.proofs` says what it
proves. All functions take systems A x = w, B x <= 0 as tensors A (Q, n, d), w (Q, n) and B (Q, m,
d), with entries of at most one, and return weights x (Q, d) and multipliers u (Q, n), v (Q, m).
"""

import math

import numpy as np
import torch
from scipy.optimize import linprog

from lecturelib.shallow_feasibility.proofs import apply

__all__ = ["class_program", "exact_step", "highs", "newton", "newton_by_qr", "newton_by_svd"]

NEWTON_STEPS = 200

# How far below the limits Newton's method aims at first, in lengths of the shortest solution of
# A x = w; the factor by which it lowers its aim where there is not so much room; and the last aim
# before the limits themselves.
MARGIN, LOWER, LAST_MARGIN = 0.3, 0.01, 1e-10

# A gradient that is smaller, in parts of what it is compared with, is zero.
ENOUGH = 1e-10

# What is smaller is rounding, of numbers that are about one.
ROUNDING = 1e-13

TINY = 1e-290  # stands for zero in a denominator

# Tolerances of HiGHS, the finest that it takes.
FINEST = dict.fromkeys(["primal_feasibility_tolerance", "dual_feasibility_tolerance"], 1e-10)


def newton_by_qr(A, w, B):
    """Newton's method where the class is in general position: A of full rank n <= d."""
    n = A.shape[1]
    Q, R = torch.linalg.qr(A.mT, mode="complete")
    # A class of lower rank has no such coordinates, and NaN proves nothing.
    singular = (R.diagonal(dim1=1, dim2=2).abs() < ROUNDING).any(1)
    R = R.masked_fill(singular.view(-1, 1, 1), math.nan)
    axes, triangle = Q[..., :n], R[:, :n].mT.contiguous()

    def shortest(b):
        y = torch.linalg.solve_triangular(triangle, b.unsqueeze(-1), upper=False)
        return (axes @ y).squeeze(-1)

    def closest(g):
        y = apply(axes.mT, g).unsqueeze(-1)
        return torch.linalg.solve_triangular(triangle.mT, y, upper=True).squeeze(-1)

    return _minimised(w, B, shortest, closest, Q[..., n:])


def newton_by_svd(A, w, B):
    """Newton's method for any class: duplicates, low rank, more samples than dimensions."""
    left, values, right = torch.linalg.svd(A, full_matrices=False)
    kept = values > max(A.shape[1:]) * torch.finfo(A.dtype).eps * values[:, :1]
    left, right = left * kept.unsqueeze(-2), right * kept.unsqueeze(-1)
    values = values.masked_fill(~kept, 1)
    basis = torch.eye(A.shape[2], dtype=A.dtype, device=A.device) - right.mT @ right

    def shortest(b):
        return apply(right.mT, apply(left.mT, b) / values)

    def closest(g):
        return apply(left, apply(right, g) / values)

    x, u, v = _minimised(w, B, shortest, closest, basis, sparse=True)
    # Where A x = w has no solution at all, what is left of w is a certificate by itself. Less than
    # this threshold can be rounding.
    rest = w - apply(left, apply(left.mT, w))
    unsolvable = rest.norm(dim=-1, keepdim=True) > 1e-6 * w.norm(dim=-1, keepdim=True)
    return x, torch.where(unsolvable, rest, u), v.masked_fill(unsolvable, 0)


def _minimised(w, B, shortest, closest, basis, sparse=False):
    """Go through the solutions of A x = w, which are ``shortest(w) + basis @ y``.

    ``shortest(b)`` is the shortest x with A x = b, ``closest(g)`` the u with A^T u = g, both in
    the sense of least squares; the columns of ``basis`` (Q, d, p) span the null space of A.
    """
    start = shortest(w)
    length = start.norm(dim=-1, keepdim=True).clamp_min(TINY)
    C = B @ basis
    # Samples in the span of the class, whose outputs are fixed: what moves them is rounding.
    fixed = C.norm(dim=-1, keepdim=True) < ROUNDING
    C = C.masked_fill(fixed, 0) if fixed.any() else C
    y, v = newton(C, apply(B, start) / length, sparse)
    return start + length * apply(basis, y), closest(apply(B.mT, v)), v


def newton(C, b, sparse=False):
    r"""Look for y with C y + b < 0; return it (Q, p), and v (Q, m) with C^T v = 0 where none is.

    C (Q, m, p) and b (Q, m). Minimises :math:`\frac12 \|(C y + b + \mu)_+\|^2`, a piecewise
    quadratic function: Newton's step is exact once the rows that count no longer change. The margin
    :math:`\mu > 0` leads it inside. At a minimum :math:`v = (C y + b + \mu)_+` shows that no y
    fits if :math:`b^\top v > 0`; else the margin is lowered. With ``sparse``, v is taken at the
    margin zero, where fewer of its entries are positive.
    """
    Q, _, p = C.shape
    final_y, final_v = b.new_zeros(Q, p), torch.zeros_like(b)
    rows, y = torch.arange(Q, device=b.device), final_y.clone()
    # A sample at the origin asks for nothing, and could not move inside.
    slack, still = b, b == 0
    if still.any():
        slack = b.masked_fill(still & (C == 0).all(-1), -1)
    margin = b.new_full((Q, 1), MARGIN)
    for _ in range(NEWTON_STEPS):
        aim = slack + margin
        v = aim.clamp_min(0)
        gradient = apply(C.mT, v)
        size = gradient.norm(dim=-1, keepdim=True)
        gain, square = ((v * other).sum(-1, keepdim=True) for other in (slack, v))
        fits = slack.amax(-1, keepdim=True) <= ROUNDING - margin / 4
        proved = (gain > 0) & (size <= ENOUGH * gain)
        # At a minimum that is no proof there is less room than the margin asks for.
        least = size <= ENOUGH * square.sqrt()
        last = margin == 0
        ended = fits | (proved & (last | (not sparse))) | (least & last)
        going = ~ended & size.isfinite()
        if not going.all():
            final_y[rows], final_v[rows] = y, v
            rows, C, y, slack, margin, aim, gradient, proved, least = (
                tensor[going[:, 0]]
                for tensor in (rows, C, y, slack, margin, aim, gradient, proved, least)
            )
            if not len(rows):
                return final_y, final_v
        margin = torch.where(least, LOWER * margin * (margin > LAST_MARGIN), margin)
        margin = margin.masked_fill(proved, 0)
        active = C * (aim > 0).unsqueeze(-1)
        hessian = active.mT @ active
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(1e-10 * diagonal.mean(-1, keepdim=True).clamp_min(TINY))
        factor = torch.linalg.cholesky_ex(hessian).L
        step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        change = apply(C, step)
        length = torch.where(least, 0, exact_step(aim, change))  # at a minimum all steps are noise
        y, slack = y + length * step, slack + length * change
    final_y[rows], final_v[rows] = y, (slack + margin).clamp_min(0)
    return final_y, final_v


def exact_step(slack, change):
    r"""Minimise :math:`\|(s + t c)_+\|^2` over t >= 0, shape (Q, 1), for s, c (Q, m).

    Its derivative S + Q t is increasing and linear between the points where an entry of s + t c
    changes sign. So sort these, sum up S and Q, and take the piece in which it crosses zero.
    """
    knots = -slack / change
    knots, order = torch.where((knots > 0) & knots.isfinite(), knots, math.inf).sort(dim=-1)
    # At its knot an entry with a positive change enters the sums, one with a negative leaves them:
    # either way they gain |change| times the factor.
    inside = (slack > 0) | ((slack == 0) & (change > 0))
    S0 = (inside * change * slack).sum(-1, keepdim=True)
    Q0 = (inside * change * change).sum(-1, keepdim=True)
    S, Q = (
        torch.cat([first, first + (change.abs() * factor).gather(-1, order).cumsum(-1)], dim=-1)
        for first, factor in ((S0, slack), (Q0, change))
    )
    ends = torch.cat([knots, torch.full_like(S0, math.inf)], dim=-1)
    falling = torch.where(ends.isfinite(), S + Q * ends, math.inf) < 1e-12 * S0
    piece = falling.sum(-1, keepdim=True)
    S, Q, end = (tensor.gather(-1, piece) for tensor in (S, Q, ends))
    begin = torch.cat([torch.zeros_like(S0), knots], dim=-1).gather(-1, piece)
    return (-S / Q.clamp_min(TINY)).clamp(begin, end)


def highs(A, w, B):
    """Give one system after the other to HiGHS, for the largest margin below the limits."""
    systems = zip(*(part.cpu().numpy() for part in (A, w, B)), strict=True)
    found = zip(*(_largest_margin(*system) for system in systems), strict=True)
    return tuple(torch.as_tensor(np.stack(part), device=A.device) for part in found)


def _largest_margin(A, w, B):
    """Maximise t <= 1 subject to A x = w and B x + t <= 0, but for samples at the origin."""
    d, m = A.shape[1], len(B)
    margin = np.eye(d + 1)[d]
    program = class_program(np.pad(A, ((0, 0), (0, 1))), w, np.column_stack([B, B.any(axis=1)]))
    limits = [(None, None)] * d + [(None, 1)]
    solution = linprog(-margin, **program | {"bounds": limits}, method="highs", options=FINEST)
    if solution.x is not None:
        # Lagrange multipliers prove that no larger margin exists, hence no zero one if t < 0.
        return solution.x[:d], solution.eqlin.marginals, (-solution.ineqlin.marginals).clip(min=0)
    # Equations without a solution: what is left of w is a certificate.
    with np.errstate(invalid="ignore", over="ignore"):
        left = w - A @ np.linalg.lstsq(A, w, rcond=None)[0]
    return np.full(d, math.nan), left, np.zeros(m)


def class_program(own, targets, others):
    """State that weights map a class to its targets and silence the others, as linear program.

    Parameters
    ----------
    own, targets, others : ndarray, shapes (n, d), (n,) and (m, d)
        Samples of the class, what their outputs shall be, and all other samples.

    Returns
    -------
    dict
        Arguments of :func:`scipy.optimize.linprog` beside the function that is minimised.

    Examples
    --------
    >>> program = class_program(np.eye(2), np.ones(2), -np.eye(2))
    >>> linprog(np.zeros(2), **program).x
    array([1., 1.])
    """
    return {
        "A_eq": own,
        "b_eq": targets,
        "A_ub": others,
        "b_ub": np.zeros(len(others)),
        "bounds": (None, None),
    }
