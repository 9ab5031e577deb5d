"""Soft thresholding, FISTA and its certificate, measures of dictionaries and codes."""

import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, columns, examples, normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso
from sparse_features.cases import objective, problem, textbook

from lecturelib.sparse_features import (
    SparseCode,
    coding,
    critical_penalty,
    duality_gap,
    fista,
    mutual_coherence,
    relative_residual,
    soft_threshold,
)

KINDS = pytest.mark.parametrize("nonnegative", [False, True])
COUNTS = pytest.mark.parametrize("each", [False, True])


@KINDS
@examples(50)
@given(seed=SEEDS, threshold=st.floats(0, 3))
def test_soft_thresholding_minimises(seed, threshold, nonnegative):
    values = 2 * normal(seed, 20)
    found = soft_threshold(values, threshold, nonnegative=nonnegative)

    def cost(z):
        return (z - values).square() / 2 + threshold * z.abs()

    for move in (-1, -1e-2, -1e-4, 1e-4, 1e-2, 1):
        other = (found + move).clamp_min(0) if nonnegative else found + move
        assert (cost(other) >= cost(found) - 1e-15).all()
    assert torch.equal(found == 0, (values if nonnegative else values.abs()) <= threshold)


def test_thresholds_may_differ_and_have_gradients():
    values, thresholds = normal(0, 3, 4).requires_grad_(), normal(1, 4).abs().requires_grad_()
    found = soft_threshold(values, thresholds)
    for j in range(4):
        assert torch.equal(found[:, j], soft_threshold(values[:, j], thresholds[j].item()))
    for nonnegative in (False, True):
        function = torch.autograd.gradcheck
        assert function(
            lambda v, t, kind=nonnegative: soft_threshold(v, t, nonnegative=kind),
            (values, thresholds),
        )


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (-1.0, "threshold must be a finite number >= 0"),
        (torch.tensor([1.0, -1.0]), "threshold must not be negative, got -1"),
        (torch.ones(3), r"threshold must be a number, or of a shape that fits \(4, 2\)"),
        (torch.ones(5, 4, 2), "threshold must be a number, or of a shape that fits"),
        (torch.ones(2, dtype=F64), "threshold must be of the type torch.float32"),
    ],
)
def test_thresholds_fit_and_are_not_negative(threshold, message):
    with pytest.raises(ValueError, match=message):
        soft_threshold(torch.ones(4, 2), threshold)


def test_one_atom_and_orthonormal_atoms_by_hand():
    # One atom of length 2: ½ (3 - 2z)² + 4z has its minimum at z = (6 - 4) / 4.
    found = fista(torch.tensor([[2.0]]), torch.tensor([[3.0]]), 4.0)
    close(found.codes, torch.tensor([[0.5]]), 1e-6)
    close(found.objective, torch.tensor([4.0]), 1e-6)
    Q, inputs = columns(0, 7, 7), normal(1, 5, 7)
    close(fista(Q, inputs, 0.3, tol=0).codes, soft_threshold(inputs @ Q, 0.3), 1e-12)


@COUNTS
@KINDS
@examples(15)
@given(seed=SEEDS, m=st.integers(1, 12), n=st.integers(1, 25), share=st.floats(0.05, 0.95))
def test_codes_are_minimisers(seed, m, n, share, each, nonnegative):
    """By the conditions of a minimum, which the solver does not look at."""
    case = problem(seed, 4, m, n, each=each, share=share, nonnegative=nonnegative)
    dictionary, inputs, penalty = case
    found = fista(*case, nonnegative=nonnegative, tol=1e-13)
    assert (found.gap <= 1e-12 * inputs.square().sum(-1)).all()
    for i in range(4):
        A = dictionary[i] if each else dictionary
        slope = A.T @ (inputs[i] - A @ found.codes[i]) / penalty[i]
        active = found.codes[i].abs() > 1e-4
        assert slope.max() < 1 + 1e-4
        close(slope[active], found.codes[i].sign()[active], 1e-3)
        if nonnegative:
            assert (found.codes[i] >= 0).all()
        else:
            assert slope.min() > -1 - 1e-4
        value = objective(A, inputs[i], found.codes[i], penalty[i])
        assert float(found.objective[i]) == pytest.approx(value, rel=1e-12)


