# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Unconstrained features
#
# Wide networks, trained by three algorithms, on images or on noise, came close to one and the same figure.
# Whatever explains it cannot be in the images, nor in the algorithm. So take away what is left: drop the
# network, and let the features be free variables, put wherever the training objective would like to have
# them. That problem is small enough to solve by hand, and its solution *is* {term}`neural collapse`. This chapter
# solves it, looks at the landscape around the solution, changes the loss, and finds five places where the
# slides promise too much.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** derive the global minimisers of the unconstrained features model and the weight
# decay beyond which nothing is learned; show why gradient descent is not trapped; say for which losses the
# answer is the same, and for which it is not; and name what the model leaves out.
#
# **Follows** lecture 003: *Simplification: Unconstrained Features I–IV*, *Geometric Analysis for
# Unconstrained Features Model I–VIII*, and from *Is Cross-entropy Loss Essential?* to *Are All Loses Created
# Equal? V*; lecture 004 on the unconstrained and the positive features model.
#
# **You need** the chapter [Neural collapse](neural_collapse.ipynb), singular values, the Hessian, convex
# functions and the tangents below them, and the Cauchy–Schwarz inequality.
#
# **Time**: reading, an hour and a half; running, about two minutes on two CPU cores. A GPU changes nothing
# before the last section.
# :::

# %% tags=["hide-cell", "nbval-ignore-output"]
import sys
from importlib.util import find_spec
from pathlib import Path

from IPython import get_ipython

if Path("../lecturelib").is_dir():  # beside the chapters, in book.zip too
    sys.path.insert(0, str(Path("..").resolve()))
elif find_spec("lecturelib") is None:  # Colab; nothing that is installed changes
    address = "git+https://repository.invalid/owner/book"
    get_ipython().run_line_magic("pip", f"install --quiet {address}")
    if find_spec("lecturelib") is None:
        raise ModuleNotFoundError(
            "lecturelib could not be installed: download book.zip from the book's site, "
            "unpack it, and open this notebook in its folder chapters"
        )

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from lecturelib import claims
from lecturelib.datasets import load_standardized
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.losses import (
    CrossEntropy,
    FocalLoss,
    LabelSmoothing,
    SquaredError,
    check_contrastive,
)
from lecturelib.metrics import ClassStatistics, nc1, nc2, nc3
from lecturelib.networks import MLP
from lecturelib.training import accuracy, train
from lecturelib.unconstrained_features import (
    Problem,
    UnconstrainedFeatures,
    WeightDecay,
    convex_objective,
    global_minimizer,
    hessian_min_eigenpair,
    hessian_min_eigenvalue,
    minimize,
    norm_constrained_minimizer,
    one_example_minimizer,
    saddle,
)

use_style()
torch.set_num_threads(1)  # problems this small lose more to waiting than they gain
generator = seed_everything(0)

# %% [markdown]
# (sec-ufm-model)=
# ## Free the features
#
# A classifier with {term}`features <feature>` $h_{k,i} = \phi_\theta(x_{k,i})$ minimises a loss plus
# {term}`weight decay`. That problem is highly non-convex. The usual linearisation of wide networks, the neural
# tangent kernel, {claim}`looks at outputs and says hardly anything about features <tangent-kernel-silent>`. But
# {claim}`an over-parametrised network can move its features almost anywhere <ufm-validity>`: it fits
# random labels, and even on random inputs it collapses. So pretend that it can move them *exactly*
# anywhere, and drop the network. (Whether a given network can is another question: lecture 004 asks it for
# shallow ones.) The *unconstrained features model* {cite}`mixon2020neural,zhu2021geometric`, also called
# layer-peeled model, is
#
# $$
# \begin{aligned}
# \min_{W, H, b} \; f(W, H, b) = {} & \frac1N \sum_{k=1}^K \sum_{i=1}^n
#   \mathcal L\big( W h_{k,i} + b, k \big) \\
#   & + \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 + \frac{\lambda_b}{2} \|b\|^2 ,
# \end{aligned}
# $$ (eq-ufm)
#
# with $W \in \mathbb R^{K \times d}$, $b \in \mathbb R^K$, and the $N = nK$ features as the rows of
# $H \in \mathbb R^{N \times d}$; $\|\cdot\|_F$ is the root of the sum of squares. The inputs are gone:
# only the labels know which feature belongs to which class. The penalty on $H$ stands for the weight
# decay of all the layers that are gone as well. Without it features could grow for free. In lecture 004 it is
# taken literally, as *activation regularisation*.
#
# (The slides write $\lambda \|\cdot\|^2$ with one $\lambda$ for everything. Ours has the factor ½ of
# PyTorch's `weight_decay`, and three numbers, which will turn out to play different parts.)
#
# The model is small but not trivial. It is not convex: the product $W h$ of two unknowns sees to that.
# So before any theory, try it. Below are 64 random starts, minimised side by side by L-BFGS.

# %%
PROBLEM = Problem(
    num_classes=10,
    samples_per_class=10,
    dim=16,
    weight_decay=WeightDecay(W=1e-2, H=2.5e-3, b=1e-2),
)
K, n = PROBLEM.num_classes, PROBLEM.samples_per_class
decay_w, decay_h = PROBLEM.weight_decay.W, PROBLEM.weight_decay.H


def random_starts(problem, *batch_shape):
    """Random points of a problem, in double precision."""
    return UnconstrainedFeatures(
        problem, batch_shape=batch_shape, generator=generator, dtype=torch.float64
    )


def class_cosines(model):
    """Cosines between different class means, shape (…, K (K-1))."""
    means = model.H.unflatten(-2, (K, n)).mean(-2)
    unit = means / means.norm(dim=-1, keepdim=True)
    return (unit @ unit.mT)[..., ~torch.eye(K, dtype=torch.bool)]


model = random_starts(PROBLEM, 64)
history = minimize(model, metrics={"cosines": class_cosines})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-64-starts", "caption": "Sixty-four random starts of the unconstrained features model with ten classes. Left: how far each objective lies above the value of {prf:ref}`thm-ufm`. Right: all cosines between class means, from every start; they meet at $-1/9$."}, "image": {"alt": "Two panels against the iteration. Left, 64 curves on a logarithmic axis fall together from above one to below ten to the minus twelve within some fifty iterations. Right, a band of cosines that fills minus 0.8 to 0.8 at the start narrows to a single line at minus one ninth."}}
best = global_minimizer(PROBLEM)
gap = history["objective"] / best.objective - 1
cosines = history["cosines"].flatten(1)

fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
gap = gap.abs().clamp_min(1e-15)
left.semilogy(history.steps, gap, "-", color=COLOURS[0], alpha=0.25)
left.set(xlabel="iteration", title="relative gap to the theorem")
ends = cosines.amin(1), cosines.amax(1)
right.fill_between(history.steps, *ends, color=COLOURS[1], alpha=0.4)
right.axhline(-1 / 9, color="0.2", linestyle="--", linewidth=1)
right.set(xlabel="iteration", title="cosines between class means")
plt.show()

# %% [markdown]
# All of them end at the same value, and in all of them the {term}`class means <class mean>` stand at cosine
# $-\frac19 = -\frac1{K-1}$. No network, no data, and there is the {term}`simplex ETF`. So why this value, why
# this figure, and why does no start get stuck?
#
# (sec-ufm-theorem)=
# ## The theorem, from two inequalities
#
# The objective pulls in two directions: the loss wants the right score to beat the others, the penalty
# wants everything small. We bound both by the same quantity. For a sample of class $k$ with scores $z$, call
#
# $$t = \sum_{j \ne k} (z_j - z_k)$$ (eq-contrast)
#
# its *{term}`contrast`*: it sets the right score against all others at once, and is negative when the right one
# beats their average. If all wrong scores are equal and the right one is larger by the *{term}`margin`* $a$, then
# $t = -(K-1) a$. We write $t_{k,i}$ for the contrast of a sample and $\bar t$ for the average over all. (In
# what follows, $e_k$ is the $k$-th unit vector, $\mathbf 1$ the vector of ones, and
# $\langle A, B \rangle = \sum_{ij} A_{ij} B_{ij}$.)
#
# **The loss from below.** Cross-entropy is
# $\log\big(1 + \sum_{j \ne k} e^{z_j - z_k}\big)$. The average of $K - 1$ exponentials is at least the
# exponential of the average, so
#
# $$
# \mathcal L_{\mathrm{CE}}(z, k) \ge \psi(t), \qquad
#   \psi(t) = \log\big(1 + (K-1)\, e^{t/(K-1)} \big) ,
# $$ (eq-loss-bound)
#
# with equality exactly if all wrong scores are equal. And $\psi$ is increasing and strictly convex, so the
# average of $\psi(t_{k,i})$ is at least $\psi(\bar t)$.
#
# **The penalty from below.** How cheaply can one buy contrast? Let $s_k = \sum_i h_{k,i}$ be the class
# sums, as rows of $S$, and $P = I - \frac1K \mathbf 1 \mathbf 1^\top$ the projection that centres.
# Contrast is linear, $t_{k,i} = (\mathbf 1 - K e_k)^\top (W h_{k,i} + b)$, and in the sum over all
# samples the bias cancels:
#
# $$
# \sum_{k,i} t_{k,i} = \sum_k (\mathbf 1 - K e_k)^\top W s_k = -K \langle W, P S \rangle .
# $$
#
# Now three steps, each of which can only lose. By Cauchy–Schwarz
# $|\langle W, P S \rangle| \le \|W\|_F \|PS\|_F$; centring shortens, $\|PS\|_F \le \|S\|_F$; and
# $\|s_k\|^2 \le n \sum_i \|h_{k,i}\|^2$, the triangle inequality and Cauchy–Schwarz once more. Together
# $N |\bar t| \le K \sqrt n \, \|W\|_F \|H\|_F$, and as $x^2 + y^2 \ge 2xy$,
#
# $$
# \begin{gathered}
# \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2
#   \ge \sqrt{\lambda_W \lambda_H} \, \|W\|_F \|H\|_F \ge c \, |\bar t| , \\
# c = \sqrt{n \lambda_W \lambda_H} .
# \end{gathered}
# $$ (eq-price)
#
# This $c$ is the price of one unit of contrast. Value and margin of the minimum will depend on $n$,
# $\lambda_W$ and $\lambda_H$ through $c$ alone.
#
# :::{prf:theorem} Global minimisers
# :label: thm-ufm
#
# Let $d \ge K - 1$, $\lambda_W, \lambda_H > 0$ and $\lambda_b \ge 0$. The minimum of {eq}`eq-ufm` with
# cross-entropy is
#
# $$\min_{a \ge 0} \; \log\big(1 + (K-1) e^{-a}\big) + c \, (K-1) \, a .$$
#
# If $Kc \ge 1$, it is $\log K$, and only $W = H = 0$ attains it. If $Kc < 1$, then
#
# $$a = \log\Big(\frac1c - (K - 1)\Big) > 0 ,$$ (eq-margin)
#
# and the global minimisers are exactly the collapsed points of margin $a$: every feature equals its class
# mean $\bar h_k$; the class means form a simplex ETF around zero with
# $\|H\|_F^2 = \sqrt{n \lambda_W / \lambda_H}\, (K-1)\, a$; and
# $w_k = \sqrt{n \lambda_H / \lambda_W}\; \bar h_k$. In both cases $b$ is a multiple of $\mathbf 1$, and
# zero if $\lambda_b > 0$.
# :::
#
# :::{prf:proof}
# *The value.* By the two inequalities, $f \ge \psi(\bar t) + c |\bar t| + \frac{\lambda_b}2 \|b\|^2$. As
# $\psi$ increases, a positive $\bar t$ is never worth it, so with $\bar t = -(K-1)a$ the right-hand side is
# at least the minimum in the theorem. Its derivative in $a$,
#
# $$-\frac{(K-1) e^{-a}}{1 + (K-1) e^{-a}} + c\,(K-1) ,$$
#
# increases. At $a = 0$ it is $(K-1)\big(c - \frac1K\big)$: if $Kc \ge 1$ the minimum is at $a = 0$;
# otherwise it is where $e^{-a} = c\,(1 + (K-1) e^{-a})$, which is {eq}`eq-margin`.
#
# *If $Kc \ge 1$*, a minimiser has
#
# $$\log K = f \ge \psi(\bar t) + \text{penalties} \ge \psi(\bar t) + c\, |\bar t| \ge \log K .$$
#
# The last is an equality only at $\bar t = 0$, so the penalties are zero. With $W = H = 0$ all samples of
# class $k$ have the contrast $\sum_j b_j - K b_k$, and as $\psi$ is strictly convex, all must be
# $\bar t = 0$: the $b_k$ agree.
#
# *If $Kc < 1$*, a minimiser has $\bar t = -(K-1) a < 0$ and equality in every step. Equality in the penalty
# says: all features of a class are equal; the class means sum to zero; $W = \rho M$, where $M$ has
# the class means as rows and $\rho > 0$ because $\bar t < 0$; and
# $\lambda_W \|W\|_F^2 = \lambda_H \|H\|_F^2$, so $\rho^2 = n \lambda_H / \lambda_W$. Equality in the loss
# says that each sample has contrast $\bar t$ and equal wrong scores. So for all $j \ne k$
#
# $$\rho \langle \bar h_k, \bar h_k \rangle + b_k - \rho \langle \bar h_j, \bar h_k \rangle - b_j = a .$$
#
# Sum over $j \ne k$; the means add up to zero, so
#
# $$K \big( \rho \|\bar h_k\|^2 + b_k \big) - \sum_j b_j = (K-1) a ,$$
#
# and $\rho \|\bar h_k\|^2 + b_k$ is the
# same for every class. Hence $\rho \langle \bar h_j, \bar h_k \rangle + b_j$ is one number for all
# $j \ne k$. The inner product is symmetric, so $b_j = b_k$: all $b_j$ are equal, and with them all
# lengths and all inner products. That is a simplex ETF, and $K \rho \|\bar h_k\|^2 = (K-1) a$ gives the
# norms. If $\lambda_b > 0$, a bias other than zero would add to the value.
#
# *Such points exist* if $d \ge K - 1$: an ETF of that size turns all inequalities into equalities.
# :::
#
# All the properties are there, and the proof tells where each comes from: NC1 from the cheapest way to have
# a class sum, NC2 from equal wrong scores, NC3 from Cauchy–Schwarz. NC4 follows from them: the rows of $W$
# are the class means times one factor, all means have one length, and the biases agree.


