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
# In a deep linear network with $K$ outputs, training changes $2K$ directions of a layer and leaves the rest
# alone. Real networks have nonlinearities, correlated inputs and cross-entropy. Do their weights still learn
# in few directions? If they do, we can train these directions only: give a layer two thin factors in place
# of a square matrix from the first step on, or, when a trained network is to learn something new, freeze
# what it knows and add a thin update. This chapter measures how many directions learning takes, counts what
# is saved, and finds the rank at which accuracy is lost.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** count the directions in which a layer has learned; train with factorised layers and
# say in advance how many parameters, operations and bytes that costs; choose the rank by the number of
# classes; adapt a trained network by LoRA, merge the update, and compare it with a linear probe and with
# full fine-tuning; and check a table of such numbers for consistency.
#
# **Follows** lecture 002, *Low-Rank Training of Nonlinear Networks?* and *Low-rank Adaptation (LoRA) of Large
# Models?*.
#
# **You need** singular values, and backpropagation through a linear layer. The first part of
# [The law of parsimony](law_of_parsimony.ipynb) helps.
#
# **Time**: reading, three quarters of an hour; running, a minute on two CPU cores. A GPU pays off only with
# the larger settings named in the first cell.
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

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional

from lecturelib import claims
from lecturelib.datasets import load, standardize
from lecturelib.device import default_device, seed_everything
from lecturelib.figures import COLOURS, use_style
from lecturelib.low_rank_training import (
    FactorizedLinear,
    add_lora,
    directions,
    factorize_layers,
    training_cost,
    update_singular_values,
)
from lecturelib.networks import MLP
from lecturelib.training import train

use_style()
torch.set_num_threads(
    1
)  # networks this small lose more to waiting than they gain
generator = seed_everything(0)

# With a GPU, set "mnist", "fashion_mnist" or "usps" and 8: hidden layers are then 2048 wide.
DATASET, SCALE = "digits", 1
claims.strict((DATASET, SCALE) == ("digits", 1))
DEVICE = default_device() if SCALE > 1 else torch.device("cpu")

# %% [markdown]
# ## Where does a network learn?
#
# Take a perceptron with three hidden layers of width 256, train it to tell $K$ digits apart, and look at
# what training has *added* to each layer, $\Delta_l = W_l(t) - W_l(0)$. The start itself is random and has
# full rank; the question is how many directions the change has.
#
# :::{prf:definition} Directions of an update
# :label: def-directions
#
# Let $\sigma_1 \ge \sigma_2 \ge \dots$ be the singular values of $\Delta$. Its number of directions, at the
# share $s$, is the smallest $k$ with $\sigma_1^2 + \dots + \sigma_k^2 \ge s \, \| \Delta \|_F^2$. We take
# $s = 0.99$.
# :::
#
# By the theorem of Eckart and Young this is the smallest rank of a matrix that approximates $\Delta$ with a
# relative error of at most $\sqrt{1 - s}$, here 10 %, in the Frobenius norm.

# %%
data, new = load(DATASET), load(DATASET, "test")
inputs = standardize(data.inputs).to(DEVICE)
labels = data.labels.to(DEVICE)
new_inputs = standardize(new.inputs, reference=data.inputs).to(DEVICE)
new_labels = new.labels.to(DEVICE)
d_in, WIDTH = inputs[0].numel(), 256 * SCALE
SETTINGS = {"epochs": 30, "lr": 0.05, "weight_decay": 5e-4}

weights_of = {
    f"hidden {i + 1}": lambda net, i=i: net.hidden[i][0].weight
    for i in range(3)
}
CLASSES = [2, 3, 5, 10]
updates, counts = {}, {}
for K in CLASSES:
    kept = labels < K
    net = MLP([d_in, WIDTH, WIDTH, WIDTH, K]).to(DEVICE)
    history = train(
        net, inputs[kept], labels[kept], **SETTINGS | {"weight_decay": 0.0},
        metrics=weights_of, every=[0, 1, 3, 10, 30],
    )  # fmt: skip
    for layer in weights_of:
        values = update_singular_values(history[layer]).cpu()
        updates[K, layer] = values[-1]
        counts[K, layer] = directions(values)[1:]

