# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 2: the law of parsimony and progressive separation
#
# The chapters train one network for one task, follow gradient *flow* where they speak of what is conserved,
# and ask what a scale of the start brings. Here you train for one task after another, take steps of finite
# size, and choose the scale.
#
# **You will be able to** say which directions of a network are still free after several tasks; derive how
# fast a conserved quantity drifts; read off a trained network from which scale it started; and weigh what
# depth brings against what it costs.
#
# **Time**: 90 minutes. **You need** the chapters *The law of parsimony* and *Progressive separation*. As there,
# samples are columns, $W_{b:a} = W_b \cdots W_a$, and a step of gradient descent is
# $W_l(t+1) = (1 - \eta\lambda)\, W_l(t) - \eta\, \nabla_l(t)$ for the loss
# $\frac12 \| W_{L:1} X - Y \|_F^2$.
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 20 points are given by tests and 16
# by a person.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

from IPython import get_ipython

for folder in (Path(".."), Path("../..")):
    if (folder / "lecturelib").is_dir():
        sys.path.insert(0, str(folder.resolve()))
        break
else:
    if find_spec("lecturelib") is None:  # Colab; nothing that is installed changes
        address = "git+https://repository.invalid/owner/book"
        get_ipython().run_line_magic("pip", f"install --quiet {address}")

import math

import matplotlib.pyplot as plt
import torch

from lecturelib import coursework
from lecturelib.coursework.assignments import hw2
from lecturelib.progressive_separation import feature_compression

# %% [markdown]
# Write your own address below: it decides the networks you get.

# %%
mine = coursework.begin("hw2", student="your.name@example.org")

# %% [markdown] question="hw2-q1"
# ## 1. Idle for one task after another (5 points)
#
# A linear network has $L$ square layers, $W_l(0) = \varepsilon Q_l$ with orthogonal $Q_l$, and whitened inputs.
# It will be trained on a first task with the target $\Phi_1$ ($\Phi = Y X^\top$ in the chapter), and then, from
# where it is, on a second one with $\Phi_2$, and so on. The targets are $d \times d$ matrices of low rank.
#
# Which input directions are idle for *all* tasks, as the start alone decides: $\Phi_j v = 0$ and
# $\Phi_j^\top W_{L:1}(0)\, v = 0$ for every $j$? The start carries each of them through the network,
# $v_1 = v$ and $v_{l+1} = Q_l v_l$. Write a function that returns the orthogonal projection, a
# $d \times d$ matrix, onto the space of all $v_l$ of one layer $l$, on the side of its *inputs*. If no
# direction is idle, that is the zero matrix.
#
# Numbers below $10^{-8}$ times what they are compared with count as zero. Mind that $\varepsilon^L$ can be small.


# %% question="hw2-q1"
def idle_projection(weights, targets, layer):
    """Return the projection (d, d) onto the idle directions at the input of a layer.

    `weights` is a list of L matrices (d, d), the start, first layer first; `targets` is a list of
    matrices (d, d); `layer` is an integer from 1 to L. All are float64.
    """
    # BEGIN SOLUTION
    dim = len(weights[0])
    scale = torch.linalg.matrix_norm(weights[0], 2)
    product = carried = torch.eye(dim, dtype=torch.float64)
    for index, weight in enumerate(weights, start=1):
        if index == layer:
            carried = product
        product = weight / scale @ product
    conditions = torch.cat([rows for target in targets for rows in (target, target.T @ product)])
    _, values, right = torch.linalg.svd(conditions)
    idle = carried @ right[values <= 1e-8 * values.max()].T
    return idle @ idle.T
    # END SOLUTION


# %%
coursework.check("hw2-q1", idle_projection)

# %% [markdown] question="hw2-q2"
# ## 2. Why they stay idle (5 points, read by a person)
#
# 1. Let $v_1$ be idle for two tasks. The law of parsimony is about training from the start $\varepsilon Q_l$. But
#    the second task begins where the first one ended. Show that $v_1$ stays idle all the same: during *both*
#    tasks $W_l v_l = \rho\, v_{l+1}$ and $W_l^\top v_{l+1} = \rho\, v_l$ in every layer, with one number
#    $\rho$ that depends on the step only. You may use the law for the first task, but not for the second.
# 2. A thousand dimensions, tasks of rank ten, whose targets have nothing to do with each other: for how many
#    tasks is at least one direction idle for certain?

