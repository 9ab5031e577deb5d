"""Up to which rate descent is stable at the solution."""

from lecturelib import checks

__all__ = ["limiting_rate"]

# Halvings of the interval in which the size of a core is looked for.
HALVINGS = 100


def limiting_rate(strength, share, *, depth=3, start="surrogate", factor_lr_ratio=1.0, scale=1e-2):
    r"""Compute the rate from which gradient descent leaves the completed matrix.

    Parameters
    ----------
    strength : float
        :math:`\sigma > 0`, the largest singular value of the matrix.
    share : float
        :math:`p` in (0, 1], the share of entries observed.
    depth : int, optional
        Number L of layers, at least 2, as :func:`complete` counts them.
    start : {"surrogate", "gradient"}, optional
        The form of the compressed network, as in :func:`complete`. Full and narrow networks are
        like the first with ``factor_lr_ratio=1``.
    factor_lr_ratio : float, optional
        :math:`\gamma \ge 0`.
    scale : float, optional
        :math:`\varepsilon > 0`.

    Returns
    -------
    float
        :math:`\eta`, for the sum over the observed entries, on average over their places. For given
        places the true limit is lower, the more so the fewer they are and the fewer layers there
        are: by up to one half for two layers and a fifth of the entries. Where one row or column is
        seen much more often than the share p, it is lower still.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Let :math:`\sigma = a^2 c^k`, with a size a in each of U and V, and c in each of k cores. Steps
    are stable while

    .. math:: \eta\, p\, \sigma^2 \Big( \frac{2 \gamma}{a^2} + \frac{k}{c^2} \Big) < 2 ,

    and :math:`a^2 = a_0^2 + \gamma (c^2 - \varepsilon^2)` from the start on, with :math:`a_0 =
    \varepsilon, k = L - 2` for ``"surrogate"`` and :math:`a_0 = 1, k = L` for ``"gradient"``. For
    L equal layers that is :math:`\eta < 2 / (L p\, \sigma^{2 - 2/L})`.

    Examples
    --------
    >>> round(limiting_rate(8.0, 0.5), 6), round(2 / (3 * 0.5 * 8.0 ** (4 / 3)), 6)
    (0.083333, 0.083333)
    """
    strength = checks.number("strength", strength, above=0)
    share = checks.number("share", share, above=0, most=1)
    depth = checks.integer("depth", depth, least=2)
    start = checks.choice("start", start, ["surrogate", "gradient"])
    gamma = checks.number("factor_lr_ratio", factor_lr_ratio, least=0)
    scale = checks.number("scale", scale, above=0)
    cores, first = (depth, 1.0) if start == "gradient" else (depth - 2, scale**2)
    if gamma == cores == 0:
        raise ValueError("two layers with factor_lr_ratio=0 do not move: there is no limit")

    def squared(c):
        return max(0.0, first + gamma * (c**2 - scale**2))

    low, high = 0.0, scale
    while squared(high) * high**cores < strength:
        high *= 2
    for _ in range(HALVINGS):
        c = (low + high) / 2
        low, high = (c, high) if squared(c) * c**cores < strength else (low, c)
    return 2 / (share * strength**2 * (2 * gamma / squared(high) + cores / high**2))
