"""Mixtures whose structure is known."""

import re

import pytest
import torch
from helpers import F64, normal, source

from lecturelib.datasets import gaussian_mixture


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixture_statistics(dtype):
    generator = source(0)
    means = torch.tensor([[0.0, 3.0, -1.0], [10.0, 0.0, 2.0]], dtype=dtype)
    features, labels = gaussian_mixture(means, 20_000, 0.5, generator=generator)
    assert features.shape == (40_000, 3) and features.dtype == dtype
    assert labels.dtype == torch.int64
    assert torch.equal(labels, torch.tensor([0] * 20_000 + [1] * 20_000))
    for k in range(2):
        rows = features[labels == k]
        torch.testing.assert_close(rows.mean(0), means[k], atol=0.02, rtol=0)
        expected = 0.25 * torch.eye(3, dtype=dtype)
        torch.testing.assert_close(rows.T.cov(), expected, atol=0.02, rtol=0)


def test_mixture_is_reproducible_and_linear_in_the_noise():
    means = torch.tensor([[1.0], [2.0], [3.0]])

    def draw(noise):
        return gaussian_mixture(means, 4, noise, generator=source(3))[0]

    assert torch.equal(draw(0.7), draw(0.7))
    assert torch.equal(draw(0), means.repeat_interleave(4, dim=0))
    torch.testing.assert_close(draw(2.0) - draw(0), 2 * (draw(1.0) - draw(0)))
    torch.manual_seed(3)
    assert torch.equal(gaussian_mixture(means, 4, 0.7)[0], draw(0.7))


def test_a_batch_of_mixtures_has_a_noise_level_each():
    means, noise = torch.eye(2, 3, dtype=F64), torch.tensor([0.0, 0.1, 2.0])
    draw = {"samples_per_class": 500, "batch_shape": (3,)}
    features, labels = gaussian_mixture(means, noise=noise, generator=source(0), **draw)
    assert features.shape == (3, 1000, 3) and features.dtype == F64
    spread = (features - means[labels]).std((1, 2))
    torch.testing.assert_close(spread, noise.double(), atol=0, rtol=0.05)
    assert torch.equal(features[0], means[labels])
    same, _ = gaussian_mixture(means, noise=0.5, generator=source(0), **draw)
    assert torch.equal(same, means[labels] + 0.5 * normal(0, 3, 1000, 3))


MEANS = "means must be a floating-point tensor of shape (K, d), got a"


@pytest.mark.parametrize(
    ("means", "samples", "noise", "message"),
    [
        (torch.zeros(3), 1, 1.0, f"{MEANS} float32 tensor of shape (3,)"),
        (torch.zeros(0, 3), 1, 1.0, f"{MEANS} float32 tensor of shape (0, 3)"),
        (torch.zeros(3, 0), 1, 1.0, f"{MEANS} float32 tensor of shape (3, 0)"),
        (torch.zeros(2, 2, dtype=torch.int64), 1, 1.0, f"{MEANS}n int64 tensor"),
        (torch.full((2, 2), torch.nan), 1, 1.0, "means must be finite"),
        (torch.zeros(2, 2), 0, 1.0, "samples_per_class must be an integer >= 1, got 0"),
        (torch.zeros(2, 2), 1, -0.1, "noise must be a finite number >= 0, got -0.1"),
        (torch.zeros(2, 2), 1, float("nan"), "noise must be a finite number >= 0, got nan"),
        (torch.zeros(2, 2), 1, float("inf"), "noise must be a finite number >= 0, got inf"),
        (torch.zeros(2, 2), 1, torch.ones(3), "noise must be a floating-point tensor of shape ()"),
    ],
)
def test_mixture_refuses(means, samples, noise, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        gaussian_mixture(means, samples, noise)


def test_a_batch_of_mixtures_refuses_negative_noise():
    with pytest.raises(ValueError, match=r"noise must be numbers >= 0, got the float32 -1\.0"):
        gaussian_mixture(torch.eye(2), 1, torch.tensor([1.0, -1.0]), batch_shape=(2,))
