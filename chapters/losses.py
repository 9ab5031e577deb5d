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
# # Are all losses created equal?
#
# Cross-entropy is a habit. Some people smooth its labels, some turn down the easy samples, some take the squared
# error of regression, and their networks come out about as well. Does the loss matter? In the model of free features
# a loss is one curve. This chapter reads off it what four losses learn, and when they give up. Then it asks networks.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** read the best margin of a loss off one curve; say beyond which weight decay it learns
# nothing; solve squared error with one singular value decomposition and say what the bias does to it; and test on
# networks what the model predicts, with the deviations that remain.
#
# **Follows** lecture 003: from *Is Cross-entropy Loss Essential?* to *Are All Loses Created Equal? V*; lecture 004 on
# squared error.
#
# **You need** the chapter [Unconstrained features](unconstrained_features.ipynb), convex functions and the tangents
# below them.
#
# **Time**: reading, an hour; running, about a minute on two CPU cores. A GPU changes nothing.
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

from lecturelib import claims, losses
from lecturelib.device import seed_everything
from lecturelib.experiments.losses import digits_split, geometry
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.metrics import cosines, nc2
from lecturelib.networks import MLP
from lecturelib.records import recorded
from lecturelib.unconstrained_features import (
    Problem,
    UnconstrainedFeatures,
    WeightDecay,
    global_minimizer,
    minimize,
)

use_style()
torch.set_num_threads(1)  # problems this small lose more to waiting than they gain
generator = seed_everything(0)

# %% [markdown]
# (sec-losses-warm-up)=
# ## Two classes, by hand
#
# Take two classes, and of a sample nothing but the {term}`margin` $a$: by how much its right score exceeds its wrong
# one. In the {term}`unconstrained features model` one unit of margin has a price, since features and classifier must
# grow for it. With two classes it is $c = \sqrt{n \lambda_W \lambda_H}$, by {eq}`eq-price`. Say it is $c = 0.01$.
#
# **Cross-entropy** is $\log(1 + e^{-a})$. A unit of margin earns $1/(1 + e^a)$. (What a unit *earns* is always the
# rate at the present margin, the slope of the loss.) At $a = 0$ that is $\frac12$, fifty times the price, so begin.
# The further you go the less you earn. Stop where a unit earns what it costs, $1/(1 + e^a) = c$, that is at
#
# $$a = \log\Big(\frac1c - 1\Big) = \log 99 = 4.6 .$$
#
# The network is 99 % sure and not more: the last per cent would cost more than it earns. And if the price is above
# what the very first step earns, $c \ge \frac12$, it does not pay to begin. The best features are zero.
#
# **Label smoothing** gives each of the two classes a share $\frac\alpha2$ of the label, here with $\alpha = 0.1$. A
# unit of margin then also makes the wrong share worse, by $\frac\alpha2$. So it earns $1/(1+e^a) - 0.05$. That is the
# same as a price of $0.06$: the best margin is $\log\big(\frac1{0.06} - 1\big) = 2.75$, zero from $c = 0.45$ on.
#
# **Focal loss** multiplies the cross-entropy by the probability of the wrong class to a power, here $\gamma = 3$.
# Almost all of its interest is in samples that are wrong. With their probability $q = 1/(1 + e^a)$ the loss is $-q^3
# \log(1-q)$, and a unit of margin earns $q^4 - 3 q^3 (1-q) \log(1-q)$. At $a = 0$ that is $\frac1{16} (1 + 3
# \log 2) = 0.19$, so from $c = 0.19$ on nothing is learned. A computer finds that it earns $0.01$ at $a = 1.21$.
#
# **Squared error** wants scores of one and zero, and has no use for a margin beyond one. The right mean is ½, so the
# scores are $\frac12 (1 + a)$ and $\frac12 (1 - a)$. Each misses its target by $\frac12 (1 - a)$, and half the sum of
# squares is $\frac14 (1 - a)^2$. A unit earns $\frac12 (1 - a)$, so $a = 1 - 2c = 0.98$, and zero from $c = \frac12$
# on.

# %%
LOSSES = {
    "CE": losses.CrossEntropy(),
    "LS": losses.LabelSmoothing(0.1),
    "FL": losses.FocalLoss(3.0),
    "MSE": losses.SquaredError(),
}


def slope(loss, t, num_classes):
    """ψ'(t): what a unit of contrast earns; for two classes, a unit of margin."""
    t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss.bound(t, num_classes).sum(), t)[0]


