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
# # Low-rank training
#
# In a {term}`deep linear network` with $K$ outputs, {term}`whitened` inputs and an orthogonal start, gradient
# descent learns in $2K$ directions of a layer and multiplies all others by one common factor. Real networks
# have nonlinearities, correlated inputs and cross-entropy. Do their weights still learn in few directions? If
# they do, we can train these directions only: give a layer two thin factors in place of its matrix from the
# first step on, or, when a trained network is to learn something new, freeze what it knows and add a thin
# update. This chapter measures how many directions learning takes, counts what is saved, and finds the rank at
# which accuracy is lost.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** count the directions in which a layer has learned; train with factorised layers and
# say in advance how many parameters and operations that takes; choose a safe rank from the number of
# classes; adapt a trained network by LoRA, merge the update, and compare it fairly with a linear probe and
# with full fine-tuning; and check a table of such numbers for consistency.
#
# **Follows** the slides *Low-Rank Training of Nonlinear Networks?* and *Low-rank Adaptation (LoRA) of Large
# Models?* of lecture 002.
#
# **You need** singular values, and backpropagation through a linear layer. The first part of
# [The law of parsimony](law_of_parsimony.ipynb) helps.
#
# **Time**: reading, three quarters of an hour; running, a minute on two CPU cores. A GPU pays off only with
# the larger settings named in the first cell.
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

import copy
from functools import cache
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from torch import nn

from lecturelib import claims
from lecturelib.datasets import load_standardized
from lecturelib.device import default_device, seed_everything
from lecturelib.figures import COLOURS, use_style
from lecturelib.low_rank_training import (
    FactorizedLinear,
    add_lora,
    energy_rank,
    factorize_layers,
    training_cost,
    update_singular_values,
)
from lecturelib.networks import MLP
from lecturelib.training import accuracy, train

use_style()
# Networks this small lose more to waiting than they gain.
torch.set_num_threads(1)
seed_everything(0)

# With a GPU, set "mnist", "fashion_mnist" or "usps" and 8: hidden layers are then 2048 wide. The
# claims were measured on digits: for other data a failing one only says so.
DATASET, SCALE = "digits", 1
claims.strict((DATASET, SCALE) == ("digits", 1))
DEVICE = default_device() if SCALE > 1 else torch.device("cpu")

# %% [markdown]
# (sec-lr-directions)=
# ## Where does a network learn?
#
# Take a perceptron with three hidden layers of width 256, train it to tell $K$ digits apart, and look at
# what training has *added* to each layer, $\Delta_l = W_l(t) - W_l(0)$. The start itself is random and spread over
# most directions, as the cell prints; the question is how many the change has.
#
# :::{prf:definition} Directions of an update
# :label: def-directions
#
# Let $\sigma_1 \ge \sigma_2 \ge \dots$ be the singular values of $\Delta$. Its
# {term}`number of directions <directions of an update>`, at the share $s$, is the smallest $k$ with
# $\sigma_1^2 + \dots + \sigma_k^2 \ge s \, \| \Delta \|_F^2$. We take $s = 0.99$.
# :::
#
# By the theorem of Eckart and Young this is the smallest rank of a matrix that approximates $\Delta$ with a
# relative error of at most $\sqrt{1 - s}$, here 10 %, in the Frobenius norm.
#
# We switch {term}`weight decay` off for this measurement: it shrinks the random start in all its directions,
# and that would count as a change of full rank. `weights_of` lists what `train` is to record;
# `net.hidden[i][0]` is the linear layer of hidden layer $i + 1$. One more network, for ten digits, has batch
# normalisation.

# %%
data, new = load_standardized(DATASET, device=DEVICE)
inputs, labels = data.inputs, data.labels
new_inputs, new_labels = new.inputs, new.labels
d_in, WIDTH = inputs[0].numel(), 256 * SCALE
SETTINGS = {"epochs": 30, "lr": 0.05, "weight_decay": 5e-4}

weights_of = {
    f"hidden {i + 1}": lambda net, i=i: net.hidden[i][0].weight for i in range(3)
}
CLASSES, EPOCHS = [2, 3, 5, 10], [0, 1, 3, 10, 30]
updates, counts, at_start = {}, {}, {}
for K, normalised in [*((K, False) for K in CLASSES), (10, True)]:
    few = labels < K
    net = MLP([d_in, WIDTH, WIDTH, WIDTH, K], batch_norm=normalised).to(DEVICE)
    own = {"epochs": 30, "lr": 0.05, "metrics": weights_of, "every": EPOCHS}
    history = train(net, inputs[few], labels[few], **own)
    for layer in weights_of:
        name = layer + (", normalised" if normalised else "")
        values = update_singular_values(history[layer]).cpu()
        updates[K, name] = values[-1]
        counts[K, name] = energy_rank(values)[1:]
        at_start[K, name] = energy_rank(torch.linalg.svdvals(history[layer][0].cpu()))
random = [at_start[10, layer] for layer in weights_of]
claims.show("directions of a random start", *random)

