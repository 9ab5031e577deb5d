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
# # The law of parsimony
#
# A weight matrix of width $d$ has $d$ singular values, $d$ left and $d$ right singular vectors, and
# gradient descent is free to change them all. Take away the nonlinearities of a network, so that every step
# can be computed, whiten its inputs, start from orthogonal matrices, and watch: in every layer (with few
# outputs: in every layer but the last) all but $2r$ of the singular vectors on each side never turn, and
# the singular values that belong to them are one and the same number. Here $r$ is the rank of the targets
# or, if there are fewer outputs than inputs, the number of outputs. This chapter shows it, proves it, and
# runs the training on the small piece that moves.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** say which directions of a deep linear network can learn, before its first step;
# prove that the others cannot; predict their common singular value; train on $2r \times 2r$ matrices in
# place of $d \times d$ ones; and tell what survives momentum, correlated inputs and nonlinearities.
#
# **Follows** lecture 002, *Study of Deep Linear Networks?* to *The Evolution of Singular Spaces in More
# Generic Settings*; lectures 000 and 001, *Law of Parsimony in Gradient Dynamics*.
#
# **You need** singular values and singular vectors, orthogonal complements, and the chain rule for
# matrices. No earlier chapter is needed.
#
# **Time**: reading, an hour; running, half a minute on two CPU cores. A GPU changes nothing before the last
# section.
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

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from lecturelib import claims
from lecturelib.datasets import load_standardized
from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    invariant_subspaces,
    reduced_gradient_descent,
    singular_trajectories,
    subspace_angles,
)
from lecturelib.networks import MLP, ViT
from lecturelib.training import accuracy, train

use_style()
# Matrices this small lose more to waiting than they gain.
torch.set_num_threads(1)
generator = seed_everything(0)

# The last section trains on this data. With a GPU, set "cifar10" and 8: the networks are then 1024
# wide.
DATASET, SCALE = "digits", 1
claims.strict((DATASET, SCALE) == ("digits", 1))
DEVICE = default_device() if SCALE > 1 else torch.device("cpu")

# %% [markdown]
# (sec-lp-network)=
# ## A network that can be computed
#
# A *{term}`deep linear network`* of depth $L$ multiplies its input by $L$ matrices and does nothing else,
#
# $$
# f(x) = W_L \cdots W_2 W_1\, x = W_{L:1}\, x , \qquad W_l \in \mathbb R^{d_l \times d_{l-1}} .
# $$
#
# (In general $W_{b:a} = W_b \cdots W_a$, which is $I$ if $a > b$; and $d_0 = d_x$, $d_L = d_y$.) As a
# function it is one matrix. As something to train it has what makes deep networks hard: a loss that is not
# convex, with a saddle point at zero, and infinitely many solutions, since
# $W_{l+1} W_l = (W_{l+1} A^{-1}) (A W_l)$ for any invertible $A$. It also has what makes them interesting:
# trained, it separates classes layer by layer, as the next chapter shows, and its weights change in few
# directions. That is why it serves as a {claim}`prototype <parsimony-prototype>`. Fit it to targets,
#
# $$ \ell(W_1, \dots, W_L) = \tfrac12 \big\| W_{L:1} X - Y \big\|_F^2 , $$ (eq-dln-loss)
#
# with the $N$ inputs as columns of $X \in \mathbb R^{d_x \times N}$ and their targets as columns of
# $Y \in \mathbb R^{d_y \times N}$. (Samples are columns in this chapter, as in the papers: the network then
# stands to the left of its data.) The gradient of layer $l$ is the error with all other layers applied to
# it, those above from the left, those below from the right:
#
# $$
# \nabla_l = W_{L:l+1}^\top \, \big( W_{L:1} X - Y \big) X^\top \, W_{l-1:1}^\top .
# $$ (eq-dln-gradient)
#
# Each layer's gradient depends on all the others. We follow gradient descent with learning rate $\eta$
# and {term}`weight decay` $\lambda$,
#
# $$ W_l(t+1) = (1 - \eta\lambda)\, W_l(t) - \eta\, \nabla_l(t) , $$ (eq-dln-step)
#
# under two assumptions {cite}`yaras2023law`. The inputs are *{term}`whitened`*, $X X^\top = I$, so that the data
# enter only through the correlation of targets and inputs, $\Phi = Y X^\top$: the error times $X^\top$ in
# {eq}`eq-dln-gradient` becomes $W_{L:1} - \Phi$. And the weights start as $\varepsilon$ times orthogonal
# matrices, $W_l(0)^\top W_l(0) = \varepsilon^2 I$ or $W_l(0) W_l(0)^\top = \varepsilon^2 I$, whichever
# the shape allows. (Inputs of full rank can be whitened beforehand, by $(X X^\top)^{-1/2}$. If
# $X X^\top$ is a multiple of $I$, that only changes the scale of $\Phi$, $\eta$ and $\lambda$.)
#
# Below is the network of the lectures' figure: three layers of width $d = 30$, targets of rank $r = 3$. We
# take $\varepsilon = 1$, and $\eta = 1$ for the loss divided by the $d_y N = 900$ entries of $Y$; in
# {eq}`eq-dln-step` that is $\eta = \frac{1}{900}$.

# %%
d, r, L, eps = 30, 3, 3, 1.0
F64 = {"generator": generator, "dtype": torch.float64}

# Random matrices with orthonormal rows, and with orthonormal columns.
right, left = init_weights([d, r, d], **F64)
strengths = torch.tensor([30.0, 21.0, 12.0], dtype=torch.float64)
Phi = left @ strengths.diag() @ right
(X,) = init_weights([d, d], **F64)
Y = Phi @ X

start = init_weights([d] * (L + 1), eps, **F64)
settings = {"lr": 1.0, "steps": 250, "reduction": "mean"}
path = gradient_descent(start, X, Y, **settings, record_weights=True)

# %% [markdown]
# `gradient_descent` works out {eq}`eq-dln-gradient` by hand, as we will want many steps. `path["W1"]` holds
# $W_1$ at every recorded step, as `record_weights` asks for; `path.steps` are these steps, `path.final` the
# last weights. To be sure that it is the descent you know, here it is again in five lines, with the gradient
# from automatic differentiation. (`claims.check` compares a measurement with what the text claims, and a
# control with which it must not agree, here the weights one step earlier; it prints a line, and if either
# comes out otherwise, the notebook stops.)

# %%
weights = [W.clone().requires_grad_() for W in start]
for _ in range(250):
    loss = (end_to_end(weights) @ X - Y).square().sum() / 2 / Y.numel()
    gradients = torch.autograd.grad(loss, weights)
    weights = [
        (W - G).detach().requires_grad_()
        for W, G in zip(weights, gradients, strict=True)
    ]


def distances(weights, others):
    """Largest difference of each layer."""
    return [(W - V).abs().max().item() for W, V in zip(weights, others, strict=True)]


claims.check(
    "parsimony-autograd",
    distances(weights, path.final),
    below=1e-11,
    control=distances(weights, path.weights(249)),
)

# %% [markdown]
# (sec-lp-moves)=
# ## What moves
#
# At the start all singular values of all layers are $\varepsilon$. Follow them, and the angles by which the
# singular vectors turn away from where they began. (To follow a singular vector is less innocent than it
# sounds: where values are equal, as all are at first, the SVD returns an arbitrary basis.
# `singular_trajectories` goes backwards from the last step and takes, among equal values, the basis
# nearest to the one it came from.)

# %%
layers = [singular_trajectories(path[f"W{layer}"]) for layer in (1, 2, 3)]


def turned(tracks):
    """The largest angle of each vector over all steps, ascending."""
    angles = torch.stack([tracks.angles("right"), tracks.angles("left")])
    return angles.amax(1).sort(dim=-1).values


angles = torch.stack([turned(layer) for layer in layers])
still, moving = angles[..., : d - 2 * r], angles[..., d - 2 * r :]