prices = [0.01, 0.1, 0.2, 0.4]
rows = {name: [loss.margin(c, 2) for c in prices] for name, loss in LOSSES.items()}
claims.table([f"c = {c:g}" for c in prices], rows, digits=3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-losses-margins", "caption": "Two classes. What one more unit of margin earns, for each loss, against the margin reached so far. The best margin is where the curve meets the price (dots, at $c = 0.1$). A price above the curve's height at zero is never paid."}, "image": {"alt": "Four falling curves over the margin from zero to five. Cross-entropy starts at 0.5 and falls slowly, label smoothing runs 0.05 below it, focal loss starts at 0.19 and falls fast, squared error falls along a straight line from 0.5 to zero at margin one. A horizontal line at 0.1 meets them at margins 2.2, 1.7, 0.3 and 0.8."}}
STYLES = {"CE": "-", "LS": "--", "FL": ":", "MSE": "-."}
a_grid = np.linspace(0, 5, 201)
fig, ax = plt.subplots(figsize=(6, 3.2))
for (label, loss), colour in zip(LOSSES.items(), COLOURS, strict=False):
    earned = slope(loss, -a_grid, 2)  # K = 2: the contrast is -a
    ax.plot(a_grid, earned, STYLES[label], color=colour, label=label)
    ax.plot(loss.margin(0.1, 2), 0.1, "o", color=colour)
ax.axhline(0.1, color="0.5", linewidth=0.8)
ax.text(4.2, 0.11, "price 0.1", fontsize="small")
ax.set(ylim=(-0.06, 0.55), xlabel="margin $a$", ylabel="earned by one unit")
ax.legend()
plt.show()

# %% [markdown]
# Everything in this chapter is that figure again, with more classes. *A loss is a curve of earnings; the weight decay
# is a price; the margin is where they meet, and it is zero where they never do.* One loss will break the picture when
# classes are many, as its curve of earnings first rises: the appendix.
#
# (sec-losses-family)=
# ## One family
#
# With $K$ classes, $p = \operatorname{softmax}(z)$ of the scores $z$ and $\mathrm{CE} = -\log p_k$ for a sample of
# class $k$, the four losses are cross-entropy itself,
#
# $$
# \begin{aligned}
# \mathcal L_{\mathrm{LS}} &= (1 - \alpha)\, \mathrm{CE} - \frac{\alpha}{K} \sum_j \log p_j , \\
# \mathcal L_{\mathrm{FL}} &= (1 - p_k)^\gamma \, \mathrm{CE} , \\
# \mathcal L_{\mathrm{MSE}} &= \frac12 \|z - e_k\|^2 .
# \end{aligned}
# $$
#
# *Label smoothing* {cite}`szegedy2016rethinking` mixes the label with the uniform distribution, *focal loss*
# {cite}`lin2017focal` turns down the samples that are classified well, *squared error* wants the scores to *be* the
# one-hot label. Rescaled, it is {claim}`on par with cross-entropy, slightly worse in vision and slightly better in
# language <rescaled-mse-on-par>` {cite}`hui2021evaluation`.
#
# What did the proof of {prf:ref}`thm-ufm` need from cross-entropy? The penalty never heard of the loss: it charges
# $c$ for a unit of the {term}`contrast` $t = \sum_{j \ne k} (z_j - z_k)$. From the loss the proof used that it is at
# least $\psi(t)$, with equality at equal wrong scores; that averages of $\psi$ are at least $\psi$ of the average;
# and at the end one problem with one unknown, $\min_t \psi(t) + c |t|$. Hence a definition.
#
# :::{prf:definition} Contrastive property
# :label: def-contrastive
#
# A loss is contrastive {cite}`zhou2022losses` if there is a function $\psi$ of the contrast such that
#
# 1. $\mathcal L(z, k) \ge \psi(t)$, with equality only if all wrong scores are equal;
# 2. for every $c > 0$, $\psi(t) + c|t|$ has a unique minimiser $t^\star$, and $t^\star \le 0$.
# :::
#
# In words: of all scores with one contrast, the loss likes those best that treat all wrong classes alike. (Whether
# such scores reach $\psi$ is a separate question; see squared error below.) The figure shows it. Each grey dot is a
# random vector of three scores, at its contrast and its loss.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-losses-cloud", "caption": "The contrastive property, for three classes. Grey: loss and contrast of random scores. Line: $\\psi$. Circles: scores whose two wrong entries are equal; for squared error the three also sum to one. Crosses: equal wrong scores with the sum $-2$, which only squared error tells from the circles."}, "image": {"alt": "Four panels, one for each loss, of loss against contrast from minus eight to eight. In each a cloud of grey dots fills the space above a curve and never goes below it. Circles lie on the curve. Crosses lie on it, too, for cross-entropy, label smoothing and focal loss, but 1.5 above it for squared error. The curve of cross-entropy rises from zero ever steeper; that of label smoothing has its lowest point at the left; that of focal loss is flat on the left; that of squared error is a parabola with its lowest point at minus two."}}
first = torch.tensor([0])  # the right class
z = 2 * torch.randn(3000, 1, 3, generator=generator, dtype=torch.float64)
t = (z - z[..., :1]).sum(-1)[:, 0]
grid = torch.linspace(-8, 8, 161, dtype=torch.float64)
marks = torch.linspace(-7, 7, 8, dtype=torch.float64)
fig, axes = plt.subplots(1, 4, figsize=(7.8, 2.6), sharex=True)
for ax, (label, loss) in zip(axes, LOSSES.items(), strict=True):
    ax.plot(t, loss(z, first), ".", color="0.75", markersize=1.5, rasterized=True)
    ax.plot(grid, loss.bound(grid, 3), "-", color=COLOURS[0])
    for sum_, marker in [(1, "o"), (-2, "x")]:
        right = (sum_ - marks) / 3  # three scores: right, right + t/2, right + t/2
        equal = torch.stack([right, right + marks / 2, right + marks / 2], -1)
        on_curve = loss(equal[:, None], first)
        ax.plot(marks, on_curve, marker, color=COLOURS[1], fillstyle="none", ms=5)
    top = float(loss.bound(grid, 3).max()) * 1.3
    ax.set(title=label, xlabel="contrast $t$", xlim=(-8, 8), ylim=(-0.1, top))
plt.show()

# %% [markdown]
# - *Cross-entropy.* $\psi_{\mathrm{CE}}(t) = \log\big(1 + (K-1) e^{t/(K-1)}\big)$, by {eq}`eq-loss-bound`.
# - *Label smoothing.* Since $\log p_j = \log p_k + (z_j - z_k)$, it equals $\mathrm{CE} - \frac\alpha K t$ exactly.
#   So $\psi_{\mathrm{LS}} = \psi_{\mathrm{CE}} - \frac{\alpha}{K} t$. For $t \le 0$ smoothing is nothing but a
#   surcharge on contrast: replace $c$ by $c + \frac\alpha K$.
# - *Focal loss.* It is an increasing function of cross-entropy, $\mathrm{FL} = \varphi(\mathrm{CE})$ with
#   $\varphi(x) = (1 - e^{-x})^\gamma x$. So $\psi_{\mathrm{FL}} = \varphi \circ \psi_{\mathrm{CE}}$.
# - *Squared error.* Of all points with contrast $t$, the nearest to $e_k$ is to be found: the distance of a point
#   from a plane. {ref}`Exercise <ex-losses-mse-contrastive>`: $\psi_{\mathrm{MSE}}(t) = \frac{(t + K - 1)^2}{2 K (K -
#   1)}$, attained where all wrong scores are equal *and* the scores sum to one.
#
# How does the old proof go on? Where $\psi$ is convex, the average of $\psi$ over all samples is at least $\psi$ of
# the average contrast $\bar t$, and the penalties are at least $c\,|\bar t|$. So the objective is at least $\psi(\bar
# t) + c\,|\bar t|$, hence at least $\psi(t^\star) + c\,|t^\star|$. Condition (2) makes $t^\star$ the only point where
# the last two are equal. So a model that attains the bound has $\bar t = t^\star$ and equality in every step. In
# particular all samples have the contrast $t^\star$: if they differed and averaging lost nothing, $\psi$ would be a
# straight line around $t^\star < 0$, level once $c\,|t|$ is added, and $t^\star$ not the only minimiser. With $d \ge
# K - 1$ and positive $\lambda_W, \lambda_H$ that means an ETF of margin $a = -t^\star / (K-1)$, as before.
#
# Two things were used that a loss may lack. First, that $\psi$ is convex: focal loss is not everywhere
# ({ref}`appendix <sec-losses-focal>`). Second, that the bound can be attained: squared error asks the scores to sum
# to one, while those of an ETF sum to zero. The bias has to supply the rest. Until {ref}`its own section
# <sec-losses-mse>`, squared error has a free bias, $\lambda_b = 0$.
#
# Drag the price. The curves are $\psi(t) + c\,|t|$, relative to its value at zero, what one gets for doing nothing;
# the dot is the best margin. Watch which loss lets go first, and what focal loss does with a hundred classes.


# %% tags=["hide-input"]
def draw_family(K, Kc):
    fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.4), sharey=True)
    for ax, (label, loss) in zip(axes, LOSSES.items(), strict=True):
        best = loss.margin(Kc / K, K)
        reach = 1.4 if label == "MSE" else 6.5
        margins = torch.linspace(0, reach, 200, dtype=torch.float64)
        for a, style in [(margins, STYLES[label]), (torch.tensor([best]), "o")]:
            total = loss.bound(-(K - 1) * a, K) + Kc / K * (K - 1) * a
            ax.plot(a, total / loss.bound(0.0, K), style, color=COLOURS[style == "o"])
        ax.axhline(1, color="0.6", linewidth=0.8)
        ax.set(title=f"{label}: {best:.2f}", ylim=(0, 1.5), xlabel="margin $a$")
    axes[0].set_ylabel(r"$\psi + c\,|t|$, relative")
    return fig


def describe_family(K, Kc):
    best = {name: loss.margin(Kc / K, K) for name, loss in LOSSES.items()}
    said = ", ".join(f"{name} {margin:.2f}" for name, margin in best.items())
    return f"With {K} classes and Kc = {Kc}, the best margins are {said}."


explore(
    draw_family,
    name="losses-family",
    alt=describe_family,
    caption="Loss plus price against the margin, for four losses, relative to doing nothing (thin line). Dot "
    "and number: the best margin. With a hundred classes focal loss keeps a large margin where the others have "
    "given up, and then drops it at once.",
    labels={"K": "K, classes", "Kc": "Kc, price of contrast times classes"},
    start={"K": 2, "Kc": 0.3},
    K=[2, 10, 100],
    Kc=[0.02, 0.3, 0.7, 0.95, 1.16, 1.25],
)

# %% [markdown]
# So far we minimised a curve. Does the whole model have the same minimum? Let L-BFGS minimise $W$, $H$ and $b$, with
# ten classes and from sixteen starts. Expect the value and the margin of the curve. The controls are positive
# features, whose price is $c_+ = c \sqrt{K/(K-1)}$ ({prf:ref}`thm-positive`), and squared error without a bias.

# %%
K, n, decay_w, decay_h = 10, 10, 1e-2, 2.5e-3
PROBLEM = Problem(K, n, dim=16, weight_decay=WeightDecay(decay_w, decay_h))
c = PROBLEM.price


def solved(problem, *batch_shape, start=None):
    """A model at the end of L-BFGS, from random starts or one point, in double precision."""
    options = {"generator": generator, "dtype": torch.float64}
    model = UnconstrainedFeatures(problem, batch_shape=batch_shape, **options)
    minimize(model if start is None else model.place(start))
    return model


def class_means(model):
    sizes = model.problem.num_classes, model.problem.samples_per_class
    return model.H.detach().unflatten(-2, sizes).mean(-2)


# %%
problems = [replace(PROBLEM, loss=loss) for loss in LOSSES.values()]
found = {label: solved(p, 16) for label, p in zip(LOSSES, problems, strict=True)}


def over(measure, **options):
    """What was found over a field of the exact minimiser, all losses and starts together."""
    best = [global_minimizer(replace(problem, **options)) for problem in problems]
    exact = [getattr(minimizer, measure) for minimizer in best]
    reached = torch.stack([getattr(run, measure)() for run in found.values()])
    return reached / torch.tensor(exact, dtype=torch.float64)[:, None]


control = over("objective", nonnegative=True)
claims.check("losses-value", over("objective"), 1, abs=1e-8, control=control)
control = over("margin", nonnegative=True)
claims.check("losses-margin", over("margin"), 1, abs=1e-6, control=control)

without = solved(replace(PROBLEM, loss=losses.SquaredError(), bias=False))
angles = torch.stack([cosines(class_means(run)) for run in found.values()])
control = cosines(class_means(without))
claims.check("losses-cosines", angles, -1 / 9, abs=1e-6, control=control)

