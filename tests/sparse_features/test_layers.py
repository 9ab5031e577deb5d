"""The layer of convolutional sparse coding, top-k, and the sparsity of all layers."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from sparse_features.cases import as_matrix, coding, textbook
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lecturelib.sparse_features import (
    ConvolutionalSparseCoding,
    TopK,
    activation_sparsity,
    critical_penalty,
    duality_gap,
    fista,
    mutual_coherence,
)
from lecturelib.training import train

KINDS = pytest.mark.parametrize("nonnegative", [False, True])
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 3, 5]))


@KINDS
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_the_output_is_fista_in_the_dictionary_of_shifted_atoms(channels, steps, nonnegative):
    layer = coding(1, channels, 4, steps=steps, nonnegative=nonnegative)
    images = normal(2, 3, channels, 5, 6)
    rate = 1 / layer.lipschitz_bound().item()
    matrix, codes = as_matrix(layer, 5, 6), layer(images)
    assert codes.shape == (3, 4, 5, 6)
    for image, code in zip(images, codes, strict=True):
        expected = textbook(matrix, image.flatten(), 0.2, rate, steps, nonnegative=nonnegative)[-1]
        np.testing.assert_allclose(code.detach().flatten().numpy(), expected, atol=1e-12)
    close(layer.reconstruct(codes).flatten(1), codes.flatten(1) @ matrix.T)


@KINDS
def test_many_steps_reach_the_minimiser(nonnegative):
    layer, images = coding(3, penalty=0.5, nonnegative=nonnegative), normal(4, 2, 1, 5, 5)
    exact = fista(as_matrix(layer, 5, 5), images.flatten(1), 0.5, nonnegative=nonnegative, tol=0)
    found = layer.minimize(images)
    assert found.codes.shape == (2, 6, 5, 5) and not found.codes.requires_grad
    close(found.objective, exact.objective, 1e-8)
    assert found.gap.max() < 1e-8 and found[1].codes.shape == (6, 5, 5)
    close(layer.duality_gap(images, found.codes), found.gap, 1e-13)
    excess = [layer.duality_gap(images, layer(images, steps=k)) for k in (2, 50, 2000)]
    assert (torch.stack(excess).diff(dim=0) < 0).all() and excess[-1].max() < 1e-3
    own = torch.tensor([0.5, 2.0], dtype=F64)
    again = layer.minimize(images, penalty=own, tol=1e-12)
    close(again.objective[0], exact.objective[0], 1e-8)
    assert (again.codes[1] != 0).sum() < (found.codes[1] != 0).sum()
    assert layer.minimize(images, steps=2).steps.tolist() == [2, 2]
    close(layer.minimize(images, steps=2).codes, layer(images).detach())
    two = layer.duality_gap(images, layer(images))
    matrix = as_matrix(layer, 5, 5)
    plain = duality_gap(
        matrix, images.flatten(1), layer(images).flatten(1), 0.5, nonnegative=nonnegative
    )
    close(two, plain)
    assert (two > 1e-2).all()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 4])
@KINDS
def test_gradients_of_images_atoms_and_penalties(channels, steps, nonnegative):
    layer = coding(5, channels, 3, steps=steps, nonnegative=nonnegative)
    images = normal(6, 2, channels, 4, 4).requires_grad_()

    def output(images, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (images,))

    assert torch.autograd.gradcheck(output, (images, layer.weight))
    codes = layer(images)
    assert codes.any() and (codes == 0).any()


@examples(40)
@given(seed=SEEDS, sizes=SIZES, height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_step_is_safe_for_every_image_size(seed, sizes, height, width):
    channels, atoms, kernel = sizes
    layer = coding(seed, channels, atoms, kernel)
    bound = float(layer.lipschitz_bound())
    assert torch.linalg.matrix_norm(as_matrix(layer, height, width), 2) ** 2 <= bound


@pytest.mark.parametrize(("channels", "atoms"), [(1, 4), (2, 3), (3, 2)])
def test_the_step_is_not_much_too_short(channels, atoms):
    for seed in range(3):
        layer = coding(seed, channels, atoms)
        norm = torch.linalg.matrix_norm(as_matrix(layer, 16, 16), 2) ** 2
        assert layer.lipschitz_bound() < 1.25 * norm


def test_power_iteration_on_a_vector_would_underestimate():
    layer = coding(0, 1, 4)
    matrix = as_matrix(layer, 8, 8)
    norm = torch.linalg.matrix_norm(matrix, 2) ** 2
    vector = normal(1, matrix.shape[1])
    for _ in range(5):
        vector = matrix.T @ (matrix @ vector)
        vector = vector / vector.norm()
    assert (matrix @ vector).square().sum() < 0.98 * norm < norm <= layer.lipschitz_bound()


def test_the_bound_of_special_atoms():
    delta = coding(0, 1, 1)
    with torch.no_grad():
        delta.weight.zero_()
        delta.weight[0, 0, 1, 1] = 3
    between = math.cos(math.pi / 12) ** 2  # 24 frequencies for a degree of two
    assert float(delta.lipschitz_bound()) == pytest.approx(9 / between)
    point = coding(0, 3, 2, kernel=1)
    norm = torch.linalg.matrix_norm(point.weight[:, :, 0, 0], 2) ** 2
    assert 1 <= point.lipschitz_bound() / norm < 2 ** (1 / 32)
    for scale in (1e-8, 1e8):
        scaled = copy.deepcopy(delta)
        scaled.weight.data *= scale
        assert float(scaled.lipschitz_bound()) == pytest.approx(scale**2 * 9 / between)
    nothing = coding(0)
    nothing.weight.data.zero_()
    assert not nothing(torch.ones(1, 1, 4, 4, dtype=F64)).any()


def test_the_penalty_is_changed_without_training():
    layer, images = coding(7), normal(8, 4, 1, 6, 6)
    before = layer(images)
    layer.penalty = 2.0
    after = layer(images)
    assert (after != 0).sum() < 0.8 * (before != 0).sum()
    close(layer(images, penalty=0.2), before)
    penalties = torch.tensor([0.2, 2.0, 0.2, 9.0], dtype=F64)
    each = layer(images, penalty=penalties)
    for i in range(4):
        close(each[i : i + 1], layer(images[i : i + 1], penalty=float(penalties[i])))
    gaps = layer.duality_gap(images, each, penalty=penalties)
    close(gaps[1:2], layer.duality_gap(images[1:2], each[1:2]))
    with pytest.raises(ValueError, match="penalty must be a finite number > 0"):
        layer.penalty = 0
    assert layer.penalty == 2.0
    fresh = nn.Sequential(coding(9))
    fresh.load_state_dict(nn.Sequential(layer).state_dict())
    close(fresh(images), before)


@KINDS
def test_the_code_is_zero_exactly_from_the_critical_penalty_on(nonnegative):
    layer, images = coding(2, nonnegative=nonnegative), normal(3, 4, 1, 5, 5)
    critical = layer.critical_penalty(images)
    matrix = as_matrix(layer, 5, 5)
    close(critical, critical_penalty(matrix, images.flatten(1), nonnegative=nonnegative))
    for steps in (1, 2, 50):
        assert not layer(images, penalty=critical * (1 + 1e-12), steps=steps).any()
        below = layer(images, penalty=(1 - 1e-6) * critical, steps=steps)
        assert below.flatten(1).any(1).all()


@pytest.mark.parametrize(("channels", "kernel"), [(1, 3), (2, 3), (1, 5)])
def test_coherence_is_that_of_the_dictionary_of_shifted_atoms(channels, kernel):
    layer = coding(4, channels, 3, kernel)
    size = 3 * kernel
    matrix = as_matrix(layer, size, size).view(channels * size * size, 3, size, size)
    inner = matrix[:, :, kernel // 2 : -(kernel // 2), kernel // 2 : -(kernel // 2)]
    close(layer.mutual_coherence(), mutual_coherence(inner.flatten(1)), 1e-12)


def test_a_fresh_layer_has_atoms_of_length_one_and_learns():
    torch.manual_seed(0)
    layer = ConvolutionalSparseCoding(1, 8, 3, 0.05, 2)
    close(layer.weight.flatten(1).norm(dim=1), torch.ones(8), 1e-6)
    assert "1, 8, kernel=3, penalty=0.05, steps=2" in repr(layer)
    images = torch.rand(60, 1, 6, 6, generator=source(0))
    labels = (images[:, 0, :3].mean((1, 2)) > images[:, 0, 3:].mean((1, 2))).long()
    net, before = nn.Sequential(layer, nn.Flatten(), nn.Linear(288, 2)), layer.weight.clone()
    metrics = {"loss": lambda net: nn.functional.cross_entropy(net(images), labels)}
    history = train(net, images, labels, epochs=40, optimizer="adam", lr=0.02, metrics=metrics)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert (layer.weight - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvolutionalSparseCoding(1, 4, 2, 0.1, 2), "kernel must be odd, got 2"),
        (lambda: ConvolutionalSparseCoding(1, 4, 3, -0.1, 2), "penalty must be a finite number"),
        (lambda: ConvolutionalSparseCoding(1, 4, 3, 0.1, 0), "steps must be an integer >= 1"),
        (lambda: coding()(torch.ones(2, 3, 4, 4, dtype=F64)), r"inputs must .* \(N, 1, H, W\)"),
        (lambda: coding()(torch.ones(2, 1, 4, 4)), "inputs must be of the type torch.float64"),
        (lambda: coding().reconstruct(torch.ones(2, 5, 4, 4)), r"codes must .* \(N, 6, H, W\)"),
        (
            lambda: coding()(torch.ones(2, 1, 4, 4, dtype=F64), penalty=torch.ones(3, dtype=F64)),
            r"penalty must be .* of shape \(2,\)",
        ),
        (
            lambda: coding().duality_gap(
                torch.ones(2, 1, 4, 4, dtype=F64), torch.ones(2, 6, 4, 5, dtype=F64)
            ),
            "codes must be codes of",
        ),
        (lambda: TopK(0), "k must be an integer >= 1"),
        (lambda: TopK(3)(torch.ones(4, 2)), "inputs must be of 3 or more entries along"),
        (lambda: TopK(1, dim=2)(torch.ones(4, 2)), "inputs must be of 1 or more entries along"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@examples(30)
@given(seed=SEEDS, k=st.integers(1, 5), dim=st.sampled_from([-1, 1, 0, -3]))
def test_top_k_keeps_the_largest(seed, k, dim):
    inputs = normal(seed, 5, 6, 5).requires_grad_()
    found = TopK(k, dim)(inputs)
    assert torch.equal((found != 0).sum(dim), torch.full_like(found.sum(dim), k).long())
    threshold = inputs.sort(dim, descending=True).values.select(dim, k - 1).unsqueeze(dim)
    assert torch.equal(found, inputs * (inputs >= threshold))
    found.sum().backward()
    assert torch.equal(inputs.grad, (found != 0).double())


def test_of_equal_entries_as_many_are_kept_as_fit():
    assert TopK(2)(torch.ones(3, 5)).sum(1).tolist() == [2, 2, 2]
    assert repr(TopK(2, 1)) == "TopK(2, dim=1)"


class Twice(nn.Module):
    """One ReLU, called two times."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(3, 4), nn.ReLU()

    def forward(self, inputs):
        return self.relu(1 - self.relu(self.linear(inputs)))


