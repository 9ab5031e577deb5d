"""Runs of the chapter *Deep matrix completion*."""

import math
import time
from statistics import median

import torch

from lecturelib import checks
from lecturelib.datasets import load
from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion import (
    alternating_least_squares,
    complete,
    limiting_rate,
    low_rank_matrix,
    observe,
    soft_impute,
)
from lecturelib.experiments import Experiment

__all__ = [
    "EXPERIMENTS",
    "best",
    "completion_map",
    "completion_peer",
    "completion_pixels",
    "completion_regime",
    "completion_scale",
    "completion_width",
    "grouped",
    "mask_limit",
    "summary",
]

F64 = torch.float64

# Starts for each depth, such that the best one is not at an edge.
STARTS = {
    2: (1e-3, 1e-6, 1e-10, 1e-15, 1e-20, 1e-30),
    3: (2.0, 1.0, 0.3, 0.1, 0.07, 0.05, 0.03, 0.01, 0.005),
    4: (2.0, 1.3, 1.0, 0.7, 0.5, 0.3, 0.2, 0.15, 0.1),
}

# The same where entries are scarce.
SCARCE = {
    2: (1e-10, 1e-15, 1e-20, 1e-30, 1e-40, 1e-60),
    3: (0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005),
    4: (0.3, 0.2, 0.15, 0.1),
}

# Forms and widths that are compared.
FORMS = (("full", 50), ("compressed", 6), ("narrow", 6), ("narrow", 3))

RATES = (0.3, 0.5, 0.7)


def grouped(rows, names, **form):
    """Collect the runs of a record by setting.

    Parameters
    ----------
    rows : list of dict
        A record's values: each has ``runs``, a list of dict.
    names : tuple of str
        What a setting consists of: keys of a run or of its row.
    **form
        What a row must have to count.

    Returns
    -------
    dict of tuple to list of dict
        The runs of each setting: one for each draw.

    Examples
    --------
    >>> rows = [{"depth": 2, "scale": 0.1, "runs": [{"rate": 0.3, "steps": 9}]}, {"depth": 3}]
    >>> grouped(rows, ("scale", "rate"), depth=2)
    {(0.1, 0.3): [{'rate': 0.3, 'steps': 9}]}
    """
    groups = {}
    for row in rows:
        if all(row[key] == value for key, value in form.items()):
            for run in row["runs"]:
                setting = tuple(run[name] if name in run else row[name] for name in names)
                groups.setdefault(setting, []).append(run)
    return groups


def summary(runs, key="steps"):
    """Count the draws in which a setting found the matrix, and how long it took.

    Parameters
    ----------
    runs : list of dict
        One for each draw: ``key`` (null if it was not found) and ``test_error``.
    key : str, optional
        What is counted, ``"steps"`` or ``"seconds"``.

    Returns
    -------
    found : int
        Draws in which it was found.
    taken : float
        Middle one of the steps or seconds; infinite if fewer than half were found.
    error : float
        Middle one of the errors at the end.

    Examples
    --------
    >>> summary([{"steps": steps, "test_error": 0.1} for steps in (None, 30, 20)])
    (2, 30, 0.1)
    """
    taken = [math.inf if run[key] is None else run[key] for run in runs]
    found = sum(time < math.inf for time in taken)
    return found, median(taken), median(run["test_error"] for run in runs)


def best(groups, key="steps"):
    """Choose the setting that finds most, of these the quickest one.

    Parameters
    ----------
    groups : dict of tuple to list of dict
        As :func:`grouped` returns them.
    key : str, optional
        As in :func:`summary`.

    Returns
    -------
    setting : tuple
        The key of that group; where none finds half of the draws, of the one with the smallest
        middle error.
    found, taken, error
        As :func:`summary` has them for it.

    Examples
    --------
    >>> runs = {(eps,): [{"steps": steps, "test_error": eps}] for eps, steps in ((1, 9), (2, 8))}
    >>> best(runs)
    ((2,), 1, 8, 2)
    """

    def order(entry):
        _, found, taken, error = entry
        return found if taken < math.inf else 0, -taken, -error

    return max(((setting, *summary(runs, key)) for setting, runs in groups.items()), key=order)