# The same network with targets of full rank.
noise = 10 * torch.randn(d, d, **F64) @ X
other = gradient_descent(start, X, noise, **settings, record_weights=True)
busy = turned(singular_trajectories(other["W1"]))
claims.check("parsimony-still", still, below=1e-6, control=busy)
claims.check("parsimony-moving", moving, above=8, control=still)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-nine-panels", "caption": "Three layers (rows) of a linear network with $d = 30$ and $r = 3$ during the first 100 steps: all 30 singular values, and the angles by which the 30 right and left singular vectors have turned. Six of each move. The other 24 are the dashed line, one on top of the other."}, "image": {"alt": "Nine panels. In each row, the left one shows six coloured curves of singular values that start at one: three rise to between 2.2 and 3.1, three sink to between 0.7 and 0.85. A dashed line sinks slowly from one to 0.9. The middle and the right one show six curves of angles that rise from zero to between 15 and 80 degrees, and a dashed line that stays at zero."}}
fig, axes = plt.subplots(3, 3, figsize=(7.5, 6.5), sharex=True, sharey="col")
shown = slice(0, 101)
for row, layer in enumerate(layers):
    panels = (
        layer.values[shown],
        layer.angles("right")[shown],
        layer.angles("left")[shown],
    )
    bulk = layer.angles("right")[-1].argsort()[: d - 2 * r]
    others = [i for i in range(d) if i not in bulk.tolist()]
    for ax, panel in zip(axes[row], panels, strict=True):
        ax.plot(path.steps[shown], panel[:, others], "-", linewidth=1.5)
        ax.plot(path.steps[shown], panel[:, bulk], "k--", linewidth=1)
    axes[row, 0].set_ylabel(f"layer {row + 1}")
for ax, title in zip(
    axes[0],
    ("singular values", "right vectors: angle", "left vectors: angle"),
    strict=True,
):
    ax.set_title(title)
for ax in axes[:, 1:].flat:
    ax.yaxis.set_major_formatter("{x:.0f}°")
for ax in axes[-1]:
    ax.set_xlabel("step")
plt.show()

# %% [markdown]
# (The left column is nearly the same three times: $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ is zero at the
# start and conserved in the limit of small steps, as the next chapter proves.) Here is the first layer as a
# landscape, which shows all thirty side by side:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-ridge", "caption": "The first layer over the first 100 steps, all 30 singular values and vectors side by side, sorted. Most of each landscape is a plain: singular values that sink evenly, vectors that do not turn."}, "image": {"alt": "Three landscapes over index and step. Left, singular values: flat at the first step, then three values rise to between 2.2 and 3.1 while the rest form a plain. Middle and right, angles of right and left vectors: zero along 24 indices, rising to about 80 degrees along six."}}
fig = plt.figure(figsize=(7.5, 3.1))
first = layers[0]
landscapes = {
    "singular values": first.values,
    "right vectors (degrees)": first.angles("right"),
    "left vectors (degrees)": first.angles("left"),
}
index, step = np.meshgrid(np.arange(1, d + 1), path.steps[:101:2])
for number, (title, surface) in enumerate(landscapes.items(), start=1):
    ax = fig.add_subplot(1, 3, number, projection="3d")
    surface = surface.sort(dim=1, descending=True).values[:101:2].numpy()
    look = {"cmap": "cividis", "edgecolor": "0.3", "linewidth": 0.2}
    ax.plot_surface(index, step, surface, rstride=2, cstride=1, **look)
    ax.set(title=title, xlabel="index", ylabel="step")
    ax.tick_params(labelsize=7, pad=-2)
    ax.set_box_aspect(None, zoom=0.85)
    ax.view_init(28, -60)
plt.show()

# %% tags=["hide-input"]
SHOWN_STEPS = [0, 1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 250]
# See below.
rho = bulk_singular_value(eps, L, lr=1.0 / Y.numel(), steps=250)


def values_at(step):
    fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), sharey=True)
    for number, ax in enumerate(axes, start=1):
        values = torch.linalg.svdvals(path[f"W{number}"][step])
        ax.plot(range(1, d + 1), values, "o", markersize=3.5)
        ax.axhline(rho[step].item(), color="0.3", linestyle="--", linewidth=1)
        ax.set(title=f"layer {number}", xlabel="index", ylim=(0.4, 3.6))
    return fig


def describe_values(step):
    values = torch.linalg.svdvals(path["W1"][step])
    return (
        f"Singular values of three layers at step {step}. Of the first layer's, "
        f"the largest is {values[0].item():.2f} and the smallest "
        f"{values[-1].item():.2f}; the plain between is at {rho[step].item():.2f}."
    )


explore(
    values_at,
    name="parsimony-steps",
    alt=describe_values,
    caption="All singular values of each layer. The dashed line is the common value of 24 of them as predicted below, without the network.",
    labels={"step": "Step"},
    start={"step": 20},
    play="step",
    step=SHOWN_STEPS,
)

