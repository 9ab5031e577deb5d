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
from lecturelib.experiments.deep_matrix_completion import completion_pixels
from lecturelib.explore import explore
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
    n: np.polyfit(np.log(SMALL), np.log(gaps), 1)[0] for n, gaps in distance.items()
}
claims.check("completion-two", slopes[2], 2.76, rel=0.1, control=slopes[1])

# %% [markdown]
# Everything below is this example made large. *A small start and a product of layers prefer low rank; what
# remains of the preference is a power of the start.*
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
# the full network does not need. Errors are the norm of the difference over the norm of the truth, at the observed
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
# on it with $g$. On average over the places that are seen, $g = p\, (\sigma_\star - \sigma)$. Each layer moves by
# $g$ times the product of all others:
#
# $$ \dot a = g\, a\, c^k , \qquad \dot c = g\, a^2 c^{k-1} . $$ (eq-mc-sizes)
#
# When all layers are equal, $a = c = s$, every layer moves by $\dot s = g s^{L-1}$, and the product $\sigma = s^L$
# by
#
# $$ \dot\sigma = L\, s^{L-1} \dot s = L\, \sigma^{2 - 2/L}\, g . $$ (eq-rich)
#
# Arora et al. show the same for all {term}`balanced <balancedness>` networks, with the singular vectors of
# the product {cite}`arora2019implicit`. What is large grows faster: the rich get richer. As long as $\sigma$ is
# small the pull is constant, $g = p\, \sigma_\star$, and the equation is solved in a line
# ({ref}`exercise <ex-mc-rich>`).
#
# - For $L = 2$ the product grows exponentially, $\sigma = \varepsilon^2 e^{2gt}$. It is of size one at
#   $t = \log(1/\varepsilon) / g$.
# - For $L \ge 3$ nothing seems to happen for long. Then the product explodes, at
#   $t = \varepsilon^{2-L} / ((L-2)\, g)$.
#
# Either way the waiting time is proportional to $1/\sigma_\star$. The strongest singular value appears first, then
# the second, and the error falls in stairs.
#
# **Where a random start begins.** Random orthogonal layers are not aligned with $\Phi$. Let the layers have width
# $w$. The first one has $w$ orthogonal rows in a random position, so of a given vector $v$ it passes on the share
# $w/d$ of the squared length, on average: $W_1(0)\, v$ has length about $\varepsilon \sqrt{w/d}$. So has the other
# end, $W_L(0)^\top u$. Carried to one layer in between, the two ends are vectors with nothing to do with each other.
# They pull each other along, and only their mean grows; of two orthogonal vectors of one length the mean is shorter
# by $\sqrt2$. The direction thus begins with
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
    return run.steps[half.long().argmax(0)].tolist()


def values(factors):
    """The three largest singular values of the product."""
    return torch.linalg.svdvals(end_to_end(factors))[:3]


stairs = {"lr": 0.01, "depth": 3, "scale": 0.02, "tol": 1e-3}
stairs |= {"steps": 12_000, "every": 10, "metrics": {"values": values}}
draws = [observe(small, 0.4, generator=generator) for _ in range(3)]
rows, predicted, halves = {}, {}, {}
for w, own in {50: {"method": "full"}, 6: {"method": "narrow", "width": 6}}.items():
    predicted[w] = np.array(
        [steps_to_half(s, 0.4, 0.01, 3, 0.02, w / 100) for s in STRENGTHS]
    )
    own |= stairs | {"generator": generator}
    halves[w] = np.mean(
        [measured(complete(seen, small.shape, **own)) for seen in draws], axis=0
    )
    rows |= {f"w = {w}, predicted": predicted[w], f"w = {w}, measured": halves[w]}
claims.table([f"σ = {s}" for s in STRENGTHS], rows, digits=3)
ratios = [halves[w] / predicted[w] for w in (50, 6)]
claims.check(
    "completion-stairs", ratios, 1, rel=0.35, control=halves[6] / predicted[50]
)