def mask_limit(target, seen, *, depth):
    r"""Compute the rate from which descent leaves a completed matrix, for the given places.

    Parameters
    ----------
    target : LowRankMatrix
        The matrix.
    seen : Observations
        Its observed entries.
    depth : int
        Number L of layers, all of one size at the solution.

    Returns
    -------
    float
        :math:`\eta`: two over the curvature, the largest eigenvalue of
        :math:`G \mapsto \Omega \odot \sum_l A_l G B_l` with :math:`A_l = W_{L:l+1}
        W_{L:l+1}^\top` and :math:`B_l = W_{l-1:1}^\top W_{l-1:1}`, by 200 products.

    Examples
    --------
    >>> target = low_rank_matrix((9, 9), 1, singular_values=[8.0], dtype=F64)
    >>> all_seen = mask_limit(target, observe(target, 1.0), depth=3)
    >>> round(all_seen / limiting_rate(8.0, 1.0, depth=3), 6)
    1.0
    """
    U, S, Vh = torch.linalg.svd(target.dense())
    mask = torch.zeros_like(U @ Vh)
    mask[seen.rows, seen.cols] = 1
    powers = [S ** (2 * layer / depth) for layer in range(1, depth)]
    left = [(U * power) @ U.mT for power in powers[::-1]] + [torch.eye(len(U), dtype=F64)]
    right = [torch.eye(len(Vh), dtype=F64)] + [(Vh.mT * power) @ Vh for power in powers]
    G = mask
    for _ in range(200):
        image = mask * sum(A @ G @ B for A, B in zip(left, right, strict=True))
        curvature = image.norm()
        G = image / curvature
    return 2 / curvature.item()


def completion_map(*, depth, method, width, fraction, draws, scale):
    r"""Complete 50 × 50 matrices of rank three with one form of network, at three rates.

    Parameters
    ----------
    depth : int
        L.
    method : {"compressed", "narrow", "full"}
        The form.
    width : int
        Of the layers; 50 if it is the full one.
    fraction : float
        Share of entries observed.
    draws : int
        Of the matrix and of the entries.
    scale : float
        :math:`\varepsilon`.

    Returns
    -------
    dict
        The settings, and ``runs``: for each draw, ``seed``, and
        each rate (as a share of :func:`~lecturelib.deep_matrix_completion.limiting_rate`), the
        ``steps`` until the error at all entries was below 0.01, or null, and both errors at the
        end, once the one at the observed entries is below 5e-4 or after 6000 steps; infinite
        ones if the descent diverged.

    Examples
    --------
    >>> form = {"depth": 2, "method": "narrow", "width": 6, "fraction": 0.4, "draws": 1}
    >>> row = completion_map(**form, scale=1e-8)
    >>> len(row["runs"]), max(run["steps"] for run in row["runs"]) < 1000
    (3, True)
    """
    runs = []
    form = {"method": method} | ({} if method == "full" else {"width": width})
    for seed in range(draws):
        for rate in RATES:
            generator = torch.Generator().manual_seed(seed)
            target = low_rank_matrix(
                (50, 50), 3, singular_values=[12, 10, 8], generator=generator, dtype=F64
            )
            seen = observe(target, fraction, generator=generator)
            errors, steps = [float("inf")] * 2, None
            try:
                run = complete(
                    seen,
                    target.shape,
                    **form,
                    depth=depth,
                    lr=rate * limiting_rate(12.0, fraction, depth=depth),
                    scale=scale,
                    steps=6000,
                    tol=5e-4,
                    test=observe(target, 1.0),
                    every=10,
                    generator=generator,
                )
                errors = [run[f"{name}_error"][-1].item() for name in ("train", "test")]
                found = (run["test_error"] < 0.01).nonzero()
                steps = int(run.steps[found[0]]) if len(found) else None
            except FloatingPointError:  # diverged
                pass
            row = {"seed": seed, "rate": rate, "steps": steps}
            runs.append(row | {"train_error": errors[0], "test_error": errors[1]})
    settings = {"depth": depth, "method": method, "width": width, "fraction": fraction}
    return settings | {"draws": draws, "scale": scale, "runs": runs}


