"""Right and wrong answers that the hidden tests of assignment 2 must tell apart."""

import math

import numpy as np
import scipy.linalg
import torch
from scipy.optimize import brentq

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw2
from lecturelib.deep_linear import gradient_descent
from lecturelib.metrics import nc1
from lecturelib.progressive_separation import feature_compression

# Question 1


def idle_by_pinv(weights, targets, layer):
    """A projection onto a row space is A† A; carry it with the layers below."""
    scale = weights[0].norm() / math.sqrt(len(weights[0]))
    product = torch.linalg.multi_dot([weight / scale for weight in reversed(weights)])
    moved = [torch.cat([target, target.T @ product]) for target in targets]
    moved = torch.cat([rows / rows.norm() for rows in moved])
    projection = torch.eye(len(product)).double() - torch.linalg.pinv(moved, rtol=1e-9) @ moved
    for weight in weights[: layer - 1]:
        projection = weight @ projection @ weight.T / scale**2
    return projection


def idle_by_null_space(weights, targets, layer):
    """In NumPy, with SciPy's basis of a null space, at the layer itself."""
    weights = [weight.numpy() / np.linalg.svd(weight.numpy())[1][0] for weight in weights]
    below = np.eye(len(weights[0]))
    for weight in weights[: layer - 1]:
        below = weight @ below
    above = np.eye(len(weights[0]))
    for weight in weights[layer - 1 :]:
        above = weight @ above
    rows = [target.numpy() @ below.T for target in targets]
    rows += [target.numpy().T @ above for target in targets]
    basis = scipy.linalg.null_space(np.concatenate(rows), rcond=1e-9)
    return basis @ basis.T


def idle(weights, targets, layer, *, normal=True, right=True, left="T", carry=0, side=None):
    """Answer question 1 with mistakes to choose from."""
    dim = len(weights[0])
    scale = torch.linalg.matrix_norm(weights[0], 2) if normal else 1.0
    products = [torch.eye(dim, dtype=torch.float64)]
    for weight in weights:
        products.append(weight / scale @ products[-1])
    rows = []
    for target in targets:
        rows += [target] if right else []
        rows += {"T": [target.T @ products[-1]], "": [target @ products[-1]], "no": []}[left]
    _, values, vectors = torch.linalg.svd(torch.cat(rows))
    basis = vectors[values < 1e-8 * values.max()].T
    if side == "moving":
        basis = vectors[values >= 1e-8 * values.max()].T
    basis = products[min(layer - 1 + carry, len(weights))] @ basis
    return basis @ basis.T


def with_mistake(**mistakes):
    return lambda weights, targets, layer: idle(weights, targets, layer, **mistakes)


def one_after_another(weights, targets, layer):
    """The product of two projections projects onto what both keep only if they commute."""
    projection = torch.eye(len(weights[0]), dtype=torch.float64)
    for target in targets:
        projection = projection @ idle(weights, [target], layer)
    return projection


def absolute_threshold(weights, targets, layer):
    """Φᵀ W of a small start counts as zero, since it is not divided by the scale."""
    product = torch.linalg.multi_dot(list(reversed(weights)))
    rows = torch.cat([rows for target in targets for rows in (target, target.T @ product)])
    _, values, vectors = torch.linalg.svd(rows)
    basis = vectors[values < 1e-8 * values.max()].T
    scale = torch.linalg.matrix_norm(weights[0], 2)
    for weight in weights[: layer - 1]:
        basis = weight / scale @ basis
    return basis @ basis.T


# Question 3


def balance_by_autograd(mine):
    net = hw2.two_layers(mine)

    def drift(lr, steps):
        weights = [torch.nn.Parameter(part.clone()) for part in (net.first, net.second)]
        solver = torch.optim.SGD(weights, lr=lr, weight_decay=net.decay)
        start = weights[1].T @ weights[1] - weights[0] @ weights[0].T
        start = start.detach()
        for _ in range(steps):
            solver.zero_grad()
            loss = (weights[1] @ weights[0] @ net.inputs - net.targets).square().sum() / 2
            loss.backward()
            solver.step()
        end = weights[1].T @ weights[1] - weights[0] @ weights[0].T
        return (end - (1 - lr * net.decay) ** (2 * steps) * start).norm().detach()

    whole = drift(net.lr, net.steps)
    return {"drift": whole, "ratio": whole / drift(net.lr / 2, 2 * net.steps)}


