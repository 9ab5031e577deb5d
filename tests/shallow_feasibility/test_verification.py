"""A check of proofs that shares nothing with the solver, and what it refuses."""

import inspect
import math
from dataclasses import replace

import pytest
import torch
from helpers import F64, blocks, normal
from torch.nn import functional

from lecturelib.shallow_feasibility import certificates, nc_feasibility, verify_feasibility

NAMES = torch.tensor([0, 0, 1, 1])


def mixed_clouds():
    """Pure noise near the transition, where classes of both kinds occur."""
    inputs, labels = normal(0, 6, 12, 7), blocks([4, 4, 4])
    return inputs, labels, nc_feasibility(inputs, labels)


def test_verification_uses_none_of_the_solver():
    names = {module.rpartition(".")[2] for module in ("solver", "candidates", "proofs", "rational")}
    text = inspect.getsource(certificates)
    imported = [line for line in text.splitlines() if line.lstrip().startswith(("import", "from"))]
    assert not [line for line in imported if any(name in line for name in names)]


def test_verification_accepts_results_and_no_others():
    inputs, labels, result = mixed_clouds()
    assert verify_feasibility(inputs, labels, result).all()
    feasible, nan = result.feasible, math.nan
    assert feasible.any() and not feasible.all()
    weights, certificate = result.weights, result.certificate
    own = functional.one_hot(labels).bool().T
    # Which proofs each change spoils: those of the feasible classes, or of the others.
    for changes, spoiled in [
        ({"weights": 1.001 * weights}, feasible),
        ({"weights": weights + 1e-5}, feasible),
        ({"weights": -weights}, feasible),
        ({"weights": torch.full_like(weights, nan)}, feasible),
        ({"certificate": 1.001 * certificate}, ~feasible),
        ({"certificate": certificate + 1e-5}, ~feasible),
        ({"certificate": -certificate}, ~feasible),
        ({"certificate": torch.where(own, certificate, 0)}, ~feasible),
        ({"certificate": torch.full_like(certificate, nan)}, ~feasible),
        ({"certificate": torch.zeros_like(certificate)}, ~feasible),
        ({"verdict": -result.verdict}, torch.ones_like(feasible)),
        ({"verdict": 0 * result.verdict}, torch.ones_like(feasible)),
    ]:
        changed = replace(result, **changes)
        assert torch.equal(verify_feasibility(inputs, labels, changed), ~spoiled)


def test_verification_looks_at_the_signs_of_a_certificate():
    """A point with a positive multiplier is in the kernel of X^T, but proves nothing."""
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 1.0]], dtype=F64)
    labels = torch.tensor([0, 0, 1, 1])
    result = nc_feasibility(inputs, labels)
    for others, holds in [([0.0, -0.5], True), ([0.5, 0.0], False), ([-0.2, -0.7], True)]:
        certificate = result.certificate.clone()
        certificate[0] = torch.tensor([0.5, 0.5, *others], dtype=F64)
        changed = replace(result, certificate=certificate)
        assert verify_feasibility(inputs, labels, changed)[0].item() == holds


def test_verification_looks_at_the_data():
    inputs, labels, result = mixed_clouds()
    assert not verify_feasibility(-inputs, labels, result)[result.feasible].any()
    assert not verify_feasibility(inputs + 0.01, labels, result).any()
    assert not verify_feasibility(inputs.flip(0), labels, result).any()
    assert not verify_feasibility(inputs, labels.roll(1), result).any()
    biased = nc_feasibility(inputs, labels, bias=True)
    assert verify_feasibility(inputs, labels, biased).all()


def forged(inputs, labels, weights=None, certificate=None):
    """A result that claims that class 0 is feasible, or that it is not."""
    empty = nc_feasibility(inputs, labels)
    verdict = torch.tensor([1 if certificate is None else -1, 0], dtype=torch.int8)
    fields = {"weights": weights, "certificate": certificate}
    changes = {
        name: torch.stack([torch.tensor(value, dtype=F64), getattr(empty, name)[1]])
        for name, value in fields.items()
        if value is not None
    }
    return replace(empty, verdict=verdict, **changes)


def test_false_proofs_that_floating_point_could_take_for_true_are_refused():
    """Outputs that are 1 by rounding only; remainders that are small beside a long sample only."""
    inputs = [[-2, 3, -4], [4, 2, 0], [0, 2, -2], [0, -2, 2], [0, -2, 2], [-4, -2, 0]]
    inputs, labels = torch.tensor(inputs, dtype=F64), torch.tensor([0, 0, 0, 1, 1, 1])
    size = 2.0**52
    # In exact arithmetic these weights answer -1/2, 1, 1 + size eps: in floats anything does.
    long = forged(inputs, labels, weights=[-size, 2 * size + 0.5, 2 * size])
    assert verify_feasibility(inputs, labels, long).tolist() == [False, False]

    inputs = torch.tensor([[1e8, 0, 0], [0, 1, 0], [0, 1, 0.01], [-1, 0, 0]], dtype=F64)
    remainder = forged(inputs, NAMES, certificate=[0, 1, -1, 0])
    assert verify_feasibility(inputs, NAMES, remainder).tolist() == [False, False]

    inputs, labels = torch.tensor([[1, 0], [1e-10, 0]], dtype=F64), torch.tensor([0, 1])
    short = forged(inputs, labels, weights=[1, 0])
    assert verify_feasibility(inputs, labels, short).tolist() == [False, False]
    assert verify_feasibility(inputs, labels, short, tol=0.5).tolist() == [False, False]


@pytest.mark.parametrize("tol", [1e-12, 1e-6, 0.9])
@pytest.mark.parametrize(
    ("inputs", "proof"),
    [
        ([[1, 0], [1e-170, 0]], {"weights": [1, 0]}),
        ([[1e200, 0], [1e-200, 0]], {"weights": [1e-200, 0]}),
        ([[1e-170, 0], [-1, 0], [0, -1]], {"certificate": [1, 0, 0]}),
    ],
)
def test_lengths_whose_squares_underflow_are_no_zeros(inputs, proof, tol):
    labels = torch.tensor([0, 1, 1][: len(inputs)])
    inputs = torch.tensor(inputs, dtype=F64)
    false = forged(inputs, labels, **proof)
    assert not verify_feasibility(inputs, labels, false, tol=tol)[0]


def test_verification_needs_data_of_the_right_shape():
    inputs, labels, result = mixed_clouds()
    for data, names in [
        (inputs[:5], labels),
        (inputs[0], labels),
        (inputs[..., :5], labels),
        (inputs, labels.clamp_max(1)),
        (inputs[:, :9], labels[:9]),
    ]:
        with pytest.raises(ValueError, match=r"result must be one of these data, .* of the shapes"):
            verify_feasibility(data, names, result)
    with pytest.raises(ValueError, match=r"labels must be .* of shape"):
        verify_feasibility(inputs, labels[:-1], result)
    with pytest.raises(ValueError, match="tol must be a finite number > 0 and < 1, got 0"):
        verify_feasibility(inputs, labels, result, tol=0)
    with pytest.raises(ValueError, match="inputs must be finite"):
        verify_feasibility(inputs * math.inf, labels, result)
    with pytest.raises(TypeError, match="result must be a Feasibility, got True"):
        verify_feasibility(inputs, labels, True)
