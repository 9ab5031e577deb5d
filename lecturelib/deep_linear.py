r"""Deep linear networks: how they start, what they compute, how gradient descent moves them.

A network is a list of weights :math:`W_1, \dots, W_L` with :math:`W_l` of shape
``(..., d_l, d_{l-1})``; it maps :math:`x` to :math:`W_L \cdots W_1 x`. Leading dimensions are
independent networks. As in the papers, and unlike features elsewhere in this library, samples are
*columns* here: ``X (d_x, N)`` and ``Y (d_y, N)``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import one_thread
from lecturelib.training import History, Recorder

__all__ = [
    "LeastSquares",
    "Trajectory",
    "checked_chain",
    "descend",
    "end_to_end",
    "gradient_descent",
    "init_weights",
    "is_whitened",
    "left_products",
    "moving_directions",
    "right_products",
]

# Steps between two looks at whether the loss is still finite, where nothing is recorded.
PATROL = 100

# Layers with fewer entries, all networks together, are multiplied faster by one thread.
SMALL_LAYER = 2**16


def init_weights(
    widths, scale=1.0, kind="orthogonal", *, batch_shape=(), generator=None, dtype=None, device=None
):
    r"""Draw the weights of a deep linear network.

    Parameters
    ----------
    widths : sequence of int
        :math:`(d_0, \dots, d_L)`, at least two numbers, all positive.
    scale : float or Tensor, optional
        :math:`\varepsilon > 0`; a tensor must broadcast to ``batch_shape``.
    kind : {"orthogonal", "normal", "uniform"}, optional
        Orthogonal: uniformly distributed with :math:`W^\top W = \varepsilon^2 I` or
        :math:`W W^\top = \varepsilon^2 I`, whichever fits. Normal and uniform: independent entries
        of mean zero.
    batch_shape : tuple of int, optional
        Leading dimensions of every weight: one network each.
    generator : torch.Generator, optional
        Source of randomness.
    dtype : torch.dtype, optional
        Floating type (default: torch's default). The theory holds to rounding: take float64.
    device : torch.device, optional
        Device (default: the generator's, else torch's default).

    Returns
    -------
    list of Tensor, shapes (\*batch_shape, d_l, d_{l-1})
        The weights, first layer first.

    Raises
    ------
    TypeError, ValueError
        For fewer than two widths, one that is not positive, a scale that is not positive, or
        another argument that is not as described.

    Notes
    -----
    All kinds have the same expected squared norm, :math:`\varepsilon^2 \min(d_l, d_{l-1})`: entries
    have variance :math:`\varepsilon^2 / \max(d_l, d_{l-1})`.

    References
    ----------
    Yaras et al. (2023), section 2; lecture 002, "Training DLNs via Gradient Descent (GD)" and
    "Effects of Initialization Type".

    Examples
    --------
    >>> W1, W2 = init_weights([5, 5, 2], scale=0.1, dtype=torch.float64)
    >>> torch.allclose(W2 @ W2.T, 0.01 * torch.eye(2, dtype=torch.float64))
    True
    >>> [tuple(W.shape) for W in init_weights([5, 5, 2], batch_shape=(32,))]
    [(32, 5, 5), (32, 2, 5)]
    """
    widths = checks.integers("widths", widths, least=1)
    if len(widths) < 2:
        raise checks.wrong("widths", "two or more integers", widths)
    kind = checks.choice("kind", kind, ["orthogonal", "normal", "uniform"])
    batch_shape = checks.shape("batch_shape", batch_shape)
    generator = checks.generator("generator", generator)
    dtype, device = checks.dtype("dtype", dtype), checks.device("device", device)
    if device is None and generator is not None:
        device = generator.device
    if isinstance(scale, Tensor | np.ndarray):
        scale = checks.tensor("scale", scale).to(dtype=dtype, device=device)
    else:
        scale = torch.tensor(checks.number("scale", scale, above=0), dtype=dtype, device=device)
    if not (scale > 0).all():
        raise checks.wrong("scale", "positive", scale.tolist())
    try:
        scale = scale.expand(batch_shape)
    except RuntimeError:
        fitting = f"of a shape that fits batch_shape={batch_shape}"
        raise checks.wrong("scale", fitting, scale) from None
    like = {"generator": generator, "dtype": dtype, "device": device}

    def draw(d_in, d_out):
        shape = (*batch_shape, d_out, d_in)
        if kind == "normal":
            return torch.randn(shape, **like) / math.sqrt(max(d_in, d_out))
        if kind == "uniform":  # variance of U(-b, b) is b^2 / 3
            return (2 * torch.rand(shape, **like) - 1) * math.sqrt(3 / max(d_in, d_out))
        tall = torch.randn((*batch_shape, max(d_in, d_out), min(d_in, d_out)), **like)
        axes, upper = torch.linalg.qr(tall)
        # QR alone is not uniform: a positive diagonal of R makes it so.
        axes = axes * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return axes if d_out >= d_in else axes.mT

    return [(scale[..., None, None] * draw(*shape)).contiguous() for shape in pairwise(widths)]


def end_to_end(weights):
    r"""Multiply the layers: :math:`W_{L:1} = W_L \cdots W_1`.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        Weights, first layer first.

    Returns
    -------
    Tensor, shape (..., d_L, d_0)

    Raises
    ------
    TypeError, ValueError
        If the weights are not floating-point matrices whose widths chain.

    Examples
    --------
    >>> W = [torch.full((2, 3), 1.0), torch.full((1, 2), 2.0)]
    >>> end_to_end(W)
    tensor([[4., 4., 4.]])
    """
    weights = checked_chain(weights)
    if weights[-1].shape[-2] <= weights[0].shape[-1]:  # start from the narrow end
        return reduce(torch.matmul, reversed(weights))
    return reduce(lambda product, weight: weight @ product, weights)


def is_whitened(X):
    r"""Say whether the samples are whitened, :math:`X X^\top = I`.

    Parameters
    ----------
    X : Tensor, shape (..., d_x, N)
        Samples as columns.

    Returns
    -------
    bool
        True if no entry of :math:`X X^\top - I`, of any network, exceeds 1e-10 (float32: 1e-5).

    Raises
    ------
    TypeError, ValueError
        If X is not a finite floating-point tensor of that shape.

    Examples
    --------
    >>> is_whitened(torch.eye(3)), is_whitened(2 * torch.eye(3)), is_whitened(torch.ones(3, 2))
    (True, False, False)
    """
    X = checks.tensor("X", X, ("…", "d_x", "N"))
    if X.shape[-2] > X.shape[-1]:  # too few samples to span the space
        return False
    gap = X @ X.mT - torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    return bool((gap.abs() <= (1e-10 if X.dtype == torch.float64 else 1e-5)).all())


@dataclass(frozen=True, eq=False)
class Trajectory(History):
    r"""What gradient descent recorded on its way.

    Attributes
    ----------
    steps : Tensor, shape (T,)
        Recorded steps, int64; the last one is where the descent ended.
    values : dict of str to Tensor
        ``"loss"``, shape (T, ...), of every network, without the weight decay; each metric; and
        the weights ``"W1"`` … ``"WL"`` if they were asked for. ``trajectory["loss"]`` is short for
        an entry.
    final : list of Tensor, shapes (..., d_l, d_{l-1})
        Weights at the last step.
    reached : Tensor, shape (...)
        First step at which the loss was at most ``tol``, int64; -1 where it never was, or where
        there was no ``tol``. The descent ends when all losses are at once.
    """

    final: list
    reached: Tensor

    def weights(self, index=-1):
        """Return the weights recorded at a position in ``steps``, first layer first."""
        return [self[f"W{layer}"][index] for layer in range(1, len(self.final) + 1)]


@dataclass(frozen=True)
class LeastSquares:
    r"""The loss :math:`s \big( \frac12 \|W_{L:1} X - Y\|_F^2 + \text{floor} \big)`, made small.

    Attributes
    ----------
    inputs : Tensor, shape (..., d_x, N), or None
        X, at most as many columns as rows; None if it is the identity.
    targets : Tensor, shape (..., d_y, N)
        Y.
    floor : Tensor or float
        What no weights can avoid.
    share : float
        s, one, or one over the number of entries of the targets; times c if X X^T was c I.
    """

    inputs: Tensor | None
    targets: Tensor
    floor: Tensor | float
    share: float

    @classmethod
    def from_data(cls, weights, X, Y, reduction="sum"):
        r"""Rotate samples away: inputs with :math:`X X^\top = c I` need :math:`\Phi / c` alone.

        More samples than dimensions are rotated into as many as dimensions, :math:`X^\top = Q R`:
        the loss is :math:`\frac12 \|W_{L:1} R^\top - Y Q\|_F^2` and a constant.

        Parameters
        ----------
        weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
            Of the networks that are to fit the data.
        X, Y : Tensor
            As in :func:`gradient_descent`.
        reduction : {"sum", "mean"}, optional
            As there.

        Returns
        -------
        LeastSquares

        Raises
        ------
        TypeError, ValueError
            As there.
        """
        weights = checked_chain(weights)
        d_y, d_x = weights[-1].shape[-2], weights[0].shape[-1]
        if checks.choice("reduction", reduction, ["sum", "mean"]) == "mean" and X is None:
            raise checks.wrong("reduction", '"sum" without X: the mean needs its N', reduction)
        if X is None:
            Y = checks.tensor("Y", Y, ("…", d_y, d_x), like=weights[0])
            _batch([*weights, Y])
            return cls(None, Y, 0.0, 1.0)
        X = checks.tensor("X", X, ("…", d_x, "N"), like=weights[0])
        Y = checks.tensor("Y", Y, ("…", d_y, X.shape[-1]), like=weights[0])
        _batch([*weights, X, Y])
        share = 1.0 if reduction == "sum" else 1 / (d_y * X.shape[-1])
        scale = 1.0 if is_whitened(X) else float(X.square().sum() * X.shape[-1] / X.numel())
        if scale > 0 and is_whitened(X / scale**0.5):
            targets = Y @ X.mT / scale
            floor = (Y - targets @ X).square().sum((-2, -1)) / (2 * scale)
            return cls(None, targets, floor, share * scale)
        if X.shape[-1] <= d_x:
            return cls(X, Y, 0.0, share)
        rotation, upper = torch.linalg.qr(X.mT)
        targets = Y @ rotation
        floor = (Y - targets @ rotation.mT).square().sum((-2, -1)) / 2
        return cls(upper.mT, targets, floor, share)


def gradient_descent(
    weights,
    X,
    Y,
    *,
    lr,
    steps,
    weight_decay=0.0,
    momentum=0.0,
    reduction="sum",
    metrics=None,
    record_weights=False,
    every=1,
    tol=None,
):
    r"""Run gradient descent on :math:`\frac12 \|W_{L:1} X - Y\|_F^2`, gradients by hand.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        Initial weights, not changed. Leading dimensions, here or in ``X``, ``Y`` or ``lr``, are
        independent networks.
    X : Tensor, shape (..., d_x, N), or None
        Inputs as columns; None says that they are whitened and that ``Y`` holds :math:`\Phi`.
    Y : Tensor, shape (..., d_y, N)
        Targets; without ``X`` the matrix :math:`\Phi = Y X^\top`, shape (..., d_y, d_x).
    lr : float, Tensor, or sequence of L of them
        Learning rate :math:`\eta \ge 0`. A tensor must broadcast to the leading dimensions: one
        rate per network. A sequence gives one rate per layer; 0 freezes a layer.
    steps : int
        Steps, not negative.
    weight_decay : float, optional
        :math:`\lambda \ge 0`.
    momentum : float, optional
        :math:`\mu` in [0, 1), heavy ball as in :class:`torch.optim.SGD`.
    reduction : {"sum", "mean"}, optional
        Whether the loss is the sum above, or that divided by the :math:`d_y N` entries of ``Y``.
    metrics : dict of str to callable, optional
        ``name: metric(weights)``, recorded beside the loss.
    record_weights : bool, optional
        Record the weights as well: :math:`T \sum_l d_l d_{l-1}` numbers for each network.
    every : int or sequence of int, optional
        Steps between two records, or the steps to record. The last one always is.
    tol : float, optional
        End at the first step at which all losses are at most this.

    Returns
    -------
    Trajectory

    Raises
    ------
    TypeError, ValueError
        If widths do not chain or do not fit the data, a number is out of range, or the mean is
        asked for without ``X``.
    FloatingPointError
        If a loss stops being finite; the message names step and learning rate.

    Notes
    -----
    With :math:`v_l = 0` at the start, a step is

    .. math::

        v_l \leftarrow \mu v_l + \nabla_{W_l} \ell + \lambda W_l, \qquad
        W_l \leftarrow W_l - \eta v_l .

    The gradient of layer l is the product of what stands to its left and what to its right,

    .. math::

        \nabla_{W_l} \ell
            = W_{L:l+1}^\top \, \big[ (W_{L:1} X - Y)\, X^\top W_{l-1:1}^\top \big] .

    Both factors have :math:`d_y` rows, so that a step costs :math:`O(L d^2 d_y)`. It does not grow
    with N: see :meth:`LeastSquares.from_data`.

    A factor on the output, :math:`\alpha W_{L:1}`, is the target :math:`Y / \alpha` with the rate
    :math:`\alpha^2 \eta`. Networks of several depths fit in one batch: fill the shallow ones with
    identity layers and give these, by a tensor with zeros, no learning rate.

    References
    ----------
    Yaras et al. (2023), equation 3; lecture 002, "Training DLNs via Gradient Descent (GD)".

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> W = init_weights([4, 4, 4, 2], 0.5, generator=generator, dtype=torch.float64)
    >>> X, Y = torch.eye(4, dtype=torch.float64), torch.eye(2, 4, dtype=torch.float64)
    >>> path = gradient_descent(W, X, Y, lr=0.1, steps=500, record_weights=True)
    >>> bool(path["loss"][-1] < 1e-9), path["W1"].shape
    (True, torch.Size([501, 4, 4]))
    """
    problem = LeastSquares.from_data(weights, X, Y, reduction)
    options = {"weight_decay": weight_decay, "momentum": momentum, "metrics": metrics}
    options |= {"record_weights": record_weights, "every": every, "tol": tol}
    return descend(weights, problem, lr=lr, steps=steps, **options)


def descend(
    weights,
    problem,
    *,
    lr,
    steps,
    weight_decay=0.0,
    momentum=0.0,
    metrics=None,
    record_weights=False,
    every=1,
    tol=None,
):
    """Run :func:`gradient_descent` on a problem that is made small already.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        Initial weights, not changed.
    problem : LeastSquares
        The loss.
    lr, steps, weight_decay, momentum, metrics, record_weights, every, tol
        As there.

    Returns
    -------
    Trajectory

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As there.

    Examples
    --------
    >>> problem = LeastSquares(None, torch.tensor([[2.0]]), 0.0, 1.0)  # half of (w - 2)^2
    >>> descend([torch.tensor([[0.0]])], problem, lr=0.5, steps=2)["loss"]
    tensor([2.0000, 0.5000, 0.1250], dtype=torch.float64)
    """
    weights = checked_chain(weights, finite=True)
    if not isinstance(problem, LeastSquares):
        raise checks.wrong("problem", "a LeastSquares", problem, TypeError)
    weight_decay = checks.number("weight_decay", weight_decay, least=0)
    momentum = checks.number("momentum", momentum, least=0, below=1)
    tol = None if tol is None else checks.number("tol", tol, least=0)
    metrics = checks.functions("metrics", metrics)
    if checks.flag("record_weights", record_weights):
        layers = {f"W{i + 1}": lambda weights, i=i: weights[i] for i in range(len(weights))}
        metrics = metrics | layers
    recorder = Recorder(steps, every, metrics)
    per_layer = _checked_rates(lr, len(weights))
    batch = _batch([*weights, problem.inputs, problem.targets], per_layer)
    rates = _rates(per_layer, batch, weights[0])

    # One leading dimension at most, so that a product is one call: without any it is mm, else bmm.
    flat = [_flat(weight.detach().expand(*batch, *weight.shape[-2:])).clone() for weight in weights]
    inputs, targets = (
        None if data is None else _flat(data.expand(*batch, *data.shape[-2:]))
        for data in (problem.inputs, problem.targets)
    )
    velocities = [torch.zeros_like(weight) for weight in flat] if momentum else None
    current = [weight.view(*batch, *weight.shape[-2:]) for weight in flat]
    reached = torch.full(batch, -1, device=flat[0].device)
    share = problem.share

    with one_thread(max(weight.numel() for weight in flat) < SMALL_LAYER):
        for step in range(recorder.end + 1):
            lefts, residual = left_products(flat, inputs, targets)
            last, due, patrol = step == recorder.end, recorder.due(step), step % PATROL == 0
            if due or patrol or tol is not None:
                squares = residual.square().sum((-2, -1)).view(batch)
                loss = share * (squares / 2 + problem.floor)
                if tol is not None and (loss <= tol).any():
                    reached[(reached < 0) & (loss <= tol)] = step
                    last = last or bool((loss <= tol).all())
                if (due or patrol or last) and not loss.isfinite().all():
                    raise FloatingPointError(_diverged(loss, step, lr))
                if due or last:
                    recorder.record(step, current, loss=loss)
            if last:
                break
            rights = right_products(flat, inputs, residual)
            _update(flat, lefts, rights, rates, share, weight_decay, momentum, velocities)

    history = recorder.history()
    return Trajectory(history.steps, history.values, final=current, reached=reached)


def moving_directions(weights, scale, left, right):
    """Return the input directions that see Phi, or reach it, of orthogonal weights.

    Both conditions of the law of parsimony, for the leading singular vectors of Phi.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        Initial weights: ``scale`` times orthogonal matrices.
    scale : float
        Their scale.
    left, right : Tensor, shapes (..., d_y, r) and (..., d, r)
        Singular vectors of Phi, as columns.

    Returns
    -------
    Tensor, shape (..., d, 2r)
        Columns that span the directions.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> moving_directions([torch.eye(2)], 1.0, torch.eye(2)[:, :1], torch.eye(2)[:, 1:])
    tensor([[0., 1.],
            [1., 0.]])
    """
    weights = checked_chain(weights)
    d_y, d = weights[-1].shape[-2], weights[0].shape[-1]
    scale = checks.number("scale", scale, above=0)
    left = checks.tensor("left", left, ("…", d_y, "r"), like=weights[0])
    right = checks.tensor("right", right, ("…", d, "r"), like=weights[0])
    backwards = end_to_end(weights).mT @ left / scale ** len(weights)
    return torch.cat([right.expand(*backwards.shape[:-2], -1, -1), backwards], dim=-1)


def left_products(weights, inputs, targets):
    """Multiply from the output: what stands to the left of each layer, and the residual.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (d_l, d_{l-1}) or (S, d_l, d_{l-1})
        Weights, first layer first.
    inputs : Tensor, shape (d_0, N) or (S, d_0, N), or None
        X; None if it is the identity.
    targets : Tensor or number
        Y, or 0.

    Returns
    -------
    lefts : list of Tensor
        W_{L:l+1} for l = 1 … L-1.
    residual : Tensor
        W_{L:1} X - Y.

    Examples
    --------
    >>> left_products([torch.eye(1), 3 * torch.eye(1)], None, torch.eye(1))
    ([tensor([[3.]])], tensor([[2.]]))
    """
    lefts = [weights[-1]]
    for weight in reversed(weights[1:-1]):
        lefts.append(_product(lefts[-1], weight))
    outputs = _product(lefts[-1], weights[0]) if len(weights) > 1 else weights[0]
    outputs = outputs if inputs is None else _product(outputs, inputs)
    return lefts[: len(weights) - 1][::-1], outputs - targets


def right_products(weights, inputs, residual):
    """Multiply from the input: what stands to the right of each layer in its gradient.

    Parameters
    ----------
    weights, inputs
        As in :func:`left_products`.
    residual : Tensor
        E = W_{L:1} X - Y.

    Returns
    -------
    list of Tensor
        E Xᵀ W_{l-1:1}ᵀ for l = 1 … L: the gradient is W_{L:l+1}ᵀ times it.

    Examples
    --------
    >>> right_products([2 * torch.eye(1), 3 * torch.eye(1)], None, torch.eye(1))
    [tensor([[1.]]), tensor([[2.]])]
    """
    rights = [residual if inputs is None else _product(residual, inputs.mT)]
    for weight in weights[:-1]:
        rights.append(_product(rights[-1], weight.mT))
    return rights


def _update(weights, lefts, rights, rates, share, decay, momentum, velocities):
    """Take one step in place. The last layer has nothing to its left."""
    for layer, (weight, right, rate) in enumerate(zip(weights, rights, rates, strict=True)):
        left = lefts[layer].mT if layer < len(lefts) else None
        if momentum:
            velocity = velocities[layer].mul_(momentum)
            _add_product(velocity, left, right, share)
            if decay:
                velocity.add_(weight, alpha=decay)
            weight.sub_(rate * velocity)
            continue
        if decay:
            weight.mul_(1 - rate * decay)
        if isinstance(rate, Tensor):
            _add_product(weight, left, rate * right, -share)
        else:
            _add_product(weight, left, right, -rate * share)


def _product(left, right):
    return torch.mm(left, right) if left.ndim == 2 else torch.bmm(left, right)


def _add_product(total, left, right, factor):
    if left is None:
        total.add_(right, alpha=factor)
    elif total.ndim == 2:
        total.addmm_(left, right, alpha=factor)
    else:
        total.baddbmm_(left, right, alpha=factor)


def checked_chain(weights, finite=False):
    """Return the weights of a network as a list, after checking that their widths chain.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., d_l, d_{l-1})
        What was given.
    finite : bool, optional
        Whether to look at the entries.

    Returns
    -------
    list of Tensor

    Raises
    ------
    TypeError, ValueError
        If they are not floating-point matrices of one type, at least one, or their widths do not
        chain.

    Examples
    --------
    >>> checked_chain([torch.ones(3, 2), torch.ones(4, 2)])
    Traceback (most recent call last):
    ...
    ValueError: weights must have widths that chain, got W1 of shape (3, 2) and W2 of shape (4, 2)
    """
    finite = checks.flag("finite", finite)
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise checks.wrong("weights", "a sequence of matrices", weights, TypeError)
    if not weights:
        raise checks.wrong("weights", "one matrix or more", weights)
    chain = []
    for index, weight in enumerate(weights):
        like = chain[0] if chain else None
        shape = ("…", "d_out", "d_in")
        chain.append(checks.tensor(f"weights[{index}]", weight, shape, finite=finite, like=like))
    for layer, (before, after) in enumerate(pairwise(chain), start=1):
        if before.shape[-2] != after.shape[-1]:
            raise ValueError(
                f"weights must have widths that chain, got W{layer} of shape "
                f"{tuple(before.shape)} and W{layer + 1} of shape {tuple(after.shape)}"
            )
    _batch(chain)
    return chain


def _checked_rates(lr, depth):
    """Return one learning rate for each layer, a float or a tensor."""
    if isinstance(lr, Sequence) and not isinstance(lr, str) and len(lr) != depth:
        raise checks.wrong("lr", f"one number, or one for each of the {depth} layers", lr)
    rates = list(lr) if isinstance(lr, Sequence) and not isinstance(lr, str) else [lr] * depth
    for index, rate in enumerate(rates):
        if isinstance(rate, Tensor | np.ndarray) and rate.ndim:
            rates[index] = checks.tensor("lr", rate)
            if not (rates[index] >= 0).all():
                raise checks.wrong("lr", "not negative", rate.tolist())
        else:
            rates[index] = checks.number("lr", rate, least=0)
    return rates


def _batch(matrices, rates=()):
    """Leading dimensions of all that makes networks; of the matrices, some may be None."""
    shapes = [matrix.shape[:-2] for matrix in matrices if matrix is not None]
    shapes += [rate.shape for rate in rates if isinstance(rate, Tensor)]
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"leading dimensions of weights, X, Y and lr must broadcast, got {given}"
        ) from None


def _flat(matrices):
    return matrices if matrices.ndim == 2 else matrices.reshape(-1, *matrices.shape[-2:])


def _rates(rates, batch, like):
    """One learning rate per layer: a float, or a tensor (batch, 1, 1)."""
    return [
        rate.to(like).expand(batch).reshape(-1, 1, 1) if isinstance(rate, Tensor) else rate
        for rate in rates
    ]


def _diverged(loss, step, lr):
    where = ""
    if loss.ndim:
        lost = (~loss.isfinite()).nonzero().tolist()
        where = f" in network {', '.join(str(tuple(index)) for index in lost[:5])}"
    return f"gradient descent diverged by step {step}{where} with lr={lr}: try a smaller one"
