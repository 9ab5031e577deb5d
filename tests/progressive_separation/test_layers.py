"""What is measured at the layers of a network: linear probes and profiles."""

import numpy as np
import pytest
import torch
from helpers import F64, GOOD, LABELS, blocks, close, isotropic, spoilt
from sklearn.linear_model import LogisticRegression
from torch import nn

from lecturelib.metrics import nc1, simplex_etf
from lecturelib.networks import MLP, ViT
from lecturelib.progressive_separation import (
    feature_compression,
    feature_separation,
    layer_profile,
    linear_probe_accuracy,
)

# --- linear probes ----------------------------------------------------------------------------


def probe_data(seed, noise, sizes=(60, 90, 40), dim=5):
    rng = np.random.default_rng(seed)
    means, scales = rng.normal(size=(len(sizes), dim)), 10.0 ** rng.uniform(-3, 3, dim)

    def draw(sizes):
        labels = blocks(list(sizes))
        features = means[labels] + noise * rng.normal(size=(len(labels), dim))
        return torch.from_numpy(scales * (features + 3)), labels

    return (*draw(sizes), *draw([200] * len(sizes)))


def sklearn_predictions(train_features, train_labels, test_features, weight_decay):
    """The same optimum: a column of ones in place of an intercept puts the penalty on it, too."""
    known, new = np.asarray(train_features), np.asarray(test_features)
    new = (new - known.mean(0)) / known.std(0)
    known = (known - known.mean(0)) / known.std(0)
    solver = LogisticRegression(
        C=1 / (weight_decay * len(known)), fit_intercept=False, tol=1e-10, max_iter=10_000
    )
    known, new = (np.hstack([x, np.ones((len(x), 1))]) for x in (known, new))
    return torch.from_numpy(solver.fit(known, np.asarray(train_labels)).predict(new))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("weight_decay", [1e-3, 0.1, 1.0])
def test_probe_finds_the_optimum_of_logistic_regression(seed, noise, weight_decay):
    features, labels, new, truth = probe_data(seed, noise)
    predicted = sklearn_predictions(features, labels, new, weight_decay)

    def accuracy(reference, **options):
        return linear_probe_accuracy(features, labels, new, reference, **options)

    assert accuracy(predicted, weight_decay=weight_decay) == torch.ones((), dtype=F64)
    expected = (predicted == truth).double().mean().item()
    assert accuracy(truth, weight_decay=weight_decay) == expected
    if weight_decay == 1e-3:
        assert accuracy(truth) == expected
    if weight_decay == 1.0 and noise == 3.0:  # else the test could not tell penalties apart
        assert accuracy(predicted, weight_decay=1e-3) < 1.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("weight_decay", [1e-3, 1e-4])
def test_probe_finds_the_optimum_in_many_correlated_dimensions(seed, weight_decay):
    rng, k, dim = np.random.default_rng(seed), 6, 40
    mixing = rng.normal(size=(dim, dim)) / np.arange(1, dim + 1)[:, None] ** 3.0
    means = rng.normal(size=(k, dim))
    labels, new_labels = blocks([50] * k), blocks([200] * k)
    features, new = (
        torch.from_numpy((means[y] + 1.5 * rng.normal(size=(len(y), dim))) @ mixing)
        for y in (labels, new_labels)
    )
    predicted = sklearn_predictions(features, labels, new, weight_decay)
    accuracy = linear_probe_accuracy(features, labels, new, predicted, weight_decay=weight_decay)
    assert accuracy >= 1 - 2 / len(new)  # one or two may lie on a boundary


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e3), (1e-4, 0.0), (-1e5, -7.0)])
def test_probe_does_not_see_shift_and_scale(seed, scale, shift):
    features, labels, new, _ = probe_data(seed, 1.0)
    predicted = sklearn_predictions(features, labels, new, 1e-3)
    moved = linear_probe_accuracy(scale * features + shift, labels, scale * new + shift, predicted)
    assert moved == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_probe_of_separable_classes(dtype):
    features, labels = isotropic(100 * simplex_etf(4, 6, dtype=dtype), 1.0)
    assert linear_probe_accuracy(features, labels, features, labels) == 1.0
    assert linear_probe_accuracy(features, labels.int(), features, (labels + 1) % 4) == 0.0


def test_probe_of_constant_features_predicts_the_majority():
    labels = blocks([3, 5, 2])
    new, truth = torch.randn(10, 4), blocks([2, 4, 4])
    assert linear_probe_accuracy(torch.ones(10, 4), labels, new, truth) == 0.4
    # A constant column, or one that varies only in the test set, does not count.
    features, labels, new, truth = probe_data(0, 1.0)
    accuracy = linear_probe_accuracy(features, labels, new, truth)
    padded = torch.cat([features, torch.ones(len(features), 1)], 1)
    varying = torch.cat([new, 100 * torch.arange(len(new))[:, None]], 1)
    assert linear_probe_accuracy(padded, labels, varying, truth) == accuracy


def test_probe_may_miss_classes_in_the_test_set():
    features, labels = isotropic(100 * simplex_etf(4, 6), 1.0)
    one = labels == 2
    assert linear_probe_accuracy(features, labels, features[one], labels[one]) == 1.0


