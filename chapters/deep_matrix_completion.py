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
# freedom, as long as it is deep, starts small, and is trained by gradient descent. This chapter asks what in
# that sentence does the work. Depth, width and the size of the start turn out to be three handles on one
# thing: how long each singular value has to wait. Then it makes the network cheap. *The law of parsimony*
# promises a way: if training moves only a small piece of every layer, train that piece. With all entries
# known the promise holds. With entries missing it fails, and we see why, and how it is mended.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** predict at which step a network learns which singular value; say what depth and width
# do for {term}`matrix completion` once every network has its best start and rate; train a network of width $d$
# at the cost of one of width $2 \hat r$; choose a learning rate from a formula; complete a matrix of 400
# million entries on a laptop; and say when not to use any of this.
#
# **Follows** lectures 000 and 001, *Efficient Deep Matrix Completion*; lecture 002, *Efficient Low-rank Training &
# Network Compression*, from *Deep Matrix Completion* on, and *Compressed Networks vs. Narrow Networks?*.
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

import math
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import torch

from lecturelib import claims
from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion import (
    complete,
    factorize,
    limiting_rate,
    low_rank_matrix,
    observe,
)
from lecturelib.device import seed_everything
from lecturelib.experiments.deep_matrix_completion import (
    best,
    grouped,
    mask_limit,
    summary,
)
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.records import recorded

use_style()
# Matrices this small lose more to waiting than they gain.
torch.set_num_threads(1)
generator = seed_everything(0)

# %% [markdown]
# (sec-mc-two)=
# ## Four entries, one of them missing
#
# Begin with a matrix so small that everything can be done by hand,
#
# $$ \Phi = \begin{pmatrix} 1 & 1 \\ 1 & ? \end{pmatrix} . $$
#
# Any number $x$ in the corner goes with what we see. If somebody tells us that the rank is one, the second row
# is a multiple of the first, and $x = 1$. In other words: the determinant, $x - 1$, must vanish.
#
# Now tell a network nothing. It is a product $W = W_2 W_1$ of two $2 \times 2$ matrices, free to become any
# matrix at all. It starts at $W_1 = W_2 = \varepsilon I$ and goes downhill on half the squared error at the three
# entries. Write $E$ for the error, $E_{ij} = W_{ij} - 1$, with a zero in the corner, which nobody looks at.
# Gradient descent with small steps moves by
#
# $$ \dot W_1 = - W_2^\top E , \qquad \dot W_2 = - E\, W_1^\top . $$
#
# Two observations.
#
# 1. At the start $W_2 = W_1^\top$, and so $W = W_1^\top W_1$ and $E$ are symmetric. Then the second equation is the
#    first one transposed, and $W_2 = W_1^\top$ stays true.
# 2. Any determinant obeys $\frac{d}{dt} \log \det W_1 = \operatorname{tr}(W_1^{-1} \dot W_1)$. Here
#    $W_1^{-1} \dot W_1 = - W_1^{-1} W_1 E = -E$. Only one entry on the diagonal of $E$ is seen, so the trace of
#    $-E$ is $1 - W_{11}$.
#
# Since $\det W = (\det W_1)^2$, we have found
#
# $$ \det W(t) = \varepsilon^4 \exp \Big( 2 \int_0^t \big(1 - W_{11}(\tau)\big)\, d\tau \Big) . $$ (eq-mc-two)
#
# The determinant starts tiny, and it grows only while $W_{11}$ is not yet fitted. How long is that? At first
# $-E$ is nearly the matrix with three ones and a zero, and its larger eigenvalue is the golden ratio, $1.618$.
# Along its eigenvector $W_1$ grows like $\varepsilon\, e^{1.618\, t}$. So it is of size one at $t = \log(1/\varepsilon)
# / 1.618$, and that is about the value of the integral. At the end three entries are one, and
#
# $$ x - 1 = \det W \approx \varepsilon^4\, \varepsilon^{-2 / 1.618} = \varepsilon^{2.76} . $$
#
# The smaller the start, the closer to rank one. A single layer has nothing of the kind: each of its entries learns
# for itself, the corner never, and stays at $\varepsilon$. Try it.


# %%
shown = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)


def corner(depth, eps, lr=0.05):
    """The missing entry once the others are fitted."""
    W1, W2 = eps * torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    for _ in range(2000):
        E = shown * ((W2 @ W1 if depth == 2 else W1) - 1)
        if depth == 2:
            W1, W2 = W1 - lr * W2.T @ E, W2 - lr * E @ W1.T
        else:
            W1 = W1 - lr * E
    return (W2 @ W1 if depth == 2 else W1)[1, 1].item()


SMALL = [0.1, 0.03, 0.01, 0.003]
distance = {depth: [abs(corner(depth, e) - 1) for e in SMALL] for depth in (1, 2)}
rows = {"one layer": distance[1], "two layers": distance[2]}
claims.table([f"ε = {e:g}" for e in SMALL], rows | {"ε^2.76": [e**2.76 for e in SMALL]})
slopes = {
    n: np.polyfit(np.log(SMALL), np.log(left), 1)[0] for n, left in distance.items()
}
claims.check("completion-two", slopes[2], 2.76, rel=0.1, control=slopes[1])

# %% [markdown]
# The distances are half of $\varepsilon^{2.76}$, at every $\varepsilon$: the exponent is right, the factor we did not
# compute. Everything below is this example made large. *A small start and a product of layers prefer low rank; what
# they miss of it is a power of the start.*
#
# (sec-mc-problem)=
# ## The problem, and a network for it
#
# Let $\Phi \in \mathbb R^{d \times d}$ have rank $r \ll d$, and let $\Omega$ be the set of places at which
# we see its entries, $M = p\, d^2$ of them. A rank-$r$ matrix has $r(2d - r)$ degrees of freedom, so $M$ must be
# at least that, with at least $r$ entries in every row and column ({ref}`first exercise <ex-mc-count>`). The plan
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
# In the second form $\Omega$ is a matrix of ones and zeros and $\odot$ multiplies entry by entry. With $L = 2$
# and thin matrices, $W_2 \in \mathbb R^{d \times r}$, this is the classical factorisation of Burer and Monteiro
# {cite}`burer2003nonlinear`, and the rank is built in. With layers of width $d$ nothing is built in: for any $L$
# the minimisers of {eq}`eq-mc-loss` give *all* matrices that agree with what we see, and almost all of them are
# useless. What singles out the right one can only be the way to it.
#
# The way is gradient descent from orthogonal layers, $W_l(0)^\top W_l(0) = \varepsilon^2 I$. A layer with fewer
# rows than columns has $W_l(0) W_l(0)^\top = \varepsilon^2 I$ instead. Here is a problem with $d = 50$ and
# $r = 3$, and 30 % of its entries.
#
# `complete` takes the observed entries as lists of rows, columns and values. `lr` is the rate $\eta$ for the
# sum in {eq}`eq-mc-loss`; without one it takes half of what is stable, by a formula that we derive
# {ref}`below <sec-mc-rate>`. `scale` is $\varepsilon$, and `rank` is $\hat r$, a guess of the rank from above, which
# the full network does not need. A run stops when the error at the observed entries is below `tol`,
# or after `steps`. Errors are the norm of the difference over the norm of the truth, at the observed
# entries (`train_error`) and at those of `test` (`test_error`).

# %%
F64 = {"generator": generator, "dtype": torch.float64}
STRENGTHS = [12, 10, 8]
small = low_rank_matrix((50, 50), 3, singular_values=STRENGTHS, **F64)
everything = observe(small, 1.0)  # to test on


def error(run):
    """Relative error at the test entries when the run ended."""
    return run["test_error"][-1].item()


settings = {"method": "full", "test": everything, "tol": 1e-4, "steps": 4000}
settings |= {"generator": generator}
draws = [observe(small, 0.3, generator=generator) for _ in range(3)]
found = [complete(seen, small.shape, **settings, scale=0.01) for seen in draws]
large = [complete(seen, small.shape, **settings, scale=1.0) for seen in draws]
finds, misses = ([error(run) for run in runs] for runs in (found, large))
claims.check("completion-finds", finds, below=0.01, control=misses)

