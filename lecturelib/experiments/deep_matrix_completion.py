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