def completion_width(*, depth, width):
    r"""Complete a 100 × 100 matrix of rank ten from :math:`\varepsilon` = 0.001, five times.

    The figure of Yaras et al. on depth and width, after their public code: the ten largest singular
    values of a Gaussian matrix, 30 % of the entries, five starts for one matrix; for three layers
    their rate, 300 for half the mean over all entries, and for two half of the limiting one.

    Parameters
    ----------
    depth : {2, 3}
        L.
    width : int
        Of the layers; 100 is full width.

    Returns
    -------
    dict
        The settings and lists over the starts: ``steps`` until the error at the observed entries is
        below 1e-5, 40 000 at most, ``train_error`` and ``test_error``.

    Examples
    --------
    >>> row = completion_width(depth=2, width=10)
    >>> row["depth"], len(row["steps"])
    (2, 5)
    """
    generator = torch.Generator().manual_seed(0)
    strengths = torch.linalg.svdvals(torch.randn(100, 100, generator=generator, dtype=F64))[:10]
    target = low_rank_matrix(
        (100, 100), 10, singular_values=strengths, generator=generator, dtype=F64
    )
    seen = observe(target, 0.3, generator=generator)
    half = limiting_rate(strengths[0].item(), 0.3, depth=2) / 2
    form = {"method": "full"} if width == 100 else {"method": "narrow", "width": width}
    row = {"depth": depth, "width": width, "steps": [], "train_error": [], "test_error": []}
    for trial in range(5):
        run = complete(
            seen,
            target.shape,
            **form,
            depth=depth,
            lr=300 / 100**2 if depth == 3 else half,
            scale=1e-3,
            steps=40_000,
            tol=1e-5,
            test=observe(target, 1.0),
            every=50,
            generator=torch.Generator().manual_seed(trial),
        )
        row["steps"].append(int(run.steps[-1]))
        for name in ("train_error", "test_error"):
            row[name].append(run[name][-1].item())
    return row


SQUARES = (
    {"penalty": 1e-8},
    {"penalty": 1e-4},
    {"penalty": 1e-2},
    {"penalty": 1e-1},
    {"penalty": 1e-8, "continuation": 0.8},
)
PEERS = {
    "least squares, rank 5": [{"rank": 5} | own for own in SQUARES],
    "least squares, rank 8": [{"rank": 8} | own for own in SQUARES],
    "least squares, held out": [{"penalty": 1e-8, "continuation": 0.8}],
    "soft-impute": [{"penalty": penalty} for penalty in (1e-3, 1e-2, 1e-1)],
    "compressed": [{"scale": scale} for scale in (0.2, 0.1, 0.03, 0.02, 0.01, 0.005)],
    "full": [{"scale": scale} for scale in (0.1, 0.05, 0.03, 0.01, 0.005)],
}


def least_squares_by_rank(seen, shape, *, generator, test, **own):
    """Fit ranks one to eight to nine tenths of the entries, then the one that predicts the rest."""
    back = torch.rand(len(seen), generator=generator) < 0.1
    kept, held = seen[~back], seen[back]
    fits = {
        rank: alternating_least_squares(
            kept, shape, rank=rank, steps=80, every=80, test=held, generator=generator, **own
        )
        for rank in range(1, 9)
    }
    rank = min(fits, key=lambda rank: fits[rank]["test_error"][-1])
    return alternating_least_squares(
        seen, shape, rank=rank, steps=300, tol=1e-5, generator=generator, test=test, **own
    )