# %% [markdown]
# A formula with three knobs predicts within a fifth, on average over draws, when each singular value arrives.
# With 60 % of the entries missing the largest comes a little early: the zeros add noise, and noise adds to the
# pull on what is strong. Leave out the width in {eq}`eq-mc-start`, and the narrow network is predicted to be half
# again as fast as it is.
#
# *A singular value waits for a time that falls with its size, with $\varepsilon$ and with $w/d$; then it comes in
# one stroke.* Turn the two knobs below. The fourth singular value, in grey, does not exist in the target. It grows
# from the gaps.

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
    return (
        f"{L} layers from {eps}: the three singular values 9, 6 and 4 are predicted to be half "
        f"learned at steps {predicted[0]}, {predicted[1]} and {predicted[2]}; after 5000 steps the "
        f"four largest are {ends}."
    )


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
# What the gaps add also pulls, in many directions, each less hard than the target. Let a true direction be pulled
# with $g$ and a false one with $\kappa g$, $\kappa < 1$. How far has the false one come when the true one is of size
# one? {eq}`eq-rich` answers ({ref}`exercise <ex-mc-rich>`).
#
# - Two layers: the false one is at $\varepsilon^{2 (1 - \kappa)}$. With $\kappa = 0.7$ and $\varepsilon = 10^{-3}$
#   that is $0.016$, and with $\varepsilon = 10^{-8}$ it is $2 \cdot 10^{-5}$.
# - Three layers: it has grown by the factor $(1 - \kappa)^{-3}$, whatever $\varepsilon$ is. With $\varepsilon =
#   10^{-2}$ it is at $4 \cdot 10^{-5}$.
#
# So depth is not the only way to keep the gaps quiet. A tiny start does it as well, and two layers wait only
# $\log(1/\varepsilon)$ for it. First see with your eyes what loud gaps look like.

# %% tags=["hide-input"]
mosaic = low_rank_matrix((24, 24), 2, singular_values=[8, 6], **F64)
truth = mosaic.dense()
pieces = observe(mosaic, 0.35, generator=generator)
with_gaps = torch.full((24, 24), torch.nan, dtype=torch.float64)
with_gaps[pieces.rows, pieces.cols] = pieces.values


def fill(L, eps):
    """Products when the training error is one half, when it is one fifth, and at the end."""
    own = {"method": "full", "depth": L, "scale": eps, "steps": 4000, "tol": 1e-3}
    own |= {"every": 5, "metrics": {"product": end_to_end}}
    run = complete(
        pieces, truth.shape, **own, generator=torch.Generator().manual_seed(1)
    )
    left = run["train_error"]
    when = [int((left < goal).long().argmax()) for goal in (0.5, 0.2)] + [len(left) - 1]
    when = [t or len(left) - 1 for t in when]  # never, so far
    gaps = [((run["product"][t] - truth).norm() / truth.norm()).item() for t in when]
    return [run["product"][t] for t in when], run.steps[when].tolist(), gaps


fills = {(L, eps): fill(L, eps) for L in (2, 3, 4) for eps in (1.0, 0.3, 0.1, 0.03)}


def draw_fill(L, eps):
    fig, axes = plt.subplots(1, 5, figsize=(7.6, 1.9))
    pictures = [("truth", truth), ("seen", with_gaps)]
    for product, step, gap in zip(*fills[L, eps], strict=True):
        pictures.append((f"step {step}: {gap:.2g}", product))
    for ax, (title, picture) in zip(axes, pictures, strict=True):
        ax.imshow(picture, cmap="PuOr", vmin=-0.9, vmax=0.9)
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()
    return fig


def describe_fill(L, eps):
    _, steps, gaps = fills[L, eps]
    last = f"step ⟨{steps[-1]}⟩ with the error ⟨{gaps[-1]:.2g}⟩ at all entries"
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
# and four layers complete 50 × 50 matrices of rank three from 20 % and from 25 % of the entries: three draws, three to
# five starts $\varepsilon$ for each depth, rates of 0.3 and 0.7 of the limit. The runs are recorded. A matrix counts
# as found once the error at all entries is below one per cent.

# %%
MAP = recorded("completion-map").values


def tried(depth, method="full", width=50, fraction=0.25):
    """Runs of one form of network by ε and rate: three draws each."""
    groups = {}
    for row in MAP:
        form = row["depth"], row["method"], row["width"], row["fraction"]
        if form == (depth, method, width, fraction):
            for run in row["runs"]:
                groups.setdefault((row["scale"], run["rate"]), []).append(run)
    return groups


def summary(runs):
    """Draws that were found, and the middle one of the steps that they took."""
    steps = [run["steps"] or math.inf for run in runs]
    return sum(s < math.inf for s in steps), median(steps)


def best(groups):
    """The start and rate that find most, the quickest of these; and what they find."""
    return max(
        ((setting, *summary(runs)) for setting, runs in groups.items()),
        key=lambda entry: (entry[1], -entry[2]),
    )


rows, at_best = {}, {}
for fraction in (0.2, 0.25):
    for depth in (2, 3, 4):
        (eps, rate), number, steps = best(tried(depth, fraction=fraction))
        at_best[depth, fraction] = number, steps
        rows[f"{fraction:.0%}, L = {depth}"] = [number, steps, f"{eps:g}", f"{rate:g}"]
