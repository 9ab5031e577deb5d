"""Profiles are those of the layers one by one, for any network with taps."""

import pytest
import torch
from helpers import close, source
from torch import nn

from lecturelib.networks import MLP, ViT
from lecturelib.topology_and_dimension import (
    layer_profiles,
    linked_rings,
    mle_dimension,
    persistence,
    sphere,
    two_nn,
)


class Layers(nn.Module):
    """Any functions as layers; no parameters, images as features."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers

    def taps(self, inputs):
        """Return what each function makes of what the one before made."""
        outputs = []
        for layer in self.layers:
            outputs.append(layer(outputs[-1] if outputs else inputs))
        return outputs


def rings(count=150):
    points, labels = linked_rings(count, generator=source(0))
    return points, labels


def test_every_layer_is_measured_as_alone():
    torch.manual_seed(0)
    points, _ = rings()
    network = MLP([3, 8, 8, 2]).double()
    found = layer_profiles(network, points, discard=0.2, neighbours=7, samples=90)
    for layer, features in enumerate([points, *network.taps(points)]):
        pair, many = two_nn(features, discard=0.2), mle_dimension(features, neighbours=7)
        alone = pair.dimension, pair.error, many.dimension, many.error
        values = found.two_nn, found.two_nn_error, found.mle, found.mle_error
        for value, one in zip(values, alone, strict=True):
            close(value[layer], one.detach())
        diagrams = persistence(features, relative=True, samples=90)
        assert torch.equal(found.diagrams[layer].bars[1], diagrams.bars[1])
        assert found.betti(0.7)[layer].tolist() == list(diagrams.betti(0.7))
        assert found.prominent(1.6)[layer].tolist() == list(diagrams.prominent(1.6))
    assert found.prominent()[0].tolist() == [2, 2]


def test_layers_that_change_nothing_and_layers_that_simplify():
    """The control of a profile: a turn leaves all as it is, a projection fills the loop."""
    circle = sphere(300, 1, generator=source(0))
    turn = torch.linalg.qr(torch.randn(5, 2, generator=source(1), dtype=circle.dtype)).Q
    network = Layers(lambda x: 3 * x @ turn.T, lambda x: x @ turn[:, :1])
    found = layer_profiles(network, circle)
    close(found.two_nn[1], found.two_nn[0], 1e-7)
    assert found.prominent().tolist() == [[1, 1], [1, 1], [1, 0]]
    assert found.two_nn[0] == pytest.approx(1, abs=0.2)


def test_features_may_be_images_and_inputs_too():
    images = torch.randn(40, 1, 4, 4, generator=source(0))
    found = layer_profiles(Layers(lambda x: x, lambda x: x.mean((1, 2), keepdim=True)), images)
    close(found.two_nn[1], found.two_nn[0])
    assert found.two_nn.shape == (3,) and found.betti(0.5).shape == (3, 2)
    network = ViT((1, 4, 4), 3, patch=2, dim=8, depth=2)
    assert layer_profiles(network, images, max_dim=None).mle.shape == (3,)


def test_a_dead_layer_has_no_dimension_and_one_component():
    points, _ = rings(30)
    found = layer_profiles(Layers(lambda x: 0 * x, lambda x: x + 1), points, max_dim=2)
    assert not found.two_nn[0].isnan()
    for values in (found.two_nn, found.two_nn_error, found.mle, found.mle_error):
        assert values[1:].isnan().all()
    assert found.prominent()[1:].tolist() == [[1, 0, 0]] * 2


def test_topology_may_be_left_out():
    found = layer_profiles(Layers(), rings()[0], max_dim=None)
    assert found.diagrams == [] and found.two_nn.shape == (1,)


def test_the_network_is_left_as_it_was():
    network = MLP([3, 8, 8, 2], batch_norm=True).train()
    network.hidden[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    found = layer_profiles(network, rings()[0].float(), samples=20)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not found.two_nn.requires_grad


def test_a_random_part_is_seeded():
    options = {"samples": 30, "subsample": "random"}
    first, again, other = (
        layer_profiles(Layers(), rings()[0], generator=source(seed), **options)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.diagrams[0].indices, again.diagrams[0].indices)
    assert not torch.equal(first.diagrams[0].indices, other.diagrams[0].indices)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"network": nn.Linear(3, 2)}, TypeError, "network must be .* with a method taps"),
        ({"inputs": torch.zeros(2, 3)}, ValueError, "inputs must be three or more samples"),
        ({"neighbours": 20}, ValueError, r"neighbours must be an integer in 2 \.\. 19"),
        ({"discard": 1.0}, ValueError, "discard must be"),
        ({"max_dim": 9}, ValueError, "max_dim must be"),
    ],
)
def test_what_has_no_profile(options, kind, message):
    arguments = {"network": MLP([3, 4, 2]), "inputs": torch.randn(20, 3), "neighbours": 5}
    with pytest.raises(kind, match=message):
        layer_profiles(**arguments | options)
