"""Thin layers against dense algebra, adapters against frozen weights, costs against hand counts."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_metrics import F64, SEEDS
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from lecturelib.low_rank_training import (
    FactorizedLinear,
    LoRALinear,
    add_lora,
    directions,
    factorize_layers,
    training_cost,
    update_singular_values,
)
from lecturelib.networks import MLP, ViT
from lecturelib.training import train

examples = settings(max_examples=30, deadline=None, derandomize=True)
SHAPES = [(7, 4, 3), (4, 7, 2), (5, 5, 5), (6, 1, 1), (1, 3, 1)]  # d_in, d_out, r


def close(one, other, tolerance=1e-12):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def normal(seed, *shape, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def linear(seed, d_in, d_out, bias=True, dtype=F64):
    layer = nn.Linear(d_in, d_out, bias, dtype=dtype)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(normal(seed + number, *parameter.shape))
    return layer


def adapter(seed, d_in, d_out, rank, *, alpha=None, bias=True, dtype=F64):
    """A LoRA layer in the middle of its training."""
    layer = LoRALinear(linear(seed, d_in, d_out, bias, dtype), rank, alpha)
    with torch.no_grad():
        layer.A.copy_(normal(seed + 2, rank, d_in))
        layer.B.copy_(normal(seed + 3, d_out, rank))
    return layer


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def flags(module):
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def trainable(module):
    return [name for name, flag in flags(module).items() if flag]


# --- a layer of two thin factors --------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("d_in", "d_out", "rank"), SHAPES)
def test_a_factorized_layer_is_linear_with_its_weight(d_in, d_out, rank, bias):
    torch.manual_seed(0)
    layer = FactorizedLinear(d_in, d_out, rank, bias).double()
    if bias:
        nn.init.normal_(layer.bias)
    assert layer.A.shape == (rank, d_in) and layer.B.shape == (d_out, rank)
    assert layer.weight.shape == (d_out, d_in)
    assert torch.linalg.matrix_rank(layer.weight) == rank
    assert (layer.bias is None) is not bias
    assert set(dict(layer.named_parameters())) == {"A", "B"} | ({"bias"} if bias else set())
    count = sum(parameter.numel() for parameter in layer.parameters())
    assert count == rank * (d_in + d_out) + bias * d_out
    for shape in [(d_in,), (3, d_in), (2, 3, d_in), (2, 1, 3, d_in), (0, d_in)]:
        inputs = normal(1, *shape)
        close(layer(inputs), functional.linear(inputs, layer.B @ layer.A, layer.bias))
        assert layer(inputs).shape == (*shape[:-1], d_out)


def test_a_fresh_factorized_layer_is_a_fresh_linear_one_truncated():
    torch.manual_seed(3)
    layer = FactorizedLinear(6, 5, 2)
    torch.manual_seed(3)
    dense = nn.Linear(6, 5)
    left, values, right = np.linalg.svd(dense.weight.detach().double().numpy())
    expected = (left[:, :2] * values[:2]) @ right[:2]
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, atol=1e-6)
    assert torch.equal(layer.bias, dense.bias)
    assert trainable(layer) == ["A", "B", "bias"]


@examples
@given(seed=SEEDS, d_in=st.integers(1, 12), d_out=st.integers(1, 12), data=st.data())
def test_factorizing_is_the_best_approximation_and_balanced(seed, d_in, d_out, data):
    rank = data.draw(st.integers(1, min(d_in, d_out)))
    dense = linear(seed, d_in, d_out)
    layer = FactorizedLinear.from_linear(dense, rank)
    values = np.linalg.svd(dense.weight.detach().numpy(), compute_uv=False)
    error = (dense.weight - layer.weight).detach().numpy()
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(values[rank:]), abs=1e-12)
    rest = values[rank] if rank < len(values) else 0  # Eckart and Young
    assert np.linalg.norm(error, 2) == pytest.approx(rest, abs=1e-12)
    found = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)
    np.testing.assert_allclose(found[:rank], values[:rank], atol=1e-12)
    np.testing.assert_allclose(found[rank:], 0, atol=1e-12)
    close(layer.A @ layer.A.T, layer.B.T @ layer.B)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("d_in", "d_out"), [(6, 4), (4, 6), (5, 5)])
def test_a_full_rank_reproduces_the_layer(d_in, d_out, bias):
    dense, inputs = linear(0, d_in, d_out, bias), normal(1, 9, d_in)
    layer = FactorizedLinear.from_linear(dense, min(d_in, d_out))
    assert isinstance(layer, FactorizedLinear)
    assert (layer.in_features, layer.out_features) == (d_in, d_out)
    close(layer.weight, dense.weight)
    close(layer(inputs), dense(inputs))


def test_factorizing_leaves_the_original_alone():
    dense = linear(0, 6, 4)
    before, inputs = state(dense), normal(1, 5, 6)
    layer = FactorizedLinear.from_linear(dense, 2)
    assert torch.equal(layer.bias, dense.bias)
    assert layer.bias.data_ptr() != dense.bias.data_ptr()
    solver = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(inputs).square().sum().backward()
    solver.step()
    assert same(before, state(dense)) and dense.bias.grad is None and dense.weight.grad is None
    assert flags(dense) == {"weight": True, "bias": True}
    assert not torch.equal(layer.bias, dense.bias)
    assert FactorizedLinear.from_linear(linear(0, 6, 4, bias=False), 2).bias is None
    assert FactorizedLinear(6, 4, 2, bias=False).bias is None


def test_the_factors_of_a_frozen_layer_are_trained():
    layer = FactorizedLinear.from_linear(linear(0, 6, 4).requires_grad_(False), 2)
    assert trainable(layer) == ["A", "B", "bias"]


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_new_parameters_follow_the_layer(dtype, device):
    def dense():
        return nn.Linear(6, 4, dtype=dtype, device=device)

    for layer in (FactorizedLinear.from_linear(dense(), 2), LoRALinear(dense(), 2)):
        assert {(p.dtype, p.device.type) for p in layer.parameters()} == {(dtype, device)}
        assert layer.weight.dtype == dtype
        outputs = layer(torch.ones(3, 6, dtype=dtype, device=device))
        assert (outputs.dtype, outputs.device.type) == (dtype, device)


def test_factors_are_contiguous():
    """L-BFGS takes parameters and gradients as vectors, without copying."""
    layers = [FactorizedLinear(6, 4, 2), FactorizedLinear(4, 6, 3), LoRALinear(nn.Linear(6, 4), 2)]
    for layer in layers:
        assert all(parameter.is_contiguous() for parameter in layer.parameters())


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_rank_errors(rank):
    message = rf"rank must lie in 1 \.\. 4, got {rank}"
    for build in (
        lambda: FactorizedLinear(6, 4, rank),
        lambda: FactorizedLinear(4, 6, rank),
        lambda: FactorizedLinear.from_linear(nn.Linear(6, 4), rank),
        lambda: LoRALinear(nn.Linear(6, 4), rank),
        lambda: LoRALinear(nn.Linear(4, 6), rank),
    ):
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["factorized", "lora"])
def test_gradients(kind, bias):
    if kind == "lora":
        layer = adapter(0, 5, 4, 2, alpha=3.0, bias=bias)
    else:
        layer = FactorizedLinear.from_linear(linear(0, 5, 4, bias), 2)
    names = trainable(layer)
    assert names == ["A", "B"] + ["bias"] * (bias and kind == "factorized")
    start = [layer.get_parameter(name).detach().clone().requires_grad_() for name in names]
    inputs = normal(7, 2, 3, 5).requires_grad_()

    def outputs(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(outputs, (inputs, *start))
    through = torch.autograd.grad(layer(inputs).sin().sum(), [layer.A, layer.B])
    dense = functional.linear(inputs, layer.weight, layer.bias)  # as attention reads an out_proj
    for one, other in zip(
        through, torch.autograd.grad(dense.sin().sum(), [layer.A, layer.B]), strict=True
    ):
        close(one, other)


@pytest.mark.parametrize("bias", [True, False])
def test_states_go_round(bias):
    inputs = normal(9, 3, 6)
    layer = FactorizedLinear.from_linear(linear(0, 6, 4, bias), 2)
    other = FactorizedLinear(6, 4, 2, bias).double()
    assert not torch.equal(layer(inputs), other(inputs))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(inputs), other(inputs))
    assert torch.equal(layer(inputs), copy.deepcopy(layer)(inputs))
    assert list(layer.state_dict()) == ["A", "B"] + ["bias"] * bias

    layer = adapter(0, 6, 4, 2, alpha=3.0, bias=bias)
    other = LoRALinear(linear(5, 6, 4, bias), 2, alpha=3.0)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(inputs), other(inputs))
    assert set(layer.state_dict()) == {"A", "B", "base.weight"} | ({"base.bias"} if bias else set())


def test_repr():
    assert repr(FactorizedLinear(7, 5, 3)) == (
        "FactorizedLinear(in_features=7, out_features=5, rank=3)"
    )


# --- a frozen layer and an update -------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("d_in", "d_out", "rank"), SHAPES)
def test_lora_starts_as_the_layer_it_adapts(d_in, d_out, rank, bias):
    base, inputs = linear(0, d_in, d_out, bias), normal(5, 2, 3, d_in)
    expected, weight = base(inputs), base.weight.clone()
    layer = LoRALinear(base, rank)
    assert torch.equal(layer(inputs), expected) and torch.equal(layer.weight, weight)
    assert layer.base is base and layer.bias is base.bias and not layer.merged
    assert layer.A.shape == (rank, d_in) and layer.B.shape == (d_out, rank)
    assert layer.A.all() and not layer.B.any()  # zero in both would never move
    assert trainable(layer) == ["A", "B"]
    assert flags(base) == {"weight": False} | ({"bias": False} if bias else {})
    layer(inputs).sin().sum().backward()
    assert base.weight.grad is None and layer.B.grad.any() and not layer.A.grad.any()


def test_the_start_of_a_is_that_of_a_linear_layer():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 300), 100)
    bound = 1 / math.sqrt(400)
    assert 0.99 * bound < layer.A.max() <= bound and -bound <= layer.A.min() < -0.99 * bound
    assert float(layer.A.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


@examples
@given(
    seed=SEEDS,
    d_in=st.integers(1, 9),
    d_out=st.integers(1, 9),
    alpha=st.none() | st.floats(0.01, 100),
    bias=st.booleans(),
    data=st.data(),
)
def test_lora_is_the_frozen_weight_and_the_scaled_update(seed, d_in, d_out, alpha, bias, data):
    rank = data.draw(st.integers(1, min(d_in, d_out)))
    layer = adapter(seed, d_in, d_out, rank, alpha=alpha, bias=bias)
    factor = 1 if alpha is None else alpha / rank
    weight = layer.base.weight + factor * (layer.B @ layer.A)
    close(layer.weight, weight)
    for shape in [(d_in,), (3, d_in), (2, 3, d_in)]:
        inputs = normal(seed + 5, *shape)
        close(layer(inputs), functional.linear(inputs, weight, layer.base.bias), 1e-11)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alpha", [None, 0.5, 16])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_merging_and_back(dtype, alpha, bias):
    tolerance = 200 * torch.finfo(dtype).eps
    layer, inputs = adapter(0, 6, 5, 3, alpha=alpha, bias=bias, dtype=dtype), normal(5, 9, 6)
    inputs = inputs.to(dtype)
    expected, weight, start = layer(inputs), layer.weight.detach(), state(layer)
    for _ in range(2):  # the second time changes nothing
        layer.merge()
        assert layer.merged
        close(layer.weight, weight, tolerance)
        close(layer.base.weight.detach(), weight, tolerance)
        close(layer(inputs), expected.detach(), tolerance)
    assert torch.equal(layer.A, start["A"]) and torch.equal(layer.B, start["B"])
    assert trainable(layer) == ["A", "B"]
    for _ in range(2):
        layer.unmerge()
        assert not layer.merged
        close(state(layer), start, tolerance)
        close(layer(inputs), expected, tolerance)
    layer.unmerge()
    layer(inputs).sum().backward()  # and is trained again
    assert layer.A.grad.any() and layer.B.grad.any()


def test_a_merged_layer_is_its_base_alone():
    layer, inputs = adapter(0, 6, 5, 3), normal(5, 9, 6)
    layer.merge()
    outputs, weight = layer(inputs), layer.weight.detach().clone()
    assert torch.equal(outputs, layer.base(inputs)) and not outputs.requires_grad
    with torch.no_grad():
        layer.A.fill_(math.nan)
        layer.B.fill_(math.nan)
    assert torch.equal(layer(inputs), outputs) and torch.equal(layer.weight, weight)


@pytest.mark.parametrize("alpha", [0, -1.0, math.nan])
def test_alpha_errors(alpha):
    base = nn.Linear(6, 4)
    with pytest.raises(ValueError, match="alpha must be positive, got"):
        LoRALinear(base, 2, alpha)
    with pytest.raises(ValueError, match="rank must lie"):
        LoRALinear(base, 5)
    assert flags(base) == {"weight": True, "bias": True}


# --- layers of a network ----------------------------------------------------------------------


def mlp(seed=0, **options):
    torch.manual_seed(seed)
    return MLP([6, 8, 7, 3], **options)


def vit(seed=0):
    torch.manual_seed(seed)
    net = ViT((1, 4, 4), 3, patch=2, dim=8, depth=2, heads=2, hidden=12)
    for parameter in net.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return net


IN_BLOCKS = [
    f"blocks.{number}.{name}"
    for number in range(2)
    for name in ("linear1", "linear2", "self_attn.out_proj")
]
CASES = [
    (mlp, ["hidden.1.0"]),
    (mlp, ["head", "hidden.0.0"]),
    (vit, ["embedding", "head", "blocks.1.linear2"]),
    (vit, ["blocks.0.self_attn.out_proj"]),
    (vit, IN_BLOCKS),
]


def inputs_for(net, n=12, dtype=torch.float32):
    shape = (6,) if isinstance(net, MLP) else (1, 4, 4)
    return normal(1, n, *shape, dtype=dtype), torch.arange(n) % 3


def shake(net):
    """Let every adapter of a network count."""
    for module in net.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.B, std=0.3)
    return net


def densified(net, which):
    """The same network with ordinary layers in the places of the thin ones."""
    net = copy.deepcopy(net)
    for name in which:
        parent, _, child = name.rpartition(".")
        thin = net.get_submodule(name)
        d_out, d_in = thin.weight.shape
        dense = nn.Linear(d_in, d_out, thin.bias is not None)
        with torch.no_grad():
            dense.weight.copy_(thin.weight)
            dense.bias.copy_(thin.bias)
        setattr(net.get_submodule(parent), child, dense)
    return net


def others(net, which):
    """Modules and parameters outside the layers named, as objects."""
    inside = tuple(f"{name}." for name in which)
    return {
        name: id(thing)
        for name, thing in (*net.named_modules(), *net.named_parameters())
        if not f"{name}.".startswith(inside)
    }


@pytest.mark.parametrize(("build", "which"), CASES)
def test_layers_are_factorized_by_name(build, which):
    net = build()
    old, before, values = dict(net.named_modules()), others(net, which), state(net)
    assert factorize_layers(net, 3, which) is net
    assert others(net, which) == before and set(flags(net).values()) == {True}
    assert sum(isinstance(module, FactorizedLinear) for module in net.modules()) == len(which)
    for name in which:
        layer = net.get_submodule(name)
        assert isinstance(layer, FactorizedLinear) and layer.A.shape[0] == 3
        expected = FactorizedLinear.from_linear(old[name], 3).weight
        close(layer.weight, expected, 1e-5)
    after = state(net)
    assert all(torch.equal(values[name], after[name]) for name in values.keys() & after.keys())
    images, _ = inputs_for(net)
    close(net(images), densified(net, which)(images), 1e-5)
    assert (net(images) - build()(images)).abs().max() > 1e-3


@pytest.mark.parametrize(("build", "which"), CASES)
def test_adapters_are_added_by_name(build, which):
    net = build()
    old, before, values = dict(net.named_modules()), others(net, which), state(net)
    images, _ = inputs_for(net)
    expected = net(images).detach()
    assert add_lora(net, 3, which, alpha=6.0) is net
    assert others(net, which) == before
    for name in which:
        layer = net.get_submodule(name)
        assert isinstance(layer, LoRALinear) and layer.A.shape[0] == 3
        assert layer.base is old[name] and layer.factor == 2
        assert torch.equal(layer.base.weight, values[f"{name}.weight"])
    assert sorted(trainable(net)) == sorted(f"{name}.{f}" for name in which for f in "AB")
    close(net(images).detach(), expected, 1e-5)
    shake(net)
    close(net(images), densified(net, which)(images), 1e-4)
    assert (net(images) - expected).abs().max() > 1e-3


def test_one_rank_each():
    net = factorize_layers(mlp(), {"head": 1, "hidden.0.0": 5}, ["hidden.0.0", "head"])
    assert (len(net.head.A), len(net.hidden[0][0].A)) == (1, 5)
    assert isinstance(net.hidden[1][0], nn.Linear)


def test_a_name_given_twice_counts_once():
    net = factorize_layers(mlp(), 2, ["head", "head"])
    close(net.head.weight, FactorizedLinear.from_linear(mlp().head, 2).weight, 1e-6)
    net = add_lora(mlp(), 2, ["head", "head"])
    assert type(net.head.base) is nn.Linear and trainable(net) == ["head.A", "head.B"]
    net = factorize_layers(mlp(), {"head": 2}, ["head", "head"])
    assert len(net.head.A) == 2


BAD_NAMES = [
    (["nope"], "'nope' is not a linear layer"),
    (["hidden.0.0", "hidden.7.0"], "'hidden.7.0' is not a linear layer"),
    (["head", "hidden.0.1"], r"'hidden.0.1' .* these are: \['hidden.0.0', 'hidden.1.0', 'head'\]"),
    (["head", "hidden.0"], "'hidden.0' is not a linear layer"),
    (["head.weight"], "'head.weight' is not a linear layer"),
    ([""], "'' is not a linear layer"),
    ("head", "sequence of names, got the string 'head'"),
]
BAD_RANKS = [
    (rank, ["hidden.0.0", "head"], rf"rank must lie in 1 \.\. {limit}, got {rank}")
    for rank, limit in [(0, 6), (-1, 6), (4, 3), (7, 6)]
]
ERRORS = [
    *((factorize_layers, (2, which), {}, message) for which, message in BAD_NAMES),
    *((factorize_layers, (rank, which), {}, message) for rank, which, message in BAD_RANKS),
    *(
        (factorize_layers, (ranks, ["hidden.0.0", "head"]), {}, message)
        for ranks, message in [
            ({"head": 2}, r"ranks are given for \['head'\], layers are \['head', 'hidden.0.0'\]"),
            ({"head": 2, "hidden.0.0": 2, "hidden.1.0": 2}, "ranks are given for"),
            ({"hidden.0.0": 2, "head": 4}, r"rank must lie in 1 \.\. 3, got 4"),
            ({}, "ranks are given for"),
        ]
    ),
    *((add_lora, (2, which), {}, message) for which, message in BAD_NAMES),
    *((add_lora, (rank, which), {}, message) for rank, which, message in BAD_RANKS),
    *(
        (add_lora, (2, ["hidden.0.0", "head"]), {"alpha": alpha}, "alpha must be positive")
        for alpha in (0, -2.0)
    ),
]


@pytest.mark.parametrize(("change", "arguments", "options", "message"), ERRORS)
def test_an_error_leaves_the_network_as_it_was(change, arguments, options, message):
    net = mlp()
    net.hidden[1][0].bias.requires_grad_(False)
    before, values, trained = others(net, []), state(net), flags(net)
    with pytest.raises(ValueError, match=message):
        change(net, *arguments, **options)
    assert others(net, []) == before and same(state(net), values)
    assert flags(net) == trained


def test_a_network_that_is_one_layer_has_no_name():
    for change in (factorize_layers, add_lora):
        with pytest.raises(ValueError, match="'' is not a linear layer"):
            change(nn.Linear(3, 3), 2, [""])


def test_a_thin_layer_is_not_factorized_again():
    net = factorize_layers(mlp(), 2, ["head"])
    for change in (factorize_layers, add_lora):
        with pytest.raises(ValueError, match="'head' is not a linear layer"):
            change(net, 1, ["head"])


@pytest.fixture
def fast_path(monkeypatch):
    """How often torch took the fast path of its encoder layer."""
    calls, fused = [], torch._transformer_encoder_layer_fwd

    def counted(*args):
        calls.append(args)
        return fused(*args)

    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", counted)
    return calls


@pytest.mark.parametrize(
    "which", [IN_BLOCKS, IN_BLOCKS[:1], IN_BLOCKS[2:3], IN_BLOCKS[4:], ["embedding", "head"]]
)
@pytest.mark.parametrize("kind", ["factorized", "lora", "merged"])
def test_a_thin_vit_is_the_same_in_both_modes(kind, which, fast_path):
    net = vit()
    images, _ = inputs_for(net)
    before = net(images).detach()
    net = factorize_layers(net, 2, which) if kind == "factorized" else add_lora(net, 2, which)
    shake(net)
    training = net.train()(images)
    if kind == "merged":
        for name in which:
            net.get_submodule(name).merge()
    assert len(fast_path) == 0
    net.eval()
    with torch.no_grad():
        evaluated = net(images)
    assert len(fast_path) == 2  # one per block
    close(evaluated, training.detach(), 2e-5)
    assert (evaluated - before).abs().max() > 1e-2


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("change", [factorize_layers, add_lora])
def test_gradients_reach_the_factors_inside_the_blocks(change, mode):
    """Attention reads its output layer's weight and never calls it."""
    net = shake(change(vit(), 2, IN_BLOCKS)).train(mode)
    dense = densified(net, IN_BLOCKS)
    images, labels = inputs_for(net)
    for network in (net, dense):
        functional.cross_entropy(network(images), labels).backward()
    for name in IN_BLOCKS:
        layer, gradient = net.get_submodule(name), dense.get_submodule(name).weight.grad
        factor = getattr(layer, "factor", 1)
        assert gradient.any()
        close(layer.A.grad, factor * layer.B.T @ gradient, 1e-5)  # the chain rule
        close(layer.B.grad, factor * gradient @ layer.A.T, 1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(("build", "which"), CASES[1:4])
def test_training_moves_the_adapters_alone(build, which, optimizer):
    net = add_lora(build(), 2, which)
    if "head" not in which:  # a new head is thawed
        net.head.requires_grad_(True)
    before, moved = state(net), set(trainable(net))
    assert len(moved) == 2 * len(which) + 2 * ("head" not in which)
    images, labels = inputs_for(net)
    options = {"optimizer": optimizer, "lr": 0.1, "weight_decay": 0.01, "batch_size": 6}
    train(net, images, labels, epochs=2, **options)
    after = state(net)
    assert {name for name in before if not torch.equal(before[name], after[name])} == moved


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_factorized_networks_learn(optimizer):
    net = factorize_layers(mlp(), {"hidden.0.0": 4, "hidden.1.0": 3}, ["hidden.0.0", "hidden.1.0"])
    images, labels = inputs_for(net)
    before = state(net)
    lr = {"sgd": 0.1, "adam": 0.02, "lbfgs": 1.0}[optimizer]
    train(net, images, labels, epochs=60, optimizer=optimizer, lr=lr)
    assert functional.cross_entropy(net(images), labels) < 0.3
    assert not any(torch.equal(before[name], value) for name, value in state(net).items())
    assert torch.linalg.matrix_rank(net.hidden[1][0].weight, rtol=1e-5) == 3


# --- costs ------------------------------------------------------------------------------------


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
    # Outputs of the ReLUs (which are the next layer's inputs), log-probabilities, their weight.
    kept = n * sum(widths[1:]) + 1
    if batch_norm:  # its inputs, and a mean and a deviation per feature
        kept += (n + 2) * (8 + 7)
    parameters = 48 + 8 + 56 + 7 + 21 + 3 + 2 * (8 + 7) * batch_norm
    assert cost.parameters == parameters
    assert cost.memory == size * (3 * parameters + kept)


def test_memory_of_a_factorized_network():
    n = 11
    cost = training_cost(factorize_layers(mlp(), 2, ["hidden.1.0"]), *classification(n))
    parameters = 48 + 8 + 2 * (8 + 7) + 7 + 21 + 3
    assert cost.memory == 4 * (3 * parameters + n * (8 + 2 + 7 + 3) + 1)


def test_memory_of_an_adapter_is_that_of_what_is_trained():
    n, rank = 11, 2
    cost = training_cost(add_lora(mlp(), rank, ["head"]), *classification(n))
    frozen, trained = 48 + 8 + 56 + 7 + 21 + 3, rank * (7 + 3)
    assert (cost.parameters, cost.trainable) == (frozen + trained, trained)
    assert cost.memory == 4 * (frozen + 3 * trained + n * (7 + rank + 3) + 1)


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
    net, (inputs, _) = mlp(), classification(11)
    targets = normal(3, 11, 3, dtype=torch.float32)
    cost = training_cost(net, inputs, targets, loss=functional.mse_loss)
    assert cost.memory == 4 * (3 * cost.parameters + 11 * (8 + 7 + 3))  # the targets are data
    head = training_cost(net, inputs, targets, loss=lambda z, y: ((z @ y.T).square()).mean())
    assert head.forward_flops == cost.forward_flops + 2 * 11 * 11 * 3
    assert head.step_flops == cost.step_flops + 2 * (2 * 11 * 11 * 3)


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


# --- singular values of a change --------------------------------------------------------------


@examples
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, F64]),
    stacked=st.booleans(),
)
def test_update_singular_values(seed, shape, dtype, stacked):
    weights = normal(seed, *shape, dtype=dtype)
    history = weights if stacked else list(weights)
    values = update_singular_values(history)
    assert values.shape == (shape[0], min(shape[1:])) and values.dtype == F64
    x = weights.double().numpy()
    expected = np.linalg.svd(x - x[:1], compute_uv=False)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-12)
    assert not values[0].any() and (values.diff(dim=1) <= 0).all()


