"""How often collapse is feasible around given means, over dimensions and noise levels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from lecturelib import checks
from lecturelib.datasets import gaussian_mixture
from lecturelib.device import Movable
from lecturelib.shallow_feasibility.laws import checked_means
from lecturelib.shallow_feasibility.solver import nc_feasibility

__all__ = ["PhaseMap", "phase_cell", "phase_map"]

# Instances that are drawn and decided together.
BLOCK = 100


@dataclass(frozen=True, eq=False)
class PhaseMap(Movable):
    r"""How often collapse was feasible on a grid of dimensions and noise levels.

    Attributes
    ----------
    dims : Tensor, shape (R,), int64
        d.
    noises : Tensor, shape (S,), float64
        :math:`\sigma`.
    per_class : Tensor, shape (R, S), float64
        Share of classes that are proved feasible, among all classes of all trials.
    joint : Tensor, shape (R, S), float64
        Share of trials in which all classes are.
    undecided : Tensor, shape (R, S), int64
        Number of classes without a proof either way, which neither share counts.
    """

    dims: Tensor
    noises: Tensor
    per_class: Tensor
    joint: Tensor
    undecided: Tensor


def phase_map(grid, trials, *, samples_per_class, means, generator=None, method="newton"):
    r"""Measure how often classes around given means can collapse, for every dimension and noise.

    Parameters
    ----------
    grid : pair of sequences
        The ratios d/n, d being rounded to integers, and the noise levels :math:`\sigma > 0`;
        infinity is pure noise.
    trials : int
        Instances drawn for every cell of the grid.
    samples_per_class : int
        n, at least 1.
    means : Tensor, shape (K, r)
        Class means; coordinates r .. d-1 are zero. Two means at an angle, the rows of an identity,
        or any others.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).
    method : {"newton", "highs"}, optional
        See :func:`~lecturelib.shallow_feasibility.nc_feasibility`.

    Returns
    -------
    PhaseMap

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a dimension is smaller than r.

    Notes
    -----
    The cells are those of :func:`phase_cell`. Large maps, in several processes and with a record of
    what was done, are the business of :mod:`lecturelib.experiments`.

    References
    ----------
    Hong and Ling (2024), the phase diagrams; lecture 004.

    Examples
    --------
    >>> result = phase_map(([0.5, 3], [0.1, math.inf]), 5, samples_per_class=4, means=torch.eye(2))
    >>> result.joint
    tensor([[0., 0.],
            [1., 1.]], dtype=torch.float64)
    """
    samples_per_class = checks.integer("samples_per_class", samples_per_class, least=1)
    trials = checks.integer("trials", trials, least=1)
    ratios, noises = _checked_axes(grid)
    dims = [round(ratio * samples_per_class) for ratio in ratios]
    means = checked_means(means)
    if min(dims) < means.shape[1]:
        raise checks.wrong("grid", f"of ratios with d >= {means.shape[1]}, as the means have", dims)
    cells = [(dim, noise) for dim in dims for noise in noises]
    options = {
        "samples_per_class": samples_per_class,
        "means": means,
        "generator": generator,
        "method": method,
    }
    counts = [
        phase_cell(dim, noise, trials, **options)
        for dim, noise in tqdm(cells, desc="phase map", unit="cell", leave=False)
    ]
    classes, joint, undecided = torch.tensor(counts).view(len(dims), len(noises), 3).unbind(-1)
    return PhaseMap(
        dims=torch.tensor(dims),
        noises=torch.tensor(noises, dtype=torch.float64),
        per_class=classes.double() / (trials * len(means)),
        joint=joint.double() / trials,
        undecided=undecided,
    )


def phase_cell(dim, noise, trials, *, samples_per_class, means, generator=None, method="newton"):
    r"""Count how often classes around given means can collapse, for one dimension and noise.

    Parameters
    ----------
    dim : int
        d, at least r.
    noise : float
        :math:`\sigma > 0`; infinity is pure noise.
    trials : int
        Instances drawn, at least 1.
    samples_per_class, means, generator, method
        As in :func:`phase_map`.

    Returns
    -------
    feasible : int
        Classes that are feasible, of K in every trial.
    joint : int
        Trials in which all classes are.
    undecided : int
        Classes without a proof either way.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Sample i of class k is :math:`\mu_k + \sigma z`, z standard normal; as feasibility does not
    depend on scale, :math:`\mu_k / \sigma + z` is used.

    Examples
    --------
    >>> phase_cell(12, 0.1, 5, samples_per_class=4, means=torch.eye(3))
    (15, 5, 0)
    """
    means = checked_means(means)
    dim = checks.integer("dim", dim, least=means.shape[1])
    if not (isinstance(noise, float) and noise == math.inf):
        noise = checks.number("noise", noise, above=0)
    trials = checks.integer("trials", trials, least=1)
    centres = functional.pad(means / noise, (0, dim - means.shape[1]))
    feasible = joint = undecided = 0
    for start in range(0, trials, BLOCK):
        inputs, labels = gaussian_mixture(
            centres,
            samples_per_class,
            1.0,
            batch_shape=(min(BLOCK, trials - start),),
            generator=generator,
        )
        result = nc_feasibility(inputs, labels, method=method)
        positive = result.verdict > 0
        feasible += int(positive.sum())
        joint += int(positive.all(-1).sum())
        undecided += int((~result.decided).sum())
    return feasible, joint, undecided


def _checked_axes(grid):
    """Return the ratios and the noise levels as lists of floats."""
    expected = "a pair of sequences, ratios d/n and noise levels"
    try:
        ratios, noises = ([float(value) for value in axis] for axis in grid)
    except (TypeError, ValueError, RuntimeError):
        raise checks.wrong("grid", expected, grid, TypeError) from None
    if not ratios or not all(0 < ratio < math.inf for ratio in ratios):
        raise checks.wrong("grid", "of ratios d/n that are positive and finite", ratios)
    if not noises or not all(noise > 0 for noise in noises):
        raise checks.wrong("grid", "of noise levels that are positive", noises)
    return ratios, noises
