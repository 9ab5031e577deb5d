"""A solver that moves many points at once: batched L-BFGS, and gradient descent."""

import collections
import math
from functools import partial

import torch

from lecturelib import checks
from lecturelib.device import one_thread
from lecturelib.training import Recorder
from lecturelib.unconstrained_features.model import (
    SMALL,
    UnconstrainedFeatures,
    flat,
    split,
)


def minimize(
    model, *, method="lbfgs", steps=2000, tol=1e-8, lr=1.0, memory=5, metrics=None, every=1
):
    r"""Minimise the objective from where the model stands, all points of its batch together.

    Parameters
    ----------
    model : UnconstrainedFeatures
        Changed in place.
    method : {"lbfgs", "gd"}, optional
        L-BFGS with a backtracking line search, or gradient descent with a constant step. Both keep
        non-negative features non-negative by projection.
    steps : int, optional
        Largest number of steps.
    tol : float, optional
        Stop a point when the norm of its (projected) gradient is below this multiple of the norm of
        the penalties' gradient, or below 1e-14. In float32 it is at least 1e-5.
    lr : float, optional
        Learning rate of gradient descent.
    memory : int, optional
        Number of steps from which L-BFGS builds its picture of the curvature.
    metrics : dict of str to callable, optional
        ``name: metric(model)``. The objective is always recorded, as ``"objective"``.
    every : int or sequence of int, optional
        Steps between two records, or the steps to record. The last step always is one.

    Returns
    -------
    lecturelib.training.History
        What was recorded.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    FloatingPointError
        If gradient descent diverges; the message names the learning rate.

    Notes
    -----
    Every vector of L-BFGS has one row for each point, and the points share nothing but the calls.
    The projection is Bertsekas's: coordinates at zero whose gradient would make them negative are
    taken out of the direction, then the step is projected.

    References
    ----------
    Nocedal and Wright (2006), algorithm 7.4; Bertsekas (1982) for the projection.

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem, global_minimizer
    >>> problem = Problem(3, samples_per_class=5, dim=4, weight_decay=0.01)
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = UnconstrainedFeatures(
    ...     problem, batch_shape=(8,), generator=generator, dtype=torch.float64
    ... )
    >>> history = minimize(model)
    >>> history["objective"].shape == (len(history.steps), 8)
    True
    >>> gap = model.objective() / global_minimizer(problem).objective - 1
    >>> bool(gap.abs().max() < 1e-12)
    True
    """
    if not isinstance(model, UnconstrainedFeatures):
        raise checks.wrong("model", "an UnconstrainedFeatures", model, TypeError)
    method = checks.choice("method", method, ["lbfgs", "gd"])
    tol = checks.number("tol", tol, least=0)
    lr = checks.number("lr", lr, above=0)
    memory = checks.integer("memory", memory, least=1)
    recorder = Recorder(steps, every, metrics)

    evaluate = partial(_value_and_gradient, model.problem, model.labels)
    penalties, floor = _penalties_and_floor(model)
    point = flat(model)
    point = point.reshape(-1, point.shape[-1])
    precision = max(tol, 100 * torch.finfo(point.dtype).eps)

    with one_thread(point.numel() < SMALL):
        value, gradient = evaluate(point)
        solver = _Lbfgs(memory, value)
        stuck = torch.zeros_like(value, dtype=torch.bool)
        for step in range(recorder.end + 1):
            # What a bound holds back is no force: Bertsekas's set of free coordinates.
            held = None if floor is None else (point <= floor) & (gradient > 0)
            force = gradient if held is None else gradient.masked_fill(held, 0.0)
            enough = (precision * (penalties * point).norm(dim=-1)).clamp_min(1e-14)
            moving = (force.norm(dim=-1) > enough) & ~stuck
            last = step == recorder.end or not moving.any()
            if last or recorder.due(step):
                _move(model, point)
                recorder.record(step, model, objective=value.view(model.batch_shape))
            if last:
                break
            if method == "gd":
                point = point - torch.where(moving[:, None], lr * force, 0.0)
                point = point if floor is None else torch.maximum(point, floor)
                value, gradient = evaluate(point)
                if not value.isfinite().all():
                    raise FloatingPointError(
                        f"gradient descent diverged in step {step + 1}: "
                        f"try a smaller one than lr={lr}"
                    )
                continue
            direction = solver.direction(force)
            if not moving.all():
                direction.masked_fill_(~moving[:, None], 0.0)
            if held is not None:
                direction.masked_fill_(held, 0.0)
            new, new_value, new_gradient, failed = _line_search(
                evaluate, point, value, gradient, direction, floor
            )
            stuck |= failed & solver.fresh  # not even steepest descent finds a lower point
            change = new_gradient - gradient
            if held is not None:
                change.masked_fill_(held, 0.0)
            solver.remember(new - point, change, failed)
            point, value, gradient = new, new_value, new_gradient
    return recorder.history()