# %%
final = {key: many[-1] for key, many in counts.items()}
last, first = ([final[K, f"hidden {i}"] / K for K in CLASSES] for i in (3, 1))
claims.check("lowrank-directions", last, above=0.8, below=2, control=first)
shallower = [final[K, "hidden 1"] - final[K, "hidden 3"] for K in CLASSES]
with_norm = final[10, "hidden 1, normalised"] - final[10, "hidden 3, normalised"]
claims.check("lowrank-shallower", shallower, above=0, control=with_norm)
second, start = (
    torch.stack([many[K, "hidden 2"] for K in (2, 5, 10)]).diff()
    for many in (final, at_start)
)
claims.check("lowrank-classes", second, above=4, control=start)
throughout = counts[10, "hidden 3"]
claims.check("lowrank-throughout", throughout, below=30, control=random[2])
spread, narrow = final[10, "hidden 3, normalised"], final[10, "hidden 3"]
claims.check("lowrank-norm", spread, above=40, control=narrow)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-updates", "caption": "Left: singular values of what 30 epochs on ten digits have added to each hidden layer (the first 60), relative to the largest; the vertical line is at $K = 10$. Right: number of directions that hold 99 % of the change, by number of classes; the dotted line is $K$. The crosses are the last hidden layer of a network with batch normalisation."}, "image": {"alt": "Left, singular values on a logarithmic axis. That of the third hidden layer drops sharply after the tenth value, that of the second bends there, that of the first falls smoothly; with batch normalisation the third layer's fall slowest of all. Right, number of directions over 2, 3, 5 and 10 classes: circles for the third hidden layer stay close to the dotted line at K, squares for the second lie above it, triangles for the first highest. A single cross for the normalised network lies far above them."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.4))
lines = {"hidden 1": "-.", "hidden 2": "--", "hidden 3": "-"}
lines["hidden 3, normalised"] = ":"
for (layer, line), colour in zip(lines.items(), COLOURS, strict=False):
    values = updates[10, layer][:60] / updates[10, layer][0]
    left.semilogy(range(1, len(values) + 1), values, line, color=colour, label=layer)
left.axvline(10.5, color="0.3", linewidth=0.8)
left.set(xlabel="index", ylabel="relative singular value", ylim=(3e-3, 1.3))
left.legend(fontsize=8)
for layer, marker, colour in zip(weights_of, "^so", COLOURS, strict=False):
    many = [final[K, layer] for K in CLASSES]
    right.plot(CLASSES, many, marker + "-", color=colour, label=layer)
cross = {"color": COLOURS[3], "markersize": 8, "markeredgewidth": 2}
normalised = "hidden 3, normalised"
right.plot(10, final[10, normalised], "x", **cross, label=normalised)
right.plot(CLASSES, CLASSES, ":", color="0.3", label="K")
right.set(xlabel="classes K", ylabel="directions", xticks=CLASSES)
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# In the last hidden layer learning ten digits takes about ten directions, after one epoch somewhat more. Five
# digits take a little more than five. The layers below take more, the earlier the more. The first one has
# only as many directions to begin with as the images have pixels that vary, and uses about half of them.
#
# Some of this has to be. The gradient of a layer is a sum of outer products over the batch, of what comes
# from above and what comes from below,
#
# $$ \nabla_{W_l} = \sum_i \delta_i^{l}\, \big( z_i^{l-1} \big)^\top , $$ (eq-lr-gradient)
#
# where $z_i^{l-1}$ is the layer's input on sample $i$ ($z^0$ is the image) and $\delta_i^l$ the derivative of
# the loss with respect to its output before the activation. Above the last hidden layer, number $L$, there is
# only the classifier $C$ with its $K$ rows.
#
# :::{prf:lemma} One layer below the classifier
# :label: lem-lr-rank
#
# Let the last hidden layer feed the classifier directly, scores $C z^L + b$, with no activation or
# normalisation in between, and let the loss be the mean cross-entropy over batches of $N$ samples. If $C$ is
# fixed and training is by SGD, with or without momentum but without weight decay, then
# $W_L(t) - W_L(0)$ has rank at most $K - 1$ at all steps $t$, whatever the layers below and $b$ do.
# :::
#
# :::{prf:proof}
# Let $p_i$ be the predicted probabilities of sample $i$ and $y_i$ its one-hot label. The derivative of the
# loss with respect to the scores is $\frac1N (p_i - y_i)$, and the chain rule gives
# $\delta_i^L = \frac1N C^\top (p_i - y_i)$. The entries of $p_i - y_i$ sum to zero, so these vectors lie in a
# space of dimension $K - 1$, and their images under the fixed $C^\top$ in one of dimension at most $K - 1$. All
# columns of {eq}`eq-lr-gradient` are in that space, at every step, and each step adds a combination of such
# gradients.
# :::
#
# Two things break the bound in our network: the classifier moves, and a ReLU multiplies $\delta_i^L$ by zeros
# and ones that differ from sample to sample. How much do they break? Try all four combinations.
# (`linear_tail=1` leaves the last hidden layer without its ReLU; `net.head` is the classifier.)

# %%
ranks, few_directions = {}, []
for linear in (True, False):
    for fixed in (True, False):
        seed_everything(0)
        net = MLP([d_in, WIDTH, WIDTH, WIDTH, 10], linear_tail=int(linear))
        net.head.weight.requires_grad_(not fixed)
        net.to(DEVICE)
        metrics = {"last": weights_of["hidden 3"]}
        own = {"epochs": 30, "lr": 0.05, "metrics": metrics, "every": [0, 30]}
        history = train(net, inputs, labels, **own)
        values = update_singular_values(history["last"])[-1]
        ranks[linear, fixed] = (values > 1e-4 * values[0]).sum()
        few_directions.append(energy_rank(values))
