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
# gradient descent is free to change them all. Does it?
#
# Take away the nonlinearities of a network, so that every step can be computed. Whiten its inputs and start from
# orthogonal matrices. Give it as many outputs as inputs, or as the rank $r$ of what it is asked to learn. Then, in
# every layer that has as many rows as columns, all but $2r$ of the singular vectors on each side never turn. The
# singular values that belong to them are one and the same number, which can be computed in advance. This chapter
# shows it, proves it, and then runs the training on the small piece that moves.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** say which directions of a deep linear network can learn, before its first step;
# prove that the others cannot; predict their common singular value; train on $2r \times 2r$ matrices in
# place of $d \times d$ ones; and tell which optimisers keep the law, which nearly do, and which destroy it.
#
# **Follows** lecture 002, *Study of Deep Linear Networks?* to *The Evolution of Singular Spaces in More
# Generic Settings*; lectures 000 and 001, *Law of Parsimony in Gradient Dynamics*.
#
# **You need** singular values and singular vectors, orthogonal complements, and the chain rule for
# matrices. No earlier chapter is needed.
#
# **Time**: reading, an hour; running, half a minute on two CPU cores. A GPU changes nothing.
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

from lecturelib import claims
from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights
from lecturelib.device import seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.law_of_parsimony import (
    bulk_singular_value,
    invariant_subspaces,
    reduced_gradient_descent,
    singular_trajectories,
)
from lecturelib.records import recorded

use_style()
# Matrices this small lose more to waiting than they gain.
torch.set_num_threads(1)
generator = seed_everything(0)

# %% [markdown]
# (sec-lp-hand)=
# ## Two layers, two by two, by hand
#
# Begin with the smallest network that has something to show: two layers, $2 \times 2$, and the loss
#
# $$ \tfrac12 \| W_2 W_1 - \Phi \|_F^2 , \qquad \Phi = \begin{bmatrix} 4 & 0 \\ 0 & 0 \end{bmatrix} . $$
#
# The target has rank one: it wants 4 from the first direction and nothing from the second. Start at $W_1 = W_2 =
# \frac12 I$, and write both layers as $\operatorname{diag}(a, b)$. The gradients are $W_2^\top (W_2 W_1 - \Phi)$ and
# $(W_2 W_1 - \Phi) W_1^\top$, which the next section derives. Here both are
#
# $$
# \begin{bmatrix} a & 0 \\ 0 & b \end{bmatrix}
# \begin{bmatrix} a^2 - 4 & 0 \\ 0 & b^2 \end{bmatrix}
# = \begin{bmatrix} a (a^2 - 4) & 0 \\ 0 & b^3 \end{bmatrix} .
# $$
#
# So both layers stay diagonal, and stay equal. A step of size $\eta$ moves two numbers:
#
# $$ a \leftarrow a - \eta\, a (a^2 - 4) , \qquad b \leftarrow b - \eta\, b^3 . $$
#
# With $\eta = 0.1$ the first goes from 0.5 to 0.6875, then to 0.93, and on to 2. It learns. The second goes
# from 0.5 to 0.4875, and creeps on towards zero. The target does not occur in its recursion at all: it
# would creep in the same way whatever number stood in place of 4. And the singular vectors never turn.
#
# Now turn the start: $W_1 = \frac12 R$ with a rotation $R$ by 45°, and $W_2 = \frac12 I$ as before. The second input
# direction is still one that the target ignores. But the network now carries it to an output in which the target's
# direction takes part. The error $W_2 W_1 - \Phi$ there, 0.18 and not zero, pulls back. Both directions should move.
# Run both starts. `gradient_descent` takes the layers, the inputs (`None`: there are none but $\Phi$) and the target,
# and records the weights. `singular_trajectories` follows the singular values and vectors of one layer. At the start
# both values are ½, and any basis is one of singular vectors; it takes the one that the last step leads back to.

# %%
angle = torch.tensor(torch.pi / 4, dtype=torch.float64)
R = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
eye = torch.eye(2, dtype=torch.float64)
Phi = torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64))

tracks = {}
for name, W in {"as it is": eye, "turned by 45°": R}.items():
    path = gradient_descent(
        [W / 2, eye / 2], None, Phi, lr=0.1, steps=40, record_weights=True
    )
    tracks[name] = singular_trajectories(path["W1"])
turns = [
    max(pair.angles(side).max() for side in ("right", "left"))
    for pair in tracks.values()
]
claims.check("parsimony-by-hand", turns[0], below=1e-9, control=turns[1])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lp-hand", "caption": "The first of two $2 \\times 2$ layers: its singular values (solid), and by how much its right singular vectors have turned (dashed, in units of 90°). Left, one value learns and one does not, and no vector turns. Right, the start is turned by 45°, and both vectors turn."}, "image": {"alt": "Two panels over 40 steps. In both, one solid line rises from one half to about two within 15 steps and another sinks slowly from one half. Left, the dashed lines stay at zero. Right, they rise to one quarter of 90 degrees."}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
for ax, (name, pair) in zip(axes, tracks.items(), strict=True):
    for number, marker in enumerate("os"):
        look = {"color": COLOURS[number], "marker": marker, "markevery": 8, "ms": 4}
        ax.plot(pair.values[:, number], "-", **look)
        ax.plot(pair.angles("right")[:, number] / 90, "--", **look)
    ax.set(xlabel="step", title=name)
plt.show()

# %% [markdown]
# So a direction can be drawn into the learning in two ways: the target asks for it, or the network carries it
# to where the target asks for something. A target of rank one can draw in two directions, a target of rank $r$
# draws in $2r$. In two dimensions that is everything. In thirty it is not.
#
# (sec-lp-network)=
# ## A network that can be computed
#
# A *{term}`deep linear network`* of depth $L$ multiplies its input by $L$ matrices and does nothing else,
#
# $$ f(x) = W_L \cdots W_2 W_1\, x , \qquad W_l \in \mathbb R^{d_l \times d_{l-1}} . $$
#
# We write $W_{b:a} = W_b \cdots W_a$ for the product of some layers, so that $f(x) = W_{L:1} x$. It is the
# identity if there are none, $a > b$. The widths at the two ends are $d_0 = d_x$ and $d_L = d_y$.
#
# As a function the network is one matrix. As something to train it has what makes deep networks hard: a loss that is
# not convex, with a saddle point at zero, and infinitely many solutions, since
# $W_{l+1} W_l = (W_{l+1} A^{-1}) (A W_l)$. And trained, it separates classes layer by layer, as the next chapter
# shows, and its weights change in few directions. That is why it serves as a {claim}`prototype <parsimony-prototype>`.
# Fit it to targets,
#
# $$ \ell(W_1, \dots, W_L) = \tfrac12 \big\| W_{L:1} X - Y \big\|_F^2 , $$ (eq-dln-loss)
#
# with the $N$ inputs as columns of $X \in \mathbb R^{d_x \times N}$ and their targets as columns of
# $Y \in \mathbb R^{d_y \times N}$. Samples are columns in this chapter, as in the papers: the network then
# stands to the left of its data.
#
# To find the gradient of layer $l$, move that layer alone, by a small $D$, and look at what happens to the
# error $E = W_{L:1} X - Y$. It changes by $W_{L:l+1} D\, W_{l-1:1} X$. To first order the loss
# changes by the inner product of $E$ with that:
#
# $$ \begin{aligned}
# \ell(W_l + D) - \ell(W_l)
#   &\approx \operatorname{tr}\big( E^\top\, W_{L:l+1}\, D\, W_{l-1:1} X \big) \\
#   &= \operatorname{tr}\big( W_{l-1:1} X E^\top\, W_{L:l+1}\, D \big) .
# \end{aligned} $$
#
# In the second line the last factors of the product moved to the front, which no trace notices. The gradient
# $\nabla_l$ is the matrix whose inner product $\operatorname{tr}(\nabla_l^\top D)$ with every $D$ is this number:
#
# $$ \nabla_l = W_{L:l+1}^\top \, \big( W_{L:1} X - Y \big) X^\top \, W_{l-1:1}^\top . $$ (eq-dln-gradient)
#
# It is the error with all other layers applied to it: those above from the left, those below from the right.
# We follow gradient descent with learning rate $\eta$ and {term}`weight decay` $\lambda$,
#
# $$ W_l(t+1) = (1 - \eta\lambda)\, W_l(t) - \eta\, \nabla_l(t) , $$ (eq-dln-step)
#
# under two assumptions {cite}`yaras2023law`.
#
# - The inputs are *{term}`whitened`*, $X X^\top = I$. Then the data enter only through the correlation of
#   targets and inputs, $\Phi = Y X^\top$: the error times $X^\top$ in {eq}`eq-dln-gradient` is
#   $W_{L:1} - \Phi$. Inputs of full rank can be whitened beforehand, by $(X X^\top)^{-1/2}$. And if
#   $X X^\top$ is a multiple of $I$, that only changes the scale of $\Phi$, $\eta$ and $\lambda$.
# - The weights start as $\varepsilon$ times orthogonal matrices: $W_l(0)^\top W_l(0) = \varepsilon^2 I$ or
#   $W_l(0) W_l(0)^\top = \varepsilon^2 I$, whichever the shape allows.
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
# `gradient_descent` works out {eq}`eq-dln-gradient` by hand, as we will want many steps. `path["W1"]` holds $W_1$ at
# every recorded step, as `record_weights` asks for; `path.steps` are these steps, `path.final` the last weights. Is
# it the descent you know? Its first step must be minus the gradient from automatic differentiation. The control has
# the two outer factors of {eq}`eq-dln-gradient` exchanged, in the first layer.