# %% [markdown]
# *In short: with each of the four losses, squared error with a free bias, the minimum is an ETF as long as it is not
# zero, and only its size differs: where the slope of the curve $\psi$ meets the price.*
#
# One case is hidden in condition (2): the slides say that $t^\star \le 0$ ensures a correct prediction. At $t^\star =
# 0$ all scores are equal, and the prediction is a tie. That is what happens beyond the threshold.
#
# (sec-losses-thresholds)=
# ## When a loss gives up
#
# It does not pay to begin if the first unit of contrast earns less than it costs. For a $\psi$ that is convex on $t
# \le 0$ the first unit earns the most, so this is the whole story: *zero is the minimum if and only if $c \ge
# \psi'(0)$*. At zero all probabilities are $\frac1K$, and the four slopes are quickly found.
#
# - Cross-entropy: $\psi'(0) = \frac1K$. It learns while $Kc < 1$.
# - Label smoothing: $\psi'(0) = \frac1K - \frac\alpha K$. It learns while $\alpha + Kc < 1$.
# - Squared error: $\psi'(0) = \frac{K - 1}{K (K-1)} = \frac1K$. It learns while $Kc < 1$.
# - Focal loss: $\psi'(0) = \frac1K \varphi'(\log K)$. Where $\psi$ is convex on $t \le 0$, it learns while $Kc <
#   \varphi'(\log K)$. Where it is not, the first unit is not the one that earns most, and it learns up to a critical
#   price $c^\star > \psi'(0)$ ({ref}`appendix <sec-losses-focal>`).
#
# For $\gamma = 3$, "convex on $t \le 0$" means at most 17 classes. The table shows $K \psi'(0)$, the $Kc$ at which
# each loss gives up. The line below it is what L-BFGS finds three per cent above (all weights zero) and three per
# cent below (not zero). Only squared error has a bias here; the appendix says which proof
# a bias would spoil for focal loss.


# %%
def small(num_classes, kc, loss):
    decay, bias = kc / num_classes / math.sqrt(3), isinstance(loss, losses.SquaredError)
    return Problem(num_classes, 3, num_classes, WeightDecay(decay, decay), loss, bias)


counts = [2, 3, 4, 10]
edges = {
    label: [k * slope(loss, 0.0, k).item() for k in counts]
    for label, loss in LOSSES.items()
}
claims.table([f"K = {k}" for k in counts], edges, digits=3)

# %%
largest = {0.97: [], 1.03: []}
for label, loss in LOSSES.items():
    for k, edge in zip(counts, edges[label], strict=True):
        for factor, ends in largest.items():
            ends.append(solved(small(k, factor * edge, loss), 8).W.abs().amax((1, 2)))
beyond, before = torch.stack(largest[1.03]), torch.stack(largest[0.97])
claims.check("losses-thresholds", beyond, below=1e-4, control=before)

# %% [markdown]
# *In short: cross-entropy and squared error live while $Kc < 1$, label smoothing while $\alpha + Kc < 1$. Focal loss
# with $\gamma = 3$ gives up first of all with two or three classes, at 0.385 and 0.785, and last from four on.*
#
# (sec-losses-mse)=
# ## Squared error: one decomposition, and the bias
#
# Squared error is the one loss whose whole model can be solved by a formula. Leave the bias away first. The loss sees
# only the scores $Z = H W^\top$, one row per sample, and by {prf:ref}`lem-nuclear` the cheapest factors of $Z$ cost
# $\sqrt{\lambda_W \lambda_H}\, \|Z\|_*$. With the one-hot labels as rows of $Y$ the problem is
#
# $$\min_Z \; \frac1{2N} \|Z - Y\|_F^2 + \sqrt{\lambda_W \lambda_H}\, \|Z\|_* .$$
#
# This is *singular value thresholding*, which lecture 004 uses: keep the singular vectors of $Y$, and make every
# singular value smaller by $N \sqrt{\lambda_W \lambda_H}$, or zero if it is smaller than that. Why? Of all $Z$ with
# singular values $s_i$, the nearest to $Y$ has its singular vectors, as $\langle Z, Y \rangle \le \sum_i s_i
# \sigma_i$ (von Neumann). Then each $s_i$ is on its own: minimise $\frac1{2N} (s - \sigma)^2 + \sqrt{\lambda_W
# \lambda_H}\, s$ over $s \ge 0$. As $Y^\top Y = n I$, *all* singular values of $Y$ are $\sqrt n$:
#
# $$Z = \Big( 1 - \frac{N \sqrt{\lambda_W \lambda_H}}{\sqrt n} \Big) Y = (1 - Kc)\, Y .$$
#
# That is the whole solution, if $Kc < 1$ and $d \ge K$; for $Kc \ge 1$ nothing is left. The scores of different
# classes are orthogonal. So are {term}`class means <class mean>` and classifier: the cheapest factors of $Z = U
# \Sigma V^\top$ are, up to a rotation and scale, $U \Sigma^{1/2}$ and $V \Sigma^{1/2}$, and here $\Sigma$ is a
# multiple of the identity. It is an *{term}`orthogonal frame`* {cite}`tirer2022extended`, not an ETF.

# %%
kc, decay = 0.3, 0.3 / 4 / math.sqrt(5)  # λ_W = λ_H
squared = Problem(4, 5, 6, decay, loss=losses.SquaredError(), bias=False)
Y = torch.eye(4, dtype=torch.float64).repeat_interleave(5, 0)
U, sizes, Vt = torch.linalg.svd(Y, full_matrices=False)
shrunk = U @ torch.diag((sizes - 20 * decay).clamp_min(0)) @ Vt

no_bias = solved(squared)
scores = no_bias().detach()
difference, control = (scores - shrunk).norm(), (scores - (1 - kc / 4) * Y).norm()
claims.check("mse-scores", difference, 0, abs=1e-6, control=control)

# %% [markdown]
# Now give it a bias. One-hot labels have a mean, $\frac1K \mathbf 1$. Something has to produce it: the bias, or the
# features, by leaning towards a common direction. Without a bias the features do it, and are orthogonal. With a free
# bias the bias does it, and the features are an ETF. In between they share the work, and the prices decide.
#
# :::{prf:theorem} Squared error
# :label: thm-mse
#
# Let $\mathcal L = \frac12 \|z - e_k\|^2$, $\lambda_W, \lambda_H > 0$, $d \ge K$, and $\lambda_b \ge 0$ or no bias at
# all. If $Kc < 1$, every minimiser has $H W^\top$ with the rows $a \big( e_k - \frac1K \mathbf 1 \big) +
# \frac{\tau}{K} \mathbf 1$, repeated $n$ times, where $a = 1 - Kc$, and
#
# - *no bias:* $\tau = 1 - Kc$. Class means and classifier are orthogonal frames;
# - *a cheap bias,* $\lambda_b \le \frac{Kc}{1 - Kc}$: $\tau = 0$ and $b = \frac{1}{K (1 + \lambda_b)} \mathbf 1$.
#   Class means and classifier are simplex ETFs;
# - *an expensive bias,* $\lambda_b > \frac{Kc}{1-Kc}$: $\tau = 1 - Kc - \frac{Kc}{\lambda_b}$ and $b =
#   \frac{c}{\lambda_b} \mathbf 1$. The cosine between two class means, and between two rows of $W$, is $\frac{\tau -
#   a}{\tau + (K-1) a}$. As $\lambda_b$ grows, it rises continuously from $-\frac1{K-1}$ towards 0.
#
# If $Kc \ge 1$, $W = H = 0$, and the bias, if there is one, is as for a cheap one.
# :::
#
# :::{prf:proof}
# *The form of a minimiser.* The convex twin {eq}`eq-convex` does not change when classes are renamed, or samples of a
# class exchanged. Take a minimiser and average it over all renamings and exchanges. As the twin is convex, this is a
# minimiser, too, and treats all classes alike: $Z$ has the stated rows with some $a$ and $\tau$, and $b = \beta
# \mathbf 1$.
#
# *There is no other.* Squared error is strictly convex in $Z + \mathbf 1 b^\top$, so all minimisers share these
# scores. Without a bias they share $Z$. If $\lambda_b > 0$, the penalty on $b$ is strictly convex, so they share $b$
# and $Z$. Let $\lambda_b = 0$. Then $b$ is free to take over all that is common to the rows, which makes $\tau = 0$
# in the symmetric minimiser $Z^\star$, as *The numbers* below shows. Another minimiser is $Z = Z^\star + \mathbf 1
# v^\top$ for some $v \ne 0$. The rows of $Z^\star$ sum to zero, $\mathbf 1^\top Z^\star = 0$, so mixed terms vanish:
#
# $$Z^\top Z = Z^{\star\top} Z^\star + N v v^\top .$$
#
# Adding $N v v^\top$ lowers no eigenvalue and raises their sum. So $\|Z\|_* > \|Z^\star\|_*$ at the same loss.
#
# *The numbers.* As $Z^\top Z = n \big( a^2 P + \frac{\tau^2}{K} \mathbf 1 \mathbf 1^\top \big)$ with the projection
# $P = I - \frac1K \mathbf 1 \mathbf 1^\top$, the singular values of $Z$ are $\sqrt n\, |a|$, $K - 1$ times, and
# $\sqrt n\, |\tau|$. With $\mu = \frac\tau K + \beta$, the mean of the scores, the twin is
#
# $$
# \begin{aligned}
# & \underbrace{\frac{K-1}{2K} (1 - a)^2 + c\,(K-1)\, |a|}_{\text{shape}} \\
# & \quad + \underbrace{\frac K2 \Big( \frac1K - \mu \Big)^2 + c\, |\tau|
#   + \frac{\lambda_b}2 K \beta^2}_{\text{mean}} .
# \end{aligned}
# $$
#
# The shape is the curve of our warm-up: $a = 1 - Kc$, or zero if that is negative.
#
# In the mean, a unit of $\mu$ earns $1 - K \mu$. Bought through $\tau$ it costs $Kc$, for $\tau$ must grow by $K$.
# Bought through $\beta$ it costs $\lambda_b K \beta$: nothing at first, more and more later. So the bias begins
# alone. Alone it stops where $1 - K \beta = \lambda_b K \beta$, at $\beta = \frac1{K (1 + \lambda_b)}$, and there one
# more unit earns $\frac{\lambda_b}{1 + \lambda_b}$. If this is at most $Kc$, that is $\lambda_b \le \frac{Kc}{1 -
# Kc}$ or $Kc \ge 1$, features have no reason to help, and $\tau = 0$. Otherwise all three numbers are equal:
# $\lambda_b K \beta = Kc$ gives $\beta = \frac{c}{\lambda_b}$, $1 - K \mu = Kc$ gives $\mu$, and $\tau = K (\mu -
# \beta)$. Without a bias $\tau = K \mu$ and $1 - \tau = Kc$.
#
# *The frames.* A minimiser is balanced, $\lambda_W W^\top W = \lambda_H H^\top H$, as in the proof of
# {prf:ref}`thm-landscape`. Hence $(H H^\top)^2 = \frac{\lambda_W}{\lambda_H} H W^\top W H^\top =
# \frac{\lambda_W}{\lambda_H} Z Z^\top$. So the Gram matrix of the class means is $a P + \frac{\tau}{K} \mathbf 1
# \mathbf 1^\top$ up to scale, with the diagonal $\frac{(K-1) a + \tau}{K}$ and $\frac{\tau - a}{K}$ elsewhere. That
# of $W$ is the same, up to scale.
# :::
#
# The fewest classes that show it are three, and you can look at them. The class means are $\sqrt a\, (e_k - \frac13
# \mathbf 1) + \sqrt{\tau/3}\; u$ up to scale, with the unit vector $u = \mathbf 1/\sqrt3$. With a cheap bias they lie
# in a plane at 120°. Make the bias more expensive, and the tripod rises out of the plane until its legs are at right
# angles. After the figure the same is measured with four classes, from random starts, at $Kc = 0.3$. There the edge
# is at $\lambda_b = 0.43$: expect $-\frac13$ for the first two rows of the table, and then a rise towards zero.


