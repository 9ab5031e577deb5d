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
# In the {term}`unconstrained features model` the {term}`features <feature>` of a class always collapse to one
# point, because nothing stops them. A real network must produce its features from data. Does a sufficiently
# wide network have the same freedom? For two layers the question has a complete answer: it does not, and what
# decides is not the width but a system of linear inequalities in the *inputs*. This chapter solves that system
# with a proof attached to each answer, computes the exact probability that it is solvable when the data are
# noise, bounds it when they have structure, and checks that training follows.
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
# **Time**: reading, one and a quarter hours; running, half a minute on two CPU cores. A GPU is of use with the
# larger data named in the first cell.
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
from fractions import Fraction
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import patheffects
from scipy.optimize import linprog
from torch.nn.functional import cross_entropy

from lecturelib import claims
from lecturelib.datasets import gaussian_mixture, load
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import cone, explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.metrics import nc1
from lecturelib.records import recorded
from lecturelib.shallow_feasibility import (
    ShallowNet,
    gordon_bound,
    mean_margins,
    misclassification_rate,
    nc_feasibility,
    phase_map,
    small_noise_bound,
    train_shallow,
    verify_feasibility,
    wendel_probability,
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
# (sec-sf-network)=
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
# $$
# \begin{aligned}
# F(W_1, W_2) = {} & \frac1N \sum_{i=1}^N L(f(x_i), y_i) \\
#   & + \frac\lambda2 \big( \|W_2\|_F^2 + \|H\|_F^2 \big) , \qquad H = (X W_1^\top)_+ ,
# \end{aligned}
# $$ (eq-shallow-objective)
#
# where the rows of $X$ $(N, d)$ are the samples. The lecture penalises the features rather than $W_1$ because
# that is easier to analyse; {ref}`an exercise <ex-sf-decay>` looks at the other choice.
#
# `ShallowNet(K, d, p, batch_shape=(B,))` is $B$ such networks at once, each for its own data set.
# `train_shallow` trains them with full-batch steps of Adam, at a rate that falls to zero along a cosine;
# `history.steps` are the recorded steps, `history["objective"]` and one entry for each metric that we ask for
# are what was recorded then. We watch NC1 from [Neural collapse](neural_collapse.ipynb), the spread of the
# features within classes relative to that between them. (Code counts classes from 0, the text from 1.)

# %%
K, n, DECAY = 3, 10, 1e-3
START = F64 | {"scale": 0.1}  # first weights a tenth of the usual size
labels = torch.arange(K).repeat_interleave(n)


def mixture(dim, noise, batch):
    """Draw data sets (batch, N, dim) around the unit vectors e_1, …, e_K."""
    means = torch.eye(K, dim, dtype=torch.float64)
    options = {"batch_shape": (batch,), "generator": generator}
    return gaussian_mixture(means, n, noise, **options)[0]


def spread(inputs, labels):
    """A metric: NC1 of every network of a batch."""

    def measure(net):
        return torch.stack([nc1(part, labels) for part in net.features(inputs)])

    return {"nc1": measure}


data, curves = {}, {}
for dim in (8, 40):
    data[dim] = mixture(dim, 0.5, batch=1)
    net = ShallowNet(K, dim, 60, batch_shape=(1,), **START)
    watch = {"metrics": spread(data[dim], labels), "every": 40}
    history = train_shallow(
        net, data[dim], labels, weight_decay=DECAY, steps=4000, **watch
    )
    curves[dim] = history["nc1"][:, 0]

ratio = curves[8] / curves[40]
claims.check("shallow-dimension-decides", ratio[-1], above=30, control=ratio[0])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-first", "caption": "NC1 of the features during training, for two data sets that differ in their dimension only. The features model knows neither and predicts the same for both. The rate of the steps falls to zero, so both curves end flat."}, "image": {"alt": "NC1 on a logarithmic axis against the training step. In 8 dimensions it levels off early; in 40 dimensions it falls by several orders of magnitude and flattens towards the end."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
for style, dim in (("--", 8), ("-", 40)):
    ax.semilogy(history.steps, curves[dim], style, label=f"$d = {dim}$")
ax.set(xlabel="step", ylabel="NC1")
ax.legend(title="input dimension")
plt.show()

# %% [markdown]
# In 40 dimensions the features collapse, as far as training goes; in 8 they come to rest far from it. Both
# networks have width 60, twice the number of samples. A wider one fares no better, as we shall prove.
#
# (sec-sf-positive)=
# ## The positive features model
#
# First, what is there to reach? Features that leave a ReLU are not free: they have no negative entries.
# Lecture 004 therefore adds $H \ge 0$ to the features model. What comes out is proved in
# [The unconstrained features model](unconstrained_features.ipynb), {prf:ref}`thm-positive`. With $n$ samples
# in each class and one $\lambda$ for $W_2$ and $H$, put $c = \sqrt n \, \lambda$ and
# $c_+ = c \sqrt{K/(K-1)}$. If $K c_+ < 1$, the minimum over all $W_2$ and all $H \ge 0$ is
#
# $$
# \begin{gathered}
# V = \log\!\big(1 + (K-1) e^{-a}\big) + c_+ (K-1) \, a, \\
# a = \log\!\Big( \frac1{c_+} - (K-1) \Big),
# \end{gathered}
# $$ (eq-shallow-value)
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
# (sec-sf-program)=
# ## From the network to a linear program
#
# Which data let the ReLU layer produce such features? Write $X_k$ $(n, d)$ for the samples of class $k$, one
# per row, and $X_{-k}$ for the $m = (K-1) n$ others.
#
# :::{prf:definition} Feasible class
# :label: def-feasible
# Class $k$ is *{term}`feasible <feasible class>`* if some $\beta \in \mathbb R^d$ solves
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
# Let $p \ge K$ and $K c_+ < 1$. The objective {eq}`eq-shallow-objective` has a minimum, and it is at least
# $V$. It equals $V$ if and only if all $K$ classes are feasible. Then every minimiser is collapsed; otherwise
# none is at the minimum of the {term}`positive features model`, whatever the width.
# :::
#
# :::{prf:proof}
# *At least $V$.* $H = (X W_1^\top)_+$ is one choice of non-negative features.
#
# *If all classes are feasible,* with solutions $\beta_k$, let the first $K$ neurons have the weights
# $h \beta_k$, $h > 0$, and let all others be zero. Then $H$ has the row $h e_k$ for every sample of class
# $k$. These are equally long orthogonal {term}`class means <class mean>`; with the right $h$, and $W_2$ a
# multiple of the centred means, $F = V$. As $V$ is a lower bound, every other minimiser of $F$ minimises the
# positive features model as well, and is collapsed.
#
# *If $F(W_1, W_2) = V$,* then $(W_2, H)$ minimises the positive features model, so it is collapsed. As
# $\bar h_k \ne 0$, some coordinate of it is positive, $t > 0$ say. That neuron fires for no other class. So its
# weights $w$ satisfy $X_k w = t \mathbf 1$ and $X_{-k} w \le 0$, and $\beta = w / t$ shows that class $k$ is
# feasible.
#
# *There is a minimum.* The features that one neuron can produce, $\{ (Xw)_+ : w \in \mathbb R^d \}$, form a
# closed set. For split it by the set $I$ of samples at which the neuron fires: each part is the image of the
# polyhedron $\{ w : X_I w \ge 0, X_{I^c} w \le 0 \}$ under the linear map $X_I$, and linear images of polyhedra
# are polyhedra. So the set of possible $H$ is closed, and the penalty keeps $H$ and $W_2$ bounded. A minimum
# is attained, and if a class is infeasible it is above $V$.
# :::
#
# Collapse means all of it here: equal features within a class, orthogonal and equally long class means, at the
# value $V$. Equal features alone can be had on infeasible data too, at a higher $F$: one sample per class has
# them trivially.
#
# The second part of the proof is a recipe. Let us follow it once, on the data in 40 dimensions. SciPy's
# `linprog` calls HiGHS {cite}`huangfu2018parallelizing`, a solver for linear programs: it minimises a linear
# function, here zero, subject to `A_eq @ beta == b_eq` and `A_ub @ beta <= b_ub`. For class means $h e_k$ the
# proof of {prf:ref}`thm-positive` gives $h^2 = a \sqrt{(K-1)/(nK)}$ and
# $W_2 = \frac ah \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$ on the first $K$ neurons.


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


samples = data[40][0]
betas = [solve(samples.numpy(), (labels == k).numpy()) for k in range(K)]
V, a = lowest_value(n, K, DECAY)
h = math.sqrt(a * math.sqrt((K - 1) / (n * K)))


def objective(h):
    """F of the network that is built from the solutions."""
    H = h * (samples @ torch.tensor(np.array(betas)).T).relu()
    W_2 = a / h * (torch.eye(K) - 1 / K).double()
    squares = W_2.square().sum() + H.square().sum()
    return cross_entropy(H @ W_2.T, labels) + DECAY / 2 * squares


in_eight = [solve(data[8][0].numpy(), (labels == k).numpy()) for k in range(K)]

built, control = objective(h) / V, objective(1) / V
claims.check("shallow-built-by-hand", built, 1, abs=1e-6, control=control)
print("solutions in 8 dimensions:", in_eight)

# %% [markdown]
# This network was never trained, and it is a global minimiser. For the data in 8 dimensions `solve` finds
# nothing. But "the solver found nothing" is a weak statement; we want to *know* that there is nothing.
#
# (sec-sf-certificates)=
# ## Every answer with its proof
#
# :::{prf:theorem} Farkas' lemma for collapse
# :label: thm-farkas
#
# Exactly one of these two exists: a solution $\beta$ of {eq}`eq-feasible`; or a *{term}`certificate`*
# $u \in \mathbb R^n$, $v \in \mathbb R^m$ with
#
# $$X_k^\top u = X_{-k}^\top v , \qquad \mathbf 1^\top u = 1, \qquad v \ge 0 .$$ (eq-certificate)
# :::
#
# The second says: a point of the *{term}`affine hull`* of class $k$ (coefficients that sum to one, of any
# sign) lies in the *{term}`cone`* of the other samples (coefficients of no negative sign). So class $k$ is
# feasible if and only if these two sets do not meet. Both are unbounded. A hyperplane through the origin that
# separates the class from the others is therefore necessary, as lecture 004 notes, but far from sufficient.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-plane", "caption": "Class 0 (circles), its affine hull (line), the other class (crosses) and its cone (shaded). Left: they do not meet; $\\beta$ is orthogonal to the line, and no point of the cone is on its side. Right: a hyperplane would separate the classes, but line and cone meet, at the diamond: class 0 cannot collapse."}, "image": {"alt": "Two panels. In both, circles lie on a straight line that misses the origin, and a shaded cone with its tip at the origin contains crosses. On the left the cone opens away from the line. On the right it opens sideways and the line runs into it; a diamond marks a common point, outside the segment that the circles span."}}
class_0 = np.array([[0.6, 1.0], [1.4, 1.0], [2.0, 1.0]])
others = [
    np.array([[-1.2, -0.3], [-0.5, -1.0], [0.8, -0.9]]),
    np.array([[-1.5, 0.5], [-1.6, -0.6], [-0.6, -0.9]]),
]
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
for ax, cloud in zip(axes, others, strict=True):
    angles = np.unwrap(np.arctan2(cloud[:, 1], cloud[:, 0]))
    fan = np.linspace(angles.min(), angles.max(), 40)
    ax.fill([0, *8 * np.cos(fan)], [0, *8 * np.sin(fan)], color="0.85", zorder=0)
    ax.axhline(1, color=COLOURS[0], linewidth=1)
    ax.plot(*class_0.T, "o", color=COLOURS[0], label="class 0")
    ax.plot(*cloud.T, "X", color=COLOURS[1], label="class 1")
    ax.plot(0, 0, "k+", markersize=10)
    ax.set(xlim=(-3.4, 2.6), ylim=(-1.4, 1.6), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
axes[0].annotate(
    "", xy=(0, 1), xytext=(0, 0), arrowprops={"arrowstyle": "->", "linewidth": 1.5}
)
axes[0].text(0.1, 0.4, r"$\beta$")
axes[1].plot(-3.0, 1.0, "kD", label="common point")
axes[1].legend(loc="lower right")
axes[0].set_title("class 0 is feasible")
axes[1].set_title("class 0 is infeasible")
plt.show()

# %% [markdown]
# Move the samples yourself in {numref}`fig-cone-and-line`. Drag the cross on the right upwards. The
# class becomes infeasible as soon as the cross enters the half-plane where the neuron fires, long before it
# comes to the line: the cone grows with it, and cone and line go on forever. Then move both circles up by the
# same amount. The meeting point moves along and the answer stays, because a cone looks the same from every
# distance. Last, turn the line until it runs through the origin: now there is no neuron at all, whatever the
# crosses do.

# %% tags=["hide-input"]
cone(
    own=[(0.6, 1.0), (2.0, 1.0)],
    others=[(-1.2, -0.3), (-0.5, -1.0), (0.8, -0.9)],
    name="cone-and-line",
    alt="Two circles with the line through them, three crosses with their shaded cone from the origin, "
    "and an arrow, the weights of a neuron, with the half-plane where it fires.",
    caption=r"Drag the samples, or move one with the arrow keys. Circles: the class, with its affine hull; crosses: the "
    r"others, with their cone. While the class is feasible you see the direction of $\beta$ and, tinted, the half-plane "
    r"where the neuron fires; else a diamond, where line and cone meet.",
)

# %% [markdown]
# :::{prf:proof}
# *Not both.* With $\beta$ and $(u, v)$ as above,
# $1 = u^\top \mathbf 1 = u^\top X_k \beta = v^\top X_{-k} \beta \le 0$, which is absurd.
#
# *One of them.* If $X_k \beta = \mathbf 1$ has no solution, the part $s \ne 0$ of $\mathbf 1$ that is orthogonal
# to the range of $X_k$ satisfies $X_k^\top s = 0$ and $\mathbf 1^\top s = \|s\|^2$; take
# $u = s / \|s\|^2$ and $v = 0$. If it has solutions, look for the one that violates the inequalities least,
#
# $$\min_\beta \; \tfrac12 \big\| (X_{-k} \beta)_+ \big\|^2 \quad \text{subject to} \quad X_k \beta = \mathbf 1 .$$ (eq-least-violation)
#
# The minimum exists: the vectors $t \ge 0$ with $X_{-k} \beta \le t$ for some such $\beta$ form a polyhedron,
# which contains a shortest one. Let $v = (X_{-k} \beta)_+$ at the minimum. The gradient $X_{-k}^\top v$ must
# be orthogonal to every direction $\xi$ with $X_k \xi = 0$, so it lies in the range of $X_k^\top$:
# $X_{-k}^\top v = X_k^\top u$ for some $u$, and
#
# $$\mathbf 1^\top u = (X_k \beta)^\top u = \beta^\top X_{-k}^\top v = (X_{-k} \beta)^\top (X_{-k} \beta)_+ = \|v\|^2 .$$
#
# Either $v = 0$, and $\beta$ solves {eq}`eq-feasible`; or we divide $u$ and $v$ by $\|v\|^2 > 0$.
# :::
#
# The proof is also an algorithm. Solve {eq}`eq-least-violation`, and whatever the outcome, the minimiser is
# the solution or the certificate. The function is piecewise quadratic. Newton's method goes to the minimum of
# the quadratic that holds at the present point, and once it knows which samples are violated at the end, that
# is *the* minimum. For a class of linearly independent samples it takes these lines; the columns of `basis`
# span the directions $\xi$.


# %%
def least_violation(own, others):
    """Return beta with own @ beta = 1 and the least violation v by the others."""
    basis = torch.linalg.qr(own.T, mode="complete").Q[:, len(own) :]
    beta = torch.linalg.pinv(own).sum(1)
    v = (others @ beta).relu()
    for _ in range(200):  # many more steps than it takes
        if (basis.T @ others.T @ v).norm() < 1e-12:
            break  # no direction lowers the violation
        active = others[v > 0] @ basis
        step = -basis @ torch.linalg.pinv(active) @ v[v > 0]
        while (others @ (beta + step)).relu().norm() > v.norm():
            step = step / 2  # too far: other samples have become violated
        beta = beta + step
        v = (others @ beta).relu()
    return beta, v


few = mixture(16, 0.5, batch=20)
violations = [least_violation(x[:n], x[n:])[1].norm() for x in few]
by_linprog = [solve(x.numpy(), (labels == 0).numpy()) for x in few]
none = torch.stack(violations) < 1e-9
found = torch.tensor([beta is not None for beta in by_linprog])
agreement = (none == found).double().mean()
claims.check(
    "shallow-least-violation",
    agreement,
    1,
    control=(none == found.roll(1)).double().mean(),
)

# %% [markdown]
# `nc_feasibility` does this for all classes of a whole batch of instances at once, on a GPU if the data are
# there, with the exact minimum along each step in place of halving, and for degenerate data too: duplicates,
# collinear samples, more samples than dimensions. It aims a little below zero, so that a solution has room.
#
# Floating point ends near a solution or a certificate, not on it. So what is found must *prove* its answer.
# Let $r = \mathbf 1 - X_k \beta$ and $e = X_k^\top u - X_{-k}^\top v$ be what the two leave, with bounds of
# their own rounding, and $\sigma(A)$ the smallest singular value of $A$: it stretches every vector at least so
# much.
#
# - Weights: for linearly independent samples of the class, $X_k \beta = \mathbf 1$ has an exact solution within
#   $\|r\| / \sigma(X_k^\top)$ of $\beta$. It is feasible if all other outputs are below zero by enough.
# - Certificates, scaled to $\mathbf 1^\top u = \sqrt n$: a feasible $\beta$ has $e^\top \beta = \sqrt n + \sum_j v_j
#   |x_j^\top \beta|$. The matrix $Z$ of the rows $x_i$ of the class and $v_j x_j$ of the others stretches it to
#   no more, and $e^\top \beta \le \|e\| \|\beta\|$. So there is no such $\beta$ if $\sigma(Z) > \|e\|$.
#
# Ties leave no room for that. Most are settled in rational numbers if the problem is small; what remains is
# *undecided*. `verdict` is 1, −1 or 0 (undecided), and `feasible` raises an error if any class is undecided.
# `weights` and `certificate` ($u$ and $-v$ at the places of their samples) hold the proofs.
#
# A proof can be checked by anybody. Three classes of two samples with small integers, for instance, have
# certificates that are simple fractions, so Python's `Fraction` finds what they leave: nothing at all.

# %%
points = torch.tensor(
    [[0.0, 2, -1], [3, 0, 0], [-1, 0, 1], [-2, 1, -2], [0, -2, 3], [0, -3, -3]]
)
owners = torch.tensor([0, 0, 1, 1, 2, 2])
result = nc_feasibility(points, owners)
print("verdicts:", result.verdict.tolist())


def left_by(k, points):
    """What the certificate of class k leaves of its conditions, in rational numbers."""
    own = (owners == k).tolist()
    numbers = result.certificate[k].tolist()
    c = [Fraction(number).limit_denominator(1000) for number in numbers]
    columns = points.int().T.tolist()
    sums = [sum(a * b for a, b in zip(c, column, strict=True)) for column in columns]
    inside = sum(a for a, mine in zip(c, own, strict=True) if mine)
    highest = max(a for a, mine in zip(c, own, strict=True) if not mine)
    return float(max(*map(abs, sums), abs(inside - 1), highest))


claims.check(
    "shallow-exact",
    [left_by(k, points) for k in (1, 2)],
    0,
    control=[left_by(k, points + torch.eye(6, 3)) for k in (1, 2)],
)

# %% [markdown]
# Is it right? We take four noise levels and two to five classes, in dimensions where both answers occur, and
# let HiGHS solve each problem anew. `verify_feasibility`, which uses nothing of the solver's arithmetic, checks
# that the proofs meet their conditions to within $10^{-6}$.

# %%
HALFWAY = {  # d for each noise level, n = 8
    2: (8, 9, 11, 12),
    3: (9, 11, 15, 15),
    4: (10, 13, 18, 19),
    5: (11, 15, 22, 23),
}
answers, by_highs, decided, verified, mistaken = [], [], [], [], []
for num_classes, dims in HALFWAY.items():
    classes = torch.arange(num_classes).repeat_interleave(8)
    for noise, dim in zip((0.1, 0.3, 1.0, 3.0), dims, strict=True):
        means = torch.eye(num_classes, dim, dtype=torch.float64)
        options = {"batch_shape": (6,), "generator": generator}
        clouds, _ = gaussian_mixture(means, 8, noise, **options)
        result = nc_feasibility(clouds, classes)
        answers.append((result.verdict > 0).flatten())
        strict = nc_feasibility(clouds, classes, tol=1e-15)
        decided.append(torch.stack([result.decided, strict.decided]).flatten(1))
        verified.append(verify_feasibility(clouds, classes, result).flatten())
        others = clouds.roll(1, 0)
        mistaken.append(verify_feasibility(others, classes, result).flatten())
        for cloud in clouds:
            for k in range(num_classes):
                beta = solve(cloud.numpy(), (classes == k).numpy())
                by_highs.append(beta is not None)

answers, by_highs = torch.cat(answers), torch.tensor(by_highs)
print(len(answers), "classes")


def share(of):
    """Share of true entries."""
    return of.double().mean(-1)


claims.check(
    "shallow-agrees-with-highs",
    share(answers == by_highs),
    1,
    control=share(answers == by_highs.roll(1)),
)
at_once, strictly = share(torch.cat(decided, 1))
claims.check("shallow-decided", at_once, 1, control=strictly)
right, wrong = share(torch.cat(verified)), share(torch.cat(mistaken))
claims.check("shallow-verified", right, 1, control=wrong)

# %% [markdown]
# The phase diagrams below need a million such answers, so speed matters. The next figure is from a recorded
# run. The loop calls HiGHS once per class, as `solve` does, on twenty instances of each size; the batch holds
# two hundred. For large $n$ most of the difference comes from one idea, to remove the equations first: HiGHS
# itself gains a factor of about 5 at $n = 30$ and 20 at $n = 100$ when it is given only the inequalities for
# $y$ in $\beta = \beta_0 + T y$, the columns of $T$ spanning the directions $\xi$. For small $n$ most of it
# is the price of calling a solver once per class.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-cost", "caption": "Seconds to decide one class, three classes of pure noise, one thread. Left: against $n$ in the middle of the transition, $d = 2n$. Right: against $d$ for $n = 30$."}, "image": {"alt": "Two panels on logarithmic axes. The curve of HiGHS lies far above that of the batched Newton method everywhere, and that of HiGHS without equations between them. On the left all rise with n. On the right both of HiGHS rise steadily with d; Newton rises from a low value at d = n to a small peak at d = 2n and stays nearly flat beyond."}}
cost = recorded("feasibility-cost")
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
columns = "samples_per_class", "dim", "newton", "highs", "reduced"
sizes, dims, newton, highs, reduced = (
    np.array([row[name] for row in cost.values]) for name in columns
)
curves_of_cost = (
    (highs, "s--", "HiGHS"),
    (reduced, "D:", "HiGHS, without equations"),
    (newton, "o-", "Newton, batch"),
)
for ax, chosen, axis in (
    (axes[0], dims == 2 * sizes, sizes),
    (axes[1], sizes == 30, dims),
):
    order = np.argsort(axis[chosen])
    for seconds, marker, label in curves_of_cost:
        ax.loglog(axis[chosen][order], seconds[chosen][order], marker, label=label)
axes[0].set(xlabel="samples per class $n$, $d = 2n$", ylabel="seconds per class")
axes[1].set(xlabel="dimension $d$, $n = 30$")
for ax, ticks in ((axes[0], [10, 30, 100]), (axes[1], [40, 80, 120])):
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
axes[0].legend()
plt.show()

# %% [markdown]
# (sec-sf-ends)=
# ## Where it always works, and where never
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
# *Always.* $X$ has full row rank, so $X \beta = y$ is solvable for every $y \in \mathbb R^N$, also for the
# indicator of class $k$.
#
# *Never.* $X_k \beta = \mathbf 1$ needs $\mathbf 1$ in the range of $X_k = \mathbf 1 \mu_k^\top + \sigma Z$. If
# $\mathbf 1 = X_k \beta = (\mu_k^\top \beta) \mathbf 1 + \sigma Z \beta$, then $Z \beta$ is a multiple of
# $\mathbf 1$, and $\beta \ne 0$. But $d$ independent Gaussian columns and $\mathbf 1$ are $d + 1 \le n$
# vectors in $\mathbb R^n$, linearly independent with probability one.
# :::
#
# The second part does not even look at the other classes, and it holds at *any* noise level, however small:
# a lower bound on the dimension that no amount of structure relieves. It is what stopped the first network
# above. Its certificates have $v = 0$.

# %%
below, at, above = (
    nc_feasibility(mixture(dim, 0.1, batch=200), labels) for dim in (n - 1, n, K * n)
)
possible = {place: share(place.feasible.flatten()) for place in (below, at, above)}
claims.check("shallow-never", possible[below], 0, control=possible[at])
claims.check("shallow-always", possible[above], 1, control=possible[at])


def others_part(result):
    """Largest entry at a sample of another class in the certificates of class 0."""
    return result.certificate[:, 0, labels != 0].abs().nan_to_num(0).max()


claims.check("shallow-never-alone", others_part(below), 0, control=others_part(at))

# %% [markdown]
# (sec-sf-noise)=
# ## Pure noise: the exact law
#
# Between $n$ and $Kn$ lies the question. Take the data that offer least to hold on to: no means, each sample
# drawn from a standard normal distribution. How likely is class $k$ to be feasible? As likely as enough heads
# among $m$ tosses of a coin, and the derivation is worth having, because it shows how little it assumes.
#
# :::{prf:lemma} Regions
# :label: lem-regions
#
# $m$ hyperplanes in {term}`general position` cut $\mathbb R^q$ into $\sum_{i=0}^q \binom mi$ regions.
# :::
#
# General position means that any $j \le q$ of them meet in an affine subspace of dimension $q - j$, and no
# $q + 1$ of them have a point in common.
#
# :::{prf:proof}
# Call the number $\#(m, q)$. Add the $m$-th hyperplane to the others: they cut it, a copy of
# $\mathbb R^{q-1}$, into $\#(m-1, q-1)$ pieces, again in general position, and each piece splits one region
# in two. So
#
# $$\#(m, q) = \#(m-1, q) + \#(m-1, q-1) ,$$
#
# with $\#(0, q) = 1$ and, as a point cannot be cut, $\#(m, 0) = 1$. The sums of binomial coefficients obey
# the same recursion, as $\binom mi = \binom{m-1}i + \binom{m-1}{i-1}$, and the same starting values.
# :::
#
# :::{prf:theorem} Law of pure noise
# :label: thm-noise
#
# Let the $n \le d$ samples of class $k$ be linearly independent. Let the $m = (K-1) n$ other samples be
# independent of them and of each other, with distributions that have a density and do not change when a
# sample is replaced by its negative. Then
#
# $$
# \begin{aligned}
# \mathbb P(\text{class $k$ is feasible}) &= 2^{-m} \sum_{i=0}^{d-n} \binom mi \\
#   &= \mathbb P\big( \mathrm{Bin}(m, \tfrac12) \ge Kn - d \big) ,
# \end{aligned}
# $$ (eq-noise-law)
#
# the probability of at least $Kn - d$ heads among $m$ tosses of a fair coin.
# :::
#
# :::{prf:proof}
# The solutions of $X_k \beta = \mathbf 1$ are $\beta_0 + T y$, $y \in \mathbb R^q$ with $q = d - n$, where the
# columns of $T$ are a basis of the null space of $X_k$. Another sample $x_i$ asks that $y$ lie on the right
# side of a hyperplane in $\mathbb R^q$,
#
# $$x_i^\top \beta_0 + (T^\top x_i)^\top y \le 0 .$$
#
# Replacing $x_i$ by $-x_i$ keeps the hyperplane and exchanges its sides. All $2^m$ choices of signs are equally
# likely by assumption. So, given the $m$ hyperplanes, the probability that some $y$ is on the right side of
# all of them is the number of sign patterns for which such a $y$ exists, divided by $2^m$. Patterns realised
# off the hyperplanes are the regions that these cut. Patterns realised by a point *on* some of them are
# realised off them as well: at most $q$ hyperplanes pass through the point, their normals are linearly
# independent, and so a small step leads to any chosen sides of all of them. The densities put the hyperplanes
# in general position with probability one: $\beta_0 \ne 0$ is not in the span of $T$, so the $m$ vectors
# $(x_i^\top \beta_0, T^\top x_i)$ have a density in $\mathbb R^{q+1}$. By {prf:ref}`lem-regions` there are
# $\sum_{i \le q} \binom mi$ regions. The second form uses that $i$ heads are as likely as $m - i$.
# :::
#
# The count is Cover's {cite}`cover1965geometrical`, and before him Wendel's {cite}`wendel1962problem`. As $m/2$
# heads are expected, the transition is centred at
#
# $$d = n + \frac{(K-1) n}2 = \frac{K+1}2 \, n$$ (eq-centre)
#
# (to within half a coin). Its width is the standard deviation $\frac12 \sqrt{(K-1) n}$, smaller than the
# centre by a factor of order $\sqrt n$: in $d/n$ the transition becomes a jump for large $n$.


# %%
def shares(clouds, labels):
    """How often each class is feasible, shape (K,)."""
    return nc_feasibility(clouds, labels).feasible.double().mean(0)


def standard_errors(share, probability, trials):
    """How many standard errors lie between a measured share and its law."""
    error = math.sqrt(probability * (1 - probability) / trials)
    return abs(float(share) - float(probability)) / error


measured, distances, of_others = {}, [], []
for num_classes in (2, 3, 5):
    classes = torch.arange(num_classes).repeat_interleave(20)
    centre, width = 10 * (num_classes + 1), math.sqrt(5 * (num_classes - 1))
    for t in np.linspace(-2, 2, 9):
        dim = round(centre + t * width)
        clouds = torch.randn(100, len(classes), dim, **F64)
        feasible = nc_feasibility(clouds, classes).feasible
        # One class of each instance: they depend on each other.
        first = feasible[:, 0].double().mean()
        measured[num_classes, dim] = first, feasible.all(1).double().mean()
        law = wendel_probability(num_classes, 20, dim)
        distances.append(standard_errors(first, law, 100))
        wrong = wendel_probability(num_classes, 21, dim)
        of_others.append(standard_errors(first, wrong, 100))

claims.check("shallow-noise-law", max(distances), below=4, control=max(of_others))
claims.check(
    "shallow-noise-law-typical",
    np.median(distances),
    below=1.2,
    control=np.median(of_others),
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-noise", "caption": "Pure noise with $n = 20$. Lines: the exact law for one class; full markers: measured with 100 instances. Small hollow markers: all classes at once. Dashed: Gordon's bound. Dotted: the centre $(K + 1)/2$."}, "image": {"alt": "Three steep rising curves from zero to one against d over n, centred at 1.5, 2 and 3 for two, three and five classes, with markers on the curves. Small hollow markers for all classes at once lie to the right of each curve, and the dashed bounds far to the right."}}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for colour, marker, num_classes in zip(COLOURS[:3], "osD", (2, 3, 5), strict=True):
    dims = np.arange(20, num_classes * 20 + 1)
    law = wendel_probability(num_classes, 20, dims)
    bound = gordon_bound(num_classes, 20, dims)
    ax.plot(dims / 20, law, color=colour)
    ax.plot(dims / 20, bound, "--", color=colour, linewidth=1)
    ax.axvline((num_classes + 1) / 2, color=colour, linestyle=":", linewidth=1)
    at, first, joint = np.array(
        [(dim, *both) for (k, dim), both in measured.items() if k == num_classes]
    ).T
    ax.plot(at / 20, first, marker, color=colour, label=f"$K = {num_classes}$")
    ax.plot(at / 20, joint, marker, color=colour, markersize=4, fillstyle="none")
ax.set(xlabel="$d / n$", ylabel="probability")
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# :::{admonition} Slide check: d/n > (K + 1)/2
# :class: warning slide-check
# :name: slide-check-sf-ratio
# Lecture 004 shows by Gordon's inequality that above $d/n = (K+1)/2$ collapse is feasible with high
# probability. That is right, and {eq}`eq-noise-law` adds what a bound cannot: *below* it, collapse in pure
# noise is infeasible with high probability, and at finite $n$ both probabilities are known exactly. The bound
# needs a good deal more room (dashed lines).
# :::
#
# :::{admonition} How the bound comes about
# :class: dropdown
# A certificate is a vector $(u, -v)$ that $X^\top$ maps to zero, in the cone
#
# $$\mathcal C = \{ (u, t) : \mathbf 1^\top u \ge 0, \; t \le 0 \} \subset \mathbb R^{Kn} .$$
#
# How far does this cone reach in a random direction $\tilde g$, standard normal in $\mathbb R^{Kn}$? On
# average by
#
# $$\omega = \mathbb E \max \{ \tilde g^\top x : x \in \mathcal C, \|x\| = 1 \} .$$
#
# Let $g$ be standard normal in $\mathbb R^d$. Gordon's inequality {cite}`gordon1988milman` says that for
# Gaussian $X$ the minimum of $\|X^\top x\|$ over the same $x$ has a mean of at least
# $\mathbb E \|g\| - \omega$. It changes by no more than $X$ does in the Frobenius norm, so by the
# concentration of Gaussian measure it is zero with probability at most
# $\exp\big( -\frac12 (\mathbb E\|g\| - \omega)^2 \big)$, if the difference is positive. Finally
# $\omega^2 \le \delta$, the statistical dimension of the cone {cite}`amelunxen2014living`: the mean squared
# length of the projection of $\tilde g$ onto it. A half-space of $\mathbb R^n$ has $n - \frac12$ and the
# orthant $\frac m2$, together $\delta = \frac{K+1}2 n - \frac12$. As $\mathbb E \|g\| \approx \sqrt d$, the
# bound is positive from $d \approx \delta$ on, but near one only once $d - \delta$ is several $\sqrt \delta$.
# :::

# %%
dims = np.arange(1, 401)
law, bound = wendel_probability(5, 40, dims), gordon_bound(5, 40, dims)
on_average = (bound > 0).double()  # where the mean of the minimum is positive
claims.check(
    "shallow-gordon-holds",
    (law - bound).min(),
    above=-1e-12,
    control=(law - on_average).min(),
)
# Five per cent on either side of d = 3 n, the centre for K = 5.
low, high = wendel_probability(5, 1000, [2850, 3150])
claims.check("shallow-centre-below", low, below=1e-4, control=high)
claims.check("shallow-centre-above", high, above=1 - 1e-4, control=low)

# %% [markdown]
# Read the hypotheses of {prf:ref}`thm-noise` once more. About class $k$ they only say that its samples are
# linearly independent. It may have a mean, or not be random. And the others need not be Gaussian, only
# independent and symmetric, with a density. Here the first class consists of positive numbers, most of them
# small, and the others of cubes of Gaussian numbers.

# %%
distances, without_signs = [], []
for dim in (16, 18, 20, 22, 24):
    positive = torch.rand(200, n, dim, **F64) ** 4
    cubes = torch.randn(200, (K - 1) * n, dim, **F64) ** 3
    law = wendel_probability(K, n, dim)
    for others, found in ((cubes, distances), (cubes.abs(), without_signs)):
        first = shares(torch.cat([positive, others], 1), labels)[0]
        found.append(standard_errors(first, law, 200))

claims.check(
    "shallow-law-any-class", max(distances), below=4, control=max(without_signs)
)

# %% [markdown]
# Move the sliders to see how the transition sharpens with $n$ and moves with $K$.


# %% tags=["hide-input"]
def draw_transition(K, n):
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    dims = np.arange(1, K * n + n + 1)
    ax.plot(
        dims / n,
        wendel_probability(K, n, dims),
        ".-",
        color=COLOURS[0],
        label="exact",
        markersize=4,
    )
    ax.plot(
        dims / n,
        gordon_bound(K, n, dims),
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
    steps = wendel_probability(K, n, np.arange(1, K * n + 1)).numpy()
    low, high = (1 + int(np.argmax(steps >= level)) for level in (0.1, 0.9))
    return (
        f"With {K} classes of {n} samples, the probability first reaches 10 per cent at "
        f"d = {low} and 90 per cent at d = {high}, around d = {(K + 1) * n / 2:g}."
    )


explore(
    draw_transition,
    name="transition",
    alt=describe_transition,
    caption="Probability that a class of pure noise can collapse. Below $d/n = 1$ never, from $d/n = K$ on always.",
    labels={"K": "K, classes", "n": "n, samples per class"},
    start={"K": 3, "n": 20},
    K=[2, 3, 4, 6, 10],
    n=[2, 5, 20, 100],
)

# %% [markdown]
# (sec-sf-structure)=
# ## What structure buys
#
# Structure should help. Let class $k$ be $\mu_k + \sigma z$ with standard normal $z$, the Gaussian mixture of
# lecture 004. Two bounds come from two ways of choosing $\beta$.
#
# **Ignore the means.** The first way is to look where they cannot be seen.
#
# :::{prf:theorem} Whatever the means
# :label: thm-projection
#
# For all means, with $r_k$ the rank of $\{ \mu_j : j \ne k \}$, and all $\sigma > 0$,
#
# $$
# \begin{aligned}
# \mathbb P( & \text{class $k$ is feasible}) \\
#   & \ge \mathbb P\big( \mathrm{Bin}((K-1)n, \tfrac12) \ge Kn - (d - r_k) \big) .
# \end{aligned}
# $$ (eq-projection)
# :::
#
# :::{prf:proof}
# Restrict $\beta$ to the $d - r_k$ dimensions orthogonal to the means of the *other* classes. Seen from there
# the others are pure noise, and what class $k$ is does not matter: {prf:ref}`thm-noise` applies. (If
# $d - r_k < n$, the right side is zero.)
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
# Let $y$ in the hull and $y'$ on the ray be closest to each other, $t = y - y'$ and $b = -t / \|t\|^2$. Moving
# $y'$ along the ray brings no gain, so $t^\top \mu_k \le 0$ and $t^\top y' = 0$. Nor does moving $y$ towards
# $\mu_j$, so $t^\top \mu_j \ge t^\top y = t^\top (t + y') = \|t\|^2$.
# :::
#
# For two classes with an angle $\theta$ between their means, $\Delta_1 = \|\mu_2\|$ if $\theta \ge 90°$, and
# $\|\mu_2\| \sin \theta$ if it is acute. For $K$ linearly independent means whose matrix has the smallest
# singular value $s$, $\Delta_k \ge s / \sqrt{K-1}$: a point of the hull minus one of the ray is a combination
# of the means with coefficients $\alpha_j \ge 0$ that sum to one, and $-\nu$; its length is at least
# $s \|\alpha\| \ge s / \sqrt{K-1}$. `mean_margins` computes $\Delta_k$ by non-negative least squares.

# %%
ratios, rootless = [], []
for num_classes in (2, 3, 5, 10):
    for _ in range(50):
        means = torch.randn(num_classes, 12, **F64)
        ratio = mean_margins(means).min() / torch.linalg.svdvals(means)[-1]
        ratios.append(ratio * math.sqrt(num_classes - 1))
        rootless.append(ratio)
claims.check(
    "shallow-singular-value", min(ratios), above=1 - 1e-9, control=min(rootless)
)

# %% [markdown]
# :::{prf:theorem} Small noise
# :label: thm-small-noise
#
# Let $\Delta_k > 0$, let $r$ be the rank of all means and $d \ge n + r$. Then, with $\Phi$ the standard
# normal distribution function,
#
# $$
# \begin{gathered}
# \mathbb P(\text{class $k$ is feasible})
#   \ge \mathbb E \, \Phi\Big( \sqrt R \, \frac{\Delta_k}\sigma \Big)^{(K-1) n}, \\
# R \sim \mathrm{Beta}\Big( \frac{d - r - n + 1}2, \frac n2 \Big) .
# \end{gathered}
# $$ (eq-small-noise)
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
# random subspace of dimension $d - r + 1 - n \ge 1$. The shortest such vector is $\Pi e / \|\Pi e\|^2$, with $e$
# the first unit vector and $\Pi$ the projection onto $L$. So $1 + \|\gamma\|^2 = 1 / R$, where $R = \|\Pi e\|^2$
# is the squared length of the projection of a unit vector onto a random subspace: like the share of the first
# $\dim L$ in a sum of $1 + d - r$ squared Gaussians, which is what the Beta distribution says.
#
# Now class $k$ has the common output $\mu_k^\top b \ge 0$, and $\|\beta\|^2 = \|b\|^2 / R$. The other samples
# are independent of $\beta$. One of class $j$ has an output $\mu_j^\top b + \sigma \|\beta\| g$ with standard
# normal $g$, negative with probability at least
# $\Phi(1 / (\sigma \|\beta\|)) = \Phi(\sqrt R \, \Delta_k / \sigma)$, and there are $(K-1) n$ of them. If
# $\mu_k^\top b > 0$, divide $\beta$ by it. If it is zero, add a small multiple of a solution $\xi$,
# orthogonal to the means, of $z_i^\top \xi = 1$ for all $i$: class $k$ gets a positive common output, and
# outputs that were negative stay so.
# :::
#
# To see how much noise that allows, use $1 - \Phi(t) \le e^{-t^2/2}$ and add up over the samples: the bound
# falls short of one by at most $(K-1) n \, \mathbb E \, e^{-R \Delta_k^2 / 2\sigma^2}$. If $d$ exceeds
# $n + r$ by a fixed part of $n$, then $R$ is of order one and $\sigma$ may be of the order of
# $\Delta_k / \sqrt{\log((K-1)n)}$. Lecture 004 has such a logarithm, also from a union bound. Close to
# $d = n + r$, less noise is allowed, by the factor $\sqrt R$.
#
# Let us see it for two classes at all angles. `phase_map(grid, trials, …)` draws that many instances for
# every pair of a ratio $d/n$ and a noise level in the grid, and returns the share of feasible classes,
# `per_class` (and how many were `undecided`: here none).


# %%
def two_means(degrees):
    """Two unit vectors at an angle."""
    angle = math.radians(degrees)
    return torch.tensor(
        [[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64
    )


ANGLES, NOISES, SIZE, DIM_ANGLE = range(0, 181, 15), [0.05, 0.15, 0.4], 20, 26
cells = {"samples_per_class": SIZE, "generator": generator}
by_angle, angle_bounds, careless = [], [], []
for degrees in ANGLES:
    cells["means"] = two_means(degrees)
    found = phase_map(([DIM_ANGLE / SIZE], NOISES), 100, **cells)
    by_angle.append(found.per_class[0])
    bound = small_noise_bound(cells["means"], SIZE, DIM_ANGLE, NOISES)
    angle_bounds.append(bound[:, 0])
    distances = mean_margins(cells["means"])[0] / torch.tensor(NOISES)
    careless.append(torch.special.ndtr(distances) ** SIZE)  # without the factor R
by_angle, angle_bounds = torch.stack(by_angle), torch.stack(angle_bounds)

claims.check(
    "shallow-small-noise-angle",
    (by_angle - angle_bounds).min(),
    above=-0.05,
    control=(by_angle - torch.stack(careless)).min(),
)
claims.check("shallow-acute", by_angle[45 // 15, 0], above=0.9, control=by_angle[0, 0])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-angle", "caption": "Two classes of twenty samples in 26 dimensions, by the angle between their means, which have length one. Markers: measured share of feasible classes. Lines of the same colour: the bound for small noise, which at 180° gains a little because the means then have rank one. Grey dots: the bound for any means."}, "image": {"alt": "Three rising sequences of markers against the angle from 0 to 180 degrees. At the smallest noise the share rises steeply already at small angles and stays near one; at larger noise it rises more slowly, and goes on rising a little beyond 90 degrees. The bounds lie below their markers and are flat beyond 90 degrees, with a small step at 180. A grey dotted horizontal line lies near zero."}}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for i, (marker, dash, noise) in enumerate(
    zip("osD", ("--", "-.", (0, (1, 1))), NOISES, strict=True)
):
    label = rf"$\sigma = {noise}$"
    ax.plot(ANGLES, by_angle[:, i], marker, color=COLOURS[i], label=label)
    ax.plot(ANGLES, angle_bounds[:, i], ls=dash, color=COLOURS[i], linewidth=1)
ax.axhline(wendel_probability(2, SIZE, DIM_ANGLE - 1), color="0.4", linestyle=":")
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
# :class: warning slide-check
# :name: slide-check-sf-angle
# For two classes the lecture asks for an angle of more than 90° between the means and small noise. Obtuse means
# help, but they are not needed: with an acute angle the margin is $\|\mu_2\| \sin \theta$ in place of
# $\|\mu_2\|$, and small noise is still enough, given $d \ge n + 2$. Only where one mean lies on the ray of the
# other does the margin vanish, and of our bounds {eq}`eq-projection` alone is left. At $d = n$, with no room
# besides the means, the angle does decide ({ref}`exercise <ex-sf-angle>`).
# :::

# %% [markdown]
# (sec-sf-boundary)=
# ## Where is the boundary?
#
# All of it at once: dimension to the right, noise upwards, and in every cell the share of feasible classes
# among 100 instances. Lecture 004 shows such maps for two classes and for more. Here each panel has about a
# thousand cells, and all but a few of the 1.3 million answers are certified.

# %%
diagrams, maps, bounds, careless = recorded("phase-diagrams").values, [], [], []
for case in diagrams:
    means = torch.tensor(case["means"], dtype=torch.float64)
    size, dims, noises = case["samples_per_class"], case["dims"], case["noises"]
    small_noise = [small_noise_bound(means, size, dim, noises).mean(-1) for dim in dims]
    room = [dim - (len(means) - 1) for dim in dims]
    any_means = wendel_probability(len(means), size, room)[:, None]
    bounds.append((torch.stack(small_noise), any_means))
    maps.append(torch.tensor(case["per_class"], dtype=torch.float64))
    distances = mean_margins(means).mean() / torch.tensor(noises)
    careless.append(torch.special.ndtr(distances) ** (size * (len(means) - 1)))


def over_all(cells):
    """One long tensor of the cells of all maps."""
    return torch.cat([part.flatten() for part in cells])


share_of = over_all(maps)
by_noise = over_all([pair[0] for pair in bounds])
by_room = over_all([b.expand(a.shape) for a, b in bounds])
too_much = over_all(
    [part.expand(a.shape) for part, a in zip(careless, maps, strict=True)]
)
surplus = share_of - torch.maximum(by_noise, by_room)
undecided = torch.tensor([np.sum(case["undecided"]) for case in diagrams]).sum()
answers = sum(
    values.numel() * case["trials"] * len(case["means"])
    for values, case in zip(maps, diagrams, strict=True)
)
# Cells where collapse is likely, but not for every choice of the means.
open_question = (share_of > 0.5) & (by_room < 0.5)
print(answers, "answers")
claims.check(
    "shallow-map-decided", undecided / answers, below=1e-5, control=1 - strictly
)
claims.check(
    "shallow-map-bounds",
    surplus.min(),
    above=-0.02,
    control=(share_of - too_much).min(),
)
explained = share(surplus[open_question] < 0.25)
by_room_alone = share((share_of - by_room)[open_question] < 0.25)
claims.check("shallow-map-tight", explained, above=0.45, control=by_room_alone)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-phase", "caption": "Share of feasible classes, $n = 30$, means of length one. Thin vertical lines: $d = n$ and $d = Kn$. To the right of each other line a bound promises at least one half: for small noise (dashed, also below it), for any means (solid), and for any means by Gordon's inequality (dotted; for two classes beyond $d = Kn$)."}, "image": {"alt": "Four heat maps: two means at 135 degrees, two at 45 degrees, three and five orthogonal means. Dark on the left of d = n and at large noise to the left of (K + 1)/2, light elsewhere. The boundary starts near d = n at small noise, moves to the right as the noise grows, and turns vertical near (K + 1)/2. The dashed bound follows the boundary at small noise, on its light side, and the solid vertical line marks where it ends at large noise; the dotted line is further to the right."}}
outlined = [patheffects.withStroke(linewidth=3.5, foreground="white")]
line = {"color": "black", "path_effects": outlined}
fig, axes = plt.subplots(2, 2, figsize=(7.6, 6.4), sharey=True, layout="constrained")
for ax, case, values, (small_noise, _) in zip(
    axes.flat, diagrams, maps, bounds, strict=True
):
    size, num_classes = case["samples_per_class"], len(case["means"])
    ratios, noises = np.array(case["dims"]) / size, case["noises"]
    image = ax.pcolormesh(
        ratios, noises, values.T, cmap="cividis", vmin=0, vmax=1, shading="nearest"
    )
    curve = ax.contour(
        ratios, noises, small_noise.T, [0.5], colors="black", linestyles="--"
    )
    curve.set_path_effects(outlined)
    room = np.arange(1, num_classes * size + 1)  # d without the means
    for bound, style in ((wendel_probability, "-"), (gordon_bound, ":")):
        enough = room[bound(num_classes, size, room).numpy() >= 0.5]
        if len(enough):
            needed = enough[0] + num_classes - 1
            ax.axvline(needed / size, linestyle=style, **line)
    for end in (1, num_classes):
        ax.axvline(end, color="white", linewidth=0.7)
    ax.set(yscale="log", title=case["case"], xlim=(0.8, num_classes + 0.2))
for ax in axes[:, 0]:
    ax.set_ylabel(r"noise $\sigma$")
for ax in axes[1]:
    ax.set_xlabel("$d / n$")
fig.colorbar(image, ax=axes, label="share of feasible classes", shrink=0.6)
plt.show()

# %% [markdown]
# Above the dashed line and to the left of the solid one nothing is proved, only measured: both bounds say
# that collapse is likely, neither that it is not. Of the cells where collapse is likely but the bound for any
# means says less than one half, the bound for small noise explains more than half to within 0.25. At large noise
# the boundary is that of pure noise; towards small noise it bends to $d = n$, where {prf:ref}`thm-easy` draws
# the line that no structure crosses. The bend of two means is lower at 45° than at 135°, by a factor near 0.6,
# a little less than the ratio of their margins, $\sin 45° = 0.71$.
#
# (sec-sf-training)=
# ## Does training get there?
#
# {prf:ref}`thm-reduction` is about global minima of a function that is not convex. Training may stop
# elsewhere. We train thirty networks, each on an instance of its own, at noise levels from one at which all
# are feasible to one at which few are. For each, two things are known beforehand: whether collapse is
# feasible, by certificate, and the value $V$, the same for all. Samples are scaled to a mean square entry of
# one, which changes nothing about feasibility.

# %%
levels = torch.tensor([0.15, 0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
levels = levels.repeat_interleave(6)
DIM_TRAIN = 20
clouds = mixture(DIM_TRAIN, levels, batch=len(levels))
clouds = clouds / clouds.square().mean((1, 2), keepdim=True).sqrt()
feasible = nc_feasibility(clouds, labels).feasible.all(-1)
net = ShallowNet(K, DIM_TRAIN, 60, batch_shape=(len(levels),), **START)
watch = {"metrics": spread(clouds, labels), "every": 60}
history = train_shallow(net, clouds, labels, weight_decay=DECAY, steps=6000, **watch)
spreads, excess = history["nc1"], history["objective"] / V - 1

claims.check(
    "shallow-infeasible-value",
    excess[-1, ~feasible].min(),
    above=1e-3,
    control=excess[-1, feasible].min(),
)
claims.check(
    "shallow-infeasible-spread",
    spreads[-1, ~feasible].median(),
    above=1e-3,
    control=spreads[-1, feasible].median(),
)
collapsed = spreads[-1] < 1e-4
claims.check(
    "shallow-collapsed-feasible",
    share(feasible[collapsed]),
    above=0.9,
    control=share(feasible),
)
claims.check(
    "shallow-feasible-collapsed",
    share(collapsed[feasible]),
    above=0.5,
    control=share(collapsed[~feasible]),
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-training", "caption": "Thirty networks. Left: NC1 during training, on feasible (lines) and infeasible data (dashed). Right: where each ends, against how far its objective is above $V$; an NC1 below $10^{-12}$ and an excess below $10^{-7}$ are drawn there."}, "image": {"alt": "Left: thirty curves of NC1 on logarithmic axes. Dashed ones, for infeasible data, level off; most solid ones, for feasible data, fall by many orders of magnitude, while some level off as well. Right: final NC1 against relative excess of the objective. Crosses, infeasible, gather at the upper right together with some circles; most circles, feasible, lie along a trail to the lower left."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4), layout="constrained")
for ok, style, marker, label in (
    (True, "-", "o", "feasible"),
    (False, "--", "X", "infeasible"),
):
    chosen, colour = feasible == ok, COLOURS[0 if ok else 1]
    left.loglog(
        history.steps[1:],
        spreads[1:, chosen],
        style,
        color=colour,
        linewidth=0.8,
        zorder=3 - ok,
    )
    right.loglog(
        excess[-1, chosen].clamp(min=1e-7),
        spreads[-1, chosen].clamp(min=1e-12),
        marker,
        color=colour,
        label=label,
    )
left.set(xlabel="step", ylabel="NC1", ylim=(1e-12, 1))
right.set(xlabel="$F / V - 1$", ylabel="NC1 at the end", xlim=(5e-8, 1))
right.legend()
plt.show()

# %% [markdown]
# On infeasible data $F$ stays above $V$, as it must, by less than one per cent at the least. On feasible data
# the networks collapse at the two lower noise levels; at the higher ones, where few data sets are feasible,
# most end some per cent above $V$, like the infeasible ones. The function is not convex, and descent can get
# stuck; the positive features model has local minima already, if of another kind, with a class that has died.
#
# The lecture reports an NC1 {claim}`between 10⁻³ and 10⁻⁴ <shallow-million-epochs>` after very long training.
# Here infeasible networks and stuck ones overlap not far above. From such a value nobody can tell whether
# collapse is out of reach or only not reached. A certificate can.
#
# (sec-sf-no-penalty)=
# ### No regularisation, no collapse
#
# In the discussion after the talk a listener holds that data that are well separated collapse without any
# penalty, if the start is small; the speaker has seldom seen it. Without a penalty {eq}`eq-shallow-value`
# says nothing: once a network separates the classes, scaling it up brings the loss as near to zero as one
# likes. On the same data, from the same small start:

# %%
net = ShallowNet(K, DIM_TRAIN, 60, batch_shape=(len(levels),), **START)
watch["metrics"]["correct"] = lambda net: share(
    (net(clouds).argmax(-1) == labels).flatten()
)
watch["every"] = [0]
free = train_shallow(net, clouds, labels, weight_decay=0.0, steps=3000, **watch)
before, after = free["correct"]
claims.check("shallow-free-fits", after, 1, control=before)
least = free["nc1"][-1].min()
claims.check("shallow-free-spread", least, above=0.01, control=spreads[-1].min())

# %% [markdown]
# All samples are classified correctly, and the features stay far from collapse. That is an observation about
# three thousand steps, not a theorem: with separable data, the loss goes to zero and the weights grow
# without bound, and where their direction tends is a question of its own.
#
# (sec-sf-random)=
# ## What a random layer adds
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
# If no two samples are multiples of each other, then the probability that all classes are feasible after the
# random layer tends to one as $D \to \infty$.
# :::
#
# :::{prf:proof}
# The functions $\phi_i(g) = (g^\top x_i)_+$ of $g \in \mathbb R^d$ are linearly independent: $\phi_i$ has a
# kink across the hyperplane $g^\top x_i = 0$, and at most of its points no other $\phi_j$ has one, as those
# kinks lie on other hyperplanes. So the Gram matrix $\mathbb E \, \phi(g) \phi(g)^\top$ for Gaussian $g$ is
# positive definite. The features are $\phi_i(g_1), \dots, \phi_i(g_D)$ with independent rows $g_q$ of $G$,
# and by the law of large numbers their Gram matrix, divided by $D$, tends to that. So it becomes invertible,
# the $N$ feature vectors become linearly independent, and {prf:ref}`thm-easy` applies.
# :::
#
# Lecture 004 gives a rate by matrix concentration, {claim}`D of the order of N log N <shallow-n-log-n>`. As we
# know, linear independence is more than is needed. How wide must the layer be? With $\tanh$ in place of the
# ReLU the answer is exact. It is odd, so for given $G$ the features $\tanh(Gx)$ of pure noise are symmetric, and as
# its $D$ outputs are analytic and linearly independent functions of $x$, the samples are in general position,
# which is all that the proof of {prf:ref}`thm-noise` takes from the densities: the law holds with $D$ in
# place of $d$, for every $d$. For the ReLU we measure.

# %%
D_GRID = [10, 13, 16, 18, 20, 22, 24, 27, 30, 40]
law = wendel_probability(K, n, D_GRID)
after = {torch.relu: [], torch.tanh: []}
for D in D_GRID:
    inputs = torch.randn(100, K * n, 6, **F64)
    G = torch.randn(100, D, 6, **F64) / math.sqrt(6)
    for activation, measured_shares in after.items():
        measured_shares.append(shares(activation(inputs @ G.mT), labels)[0])

relu, tanh = torch.stack(after[torch.relu]), torch.stack(after[torch.tanh])
between = (law > 0.02) & (law < 0.98)
errors = (law * (1 - law) / 100).sqrt()[between]
off = {way: ((way - law)[between] / errors).abs().max() for way in (tanh, relu)}
claims.check("shallow-tanh-law", off[tanh], below=4, control=off[relu])
claims.check("shallow-relu-wide", relu[-1], above=0.95, control=relu[0])
ahead = {way: (way - law)[between].mean() for way in (tanh, relu)}
claims.check("shallow-relu-ahead", ahead[relu], above=0.1, control=ahead[tanh])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-random-layer", "caption": "Pure noise in 6 dimensions, three classes of ten samples, which is infeasible without the random layer. Markers: how often the first class is feasible behind a random layer of width $D$. Line: the exact law with $D$ in place of $d$."}, "image": {"alt": "Share of feasible classes against the width D from 10 to 40. Squares, for tanh, lie on the S-shaped line of the law. Circles, for ReLU, rise earlier, by about three units of width."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
fine = np.arange(8, 41)
ax.plot(fine, wendel_probability(K, n, fine), color="0.5", label="exact law")
ax.plot(D_GRID, relu, "o", color=COLOURS[0], label="ReLU")
ax.plot(D_GRID, tanh, "s", color=COLOURS[1], label="tanh")
ax.set(xlabel="width $D$ of the random layer", ylabel="share of feasible classes")
ax.legend()
plt.show()

# %% [markdown]
# A width of about 17 makes half of the classes feasible, less than $\frac{K+1}2 n = 20$; $N \log N$ is about a
# hundred here. The ReLU does better than the law: its features have a positive mean, a direction that all
# samples share, and {ref}`an exercise <ex-sf-bias>` shows that this is worth about as much as a bias.
#
# Now train, eight networks for two classes of ten samples: on six dimensions directly, where collapse is
# impossible, and behind a random layer of width 60. The rate is lower than before.

# %%
two_labels = torch.arange(2).repeat_interleave(n)
noise_only = torch.randn(8, 2 * n, 6, **F64)
spread_after, feasible_after = {}, {}
for D in (None, 60):
    net = ShallowNet(2, 6, 100, random_width=D, batch_shape=(8,), **START)
    seen = net.random_features(noise_only)
    feasible_after[D] = nc_feasibility(seen, two_labels).feasible.all(-1)
    watch = {"metrics": spread(noise_only, two_labels), "every": []}
    history = train_shallow(
        net, noise_only, two_labels, weight_decay=DECAY, lr=3e-3, steps=3000, **watch
    )
    spread_after[D] = history["nc1"][-1]

claims.check(
    "shallow-three-layers-feasible",
    share(feasible_after[60]),
    1,
    control=share(feasible_after[None]),
)
two_layers, three_layers = spread_after[None], spread_after[60]
claims.check(
    "shallow-three-layers-spread",
    three_layers.median(),
    below=1e-2,
    control=two_layers.median(),
)
claims.check(
    "shallow-two-layers-spread",
    two_layers.min(),
    above=0.02,
    control=three_layers.min(),
)

# %% [markdown]
# The random layer turns data that cannot collapse into data that can, and NC1 follows, if not all the way in
# every network. Lecture 004 reports {claim}`about 10⁻² for three layers <shallow-three-layers-sgd>`.
#
# (sec-sf-new)=
# ## Collapse and new samples
#
# Does collapse on the training samples say anything about new ones? Above $d = Kn$ collapse is feasible for
# any linearly independent samples, pure noise included, so it cannot by itself. Let us see by how much it can
# mislead. For two classes with means $\mu_1$, $\mu_2$ there is a limit that no classifier passes, collapsed
# or not.
#
# :::{prf:theorem} Bayes' limit
# :label: thm-bayes
#
# A classifier of two equally frequent classes $\mu_k + \sigma z$ is wrong on new samples with probability at
# least
#
# $$\Phi\Big( \! -\frac{\|\mu_1 - \mu_2\|}{2 \sigma} \Big) .$$ (eq-bayes)
# :::
#
# :::{prf:proof}
# If it says 1 on the set $S$, its error is $\frac12 \big( 1 - \int_S (f_1 - f_2) \big)$ with the densities
# $f_k$, least if $S$ is where $f_1 > f_2$, the side of $\mu_1$ of the hyperplane half-way between the means. A
# sample leaves its side if noise along $\mu_2 - \mu_1$ exceeds $\frac12 \|\mu_1 - \mu_2\|$.
# :::
#
# Lecture 004 studies the smallest network that collapses: two neurons, weights $\beta_1$ and $\beta_2$ that
# solve {eq}`eq-feasible` for each class, and the larger output decides. It asks for the best error among all
# such weights, and shows that it is small at small noise and bounded below at large noise; {eq}`eq-bayes` is
# such a bound. We take the weights that the solver returns. For a new sample of class 1 the outputs before
# the ReLU, $\beta_1^\top x$ and $\beta_2^\top x$, are jointly Gaussian, so the error is a probability about
# two Gaussian variables. `misclassification_rate` computes it by Owen's function {cite}`owen1956tables`,
# which gives such probabilities; where no neuron fires it tosses a coin. First we compare it with new
# samples.

# %%
DIM_WIDE, REPEATS = 30, 6
NOISE_LEVELS = [0.1, 0.3, 0.6, 1.2, 3.0]
pair_means = torch.eye(2, DIM_WIDE, dtype=torch.float64)


def around_two(noise, batch, size):
    """Draw instances (batch, 2 * size, DIM_WIDE) around the two means."""
    options = {"batch_shape": (batch,), "generator": generator}
    return gaussian_mixture(pair_means, size, noise, **options)[0]


train_sets = torch.stack([around_two(noise, REPEATS, n) for noise in NOISE_LEVELS])
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
claims.check(
    "shallow-two-neurons",
    (counted - exact).abs().max(),
    below=0.025,
    control=(counted.roll(1, 0) - exact).abs().max(),
)

# %% [markdown]
# Now full networks, one on each of the same data sets (training and new samples divided by one number, the root
# mean square of the training entries), and a classifier that does not collapse anything: the nearest class mean
# of the training samples.

# %%
flat = train_sets.flatten(0, 1)
rms = flat.square().mean((1, 2), keepdim=True).sqrt()
net = ShallowNet(2, DIM_WIDE, 100, batch_shape=(len(flat),), **START)
watch = {"metrics": spread(flat / rms, two_labels), "every": [0]}
history = train_shallow(
    net, flat / rms, two_labels, weight_decay=DECAY, steps=3000, **watch
)
final = history["nc1"][-1].view(-1, REPEATS)
fresh = torch.cat([around_two(noise, REPEATS, 500) for noise in NOISE_LEVELS])
truth = torch.arange(2).repeat_interleave(500)


def error_of(guesses):
    """Share of wrong guesses about the new samples, shape (levels, REPEATS)."""
    return (guesses != truth).double().mean(-1).view(-1, REPEATS)


by_network = error_of(net(fresh / rms).argmax(-1))
centres = flat.unflatten(1, (2, n)).mean(2)
by_mean = error_of(torch.cdist(fresh, centres).argmin(-1))
half_distance = 2**0.5 / 2 / torch.tensor(NOISE_LEVELS, dtype=torch.float64)
limits = torch.special.ndtr(-half_distance)

claims.check(
    "shallow-noisy-collapse", final.max(), below=0.01, control=history["nc1"][0].min()
)
clean, noisy = by_network[0], by_network[-1]
claims.check("shallow-noisy-error", noisy.min(), above=0.3, control=clean.max())
claims.check("shallow-clean-error", clean.max(), below=0.05, control=noisy.min())
too_high = torch.special.ndtr(-half_distance / 4)
claims.check(
    "shallow-bayes",
    (exact - limits[:, None]).min(),
    above=0,
    control=(exact - too_high[:, None]).min(),
)
price = exact.mean(1) / by_mean.mean(1)
claims.check("shallow-price", price[1], above=1.3, control=price[-1])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-generalisation", "caption": "Two classes of ten samples in 30 dimensions, where collapse is always feasible. Left: NC1 after training. Right: errors on new samples, means over six data sets; the line is Bayes' limit."}, "image": {"alt": "Left: NC1 against the noise level; it is below one hundredth everywhere and smallest at the least noise. Right: the errors on new samples rise from zero to nearly one half with the noise, above the line of the Bayes limit from a noise of 0.3 on; those of the nearest class mean are the lowest, those of trained networks the highest at middle noise."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained")
at = np.array(NOISE_LEVELS)
left.loglog(at, final, "o", color=COLOURS[0], markersize=4)
left.set(xlabel=r"noise $\sigma$", ylabel="NC1 on training samples", ylim=(1e-12, 1))
fine = torch.logspace(-1, 0.5, 100)
limit = torch.special.ndtr(-(2**0.5) / 2 / fine)
right.semilogx(fine, limit, color="0.3", label="Bayes' limit")
for errors, marker, size, label in (
    (by_network, "o", 9, "network, 100 neurons"),
    (exact, "s", 6, "two neurons"),
    (by_mean, "^", 6, "nearest class mean"),
):
    right.plot(
        at, errors.mean(1), marker, markersize=size, fillstyle="none", label=label
    )
right.set(xlabel=r"noise $\sigma$", ylabel="error on new samples", ylim=(-0.02, 0.78))
right.legend(loc="upper left")
plt.show()

# %% [markdown]
# On the left NC1 is small at every noise level, if less so at larger noise; on the right the error goes from
# nothing to guessing. Collapse is a statement about the training samples; generalisation depends on the data.
# Part of the distance from the line is the price of not knowing the means. Another part, at middle noise, is the
# price of collapse, at least with these weights: the nearest class mean, from the same samples, errs less.
#
# ## Can digits collapse?
#
# Handwritten digits are not Gaussian. Is collapse feasible for them? Take two digits, the first $n$ images of
# each, straight from the $d$ pixels, for all 45 pairs. To see what it is worth that the two halves are
# different digits, we deal the same images into two random halves as well.

# %%
images = load(DATASET)
pixels = images.inputs.flatten(1).double().to(DEVICE)
D_PIXELS = pixels.shape[1]
by_digit = [pixels[images.labels.to(DEVICE) == digit] for digit in range(10)]
PAIRS = list(combinations(range(10), 2))


def pairs_of_digits(size):
    """The first images of every pair of digits, shape (45, 2 * size, d)."""
    return torch.stack(
        [torch.cat([by_digit[i][:size], by_digit[j][:size]]) for i, j in PAIRS]
    )


def proved(result):
    """Share of instances of which all classes are proved feasible."""
    return float((result.verdict > 0).all(-1).double().mean())


PARTS = np.array([2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16]) / 16
counts = [round(part * D_PIXELS) for part in PARTS]
pairs, dealt, ranks, others_parts = [], [], [], []
for size in counts:
    halves = torch.arange(2).repeat_interleave(size)
    both = pairs_of_digits(size)
    mixed = both[:, torch.randperm(2 * size, generator=generator)]
    result = nc_feasibility(both, halves)
    pairs.append(proved(result))
    dealt.append(proved(nc_feasibility(mixed, halves)))
    of_each = [torch.linalg.matrix_rank(rows[:size]) for rows in by_digit]
    ranks.append(float(torch.stack(of_each).double().mean()))
    of_other = torch.stack([halves == 1, halves == 0])
    others_parts.append(result.certificate[:, of_other].abs().nan_to_num(0).max())

few, more = (PARTS.tolist().index(part / 16) for part in (9, 11))
claims.check("shallow-digits-few", pairs[few], above=0.95, control=dealt[few])
claims.check("shallow-digits-structure", dealt[few], below=0.5, control=pairs[few])
claims.check("shallow-digits-many", pairs[-1], 0, control=pairs[few])
claims.check("shallow-digits-alone", others_parts[-1], 0, control=others_parts[more])

# %% [markdown]
# With 36 images of each of two digits all or nearly all pairs can collapse; dealt at random, the same images
# mostly cannot. Soon after, it ends for the digits, too. At first, up to 44 images, it is still the other
# digit that prevents it. With 64 images, as many as pixels, the certificates have $v = 0$: the other digit
# plays no part, the class is in its own way, as in the second part of {prf:ref}`thm-easy`. Many pixels are
# dark in all images of a digit, the rank of $X_k$ stops growing, and soon after $n$ has passed it,
# $\mathbf 1$ is no longer in the range of $X_k$.
#
# A random ReLU layer adds dimensions. At $n = d$, where no pair is feasible, how wide must it be?

# %%
halves = torch.arange(2).repeat_interleave(D_PIXELS)
both = pairs_of_digits(D_PIXELS)
WIDTHS = [round(part * D_PIXELS / 8) for part in (8, 9, 10, 11, 12, 14, 16)]
G = torch.randn(WIDTHS[-1], D_PIXELS, **F64).to(DEVICE) / math.sqrt(D_PIXELS)
behind = []
for D in WIDTHS:
    behind.append(proved(nc_feasibility((both @ G[:D].T).relu(), halves)))

claims.check("shallow-digits-random-layer", behind[-1], 1, control=behind[0])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shallow-digits", "caption": "All 45 pairs of digits. Left: pairs that can collapse, straight from the pixels, and for the same images dealt at random; the grey line is the first $n$ that exceeds the mean rank of one class. Right: as many images per class as pixels, behind a random ReLU layer; grey, the law of pure noise for one class."}, "image": {"alt": "Left: the share of feasible pairs against the number of images per class stays at one and drops to zero near the grey vertical line; for images dealt at random it drops well before. Right: the share rises from zero to one as the random layer widens, somewhat earlier than the grey curve."}}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.6, 3.3), sharey=True, layout="constrained"
)
passed = next(n for n, rank in zip(counts, ranks, strict=True) if rank < n)
left.axvline(passed, color="0.6")
left.plot(counts, pairs, "o-", color=COLOURS[0], label="two digits")
left.plot(counts, dealt, "s--", color=COLOURS[1], label="dealt at random")
left.set(xlabel="images per class $n$", ylabel="share of feasible pairs")
left.legend(loc="lower left")
fine = np.arange(WIDTHS[0], WIDTHS[-1] + 1)
right.plot(fine, wendel_probability(2, D_PIXELS, fine), color="0.5")
right.plot(WIDTHS, behind, "o-", color=COLOURS[0])
right.set(xlabel="width $D$ of the random layer")
plt.show()

# %% [markdown]
# Behind a random layer nothing stops the rank. The pixels lack dimensions, not separation, and a few more are
# enough: fewer than noise would need.
#
# ## Exercises
#
# :::{exercise} One sample per class
# :label: ex-sf-one
# Let $n = 1$ and $K = 2$. For which pairs $x_1, x_2$ is class 1 feasible? What is the certificate when it is
# not? What does {eq}`eq-noise-law` say for $d = 1$ and $d = 2$?
# :::
#
# :::{solution} ex-sf-one
# :class: dropdown
# Infeasible if and only if $x_1 = \nu x_2$ with $\nu \ge 0$: the affine hull of a point is the point, the
# cone of the other is its ray. The certificate is $u = 1$, $v = \nu$. With $m = 1$ the law gives $\frac12$
# for $d = 1$, where two numbers have the same sign half of the time, and 1 for $d \ge 2$.
# :::
#
# :::{exercise} Reading a certificate
# :label: ex-sf-certificate
# Draw two classes of ten samples in fifty dimensions. By {prf:ref}`thm-easy` both are feasible. Now copy a
# sample of class 0 into class 1, as a careless annotator might. What does the certificate look like? *Hint:*
# look for its entries above $10^{-6}$.
# :::
#
# :::::{solution-start} ex-sf-certificate
# :class: dropdown
# :::::

# %%
cloud = torch.randn(20, 50, **F64)
cloud[13] = cloud[4]
copied = nc_feasibility(cloud, torch.arange(2).repeat_interleave(10))
print((copied.certificate[0].abs() > 1e-6).nonzero().flatten().tolist())

# %% [markdown]
# $u$ is one at sample 4, $v$ is one at sample 13, all else is zero: the point $x_4$ of the affine hull of class
# 0 *is* $x_{13}$. In general, samples with a zero entry can be left out, and the rest is infeasible still.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} How many samples fit?
# :label: ex-sf-capacity
# The inputs have 512 dimensions, and there are ten classes. Up to which $n$ can a class of pure noise
# collapse with a probability of at least 99 %? Compare with $N = d$, and with the largest number of points
# that a hyperplane separates with probability one half, $2d$. *Hint:* one line with `wendel_probability`.
# :::
#
# :::::{solution-start} ex-sf-capacity
# :class: dropdown
# :::::

# %%
fitting = [n for n in range(1, 512) if wendel_probability(10, n, 512) >= 0.99]
print(f"n = {fitting[-1]}, N = {10 * fitting[-1]}")

# %% [markdown]
# 870 samples, 1.7 times the dimension; the centre of the transition is at $n = 2d / (K+1) = 93$. In general
# $N / d \to 2K / (K+1)$, which is less than the 2 of a separating hyperplane {cite}`cover1965geometrical` and
# tends to it for many classes.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Classes of different sizes
# :label: ex-sf-imbalanced
# Where does the proof of {prf:ref}`thm-noise` use that classes are of equal size? Write down the law for
# class sizes $n_1, \dots, n_K$. In the same data, which class is the hardest to collapse? Check with sizes 4,
# 10 and 16 in 20 dimensions. *Hint:* `nc_feasibility` takes any labels.
# :::
#
# :::::{solution-start} ex-sf-imbalanced
# :class: dropdown
# :::::

# %%
sizes, dim = [4, 10, 16], 20
unequal = torch.repeat_interleave(torch.tensor(sizes))
of_sizes = shares(torch.randn(300, sum(sizes), dim, **F64), unequal)
errors = []
for size, of_size in zip(sizes, of_sizes, strict=True):
    others = sum(sizes) - size
    ways = sum(math.comb(others, i) for i in range(dim - size + 1))
    errors.append(standard_errors(of_size, ways / 2**others, 300))
claims.show("largest distance in standard errors", max(errors))
claims.show("shares of feasible classes", *of_sizes)
print("hardest:", sizes[of_sizes.argmin()])

# %% [markdown]
# Nowhere: only the size $n_k$ of the class itself and the number $m = N - n_k$ of others enter, and
# $\mathbb P = 2^{-m} \sum_{i \le d - n_k} \binom mi$. The centre is $d = \frac12 (N + n_k)$, so the *largest*
# class is the hardest to collapse.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} With a bias
# :label: ex-sf-bias
# Give every neuron a bias. Show that class $k$ of {prf:ref}`thm-easy` is still infeasible for $d < n$, and
# that it is feasible exactly if it is a face of the convex hull of all samples: some hyperplane contains the
# class and has all other samples strictly on one side. How much does the bias help in pure noise at $K = 3$,
# $n = 10$? Compare with ReLU features of noise. *Hint:* `bias=True`; $D$ ReLU features against $D - 1$
# dimensions.
# :::
#
# :::::{solution-start} ex-sf-bias
# :class: dropdown
# :::::

# %%
with_bias, of_relu = [], []
for D in (16, 18, 20):
    noise_only = torch.randn(200, K * n, D - 1, **F64)
    biased = nc_feasibility(noise_only, labels, bias=True)
    with_bias.append(float(biased.feasible[:, 0].double().mean()))
    G = torch.randn(200, D, 6, **F64)
    features = (torch.randn(200, K * n, 6, **F64) @ G.mT).relu()
    of_relu.append(float(shares(features, labels)[0]))
law = wendel_probability(K, n, [16, 18, 20])
rows = {"with a bias": with_bias, "ReLU features": of_relu, "law without": law}
claims.table(["D = 16", "D = 18", "D = 20"], rows)

# %% [markdown]
# Now $X_k \beta + s \mathbf 1 = \mathbf 1$ is solvable, by $\beta = 0$ and $s = 1$. But for $d < n$ this is
# the only solution, as $Z \beta$ is a multiple of $\mathbf 1$ only for $\beta = 0$; and it gives every other
# sample the output 1. If $\beta$ and $s$ solve it, the hyperplane $x^\top \beta = 1 - s$ contains the class
# and has the others on the side of smaller values; and from such a hyperplane one gets a solution by scaling.
#
# A bias is one dimension more, but worth several: without it the hyperplane must also leave the origin on the
# side of the others. ReLU features are noise around a mean that they share, and the direction of that mean
# plays the part of the constant input.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} All classes at once
# :label: ex-sf-joint
# {prf:ref}`thm-reduction` needs all $K$ classes. In pure noise, is a class more or less likely to be feasible
# given that another one is? Estimate both probabilities for $K = 5$, $n = 6$ at the centre of the transition.
# *Hint:* use all pairs of classes of every instance.
# :::
#
# :::::{solution-start} ex-sf-joint
# :class: dropdown
# :::::

# %%
classes = torch.arange(5).repeat_interleave(6)
cloud = torch.randn(3000, len(classes), 18, **F64)
feasible_ones = nc_feasibility(cloud, classes).feasible.double().sum(-1)
single = feasible_ones.mean() / 5
pair = (feasible_ones * (feasible_ones - 1)).mean() / 20
together = (feasible_ones == 5).double().mean()
claims.show("one, and one given another", single, pair / single)
claims.show("all five, and if they were independent", together, single**5)

# %% [markdown]
# More likely: the classes share the samples, and so the good and the bad luck. All five together are feasible
# more often, too, than the product of the single probabilities would say.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Weight decay instead
# :label: ex-sf-decay
# Networks are usually trained with a penalty on $W_1$, not on the features. Train the thirty networks of
# {numref}`fig-shallow-training` with `penalty="weights"` and compare. Can the minimiser still be exactly
# collapsed? *Hint:* what does it cost to make $\beta_k$ longer? What if the samples are orthonormal?
# :::
#
# :::::{solution-start} ex-sf-decay
# :class: dropdown
# :::::

# %%
net = ShallowNet(K, DIM_TRAIN, 60, batch_shape=(len(levels),), **START)
options = {"weight_decay": DECAY, "penalty": "weights", "steps": 6000}
watch = {"metrics": spread(clouds, labels), "every": []}
ordinary = train_shallow(net, clouds, labels, **options, **watch)
spreads_decay = ordinary["nc1"][-1].view(5, 6)
claims.show("smallest NC1", spreads_decay.min())
claims.show("median NC1 by noise", *spreads_decay.median(1).values)

# %% [markdown]
# To collapse costs weights now: $\|\beta_k\|$ enters the penalty, and a little spread that allows shorter
# weights is worth it. The features of these data come closest to collapse at the least noise, and never reach
# it. For orthonormal samples they can: then $\|H\|_F \le \|X W_1^\top\|_F \le \|W_1\|_F$, so the objective is
# at least $F$, hence at least $V$, and $\beta_k = \sum_{i \in k} x_i$ attains it. The lecture reports that
# some of the phenomena extend to {term}`weight decay`.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} No room: d = n
# :label: ex-sf-angle
# *Harder.* Two classes, means of length one at the angle $\theta$, $d = n$, $\sigma \to 0$. Show that class 1
# is feasible with a probability that tends to $\theta / 180°$. *Hints:* solve $X_1 \beta = \mathbf 1$ by
# means of $Z^{-1} \mathbf 1$. How is the direction of this vector distributed? On which side of it must
# $\mu_2$ be?
# :::
#
# :::::{solution-start} ex-sf-angle
# :class: dropdown
# :::::

# %%
cells = {"samples_per_class": 10, "generator": generator}
for degrees in (45, 90, 135):
    found = phase_map(([1.0], [1e-4]), 200, means=two_means(degrees), **cells)
    label = f"{degrees} degrees: share, and {degrees}/180"
    claims.show(label, found.per_class[0, 0], degrees / 180)

# %% [markdown]
# Let $z = Z^{-1} \mathbf 1$. As $X_1 = \mathbf 1 \mu_1^\top + \sigma Z$, the equation says
# $\sigma Z \beta = (1 - \mu_1^\top \beta) \mathbf 1$, so $\beta$ is a multiple of $z$, the one by
# $1 / (\sigma + \mu_1^\top z)$. As $\sigma \to 0$, $\beta \to z / \mu_1^\top z$. The other samples tend to
# $\mu_2$, with the output $\mu_2^\top z / \mu_1^\top z$, which is negative if $z$ has the two means on different
# sides. Rotating all rows of $Z$ rotates $z$, so its direction is uniform, and the hyperplane orthogonal to
# it separates two vectors with probability $\theta / 180°$.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} How wide for a ReLU?
# :label: ex-sf-open
# Open-ended. Behind a random ReLU layer the transition comes before $D = \frac{K+1}2 n$. Where? Measure its
# centre for $K = 2 \dots 5$ and several $n$, for noise in few and in many dimensions, and for ReLU features
# minus their expectation $\|g_q\| / \sqrt{2\pi}$, where $g_q$ is row $q$ of $G$. Can you prove a better lower
# bound than {eq}`eq-noise-law`?
# :::
#
# :::{solution} ex-sf-open
# :class: dropdown
# A start: $(t)_+ = \frac12 (t + |t|)$, one part odd and one even in the sample. Without their expectation the
# features of standard normal noise follow the law of pure noise closely; with it they behave much like noise
# in $D - 1$ dimensions with a bias.
# (Subtracting the mean of the *data* makes the samples linearly dependent, and is worse than noise.) For that
# problem the question is whether $n$ of $Kn$ Gaussian points are a face of their convex hull, the weak
# threshold of a random projection of the simplex, where the law of pure noise belongs to that of the orthant.
# Both have been computed in the language of statistical dimensions {cite}`amelunxen2014living`.
# :::
#
# ## Summary
#
# Whether a two-layer ReLU network can collapse is decided by its inputs, one linear program per class, whatever
# its width. Collapse is possible if and only if the affine hull of each class misses the cone of all other
# samples; then the minimum of the training objective is that of the positive features model, otherwise it is
# higher.
#
# Either answer has a proof that can be checked: weights, or a certificate. One minimisation finds whichever
# exists.
#
# With fewer dimensions than samples per class collapse is impossible at any noise; for linearly independent
# samples it is certain. Between, in pure noise, its probability is that of a coin-tossing sum centred at
# $d = \frac{K+1}2 n$, exactly, and for far more than Gaussian data.
#
# Means can make it easier, and cost $K - 1$ dimensions at most: the law of pure noise with so many less is a
# bound for all of them. At small noise, and with a little room, any positive distance between the ray of one
# mean and the hull of the others is enough.
#
# Training follows where the noise is small; at larger noise it often gets stuck although collapse is
# feasible. A wide random layer makes nearly all data feasible. New samples are another matter.
#
# ## Further reading
#
# The reduction to linear feasibility and the first phase diagrams are by Hong and Ling
# {cite}`hong2024beyond`. For counting regions, see Cover {cite}`cover1965geometrical` and Wendel
# {cite}`wendel1962problem`; for the conic geometry that turns such counts into phase transitions, Amelunxen,
# Lotz, McCoy and Tropp {cite}`amelunxen2014living`. Duality and Farkas' lemma are in Boyd and Vandenberghe
# {cite}`boyd2004convex`, HiGHS is described by Huangfu and Hall {cite}`huangfu2018parallelizing`.
