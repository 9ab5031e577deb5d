r"""Low-rank training: layers whose weights are products of thin matrices.

A layer :math:`W = B A` with :math:`B` (d_out, r) and :math:`A` (r, d_in) is trained in place of a
full one (:class:`FactorizedLinear`), or added to a frozen one (:class:`LoRALinear`). Both have
``weight`` and ``bias`` like :class:`torch.nn.Linear` and fit wherever one does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lecturelib import checks
from lecturelib.losses import CrossEntropy

__all__ = [
    "Cost",
    "FactorizedLinear",
    "LoRALinear",
    "add_lora",
    "energy_rank",
    "factorize_layers",
    "training_cost",
    "update_singular_values",
]


class FactorizedLinear(nn.Module):
    r"""Linear layer with a weight of rank at most r, :math:`x \mapsto B A x + b`.

    Parameters
    ----------
    in_features, out_features : int
        :math:`d_{in}`, :math:`d_{out}`.
    rank : int
        r, between 1 and the smaller of the two.
    bias : bool, optional
        Whether to add b.

    Attributes
    ----------
    A, B : torch.nn.Parameter, shapes (r, d_in) and (d_out, r)
        The factors; a fresh layer has those of a fresh :class:`torch.nn.Linear`, truncated.
    bias : torch.nn.Parameter, shape (d_out,), or None
        b.

    Raises
    ------
    TypeError, ValueError
        If the rank is out of range, or another argument is not as described.

    References
    ----------
    Lecture 002, "Low-Rank Training of Nonlinear Networks?"; Khodak et al. (2021), for the start.

    Examples
    --------
    >>> layer = FactorizedLinear(64, 32, rank=4)
    >>> layer(torch.zeros(5, 64)).shape, layer.weight.shape
    (torch.Size([5, 32]), torch.Size([32, 64]))
    >>> sum(parameter.numel() for parameter in layer.parameters())
    416
    """

    def __init__(self, in_features, out_features, rank, bias=True):
        super().__init__()
        in_features = checks.integer("in_features", in_features, least=1)
        out_features = checks.integer("out_features", out_features, least=1)
        self._take(nn.Linear(in_features, out_features, checks.flag("bias", bias)), rank)

    @classmethod
    def from_linear(cls, linear, rank):
        """Factorise a layer: the best approximation of its weight of this rank, balanced.

        Parameters
        ----------
        linear : torch.nn.Linear
            The layer, not changed.
        rank : int
            r, between 1 and its smaller dimension.

        Returns
        -------
        FactorizedLinear

        Raises
        ------
        TypeError, ValueError
            If it is no linear layer, or the rank is out of range.

        Notes
        -----
        A singular value of zero gives zeros in both factors, which have no gradient.
        """
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._take(_checked_linear("linear", linear), rank)
        return layer

    def _take(self, linear, rank):
        rank = _checked_rank(rank, linear)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        left, values, right = torch.linalg.svd(linear.weight.detach(), full_matrices=False)
        root = values[:rank].sqrt()
        self.A = nn.Parameter((root.unsqueeze(1) * right[:rank]).contiguous())
        self.B = nn.Parameter((left[:, :rank] * root).contiguous())
        self.bias = (
            linear.bias if linear.bias is None else nn.Parameter(linear.bias.detach().clone())
        )

    @property
    def weight(self):
        """The product B A, shape (d_out, d_in)."""
        return self.B @ self.A

    def forward(self, inputs):
        """Return the outputs, shape (…, d_out), of inputs (…, d_in)."""
        inputs = _checked_inputs(self, inputs)
        return functional.linear(functional.linear(inputs, self.A), self.B, self.bias)

    def extra_repr(self):
        """Say the sizes."""
        rank = len(self.A)
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={rank}"


class LoRALinear(nn.Module):
    r"""A frozen linear layer and a trained update of low rank, :math:`W_0 + \frac\alpha r B A`.

    Parameters
    ----------
    base : torch.nn.Linear
        The layer to adapt; it is kept, and frozen.
    rank : int
        r, between 1 and the smaller dimension.
    alpha : float, optional
        :math:`\alpha > 0`; with the default, r, the factor in front is one.

    Attributes
    ----------
    A, B : torch.nn.Parameter, shapes (r, d_in) and (d_out, r)
        The factors. B starts at zero, so that the layer starts as what it was.
    merged : bool
        Whether the update is part of ``base.weight`` at the moment. It is saved in the
        ``state_dict`` and loaded from there, so that no update is counted twice.
    factor : float
        :math:`\alpha / r`, saved and loaded as well.

    Raises
    ------
    TypeError, ValueError
        If the base is no linear layer, or the rank or :math:`\alpha` is out of range.
    RuntimeError
        If a merged layer is used in training mode: its factors would have no gradient. In
        evaluation mode it computes, and they have none.

    References
    ----------
    Hu et al. (2022), equation 3; lecture 002, "Low-rank Adaptation (LoRA) of Large Models?".

    Examples
    --------
    >>> layer = LoRALinear(nn.Linear(64, 32), rank=4)
    >>> inputs = torch.randn(5, 64)
    >>> torch.equal(layer(inputs), layer.base(inputs))
    True
    >>> sum(p.numel() for p in layer.parameters() if p.requires_grad)
    384
    """

    def __init__(self, base, rank, alpha=None):
        super().__init__()
        rank = _checked_rank(rank, _checked_linear("base", base))
        alpha = rank if alpha is None else checks.number("alpha", alpha, above=0)
        self.base = base.requires_grad_(False)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.factor = alpha / rank
        self.merged = False
        self.A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    @property
    def weight(self):
        """The weight with its update, shape (d_out, d_in); attention reads it, and no more."""
        if not self.merged:
            return self.base.weight + self.factor * self.B @ self.A
        if self.training and torch.is_grad_enabled():
            raise RuntimeError(
                "a merged layer is not trained: call unmerge() to go on training, eval() to use it"
            )
        return self.base.weight

    @property
    def bias(self):
        """The bias of the frozen layer."""
        return self.base.bias

    def forward(self, inputs):
        """Return the outputs, shape (…, d_out), of inputs (…, d_in)."""
        inputs = _checked_inputs(self, inputs)
        if self.merged:
            return functional.linear(inputs, self.weight, self.bias)
        update = functional.linear(functional.linear(inputs, self.A), self.B)
        return self.base(inputs) + self.factor * update

    def extra_repr(self):
        """Say the size of the update."""
        return f"rank={len(self.A)}, factor={self.factor:g}, merged={self.merged}"

    def get_extra_state(self):
        """Return for a ``state_dict`` two numbers: whether the layer is merged, its factor."""
        return torch.tensor([self.merged, self.factor], dtype=torch.float64)

    def set_extra_state(self, state):
        """Take from a ``state_dict`` whether its weight is merged, and by which factor."""
        self.merged, self.factor = bool(state[0]), float(state[1])

    @torch.no_grad()
    def merge(self):
        """Add the update to the frozen weight: inference then costs what it did before.

        Raises
        ------
        RuntimeError
            If it is merged already: added twice, the update would count twice.
        """
        if self.merged:
            raise RuntimeError("the update is merged already: call unmerge() first")
        self.base.weight += self.factor * self.B @ self.A
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        """Take the update out again, up to rounding.

        Raises
        ------
        RuntimeError
            If it is not merged.
        """
        if not self.merged:
            raise RuntimeError("the update is not merged: call merge() first")
        self.base.weight -= self.factor * self.B @ self.A
        self.merged = False


def factorize_layers(model, rank, which=None):
    r"""Replace linear layers of a model by factorised ones, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Contains the layers.
    rank : int or dict of str to int
        One rank for all, or one per name.
    which : sequence of str, optional
        Names of the layers as in ``model.named_modules()`` (default: those that have a rank).

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError, ValueError
        If a name is not that of a linear layer, has no rank, or the rank does not fit; the model is
        as it was then.

    Notes
    -----
    A layer starts as the best approximation of what it was. Full: :math:`d_{in} d_{out}` weights;
    factorised: :math:`r (d_{in} + d_{out})`. PyTorch's attention multiplies a factorised
    ``out_proj`` out, which saves parameters, not operations.

    References
    ----------
    Lecture 002, "Low-Rank Training of Nonlinear Networks?".

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> net = factorize_layers(MLP([64, 128, 128, 10]), rank=10, which=["hidden.1.0"])
    >>> net.hidden[1][0]
    FactorizedLinear(in_features=128, out_features=128, rank=10)
    >>> factorize_layers(net, {"hidden.0.0": 20, "head": 5}).head
    FactorizedLinear(in_features=128, out_features=10, rank=5)
    """
    layers, ranks = _checked_layers(model, rank, which)
    factorized = {
        name: FactorizedLinear.from_linear(layer, ranks[name]) for name, layer in layers.items()
    }
    return _replace(model, factorized)


def add_lora(model, rank, which=None, *, alpha=None):
    r"""Freeze a model and give some of its linear layers a trained update of low rank, in place.

    Parameters
    ----------
    model : torch.nn.Module
        All its parameters are frozen; thaw a new head by ``model.head.requires_grad_(True)``.
    rank : int or dict of str to int
        r of every update, or one per name.
    which : sequence of str, optional
        Names of the layers as in ``model.named_modules()`` (default: those that have a rank).
    alpha : float, optional
        As in :class:`LoRALinear`.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError, ValueError
        If a name is not that of a linear layer, has no rank, or a number does not fit; the model is
        as it was then.

    References
    ----------
    Hu et al. (2022), equation 3; lecture 002, "Low-rank Adaptation (LoRA) of Large Models?".

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> net = add_lora(MLP([64, 128, 10]), rank=2, which=["hidden.0.0"])
    >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    ['hidden.0.0.A', 'hidden.0.0.B']
    >>> len(add_lora(MLP([64, 128, 10]), {"hidden.0.0": 2, "head": 1}).head.A)
    1
    """
    layers, ranks = _checked_layers(model, rank, which)
    alpha = None if alpha is None else checks.number("alpha", alpha, above=0)
    adapted = {name: LoRALinear(layer, ranks[name], alpha) for name, layer in layers.items()}
    model.requires_grad_(False)
    return _replace(model, adapted)


def _checked_layers(model, rank, which):
    """Look up linear layers by their names, and the rank of each, before anything is changed."""
    modules = dict(checks.module("model", model).named_modules())
    linear = [name for name, module in modules.items() if name and isinstance(module, nn.Linear)]
    expected = f"a sequence of names of linear layers of the model, which are {linear}"
    if which is None and isinstance(rank, Mapping):
        which = rank
    try:
        names = None if isinstance(which, str) else list(which)
    except TypeError:
        names = None
    if names is None:
        raise checks.wrong("which", expected, which, TypeError)
    for name in names:
        if not isinstance(name, str) or name not in linear:
            raise checks.wrong("which", expected, name)
    layers = {name: modules[name] for name in names}
    ranks = dict(rank) if isinstance(rank, Mapping) else dict.fromkeys(layers, rank)
    if set(ranks) != set(layers):
        raise checks.wrong("rank", f"one number, or one for each of {sorted(layers)}", rank)
    return layers, {name: _checked_rank(ranks[name], layer) for name, layer in layers.items()}


def _replace(model, layers):
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return model


def _checked_linear(name, layer):
    if not isinstance(layer, nn.Linear):
        raise checks.wrong(name, "a torch.nn.Linear", layer, TypeError)
    return layer


def _checked_rank(rank, linear):
    return checks.integer("rank", rank, 1, min(linear.in_features, linear.out_features))


def _checked_inputs(layer, inputs):
    return checks.tensor("inputs", inputs, ("…", layer.in_features), finite=False, like=layer.A)


@dataclass(frozen=True)
class Cost:
    r"""What a training step costs.

    Attributes
    ----------
    parameters, trainable : int
        Numbers, in all and of those that are trained.
    forward_flops, step_flops : int
        Floating-point operations of matrix products and convolutions, forwards, and forwards and
        backwards; a multiplication and an addition count as two.
    memory : int
        Bytes: parameters, gradients and one momentum buffer for each trained one, and what the
        backward pass keeps of the forward pass.
    """

    parameters: int
    trainable: int
    forward_flops: int
    step_flops: int
    memory: int


def training_cost(model, inputs, labels, *, loss=None):
    r"""Count what one step of SGD with momentum costs, by running it without an update.

    Parameters
    ----------
    model : torch.nn.Module
        In the mode in which it is to be counted; its parameters and gradients are left as they are.
    inputs : Tensor, shape (N, …)
        A batch.
    labels : Tensor, shape (N,)
        Its labels; or whatever the loss compares outputs with.
    loss : Loss or callable, optional
        ``loss(logits, labels)`` → 0-d tensor, such as the losses of :mod:`lecturelib.losses`
        (default: cross-entropy).

    Returns
    -------
    Cost

    Raises
    ------
    TypeError, ValueError
        If no parameter is trained, or model, inputs, labels and loss do not fit each other.

    Notes
    -----
    Exact for what it names: FLOPs are those that PyTorch's counter sees, and saved tensors are
    counted once each by their storage. Buffers such as running means, temporary memory and the
    inputs themselves are not included. Tensors on the meta device have no storage to count.

    Examples
    --------
    >>> cost = training_cost(nn.Linear(100, 10, bias=False), torch.randn(5, 100), torch.arange(5))
    >>> cost.parameters, cost.forward_flops, cost.step_flops
    (1000, 10000, 20000)
    """
    parameters = list(checks.module("model", model).parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("model must have a parameter that is trained, got none")
    inputs = checks.inputs("inputs", inputs, model)
    labels = checks.tensor("labels", labels, kind="real", finite=False)
    loss = CrossEntropy() if loss is None else checks.function("loss", loss)
    buffers = list(model.buffers())
    values = [buffer.clone() for buffer in buffers]
    given = (*parameters, *buffers, inputs, labels)
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    forward, backward = (FlopCounterMode(display=False) for _ in range(2))
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), forward:
            objective = loss(model(inputs), labels)
        if not isinstance(objective, Tensor) or objective.numel() != 1:
            raise checks.wrong("loss", "a function with a 0-d tensor as value", objective)
        with backward:
            torch.autograd.grad(objective, trainable, allow_unused=True)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(
            f"model, inputs, labels and loss must fit each other, but: {error}"
        ) from error
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
    sizes = [parameter.numel() * parameter.element_size() for parameter in parameters]
    slots = [2 * parameter.numel() * parameter.element_size() for parameter in trainable]
    flops = forward.get_total_flops()
    return Cost(
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in trainable),
        forward_flops=flops,
        step_flops=flops + backward.get_total_flops(),
        memory=sum(sizes) + sum(slots) + sum(kept.values()),
    )


def update_singular_values(weights):
    r"""Follow the singular values of a layer's change, :math:`W(t) - W(0)`.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (d_out, d_in)
        The layer's weight at recorded times, as in ``history["weight"]`` of
        :func:`~lecturelib.training.train` with the metric ``lambda net: net.layer.weight``.

    Returns
    -------
    Tensor, shape (T, min(d_out, d_in)), float64
        Descending; the first row is zero.

    Raises
    ------
    TypeError, ValueError
        If there are no weights, one is not a finite matrix, or their shapes differ.

    References
    ----------
    Lecture 002, "The Evolution of Singular Spaces in More Generic Settings".

    Examples
    --------
    >>> update_singular_values([torch.zeros(2, 3), torch.tensor([[2.0, 0, 0], [0, 1, 0]])])
    tensor([[0., 0.],
            [2., 1.]], dtype=torch.float64)
    """
    if isinstance(weights, Tensor | np.ndarray):
        weights = checks.tensor("weights", weights, ("T", "d_out", "d_in"))
    elif not isinstance(weights, Sequence) or isinstance(weights, str) or not weights:
        raise checks.wrong("weights", "a sequence of matrices", weights, TypeError)
    else:
        shape = ("d_out", "d_in")
        matrices = []
        for index, weight in enumerate(weights):
            matrices.append(checks.tensor(f"weights[{index}]", weight, shape))
            shape = tuple(matrices[0].shape)
        weights = torch.stack(matrices)
    changes = weights.detach().double()
    return torch.linalg.svdvals(changes - changes[0])


def energy_rank(values, share=0.99):
    r"""Count how many singular values hold a share of the squared norm.

    Parameters
    ----------
    values : Tensor, shape (..., p)
        Singular values, descending.
    share : float, optional
        In (0, 1].

    Returns
    -------
    Tensor, shape (...), int64
        The smallest k with :math:`\sum_{i \le k} \sigma_i^2 \ge \text{share} \sum_i \sigma_i^2`;
        0 where all are zero.

    Raises
    ------
    TypeError, ValueError
        If the share is out of range or the values are not finite numbers.

    Examples
    --------
    >>> energy_rank(torch.tensor([3.0, 1.0, 0.1])), energy_rank(torch.tensor([3.0, 1.0, 0.1]), 0.8)
    (tensor(2), tensor(1))
    """
    values = checks.tensor("values", values, ("…", "p"))
    share = checks.number("share", share, above=0, most=1)
    squares = values.double().square()
    missing = squares.sum(-1, keepdim=True) * share - squares.cumsum(-1)
    tiny = torch.finfo(torch.float64).eps * squares.sum(-1, keepdim=True) * values.shape[-1]
    return ((missing > tiny).sum(-1) + 1) * (squares.sum(-1) > 0)