# %% [markdown]
# Six numbers per layer move on their own, $2r$. The other 24 stay together, and none of their singular
# vectors has turned by a millionth of a degree. Why $2r$ and not $r$? And what is the number they share?
#
# (sec-lp-idle)=
# ## Who cannot move
#
# Ask which input directions the gradient never touches. In {eq}`eq-dln-gradient` the error
# $W_{L:1} - \Phi$ stands in the middle. A direction $v$ can feel $\Phi$ in two ways: from the right,
# if $\Phi v \ne 0$; or from the left, if the network carries $v$ to an output that is not orthogonal to the
# columns of $\Phi$, where the error pulls back at it. If $d_y = d$, call a direction
# *{term}`idle <idle direction>`* if neither is the case:
#
# $$ \Phi v = 0 \qquad\text{and}\qquad \Phi^\top W_{L:1}(0)\, v = 0 . $$ (eq-idle)
#
# That is $r$ conditions and again $r$, where $r = \operatorname{rank} \Phi$. If there are fewer outputs
# than inputs, let $r$ be their number, $r = d_y < d$, and ask for $\Phi v = 0$ and $W_{L:1}(0)\, v = 0$.
# (For a $\Phi$ of rank $d_y$ that is {eq}`eq-idle` again.) In both cases the idle directions form a space
# of dimension at least $d - 2r$, known before the first step. They remain idle forever:
#
# :::{prf:theorem} Law of parsimony
# :label: thm-parsimony
#
# Let $X X^\top = I$, let $\Phi = Y X^\top$, and let all layers be $d \times d$, except that the last may
# have fewer rows, with $W_l(0)$ equal to one $\varepsilon > 0$ times an orthogonal matrix (for the last one:
# times a matrix with orthonormal rows). Gradient descent {eq}`eq-dln-step` then satisfies, for any
# $\eta$, $\lambda$ and all $t$:
#
# **Square case**, $d_y = d$ and $\operatorname{rank} \Phi = r$ with $m = d - 2r > 0$. There are orthogonal
# $U_l, V_l$ with $V_{l+1} = U_l$, which do not depend on $t$, such that in *all* layers $l = 1, \dots, L$
#
# $$
# \begin{gathered}
# W_l(t) = U_l \begin{bmatrix} \widetilde W_l(t) & 0 \\ 0 & \rho(t)\, I_m \end{bmatrix} V_l^\top , \\
# \rho(t+1) = \rho(t) \big( 1 - \eta\lambda - \eta\, \rho(t)^{2(L-1)} \big) .
# \end{gathered}
# $$ (eq-law)
#
# **Wide case**, $d_y = r$ with $m = d - 2r > 0$. The same holds in the layers $l = 1, \dots, L-1$, with
#
# $$ \rho(t+1) = \rho(t)\, (1 - \eta\lambda) . $$ (eq-law-wide)
#
# In both, $\rho(0) = \varepsilon$ and $\widetilde W_l(0) = \varepsilon I_{2r}$ in the layers named.
# :::
#
# :::{prf:proof}
# Take an idle unit vector $v_1$ and let the start carry it through the network,
# $v_{l+1} = W_l(0)\, v_l / \varepsilon$: again unit vectors, as long as the layers are square. The claim is
# that every layer keeps handing this one vector to the next, only by another factor: for all $t$ and all
# layers $l$ (in the wide case, all $l < L$)
#
# $$ W_l(t)\, v_l = \rho(t)\, v_{l+1} , \qquad W_l(t)^\top v_{l+1} = \rho(t)\, v_l . $$ (eq-relay)
#
# It holds at $t = 0$, since $W_l(0)^\top W_l(0) = \varepsilon^2 I$ with the same $\varepsilon$ in all layers.
# Suppose it holds at $t$, and let the gradient act on the relay. Whitening makes the error in
# {eq}`eq-dln-gradient` $W_{L:1} - \Phi$.
#
# *Square case.* Read $\nabla_l v_l$ from the right. The layers below hand $v_l$ back to the input,
# $W_{l-1:1}^\top v_l = \rho^{l-1} v_1$. There the error acts,
# $(W_{L:1} - \Phi)\, v_1 = \rho^L v_{L+1} - 0$, by the first idle condition. The layers above hand that down,
# $W_{L:l+1}^\top v_{L+1} = \rho^{L-l} v_{l+1}$. The powers add up:
#
# $$ \nabla_l\, v_l = \rho^{(l-1) + L + (L-l)}\, v_{l+1} = \rho^{2L-1} v_{l+1} . $$
#
# Read $\nabla_l^\top v_{l+1}$ the same way: $W_{L:l+1} v_{l+1} = \rho^{L-l} v_{L+1}$; the transposed error
# brings this to the input, $(W_{L:1} - \Phi)^\top v_{L+1} = \rho^L v_1 - 0$, since $\Phi^\top v_{L+1} =
# \varepsilon^{-L}\, \Phi^\top W_{L:1}(0)\, v_1 = 0$ by the second condition; and
# $W_{l-1:1} v_1 = \rho^{l-1} v_l$. So $\nabla_l^\top v_{l+1} = \rho^{2L-1} v_l$. Put both into
# {eq}`eq-dln-step`: {eq}`eq-relay` holds at $t + 1$ with
# $\rho(t+1) = (1 - \eta\lambda) \rho - \eta \rho^{2L-1}$.
#
# *Wide case.* Now $W_{L:1}(0)\, v_1 = 0$ says $W_L(0)\, v_L = 0$, and we carry $W_L(t)\, v_L = 0$ along with
# {eq}`eq-relay`. The relay ends in nothing: $W_{L:1} v_1 = 0$ and $\Phi v_1 = 0$, so the error
# times $v_1$ is zero and $\nabla_l v_l = 0$ for all $l \le L$; and $W_{L:l+1} v_{l+1} = 0$, so
# $\nabla_l^\top v_{l+1} = 0$ for $l < L$. Only weight decay is left, which gives {eq}`eq-law-wide`.
#
# *The block form.* Choose $m$ orthonormal idle vectors and complete them to a basis; these are the columns
# of $V_1 = [V_{1,1}, V_{1,2}]$, the idle ones last. Put $V_{l+1} = U_l = W_l(0) V_l / \varepsilon$, in the
# wide case up to $U_{L-1}$. By {eq}`eq-relay`, $W_l(t) V_{l,2} = \rho(t) U_{l,2}$ and
# $W_l(t)^\top U_{l,2} = \rho(t) V_{l,2}$. So $U_{l,2}^\top W_l V_{l,2} = \rho I_m$, and both off-diagonal
# blocks vanish: $U_{l,1}^\top W_l V_{l,2} = \rho\, U_{l,1}^\top U_{l,2} = 0$, and likewise
# $V_{l,1}^\top W_l^\top U_{l,2} = 0$. What remains is $2r \times 2r$, and
# $U_l^\top W_l(0) V_l = \varepsilon I$ by construction.
# :::
#
# With a singular value decomposition of the core, $\widetilde W_l = \widetilde U_l \widetilde \Sigma_l
# \widetilde V_l^\top$, the block form is one of the layer:
#
# $$
# W_l(t) = \begin{bmatrix} U_{l,1} \widetilde U_l & U_{l,2} \end{bmatrix}
#   \begin{bmatrix} \widetilde \Sigma_l & 0 \\ 0 & \rho\, I_m \end{bmatrix}
#   \begin{bmatrix} V_{l,1} \widetilde V_l & V_{l,2} \end{bmatrix}^\top .
# $$
#
# The columns of $U_{l,2}$ and $V_{l,2}$ are the singular vectors that never turned. The slides call the
# other space the *minimal* invariant subspace; in {numref}`fig-nine-panels` it is, as all $2r$ vectors
# move, but not for every start ({ref}`first exercise <ex-parsimony-two-r>`).
#
# Nothing in the proof is approximate, and none of it needs small steps. Only the sign does: a large step
# can make $\rho$ negative, and then the singular value is $|\rho|$. If
# $\eta (\lambda + \varepsilon^{2(L-1)}) \le 1$, then $0 \le \rho(t) \le \varepsilon$ at all times; we
# assume that from here on. In code, the space of moving directions is one QR decomposition, of the rows of
# $\Phi$ next to the columns of $\Phi$ carried backwards by $W_{L:1}(0)^\top$ (in the wide case: next to the
# rows of $W_{L:1}(0)$).
#
# So check it to rounding: both cases, with and without weight decay, every layer the theorem covers, every
# step. The loss is now the plain sum.

# %%
CASES = [(case, decay) for case in ("square", "wide") for decay in (0.0, 0.02)]
runs = {}
for case, decay in CASES:
    outputs = d if case == "square" else r
    start_case = init_weights([d] * L + [outputs], 0.8, **F64)
    Y_case = 3 * end_to_end(init_weights([d, r, outputs], **F64)) @ X
    settings = {"lr": 0.02, "steps": 300, "weight_decay": decay}
    full = gradient_descent(start_case, X, Y_case, **settings, record_weights=True)
    reduced = reduced_gradient_descent(start_case, X, Y_case, r, **settings)
    law = bulk_singular_value(0.8, L, **settings, case=case)
    runs[case, decay] = full, reduced, law


# %% [markdown]
# Three things to measure in every layer: how far $d - 2r$ singular values are from $\rho(t)$; how far the
# layer, divided by $\rho(t)$, maps its idle directions elsewhere than at the start; and what stands outside
# of the two blocks. Beside each its control: the law of the other case at the last step; the directions that
# are not idle; and random bases.


# %%
def gaps_to(law, W):
    """Distance of the d - 2r singular values nearest to a law, at every step."""
    gaps = (torch.linalg.svdvals(W) - law[:, None]).abs()
    return gaps.sort(dim=1).values[:, : d - 2 * r]


def off_blocks(W):
    """The largest entry outside of the two blocks, at every step."""
    corners = W[:, 2 * r :, : 2 * r], W[:, : 2 * r, 2 * r :]
    return torch.stack([corner.abs().amax((1, 2)) for corner in corners])


gaps, other_gaps, changes, other_changes = [], [], [], []
corners, other_corners = [], []
Q, R = init_weights([d, d, d], **F64)
for (case, decay), (full, reduced, law) in runs.items():
    other_law = runs["wide" if case == "square" else "square", decay][-1]
    for layer in range(L if case == "square" else L - 1):
        W, (U, V) = full[f"W{layer + 1}"], reduced.subspaces[layer]
        gaps.append(gaps_to(law, W))
        other_gaps.append(gaps_to(other_law[-1:], W[-1:]))
        scaled = W @ V / law[:, None, None]
        change = (scaled - scaled[0]).abs().amax((0, 1))
        changes.append(change[2 * r :])
        other_changes.append(change[: 2 * r])
        corners.append(off_blocks(U.T @ W @ V))
        other_corners.append(off_blocks(Q.T @ W[-1:] @ R))