claims.table(["found of 3", "steps", "best ε", "best rate"], rows)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-depth", "caption": "What depth buys, at the better of two rates for each start: full width, $d = 50$, $r = 3$, 25 % of the entries, middle of three draws. Left: error at all entries when the observed ones are fitted. Right: steps until it is below one per cent, for the starts from which most draws are found. The start is given by the size of the product, $\\varepsilon^L$."}, "image": {"alt": "Two panels over the size of the product at the start, on logarithmic axes from 1e-30 to 0.1. Left, errors: two layers fall slowly, from 0.4 at a start of 0.01 over 0.08 at 1e-6 to 0.003 at 1e-20 and 1e-30; three layers are at 0.003 from a start of 3e-5 on, four from 2e-3 on. Right, steps: two layers need some 470 from 1e-30, three 480 from 3e-5, twice that from 1e-6 and 3500 from 1e-3, four 510 from 2e-3 and over twice that from 1e-4."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3), sharex=True)
for depth, look, colour in zip((2, 3, 4), ("o-", "s--", "^:"), COLOURS, strict=False):
    groups = tried(depth)
    sizes = sorted({eps for eps, _ in groups})
    x = np.array(sizes) ** depth
    gaps = [
        min(
            median(run["test_error"] for run in groups[eps, rate])
            for rate in (0.3, 0.7)
        )
        for eps in sizes
    ]
    steps = [min(summary(groups[eps, rate])[1] for rate in (0.3, 0.7)) for eps in sizes]
    axes[0].loglog(x, gaps, look, color=colour, label=f"L = {depth}")
    axes[1].loglog(x, steps, look, color=colour)
axes[0].set(xlabel=r"start, $\varepsilon^L$", ylabel="error, all entries")
axes[1].set(xlabel=r"start, $\varepsilon^L$", ylabel="steps")
axes[0].legend(fontsize=8)
plt.show()

# %%
from_tiny, from_small = (tried(2)[eps, 0.3] for eps in (1e-15, 1e-3))
tiny, loud = ([run["test_error"] for run in runs] for runs in (from_tiny, from_small))
claims.check("completion-shallow-tiny", tiny, below=0.015, control=loud)
three = [run["test_error"] for run in tried(3)[0.03, 0.3]]
claims.check("completion-depth", three, below=0.015, control=loud)
apart = [
    [run["test_error"] / run["train_error"] for run in runs]
    for runs in (from_small, from_tiny)
]
claims.check("completion-overfit", apart[0], above=20, control=apart[1])