# %% [markdown]
# 750 entries, 291 degrees of freedom, 7500 weights, and the other 1750 entries come out right. From a start of
# size one they do not.
#
# (sec-mc-stairs)=
# ## The stairs: one singular value after the other
#
# What happens on the way? Take one singular value $\sigma_\star$ of $\Phi$, with its vectors $u$ on the left and
# $v$ on the right, and suppose that the layers are aligned: the left singular vectors of each are the right ones
# of the next, so that products of layers multiply singular values. In this direction let the two outer layers
# have the size $a$ and the $k = L - 2$ inner ones the size $c$. Their product is $\sigma = a^2 c^k$. The loss pulls
# on it with $g$. On average over random choices of $\Omega$, $g = p\, (\sigma_\star - \sigma)$. Each layer moves by
# $g$ times the product of all others:
#
# $$ \dot a = g\, a\, c^k , \qquad \dot c = g\, a^2 c^{k-1} . $$ (eq-mc-sizes)
#
# When all layers are equal, $a = c = s$, every layer moves by $\dot s = g s^{L-1}$, and the product $\sigma = s^L$ by
#
# $$ \dot\sigma = L\, s^{L-1} \dot s = L\, \sigma^{2 - 2/L}\, g . $$ (eq-rich)
#
# Arora et al. show the same for all {term}`balanced <balancedness>` networks, with the singular vectors of the product
# {cite}`arora2019implicit`, and Saxe et al. solved these equations {cite}`saxe2014exact`. What is large grows faster:
# the rich get richer. As long as $\sigma$ is small the pull is constant, $g = p\, \sigma_\star$, and the equation is
# solved in a line ({ref}`exercise <ex-mc-rich>`).
#
# - For $L = 2$ the product grows exponentially, $\sigma = \varepsilon^2 e^{2gt}$. It is of size one at $t =
#   \log(1/\varepsilon) / g$.
# - For $L \ge 3$ nothing seems to happen for long. Then the product explodes, at $t = \varepsilon^{2-L} / ((L-2)\,
#   g)$.
#
# Either way the waiting time is proportional to $1/\sigma_\star$. The strongest singular value appears first, then the
# second, and the error falls in stairs. Gissin et al. call this *incremental learning*. In a toy model they prove that
# two layers need an exponentially small start for it and deeper networks a moderate one {cite}`gissin2020implicit`.
#
# **Where a random start begins.** Random orthogonal layers are not aligned with $\Phi$. Let the layers have width
# $w$. The first one has $w$ orthogonal rows in a random position, so of a given vector $v$ it passes on the share
# $w/d$ of the squared length, on average: $W_1(0)\, v$ has length about $\varepsilon \sqrt{w/d}$. So has the other
# end, $W_L(0)^\top u$. Carried to one layer in between, call the two ends $x$ and $y$; they have nothing to do with
# each other. Each pulls the other, $\dot x \propto y$ and $\dot y \propto x$, so that $x + y$ grows and $x - y$ dies
# out. Both become the mean, and of two nearly orthogonal vectors of one length the mean is shorter by $\sqrt2$. The
# direction thus begins with
#
# $$ a = \varepsilon \sqrt{\frac{w}{2d}} , \qquad c = \varepsilon . $$ (eq-mc-start)
#
# Full width, $w = d$, costs a factor of $\sqrt2$ at the two ends. A narrow network begins with much smaller ends.
# That is most of what width will do. Now follow {eq}`eq-mc-sizes` in steps of size $\eta$ until the product is half
# of what it should be.


# %%
def steps_to_half(strength, share, lr, depth, eps, overlap):
    """Predicted step at which a singular value is half learned; overlap is w / 2d."""
    a, c, k = eps * overlap**0.5, eps, depth - 2
    for step in range(100_000):
        if a**2 * c**k > strength / 2:
            return step
        pull = lr * share * (strength - a**2 * c**k)
        a, c = a * (1 + pull * c**k), c + (pull * a**2 * c ** (k - 1) if k else 0)


def measured(run):
    """Steps at which the singular values of the product are half learned."""
    half = run["values"] > torch.tensor(STRENGTHS, dtype=torch.float64) / 2
    assert half.any(0).all()
    return run.steps[half.long().argmax(0)].tolist()


def values(factors):
    """The three largest singular values of the product."""
    return torch.linalg.svdvals(end_to_end(factors))[:3]


# %%
draws = [observe(small, 0.4, generator=generator) for _ in range(3)]
rows, predicted, ratios = {}, {}, {}
for L, w, eps in ((2, 50, 1e-4), (3, 50, 0.02), (3, 6, 0.02)):
    own = {"method": "full"} if w == 50 else {"method": "narrow", "width": w}
    own |= {"depth": L, "scale": eps, "lr": 0.01, "steps": 12_000, "tol": 1e-3}
    own |= {"every": 5, "metrics": {"values": values}, "generator": generator}
    runs = [measured(complete(seen, small.shape, **own)) for seen in draws]
    halves = np.mean(runs, axis=0)
    predicted[L, w] = np.array(
        [steps_to_half(s, 0.4, 0.01, L, eps, w / 100) for s in STRENGTHS]
    )
    ratios[L, w] = halves / predicted[L, w]
    name = f"L = {L}, width {w}"
    rows |= {f"{name}, predicted": predicted[L, w], f"{name}, measured": halves}
claims.table([f"σ = {s}" for s in STRENGTHS], rows, digits=3)
as_if_wide = halves / predicted[3, 50]
claims.check(
    "completion-stairs", list(ratios.values()), 1, rel=0.25, control=as_if_wide
)

# %% [markdown]
# A formula with three knobs predicts within a fifth when each singular value arrives, on average over draws of 40 % of
# the entries. Most come some 10 % early, since the noise of the missing entries adds to the pull on what is strong; the
# last one of the narrow network comes late. Leave out the width in {eq}`eq-mc-start`, and the narrow network is
# predicted in half to two thirds of its time.
#
# *A singular value waits for a time that falls with its size, with $\varepsilon$ and with $w/d$; then it comes in
# one stroke.* Turn the two knobs below. The fourth singular value, in grey, does not exist in the target. It grows
# from the noise of the missing entries.

# %% tags=["hide-input"]
LITTLE = [9.0, 6.0, 4.0]
little = low_rank_matrix((30, 30), 3, singular_values=LITTLE, **F64)
some = observe(little, 0.4, generator=generator)


def wait(L, eps):
    """A run with the four largest singular values, and the predicted steps."""
    lr = limiting_rate(LITTLE[0], 0.4, depth=L) / 2
    four = {"values": lambda chain: torch.linalg.svdvals(end_to_end(chain))[:4]}
    own = {"method": "full", "depth": L, "scale": eps, "lr": lr, "steps": 5000}
    own |= {"every": 10, "metrics": four, "generator": torch.Generator().manual_seed(0)}
    predicted = [steps_to_half(s, 0.4, lr, L, eps, 0.5) for s in LITTLE]
    return complete(some, little.shape, **own), predicted


waits = {(L, eps): wait(L, eps) for L in (2, 3, 4) for eps in (0.3, 0.15, 0.05)}


def draw_stairs(L, eps):
    run, predicted = waits[L, eps]
    fig, ax = plt.subplots(figsize=(6, 2.8))
    looks = zip(run["values"].mT, ["-", "--", "-.", "-"], strict=True)
    for number, (value, style) in enumerate(looks):
        colour = "0.6" if number == 3 else COLOURS[number]
        ax.plot(run.steps + 1, value, style, color=colour, label=f"no. {number + 1}")
        if number < 3:
            ax.plot(max(1, predicted[number]), LITTLE[number] / 2, "o", color=colour)
    ax.set(xscale="log", xlim=(1, 5000), ylim=(0, 10), xlabel="step")
    ax.set(ylabel="singular value")
    ax.legend(loc="upper left", fontsize=8)
    return fig


def describe_stairs(L, eps):
    run, predicted = waits[L, eps]
    ends = ", ".join(f"⟨{value:.1f}⟩" for value in run["values"][-1].tolist())
    when = "{}, {} and {}".format(*predicted)
    return f"{L} layers from {eps}: half learned at {when}, as predicted; at the end {ends}."


