"""Exact minimisers against printed formulas and a numeric minimum, the landscape, the solver."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional

from lecturelib.metrics import ClassStatistics, nc1, nc2
from lecturelib.unconstrained_features import (
    UnconstrainedFeatures,
    check_contrastive,
    contrastive_function,
    convex_objective,
    global_minimizer,
    hessian_min_eigenvalue,
    loss,
    minimize,
    norm_constrained_minimizer,
    one_example_minimizer,
    saddle,
)

F64 = torch.float64
SEEDS = st.integers(0, 2**31 - 1)
CLASSES = st.integers(2, 12)
SAMPLES = st.integers(1, 6)


def powers(low, high):
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


# Strategies for the parameters of each loss; its name is the first word.
LOSSES = {
    "ce": st.just({}),
    "ls": st.fixed_dictionaries({"alpha": st.floats(0, 0.9)}),
    "fl": st.fixed_dictionaries({"gamma": st.floats(0, 6)}),
    "mse": st.just({}),
    "mse rescaled": st.fixed_dictionaries(
        {"rescale": st.tuples(powers(-0.5, 0.8), powers(-0.5, 0.8))}
    ),
}
# One choice of them, where the parameters do not matter.
CHOICES = [
    ("ce", {}),
    ("ls", {"alpha": 0.3}),
    ("fl", {"gamma": 2.0}),
    ("fl", {"gamma": 0.5}),
    ("mse", {}),
    ("mse", {"rescale": (3.0, 2.0)}),
]
every_loss = pytest.mark.parametrize(("name", "parameters"), CHOICES)
either_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


def examples(count):
    return settings(max_examples=count, deadline=None, derandomize=True)


def normal(seed, *shape, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def threshold(name, k, parameters, *, decay_b=None, nonnegative=False):
    """Return c from which on zero is a critical point that no small step improves."""
    if name == "mse":
        kappa, target = parameters.get("rescale", (1.0, 1.0))
        b = 0.0 if decay_b is None else kappa * target / (kappa + k - 1 + k * decay_b)
        right = kappa * (target - b)
        if nonnegative:
            return math.sqrt(right**2 + (k - 1) * b**2) / k
        return max(right + b, abs(right - (k - 1) * b)) / k
    slope = 1 - parameters.get("alpha", 0.0)
    if name == "fl":
        gamma, wrong = parameters["gamma"], 1 - 1 / k
        slope = wrong**gamma + gamma * wrong ** (gamma - 1) * math.log(k) / k
    return slope / k * (math.sqrt((k - 1) / k) if nonnegative else 1)


@st.composite
def problems(draw, case, bias, k, n, dims, *, nonnegative=False):
    """Draw a problem on either side of the threshold; also tell whether it collapses."""
    name, parameters = case.split()[0], draw(LOSSES[case])
    decay_b = draw(st.just(0.0) | powers(-3, 0.5)) if bias else None
    fraction = draw(st.floats(0.03, 0.85) | st.floats(1.05, 3))
    limit = threshold(name, k, parameters, decay_b=decay_b, nonnegative=nonnegative)
    product, ratio = (fraction * limit) ** 2 / n, 20 ** draw(st.floats(-1, 1))
    decays = (math.sqrt(product * ratio), math.sqrt(product / ratio))
    problem = {
        "loss": name,
        "num_classes": k,
        "samples_per_class": n,
        "dim": draw(dims),
        "weight_decay": decays if decay_b is None else (*decays, decay_b),
        "bias": bias,
        "nonnegative": nonnegative,
    }
    return problem | parameters, fraction < 1


def example_problem(name="ce", parameters=None, *, k=4, n=3, dim=5, bias=True, **changes):
    decays = (0.02, 0.005, 0.01) if bias else (0.02, 0.005)
    problem = {"loss": name, "num_classes": k, "samples_per_class": n, "dim": dim}
    problem |= {"weight_decay": decays, "bias": bias}
    return problem | (parameters or {}) | changes


def at_minimum(problem):
    best = global_minimizer(**problem)
    return UnconstrainedFeatures(**problem).place(best.W, best.H, best.b), best


def gradient(model):
    """Return the gradient with respect to W, H and b."""
    return torch.autograd.grad(model.objective().sum(), list(model.parameters()))


def class_means(H, k):
    return H.unflatten(-2, (k, -1)).mean(-2)


def cosines(left, right):
    return functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).mT


def simplex_cosines(k):
    identity = torch.eye(k, dtype=F64)
    return (k * identity - 1) / (k - 1)


def furthest(tensors, others):
    return float((tensors - others).detach().abs().max())


# --- losses -----------------------------------------------------------------------------------


@examples(20)
@given(seed=SEEDS, k=CLASSES, size=st.integers(1, 30), alpha=st.floats(0, 0.99))
def test_losses_agree_with_torch(seed, k, size, alpha):
    logits, labels = 3 * normal(seed, size, k), torch.arange(size) % k
    one_hot = functional.one_hot(labels, k).double()
    expected = {
        loss("ce", logits, labels): functional.cross_entropy(logits, labels),
        loss("ls", logits, labels, alpha=alpha): functional.cross_entropy(
            logits, labels, label_smoothing=alpha
        ),
        loss("mse", logits, labels): functional.mse_loss(logits, one_hot) * k / 2,
        loss("fl", logits, labels, gamma=0): functional.cross_entropy(logits, labels),
    }
    for value, reference in expected.items():
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-14)


@examples(20)
@given(seed=SEEDS, k=CLASSES, gamma=st.floats(0, 8), kappa=powers(-1, 1), target=powers(-1, 1))
def test_focal_and_rescaled_losses_agree_with_their_formulas(seed, k, gamma, kappa, target):
    logits, labels = 2 * normal(seed, 2 * k, k).numpy(), np.arange(2 * k) % k
    right = np.exp(logits[np.arange(2 * k), labels]) / np.exp(logits).sum(1)
    focal = np.mean(-((1 - right) ** gamma) * np.log(right))
    squares = logits**2
    squares[np.arange(2 * k), labels] = kappa * (logits[np.arange(2 * k), labels] - target) ** 2
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    assert float(loss("fl", *tensors, gamma=gamma)) == pytest.approx(focal, rel=1e-11)
    rescaled = float(loss("mse", *tensors, rescale=(kappa, target)))
    assert rescaled == pytest.approx(squares.sum(1).mean() / 2, rel=1e-11)


@every_loss
def test_losses_of_a_batch_are_those_of_its_members(name, parameters):
    logits, labels = normal(0, 2, 3, 12, 4), torch.arange(12) % 4
    values = loss(name, logits, labels, **parameters)
    looped = [[loss(name, logits[i, j], labels, **parameters) for j in range(3)] for i in range(2)]
    torch.testing.assert_close(values, torch.tensor(looped), rtol=1e-13, atol=0)


@every_loss
def test_losses_in_float32(name, parameters):
    logits, labels = normal(1, 12, 4, dtype=torch.float32), torch.arange(12) % 4
    value = loss(name, logits, labels, **parameters)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(name, logits.double(), labels, **parameters)))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("ce", {}), ("ls", {"alpha": 0.0})] + [("fl", {"gamma": g}) for g in (0, 0.5, 1, 2)],
)
def test_gradients_at_extreme_logits(name, parameters, dtype):
    logits = torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]], dtype=dtype).requires_grad_()
    value = loss(name, logits, torch.tensor([0, 0]), **parameters)
    value.backward()
    assert value.item() == 1000  # nothing for the first sample, 2000 for the second
    torch.testing.assert_close(logits.grad, torch.tensor([[0, 0, 0], [-0.5, 0.5, 0]], dtype=dtype))


def test_squared_error_near_its_target_keeps_its_digits():
    logits = torch.tensor([[100.0, 1e-7]], dtype=F64)
    value = float(loss("mse", logits, torch.tensor([0]), rescale=(1.0, 100.0)))
    assert value == pytest.approx(5e-15, rel=1e-12, abs=0)


# --- the contrastive property -----------------------------------------------------------------


@every_loss
@examples(20)
@given(seed=SEEDS, k=CLASSES, spread=st.floats(0.01, 10))
def test_losses_are_bounded_by_the_contrastive_function(name, parameters, seed, k, spread):
    logits = spread * normal(seed, 50, 1, k)
    t = (logits - logits[..., :1]).sum(-1)[:, 0]
    psi = contrastive_function(name, k, **parameters)
    values = loss(name, logits, torch.zeros(1, dtype=torch.int64), **parameters)
    assert (values >= psi(t) - 1e-12).all()
    assert float(psi(float(t[0]))) == pytest.approx(float(psi(t)[0]))


@every_loss
@examples(20)
@given(k=CLASSES, margin=st.floats(-20, 20), shift=st.floats(-5, 5))
def test_contrastive_bound_is_attained_by_equal_wrong_logits(name, parameters, k, margin, shift):
    logits = torch.full((1, k), shift, dtype=F64)
    logits[0, 0] += margin
    if name == "mse":  # equality needs the right sum, too: the best common shift of the logits
        kappa, target = parameters.get("rescale", (1.0, 1.0))
        logits -= (kappa * (logits[0, 0] - target) + (k - 1) * shift) / (kappa + k - 1)
    value = loss(name, logits, torch.tensor([0]), **parameters)
    bound = contrastive_function(name, k, **parameters)(-(k - 1) * margin)
    torch.testing.assert_close(value, bound, rtol=1e-11, atol=1e-13)
    if name == "mse":
        assert loss(name, logits + 0.1, torch.tensor([0]), **parameters) > bound + 1e-4


def focal(margin, k, gamma):
    cross_entropy = np.log1p((k - 1) * np.exp(-margin))
    return (-np.expm1(-cross_entropy)) ** gamma * cross_entropy


@pytest.mark.parametrize("gamma", [0.5, 1, 3, 10])
def test_first_failure_of_focal_loss_is_where_convexity_ends(gamma):
    margins = np.linspace(0, 10, 20_001)
    curved_down = (k for k in range(2, 200) if (np.diff(focal(margins, k, gamma), 2) < 0).any())
    first = next(curved_down)
    assert check_contrastive("fl", first, gamma=gamma).first_failure == first
    assert check_contrastive("fl", first - 1, gamma=gamma).holds
    assert not check_contrastive("fl", first, gamma=gamma).holds


@pytest.mark.parametrize(("k", "gamma"), [(100, 0.5), (40, 1), (100, 3), (1000, 10)])
def test_minimiser_of_focal_loss_jumps_at_the_critical_price(k, gamma):
    check = check_contrastive("fl", k, gamma=gamma)
    assert check.lower_bound and not check.unique
    margins = np.linspace(0, 20, 200_001)

    def best_margin(c):
        return margins[np.argmin(focal(margins, k, gamma) + c * (k - 1) * margins)]

    assert best_margin(check.critical_c * (1 - 1e-7)) == pytest.approx(
        check.critical_margin, abs=1e-3
    )
    assert best_margin(check.critical_c * (1 + 1e-7)) == 0
    assert check.critical_margin > 0.1


@pytest.mark.parametrize(
    ("name", "k", "parameters"),
    [
        ("ce", 1000, {}),
        ("ls", 1000, {"alpha": 0.1}),
        ("mse", 1000, {}),
        ("mse", 50, {"rescale": (5.0, 15.0)}),
        ("fl", 10, {"gamma": 3}),
        ("fl", 2, {"gamma": 10}),
        ("fl", 1000, {"gamma": 0}),
    ],
)
def test_contrastive_property_holds(name, k, parameters):
    check = check_contrastive(name, k, **parameters)
    assert check.holds and check.critical_c is None and check.critical_margin is None
    assert (check.first_failure is None) == (name != "fl" or parameters["gamma"] == 0)


def test_lower_bound_holds_for_strong_focusing():
    assert check_contrastive("fl", 3, gamma=100).lower_bound


def test_features_of_focal_loss_jump_at_the_critical_price():
    check = check_contrastive("fl", 100, gamma=3)

    def best(c):
        return global_minimizer("fl", 100, 1, 99, weight_decay=(c, c), gamma=3)

    below, above = best(check.critical_c * (1 - 1e-9)), best(check.critical_c * (1 + 1e-9))
    assert below.margin == pytest.approx(check.critical_margin, rel=1e-6) and below.collapsed
    assert above.margin == 0 and not above.W.any() and not above.collapsed
    assert below.objective == pytest.approx(above.objective, rel=1e-8)


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
    best = global_minimizer("ce", k, n, k - 1 + room, weight_decay=(w, h), bias=bias)
    a = math.log(1 / c - (k - 1)) if k * c < 1 else 0.0
    exact = {"rel": 1e-9, "abs": 1e-12}
    assert best.collapsed == (k * c < 1) and best.margin == pytest.approx(a, **exact)
    assert float(best.W.square().sum()) == pytest.approx(
        math.sqrt(n * h / w) * a * (k - 1), **exact
    )
    assert float(best.H.square().sum()) == pytest.approx(
        math.sqrt(n * w / h) * a * (k - 1), **exact
    )
    torch.testing.assert_close(
        best.H, math.sqrt(w / (h * n)) * best.W.repeat_interleave(n, 0), rtol=1e-12, atol=1e-14
    )
    assert best.objective == pytest.approx(
        math.log(1 + (k - 1) * math.exp(-a)) + c * (k - 1) * a, rel=1e-12
    )
    assert not best.b.any()
    if best.collapsed:
        torch.testing.assert_close(cosines(best.W, best.W), simplex_cosines(k))


@examples(60)
@printed
def test_cross_entropy_with_nonnegative_features_as_printed(k, n, w, h, bias, room):
    c = math.sqrt(n * w * h)
    q = c * math.sqrt(k / (k - 1))
    assume(abs(k * q - 1) > 1e-9)
    best = global_minimizer("ce", k, n, k + room, weight_decay=(w, h), bias=bias, nonnegative=True)
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
    best = global_minimizer("ls", k, n, k, weight_decay=(w, h), alpha=alpha)
    a = math.log(1 / (alpha / k + c) - (k - 1)) if alpha + k * c < 1 else 0.0
    right, wrong = -math.log1p((k - 1) * math.exp(-a)), -math.log(math.exp(a) + k - 1)
    smoothed = -(1 - alpha) * right - alpha / k * (right + (k - 1) * wrong)
    assert best.collapsed == (a > 0) and best.margin == pytest.approx(a, rel=1e-9, abs=1e-12)
    assert best.objective == pytest.approx(smoothed + c * (k - 1) * a, rel=1e-12)


@examples(40)
@given(gamma=st.floats(0, 10), k=CLASSES, n=SAMPLES, fraction=st.floats(0.001, 0.95))
def test_margin_of_focal_loss_minimises_a_scalar_function(gamma, k, n, fraction):
    c = fraction * threshold("fl", k, {"gamma": gamma})
    best = global_minimizer("fl", k, n, k, weight_decay=(c / n, c), gamma=gamma)

    def value(a):
        return focal(a, k, gamma) + c * (k - 1) * a

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
        best = global_minimizer(
            "mse", k, n, k, weight_decay=(w, h), bias=False, nonnegative=nonnegative
        )
        logits = s * torch.eye(k, dtype=F64).repeat_interleave(n, 0)
        torch.testing.assert_close(best.H @ best.W.T, logits, rtol=0, atol=1e-10)
        assert best.objective == pytest.approx((1 - s) ** 2 / 2 + k * c * s, rel=1e-10)


@examples(60)
@given(k=CLASSES, n=SAMPLES, kc=st.floats(0.01, 0.95), ratio=powers(-1, 1), decay_b=powers(-2, 2))
def test_squared_error_with_bias_as_printed(k, n, kc, ratio, decay_b):
    c = kc / k
    assume(abs(decay_b * (1 - kc) / kc - 1) > 1e-6)
    decays = (c * ratio, c / (n * ratio), decay_b)
    best = global_minimizer("mse", k, n, k, weight_decay=decays)
    if decay_b < kc / (1 - kc):
        b, s0, s1 = 1 / (k * (1 + decay_b)), 1 - kc, 0.0
    else:
        b, s0, s1 = c / decay_b, 1 - kc, 1 - kc - kc / decay_b
    torch.testing.assert_close(best.b, torch.full((k,), b, dtype=F64), rtol=1e-9, atol=0)
    assert best.margin == pytest.approx(s0, rel=1e-9)
    class_logits = class_means(best.H, k) @ best.W.T
    singular = torch.linalg.svdvals(class_logits)
    expected = torch.tensor([s0] * (k - 1) + [s1], dtype=F64)
    torch.testing.assert_close(singular, expected, rtol=1e-9, atol=1e-9)
    cosine = (s1 - s0) / (s1 + (k - 1) * s0)
    off = cosines(best.W, best.W)[~torch.eye(k, dtype=bool)]
    assert off.numpy() == pytest.approx(cosine, abs=1e-9)
    residual = class_logits + b - torch.eye(k, dtype=F64)
    value = residual.square().sum() / (2 * k) + c * expected.sum() + decay_b / 2 * k * b**2
    assert best.objective == pytest.approx(float(value), rel=1e-9)


@pytest.mark.parametrize("k", [2, 5])
def test_squared_error_is_continuous_where_its_geometry_starts_to_change(k):
    boundary = 0.3 / 0.7
    problem = {"num_classes": k, "samples_per_class": 1, "dim": k, "loss": "mse"}

    def best(decay_b):
        return global_minimizer(**problem, weight_decay=(0.3 / k, 0.3 / k, decay_b))

    before, after = best(boundary * (1 - 1e-8)), best(boundary * (1 + 1e-8))
    torch.testing.assert_close(before.b, after.b, rtol=1e-7, atol=0)
    torch.testing.assert_close(before.W @ before.W.T, after.W @ after.W.T, rtol=0, atol=1e-7)
    assert before.objective == pytest.approx(after.objective, rel=1e-8)
    assert float(cosines(best(2.0).W, best(2.0).W)[0, 1]) > -1 / (k - 1) + 0.01


@examples(40)
@given(k=CLASSES, n=SAMPLES, kc=st.floats(0.01, 1.5), ratio=powers(-1, 1))
@example(k=3, n=1, kc=(1 - 1e-5) * math.sqrt(2 / 3), ratio=1.0)
def test_squared_error_with_nonnegative_features_and_a_free_bias(k, n, kc, ratio):
    c = kc / k
    kq = kc * math.sqrt(k / (k - 1))
    assume(abs(kq - 1) > 1e-6)
    best = global_minimizer(
        "mse", k, n, k, weight_decay=(c * ratio, c / (n * ratio)), nonnegative=True
    )
    assert best.margin == pytest.approx(max(1 - kq, 0), rel=1e-8, abs=1e-9)
    assert best.collapsed == (kq < 1)


@pytest.mark.parametrize("case", ["ce", "ls", "fl"])
@either_bias
@examples(15)
@given(data=st.data())
def test_nonnegative_features_cost_a_factor(case, bias, data):
    k, n = data.draw(CLASSES), data.draw(SAMPLES)
    problem, _ = data.draw(problems(case, bias, k, n, st.just(k)))
    w, *others = problem.pop("weight_decay")
    problem.pop("nonnegative")
    restricted = global_minimizer(**problem, weight_decay=(w, *others), nonnegative=True)
    dearer = global_minimizer(**problem, weight_decay=(w * k / (k - 1), *others))
    assert restricted.margin == pytest.approx(dearer.margin, rel=1e-8, abs=1e-12)
    assert restricted.objective == pytest.approx(dearer.objective, rel=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
@pytest.mark.parametrize("case", LOSSES)
@either_bias
@examples(15)
@given(data=st.data())
def test_closed_forms_are_stationary(case, bias, nonnegative, data):
    k, n = data.draw(CLASSES), data.draw(SAMPLES)
    dims = st.integers(k, k + 3)
    problem, collapses = data.draw(problems(case, bias, k, n, dims, nonnegative=nonnegative))
    model, best = at_minimum(problem)
    assert best.collapsed == collapses == bool(best.W.any())
    assert model.objective().item() == pytest.approx(best.objective, rel=1e-12)
    assert model.margin().item() == pytest.approx(best.margin, abs=1e-12)
    along_w, along_h, *along_b = gradient(model)
    if nonnegative:
        assert (along_h > -1e-11).all()
        along_h = torch.where(model.H > 0, along_h, 0.0)
    assert max(furthest(part, 0.0) for part in (along_w, along_h, *along_b)) < 1e-11


# --- the numeric minimum ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("k", [2, 3, 4, 10])
@either_bias
@pytest.mark.parametrize("case", LOSSES)
@examples(6)
@given(data=st.data())
def test_every_start_reaches_the_closed_form(case, bias, k, n, data):
    name = case.split()[0]
    dims = st.sampled_from([k - 1 if name != "mse" else k, k + 3])
    problem, collapses = data.draw(problems(case, bias, k, n, dims))
    best = global_minimizer(**problem)
    generator = torch.Generator().manual_seed(data.draw(SEEDS))
    model = UnconstrainedFeatures(**problem, starts=4, generator=generator)
    assert minimize(model, every=[]).epochs[-1] < 2000
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
    if name != "mse" or (bias and problem["weight_decay"][2] == 0):
        assert furthest(cosines(model.W, model.W), simplex_cosines(k)) < 1e-6
    elif case == "mse" and not bias:
        assert furthest(cosines(model.W, model.W), torch.eye(k)) < 1e-6
    for features in model.H.detach():
        assert nc2(ClassStatistics.from_features(features, model.labels).centred_means) < 1e-6
        if n > 1:
            assert nc1(features, model.labels) < 1e-8


@either_bias
@pytest.mark.parametrize("case", LOSSES)
@examples(8)
@given(data=st.data())
def test_best_start_with_nonnegative_features_is_the_closed_form(case, bias, data):
    k, n = data.draw(st.sampled_from([2, 3, 4, 10])), data.draw(st.sampled_from([1, 5]))
    problem, collapses = data.draw(problems(case, bias, k, n, st.just(3 * k), nonnegative=True))
    best = global_minimizer(**problem)
    generator = torch.Generator().manual_seed(data.draw(SEEDS))
    model = UnconstrainedFeatures(**problem, starts=8, generator=generator)
    minimize(model, every=[], tolerance=1e-9)
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
    c = relative_price * check_contrastive("fl", 40, gamma=3).critical_c
    problem = example_problem("fl", {"gamma": 3.0}, k=40, n=1, dim=40, bias=bias)
    problem["weight_decay"] = (2 * c, c / 2)
    best = global_minimizer(**problem)
    for scale in (1.0, 4.0):
        generator = torch.Generator().manual_seed(0)
        model = UnconstrainedFeatures(**problem, starts=6, scale=scale, generator=generator)
        minimize(model, every=[])
        assert (model.objective() >= best.objective * (1 - 1e-12)).all()
        if relative_price < 0.95:
            assert model.objective().detach().numpy() == pytest.approx(best.objective, rel=1e-8)


# --- the landscape ----------------------------------------------------------------------------


def dense_hessian(model):
    def objective(flat):
        return model._objective_at(*model._unflat(flat))

    return torch.autograd.functional.hessian(objective, model._flat())


@pytest.mark.parametrize("k", [4, 6])
@either_bias
@every_loss
def test_merged_classes_are_strict_saddles(name, parameters, bias, k):
    model = UnconstrainedFeatures(**example_problem(name, parameters, k=k, n=2, dim=k, bias=bias))
    least = global_minimizer(**example_problem(name, parameters, k=k, n=2, dim=k, bias=bias))
    for groups in (m for m in range(1, k) if k % m == 0):
        point = saddle(model, groups)
        assert max(furthest(part, 0.0) for part in gradient(point)) < 1e-12
        assert int(torch.linalg.matrix_rank(point.W)) == groups - 1
        assert len(torch.unique(point.W.detach().round(decimals=9), dim=0)) == groups
        assert point.objective().item() > least.objective + 1e-3
        exact = torch.linalg.eigvalsh(dense_hessian(point))
        eigenvalue = hessian_min_eigenvalue(point)
        assert eigenvalue < -1e-3
        assert eigenvalue == pytest.approx(float(exact[0]), abs=1e-8)


@either_bias
@every_loss
def test_minimiser_has_no_descent_direction(name, parameters, bias):
    model, _ = at_minimum(example_problem(name, parameters, bias=bias))
    eigenvalue = hessian_min_eigenvalue(model)
    assert eigenvalue >= -1e-10
    assert eigenvalue == pytest.approx(
        float(torch.linalg.eigvalsh(dense_hessian(model))[0]), abs=1e-8
    )


@either_bias
@every_loss
def test_as_many_groups_as_classes_make_a_simplex(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias)
    point, best = saddle(UnconstrainedFeatures(**problem), 4), global_minimizer(**problem)
    assert max(furthest(part, 0.0) for part in gradient(point)) < 1e-12
    assert furthest(cosines(point.W, point.W), simplex_cosines(4)) < 1e-12
    if name != "mse" or bias:
        assert point.objective().item() == pytest.approx(best.objective, rel=1e-12)
    else:  # the frame of the minimiser is another one
        assert hessian_min_eigenvalue(point) < -1e-3


@either_bias
@every_loss
def test_descent_direction_of_a_saddle(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias)
    point = saddle(UnconstrainedFeatures(**problem, starts=3), 2)
    eigenvalue, direction = hessian_min_eigenvalue(point, direction=True)
    assert eigenvalue == hessian_min_eigenvalue(point)
    assert (direction[2] is None) == (not bias)
    parts = direction[: 2 + bias]
    flat = torch.cat([part.flatten() for part in parts])
    assert float(flat.norm()) == pytest.approx(1, rel=1e-12)
    assert furthest(dense_hessian(point) @ flat, eigenvalue * flat) < 1e-8
    before = point.objective().item()
    with torch.no_grad():
        for variable, part in zip(point.parameters(), parts, strict=True):
            variable += 1e-2 * part
    fall = point.objective().item() - before
    assert fall == pytest.approx(eigenvalue / 2 * 1e-4, rel=0.05)


@every_loss
@examples(10)
@given(k=CLASSES, n=SAMPLES, w=powers(-2, 1), h=powers(-2, 1), bias=st.booleans())
def test_curvature_at_zero_is_known(name, parameters, k, n, w, h, bias):
    problem = example_problem(name, parameters, k=k, n=n, dim=k, bias=bias)
    problem["weight_decay"] = (w, h, 0.1) if bias else (w, h)
    origin = saddle(UnconstrainedFeatures(**problem))
    logits = origin().detach().requires_grad_()
    loss(name, logits, origin.labels, **parameters).backward()
    sigma = float(torch.linalg.matrix_norm(logits.grad, 2))
    expected = (w + h) / 2 - math.sqrt((w - h) ** 2 / 4 + sigma**2)
    assume(not bias or expected < 0)  # else the bias may have less curvature
    assert hessian_min_eigenvalue(origin) == pytest.approx(expected, abs=1e-9)


def bistable_problem():
    """Focal loss between the price where zero becomes stable and that where it becomes best."""
    k, gamma = 100, 3
    low, high = (
        threshold("fl", k, {"gamma": gamma}),
        check_contrastive("fl", k, gamma=gamma).critical_c,
    )
    c = (low + high) / 2
    problem = {"loss": "fl", "num_classes": k, "samples_per_class": 1, "dim": k - 1}
    return problem | {"gamma": gamma, "weight_decay": (c, c), "bias": False}


def test_zero_is_a_local_minimum_of_focal_loss_above_a_lower_collapsed_one():
    model, best = at_minimum(bistable_problem())
    origin = saddle(model)
    assert hessian_min_eigenvalue(origin) > 1e-6
    assert best.collapsed and origin.objective().item() > best.objective + 1e-3


def test_simplex_beside_a_stable_zero():
    model, best = at_minimum(bistable_problem())
    assert saddle(model, 100).objective().item() == pytest.approx(best.objective, rel=1e-12)


# --- the convex twin --------------------------------------------------------------------------


def twin(problem):
    """Return the arguments that the convex objective shares with the other functions."""
    own = ("num_classes", "dim", "bias")
    return {name: value for name, value in problem.items() if name not in own}


def objective_at(problem, W, H, b):
    model = UnconstrainedFeatures(**problem | {"dim": W.shape[-1]}, starts=len(W))
    return model.place(W, H, b).objective().detach()


@either_bias
@every_loss
def test_convex_objective_is_the_least_over_factors(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias)
    (w, h), b = problem["weight_decay"][:2], normal(2, 6, 4) if bias else None
    Z = 3 * normal(0, 6, 12, 4)
    value = convex_objective(Z, b, **twin(problem))
    U, s, V = torch.linalg.svd(Z, full_matrices=False)
    root = s.sqrt()[:, None]
    W, H = V.mT * root * (h / w) ** 0.25, U * root * (w / h) ** 0.25
    torch.testing.assert_close(value, objective_at(problem, W, H, b), rtol=1e-12, atol=0)
    for seed in range(5):
        mixing = normal(seed, 6, 4, 4)
        W_other, H_other = W @ mixing, H @ torch.linalg.inv(mixing).mT
        assert (objective_at(problem, W_other, H_other, b) > value + 1e-3).all()
    W, H = normal(3, 6, 4, 5), normal(4, 6, 12, 5)
    value = convex_objective(H @ W.mT, b, **twin(problem))
    assert (objective_at(problem, W, H, b) >= value).all()


@either_bias
@every_loss
def test_convex_objective_at_the_minimiser(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias)
    best = global_minimizer(**problem)
    Z, b = best.H @ best.W.T, best.b if bias else None
    value = float(convex_objective(Z, b, **twin(problem)))
    assert value == pytest.approx(best.objective, rel=1e-12)
    nearby = Z + 1e-2 * normal(0, 50, 12, 4)
    assert (convex_objective(nearby, b, **twin(problem)) > value).all()


@either_bias
def test_convex_objective_is_convex(bias):
    problem = twin(example_problem(bias=bias))
    ends = [5 * normal(seed, 200, 12, 4) for seed in (0, 1)]
    shifts = [normal(seed, 200, 4) for seed in (2, 3)] if bias else [None, None]
    share = torch.rand(200, generator=torch.Generator().manual_seed(4), dtype=F64)
    start, end = (convex_objective(*pair, **problem) for pair in zip(ends, shifts, strict=True))
    inside = torch.lerp(*ends, share[:, None, None])
    shift = torch.lerp(*shifts, share[:, None]) if bias else None
    assert (convex_objective(inside, shift, **problem) < torch.lerp(start, end, share)).all()


def test_nuclear_norm_weighs_twice_the_lambda_of_the_lectures():
    lam, k, n = 0.01, 4, 3
    problem = example_problem(bias=False, weight_decay=(2 * lam, 2 * lam))
    best = global_minimizer(**problem)
    Z = best.H @ best.W.T
    fit = float(loss("ce", Z, torch.arange(k).repeat_interleave(n)))
    lectures = fit + lam * float(best.W.square().sum() + best.H.square().sum())
    assert best.objective == pytest.approx(lectures, rel=1e-12)
    nuclear = float(torch.linalg.matrix_norm(Z, "nuc"))
    assert fit + 2 * lam * nuclear == pytest.approx(lectures, rel=1e-12)
    assert fit + lam * nuclear < lectures - 0.01
    # With weight λ the convex problem is another one: a larger multiple of Z is better.
    shared = {"samples_per_class": n, "loss": "ce"}
    right, wrong = (
        [float(convex_objective(s * Z, weight_decay=(x, x), **shared)) for s in (1, 1.1)]
        for x in (2 * lam, lam)
    )
    assert right[1] > right[0] and wrong[1] < wrong[0]


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


# --- the model and the solver -----------------------------------------------------------------


@either_bias
@pytest.mark.parametrize(("starts", "lead"), [(None, ()), (1, (1,)), (3, (3,))])
def test_shapes(starts, lead, bias):
    model = UnconstrainedFeatures(**example_problem(bias=bias), starts=starts)
    minimize(model, iterations=2)
    assert model.W.shape == (*lead, 4, 5) and model.H.shape == (*lead, 12, 5)
    assert (model.b.shape == (*lead, 4)) if bias else (model.b is None)
    assert model().shape == (*lead, 12, 4)
    assert model.objective().shape == model.margin().shape == lead
    assert model.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_objective_and_margin_as_defined():
    model = UnconstrainedFeatures(**example_problem(), starts=2, scale=3.0)
    model.place(model.W, model.H, normal(0, 2, 4))
    for i in range(2):
        W, H, b = model.W[i], model.H[i], model.b[i]
        logits = H @ W.T + b
        value = functional.cross_entropy(logits, model.labels) + 0.01 * W.square().sum()
        value += 0.0025 * H.square().sum() + 0.005 * b.square().sum()
        assert model.objective()[i].item() == pytest.approx(value.item(), rel=1e-13)
        margins = [
            row[y] - max(row[j] for j in range(4) if j != y)
            for row, y in zip(logits.tolist(), model.labels.tolist(), strict=True)
        ]
        assert model.margin()[i].item() == pytest.approx(min(margins), rel=1e-13)


@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
@every_loss
def test_starts_share_nothing(name, parameters, nonnegative):
    problem = example_problem(name, parameters, dim=12, nonnegative=nonnegative)
    model = UnconstrainedFeatures(
        **problem, starts=5, scale=2.0, generator=torch.Generator().manual_seed(0)
    )
    # One start has arrived before the others begin, one stands on the saddle, one is hopeless.
    arrived = global_minimizer(**problem)
    H = model.H.detach().clone()
    W, H[1], H[2] = model.W.detach().clone(), arrived.H, 0.0
    W[1], W[2], W[3] = arrived.W, 0.0, math.nan
    model.place(W, H)
    alone = UnconstrainedFeatures(**problem)
    together = minimize(model, iterations=30, tolerance=1e-2)
    for i in range(5):
        alone.place(W[i], H[i], torch.zeros(4))
        history = minimize(alone, iterations=30, tolerance=1e-2)
        steps = len(history.epochs)
        own = [float(values[i]) for values in together["objective"]]
        rest = [own[steps - 1]] * (len(own) - steps)
        assert own[:steps] == pytest.approx(history["objective"], rel=1e-9, nan_ok=True)
        assert own[steps:] == pytest.approx(rest, rel=1e-15, nan_ok=True)
        torch.testing.assert_close(model.H[i], alone.H, rtol=0, atol=1e-6, equal_nan=True)


@either_bias
@every_loss
def test_every_nonnegative_start_ends_where_no_feature_wants_to_grow(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias, dim=8, nonnegative=True)
    model = UnconstrainedFeatures(**problem, starts=6, generator=torch.Generator().manual_seed(0))
    sparse = model.H.detach() * (normal(1, 6, 12, 8) > 0)
    sparse[0] = 0.0
    minimize(model.place(model.W, sparse), every=[])
    along_w, along_h, *_ = gradient(model)
    assert (model.H >= 0).all() and (along_h > -1e-8).all()
    assert furthest(along_w, 0.0) < 1e-8
    assert furthest(torch.where(model.H > 0, along_h, 0.0), 0.0) < 1e-8


def test_generator_decides_about_the_start():
    def features(seed, **changes):
        generator = torch.Generator().manual_seed(seed)
        return UnconstrainedFeatures(**example_problem(), generator=generator, **changes).H

    assert torch.equal(features(0, starts=2), features(0, starts=2))
    assert not torch.equal(features(0), features(1))
    first, second = features(0, starts=2)
    assert not torch.equal(first, second)
    assert torch.allclose(features(0, scale=3.0), 3 * features(0))
    rows = features(0, starts=500, scale=3.0).detach().norm(dim=-1)
    assert float(rows.square().mean().sqrt()) == pytest.approx(3, rel=0.05)
    assert (features(0, nonnegative=True) >= 0).all()


W_FITS, H_FITS, B_FITS = torch.ones(4, 5), torch.ones(12, 5), torch.ones(4)


@pytest.mark.parametrize(
    ("changes", "point", "message"),
    [
        ({}, (W_FITS.T, H_FITS), "W must have shape"),
        ({}, (W_FITS, H_FITS[1:]), "H must have shape"),
        ({}, (W_FITS, H_FITS, B_FITS[1:]), "b must have shape"),
        ({}, (W_FITS[None], H_FITS[None]), "W must have shape"),
        ({}, (W_FITS[0], H_FITS), "W must have shape"),
        ({"starts": 2}, (W_FITS.repeat(3, 1, 1), H_FITS), "W must have shape"),
        ({"starts": 2}, (W_FITS[0], H_FITS), "W must have shape"),
        ({"bias": False}, (W_FITS, H_FITS, B_FITS), "no bias"),
        ({"nonnegative": True}, (W_FITS, -H_FITS), "negative"),
    ],
)
def test_points_that_do_not_fit_change_nothing(changes, point, message):
    model = UnconstrainedFeatures(**example_problem(**changes))
    before = model._flat().clone()
    with pytest.raises(ValueError, match=message):
        model.place(*point)
    assert torch.equal(model._flat(), before)


def test_placing_one_point_for_all_starts():
    model = UnconstrainedFeatures(**example_problem(bias=False), starts=3)
    assert model.place(W_FITS, 2 * H_FITS, torch.zeros(4)) is model
    assert (model.W == 1).all() and (model.H == 2).all() and model.W.shape == (3, 4, 5)
    assert model.W.requires_grad


@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
@either_bias
@every_loss
def test_objective_never_rises(name, parameters, bias, nonnegative):
    problem = example_problem(name, parameters, bias=bias, dim=12, nonnegative=nonnegative)
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**problem, starts=8, scale=3.0, generator=generator)
    values = torch.stack(minimize(model, iterations=40)["objective"])
    assert (values[1:] <= values[:-1] * (1 + 1e-14)).all() and (values[5] < values[0]).all()


@pytest.mark.parametrize(
    ("every", "measured"),
    [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 3, 6, 7]), ([2, 5], [2, 5, 7]), ([], [7])],
)
def test_history(every, measured):
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**example_problem(), generator=generator)
    metrics = {"margin": lambda model: model.margin(), "features": lambda model: model.H}
    history = minimize(model, iterations=7, every=every, metrics=metrics)
    assert history.epochs == measured
    assert set(history.values) == {"objective", "margin", "features"}
    assert [type(value) for value in history["objective"]] == [float] * len(measured)
    assert history["objective"][-1] == model.objective().item()
    assert history["margin"][-1] == model.margin().item()
    assert torch.equal(history["features"][-1], model.H)
    if len(measured) > 1:
        assert not torch.equal(history["features"][0], model.H)


def test_history_ends_where_the_solver_stops():
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**example_problem(), starts=2, generator=generator)
    history = minimize(model, every=1000)
    assert history.epochs[0] == 0 and 5 < history.epochs[1] < 200 and len(history.epochs) == 2
    assert history["objective"][1].shape == (2,)
    again = minimize(model)
    assert again.epochs == [0] and torch.equal(again["objective"][0], history["objective"][1])


@pytest.mark.parametrize("nonnegative", [False, True], ids=["free", "nonnegative"])
@pytest.mark.parametrize("name", ["ce", "mse"])
def test_gradient_descent_reaches_the_same_minimum(name, nonnegative):
    problem = example_problem(name, dim=8, weight_decay=(0.05, 0.02, 0.1), nonnegative=nonnegative)
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**problem, starts=4, generator=generator)
    history = minimize(model, method="gd", lr=1.0, iterations=5000, every=50)
    assert history.epochs[-1] < 5000 and (model.H >= 0).all() == nonnegative
    values = model.objective().detach()
    best = pytest.approx(global_minimizer(**problem).objective, rel=1e-10)
    assert float(values.min()) == best
    assert nonnegative or values.tolist() == [best] * 4


def test_gradient_descent_takes_plain_steps():
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**example_problem(), generator=generator)
    moved = [v - 0.3 * g for v, g in zip(model.parameters(), gradient(model), strict=True)]
    minimize(model, method="gd", lr=0.3, iterations=1)
    for variable, expected in zip(model.parameters(), moved, strict=True):
        torch.testing.assert_close(variable, expected, rtol=1e-13, atol=1e-15, check_stride=False)


def test_gradient_descent_that_diverges_says_so():
    model = UnconstrainedFeatures(**example_problem("mse"), starts=3)
    with pytest.raises(FloatingPointError, match=r"lr=1000\.0"):
        minimize(model, method="gd", lr=1000.0)


@either_bias
@every_loss
def test_the_solver_takes_the_gradient_of_the_objective(name, parameters, bias):
    problem = example_problem(name, parameters, bias=bias)
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**problem, starts=3, scale=4.0, generator=generator)
    if bias:
        model.place(model.W, model.H, normal(1, 3, 4))
    value, flat = model._objective_and_gradient(model._flat())
    expected = torch.cat([part.flatten(1) for part in gradient(model)], 1)
    torch.testing.assert_close(value, model.objective().detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(flat, expected, rtol=1e-11, atol=1e-15)


def test_a_start_at_zero_does_not_hold_up_the_others():
    problem = example_problem(bias=False)
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**problem, starts=2, generator=generator, dtype=torch.float32)
    ones = torch.tensor([1.0, 0.0])[:, None, None]
    model.place(ones * model.W.detach(), ones * model.H.detach())
    history = minimize(model)
    assert history.epochs[-1] < 500
    found = model.objective().tolist()
    assert found == pytest.approx([global_minimizer(**problem).objective, math.log(4)], rel=1e-5)


def test_saddles_leave_the_random_numbers_alone():
    model = UnconstrainedFeatures(**example_problem())
    state = torch.get_rng_state()
    saddle(model, 2)
    assert torch.equal(torch.get_rng_state(), state)


@every_loss
def test_float32(name, parameters):
    problem = example_problem(name, parameters)
    generator = torch.Generator().manual_seed(0)
    model = UnconstrainedFeatures(**problem, starts=2, generator=generator, dtype=torch.float32)
    minimize(model, iterations=200)
    best = global_minimizer(**problem)
    assert model.W.dtype == model().dtype == torch.float32
    assert model.objective().detach().numpy() == pytest.approx(best.objective, rel=1e-6)
    assert model.margin().detach().numpy() == pytest.approx(best.margin, rel=1e-2)
    assert saddle(model).W.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["lbfgs", "gd"])
@every_loss
def test_gpu(name, parameters, method):
    problem = example_problem(name, parameters, weight_decay=(0.1, 0.05, 0.1))
    best = global_minimizer(**problem, device="cuda")
    model = UnconstrainedFeatures(**problem, starts=4, device="cuda")
    minimize(model, method=method, lr=0.3)
    assert best.W.is_cuda and model.W.is_cuda
    assert model.objective().detach().cpu().numpy() == pytest.approx(best.objective, rel=1e-8)
    assert hessian_min_eigenvalue(saddle(model)) < -1e-3
    arguments = twin(problem)
    value = convex_objective(best.H @ best.W.T, best.b, **arguments)
    assert float(value) == pytest.approx(best.objective, rel=1e-10)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [global_minimizer, UnconstrainedFeatures])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": (-0.1, 0.1)}, "must not be negative"),
        ({"weight_decay": (0.1, 0.1, -0.1)}, "must not be negative"),
        ({"weight_decay": (0.1, math.nan)}, "must not be negative"),
        ({"weight_decay": (0.1,)}, r"must be \(λ_W, λ_H\)"),
        ({"weight_decay": (0.1,) * 4}, r"must be \(λ_W, λ_H\)"),
        ({"weight_decay": (0.1, 0.1, 0.0), "bias": False}, "no bias"),
        ({"dim": 2}, "4 classes need dim >= 3"),
        ({"loss": "hinge"}, "loss must be one of ce, ls, fl, mse, got 'hinge'"),
        ({"temperature": 2}, 'loss "ce" takes no parameters, got temperature'),
        ({"loss": "ls", "gamma": 2}, 'loss "ls" takes alpha, got gamma'),
        ({"loss": "fl", "gamma": -1}, "gamma >= 0"),
        ({"loss": "fl", "gamma": math.inf}, "gamma >= 0"),
        ({"loss": "ls", "alpha": 1.0}, "0 <= alpha < 1"),
        ({"loss": "ls", "alpha": -0.1}, "0 <= alpha < 1"),
        ({"loss": "mse", "rescale": (0, 1)}, "rescale must be two positive numbers"),
        ({"loss": "mse", "rescale": (1, -1)}, "rescale must be two positive numbers"),
        ({"loss": "mse", "rescale": (math.inf, 1)}, "rescale must be two positive numbers"),
        ({"loss": "mse", "rescale": (1,)}, "rescale must be two positive numbers"),
        ({"weight_decay": 0.1}, "weight_decay must be"),
        ({"num_classes": 1}, "num_classes >= 2"),
        ({"samples_per_class": 0}, "samples_per_class >= 1"),
    ],
)
def test_impossible_problems(make, changes, message):
    problem = example_problem() | changes
    with pytest.raises(ValueError, match=message):
        make(**problem)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": (0.0, 0.1)}, "must be positive"),
        ({"weight_decay": (0.1, 0.0)}, "must be positive"),
        ({"dim": 3, "nonnegative": True}, "rank 4"),
        ({"dim": 3, "loss": "mse", "bias": False, "weight_decay": (0.1, 0.01)}, "rank 4"),
        ({"dim": 3, "loss": "mse", "weight_decay": (0.1, 0.01, 10.0)}, "rank 4"),
    ],
)
def test_problems_without_a_closed_form(changes, message):
    problem = example_problem() | changes
    with pytest.raises(ValueError, match=message):
        global_minimizer(**problem)
    UnconstrainedFeatures(**problem)  # the model itself makes sense


@pytest.mark.parametrize(
    "call",
    [
        lambda name, **p: loss(name, torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), **p),
        lambda name, **p: contrastive_function(name, 3, **p),
        lambda name, **p: check_contrastive(name, 3, **p),
        lambda name, **p: convex_objective(
            torch.zeros(6, 3), samples_per_class=2, weight_decay=(0.1, 0.1), loss=name, **p
        ),
    ],
    ids=["loss", "contrastive_function", "check_contrastive", "convex_objective"],
)
def test_unknown_losses_and_parameters(call):
    with pytest.raises(ValueError, match="loss must be one of"):
        call("hinge")
    with pytest.raises(ValueError, match='loss "fl" takes gamma, got alpha'):
        call("fl", alpha=0.1)
    with pytest.raises(ValueError, match="gamma >= 0"):
        call("fl", gamma=-1)


@pytest.mark.parametrize("function", [contrastive_function, check_contrastive])
def test_one_class_has_no_contrast(function):
    with pytest.raises(ValueError, match="num_classes >= 2"):
        function("ce", 1)


@pytest.mark.parametrize(
    ("logits", "labels"), [((3,), 3), ((4, 3), 3), ((2, 4, 3), 2), ((4, 3), (4, 1))]
)
def test_logits_and_labels_that_do_not_fit(logits, labels):
    with pytest.raises(ValueError, match=r"logits must be \(…, N, K\) and labels \(N,\)"):
        loss("ce", torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize(
    ("Z", "b", "changes", "message"),
    [
        ((12,), None, {}, "Z must be"),
        ((11, 4), None, {}, "Z must be"),
        ((12, 4), (3,), {}, "b must have shape"),
        ((12, 4), None, {"weight_decay": (0.1, 0.1, 0.1)}, "no bias"),
        ((12, 4), None, {"weight_decay": (0.1, -0.1)}, "must not be negative"),
        ((3, 1), None, {}, "num_classes >= 2"),
        ((0, 4), None, {"samples_per_class": 0}, "samples_per_class >= 1"),
    ],
)
def test_convex_objective_of_what_does_not_fit(Z, b, changes, message):
    arguments = {"samples_per_class": 3, "weight_decay": (0.1, 0.1)} | changes
    with pytest.raises(ValueError, match=message):
        convex_objective(torch.zeros(Z), None if b is None else torch.zeros(b), **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_example_minimizer(1), "num_classes >= 2"),
        (lambda: norm_constrained_minimizer(1, 1, 1), "num_classes >= 2"),
        (lambda: norm_constrained_minimizer(3, 0, 2), "samples_per_class >= 1"),
        (lambda: norm_constrained_minimizer(3, 1, 1), "3 classes need dim >= 2"),
    ],
)
def test_impossible_variants(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("starts", [0, -1])
def test_too_few_starts(starts):
    with pytest.raises(ValueError, match="starts must be at least 1"):
        UnconstrainedFeatures(**example_problem(), starts=starts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "newton"}, 'method must be "lbfgs" or "gd", got \'newton\''),
        ({"iterations": 0}, "iterations, memory and every must be positive"),
        ({"memory": 0}, "iterations, memory and every must be positive"),
        ({"every": 0}, "iterations, memory and every must be positive"),
        ({"tolerance": -1e-8}, "tolerance >= 0"),
        ({"tolerance": math.nan}, "tolerance >= 0"),
        ({"method": "gd", "lr": 0.0}, "lr > 0"),
    ],
)
def test_impossible_settings_of_the_solver(settings, message):
    model = UnconstrainedFeatures(**example_problem())
    before = model._flat().clone()
    with pytest.raises(ValueError, match=message):
        minimize(model, **settings)
    assert torch.equal(model._flat(), before)


@pytest.mark.parametrize(
    ("changes", "groups", "message"),
    [
        ({}, 3, "groups must divide the number of classes, 4, got 3"),
        ({}, 0, "groups must divide"),
        ({}, 8, "groups must divide"),
        ({"nonnegative": True}, 2, "negative features"),
        ({"weight_decay": (0.0, 0.1)}, 1, "weight decay must be positive"),
        ({"weight_decay": (1.0, 1.0)}, 2, "merge completely"),
        ({"weight_decay": (1.0, 1.0), "loss": "mse"}, 2, "merge completely"),
        ({"weight_decay": (1.0, 1.0), "loss": "fl"}, 4, "merge completely"),
    ],
)
def test_saddles_that_do_not_exist(changes, groups, message):
    model = UnconstrainedFeatures(**example_problem() | changes)
    with pytest.raises(ValueError, match=message):
        saddle(model, groups)


def test_hessian_of_many_points_at_once():
    model = UnconstrainedFeatures(**example_problem(), starts=2)
    with pytest.raises(ValueError, match="one point"):
        hessian_min_eigenvalue(model)
