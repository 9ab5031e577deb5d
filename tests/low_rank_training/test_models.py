"""Layers of a network replaced by name: what changes, what stays, what learns."""

import copy

import pytest
import torch
from helpers import close
from low_rank_training.cases import (
    CASES,
    IN_BLOCKS,
    flags,
    inputs_for,
    mlp,
    same,
    state,
    trainable,
    vit,
)
from torch import nn
from torch.nn import functional

from lecturelib.low_rank_training import FactorizedLinear, LoRALinear, add_lora, factorize_layers
from lecturelib.networks import MLP, ViT
from lecturelib.training import train


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


@pytest.mark.parametrize("change", [factorize_layers, add_lora])
def test_each_layer_may_have_its_own_rank(change):
    net = change(mlp(), {"head": 1, "hidden.0.0": 5}, ["hidden.0.0", "head"])
    assert (len(net.head.A), len(net.hidden[0][0].A)) == (1, 5)
    assert isinstance(net.hidden[1][0], nn.Linear)


@pytest.mark.parametrize("change", [factorize_layers, add_lora])
def test_ranks_by_name_need_no_other_names(change):
    ranks = {"head": 1, "hidden.0.0": 5}
    net = change(mlp(), ranks)
    assert (len(net.head.A), len(net.hidden[0][0].A)) == (1, 5)
    with pytest.raises(ValueError, match=r"which must be .*, got 'nope'"):
        change(mlp(), {"head": 1, "nope": 2})
    with pytest.raises(TypeError, match=r"which must be a sequence .*, got None"):
        change(mlp(), 2)


def test_a_name_given_twice_counts_once():
    net = factorize_layers(mlp(), 2, ["head", "head"])
    close(net.head.weight, FactorizedLinear.from_linear(mlp().head, 2).weight, 1e-6)
    net = add_lora(mlp(), 2, ["head", "head"])
    assert type(net.head.base) is nn.Linear and trainable(net) == ["head.A", "head.B"]
    net = factorize_layers(mlp(), {"head": 2}, ["head", "head"])
    assert len(net.head.A) == 2


BAD_NAMES = [
    (["nope"], r"which must be .*\['hidden.0.0', 'hidden.1.0', 'head'\], got 'nope'"),
    (["hidden.0.0", "hidden.7.0"], "which must be .*, got 'hidden.7.0'"),
    (["head", "hidden.0.1"], "which must be .*, got 'hidden.0.1'"),
    (["head", "hidden.0"], "which must be .*, got 'hidden.0'"),
    (["head.weight"], "which must be .*, got 'head.weight'"),
    ([""], "which must be .*, got ''"),
    (["head", None], "which must be .*, got None"),
    ("head", "which must be a sequence of names of linear layers of the model, .*, got 'head'"),
    (None, "which must be a sequence .*, got None"),
]
BAD_RANKS = [
    (rank, ["hidden.0.0", "head"], rf"rank must be an integer in 1 \.\. {limit}, got {rank}")
    for rank, limit in [(0, 6), (-1, 6), (4, 3), (7, 6)]
]
BAD_RANKS += [
    (ranks, ["hidden.0.0", "head"], message)
    for ranks, message in [
        ({"head": 2}, r"rank must be one number, or one for each of \['head', 'hidden.0.0'\]"),
        ({"head": 2, "hidden.0.0": 2, "hidden.1.0": 2}, "rank must be one number, or one for each"),
        ({"hidden.0.0": 2, "head": 4}, r"rank must be an integer in 1 \.\. 3, got 4"),
        ({}, "rank must be one number, or one for each"),
        ("2", r"rank must be an integer in 1 \.\. 6, got '2'"),
    ]
]
ERRORS = [
    *(
        (change, (2, which), {}, message)
        for change in (factorize_layers, add_lora)
        for which, message in BAD_NAMES
    ),
    *(
        (change, (rank, which), {}, message)
        for change in (factorize_layers, add_lora)
        for rank, which, message in BAD_RANKS
    ),
    *(
        (
            add_lora,
            (2, ["hidden.0.0", "head"]),
            {"alpha": alpha},
            "alpha must be a finite number > 0",
        )
        for alpha in (0, -2.0)
    ),
]


@pytest.mark.parametrize(("change", "arguments", "options", "message"), ERRORS)
def test_an_error_leaves_the_network_as_it_was(change, arguments, options, message):
    net = mlp()
    net.hidden[1][0].bias.requires_grad_(False)
    before, values, trained = others(net, []), state(net), flags(net)
    with pytest.raises((TypeError, ValueError), match=message):
        change(net, *arguments, **options)
    assert others(net, []) == before and same(state(net), values)
    assert flags(net) == trained


def test_a_network_that_is_one_layer_has_no_name():
    for change in (factorize_layers, add_lora):
        with pytest.raises(ValueError, match=r"linear layers of the model, which are \[\], got ''"):
            change(nn.Linear(3, 3), 2, [""])


def test_a_thin_layer_is_not_factorized_again():
    net = factorize_layers(mlp(), 2, ["head"])
    for change in (factorize_layers, add_lora):
        with pytest.raises(ValueError, match=r"which must be .*, got 'head'"):
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


def test_names_may_come_from_a_generator():
    net = factorize_layers(MLP([4, 8, 8, 3]), 2, (name for name in ["hidden.1.0"]))
    assert isinstance(net.hidden[1][0], FactorizedLinear)


def test_a_merged_network_is_loaded_merged_and_not_trained():
    net, (images, labels) = shake(add_lora(mlp(), 2, ["hidden.0.0", "head"])), inputs_for(mlp())
    expected = net(images).detach()
    net.hidden[0][0].merge()  # one of the two
    other = add_lora(mlp(1), 2, ["hidden.0.0", "head"]).eval()
    other.load_state_dict(net.state_dict())
    assert other.hidden[0][0].merged and not other.head.merged
    close(other(images), expected, 1e-5)
    with pytest.raises(RuntimeError, match="merged layer is not trained"):
        train(net, images, labels, epochs=1)


def test_a_merged_layer_of_attention_is_not_trained():
    """Attention reads the weight of its output layer and never calls the layer."""
    net = ViT((1, 8, 8), 10, patch=4, dim=8, depth=1, heads=2, hidden=8)
    name = "blocks.0.self_attn.out_proj"
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shake(add_lora(net, 2, [name]))
    expected = net.eval()(images).detach()
    net.get_submodule(name).merge()
    close(net(images), expected, 1e-5)
    with pytest.raises(RuntimeError, match="merged layer is not trained"):
        net.train()(images)
    net.get_submodule(name).unmerge()
    net(images).sum().backward()
    assert net.get_submodule(name).A.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("change", [factorize_layers, add_lora])
@pytest.mark.parametrize(("build", "which"), CASES)
def test_thin_layers_are_the_same_on_a_gpu(build, which, change):
    here, far = change(build(), 2, which), change(build().cuda(), 2, which)
    assert all(parameter.is_cuda for parameter in far.parameters())
    far.load_state_dict(here.state_dict())
    images, _ = inputs_for(here)
    close(far(images.cuda()).cpu(), here(images), 1e-3)
    far.eval()
    with torch.no_grad():
        close(far(images.cuda()).cpu(), here(images), 1e-3)
