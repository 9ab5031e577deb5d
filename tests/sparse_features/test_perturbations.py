"""Standard noise, and the attack by projected gradients."""

import math

import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lecturelib.sparse_features import CORRUPTIONS, corrupt, pgd_attack
from lecturelib.training import accuracy

FAMILIES = pytest.mark.parametrize("family", ["imagenet", "cifar"])
SEVERITIES = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def grey(value, count=200_000):
    return torch.full((count, 1, 1, 1), value, dtype=F64)


@FAMILIES
@SEVERITIES
def test_gaussian_noise_has_its_deviation(family, severity):
    noisy = corrupt(grey(0.5), "gaussian", severity, family=family, generator=source(0))
    sigma = CORRUPTIONS[family]["gaussian"][severity - 1]
    z = torch.tensor(0.5 / sigma, dtype=F64)  # where it is cut
    tail = torch.special.ndtr(-z)
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    expected = sigma**2 * (1 - 2 * tail - 2 * z * density) + 2 * tail / 4
    assert float((noisy - 0.5).square().mean()) == pytest.approx(float(expected), rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=5e-3)


@FAMILIES
@SEVERITIES
def test_impulse_noise_replaces_its_share(family, severity):
    noisy = corrupt(grey(0.3), "impulse", severity, family=family, generator=source(1))
    share = CORRUPTIONS[family]["impulse"][severity - 1]
    assert noisy.unique().tolist() == [0, 0.3, 1]
    for value in (0, 1):
        assert float((noisy == value).double().mean()) == pytest.approx(share / 2, rel=0.1)


@FAMILIES
@SEVERITIES
@pytest.mark.parametrize("value", [0.1, 0.5])
def test_shot_noise_counts_photons(family, severity, value):
    noisy = corrupt(grey(value), "shot", severity, family=family, generator=source(2))
    photons = CORRUPTIONS[family]["shot"][severity - 1]
    counts = noisy * photons
    close(counts, counts.round(), 1e-9)
    rate, last = photons * value, photons
    chances = torch.distributions.Poisson(rate).log_prob(torch.arange(last)).double().exp()
    values = torch.arange(last) / photons
    rest = 1 - chances.sum()  # cut at white
    mean = (chances * values).sum() + rest
    square = (chances * values.square()).sum() + rest
    assert float(noisy.mean()) == pytest.approx(float(mean), rel=0.02)
    assert float(noisy.square().mean()) == pytest.approx(float(square), rel=0.03)


@FAMILIES
@pytest.mark.parametrize("kind", ["gaussian", "impulse", "shot"])
def test_noise_grows_with_severity_and_keeps_its_bounds(family, kind):
    images = torch.rand(50, 3, 8, 8, generator=source(3))
    before, errors = images.clone(), []
    for severity in range(1, 6):
        noisy = corrupt(images, kind, severity, family=family, generator=source(4))
        assert noisy.shape == images.shape and noisy.dtype == images.dtype
        assert noisy.min() >= 0 and noisy.max() <= 1
        again = corrupt(images, kind, severity, family=family, generator=source(4))
        assert torch.equal(noisy, again)
        errors.append(float((noisy - images).square().mean()))
    assert errors == sorted(errors) and errors[4] > 1.5 * errors[0]
    assert torch.equal(images, before)
    torch.manual_seed(0)
    first = corrupt(images.numpy(), kind, 3, family=family)
    assert not torch.equal(first, corrupt(images, kind, 3, family=family))


def test_strengths_are_ordered_and_cannot_be_changed():
    for table in CORRUPTIONS.values():
        assert list(table) == ["gaussian", "impulse", "shot"]
        assert all(len(strengths) == 5 for strengths in table.values())
    with pytest.raises(TypeError):
        CORRUPTIONS["imagenet"]["gaussian"] = ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.full((2, 2), 1.1)}, r"images must lie in 0 .. 1, got 1.1 .. 1.1"),
        ({"images": torch.full((2, 2), -0.1)}, "images must lie in 0 .. 1"),
        ({"images": torch.full((2, 2), math.nan)}, "images must be finite"),
        ({"images": torch.ones(2, 2, dtype=torch.uint8)}, "images must be a floating-point"),
        ({"kind": "fog"}, 'kind must be one of "gaussian", "impulse", "shot", got \'fog\''),
        ({"severity": 0}, r"severity must be an integer in 1 \.\. 5"),
        ({"severity": 6}, r"severity must be an integer in 1 \.\. 5"),
        ({"family": "mnist"}, 'family must be one of "imagenet", "cifar"'),
        ({"generator": 0}, "generator must be a torch.Generator or None"),
    ],
)
def test_noise_that_does_not_exist(change, message):
    arguments = {"images": torch.ones(2, 2), "kind": "shot", "severity": 1}
    with pytest.raises((TypeError, ValueError), match=message):
        corrupt(**arguments | change)


