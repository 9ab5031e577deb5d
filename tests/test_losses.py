"""The laws that every loss obeys; then the contrastive property, which not all of them have."""

import math

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, close, every_loss, examples, normal, powers, source
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional

from lecturelib.losses import (
    CrossEntropy,
    FocalLoss,
    LabelSmoothing,
    Loss,
    SquaredError,
    check_contrastive,
)
from lecturelib.unconstrained_features import Problem, UnconstrainedFeatures, global_minimizer
from lecturelib.unconstrained_features import minimize as descend

CLASSES = st.integers(2, 12)
FAMILIES = {
    "cross-entropy": st.just(CrossEntropy()),
    "label smoothing": st.builds(LabelSmoothing, st.floats(0, 0.95)),
    "focal loss": st.builds(FocalLoss, st.floats(0, 8)),
    "squared error": st.builds(SquaredError, powers(-1, 1), powers(-1, 1)),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def batch(seed, samples, k, scale=3.0):
    """Logits and labels in which every class occurs."""
    return scale * normal(seed, samples, k), torch.arange(samples) % k


def printed(loss, logits, labels):
    """The loss as its docstring prints it, for one sample after the other."""
    values = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        logs = [value - math.log(math.fsum(map(math.exp, z))) for value in z]
        match loss:
            case CrossEntropy():
                values.append(-logs[y])
            case LabelSmoothing(alpha):
                values.append(-(1 - alpha) * logs[y] - alpha * math.fsum(logs) / len(z))
            case FocalLoss(gamma):
                values.append((1 - math.exp(logs[y])) ** gamma * -logs[y])
            case SquaredError(kappa, target):
                others = math.fsum(value**2 for j, value in enumerate(z) if j != y)
                values.append((kappa * (z[y] - target) ** 2 + others) / 2)
    return np.mean(values)


# --- value and gradient -----------------------------------------------------------------------


@every_family
@examples(20)
@given(data=st.data(), seed=SEEDS, k=CLASSES, samples=st.integers(1, 20))
def test_the_value_is_the_formula_of_the_docstring(family, data, seed, k, samples):
    loss = data.draw(FAMILIES[family])
    logits, labels = batch(seed, samples, k, scale=2.0)
    assert float(loss(logits, labels)) == pytest.approx(printed(loss, logits, labels), rel=1e-11)


@examples(20)
@given(seed=SEEDS, k=CLASSES, samples=st.integers(1, 30), alpha=st.floats(0, 0.99))
def test_the_value_is_that_of_torch(seed, k, samples, alpha):
    logits, labels = batch(seed, samples, k)
    one_hot = functional.one_hot(labels, k).double()
    entropy = functional.cross_entropy(logits, labels)
    smoothed = functional.cross_entropy(logits, labels, label_smoothing=alpha)
    squared = functional.mse_loss(logits, one_hot) * k / 2
    close(CrossEntropy()(logits, labels), entropy, 1e-12)
    close(LabelSmoothing(alpha)(logits, labels), smoothed, 1e-12)
    close(FocalLoss(0)(logits, labels), entropy, 1e-12)
    close(SquaredError()(logits, labels), squared, 1e-12)


@every_family
@examples(20)
@given(data=st.data(), seed=SEEDS, k=CLASSES, lead=st.sampled_from([(), (2,), (2, 3)]))
def test_the_gradient_by_hand_is_that_of_autograd(family, data, seed, k, lead):
    loss = data.draw(FAMILIES[family])
    logits = (4 * normal(seed, *lead, 2 * k, k)).requires_grad_()
    labels = torch.arange(2 * k) % k
    before = logits.detach().clone()
    value, gradient = loss.value_and_gradient(logits, labels)
    expected = loss(logits, labels)
    expected.sum().backward()
    close(value, expected.detach(), 1e-13)
    close(gradient, logits.grad, 1e-12)
    assert not value.requires_grad and not gradient.requires_grad
    assert torch.equal(logits.detach(), before)


@every_loss
def test_first_and_second_derivatives_are_those_of_differences(loss):
    logits, labels = batch(0, 6, 4, scale=1.0)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, labels), logits)