explore(
    draw_stairs,
    name="mc-stairs",
    alt=describe_stairs,
    caption="Singular values of the product over the steps: full width, 30 × 30, rank three, 40 % observed, half "
    "of the stable rate. Dots: where each is predicted to be half learned.",
    labels={"L": "Layers", "eps": "ε"},
    start={"L": 3, "eps": 0.15},
    L=[2, 3, 4],
    eps=[0.3, 0.15, 0.05],
)

# %% [markdown]
# (sec-mc-depth)=
# ## What depth buys
#
# Entries that are missing count as zero in the first gradient. It is made of
#
# $$ \Omega \odot \Phi = p\, \Phi + N , $$ (eq-mc-noise)
#
# where $N$ has mean zero, noise of full rank. So false directions are pulled as well. The noise lasts as long as the
# error does: once all true directions are fitted nothing pulls any more. What counts is how far a false direction has
# come by then. How hard is the pull on the first false direction, measured by that on the three true ones?

# %%
rows = {}
for n in range(3):
    seen = observe(small, 0.25, generator=generator)
    first = torch.zeros(50, 50, dtype=torch.float64)
    first[seen.rows, seen.cols] = seen.values
    pulls = torch.linalg.svdvals(first)
    rows[f"draw {n + 1}"] = pulls[3] / pulls[:3]
claims.table([f"over σ = {s}" for s in STRENGTHS], rows)

# %% [markdown]
# So let a true direction be pulled with $g$ and a false one with $\kappa g$, $\kappa = 0.7$ say. How far has the
# false one come when the true one is of size one, or explodes? {eq}`eq-rich` answers ({ref}`exercise <ex-mc-rich>`).
#
# - Two layers: the false one is at $\varepsilon^{2 (1 - \kappa)}$. From $\varepsilon = 10^{-3}$ that is $0.016$, and
#   from $\varepsilon = 10^{-8}$ it is $2 \cdot 10^{-5}$.
# - Three layers: it has grown by the factor $(1 - \kappa)^{-3}$, whatever $\varepsilon$ is. From $\varepsilon =
#   10^{-2}$ it is at $4 \cdot 10^{-5}$.
#
# So depth is not the only way to keep false directions small. A tiny start does it as well, and two layers wait only
# $\log(1/\varepsilon)$ for it. First see with your eyes. Set $L = 2$ and $\varepsilon = 0.3$: speckles that stay. Then
# $\varepsilon = 0.03$, or $L = 3$.

# %% tags=["hide-input"]
mosaic = low_rank_matrix((24, 24), 2, singular_values=[8, 6], **F64)
truth = mosaic.dense()
pieces = observe(mosaic, 0.35, generator=generator)
with_holes = torch.full((24, 24), torch.nan, dtype=torch.float64)
with_holes[pieces.rows, pieces.cols] = pieces.values


def fill(L, eps):
    """Products when the training error is one half, when it is one fifth, and at the end."""
    own = {"method": "full", "depth": L, "scale": eps, "steps": 4000, "tol": 1e-3}
    own |= {"every": 5, "metrics": {"product": end_to_end}}
    run = complete(
        pieces, truth.shape, **own, generator=torch.Generator().manual_seed(1)
    )
    left = run["train_error"].tolist()
    end = len(left) - 1  # where a goal was not reached
    when = [
        next((t for t in range(end) if left[t] < goal), end) for goal in (0.5, 0.2, 0)
    ]
    errors = [((run["product"][t] - truth).norm() / truth.norm()).item() for t in when]
    return [run["product"][t] for t in when], run.steps[when].tolist(), errors


fills = {(L, eps): fill(L, eps) for L in (2, 3, 4) for eps in (1.0, 0.3, 0.1, 0.03)}


def draw_fill(L, eps):
    fig, axes = plt.subplots(1, 5, figsize=(7.6, 1.9))
    pictures = [("truth", truth), ("seen", with_holes)]
    for product, step, left in zip(*fills[L, eps], strict=True):
        pictures.append((f"step {step}: {left:.2g}", product))
    for ax, (title, picture) in zip(axes, pictures, strict=True):
        ax.imshow(picture, cmap="PuOr", vmin=-0.9, vmax=0.9)
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()
    return fig


def describe_fill(L, eps):
    _, steps, errors = fills[L, eps]
    last = f"step ⟨{steps[-1]}⟩ with the error ⟨{errors[-1]:.2g}⟩ at all entries"
    return f"{L} layers from {eps}: truth, seen entries and three stages; the last is at {last}."


explore(
    draw_fill,
    name="mc-fill",
    alt=describe_fill,
    caption="A 24 × 24 matrix of rank two, the 35 % of it that are seen, and the product when the error at these is "
    "one half, when it is one fifth, and at the end (0.1 %, or 4000 steps). In the titles, step and error at all "
    "entries.",
    labels={"L": "Layers", "eps": "ε"},
    start={"L": 2, "eps": 0.3},
    L=[2, 3, 4],
    eps=[1.0, 0.3, 0.1, 0.03],
)

# %% [markdown]
# So which depth is better? A fair answer gives each depth its own best start and its own best rate. We let two, three
# and four layers complete 50 × 50 matrices of rank three, from 20 % of the entries in nine draws and from 25 % in three.
# Each depth has four to nine starts, none of which is best at an end of the list, and rates of 0.3, 0.5 and 0.7 of a
# limit that we derive {ref}`below <sec-mc-rate>`. The runs are recorded. A matrix counts as found once the error at all
# entries is below one per cent, within 6000 steps. Steps and errors are the middle ones of all draws; ∞ means that fewer
# than half were found.

# %%
MAP = recorded("completion-map").values
RATES = (0.3, 0.5, 0.7)


def tried(depth, method="full", width=50, fraction=0.25):
    """Runs of one form of network by ε and rate, one for each draw."""
    form = {"depth": depth, "method": method, "width": width, "fraction": fraction}
    return grouped(MAP, ("scale", "rate"), **form)


rows = {}
for fraction, of in ((0.2, 9), (0.25, 3)):
    for depth in (2, 3, 4):
        (eps, rate), number, steps, left = best(tried(depth, fraction=fraction))
        name = f"{fraction:.0%}, L = {depth}"
        rows[name] = [f"{number} of {of}", steps, left, f"{eps:g}", f"{rate:g}"]
claims.table(["found", "steps", "error", "best ε", "best rate"], rows)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-depth", "caption": "What depth buys, at the best of three rates for each start: full width, $d = 50$, $r = 3$, 25 % of the entries, middle of three draws. Left: error at all entries when the observed ones are fitted. Right: steps until it is below one per cent, for the starts from which most draws are found. The horizontal axis counts the decades by which the start of the product is small, $\\varepsilon^L = 10^{-x}$."}, "image": {"alt": "Two panels over the decades by which the start of the product is small, on a logarithmic axis from 1 to 60. Left, errors on a logarithmic axis: each depth falls from about 0.1 to below 0.003 and stays there; four layers do so between 1 and 3 decades, three layers between 2 and 4, two layers between 6 and 20. Right, steps: each depth has its fewest where its error has just become small, four layers 510 at 3 decades, three layers 340 at 3.5 (and 3500 just before, at 3), two layers 260 at 20; from there on they need more, three layers 1860 at 7 decades and four 1190 at 4, while two layers need only 390 at 60."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3), sharex=True)
for depth, look, colour in zip((2, 3, 4), ("o-", "s--", "^:"), COLOURS, strict=False):
    groups = tried(depth)
    sizes = sorted({eps for eps, _ in groups if eps < 0.6})
    x = -depth * np.log10(sizes)
    ends = [[summary(groups[eps, rate]) for rate in RATES] for eps in sizes]
    errors = [min(left for _, _, left in row) for row in ends]
    axes[0].loglog(x, errors, look, color=colour, label=f"L = {depth}")
    steps = [min(taken for _, taken, _ in row) for row in ends]
    axes[1].loglog(x, steps, look, color=colour)
for ax, label in zip(axes, ("error, all entries", "steps"), strict=True):
    ax.set(xlabel=r"decades, $-\log_{10} \varepsilon^L$", ylabel=label)
    ax.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
axes[0].legend(fontsize=8)
plt.show()

# %%
tiny, small_start = (
    [run["test_error"] for run in tried(2)[eps, 0.5]] for eps in (1e-15, 1e-3)
)
claims.check("completion-shallow-tiny", tiny, below=0.015, control=small_start)
three = [run["test_error"] for run in tried(3)[0.05, 0.7]]
claims.check("completion-depth", three, below=0.015, control=small_start)

