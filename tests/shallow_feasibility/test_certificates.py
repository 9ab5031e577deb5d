"""Decisions and their proofs beside HiGHS, on general and degenerate data of all shapes."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, examples, normal, source
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from lecturelib.shallow_feasibility import (
    Feasibility,
    candidates,
    nc_feasibility,
    proofs,
    solver,
    verify_feasibility,
)

F32 = torch.float32
TOL = 1e-6


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


def by_duality(X, labels):
    """Return for every class whether HiGHS finds no point of its hull in the others' cone."""
    answers = []
    for A, B in split_by_class(X, labels):
        (n, d), m = A.shape, len(B)
        solution = linprog(
            np.zeros(n + m),
            A_eq=np.vstack([np.hstack([A.T, -B.T]), np.r_[np.ones(n), np.zeros(m)]]),
            b_eq=np.eye(d + 1)[d],
            bounds=[(None, None)] * n + [(0, None)] * m,
            method="highs",
        )
        assert solution.status in (0, 2)  # solved, infeasible
        answers.append(solution.status == 2)
    return answers


def count_proofs(inputs, labels, result, tol=TOL):
    """Check every claim of a result against the data; return how many classes are undecided."""
    pieces = inputs.detach().reshape(-1, *inputs.shape[-2:])
    K = int(labels.max()) + 1
    verdict = result.verdict.reshape(-1, K)
    weights = result.weights.reshape(-1, K, inputs.shape[-1])
    certificate = result.certificate.reshape(-1, K, inputs.shape[-2])
    violation = result.violation.reshape(-1, K)
    for i, X in enumerate(pieces):
        scale = 2.0 ** -np.frexp(X.abs().amax(0).double().numpy())[1]
        for k, (A, B) in enumerate(split_by_class(X, labels)):
            b, c = weights[i, k].numpy(), certificate[i, k].numpy()
            if verdict[i, k] == 0:
                assert violation[i, k] == math.inf
                assert np.isnan(b).all() and np.isnan(c).all()
                continue
            lengths, others = (np.linalg.norm(scale * part, axis=1) for part in (A, B))
            unit = lengths[lengths > 0].min(initial=np.inf)
            if verdict[i, k] == 1:
                assert np.isnan(c).all()
                outputs = (B @ b)[others > 0] / others[others > 0]
                missed = max(abs(A @ b - 1).max(), unit * outputs.max(initial=0))
            else:
                assert verdict[i, k] == -1 and np.isnan(b).all()
                u, v = c[labels == k], c[labels != k]
                remainder = np.linalg.norm(scale * (A.T @ u + B.T @ v))
                # A class of zeros has no length to compare with, and leaves no remainder either.
                missed = max(remainder / (unit if unit < np.inf else 1), abs(u.sum() - 1))
                assert (v <= 0).all()
            # The violation allows for rounding.
            assert missed * (1 - 1e-6) <= violation[i, k].item() + 1e-15
            assert violation[i, k].item() <= min(tol, missed + max(tol / 10, 1e-11))
    return int((verdict == 0).sum())


def assert_proved(inputs, labels, **options):
    """Every class is decided, rightly, and its proof is one."""
    result = nc_feasibility(inputs, labels, **options)
    seen = with_ones(inputs) if options.get("bias") else inputs
    assert count_proofs(seen, labels, result) == 0
    assert result.feasible.tolist() == by_duality(seen, labels)
    assert verify_feasibility(inputs, labels, result).all()
    return result


def assert_same_answers(result, other):
    assert result.decided.all() and torch.equal(result.verdict, other.verdict)


# --- nc_feasibility ---------------------------------------------------------------------------