# %%
def distances(weights, others):
    """Largest difference of each layer."""
    return [(W - V).abs().max().item() for W, V in zip(weights, others, strict=True)]


leaves = [W.clone().requires_grad_() for W in start]
((end_to_end(leaves) @ X - Y).square().sum() / 2 / Y.numel()).backward()
expected = [W.detach() - W.grad for W in leaves]
first_step = distances(path.weights(1), expected)
E = (end_to_end(start) @ X - Y) @ X.T / Y.numel()
swapped = distances([start[0] - E @ end_to_end(start[1:]).T], expected[:1])
claims.check("parsimony-autograd", first_step, below=1e-13, control=swapped)

# %% [markdown]
# (sec-lp-moves)=
# ## What moves
#
# At the start all singular values of all layers are $\varepsilon$. Follow them, and the angles by which the singular
# vectors turn away from where they began. To follow a singular vector is less innocent than it sounds: where values
# are equal, as all are at first, the SVD returns an arbitrary basis. `singular_trajectories` goes backwards from the
# last step and takes, among equal values, the basis nearest to the one it came from.

# %%
LAYERS = [f"W{layer}" for layer in range(1, L + 1)]
layers = [singular_trajectories(path[name]) for name in LAYERS]


def turned(tracks):
    """The largest angle of each vector over all steps, ascending."""
    angles = torch.stack([tracks.angles("right"), tracks.angles("left")])
    return angles.amax(1).sort(dim=-1).values


angles = [turned(layer) for layer in layers]
for seed in (1, 2):  # other starts than that of the figure
    F64["generator"] = seed_everything(seed)
    again = init_weights([d] * (L + 1), eps, **F64)
    run = gradient_descent(again, X, Y, **settings, record_weights=True)
    angles += [turned(singular_trajectories(run[name])) for name in LAYERS]
angles = torch.stack(angles)
fixed, moving = angles[..., : d - 2 * r], angles[..., d - 2 * r :]

# The same network with targets of full rank.
noise = 10 * torch.randn(d, d, **F64) @ X
other = gradient_descent(start, X, noise, **settings, record_weights=True)
busy = turned(singular_trajectories(other["W1"]))
claims.check("parsimony-idle", fixed, below=1e-6, control=busy)
claims.check("parsimony-moving", moving, above=5, control=fixed)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-nine-panels", "caption": "The first of three layers of a linear network with $d = 30$ and $r = 3$ during the first 100 steps: all 30 singular values, and the angles by which the 30 right and left singular vectors have turned. Six of each move. The other 24 are the dashed line, one on top of the other."}, "image": {"alt": "Three panels. Left, six coloured curves of singular values that start at one: three rise to between 2.2 and 3.1, three sink to between 0.7 and 0.85. A dashed line sinks slowly from one to 0.9. Middle and right, six curves of angles that rise from zero to between 15 and 80 degrees, and a dashed line that stays at zero."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.8))
first = layers[0]
order = first.angles("right")[-1].argsort()
panels = {
    "singular values": first.values,
    "right vectors: angle": first.angles("right"),
    "left vectors: angle": first.angles("left"),
}
for ax, (title, panel) in zip(axes, panels.items(), strict=True):
    ax.plot(panel[:101, order[d - 2 * r :]], "-", linewidth=1.5)
    ax.plot(panel[:101, order[: d - 2 * r]], "k--", linewidth=1)
    ax.set(title=title, xlabel="step")
for ax in axes[1:]:
    ax.yaxis.set_major_formatter("{x:.0f}°")
plt.show()