def balance_by_library(mine):
    net = hw2.two_layers(mine)

    def drift(lr, steps):
        start = [net.first, net.second]
        options = {"lr": lr, "steps": steps, "weight_decay": net.decay}
        end = gradient_descent(start, net.inputs, net.targets, **options).final
        before, after = ((W[1].T @ W[1] - W[0] @ W[0].T).numpy() for W in (start, end))
        return np.linalg.norm(after - (1 - lr * net.decay) ** (2 * steps) * before)

    whole = drift(net.lr, net.steps)
    return {"drift": whole, "ratio": whole / drift(net.lr / 2, 2 * net.steps)}


def balance(
    mine, *, power=2, fewer=0, factor=1.0, decay=1.0, inner=False, one_by_one=False, order=2
):
    """Answer question 3 in NumPy, with mistakes to choose from."""
    net = hw2.two_layers(mine)
    X, Y = net.inputs.numpy(), net.targets.numpy()

    def difference(first, second):
        if inner:  # of matrices of other shapes: compare traces
            return np.trace(second @ second.T) - np.trace(first.T @ first)
        return second.T @ second - first @ first.T

    def drift(lr, steps):
        first, second = net.first.numpy(), net.second.numpy()
        start, shrink = difference(first, second), 1 - lr * decay * net.decay
        for _ in range(steps - fewer):
            error = factor * (second @ first @ X - Y) @ X.T
            moved = shrink * first - lr * second.T @ error
            if one_by_one:
                error = factor * (second @ moved @ X - Y) @ X.T
            second = shrink * second - lr * error @ (moved if one_by_one else first).T
            first = moved
        end = difference(first, second)
        return np.linalg.norm(end - shrink ** (power * steps) * start, None if inner else order)

    order = "fro" if order == 2 else order
    whole = drift(net.lr, net.steps)
    return {"drift": whole, "ratio": whole / drift(net.lr / 2, 2 * net.steps)}


def as_many_steps(mine):
    """Half the learning rate, but not twice the steps: half the time."""
    net = hw2.two_layers(mine)
    halved = hw2.TwoLayers(
        net.first, net.second, net.inputs, net.targets, net.lr / 2, net.decay, net.steps
    )
    found = balance(mine)
    weights = [halved.first, halved.second]
    options = {"lr": halved.lr, "steps": halved.steps, "weight_decay": halved.decay}
    end = gradient_descent(weights, halved.inputs, halved.targets, **options).final
    before, after = (W[1].T @ W[1] - W[0] @ W[0].T for W in (weights, end))
    shrink = (1 - halved.lr * halved.decay) ** (2 * halved.steps)
    return found | {"ratio": found["drift"] / (after - shrink * before).norm().item()}


# Question 5


def compression_in_numpy(mine, *, truncate=None, end=-1):
    """Measure in NumPy; cut the layer by its eigenvectors."""
    net = hw2.network(mine)
    weights, labels = [weight.numpy() for weight in net.weights], net.labels.numpy()
    classes, depth = len(weights[-1]), len(weights)

    def measured(weights):
        found, features = [], net.inputs.numpy()
        for weight in [np.eye(len(features)), *weights[:-1]]:
            features = weight @ features
            means = np.stack([features[:, labels == k].mean(1) for k in range(classes)], 1)
            within = ((features - means[:, labels]) ** 2).sum() / len(labels)
            found.append(within / means.var(1).sum())
        return np.array(found)

    whole = measured(weights)
    slope, _ = np.polyfit(np.arange(depth), np.log(whole), 1)
    layer = weights[net.layer - 1]
    _, vectors = np.linalg.eigh(layer.T @ layer)
    kept = vectors[:, -(truncate(net, classes) if truncate else net.rank) :]
    cut = list(weights)
    cut[net.layer - 1] = layer @ kept @ kept.T
    return {
        "factor": np.exp(slope),
        "scale": np.exp(slope / 2) * (len(labels) / classes) ** (0.5 / depth),
        "truncated": measured(cut)[end],
    }