def data(seed=0, n=23):
    return normal(seed, n, 3, dtype=torch.float32), torch.arange(n) % 2


def network():
    torch.manual_seed(0)
    parts = [nn.Linear(3, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6), TopK(2), nn.Linear(6, 2)]
    return nn.Sequential(*parts)


def test_shares_are_those_that_are_counted():
    net, (inputs, labels) = network(), data()
    net.train()
    found = activation_sparsity(net, inputs)
    assert found.names == ("1", "4") and net.training and net[2].training
    hidden = net[0](inputs).relu().detach()
    shares = (hidden > 0).double().mean(1)
    assert found[0].nonzero == pytest.approx(float(shares.mean()))
    assert found[0].spread == pytest.approx(float(shares.std(correction=0)))
    assert found[0].silent == pytest.approx(float((hidden == 0).all(0).double().mean()))
    assert found["4"].nonzero == pytest.approx(2 / 6) and found["4"].spread == 0
    for loader in (
        DataLoader(TensorDataset(inputs, labels), batch_size=5),
        [inputs[:9], inputs[9:]],
        ((part, None) for part in inputs.split(4)),
        inputs.numpy(),
    ):
        again = activation_sparsity(net, loader)
        for name in ("nonzero", "spread", "silent"):
            close(getattr(again, name), getattr(found, name))
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_may_be_named_and_small_entries_be_zero():
    net, (inputs, _) = network(), data()
    assert activation_sparsity(net, inputs, layers=["5", "0"])["0"].nonzero == 1
    one, all_of_it = (
        activation_sparsity(net, inputs, layers=["0"], threshold=t) for t in (0.3, 100)
    )
    outputs = net[0](inputs).detach()
    assert float(one.nonzero) == pytest.approx(float((outputs.abs() > 0.3).double().mean()))
    assert all_of_it.nonzero == 0 and all_of_it.silent == 1
    found = activation_sparsity(net, inputs, layers=["4", "1"])
    assert found.names == ("1", "4") and found[1].names == "4" and found[:1].names == ("1",)
    with pytest.raises(KeyError, match="'7' was not measured: 1, 4 were"):
        found["7"]