# %% tags=["hide-input"]
def opened(lam, Kc):
    tau = max(0.0, 1 - Kc - Kc / lam) / (1 - Kc)
    cosine = (tau - 1) / (tau + 2)
    return tau, cosine, math.degrees(math.acos(cosine))


def draw_tripod(lam, Kc):
    tau, cosine, angle = opened(lam, Kc)
    fig = plt.figure(figsize=(7, 3.1))
    left, right = fig.add_subplot(121, projection="3d"), fig.add_subplot(122)
    x = 0.3 + 2 * np.pi / 3 * np.arange(3)
    legs = np.sqrt([2 / 3 * np.ones(3), 2 / 3 * np.ones(3), tau / 3 * np.ones(3)]).T
    legs[:, :2] *= np.column_stack([np.cos(x), np.sin(x)])
    for leg, marker in zip(legs, "osD", strict=True):
        left.plot(*np.outer(leg, [0, 1]), "-" + marker, markevery=[1])
    left.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(0, 0.9), xticklabels=[])
    left.set(yticklabels=[], zticklabels=[], title=f"{angle:.0f}° between means")
    left.view_init(elev=22, azim=-60)
    grid = np.geomspace(0.02, 300, 200)
    right.plot(grid, [opened(x, Kc)[1] for x in grid], "-", color="0.3")
    right.plot(lam, cosine, "o", color=COLOURS[1])
    right.axvline(Kc / (1 - Kc), color="0.6", linestyle=":")
    right.set(xscale="log", ylim=(-0.55, 0.05), title="cosine between means")
    right.set_xlabel(r"weight decay of the bias, $\lambda_b$")
    return fig


def describe_tripod(lam, Kc):
    tau, _, angle = opened(lam, Kc)
    shape = "lie flat" if tau == 0 else "rise out of the plane like a tripod"
    return f"With weight decay {lam} of the bias and Kc = {Kc}, class means {shape}, {angle:.0f}° apart."


explore(
    draw_tripod,
    name="losses-tripod",
    alt=describe_tripod,
    caption="Squared error with three classes. Left: the class means of the theorem, for one and the same margin. "
    "Right: their cosine against the weight decay of the bias; left of the dotted line, $Kc/(1 - Kc)$, the frame is flat.",
    labels={"lam": "weight decay of the bias", "Kc": "Kc, price times classes"},
    start={"lam": 0.1, "Kc": 0.3},
    play="lam",
    lam=[0.1, 0.4, 0.6, 1, 2, 5, 20],
    Kc=[0.1, 0.3],
)

# %%
biases, edge = torch.tensor([0.05, 0.2, 0.6, 1, 2, 5, 20, 100]), kc / (1 - kc)
found_cosines = []
for decay_b in biases.tolist():
    weight_decay = WeightDecay(decay, decay, decay_b)
    with_bias = solved(replace(squared, bias=True, weight_decay=weight_decay))
    found_cosines.append(cosines(class_means(with_bias)))
found_cosines = torch.stack(found_cosines)
shape, tau = 1 - kc, (1 - kc - kc / biases).clamp_min(0)
predicted = (tau - shape) / (tau + 3 * shape)
ends = zip(biases, predicted, found_cosines, strict=True)
rows = {f"λ_b = {x:g}": [theory, *seen.aminmax()] for x, theory, seen in ends}
claims.table(["cosine, theorem", "least found", "largest"], rows, digits=4)
cheap, expensive = found_cosines[biases < edge], found_cosines[biases > edge]
difference, control = found_cosines.T - predicted, expensive + 1 / 3
claims.check("mse-frames", difference, 0, abs=1e-6, control=control)
claims.check("mse-etf", cheap, -1 / 3, abs=1e-6, control=expensive)
right_angles = cosines(class_means(no_bias))
claims.check("mse-orthogonal", right_angles, 0, abs=1e-6, control=cheap)

# %% [markdown]
# The first two cases are known {cite}`tirer2022extended,zhou2022optimization`, and so is the transition between them
# {cite}`massion2026encoding`. {cite}`han2022central` follow squared error in time, along a "central path" on which
# the classifier is always the best one for its features.
#
# *In short: squared error shrinks all singular values of the labels by the same amount. Who supplies the mean of the
# labels, the features or the bias, decides whether the frame is orthogonal or an ETF.*
#
# (sec-losses-same)=
# ## What "almost the same features" means
#
# So are the features of the four losses the same? Put the cases beside each other: ten classes, measured at what
# L-BFGS found. *Centred* means that the mean of all class means is subtracted first, and *expensive* is $\lambda_b =
# 1$: beyond the edge $\frac{Kc}{1 - Kc} = 0.19$, where the theorem gives the cosine $-0.019$.

# %%
weight_decay = WeightDecay(decay_w, decay_h, 1.0)
expensive = replace(PROBLEM, weight_decay=weight_decay, loss=losses.SquaredError())
cases = {f"{label}, free bias": run for label, run in found.items()} | {
    "MSE, expensive bias": solved(expensive),
    "MSE, no bias": without,
    "CE, positive features": solved(replace(PROBLEM, dim=40, nonnegative=True)),
}


def frames(model):
    """Cosine of class means, their NC2 when centred, and the cosine of the rows of W."""
    index = 0 if model.batch_shape else ...
    means, W = class_means(model)[index], model.W.detach()[index]
    measured = cosines(means).mean(), nc2(means - means.mean(0)), cosines(W).mean()
    return [float(number) for number in measured]


