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
# # Deep matrix completion
#
# Somebody shows you 2000 of the 10 000 entries of a matrix and says that its rank is five. Can you fill in
# the rest? You can, with a network that has a hundred times more weights than the matrix has degrees of
# freedom, as long as it is deep, starts small, and is trained by gradient descent. Depth helps to find the
# matrix, width helps to find it fast, and both make every step expensive. *The law of parsimony* promises a
# way out: if training moves only a small piece of every layer, train that piece. For a matrix that is known
# in full the promise holds to the last digit. For one with gaps it fails, and this chapter shows why, how it
# is mended, and what remains of the savings.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** say what depth and width do for matrix completion, and show it; train a network of
# width $d$ at the cost of one of width $2 \hat r$; explain why a fixed subspace is not enough when entries
# are missing, and compute what it costs; complete a matrix of 400 million entries on a laptop; and say when
# not to use any of this.
#
# **Follows** lectures 000 and 001, *Efficient Deep Matrix Completion*; lecture 002, *Efficient Low-rank
# Training & Network Compression*, from *Deep Matrix Completion* on, and *Compressed Networks vs. Narrow
# Networks?*.
#
# **You need** singular values and projections, and the square case of the theorem in
# [The law of parsimony](law_of_parsimony.ipynb).
#
# **Time**: reading, an hour; running, a minute on two CPU cores. A GPU changes nothing.
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

import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from lecturelib import claims
from lecturelib.datasets import load
from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion import (
    Observations,
    alternating_least_squares,
    complete,
    factorize,
    low_rank_matrix,
    observe,
    soft_impute,
)
from lecturelib.device import seed_everything
from lecturelib.experiments import recorded
from lecturelib.figures import COLOURS, use_style

use_style()
torch.set_num_threads(
    1
)  # matrices this small lose more to waiting than they gain
generator = seed_everything(0)

# The last section completes these images; "mnist", "fashion_mnist" and "usps" work as well.
DATASET = "digits"
claims.strict(DATASET == "digits")

# %% [markdown]
# ## The problem, and a network for it
#
# Let $\Phi \in \mathbb R^{d \times d}$ have rank $r \ll d$, and let $\Omega$ be the set of places at which
# we see its entries, $M$ of them. A rank-$r$ matrix has $r(2d - r)$ degrees of freedom, so $M$ must be at
# least that, and there must be some entries in every row. The plan of the lectures is to write the unknown
# matrix as a deep linear network and to fit it where we see something,
#
# $$
# \ell(W_1, \dots, W_L) = \tfrac12 \sum_{(i,j) \in \Omega} \big( (W_{L:1})_{ij} - \Phi_{ij} \big)^2
#   = \tfrac12 \big\| \Omega \odot (W_{L:1} - \Phi) \big\|_F^2 ,
#   \qquad W_{L:1} = W_L \cdots W_1 .
# $$ (eq-mc-loss)
#
# (In the second form $\Omega$ is a matrix of ones and zeros and $\odot$ multiplies entry by entry.) With
# $L = 2$ and thin matrices, $W_2 \in \mathbb R^{d \times r}$, this is the classical factorisation of Burer
# and Monteiro {cite}`burer2003nonlinear`, and the rank is built in. With layers of width $d$ nothing is
# built in: for any $L$ the minimisers of {eq}`eq-mc-loss` are *all* matrices that agree with what we see, and
# almost all of them are useless. What singles out the right one can only be the way to it.
#
# The way is gradient descent from orthogonal layers, $W_l(0)^\top W_l(0) = \varepsilon^2 I$, with a small
# $\varepsilon$. Here is a problem with $d = 50$ and $r = 3$, and 25 % of its entries. `complete` keeps the
# observed entries as lists of rows, columns and values, and reports errors relative to the size of what
# they are errors of.

# %%
F64 = {"generator": generator, "dtype": torch.float64}
small = low_rank_matrix(50, 3, singular_values=[12, 10, 8], **F64)
everything = observe(small, 1.0)  # all entries, to test on
seen = observe(small, 0.25, generator)

settings = {"rank": 3, "method": "full", "test": everything, "generator": generator}
settings |= {"lr": 0.03, "scale": 0.01, "steps": 12_000, "tol": 1e-5}
run = complete(seen, small.shape, depth=3, **settings)
claims.check("completion-finds", run.test_error[-1], below=0.01)

# %% [markdown]
# 625 entries, 291 degrees of freedom, 7500 weights, and the other 1875 entries come out right. (`rank` is
# $\hat r$, a guess of the rank from above; in the full network only the compressed ones will make use of
# it.)
#
# ## What depth buys
#
# Is it the depth? Repeat with two layers, and with more or fewer entries. To be fair, both networks start
# with a product of the same size, $\varepsilon^L = 10^{-6}$.

# %%
FRACTIONS = [0.15, 0.2, 0.25, 0.3, 0.4, 0.5]
NETWORKS = {2: {"lr": 0.1, "scale": 1e-3}, 3: {"lr": 0.03, "scale": 1e-2}}
train_error, test_error = {2: [], 3: []}, {2: [], 3: []}
for fraction in FRACTIONS:
    shown = observe(small, fraction, generator)
    for depth, own in NETWORKS.items():
        run = complete(shown, small.shape, depth=depth, **settings | own)
        train_error[depth].append(run.train_error[-1].item())
        test_error[depth].append(run.test_error[-1].item())

claims.check("completion-depth", test_error[3][2:4], below=0.001)
claims.check("completion-shallow", test_error[2][2:4], above=0.01)
claims.check("completion-overfit", train_error[2], below=0.002)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-depth", "caption": "Two and three layers of width 50, a target of rank 3: error at all entries (solid) and at the observed ones (dashed) after training. From 25 % on both networks reproduce what they see; only the deeper one has found the matrix."}, "image": {"alt": "Errors on a logarithmic axis over the share of entries observed. For two layers the error at all entries falls slowly, from about one half at 15 percent to about a thousandth at 50 percent. For three layers it is as large at 15 and 20 percent, drops below a ten-thousandth at 25 percent and stays there. The errors at the observed entries are below a thousandth for two layers throughout, and for three layers from 20 percent on."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for (depth, errors), marker, colour in zip(
    test_error.items(), "os", COLOURS, strict=False
):
    ax.semilogy(
        FRACTIONS, errors, "-", marker=marker, color=colour, label=f"L = {depth}, all entries"
    )  # fmt: skip
    ax.semilogy(
        FRACTIONS, train_error[depth], "--", marker=marker, color=colour,
        markerfacecolor="white", label=f"L = {depth}, observed",
    )  # fmt: skip