# %% [markdown] answer="hw2-q2"
# **1.** During the first task that is the law, since $v_1$ is idle for $\Phi_1$. At its end all layers satisfy it
# with some $\rho$. Now suppose it holds at some step of the second task (it does at its first). Going through
# the network, $W_{L:1} v_1 = \rho^L v_{L+1}$, where $v_{L+1} = W_{L:1}(0) v_1 / \varepsilon^L$. As $v_1$ is idle
# for $\Phi_2$, $\Phi_2 v_1 = 0$ and $\Phi_2^\top v_{L+1} = 0$. The gradient
# $\nabla_l = W_{L:l+1}^\top (W_{L:1} - \Phi_2) W_{l-1:1}^\top$ on $v_l$: first
# $W_{l-1:1}^\top v_l = \rho^{l-1} v_1$, then $(W_{L:1} - \Phi_2) v_1 = \rho^L v_{L+1}$, then
# $W_{L:l+1}^\top v_{L+1} = \rho^{L-l} v_{l+1}$. Together $\nabla_l v_l = \rho^{2L-1} v_{l+1}$. In the same way
# $\nabla_l^\top v_{l+1} = W_{l-1:1} (W_{L:1} - \Phi_2)^\top W_{L:l+1} v_{l+1}$ is $\rho^{2L-1} v_l$, by
# $W_{L:1}^\top v_{L+1} = \rho^L v_1$ and $\Phi_2^\top v_{L+1} = 0$. So after the step both equations
# hold again, with $\rho (1 - \eta\lambda - \eta \rho^{2(L-1)})$ for $\rho$, the same in all layers.
#
# **2.** Each task asks for at most $2r = 20$ conditions, so after $T$ tasks at least $1000 - 20\,T$ directions are
# left: 49 tasks leave 20 for certain, and 50 may leave none.

# %% [markdown] rubric="hw2-q2"
# - **Induction** (3 points): the state at the end of the first task is what the second starts from (1);
#   the gradient on $v_l$ with both conditions used in their places (1); its transpose, and one $\rho$ for all
#   layers (1). Only "the same argument as in the theorem": 1.
# - **Both conditions** (1): it is said that $\Phi_2 v_1 = 0$ serves $\nabla_l v_l$ and
#   $\Phi_2^\top v_{L+1} = 0$ its transpose, or the equivalent.
# - **Counting** (1): 49, with $d - 2rT$.

# %% [markdown] question="hw2-q3"
# ## 3. What finite steps do not conserve (5 points)
#
# Two layers, data that are *not* whitened: `hw2.two_layers(mine)` has the weights `first` $W_1$ and
# `second` $W_2$, `inputs` $X$, `targets` $Y$, the learning rate `lr` $\eta$, the weight decay `decay` $\lambda$ and
# the number `steps` $T$. Under gradient flow without weight decay
# $\Delta = W_2^\top W_2 - W_1 W_1^\top$ would be conserved. With weight decay and without any gradient, each
# step would shrink it by $(1 - \eta\lambda)^2$. So look at what steps of finite size add to that,
#
# $$ \delta(\eta, T) = \big\| \Delta(T) - (1 - \eta\lambda)^{2T} \Delta(0) \big\|_F . $$
#
# Train with gradient descent as written above (both layers move at once, no average over samples), and give a
# dict with
#
# - `drift`: $\delta(\eta, T)$,
# - `ratio`: $\delta(\eta, T)$ divided by $\delta(\eta/2, 2T)$.

# %% question="hw2-q3"
net = hw2.two_layers(mine)
# BEGIN SOLUTION
# STUB balance = {"drift": ..., "ratio": ...}


def drift(lr, steps):
    """Train from the start, and return what finite steps add to the balance."""
    first, second = net.first, net.second
    start = second.T @ second - first @ first.T
    shrink = 1 - lr * net.decay
    for _ in range(steps):
        error = (second @ first @ net.inputs - net.targets) @ net.inputs.T
        gradients = second.T @ error, error @ first.T
        first, second = shrink * first - lr * gradients[0], shrink * second - lr * gradients[1]
    end = second.T @ second - first @ first.T
    return (end - shrink ** (2 * steps) * start).norm().item()


whole, halved = drift(net.lr, net.steps), drift(net.lr / 2, 2 * net.steps)
balance = {"drift": whole, "ratio": whole / halved}
# END SOLUTION

# %%
coursework.check("hw2-q3", balance)

# %% [markdown] question="hw2-q4"
# ## 4. The law of the drift (6 points, read by a person)
#
# 1. Let $G_1$, $G_2$ be the gradients of the two layers at step $t$. Express $\Delta(t+1)$ by $\Delta(t)$,
#    $G_1$, $G_2$, $\eta$ and $\lambda$, exactly. Where do you use that the loss depends on the product $W_2 W_1$
#    only?
# 2. What follows for $\Delta$ under gradient flow with weight decay, and for the ratio that you measured in
#    question 3?
# 3. Put a ReLU between the layers, $W_2 \max(W_1 X, 0)$. Which entries of your equation remain true? Give the
#    reason in one line.