# %% [markdown]
# Three values rise: the target asks for them. Three sink, below even the 24: the start carries them to outputs where
# the target wants something else, and that has to be unlearned. The values of the other layers look nearly the same.
# That is no accident: $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ is zero at the start, and infinitely small steps conserve
# it
# ({ref}`exercise <ex-parsimony-gradient>`). With these steps its entries are still below 0.02 at the end.
#
# So $2r = 6$ numbers per layer move on their own. The other 24 stay together, and none of their singular
# vectors has turned by a millionth of a degree. Which directions are these, and what is the number they share?
#
# (sec-lp-idle)=
# ## Who cannot move
#
# Ask which input directions the gradient never touches. In {eq}`eq-dln-gradient` the error $W_{L:1} - \Phi$ stands in
# the middle, and a direction $v$ can feel $\Phi$ from two sides, as in the example by hand:
#
# - from the right, if the target asks for it: $\Phi v \ne 0$;
# - from the left, if the network carries $v$ to an output that is not orthogonal to the columns of $\Phi$.
#   The error there pulls back at it.
#
# Call a direction *{term}`idle <idle direction>`* if it feels nothing from either side. What this means
# depends on the number of outputs, and we need two cases.
#
# **Square case**: as many outputs as inputs, $d_y = d$, and $r = \operatorname{rank} \Phi$. Then $v$ is idle if
#
# $$ \Phi v = 0 \qquad\text{and}\qquad \Phi^\top W_{L:1}(0)\, v = 0 . $$ (eq-idle)
#
# **Wide case**: fewer outputs than inputs, $d_y < d$. Here let $r = d_y$, whatever the rank of $\Phi$. Then $v$
# is idle if it does not reach the outputs at all,
#
# $$ \Phi v = 0 \qquad\text{and}\qquad W_{L:1}(0)\, v = 0 . $$ (eq-idle-wide)
#
# If $\Phi$ has rank $d_y$, its columns span all outputs, and the two definitions agree.
#
# In both cases there are $r$ conditions and again $r$. So the idle directions form a space of dimension at
# least $m = d - 2r$, and it is known before the first step. They remain idle forever:
#
# :::{prf:theorem} Law of parsimony
# :label: thm-parsimony
#
# Let $X X^\top = I$ and $\Phi = Y X^\top$. Let all layers be $d \times d$, except that the last may have fewer
# rows. Let $W_l(0)$ be one $\varepsilon > 0$ times an orthogonal matrix, and the last one $\varepsilon$
# times a matrix with orthonormal rows. Let $m = d - 2r > 0$. Gradient descent {eq}`eq-dln-step` then
# satisfies, for any $\eta$, $\lambda$ and all $t$:
#
# **Square case.** There are orthogonal $U_l, V_l$ with $V_{l+1} = U_l$, which do not depend on $t$, such that
# in *all* layers $l = 1, \dots, L$
#
# $$ \begin{gathered}
# W_l(t) = U_l \begin{bmatrix} \widetilde W_l(t) & 0 \\ 0 & \rho(t)\, I_m \end{bmatrix} V_l^\top , \\
# \rho(t+1) = \rho(t) \big( 1 - \eta\lambda - \eta\, \rho(t)^{2(L-1)} \big) .
# \end{gathered} $$ (eq-law)
#
# **Wide case.** The same holds in the layers $l = 1, \dots, L-1$, with
#
# $$ \rho(t+1) = \rho(t)\, (1 - \eta\lambda) . $$ (eq-law-wide)
#
# In both, $\rho(0) = \varepsilon$ and $\widetilde W_l(0) = \varepsilon I_{2r}$ in the layers named.
# :::
#
# The proof is a relay race. Take an idle unit vector $v_1$ and let the start carry it through the network,
# $v_{l+1} = W_l(0)\, v_l / \varepsilon$. These are again unit vectors, as long as the layers are square. We will
# see that every layer keeps handing this one vector to the next, only by another factor.
#
# :::{prf:proof}
# We claim that for all $t$ and all layers $l$ of the square case, and for all $l < L$ in the wide case,
#
# $$ W_l(t)\, v_l = \rho(t)\, v_{l+1} , \qquad W_l(t)^\top v_{l+1} = \rho(t)\, v_l . $$ (eq-relay)
#
# It holds at $t = 0$, since $W_l(0)^\top W_l(0) = \varepsilon^2 I$ with the same $\varepsilon$ in all layers.
# Suppose it holds at $t$, and let the gradient act on the relay.
#
# *Square case.* Read $\nabla_l v_l$ from the right, one factor at a time.
#
# 1. The layers below hand $v_l$ back to the input: $W_{l-1:1}^\top v_l = \rho^{l-1} v_1$.
# 2. There the error acts: $(W_{L:1} - \Phi)\, v_1 = \rho^L v_{L+1}$, as $\Phi v_1 = 0$ by the first condition.
# 3. The layers above hand that down again: $W_{L:l+1}^\top v_{L+1} = \rho^{L-l} v_{l+1}$.
#
# The powers add up to $(l-1) + L + (L-l) = 2L - 1$, in every layer the same:
#
# $$ \nabla_l\, v_l = \rho^{2L-1} v_{l+1} . $$
#
# Read $\nabla_l^\top v_{l+1}$ in the same way. The layers above carry $v_{l+1}$ to the output, $W_{L:l+1} v_{l+1} =
# \rho^{L-l} v_{L+1}$. The transposed error brings that to the input, $(W_{L:1} - \Phi)^\top v_{L+1} = \rho^L v_1$, as
# $\Phi^\top v_{L+1} = \varepsilon^{-L}\, \Phi^\top W_{L:1}(0)\, v_1 = 0$ by the second condition. And the layers
# below carry it on, $W_{l-1:1} v_1 = \rho^{l-1} v_l$.
#
# So $\nabla_l^\top v_{l+1} = \rho^{2L-1} v_l$. Put both into {eq}`eq-dln-step`: {eq}`eq-relay` holds at $t + 1$,
# with $\rho(t+1) = (1 - \eta\lambda) \rho - \eta \rho^{2L-1}$.
#
# *Wide case.* Now $W_{L:1}(0)\, v_1 = 0$ says $W_L(0)\, v_L = 0$, and we carry $W_L(t)\, v_L = 0$ along with
# {eq}`eq-relay`. The relay ends in nothing. Hence $W_{L:1} v_1 = 0$ and $\Phi v_1 = 0$, so that the error
# times $v_1$ is zero and $\nabla_l v_l = 0$ for all $l \le L$. And $W_{L:l+1} v_{l+1} = 0$, so that
# $\nabla_l^\top v_{l+1} = 0$ for $l < L$. Only weight decay is left, which gives {eq}`eq-law-wide`.
#
# *The block form.* Choose $m$ orthonormal idle vectors and complete them to an orthonormal basis. These are the columns
# of $V_1 = [V_{1,1}, V_{1,2}]$, the idle ones last. Put $V_{l+1} = U_l = W_l(0) V_l / \varepsilon$, in the
# wide case up to $U_{L-1}$. By {eq}`eq-relay`, $W_l(t) V_{l,2} = \rho(t) U_{l,2}$ and
# $W_l(t)^\top U_{l,2} = \rho(t) V_{l,2}$. So the last block is $U_{l,2}^\top W_l V_{l,2} = \rho I_m$. Both
# blocks off the diagonal vanish: $U_{l,1}^\top W_l V_{l,2} = \rho\, U_{l,1}^\top U_{l,2} = 0$, and
# $V_{l,1}^\top W_l^\top U_{l,2} = \rho\, V_{l,1}^\top V_{l,2} = 0$. What remains is $2r \times 2r$, and
# $U_l^\top W_l(0) V_l = \varepsilon I$ by construction.
# :::
#
# Nothing in the proof is approximate, and nothing in it needs small steps. Small steps only fix the sign of $\rho$: if
# $\eta > 0$, $\lambda \ge 0$ and $\eta (\lambda + \varepsilon^{2(L-1)}) \le 1$, every factor in the recursion lies
# between 0 and 1, and $0 \le \rho(t) \le \varepsilon$ at all times. In the wide case $\eta\lambda \le 1$ suffices. We
# choose such steps from here on, unless we say otherwise. A larger step can make $\rho$ negative, and the singular
# value is $|\rho|$.
#
# We call $\rho$ the *idle value*. The idle columns $U_{l,2}$ and $V_{l,2}$ are the singular vectors that never
# turned. The others are those of the core $\widetilde W_l$, and turn within the span of $U_{l,1}$ and $V_{l,1}$.
#
# Now check it to rounding: both cases, with and without weight decay, every layer that the theorem covers,
# every step. From here on the loss is the sum of {eq}`eq-dln-loss`, not the mean.

# %%
CASES = [(case, decay) for case in ("square", "wide") for decay in (0.0, 0.02)]
runs, targets = {}, {}
for case, decay in CASES:
    outputs = d if case == "square" else r
    start_case = init_weights([d] * L + [outputs], 0.8, **F64)
    Y_case = 3 * end_to_end(init_weights([d, r, outputs], **F64)) @ X
    settings = {"lr": 0.02, "steps": 300, "weight_decay": decay}
    full = gradient_descent(start_case, X, Y_case, **settings, record_weights=True)
    reduced = reduced_gradient_descent(start_case, X, Y_case, r, **settings)
    law = bulk_singular_value(0.8, L, **settings, case=case)
    runs[case, decay] = full, reduced, law
    targets[case, decay] = Y_case @ X.T


# %% [markdown]
# First look at the square case without weight decay: above the layers as they are stored, below $U_l^\top W_l V_l$. Let
# the steps run. Above, everything seems to change. Below, a block of $6 \times 6$ does, and a diagonal fades.

# %% tags=["hide-input"]
full, reduced, law = runs["square", 0.0]


def draw_blocks(step):
    fig, axes = plt.subplots(2, 3, figsize=(5.4, 3.7))
    for layer, column in enumerate(axes.T):
        W, (U, V) = full[f"W{layer + 1}"][step], reduced.subspaces[layer]
        for ax, matrix in zip(column, (W, U.T @ W @ V), strict=True):
            ax.imshow(matrix.abs(), cmap="Greys", vmin=0, vmax=0.8)
            ax.set(xticks=[], yticks=[])
        column[0].set_title(f"layer {layer + 1}", fontsize=9)
    axes[0, 0].set_ylabel("as stored", fontsize=9)
    axes[1, 0].set_ylabel("in fixed bases", fontsize=9)
    return fig


explore(
    draw_blocks,
    name="parsimony-blocks",
    alt=lambda step: (
        f"Sizes of the entries of three 30 × 30 layers at step {step}. Above, as stored: "
        "grey everywhere. Below, in fixed bases: a block of six by six, a diagonal of "
        f"24 equal entries, {law[step].item():.2f}, and white elsewhere."
    ),
    caption="Entries of the three layers, the darker the larger: as they are stored, and in the bases of the theorem.",
    labels={"step": "Step"},
    start={"step": 40},
    play="step",
    step=[0, 5, 10, 20, 40, 80, 150, 300],
)

# %% [markdown]
# Two things to measure: how far $d - 2r$ singular values are from $\rho(t)$, and what stands outside of the two
# blocks, or differs from $\rho(t) I$ in the second. The controls, at the last step: the law of the other case, and
# the bases of directions that only the *first* condition makes idle, $\Phi v = 0$.


# %%
def gaps_to(law, W):
    """Distance of the d - 2r singular values nearest to a law, at every step."""
    gaps = (torch.linalg.svdvals(W) - law[:, None]).abs()
    return gaps.sort(dim=1).values[:, : d - 2 * r]