broken = [rank for key, rank in ranks.items() if key != (True, True)]
claims.check("lowrank-lemma", ranks[True, True], 9, control=broken)
claims.check("lowrank-lemma-broken", broken, above=20, control=ranks[True, True])
most = max(few_directions)
claims.check("lowrank-lemma-directions", most, below=15, control=spread)

# %% [markdown]
# The rank is $K - 1 = 9$ where the lemma applies and jumps where it does not (we count singular values above
# $10^{-4}$ of the largest). The directions hardly notice: about ten still hold 99 % of the change.
#
# Batch normalisation is another matter: with it the change of the last hidden layer spreads over many
# directions, the cross in {numref}`fig-lr-updates`. Keep that in mind. The update that gradient descent makes
# need not be the smallest one that works.
#
# (sec-lr-factorised)=
# ## Factorised layers
#
# If few directions will do, do not give a layer more. Replace its matrix $W$ by
#
# $$
# W_{\text{new}} = B A , \qquad
#   B \in \mathbb R^{d_{\text{out}} \times r} , \quad A \in \mathbb R^{r \times d_{\text{in}}} ,
# $$ (eq-lr-factorized)
#
# and train $A$ and $B$ from the first step on. As a layer it does $x \mapsto B (A x) + b$, two thin products
# in place of one, and that is all the code there is. Apply it to the unit vectors to see its matrix:

# %%
layer, full = FactorizedLinear(256, 256, rank=10), nn.Linear(256, 256)
x = torch.eye(256)
rank = {
    name: torch.linalg.matrix_rank(net(x) - net.bias)
    for name, net in (("thin", layer), ("full", full))
}
claims.check("lowrank-layer", rank["thin"], 10, control=rank["full"])
print(sum(parameter.numel() for parameter in layer.parameters()))

# %% [markdown]
# 5120 weights and 256 biases, where a full layer has 65 536 weights. In general the weights are
# $r (d_{\text{in}} + d_{\text{out}})$ against $d_{\text{in}} d_{\text{out}}$, and the multiplications of a
# pass are the same two numbers per sample. `FactorizedLinear` starts from the best rank-$r$ approximation of
# the usual start, shared equally: $A A^\top = B^\top B$.
#
# The lecture factorises the last two of three hidden layers, with ranks 10 and 1. We add 5 and 2, and take
# three seeds, and batch normalisation, the harder case by {numref}`fig-lr-updates`. First the price list.
# `training_cost` runs a batch forwards and backwards, without the update, and counts: parameters;
# floating-point operations, as PyTorch's own counter does; and bytes, for parameters, their gradients, one
# momentum buffer each, and whatever the backward pass has to remember.

# %%
DEEP = ("hidden.1.0", "hidden.2.0")  # names of layers, as PyTorch has them


def network(rank=None, K=10, which=DEEP):
    net = MLP([d_in, WIDTH, WIDTH, WIDTH, K], batch_norm=True)
    return net if rank is None else factorize_layers(net, rank, which)


def price(name, cost):
    print(
        f"{name:12} {cost.trainable:8,} trained,"
        f" {cost.step_flops / 1e6:6.1f} MFLOP, {cost.memory / 2**20:5.2f} MiB"
    )


batch, answers = inputs[:128].cpu(), labels[:128].cpu()
costs = {}
for rank in (None, 10, 5, 2, 1):
    costs[rank] = training_cost(network(rank), batch, answers)
    price(f"rank {rank or 'full'}:", costs[rank])
operations, parameters, memory = (
    getattr(costs[None], what) / getattr(costs[10], what)
    for what in ("step_flops", "parameters", "memory")
)
claims.check("lowrank-savings", parameters, above=4)
order = [operations - parameters, parameters - memory]
claims.check("lowrank-savings-order", order, above=0)

# %% [markdown]
# Operations fall most: of the layers that stay, the first one, a step needs only two products, not three.
# Parameters fall a little less, as biases and normalisation stay too; and memory least, because of the
# activations, of which a factorised layer keeps even $r$ more per sample. (Time is not in the list: how fast
# thin products are depends on the machine.) Now the accuracy on digits the networks have not seen.


# %%
SEEDS, RANKS = range(3), (10, 5, 2, 1)


def source(seed):
    """Random numbers for the order of the batches."""
    return torch.Generator().manual_seed(seed)


@cache
def accuracies(rank, K, which=DEEP):
    """Accuracy on new and on training digits below K, a row for each seed."""
    few, new_few = labels < K, new_labels < K
    rows = []
    for seed in SEEDS:
        seed_everything(seed)
        net = network(rank, K, which).to(DEVICE)
        train(net, inputs[few], labels[few], **SETTINGS, generator=source(seed))
        on_new = accuracy(net, new_inputs[new_few], new_labels[new_few])
        rows.append(torch.stack([on_new, accuracy(net, inputs[few], labels[few])]))
    return torch.stack(rows)