# %% [markdown] answer="hw2-q4"
# **1.** With $\mu = 1 - \eta\lambda$,
# $W_1 W_1^\top$ becomes $\mu^2 W_1 W_1^\top - \eta\mu (W_1 G_1^\top + G_1 W_1^\top) + \eta^2 G_1 G_1^\top$,
# and $W_2^\top W_2$ becomes
# $\mu^2 W_2^\top W_2 - \eta\mu (W_2^\top G_2 + G_2^\top W_2) + \eta^2 G_2^\top G_2$. If the loss is a function
# of $W_2 W_1$ with the gradient $G$ there, $G_1 = W_2^\top G$ and $G_2 = G W_1^\top$, so
# $G_1 W_1^\top = W_2^\top G W_1^\top = W_2^\top G_2$: the terms of first order agree and cancel. What is left is
# $\Delta(t+1) = (1 - \eta\lambda)^2 \Delta(t) + \eta^2 \big( G_2^\top G_2 - G_1 G_1^\top \big)$.
#
# **2.** For $\eta \to 0$ at fixed time $\tau = \eta t$ the last term adds up to
# $\frac1\eta \cdot \eta^2$, which vanishes: $\Delta(\tau) = e^{-2\lambda\tau} \Delta(0)$. Weight decay balances
# the layers. Before the limit the sum is proportional to $\eta$ at a fixed time, hence half as large for half
# the step: the ratio is about 2. (Not exactly, since the paths differ a little.)
#
# **3.** The diagonal. Scaling the input weights of one hidden unit by $s > 0$ and its output weights by
# $1/s$ does not change the function, so $\langle w_j, \nabla_{w_j} \rangle = \langle v_j, \nabla_{v_j} \rangle$
# for its two weight vectors, the diagonal entries of $G_1 W_1^\top$ and $W_2^\top G_2$. Other entries mix units,
# which the ReLU does not allow.

# %% [markdown] rubric="hw2-q4"
# - **The equation** (3 points): both products expanded (1), $G_1 W_1^\top = W_2^\top G_2$ and from what (1), the
#   result with $\eta^2$ and $(1 - \eta\lambda)^2$ (1).
# - **Consequences** (2): $e^{-2\lambda\tau} \Delta(0)$ (1); a sum of $T$ terms of order $\eta^2$ is of order
#   $\eta$, so the ratio is about 2 (1).
# - **ReLU** (1): the diagonal, by scaling one unit or by writing out both gradients. Without a reason: ½.

# %% [markdown] question="hw2-q5"
# ## 5. A network taken apart (6 points)
#
# `hw2.network(mine)` is a deep linear network after training to zero loss, in the setting of *The same in a
# network that can be computed*: `weights` are its $L$ matrices, `inputs` (d, N) with $d = N = nK$, and
# `labels` (N,). It started from $\varepsilon$ times orthogonal matrices, aligned with the targets, so that the
# last layer did not turn. But nobody wrote down $\varepsilon$. Measure $D_0, \dots, D_{L-1}$, where $D_l$
# belongs to the features $z^l = W_{l:1} x$, and give a dict with
#
# - `factor`: the factor $q$ of the line $D_l \approx D_0'\, q^l$ that fits $\log D_l$ best, by least squares,
# - `scale`: the $\varepsilon$ that belongs to it,
# - `truncated`: $D_{L-1}$ after the layer of number `layer` (counted from 1) has been replaced by its best
#   approximation of rank `rank`. (Many singular values are equal. Why does it not matter which of those you
#   keep?)
#
# In the library, `feature_compression(features, labels)` takes features with samples as *rows*.

# %% question="hw2-q5"
deep = hw2.network(mine)
# BEGIN SOLUTION
# STUB compression = {"factor": ..., "scale": ..., "truncated": ...}
depth, num_classes = len(deep.weights), len(deep.weights[-1])
samples = len(deep.labels) // num_classes


def profile(weights):
    """Return D of the layers 0 … L - 1."""
    features = [deep.inputs]
    for weight in weights[:-1]:
        features.append(weight @ features[-1])
    return torch.stack([feature_compression(layer.T, deep.labels) for layer in features])


logs, layers = profile(deep.weights).log(), torch.arange(depth).double()
slope = ((layers - layers.mean()) * logs).sum() / (layers - layers.mean()).square().sum()
changed = list(deep.weights)
left, values, right = torch.linalg.svd(changed[deep.layer - 1])
values[deep.rank :] = 0
changed[deep.layer - 1] = left @ values.diag() @ right
scale = (slope / 2).exp().item() * samples ** (1 / (2 * depth))
truncated = profile(changed)[-1].item()
compression = {"factor": slope.exp().item(), "scale": scale, "truncated": truncated}
# END SOLUTION

# %%
coursework.check("hw2-q5", compression)