last_layer = [counts[K, "hidden 3"][-1] - K for K in CLASSES]
claims.check("lowrank-directions", last_layer, below=5)
shallower = [
    counts[K, "hidden 1"][-1] - counts[K, "hidden 3"][-1] for K in CLASSES
]
claims.check("lowrank-shallower", shallower, above=0)
grows = torch.stack([counts[K, "hidden 2"][-1] for K in CLASSES]).diff()
claims.check("lowrank-classes", grows, above=0)
early = counts[10, "hidden 3"]
claims.check("lowrank-throughout", early, below=30)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-updates", "caption": "Left: singular values of what 30 epochs on ten digits have added to each hidden layer (the first 60 of up to 256), relative to the largest; dashed, at $K = 10$. Right: number of directions that hold 99 % of the change, by number of classes; the dotted line is $K$."}, "image": {"alt": "Left, three curves of singular values on a logarithmic axis. That of the third hidden layer drops by a factor of about five after the tenth value, that of the second bends there, that of the first falls smoothly. Right, number of directions over 2, 3, 5 and 10 classes: circles for the third hidden layer stay close to the dotted line at K, squares for the second lie above it, triangles for the first rise to about thirty."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
for layer, style in zip(weights_of, ("-", "--", "-."), strict=True):
    values = updates[10, layer][:60]
    left.semilogy(
        range(1, len(values) + 1), values / values[0], style, label=layer
    )
left.axvline(10.5, color="0.3", linestyle="--", linewidth=0.8)
left.set(xlabel="index", ylabel="relative singular value", ylim=(3e-3, 1.3))
left.legend()
for layer, marker in zip(weights_of, "^so", strict=True):
    many = [counts[K, layer][-1] for K in CLASSES]
    right.plot(CLASSES, many, marker + "-", label=layer)
right.plot(CLASSES, CLASSES, ":", color="0.3", label="K")
right.set(xlabel="classes K", ylabel="directions", xticks=CLASSES)
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# A matrix of 256 by 256 has 256 directions, and in the last hidden layer learning ten digits takes about ten
# of them, five digits about five. The layers below take more, the earlier the more. And it is so throughout
# training, not only at its end.
#
# Some of this has to be. The gradient of a layer is a sum over the samples of the batch, of outer products
# of what comes from above and what comes from below,
#
# $$ \nabla_{W_l} = \sum_i \delta_i^{l}\, \big( z_i^{l-1} \big)^\top , $$ (eq-lr-gradient)
#
# where $z^{l-1}$ is the layer's input and $\delta^l$ the derivative of the loss with respect to its output
# before the activation. Above the last hidden layer there is only the classifier $W$ with its $K$ rows:
#
# :::{prf:lemma} One layer below the classifier
# :label: lem-lr-rank
#
# Without an activation, $\delta_i^{L} = W^\top (p_i - y_i)$, where $p_i$ are the predicted probabilities
# and $y_i$ the one-hot label. If the classifier is fixed, the change of the last hidden layer has rank at
# most $K - 1$.
# :::
#
# :::{prf:proof}
# The scores are $W h + b$ with $h$ the output of the layer, and the derivative of the cross-entropy with
# respect to them is $p - y$; the chain rule gives $\delta = W^\top (p - y)$. The entries of $p - y$ sum to
# zero, so all these vectors lie in a space of dimension $K - 1$ and their images under the fixed $W^\top$ in
# one of dimension at most $K - 1$. All columns of {eq}`eq-lr-gradient` are in that space, in every step, and
# so are their sums.
# :::
#
# Two things loosen the bound: the classifier moves, and a ReLU multiplies $\delta_i$ by zeros and ones that
# differ from sample to sample. What {numref}`fig-lr-updates` adds is that both loosen it little. Below, one
# more layer of zeros and ones mixes in at every step down, and the layers' inputs have not yet collapsed to
# $K$ clusters: more directions.
#
# ## Factorised layers
#
# If a layer learns in few directions, do not give it more. Replace its $W$ by
#
# $$
# W_{\text{new}} = B A , \qquad
#   B \in \mathbb R^{d_{\text{out}} \times r} , \quad A \in \mathbb R^{r \times d_{\text{in}}} ,
# $$ (eq-lr-factorized)
#
# and train $A$ and $B$ from the first step on. As a layer it does $x \mapsto B (A x) + b$, two thin products
# in place of a square one, and that is all the code there is:

# %%
layer = FactorizedLinear(256, 256, rank=10)
x = torch.randn(5, 256)
by_hand = functional.linear(functional.linear(x, layer.A), layer.B, layer.bias)
claims.check("lowrank-layer", (layer(x) - by_hand).abs().max(), below=1e-6)
print(sum(parameter.numel() for parameter in layer.parameters()))

# %% [markdown]
# 5120 weights and 256 biases, where a full layer has 65 536 weights. In general the weights are
# $r (d_{\text{in}} + d_{\text{out}})$ against $d_{\text{in}} d_{\text{out}}$, and the multiplications of a
# pass are the same two numbers per sample. The product of two random factors would be a bad start, too
# large in $r$ directions; `FactorizedLinear` starts from the best rank-$r$ approximation of the usual start,
# with both factors of equal size.
#
# The lecture factorises the last two of three hidden layers, with ranks 10 and 1. We add 5 and 2, take batch
# normalisation (without it, factorised layers need a smaller rate), and three seeds. First the price list.
# `training_cost` runs one training step and counts: parameters; floating-point operations, as PyTorch's own
# counter does; and bytes, for parameters, their gradients, one momentum buffer each, and whatever the
# backward pass has to remember.

# %%
DEEP = ["hidden.1.0", "hidden.2.0"]  # names of layers, as PyTorch has them


def network(rank=None, K=10):
    net = MLP([d_in, WIDTH, WIDTH, WIDTH, K], batch_norm=True)
    return net if rank is None else factorize_layers(net, rank, DEEP)


costs = {}
for rank in (None, 10, 5, 2, 1):
    cost = training_cost(network(rank), inputs[:128].cpu(), labels[:128].cpu())
    costs[rank] = cost
    print(
        f"rank {rank or 'full':>4}: {cost.parameters:7,} parameters,"
        f" {cost.step_flops / 1e6:5.1f} MFLOP, {cost.memory / 2**20:4.2f} MiB"
    )

# %% [markdown]
# Parameters fall most, operations nearly as much, and memory least, because of the activations that the
# backward pass needs: their number does not depend on the rank. Now the accuracy on digits the networks have
# not seen.

# %%
def accuracy(net, inputs, labels):
    net.eval()
    with torch.no_grad():
        return (net(inputs).argmax(1) == labels).double().mean().item()


SEEDS, RANKS = range(3), (10, 5, 2, 1)
scores = {}
for rank in (None, *RANKS):
    for seed in SEEDS:
        seed_everything(seed)
        net = network(rank).to(DEVICE)
        train(net, inputs, labels, **SETTINGS, seed=seed)
        scores[rank, seed] = accuracy(net, new_inputs, new_labels)
mean = {
    rank: sum(scores[rank, seed] for seed in SEEDS) / len(SEEDS)
    for rank in (None, *RANKS)
}
claims.check("lowrank-rank-ten", mean[10] - mean[None], above=-0.02)
claims.check("lowrank-rank-one", mean[1] - mean[None], below=-0.1)
claims.check("lowrank-order", mean[10] - mean[2], above=0.04)
saved = costs[None].parameters / costs[10].parameters
claims.check("lowrank-savings", saved, above=4)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-accuracy", "caption": "Test accuracy on ten digits with the last two of three hidden layers factorised, three seeds each (markers) and their mean (line); right, with all layers full. The axis labels add the number of parameters."}, "image": {"alt": "Accuracy over rank. It rises from between 0.55 and 0.7 at rank 1 to about 0.84 at rank 2, 0.93 at rank 5 and 0.94 at rank 10, where it is level with the full network."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
order = (1, 2, 5, 10, None)
for seed, marker in zip(SEEDS, "o^s", strict=True):
    ax.plot(
        range(5), [scores[rank, seed] for rank in order], marker, color=COLOURS[0],
        markersize=5, fillstyle="none",
    )  # fmt: skip
