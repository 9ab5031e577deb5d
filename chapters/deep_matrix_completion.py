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
# the rest? You can, with a network that has thirty times more weights than the matrix has degrees of
# freedom, as long as it is deep, starts small, and is trained by gradient descent. Depth helps to find the
# matrix, width helps to find it fast, and both make every step expensive. *The law of parsimony* promises a
# way out: if training moves only a small piece of every layer, train that piece. For a matrix that is known
# in full the promise holds, up to an error that can be written down. For one with gaps it fails, and this
# chapter shows why, how it is mended, and what remains of the savings.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** say what depth and width do for {term}`matrix completion`, and show it; train a network of
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

import warnings

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
from lecturelib.figures import COLOURS, use_style
from lecturelib.records import recorded

use_style()
# Matrices this small lose more to waiting than they gain.
torch.set_num_threads(1)
generator = seed_everything(0)

# The last section completes these images; "mnist", "fashion_mnist" and "usps" work as well.
DATASET = "digits"
claims.strict(DATASET == "digits")

# %% [markdown]
# (sec-mc-problem)=
# ## The problem, and a network for it
#
# Let $\Phi \in \mathbb R^{d \times d}$ have rank $r \ll d$, and let $\Omega$ be the set of places at which
# we see its entries, $M$ of them. A rank-$r$ matrix has $r(2d - r)$ degrees of freedom, so $M$ must be at
# least that, with at least $r$ entries in every row and column ({ref}`first exercise <ex-mc-count>`). The plan
# of the lectures is to write the unknown matrix as a {term}`deep linear network`, $W_{L:1} = W_L \cdots W_1$,
# and to fit it where we see something,
#
# $$
# \begin{aligned}
# \ell(W_1, \dots, W_L)
#   &= \tfrac12 \sum_{(i,j) \in \Omega} \big( (W_{L:1})_{ij} - \Phi_{ij} \big)^2 \\
#   &= \tfrac12 \big\| \Omega \odot (W_{L:1} - \Phi) \big\|_F^2 .
# \end{aligned}
# $$ (eq-mc-loss)
#
# (In the second form $\Omega$ is a matrix of ones and zeros and $\odot$ multiplies entry by entry.) With
# $L = 2$ and thin matrices, $W_2 \in \mathbb R^{d \times r}$, this is the classical factorisation of Burer
# and Monteiro {cite}`burer2003nonlinear`, and the rank is built in. With layers of width $d$ nothing is
# built in: for any $L$ the products at the minimisers of {eq}`eq-mc-loss` are *all* matrices that agree with
# what we see, and almost all of them are useless. What singles out the right one can only be the way to it.
#
# The way is gradient descent from orthogonal layers, $W_l(0)^\top W_l(0) = \varepsilon^2 I$ (or
# $W_l(0) W_l(0)^\top = \varepsilon^2 I$, if the layer has fewer rows than columns), with a small
# $\varepsilon$. Here is a problem with $d = 50$ and $r = 3$, and 30 % of its entries.
#
# `complete` takes the observed entries as lists of rows, columns and values. `lr` is the rate $\eta$ for the
# sum in {eq}`eq-mc-loss`, `scale` is $\varepsilon$, `rank` is $\hat r$, a guess of the rank from above, which
# the full network ignores. It stops after `steps`, or once the error at the observed entries is below
# `tol`, records every 100 steps, and reports errors as the norm of the difference over the norm of the
# truth, at the observed entries (`run["train_error"]`) and at those of `test` (`run["test_error"]`).

# %%
F64 = {"generator": generator, "dtype": torch.float64}
small = low_rank_matrix((50, 50), 3, singular_values=[12, 10, 8], **F64)
# All entries, to test on.
everything = observe(small, 1.0)
seen = observe(small, 0.3, generator=generator)

settings = {"rank": 3, "method": "full", "lr": 0.03, "scale": 0.01}
settings |= {"steps": 12_000, "tol": 1e-5, "test": everything}
settings |= {"generator": generator}
run = complete(seen, small.shape, depth=3, **settings)


def error(run):
    """Relative error at the test entries when the run ended."""
    return run["test_error"][-1].item()


large_start = complete(seen, small.shape, depth=3, **settings | {"scale": 1.0})
claims.check("completion-finds", error(run), below=0.001, control=error(large_start))

# %% [markdown]
# 750 entries, 291 degrees of freedom, 7500 weights, and the other 1750 entries come out right.
#
# (sec-mc-depth)=
# ## What depth buys
#
# Is it the depth? Repeat with two layers, and with more or fewer entries. To be fair, both networks start
# with a product of the same size, $\varepsilon^L = 10^{-6}$.

# %%
FRACTIONS = [0.15, 0.2, 0.25, 0.3, 0.4, 0.5]
NETWORKS = {2: {"lr": 0.1, "scale": 1e-3}, 3: {"lr": 0.03, "scale": 1e-2}}
train_error, test_error = {2: [], 3: []}, {2: [], 3: []}
for fraction in FRACTIONS:
    shown = observe(small, fraction, generator=generator)
    for depth, own in NETWORKS.items():
        run = complete(shown, small.shape, depth=depth, **settings | own)
        train_error[depth].append(run["train_error"][-1].item())
        test_error[depth].append(error(run))

two, three = test_error[2], test_error[3]
claims.check("completion-depth", three[2:4], below=0.002, control=two[2:4])
claims.check("completion-shallow", two[2], above=0.01, control=three[2])
not_fitted = train_error[3][0]
claims.check("completion-overfit", train_error[2], below=5e-4, control=not_fitted)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-depth", "caption": "Two and three layers of width 50, a target of rank 3: error at all entries (solid) and at the observed ones (dashed) after training. From 25 % on both networks reproduce what they see, and the deeper one is much closer to the matrix. Runs that do not reach a training error of $10^{-5}$ end after 12 000 steps."}, "image": {"alt": "Errors on a logarithmic axis over the share of entries observed. For two layers the error at all entries falls slowly, from about one half at 15 percent to about a thousandth at 50 percent. For three layers it is larger than that at 15 percent, drops by orders of magnitude by 25 percent and stays low. The errors at the observed entries are below a thousandth for two layers throughout, and for three layers from 20 percent on."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for depth, marker, colour in zip(NETWORKS, "os", COLOURS, strict=False):
    look = {"marker": marker, "color": colour}
    label = f"L = {depth}, all entries"
    ax.semilogy(FRACTIONS, test_error[depth], "-", **look, label=label)
    look |= {"markerfacecolor": "white", "label": f"L = {depth}, observed"}
    ax.semilogy(FRACTIONS, train_error[depth], "--", **look)
ax.set(xlabel="share of entries observed", ylabel="relative error")
ax.xaxis.set_major_formatter("{x:.0%}")
ax.legend(ncols=2, loc="upper right", fontsize=8)
plt.show()

# %% [markdown]
# The two-layer network fits the observed entries and has learned something else in between: it overfits. From
# 15 % neither finds the matrix. From 20 % it depends on which entries are seen: draw them five times.

# %%
found = {2: 0, 3: 0}
for _ in range(5):
    shown = observe(small, 0.2, generator=generator)
    for depth, own in NETWORKS.items():
        run = complete(shown, small.shape, depth=depth, **settings | own)
        found[depth] += error(run) < 0.001
claims.check("completion-draws", found[3], above=0, below=5, control=found[2])

