"""Full-scale runs that a chapter cannot wait for, recorded with their provenance.

``python -m lecturelib.experiments NAME`` runs one and writes ``lecturelib/records/NAME.json``;
chapters read it with :func:`recorded`. A record says which commit made it; a test runs its cheaper
rows again and fails once they come out differently.
"""

import json
import math
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linprog

from lecturelib.deep_linear import init_weights
from lecturelib.deep_matrix_completion import complete, low_rank_matrix, observe
from lecturelib.law_of_parsimony import reduced_gradient_descent
from lecturelib.progressive_separation import decay_correction, feature_compression
from lecturelib.shallow_feasibility import nc_feasibility, phase_map

__all__ = ["EXPERIMENTS", "Record", "recorded", "run"]


def separation_decay(
    scales=(0.3, 0.2, 0.1),
    depths=(4, 6, 8),
    samples_per_class=(5, 10, 20),
    output_scales=(1.0, 10.0),
    num_classes=5,
):
    r"""Train deep linear networks to zero loss and measure how D decays from layer to layer.

    Parameters
    ----------
    scales, depths, samples_per_class, output_scales : sequence of number, optional
        Values of :math:`\varepsilon`, L, n and :math:`\alpha`: all combinations are run.
    num_classes : int, optional
        Number K of classes; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    list of dict
        One row per network: its settings, the steps to a loss of 1e-20 with targets
        :math:`Y / \alpha`, the ratios
        :math:`D_{l+1} / D_l` and the factors of
        :func:`~lecturelib.progressive_separation.decay_correction`.

    Examples
    --------
    >>> (row,) = separation_decay([0.3], [4], [5], [1.0])
    >>> row["steps"] < 1000, len(row["ratios"])
    (True, 3)
    """
    return [
        _decay_row(scale, depth, n, output_scale, num_classes)
        for depth in depths
        for scale in scales
        for n in samples_per_class
        for output_scale in output_scales
    ]


def _decay_row(scale, depth, n, output_scale, num_classes):
    width = n * num_classes
    widths = [width] * depth + [num_classes]
    generator = torch.Generator().manual_seed(0)
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(n)
    targets = torch.nn.functional.one_hot(labels).T.double() / output_scale
    # Half of the rate at which the descent would leave the minimum, where the Hessian is largest.
    signal = (n**0.5 / output_scale) ** (1 / depth)
    lr = 1 / (depth * signal ** (2 * depth - 2))
    # The noise in the last layers has energy scale^(2 depth) >= 1e-16: the loss must end far below.
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**7, record_every=[], tol=1e-20
    )
    trained, features = path.weights(), inputs
    compression = [feature_compression(features, labels)]
    for weight in trained[:-1]:
        features = features @ weight.T
        compression.append(feature_compression(features, labels))
    compression = torch.stack(compression)
    return {
        "scale": scale,
        "depth": depth,
        "samples_per_class": n,
        "output_scale": output_scale,
        "steps": int(path.cores.steps[-1]),
        "loss": float(path.losses[-1]),
        "ratios": (compression[1:] / compression[:-1]).tolist(),
        "corrections": decay_correction(weights[-1], trained[-1], depth).tolist(),
    }


def completion_regimes(runs=(("Kwon", 1), ("Kwon", 2), ("Kwon", 5), ("Yaras", 0), ("Yaras", 0.01))):
    r"""Complete matrices in the two published settings of the compressed network.

    Parameters
    ----------
    runs : sequence of (str, float), optional
        Setting and :math:`\gamma`. ``"Kwon"``: d = 100, 30 % observed, the start ``"surrogate"``,
        :math:`\varepsilon` = 0.01, rate 10 on the mean over observed entries. ``"Yaras"``: d =
        1000, 20 %, ``"gradient"``, 0.001, rate 5000 on the mean over all entries. Both: L = 3,
        :math:`\hat r` = r = 5, singular values like those of a Gaussian matrix, from its largest to
        two fifths down.

    Returns
    -------
    list of dict
        One row per run: setting, ``gamma``, and the lists ``steps``, ``train_error`` and
        ``test_error`` (over all entries in the first, a tenth of them in the second setting).

    Examples
    --------
    >>> (row,) = completion_regimes([("Kwon", 5)])
    >>> row["steps"][-1] < 10_000, row["test_error"][-1] < 1e-4
    (True, True)
    """
    return [_regime_row(*setting) for setting in runs]


