"""Runs of the chapter *When can a shallow network collapse?*."""

import math
import time

import numpy as np
import torch
from scipy.optimize import linprog

from lecturelib.experiments import Experiment
from lecturelib.shallow_feasibility import nc_feasibility, phase_cell
from lecturelib.shallow_feasibility.candidates import class_program

__all__ = [
    "EXPERIMENTS",
    "feasibility_cost",
    "phase_diagram_cell",
    "phase_diagrams",
    "with_equations",
    "without_equations",
]

PHASE_CASES = {  # classes and the angle between their means in degrees
    "two at 135°": (2, 135),
    "two at 45°": (2, 45),
    "three orthogonal": (3, 90),
    "five orthogonal": (5, 90),
}
SAMPLES_PER_CLASS = 30


def phase_diagram_cell(*, case, dim, noise, trials=100):
    r"""Count how often classes around unit vectors can collapse, for one dimension and noise.

    Parameters
    ----------
    case : str
        Which means: a key of ``PHASE_CASES``.
    dim, noise : int, float
        d and :math:`\sigma`.
    trials : int, optional
        Instances, of 30 samples per class.

    Returns
    -------
    dict
        The settings, and the numbers ``feasible``, ``joint`` and ``undecided`` of
        :func:`~lecturelib.shallow_feasibility.phase_cell`.

    Examples
    --------
    >>> phase_diagram_cell(case="two at 45°", dim=60, noise=0.02, trials=2)["feasible"]
    4
    """
    # A cell's numbers depend on its own dimension and noise alone, not on the rest of the grid.
    bits = int(np.float64(noise).view(np.uint64))
    seed = np.random.SeedSequence([0, dim, bits]).generate_state(1, np.uint64)
    feasible, joint, undecided = phase_cell(
        dim,
        noise,
        trials,
        samples_per_class=SAMPLES_PER_CLASS,
        means=_means(case),
        generator=torch.Generator().manual_seed(int(seed[0])),
    )
    return {
        "case": case,
        "dim": dim,
        "noise": noise,
        "trials": trials,
        "feasible": feasible,
        "joint": joint,
        "undecided": undecided,
    }


def phase_diagrams(cells):
    """Arrange the cells of all cases as maps.

    Parameters
    ----------
    cells : list of dict
        What :func:`phase_diagram_cell` returned; of each case, dimension after dimension.

    Returns
    -------
    list of dict
        One row per case: ``case``, ``means``, ``samples_per_class``, ``trials``, ``dims``,
        ``noises``, and ``per_class``, ``joint`` and ``undecided`` as in
        :class:`~lecturelib.shallow_feasibility.PhaseMap`.

    Examples
    --------
    >>> cells = [phase_diagram_cell(case="two at 45°", dim=d, noise=1.0, trials=1) for d in (9, 80)]
    >>> (row,) = phase_diagrams(cells)
    >>> row["dims"], row["noises"], row["per_class"], row["undecided"]
    ([9, 80], [1.0], [[0.0], [1.0]], [[0], [0]])
    """
    rows = []
    for case in dict.fromkeys(cell["case"] for cell in cells):
        own = [cell for cell in cells if cell["case"] == case]
        dims, noises = (
            list(dict.fromkeys(cell[axis] for cell in own)) for axis in ("dim", "noise")
        )
        means, trials = _means(case), own[0]["trials"]
        counts = {
            name: np.reshape([cell[name] for cell in own], (len(dims), len(noises)))
            for name in ("feasible", "joint", "undecided")
        }
        rows.append(
            {
                "case": case,
                "means": means.tolist(),
                "samples_per_class": SAMPLES_PER_CLASS,
                "trials": trials,
                "dims": dims,
                "noises": noises,
                "per_class": (counts["feasible"] / (trials * len(means))).tolist(),
                "joint": (counts["joint"] / trials).tolist(),
                "undecided": counts["undecided"].tolist(),
            }
        )
    return rows


def _means(case):
    num_classes, angle = PHASE_CASES[case]
    means = torch.eye(num_classes, dtype=torch.float64)
    if num_classes == 2:
        means[1] = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    return means


def _phase_grid():
    """All cells: d/n from 0.8 to K + 0.2 in 43 steps, noise from 0.02 to 5 in 25."""
    noises = torch.logspace(math.log10(0.02), math.log10(5), 25, dtype=torch.float64).tolist()
    for case, (num_classes, _) in PHASE_CASES.items():
        for ratio in torch.linspace(0.8, num_classes + 0.2, 43, dtype=torch.float64).tolist():
            for noise in noises:
                yield {"case": case, "dim": round(ratio * SAMPLES_PER_CLASS), "noise": noise}