claims.check(
    "parsimony-bulk", torch.cat(gaps), below=1e-9, control=torch.cat(other_gaps)
)
claims.check(
    "parsimony-frozen",
    torch.cat(changes),
    below=1e-12,
    control=torch.cat(other_changes),
)
claims.check(
    "parsimony-blocks",
    torch.cat(corners),
    below=1e-12,
    control=torch.cat(other_corners),
)

# %% [markdown]
# :::{admonition} Slide check: which case is which
# :class: warning slide-check
# :name: slide-check-lp-cases
# Lecture 002 calls the square case *Case 1*; 000 and 001 call the wide one *Case 1*. All state the block
# form for $l \in [L-1]$, with no formula for $\rho$ (*similar results hold with different $\rho(t)$*), and
# put $U_L$ among the orthogonal $d \times d$ matrices, which it can't be if $d_y = r$. In the square case
# the form holds for the last layer too, so that the end-to-end matrix has a block $\rho(t)^L I_m$, as *How
# to Achieve the Best of Two Worlds?* uses it. In the wide case it has none: the last layer maps every idle
# direction to zero. Both are measured in the runs above.
# :::

# %%
equal, shorter, reaching = [], [], {"square": [], "wide": []}
for (case, _), (full, reduced, law) in runs.items():
    product = end_to_end(full.final)
    idle = reduced.subspaces[0][1][:, 2 * r :]
    reaching[case].append(torch.linalg.matrix_norm(product @ idle, 2))
    if case == "square":
        values = torch.linalg.svdvals(product)
        equal.append(((values - law[-1] ** L).abs() < 1e-9).sum())
        shorter.append(((values - law[-1] ** (L - 1)).abs() < 1e-9).sum())

claims.check("parsimony-end-to-end", equal, d - 2 * r, control=shorter)
claims.check(
    "parsimony-no-block", reaching["wide"], below=1e-12, control=reaching["square"]
)

# %% [markdown]
# (sec-lp-rho)=
# ## The number they share
#
# The two laws for $\rho$ are quite different. In the wide case the idle directions feel no force at all,
# because the last layer ignores them: without weight decay $\rho$ stays at $\varepsilon$ exactly, with it
# $\rho$ decays exponentially. In the square case the target says zero on the idle directions while the
# network says $\rho^L$, and that error has to be unlearned. But the force, $\rho^{2L-1}$, dies much faster
# than $\rho$. Read the recursion as a differential equation, $\dot\rho = -\rho^{2L-1}$ in the time
# $\tau = \eta t$ and without weight decay, and it can be solved:
#
# $$ \rho(\tau) = \big( \varepsilon^{-2(L-1)} + 2 (L-1)\, \tau \big)^{-1 / (2(L-1))} . $$ (eq-power-law)
#
# A power law: with three layers, ten times smaller takes ten thousand times longer. A deep linear network in
# the square case keeps a residue of its initialisation for long, and its loss is never below
# $\frac m2 \rho^{2L}$.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-rho", "caption": "The shared singular value in both cases, with and without weight decay $\\lambda$: measured in the first layer (markers, the median singular value) and computed from the recursion (lines). Right: the square case without weight decay over a longer time, with the power law {eq}`eq-power-law` dotted."}, "image": {"alt": "Two panels against the step. Left, four lines from 0.8: the wide case is constant without weight decay and sinks to 0.71 with it; the square case falls to 0.44 without and 0.41 with it. Markers lie on every line. Right, on logarithmic axes, a dotted curve leaves 0.8 after some ten steps and turns into a line of slope minus one quarter; markers, from step 25 on, lie on it."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
for ((case, decay), (full, _, law)), marker in zip(runs.items(), "os^D", strict=True):
    (drawn,) = left.plot(law, "-", linewidth=1)
    measured = torch.linalg.svdvals(full["W1"][::25]).median(dim=1).values
    look = {"marker": marker, "markersize": 4, "color": drawn.get_color(), "ls": "none"}
    left.plot(full.steps[::25], measured, label=f"{case}, λ = {decay}", **look)
left.set(xlabel="step", title="ρ(t)")
left.legend(fontsize="small")

long = gradient_descent(
    init_weights([d] * 4, 0.8, **F64),
    None,
    3 * end_to_end(init_weights([d, r, d], **F64)),
    lr=0.02,
    steps=20_000,
    metrics={"median": lambda W: torch.linalg.svdvals(W[0]).median()},
    every=[*range(0, 301, 25), *np.geomspace(400, 20_000, 20).astype(int)],
)


def power_law(steps, power=2 * (L - 1)):
    """Equation eq-power-law for this run."""
    return (0.8**-power + power * 0.02 * steps) ** (-1 / power)


time = torch.from_numpy(np.geomspace(1, 20_000, 100))
right.loglog(long.steps[1:], long["median"][1:], "o", markersize=4)
right.loglog(time, power_law(time), "k:")
right.set(xlabel="step", title="square, λ = 0")
plt.show()

# %%
ratio = long["median"] / power_law(long.steps)
other_ratio = long["median"][-1] / power_law(long.steps[-1], 2 * L)
claims.check("parsimony-power-law", ratio, 1, rel=0.02, control=other_ratio)

# %% [markdown]
# (sec-lp-cores)=
# ## Train the piece that moves
#
# If the idle part of every layer is known in advance, there is no need to train it. Split the bases into
# moving and idle columns, $U_l = [U_{l,1}, U_{l,2}]$ and $V_l = [V_{l,1}, V_{l,2}]$; in the wide case put
# $U_L = I_r$. Since $\Phi V_{1,2} = 0$ and $U_{L,2}^\top \Phi = 0$, the error and with it every gradient is
# block diagonal in these bases, and its first block is the gradient of
#
# $$ \tfrac12 \big\| \widetilde W_{L:1} - U_{L,1}^\top \Phi\, V_{1,1} \big\|_F^2 . $$
#
# So a step on the layers is a step on the *cores* $\widetilde W_l \in \mathbb R^{2r \times 2r}$ (in the
# wide case the last one is $r \times 2r$), plus one multiplication for $\rho$. `reduced_gradient_descent`
# finds the bases, runs the same descent on the cores, and puts the matrices together wherever you ask for
# them. In the runs above it was asked at every tenth step.

# %%
reduced_gaps = [
    distances(full.weights(step), reduced.weights(step))
    for full, reduced, _ in runs.values()
    for step in range(0, 301, 10)
]
# Without that multiplication: idle directions of the square case as they were.
full, reduced, law = runs["square", 0.0]
U, V = reduced.subspaces[0]
unmoved = reduced.weights()[0] + (0.8 - law[-1]) * U[:, 2 * r :] @ V[:, 2 * r :].T
unmoved_gap = distances([full.final[0]], [unmoved])
claims.check("parsimony-reduced", reduced_gaps, below=1e-10, control=unmoved_gap)

# %% [markdown]
# That is not a compression that loses something: the iterates are the same to rounding. A step costs
# $O(L r^3)$ operations in place of $O(L d^3)$, whatever $d$ is, and this is what the chapters on matrix
# completion and low-rank training are built on. Only the first decomposition and the final assembly see the
# full width.

# %%
big_start = init_weights([500] * 4, 0.1, **F64)
big_target = 10 * end_to_end(init_weights([500, r, 500], **F64))
run = reduced_gradient_descent(
    big_start, None, big_target, r, lr=0.01, steps=2000, every=[]
)
learned = end_to_end(run.weights())
distance = (learned - big_target).norm() / big_target.norm()
print("shape of a core:        ", tuple(run.cores["W1"].shape[1:]))
print("shape of what it learns:", tuple(learned.shape))
claims.show("relative distance of that from the target", distance)