def test_update_singular_values_of_a_run():
    net = factorize_layers(mlp(), 2, ["hidden.1.0"])
    images, labels = inputs_for(net)
    metrics = {"weight": lambda net: net.hidden[1][0].weight}
    history = train(net, images, labels, epochs=3, metrics=metrics)
    values = update_singular_values(history["weight"])
    assert values.shape == (4, 7) and (values[1:, 0] > 0).all()
    assert (values[:, 4:] < 1e-6).all()  # two matrices of rank two differ by one of rank four
    leaves = [nn.Parameter(torch.eye(3)), nn.Parameter(3 * torch.eye(3))]
    assert torch.equal(update_singular_values(leaves)[1], 2 * torch.ones(3, dtype=F64))
    assert not update_singular_values(leaves).requires_grad


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"matrices of one shape, got \[\]"),
        (torch.zeros(0, 2, 3), r"matrices of one shape, got \[\]"),
        ([torch.zeros(2)], r"matrices of one shape, got \[\(2,\)\]"),
        ([torch.zeros(2, 3, 4)], r"matrices of one shape, got \[\(2, 3, 4\)\]"),
        ([torch.zeros(2, 3), torch.zeros(3, 2)], r"got \[\(2, 3\), \(3, 2\)\]"),
        ([torch.zeros(2, 2), torch.tensor([[0.0, math.nan], [0, 0]])], "must be finite"),
        ([torch.tensor([[math.inf]])], "must be finite"),
    ],
)
def test_update_singular_values_errors(weights, message):
    with pytest.raises(ValueError, match=message):
        update_singular_values(weights)


