"""Proofs of feasibility beside HiGHS, probabilities beside counts, networks beside formulas."""

import math
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise, product

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog, minimize
from scipy.stats import chi2, multivariate_normal, norm
from test_deep_linear import SEEDS, close, examples, normal, source
from torch.nn import functional

from lecturelib import shallow_feasibility
from lecturelib.metrics import nc1
from lecturelib.shallow_feasibility import (
    PhaseMap,
    ShallowNet,
    gordon_bound,
    mean_margins,
    misclassification_rate,
    nc_feasibility,
    noise_probability,
    phase_map,
    small_noise_bound,
    train_shallow,
    verify,
)

F32, F64 = torch.float32, torch.float64
TOL = 1e-9


def equal_classes(n, K):
    return torch.arange(K).repeat_interleave(n)


def clouds(seed, n, d, K, noise=math.inf, batch=()):
    """Draw classes around orthogonal means, or around zero where the noise is infinite."""
    labels = equal_classes(n, K)
    return torch.eye(K, d, dtype=F64)[labels] / noise + normal(seed, *batch, K * n, d), labels


def mixed_clouds(seed=0, n=4, d=7, K=3, batch=(6,)):
    """Draw pure noise near the transition, where classes of both kinds occur."""
    inputs, labels = clouds(seed, n, d, K, batch=batch)
    return inputs, labels, nc_feasibility(inputs, labels)


def with_ones(inputs):
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=-1)


def split_by_class(X, labels):
    X, labels = X.detach().double().numpy(), labels.numpy()
    return [(X[labels == k], X[labels != k]) for k in range(labels.max() + 1)]


def highs(X, labels):
    """Return for every class whether HiGHS solves X_k b = 1, X_j b <= 0."""
    answers = []
    for A, B in split_by_class(X, labels):
        solution = linprog(
            np.zeros(A.shape[1]),
            A_eq=A,
            b_eq=np.ones(len(A)),
            A_ub=B,
            b_ub=np.zeros(len(B)),
            bounds=(None, None),
            method="highs",
        )
        assert solution.status in (0, 2)  # solved, infeasible
        answers.append(solution.status == 0)
    return answers


def count_proofs(inputs, labels, result, tol=TOL):
    """Check every claim of a result against the data; return how many classes are undecided."""
    pieces = inputs.detach().reshape(-1, *inputs.shape[-2:])
    K = int(labels.max()) + 1
    feasible, decided = (value.reshape(-1, K) for value in (result.feasible, result.decided))
    weights = result.weights.reshape(-1, K, inputs.shape[-1])
    certificate = result.certificate.reshape(-1, K, inputs.shape[-2])
    violation = result.violation.reshape(-1, K)
    for i, X in enumerate(pieces):
        for k, (A, B) in enumerate(split_by_class(X, labels)):
            b, c = weights[i, k].numpy(), certificate[i, k].numpy()
            if not decided[i, k]:
                assert not feasible[i, k] and violation[i, k] == math.inf
                assert np.isnan(b).all() and np.isnan(c).all()
                continue
            if feasible[i, k]:
                assert np.isnan(c).all()
                missed = max(abs(A @ b - 1).max(), (B @ b).max(), 0)
            else:
                assert np.isnan(b).all()
                own, others = c[labels == k], c[labels != k]
                remainder = np.linalg.norm(A.T @ own + B.T @ others)
                # A class of zeros has no length to compare with, and leaves no remainder either.
                relative = remainder / (np.linalg.norm(A, axis=1).max() or 1)
                missed = max(relative, abs(own.sum() - 1), others.max(), 0)
            assert missed <= tol * (1 + 1e-6) + 1e-15
            assert violation[i, k].item() == pytest.approx(missed, abs=tol / 100)
    return int((~decided).sum())


def assert_like_highs(inputs, labels, **options):
    """Every class is decided, rightly, and its proof is one."""
    result = nc_feasibility(inputs, labels, **options)
    seen = with_ones(inputs) if options.get("bias") else inputs
    assert count_proofs(seen, labels, result) == 0
    assert result.feasible.tolist() == highs(seen, labels)
    assert verify(inputs, labels, result).all()
    return result


def assert_same_answers(result, other):
    assert result.decided.all() and other.decided.all()
    assert torch.equal(result.feasible, other.feasible)


# --- nc_feasibility ---------------------------------------------------------------------------


