"""What a decision is, and a check of it that knows nothing of how it was found."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import Movable

__all__ = ["Feasibility", "labelled_samples", "verify_feasibility"]

# A sum of k products is wrong by at most about k times this, in parts of the sum of their sizes.
UNIT_ROUNDOFF = torch.finfo(torch.float64).eps / 2

# A product that underflows is wrong by no more than this.
LEAST = math.ulp(0.0)


@dataclass(frozen=True, eq=False)
class Feasibility(Movable):
    r"""For every class a proof that collapse is feasible, or that it is not.

    Results of a batch index like tensors: ``result[3]`` is that of the fourth instance.

    Attributes
    ----------
    verdict : Tensor, shape (…, K), int8
        1 if the class is feasible, -1 if not, 0 if it is undecided.
    weights : Tensor, shape (…, K, d) or, with bias, (…, K, d + 1), float64
        :math:`\beta` of the feasible classes, the bias last; NaN elsewhere.
    certificate : Tensor, shape (…, K, N), float64
        Farkas vector c of the infeasible classes, one number per sample; NaN elsewhere. Its entries
        in the class sum to one, all others are at most zero, and :math:`X^\top c = 0`.
    violation : Tensor, shape (…, K), float64
        By how much the proof misses these conditions, rounding included; infinite where undecided.
        Of weights, the largest :math:`|X_k \beta - 1|`, or the largest output of another sample if
        that had the length of the shortest sample of the class. Of a certificate, the length of
        :math:`X^\top c` in that unit. For the lengths, coordinates are scaled by powers of two to
        largest entries in [1/2, 1), unless an entry would underflow. A proof with denormal numbers
        is measured before it is rounded to them.

    Examples
    --------
    >>> from lecturelib.shallow_feasibility import nc_feasibility
    >>> inputs = torch.tensor([[[1.0], [-1.0]], [[1.0], [2.0]]])
    >>> result = nc_feasibility(inputs, torch.tensor([0, 1]))
    >>> result.feasible
    tensor([[ True,  True],
            [False, False]])
    >>> result[0].weights
    tensor([[ 1.],
            [-1.]], dtype=torch.float64)
    """

    verdict: Tensor
    weights: Tensor
    certificate: Tensor
    violation: Tensor

    def __getitem__(self, index):
        return Feasibility(*(tensor[index] for tensor in vars(self).values()))

    @property
    def decided(self):
        """Whether there is a proof either way, shape (…, K), bool."""
        return self.verdict != 0

    @property
    def feasible(self):
        """Whether each class is feasible, shape (…, K), bool; only if all classes are decided.

        Raises
        ------
        ValueError
            If a class is undecided: it could only be called feasible or infeasible by guessing.
        """
        undecided = int((~self.decided).sum())
        if undecided:
            raise ValueError(
                f"{undecided} of {self.verdict.numel()} classes are undecided, which is neither "
                "feasible nor infeasible: use verdict, which is 0 there"
            )
        return self.verdict > 0


def verify_feasibility(inputs, labels, result, *, tol=1e-6):
    r"""Check the proofs in a result against the data, without solving anything.

    Parameters
    ----------
    inputs, labels : Tensor, shapes (…, N, d) and (N,)
        The data, as in :func:`~lecturelib.shallow_feasibility.nc_feasibility`.
    result : Feasibility
        What is claimed about them. Whether a bias was allowed shows in the length of its weights.
    tol : float, optional
        By how much a proof may miss its conditions, the rounding of this check included, in (0, 1).

    Returns
    -------
    Tensor, shape (…, K), bool
        Where the proof holds: weights that satisfy every constraint, or a certificate. False where
        undecided.

    Raises
    ------
    TypeError, ValueError
        If the data or the tolerance are not as described, or the result does not belong to data of
        this shape.

    Notes
    -----
    The measure is that of :class:`Feasibility`. A certificate c with a remainder :math:`r = X^\top
    c` shows that every solution has :math:`\|\beta\| \ge 1 / \|r\|`: where it passes, a solution
    would have to be 1 / tol times longer than one that fits only the shortest sample of the class.

    Examples
    --------
    >>> from lecturelib.shallow_feasibility import nc_feasibility
    >>> inputs, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> result = nc_feasibility(inputs, labels)
    >>> verify_feasibility(inputs, labels, result)
    tensor([True, True])
    >>> verify_feasibility(-inputs, labels, result)
    tensor([False, False])
    """
    samples, members = labelled_samples(inputs, labels)
    if not isinstance(result, Feasibility):
        raise checks.wrong("result", "a Feasibility", result, TypeError)
    tol = checks.number("tol", tol, above=0, below=1)
    result = result.to(samples.device)
    *batch, N, d = samples.shape
    if result.weights.shape[-1:] == (d + 1,):
        samples = torch.nn.functional.pad(samples, (0, 1), value=1.0)
    K, d = len(members), samples.shape[-1]
    needed = (*batch, K), (*batch, K, d), (*batch, K, N)
    given = result.verdict.shape, result.weights.shape, result.certificate.shape
    if tuple(map(tuple, given)) != needed:
        raise ValueError(
            "result must be one of these data, with verdict, weights and certificate of the shapes "
            "{}, {} and {}, got {}, {} and {}".format(*needed, *map(tuple, given))
        )
    _, exponents = torch.frexp(samples.abs().amax(-2, keepdim=True))
    exponents = exponents.clamp(-1000, 1000)
    scaled = torch.ldexp(samples, -exponents)
    underflow = (torch.ldexp(scaled, exponents) != samples).flatten(-2).any(-1)
    scaled = torch.where(underflow[..., None, None], samples, scaled)
    peaks = scaled.abs().amax(-1)
    peaks = peaks.masked_fill(peaks == 0, 1)
    # Squares of small numbers must not vanish: only zeros have length zero.
    lengths = peaks * (scaled / peaks[..., None]).norm(dim=-1)
    proved = []
    for k, own in enumerate(members):
        unit = torch.where(own & (lengths > 0), lengths, math.inf).amin(-1, keepdim=True)
        unit = unit.masked_fill(unit.isinf(), 1)  # a class of zeros
        fitting = (unit / lengths).masked_fill(lengths == 0, 0).masked_fill(own, 1)
        verdict = result.verdict[..., k]
        missed = torch.where(
            verdict > 0,
            _missed_by_weights(samples, result.weights[..., k, :], own, fitting),
            _missed_by_certificate(scaled, result.certificate[..., k, :], own, unit),
        )
        proved.append((verdict != 0) & (missed <= tol))  # NaN is no proof
    return torch.stack(proved, dim=-1)


def _missed_by_weights(samples, weights, own, scale):
    """Return the largest misfit of weights (…, d), outputs (…, N) being multiplied by a scale."""
    outputs = torch.einsum("...nd, ...d -> ...n", samples, weights)
    sizes = torch.einsum("...nd, ...d -> ...n", samples.abs(), weights.abs())
    errors = (samples.shape[-1] + 2) * UNIT_ROUNDOFF * sizes + samples.shape[-1] * LEAST
    missed = torch.where(own, (outputs - 1).abs() + errors, (outputs + errors).clamp_min(0))
    return (scale * missed).masked_fill(missed == 0, 0).amax(-1)  # the scale may be infinite


def _missed_by_certificate(samples, certificate, own, unit):
    """Return the remainder of a certificate (…, N) in a unit (…, 1), or a larger misfit of it."""
    relative = (samples.shape[-2] + 2) * UNIT_ROUNDOFF
    remainder = torch.einsum("...nd, ...n -> ...d", samples, certificate).abs()
    remainder += relative * torch.einsum("...nd, ...n -> ...d", samples.abs(), certificate.abs())
    # Where all products are with a zero, nothing is rounded; elsewhere they may underflow.
    rounded = ((samples != 0) & (certificate != 0)[..., None]).any(-2)
    remainder += rounded * samples.shape[-2] * LEAST
    inside = certificate.masked_fill(~own, 0)
    total = (inside.sum(-1) - 1).abs() + relative * inside.abs().sum(-1)
    signs = torch.where((certificate.masked_fill(own, 0) > 0).any(-1), math.inf, 0.0)
    return (remainder / unit).norm(dim=-1).maximum(total).maximum(signs)


def labelled_samples(inputs, labels):
    """Check samples and their labels, and return them in the form that this topic works with.

    Parameters
    ----------
    inputs, labels : Tensor, shapes (…, N, d) and (N,)
        As in :func:`~lecturelib.shallow_feasibility.nc_feasibility`.

    Returns
    -------
    samples : Tensor, shape (…, N, d), float64
    members : list of Tensor, shape (N,), bool
        Which samples belong to each class.

    Raises
    ------
    TypeError, ValueError
        If they are not as described there.

    Examples
    --------
    >>> labelled_samples(torch.eye(2), torch.tensor([1, 0]))[1]
    [tensor([False,  True]), tensor([ True, False])]
    """
    inputs = checks.tensor("inputs", inputs, ("…", "N", "d"))
    labels = checks.labels("labels", labels, inputs.shape[-2]).to(inputs.device)
    if labels.min() < 0:
        raise ValueError(f"labels must not be negative, got {int(labels.min())}")
    counts = labels.bincount()
    if len(counts) < 2:
        raise checks.wrong("labels", "of at least two classes", f"{len(counts)} class")
    if (counts == 0).any():
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"every class needs a sample, but labels has none of {empty}")
    return inputs.detach().double(), [labels == k for k in range(len(counts))]