# %%
def theorem(c):
    """Margin and value of the minimum at the price c, if Kc < 1."""
    a = math.log(1 / c - (K - 1))
    return a, math.log(1 + (K - 1) * math.exp(-a)) + c * (K - 1) * a


c = math.sqrt(n * decay_w * decay_h)
a, value = theorem(c)
_, without_n = theorem(math.sqrt(decay_w * decay_h))

reached = model.objective()
claims.check("ufm-value", reached / value, 1, abs=1e-8, control=reached / without_n)
margin, other = model.margin(), math.log(1 / c - K)
claims.check("ufm-margin", margin / a, 1, abs=1e-6, control=margin / other)
variability = [nc1(H, model.labels) for H in model.H.detach()]
control = nc1(random_starts(PROBLEM).H.detach(), model.labels)
claims.check("ufm-nc1", variability, below=1e-8, control=control)
final, random = class_cosines(model), history["cosines"][0, 0]
claims.check("ufm-cosines", final, -1 / (K - 1), abs=1e-6, control=random)

# %%
means = model.H.unflatten(-2, (K, n)).mean(-2)
duals, no_n = (
    math.sqrt(n * decay_h / decay_w) * means,
    math.sqrt(decay_h / decay_w) * means,
)
distance, control = ((model.W - rows).norm(dim=(1, 2)) for rows in (duals, no_n))
claims.check("ufm-self-duality", distance, below=1e-5, control=control)
squares = model.H.square().sum((1, 2)) / ((K - 1) * a)
norm = squares / math.sqrt(n * decay_w / decay_h)
control = squares / math.sqrt(n * decay_h / decay_w)
claims.check("ufm-norm", norm, 1, abs=1e-6, control=control)

# %% [markdown]
# The library's `global_minimizer` returns such a point, for this loss and for those to come. The theorem
# also says that *no* point lies lower, since nowhere is the objective less than $\psi(\bar t) + c |\bar t|$.
# Ten thousand points around the minimiser, each row moved by something between a thousandth and ten, agree.
# A price only five per cent higher would be too much to claim.


# %%
@torch.no_grad()
def above_bound(model, price):
    """Objective over ψ(t̄) + price |t̄|, the bound that the proof gives at this point."""
    scores = model()
    right = scores.gather(-1, model.labels.expand(scores.shape[:-1])[..., None])
    t = (scores - right).sum(-1).mean(-1)
    return model.objective() / (CrossEntropy().bound(t, K) + price * t.abs())


crowd = random_starts(PROBLEM, 10_000)
steps = torch.logspace(-3, 1, 10_000, dtype=torch.float64)[:, None, None]
crowd.place(best.W + steps * crowd.W.detach(), best.H + steps * crowd.H.detach())
lowest, control = (
    above_bound(crowd, price).min() - 1 for price in (c, c * math.sqrt(K / (K - 1)))
)
claims.check("ufm-global", lowest, above=0, control=control)

# %% [markdown]
# (sec-ufm-threshold)=
# ## The threshold
#
# :::{admonition} Slide check: any global solution?
# :class: warning slide-check
# :name: slide-check-ufm-threshold
# *Geometric Analysis for Unconstrained Features Model II* says that any global solution is neural collapse.
# That needs $Kc < 1$, that is $K^2 n \lambda_W \lambda_H < 1$. From there on, the only global solution is
# zero, where nothing is separated from anything. In the slides' convention, with $\lambda \|\cdot\|^2$ on
# all variables, the condition reads $2 K \sqrt n \, \lambda < 1$.
# :::
#
# At the threshold nothing jumps: by {eq}`eq-margin` the margin runs into zero continuously, with slope $-K$
# in $Kc$. Drag $Kc$ across one. The markers are features found by L-BFGS from a random start, the lines
# from the origin its classifier, the circle is the theorem.


# %% tags=["hide-input"]
def three_classes(kc, **options):
    """A problem of three classes in the plane with a given Kc, and λ_W = 2 λ_H."""
    decay = kc / 3 / math.sqrt(5 * 2)
    return Problem(
        3, 5, dim=2, weight_decay=WeightDecay(2 * decay, decay, decay), **options
    )


def draw_threshold(Kc):
    seed = torch.Generator().manual_seed(3)
    problem = three_classes(Kc)
    model = UnconstrainedFeatures(problem, generator=seed, dtype=torch.float64)
    minimize(model)
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.3))
    radius = float(global_minimizer(problem).H[0].norm())
    left.add_patch(plt.Circle((0, 0), radius, color="0.6", fill=False))
    for k in range(3):
        h = model.H.detach()[model.labels == k]
        left.plot(*h.T, "osD"[k], color=COLOURS[k], markersize=7)
        left.plot(*zip((0, 0), model.W[k].tolist(), strict=True), "-k", lw=1)
    left.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    left.set_title(f"margin {abs(float(model.margin())):.2f}")
    levels = np.linspace(0.02, 1.3, 200)
    curve = [global_minimizer(three_classes(level)).margin for level in levels]
    right.plot(levels, curve, "-", color="0.3")
    right.plot(Kc, float(model.margin()), "o", color=COLOURS[1])
    right.axvline(1, color="0.6", linestyle=":")
    right.set(xlabel="$Kc$", ylabel="margin $a$")
    return fig


def describe_threshold(Kc):
    if Kc >= 1:
        return (
            f"At Kc = {Kc}, all features and the classifier lie at zero, and so "
            "does the curve of the margin on the right."
        )
    margin = global_minimizer(three_classes(Kc)).margin
    return (
        f"At Kc = {Kc}, the features of three classes lie on three points "
        f"of a circle, 120 degrees apart. On the right, the curve of the "
        f"margin falls to zero at Kc = 1; here it is at {margin:.2f}."
    )


explore(
    draw_threshold,
    name="threshold",
    alt=describe_threshold,
    caption="Three classes in the plane. Left: features (markers) and classifier (lines) of the numeric "
    "minimum, and the exact length of the features (circle). Right: the margin, exact (line) and numeric "
    "(dot). At $Kc = 1$ the frame has shrunk to zero.",
    labels={"Kc": "Kc, price of contrast times classes"},
    start={"Kc": 0.3},
    Kc=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.3],
)


# %%
def largest_weight(problem):
    """Largest entry of W at the end of each of 16 starts."""
    found = random_starts(problem, 16)
    minimize(found)
    return found.W.detach().abs().amax((1, 2))


def numeric_margin(kc):
    found = random_starts(three_classes(kc))
    minimize(found)
    return float(found.margin())


above, below = (largest_weight(three_classes(kc)) for kc in (1.1, 0.9))
claims.check("ufm-threshold", above, below=1e-6, control=below)
slope, control = (
    (numeric_margin(kc + 0.02) - numeric_margin(kc)) / 0.02 for kc in (0.97, 0.2)
)
claims.check("ufm-threshold-continuous", slope, -3, rel=0.05, control=control)

# %% [markdown]
# Networks know this failure, too; the last section shows one.
#
# (sec-ufm-relatives)=
# ## Two relatives
#
# *Simplification IV* on the slides lists two models that were studied at the same time. Both bound the
# norms instead of penalising them. The first {cite}`lu2022neural` has one unit vector of scores per
# class and no classifier; the second {cite}`ewojtowytsch2022emergence,fang2021exploring,graf2021dissecting`
# has $\|W\|_F \le 1$ and $\|h_{k,i}\| \le 1$. The same two inequalities solve both. In the first,
#
# $$t_k = (\mathbf 1 - K e_k)^\top h_k \ge -\|\mathbf 1 - K e_k\| = -\sqrt{K(K-1)} ;$$
#
# in the second, $N |\bar t| \le K \|W\|_F \|S\|_F \le K \sqrt{K n^2}$, so $|\bar t| \le \sqrt K$. Equality
# means an ETF both times, with margins $\sqrt{K/(K-1)}$ and $\sqrt K / (K-1)$.

# %%
y, cross_entropy = torch.arange(K), CrossEntropy()