@every_loss
def test_a_batch_is_its_members(loss):
    logits, labels = normal(0, 2, 3, 12, 4), torch.arange(12) % 4
    values, gradients = loss.value_and_gradient(logits, labels)
    assert values.shape == loss(logits, labels).shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        value, gradient = loss.value_and_gradient(logits[i, j], labels)
        close(loss(logits, labels)[i, j], loss(logits[i, j], labels), 1e-13)
        close(values[i, j], value, 1e-13)
        close(gradients[i, j], gradient, 1e-13)


@every_loss
def test_float32_stays_float32(loss):
    logits, labels = normal(1, 12, 4, dtype=torch.float32), torch.arange(12) % 4
    exact, exact_gradient = loss.value_and_gradient(logits.double(), labels)
    value, gradient = loss.value_and_gradient(logits, labels)
    contrast = torch.linspace(-9, 9, 7)
    assert loss(logits, labels).dtype == value.dtype == gradient.dtype == torch.float32
    assert loss.bound(contrast, 4).dtype == torch.float32
    close(value.double(), exact, 1e-6)
    close(gradient.double(), exact_gradient, 1e-6)
    close(loss.bound(contrast, 4).double(), loss.bound(contrast.double(), 4), 1e-5)


@every_loss
def test_arrays_and_small_integers_are_taken(loss):
    logits, labels = batch(2, 8, 4)
    expected = loss(logits, labels)
    assert torch.equal(loss(logits.numpy(), labels.numpy()), expected)
    assert torch.equal(loss(logits, labels.to(torch.uint8)), expected)
    value, _ = loss.value_and_gradient(logits.numpy(), labels.numpy())
    close(value, expected, 1e-13)
    contrasts = np.linspace(-3, 0, 4)
    assert torch.equal(loss.bound(contrasts, 4), loss.bound(torch.from_numpy(contrasts), 4))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(
    "loss", [CrossEntropy(), LabelSmoothing(0.0), *map(FocalLoss, (0, 0.5, 1, 2))], ids=str
)
def test_gradients_at_extreme_logits(loss, dtype):
    logits = torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]], dtype=dtype).requires_grad_()
    labels, expected = torch.tensor([0, 0]), torch.tensor([[0, 0, 0], [-0.5, 0.5, 0]], dtype=dtype)
    value = loss(logits, labels)
    value.backward()
    assert value.item() == 1000  # nothing for the first sample, 2000 for the second
    close(logits.grad, expected, 1e-6)
    close(loss.value_and_gradient(logits, labels)[1], expected, 1e-6)


def test_squared_error_near_its_target_keeps_its_digits():
    logits = torch.tensor([[100.0, 1e-7]], dtype=F64)
    value = float(SquaredError(1.0, 100.0)(logits, torch.tensor([0])))
    assert value == pytest.approx(5e-15, rel=1e-12, abs=0)


# --- bound and margin -------------------------------------------------------------------------


def shifted(loss, logits):
    """Logits of class 0, with the sum at which squared error is least; the others do not see it."""
    if not isinstance(loss, SquaredError):
        return logits
    right, others = logits[..., :1], logits[..., 1:].sum(-1, keepdim=True)
    pull = loss.kappa * (right - loss.target) + others
    return logits - pull / (loss.kappa + logits.shape[-1] - 1)


def least_loss(loss, k, margins, group=1):
    """Least loss where so many logits are larger by the margin than the others, each margin."""
    margins = torch.as_tensor(margins, dtype=F64)
    logits = torch.zeros(*margins.shape, 1, k, dtype=F64)
    logits[..., :group] = margins[..., None, None]
    return loss(shifted(loss, logits), torch.tensor([0]))


ZERO = torch.tensor([0])