def block_errors(law, W):
    """The largest entry that the block form forbids, at every step."""
    wrong = W - law[:, None, None] * torch.eye(d, dtype=W.dtype)
    wrong[:, : 2 * r, : 2 * r] = 0
    return wrong.abs().amax((1, 2))


gaps, other_gaps, errors, other_errors = [], [], [], []
for (case, decay), (full, reduced, law) in runs.items():
    other_law = runs["wide" if case == "square" else "square", decay][-1]
    R = torch.linalg.svd(targets[case, decay]).Vh.T
    for layer in range(L if case == "square" else L - 1):
        W, (U, V) = full[f"W{layer + 1}"], reduced.subspaces[layer]
        gaps.append(gaps_to(law, W))
        other_gaps.append(gaps_to(other_law[-1:], W[-1:]))
        errors.append(block_errors(law, U.T @ W @ V))
        Q = W[0] @ R / 0.8
        other_errors.append(block_errors(law[-1:], Q.T @ W[-1:] @ R))
        R = Q

claims.check("parsimony-bulk", gaps, below=1e-9, control=other_gaps)
claims.check("parsimony-blocks", errors, below=1e-12, control=other_errors)

# %% [markdown]
# **In short.** A direction that the target does not ask for, and that the start does not carry to where the
# target asks for something, never takes part: every layer hands it on as it did at the start, times one number
# $\rho(t)$. There are at least $d - 2r$ such directions, and $\rho$ has a recursion of its own.
#
# :::{admonition} Slide check: which case is which, and what is minimal
# :class: warning slide-check
# :name: slide-check-lp-cases
# Lecture 002 calls the square case *Case 1*; 000 and 001 call the wide one *Case 1*. All state the block form for
# $l \in [L-1]$, with no formula for $\rho$ (*similar results hold with different $\rho(t)$*), and put $U_L$ among the
# orthogonal $d \times d$ matrices, which it can't be if $d_y = r$. In the square case the form holds for the last layer
# too, so that the product has a block $\rho(t)^L I_m$, as *How to Achieve the Best of Two Worlds?* uses it. In the wide
# case it has none. Both are measured below. The slides also call the space that moves the *minimal* invariant subspace.
# In {numref}`fig-nine-panels` it is, but not for every start ({ref}`exercise <ex-parsimony-two-r>`).
# :::

# %%
on_idle, powers = {"square": [], "wide": []}, []
for (case, _), (full, reduced, law) in runs.items():
    idle = reduced.subspaces[0][1][:, 2 * r :]
    values = torch.linalg.svdvals(end_to_end(full.final) @ idle)
    on_idle[case].append(values / law[-1] ** L)
    powers += [values / law[-1] ** (L - 1)] if case == "square" else []
square, wide = (torch.cat(values) for values in on_idle.values())
claims.check("parsimony-end-to-end", square, 1, rel=1e-9, control=torch.cat(powers))
claims.check("parsimony-no-block", wide, below=1e-9, control=square)

# %% [markdown]
# (sec-lp-rho)=
# ## The number they share
#
# The two laws for $\rho$ are quite different.
#
# In the wide case the idle directions feel no force at all, because the last layer ignores them. Without
# weight decay $\rho$ stays at $\varepsilon$ exactly. With it, $\rho$ decays exponentially.
#
# In the square case the target says zero on the idle directions while the network says $\rho^L$, and that
# error has to be unlearned. But the force, $\rho^{2L-1}$, dies much faster than $\rho$. For small steps the
# recursion is a differential equation in the time $\tau = \eta t$, without weight decay
# $\dot\rho = -\rho^{2L-1}$. For $L \ge 2$ the power $\rho^{-2(L-1)}$ then grows at the constant rate $2(L-1)$, so that
#
# $$ \rho(\tau) = \big( \varepsilon^{-2(L-1)} + 2 (L-1)\, \tau \big)^{-1 / (2(L-1))} . $$ (eq-power-law)
#
# That is a power law: with three layers, ten times smaller takes ten thousand times longer. A deep linear network in
# the square case keeps a residue of its initialisation for long, and its loss is never below $\frac m2 \rho^{2L}$.

# %%
long = gradient_descent(
    init_weights([d] * 4, 0.8, **F64),
    None,
    3 * end_to_end(init_weights([d, r, d], **F64)),
    **{"lr": 0.02, "steps": 20_000},
    metrics={"median": lambda W: torch.linalg.svdvals(W[0]).median()},
    every=np.geomspace(20, 20_000, 25).astype(int),
)


def power_law(steps, power=2 * (L - 1)):
    """Equation eq-power-law for this run."""
    return (0.8**-power + power * 0.02 * steps) ** (-1 / power)


ratio = long["median"] / power_law(long.steps)
other_ratio = long["median"][-1] / power_law(long.steps[-1], 2 * L)
claims.check("parsimony-power-law", ratio, 1, rel=0.02, control=other_ratio)

# %% [markdown]
# Two things decide what becomes of the start: its scale $\varepsilon$, and the weight decay $\lambda$. Move both. With
# a small start the idle value stays small, and the others rise out of it one after the other. Weight decay takes it to
# zero faster. But it also pulls at those that want to learn. Look for the pair at which nothing is learned.

# %% tags=["hide-input"]
unit = init_weights([d] * 4, **F64)
target = Phi / 10


def learn_values(epsilon, decay):
    settings = {"lr": 0.02, "steps": 500, "weight_decay": decay}
    metrics = {"values": lambda W: torch.linalg.svdvals(W[0])}
    small = [epsilon * W for W in unit]
    run = gradient_descent(small, None, target, **settings, metrics=metrics, every=5)
    return run, bulk_singular_value(epsilon, L, **settings)


def draw_values(epsilon, decay):
    run, law = learn_values(epsilon, decay)
    fig, ax = plt.subplots(figsize=(5.4, 3))
    ax.plot(run.steps, run["values"], "-", color=COLOURS[0], linewidth=1)
    ax.plot(law, "k--", linewidth=1.5)
    ax.set(xlabel="step", ylabel="singular values, layer 1", ylim=(-0.03, 1.6))
    return fig


def describe_values(epsilon, decay):
    run, law = learn_values(epsilon, decay)
    large = (run["values"][-1] > 0.5).sum().item()
    return (
        f"From {epsilon}, {large} of 30 singular values end above one half; "
        f"24 end on the dashed line at {law[-1].item():.3f}."
    )


explore(
    draw_values,
    name="parsimony-scale-decay",
    alt=describe_values,
    caption="Singular values of the first of three layers, square case, $d = 30$, a target with the singular values 3, 2.1 and 1.2. Dashed: the idle value, from its recursion alone.",
    labels={"epsilon": "Scale ε of the start", "decay": "Weight decay λ"},
    start={"epsilon": 0.3, "decay": 0.0},
    epsilon=[0.1, 0.3, 0.6, 1.0],
    decay=[0.0, 0.1, 0.5],
)

# %% [markdown]
# At $\varepsilon = 0.1$ and $\lambda = 0.5$ all thirty values die. A direction of strength $s$ that the start already
# carries the right way grows at the rate $s \varepsilon^{L-2}$, here $3 \cdot 0.1$, and loses at the rate $\lambda$,
# which is more. At $\varepsilon = \lambda = 0.1$ the third one dies: $1.2 \cdot 0.1$ is hardly more than $\lambda$,
# and the start does not carry it the right way.
#
# **In short.** In the wide case the idle value stays at $\varepsilon$, up to weight decay. In the square case it
# falls on its own, but only like a power of the time.
#
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
# The iterates are the same to rounding: nothing is lost. A step costs $O(L r^3)$ operations in place of $O(L d^3)$.
# Only the first decomposition and the final assembly see the full width. And a rank that is estimated too large does
# no harm: some idle directions are then trained as part of the core, where they do what they always do. The chapters
# on matrix completion and low-rank training are built on this.
#
# (sec-lp-rank)=
# ## Why this means low rank
#
# In the square case the end-to-end matrix is the sum of two parts,
#
# $$ W_{L:1}(t) = U_{L,1}\, \widetilde W_{L:1}(t)\, V_{1,1}^\top + \rho(t)^L\, U_{L,2} V_{1,2}^\top , $$ (eq-two-parts)
#
# one of rank at most $2r$, and $\rho^L \le \varepsilon^L$ times an isometry. Start small and go deep, and
# the second part is invisible. A single layer is only within $\varepsilon$ of rank $2r$, in the operator
# norm: depth makes the product low-rank, more than its factors. The theorem gives $2r$. In the runs below even the
# fourth singular value never exceeds $\varepsilon^L$: the moving directions that the target does not ask for only
# shrink. The control asks for seven.
#
# In this problem the rank at the *end* is no surprise: the loss has only one end-to-end minimiser, $\Phi$. What is
# special is the way there: at every step, and in every layer, all but $2r$ directions are idle. Where the loss leaves
# the product open, as when entries are missing, that becomes a bias. Here are the singular values of the product
# halfway, at the step where the first one has reached half of its target.