def test_agrees_with_highs_on_thousands_of_classes():
    n, total, undecided, feasible, wrong = 5, 0, 0, 0, []
    levels = [0.1, 0.3, 1, 3, math.inf]
    for seed, (K, noise) in enumerate(product([2, 3, 4, 5], levels)):
        middle = n * (K + 1) // 2
        for d in [n - 2, n, n + 1, n + 2, (n + middle) // 2, middle, middle + 2, K * n + 3]:
            inputs, labels = clouds(seed, n, d, K, noise, batch=(5,))
            result = nc_feasibility(inputs, labels)
            undecided += count_proofs(inputs, labels, result)
            expected = torch.tensor([highs(X, labels) for X in inputs])
            total += expected.numel()
            feasible += int(expected.sum())
            if ((expected != result.feasible) & result.decided).any():
                wrong.append((K, noise, d))
    assert not wrong
    assert undecided <= total / 1000
    # The comparison means something: there are many problems of both kinds.
    assert total >= 2000 and total / 4 < feasible < 3 * total / 4


@pytest.mark.parametrize(("n", "d", "K"), [(25, 50, 3), (40, 60, 2), (12, 200, 4), (60, 30, 2)])
def test_agrees_with_highs_on_larger_problems(n, d, K):
    for seed, noise in enumerate([0.2, math.inf]):
        assert_like_highs(*clouds(seed, n, d, K, noise))


@examples(150)
@given(data=st.data(), seed=SEEDS, d=st.integers(1, 6), reach=st.integers(1, 2), bias=st.booleans())
def test_integers_where_many_inequalities_are_ties(data, seed, d, reach, bias):
    """Points coincide, are collinear, lie at zero or span less than the space; sizes differ."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    rank = data.draw(st.integers(1, d))
    inputs = torch.randint(-reach, reach + 1, (len(labels), d), generator=source(seed))
    inputs[:, rank:] = 0
    assert_like_highs(inputs.double(), labels, bias=bias)


def degenerate(kind):
    n, d, K = 4, 12, 3
    inputs, labels = clouds(1, n, d, K)
    ramp = torch.arange(1.0, 5.0, dtype=F64).unsqueeze(1)
    if kind == "duplicates within a class":
        inputs[1] = inputs[2] = inputs[0]
    elif kind == "duplicates across classes":
        inputs[n] = inputs[0]
    elif kind == "a zero row":
        inputs[0] = 0
    elif kind == "a class of zeros":
        inputs[:n] = 0
    elif kind == "only zeros":
        inputs.zero_()
    elif kind == "collinear with the origin":
        inputs[:n] = ramp * inputs[0]
    elif kind == "opposite points":
        inputs[1] = -inputs[0]
    elif kind == "collinear, away from the origin":
        inputs[:n] = inputs[0] + ramp * inputs[1]
    elif kind == "low rank":
        inputs = normal(2, K * n, 3) @ normal(3, 3, d)
    elif kind == "all classes on one line":
        inputs = normal(2, K * n, 1) * normal(3, d)
    return inputs, labels


IMPOSSIBLE = {  # where the answer is known: the classes that are infeasible
    "duplicates within a class": [],
    "duplicates across classes": [0, 1],
    "a zero row": [0],
    "a class of zeros": [0],
    "only zeros": [0, 1, 2],
    "collinear with the origin": [0],
    "opposite points": [0],
    "collinear, away from the origin": [],
}


@pytest.mark.parametrize("method", ["newton", "highs"])
@pytest.mark.parametrize("kind", [*IMPOSSIBLE, "low rank", "all classes on one line"])
def test_degenerate_data(kind, method, monkeypatch):
    asked = count_highs(monkeypatch)
    inputs, labels = degenerate(kind)
    result = assert_like_highs(inputs, labels, method=method)
    if kind in IMPOSSIBLE:
        assert (~result.feasible).nonzero().flatten().tolist() == IMPOSSIBLE[kind]
    assert_like_highs(inputs, labels, method=method, bias=True)
    assert not asked  # Newton's method needs no help with any of these


def test_almost_equal_samples_of_a_class():
    """They make it ill-conditioned, and rounding errors a million times larger."""
    inputs, labels = clouds(0, 4, 8, 3, batch=(50,))
    inputs[:, 1] = inputs[:, 0] + 1e-6 * inputs[:, 1]
    assert nc_feasibility(inputs, labels).decided.all()


@pytest.mark.parametrize("d", [1, 3, 4, 11, 12, 13, 100])
def test_dimensions_from_below_a_class_to_above_all_samples(d):
    result = assert_like_highs(*clouds(0, 4, d, 3))
    if d < 4 or d >= 12:
        assert result.feasible.unique().tolist() == [d >= 12]


@pytest.mark.parametrize("d", [1, 2, 3, 5, 9])
def test_one_sample_per_class(d):
    for seed in range(5):
        assert_like_highs(*clouds(seed, 1, d, 5))


def test_classes_of_different_size_in_any_order():
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 1, 1, 1, 0, 1])
    kinds = set()
    for seed in range(8):
        kinds |= set(assert_like_highs(normal(seed, 11, 6), labels).feasible.tolist())
    assert kinds == {True, False}


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("noise", [0.1, math.inf])
def test_scale_does_not_matter(scale, noise):
    for d in (4, 6, 7, 20):
        inputs, labels = clouds(d, 4, d, 3, noise, batch=(5,))
        result, plain = nc_feasibility(scale * inputs, labels), nc_feasibility(inputs, labels)
        assert_same_answers(result, plain)
        assert count_proofs(scale * inputs, labels, result) == 0


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_samples_of_different_length(size):
    """Positive factors change nothing for the silent samples, but they do for the class."""
    inputs, labels, plain = mixed_clouds()
    factors = torch.where(labels == 1, 1, torch.linspace(1, size, 12, dtype=F64)).unsqueeze(1)
    result = nc_feasibility(factors * inputs, labels)
    assert torch.equal(result.feasible[:, 1] & result.decided[:, 1], plain.feasible[:, 1])


@examples(25)
@given(seed=SEEDS, d=st.integers(3, 13))
def test_rotations_orders_and_names_do_not_matter(seed, d):
    inputs, labels = clouds(seed, 4, d, 3, batch=(2,))
    plain = nc_feasibility(inputs, labels)
    rotation = torch.linalg.qr(normal(seed + 1, d, d)).Q
    assert_same_answers(nc_feasibility(inputs @ rotation, labels), plain)
    order = torch.randperm(12, generator=source(seed))
    permuted = nc_feasibility(inputs[:, order], labels[order])
    assert_same_answers(permuted, plain)
    assert count_proofs(inputs[:, order], labels[order], permuted) == 0
    names = torch.tensor([2, 0, 1])
    renamed = nc_feasibility(inputs, names[labels])
    assert torch.equal(renamed.feasible[:, names], plain.feasible)


@pytest.mark.parametrize("dtype", [F32, torch.float16])
def test_other_precisions_are_solved_in_double(dtype):
    inputs, labels, _ = mixed_clouds()
    rounded = inputs.to(dtype)
    result, exact = nc_feasibility(rounded, labels), nc_feasibility(rounded.double(), labels)
    assert result.weights.dtype == result.certificate.dtype == result.violation.dtype == F64
    assert_same_answers(result, exact)
    assert count_proofs(rounded, labels, result) == 0
    assert verify(rounded, labels, result).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,), (3, 0)])
def test_a_batch_is_its_instances(batch, bias):
    inputs, labels = clouds(3, 4, 7, 3, batch=batch)
    result = nc_feasibility(inputs, labels, bias=bias)
    assert result.feasible.shape == result.decided.shape == result.violation.shape == (*batch, 3)
    assert result.weights.shape == (*batch, 3, 7 + bias)
    assert result.certificate.shape == (*batch, 3, 12)
    assert result.feasible.dtype == result.decided.dtype == torch.bool
    assert verify(inputs, labels, result).shape == (*batch, 3)
    for index in np.ndindex(*batch):
        single = nc_feasibility(inputs[index], labels, bias=bias)
        for name, value in vars(single).items():
            together = getattr(result, name)[index]
            # Not unique to the last digit; violations are rounding errors.
            torch.testing.assert_close(together, value, rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("room", [1, 30, 10_000])
def test_parts_of_a_batch_are_put_together_in_order(monkeypatch, room):
    inputs, labels, whole = mixed_clouds(batch=(7,))
    monkeypatch.setattr(shallow_feasibility, "CHUNK", {"cpu": room * 7, "cuda": 0})
    result = nc_feasibility(inputs, labels)
    assert_same_answers(result, whole)
    assert count_proofs(inputs, labels, result) == 0


def test_a_bias_is_one_more_constant_input():
    kinds = set()
    for seed in range(6):
        inputs, labels = clouds(seed, 4, 6, 3)
        result = assert_like_highs(inputs, labels, bias=True)
        by_hand = nc_feasibility(with_ones(inputs), labels)
        assert_same_answers(result, by_hand)
        close(result.weights.nan_to_num(), by_hand.weights.nan_to_num())
        shifted = assert_like_highs(inputs + 5 * normal(seed + 9, 6), labels, bias=True)
        assert_same_answers(shifted, result)
        kinds |= set(result.feasible.tolist())
    assert kinds == {True, False}


def test_a_bias_makes_room_and_a_shift_without_one_matters():
    line, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    assert nc_feasibility(line, labels).feasible.tolist() == [False, False]
    with_bias = nc_feasibility(line, labels, bias=True)
    assert with_bias.feasible.tolist() == [True, True]
    outputs = with_ones(line).double() @ with_bias.weights.mT
    close(outputs.diagonal(), torch.ones(2, dtype=F64), TOL)
    assert nc_feasibility(line - 1.5, labels).feasible.tolist() == [True, True]


@pytest.mark.parametrize("d", [7, 15])
@pytest.mark.parametrize("method", ["newton", "highs"])
def test_inputs_may_be_views_or_part_of_a_graph_and_stay_as_they_are(method, d, monkeypatch):
    inputs, labels = clouds(0, 4, d, 3, batch=(3,))
    plain = nc_feasibility(inputs, labels)
    if method == "highs":  # which else would have nothing to do
        find_nothing(monkeypatch)
    views = [inputs.mT.contiguous().mT, torch.stack([inputs, inputs], -1)[..., 0]]
    for view in views:
        assert not view.is_contiguous()
        assert_same_answers(nc_feasibility(view, labels, method=method), plain)
        assert torch.equal(view, inputs)
    variable = inputs.clone().requires_grad_()
    result = nc_feasibility(variable, labels, method=method)
    assert_same_answers(result, plain)
    assert not (result.weights.requires_grad or result.violation.requires_grad)
    assert verify(variable, labels, result).all()
    assert torch.equal(variable, inputs) and variable.grad is None


@pytest.mark.parametrize("tol", [1e-4, 1e-7, 1e-11])
def test_proofs_are_as_good_as_asked(tol):
    for d in (6, 8, 10):
        inputs, labels = clouds(d, 4, d, 3, 0.5, batch=(10,))
        result = nc_feasibility(inputs, labels, tol=tol)
        assert (result.violation[result.decided] <= tol).all()
        assert count_proofs(inputs, labels, result, tol) <= 1
        assert torch.equal(verify(inputs, labels, result, tol=tol), result.decided)


def test_a_gap_below_the_tolerance_is_no_gap():
    """Outputs may exceed zero by tol, and a certificate may leave a remainder of tol."""
    labels = torch.tensor([0, 1])
    inputs = torch.tensor([[1.0, 0.0], [1.0, 1e-5]], dtype=F64)
    exact = nc_feasibility(inputs, labels)
    assert exact.feasible.tolist() == [True, True]
    assert exact.weights[0, 1].item() <= -1e5 * (1 - 1e-6)
    loose = nc_feasibility(inputs, labels, tol=1e-3)
    assert loose.decided.all() and not loose.feasible.any()
    assert not verify(inputs, labels, loose).any()
    assert verify(inputs, labels, loose, tol=1e-3).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu():
    for d in (3, 7, 9, 20):
        inputs, labels = clouds(d, 4, d, 3, batch=(20,))
        result = nc_feasibility(inputs.cuda(), labels)
        assert {value.device.type for value in vars(result).values()} == {"cuda"}
        moved = replace(result, **{name: value.cpu() for name, value in vars(result).items()})
        assert_same_answers(moved, nc_feasibility(inputs, labels))
        assert count_proofs(inputs, labels, moved) == 0
        assert verify(inputs.cuda(), labels.cuda(), result).all()


@examples(50)
@given(seed=SEEDS, size=st.integers(1, 12), ties=st.booleans())
def test_steps_are_exact(seed, size, ties):
    """A shorter step would also lead to a proof in the end, but later."""
    slack, change = normal(seed, 5, size), normal(seed + 1, 5, size)
    if ties:
        slack, change = (2 * slack).round(), (2 * change).round()
    slope = (slack.clamp_min(0) * change).sum(-1, keepdim=True)
    change = -slope.sign() * change  # downhill, as Newton's steps are
    length = shallow_feasibility._exact_step(slack, change)
    assert length.shape == (5, 1) and (length >= 0).all() and length.isfinite().all()
    reached = (slack + length * change).clamp_min(0)
    # The function is convex in the length: a vanishing derivative is its minimum.
    derivative = (reached * change).sum(-1, keepdim=True)
    assert ((derivative.abs() < 1e-9) | (slope == 0)).all()


# --- what Newton leaves -----------------------------------------------------------------------


def find_nothing(monkeypatch):
    def nothing(A, B, inverse, basis, tol):
        shapes = (A.shape[2],), (A.shape[1],), (B.shape[1],)
        return [A.new_full((len(A), *shape), math.nan) for shape in shapes]

    monkeypatch.setattr(shallow_feasibility, "_newton_proof", nothing)


def count_highs(monkeypatch):
    """Keep what HiGHS is asked to solve."""
    asked, solve = [], shallow_feasibility._highs_one

    def keep(A, B, tol):
        asked.append((A, B))
        return solve(A, B, tol)

    monkeypatch.setattr(shallow_feasibility, "_highs_one", keep)
    return asked


def test_what_newton_cannot_find_is_undecided(monkeypatch):
    inputs, labels, _ = mixed_clouds()
    find_nothing(monkeypatch)
    result = nc_feasibility(inputs, labels)
    assert count_proofs(inputs, labels, result) == 18
    assert not verify(inputs, labels, result).any()


@pytest.mark.parametrize("d", [3, 7, 9, 20])
def test_highs_finds_what_newton_does_not(monkeypatch, d):
    inputs, labels = clouds(0, 4, d, 3, batch=(4,))
    plain = nc_feasibility(inputs, labels)
    find_nothing(monkeypatch)
    result = nc_feasibility(inputs, labels, method="highs")
    assert_same_answers(result, plain)
    assert count_proofs(inputs, labels, result) == 0


def test_highs_is_asked_for_exactly_what_newton_leaves(monkeypatch):
    inputs, labels, full = mixed_clouds(batch=(10,))
    asked = count_highs(monkeypatch)
    nc_feasibility(inputs, labels, method="highs")
    assert not asked
    monkeypatch.setattr(shallow_feasibility, "NEWTON_STEPS", 2)
    hasty = nc_feasibility(inputs, labels)
    assert not asked
    left = count_proofs(inputs, labels, hasty)
    assert 0 < left < 30
    assert torch.equal(hasty.feasible[hasty.decided], full.feasible[hasty.decided])
    retried = nc_feasibility(inputs, labels, method="highs")
    assert len(asked) == left
    assert_same_answers(retried, full)
    assert count_proofs(inputs, labels, retried) == 0
    kept = torch.equal(retried.weights[hasty.feasible], hasty.weights[hasty.feasible])
    assert kept  # and HiGHS was given no say in what was proved before


def test_highs_may_fail_too(monkeypatch):
    """No solution at all counts as undecided."""
    inputs, labels, _ = mixed_clouds()
    find_nothing(monkeypatch)
    failed = type("Failed", (), {"x": None})()
    monkeypatch.setattr(shallow_feasibility, "linprog", lambda *_, **__: failed)
    result = nc_feasibility(inputs, labels, method="highs")
    assert count_proofs(inputs, labels, result) == 18


# --- verify -----------------------------------------------------------------------------------


def test_verify_accepts_results_and_no_others():
    inputs, labels, result = mixed_clouds()
    assert verify(inputs, labels, result).all()
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
        ({"feasible": ~feasible}, torch.ones_like(feasible)),
    ]:
        assert torch.equal(verify(inputs, labels, replace(result, **changes)), ~spoiled)


def test_verify_looks_at_the_signs_of_a_certificate():
    """A point with a positive multiplier is in the kernel of X^T, but proves nothing."""
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 1.0]], dtype=F64)
    labels = torch.tensor([0, 0, 1, 1])
    result = nc_feasibility(inputs, labels)
    for others, holds in [([0.0, -0.5], True), ([0.5, 0.0], False), ([-0.2, -0.7], True)]:
        certificate = result.certificate.clone()
        certificate[0] = torch.tensor([0.5, 0.5, *others], dtype=F64)
        changed = replace(result, certificate=certificate)
        assert verify(inputs, labels, changed)[0].item() == holds


def test_verify_looks_at_the_data():
    inputs, labels, result = mixed_clouds()
    assert not verify(-inputs, labels, result)[result.feasible].any()
    assert not verify(inputs + 0.01, labels, result).any()
    assert not verify(inputs.flip(0), labels, result).any()
    assert not verify(inputs, labels.roll(1), result).any()
    biased = nc_feasibility(inputs, labels, bias=True)
    assert verify(inputs, labels, biased).all()


def test_verify_needs_data_of_the_right_shape():
    inputs, labels, result = mixed_clouds()
    for data, names in [
        (inputs[:5], labels),
        (inputs[0], labels),
        (inputs[..., :5], labels),
        (inputs, labels.clamp_max(1)),
        (inputs[:, :9], labels[:9]),
    ]:
        with pytest.raises(ValueError, match=r"weights and certificates .* have the shapes"):
            verify(data, names, result)
    with pytest.raises(ValueError, match="labels must have shape"):
        verify(inputs, labels[:-1], result)
    with pytest.raises(ValueError, match="tol must lie between 0 and 1"):
        verify(inputs, labels, result, tol=0)
    with pytest.raises(ValueError, match="inputs must be finite"):
        verify(inputs * math.inf, labels, result)


# --- what is refused --------------------------------------------------------------------------

POINTS, NAMES = torch.eye(4), torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "match"),
    [
        (POINTS, torch.zeros(4, dtype=torch.int64), {}, "at least two classes"),
        (POINTS * math.nan, NAMES, {}, "finite"),
        (torch.diag(torch.tensor([1, 1, 1, -math.inf])), NAMES, {}, "finite"),
        (POINTS[:, :0], NAMES, {}, r"floating-point tensor of shape \(…, N, d\)"),
        (POINTS[:, :0], NAMES, {"bias": True}, r"floating-point tensor of shape \(…, N, d\)"),
        (POINTS[:0], NAMES[:0], {}, r"floating-point tensor of shape \(…, N, d\)"),
        (POINTS[0], NAMES, {}, r"floating-point tensor of shape \(…, N, d\)"),
        (POINTS.long(), NAMES, {}, "floating-point tensor .* torch.int64"),
        (POINTS, NAMES.float(), {}, "labels must be integers"),
        (POINTS, NAMES.bool(), {}, "labels must be integers"),
        (POINTS, NAMES * 2, {}, r"have none: \[1\]"),
        (POINTS, NAMES[:3], {}, r"labels must have shape \(4,\)"),
        (POINTS, NAMES[None], {}, r"labels must have shape \(4,\)"),
        (POINTS, NAMES - 1, {}, r"labels must lie in 0 \.\. K - 1, got -1 \.\. 0"),
        (POINTS, NAMES, {"tol": 0}, "tol must lie between 0 and 1, got 0"),
        (POINTS, NAMES, {"tol": -1e-9}, "tol must lie between"),
        (POINTS, NAMES, {"tol": 1}, "tol must lie between"),
        (POINTS, NAMES, {"tol": math.nan}, "tol must lie between"),
        (POINTS, NAMES, {"method": "simplex"}, "method must be .* got 'simplex'"),
    ],
)
def test_no_such_feasibility_problem(inputs, labels, options, match):
    with pytest.raises(ValueError, match=match):
        nc_feasibility(inputs, labels, **options)


# --- probabilities ----------------------------------------------------------------------------


def wendel(d, n, K):
    m = (K - 1) * n
    return sum(math.comb(m, i) for i in range(d - n + 1)) / 2**m if d >= n else 0.0


def test_noise_probability_by_hand():
    assert noise_probability(1, 1, 2) == pytest.approx(1 / 2)  # numbers of opposite sign
    assert noise_probability(1, 1, 4) == pytest.approx(1 / 8)
    assert noise_probability(2, 2, 2) == pytest.approx(1 / 4)
    assert noise_probability(3, 2, 2) == pytest.approx(3 / 4)
    assert noise_probability(2, 1, 3) == pytest.approx(3 / 4)
    assert noise_probability(4, 3, 3) == pytest.approx(7 / 64)
    assert isinstance(noise_probability(4, 3, 3), float)


@pytest.mark.parametrize(("n", "K"), [(1, 2), (3, 2), (4, 3), (7, 5), (20, 4), (40, 10)])
def test_noise_probability_for_all_dimensions(n, K):
    dims = np.arange(1, K * n + 5)
    values = noise_probability(dims, n, K)
    np.testing.assert_allclose(values, [wendel(int(d), n, K) for d in dims], rtol=1e-9)
    assert (values[dims < n] == 0).all() and (values[dims >= K * n] == 1).all()
    # As many heads as tails.
    inside = dims[dims < (K + 1) * n]
    mirrored = np.array([wendel((K + 1) * n - 1 - int(d), n, K) for d in inside])
    np.testing.assert_allclose(values[: len(inside)] + mirrored, 1, rtol=1e-9)
    square = np.arange(1, 5).reshape(2, 2)
    np.testing.assert_array_equal(noise_probability(square, n, K), values[:4].reshape(2, 2))


DRAWS = 150
CELLS = [
    (d, n, K)
    for n, K in product([1, 2, 5, 10, 20], [2, 3, 5])
    for d in {
        max(n, round(n * (K + 1) / 2 + step * math.sqrt((K - 1) * n) / 2)) for step in (-1, 0, 1)
    }
]


def share_of_first_class(inputs, n):
    """Return how often the first n samples can collapse, the others being one more class."""
    labels = (torch.arange(inputs.shape[-2]) >= n).long()
    result = nc_feasibility(inputs, labels)
    assert result.decided[:, 0].all()
    return result.feasible[:, 0].double().mean().item()


def draw_normal(seed, *shape):
    return normal(seed, *shape)


def draw_cube(seed, *shape):
    return 2 * torch.rand(*shape, generator=source(seed), dtype=F64) - 1


def draw_laplace(seed, *shape):
    uniform = draw_cube(seed, *shape)
    return -uniform.sign() * torch.log1p(-uniform.abs())


def draw_signs(seed, *shape):
    """Samples of fixed place whose sign alone is random, of different lengths."""
    signs = draw_cube(seed, *shape[:-1], 1).sign()
    return signs * normal(0, *shape[1:]) * torch.logspace(-2, 2, shape[-2], dtype=F64)[:, None]


def test_noise_probability_is_what_is_counted():
    """Each cell alone may be off by three standard errors once in 370; together they may not."""
    scores = []
    for seed, (d, n, K) in enumerate(CELLS):
        expected = noise_probability(d, n, K)
        share = share_of_first_class(normal(seed, DRAWS, K * n, d), n)
        deviation = math.sqrt(expected * (1 - expected) / DRAWS)
        if expected in (0, 1):
            assert share == expected
        else:
            scores.append((share - expected) / deviation)
    assert len(scores) > 30
    # 3.5 and not 3: with so many cells, one beyond 3 is no surprise (the seeds are fixed anyway).
    assert np.abs(scores).max() < 3.5
    assert np.mean(np.abs(scores) > 3) < 0.05
    # Nor are they off on the whole, in either direction or in size.
    assert abs(np.sum(scores)) < 3 * math.sqrt(len(scores))
    assert 1e-3 < chi2.sf(np.square(scores).sum(), len(scores)) < 1 - 1e-3


@pytest.mark.parametrize("draw", [draw_normal, draw_cube, draw_laplace, draw_signs])
def test_noise_probability_holds_for_symmetric_samples_around_any_class(draw):
    n, K, draws = 4, 3, 400
    own = {
        "far away": 100 + normal(1, n, 9),
        "of different length": torch.logspace(-1, 1, n, dtype=F64)[:, None] * normal(2, n, 9),
        "unit vectors": torch.eye(n, 9, dtype=F64),
    }
    for seed, (points, d) in enumerate(product(own.values(), [6, 8, 9])):
        others = draw(seed, draws, (K - 1) * n, d)
        inputs = torch.cat([points[:, :d].expand(draws, n, d), others], dim=1)
        expected = noise_probability(d, n, K)
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert abs(share_of_first_class(inputs, n) - expected) < 3.5 * deviation


@pytest.mark.parametrize(("n", "K"), [(1, 2), (2, 3), (5, 2), (10, 4), (50, 3), (200, 2)])
def test_gordon_bound_is_a_bound(n, K):
    dims = np.arange(1, 2 * K * n)
    bound, exact = gordon_bound(dims, n, K), noise_probability(dims, n, K)
    assert (bound >= 0).all() and (bound <= exact + 1e-12).all()
    assert (np.diff(bound) >= 0).all()
    assert isinstance(gordon_bound(3, n, K), float)


def test_gordon_bound_by_hand():
    """E|g| is sqrt(pi/2) in the plane and sqrt(8/pi) in space."""
    for d, length in [(2, math.sqrt(math.pi / 2)), (3, math.sqrt(8 / math.pi))]:
        delta = 1 - 0.5 + 0.5
        expected = 1 - math.exp(-((length - math.sqrt(delta)) ** 2) / 2)
        assert gordon_bound(d, 1, 2) == pytest.approx(expected, rel=1e-12)
    assert gordon_bound(1, 1, 2) == 0  # E|g| = sqrt(2/pi) is less than one


@pytest.mark.parametrize("K", [2, 3, 10])
def test_gordon_bound_tends_to_one_above_its_ratio(K):
    ratio = 1.1 * (K + 1) / 2
    sizes = [100, 1000, 10_000]
    values = [gordon_bound(round(ratio * n), n, K) for n in sizes]
    assert values == sorted(values) and values[-1] > 1 - 1e-6
    assert gordon_bound(round(0.99 * (K + 1) / 2 * 10_000), 10_000, K) == 0


@pytest.mark.parametrize("function", [noise_probability, gordon_bound])
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 1, 2), "dim must be an integer of at least 1, got 0"),
        (([3, 0], 1, 2), "dim must be an integer"),
        ((2.0, 1, 2), "dim must be an integer"),
        ((2, 0, 2), "samples_per_class must be an integer of at least 1, got 0"),
        ((2, 1.5, 2), "samples_per_class must be an integer"),
        ((2, 1, 1), "num_classes must be an integer of at least 2, got 1"),
        ((2, 1, 2.0), "num_classes must be an integer"),
    ],
)
def test_no_such_counts(function, arguments, match):
    with pytest.raises(ValueError, match=match):
        function(*arguments)


# --- class means ------------------------------------------------------------------------------


def at_angle(degrees, lengths=(1.0, 1.0)):
    angle = math.radians(degrees)
    plane = [[1.0, 0.0], [math.cos(angle), math.sin(angle)]]
    return torch.tensor(plane, dtype=F64) * torch.tensor(lengths, dtype=F64)[:, None]


MEANS = {
    "orthogonal": torch.eye(3, dtype=F64),
    "acute": at_angle(40),
    "obtuse": at_angle(130, (0.5, 2.0)),
    "opposite": torch.tensor([[1.0], [-1.0]], dtype=F64),
    "random": normal(5, 4, 6),
    "low rank": normal(6, 4, 2),
    "equal": torch.ones(3, 2, dtype=F64),
    "zero": torch.zeros(2, 1, dtype=F64),
}


def brute_margin(means, k):
    """Minimise the distance of the hull of the other means and the ray through mean k."""
    own, others = means[k].numpy(), np.delete(means.numpy(), k, axis=0)

    def gap(x):
        return x[1:] @ others - x[0] * own

    constraint = {"type": "eq", "fun": lambda x: x[1:].sum() - 1}
    starts = np.vstack([np.full(len(others), 1 / len(others)), np.eye(len(others))])
    best = [
        minimize(
            lambda x: gap(x) @ gap(x),
            np.concatenate([[0.1], start]),
            jac=lambda x: 2 * gap(x) @ np.vstack([-own, others]).T,
            bounds=[(0, None)] * (len(others) + 1),
            constraints=constraint,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        ).fun
        for start in starts
    ]
    return math.sqrt(min(best))


@examples(40)
@given(seed=SEEDS, K=st.integers(2, 5), r=st.integers(1, 6))
def test_margins_are_smallest_distances(seed, K, r):
    means = normal(seed, K, r)
    expected = torch.tensor([brute_margin(means, k) for k in range(K)], dtype=F64)
    # A distance of zero is found as its square, hence to half the digits.
    close(mean_margins(means), expected, 1e-5)


@pytest.mark.parametrize("degrees", [1, 30, 60, 89, 91, 120, 179, 180])
def test_margins_of_two_means(degrees):
    lengths = torch.tensor([3.0, 0.5], dtype=F64)
    sine = math.sin(math.radians(degrees)) if degrees < 90 else 1.0
    close(mean_margins(at_angle(degrees, (3.0, 0.5))), sine * lengths.flip(0), 1e-9)


@examples(60)
@given(seed=SEEDS, K=st.integers(2, 7), extra=st.integers(0, 4), scale=st.floats(1e-6, 1e6))
def test_margins_are_bounded_by_singular_values_and_scale(seed, K, extra, scale):
    means = normal(seed, K, K + extra)
    margins = mean_margins(means)
    assert (margins >= torch.linalg.svdvals(means).min() / math.sqrt(K - 1) * (1 - 1e-9)).all()
    norms = means.norm(dim=1)
    for k in range(K):  # the ray starts in the origin
        assert margins[k] <= norms[torch.arange(K) != k].min() * (1 + 1e-9)
    close(mean_margins(scale * means) / scale, margins, 1e-9)
    rotation = torch.linalg.qr(normal(seed + 1, K + extra, K + extra)).Q
    close(mean_margins(means @ rotation), margins, 1e-9)


@pytest.mark.parametrize(
    ("means", "zeros"),
    [
        ([[1.0, 1.0], [2.0, 2.0]], [True, True]),  # on one ray
        ([[1.0, 1.0], [-2.0, -2.0]], [False, False]),  # on one line
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [False, False, True]),  # between two others
        ([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], [False, False, False]),
        ([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], [True, False, True]),  # zero is on all other rays
        ([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], [True, True, True]),  # zero between the others
        ([[0.0], [0.0]], [True, True]),
    ],
)
def test_margins_of_zero(means, zeros):
    margins = mean_margins(torch.tensor(means))
    assert margins.dtype == F64 and (margins >= 0).all()
    assert ((margins < 1e-7) == torch.tensor(zeros)).all()


def test_margins_take_means_of_a_graph():
    means = normal(0, 3, 4)
    assert torch.equal(mean_margins(means.clone().requires_grad_()), mean_margins(means))


@pytest.mark.parametrize(
    ("means", "match"),
    [
        (torch.ones(3), "means must be a floating-point tensor of shape"),
        (torch.ones(1, 3), "means must be a floating-point tensor of shape"),
        (torch.eye(3, dtype=torch.int64), "means must be a floating-point tensor"),
        (torch.eye(3) * math.nan, "means must be finite"),
    ],
)
def test_no_such_means(means, match):
    for call in (
        mean_margins,
        lambda means: small_noise_bound(9, 2, means, 0.1),
        lambda means: phase_map(([3], [0.1]), 1, samples_per_class=3, means=means),
        lambda means: misclassification_rate(means, means, 1.0),
    ):
        with pytest.raises(ValueError, match=match):
            call(means)


def shares_of_classes(seed, d, n, means, noise, draws):
    labels = equal_classes(n, len(means))
    centres = functional.pad(means, (0, d - means.shape[1]))[labels]
    result = nc_feasibility(centres + noise * normal(seed, draws, len(labels), d), labels)
    assert result.decided.all()
    return result.feasible.double().mean(0).numpy()


def assert_at_least(shares, bound, draws):
    """Three standard errors of a share whose probability is the bound."""
    assert (shares >= bound - 3 * np.sqrt(bound * (1 - bound) / draws) - 1e-12).all()


@pytest.mark.parametrize("kind", MEANS)
def test_small_noise_bound_is_a_bound(kind):
    means, draws, informative = MEANS[kind], 150, 0
    K, (n, d) = len(means), (4, 12)
    for seed, noise in enumerate([0.02, 0.1, 0.2, 0.4, 1.0]):
        bound = small_noise_bound(d, n, means, noise)
        assert bound.shape == (K,)
        shares = shares_of_classes(seed, d, n, means, noise, draws)
        assert_at_least(shares, bound, draws)
        informative += ((bound > 0.05) & (bound < 0.999)).sum()
    assert informative > 0 or kind in ("equal", "zero", "low rank")


@pytest.mark.parametrize("kind", MEANS)
def test_no_means_are_worse_than_fewer_dimensions_of_noise(kind):
    """In the complement of what the means span, beyond one dimension, all is pure noise."""
    means, draws = MEANS[kind], 150
    K, n = len(means), 4
    for seed, (d, noise) in enumerate(product([max(n, 6), 10, 13], [0.1, 1.0, math.inf])):
        bound = noise_probability(d - (K - 1), n, K)
        scaled = means / noise if noise < math.inf else 0 * means
        assert_at_least(shares_of_classes(seed, d, n, scaled, 1.0, draws), bound, draws)


def test_small_noise_bound_of_two_opposite_means_by_integration():
    """The share R of Beta(a, b) that the noise leaves of the weights, integrated numerically."""
    d, n, noise = 9, 3, 0.5
    a, b = (d - 1 - n + 1) / 2, n / 2
    constant = math.gamma(a + b) / math.gamma(a) / math.gamma(b)

    def integrand(share):
        density = constant * share ** (a - 1) * (1 - share) ** (b - 1)
        return density * norm.cdf(math.sqrt(share) / noise) ** n

    exact, _ = quad(integrand, 0, 1)
    value = small_noise_bound(d, n, MEANS["opposite"], noise)
    assert (value <= exact).all() and (value > exact - 1e-3).all()


@pytest.mark.parametrize("kind", ["orthogonal", "acute", "obtuse", "opposite", "random"])
def test_small_noise_bound_falls_with_the_noise(kind):
    means = MEANS[kind]
    noises = np.logspace(-3, 3, 30)
    values = small_noise_bound(20, 5, means, noises.reshape(5, 6))
    assert values.shape == (5, 6, len(means))
    rows = values.reshape(30, -1)
    assert (rows <= 1).all() and (rows >= 0).all() and (np.diff(rows, axis=0) <= 0).all()
    np.testing.assert_array_equal(rows[7], small_noise_bound(20, 5, means, noises[7]))
    assert (rows[0] > 0.99).all()
    m = (len(means) - 1) * 5
    pure = small_noise_bound(20, 5, means, math.inf)
    np.testing.assert_allclose(pure, 2.0**-m, rtol=1e-9)


def test_small_noise_bound_needs_room():
    for kind, rank in [("orthogonal", 3), ("opposite", 1), ("low rank", 2), ("zero", 0)]:
        means, n = MEANS[kind], 5
        for d in (rank + n - 1, rank + n):
            values = small_noise_bound(d, n, means, [0.01, 1.0])
            assert values.shape == (2, len(means))
            assert (values > 0).all() == (values > 0).any() == (d >= rank + n)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((2, 4, torch.eye(3), 0.1), "dim must be one integer, at least 3, got 2"),
        (([9, 10], 4, torch.eye(3), 0.1), "dim must be one integer"),
        ((9.0, 4, torch.eye(3), 0.1), "dim must be an integer"),
        ((9, 0, torch.eye(3), 0.1), "samples_per_class must be an integer"),
        ((9, 4, torch.eye(3), 0.0), "noise must be positive"),
        ((9, 4, torch.eye(3), [0.1, -1.0]), "noise must be positive"),
        ((9, 4, torch.eye(3), math.nan), "noise must be positive"),
    ],
)
def test_no_such_small_noise_bound(arguments, match):
    with pytest.raises(ValueError, match=match):
        small_noise_bound(*arguments)


# --- phase maps -------------------------------------------------------------------------------

GRID = [1.0, 1.5, 2.5], [0.2, 1.0, math.inf]
SWEEP = {"samples_per_class": 4, "means": torch.eye(2, dtype=F64)}


def assert_same_map(result, other):
    assert isinstance(result, PhaseMap)
    for name, value in vars(other).items():
        assert torch.equal(getattr(result, name), value), name


@pytest.fixture(scope="module")
def small_map():
    return phase_map(GRID, 40, **SWEEP)


@pytest.fixture
def solved(monkeypatch):
    """Keep all problems that are solved in this process."""
    kept, solve = [], nc_feasibility

    def keep(inputs, labels, **options):
        kept.append((inputs, labels, options))
        return solve(inputs, labels, **options)

    monkeypatch.setattr(shallow_feasibility, "nc_feasibility", keep)
    return kept


def test_a_map_has_its_axes(small_map):
    assert small_map.dims.tolist() == [4, 6, 10] and small_map.noises.tolist() == GRID[1]
    assert small_map.per_class.shape == small_map.joint.shape == small_map.undecided.shape == (3, 3)
    assert small_map.per_class.dtype == small_map.joint.dtype == small_map.noises.dtype == F64
    assert (small_map.joint <= small_map.per_class).all()
    assert (small_map.joint < small_map.per_class).any()
    assert (small_map.undecided == 0).all()
    assert (small_map.per_class[-1] > small_map.per_class[0]).all()


def test_maps_do_not_depend_on_who_computes_them(small_map):
    assert_same_map(phase_map(GRID, 40, jobs=2, **SWEEP), small_map)
    with joblib.parallel_config("loky", n_jobs=2):
        assert_same_map(phase_map(GRID, 40, **SWEEP), small_map)


def test_maps_on_a_cluster(small_map):
    distributed = pytest.importorskip("dask.distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert_same_map(phase_map(GRID, 40, **SWEEP), small_map)


def test_a_cell_does_not_depend_on_the_others(small_map):
    for i, j in product(range(3), range(3)):
        alone = phase_map(([GRID[0][i]], [GRID[1][j]]), 40, **SWEEP)
        assert alone.per_class.item() == small_map.per_class[i, j]
        assert alone.joint.item() == small_map.joint[i, j]
    swapped = phase_map([axis[::-1] for axis in GRID], 40, **SWEEP)
    assert torch.equal(swapped.per_class.flip(0, 1), small_map.per_class)


def test_every_cell_and_seed_has_numbers_of_its_own(solved):
    """Neither do two cells share random numbers, nor two blocks of one cell."""
    for seed in (0, 1):
        phase_map(([1.5], [1e6, 1e7, math.inf]), 150, seed=seed, **SWEEP)
    starts = torch.cat([inputs[:50, 0, 0] for inputs, _, _ in solved]).reshape(-1, 50)
    assert len(solved) == 12  # 100 and 50 trials each
    gaps = (starts[:, None] - starts).abs().amax(-1)
    assert gaps[~torch.eye(12, dtype=torch.bool)].min() > 0.1
    assert [len(inputs) for inputs, _, _ in solved] == [100, 50] * 6


def test_seeds_differ_and_repeat(small_map):
    assert_same_map(phase_map(GRID, 40, seed=0, **SWEEP), small_map)
    other = phase_map(GRID, 40, seed=1, **SWEEP)
    assert not torch.equal(other.per_class, small_map.per_class)


@pytest.mark.parametrize("noise", [0.3, 2.0, math.inf])
def test_a_cell_is_what_a_loop_counts(solved, noise):
    means, n, trials = normal(3, 3, 2), 5, 30
    d = round(1.55 * n)
    result = phase_map(([1.55], [noise]), trials, samples_per_class=n, means=means)
    assert result.dims.tolist() == [d]
    ((inputs, labels, _),) = solved
    assert inputs.shape == (trials, 15, d)
    answers = [highs(X, labels) for X in inputs]
    assert result.per_class.item() == pytest.approx(np.mean(answers))
    assert result.joint.item() == pytest.approx(np.mean([all(answer) for answer in answers]))
    # What remains of the samples without their means is standard normal.
    centres = functional.pad(means / noise, (0, d - 2))[labels]
    rest = inputs - centres
    size = rest.numel()
    assert abs(rest.mean()) < 4 / math.sqrt(size)
    assert abs(rest.square().mean() - 1) < 4 * math.sqrt(2 / size)
    assert rest.mean((0, 1)).abs().max() < 4.5 / math.sqrt(size / d)


def test_infinite_noise_is_pure_noise():
    trials, n, K = 150, 6, 3
    ratios = [5 / 6, 10 / 6, 2, 14 / 6, 3]
    grid = ratios, [math.inf]
    maps = [
        phase_map(grid, trials, samples_per_class=n, means=means)
        for means in (torch.eye(K), 1e3 * normal(0, K, 2))
    ]
    assert_same_map(*maps)
    expected = noise_probability(maps[0].dims.numpy(), n, K)
    # Classes of one trial are not independent: count them as one.
    deviation = np.sqrt(expected * (1 - expected) / trials)
    assert (np.abs(maps[0].per_class[:, 0].numpy() - expected) <= 3 * deviation).all()


def test_undecided_classes_are_counted(monkeypatch):
    find_nothing(monkeypatch)
    trials = 3
    left = phase_map(GRID, trials, **SWEEP)
    assert (left.undecided == trials * 2).all()
    assert (left.per_class == 0).all() and (left.joint == 0).all()
    monkeypatch.undo()
    found = phase_map(GRID, trials, **SWEEP)
    assert found.per_class.any()
    find_nothing(monkeypatch)
    assert_same_map(phase_map(GRID, trials, method="highs", **SWEEP), found)


def test_a_cache_knows_what_it_holds(tmp_path, solved):
    first = phase_map(GRID, 4, cache=tmp_path, **SWEEP)
    assert len(solved) == 9
    assert_same_map(phase_map(GRID, 4, cache=tmp_path, **SWEEP), first)
    assert_same_map(phase_map(GRID, 4, cache=tmp_path, device="cpu", **SWEEP), first)
    assert len(solved) == 9
    single = [1.0], [1.0]
    for change in [
        {"seed": 1},
        {"samples_per_class": 5},
        {"means": 2 * SWEEP["means"]},
        {"method": "highs"},
    ]:
        before = len(solved)
        phase_map(single, 4, cache=tmp_path, **SWEEP | change)
        assert len(solved) == before + 1
    before = len(solved)
    phase_map(single, 5, cache=tmp_path, **SWEEP)
    assert len(solved) == before + 1


SLOW_SWEEP = """
import math, sys, time, torch
from lecturelib import shallow_feasibility
solve = shallow_feasibility.nc_feasibility
def slowly(*arguments, **options):
    time.sleep(0.15)
    return solve(*arguments, **options)
shallow_feasibility.nc_feasibility = slowly
grid = [1.0, 1.5, 2.5], [0.1, 0.2, 0.5, 1.0, 2.0, math.inf]
means = torch.eye(2, dtype=torch.float64)
shallow_feasibility.phase_map(
    grid, 20, samples_per_class=4, means=means, cache=sys.argv[1]
)
"""


@pytest.mark.parametrize("cells", [1, 4])
def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path, solved, cells):
    grid = [1.0, 1.5, 2.5], [0.1, 0.2, 0.5, 1.0, 2.0, math.inf]

    def finished():
        return len(list(tmp_path.rglob("output.pkl")))

    child = subprocess.Popen([sys.executable, "-c", SLOW_SWEEP, str(tmp_path)])
    try:
        deadline = time.monotonic() + 120
        while finished() < cells and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(np.random.default_rng().uniform(0, 0.2))  # any moment must do
    finally:
        child.kill()
        child.wait()
    kept = finished()
    assert cells <= kept < 18
    resumed = phase_map(grid, 20, cache=tmp_path, **SWEEP)
    assert len(solved) == 18 - kept
    assert_same_map(resumed, phase_map(grid, 20, **SWEEP))


@pytest.mark.parametrize(
    ("grid", "trials", "changes", "match"),
    [
        (([1.0], [0.0]), 1, {}, "noise levels must be positive"),
        (([1.0], [0.1, -1.0]), 1, {}, "noise levels must be positive"),
        (([1.0], [math.nan]), 1, {}, "noise levels must be positive"),
        (([0.0], [0.1]), 1, {}, "ratios must be positive"),
        (([math.inf], [0.1]), 1, {}, "ratios must be positive and finite"),
        (([math.nan], [0.1]), 1, {}, "ratios must be positive and finite"),
        (([0.3], [0.1]), 1, {}, "means of length 2 do not fit into 1 dimensions"),
        (([2.0], [0.1]), 0, {}, "at least 1, got 0"),
        (([2.0], [0.1]), 1.5, {}, "integer of at least 1"),
        (([2.0], [0.1]), 1, {"samples_per_class": 0}, "samples_per_class must be an integer"),
        (([2.0], [0.1]), 1, {"seed": -1}, None),
        (([2.0], [0.1]), 1, {"method": "simplex"}, "method must be"),
    ],
)
def test_no_such_map(grid, trials, changes, match):
    with pytest.raises(ValueError, match=match):
        phase_map(grid, trials, **SWEEP | changes)


# --- networks ---------------------------------------------------------------------------------


def some_net(seed=0, dim=6, width=16, K=2, **options):
    return ShallowNet(dim, width, K, generator=source(seed), dtype=F64, **options)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("random_width", [None, 7])
def test_net_computes_what_it_says(batch, random_width):
    net = some_net(batch=batch, random_width=random_width, K=3)
    inputs = normal(1, *batch, 5, 6)
    names = {name for name, _ in net.named_parameters()}
    assert names == {"hidden", "head"}
    for index in np.ndindex(*batch):
        seen = inputs[index]
        if random_width:
            assert net.random.shape == (*batch, random_width, 6)
            seen = (seen @ net.random[index].T).clamp_min(0)
        close(net.random_features(inputs)[index], seen)
        features = (seen @ net.hidden[index].T).clamp_min(0)
        close(net.features(inputs)[index], features)
        close(net(inputs)[index], features @ net.head[index].T)
    assert net(inputs).shape == (*batch, 5, 3)


def test_net_starts_with_normal_weights():
    net = some_net(dim=50, width=200, K=100, random_width=150, batch=(3,))
    for weights, inputs in [(net.random, 50), (net.hidden, 150), (net.head, 200)]:
        weights = weights.detach()
        assert weights.shape[-1] == inputs and weights.dtype == F64
        assert weights.square().mean().item() == pytest.approx(1 / inputs, rel=0.03)
        assert abs(weights.mean()) < 5 / math.sqrt(inputs * weights.numel())
    again = some_net(dim=50, width=200, K=100, random_width=150, batch=(3,))
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert ShallowNet(3, 2, 2).hidden.dtype == torch.get_default_dtype()
    assert ShallowNet(3, 2, 2).random is None


@pytest.mark.parametrize(
    ("sizes", "random_width"),
    [((0, 2, 2), None), ((2, 0, 2), None), ((2, 2, 1), None), ((2, 2, 2), 0), ((2, 2, 2), -1)],
)
def test_no_such_net(sizes, random_width):
    with pytest.raises(ValueError, match="positive widths, at least two classes"):
        ShallowNet(*sizes, random_width=random_width)


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan])
def test_no_such_scale(scale):
    with pytest.raises(ValueError, match="a positive scale"):
        ShallowNet(2, 2, 2, scale=scale)


def test_scale_multiplies_the_trained_layers_only():
    plain, small = some_net(random_width=9), some_net(random_width=9, scale=0.1)
    assert torch.equal(small.random, plain.random)
    close(small.hidden, 0.1 * plain.hidden)
    close(small.head, 0.1 * plain.head)


def objective_by_hand(net, inputs, labels, decay, penalty):
    """Return the objective of one network without leading dimensions."""
    features = net.features(inputs)
    loss = functional.cross_entropy(features @ net.head.T, labels)
    penalised = features if penalty == "features" else net.hidden
    return loss + decay / 2 * (net.head.norm() ** 2 + penalised.norm() ** 2)


@pytest.mark.parametrize("penalty", ["features", "weights"])
@pytest.mark.parametrize("random_width", [None, 9])
def test_objective_is_the_formula_and_falls(penalty, random_width):
    net = some_net(random_width=random_width, K=3)
    inputs, labels = clouds(2, 3, 6, 3)
    fixed = None if net.random is None else net.random.clone()
    first = objective_by_hand(net, inputs, labels, 0.05, penalty)
    start = net.features(inputs).detach().clone()
    history = train_shallow(net, inputs, labels, weight_decay=0.05, penalty=penalty, steps=200)
    last = objective_by_hand(net, inputs, labels, 0.05, penalty)
    assert history["objective"][0] == pytest.approx(first.item(), rel=1e-10)
    assert history["objective"][-1] == pytest.approx(last.item(), rel=1e-10)
    assert history["objective"][-1] < history["objective"][0] / 2
    assert (np.diff(history["objective"]) <= 1e-3).all()
    close(history["features"][0], start)
    close(history["features"][-1], net.features(inputs).detach())
    if random_width:
        assert torch.equal(net.random, fixed)


@pytest.mark.parametrize("penalty", ["features", "weights"])
def test_trained_nets_are_stationary(penalty):
    """The gradient of the formula vanishes there, and a wrong penalty would leave one."""
    net = some_net(width=6)
    inputs, labels = clouds(2, 3, 6, 2)
    train_shallow(net, inputs, labels, weight_decay=0.05, penalty=penalty, steps=2000)
    value = objective_by_hand(net, inputs, labels, 0.05, penalty)
    slopes = torch.autograd.grad(value, [net.head])
    assert slopes[0].abs().max() < 1e-3
    assert net.head.abs().max() > 0.1


@pytest.mark.parametrize("random_width", [None, 9])
@pytest.mark.parametrize("penalty", ["features", "weights"])
def test_a_batch_of_nets_is_trained_like_single_ones(random_width, penalty):
    options = {"weight_decay": 0.02, "penalty": penalty, "steps": 60}
    together = some_net(batch=(2, 2), random_width=random_width)
    inputs, labels = clouds(1, 3, 6, 2, batch=(2, 2))
    parts = {}
    for index in np.ndindex(2, 2):
        parts[index] = some_net(random_width=random_width)
        parts[index].load_state_dict(
            {name: value[index] for name, value in together.state_dict().items()}
        )
    history = train_shallow(together, inputs, labels, **options)
    for index, single in parts.items():
        alone = train_shallow(single, inputs[index], labels, **options)
        assert alone.epochs == history.epochs
        joint = torch.stack(history["objective"])[(slice(None), *index)]
        close(joint, torch.tensor(alone["objective"], dtype=F64), 1e-8)
        close(together.hidden[index].detach(), single.hidden.detach(), 1e-8)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(7, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 6]), (5, None, list(range(6))), (1, 9, [0, 1])],
)
def test_recorded_steps(steps, every, expected):
    inputs, labels = clouds(1, 3, 6, 2)
    history = train_shallow(some_net(), inputs, labels, weight_decay=0.1, steps=steps, every=every)
    assert history.epochs == expected
    assert len(history["objective"]) == len(history["features"]) == len(expected)
    assert history["features"][0].shape == (6, 16)


def test_training_is_deterministic():
    inputs, labels = clouds(1, 3, 6, 2)
    runs = [train_shallow(some_net(), inputs, labels, weight_decay=0.1, steps=30) for _ in range(2)]
    assert runs[0]["objective"] == runs[1]["objective"]
    assert torch.equal(runs[0]["features"][-1], runs[1]["features"][-1])


def positive_optimum(n, K, decay):
    """Least objective over all non-negative features, if that is not zero features."""
    c = math.sqrt(n) * decay
    a = math.log(1 / (c * math.sqrt(K / (K - 1))) - (K - 1))
    return math.log(1 + (K - 1) * math.exp(-a)) + c * math.sqrt(K * (K - 1)) * a


@pytest.mark.parametrize("random_width", [None, 60])
def test_training_collapses_where_it_can_and_only_there(random_width):
    n, K, d, decay = 3, 2, 8, 0.01
    inputs, labels = clouds(0, n, d, K, batch=(4,))
    if random_width is None:  # no line passes through three points of the plane
        inputs[2:, :, 2:] = 0
    net = some_net(dim=d, width=32, K=K, batch=(4,), random_width=random_width)
    feasible = nc_feasibility(net.random_features(inputs), labels).feasible.all(-1).tolist()
    assert feasible == [True, True, *[random_width is not None] * 2]
    history = train_shallow(net, inputs, labels, weight_decay=decay, steps=4000)
    best = positive_optimum(n, K, decay)
    for possible, objective, features in zip(
        feasible, history["objective"][-1].tolist(), history["features"][-1], strict=True
    ):
        assert objective > best - 1e-9
        if possible:
            assert objective < best * 1.001 and nc1(features, labels) < 1e-3
        else:
            assert objective > best * 1.1 and nc1(features, labels) > 0.05


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"weight_decay": -0.1}, "weight_decay >= 0"),
        ({"lr": 0}, "lr > 0"),
        ({"steps": 0}, "steps >= 1"),
        ({"every": 0}, "every >= 1"),
        ({"penalty": "none"}, "penalty must be .* got 'none'"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "inputs must have shape .5, 6. to match"),
        ({"inputs": torch.ones(6, dtype=F64)}, "inputs must have shape .* got .6,."),
        ({"labels": torch.tensor([0, 0, 0, 1, 1, 7])}, "labels must lie in 0"),
    ],
)
def test_no_such_training(changes, match):
    inputs, labels = clouds(1, 3, 6, 2)
    arguments = {"inputs": inputs, "labels": labels, "weight_decay": 0.1, "steps": 2} | changes
    with pytest.raises(ValueError, match=match):
        train_shallow(some_net(), **arguments)


def test_divergence_is_an_error():
    inputs, labels = clouds(1, 3, 6, 2)
    with pytest.raises(FloatingPointError, match="smaller"):
        train_shallow(some_net(), inputs, labels, weight_decay=0.1, steps=20, lr=1e200)


# --- test error -------------------------------------------------------------------------------


def angular_density(angle, mean):
    """Density of the direction of a standard normal vector around a mean of the plane."""
    along = mean[0] * math.cos(angle) + mean[1] * math.sin(angle)
    aside = mean @ mean - along**2  # both terms carry exp(-|mean|^2 / 2)
    tail = math.sqrt(2 * math.pi) * along * norm.cdf(along) * math.exp(-aside / 2)
    return (math.exp(-(mean @ mean) / 2) + tail) / (2 * math.pi)


def error_by_integration(weights, means, noise):
    """Integrate over directions in the plane, as the winner depends on nothing else."""
    weights, means = weights.numpy(), means.numpy()
    normals = [*weights, weights[1] - weights[0]]
    edges = {-math.pi, math.pi}
    for vector in normals:
        edges |= {math.atan2(vector[0], -vector[1]), math.atan2(-vector[0], vector[1])}
    edges, total = sorted(edges), 0.0
    for low, high in pairwise(edges):
        middle = (low + high) / 2
        first, second = np.maximum(weights @ [math.cos(middle), math.sin(middle)], 0)
        costs = [1 / 2, 1 / 2] if first == second else [second > first, first > second]
        for mean, cost in zip(means, costs, strict=True):
            if cost and high - low > 1e-12:
                value, _ = quad(angular_density, low, high, (mean / noise,), epsabs=1e-12)
                total += cost * value / 2
    return total


@examples(60)
@given(seed=SEEDS, noise=st.floats(0.2, 20))
def test_error_rate_is_an_integral(seed, noise):
    weights, means = normal(seed, 2, 2), normal(seed + 1, 2, 2)
    expected = error_by_integration(weights, means, noise)
    assert misclassification_rate(weights, means, noise).item() == pytest.approx(expected, abs=1e-9)


LEFT, UP, DOWN = [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]
RIGHT, FAR = [1.0, 0.0], [3.0, 0.0]


@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize(
    ("weights", "means"),
    [
        ([RIGHT, FAR], [RIGHT, LEFT]),  # parallel: one of the neurons always wins
        ([FAR, RIGHT], [RIGHT, LEFT]),
        ([RIGHT, LEFT], [RIGHT, LEFT]),  # antiparallel
        ([RIGHT, [-3.0, 0.0]], [RIGHT, UP]),
        ([LEFT, RIGHT], [RIGHT, LEFT]),
        ([UP, DOWN], [RIGHT, LEFT]),  # orthogonal to the means
        ([UP, [0.0, 2.0]], [RIGHT, LEFT]),
        ([RIGHT, UP], [UP, RIGHT]),
        ([RIGHT, UP], [[0.0, 0.0], [0.0, 0.0]]),
        ([RIGHT, UP], [[1.0, 1.0], [-1.0, -1.0]]),  # on the boundary of the two
        ([[2.0, 1.0], [1.0, 1.0]], [DOWN, UP]),
        ([[1.0, 1e-9], RIGHT], [RIGHT, UP]),  # almost parallel
    ],
)
def test_error_rate_at_the_edges(weights, means, noise):
    weights, means = torch.tensor(weights, dtype=F64), torch.tensor(means, dtype=F64)
    rate = misclassification_rate(weights, means, noise).item()
    assert rate == pytest.approx(error_by_integration(weights, means, noise), abs=1e-8)


@pytest.mark.parametrize("noise", [0.01, 0.5, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("length", [0.5, 2.0])
def test_error_rate_of_opposite_classes(noise, length):
    mean = normal(0, 5)
    mean = length * mean / mean.norm()
    means = torch.stack([mean, -mean])
    rate = misclassification_rate(3 * means, means, noise).item()
    assert rate == pytest.approx(norm.cdf(-length / noise), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_error_rate_by_bivariate_normal_distribution(d):
    """Lost if the other output is positive and larger, half of the times if both are silent."""
    for seed in range(10):
        weights, means, noise = normal(seed, 2, d), normal(seed + 100, 2, d), 0.8
        total = 0.0
        for k in range(2):
            own, other = weights[k], weights[1 - k]
            for share, pair in [(1, (other, other - own)), (0.5, (-own, -other))]:
                rows = torch.stack(pair)
                covariance = (noise**2 * rows @ rows.T).numpy()
                centre = (rows @ means[k]).numpy()
                options = {"abseps": 1e-11, "releps": 1e-11}
                total += share * multivariate_normal(-centre, covariance, **options).cdf([0, 0])
        rate = misclassification_rate(weights, means, noise).item()
        assert rate == pytest.approx(total / 2, abs=1e-7)


@examples(100)
@given(seed=SEEDS, d=st.integers(1, 5), noise=st.floats(0.05, 50))
def test_no_classifier_beats_bayes(seed, d, noise):
    means = normal(seed, 2, d)
    best = norm.cdf(-(means[0] - means[1]).norm().item() / (2 * noise))
    rate = misclassification_rate(normal(seed + 1, 2, d), means, noise).item()
    assert best - 1e-10 <= rate <= 1


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_sampled_rate_is_the_closed_form(noise):
    weights, means, samples = normal(0, 6, 2, 3), normal(1, 2, 3), 40_000
    exact = misclassification_rate(weights, means, noise)
    rates = misclassification_rate(weights, means, noise, samples=samples, generator=source(2))
    assert exact.shape == rates.shape == (6,) and exact.dtype == rates.dtype == F64
    assert ((rates - exact).abs() < 4 * (exact * (1 - exact) / (2 * samples)).sqrt()).all()
    again = misclassification_rate(weights, means, noise, samples=samples, generator=source(2))
    assert torch.equal(rates, again)


def test_sampled_rate_of_three_classes():
    """On a line: the steepest neuron wins to the right of zero, nobody to the left."""
    weights = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    means, samples = torch.tensor([[-1.0], [0.5], [1.0]], dtype=F64), 50_000
    left = norm.cdf(-means[:, 0].numpy() / 0.7)
    expected = np.mean(left * 2 / 3 + (1 - left) * [1, 1, 0])
    rate = misclassification_rate(weights, means, 0.7, samples=samples, generator=source(0))
    assert rate.item() == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(3 * samples))
    easy = misclassification_rate(torch.eye(3), torch.eye(3), 0.01, samples=100)
    assert easy.item() == 0
    with pytest.raises(ValueError, match="closed form is for two classes, with 3"):
        misclassification_rate(weights, means, 0.7)


def test_error_rates_of_a_batch():
    weights, means = normal(0, 2, 3, 2, 4), normal(1, 2, 4)
    rates = misclassification_rate(weights.float(), means, 1.0)
    assert rates.shape == (2, 3) and rates.dtype == F64
    for index in np.ndindex(2, 3):
        alone = misclassification_rate(weights[index].float(), means, 1.0)
        assert alone.shape == () and alone.item() == pytest.approx(rates[index].item(), abs=1e-12)
    lengths = torch.tensor([2.0, 2.0], dtype=F64)[:, None]
    close(misclassification_rate(lengths * weights, means, 1.0), rates, 1e-6)
    swapped = misclassification_rate(weights.flip(-2).float(), means.flip(0), 1.0)
    close(swapped, rates, 1e-12)
    variable = weights.clone().requires_grad_()
    close(misclassification_rate(variable, means, 1.0), rates, 1e-6)


@pytest.mark.parametrize(
    ("weights", "changes", "match"),
    [
        (torch.ones(2, 3), {}, r"weights must be floating-point of shape \(…, 2, 2\)"),
        (torch.ones(3, 2), {}, "weights must be floating-point of shape"),
        (torch.tensor([[1, 0], [0, 1]]), {}, "weights must be floating-point"),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), {}, "no weight vector zero"),
        (torch.tensor([[1.0, 0.0], [0.0, math.nan]]), {}, "must be finite"),
        (torch.tensor([[1.0, 0.0], [0.0, math.inf]]), {}, "must be finite"),
        (torch.ones(2, 2), {}, "must differ"),
        (torch.eye(2), {"noise": 0.0}, "noise must be positive and finite"),
        (torch.eye(2), {"noise": -1.0}, "noise must be positive"),
        (torch.eye(2), {"noise": math.inf}, "noise must be positive and finite"),
        (torch.eye(2), {"noise": math.nan}, "noise must be positive"),
        (torch.eye(2), {"samples": 0}, "samples must be at least 1"),
    ],
)
def test_no_such_error_rate(weights, changes, match):
    with pytest.raises(ValueError, match=match):
        misclassification_rate(weights, torch.eye(2), **{"noise": 1.0} | changes)
