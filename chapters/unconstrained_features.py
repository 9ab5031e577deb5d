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
# them. That problem is small enough to solve by hand, and its solution *is* neural collapse. This chapter
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
# **Time**: reading, an hour and a half; running, about a minute on two CPU cores. A GPU changes nothing
# before the last section.
# :::

# %% tags=["hide-cell", "nbval-ignore-output"]
import importlib.util

from IPython import get_ipython

if (
    importlib.util.find_spec("lecturelib") is None
):  # Colab; nothing that is installed changes
    get_ipython().run_line_magic(
        "pip", "install --quiet git+https://repository.invalid/owner/book"
    )

import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from lecturelib import claims
from lecturelib.datasets import load, standardize
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.metrics import ClassStatistics, nc1, nc2, nc3
from lecturelib.networks import MLP
from lecturelib.training import train
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

use_style()
torch.set_num_threads(
    1
)  # problems this small lose more to waiting than they gain
generator = seed_everything(0)

# %% [markdown]
# ## Free the features
#
# A classifier with features $h_{k,i} = \phi_\theta(x_{k,i})$ minimises a loss plus weight decay. That
# problem is highly non-convex. An over-parametrised network can move its features almost anywhere: it fits
# random labels, and even on random inputs it collapses. So pretend that it can move them *exactly*
# anywhere, and drop the network. (Whether a given network can is another question: lecture 004 asks it for
# shallow ones.) The *unconstrained features model* {cite}`mixon2020neural,zhu2021geometric`, also called
# layer-peeled model, is
#
# $$
# \min_{W, H, b} \; f(W, H, b) = \frac1N \sum_{k=1}^K \sum_{i=1}^n
#   \mathcal L\big( W h_{k,i} + b, k \big)
#   + \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 + \frac{\lambda_b}{2} \|b\|^2 ,
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
PROBLEM = {
    "num_classes": 10,
    "samples_per_class": 10,
    "dim": 16,
    "weight_decay": (1e-2, 2.5e-3, 1e-2),  # λ_W, λ_H, λ_b
}
K, n = PROBLEM["num_classes"], PROBLEM["samples_per_class"]
decay_w, decay_h, _ = PROBLEM["weight_decay"]

model = UnconstrainedFeatures(**PROBLEM, starts=64, generator=generator)


def class_cosines(model):
    """Cosines between different class means, shape (starts, K (K-1))."""
    means = model.H.unflatten(-2, (K, n)).mean(-2)
    unit = means / means.norm(dim=-1, keepdim=True)
    return (unit @ unit.mT)[..., ~torch.eye(K, dtype=torch.bool)]


history = minimize(model, metrics={"cosines": class_cosines})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-64-starts", "caption": "Sixty-four random starts of the unconstrained features model with ten classes. Left: how far each objective lies above the value of {prf:ref}`thm-ufm`. Right: all cosines between class means, from every start; they meet at −1/9."}, "image": {"alt": "Two panels against the iteration. Left, 64 curves on a logarithmic axis fall together from above one to below ten to the minus twelve within some fifty iterations. Right, a band of cosines that fills minus 0.8 to 0.8 at the start narrows to a single line at minus one ninth."}}
best = global_minimizer("ce", **PROBLEM)
gap = torch.stack(history["objective"]) / best.objective - 1
cosines = torch.stack(history["cosines"]).flatten(1)

fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
left.semilogy(
    history.epochs,
    gap.abs().clamp_min(1e-15),
    "-",
    color=COLOURS[0],
    alpha=0.25,
)
left.set(xlabel="iteration", title="relative gap to the theorem")
right.fill_between(
    history.epochs,
    cosines.amin(1),
    cosines.amax(1),
    color=COLOURS[1],
    alpha=0.4,
)
right.axhline(-1 / 9, color="0.2", linestyle="--", linewidth=1)
right.set(xlabel="iteration", title="cosines between class means")
plt.show()

# %% [markdown]
# All of them end at the same value, and in all of them the class means stand at cosine
# $-\frac19 = -\frac1{K-1}$. No network, no data, and there is the simplex ETF. So why this value, why
# this figure, and why does no start get stuck?
#
# ## The theorem, from two inequalities
#
# The objective pulls in two directions: the loss wants the right score to beat the others, the penalty
# wants everything small. We bound both by the same quantity. For a sample of class $k$ with scores $z$, call
#
# $$t = \sum_{j \ne k} (z_j - z_k)$$ (eq-contrast)
#
# its *contrast*: it sets the right score against all others at once, and is negative when the right one
# beats their average. If all wrong scores are equal and the right one is larger by the *margin* $a$, then
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
# \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2
#   \ge \sqrt{\lambda_W \lambda_H} \, \|W\|_F \|H\|_F \ge c \, |\bar t| ,
#   \qquad c = \sqrt{n \lambda_W \lambda_H} .
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
c = math.sqrt(n * decay_w * decay_h)
a = math.log(1 / c - (K - 1))
value = math.log(1 + (K - 1) * math.exp(-a)) + c * (K - 1) * a

claims.check("ufm-value", model.objective() / value, 1, abs=1e-8)
claims.check("ufm-margin", model.margin() / a, 1, abs=1e-6)
claims.check(
    "ufm-nc1", [nc1(H, model.labels) for H in model.H.detach()], below=1e-8
)
claims.check("ufm-cosines", class_cosines(model), -1 / (K - 1), abs=1e-6)

