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
# # When can a shallow network collapse?
#
# In the unconstrained features model the features of a class always collapse to one point, because nothing
# stops them. A real network must produce its features from data. Does a sufficiently wide network have the
# same freedom? For two layers the question has a complete answer: it does not, and what decides is not the
# width but a system of linear inequalities in the *inputs*. This chapter solves that system with a proof
# attached to each answer, computes the exact probability that it is solvable when the data are noise, bounds
# it when they have structure, and checks that training follows.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** turn the collapse of a two-layer network into one linear program per class and decide
# it with a certificate; derive the probability of collapse in pure noise by counting regions; bound it for
# classes around means; read a phase diagram; and say what collapse implies about new samples, and what not.
#
# **Follows** lecture 004, from *positive features* to its end.
#
# **You need** linear algebra with subspaces and projections, and the first pages of
# [The unconstrained features model](unconstrained_features.ipynb). Linear programming is explained as it
# comes.
#
# **Time**: reading, one and a quarter hours; running, one minute on two CPU cores. A GPU is of use with the
# larger data named in the first cell.
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
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linprog
from torch.distributions import Laplace
from torch.nn.functional import cross_entropy

from lecturelib import claims
from lecturelib.datasets import load
from lecturelib.device import default_device, seed_everything
from lecturelib.experiments import recorded
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.metrics import nc1
from lecturelib.shallow_feasibility import (
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

use_style()
torch.set_num_threads(1)  # many problems, all of them small
generator = seed_everything(0)
F64 = {"generator": generator, "dtype": torch.float64}

# The last section uses images: "mnist" is the other choice, for a GPU. The claims about images were
# measured on digits: for other data a failing one only says so.
DATASET = "digits"
claims.strict(DATASET == "digits")
DEVICE = default_device() if DATASET == "mnist" else torch.device("cpu")

# %% [markdown]
# ## What the features model forgets
#
# Here are two data sets. Both have three classes of ten samples around orthogonal means of length one, with
# Gaussian noise of standard deviation 0.5 in every coordinate. One lives in 8 dimensions, the other in 40.
# On each we train the network of lecture 004,
#
# $$f(x) = W_2 \, (W_1 x)_+ , \qquad W_1 \in \mathbb R^{p \times d}, \; W_2 \in \mathbb R^{K \times p},$$ (eq-shallow-net)
#
# with $(t)_+ = \max(t, 0)$ and $p = 60$ neurons, so that $h = (W_1 x)_+$ are the last-layer features. The
# objective is cross-entropy with a penalty on the features, as in the features model,
#
# $$F(W_1, W_2) = \frac1N \sum_{i=1}^N L(f(x_i), y_i) + \frac\lambda2 \big( \|W_2\|_F^2 + \|H\|_F^2 \big) , \qquad H = (X W_1^\top)_+ ,$$ (eq-shallow-objective)
#
# where the rows of $X$ $(N, d)$ are the samples. The lecture penalises the features rather than $W_1$ because
# that is easier to analyse; an exercise looks at the other choice. `train_shallow` takes full-batch steps of
# Adam and records the objective and the features. We watch NC1 from
# [Neural collapse](neural_collapse.ipynb), the spread of the features within classes relative to that
# between them.

# %%
K, n, DECAY = 3, 10, 1e-3
START = F64 | {"scale": 0.1}  # smaller first weights collapse more often
labels = torch.arange(K).repeat_interleave(n)


def mixture(dim, noise, batch):
    """Draw data sets (batch, N, dim) around the unit vectors e_1, …, e_K."""
    centres = torch.eye(K, dim, dtype=torch.float64)[labels]
    return centres + noise * torch.randn(batch, K * n, dim, **F64)


def spread(features, labels=labels):
    """NC1 of every network of a batch."""
    return torch.stack([nc1(part, labels) for part in features])


first_look = {}
for dim in (8, 40):
    inputs = mixture(dim, 0.5, batch=1)
    net = ShallowNet(dim, 60, K, batch=(1,), **START)
    history = train_shallow(net, inputs, labels, weight_decay=DECAY, steps=4000)
    first_look[dim] = torch.cat([spread(part) for part in history["features"]])

claims.check(
    "shallow-dimension-decides",
    first_look[8][-1] / first_look[40][-1],
    above=100,
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-first", "caption": "One network, two data sets that differ in their dimension only. The features model knows neither and predicts the same for both."}, "image": {"alt": "NC1 on a logarithmic axis against the training step. In 8 dimensions it levels off early; in 40 dimensions it goes on falling by many orders of magnitude until the end."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
for style, (dim, curve) in zip(["--", "-"], first_look.items(), strict=True):
    ax.semilogy(history.epochs, curve, style, label=f"$d = {dim}$")
ax.set(xlabel="step", ylabel="NC1")
ax.legend(title="input dimension")
plt.show()

# %% [markdown]
# In 40 dimensions the features collapse; in 8 they come to rest at some distance from collapse, and the last
# thousand steps change nothing. Both networks have width 60, twice the number of samples. A wider one fares
# no better, as we shall prove.
#
# ## The positive features model
#
# First, what is there to reach? Features that leave a ReLU are not free: they have no negative entries. Lecture
# 004 therefore adds $H \ge 0$ to the features model, and
# [*Positive features*](unconstrained_features.ipynb#positive-features) proved what comes out. With one
# $\lambda$ for $W_2$ and $H$, put $c = \sqrt n \, \lambda$ and $c_+ = c \sqrt{K/(K-1)}$. If $K c_+ < 1$, the
# minimum over all $W_2$ and all $H \ge 0$ is
#
# $$V = \log\!\big(1 + (K-1) e^{-a}\big) + c_+ (K-1) \, a, \qquad a = \log\!\Big( \frac1{c_+} - (K-1) \Big),$$ (eq-shallow-value)
#
# and it is attained exactly by the *collapsed* configurations: all features of class $k$ are one vector
# $\bar h_k \ge 0$, the $K$ vectors are orthogonal to each other and equally long, and $W_2$ is a multiple of
# the centred class means. (If $K c_+ \ge 1$ the penalty wins and everything is zero. We assume
# $K c_+ < 1$ throughout.)
#
# Two vectors without negative entries are orthogonal only if no coordinate is positive in both. So in a
# collapsed network *no neuron fires for more than one class*. That is all we shall need.


# %%
def lowest_value(n, K, decay):
    """Return V and the margin a, for decay below the threshold."""
    c_plus = math.sqrt(n * K / (K - 1)) * decay
    a = math.log(1 / c_plus - (K - 1))
    return math.log1p((K - 1) * math.exp(-a)) + c_plus * (K - 1) * a, a


# %% [markdown]
# ## From the network to a linear program
#
# Which data let the ReLU layer produce such features? Write $X_k$ $(n, d)$ for the samples of class $k$, one
# per row, and $X_{-k}$ for the $m = (K-1) n$ others.
#
# :::{prf:definition} Feasible class
# :label: def-feasible
# Class $k$ is *feasible* if some $\beta \in \mathbb R^d$ solves
#
# $$X_k \beta = \mathbf 1 , \qquad X_{-k} \, \beta \le 0 .$$ (eq-feasible)
# :::
#
# A neuron with these weights answers 1 to its own class and, after the ReLU, 0 to all others. With a bias, a
# constant input 1 would be appended to every sample; lecture 004 has none, and neither have we.
#
# :::{prf:theorem} Width does not matter
# :label: thm-reduction
#
# Let $p \ge K$ and $K c_+ < 1$. The objective {eq}`eq-shallow-objective` has a minimum, and it is at least $V$. It
# equals $V$ if and only if all $K$ classes are feasible. Then every minimiser is collapsed; otherwise none is
# at the minimum of the positive features model, whatever the width.
# :::
#
# :::{prf:proof}
# *At least $V$.* $H = (X W_1^\top)_+$ is one choice of non-negative features.
#
# *If all classes are feasible,* with solutions $\beta_k$, let the first $K$ neurons have the weights
# $h \beta_k$, $h > 0$, and let all others be zero. Then $H$ has the row $h e_k$ for every sample of class
# $k$. These are equally long orthogonal class means; with the right $h$, and $W_2$ a multiple of the centred
# means, $F = V$. As $V$ is a lower bound, every other minimiser of $F$ minimises the positive features model
# as well, and is collapsed.
#
# *If $F(W_1, W_2) = V$,* then $(W_2, H)$ minimises the positive features model, so it is collapsed. As
# $\bar h_k \ne 0$, some neuron has $\bar h_{kq} > 0$. It fires for no other class. So its weights $w$ satisfy
# $X_k w = \bar h_{kq} \mathbf 1$ and $X_{-k} w \le 0$, and $\beta = w / \bar h_{kq}$ shows that class $k$ is
# feasible.
#
# *There is a minimum.* The features that one neuron can produce, $\{ (Xw)_+ : w \in \mathbb R^d \}$, form a
# closed set. For split it by the set $I$ of samples at which the neuron fires: each part is the image of the
# polyhedron $\{ w : X_I w \ge 0, X_{I^c} w \le 0 \}$ under the linear map $X_I$, and linear images of polyhedra
# are polyhedra. So the set of possible $H$ is closed, and the penalty keeps $H$ and $W_2$ bounded. A minimum
# is attained, and if a class is infeasible it is above $V$.
# :::
#
# The proof of the second part is a recipe. Let us follow it once, with a solver for linear programs on one
# of the problems in 40 dimensions. `linprog` minimises a linear function, here zero, subject to
# `A_eq @ beta == b_eq` and `A_ub @ beta <= b_ub`. For equal class means $h e_k$, the constants of the positive
# features model are $h^2 = a \sqrt{(K-1)/(nK)}$ and $W_2 = \frac ah \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$
# on the first $K$ neurons.


# %%
def solve(samples, own):
    """Return beta as SciPy's HiGHS finds it, or None."""
    result = linprog(
        np.zeros(samples.shape[1]),
        A_eq=samples[own],
        b_eq=np.ones(own.sum()),
        A_ub=samples[~own],
        b_ub=np.zeros((~own).sum()),
        bounds=(None, None),  # beta may be negative
        method="highs",
    )
    return result.x


betas = [solve(inputs[0].numpy(), (labels == k).numpy()) for k in range(K)]
V, a = lowest_value(n, K, DECAY)
h = math.sqrt(a * math.sqrt((K - 1) / (n * K)))
H = h * (inputs[0] @ torch.tensor(np.array(betas)).T).relu()
W_2 = a / h * (torch.eye(K) - 1 / K).double()
objective = cross_entropy(H @ W_2.T, labels) + DECAY / 2 * (
    W_2.square().sum() + H.square().sum()
)

claims.check("shallow-built-by-hand", objective / V, 1, abs=1e-6)

# %% [markdown]
# The network was never trained, and it is a global minimiser. What about the data in 8 dimensions? There
# `solve` returns `None`. But "the solver found nothing" is a weak statement; we want to *know* that there is
# nothing.
#
# ## Every answer with its proof
#
# :::{prf:theorem} Farkas' lemma for collapse
# :label: thm-farkas
#
# Exactly one of these two exists: a solution $\beta$ of {eq}`eq-feasible`; or a *certificate*
# $u \in \mathbb R^n$, $v \in \mathbb R^m$ with
#
# $$X_k^\top u = X_{-k}^\top v , \qquad \mathbf 1^\top u = 1, \qquad v \ge 0 .$$ (eq-certificate)
# :::
#
# The second says: a point of the *affine hull* of class $k$ (coefficients that sum to one, of any sign) lies
# in the *cone* of the other samples (coefficients of no negative sign). So class $k$ is feasible if and only
# if these two sets do not meet. Note how generous each is: neither the convex hull of the class nor that of
# the others, as for a separating hyperplane, but two unbounded sets. Collapse asks for much more than
# separability.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-plane", "caption": "Class 0 (circles), its affine hull (line), the other class (crosses) and its cone (shaded). Left: they do not meet; β points straight away from the origin to the line and leaves the cone behind. Right: a hyperplane would separate the classes, but line and cone meet, at the diamond: class 0 cannot collapse."}, "image": {"alt": "Two panels. In both, circles lie on a straight line that misses the origin, and a shaded cone with its tip at the origin contains crosses. On the left the cone opens away from the line. On the right it opens sideways and the line runs into it; a diamond marks a common point, outside the segment that the circles span."}}
class_0 = np.array([[0.6, 1.0], [1.4, 1.0], [2.0, 1.0]])
others = [
    np.array([[-1.2, -0.3], [-0.5, -1.0], [0.8, -0.9]]),
    np.array([[-1.5, 0.5], [-1.6, -0.6], [-0.6, -0.9]]),
]
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
for ax, cloud in zip(axes, others, strict=True):
    angles = np.unwrap(np.arctan2(cloud[:, 1], cloud[:, 0]))
    fan = np.linspace(angles.min(), angles.max(), 40)
    ax.fill(
        [0, *8 * np.cos(fan)], [0, *8 * np.sin(fan)], color="0.85", zorder=0
    )
    ax.axhline(1, color=COLOURS[0], linewidth=1)
    ax.plot(*class_0.T, "o", color=COLOURS[0], label="class 0")
    ax.plot(*cloud.T, "X", color=COLOURS[1], label="class 1")
    ax.plot(0, 0, "k+", markersize=10)
    ax.set(
        xlim=(-3.4, 2.6), ylim=(-1.4, 1.6), aspect="equal", xticks=[], yticks=[]
    )
    ax.grid(False)
axes[0].annotate(
    "",
    xy=(0, 1),
    xytext=(0, 0),
    arrowprops={"arrowstyle": "->", "linewidth": 1.5},
)
axes[0].text(0.1, 0.4, r"$\beta$")
axes[1].plot(-3.0, 1.0, "kD", label="common point")
axes[1].legend(loc="lower right")
axes[0].set_title("feasible")
axes[1].set_title("infeasible")
plt.show()

# %% [markdown]
# :::{prf:proof}
# *Not both.* With $\beta$ and $(u, v)$ as above,
# $1 = u^\top \mathbf 1 = u^\top X_k \beta = v^\top X_{-k} \beta \le 0$, which is absurd.
#
# *One of them.* If $X_k \beta = \mathbf 1$ has no solution, the part $r \ne 0$ of $\mathbf 1$ that is orthogonal
# to the range of $X_k$ satisfies $X_k^\top r = 0$ and $\mathbf 1^\top r = \|r\|^2$; take
# $u = r / \|r\|^2$ and $v = 0$. If it has solutions, look for the one that violates the inequalities least,
#
# $$\min_\beta \; \tfrac12 \big\| (X_{-k} \beta)_+ \big\|^2 \quad \text{subject to} \quad X_k \beta = \mathbf 1 .$$ (eq-least-violation)
#
# The minimum exists: the vectors $t \ge 0$ with $X_{-k} \beta \le t$ for some such $\beta$ form a polyhedron, which
# contains a shortest one. Let $v = (X_{-k} \beta)_+$ at the minimum. The gradient $X_{-k}^\top v$ must be
# orthogonal to every direction $\delta$ with $X_k \delta = 0$, so it lies in the range of $X_k^\top$:
# $X_{-k}^\top v = X_k^\top u$ for some $u$, and
#
# $$\mathbf 1^\top u = (X_k \beta)^\top u = \beta^\top X_{-k}^\top v = (X_{-k} \beta)^\top (X_{-k} \beta)_+ = \|v\|^2 .$$
#
# Either $v = 0$, and $\beta$ solves {eq}`eq-feasible`; or we divide $u$ and $v$ by $\|v\|^2 > 0$.
# :::
#
# The proof is also an algorithm. Solve {eq}`eq-least-violation`, and whatever the outcome, the minimiser is
# the solution or the certificate. The function is piecewise quadratic, so a step of Newton's method lands on
# the minimum once it knows which samples are violated there. For a single class in general position it takes
# these lines; the columns of `basis` span the directions $\delta$.


# %%
def least_violation(own, others):
    """Return beta with own @ beta = 1 and the least violation v by the others."""
    basis = torch.linalg.qr(own.T, mode="complete").Q[:, len(own) :]
    beta = torch.linalg.pinv(own).sum(1)
    v = (others @ beta).relu()
    for _ in range(200):
        if (basis.T @ others.T @ v).norm() < 1e-12:
            break  # stationary
        active = others[v > 0] @ basis
        step = -basis @ torch.linalg.pinv(active) @ v[v > 0]
        while (others @ (beta + step)).relu().norm() >= v.norm():
            step = step / 2  # other samples have become violated
        beta = beta + step
        v = (others @ beta).relu()
    return beta, v


few = mixture(16, 0.5, batch=20)
own_newton = [least_violation(data[:n], data[n:])[1].norm() for data in few]
by_linprog = [solve(data.numpy(), (labels == 0).numpy()) for data in few]
print("feasible:", sum(bool(v < 1e-9) for v in own_newton), "of", len(few))
claims.check(
    "shallow-least-violation",
    sum(
        (v < 1e-9) == (beta is not None)
        for v, beta in zip(own_newton, by_linprog, strict=True)
    )
    / len(few),
    1,
)

# %% [markdown]
# `nc_feasibility` does the same for all classes of a whole batch of instances at once, on a GPU if they are there,
# with an exact line search in place of the halving, and for degenerate data too: duplicates, collinear samples,
# more samples than dimensions. It then *checks* what it found against the data, and only what passes is
# called decided. A solution must satisfy all constraints to within $10^{-9}$. A certificate leaves a
# remainder $r = X_k^\top u - X_{-k}^\top v$ by rounding, and what that proves is exact: any $\beta$ that solves
# {eq}`eq-feasible` has $1 = u^\top X_k \beta \le r^\top \beta$, so $\|\beta\| \ge 1 / \|r\|$. It is accepted if a solution
# would have to be $10^9$ times longer than what fits a single sample. In `result.certificate` $u$ and $-v$
# stand at the places of their samples. `verify` repeats the check on its own.
#
# Is it right? We go through five noise levels and two to five classes, near the transition where about half
# of the problems are solvable, and let HiGHS solve each problem anew.

# %%
same, verified, decided = [], [], []
for num_classes in (2, 3, 4, 5):
    classes = torch.arange(num_classes).repeat_interleave(8)
    for noise, dim in (
        (0.1, 9),
        (0.3, 10),
        (1.0, 14),
        (3.0, 4 * num_classes + 4),
    ):
        centres = torch.eye(num_classes, dim, dtype=torch.float64)[classes]
        cloud = centres + noise * torch.randn(6, len(classes), dim, **F64)
        result = nc_feasibility(cloud, classes)
        decided.append(result.decided.flatten())
        verified.append(verify(cloud, classes, result).flatten())
        for data, answers in zip(cloud, result.feasible, strict=True):
            for k, answer in enumerate(answers):
                beta = solve(data.numpy(), (classes == k).numpy())
                same.append((beta is not None) == bool(answer))

print(len(same), "classes")
claims.check("shallow-agrees-with-highs", sum(same) / len(same), 1)
claims.check("shallow-decided", torch.cat(decided).double().mean(), above=0.999)
claims.check(
    "shallow-verified", torch.cat(verified).double().mean(), above=0.999
)

# %% [markdown]
# A phase diagram needs hundreds of thousands of such answers, so their price counts. The next figure shows a
# recorded run, and the bottom of this page where and when it was made. The loop calls HiGHS once per class,
# as in `solve`; the batch holds ten times as many instances.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-cost", "caption": "Seconds to decide one class, three classes of pure noise, one thread. Left: against n in the middle of the transition, d = 2n. Right: against d for n = 30."}, "image": {"alt": "Two panels on logarithmic axes. The curve of HiGHS lies far above that of the batched Newton method everywhere. On the left both rise with n. On the right HiGHS rises slowly with d; Newton rises from a low value at d = n to a plateau from d = 2n on."}}
cost = recorded("feasibility-cost")
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
columns = "samples_per_class", "dim", "newton", "highs"
sizes, dims, newton, highs = (
    np.array([row[name] for row in cost.values]) for name in columns
)
for ax, chosen, axis in (
    (axes[0], dims == 2 * sizes, sizes),
    (axes[1], sizes == 30, dims),
):
    order = np.argsort(axis[chosen])
    for seconds, marker, label in (
        (highs, "s--", "HiGHS, loop"),
        (newton, "o-", "Newton, batch"),
    ):
        ax.loglog(
            axis[chosen][order], seconds[chosen][order], marker, label=label
        )
axes[0].set(
    xlabel="samples per class $n$, $d = 2n$", ylabel="seconds per class"
)
axes[1].set(xlabel="dimension $d$, $n = 30$")
axes[0].legend()
plt.show()

# %% [markdown]
# ## Two easy regimes
#
# Counting equations settles both ends.
#
# :::{prf:theorem} Always and never
# :label: thm-easy
#
# 1. If all $N$ samples are linearly independent, which needs $d \ge Kn$, every class is feasible.
# 2. If the samples of class $k$ are $\mu_k + \sigma z_i$ with independent standard normal $z_i \in \mathbb R^d$,
#    any $\mu_k$, any $\sigma > 0$, and $d < n$, then class $k$ is infeasible with probability one.
# :::
#
# :::{prf:proof}
# 1. $X$ has full row rank, so $X \beta = y$ is solvable for every $y \in \mathbb R^N$, also for the indicator of
# class $k$.
#
# 2. $X_k \beta = \mathbf 1$ needs $\mathbf 1$ in the range of $X_k = \mathbf 1 \mu_k^\top + \sigma Z$. If
# $\mathbf 1 = X_k \beta = (\mu_k^\top \beta) \mathbf 1 + \sigma Z \beta$, then $Z \beta$ is a multiple of
# $\mathbf 1$, and $\beta \ne 0$. But $d$ independent Gaussian columns and $\mathbf 1$ are $d + 1 \le n$ vectors in
# $\mathbb R^n$, linearly independent with probability one.
# :::
#
# The second part does not even look at the other classes, and it holds at *any* noise level, however small:
# a lower bound on the dimension that no amount of structure relieves. It is what stopped the first network
# above. Its certificates have $v = 0$.

# %%
shares = {}
for dim in (n - 1, K * n):
    result = nc_feasibility(mixture(dim, 0.1, batch=200), labels)
    shares[dim] = result.feasible.double().mean()
    if dim < n:
        others_in_proof = result.certificate[:, 0, n:].abs().max()

claims.check("shallow-never", shares[n - 1], 0)
claims.check("shallow-never-alone", others_in_proof, 0)
claims.check("shallow-always", shares[K * n], 1)

# %% [markdown]
# ## Pure noise: the exact law
#
# Between $n$ and $Kn$ lies the question. Take the data that offer least to hold on to: no means, each sample
# drawn from a standard normal distribution. How likely is class $k$ to be feasible? The answer is a coin-tossing
# probability, and the derivation is worth having, because it shows how little it assumes.
#
# :::{prf:lemma} Regions
# :label: lem-regions
#
# $m$ hyperplanes in general position cut $\mathbb R^p$ into $\sum_{i=0}^p \binom mi$ regions.
# :::
#
# General position means that any $j \le p$ of them meet in an affine subspace of dimension $p - j$, and no
# $p + 1$ of them have a point in common.
#
# :::{prf:proof}
# Call the number $r(m, p)$. Add the $m$-th hyperplane to the others: they cut it, a copy of
# $\mathbb R^{p-1}$, into $r(m-1, p-1)$ pieces, again in general position, and each piece splits one region in
# two. So $r(m, p) = r(m-1, p) + r(m-1, p-1)$, with $r(0, p) = 1$ and, as a point cannot be cut,
# $r(m, 0) = 1$. The sums of binomial coefficients obey the same recursion, as
# $\binom mi = \binom{m-1}i + \binom{m-1}{i-1}$, and the same starting values.
# :::
#
# :::{prf:theorem} Law of pure noise
# :label: thm-noise
#
# Let the $n \le d$ samples of class $k$ be linearly independent. Let the $m = (K-1) n$ other samples be
# independent of them and of each other, with distributions that have a density and do not change when a
# sample is replaced by its negative. Then
#
# $$\mathbb P(\text{class $k$ is feasible}) = 2^{-m} \sum_{i=0}^{d-n} \binom mi
#   = \mathbb P\big( \mathrm{Bin}(m, \tfrac12) \ge Kn - d \big) .$$ (eq-noise-law)
# :::
#
# :::{prf:proof}
# The solutions of $X_k \beta = \mathbf 1$ are $\beta_0 + T y$, $y \in \mathbb R^p$ with $p = d - n$, where the
# columns of $T$ are a basis of the null space of $X_k$. Another sample $x_i$ asks that $y$ lie on the right
# side of a hyperplane in $\mathbb R^p$,
#
# $$x_i^\top \beta_0 + (T^\top x_i)^\top y \le 0 .$$
#
# Replacing $x_i$ by $-x_i$ keeps the hyperplane and exchanges its sides. All $2^m$ choices of signs are equally
# likely by assumption. So, given the $m$ hyperplanes, the probability that some $y$ is on the right side of
# all of them is the number of sign patterns for which such a $y$ exists, divided by $2^m$. Patterns realised
# off the hyperplanes are the regions that these cut. Patterns realised by a point *on* some of them are
# realised off them as well: at most $p$ hyperplanes pass through the point, their normals are independent, and
# so a small step leads to any chosen sides of all of them. The densities put the hyperplanes in general
# position with probability one ($\beta_0 \ne 0$ is not in the span of $T$, so the $m$ vectors
# $(x_i^\top \beta_0, T^\top x_i)$ have a density in $\mathbb R^{p+1}$). By {prf:ref}`lem-regions` there are
# $\sum_{i \le p} \binom mi$ regions. The second form uses that $i$ heads are as likely as $m - i$.
# :::
#
# The count is Cover's, and in this form goes back to Wendel {cite}`cover1965geometrical,wendel1962problem`.
# Expected number of heads: $m/2$. So the transition is centred at
#
# $$d = n + \frac{(K-1) n}2 = \frac{K+1}2 \, n$$ (eq-centre)
#
# (to within half a coin), and its width is the standard deviation $\frac12 \sqrt{(K-1) n}$, a part
# $1 / \sqrt n$ of the whole: in $d/n$ the transition becomes a jump for large $n$.

# %%
TRIALS, SIZE = 100, 20
measured = {}
for num_classes in (2, 3, 5):
    centre = SIZE * (num_classes + 1) / 2
    width = math.sqrt((num_classes - 1) * SIZE) / 2
    dims = [round(centre + t * width) for t in np.linspace(-2.5, 2.5, 9)]
    classes = torch.arange(num_classes).repeat_interleave(SIZE)
    for dim in dims:
        noise_only = torch.randn(TRIALS, len(classes), dim, **F64)
        feasible = nc_feasibility(noise_only, classes).feasible
        # The first class alone: the classes of one instance are not independent.
        measured[num_classes, dim] = (
            float(feasible[:, 0].double().mean()),
            float(feasible.all(1).double().mean()),
        )


def standard_errors(share, probability, trials):
    """How many standard errors lie between a measured share and its law."""
    error = math.sqrt(probability * (1 - probability) / trials)
    return abs(share - probability) / error


distances = [
    standard_errors(share, noise_probability(dim, SIZE, num_classes), TRIALS)
    for (num_classes, dim), (share, _) in measured.items()
]
claims.check("shallow-noise-law", max(distances), below=4)
claims.check("shallow-noise-law-typical", np.median(distances), below=1.2)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-noise", "caption": "Pure noise with n = 20. Lines: the exact law for one class; large markers: measured with 100 instances. Small dots: all classes at once. Dashed: Gordon's bound. Dotted: the centre (K + 1)/2."}, "image": {"alt": "Three steep rising curves from zero to one against d over n, centred at 1.5, 2 and 3 for two, three and five classes, with markers on the curves. Small dots for all classes at once lie a little to the right of each curve, and the dashed bounds far to the right."}}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for colour, marker, num_classes in zip(COLOURS[:3], "osD", (2, 3, 5), strict=True):
    dims = np.arange(SIZE, num_classes * SIZE + 1)
    law = noise_probability(dims, SIZE, num_classes)
    bound = gordon_bound(dims, SIZE, num_classes)
    ax.plot(dims / SIZE, law, color=colour)
    ax.plot(dims / SIZE, bound, "--", color=colour, linewidth=1)
    ax.axvline((num_classes + 1) / 2, color=colour, linestyle=":", linewidth=1)
    points = [
        (dim, *shares)
        for (k, dim), shares in measured.items()
        if k == num_classes
    ]
    at, one, joint = np.array(points).T
    ax.plot(at / SIZE, one, marker, color=colour, label=f"$K = {num_classes}$")
    ax.plot(at / SIZE, joint, ".", color=colour, markersize=4)
ax.set(xlabel="$d / n$", ylabel="share of feasible instances")
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# :::{admonition} Slide check: d/n > (K + 1)/2
# :class: warning
# Lecture 004 shows by Gordon's inequality that above $d/n = (K+1)/2$ collapse is feasible with high
# probability. That is right, and {eq}`eq-noise-law` adds what a bound cannot: *below* it, collapse in pure
# noise is infeasible with high probability, and at finite $n$ both probabilities are known exactly. The bound
# needs a good deal more room (dashed lines).
# :::
#
# For the record, how the bound comes about. A certificate is a vector $(u, -v)$ in the cone
# $D = \{ \mathbf 1^\top u \ge 0 \} \times \{ -v \le 0 \}$ of $\mathbb R^{Kn}$ that $X^\top$ maps to zero. Gordon's
# comparison {cite}`gordon1988milman` says that for Gaussian $X$ the minimum of $\|X^\top w\|$ over unit vectors
# $w \in D$ has a mean of at least $E \|g\| - \omega(D)$, $g$ standard normal in $\mathbb R^d$; as this minimum changes by no
# more than $X$ does (in the Frobenius norm), it is zero with probability at most
# $\exp\big( -\frac12 (E\|g\| - \omega(D))^2 \big)$, if the difference is positive. Here $\omega(D)$, the Gaussian width, satisfies $\omega(D)^2 \le \delta(D)$, the
# statistical dimension {cite}`amelunxen2014living`: $n - \frac12$ for a half-space of $\mathbb R^n$ plus
# $\frac m2$ for the orthant, together $\frac{K+1}2 n - \frac12$. As $E \|g\| \approx \sqrt d$, this works for
# $d > \frac{K+1}2 n$, but pays for it with an exponent of order one only once $d$ is
# well beyond.

# %%
dims = np.arange(1, 401)
slack = noise_probability(dims, 40, 5) - gordon_bound(dims, 40, 5)
claims.check("shallow-gordon-holds", slack.min(), above=-1e-12)
large = {ratio: round(ratio * 3 * 1000) for ratio in (0.95, 1.05)}  # K = 5
claims.check(
    "shallow-centre-below", noise_probability(large[0.95], 1000, 5), below=1e-4
)
claims.check(
    "shallow-centre-above",
    noise_probability(large[1.05], 1000, 5),
    above=1 - 1e-4,
)

# %% [markdown]
# Read the hypotheses of {prf:ref}`thm-noise` once more. Nothing is said about class $k$ except that its samples are
# independent vectors. It may have a mean, or not be random. And the others need not be Gaussian, only
# symmetric. Here class 0 consists of positive numbers of very different sizes, and the others have
# heavier tails than a Gaussian (Laplace).

# %%
trials, distances = 200, []
laplace = Laplace(torch.zeros((), dtype=torch.float64), 1)
torch.manual_seed(0)  # torch.distributions draws from the global generator
for dim in (16, 18, 20, 22, 24):
    fixed = torch.rand(trials, n, dim, **F64) ** 4 + 1
    rest = laplace.sample((trials, 2 * n, dim))
    feasible = nc_feasibility(torch.cat([fixed, rest], 1), labels).feasible
    share = float(feasible[:, 0].double().mean())
    distances.append(
        standard_errors(share, noise_probability(dim, n, K), trials)
    )

claims.check("shallow-law-any-class", max(distances), below=4)

# %% [markdown]
# Move the sliders to see how the transition sharpens with $n$ and moves with $K$.


# %% tags=["hide-input"]
def draw_transition(K, n):
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    dims = np.arange(1, K * n + n + 1)
    ax.plot(
        dims / n,
        noise_probability(dims, n, K),
        ".-",
        color=COLOURS[0],
        label="exact",
        markersize=4,
    )
    ax.plot(
        dims / n,
        gordon_bound(dims, n, K),
        "--",
        color=COLOURS[1],
        label="Gordon's bound",
    )
    ax.axvline((K + 1) / 2, color="0.4", linestyle=":", label="(K + 1)/2")
    ax.axvspan(0, 1, color="0.9")
    ax.axvspan(K, K + 1, color="0.9")
    ax.text(0.5, 0.5, "never", ha="center", rotation=90)
    ax.text(K + 0.5, 0.5, "always", ha="center", rotation=90)
    ax.set(
        xlim=(0, K + 1),
        ylim=(-0.03, 1.03),
        xlabel="d / n",
        ylabel="probability of a class",
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1 / (K + 1), 1))
    return fig


def describe_transition(K, n):
    steps = noise_probability(np.arange(1, K * n + 1), n, K)
    low, high = (1 + int(np.argmax(steps >= level)) for level in (0.1, 0.9))
    return (
        f"With {K} classes of {n} samples, the probability first reaches 10 percent at "
        f"d = {low} and 90 percent at d = {high}, around d = {(K + 1) * n / 2:g}."
    )


explore(
    draw_transition,
    name="transition",
    alt=describe_transition,
    caption="Probability that a class of pure noise can collapse. Below d/n = 1 never, from d/n = K on always.",
    labels={"K": "K, classes", "n": "n, samples per class"},
    start={"K": 3, "n": 20},
    K=[2, 3, 4, 6, 10],
    n=[2, 5, 20, 100],
)

# %% [markdown]
# ## Classes around means
#
# Structure should help. Let class $k$ be $\mu_k + \sigma z$ with standard normal $z$, the Gaussian mixture of
# lecture 004. Two bounds, from two ways of choosing $\beta$.
#
# **Ignore the means.** Look for a $\beta$ orthogonal to the means of the *other* classes. In that subspace the
# others are pure noise, and what class $k$ is does not matter, so {prf:ref}`thm-noise` applies.
#
# :::{prf:theorem} Whatever the means
# :label: thm-projection
#
# For all means, with $r_k$ the rank of $\{ \mu_j : j \ne k \}$, and all $\sigma > 0$,
#
# $$\mathbb P(\text{class $k$ is feasible}) \ge \mathbb P\big( \mathrm{Bin}((K-1)n, \tfrac12) \ge Kn - (d - r_k) \big) .$$ (eq-projection)
# :::
#
# So beyond $d \approx \frac{K+1}2 n + K - 1$ collapse is feasible at every noise level and for every
# configuration of the means, even when all of them coincide. It is a vertical line in the phase diagram.
#
# **Use the means.** Let $b$ separate the means: $\mu_j^\top b \le -1$ for all $j \ne k$ and
# $\mu_k^\top b \ge 0$. How short can such a $b$ be?
#
# :::{prf:lemma} Margin of the means
# :label: lem-margin
#
# Let $\Delta_k > 0$ be the distance between the convex hull of $\{\mu_j : j \ne k\}$ and the ray
# $\{ \nu \mu_k : \nu \ge 0 \}$. Then some $b$ with $\|b\| = 1 / \Delta_k$ separates the means.
# :::
#
# :::{prf:proof}
# Let $p$ in the hull and $q$ on the ray be closest to each other, $w = p - q$, $b = -w / \|w\|^2$. Moving $q$
# along the ray brings no gain, so $w^\top \mu_k \le 0$ and $w^\top q = 0$. Nor does moving $p$ towards $\mu_j$, so
# $w^\top \mu_j \ge w^\top p = w^\top (w + q) = \|w\|^2$.
# :::
#
# For two classes with an angle $\theta$ between their means, $\Delta_1 = \|\mu_2\|$ if $\theta \ge 90°$, and
# $\|\mu_2\| \sin \theta$ if it is acute. For $K$ classes, if the $(K, d)$ matrix of means has smallest singular value
# $s > 0$, then $\Delta_k \ge s / \sqrt{K-1}$: a point of the hull minus one of the ray has coefficients
# $\lambda_j \ge 0$ that sum to one and $-\nu$, and so a length of at least $s \|\lambda\| \ge s / \sqrt{K-1}$.
#
# :::{prf:theorem} Small noise
# :label: thm-small-noise
#
# Let $r$ be the rank of all means and $d \ge n + r$. Then, with $\Phi$ the standard normal distribution function,
#
# $$\mathbb P(\text{class $k$ is feasible}) \ge \mathbb E \, \Phi\Big( \sqrt R \, \frac{\Delta_k}\sigma \Big)^{(K-1) n}, \qquad R \sim \mathrm{Beta}\Big( \frac{d - r - n + 1}2, \frac n2 \Big) .$$ (eq-small-noise)
# :::
#
# :::{prf:proof}
# Take $b$ from {prf:ref}`lem-margin` in the span of the means, and correct it: let $\beta = b + \|b\| \gamma$
# with $\gamma$ orthogonal to all means. Sample $i$ of class $k$ has the output
#
# $$x_i^\top \beta = \mu_k^\top b + \sigma \|b\| \big( g_i + z_i^\top \gamma \big), \qquad g_i = z_i^\top b / \|b\| .$$
#
# Choose the shortest $\gamma$ for which all $n$ brackets vanish. In coordinates along $b$ and orthogonal to the
# means, $(1, \gamma)$ must lie in the null space $L$ of an $n \times (1 + d - r)$ Gaussian matrix, a uniformly
# random subspace of dimension $d - r + 1 - n \ge 1$. The shortest such vector is $\Pi e / \|\Pi e\|^2$, with $e$ the first unit
# vector and $\Pi$ the projection onto $L$. So $1 + \|\gamma\|^2 = 1 / R$, where $R = \|\Pi e\|^2$ is the squared
# length of the projection of a unit vector onto a random subspace, which has the stated Beta
# distribution.
#
# Now class $k$ has the common output $\mu_k^\top b \ge 0$, and $\|\beta\|^2 = \|b\|^2 / R$. The other samples are
# independent of $\beta$. One of class $j$ has an output $\mu_j^\top b + \sigma \|\beta\| g$ with standard normal
# $g$, negative with probability at least $\Phi(1 / (\sigma \|\beta\|)) = \Phi(\sqrt R \, \Delta_k / \sigma)$, and there are
# $(K-1) n$ of them. If $\mu_k^\top b > 0$, divide $\beta$ by it. If it is zero, add a small multiple of a
# solution $\delta$, orthogonal to the means, of $z_i^\top \delta = 1$ for all $i$: class $k$ gets a positive
# common output, and outputs that were negative stay so.
# :::
#
# To see how much noise that allows, use $1 - \Phi(t) \le e^{-t^2/2}$ and a union over the samples: the bound fails
# by at most $(K-1) n \, \mathbb E \, e^{-R \Delta_k^2 / 2\sigma^2}$, so $\sigma$ may be of the order of
# $\Delta_k / \sqrt{\log((K-1)n)}$. That is the logarithm which the lecture mentions.


# %%
def two_means(degrees):
    """Two unit vectors at an angle."""
    angle = math.radians(degrees)
    return torch.tensor(
        [[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64
    )


ANGLES, NOISES, TRIALS, SIZE = (
    list(range(0, 181, 15)),
    [0.05, 0.15, 0.4],
    50,
    20,
)
DIM = 26
by_angle, bounds = [], []
for degrees in ANGLES:
    cells = phase_map(
        ([DIM / SIZE], NOISES),
        TRIALS,
        samples_per_class=SIZE,
        means=two_means(degrees),
    )
    by_angle.append(cells.per_class[0])
    bounds.append(
        small_noise_bound(DIM, SIZE, two_means(degrees), NOISES)[:, 0]
    )
by_angle, bounds = torch.stack(by_angle), torch.tensor(np.array(bounds))
whatever = noise_probability(DIM - 1, SIZE, 2)

# Three standard errors of a share of 2 TRIALS classes, at their largest.
margin_of_error = 3 * 0.5 / math.sqrt(2 * TRIALS)
claims.check(
    "shallow-small-noise-angle",
    (by_angle - bounds).min(),
    above=-margin_of_error,
)
claims.check("shallow-acute", by_angle[ANGLES.index(45), 0], above=0.9)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-angle", "caption": "Two classes of twenty samples in 26 dimensions, by the angle between their means, which have length one. Markers: measured share of feasible classes. Dashed: the bound for small noise. Dotted: the bound for any means."}, "image": {"alt": "Three rising sequences of markers against the angle from 0 to 180 degrees. At the smallest noise the share rises steeply already at small angles and stays near one; at larger noise it rises more slowly, and levels off beyond 90 degrees. The dashed bounds lie below their markers and are flat beyond 90 degrees. A dotted horizontal line lies low."}}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for i, (marker, noise) in enumerate(zip("osD", NOISES, strict=True)):
    ax.plot(
        ANGLES,
        by_angle[:, i],
        marker,
        color=COLOURS[i],
        label=rf"$\sigma = {noise}$",
    )
    ax.plot(ANGLES, bounds[:, i], "--", color=COLOURS[i], linewidth=1)
ax.axhline(whatever, color="0.4", linestyle=":")
ax.axvline(90, color="0.8", linewidth=1)
ax.set(
    xlabel="angle between the means (degrees)",
    ylabel="share of feasible classes",
    xticks=range(0, 181, 30),
)
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: an angle above 90 degrees
# :class: warning
# For two classes the lecture asks for an angle of more than 90° between the means and small noise. Obtuse means
# help, but they are not needed: with an acute angle the margin is $\|\mu_2\| \sin \theta$ in place of
# $\|\mu_2\|$, and small noise is still enough, given $d \ge n + 2$. What is fatal is that a mean lie on the ray of
# the other: at 0° only {eq}`eq-projection` is left. The angle decides when there is no room
# besides the means, at $d = n$ (exercise).
# :::

# %%
ratios = []
for num_classes in (2, 3, 5, 10):
    for _ in range(50):
        means = torch.randn(num_classes, 12, **F64)
        smallest = torch.linalg.svdvals(means)[-1]
        floor = smallest / math.sqrt(num_classes - 1)
        ratios.append((mean_margins(means) / floor).min())
claims.check("shallow-singular-value", torch.stack(ratios).min(), above=1)

# %% [markdown]
# ## The phase diagram
#
# All of it at once: dimension to the right, noise upwards, and in every cell the share of feasible classes among 100
# instances. The lecture shows such maps for two and for more classes; this one has about a thousand cells in
# each panel, and every answer in it was certified.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-phase", "caption": "Share of feasible classes, n = 30, means of length one. White lines, from left to right: d = n; small noise, probability one half by its bound (dashed, on the right side of which the bound is larger); any means, one half (solid); Gordon's bound for any means, one half (dotted); d = Kn."}, "image": {"alt": "Four heat maps: two means at 135 degrees, two at 45 degrees, three and five orthogonal means. Dark on the left of d = n and at large noise to the left of (K + 1)/2, light elsewhere. The boundary starts near d = n at small noise, moves to the right as the noise grows, and turns vertical near (K + 1)/2. The dashed bound follows the boundary at small noise, on its light side, and the solid vertical line marks where it ends at large noise; the dotted line is further to the right."}}
diagrams = recorded("phase-diagrams").values
fig, axes = plt.subplots(
    2, 2, figsize=(7.6, 6.4), sharey=True, layout="constrained"
)
for ax, case in zip(axes.flat, diagrams, strict=True):
    means = torch.tensor(case["means"], dtype=torch.float64)
    size, noises, per_class = (
        case["samples_per_class"],
        case["noises"],
        case["per_class"],
    )
    dims, num_classes = np.array(case["dims"]), len(means)
    image = ax.pcolormesh(
        dims / size,
        noises,
        np.array(per_class).T,
        cmap="viridis",
        vmin=0,
        vmax=1,
        shading="nearest",
    )
    fine = np.arange(1, num_classes * size + num_classes)
    lower = np.array(
        [
            small_noise_bound(int(d), size, means, noises)[:, 0]
            for d in fine
            if d >= num_classes
        ]
    )
    ax.contour(
        fine[fine >= num_classes] / size,
        noises,
        lower.T,
        [0.5],
        colors="white",
        linestyles="--",
    )
    for bound, style in ((noise_probability, "-"), (gordon_bound, ":")):
        start = np.argmax(bound(fine, size, num_classes) >= 0.5)
        ax.axvline(
            (fine[start] + num_classes - 1) / size,
            color="white",
            linestyle=style,
        )
    for end in (1, num_classes):
        ax.axvline(end, color="white", linewidth=0.7)
    ax.set(yscale="log", title=case["case"], xlim=(0.8, num_classes + 0.2))
for ax in axes[:, 0]:
    ax.set_ylabel(r"noise $\sigma$")
for ax in axes[1]:
    ax.set_xlabel("$d / n$")
fig.colorbar(image, ax=axes, label="share of feasible classes", shrink=0.6)
plt.show()

# %%
surplus, answers = [], 0
undecided = sum(case["undecided"] for case in diagrams)
for case in diagrams:
    means = torch.tensor(case["means"], dtype=torch.float64)
    size = case["samples_per_class"]
    answers += np.size(case["per_class"]) * case["trials"] * len(means)
    for dim, row in zip(case["dims"], case["per_class"], strict=True):
        any_means = 0.0
        if dim >= len(means):
            any_means = noise_probability(
                dim - len(means) + 1, size, len(means)
            )
        small = small_noise_bound(dim, size, means, case["noises"]).mean(-1)
        surplus.append(np.array(row) - np.maximum(any_means, small))
surplus = np.array([value for row in surplus for value in row])

claims.check("shallow-map-decided", undecided / answers, below=1e-5)
claims.check("shallow-map-bounds", surplus.min(), above=-0.15)
claims.check("shallow-map-tight", (surplus < 0.25).mean(), above=0.7)

# %% [markdown]
# The two bounds together leave only a strip undecided: the talk's red and blue curves, in a sharper form. Above
# the strip, at large noise, the boundary becomes that of pure noise; towards small noise it bends to
# $d = n$, where {prf:ref}`thm-easy` draws the line that no structure crosses. Two means at 45° differ from two
# at 135° in the height of the bend, by little more than the factor $\sin 45°$ in the margin.
#
# ## Does training get there?
#
# {prf:ref}`thm-reduction` is about global minima of a function that is not convex. Training may stop elsewhere. We
# train thirty networks, each on an instance of its own, at noise levels from one at which nearly all are
# feasible to one at which hardly any is. For each, two things are known beforehand: whether collapse is feasible, by
# certificate, and the value $V$, the same for all. Samples are scaled to a mean square entry of one, which changes
# nothing about feasibility.

# %%
levels = torch.tensor([0.15, 0.3, 0.45, 0.6, 1.0], dtype=torch.float64)
levels = levels.repeat_interleave(6).view(-1, 1, 1)
DIM_TRAIN = 20
clouds = mixture(DIM_TRAIN, levels, batch=len(levels))
clouds = clouds / clouds.square().mean((1, 2), keepdim=True).sqrt()
feasible = nc_feasibility(clouds, labels).feasible.all(-1)
net = ShallowNet(DIM_TRAIN, 60, K, batch=(len(levels),), **START)
history = train_shallow(net, clouds, labels, weight_decay=DECAY, steps=6000)
spreads = torch.stack([spread(part) for part in history["features"]])
V, _ = lowest_value(n, K, DECAY)
excess = torch.stack(history["objective"]) / V - 1

claims.check(
    "shallow-infeasible-spread", spreads[-1, ~feasible].min(), above=2e-4
)
claims.check(
    "shallow-infeasible-value", excess[-1, ~feasible].min(), above=1e-4
)
collapsed = spreads[-1] < 1e-4
claims.check(
    "shallow-collapsed-feasible", feasible[collapsed].double().mean(), 1
)
claims.check(
    "shallow-feasible-collapsed", collapsed[feasible].double().mean(), above=0.5
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-training", "caption": "Thirty networks. Left: NC1 during training. Right: where each ends, against how far its objective is above V."}, "image": {"alt": "Left: thirty curves of NC1 on logarithmic axes. Dashed ones, for infeasible data, level off between one thousandth and one hundredth; most solid ones, for feasible data, fall by many orders of magnitude, while a few level off as well. Right: final NC1 against relative excess of the objective. Crosses, infeasible, gather at the upper right; most circles, feasible, lie along a trail to the lower left."}}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.6, 3.4), layout="constrained"
)
for curve, ok in zip(spreads.T, feasible, strict=True):
    left.loglog(
        history.epochs[1:],
        curve[1:],
        "-" if ok else "--",
        color=COLOURS[0 if ok else 1],
        linewidth=0.8,
    )
for ok, marker, label in ((True, "o", "feasible"), (False, "X", "infeasible")):
    chosen = feasible == ok
    right.loglog(
        excess[-1, chosen],
        spreads[-1, chosen],
        marker,
        color=COLOURS[0 if ok else 1],
        label=label,
    )
left.set(xlabel="step", ylabel="NC1", ylim=(1e-12, 1))
right.set(
    xlabel="$F / V - 1$",
    ylabel="NC1 at the end",
    xlim=(1e-7, 1),
    ylim=(1e-12, 1),
)
right.legend()
plt.show()

# %% [markdown]
# No network crosses the line: on infeasible data none comes near $V$, none collapses. On feasible data most do, to an
# NC1 far below $10^{-4}$, and some do not. These are not slow but stuck, at local minima of the kind that the
# positive features model has too, where some neuron fires for the wrong samples and every small change makes
# matters worse.
#
# The lecture reports NC1 between $10^{-3}$ and $10^{-4}$ after very long training. Compare the infeasible networks
# here: they end between $10^{-3}$ and $10^{-2}$, too. A small NC1 by itself does not tell approximate collapse
# from the real one. A certificate does.
#
# ### No regularisation, no collapse
#
# In the discussion after the talk somebody asks about training without any penalty. Then {eq}`eq-shallow-value`
# is empty: the infimum of the loss is zero for every network that separates the classes, and nothing asks for
# collapse. On the same data:

# %%
net = ShallowNet(DIM_TRAIN, 60, K, batch=(len(levels),), **START)
free = train_shallow(net, clouds, labels, weight_decay=0.0, steps=3000)
spreads_free = spread(free["features"][-1])
correct = (net(clouds).argmax(-1) == labels).double().mean()
claims.check("shallow-free-fits", correct, 1)
claims.check("shallow-free-spread", spreads_free.min(), above=0.02)

# %% [markdown]
# All samples are classified correctly, and NC1 stays at its order of magnitude. That is an observation about
# three thousand steps, not a theorem: with separable data, the loss goes to zero and the weights grow
# without bound, and where their direction tends is a question of its own.
#
# ## Three layers
#
# Put a layer in front that is random and stays so,
#
# $$f(x) = W_2 \big( W_1 (G x)_+ \big)_+ , \qquad G \in \mathbb R^{D \times d} \text{ Gaussian.}$$
#
# Nothing changes except the data: what was $x$ is now $(Gx)_+$, in $D$ dimensions that we are free to choose.
#
# :::{prf:theorem} A wide random layer makes collapse feasible
# :label: thm-three-layers
#
# If no two samples are multiples of each other, then the probability that all classes are feasible after the random
# layer tends to one as $D \to \infty$.
# :::
#
# :::{prf:proof}
# The functions $\phi_i(g) = (g^\top x_i)_+$ of $g \in \mathbb R^d$ are linearly independent: $\phi_i$ has a
# kink across the hyperplane $g^\top x_i = 0$, and at most of its points no other $\phi_j$ has one, as those kinks lie
# on other hyperplanes. So the Gram matrix $\mathbb E \, \phi(g) \phi(g)^\top$ for Gaussian $g$ is positive
# definite. The features are $\phi_i(g_1), \dots, \phi_i(g_D)$ with independent rows $g_q$ of $G$, and by the law
# of large numbers their Gram matrix, divided by $D$, tends to that. So it becomes invertible, the $N$
# feature vectors become linearly independent, and {prf:ref}`thm-easy` applies.
# :::
#
# Lecture 004 gives a rate by matrix concentration, $D$ of the order of $N \log N$. As we know, linear independence is
# more than is needed. How wide must the layer be? With an *odd* activation, tanh say, in place of the
# ReLU the answer is exact: for pure noise and given $G$, the features $\tanh(Gx)$ are symmetric, so
# {prf:ref}`thm-noise` holds with $D$ in place of $d$, for every $d$ (their general position is inherited,
# tanh being analytic, if $d \ge 2$). For the ReLU we measure.

# %%
D_GRID, TRIALS, DIM = [10, 13, 16, 18, 20, 22, 24, 27, 30, 40], 100, 6
after = {"relu": [], "tanh": []}
for D in D_GRID:
    inputs = torch.randn(TRIALS, K * n, DIM, **F64)
    G = torch.randn(TRIALS, D, DIM, **F64) / math.sqrt(DIM)
    for name, shares in after.items():
        features = getattr(inputs @ G.mT, name)()
        shares.append(
            float(
                nc_feasibility(features, labels).feasible[:, 0].double().mean()
            )
        )

law = [noise_probability(D, n, K) for D in D_GRID]
distances = [
    standard_errors(share, probability, TRIALS)
    for share, probability in zip(after["tanh"], law, strict=True)
    if 0.02 < probability < 0.98
]
claims.check("shallow-tanh-law", max(distances), below=4)
claims.check("shallow-relu-wide", after["relu"][-1], above=0.95)
ahead = (np.array(after["relu"]) - law)[[D_GRID.index(D) for D in (16, 18, 20)]]
claims.check("shallow-relu-ahead", ahead.mean(), above=0.15)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-random-layer", "caption": "Pure noise in 6 dimensions, three classes of ten samples, which is infeasible without the random layer. Markers: share of feasible classes behind a random layer of width D. Line: the exact law with D in place of d."}, "image": {"alt": "Share of feasible classes against the width D from 10 to 40. Squares, for tanh, lie on the S-shaped line of the law. Circles, for ReLU, rise earlier, by about three units of width."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
fine = np.arange(8, 41)
ax.plot(fine, noise_probability(fine, n, K), color="0.5", label="exact law")
ax.plot(D_GRID, after["relu"], "o", color=COLOURS[0], label="ReLU")
ax.plot(D_GRID, after["tanh"], "s", color=COLOURS[1], label="tanh")
ax.set(
    xlabel="width $D$ of the random layer", ylabel="share of feasible classes"
)
ax.legend()
plt.show()

# %% [markdown]
# A width of a bit less than $\frac{K+1}2 n = 20$ makes half of the classes feasible, far from $N \log N$, which is about a hundred here. The ReLU does
# better than the law: its features have a positive mean, a direction that all samples share.
#
# Now train, eight networks for two classes of ten samples: on the six dimensions directly, where collapse is
# impossible, and behind a random layer of width 60.

# %%
two_labels = torch.arange(2).repeat_interleave(n)
noise_only = torch.randn(8, 2 * n, DIM, **F64)
spread_after, feasible_after = {}, {}
for D in (None, 60):
    net = ShallowNet(DIM, 100, 2, random_width=D, batch=(8,), **START)
    seen = net.random_features(noise_only)
    feasible_after[D] = nc_feasibility(seen, two_labels).feasible.all(-1)
    history = train_shallow(
        net,
        noise_only,
        two_labels,
        weight_decay=DECAY,
        lr=3e-3,
        steps=3000,
        every=3000,
    )
    spread_after[D] = spread(history["features"][-1], two_labels)

claims.check(
    "shallow-three-layers-feasible", feasible_after[60].double().mean(), 1
)
claims.check(
    "shallow-three-layers-spread", spread_after[60].median(), below=1e-2
)
claims.check("shallow-two-layers-spread", spread_after[None].min(), above=0.02)

# %% [markdown]
# The random layer turns data that cannot collapse into data that always can. NC1 follows.
#
# ## Collapse and new samples
#
# Does collapse on the training samples say anything about new ones? Above $d = Kn$ collapse is feasible for *any*
# data, noise included; so it cannot. Let us see by how much it can mislead. For two classes with means $\mu_1$,
# $\mu_2$ there is a limit that no classifier passes, trained, collapsed or neither.
#
# :::{prf:theorem} Bayes' limit
# :label: thm-bayes
#
# A classifier of two equally frequent classes $\mu_k + \sigma z$ is wrong on new samples with probability at least
#
# $$\Phi\Big( \! -\frac{\|\mu_1 - \mu_2\|}{2 \sigma} \Big) .$$ (eq-bayes)
# :::
#
# :::{prf:proof}
# If it says 1 on the set $S$, its error is $\frac12 \big( 1 - \int_S (p_1 - p_2) \big)$ with the densities
# $p_k$, least if $S$ is where $p_1 > p_2$, the side of $\mu_1$ of the hyperplane half-way between the means. A
# sample leaves its side if noise along $\mu_2 - \mu_1$ exceeds $\frac12 \|\mu_1 - \mu_2\|$.
# :::
#
# Lecture 004 studies the smallest network that collapses: two neurons, weights $\beta_1$ and $\beta_2$ that solve
# {eq}`eq-feasible` for each class, and the larger output decides. For a new sample of class 1 the outputs before the
# ReLU, $\beta_1^\top x$ and $\beta_2^\top x$, are jointly Gaussian, so its error is a probability about two
# Gaussian variables. `misclassification_rate` computes it by Owen's function {cite}`owen1956tables`; where no
# neuron fires it assumes a guess. We compare with new samples first.

# %%
DIM_WIDE, REPEATS = 30, 6
NOISE_LEVELS = [0.1, 0.3, 0.6, 1.2, 3.0]
pair_means = torch.eye(2, DIM_WIDE, dtype=torch.float64)


def around_two(noise, batch, size):
    """Draw instances (batch, 2 * size, DIM_WIDE) around the two means."""
    centres = pair_means.repeat_interleave(size, dim=0)
    return centres + noise * torch.randn(batch, *centres.shape, **F64)


train_sets = torch.stack(
    [around_two(noise, REPEATS, n) for noise in NOISE_LEVELS]
)
two_neurons = nc_feasibility(train_sets, two_labels)
exact, counted = [], []
for noise, weights in zip(NOISE_LEVELS, two_neurons.weights, strict=True):
    exact.append(misclassification_rate(weights, pair_means, noise))
    counted.append(
        misclassification_rate(
            weights, pair_means, noise, samples=5000, generator=generator
        )
    )
exact, counted = torch.stack(exact), torch.stack(counted)
claims.check("shallow-two-neurons", counted - exact, 0, abs=0.025)

# %% [markdown]
# Now full networks, one on each of the same data sets, tested on new samples. (Training and new samples
# are divided by one number, the root mean square of the training entries.)

# %%
flat = train_sets.flatten(0, 1)
rms = flat.square().mean((1, 2), keepdim=True).sqrt()
net = ShallowNet(DIM_WIDE, 100, 2, batch=(len(flat),), **START)
history = train_shallow(
    net, flat / rms, two_labels, weight_decay=DECAY, steps=3000, every=3000
)
final = spread(history["features"][-1], two_labels).view(-1, REPEATS)
fresh = torch.cat([around_two(noise, REPEATS, 500) for noise in NOISE_LEVELS])
wrong = net(fresh / rms).argmax(-1) != torch.arange(2).repeat_interleave(500)
test_error = wrong.double().mean(-1).view(-1, REPEATS)
limits = torch.special.ndtr(-(2**0.5) / (2 * torch.tensor(NOISE_LEVELS)))

claims.check("shallow-noisy-collapse", final.max(), below=0.02)
claims.check("shallow-noisy-error", test_error[-1].min(), above=0.3)
claims.check("shallow-clean-error", test_error[0].max(), below=0.05)
claims.check("shallow-bayes", (exact - limits[:, None]).min(), above=0)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-generalisation", "caption": "Two classes of ten samples in 30 dimensions, where collapse is always feasible. Left: NC1 after training. Right: errors on new samples; the line is Bayes' limit."}, "image": {"alt": "Left: NC1 against the noise level; nearly all networks lie many orders of magnitude below one at every noise level. Right: the errors on new samples, of trained networks and of two-neuron classifiers, rise from zero to nearly one half with the noise, both above the line of the Bayes limit."}}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.6, 3.3), layout="constrained"
)
at = np.array(NOISE_LEVELS)
left.loglog(at, final, "o", color=COLOURS[0], markersize=4)
left.set(
    xlabel=r"noise $\sigma$", ylabel="NC1 on training samples", ylim=(1e-12, 1)
)
fine = torch.logspace(-1, 0.5, 100)
right.semilogx(
    fine,
    torch.special.ndtr(-(2**0.5) / (2 * fine)),
    color="0.3",
    label="Bayes' limit",
)
right.semilogx(at, exact.mean(1), "s", color=COLOURS[1], label="two neurons")
right.semilogx(
    at, test_error.mean(1), "o", color=COLOURS[0], label="trained, 100 neurons"
)
right.set(xlabel=r"noise $\sigma$", ylabel="error on new samples")
right.legend()
plt.show()

# %% [markdown]
# The left panel looks the same at all noise levels; the right one goes from no errors to guessing. Collapse is a
# statement about the training samples; generalisation depends on the data. The distance between the
# marks and the line is the price of learning the means from twenty samples.
#
# ## Real images
#
# Handwritten digits are not Gaussian. Is collapse feasible for them? Take two digits, the first $n$ images of each,
# straight from the $d$ pixels, for all 45 pairs. One thing must be counted first: many pixels are dark in all
# images, so a pair spans fewer than $d$ dimensions, and only these can be of use.

# %%
data = load(DATASET)
pixels = data.inputs.flatten(1).double().to(DEVICE)
D_PIXELS = pixels.shape[1]
by_digit = [pixels[data.labels.to(DEVICE) == digit] for digit in range(10)]
PAIRS = list(combinations(range(10), 2))


def pairs_of_digits(size):
    """The first images of every pair of digits, shape (45, 2 * size, d)."""
    return torch.stack(
        [torch.cat([by_digit[i][:size], by_digit[j][:size]]) for i, j in PAIRS]
    )


PARTS = np.array([2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16]) / 16
counts = [round(part * D_PIXELS) for part in PARTS]
raw, class_rank, span, alone = [], [], [], []
for size in counts:
    images = pairs_of_digits(size)
    result = nc_feasibility(images, torch.arange(2).repeat_interleave(size))
    raw.append(float(result.feasible.all(-1).double().mean()))
    both = torch.linalg.matrix_rank(images).double().mean()
    first = torch.linalg.matrix_rank(images[:, :size]).double().mean()
    span.append(float(both))
    class_rank.append(float(first))
    in_second = result.certificate[:, 0, size:].abs().amax(-1)
    alone.append(float((in_second == 0).double().mean()))

noise_of_that_rank = [
    noise_probability(int(rank), size, 2)
    for rank, size in zip(span, counts, strict=True)
]
claims.check("shallow-digits-few", raw[4], above=0.95)
claims.check("shallow-digits-structure", noise_of_that_rank[4], below=0.2)
claims.check("shallow-digits-many", raw[-1], 0)
claims.check("shallow-digits-alone", alone[-1], 1)

# %% [markdown]
# With 9/16 as many images per class as pixels, nearly all pairs can collapse, where noise of the same rank hardly ever
# could: digits are structured. Soon after, it ends abruptly. With as many images as pixels the certificates have
# $v = 0$: the other digit plays no part, the class is in its own way, as in the second part of
# {prf:ref}`thm-easy`. The images of one digit span fewer dimensions still, and no structure helps against that.
#
# A random ReLU layer adds dimensions. At $n = d$, where no pair is feasible, how wide must it be?

# %%
size = D_PIXELS
classes = torch.arange(2).repeat_interleave(size)
images = pairs_of_digits(size)
WIDTHS = [round(part * D_PIXELS / 8) for part in (8, 9, 10, 11, 12, 14, 16)]
G = torch.randn(WIDTHS[-1], D_PIXELS, **F64).to(DEVICE) / math.sqrt(D_PIXELS)
behind = []
for D in WIDTHS:
    result = nc_feasibility((images @ G[:D].T).relu(), classes)
    behind.append(float(result.feasible.all(-1).double().mean()))

claims.check("shallow-digits-random-layer", behind[-1], 1)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-digits", "caption": "All 45 pairs of digits. Left: pairs that can collapse, straight from the pixels. Right: with as many images per class as pixels, behind a random ReLU layer. Grey: the law of pure noise, left for as many dimensions as a pair spans, right for D."}, "image": {"alt": "Left: the share of feasible pairs against the number of images per class stays at one and drops to zero well after the grey curve of noise has; dashed, the number of dimensions that one class spans, as a part of all, grows and levels off near three quarters where the share drops. Right: the share rises from zero to one as the random layer widens, somewhat earlier than the grey curve."}}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.6, 3.3), sharey=True, layout="constrained"
)
left.plot(counts, noise_of_that_rank, color="0.5", label="noise of that rank")
left.plot(counts, raw, "o-", color=COLOURS[0], label="feasible pairs")
left.plot(
    counts,
    np.array(class_rank) / D_PIXELS,
    "s--",
    color=COLOURS[1],
    label="rank of one class, / d",
)
left.set(xlabel="images per class $n$", ylabel="share", ylim=(-0.05, 1.5))
left.legend(loc="upper left")
fine = np.arange(WIDTHS[0], WIDTHS[-1] + 1)
right.plot(fine, noise_probability(fine, D_PIXELS, 2), color="0.5")
right.plot(WIDTHS, behind, "o-", color=COLOURS[0])
right.set(xlabel="width $D$ of the random layer")
plt.show()

# %% [markdown]
# ## Exercises
#
# :::{exercise} One sample per class
# :label: ex-sf-one
# Let $n = 1$ and $K = 2$. For which pairs $x_1, x_2$ is class 1 feasible? Read off the certificate when it is not.
# What does {eq}`eq-noise-law` say for $d = 1$ and $d = 2$?
# :::
#
# :::{solution} ex-sf-one
# :class: dropdown
# Infeasible if and only if $x_2 = \nu^{-1} x_1$ with $\nu > 0$, or $x_1 = 0$: the affine hull of a point is the
# point, the cone of the other is its ray, and the certificate is $u = 1$, $v = \nu$ (or $v = 0$). With $m = 1$ and $p = d - 1$
# the law gives $\frac12$ for $d = 1$, where two numbers have the same sign half of the time, and 1 for
# $d \ge 2$.
# :::
#
# :::{exercise} Classes of different sizes
# :label: ex-sf-imbalanced
# Where does the proof of {prf:ref}`thm-noise` use that classes are of equal size? Write down the law for class sizes
# $n_1, \dots, n_K$. In the same data, which class is the hardest to collapse? Check with sizes 4, 10 and 16.
# *Hint:* `nc_feasibility` takes any labels.
# :::
#
# :::::{solution-start} ex-sf-imbalanced
# :class: dropdown
# :::::

# %%
sizes, dim, trials = [4, 10, 16], 20, 300
unequal = torch.repeat_interleave(torch.tensor(sizes))
cloud = torch.randn(trials, sum(sizes), dim, **F64)
shares = nc_feasibility(cloud, unequal).feasible.double().mean(0)
law = []
for size in sizes:
    others = sum(sizes) - size
    law.append(
        sum(math.comb(others, i) for i in range(dim - size + 1)) / 2**others
    )
errors = [
    standard_errors(float(s), p, trials)
    for s, p in zip(shares, law, strict=True)
]
print("all within four standard errors:", max(errors) < 4)
print(
    "easiest and hardest size:", sizes[shares.argmax()], sizes[shares.argmin()]
)

# %% [markdown]
# Nowhere: only the size $n_k$ of the class itself and the number $m = N - n_k$ of others enter, and
# $\mathbb P = 2^{-m} \sum_{i \le d - n_k} \binom mi$. The centre is $d = \frac12 (N + n_k)$, so the *largest* class is
# the hardest to collapse. That is the opposite of the fate of minority classes in the features model with
# unequal sizes, where the small classes suffer: there the penalty decides, here the room.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} How many samples fit?
# :label: ex-sf-capacity
# A last hidden layer reads features of dimension 512, and there are ten classes. Up to which $n$ can a class
# of pure noise collapse with a probability of at least 99 %? Compare with $N = d$.
# :::
#
# :::::{solution-start} ex-sf-capacity
# :class: dropdown
# :::::

# %%
largest = max(n for n in range(1, 512) if noise_probability(512, n, 10) >= 0.99)
print(f"n = {largest}, N = {10 * largest}")

# %% [markdown]
# 870 samples, 1.7 times the dimension; the centre of the transition would be at $n = 2d / (K+1) = 93$. In
# general $N / d \to 2K / (K+1)$, which is less than 2: that limit of two is Cover's capacity of a separating
# hyperplane {cite}`cover1965geometrical`, and collapse reaches it only for many classes.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} With a bias
# :label: ex-sf-bias
# Show that with a bias class $k$ is still infeasible for $d < n$ (take $\mu_k$, $\sigma$ as in {prf:ref}`thm-easy`).
# Does a bias help in pure noise? Measure at $K = 3$, $n = 10$, $d = 18$.
# :::
#
# :::::{solution-start} ex-sf-bias
# :class: dropdown
# :::::

# %%
cloud = torch.randn(200, K * n, 18, **F64)
plain = nc_feasibility(cloud, labels).feasible
biased = nc_feasibility(cloud, labels, bias=True).feasible
print("feasible stays feasible:", bool((biased >= plain).all()))
print("a bias helps:", bool(biased.sum() > 1.2 * plain.sum()))

# %% [markdown]
# Now $X_k \beta + b \mathbf 1 = \mathbf 1$ is solvable, by $\beta = 0$ and $b = 1$. But for $d < n$ this is the only
# solution, as $Z \beta$ is a multiple of $\mathbf 1$ only for $\beta = 0$; and it gives every other sample the
# output 1. A bias is one more dimension, and a favourable one: all samples have the coordinate 1 there.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} No room: d = n
# :label: ex-sf-angle
# *Harder.* Two classes, means of length one at the angle $\theta$, $d = n$, $\sigma \to 0$. Show that class 1 is feasible
# with a probability that tends to $\theta / 180°$. *Hints:* solve $X_1 \beta = \mathbf 1$ by means of
# $q = Z^{-1} \mathbf 1$. How is the direction of $q$ distributed? Which sign must $\mu_2^\top q$ have?
# :::
#
# :::::{solution-start} ex-sf-angle
# :class: dropdown
# :::::

# %%
for degrees in (45, 90, 135):
    cells = phase_map(
        ([1.0], [1e-4]), 200, samples_per_class=10, means=two_means(degrees)
    )
    share = float(cells.per_class[0, 0])
    print(degrees, standard_errors(share, degrees / 180, 200) < 4)

# %% [markdown]
# $X_1 = \mathbf 1 \mu_1^\top + \sigma Z$, so $\sigma Z \beta = (1 - \mu_1^\top \beta) \mathbf 1$ and $\beta$ is a multiple
# of $q$. From $\mathbf 1 = X_1 \beta$ the multiple is $1 / (\sigma + \mu_1^\top q)$, and as $\sigma \to 0$,
# $\beta \to q / \mu_1^\top q$. The other samples tend to $\mu_2$, with the output $\mu_2^\top q / \mu_1^\top q$, which is
# negative if $q$ has the two means on different sides. Rotating the coordinates of all $z_i$ rotates $q$, so
# its direction is uniform, and the hyperplane orthogonal to it separates two vectors with probability
# $\theta / 180°$.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} All classes at once
# :label: ex-sf-joint
# {prf:ref}`thm-reduction` needs all $K$ classes. In pure noise, is class 2 more or less likely to be feasible given that class
# 1 is? Estimate it for $K = 2$ and 5 at the centre of the transition.
# :::
#
# :::::{solution-start} ex-sf-joint
# :class: dropdown
# :::::

# %%
for num_classes in (2, 5):
    classes = torch.arange(num_classes).repeat_interleave(n)
    cloud = torch.randn(600, len(classes), n * (num_classes + 1) // 2, **F64)
    first, second = nc_feasibility(cloud, classes).feasible[:, :2].double().T
    given = (first * second).sum() / first.sum()
    print(num_classes, "more likely:", bool(given > second.mean() + 0.03))

# %% [markdown]
# More likely in both cases: the classes share the samples, and so the good and the bad luck. The share of instances in which all classes are
# feasible is larger than the product of the single ones, and the union bound
# $1 - K (1 - \mathbb P)$ is far from sharp.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Weight decay instead
# :label: ex-sf-decay
# Networks are usually trained with a penalty on $W_1$, not on the features. Can the minimiser still be exactly
# collapsed? Train the thirty networks of {numref}`fig-shallow-training` with `penalty="weights"` and compare.
# :::
#
# :::::{solution-start} ex-sf-decay
# :class: dropdown
# :::::

# %%
net = ShallowNet(DIM_TRAIN, 60, K, batch=(len(levels),), **START)
ordinary = train_shallow(
    net, clouds, labels, weight_decay=DECAY, penalty="weights", steps=3000
)
spreads_decay = spread(ordinary["features"][-1])
print("smallest NC1 above 0.001:", bool(spreads_decay.min() > 1e-3))
low, high = (
    spreads_decay[levels.flatten() == 0.15],
    spreads_decay[levels.flatten() == 1],
)
print("it grows with the noise:", bool(high.median() > 3 * low.median()))

# %% [markdown]
# To collapse costs weights now: $\|\beta_k\|$ enters the penalty, and a little spread that allows shorter
# weights is worth it. So no exact collapse, whether feasible or not; the features come the closer to it the
# less noise there is. The lecture reports that *some* of the phenomena extend to weight decay. This one does as a
# tendency.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Reading a certificate
# :label: ex-sf-certificate
# A colleague's data set of two classes is infeasible in far more dimensions than samples. You have the certificate
# only. Make such a data set with one mislabelled duplicate, and find the culprit.
# :::
#
# :::::{solution-start} ex-sf-certificate
# :class: dropdown
# :::::

# %%
cloud = torch.randn(20, 50, **F64)
cloud[13] = cloud[4]
certificate = nc_feasibility(
    cloud, torch.arange(2).repeat_interleave(10)
).certificate
print((certificate[0].abs() > 1e-6).nonzero().flatten().tolist())

# %% [markdown]
# $u$ is one at sample 4, $v$ is one at sample 13, all else is zero: the point $x_4$ of the affine hull of class
# 0 *is* $x_{13}$. In general, samples with a zero entry can be left out, and the rest is infeasible still.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} How wide for a ReLU?
# :label: ex-sf-open
# Open-ended. Behind a random ReLU layer the transition comes before $D = \frac{K+1}2 n$. Where? Measure its centre
# for $K = 2 \dots 5$ and several $n$, for noise in few and in many dimensions, and with a bias after the layer.
# Can you prove a better lower bound than {eq}`eq-noise-law`?
# :::
#
# :::{solution} ex-sf-open
# :class: dropdown
# A start: $(t)_+ = \frac12 (t + |t|)$. The first part is odd in the sample, the second even. So for
# given $|Gx_i|$ the features are symmetric about a *centre* of their own, not about zero: an affine version of the counting problem in
# {prf:ref}`thm-noise`, in which a hyperplane and its mirror image about some point compete. The mean feature is a direction in which all samples agree, as with a
# bias.
# :::
#
# ## Summary
#
# Whether a two-layer ReLU network can collapse is decided by its inputs, one linear program per class, whatever
# its width. It can if and only if the affine hull of each class misses the cone of all other samples; then the minimum of the
# training objective is that of the positive features model, otherwise it is higher.
#
# Either answer has a proof that can be checked: weights, or a certificate. One minimisation finds whichever
# exists.
#
# With fewer dimensions than samples per class collapse is impossible at any noise; with as many as samples, certain.
# Between, in pure noise, its probability is that of a coin-tossing sum centred at $d = \frac{K+1}2 n$, exactly, and for far more than
# Gaussian data.
#
# Means make it easier: the law of pure noise with $K - 1$ dimensions less is a bound for all of them, and at small noise the
# distance between the ray of one mean and the hull of the others decides.
#
# Training follows: networks on infeasible data stay above the minimum, most on feasible data collapse,
# some get stuck. A wide random layer in front makes everything feasible. None of this says anything about
# new samples.
#
# ## Further reading
#
# The reduction to linear feasibility and the first phase diagrams are by Hong and Ling {cite}`hong2024beyond`. For counting
# regions, see Cover {cite}`cover1965geometrical` and Wendel {cite}`wendel1962problem`; for the
# conic geometry that turns such counts into phase transitions, Amelunxen, Lotz, McCoy and Tropp
# {cite}`amelunxen2014living`. Duality and Farkas' lemma are in Boyd and Vandenberghe
# {cite}`boyd2004convex`, HiGHS is described by Huangfu and Hall {cite}`huangfu2018parallelizing`.
