"""Hidden tests of assignment 2."""

import math
from functools import cache

import numpy as np
import torch

from lecturelib.coursework.assignments import hw2
from lecturelib.coursework.questions import Test, array, expect, expect_close, same_entry
from lecturelib.deep_linear import gradient_descent


def projection(weights, targets, layer):
    """Project away what the conditions span, in the basis of the layer."""
    weights, targets = ([matrix.numpy() for matrix in given] for given in (weights, targets))
    units = [weight / np.linalg.norm(weight, 2) for weight in weights]
    product = np.linalg.multi_dot([*units[::-1], np.eye(len(units[0]))])
    rows = np.concatenate([targets, [target.T @ product for target in targets]])
    rows = rows.reshape(-1, len(product))
    # Gram–Schmidt by eigenvectors of what is asked for.
    values, vectors = np.linalg.eigh(rows.T @ rows)
    seen = vectors[:, values > 1e-14 * values[-1]]
    for unit in units[: layer - 1]:
        seen = unit @ seen
    return np.eye(len(product)) - seen @ seen.T


def several_tasks(answer, mine):
    weights, targets = hw2.tasks(mine, "hidden tasks", ranks=(1, 2, 1))
    for layer in (1, 2, 3):
        expected = projection(weights, targets, layer)
        hint = f"not so for three tasks, at the input of layer {layer} of 3"
        expect_close(answer(weights, targets, layer), expected, hint, abs=1e-6)


def tasks_that_share(answer, mine):
    """Tasks with outputs in common, and with opposite ones: their sum is less than each."""
    weights, (first, second) = hw2.tasks(mine, "hidden shared", ranks=(1, 1))
    shared = first[:, :1] @ second[:1]
    large = [1e6 * first, 1e6 * second]
    for targets in ([first, shared], [first + second, second - first], [second, -second], large):
        expected = projection(weights, targets, 2)
        hint = "tasks may have directions in common, or even contradict each other"
        expect_close(answer(weights, targets, 2), expected, hint, abs=1e-6)


def trained_for_both(answer, mine):
    """Train, one task after the other: an idle direction only shrinks, as all of them do."""
    dim, decay, lr, scale = 12, 0.01, 0.1, 0.8
    weights, targets = hw2.tasks(mine, "hidden training", dim=dim, scale=scale, ranks=(2, 1))
    after = weights
    for target in targets:
        path = gradient_descent(after, None, target, lr=lr, steps=150, weight_decay=decay)
        after = path.final
    rho = scale
    for _ in range(300):
        rho *= 1 - lr * decay - lr * rho ** (2 * (len(weights) - 1))
    for layer, weight in enumerate(after, start=1):
        found = torch.from_numpy(array(answer(weights, targets, layer), (dim, dim)))
        moved = (weight.T @ weight @ found - rho**2 * found).abs().max()
        hint = f"after training on both tasks, layer {layer} has not left these directions alone"
        expect(bool(moved <= 1e-8), hint)
        expect(bool(abs(found.trace() - (dim - 6)) <= 1e-6), "more or fewer directions are idle")


def small_and_deep(answer, mine):
    options = {"dim": 10, "depth": 8, "scale": 0.02}
    weights, targets = hw2.tasks(mine, "hidden small", **options, ranks=(1,))
    expected = projection(weights, targets, 8)
    hint = "with a small scale and many layers, both conditions count all the same"
    expect_close(answer(weights, targets, 8), expected, hint, abs=1e-6)
    weights, targets = hw2.tasks(mine, "hidden full", ranks=(3, 2, 2))
    hint = "with as many conditions as dimensions, nothing is idle"
    expect_close(answer(weights, targets, 2), np.zeros((12, 12)), hint, abs=1e-6)


@cache
def drifts(mine):
    """Sum up the second-order terms of question 4 along the way, with automatic gradients."""
    net = hw2.two_layers(mine)

    def drift(lr, steps):
        weights = [net.first, net.second]
        shrink = 1 - lr * net.decay
        total = torch.zeros(len(net.first), len(net.first), dtype=torch.float64)
        for _ in range(steps):
            weights = [weight.detach().requires_grad_() for weight in weights]
            loss = (weights[1] @ weights[0] @ net.inputs - net.targets).square().sum() / 2
            one, two = torch.autograd.grad(loss, weights)
            total = shrink**2 * total + lr**2 * (two.T @ two - one @ one.T)
            weights = [shrink * weights[0] - lr * one, shrink * weights[1] - lr * two]
        return total.norm().item()

    whole = drift(net.lr, net.steps)
    return {"drift": whole, "ratio": whole / drift(net.lr / 2, 2 * net.steps)}


@cache
def features_of(mine):
    """What the theory says of the variant's network, from a singular value and the sizes alone."""
    net = hw2.network(mine)
    depth, classes, dim = len(net.weights), len(net.weights[-1]), len(net.inputs)
    samples = dim // classes
    scale = torch.linalg.svdvals(net.weights[0])[-1].item()
    factor = scale**2 / samples ** (1 / depth)
    inputs = (samples - 1) * classes / (classes - 1)
    kept = (net.rank - classes) / (dim - classes)
    return {"factor": factor, "scale": scale, "truncated": inputs * factor ** (depth - 1) * kept}


def reached(depth, classes, samples, scale):
    """D of the last features, layer by layer."""
    compression = (samples - 1) * classes / (classes - 1)
    for _ in range(depth - 1):
        compression *= scale**2 / samples ** (1 / depth)
    return compression


def reaches_the_goal(answer, mine):
    stream = mine.stream("hidden goals")
    for _ in range(4):
        depth, classes = stream.integers(3, 12), stream.integers(3, 12)
        samples, goal = stream.integers(3, 60), 10 ** stream.uniform(-6, -1)
        scale = float(array(answer(depth, classes, samples, goal), ()))
        expect(0 < scale < 1e3, "a scale is positive, and not that large")
        found = math.log(reached(depth, classes, samples, scale) / goal)
        hint = f"L = {depth}, K = {classes}, n = {samples}, g = {goal:.3g}: not the D that was asked for"
        expect(abs(found) <= 1e-6, hint)


HIDDEN = {
    "hw2-q1": (
        Test("three tasks", several_tasks, 1),
        Test("tasks with directions in common", tasks_that_share, 1),
        Test("training for two tasks", trained_for_both, 2),
        Test("a small start, many tasks", small_and_deep, 1),
    ),
    "hw2-q3": (
        Test(
            "the drift", same_entry(drifts, "drift", "what do finite steps add to the balance?"), 3
        ),
        Test(
            "the ratio", same_entry(drifts, "ratio", "half the step, and twice as many of them"), 2
        ),
    ),
    "hw2-q5": (
        Test("the factor", same_entry(features_of, "factor", "the factor from layer to layer"), 2),
        Test(
            "the scale",
            same_entry(features_of, "scale", "how do the scale and n make the factor?"),
            2,
        ),
        Test(
            "the truncated layer",
            same_entry(features_of, "truncated", "which directions of the layer are left?"),
            2,
        ),
    ),
    "hw2-q6": (Test("reaches the goal", reaches_the_goal, 4),),
}