means = model.H.unflatten(-2, (K, n)).mean(-2)
duals = math.sqrt(n * decay_h / decay_w) * means
claims.check("ufm-self-duality", (model.W - duals).norm(dim=(1, 2)), below=1e-5)
norm_h = math.sqrt(n * decay_w / decay_h) * (K - 1) * a
claims.check("ufm-norm", model.H.square().sum((1, 2)) / norm_h, 1, abs=1e-6)

# %% [markdown]
# The library's `global_minimizer` returns such a point, for this loss and for those to come. The theorem
# also says that *no* point lies lower. Ten thousand points around it, each row moved by something between a
# thousandth and ten, agree.

# %%
crowd = UnconstrainedFeatures(**PROBLEM, starts=10_000, generator=generator)
steps = torch.logspace(-3, 1, 10_000, dtype=torch.float64)[:, None, None]
crowd.place(
    best.W + steps * crowd.W.detach(), best.H + steps * crowd.H.detach()
)
claims.check("ufm-global", crowd.objective() / value, above=1)

# %% [markdown]
# ## The threshold
#
# :::{admonition} Slide check: any global solution?
# :class: warning
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
def three_classes(kc):
    """Settings for K = 3 in the plane with a given Kc, and λ_W = 2 λ_H."""
    decay = kc / 3 / math.sqrt(5 * 2)
    return {
        "num_classes": 3,
        "samples_per_class": 5,
        "dim": 2,
        "weight_decay": (2 * decay, decay, decay),
    }


def draw_threshold(Kc):
    model = UnconstrainedFeatures(
        **three_classes(Kc), generator=torch.Generator().manual_seed(3)
    )
    minimize(model)
    exact = global_minimizer("ce", **three_classes(Kc))
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.3))
    radius = float(exact.H[0].norm())
    left.add_patch(plt.Circle((0, 0), radius, color="0.6", fill=False))
    for k in range(3):
        h = model.H.detach()[model.labels == k]
        left.plot(*h.T, "osD"[k], color=COLOURS[k], markersize=7)
        left.plot(*zip((0, 0), model.W[k].tolist(), strict=True), "-k", lw=1)
    left.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    left.set_title(f"margin {abs(float(model.margin())):.2f}")
    levels = np.linspace(0.02, 1.3, 200)
    right.plot(
        levels,
        [
            global_minimizer("ce", **three_classes(x)).margin if x < 1 else 0
            for x in levels
        ],
        "-",
        color="0.3",
    )
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
    margin = global_minimizer("ce", **three_classes(Kc)).margin
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
    "(dot). At Kc = 1 the frame has shrunk to zero.",
    labels={"Kc": "Kc, price of contrast times classes"},
    start={"Kc": 0.3},
    Kc=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.3],
)

# %%
above = UnconstrainedFeatures(
    **three_classes(1.1), starts=16, generator=generator
)
minimize(above)
claims.check("ufm-threshold", above.W.abs().amax(), below=1e-6)

near = []
for kc in (0.97, 0.99):
    model_near = UnconstrainedFeatures(**three_classes(kc), generator=generator)
    minimize(model_near)
    near.append(float(model_near.margin()))
claims.check(
    "ufm-threshold-continuous", (near[1] - near[0]) / 0.02, -3, rel=0.05
)

# %% [markdown]
# Networks know this failure, too; the last section shows one.
#
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
y = torch.arange(K)


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
    return torch.randn(
        *shape, generator=generator, dtype=torch.float64, requires_grad=True
    )


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


h, V = random_variable(K, K), random_variable(K, 16)
u = random_variable(K * n, 16)
one = descend(lambda: loss("ce", unit(h), y), h)
bounded = descend(
    lambda: loss("ce", unit(u) @ (V / V.norm()).T, y.repeat_interleave(n)),
    u,
    V,
)

exact = one_example_minimizer(K)
claims.check("one-example-value", one / exact.objective, 1, abs=1e-8)
claims.check("one-example-etf", nc2(unit(h).detach()), below=1e-4)
exact = norm_constrained_minimizer(K, n, dim=16)
claims.check("norm-constrained-value", bounded / exact.objective, 1, abs=1e-8)
means = unit(u).detach().unflatten(0, (K, n)).mean(1)
claims.check("norm-constrained-etf", [nc2(V.detach()), nc2(means)], below=1e-4)

# %% [markdown]
# The figure is the same; the size is fixed by decree, so there is no threshold. What these models do not
# say is what happens *on the way*, and weight decay is what one uses in practice. Back to {eq}`eq-ufm`.
#
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
# F(Z, b) = \frac1N \sum_{k,i} \mathcal L(z_{k,i} + b, k) + \sqrt{\lambda_W \lambda_H}\, \|Z\|_*
#   + \frac{\lambda_b}{2} \|b\|^2 ,
# $$ (eq-convex)
#
# which is convex if the loss is. Lecture 004 takes this road to the theorem; slides *IV* to *VII* take it
# to the landscape, which comes next {cite}`zhu2021geometric,haeffele2015global`.
#
# :::{admonition} Slide check: the weight of the nuclear norm
# :class: warning
# *Geometric Analysis IV* to *VII* pair $\lambda \|(W, H, b)\|^2$ with $\lambda \|Z\|_*$. By the lemma, and
# by the slides' own formula $\|Z\|_* = \min \frac12 (\|W\|_F^2 + \|H\|_F^2)$, the weight must be
# $2\lambda$. One number shows it: at the collapsed minimiser, the twin with $2 \lambda$ has the value of
# the model, the twin with $\lambda$ has only half of its penalty. The two problems on the slide have
# different minima, and different thresholds.
# :::