# %% [markdown]
# (sec-lp-rank)=
# ## Why this means low rank
#
# In the square case the end-to-end matrix is the sum of two parts,
#
# $$
# W_{L:1}(t) = U_{L,1}\, \widetilde W_{L:1}(t)\, V_{1,1}^\top + \rho(t)^L\, U_{L,2} V_{1,2}^\top ,
# $$ (eq-two-parts)
#
# one of rank at most $2r$, and $\rho^L \le \varepsilon^L$ times an isometry. Start small and go deep, and
# the second part is invisible. A single layer is only within $\varepsilon$ of rank $2r$, in the operator
# norm: depth makes the product low-rank, more than its factors.
#
# In this problem the rank at the *end* is no surprise: with whitened inputs the loss has only one
# end-to-end minimiser, $\Phi$. What is special is the way there: at every step, and in every layer, all but
# $2r$ directions are idle, although infinitely many factorisations have the same product. Where the loss
# leaves the product open, as when entries are missing, that becomes a bias. Here are the singular values of
# the product halfway, at the step where the first one has reached half of its target.

# %%
SCALES = (1.0, 0.3, 0.1)
unit = init_weights([d] * 4, **F64)


def learn(start, steps):
    """Learn Phi; record the singular values of the product at every step."""
    metrics = {"values": lambda W: torch.linalg.svdvals(end_to_end(W))}
    return gradient_descent(start, None, Phi, lr=1 / 900, steps=steps, metrics=metrics)


halfway, tails = {}, []
for scale in SCALES:
    run = learn([scale * W for W in unit], 3000)
    half = int((run["values"][:, 0] > strengths[0] / 2).nonzero()[0])
    halfway[scale] = run["values"][half]
    tails.append(run["values"][:, 2 * r].max() / scale**L - 1)
counts = [(values > 0.01 * values[0]).sum() for values in halfway.values()]

normal = learn(init_weights([d] * 4, 0.1, "normal", **F64), 3000)["values"]
normal_tail = normal[:, 2 * r].max() / 0.1**L - 1
claims.check("parsimony-tail", tails, below=1e-9, control=normal_tail)
claims.check("parsimony-halfway-large", counts[0], d, control=counts[1:])
claims.check("parsimony-halfway-small", counts[1:], below=r + 1, control=counts[0])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-low-rank", "caption": "Singular values of the end-to-end matrix at the step where the first one has reached half of its target, for three scales of initialisation. The dashed lines are at $\\varepsilon^3$."}, "image": {"alt": "Singular values on a logarithmic axis against their index. For all scales the first is at 15 or slightly above. From the fourth on all lie on or slightly below a dashed line, near 1 for scale one, near 0.027 for 0.3 and at 0.001 for 0.1, but for the last three, which fall to about half of it. The second and third lie between."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for (scale, values), marker in zip(halfway.items(), "os^", strict=True):
    index = range(1, d + 1)
    ax.semilogy(index, values, marker, markersize=4, label=f"ε = {scale}")
    ax.axhline(scale**L, color="0.3", linestyle="--", linewidth=0.8)
ax.set(xlabel="index", ylabel="singular value of $W_{3:1}$")
ax.legend()
plt.show()

# %% [markdown]
# :::{admonition} Slide check: low rank *as $\varepsilon \to 0$ for all $t \ge 0$*
# :class: warning slide-check
# :name: slide-check-lp-rank
# The slides argue that $\lim_{\varepsilon \to 0} \rho(t) = 0$ for all $t$, hence low rank. At a fixed time
# that is true of *everything*: if $L \ge 2$ and $\Phi \ne 0$, the origin is a saddle point of
# {eq}`eq-dln-loss`, so a network that starts closer to it stays there longer, and at a fixed $t$ the
# learned part vanishes as well. What makes the statement useful is that $\rho(t) \le \varepsilon$ at *all*
# times, however long one has to wait for the rest. (For $L \ge 3$ the wait grows like
# $\varepsilon^{-(L-2)}$; the next chapter measures it.)
# :::

# %%
metrics = {"product": end_to_end, "values": lambda W: torch.linalg.svdvals(W[0])}
settings = {"lr": 1 / 900, "steps": 12_000, "every": 100}
fixed_time, left_to_learn, idle_values, moving_values = [], [], [], []
for scale in (0.3, 0.1, 0.03, 0.01):
    small = [scale * W for W in unit]
    run = gradient_descent(small, None, Phi, **settings, metrics=metrics)
    learned = torch.linalg.matrix_norm(run["product"][1], 2) / strengths[0]
    fixed_time.append(learned)
    left_to_learn.append((run["product"] - Phi).norm(dim=(1, 2)) / Phi.norm())
    idle_values.append(run["values"].median(dim=1).values.max() / scale - 1)
    moving_values.append(run["values"][:, 0].max() / scale - 1)
early, late = torch.stack(left_to_learn)[:, [1, -1]].T

claims.check("parsimony-fixed-time", fixed_time[2:], below=0.01, control=fixed_time[0])
claims.check("parsimony-later", late, below=0.01, control=early)
claims.check("parsimony-all-times", idle_values, below=1e-9, control=moving_values)

# %% [markdown]
# (sec-lp-breaks)=
# ## What breaks it, and what does not
#
# **Momentum** does not. Its velocity is a sum of past gradients, and all of them have the same blocks.
# So the block form holds as it stands, with $\rho$ moved by heavy-ball momentum on its own force: from
# $\nu(0) = 0$,
#
# $$
# \begin{aligned}
# \nu(t+1) &= \mu\, \nu(t) + \lambda \rho(t) + \rho(t)^{2L-1} , \\
# \rho(t+1) &= \rho(t) - \eta\, \nu(t+1) ,
# \end{aligned}
# $$
#
# without the power $\rho^{2L-1}$ in the wide case. The slides show momentum among the *more generic
# settings*, next to data that are not whitened. It does not belong there: the proof covers it.

# %%
gaps, plain_gaps = [], []
for case, decay in CASES:
    outputs, covered = (d, L) if case == "square" else (r, L - 1)
    W = init_weights([d] * L + [outputs], 0.8, **F64)
    target = 3 * end_to_end(init_weights([d, r, outputs], **F64))
    settings = {"lr": 0.005, "steps": 300, "weight_decay": decay}
    heavy = gradient_descent(
        W, None, target, **settings, momentum=0.9, record_weights=True
    )
    law = bulk_singular_value(0.8, L, **settings, momentum=0.9, case=case)
    gaps += [gaps_to(law, heavy[f"W{layer}"]) for layer in range(1, covered + 1)]
    if decay or case == "square":
        plain = bulk_singular_value(0.8, L, **settings, case=case)
        plain_gaps.append(gaps_to(plain[-1:], heavy["W1"][-1:]))
claims.check(
    "parsimony-momentum", torch.cat(gaps), below=1e-9, control=torch.cat(plain_gaps)
)

# %% [markdown]
# The directions stay. What does not carry over is the condition for $0 \le \rho \le \varepsilon$. With
# momentum it is enough that
#
# $$ \eta\, \big( \lambda + \varepsilon^{2(L-1)} \big) \le (1 - \sqrt\mu)^2 , $$
#
# as the ratio of one value of $\rho$ to the one before then never falls below $\sqrt\mu$. (The runs above
# obey it.) A larger step can throw $\rho$ to the other side of zero, where plain descent with the same step
# would have let it sink: the idle directions still do not turn, but change their sign.

# %%
pair = init_weights([d] * 3, 1.0, **F64)
target = end_to_end(init_weights([d, r, d], **F64))
_, V = invariant_subspaces(pair, None, target, r)[0]
U = pair[0] @ V
lowest = []
for momentum in (0.9, 0.0):
    run = gradient_descent(
        pair, None, target, lr=0.1, steps=100, momentum=momentum, record_weights=True
    )
    on_idle = (U.T @ run["W1"] @ V)[:, 2 * r :, 2 * r :]
    lowest.append(on_idle.diagonal(dim1=1, dim2=2).amin(0))
claims.check("parsimony-momentum-sign", lowest[0], below=-0.5, control=lowest[1])

