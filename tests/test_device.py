"""Seeds and devices."""

import random

import numpy as np
import pytest
import torch

from lecturelib.device import default_device, seed_everything


@pytest.fixture(autouse=True)
def _restore_determinism():
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def draws(seed):
    generator = seed_everything(seed)
    numbers = random.random(), np.random.rand(), float(torch.rand(()))
    return *numbers, float(torch.rand((), generator=generator))


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_same_seed_same_numbers(seed):
    assert draws(seed) == draws(seed)
    assert all(first != second for first, second in zip(draws(seed), draws(1), strict=True))


def test_asks_for_determinism_without_insisting():
    torch.use_deterministic_algorithms(False)
    generator = seed_everything(3)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert generator.device.type == "cpu" and generator.initial_seed() == 3


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=rf"0 \.\. 2\*\*32 - 1, got {seed}"):
        seed_everything(seed)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_fastest_device_first(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert default_device() == torch.device(device)