# %%
settings = {
    "lr": 1 / 900,
    "steps": 3000,
    "metrics": {"values": lambda W: torch.linalg.svdvals(end_to_end(W))},
}
halfway, tails = {}, []
for scale in (1.0, 0.3, 0.1):
    run = gradient_descent([scale * W for W in unit], None, Phi, **settings)
    half = int((run["values"][:, 0] > strengths[0] / 2).nonzero()[0])
    halfway[scale] = run["values"][half]
    tails.append(run["values"][1:, r].max() / scale**L - 1)
seven = 30 * end_to_end(init_weights([d, 7, d], **F64))
run = gradient_descent([0.3 * W for W in unit], None, seven, **settings)
other_tail = run["values"][1:, r].max() / 0.3**L - 1
claims.check("parsimony-tail", tails, below=1e-9, control=other_tail)

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
# The slides argue that $\lim_{\varepsilon \to 0} \rho(t) = 0$ for all $t$, hence low rank. At a fixed time that is
# true of *everything*: for $L \ge 2$ the origin is a saddle point of {eq}`eq-dln-loss`, so a network that starts
# closer to it stays there longer, and at a fixed $t$ the learned part vanishes as well. What makes the statement
# useful is that $\rho(t) \le \varepsilon$ at *all* times, however long one has to wait for the rest.
# :::
#
# **In short.** With $\eta (\lambda + \varepsilon^{2(L-1)}) \le 1$ the network is within $\varepsilon^L$ of rank $2r$.
#
# (sec-lp-breaks)=
# ## What breaks it, and what does not
#
# **Momentum** keeps the blocks. Its velocity is a sum of past gradients, and all of them have the same blocks.
# So the block form holds as it stands, with $\rho$ moved by heavy-ball momentum $\mu$ on its own force. In the
# square case, from $\nu(0) = 0$,
#
# $$ \begin{aligned}
# \nu(t+1) &= \mu\, \nu(t) + \lambda \rho(t) + \rho(t)^{2L-1} , \\
# \rho(t+1) &= \rho(t) - \eta\, \nu(t+1) .
# \end{aligned} $$ (eq-lp-momentum)
#
# In the wide case the power $\rho^{2L-1}$ is missing. The slides show momentum among the *more generic
# settings*, next to data that are not whitened. It does not belong there: the proof covers its directions.
#
# The directions stay. What does not carry over is the condition for $0 \le \rho \le \varepsilon$. A velocity
# that was built up while $\rho$ was large still pushes when $\rho$ is small, and can throw it across zero.
# Smaller steps prevent that:
#
# :::{prf:proposition} Momentum without overshoot
# :label: prop-lp-momentum
# Let $0 \le \mu < 1$, $\lambda \ge 0$ and $\eta > 0$. In the square and in the wide case, $\rho$ stays between $0$ and
# $\varepsilon$ at all steps if $\eta\, ( \lambda + \varepsilon^{2(L-1)} ) \le (1 - \sqrt\mu)^2$. In the wide case
# $\eta\lambda \le (1 - \sqrt\mu)^2$ suffices.
# :::
#
# The proof is an {ref}`exercise <ex-parsimony-momentum>`: the ratio of one $\rho$ to the one before never falls
# below $\sqrt\mu$. At $\mu = 0$ this is the condition we had. At $\mu = 0.9$ it allows only steps that are 380
# times smaller. It is sufficient, not necessary.
#
# For two layers with $\varepsilon = 1$, $\mu = 0.9$ and $\eta = 0.1$ it fails. Look at the idle block in its fixed
# bases, where a sign can be seen.

# %%
settings, idle_values = {"lr": 0.1, "steps": 100, "momentum": 0.9}, []
for _ in range(3):
    pair = init_weights([d] * 3, 1.0, **F64)
    target = end_to_end(init_weights([d, r, d], **F64))
    _, V = invariant_subspaces(pair, None, target, r)[0]
    run = gradient_descent(pair, None, target, **settings, record_weights=True)
    blocks = (V.T @ pair[0].T @ run["W1"] @ V)[:, 2 * r :, 2 * r :]
    idle_values.append(blocks.diagonal(dim1=1, dim2=2))
idle_values = torch.stack(idle_values)
lowest = idle_values.amin((1, 2))
law = bulk_singular_value(1.0, 2, **settings)
plain = bulk_singular_value(1.0, 2, **settings | {"momentum": 0})
gap, plain_gap = ((idle_values - rho[:, None]).abs().amax() for rho in (law, plain))
claims.check("parsimony-momentum", gap, below=1e-9, control=plain_gap)
claims.check("parsimony-momentum-sign", lowest, below=-0.3, control=plain.amin())
for lr in (0.1, 0.5, 0.9):
    rho = bulk_singular_value(1.0, 2, **settings | {"lr": lr})
    claims.show(f"η = {lr}: smallest ρ, largest |ρ|", rho.min(), rho.abs().max())

# %% [markdown]
# The idle value swings to $-0.61$ and back, while under plain descent with the same step it sinks quietly. At $\eta =
# 0.9$ its size even exceeds $\varepsilon$, by 13 %. And with three layers, $\varepsilon = 1$ and $\eta = 1$, where the
# idle value of plain descent is zero after one step, with momentum it overflows within ten.
#
# **Correlated inputs** do break the law: gently if they are nearly white, altogether if they are not. Let
# $C = X X^\top$. The error in the gradient is then $W_{L:1} C - \Phi$ with $\Phi = Y X^\top$. In the wide case an idle
# direction would have to satisfy $\Phi v = 0$ and $W_{L:1} C v = 0$ at all times. But what is idle now need not be idle
# after a multiplication by $C$. So the moving space can grow: by the rows of $\Phi$ and $W_{L:1}(0)$ times $C$, then
# times $C^2$, and so on, until it fills everything. In the square case $\Phi v = 0$ and $\Phi^\top v_{L+1} = 0$ are no
# longer enough either: $W_{L:1} C$ carries $v$ off the relay.
#
# If $C$ is close to a multiple of the identity, a new power brings little that is new. Take the wide case without
# weight decay, where the change $W_1(t) - W_1(0)$ of a whitened network has rank $2r$ exactly. Here are its singular
# values for whitened inputs, 300 independent Gaussian ones, and Gaussian ones with deviations that differ by a factor
# of 100.

# %%
spread = torch.logspace(0, -2, d, dtype=torch.float64)
TIMES = [1, 2, 3, 10, 100, 1000]
settings = {"lr": 0.3, "steps": 1000, "reduction": "mean", "record_weights": True}


def first_layer_changes():
    """For each kind of inputs: the changes of W1, and their shares on two spaces."""
    start_wide = init_weights([d, d, d, r], 1.0, **F64)
    gaussian, targets = torch.randn(d, 300, **F64), torch.randn(r, 300, **F64)
    (white,) = init_weights([300, d], 300**0.5, **F64)
    kinds = {"whitened": white, "Gaussian": gaussian}
    kinds["unequal"] = 2 * spread[:, None] * gaussian
    anywhere, found = init_weights([d, d - 2 * r], **F64)[0].T, {}
    for name, inputs in kinds.items():
        run = gradient_descent(start_wide, inputs, targets, **settings, every=TIMES)
        change = run["W1"] - start_wide[0]
        # The rows of Phi and of the product at the start span what moves if X is whitened.
        seen = torch.cat([targets @ inputs.T, end_to_end(start_wide)])
        idle = torch.linalg.svd(seen).Vh[2 * r :].T
        norms = [(change @ V).norm(dim=(1, 2)) for V in (idle, anywhere)]
        shares = [norm / change.norm(dim=(1, 2)) for norm in norms]
        values = torch.linalg.svdvals(change)
        found[name] = values, values[:, 2 * r] / values[:, 0], *shares
    return found