def descend(objective, *variables):
    """Minimise over variables that `objective` normalises itself."""
    solver = torch.optim.LBFGS(
        variables,
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure():
        solver.zero_grad()
        value = objective()
        value.backward()
        return value

    solver.step(closure)
    return objective().item()


def random_variable(*shape):
    sample = torch.randn(shape, generator=generator, dtype=torch.float64)
    return sample.requires_grad_()


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def etf_distance(rows):
    return nc2(unit(rows).detach())


def class_averages(rows):
    return unit(rows).unflatten(0, (K, n)).mean(1)


# %%
h = random_variable(K, K)
before = etf_distance(h)
one = descend(lambda: cross_entropy(unit(h), y), h)

V, u = random_variable(K, 16), random_variable(K * n, 16)
both_before = [etf_distance(V), etf_distance(class_averages(u))]
labels = y.repeat_interleave(n)
bounded = descend(lambda: cross_entropy(unit(u) @ (V / V.norm()).T, labels), u, V)

first, second = one_example_minimizer(K), norm_constrained_minimizer(K, n, dim=16)
ratio, control = one / first.objective, one / second.objective
claims.check("one-example-value", ratio, 1, abs=1e-8, control=control)
claims.check("one-example-etf", etf_distance(h), below=1e-4, control=before)
ratio, control = bounded / second.objective, bounded / first.objective
claims.check("norm-constrained-value", ratio, 1, abs=1e-8, control=control)
both = [etf_distance(V), etf_distance(class_averages(u))]
claims.check("norm-constrained-etf", both, below=1e-4, control=both_before)

# %% [markdown]
# The figure is the same; the size is fixed by decree, so there is no threshold. What these models do not
# say is what happens *on the way*, and weight decay is what one uses in practice. Back to {eq}`eq-ufm`.
#
# (sec-ufm-convex)=
# ## The convex twin
#
# Why did none of the 64 starts get stuck, when the problem is not convex? The loss sees $W$ and $H$ only
# through the scores $Z = H W^\top$ (samples are rows), and it is convex in $Z$. The penalty is on the
# factors, but of all the factors of a given $Z$ only the cheapest matter, and their cost is a known
# convex function: the *nuclear norm* $\|Z\|_*$, the sum of the singular values.
#
# :::{prf:lemma} The cheapest factors
# :label: lem-nuclear
#
# If $d$ is at least the rank of $Z$, then
#
# $$
# \min_{H W^\top = Z} \; \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2
#   = \sqrt{\lambda_W \lambda_H} \; \|Z\|_* .
# $$
# :::
#
# :::{prf:proof}
# Let $Z = U \Sigma V^\top$ be the reduced singular value decomposition. For any factors,
#
# $$
# \|Z\|_* = \langle U V^\top, H W^\top \rangle = \langle U^\top H, V^\top W \rangle
#   \le \|H\|_F \|W\|_F ,
# $$
#
# and $\sqrt{\lambda_W \lambda_H}\,\|W\|_F \|H\|_F$ is at most the left side. With
# $\kappa = (\lambda_H / \lambda_W)^{1/4}$, the factors $W = \kappa V \Sigma^{1/2}$ and
# $H = \kappa^{-1} U \Sigma^{1/2}$, filled up with zero columns, attain it.
# :::
#
# So if $d \ge K$, minimising $f$ over the factors is the same as minimising
#
# $$
# \begin{aligned}
# F(Z, b) = {} & \frac1N \sum_{k,i} \mathcal L(z_{k,i} + b, k) \\
#   & + \sqrt{\lambda_W \lambda_H}\, \|Z\|_* + \frac{\lambda_b}{2} \|b\|^2 ,
# \end{aligned}
# $$ (eq-convex)
#
# which is convex if the loss is. Lecture 004 takes this road to the theorem; slides *IV* to *VII* take it
# to the landscape, which comes next {cite}`zhu2021geometric,haeffele2015global`.
#
# :::{admonition} Slide check: the weight of the nuclear norm
# :class: warning slide-check
# :name: slide-check-ufm-nuclear
# *Geometric Analysis IV* to *VII* pair $\lambda \|(W, H, b)\|^2$ with $\lambda \|Z\|_*$. By the lemma, and
# by the slides' own formula $\|Z\|_* = \min \frac12 (\|W\|_F^2 + \|H\|_F^2)$, the weight must be
# $2\lambda$. One number shows it: at the collapsed minimiser, the twin with $2 \lambda$ has the value of
# the model, the twin with $\lambda$ has only half of its penalty. The two problems on the slide have
# different minima, and different thresholds.
# :::

# %%
slides = 2.5e-3  # the slides' λ: ours is twice that
same = replace(PROBLEM, weight_decay=2 * slides)
point = global_minimizer(same)
Z = point.H @ point.W.T


def twin(weight):
    """The twin's value at Z, with a given weight of the nuclear norm."""
    return cross_entropy(Z, labels) + weight * torch.linalg.matrix_norm(Z, "nuc")


library = convex_objective(same, Z, point.b)
right, slide = twin(2 * slides) / point.objective, twin(slides) / point.objective
ratios = [right, library / point.objective]
claims.check("convex-twin", ratios, 1, abs=1e-9, control=slide)

# %% [markdown]
# (sec-ufm-landscape)=
# ## No place to get stuck
#
# A convex twin alone does not make gradient descent safe. The factored problem has critical points that the
# twin lacks: $W = H = 0$ is one, and so is the best point among those that treat certain classes as one.
# What saves the day is that each of them has a way down.
#
# :::{prf:theorem} Benign landscape
# :label: thm-landscape
#
# Let $\mathcal L$ be convex and twice differentiable in the scores, $\lambda_W, \lambda_H > 0$, and
# $d \ge K$; if $\mathcal L$ does not change when a constant is added to all scores, as for cross-entropy,
# $d \ge K - 1$ is enough. At a critical point $(W, H, b)$ of {eq}`eq-ufm` let
# $G \in \mathbb R^{N \times K}$ be the gradient of the average loss in $Z$, and $\sigma$ its largest
# singular value. Either $\sigma \le \sqrt{\lambda_W \lambda_H}$, and the point is a global minimiser; or
# the Hessian has a negative eigenvalue, at most
#
# $$
# \frac{\lambda_W + \lambda_H}{2} - \sqrt{\frac{(\lambda_W - \lambda_H)^2}{4} + \sigma^2} < 0 .
# $$ (eq-curvature)
# :::
#
# :::{prf:proof}
# Being critical means $G^\top H + \lambda_W W = 0$ and $G W + \lambda_H H = 0$, and that the average loss has
# the gradient $-\lambda_b b$ in $b$. Multiply the first by $W^\top$ from the left and the second by $H^\top$:
#
# $$\lambda_W W^\top W = -W^\top G^\top H = (-H^\top G W)^\top = \lambda_H H^\top H .$$
#
# So $W$ and $H$ have the same null space; and taking traces,
# $-\langle G, Z \rangle = \lambda_W \|W\|_F^2 = \lambda_H \|H\|_F^2$, which is also the sum of the two
# penalties.
#
# *Suppose $\sigma \le \sqrt{\lambda_W \lambda_H}$.* Take any other point, with scores $Z'$ and bias $b'$.
# Its penalties on $W'$ and $H'$ cost at least
# $\sqrt{\lambda_W \lambda_H}\, \|Z'\|_* \ge -\langle G, Z' \rangle$, and its average loss $\ell(Z', b')$ lies
# above its tangent,
#
# $$\ell(Z', b') \ge \ell(Z, b) + \langle G, Z' - Z \rangle - \lambda_b \langle b, b' - b \rangle .$$
#
# Add the two, and $\frac{\lambda_b}{2} \|b'\|^2 \ge \frac{\lambda_b}2 \|b\|^2 + \lambda_b \langle b, b' - b
# \rangle$: the objective there is at least
# $\ell(Z, b) - \langle G, Z \rangle + \frac{\lambda_b}{2} \|b\|^2$, which is the objective here.
#
# *Suppose $\sigma > \sqrt{\lambda_W \lambda_H}$.* First, some dimension is unused: there is a unit vector
# $v$ with $Wv = 0$ and $Hv = 0$. Otherwise $W$ has rank $d$. The two equations together give
# $G^\top G W = -\lambda_H G^\top H = \lambda_W \lambda_H W$, so on the range of $W$ all singular values of
# $G$ are $\sqrt{\lambda_W \lambda_H}$. For $d \ge K$ that range is everything, and $\sigma$ is not larger.
# If the loss ignores constants, the rows of $G$ sum to zero, so $G \mathbf 1 = 0$, and
# $\mathbf 1^\top W = 0$ by the first equation; the rank is at most $K - 1$, and if it is $K - 1$, the range
# is everything but the direction $\mathbf 1$, in which $G$ vanishes. Again $\sigma$ is not larger.
#
# Now let $\xi \in \mathbb R^N$ and $\zeta \in \mathbb R^K$ be unit singular vectors,
# $\xi^\top G \zeta = \sigma$, and move to $W + \varepsilon \cos\theta\, \zeta v^\top$,
# $H - \varepsilon \sin\theta\, \xi v^\top$. The scores change by
# $-\varepsilon^2 \cos\theta \sin\theta\, \xi \zeta^\top$ and by nothing of first order, since the mixed
# terms contain $Wv$ or $Hv$. So the objective changes by
#
# $$
# \frac{\varepsilon^2}{2} \big( \lambda_W \cos^2\theta - 2 \sigma \cos\theta \sin\theta
#   + \lambda_H \sin^2\theta \big) + O(\varepsilon^4) .
# $$
#
# The bracket is a quadratic form in $(\cos\theta, \sin\theta)$ with determinant
# $\lambda_W \lambda_H - \sigma^2 < 0$, and its smaller eigenvalue is {eq}`eq-curvature`.
# :::
#
# The way down is to *start using a new dimension*, for the contrast that the loss misses most.
# Critical points with a direction of negative curvature are called *{term}`strict saddles <strict saddle>`*.
# Gradient descent with a small enough step, started at random, almost surely does not converge to one
# {cite}`lee2016gradient,panageas2017gradient`. The slides state the theorem for $d > K$ and
# {claim}`conjecture that less is enough <landscape-conjecture>`, $d \ge K - 1$; by the argument with
# $G^\top G$ it is.
#
# To see some, merge classes: split the ten into $m$ groups, and treat each group as a single class. The
# calculation of {prf:ref}`thm-ufm` gives a critical point of rank $m - 1$; $m = 1$ is zero.
# `hessian_min_eigenvalue` finds the smallest eigenvalue with Lanczos's method, which needs only products
# of the Hessian with vectors. The Hessian here would have 1 770 rows, and nobody ever writes it down.


# %%
def curvature_bound(model, difference=decay_w - decay_h):
    """Right side of the theorem, from the gradient in the scores."""
    Z = model().detach().requires_grad_()
    (G,) = torch.autograd.grad(cross_entropy(Z, model.labels), Z)
    sigma = float(torch.linalg.matrix_norm(G, 2))
    return (decay_w + decay_h) / 2 - math.hypot(difference / 2, sigma)


def force(model):
    """Norm of the gradient."""
    gradient = torch.autograd.grad(model.objective(), list(model.parameters()))
    return torch.cat([part.flatten() for part in gradient]).norm()


single = random_starts(PROBLEM)
saddles = {m: saddle(single, groups=m) for m in (1, 2, 5)}
curvatures = {m: hessian_min_eigenvalue(point) for m, point in saddles.items()}
for m, curvature in curvatures.items():
    claims.show(f"saddle of rank {m - 1}, smallest eigenvalue", curvature)

# %%
forces, control = [force(point) for point in saddles.values()], []
for m in (2, 5):
    longer = random_starts(PROBLEM)
    longer.place(1.1 * saddles[m].W, 1.1 * saddles[m].H, saddles[m].b)
    control.append(force(longer))
claims.check("saddle-critical", forces, below=1e-12, control=control)

ratios = [curvatures[m] / curvature_bound(point) for m, point in saddles.items()]
control = [curvatures[m] / curvature_bound(point, 0) for m, point in saddles.items()]
claims.check("saddle-curvature", ratios, 1, abs=1e-6, control=control)
curvature = hessian_min_eigenvalue(random_starts(PROBLEM).place(best))
claims.check("minimum-curvature", curvature, above=-1e-9, control=curvatures[2])

# %% [markdown]
# The bound is exact at these points, and it is the same number for all three: to each other, the classes of a
# group are as unseparated as they are at zero. Now let gradient descent start there, pushed by a
# millionth along the direction of negative curvature.

# %%
runs = {}
for m, point in saddles.items():
    _, (dW, dH, db) = hessian_min_eigenpair(point)
    start = random_starts(PROBLEM)
    start.place(point.W + 1e-6 * dW, point.H + 1e-6 * dH, point.b + 1e-6 * db)
    runs[m] = minimize(start, method="gd", lr=4.0, steps=3000, every=5)

still = minimize(saddle(single), method="gd", lr=4.0, steps=3000)
ends = [run["objective"][-1] / value for run in runs.values()]
control = still["objective"][-1] / value
claims.check("saddle-escape", ends, 1, abs=1e-6, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-escape", "caption": "Gradient descent from three saddles, pushed by a millionth. The objective stays at the saddle's level until the unused dimension has grown, then falls to the global minimum. All three leave at the same time, since the curvature is the same."}, "image": {"alt": "Objective against iteration. Three curves, drawn with different dashes, run along plateaus at 2.3, 1.9 and 1.25 for about 150 iterations, then drop together below 0.8 within some thirty iterations and creep down to one thin line at 0.72, the global minimum."}}
fig, ax = plt.subplots()
for m, style in zip(saddles, ["-", "--", ":"], strict=True):
    label = f"{m} group{'s' if m > 1 else ''}, rank {m - 1}"
    ax.plot(runs[m].steps, runs[m]["objective"], style, label=label)
ax.axhline(value, color="0.2", linestyle="-", linewidth=0.8)
ax.text(2, value + 0.03, "global minimum", fontsize="small")
ax.set(xlim=(0, 300), xlabel="iteration", ylabel="objective")
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: "will always learn"
# :class: warning slide-check
# :name: slide-check-ufm-always
# *Geometric Analysis VIII* sums up: {claim}`iterative algorithms will always learn neural collapse
# <always-learn-collapse>`. Two phrases promise too much. *Always*: not from a saddle itself, where gradient
# descent has nowhere to go, but from almost every start, with small steps. *Learn neural collapse*: only for
# $Kc < 1$. And the theorem is about free features; a network is a different problem.
# :::
#
# With $d = K - 1$ an ETF just fits. No start gets stuck there either.


# %%
def all_ends(problem):
    """Objectives at the end of 64 starts."""
    found = random_starts(problem, 64)
    minimize(found)
    return found.objective()


fits, tight = (all_ends(replace(PROBLEM, dim=dim)) / value for dim in (K - 1, K - 2))
claims.check("tight-dimension", fits, 1, abs=1e-8, control=tight)
corner = saddle(random_starts(replace(PROBLEM, dim=K - 1)), groups=5)
curvature = hessian_min_eigenvalue(corner)
ratio, control = (
    curvature / curvature_bound(corner),
    curvature / curvature_bound(corner, 0),
)
claims.check("tight-curvature", ratio, 1, abs=1e-6, control=control)

# %% [markdown]
# (sec-ufm-losses)=
# ## All losses, one geometry?
#
# Is any of this special to cross-entropy? Two popular variants change what is asked of the scores $z$, with
# $p = \operatorname{softmax}(z)$ and $\mathrm{CE} = -\log p_k$. *Label smoothing* mixes the
# label with the uniform distribution {cite}`szegedy2016rethinking`; *focal loss* turns down the samples
# that are classified well {cite}`lin2017focal`:
#
# $$
# \mathcal L_{\mathrm{LS}} = (1 - \alpha)\, \mathrm{CE} - \frac{\alpha}{K} \sum_j \log p_j , \qquad
# \mathcal L_{\mathrm{FL}} = (1 - p_k)^\gamma \, \mathrm{CE} .
# $$
#
# *Squared error*, $\mathcal L_{\mathrm{MSE}} = \frac12 \|z - e_k\|^2$, wants the scores to *be* the one-hot
# label. Rescaled, it is {claim}`on par with cross-entropy, slightly worse in vision and slightly better in
# language <rescaled-mse-on-par>` {cite}`hui2021evaluation`.
#
# Read the proof of {prf:ref}`thm-ufm` again. The penalty never heard of the loss. From the loss it used
# that $\mathcal L \ge \psi(t)$ with equality at equal wrong scores, that averages of $\psi$ are at least
# $\psi$ of the average, and at the end one scalar problem, $\min_t \psi(t) + c |t|$. Hence a definition.
#
# :::{prf:definition} Contrastive property
# :label: def-contrastive
#
# A loss is contrastive {cite}`zhou2022losses` if there is a function $\psi$ of the contrast
# {eq}`eq-contrast` such that (1) $\mathcal L(z, k) \ge \psi(t)$, with equality only if all wrong scores are
# equal; and (2) for every $c > 0$, $\psi(t) + c|t|$ has a unique minimiser $t^\star$, and $t^\star \le 0$.
# :::
#
# With a convex $\psi$ our proof carries over, *if the bound is attained*: for cross-entropy and its two
# variants equal wrong scores are enough for $\mathcal L = \psi(t)$, while squared error also fixes the sum
# of the scores, which takes a free bias. Then (2) stands in for "$\psi$ increases", and the figure is an
# ETF whenever $t^\star < 0$. (The slide says that $t^\star \le 0$ ensures a correct prediction. At
# $t^\star = 0$ it is a tie: the silent threshold again.)
#
# Label smoothing first. Since $\log p_j = \log p_k + (z_j - z_k)$, it equals
# $\mathrm{CE} - \frac\alpha K t$. So $\psi_{\mathrm{LS}} = \psi_{\mathrm{CE}} - \frac{\alpha}{K} t$ is
# still convex, and for $t \le 0$ smoothing is nothing but a surcharge on contrast: replace $c$ by
# $c + \frac\alpha K$ in {eq}`eq-margin`. The threshold becomes $\alpha + Kc < 1$.
#
# Focal loss is an increasing function of cross-entropy, $\mathrm{FL} = \varphi(\mathrm{CE})$ with
# $\varphi(x) = (1 - e^{-x})^\gamma x$, so (1) holds with
# $\psi_{\mathrm{FL}} = \varphi \circ \psi_{\mathrm{CE}}$. If it is contrastive, its margin is the root of
# $\psi_{\mathrm{FL}}'(-(K-1)a) = c$, or zero if there is none: no closed form, but one scalar equation.
# Whether it is, we come back to.
#
# Now compare. For squared error we let the bias be free, $\lambda_b = 0$; the section after next says why.

# %%
LOSSES = {
    "CE": CrossEntropy(),
    "FL": FocalLoss(3.0),
    "LS": LabelSmoothing(0.1),
    "MSE": SquaredError(),
}
scores = torch.zeros(2, 1, K, dtype=torch.float64)
scores[0, 0, 0], scores[1, 0, 1] = 5.0, 5.0  # a sample of class 0: easy, hard
zero = torch.tensor([0])
easy, hard = LOSSES["FL"](scores, zero) / LOSSES["CE"](scores, zero)
claims.check("focal-focus", hard / easy, above=1000)

# %%
free_bias = replace(PROBLEM, weight_decay=WeightDecay(decay_w, decay_h))
minima, found, dearer = {}, {}, {}
for label, loss in LOSSES.items():
    problem = replace(free_bias, loss=loss)
    minima[label] = global_minimizer(problem)
    dearer[label] = global_minimizer(replace(problem, nonnegative=True))
    found[label] = random_starts(problem, 16)
    minimize(found[label])
claims.show("margins of CE, FL, LS, MSE", [exact.margin for exact in minima.values()])


# %%
def over(exact, measure):
    """What was found over a field of the minimisers, all losses and starts together."""
    fields = [getattr(exact[label], measure) for label in found]
    measured = [getattr(run, measure)() for run in found.values()]
    return torch.stack(measured) / torch.tensor(fields, dtype=torch.float64)[:, None]


for_value, for_margin = over(dearer, "objective"), over(dearer, "margin")
claims.check("losses-value", over(minima, "objective"), 1, abs=1e-8, control=for_value)
claims.check("losses-margin", over(minima, "margin"), 1, abs=1e-6, control=for_margin)

without = random_starts(replace(PROBLEM, loss=SquaredError(), bias=False))
minimize(without)
angles = torch.stack([class_cosines(run) for run in found.values()])
control = class_cosines(without)
claims.check("losses-cosines", angles, -1 / 9, abs=1e-6, control=control)

smoothed, control = found["LS"].margin(), found["CE"].margin()
expected = math.log(1 / (0.1 / K + c) - (K - 1))
claims.check("label-smoothing-margin", smoothed, expected, abs=1e-5, control=control)

# %% [markdown]
# Four losses, one figure; only its size differs. The slides conclude that a large network, trained for
# long, learns largely identical features with any of them, and performs alike. For the features, two
# conditions deserve to be spelled out. The first is hidden in the word *unique*.
#
# (sec-ufm-focal)=
# ### Where focal loss lets go
#
# :::{admonition} Slide check: "CE, FL and LS all satisfy the contrastive property"
# :class: warning slide-check
# :name: slide-check-ufm-focal
# *Are All Loses Created Equal? II*. True for CE and LS. Focal loss fails condition (2) when there are many
# classes: with $\gamma = 3$ from $K = 18$ on. With so many classes, what the slide concludes from it survives
# as long as $Kc < 1$.
# :::
#
# What happens? Where a sample is badly wrong, $p_k \approx 0$, focal loss is just cross-entropy; where it
# is right, it is much flatter. On the way from one to the other its slope overshoots: $\psi_{\mathrm{FL}}$ is
# convex first, then concave.
#
# :::{prf:lemma} Where focal loss is convex
# :label: lem-focal
#
# As a function of $t$, $\psi_{\mathrm{FL}}$ with $\gamma > 0$ is convex where $\mathrm{CE} \le x^\star$ and
# concave beyond, and $x^\star$, which depends on $\gamma$ only, is the root of
#
# $$x \Big( 1 - \frac{\gamma}{e^x - 1} \Big) = 2 + \frac1\gamma .$$
#
# Condition (2) holds if and only if $\log K \le x^\star$.
# :::
#
# :::{prf:proof}
# Put $u = t/(K-1)$ and $x = \log(1 + (K-1)e^u)$, the cross-entropy. With $p = e^{-x}$ and $r = 1 - p$ one
# finds $x' = r$ and $x'' = pr$. Differentiating $\varphi(x) = r^\gamma x$ twice along $u$ gives
#
# $$
# \begin{aligned}
# \frac{\mathrm d^2 \psi_{\mathrm{FL}}}{\mathrm d u^2}
#   &= \varphi''(x)\, r^2 + \varphi'(x)\, p r \\
#   &= p\, r^{\gamma} \big( (1 + 2\gamma)\, r - \gamma x\, (r - \gamma p) \big) .
# \end{aligned}
# $$
#
# The bracket is non-negative if and only if $x (1 - \gamma p / r) \le 2 + \frac1\gamma$, and
# $p/r = 1/(e^x - 1)$. As $x/(e^x - 1)$ falls with $x$, the left side increases, so there is one root.
#
# On $t \le 0$ the cross-entropy goes from 0 up to $\log K$. If $\log K \le x^\star$, $\psi$ is strictly
# convex there, so $\psi(t) + c|t|$ has one minimiser on $t \le 0$; for $t > 0$ both terms grow. If
# $\log K > x^\star$, $\psi$ is concave just before $t = 0$, and the line through $(0, \psi(0))$ that
# touches the convex part from below, at some $t_1 < 0$, has a slope $c^\star$ for which $t_1$ and $0$ are
# both minimisers.
# :::
#
# So when $c$ reaches the critical $c^\star$, the best margin does not run into zero, as that of cross-entropy
# does: it jumps.

# %%
focal = FocalLoss(3.0)
focal_check = check_contrastive(focal, num_classes=100)
thousand = {
    label: check_contrastive(loss, 1000).holds for label, loss in LOSSES.items()
}
both = [thousand["CE"], thousand["LS"]]
claims.check("contrastive-ce-ls", both, control=thousand["FL"])
control = check_contrastive(focal, 10).holds
claims.check("contrastive-focal", focal_check.holds, False, control=control)

z = 3 * torch.randn(4096, 1, 100, generator=generator, dtype=torch.float64)
losses, t = focal(z, zero), (z - z[..., :1]).sum(-1)[:, 0]
gap, control = ((losses - loss.bound(t, 100)).min() for loss in (focal, CrossEntropy()))
claims.check("focal-lower-bound", gap, above=-1e-12, control=control)


# %%
def first_concave(loss):
    """Smallest number of classes for which ψ bends down at t = 0."""
    for num_classes in range(2, 200):
        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        psi = loss.bound(t, num_classes)
        (slope,) = torch.autograd.grad(psi, t, create_graph=True)
        if torch.autograd.grad(slope, t)[0] < 0:
            return num_classes


first, control = (first_concave(FocalLoss(gamma)) for gamma in (3.0, 1.0))
claims.check("contrastive-focal-first", first, 18, control=control)
gammas = [0.5, 1, 2, 5]
firsts = [check_contrastive(FocalLoss(gamma), 100).first_failure for gamma in gammas]
claims.table([f"γ = {gamma:g}" for gamma in gammas], {"fails from K =": firsts})

# %% [markdown]
# Is the jump real, or an artefact of looking at $\psi$ alone? Where $\psi$ is concave, averages of $\psi$
# can be less than $\psi$ of the average. *Without a bias* there is a way around. Give every sample the sign
# $\epsilon_{k,i}$ of its contrast, and repeat the bound on the price with the sums
# $\sum_i \epsilon_{k,i} h_{k,i}$ in place of $s_k$: what comes out is that the penalties are at least $c$
# times the average of $|t_{k,i}|$. Therefore
#
# $$
# f \ge \frac1N \sum_{k,i} \big( \psi(t_{k,i}) + c\, |t_{k,i}| \big)
#   \ge \min_{t \le 0} \psi(t) + c\, |t| ,
# $$
#
# and the jump is that of the global minimum. *With a bias* there is another way, for $c < \frac1{K-1}$.
# From where $\psi$, still convex, has reached the slope $\frac1{K-1}$, its slope stays above that value,
# which is also its limit. So bend $\psi$ down to its tangent from there on: the new function is convex,
# nowhere above $\psi$, and has the same minimum with $c|t|$, and the old proof applies to it. For
# $c \ge \frac1{K-1}$, where the jump is, we know no proof with a bias, and no counterexample.
#
# The solver can look for itself, from two kinds of starts: random ones, and the collapsed solution for a
# smaller $c$.


# %%
def hundred_classes(price, **options):
    options |= {"weight_decay": price, "loss": focal, "bias": False}
    return Problem(100, 1, dim=100, **options)


relative = [0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.02, 1.1]
levels = [factor * focal_check.critical_c for factor in relative]
smaller = global_minimizer(hundred_classes(levels[0]))
margins, objectives = {"random": [], "collapsed": []}, {"random": [], "collapsed": []}
for price in levels:
    for kind in margins:
        run = random_starts(hundred_classes(price))
        if kind == "collapsed":
            run.place(smaller)
        minimize(run)
        margins[kind].append(float(run.margin()))
        objectives[kind].append(run.objective().item())

# %%
lowest = np.minimum(objectives["random"], objectives["collapsed"])


def closed_forms(**options):
    problems = [hundred_classes(price, **options) for price in levels]
    return [global_minimizer(problem).objective for problem in problems]


ratios, control = lowest / closed_forms(), lowest / closed_forms(nonnegative=True)
pays = np.array(relative) < 1  # beyond, both minimisers are zero
claims.check("focal-minimum", ratios, 1, abs=1e-6, control=control[pays])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-focal", "caption": "Focal loss with $\\gamma = 3$, 100 classes, one sample each, no bias. Left: the scalar problem at three prices; at the critical one it has two minima of equal value (dots). Right: the margin of the global minimum against the price. Cross-entropy with as many classes runs into zero; focal loss jumps, and around the jump the solver finds one minimum or the other, depending on its start."}, "image": {"alt": "Left, three curves over the margin. At the critical price there is a low hump between margin zero and a second minimum near 2.4, equally low; above it the curve only rises, below it the second minimum is the lower one. Right, the margin of focal loss falls from 3.7 to 2.4 and drops to zero at the critical price; circles for collapsed starts stay on the upper branch even slightly beyond, crosses for random starts lie at zero already slightly before; the dashed curve of cross-entropy falls to zero continuously at 0.85."}}
a_grid = torch.linspace(0, 4, 300, dtype=torch.float64)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.6))
for factor, style in [(1.05, "--"), (1, "-"), (0.95, ":")]:
    price = factor * focal_check.critical_c
    curve = focal.bound(-99 * a_grid, 100) + price * 99 * a_grid
    label = f"{factor:g} $c^\\star$"
    left.plot(a_grid, curve, style, color=COLOURS[0], label=label)