# %% [markdown]
# From 25 % of the entries every depth finds all three matrices at its best, and in about as many steps: 290, 340 and
# 510. What differs is the start that it needs. Two layers need a product of $10^{-20}$ to find two of
# them and $10^{-30}$ for the third. From $\varepsilon = 10^{-3}$, which looks small, they fit what they see and have
# learned something else in between: they overfit. Three layers are content with $\varepsilon = 0.07$, and four with
# $0.2$. *Depth lets a moderate start do what two layers need a tiny one for.*
#
# From 20 %, 1.7 entries for every degree of freedom, no depth is reliable. Of nine draws two layers find four, three
# layers these and three more, four layers six. That is a hint that depth saves entries. But three draws decide it, and
# three coins fall alike one time in four; and the middle error of two layers is 0.012, just above the bar.
#
# Nor is the rate innocent. Two layers fail at 0.7 of the limit where they succeed at 0.5; deeper ones do well with it.
#
# :::{admonition} Slide check: what depth buys
# :class: warning slide-check
# :name: slide-check-mc-depth
# *Improved sample complexity and less prone to overfitting*, say the slides (000, 001 and 002, *Why Deep Matrix
# Factorization and Overparameterization?*). From one start that looks small, $10^{-3}$, both are there to see. With each
# depth at its best start nobody overfits at 25 %, and what is left at 20 % is three draws of nine.
# :::
#
# (sec-mc-width)=
# ## What width buys
#
# Nothing so far asked for layers of width $d$. The target fits into width three, and a width of $2 \hat r$ leaves
# room. `method="narrow"` takes thin layers from the same kind of orthogonal start. The figure of the lectures says
# that wide networks need fewer steps. Here it is as the paper behind it has it {cite}`yaras2023law`: $d = 100$,
# $r = 10$, $\varepsilon = 10^{-3}$, 30 % of the entries, five starts; singular values and, for three layers, the
# rate as in its public code.

# %%
slide = {
    (row["depth"], row["width"]): row for row in recorded("completion-width").values
}
WIDTHS = sorted({width for _, width in slide})
deep, flat = ([slide[depth, w]["test_error"] for w in WIDTHS[1:]] for depth in (3, 2))
claims.check("completion-slide-error", deep, below=0.001, control=flat)
middle = median(slide[3, 20]["steps"])
wide, thin = ([t / middle for t in slide[3, w]["steps"]] for w in (100, 20))
claims.check("completion-width", wide, below=0.68, control=thin)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-width", "caption": "The slides' figure, recorded: error at all entries (left) and steps until the observed ones are fitted to $10^{-5}$ (right) over the width, five starts each (dots; 40 000 steps at most), from $\\varepsilon = 10^{-3}$ for both depths. Right, dashed: when three layers have half learned the tenth singular value, by {eq}`eq-mc-start`."}, "image": {"alt": "Two panels over the width, from 10 to 100. Left, errors on a logarithmic axis: two layers lie near one ten-thousandth at width 10 and near one tenth from width 20 on; three layers lie below one ten-thousandth from width 20 on, and at width 10 three of five dots lie near one half. Right, steps: three layers fall from about 40 thousand at width 10 over 24 thousand at width 20 to 11 thousand at width 100; a dashed curve below them falls from 15 to 8.5 thousand; two layers need about 2 to 3 thousand from width 40 on, nearly 30 thousand at width 20 and less than a thousand at width 10."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3))
for depth, marker, shift, colour in ((2, "o", -1, COLOURS[0]), (3, "s", 1, COLOURS[1])):
    look = {"color": colour, "markersize": 4, "fillstyle": "none"}
    for ax, key in zip(axes, ("test_error", "steps"), strict=True):
        x = np.repeat(WIDTHS, 5) + shift
        y = [value for w in WIDTHS for value in slide[depth, w][key]]
        ax.semilogy(x, y, marker, label=f"L = {depth}", **look)
tenth = [steps_to_half(16.4, 0.3, 0.03, 3, 1e-3, w / 200) for w in WIDTHS]
axes[1].semilogy(WIDTHS, tenth, "--", color="0.4", linewidth=1)
axes[0].set(xlabel="width", ylabel="error, all entries")
axes[1].set(xlabel="width", ylabel="steps")
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# All that the lectures show is there. Three layers find the matrix, and two are wrong between the entries they have
# fitted. (Two layers from $10^{-3}$ only: the tiny start that mends them, {ref}`above <sec-mc-depth>`, is not on the
# slide.) Wide networks need fewer steps. The dashed line is the prediction for a direction with the average overlap.
# It is a lower bound of a kind, as half learned comes before fitted, and has the right trend: 8.5 against 11 thousand
# steps at full width, 13 against 24 thousand at width 20.
#
# At width $r = 10$ the picture turns over. There two layers find the matrix in 900 steps, since they can represent
# nothing worse, and of five runs with three layers three have not arrived after 40 000. The oddest number is that of
# two layers at width 20, 28 750 steps against 2150 at full width. They have $20\,(200 - 20) = 3600$ degrees of freedom
# for 3000 entries: just enough to fit without finding, and fitting is slow.
#
# But $\varepsilon$ is the same for all widths, and by {eq}`eq-mc-start` that is not fair. A narrow network at
# $\varepsilon \sqrt{d/w}$ begins with the ends of a wide one. {ref}`Later <sec-mc-narrow>` we let each have its best.
#
# So over-parametrisation buys a good start, and it costs. Three layers of width $d$ have $3 d^2$ weights, and a step
# multiplies several $d \times d$ matrices, $O(L d^3)$ operations. For $d = 20\,000$ that would be 1.2 billion
# weights for a matrix with 400 million entries. {ref}`Later <sec-mc-cost>` we measure it.
#
# (sec-mc-compression)=
# ## All entries known: what compression costs
#
# Start with the easy case: every entry is observed, $\Omega = 1$, and we only want the factorisation. Then
# {eq}`eq-mc-loss` is the loss of the previous chapters with {term}`whitened` inputs $X = I$, and the law of
# parsimony applies. Take the smallest case, $\Phi = \operatorname{diag}(2, 0, \dots, 0)$ and $W_l(0) = \varepsilon I$.
# All layers stay diagonal. The first entry learns. Every other, $\rho$, obeys
# $\rho \leftarrow \rho - \eta\, \rho^{2L-1}$ in each layer: it shrinks by itself, knows nothing of $\Phi$, and need not
# be computed. The theorem says the same for any orthogonal start, with $2 \hat r$ directions in place of one: those
# that $\Phi$ reads, and those that the start carries to where $\Phi$ points.
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
# {prf:ref}`thm-parsimony`, in its square case and without weight decay, which takes any orthonormal idle directions,
# there are fixed orthogonal $U_l$, $V_l$ with $V_{l+1} = U_l$ and $V_1 = [V, V_\perp]$ in which every layer is block
# diagonal, $U_l^\top W_l(t) V_l = \operatorname{diag}(B_l(t), \rho(t) I)$, with $B_l(0) = \varepsilon I$. Products of
# such layers are block diagonal as well, $U_L^\top W_{L:1} V_1 = \operatorname{diag}(B_{L:1}, \rho^L I_{d - 2 \hat
# r})$, and $U_L = \varepsilon^{-L} W_{L:1}(0) V_1 = [U, U_\perp]$. So $W_{L:1} - U B_{L:1} V^\top = \rho^L\, U_\perp
# V_\perp^\top$, which has the norm on the right of {eq}`eq-mc-gap`.
#
# It remains to see that $B_l = \widetilde W_l$ at all steps. Both start at $\varepsilon I$. Since
# $\Phi V_\perp = 0$ and $U_\perp^\top \Phi = 0$, the error $W_{L:1} - \Phi$ is block diagonal in these bases
# too, with first block $B_{L:1} - U^\top \Phi V$. The gradient of layer $l$ is
# $W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l-1:1}^\top$; its first block is made of first blocks only, and is the
# gradient of the compressed loss at $B_1, \dots, B_L$. Equal matrices thus take equal steps.
# :::
#
# With $\varepsilon = 0.1$ and $L = 3$ the distance is a thousandth of $\sqrt{d - 2\hat r}$ and shrinks, too slowly to
# see. A step of the {term}`compressed network` costs $O(L \hat r^3)$, whatever $d$ is. That saves no work yet: $V$
# takes an SVD of $\Phi$, after which there is nothing left to find. It says what to aim for.
#
# `factorize` runs both networks; given generators in the same state it draws the same start. At every record it
# calls each function in `metrics` with the matrices as they are: here `end_to_end`, which multiplies them. We
# overestimate the rank, $\hat r = 8$ for $r = 5$.

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
apart = (runs["full"]["product"] - runs["compressed"]["product"]).norm(dim=(1, 2))
# With r̂ directions that learn in place of 2r̂.
nearest = rho[::2] ** L * (d - guess) ** 0.5
claims.check("completion-gap", apart / predicted, 1, rel=1e-10, control=apart / nearest)

