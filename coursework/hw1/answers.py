"""Right and wrong answers that the hidden tests of assignment 1 must tell apart."""

import math

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar

from lecturelib.coursework import variant
from lecturelib.coursework.assignments import hw1
from lecturelib.metrics import nc1, simplex_etf
from lecturelib.metrics import nc4 as disagreement
from lecturelib.unconstrained_features import Problem, WeightDecay, global_minimizer

# Question 1


def nc1_by_one_hot(features, labels):
    """Both scatters are parts of the covariance: what one-hot labels explain, and the rest."""
    features, labels = features.numpy(), labels.numpy()
    one_hot = (labels[:, None] == np.unique(labels)).astype(float)
    fitted = one_hot @ np.linalg.solve(one_hot.T @ one_hot, one_hot.T @ features)
    between = np.cov(fitted.T, bias=True).reshape(features.shape[1], -1)
    within = (features - fitted).T @ (features - fitted) / len(features)
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-10))


def nc1_by_eigenvectors(features, labels):
    _, index, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), features.shape[1], dtype=features.dtype)
    means = sums.index_add(0, index, features) / counts[:, None]
    shares = counts.double() / counts.sum()
    offsets = (means - shares @ means) * shares.sqrt()[:, None]
    values, vectors = torch.linalg.eigh(offsets.T @ offsets)
    kept = values > 1e-10 * values[-1]
    along = (features - means[index]) @ vectors[:, kept]
    return (along.square().mean(0) / values[kept]).sum()


def scatters(features, labels, *, weighted=True, ddof=0, centre="samples"):
    """Both scatters of question 1, with mistakes to choose from."""
    features, labels = features.numpy(), labels.numpy()
    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([features[labels == k].mean(0) for k in classes])
    centres = {"samples": features.mean(0), "means": means.mean(0), "none": 0 * means[0]}
    residual = features - means[np.searchsorted(classes, labels)]
    shares = counts / len(labels) if weighted else np.full(len(classes), 1 / len(classes))
    if weighted == "sizes":
        shares = counts.astype(float)
    offsets = np.sqrt(shares)[:, None] * (means - centres[centre])
    return residual.T @ residual / (len(labels) - ddof * len(classes)), offsets.T @ offsets


def ratio(**mistakes):
    def answer(features, labels):
        within, between = scatters(features, labels, **mistakes)
        return np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True))

    return answer


def of_traces(features, labels):
    within, between = scatters(features, labels)
    return np.trace(within) / np.trace(between)


def over_classes(features, labels):
    within, between = scatters(features, labels)
    inverse = np.linalg.pinv(between, rcond=1e-10, hermitian=True)
    return np.trace(within @ inverse) / len(np.unique(labels))


def no_square(features, labels):
    within, between = scatters(features, labels)
    values, vectors = np.linalg.eigh(between)
    kept = values > 1e-10 * values[-1]
    inverse = vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T
    return np.trace(within @ inverse)


def library(features, labels):
    return nc1(features, labels.unique(return_inverse=True)[1])


# Question 3


def cosines_by_averaging(sizes):
    """Average the vectors of a simplex ETF, and measure."""
    frame = simplex_etf(sum(sizes), sum(sizes), dtype=torch.float64)
    means = torch.stack([group.mean(0) for group in frame.split(list(sizes))])
    return torch.nn.functional.cosine_similarity(means[:, None], means[None], dim=2)


def cosines_from_gram(sizes):
    """Sum the Gram matrix of the ETF over blocks."""
    total = sum(sizes)
    groups = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    gram = groups.T @ (total * np.eye(total) - 1) @ groups
    return gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))


def filled(off_diagonal):
    """Return an answer of question 3 with ones on the diagonal."""

    def answer(sizes):
        sizes = np.array(sizes, float)
        cosines = off_diagonal(sizes) * np.ones((len(sizes), len(sizes)))
        np.fill_diagonal(cosines, 1.0)
        return cosines

    return answer