@KINDS
@pytest.mark.parametrize("shape", [(100, 200), (30, 20)])
def test_gaps_are_small_and_codes_are_those_of_scikit_learn(shape, nonnegative):
    A, x, penalty = problem(0, 8, *shape, nonnegative=nonnegative)
    assert fista(A, x, penalty, nonnegative=nonnegative).gap.max() < 1e-8
    found = fista(A, x, penalty, nonnegative=nonnegative, tol=1e-14)
    assert found.gap.max() < 1e-10
    for i in range(8):
        peer = Lasso(
            float(penalty[i]) / shape[0],
            fit_intercept=False,
            positive=nonnegative,
            tol=1e-14,
            max_iter=100_000,
        ).fit(A.numpy(), x[i].numpy())
        np.testing.assert_allclose(found.codes[i].numpy(), peer.coef_, atol=1e-6)
        assert 1 < np.count_nonzero(peer.coef_) < shape[1]


@KINDS
@COUNTS
def test_a_code_is_zero_exactly_from_the_critical_penalty_on(each, nonnegative):
    A, x, _ = problem(3, 6, 15, 40, each=each)
    critical = critical_penalty(A, x, nonnegative=nonnegative)
    for factor in (1, 1 + 1e-12, 3):
        assert not fista(A, x, factor * critical, nonnegative=nonnegative).codes.any()
    just_below = fista(A, x, (1 - 1e-9) * critical, nonnegative=nonnegative).codes
    assert just_below.any(-1).all()
    slides = fista(A, x, 0.5 * critical, nonnegative=nonnegative)  # their penalty halved: not zero
    assert slides.codes.any(-1).all()


def test_the_critical_penalty_is_zero_where_no_atom_helps():
    A, x = -torch.ones(2, 3), torch.ones(1, 2)
    assert critical_penalty(A, x).tolist() == [2.0]
    assert critical_penalty(A, x, nonnegative=True).tolist() == [0.0]
    assert not fista(A, x, 1e-3, nonnegative=True).codes.any()


@KINDS
@examples(20)
@given(seed=SEEDS, scale=st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 10.0]))
def test_the_gap_is_an_upper_bound_of_the_error(seed, scale, nonnegative):
    A, x, penalty = problem(seed, 3, 6, 10, nonnegative=nonnegative)
    best = fista(A, x, penalty, nonnegative=nonnegative, tol=0)
    codes = best.codes + scale * normal(seed + 2, 3, 10)
    codes = codes.clamp_min(0) if nonnegative else codes
    gap = duality_gap(A, x, codes, penalty, nonnegative=nonnegative)
    for i in range(3):
        error = objective(A, x[i], codes[i], penalty[i]) - float(best.objective[i])
        assert gap[i] >= error - 1e-12
        # The difference of the two objectives, with the best multiple found by search.
        residual = (x[i] - A @ codes[i]).numpy()
        correlations = A.numpy().T @ residual
        largest = correlations.max() if nonnegative else np.abs(correlations).max()
        most = float(penalty[i]) / max(largest, 1e-300)
        scales = np.minimum(np.linspace(0, 3, 20_001), most)
        duals = [
            (x[i].numpy() @ x[i].numpy() - ((x[i].numpy() - s * residual) ** 2).sum()) / 2
            for s in np.append(scales[::40], most if most < 3 else 1.0)
        ]
        plain = objective(A, x[i], codes[i], penalty[i]) - max(duals)
        assert gap[i] <= plain + 1e-10 * (1 + abs(plain))


def test_a_negative_code_is_no_candidate():
    A, x, penalty = problem(0, 2, 4, 5)
    codes = torch.ones(2, 5, dtype=F64)
    codes[1, 2] = -1e-12
    gap = duality_gap(A, x, codes, penalty, nonnegative=True)
    assert gap[0].isfinite() and gap[1] == math.inf
    assert duality_gap(A, x, codes, penalty).isfinite().all()


@KINDS
@pytest.mark.parametrize("momentum", [False, True])
def test_every_step_is_that_of_the_textbook(momentum, nonnegative):
    A, x, penalty = problem(1, 3, 8, 12)
    rate = 1 / np.linalg.norm(A.numpy(), 2) ** 2
    options = {"momentum": momentum, "nonnegative": nonnegative}
    paths = [textbook(A, x[i], float(penalty[i]), rate, 25, **options) for i in range(3)]
    for steps in (1, 2, 7, 25):
        found = fista(A, x, penalty, restart=False, steps=steps, tol=0, **options)
        assert found.steps.tolist() == [steps] * 3
        expected = np.stack([path[steps - 1] for path in paths])
        np.testing.assert_allclose(found.codes.numpy(), expected, atol=1e-12)
    nothing = fista(A, x, penalty, steps=0)
    assert not nothing.codes.any()
    close(nothing.objective, x.square().sum(1) / 2)
    restarted = fista(A, x, penalty, steps=2, tol=0, **options)
    close(restarted.codes, fista(A, x, penalty, steps=2, tol=0, restart=False, **options).codes)