def test_agrees_with_highs_on_thousands_of_classes():
    n, total, feasible = 5, 0, 0
    levels = [0.1, 0.3, 1, 3, math.inf]
    for seed, (K, noise) in enumerate(product([2, 3, 4, 5], levels)):
        middle = n * (K + 1) // 2
        for d in [n - 2, n, n + 1, n + 2, (n + middle) // 2, middle, middle + 2, K * n + 3]:
            inputs, labels = clouds(seed, n, d, K, noise, batch=(4,))
            result = nc_feasibility(inputs, labels)
            assert count_proofs(inputs, labels, result) == 0
            expected = torch.tensor([by_duality(X, labels) for X in inputs])
            assert torch.equal(result.feasible, expected)
            total += expected.numel()
            feasible += int(expected.sum())
    # The comparison means something: there are many problems of both kinds.
    assert total >= 2000 and total / 4 < feasible < 3 * total / 4


@pytest.mark.parametrize(("n", "d", "K"), [(25, 50, 3), (40, 60, 2), (12, 200, 4), (60, 30, 2)])
def test_agrees_with_highs_on_larger_problems(n, d, K):
    for seed, noise in enumerate([0.2, math.inf]):
        assert_proved(*clouds(seed, n, d, K, noise))


@examples(60)
@given(data=st.data(), seed=SEEDS, d=st.integers(1, 6), reach=st.integers(1, 2), bias=st.booleans())
def test_integers_where_many_inequalities_are_ties(data, seed, d, reach, bias):
    """Points coincide, are collinear, lie at zero or span less than the space; sizes differ."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    rank = data.draw(st.integers(1, d))
    inputs = torch.randint(-reach, reach + 1, (len(labels), d), generator=source(seed))
    inputs[:, rank:] = 0
    assert_proved(inputs.double(), labels, bias=bias)


def degenerate(kind):
    """Data whose ties are exact: multiples of 1/1024."""
    n, d, K = 4, 12, 3
    inputs, labels = clouds(1, n, d, K)
    inputs = (1024 * inputs).round() / 1024
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
        inputs = (3 * inputs[:, :3]).round() @ (3 * inputs[:3]).round()
    elif kind == "all classes on one line":
        inputs = (9 * inputs[:, :1]).round() @ (9 * inputs[:1]).round()
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
    result = assert_proved(inputs, labels, method=method)
    if kind in IMPOSSIBLE:
        assert (~result.feasible).nonzero().flatten().tolist() == IMPOSSIBLE[kind]
    assert_proved(inputs, labels, method=method, bias=True)
    assert not asked  # Newton's method needs no help with any of these


def test_almost_equal_samples_of_a_class():
    """They make it ill-conditioned, and rounding errors a million times larger."""
    inputs, labels = clouds(0, 4, 8, 3, batch=(50,))
    for distance, tol in [(1e-6, 1e-6), (1e-8, 1e-3)]:
        inputs[:, 1] = inputs[:, 0] + distance * normal(1, 50, 8)
        assert nc_feasibility(inputs, labels, tol=tol).decided.all()


def test_repeated_samples_of_large_classes():
    """Their equations are dependent, and there are too many for rational numbers."""
    inputs, labels = clouds(0, 100, 250, 3)
    inputs[1] = inputs[7] = inputs[0]
    result = nc_feasibility(inputs, labels)
    assert result.feasible.all()
    assert count_proofs(inputs, labels, result) == 0
    inputs[200] = inputs[0]
    assert nc_feasibility(inputs, labels).feasible.tolist() == [False, True, False]


@pytest.mark.parametrize("d", [1, 3, 4, 11, 12, 13, 100])
def test_dimensions_from_below_a_class_to_above_all_samples(d):
    result = assert_proved(*clouds(0, 4, d, 3))
    if d < 4 or d >= 12:
        assert result.feasible.unique().tolist() == [d >= 12]


@pytest.mark.parametrize("d", [1, 2, 3, 5, 9])
def test_one_sample_per_class(d):
    for seed in range(5):
        assert_proved(*clouds(seed, 1, d, 5))


def test_classes_of_different_size_in_any_order():
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 1, 1, 1, 0, 1])
    kinds = set()
    for seed in range(8):
        kinds |= set(assert_proved(normal(seed, 11, 6), labels).feasible.tolist())
    assert kinds == {True, False}


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e-3, 1e3, 1e6, 1e150])
@pytest.mark.parametrize("noise", [0.1, math.inf])
def test_scale_does_not_matter(scale, noise):
    for d in (4, 6, 7, 20):
        inputs, labels = clouds(d, 4, d, 3, noise, batch=(5,))
        result, plain = nc_feasibility(scale * inputs, labels), nc_feasibility(inputs, labels)
        assert_same_answers(result, plain)
        assert count_proofs(scale * inputs, labels, result) == 0


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6, 1e12])
def test_samples_of_different_length(size):
    """Positive factors change nothing for the silent samples, but they do for the class."""
    inputs, labels, plain = mixed_clouds()
    spread = torch.logspace(0, math.log10(size), 12, dtype=F64)
    factors = torch.where(labels == 1, 1, spread).unsqueeze(1)
    result = nc_feasibility(factors * inputs, labels)
    assert torch.equal(result.verdict[:, 1], plain.verdict[:, 1])
    assert result.decided[:, 1].all()
    assert count_proofs(factors * inputs, labels, result) <= 12


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_units_of_coordinates_do_not_matter(size):
    inputs, labels, plain = mixed_clouds(batch=(20,))
    units = torch.logspace(0, math.log10(size), 7, dtype=F64)
    result = nc_feasibility(units * inputs, labels)
    assert_same_answers(result, plain)
    assert count_proofs(units * inputs, labels, result) == 0


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
    assert torch.equal(renamed.verdict[:, names], plain.verdict)


@pytest.mark.parametrize("dtype", [F32, torch.float16, torch.bfloat16])
def test_other_precisions_are_solved_in_double(dtype):
    inputs, labels, _ = mixed_clouds()
    rounded = inputs.to(dtype)
    result, exact = nc_feasibility(rounded, labels), nc_feasibility(rounded.double(), labels)
    assert result.weights.dtype == result.certificate.dtype == result.violation.dtype == F64
    assert_same_answers(result, exact)
    assert count_proofs(rounded, labels, result) == 0
    assert verify_feasibility(rounded, labels, result).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,), (3, 0)])
def test_a_batch_is_its_instances(batch, bias):
    inputs, labels = clouds(3, 4, 7, 3, batch=batch)
    result = nc_feasibility(inputs, labels, bias=bias)
    assert result.verdict.shape == result.decided.shape == result.violation.shape == (*batch, 3)
    assert result.weights.shape == (*batch, 3, 7 + bias)
    assert result.certificate.shape == (*batch, 3, 12)
    assert result.verdict.dtype == torch.int8
    assert result.feasible.dtype == result.decided.dtype == torch.bool
    assert verify_feasibility(inputs, labels, result).shape == (*batch, 3)
    for index in np.ndindex(*batch):
        single = nc_feasibility(inputs[index], labels, bias=bias)
        for name, value in vars(single).items():
            together = getattr(result[index], name)
            # Not unique to the last digit; violations are rounding errors.
            torch.testing.assert_close(together, value, rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("room", [1, 30, 10_000])
def test_parts_of_a_batch_are_put_together_in_order(monkeypatch, room):
    inputs, labels, whole = mixed_clouds(batch=(7,))
    monkeypatch.setattr(solver, "CHUNK", {"cpu": room * 7, "cuda": 0})
    result = nc_feasibility(inputs, labels)
    assert_same_answers(result, whole)
    assert count_proofs(inputs, labels, result) == 0


def test_a_bias_is_one_more_constant_input():
    kinds = set()
    for seed in range(6):
        inputs, labels = clouds(seed, 4, 6, 3)
        result = assert_proved(inputs, labels, bias=True)
        by_hand = nc_feasibility(with_ones(inputs), labels)
        assert_same_answers(result, by_hand)
        close(result.weights.nan_to_num(), by_hand.weights.nan_to_num())
        shifted = assert_proved(inputs + 5 * normal(seed + 9, 6), labels, bias=True)
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
    assert verify_feasibility(variable, labels, result).all()
    assert torch.equal(variable, inputs) and variable.grad is None
    assert_same_answers(nc_feasibility(inputs.numpy(), labels.numpy(), method=method), plain)


@pytest.mark.parametrize("tol", [1e-4, 1e-7, 1e-11])
def test_proofs_are_as_good_as_asked(tol):
    for d in (6, 8, 10):
        inputs, labels = clouds(d, 4, d, 3, 0.5, batch=(10,))
        result = nc_feasibility(inputs, labels, tol=tol)
        assert (result.violation[result.decided] <= tol).all()
        assert count_proofs(inputs, labels, result, tol) <= 1
        assert torch.equal(verify_feasibility(inputs, labels, result, tol=tol), result.decided)


def test_no_tolerance_makes_a_small_gap_none():
    labels = torch.tensor([0, 1])
    inputs = torch.tensor([[1.0, 0.0], [1.0, 1e-5]], dtype=F64)
    for tol in (1e-9, 1e-3, 0.9):
        result = nc_feasibility(inputs, labels, tol=tol)
        assert result.feasible.tolist() == [True, True]
        assert result.weights[0, 1].item() <= -1e5 * (1 - 1e-6)


def test_a_proof_that_misses_the_tolerance_decides_nothing():
    """Weights of length 1e9 answer 1 only to within their rounding."""
    inputs = normal(0, 8, 4) + 1e8 * torch.eye(2, 4, dtype=F64)[equal_classes(4, 2)]
    strict = nc_feasibility(inputs, equal_classes(4, 2), tol=1e-9)
    loose = nc_feasibility(inputs, equal_classes(4, 2), tol=1e-2)
    assert not strict.decided.all() and loose.decided.all()
    kept = strict.decided
    assert torch.equal(strict.verdict[kept], loose.verdict[kept])


@pytest.mark.parametrize("d", [3, 7, 15])
def test_one_thread_is_used_and_the_setting_is_given_back(monkeypatch, d):
    seen, solve = [], solver.newton_by_svd
    find_nothing(monkeypatch)

    def watch(*system):
        seen.append(torch.get_num_threads())
        return solve(*system)

    monkeypatch.setattr(solver, "newton_by_svd", watch)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        nc_feasibility(*clouds(0, 4, d, 3))
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu():
    for d in (3, 7, 9, 20):
        inputs, labels = clouds(d, 4, d, 3, batch=(20,))
        inputs[0, 1] = inputs[0, 0]
        inputs[1] = inputs[1].round()
        result = nc_feasibility(inputs.cuda(), labels, method="highs")
        assert {value.device.type for value in vars(result).values()} == {"cuda"}
        assert_same_answers(result.to("cpu"), nc_feasibility(inputs, labels))
        assert count_proofs(inputs, labels, result.to("cpu")) == 0
        assert verify_feasibility(inputs.cuda(), labels.cuda(), result).all()
        assert verify_feasibility(inputs, labels, result).all()


@examples(50)
@given(seed=SEEDS, size=st.integers(1, 12), ties=st.booleans())
def test_steps_are_exact(seed, size, ties):
    """A shorter step would also lead to a proof in the end, but later."""
    slack, change = normal(seed, 5, size), normal(seed + 1, 5, size)
    if ties:
        slack, change = (2 * slack).round(), (2 * change).round()
    slope = (slack.clamp_min(0) * change).sum(-1, keepdim=True)
    change = -slope.sign() * change  # downhill, as Newton's steps are
    length = candidates.exact_step(slack, change)
    assert length.shape == (5, 1) and (length >= 0).all() and length.isfinite().all()
    reached = (slack + length * change).clamp_min(0)
    # The function is convex in the length: a vanishing derivative is its minimum.
    derivative = (reached * change).sum(-1, keepdim=True)
    assert ((derivative.abs() < 1e-9) | (slope == 0)).all()


# --- results ----------------------------------------------------------------------------------


def test_what_is_undecided_cannot_be_read_as_infeasible(monkeypatch):
    inputs, labels, full = mixed_clouds()
    assert torch.equal(full.feasible, full.verdict == 1)
    find_nothing(monkeypatch)
    result = nc_feasibility(inputs, labels)
    with pytest.raises(ValueError, match=r"18 of 18 classes are undecided, .*: use verdict"):
        _ = result.feasible
    assert (result.verdict == 0).all() and not result.decided.any()
    one = replace(full, verdict=full.verdict.index_fill(1, torch.tensor([2]), 0))
    with pytest.raises(ValueError, match="6 of 18 classes are undecided"):
        _ = one.feasible
    assert torch.equal(one[:, :2].feasible, full.feasible[:, :2])


def test_results_index_and_move():
    inputs, labels, result = mixed_clouds()
    assert isinstance(result[2], Feasibility)
    assert result[2].verdict.shape == (3,) and result[1:3].certificate.shape == (2, 3, 12)
    assert verify_feasibility(inputs[2], labels, result[2]).all()
    assert verify_feasibility(inputs[1:3], labels, result[1:3]).all()
    moved = result.to("meta")
    assert {value.device.type for value in vars(moved).values()} == {"meta"}


# --- what Newton leaves -----------------------------------------------------------------------


def find_nothing(monkeypatch):
    """Let Newton's method fail with everything."""

    def nothing(A, w, B):
        return [
            A.new_full((len(A), size), math.nan) for size in (A.shape[2], A.shape[1], B.shape[1])
        ]

    monkeypatch.setattr(solver, "newton_by_qr", nothing)
    monkeypatch.setattr(solver, "newton_by_svd", lambda *system: nothing(*system))


def count_highs(monkeypatch):
    """Keep what HiGHS is asked to solve."""
    asked, solve = [], candidates.linprog

    def keep(*arguments, **options):
        asked.append(options)
        return solve(*arguments, **options)

    monkeypatch.setattr(candidates, "linprog", keep)
    return asked


def test_what_newton_cannot_find_is_undecided(monkeypatch):
    inputs, labels, _ = mixed_clouds()
    find_nothing(monkeypatch)
    result = nc_feasibility(inputs, labels)
    assert count_proofs(inputs, labels, result) == 18
    assert not verify_feasibility(inputs, labels, result).any()


@pytest.mark.parametrize("d", [3, 7, 9, 20])
def test_highs_finds_what_newton_does_not(monkeypatch, d):
    inputs, labels = clouds(0, 4, d, 3, batch=(4,))
    plain = nc_feasibility(inputs, labels)
    find_nothing(monkeypatch)
    result = nc_feasibility(inputs, labels, method="highs")
    assert_same_answers(result, plain)
    assert count_proofs(inputs, labels, result) == 0


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_highs_finds_proofs_for_degenerate_data_too(monkeypatch, kind):
    find_nothing(monkeypatch)
    inputs, labels = degenerate(kind)
    result = nc_feasibility(inputs, labels, method="highs")
    assert (~result.feasible).nonzero().flatten().tolist() == IMPOSSIBLE[kind]
    assert count_proofs(inputs, labels, result) == 0


def test_highs_is_asked_for_exactly_what_newton_leaves(monkeypatch):
    inputs, labels, full = mixed_clouds(batch=(10,))
    asked = count_highs(monkeypatch)
    nc_feasibility(inputs, labels, method="highs")
    assert not asked
    monkeypatch.setattr(candidates, "NEWTON_STEPS", 2)
    hasty = nc_feasibility(inputs, labels)
    assert not asked
    left = count_proofs(inputs, labels, hasty)
    assert 0 < left < 30
    assert torch.equal(hasty.verdict[hasty.decided], full.verdict[hasty.decided])
    retried = nc_feasibility(inputs, labels, method="highs")
    assert len(asked) == left
    assert_same_answers(retried, full)
    assert count_proofs(inputs, labels, retried) == 0
    kept = torch.equal(retried.weights[hasty.verdict > 0], hasty.weights[hasty.verdict > 0])
    assert kept  # and HiGHS was given no say in what was proved before


def test_highs_may_fail_too(monkeypatch):
    """No solution at all counts as undecided."""
    inputs, labels, _ = mixed_clouds()
    find_nothing(monkeypatch)
    failed = type("Failed", (), {"x": None})()
    monkeypatch.setattr(candidates, "linprog", lambda *_, **__: failed)
    result = nc_feasibility(inputs, labels, method="highs")
    assert count_proofs(inputs, labels, result) == 18


# --- proofs -----------------------------------------------------------------------------------


@examples(60)
@given(
    seed=SEEDS,
    rows=st.integers(1, 12),
    columns=st.integers(1, 8),
    decades=st.floats(0, 11),
    split=st.integers(0, 12),
)
def test_a_matrix_is_said_to_stretch_only_as_much_as_it_does(seed, rows, columns, decades, split):
    left, right = (torch.linalg.qr(normal(seed, 6, n, n)).Q for n in (rows, columns))
    values = torch.logspace(0, -decades, columns, dtype=F64)
    matrices = left @ (torch.eye(rows, columns, dtype=F64) * values) @ right
    blocks = [block for block in (matrices[:, :split], matrices[:, split:]) if block.shape[1]]
    least = values[-1].item() if rows >= columns else 0.0
    known = proofs.stretches(blocks, torch.full((6,), 1.01 * least + 1e-14, dtype=F64))
    assert not known.any()
    if rows >= columns:
        within = least / (10 * columns)
        assert proofs.stretches(blocks, torch.full((6,), within, dtype=F64)).all()
    mixed = torch.full((6,), least / 100 / columns, dtype=F64)
    mixed[::2] = math.inf
    assert proofs.stretches(blocks, mixed).tolist() == [False, rows >= columns] * 3


@pytest.mark.parametrize("factor", [1e-250, 1e-12, 1.0, 1e12, 1e250])
def test_a_certificate_is_a_proof_in_any_scale(factor):
    inputs, _, result = mixed_clouds(batch=(20,))
    infeasible = result.verdict[:, 0] < 0
    samples, certificate = inputs[infeasible], factor * result.certificate[infeasible, 0]
    targets = torch.ones(len(samples), 4, dtype=F64)
    systems = proofs.Systems(samples, samples.norm(dim=-1), targets)
    weights = torch.full((len(samples), 7), math.nan, dtype=F64)
    normalized = proofs.normalized(systems, certificate)
    gain = normalized[:, :4].sum(1)
    assert ((gain >= 2) & (gain < 4.01)).all()
    found = solver._proved(systems, weights, normalized, TOL, closely=True)
    assert len(samples) > 5 and (found.verdict < 0).all()


def test_a_coordinate_of_a_sample_that_is_hardly_needed_counts():
    """One of many samples of the certificate has the first coordinate, with the least weight."""
    samples = torch.zeros(1, 40, 2, dtype=F64)
    samples[0, :, 1] = 1
    samples[0, -1] = torch.tensor([1, 0], dtype=F64)
    systems = proofs.Systems(samples, samples.norm(dim=-1), torch.ones(1, 1, dtype=F64))
    certificate = torch.full((1, 40), -1 / 38, dtype=F64)
    certificate[0, 0], certificate[0, -1] = 1, -1e-9
    rows = torch.cat(proofs.rows_of_certificates(systems, certificate), 1)
    assert torch.linalg.svdvals(rows[0])[-1] < 1e-6


def test_nothing_is_proved_by_numbers_that_are_none():
    inputs, _, _ = mixed_clouds(batch=(2,))
    samples = torch.cat([inputs, inputs])
    systems = proofs.Systems(samples, samples.norm(dim=-1), torch.ones(4, 4, dtype=F64))
    for value in (math.nan, math.inf, 1e300, 0.0):
        weights, certificate = (torch.full((4, size), value, dtype=F64) for size in (7, 12))
        for closely in (True, False):
            found = solver._proved(systems, weights, certificate, 0.5, closely)
            assert not found.decided.any() and (found.violation == math.inf).all()


# --- what is refused --------------------------------------------------------------------------

POINTS, NAMES = torch.eye(4), torch.tensor([0, 0, 1, 1])
FLOATS = r"inputs must be a floating-point tensor of shape \(…, N, d\)"


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "match"),
    [
        (POINTS, torch.zeros(4, dtype=torch.int64), {}, "labels must be of at least two classes"),
        (POINTS * math.nan, NAMES, {}, "inputs must be finite"),
        (torch.diag(torch.tensor([1, 1, 1, -math.inf])), NAMES, {}, "inputs must be finite"),
        (POINTS[:, :0], NAMES, {}, FLOATS),
        (POINTS[:, :0], NAMES, {"bias": True}, FLOATS),
        (POINTS[:0], NAMES[:0], {}, FLOATS),
        (POINTS[0], NAMES, {}, FLOATS),
        (POINTS.long(), NAMES, {}, FLOATS + ", got an int64 tensor"),
        (POINTS, NAMES.float(), {}, "labels must be an integer tensor"),
        (POINTS, NAMES.bool(), {}, "labels must be an integer tensor"),
        (POINTS, NAMES * 2, {}, r"labels has none of \[1\]"),
        (POINTS, NAMES[:3], {}, r"labels must be an integer tensor of shape \(4,\)"),
        (POINTS, NAMES[None], {}, r"labels must be an integer tensor of shape \(4,\)"),
        (POINTS, NAMES - 1, {}, "labels must not be negative, got -1"),
        (POINTS, NAMES, {"tol": 0}, "tol must be a finite number > 0 and < 1, got 0"),
        (POINTS, NAMES, {"tol": -1e-9}, "tol must be"),
        (POINTS, NAMES, {"tol": 1}, "tol must be"),
        (POINTS, NAMES, {"tol": math.nan}, "tol must be"),
        (POINTS, NAMES, {"method": "simplex"}, 'method must be one of "newton", "highs", got'),
    ],
)
def test_no_such_feasibility_problem(inputs, labels, options, match):
    with pytest.raises(ValueError, match=match):
        nc_feasibility(inputs, labels, **options)
