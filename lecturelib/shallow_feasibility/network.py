"""The shallow network itself, and its training with a penalty on the features."""

import torch
from torch import nn
from tqdm import trange

from lecturelib import checks
from lecturelib.device import one_thread
from lecturelib.losses import CrossEntropy
from lecturelib.training import Recorder

__all__ = ["ShallowNet", "train_shallow"]

# Data sets with fewer numbers are trained on faster with one thread.
SMALL_DATA = 2**18


class ShallowNet(nn.Module):
    r"""Network of one trained ReLU layer and a linear head, behind a fixed random layer if wanted.

    Two layers: :math:`f(x) = W_2 (W_1 x)_+`. Three: :math:`f(x) = W_2 (W_1 (G x)_+)_+`, G random.

    Parameters
    ----------
    num_classes, dim, width : int
        K, input dimension d, neurons of the trained layer.
    random_width : int, optional
        Neurons D of the random layer; the default is to have none.
    scale : float, optional
        Positive factor on the starts of both trained layers.
    batch_shape : tuple of int, optional
        Leading dimensions: that many independent networks, each for its own data.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).
    dtype : torch.dtype, optional
        Of the weights (default: torch's).
    device : torch.device or str, optional
        Of the weights (default: the CPU).

    Attributes
    ----------
    random : Tensor, shape (…, D, d), or None
        G, a buffer: normal, of variance 1/d.
    hidden : torch.nn.Parameter, shape (…, width, d) or (…, width, D)
        :math:`W_1`; starts normal, of variance one over its number of inputs.
    head : torch.nn.Parameter, shape (…, K, width)
        :math:`W_2`; starts normal, of variance 1 / width.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Hong and Ling (2024); lecture 004, two- and three-layer networks.

    Examples
    --------
    >>> net = ShallowNet(3, 8, 32, random_width=64, batch_shape=(5,))
    >>> inputs = torch.zeros(5, 12, 8)
    >>> net(inputs).shape, net.features(inputs).shape, net.random_features(inputs).shape
    (torch.Size([5, 12, 3]), torch.Size([5, 12, 32]), torch.Size([5, 12, 64]))
    """

    def __init__(
        self,
        num_classes,
        dim,
        width,
        *,
        random_width=None,
        scale=1.0,
        batch_shape=(),
        generator=None,
        dtype=None,
        device=None,
    ):
        super().__init__()
        num_classes = checks.integer("num_classes", num_classes, least=2)
        self.dim = seen = checks.integer("dim", dim, least=1)
        width = checks.integer("width", width, least=1)
        scale = checks.number("scale", scale, above=0)
        batch_shape = checks.shape("batch_shape", batch_shape)
        generator = checks.generator("generator", generator)
        dtype, device = checks.dtype("dtype", dtype), checks.device("device", device)

        def normal(outputs, inputs):
            numbers = torch.randn(*batch_shape, outputs, inputs, generator=generator, dtype=dtype)
            return (numbers / inputs**0.5).to(device)

        self.register_buffer("random", None)
        if random_width is not None:
            seen = checks.integer("random_width", random_width, least=1)
            self.random = normal(seen, self.dim)
        self.hidden = nn.Parameter(scale * normal(width, seen))
        self.head = nn.Parameter(scale * normal(num_classes, width))

    def random_features(self, inputs):
        """Return what the trained layer sees, shape (…, N, D): the inputs if G is None."""
        inputs = checks.tensor("inputs", inputs, ("…", "N", self.dim), finite=False, like=self.head)
        return inputs if self.random is None else (inputs @ self.random.mT).relu()

    def features(self, inputs):
        """Return the output of the trained layer, shape (…, N, width)."""
        return (self.random_features(inputs) @ self.hidden.mT).relu()

    def forward(self, inputs):
        """Return the logits, shape (…, N, K), of inputs (…, N, d)."""
        return self.features(inputs) @ self.head.mT


def train_shallow(
    net,
    inputs,
    labels,
    *,
    weight_decay,
    penalty="features",
    steps=5000,
    lr=0.01,
    every=100,
    metrics=None,
):
    r"""Train with a penalty on the features.

    The whole data set is used in every step of Adam, whose rate falls from ``lr`` to zero along a
    cosine. Each network of a batch minimises, on its own data,

    .. math:: \frac1N \sum_i L(f(x_i), y_i) + \frac\lambda2 \big(\|W_2\|_F^2 + \|H\|_F^2\big),

    L the cross-entropy and H the features of all N samples.

    Parameters
    ----------
    net : ShallowNet
        Trained in place.
    inputs : Tensor, shape (…, N, d)
        Samples, of the dtype, device and leading dimensions of the network.
    labels : Tensor, shape (N,)
        Their classes, the same for all networks.
    weight_decay : float
        :math:`\lambda`, at least 0.
    penalty : {"features", "weights"}, optional
        What is penalised beside :math:`W_2`: the features, or :math:`W_1` as in ordinary weight
        decay.
    steps : int, optional
        At least 1.
    lr : float, optional
        First learning rate, positive.
    every : int or sequence of int, optional
        Steps between two records; or the steps to record, in 0 .. ``steps``. The end always is one.
    metrics : dict of str to callable, optional
        ``name: metric(net)``, called without gradients.

    Returns
    -------
    History
        ``"objective"``, shape (T, …), and each metric.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or inputs and labels do not fit the network.
    FloatingPointError
        If the objective stops being finite.

    Notes
    -----
    Small data are trained on with one CPU thread.

    References
    ----------
    Lecture 004, empirical risk with activation regularisation.

    Examples
    --------
    >>> net = ShallowNet(2, 6, 16, generator=torch.Generator().manual_seed(0))
    >>> inputs, labels = torch.eye(6), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> history = train_shallow(net, inputs, labels, weight_decay=0.01, steps=500)
    >>> history.steps.tolist(), bool(history["objective"][-1] < history["objective"][0])
    ([0, 100, 200, 300, 400, 500], True)
    """
    if not isinstance(net, ShallowNet):
        raise checks.wrong("net", "a ShallowNet", net, TypeError)
    *batch, num_classes, _ = net.head.shape
    inputs = checks.tensor("inputs", inputs, (*batch, "N", net.dim), like=net.head)
    labels = checks.labels("labels", labels, inputs.shape[-2], num_classes).to(inputs.device)
    weight_decay = checks.number("weight_decay", weight_decay, least=0)
    penalty = checks.choice("penalty", penalty, ["features", "weights"])
    steps = checks.integer("steps", steps, least=1)
    lr = checks.number("lr", lr, above=0)
    recorder = Recorder(steps, every, metrics)

    loss = CrossEntropy()
    seen = net.random_features(inputs)  # the same in all steps
    optimizer = torch.optim.Adam([net.hidden, net.head], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with one_thread(seen.numel() < SMALL_DATA):
        for step in trange(steps + 1, desc="training", unit="step", leave=False):
            features = (seen @ net.hidden.mT).relu()
            penalised = features if penalty == "features" else net.hidden
            squares = net.head.square().sum((-2, -1)) + penalised.square().sum((-2, -1))
            objective = loss(features @ net.head.mT, labels) + weight_decay / 2 * squares
            if recorder.due(step):
                if not objective.isfinite().all():
                    raise FloatingPointError(
                        f"training diverged before step {step} with lr={lr}: try a smaller one"
                    )
                recorder.record(step, net, objective=objective)
            if step < steps:
                optimizer.zero_grad()
                objective.sum().backward()
                optimizer.step()
                schedule.step()
    return recorder.history()
