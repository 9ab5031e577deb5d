"""Proofs in exact arithmetic, for small problems that leave no room for rounding.

Where limits are ties (integers, duplicates, samples of low rank), a solution may lie on the
boundary only, or a certificate be unique, and floating point ends near it, but not on it. So what
seems to be zero is set to zero, the equations are solved in rational numbers near the weights or
multipliers at hand, and the inequalities that remain are checked exactly.
"""

import math
from fractions import Fraction

import numpy as np

__all__ = ["rational_certificate", "rational_weights", "solve_exactly"]

# What may stand for zero, in parts of the largest number; one after the other is tried.
ZEROS = 1e-12, 1e-9, 1e-6

# Rows times columns times rank times bits per entry of matrices whose elimination takes seconds.
LARGEST = 16_000_000


def rational_weights(A, w, B, guess):
    """Look near a guess for weights that solve A x = w and B x <= 0 exactly.

    Parameters
    ----------
    A, w, B, guess : ndarray, shapes (n, d), (n,), (m, d) and (d,)
        The system, with entries of at most one, and weights that nearly solve it.

    Returns
    -------
    ndarray, shape (d,), or None
        The solution, rounded; None without one.

    Examples
    --------
    >>> A, B = np.array([[3.0, 0.0]]), np.array([[0.0, 1.0], [0.0, -1.0]])
    >>> rational_weights(A, np.ones(1), B, np.array([0.3333, 1e-13]))
    array([0.33333333, 0.        ])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        outputs, largest = B @ guess, np.abs(guess).max()
    zeros = [zero * largest for zero in ZEROS if outputs.max() <= zero * largest]
    for ties in _different(outputs >= -zero for zero in zeros):
        targets = np.concatenate([w, np.zeros(ties.sum())])
        solution = solve_exactly(np.vstack([A, B[ties]]), targets, guess)
        if solution and all(_dot(row, solution) <= 0 for row in B[~ties].tolist()):
            return _rounded(solution)
    return None


def rational_certificate(A, w, B, guess):
    """Look near a guess for multipliers that prove exactly that A x = w, B x <= 0 is unsolvable.

    Parameters
    ----------
    A, w, B, guess : ndarray, shapes (n, d), (n,), (m, d) and (n + m,)
        The system, and c = (u, -v) with nearly A^T u = B^T v, v >= 0 and w^T u > 0.

    Returns
    -------
    ndarray, shape (n + m,), or None
        The certificate, rounded, with w^T u = 1; None without one.

    Examples
    --------
    >>> twins = np.array([[3.0, 1.0]])
    >>> rational_certificate(twins, np.ones(1), twins, np.array([2.0, -2.0]))
    array([ 1., -1.])
    """
    n = len(A)
    if not np.isfinite(guess).all():
        return None
    gain = w @ guess[:n]
    if not gain > ZEROS[0] * np.abs(guess).max():
        return None
    guess = guess / gain
    # The last equation normalises.
    equations = np.vstack([np.vstack([A, B]).T, np.concatenate([w, np.zeros(len(B))])])
    targets = np.eye(len(equations))[-1]
    for kept in _different(np.abs(guess) > zero * np.abs(guess).max() for zero in ZEROS):
        solution = solve_exactly(equations[:, kept], targets, guess[kept])
        if solution and all(value <= 0 for value in solution[kept[:n].sum() :]):
            certificate = np.zeros(len(guess))
            certificate[kept] = _rounded(solution)
            return certificate
    return None


def solve_exactly(matrix, target, guess):
    """Solve matrix @ x = target in rational numbers; unknowns that are free keep their guess.

    Parameters
    ----------
    matrix, target, guess : ndarray, shapes (a, b), (a,) and (b,)
        Floating-point numbers, taken as they are.

    Returns
    -------
    list of Fraction, or None
        x; None if there is no solution, or the matrix is large.

    Notes
    -----
    Gauss-Jordan elimination with integers, in which all divisions leave no remainder.

    References
    ----------
    Bareiss (1968), Sylvester's identity and multistep integer-preserving Gaussian elimination.

    Examples
    --------
    >>> solve_exactly(np.array([[3.0, 1.0]]), np.array([1.0]), np.array([0.0, 0.5]))
    [Fraction(1, 6), Fraction(1, 2)]
    """
    rows, columns = matrix.shape
    operations = rows * columns * min(rows, columns)
    if operations > LARGEST or not np.isfinite(guess).all():
        return None
    table = np.array([_integers(row) for row in np.column_stack([matrix, target])], dtype=object)
    if operations * int(np.abs(table).max()).bit_length() > LARGEST:
        return None
    pivots, last = [], 1
    for column in range(columns):
        done = len(pivots)
        candidates = np.flatnonzero(table[done:, column])
        if not len(candidates):
            continue
        table[[done, done + candidates[0]]] = table[[done + candidates[0], done]]
        row, pivot = table[done].copy(), table[done, column]
        table = (pivot * table - np.outer(table[:, column], row)) // last
        table[done] = row
        pivots.append(column)
        last = pivot
        if len(pivots) == rows:
            break
    if table[len(pivots) :, -1].any():
        return None
    solution = [Fraction(value) for value in guess.tolist()]
    free = [column for column in range(columns) if column not in pivots]
    at_guess = [solution[column] for column in free]
    for row, column in zip(table, pivots, strict=False):
        solution[column] = (row[-1] - _dot(row[free], at_guess)) / last
    return solution


def _different(masks):
    """Leave out a mask that is the same as the one before."""
    last = None
    for mask in masks:
        if last is None or (mask != last).any():
            yield mask
        last = mask


def _integers(row):
    """Return the smallest integers in the proportions of some floating-point numbers."""
    ratios = [value.as_integer_ratio() for value in row.tolist()]
    multiple = max(denominator for _, denominator in ratios)  # all are powers of two
    integers = [numerator * (multiple // denominator) for numerator, denominator in ratios]
    common = math.gcd(*integers) or 1
    return [integer // common for integer in integers]


def _rounded(fractions):
    """Return floating-point numbers; what is too large for one is infinite."""
    largest = Fraction(np.finfo(float).max)
    return np.array([math.inf if abs(x) > largest else float(x) for x in fractions])


def _dot(row, values):
    terms = (Fraction(a) * b for a, b in zip(row, values, strict=True) if a)
    return sum(terms, Fraction(0))