for margin in (0.0, focal_check.critical_margin):
    left.plot(margin, focal.bound(0.0, 100), "o", color="0.2")
left.set(xlabel="margin $a$", title=r"$\psi_{\mathrm{FL}}(t) + c\,|t|$")
left.legend(title="$c =$", fontsize="small")

prices = np.linspace(0.55, 1.15, 241)
kinds = {"focal loss": (focal, "-"), "cross-entropy": (CrossEntropy(), "--")}
for label, (loss, style) in kinds.items():
    curve = np.array([loss.margin(p * focal_check.critical_c, 100) for p in prices])
    curve[1:][np.abs(np.diff(curve)) > 1] = np.nan  # do not draw the jump
    right.plot(prices, curve, style, label=label)
for kind, marker, colour in [("random", "x", COLOURS[1]), ("collapsed", "o", "0.2")]:
    style = {"color": colour, "fillstyle": "none", "label": f"FL from {kind} start"}
    right.plot(relative, margins[kind], marker, **style)
right.axvline(1, color="0.6", linestyle=":")
right.set(xlabel="$c / c^\\star$", title="margin of the minimum")
handles = right.get_legend_handles_labels()
fig.legend(*handles, loc="outside lower center", ncols=4, fontsize="small")
plt.show()

# %%
at = {factor: place for place, factor in enumerate(relative)}
collapsed, random = (np.array(margins[kind]) for kind in ("collapsed", "random"))
before, beyond = at[0.98], at[1.02]
both, control = collapsed[[before, beyond]], abs(random[[before, beyond]])
claims.check("focal-upper-branch", both, above=2, control=control)
spurious, control = abs(random[before]), collapsed[before]
claims.check("focal-spurious", spurious, below=1e-3, control=control)
gains = float(focal.bound(0.0, 100)) - np.array(objectives["collapsed"])
claims.check("focal-jump", gains[before], above=0.03, control=gains[beyond])