def test_errors_obey_the_bounds_of_beck_and_teboulle():
    A, x, penalty = problem(2, 5, 20, 50)
    best = fista(A, x, penalty, tol=0)
    distance = torch.linalg.matrix_norm(A, 2) ** 2 * best.codes.square().sum(1) / 2
    excess = {True: [], False: []}
    for momentum, found in excess.items():
        for steps in (1, 3, 10, 30, 100):
            code = fista(A, x, penalty, momentum=momentum, restart=False, steps=steps, tol=0)
            found.append(code.objective - best.objective)
            most = distance * (4 / (steps + 1) ** 2 if momentum else 1 / steps)
            assert (found[-1] <= most).all()
    assert (torch.stack(excess[False]).diff(dim=0) < 0).all()  # ISTA never goes up
    assert (excess[True][-1] < excess[False][-1]).all()


def test_restarts_save_steps():
    A, x, penalty = problem(0, 4, 30, 60)
    plain, restarted = (fista(A, x, penalty, restart=flag) for flag in (False, True))
    assert (2 * restarted.steps < plain.steps).all()
    assert max(float(code.gap.max()) for code in (plain, restarted)) < 1e-8


@COUNTS
@KINDS
def test_a_batch_is_its_problems_one_by_one(each, nonnegative, monkeypatch):
    A, x, penalty = problem(5, 12, 6, 9, each=each, share=0.3)
    found = fista(A, x, penalty, nonnegative=nonnegative)
    assert len(set(found.steps.tolist())) > 1
    for i in range(12):
        own = fista(A[i] if each else A, x[i], penalty[i], nonnegative=nonnegative)
        assert own.gap.shape == () and own.codes.shape == (9,)
        close(own.codes, found.codes[i], 1e-10)
        assert own.steps == found.steps[i]
    shape = (3, 4)
    folded = fista(
        A.view(*shape, 6, 9) if each else A,
        x.view(*shape, 6),
        penalty.view(shape),
        nonnegative=nonnegative,
    )
    assert folded.codes.shape == (3, 4, 9) and folded.gap.shape == folded.steps.shape == shape
    close(folded.codes.view(12, 9), found.codes)
    close(folded[1].codes, found[4:8].codes)
    monkeypatch.setattr(coding, "AT_A_TIME", 1)
    close(fista(A, x, penalty, nonnegative=nonnegative).codes, found.codes, 1e-10)


def test_one_penalty_serves_all():
    A, x, _ = problem(6, 4, 6, 9)
    close(fista(A, x, 0.7).codes, fista(A, x, torch.full((4,), 0.7, dtype=F64)).codes)


@examples(15)
@given(seed=SEEDS, power=st.integers(-40, 40))
def test_a_scale_changes_nothing_but_the_scale(seed, power):
    A, x, penalty = problem(seed, 3, 5, 8)
    scale = 2.0**power
    found, scaled = fista(A, x, penalty), fista(A, scale * x, scale * penalty)
    assert torch.equal(scaled.codes, scale * found.codes)
    assert torch.equal(scaled.steps, found.steps)


