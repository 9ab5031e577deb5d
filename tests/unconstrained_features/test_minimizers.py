"""Exact minimisers against printed formulas, scalar searches and the numeric minimum."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import F64, SEEDS, close, every_loss, examples, normal, powers
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional
from unconstrained_features.cases import (
    CLASSES,
    SAMPLES,
    at_minimum,
    class_means,
    cosines,
    either_bias,
    every_family,
    example_problem,
    furthest,
    gradient,
    model_of,
    problems,
    simplex_cosines,
    threshold,
)

from lecturelib.losses import (
    CrossEntropy,
    FocalLoss,
    LabelSmoothing,
    SquaredError,
    check_contrastive,
)
from lecturelib.metrics import ClassStatistics, nc1, nc2
from lecturelib.unconstrained_features import (
    Problem,
    WeightDecay,
    global_minimizer,
    minimize,
    norm_constrained_minimizer,
    one_example_minimizer,
)

# --- closed forms -----------------------------------------------------------------------------

printed = given(
    k=CLASSES,
    n=SAMPLES,
    w=powers(-4, 0),
    h=powers(-4, 0),
    bias=st.booleans(),
    room=st.integers(0, 3),
)


@examples(60)
@printed
def test_cross_entropy_as_printed(k, n, w, h, bias, room):
    c = math.sqrt(n * w * h)
    assume(abs(k * c - 1) > 1e-9)
    best = global_minimizer(Problem(k, n, k - 1 + room, WeightDecay(w, h), bias=bias))
    a = math.log(1 / c - (k - 1)) if k * c < 1 else 0.0
    exact = {"rel": 1e-9, "abs": 1e-12}
    assert best.collapsed == (k * c < 1) and best.margin == pytest.approx(a, **exact)
    assert float(best.W.square().sum()) == pytest.approx(
        math.sqrt(n * h / w) * a * (k - 1), **exact
    )
    assert float(best.H.square().sum()) == pytest.approx(
        math.sqrt(n * w / h) * a * (k - 1), **exact
    )
    close(best.H, math.sqrt(w / (h * n)) * best.W.repeat_interleave(n, 0), 1e-12)
    assert best.objective == pytest.approx(
        math.log(1 + (k - 1) * math.exp(-a)) + c * (k - 1) * a, rel=1e-12
    )
    assert not best.b.any()
    if best.collapsed:
        close(cosines(best.W, best.W), simplex_cosines(k), 1e-7)


@examples(60)
@printed
def test_cross_entropy_with_nonnegative_features_as_printed(k, n, w, h, bias, room):
    c = math.sqrt(n * w * h)
    q = c * math.sqrt(k / (k - 1))
    assume(abs(k * q - 1) > 1e-9)
    problem = Problem(k, n, k + room, WeightDecay(w, h), bias=bias, nonnegative=True)
    best = global_minimizer(problem)
    a = math.log(1 / q - (k - 1)) if k * c < math.sqrt((k - 1) / k) else 0.0
    assert best.collapsed == (a > 0) and best.margin == pytest.approx(a, rel=1e-9, abs=1e-12)
    assert best.objective == pytest.approx(
        math.log(1 + (k - 1) * math.exp(-a)) + c * math.sqrt(k * (k - 1)) * a, rel=1e-12
    )
    assert (best.H >= 0).all()
    if best.collapsed:
        means = class_means(best.H, k)
        assert torch.equal(means @ means.T, (means @ means.T).diagonal().diag())
        assert nc2(means - means.mean(0)) < 1e-12 and nc2(best.W) < 1e-12


@examples(60)
@given(alpha=st.floats(0, 0.9), k=CLASSES, n=SAMPLES, w=powers(-4, 0), h=powers(-4, 0))
def test_label_smoothing_as_printed(alpha, k, n, w, h):
    c = math.sqrt(n * w * h)
    assume(abs(alpha + k * c - 1) > 1e-9)
    best = global_minimizer(Problem(k, n, k, WeightDecay(w, h), LabelSmoothing(alpha)))
    a = math.log(1 / (alpha / k + c) - (k - 1)) if alpha + k * c < 1 else 0.0
    right, wrong = -math.log1p((k - 1) * math.exp(-a)), -math.log(math.exp(a) + k - 1)
    smoothed = -(1 - alpha) * right - alpha / k * (right + (k - 1) * wrong)
    assert best.collapsed == (a > 0) and best.margin == pytest.approx(a, rel=1e-9, abs=1e-12)
    assert best.objective == pytest.approx(smoothed + c * (k - 1) * a, rel=1e-12)


@examples(40)
@given(gamma=st.floats(0, 10), k=CLASSES, n=SAMPLES, fraction=st.floats(0.001, 0.95))
def test_margin_of_focal_loss_minimises_a_scalar_function(gamma, k, n, fraction):
    c = fraction * threshold(FocalLoss(gamma), k)
    best = global_minimizer(Problem(k, n, k, WeightDecay(c / n, c), FocalLoss(gamma)))

    def value(a):
        x = math.log1p((k - 1) * math.exp(-a))
        return (-math.expm1(-x)) ** gamma * x + c * (k - 1) * a

    scalar = minimize_scalar(value, bounds=(0, 30), method="bounded", options={"xatol": 1e-10})
    assert best.collapsed and best.margin == pytest.approx(scalar.x, abs=1e-5)
    assert best.objective == pytest.approx(scalar.fun, rel=1e-10)


@examples(40)
@given(k=CLASSES, n=SAMPLES, w=powers(-4, 0), h=powers(-4, 0))
def test_squared_error_without_bias_as_printed(k, n, w, h):
    c = math.sqrt(n * w * h)
    assume(abs(k * c - 1) > 1e-9)
    s = max(1 - k * c, 0)
    for nonnegative in (False, True):
        problem = Problem(k, n, k, WeightDecay(w, h), SquaredError(), False, nonnegative)
        best = global_minimizer(problem)
        logits = s * torch.eye(k, dtype=F64).repeat_interleave(n, 0)
        close(best.H @ best.W.T, logits, 1e-10)
        assert best.objective == pytest.approx((1 - s) ** 2 / 2 + k * c * s, rel=1e-10)


@examples(60)
@given(k=CLASSES, n=SAMPLES, kc=st.floats(0.01, 0.95), ratio=powers(-1, 1), decay_b=powers(-2, 2))
def test_squared_error_with_bias_as_printed(k, n, kc, ratio, decay_b):
    c = kc / k
    assume(abs(decay_b * (1 - kc) / kc - 1) > 1e-6)
    decay = WeightDecay(c * ratio, c / (n * ratio), decay_b)
    best = global_minimizer(Problem(k, n, k, decay, SquaredError()))
    if decay_b < kc / (1 - kc):
        b, s0, s1 = 1 / (k * (1 + decay_b)), 1 - kc, 0.0
    else:
        b, s0, s1 = c / decay_b, 1 - kc, 1 - kc - kc / decay_b
    close(best.b, torch.full((k,), b, dtype=F64), 1e-9)
    assert best.margin == pytest.approx(s0, rel=1e-9)
    class_logits = class_means(best.H, k) @ best.W.T
    expected = torch.tensor([s0] * (k - 1) + [s1], dtype=F64)
    close(torch.linalg.svdvals(class_logits), expected, 1e-9)
    cosine = (s1 - s0) / (s1 + (k - 1) * s0)
    off = cosines(best.W, best.W)[~torch.eye(k, dtype=bool)]
    assert off.numpy() == pytest.approx(cosine, abs=1e-9)
    residual = class_logits + b - torch.eye(k, dtype=F64)
    value = residual.square().sum() / (2 * k) + c * expected.sum() + decay_b / 2 * k * b**2
    assert best.objective == pytest.approx(float(value), rel=1e-9)


@pytest.mark.parametrize("k", [2, 5])
def test_squared_error_is_continuous_where_its_geometry_starts_to_change(k):
    boundary = 0.3 / 0.7

    def best(decay_b):
        decay = WeightDecay(0.3 / k, 0.3 / k, decay_b)
        return global_minimizer(Problem(k, 1, k, decay, SquaredError()))

    before, after = best(boundary * (1 - 1e-8)), best(boundary * (1 + 1e-8))
    close(before.b, after.b, 1e-7)
    close(before.W @ before.W.T, after.W @ after.W.T, 1e-7)
    assert before.objective == pytest.approx(after.objective, rel=1e-8)
    assert float(cosines(best(2.0).W, best(2.0).W)[0, 1]) > -1 / (k - 1) + 0.01


@examples(40)
@given(k=CLASSES, n=SAMPLES, kc=st.floats(0.01, 1.5), ratio=powers(-1, 1))
@example(k=3, n=1, kc=(1 - 1e-5) * math.sqrt(2 / 3), ratio=1.0)
def test_squared_error_with_nonnegative_features_and_a_free_bias(k, n, kc, ratio):
    c = kc / k
    kq = kc * math.sqrt(k / (k - 1))
    assume(abs(kq - 1) > 1e-6)
    decay = WeightDecay(c * ratio, c / (n * ratio))
    best = global_minimizer(Problem(k, n, k, decay, SquaredError(), nonnegative=True))
    assert best.margin == pytest.approx(max(1 - kq, 0), rel=1e-8, abs=1e-9)
    assert best.collapsed == (kq < 1)


@pytest.mark.parametrize("family", ["cross-entropy", "label smoothing", "focal loss"])
@either_bias
@examples(15)
@given(data=st.data())
def test_nonnegative_features_cost_a_factor(family, bias, data):
    k, n = data.draw(CLASSES), data.draw(SAMPLES)
    problem, _ = data.draw(problems(family, bias, k, n, st.just(k)))
    decay = replace(problem.weight_decay, W=problem.weight_decay.W * k / (k - 1))
    restricted = global_minimizer(replace(problem, nonnegative=True))
    dearer = global_minimizer(replace(problem, weight_decay=decay))
    assert restricted.margin == pytest.approx(dearer.margin, rel=1e-8, abs=1e-12)
    assert restricted.objective == pytest.approx(dearer.objective, rel=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
@every_family
@either_bias
@examples(15)
@given(data=st.data())
def test_closed_forms_are_stationary(family, bias, nonnegative, data):
    k, n = data.draw(CLASSES), data.draw(SAMPLES)
    dims = st.integers(k, k + 3)
    problem, collapses = data.draw(problems(family, bias, k, n, dims, nonnegative=nonnegative))
    model, best = at_minimum(problem)
    assert best.collapsed == collapses == bool(best.W.any())
    assert model.objective().item() == pytest.approx(best.objective, rel=1e-12)
    assert model.margin().item() == pytest.approx(best.margin, abs=1e-12)
    along_w, along_h, *along_b = gradient(model)
    if nonnegative:
        assert (along_h > -1e-11).all()
        along_h = torch.where(model.H > 0, along_h, 0.0)
    assert max(furthest(part, 0.0) for part in (along_w, along_h, *along_b)) < 1e-11


def test_features_of_focal_loss_jump_at_the_critical_price():
    check = check_contrastive(FocalLoss(3), 100)

    def best(c):
        return global_minimizer(Problem(100, 1, 99, c, FocalLoss(3)))

    below, above = best(check.critical_c * (1 - 1e-9)), best(check.critical_c * (1 + 1e-9))
    assert below.margin == pytest.approx(check.critical_margin, rel=1e-6) and below.collapsed
    assert above.margin == 0 and not above.W.any() and not above.collapsed
    assert below.objective == pytest.approx(above.objective, rel=1e-8)


@pytest.mark.parametrize(("gamma", "k", "limit"), [(3, 2, 0.385), (3, 3, 0.785), (5, 4, 0.786)])
def test_focal_loss_gives_up_before_cross_entropy_where_it_is_convex(gamma, k, limit):
    loss = FocalLoss(gamma)
    assert loss.inflection > math.log(k)
    edge = k * threshold(loss, k)
    assert edge == pytest.approx(limit, abs=5e-4)
    for kc, collapsed in ((0.999 * edge, True), (1.001 * edge, False), (0.9, False)):
        assert global_minimizer(Problem(k, 1, k, kc / k, loss)).collapsed == collapsed
        assert global_minimizer(Problem(k, 1, k, kc / k)).collapsed


# --- what else a minimiser is -----------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossEntropy(), LabelSmoothing(0.2), FocalLoss(1.0)], ids=str)
def test_a_bias_without_weight_decay_may_shift_where_the_loss_does_not_see_it(loss):
    best = global_minimizer(example_problem(loss, weight_decay=WeightDecay(0.02, 0.005)))
    for decay_b, rises in ((0.0, False), (0.01, True)):
        problem = example_problem(loss, weight_decay=WeightDecay(0.02, 0.005, decay_b))
        shifted = model_of(problem).place(best.W, best.H, best.b + 0.7)
        rise = shifted.objective().item() - best.objective
        assert (rise > 1e-3) if rises else abs(rise) < 1e-14
    unshifted = example_problem(SquaredError(), weight_decay=WeightDecay(0.02, 0.005))
    model, best = at_minimum(unshifted)
    model.place(best.W, best.H, best.b + 0.7)
    assert model.objective().item() > best.objective + 1e-3


@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()], ids=str)
def test_two_classes_of_nonnegative_features_may_have_two_lengths(loss):
    decay = WeightDecay(0.02, 0.005)
    problem = Problem(2, 3, 2, decay, loss, nonnegative=True)
    model, best = at_minimum(problem)
    means = class_means(best.H, 2)
    squares = means.square().sum(1)
    # One longer, one shorter, and the bias makes up for it: W is ρ times the centred means.
    rho = float((best.W[0] - best.W[1]).norm() / (means[0] - means[1]).norm())
    change = torch.tensor([0.3, -0.3], dtype=F64) * squares
    means = means * ((squares + change) / squares).sqrt()[:, None]
    b = best.b - rho / 2 * change
    model.place(rho * (means - means.mean(0)), means.repeat_interleave(3, 0), b)
    assert model.objective().item() == pytest.approx(best.objective, rel=1e-13)
    dear = replace(problem, weight_decay=WeightDecay(0.02, 0.005, 0.01))
    lopsided = model_of(dear).place(model.W, model.H, model.b).objective().item()
    assert lopsided > global_minimizer(dear).objective + 1e-6


def test_minimisers_move():
    best = global_minimizer(example_problem()).to("meta")
    assert best.W.is_meta and best.H.is_meta and best.b.is_meta
    assert best.margin == global_minimizer(example_problem(), device="cpu").margin
    assert global_minimizer(example_problem(), device="meta").W.is_meta


# --- the numeric minimum ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("k", [2, 3, 4, 10])
@either_bias
@every_family
@examples(6)
@given(data=st.data())
def test_every_start_reaches_the_closed_form(family, bias, k, n, data):
    squared = "squared error" in family
    dims = st.sampled_from([k if squared else k - 1, k + 3])
    problem, collapses = data.draw(problems(family, bias, k, n, dims))
    best = global_minimizer(problem)
    model = model_of(problem, data.draw(SEEDS), batch_shape=(4,))
    assert minimize(model, every=[]).steps[-1] < 2000
    assert model.objective().detach().numpy() == pytest.approx(best.objective, rel=1e-8)
    assert model.margin().detach().numpy() == pytest.approx(best.margin, abs=1e-6)
    assert best.collapsed == collapses
    if not collapses:
        assert furthest(model.W, 0.0) < 1e-6 and furthest(model.H, 0.0) < 1e-6
        return
    means, exact_means = class_means(model.H, k), class_means(best.H, k)
    assert furthest(cosines(model.W, model.W), cosines(best.W, best.W)) < 1e-6
    assert furthest(cosines(means, means), cosines(exact_means, exact_means)) < 1e-6
    assert furthest(cosines(model.W, means), cosines(best.W, exact_means)) < 1e-6
    if not squared or (bias and problem.weight_decay.b == 0):
        assert furthest(cosines(model.W, model.W), simplex_cosines(k)) < 1e-6
    elif family == "squared error" and not bias:
        assert furthest(cosines(model.W, model.W), torch.eye(k)) < 1e-6
    for features in model.H.detach():
        assert nc2(ClassStatistics.from_features(features, model.labels).centred_means) < 1e-6
        if n > 1:
            assert nc1(features, model.labels) < 1e-8


@either_bias
@every_family
@examples(8)
@given(data=st.data())
def test_best_start_with_nonnegative_features_is_the_closed_form(family, bias, data):
    k, n = data.draw(st.sampled_from([2, 3, 4, 10])), data.draw(st.sampled_from([1, 5]))
    problem, collapses = data.draw(problems(family, bias, k, n, st.just(3 * k), nonnegative=True))
    best = global_minimizer(problem)
    model = model_of(problem, data.draw(SEEDS), batch_shape=(8,))
    minimize(model, every=[], tol=1e-9)
    values = model.objective().detach()
    least = int(values.argmin())
    assert float(values[least]) == pytest.approx(best.objective, rel=1e-10)
    assert (model.H >= 0).all() and best.collapsed == collapses
    assert model.margin()[least].item() == pytest.approx(best.margin, abs=1e-6)
    if collapses:
        W, H = model.W[least].detach(), model.H[least].detach()
        means = class_means(H, k)
        assert furthest(cosines(means, means), torch.eye(k)) < 1e-6
        assert furthest(cosines(W, W), cosines(best.W, best.W)) < 1e-6
        assert n == 1 or nc1(H, model.labels) < 1e-8


@either_bias
@pytest.mark.parametrize("relative_price", [0.9, 0.995, 1.005])
def test_focal_loss_where_it_is_not_convex(relative_price, bias):
    c = relative_price * check_contrastive(FocalLoss(3), 40).critical_c
    problem = Problem(40, 1, 40, WeightDecay(2 * c, c / 2, 0.01), FocalLoss(3), bias)
    best = global_minimizer(problem)
    for scale in (1.0, 4.0):
        model = model_of(problem, 0, batch_shape=(6,), scale=scale)
        minimize(model, every=[])
        assert (model.objective() >= best.objective * (1 - 1e-12)).all()
        if relative_price < 0.95:
            assert model.objective().detach().numpy() == pytest.approx(best.objective, rel=1e-8)


# --- problems without a closed form -----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": WeightDecay(0.0, 0.1)}, "weight_decay must be positive for W and H"),
        ({"weight_decay": WeightDecay(0.1, 0.0)}, "weight_decay must be positive for W and H"),
        ({"samples_per_class": (3, 3, 3, 4)}, "samples_per_class must be the same for all"),
        ({"dim": 2}, "dim must be >= 3, the rank of this minimiser, got 2"),
        ({"dim": 3, "nonnegative": True}, "dim must be >= 4"),
        ({"dim": 3, "loss": SquaredError(), "bias": False}, "dim must be >= 4"),
        (
            {"dim": 3, "loss": SquaredError(), "weight_decay": WeightDecay(0.1, 0.01, 10.0)},
            "dim must be >= 4",
        ),
    ],
)
def test_problems_without_a_closed_form(changes, message):
    problem = example_problem(**changes)
    with pytest.raises(ValueError, match=message):
        global_minimizer(problem)
    model = model_of(problem, 0)  # the model itself makes sense
    history = minimize(model, steps=20)["objective"]
    assert history.isfinite().all() and history[-1] < history[0]


@every_loss
@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
def test_zero_is_the_minimiser_in_any_dimension(loss, nonnegative):
    problem = example_problem(loss, dim=1, weight_decay=10.0, nonnegative=nonnegative)
    model, best = at_minimum(problem)
    assert not best.collapsed and best.margin == 0 and not best.W.any() and best.H.shape == (12, 1)
    assert model.objective().item() == pytest.approx(best.objective, rel=1e-13)
    generous = global_minimizer(replace(problem, dim=8))
    assert best.objective == generous.objective


@pytest.mark.parametrize("problem", [None, "cross-entropy", {}, WeightDecay(0.1, 0.1)])
def test_only_problems_have_minimisers(problem):
    with pytest.raises(TypeError, match="problem must be a Problem"):
        global_minimizer(problem)


# --- norms that are bounded rather than penalised ---------------------------------------------


def lowest(evaluate, shapes, starts=5):
    """Least value that L-BFGS finds, and the variables there."""
    found = []
    for seed in range(starts):
        variables = [
            normal(10 * seed + i, *shape).requires_grad_() for i, shape in enumerate(shapes)
        ]
        solver = torch.optim.LBFGS(
            variables,
            max_iter=2000,
            tolerance_grad=1e-12,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure(solver=solver, variables=variables):
            solver.zero_grad()
            value = evaluate(*variables)
            value.backward()
            return value

        solver.step(closure)
        found.append((evaluate(*variables).item(), [v.detach() for v in variables]))
    return min(found, key=lambda pair: pair[0])


@pytest.mark.parametrize("k", [2, 3, 7])
def test_one_example_per_class(k):
    best, labels = one_example_minimizer(k), torch.arange(k)

    def value(logits):
        return functional.cross_entropy(functional.normalize(logits, dim=-1), labels)

    least, (logits,) = lowest(value, [(k, k)])
    assert best.objective == pytest.approx(least, rel=1e-10)
    assert float(value(best.H)) == pytest.approx(best.objective, rel=1e-13)
    assert best.H.norm(dim=1).numpy() == pytest.approx(1, rel=1e-13)
    assert furthest(functional.normalize(logits, dim=-1), best.H) < 1e-5
    assert best.margin == pytest.approx(float(best.H[0, 0] - best.H[0, 1]), rel=1e-13)
    assert torch.equal(best.W, torch.eye(k, dtype=F64)) and best.collapsed
    assert all(value(normal(seed, k, k)) > best.objective for seed in range(100))


@pytest.mark.parametrize(("k", "n", "dim"), [(2, 1, 1), (3, 2, 2), (5, 3, 7)])
def test_bounded_norms(k, n, dim):
    best, labels = norm_constrained_minimizer(k, n, dim), torch.arange(k).repeat_interleave(n)

    def value(W, H):
        return functional.cross_entropy(functional.normalize(H, dim=-1) @ (W / W.norm()).T, labels)

    least, (W, H) = lowest(value, [(k, dim), (n * k, dim)])
    assert best.objective == pytest.approx(least, rel=1e-10)
    assert furthest(cosines(W, W), cosines(best.W, best.W)) < 1e-5
    assert furthest(cosines(H, H), cosines(best.H, best.H)) < 1e-5
    logits = best.H @ best.W.T
    assert float(functional.cross_entropy(logits, labels)) == pytest.approx(
        best.objective, rel=1e-13
    )
    assert best.margin == pytest.approx(float(logits[0, 0] - logits[0, 1]), rel=1e-12)
    assert float(best.W.norm()) == pytest.approx(1, rel=1e-13)
    assert best.H.norm(dim=1).numpy() == pytest.approx(1, rel=1e-13)
    for seed in range(100):  # inside the balls, too
        W, H, radii = (
            normal(seed, k, dim),
            normal(seed + 1, n * k, dim),
            normal(seed + 2, 1 + n * k),
        )
        radii = radii.abs().clamp_max(1)
        W, H = radii[0] * W / W.norm(), radii[1:, None] * functional.normalize(H, dim=-1)
        assert functional.cross_entropy(H @ W.T, labels) > best.objective


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_example_minimizer(1), "num_classes must be an integer >= 2, got 1"),
        (lambda: norm_constrained_minimizer(1, 1, 1), "num_classes must be an integer >= 2"),
        (lambda: norm_constrained_minimizer(3, 0, 2), "samples_per_class must be an integer >= 1"),
        (lambda: norm_constrained_minimizer(3, 1, 1), "dim must be an integer >= 2, got 1"),
    ],
)
def test_impossible_variants(call, message):
    with pytest.raises(ValueError, match=message):
        call()