# %% [markdown]
# So more is lost than continuity. At $0.98\,c^\star$ the global minimum is collapsed, yet the random start
# ended at zero, and there zero is a genuine *local minimum*: {prf:ref}`thm-landscape` needs a convex loss.
#
# Should you mind? All of this happens at $Kc > 1$. Where $\psi$ is concave at zero, its slope there is
# above its limit $\frac{1}{K-1}$, and $c^\star$ is larger still: cross-entropy has given up before. So with
# that many classes the global minimum of focal loss is collapsed wherever that of cross-entropy is. (That it
# has no other local minima {prf:ref}`thm-landscape` does not say, as it needs a convex loss.) What is wrong
# on the slide is the statement; with a practical weight decay the conclusion stands.
#
# With few classes it can be the other way round. If $\log K \le x^\star$, then $\psi$ is convex on
# $t \le 0$, and zero is the minimum from $c = \psi'(0)$ on, that is from $Kc = \varphi'(\log K)$. For
# $\gamma = 3$ this is 0.385 with two classes, 0.785 with three, and 1.007 with four: with two or three
# classes focal loss gives up before cross-entropy does. (So does label smoothing, at $\alpha + Kc = 1$.)

# %%
edge = focal.slope(math.log(3)) * 3 / 2
claims.show("for three classes, φ'(log 3)", edge, digits=3)
beyond, before = (
    largest_weight(three_classes(factor * edge, loss=focal)) for factor in (1.01, 0.99)
)
claims.check("focal-threshold", beyond, below=1e-6, control=before)

# %% [markdown]
# (sec-ufm-mse)=
# ## Squared error: a figure in between
#
# The second condition behind "one geometry" is the bias. We let it be free, $\lambda_b = 0$, and squared
# error gave an ETF. That is not what it gives in general. One-hot labels have a mean, $\frac1K \mathbf 1$,
# and something has to produce it: either the bias, or the features, by tilting the ETF towards a common
# direction. The prices decide.
#
# :::{prf:theorem} Squared error
# :label: thm-mse
#
# Let $\mathcal L = \frac12 \|z - e_k\|^2$ and $d \ge K$. If $Kc < 1$, the minimiser has $H W^\top$ with the
# rows $a \big( e_k - \frac1K \mathbf 1 \big) + \frac{\tau}{K} \mathbf 1$, repeated $n$ times, with
# $a = 1 - Kc$, and
#
# - without a bias: $\tau = 1 - Kc$. Class means and classifier are *{term}`orthogonal frames <orthogonal frame>`*
#   {cite}`tirer2022extended`;
# - with $\lambda_b \le \frac{Kc}{1 - Kc}$: $\tau = 0$ and $b = \frac{1}{K (1 + \lambda_b)} \mathbf 1$. Both
#   are simplex ETFs;
# - with $\lambda_b > \frac{Kc}{1-Kc}$: $\tau = 1 - Kc - \frac{Kc}{\lambda_b}$ and
#   $b = \frac{c}{\lambda_b} \mathbf 1$. The cosine between two class means is
#   $\frac{\tau - a}{\tau + (K-1) a}$: the frame moves continuously from the ETF to the orthogonal frame.
#
# If $Kc \ge 1$, $W = H = 0$, and the bias, if there is one, is as in the second case.
# :::
#
# :::{prf:proof}
# The twin {eq}`eq-convex` is convex, and nothing in it changes when classes are renamed or samples of one
# class exchanged. So the average of a minimiser over all renamings and exchanges is a minimiser as well,
# and it has the stated form with some $a$ and $\tau$, and $b = \beta \mathbf 1$. (Squared error is strictly
# convex in the scores, so with a penalised bias, or none, there is no other; with a free one, moving a
# common vector from $b$ into $Z$ would only add to $\|Z\|_*$.) The singular values of $Z$ are
# $\sqrt n\, |a|$, $K - 1$ times, and $\sqrt n\, |\tau|$. With $\mu = \frac\tau K + \beta$, the average of
# the scores, the twin is, up to a constant,
#
# $$
# \begin{aligned}
# & \underbrace{\frac{K-1}{2K} (a - 1)^2 + c\,(K-1) |a|}_{\text{shape}} \\
# & \quad + \underbrace{\frac K2 \Big( \mu - \frac1K \Big)^2 + c\, |\tau|
#   + \frac{\lambda_b}2 K \beta^2}_{\text{mean}} .
# \end{aligned}
# $$
#
# The shape wants $a = 1 - Kc$, or zero if that is negative. In the mean, $\tau$ and $\beta$ share the work.
# To raise $\mu$ a little through $\tau$ costs $Kc$ per unit; through $\beta$ it costs $\lambda_b K \beta$.
# So as long as $\lambda_b \beta \le c$ the bias works alone, and
# $K(\beta - \frac1K) + \lambda_b K \beta = 0$, which is the second case; it ends where
# $\frac{\lambda_b}{K(1+\lambda_b)} = c$. Beyond, $\beta = \frac c{\lambda_b}$ stays at that price, and
# $K (\mu - \frac1K) + Kc = 0$ gives $\tau$. Without a bias $\beta = 0$.
#
# A minimiser is balanced, as in the proof of {prf:ref}`thm-landscape`:
# $\lambda_W W^\top W = \lambda_H H^\top H$. Hence $(H H^\top)^2 = \frac{\lambda_W}{\lambda_H} Z Z^\top$, so
# that the Gram matrix of the class means is that of the class scores up to scale,
# $a P + \frac{\tau}{K} \mathbf 1 \mathbf 1^\top$, which gives the cosine.
# :::