def test_a_module_that_is_called_twice_is_two_layers():
    net, (inputs, _) = Twice(), data()
    found = activation_sparsity(net, inputs.split(10))
    first = net.linear(inputs).relu().detach()
    assert found.names == ("relu", "relu[1]")
    assert found[0].nonzero == pytest.approx(float((first > 0).double().mean()))
    assert found[1].nonzero == pytest.approx(float((first < 1).double().mean()))


def test_a_silent_layer_is_told_from_a_sparse_one():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.tensor([1.0, 0, 0, 0])))
    dead = activation_sparsity(net, torch.ones(4, 4))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4))
    sparse = activation_sparsity(net, torch.eye(4))
    assert dead.nonzero == sparse.nonzero == 0.25
    assert dead.silent == 0.75 and sparse.silent == 0


@pytest.mark.parametrize(
    ("loader", "options", "message"),
    [
        (torch.ones(2, 5), {}, "model and loader must fit each other"),
        ([], {}, "loader must be batches of inputs, at least one"),
        (3, {}, "loader must be a batch of inputs, or an iterable of batches, got 3"),
        ([1, 2], {}, "loader must be a real tensor"),
        ([torch.zeros(0, 3)], {}, "loader must be a batch of inputs"),
        (torch.ones(2, 3), {"layers": ["nope"]}, r"layers must be .*'5'\], got 'nope'"),
        (torch.ones(2, 3), {"layers": "1"}, "layers must be a sequence of names"),
        (torch.ones(2, 3), {"layers": []}, "layers must be one name or more"),
        (torch.ones(2, 3), {"threshold": -1}, "threshold must be a finite number >= 0"),
        (torch.ones(3), {}, r"layers must be layers with outputs \(N, …\), as 1"),
    ],
)
def test_loaders_layers_and_thresholds_that_do_not_fit(loader, options, message):
    net = network()
    with pytest.raises((TypeError, ValueError), match=message):
        activation_sparsity(net, loader, **options)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_network_without_activations_has_nothing_to_measure():
    with pytest.raises(ValueError, match="model must have a ReLU, a TopK or"):
        activation_sparsity(nn.Linear(3, 2), torch.ones(2, 3))
    found = activation_sparsity(nn.Sequential(coding()), normal(0, 2, 1, 5, 5))
    assert 0 < float(found.nonzero) < 1


def test_images_of_different_sizes_are_not_compared():
    net = nn.Sequential(coding())
    loader = [normal(0, 2, 1, 5, 5), normal(1, 2, 1, 5, 6)]
    with pytest.raises(ValueError, match="loader must have inputs of one size, but outputs of 0"):
        activation_sparsity(net, loader)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_layers_are_the_same_on_a_gpu():
    layer, images = coding(0, 2, 5), normal(1, 3, 2, 6, 6)
    far = copy.deepcopy(layer).cuda()
    close(far(images.cuda()).cpu(), layer(images), 1e-9)
    close(far.lipschitz_bound().cpu(), layer.lipschitz_bound(), 1e-9)
    penalties = layer.critical_penalty(images) / 2
    close(far(images.cuda(), penalty=penalties).cpu(), layer(images, penalty=penalties), 1e-9)
    assert activation_sparsity(nn.Sequential(far), images).names == ("0",)
