"""What the chapters rely on: taps at every layer, a linear tail, a head on the features."""

import re

import numpy as np
import pytest
import torch
from helpers import normal
from torch import nn

from lecturelib.networks import MLP, ViT


def test_taps_features_and_logits_belong_together():
    torch.manual_seed(0)  # by chance a small layer may have no zero
    net = MLP([12, 7, 5, 6, 3])
    images = normal(0, 4, 1, 3, 4, dtype=torch.float32)
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
    x, y = normal(0, 2, 5, width)
    torch.testing.assert_close(last(3 * x - 2 * y), 3 * last(x) - 2 * last(y))


def test_batch_norm_comes_before_the_activation():
    torch.manual_seed(0)
    net = MLP([5, 200, 2], batch_norm=True)
    inputs = 100 + 10 * normal(0, 64, 5, dtype=torch.float32)
    features = net.features(inputs).detach()
    # A standard normal, rectified: its mean is 1/√(2π).
    assert float(features.mean()) == pytest.approx(0.399, abs=0.05)
    assert not any(isinstance(part, nn.BatchNorm1d) for part in MLP([5, 4, 2]).modules())


def test_a_network_takes_arrays_and_no_samples():
    net = MLP([4, 3, 2])
    images = np.random.default_rng(0).standard_normal((5, 2, 2))
    assert torch.equal(net(images), net(torch.from_numpy(images).float()))
    assert net(torch.zeros(0, 4)).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"widths": [4, 2]}, ValueError, "widths must be three or more integers, got (4, 2)"),
        ({"widths": [4, 0, 2]}, ValueError, "each of widths must be an integer >= 1, got 0"),
        ({"widths": 4}, TypeError, "widths must be a sequence of integers >= 1, got 4"),
        ({"linear_tail": 3}, ValueError, "linear_tail must be an integer in 0 .. 2, got 3"),
        ({"linear_tail": -1}, ValueError, "linear_tail must be an integer in 0 .. 2, got -1"),
        ({"batch_norm": 1}, TypeError, "batch_norm must be True or False, got 1"),
    ],
)
def test_networks_that_cannot_be_built(arguments, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        MLP(**{"widths": [4, 3, 3, 2]} | arguments)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        (torch.zeros(5, 3), ValueError, "inputs must be samples of 4 entries each"),
        (torch.zeros(4), ValueError, "inputs must be samples of 4 entries each"),
        (torch.zeros(5, 4).double(), ValueError, "inputs must be of the type torch.float32"),
        (torch.zeros(5, 4).long(), ValueError, "inputs must be a floating-point tensor"),
        ([[0.0] * 4], TypeError, "inputs must be a floating-point tensor (torch.tensor makes one)"),
    ],
)
def test_inputs_that_do_not_fit_the_network(inputs, kind, message):
    for call in (MLP([4, 3, 2]), MLP([4, 3, 2]).features, MLP([4, 3, 2]).taps):
        with pytest.raises(kind, match=re.escape(message)):
            call(inputs)


# --- vision transformer -----------------------------------------------------------------------

SHAPES = [
    ((1, 8, 8), {"patch": 2, "dim": 16, "heads": 4, "depth": 3}),
    ((3, 6, 4), {"patch": 2, "dim": 12, "heads": 3, "depth": 1, "hidden": 7}),
    ((2, 3, 9), {"patch": 3, "dim": 8, "heads": 1, "depth": 2, "hidden": 20}),
    ((3, 2, 3), {"patch": 1, "dim": 6, "heads": 2, "depth": 2}),
    ((2, 4, 4), {"patch": 4, "dim": 6, "heads": 2, "depth": 2}),  # one patch
]


def images_for(shape, n=5):
    return normal(1, n, *shape, dtype=torch.float32)


def vit(shape, options):
    torch.manual_seed(0)
    net = ViT(shape, 3, **options)
    for parameter in net.parameters():  # no bias, gain or position may stay where it starts
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return net