# %% [markdown]
# The two networks take the same steps, up to a distance that the formula gives to the last digit. With all entries
# known, most of the full network is ballast.
#
# :::{admonition} Slide check: how many parameters?
# :class: warning slide-check
# :name: slide-check-mc-parameters
# The slides compare $L d^2$ parameters of the original network with $L \hat r^2$ of the compressed one (lectures 000,
# 001 and 002, *The Simple Case: Deep Matrix Factorization*). The cores are $2 \hat r \times 2 \hat r$, as the slides
# themselves say, so that they have $4 L \hat r^2$; $U$ and $V$ have $4 d \hat r$ more. For $d = 1000$, $\hat r = 5$ and
# $L = 3$ these are 300 and 20 000, against 3 million.
# :::

# %% [markdown]
# (sec-mc-missing)=
# ## Entries missing: why the trick fails
#
# Now the same with entries missing, in the setting of Kwon et al. {cite}`kwon2024efficient`: $d = 100$, $r = 5$, and
# 30 % of the entries, with five singular values spread over the upper part of the spectrum of a Gaussian matrix of
# this size. They know the rank; we go on guessing $\hat r = 8$. The first gradient is made of $\Omega \odot \Phi$ in
# place of $\Phi$, and so are the subspaces in which it moves.

# %%
strengths = [19.9, 16.3, 13.8, 11.6, 9.9]
target = low_rank_matrix((d, d), r, singular_values=strengths, **F64)
seen = observe(target, 0.3, generator=generator)
everything = observe(target, 1.0)
M = len(seen)

# %% [markdown]
# Two things go wrong. By {eq}`eq-mc-noise` the leading singular vectors of $\Omega \odot \Phi$ are those of $\Phi$ mixed
# with noise: the left panel of the figure below shows its singular values, five that stand out, the last of them
# hardly, and behind them a bulk that $\Phi$ does not have.
#
# Worse, directions do not stay idle. The proof of the law needs $(W_{L:1} - \Phi)\, v = \rho^L v'$ for an idle $v$
# and its image $v'$. Now the error is $\Omega \odot (W_{L:1} - \Phi)$, and its product with $v$ points anywhere.
#
# If $U$ and $V$ nevertheless stay what the start and the leading $\hat r$ singular vectors of
# $\Omega \odot \Phi$ make them, the product of the cores can be any matrix $C$, but none is better than the
# solution of a linear least-squares problem,
#
# $$ \min_{C \in \mathbb R^{2 \hat r \times 2 \hat r}} \big\| \Omega \odot (U C V^\top - \Phi) \big\|_F . $$
#
# Train the compressed network with fixed factors ($\gamma = 0$; what $\gamma$ is comes next) and solve this
# problem for its $U$ and $V$, for three draws of the entries.

# %%
common = {"rank": guess, "test": everything, "generator": generator}
gradient = {"start": "gradient", "scale": 0.01}


def least_squares(seen, U, V):
    """The smallest error at the observed entries between fixed factors."""
    pairs = (U[seen.rows][:, :, None] * V[seen.cols][:, None, :]).flatten(1)
    fitted = pairs @ torch.linalg.lstsq(pairs, seen.values).solution
    return (fitted - seen.values).norm() / seen.values.norm()


draws = [observe(target, 0.3, generator=generator) for _ in range(3)]
above_floor, above_other = [], []
for draw in draws:
    own = {"factor_lr_ratio": 0, "steps": 4000}
    frozen = complete(draw, target.shape, **own, **common, **gradient)
    reached = frozen["train_error"][-1]
    floor = least_squares(draw, frozen.factors[-1], frozen.factors[0].mT)
    above_floor.append(reached / floor)
    elsewhere = least_squares(draw, *torch.randn(2, d, 2 * guess, **F64))
    above_other.append(reached / elsewhere)
claims.check("completion-floor", above_floor, 1, rel=0.2, control=above_other)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-stall", "caption": "Left: singular values of the target and of the same matrix with 70 % of the entries set to zero. Right: with fixed factors the error at the observed entries stalls just above what linear least squares allows (dotted)."}, "image": {"alt": "Left, singular values on a logarithmic axis: the target has five between 9 and 20 and no others; the matrix with zeros has five between 4 and 7, followed by a slowly falling bulk that begins just below 4. Right, error over steps: near one at first, it descends in stairs and ends a little above a dotted line near 0.4."}}
masked = torch.zeros(d, d, dtype=torch.float64)
masked[seen.rows, seen.cols] = seen.values
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3))
left.semilogy(range(1, 6), strengths, "o", markersize=4, label=r"$\Phi$")
noisy = torch.linalg.svdvals(masked)
left.semilogy(range(1, d + 1), noisy, ".", label=r"$\Omega \odot \Phi$")
left.set(xlabel="index", ylabel="singular value", ylim=(0.5, 30), xlim=(0, 60))
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
# That leaves the number $k$ of cores, where to start $U$ and $V$, and which $\gamma$. Two papers answer differently.
#
# - Yaras et al. {cite}`yaras2023law` start from the law: $U$ and $V$ have orthonormal columns and span what the first
#   step from an orthogonal start would move. The cores start at $\varepsilon I$, and there are $k = L$ of them in
#   addition to $U$ and $V$. Their $\gamma$ is 0.01 (`start="gradient"`; we say *gradient form*).
# - Kwon et al. {cite}`kwon2024efficient` take the leading $2 \hat r$ singular vectors of $\Omega \odot \Phi$, multiply
#   them by $\varepsilon$ like everything else, and let them *be* the first and the last of the $L$ layers, so that
#   $k = L - 2$: a network of width $2 \hat r$ with a start that has seen the data. Their $\gamma$ is 1 to 5
#   (`start="surrogate"`; we say *surrogate form*).
#
# Here are both settings as they were published, each with its own form, rate and singular values, and $\hat r = r = 5$;
# one matrix and one draw each. Kwon et al. have $d = 100$, 30 % of the entries, $\varepsilon = 0.01$, the rate $10 / M$
# for {eq}`eq-mc-loss` and, of the singular values of a Gaussian matrix, every tenth from the first to the 41st. Yaras
# et al. have $d = 1000$, 20 % of the entries, $\varepsilon = 10^{-3}$, and the five largest, which are nearly equal.
# That takes long, and is recorded.

# %%
ends = {
    (row["setting"], row["gamma"]): row["test_error"][-1]
    for row in recorded("completion-regimes").values
}
rows = {f"{name}, γ = {gamma}": [left] for (name, gamma), left in ends.items()}
claims.table(["test error"], rows)
by_gamma, without = ends["Yaras", 0.01], ends["Yaras", 0]
claims.check("completion-yaras", by_gamma, below=1e-4, control=without)
own = {"rank": 5, "lr": 10 / M, "factor_lr_ratio": 5, "scale": 1.0, "steps": 4000}
own |= {"test": everything, "generator": generator}
too_large = [error(complete(draw, target.shape, **own)) for draw in draws]
by_kwon = [ends["Kwon", gamma] for gamma in (1, 2, 5)]
claims.check("completion-kwon", by_kwon, below=1e-3, control=too_large)