seen = {name: frames(model) for name, model in cases.items()}
rounded = {name: [round(x, 4) + 0.0 for x in row] for name, row in seen.items()}
claims.table(["cosine of means", "NC2, centred", "cosine in W"], rounded)
centred = [row[1] for row in seen.values()]
uncentred = [nc2(class_means(cases[name])) for name in list(cases)[4:]]
claims.check("losses-centred", centred, below=1e-3, control=uncentred)

# %% [markdown]
# The middle column is zero, whatever the loss, the bias and the sign: *centred, all these class means are one and the
# same ETF*. That is why NC2 of the class means, which centres them, cannot tell the cases apart. Uncentred they
# differ: cosine $-\frac19$, something between, or zero. Nor is the classifier the same: it is an ETF for positive
# features with orthogonal means, and orthogonal for squared error without a bias.
#
# :::{admonition} Slide check: "almost the same features"
# :class: warning slide-check
# :name: slide-check-losses-same
# *Are All Loses Created Equal? III* says that CE, FL, LS and MSE lead to (almost) the same features and classifiers,
# for $d \ge K - 1$; in lecture 004 "both the cross entropy loss and L2 loss" lead to it, in a model $Z = W H$ without
# a bias. But without a bias the frame is orthogonal, and needs $d \ge K$. *Centred*, all are one ETF.
# :::
#
# (sec-losses-networks)=
# ## Networks: does the loss matter?
#
# The slides draw a conclusion about networks: if a network is *large enough and trained long enough*, all losses lead
# to largely identical features, and to largely identical performance on new data. They show it for {claim}`a
# ResNet-50 on CIFAR-10, over widths and training times <resnet50-four-losses>` {cite}`zhou2022losses`.
#
# The network is the multilayer perceptron of [Neural collapse](neural_collapse.ipynb), five hidden layers with batch
# normalisation. With all 1400 images to learn from, hardly any mistakes are left to compare. So let it learn from
# thirty images of each digit (standardised with all 1400), and test on the other 1497. Three widths, three training
# times, four losses, five seeds; one learning rate, 0.05, for all, and weight decay 0.005 on all parameters. For
# comparison, the largest setting again without weight decay. That is 200 runs, which were recorded;
# `lecturelib.experiments.losses.loss_grid` repeats any of them.

# %%
grid = recorded("losses-grid").values


def measured(name, *, width=100, epochs=480, weight_decay=5e-3):
    """A column of the record, one row of five seeds for each loss."""
    where = {"width": width, "epochs": epochs, "weight_decay": weight_decay}
    rows = [row for row in grid if where.items() <= row.items()]
    return np.array([[r[name] for r in rows if r["loss"] == loss] for loss in LOSSES])


WIDTHS, EPOCHS = (10, 30, 100), (30, 120, 480)
rows, spread, noise = {}, {}, {}
cells = [(width, epochs, 5e-3) for epochs in EPOCHS for width in WIDTHS]
for at in [*cells, (100, 480, 0.0)]:
    correct = 100 * measured("test", width=at[0], epochs=at[1], weight_decay=at[2])
    spread[at] = np.ptp(correct.mean(1))
    noise[at] = math.sqrt(correct.var(1, ddof=1).mean())
    label = "width {}, {} epochs".format(*at) + (", λ = 0" if at[2] == 0 else "")
    rows[label] = *correct.mean(1), spread[at], noise[at]
claims.table([*LOSSES, "spread", "noise"], rows, digits=3)
wide, narrow = (100, 480, 5e-3), (10, 30, 5e-3)
control = [spread[at] for at in ((100, 30, 5e-3), (10, 480, 5e-3), (100, 480, 0.0))]
claims.check("losses-grid-spread", spread[wide], below=1.3, control=control)
claims.check("losses-grid-variance", noise[wide], below=2.6, control=noise[narrow])

# %% [markdown]
# The table has test accuracies in per cent, averaged over seeds. *Spread* is the best of the four losses minus the
# worst, *noise* the standard deviation between seeds. An average of five seeds varies by $\text{noise}/\sqrt5$, and
# of four such averages the best exceeds the worst by about twice that, even if the losses are all alike.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-losses-grid", "caption": "Test accuracy of digits networks with four losses, over width and training time; mean and standard deviation of five seeds. Left: where networks are narrow or trained briefly, the losses differ. Right: where they are wide and trained for long, they do not."}, "image": {"alt": "Three panels for 30, 120 and 480 epochs, of test accuracy against width 10, 30 and 100, four curves with error bars. On the left the curves start between 0.60 and 0.74 at width 10 and rise to between 0.81 and 0.84. In the middle they rise from between 0.76 and 0.81 to between 0.85 and 0.86 and are closer together. On the right they rise from between 0.82 and 0.85 to about 0.87, where they fall together within their error bars."}}
fig, axes = plt.subplots(1, 3, figsize=(7.6, 3), sharey=True)
for ax, epochs in zip(axes, EPOCHS, strict=True):
    columns = np.array([measured("test", width=w, epochs=epochs) for w in WIDTHS])
    for number, label in enumerate(LOSSES):
        style = {"fmt": "o" + STYLES[label], "color": COLOURS[number], "capsize": 2}
        mean, deviation = columns[:, number].mean(1), columns[:, number].std(1, ddof=1)
        ax.errorbar(np.arange(3) + number / 15, mean, deviation, label=label, **style)
    ax.set(xlabel="width", title=f"{epochs} epochs")
    ax.set_xticks(range(3), WIDTHS)
axes[0].set_ylabel("test accuracy")
axes[2].legend(fontsize="small", loc="lower right")
plt.show()

# %% [markdown]
# The slides' message holds in our runs. From the narrow network with little training to the wide one with much, the
# spread falls from 14 points to 0.7. Chance alone would give about $2 \cdot 1.13 / \sqrt5 = 1.0$. That does not prove
# the losses equal: a difference below one point would not be seen here. Without weight decay the spread is 2.8, where
# chance would give 1.4: in our runs weight decay belongs to the conditions.
#
# Most of the 14 points are squared error, which after 30 epochs gets only 82 % of its own training images right; the
# other three differ by 3.8, where chance (three averages of noise 4.5) would give 3.4. So the left end says that in the
# same steps the losses do not learn equally *fast*. The learning rate is hardly the reason: in a trial that is not
# recorded, the best of seven rates each gave 78, 79, 76 and 63 % on average over two seeds.
#
# The slides add that {claim}`wide networks that are trained for long vary less from run to run <losses-variance>`. In
# our runs only the narrow, briefly trained ones vary much, by 5.5 points. All other cells lie between 1.1 and 1.9,
# too close to rank with five seeds. On the slides a WideResNet18 on mini-ImageNet {claim}`reaches 79.3 % to 80.2 %
# with all four losses at twice the width after 800 epochs, but 69.2 % to 72.0 % at a quarter of it after 200
# <mini-imagenet-losses>`. Thus {claim}`the best loss depends on architecture, training time and data
# <losses-depend-on-setting>`.
#
# (sec-losses-predictions)=
# ## Networks: do their features follow the model?
#
# First what any collapsed network has: the widest, trained longest, beside it untrained and without weight decay.

# %%
(x_train, y_train), _ = digits_split()


def across_seeds(columns):
    """Means over seeds: untrained, and for each loss with and without weight decay."""
    rows = {"untrained": [before[name] for name in columns]}
    for suffix, decay in {"": 5e-3, ", λ = 0": 0.0}.items():
        means = [measured(name, weight_decay=decay).mean(1) for name in columns]
        means = zip(LOSSES, np.transpose(means), strict=True)
        rows |= {f"{label}{suffix}": row for label, row in means}
    return rows


before = geometry(MLP([64, *[100] * 5, 10], batch_norm=True).eval(), x_train, y_train)
heads = ["NC1", "NC2 of means", "NC2 of W", "NC3"]
claims.table(heads, across_seeds(["nc1", "nc2", "nc2_w", "nc3"]))


# %%
def nearer(name):
    """A measure over its mean without weight decay: averaged over losses, for each seed."""
    usual = measured(name, weight_decay=0).mean(1, keepdims=True)
    shares = [measured(name, weight_decay=decay) / usual for decay in (5e-3, 0)]
    averages = [np.exp(np.log(share).mean(0)) for share in shares]
    return dict(zip(["measured", "control"], averages, strict=True))


fits, control = measured("train"), measured("train", width=10, epochs=30)
claims.check("networks-fit", fits.mean(1), 1, control=control.mean(1))
claims.check("networks-nc1", **nearer("nc1"), below=0.2)
claims.check("networks-nc2", **nearer("nc2"), below=0.4)
claims.check("networks-nc2-classifier", **nearer("nc2_w"), below=0.4)
claims.check("networks-nc3", **nearer("nc3"), below=0.45)

