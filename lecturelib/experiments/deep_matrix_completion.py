"""Runs of the chapter *Deep matrix completion*."""

import torch

from lecturelib import checks
from lecturelib.deep_matrix_completion import complete, low_rank_matrix, observe
from lecturelib.experiments import Experiment

__all__ = ["EXPERIMENTS", "completion_regime", "completion_scale"]


def completion_regime(*, setting, gamma):
    r"""Complete a matrix in one of the two published settings of the compressed network.

    Parameters
    ----------
    setting : {"Kwon", "Yaras"}
        Kwon: d = 100, 30 % observed, the start ``"surrogate"``, :math:`\varepsilon` = 0.01, rate 10
        on the mean over observed entries. Yaras: d = 1000, 20 %, ``"gradient"``, 0.001, rate 5000
        on the mean over all entries. Both: L = 3, :math:`\hat r` = r = 5, singular values like
        those of a Gaussian matrix, from its largest to two fifths down.
    gamma : float
        :math:`\gamma`.

    Returns
    -------
    dict
        The settings, and the lists ``steps``, ``train_error`` and ``test_error`` (over all entries
        in the first, a tenth of them in the second setting).

    Examples
    --------
    >>> row = completion_regime(setting="Kwon", gamma=5)
    >>> row["steps"][-1] < 10_000, row["test_error"][-1] < 1e-4
    (True, True)
    """
    dim, fraction, start, scale, steps = {
        "Kwon": (100, 0.3, "surrogate", 1e-2, 25_000),
        "Yaras": (1000, 0.2, "gradient", 1e-3, 170_000),
    }[checks.choice("setting", setting, ["Kwon", "Yaras"])]
    generator = torch.Generator().manual_seed(0)
    strengths = dim**0.5 * torch.tensor([1.99, 1.63, 1.38, 1.16, 0.99], dtype=torch.float64)
    target = low_rank_matrix(
        (dim, dim), 5, singular_values=strengths, generator=generator, dtype=torch.float64
    )
    seen = observe(target, fraction, generator=generator)
    test = observe(target, 1.0 if setting == "Kwon" else 0.1, generator=generator)
    run = complete(
        seen,
        target.shape,
        rank=5,
        lr=10 / len(seen) if setting == "Kwon" else 5000 / dim**2,
        start=start,
        factor_lr_ratio=gamma,
        scale=scale,
        steps=steps,
        tol=1e-5,
        test=test,
        every=steps // 250,
        generator=generator,
    )
    lists = {name: run[name].tolist() for name in ("train_error", "test_error")}
    return {"setting": setting, "gamma": gamma, "steps": run.steps.tolist(), **lists}


def completion_scale(*, dim):
    r"""Complete a matrix of rank five from 200 entries per row.

    Parameters
    ----------
    dim : int
        Its size d.

    Returns
    -------
    dict
        ``dim``, number of ``observations``, ``steps`` until the error at the observed entries is
        below 5e-4, ``seconds``, ``test_error`` at 200 000 random entries, and ``gigabytes``, the
        largest memory of the process so far.

    Examples
    --------
    >>> row = completion_scale(dim=500)
    >>> row["observations"], row["test_error"] < 1e-3
    (100000, True)
    """
    import resource  # not on Windows, where the other cells still run

    generator = torch.Generator().manual_seed(0)
    target = low_rank_matrix((dim, dim), 5, generator=generator, dtype=torch.float64)
    fraction = 200 / dim
    seen = observe(target, fraction, generator=generator)
    test = observe(target, min(1.0, 200_000 / dim**2), generator=generator)
    run = complete(
        seen,
        target.shape,
        rank=5,
        # Half of the rate at which the descent would leave the solution; all singular values are
        # equal.
        lr=1 / (3 * fraction * (dim / 5**0.5) ** (4 / 3)),
        scale=0.3,
        tol=5e-4,
        test=test,
        every=10,
        generator=generator,
    )
    return {
        "dim": dim,
        "observations": len(seen),
        "steps": int(run.steps[-1]),
        "seconds": float(run["seconds"][-1]),
        "test_error": float(run["test_error"][-1]),
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


EXPERIMENTS = (
    Experiment(
        name="completion-regimes",
        cell=completion_regime,
        grid=tuple(
            {"setting": setting, "gamma": gamma}
            for setting, gammas in (("Kwon", (1, 2, 5)), ("Yaras", (0, 0.01)))
            for gamma in gammas
        ),
    ),
    Experiment(
        name="completion-scale",
        cell=completion_scale,
        grid=tuple({"dim": dim} for dim in (500, 1000, 2000, 5000, 10_000, 20_000)),
    ),
)