# %% [markdown]
# **What γ is.** One paper wants 0.01 and the other up to 5. Before choosing, write the network in other letters:
# $\widehat U = U / \sqrt\gamma$ and $\widehat V = V / \sqrt\gamma$, so that
#
# $$ W_{\text{comp}} = \gamma\, \widehat U\, \widetilde W_k \cdots \widetilde W_1 \widehat V^\top . $$
#
# The gradient with respect to $\widehat U$ is $\sqrt\gamma$ times that with respect to $U$. And $\widehat U$ moves by
# $1/\sqrt\gamma$ of what $U$ moves, that is by $\frac{1}{\sqrt\gamma} \gamma \eta\, \nabla_U = \eta\, \nabla_{\widehat
# U}$. All factors learn at one rate. So there never were two rates: $\gamma$ is a number in front of the product.
#
# The rule behind this: a factor written as $x = c\, y$, with the rate $\eta$ for $y$, moves with the rate $c^2 \eta$.
# Now share that number out among all $L' = k + 2$ layers, $\gamma^{1/L'}$ to each. What remains is a plain network of
# $L'$ layers. By the rule it has the rate
#
# $$ \eta' = \gamma^{2/L'}\, \eta . $$ (eq-mc-gamma)
#
# Its outer layers start $\gamma^{1/L' - 1/2}$ times as large as before and its inner ones $\gamma^{1/L'}$ times.
# *Choosing $\gamma$ is choosing a rate and the sizes of the start, nothing else.* For Kwon et al. $\gamma = 5$ means
# a plain network of three layers at $5^{2/3} = 2.9$ times the rate. The form of Yaras et al. is a network of five
# layers, and $\gamma = 0.01$ means $0.01^{2/5} = 0.16$ times the rate, with outer layers that start at 4, and inner
# ones at $0.0004$.
#
# (sec-mc-rate)=
# **Which rate is stable?** Near the solution let a singular value $\sigma = a^2 c^k$ be made of a size $a$ in $U$
# and in $V$, and $c$ in each of the $k$ cores. A change $\delta$ of $U$ in this direction changes the product by
# $(\sigma / a)\, \delta$, one of a core by $(\sigma / c)\, \delta$. The loss sees the share $p$ of the square of
# that, on average over masks. Gradient descent is stable as long as rate times curvature, added up over all
# factors, is below two:
#
# $$ \eta\, p\, \sigma^2 \Big( \frac{2 \gamma}{a^2} + \frac{k}{c^2} \Big) < 2 . $$ (eq-mc-stable)
#
# For $L$ equal layers and $\gamma = 1$, that is
#
# $$ \eta < \frac{2}{L\, p\, \sigma^{2 - 2/L}} . $$ (eq-mc-limit)
#
# That is an average over masks. For a given mask some direction is seen more often, and the true limit is lower. How
# much lower, for our 50 × 50 matrix and five masks? `mask_limit` takes the curvature there.


# %%
def over_average(share, L):
    """Limits for five masks over the average one."""
    masks = [observe(small, share, generator=generator) for _ in range(5)]
    average = limiting_rate(STRENGTHS[0], share, depth=L)
    return [mask_limit(small, seen, depth=L) / average for seen in masks]


limits = {(L, p): over_average(p, L) for L in (2, 3, 4) for p in (0.2, 0.25, 0.5, 1.0)}
rows = {
    f"L = {L}": [sum(limits[L, p]) / 5 for p in (0.2, 0.25, 0.5)] for L in (2, 3, 4)
}
claims.table(["20% seen", "25%", "50%"], rows)
claims.check("completion-limit", limits[2, 0.25], below=0.87, control=limits[2, 1.0])

# %% [markdown]
# The fewer the entries and the layers, the lower: from a quarter of the entries by a fifth for three and four layers and
# by a third for two. That is why two layers fail in our map at 0.7 of the average limit.
#
# How $\sigma$ is shared between factors and cores is decided by the start. Along gradient flow
# $\frac1\gamma U^\top U - \widetilde W_k \widetilde W_k^\top$ does not change, since both $U^\top \nabla_U$ and
# $\nabla_{\widetilde W_k} \widetilde W_k^\top$ are the same product of matrices. In our one direction that reads
# $a^2 = a_0^2 + \gamma (c^2 - \varepsilon^2)$, with $a_0 = \varepsilon$ in the surrogate form and $a_0 = 1$ in the
# gradient form. `limiting_rate` solves for $c$ and returns the largest stable $\eta$. `complete` takes half of it,
# with the largest singular value of $\Omega \odot \Phi$, divided by $p$, for $\sigma$. How close to their limits are
# the two papers?

# %%
forms = {"Yaras": (62.9, 0.2, 0.005, "gradient", 1e-3)}
forms |= {"Kwon": (19.9, 0.3, 10 / M, "surrogate", 0.01)}
rows = {}
for name, (sigma, p, rate, form, scale) in forms.items():
    own = {"start": form, "scale": scale}
    limits = [
        limiting_rate(sigma, p, factor_lr_ratio=g, **own) for g in (0.01, 0.1, 1, 5)
    ]
    rows[f"{name} et al."] = [rate / limit for limit in limits]
claims.table([f"γ = {g}" for g in (0.01, 0.1, 1, 5)], rows)

# %% [markdown]
# The table has the rate as a share of the stable one. Yaras et al. use nearly half of it at
# $\gamma = 0.01$, and with $\gamma = 1$ would be far beyond it. Kwon et al. stay far below the limit, and a larger
# $\gamma$ brings them closer to it. So $\gamma = 5$ should be faster than $\gamma = 1$ at the published rate, and no
# faster when each has the same share of its own limit.


# %%
def until(run, goal):
    """Steps to the first record with a smaller test error."""
    first = (run["test_error"] < goal).nonzero()
    return run.steps[first[0]].item() if len(first) else math.inf


def gain(draw, lr, large=5):
    """Steps with γ = 1 over steps with a large γ."""
    own = {"scale": 0.01, "tol": 5e-4, "steps": 30_000, "every": 20, "lr": lr} | common
    one, other = (
        until(complete(draw, target.shape, factor_lr_ratio=gamma, **own), 3e-3)
        for gamma in (1, large)
    )
    return one / other


at_half, at_published = ([gain(draw, lr) for draw in draws] for lr in (None, 10 / M))
claims.check("completion-gamma", at_half, 1, rel=0.2, control=at_published)
larger = [gain(draws[0], None, large) for large in (20, 100)]
claims.show("γ = 1 over γ = 20 and 100, at half of the limit", *larger)

# %% [markdown]
# At one rate $\gamma = 5$ is three times as fast, as {eq}`eq-mc-gamma` says: 2.9 is the rate, and the changed start
# gives 5 % more. At equal shares of the limit only this is left; it grows slowly with $\gamma$.
#
# :::{admonition} Slide check: which γ?
# :class: warning slide-check
# :name: slide-check-mc-rate
# The slides give a discrepant rate $\gamma \eta$ and no value (*From Deep Matrix Factorization to Completion?*). The
# papers behind them use 0.01 and 1 to 5. They do not contradict each other: $\gamma$ is a rate in disguise, and they
# differ in the form of the network and in how close $\eta$ is to its limit. Neither number may be carried over.
# :::
#
# (sec-mc-narrow)=
# ## Not the same as a narrow network?
#
# A network of width $2 \hat r$ is what we train in the end. Could we have started with one? The surrogate form with
# $\gamma = 1$ and a narrow network have weights of the same shapes and take the same steps. Only the start differs.
# The lectures answer no: over-parametrised networks are easier to train.
#
# What is the difference? A random start begins with ends of size $\varepsilon \sqrt{w / 2d}$,
# {eq}`eq-mc-start`. The compressed start has looked up the directions, and begins with ends of size $\varepsilon$. That
# is a matter of $\varepsilon$. So give each form and each depth its best start and rate out of the map.

# %%
FORMS = {"full": ("full", 50), "compressed, 6": ("compressed", 6)}
FORMS |= {"narrow, 6": ("narrow", 6), "narrow, 3": ("narrow", 3)}
rows = {}
for depth in (2, 3, 4):
    for label, form in FORMS.items():
        (eps, rate), number, steps, _ = best(tried(depth, *form))
        rows[f"L = {depth}, {label}"] = [number, steps, f"{eps:g}", f"{rate:g}"]
claims.table(["found of 3", "steps", "best ε", "best rate"], rows)


# %%
def steps_of(label, eps):
    """Steps of three layers at 0.7 of the limiting rate, in the three draws."""
    runs = tried(3, *FORMS[label])[eps, 0.7]
    return np.array([run["steps"] or math.inf for run in runs])