# %%
slides = 2.5e-3  # the slides' λ: ours is twice that
same = PROBLEM | {"weight_decay": (2 * slides,) * 3}
point = global_minimizer("ce", **same)
Z = point.H @ point.W.T


def twin(weight):
    """The twin's value at Z, with a given weight of the nuclear norm."""
    return loss("ce", Z, model.labels) + weight * torch.linalg.matrix_norm(
        Z, "nuc"
    )


claims.check("convex-twin", twin(2 * slides) / point.objective, 1, abs=1e-9)
claims.check("convex-twin-slide", twin(slides) / point.objective, below=0.8)

library = convex_objective(
    Z, point.b, samples_per_class=n, weight_decay=same["weight_decay"]
)
claims.check("convex-twin-library", library / twin(2 * slides), 1, abs=1e-12)

# %% [markdown]
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
# Critical points with a direction of negative curvature are called *strict saddles*. Gradient descent with a
# small enough step, started at random, almost surely does not converge to one
# {cite}`lee2016gradient,panageas2017gradient`. The slides state the theorem for $d > K$ and conjecture that
# $d \ge K - 1$ suffices; by the argument with $G^\top G$ it does.
#
# To see some, merge classes: split the ten into $m$ groups, and treat each group as a single class. The
# calculation of {prf:ref}`thm-ufm` gives a critical point of rank $m - 1$; $m = 1$ is zero.
# `hessian_min_eigenvalue` finds the smallest eigenvalue with Lanczos's method, which needs only products
# of the Hessian with vectors. The Hessian here would have 1 770 rows, and nobody ever writes it down.


# %%
def curvature_bound(model):
    """Right side of the theorem, from the gradient in the scores."""
    Z = model().detach().requires_grad_()
    (G,) = torch.autograd.grad(loss("ce", Z, model.labels), Z)
    sigma = torch.linalg.matrix_norm(G, 2)
    mean, half = (decay_w + decay_h) / 2, (decay_w - decay_h) / 2
    return float(mean - (half**2 + sigma**2).sqrt())


single = UnconstrainedFeatures(**PROBLEM, generator=generator)
saddles = {m: saddle(single, groups=m) for m in (1, 2, 5)}
forces, ratios = [], []
for m, point in saddles.items():
    gradient = torch.autograd.grad(point.objective(), list(point.parameters()))
    forces += [g.norm() for g in gradient]
    ratios.append(hessian_min_eigenvalue(point) / curvature_bound(point))
    print(f"{m} groups: smallest eigenvalue {curvature_bound(point):.4f}")

claims.check("saddle-critical", torch.stack(forces), below=1e-12)
claims.check("saddle-curvature", ratios, 1, abs=1e-6)
minimum = UnconstrainedFeatures(**PROBLEM).place(best.W, best.H, best.b)
claims.check("minimum-curvature", hessian_min_eigenvalue(minimum), above=-1e-9)

# %% [markdown]
# The bound is exact at these points, and it is the same number for all three: to each other, the classes of a
# group are as unseparated as they are at zero. Now let gradient descent start there, pushed by a
# millionth along the direction of negative curvature.

# %%
runs = {}
for m, point in saddles.items():
    start = UnconstrainedFeatures(**PROBLEM).place(point.W, point.H, point.b)
    _, (dW, dH, db) = hessian_min_eigenvalue(start, direction=True)
    start.place(start.W + 1e-6 * dW, start.H + 1e-6 * dH, start.b + 1e-6 * db)
    runs[m] = minimize(start, method="gd", lr=4.0, iterations=3000, every=5)

ends = [run["objective"][-1] / value for run in runs.values()]
claims.check("saddle-escape", ends, 1, abs=1e-6)

zero = saddle(single)
solver = torch.optim.SGD(zero.parameters(), lr=4.0)
for _ in range(1000):
    solver.zero_grad()
    zero.objective().backward()
    solver.step()
claims.check("saddle-stay", zero.W.norm() + zero.H.norm(), 0)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-escape", "caption": "Gradient descent from three saddles, pushed by a millionth. The objective stays at the saddle's level until the unused dimension has grown, then falls to the global minimum. All three leave at the same time, since the curvature is the same."}, "image": {"alt": "Objective against iteration. Three curves, drawn with different dashes, run along plateaus at 2.3, 1.9 and 1.25 for about 150 iterations, then drop together below 0.8 within some thirty iterations and creep down to one thin line at 0.72, the global minimum."}}
fig, ax = plt.subplots()
for m, style in zip(saddles, ["-", "--", ":"], strict=True):
    ax.plot(
        runs[m].epochs,
        runs[m]["objective"],
        style,
        label=f"{m} group{'s' if m > 1 else ''}, rank {m - 1}",
    )
ax.axhline(value, color="0.2", linestyle="-", linewidth=0.8)
ax.text(2, value + 0.03, "global minimum", fontsize="small")
ax.set(xlim=(0, 300), xlabel="iteration", ylabel="objective")
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: "will always learn"
# :class: warning
# *Geometric Analysis VIII* sums up: iterative algorithms will always learn neural collapse. Two phrases
# promise too much. *Always*: not from a saddle itself, where gradient descent has nowhere to go
# (`saddle-stay`), but from almost every start, with small steps. *Learn neural collapse*: only for
# $Kc < 1$. And the theorem is about free features; a network is a different problem.
# :::
#
# With $d = K - 1$ an ETF just fits. No start gets stuck there either.