# %% [markdown]
# Why is three better than two? Take the simplest case. The left singular vectors of each layer are the right
# ones of the next, so that products multiply singular values; in one direction, $u$ on the left of the product
# and $v$ on its right, all layers have the same singular value $s$ and the product has $\sigma = s^L$; and the
# gradient $\nabla$ of the loss with respect to the product is diagonal in these bases, with
# $g = -u^\top \nabla v$, the pull of the loss on this direction. In the limit of small steps every layer moves
# by $\dot s = s^{L-1} g$, and so
#
# $$ \dot\sigma = L\, s^{L-1} \dot s = L\, \sigma^{2 - 2/L}\, g . $$ (eq-rich)
#
# (Arora et al. show the same for all {term}`balanced <balancedness>` networks, with the singular vectors of
# the product {cite}`arora2019implicit`.) What is large grows faster: the rich get richer. Let two directions
# start at $\varepsilon^L$ and pull with constant $g$ and $\kappa g$, $\kappa < 1$. For $L = 2$ the law is
# $\dot\sigma = 2 \sigma g$, exponential growth, and when the first direction is of size one, the second is at
# $\varepsilon^{2 (1 - \kappa)}$. For $L = 3$ it is $\dot\sigma = 3 \sigma^{4/3} g$, and that explodes:
# $\sigma(t)^{-1/3} = \varepsilon^{-1} - g t$ reaches zero, which is infinite growth, at
# $t = 1 / (g \varepsilon)$, and until then the second direction has grown by the factor $(1 - \kappa)^{-3}$, a
# constant ({ref}`second exercise <ex-mc-rich>`). What the gaps add pulls in many directions, less hard than
# the target, and depth leaves it behind.
#
# (sec-mc-width)=
# ## What width buys
#
# Nothing above asked for a width of $d$; the target fits into layers of width three. `method="narrow"`
# takes layers of width $2 \hat r$, from the same kind of orthogonal start.

# %%
wanted = observe(small, 0.4, generator=generator)
WIDTHS = [4, 6, 8, 12, 16, 24, 32, 48]


