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
# In a {term}`deep linear network` with $K$ outputs, {term}`whitened` inputs and an orthogonal start, gradient descent
# learns in $2K$ directions of a layer and multiplies all others by one common factor. Real networks have
# nonlinearities, correlated inputs and cross-entropy. Do they still learn in few directions? If so, train these only.
# Give a layer two thin factors in place of its matrix; or, when a trained network is to learn something new, freeze
# what it knows and add a thin update.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** say what two thin factors save and what they lose; count the directions in which a layer has
# learned; train with factorised layers and predict parameters, operations and memory, but not the time; choose a rank
# from the number of classes; and adapt a trained transformer by LoRA, merge the update, and compare it fairly.
#
# **Follows** the slides *Low-Rank Training of Nonlinear Networks?* and *Low-rank Adaptation (LoRA) of Large Models?*
# of lecture 002.
#
# **You need** singular values, and backpropagation through a linear layer. The first part of
# [The law of parsimony](law_of_parsimony.ipynb) helps.
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

import copy
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from torch import nn

from lecturelib import claims
from lecturelib.datasets import load_standardized
from lecturelib.device import seed_everything
from lecturelib.experiments.low_rank_training import ADAPTED, digits_vit, shifted_task
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.low_rank_training import (
    add_lora,
    energy_rank,
    factorize_layers,
    training_cost,
    update_singular_values,
)
from lecturelib.networks import MLP
from lecturelib.records import recorded
from lecturelib.training import accuracy, train

use_style()
torch.set_num_threads(1)  # networks this small lose more to waiting than they gain
seed_everything(0)

# %% [markdown]
# (sec-lr-small)=
# ## A column times a row
#
# Take two matrices that differ in one entry,
#
# $$
# \begin{pmatrix} 1 & 2 \\ 2 & 4 \end{pmatrix}
#   = \begin{pmatrix} 1 \\ 2 \end{pmatrix} \begin{pmatrix} 1 & 2 \end{pmatrix}
# \qquad \text{and} \qquad
# \begin{pmatrix} 1 & 2 \\ 2 & 3 \end{pmatrix} .
# $$
#
# **What factors save.** The left one is a column times a row. We can keep these two in place of the matrix: four
# numbers for four numbers, so nothing is saved yet. But a $d \times d$ matrix has $d^2$ numbers, and a column and a
# row have $2d$. For $d = 100$ that is 200 in place of 10 000. The same holds for the work. To apply the matrix to a
# vector $x$, multiply the row by $x$ first, which gives *one* number, then the column by that number. With $r$ columns
# and $r$ rows everything is $r$ times as much: $2dr$ against $d^2$, a gain as long as $r < d / 2$.
#
# **What factors lose.** The right matrix has the determinant $3 - 4 = -1$, so it is not a column times a row. How near
# does one come? It is symmetric with the eigenvalues $2 \pm \sqrt 5$, so its singular values are $4.236$ and $0.236$.
# By the theorem of Eckart and Young the best column times row keeps the first and misses the second. The squares are
# $17.94$ and $0.06$: one direction holds 99.7 % of this matrix. The identity is the opposite case. Its singular values
# are 1 and 1, and one direction holds one half, whichever we keep.
#
# **What an update can do.** Say a network has the identity as its weights, and training wants
# $\begin{pmatrix} 2 & 2 \\ 2 & 5 \end{pmatrix}$. Both have rank two. Their difference is the left matrix above, a
# column times a row. A matrix may need all its directions while its *change* needs one.

# %%
matrices = {
    "1 2 / 2 4": [[1.0, 2], [2, 4]],
    "1 2 / 2 3": [[1.0, 2], [2, 3]],
    "identity": [[1.0, 0], [0, 1]],
    "2 2 / 2 5": [[2.0, 2], [2, 5]],
}
rows = {}
for name, matrix in matrices.items():
    values = torch.linalg.svdvals(torch.tensor(matrix, dtype=torch.float64))
    values[values < 1e-12] = 0  # what rounding leaves
    rows[name] = [*values.tolist(), 100 * float(values[0] ** 2 / values.square().sum())]
claims.table(["first", "second", "% in the first"], rows, digits=3)

# %% [markdown]
# *Factors of rank $r$ store and work $r (d_{\text{in}} + d_{\text{out}})$ in place of $d_{\text{in}} d_{\text{out}}$.
# They lose the singular values beyond the first $r$.*
#
# Here is a matrix that you can look at. A linear classifier of digits with $8 \times 8$ pixels has a $10 \times 64$
# matrix, ten rows that are pictures: bright where a pixel speaks for the digit. Move the rank. With rank one all ten
# are multiples of *one* picture. With rank nine nothing is lost, as the mean of the rows says nothing about the
# classes: the rows have been centred, and ten centred rows have rank nine.

# %%
data, new = load_standardized("digits")
inputs, labels = data.inputs, data.labels