@every_family
@examples(25)
@given(data=st.data(), seed=SEEDS, k=CLASSES, spread=st.floats(0.01, 10))
def test_no_loss_is_below_the_bound(family, data, seed, k, spread):
    loss = data.draw(FAMILIES[family])
    logits = spread * normal(seed, 50, 1, k)
    contrast = (logits - logits[..., :1]).sum(-1)[:, 0]
    bound = loss.bound(contrast, k)
    assert (loss(logits, ZERO) >= bound * (1 - 1e-12) - 1e-12).all()
    assert float(loss.bound(float(contrast[0]), k)) == pytest.approx(float(bound[0]), rel=1e-12)


@every_family
@examples(25)
@given(data=st.data(), k=CLASSES, margin=st.floats(-20, 20), shift=st.floats(-5, 5))
def test_the_bound_is_attained_where_wrong_logits_are_equal(family, data, k, margin, shift):
    loss = data.draw(FAMILIES[family])
    logits = torch.full((1, k), shift, dtype=F64)
    logits[0, 0] += margin
    close(loss(shifted(loss, logits), ZERO), loss.bound(-(k - 1) * margin, k), 1e-11)


@every_loss
def test_the_bound_is_attained_nowhere_else(loss):
    logits = shifted(loss, torch.tensor([[2.0, 0.5, 0.5, 0.5]], dtype=F64))
    bound = loss.bound(-4.5, 4)
    uneven = logits + torch.tensor([0.0, 0.3, -0.3, 0.0], dtype=F64)
    assert loss(uneven, ZERO) > bound + 1e-4
    moved = loss(logits + 0.1, ZERO)
    if isinstance(loss, SquaredError):
        assert moved > bound + 1e-4
    else:
        close(moved, bound, 1e-12)


@every_family
@examples(60)
@given(data=st.data(), k=st.integers(2, 60), fraction=st.floats(0.001, 1.5))
def test_the_margin_minimises_loss_and_price(family, data, k, fraction):
    loss = data.draw(FAMILIES[family])
    group = data.draw(st.integers(1, k - 1))
    price = fraction * getattr(loss, "target", 1.0) / k
    margin = loss.margin(price, k, group)

    def total(a):
        return least_loss(loss, k, a, group) + price * (k - group) * torch.as_tensor(a, dtype=F64)

    # The bound itself is the least loss, so for one class it may be used in place of the logits.
    if group == 1:
        paid = loss.bound(-(k - 1) * margin, k) + price * (k - 1) * margin
        close(paid, total(margin), 1e-11)
    assert margin >= 0
    grid = torch.linspace(0, 30, 3001, dtype=F64)
    values = total(grid)
    least = int(values.argmin())
    low, high = float(grid[max(least - 1, 0)]), float(grid[min(least + 1, 3000)])
    search = minimize_scalar(
        lambda a: float(total(a)), bounds=(low, high), method="bounded", options={"xatol": 1e-9}
    )
    lowest = min(float(values.min()), search.fun)
    assert float(total(margin)) <= lowest * (1 + 1e-12)
    if lowest < float(total(0.0)) * (1 - 1e-9):
        assert margin == pytest.approx(search.x, abs=1e-4)


def test_margins_as_printed():
    # K c = 0.4: and K - 1 in place of K, or c in place of c + α/K, is another number.
    assert CrossEntropy().margin(0.05, 8) == pytest.approx(math.log(20 - 7), rel=1e-14)
    assert LabelSmoothing(0.2).margin(0.05, 8) == pytest.approx(math.log(1 / 0.075 - 7), rel=1e-14)
    assert SquaredError().margin(0.05, 8) == pytest.approx(0.6, rel=1e-14)
    assert SquaredError(3.0, 2.0).margin(0.05, 8) == pytest.approx(2 - 0.5 / 3, rel=1e-14)
    assert CrossEntropy().margin(0.05, 8, group=2) == pytest.approx(math.log(7), rel=1e-14)


@every_loss
def test_nothing_is_worth_a_high_price(loss):
    assert loss.margin(10.0, 4) == loss.margin(10.0, 4, group=2) == 0.0