ax.plot(range(5), [mean[rank] for rank in order], "-", color=COLOURS[0])
ax.set_xticks(
    range(5),
    [
        f"{'full' if rank is None else f'rank {rank}'}\n"
        f"{costs[rank].parameters / 1000:.0f} k"
        for rank in order
    ],
)
ax.set(ylabel="test accuracy", ylim=(0.5, 1))
plt.show()

# %% [markdown]
# Rank 10, with a fifth of the parameters, is as good as the full network. Rank 5 loses a little, rank 2 and
# rank 1 a lot.
#
# :::{admonition} Slide check: the table mixes two networks
# :class: warning
# The slide *Low-Rank Training of Nonlinear Networks?* has this table, averaged over MNIST, FashionMNIST and
# USPS with "an MLP with 3 hidden layers" of which the last two are factorised:
#
# | Method | Parameters | Memory | FLOPs | Accuracy |
# |---|---|---|---|---|
# | normal training | 5.59 M | 0.376 GiB | 1.65 TFLOPs | 95.09 |
# | low rank, r = 10 | 1.67 M | 0.113 GiB | 1.17 TFLOPs | 94.57 |
# | low rank, r = 1 | 1.59 M | 0.108 GiB | 1.17 TFLOPs | 90.86 |
#
# Count weights for layers of width 2000: 5.59 M is 784–2000–2000–10, *two* hidden layers. The low-rank
# numbers fit 784–2000–2000–2000–10, with the two inner matrices factorised; at full rank *that* network has
# 9.59 M. (They leave out the biases, and 1.596 is cut to 1.59.) So the saving is larger than the table says.
# The memory column follows the parameters, 72 bytes for each, in all three rows. The FLOPs do not: if they
# counted passes through these networks, the ratio of the first two rows would be 3.3 for the table's
# networks, or 5.7 for the right ones, not 1.4. Accuracies are quoted here, not reproduced.
# :::


# %%
def weights(widths, rank=None):
    """Weights of an MLP, without biases; a rank for the inner matrices."""
    pairs = list(zip(widths, widths[1:], strict=False))
    return sum(
        rank * (a + b) if rank and 0 < i < len(pairs) - 1 else a * b
        for i, (a, b) in enumerate(pairs)
    )


two, three = [784, 2000, 2000, 10], [784, 2000, 2000, 2000, 10]
claims.check("lowrank-table-two", weights(two) / 1e6, 5.588)
claims.check("lowrank-table-three", weights(three) / 1e6, 9.588)
table = [weights(three, rank) / 1e6 for rank in (10, 1)]
claims.check("lowrank-table-low", torch.tensor(table), 1.63, abs=0.04)

# %% [markdown]
# ## The rank follows the number of classes
#
# *The rank of the factorization should correspond to class number K, and relaxed in shallower layers*, says
# the slide. {numref}`fig-lr-updates` is one reason to believe it. Here is a test: train on the first $K$
# digits, with the last two hidden layers of rank $r$, for all pairs of $K$ and $r$.

# %%
TRIED = (1, 2, 3, 5, 10)
loss_of_accuracy = {}
for K in CLASSES:
    kept, new_kept = labels < K, new_labels < K
    for seed in SEEDS:
        reached = {}
        for rank in (None, *TRIED):
            seed_everything(seed)
            net = network(rank, K).to(DEVICE)
            train(net, inputs[kept], labels[kept], **SETTINGS, seed=seed)
            reached[rank] = accuracy(net, new_inputs[new_kept], new_labels[new_kept])
        for rank in TRIED:
            drop = (reached[None] - reached[rank]) / len(SEEDS)
            key = K, rank
            loss_of_accuracy[key] = loss_of_accuracy.get(key, 0.0) + drop