ax.set(xlabel="share of entries observed", ylabel="relative error")
ax.xaxis.set_major_formatter("{x:.0%}")
ax.legend(ncols=2, loc="upper right", fontsize=8)
plt.show()

# %% [markdown]
# The two-layer network fits the observed entries and has learned something else in between: it overfits.
# Why is three better than two? Take the simplest case, in which all layers share their singular vectors and
# have one singular value $w$ in a direction $u v^\top$, so that the product has $\sigma = w^L$ there. Let
# $g = \langle -\nabla, u v^\top \rangle$ be the pull of the loss on that direction, $\nabla$ being the
# gradient with respect to the product. In the limit of small steps every layer moves by
# $\dot w = w^{L-1} g$, and so
#
# $$ \dot\sigma = L\, w^{L-1} \dot w = L\, \sigma^{2 - 2/L}\, g . $$ (eq-rich)
#
# (Arora et al. show the same for all balanced networks and all singular values, with the singular vectors
# of the product {cite}`arora2019implicit`.) What is large grows faster: the rich get richer. For $L = 2$
# the law is $\dot\sigma = 2 \sigma g$, exponential growth; when a direction has grown from $\varepsilon^2$ to
# one, another with half the pull is at $\varepsilon$. For $L = 3$ it is $\dot\sigma = 3 \sigma^{4/3} g$,
# and that explodes: $\sigma(t)^{-1/3} = \varepsilon^{-1} - g t$ reaches zero, which is infinite growth, at
# $t = 1 / (g \varepsilon)$, and a direction with half the pull has grown by a factor of eight until then
# (second exercise). The true directions pull hardest. The gaps pull as well, in many directions and less
# hard, and depth leaves these behind.
#
# ## What width buys
#
# Nothing above asked for a width of $d$; the target fits into layers of width three. `method="narrow"`
# takes layers of width $2 \hat r$, from the same kind of orthogonal start.