# %% [markdown]
# **Correlated inputs** do break it, but gently. Let $C = X X^\top$. The error in the gradient is then
# $W_{L:1} C - \Phi$ with $\Phi = Y X^\top$, and an idle direction would have to satisfy $\Phi v = 0$ and
# $W_{L:1} C v = 0$ at all times. What is idle now need not be idle after a multiplication by $C$; so the
# moving space can grow, by the rows of $\Phi$ and $W_{L:1}(0)$ times $C$, then times $C^2$, and so on,
# until it fills everything. But if $C$ is close to a multiple of the identity, a new power brings little
# that is new. The wide case without weight decay shows it best, since there the change $W_1(t) - W_1(0)$ of
# a whitened network has rank $2r$ exactly. Here are its singular values for whitened inputs, for 300
# independent Gaussian ones, and for Gaussian inputs whose variance differs between the coordinates by a
# factor of nine.

# %%
start_wide = init_weights([d, d, d, r], 1.0, **F64)
gaussian = torch.randn(d, 300, **F64)
targets = torch.randn(r, 300, **F64)
spread = torch.linspace(0.5, 1.5, d, dtype=torch.float64)
INPUTS = {
    "whitened": init_weights([300, d], 300**0.5, **F64)[0],
    "Gaussian": gaussian,
    "unequal variances": spread[:, None] * gaussian,
}
settings = {"lr": 0.3, "steps": 1000, "reduction": "mean", "every": 10}
changes, outside = {}, {}
for name, inputs in INPUTS.items():
    run = gradient_descent(start_wide, inputs, targets, **settings, record_weights=True)
    change = run["W1"][-1] - run["W1"][0]
    changes[name] = torch.linalg.svdvals(change)
    # The rows of Phi and of the product at the start span what moves if X is whitened.
    seen = torch.cat([targets @ inputs.T, end_to_end(start_wide)])
    idle = torch.linalg.svd(seen).Vh[2 * r :].T
    outside[name] = (change @ idle).norm() / change.norm()
    if name == "Gaussian":
        correlated = run

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-whitening", "caption": "Singular values of the change of the first layer, wide case, $r = 3$. Whitened inputs: six, then rounding. Others: a slope."}, "image": {"alt": "Singular values of a change on a logarithmic axis against the index. Whitened: six points between 0.01 and 1, the rest below ten to the minus fourteen. Gaussian and unequal variances: points that follow the whitened ones up to the sixth and then fall on, nearly straight, to below ten to the minus fifteen for the Gaussian inputs and ten to the minus twelve for unequal variances."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for (name, values), marker in zip(changes.items(), "os^", strict=True):
    index = range(1, d + 1)
    ax.semilogy(index, values.clamp_min(1e-17), marker, markersize=4, label=name)
ax.axvline(2 * r + 0.5, color="0.3", linestyle="--", linewidth=1)
ax.set(xlabel="index", ylabel="singular value of $W_1(t) - W_1(0)$")
ax.set_ylim(1e-17, 3)
ax.legend()
plt.show()

# %%
leaks = [values[2 * r] / values[0] for values in changes.values()]
rests = [values[2 * r :].norm() / values.norm() for values in changes.values()]
claims.check("parsimony-whitened-rank", leaks[0], below=1e-12, control=leaks[1:])
claims.check("parsimony-leak", leaks[1:], above=0.003, control=leaks[0])
claims.check("parsimony-leak-small", rests[1], below=0.01, control=rests[2])

anywhere = init_weights([d, d - 2 * r], **F64)[0].T
random_part = (change @ anywhere).norm() / change.norm()
claims.check("parsimony-span", outside["Gaussian"], below=0.15, control=random_part)

# %% [markdown]
# With 300 Gaussian inputs less than 1 % of the change, in norm, is outside of $2r$ directions; and less than
# 15 % of it acts on the 24 directions that would be idle if these inputs were whitened.
#
# Here are the lectures' two figures: values and angles in the first layer, with momentum and without
# whitening. For the 24 values that stay together we do not follow single vectors. Where values are nearly
# equal, the smallest perturbation picks the basis, and what can be nearly fixed is the space that they
# span. So the dashed lines are the {term}`principal angles` between that space and itself at the start.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-generic", "caption": "The first layer in more generic settings, wide case. Top: momentum 0.9 and weight decay 0.02; bottom: Gaussian inputs that are not whitened. Coloured: the six singular values that leave the others, and their vectors; dashed: the other 24, and the principal angles by which their span turns."}, "image": {"alt": "Two rows of three panels: singular values and angles of right and left vectors. Top: six coloured curves move, with overshoots; one dashed line sinks from 0.8 to 0.6, and its angles are zero. Bottom: six coloured curves move; the dashed values stay at one, and of their principal angles three rise to between 13 and 26 degrees while the others stay near zero."}}
fig, axes = plt.subplots(2, 3, figsize=(7.5, 4.4), sharex="row")
for row, run in zip(axes, (heavy, correlated), strict=True):
    tracks = singular_trajectories(run["W1"])
    order = (tracks.values[-1] - tracks.values[-1].median()).abs().argsort()
    together, leaving = order[: d - 2 * r], order[d - 2 * r :]
    row[0].plot(run.steps, tracks.values[:, leaving], "-", linewidth=1.5)
    row[0].plot(run.steps, tracks.values[:, together], "k--", linewidth=0.7)
    for ax, side in zip(row[1:], ("right", "left"), strict=True):
        span = getattr(tracks, side)[:, :, together]
        turn = torch.rad2deg(subspace_angles(span[0].expand_as(span), span))
        ax.plot(run.steps, tracks.angles(side)[:, leaving], "-", linewidth=1.5)
        ax.plot(run.steps, turn, "k--", linewidth=0.7)
        ax.yaxis.set_major_formatter("{x:.0f}°")
    for ax in row:
        ax.set_xlabel("step")
axes[0, 0].set_ylabel("momentum")
axes[1, 0].set_ylabel("not whitened")
for ax, title in zip(
    axes[0],
    ("singular values", "right vectors: angle", "left vectors: angle"),
    strict=True,
):
    ax.set_title(title)
plt.show()

# %% [markdown]
# (sec-lp-nonlinear)=
# ## Networks with nonlinearities
#
# Cross-entropy in place of squares, real images, a ReLU between the layers: none of the assumptions is
# left. What remains of the law? We take the last weight matrix before the classifier of three networks, a
# linear one with three hidden layers, the same with ReLUs (an MLP), and a small vision transformer; start
# it at an orthogonal matrix, train on handwritten digits, and look at it as the lectures do. Two questions:
# in how few directions does it change? And are these the same directions all along, as an invariant
# subspace asks?

# %%
data, new = load_standardized(DATASET, device=DEVICE)
K, image_shape = data.num_classes, tuple(data.inputs.shape[1:])