@pytest.mark.parametrize("group", [1, 2, 5])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("price", [1e-12, 1e-30, 1e-100])
def test_margins_of_focal_loss_keep_their_digits(group, gamma, price):
    margin = FocalLoss(gamma).margin(price, 6, group)
    # To leading order in s = e^-a the slope is φ'(log g) s (K-g)/g, or, for one
    # class, (1 + γ) (s (K-1))^(1+γ).
    share = math.exp(-margin)
    if group == 1:
        slope = (1 + gamma) * (5 * share) ** (1 + gamma)
    else:
        x = math.log(group)
        wrong = -math.expm1(-x)
        slope = wrong**gamma + gamma * wrong ** (gamma - 1) * x / group
        slope *= share * (6 - group) / group
    assert slope == pytest.approx(price * (6 - group), rel=5e-3)


# --- the objects ------------------------------------------------------------------------------


def test_losses_are_values_with_defaults():
    assert LabelSmoothing() == LabelSmoothing(0.1) == LabelSmoothing(alpha=0.1)
    assert FocalLoss() == FocalLoss(2.0) == FocalLoss(gamma=2)
    assert SquaredError() == SquaredError(1, 1) == SquaredError(kappa=1.0, target=1.0)
    assert len({CrossEntropy(), CrossEntropy(), FocalLoss(1), FocalLoss(2)}) == 3
    assert repr(SquaredError(3.0, 2.0)) == "SquaredError(kappa=3.0, target=2.0)"
    with pytest.raises(AttributeError):
        LabelSmoothing().alpha = 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelSmoothing(1.0), r"alpha must be a finite number >= 0 and < 1, got 1\.0"),
        (lambda: LabelSmoothing(-0.1), "alpha must be"),
        (lambda: FocalLoss(-1), "gamma must be a finite number >= 0, got -1"),
        (lambda: FocalLoss(math.inf), "gamma must be"),
        (lambda: SquaredError(kappa=0), "kappa must be a finite number > 0, got 0"),
        (lambda: SquaredError(target=-1), "target must be"),
        (lambda: SquaredError(math.inf), "kappa must be"),
    ],
)
def test_parameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_loss
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loss: loss(torch.zeros(3), torch.zeros(3, dtype=int)), "logits must be"),
        (lambda loss: loss(torch.zeros(4, 3), torch.zeros(3, dtype=int)), r"labels .* \(4,\)"),
        (lambda loss: loss(torch.zeros(2, 4, 3), torch.zeros(2, dtype=int)), "labels must be"),
        (lambda loss: loss(torch.zeros(4, 3), torch.zeros(4, 1, dtype=int)), "labels must be"),
        (lambda loss: loss(torch.zeros(2, 3), torch.tensor([0, 3])), r"labels .* in 0 \.\. 2"),
        (lambda loss: loss(torch.zeros(2, 3), torch.tensor([-1, 0])), "labels must lie in"),
        (lambda loss: loss.value_and_gradient(torch.zeros(2, 3), torch.zeros(2)), "labels must be"),
        (lambda loss: loss.bound(0.0, 1), "num_classes must be an integer >= 2, got 1"),
        (lambda loss: loss.bound(math.nan, 2), "contrast must be"),
        (lambda loss: loss.margin(0.1, 1), "num_classes must be an integer >= 2, got 1"),
        (lambda loss: loss.margin(0.0, 3), "price must be a finite number > 0, got 0"),
        (lambda loss: loss.margin(0.1, 3, 3), r"group must be an integer in 1 \.\. 2, got 3"),
    ],
)
def test_what_does_not_fit_a_loss(loss, call, message):
    with pytest.raises(ValueError, match=message):
        call(loss)


# --- focal loss, and the contrastive property -------------------------------------------------


def focal(margin, k, gamma):
    cross_entropy = np.log1p((k - 1) * np.exp(-margin))
    return (-np.expm1(-cross_entropy)) ** gamma * cross_entropy


