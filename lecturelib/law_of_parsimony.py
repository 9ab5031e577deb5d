r"""The law of parsimony: gradient descent moves a 2r-dimensional piece of every layer.

The setting of every routine here but :func:`subspace_angles` and :func:`singular_trajectories`: a
deep linear network whose layers are square, d x d, except perhaps the last; inputs are whitened,
up to a factor; the weights start as one :math:`\varepsilon > 0` times orthogonal matrices. With
:math:`\Phi = Y X^\top` there are two cases:

``square``
    :math:`d_y = d` and :math:`\Phi` has rank at most r;
``wide``
    :math:`d_y = r < d`: the last layer is wide.

In both, :math:`m = d - 2r` must be positive. The law holds to rounding: take float64.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lecturelib import checks
from lecturelib.deep_linear import (
    SMALL_LAYER,
    LeastSquares,
    Trajectory,
    checked_chain,
    descend,
    moving_directions,
)
from lecturelib.device import Movable, one_thread
from lecturelib.training import History

__all__ = [
    "ReducedTrajectory",
    "SingularTrajectories",
    "bulk_singular_value",
    "invariant_subspaces",
    "reduced_gradient_descent",
    "singular_trajectories",
    "subspace_angles",
]


def bulk_singular_value(scale, depth, *, lr, steps, weight_decay=0.0, momentum=0.0, case="square"):
    r"""Follow the one singular value that d - 2r directions of every covered layer share.

    Parameters
    ----------
    scale : float
        Initial scale :math:`\varepsilon > 0`.
    depth : int
        Number L of layers, at least 1.
    lr : float
        Learning rate :math:`\eta \ge 0`.
    steps : int
        Number of steps, not negative.
    weight_decay : float, optional
        :math:`\lambda \ge 0`.
    momentum : float, optional
        Heavy-ball momentum :math:`\mu` in [0, 1).
    case : {"square", "wide"}, optional
        See the module. The square case covers all L layers, the wide one the first L - 1.

    Returns
    -------
    Tensor, shape (steps + 1,), float64
        :math:`\rho(0), \dots, \rho(\text{steps})`.

    Raises
    ------
    TypeError, ValueError
        For a number out of range or an unknown case.
    FloatingPointError
        If the recursion diverges; the message names the learning rate.

    Notes
    -----
    From :math:`\rho(0) = \varepsilon` and :math:`\nu(0) = 0`, in the square case

    .. math::

        \nu(t+1) &= \mu \nu(t) + \lambda \rho(t) + \rho(t)^{2L-1} , \\
        \rho(t+1) &= \rho(t) - \eta \nu(t+1) ,

    and in the wide case without the power. Without momentum

    .. math::

        \rho(t+1) &= \rho(t) \, \big( 1 - \eta\lambda - \eta \rho(t)^{2(L-1)} \big)
        \quad\text{(square)}, \\
        \rho(t) &= \varepsilon (1 - \eta\lambda)^t \quad\text{(wide)}.

    With or without, it stays between 0 and :math:`\varepsilon` if

    .. math:: \eta \, \big( \lambda + \varepsilon^{2(L-1)} \big) \le (1 - \sqrt\mu)^2 ,

    in the wide case already if :math:`\eta\lambda \le (1 - \sqrt\mu)^2`.

    Larger steps can make it negative: the singular value is its size then, which can exceed
    :math:`\varepsilon`. For a loss divided by a number c, use ``lr / c`` and ``weight_decay * c``.

    References
    ----------
    Yaras et al. (2023), theorem 1; lecture 002, "The Law of Parsimony in GD".

    Examples
    --------
    >>> bulk_singular_value(0.5, 3, lr=0.1, steps=2).round(decimals=4)
    tensor([0.5000, 0.4969, 0.4938], dtype=torch.float64)
    >>> bulk_singular_value(0.5, 3, lr=0.1, steps=2, case="wide").tolist()
    [0.5, 0.5, 0.5]
    """
    scale = checks.number("scale", scale, above=0)
    depth = checks.integer("depth", depth, least=1)
    lr = checks.number("lr", lr, least=0)
    steps = checks.integer("steps", steps, least=0)
    weight_decay = checks.number("weight_decay", weight_decay, least=0)
    momentum = checks.number("momentum", momentum, least=0, below=1)
    case = checks.choice("case", case, ["square", "wide"])
    values, velocity = [scale], 0.0
    try:
        for _ in range(steps):
            rho = values[-1]
            gradient = rho ** (2 * depth - 1) if case == "square" else 0.0
            velocity = momentum * velocity + gradient + weight_decay * rho
            values.append(rho - lr * velocity)
    except OverflowError:  # a power of Python's; sums and products become infinite instead
        values.append(math.inf)
    if not math.isfinite(values[-1]):
        raise FloatingPointError(
            f"the recursion diverged by step {len(values) - 1} with lr={lr}: try a smaller one"
        )
    return torch.tensor(values, dtype=torch.float64)


def invariant_subspaces(weights, X, Y, rank=None):
    r"""Find, from the start alone, which part of every layer will move and which never does.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        Initial weights, first layer first: :math:`\varepsilon` times orthogonal.
    X : Tensor, shape (..., d, N), or None
        Inputs as columns, whitened or a multiple of that; None says that ``Y`` holds :math:`\Phi`.
    Y : Tensor, shape (..., d_y, N) or (..., d_y, d)
        Targets, or :math:`\Phi`.
    rank : int, optional
        r; in the square case at least the rank of :math:`\Phi` (default: that rank, up to
        rounding), in the wide case :math:`d_y`, also where :math:`\Phi` has a smaller rank.

    Returns
    -------
    list of (U_l, V_l), tensors of shape (..., d_l, d_l) and (..., d, d)
        Orthogonal matrices with :math:`V_{l+1} = U_l`. The first 2r columns may move; for the last
        m = d - 2r, :math:`W_l(t) V_{l,2} = \rho(t) U_{l,2}` at all steps of gradient descent. In
        the wide case, where the last layer is not covered, its :math:`U_L` is the identity.

    Raises
    ------
    TypeError, ValueError
        If the setting of the module does not hold: widths, whitened inputs, orthogonal start,
        :math:`0 < 2r < d`, and the rank of :math:`\Phi`.

    Notes
    -----
    Idle are the directions v of the input space with

    .. math::

        \Phi v = 0 \;\text{ and }\; \Phi^\top W_{L:1}(0)\, v &= 0 \quad\text{(square)}, \\
        \Phi v = 0 \;\text{ and }\; W_{L:1}(0)\, v &= 0 \quad\text{(wide)},

    that is, at most 2r conditions. In the square case v is orthogonal to the rows of :math:`\Phi`
    and to the image of its columns under :math:`W_{L:1}(0)^\top`. In the wide case it must not
    reach the outputs at all; if :math:`\Phi` has rank :math:`d_y`, that is the same condition. The
    layers carry them on, :math:`v \mapsto W_l(0) v / \varepsilon`.

    References
    ----------
    Yaras et al. (2023), theorem 1 and lemma 4; lecture 002, "The Law of Parsimony in GD".

    Examples
    --------
    >>> from lecturelib.deep_linear import init_weights
    >>> W = init_weights([6, 6, 6], 0.5, dtype=torch.float64)
    >>> phi = torch.zeros(6, 6, dtype=torch.float64).index_fill(0, torch.tensor([0]), 1.0)
    >>> (U1, V1), (U2, V2) = invariant_subspaces(W, None, phi, rank=1)
    >>> torch.allclose(U1.T @ W[0] @ V1, 0.5 * torch.eye(6, dtype=torch.float64)), V2 is U1
    (True, True)
    >>> len(invariant_subspaces(W, 3 * torch.eye(6, dtype=torch.float64), phi))  # XX^T = 9 I
    2
    """
    weights, rank, problem = _setting(weights, X, Y, rank)
    return _subspaces(weights, problem.targets, rank)


def _subspaces(weights, phi, rank):
    case, scale = _case(weights), _scale(weights)
    left, values, right = torch.linalg.svd(phi, full_matrices=False)
    if case == "square" and (values[..., rank] > _rounding(phi) * values[..., 0]).any():
        raise checks.wrong("rank", "at least the rank of Y X^T", rank)
    moving = moving_directions(weights, scale, left[..., :rank], right.mT[..., :rank])
    V, _ = torch.linalg.qr(moving, mode="complete")
    subspaces = []
    for layer, weight in enumerate(weights, start=1):
        if case == "wide" and layer == len(weights):
            U = torch.eye(rank, dtype=V.dtype, device=V.device).expand(*V.shape[:-2], rank, rank)
        else:
            U = weight @ V / scale
        subspaces.append((U, V))
        V = U
    return subspaces


@dataclass(frozen=True, eq=False)
class ReducedTrajectory(History):
    r"""Gradient descent on the cores, from which the full iterates follow.

    Attributes
    ----------
    steps : Tensor, shape (T,)
        Recorded steps, int64.
    values : dict of str to Tensor
        ``"loss"``, shape (T, ...), of the full network, and ``"bulk"``, shape (T,),
        :math:`\rho`.
    cores : Trajectory
        The moving blocks, 2r x 2r (in the wide case the last one r x 2r), at the same steps; its
        losses are those of the blocks.
    subspaces : list of (U_l, V_l)
        As returned by :func:`invariant_subspaces`.

    Examples
    --------
    >>> from lecturelib.deep_linear import init_weights
    >>> W, phi = init_weights([9, 9, 9], 0.1), torch.eye(9, 1) @ torch.eye(1, 9)
    >>> path = reduced_gradient_descent(W, None, phi, rank=1, lr=0.1, steps=5)
    >>> path["loss"].shape, path.cores["W1"].shape, path.weights()[0].shape
    (torch.Size([6]), torch.Size([6, 2, 2]), torch.Size([9, 9]))
    """

    cores: Trajectory
    subspaces: list

    def weights(self, index=-1):
        """Assemble the full weights at a position in ``steps``.

        Parameters
        ----------
        index : int, optional
            The position; negative ones count from the end.

        Returns
        -------
        list of Tensor, shapes (..., d_l, d_{l-1})
            First layer first.
        """
        bulk, full = self["bulk"][index], []
        for core, (U, V) in zip(self.cores.weights(index), self.subspaces, strict=True):
            rows, columns = core.shape[-2:]
            weight = U[..., :rows] @ core @ V[..., :columns].mT
            if rows < U.shape[-1]:  # all but the last layer of the wide case
                weight = weight + bulk * U[..., rows:] @ V[..., columns:].mT
            full.append(weight)
        return full


def reduced_gradient_descent(
    weights,
    X,
    Y,
    rank,
    *,
    lr,
    steps,
    weight_decay=0.0,
    momentum=0.0,
    reduction="sum",
    every=1,
    tol=None,
):
    r"""Run the iterates of :func:`~lecturelib.deep_linear.gradient_descent` on 2r x 2r cores.

    Parameters
    ----------
    weights, X, Y, rank
        As in :func:`invariant_subspaces`.
    lr, steps, weight_decay, momentum, reduction, every
        As in :func:`~lecturelib.deep_linear.gradient_descent`; ``lr`` is one number.
    tol : float, optional
        End when the loss of the cores is at most this: the square case's idle directions and what
        no weights can avoid do not count.

    Returns
    -------
    ReducedTrajectory

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As the two functions named.

    Notes
    -----
    A step costs :math:`O(L r^3)`, whatever d is.

    References
    ----------
    Yaras et al. (2023), section 3; lecture 002, "How to Achieve the Best of Two Worlds?".

    Examples
    --------
    >>> from lecturelib.deep_linear import gradient_descent, init_weights
    >>> W = init_weights([40, 40, 40], 0.1, dtype=torch.float64)
    >>> phi = torch.zeros(40, 40, dtype=torch.float64).index_fill(0, torch.tensor([0]), 1.0)
    >>> settings = {"lr": 0.01, "steps": 200, "every": []}
    >>> full = gradient_descent(W, None, phi, **settings)
    >>> reduced = reduced_gradient_descent(W, None, phi, rank=1, **settings)
    >>> bool((full.final[0] - reduced.weights()[0]).abs().max() < 1e-12)
    True
    >>> reduced.cores["W1"].shape
    torch.Size([1, 2, 2])
    """
    weights, rank, problem = _setting(weights, X, Y, rank, reduction)
    lr = checks.number("lr", lr, least=0)
    subspaces = _subspaces(weights, problem.targets, rank)
    cores = [
        U[..., : 2 * rank].mT @ weight @ V[..., : 2 * rank]
        for weight, (U, V) in zip(weights, subspaces, strict=True)
    ]
    U, V = subspaces[-1][0][..., : 2 * rank], subspaces[0][1][..., : 2 * rank]
    path = descend(
        cores,
        LeastSquares(None, U.mT @ problem.targets @ V, 0.0, problem.share),
        lr=lr,
        steps=steps,
        weight_decay=weight_decay,
        momentum=momentum,
        record_weights=True,
        every=every,
        tol=tol,
    )
    depth, case = len(weights), _case(weights)
    bulk = bulk_singular_value(
        _scale(weights),
        depth,
        # A loss times `share` is a rate times `share` and a weight decay divided by it.
        lr=lr * problem.share,
        steps=int(path.steps[-1]),
        weight_decay=weight_decay / problem.share,
        momentum=momentum,
        case=case,
    )[path.steps]
    loss = path["loss"] + problem.share * torch.as_tensor(problem.floor).to(path["loss"])
    if case == "square":
        idle = (weights[0].shape[-1] - 2 * rank) * bulk ** (2 * depth) / 2
        loss = loss + problem.share * idle.to(loss).view(-1, *(1,) * (loss.ndim - 1))
    values = {"loss": loss, "bulk": bulk}
    return ReducedTrajectory(path.steps, values, cores=path, subspaces=subspaces)


def subspace_angles(A, B):
    r"""Principal angles between the column spaces of two matrices.

    Parameters
    ----------
    A : Tensor, shape (..., d, p)
        Independent columns, :math:`1 \le p \le d`; they need not be orthonormal.
    B : Tensor, shape (..., d, q)
        The same for the other space.

    Returns
    -------
    Tensor, shape (..., min(p, q))
        Angles in radians, in :math:`[0, \pi/2]`, ascending, small ones as precise as large ones.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit or the columns of a matrix are dependent.

    Notes
    -----
    The cosines are singular values of :math:`Q_A^\top Q_B`. Near zero a cosine says nothing of its
    angle, so the sines are taken as well, from :math:`(I - Q_A Q_A^\top) Q_B`.

    References
    ----------
    Björck, Golub (1973), "Numerical methods for computing angles between linear subspaces".

    Examples
    --------
    >>> A = torch.eye(3, dtype=torch.float64)[:, :2]
    >>> B = torch.tensor([[1.0, 0], [0, 1], [0, 1]], dtype=torch.float64)
    >>> torch.rad2deg(subspace_angles(A, B)).round(decimals=6)
    tensor([ 0., 45.], dtype=torch.float64)
    """
    A = checks.tensor("A", A, ("…", "d", "p"))
    B = checks.tensor("B", B, ("…", A.shape[-2], "q"), like=A)
    try:
        torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    except RuntimeError:
        leading = f"of leading dimensions that fit those of A, {tuple(A.shape[:-2])}"
        raise checks.wrong("B", leading, B) from None
    bases = []
    for name, matrix in (("A", A), ("B", B)):
        rows, columns = matrix.shape[-2:]
        if columns > rows or (torch.linalg.matrix_rank(matrix) < columns).any():
            raise checks.wrong(name, "of independent columns", matrix)
        bases.append(torch.linalg.qr(matrix).Q)
    large, small = bases if A.shape[-1] >= B.shape[-1] else bases[::-1]
    overlap = large.mT @ small
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(small - large @ overlap).flip(-1)
    return torch.atan2(sines, cosines)


@dataclass(frozen=True, eq=False)
class SingularTrajectories(Movable):
    r"""A matrix's singular values and vectors, followed over time.

    Attributes
    ----------
    values : Tensor, shape (T, p)
        Singular values, :math:`p = \min(m, n)`. A column is one of them at all times, also where
        it crosses others; columns are in descending order at the last time.
    left, right : Tensor, shapes (T, m, p) and (T, n, p)
        Their singular vectors, as columns.

    Examples
    --------
    >>> matrices = torch.stack([torch.eye(2), torch.tensor([[0.0, -2.0], [1.0, 0.0]])])
    >>> tracks = singular_trajectories(matrices)
    >>> tracks.values.tolist(), tracks.angles("left").round(decimals=3).tolist()
    ([[1.0, 1.0], [2.0, 1.0]], [[0.0, 0.0], [45.0, 45.0]])
    """

    values: Tensor
    left: Tensor
    right: Tensor

    def angles(self, side):
        r"""Angle of each singular vector to where it was at first.

        Parameters
        ----------
        side : {"left", "right"}
            Which vectors.

        Returns
        -------
        Tensor, shape (T, p)
            Degrees, in [0, 180].

        Raises
        ------
        TypeError, ValueError
            For another side.
        """
        side = checks.choice("side", side, ["left", "right"])
        vectors = self.left if side == "left" else self.right
        chords = (vectors - vectors[0]).norm(dim=1)
        return torch.rad2deg(2 * torch.asin((chords / 2).clamp(max=1)))


def singular_trajectories(matrices, tol=1e-9):
    r"""Follow the singular values and vectors of a matrix that moves.

    An SVD at every time is not enough: values cross, signs flip, and vectors of equal values are
    arbitrary within their span (at an orthogonal start, all of them). So the vectors are followed
    backwards from the last time; among equal values, the basis closest to the next one is taken.

    Parameters
    ----------
    matrices : Tensor, shape (T, m, n)
        The matrix at consecutive times.
    tol : float, optional
        Singular values count as equal if neighbours differ by at most this times the largest.

    Returns
    -------
    SingularTrajectories

    Raises
    ------
    TypeError, ValueError
        If the input is not a finite stack of at least one matrix, or the tolerance is negative.

    References
    ----------
    Lecture 002, "The Evolution of Singular Spaces in GD Iterates for DLNs".

    Examples
    --------
    >>> matrices = torch.stack([torch.diag(torch.tensor([2.0 - t, t])) for t in (0.0, 0.9, 1.5)])
    >>> singular_trajectories(matrices).values  # the second overtakes the first
    tensor([[0.0000, 2.0000],
            [0.9000, 1.1000],
            [1.5000, 0.5000]])
    """
    matrices = checks.tensor("matrices", matrices, ("T", "m", "n"))
    tol = checks.number("tol", tol, least=0)
    with one_thread(matrices[0].numel() < SMALL_LAYER):
        return _followed(matrices, tol)


def _followed(matrices, tol):
    lefts, values, rights = torch.linalg.svd(matrices, full_matrices=False)
    rights = rights.mT.contiguous()
    for time in range(len(matrices) - 2, -1, -1):
        left, value, right = lefts[time], values[time], rights[time]
        equal = _blocks_of_equal(value, tol)
        on_left, on_right = left.mT @ lefts[time + 1], right.mT @ rights[time + 1]
        both = (on_left + on_right) / 2
        # Left and right vectors turn together, except where their value is zero.
        zero = value <= max(matrices.shape[1:]) * torch.finfo(value.dtype).eps * value[0]
        overlaps = [(on_left, on_right) if zero[block.start] else (both, both) for block in equal]
        # How much of each next vector lies in the span of the equal values at this one.
        shared = torch.stack(
            [
                (one[block].square() + other[block].square()).sum(0)
                for (one, other), block in zip(overlaps, equal, strict=True)
            ]
        )
        sizes = torch.tensor([block.stop - block.start for block in equal])
        block_of = torch.arange(len(equal)).repeat_interleave(sizes)
        _, successor = linear_sum_assignment(-shared.cpu()[block_of].numpy())
        for pair, block in zip(overlaps, equal, strict=True):
            for vectors, overlap in zip((left, right), pair, strict=True):
                rotation = _polar(overlap[block][:, successor[block]])
                vectors[:, block] = vectors[:, block].clone() @ rotation
        order = torch.as_tensor(successor.argsort(), device=value.device)
        lefts[time], rights[time] = lefts[time][:, order], rights[time][:, order]
        values[time] = value[order]
    return SingularTrajectories(values=values, left=lefts, right=rights)


def _blocks_of_equal(values, tol):
    """Split positions of descending values into slices of equal ones."""
    gaps = (values[:-1] - values[1:] > tol * values[0]).nonzero().flatten() + 1
    return [slice(a, b) for a, b in pairwise([0, *gaps.tolist(), len(values)])]


def _polar(matrix):
    """Return the orthogonal matrix nearest to a square one."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def _setting(weights, X, Y, rank, reduction="sum"):
    """Check the assumptions; return weights, rank, and the loss as one of Phi alone."""
    weights = checked_chain(weights, finite=True)
    rank = None if rank is None else checks.integer("rank", rank, least=1)
    problem = LeastSquares.from_data(weights, X, Y, reduction)
    if problem.inputs is not None:
        raise checks.wrong("X", "whitened, X X^T a multiple of I", X)
    d, d_y = weights[0].shape[-1], weights[-1].shape[-2]
    if any(weight.shape[-1] != d for weight in weights) or d_y > d:
        shapes = [tuple(weight.shape[-2:]) for weight in weights]
        raise checks.wrong("weights", "d x d, the last at most that", shapes)
    if rank is None:
        values = torch.linalg.svdvals(problem.targets)
        seen = (values > _rounding(problem.targets) * values[..., :1]).sum(-1)
        rank = d_y if d_y < d else max(1, int(seen.max()))
    if 2 * rank >= d:
        raise checks.wrong("rank", f"less than half of the width, {d}", rank)
    if rank != d_y < d:
        raise checks.wrong("rank", f"the number of outputs, {d_y}, as that is below {d}", rank)
    scale = _scale(weights)
    if scale == 0:
        raise checks.wrong("weights", "other than zero at the start", f"{scale} for W1")
    for layer, weight in enumerate(weights, start=1):
        gram = weight @ weight.mT  # the identity also for a wide layer
        gap = gram / scale**2 - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        if not gap.abs().max() <= _rounding(weight):
            raise ValueError(
                f"weights must start as orthogonal matrices times one number, but W{layer} is not "
                f"orthogonal times {scale:.3g}, the scale of W1"
            )
    return weights, rank, problem


def _case(weights):
    return "square" if weights[-1].shape[-2] == weights[0].shape[-1] else "wide"


def _scale(weights):
    return weights[0].norm(dim=(-2, -1)).max().item() / weights[0].shape[-2] ** 0.5


def _rounding(matrix):
    """Return a bound for what rounding does to a product of such matrices."""
    return 1e3 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