def feasibility_cost(*, samples_per_class, dim, instances=20):
    """Time the decision of one class, by the batched Newton method and by HiGHS, on noise.

    Parameters
    ----------
    samples_per_class, dim : int
        n and d > n; there are three classes.
    instances : int, optional
        Instances for HiGHS; the Newton method gets them ten times over, as a batch.

    Returns
    -------
    dict
        The sizes, the ``feasible`` share of the classes, and the seconds per class ``newton``,
        ``highs`` and ``reduced``. HiGHS is called through SciPy, once for every class of every
        instance; ``reduced`` is its time when the equations have been solved before, and counts
        that.

    Examples
    --------
    >>> row = feasibility_cost(samples_per_class=5, dim=10, instances=2)
    >>> row["newton"] > 0, row["highs"] > 0
    (True, True)
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(samples_per_class)
    shape = 10 * instances, len(labels), dim
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    nc_feasibility(inputs[:1], labels)  # the first call is slow
    start = time.perf_counter()
    result = nc_feasibility(inputs, labels)
    newton = (time.perf_counter() - start) / result.verdict.numel()
    problems = [
        (sample[labels == k].numpy(), sample[labels != k].numpy())
        for sample in inputs[:instances]
        for k in range(3)
    ]
    answers = result.feasible[:instances].flatten().tolist()
    seconds = {}
    for name, solve in (("highs", with_equations), ("reduced", without_equations)):
        start = time.perf_counter()
        solutions = [solve(own, others) for own, others in problems]
        seconds[name] = (time.perf_counter() - start) / len(problems)
        # Status 4 says that HiGHS gave up, which it does on some infeasible problems.
        found = [solution.status == 0 for solution in solutions]
        if found != answers:
            raise RuntimeError(f"the two solvers disagree at n={samples_per_class}, d={dim}")
    return {
        "samples_per_class": samples_per_class,
        "dim": dim,
        "feasible": float(result.feasible.double().mean()),
        "newton": newton,
        **seconds,
    }


def with_equations(own, others, method="highs"):
    """Give HiGHS the problem as it stands, equations and inequalities for free weights.

    Parameters
    ----------
    own, others : ndarray, shapes (n, d) and (m, d)
        Samples of the class, and all others.
    method : str, optional
        Of :func:`scipy.optimize.linprog`.

    Returns
    -------
    scipy.optimize.OptimizeResult

    Examples
    --------
    >>> with_equations(np.eye(2), -np.eye(2)).status
    0
    """
    program = class_program(own, np.ones(len(own)), others)
    return linprog(np.zeros(own.shape[1]), **program, method=method)


def without_equations(own, others, method="highs-ds"):
    """Give HiGHS what is left when the equations are solved, inequalities for free weights.

    Parameters
    ----------
    own, others : ndarray, shapes (n, d) and (m, d)
        Samples of the class, linearly independent and fewer than d, and all others.
    method : str, optional
        Of :func:`scipy.optimize.linprog`.

    Returns
    -------
    scipy.optimize.OptimizeResult

    Examples
    --------
    >>> without_equations(np.eye(1, 2), -np.eye(2)).status
    0
    """
    n, dim = own.shape
    axes, triangle = np.linalg.qr(own.T, mode="complete")
    start = axes[:, :n] @ np.linalg.solve(triangle[:n].T, np.ones(n))
    basis = axes[:, n:]
    limits = {"A_ub": others @ basis, "b_ub": -others @ start, "bounds": (None, None)}
    return linprog(np.zeros(dim - n), **limits, method=method)


# n against d = 2n, and d against n = 30.
COST_SIZES = [(n, 2 * n) for n in (10, 20, 30, 50, 70, 100)]
COST_SIZES += [(30, d) for d in (35, 40, 50, 70, 80, 90, 120)]

EXPERIMENTS = (
    Experiment(
        name="phase-diagrams",
        cell=phase_diagram_cell,
        grid=tuple(_phase_grid()),
        assemble=phase_diagrams,
    ),
    Experiment(
        name="feasibility-cost",
        cell=feasibility_cost,
        grid=tuple({"samples_per_class": n, "dim": dim} for n, dim in COST_SIZES),
    ),
)