def centred_again(sizes):
    """The mean of the group means is taken away, which is not that of all features."""
    frame = np.eye(sum(sizes)) - 1 / sum(sizes)
    means = np.stack([rows.mean(0) for rows in np.split(frame, np.cumsum(sizes)[:-1])])
    means = means - means.mean(0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means @ means.T


# Question 4


def penalty(mine, confidence=None, slides=False):
    task = hw1.model(mine)
    K, n, p = task.num_classes, task.samples_per_class, confidence or task.confidence
    margin = math.log(p * (K - 1) / (1 - p))
    price = 1 / (K - 1 + math.exp(margin))
    decay_h = price**2 / n / task.decay_w / (4 if slides else 1)
    objective = math.log(1 + (K - 1) * math.exp(-margin)) + price * (K - 1) * margin
    norm_w = (n * decay_h / task.decay_w) ** 0.25 * math.sqrt((K - 1) * margin)
    return {"decay_h": decay_h, "objective": objective, "norm_w": norm_w}


def penalty_by_search(mine):
    """Without the theorem's margin: minimise the objective over margins, search for the price."""
    task = hw1.model(mine)
    K, n = task.num_classes, task.samples_per_class
    # The loss falls at the rate of 1 - p in a sample's scores; the price makes up for it.
    target = math.log(task.confidence / (1 - task.confidence) * (K - 1))
    rate = (K - 1) * math.exp(-target) / (1 + (K - 1) * math.exp(-target))
    price = rate / (K - 1)

    def objective(margin):
        return np.log1p((K - 1) * np.exp(-margin)) + price * (K - 1) * margin

    found = minimize_scalar(objective, bounds=(0, 50), method="bounded", options={"xatol": 1e-12})
    # ‖W‖² λ_W = ‖H‖² λ_H, and their sum is twice the penalty.
    return {
        "decay_h": torch.tensor(price**2 / (n * task.decay_w), dtype=torch.float64),
        "objective": float(found.fun),
        "norm_w": np.sqrt(price * (K - 1) * target / task.decay_w),
    }


def penalty_by_library(mine):
    """Search for the penalty at which the library's minimiser has the confidence."""
    task = hw1.model(mine)

    def minimiser(log_decay):
        decays = WeightDecay(W=task.decay_w, H=math.exp(log_decay), b=0.0)
        problem = Problem(task.num_classes, task.samples_per_class, task.num_classes, decays)
        return global_minimizer(problem)

    def too_sure(log_decay):
        best = minimiser(log_decay)
        scores = torch.zeros(task.num_classes, dtype=torch.float64)
        scores[0] = best.margin
        return scores.softmax(0)[0].item() - task.confidence

    high = -math.log(task.num_classes**2 * task.samples_per_class * task.decay_w)
    root = brentq(too_sure, high - 30, high - 1e-6, xtol=1e-13)
    best = minimiser(root)
    return {"decay_h": math.exp(root), "objective": best.objective, "norm_w": best.W.norm()}


def changed(right, **changes):
    """Return a right answer with some entries changed: name → function of the answer and mine."""

    def answer(mine):
        found = right(mine)
        return found | {name: change(found, mine) for name, change in changes.items()}

    return answer


# Question 5


def kappa(num_classes, length):
    return (num_classes - 1) / (num_classes * length)


def margin_by_newton(num_classes, samples_per_class, decay_h, length):
    """Newton's method on the log of the equation, from the side where it converges."""
    wrong = num_classes - 1
    q = num_classes * samples_per_class * decay_h * kappa(num_classes, length) ** 2
    margin = 0.0
    for _ in range(200):
        push = wrong / (math.exp(margin) + wrong)
        curvature = q + push * (1 - push)
        step = (push - q * margin) / curvature
        margin += max(min(step, 1.0), -1.0)
    return margin


def margin_by_minimizing(num_classes, samples_per_class, decay_h, length):
    """Minimise over one feature vector, with automatic derivatives and an ETF from the library."""
    frame = length * simplex_etf(num_classes, num_classes, dtype=torch.float64)
    feature = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    number = num_classes * samples_per_class
    target = torch.tensor(0)
    solver = torch.optim.LBFGS(
        [feature],
        max_iter=500,
        tolerance_grad=1e-13,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def closure():
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(frame @ feature, target)
        loss = loss + number * decay_h / 2 * feature.square().sum()
        # The steeper of the two terms sets the scale, so that the tolerances mean the same.
        loss = loss / max(1.0, number * decay_h)
        loss.backward()
        return loss

    for _ in range(3):
        solver.step(closure)
    scores = (frame @ feature).detach()
    return scores[0] - scores[1]


def margin_with(weight):
    """Return an answer that solves the equation with another weight of the penalty."""

    def answer(num_classes, samples_per_class, decay_h, length):
        q = weight(num_classes, samples_per_class, decay_h, length)
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            push = (num_classes - 1) / (math.exp(min(middle, 700)) + num_classes - 1)
            low, high = (middle, high) if q * middle < push else (low, middle)
        return low

    return answer


def learned_margin(num_classes, samples_per_class, decay_h, length):
    """The theorem's margin, with the penalty for which the learned rows have this length."""
    price = math.sqrt(samples_per_class * decay_h * decay_h)
    return math.log(max(1 / price - (num_classes - 1), 1.0))


# Question 7


def nearest_by_library(mine):
    net = hw1.classifier(mine)
    means = torch.stack([net.features[net.labels == k].mean(0) for k in range(len(net.bias))])
    centred = (means - means.mean(0)).flatten()
    c = (net.weights.flatten() @ centred) / (centred @ centred)
    labels = torch.zeros(len(net.new), dtype=torch.int64)
    before = disagreement(net.new, labels, net.weights, net.bias, means=means)
    bias = c * (means.square().sum(1).mean() - means.square().sum(1)) / 2
    after = disagreement(net.new, labels, net.weights, bias, means=means)
    return {"c": c, "before": before, "after": after}


def nearest(mine, *, weighted=False, c_of=None, bias_of=None, new=None, other=None):
    """Answer question 7 in NumPy, with mistakes to choose from."""
    net = hw1.classifier(mine)
    features, labels = net.features.numpy(), net.labels.numpy()
    weights, new = net.weights.numpy(), net.new.numpy() if new is None else new(net)
    means = np.array([features[labels == k].mean(0) for k in range(len(weights))])
    centred = means - (features.mean(0) if weighted else means.mean(0))
    c = np.vdot(weights, centred) / np.vdot(centred, centred)
    c = c_of(weights, centred, means) if c_of else c
    bias = bias_of(c, means, centred) if bias_of else -c * (means * means).sum(1) / 2
    compared = other(means, centred) if other else means
    centre = np.linalg.norm(new[:, None] - compared[None], axis=2).argmin(1)
    before, after = (
        float(np.mean((new @ weights.T + b).argmax(1) != centre)) for b in (net.bias.numpy(), bias)
    )
    return {"c": float(c), "before": before, "after": after}


def another(right):
    """Return the right answer of another variant."""
    return lambda mine: right(variant("someone.else@example.org", "hw1"))


RIGHT = {
    "hw1-q1": {"one-hot regression, NumPy": nc1_by_one_hot, "eigenvectors": nc1_by_eigenvectors},
    "hw1-q3": {"averages of an ETF": cosines_by_averaging, "blocks of Gram": cosines_from_gram},
    "hw1-q4": {
        "from the margin": penalty,
        "by minimising": penalty_by_search,
        "with the library": penalty_by_library,
    },
    "hw1-q5": {"Newton": margin_by_newton, "over a feature vector": margin_by_minimizing},
    "hw1-q7": {"with the library": nearest_by_library, "in NumPy": nearest},
}

WRONG = {
    "hw1-q1": {
        "classes count once": ratio(weighted=False, centre="means"),
        "about the mean of the means": ratio(centre="means"),
        "uncentred": ratio(centre="none"),
        "degrees of freedom": ratio(ddof=1),
        "sizes, not shares": ratio(weighted="sizes"),
        "of the traces": of_traces,
        "divided by the number of classes": over_classes,
        "no square": no_square,
        "the library's": library,
        "the public answer": lambda features, labels: 5 / 27,
    },
    "hw1-q3": {
        "an ETF of the groups": filled(lambda g: -1 / (len(g) - 1)),
        "an ETF of the classes": filled(lambda g: -1 / (g.sum() - 1)),
        "no square root": filled(lambda g: -np.outer(g, g) / np.outer(g.sum() - g, g.sum() - g)),
        "only the sizes": filled(lambda g: -np.sqrt(np.outer(g, g)) / (g.sum() - 1)),
        "the sign": lambda sizes: np.abs(cosines_from_gram(sizes)),
        "upside down": filled(lambda g: -1 / np.sqrt(np.outer(g.sum() / g - 1, g / g)) / (len(g))),
        "centred at the mean of means": centred_again,
        "the public answer": filled(lambda g: -1.0 if len(g) == 2 else -1 / 3),
    },
    "hw1-q4": {
        "no number of samples": changed(
            penalty,
            decay_h=lambda found, mine: found["decay_h"] * hw1.model(mine).samples_per_class,
        ),
        "the price, not squared": changed(
            penalty, decay_h=lambda found, mine: math.sqrt(found["decay_h"])
        ),
        "the slides' penalty": lambda mine: penalty(mine, slides=True),
        "the loss alone": changed(
            penalty, objective=lambda found, mine: -math.log(hw1.model(mine).confidence)
        ),
        "one penalty of two": changed(
            penalty,
            objective=lambda found, mine: (
                (found["objective"] - math.log(hw1.model(mine).confidence)) / 2
            ),
        ),
        "norm of the features": changed(
            penalty,
            norm_w=lambda found, mine: (
                found["norm_w"] * math.sqrt(hw1.model(mine).decay_w / found["decay_h"])
            ),
        ),
        "the square of the norm": changed(penalty, norm_w=lambda found, mine: found["norm_w"] ** 2),
        "a probability off by 1 %": lambda mine: penalty(mine, hw1.model(mine).confidence - 0.01),
        "another variant": another(penalty),
    },
    "hw1-q5": {
        "penalty per sample": margin_with(lambda K, n, decay, s: decay * kappa(K, s) ** 2),
        "penalty per class": margin_with(lambda K, n, decay, s: n * decay * kappa(K, s) ** 2),
        "K for K - 1": margin_with(lambda K, n, decay, s: K * n * decay / s**2),
        "no square of the length": margin_with(
            lambda K, n, decay, s: K * n * decay * ((K - 1) / K) ** 2 / s
        ),
        "half the penalty": margin_with(
            lambda K, n, decay, s: K * n * decay * kappa(K, s) ** 2 / 2
        ),
        "length of the feature": lambda K, n, decay, s: (
            margin_by_newton(K, n, decay, s) * kappa(K, s)
        ),
        "score of the right class": lambda K, n, decay, s: (
            margin_by_newton(K, n, decay, s) * (K - 1) / K
        ),
        "the learned classifier's": learned_margin,
        "the public answer": lambda K, n, decay, s: hw1.TWO_CLASSES,
    },
    "hw1-q7": {
        "about the mean of all samples": lambda mine: nearest(mine, weighted=True),
        "a fit to uncentred means": lambda mine: nearest(
            mine, c_of=lambda W, centred, means: np.vdot(W, means) / np.vdot(means, means)
        ),
        "a fit the other way round": lambda mine: nearest(
            mine, c_of=lambda W, centred, means: np.vdot(W, W) / np.vdot(W, centred)
        ),
        "lengths of centred means": lambda mine: nearest(
            mine, bias_of=lambda c, means, centred: -c * (centred**2).sum(1) / 2
        ),
        "no half": lambda mine: nearest(
            mine, bias_of=lambda c, means, centred: -c * (means**2).sum(1)
        ),
        "no square": lambda mine: nearest(
            mine, bias_of=lambda c, means, centred: -c * np.linalg.norm(means, axis=1) / 2
        ),
        "the sign of the bias": lambda mine: nearest(
            mine, bias_of=lambda c, means, centred: c * (means**2).sum(1) / 2
        ),
        "on the training features": lambda mine: nearest(
            mine, new=lambda net: net.features.numpy()
        ),
        "nearest centred mean": lambda mine: nearest(mine, other=lambda means, centred: centred),
        "another variant": another(nearest),
    },
}

EQUIVALENT = {
    "hw1-q1": {
        "line 14: torch.linalg.pinv(between, rtol=1e-10, hermitian=True) → "
        "torch.linalg.pinv(between, rtol=1e-10)": "as with `True → False`",
        "line 14: True → False": "a symmetric matrix has the same pseudo-inverse either way",
    },
    "hw1-q3": {
        "line 4: torch.tensor(sizes, dtype=torch.float64) → torch.tensor(sizes)": "in single "
        "precision the cosines are still within the tolerance",
    },
    "hw1-q5": {
        "line 13: brentq(slope, 0, 100, xtol=1e-13) → brentq(slope, 0, 100)": "the root is found "
        "to more digits than are asked for",
        "line 13: 100 → 101": "any bracket with the root in it will do",
    },
}
