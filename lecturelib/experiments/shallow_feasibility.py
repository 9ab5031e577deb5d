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