# %% [markdown]
# Each claim divides a measure by what it is without weight decay, for the same loss, and averages over the losses. So
# 1 means: no nearer than without weight decay, where a network has collapsed in part (an untrained one has an NC1 40
# to 260 times larger still). By the table, NC1 falls to less than a tenth with each loss, NC2 to less than a half,
# for the means as for $W$: with all four losses the networks come nearer to collapse. How *near* differs. NC2 of the
# class means ends at 0.05 for squared error, at 0.13 for focal loss.
#
# Centred NC2 is blind to what the models disagree about. So ask what tells them apart. For a network whose features
# come out of a ReLU, the {prf:ref}`positive model <thm-positive>` predicts:
#
# - *Angles.* Uncentred class means are orthogonal. (No ReLU network can have the $-\frac19$ of the free model.)
# - *Lengths.* All class means are equally long.
# - *Classifier.* $W$ is an ETF (how nearly, NC2 of $W$ above says), and $\|W \bar h + b\| = 0$ with the mean $\bar h$ of
#   all features: $W = \rho P M$ is a multiple $\rho$ of the centred class means, the rows of $M$, which are orthogonal
#   and of one length. So $M \bar h$ is a multiple of $\mathbf 1$, and $P \mathbf 1 = 0$. Squared error is an exception: its scores must have the mean of the labels, so $W \bar h + b$ is
#   $\frac1K \mathbf 1$, with the norm $1/\sqrt{10} = 0.316$.
# - *Margin.* It is the loss's best margin at the price $c_+ = c \sqrt{K/(K-1)}$. (Measured: right score less mean wrong one.)
#
# The last one needs a word. A network has no $\lambda_H$; it pays for features through the weights of all its layers.
# But in the model both penalties are equal at the minimum. So take the network's own balance, $\lambda_H = \lambda_W
# \|W\|_F^2 / \|H\|_F^2$. The price becomes
#
# $$c = \sqrt{n \lambda_W \lambda_H} = \sqrt n \, \lambda_W\, \frac{\|W\|_F}{\|H\|_F} .$$
#
# As the norms are measured, what does this test? Three things.
#
# - *W at rest.* Scale $W$ by $1 + \epsilon$: the penalty grows by $\lambda_W \|W\|_F^2\, \epsilon$, so the loss must
#   fall as much.
# - *One margin, equal wrong scores.* Then the loss falls by $(K-1)\, a\, \psi' \epsilon$. So
#
#   $$(K-1)\, a\, \psi' = \lambda_W \|W\|_F^2 = c\, \|W\|_F \|H\|_F / \sqrt n .$$
#
# - *The geometry.* If $W = \rho P M$, with orthogonal means of length $\eta$, then $a = \rho \eta^2$, $\|W\|_F = \rho
#   \eta \sqrt{K-1}$ and $\|H\|_F = \eta \sqrt{nK}$. So the right side is $c\, a \sqrt{K(K-1)}$, and $\psi' = c_+$.

# %%
tilt = ["cosine", "cosine_min", "cosine_max", "equinorm", "bias_measure"]
heads = ["cosine", "least", "largest", "lengths vary", "‖W h̄ + b‖"]
claims.table(heads, across_seeds(tilt))


def price(factor=(10 / 9) ** 0.5, **setting):
    """c₊ of each network, with its own norms; with the factor 1, c."""
    norms = measured("norm_w", **setting) / measured("norm_h", **setting)
    return factor * math.sqrt(30) * 5e-3 * norms


def model(prices):
    rows = zip(LOSSES.values(), prices, strict=True)
    return np.array([[loss.margin(c, 10) for c in row] for loss, row in rows])


margins = measured("margin")
pairs = zip(LOSSES.values(), -9 * margins, strict=True)
slopes = np.array([slope(loss, t, 10).numpy() for loss, t in pairs]) / price()
rest, in_batches = measured("pull") / 5e-3, measured("pull_batch") / 5e-3
columns = margins, model(price()), model(price(1))
columns = [*columns, slopes, rest, in_batches, measured("alignment")]
averages = np.transpose([column.mean(1) for column in columns])
heads = ["margin", "predicted", "free", "ψ′ / c₊", "at rest", "batches", "aligned"]
claims.table(heads, dict(zip(LOSSES, averages, strict=True)), digits=3)

claims.check("networks-cosines", **nearer("cosine"), below=0.475)
claims.check("networks-lengths", **nearer("equinorm"), below=0.3)
smooth = [0, 2]  # cross-entropy and focal loss
usual = measured("bias_measure", weight_decay=0) / measured("margin", weight_decay=0)
bias, control = (measured("bias_measure") / margins).mean(1), usual.mean(1)
claims.check("networks-bias", bias[smooth], below=0.035, control=control[smooth])
off, control = (
    np.abs(measured("margin", epochs=x) / model(price(epochs=x)) - 1).mean(1)
    for x in (480, 30)
)
claims.check("networks-margin", off[smooth], below=0.05, control=control[smooth])
control = measured("pull_batch", epochs=30).mean(1)[smooth] / 5e-3
claims.check("networks-rest", in_batches.mean(1)[smooth], 1, abs=0.05, control=control)

# %% [markdown]
# - *Lengths and bias* agree. Class means differ in length by about one per cent. (The untrained network has 1.3 per
#   cent for another reason: its means are nearly one vector, of cosine 0.99.) And $\|W \bar h + b\|$ is at most 2.5
#   per cent of a margin, or 0.315 for squared error. For label smoothing and squared error this says little: without
#   weight decay they give 3.5 per cent and 0.316.
# - *The margin* agrees within about three per cent, 6.49 measured and 6.36 predicted for cross-entropy, 0.980 and
#   0.982 for squared error. But it is a logarithm of the slope, and the slope $\psi'$ itself is 0.88 of $c_+$ for
#   cross-entropy, 0.74 for focal loss. Most of that is not geometry, as the alignment of $W$ with the class means, 1
#   in the model, is 0.97 and 0.96. It is $W$: evaluated, the loss falls by only 0.86 and 0.74 of what rest demands;
#   in batches, as it was trained, by 1.00 of it. So $W$ is at rest for the other mode of batch normalisation. Nor can
#   the margin tell positive features from free ones: $c$ in place of $c_+$ gives 6.41.
# - *The angles* do not agree. A tilt remains: cosines of 0.06 for cross-entropy, 0.07 for focal loss, 0.12 for label
#   smoothing and 0.14 for squared error, with a standard deviation over seeds of at most 0.005, where the model says zero. Without weight
#   decay they were 0.15 to 0.26. For the last two even the smallest of all cosines is 0.07 or more, on average over
#   seeds: the frame stands on a common vector, which centring takes away.
#
# So read *"the same features"* with care. On new inputs the model is silent.
#
# *In short: wide and long enough, with weight decay, the loss made no difference to the test accuracy that five seeds
# could show. Centred, all four class means come near one ETF, by amounts that differ more than twofold in NC2. The
# tilt depends on the loss, and no model here explains it.*
#
# (sec-losses-focal)=
# ## Appendix: the edge of focal loss
#
# With many classes the best margin of focal loss jumped. This appendix says why, and how far the theorem reaches. You
# can skip it: it happens at $Kc > 1$, where cross-entropy has given up.
#
# ### Why it jumps
#
# Where a sample is right, focal loss is flat. Where it is badly wrong, it is just cross-entropy, whose slope tends to
# $\frac1{K-1}$. On the way the slope overshoots. So the curve is convex, and concave while the slope comes down.
#
# On $t \le 0$ the cross-entropy goes from 0 up to $\log K$. With few classes the end of this stretch, $t = 0$, comes
# before the bend turns. With many it comes after.
#
# :::{prf:lemma} Where focal loss is convex
# :label: lem-focal
#
# Let $\gamma > 0$. As a function of $t$, $\psi_{\mathrm{FL}}$ is convex where $\mathrm{CE} \le x^\star$ and concave
# beyond. Here $x^\star$ depends on $\gamma$ only and is the root of
#
# $$x \Big( 1 - \frac{\gamma}{e^x - 1} \Big) = 2 + \frac1\gamma .$$
#
# Condition (2) of {prf:ref}`def-contrastive` holds if and only if $\log K \le x^\star$.
# :::
#
# :::{prf:proof}
# *The bend.* Put $u = t/(K-1)$ and $x = \log(1 + (K-1)e^u)$, the cross-entropy. Let $p = e^{-x}$ here be the right
# class's probability alone, and $r = 1 - p$. One finds $x' = r$ and $x'' = pr$. The derivatives of $\varphi(x) =
# r^\gamma x$ are $\varphi' = r^\gamma + \gamma r^{\gamma - 1} p\, x$ and $\varphi'' = 2 \gamma r^{\gamma-1} p +
# \gamma r^{\gamma - 2} p\, x\, (\gamma p - 1)$. So
#
# $$
# \begin{aligned}
# \frac{\mathrm d^2 \psi_{\mathrm{FL}}}{\mathrm d u^2}
#   &= \varphi''(x)\, r^2 + \varphi'(x)\, p r \\
#   &= p\, r^{\gamma} \big( (1 + 2\gamma)\, r - \gamma x\, (r - \gamma p) \big) .
# \end{aligned}
# $$
#
# (In the second line, $\gamma p - 1 + p = \gamma p - r$.) Divide the bracket by $\gamma r$: it is non-negative if and
# only if $x (1 - \gamma p / r) \le 2 + \frac1\gamma$, and $p/r = 1/(e^x - 1)$. As $x/(e^x - 1)$ falls with $x$, the
# left side increases from $-\gamma$ to infinity. So there is one root.
#
# *Few classes.* If $\log K \le x^\star$, $\psi$ is strictly convex on $t \le 0$, so $\psi(t) + c|t|$ has one
# minimiser there. For $t > 0$ both terms grow.
#
# *Many classes.* If $\log K > x^\star$, $\psi$ is concave just before $t = 0$. Turn a line around the point $(0,
# \psi(0))$ until it touches the curve from below, at some $t_1 < 0$ in its convex part. Call its slope $c^\star$. At
# this price $\psi(t) + c^\star |t|$ has the same value at $t_1$ and at 0, and less nowhere: two minimisers.
#
# *This happens beyond $Kc = 1$.* The curve is concave from before 0 on, so its slope falls from there towards its
# limit $\frac1{K-1}$, and $\psi'(0) > \frac1{K-1} > \frac1K$. The line that touches is steeper still, $c^\star >
# \psi'(0)$, as just before 0 the curve, being concave, lies below its tangent there.
# :::

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-losses-bent", "caption": "The bent curve: $\\psi$ of focal loss with $\\gamma = 3$ and 100 classes. Left: convex (solid) up to the dot, concave (dashed) beyond. The line through the end point $(0, \\psi(0))$ touches it at the left cross; its slope is the critical price. Right: the slope of $\\psi$ times 99, which overshoots its limit 1 (dotted). From where it has reached that limit, the curve may be replaced by its tangent (thin)."}, "image": {"alt": "Left, a curve over the margin from minus two to six, read from right to left: flat near zero, then rising, ever steeper up to a dot near margin 1.8, and then with a slightly falling slope. A straight line joins the point of the curve at margin zero with a point at margin 2.4, where it touches it, and lies below the curve in between. Right, the slope rises from zero to a peak of 1.2 near margin 1.8, falls to 1.1 at zero and on towards one, where a dotted line is; a thin line follows the slope up to that level and then stays there."}}
focal = losses.FocalLoss(3.0)
focal_check = losses.check_contrastive(focal, num_classes=100)
bend = math.log(99 / math.expm1(focal.inflection))  # margin where ψ turns concave
a_grid = np.linspace(-2, 6, 321)
t, convex = -99 * a_grid, a_grid >= bend
psi, steep = focal.bound(t, 100), 99 * slope(focal, t, 100).numpy()
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
for ax, curve in [(left, psi), (right, steep)]:
    ax.plot(a_grid[convex], curve[convex], "-", color=COLOURS[0])
    ax.plot(a_grid[~convex], curve[~convex], "--", color=COLOURS[0])
    ax.invert_xaxis()
    ax.set_xlabel("margin $a$ (the contrast grows to the right)")