scores = {rank: accuracies(rank, 10)[:, 0] for rank in (None, *RANKS)}
mean = {rank: values.mean() for rank, values in scores.items()}
lost = {rank: mean[rank] - mean[None] for rank in RANKS}
claims.check("lowrank-rank-ten", lost[10], above=-0.02, control=lost[1])
claims.check("lowrank-rank-one", lost[1], below=-0.15, control=lost[10])
better, even = mean[10] - mean[2], mean[None] - mean[10]
claims.check("lowrank-order", better, above=0.04, control=even)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-accuracy", "caption": "Test accuracy on ten digits with the last two of three hidden layers factorised: three seeds (markers) and their mean (line). Horizontal: the mean with all layers full. Below each rank, the number of parameters."}, "image": {"alt": "Accuracy over the ranks 1, 2, 5 and 10. It rises steeply from rank 1 to 2, less to 5, and at rank 10 lies on the horizontal line of the full network."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
order = RANKS[::-1]
look = {"color": COLOURS[0], "markersize": 5, "fillstyle": "none"}
for i, marker in enumerate("o^s"):
    ax.plot(range(4), [scores[rank][i] for rank in order], marker, **look)
ax.plot(range(4), [mean[rank] for rank in order], "-", color=COLOURS[0])
ax.axhline(mean[None], color="0.3", linestyle="--", linewidth=1)
thousands = {rank: f"{cost.parameters / 1000:.0f} k" for rank, cost in costs.items()}
ax.text(0, mean[None], f"full, {thousands[None]}", va="bottom")
ax.set_xticks(range(4), [f"rank {rank}\n{thousands[rank]}" for rank in order])
ax.set(ylabel="test accuracy")
plt.show()

# %% [markdown]
# Rank 10, with a fifth of the parameters, is as good as the full network. Rank 5 loses a little, rank 2 and
# rank 1 a lot. And that although the full network, being normalised, spreads its change over many more
# directions than ten.
#
# :::{admonition} Slide check: the table mixes two networks
# :class: warning slide-check
# :name: slide-check-lr-table
# The slide *Low-Rank Training of Nonlinear Networks?* has this table, averaged over MNIST, FashionMNIST and
# USPS "using a MLP with 3 hidden layers" of which the last two are factorised:
#
# | Method | Parameters | Memory | FLOPs | Accuracy (%) |
# |---|---|---|---|---|
# | normal training | 5.59 M | 0.376 GiB | 1.65 TFLOPs | 95.09 |
# | low rank, r = 10 | 1.67 M | 0.113 GiB | 1.17 TFLOPs | 94.57 |
# | low rank, r = 1 | 1.59 M | 0.108 GiB | 1.17 TFLOPs | 90.86 |
#
# It names no width. With 784 inputs and 10 outputs, *two* hidden layers of width $w$ have $794 w + w^2$
# weights, 5.59 M at $w = 2000$. Three, the two inner matrices factorised, have $794 w + 4 r w$: 1.67 M and
# 1.59 M at the same $w$. (Biases are left out; with them the last is 1.602 M, without 1.596 M, printed as
# 1.59.) Three hidden layers of full rank have 9.59 M. So the first row is another network than the others,
# and the saving is larger than the table says, if it is that of the network named.
#
# {claim}`The memory column <lowrank-table-cost>` is between 72 and 73 bytes per parameter in all three rows: no
# part of it is for activations. The FLOPs follow neither: from the first to the second row they fall by 1.4,
# weights by 3.35 or, between networks that match, by 5.7. {claim}`Accuracies <lowrank-table-accuracy>` are quoted
# here, not reproduced; to which network 95.09 belongs the table does not say.
# :::


# %%
def weights(widths, rank=None):
    """Weights of an MLP, without biases; a rank for the inner matrices."""
    pairs = list(pairwise(widths))
    return sum(
        rank * (a + b) if rank and 0 < i < len(pairs) - 1 else a * b
        for i, (a, b) in enumerate(pairs)
    )


two, three = [784, 2000, 2000, 10], [784, 2000, 2000, 2000, 10]
low = [weights(three, rank) / 1e6 for rank in (10, 1)]
claims.check("lowrank-table-two", weights(two) / 1e6, 5.588)
claims.check("lowrank-table-three", weights(three) / 1e6, 9.588)
off = torch.tensor(low) - torch.tensor([1.67, 1.59])
claims.check("lowrank-table-low", off, 0, abs=0.007)
bytes_each = torch.tensor([0.376 / 5.588, 0.113 / low[0], 0.108 / low[1]])
bytes_each *= 2**30 / 1e6
claims.check("lowrank-table-memory", bytes_each, 72.5, abs=0.5)
falls = torch.tensor([1.65 / 1.17, 5.588 / low[0], 9.588 / low[0]])
falls -= torch.tensor([1.41, 3.35, 5.75])
claims.check("lowrank-table-flops", falls, 0, abs=0.01)

# %% [markdown]
# (sec-lr-classes)=
# ## The rank follows the number of classes
#
# *The rank $r$ of factorization should correspond to class number $K$, and relaxed in shallower layers*, says
# the slide. {numref}`fig-lr-updates` is one reason to believe it. Here is a test: train on the first $K$
# digits, with the last two hidden layers of rank $r$, for all pairs of $K$ and $r$, and look at training
# digits and new ones.