def steps_for(width):
    """Steps until layers of this width fit what is seen."""
    own = {"rank": width // 2, "method": "narrow", "tol": 1e-3}
    own |= {"steps": 30_000, "every": 10}
    run = complete(wanted, small.shape, **settings | own)
    return run.steps[-1].item()


steps_needed = [steps_for(width) for width in WIDTHS]
fewer = steps_needed[-1] / steps_needed[0]
again = steps_for(4) / steps_needed[0]
claims.check("completion-width", fewer, below=0.65, control=again)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-width", "caption": "Steps until three layers fit the observed entries to 0.1 %, by their width; 40 % observed, rank 3, $d = 50$, orthogonal start."}, "image": {"alt": "Steps over width, from 4 to 48. From the smallest to the largest width the steps fall to about half."}}
fig, ax = plt.subplots(figsize=(5, 2.8))
ax.plot(WIDTHS, steps_needed, "o-")
ax.set(xlabel="width of the layers", ylabel="steps", ylim=(0, None))
plt.show()

# %% [markdown]
# Wider networks need fewer steps, at the same rate $\eta$. A wide random start overlaps more with the
# directions that are wanted: the first layer, with $w$ orthogonal rows in a random position, passes on the
# share $w/d$ of the squared length of a given input direction, on average over starts. What it does not pass
# on it has to learn.
#
# So over-parametrisation pays, and it costs. Three layers of width $d$ have $3 d^2$ weights, and a step
# multiplies several $d \times d$ matrices, $O(L d^3)$ operations. For $d = 20\,000$ that would be 1.2
# billion weights for a matrix with 400 million entries. {numref}`fig-mc-cost` measures it.
#
# (sec-mc-compression)=
# ## All entries known: what compression costs
#
# Start with the easy case: every entry is observed, $\Omega = 1$, and we only want the factorisation. Then
# {eq}`eq-mc-loss` is the loss of the previous chapters with {term}`whitened` inputs $X = I$, and the law of
# parsimony applies: input directions that $\Phi$ does not see, and that the start does not carry to where
# $\Phi$ points, never learn. All that learns is in the complement.
#
# :::{prf:theorem} The compressed network
# :label: thm-compressed
#
# Let $L \ge 2$, let all layers be $d \times d$ with $W_l(0)$ equal to $\varepsilon > 0$ times an orthogonal
# matrix, let $\operatorname{rank} \Phi \le \hat r < d/2$, and let $\Omega = 1$. Let
# $V \in \mathbb R^{d \times 2 \hat r}$ have orthonormal columns whose span contains the row space of $\Phi$
# and the image of its column space under $W_{L:1}(0)^\top$, and let $U = \varepsilon^{-L}\, W_{L:1}(0)\, V$.
# Run gradient descent with rate $\eta$ on the full network, and with the same $\eta$ on
# $2 \hat r \times 2 \hat r$ matrices $\widetilde W_1, \dots, \widetilde W_L$ that start at $\varepsilon I$, with
# the loss $\tfrac12 \| \widetilde W_{L:1} - U^\top \Phi V \|_F^2$. Then for $t = 0, 1, 2, \dots$
#
# $$
# \big\| W_{L:1}(t) - U\, \widetilde W_{L:1}(t)\, V^\top \big\|_F = |\rho(t)|^L \sqrt{d - 2 \hat r} ,
# $$ (eq-mc-gap)
#
# where $\rho(0) = \varepsilon$ and $\rho(t+1) = \rho(t) \big( 1 - \eta\, \rho(t)^{2(L-1)} \big)$.
# :::
#
# :::{prf:proof}
# Let the columns of $V_\perp$ complete those of $V$ to an orthonormal basis. They are $d - 2 \hat r$ {term}`idle
# directions <idle direction>`: $\Phi V_\perp = 0$ and $\Phi^\top W_{L:1}(0) V_\perp = 0$. By the proof of
# {prf:ref}`thm-parsimony`, in its square case and without weight decay, which takes any orthonormal idle
# directions, there are fixed orthogonal $U_l$, $V_l$ with $V_{l+1} = U_l$ and $V_1 = [V, V_\perp]$ in which
# every layer is block diagonal, $U_l^\top W_l(t) V_l = \operatorname{diag}(B_l(t), \rho(t) I)$, with
# $B_l(0) = \varepsilon I$. Products of such layers are block diagonal as well,
# $U_L^\top W_{L:1} V_1 = \operatorname{diag}(B_{L:1}, \rho^L I_{d - 2 \hat r})$, and
# $U_L = \varepsilon^{-L} W_{L:1}(0) V_1 = [U, U_\perp]$. So $W_{L:1} - U B_{L:1} V^\top =
# \rho^L\, U_\perp V_\perp^\top$, which has the norm on the right of {eq}`eq-mc-gap`.
#
# It remains to see that $B_l = \widetilde W_l$ at all steps. Both start at $\varepsilon I$. Since
# $\Phi V_\perp = 0$ and $U_\perp^\top \Phi = 0$, the error $W_{L:1} - \Phi$ is block diagonal in these bases
# too, with first block $B_{L:1} - U^\top \Phi V$. The gradient of layer $l$ is
# $W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l-1:1}^\top$; its first block is made of first blocks only, and is the
# gradient of the compressed loss at $B_1, \dots, B_L$. Equal matrices thus take equal steps.
# :::
#
# With $\varepsilon = 0.1$ and $L = 3$ the gap is a thousandth of $\sqrt{d - 2\hat r}$ and shrinks, too slowly
# to see. A step of the {term}`compressed network` costs $O(L \hat r^3)$, whatever $d$ is. (That is no way to save
# work here: $V$ takes an SVD of $\Phi$, after which there is nothing left to find. It says what to aim for.)
# `factorize` runs both networks; given generators in the same state it draws the same start. At every record
# it calls each function in `metrics` with the matrices as they are: here `end_to_end`, which multiplies them. We
# overestimate the rank, $\hat r = 8$ for $r = 5$, and look at both products along the way.

# %%
d, r, guess, L, eps, lr = 100, 5, 8, 3, 0.1, 0.02
STEPS = 300
known = low_rank_matrix((d, d), r, singular_values=[9, 8, 7, 6, 5], **F64).dense()

own = {"rank": guess, "lr": lr, "depth": L, "scale": eps}
own |= {"steps": STEPS, "every": 2, "metrics": {"product": end_to_end}}
runs = {
    method: factorize(
        known, method=method, **own, generator=torch.Generator().manual_seed(1)
    )
    for method in ("full", "compressed")
}

rho = [eps]
for _ in range(STEPS):
    rho.append(rho[-1] * (1 - lr * rho[-1] ** (2 * (L - 1))))
rho = torch.tensor(rho, dtype=torch.float64)
predicted = rho[::2] ** L * (d - 2 * guess) ** 0.5
gap = (runs["full"]["product"] - runs["compressed"]["product"]).norm(dim=(1, 2))
# With r̂ directions that learn in place of 2r̂.
nearest = rho[::2] ** L * (d - guess) ** 0.5
claims.check("completion-gap", gap / predicted, 1, rel=1e-10, control=gap / nearest)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-gap", "caption": "All entries known. Relative errors of the full network and of its compression, and the distance between the two, relative to the target, with the formula of the theorem as dots."}, "image": {"alt": "On a logarithmic axis over 300 steps, two curves lie on each other: they stay near one, then fall in steps below a thousandth, where they part. The full network's levels off first, on a nearly horizontal line with dots that is the distance of the two; the compressed network's levels off at a third of it."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
steps = runs["full"].steps
ax.semilogy(steps, runs["full"]["train_error"], "-", label="full, width 100")
ax.semilogy(steps, runs["compressed"]["train_error"], "--", label="compressed, 16")
size = known.norm()
ax.semilogy(steps, gap / size, "-.", label="their distance")
ax.semilogy(steps[::10], predicted[::10] / size, "k.", markersize=4, label="formula")
ax.set(xlabel="step", ylabel="relative to the target")
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# The compressed network levels off as well: of its $2 \hat r = 16$ directions the target uses five, the others
# start with $\varepsilon^3$ in the product, and nothing brings them to zero soon.
#
# :::{admonition} Slide check: how many parameters?
# :class: warning slide-check
# :name: slide-check-mc-parameters
# The slides compare $L d^2$ parameters of the original network with $L \hat r^2$ of the compressed one
# (lectures 000, 001 and 002, *The Simple Case: Deep Matrix Factorization*). The cores are
# $2 \hat r \times 2 \hat r$, as the slides themselves say a little earlier, so that they have
# $4 L \hat r^2$. And $U$ and $V$ must be stored as well, and once entries are missing they are trained: $4 d
# \hat r$ more. For $d = 1000$, $\hat r = 5$ and $L = 3$ these are 300 and 20 000, against 3 million.
# :::

# %%
compressed = sum(factor.numel() for factor in runs["compressed"].factors)
claims.check("completion-parameters", compressed, 4 * L * guess**2 + 4 * d * guess)

# %% [markdown]
# (sec-mc-missing)=
# ## Entries missing: why the trick fails
#
# Now the same with gaps, in the setting of Kwon et al. {cite}`kwon2024efficient`: $d = 100$, $r = 5$, and
# 30 % of the entries, with five singular values spread over the upper part of the spectrum of a Gaussian
# matrix of this size. (Their step of 10 for half the *mean* of the squares is $10/M$ for half their sum. They
# know the rank; we go on guessing $\hat r = 8$.) The first gradient is made of $\Omega \odot \Phi$ in place of
# $\Phi$, and so are the subspaces in which it moves.

# %%
strengths = [19.9, 16.3, 13.8, 11.6, 9.9]
target = low_rank_matrix((d, d), r, singular_values=strengths, **F64)
seen = observe(target, 0.3, generator=generator)
everything = observe(target, 1.0)
M = len(seen)


def with_zeros(observed):
    """The matrix that has zeros where nothing was observed."""
    matrix = torch.zeros(d, d, dtype=torch.float64)
    matrix[observed.rows, observed.cols] = observed.values
    return matrix


left_target, spectrum, _ = torch.linalg.svd(target.dense())


def lengths_kept(observed):
    """Length of the target's left singular vectors in the span of the observed ones."""
    left, _, _ = torch.linalg.svd(with_zeros(observed))
    return (left[:, :r].mT @ left_target[:, :r]).norm(dim=0)


masked_spectrum = torch.linalg.svdvals(with_zeros(seen))
rank = torch.linalg.matrix_rank
claims.check("completion-rank", rank(with_zeros(seen)), d, control=rank(target.dense()))
lengths = lengths_kept(seen)
most = lengths_kept(observe(target, 0.99, generator=generator))
claims.check("completion-turned", lengths.min(), below=0.93, control=most.min())
claims.show("lengths kept", *lengths)

# %% [markdown]
# The matrix with gaps has full rank. Write $\Omega \odot \Phi = p\, \Phi + N$, where $p$ is the share of
# entries observed and $N$ is noise. The strongest singular vectors survive it better than the weakest (`lengths`
# has the length of each left singular vector of $\Phi$ within the span of the leading five of
# $\Omega \odot \Phi$). Worse, directions do not
# stay idle. The proof of the law needs $(W_{L:1} - \Phi)\, v = \rho^L v'$ for an idle $v$ and its image $v'$;
# now the error is $\Omega \odot (W_{L:1} - \Phi)$, and its product with $v$ points anywhere.
#
# If $U$ and $V$ nevertheless stay what the start and the leading $\hat r$ singular vectors of
# $\Omega \odot \Phi$ make them, the product of the cores can be any matrix $C$, but none is better than the
# solution of a linear least-squares problem,
#
# $$ \min_{C \in \mathbb R^{2 \hat r \times 2 \hat r}} \big\| \Omega \odot (U C V^\top - \Phi) \big\|_F . $$
#
# Train the compressed network with fixed factors ($\gamma = 0$; what $\gamma$ is comes next) and solve this
# problem for its $U$ and $V$.

# %%
common = {"rank": guess, "lr": 10 / M, "test": everything}
common |= {"generator": generator}
gradient = {"start": "gradient", "scale": 0.01}
own = {"factor_lr_ratio": 0, "steps": 25_000}
frozen = complete(seen, target.shape, **own, **common, **gradient)


def least_squares(U, V):
    """The smallest error at the observed entries between fixed factors."""
    pairs = (U[seen.rows][:, :, None] * V[seen.cols][:, None, :]).flatten(1)
    fitted = pairs @ torch.linalg.lstsq(pairs, seen.values).solution
    return (fitted - seen.values).norm() / seen.values.norm()


reached = frozen["train_error"][-1]
floor = least_squares(frozen.factors[-1], frozen.factors[0].mT)
elsewhere = least_squares(*torch.randn(2, d, 2 * guess, **F64))
above_floor, above_other = reached / floor, reached / elsewhere
claims.check("completion-floor", above_floor, 1, rel=0.1, control=above_other)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-stall", "caption": "Left: singular values of the target and of the same matrix with 70 % of the entries set to zero. Right: with fixed factors the error at the observed entries stalls just above what linear least squares allows (dotted)."}, "image": {"alt": "Left, singular values on a logarithmic axis: the target has five between 9 and 20 and the rest near rounding, below the axis; the matrix with zeros has five between 3 and 7, followed by a slowly falling bulk that begins at about 3. Right, error over steps: near one at first, it descends in stairs and ends a little above a dotted line near 0.4."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3))
left.semilogy(range(1, d + 1), spectrum, "o", markersize=4, label=r"$\Phi$")
left.semilogy(range(1, d + 1), masked_spectrum, ".", label=r"$\Omega \odot \Phi$")
left.set(xlabel="index", ylabel="singular value", ylim=(0.03, 30), xlim=(0, 60))
left.legend()
right.plot(frozen.steps, frozen["train_error"], "-", label=r"$\gamma = 0$")
right.axhline(floor, color="0.3", linestyle=":", label="least squares")
right.set(xlabel="step", ylabel="error, observed entries", ylim=(0, 1.05))
right.legend()
plt.show()

# %% [markdown]
# (sec-mc-remedy)=
# ## The remedy: let the factors learn, at their own rate
#
# The lectures' remedy is to train $U$ and $V$ along with the cores, with a
# *{term}`discrepant <discrepant learning rate>`* rate $\gamma \eta$:
#
# $$
# W_{\text{comp}}(t) = U(t)\, \widetilde W_k(t) \cdots \widetilde W_1(t)\, V(t)^\top .
# $$ (eq-mc-comp)
#
# That leaves the number $k$ of cores, where to start $U$ and $V$, and which $\gamma$; and two papers answer
# differently.
#
# Yaras et al. {cite}`yaras2023law` start from the law: $U$ and $V$ have orthonormal columns and span what
# the first step from an orthogonal start would move, the cores start at $\varepsilon I$, and there are $k = L$ of
# them in addition to $U$ and $V$. Their $\gamma$ is 0.01 (`start="gradient"`). At the rate of this section
# that would be slow; we take 0.1 and 1.
#
# Kwon et al. {cite}`kwon2024efficient` take the leading $2 \hat r$ singular vectors of
# $\frac1p\, \Omega \odot \Phi$, multiply them by $\varepsilon$ like everything else, and let them *be* the
# first and the last of the $L$ layers, so that $k = L - 2$: a network of width $2 \hat r$ with a start that
# has seen the data. Their $\gamma$ is 1 to 5 (`start="surrogate"`).

# %%
surrogate = {"start": "surrogate", "scale": 0.01}
LONG = {"steps": 60_000, "tol": 2e-5}
regimes = {("gradient", 0): frozen}
for form, gammas in ((gradient, (0.1, 1)), (surrogate, (1, 5))):
    for gamma in gammas:
        own = common | form | LONG | {"factor_lr_ratio": gamma}
        regimes[form["start"], gamma] = complete(seen, target.shape, **own)
full = complete(seen, target.shape, method="full", **common, **LONG)


def until(run, goal, unit="steps"):
    """Steps (or seconds) to the first record with a smaller test error."""
    first = (run["test_error"] < goal).nonzero()
    when = run.steps if unit == "steps" else run[unit]
    return when[first[0]].item() if len(first) else float("inf")


mended = [error(run) for (_, gamma), run in regimes.items() if gamma > 0]
claims.check("completion-stall", error(frozen), above=0.3, control=mended)
claims.check("completion-remedy", mended, below=1e-3, control=error(frozen))
fast, slow = regimes["surrogate", 5], regimes["surrogate", 1]
ahead, hardly = (until(full, 1e-4) / until(run, 1e-4) for run in (fast, slow))
claims.check("completion-faster", ahead, above=2.3, control=hardly)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-regimes", "caption": "Test error of the compressed network in its two published forms, and of the full network (grey) from whose width it is compressed. $d = 100$, $r = 5$, $\\hat r = 8$, 30 % of the entries."}, "image": {"alt": "Two panels of test error on a logarithmic axis over 25 thousand steps. A grey curve, the full network, falls in stairs to below one ten-thousandth. Left, gradient start: with gamma zero the error stays above one half; with 0.1 and with 1 it falls in stairs, a little later than the grey curve. Right, surrogate start: with gamma 1 the curve is a little to the left of the grey one, with 5 it falls far earlier."}}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), sharey=True, sharex=True)
grey = {"color": "0.65", "linewidth": 3, "label": "full"}
for ax, form in zip(axes, ("gradient", "surrogate"), strict=True):
    ax.semilogy(full.steps, full["test_error"], "-", **grey)
    styles = iter(["-", "--", "-."])
    for (name, gamma), run in regimes.items():
        if name == form:
            look = {"linewidth": 1.4, "label": rf"$\gamma = {gamma}$"}
            ax.semilogy(run.steps, run["test_error"], next(styles), **look)
    ax.set(title=f"{form} start", xlabel="step", xlim=(0, 25_000), ylim=(2e-5, 2))
    ax.legend(fontsize=8)
axes[0].set_ylabel("test error")
plt.show()

# %% [markdown]
# With $\gamma > 0$ all of them find the matrix. Here are the two settings as they were published (up to the
# singular values), each with its own form and $\hat r = r = 5$: Kwon et al. as above; Yaras et al. with
# $d = 1000$, 20 % of the entries, $\varepsilon = 10^{-3}$, and a rate of 5000 for half the mean over *all*
# entries, 0.005 for our sum. That takes most of an hour on one core, and is recorded.

# %%
record = recorded("completion-regimes")
published = {(row["setting"], row["gamma"]): row for row in record.values}
last = {name: row["test_error"][-1] for name, row in published.items()}
with_gamma, without = last["Yaras", 0.01], last["Yaras", 0]
claims.check("completion-yaras", with_gamma, below=1e-3, control=without)
claims.check("completion-yaras-frozen", without, above=0.2, control=with_gamma)
by_kwon = [last["Kwon", gamma] for gamma in (1, 2, 5)]
claims.check("completion-kwon", by_kwon, below=1e-4, control=error(frozen))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-published", "caption": "The two published settings at full scale. Left, gradient start, $d = 1000$, 20 % of the entries. Right, surrogate start, $d = 100$, 30 %. (The run with $\\gamma = 0$ went on to 170 000 steps without change.)"}, "image": {"alt": "Two panels of test error on a logarithmic axis over steps. Left, with gamma zero the error descends in a few stairs to about one quarter and stays there; with 0.01 it descends in similar stairs and then drops below one part in a hundred thousand. Right, curves for gamma 1, 2 and 5 descend in stairs below one ten-thousandth, the sooner the larger gamma is."}}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), sharey=True)
for ax, setting in zip(axes, ("Yaras", "Kwon"), strict=True):
    styles = iter(["-", "--", "-."])
    for (name, gamma), row in published.items():
        if name == setting:
            label = rf"$\gamma = {gamma}$"
            ax.semilogy(row["steps"], row["test_error"], next(styles), label=label)
    ax.set(title=f"{setting} et al.", xlabel="step", ylim=(1e-6, 2))
    ax.legend(fontsize=8)
axes[0].set_xlim(0, 80_000)
axes[0].set_ylabel("test error")
plt.show()

# %% [markdown]
# Why does one paper want $\gamma = 0.01$ and the other up to 5? Near the solution, let a singular value of the
# product be $\sigma$, made of a size $a$ in $U$, the same in $V$, and $c$ in each of the $k$ cores:
# $\sigma = a^2 c^k$. A change $\delta$ of $U$ in this direction changes the product by $(\sigma / a)\, \delta$,
# one of a core by $(\sigma / c)\, \delta$, and of the square of that the loss sees the share $p$, on average
# over masks. Gradient descent is stable only as long as rate times curvature, added up over all factors, is
# below two, on average; for a given mask the limit is somewhat lower.
#
# $$ \eta\, p\, \sigma^2 \Big( \frac{2 \gamma}{a^2} + \frac{k}{c^2} \Big) < 2 . $$ (eq-mc-stable)
#
# How $\sigma$ is shared between factors and cores is decided by the start. Along gradient flow
# $\frac1\gamma U^\top U - \widetilde W_k \widetilde W_k^\top$ does not change: both $U^\top \nabla_U$ and
# $\nabla_{\widetilde W_k} \widetilde W_k^\top$ are $U^\top \nabla V \widetilde W_1^\top \cdots
# \widetilde W_k^\top$, with $\nabla$ the gradient with respect to the product. If the cores stay equal in size
# and all singular vectors aligned, that is an equation for each singular value:
# $a^2 = \varepsilon^2 + \gamma (c^2 - \varepsilon^2)$ in the surrogate form,
# $a^2 = 1 + \gamma (c^2 - \varepsilon^2)$ in the gradient form. Solve for $c$, and evaluate the left side of
# {eq}`eq-mc-stable` for the largest singular values of the two settings, $1.99 \sqrt d$:


# %%
def rate_times_curvature(sigma, p, rate, gamma, form, eps, L=3):
    """The sum that must be below two, for one singular value."""
    k, start = (L, 1.0) if form == "gradient" else (L - 2, eps**2)
    low, high = 0.0, sigma  # bisection for the size c of the cores
    for _ in range(100):
        c = (low + high) / 2
        a2 = start + gamma * (c**2 - eps**2)
        low, high = (c, high) if a2 * c**k < sigma else (low, c)
    return rate * p * sigma**2 * (2 * gamma / a2 + k / c**2)


yaras = {"sigma": 62.9, "p": 0.2, "rate": 0.005, "eps": 1e-3}
kwon = {"sigma": 19.9, "p": 0.3, "rate": 10 / M, "eps": 1e-2}
for gamma in (0.01, 0.1, 1):
    value = rate_times_curvature(**yaras, gamma=gamma, form="gradient")
    claims.show(f"Yaras et al., γ = {gamma}", value)
for gamma in (1, 2, 5):
    value = rate_times_curvature(**kwon, gamma=gamma, form="surrogate")
    claims.show(f"Kwon et al., γ = {gamma}", value)

# %% [markdown]
# At the rate of Yaras et al. $\gamma = 0.01$ uses nearly half of what is stable, most of it in the cores, and
# $\gamma = 1$ would be far beyond the limit. The rate of Kwon et al. leaves room for a large $\gamma$, and
# something to gain by it.
#
# To check the explanation, run the gradient form on our small problem with the rate at which its cores alone
# use as much as those of Yaras et al., $\eta\, p\, \sigma^{2 - 2/L}$ equal in both. Now $\gamma = 1$ should fail
# there as well.

# %%
in_cores = [case["p"] * case["sigma"] ** (4 / 3) for case in (yaras, kwon)]
faster = yaras["rate"] * in_cores[0] / in_cores[1]
here = kwon | {"rate": faster, "form": "gradient"}
sums = {g: rate_times_curvature(**here, gamma=g) for g in (0.01, 0.1, 1)}
claims.check("completion-stable", [sums[0.01], sums[0.1]], below=2)
claims.check("completion-unstable", sums[1], above=2)


def gradient_form(gamma):
    """Test error that the gradient form reaches at the higher rate."""
    own = common | gradient | {"lr": faster, "steps": 15_000, "tol": 2e-4}
    try:
        return error(complete(seen, target.shape, factor_lr_ratio=gamma, **own))
    except FloatingPointError:  # diverged
        return float("inf")


reached = [gradient_form(gamma) for gamma in (0.01, 0.1)]
beyond = [gradient_form(1) for start in range(3)]
claims.check("completion-gamma-small", reached, below=0.01, control=beyond)
lost, kept = (sum(e > 0.1 for e in errors) for errors in (beyond, reached))
claims.check("completion-gamma-large", lost, 3, control=kept)

# %% [markdown]
# :::{admonition} Slide check: which γ?
# :class: warning slide-check
# :name: slide-check-mc-rate
# The slides give the remedy with a discrepant rate $\gamma \eta$ and no value (*From Deep Matrix
# Factorization to Completion?*). The papers behind them use 0.01 and 1 to 5. They do not contradict each
# other: they differ in the form of the network, one with $L$ cores and orthonormal factors, the other with
# $L$ layers in all, and in how close $\eta$ is to its limit. Neither number may be carried over.
# :::
#
# And is it $\gamma$ that makes the surrogate form three times faster than the full network? With $\gamma = 5$
# two of its three layers have five times the rate. Give both networks ten times the published rate instead,
# which is near their limit, and the compressed one $\gamma = 1$:

# %%
near_limit = common | surrogate | LONG | {"lr": 100 / M, "every": 20}
tuned = {
    method: complete(seen, target.shape, method=method, **near_limit)
    for method in ("full", "compressed", "narrow")
}
steps_tuned = {method: until(run, 1e-4) for method, run in tuned.items()}
ratio = steps_tuned["full"] / steps_tuned["compressed"]
claims.check("completion-tuned", ratio, below=1.4, control=ahead)

# %% [markdown]
# Both need ten times fewer steps than with $\gamma = 1$ before, and the compressed network hardly fewer than
# the full one. What compression saves is the cost of each step.
#
# (sec-mc-narrow)=
# ## Not the same as a narrow network
#
# A network of width $2 \hat r$ is what we train in the end. Could we have started with one? The surrogate
# form with $\gamma = 1$ and a narrow network of three layers have weights of the same shapes and take the same
# steps; only the start differs, singular vectors of what is seen against random ones.

# %%
own = common | LONG | {"method": "narrow"}
narrow = complete(seen, target.shape, scale=0.01, **own)
larger = complete(seen, target.shape, scale=0.03, **own)
steps_narrow, steps_larger, steps_full, steps_start = (
    until(run, 1e-3) for run in (narrow, larger, full, slow)
)
times, other = steps_narrow / steps_start, steps_larger / steps_start
claims.check("completion-narrow", times, above=1.3, control=other)
times, other = steps_narrow / steps_full, steps_larger / steps_full
claims.check("completion-narrow-full", times, above=1.2, control=other)
ahead, other = steps_full / steps_start, steps_full / steps_narrow
claims.check("completion-start", ahead, above=1, control=other)
larger = complete(
    seen, target.shape, **near_limit | {"method": "narrow", "scale": 0.03}
)
steps_compressed = steps_tuned["compressed"]
times, other = steps_tuned["narrow"] / steps_compressed, until(larger, 1e-4)
claims.check(
    "completion-narrow-tuned", times, above=1.3, control=other / steps_compressed
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-narrow", "caption": "Three networks with the same $L = 3$ and the same rate: width 100 from a random start, width 16 from a random start, and width 16 from the start that the data suggest ($\\gamma = 1$)."}, "image": {"alt": "Test error on a logarithmic axis over steps. All three curves descend in stairs to one ten-thousandth; the compressed network arrives first, the full one soon after, the narrow one last, after about twice as many steps."}}
fig, ax = plt.subplots(figsize=(6, 3))
for label, run, style in (
    ("full", full, "-"),
    ("narrow", narrow, "--"),
    ("compressed", slow, "-."),
):
    ax.semilogy(run.steps, run["test_error"], style, label=label)
ax.set(xlabel="step", ylabel="test error", ylim=(2e-5, 2), xlim=(0, 32_000))
ax.legend()
plt.show()

# %% [markdown]
# From a start of the same size $\varepsilon$ the narrow network is slower than both, its full-width cousin
# included, and stays behind the compressed one at the higher rate too. That is the lectures' answer: no,
# over-parametrised networks are easier to train. A random start of width $d$ contains all directions that are
# wanted; the compressed network has looked up which they are. The answer holds at equal $\varepsilon$ only:
# the controls start the narrow network at $3 \varepsilon$, and it is no longer behind.
#
# (sec-mc-cost)=
# ## The cost of a step
#
# How much is saved? {eq}`eq-mc-comp` is a $d \times d$ matrix, and the code published with both papers
# multiplies it out in every step, $O(d^2 \hat r)$ operations and memory for $d^2$ numbers. There is no need:
# the loss wants $M$ entries of it. Write $E$ for the sparse matrix of the errors at these entries, $E_{ij} =
# u_i^\top C v_j - \Phi_{ij}$ for $(i, j) \in \Omega$, where $u_i$ and $v_j$ are rows of $U$ and $V$ and
# $C = \widetilde W_k \cdots \widetilde W_1$. All gradients come from two products of $E$ with thin matrices,
#
# $$
# \begin{gathered}
# \nabla_U = (E V)\, C^\top , \qquad \nabla_V = (E^\top U)\, C , \\
# \nabla_C = U^\top (E V) ,
# \end{gathered}
# $$ (eq-mc-sparse)
#
# and those of the cores from $\nabla_C$ by the chain rule, as in any deep linear network. That is
# $O(M \hat r + d \hat r^2 + L \hat r^3)$ operations, and no memory of size $d^2$. (In small matrices it takes
# longer to look entries up than to multiply: up to about $d = 500$ the library multiplies out, if enough of
# them are seen.) In code, for one core:


# %%
def sampled_step(V, C, U, seen, lr, gamma):
    """One step of the compressed network, from the observed entries alone."""
    error = ((U @ C)[seen.rows] * V[seen.cols]).sum(1) - seen.values
    places = torch.stack([seen.rows, seen.cols])
    size = len(U), len(V)
    E = torch.sparse_coo_tensor(places, error, size, check_invariants=True)
    on_V, on_U = E @ V, E.mT @ U
    return (
        V - gamma * lr * on_U @ C,
        C - lr * U.mT @ on_V,
        U - gamma * lr * on_V @ C.mT,
    )


starting = []
one = complete(
    seen,
    target.shape,
    **common | surrogate | {"scale": 1.0},
    factor_lr_ratio=5,
    steps=1,
    every=1,
    metrics={"start": lambda chain: starting.extend(F.clone() for F in chain)},
)
first, core, last_layer = starting[:3]


def distance(gamma):
    """Largest difference between our step and that of the library, whose γ is 5."""
    V, C, U = sampled_step(first.mT, core, last_layer, seen, 10 / M, gamma)
    pairs = zip((V.mT, C, U), one.factors, strict=True)
    return max((ours - theirs).abs().max().item() for ours, theirs in pairs)


claims.check("completion-step", distance(5), below=1e-12, control=distance(4.9))

# %% [markdown]
# With 200 entries per row on average, $M = 200\, d$, a step should cost time proportional to $d$. The figure
# measures it, next to the full network as far as that goes, and shows the record of runs with $d$ up to
# 20 000: a matrix with 400 million entries. The conditions of these runs are kind: equal singular values, a
# known rank $\hat r = r = 5$, $\varepsilon = 0.3$, half the limiting rate, and for the largest matrix twenty
# times more entries than degrees of freedom.

# %%
scale_record = recorded("completion-scale").values
errors = [row["test_error"] for row in scale_record]
gigabytes = [row["gigabytes"] for row in scale_record]
# Hardly more entries than degrees of freedom.
medium = low_rank_matrix((500, 500), r, **F64)
few = observe(medium, 10 / 500, generator=generator)
lr = 1 / (3 * (10 / 500) * (500 / r**0.5) ** (4 / 3))
own = {"rank": r, "lr": lr, "scale": 0.3, "steps": 300, "generator": generator}
too_few = complete(few, medium.shape, test=observe(medium, 1.0), **own)
claims.check("completion-scale", errors, below=1e-3, control=error(too_few))
three_layers = 3 * 8 * scale_record[-1]["dim"] ** 2 / 2**30
claims.check("completion-memory", gigabytes, below=4, control=three_layers)


def seconds_per_step(dim, method, steps):
    large = low_rank_matrix((dim, dim), r, **F64)
    sample = observe(large, 200 / dim, generator=generator)
    own = {"rank": r, "lr": 1e-9, "method": method, "generator": generator}
    run = complete(sample, large.shape, steps=steps, every=1, **own)
    return run["seconds"].diff().median().item()


thin = {
    dim: seconds_per_step(dim, "compressed", 10) for dim in (1000, 2000, 4000, 8000)
}
thick = {dim: seconds_per_step(dim, "full", 3) for dim in (250, 500, 1000)}
largest = scale_record[-1]
print(
    f"d = {largest['dim']}: {largest['seconds']:.0f} s on one core,"
    f" {largest['gigabytes']:.1f} GB"
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-cost", "caption": "Seconds per step over $d$, $L = 3$, $r = 5$, 200 observed entries per row: measured while this page was made (circles and squares), with lines of slope one and three. Crosses: recorded runs, their whole time including the start, divided by the steps."}, "image": {"alt": "Seconds per step over d on logarithmic axes. Circles for the compressed network between d of 1000 and 8000 lie near a line of slope one, and crosses up to 20 thousand near a parallel. Squares for the full network between 250 and 1000 rise near a line of slope three, far above."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
ax.loglog(*zip(*thin.items(), strict=True), "o", label="compressed")
ax.loglog(*zip(*thick.items(), strict=True), "s", label="full")
dims = [row["dim"] for row in scale_record]
per_step = [row["seconds"] / row["steps"] for row in scale_record]
ax.loglog(dims, per_step, "kx", label="compressed, recorded")
for times, power in ((thin, 1), (thick, 3)):
    anchor = list(times)[-1]
    ends = np.array([anchor / 8, anchor * (5 if power == 1 else 2)])
    line = times[anchor] * (ends / anchor) ** power
    ax.loglog(ends, line, ":", color="0.4", linewidth=1)
ax.set(xlabel="$d$", ylabel="seconds per step")
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: O(Ld)?
# :class: warning slide-check
# :name: slide-check-mc-cost
# *Complexity: original network $O(Ld^2)$ vs compressed network $O(Ld)$*, say the slides. Parameters were
# counted above: the factor $L$ does not multiply $d$. As operations per step the two are $O(L d^3)$ and, if
# only observed entries are computed, $O(M \hat r + d \hat r^2 + L \hat r^3)$. With the product multiplied out
# it would be $O(d^2 \hat r)$.
# :::
#
# ## When not to use it
#
# Matrix completion is old, and deep networks are not its standard tool. Two others deserve a look.
# *Alternating least squares* fixes one of two thin factors and solves for the other, row by row, a small
# linear system each {cite}`koren2009matrix`; here it is told the rank, five. *Soft-impute* minimises half the
# squared error plus $\lambda$ times the nuclear norm, a convex problem: fill the gaps with the current
# estimate, shrink the singular values by $\lambda$, repeat {cite}`mazumder2010spectral`. (Its `rank` only caps
# how many singular values are kept, with room to spare; $\lambda$ falls to `penalty` by the factor `continuation`
# per step.) Let them see the same 30 %, and then what the first sentence of this chapter promised, 20 %.

# %%
alone = {"test": everything, "generator": generator}
als = alternating_least_squares(seen, target.shape, rank=r, steps=40, **alone)
misled = alternating_least_squares(seen, target.shape, rank=guess, steps=40, **alone)
shrink = {"penalty": 0.01, "continuation": 0.97, "steps": 1500}
convex = soft_impute(seen, target.shape, rank=40, every=20, **shrink, **alone)
claims.check("completion-als", until(als, 1e-4), below=30, control=until(misled, 1e-4))
slower, never = (
    until(tuned["compressed"], 1e-4, "seconds") / until(run, 1e-4, "seconds")
    for run in (als, convex)
)
claims.check("completion-als-time", slower, above=1, control=never)

less = observe(target, 0.2, generator=generator)
rate = {"lr": 50 / M, "steps": 20_000, "tol": 1e-4}
on_less = {
    method: complete(less, target.shape, method=method, **common | surrogate | rate)
    for method in ("full", "compressed")
}
networks = [error(run) for run in on_less.values()]
own = {"rank": r, "penalty": 0.1, "steps": 300}
als_less = alternating_least_squares(less, target.shape, **own, **alone)
convex_less = soft_impute(less, target.shape, rank=60, every=100, **shrink, **alone)
fits = convex_less["train_error"][-1]
strong = shrink | {"penalty": 1.0}
too_strong = soft_impute(less, target.shape, rank=60, every=100, **strong, **alone)
loose = too_strong["train_error"][-1]
claims.check("completion-fifth", networks, below=0.01, control=error(convex_less))
claims.check(
    "completion-fifth-als", error(als_less), below=0.2, control=error(convex_less)
)
claims.check("completion-convex-fits", fits, below=0.02, control=loose)
claims.check("completion-convex", error(convex_less), above=0.1, control=networks)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-peers", "caption": "Test error over wall time with 30 % of the entries, measured while this page was made: full and compressed network at ten times the published rate, alternating least squares, soft-impute."}, "image": {"alt": "Test error over seconds on logarithmic axes. Alternating least squares falls below one ten-thousandth first by a wide margin, then the compressed network, then the full one. Soft-impute starts to fall early but slowly, and is far from there when it ends."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
for label, run, style in (
    ("full", tuned["full"], "-"),
    ("compressed", tuned["compressed"], "-."),
    ("alternating least squares", als, "--"),
    ("soft-impute", convex, ":"),
):
    ax.loglog(run["seconds"], run["test_error"], style, label=label)
ax.set(xlabel="seconds", ylabel="test error", ylim=(2e-6, 2))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# If all you want is the matrix, and you know its rank, solve for it: alternating least squares needs a
# dozen rounds and a fraction of the time. The convex program needs no rank and no start, and pays with
# entries: from 20 % of them its solution is another matrix, which fits what is seen, while the networks still
# find $\Phi$. Alternating least squares comes close to it with a penalty as large as 0.1. A smaller one brings
# it closer in most draws of the entries, and in some a row that was hardly seen runs away. What the full
# network has to offer is that it needs to know nothing of the rank. It is the simplest model in which one can
# see how a network with more weights than data finds a simple solution, and how to train it for less.
#
# ## A real matrix
#
# The pixels of handwritten digits, one image per row, half of them missing. This matrix has no rank to
# speak of: its singular values decay, and that is all. What does the low-rank bias make of it? The missing
# pixels serve as a test set. Both depths start with a product of the same size, and take a quarter of the
# rate that {eq}`eq-mc-stable` allows for $\gamma = 1$.

# %%
images = load(DATASET).inputs.flatten(1).double()
visible = observe(images, 0.5, generator=generator)
hidden = torch.ones(images.shape, dtype=torch.bool)
hidden[visible.rows, visible.cols] = False
missing = Observations(*hidden.nonzero().mT, images[hidden])
share, top = 0.5, torch.linalg.matrix_norm(images, 2).item()


def completed(depth, steps):
    """A run on the pixels, with the product at every record."""
    limit = 2 / (depth * share * top ** (2 - 2 / depth))
    own = {"rank": 10, "depth": depth, "lr": limit / 4, "steps": steps}
    own |= {"scale": 1e-3 ** (1 / depth), "test": missing, "every": 50}
    own |= {"metrics": {"product": end_to_end}, "generator": generator}
    return complete(visible, images.shape, **own)


fits = {2: completed(2, 600), 3: completed(3, 3000)}

# %%
seen_mean = images.masked_fill(hidden, 0).sum(0) / (~hidden).sum(0).clamp(min=1)
baseline = (seen_mean[missing.cols] - missing.values).norm()
one_mean = (visible.values.mean() - missing.values).norm()
lowest = {depth: fit["test_error"].min() for depth, fit in fits.items()}
against_mean = max(lowest.values()) * missing.values.norm() / baseline
grey = one_mean / baseline
claims.check("completion-digits", against_mean, below=0.95, control=grey)


def rise(run):
    """Per cent by which the test error ends above its smallest."""
    return 100 * (run["test_error"][-1] / run["test_error"].min() - 1)


rises = [rise(fit) for fit in fits.values()]
claims.check("completion-digits-overfit", rises, above=1, control=rise(full))
ratio, of_low_rank = lowest[2] / lowest[3], two[2] / three[2]
claims.check("completion-digits-depth", ratio, below=0.95, control=of_low_rank)


def best(fit):
    """The product at the step of the smallest test error."""
    return fit["product"][fit["test_error"].argmin()]


def values_used(fit):
    """Singular values above 1 % of the largest."""
    values = torch.linalg.svdvals(best(fit))
    return int((values > 0.01 * values[0]).sum())


more = values_used(fits[2]) - values_used(fits[3])
none = values_used(fits[2]) - values_used(completed(2, 600))
claims.check("completion-digits-spectrum", more, above=5, control=none)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-digits", "caption": "Rows of the pixel matrix as images: whole, with half of the pixels missing (grey), filled with the pixel's mean, and completed by two and by three layers (at the step of the smallest test error)."}, "image": {"classes": "photograph", "alt": "Five rows of eight small images of digits. First row, the digits 0 to 7. Second row, the same with half of the pixels replaced by grey. Third row, missing pixels filled with a common blurred value: the digits are barely recognisable. Fourth and fifth row, completions in which the digits can be read."}}
rows = {
    "whole": images,
    "seen": images.masked_fill(hidden, torch.nan),
    "mean": torch.where(hidden, seen_mean.expand_as(images), images),
    "L = 2": torch.where(hidden, best(fits[2]), images),
    "L = 3": torch.where(hidden, best(fits[3]), images),
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
# Both beat the pixel's mean, and neither is exact, as there is nothing exact to find. The test error falls
# and rises again, so one stops early; we stopped where the hidden pixels say, in earnest you would hold back
# some of the visible ones. And depth is no virtue here. Handwriting has many singular values that matter; at
# their best two layers use most of the 20 that the width allows, three layers about half of them, counting what
# is above 1 % of the largest. A bias helps where
# it is true.
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
# $L \ge 3$. Two directions have the pulls $g$ and $\kappa g$ with $0 < \kappa < 1$. How far has the second come
# when the first is of size one ($L = 2$), or grows without bounds ($L \ge 3$)? What does a smaller
# $\varepsilon$ do for $L = 2$?
#
# *Hint.* What is the derivative of $\sigma^{-1 + 2/L}$?
# :::
#
# :::{solution} ex-mc-rich
# :class: dropdown
# $L = 2$: $\sigma = \varepsilon^2 e^{2gt}$. The first is one when $e^{2gt} = \varepsilon^{-2}$; the second is
# then $\varepsilon^2 e^{2 \kappa g t} = \varepsilon^{2 (1 - \kappa)}$. $L \ge 3$:
#
# $$
# \tfrac{d}{dt} \sigma^{-1+2/L} = -\big( 1 - \tfrac2L \big)\, \sigma^{-2 + 2/L}\, \dot\sigma = -(L - 2)\, g ,
# $$
#
# so
# $\sigma^{-1+2/L} = \varepsilon^{2-L} - (L-2)\, g t$, which reaches zero at $t = \varepsilon^{2-L} / ((L-2)
# g)$. The second has $(1 - \kappa)\, \varepsilon^{2-L}$ left at that time, so
# $\sigma = (1 - \kappa)^{-L/(L-2)}\, \varepsilon^L$: a constant factor above its start, where for $L = 2$ the
# factor was $\varepsilon^{-2 \kappa}$. With a smaller start two layers suppress the second direction more,
# too, by a power of $\varepsilon$: try $\varepsilon = 10^{-5}$ in {numref}`fig-mc-depth`.
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
    claims.show(f"guess {rank}, test error", error(run))

# %% [markdown]
# The width is $2 \hat r$, and for a matrix of rank five it must be at least five: $\hat r = 3$ has room, with
# width six, $\hat r = 2$ has not. Without noise a guess from above does no harm beyond its cost: small singular
# values that nothing pulls at stay small.
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
more = observe(target, 0.6, generator=generator)
more = more[(more.rows + more.cols) > 0]
own = {"rank": guess, "lr": 10 / len(more), "factor_lr_ratio": 5, "tol": 1e-5}
run = complete(more, target.shape, **own, **surrogate, generator=generator)
corner = torch.tensor([0])
claims.show("estimate", run.predict(corner, corner))
claims.show("without the spike", target.predict(corner, corner))

# %% [markdown]
# (The spike is hidden, so the code need not add it; the second line leaves the entry out.) The result is the matrix
# without the spike, which fits all that is seen. A singular vector that lives on
# one entry is seen there or nowhere. Guarantees for completion therefore assume *{term}`incoherence`*: singular
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
own = {"factor_lr_ratio": 5, "steps": 10_000}
run = complete(noisy, target.shape, **own, **common, **surrogate)
lowest = run["test_error"].argmin()
claims.show("steps to the smallest test error", run.steps[lowest])
for name in ("train_error", "test_error"):
    claims.show(f"{name}, then and at the end", run[name][lowest], run[name][-1])

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
without = seen[seen.rows != 7]
own = common | surrogate | {"steps": 5000}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run = complete(without, target.shape, factor_lr_ratio=5, **own)
print(caught[-1].message)
claims.show("largest entry of row 7", run.dense()[7].abs().max())

# %% [markdown]
# Row 7 of $E$ is zero, hence that of $E V$, hence that of $\nabla_U$: row 7 of $U$ never moves. In the surrogate
# form it starts at zero as well, being that of singular vectors of a matrix whose row 7 is zero. (In the
# gradient form it starts random and stays that.)
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Better rates
# :label: ex-mc-open
# Open-ended. Both papers keep $\gamma$ and $\eta$ fixed. {eq}`eq-mc-stable` says how much is stable at the end,
# if one knows $\sigma$. Which rates would you take, and would you change them on the way? Try your idea in the
# gradient form for $d = 100$ and 400, and report steps to a test error of $10^{-4}$ over ten seeds, next to
# $\gamma = 0.01$, 0.1 and 1 at the best fixed $\eta$ for each.
# :::
#
# :::{solution} ex-mc-open
# :class: dropdown
# Three directions. Estimate $\sigma$ by the largest singular value of $\Omega \odot \Phi$ divided by $p$, and
# take $\eta$ and $\gamma$ from {eq}`eq-mc-stable`, with a margin. Or normalise the factors: after every step,
# move the size of $U$ and $V$ into the cores by a QR decomposition, so that $u = 1$ for good and each column
# can have the rate $1 / \sigma_i^2$ that suits it. Or start with a large $\eta$, which the saddle at zero
# allows, and lower it as $\sigma$ grows. Give each method its best $\eta$, and report where it diverges.
# :::
#
# ## Summary
#
# A deep linear network, trained by gradient descent from a small start on the observed entries alone, finds
# a low-rank matrix with no rank built in; from the same small product three layers do it with entries from
# which two overfit. At a given rate, wider layers need fewer steps.
#
# With all entries known, training a $d$-wide network is the same as training one of width $2 \hat r$, up to
# exactly $|\rho(t)|^L \sqrt{d - 2\hat r}$.
#
# With entries missing there is no fixed subspace: frozen factors stall near a least-squares floor. Factors that
# learn, with a rate of their own, mend it. The two published choices of that rate belong to two forms of the
# network and to two distances from the limit of stability.
#
# From a random start a narrow network is slower than a wide one; with a start taken from the data it is not.
# Near the limiting rate the compressed network takes hardly fewer steps than the full one, and each costs a
# small part.
#
# If only observed entries are computed, a step costs time proportional to their number. Where the matrix is
# the goal and its rank is known, alternating least squares is still much faster; and where there is no rank,
# as in handwriting, depth is of no use.
#
# ## Further reading
#
# Burer and Monteiro introduced the factorised form {cite}`burer2003nonlinear`. Arora, Cohen, Hu and Luo study
# depth in matrix completion {cite}`arora2019implicit`. The compressed networks are from Yaras et al.
# {cite}`yaras2023law` and Kwon et al. {cite}`kwon2024efficient`. On the convex side, see Mazumder, Hastie and
# Tibshirani {cite}`mazumder2010spectral` and Candès and Recht, who showed when nuclear-norm minimisation is
# exact {cite}`candes2009exact`.