# %%
wanted = observe(small, 0.4, generator)
WIDTHS = [4, 6, 8, 12, 16, 24, 32, 48]
steps_needed = []
for width in WIDTHS:
    own = {"rank": width // 2, "method": "narrow", "tol": 1e-3}
    own |= {"steps": 30_000, "record_every": 10}
    run = complete(wanted, small.shape, **settings | own)
    steps_needed.append(run.steps[-1].item())
claims.check("completion-width", steps_needed[-1] / steps_needed[0], below=0.85)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-width", "caption": "Steps until three layers fit the observed entries to 0.1 %, by their width; 40 % observed, rank 3, $d = 50$, orthogonal start."}, "image": {"alt": "Steps over width, both from 4 to 48. The steps fall, not quite steadily, from about three thousand to less than two thousand."}}
fig, ax = plt.subplots(figsize=(5, 2.8))
ax.plot(WIDTHS, steps_needed, "o-")
ax.set(xlabel="width of the layers", ylabel="steps", ylim=(0, None))
plt.show()

# %% [markdown]
# Wider networks need fewer steps. The time goes into leaving the neighbourhood of zero, {eq}`eq-rich`, and
# a wide random start overlaps more with the directions that are wanted: the input direction $v_1$ of a
# singular pair reaches a layer of width $w$ with a share of about $\sqrt{w/d}$ of its length.
#
# So over-parametrisation pays, and it costs. Three layers of width $d$ have $3 d^2$ weights, and a step
# multiplies several $d \times d$ matrices, $O(L d^3)$ operations. For $d = 20\,000$ that would be 1.2
# billion weights for a matrix with 400 million entries.
#
# ## All entries known: compression for free
#
# Start with the easy case: every entry is observed, $\Omega = 1$, and we only want the factorisation. Then
# {eq}`eq-mc-loss` is the loss of the previous chapters with whitened inputs $X = I$, and the law of
# parsimony applies. Let $\hat r \ge r$, and take a $V \in \mathbb R^{d \times 2 \hat r}$ with orthonormal
# columns whose span contains the rows of $\Phi$ and the columns of $\Phi$ carried backwards by
# $W_{L:1}(0)^\top$. All that learns is inside. Put $U = \varepsilon^{-L}\, W_{L:1}(0)\, V$.
#
# :::{prf:theorem} The compressed network
# :label: thm-compressed
#
# Let all layers be $d \times d$ with $W_l(0)$ equal to $\varepsilon$ times an orthogonal matrix, let
# $\operatorname{rank} \Phi \le \hat r < d/2$, and let $\Omega = 1$. Run gradient descent with rate $\eta$ on
# the full network, and with the same $\eta$ on $2 \hat r \times 2 \hat r$ matrices
# $\widetilde W_1, \dots, \widetilde W_L$ that start at $\varepsilon I$, with the loss
# $\tfrac12 \| \widetilde W_{L:1} - U^\top \Phi V \|_F^2$. Then at all steps
#
# $$
# \big\| W_{L:1}(t) - U\, \widetilde W_{L:1}(t)\, V^\top \big\|_F = |\rho(t)|^L \sqrt{d - 2 \hat r} ,
# $$ (eq-mc-gap)
#
# where $\rho(0) = \varepsilon$ and $\rho(t+1) = \rho(t) \big( 1 - \eta\, \rho(t)^{2(L-1)} \big)$.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-parsimony`, in its square case and without weight decay, there are fixed orthogonal
# $U_l$, $V_l$ with $V_{l+1} = U_l$ in which every layer is block diagonal, $\widetilde W_l(t)$ and
# $\rho(t) I$, and in which it starts at $\varepsilon I$; any $d - 2 \hat r$ orthonormal idle directions may
# be taken for the second block, here a basis of the complement of the columns of $V$. Products of such
# layers are block diagonal as well: in the bases $U_L$, $V_1$ the end-to-end matrix has the blocks
# $\widetilde W_{L:1}$ and $\rho^L I_{d - 2 \hat r}$. The first columns of $V_1$ are $V$ and those of $U_L$
# are $\varepsilon^{-L} W_{L:1}(0) V = U$, so that $U \widetilde W_{L:1} V^\top$ is the first block and the
# gap is the second, of Frobenius norm $|\rho|^L \sqrt{d - 2 \hat r}$.
#
# It remains to see that the first blocks follow gradient descent on their own. In these bases the error
# $W_{L:1} - \Phi$ is block diagonal too: idle directions see nothing of $\Phi$, so all of $\Phi$ is in the
# first block, $U^\top \Phi V$. The gradient of layer $l$ is
# $W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l-1:1}^\top$, and its first block is made of first blocks only. It is
# the gradient of the compressed loss.
# :::
#
# With $\varepsilon = 0.1$ and $L = 3$ the gap is a thousandth of $\sqrt{d - 2\hat r}$ and shrinks. A step of
# the compressed network costs $O(L \hat r^3)$, whatever $d$ is. `factorize` runs both; given generators in
# the same state it draws the same start. We overestimate the rank, $\hat r = 8$ for $r = 5$, and look at both
# products along the way.

# %%
d, r, guess, L, eps, lr = 100, 5, 8, 3, 0.1, 0.02
STEPS = 300
known = low_rank_matrix(d, r, singular_values=[9, 8, 7, 6, 5], **F64).dense()

products, runs = {}, {}
for method in ("full", "compressed"):
    snapshots = products[method] = []
    runs[method] = factorize(
        known, rank=guess, lr=lr, depth=L, method=method, scale=eps, steps=STEPS,
        record_every=2, generator=torch.Generator().manual_seed(1),
        callback=lambda step, factors, keep=snapshots: keep.append(end_to_end(factors)),
    )  # fmt: skip

rho = [eps]
for _ in range(STEPS):
    rho.append(rho[-1] * (1 - lr * rho[-1] ** (2 * (L - 1))))
rho = torch.tensor(rho, dtype=torch.float64)
predicted = rho[::2] ** L * (d - 2 * guess) ** 0.5
gap = torch.stack(
    [(W - V).norm() for W, V in zip(*products.values(), strict=True)]
)
claims.check("completion-gap", gap / predicted, expected=1, rel=1e-10)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-gap", "caption": "All entries known. Relative errors of the full network and of its compression, and the distance between the two, relative to the target, with the formula of the theorem as dots."}, "image": {"alt": "On a logarithmic axis over 300 steps, two curves lie on each other: they stay near one, then fall in steps below a thousandth, where they part. The full network's levels off first, on a nearly horizontal line with dots that is the distance of the two; the compressed network's levels off at a third of it."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
steps = runs["full"].steps
ax.semilogy(steps, runs["full"].train_error, "-", label="full, width 100")
ax.semilogy(steps, runs["compressed"].train_error, "--", label="compressed, 16")
size = known.norm()
ax.semilogy(steps, gap / size, "-.", label="their distance")
ax.semilogy(
    steps[::10], predicted[::10] / size, "k.", markersize=4, label="formula"
)
ax.set(xlabel="step", ylabel="relative to the target")
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# :::{admonition} Slide check: how many parameters?
# :class: warning
# The slides compare $L d^2$ parameters of the original network with $L \hat r^2$ of the compressed one
# (lectures 000, 001 and 002, *The Simple Case: Deep Matrix Factorization*). The cores are
# $2 \hat r \times 2 \hat r$, as the slides themselves say a little earlier, so that they have
# $4 L \hat r^2$. And U and V must be stored as well, and once entries are missing they are trained: $4 d
# \hat r$ more. For $d = 1000$, $\hat r = 5$ and $L = 3$ these are 300 and 20 000, against 3 million.
# :::

# %%
compressed = sum(factor.numel() for factor in runs["compressed"].factors)
claims.check(
    "completion-parameters", compressed, 4 * L * guess**2 + 4 * d * guess
)

# %% [markdown]
# ## Entries missing: why the trick fails
#
# Now the same with gaps, in the setting of Kwon et al. {cite}`kwon2024efficient`: $d = 100$, $r = 5$, and
# 30 % of the entries. (Their step of 10 for the *mean* of the squares is $10/M$ for our sum.) The first
# gradient is made of $\Omega \odot \Phi$ in place of $\Phi$, and so are the subspaces in which it moves.

# %%
strengths = [19.9, 16.3, 13.8, 11.6, 9.9]
target = low_rank_matrix(d, r, singular_values=strengths, **F64)
seen, everything = observe(target, 0.3, generator), observe(target, 1.0)
M = len(seen.values)

with_zeros = torch.zeros(d, d, dtype=torch.float64)
with_zeros[seen.rows, seen.cols] = seen.values
masked_spectrum = torch.linalg.svdvals(with_zeros)
spectrum = torch.linalg.svdvals(target.dense())
claims.check("completion-rank", torch.linalg.matrix_rank(with_zeros), d)

# %% [markdown]
# A matrix with random gaps has full rank. Its leading singular vectors are close to those of $\Phi$, since
# $\Omega \odot \Phi = p\, \Phi + {}$noise, where $p$ is the share of entries observed, but they are not the
# same; and the law of parsimony, which promises that nothing else will ever move, has no idle directions to
# offer. If $U$ and $V$ stay what the start and the leading $\hat r$ singular vectors of
# $\Omega \odot \Phi$ make them, the best that any cores can do is the linear least-squares problem
#
# $$ \min_{C \in \mathbb R^{2 \hat r \times 2 \hat r}} \big\| \Omega \odot (U C V^\top - \Phi) \big\|_F . $$
#
# Train the compressed network with fixed factors ($\gamma = 0$; what $\gamma$ is comes next) and solve this
# problem for its $U$ and $V$.

# %%
common = {"rank": guess, "lr": 10 / M, "test": everything, "generator": generator}
gradient = {"factors": "gradient", "scale": 0.01}
frozen = complete(
    seen, target.shape, factor_lr_ratio=0, steps=25_000, **common, **gradient
)

V, *_, U = frozen.factors[0].mT, frozen.factors[-1]
pairs = (U[seen.rows][:, :, None] * V[seen.cols][:, None, :]).flatten(1)
best = pairs @ torch.linalg.lstsq(pairs, seen.values).solution
floor = (best - seen.values).norm() / seen.values.norm()
claims.check("completion-floor", frozen.train_error[-1] / floor, 1, rel=0.1)
claims.check("completion-stall", frozen.test_error[-1], above=0.1)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-stall", "caption": "Left: singular values of the target and of the same matrix with 70 % of the entries set to zero. Right: with fixed factors the error at the observed entries stalls where linear least squares says it must (dotted)."}, "image": {"alt": "Left, singular values on a logarithmic axis: the target has five between 9 and 20 and the rest near rounding, below the axis; the matrix with zeros has five between 3 and 7, followed by a slowly falling bulk that begins at about 3. Right, error over steps: near one at first, it falls between step five thousand and ten thousand and then stays at a little less than one half, on a dotted line."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3))
left.semilogy(range(1, d + 1), spectrum, "o", markersize=4, label=r"$\Phi$")
left.semilogy(
    range(1, d + 1), masked_spectrum, ".", label=r"$\Omega \odot \Phi$"
)
left.set(xlabel="index", ylabel="singular value", ylim=(0.03, 30), xlim=(0, 60))
left.legend()
right.plot(frozen.steps, frozen.train_error, "-", label=r"$\gamma = 0$")
right.axhline(floor, color="0.3", linestyle=":", label="least squares")
right.set(xlabel="step", ylabel="error, observed entries", ylim=(0, 1.05))
right.legend()
plt.show()

# %% [markdown]
# ## The remedy: let the factors learn, at their own rate
#
# The lectures' remedy is to train $U$ and $V$ along with the cores, with a *discrepant* rate $\gamma \eta$:
#
# $$
# W_{\text{comp}}(t) = U(t)\, \widetilde W_L(t) \cdots \widetilde W_1(t)\, V(t)^\top .
# $$ (eq-mc-comp)
#
# That leaves two questions, where to start $U$ and $V$, and which $\gamma$; and two papers answer them
# differently.
#
# Yaras et al. {cite}`yaras2023law` start from the law: $U$ and $V$ have orthonormal columns and span what
# the first step from an orthogonal start would move, the cores start at $\varepsilon I$, and there are $L$
# of them in addition to $U$ and $V$. Their $\gamma$ is 0.01 (`factors="gradient"`).
#
# Kwon et al. {cite}`kwon2024efficient` take the leading $2 \hat r$ singular vectors of
# $\frac1p\, \Omega \odot \Phi$, multiply them by $\varepsilon$ like everything else, and let them *be* the
# first and the last of the $L$ layers: a network of width $2 \hat r$ with a start that has seen the data.
# Their $\gamma$ is 1 to 5 (`factors="surrogate"`).

# %%
surrogate = {"factors": "surrogate", "scale": 0.01}
LONG = {"steps": 60_000, "tol": 2e-5}
regimes = {
    ("gradient", 0): frozen,
    ("gradient", 0.1): complete(
        seen, target.shape, factor_lr_ratio=0.1, **common, **gradient, **LONG
    ),
    ("gradient", 1): complete(
        seen, target.shape, factor_lr_ratio=1, **common, **gradient, **LONG
    ),
    ("surrogate", 1): complete(
        seen, target.shape, factor_lr_ratio=1, **common, **surrogate, **LONG
    ),
    ("surrogate", 5): complete(
        seen, target.shape, factor_lr_ratio=5, **common, **surrogate, **LONG
    ),
}
full = complete(seen, target.shape, method="full", **common, **LONG)


def steps_to(run, error):
    """First recorded step whose test error is below a level."""
    return run.steps[(run.test_error < error).nonzero()[0]].item()


moving = [run for (_, gamma), run in regimes.items() if gamma > 0]
claims.check("completion-remedy", [steps_to(run, 1e-3) for run in moving], above=0)
ahead = steps_to(full, 1e-4) / steps_to(regimes["surrogate", 5], 1e-4)
claims.check("completion-faster", ahead, above=2)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-regimes", "caption": "Test error of the compressed network in its two published forms, and of the full network (grey) from whose width it is compressed. $d = 100$, $r = 5$, $\\hat r = 8$, 30 % of the entries."}, "image": {"alt": "Two panels of test error on a logarithmic axis over 25 thousand steps. A grey curve, the full network, falls in stairs to below one ten-thousandth after about fifteen thousand steps. Left, gradient start: with gamma zero the error stays above one half; with 0.1 and with 1 it falls in stairs, a little later than the grey curve. Right, surrogate start: with gamma 1 the curve is a little to the left of the grey one, with 5 it has fallen after about four thousand steps."}}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), sharey=True, sharex=True)
for ax, form in zip(axes, ("gradient", "surrogate"), strict=True):
    ax.semilogy(full.steps, full.test_error, "-", color="0.65", linewidth=3, label="full")
    styles = iter(["-", "--", "-."])
    for (name, gamma), run in regimes.items():
        if name == form:
            ax.semilogy(
                run.steps, run.test_error, next(styles), linewidth=1.4,
                label=rf"$\gamma = {gamma}$",
            )  # fmt: skip
    ax.set(title=f"{form} start", xlabel="step", xlim=(0, 25_000), ylim=(2e-5, 2))
    ax.legend(fontsize=8)
axes[0].set_ylabel("test error")
plt.show()

# %% [markdown]
# With $\gamma > 0$ all of them find the matrix, and the surrogate start with $\gamma = 5$ does so in a third
# of the steps of the full network, each of which costs a fraction.
#
# Why does one paper want $\gamma = 0.01$ and the other $5$? Because the two numbers are not the same
# thing. Near the solution let a singular value of the product be $\sigma$. In the gradient form $U$ has
# orthonormal columns, and a change $\delta$ of a column that belongs to $\sigma$ changes the product by
# $\sigma \delta$: the loss curves like $p\, \sigma^2$ in this direction, and errors in it shrink by a factor
# $1 - \gamma \eta\, p\, \sigma^2$ per step. In the surrogate form $U$ is one layer among $L$ and has the
# size $\sigma^{1/L}$; the same change of the product is $\sigma^{1 - 1/L}\, \delta$, and the factor is
# $1 - \gamma \eta\, p\, \sigma^{2 - 2/L}$. A $\gamma$ of the second kind does what
#
# $$ \gamma_{\text{gradient}} = \sigma^{-2/L}\, \gamma_{\text{surrogate}} $$ (eq-mc-gamma)
#
# does in the first. The larger the matrix, the larger $\sigma$ and the smaller the $\gamma$ of the first
# kind. In the experiment of Yaras et al., with $d = 1000$, 20 % of the entries, $\varepsilon = 10^{-3}$ and
# a rate of 5000 on the mean over all entries, it is 0.01. That run takes the better part of an hour
# and is recorded:

# %%
record = recorded("completion-regimes")
published = {(row["setting"], row["gamma"]): row for row in record.values}
last = {name: row["test_error"][-1] for name, row in published.items()}
claims.check("completion-yaras", last["Yaras", 0.01], below=1e-3)
claims.check("completion-yaras-frozen", last["Yaras", 0], above=0.01)
claims.check("completion-kwon", [last["Kwon", g] for g in (1, 2, 5)], below=1e-4)

# %% [markdown]
# :::{admonition} Slide check: which γ?
# :class: warning
# The slides give the remedy with a discrepant rate $\gamma \eta$ and no value (*From Deep Matrix
# Factorization to Completion?*). The papers behind them use 0.01 and 1 to 5, for two different starts, of
# which one has $L$ layers and the other $L + 2$. By {eq}`eq-mc-gamma` these do not contradict each other,
# and neither number may be carried over to the other form.
# :::
#
# ## Not the same as a narrow network
#
# A network of width $2 \hat r$ is what we train in the end. Could we have started with one? The surrogate
# form with $\gamma = 1$ and a narrow network of three layers have exactly the same weights and steps; only
# the start differs, singular vectors of what is seen against random ones.

# %%
narrow = complete(seen, target.shape, method="narrow", scale=0.01, **common, **LONG)
times_slower = steps_to(narrow, 1e-3) / steps_to(regimes["surrogate", 1], 1e-3)
claims.check("completion-narrow", times_slower, above=1.3)
behind_full = steps_to(narrow, 1e-3) / steps_to(full, 1e-3)
claims.check("completion-narrow-full", behind_full, above=1.2)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-narrow", "caption": "Three networks with the same $L = 3$ and the same rate: width 100 from a random start, width 16 from a random start, and width 16 from the start that the data suggest ($\\gamma = 1$)."}, "image": {"alt": "Test error on a logarithmic axis over 25 thousand steps. All three curves descend in stairs to one ten-thousandth; the compressed network arrives first, after about thirteen thousand steps, the full one soon after, the narrow one last, after more than twenty thousand."}}
fig, ax = plt.subplots(figsize=(6, 3))
for label, run, style in (
    ("full", full, "-"),
    ("narrow", narrow, "--"),
    ("compressed", regimes["surrogate", 1], "-."),
):
    ax.semilogy(run.steps, run.test_error, style, label=label)
ax.set(xlabel="step", ylabel="test error", ylim=(2e-5, 2), xlim=(0, 25_000))
ax.legend()
plt.show()

# %% [markdown]
# The narrow network is slower than both, its full-width cousin included. That is the lectures' answer: no,
# over-parametrised networks are easier to train. The compressed network keeps the ease, because a start of
# width $d$ always contains the directions that are wanted and we have looked up which they are.
#
# ## The cost of a step
#
# What have we saved? {eq}`eq-mc-comp` is a $d \times d$ matrix, and the published implementations multiply
# it out in every step, $O(d^2 \hat r)$ operations and memory for $d^2$ numbers. There is no need: the loss
# wants $M$ entries of it. Write $E$ for the sparse matrix of the errors at these entries, $E_{ij} =
# u_i^\top C v_j - \Phi_{ij}$ for $(i, j) \in \Omega$, where $u_i$ and $v_j$ are rows of $U$ and $V$ and $C
# = \widetilde W_{L:1}$. All gradients come from two products of $E$ with thin matrices,
#
# $$
# \nabla_U = (E V)\, C^\top , \qquad \nabla_V = (E^\top U)\, C , \qquad \nabla_C = U^\top (E V) ,
# $$ (eq-mc-sparse)
#
# and those of the cores from $\nabla_C$ by the chain rule, as in any deep linear network. That is
# $O(M \hat r + d \hat r^2 + L \hat r^3)$ operations, and no memory of size $d^2$. In code, for one core:

# %%
def sampled_step(V, C, U, seen, lr, gamma):
    """One step of the compressed network, from the observed entries alone."""
    error = ((U @ C)[seen.rows] * V[seen.cols]).sum(1) - seen.values
    places = torch.stack([seen.rows, seen.cols])
    E = torch.sparse_coo_tensor(
        places, error, (len(U), len(V)), check_invariants=True
    )
    on_V, on_U = E @ V, E.mT @ U
    return (
        V - gamma * lr * on_U @ C,
        C - lr * U.mT @ on_V,
        U - gamma * lr * on_V @ C.mT,
    )


starting = []
one = complete(
    seen, target.shape, factor_lr_ratio=5, scale=1.0, steps=1, **common,
    callback=lambda step, factors: starting.append([F.clone() for F in factors]),
)  # fmt: skip
first, core, last_layer = starting[0]
V, C, U = sampled_step(first.mT, core, last_layer, seen, 10 / M, 5)
differences = [
    (ours - theirs).abs().max()
    for ours, theirs in zip((V.mT, C, U), one.factors, strict=True)
]
claims.check("completion-step", torch.stack(differences), below=1e-12)

# %% [markdown]
# With a fixed number of entries per row, $M = 200\, d$ here ($40\, r$ of them), a step should cost time
# proportional to $d$. The figure measures it, next to the full network as far as that goes, and shows the
# record of a run with $d$ up to 20 000: a matrix with 400 million entries.

# %%
scale_record = recorded("completion-scale").values
claims.check(
    "completion-scale", [row["test_error"] for row in scale_record], below=1e-3
)
claims.check(
    "completion-memory", [row["gigabytes"] for row in scale_record], below=8
)


def seconds_per_step(dim, method, steps):
    large = low_rank_matrix(dim, r, **F64)
    sample = observe(large, 200 / dim, generator)
    run = complete(
        sample, large.shape, rank=r, lr=1e-9, method=method, steps=steps,
        record_every=1, generator=generator,
    )  # fmt: skip
    return run.seconds.diff().median().item()


thin = {dim: seconds_per_step(dim, "compressed", 10) for dim in (500, 1000, 2000, 4000)}
thick = {dim: seconds_per_step(dim, "full", 3) for dim in (250, 500, 1000)}

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-cost", "caption": "Seconds per step over $d$, $L = 3$, $r = 5$, 200 observed entries per row: measured while this page was made (markers), and in the recorded run (crosses), with lines of slope one and three."}, "image": {"alt": "Seconds per step over d on logarithmic axes. Circles for the compressed network between d of 500 and 4000 and crosses up to 20 thousand lie along a line of slope one, from about a millisecond to less than a tenth of a second. Squares for the full network between 250 and 1000 rise along a line of slope three and are already higher at 1000 than the compressed network at 10 thousand."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
ax.loglog(*zip(*thin.items(), strict=True), "o", label="compressed")
ax.loglog(*zip(*thick.items(), strict=True), "s", label="full")
ax.loglog(
    [row["dim"] for row in scale_record],
    [row["seconds"] / row["steps"] for row in scale_record],
    "kx", label="compressed, recorded",
)  # fmt: skip
for times, power in ((thin, 1), (thick, 3)):
    anchor = list(times)[-1]
    ends = np.array([anchor / 8, anchor * (5 if power == 1 else 2)])
    ax.loglog(
        ends, times[anchor] * (ends / anchor) ** power, ":", color="0.4", linewidth=1
    )  # fmt: skip
ax.set(xlabel="$d$", ylabel="seconds per step")
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: O(Ld)?
# :class: warning
# *Complexity: original network $O(Ld^2)$ vs compressed network $O(Ld)$*, say the slides. As numbers of
# parameters these are $L d^2$ and $4 d \hat r + 4 L \hat r^2$: the factor $L$ does not multiply $d$. As
# operations per step they are $O(L d^3)$ and, if only observed entries are computed,
# $O(M \hat r + d \hat r^2 + L \hat r^3)$. With the product multiplied out it would be $O(d^2 \hat r)$.
# :::
#
# ## When not to use it
#
# Matrix completion is old, and deep networks are not its standard tool. Two others deserve a look.
# *Alternating least squares* fixes one of two thin factors and solves for the other, row by row, a small
# linear system each {cite}`koren2009matrix`. *Soft-impute* minimises the nuclear norm, a convex problem: fill
# the gaps with the current estimate, shrink the singular values by $\lambda$, repeat
# {cite}`mazumder2010spectral`. Both see the same entries.

# %%
als = alternating_least_squares(
    seen, target.shape, rank=r, steps=40, test=everything, generator=generator
)
convex = soft_impute(
    seen, target.shape, rank=4 * r, penalty=0.01, decay=0.97, steps=2000,
    record_every=20, test=everything, generator=generator,
)  # fmt: skip
claims.check("completion-als", steps_to(als, 1e-4), below=40)
claims.check("completion-convex", convex.test_error[-1], above=1e-3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-peers", "caption": "Test error over wall time, measured while this page was made: full network, compressed network (surrogate start, $\\gamma = 5$), alternating least squares, soft-impute."}, "image": {"alt": "Test error over seconds on logarithmic axes. Alternating least squares falls below one ten-thousandth after less than a hundredth of a second. The compressed network gets there after a few tenths of a second, the full network after several seconds. Soft-impute falls quickly at first and then levels off near one hundredth."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
for label, run, style in (
    ("full", full, "-"),
    ("compressed", regimes["surrogate", 5], "-."),
    ("alternating least squares", als, "--"),
    ("soft-impute", convex, ":"),
):
    ax.loglog(run.seconds, run.test_error, style, label=label)
ax.set(xlabel="seconds", ylabel="test error", ylim=(2e-6, 2), xlim=(3e-4, 20))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# If all you want is the matrix, and you know its rank, solve for it: alternating least squares needs a
# dozen rounds, and each costs about as much as a few steps of gradient descent. The convex program needs no
# rank and no start, and pays with more entries: at 30 % its minimiser is not yet the target. What the
# deep network has to offer is something else. It found the rank by itself ({numref}`fig-mc-depth`, at full
# width), and it is the simplest model in which one can see why networks with more weights than data find
# simple solutions, and how to train them for less.
#
# ## A real matrix
#
# The pixels of handwritten digits, one image per row, half of them missing. This matrix has no rank to
# speak of: its singular values decay, and that is all. What does the low-rank bias make of it? We keep the
# missing pixels as a test set, and compare depths.

# %%
images = load(DATASET).inputs.flatten(1).double()
visible = observe(images, 0.5, generator)
hidden = torch.ones(images.shape, dtype=torch.bool)
hidden[visible.rows, visible.cols] = False
missing = Observations(*hidden.nonzero().mT, images[hidden])

share, top = 0.5, torch.linalg.matrix_norm(images, 2).item()
fits = {}
for depth, steps in ((2, 600), (3, 3000)):
    fits[depth] = complete(
        visible, images.shape, rank=10, depth=depth, scale=0.1, steps=steps,
        lr=0.5 / (depth * share * top ** (2 - 2 / depth)), test=missing,
        record_every=50, generator=generator,
    )  # fmt: skip
seen_mean = images.masked_fill(hidden, 0).sum(0) / (~hidden).sum(0).clamp(min=1)
baseline = (seen_mean[missing.cols] - missing.values).norm() / missing.values.norm()
lowest = {depth: fit.test_error.min() for depth, fit in fits.items()}
claims.check("completion-digits", max(lowest.values()) / baseline, below=0.95)
rises = [fit.test_error[-1] / fit.test_error.min() for fit in fits.values()]
claims.check("completion-digits-overfit", rises, above=1.02)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-digits", "caption": "Rows of the pixel matrix as images: whole, with half of the pixels missing (grey), filled with the pixel's mean, and completed by two and by three layers (at the step of the smallest test error)."}, "image": {"alt": "Five rows of eight small images of digits. First row, the digits 0 to 7. Second row, the same with half of the pixels replaced by grey. Third row, missing pixels filled with a common blurred value: the digits are barely recognisable. Fourth and fifth row, completions in which the digits can be read, with noise around the strokes, a little less in the fourth row."}}
best = {}
for depth in fits:
    steps = int(fits[depth].steps[fits[depth].test_error.argmin()])
    best[depth] = complete(
        visible, images.shape, rank=10, depth=depth, scale=0.1, steps=steps,
        lr=0.5 / (depth * share * top ** (2 - 2 / depth)),
        record_every=steps, generator=generator,
    ).dense()  # fmt: skip
rows = {
    "whole": images,
    "seen": images.masked_fill(hidden, torch.nan),
    "mean": torch.where(hidden, seen_mean.expand_as(images), images),
    "L = 2": torch.where(hidden, best[2], images),
    "L = 3": torch.where(hidden, best[3], images),
}
side = round(images.shape[1] ** 0.5)
greys = plt.get_cmap("gray").with_extremes(bad="0.55")
fig, axes = plt.subplots(5, 8, figsize=(6.4, 4.2))
for line, (name, matrix) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, matrix[:8], strict=True):
        ax.imshow(image.view(side, side), cmap=greys, vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# All of it beats the pixel's mean, and nothing is exact, as there is nothing exact to find. The test error
# falls and rises again: with real data one stops early. And depth is no virtue here. Three layers prefer few
# singular values to many, {eq}`eq-rich`, and handwriting has many; two layers keep more of them. A bias helps
# where it is true.
#
# ## Exercises
#
# :::{exercise} Counting
# :label: ex-mc-count
# How many numbers determine a $d \times d$ matrix of rank $r$? What is the smallest share of entries from
# which one could hope to recover a matrix with $d = 100$ and $r = 5$? Why must every row have at least $r$
# observed entries?
#
# *Hint.* Write the matrix as $A B^\top$. Which changes of $A$ and $B$ leave it as it is?
# :::
#
# :::{solution} ex-mc-count
# :class: dropdown
# $A$ and $B$ have $2dr$ numbers, and $A G$, $B G^{-\top}$ give the same product for any invertible
# $r \times r$ matrix $G$: $2dr - r^2 = r(2d - r)$ remain. For $d = 100$, $r = 5$ that is 975, 9.75 % of the
# entries. Suppose you knew $B$ exactly. Row $i$ of the matrix is $B a_i$ with $r$ unknowns in $a_i$, and each
# observed entry of the row is one equation; with fewer than $r$ the row is not determined. Entries drawn at
# random leave some rows with few, so that in practice more are needed than the count says.
# :::
#
# :::{exercise} The rich get richer
# :label: ex-mc-rich
# Solve {eq}`eq-rich` with a constant pull $g$ and start $\sigma(0) = \varepsilon^L$, for $L = 2$ and for
# $L \ge 3$. Two directions have the pulls $g$ and $g/2$. How far has the second come when the first is of
# size one ($L = 2$), or grows without bounds ($L \ge 3$)?
#
# *Hint.* What is the derivative of $\sigma^{-1 + 2/L}$?
# :::
#
# :::{solution} ex-mc-rich
# :class: dropdown
# $L = 2$: $\sigma = \varepsilon^2 e^{2gt}$. The first is one when $e^{2gt} = \varepsilon^{-2}$; the second is
# then $\varepsilon^2 e^{gt} = \varepsilon$, the geometric mean of start and end. $L \ge 3$:
# $\frac{d}{dt} \sigma^{-1+2/L} = -(1 - \frac2L)\, \sigma^{-2 + 2/L}\, \dot\sigma = -(L - 2)\, g$, so
# $\sigma^{-1+2/L} = \varepsilon^{2-L} - (L-2)\, g t$, which reaches zero at $t = \varepsilon^{2-L} / ((L-2)
# g)$. With half the pull, half of $\varepsilon^{2-L}$ is left at that time, and
# $\sigma = 2^{L/(L-2)}\, \varepsilon^L$: eight times the start for $L = 3$, four times for $L = 4$. For
# $L = 2$ it was $\varepsilon^{-1}$ times.
# :::
#
# :::{exercise} What is stored
# :label: ex-mc-storage
# Count the parameters of the full network, of both compressed forms and of the narrow network, for
# $d = 1000$, $\hat r = 5$ and $L = 3$. By how much does each grow with a fourth layer?
# :::
#
# :::{solution} ex-mc-storage
# :class: dropdown
# Full: $L d^2$, 3 million; a million more. Gradient form: $L$ cores of $2 \hat r \times 2 \hat r$ and two
# factors, $4 L \hat r^2 + 4 d \hat r = 300 + 20\,000$; 100 more. Surrogate form and narrow network: the factors
# are two of the layers, $4 (L - 2) \hat r^2 + 4 d \hat r = 100 + 20\,000$; 100 more. Depth is nearly free in
# all but the first.
# :::
#
# :::{exercise} Guessing the rank
# :label: ex-mc-guess
# Complete the matrix of {numref}`fig-mc-regimes` ($r = 5$, surrogate start, $\gamma = 5$) with
# $\hat r = 2, 3, 5$ and 20. Which succeed? Why does one with $\hat r < r$?
# :::
#
# :::::{solution-start} ex-mc-guess
# :class: dropdown
# :::::

# %%
for rank in (2, 3, 5, 20):
    own = common | surrogate | {"rank": rank, "steps": 10_000, "tol": 1e-4}
    run = complete(seen, target.shape, factor_lr_ratio=5, **own)
    print(rank, "found:", bool(run.test_error[-1] < 1e-3))

# %% [markdown]
# The width is $2 \hat r$, and for a matrix of rank five it must be at least five: $\hat r = 3$ has room, with
# width six, $\hat r = 2$ has not. A guess from above does no harm beyond its cost: small singular values that
# nothing pulls at stay small.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Spikes
# :label: ex-mc-spike
# Add 100 to the entry $(0, 0)$ of the target, which raises the rank by one, and complete it from 60 % of the
# entries, with that entry among the hidden ones. What happens, and which assumption have we not
# mentioned? Would more entries help?
# :::
#
# :::::{solution-start} ex-mc-spike
# :class: dropdown
# :::::

# %%
more = observe(target, 0.6, generator)
others = (more.rows + more.cols) > 0
more = Observations(*(part[others] for part in more))
corner = torch.tensor([0])
run = complete(
    more, target.shape, rank=guess, lr=10 / len(more.values), factor_lr_ratio=5,
    **surrogate, tol=1e-5, generator=generator,
)  # fmt: skip
estimate = run.predict(corner, corner)
print("the entry without the spike:", bool((estimate - target.predict(corner, corner)).abs() < 0.01))

# %% [markdown]
# The result is the matrix without the spike, which fits all that is seen. A singular vector that lives on
# one entry is seen there or nowhere. Guarantees for completion therefore assume *incoherence*: singular
# vectors that are spread out, as random ones are. Only observing that very entry would help.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Noise
# :label: ex-mc-noise
# Add Gaussian noise of standard deviation 0.1 to the observed entries (which are of size 0.3) and train for
# 10 000 steps with $\gamma = 5$ and $\hat r = 8$. How do the errors at observed and at all entries develop?
# Where would you stop, not knowing the truth?
# :::
#
# :::::{solution-start} ex-mc-noise
# :class: dropdown
# :::::

# %%
noise = 0.1 * torch.randn(M, **F64)
noisy = Observations(seen.rows, seen.cols, seen.values + noise)
run = complete(
    noisy, target.shape, factor_lr_ratio=5, steps=10_000, **common, **surrogate
)
print("training error still falls:", bool(run.train_error[-1] < run.train_error[60]))
print("test error rises:", bool(run.test_error[-1] > 1.1 * run.test_error.min()))

# %% [markdown]
# First the network finds the matrix, then it fits the noise: width 16 has room for it. Keep some of the
# observed entries aside, and stop where the error on them is smallest. Or take a $\hat r$ that leaves less
# room, if you know one.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} An empty row
# :label: ex-mc-empty
# Remove all observations from row 7. What does the library say, and what does the completed matrix have in
# that row? Explain from {eq}`eq-mc-sparse` why it must be so.
# :::
#
# :::::{solution-start} ex-mc-empty
# :class: dropdown
# :::::

# %%
import warnings

kept = seen.rows != 7
without = Observations(*(part[kept] for part in seen))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run = complete(
        without, target.shape, factor_lr_ratio=5, steps=5000, **common, **surrogate
    )
print(caught[-1].message)
print("row 7 is zero:", bool(run.dense()[7].abs().max() < 1e-6))

# %% [markdown]
# Row 7 of $E$ is zero, hence that of $E V$, hence that of $\nabla_U$: row 7 of $U$ never moves. It starts at
# zero as well, being that of singular vectors of a matrix whose row 7 is zero.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} A better γ
# :label: ex-mc-open
# Open-ended. Both papers keep $\gamma$ fixed. What would you do in the gradient form, where
# {eq}`eq-mc-gamma` makes a good $\gamma$ depend on $\sigma$, which is not known, and on how far the training is?
# Try your idea for $d = 100$ and 400, and report steps to a test error of $10^{-4}$ over ten seeds, next to
# $\gamma = 0.01$, 0.1 and 1.
# :::
#
# :::{solution} ex-mc-open
# :class: dropdown
# Three directions. Estimate $\sigma$ from the largest singular value of $\Omega \odot \Phi$ divided by $p$, and
# take $\gamma = \sigma^{-2/L}$. Or normalise the factors: after every step, move the scale of $U$ and $V$ into
# the cores by a QR decomposition, so that $U$ stays orthonormal and steps with the natural rate
# $1 / \sigma_i^2$ per column make sense. Or make the rate grow once the cores have converged. A fair
# comparison gives each method its best $\eta$ too, and reports where methods diverge.
# :::
#
# ## Summary
#
# A deep linear network, trained by gradient descent from a small start on the observed entries alone, finds
# a low-rank matrix with no rank built in; three layers do it from entries from which two overfit. Wider
# layers leave the start sooner.
#
# With all entries known, training a $d$-wide network is the same as training one of width $2 \hat r$, up to
# exactly $\rho(t)^L \sqrt{d - 2\hat r}$.
#
# With entries missing there is no fixed subspace: frozen factors stall at a least-squares floor. Factors that
# learn, with a rate of their own, mend it. The two published choices of that rate belong to two forms of the
# network and are not comparable as numbers.
#
# The start matters, not the width: a narrow network with a random start is slower than the full one, and the
# same network with a start taken from the data is faster.
#
# If only observed entries are computed, a step costs time proportional to their number. Where the matrix is
# the goal, alternating least squares is still much faster.
#
# ## Further reading
#
# Burer and Monteiro introduced the factorised form {cite}`burer2003nonlinear`. Arora, Cohen, Hu and Luo study
# depth in matrix completion {cite}`arora2019implicit`. The compressed networks are from Yaras et al.
# {cite}`yaras2023law` and Kwon et al. {cite}`kwon2024efficient`. On the convex side, see Mazumder, Hastie and
# Tibshirani {cite}`mazumder2010spectral` and Candès and Recht, who showed when nuclear-norm minimisation is
# exact {cite}`candes2009exact`.