at = [0.0, focal_check.critical_margin]  # where the line meets the curve
left.plot(at, [float(focal.bound(-99 * a, 100)) for a in at], "-x", color=COLOURS[1])
left.plot(bend, float(focal.bound(-99 * bend, 100)), "o", color=COLOURS[0])
left.set(title=r"$\psi_{\mathrm{FL}}$", ylim=(-0.3, 7))
right.axhline(1, color="0.4", linestyle=":")
right.plot(a_grid, np.where(convex, np.minimum(steep, 1), 1), "-", color="0.2", lw=0.8)
right.set_title(r"slope of $\psi_{\mathrm{FL}}$, times $K - 1$")
plt.show()

# %%
check = losses.check_contrastive
thousand = {label: check(loss, 1000).holds for label, loss in LOSSES.items()}
both, control = [thousand["CE"], thousand["LS"]], thousand["FL"]
claims.check("contrastive-ce-ls", both, control=control)
control = check(focal, 10).holds
claims.check("contrastive-focal", focal_check.holds, False, control=control)
bends = (  # down, just before t = 0?
    [slope(losses.FocalLoss(x), [-1e-4, 0.0], k).diff() < 0 for k in range(2, 30)]
    for x in (3, 1)
)
first, control = (2 + downwards.index(True) for downwards in bends)
claims.check("contrastive-focal-first", first, 18, control=control)

# %% [markdown]
# :::{admonition} Slide check: "CE, FL and LS all satisfy the contrastive property"
# :class: warning slide-check
# :name: slide-check-losses-focal
# *Are All Loses Created Equal? II*. True for CE and LS. Focal loss fails condition (2) when there are many classes:
# with $\gamma = 3$ from $K = 18$ on. With so many classes, what the slide concludes about global minimisers survives
# as long as $Kc < 1$, for the jump comes later. With few classes focal loss is contrastive, but it learns nothing
# from $Kc = \varphi'(\log K)$ on, which for two and three classes is less than one.
# :::
#
# ### How far the theorem reaches
#
# Is the jump a property of the model, or of the curve only? Where $\psi$ is concave, its averages can be less than
# $\psi$ of the average, and the proof stops. There are two ways around.
#
# *Without a bias: count every sample for itself.* The price was charged for the average contrast, in which both signs
# may cancel. So multiply the feature of every sample by the sign $\epsilon_{k,i} = \pm 1$ of its contrast. No norm
# changes, and every contrast becomes $|t_{k,i}|$. So the bound on the price holds for the sums $\sum_i \epsilon_{k,i}
# h_{k,i}$ in place of $\sum_i h_{k,i}$, and bounds the average of $|t_{k,i}|$. Each sample pays for itself:
#
# $$
# f \ge \frac1N \sum_{k,i} \big( \psi(t_{k,i}) + c\, |t_{k,i}| \big)
#   \ge \min_{t \le 0} \psi(t) + c\, |t| .
# $$
#
# Nothing had to be convex. (A bias would spoil it: flipping a feature does not flip the bias.) So without a bias the
# jump of the curve is the jump of the global minimum.
#
# *With a bias: straighten the curve,* for $c < \frac1{K-1}$. The slope of $\psi$ reaches $\frac1{K-1}$ while $\psi$
# is still convex, and never falls below it again, since that is its limit. From that place on replace $\psi$ by its
# tangent there. The new curve is convex (right panel: its slope never falls). It is nowhere above $\psi$. And the
# minimum of $\psi(t) + c|t|$ lies before that place, where nothing was changed, since its slope there is $c <
# \frac1{K-1}$. So the old proof applies to the new curve, and proves the minimum of the old one. For $c \ge
# \frac1{K-1}$ we know no proof with a bias, and no counterexample.
#
# *For $Kc < 1$* both ways are open, and {prf:ref}`thm-ufm` holds for focal loss with its own margin: the root of
# $\psi'(-(K-1)a) = c$, or zero where there is none. Beyond, let the solver look, two per cent below and above
# $c^\star$, from two kinds of starts: a random one, and the collapsed solution for a smaller $c$.


# %%
def hundred_classes(price):
    return Problem(100, 1, dim=100, weight_decay=price, loss=focal, bias=False)


critical = focal_check.critical_c
collapsed = global_minimizer(hundred_classes(0.6 * critical))
levels = [hundred_classes(factor * critical) for factor in (0.98, 1.02)]
randomly, kept = (
    [solved(problem, start=start) for problem in levels] for start in (None, collapsed)
)
upper, control = ([abs(run.margin()) for run in runs] for runs in (kept, randomly))
claims.check("focal-upper-branch", upper, above=1.5, control=control)
claims.check("focal-spurious", control[0], below=1e-3, control=upper[0])
below, beyond = (float(focal.bound(0.0, 100)) - run.objective().item() for run in kept)
claims.check("focal-jump", below, above=0.015, control=beyond)