# %%
kc = 0.3
decay = kc / 4 / math.sqrt(5)  # λ_W = λ_H
edge = kc / (1 - kc)
squared = Problem(4, 5, dim=6, weight_decay=decay, loss=SquaredError(), bias=False)


def mean_cosines(problem):
    """Minimise from a random start, and return the model and all cosines of its means."""
    found = random_starts(problem)
    minimize(found)
    means = unit(found.H.detach()[::5])
    return found, (means @ means.T)[~torch.eye(4, dtype=torch.bool)]


biases = torch.tensor([0.05, 0.2, 0.4, 0.6, 1, 2, 5, 20, 100])
measured = []
for decay_b in biases.tolist():
    penalised = replace(
        squared, bias=True, weight_decay=WeightDecay(decay, decay, decay_b)
    )
    measured.append(mean_cosines(penalised)[1])
measured = torch.stack(measured)

# %%
shape, tau = 1 - kc, (1 - kc - kc / biases).clamp_min(0)
predicted = (tau - shape) / (tau + 3 * shape)
difference, control = measured.T - predicted, measured[biases > edge] + 1 / 3
claims.check("mse-frames", difference, 0, abs=1e-6, control=control)
cheap, expensive = measured[biases < edge], measured[biases > edge]
claims.check("mse-etf", cheap, -1 / 3, abs=1e-6, control=expensive)