def completion_peer(*, method, fraction, seed):
    r"""Complete a 100 × 100 matrix of rank five by one method, with all of its settings.

    Parameters
    ----------
    method : str
        ``"least squares, rank 5"``, told the rank; ``"least squares, rank 8"``, told no more than
        that; ``"least squares, held out"``, which tries ranks from one to eight and takes the one
        that predicts a tenth of the entries best; ``"soft-impute"``; the networks ``"compressed"``
        and ``"full"`` with three layers and the automatic rate, :math:`\hat r` = 8 and
        :math:`\gamma` = 1.
    fraction : float
        Share of entries observed.
    seed : int
        Of the matrix and of the entries.

    Returns
    -------
    dict
        The settings and ``runs``: for each penalty or :math:`\varepsilon`, the ``setting``, its
        number, the ``test_error`` at the end, and the ``seconds`` (of a core's time, that of
        records included) until it was below 1e-3, or null.

    Examples
    --------
    >>> row = completion_peer(method="least squares, held out", fraction=0.3, seed=0)
    >>> len(row["runs"]), row["runs"][0]["test_error"] < 1e-3
    (1, True)
    """
    runs = []
    for number, own in enumerate(PEERS[checks.choice("method", method, PEERS)]):
        generator = torch.Generator().manual_seed(seed)
        strengths = [19.9, 16.3, 13.8, 11.6, 9.9]
        target = low_rank_matrix(
            (100, 100), 5, singular_values=strengths, generator=generator, dtype=F64
        )
        seen = observe(target, fraction, generator=generator)
        shared = {"test": observe(target, 1.0), "generator": generator} | own
        clock = {"metrics": {"clock": lambda _: time.process_time()}, "tol": 1e-5}
        start = time.process_time()
        if method == "soft-impute":
            shared |= {"rank": 40, "continuation": 0.97, "steps": 2000, "every": 10}
            run = soft_impute(seen, target.shape, **shared, **clock)
        elif method in ("compressed", "full"):
            shared |= {"rank": 8, "method": method, "steps": 15_000, "every": 10}
            run = complete(seen, target.shape, **shared, **clock)
        elif method == "least squares, held out":
            run = least_squares_by_rank(seen, target.shape, **shared, metrics=clock["metrics"])
        else:
            run = alternating_least_squares(seen, target.shape, **shared, steps=300, **clock)
        there = (run["test_error"] < 1e-3).nonzero()
        seconds = run["clock"][there[0]].item() - start if len(there) else None
        row = {"setting": number, "seconds": seconds}
        runs.append(own | row | {"test_error": run["test_error"][-1].item()})
    return {"method": method, "fraction": fraction, "seed": seed, "runs": runs}


# What each method may choose from by held-back pixels.
PIXEL_SETTINGS = {
    "L = 2": [{"rank": rank, "scale": eps} for rank in (10, 20, 30) for eps in (0.1, 0.03, 0.01)],
    "L = 3": [
        {"rank": rank, "scale": eps} for rank in (10, 20, 30) for eps in (0.6, 0.45, 0.3, 0.2)
    ],
    "least squares": [
        {"rank": rank, "penalty": penalty} for rank in (8, 12, 16, 20) for penalty in (1, 1.5, 2, 3)
    ],
    "soft-impute": [{"penalty": penalty} for penalty in (0.5, 1, 1.5, 2, 3)],
}