changes = [first_layer_changes() for _ in range(3)]

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-whitening", "caption": "Singular values of the change of the first layer, wide case, $r = 3$. Whitened inputs: six, then rounding. Others: a slope."}, "image": {"alt": "Singular values of a change on a logarithmic axis against the index. Whitened: six points between 0.01 and 1, the rest below ten to the minus fourteen. Gaussian inputs: points that follow the whitened ones up to the sixth and then fall on, nearly straight, to ten to the minus fifteen. Unequal variances: a gentler slope from the first point on, to ten to the minus eight."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for (name, (values, *_)), marker in zip(changes[0].items(), "os^", strict=True):
    index = range(1, d + 1)
    ax.semilogy(index, values[-1].clamp_min(1e-17), marker, markersize=4, label=name)
ax.axvline(2 * r + 0.5, color="0.3", linestyle="--", linewidth=1)
ax.set(xlabel="index", ylabel="singular value of the change", ylim=(1e-17, 3))
ax.legend()
plt.show()

# %% [markdown]
# Two questions, then. Is the rank of the change still $2r$? And do the $m = 24$ directions $V_{1,2}$ that would be
# idle if the inputs were whitened stay out of it? For the second take the share, in norm, of the change
# $D = W_1(t) - W_1(0)$ that acts on them, $\| D V_{1,2} \|_F / \| D \|_F$, and compare it with that of 24 random
# directions. The table has one of three draws; its columns are steps.

# %%
rows = {}
for name in ("Gaussian", "unequal"):
    _, ratio, on_idle, on_random = changes[0][name]
    rows[f"{name}: σ₇ / σ₁"] = ratio.tolist()
    rows[f"{name}: share"] = on_idle.tolist()
    rows[f"{name}: random"] = on_random.tolist()
claims.table([str(time) for time in TIMES], rows)


# %%
def at_end(name, quantity):
    """One of the last three quantities at the last step, all draws."""
    return [draw[name][quantity][-1] for draw in changes]


white, coloured = at_end("whitened", 1), at_end("Gaussian", 1) + at_end("unequal", 1)
shares, others = at_end("Gaussian", 2), at_end("Gaussian", 3) + at_end("unequal", 2)
claims.check("parsimony-whitened-rank", white, below=1e-12, control=coloured)
claims.check("parsimony-leak", coloured, above=0.002, control=white)
claims.check("parsimony-span", shares, below=0.15, control=others)

# %% [markdown]
# After the first step the rank of the change is $r$, after the second $2r$. From the third on it is full, but with
# Gaussian inputs only just: after 1000 steps the seventh singular value is less than a hundredth of the first. The 24
# directions are felt at once, with a quarter of the first step. Then this share *falls* to 5 to 7 per cent, because
# the learned part grows and theirs does not. With unequal inputs both are gone: the seventh value reaches a tenth of
# the first, and the share rises nearly to what random directions hold.
#
# **In short.** Momentum keeps the directions and needs smaller steps to keep $\rho$ between $0$ and $\varepsilon$.
# Correlated inputs turn a sharp rank into a slope, the steeper the nearer they are to white ones.
#
# (sec-lp-practice)=
# ## What a practitioner asks
#
# Nobody trains with full batches, a constant rate and layers of one width. Which of the usual tools keep the
# law? There is one question to ask of an optimiser: **does it know in which basis the weights are stored?**
#
# Gradient descent does not. Multiply a layer's weights and its gradients by orthogonal matrices from both sides, and
# the step is multiplied by them as well. For such a rule there is little more to prove:
#
# :::{prf:proposition} Symmetry keeps the blocks
# :label: prop-lp-symmetry
# In the square case, let each step of layer $l$ be a function $F_l$ of its weights and its gradients so far, and of
# numbers that do not change if any layer and its gradients are multiplied by orthogonal matrices: norms, losses, the
# step count. Gradients may be taken at the weights or at any point built by such a rule. Let
#
# $$ F_l(Q W R, Q \nabla R, \dots) = Q\, F_l(W, \nabla, \dots)\, R $$
#
# for all orthogonal $Q$ and $R$. Then the block form {eq}`eq-law` holds in all layers and at all steps, with an
# idle value $\rho_l(t)$ for each layer.
# :::
#
# :::{prf:proof}
# By the symmetry we may write all matrices in the bases $U_l, V_l$. If all weights so far are block diagonal, with a
# multiple of $I_m$ in the last block, so are the gradients {eq}`eq-dln-gradient`, as products of such matrices:
# $\Phi$ has zeros there. Let $Q = \operatorname{diag}(I, O)$ with an orthogonal $O \in \mathbb R^{m \times m}$, and
# $R = Q^\top$. Then $Q W Q^\top = W$ and $Q \nabla Q^\top = \nabla$, since $O I_m O^\top = I_m$. So the step satisfies
# $F = Q F Q^\top$ for all $O$.
#
# With $O = -I$ the blocks off the diagonal change their sign, so they are zero. And the last block commutes with
# all orthogonal $O$: with sign flips, so it is diagonal; with permutations, so all its entries are equal.
# :::
#
# In the wide case the same holds for $l < L$. For the last layer take $Q = I$ and $R = \operatorname{diag}(I, O)$: its
# idle columns are zero and stay zero. Go through the tools with this in mind.
#
# - *Weight decay, momentum, Nesterov momentum* add up weights and gradients with fixed factors. The factors may
#   change from step to step, as in a *schedule*, or depend on norms, as in *clipping*. All pass.
# - *The polar factor* of the gradient, which sets all its singular values to one, is not linear and passes too.
#   The optimiser Muon {cite}`jordan2024muon` steps along an approximation of it. But it changes the law for
#   $\rho$: an idle value feels a force of one however small it is, and falls by $\eta$ at each step until it is below
#   $\eta$. There its gradient $\rho^{2L-1}$ is as small as rounding, and the polar factor turns rounding into a force
#   of one. In exact arithmetic the blocks stay, on a machine they leak. The row *short* stops before that,
#   half-way to the target.
# - *Layers of unequal width* need no new proof. The relay only asks that every layer hands $v_l$ on whole,
#   $W_l(0)^\top W_l(0)\, v_l = \varepsilon^2 v_l$. If widths grow, that holds for all. A bottleneck or a wide middle
#   leaves fewer idle directions; those it leaves are exact ({ref}`exercise <ex-parsimony-between>`).
# - *Mini-batches* bring correlated inputs back. The batch $b$ has its own $C_b = X_b X_b^\top$ and its own
#   $\Phi_b = Y_b X_b^\top$. The law stands if every $C_b$ is the same multiple of $I$ *and* every $\Phi_b$ the same
#   matrix, as when each batch is white and $Y = \Phi X$ without noise. Label noise alone breaks it.
# - *Whitening the batches one by one*, $C_b^{-1/2} X_b$ in place of $X_b$, is not enough: the targets stay, so
#   $\Phi_b$ changes from step to step. How nearly the law is kept depends on the rate and on the noise.
# - *Adam and sign descent* treat each entry on its own. They know the basis, and the blocks are gone at the first
#   step.
#
# Three seeds of each were run beforehand: three layers, $d = 30$, $r = 3$, $\varepsilon = 0.8$, a target whose three
# singular values are 3, 600 whitened inputs, 600 steps, targets that are a linear function of the inputs but for
# the row with noise. The unequal widths are 30-35-40-45, 30-24-24-30 and 30-36-36-30. The rates: 0.02; momentum
# 0.005; schedule and clipping 0.04; polar factor 0.0011 and 0.005; Adam 0.01; signs 0.003. All but the short run
# end within 11 % of the target.
#
# *Outside* is the norm of the part of a layer's change that the block form has no place for, over the norm of the
# change. *Spread* is the largest less the smallest singular value of the idle block, over $\varepsilon$. The table has
# the worst layer and the worst seed; $m$ is the number of directions that should be idle. The last row is what
# random bases have outside at least.

# %%
record = recorded("parsimony-optimisers").values
ROUGHLY = ["polar factor", "white, noisy targets", "whitened one by one"]
ROUGHLY += [f"batches of {size}" for size in (300, 60, 20)]
verdicts = {row["method"]: "exactly" for row in record}
verdicts |= dict.fromkeys(ROUGHLY, "nearly")
verdicts |= dict.fromkeys(["Adam", "signs"], "not at all")
rows = {}
for name, verdict in verdicts.items():
    seeds = [row for row in record if row["method"] == name]
    worst = (max(row[key] for row in seeds) for key in ("outside", "spread"))
    rows[name] = verdict, str(seeds[0]["idle"]), *worst