narrow, larger, tiny = (steps_of("narrow, 6", eps) for eps in (0.03, 0.1, 0.01))
told, wide = steps_of("compressed, 6", 0.03), steps_of("full", 0.07)
claims.check("completion-narrow", narrow / told, above=1.2, control=larger / told)
behind = tiny / steps_of("full", 0.01)
claims.check("completion-narrow-best", larger / wide, 1, rel=0.25, control=behind)
thin, thick = (
    [run["test_error"] for run in tried(3, *FORMS[label])[1.0, 0.7]]
    for label in ("narrow, 3", "full")
)
claims.check("completion-thin", thin, below=0.015, control=thick)

# %% [markdown]
# At one $\varepsilon$ the lectures are right. From $0.03$ three full layers need 480 steps, the compressed ones a tenth
# to a fifth less, and the narrow ones of the same width a third more. With each at its best start the order is gone:
# 340 steps (full), 310 (compressed), 280 (narrow), middle of three draws. For two layers no form of width six or more
# differs from another, and for four hardly.
#
# Even width $r$ loses nothing in the middle draw, if it may start with layers of size one. A network that can represent
# nothing worse need not be kept from it. What it loses is evenness: the slowest of three draws takes 650 steps with
# three layers and 1150 with four, and from the small starts of the others some draws are not found at all. *A compressed
# network is a narrow one that has been told where to look; a narrow one with a larger start hardly needs to be told.*
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
# $O(M \hat r + d \hat r^2 + L \hat r^3)$ operations, and no memory of size $d^2$.
#
# With 200 entries per row on average, $M = 200\, d$, a step should cost time proportional to $d$. The table has
# milliseconds per step, next to the full network as far as that goes, and runs with $d$ up to 20 000 are recorded: a
# matrix with 400 million entries. The conditions of these runs are kind: equal singular values, a known rank
# $\hat r = r = 5$, $\varepsilon = 0.3$, half the limiting rate, and for the largest matrix twenty times more entries
# than degrees of freedom.

# %%
scale_record = recorded("completion-scale").values
# Hardly more entries than degrees of freedom.
medium = low_rank_matrix((500, 500), r, **F64)
few = observe(medium, 10 / 500, generator=generator)
own = {"rank": r, "scale": 0.3, "steps": 2000, "generator": generator}
too_few = error(complete(few, medium.shape, test=observe(medium, 1.0), **own))
reached = [row["test_error"] for row in scale_record]
claims.check("completion-scale", reached, below=1e-3, control=too_few)
seconds, gigabytes = scale_record[-1]["seconds"], scale_record[-1]["gigabytes"]
claims.show("the largest: seconds on one core, GB", seconds, gigabytes)


# %%
def milliseconds(dim, method, steps):
    """Middle time of a step."""
    large = low_rank_matrix((dim, dim), r, **F64)
    sample = observe(large, 200 / dim, generator=generator)
    own = {"rank": r, "lr": 1e-9, "method": method, "generator": generator}
    run = complete(sample, large.shape, steps=steps, every=1, **own)
    return 1000 * run["seconds"].diff().median().item()


thin = {dim: milliseconds(dim, "compressed", 10) for dim in (1000, 2000, 4000, 8000)}
thick = {dim: milliseconds(dim, "full", 3) for dim in (250, 500, 1000)}
for name, times in (("compressed", thin), ("full", thick)):
    claims.table([f"d = {dim}" for dim in times], {name: list(times.values())})

# %% [markdown]
# Twice the size takes about twice the time in the compressed network, and up to eight times in the full one. Three full
# layers for $d = 20\,000$ are 9 GB, before any step is taken.
#
# :::{admonition} Slide check: O(Ld)?
# :class: warning slide-check
# :name: slide-check-mc-cost
# *Complexity: original network $O(Ld^2)$ vs compressed network $O(Ld)$*, say the slides. As parameters: the factor $L$
# does not multiply $d$. As operations per step: $O(L d^3)$ and, if only observed entries are computed,
# $O(M \hat r + d \hat r^2 + L \hat r^3)$.
# :::
#
# (sec-mc-peers)=
# ## When not to use it
#
# Matrix completion is old, and deep networks are not its standard tool. Two others deserve a look.
#
# - *Alternating least squares* fixes one of two thin factors and solves for the other, row by row, a small linear
#   system each {cite}`koren2009matrix`. It must be told a rank. A penalty on both factors keeps rows from running away
#   that are hardly seen.
# - *Soft-impute* minimises half the squared error plus $\lambda$ times the nuclear norm, a convex problem: fill what
#   is missing with the current estimate, shrink the singular values by $\lambda$, repeat {cite}`mazumder2010spectral`.
#   It needs no rank.
#
# A race at equal accuracy: seconds to an error of 0.001 at all entries of our 100 × 100 matrices of rank five, for
# three draws of matrix and entries. (Found means below 0.001 here.) Each method has its best setting, chosen with the
# truth in hand.
#
# - Least squares: four fixed penalties, or one that begins large and falls by a fifth with every round. It is told the
#   rank, or, like the compressed network, only that it is at most eight. *Held out* tries the ranks one to eight and
#   keeps the one that predicts a tenth of the entries best; its time is that of all eight.
# - Soft-impute: three penalties, reached by lowering, 2000 steps.
# - The networks: five or six $\varepsilon$, three layers, the automatic rate, at most 15 000 steps.
#
# The runs are recorded, in seconds of one core.

# %%
RACES = recorded("completion-peers").values


def raced(share, method):
    """The runs of a method by setting, and the best setting with what it found."""
    groups = grouped(RACES, ("setting",), fraction=share, method=method)
    return groups, best(groups, "seconds")


pairs = dict.fromkeys((row["fraction"], row["method"]) for row in RACES)
rows = {f"{share:.0%}: {name}": raced(share, name)[1][1:] for share, name in pairs}
claims.table(["found of 3", "seconds", "error"], rows)


# %%
def each(share, method, key):
    """Seconds or errors of the three draws at the best setting."""
    groups, (setting, *_) = raced(share, method)
    return np.array([run[key] for run in groups[setting]])


bounded = [
    each(0.2, name, "test_error") for name in ("compressed", "least squares, held out")
]
told_eight = each(0.2, "least squares, rank 8", "test_error")
claims.check("completion-fifth", bounded, below=0.005, control=told_eight)
seconds = {name: each(0.3, name, "seconds") for name in ("compressed", "full")}
slower = seconds["compressed"] / each(0.3, "least squares, rank 5", "seconds")
beside_full = seconds["compressed"] / seconds["full"]
claims.check("completion-als-time", slower, above=5, control=beside_full)

# %% [markdown]
# Who wins where?
#
# - *The rank is known*: least squares, by a wide margin. It takes a seventh of the compressed network's time from 20 %
#   of the entries and a tenth from 30 %. The network takes a third to a half of the full one's.
# - *Only a bound on the rank is known*: told eight in place of five, least squares finds one of nine matrices. Let
#   held-out entries choose the rank, and it finds all from 20 % on, in 0.3 to 0.4 seconds. So does the compressed
#   network, in 0.1 to 0.3. It needs no choice of rank. But its $\varepsilon$ was chosen with the truth in hand, and
#   that rank was not.
# - *Hardly more entries than degrees of freedom*, 15 %: a fixed penalty is either biased or unstable. One that falls
#   finds two of three, in 0.05 seconds, or in 0.2 without knowing the rank. The compressed network finds two as well,
#   from its smallest start and in two seconds.
# - Soft-impute needs neither rank nor start, and pays with entries. From 20 % its solution is a quarter off.
#
# In practice, then: least squares with a falling penalty, its rank by held-out entries; if there is no rank at all, see
# below. In no row is the full network ahead. It is the simplest model in which one can see how a network with more weights
# than data finds a simple solution.
#
# (sec-mc-real)=
# ## A real matrix
#
# The pixels of handwritten digits, one image per row, half of them missing. This matrix has no rank to speak of: its
# singular values decay, and that is all. What does the low-rank bias make of it? A tenth of the visible pixels is held
# back. They stop everybody, and choose everybody's settings: $\varepsilon$ and $\hat r$ of the networks, rank and
# penalty of least squares, the penalty of soft-impute. The hidden pixels judge. The runs are recorded.