# %%
TRIED = (1, 2, 3, 5, 10)
full_means = {K: accuracies(None, K).mean(0) for K in CLASSES}
means = {(K, r): accuracies(r, K).mean(0) for K in CLASSES for r in TRIED}
loss_of_accuracy = {
    (K, rank): (full_means[K] - both)[0].item() for (K, rank), both in means.items()
}
enough = [loss_of_accuracy[K, r] for K in CLASSES for r in TRIED if r >= K]
far_below = [loss_of_accuracy[K, 1] for K in (5, 10)]
claims.check("lowrank-enough", enough, below=0.04, control=far_below)
too_little = loss_of_accuracy[10, 1]
claims.check("lowrank-too-little", too_little, above=0.15, control=max(enough))
fits, fits_not = means[10, 2][1], means[10, 1][1]
claims.check("lowrank-fits", fits, above=0.93, control=fits_not)
claims.check("lowrank-fits-not", fits_not, below=0.93, control=fits)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-classes", "caption": "Test accuracy lost against the full network, in percentage points (shade: its square root), when the last two hidden layers have rank $r$; mean of three seeds. Framed: $r = K$."}, "image": {"alt": "A table of coloured cells, classes 2, 3, 5, 10 across and ranks 1, 2, 3, 5, 10 up, each with the percentage points lost. Framed cells, where the rank is the number of classes, and all above them are pale, with small numbers. Below, for five and ten classes, the cells darken, most at ten classes and rank 1."}}
grid = [[loss_of_accuracy[K, rank] for K in CLASSES] for rank in TRIED]
grid = 100 * torch.tensor(grid)
fig, ax = plt.subplots(figsize=(4.6, 3.6))
ax.imshow(grid.clamp(min=0).sqrt(), origin="lower", cmap="Blues", vmax=8)
for i, row in enumerate(grid.tolist()):
    for j, value in enumerate(row):
        shade = "white" if value > 15 else "black"
        text = f"{value:.0f}".replace("-0", "0").replace("-", "−")
        ax.text(j, i, text, ha="center", va="center", color=shade)
for j, K in enumerate(CLASSES):
    corner = (j - 0.47, TRIED.index(K) - 0.47)
    ax.add_patch(plt.Rectangle(corner, 0.94, 0.94, fill=False, linewidth=1.5))
ax.set_xticks(range(len(CLASSES)), CLASSES)
ax.set_yticks(range(len(TRIED)), TRIED)
ax.set(xlabel="classes K", ylabel="rank r")
ax.grid(False)
plt.show()

# %% [markdown]
# From rank $K$ on, at most a point or two are lost, somewhat below $K$ two or three; far below it grows fast. So
# $K$ is a safe choice, not a sharp one.
#
# {term}`Neural collapse` says why $K$ should be enough: in the end the {term}`features <feature>` of $K$
# classes are $K$ points, and after centring they span $K - 1$ dimensions ([Neural
# collapse](neural_collapse.ipynb)). A smaller rank can still represent a solution. At rank 2 the training
# digits are fitted almost perfectly, and what is lost is accuracy on new ones; at rank 1 not even the training
# digits are fitted.
#
# (sec-lr-lora)=
# ## Adapting a trained network
#
# Often the network is there already, trained on something else. *Low-rank adaptation*, {term}`LoRA`
# {cite}`hu2022lora`, keeps its weights $W_0$ and learns
#
# $$ W_{\text{adapted}} = W_0 + \tfrac{\alpha}{r} B A , \qquad \alpha > 0 , $$ (eq-lr-lora)
#
# with $B = 0$ at the start, so that the network begins as what it was. (The slide has no $\alpha$; with
# $\alpha = r$, our default, there is none.) Besides a new classifier, only $A$ and $B$ have gradients and
# momentum; $W_0$ stays, so that the old network can be had back; and after training the product can be added
# to $W_0$, and the adapted network does the same operations as the old one.
#
# Pretrain on the digits 0 to 4, then learn to tell 5 to 9 apart with a new classifier. A
# *{term}`linear probe`* trains only that; it is a convex problem, and we solve it to the end by L-BFGS, since
# in 30 epochs of SGD it would not be finished. The others train for 30 epochs: everything, or a LoRA update to
# the three hidden layers. And to see what the pretraining is worth, two of them once more on a network that
# was never trained.

# %%
K = 5
old, old_new = labels < K, new_labels < K
task = inputs[~old], labels[~old] - K
test_task = new_inputs[~old_new], new_labels[~old_new] - K
HIDDEN = ["hidden.0.0", "hidden.1.0", "hidden.2.0"]


def adapted(base, kind, rank=None):
    """A copy of a network, made ready to learn new classes."""
    net = copy.deepcopy(base)
    net.head = nn.Linear(WIDTH, K, device=DEVICE)
    if kind == "probe":
        net.requires_grad_(False)
    if kind == "LoRA":
        add_lora(net, rank, HIDDEN)
    net.head.requires_grad_(True)
    return net


WAYS = [("probe", None), ("full", None)]
WAYS += [("LoRA", rank) for rank in (1, 2, 4, 8)]
TO_THE_END = {"optimizer": "lbfgs", "epochs": 30, "lr": 1.0}
learned, nets = {}, {}


