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
# Wide networks, trained by three algorithms, on images or on noise, came close to one and the same arrangement.
# Whatever explains it cannot be in the images, nor in the algorithm. So take away what is left: drop the network,
# and let the features be free variables, put wherever the training objective would like to have them. That problem
# is small enough to solve by hand, and its solution *is* {term}`neural collapse`. This chapter solves it, looks at
# the landscape around the solution, and asks what changes when features must be positive, or classes are of unequal
# size.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** derive the global minimisers of the unconstrained features model and the weight decay
# beyond which nothing is learned; show why gradient descent is not trapped; and say which classes melt into one
# when some are rare.
#
# **Follows** lecture 003: *Simplification: Unconstrained Features I–IV* and *Geometric Analysis for Unconstrained
# Features Model I–VIII*; lecture 004 on the unconstrained and the positive features model.
#
# **You need** the chapter [Neural collapse](neural_collapse.ipynb), singular values, the Hessian, convex functions
# and the tangents below them, and the Cauchy–Schwarz inequality.
#
# **Time**: reading, an hour and a half; running, about a minute on two CPU cores.
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
from lecturelib.device import seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.losses import CrossEntropy, LabelSmoothing
from lecturelib.metrics import ClassStatistics, cosines, nc1, nc3
from lecturelib.records import recorded
from lecturelib.unconstrained_features import (
    Problem,
    UnconstrainedFeatures,
    WeightDecay,
    convex_objective,
    global_minimizer,
    hessian_min_eigenvalue,
    minimize,
    saddle,
)

use_style()
torch.set_num_threads(1)  # problems this small lose more to waiting than they gain
generator = seed_everything(0)

# %% [markdown]
# (sec-ufm-model)=
# ## Free the features
#
# A classifier with {term}`features <feature>` $h_{k,i} = \phi_\theta(x_{k,i})$ minimises a loss plus {term}`weight
# decay`. That problem is highly non-convex. The usual linearisation of wide networks, the neural tangent kernel,
# {claim}`looks at outputs and says hardly anything about features <tangent-kernel-silent>`. But {claim}`an
# over-parametrised network can move its features almost anywhere <ufm-validity>`: it fits random labels, and even
# on random inputs it collapses. So pretend that it can move them *exactly* anywhere, and drop the network. (Whether
# a given network can is another question: lecture 004 asks it for shallow ones.) The *unconstrained features model*
# {cite}`mixon2020neural,zhu2021geometric`, or *layer-peeled model* {cite}`fang2021exploring`, is
#
# $$
# \begin{aligned}
# \min_{W, H, b} \; f(W, H, b) = {} & \frac1N \sum_{k=1}^K \sum_{i=1}^n
#   \mathcal L\big( W h_{k,i} + b, k \big) \\
#   & + \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 + \frac{\lambda_b}{2} \|b\|^2 ,
# \end{aligned}
# $$ (eq-ufm)
#
# There are $K$ classes with $n$ samples each, $N = nK$, and features in $\mathbb R^d$; $h_{k,i}$ belongs to sample
# $i$ of class $k$. The features are the rows of $H \in \mathbb R^{N \times d}$, and $w_k$ is row $k$ of
# $W \in \mathbb R^{K \times d}$; $\|\cdot\|_F$ is the root of the sum of squares. The inputs are gone: only the labels
# know which feature belongs to which class. The penalty on $H$ stands for the weight decay of all the layers that
# are gone as well. (The slides write $\lambda \|\cdot\|^2$ with one $\lambda$ for everything. Ours has the factor ½
# of PyTorch's `weight_decay`, and three numbers, which will play different parts.)
#
# The model is small but not trivial. It is not convex: the product $W h$ of two unknowns sees to that. So before
# any theory, try it. Below are 64 random starts, minimised side by side by L-BFGS.

# %%
# K, n and d, and the three weight decays
PROBLEM = Problem(10, 10, 16, WeightDecay(W=1e-2, H=2.5e-3, b=1e-2))
K, n = PROBLEM.num_classes, PROBLEM.samples_per_class
decay_w, decay_h = PROBLEM.weight_decay.W, PROBLEM.weight_decay.H


def random_starts(problem, *batch_shape):
    """Random points of a problem, in double precision."""
    return UnconstrainedFeatures(
        problem, batch_shape=batch_shape, generator=generator, dtype=torch.float64
    )


def class_cosines(model):
    """Cosines between different class means, shape (…, K (K-1) / 2)."""
    return cosines(model.H.unflatten(-2, (K, n)).mean(-2))


model = random_starts(PROBLEM, 64)
history = minimize(model, metrics={"cosines": class_cosines})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-64-starts", "caption": "Sixty-four random starts of the unconstrained features model with ten classes. Left: how far each objective lies above the value of {prf:ref}`thm-ufm`. Right: all cosines between class means, from every start; they meet at $-1/9$."}, "image": {"alt": "Two panels against the iteration. Left, 64 curves on a logarithmic axis fall together from above one to below ten to the minus twelve within some fifty iterations. Right, a band of cosines that fills minus 0.8 to 0.8 at the start narrows to a single line at minus one ninth."}}
best = global_minimizer(PROBLEM)
gap = history["objective"] / best.objective - 1
angles = history["cosines"].flatten(1)

fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
gap = gap.abs().clamp_min(1e-15)
left.semilogy(history.steps, gap, "-", color=COLOURS[0], alpha=0.25)
left.set(xlabel="iteration", title="relative gap to the theorem")
ends = angles.amin(1), angles.amax(1)
right.fill_between(history.steps, *ends, color=COLOURS[1], alpha=0.4)
right.axhline(-1 / 9, color="0.2", linestyle="--", linewidth=1)
right.set(xlabel="iteration", title="cosines between class means")
plt.show()