def compression_from_weights(mine):
    """The small singular value is the scale; the rest follows, but for what is truncated."""
    net = hw2.network(mine)
    values = torch.linalg.svdvals(torch.stack(net.weights[:-1]))
    small, large = values[..., -1].mean(), values[..., 0].mean()
    features, cut = net.inputs, None
    for number, weight in enumerate(net.weights[:-1], start=1):
        if number == net.layer:
            U, S, V = torch.svd_lowrank(weight, q=len(weight), niter=8)
            weight = U[:, : net.rank] * S[: net.rank] @ V[:, : net.rank].T
        features = cut = weight @ features
    return {
        "factor": small**2 / large**2,
        "scale": small,
        "truncated": feature_compression(cut.T, net.labels),
    }


def sizes(mine):
    net = hw2.network(mine)
    return len(net.weights), len(net.weights[-1]), len(net.labels) // len(net.weights[-1])


def changed(**changes):
    """Return a right answer with entries changed: name → function of the answer, L, K and n."""

    def answer(mine):
        found = compression_in_numpy(mine)
        new = {name: change(found, *sizes(mine)) for name, change in changes.items()}
        return found | new

    return answer


def with_nc1(mine):
    """Another measure: it weighs the directions."""
    net = hw2.network(mine)
    features, found = net.inputs, [nc1(net.inputs.T, net.labels)]
    for weight in net.weights[:-1]:
        features = weight @ features
        found.append(nc1(features.T, net.labels))
    return compression_in_numpy(mine) | {"truncated": found[-1].item()}


# Question 6


def scale_by_search(depth, num_classes, samples_per_class, goal):
    """Search for the logarithm of the scale at which the line ends at the goal."""
    start = (samples_per_class - 1) / (1 - 1 / num_classes)

    def above(log_scale):
        step = 2 * log_scale - math.log(samples_per_class) / depth
        return math.log(start) + (depth - 1) * step - math.log(goal)

    return math.exp(brentq(above, -60, 60, xtol=1e-14))


def scale_by_measuring(depth, num_classes, samples_per_class, goal):
    """Measure D of the unit vectors, then solve in logarithms."""
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    start = feature_compression(torch.eye(len(labels), dtype=torch.float64), labels)
    logs = torch.log(torch.tensor(goal, dtype=torch.float64) / start) / (2 * (depth - 1))
    return torch.exp(logs) * samples_per_class ** (0.5 / depth)


def scale(*, steps=-1, power=0.5, start=None, with_n=0.5, turned=1):
    """Answer question 6 with mistakes to choose from."""

    def answer(depth, num_classes, samples, goal):
        inputs = (samples - 1) * num_classes / (num_classes - 1)
        inputs = start(num_classes, samples) if start else inputs
        factor = (goal / inputs) ** (turned / (depth + steps))
        return factor**power * samples ** (with_n / depth)

    return answer


def another(right):
    """Return the right answer of another variant."""
    return lambda mine: right(variant("someone.else@example.org", "hw2"))


RIGHT = {
    "hw2-q1": {"with a pseudo-inverse": idle_by_pinv, "SciPy's null space": idle_by_null_space},
    "hw2-q3": {
        "torch's optimiser": balance_by_autograd,
        "the library's descent": balance_by_library,
        "in NumPy": balance,
    },
    "hw2-q5": {"in NumPy": compression_in_numpy, "from the weights": compression_from_weights},
    "hw2-q6": {"by search": scale_by_search, "by measuring": scale_by_measuring},
}

