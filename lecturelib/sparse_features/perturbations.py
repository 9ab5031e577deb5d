"""Inputs made worse: by an attacker who knows the network, or by noise of standard strengths."""

import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from lecturelib import checks
from lecturelib.training import evaluating

#: Strengths at severities 1 to 5, by family of images and kind of noise: the standard deviation of
#: Gaussian noise, the share of entries that impulse noise replaces, and the photons that shot noise
#: counts where an image is white.
CORRUPTIONS = MappingProxyType(
    {
        "imagenet": MappingProxyType(
            {
                "gaussian": (0.08, 0.12, 0.18, 0.26, 0.38),
                "impulse": (0.03, 0.06, 0.09, 0.17, 0.27),
                "shot": (60, 25, 12, 5, 3),
            }
        ),
        "cifar": MappingProxyType(
            {
                "gaussian": (0.04, 0.06, 0.08, 0.09, 0.10),
                "impulse": (0.01, 0.02, 0.03, 0.05, 0.07),
                "shot": (500, 250, 100, 75, 50),
            }
        ),
    }
)


def corrupt(images, kind, severity, *, family="imagenet", generator=None):
    r"""Add one of three standard kinds of noise to images.

    Parameters
    ----------
    images : Tensor
        Of any shape, with entries in [0, 1].
    kind : {"gaussian", "impulse", "shot"}
        What is added: normal noise; black or white, with equal chances, in place of some entries;
        or the noise of counted photons.
    severity : int
        1 to 5.
    family : {"imagenet", "cifar"}, optional
        Whose strengths are taken; those of the first are the larger ones.
    generator : torch.Generator, optional
        On the CPU (default: torch's global one).

    Returns
    -------
    Tensor
        Of the same shape, with entries in [0, 1]; not rounded to 256 grey values.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Hendrycks and Dietterich (2019), ImageNet-C and CIFAR-10-C; :data:`CORRUPTIONS` has the numbers.

    Examples
    --------
    >>> images = torch.full((2, 1, 8, 8), 0.5)
    >>> noisy = corrupt(images, "impulse", 5)
    >>> noisy.unique()
    tensor([0.0000, 0.5000, 1.0000])
    """
    images = checks.tensor("images", images)
    if images.numel() and not 0 <= images.min() <= images.max() <= 1:
        raise ValueError(
            f"images must lie in 0 .. 1, got {float(images.min()):.3g} .. {float(images.max()):.3g}"
        )
    family = checks.choice("family", family, CORRUPTIONS)
    kind = checks.choice("kind", kind, CORRUPTIONS[family])
    severity = checks.integer("severity", severity, 1, 5)
    generator = checks.generator("generator", generator)
    strength = CORRUPTIONS[family][kind][severity - 1]
    if kind == "gaussian":
        return (images + strength * _normal(images, generator)).clamp(0, 1)
    if kind == "shot":
        counts = torch.poisson(images.detach().cpu() * strength, generator=generator)
        return (counts / strength).clamp(0, 1).to(images)
    # One number decides: whether to replace, and by what.
    chance = torch.rand(images.shape, generator=generator, dtype=torch.float64).to(images.device)
    pepper, salt = chance < strength / 2, chance >= 1 - strength / 2
    return images.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