def _regime_row(setting, gamma):
    dim, fraction, factors, scale, steps = {
        "Kwon": (100, 0.3, "surrogate", 1e-2, 25_000),
        "Yaras": (1000, 0.2, "gradient", 1e-3, 170_000),
    }[setting]
    generator = torch.Generator().manual_seed(0)
    strengths = dim**0.5 * torch.tensor([1.99, 1.63, 1.38, 1.16, 0.99], dtype=torch.float64)
    target = low_rank_matrix(dim, 5, singular_values=strengths, generator=generator)
    seen = observe(target, fraction, generator)
    test = observe(target, 1.0 if setting == "Kwon" else 0.1, generator)
    run = complete(
        seen,
        target.shape,
        rank=5,
        lr=10 / len(seen.values) if setting == "Kwon" else 5000 / dim**2,
        factors=factors,
        factor_lr_ratio=gamma,
        scale=scale,
        steps=steps,
        tol=1e-5,
        test=test,
        record_every=steps // 250,
        generator=generator,
    )
    lists = {name: getattr(run, name).tolist() for name in ("steps", "train_error", "test_error")}
    return {"setting": setting, "gamma": gamma, **lists}


def completion_scale(dims=(500, 1000, 2000, 5000, 10_000, 20_000)):
    r"""Complete ever larger matrices of rank five from 200 entries per row.

    Parameters
    ----------
    dims : sequence of int, optional
        Values of d, ascending.

    Returns
    -------
    list of dict
        One row per d: number of ``observations``, ``steps`` until the error at the observed entries
        is below 5e-4, ``seconds``, ``test_error`` at 200 000 random entries, and ``gigabytes``, the
        largest memory of the process so far.

    Examples
    --------
    >>> (row,) = completion_scale([500])
    >>> row["observations"], row["test_error"] < 1e-3
    (100000, True)
    """
    return [_scale_row(dim) for dim in dims]


