"""Assignment 2: the law of parsimony and progressive separation.

A variant is a two-layer linear network with what it takes to train it, and a deep linear network
that has been trained to zero loss from a scale that is not told.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from lecturelib.coursework.questions import (
    Assignment,
    Question,
    Test,
    array,
    expect,
    expect_close,
    read_entries,
)


@dataclass(frozen=True, eq=False)
class TwoLayers:
    """A two-layer linear network before training, its data and its settings; float64.

    `first` (h, d) and `second` (K, h) are the weights, `inputs` (d, N) and `targets` (K, N) hold
    one sample in each column. Gradient descent makes `steps` steps of learning rate `lr` with
    weight decay `decay`.
    """

    first: torch.Tensor
    second: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    lr: float
    decay: float
    steps: int


def two_layers(mine):
    """Return the two-layer network of a variant.

    Parameters
    ----------
    mine : Variant
        Whose network.

    Returns
    -------
    TwoLayers

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw2
    >>> net = hw2.two_layers(variant("ada@example.org", "hw2"))
    >>> (net.second @ net.first @ net.inputs).shape == net.targets.shape
    True
    """
    stream = mine.stream("two layers")
    dim, hidden, classes = stream.integers(6, 10), stream.integers(4, 7), stream.integers(2, 4)
    number = 20
    return TwoLayers(
        first=torch.from_numpy(0.5 * stream.normal((hidden, dim))),
        second=torch.from_numpy(0.5 * stream.normal((classes, hidden))),
        inputs=torch.from_numpy(stream.normal((dim, number)) / math.sqrt(number)),
        targets=torch.from_numpy(stream.normal((classes, number))),
        lr=stream.integers(10, 31) / 1000,
        decay=stream.integers(2, 10) / 100,
        steps=stream.integers(40, 121),
    )


@dataclass(frozen=True, eq=False)
class Network:
    """A deep linear network after training to zero loss, and its training data; float64.

    `weights` are L matrices, first layer first: the first L - 1 are (d, d), the last is (K, d).
    `inputs` (d, N) are orthonormal, with d = N = n K, one sample in each column; `labels` (N,) are
    its classes 0 … K - 1, n samples of each. `layer` (from 2 to L - 1) and `rank` (more than K,
    less than d) are for a change to be made to the network.
    """

    weights: list[torch.Tensor]
    inputs: torch.Tensor
    labels: torch.Tensor
    layer: int
    rank: int


def network(mine):
    """Return the trained deep linear network of a variant.

    Parameters
    ----------
    mine : Variant
        Whose network.

    Returns
    -------
    Network

    Examples
    --------
    >>> from lecturelib.coursework import variant
    >>> from lecturelib.coursework.assignments import hw2
    >>> net = hw2.network(variant("ada@example.org", "hw2"))
    >>> product = net.inputs
    >>> for weight in net.weights:
    ...     product = weight @ product
    >>> targets = torch.nn.functional.one_hot(net.labels).T.double()
    >>> torch.allclose(product, targets)  # the loss is zero
    True
    """
    stream = mine.stream("network")
    classes, samples = stream.integers(3, 6), stream.integers(5, 9)
    depth, scale = stream.integers(4, 8), stream.integers(15, 45) / 100
    dim = classes * samples

    def orthogonal():
        return torch.linalg.qr(torch.from_numpy(stream.normal((dim, dim))))[0]

    labels = torch.arange(classes).repeat_interleave(samples)
    labels = labels[torch.from_numpy(stream.permutation(dim))]
    inputs = orthogonal()
    # The targets' right singular vectors, completed to a basis, are where the layers begin. Trained
    # from a start that is aligned with the targets, each layer has the same singular values.
    signal = torch.nn.functional.one_hot(labels).double() / math.sqrt(samples)
    noise = torch.from_numpy(stream.normal((dim, dim - classes)))
    basis = inputs @ torch.linalg.qr(torch.cat([signal, noise], 1))[0]
    basis[:, :classes] = inputs @ signal
    values = torch.full((dim,), scale, dtype=torch.float64)
    values[:classes] = samples ** (1 / (2 * depth))
    weights = []
    for _ in range(depth - 1):
        following = orthogonal()
        weights.append(following @ values.diag() @ basis.T)
        basis = following
    weights.append(values[0] * basis[:, :classes].T)
    layer = stream.integers(2, depth)
    return Network(weights, inputs, labels, layer, stream.integers(classes + 1, dim - 2))


def _one_direction(answer, mine):
    weights = [0.5 * torch.eye(5, dtype=torch.float64)] * 3
    target = torch.zeros(5, 5, dtype=torch.float64)
    target[0, 0] = 2.0
    expected = torch.eye(5, dtype=torch.float64)
    expected[0, 0] = 0.0
    hint = "with W_l = ½ I and a target that has one entry, all but one direction is idle"
    expect_close(answer(weights, [target], 1), expected, hint, abs=1e-8)
    # The same target twice asks for nothing new.
    hint = "a target that comes twice asks for nothing new"
    expect_close(answer(weights, [target, 3 * target], 1), expected, hint, abs=1e-8)


def _projection(answer, mine):
    weights, targets = tasks(mine, "public tasks", ranks=(1, 2))
    for layer in (1, 2, len(weights)):
        found = array(answer(weights, targets, layer), (12, 12))
        symmetric = abs(found - found.T).max() <= 1e-8
        expect(symmetric and abs(found @ found - found).max() <= 1e-8, "P = Pᵀ = P² must hold")


def tasks(mine, name, *, dim=12, depth=3, scale=0.7, ranks):
    """Draw initial weights, `scale` times orthogonal (dim, dim), and one target for each rank."""
    stream = mine.stream(name)
    weights = [
        scale * torch.linalg.qr(torch.from_numpy(stream.normal((dim, dim))))[0]
        for _ in range(depth)
    ]
    targets = [
        torch.from_numpy(stream.normal((dim, rank)) @ stream.normal((rank, dim))) / dim
        for rank in ranks
    ]
    return weights, targets


def _drift(answer, mine):
    drift, ratio = read_entries(answer, "drift", "ratio")
    expect(drift > 0, "the drift is a norm, and not zero for steps of finite size")
    expect(ratio > 1, "smaller steps for the same time should drift less")


def _compression(answer, mine):
    factor, scale, truncated = read_entries(answer, "factor", "scale", "truncated")
    expect(0 < factor < 1, "D_l should fall from layer to layer")
    expect(0 < scale < 1, "the scale of the start lies between 0 and 1")
    expect(truncated > 0, "D is positive: the layer keeps more directions than there are classes")


def _deeper_is_larger(answer, mine):
    scales = [array(answer(depth, 5, 20, 1e-3), ()) for depth in (2, 4, 8, 16)]
    expect(all(scale > 0 for scale in scales), "a scale is positive")
    ordered = all(a < b for a, b in pairwise(scales))
    expect(ordered, "the more layers there are, the less each of them has to compress")


def _nothing_to_do(answer, mine):
    # D_0 = 4 for K = 2 and n = 3. With two layers a factor of one is enough, so ε² = √3.
    hint = "K = 2, n = 3 and the goal D = 4: that is where the inputs start"
    expect_close(answer(2, 2, 3, 4.0), 3**0.25, hint)


ASSIGNMENT = Assignment(
    name="hw2",
    title="Parsimony and progressive separation",
    minutes=90,
    questions=(
        Question(
            "hw2-q1",
            "Idle for one task after another",
            "idle_projection",
            "function",
            (
                Test("a target with one entry", _one_direction),
                Test("it is an orthogonal projection", _projection),
            ),
            points=5,
        ),
        Question("hw2-q2", "Why they stay idle", "", "written", (), read_by_a_person=5),
        Question(
            "hw2-q3",
            "What finite steps do not conserve",
            "balance",
            "value",
            (Test("a norm and a ratio", _drift),),
            points=5,
        ),
        Question("hw2-q4", "The law of the drift", "", "written", (), read_by_a_person=6),
        Question(
            "hw2-q5",
            "A network taken apart",
            "compression",
            "value",
            (Test("three numbers in their ranges", _compression),),
            points=6,
        ),
        Question(
            "hw2-q6",
            "The largest start that is small enough",
            "largest_scale",
            "function",
            (
                Test("against the depth", _deeper_is_larger),
                Test("two layers", _nothing_to_do),
            ),
            points=4,
        ),
        Question("hw2-q7", "What depth costs", "", "written", (), read_by_a_person=5),
    ),
)