def by_hand(net, images, p):
    """Taps from the formulas: one patch, one head, one sample at a time."""
    outputs = []
    for image in images:
        tokens = [net.class_token]
        for i in range(image.shape[1] // p):
            for j in range(image.shape[2] // p):
                patch = image[:, i * p : (i + 1) * p, j * p : (j + 1) * p]
                tokens.append(net.embedding.weight @ patch.flatten() + net.embedding.bias)
        x, taps = torch.stack(tokens) + net.positions, []
        for block in net.blocks:
            attention = block.self_attn
            q, k, v = (block.norm1(x) @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(
                3, 1
            )
            width = x.shape[1] // attention.num_heads
            heads = [
                (a @ b.T / width**0.5).softmax(1) @ c
                for a, b, c in zip(*(m.split(width, 1) for m in (q, k, v)), strict=True)
            ]
            x = x + attention.out_proj(torch.cat(heads, 1))
            x = x + block.linear2(nn.functional.gelu(block.linear1(block.norm2(x))))
            taps.append(x[0])
        outputs.append([*taps[:-1], net.norm(taps[-1])])
    return [torch.stack(layer) for layer in zip(*outputs, strict=True)]


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_vit_taps_features_and_logits_belong_together(shape, options):
    net, images = vit(shape, options), images_for(shape)
    taps = net.taps(images)
    assert [tuple(tap.shape) for tap in taps] == [(5, options["dim"])] * options["depth"]
    assert torch.equal(net.features(images), taps[-1])
    assert net(images).shape == (5, 3)
    expected = taps[-1] @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(images), expected)
    assert len(net.blocks) == options["depth"]
    last = net.blocks[-1].linear2.weight
    assert last.shape == (options["dim"], options.get("hidden", options["dim"]))


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_vit_by_hand(shape, options):
    net, images = vit(shape, options).double(), images_for(shape).double()
    for tap, expected in zip(net.taps(images), by_hand(net, images, options["patch"]), strict=True):
        torch.testing.assert_close(tap, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_vit_is_the_same_in_both_modes(shape, options):
    net, images = vit(shape, options), images_for(shape)
    training = [*net.train().taps(images), net(images)]
    net.eval()
    with torch.no_grad():  # where torch takes its fast path
        evaluated = [*net.taps(images), net(images)]
    for one, other in zip(training, evaluated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_vit_sees_every_pixel_of_its_own_image(shape, options):
    net, images = vit(shape, options), images_for(shape).requires_grad_()
    for output in (net.taps(images)[0], net(images)):
        (gradient,) = torch.autograd.grad(output[2].square().sum(), images)
        assert (gradient[2] != 0).all()
        assert (gradient[[0, 1, 3, 4]] == 0).all()


def test_vit_tells_positions_apart():
    (shape, options), net = SHAPES[0], vit(*SHAPES[0])
    images = images_for(shape)
    permuted = images.roll(options["patch"], dims=3)
    with torch.no_grad():
        assert (net(images) - net(permuted)).abs().min(0).values.max() > 1e-3
        net.positions.zero_()  # without positions the patches are a set
        torch.testing.assert_close(net(images), net(permuted), rtol=1e-4, atol=1e-5)
        shifted = images.roll(1, dims=3)  # these are other patches
        assert (net(images) - net(shifted)).abs().max() > 1e-3


def test_vit_learns():
    torch.manual_seed(0)
    net, images = ViT((1, 8, 8), 3, patch=4, dim=32, depth=2), torch.randn(30, 1, 8, 8)
    labels = torch.arange(30) % 3
    start = {name: value.clone() for name, value in net.named_parameters()}
    solver = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(50):
        solver.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        solver.step()
    assert loss < 0.1
    still = [name for name, value in net.named_parameters() if torch.equal(value, start[name])]
    assert still == []


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_gradients_reach_every_parameter_of_the_vit(shape, options):
    net, images = vit(shape, options), images_for(shape)
    net(images).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", ["num_classes", "patch", "dim", "depth", "heads", "hidden"])
@pytest.mark.parametrize("value", [0, -1])
def test_vit_sizes_must_be_positive(name, value):
    sizes = {"num_classes": 3, "patch": 2, "dim": 8, "depth": 1, "heads": 2, name: value}
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got {value}"):
        ViT((1, 4, 4), **sizes)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 4, 4), {"patch": 2}, "each of image_shape must be an integer >= 1, got 0"),
        ((1, 4, -4), {"patch": 2}, "each of image_shape must be an integer >= 1, got -4"),
        ((1, 5, 4), {"patch": 2}, "patch must be a divisor of 5 and 4 pixels, got 2"),
        ((1, 4, 6), {"patch": 4}, "patch must be a divisor of 4 and 6 pixels, got 4"),
        ((1, 4, 4), {"patch": 8}, "patch must be a divisor of 4 and 4 pixels, got 8"),
        ((1, 4, 4), {"patch": 2, "dim": 10}, "heads must be a divisor of dim=10, got 4"),
        ((4, 4), {"patch": 2}, "image_shape must be a sequence of 3 integers >= 1, got (4, 4)"),
    ],
)
def test_vits_that_cannot_be_built(shape, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ViT(shape, 3, **options)


@pytest.mark.parametrize(
    "images", [torch.zeros(5, 1, 4, 5), torch.zeros(1, 4, 4), torch.tensor(1.0)]
)
def test_images_that_do_not_fit_the_vit(images):
    net = ViT((1, 4, 4), 3, patch=2, dim=8, depth=1)
    with pytest.raises(ValueError, match=r"images must be of shape \(N, \*\(1, 4, 4\)\), got "):
        net(images)