enough = [loss_of_accuracy[K, rank] for K in CLASSES for rank in TRIED if rank >= K]
claims.check("lowrank-enough", torch.tensor(enough), below=0.03)
one = torch.tensor([loss_of_accuracy[K, 1] for K in CLASSES])
claims.check("lowrank-too-little", one[2:], above=0.05)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-classes", "caption": "Accuracy lost against the full network, in percentage points, when the last two hidden layers have rank $r$; mean of three seeds. On and above the diagonal, $r \\ge K$, next to nothing is lost."}, "image": {"alt": "A table of coloured cells, classes 2, 3, 5, 10 across and ranks 1, 2, 3, 5, 10 up, each with the percentage points lost. Cells with a rank at or above the number of classes are pale, with values of about one or less. Below, the cells darken: for ten classes the loss is about 30 at rank 1, 10 at rank 2, and 3 at rank 3."}}
grid = 100 * torch.tensor(
    [[loss_of_accuracy[K, rank] for K in CLASSES] for rank in TRIED]
)
fig, ax = plt.subplots(figsize=(4.6, 3.6))
ax.imshow(grid.sqrt().nan_to_num(0), origin="lower", cmap="Blues", vmax=8)
for i, row in enumerate(grid.tolist()):
    for j, value in enumerate(row):
        shade = "white" if value > 15 else "black"
        ax.text(j, i, f"{value:.0f}".replace("-0", "0"), ha="center", va="center", color=shade)
ax.set_xticks(range(len(CLASSES)), CLASSES)
ax.set_yticks(range(len(TRIED)), TRIED)
ax.set(xlabel="classes K", ylabel="rank r")
ax.grid(False)
plt.show()

# %% [markdown]
# With a rank of $K$ nothing measurable is lost, and with less than $K$ something is, the more the smaller the
# rank. Neural collapse says why that should be enough: in the end the features of $K$ classes are $K$ points,
# and after centring they span $K - 1$ dimensions ([Neural collapse](neural_collapse.ipynb)). The claim does
# not say that a *smaller* rank cannot represent a solution: two dimensions hold any number of points. Gradient
# descent does not find that one easily.
#
# ## Adapting a trained network
#
# Often the network is there already, trained on something else. *Low-rank adaptation*, LoRA {cite}`hu2022lora`,
# keeps its weights $W_0$ and learns
#
# $$ W_{\text{new}} = W_0 + \tfrac{\alpha}{r} B A , $$ (eq-lr-lora)
#
# with $B = 0$ at the start, so that the network begins as what it was. (The slide has no $\alpha$; with
# $\alpha = r$, our default, there is none.) Only $A$ and $B$ have gradients and momentum, and after training
# the product can be added to $W_0$: the adapted network is then as fast as the old one.
#
# Pretrain on the digits 0 to 4, then learn 5 to 9 with a new classifier, in three ways: train only that
# classifier, a *linear probe*; train everything; add a LoRA update to the three hidden layers.

# %%
K = 5
old, old_new = labels < K, new_labels < K
HIDDEN = ["hidden.0.0", "hidden.1.0", "hidden.2.0"]


def adapted(base, kind, rank=None, seed=0):
    """A copy of a network, made ready to learn new classes."""
    net = copy.deepcopy(base)
    torch.manual_seed(seed)
    net.head = nn.Linear(WIDTH, K, device=DEVICE)
    if kind == "probe":
        net.requires_grad_(False)
    if kind == "LoRA":
        add_lora(net, rank, HIDDEN)
    net.head.requires_grad_(True)
    return net


WAYS = [("probe", None), *(("LoRA", rank) for rank in (1, 2, 4, 8)), ("full", None)]
learned, trained = {way: [] for way in WAYS}, {}
for seed in SEEDS:
    seed_everything(seed)
    base = MLP([d_in, WIDTH, WIDTH, WIDTH, K]).to(DEVICE)
    train(base, inputs[old], labels[old], **SETTINGS, seed=seed)
    for way in WAYS:
        net = adapted(base, *way, seed=seed)
        train(net, inputs[~old], labels[~old] - K, **SETTINGS, seed=seed)
        right_share = accuracy(net, new_inputs[~old_new], new_labels[~old_new] - K)
        learned[way].append(right_share)
        trained[way] = sum(p.numel() for p in net.parameters() if p.requires_grad)