@settings(examples, max_examples=200)
@given(
    values=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    percent=st.integers(1, 100),
    power=st.integers(-60, 60),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_directions_in_whole_numbers(values, percent, power, dtype):
    """Exact ties included; and a scale, here a power of two, changes nothing."""
    values = sorted(values, reverse=True)
    squares = [value**2 for value in values]
    needed = (100 * sum(squares[:k]) >= percent * sum(squares) for k in range(len(values) + 1))
    found = directions(torch.tensor(values, dtype=dtype) * 2.0**power, percent / 100)
    assert found.shape == () and found.dtype == torch.int64
    assert int(found) == list(needed).index(True)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_directions_of_equal_values(dtype):
    for size in (1e-30, 1e30):  # whose squares leave single precision
        assert int(directions(torch.full((3,), size, dtype=dtype))) == 3
    values = torch.full((100,), 0.1, dtype=dtype)
    assert int(directions(values)) == 99
    assert [int(directions(values, share)) for share in (0.01, 0.015, 0.5, 0.991, 1)] == [
        *(1, 2, 50, 100, 100)
    ]


def test_directions_of_many_rows():
    values = normal(0, 2, 3, 20).abs().sort(dim=-1, descending=True).values
    values[0, 1] = 0
    values[1, 2, 1:] = 0
    found = directions(values, 0.9)
    assert found.shape == (2, 3) and found.dtype == torch.int64
    for row, k in zip(values.flatten(0, 1).numpy(), found.flatten().tolist(), strict=True):
        shares = np.cumsum(row**2) / max(np.sum(row**2), 1e-300)
        assert k == (np.argmax(shares >= 0.9) + 1 if row.any() else 0)
    assert found[0, 1] == 0 and found[1, 2] == 1
    assert torch.equal(directions(torch.zeros(4, 5)), torch.zeros(4, dtype=torch.int64))
    assert int(directions(torch.tensor([3.0, 1.0, 0.1]))) == 2  # the default share is 0.99
    assert int(directions(torch.tensor([9.9, 1.0, 0.0]))) == 2  # 0.9899
    assert int(directions(torch.tensor([10.1, 1.0, 0.0]))) == 1  # 0.9903


@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan])
def test_directions_errors(share):
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got"):
        directions(torch.ones(3), share)


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    for change in (factorize_layers, add_lora):
        for build, which in CASES:
            here, far = change(build(), 2, which), change(build().cuda(), 2, which)
            assert all(parameter.is_cuda for parameter in far.parameters())
            far.load_state_dict(here.state_dict())
            images, labels = inputs_for(here)
            close(far(images.cuda()).cpu(), here(images), 1e-3)
            far.eval()
            with torch.no_grad():
                close(far(images.cuda()).cpu(), here(images), 1e-3)
    net, (images, labels) = factorize_layers(mlp(), 2, ["hidden.1.0"]), classification(11)
    here = training_cost(net, images, labels)
    far = training_cost(net.cuda(), images.cuda(), labels.cuda())
    assert flops(far) == flops(here) and far.parameters == here.parameters
    weights = normal(0, 4, 5, 6)
    values = update_singular_values(weights.cuda())
    assert values.is_cuda and directions(values).is_cuda
    close(values.cpu(), update_singular_values(weights), 1e-10)
    assert torch.equal(directions(values).cpu(), directions(update_singular_values(weights)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_directions_of_values_that_are_not_finite(value):
    with pytest.raises(ValueError, match="must be finite"):
        directions(torch.tensor([value, 1.0]))


def test_counting_a_frozen_network_says_so():
    net = nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model is trained"):
        training_cost(net, torch.randn(2, 4), torch.tensor([0, 1]))


def test_counting_restores_buffers_when_the_loss_fails():
    net = MLP([4, 8, 8, 3], batch_norm=True)
    before = [buffer.clone() for buffer in net.buffers()]
    with pytest.raises(ValueError, match="batch_size"):
        training_cost(net, torch.randn(5, 4), torch.arange(4))
    assert all(map(torch.equal, before, net.buffers()))


def test_names_from_a_generator():
    net = factorize_layers(MLP([4, 8, 8, 3]), 2, (name for name in ["hidden.1.0"]))
    assert isinstance(net.hidden[1][0], FactorizedLinear)