def _value_and_gradient(problem, labels, point):
    """Return the objective (S,) and its gradient (S, p) at flat points (S, p)."""
    decay, (W, H, b) = problem.weight_decay, split(problem, point)
    logits = H @ W.mT if b is None else torch.baddbmm(b[:, None], H, W.mT)
    value, G = problem.loss.value_and_gradient(logits, labels)
    parts = [
        torch.baddbmm(W, G.mT, H, beta=decay.W).flatten(1),
        torch.baddbmm(H, G, W, beta=decay.H).flatten(1),
    ]
    if b is not None:
        parts.append(G.sum(1) + decay.b * b)
    for weight, variable in ((decay.W, W), (decay.H, H), (decay.b, b)):
        if variable is not None:
            value = value + weight / 2 * _dot(variable.flatten(1), variable.flatten(1))[:, 0]
    return value, torch.cat(parts, 1)


def _penalties_and_floor(model):
    """Return the weight decay of each flat variable, and its lower bound; None if there is none."""
    decay, lead = model.problem.weight_decay, len(model.batch_shape)
    weights, bounds = (decay.W, decay.H, decay.b), (-math.inf, 0.0, -math.inf)
    sizes = [math.prod(variable.shape[lead:]) for variable in model.parameters()]

    def spread(numbers):
        each = [model.W.new_full((size,), x) for size, x in zip(sizes, numbers, strict=False)]
        return torch.cat(each).detach()

    return spread(weights), (spread(bounds) if model.problem.nonnegative else None)


@torch.no_grad()
def _move(model, point):
    """Move the variables of a model to flat points (S, p)."""
    parts = split(model.problem, point.view(*model.batch_shape, -1))
    for variable, part in zip(model.parameters(), parts, strict=False):
        variable.copy_(part)


class _Lbfgs:
    """The inverse Hessian at each point as its last steps suggest it."""

    def __init__(self, memory, value):
        self.pairs = collections.deque(maxlen=memory)  # of steps, changes of the gradient, 1 / sᵀy
        self.fresh = torch.ones_like(value, dtype=torch.bool)  # per point: is nothing remembered?
        self.size = torch.ones_like(value)[:, None]  # sᵀy / yᵀy of the newest convex step

    def direction(self, force):
        """Descent direction: the two-loop recursion, for all points (S, p) at once."""
        direction, weights = -force, []
        for step, change, rho in reversed(self.pairs):
            weights.append(rho * _dot(step, direction))
            direction.addcmul_(weights[-1], change, value=-1)
        unit = 1 / force.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(force.dtype).tiny)
        direction.mul_(torch.where(self.fresh[:, None], unit, self.size))
        for step, change, rho in self.pairs:
            direction.addcmul_(weights.pop() - rho * _dot(change, direction), step)
        return direction

    def remember(self, step, change, failed):
        """Add a step and what it did to the gradient; forget everything where the search failed."""
        curvature, square = _dot(step, change), _dot(change, change)
        convex = curvature > 1e-10 * (_dot(step, step) * square).sqrt()
        self.size = torch.where(convex, curvature / square, self.size)
        rho = torch.where(convex, 1 / curvature, 0.0)
        for *_, old in self.pairs:
            old[failed] = 0.0
        self.pairs.append((step, change, rho))
        self.fresh = (self.fresh & ~convex[:, 0]) | failed


def _dot(left, right):
    """Inner products of rows, shape (S, 1)."""
    return torch.linalg.vecdot(left, right)[:, None]


def _line_search(evaluate, point, value, gradient, direction, floor):
    """Step along the direction; halve the steps of those points whose objective falls too little.

    Returns points, objectives, gradients, and which found no lower point and stay.
    """

    def attempt(point, value, gradient, direction, length):
        trial = torch.add(point, direction, alpha=length)
        promised = length * _dot(gradient, direction)[:, 0]
        if floor is not None:
            trial = torch.maximum(trial, floor)
            promised = _dot(gradient, trial - point)[:, 0]
        trial_value, trial_gradient = evaluate(trial)
        rounding = 4 * torch.finfo(value.dtype).eps * value.abs()
        return trial, trial_value, trial_gradient, trial_value <= value + 1e-4 * promised + rounding

    here = point, value, gradient, direction
    *found, good = attempt(*here, 1.0)
    rows = (~good).nonzero()[:, 0]
    for halvings in range(1, 40):
        if len(rows) == 0:
            break
        *again, good = attempt(*(part[rows] for part in here), 0.5**halvings)
        for part, better in zip(found, again, strict=True):
            part[rows[good]] = better[good]
        rows = rows[~good]
    for part, old in zip(found, here, strict=False):
        part[rows] = old[rows]
    failed = torch.zeros_like(value, dtype=torch.bool)
    failed[rows] = True
    return *found, failed