# %% [markdown]
# From 25 % of the entries every depth finds all three matrices at its best, and in about as many steps. What differs
# is the start that it needs. Two layers need a product of $10^{-30}$. From $\varepsilon = 10^{-3}$, which looks
# small, they fit what they see and have learned something else in between: they overfit. Three layers are content
# with $\varepsilon = 0.03$, and four with $0.2$. *Depth lets a moderate start do what two layers need a tiny one
# for.*
#
# From 20 %, 1.7 entries for every degree of freedom, two layers find one matrix, three layers two and four layers all
# three. So where entries are scarce depth does save some, as the lectures say. With three draws that is a hint.
#
# Nor is the rate innocent: at 0.7 of the limit in {eq}`eq-mc-limit`, which is an average over masks, two layers fail
# where they succeed at 0.3.
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
claims.check("completion-slide-error", deep, below=0.005, control=flat)
steps = {w: slide[3, w]["steps"] for w in WIDTHS}
saved = [t / median(steps[20]) for t in steps[100]]
claims.check(
    "completion-width",
    saved,
    below=0.75,
    control=[t / median(steps[20]) for t in steps[20]],
)
claims.table(
    [f"w = {w}" for w in WIDTHS],
    {
        f"L = {depth}, {name}": [median(slide[depth, w][key]) for w in WIDTHS]
        for depth in (2, 3)
        for name, key in (("error", "test_error"), ("steps", "steps"))
    },
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-width", "caption": "The slides' figure, recorded: error at all entries (left) and steps until the observed ones are fitted to $10^{-5}$ (right) over the width, five starts each (dots; 40 000 steps at most), from $\\varepsilon = 10^{-3}$ for both depths. Right, dashed: when three layers have half learned the tenth singular value, by {eq}`eq-mc-start`."}, "image": {"alt": "Two panels over the width, from 10 to 100. Left, errors on a logarithmic axis: two layers lie near one ten-thousandth at width 10 and near one tenth from width 20 on; three layers lie below one ten-thousandth from width 20 on, and at width 10 three of five dots lie near one half. Right, steps: three layers fall from about 40 thousand at width 10 over 24 thousand at width 20 to 11 thousand at width 100; a dashed curve below them falls from 15 to 8.5 thousand; two layers need about 2 to 3 thousand from width 40 on, nearly 30 thousand at width 20 and less than a thousand at width 10."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3))
for depth, marker, shift, colour in ((2, "o", -1, COLOURS[0]), (3, "s", 1, COLOURS[1])):
    for ax, key in zip(axes, ("test_error", "steps"), strict=True):
        for w in WIDTHS:
            x = np.full(5, w + shift)
            label = f"L = {depth}" if w == 10 else None
            look = {
                "color": colour,
                "markersize": 4,
                "fillstyle": "none",
                "label": label,
            }
            ax.semilogy(x, slide[depth, w][key], marker, **look)
tenth = [steps_to_half(16.4, 0.3, 0.03, 3, 1e-3, w / 200) for w in WIDTHS]
axes[1].semilogy(WIDTHS, tenth, "--", color="0.4", linewidth=1)
axes[0].set(xlabel="width", ylabel="error, all entries")
axes[1].set(xlabel="width", ylabel="steps")
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# All that the lectures show is there. Three layers find the matrix, and two are wrong between the entries they have
# fitted. Wide networks need fewer steps. The dashed line is what {eq}`eq-mc-start` says of a direction with the
# average overlap. It has the right trend and is too low, by a quarter at full width and by nearly a half at width 20:
# the end of a run waits for the slowest of ten directions, and with few rows chance leaves some directions with far
# less than their share. At width $r = 10$ the picture turns over. There two layers find the matrix, since they can
# represent nothing worse, and of five runs with three layers three are stuck.
#
# But $\varepsilon$ is the same for all widths, and by {eq}`eq-mc-start` that is not fair. A narrow network at
# $\varepsilon \sqrt{d/w}$ begins with the ends of a wide one. {ref}`Later <sec-mc-narrow>` we let each have its best.
#
# So over-parametrisation buys a good start, and it costs. Three layers of width $d$ have $3 d^2$ weights, and a step
# multiplies several $d \times d$ matrices, $O(L d^3)$ operations. For $d = 20\,000$ that would be 1.2 billion
# weights for a matrix with 400 million entries. {numref}`fig-mc-cost` measures it.
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
draws = [observe(target, 0.3, generator=generator) for _ in range(3)]
rows = {
    f"draw {n + 1}": lengths_kept(draw).tolist()
    for n, draw in enumerate([seen, *draws])
}
claims.table([f"σ = {s:g}" for s in strengths], rows)
turned = [min(row) for row in rows.values()]
most = [
    lengths_kept(observe(target, 0.99, generator=generator)).min() for _ in range(3)
]
claims.check("completion-turned", turned, below=0.93, control=most)

# %% [markdown]
# Write $\Omega \odot \Phi = p\, \Phi + N$, where $p$ is the share of entries observed and $N$ is noise, of full
# rank. The table has the length of each left singular vector of $\Phi$ within the span of the leading five of
# $\Omega \odot \Phi$: the strongest survive the noise better than the weakest.
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


above_floor, above_other, stalled = [], [], []
for draw in draws:
    own = {"factor_lr_ratio": 0, "steps": 4000}
    frozen = complete(draw, target.shape, **own, **common, **gradient)
    reached = frozen["train_error"][-1]
    floor = least_squares(draw, frozen.factors[-1], frozen.factors[0].mT)
    above_floor.append(reached / floor)
    above_other.append(
        reached / least_squares(draw, *torch.randn(2, d, 2 * guess, **F64))
    )
    stalled.append(error(frozen))
claims.check("completion-floor", above_floor, 1, rel=0.2, control=above_other)

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
# That leaves the number $k$ of cores, where to start $U$ and $V$, and which $\gamma$. Two papers answer
# differently.
#
# - Yaras et al. {cite}`yaras2023law` start from the law: $U$ and $V$ have orthonormal columns and span what the
#   first step from an orthogonal start would move. The cores start at $\varepsilon I$, and there are $k = L$ of them
#   in addition to $U$ and $V$. Their $\gamma$ is 0.01 (`start="gradient"`).
# - Kwon et al. {cite}`kwon2024efficient` take the leading $2 \hat r$ singular vectors of $\Omega \odot \Phi$, multiply
#   them by $\varepsilon$ like everything else, and let them *be* the first and the last of the $L$ layers, so that
#   $k = L - 2$: a network of width $2 \hat r$ with a start that has seen the data. Their $\gamma$ is 1 to 5
#   (`start="surrogate"`).
#
# Here are both settings as they were published, each with its own form, rate and singular values, and
# $\hat r = r = 5$. Kwon et al. have $d = 100$, 30 % of the entries, $\varepsilon = 0.01$ and, of the singular values
# of a Gaussian matrix, every tenth from the first to the 41st. Yaras et al. have $d = 1000$, 20 % of the entries,
# $\varepsilon = 10^{-3}$, and the five largest, which are nearly equal. That takes long, and is recorded.

# %%
published = {
    (row["setting"], row["gamma"]): row for row in recorded("completion-regimes").values
}
last = {name: row["test_error"][-1] for name, row in published.items()}
by_gamma, without = last["Yaras", 0.01], last["Yaras", 0]
claims.check("completion-yaras", by_gamma, below=0.01, control=without)
by_kwon = [last["Kwon", gamma] for gamma in (1, 2, 5)]
claims.check("completion-kwon", by_kwon, below=1e-3, control=stalled)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-published", "caption": "The two published settings. Left, gradient start, $d = 1000$, 20 % of the entries. Right, surrogate start, $d = 100$, 30 %."}, "image": {"alt": "Two panels of test error on a logarithmic axis over steps. Left, with gamma zero the error falls to about one quarter and stays there; with 0.01 it falls at the same time and then on to far below. Right, curves for gamma 1, 2 and 5 descend in stairs below one ten-thousandth, the sooner the larger gamma is."}}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), sharey=True)
for ax, setting in zip(axes, ("Yaras", "Kwon"), strict=True):
    styles = iter(["-", "--", "-."])
    for (name, gamma), row in published.items():
        if name == setting:
            label = rf"$\gamma = {gamma}$"
            ax.semilogy(row["steps"], row["test_error"], next(styles), label=label)
    ax.set(title=f"{setting} et al.", xlabel="step", ylim=(1e-6, 2))
    ax.legend(fontsize=8)
axes[0].set_ylabel("test error")
plt.show()

# %% [markdown]
# **What γ is.** One paper wants 0.01 and the other up to 5. Before choosing, write the network in other letters:
# $\widehat U = U / \sqrt\gamma$ and $\widehat V = V / \sqrt\gamma$, so that
#
# $$ W_{\text{comp}} = \gamma\, \widehat U\, \widetilde W_k \cdots \widetilde W_1 \widehat V^\top . $$
#
# The gradient with respect to $\widehat U$ is $\sqrt\gamma$ times that with respect to $U$. And $\widehat U$ moves
# by $1/\sqrt\gamma$ of what $U$ moves, that is by $\frac{1}{\sqrt\gamma} \gamma \eta\, \nabla_U = \eta\,
# \nabla_{\widehat U}$. All factors learn at one rate. So there never were two rates: $\gamma$ is a number in front
# of the product.
#
# Share that number out among all $N = k + 2$ layers, $\gamma^{1/N}$ to each. What remains is a plain network of $N$
# layers. By the same rule as above it has the rate
#
# $$ \eta' = \gamma^{2/N}\, \eta . $$ (eq-mc-gamma)
#
# Its outer layers start $\gamma^{1/N - 1/2}$ times as large as before and its inner ones $\gamma^{1/N}$ times.
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
# For a given mask the curvature is higher and the true limit lower: by a tenth in the setting of Kwon et al., by a
# quarter for three layers and by a third for two in our map, at 25 %. That is why two layers failed there at 0.7.
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


surrogate = {
    "start": "surrogate",
    "scale": 0.01,
    "tol": 5e-4,
    "steps": 30_000,
    "every": 20,
}
at_half, at_published = [], []
for draw, lr in [*((draw, None) for draw in draws), (seen, 10 / M)]:
    one, five = (
        complete(draw, target.shape, lr=lr, factor_lr_ratio=g, **common, **surrogate)
        for g in (1, 5)
    )
    ratios = at_half if lr is None else at_published
    ratios.append(until(one, 3e-3) / until(five, 3e-3))
claims.check("completion-gamma", at_half, 1, rel=0.3, control=at_published)

# %% [markdown]
# At one rate $\gamma = 5$ is about three times as fast, as {eq}`eq-mc-gamma` says. And beyond the limit? Give the
# gradient form the rate at which $\gamma = 0.1$ uses half of what is stable. Then $\gamma = 1$ should fail.

# %%
strong = limiting_rate(19.9, 0.3, start="gradient", factor_lr_ratio=0.1) / 2
share = strong / limiting_rate(19.9, 0.3, start="gradient", factor_lr_ratio=1)
claims.show("share of the limit with γ = 1", share)


def gradient_form(draw, gamma):
    """Test error that the gradient form reaches at this rate."""
    own = common | gradient | {"lr": strong, "steps": 6000, "tol": 1e-3}
    try:
        return error(complete(draw, target.shape, factor_lr_ratio=gamma, **own))
    except FloatingPointError:  # diverged
        return math.inf


within, beyond = ([gradient_form(draw, gamma) for draw in draws] for gamma in (0.1, 1))
claims.check("completion-stable", within, below=0.02, control=beyond)

# %% [markdown]
# :::{admonition} Slide check: which γ?
# :class: warning slide-check
# :name: slide-check-mc-rate
# The slides give the remedy with a discrepant rate $\gamma \eta$ and no value (*From Deep Matrix
# Factorization to Completion?*). The papers behind them use 0.01 and 1 to 5. They do not contradict each
# other: $\gamma$ is a rate in disguise, {eq}`eq-mc-gamma`, and they differ in the form of the network and in how
# close $\eta$ is to its limit. Neither number may be carried over.
# :::
#
# (sec-mc-narrow)=
# ## Not the same as a narrow network?
#
# A network of width $2 \hat r$ is what we train in the end. Could we have started with one? The surrogate form with
# $\gamma = 1$ and a narrow network have weights of the same shapes and take the same steps. Only the start differs.
# The lectures answer no: over-parametrised networks are easier to train.
#
# We can say what the difference is. By {eq}`eq-mc-start` each direction of a random start begins with ends of size
# $\varepsilon \sqrt{w / 2d}$, while the compressed start has looked up the directions, and begins with ends of size
# $\varepsilon$. That is a matter of $\varepsilon$. The map knows all forms at all starts.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-mc-narrow", "caption": "Steps until the error at all entries is below one per cent, over the start $\\varepsilon$: three layers, $d = 50$, $r = 3$, 25 % of the entries, at 0.7 of the limiting rate, middle of three draws. Starts from which fewer than two draws are found have no mark."}, "image": {"alt": "Steps over the start from 0.01 to 0.1, on logarithmic axes. From 0.01 and 0.03 the compressed network needs fewest steps, the full one a few more, the narrow one of width six about half more, the one of width three three times as many; all need fewer from 0.03. From 0.1 the narrow one of width six needs fewest, about 280, then the compressed one with 360, then width three; the full network needs thousands."}}
FORMS = {"full": ("full", 50), "compressed, 6": ("compressed", 6)}
FORMS |= {"narrow, 6": ("narrow", 6), "narrow, 3": ("narrow", 3)}
fig, ax = plt.subplots(figsize=(6, 3.2))
for (label, form), look in zip(FORMS.items(), ("o-", "s-.", "^--", "x:"), strict=True):
    groups = tried(3, *form)
    scales = sorted({eps for eps, _ in groups})
    ax.loglog(
        scales, [summary(groups[eps, 0.7])[1] for eps in scales], look, label=label
    )
ax.set(xlabel=r"start $\varepsilon$", ylabel="steps")
ax.legend(fontsize=8)
plt.show()

# %%
rows, at_best = {}, {}
for label, form in FORMS.items():
    (eps, rate), number, steps = best(tried(3, *form))
    at_best[label] = number, steps
    rows[label] = [number, steps, f"{eps:g}", f"{rate:g}"]
claims.table(["found of 3", "steps", "best ε", "best rate"], rows)


def steps_of(label, eps):
    """Steps of the three draws at 0.7 of the limiting rate."""
    return np.array(
        [run["steps"] or math.inf for run in tried(3, *FORMS[label])[eps, 0.7]]
    )


narrow, wide = (steps_of(label, 0.03) for label in ("narrow, 6", "full"))
compressed, larger = steps_of("compressed, 6", 0.03), steps_of("narrow, 6", 0.1)
claims.check(
    "completion-narrow", narrow / compressed, above=1.2, control=larger / compressed
)
claims.check("completion-narrow-best", larger / wide, below=1.05, control=narrow / wide)

# %% [markdown]
# At one $\varepsilon$ the lectures are right: of the networks that can hold $2 \hat r$ directions the narrow one is
# the slowest, and the compressed one the fastest, by a tenth or a little more ahead of the full one. With each at
# its best start the order is gone, and the narrow network is not behind. What is lost by being truly narrow shows
# at width $r$: with no room to spare it needs many times the steps, and from most starts some draws are not found
# at all. *A compressed network is a narrow one that has been told where to look; a narrow one with a larger start
# hardly needs to be told.*
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
own = {"rank": r, "scale": 0.3, "steps": 300, "generator": generator}
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
# (sec-mc-peers)=
# ## When not to use it
#
# Matrix completion is old, and deep networks are not its standard tool. Two others deserve a look.
#
# - *Alternating least squares* fixes one of two thin factors and solves for the other, row by row, a small linear
#   system each {cite}`koren2009matrix`. It must be told a rank. A penalty on both factors keeps rows from running
#   away that are hardly seen.
# - *Soft-impute* minimises half the squared error plus $\lambda$ times the nuclear norm, a convex problem: fill the
#   gaps with the current estimate, shrink the singular values by $\lambda$, repeat {cite}`mazumder2010spectral`. It
#   needs no rank.
#
# A race at equal accuracy: seconds to an error of 0.001 at all entries of our 100 × 100 matrices of rank five, for
# three draws of matrix and entries. Each method has its best setting out of up to five, chosen with the truth in
# hand: penalties for the classical two, $\varepsilon$ for the networks, which have three layers and the automatic
# rate. Least squares is told the rank, or, like the compressed network, only that it is at most eight. The runs are
# recorded, in seconds of one core.

# %%
PEERS = {}
for row in recorded("completion-peers").values:
    group = PEERS.setdefault((row["fraction"], row["method"]), {})
    for run in row["runs"]:
        setting = run.get("penalty", run.get("scale"))
        group.setdefault(setting, []).append(run)


def worth(runs):
    """Draws found, and the middle time and error, better ones larger."""
    seconds = [run["seconds"] or math.inf for run in runs]
    gap = median(run["test_error"] for run in runs)
    return sum(s < math.inf for s in seconds), -median(seconds), -gap


def at_its_best(share, method):
    """The same at the setting that finds most, as it is."""
    found, seconds, gap = max(worth(runs) for runs in PEERS[share, method].values())
    return found, -seconds, -gap


METHODS = list(dict.fromkeys(method for _, method in PEERS))
for share in (0.15, 0.2, 0.3):
    print(f"{share:.0%} of the entries")
    rows = {method: at_its_best(share, method) for method in METHODS}
    claims.table(["found of 3", "seconds", "error"], rows)


def each(share, method, key):
    """Seconds or errors of the three draws, at the setting that finds most."""
    runs = max(PEERS[share, method].values(), key=worth)
    return np.array([run[key] if run[key] is not None else math.inf for run in runs])


network = each(0.2, "compressed", "test_error")
claims.check(
    "completion-fifth",
    network,
    below=0.01,
    control=each(0.2, "soft-impute", "test_error"),
)
seconds = {method: each(0.3, method, "seconds") for method in METHODS}
slower = seconds["compressed"] / seconds["least squares, rank 5"]
claims.check(
    "completion-als-time",
    slower,
    above=2,
    control=seconds["compressed"] / seconds["full"],
)

# %% [markdown]
# Who wins where?
#
# - *The rank is known, and a fifth of the entries or more are seen*: least squares, by a wide margin. It takes between
#   a sixth and a fifteenth of the compressed network's time, and that takes less than half of the full one's.
# - *Only a bound on the rank is known*: the compressed network. Told eight in place of five, least squares finds
#   nothing, at any penalty, while the network told the same finds all matrices from 20 % on.
# - *Hardly more entries than degrees of freedom*, 15 %: nobody is reliable. The networks come closest.
# - Soft-impute needs neither rank nor start, and pays with entries. From 20 % its solution is a quarter off.
#
# In practice, then: least squares with a small penalty if you know the rank; a compressed network from a small start
# if you do not and the rank is truly low; and if there is no rank at all, see below. The full network is never the
# answer. It is the simplest model in which one can see how a network with more weights than data finds a simple
# solution.
#
# (sec-mc-real)=
# ## A real matrix
#
# The pixels of handwritten digits, one image per row, half of them missing. This matrix has no rank to speak of: its
# singular values decay, and that is all. What does the low-rank bias make of it? Everybody is stopped, and has the
# penalty chosen, by a tenth of the visible pixels that we hold back, and is judged by the hidden ones. Both networks
# have $\hat r = 10$ and start with a product of size $10^{-3}$.

# %%
trials = [completion_pixels(dataset=DATASET, seed=seed) for seed in range(3)]
rows = {name: [trial[name] for trial in trials] for name in trials[0]}
claims.table(["seed 0", "seed 1", "seed 2"], rows, digits=3)


def over(one, other):
    """Ratios of the errors of two methods."""
    return [trial[one] / trial[other] for trial in trials]


learned = [over(name, "pixel's mean") for name in list(rows)[2:]]
claims.check(
    "completion-digits",
    learned,
    below=0.95,
    control=over("mean of all", "pixel's mean"),
)
low_rank = [a / b for a, b in zip(three, loud, strict=True)]
claims.check(
    "completion-digits-depth", over("L = 3", "L = 2"), above=1.04, control=low_rank
)
matched = over("L = 2", "least squares")
claims.check(
    "completion-digits-peers",
    matched,
    1,
    rel=0.05,
    control=over("pixel's mean", "least squares"),
)

# %% [markdown]
# All four beat the pixel's mean, and none is exact, as there is nothing exact to find. Two layers and least squares
# are equally good, soft-impute is a little behind. And the third layer does harm. Handwriting has many singular values
# that matter, and a stronger preference for few of them is the wrong one. *A bias helps where it is true.*
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
# *Warm-up, 10 minutes.* Count the parameters of the full network, of both compressed forms and of the narrow network,
# for $d = 1000$, $\hat r = 5$ and $L = 3$. By how much does each grow with a fourth layer?
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
# *Core, 15 minutes.* Complete the matrix of {numref}`fig-mc-stall` ($r = 5$, surrogate start) with
# $\hat r = 2, 3, 5$ and 20. Which succeed? Why does one with $\hat r < r$?
# :::
#
# :::::{solution-start} ex-mc-guess
# :class: dropdown
# :::::

# %%
for rank in (2, 3, 5, 20):
    own = common | surrogate | {"rank": rank, "steps": 6000}
    run = complete(seen, target.shape, **own)
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
# *Core, 20 minutes.* Add 100 to the entry $(0, 0)$ of the target, which raises the rank by one, and complete it from
# 60 % of the entries, with that entry among the hidden ones. What happens, and which assumption have we not
# mentioned? Would more entries help?
# :::
#
# :::::{solution-start} ex-mc-spike
# :class: dropdown
# :::::

# %%
more = observe(target, 0.6, generator=generator)
more = more[(more.rows + more.cols) > 0]
run = complete(more, target.shape, **common | surrogate | {"tol": 1e-5})
corner_place = torch.tensor([0])
claims.show("estimate", run.predict(corner_place, corner_place))
claims.show("without the spike", target.predict(corner_place, corner_place))

# %% [markdown]
# (The spike is hidden, so the code need not add it; the second line leaves the entry out.) The result is the matrix
# without the spike, which fits all that is seen. A singular vector that lives on
# one entry is seen there or nowhere. Guarantees for completion therefore assume *{term}`incoherence`*: singular
# vectors that are spread out, as random ones are. Only observing that very entry would help.
#
# :::::{solution-end}
# :::::
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
# Three directions. Move $\gamma$ into the layers, {eq}`eq-mc-gamma`, and choose the two sizes of the start in its
# place: outer layers as large as they will be at the end leave only the cores to wait for. Or normalise the factors:
# after every step, move the size of $U$ and $V$ into the cores by a QR decomposition, so that each column can have
# the rate $1 / \sigma_i^2$ that suits it. Or start with a large $\eta$, which the saddle at zero allows, and lower it
# as $\sigma$ grows. Give each method its best $\eta$, and report where it diverges.
# :::
#
# ## Summary
#
# A product of layers that starts small learns one singular value after the other, the strongest first. Two coupled
# sizes predict when: the wait grows like $\log(1/\varepsilon)$ for two layers and like $\varepsilon^{2-L}$ for more,
# and narrow layers start with smaller ends.
#
# Depth lets a moderate start keep the gaps quiet, for which two layers need a tiny one. Width saves steps from one
# $\varepsilon$; with each at its best start it did not in our runs, as long as there was room for $2 \hat r$
# directions.
#
# With all entries known, training a $d$-wide network is the same as training one of width $2 \hat r$, up to
# exactly $|\rho(t)|^L \sqrt{d - 2\hat r}$. With entries missing, frozen factors stall near a least-squares floor, and
# factors that learn mend it. Their $\gamma$ is a rate in disguise, and the stable rate has a formula.
#
# If only observed entries are computed, a step costs time proportional to their number. Where the rank is known and
# entries are plenty, alternating least squares is still much faster; and where there is no rank, as in handwriting,
# depth is of no use.
#
# ## Further reading
#
# Burer and Monteiro introduced the factorised form {cite}`burer2003nonlinear`. Arora, Cohen, Hu and Luo study
# depth in matrix completion {cite}`arora2019implicit`. The compressed networks are from Yaras et al.
# {cite}`yaras2023law` and Kwon et al. {cite}`kwon2024efficient`. On the convex side, see Mazumder, Hastie and
# Tibshirani {cite}`mazumder2010spectral` and Candès and Recht, who showed when nuclear-norm minimisation is
# exact {cite}`candes2009exact`.