average = {way: sum(values) / len(values) for way, values in learned.items()}
lora, whole = average["LoRA", 4], average["full", None]
claims.check("lowrank-lora", lora - whole, above=-0.03)
claims.check("lowrank-probe", average["probe", None] - whole, below=-0.05)
share = trained["LoRA", 4] / trained["full", None]
claims.check("lowrank-lora-share", share, below=0.05)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-lora", "caption": "Learning the digits 5 to 9 with a network that knows 0 to 4: test accuracy by the number of trained parameters. Three seeds (small) and their mean (large)."}, "image": {"alt": "Accuracy over the number of trained parameters on a logarithmic axis. The linear probe with about a thousand parameters reaches about 0.81; LoRA with ranks 1 to 8, from three to twelve thousand parameters, between 0.92 and 0.95; full fine-tuning with 150 thousand also about 0.95."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
for kind, marker, colour in zip(("probe", "LoRA", "full"), "so^", COLOURS, strict=False):
    chosen = [way for way in WAYS if way[0] == kind]
    where = [trained[way] for way in chosen]
    ax.semilogx(
        where, [average[way] for way in chosen], marker + "-", color=colour,
        markersize=8, label={"probe": "linear probe", "full": "full"}.get(kind, kind),
    )  # fmt: skip
    for way, x in zip(chosen, where, strict=True):
        ax.semilogx([x] * 3, learned[way], marker, color=colour, markersize=3)
        if kind == "LoRA":
            ax.annotate(
                f"r = {way[1]}", (x, average[way]), (0, -18),
                textcoords="offset points", ha="center", fontsize=8,
            )  # fmt: skip
ax.set(xlabel="trained parameters", ylabel="test accuracy", ylim=(0.75, 1))
ax.legend()
plt.show()

# %% [markdown]
# A handful of directions per layer is enough to learn five new digits as well as full fine-tuning does, with
# a few percent of its trained parameters; the probe, which has to take the old features as they are, is left
# behind. Merging changes nothing but the cost:

# %%
net = adapted(base, "LoRA", 4).cpu()
train(net, inputs[~old].cpu(), labels[~old].cpu() - K, **SETTINGS)
batch, answers = inputs[:64].cpu(), labels[:64].cpu() % K
before, separate = net(batch), training_cost(net, batch, answers)
for block in net.hidden:
    block[0].merge()
together = training_cost(net, batch, answers)
claims.check("lowrank-merge", (net(batch) - before).abs().max(), below=1e-4)
plain = training_cost(MLP([d_in, WIDTH, WIDTH, WIDTH, K]), batch, answers)
claims.check(
    "lowrank-merge-cost", together.forward_flops / plain.forward_flops, 1
)
claims.check(
    "lowrank-lora-cost", separate.forward_flops / plain.forward_flops, above=1
)

# %% [markdown]
# :::{admonition} Slide check: what is in 0.33 M?
# :class: warning
# For a vision transformer the slide *Low-rank Adaptation (LoRA) of Large Models?* gives LoRA 0.33 M trained
# parameters of 86.9 M, and 98.97 % and 92.85 % on CIFAR-10 and CIFAR-100, next to 99.07 % and 93.27 % with all
# 86.7 M trained. It names neither the rank nor the matrices. In a ViT-B with twelve blocks of width 768 an
# update of rank $r$ to one square matrix in each block has $12 \cdot 2 \cdot 768\, r = 18\,432\, r$ parameters. Rank 8
# on queries and values, a common choice, makes 0.295 M, and 0.303 M with a classifier for ten classes or
# 0.372 M with one for a hundred. Exactly 18 matrix ranks, rank 9 on two matrices or rank 6 on three, make
# 0.332 M. The number does not pin the setting down. We quote these accuracies; this book does not claim them.
# :::

# %%
per_rank = 12 * 2 * 768
claims.check("lowrank-lora-count", 2 * 8 * per_rank / 1e6, 0.295, abs=0.0005)
claims.check("lowrank-lora-eighteen", 18 * per_rank / 1e6, 0.332, abs=0.0005)

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
# $r (d_{\text{in}} + d_{\text{out}}) \ge d_{\text{in}} d_{\text{out}}$ from
# $r = d_{\text{in}} d_{\text{out}} / (d_{\text{in}} + d_{\text{out}})$ on: 128 for the square layer, half of
# its width, and 51.2 for the first one, where the full rank is only 64. Thin layers gain little.
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
# both gradients are zero for ever: the origin is a critical point, the saddle that deep linear networks
# escape so slowly ({prf:ref}`thm-parsimony` has it for $L$ factors).
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
products = [2 * 128 * a * b for a, b in zip(widths, widths[1:], strict=False)]
print(costs[None].step_flops == 3 * sum(products) - products[0])

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
alone = []
for name in HIDDEN:
    total = 0.0
    for seed in SEEDS:
        seed_everything(seed)
        net = MLP([d_in, WIDTH, WIDTH, WIDTH, 10], batch_norm=True)
        net = factorize_layers(net, 2, [name]).to(DEVICE)
        train(net, inputs, labels, **SETTINGS, seed=seed)
        total += accuracy(net, new_inputs, new_labels) / len(SEEDS)
    alone.append(total)