def test_single_precision_stops_where_it_ends():
    A, x, penalty = (part.float() for part in problem(7, 5, 20, 40))
    found = fista(A, x, penalty)
    assert found.codes.dtype == torch.float32 and (found.steps < 1000).all()
    exact = fista(A.double(), x.double(), penalty.double())
    close(found.codes.double(), exact.codes, 1e-2)
    assert (found.gap <= 2e-5 * x.square().sum(1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_degenerate_problems(dtype):
    A = normal(0, 4, 6, dtype=dtype)
    for dictionary, inputs in [
        (A, torch.zeros(2, 4, dtype=dtype)),
        (torch.zeros(4, 6, dtype=dtype), normal(1, 2, 4, dtype=dtype)),
    ]:
        found = fista(dictionary, inputs, 0.1)
        assert not found.codes.any() and not found.gap.any()
    twins = fista(torch.cat([A, A], 1), A[:, :1].T.contiguous(), 0.1)
    assert twins.gap.max() < 1e-4 and twins.codes.isfinite().all()
    none = fista(A, torch.zeros(0, 4, dtype=dtype), 0.1)
    assert none.codes.shape == (0, 6) and none.gap.shape == (0,)


def test_results_index_move_and_keep_no_gradient():
    A, x, penalty = problem(8, 4, 5, 6)
    A.requires_grad_()
    found = fista(A, x.requires_grad_(), penalty)
    assert not found.codes.requires_grad and isinstance(found[0], SparseCode)
    assert torch.equal(found[2].codes, found.codes[2]) and found[2].gap == found.gap[2]
    assert found[:2].to("cpu").codes.shape == (2, 6)
    with pytest.raises(IndexError, match="index must be one of the 0 leading dimensions"):
        found[0][0]


def test_arrays_will_do():
    A, x, penalty = problem(9, 4, 5, 6)
    expected = fista(A, x, penalty)
    assert torch.equal(fista(A.numpy(), x.numpy(), penalty).codes, expected.codes)
    codes = expected.codes.numpy()
    assert torch.equal(duality_gap(A.numpy(), x.numpy(), codes, penalty), expected.gap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dictionary": torch.zeros(3)}, r"dictionary must be .* of shape \(…, m, n\)"),
        ({"inputs": torch.zeros(2, 4)}, r"inputs must be .* of shape \(…, 3\)"),
        ({"inputs": torch.zeros(2, 3, dtype=F64)}, "inputs must be of the type torch.float32"),
        (
            {"dictionary": torch.zeros(3, 3, 5)},
            r"dictionary must be of shape \(3, n\) or \(2, 3, n\)",
        ),
        ({"dictionary": torch.full((3, 5), math.nan)}, "dictionary must be finite"),
        ({"penalty": 0.0}, "penalty must be a finite number > 0"),
        ({"penalty": torch.tensor([1.0, 0.0])}, "penalty must be positive, got 0"),
        ({"penalty": torch.ones(3)}, r"penalty must be .* of shape \(2,\)"),
        ({"steps": -1}, "steps must be an integer >= 0"),
        ({"tol": -1.0}, "tol must be a finite number >= 0"),
        ({"momentum": 0.9}, "momentum must be True or False"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    arguments = {"dictionary": torch.ones(3, 5), "inputs": torch.ones(2, 3), "penalty": 1.0}
    with pytest.raises((TypeError, ValueError), match=message):
        fista(**arguments | change)


@examples(30)
@given(seed=SEEDS, m=st.integers(1, 6), n=st.integers(1, 8))
def test_mutual_coherence_is_the_largest_cosine(seed, m, n):
    A = normal(seed, 2, m, n)
    for one, found in zip(A.numpy(), mutual_coherence(A), strict=True):
        cosines = [
            abs(one[:, i] @ one[:, j]) / np.linalg.norm(one[:, i]) / np.linalg.norm(one[:, j])
            for i in range(n)
            for j in range(i)
        ]
        assert float(found) == pytest.approx(max(cosines, default=0), abs=1e-12)


def test_coherence_of_special_dictionaries():
    assert mutual_coherence(columns(0, 6, 4)) < 1e-12
    assert mutual_coherence(torch.tensor([[1.0, -2.0], [1.0, -2.0]])) == pytest.approx(1)
    assert mutual_coherence(torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == 0
    assert mutual_coherence(torch.ones(3, 1)) == 0


def test_relative_residuals():
    x, other = normal(0, 3, 2, 4), normal(1, 3, 2, 4)
    expected = [float((x[i] - other[i]).norm() / x[i].norm()) for i in range(3)]
    close(relative_residual(x, other), torch.tensor(expected, dtype=F64))
    assert relative_residual(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"reconstructions must be .* of shape \(3, 2, 4\)"):
        relative_residual(x, other[:2])
    with pytest.raises(ValueError, match="inputs must be N samples"):
        relative_residual(x[0, 0], x[0, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@COUNTS
def test_codes_are_the_same_on_a_gpu(each):
    case = problem(0, 20, 10, 30, each=each)
    here, far = fista(*case), fista(*(part.cuda() for part in case))
    assert far.codes.is_cuda and far.steps.is_cuda
    close(far.codes.cpu(), here.codes, 1e-6)