# %% [markdown]
# At $0.98\,c^\star$ the global minimum is collapsed, yet the random start ended at zero, a genuine *local minimum*
# ({ref}`exercise <ex-losses-focal-zero>`): {prf:ref}`thm-landscape` needs a convex loss.
#
# *In short: with $\gamma = 3$ and 18 classes or more, focal loss bends, and its best margin jumps to zero instead of
# running into it. Both happen beyond $Kc = 1$, so with that many classes it is collapsed wherever cross-entropy is.*
#
# ## Exercises
#
# Where a line says *To check*, try before you open the solution: run `from lecturelib import coursework` and then
# that line with your own answer. It says what is wrong, and never what is right.
#
# :::{exercise} Two classes, a higher price
# :label: ex-losses-two
# *Warm-up, 10 minutes.* By hand, with two classes and $c = 0.25$: what is the best margin of cross-entropy, of label
# smoothing with $\alpha = 0.1$, and of squared error? How sure is the first network? And focal loss, $\gamma = 3$?
# :::
#
# :::{solution} ex-losses-two
# :class: dropdown
# Cross-entropy: $1/(1+e^a) = 0.25$, so $a = \log 3 = 1.10$, and it is 75 % sure. Label smoothing pays $0.30$ in all:
# $a = \log(1/0.3 - 1) = \log 2.33 = 0.85$. Squared error: $1 - 2 \cdot 0.25 = 0.5$. Focal loss: 0.19 < 0.25, nothing.
# :::
#
# :::{exercise} Margins without weight decay
# :label: ex-losses-smoothing
# *Warm-up, 15 minutes.* Let the weight decay go to zero. Show that the margin of cross-entropy grows like $\frac12
# \log \frac{1}{\lambda_W \lambda_H}$ without bound, and that of label smoothing does not. Which finite margin does
# $\alpha = 0.1$ aim for with ten classes? *Hint:* {eq}`eq-margin`.
#
# *To check:* `coursework.check("ex-losses-smoothing", margin)`.
# :::
#
# :::{solution} ex-losses-smoothing
# :class: dropdown
# As $c \to 0$, $a = \log(1/c - (K-1)) \to \infty$ like $\log (1/c)$, and $c^2 = n \lambda_W \lambda_H$. With
# smoothing the price is $c + \frac\alpha K$, so $a \to \log\big(\frac K\alpha - (K-1)\big)$: beyond it, the wrong
# classes get less than the probability $\alpha/K$ that they are meant to have. For $\alpha = 0.1$, $K = 10$ that is
# $\log 91 = 4.51$.
# :::
#
# :::{exercise} The contrast of squared error
# :label: ex-losses-mse-contrastive
# *Core, 30 minutes.* Squared error is contrastive! Minimise $\frac12 \|z - e_k\|^2$ over all $z$ with contrast $t$ to
# derive the $\psi$ of the text, and show that with a free bias ($\lambda_b = 0$) and $Kc < 1$ the margin is $1 - Kc$
# and the frame an ETF. Where does it break down without a bias? *Hint:* the distance of a point from a plane.
# :::
#
# :::{solution} ex-losses-mse-contrastive
# :class: dropdown
# The contrast is $t = \langle v, z \rangle$ with $v = \mathbf 1 - K e_k$, $\|v\|^2 = K(K-1)$. At $z = e_k$ it is
# $-(K-1)$, and the squared distance from $e_k$ to the plane of contrast $t$ gives
#
# $$\psi(t) = \frac{(t + K - 1)^2}{2K(K-1)} ,$$
#
# attained at $z = e_k + \frac{t + K - 1}{K(K-1)} v$, where all wrong scores are equal. $\psi(t) + c|t|$ is smallest
# at $t = -(K-1)(1 - Kc)$. An ETF of margin $a = 1 - Kc$ with bias $\frac1K \mathbf 1$ has the scores $a(e_k - \frac1K
# \mathbf 1) + \frac1K \mathbf 1 = e_k + c\,v$, the very point where the bound is attained. Without a bias they sum to
# zero, and those of the bound to one: the true minimum lies higher.
# :::
#
# :::{exercise} A loss of your own
# :label: ex-losses-own
# *Open, 30 minutes.* The *squared hinge* punishes every wrong score that comes closer to the right one than 1:
# $\mathcal L = \frac12 \sum_{j \ne k} \max(0, 1 + z_j - z_k)^2$. Find its $\psi$, its best margin at the price $c$,
# and the $Kc$ at which it gives up. Is it contrastive? Check both conditions. *Hint:* average over $j$.
# :::
#
# :::{solution} ex-losses-own
# :class: dropdown
# The mean of $K-1$ values of the convex function $g(s) = \frac12 \max(0, 1 + s)^2$ is at least its value at the mean,
# so $\psi(t) = \frac{K-1}2 \max\big(0, 1 + \frac t{K-1}\big)^2$. Its slope at margin $a$ is $1 - a$, so $a = 1 - c$
# for $c < 1$ and zero beyond: it gives up at $Kc = K$, ten times later than cross-entropy with ten classes. By the
# letter it is not contrastive. Condition (2) holds, (1) fails: where all wrong scores are more than 1 below the right
# one, $\mathcal L = \psi = 0$, however unequal they are. Yet the theorem survives. At the minimiser the mean of the
# $z_j - z_k$ is $-a > -1$, where $g$ is strictly convex, so equality forces the wrong scores to be equal, and the
# features are an ETF. `train(..., loss=hinge)` takes any function of scores and labels; `Problem` takes a class that
# inherits from `lecturelib.losses.Loss`, whose docstring shows this one.
# :::
#
# :::{exercise} When zero becomes a trap
# :label: ex-losses-focal-zero
# *Core, 40 minutes.* At which price $c$ does $W = H = 0$ become a local minimum for focal loss with $\gamma = 3$,
# $K = 100$ and no bias? Derive it from the second half of {prf:ref}`thm-landscape`'s proof, and check it with
# `lecturelib.unconstrained_features.hessian_min_eigenvalue` on both sides. Between this price and $c^\star$, the
# landscape has a trap. *Hint:* $G$ at zero is $\psi'(0)$ times something simple.
# :::
#
# :::{solution} ex-losses-focal-zero
# :class: dropdown
# The second half of the proof never used convexity: zero is a saddle if $\sigma > \sqrt{\lambda_W \lambda_H}$. At zero
# the contrast of a sample changes the loss at rate $\psi'(0)$, so $G$ has the rows $\psi'(0) (\mathbf 1 - K e_k)/N$
# and $\sigma = \psi'(0) K \sqrt n / N = \psi'(0) / \sqrt n$: zero is a saddle for $c < \psi'(0)$, that is $Kc <
# 1.106$. For $c > \psi'(0)$ the Hessian's form at zero is positive, as its mixed term $2 \langle G, \Delta H\, \Delta
# W^\top \rangle$ is at most $2 \sigma \|\Delta W\|_F \|\Delta H\|_F$ and $\sigma < \sqrt{\lambda_W \lambda_H}$. At
# $W = H = 0$ of `UnconstrainedFeatures(hundred_classes(price))`, the smallest eigenvalue is $-0.00011$ at
# $0.99\,\psi'(0)$ and $0.00011$ at $1.01\,\psi'(0)$. The trap reaches up to $Kc^\star = 1.175$.
# :::
#
# :::{exercise} Positive features and squared error
# :label: ex-losses-positive-mse
# *Core, 40 minutes; harder.* Positive features and squared error. Show that without a bias the minimum of
# {prf:ref}`thm-mse` does not change. With a free bias it does: show that the margin is $1 - K c_+$ if $K c_+ < 1$ and
# $d \ge K$. Lecture 004 says that for this loss the weights are orthogonal too. In which of the two cases is that so?
# *Hint:* in the first case, turn the frame into $K$ coordinates; in the second, use $\psi$.
# :::
#
# :::{solution} ex-losses-positive-mse
# :class: dropdown
# Without a bias, the class means of {prf:ref}`thm-mse` are orthogonal; turned into the first $K$ coordinates they
# have no negative entries, so the minimiser of the larger problem is feasible in the smaller one. With a free bias
# {ref}`squared error is contrastive <ex-losses-mse-contrastive>`, and the price is $c_+$. The class means stay
# orthogonal, but $W = \rho P M$ is a simplex ETF: the weights are orthogonal only where the bias is missing. For this
# chapter's problem with $d = 40$, L-BFGS finds the margins 0.842 and 0.833, and the cosines 0 and $-0.111$ between
# rows of $W$.
# :::
#
# ## Summary
#
# A loss enters the model through one curve, the least loss at a given contrast. The margin is where its slope meets
# the price. Cross-entropy and squared error learn while $Kc < 1$, label smoothing while $\alpha + Kc < 1$, focal loss
# up to $Kc = \varphi'(\log K)$ or, with many classes (for $\gamma = 3$ from 18 on), up to a jump beyond $Kc = 1$.
#
# Squared error gives an ETF if the bias is cheap, an orthogonal frame without one; centred, one ETF.
#
# In our runs the losses differed for narrow networks and short training, squared error most of all, and not
# measurably in the test accuracy of wide ones trained for long. Their features are nearly the positive model's.
#
# ## Further reading
#
# {cite}`zhou2022losses` on contrastive losses, {cite}`zhou2022optimization` on squared error and its landscape,
# {cite}`tirer2022extended` on two layers, {cite}`massion2026encoding` on other codes than one-hot labels.