@examples(25)
@given(gamma=powers(-1.5, 1.5))
@example(gamma=3.0)
def test_focal_loss_turns_from_convex_to_concave_at_its_inflection(gamma):
    inflection = FocalLoss(gamma).inflection
    # Many classes, so that the inflection lies at a positive margin.
    k = math.ceil(math.exp(inflection + 1))
    at = math.log((k - 1) / math.expm1(inflection))
    contrast = -(k - 1) * torch.tensor([at + 0.01, at - 0.01], dtype=F64)
    contrast.requires_grad_()
    bound = FocalLoss(gamma).bound(contrast, k)
    (slope,) = torch.autograd.grad(bound.sum(), contrast, create_graph=True)
    convex, concave = torch.autograd.grad(slope.sum(), contrast)[0]
    assert convex > 0 > concave


def test_focal_loss_without_focus_has_no_inflection():
    assert FocalLoss(0).inflection == math.inf
    # Beyond what a float can hold there is none either.
    assert FocalLoss(1e-3).inflection == FocalLoss(1e308).inflection == math.inf


@examples(25)
@given(gamma=st.floats(0, 6), x=st.floats(0.01, 5))
def test_the_slope_of_focal_loss_is_its_derivative_by_the_margin(gamma, x):
    loss, k, step = FocalLoss(gamma), 9, 1e-6
    margin = math.log((k - 1) / math.expm1(x))
    difference = focal(margin - step, k, gamma) - focal(margin + step, k, gamma)
    assert loss.slope(x) == pytest.approx(difference / (2 * step), rel=1e-5, abs=1e-9)
    assert loss.of_cross_entropy(x) == pytest.approx(focal(margin, k, gamma), rel=1e-10)


@pytest.mark.parametrize("gamma", [0.5, 1, 3, 10])
def test_first_failure_of_focal_loss_is_where_convexity_ends(gamma):
    margins = np.linspace(0, 10, 20_001)
    curved_down = (k for k in range(2, 200) if (np.diff(focal(margins, k, gamma), 2) < 0).any())
    first = next(curved_down)
    assert check_contrastive(FocalLoss(gamma), first).first_failure == first
    assert check_contrastive(FocalLoss(gamma), first - 1).holds
    assert not check_contrastive(FocalLoss(gamma), first).holds


@pytest.mark.parametrize(("k", "gamma"), [(100, 0.5), (40, 1), (100, 3), (1000, 10)])
def test_minimiser_of_focal_loss_jumps_at_the_critical_price(k, gamma):
    check = check_contrastive(FocalLoss(gamma), k)
    assert check.lower_bound and not check.unique
    margins = np.linspace(0, 20, 200_001)

    def best_margin(c):
        return margins[np.argmin(focal(margins, k, gamma) + c * (k - 1) * margins)]

    assert best_margin(check.critical_c * (1 - 1e-7)) == pytest.approx(
        check.critical_margin, abs=1e-3
    )
    assert best_margin(check.critical_c * (1 + 1e-7)) == 0
    assert check.critical_margin > 0.1
    for factor, margin in ((1 - 1e-9, check.critical_margin), (1 + 1e-9, 0.0)):
        assert FocalLoss(gamma).margin(check.critical_c * factor, k) == pytest.approx(
            margin, rel=1e-6
        )


@pytest.mark.parametrize(
    ("loss", "k"),
    [
        (CrossEntropy(), 1000),
        (LabelSmoothing(0.1), 1000),
        (SquaredError(), 1000),
        (SquaredError(5.0, 15.0), 50),
        (FocalLoss(3), 10),
        (FocalLoss(10), 2),
        (FocalLoss(0), 1000),
    ],
    ids=str,
)
def test_contrastive_property_holds(loss, k):
    check = check_contrastive(loss, k)
    assert check.holds and check.critical_c is None and check.critical_margin is None
    assert (check.first_failure is None) == (loss not in (FocalLoss(3), FocalLoss(10)))


def test_lower_bound_holds_for_strong_focusing():
    assert check_contrastive(FocalLoss(100), 3).lower_bound


