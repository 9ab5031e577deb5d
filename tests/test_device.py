"""Seeds and devices, threads that are given back, results that move."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from lecturelib.device import Movable, default_device, one_thread, seed_everything


@pytest.fixture(autouse=True)
def _restore_settings():
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    torch.set_num_threads(threads)


# --- seeds and devices --------------------------------------------------------------------------


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
def test_a_seed_out_of_range_changes_nothing(seed):
    torch.use_deterministic_algorithms(False)
    state = torch.get_rng_state()
    with pytest.raises(
        ValueError, match=rf"seed must be an integer in 0 \.\. 4294967295, got {seed}"
    ):
        seed_everything(seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_fastest_device_first(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert default_device() == torch.device(device)


# --- threads ------------------------------------------------------------------------------------


def test_one_thread_within_a_block_and_the_old_number_after_it():
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_threads_are_given_back_when_the_block_raises():
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def test_a_function_that_runs_on_one_thread_every_time():
    @one_thread()
    def threads(number):
        """Count."""
        return number * torch.get_num_threads()

    torch.set_num_threads(2)
    assert [threads(3), threads(number=5)] == [3, 5]
    assert torch.get_num_threads() == 2
    assert threads.__doc__ == "Count."


def test_large_work_keeps_its_threads():
    torch.set_num_threads(2)
    with one_thread(False):
        assert torch.get_num_threads() == 2
    for condition in (None, 1, "small"):
        with (
            pytest.raises(TypeError, match="condition must be True or False"),
            one_thread(condition),
        ):
            pass
    assert torch.get_num_threads() == 2


# --- results that move --------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner(Movable):
    weight: Tensor


@dataclass(frozen=True)
class Outer(Movable):
    inner: Inner
    listed: list
    paired: tuple
    named: dict
    nothing: None = None
    word: str = "word"
    number: float = 0.5


def leaves(result):
    return [result.inner.weight, result.listed[0], result.paired[1], result.named["a"][0]]


def test_all_tensors_move_together_and_the_rest_stays():
    tensors = [torch.full((2,), float(value)) for value in range(4)]
    here = Outer(Inner(tensors[0]), [tensors[1], 3], ("x", tensors[2]), {"a": [tensors[3]]})
    there = here.to("meta")
    assert type(there) is Outer and type(there.inner) is Inner
    assert {leaf.device.type for leaf in leaves(there)} == {"meta"}
    assert [leaf.shape for leaf in leaves(there)] == [(2,)] * 4
    assert all(one is other for one, other in zip(leaves(here), tensors, strict=True))
    assert (there.listed[1], there.paired[0], there.nothing) == (3, "x", None)
    assert (there.word, there.number) == ("word", 0.5)
    assert type(there.paired) is tuple and type(there.named) is dict


def test_a_result_moves_only_to_a_device():
    point = Inner(torch.zeros(2))
    with pytest.raises(ValueError, match="device must be a device such as"):
        point.to("nowhere")