# %%
tight = UnconstrainedFeatures(
    **PROBLEM | {"dim": K - 1}, starts=64, generator=generator
)
minimize(tight)
claims.check("tight-dimension", tight.objective() / value, 1, abs=1e-8)
corner = saddle(UnconstrainedFeatures(**PROBLEM | {"dim": K - 1}), groups=5)
ratio = hessian_min_eigenvalue(corner) / curvature_bound(corner)
claims.check("tight-curvature", ratio, 1, abs=1e-6)

# %% [markdown]
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
# label, and does as well as cross-entropy in many tasks {cite}`hui2021evaluation`. (The library takes its
# rescaled version, too.)
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
right = torch.zeros(1, 2, K, dtype=torch.float64)
right[0, 0, 0], right[0, 1, 1] = 5.0, 5.0  # a sample of class 0: easy, hard
easy, hard = (
    float(loss("fl", z, torch.tensor([0]), gamma=3))
    / float(loss("ce", z, torch.tensor([0])))
    for z in right.split(1, dim=1)
)
claims.check("focal-focus", hard / easy, above=1000)

LOSSES = {
    "CE": ("ce", {}),
    "FL": ("fl", {"gamma": 3.0}),
    "LS": ("ls", {"alpha": 0.1}),
    "MSE": ("mse", {}),
}
free = PROBLEM | {"weight_decay": (decay_w, decay_h, 0.0)}  # a free bias
minima, values, ratios, angles = {}, [], [], []
for label, (name, parameters) in LOSSES.items():
    exact = global_minimizer(name, **free, **parameters)
    found = UnconstrainedFeatures(
        loss=name, **free, **parameters, starts=16, generator=generator
    )
    minimize(found)
    values.append(found.objective().detach() / exact.objective)
    ratios.append(found.margin() / exact.margin)
    angles.append(class_cosines(found))
    minima[label] = exact
    print(f"{label}: margin {exact.margin:.3f}")

claims.check("losses-value", torch.stack(values), 1, abs=1e-8)
claims.check("losses-margin", torch.stack(ratios), 1, abs=1e-6)
claims.check("losses-cosines", torch.stack(angles), -1 / 9, abs=1e-6)
smoothed = math.log(1 / (0.1 / K + c) - (K - 1))
claims.check(
    "label-smoothing-margin",
    ratios[2] * minima["LS"].margin,
    smoothed,
    abs=1e-5,
)

# %% [markdown]
# Four losses, one figure; only its size differs. The slides conclude that a large network, trained for
# long, learns largely identical features with any of them, and performs alike. For the features, two
# conditions deserve to be spelled out. The first is hidden in the word *unique*.
#
# ### Where focal loss lets go
#
# :::{admonition} Slide check: "CE, FL and LS all satisfy the contrastive property"
# :class: warning
# *Are All Loses Created Equal? II*. True for CE and LS. Focal loss fails condition (2) when there are many
# classes: with $\gamma = 3$ from $K = 18$ on. What the slide concludes from it survives as long as $Kc < 1$.
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
# \frac{\mathrm d^2 \psi_{\mathrm{FL}}}{\mathrm d u^2}
#   = \varphi''(x)\, r^2 + \varphi'(x)\, p r
#   = p\, r^{\gamma} \big( (1 + 2\gamma)\, r - \gamma x\, (r - \gamma p) \big) .
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
focal_check = check_contrastive("fl", num_classes=100, gamma=3)
others = [check_contrastive(name, 1000) for name in ("ce", "ls")]
claims.check("contrastive-ce-ls", [other.holds for other in others])
claims.check("contrastive-focal", focal_check.holds, False)
claims.check("focal-lower-bound", focal_check.lower_bound)


