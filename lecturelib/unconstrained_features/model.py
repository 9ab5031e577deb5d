"""The model with its variables."""

import math

import torch
from torch import nn
from torch.nn import functional

from lecturelib import checks
from lecturelib.unconstrained_features.minimizers import Minimizer
from lecturelib.unconstrained_features.problem import checked_problem

# Up to so many numbers in all variables together, a second thread costs more than it brings.
SMALL = 2**20


class UnconstrainedFeatures(nn.Module):
    r"""The variables of a problem, at one random point or at many at once.

    Parameters
    ----------
    problem : Problem
        What is minimised.
    batch_shape : tuple of int, optional
        Shape of the batch of points, which :func:`minimize` moves together.
    scale : float, optional
        Typical norm of the features and of the rows of the classifier, not negative. The bias is 0.
    generator : torch.Generator, optional
        Of the random point (default: torch's global one).
    dtype : torch.dtype, optional
        Of the variables (default: torch's; for the theory to hold to rounding, take float64).
    device : torch.device, optional
        Of the variables (default: the generator's, else the CPU).

    Attributes
    ----------
    W, H, b : torch.nn.Parameter
        Shapes (…, K, d), (…, N, d), (…, K), the batch in front; b is None without bias.
    labels : Tensor, shape (N,)
        0, …, 0, 1, …, 1, …

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Mixon et al. (2022); Zhu et al. (2021), equation (3); lecture 003, "Simplification:
    Unconstrained Features II".

    Examples
    --------
    >>> from lecturelib.unconstrained_features import Problem
    >>> model = UnconstrainedFeatures(Problem(3, 5, dim=4, weight_decay=0.01), batch_shape=(8,))
    >>> model.objective().shape, model().shape
    (torch.Size([8]), torch.Size([8, 15, 3]))
    """

    def __init__(
        self, problem, *, batch_shape=(), scale=1.0, generator=None, dtype=None, device=None
    ):
        super().__init__()
        self.problem = checked_problem(problem)
        self.batch_shape = checks.shape("batch_shape", batch_shape)
        scale = checks.number("scale", scale, least=0) / math.sqrt(problem.dim)
        generator = checks.generator("generator", generator)
        dtype, device = checks.dtype("dtype", dtype), checks.device("device", device)
        source = generator.device if generator is not None else torch.device("cpu")

        def normal(rows):
            shape = *self.batch_shape, rows, problem.dim
            sample = torch.randn(shape, generator=generator, dtype=dtype, device=source)
            return (sample * scale).to(device or source)

        self.W = nn.Parameter(normal(problem.num_classes))
        features = normal(problem.num_samples)
        self.H = nn.Parameter(features.abs() if problem.nonnegative else features)
        self.b = nn.Parameter(torch.zeros_like(self.W[..., 0])) if problem.bias else None
        self.register_buffer("labels", problem.labels.to(self.W.device))

    def forward(self):
        """Return the logits.

        Returns
        -------
        Tensor, shape (…, N, K)
            H Wᵀ + b.
        """
        return logits_of(self.W, self.H, self.b)

    def objective(self):
        """Return the objective.

        Returns
        -------
        Tensor, shape (…)
            Mean loss and penalties.
        """
        return objective_at(self.problem, self.labels, self.W, self.H, self.b)

    @torch.no_grad()
    def margin(self):
        """Return the smallest margin of a sample, without a gradient.

        Returns
        -------
        Tensor, shape (…)
            Right minus largest wrong logit.
        """
        logits = self()
        chosen = functional.one_hot(self.labels, self.problem.num_classes).bool()
        right = logits.masked_fill(~chosen, -math.inf).amax(-1)
        return (right - logits.masked_fill(chosen, -math.inf).amax(-1)).amin(-1)

    @torch.no_grad()
    def place(self, W, H=None, b=None):
        """Move the variables to a point, the same for the whole batch or one for each.

        Parameters
        ----------
        W : Tensor, shape (K, d) or (…, K, d); or Minimizer
            Classifier; or the whole point.
        H : Tensor, shape (N, d) or (…, N, d), optional
            Features; left out beside a minimiser, which has its own.
        b : Tensor, shape (K,) or (…, K), optional
            Bias (default: it stays as it is); left out beside a minimiser.

        Returns
        -------
        UnconstrainedFeatures
            The model itself.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, if there is a bias that the model lacks, a negative feature where
            there must be none, or H or b beside a minimiser. Nothing has changed then.
        """
        given = {"W": W, "H": H, "b": b}
        if isinstance(W, Minimizer):
            for name in ("H", "b"):
                if given[name] is not None:
                    raise checks.wrong(name, "left out beside a minimiser", given[name])
            given = {"W": W.W, "H": W.H, "b": W.b}
        if given["b"] is None:
            del given["b"]
        points = {name: self._fitting(name, value) for name, value in given.items()}
        if self.problem.nonnegative and (points["H"] < 0).any():
            raise checks.wrong("H", "without negative entries in this problem", points["H"])
        for name, value in points.items():
            if getattr(self, name) is not None:
                getattr(self, name).copy_(value)
        return self

    def _fitting(self, name, value):
        """Return one of W, H, b, after checking that it is as the model's own."""
        value, variable = checks.tensor(name, value, finite=False), getattr(self, name)
        if variable is None:
            if value.any():
                raise checks.wrong(name, "zero, as the problem has no bias", value)
            return value
        whole = tuple(variable.shape)
        single = whole[len(self.batch_shape) :]
        if value.shape not in (whole, single):
            shapes = f"{single}, or {whole}" if self.batch_shape else f"{single}"
            raise checks.wrong(name, f"a tensor of shape {shapes}", value)
        return value


def logits_of(W, H, b):
    """Logits H Wᵀ + b, shape (…, N, K); b may be None."""
    logits = H @ W.mT
    return logits if b is None else logits + b[..., None, :]


def objective_at(problem, labels, W, H, b):
    """Objective of a problem at any points, shape (…)."""
    decay = problem.weight_decay
    value = problem.loss(logits_of(W, H, b), labels)
    value = value + decay.W / 2 * W.square().sum((-2, -1))
    value = value + decay.H / 2 * H.square().sum((-2, -1))
    return value if b is None else value + decay.b / 2 * b.square().sum(-1)


def flat(model):
    """All variables of a model side by side, shape (…, K d + N d + K)."""
    lead = len(model.batch_shape)
    return torch.cat([variable.detach().flatten(lead) for variable in model.parameters()], -1)


def split(problem, vector):
    """Split what :func:`flat` gave into W, H and b, which is None without bias."""
    K, N, d = problem.num_classes, problem.num_samples, problem.dim
    W, H, *b = vector.split([K * d, N * d] + [K] * problem.bias, -1)
    return W.unflatten(-1, (K, d)), H.unflatten(-1, (N, d)), (b[0] if b else None)
