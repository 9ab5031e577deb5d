"""Costs of a training step against counts by hand."""

from itertools import pairwise

import pytest
import torch
from helpers import F64, normal
from low_rank_training.cases import flags, inputs_for, mlp, same, state, vit
from torch import nn
from torch.nn import functional

from lecturelib.losses import CrossEntropy, FocalLoss, LabelSmoothing, SquaredError
from lecturelib.low_rank_training import add_lora, factorize_layers, training_cost
from lecturelib.networks import MLP
from lecturelib.training import train


def chain_flops(shapes, n):
    """Matrix products of a chain of trained layers: the data need no gradient."""
    sizes = [2 * n * d_in * d_out for d_in, d_out in shapes]
    return sum(sizes), 3 * sum(sizes) - sizes[0]


def classification(n, d_in=6, k=3):
    return normal(2, n, d_in, dtype=torch.float32), torch.arange(n) % k


def flops(cost):
    return cost.forward_flops, cost.step_flops


@pytest.mark.parametrize("n", [1, 11])
@pytest.mark.parametrize("widths", [[6, 4, 3], [6, 8, 7, 3], [6, 5, 9, 2, 3]])
def test_flops_of_a_network(widths, n):
    net, shapes = MLP(widths), list(pairwise(widths))
    cost = training_cost(net, *classification(n))
    assert flops(cost) == chain_flops(shapes, n)
    assert cost.parameters == cost.trainable == sum(a * b + b for a, b in shapes)


@pytest.mark.parametrize(
    ("which", "shapes"),
    [
        (["hidden.1.0"], [(6, 8), (8, 2), (2, 7), (7, 3)]),
        (["hidden.0.0"], [(6, 2), (2, 8), (8, 7), (7, 3)]),
        (["hidden.0.0", "hidden.1.0", "head"], [(6, 2), (2, 8), (8, 2), (2, 7), (7, 2), (2, 3)]),
    ],
)
def test_flops_of_a_factorized_network(which, shapes):
    cost = training_cost(factorize_layers(mlp(), 2, which), *classification(11))
    assert flops(cost) == chain_flops(shapes, 11)
    assert cost.parameters == cost.trainable == sum(a * b for a, b in shapes) + 8 + 7 + 3


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("adapted", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}])
def test_flops_of_adapters(adapted, head):
    """No gradients of frozen weights, and none below the lowest adapter."""
    n, rank, names = 11, 2, ["hidden.0.0", "hidden.1.0", "head"]
    net = add_lora(mlp(), rank, [names[layer] for layer in adapted])
    head = head and 2 not in adapted
    if head:
        net.head.requires_grad_(True)
    forward = backward = 0
    for layer, (d_in, d_out) in enumerate([(6, 8), (8, 7), (7, 3)]):
        below = layer > min(adapted)
        forward += d_in * d_out
        backward += below * d_in * d_out + (head and layer == 2) * d_in * d_out
        if layer in adapted:
            forward += rank * (d_in + d_out)
            backward += rank * (d_in + d_out)  # of A and B
            backward += rank * d_out + below * rank * d_in  # of A x and x
    cost = training_cost(net, *classification(n))
    assert flops(cost) == (2 * n * forward, 2 * n * (forward + backward))
    sizes = [(6, 8), (8, 7), (7, 3)]
    extra = sum(rank * sum(sizes[layer]) for layer in adapted)
    assert cost.trainable == extra + 24 * head
    assert cost.parameters == 48 + 8 + 56 + 7 + 21 + 3 + extra


@pytest.mark.parametrize("change", [factorize_layers, add_lora])
def test_costs_of_a_vit(change):
    n, tokens, rank = 5, 5, 2
    images, labels = inputs_for(vit(), n)
    full = training_cost(vit(), images, labels)
    assert min(full.parameters, full.forward_flops, full.memory) > 0
    assert full.step_flops > 2 * full.forward_flops
    thin = training_cost(change(vit(), rank, ["blocks.0.linear1"]), images, labels)
    dense, factors = 8 * 12, rank * (8 + 12)
    saved = dense - factors if change is factorize_layers else -factors
    assert full.parameters - thin.parameters == saved
    assert full.forward_flops - thin.forward_flops == 2 * n * tokens * saved
    if change is factorize_layers:
        assert full.step_flops - thin.step_flops == 3 * 2 * n * tokens * saved
    else:
        assert thin.trainable == factors
        assert thin.step_flops < full.step_flops and thin.memory < full.memory


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_memory_of_a_network(dtype, batch_norm):
    n, size, widths = 11, torch.finfo(dtype).bits // 8, [6, 8, 7, 3]
    net = mlp(batch_norm=batch_norm).to(dtype)
    inputs, labels = classification(n)
    cost = training_cost(net, inputs.to(dtype), labels)
    # Outputs of the ReLUs (which are the next layer's inputs), logits, the logarithms of sums.
    kept = n * sum(widths[1:]) + n
    if batch_norm:  # its inputs, and a mean and a deviation per feature
        kept += (n + 2) * (8 + 7)
    parameters = 48 + 8 + 56 + 7 + 21 + 3 + 2 * (8 + 7) * batch_norm
    assert cost.parameters == parameters
    assert cost.memory == size * (3 * parameters + kept)