def learn(key, base, way, seed, settings=SETTINGS):
    """Adapt a network, train it on the new digits, and note its accuracy."""
    seed_everything(seed)
    net = adapted(base, *way)
    train(net, *task, **settings, generator=source(seed))
    learned.setdefault(key, []).append(accuracy(net, *test_task).item())
    return net


for seed in SEEDS:
    seed_everything(seed)
    fresh = MLP([d_in, WIDTH, WIDTH, WIDTH, K]).to(DEVICE)
    base = copy.deepcopy(fresh)
    train(base, inputs[old], labels[old], **SETTINGS, generator=source(seed))
    for way in WAYS:
        to_the_end = SETTINGS | (TO_THE_END if way[0] == "probe" else {})
        nets[way] = learn(way, base, way, seed, to_the_end)
    learn(("untrained", "LoRA"), fresh, ("LoRA", 4), seed)
    same_task = learn(("untrained", "full"), fresh, ("full", None), seed)
    # Controls: probes of 30 epochs, as long as the others have.
    for name, features in (("other", base), ("same", same_task), ("no", fresh)):
        learn((f"probe, {name} task", None), features, ("probe", None), seed)

# %%
average = {way: sum(values) / len(values) for way, values in learned.items()}
full = average["full", None]
lora, wider, probe, short_probe = (
    average[way] - full
    for way in (("LoRA", 4), ("LoRA", 8), ("probe", None), ("probe, other task", None))
)
claims.check("lowrank-lora", lora, above=-0.03, control=short_probe)
claims.check("lowrank-probe", probe, below=-0.012, control=wider)
worth = [
    average["LoRA", 4] - average["untrained", "LoRA"],
    full - average["untrained", "full"],
]
for_same = average["probe, same task", None] - average["probe, no task", None]
claims.check("lowrank-pretraining", worth, below=0.02, control=for_same)

# %%
task_costs = {}
for way in (("full", None), ("LoRA", 4), ("probe", None)):
    net = copy.deepcopy(nets[way]).cpu().train()
    # Any labels do for counting.
    task_costs[way] = training_cost(net, batch, answers % K)
    price(way[0] if way[1] is None else f"LoRA, r = {way[1]}", task_costs[way])
share = task_costs["LoRA", 4].trainable / task_costs["full", None].trainable
claims.check("lowrank-lora-share", share, below=0.05)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-lora", "caption": "Learning to tell the digits 5 to 9 apart with a network that was trained on 0 to 4: test accuracy by the number of trained parameters. Three seeds (small) and their mean (large). Crosses: means with a network that was never trained."}, "image": {"alt": "Accuracy over the number of trained parameters on a logarithmic axis. The linear probe, with the fewest parameters, is lowest; LoRA rises with its rank to the level of full fine-tuning, which has by far the most parameters. The seeds spread more than the means differ. The crosses are as high as the markers or higher."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
amount = {
    way: sum(p.numel() for p in net.parameters() if p.requires_grad)
    for way, net in nets.items()
}
names = {"probe": "linear probe", "full": "full fine-tuning", "LoRA": "LoRA"}
for kind, marker, colour in zip(names, "s^o", COLOURS, strict=False):
    chosen = [way for way in WAYS if way[0] == kind]
    where = [amount[way] for way in chosen]
    look = {"color": colour, "markersize": 8, "label": names[kind]}
    ax.semilogx(where, [average[way] for way in chosen], marker + "-", **look)
    for way, place in zip(chosen, where, strict=True):
        ax.semilogx([place] * 3, learned[way], marker, color=colour, markersize=3)
        if kind == "LoRA":
            foot = {"xycoords": ax.get_xaxis_transform(), "ha": "center"}
            ax.annotate(f"r = {way[1]}", (place, 0.02), **foot, fontsize=8)
where = [amount["LoRA", 4], amount["full", None]]
crosses = [average["untrained", "LoRA"], average["untrained", "full"]]
look = {"color": "0.2", "markersize": 9, "markeredgewidth": 2}
ax.semilogx(where, crosses, "x", **look, label="never trained before")
ax.set(xlabel="trained parameters", ylabel="test accuracy", ylim=(0.89, None))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# The seeds spread more than most means differ. Within that, a few directions per layer are enough to learn
# five new digits as well as full fine-tuning does, with a few percent of its trained parameters. A step saves
# less than that: the frozen layers still have to be run, forwards and, for the layers below, backwards.
#
# The crosses are a warning. On these digits pretraining buys nothing: a network that was never trained is
# adapted as well. The figure compares how many parameters must be trained, not how much is transferred; for
# that the base would have to know more than 700 small images can teach. The lectures' table is about a base
# that does.
#
# Merging does not change the outputs, and the extra operations disappear:

# %%
net = nets["LoRA", 4].cpu().eval()
# The adapted layer of each block.
updated = [block[0] for block in net.hidden]
before, separate = net(batch), task_costs["LoRA", 4]
without = copy.deepcopy(net)
for block in without.hidden:
    nn.init.zeros_(block[0].B)
for layer in updated:
    layer.merge()