class Raised(Loss):
    """Squared error with a bound that is too high."""

    def __init__(self, excess):
        self.excess = excess

    def bound(self, contrast, num_classes):
        return SquaredError().bound(contrast, num_classes) + self.excess

    def margin(self, price, num_classes, group=1):
        return SquaredError().margin(price, num_classes, group)

    def _values(self, logits, index, true):
        return SquaredError()._values(logits, index, true)

    def _values_and_gradients(self, logits, index, true):
        return SquaredError()._values_and_gradients(logits, index, true)


def test_a_bound_that_is_too_high_is_noticed():
    assert check_contrastive(Raised(0.0), 5).lower_bound
    assert not check_contrastive(Raised(1.0), 5).lower_bound


@pytest.mark.parametrize("loss", ["cross-entropy", None, functional.cross_entropy, CrossEntropy])
def test_only_losses_are_checked_for_the_contrastive_property(loss):
    with pytest.raises(TypeError, match=r"loss must be a loss of lecturelib\.losses"):
        check_contrastive(loss, 3)


# --- a loss of one's own ----------------------------------------------------------------------


class SquaredHinge(Loss):
    """As in the docstring of ``Loss``."""

    def _values(self, logits, index, true):
        excess = (1 + logits - true).clamp_min(0).scatter(-1, index, 0)
        return excess.square().sum(-1, keepdim=True) / 2

    def bound(self, contrast, num_classes):
        mean = torch.as_tensor(contrast, dtype=F64) / (num_classes - 1)
        return (num_classes - 1) * (1 + mean).clamp_min(0).square() / 2

    def margin(self, price, num_classes, group=1):
        return max(0.0, 1 - price)


class Bent(SquaredHinge):
    """Its bound is concave before 0."""

    def bound(self, contrast, num_classes):
        return torch.as_tensor(contrast, dtype=F64).add(1).atan() / num_classes


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_a_loss_of_ones_own_has_the_gradient_of_autograd(lead):
    logits = normal(3, *lead, 8, 4).requires_grad_()
    labels = torch.arange(8) % 4
    value, gradient = SquaredHinge().value_and_gradient(logits, labels)
    expected = SquaredHinge()(logits, labels)
    expected.sum().backward()
    close(value, expected.detach(), 1e-13)
    close(gradient, logits.grad, 1e-13)
    assert value.shape == lead and not value.requires_grad and not gradient.requires_grad
    with torch.no_grad():
        again = SquaredHinge().value_and_gradient(logits, labels)[1]
    assert torch.equal(again, gradient)


@pytest.mark.parametrize("price", [0.01, 0.5, 0.9, 1.1])
def test_the_model_takes_a_loss_of_ones_own(price):
    options = {"weight_decay": price, "loss": SquaredHinge(), "bias": False}
    problem = Problem(4, 1, dim=5, **options)
    model = UnconstrainedFeatures(problem, generator=source(0), dtype=F64)
    descend(model)
    best = global_minimizer(problem)
    assert best.margin == max(0.0, 1 - price)
    assert float(model.objective()) == pytest.approx(best.objective, rel=1e-10)


def test_only_what_is_known_of_a_loss_of_ones_own_is_said():
    check = check_contrastive(SquaredHinge(), 10)
    assert check.unique and check.first_failure is None
    bent = check_contrastive(Bent(), 10)
    assert not bent.unique and not bent.holds
    assert bent.critical_c is bent.critical_margin is bent.first_failure is None


class Hinge(SquaredHinge):
    """Its bound is a straight line up to margin 1: there every margin is best at the price 1."""

    def bound(self, contrast, num_classes):
        mean = torch.as_tensor(contrast, dtype=F64) / (num_classes - 1)
        return (num_classes - 1) * (1 + mean).clamp_min(0)


def test_a_straight_piece_that_rises_has_no_unique_minimiser():
    check = check_contrastive(Hinge(), 10)
    assert not check.unique and check.first_failure is None
    assert check_contrastive(SquaredHinge(), 10).unique  # straight where it is 0