def pgd_attack(
    model,
    inputs,
    labels,
    radius,
    *,
    norm="linf",
    steps=20,
    lr=None,
    starts=1,
    random_start=True,
    loss="cross-entropy",
    bounds=(0.0, 1.0),
    generator=None,
):
    r"""Look for inputs near the given ones that a classifier gets wrong.

    Parameters
    ----------
    model : torch.nn.Module
        Maps inputs to logits (N, K); used in evaluation mode and left as it was.
    inputs : Tensor, shape (N, …)
        Inputs, on the model's device.
    labels : Tensor, shape (N,)
        Their classes.
    radius : float
        Largest change of an input, in the norm, :math:`\ge 0`.
    norm : {"linf", "l2"}, optional
        Of the change: its largest entry, or its Euclidean length.
    steps : int, optional
        Steps of each start; with 0 only the random changes themselves are tried.
    lr : float, optional
        Length of a step in the norm (default: 2.5 radius / steps).
    starts : int, optional
        How often to begin anew; the worst is taken, for each input.
    random_start : bool, optional
        Begin at a random point of the ball: uniform in either norm. Otherwise at the input, in
        which case one start is all there is.
    loss : {"cross-entropy", "margin"}, optional
        What is raised. The margin, the largest other logit less that of the class, has a gradient
        also where the cross-entropy of a confident network is rounded to zero.
    bounds : tuple of float, or None, optional
        Range of the inputs, which the changed ones keep.
    generator : torch.Generator, optional
        On the CPU (default: torch's global one).

    Returns
    -------
    Tensor, shape (N, …)
        Of all points visited, for each input one that is classified wrong, if there was one, and
        among these (or otherwise among all) the one with the largest loss. The input itself is one
        of them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or inputs leave their bounds.

    Notes
    -----
    A step goes along the sign of the gradient (linf) or the gradient made one long (l2); then the
    change is projected to the ball, and the input into its bounds. Robust accuracy found in this
    way is an upper bound: a network whose gradients say little looks robust and is not. Compare
    more steps and starts, the margin, inputs found on another network, and ``steps=0``.

    References
    ----------
    Madry et al. (2018), section 2.1; lecture 003, "Convolutional Sparse Coding (CSC) Layer V".

    Examples
    --------
    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.eye(2))
    >>> inputs, labels = torch.tensor([[0.6, 0.4]]), torch.tensor([0])
    >>> found = pgd_attack(model, inputs, labels, 0.25)
    >>> model(inputs).argmax(1), model(found).argmax(1)
    (tensor([0]), tensor([1]))
    """
    model = checks.module("model", model)
    inputs = checks.inputs("inputs", inputs, model).detach()
    inputs = checks.tensor("inputs", inputs)
    if inputs.ndim < 2 or not inputs.numel():
        raise checks.wrong("inputs", "N samples of at least one dimension", inputs)
    labels = checks.labels("labels", labels, len(inputs)).to(inputs.device)
    radius = checks.number("radius", radius, least=0)
    norm = checks.choice("norm", norm, ["linf", "l2"])
    steps = checks.integer("steps", steps, least=0)
    lr = 2.5 * radius / max(steps, 1) if lr is None else checks.number("lr", lr, above=0)
    starts = checks.integer("starts", starts, least=1)
    random_start = checks.flag("random_start", random_start)
    loss = checks.choice("loss", loss, ["cross-entropy", "margin"])
    low, high = _checked_bounds(bounds, inputs)
    generator = checks.generator("generator", generator)

    def into(change):
        """Project a change into the ball and the bounds; return the input that it makes."""
        if norm == "linf":
            change = change.clamp(-radius, radius)
        else:
            change = change * (radius / _lengths(change).clamp_min(radius)) if radius else 0
        return (inputs + change).clamp(low, high)

    def losses(points):
        outputs = model(points)
        return _checked_losses(outputs, labels, len(inputs), loss)

    with evaluating(model):
        try:
            worst, wrong = losses(inputs)
        except RuntimeError as error:
            raise ValueError(f"model and inputs must fit each other, but: {error}") from error
        found = inputs.clone()

        def keep(points, value, mistaken):
            nonlocal worst, wrong, found
            better = (mistaken & ~wrong) | ((mistaken == wrong) & (value > worst))
            worst, wrong = torch.where(better, value, worst), wrong | mistaken
            found = torch.where(_like(better, inputs), points, found)

        for _ in range(starts if random_start else 1):
            points = inputs
            if random_start:
                points = into(_random_change(inputs, radius, norm, generator))
            for _ in range(steps):
                with torch.enable_grad():
                    points = points.detach().requires_grad_()
                    value, mistaken = losses(points)
                    if not value.requires_grad:
                        raise checks.wrong("model", "differentiable", model)
                    [slope] = torch.autograd.grad(value.sum(), points)
                points = points.detach()
                keep(points, value.detach(), mistaken)
                if norm == "linf":
                    step = slope.sign()
                else:
                    step = slope / _lengths(slope).clamp_min(torch.finfo(slope.dtype).tiny)
                points = into(points + lr * step - inputs)
            keep(points, *losses(points))
    return found


def _checked_losses(outputs, labels, count, loss):
    """Return the loss of every sample, and whether it is classified wrong."""
    fits = isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == count
    if not fits or outputs.shape[1] < 2:
        raise checks.wrong("model", "a network with outputs of shape (N, K), K >= 2", outputs)
    least, most = map(int, labels.aminmax())
    if not 0 <= least <= most < outputs.shape[1]:
        raise ValueError(
            "labels and model must fit each other, "
            f"got labels {least} .. {most} and {outputs.shape[1]} logits"
        )
    own = labels[:, None]
    others = outputs.scatter(1, own, -math.inf).amax(1)
    mistaken = outputs.argmax(1) != labels
    if loss == "margin":
        return others - outputs.gather(1, own)[:, 0], mistaken
    return functional.cross_entropy(outputs, labels, reduction="none"), mistaken


def _checked_bounds(bounds, inputs):
    if bounds is None:
        return -math.inf, math.inf
    expected = "two numbers, the lower one first, or None"
    if isinstance(bounds, str) or not isinstance(bounds, Sequence):
        raise checks.wrong("bounds", expected, bounds, TypeError)
    if len(bounds) != 2:
        raise checks.wrong("bounds", expected, bounds)
    low, high = (checks.number("each of bounds", bound) for bound in bounds)
    if low >= high:
        raise checks.wrong("bounds", expected, bounds)
    if inputs.min() < low or inputs.max() > high:
        raise ValueError(
            f"inputs must lie in the bounds {low:g} .. {high:g}, "
            f"got {float(inputs.min()):.3g} .. {float(inputs.max()):.3g}"
        )
    return low, high


def _random_change(inputs, radius, norm, generator):
    """Draw changes uniformly from the ball, on the CPU."""
    if norm == "linf":
        uniform = torch.rand(inputs.shape, generator=generator, dtype=torch.float64)
        return (radius * (2 * uniform - 1)).to(inputs)
    direction = _normal(inputs, generator)
    share = torch.rand(len(inputs), generator=generator, dtype=torch.float64)
    share = share.pow(1 / inputs[0].numel()).to(inputs)
    return radius * _like(share, inputs) * direction / _lengths(direction)


def _normal(like, generator):
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


def _lengths(rows):
    """Return Euclidean lengths, of a shape that goes with the rows."""
    return _like(rows.flatten(1).norm(dim=1), rows)


def _like(values, rows):
    return values.view(-1, *[1] * (rows.ndim - 1))