def completion_pixels(*, dataset, seed):
    r"""Complete the pixels of images, one image per row, half of them missing, by four methods.

    Parameters
    ----------
    dataset : str
        A name that :func:`lecturelib.datasets.load` knows.
    seed : int
        Of the visible pixels and of the starts.

    Returns
    -------
    dict
        The settings; the relative errors at the hidden pixels of ``"mean of all"`` and of
        ``"pixel's mean"``; and ``runs``: by method (networks of two and of three layers with the
        automatic rate, least squares, soft-impute) a list with one entry for each setting, its
        ``held`` error at a tenth of the visible pixels that were held back, where it is smallest
        on the way, and the ``hidden`` error there.

    Examples
    --------
    >>> row = completion_pixels(dataset="digits", seed=0)  # doctest: +SKIP
    >>> min(row["runs"]["L = 2"], key=lambda run: run["held"])["scale"]  # doctest: +SKIP
    0.03
    """
    images = load(dataset).inputs.flatten(1).double()
    generator = torch.Generator().manual_seed(seed)
    visible = observe(images, 0.5, generator=generator)
    hidden = torch.ones(images.shape, dtype=torch.bool)
    hidden[visible.rows, visible.cols] = False
    back = torch.rand(len(visible), generator=generator) < 0.1
    kept, held = visible[~back], visible[back]

    def at_hidden(estimate):
        gap = (estimate - images)[hidden]
        return (gap.norm() / images[hidden].norm()).item()

    shared = {"test": held, "metrics": {"hidden": lambda factors: at_hidden(end_to_end(factors))}}

    def solve(method, own):
        own = own | shared | {"generator": torch.Generator().manual_seed(seed)}
        if method == "least squares":
            return alternating_least_squares(kept, images.shape, **own, steps=30)
        if method == "soft-impute":
            return soft_impute(kept, images.shape, rank=40, **own, steps=120, every=2)
        own |= {"depth": 2, "steps": 400} if method == "L = 2" else {"steps": 1200}
        return complete(kept, images.shape, **own, every=10)

    runs = {}
    for method, choices in PIXEL_SETTINGS.items():
        for own in choices:
            run = solve(method, own)
            when = run["test_error"].argmin()
            ends = {"held": run["test_error"][when].item(), "hidden": run["hidden"][when].item()}
            runs.setdefault(method, []).append(own | ends)
    own_mean = images.masked_fill(hidden, 0).sum(0) / (~hidden).sum(0).clamp(min=1)
    return {
        "dataset": dataset,
        "seed": seed,
        "mean of all": at_hidden(images[~hidden].mean().expand_as(images)),
        "pixel's mean": at_hidden(own_mean.expand_as(images)),
        "runs": runs,
    }


def completion_regime(*, setting, gamma):
    r"""Complete a matrix in one of the two published settings of the compressed network.

    Parameters
    ----------
    setting : {"Kwon", "Yaras"}
        Kwon: d = 100, 30 % observed, the start ``"surrogate"``, :math:`\varepsilon` = 0.01, rate 10
        on the mean over observed entries, and of the singular values of a Gaussian matrix every
        tenth, from the first to the 41st. Yaras: d = 1000, 20 %, ``"gradient"``, 0.001, rate 5000
        on the mean over all entries, and the five largest singular values of a Gaussian matrix.
        Both: L = 3, :math:`\hat r` = r = 5.
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
        "Yaras": (1000, 0.2, "gradient", 1e-3, 25_000),
    }[checks.choice("setting", setting, ["Kwon", "Yaras"])]
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.linalg.svdvals(torch.randn(dim, dim, generator=generator, dtype=F64))
    strengths = gaussian[:50:10] if setting == "Kwon" else gaussian[:5]
    target = low_rank_matrix(
        (dim, dim), 5, singular_values=strengths, generator=generator, dtype=F64
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
    target = low_rank_matrix((dim, dim), 5, generator=generator, dtype=F64)
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
        name="completion-map",
        cell=completion_map,
        grid=tuple(
            {
                "depth": depth,
                "method": method,
                "width": width,
                "fraction": fraction,
                "draws": draws,
                "scale": scale,
            }
            for fraction, draws, forms, starts in (
                (0.25, 3, FORMS, STARTS),
                (0.2, 9, FORMS[:1], SCARCE),
            )
            for depth, scales in starts.items()
            for method, width in forms
            for scale in scales
        ),
    ),
    Experiment(
        name="completion-peers",
        cell=completion_peer,
        grid=tuple(
            {"method": method, "fraction": fraction, "seed": seed}
            for fraction in (0.15, 0.2, 0.3)
            for method in PEERS
            for seed in range(3)
        ),
    ),
    Experiment(
        name="completion-pixels",
        cell=completion_pixels,
        grid=tuple({"dataset": "digits", "seed": seed} for seed in range(3)),
    ),
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
        name="completion-width",
        cell=completion_width,
        grid=tuple(
            {"depth": depth, "width": width} for depth in (2, 3) for width in (10, 20, 40, 70, 100)
        ),
    ),
    Experiment(
        name="completion-scale",
        cell=completion_scale,
        grid=tuple({"dim": dim} for dim in (500, 1000, 2000, 5000, 10_000, 20_000)),
    ),
)