WRONG = {
    "hw2-q1": {
        "the first task only": lambda weights, targets, layer: idle(weights, targets[:1], layer),
        "the last task only": lambda weights, targets, layer: idle(weights, targets[-1:], layer),
        "the sum of the targets": lambda weights, targets, layer: idle(
            weights, [sum(targets)], layer
        ),
        "one projection after another": one_after_another,
        "from the right only": with_mistake(left="no"),
        "from the left only": with_mistake(right=False),
        "no transpose": with_mistake(left=""),
        "the layer above": with_mistake(carry=1),
        "not carried": lambda weights, targets, layer: idle(weights, targets, 1),
        "not divided by the scale": with_mistake(normal=False),
        "small counts as zero": absolute_threshold,
        "what moves": with_mistake(side="moving"),
    },
    "hw2-q3": {
        "one factor a step": lambda mine: balance(mine, power=1),
        "nothing shrinks": lambda mine: balance(mine, power=0),
        "one step fewer": lambda mine: balance(mine, fewer=1),
        "no weight decay": lambda mine: balance(mine, decay=0),
        "averaged over samples": lambda mine: balance(mine, factor=1 / 20),
        "no half in the loss": lambda mine: balance(mine, factor=2),
        "layers one by one": lambda mine: balance(mine, one_by_one=True),
        "traces": lambda mine: balance(mine, inner=True),
        "nuclear norm": lambda mine: balance(mine, order="nuc"),
        "half the time": as_many_steps,
        "another variant": another(balance),
    },
    "hw2-q5": {
        "the slope": changed(factor=lambda found, L, K, n: math.log(found["factor"])),
        "upside down": changed(factor=lambda found, L, K, n: 1 / found["factor"]),
        "a factor of all layers": changed(factor=lambda found, L, K, n: found["factor"] ** (L - 1)),
        "no n": changed(scale=lambda found, L, K, n: math.sqrt(found["factor"])),
        "all samples for n": changed(
            scale=lambda found, L, K, n: math.sqrt(found["factor"]) * (n * K) ** (0.5 / L)
        ),
        "one layer fewer": changed(
            scale=lambda found, L, K, n: math.sqrt(found["factor"]) * n ** (0.5 / (L - 1))
        ),
        "the square of the scale": changed(scale=lambda found, L, K, n: found["scale"] ** 2),
        "rank counted beyond the classes": lambda mine: compression_in_numpy(
            mine, truncate=lambda net, K: net.rank + K
        ),
        "one direction fewer": lambda mine: compression_in_numpy(
            mine, truncate=lambda net, K: net.rank - 1
        ),
        "one layer too early": lambda mine: compression_in_numpy(mine, end=-2),
        "not truncated": lambda mine: compression_in_numpy(
            mine, truncate=lambda net, K: len(net.inputs)
        ),
        "another measure": with_nc1,
        "another variant": another(compression_in_numpy),
    },
    "hw2-q6": {
        "a step for every layer": scale(steps=0),
        "two steps fewer": scale(steps=1),
        "no square root": scale(power=1),
        "no n": scale(with_n=0),
        "n upside down": scale(with_n=-0.5),
        "n without its root": scale(with_n=1),
        "starts at n - 1": scale(start=lambda K, n: n - 1),
        "starts at n": scale(start=lambda K, n: n * K / (K - 1)),
        "starts at one": scale(start=lambda K, n: 1),
        "upside down": scale(turned=-1),
        "the public answer": lambda *_: 3**0.25,
    },
}

EQUIVALENT = {
    "hw2-q1": {
        "line 8: 0 → 1": "all layers are square and of one size",
        "line 9: 0 → 1": "all layers start at one scale",
        "line 17: values <= 1e-08 * values.max() → values < 1e-08 * values.max()": "differs only "
        "where all targets are zero",
    },
    "hw2-q5": {
        "line 5: len(deep.labels) // num_classes → len(deep.labels) / num_classes": "the division "
        "leaves no remainder",
    },
}
