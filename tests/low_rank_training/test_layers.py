"""Thin layers against dense algebra, adapters against frozen weights."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal
from hypothesis import given
from hypothesis import strategies as st
from low_rank_training.cases import adapter, flags, linear, same, state, trainable
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from lecturelib.low_rank_training import FactorizedLinear, LoRALinear

SHAPES = [(7, 4, 3), (4, 7, 2), (5, 5, 5), (6, 1, 1), (1, 3, 1)]  # d_in, d_out, r

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


@examples(30)
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
def test_a_rank_is_at_most_the_smaller_dimension(rank):
    message = rf"rank must be an integer in 1 \.\. 4, got {rank}"
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
def test_gradients_are_those_of_differences(kind, bias):
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
def test_states_are_loaded_as_they_were_saved(bias):
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
    names = {"A", "B", "base.weight", "_extra_state"} | ({"base.bias"} if bias else set())
    assert set(layer.state_dict()) == names


def test_a_layer_prints_its_sizes():
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


@examples(30)
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
def test_a_layer_is_merged_and_back_again(dtype, alpha, bias):
    tolerance = 200 * torch.finfo(dtype).eps
    layer = adapter(0, 6, 5, 3, alpha=alpha, bias=bias, dtype=dtype).eval()
    inputs = normal(5, 9, 6).to(dtype)
    expected, weight, start = layer(inputs), layer.weight.detach(), state(layer)
    layer.merge()
    for _ in range(2):
        assert layer.merged
        close(layer.weight, weight, tolerance)
        close(layer.base.weight.detach(), weight, tolerance)
        close(layer(inputs), expected.detach(), tolerance)
        with pytest.raises(RuntimeError, match=r"merged already: call unmerge\(\) first"):
            layer.merge()  # and nothing is added
    assert torch.equal(layer.A, start["A"]) and torch.equal(layer.B, start["B"])
    assert trainable(layer) == ["A", "B"]
    layer.unmerge()
    for _ in range(2):
        assert not layer.merged
        close(state(layer), start, tolerance)
        close(layer(inputs), expected, tolerance)
        with pytest.raises(RuntimeError, match=r"not merged: call merge\(\) first"):
            layer.unmerge()
    layer(inputs).sum().backward()  # and is trained again
    assert layer.A.grad.any() and layer.B.grad.any()


def test_a_merged_layer_is_its_base_alone():
    layer, inputs = adapter(0, 6, 5, 3).eval(), normal(5, 9, 6)
    layer.merge()
    outputs, weight = layer(inputs), layer.weight.detach().clone()
    assert torch.equal(outputs, layer.base(inputs)) and not outputs.requires_grad
    with torch.no_grad():
        layer.A.fill_(math.nan)
        layer.B.fill_(math.nan)
    assert torch.equal(layer(inputs), outputs) and torch.equal(layer.weight, weight)


@pytest.mark.parametrize("alpha", [0, -1.0, math.nan])
def test_alpha_is_positive(alpha):
    base = nn.Linear(6, 4)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0, got"):
        LoRALinear(base, 2, alpha)
    with pytest.raises(ValueError, match="rank must be"):
        LoRALinear(base, 5)
    assert flags(base) == {"weight": True, "bias": True}


@pytest.mark.parametrize("trained", [True, False])
def test_a_merged_state_is_loaded_merged(trained):
    """Its weight holds the update already: counted again, the outputs would be others."""
    layer, inputs = adapter(0, 6, 5, 3, alpha=5.0).eval(), normal(5, 9, 6)
    expected, unmerged = layer(inputs), state(layer)
    layer.merge()
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = LoRALinear(linear(7, 6, 5), 3, alpha=5.0 if trained else None).eval()
    if trained:
        nn.init.normal_(other.B)
        other.merge()
    other.load_state_dict(saved)
    assert other.merged
    close(other(inputs), expected.detach())
    close(other.weight, layer.weight)
    assert (
        other.base(inputs) + other.factor * inputs @ other.A.T @ other.B.T - expected
    ).norm() > 1
    other.unmerge()
    close(other(inputs), expected)
    close(other.base.weight, unmerged["base.weight"])
    other.merge()
    other.load_state_dict(unmerged)
    assert not other.merged
    close(other(inputs), expected)


def test_a_merged_layer_is_not_trained():
    """Neither silently nor at all: its outputs do not depend on the factors."""
    layer, inputs = adapter(0, 6, 5, 3), normal(5, 9, 6)
    expected = layer(inputs).detach()
    layer.merge()
    with pytest.raises(RuntimeError, match=r"merged layer is not trained: call unmerge\(\)"):
        layer(inputs)
    with torch.no_grad():  # such as to refresh what batch normalisation has measured
        close(layer(inputs), expected)
    close(layer.eval()(inputs), expected)
    layer.train().unmerge()
    layer(inputs).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


@pytest.mark.parametrize("build", [lambda: FactorizedLinear(6, 5, 2), lambda: adapter(0, 6, 5, 2)])
def test_inputs_are_checked(build):
    layer = build().double()
    inputs = normal(0, 3, 6)
    assert torch.equal(layer(inputs.numpy()), layer(inputs))
    for wrong in (normal(0, 3, 5), inputs.long(), inputs.float()):
        with pytest.raises(ValueError, match="inputs must be"):
            layer(wrong)


@pytest.mark.parametrize("wrong", [nn.Bilinear(4, 4, 4), torch.eye(4), None])
def test_only_linear_layers_are_made_thin(wrong):
    with pytest.raises(TypeError, match=r"base must be a torch\.nn\.Linear"):
        LoRALinear(wrong, 2)
    with pytest.raises(TypeError, match=r"linear must be a torch\.nn\.Linear"):
        FactorizedLinear.from_linear(wrong, 2)