print("the first layer costs most:", alone[0] + 0.05 < min(alone[1:]))

# %% [markdown]
# It does: the same rank hurts most in the first layer, which has to pick what matters from the raw pixels.
# {numref}`fig-lr-updates` showed the reason.
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
before_rank, after_weight, after_change = 0.0, 0.0, 0.0
for seed in SEEDS:
    seed_everything(seed)
    net = network().to(DEVICE)
    start = copy.deepcopy(net)
    train(net, inputs, labels, **SETTINGS, seed=seed)
    cut = factorize_layers(copy.deepcopy(net), 5, DEEP)
    change = copy.deepcopy(net)
    with torch.no_grad():
        for new_layer, old_layer in zip(
            change.hidden[1:], start.hidden[1:], strict=True
        ):
            weight, initial = new_layer[0].weight, old_layer[0].weight
            U, values, V = torch.linalg.svd(weight - initial)
            weight.copy_(initial + U[:, :5] * values[:5] @ V[:5])
    before_rank += scores[5, seed] / len(SEEDS)
    after_weight += accuracy(cut, new_inputs, new_labels) / len(SEEDS)
    after_change += accuracy(change, new_inputs, new_labels) / len(SEEDS)
print("cutting weights loses most:", after_weight + 0.04 < after_change)
print("training at the rank is best:", before_rank + 0.01 > after_change)

# %% [markdown]
# The weights are a random matrix of full rank plus a change of low rank. Truncating them cuts into the random
# part as well, on which the layers above rely; truncating the change does not. That is LoRA's bet: what
# matters is the update. Training at low rank from the beginning never builds on the rest.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} What full fine-tuning does
# :label: ex-lr-tuning
# How many directions has the change of each hidden layer when the network that knows 0 to 4 learns 5 to 9
# with all its parameters? Compare with the ranks of {numref}`fig-lr-lora`.
# :::
#
# :::::{solution-start} ex-lr-tuning
# :class: dropdown
# :::::

# %%
net = adapted(base, "full")
history = train(
    net, inputs[~old], labels[~old] - K, **SETTINGS,
    metrics=weights_of, every=[0, 30],
)  # fmt: skip
used = [
    int(directions(update_singular_values(history[layer])[-1], 0.9))
    for layer in weights_of
]
print("at most ten directions for 90 %:", max(used) <= 10)
print("fewer above:", used[0] > used[2])

# %% [markdown]
# Few directions carry the change, if one is content with 90 % of it, and yet more than the one or two with
# which LoRA already adapts well: a change can be useful without being the one that gradient descent makes.
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
# What training adds to a layer of a nonlinear network lies in few directions: close to $K$ below the
# classifier, more the earlier the layer.
#
# A layer can be given its rank from the first step. Ten digits need rank ten in the last two hidden layers,
# $K$ digits rank $K$, to be as accurate as full layers, with a fifth of the parameters.
#
# Parameters, operations and memory fall by different factors, and can be counted beforehand. Activations do
# not care about ranks.
#
# A trained network learns new classes with updates of rank four to a few percent of its parameters, as well
# as by full fine-tuning, and clearly better than through a linear probe. Merged, the update costs nothing.
#
# The slides' table mixes a network with two hidden layers and one with three; the larger one saves more.
#
# ## Further reading
#
# LoRA is from Hu et al. {cite}`hu2022lora`, following Aghajanyan, Zettlemoyer and Gupta on the intrinsic
# dimension of fine-tuning {cite}`aghajanyan2021intrinsic`. Khodak et al. study how to start and regularise
# factorised layers {cite}`khodak2021initialization`. The law behind it is in {cite}`yaras2023law`; AdaLoRA,
# which the slide also quotes, gives each matrix its own rank {cite}`zhang2023adalora`.