@pytest.mark.parametrize(
    ("features", "labels", "new", "truth", "message"),
    [
        (GOOD, LABELS, GOOD, LABELS + 1, r"test_labels must lie in 0 \.\. 1, got 1 \.\. 2"),
        (GOOD, LABELS, GOOD, LABELS - 1, r"test_labels must lie in 0 \.\. 1, got -1 \.\. 0"),
        (GOOD, LABELS - 1, GOOD, LABELS, r"train_labels must lie in 0 \.\. 0, got -1 \.\. 0"),
        (GOOD, LABELS[:3], GOOD, LABELS, r"train_labels must be .* of shape \(4,\)"),
        (GOOD, LABELS, GOOD, LABELS[:3], r"test_labels must be .* of shape \(4,\)"),
        (GOOD, LABELS, GOOD[:, :1], LABELS, r"test_features must be .* of shape \(M, 2\)"),
        (GOOD[0], LABELS, GOOD, LABELS, r"train_features must be .* of shape \(N, d\)"),
        (GOOD, LABELS, GOOD[None], LABELS, r"test_features must be .* of shape \(M, 2\)"),
        (GOOD, LABELS.float(), GOOD, LABELS, "train_labels must be an integer tensor"),
        (GOOD[:0], LABELS[:0], GOOD, LABELS, "train_features must be"),
        (GOOD, LABELS, GOOD[:0], LABELS[:0], "test_features must be"),
        (spoilt(torch.nan), LABELS, GOOD, LABELS, "train_features must be finite"),
        (GOOD, LABELS, spoilt(torch.inf), LABELS, "test_features must be finite"),
    ],
)
def test_probe_errors(features, labels, new, truth, message):
    with pytest.raises(ValueError, match=message):
        linear_probe_accuracy(features, labels, new, truth)


def test_probe_works_without_gradients():
    features, labels, new, truth = probe_data(0, 1.0)
    accuracy = linear_probe_accuracy(features, labels, new, truth)
    with torch.no_grad():
        assert linear_probe_accuracy(features, labels, new, truth) == accuracy


def test_probe_takes_features_with_a_graph():
    (inputs, labels), network = batch(), NETWORKS["plain"]()
    features = network.features(inputs)
    detached = linear_probe_accuracy(features.detach(), labels, features.detach(), labels)
    assert linear_probe_accuracy(features, labels, features, labels) == detached
    assert all(parameter.grad is None for parameter in network.parameters())


# --- profiles ---------------------------------------------------------------------------------


def batch(shape=(1, 4, 4), n=24, k=4):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(n) % k


NETWORKS = {
    "plain": lambda: MLP([16, 12, 10, 8, 4]),
    "hybrid": lambda: MLP([16, 12, 10, 8, 4], batch_norm=True, linear_tail=2),
    "transformer": lambda: ViT((1, 4, 4), 4, patch=2, dim=8, depth=3),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_profile_counts_layers_from_the_flattened_input(name, training):
    torch.manual_seed(0)
    (inputs, labels), network = batch(), NETWORKS[name]()
    network.train()
    network.taps(inputs)  # statistics of the batch norm move away from their start
    network.train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    profile = layer_profile(network, inputs, labels)

    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    network.eval()
    layers = [inputs.flatten(1), *network.taps(inputs)]
    assert len(layers) == 4
    assert list(profile) == ["D", "S", "nc1"]
    metrics = {"D": feature_compression, "S": feature_separation, "nc1": nc1}
    for key, metric in metrics.items():
        assert profile[key].dtype == F64
        expected = torch.stack([metric(layer.detach(), labels) for layer in layers])
        close(profile[key], expected, 1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_profile_of_own_metrics(name):
    (inputs, labels), network, seen = batch(), NETWORKS[name]().train(), []

    def width(features, classes):
        seen.append(features)
        assert torch.equal(classes, labels)
        return features.shape[1]

    profile = layer_profile(network, inputs, labels, {"width": width, "half": lambda *_: 0.5})
    widths = [16, 8, 8, 8] if name == "transformer" else [16, 12, 10, 8]
    assert list(profile) == ["width", "half"]
    assert profile["width"].tolist() == widths and profile["half"].tolist() == [0.5] * 4
    assert {values.dtype for values in profile.values()} == {F64}
    assert torch.equal(seen[0], inputs.flatten(1))
    assert not any(features.requires_grad for features in seen)


def test_profile_of_a_function_alone():
    class Doubling(nn.Module):
        def taps(self, inputs):
            return [2 * inputs.flatten(1), torch.zeros(len(inputs), 3)]

    inputs, labels = batch((2, 3))
    profile = layer_profile(Doubling(), inputs, labels, {"norm": lambda x, _: x.norm()})
    norm = float(inputs.norm())
    assert profile["norm"].tolist() == pytest.approx([norm, 2 * norm, 0])


@pytest.mark.parametrize("training", [True, False])
def test_profile_leaves_the_network_as_it_was_if_a_metric_raises(training):
    (inputs, _), network = batch(), NETWORKS["hybrid"]().train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"every class 0 .. 2, got none of \[1\]"):
        layer_profile(network, inputs, 2 * (torch.arange(24) % 2))
    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_profile_leaves_the_network_as_it_was_if_the_inputs_do_not_fit():
    network = NETWORKS["hybrid"]().train()
    with pytest.raises(ValueError, match="inputs must be samples of 16 entries"):
        layer_profile(network, torch.randn(4, 7), LABELS)
    assert network.training


def test_profile_needs_taps():
    with pytest.raises(TypeError, match=r"network must be a torch.nn.Module with a method taps"):
        layer_profile(nn.Linear(2, 3), GOOD, LABELS)


def test_profile_keeps_frozen_layers_frozen():
    (inputs, labels), network = batch(), NETWORKS["hybrid"]().train()
    network.hidden[0].eval()
    layer_profile(network, inputs, labels)
    assert network.training and not network.hidden[0].training


def test_probe_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    linear_probe_accuracy(GOOD, LABELS, GOOD, LABELS)
    assert torch.equal(state, torch.get_rng_state())
