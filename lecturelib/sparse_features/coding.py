"""Codes of least penalty in a given dictionary, many at once, each with its certificate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import Movable, one_thread

# Where the number of steps is left to the tolerance, they end here.
MOST_STEPS = 100_000
# Steps between two looks at the certificates.
LOOK_EVERY = 10
# Entries of what a CPU works on at a time: they stay in its cache.
AT_A_TIME = 2**18
# Multiplications of one matrix product, below which one thread is the faster choice.
SMALL = 2**24


@dataclass(frozen=True, eq=False)
class SparseCode(Movable):
    r"""Codes, with what they are worth.

    ``code[i]`` is that of the problems ``[i]``.

    Attributes
    ----------
    codes : Tensor, shape (…, n)
        z, one for each input.
    objective : Tensor, shape (…)
        :math:`\frac12 \|x - A z\|^2 + \lambda \|z\|_1`.
    gap : Tensor, shape (…)
        How far the objective is from its minimum, at most; see :func:`duality_gap`.
    steps : Tensor, shape (…), int64
        Steps that each problem took.
    """

    codes: Tensor
    objective: Tensor
    gap: Tensor
    steps: Tensor

    def __getitem__(self, index):
        lead = self.gap.ndim
        if index is Ellipsis or (isinstance(index, tuple) and Ellipsis in index) or not lead:
            raise checks.wrong("index", f"one of the {lead} leading dimensions", index, IndexError)
        return SparseCode(
            self.codes[index], self.objective[index], self.gap[index], self.steps[index]
        )


def soft_threshold(values, threshold, *, nonnegative=False):
    r"""Move values towards zero by a threshold, and to zero those that are nearer.

    Parameters
    ----------
    values : Tensor
        v, of any shape.
    threshold : float or Tensor
        :math:`t \ge 0`, one for all or of a shape that can be broadcast to that of the values.
    nonnegative : bool, optional
        Set negative values to zero, too.

    Returns
    -------
    Tensor
        :math:`\arg\min_z \frac12 (z - v)^2 + t |z|`, over :math:`z \ge 0` on request, for each
        entry.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> values = torch.tensor([-3.0, -0.5, 0.2, 1.5])
    >>> soft_threshold(values, 1.0)
    tensor([-2.0000,  0.0000,  0.0000,  0.5000])
    >>> soft_threshold(values, 1.0, nonnegative=True)
    tensor([0.0000, 0.0000, 0.0000, 0.5000])
    """
    values = checks.tensor("values", values, finite=False)
    if isinstance(threshold, Tensor) and threshold.ndim:
        threshold = checks.tensor("threshold", threshold, like=values)
        expected = f"a number, or of a shape that fits {tuple(values.shape)}"
        try:
            if torch.broadcast_shapes(threshold.shape, values.shape) != values.shape:
                raise checks.wrong("threshold", expected, threshold)
        except RuntimeError:
            raise checks.wrong("threshold", expected, threshold) from None
        if (threshold < 0).any():
            raise ValueError(f"threshold must not be negative, got {float(threshold.min()):.3g}")
    else:
        threshold = values.new_tensor(checks.number("threshold", threshold, least=0))
    return shrink(values, threshold, checks.flag("nonnegative", nonnegative))


def shrink(values, threshold, nonnegative):
    """Return :func:`soft_threshold` of what has been checked; the threshold is a tensor."""
    if nonnegative:
        return (values - threshold).relu()
    return values - values.clamp(-threshold, threshold)


def critical_penalty(dictionary, inputs, *, nonnegative=False):
    r"""Return the penalty from which on the code is zero.

    Parameters
    ----------
    dictionary, inputs, nonnegative
        As of :func:`fista`.

    Returns
    -------
    Tensor, shape (…)
        :math:`\|A^\top x\|_\infty`; with non-negative codes the largest entry of
        :math:`A^\top x`, or 0 where all are negative.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Zero minimises the objective if and only if no atom, moved a little from zero, lowers the square
    by more than it costs: :math:`|a_j^\top x| \le \lambda` for all j. The slides' penalty, without
    the ½, has its threshold at twice this value.

    Examples
    --------
    >>> critical_penalty(torch.eye(2), torch.tensor([3.0, -4.0]))
    tensor(4.)
    >>> critical_penalty(torch.eye(2), torch.tensor([3.0, -4.0]), nonnegative=True)
    tensor(3.)
    """
    dictionary, inputs = _checked_problem(dictionary, inputs)
    nonnegative = checks.flag("nonnegative", nonnegative)
    found = Matrices(dictionary).correlate(inputs.reshape(-1, inputs.shape[-1]))
    return _largest(found, nonnegative).clamp_min(0).view(inputs.shape[:-1])


def duality_gap(dictionary, inputs, codes, penalty, *, nonnegative=False):
    r"""Certify codes: their objectives are above the minima by no more than this.

    Parameters
    ----------
    dictionary, inputs
        As of :func:`fista`.
    codes : Tensor, shape (…, n)
        z, one for each input, from wherever they come.
    penalty, nonnegative
        As of :func:`fista`.

    Returns
    -------
    Tensor, shape (…)
        Not negative, zero at a minimiser; infinite where a code should not be negative and is.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Any :math:`\theta` with :math:`\|A^\top \theta\|_\infty \le \lambda` bounds the minimum from
    below by :math:`\frac12 \|x\|^2 - \frac12 \|x - \theta\|^2`. The best multiple
    :math:`\theta = s r` of the residual :math:`r = x - A z` is taken. The difference is computed as

    .. math:: \tfrac12 (1 - s)^2 \|r\|^2 + \sum_j \big( \lambda |z_j| - s\, z_j\, a_j^\top r \big) ,

    a sum of terms that are not negative, so that nothing cancels.

    References
    ----------
    Kim et al. (2007), section III; Fercoq et al. (2015), for the best multiple.

    Examples
    --------
    >>> inputs = torch.tensor([3.0, -4.0])
    >>> duality_gap(torch.eye(2), inputs, torch.tensor([2.0, -3.0]), 1.0)
    tensor(0.)
    >>> duality_gap(torch.eye(2), inputs, torch.zeros(2), 1.0)
    tensor(7.0312)
    """
    dictionary, inputs = _checked_problem(dictionary, inputs)
    shape = (*inputs.shape[:-1], dictionary.shape[-1])
    codes = checks.tensor("codes", codes, shape, like=dictionary).detach()
    penalty = checked_penalty("penalty", penalty, inputs, inputs.shape[:-1])
    nonnegative = checks.flag("nonnegative", nonnegative)
    atoms, codes = Matrices(dictionary), codes.reshape(-1, shape[-1])
    residual = inputs.reshape(-1, inputs.shape[-1]) - atoms.synthesize(codes)
    found = gap_of(residual, codes, atoms.correlate(residual), penalty.reshape(-1, 1), nonnegative)
    return found.view(inputs.shape[:-1])


def gap_of(residual, codes, correlations, penalty, nonnegative):
    """Return the gaps (N,) of residuals (N, m), codes and Aᵀr (N, n), penalties (N, 1)."""
    tiny = torch.finfo(residual.dtype).tiny
    square = residual.square().sum(-1).clamp_min(tiny)
    best = 1 + torch.linalg.vecdot(codes, correlations) / square
    feasible = penalty[:, 0] / _largest(correlations, nonnegative).clamp_min(tiny)
    scale = torch.minimum(best, feasible).clamp_min(0)
    terms = penalty * codes.abs() - scale[:, None] * codes * correlations
    gap = (1 - scale).square() * square / 2 + terms.clamp_min(0).sum(-1)
    if nonnegative:
        gap = gap.masked_fill((codes < 0).any(-1), torch.inf)
    return gap


def fista(
    dictionary,
    inputs,
    penalty,
    *,
    nonnegative=False,
    momentum=True,
    restart=True,
    steps=None,
    tol=1e-10,
):
    r"""Minimise :math:`\frac12 \|x - A z\|^2 + \lambda \|z\|_1` for many inputs at once.

    Parameters
    ----------
    dictionary : Tensor, shape (m, n) or (…, m, n)
        A, its columns the atoms: one for all inputs, or one for each.
    inputs : Tensor, shape (…, m)
        x.
    penalty : float or Tensor, shape (…)
        :math:`\lambda > 0`, one for all inputs or one for each. It is half of the slides'.
    nonnegative : bool, optional
        Minimise over :math:`z \ge 0`.
    momentum : bool, optional
        Without it the method is ISTA: gradient step and soft thresholding, nothing else.
    restart : bool, optional
        Forget the momentum of a problem whenever it points uphill.
    steps : int, optional
        Largest number of steps (default: as many as the tolerance takes, up to 100 000).
    tol : float, optional
        Stop a problem when its duality gap is at most this multiple of
        :math:`\frac12 \|x\|^2`, the objective of the zero code. It is at least 100 roundings of the
        type, 1e-5 in float32. The gap is looked at every tenth step.

    Returns
    -------
    SparseCode
        Its ``gap`` says whether the steps were enough.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    With the step :math:`1/L`, :math:`L = \|A\|^2`, one step is

    .. math::

        z_{k+1} &= S_{\lambda/L}\big(y_k + \tfrac1L A^\top (x - A y_k)\big), \\
        t_{k+1} &= \tfrac12 \big(1 + \sqrt{1 + 4 t_k^2}\big), \\
        y_{k+1} &= z_{k+1} + \tfrac{t_k - 1}{t_{k+1}} (z_{k+1} - z_k)

    from :math:`z_0 = y_0 = 0` and :math:`t_0 = 1`, with soft thresholding S. A problem that is done
    leaves the batch. No gradients are kept; the layer :class:`ConvolutionalSparseCoding` has them.

    References
    ----------
    Beck and Teboulle (2009), for the steps; O'Donoghue and Candès (2015), section 3.2, for the
    restart; lecture 003, "Convolutional Sparse Coding (CSC) Layer I".

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> dictionary = torch.randn(20, 50, generator=generator, dtype=torch.float64)
    >>> inputs = torch.randn(7, 20, generator=generator, dtype=torch.float64)
    >>> code = fista(dictionary, inputs, 2.0)
    >>> code.codes.shape, bool(code.gap.max() < 1e-8)
    (torch.Size([7, 50]), True)
    """
    dictionary, inputs = _checked_problem(dictionary, inputs)
    batch = inputs.shape[:-1]
    penalty = checked_penalty("penalty", penalty, inputs, batch).reshape(-1, 1)
    nonnegative = checks.flag("nonnegative", nonnegative)
    momentum, restart = checks.flag("momentum", momentum), checks.flag("restart", restart)
    atoms = Matrices(dictionary)
    m, n = dictionary.shape[-2:]
    found = descend(
        atoms,
        inputs.reshape(-1, m),
        penalty,
        rate=1 / atoms.squared_norm(),
        entries=n if dictionary.ndim == 2 else m * n,
        work=m * n,
        nonnegative=nonnegative,
        momentum=momentum,
        restart=restart,
        steps=MOST_STEPS if steps is None else checks.integer("steps", steps, least=0),
        tol=checks.number("tol", tol, least=0),
    )
    return SparseCode(
        found.codes.view(*batch, n),
        found.objective.view(batch),
        found.gap.view(batch),
        found.steps.view(batch),
    )


class Matrices:
    """A dictionary (m, n) for all rows of inputs, or (N, m, n) for each its own."""

    def __init__(self, dictionary):
        self.atoms = dictionary.flatten(0, -3) if dictionary.ndim > 2 else dictionary

    def synthesize(self, codes):
        """Return A z for codes (N, n)."""
        if self.atoms.ndim == 2:
            return codes @ self.atoms.mT
        # Rows times matrices: with columns the same product takes up to ten times as long.
        return torch.bmm(codes.unsqueeze(1), self.atoms.mT).squeeze(1)

    def correlate(self, rows):
        """Return Aᵀr for rows (N, m)."""
        if self.atoms.ndim == 2:
            return rows @ self.atoms
        return torch.bmm(rows.unsqueeze(1), self.atoms).squeeze(1)

    def of(self, rows):
        """Return the dictionaries of some of the rows."""
        return self if self.atoms.ndim == 2 else Matrices(self.atoms[rows])

    def squared_norm(self):
        """Return the largest eigenvalues of A Aᵀ, shape (1,) or (N,), of which none is zero."""
        atoms = self.atoms
        wide = atoms.shape[-1] > atoms.shape[-2]
        gram = atoms @ atoms.mT if wide else atoms.mT @ atoms
        values = torch.linalg.eigvalsh(gram)[..., -1].reshape(-1)
        return values.clamp_min(torch.finfo(atoms.dtype).tiny)


def descend(atoms, inputs, penalty, *, rate, entries, work, steps, tol, **options):
    """Run FISTA on inputs (N, m), some at a time, with penalties (N, 1) and rates (N,) or (1,).

    For each input there are so many ``entries`` to keep in the cache, and so much ``work`` in a
    product.
    """
    tol = max(tol, 100 * torch.finfo(inputs.dtype).eps)
    rate = rate.reshape(-1, 1).expand(len(inputs), 1)
    count = max(1, AT_A_TIME // entries) if inputs.is_cpu else max(1, len(inputs))
    parts = []
    with one_thread(min(count, len(inputs)) * work < SMALL):
        for start in range(0, max(1, len(inputs)), count):
            part = slice(start, start + count)
            chosen = atoms.of(part)
            found = _descend(chosen, inputs[part], penalty[part], rate[part], steps, tol, **options)
            parts.append(found)
    return SparseCode(*(torch.cat(found) for found in zip(*parts, strict=True)))


@torch.no_grad()
def _descend(atoms, inputs, penalty, rate, steps, tol, *, nonnegative, momentum=True, restart=True):
    """Return codes, objectives, gaps and numbers of steps."""
    found = torch.zeros_like(atoms.correlate(inputs))
    objective, gap = inputs.new_zeros(len(inputs)), inputs.new_zeros(len(inputs))
    taken = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    rows = torch.arange(len(inputs), device=inputs.device)
    enough = tol * inputs.square().sum(-1) / 2
    threshold = rate * penalty
    codes = ahead = found.clone()
    t = torch.ones_like(threshold)
    for step in range(steps + 1):
        if step == steps or (step and step % LOOK_EVERY == 0):
            residual = inputs - atoms.synthesize(codes)
            gaps = gap_of(residual, codes, atoms.correlate(residual), penalty, nonnegative)
            done = (gaps <= enough) if step < steps else torch.ones_like(gaps, dtype=torch.bool)
            which = rows[done]
            found[which], gap[which], taken[which] = codes[done], gaps[done], step
            objective[which] = _objective(residual[done], codes[done], penalty[done])
            if done.all():
                break
            if done.any():
                left = (~done).nonzero()[:, 0]
                state = (rows, inputs, penalty, enough, rate, threshold, codes, ahead, t)
                rows, inputs, penalty, enough, rate, threshold, codes, ahead, t = (
                    part[left] for part in state
                )
                atoms = atoms.of(left)
        slope = atoms.correlate(inputs - atoms.synthesize(ahead))
        new = shrink(torch.addcmul(ahead, rate, slope), threshold, nonnegative)
        if momentum:
            change = new - codes
            if restart:
                uphill = torch.linalg.vecdot(ahead - new, change) > 0
                t = t.masked_fill(uphill[:, None], 1.0)
            longer = (1 + (1 + 4 * t * t).sqrt()) / 2
            ahead = torch.addcmul(new, (t - 1) / longer, change)
            t = longer
        else:
            ahead = new
        codes = new
    return found, objective, gap, taken


def _objective(residual, codes, penalty):
    return residual.square().sum(-1) / 2 + penalty[:, 0] * codes.abs().sum(-1)


def mutual_coherence(dictionary):
    r"""Return the largest cosine, without its sign, between two atoms.

    Parameters
    ----------
    dictionary : Tensor, shape (…, m, n)
        Its columns are the atoms, of any lengths.

    Returns
    -------
    Tensor, shape (…)
        :math:`\mu = \max_{i \ne j} |a_i^\top a_j| / (\|a_i\| \|a_j\|)`, in [0, 1]. An atom
        that is zero has the cosine 0 with all others, as has a single atom.

    Raises
    ------
    TypeError, ValueError
        If the dictionary is not as described.

    Examples
    --------
    >>> mutual_coherence(torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 4.0]]))
    tensor(0.8000)
    """
    dictionary = checks.tensor("dictionary", dictionary, ("…", "m", "n"))
    atoms = torch.nn.functional.normalize(dictionary, dim=-2)
    cosines = (atoms.mT @ atoms).abs()
    off = cosines - torch.diag_embed(cosines.diagonal(dim1=-2, dim2=-1))
    return off.amax((-2, -1)).clamp_max(1)


def relative_residual(inputs, reconstructions):
    r"""Return how much of each input its reconstruction misses.

    Parameters
    ----------
    inputs : Tensor, shape (N, …)
        x.
    reconstructions : Tensor, shape (N, …)
        :math:`\hat x`, such as :math:`A z`.

    Returns
    -------
    Tensor, shape (N,)
        :math:`\|x - \hat x\| / \|x\|` over all entries of a sample; 0 where both are zero.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> relative_residual(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 4.0]]))
    tensor([0.6000])
    """
    inputs = checks.tensor("inputs", inputs, finite=False)
    if inputs.ndim < 2:
        raise checks.wrong("inputs", "N samples of at least one dimension", inputs)
    shape = tuple(inputs.shape)
    reconstructions = checks.tensor(
        "reconstructions", reconstructions, shape, finite=False, like=inputs
    )
    missed = (inputs - reconstructions).flatten(1).norm(dim=1)
    return missed / inputs.flatten(1).norm(dim=1).clamp_min(torch.finfo(inputs.dtype).tiny)


def checked_penalty(name, value, inputs, batch):
    """Return penalties as a tensor of the inputs' type with one entry for each of a batch."""
    if isinstance(value, Tensor) and value.ndim:
        value = checks.tensor(name, value, tuple(batch), like=inputs).detach()
        if not (value > 0).all():
            raise ValueError(f"{name} must be positive, got {float(value.min()):.3g}")
        return value.to(inputs.device)
    return inputs.new_full(tuple(batch), checks.number(name, value, above=0))


def _checked_problem(dictionary, inputs):
    dictionary = checks.tensor("dictionary", dictionary, ("…", "m", "n")).detach()
    shape = ("…", dictionary.shape[-2])
    inputs = checks.tensor("inputs", inputs, shape, like=dictionary).detach()
    batch = inputs.shape[:-1]
    if dictionary.ndim > 2 and dictionary.shape[:-2] != batch:
        sizes = ", ".join(str(size) for size in (*batch, shape[-1], "n"))
        raise checks.wrong("dictionary", f"of shape ({shape[-1]}, n) or ({sizes})", dictionary)
    return dictionary, inputs


def _largest(correlations, nonnegative):
    return (correlations if nonnegative else correlations.abs()).amax(-1)
