"""What several test files share: seeds, draws, comparisons, data and networks."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

from lecturelib.deep_linear import init_weights
from lecturelib.losses import CrossEntropy, FocalLoss, LabelSmoothing, SquaredError
from lecturelib.metrics import ClassStatistics

ROOT = Path(__file__).parents[1]
F64 = torch.float64
SEEDS = st.integers(0, 2**31 - 1)


def examples(count):
    """So many examples of a hypothesis test, the same in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True)


def source(seed):
    """A generator with a seed."""
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape, dtype=F64):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=source(seed), dtype=dtype)


def columns(seed, *shape):
    """Orthonormal columns."""
    return torch.linalg.qr(normal(seed, *shape)).Q


def close(actual, expected, tolerance=1e-11):
    """Demand that two tensors agree, absolutely or relatively."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def tool(name):
    """A module of the folder tools/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(counts):
    """Labels of classes of these sizes, class after class."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def mixture(seed, counts, dim, *, noise=1.0, offset=0.0, dtype=F64):
    """Gaussian classes around Gaussian means, in random order; also a classifier and a bias."""
    generator = source(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64)

    labels = blocks(counts)[torch.randperm(sum(counts), generator=generator)]
    means = draw(len(counts), dim) + offset * draw(dim)
    features = means[labels] + noise * draw(len(labels), dim)
    return features.to(dtype), labels, draw(len(counts), dim), draw(len(counts))


def isotropic(means, scale):
    """2d samples per class whose within-class scatter is exactly scale² I."""
    steps = scale * means.shape[1] ** 0.5 * torch.eye(means.shape[1], dtype=means.dtype)
    features = means[:, None] + torch.cat([steps, -steps])
    return features.flatten(0, 1), blocks([features.shape[1]] * len(means))


def spreads(features, labels):
    """Tr Σ_W, and Σ_B in full, from the class statistics."""
    statistics = ClassStatistics.from_features(features, labels)
    within = (features - statistics.means[labels]).square().sum() / len(features)
    centred = statistics.centred_means
    return within, centred.T @ centred / len(centred)


class Textbook:
    """The measures as they are printed: class loop, d x d matrices, every distance."""

    def __init__(self, features, labels, classifier, bias):
        x, y = np.asarray(features, np.float64), np.asarray(labels)
        w, b = np.asarray(classifier, np.float64), np.asarray(bias, np.float64)
        k = len(w)
        means = np.stack([x[y == c].mean(0) for c in range(k)])
        centred = means - means.mean(0)
        sigma_w = sum((x[y == c] - means[c]).T @ (x[y == c] - means[c]) for c in range(k)) / len(x)
        sigma_b = sum(np.outer(m, m) for m in centred) / k
        self.nc1 = np.trace(sigma_w @ np.linalg.pinv(sigma_b, rcond=1e-12, hermitian=True))
        self.nc2 = self.distance(centred @ centred.T)
        self.nc2_classifier = self.distance(w @ w.T)
        self.nc3 = self.distance(w @ centred.T)
        nearest = np.linalg.norm(x[:, None] - means, axis=2).argmin(1)
        self.nc4 = np.mean((x @ w.T + b).argmax(1) != nearest)
        self.bias_measure = np.linalg.norm(w @ means.mean(0) + b)
        lengths = np.linalg.norm(centred, axis=1)
        self.equinorm = lengths.std() / lengths.mean()
        cosines = [
            centred[i] @ centred[j] / lengths[i] / lengths[j] for i in range(k) for j in range(i)
        ]
        self.equiangularity = np.std(cosines)
        self.maximal_angle = np.mean(np.abs(np.array(cosines) + 1 / (k - 1)))
        variances = [((x[y == c] - means[c]) ** 2).sum(1).mean() for c in range(k)]
        self.cdnv = np.mean(
            [
                (variances[i] + variances[j]) / 2 / ((means[i] - means[j]) ** 2).sum()
                for i in range(k)
                for j in range(i)
            ]
        )

    @staticmethod
    def distance(gram):
        """Distance of a Gram matrix, scaled to norm 1, from that of a simplex ETF."""
        k = len(gram)
        target = (np.eye(k) - np.ones((k, k)) / k) / np.sqrt(k - 1)
        return np.linalg.norm(gram / np.linalg.norm(gram) - target)


def powers(low, high):
    """A strategy of numbers between two powers of ten."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


every_loss = pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(),
        LabelSmoothing(0.3),
        FocalLoss(2.0),
        FocalLoss(0.5),
        SquaredError(),
        SquaredError(3.0, 2.0),
    ],
    ids=str,
)


def product(weights):
    """Multiply one linear network's layers the plain way."""
    return weights[0] if len(weights) == 1 else torch.linalg.multi_dot(weights[::-1])


def true_loss(weights, X, Y, reduction="sum"):
    """Squared error of one linear network, as it is printed."""
    loss = (product(weights) @ X - Y).square().sum() / 2
    return loss / Y.numel() if reduction == "mean" else loss


def torch_descent(weights, X, Y, *, lr, steps, weight_decay=0.0, momentum=0.0, reduction="sum"):
    """Let autograd and SGD train one linear network; return its weights and losses at all steps."""
    variables = [weight.detach().clone().requires_grad_() for weight in weights]
    rates = lr if isinstance(lr, list) else [lr] * len(weights)
    groups = [{"params": [v], "lr": rate} for v, rate in zip(variables, rates, strict=True)]
    solver = torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay)
    history, losses = [], []
    for _ in range(steps + 1):
        solver.zero_grad()
        loss = true_loss(variables, X, Y, reduction)
        history.append([variable.detach().clone() for variable in variables])
        losses.append(loss.detach())
        loss.backward()
        solver.step()
    return [torch.stack(layer) for layer in zip(*history, strict=True)], torch.stack(losses)


def some_weights(seed, widths, scale=0.8, kind="normal", **options):
    """Weights of a linear network, or a batch of them."""
    return init_weights(widths, scale, kind, generator=source(seed), dtype=F64, **options)


def whitened(seed, dim, samples):
    """Samples as columns with X X^T = I."""
    return columns(seed, samples, dim).mT


GOOD, LABELS = torch.arange(8.0).reshape(4, 2) ** 2, torch.tensor([0, 0, 1, 1])


def spoilt(value):
    """The four good features, one entry replaced."""
    features = GOOD.clone()
    features[1, 1] = value
    return features


def rotation(seed, dim):
    """An orthogonal matrix."""
    return columns(seed, dim, dim)