widths = [data.inputs[0].numel()] + [128 * SCALE] * 3 + [K]
vit = ViT(image_shape, K, patch=image_shape[1] // 4, dim=64, depth=3)
plain, heavy_ball = ({"lr": 0.05, "momentum": momentum} for momentum in (0.0, 0.9))
NETWORKS = {
    "linear": (MLP(widths, linear_tail=3), 60, plain),
    "MLP": (MLP(widths), 60, plain),
    "ViT": (vit, 20, heavy_ball),
}


def last_weight(net):
    """The last weight matrix before the classifier."""
    last = net.blocks[-1].linear2 if isinstance(net, ViT) else net.hidden[-1][0]
    return last.weight


histories, fresh, accuracies = {}, [], []
for name, (net, epochs, settings) in NETWORKS.items():
    net.to(DEVICE)
    nn.init.orthogonal_(last_weight(net))
    fresh.append(accuracy(net, new.inputs, new.labels))
    record = {"metrics": {"weight": last_weight}, "every": epochs // 20}
    histories[name] = train(
        net, data.inputs, data.labels, epochs=epochs, **settings, **record
    )
    accuracies.append(accuracy(net, new.inputs, new.labels))
claims.check("parsimony-trained", accuracies, above=0.75, control=fresh)

# %% [markdown]
# The share of the change that lies in $K$ directions, with a random matrix of the same size as a control; and
# the angles between the $K$ strongest right directions of the change after a quarter of the training and at
# its end, with random subspaces.

# %%
spectra, shares, random_shares, turns, random_turns = {}, {}, {}, {}, {}


def share_of_largest(values):
    """The share of the K largest singular values in the sum of squares."""
    return values[:K].square().sum() / values.square().sum()


for name, history in histories.items():
    snapshots = history["weight"].double().cpu()
    _, values, right = torch.linalg.svd(snapshots[1:] - snapshots[0])
    spectra[name] = history.steps, torch.linalg.svdvals(snapshots), values[-1]
    shares[name] = share_of_largest(values[-1])
    random = torch.randn(snapshots.shape[1:], **F64)
    random_shares[name] = share_of_largest(torch.linalg.svdvals(random))
    # Records 5 and 20 of 20.
    quarter, end = (right[i, :K].mT for i in (4, -1))
    turns[name] = torch.rad2deg(subspace_angles(quarter, end)).median()
    strangers = subspace_angles(torch.randn(quarter.shape, **F64), end)
    random_turns[name] = torch.rad2deg(strangers).median()

wide_random = random_shares["linear"]
claims.check("parsimony-linear", shares["linear"], above=0.99, control=wide_random)
claims.check("parsimony-mlp", shares["MLP"], above=0.98, control=wide_random)
claims.check("parsimony-vit", shares["ViT"], above=0.8, control=random_shares["ViT"])
claims.check(
    "parsimony-turn",
    [turns["linear"], turns["MLP"]],
    below=20,
    control=random_turns["linear"],
)
claims.check(
    "parsimony-turn-vit",
    turns["ViT"] / turns["MLP"],
    above=3,
    control=turns["linear"] / turns["MLP"],
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-nonlinear", "caption": "The last weight matrix before the classifier, ten classes: all its singular values during training, from an orthogonal start, in three networks; and the singular values of its change (the first 64, above $10^{-3}$), with dashed lines at $K = 10$ and $2K = 20$."}, "image": {"alt": "Four panels. Linear network: nine singular values rise from one to between 1.2 and 1.75, the rest stay at one but for a few slightly below. MLP: ten rise to between 1.2 and 1.9, one falls below 0.8, the rest stay close to one. Transformer: values fan out from one, between 0.8 and 1.25, with half of them close to one. Singular values of the change on a logarithmic axis: the linear network's drop by a factor of about six after the ninth, the MLP's by a factor of about four after the tenth, the transformer's fall gradually without a step."}}
fig, axes = plt.subplots(2, 2, figsize=(7.5, 5))
last = axes[1, 1]
for ax, (name, (epochs, values, change)), marker in zip(
    axes.flat, spectra.items(), "os^", strict=False
):
    ax.plot(epochs, values, "-", color=COLOURS[0], linewidth=0.5)
    ax.set(title=name, xlabel="epoch", ylabel="singular values")
    last.semilogy(range(1, len(change) + 1), change, marker, markersize=3, label=name)
last.set(title="change", xlabel="index", xlim=(0, 64), ylim=(1e-3, 2))
for place in (K, 2 * K):
    last.axvline(place + 0.5, color="0.3", linestyle="--", linewidth=0.8)
last.legend()
plt.show()

# %% [markdown]
# In all three the change lives in few directions: with $K$ of them one has more than 99 % of its square in
# the linear network, 98 % in the MLP and 80 % in the transformer, where the same number of directions of a
# random matrix has less than 60 %. Part of that is simple: in the linear network all that reaches this layer
# comes back through a classifier with $K$ rows, so that each gradient has rank at most $K$. (A ReLU, which
# lets different entries pass for each sample, lifts that bound.) That they stay the *same* directions is
# not. From a quarter of the training to its end, the $K$ strongest right directions of the change turn by
# less than 20 degrees (median of the principal angles) in the first two networks; in the transformer it is
# more. So the law survives here as a tendency, strongest in the linear network and weakest in the
# transformer. (The lecture shows {claim}`the same of a ViT-B <parsimony-vit-b>`, which this book has not
# run.)
#
# ## Exercises
#
# :::{exercise} Two directions for one
# :label: ex-parsimony-two-r
# Why $2r$ and not $r$? Give a start $W_{L:1}(0)$ for which only $r$ directions move in the square case.
#
# *Hint.* The two conditions in {eq}`eq-idle` may coincide.
# :::
#
# :::{solution} ex-parsimony-two-r
# :class: dropdown
# A direction is not idle if $\Phi$ sees it, or if the network maps it to where $\Phi$ points. The two are
# $r$ conditions each, and independent in general. They coincide if $W_{L:1}(0)^\top$ maps the column space
# of $\Phi$ onto its row space: for instance $\Phi = A B^\top$ with orthonormal columns and
# $W_{L:1}(0) = \varepsilon^L Q$ with an orthogonal $Q$ such that $Q^\top A = B$. For a random start that
# has probability zero. This one is a very good start: input and output of the signal are already connected.
# With $Q^\top A = -B$ the conditions coincide as well, and it is the worst: the $r$ moving singular values
# go to zero, and with small steps, $L \ge 2$ and exact arithmetic nothing is ever learned. (A large step
# can jump over zero.)
# :::
#
# :::{exercise} The power law
# :label: ex-parsimony-power-law
# Derive {eq}`eq-power-law`. With $L = 3$, $\varepsilon = 1$ and $\eta = 0.01$, about how many steps until
# $\rho = 0.1$? And with weight decay $\lambda = 0.01$?
#
# *Hint.* What is the derivative of $\rho^{-2(L-1)}$?
# :::
#
# :::{solution} ex-parsimony-power-law
# :class: dropdown
# With $\dot\rho = -\rho^{2L-1}$, the derivative of $\rho^{-2(L-1)}$ is
# $-2(L-1) \rho^{-2L+1} \dot\rho = 2(L-1)$, a constant. Integrate. For $L = 3$: $10^4 = 1 + 4 \tau$, so
# $\tau \approx 2500$ and $t = \tau / \eta \approx 250\,000$ steps. With weight decay, $u = \rho^{-4}$ obeys
# $\dot u = 4 + 4 \lambda u$, so that $u = (1 + \frac1\lambda)\, e^{4 \lambda \tau} - \frac1\lambda$. Then
# $u = 10^4$ means $101\, e^{0.04 \tau} = 10\,100$, $\tau = 25 \log 100 \approx 115$: about $11\,500$ steps.
# :::
#
# :::{exercise} A rank that is too large, or too small
# :label: ex-parsimony-overestimate
# Suppose you do not know $r$ and use $\hat r > r$. Show with the proof that in the square case nothing goes
# wrong, and check it with $\hat r = 6$ for the network of {numref}`fig-nine-panels`. What does the library
# do with $\hat r = 2$, and why must it?
# :::
#
# :::::{solution-start} ex-parsimony-overestimate
# :class: dropdown
# :::::
#
# Any $m$ idle directions will do for the bases; the other idle ones are then trained as part of the core,
# where they do what they always do.

# %%
settings = {"lr": 1.0, "steps": 250, "reduction": "mean"}
generous = reduced_gradient_descent(start, X, Y, 6, **settings)
print("shape of a core:", tuple(generous.cores["W1"].shape[1:]))
claims.show("largest difference", max(distances(generous.weights(), path.final)))
try:
    reduced_gradient_descent(start, X, Y, 2, **settings)
except ValueError as error:
    print(error)

# %% [markdown]
# With $\hat r = 2$ a direction that $\Phi$ sees would be frozen, and the iterates would differ.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Between square and wide
# :label: ex-parsimony-between
# Let $r < d_y < d$: ten outputs, say, but a target of rank three. The theorem with $d_y$ in place of $r$
# leaves $d - 2 d_y = 10$ idle directions. There are more. How many singular values does each hidden layer
# share, and which two numbers are they? Measure, then explain.
#
# *Hint.* Count the values within $10^{-9}$ of both laws for $\rho$.
# :::
#
# :::::{solution-start} ex-parsimony-between
# :class: dropdown
# :::::

# %%
outputs = 10
W = init_weights([d, d, d, outputs], 0.8, **F64)
target = 3 * end_to_end(init_weights([d, r, outputs], **F64))
run = gradient_descent(W, None, target, lr=0.02, steps=200)
values = torch.linalg.svdvals(run.final[0])
for case in ("wide", "square"):
    law = bulk_singular_value(0.8, 3, lr=0.02, steps=200, case=case)[200]
    print(case, ((values - law).abs() < 1e-9).sum().item())

# %% [markdown]
# Seventeen values are at $\varepsilon$, four on the law of the square case, and nine, $3r$, move. The null
# space of $W_{L:1}(0)$ has dimension $d - d_y = 20$; its vectors with $\Phi v = 0$ are idle as in the wide
# case, and there are $20 - r = 17$ of them. The other ten input directions reach the outputs. Those that
# arrive orthogonal to the columns of $\Phi$ and have $\Phi v = 0$ relay $\rho$ through all layers as in the
# square case: $10 - 2r = 4$. A sum of one of the first kind and one of the second is not idle, as its two
# parts decay by different laws. That is why $\Phi$ costs $r$ directions twice.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} One scale per layer
# :label: ex-parsimony-scales
# Let layer $l$ start at its own scale $\varepsilon_l$. Go through the proof: what remains of the theorem, and
# what are the laws for $\rho_1, \dots, \rho_L$ in the square case? Show that under gradient flow the
# differences $\rho_l^2 - \rho_k^2$ are conserved if $\lambda = 0$.
# :::
#
# :::{solution} ex-parsimony-scales
# :class: dropdown
# Carry $v_{l+1} = W_l(0) v_l / \varepsilon_l$. The relay holds with $\rho_l$ in layer $l$, the error on it
# is $\rho_1 \cdots \rho_L$, and the gradient of layer $l$ is the product of that with all factors but its
# own: $\rho_l(t+1) = (1 - \eta\lambda) \rho_l - \eta\, \big( \prod_k \rho_k^2 \big) / \rho_l$, as long as
# none is zero. So the blocks remain, with $\rho_l I_m$ in layer $l$, and the idle directions are the same
# ones. Under the flow, $\frac{d}{d\tau} \rho_l^2 = -2 \prod_k \rho_k^2$ is the same for all layers, and
# differences stay.
# :::
#
# :::{exercise} More samples
# :label: ex-parsimony-samples
# The covariance of $N$ Gaussian samples differs from the identity by about $\sqrt{d/N}$. How should the
# first singular value beyond the $2r$ in {numref}`fig-whitening`, $\sigma_{2r+1} / \sigma_1$, depend on $N$?
# Measure it for $N$ from 100 to 100 000. (The cost of a step does not grow with $N$; why?)
#
# *Hint.* $C / N = I + \sqrt{d/N}\, E$ with an $E$ of order one. A singular value needs a new right vector
# *and* a new left one.
# :::
#
# :::::{solution-start} ex-parsimony-samples
# :class: dropdown
# :::::
#
# A multiplication by $E$ brings in new directions with weight $\sqrt{d/N}$, among the rows and, by way of
# the other layers, among the columns. A rank-one term outside of the old $2r$-dimensional row *and* column
# space pays twice: expect $N^{-1}$. (The targets are a fixed linear function of the inputs here, so that
# only $C$ varies.)

# %%
teacher = torch.randn(r, d, **F64) / d**0.5
sizes, ratios = [100, 1000, 10_000, 100_000], []
for size in sizes:
    inputs = torch.randn(d, size, **F64)
    run = gradient_descent(
        start_wide, inputs, teacher @ inputs, lr=0.3, steps=300, reduction="mean"
    )
    values = torch.linalg.svdvals(run.final[0] - start_wide[0])
    ratios.append((values[2 * r] / values[0]).item())
claims.show("exponent", np.polyfit(np.log(sizes), np.log(ratios), 1)[0])

# %% [markdown]
# The cost does not grow because the library first rotates $N$ samples into $d$ ones with the same
# $X X^\top$ and $Y X^\top$: nothing else of the data enters {eq}`eq-dln-gradient`.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} A start that is not orthogonal
# :label: ex-parsimony-normal
# Start the wide case from `kind="normal"` weights of the same expected size. Is the rank of
# $W_1(t) - W_1(0)$ still $2r$? If not, why, and how much of the change is in $2r$ directions?
# :::
#
# :::::{solution-start} ex-parsimony-normal
# :class: dropdown
# :::::
#
# The right singular vectors of the change lie in the span of the rows of all gradients, that is of
# $W_{L:1}(t) - \Phi$ over time. With orthogonal layers these stay in $2r$ dimensions, since $W_l^\top W_l$
# is a multiple of the identity on everything that idles. With Gaussian layers $W_{L:1}(t)$ picks up
# products with $W_1^\top W_1$, then with powers of it: the same slope as with correlated inputs. The table
# has the first singular value beyond $2r$, and the share of the square of the change that is not in $2r$
# directions.

# %%
rows = {}
for scale in (1.0, 0.3, 0.1):
    W = init_weights([d, d, d, r], scale, "normal", **F64)
    (target,) = init_weights([d, r], **F64)
    run = gradient_descent(W, None, 3 * target, lr=0.02, steps=2000)
    values = torch.linalg.svdvals(run.final[0] - W[0])
    rest = values[2 * r :].square().sum() / values.square().sum()
    rows[f"ε = {scale}"] = values[2 * r] / values[0], rest
claims.table(["σ₇ / σ₁", "rest"], rows)

# %% [markdown]
# What is left is the approximate form, and it gets better for small $\varepsilon$, since the powers bring
# in factors of $\varepsilon^2$.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Closer to the law, or further away
# :label: ex-parsimony-open
# Open-ended. Which ingredient of the perceptron of {numref}`fig-nonlinear` costs most of the law: the ReLU,
# the cross-entropy, or the correlated inputs? Replace them one at a time (`linear_tail=3` removes the
# ReLUs), and compare the share of the change in $2K$ directions, for the last and for the first hidden layer.
# :::
#
# :::{solution} ex-parsimony-open
# :class: dropdown
# A fair comparison trains all variants to the same training loss, not for the same number of epochs. Things
# to look for: the share in the *first* hidden layer, which has to deal with the raw inputs; the rank of the
# {term}`class means <class mean>` under cross-entropy, $K - 1$ after centring, against $K$ for squared errors;
# and whether biases carry away one direction. Report the share over several seeds; differences below their
# spread mean nothing.
# :::
#
# ## Summary
#
# Under gradient descent with whitened inputs and orthogonal weights, with as many outputs as inputs or as
# the target's rank, a direction that neither sees the targets nor is carried to them is idle at all steps.
# Such directions form a space of at least $d - 2r$ dimensions.
#
# On the idle directions every layer is $\rho(t)$ times a fixed isometry: $\rho$ is constant up to weight
# decay if the last layer ignores them, and falls like a power of time if the target there is zero.
#
# Training on the $2r \times 2r$ cores gives the same iterates, to rounding, at a cost that does not depend on
# the width.
#
# With a small start the end-to-end matrix is within $\varepsilon^L$ of rank $2r$ at all times. Momentum
# keeps the directions, and takes smaller steps to keep $\rho$ between $0$ and $\varepsilon$; correlated
# inputs or other starts turn the sharp rank into a slope.
#
# In nonlinear networks it survives as a tendency.
#
# ## Further reading
#
# The theorem is from Yaras, Wang, Hu, Zhu, Balzano and Qu {cite}`yaras2023law`. Saxe, McClelland and
# Ganguli solved the dynamics of deep linear networks exactly, for suitable starts {cite}`saxe2014exact`. On
# why depth prefers low rank see Arora, Cohen, Hu and Luo {cite}`arora2019implicit` and Huh et al.
# {cite}`huh2023lowrank`.