def _scale_row(dim):
    import resource  # not on Windows, where records can still be read

    generator = torch.Generator().manual_seed(0)
    target = low_rank_matrix(dim, 5, generator=generator)
    fraction = 200 / dim
    seen = observe(target, fraction, generator)
    test = observe(target, min(1.0, 200_000 / dim**2), generator)
    # Half of the rate at which the descent would leave the solution; all singular values are equal.
    lr = 1 / (3 * fraction * (dim / 5**0.5) ** (4 / 3))
    run = complete(
        seen,
        target.shape,
        rank=5,
        lr=lr,
        scale=0.3,
        tol=5e-4,
        test=test,
        record_every=10,
        generator=generator,
    )
    return {
        "dim": dim,
        "observations": len(seen.values),
        "steps": int(run.steps[-1]),
        "seconds": float(run.seconds[-1]),
        "test_error": float(run.test_error[-1]),
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


PHASE_CASES = {  # classes and the angle between their means in degrees
    "two at 135°": (2, 135),
    "two at 45°": (2, 45),
    "three orthogonal": (3, 90),
    "five orthogonal": (5, 90),
}


def phase_diagrams(
    cases=tuple(PHASE_CASES), samples_per_class=30, trials=100, num_dims=43, num_noises=25
):
    r"""Measure how often classes can collapse over all dimensions and noise levels.

    Parameters
    ----------
    cases : sequence of str, optional
        Which means, all of unit length: keys of ``PHASE_CASES``.
    samples_per_class, trials : int, optional
        n, and instances per cell.
    num_dims, num_noises : int, optional
        Number of values of d/n, evenly spaced from 0.8 to K + 0.2, and of :math:`\sigma`, evenly
        spaced in the logarithm from 0.02 to 5.

    Returns
    -------
    list of dict
        One row per case: ``case``, ``means``, ``samples_per_class``, ``trials``, ``dims``,
        ``noises``, the shares ``per_class`` and ``joint`` of
        :class:`~lecturelib.shallow_feasibility.PhaseMap`, and the number of classes ``undecided``.

    Examples
    --------
    >>> (row,) = phase_diagrams(["three orthogonal"], 5, 2, num_dims=4, num_noises=3)
    >>> row["dims"], row["per_class"][0], row["per_class"][-1], row["undecided"]
    ([4, 8, 12, 16], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 0)
    """
    return [_phase_row(case, samples_per_class, trials, num_dims, num_noises) for case in cases]


def _phase_row(case, samples_per_class, trials, num_dims, num_noises):
    num_classes, angle = PHASE_CASES[case]
    means = torch.eye(num_classes, dtype=torch.float64)
    if num_classes == 2:
        means[1] = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    ratios = torch.linspace(0.8, num_classes + 0.2, num_dims, dtype=torch.float64)
    noises = torch.logspace(math.log10(0.02), math.log10(5), num_noises, dtype=torch.float64)
    result = phase_map(
        (ratios.tolist(), noises.tolist()), trials, samples_per_class=samples_per_class, means=means
    )
    return {
        "case": case,
        "means": means.tolist(),
        "samples_per_class": samples_per_class,
        "trials": trials,
        "dims": result.dims.tolist(),
        "noises": result.noises.tolist(),
        "per_class": result.per_class.tolist(),
        "joint": result.joint.tolist(),
        "undecided": int(result.undecided.sum()),
    }


def feasibility_cost(
    sizes=(
        (10, 20),
        (20, 40),
        (30, 60),
        (50, 100),
        (70, 140),
        (100, 200),
        (30, 35),
        (30, 40),
        (30, 50),
        (30, 70),
        (30, 80),
        (30, 90),
        (30, 120),
    ),
    instances=20,
):
    """Time the decision of one class, by the batched Newton method and by HiGHS, on noise.

    Parameters
    ----------
    sizes : sequence of (int, int), optional
        Samples per class n and dimension d > n; there are three classes.
    instances : int, optional
        Instances for HiGHS; the Newton method gets them ten times over, as a batch.

    Returns
    -------
    list of dict
        One row per size: ``samples_per_class``, ``dim``, the ``feasible`` share of the classes, and
        the seconds per class ``newton``, ``highs`` and ``reduced``. HiGHS is called through SciPy,
        once for every class of every instance; ``reduced`` is its time when the equations have been
        solved before, and counts that.

    Examples
    --------
    >>> (row,) = feasibility_cost([(5, 10)], instances=2)
    >>> row["newton"] > 0, row["highs"] > 0
    (True, True)
    """
    return [_cost_row(n, dim, instances) for n, dim in sizes]


def _cost_row(n, dim, instances):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(n)
    inputs = torch.randn(10 * instances, 3 * n, dim, generator=generator, dtype=torch.float64)
    start = time.perf_counter()
    result = nc_feasibility(inputs, labels)
    newton = (time.perf_counter() - start) / result.feasible.numel()
    problems = [
        (sample[labels == k].numpy(), sample[labels != k].numpy())
        for sample in inputs[:instances]
        for k in range(3)
    ]
    answers = result.feasible[:instances].flatten().tolist()
    seconds = {}
    for name, solve in (("highs", _with_equations), ("reduced", _without_equations)):
        start = time.perf_counter()
        solutions = [solve(own, others) for own, others in problems]
        seconds[name] = (time.perf_counter() - start) / len(problems)
        # Status 4 says that HiGHS gave up, which it does on some infeasible problems.
        found = [solution.status == 0 for solution in solutions]
        if found != answers:
            raise RuntimeError(f"the two solvers disagree at n={n}, d={dim}")
    return {
        "samples_per_class": n,
        "dim": dim,
        "feasible": float(result.feasible.double().mean()),
        "newton": newton,
        **seconds,
    }


def _with_equations(own, others, method="highs"):
    """Give HiGHS the problem as it stands, equations and inequalities for free weights."""
    return linprog(
        np.zeros(own.shape[1]),
        A_eq=own,
        b_eq=np.ones(len(own)),
        A_ub=others,
        b_ub=np.zeros(len(others)),
        bounds=(None, None),
        method=method,
    )


def _without_equations(own, others, method="highs-ds"):
    """Give HiGHS what is left when the equations are solved: own (n, d) has full rank n < d."""
    n, dim = own.shape
    axes, triangle = np.linalg.qr(own.T, mode="complete")
    start = axes[:, :n] @ np.linalg.solve(triangle[:n].T, np.ones(n))
    basis = axes[:, n:]
    return linprog(
        np.zeros(dim - n),
        A_ub=others @ basis,
        b_ub=-others @ start,
        bounds=(None, None),
        method=method,
    )


EXPERIMENTS = {
    "completion-regimes": completion_regimes,
    "completion-scale": completion_scale,
    "feasibility-cost": feasibility_cost,
    "phase-diagrams": phase_diagrams,
    "separation-decay": separation_decay,
}


@dataclass(frozen=True)
class Record:
    """What a full-scale run measured, and where it comes from.

    Attributes
    ----------
    values : list or dict
        What the experiment returned.
    provenance : dict
        Command, date, seconds, versions, machine and commit.
    """

    values: object
    provenance: dict


def recorded(name):
    """Read the record of an experiment.

    Parameters
    ----------
    name : str
        A key of :data:`EXPERIMENTS`.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If there is no such experiment.
    FileNotFoundError
        If it was never recorded.

    Examples
    --------
    >>> len(recorded("separation-decay").values)
    54
    """
    _check_name(name)
    text = resources.files(__package__).joinpath("records", f"{name}.json").read_text("utf-8")
    return Record(**json.loads(text))


def run(name, folder):
    """Run an experiment at full scale and write its record.

    Parameters
    ----------
    name : str
        A key of :data:`EXPERIMENTS`.
    folder : str or Path
        Where ``NAME.json`` is written.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    _check_name(name)
    # Before the run: it may take hours, and the repository may move on meanwhile.
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    commit = subprocess.check_output(describe, cwd=Path(__file__).parent, text=True).strip()
    start = time.perf_counter()
    values = EXPERIMENTS[name]()
    record = Record(
        values=values,
        provenance={
            "command": f"python -m lecturelib.experiments {name}",
            "date": date.today().isoformat(),
            "seconds": round(time.perf_counter() - start),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
            "commit": commit,
        },
    )
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(vars(record), indent=1) + "\n", encoding="utf-8")
    return record


def _check_name(name):
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: there are {', '.join(EXPERIMENTS)}")


if __name__ == "__main__":
    run(sys.argv[1], Path(__file__).parent / "records")