together = training_cost(net, batch, answers % K)
changed, other = ((other(batch) - before).abs().max() for other in (net, without))
claims.check("lowrank-merge", changed, below=1e-4, control=other)
plain = task_costs["full", None].forward_flops
apart, merged = (
    100 * (cost.forward_flops / plain - 1) for cost in (separate, together)
)
claims.check("lowrank-merge-cost", merged, 0, control=apart)
claims.check("lowrank-lora-cost", apart, above=0, control=merged)

# %% [markdown]
# :::{admonition} Slide check: what is in 0.33 M?
# :class: warning slide-check
# :name: slide-check-lr-lora
# For a transformer that it does not name the slide *Low-rank Adaptation (LoRA) of Large Models?* gives 0.33 M
# trained parameters of 86.9 M, and {claim}`accuracies of 98.97 % and 92.85 % on CIFAR-10 and CIFAR-100
# <lowrank-vit-lora>`. {claim}`AdaLoRA, with as many, has 98.87 % and 92.93 % <lowrank-vit-adalora>`; training all
# 86.7 M has 99.07 % and 93.27 %.
#
# The size suggests a ViT-B, twelve blocks of width 768, in which an update of rank $r$ to one square attention
# matrix in each block has $12 \cdot 2 \cdot 768\, r = 18\,432\, r$ parameters. Rank 8 on queries and values, a
# common choice, makes 0.295 M. If the ranks in a block add up to 18, such as $9 + 9$ or $6 + 6 + 6$, it is
# 0.332 M. A classifier would add 0.008 M for ten classes and 0.077 M for a hundred; as the slide has one
# number for both, it is not included. And 0.33 M more than 86.7 M would be 87.0 M, not 86.9 M. So the number does
# not pin the setting down. We quote these accuracies; this book does not claim them.
# :::

# %%
per_rank = 12 * 2 * 768
claims.check("lowrank-lora-count", 2 * 8 * per_rank / 1e6, 0.295, abs=0.0005)
claims.check("lowrank-lora-eighteen", 18 * per_rank / 1e6, 0.332, abs=0.0005)
heads = [(768 + 1) * classes / 1e6 for classes in (10, 100)]
claims.check("lowrank-lora-heads", heads[1] - heads[0], above=0.05)
# The largest difference that rounds to these numbers.
room = 86.95 - 86.65
claims.check("lowrank-lora-sum", room, below=0.325)

# %% [markdown]
# ## Exercises
#
# :::{exercise} Where factorising pays
# :label: ex-lr-breakeven
# From which rank on does a factorised layer have more weights than a full one? Evaluate it for a
# $256 \times 256$ layer, and for the first layer of the network above, 64 to 256.
# :::
#
# :::{solution} ex-lr-breakeven
# :class: dropdown
# If $r > d_{\text{in}} d_{\text{out}} / (d_{\text{in}} + d_{\text{out}})$. For the square layer that is 128, half
# of its width, where both have equally many: from 129 on. For the first layer it is 51.2: from 52 on, where
# the full rank is only 64. Layers that are thin already gain little.
# :::
#
# :::{exercise} A start that never learns
# :label: ex-lr-dead
# What are the gradients of $A$ and $B$ in $W = B A$, given $\nabla_W$? LoRA starts with $B = 0$. Which of the
# two moves in the first step, and which in the second? What happens if both start at zero?
# :::
#
# :::{solution} ex-lr-dead
# :class: dropdown
# $\nabla_B = \nabla_W A^\top$ and $\nabla_A = B^\top \nabla_W$. With $B = 0$ the gradient of $A$ is zero: in the
# first step only $B$ moves, by $-\eta \nabla_W A^\top$, and from the second on both do. With $A = 0$ as well
# both gradients are zero for ever: the origin is a saddle point whenever $\nabla_W \ne 0$ there, the one near
# which deep linear networks spend so much time ([The law of parsimony](law_of_parsimony.ipynb)).
# :::
#
# :::{exercise} Counting operations
# :label: ex-lr-flops
# A linear layer does $2 N d_{\text{in}} d_{\text{out}}$ floating-point operations on $N$ samples. How many does
# its backward pass take, and why less for the first layer of a network? Predict the step of the full network
# in the price list above, and check it with `training_cost`.
# :::
#
# :::::{solution-start} ex-lr-flops
# :class: dropdown
# :::::
#
# Backwards there are two products of the same size: $\nabla_W = \sum_i \delta_i z_i^\top$, and
# $W^\top \delta_i$ for the layer below, which the first layer has no use for.

# %%
widths = [d_in, WIDTH, WIDTH, WIDTH, 10]
products = [2 * 128 * a * b for a, b in pairwise(widths)]
print("predicted:", 3 * sum(products) - products[0])
print("counted:", costs[None].step_flops)

# %% [markdown]
# :::::{solution-end}
# :::::
#
# :::{exercise} Relaxed in shallower layers
# :label: ex-lr-shallow
# Factorise only the first, only the second or only the third hidden layer, with rank 2, and compare the
# accuracies over three seeds. Does the slide's advice hold?
# :::
#
# :::::{solution-start} ex-lr-shallow
# :class: dropdown
# :::::

# %%
for name in HIDDEN:
    alone = accuracies(2, 10, (name,))[:, 0].mean()
    claims.show(f"rank 2 in {name}, accuracy lost", mean[None] - alone)

