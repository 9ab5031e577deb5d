"""Standardised inputs, both splits at once, data sets that move."""

import re

import numpy as np
import pytest
import torch
from helpers import source

from lecturelib.datasets import Dataset, load, load_standardized, standardize

# --- standardize ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(50,), (50, 4), (50, 2, 3, 5)])
def test_standardize_gives_mean_zero_and_variance_one(shape, dtype):
    generator = source(0)
    inputs = 3 + 2 * torch.randn(shape, generator=generator, dtype=dtype)
    before = inputs.clone()
    result = standardize(inputs)
    assert result.shape == shape and result.dtype == dtype
    zero = torch.zeros(shape[1:], dtype=dtype)
    torch.testing.assert_close(result.mean(0), zero, atol=1e-5, rtol=0)
    torch.testing.assert_close(result.var(0, correction=0), zero + 1, atol=1e-5, rtol=0)
    assert torch.equal(inputs, before)


def test_standardize_uses_the_reference():
    train = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    test = torch.tensor([[2.0, 2.0], [6.0, 5.0], [0.0, 0.0]])
    expected = torch.tensor([[0.0, 0.0], [2.0, 3.0], [-1.0, -2.0]])
    assert torch.equal(standardize(test, reference=train), expected)
    assert standardize(test, reference=train.double()).dtype == torch.float32


@pytest.mark.parametrize("value", [0.1, 1e-30, -7.3, 1e6])
def test_constant_features_become_exactly_zero(value):
    train = torch.full((1001, 2), value)
    train[:, 1] = torch.arange(1001)
    test = torch.full((3, 2), 5.0)
    for inputs in (train, test):
        result = standardize(inputs, reference=train)
        assert torch.equal(result[:, 0], torch.zeros(len(inputs)))
        assert result.isfinite().all()
        assert (result[:, 1] != 0).any()


def test_a_variance_that_underflows_counts_as_zero():
    inputs = torch.tensor([[0.0], [1e-200]], dtype=torch.float64)
    assert torch.equal(standardize(inputs), torch.zeros_like(inputs))


def test_standardize_digits():
    train, test = load("digits"), load("digits", "test")
    scaled = standardize(train.inputs)
    constant = train.inputs.amax(0) == train.inputs.amin(0)
    assert constant.any()
    assert (scaled[:, constant] == 0).all()
    assert torch.equal(scaled.std(0, correction=0) > 0.5, ~constant)
    other = standardize(test.inputs, reference=train.inputs)
    assert other.isfinite().all()
    assert (other[:, constant] == 0).all()


FLOATING = "must be a floating-point tensor, got a"
EMPTY = "must be one sample or more, got"


@pytest.mark.parametrize(
    ("inputs", "reference", "message"),
    [
        (torch.zeros(0, 3), None, f"inputs {EMPTY} a float32 tensor of shape (0, 3)"),
        (torch.zeros(3, 0), None, f"inputs {EMPTY} a float32 tensor of shape (3, 0)"),
        (torch.tensor(1.0), None, f"inputs {EMPTY} the float32 1.0"),
        (torch.zeros(2, 3, dtype=torch.uint8), None, f"inputs {FLOATING} uint8 tensor"),
        (torch.tensor([[1.0], [torch.nan]]), None, "inputs must be finite"),
        (torch.tensor([[1.0], [torch.inf]]), None, "inputs must be finite"),
        (torch.zeros(2, 3), torch.zeros(0, 3), f"reference {EMPTY} a float32 tensor"),
        (torch.zeros(2, 3), torch.full((2, 3), torch.nan), "reference must be finite"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), f"reference {FLOATING}n int64 tensor"),
        (torch.zeros(2, 3), torch.zeros(2, 4), "reference must be samples of shape (3,), got"),
        (torch.zeros(2, 3), torch.zeros(2, 3, 1), "reference must be samples of shape (3,), got"),
    ],
)
def test_standardize_refuses(inputs, reference, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        standardize(inputs, reference=reference)


def test_arrays_are_standardized_as_tensors_are():
    inputs = np.random.default_rng(0).normal(size=(9, 4))
    expected = (inputs - inputs.mean(0)) / inputs.std(0)
    torch.testing.assert_close(standardize(inputs), torch.from_numpy(expected))


# --- both splits at once ------------------------------------------------------------------------


def test_both_splits_come_on_the_scale_of_the_training_set():
    raw_train, raw_test = load("digits"), load("digits", "test")
    train, test = load_standardized("digits")
    assert type(train) is type(test) is Dataset
    assert torch.equal(train.inputs, standardize(raw_train.inputs))
    assert torch.equal(test.inputs, standardize(raw_test.inputs, reference=raw_train.inputs))
    for part, raw in ((train, raw_train), (test, raw_test)):
        assert torch.equal(part.labels, raw.labels) and part.classes == raw.classes
        assert part.inputs.shape == raw.inputs.shape and part.num_classes == 10
    moved = load_standardized("digits", device="meta")
    assert {tensor.device.type for part in moved for tensor in (part.inputs, part.labels)} == {
        "meta"
    }


def test_both_splits_are_looked_for_in_the_folder_given(tmp_path, publish_mnist):
    _, labels = publish_mnist(tmp_path, split="train")
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        load_standardized("mnist", root=tmp_path, download=False)
    publish_mnist(tmp_path, split="test", n=5)
    train, test = load_standardized("mnist", root=tmp_path)
    assert train.labels.tolist() == labels.tolist() and len(test.labels) == 5
    with pytest.raises(ValueError, match="device must be a device"):
        load_standardized("mnist", device="nowhere", root=tmp_path)


def test_a_data_set_moves_with_its_classes():
    digits = load("digits")
    moved = digits.to("meta")
    assert type(moved) is Dataset and moved.classes == digits.classes
    assert moved.inputs.device.type == moved.labels.device.type == "meta"
    assert digits.inputs.device.type == "cpu"