def test_memory_of_a_factorized_network():
    n = 11
    cost = training_cost(factorize_layers(mlp(), 2, ["hidden.1.0"]), *classification(n))
    parameters = 48 + 8 + 2 * (8 + 7) + 7 + 21 + 3
    assert cost.memory == 4 * (3 * parameters + n * (8 + 2 + 7 + 3 + 1))


def test_memory_of_an_adapter_is_that_of_what_is_trained():
    n, rank = 11, 2
    cost = training_cost(add_lora(mlp(), rank, ["head"]), *classification(n))
    frozen, trained = 48 + 8 + 56 + 7 + 21 + 3, rank * (7 + 3)
    assert (cost.parameters, cost.trainable) == (frozen + trained, trained)
    assert cost.memory == 4 * (frozen + 3 * trained + n * (7 + rank + 3 + 1))


def test_memory_counts_a_storage_once():
    """A saved tensor and its views, or a tensor saved by two operations, lie in one place."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4, bias=False)

        def forward(self, inputs):
            outputs = self.layer(inputs).exp()  # kept by exp
            return outputs * outputs.flip(0).sum(0) + outputs[:, :1].sin()  # and three times more

    n = 10
    cost = training_cost(Twice(), *classification(n), loss=lambda outputs, _: outputs.sum())
    assert cost.memory == 4 * (3 * 24 + n * 4 + 4)


def test_the_loss_is_the_one_given():
    net, (inputs, labels) = mlp(), classification(11)
    targets = normal(3, 11, 3, dtype=torch.float32)
    cost = training_cost(net, inputs, targets, loss=functional.mse_loss)
    assert cost.memory == 4 * (3 * cost.parameters + 11 * (8 + 7 + 3))  # the targets are data
    head = training_cost(net, inputs, targets, loss=lambda z, y: ((z @ y.T).square()).mean())
    assert head.forward_flops == cost.forward_flops + 2 * 11 * 11 * 3
    assert head.step_flops == cost.step_flops + 2 * (2 * 11 * 11 * 3)
    assert training_cost(net, inputs, labels) == training_cost(
        net, inputs, labels, loss=CrossEntropy()
    )
    for loss in (FocalLoss(2.0), LabelSmoothing(0.1), SquaredError()):
        other = training_cost(net, inputs, labels, loss=loss)
        assert flops(other) == flops(cost) and other.memory != cost.memory


@pytest.mark.parametrize("mode", [True, False])
def test_counting_changes_nothing(mode):
    net = add_lora(mlp(batch_norm=True), 2, ["hidden.1.0"]).train(mode)
    net.head.requires_grad_(True)
    inputs, labels = classification(11)
    train(net, inputs, labels, epochs=1)  # so that the statistics are not those of the start
    net.train(mode)
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 2.0) if parameter.ndim == 2 else None
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    before, trained, buffers = state(net), flags(net), [id(b) for b in net.buffers()]
    data = inputs.clone(), labels.clone()
    training_cost(net, inputs, labels)
    assert "hidden.0.1.running_mean" in before and before["hidden.0.1.num_batches_tracked"] == 1
    assert same(before, state(net)) and flags(net) == trained
    assert [id(b) for b in net.buffers()] == buffers
    assert all(module.training is mode for module in net.modules())
    for name, parameter in net.named_parameters():
        assert parameter.grad is gradients[name]
        assert parameter.grad is None or (parameter.grad == 2).all()
    assert torch.equal(inputs, data[0]) and torch.equal(labels, data[1])


def test_numbers_of_the_slides():
    """Weights without biases; on the meta device nothing is computed or allocated."""

    def weights(widths, rank=None):
        with torch.device("meta"):
            net = MLP(widths)
            if rank:
                factorize_layers(net, rank, ["hidden.1.0", "hidden.2.0"])
            data = torch.empty(7, 784), torch.empty(7, dtype=torch.long)
            cost = training_cost(net, *data)
        count = cost.parameters - sum(widths[1:])
        assert cost.forward_flops == 2 * 7 * count
        assert cost.step_flops == 3 * cost.forward_flops - 2 * 7 * 784 * 2000
        return count

    assert weights([784, 2000, 2000, 10]) == 5_588_000
    assert weights([784, 2000, 2000, 2000, 10]) == 9_588_000
    assert weights([784, 2000, 2000, 2000, 10], rank=10) == 1_668_000
    assert weights([784, 2000, 2000, 2000, 10], rank=1) == 1_596_000


def test_a_frozen_network_has_no_training_step():
    net = nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(ValueError, match="model must have a parameter that is trained"):
        training_cost(net, torch.randn(2, 4), torch.tensor([0, 1]))


def test_counting_restores_buffers_when_the_loss_fails():
    net = MLP([4, 8, 8, 3], batch_norm=True)
    before = [buffer.clone() for buffer in net.buffers()]
    with pytest.raises(ValueError, match="labels must be"):
        training_cost(net, torch.randn(5, 4), torch.arange(4))
    with pytest.raises(ValueError, match=r"model, inputs, labels and loss must fit .*: .*elements"):
        training_cost(
            net, torch.randn(5, 4), torch.arange(4), loss=lambda z, y: z[:, 0] @ y.float()
        )
    assert all(map(torch.equal, before, net.buffers()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_operations_are_the_same_on_a_gpu():
    net, (images, labels) = factorize_layers(mlp(), 2, ["hidden.1.0"]), classification(11)
    here = training_cost(net, images, labels)
    far = training_cost(net.cuda(), images.cuda(), labels.cuda())
    assert flops(far) == flops(here) and far.parameters == here.parameters