randomly = [row["random"] for row in record]
rows["random bases"] = "—", "—", min(randomly), "—"
claims.table(["keeps it", "m", "outside", "spread"], rows)

# %%
exact, near, gone = (
    [row["outside"] for row in record if verdicts[row["method"]] == verdict]
    for verdict in ("exactly", "nearly", "not at all")
)
claims.check("parsimony-exactly", exact, below=1e-11, control=near)
claims.check("parsimony-nearly", near, below=0.15, control=gone + randomly)
claims.check("parsimony-not-at-all", gone, above=0.2, control=near)

# %% [markdown]
# Under Adam nearly half of the change is outside in norm, a fifth in squares, and the idle values, once equal, differ
# by as much as they measured at first. A smaller rate does not help: at 0.001, in ten times as many steps, 0.62 is
# outside. So Adam destroys the block form. Whether it destroys low rank in a network is a question for the next
# section.
#
# (sec-lp-nonlinear)=
# ## Networks with nonlinearities
#
# Cross-entropy in place of squares, real images, a ReLU between the layers: none of the assumptions is
# left. What remains of the law? We take the last weight matrix before the classifier of three networks: a
# linear one with three hidden layers of width 128, the same with ReLUs (an MLP), and a small vision transformer of
# width 64. We start it at an orthogonal matrix, train on handwritten digits, and ask as the lectures do:
# In how few directions does it change? And are these the same all along, as an invariant subspace asks?
# For the second we compare two *increments*: the change in the first quarter of the training, and the change after it.
# What share of the later one acts on the $K$ strongest right directions of the earlier one, $K$ being the number of
# classes? And what are the {term}`principal angles` between the $K$ strongest directions of each?
#
# Three seeds of each network were run beforehand; `python -m lecturelib.experiments run parsimony-networks` repeats
# them. The first two train for 60 epochs by SGD without momentum, at the rate 0.05, and once more by Adam at 0.001.
# The transformer was also trained otherwise: 20 epochs, rate 0.05, momentum 0.9. The columns: the share of the squared
# change in $K - 1$, $K$ and $2K$ directions, the share that was *caught*, and the *median* and the *worst* angle.
# Random directions would hold and catch $K/128$, 8 %, and in the transformer $K/64$, 16 %.

# %%
record = recorded("parsimony-networks").values
rows = {
    f"{row['network']}, seed {row['seed']}": (
        *row["shares"],
        row["caught"],
        f"{row['median']:.0f}°",
        f"{row['worst']:.0f}°",
    )
    for row in record
}
claims.table(["K−1", "K", "2K", "caught", "median", "worst"], rows, digits=3)

# %%
by_sgd, transformer, by_adam = record[:6], record[6:9], record[9:]
missed, control = ([1 - row["shares"][1] for row in rows] for rows in (by_sgd, by_adam))
claims.check("parsimony-few-directions", missed, below=0.012, control=control)
stays, leaves = ([row["caught"] for row in rows] for rows in (by_sgd, transformer))
claims.check("parsimony-caught", stays, above=0.75, control=leaves)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-nonlinear", "caption": "The last weight matrix before the classifier after training, ten classes, one seed of each network. Left, its singular values, all of which were one at the start. Right, those of its change (above $10^{-3}$), with dashed lines at $K = 10$ and $2K = 20$."}, "image": {"alt": "Two panels of singular values against their index. Left: nine or ten values of the linear network and the MLP stand above one, up to 1.9, and the rest lie at one; those of the transformer slope gently from 1.2 to 0.8. Right, on a logarithmic axis: the change of the linear network and that of the MLP drop steeply after the ninth and the tenth value, that of the transformer falls gradually without a step."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
for row, marker in zip(record[:9:3], "os^", strict=True):
    look = {"markersize": 3, "label": row["network"]}
    for ax, values in ((left, row["values"][:64]), (right, row["change"])):
        ax.plot(range(1, len(values) + 1), values, marker, **look)
left.set(xlabel="index", title="after training")
right.set(xlabel="index", title="change", yscale="log", xlim=(0, 64))
for place in (10, 20):
    right.axvline(place + 0.5, color="0.3", linestyle="--", linewidth=0.8)
right.legend()
plt.show()