# %% [markdown]
# It does: the same rank hurts most in the first layer. All that the network will ever know of an image passes
# through that layer, and two numbers are not enough.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Compress before or after?
# :label: ex-lr-after
# Train the full network on ten digits, keeping its start, and truncate afterwards: (a) the weights of the
# second and third hidden layers to rank 5, (b) only their *changes* to rank 5, added back to the start.
# Compare both with training at rank 5 from the beginning. What explains the difference?
# :::
#
# :::::{solution-start} ex-lr-after
# :class: dropdown
# :::::


# %%
def refreshed(net):
    """Let batch normalisation measure its means anew."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            # A plain average.
            module.momentum = None
    net.train()
    with torch.no_grad():
        net(inputs)
    return net


after_weight, after_change = [], []
for seed in SEEDS:
    seed_everything(seed)
    net = network().to(DEVICE)
    # Its weights are still the start.
    change = copy.deepcopy(net)
    train(net, inputs, labels, **SETTINGS, generator=source(seed))
    cut = factorize_layers(copy.deepcopy(net), 5, DEEP)
    starts = [layer[0].weight.detach().clone() for layer in change.hidden]
    change.load_state_dict(net.state_dict())
    with torch.no_grad():
        for layer, start in zip(change.hidden[1:], starts[1:], strict=True):
            U, values, V = torch.linalg.svd(layer[0].weight - start)
            layer[0].weight.copy_(start + U[:, :5] * values[:5] @ V[:5])
    after_weight.append(accuracy(refreshed(cut), new_inputs, new_labels))
    after_change.append(accuracy(refreshed(change), new_inputs, new_labels))
for name, values in (("weights", after_weight), ("changes", after_change)):
    claims.show(f"cutting {name}, accuracy", torch.stack(values).mean())
claims.show("training at rank 5, accuracy", mean[5])

# %% [markdown]
# The weights are a random matrix of full rank plus a change of low rank. Truncating them cuts into the random
# part as well, which the network was trained with; truncating the change does not. That is LoRA's bet: what
# matters is the update.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} What full fine-tuning does
# :label: ex-lr-tuning
# How many directions has the change of each hidden layer when the network that knows 0 to 4 learns 5 to 9
# with all its parameters? (Switch weight decay off; why?) Compare with the ranks of {numref}`fig-lr-lora`.
# :::
#
# :::::{solution-start} ex-lr-tuning
# :class: dropdown
# :::::
#
# Weight decay shrinks all of $W_0$, and the change would contain a multiple of it.

# %%
net = adapted(base, "full")
own = {"epochs": 30, "lr": 0.05, "metrics": weights_of, "every": [0, 30]}
history = train(net, *task, **own)
rows = {
    layer: [energy_rank(update_singular_values(history[layer])[-1]), final[5, layer]]
    for layer in weights_of
}
claims.table(["tuned", "fresh"], rows)

# %% [markdown]
# The same pattern as when learning five digits from the start, with more directions in each layer. LoRA of rank
# 4 does nearly as well with fewer. A change can be useful without being the one that gradient descent makes.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} LoRA in a transformer
# :label: ex-lr-vit
# Open-ended. Pretrain the small vision transformer of `lecturelib.networks.ViT` on 0 to 4 and adapt it to 5
# to 9, with updates to `linear1` and `linear2` of its blocks, to `self_attn.out_proj`, or to both, at equal
# numbers of trained parameters. Where is an update best placed?
# :::
#
# :::{solution} ex-lr-vit
# :class: dropdown
# `add_lora(net, rank, ["blocks.0.linear1", …])` takes names from `net.named_modules()`. Choose the ranks
# so that the counts match, tune the rate for each variant, and use five seeds or more: differences between
# placements are small, and with 700 images the spread over seeds is not. PyTorch's attention keeps queries,
# keys and values in one parameter that is not a linear layer, so that the placement of the paper, queries and
# values, needs a module of your own.
# :::
#
# ## Summary
#
# What training adds to a perceptron lies in few directions: close to $K$ below the classifier, more the
# earlier the layer. For a fixed classifier without a ReLU in between, a lemma bounds the rank by $K - 1$. With
# batch normalisation the change spreads.
#
# Layers can be given their rank from the first step. In the last two hidden layers of a normalised network
# rank $K$ is enough for $K$ digits; far below $K$ accuracy on new digits is lost, then also on training digits.
#
# Parameters, operations and memory fall by different factors, and can be counted beforehand. The activations
# stay.
#
# A network learns five new digits with an update of rank 4, with a few percent of the trained parameters of
# full fine-tuning and nearly its accuracy. A probe, trained to its end, is not far behind, and pretraining on
# this little data is worth nothing: compare with both before you praise a method.
#
# The slides' table mixes a network with two hidden layers and one with three; the larger one saves more.
#
# ## Further reading
#
# LoRA is from Hu et al. {cite}`hu2022lora`, following Aghajanyan, Zettlemoyer and Gupta on the intrinsic
# dimension of fine-tuning {cite}`aghajanyan2021intrinsic`. Khodak et al. study how to start and regularise
# factorised layers {cite}`khodak2021initialization`. The law behind it is in {cite}`yaras2023law`; AdaLoRA,
# which the slide also quotes, gives each matrix its own rank {cite}`zhang2023adalora`.