# %%
PIXELS = recorded("completion-pixels").values


def hidden_error(trial, method):
    """Error at the hidden pixels, at the setting that the held-back ones choose."""
    if method not in trial["runs"]:
        return trial[method]
    return min(trial["runs"][method], key=lambda run: run["held"])["hidden"]


names = ["mean of all", "pixel's mean", *PIXELS[0]["runs"]]
rows = {name: [hidden_error(trial, name) for trial in PIXELS] for name in names}
claims.table(["seed 0", "seed 1", "seed 2"], rows, digits=3)
over_mean = {name: np.divide(rows[name], rows["pixel's mean"]) for name in names}
learned = [over_mean[name] for name in names[2:]]
claims.check("completion-digits", learned, below=0.95, control=over_mean[names[0]])
small_start = [
    run["hidden"] / two
    for trial, two in zip(PIXELS, rows["L = 2"], strict=True)
    for run in trial["runs"]["L = 3"]
    if (run["rank"], run["scale"]) == (10, 0.2)
]
apart = np.divide(rows["L = 3"], rows["L = 2"])
claims.check("completion-digits-depth", apart, 1, rel=0.05, control=small_start)

# %% [markdown]
# All four beat the pixel's mean, and none is exact, as there is nothing exact to find. Two layers are first, ahead of
# three by two per cent and of least squares by four or five. Here the third layer buys nothing. Handwriting has many
# singular values that matter: in five cases of six the held-back pixels chose $\hat r = 30$, nearly the most there can be.
# *A bias helps where it is true.*
#
# ## Exercises
#
# :::{exercise} Counting
# :label: ex-mc-count
# *Warm-up, 10 minutes.* How many numbers determine a $d \times d$ matrix of rank $r$? What is the smallest share of
# entries from which one could hope to recover a matrix with $d = 100$ and $r = 5$? Why must every row have at least
# $r$ observed entries?
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
# :::{exercise} What is stored
# :label: ex-mc-storage
# *Warm-up, 10 minutes.* Count the parameters of the full network, of both compressed forms and of the narrow network of
# width $2 \hat r$, for $d = 400$, $\hat r = 3$ and $L = 4$. By how much does each grow with a fifth layer?
# :::
#
# :::{solution} ex-mc-storage
# :class: dropdown
# Full: $L d^2 = 640\,000$; 160 000 more. Gradient form: $L$ cores and two factors, $4 L \hat r^2 + 4 d \hat r$, that is
# 144 and 4800; 36 more. Surrogate form and narrow network: the factors are two of the layers, and
# $4 (L - 2) \hat r^2 + 4 d \hat r$ is 72 and 4800; 36 more. Depth is nearly free in all but the first.
# :::
#
# :::{exercise} The rich get richer
# :label: ex-mc-rich
# *Core, 20 minutes.* Solve {eq}`eq-rich` with a constant pull $g$ and start $\sigma(0) = \varepsilon^L$, for $L = 2$
# and for $L \ge 3$. Two directions have the pulls $g$ and $\kappa g$ with $0 < \kappa < 1$. How far has the second
# come when the first is of size one ($L = 2$), or grows without bounds ($L \ge 3$)?
#
# *Hint.* What is the derivative of $\sigma^{-1 + 2/L}$?
# :::
#
# :::{solution} ex-mc-rich
# :class: dropdown
# $L = 2$: $\sigma = \varepsilon^2 e^{2gt}$. The first is one when $e^{2gt} = \varepsilon^{-2}$, at
# $t = \log(1/\varepsilon)/g$. The second is then $\varepsilon^2 e^{2 \kappa g t} = \varepsilon^{2 (1 - \kappa)}$.
# $L \ge 3$:
#
# $$
# \tfrac{d}{dt} \sigma^{-1+2/L} = -\big( 1 - \tfrac2L \big)\, \sigma^{-2 + 2/L}\, \dot\sigma = -(L - 2)\, g ,
# $$
#
# so $\sigma^{-1+2/L} = \varepsilon^{2-L} - (L-2)\, g t$, which reaches zero at $t = \varepsilon^{2-L} / ((L-2) g)$.
# The second has $(1 - \kappa)\, \varepsilon^{2-L}$ left at that time, so its
# $\sigma = (1 - \kappa)^{-L/(L-2)}\, \varepsilon^L$: a constant factor above its start, where for $L = 2$ the
# factor was $\varepsilon^{-2 \kappa}$. With $\kappa = 0.7$ and $L = 3$ the factor is $37$.
# :::
#
# :::{exercise} Guessing the rank
# :label: ex-mc-guess
# *Core, 15 minutes.* Complete the matrix of {ref}`sec-mc-missing` ($r = 5$, surrogate start) with $\hat r = 2, 3, 5$
# and 20. Which succeed? Why does one with $\hat r < r$?
# :::
#
# :::{solution} ex-mc-guess
# :class: dropdown
# In a run of ours the errors were 0.35 for $\hat r = 2$ and 0.001 for the others. The width is $2 \hat r$, and for a
# matrix of rank five it must be at least five: $\hat r = 3$ has room, with width six, $\hat r = 2$ has not. Without
# noise a guess from above does no harm beyond its cost: small singular values that nothing pulls at stay small.
# :::
#
# :::{exercise} Spikes
# :label: ex-mc-spike
# *Core, 20 minutes.* Add 100 to the entry $(0, 0)$ of the target, which raises the rank by one, and complete it from
# 60 % of the entries, with that entry among the hidden ones. What happens, and which assumption have we not
# mentioned? Would more entries help?
# :::
#
# :::{solution} ex-mc-spike
# :class: dropdown
# The result is the matrix without the spike, which fits all that is seen: in a run of ours $-0.225$ in the corner, as
# without the 100. A singular vector that lives on one entry is seen there or nowhere. Guarantees for completion therefore
# assume *{term}`incoherence`*: singular vectors that are spread out, as random ones are. More entries help only if that
# one is among them, and not even then for sure: any $x y^\top$ with $x_0 y_0 = 100$ that vanishes at all other seen
# places goes with what we see, and it is free at the unseen ones of row 0 and of column 0.
# :::
#
# :::{exercise} Better rates
# :label: ex-mc-open
# *Open, an afternoon.* All our rates are fixed. {eq}`eq-mc-stable` says how much is stable at the end, if one knows
# $\sigma$. Which rates would you take, and would you change them on the way? Report steps to a test error of
# $10^{-3}$ over ten seeds, for $d = 100$ and 400, next to the automatic rate.
# :::
#
# :::{solution} ex-mc-open
# :class: dropdown
# Three directions. Choose the two sizes of the start in place of $\gamma$: outer layers as large as they will be at the
# end leave only the cores to wait for. Or move the size of $U$ and $V$ into the cores by a QR decomposition after every
# step. Or start with a large $\eta$, which the saddle at zero allows, and lower it as $\sigma$ grows.
# :::
#
# ## Summary
#
# - A product of layers that starts small learns one singular value after the other, the strongest first. The wait
#   grows like $\log(1/\varepsilon)$ for two layers and like $\varepsilon^{2-L}$ for more, and narrow layers start with
#   smaller ends.
# - Depth lets a moderate start keep false directions small, for which two layers need a tiny one. With each depth at
#   its best no depth was ahead from a quarter of the entries; from a fifth there is a hint for depth.
# - Width saves steps from one $\varepsilon$. With each width at its best start it did not in our runs.
# - With all entries known, training a $d$-wide network is the same as training one of width $2 \hat r$, up to exactly
#   $|\rho(t)|^L \sqrt{d - 2\hat r}$. With entries missing, frozen factors stall and factors that learn mend it. Their
#   $\gamma$ is a rate in disguise, and the stable rate has a formula.
# - If only observed entries are computed, a step costs time proportional to their number. To fill in a matrix of low
#   rank, take least squares with a falling penalty. Where there is no rank, as in handwriting, two layers are ahead of
#   it, and a third buys nothing.
#
# ## Further reading
#
# Gissin, Shalev-Shwartz and Daniely on how depth makes learning incremental {cite}`gissin2020implicit`. Candès and
# Recht, who showed when nuclear-norm minimisation is exact {cite}`candes2009exact`.
