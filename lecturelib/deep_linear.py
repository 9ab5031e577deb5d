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
from numbers import Integral

import torch
from torch import Tensor

__all__ = ["Trajectory", "end_to_end", "gradient_descent", "init_weights", "is_whitened"]

# Steps between two looks at whether the loss is still finite, where nothing is recorded.
PATROL = 100


def init_weights(
    widths,
    scale=1.0,
    kind="orthogonal",
    *,
    batch_shape=(),
    generator=None,
    dtype=None,
    device=None,
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
    ValueError
        For fewer than two widths, one that is not positive, a scale that is not positive, or an
        unknown kind.

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
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths must be two or more positive numbers, got {list(widths)}")
    dtype = dtype or torch.get_default_dtype()
    if device is None and generator is not None:
        device = generator.device
    scale = torch.as_tensor(scale, dtype=dtype, device=device)
    if not ((scale > 0) & scale.isfinite()).all():
        raise ValueError(f"scale must be positive, got {scale.tolist()}")
    try:
        scale = scale.expand(batch_shape)
    except RuntimeError:
        raise ValueError(
            f"scale of shape {tuple(scale.shape)} does not broadcast to batch_shape {batch_shape}"
        ) from None
    like = {"generator": generator, "dtype": dtype, "device": device}

    def draw(d_in, d_out):
        shape = (*batch_shape, d_out, d_in)
        if kind == "normal":
            return torch.randn(shape, **like) / math.sqrt(max(d_in, d_out))
        if kind == "uniform":  # variance of U(-b, b) is b^2 / 3
            return (2 * torch.rand(shape, **like) - 1) * math.sqrt(3 / max(d_in, d_out))
        if kind == "orthogonal":
            tall = torch.randn((*batch_shape, max(d_in, d_out), min(d_in, d_out)), **like)
            axes, upper = torch.linalg.qr(tall)
            # QR alone is not uniform: a positive diagonal of R makes it so.
            axes = axes * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
            return axes if d_out >= d_in else axes.mT
        raise ValueError(f'kind must be "orthogonal", "normal" or "uniform", got {kind!r}')

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
    ValueError
        If the widths do not chain.

    Examples
    --------
    >>> W = [torch.full((2, 3), 1.0), torch.full((1, 2), 2.0)]
    >>> end_to_end(W)
    tensor([[4., 4., 4.]])
    """
    _check_chain(weights)
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
        True if no entry of :math:`X X^\top - I`, in the whole batch, exceeds 1e-10 (in float32:
        1e-5).

    Examples
    --------
    >>> is_whitened(torch.eye(3)), is_whitened(2 * torch.eye(3)), is_whitened(torch.ones(3, 2))
    (True, False, False)
    """
    if X.shape[-2] > X.shape[-1]:  # too few samples to span the space
        return False
    gap = X @ X.mT - torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    return bool((gap.abs() <= (1e-10 if X.dtype == torch.float64 else 1e-5)).all())


@dataclass(frozen=True)
class Trajectory:
    r"""What gradient descent recorded on its way.

    Attributes
    ----------
    steps : Tensor, shape (T,)
        Recorded steps, int64; the last one is where the descent ended.
    losses : Tensor, shape (T, ...)
        Loss of every network at these steps, without the weight decay.
    final : list of Tensor, shapes (..., d_l, d_{l-1})
        Weights at the last step.
    records : dict of str to Tensor
        Each recorded function, shape (T, ...); ``trajectory["name"]`` is short for its entry.
        Where no functions were given: ``"W1"`` … ``"WL"``, the weights.
    reached : Tensor, shape (...)
        First step at which the loss was at most ``tol``, int64; -1 where it never was, or where
        there was no ``tol``. The descent ends when all losses are at once.
    """

    steps: Tensor
    losses: Tensor
    final: list
    records: dict
    reached: Tensor

    def __getitem__(self, name):
        return self.records[name]

    def weights(self, index=-1):
        """Return the weights recorded at a position in ``steps``, first layer first."""
        return [self.records[f"W{layer}"][index] for layer in range(1, len(self.final) + 1)]


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
    record=None,
    record_every=1,
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
    record : dict of str to callable, optional
        ``name: function(weights)`` → Tensor, recorded in place of the weights.
    record_every : int or sequence of int, optional
        Steps between two records, or the steps to record. The last one always is.
    tol : float, optional
        End at the first step at which all losses are at most this.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
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

    Both factors have :math:`d_y` rows, so that a step costs :math:`O(L d^2 d_y)`.

    More samples than dimensions are first rotated into as many as dimensions,
    :math:`X^\top = Q R`: the loss is :math:`\frac12 \|W_{L:1} R^\top - Y Q\|_F^2` and a constant.
    Whitened inputs need :math:`\Phi` alone. So the cost of a step does not grow with N.

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
    >>> path = gradient_descent(W, X, Y, lr=0.1, steps=500)
    >>> bool(path.losses[-1] < 1e-9), path["W1"].shape
    (True, torch.Size([501, 4, 4]))
    """
    _check_chain(weights)
    inputs, targets, floor, entries = _rotated(X, Y, weights)
    share = _share(reduction, entries)
    options = (lr, steps, weight_decay, momentum, record, record_every, tol)
    return _descend(weights, inputs, targets, floor, share, *options)


def _descend(
    weights, inputs, targets, floor, share, lr, steps, decay, momentum, record, record_every, tol
):
    """Descend on ``share`` times (half the squared error, plus ``floor``)."""
    if steps < 0 or decay < 0 or not 0 <= momentum < 1:
        raise ValueError(
            "need steps >= 0, weight_decay >= 0 and 0 <= momentum < 1, "
            f"got {steps}, {decay}, {momentum}"
        )
    batch = _batch(weights, inputs, targets, lr)
    rates = _rates(lr, batch, weights)
    planned = _planned(record_every, steps)
    if record is None:
        record = {f"W{i + 1}": lambda weights, i=i: weights[i] for i in range(len(weights))}

    # One leading dimension at most, so that a product is one call: without any it is mm, else bmm.
    flat = [_flat(weight.detach().expand(*batch, *weight.shape[-2:])).clone() for weight in weights]
    inputs, targets = (
        None if data is None else _flat(data.expand(*batch, *data.shape[-2:]))
        for data in (inputs, targets)
    )
    velocities = [torch.zeros_like(weight) for weight in flat] if momentum else None
    current = [weight.view(*batch, *weight.shape[-2:]) for weight in flat]
    reached = torch.full(batch, -1, device=flat[0].device)
    taken, losses, values = [], [], {name: [] for name in record}

    for step in range(steps + 1):
        lefts, residual = _lefts(flat, inputs, targets)
        last, due = step == steps, step in planned or step % PATROL == 0
        if last or due or tol is not None:
            loss = share * (residual.square().sum((-2, -1)).view(batch) / 2 + floor)
            if tol is not None and (loss <= tol).any():
                reached[(reached < 0) & (loss <= tol)] = step
                last = last or bool((loss <= tol).all())
            if (last or due) and not loss.isfinite().all():
                raise FloatingPointError(_diverged(loss, step, lr))
            if last or step in planned:
                taken.append(step)
                losses.append(loss)
                for name, function in record.items():
                    values[name].append(function(current).clone())  # weights change in place
        if last:
            break
        rights = _rights(flat, inputs, residual)
        _update(flat, lefts, rights, rates, share, decay, momentum, velocities)

    return Trajectory(
        steps=torch.tensor(taken),
        losses=torch.stack(losses),
        final=current,
        records={name: torch.stack(entries) for name, entries in values.items()},
        reached=reached,
    )


def _moving_directions(weights, scale, left, right):
    """Input directions that see Phi, or reach it: (..., d, 2r), of orthogonal weights.

    Both conditions of the law of parsimony, for the leading singular vectors of Phi as columns.
    """
    backwards = end_to_end(weights).mT @ left / scale ** len(weights)
    return torch.cat([right.expand(*backwards.shape[:-2], -1, -1), backwards], dim=-1)


def _lefts(weights, inputs, targets):
    """Products W_{L:l+1} for l = 1 .. L-1, then the residual W_{L:1} X - Y."""
    lefts = [weights[-1]]
    for weight in reversed(weights[1:-1]):
        lefts.append(_product(lefts[-1], weight))
    outputs = _product(lefts[-1], weights[0]) if len(weights) > 1 else weights[0]
    outputs = outputs if inputs is None else _product(outputs, inputs)
    return lefts[: len(weights) - 1][::-1], outputs - targets


def _rights(weights, inputs, residual):
    """Products (W_{L:1} X - Y) X^T W_{l-1:1}^T for l = 1 .. L."""
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


def _batch(weights, inputs, targets, lr):
    """Leading dimensions of all that makes networks."""
    rates = lr if isinstance(lr, Sequence) else [lr]
    shapes = [m.shape[:-2] for m in (*weights, inputs, targets) if m is not None]
    shapes += [rate.shape for rate in rates if isinstance(rate, Tensor)]
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"leading dimensions do not broadcast: {given}") from None


def _flat(matrices):
    return matrices if matrices.ndim == 2 else matrices.reshape(-1, *matrices.shape[-2:])


def _check_chain(weights):
    if not isinstance(weights, Sequence) or not weights:
        raise ValueError("weights must be a sequence of at least one matrix")
    for layer, (before, after) in enumerate(pairwise(weights), start=1):
        if before.shape[-2] != after.shape[-1]:
            raise ValueError(
                f"widths do not chain: W{layer} has shape {tuple(before.shape)} and "
                f"W{layer + 1} {tuple(after.shape)}"
            )


def _rotated(X, Y, weights):
    """Return inputs (None if whitened), targets, the loss nobody can avoid, the entries of Y."""
    d_y, d_x = weights[-1].shape[-2], weights[0].shape[-1]
    expected = (d_y, d_x) if X is None else (d_y, X.shape[-1])
    if Y.shape[-2:] != expected or (X is not None and X.shape[-2] != d_x):
        given = "no X" if X is None else f"X {tuple(X.shape)}"
        raise ValueError(
            f"weights from {d_x} to {d_y} dimensions do not fit {given} and Y {tuple(Y.shape)}: "
            "samples are columns"
        )
    if X is None:
        return None, Y, 0.0, None
    entries = d_y * X.shape[-1]
    if is_whitened(X):
        targets = Y @ X.mT
        return None, targets, (Y - targets @ X).square().sum((-2, -1)) / 2, entries
    if X.shape[-1] <= d_x:
        return X, Y, 0.0, entries
    rotation, upper = torch.linalg.qr(X.mT)
    targets = Y @ rotation
    return upper.mT, targets, (Y - targets @ rotation.mT).square().sum((-2, -1)) / 2, entries


def _share(reduction, entries):
    if reduction not in ("sum", "mean"):
        raise ValueError(f'reduction must be "sum" or "mean", got {reduction!r}')
    if reduction == "sum":
        return 1.0
    if entries is None:
        raise ValueError('reduction="mean" divides by the entries of Y, which needs X')
    return 1 / entries


def _rates(lr, batch, weights):
    """One learning rate per layer: a float, or a tensor (batch, 1, 1)."""
    per_layer = list(lr) if isinstance(lr, Sequence) else [lr] * len(weights)
    if len(per_layer) != len(weights):
        raise ValueError(f"got {len(per_layer)} learning rates for {len(weights)} layers")
    for rate in per_layer:
        if not (torch.as_tensor(rate) >= 0).all():
            raise ValueError(f"learning rates must not be negative, got {lr}")
    return [
        rate.to(weights[0]).expand(batch).reshape(-1, 1, 1)
        if isinstance(rate, Tensor) and rate.ndim
        else float(rate)
        for rate in per_layer
    ]


def _planned(record_every, steps):
    if isinstance(record_every, Integral):
        if record_every < 1:
            raise ValueError(f"record_every must be positive, got {record_every}")
        return range(0, steps + 1, record_every)
    planned = {int(step) for step in record_every}
    if planned and not (min(planned) >= 0 and max(planned) <= steps):
        raise ValueError(f"steps to record must lie in 0 .. {steps}, got {sorted(planned)}")
    return planned


def _diverged(loss, step, lr):
    where = ""
    if loss.ndim:
        lost = (~loss.isfinite()).nonzero().tolist()
        where = f" in network {', '.join(str(tuple(index)) for index in lost[:5])}"
    return f"gradient descent diverged by step {step}{where} with lr={lr}: try a smaller one"