def bend_at_zero(num_classes):
    """Second derivative of ψ at t = 0, for focal loss with γ = 3."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    psi = contrastive_function("fl", num_classes, gamma=3.0)
    (slope,) = torch.autograd.grad(psi(t), t, create_graph=True)
    return float(torch.autograd.grad(slope, t)[0])


bends = [bend_at_zero(num_classes) for num_classes in range(2, 200)]
first_concave = 2 + next(i for i, bend in enumerate(bends) if bend < 0)
claims.check("contrastive-focal-first", first_concave, 18)
for gamma in (0.5, 1, 2, 5):
    first = check_contrastive("fl", 100, gamma=gamma).first_failure
    print(f"with γ = {gamma:g}, condition (2) fails from K = {first} on")

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
relative = [0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.02, 1.1]
levels = focal_check.critical_c * np.array(relative)
psi_focal = contrastive_function("fl", 100, gamma=3.0)
margins, gains = {"random": [], "collapsed": []}, []
ratios = []
for c_now in levels:
    focal = {
        "num_classes": 100,
        "samples_per_class": 1,
        "dim": 100,
        "weight_decay": (c_now, c_now),
        "bias": False,
        "gamma": 3.0,
    }
    for kind, found in margins.items():
        run = UnconstrainedFeatures(loss="fl", **focal, generator=generator)
        if kind == "collapsed":
            before = global_minimizer(
                "fl", **focal | {"weight_decay": (levels[0], levels[0])}
            )
            run.place(before.W, before.H)
        minimize(run)
        found.append(float(run.margin()))
        lowest = global_minimizer("fl", **focal).objective
        ratios.append(run.objective().item() / lowest)
    gains.append(float(psi_focal(0.0)) - run.objective().item())
claims.check("focal-minimum", ratios, above=0.999999)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-focal", "caption": "Focal loss with γ = 3, 100 classes, one sample each, no bias. Left: the scalar problem at three prices; at the critical one it has two minima of equal value (dots). Right: the margin of the global minimum against the price. Cross-entropy with as many classes runs into zero; focal loss jumps, and around the jump the solver finds one minimum or the other, depending on its start."}, "image": {"alt": "Left, three curves over the margin. At the critical price there is a low hump between margin zero and a second minimum near 2.4, equally low; above it the curve only rises, below it the second minimum is the lower one. Right, the margin of focal loss falls from 3.7 to 2.4 and drops to zero at the critical price; circles for collapsed starts stay on the upper branch even slightly beyond, crosses for random starts lie at zero already slightly before; the dashed curve of cross-entropy falls to zero continuously at 0.85."}}
a_grid = torch.linspace(0, 4, 300, dtype=torch.float64)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.6))
for factor, style in [(1.05, "--"), (1, "-"), (0.95, ":")]:
    price = factor * focal_check.critical_c
    curve = psi_focal(-99 * a_grid) + price * 99 * a_grid
    left.plot(
        a_grid, curve, style, color=COLOURS[0], label=f"{factor:g} $c^\\star$"
    )
for margin in (0.0, focal_check.critical_margin):
    left.plot(margin, psi_focal(0.0), "o", color="0.2")
left.set(xlabel="margin $a$", title=r"$\psi_{\mathrm{FL}}(t) + c\,|t|$")
left.legend(title="$c =$", fontsize="small")

prices = np.linspace(0.55, 1.15, 241) * focal_check.critical_c
for label, name, parameters, style in [
    ("focal loss", "fl", {"gamma": 3.0}, "-"),
    ("cross-entropy", "ce", {}, "--"),
]:
    curve = np.array(
        [
            global_minimizer(
                name, 100, 1, 99, weight_decay=(p, p), bias=False, **parameters
            ).margin
            for p in prices
        ]
    )
    curve[1:][np.abs(np.diff(curve)) > 1] = np.nan  # do not draw the jump
    right.plot(prices / focal_check.critical_c, curve, style, label=label)
for kind, marker, colour in [
    ("random", "x", COLOURS[1]),
    ("collapsed", "o", "0.2"),
]:
    right.plot(
        levels / focal_check.critical_c,
        margins[kind],
        marker,
        color=colour,
        fillstyle="none",
        label=f"FL from {kind} start",
    )
right.axvline(1, color="0.6", linestyle=":")
right.set(xlabel="$c / c^\\star$", title="margin of the minimum")
fig.legend(
    *right.get_legend_handles_labels(),
    loc="outside lower center",
    ncols=4,
    fontsize="small",
)
plt.show()

# %%
last, beyond = relative.index(0.98), relative.index(1.02)
claims.check("focal-upper-branch", margins["collapsed"][last:][:2], above=2)
claims.check("focal-spurious", abs(margins["random"][last]), below=1e-3)
claims.check("focal-jump-from", gains[last], above=1e-3)
claims.check("focal-jump-to", gains[beyond], below=-1e-3)

# %% [markdown]
# So more is lost than continuity. At $0.98\,c^\star$ the global minimum is collapsed, yet the random start
# ended at zero, and there zero is a genuine *local minimum*: {prf:ref}`thm-landscape` needs a convex loss.
#
# Should you mind? All of this happens at $Kc > 1$. Where $\psi$ is concave at zero, its slope there is
# above its limit $\frac{1}{K-1}$, and $c^\star$ is larger still: cross-entropy has given up before. Below
# $Kc = 1$ the global minimum of focal loss is collapsed, like that of the others. (That it has no other
# local minima {prf:ref}`thm-landscape` does not say, as it needs a convex loss.) What is wrong on the slide
# is the statement; with a practical weight decay the conclusion stands.
#
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
# - without a bias: $\tau = 1 - Kc$. Class means and classifier are *orthogonal frames*
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
# \underbrace{\frac{K-1}{2K} (a - 1)^2 + c\,(K-1) |a|}_{\text{shape}}
#   + \underbrace{\frac K2 \Big( \mu - \frac1K \Big)^2 + c\, |\tau| + \frac{\lambda_b}2 K \beta^2}_{\text{mean}} .
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
squared = {
    "num_classes": 4,
    "samples_per_class": 5,
    "dim": 6,
    "loss": "mse",
}
kc = 0.3
decay = kc / 4 / math.sqrt(5)  # λ_W = λ_H
edge = kc / (1 - kc)


def frame_cosine(decay_b):
    """Cosine between class means: numeric, and by the theorem."""
    model = UnconstrainedFeatures(
        **squared,
        weight_decay=(decay, decay, decay_b),
        generator=torch.Generator().manual_seed(0),
    )
    minimize(model)
    means = unit(model.H.detach()[::5])
    a, tau = 1 - kc, max(0, 1 - kc - kc / decay_b)
    return float(means[0] @ means[1]), (tau - a) / (tau + 3 * a)


biases = [0.05, 0.2, 0.4, 0.6, 1, 2, 5, 20, 100]
measured, predicted = np.array([frame_cosine(x) for x in biases]).T
claims.check("mse-frames", measured - predicted, 0, abs=1e-6)
claims.check("mse-etf", measured[:3], -1 / 3, abs=1e-6)

no_bias = UnconstrainedFeatures(
    **squared, weight_decay=(decay, decay), bias=False, generator=generator
)
minimize(no_bias)
means = unit(no_bias.H.detach()[::5])
claims.check("mse-orthogonal", means @ means.T - torch.eye(4), 0, abs=1e-6)
claims.check(
    "mse-scores",
    no_bias() - (1 - kc) * torch.eye(4).repeat_interleave(5, 0),
    0,
    abs=1e-6,
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mse", "caption": "Squared error with four classes and Kc = 0.3: cosine between class means against the weight decay of the bias. Line: {prf:ref}`thm-mse`; dots: L-BFGS. Up to the dotted line the frame is an ETF, far to the right it is orthogonal."}, "image": {"alt": "Cosine against bias weight decay on a logarithmic axis. The curve is flat at minus one third up to 0.43, then rises smoothly towards zero, which it has nearly reached at 100; nine dots lie on it."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
grid = np.logspace(-1.5, 2.3, 300)
tau = np.maximum(0, 1 - kc - kc / grid)
ax.plot(grid, (tau - 1 + kc) / (tau + 3 * (1 - kc)), "-", color="0.3")
ax.plot(biases, measured, "o", color=COLOURS[1])
ax.axvline(edge, color="0.6", linestyle=":")
ax.text(0.04, -0.315, "simplex ETF", fontsize="small")
ax.text(55, -0.06, "orthogonal", fontsize="small")
ax.set(xscale="log", xlabel="weight decay of the bias, $\\lambda_b$")
ax.set_ylabel("cosine")
plt.show()

# %% [markdown]
# :::{admonition} Slide check: "almost the same features"
# :class: warning
# *Are All Loses Created Equal? III* says that CE, FL, LS and MSE lead to (almost) the same features and
# classifiers, for $d \ge K - 1$; lecture 004 says that the free model has the ETF for both cross-entropy
# and squared error, and writes $Z = W H$ without a bias. For squared error this hinges on the bias. Without
# one the frame is orthogonal, and needs $d \ge K$; with a cheap one it is an ETF. *Centred*, all these
# class means are the same ETF. That is why NC2 of the means, which centres them, cannot tell them apart.
# :::
#
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
# another road, a convex relaxation over a larger matrix.)

# %%
positive = UnconstrainedFeatures(
    **PROBLEM | {"dim": 40}, nonnegative=True, starts=64, generator=generator
)
minimize(positive)
c_plus = c * math.sqrt(K / (K - 1))
a_plus = math.log(1 / c_plus - (K - 1))
lowest = math.log1p((K - 1) * math.exp(-a_plus)) + c_plus * (K - 1) * a_plus

heights = positive.objective().detach() / lowest
claims.check("positive-lowest", heights.min(), 1, abs=1e-8)
winner = heights.argmin()
claims.check("positive-margin", positive.margin()[winner], a_plus, abs=1e-6)

W_positive = positive.W[winner].detach()
statistics = ClassStatistics.from_features(
    positive.H[winner].detach(), positive.labels
)
gram = unit(statistics.means) @ unit(statistics.means).T
claims.check("positive-orthogonal", gram - torch.eye(K), 0, abs=1e-6)
claims.check("positive-centred", nc2(statistics.centred_means), below=1e-6)
claims.check("positive-classifier", nc2(W_positive), below=1e-6)
claims.check("positive-duality", nc3(W_positive, statistics.means), below=1e-6)

sizes = []
for factor in (0.9, 1.1):
    decay = factor * math.sqrt((K - 1) / K) / K / math.sqrt(n)
    around = UnconstrainedFeatures(
        **PROBLEM | {"dim": 40, "weight_decay": (decay, decay, decay)},
        nonnegative=True,
        starts=8,
        generator=generator,
    )
    minimize(around)
    sizes.append(around.W[around.objective().argmin()].norm())
claims.check("positive-threshold-below", sizes[0], above=0.1)
claims.check("positive-threshold-above", sizes[1], below=1e-6)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-positive", "caption": "Cosines between the vectors of ten classes, measured at the minimum. Free features and their classifier form an ETF. Positive class means are orthogonal; centred, they are an ETF again, and so is their classifier."}, "image": {"alt": "Four heat maps of ten by ten cosines, with ones on the diagonal and the value of all others written in: minus 0.11 for free class means, zero for positive class means, minus 0.11 again for these after centring and for their classifier."}}
free_means = model.H[0].detach()[::n]
fig, axes = plt.subplots(1, 4, figsize=(7.5, 2.3))
for ax, vectors, title in zip(
    axes,
    [free_means, statistics.means, statistics.centred_means, W_positive],
    ["free means", "positive means", "… centred", "… classifier"],
    strict=True,
):
    gram = unit(vectors) @ unit(vectors).T
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
decay = 0.75 / K / math.sqrt(n)  # Kc = 0.75
narrow = PROBLEM | {"weight_decay": (decay, decay, decay)}
crowded = UnconstrainedFeatures(
    **narrow, nonnegative=True, starts=64, generator=generator
)
minimize(crowded)
exact = global_minimizer("ce", **narrow, nonnegative=True)
heights = crowded.objective().detach() / exact.objective
stuck = heights > 1 + 1e-6
claims.check("positive-stuck", stuck.double().mean(), above=0.1)
lengths = crowded.H.detach()[stuck][:, ::n].norm(dim=-1)
claims.check("positive-dead-class", lengths.amin(-1), below=1e-6)
used = (crowded.H.detach()[stuck] > 1e-9).any(1)
claims.check("positive-no-room", used.double().mean(), 1)

with torch.no_grad():  # nudge every start a little, and go on
    for variable in crowded.parameters():
        variable += 1e-3 * torch.randn(
            variable.shape, generator=generator, dtype=torch.float64
        )
    crowded.H.clamp_(min=0)
minimize(crowded)
again = crowded.objective().detach() / exact.objective
claims.check(
    "positive-local-minima", again[stuck] - heights[stuck], 0, abs=1e-9
)

# %% [markdown]
# In each of them a class has died: its features are zero, and its bias does what it can. Nudged, they come
# back to the same value, as local minima do. A coordinate that no other class uses would offer the dead
# class a way up, and all of them are taken. In the free model any direction orthogonal to the others will
# do, and nine classes in sixteen dimensions leave plenty.
#
# ## Back to networks
#
# The model predicts that the choice of the loss does not matter for the geometry. The slides conclude
# further that it does not matter for the test error either, if the network is large and trained for long.
# Try both: train the multilayer perceptron of [Neural collapse](neural_collapse.ipynb) on the digits, with
# each of the four losses. (`DATASET` and `SCALE` are switches, as there.)

# %%
DATASET, SCALE = "digits", 1
# The claims below were measured with these settings; elsewhere they only report.
claims.strict(DATASET == "digits" and SCALE == 1)
DEVICE = default_device()

train_set, test_set = load(DATASET, "train"), load(DATASET, "test")
x_train = standardize(train_set.inputs).to(DEVICE)
x_test = standardize(test_set.inputs, reference=train_set.inputs).to(DEVICE)
y_train, y_test = train_set.labels.to(DEVICE), test_set.labels.to(DEVICE)


def statistics_of(net):
    return ClassStatistics.from_features(net.features(x_train), y_train)


metrics = {
    "NC1": lambda net: nc1(net.features(x_train), y_train),
    "NC2": lambda net: nc2(statistics_of(net).centred_means),
    "NC3": lambda net: nc3(net.head.weight, statistics_of(net).means),
    "train": lambda net: (net(x_train).argmax(1) == y_train).double().mean(),
    "test": lambda net: (net(x_test).argmax(1) == y_test).double().mean(),
}
EPOCHS = 480 if DATASET == "digits" else 150
widths = [x_train[0].numel(), *[100 * SCALE] * 5, train_set.num_classes]
histories = {}
for label, (name, parameters) in LOSSES.items():
    seed_everything(0)
    net = MLP(widths, batch_norm=True).to(DEVICE)
    histories[label] = train(
        net,
        x_train,
        y_train,
        epochs=EPOCHS,
        lr=0.05,
        milestones=[EPOCHS * 5 // 6],
        batch_size=350,
        weight_decay=2e-3,
        loss=partial(loss, name, **parameters),
        metrics=metrics,
        every=EPOCHS // 20,
    )

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-networks", "caption": "The digits network, trained with four losses. All approach the same geometry; how near they come differs most in NC3."}, "image": {"alt": "Three panels, NC1, NC2 and NC3 against the epoch on logarithmic axes, one curve with its own dashes for each of four losses. NC1 falls by more than four orders of magnitude to below 0.01 for every loss, NC2 by one order to between 0.05 and 0.1, NC3 by one to three orders, to 0.002 for squared error and 0.01 to 0.1 for the others."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 3), sharex=True)
for ax, metric in zip(axes, ["NC1", "NC2", "NC3"], strict=True):
    for (label, run), style in zip(
        histories.items(), ["-", "--", ":", "-."], strict=True
    ):
        ax.semilogy(run.epochs, run[metric], style, label=label)
    ax.set(title=metric, xlabel="epoch")
axes[0].legend(fontsize="small")
plt.show()


# %%
def final(metric):
    return [run[metric][-1] for run in histories.values()]


claims.check("networks-nc1", final("NC1"), below=0.02)
claims.check("networks-nc2", final("NC2"), below=0.25)
claims.check("networks-nc3", final("NC3"), below=0.25)
claims.check("networks-fit", final("train"), 1)
spread = max(final("test")) - min(final("test"))
claims.check("networks-test", spread, below=0.02)

# %% [markdown]
# The geometry agrees, and the test accuracies differ by no more than chance: with 397 test images, their
# standard error is about one per cent. On the slides, ResNet-50 on CIFAR-10 behaves alike, and a WideResNet
# on mini-ImageNet reaches 79.3 % to 80.2 % with all four losses if it is wide and trained for 800 epochs,
# but 69.2 % to 72.0 % if it is narrow and trained for 200.
#
# And too much weight decay? Without batch normalisation, ten times as much is enough.

# %%
ends = {}
for decay in (2e-3, 2e-2):
    seed_everything(0)
    net = MLP(widths).to(DEVICE)
    run = train(
        net,
        x_train,
        y_train,
        epochs=100,
        lr=0.05,
        batch_size=350,
        weight_decay=decay,
        metrics={
            "size": lambda net: net.features(x_train).norm(dim=1).mean(),
            "loss": lambda net: loss("ce", net(x_train), y_train),
        },
        every=100,
    )
    ends[decay] = {name: run[name][-1] for name in ("size", "loss")}

claims.check("networks-alive", ends[2e-3]["loss"], below=0.1)
claims.check("networks-dead-size", ends[2e-2]["size"], below=0.1)
claims.check("networks-dead-loss", ends[2e-2]["loss"], math.log(10), abs=1e-3)

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
# :::{exercise}
# :label: ex-ufm-imagenet
# In the model, let $\lambda_W = \lambda_H = 5 \cdot 10^{-4}$. From how many samples per class on is nothing
# learned with ten classes? With ImageNet's thousand? With $n = 1300$ and a thousand classes, what must
# $\lambda_H$ be if $\lambda_W$ stays? What does that say about taking the model's numbers literally?
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
# :::{exercise}
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
# :::{exercise}
# :label: ex-ufm-smoothing
# Let the weight decay go to zero. Show that the margin of cross-entropy grows like
# $\frac12 \log \frac{1}{\lambda_W \lambda_H}$ without bound, and that of label smoothing does not. Which
# finite margin does $\alpha = 0.1$ aim for with ten classes? *Hint:* {eq}`eq-margin`.
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
tiny = PROBLEM | {"weight_decay": (1e-5, 1e-5, 1e-5)}
smooth = UnconstrainedFeatures(
    loss="ls", **tiny, alpha=0.1, generator=generator
)
minimize(smooth, iterations=20_000)
claims.check("label-smoothing-limit", smooth.margin(), math.log(91), abs=0.01)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise}
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
psi = contrastive_function("mse", K)
t = -(K - 1) * (1 - K * c)
bound = psi(t) + c * abs(t)
claims.check("mse-contrastive", minima["MSE"].objective / bound, 1, abs=1e-12)
without = UnconstrainedFeatures(
    loss="mse",
    **PROBLEM | {"weight_decay": (decay_w, decay_h), "bias": False},
    generator=generator,
)
minimize(without)
claims.check("mse-no-bias-higher", without.objective() / bound, above=1.01)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise}
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
settings = {
    "num_classes": K,
    "samples_per_class": n,
    "dim": 16,
    "weight_decay": (decay_w, decay_h),
    "bias": False,
}
whole = global_minimizer("mse", **settings)
sigma = math.sqrt(n) / (K * n)
expected = (decay_w + decay_h) / 2 - math.hypot((decay_w - decay_h) / 2, sigma)
forces, ratios = [], []
for learned in (2, 5, 9):
    W_some, H_some = whole.W.clone(), whole.H.clone()
    W_some[learned:], H_some[learned * n :] = 0, 0
    point = UnconstrainedFeatures(loss="mse", **settings)
    point.place(W_some, H_some)
    gradient = torch.autograd.grad(point.objective(), list(point.parameters()))
    forces += [g.norm() for g in gradient]
    ratios.append(hessian_min_eigenvalue(point) / expected)
claims.check("partial-critical", torch.stack(forces), below=1e-12)
claims.check("partial-curvature", ratios, 1, abs=1e-6)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise}
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
t = torch.zeros((), dtype=torch.float64, requires_grad=True)
psi = contrastive_function("fl", 100, gamma=3.0)
(slope,) = torch.autograd.grad(psi(t), t)
claims.check("focal-trap", float(slope) / focal_check.critical_c, below=0.95)
curvatures = []
for price in (0.99 * float(slope), 1.01 * float(slope)):
    focal = UnconstrainedFeatures(
        100,
        1,
        100,
        loss="fl",
        gamma=3.0,
        weight_decay=(price, price),
        bias=False,
    )
    curvatures.append(hessian_min_eigenvalue(saddle(focal)))
claims.check("focal-trap-sign", curvatures[0] < 0 < curvatures[1])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise}
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
    positive = UnconstrainedFeatures(
        **settings | {"dim": 40, "bias": bias},
        loss="mse",
        nonnegative=True,
        starts=16,
        generator=generator,
    )
    minimize(positive)
    winner = positive.objective().argmin()
    margins_found.append(float(positive.margin()[winner]))
    frame = unit(positive.W[winner].detach())
    cosines_found.append(float(frame[0] @ frame[1]))

expected = np.array([1 - K * c, 1 - K * c_plus])
claims.check("positive-mse-margin", margins_found - expected, 0, abs=1e-6)
claims.check(
    "positive-mse-weights", cosines_found - np.array([0, -1 / 9]), 0, abs=1e-6
)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise}
# :label: ex-ufm-imbalance
# *Open.* Give the classes different numbers of samples. The contrast argument breaks where the sum over
# samples was evenly shared. Write the objective for $n_1$ samples in half of the classes and $n_2$ in the
# others, minimise it with torch's L-BFGS, and follow the norms of the rows of $W$ that belong to rare
# classes, and the distances between them, as $n_1 / n_2$ grows. Lecture 004 mentions that small classes can
# be ignored completely; {cite}`fang2021exploring` call it *minority collapse*. Do you find it? At which
# ratio?
# :::
#
# :::{solution} ex-ufm-imbalance
# :class: dropdown
# Use `loss("ce", H @ W.T + b, labels)` with `labels = torch.arange(K).repeat_interleave(counts)` and add
# the three penalties. Rare classes buy little reduction of the average loss for the same price, so their
# contrast to each other is given up first. In one run of ours ($K = 10$, $d = 16$, two samples in the rare
# classes, $\lambda_W = \lambda_b = 0.005$, $\lambda_H = 0.0025$) the largest distance between rare rows was
# 2.7 at ratio 10 and 1.8 at 30; at 40 it was zero, the rows being of length 0.6, and at 100 they were zero
# themselves. Where this happens depends on the weight decays: report the ratio together with them.
# :::
#
# :::{exercise}
# :label: ex-ufm-narrow
# *Open.* What if $d < K - 1$? Then there is no ETF. Minimise {eq}`eq-ufm` with $d = 2$ and seven classes in
# the same way, with a cheap bias, a dear one, and none. Which arrangement comes out, and why does the bias
# matter?
# :::
#
# :::{solution} ex-ufm-narrow
# :class: dropdown
# Without a bias, or with $\lambda_b = 100 \lambda_W$, we found the regular heptagon from twelve starts out
# of twelve (at $\lambda_W = \lambda_H = 0.001$). With $\lambda_b = \lambda_W$ all twelve ended lower, in a
# regular hexagon and one class in its centre: its features are zero, and its bias tells it apart. Other
# weight decays have other winners, and starts need not agree. {cite}`jiang2023generalized` study more
# classes than dimensions in general.
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