# %% [markdown]
# In all three networks the change lives in few directions: $K$ of them have more than 99.9 % of its square in the
# linear network, 99.6 % in the MLP and 90 % in the transformer. Three counts compete here:
#
# - $K - 1$ bounds the rank of a single gradient of this layer in the linear network, as the errors of cross-entropy
#   sum to zero over the classes;
# - $K$ bounds it for any loss, as the classifier has $K$ rows;
# - $2K$, the $2r$ of the theorem, bounds the whole path in the theorem's own setting, as the classifier turns.
#
# A ReLU lets different entries pass for each sample, and lifts the first two bounds. Adam
# does not destroy low rank here: $K$ directions still hold 94 or 95 per cent, and catch 63 to 85 per cent. But what is
# left outside of them is more than ten times as much.
#
# That the directions stay the *same* is less true. In the linear network and in the MLP the first quarter's $K$
# directions catch nine tenths of the square of what changes later, and by the median they turn by 17 to 22 degrees.
# In the transformer they catch a quarter to a third. So few directions hold best in the linear network, and *the same*
# directions best in the MLP. Its weakest one turns by 31 to 34 degrees, that of the linear network by 76 to 84: there
# $K - 1 = 9$ directions have 99.9 % of the square, and the tenth is nearly empty. In the transformer both are weakest.
# The lecture shows {claim}`the same of a ViT-B <parsimony-vit-b>`, in a figure. This book has run none of that size.
#
# ## Exercises
#
# :::{exercise} One step by hand
# :label: ex-parsimony-hand
# *Warm-up, 10 minutes.* Take $\Phi = \operatorname{diag}(4, 0)$ and two layers as in {ref}`sec-lp-hand`, but let
# $W_1(0) = \frac12 J$, where $J$ swaps the two coordinates, and $W_2(0) = \frac12 I$. Which input directions are
# idle? Do one step with $\eta = 0.1$ by hand. What does the network say to the first input before and after?
# :::
#
# :::{solution} ex-parsimony-hand
# :class: dropdown
# None: $\Phi v = 0$ forces $v_1 = 0$, and $\Phi^\top W_{2:1}(0)\, v = 0$ forces $v_2 = 0$, as $W_{2:1}(0)\, e_2 =
# \frac14 e_1$. In numbers, the error is $E = W_{2:1} - \Phi$, and
#
# $$ \begin{gathered}
# E = \begin{bmatrix} -4 & \frac14 \\ \frac14 & 0 \end{bmatrix} , \qquad
# \nabla_1 = \tfrac12 E = \begin{bmatrix} -2 & \frac18 \\ \frac18 & 0 \end{bmatrix} , \\
# \nabla_2 = \tfrac12 E J = \begin{bmatrix} \frac18 & -2 \\ 0 & \frac18 \end{bmatrix} .
# \end{gathered} $$
#
# After the step $W_1$ has the rows $(0.2,\ 0.4875)$ and $(0.4875,\ 0)$, and $W_2$ the rows $(0.4875,\ 0.2)$ and
# $(0,\ 0.4875)$. To the first input the network said $(0,\ 0.25)$ before, and says $(0.195,\ 0.238)$ after.
# :::
#
# :::{exercise} The gradient, and what it conserves
# :label: ex-parsimony-gradient
# *Warm-up, 15 minutes.* What is $\nabla_l$ if the network's output is multiplied by a number $\alpha$? Show
# that $\nabla_l W_l^\top = W_{l+1}^\top \nabla_{l+1}$. Conclude that $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ does not
# change under gradient flow, $\dot W_l = -\nabla_l$.
# :::
#
# :::{solution} ex-parsimony-gradient
# :class: dropdown
# The error becomes $\alpha W_{L:1} X - Y$, and the gradient has another factor $\alpha$, as a move of the layer now
# moves the output by $\alpha$ times as much. For the second question multiply {eq}`eq-dln-gradient` by $W_l^\top$ from
# the right, or the gradient of layer $l+1$ by $W_{l+1}^\top$ from the left. Both give $W_{L:l+1}^\top E X^\top
# W_{l:1}^\top$. Call it $M$. Then
#
# $$ \tfrac{d}{d\tau}\, W_l W_l^\top = -(M + M^\top) = \tfrac{d}{d\tau}\, W_{l+1}^\top W_{l+1} . $$
# :::
#
# :::{exercise} Two directions for one
# :label: ex-parsimony-two-r
# *Core, 15 minutes.* Give a start $W_{L:1}(0)$ for which only $r$ directions move in the square case.
#
# *Hint.* The two conditions in {eq}`eq-idle` may coincide.
# :::
#
# :::{solution} ex-parsimony-two-r
# :class: dropdown
# The conditions coincide if $W_{L:1}(0)^\top$ maps the column space of $\Phi$ onto its row space: for instance
# $\Phi = A B^\top$ with orthonormal columns, and $W_{L:1}(0) = \varepsilon^L Q$ with an orthogonal $Q$ such that
# $Q^\top A = B$. For a random start that has probability zero. This one is a very good start, as in the example by
# hand.
# :::
#
# :::{exercise} The momentum induction
# :label: ex-parsimony-momentum
# *Core, 20 minutes.* Prove {prf:ref}`prop-lp-momentum`.
#
# *Hint.* Write $q(t) = \rho(t+1) / \rho(t)$, and find a recursion for $q$.
# :::
#
# :::{solution} ex-parsimony-momentum
# :class: dropdown
# If $\rho$ reaches zero with $\mu = 0$, it stays there. Otherwise let $h(t) = \lambda + \rho(t)^{2(L-1)}$, in the
# wide case $h = \lambda$. Eliminate $\nu$ from {eq}`eq-lp-momentum` by $\eta \nu(t) = \rho(t-1) - \rho(t)$:
#
# $$ \begin{aligned}
# \rho(t+1) &= \rho(t) + \mu \big( \rho(t) - \rho(t-1) \big) - \eta\, h(t)\, \rho(t) , \\ q(t) &= 1 + \mu - \mu /
# q(t-1) - \eta\, h(t) , \qquad q(0) = 1 - \eta\, h(0) . \end{aligned} $$
#
# We show $\sqrt\mu \le q(t) \le 1$ and $0 \le \rho(t) \le \varepsilon$ together. At $t = 0$ we have
# $\eta h \le (1 - \sqrt\mu)^2$, so $q(0) \ge 2 \sqrt\mu - \mu \ge \sqrt\mu$. Let it hold up to $t - 1$. Then
# $0 \le \rho(t) \le \varepsilon$, and again $\eta h(t) \le (1 - \sqrt\mu)^2$. As $q(t-1) \ge \sqrt\mu$,
#
# $$ q(t) \ge 1 + \mu - \sqrt\mu - (1 - \sqrt\mu)^2 = \sqrt\mu . $$
#
# And $q(t) \le 1$, since $\nu(t+1)$ is a sum of terms that are not negative.
# :::
#
# :::{exercise} Adam in the right coordinates
# :label: ex-parsimony-adam
# *Core, 20 minutes.* Adam divides an average of past gradients by the root of an average of their squares, entry
# by entry. Suppose that the weights are stored in the bases of the theorem, as $U_l^\top W_l V_l$. Show that
# Adam then keeps the blocks, and find what becomes of $\rho$. Why does that not help in practice?
# :::
#
# :::{solution} ex-parsimony-adam
# :class: dropdown
# Off the blocks all gradients are zero, and Adam moves an entry only if its gradients are not. On the diagonal of the
# idle block all entries have the same gradients, so they take the same steps. The size of a step is of the order of
# $\eta$, not of $\eta$ times the force, so $\rho$ falls faster: from 0.8, in 50 steps of 0.01 and three layers, to 0.47,
# and under gradient descent to 0.69. In practice the weights are stored in a basis that has nothing to do with $U_l$
# and $V_l$, and these are only known after $\Phi$ is.
# :::
#
# :::{exercise} Between square and wide
# :label: ex-parsimony-between
# *Core, 25 minutes.* Let $r < d_y < d$: ten outputs, say, but a target of rank three. The theorem with $d_y$ in place
# of $r$ leaves $d - 2 d_y = 10$ idle directions. There are more. How many singular values does each hidden layer
# share, and which two numbers are they? Measure, then explain. And why are there 18 idle directions for hidden layers
# of width 24, and 18 for hidden layers of width 36, in the table above?
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
for case in ("wide", "square"):
    law = bulk_singular_value(0.8, 3, lr=0.02, steps=200, case=case)[200]
    gaps = [(torch.linalg.svdvals(W) - law).abs() for W in run.final[:2]]
    print(case, *((gap < 1e-9).sum().item() for gap in gaps))

# %% [markdown]
# In both hidden layers there are 17 values at $\varepsilon$, four on the law of the square case, and nine that move.
# In general position:
#
# - The null space of $W_{L:1}(0)$ has $d - d_y = 20$ dimensions. Its vectors with $\Phi v = 0$ are idle as in the wide
#   case. These are $r$ conditions, which leaves $\max(0,\ d - d_y - r) = 17$.
# - The other $d_y = 10$ input directions reach the outputs. They are idle as in the square case if $\Phi v = 0$ and if
#   they arrive orthogonal to the columns of $\Phi$. These are $2r$ conditions, which leaves $\max(0,\ d_y - 2r) = 4$.
#
# A sum of one of the first kind and one of the second is not idle, as its two parts obey different laws.
# $\Phi$ takes $r$ directions from the first kind, $2r$ from the second.
#
# With other widths, ask which directions all layers hand on whole. A bottleneck of width $w$ lets $w$ of them
# through, and $w - 2r = 18$ are idle for $w = 24$. A wide middle, $w = 36$, is entered by all. But the layer
# that leaves it has $d$ rows, and hands on whole what lies in the span of these. Of $d$ entering dimensions
# that is all but $w - d = 6$, so that $d - (w - d) - 2r = 18$ are left.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Closer to the law, or further away
# :label: ex-parsimony-open
# *Open, an afternoon.* Which ingredient of the MLP of {numref}`fig-nonlinear` costs most of the law: the ReLU, the
# cross-entropy, or the correlated inputs? Replace them one at a time (`MLP(widths, linear_tail=3)` in
# `lecturelib.networks` has no ReLUs), and compare the share of the change in $2K$ directions, for the last and for the
# first hidden layer.
# :::
#
# :::{solution} ex-parsimony-open
# :class: dropdown
# A fair comparison trains all variants to the same training loss, not for the same number of epochs. Look at the share
# in the *first* hidden layer, which has to deal with the raw inputs; at the rank of the
# {term}`class means <class mean>`, $K - 1$ after centring under cross-entropy, $K$ for squared errors; and at whether
# biases carry away one direction. Report the share over several seeds; differences below their spread mean nothing.
# :::
#
# ## Summary
#
# - Under full-batch gradient descent with whitened inputs and orthogonal weights, with as many outputs as inputs or as
#   the target's rank, a direction that the target does not ask for, and that the start does not carry to where it asks
#   for something, is idle at all steps. Such directions form a space of at least $d - 2r$ dimensions.
# - On them every layer is $\rho(t)$ times a fixed isometry: $\rho$ is constant up to weight decay if the last layer
#   ignores them, and falls like a power of time if the target there is zero.
# - Training on the $2r \times 2r$ cores gives the same iterates, to rounding, at a cost that does not depend on the
#   width. If $\eta (\lambda + \varepsilon^{2(L-1)}) \le 1$, the product is within $\varepsilon^L$ of rank $2r$ at all
#   times.
# - Any full-batch optimiser that does not know the basis in which weights are stored keeps the blocks. Mini-batches
#   keep them nearly, the more so the smaller the rate and the noise, Adam not at all. Correlated inputs turn the sharp
#   rank into a slope. In nonlinear networks the law survives as a tendency.
#
# ## Further reading
#
# The theorem is from {cite}`yaras2023law`. Saxe, McClelland and Ganguli solved the dynamics of deep linear networks
# exactly, for suitable starts {cite}`saxe2014exact`. On why depth prefers low rank see {cite}`arora2019implicit` and
# {cite}`huh2023lowrank`.