def linear(seed, d=6, k=2):
    net = nn.Sequential(nn.Flatten(), nn.Linear(d, k)).double()
    with torch.no_grad():
        net[1].weight.copy_(normal(seed, k, d))
        net[1].bias.copy_(0.1 * normal(seed + 1, k))
    return net


def task(seed=0, n=40, d=6, k=3):
    """A network with a bend, inputs in [0, 1] and the classes it gives them."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(d, 20), nn.Tanh(), nn.Dropout(), nn.Linear(20, k)).double()
    for parameter in net.parameters():
        parameter.data.mul_(3)
    inputs = torch.rand(n, d, generator=source(seed), dtype=F64)
    with torch.no_grad():
        labels = net.eval()(inputs).argmax(1)
    return net, inputs, labels


class Nowhere(nn.Module):
    """A network that is right at zero only."""

    def forward(self, inputs):
        right = (inputs == 0).all(1).to(inputs)
        return torch.stack([right, 1 - right], dim=1)


def lengths(change, norm):
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@NORMS
@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_worst_inputs_of_a_linear_network_are_found(norm, loss, random_start):
    net, inputs = linear(0), normal(2, 20, 2, 3)
    labels = torch.arange(20) % 2
    slope = net[1].weight[1] - net[1].weight[0]
    towards = torch.where(labels == 0, 1.0, -1.0)[:, None] * slope.detach()
    unit = towards.sign() if norm == "linf" else towards / towards.norm(dim=1, keepdim=True)
    found = pgd_attack(
        net,
        inputs,
        labels,
        0.3,
        norm=norm,
        steps=100,
        lr=0.3,
        loss=loss,
        random_start=random_start,
        bounds=None,
        generator=source(0),
    )
    margin = ((found.flatten(1) - inputs.flatten(1)) * towards).sum(1)
    best = (0.3 * unit * towards).sum(1)
    assert (margin <= best + 1e-12).all()
    close(margin, best, 1e-6)


@NORMS
@examples(25)
@given(
    seed=SEEDS,
    radius=st.sampled_from([0.0, 0.01, 0.3, 2.0]),
    steps=st.integers(0, 6),
    starts=st.integers(1, 2),
)
def test_inputs_stay_in_the_ball_and_in_their_bounds(seed, radius, steps, starts, norm):
    net, inputs, labels = task(seed % 100)
    found = pgd_attack(net, inputs, labels, radius, norm=norm, steps=steps, starts=starts)
    assert found.shape == inputs.shape and not found.requires_grad
    assert (lengths(found - inputs, norm) <= radius + 1e-12).all()
    assert found.min() >= 0 and found.max() <= 1
    if radius == 0:
        assert torch.equal(found, inputs)


@NORMS
def test_a_stronger_attack_finds_no_less(norm):
    net, inputs, labels = task(1, n=200)
    radius = 0.1 if norm == "linf" else 0.2

    def share(**options):
        options = {"steps": 10, "generator": source(1)} | options
        found = pgd_attack(net, inputs, labels, radius, norm=norm, **options)
        return float(accuracy(net, found, labels))

    noise, once, often = share(steps=0), share(steps=1), share(starts=3, steps=30)
    assert often <= share() <= once <= noise <= 1
    assert often < 0.7 < 0.85 < noise
    mild = pgd_attack(net, inputs, labels, radius / 10, norm=norm)
    assert float(accuracy(net, mild, labels)) > share()
    assert often <= share(starts=3, steps=30, loss="margin") + 0.05


@NORMS
def test_random_starts_are_uniform_in_the_ball(norm):
    """Every change makes a mistake here; with no step, the first one is what comes back."""
    inputs, labels = torch.zeros(20_000, 3, dtype=F64), torch.zeros(20_000).long()
    options = {"norm": norm, "steps": 0, "bounds": None, "generator": source(3)}
    changes = pgd_attack(Nowhere(), inputs, labels, 0.5, **options)
    shares = (lengths(changes, norm) / 0.5).pow(3).sort().values  # uniform, as volumes are
    expected = (torch.arange(20_000) + 0.5) / 20_000
    assert (shares - expected).abs().max() < 0.015
    assert (changes.mean(0).abs() < 0.01).all()


def test_the_network_is_left_as_it_was():
    net, inputs, labels = task(2)
    net.train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = pgd_attack(net, inputs, labels, 0.2)
    assert net.training and net[2].training and torch.is_grad_enabled()
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert net[3].weight.grad is None and not inputs.requires_grad
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    with torch.no_grad():
        torch.manual_seed(0)
        one = pgd_attack(net, inputs, labels, 0.2)
        torch.manual_seed(0)
        assert torch.equal(one, pgd_attack(net, inputs, labels, 0.2))
    again = [pgd_attack(net, inputs, labels, 0.2, generator=source(5)) for _ in range(2)]
    assert torch.equal(*again) and found.shape == inputs.shape


def test_the_margin_sees_what_the_cross_entropy_rounds_away():
    """A network whose gradients are masked: its logits are so large that the loss is zero."""
    net, inputs, labels = task(3, n=100)
    net, inputs = net.float(), inputs.float()
    net[3].weight.data.mul_(1e4)
    net[3].bias.data.mul_(1e4)
    options = {"steps": 20, "random_start": False}
    fooled, seen = (
        float(accuracy(net, pgd_attack(net, inputs, labels, 0.2, loss=loss, **options), labels))
        for loss in ("cross-entropy", "margin")
    )
    assert fooled > 0.8 and seen < 0.5


def test_mistakes_are_kept_before_larger_losses():
    """What is wrong already stays wrong, whatever the attack does."""
    net, inputs, labels = task(4)
    wrong = (labels + 1) % 3
    assert float(accuracy(net, pgd_attack(net, inputs, wrong, 0.1), wrong)) == 0
    losses = [
        nn.functional.cross_entropy(net(points), wrong, reduction="none")
        for points in (inputs, pgd_attack(net, inputs, wrong, 0.1))
    ]
    assert (losses[1] >= losses[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.full((4, 6), 1.2, dtype=F64)}, r"inputs must lie in the bounds 0 .. 1"),
        ({"inputs": torch.ones(4, 5, dtype=F64)}, "model and inputs must fit each other"),
        ({"inputs": torch.ones(4, 6)}, "inputs must be of the type torch.float64"),
        ({"inputs": torch.ones(6, dtype=F64)}, "inputs must be N samples of at least one"),
        ({"labels": torch.tensor([0, 1, 2, 3])}, "labels and model must fit each other"),
        ({"labels": torch.zeros(3).long()}, r"labels must be .* of shape \(4,\)"),
        ({"radius": -0.1}, "radius must be a finite number >= 0"),
        ({"norm": "l1"}, 'norm must be one of "linf", "l2"'),
        ({"steps": -1}, "steps must be an integer >= 0"),
        ({"lr": 0.0}, "lr must be a finite number > 0"),
        ({"starts": 0}, "starts must be an integer >= 1"),
        ({"loss": "mse"}, 'loss must be one of "cross-entropy", "margin"'),
        ({"bounds": (1.0, 0.0)}, "bounds must be two numbers, the lower one first"),
        ({"bounds": (0.0, 0.5, 1.0)}, "bounds must be two numbers"),
        ({"bounds": 1.0}, "bounds must be two numbers"),
        ({"model": nn.Flatten(0)}, "model must be a network with outputs of shape"),
        ({"model": nn.Linear(6, 1).double()}, "model must be a network with outputs of shape"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    net, inputs, labels = task(0, n=4)
    arguments = {"model": net, "inputs": inputs, "labels": labels, "radius": 0.1}
    with pytest.raises((TypeError, ValueError), match=message):
        pgd_attack(**arguments | change)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@NORMS
def test_noise_and_attacks_are_the_same_on_a_gpu(norm):
    net, inputs, labels = task(0)
    here = pgd_attack(net, inputs, labels, 0.2, norm=norm, generator=source(0))
    far = pgd_attack(net.cuda(), inputs.cuda(), labels.cuda(), 0.2, norm=norm, generator=source(0))
    assert far.is_cuda
    close(far.cpu(), here, 1e-6)
    for kind in CORRUPTIONS["cifar"]:
        noisy = corrupt(inputs.cuda(), kind, 3, generator=source(1))
        close(noisy.cpu(), corrupt(inputs, kind, 3, generator=source(1)), 1e-12)