no_bias, cosines = mean_cosines(squared)
claims.check("mse-orthogonal", cosines, 0, abs=1e-6, control=measured[0])
Y = torch.eye(4).repeat_interleave(5, 0)
difference, control = ((no_bias() - (1 - x) * Y).norm() for x in (kc, kc / 4))
claims.check("mse-scores", difference, 0, abs=1e-6, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mse", "caption": "Squared error with four classes and $Kc = 0.3$: cosine between class means against the weight decay of the bias. Line: {prf:ref}`thm-mse`; dots: L-BFGS. Up to the dotted line the frame is an ETF, far to the right it is orthogonal."}, "image": {"alt": "Cosine against bias weight decay on a logarithmic axis. The curve is flat at minus one third up to 0.43, then rises smoothly towards zero, which it has nearly reached at 100; nine dots lie on it."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
grid = np.logspace(-1.5, 2.3, 300)
tau = np.maximum(0, 1 - kc - kc / grid)
ax.plot(grid, (tau - 1 + kc) / (tau + 3 * (1 - kc)), "-", color="0.3")
ax.plot(biases, measured[:, 0], "o", color=COLOURS[1])
ax.axvline(edge, color="0.6", linestyle=":")
ax.text(0.04, -0.315, "simplex ETF", fontsize="small")
ax.text(55, -0.06, "orthogonal", fontsize="small")
ax.set(xscale="log", xlabel=r"weight decay of the bias, $\lambda_b$")
ax.set_ylabel("cosine")
plt.show()

# %% [markdown]
# :::{admonition} Slide check: "almost the same features"
# :class: warning slide-check
# :name: slide-check-ufm-losses
# *Are All Loses Created Equal? III* says that CE, FL, LS and MSE lead to (almost) the same features and
# classifiers, for $d \ge K - 1$; lecture 004 says that the free model has the ETF for both cross-entropy
# and squared error, and writes $Z = W H$ without a bias. For squared error this hinges on the bias. Without
# one the frame is orthogonal, and needs $d \ge K$; with a cheap one it is an ETF. *Centred*, all these
# class means are the same ETF. That is why NC2 of the means, which centres them, cannot tell them apart.
# :::
#
# (sec-ufm-positive)=
# ## Positive features
#
# Features that come out of a ReLU are not free: they cannot be negative. Lecture 004 adds this constraint,
# $H \ge 0$, and calls the result the unconstrained *positive* features model. An ETF around zero is now
# impossible, as its cosines are negative. What takes its place? The proof of {prf:ref}`thm-ufm` tells, if we
# look at the one step in it that got weaker.
#
# :::{prf:theorem} Positive features
# :label: thm-positive
#
# Let $d \ge K$, and $c_+ = c \sqrt{K/(K-1)}$. Under the constraint $H \ge 0$ the minimum with cross-entropy
# is that of {prf:ref}`thm-ufm` with $c_+$ in place of $c$. If $K c_+ \ge 1$, only $W = H = 0$ attains it.
# If $K c_+ < 1$, the minimisers have margin $a = \log\big(\frac{1}{c_+} - (K-1)\big)$; features of a class
# are equal; the class means are *orthogonal* and of one length; and $W$ is a simplex ETF, a multiple of the
# *centred* class means. The bias is as there. (For $K = 2$, lengths and bias need $\lambda_b > 0$, or no
# bias at all.)
# :::
#
# :::{prf:proof}
# The bound on the price used $\|PS\|_F \le \|S\|_F$. Now
# $\|PS\|_F^2 = \sum_k \|s_k\|^2 - \frac1K \big\| \sum_k s_k \big\|^2$, and as the $s_k$ have no negative
# entries, no inner product between them is negative: $\| \sum_k s_k \|^2 \ge \sum_k \|s_k\|^2$. So
#
# $$\|PS\|_F^2 \le \Big( 1 - \frac1K \Big) \|S\|_F^2 ,$$
#
# and the price of contrast rises from $c$ to $c_+$. The value follows as before, and so does the case
# $K c_+ \ge 1$. Otherwise equality says that the class sums are orthogonal, and that $W = \rho P M$. Then
# the score of class $k$ exceeds that of class $j$ by
#
# $$\rho \langle \bar h_k - \bar h_j, \bar h_k \rangle + b_k - b_j = \rho \|\bar h_k\|^2 + b_k - b_j ,$$
#
# which must be $a$ for all $j \ne k$. With three classes or more this makes all $b_j$ equal; with two, a
# penalty on the bias does. So the lengths agree. Conversely, $\bar h_k = \eta\, e_k$ in the first $K$
# coordinates, with $\rho \eta^2 = a$ and $\lambda_W \rho^2 (K-1) = \lambda_H n K$, attains the bound.
# :::
#
# Centring is no accident of bookkeeping, then. Positive features have the geometry of an orthogonal frame,
# and its centred version is the ETF that NC2 measures and NC3 finds in $W$. The threshold comes a little
# earlier, at $Kc = \sqrt{(K-1)/K}$. Of cross-entropy the proof used (1), (2), convexity, and that equal
# wrong scores attain the bound; so it covers label smoothing, too. (Lecture 004 proves the theorem by
# another road, {claim}`a tight convex relaxation over a larger matrix <positive-relaxation>`.)

# %%
positive_problem = replace(PROBLEM, dim=40, nonnegative=True)
positive = random_starts(positive_problem, 64)
minimize(positive)
c_plus = c * math.sqrt(K / (K - 1))
a_plus, lowest = theorem(c_plus)

heights = positive.objective().detach()
winner = heights.argmin()
least = heights[winner]
claims.check("positive-lowest", least / lowest, 1, abs=1e-8, control=least / value)
claims.check("positive-margin", positive.margin()[winner], a_plus, abs=1e-6, control=a)

# %%
W_positive, H_positive = positive.W[winner].detach(), positive.H[winner].detach()
statistics = ClassStatistics.from_features(H_positive, positive.labels)
cosines, control = class_cosines(positive)[winner], class_cosines(model)[0]
claims.check("positive-orthogonal", cosines, 0, abs=1e-6, control=control)
centred, control = nc2(statistics.centred_means), nc2(statistics.means)
claims.check("positive-centred", centred, below=1e-6, control=control)
control = nc2(without.W.detach())
claims.check("positive-classifier", nc2(W_positive), below=1e-6, control=control)
duality, control = (nc3(W_positive, statistics.means.roll(i, 0)) for i in (0, 1))
claims.check("positive-duality", duality, below=1e-6, control=control)


# %%
def size_at(kc, nonnegative):
    """Norm of W at the lowest of eight starts, with λ_W = λ_H = λ_b."""
    weight_decay = kc / K / math.sqrt(n)
    options = {"weight_decay": weight_decay, "nonnegative": nonnegative}
    found = random_starts(replace(positive_problem, **options), 8)
    minimize(found)
    return found.W[found.objective().argmin()].norm()


below, above = size_at(0.93, nonnegative=True), size_at(0.97, nonnegative=True)
claims.check("positive-threshold-below", below, above=1.5, control=above)
control = size_at(0.97, nonnegative=False)
claims.check("positive-threshold-above", above, below=1e-6, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-positive", "caption": "Cosines between the vectors of ten classes, measured at the minimum. Free features and their classifier form an ETF. Positive class means are orthogonal; centred, they are an ETF again, and so is their classifier."}, "image": {"alt": "Four heat maps of ten by ten cosines, with ones on the diagonal and the value of all others written in: minus 0.11 for free class means, zero for positive class means, minus 0.11 again for these after centring and for their classifier."}}
free_means = model.H[0].detach()[::n]
vectors = {
    "free means": free_means,
    "positive means": statistics.means,
    "… centred": statistics.centred_means,
    "… classifier": W_positive,
}
fig, axes = plt.subplots(1, 4, figsize=(7.5, 2.3))
for ax, (title, rows) in zip(axes, vectors.items(), strict=True):
    gram = unit(rows) @ unit(rows).T
    picture = ax.imshow(gram, vmin=-0.3, vmax=0.3)
    ax.text(6.5, 2.5, f"{gram[0, 1] + 0.0:.2f}", ha="center", va="center")
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
fig.colorbar(picture, ax=axes, shrink=0.8, extend="max")
plt.show()

# %% [markdown]
# The constraint costs more than the angles. The product form of the problem was harmless because an unused
# dimension always offered a way down; with $H \ge 0$ that way may be barred. With stronger weight decay and
# little room, many random starts end higher up. Look at the shortest class mean in each of them.

# %%
narrow = replace(PROBLEM, weight_decay=0.75 / K / math.sqrt(n), nonnegative=True)


def stuck_share(problem):
    """Share of 64 starts that end above the global minimum; also the model and which."""
    found = random_starts(problem, 64)
    minimize(found)
    least = global_minimizer(problem).objective
    stuck = found.objective().detach() > (1 + 1e-6) * least
    return stuck.double().mean(), found, stuck


share, crowded, stuck = stuck_share(narrow)
control, *_ = stuck_share(replace(narrow, nonnegative=False))
claims.check("positive-stuck", share, above=0.3, control=control)
lengths = crowded.H.detach()[:, ::n].norm(dim=-1).amin(-1)
claims.check("positive-dead-class", lengths[stuck], below=1e-6, control=lengths[~stuck])
exact = global_minimizer(narrow)
used, control = ((H > 1e-9).any(-2).double().mean(-1) for H in (crowded.H, exact.H))
claims.check("positive-no-room", used[stuck], 1, control=control)


# %%
@torch.no_grad()
def change_after_nudge(model):
    """Push every variable a little, let the model go on; return the objective's change."""
    before = model.objective()
    for variable in model.parameters():
        normal = torch.randn(variable.shape, generator=generator, dtype=variable.dtype)
        variable += 1e-5 * normal
    if model.problem.nonnegative:
        model.H.clamp_(min=0)
    minimize(model)
    return model.objective() - before


change = change_after_nudge(crowded)[stuck]
free_saddle = saddle(random_starts(replace(narrow, nonnegative=False)), groups=5)
control = change_after_nudge(free_saddle)
claims.check("positive-local-minima", change, 0, abs=1e-9, control=control)

# %% [markdown]
# In each of them a class has died: its features are zero, and its bias does what it can. Nudged, they come
# back to the same value, as local minima do. Positive class means are orthogonal only if no two of them use
# the same coordinate: {claim}`each coordinate belongs to one class <positive-coordinates>`. One that no other
# class uses would offer the dead class a way up, and all of them are taken. In the free model any direction
# orthogonal to the others will do, and nine classes in sixteen dimensions leave plenty.
#
# (sec-ufm-networks)=
# ## Back to networks
#
# The model predicts that the choice of the loss does not matter for the geometry. The slides conclude
# further that it does not matter for the test error either, if the network is large and trained for long.
# Try both: train the multilayer perceptron of [Neural collapse](neural_collapse.ipynb) on the digits, with
# each of the four losses, and once more without weight decay, to see what the measures are when nothing
# drives the features together. (`DATASET` and `SCALE` are switches, as there.)

# %%
DATASET, SCALE = "digits", 1
# The claims below were measured with these settings; elsewhere they only report.
claims.strict(DATASET == "digits" and SCALE == 1)
DEVICE = default_device()

train_set, test_set = load_standardized(DATASET, device=DEVICE)
x_train, y_train = train_set.inputs, train_set.labels
x_test, y_test = test_set.inputs, test_set.labels


def statistics_of(net):
    return ClassStatistics.from_features(net.features(x_train), y_train)


metrics = {
    "NC1": lambda net: nc1(net.features(x_train), y_train),
    "NC2": lambda net: nc2(statistics_of(net).centred_means),
    "NC3": lambda net: nc3(net.head.weight, statistics_of(net).means),
    "train": lambda net: accuracy(net, x_train, y_train),
    "test": lambda net: accuracy(net, x_test, y_test),
}

# %%
EPOCHS = 480 if DATASET == "digits" else 150
WIDTHS = [x_train[0].numel(), *[100 * SCALE] * 5, train_set.num_classes]
SGD = {"lr": 0.05, "milestones": [EPOCHS * 5 // 6], "batch_size": 350}


def trained(loss, weight_decay=5e-3):
    """Train the network anew, from the same weights; return what was measured."""
    seed_everything(0)
    net = MLP(WIDTHS, batch_norm=True).to(DEVICE)
    options = SGD | {"loss": loss, "weight_decay": weight_decay, "every": EPOCHS // 20}
    return train(net, x_train, y_train, epochs=EPOCHS, metrics=metrics, **options)


histories = {label: trained(loss) for label, loss in LOSSES.items()}
undecayed = {f"{label}, λ = 0": trained(loss, 0.0) for label, loss in LOSSES.items()}

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-networks", "caption": "The digits network, trained with four losses. All approach the same geometry, not without setbacks; how near they come differs."}, "image": {"alt": "Three panels, NC1, NC2 and NC3 against the epoch on logarithmic axes, one curve with its own dashes for each of four losses. With some peaks on the way, NC1 falls by more than three orders of magnitude, to 0.02 for focal loss and 0.001 or less for the others, NC2 by one order to between 0.04 and 0.08, NC3 by one to three orders, to 0.003 for squared error and 0.01 to 0.08 for the others."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 3), sharex=True)
styles = ["-", "--", ":", "-."]
for ax, metric in zip(axes, ["NC1", "NC2", "NC3"], strict=True):
    for (label, run), style in zip(histories.items(), styles, strict=True):
        ax.semilogy(run.steps, run[metric], style, label=label)
    ax.set(title=metric, xlabel="epoch")
axes[0].legend(fontsize="small")
plt.show()

# %%
columns, both = ["NC1", "NC2", "NC3", "test"], histories | undecayed
rows = {name: [run[column][-1] for column in columns] for name, run in both.items()}
claims.table(columns, rows)


# %%
def last(runs, metric):
    return [run[metric][-1] for run in runs.values()]


least, control = (
    [run["NC1"].min() for run in runs.values()] for runs in (histories, undecayed)
)
claims.check("networks-nc1", least, below=0.04, control=control)
final, control = last(histories, "NC2"), last(undecayed, "NC2")
claims.check("networks-nc2", final, below=0.125, control=control)
final, (plain, focused, *_) = last(histories, "NC3"), last(undecayed, "NC3")
claims.check("networks-nc3", final, below=0.14, control=[plain, focused])
control = [run["train"][0] for run in histories.values()]
claims.check("networks-fit", last(histories, "train"), 1, control=control)

# %%
pixels = x_train.flatten(1), x_test.flatten(1)
pixel_means = ClassStatistics.from_features(pixels[0], y_train).means
nearest = torch.cdist(pixels[1].to(pixel_means), pixel_means).argmin(1)
correct = last(histories, "test")
beside = [*correct, (nearest == y_test).double().mean()]
difference, control = (max(shares) - min(shares) for shares in (correct, beside))
claims.check("networks-test", difference, below=0.05, control=control)

# %% [markdown]
# The geometry agrees. (The claim takes NC1 at its lowest: a setback near the end takes long to heal.) NC3 is
# the weakest witness: with label smoothing and squared error it is small without weight decay, too. The test
# accuracies differ by no more than chance: with 397 test images, their standard error is about one per cent.
# On the slides, {claim}`ResNet-50 on CIFAR-10 behaves alike <resnet50-four-losses>`, and a WideResNet on
# mini-ImageNet {claim}`reaches 79.3 % to 80.2 % with all four losses if it is wide and trained for 800
# epochs, but 69.2 % to 72.0 % if it is narrow and trained for 200 <mini-imagenet-losses>`. Wide
# networks that are trained for long also {claim}`vary less from run to run <losses-variance>`. In the end,
# {claim}`which loss does best depends on architecture, training time and data set
# <losses-depend-on-setting>`.
#
# And too much weight decay? Without batch normalisation 0.02 is enough, where 0.002 does no harm.

# %%
ends = {}
for decay in (2e-3, 2e-2):
    seed_everything(0)
    net = MLP(WIDTHS).to(DEVICE)
    metrics = {
        "size": lambda net: net.features(x_train).norm(dim=1).mean(),
        "loss": lambda net: cross_entropy(net(x_train), y_train),
    }
    options = {"epochs": 100, "lr": 0.05, "batch_size": 350, "weight_decay": decay}
    run = train(net, x_train, y_train, **options, metrics=metrics, every=100)
    ends[decay] = {name: run[name][-1] for name in metrics}

alive, dead = ends[2e-3], ends[2e-2]
claims.check("networks-dead-size", dead["size"], below=0.1, control=alive["size"])
final, control = dead["loss"], alive["loss"]
claims.check("networks-dead-loss", final, math.log(10), abs=1e-3, control=control)

# %% [markdown]
# That training ends at zero is the same failure, not the same threshold: with several layers in a row zero
# is a local minimum at any weight decay, unlike in the model.
#
# Do not read too much into the agreement, either. The model explains *where* training ends on the training
# set, if the network can go there. It says nothing about inputs it has not seen, for it has no inputs at
# all; nor how long it takes; nor when a network is too small to reach the figure. And networks are rarely
# trained with a penalty on features: how weight decay on all layers translates into $\lambda_H$ is a
# question that the model cannot answer.
#
# ## Exercises
#
# Where a line says *To check*, try before you open the solution: run `from lecturelib import coursework`
# and then that line with your own answer. It says what is wrong, and never what is right.
#
# :::{exercise} The model's numbers, taken literally
# :label: ex-ufm-imagenet
# In the model, let $\lambda_W = \lambda_H = 5 \cdot 10^{-4}$. From how many samples per class on is nothing
# learned with ten classes? With ImageNet's thousand? With $n = 1300$ and a thousand classes, what must
# $\lambda_H$ be if $\lambda_W$ stays? What does that say about taking the model's numbers literally?
#
# *To check:* `coursework.check("ex-ufm-imagenet", [...])`, the three numbers.
# :::
#
# :::{solution} ex-ufm-imagenet
# :class: dropdown
# $Kc \ge 1$ means $n \ge 1 / (K^2 \lambda_W \lambda_H)$: from 40 000 for ten classes; from four for a
# thousand. With $n = 1300$, $\lambda_H < 1 / (K^2 n \lambda_W) \approx 1.5 \cdot 10^{-6}$. Networks with
# $5 \cdot 10^{-4}$ do learn ImageNet: the penalty on each single feature that stands in for the weight
# decay of all earlier layers must be far smaller than the weight decay itself. The network shares its
# weights among all samples; the model pays for each sample's feature separately.
# :::
#
# :::{exercise} Two factors in balance
# :label: ex-ufm-balance
# Show that at *every* critical point $\lambda_W W^\top W = \lambda_H H^\top H$, whatever the loss. What
# does this say about the sizes of $W$ and $H$? In which direction does the ratio of the two weight decays
# move the margin of the minimiser?
# :::
#
# :::{solution} ex-ufm-balance
# :class: dropdown
# The first lines of the proof of {prf:ref}`thm-landscape` use only that the gradient vanishes. Taking traces,
# $\lambda_W \|W\|_F^2 = \lambda_H \|H\|_F^2$: the cheaper factor is the larger one. The margin does not
# move at all, as it depends on the product of the two only.
# :::
#
# :::{exercise} Margins without weight decay
# :label: ex-ufm-smoothing
# Let the weight decay go to zero. Show that the margin of cross-entropy grows like
# $\frac12 \log \frac{1}{\lambda_W \lambda_H}$ without bound, and that of label smoothing does not. Which
# finite margin does $\alpha = 0.1$ aim for with ten classes? *Hint:* {eq}`eq-margin`.
#
# *To check:* `coursework.check("ex-ufm-smoothing", margin)`.
# :::
#
# :::{solution-start} ex-ufm-smoothing
# :class: dropdown
# :::
#
# As $c \to 0$, $a = \log(1/c - (K-1)) \to \infty$ like $\log (1/c)$, and $c^2 = n \lambda_W \lambda_H$.
# With smoothing, $a \to \log\big(\frac K\alpha - (K-1)\big)$: beyond it, the wrong classes get less than
# the probability $\alpha/K$ that they are meant to have. For $\alpha = 0.1$, $K = 10$ that is $\log 91$.

# %%
tiny = replace(PROBLEM, weight_decay=1e-5)
smooth = random_starts(replace(tiny, loss=LabelSmoothing(0.1)))
minimize(smooth, steps=20_000)
margin, control = smooth.margin(), global_minimizer(tiny).margin
claims.check("label-smoothing-limit", margin, math.log(91), abs=0.01, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} The contrast of squared error
# :label: ex-ufm-mse-contrastive
# Squared error is contrastive! Minimise $\frac12 \|z - e_k\|^2$ over all $z$ with contrast $t$; find
# $\psi$, and show that with a free bias ($\lambda_b = 0$) and $Kc < 1$ the margin is $1 - Kc$ and the
# figure an ETF. Where does the argument break down without a bias? *Hint:* the distance of a point from a
# plane.
# :::
#
# :::{solution-start} ex-ufm-mse-contrastive
# :class: dropdown
# :::
#
# The contrast is $t = \langle v, z \rangle$ with $v = \mathbf 1 - K e_k$, $\|v\|^2 = K(K-1)$. At $z = e_k$
# it is $-(K-1)$, and the squared distance from $e_k$ to the plane of contrast $t$ gives
#
# $$\psi(t) = \frac{(t + K - 1)^2}{2K(K-1)} ,$$
#
# attained at $z = e_k + \frac{t + K - 1}{K(K-1)} v$, where all wrong scores are equal. $\psi(t) + c|t|$ is
# smallest at $t = -(K-1)(1 - Kc)$. For an ETF of margin $a = 1 - Kc$ with bias $\frac1K \mathbf 1$, the
# scores are $a(e_k - \frac1K \mathbf 1) + \frac1K \mathbf 1 = e_k + c\,v$, the very point where the bound
# is attained. Without a bias the scores of an ETF sum to zero, and those of the bound sum to one: it is not
# attained, and the true minimum lies higher.

# %%
t = -(K - 1) * (1 - K * c)
bound = SquaredError().bound(t, K) + c * abs(t)
ratio, control = found["MSE"].objective() / bound, without.objective() / bound
claims.check("mse-contrastive", ratio, 1, abs=1e-8, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Only some classes learned
# :label: ex-ufm-partial
# For squared error without a bias, let a model learn only some classes: take the minimiser and set the
# features of the other classes, and their rows of $W$, to zero. Show that this is a critical point, and
# compute its smallest Hessian eigenvalue for two, five and nine learned classes out of ten. Compare with
# {eq}`eq-curvature`. *Hint:* write down $G$, column by column.
# :::
#
# :::{solution-start} ex-ufm-partial
# :class: dropdown
# :::
#
# Class means and rows of $W$ are orthogonal, so classes do not talk to each other: the gradient of one that
# is learned is zero as before. For one that is not, its row of $W$ and its features are zero, and so are
# their gradients, $G^\top H$ and $G W$, as no other class has anything in its column. In $G$, an unlearned
# class has $-\frac1N$ for each of its samples in its own column, so $\sigma = \sqrt n / N$. Whatever has
# been learned, the way to the next class looks the same.


# %%
def learned_only(problem, learned):
    """The minimiser, but for the classes from `learned` on, which are zero."""
    whole = global_minimizer(problem)
    W, H = whole.W.clone(), whole.H.clone()
    W[learned:], H[learned * n :] = 0, 0
    return random_starts(problem).place(W, H)


squared = replace(PROBLEM, loss=SquaredError(), bias=False)
crossed = replace(squared, loss=CrossEntropy())
some = [learned_only(squared, learned) for learned in (2, 5, 9)]
control = [force(learned_only(crossed, learned)) for learned in (2, 5, 9)]
claims.check("partial-critical", list(map(force, some)), below=1e-12, control=control)

sigma, mean = math.sqrt(n) / (K * n), (decay_w + decay_h) / 2
expected = mean - math.hypot((decay_w - decay_h) / 2, sigma)
curvatures = torch.stack([hessian_min_eigenvalue(point) for point in some])
ratios, control = curvatures / expected, curvatures / (mean - sigma)
claims.check("partial-curvature", ratios, 1, abs=1e-6, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} When zero becomes a trap
# :label: ex-ufm-focal-zero
# At which price $c$ does $W = H = 0$ become a local minimum for focal loss with $\gamma = 3$, $K = 100$ and
# no bias? Derive it from the second half of {prf:ref}`thm-landscape`'s proof, and check it with
# `hessian_min_eigenvalue` on both sides. Between this price and $c^\star$, the landscape has a trap.
# *Hint:* $G$ at zero is $\psi'(0)$ times something simple.
# :::
#
# :::{solution-start} ex-ufm-focal-zero
# :class: dropdown
# :::
#
# The second half of the proof never used convexity: zero is a saddle if
# $\sigma > \sqrt{\lambda_W \lambda_H}$. At zero the contrast of a sample changes the loss at rate
# $\psi'(0)$, so $G$ has the rows $\psi'(0) (\mathbf 1 - K e_k)/N$ and
# $\sigma = \psi'(0) K \sqrt n / N = \psi'(0) / \sqrt n$: zero is a saddle for $c < \psi'(0)$, that is
# $Kc < 1.106$. For
# $c > \psi'(0)$ the quadratic form of the Hessian at zero,
#
# $$
# \lambda_W \|\Delta W\|_F^2 + \lambda_H \|\Delta H\|_F^2
#   + 2 \langle G, \Delta H\, \Delta W^\top \rangle ,
# $$
#
# is positive.


# %%
def first_trap(num_classes):
    """ψ'(0) over the critical price, and ψ'(0), for γ = 3."""
    price = focal.slope(math.log(num_classes)) / (num_classes - 1)
    return price / check_contrastive(focal, num_classes).critical_c, price


share, price = first_trap(100)
claims.check("focal-trap", share, below=0.95, control=first_trap(18)[0])
below, above = (
    hessian_min_eigenvalue(saddle(random_starts(hundred_classes(factor * price))))
    for factor in (0.99, 1.01)
)
claims.check("focal-trap-sign", above, above=0, control=below)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Positive features and squared error
# :label: ex-ufm-positive-mse
# *Harder.* Positive features and squared error. Show that without a bias the minimum of {prf:ref}`thm-mse`
# does not change. With a free bias it does: show that the margin is $1 - K c_+$ if $K c_+ < 1$ and
# $d \ge K$. So what does lecture 004 mean by saying that for this loss the weights are orthogonal too?
# *Hint:* in the first case, turn the frame into the first $K$ coordinates; in the second, squared error is
# contrastive.
# :::
#
# :::{solution-start} ex-ufm-positive-mse
# :class: dropdown
# :::
#
# Without a bias, the class means of {prf:ref}`thm-mse` are orthogonal; turned into the first $K$
# coordinates they have no negative entries, so the minimiser of the larger problem is feasible in the
# smaller one. With a free bias {ref}`squared error is contrastive <ex-ufm-mse-contrastive>`, and the price
# is $c_+$. The class means stay orthogonal, but $W = \rho P M$ is a simplex ETF: the weights are orthogonal
# only where the bias is missing.

# %%
margins_found, cosines_found = [], []
for bias in (False, True):
    weight_decay = WeightDecay(decay_w, decay_h)
    options = {"weight_decay": weight_decay, "loss": SquaredError(), "bias": bias}
    positive = random_starts(replace(positive_problem, **options), 16)
    minimize(positive)
    winner = positive.objective().argmin()
    margins_found.append(float(positive.margin()[winner]))
    frame = unit(positive.W[winner].detach())
    cosines_found.append(float(frame[0] @ frame[1]))

expected, angles = np.array([1 - K * c, 1 - K * c_plus]), np.array([0, -1 / 9])
difference, control = (margins_found - order for order in (expected, expected[::-1]))
claims.check("positive-mse-margin", difference, 0, abs=1e-6, control=control)
difference, control = (cosines_found - order for order in (angles, angles[::-1]))
claims.check("positive-mse-weights", difference, 0, abs=1e-6, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Rare classes
# :label: ex-ufm-imbalance
# *Open.* Give the classes different numbers of samples. The contrast argument breaks where the sum over
# samples was evenly shared. Write the objective for $n_1$ samples in half of the classes and $n_2$ in the
# others, minimise it, and follow the norms of the rows of $W$ that belong to rare classes, and the distances
# between them, as $n_1 / n_2$ grows. Lecture 004 mentions that {claim}`small classes can be ignored
# completely <minority-collapse>`; {cite}`fang2021exploring` call it *minority collapse*. Do you find it? At
# which ratio? *Hint:* `samples_per_class` may be one number for each class.
# :::
#
# :::{solution} ex-ufm-imbalance
# :class: dropdown
# With `Problem(10, samples_per_class=[80] * 5 + [2] * 5, …)` and `minimize` it takes no more code than
# before; only `global_minimizer` has no answer. Rare classes buy little reduction of the average loss for
# the same price, so their contrast to each other is given up first. In one run of ours ($K = 10$, $d = 16$,
# two samples in the rare classes, $\lambda_W = \lambda_b = 0.005$, $\lambda_H = 0.0025$) the largest
# distance between rare rows was 2.7 at ratio 10 and 1.8 at 30; at 40 it was zero, the rows being of length
# 0.6, and at 100 they were zero themselves. Where this happens depends on the weight decays: report the
# ratio together with them.
# :::
#
# :::{exercise} Fewer dimensions than an ETF needs
# :label: ex-ufm-narrow
# *Open.* What if $d < K - 1$? Then there is no ETF. Minimise {eq}`eq-ufm` with $d = 2$ and seven classes in
# the same way, with a cheap bias, a dear one, and none. Which arrangement comes out, and why does the bias
# matter?
# :::
#
# :::{solution} ex-ufm-narrow
# :class: dropdown
# Without a bias, or with $\lambda_b = 100 \lambda_W$, we found the regular heptagon from twelve starts out
# of twelve (at $\lambda_W = \lambda_H = 0.001$ and two samples per class). With $\lambda_b = \lambda_W$ all
# twelve ended lower, in a regular hexagon and one class in its centre: its features are zero, and its bias
# tells it apart. Other weight decays have other winners, and starts need not agree.
# {cite}`jiang2023generalized` study more classes than dimensions in general.
# :::
#
# ## Summary
#
# Free features and a linear classifier, with weight decay on both, are a problem with a closed-form
# solution: with cross-entropy, neural collapse if $K \sqrt{n \lambda_W \lambda_H} < 1$, and nothing at all
# if not.
#
# The proof is one inequality for the loss and one for the penalty. The penalty is blind to the loss, so
# every contrastive loss whose bound is attained leads to the same figure; focal loss is contrastive only
# for few classes, though this matters only where cross-entropy has given up.
#
# With a convex loss the problem is convex in the scores, and every critical point that is not a global
# minimum has a way down.
#
# Squared error gives an ETF, an orthogonal frame, or something between, as the bias is cheap, absent, or
# dear. Features that must be positive are orthogonal, their classifier is an ETF, and classes can die.
#
# Networks trained with four losses agree with the model where it speaks, on the training set, and it is
# silent elsewhere.
#
# ## Further reading
#
# {cite}`zhu2021geometric` prove the landscape theorem for $d > K$; {cite}`zhou2022losses` introduce
# contrastive losses, and {cite}`zhou2022optimization` treat squared error with its landscape.
# {cite}`tirer2022extended` compare models with and without bias and go on to two layers.
# {cite}`hong2024beyond` solve the positive features model and ask when a real shallow network can follow
# it. {cite}`haeffele2015global` explain why factored convex problems are benign.
