"""What the chapters rely on: taps at every layer, a tail that is linear, a head on the features."""

import pytest
import torch
from torch import nn

from lecturelib.networks import MLP


def test_taps_features_and_logits_belong_together():
    net = MLP([12, 7, 5, 6, 3])
    images = torch.randn(4, 1, 3, 4)
    taps = net.taps(images)
    assert [tuple(tap.shape) for tap in taps] == [(4, 7), (4, 5), (4, 6)]
    assert all((tap >= 0).all() and (tap == 0).any() for tap in taps)
    assert torch.equal(net.features(images), taps[-1])
    assert torch.equal(net(images), taps[-1] @ net.head.weight.T + net.head.bias)
    assert net.head.weight.shape == (3, 6) and net.head.bias.shape == (3,)
    assert torch.equal(net(images), net(images.flatten(1)))


@pytest.mark.parametrize("tail", [0, 1, 2, 4])
def test_linear_tail_is_affine(tail):
    net = MLP([6, 8, 8, 8, 8, 3], linear_tail=tail, batch_norm=True).double().eval()
    kinds = [[type(part) for part in layer] for layer in net.hidden]
    nonlinear = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [nonlinear] * (4 - tail) + [[nn.Linear]] * tail

    def last(x):
        for layer in net.hidden[4 - tail :]:
            x = layer(x)
        return net.head(x)

    width = 6 if tail == 4 else 8
    x, y = torch.randn(2, 5, width, dtype=torch.float64)
    torch.testing.assert_close(last(3 * x - 2 * y), 3 * last(x) - 2 * last(y))


def test_batch_norm_comes_before_the_activation():
    net = MLP([5, 200, 2], batch_norm=True)
    features = net.features(100 + 10 * torch.randn(64, 5)).detach()
    # A standard normal, rectified: its mean is 1/√(2π).
    assert float(features.mean()) == pytest.approx(0.399, abs=0.05)
    assert not any(isinstance(part, nn.BatchNorm1d) for part in MLP([5, 4, 2]).modules())


@pytest.mark.parametrize(
    ("widths", "tail", "message"),
    [
        ([4, 2], 0, r"three or more positive numbers, got \[4, 2\]"),
        ([4, 0, 2], 0, r"positive numbers, got \[4, 0, 2\]"),
        ([4, 3, 3, 2], 3, r"0 \.\. 2, got 3"),
        ([4, 3, 3, 2], -1, r"0 \.\. 2, got -1"),
    ],
)
def test_errors(widths, tail, message):
    with pytest.raises(ValueError, match=message):
        MLP(widths, linear_tail=tail)