# %% [markdown] question="hw2-q6"
# ## 6. The largest start that is small enough (4 points)
#
# You want the features before the last layer to be compressed to $D_{L-1} = g$, and the simple law
# $D_{l+1} / D_l = \varepsilon^2 / n^{1/L}$ to hold. The inputs are orthonormal, $n$ for each of $K$ classes: find
# out where $D_0$ then is. Write a function that returns the scale $\varepsilon$ of the start that just reaches the
# goal. (It need not be below one.)


# %% question="hw2-q6"
def largest_scale(depth, num_classes, samples_per_class, goal):
    """Return ε for L ≥ 2 layers, K ≥ 2 classes of n ≥ 2 samples, and the goal g > 0."""
    # BEGIN SOLUTION
    inputs = (samples_per_class - 1) * num_classes / (num_classes - 1)
    factor = (goal / inputs) ** (1 / (depth - 1))
    return math.sqrt(factor * samples_per_class ** (1 / depth))
    # END SOLUTION


# %%
coursework.check("hw2-q6", largest_scale)

# %% [markdown] question="hw2-q7"
# ## 7. What depth costs (5 points, read by a person)
#
# The chapter says that with ten layers, halving $\varepsilon$ costs a factor of 256. So are deep networks slow to
# compress? The next cell draws the time of escape $\varepsilon^{-(L-2)} / ((L - 2) \sqrt n)$ of gradient flow against
# the depth: once for a fixed scale, and once for the scale that just reaches a fixed goal.

# %%
if coursework.done("hw2-q6"):
    depths = torch.arange(3, 25)

    def escape(depth, scale):
        """Time of escape for n = 20."""
        return scale ** (2 - depth) / ((depth - 2) * math.sqrt(20))

    fixed = [escape(depth, 0.3) for depth in depths.tolist()]
    chosen = [escape(depth, largest_scale(depth, 5, 20, 1e-3)) for depth in depths.tolist()]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    axes.semilogy(depths, fixed, "-", label="$\\varepsilon = 0.3$")
    axes.semilogy(depths, chosen, "--", label="$D_{L-1} = 10^{-3}$")
    axes.set(xlabel="depth $L$", ylabel="time of escape", title="$K = 5$, $n = 20$")
    axes.legend()
    plt.show()

# %% [markdown] question="hw2-q7"
# 1. Explain both curves from the formulas. What does $\varepsilon^{-(L-2)}$ tend to on the dashed one, as
#    $L$ grows?
# 2. Name two reasons why the dashed curve does not yet mean that deeper networks are cheaper to train.
# 3. In question 5, how do the network's outputs on the training inputs change when the layer is truncated, and
#    how does $D_{L-1}$? What does that say about $D_l$ as an *explanation* of a small training error?

# %% [markdown] answer="hw2-q7"
# **1.** At a fixed scale the time is $0.3^{-(L-2)}$ up to $L - 2$: exponential in the depth. For a fixed goal each
# layer has to compress less, so $\varepsilon$ grows towards one: with
# $\varepsilon^2 = n^{1/L} (g / D_0)^{1/(L-1)}$,
# $\varepsilon^{-(L-2)} = (D_0 / g)^{(L-2)/(2(L-1))}\, n^{-(L-2)/(2L)} \to \sqrt{D_0 / (n g)}$. That is a
# constant, here about 34, and the factor $1/(L-2)$ makes the curve fall.
#
# **2.** A step costs $L$ products of matrices. The largest stable step shrinks about like $1/L$. And the
# formulas are for small $\varepsilon$, whereas on the dashed curve $\varepsilon$ goes to one: what comes after the
# escape is then no longer negligible. (Also: the time is that of a chain of width one.)
#
# **3.** They do not change, for the last layer sees only the $K$ directions of the signal, and these are kept:
# they have the largest singular values. $D_{L-1}$ falls by the factor $(k - K)/(d - K)$ for rank $k$. So
# networks with the same function on the training data, and the same error, have very different $D_l$: it
# describes how the function is spread over the layers, and does not explain the training error.

# %% [markdown] rubric="hw2-q7"
# - **Curves** (2 points): exponential at a fixed scale (½); the limit $\sqrt{D_0 / (ng)}$ (1), and that
#   $1/(L-2)$ then makes the curve fall (½).
# - **Reasons** (1): two of: cost of a step, size of a step, validity for small $\varepsilon$, time after the escape,
#   width one. One of them: ½.
# - **Truncation** (2): outputs unchanged, with the reason (1); $D_{L-1}$ smaller, by $(k - K)/(d - K)$ or as
#   measured (½); the same function with other $D_l$, so no explanation (½).

# %% [markdown]
# ## Hand in
#
# Run all cells once more from the top (in Colab: *Runtime ▸ Restart session and run all*), and save.

# %%
coursework.progress()

# %%
coursework.submit()