# %% [markdown]
# All of them end at the same value, and in all of them the {term}`class means <class mean>` stand at cosine
# $-\frac19 = -\frac1{K-1}$. No network, no data, and there is the {term}`simplex ETF`. So why this value, why this
# arrangement, and why does no start get stuck?
#
# (sec-ufm-two)=
# ## Two classes, by hand
#
# Start with the smallest case: two classes, one sample of each, one dimension, no bias. Put the features at
# $\pm h/\sqrt2$ and the two rows of $W$ at $\pm w/\sqrt2$. (The root makes $\|W\|_F = |w|$ and $\|H\|_F = |h|$; that no
# other placing is cheaper is part of the theorem.) Two numbers are left. A sample has the right score
# $\frac12 wh$ and the wrong score $-\frac12 wh$, so the right one leads by $a = wh$. Call this lead the
# *{term}`margin`*. Cross-entropy is $\log(1 + e^{-a})$, and the objective is
#
# $$f(w, h) = \log\big(1 + e^{-wh}\big) + \frac{\lambda_W}{2} w^2 + \frac{\lambda_H}{2} h^2 .$$ (eq-two)
#
# **What does a margin cost?** There are many ways to get $wh = a$. As $x^2 + y^2 \ge 2xy$,
#
# $$
# \frac{\lambda_W}{2} w^2 + \frac{\lambda_H}{2} h^2 \ge \sqrt{\lambda_W \lambda_H}\; |wh| = c\,|a| ,
#   \qquad c = \sqrt{\lambda_W \lambda_H} ,
# $$
#
# with equality if both halves of the bill are equal, $\lambda_W w^2 = \lambda_H h^2$. So in the cheapest way each
# unit of margin costs $c$, be it the first or the tenth.
#
# **What does it earn?** One more unit of margin lowers the loss at the rate
#
# $$-\frac{d}{da} \log\big(1 + e^{-a}\big) = \frac{1}{1 + e^{a}} .$$
#
# That is ½ at the start, and less and less later, since the loss is convex.
#
# **So where does one stop?** Where the next unit earns just what it costs, $1/(1 + e^a) = c$. That gives
# $a = \log(1/c - 1)$. With $c = 0.01$ it is $a = 4.6$: the model is 99 % sure and not more, because the last per
# cent would cost more than it earns. And if the very first step earns too little, $\frac12 \le c$, it does not pay
# to begin. The best features are zero.
#
# The theorem for $K$ classes goes the same way: one number for failure or success, the least loss it allows, the
# least penalty it costs, and the balance of the two. All that $K$ classes and $n$ samples add are more ways to
# waste.
#
# (sec-ufm-theorem)=
# ## The theorem, from two inequalities
#
# First the number that measures failure or success. For a sample of class $k$ with scores $z$, call
#
# $$t = \sum_{j \ne k} (z_j - z_k)$$ (eq-contrast)
#
# its *{term}`contrast`*: it sets the right score against all others at once, and is negative when the right one beats
# their average. The more negative, the better. If all wrong scores are equal and the right one is larger by the
# margin $a$, then $t = -(K-1) a$; with two classes, $t = -a$. We write $t_{k,i}$ for the contrast of a sample and
# $\bar t$ for the average over all. (In what follows, $e_k$ is the $k$-th unit vector, $\mathbf 1$ the vector of
# ones, and $\langle A, B \rangle = \sum_{ij} A_{ij} B_{ij}$.)
#
# **The loss from below.** Cross-entropy is $\log\big(1 + \sum_{j \ne k} e^{z_j - z_k}\big)$. The average of $K - 1$
# exponentials is at least the exponential of the average. That is step (1):
#
# $$
# \mathcal L_{\mathrm{CE}}(z, k) \ge \psi(t), \qquad
#   \psi(t) = \log\big(1 + (K-1)\, e^{t/(K-1)} \big) .
# $$ (eq-loss-bound)
#
# - *Equality in (1)*: exactly if all wrong scores are equal.
#
# The function $\psi$ is increasing and strictly convex. So the average of the $\psi(t_{k,i})$ is at least
# $\psi(\bar t)$: step (2).
#
# - *Equality in (2)*: exactly if all samples have the same contrast.
#
# **The penalty from below.** How cheaply can one buy contrast? Let $s_k = \sum_i h_{k,i}$ be the class sums, as
# rows of $S$, and $P = I - \frac1K \mathbf 1 \mathbf 1^\top$ the projection that centres. Contrast is linear,
# $t_{k,i} = (\mathbf 1 - K e_k)^\top (W h_{k,i} + b)$. Summed over $k$, $n (\mathbf 1 - K e_k)$ is zero, since the
# classes have equal size. So $b$ drops out, and what is left is
#
# $$
# N \bar t = \sum_k (\mathbf 1 - K e_k)^\top W s_k
#   = \Big\langle W,\ \mathbf 1 \big(\textstyle\sum_k s_k\big)^\top - K S \Big\rangle = -K \langle W, P S \rangle .
# $$
#
# Now four more steps, each of which can only lose:
#
# $$
# \begin{aligned}
# N |\bar t| = K |\langle W, P S \rangle| &\le K\, \|W\|_F \, \|PS\|_F && (3) \\
#   &\le K\, \|W\|_F \, \|S\|_F && (4) \\
#   &\le K \sqrt n \; \|W\|_F \, \|H\|_F && (5) \\
#   &\le \frac{K \sqrt n}{\sqrt{\lambda_W \lambda_H}} \Big( \frac{\lambda_W}{2} \|W\|_F^2
#     + \frac{\lambda_H}{2} \|H\|_F^2 \Big) . && (6)
# \end{aligned}
# $$
#
# - *(3)* is Cauchy–Schwarz. Equality, with $\bar t < 0$: $W$ is a positive multiple of $PS$.
# - *(4)*: centring shortens. Equality: the class sums add up to zero.
# - *(5)*: $\|s_k\|^2 \le n \sum_i \|h_{k,i}\|^2$. Equality: the features of each class are equal.
# - *(6)*: $x^2 + y^2 \ge 2xy$. Equality: both halves of the bill agree, $\lambda_W \|W\|_F^2 = \lambda_H \|H\|_F^2$.
#
# As $N = nK$, the whole chain says
#
# $$
# \frac{\lambda_W}{2} \|W\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 \ge c \, |\bar t| ,
#   \qquad c = \sqrt{n \lambda_W \lambda_H} .
# $$ (eq-price)
#
# This $c$ is the price of one unit of contrast. Value and margin of the minimum will depend on $n$, $\lambda_W$ and
# $\lambda_H$ through $c$ alone.
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
# and the global minimisers are exactly the collapsed points of margin $a$: every feature equals its class mean
# $\bar h_k$; the class means form a simplex ETF around zero with
# $\|H\|_F^2 = \sqrt{n \lambda_W / \lambda_H}\, (K-1)\, a$; and $w_k = \sqrt{n \lambda_H / \lambda_W}\; \bar h_k$.
# In both cases $b$ is a multiple of $\mathbf 1$, and zero if $\lambda_b > 0$.
# :::
#
# :::{prf:proof}
# *The value.* By (1) to (6), $f \ge \psi(\bar t) + c |\bar t| + \frac{\lambda_b}2 \|b\|^2$. As $\psi$ increases, a
# positive $\bar t$ is never worth it. So with $\bar t = -(K-1)a$ the right-hand side is at least the minimum in the
# theorem. What the next bit of margin costs, less what it earns, is
#
# $$c\,(K-1) - \frac{(K-1) e^{-a}}{1 + (K-1) e^{-a}} ,$$
#
# and it increases with $a$. At $a = 0$ it is $(K-1)\big(c - \frac1K\big)$. If $Kc \ge 1$, the minimum is at
# $a = 0$. Otherwise it is where $e^{-a} = c\,(1 + (K-1) e^{-a})$, which is {eq}`eq-margin`.
#
# *If $Kc \ge 1$*, a minimiser has
#
# $$\log K = f \ge \psi(\bar t) + \text{penalties} \ge \psi(\bar t) + c\, |\bar t| \ge \log K .$$
#
# The last is an equality only at $\bar t = 0$, so the penalties are zero, and $W = H = 0$. All samples of class $k$
# then have the contrast $\sum_j b_j - K b_k$. By equality in (2) these agree, so the $b_k$ agree.
#
# *If $Kc < 1$*, a minimiser has $\bar t = -(K-1) a < 0$ and equality in every step. Let $M$ have the class
# means $\bar h_k$ as rows, so that $S = nM$. By (5) every feature is its class mean. By (4) the means sum to
# zero, so $PS = S$. By (3) $W = \rho M$ with $\rho > 0$. By (6) $\lambda_W \rho^2 \|M\|_F^2 = \lambda_H
# \|H\|_F^2 = \lambda_H\, n \|M\|_F^2$, so $\rho^2 = n \lambda_H / \lambda_W$.
#
# By (1) and (2) each sample has contrast $\bar t$ and equal wrong scores. So for all $j \ne k$
#
# $$\rho \langle \bar h_k, \bar h_k \rangle + b_k - \rho \langle \bar h_j, \bar h_k \rangle - b_j = a .$$
#
# Sum over $j \ne k$. The means add up to zero, so
#
# $$K \big( \rho \|\bar h_k\|^2 + b_k \big) - \sum_j b_j = (K-1) a ,$$
#
# and $\rho \|\bar h_k\|^2 + b_k$ is the same for every class. Hence $\rho \langle \bar h_j, \bar h_k \rangle + b_j$
# is one number for all $j \ne k$. Exchange $j$ and $k$: the inner product stays, so $b_j = b_k$. Now all
# $b_j$ are equal, and with them all lengths and all inner products. That is a simplex ETF, and $K \rho \|\bar
# h_k\|^2 = (K-1) a$ gives the norms. If $\lambda_b > 0$, a bias other than zero would add to the value.
#
# *Such points exist* if $d \ge K - 1$: an ETF of that size turns all inequalities into equalities.
# :::
#
# **In two sentences.** Loss and penalty are both bounded by one number, the average contrast, and the best contrast
# is where the next unit earns just what it costs. Every step of the two bounds names one kind of waste, and a
# minimiser is what wastes nothing.
#
# The six kinds can be measured at any point: what each step loses there. Let gradient descent go from a random
# start, and watch.


# %%
c = math.sqrt(n * decay_w * decay_h)


@torch.no_grad()
def waste(model):
    """What the steps (1) to (6) of the proof lose where the model stands."""
    Z, W, H, loss = model(), model.W, model.H, CrossEntropy()
    t = (Z - Z.gather(-1, model.labels[:, None])).sum(-1)
    S = H.unflatten(0, (K, n)).sum(1)
    chain = [
        loss(Z, model.labels),
        loss.bound(t, K).mean(),
        loss.bound(t.mean(), K),
        decay_w / 2 * W.square().sum() + decay_h / 2 * H.square().sum(),
        math.sqrt(decay_w * decay_h) * W.norm() * H.norm(),
        c / n * W.norm() * S.norm(),
        c / n * W.norm() * (S - S.mean(0)).norm(),
        c * t.mean().abs(),
    ]
    return -torch.stack(chain).diff()[[0, 1, 6, 5, 4, 3]]