def linear_classifier(rank=None):
    """Train a linear classifier of digits to its end, of a given rank."""
    seed_everything(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    if rank:
        factorize_layers(net, {"1": rank})
    own = {"optimizer": "lbfgs", "epochs": 15, "lr": 1.0, "weight_decay": 3e-3}
    train(net, inputs, labels, **own, every=[])
    return net, float(accuracy(net, new.inputs, new.labels))


linear, full_accuracy = linear_classifier()
with torch.no_grad():  # centred: a common picture and a common bias say nothing
    linear[1].weight -= linear[1].weight.mean(0)
pictures = linear[1].weight.detach().clone()
cut, trained_at = {}, {}
for r in range(1, 10):
    thin = factorize_layers(copy.deepcopy(linear), {"1": r})
    cut[r] = float(accuracy(thin, new.inputs, new.labels))
    trained_at[r] = linear_classifier(r)[1]
claims.table(
    [f"r = {r}" for r in (1, 2, 3, 5, 9)],
    {"cut": [cut[r] for r in (1, 2, 3, 5, 9)]}
    | {"trained": [trained_at[r] for r in (1, 2, 3, 5, 9)]},
)


# %% tags=["hide-input"]
def draw_pictures(r):
    left, values, right = torch.linalg.svd(pictures, full_matrices=False)
    shown = (left[:, :r] * values[:r]) @ right[:r]
    fig = plt.figure(figsize=(7.2, 2.5))
    grid = fig.add_gridspec(2, 7, width_ratios=[1] * 5 + [0.5, 3.6])
    size = float(pictures.abs().max())
    for k in range(10):
        ax = fig.add_subplot(grid[k // 5, k % 5])
        ax.imshow(shown[k].view(8, 8), cmap="PuOr", vmin=-size, vmax=size)
        ax.set(xticks=[], yticks=[])
        ax.set_title(str(k), fontsize=8, pad=2)
    ax = fig.add_subplot(grid[:, 6])
    ax.plot(list(cut), list(cut.values()), "o-", ms=3, label="cut after training")
    ax.plot(list(cut), list(trained_at.values()), "s--", ms=3, label="trained so")
    ax.axhline(full_accuracy, color="0.4", linewidth=0.8, linestyle=":")
    ax.axvline(r, color="0.2", linewidth=0.8)
    ax.set(
        xlabel="rank $r$", ylabel="test accuracy", ylim=(0, 1), xticks=[1, 3, 5, 7, 9]
    )
    ax.legend(fontsize=7, loc="lower right")
    return fig


def describe_pictures(r):
    return (
        f"Ten pictures, the rows of a linear classifier cut to rank {r}. Beside them accuracy over the "
        f"rank: ⟨{cut[r]:.2f}⟩ when cut to this rank after training, ⟨{trained_at[r]:.2f}⟩ when trained with it."
    )


explore(
    draw_pictures,
    name="lr-pictures",
    alt=describe_pictures,
    caption="Rows of a linear classifier of digits, cut to rank $r$; orange speaks against the digit, purple for it. "
    "Right: test accuracy when the trained matrix is cut to that rank (solid), and when a matrix of that rank is "
    "trained from the start (dashed). Dotted: the full matrix.",
    labels={"r": "Rank"},
    start={"r": 3},
    r=list(range(1, 10)),
)

# %% [markdown]
# Cut after training, a small rank loses much. *Trained* with that rank, the classifier loses less: its few pictures
# are chosen for the task, not for being near to the old ones. That is the reason to train with thin layers, and not
# only to compress afterwards.
#
# (sec-lr-directions)=
# ## Where does a network learn?
#
# Now take a perceptron with three hidden layers of width 256, train it to tell $K$ digits apart, and look at what
# training has *added* to each layer, $\Delta_l = W_l(t) - W_l(0)$.
#
# :::{prf:definition} Directions of an update
# :label: def-directions
#
# Let $\sigma_1 \ge \sigma_2 \ge \dots$ be the singular values of $\Delta$. Its
# {term}`number of directions <directions of an update>`, at the share $s$, is the smallest $k$ with
#
# $$\sigma_1^2 + \dots + \sigma_k^2 \ge s \, \| \Delta \|_F^2 .$$
#
# We take $s = 0.99$.
# :::
#
# It is the smallest rank of a matrix that approximates $\Delta$ with a relative error of at most $\sqrt{1 - s}$, here
# 10 %. The matrix $1\;2\,/\,2\;3$ above has one direction, the identity two. A random start of our layers has about
# two hundred.
#
# {term}`Weight decay` is off for this measurement. It shrinks the random start in all its directions, and that would
# count as a change of full rank.

# %%
layers = {f"hidden {i + 1}": lambda net, i=i: net.hidden[i][0].weight for i in range(3)}
updates = {}
for normalised in (False, True):
    seed_everything(0)
    net = MLP([64, 256, 256, 256, 10], batch_norm=normalised)
    own = {"epochs": 30, "lr": 0.05, "metrics": layers, "every": [0, 30]}
    history = train(net, inputs, labels, **own)
    for layer in layers:
        name = layer + (", normalised" if normalised else "")
        updates[name] = update_singular_values(history[layer])[-1]
counted = {name: [energy_rank(values)] for name, values in updates.items()}
claims.table(["directions"], counted)

# %% [markdown]
# One run is one run. The record has five seeds for each of $K = 2, 3, 5, 10$. The table shows their means.

# %%
runs = recorded("lowrank-directions").values
plain = [
    r for r in runs if not (r["batch_norm"] or r["linear_tail"] or r["fixed_head"])
]
normal = [r["directions"] for r in runs if r["batch_norm"]]
CLASSES = [2, 3, 5, 10]
found = {
    k: torch.tensor([r["directions"] for r in plain if r["classes"] == k])
    for k in CLASSES
}
means = torch.stack([found[k].double().mean(0) for k in CLASSES], 1)
spread = torch.tensor(normal)
starts = torch.tensor([r["start"] for r in plain])
claims.table(
    [f"K = {k}" for k in CLASSES],
    {f"hidden {i + 1}": means[i].tolist() for i in range(3)},
)
claims.show("ten digits, normalised, layers 1 to 3", spread.double().mean(0))
claims.show("a random start, layers 1 to 3", starts.double().mean(0))

# %%
above_k = torch.cat([found[k][:, 2] - k for k in CLASSES])
claims.check(
    "lowrank-directions", above_k, above=-1.5, below=3.5, control=spread[:, 2] - 10
)
more = torch.cat([found[k][:, 0] - found[k][:, 2] for k in CLASSES])
claims.check("lowrank-shallower", more, above=0, control=spread[:, 0] - spread[:, 2])
second = torch.stack([found[k][:, 1] for k in (2, 5, 10)]).diff(dim=0)
at_start = torch.stack(
    [
        torch.tensor([r["start"][1] for r in plain if r["classes"] == k])
        for k in (2, 5, 10)
    ]
).diff(dim=0)
claims.check("lowrank-classes", second, above=3, control=at_start)
throughout = [r["last"] for r in plain if r["classes"] == 10]
claims.check("lowrank-throughout", throughout, below=50, control=starts[:, 2])
claims.check("lowrank-norm", spread[:, 2], above=40, control=found[10][:, 2])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-updates", "caption": "Left: singular values of what 30 epochs on ten digits have added to each hidden layer (one run, the first 60), relative to the largest; the vertical line is at $K = 10$. Right: number of directions that hold 99 % of the change, by number of classes, five seeds each; the dotted line is $K$. Crosses: the last hidden layer with batch normalisation."}, "image": {"alt": "Left, singular values on a logarithmic axis. That of the third hidden layer drops sharply after the tenth value, that of the second bends there, that of the first falls smoothly; with batch normalisation the third layer's fall slowest of all. Right, number of directions over 2, 3, 5 and 10 classes: circles for the third hidden layer stay close to the dotted line at K, squares for the second lie above it, triangles for the first highest. Crosses for the normalised network lie far above them."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.4))
lines = {"hidden 1": "-.", "hidden 2": "--", "hidden 3": "-"}
lines["hidden 3, normalised"] = ":"
for (layer, line), colour in zip(lines.items(), COLOURS, strict=False):
    values = updates[layer][:60] / updates[layer][0]
    left.semilogy(range(1, len(values) + 1), values, line, color=colour, label=layer)
left.axvline(10.5, color="0.3", linewidth=0.8)
left.set(xlabel="index", ylabel="relative singular value", ylim=(3e-3, 1.3))
left.legend(fontsize=8)
for i, marker in enumerate("^so"):
    for k in CLASSES:
        look = {"color": COLOURS[i], "markersize": 4, "fillstyle": "none"}
        right.plot([k] * len(found[k]), found[k][:, i], marker, **look)
    right.plot(
        CLASSES, means[i], marker + "-", color=COLOURS[i], label=f"hidden {i + 1}"
    )
cross = {"color": COLOURS[3], "markersize": 7, "markeredgewidth": 2}
right.plot([10] * len(spread), spread[:, 2], "x", **cross, label="hidden 3, normalised")
right.plot(CLASSES, CLASSES, ":", color="0.3", label="K")
right.set(xlabel="classes K", ylabel="directions", xticks=CLASSES)
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# In the last hidden layer learning ten digits takes ten directions in all five runs, after one epoch somewhat more.
# Two digits take three or four. The layers below take more, the earlier the more. The first one has only as many
# directions to begin with as the images have pixels that vary.
#
# ### Why so few?
#
# Some of this has to be. The gradient of a layer is a sum of outer products over the batch, columns times rows, of
# what comes from above and what comes from below:
#
# $$ \nabla_{W_l} = \sum_i \delta_i^{l}\, \big( z_i^{l-1} \big)^\top . $$ (eq-lr-gradient)
#
# Here $z_i^{l-1}$ is the layer's input on sample $i$, with the image as $z^0$. And $\delta_i^l$ is the derivative of
# the loss with respect to the layer's output before the activation. Above the last hidden layer, number $L$, there is
# only the classifier $C$ with its $K$ rows. So what can come from above? Only combinations of these $K$ rows.
#
# :::{prf:lemma} One layer below the classifier
# :label: lem-lr-rank
#
# Let the last hidden layer feed the classifier directly, scores $C z^L + b$, with no activation or normalisation in
# between. Let the loss be the mean cross-entropy over batches of $N$ samples. Let $C$ be fixed, and let training be
# SGD, with or without momentum, without weight decay. Then $W_L(t) - W_L(0)$ has rank at most $K - 1$ at all steps
# $t$, whatever the layers below and $b$ do.
# :::
#
# :::{prf:proof}
# Let $p_i$ be the predicted probabilities of sample $i$ and $y_i$ its one-hot label. The derivative of the loss with
# respect to the scores is $\frac1N (p_i - y_i)$. By the chain rule $\delta_i^L = \frac1N C^\top (p_i - y_i)$. The
# entries of $p_i - y_i$ sum to zero. So these vectors lie in one space of dimension $K - 1$, and the $\delta_i^L$ in
# its image under $C^\top$, of dimension at most $K - 1$. As $C$ is fixed, that is one space for all steps. The columns
# of {eq}`eq-lr-gradient` are combinations of the $\delta_i^L$, so they lie in it. Each step, with momentum or without,
# adds a combination of such gradients.
# :::
#
# Two things break the bound in our network. The classifier moves. And a ReLU multiplies $\delta_i^L$ by zeros and ones
# that differ from sample to sample. How much do they break? The record has all four combinations, with five seeds. We
# count the rank, singular values above $10^{-4}$ of the largest, and the directions.

# %%
CASES = {"no ReLU, fixed": (1, True), "no ReLU, moves": (1, False)}
CASES |= {"ReLU, fixed": (0, True), "ReLU, moves": (0, False)}
ranks, few_directions = {}, {}
for name, case in CASES.items():
    chosen = [
        r
        for r in runs
        if r["classes"] == 10
        and not r["batch_norm"]
        and (r["linear_tail"], r["fixed_head"]) == case
    ]
    ranks[name] = torch.tensor([r["rank"] for r in chosen])
    few_directions[name] = torch.tensor([r["directions"][2] for r in chosen])
claims.table(
    ["rank", "directions"],
    {n: [ranks[n].double().mean(), few_directions[n].double().mean()] for n in CASES},
)
first, *others = ranks.values()
claims.check("lowrank-lemma", first, 9, control=torch.cat(others))
claims.check("lowrank-lemma-broken", torch.cat(others), above=20, control=first)
most = torch.stack(list(few_directions.values()))
claims.check("lowrank-lemma-directions", most, below=25, control=spread[:, 2])

# %% [markdown]
# The rank is $K - 1 = 9$ where the lemma applies, and jumps where it does not. The directions hardly notice. Batch
# normalisation is another matter. With it the change of the last hidden layer spreads over many directions, the
# crosses in {numref}`fig-lr-updates`. Keep that in mind: the update that gradient descent makes need not be the
# smallest one that works.
#
# *In short: below the classifier a network learns in about as many directions as it has classes, because only that
# many come down from above. A ReLU and a moving classifier add a faint tail, normalisation a heavy one.*

# %% [markdown]
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
# and train $A$ and $B$ from the first step on. As a layer it does $x \mapsto B (A x) + b$, two thin products in place
# of one, and that is all the code there is. `FactorizedLinear` starts from the best rank-$r$ approximation of the
# usual start, shared equally: $A A^\top = B^\top B$. And `factorize_layers` puts such layers into a network, by name.

# %%
with torch.device("meta"):  # shapes alone, no numbers
    net = MLP([784, 2000, 2000, 2000, 10])
thin = factorize_layers(copy.deepcopy(net), {"hidden.1.0": 10, "hidden.2.0": 10})
print(thin.hidden[1][0])
for name, model in {"full": net, "rank 10": thin}.items():
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# That is the network of the lecture, three hidden layers of width 2000 for images with 784 pixels, of which the last
# two are factorised. It shrinks to a sixth. Is it still good, and is it faster? We train it on MNIST, with six passes
# of Adam and three seeds for each rank. We had only MNIST's 10 000 test images at hand, so we split *them*, even
# numbers to train on and odd ones to test on. Accuracies are therefore lower than with all 60 000.
#
# The table compares five things. Parameters. The floating-point operations of one step on 128 images, forwards and
# backwards, as PyTorch's own counter has them. Memory for parameters, their gradients, one momentum buffer, and what
# the backward pass has to remember. Time of a step on one thread of our machine, as a share of the full network's,
# measured in turns with it. And accuracy on new images.

# %%
table = recorded("lowrank-table").values
times = {row["hidden"]: row for row in recorded("lowrank-time").values}


def entry(hidden, rank):
    """What the records know of one network: costs, time shares and accuracies."""
    mine = [r for r in table if (r["hidden"], r["rank"]) == (hidden, rank)]
    seconds, which = times[hidden], times[hidden]["ranks"].index(rank)
    shares = {n: seconds[n][which] / seconds[n][0] for n in ("step", "batch", "one")}
    scores = {n: torch.tensor([r[n] for r in mine]) for n in ("test", "train")}
    return mine[0] | shares | scores


RANKS = (None, 20, 10, 5, 2, 1)
three = {rank: entry(3, rank) for rank in RANKS}
two = {rank: entry(2, rank) for rank in (None, 10, 1)}
rows = {}
for hidden, networks in ((3, three), (2, two)):
    for rank, e in networks.items():
        rows[f"{hidden} layers, {f'r = {rank}' if rank else 'full'}"] = [
            e["parameters"] / 1e6,
            e["step_flops"] / 1e9,
            e["memory"] / 2**20,
            100 * e["step"],
            100 * e["test"].mean(),
        ]
heads = ["M param", "GFLOP", "MiB", "time %", "right %"]
claims.table(heads, rows, digits=3)

# %%
lost = {r: three[r]["test"] - three[None]["test"] for r in RANKS}
claims.check("lowrank-rank-ten", lost[10].mean(), above=-0.06, control=lost[1].mean())
claims.check("lowrank-rank-one", lost[1].mean(), below=-0.08, control=lost[10].mean())
half = times[3]["step"][times[3]["ranks"].index(1000)] / times[3]["step"][0]
claims.check("lowrank-time", three[10]["step"], below=0.4, control=half)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lr-accuracy", "caption": "MNIST, 5000 images: test accuracy with the last two of three hidden layers of width 2000 factorised, three seeds (markers) and their mean (line). Dashed: the mean with all layers full. Below each rank, the number of parameters."}, "image": {"alt": "Accuracy over the ranks 1, 2, 5, 10 and 20. It rises steeply from rank 1 to 2, less to 5, and from rank 10 on lies near the dashed line of the full network."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
order = [r for r in RANKS[::-1] if r]
look = {"color": COLOURS[0], "markersize": 5, "fillstyle": "none"}
for i, marker in zip(range(len(three[1]["test"])), "o^s", strict=False):
    ax.plot(range(5), [three[rank]["test"][i] for rank in order], marker, **look)
ax.plot(range(5), [three[r]["test"].mean() for r in order], "-", color=COLOURS[0])
ax.axhline(three[None]["test"].mean(), color="0.3", linestyle="--", linewidth=1)
millions = {rank: f"{e['parameters'] / 1e6:.2f} M" for rank, e in three.items()}
ax.text(0, three[None]["test"].mean(), f"full, {millions[None]}", va="bottom")
ax.set_xticks(range(5), [f"rank {rank}\n{millions[rank]}" for rank in order])
ax.set(ylabel="test accuracy")
plt.show()

# %% [markdown]
# Rank 10, with a sixth of the parameters, is two points behind the full network, and rank 20 one point. Below,
# accuracy falls, at rank 1 by more than a quarter of all images. (The slide loses four points there. It has more
# images and averages over three data sets; how long it trained it does not say.)
#
# Operations fall most. Of the layers that stay, the first one needs only two products in a step, not three. Parameters
# fall a little less, as the outer layers stay. Memory falls less again, because of the activations. And *time falls
# less than operations do*, on our machine.
#
# Why is time a law of its own? A large product keeps the processor busy with multiplications. A thin one is over
# before it has got going, and each of the two has to be started. A single image is a case apart. There even a full
# layer only waits for its weights, and what counts is how many there are to fetch. Move the rank in the next figure.
# At $r = 1000$ the two thin products have exactly as many numbers as the matrix that they replace, and little is
# saved.


# %% tags=["hide-input"]
def inner_costs(hidden, rank):
    """Weights, and products of a step for one image."""
    d, w = 784, 2000
    inner = (hidden - 1) * (w * w if rank is None else 2 * w * rank)
    first, last = d * w, 10 * w
    return first + inner + last, 3 * (first + inner + last) - first


def draw_price(hidden, r):
    i = times[hidden]["ranks"].index(r)
    shares = [
        a / b
        for a, b in zip(inner_costs(hidden, r), inner_costs(hidden, None), strict=True)
    ]
    shares += [
        times[hidden][n][i] / times[hidden][n][0] for n in ("step", "batch", "one")
    ]
    names = [
        "weights",
        "operations, step",
        "time, step",
        "time, 128 images",
        "time, 1 image",
    ]
    fig, ax = plt.subplots(figsize=(6, 2.3))
    colours = [COLOURS[0]] * 2 + [COLOURS[1]] * 3
    bars = ax.barh(names, shares, color=colours, hatch=["", "", "//", "//", "//"])
    ax.bar_label(
        bars, [f"{100 * share:.0f} %" for share in shares], padding=3, fontsize=8
    )
    ax.axvline(1, color="0.3", linestyle="--", linewidth=1)
    ax.set(xlim=(0, 1.6), xlabel="share of the full network")
    ax.invert_yaxis()
    return fig


def describe_price(hidden, r):
    i = times[hidden]["ranks"].index(r)
    step, one = (
        100 * times[hidden][n][i] / times[hidden][n][0] for n in ("step", "one")
    )
    weights_, work = (
        100 * a / b
        for a, b in zip(inner_costs(hidden, r), inner_costs(hidden, None), strict=True)
    )
    return (
        f"{hidden} hidden layers, rank {r}: {weights_:.0f} % of the weights, {work:.0f} % of the operations of a "
        f"step, {step:.0f} % of its time, {one:.0f} % of the time for one image."
    )


explore(
    draw_price,
    name="lr-price",
    alt=describe_price,
    caption="What a network of width 2000 with factorised inner layers costs, as a share of the full one. Plain bars "
    "are counted, hatched ones were timed on one thread of one machine.",
    labels={"hidden": "Hidden layers", "r": "Rank"},
    start={"hidden": 3, "r": 10},
    hidden=[2, 3],
    r=[1, 10, 100, 500, 1000],
)

# %% [markdown]
# :::{admonition} Slide check: the table mixes two networks
# :class: warning slide-check
# :name: slide-check-lr-table
# The slide *Low-Rank Training of Nonlinear Networks?* introduces its table as a "Comparison between normal training
# and low rank training on MNIST, FashionMNIST, USPS using a MLP with 3 hidden layers." The weights of the last two are
# factorised:
#
# | Method | # Params | Memory | FLOPs | Avg Acc. |
# |---|---|---|---|---|
# | Normal training | 5.59M | 0.376 GiB | 1.65 TFLOPs | 95.09 |
# | Low rank (r=10) | 1.67M | 0.113 GiB | 1.17 TFLOPs | 94.57 |
# | Low rank (r=1) | 1.59M | 0.108 GiB | 1.17 TFLOPs | 90.86 |
#
# It names no width. With 784 inputs and 10 outputs, *two* hidden layers of width $w$ have $794 w + w^2$ weights: 5.59
# M at $w = 2000$. Three, the two inner matrices factorised, have $794 w + 4 r w$: 1.67 M and 1.59 M at the same $w$.
# Biases are left out. (With them the last is 1.602 M. Without them it is 1.596 M, printed as 1.59.) Three hidden
# layers of full rank have 9.59 M. So the first row is another network than the others. Between networks that match,
# the saving is larger than the table says.
#
# {claim}`The memory column <lowrank-table-cost>` is between 72 and 73 bytes per parameter in all three rows, so no
# part of it is for activations. The FLOPs follow neither: from the first row to the second they fall by 1.4, weights
# by 3.35 or, between networks that match, by 5.7. {claim}`Accuracies <lowrank-table-accuracy>` are averages over
# three data sets, quoted here. Our table above has both networks, each with itself.
# :::


# %%
def weights(widths, rank=None):
    """Weights of an MLP, without biases; a rank for the inner matrices."""
    pairs = list(pairwise(widths))
    return sum(
        rank * (a + b) if rank and 0 < i < len(pairs) - 1 else a * b
        for i, (a, b) in enumerate(pairs)
    )


small, large = [784, 2000, 2000, 10], [784, 2000, 2000, 2000, 10]
low = [weights(large, rank) / 1e6 for rank in (10, 1)]
claims.check("lowrank-table-two", weights(small) / 1e6, 5.588)
claims.check("lowrank-table-three", weights(large) / 1e6, 9.588)
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
# *The rank $r$ of factorization should correspond to class number $K$, and relaxed in shallower layers*, says the
# slide. {numref}`fig-lr-updates` is one reason to believe it. Here is a test on the small digits: train on the first
# $K$ of them, with the last two hidden layers of rank $r$, for all pairs of $K$ and $r$. The network has width 256 and
# batch normalisation, which spreads its change over many directions. If few suffice here, they suffice in the harder
# case.

# %%
TRIED = (1, 2, 3, 5, 10)
grid_runs = recorded("lowrank-classes").values


def mean_of(k, r, what):
    return torch.tensor(
        [x[what] for x in grid_runs if (x["classes"], x["rank"]) == (k, r)]
    ).mean()


drop = {
    (k, r): float(mean_of(k, None, "test") - mean_of(k, r, "test"))
    for k in CLASSES
    for r in TRIED
}
claims.table(
    [f"K = {k}" for k in CLASSES],
    {f"r = {r}: points lost": [100 * drop[k, r] for k in CLASSES] for r in TRIED},
)
enough = [drop[k, r] for k in (5, 10) for r in TRIED if r >= k]
claims.check("lowrank-enough", enough, below=0.035, control=[drop[5, 1], drop[10, 1]])
claims.check("lowrank-too-little", drop[10, 1], above=0.12, control=max(enough))
fits, fits_not = mean_of(10, 2, "train"), mean_of(10, 1, "train")
claims.check("lowrank-fits", fits, above=0.93, control=fits_not)
claims.check("lowrank-fits-not", fits_not, below=0.93, control=fits)

# %% [markdown]
# For five and ten digits nothing is lost from rank $K$ on. Somewhat below $K$ a few points are lost, far below it
# many. So $K$ is a safe choice, not a sharp one. For two digits every rank will do. (That column rises and falls by
# three points, as only some eighty test images show these two digits.)
#
# {term}`Neural collapse` says why $K$ should be enough. In the end the {term}`features <feature>` of $K$ classes are
# $K$ points, and after centring they span $K - 1$ dimensions ([Neural collapse](neural_collapse.ipynb)). A smaller rank
# can still fit the training digits. At rank 2 it almost does, and what is lost is accuracy on new ones.
#
# (sec-lr-lora)=
# ## Adapting a trained network
#
# Often the network is there already, trained on something else. *Low-rank adaptation*, {term}`LoRA`
# {cite}`hu2022lora`, keeps its weights $W_0$ and learns
#
# $$ W_{\text{adapted}} = W_0 + \tfrac{\alpha}{r} B A , \qquad \alpha > 0 . $$ (eq-lr-lora)
#
# This is the last example of the first section: $W_0$ was the identity, and one column times one row led to a matrix
# of full rank. At the start $B = 0$, so the network begins as what it was. Only $A$ and $B$ have gradients and
# momentum. The old network can be had back. After training the product can be added to $W_0$, and the adapted network
# does the same operations as the old one. (The slide has no $\alpha$; with $\alpha = r$, our default, there is none.)
#
# LoRA was made for transformers, so here is one: the book's vision transformer, with two blocks of width 32, for
# $8 \times 8$ pixels. Give it the digits to know, and then mirrored digits to learn, twenty of each. `add_lora` takes
# ranks as `factorize_layers` does: one for all, or one for each name.

# %%
seed_everything(0)
adam = {"optimizer": "adam", "every": []}
vit = digits_vit()
train(vit, inputs, labels, epochs=6, lr=3e-3, batch_size=100, **adam)
few, _, mirrored = shifted_task("mirrored")
lora = add_lora(copy.deepcopy(vit), dict.fromkeys(ADAPTED, 4))
lora.head.requires_grad_(True)
train(lora, *few, epochs=20, lr=1e-2, batch_size=50, **adam)
print(*lora.blocks[0].linear1.state_dict(), sep=", ")
claims.show(
    "mirrored digits, before and after",
    accuracy(vit, *mirrored),
    accuracy(lora, *mirrored),
)

# %% [markdown]
# Now merge: add each product to its frozen weight. The outputs stay as they are. The extra operations disappear, as a
# merged layer does nothing but what its frozen one does. A merged layer knows that it is merged. Merging it again is
# an error, and so is training it, since its factors no longer take part. Its state is saved with the mark and loaded
# with it.

# %%
test_images, _ = mirrored
before, apart = lora(test_images).detach(), training_cost(lora.train(), *few)
without = copy.deepcopy(lora.eval())
for name in ADAPTED:
    nn.init.zeros_(without.get_submodule(name).B)
    lora.get_submodule(name).merge()
changed, other = ((net(test_images) - before).abs().max() for net in (lora, without))
claims.check("lowrank-merge", changed, below=1e-3, control=other)

plain = training_cost(vit.train(), *few)
extra = 100 * (apart.forward_flops / plain.forward_flops - 1)
claims.show("operations of a pass before merging, % more", extra)
for attempt in (lora.blocks[0].linear1.merge, lambda: lora.train()(test_images)):
    try:
        attempt()
    except RuntimeError as error:
        print(error)

# %% [markdown]
# ### Against its rivals, on a real shift
#
# How good is such an update? That depends on what the network knows, so we give it more to know. We train the same
# transformer on 9000 digits of MNIST, reduced to $8 \times 8$ pixels. The new images are the small digits of this
# chapter: other writers, another scanner, another way to reduce. Twenty of each class are to learn from. For a larger
# shift the new digits are also mirrored, or turned by a quarter.
#
# Four ways to learn them compete. *Full*: all parameters go on from where they are. *Last layer*: a {term}`linear
# probe`, only the classifier moves. *LoRA*: updates of rank 1 to 16 to six matrices, and the classifier. *From
# scratch*: all parameters, from a random start. Each way chooses between two rates by 1200 other images of the new
# kind. All numbers are means of three seeds.

# %%
adapt = recorded("lowrank-vit").values
SHIFTS = ("upright", "mirrored", "turned")
WAYS = [("last layer", None), *(("LoRA", r) for r in (1, 2, 4, 8, 16))]
WAYS += [("full", None), ("from scratch", None)]


def chosen_test(row):
    """Test accuracy at the rate that is best on the images held out."""
    return row["test"][row["held_out"].index(max(row["held_out"]))]


score, amount = {}, {}
for row in adapt:
    way = (row["way"], row["rank"])
    score.setdefault((row["shift"], way), []).append(chosen_test(row))
    amount[way] = row["trained"]
score = {key: torch.tensor(values) for key, values in score.items()}
start = {
    s: torch.tensor(
        [r["unadapted"] for r in adapt if r["shift"] == s and r["way"] == "full"]
    )
    for s in SHIFTS
}
rows = {"not adapted": ["0", *(100 * start[s].mean() for s in SHIFTS)]}
for way in WAYS:
    name = way[0] if way[1] is None else f"LoRA, r = {way[1]}"
    rows[name] = [str(amount[way]), *(100 * score[s, way].mean() for s in SHIFTS)]
claims.table(["trained", *SHIFTS], rows, digits=3)


# %%
def ahead(shift, way, rival):
    """By how much one way is right more often than another, mean over the seeds."""
    return (score[shift, way] - score[shift, rival]).mean()


pair = ("LoRA", 16), ("last layer", None)
claims.check(
    "lowrank-lora", ahead("turned", *pair), above=0.06, control=ahead("upright", *pair)
)
pair = ("LoRA", 4), ("from scratch", None)
gain, none = ahead("upright", *pair), ahead("turned", *pair)
claims.check("lowrank-pretraining", gain, above=0.05, control=none)


# %% tags=["hide-input"]
def draw_adapted(shift, r):
    images = shifted_task(shift)[2][0][:8, 0]
    fig, (ax, strip) = plt.subplots(
        2, 1, figsize=(6.4, 3.4), height_ratios=[4, 1], layout="constrained"
    )
    marks = {"last layer": "s", "full": "^", "from scratch": "x", "LoRA": "o"}
    for way in WAYS:
        chosen = way == ("LoRA", r)
        colour = COLOURS[1] if chosen else COLOURS[0] if way[0] == "LoRA" else "0.35"
        size = 9 if chosen else 6
        values = score[shift, way]
        ax.semilogx(
            amount[way], values.mean(), marks[way[0]], color=colour, markersize=size
        )
        ax.semilogx(
            [amount[way]] * len(values), values, ".", color=colour, markersize=3
        )
        if way[1] is None:
            side = "left" if way[0] == "last layer" else "right"
            ax.annotate(
                f" {way[0]} ", (amount[way], values.mean()), fontsize=8, ha=side
            )
    ax.axhline(start[shift].mean(), color="0.3", linestyle=":", linewidth=1)
    ax.set(xlabel="trained parameters", ylabel="test accuracy", ylim=(0, 1))
    ax.set_title(
        f"rank {r}: {100 * amount['LoRA', r] / amount['full', None]:.0f} % trained"
    )
    strip.imshow(images.permute(1, 0, 2).reshape(8, -1), cmap="gray_r")
    strip.set_axis_off()
    return fig


def describe_adapted(shift, r):
    mine, full = (score[shift, way].mean() for way in (("LoRA", r), ("full", None)))
    probe = score[shift, ("last layer", None)].mean()
    return (
        f"New digits {shift}: LoRA of rank {r} trains {amount['LoRA', r]} parameters and is right in "
        f"{100 * mine:.0f} %, all {amount['full', None]} parameters {100 * full:.0f} %, "
        f"the last layer {100 * probe:.0f} %."
    )


explore(
    draw_adapted,
    name="lr-adapted",
    alt=describe_adapted,
    caption="A transformer that knows MNIST learns 200 new digits, shown below: accuracy by the number of trained "
    "parameters. Dots: three seeds. Square: the last layer. Circles: LoRA, the chosen rank in orange. Triangle: all "
    "parameters. Cross: all, from a random start. Dotted line: before anything is learned.",
    labels={"shift": "New digits", "r": "Rank"},
    start={"shift": "mirrored", "r": 4},
    shift=list(SHIFTS),
    r=[1, 4, 16],
)

# %% [markdown]
# Read the table column by column. The first row says how much of the shift the network bears by itself. *Upright* it
# knows most of what it needs. The last layer alone does as well as small updates do, within what three seeds can tell,
# and a network that starts from nothing with 200 images falls twelve points behind. There pretraining is worth
# something.
#
# A digit on its side needs other *features*, and the last layer cannot make them: 57 %. Updates make some, more the
# higher their rank, and are right in 67 to 71 %. But a network that starts from nothing has 78 %. Mirrored digits lie
# between. There updates of rank 8 do what neither rival can, 81 % against 74 and 73. So the cross in the figure is a
# warning: where the old knowledge does not fit, it is worth little or less than nothing. The fair question is never
# "how good is LoRA?" but "how much better than the last layer, and than starting again?".
#
# A step saves less than the count of trained parameters says. The frozen layers still have to be run, forwards and,
# for the layers below, backwards.
#
# :::{admonition} Slide check: what is in 0.33 M?
# :class: warning slide-check
# :name: slide-check-lr-lora
# For a transformer that it does not name the slide *Low-rank Adaptation (LoRA) of Large Models?* gives 0.33 M trained
# parameters of 86.9 M, and {claim}`accuracies of 98.97 % and 92.85 % on CIFAR-10 and CIFAR-100 <lowrank-vit-lora>`.
# {claim}`AdaLoRA, with as many, has 98.87 % and 92.93 % <lowrank-vit-adalora>`; training all 86.7 M has 99.07 % and
# 93.27 %.
#
# The size suggests a ViT-B: twelve blocks of width 768. There an update of rank $r$ to one square attention matrix in
# each block has $12 \cdot 2 \cdot 768\, r = 18\,432\, r$ parameters. Rank 8 on queries and values, a common choice,
# makes 0.295 M. If the ranks in a block add up to 18, such as $9 + 9$ or $6 + 6 + 6$, it is 0.332 M. A classifier
# would add 0.008 M for ten classes and 0.077 M for a hundred. As the slide has one number for both, it is not
# included. And 0.33 M more than 86.7 M would be 87.0 M, not 86.9 M. So the number does not pin the setting down. We
# quote these accuracies; this book does not claim them.
# :::

# %%
per_rank = 12 * 2 * 768
claims.check("lowrank-lora-count", 2 * 8 * per_rank / 1e6, 0.295, abs=0.0005)
claims.check("lowrank-lora-eighteen", 18 * per_rank / 1e6, 0.332, abs=0.0005)
heads = [(768 + 1) * classes / 1e6 for classes in (10, 100)]
claims.check("lowrank-lora-heads", heads[1] - heads[0], above=0.05)
# The largest difference that rounds to these numbers.
claims.check("lowrank-lora-sum", 86.95 - 86.65, below=0.325)

# %% [markdown]
# ## Exercises
#
# :::{exercise} One direction, by hand
# :label: ex-lr-hand
# *Warm-up, 10 minutes.* What is the best column times row for $\begin{pmatrix} 3 & 1 \\ 1 & 3 \end{pmatrix}$, and
# which share of the squares does it hold? How many directions has the matrix at the share 0.99, how many at 0.75? A
# layer has the identity as its weights. Which of the two matrices $\begin{pmatrix} 3 & 1 \\ 1 & 3 \end{pmatrix}$ and
# $\begin{pmatrix} 3 & 2 \\ 2 & 3 \end{pmatrix}$ can a LoRA update of rank one make of it?
# :::
#
# :::{solution} ex-lr-hand
# :class: dropdown
# The eigenvalues are 4 and 2, with the eigenvectors $(1, 1)$ and $(1, -1)$. The best is $4$ times the projection on
# $(1, 1)$, all four entries 2. It holds $16$ of $16 + 4$, that is 80 %. So the matrix has two directions at 0.99 and one
# at 0.75. The update must have rank one. $\begin{pmatrix} 2 & 1 \\ 1 & 2 \end{pmatrix}$ has the determinant 3, so the
# first cannot be made. $\begin{pmatrix} 2 & 2 \\ 2 & 2 \end{pmatrix}$ is $(1, 1)^\top$ times $(2, 2)$, so the second
# can.
# :::
#
# :::{exercise} Where factorising pays
# :label: ex-lr-breakeven
# *Warm-up, 5 minutes.* From which rank on does a factorised layer have more weights than a full one? Evaluate it for a
# $256 \times 256$ layer, and for a first layer from 64 to 256.
# :::
#
# :::{solution} ex-lr-breakeven
# :class: dropdown
# If $r > d_{\text{in}} d_{\text{out}} / (d_{\text{in}} + d_{\text{out}})$. For the square layer that is 128, half of
# its width, where both have equally many: from 129 on. For the first layer it is 51.2: from 52 on, where the full
# rank is only 64. Layers that are thin already gain little.
# :::
#
# :::{exercise} A start that never learns
# :label: ex-lr-dead
# *Core, 15 minutes.* What are the gradients of $A$ and $B$ in $W = B A$, given $\nabla_W$? LoRA starts with $B = 0$.
# Which of the two moves in the first step, and which in the second? What happens if both start at zero?
# :::
#
# :::{solution} ex-lr-dead
# :class: dropdown
# $\nabla_B = \nabla_W A^\top$ and $\nabla_A = B^\top \nabla_W$. With $B = 0$ the gradient of $A$ is zero. In the first
# step only $B$ moves, by $-\eta \nabla_W A^\top$, and from the second on both do. With $A = 0$ as well both gradients
# are zero for ever. The origin is a saddle point whenever $\nabla_W \ne 0$ there, the one near which deep linear
# networks spend so much time ([The law of parsimony](law_of_parsimony.ipynb)).
# :::
#
# :::{exercise} Counting operations
# :label: ex-lr-flops
# *Core, 20 minutes.* A linear layer does $2 N d_{\text{in}} d_{\text{out}}$ floating-point operations on $N$ samples.
# How many does its backward pass take, and why less for the first layer of a network? Predict a step of the full
# network with three hidden layers in the table above, and compare. Then predict its share at rank 10.
# :::
#
# :::::{solution-start} ex-lr-flops
# :class: dropdown
# :::::
#
# Backwards there are two products of the same size: $\nabla_W = \sum_i \delta_i z_i^\top$, and $W^\top \delta_i$ for
# the layer below, which the first layer has no use for.

# %%
for name, inner in {"full": [2000] * 3, "rank 10": [2000, 10, 2000, 10, 2000]}.items():
    products = [2 * 128 * a * b for a, b in pairwise([784, *inner, 10])]
    rank = None if name == "full" else 10
    predicted = 3 * sum(products) - products[0]
    print(f"{name}: {predicted:,} predicted, {three[rank]['step_flops']:,} counted")

# %% [markdown]
# :::::{solution-end}
# :::::
#
# :::{exercise} Relaxed in shallower layers
# :label: ex-lr-shallow
# *Core, 30 minutes.* Take the network of {ref}`sec-lr-classes` for ten digits. Factorise only the first, only the
# second or only the third hidden layer, with rank 2, and compare the accuracies over three seeds. Does the slide's
# advice hold?
# :::
#
# :::::{solution-start} ex-lr-shallow
# :class: dropdown
# :::::

# %%
SETTINGS = {"epochs": 15, "lr": 0.05, "weight_decay": 5e-4, "every": []}


def digits_network(seed, ranks):
    """Train the normalised network for ten digits, with given ranks by name."""
    seed_everything(seed)
    net = factorize_layers(MLP([64, 256, 256, 256, 10], batch_norm=True), ranks)
    begin = copy.deepcopy(net)
    train(net, inputs, labels, **SETTINGS)
    return net, begin


rows = {}
for name in [None, *(f"hidden.{i}.0" for i in range(3))]:
    nets = [digits_network(seed, {name: 2} if name else {})[0] for seed in range(3)]
    rows[name or "none"] = [accuracy(net, new.inputs, new.labels) for net in nets]
claims.table([f"seed {seed}" for seed in range(3)], rows, digits=3)

# %% [markdown]
# It does: the same rank hurts most in the first layer. All that the network will ever know of an image passes through
# that layer, and two numbers are not enough.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Compress before or after?
# :label: ex-lr-after
# *Core, 40 minutes.* Train the full network on ten digits, keeping its start, and truncate afterwards: (a) the weights
# of the second and third hidden layers to rank 5, (b) only their *changes* to rank 5, added back to the start. Compare
# both with training at rank 5 from the beginning. What explains the difference?
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
            module.momentum = None  # a plain average
    with torch.no_grad():
        net.train()(inputs)
    return accuracy(net, new.inputs, new.labels)


DEEP = {"hidden.1.0": 5, "hidden.2.0": 5}
rows = {"weights cut": [], "changes cut": [], "trained at rank 5": []}
for seed in range(3):
    net, begin = digits_network(seed, {})
    rows["weights cut"].append(refreshed(factorize_layers(copy.deepcopy(net), DEEP)))
    with torch.no_grad():
        for layer, old in zip(net.hidden[1:], begin.hidden[1:], strict=True):
            U, values, V = torch.linalg.svd(layer[0].weight - old[0].weight)
            layer[0].weight.copy_(old[0].weight + U[:, :5] * values[:5] @ V[:5])
    rows["changes cut"].append(refreshed(net))
    thin, _ = digits_network(seed, DEEP)
    rows["trained at rank 5"].append(accuracy(thin, new.inputs, new.labels))
claims.table([f"seed {seed}" for seed in range(3)], rows, digits=3)

# %% [markdown]
# The weights are a random matrix of full rank plus a change of low rank. Truncating them cuts into the random part as
# well, which the network was trained with; truncating the change does not. That is LoRA's bet: what matters is the
# update.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} What full fine-tuning does
# :label: ex-lr-tuning
# *Core, 20 minutes.* Let the transformer of the cell above learn the mirrored digits with all its parameters. How many
# directions have the changes of the six matrices to which we added updates? Compare with the rank 4.
# :::
#
# :::::{solution-start} ex-lr-tuning
# :class: dropdown
# :::::

# %%
tuned = copy.deepcopy(vit)
train(tuned, *few, epochs=20, lr=3e-3, batch_size=50, **adam)
rows = {}
for name in ADAPTED:
    pair = [net.get_submodule(name).weight.detach() for net in (vit, tuned)]
    values = update_singular_values(pair)[-1]
    rows[name] = [energy_rank(values), energy_rank(values, 0.5), len(values)]
claims.table(["99 %", "50 %", "of"], rows)

# %% [markdown]
# Most of the directions that there are. Adam takes steps of one size in all entries, and so spreads its change more
# than gradient descent does. Rank 4 holds about half of such a change. A change can be useful without being the one
# that training makes.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Where an update is best placed
# :label: ex-lr-vit
# *Open.* Adapt the transformer with updates to `linear1` and `linear2` of its blocks, to `self_attn.out_proj`, to
# `embedding`, or to all, at equal numbers of trained parameters. Where is an update best placed, and does the answer
# depend on the shift?
# :::
#
# :::{solution} ex-lr-vit
# :class: dropdown
# `add_lora(net, {"blocks.0.linear1": 4, …})` takes names from `net.named_modules()`. Choose the ranks so that the
# counts match, choose a rate for each variant on the images held out, and use five seeds or more. Expect `embedding`
# to matter more where pixels have moved, and check it. PyTorch's attention keeps queries, keys and values in one
# parameter that is not a linear layer, so the placement of the paper, queries and values, needs a module of your own.
# :::
#
# ## Summary
#
# Factors of rank $r$ store and work $r (d_{\text{in}} + d_{\text{out}})$ in place of $d_{\text{in}} d_{\text{out}}$,
# and lose the singular values beyond the first $r$.
#
# What training adds to a perceptron lies in few directions: close to $K$ below the classifier, more the earlier the
# layer. For a fixed classifier without a ReLU in between, the rank is at most $K - 1$. With batch normalisation the
# change spreads.
#
# Layers can be given their rank from the first step. Rank $K$ is enough for five and for ten digits, and far below $K$
# accuracy is lost. Parameters, operations and memory fall by different factors, which can be counted beforehand. Time
# falls less, and has to be measured.
#
# A transformer learns new digits with updates of a few directions. Where the shift is small the last layer does nearly
# as well, where it is large starting again does better, and between the two the updates are ahead. Compare with both
# before you praise a method.
#
# The slides' table mixes a network with two hidden layers and one with three; between networks that match more is
# saved.
#
# ## Further reading
#
# LoRA is from Hu et al. {cite}`hu2022lora`, following Aghajanyan, Zettlemoyer and Gupta on the intrinsic dimension of
# fine-tuning {cite}`aghajanyan2021intrinsic`. Khodak et al. study how to start and regularise factorised layers
# {cite}`khodak2021initialization`. The law behind it is in {cite}`yaras2023law`; AdaLoRA, which the slide also quotes,
# gives each matrix its own rank {cite}`zhang2023adalora`.