walker = random_starts(PROBLEM)
walk = minimize(walker, method="gd", lr=4.0, steps=300, metrics={"waste": waste})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-waste", "caption": "What each step of the proof loses along gradient descent from a random start. In the end nothing is wasted: that is neural collapse."}, "image": {"alt": "Six curves against the iteration on a logarithmic axis, each with its own dashes. They start between a thousandth and a tenth; some rise at first; from iteration 50 on all but one fall steadily, most of them as straight lines, and at iteration 300 they lie between a ten-thousandth and a billionth. The sixth, balance, dips twice on its way."}}
names = [
    "(1) wrong scores differ",
    "(2) samples differ in contrast",
    "(3) W is not aligned with the means",
    "(4) means are not centred",
    "(5) features of a class differ",
    "(6) W and H out of balance",
]
styles = ["-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3))]
fig, ax = plt.subplots(figsize=(7, 3.4))
for name, style, curve in zip(names, styles, walk["waste"].T, strict=True):
    ax.semilogy(walk.steps, curve.clamp_min(1e-16), linestyle=style, label=name)
ax.set(xlabel="iteration", ylabel="lost", ylim=(1e-9, 10))
ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# All the properties are there, and the proof tells where each comes from: NC1 from (5), the cheapest way to have a
# class sum; NC2 from (1), (2) and (4): equal wrong scores, equal contrasts, and means around zero; NC3 from (3).
# NC4 follows from them: the rows of $W$ are the class means times one factor, all means have one length, and the
# biases agree. Now the numbers of the theorem, at the ends of the 64 starts: value and margin first.


# %%
def theorem(c):
    """Margin and value of the minimum at the price c, if Kc < 1."""
    a = math.log(1 / c - (K - 1))
    return a, math.log(1 + (K - 1) * math.exp(-a)) + c * (K - 1) * a


a, value = theorem(c)
_, without_n = theorem(math.sqrt(decay_w * decay_h))

reached = model.objective()
claims.check("ufm-value", reached / value, 1, abs=1e-8, control=reached / without_n)
margin, other = model.margin(), math.log(1 / c - K)
claims.check("ufm-margin", margin / a, 1, abs=1e-6, control=margin / other)

# %% [markdown]
# And the arrangement: no spread within a class, cosines $-\frac19$, and a classifier that is $\sqrt{n \lambda_H /
# \lambda_W}$ times the class means.

# %%
variability = [nc1(H, model.labels) for H in model.H.detach()]
control = nc1(random_starts(PROBLEM).H.detach(), model.labels)
claims.check("ufm-nc1", variability, below=1e-8, control=control)
final, random = class_cosines(model), history["cosines"][0, 0]
claims.check("ufm-cosines", final, -1 / (K - 1), abs=1e-6, control=random)
means, ratio = model.H.unflatten(-2, (K, n)).mean(-2), math.sqrt(decay_h / decay_w)
distance, control = (
    (model.W - factor * ratio * means).norm(dim=(1, 2)) for factor in (math.sqrt(n), 1)
)
claims.check("ufm-self-duality", distance, below=1e-5, control=control)
lost, control = walk["waste"][-1].sum(), walk["waste"][0].sum()
claims.check("ufm-waste", lost, below=1e-3, control=control)

# %% [markdown]
# (sec-ufm-threshold)=
# ## The threshold
#
# At the threshold nothing jumps: by {eq}`eq-margin` the margin runs into zero continuously, with slope $-K$ in
# $Kc$. Drag $Kc$ across one. The markers are features found by L-BFGS from a random start, the lines from the
# origin its classifier, the circle is the theorem.


# %% tags=["hide-input"]
def three_classes(kc):
    """A problem of three classes in the plane with a given Kc, and λ_W = 2 λ_H."""
    decay = kc / 3 / math.sqrt(5 * 2)
    return Problem(3, 5, 2, WeightDecay(2 * decay, decay, decay))


def upright(W, H):
    """Turn the plane, which is free, so that the first class points up and the second right."""
    up = torch.nn.functional.normalize(W[0], dim=0)
    across = torch.stack([up[1], -up[0]])
    frame = torch.stack([across * torch.sign(across @ W[1]), up], 1)
    return W @ frame, H @ frame


def draw_threshold(Kc):
    problem, seed = three_classes(Kc), torch.Generator().manual_seed(3)
    model = UnconstrainedFeatures(problem, generator=seed, dtype=torch.float64)
    minimize(model)
    fig, ax = plt.subplots(figsize=(3.4, 3.4))
    length = float(global_minimizer(problem).H[0].norm())
    ax.add_patch(plt.Circle((0, 0), length, color="0.6", fill=False))
    W, H = upright(model.W.detach(), model.H.detach())
    for k, (x, y) in enumerate(W.tolist()):
        ax.plot(*H[model.labels == k].T, "osD"[k], color=COLOURS[k])
        ax.plot([0, x], [0, y], "-k", lw=1)
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    ax.set_title(f"margin {abs(float(model.margin())):.2f}")
    return fig


def describe_threshold(Kc):
    best = global_minimizer(three_classes(Kc))
    length = float(best.H[0].norm())
    place = f"120 degrees apart on a circle of radius {length:.1f}"
    place = place if best.margin > 1e-6 else "all at zero"
    return f"At Kc = {Kc} the features of three classes lie {place}; the margin is {best.margin:.2f}."


explore(
    draw_threshold,
    name="threshold",
    alt=describe_threshold,
    caption="Three classes in the plane: features (markers) and classifier (lines) of the numeric minimum, and "
    "the exact length of the features (circle). At $Kc = 1$ the arrangement has shrunk to zero.",
    labels={"Kc": "Kc, price of contrast times classes"},
    start={"Kc": 0.3},
    Kc=[0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.3],
)


# %%
def largest_weight(kc):
    """Largest entry of W where each of 16 starts ends."""
    found = random_starts(three_classes(kc), 16)
    minimize(found)
    return found.W.detach().abs().amax((1, 2))


control = largest_weight(0.9)
claims.check("ufm-threshold", largest_weight(1.1), below=1e-6, control=control)

# %% [markdown]
# :::{admonition} Slide check: any global solution?
# :class: warning slide-check
# :name: slide-check-ufm-threshold
# *Geometric Analysis for Unconstrained Features Model II* says that any global solution is neural collapse. That
# needs $Kc < 1$, that is $K^2 n \lambda_W \lambda_H < 1$. From there on, the only global solution is zero, where
# nothing is separated from anything. In the slides' convention, with $\lambda \|\cdot\|^2$ on all variables, the
# condition reads $2 K \sqrt n \, \lambda < 1$. The thresholds of other losses are in [Are all losses
# created equal?](losses.ipynb).
# :::
#
# (sec-ufm-relatives)=
# ## Two relatives
#
# Weight decay sets the size of the solution, and the threshold. Does it set the angles, too? *Simplification IV* on
# the slides bounds the norms instead of penalising them.
#
# With one score vector $\|h_k\| \le 1$ for each class and no classifier {cite}`lu2022neural` (the slide: $= 1$; the
# minimiser is the same), $t_k = (\mathbf 1 - K e_k)^\top h_k \ge -\sqrt{K(K-1)}$, with equality for $h_k$ along
# $e_k - \frac1K \mathbf 1$. With $\|W\|_F \le 1$ and all $\|h_{k,i}\| \le 1$
# {cite}`ewojtowytsch2022emergence,fang2021exploring,graf2021dissecting`, steps (3) to (5) and
# $\|H\|_F \le \sqrt{nK}$ give $|\bar t| \le \sqrt K$. Equality is an ETF both times, with margin $\sqrt{K/(K-1)}$ and
# $\sqrt K/(K-1)$. So the arrangement does not hang on weight decay, only the size and the threshold do.
#
# (sec-ufm-convex)=
# ## The convex twin
#
# Why did none of the 64 starts get stuck, when the problem is not convex? The loss sees $W$ and $H$ only through
# the scores $Z = H W^\top$ (samples are rows), and it is convex in $Z$. The penalty is on the factors. But of all
# the factors of a given $Z$ only the cheapest matter. In the warm-up they cost $c\,|a|$, a convex function of the
# product. In general the absolute value becomes the *nuclear norm* $\|Z\|_*$, the sum of the singular values.
#
# :::{prf:lemma} The cheapest factors
# :label: lem-nuclear
#
# Let $\lambda_W, \lambda_H > 0$. If $d$ is at least the rank of $Z$, then
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
# which is convex if the loss is. Lecture 004 takes this road to the theorem; slides *IV* to *VII* take it to the
# landscape, which comes next {cite}`zhu2021geometric,haeffele2015global`.
#
# :::{admonition} Slide check: the weight of the nuclear norm
# :class: warning slide-check
# :name: slide-check-ufm-nuclear
# *Geometric Analysis IV* to *VII* pair $\lambda \|(W, H, b)\|^2$ with $\lambda \|Z\|_*$. By the lemma, and by the
# slides' own formula $\|Z\|_* = \min \frac12 (\|W\|_F^2 + \|H\|_F^2)$, the weight must be $2\lambda$. One number
# shows it: at the collapsed minimiser, the twin with $2 \lambda$ has the value of the model, the twin with
# $\lambda$ has only half of its penalty. The two problems on the slide have different minima, and different
# thresholds.
# :::

# %%
cross_entropy, labels = CrossEntropy(), PROBLEM.labels
slides = 2.5e-3  # the slides' λ: ours is twice that
same = replace(PROBLEM, weight_decay=2 * slides)
point = global_minimizer(same)
Z = point.H @ point.W.T
nuclear = torch.linalg.matrix_norm(Z, "nuc")
right, slide = (
    (cross_entropy(Z, labels) + weight * nuclear) / point.objective
    for weight in (2 * slides, slides)
)
ratios = [right, convex_objective(same, Z, point.b) / point.objective]
claims.check("convex-twin", ratios, 1, abs=1e-9, control=slide)

# %% [markdown]
# (sec-ufm-landscape)=
# ## No place to get stuck
#
# A convex twin alone does not make gradient descent safe. The factored problem has critical points that the twin
# lacks. Look at the two classes of the warm-up again, with $\lambda_W = \lambda_H = c$. The twin is a convex curve
# over $a = wh$ with one minimum. For $c < \frac12$ the objective {eq}`eq-two` is a surface over $(w, h)$ with three
# critical points: two minima, $w = h$ and its mirror image $w = h < 0$, and zero; for $c \ge \frac12$, with zero
# alone. There the Hessian is
#
# $$
# \begin{pmatrix} c & -\tfrac12 \\ -\tfrac12 & c \end{pmatrix} ,
# $$
#
# with eigenvalue $c - \frac12$ in the direction $(1, 1)$ and $c + \frac12$ in the direction $(1, -1)$. For
# $c < \frac12$ zero is a saddle. The way down is to let both factors grow together.
#
# Choose a direction in which to leave zero, and a price. Expect three things. Almost every path ends in a minimum.
# Close to 135° it first goes *back* to the saddle and waits there; from 135° exactly it never leaves. And from
# $c = \frac12$ on there is nowhere else to go.


# %% tags=["hide-input"]
def two_classes(w, h, c):
    """The objective of two classes, for λ_W = λ_H = c."""
    return np.logaddexp(0, -w * h) + c / 2 * (w**2 + h**2)


def descent_from(angle, c, steps=150, lr=0.3):
    """Gradient descent on it from a distance of 0.6 to zero."""
    w, h = 0.6 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    w = -h if angle == 135 else w  # to the last digit
    path = [(w, h)]
    for _ in range(steps):
        w, h = path[-1]
        pull = 1 / (1 + np.exp(w * h))
        path.append((w + lr * (pull * h - c * w), h + lr * (pull * w - c * h)))
    return np.array(path)


def draw_valley(c, angle):
    path, grid = descent_from(angle, c), np.linspace(-2.2, 2.2, 60)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
    surface = two_classes(*np.meshgrid(grid, grid), c)
    left.contour(grid, grid, surface, levels=14, colors="0.7", linewidths=0.8)
    left.plot(0, 0, "kX" if c < 0.5 else "k*", markersize=9)
    bottom = math.sqrt(math.log(max(1 / c - 1, 1)))
    left.plot([-bottom, bottom], [-bottom, bottom], "k*", markersize=9)
    left.plot(*path.T, ".-", color=COLOURS[1], markersize=4, linewidth=1)
    left.plot(*path[0], "o", color=COLOURS[1])
    left.set(xlabel="$w$", ylabel="$h$", aspect="equal")
    right.plot(two_classes(*path.T, c), "-", color=COLOURS[1])
    right.axhline(math.log(2), color="0.4", linestyle=":")
    right.set(xlabel="step", ylabel="objective", ylim=(0, 1))
    return fig


def describe_valley(c, angle):
    w, h = descent_from(angle, c)[-1].round(1) + 0.0
    zero = "a saddle between two minima" if c < 0.5 else "the only minimum"
    return (
        f"Contours over w and h at price {c}; zero is {zero}. From {angle} degrees gradient descent "
        f"has come to ({w}, {h}) after 150 steps."
    )


explore(
    draw_valley,
    name="valley",
    alt=describe_valley,
    caption="Two classes. Left: contours of the objective, the saddle (cross, for $c < 1/2$), minima (stars), and "
    "gradient descent from a start (disc) at distance 0.6 from zero. Right: its objective; the dotted line is the "
    "level of zero, $\\log 2$.",
    labels={"c": "c, price of contrast", "angle": "direction of the start, in degrees"},
    start={"c": 0.2, "angle": 134},
    c=[0.05, 0.2, 0.6],
    angle=[45, 90, 134, 135, 180],
)

# %% [markdown]
# With $K$ classes there are more critical points: zero is one, and so is the best point among those that treat
# certain classes as one. What saves the day is that each of them has a way down, and it is the same one: let both
# factors grow together in a direction that nothing uses yet.
#
# :::{prf:theorem} Benign landscape
# :label: thm-landscape
#
# Let $\mathcal L$ be convex and twice differentiable in the scores, $\lambda_W, \lambda_H > 0$, and $d \ge K$; if
# $\mathcal L$ does not change when a constant is added to all scores, as for cross-entropy, $d \ge K - 1$ is
# enough. At a critical point $(W, H, b)$ of {eq}`eq-ufm` let $G \in \mathbb R^{N \times K}$ be the gradient of the
# average loss in $Z$, and $\sigma$ its largest singular value. Either $\sigma \le \sqrt{\lambda_W \lambda_H}$, and
# the point is a global minimiser; or the Hessian has a negative eigenvalue, at most
#
# $$
# \frac{\lambda_W + \lambda_H}{2} - \sqrt{\frac{(\lambda_W - \lambda_H)^2}{4} + \sigma^2} < 0 .
# $$ (eq-curvature)
# :::
#
# (In the warm-up $\sigma = \frac12$ at zero, and {eq}`eq-curvature` is $c - \frac12$.)
#
# :::{prf:proof}
# *What being critical means.* The gradients in $W$ and $H$ vanish,
#
# $$G^\top H + \lambda_W W = 0 , \qquad G W + \lambda_H H = 0 ,$$
#
# and the average loss has the gradient $-\lambda_b b$ in $b$. Multiply the first equation by $W^\top$ from the left
# and the second by $H^\top$:
#
# $$\lambda_W W^\top W = -W^\top G^\top H = (-H^\top G W)^\top = \lambda_H H^\top H .$$ (eq-balance)
#
# So $W$ and $H$ have the same null space. And taking traces,
# $-\langle G, Z \rangle = \lambda_W \|W\|_F^2 = \lambda_H \|H\|_F^2$, which is also the sum of the two penalties.
#
# *Suppose $\sigma \le \sqrt{\lambda_W \lambda_H}$.* Take any other point, with scores $Z'$ and bias $b'$. Three
# lower bounds:
#
# - Its penalties on $W'$ and $H'$ cost at least
#   $\sqrt{\lambda_W \lambda_H}\, \|Z'\|_* \ge \sigma \|Z'\|_* \ge -\langle G, Z' \rangle$.
# - Its average loss $\ell(Z', b')$ lies above the tangent at our point,
#
#   $$\ell(Z', b') \ge \ell(Z, b) + \langle G, Z' - Z \rangle - \lambda_b \langle b, b' - b \rangle .$$
#
# - Its penalty on $b'$, too:
#   $\frac{\lambda_b}{2} \|b'\|^2 \ge \frac{\lambda_b}2 \|b\|^2 + \lambda_b \langle b, b' - b \rangle$.
#
# Add the three. The objective there is at least $\ell(Z, b) - \langle G, Z \rangle + \frac{\lambda_b}{2} \|b\|^2$,
# which is the objective here.
#
# *Suppose $\sigma > \sqrt{\lambda_W \lambda_H}$.* We first show that some direction of the feature space is unused:
# there is a unit vector $v$ with $Wv = 0$ and $Hv = 0$.
#
# Assume the contrary, and look for a contradiction. As the null spaces agree, $Wv = 0$ only for $v = 0$: the rank
# of $W$ is $d$. Insert the second equation into the first,
#
# $$G^\top G\, W = -\lambda_H G^\top H = \lambda_W \lambda_H W .$$
#
# So $G^\top G$ multiplies every vector in the range of $W$ by $\lambda_W \lambda_H$.
#
# - If $d \ge K$, the range of $W$ is all of $\mathbb R^K$. Then every singular value of $G$ is
#   $\sqrt{\lambda_W \lambda_H}$, and so is $\sigma$: the contradiction.
# - If the loss ignores constants, the rows of $G$ sum to zero, $G \mathbf 1 = 0$, and by the first equation
#   $\mathbf 1^\top W = 0$. So the range of $W$ lies in the $(K-1)$-dimensional space orthogonal to $\mathbf 1$.
#   With rank $d \ge K - 1$ it is that whole space. There $G^\top G$ multiplies by $\lambda_W \lambda_H$, on
#   $\mathbf 1$ by zero. Again $\sigma = \sqrt{\lambda_W \lambda_H}$: the contradiction.
#
# So there is such a $v$. Let $\xi \in \mathbb R^N$ and $\zeta \in \mathbb R^K$ be unit singular vectors, $\xi^\top
# G \zeta = \sigma$, and move to $W + \varepsilon \cos\theta\, \zeta v^\top$, $H - \varepsilon \sin\theta\, \xi
# v^\top$. The scores change by $-\varepsilon^2 \cos\theta \sin\theta\, \xi
# \zeta^\top$ and by nothing of first order, since the mixed terms contain $Wv$ or $Hv$. So the objective changes by
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
# **In two sentences.** A critical point either satisfies the twin's own test for a minimum, or the loss pulls at
# some pair of directions harder than the penalties hold. Then there is a way down: start using a new dimension, for
# the contrast that the loss misses most.
#
# To see some, split the ten classes into $m$ groups, and treat each as a single class: by the calculation of
# {prf:ref}`thm-ufm` a critical point of rank $m - 1$; $m = 1$ is zero. `hessian_min_eigenvalue` finds the smallest
# eigenvalue of the Hessian, of 1 770 rows, from products with vectors alone.


# %%
def curvature_bound(model, difference=decay_w - decay_h):
    """Right side of the theorem, from the gradient in the scores."""
    Z = model().detach().requires_grad_()
    (G,) = torch.autograd.grad(cross_entropy(Z, model.labels), Z)
    sigma = float(torch.linalg.matrix_norm(G, 2))
    return (decay_w + decay_h) / 2 - math.hypot(difference / 2, sigma)


single = random_starts(PROBLEM)
saddles = [saddle(single, groups=m) for m in (1, 2, 5)]
curvatures = [hessian_min_eigenvalue(point) for point in saddles]
bounds, wrong = (
    [curvature_bound(point, *gap) for point in saddles] for gap in ((), (0,))
)
ratios, control = (np.divide(curvatures, each) for each in (bounds, wrong))
claims.check("saddle-curvature", ratios, 1, abs=1e-6, control=control)
curvature = hessian_min_eigenvalue(random_starts(PROBLEM).place(best))
claims.check("minimum-curvature", curvature, above=-1e-9, control=curvatures[1])

# %% [markdown]
# The bound is exact at these points, and it is the same number for all three, $-0.026$: to each other, the classes
# of a group are as unseparated as they are at zero.
#
# Critical points with a direction of negative curvature are called *{term}`strict saddles <strict saddle>`*. Does
# gradient descent reach a minimum, then? Two more steps are needed.
#
# *It converges.* Take a bounded set of starts. With three positive weight decays the objective grows beyond all
# bounds in every direction, so a descent that never goes up stays in some larger ball. (With $\lambda_b = 0$ the
# mean of $b$ never moves, and the rest is bounded all the same.) On that ball the Hessian is bounded by some $L$,
# and with one step size below $1/L$ no start of the set ever goes up. The objective is analytic, and a bounded
# descent on an analytic function does not wander about among critical points: it converges to a single one, by an
# inequality of Łojasiewicz {cite}`absil2005convergence`.
#
# *Not to a saddle.* For this step size the starts in the set from which gradient descent converges to strict
# saddles have measure zero {cite}`lee2016gradient,panageas2017gradient`: on the ball a step is locally invertible,
# so no set of positive measure is mapped into a null set.
#
# :::{admonition} Slide check: "will always learn"
# :class: warning slide-check
# :name: slide-check-ufm-always
# *Geometric Analysis VIII* sums up: {claim}`iterative algorithms will always learn neural collapse
# <always-learn-collapse>`. Two phrases promise too much. *Always*: not from a saddle itself, where gradient descent
# has nowhere to go, but, for every bounded set of starts and a step small enough for the set, from almost every
# start in it. The slide says "(stochastic) gradient descent". With a constant step, stochastic gradient descent
# does not converge at all; neither step above covers it. *Learn neural collapse*: only for $Kc < 1$. And the
# theorem is about free features; a network is a different problem.
#
# On slide *III* the theorem is stated for $d > K$, with the {claim}`conjecture that less is enough
# <landscape-conjecture>`, $d \ge K - 1$. The second item of the proof shows that it is.
# :::
#
# (sec-ufm-no-decay)=
# ## Without weight decay
#
# What holds the features of a class together? Not the loss. It sees a feature only through its scores, and where
# the rows of $W$ are orthogonal to the difference of two features it does not feel that difference. The penalty on
# $H$ does: it shrinks whatever the loss does not need. So let us take all three penalties away and run gradient
# descent again, from three starts, beside the same with penalties.


# %%
def descents(decay):
    """Margins at steps 1000 and 3000, and NC1 at the end, from three starts."""
    run = random_starts(replace(PROBLEM, weight_decay=decay), 3)
    metrics = {"margin": UnconstrainedFeatures.margin}
    options = {"method": "gd", "lr": 4.0, "steps": 3000, "tol": 0}
    margins = minimize(run, metrics=metrics, every=[1000, 3000], **options)["margin"]
    return margins[-1] - margins[-2], [nc1(H, run.labels) for H in run.H.detach()]


(grown, apart), (still, together) = map(descents, (0.0, PROBLEM.weight_decay))
claims.check("no-decay-margin", grown, above=0.5, control=still)
claims.check("no-decay-nc1", apart, above=0.3, control=together)

# %% [markdown]
# Without decay the margin goes on growing, and nothing has an end. The features have not collapsed: NC1 falls only
# because the means move apart, and slowly; it is 0.7 after 3000 steps against $10^{-30}$. Asked after lecture 004,
# the speaker says the same of networks: {claim}`without regularisation collapse was not often seen
# <regularisation-crucial>`. That is a statement about the time one waits: {cite}`ji2022unconstrained` prove that the
# *direction* of $(W, H)$ under gradient flow tends to critical points of a problem whose best solutions are
# collapsed. But the size grows like the logarithm of time, and so does patience.
#
# (sec-ufm-positive)=
# ## Positive features
#
# Features that come out of a ReLU are not free: they cannot be negative. Lecture 004 adds this constraint,
# $H \ge 0$, and calls the result the unconstrained *positive* features model. An ETF around zero is now impossible,
# as its cosines are negative. What takes its place?
#
# Two classes first. With one dimension a feature could only be $+h$ or zero. So give each class its own coordinate:
# $h_1 = (h, 0)$ and $h_2 = (0, h)$. To tell the classes apart only $h_1 - h_2 = (h, -h)$ helps; the common part
# $(h, h)/2$ of both features does not. Yet the penalty charges for it: it is half of $\|H\|_F^2 = 2h^2$. Free
# features would drop it. So equality in step (4), centring shortens, can no longer be had: there, and only there,
# positive features pay more.
#
# :::{prf:theorem} Positive features
# :label: thm-positive
#
# Let $d \ge K$, $\lambda_W, \lambda_H > 0$ and $c_+ = c \sqrt{K/(K-1)}$. Under the constraint $H \ge 0$ the minimum
# with cross-entropy is that of {prf:ref}`thm-ufm` with $c_+$ in place of $c$. If $K c_+ \ge 1$, only $W = H = 0$
# attains it. If $K c_+ < 1$, the minimisers have margin $a = \log\big(\frac{1}{c_+} - (K-1)\big)$; features of a
# class are equal; the class means are *orthogonal* and of one length; and $W$ is a simplex ETF, a multiple of the
# *centred* class means. The bias is as there. (For $K = 2$, lengths and bias need $\lambda_b > 0$, or no bias at
# all.)
# :::
#
# :::{prf:proof}
# Step (4) was $\|PS\|_F \le \|S\|_F$. Now $\|PS\|_F^2 = \sum_k \|s_k\|^2 - \frac1K \big\| \sum_k s_k \big\|^2$. The
# $s_k$ have no negative entries, so no inner product between them is negative, and
# $\| \sum_k s_k \|^2 \ge \sum_k \|s_k\|^2$. So
#
# $$\|PS\|_F^2 \le \Big( 1 - \frac1K \Big) \|S\|_F^2 ,$$
#
# and the price of contrast rises from $c$ to $c_+$. The value follows as before, and so does the case
# $K c_+ \ge 1$. Otherwise equality says that the class sums are orthogonal, and that $W = \rho P M$. Then the score
# of class $k$ exceeds that of class $j$ by
#
# $$\rho \langle \bar h_k - \bar h_j, \bar h_k \rangle + b_k - b_j = \rho \|\bar h_k\|^2 + b_k - b_j ,$$
#
# which must be $a$ for all $j \ne k$. With three classes or more this makes all $b_j$ equal; with two, a penalty on
# the bias does. So the lengths agree. Conversely, $\bar h_k = \eta\, e_k$ in the first $K$ coordinates, with
# $\rho \eta^2 = a$ and $\lambda_W \rho^2 (K-1) = \lambda_H n K$, attains the bound.
# :::
#
# That class means are orthogonal and $W$ aligned with the centred ones was proved by {cite}`dang2024neural`, for
# classes of unequal size, too; lecture 004 follows {cite}`hong2024beyond` and {claim}`a tight convex relaxation
# over a larger matrix <positive-relaxation>`. Centring is no accident of bookkeeping, then. Positive features have
# the geometry of an orthogonal frame, and its centred version is the ETF that NC2 measures and NC3 finds in $W$.
# The threshold comes a little earlier, at $Kc = \sqrt{(K-1)/K}$.
#
# Two vectors without negative entries are orthogonal only if no coordinate is positive in both. So each coordinate
# serves at most one class, as lecture 004 points out. Of the freedom to rotate only this is left: which coordinates
# a class gets, and how its mean is spread over them.


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
found, control = class_cosines(positive)[winner], class_cosines(model)[0]
claims.check("positive-orthogonal", found, 0, abs=1e-6, control=control)
duality, control = (nc3(W_positive, statistics.means.roll(i, 0)) for i in (0, 1))
claims.check("positive-duality", duality, below=1e-6, control=control)
free_means = model.H[0].detach()[::n]
sharing = [(means.abs() > 1e-6).sum(0) for means in (statistics.means, free_means)]
most, control = (int(classes.max()) for classes in sharing)
claims.check("positive-coordinates", most, 1, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-positive", "caption": "Class means of ten classes, one a row, at the minimum. Free features use every coordinate for all classes. Positive features give each class coordinates of its own."}, "image": {"alt": "Two panels. Free class means: all of ten by sixteen entries filled with positive and negative values. Positive class means, ten by forty: in each column at most one entry is not zero."}}
order = statistics.means.argmax(0).argsort(stable=True)
fig, axes = plt.subplots(1, 2, figsize=(7.5, 2.2))
panels = {"free means": free_means, "positive means": statistics.means[:, order]}
for ax, (title, rows) in zip(axes, panels.items(), strict=True):
    reach = float(rows.abs().max())
    ax.imshow(rows, vmin=-reach, vmax=reach, cmap="RdBu_r", aspect="auto")
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
plt.show()

# %% [markdown]
# The constraint costs more than the angles. The free problem was harmless because an unused dimension always
# offered a way down; with $H \ge 0$ that way may be barred. With stronger weight decay and little room, many random
# starts end higher up. Look at the shortest class mean in each of them.

# %%
narrow = replace(PROBLEM, weight_decay=0.75 / K / math.sqrt(n), nonnegative=True)
exact, free = global_minimizer(narrow), replace(narrow, nonnegative=False)
crowded, easy = (random_starts(problem, 64) for problem in (narrow, free))
minimize(crowded)
minimize(easy)

stuck = crowded.objective().detach() > (1 + 1e-6) * exact.objective
control = easy.objective() > (1 + 1e-6) * global_minimizer(free).objective
share, control = stuck.double().mean(), control.double().mean()
claims.check("positive-stuck", share, above=0.3, control=control)
lengths = crowded.H.detach()[:, ::n].norm(dim=-1).amin(-1)
claims.check("positive-dead-class", lengths[stuck], below=1e-6, control=lengths[~stuck])


def wall(model):
    """Least derivative in a feature of zero length, over coordinates; as share of the largest."""
    (slope,) = torch.autograd.grad(model.objective().sum(), model.H)
    slope = slope[model.H.detach().norm(dim=-1) < 1e-6]
    return (slope.amin(-1) / slope.amax(-1)).min()


roomy = random_starts(narrow)  # a dead class, and coordinates that no class uses
W, H = exact.W.clone(), exact.H.clone()
W[:, K - 1 :], H[-n:] = 0, 0
roomy.place(W, H)
minimize(roomy)
claims.check("positive-no-room", wall(crowded), above=0.001, control=wall(roomy))

# %% [markdown]
# In each of them at least one class has died, in some two: its features are zero, and its bias does what it can. At a
# dead class every coordinate pushes its features against the wall: the derivative of the objective is positive in
# each. A coordinate that no class uses has derivative zero, and would offer a way down; but all are taken. In the
# free model any direction orthogonal to the others will do, and sixteen dimensions leave plenty.
#
# **In two sentences.** Positive features cannot drop their common part, so contrast costs more, and the cheapest
# arrangement is one coordinate for each class. A class that finds no coordinate of its own stays at zero.
#
# (sec-ufm-imbalance)=
# ## Unequal classes
#
# So far every class had $n$ samples. Now let class $k$ have $n_k$, and $N = \sum_k n_k$. Suppose that among many
# classes two are rare, with $n_B$ samples each, and that the model does not tell them apart. Should it?
#
# *What does it earn?* Move the right score of each rare sample up by $\frac12$ and the score of the other rare
# class down by $\frac12$, in units of a small $\tau$. The two have the same probability, so the loss of each of the
# $2 n_B$ samples falls at the rate $\frac12$, and their share in the average earns $n_B / N$ in all.
#
# *What does it cost?* This change adds a block to $Z$ with $2 n_B$ rows and two columns, entries $\pm\frac12$, and
# one singular value $\sqrt{n_B}$. By {prf:ref}`lem-nuclear` that costs $\sqrt{\lambda_W \lambda_H} \sqrt{n_B}$.
#
# The earnings grow with $n_B$ and the costs with its root. So there is a size below which telling two rare classes
# apart does not pay, $n_B \le N^2 \lambda_W \lambda_H$. And the more samples the *other* classes have, the larger
# it is. This is the idea, and it is exact.
#
# :::{prf:theorem} Classes of one size merge
# :label: thm-minority
#
# Let a set $B$ of $K_B \ge 2$ classes have $n_B$ samples each; the other classes, if any, may have any sizes. Let
# $d \ge K - 1$, $\lambda_W, \lambda_H > 0$, and $\lambda_b > 0$ or no bias. At every global minimiser of the model with
# cross-entropy the classes of $B$ are merged, with one row of $W$, one bias and one feature for all of them, if
#
# $$n_B \le N^2 \lambda_W \lambda_H .$$ (eq-merge)
#
# If $n_B$ is larger, no two classes of $B$ have the same scores at any global minimiser.
# :::
#
# :::{prf:proof}
# We work with the convex twin {eq}`eq-convex` and write $\mu = \sqrt{\lambda_W \lambda_H}$. Replacing $W$ by $PW$
# changes no loss and is cheaper unless $\mathbf 1^\top W = 0$. So minimisers have rank at most $K - 1$, and
# $d \ge K - 1$ is enough for the lemma.
#
# *Symmetry.* Exchange two classes of $B$ with all their samples, or two samples of one class. The twin has the same
# value. It is convex, so the average over all such exchanges is a minimiser if $(Z, b)$ is one. In the average, the
# block of $Z$ that belongs to $B$ has one entry for right scores and one for wrong scores. All else in $Z$ and $b$
# is the same for all classes of $B$. So the average is $(Z_0 + \tau E, b)$. In $Z_0$ the classes of $B$ have equal
# rows and equal columns, $\tau$ is a number, and $E$ is zero but for that block, where the row of a sample of class
# $k$ is $e_k$ minus the average of the $K_B$ unit vectors of $B$.
#
# *The cost of $\tau$.* The columns of $E$ sum to zero over $B$, and the rows, too. So $Z_0^\top E = 0$ and
# $Z_0 E^\top = 0$, and the singular values of $Z_0 + \tau E$ are those of $Z_0$ together with those of $\tau E$.
# The latter are $|\tau| \sqrt{n_B}$, $K_B - 1$ times, and zeros. Hence
#
# $$\|Z_0 + \tau E\|_* = \|Z_0\|_* + |\tau|\, (K_B - 1) \sqrt{n_B} .$$
#
# *The earnings of $\tau$.* At $(Z_0, b)$ a sample of class $k \in B$ gives one probability $q$ to all classes of
# $B$. The gradient of its loss is $q$ on each of them, less one on class $k$. Its product with the row of $E$ is
# $-(1 - 1/K_B)$: the part with $q$ vanishes, since the row sums to zero. Over all $K_B n_B$ samples the average
# loss $\ell$ has the slope $-(K_B - 1)\, n_B / N$ in $\tau$, whatever $Z_0$ is.
#
# *Balance.* The loss lies above its tangent, so
#
# $$
# F(Z_0 + \tau E, b) \ge F(Z_0, b)
#   + (K_B - 1) \Big( \mu \sqrt{n_B}\, |\tau| - \frac{n_B}{N}\, \tau \Big) .
# $$
#
# Cross-entropy is strictly convex but for constants added to all scores of a sample, and $E$ adds none. So the
# inequality is strict for $\tau \ne 0$. At $\tau = 0$ the loss has slope $-(K_B-1) n_B / N$, and the penalty on
# either side $(K_B-1) \mu \sqrt{n_B}$. If {eq}`eq-merge` holds, $\sqrt{n_B} \le N \mu$, the bracket is never negative,
# and $\tau$ must be zero. If not, a small positive $\tau$ beats $\tau \le 0$ to first order. So $\tau > 0$
# at the average, and every pair of classes in $B$ is told apart.
#
# *Every minimiser.* Let $(Z, b)$ and $(Z', b')$ minimise the twin. At the midpoint the penalty on the bias is lower
# unless $b = b'$, and the loss is lower unless the scores differ by a constant in each sample. Minimisers have
# $Z \mathbf 1 = 0$, since $\mathbf 1^\top W = 0$; so that constant is zero. Hence there is one minimiser only, and it
# is its own average: the biases agree within $B$. If $\tau = 0$, the columns of $Z$ in $B$ agree, so
# $H(w_j - w_k) = 0$. By {eq}`eq-balance` $W$ and $H$ have one null space, to which $w_j - w_k$, a combination of
# rows of $W$, is orthogonal. So it is zero. The rows of $Z$ that belong to $B$ are equal, so $W(h - h') = 0$ for two
# of their features, and $h = h'$ in the same way.
# :::
#
# That is the test of {prf:ref}`thm-landscape`, read in the directions of $B$: there $G$ has the singular value
# $\sqrt{n_B}/N$. So a merged critical point above the threshold is a strict saddle, as the merged ones above are.
#
# For classes of equal size, $B$ being all of them, {eq}`eq-merge` says $K^2 n \lambda_W \lambda_H \ge 1$: the old
# threshold. For label smoothing the slope is smaller by the factor $1 - \alpha$, so there $n_B (1 - \alpha)^2$
# takes the place of $n_B$. Seven classes test both, three of them large and four rare.


# %%
def rare_classes(rare, alpha=0.0):
    """Share of the threshold; distances between rare rows, biases, features; between rare rows."""
    counts, decay = [50, 20, 100, *[rare] * 4], WeightDecay(W=0.01, H=0.014, b=0.003)
    loss = LabelSmoothing(alpha) if alpha else CrossEntropy()
    found = random_starts(Problem(7, counts, 8, decay, loss), 3)
    minimize(found)
    W, H, b = found.W.detach(), found.H.detach()[:, 170:], found.b.detach()[..., None]
    W, b = W[:, 3:], b[:, 3:]
    share = (1 - alpha) ** 2 * rare / (sum(counts) ** 2 * decay.W * decay.H)
    largest = max(float(torch.cdist(each, each).max()) for each in (W, H, b))
    return share, largest, min(float(torch.pdist(rows).min()) for rows in W)


found = {f"{rare} samples each": rare_classes(rare) for rare in (4, 5, 6, 7)}
found["7, smoothing 0.2"] = rare_classes(7, alpha=0.2)
heads = ["n_B (1−α)² / (N² λ_W λ_H)", "largest distance", "smallest, rows of W"]
claims.table(heads, found)
four, five, six, seven, smooth = found.values()
ends = [each[1] for each in (four, five)], [each[2] for each in (six, seven)]
claims.check("minority-merged", ends[0], below=1e-3, control=ends[1])
claims.check("minority-smoothing", smooth[1], below=1e-3, control=seven[2])

# %% [markdown]
# The lecture says in passing that {claim}`small classes can be ignored completely <minority-collapse>`.
# {cite}`fang2021exploring` found this *{term}`minority collapse`* in networks, and proved it in a model as the ratio goes
# to infinity. {cite}`hong2023imbalanced` derive a sharp threshold for two groups of classes, by the convex twin as
# well; the proof above is ours, and needs nothing of the classes outside $B$, not even that they are larger. Note
# what the rule says: it is not the ratio that counts, but the number of rare samples against the square of all.
#
# **In two sentences.** Telling rare classes apart earns in proportion to their samples and costs in proportion to
# the root, so below a sharp size it does not pay. Nothing is wrong with the optimiser then: the merged point *is*
# the global minimum.
#
# ### In a network, and balanced again
#
# A footnote of the lectures waves the problem away: {claim}`if classes are not balanced, data augmentation can make
# them so <augmentation-balances>`. A recorded run tests both. It trains the perceptron of [Neural
# collapse](neural_collapse.ipynb) (width 100) on digits. Classes 0 to 4 have 140 images each; classes 5 to 9 have
# 140, 28, 14, 7 or 4. For 14 and 4 the rare images are also *repeated* until all classes have 140, or repeated and
# *shifted* by up to one pixel (once, before training; the frequent images stay as they are). All runs take equally
# many steps, in batches of 240 to 350 images, from six seeds each; weight decay is 0.005 where nothing else is
# said. *Length* is the mean length of the rare rows of $W$ over that of the others; *spread* is the mean distance
# between two rare rows over their mean length.

# %%
record = recorded("rare-digits").values


def measured(name, rare, treatment="none", decay=5e-3):
    """One number for each seed of a setting."""
    setting = {"rare": rare, "treatment": treatment, "weight_decay": decay}
    return np.array([row[name] for row in record if setting.items() <= row.items()])


settings = {f"{rare} images": (rare,) for rare in (140, 28, 14, 7, 4)}
for rare in (14, 4):
    settings |= {f"{rare}, {word}": (rare, word) for word in ("repeated", "shifted")}
    settings |= {f"{rare}, decay {each}": (rare, "none", each) for each in (0.002, 0.0)}
names = ["length", "spread", "nc2_rows", "rare_train", "rare_test"]
means = {
    label: [float(measured(name, *setting).mean()) for name in names]
    for label, setting in settings.items()
}
claims.table(["length", "spread", "NC2 of W", "rare train", "rare test"], means)

# %%
shorter = [1 - measured("length", 14, "none", decay) for decay in (5e-3, 0.0)]
control = 1 - measured("length", 140)
claims.check("rare-digits-shorter", np.concatenate(shorter), above=0.2, control=control)
missed, control = (
    1 - measured("rare_train", 4, "none", decay).min() for decay in (5e-3, 2e-3)
)
claims.check("rare-digits-ignored", missed, above=0.2, control=control)
repeated, plain = (
    [measured("nc2_rows", rare, word).mean() for rare in (14, 4)]
    for word in ("repeated", "none")
)
claims.check("rare-digits-etf", repeated, below=0.22, control=plain)


def gain(rare, *setting):
    """Mean accuracy on new rare images, less that without any treatment."""
    return (measured("rare_test", rare, *setting) - measured("rare_test", rare)).mean()


repeating, shifting = gain(14, "repeated"), gain(14, "shifted")
claims.check("rare-digits-accuracy", repeating, below=0.06, control=shifting)
without, repeating = gain(4, "none", 0.0), gain(4, "repeated")
claims.check("rare-digits-decay", without, above=0.15, control=repeating)

# %% [markdown]
# The rows of the rare classes first become *shorter*, with weight decay or without. They turn towards each other
# far less: with four images their spread is 1.22, without weight decay 1.26, and 1.49 if all classes are equal. A
# merger of rows, as in the model, we did not see. But rare classes are given up. In three of six networks with four
# images a tenth to a half of the rare *training* images are not learned; with weight decay 0.002, or none, all are.
# That is the theorem's own message: above some price it does not pay.
#
# Balancing by mere repetition brings the ETF back, in $W$ and in the class means. The loss now counts every class
# alike. With 14 images repetition does not help with new images, and shifts do; with 4 it helps a little, 0.33 for
# 0.27. But there weight decay was the trouble: without it, and without any balancing, the accuracy is 0.49 with no
# ETF in sight. Geometry on the training set is one thing, knowing a class another.
#
# ## Exercises
#
# Where a line says *To check*, try before you open the solution: run `from lecturelib import coursework` and then
# that line with your own answer. It says what is wrong, and never what is right.
#
# :::{exercise} Two classes with numbers
# :label: ex-ufm-two
# *Warm-up, 10 minutes, by hand.* Take {eq}`eq-two` with $\lambda_W = 0.04$ and $\lambda_H = 0.01$. What are the
# price $c$, the best margin, $w$ and $h$, and how sure is the model? Now each class has four samples, all of them
# at $\pm h/\sqrt2$, and the loss is still an average. Which of these numbers change?
# :::
#
# :::{solution} ex-ufm-two
# :class: dropdown
# $c = \sqrt{0.0004} = 0.02$ and $a = \log 49 = 3.89$. From $\lambda_W w^2 = \lambda_H h^2$ we get $h = 2w$, so
# $2 w^2 = 3.89$, $w = 1.39$ and $h = 2.79$. The probability of the right class is $1 - c = 98\,\%$. With four
# samples $\|H\|_F^2$ is $4h^2$: the model pays $\lambda_H$ four times. So $c = 0.04$ and $a = \log 24 = 3.18$; now
# $\lambda_W w^2 = 4 \lambda_H h^2$, so $w = h = 1.78$, and the model is 96 % sure.
# :::
#
# :::{exercise} The model's numbers, taken literally
# :label: ex-ufm-imagenet
# *Warm-up, 10 minutes.* In the model, let $\lambda_W = \lambda_H = 5 \cdot 10^{-4}$. From how many samples per
# class on is nothing learned with ten classes? With ImageNet's thousand? With $n = 1300$ and a thousand classes,
# below which value must $\lambda_H$ lie if $\lambda_W$ stays? What does that say about taking the model's numbers
# literally?
#
# *To check:* `coursework.check("ex-ufm-imagenet", [...])`, the three numbers.
# :::
#
# :::{solution} ex-ufm-imagenet
# :class: dropdown
# $Kc \ge 1$ means $n \ge 1 / (K^2 \lambda_W \lambda_H)$: from 40 000 for ten classes; from four for a thousand.
# With $n = 1300$, $\lambda_H < 1 / (K^2 n \lambda_W) \approx 1.5 \cdot 10^{-6}$. Networks with $5 \cdot 10^{-4}$ do
# learn ImageNet: the penalty on each single feature must be far smaller than the weight decay of the layers it
# stands for. The network shares its weights among all samples; the model pays for each feature separately.
# :::
#
# :::{exercise} Who goes back to the saddle
# :label: ex-ufm-valley
# *Core, 15 minutes.* In {eq}`eq-two` let $\lambda_W = \lambda_H = c < \frac12$, and follow gradient flow,
# $(\dot w, \dot h) = -\nabla f$. Show that it ends at zero from exactly the starts with $w = -h$. *Hint:* what does
# $w + h$ do?
# :::
#
# :::{solution} ex-ufm-valley
# :class: dropdown
# With $q = 1/(1 + e^{wh})$ the flow is $\dot w = q h - c w$, $\dot h = q w - c h$. So $u = w + h$ obeys
# $\dot u = (q - c)\, u$: from $u = 0$ it stays zero, and never changes its sign. On the line $u = 0$ the difference
# obeys $\frac{d}{dt}(w - h) = -(q + c)(w - h)$ and goes to zero. Off the line, suppose that the flow ended at zero.
# Then $q$ would tend to $\frac12 > c$, and $|u|$ would grow, which is a contradiction.
# :::
#
# :::{exercise} Squared error drops classes one by one
# :label: ex-ufm-thresholding
# *Core, 20 minutes.* Let the classes have sizes $n_k$, and take squared error $\frac12 \|z - e_k\|^2$ without a
# bias. Write the twin as a distance to the matrix $Y$ of one-hot rows. Which $Z$ is the minimiser? At which size
# does a class vanish, and which class goes first? Compare with {eq}`eq-merge`. *Hint:* the minimiser of
# $\frac12 \|Z - Y\|_F^2 + \nu \|Z\|_*$ keeps the singular vectors of $Y$ and lowers each singular value by
# $\nu$, or to zero.
# :::
#
# :::{solution} ex-ufm-thresholding
# :class: dropdown
# The twin is $\frac{1}{2N} \|Z - Y\|_F^2 + \mu \|Z\|_*$ with $\mu = \sqrt{\lambda_W \lambda_H}$, so
# $\nu = N\mu$. The columns of $Y$ are orthogonal and of length $\sqrt{n_k}$: these are the singular values, one
# for each class. So every sample of class $k$ has the scores
#
# $$\Big( 1 - \frac{N\mu}{\sqrt{n_k}} \Big)_+ e_k .$$
#
# The class vanishes if $n_k \le N^2 \lambda_W \lambda_H$, the same size as in {eq}`eq-merge`, and the smallest go
# first. But it goes alone, and to zero. With sizes 40, 20, 10, 4 and 2 and $\lambda_W = \lambda_H = 0.03$,
# $N\mu = 2.28$: the right scores are 0.64, 0.49, 0.28, and for the two smallest classes zero.
# :::
#
# :::{exercise} After the merger
# :label: ex-ufm-imbalance
# *Open, 45 minutes.* Merged rare classes still differ from the frequent ones. Take ten classes, `Problem(10, [2 *
# ratio] * 5 + [2] * 5, …)` with $d = 16$, $\lambda_W = \lambda_b = 0.005$ and $\lambda_H = 0.0025$. At which ratio
# do the rare classes merge by {eq}`eq-merge`? Follow the length of their common row from there. Does it become
# zero, and where? Can you predict it?
# :::
#
# :::{solution} ex-ufm-imbalance
# :class: dropdown
# They merge when $N = 400$, at ratio 39. In our runs the largest distance between rare rows was 2.7 at ratio 10,
# 1.8 at 30, 0.80 at 38, and zero at 40. The mean of the rare rows had length 0.75, 0.69, 0.62 at ratios 20, 35, 40,
# then 0.22 at 50, and was zero from 51 on. To predict it, let the rare rows be zero, with biases $\pm\beta$ and margin
# $a$ among the five frequent classes. Let $p$ and $p'$ be the right and each wrong frequent probability of a
# frequent sample, $s$ its mass on $B$, and $r$ the mass of a rare sample on the frequent classes. Three equations:
# $\sqrt{n_A}\,(1 - p + p') = N\mu$; $n_A s - n_B r = N \lambda_b \beta$; and $2 (n_A s^2 + n_B r^2) = N^2 \mu^2$,
# which says that $\sigma = \mu$ in the direction frequent against rare. They give $n_A = 102.0$, ratio 51.0.
# :::
#
# :::{exercise} Fewer dimensions than an ETF needs
# :label: ex-ufm-narrow
# *Open, 45 minutes.* What if $d < K - 1$? Then there is no ETF. Minimise {eq}`eq-ufm` with $d = 2$, seven classes
# and two samples of each in the same way, with a cheap bias, an expensive one, and none. Which arrangement comes
# out, and why does the bias matter?
# :::
#
# :::{solution} ex-ufm-narrow
# :class: dropdown
# Without a bias, or with $\lambda_b = 100 \lambda_W$, we found the regular heptagon from twelve starts out of
# twelve (at $\lambda_W = \lambda_H = 0.001$ and two samples per class). With $\lambda_b = \lambda_W$ all twelve
# ended lower, in a regular hexagon and one class in its centre: its features are zero, and its bias tells it apart.
# Other weight decays have other winners, and starts need not agree. {cite}`jiang2023generalized` study more classes
# than dimensions in general.
# :::
#
# ## Summary
#
# - Free features and a linear classifier, with weight decay on both, have a closed-form solution: neural collapse
#   if $K \sqrt{n \lambda_W \lambda_H} < 1$, and nothing at all if not.
# - The proof is one bound for the loss, one for the penalty, and a balance; what is not wasted is NC1 to NC3.
# - Every critical point that is not a global minimum has a way down. Without weight decay there is no minimum.
# - Features that must be positive are orthogonal, each class with coordinates of its own; and classes can die.
# - Classes of one size $n_B$ melt into one at the sharp size $n_B = N^2 \lambda_W \lambda_H$; so rare ones go first.
# - Balancing by repetition brings the geometry back in our networks; with four rare images each, no weight decay
#   did more than repetition for new ones, and as much as shifts.
#
# What the model leaves out is the network: how long it takes, which $\lambda_H$ stands for the weight decay of all
# layers, and inputs it has not seen. How far its predictions hold for trained networks, and for other losses, is
# the subject of [Are all losses created equal?](losses.ipynb).
#
# ## Further reading
#
# {cite}`zhu2021geometric` prove the landscape theorem for $d > K$; {cite}`haeffele2015global` explain why factored
# convex problems are benign; {cite}`tirer2022extended` go on to two layers. On unequal classes:
# {cite}`fang2021exploring,hong2023imbalanced,thrampoulidis2022imbalance,dang2023linear`, with positive features
# {cite}`dang2024neural`. {cite}`hong2024beyond` ask when a real shallow network can follow the model.
