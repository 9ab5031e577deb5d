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
# # Progressive separation
#
# At its last layer a trained network has collapsed its classes to points. What were the other layers for?
# It could be that nine of them prepare and the tenth does it all. Or that they share the work. In our runs
# they share it: every layer shrinks the spread within the classes by about the same factor. This chapter
# measures that factor in networks trained on images. It computes it for deep linear networks. And it finds
# the constant that the published bounds leave open.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** measure separation at every layer of a network, with the right definitions; derive
# the factor by which a deep linear network compresses its features per layer; say what it costs to make
# that factor small; and tell which of it carries over to random labels, new images and new tasks.
#
# **Follows** lecture 002, *Understanding Hierarchical Representations in Deep Neural Networks*, with its
# opening figures and *Implication II*; 000 and 001, *Progressive Feature Separation in Deep Neural
# Networks*; 003, *Progressive separation from shallow to deep layers*.
#
# **You need** the chapters [Neural collapse](neural_collapse.ipynb), for the covariances within and between
# classes, and [The law of parsimony](law_of_parsimony.ipynb), for what stays put in a linear network.
#
# **Time**: reading, an hour; running, half a minute on two CPU cores. With a GPU the networks can be wider and
# the images larger: see the first cell.
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
from torch.nn import functional

from lecturelib import claims
from lecturelib.datasets import load_standardized
from lecturelib.deep_linear import end_to_end, gradient_descent, init_weights
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.losses import SquaredError
from lecturelib.metrics import ClassStatistics
from lecturelib.networks import MLP
from lecturelib.progressive_separation import (
    feature_compression,
    feature_separation,
    layer_profile,
    linear_probe_accuracy,
    predicted_decay,
)
from lecturelib.records import recorded
from lecturelib.training import train

use_style()
# Networks this small lose more to waiting than they gain.
torch.set_num_threads(1)
generator = seed_everything(0)

# With a GPU, set "cifar10" and 8: the networks are then 1024 wide.
DATASET, SCALE = "digits", 1
claims.strict((DATASET, SCALE) == ("digits", 1))
DEVICE = default_device() if SCALE > 1 else torch.device("cpu")
WIDTH, EPOCHS = 128 * SCALE, 60

# %% [markdown]
# (sec-ps-measures)=
# ## Four numbers per layer
#
# Take a network apart into its layers and call $z^l$ the {term}`feature` after layer $l$, so that $z^0 = x$ is the
# input. Let $\bar z_k^l$ be the mean of class $k$ and $\bar z^l$ the mean of these, and let $\Sigma_W^l$ and
# $\Sigma_B^l$ be the covariances within and between the classes, as in the chapter on neural collapse.
#
# :::{prf:definition} Compression and separation
# :label: def-compression
#
# $$
# D_l = \frac{\operatorname{tr} \Sigma_W^l}{\operatorname{tr} \Sigma_B^l} , \qquad
# S_l = 1 - \max_{k \ne k'} \cos\big( \bar z_k^l, \bar z_{k'}^l \big) .
# $$ (eq-compression)
# :::
#
# $D_l$ is small if the classes are tight compared with the distances between them: a layer compresses if
# $D_l < D_{l-1}$. $S_l$ is small if two classes point the same way.
#
# Two more measures go with them:
#
# - $\mathrm{NC}_1^l = \operatorname{tr}(\Sigma_W^l \Sigma_B^{l\dagger})$ divides direction by direction, and then
#   adds up. A direction in which the means hardly differ counts as much as one in which they differ a lot.
# - A *{term}`linear probe`* is a linear classifier trained on the frozen features of one layer
#   {cite}`alain2016understanding`. Its accuracy on new images says what a reader could use.
#
# We train two networks with ten hidden layers, and a classifier on top, on handwritten digits. One is a
# multilayer perceptron (MLP) with batch normalisation before each ReLU, trained with cross-entropy. The
# other is the lectures' *{term}`hybrid <hybrid network>`*: four such layers, then six that are linear. Its
# linear tail starts as $\varepsilon = \frac12$ times orthogonal matrices, and its loss is the squared error,
# as in the linear networks below. `net.taps(x)` returns the features of all hidden layers, first to last.

# %%
data, new = load_standardized(DATASET, device=DEVICE)
inputs, labels = data.inputs, data.labels
K = data.num_classes
SETTINGS = {
    "epochs": EPOCHS,
    "lr": 0.02,
    "milestones": [EPOCHS * 2 // 3, EPOCHS * 5 // 6],
}


def ten_layers(classes=K, seed=0, **options):
    torch.manual_seed(seed)
    widths = [inputs[0].numel()] + [WIDTH] * 10 + [classes]
    return MLP(widths, batch_norm=True, **options).to(DEVICE)


mlp, hybrid = ten_layers(), ten_layers(linear_tail=6)
for layer in [*(layer[0] for layer in hybrid.hidden[4:]), hybrid.head]:
    nn.init.orthogonal_(layer.weight, 0.5)
    nn.init.zeros_(layer.bias)
NETWORKS = {"MLP": mlp, "hybrid": hybrid}

# %% [markdown]
# Measure them before and after training: $D_l$, $S_l$ and $\mathrm{NC}_1^l$ on the training images, the probe
# on new ones.


# %%
def probe(net, layers=range(11)):
    """Test accuracy of a linear probe on layers of a network."""
    net.eval()
    with torch.no_grad():
        known = [inputs.flatten(1), *net.taps(inputs)]
        other = [new.inputs.flatten(1), *net.taps(new.inputs)]
    accuracies = [
        linear_probe_accuracy(known[layer], labels, other[layer], new.labels)
        for layer in layers
    ]
    return torch.stack(accuracies)


def measured(net, probed=range(11)):
    return layer_profile(net, inputs, labels) | {"probe": probe(net, probed)}


fresh = {name: measured(net, probed=[0, 10]) for name, net in NETWORKS.items()}
train(mlp, inputs, labels, **SETTINGS)
train(hybrid, inputs, labels, **(SETTINGS | {"lr": 0.05}), loss=SquaredError())
profiles = {name: measured(net) for name, net in NETWORKS.items()}

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-layers", "caption": "Four measures at the input and after each of ten layers, on training data except for the probe, which is tested on new images. The dotted line is where the hybrid turns linear."}, "image": {"alt": "Four panels against the layer from 0 to 10. D falls on a logarithmic axis nearly along a straight line for the MLP, from 2 to 0.03; for the hybrid it falls faster in the first four layers, and then more slowly to 0.006. NC1 falls along a line for the MLP from 9 to 0.06, and for the hybrid fast until layer five and hardly afterwards. S dips in the first layer and then rises to 0.7 and 1.1. The accuracy of the probe rises from 0.90 to about 0.94 within four layers and then stays."}}
TITLES = {
    "D": "compression $D_l$",
    "nc1": "$\\mathrm{NC}_1^l$",
    "S": "separation $S_l$",
    "probe": "accuracy of a linear probe",
}
fig, axes = plt.subplots(2, 2, figsize=(7.5, 5.2), sharex=True)
for ax, (measure, title) in zip(axes.flat, TITLES.items(), strict=True):
    for (name, profile), marker in zip(profiles.items(), "os", strict=True):
        ax.plot(profile[measure], marker=marker, markersize=4, label=name)
    ax.axvline(4, color="0.4", linestyle=":", linewidth=1)
    ax.set(title=title)
    if measure in ("D", "nc1"):
        ax.set_yscale("log")
for ax in axes[1]:
    ax.set_xlabel("layer")
axes[0, 0].legend()
plt.show()


# %%
def gains(profiles, measure, first=0, last=-1):
    """How much larger a measure is after one layer than after another."""
    return [p[measure][last] - p[measure][first] for p in profiles.values()]


def largest_step(profile):
    """The largest change of D from one layer to the next."""
    return profile["D"].diff().max()


claims.check(
    "separation-compression",
    [largest_step(p) for p in profiles.values()],
    below=0,
    control=[largest_step(p) for p in fresh.values()],
)
claims.check(
    "separation-s-grows", gains(profiles, "S"), above=0, control=gains(fresh, "S")
)
claims.check(
    "separation-probe",
    gains(profiles, "probe"),
    above=0.01,
    control=gains(fresh, "probe"),
)
claims.check(
    "separation-probe-early",
    gains(profiles, "probe", first=4),
    below=0.02,
    control=gains(profiles, "probe", last=4),
)

# %% [markdown]
# Every layer of both networks compresses. What the probe needs is there after four layers, on new images:
# later layers tighten what is already separable.
#
# **Why does $S_l$ dip in the first layer?** It falls from 0.55 to 0.3 before it rises. The ReLU does it. Its
# outputs are not negative, so all class means move into the same corner of the space and have a long part in
# common. Take two inputs at right angles and random weights: after the ReLU their cosine is about
# $\frac1\pi = 0.32$ ({ref}`an exercise <ex-separation-relu>`). Each linear map pushes the classes apart, each
# ReLU pulls them together again. Let us take the layers apart.

# %%
pushed, pulled, z = [], [], inputs.flatten(1)
with torch.no_grad():
    for linear, norm, relu in mlp.hidden:
        stages = [z, norm(linear(z)), relu(norm(linear(z)))]
        before, between, after = (feature_separation(z, labels) for z in stages)
        pushed.append(between - before)
        pulled.append(after - between)
        z = stages[-1]
pushed, pulled = torch.stack(pushed), torch.stack(pulled)
claims.check("separation-relu", pulled.mean(), below=-0.1, control=pushed.mean())

# %% [markdown]
# In a linear layer nothing pulls, and $S_l$ climbs above one in the tail of the hybrid. It is the normalisation
# that pushes: without it, in the recorded runs of the next section, $S_{10}$ stays below $S_0$.
#
# :::{admonition} Slide check: where the layers start
# :class: warning slide-check
# :name: slide-check-ps-layers
# On the slide *Deep Neural Network Classifiers* of 002 the feature $z^l$ is the output of layer $l - 1$,
# for $l = 1, \dots, L-1$, so that its $z^1$ is the input, and the classifier's input has no number. Later
# in the same lecture, $z^l = W_{l:1} x$ is the output of layer $l$. We use the second throughout, with
# $z^0 = x$.
# :::
#
# You can see the classes tighten. For three of the ten classes, the centred {term}`class means <class mean>`
# span a plane; here is what falls onto that plane, layer by layer.

# %% tags=["hide-input"]
three = labels < 3
with torch.random.fork_rng():
    states = {"before training": ten_layers().eval(), "after training": mlp}
with torch.no_grad():
    layers = {
        state: [inputs[three].flatten(1), *net.taps(inputs[three])]
        for state, net in states.items()
    }
compressions = {
    "before training": fresh["MLP"]["D"],
    "after training": profiles["MLP"]["D"],
}
angles = 2 * torch.pi * torch.arange(3, dtype=torch.float64, device=DEVICE) / 3
corners = torch.stack([angles.cos(), angles.sin()], dim=1)


def in_plane(features):
    """Return coordinates (N, 2) in the plane of the class means, turned to one triangle."""
    statistics = ClassStatistics.from_features(features.double(), labels[three])
    means = statistics.centred_means
    plane = torch.linalg.svd(means, full_matrices=False).Vh[:2]
    # Procrustes: the orthogonal map that brings the means closest to the corners.
    left, _, right = torch.linalg.svd((means @ plane.T).T @ corners)
    flat = (features - statistics.global_mean) @ plane.T @ (left @ right)
    return (flat / means.norm()).cpu()


def scatter(ax, flat, layer):
    for k, marker in enumerate("os^"):
        own = labels[three].cpu() == k
        ax.plot(*flat[own].T, marker, markersize=2.5, alpha=0.5, color=COLOURS[k])
    ax.set(title=f"layer {layer}", aspect="equal", xticks=[], yticks=[])
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-planes", "caption": "Features of the digits 0 to 2 in the MLP, at the input and after layers 2, 4, 6, 8 and 10, seen in the plane of their three class means and scaled to the same size."}, "image": {"alt": "Six scatter plots of three classes. At the input the three clouds are wide and touch; after layers two and four they are separate; from layer six on they tighten around the corners of a triangle, and after layer ten they are three small spots."}}
fig, axes = plt.subplots(2, 3, figsize=(7.5, 5))
for ax, depth in zip(axes.flat, (0, 2, 4, 6, 8, 10), strict=True):
    scatter(ax, in_plane(layers["after training"][depth]), depth)
plt.show()

# %% [markdown]
# Six pictures do not show what becomes of a single image, nor how much of this is training. In
# {numref}`fig-layer-by-layer` press *Play* and follow the three large markers. They are the images that, at the
# input, are farthest from the mean of their class; after ten layers they stand with the others. Then set the
# network to *before training* and play again. Random layers do not sort: $D_l$ rises.


# %% tags=["hide-input"]
def farthest(flat, k):
    """The image of class k that is farthest from the mean of its class."""
    own = (labels[three] == k).nonzero().flatten().cpu()
    return own[(flat[own] - flat[own].mean(0)).norm(dim=1).argmax()]


followed = [farthest(in_plane(inputs[three].flatten(1)), k) for k in range(3)]


def draw_layer(layer, network):
    flat = in_plane(layers[network][layer])
    fig, (left, right) = plt.subplots(1, 2, figsize=(5.4, 2.8))
    scatter(left, flat, layer)
    for k, marker in enumerate("os^"):
        edge = {"markersize": 9, "markeredgecolor": "black", "color": COLOURS[k]}
        left.plot(*flat[followed[k]], marker, **edge)
    D = compressions[network].cpu()
    right.semilogy(D, color="0.6")
    right.semilogy(layer, D[layer], "o", color=COLOURS[1], markersize=9)
    right.set(
        title=f"$D_{{{layer}}} = {D[layer]:.2g}$", xlabel="layer", ylim=(0.01, 30)
    )
    right.set_xticks(range(0, 11, 2))
    return fig


def describe_layer(layer, network):
    D = compressions[network][layer].item()
    clouds = "touch each other" if D > 1.2 else "stand apart"
    clouds = clouds if D > 0.05 else "have shrunk to small spots"
    return (
        f"Three classes after layer {layer}, {network}: they {clouds}. D is ⟨{D:.2g}⟩."
    )


explore(
    draw_layer,
    name="layer-by-layer",
    alt=describe_layer,
    caption="Features of the digits 0 to 2 in the MLP, layer by layer, in the plane of their three class means. The "
    "large markers: of each class the image that is farthest from its mean at the input. Right: $D_l$ of all ten classes.",
    labels={"layer": "Layer", "network": "Network"},
    start={"layer": 0, "network": "after training"},
    play="layer",
    layer=[0, 1, 2, 4, 6, 8, 10],
    network=["before training", "after training"],
)

# %% [markdown]
# (sec-ps-line)=
# ## A straight line
#
# Look again at the left of {numref}`fig-layers`. On a logarithmic axis the compression of the MLP is almost a
# straight line: each layer multiplies $D_l$ by about the same number,
#
# $$ D_l \approx \varrho^{\,l} D_0 , \qquad 0 < \varrho < 1 . $$ (eq-straight-line)
#
# He and Su found this *law of data separation*, for $\mathrm{NC}_1^l$, in
# {claim}`networks of many kinds <separation-prevalence>` {cite}`he2023law`. It is an empirical law: for
# nonlinear networks there are models of it, but no proof. So we ask how far it goes. A recorded run has
# trained five MLPs of each kind: with and without batch normalisation, for 20, 60 and 240 epochs.
#
# How should one measure straightness? The correlation of $l$ and $\log \mathrm{NC}_1^l$ is a weak test. A
# parabola with its vertex at the end has $-0.96$. We take the *shares* of the layers, the logarithms of their
# factors. Their *unevenness* is the standard deviation over the mean, for layers 2 to 9.


# %%
networks = recorded("separation-networks").values


def runs_of(task, epochs=60, batch_norm=True):
    """The five networks of one kind."""
    kind = (task, epochs, batch_norm)
    return [
        row
        for row in networks
        if (row["task"], row["epochs"], row["batch_norm"]) == kind
    ]


def shares(row, measure):
    """Logarithm of the factor of each layer."""
    return np.diff(np.log(row[measure]))


def unevenness(rows, measure):
    """Of layers 2 to 9, network by network."""
    middle = np.array([shares(row, measure)[1:9] for row in rows])
    return middle.std(1) / -middle.mean(1)


# %%
KINDS = {
    f"{name} norm, {epochs} epochs": runs_of("digits", epochs, name == "batch")
    for name in ("batch", "no")
    for epochs in (20, 60, 240)
} | {"hybrid, 60 epochs": runs_of("hybrid")}
rows = {}
for kind, five in KINDS.items():
    uneven = [unevenness(five, measure) for measure in ("D", "nc1")]
    line = [np.corrcoef(np.arange(11), np.log(row["nc1"]))[0, 1] for row in five]
    falls = [row["D"][10] / row["D"][0] for row in five]
    spreads = [f(u) for u in uneven for f in (np.mean, np.std)]
    rows[kind] = [*spreads, np.mean(line), np.mean(falls)]
claims.table(["D", "±", "NC1", "±", "corr. NC1", "D₁₀/D₀"], rows)

# %% [markdown]
# With batch normalisation the shares differ by about a fifth, whatever the seed, and training four times
# longer changes little but the slope. Without it they differ by half: the first layers compress, the later
# ones hardly. The correlation hardly sees the difference. In all networks with normalisation the last hidden
# layer does about twice its share.

# %%
normed, bare = runs_of("digits"), runs_of("digits", batch_norm=False)
plain, law = ([unevenness(r, m).mean() for r in (normed, bare)] for m in ("D", "nc1"))
claims.check("separation-equal-shares", plain[0], below=0.25, control=plain[1])
claims.check("separation-nc1-shares", law[0], below=0.25, control=law[1])


def last_share(rows):
    """The share of layer 10 over the mean of layers 2 to 9."""
    steps = np.array([shares(row, "D") for row in rows])
    return steps[:, 9] / steps[:, 1:9].mean(1)


linear = last_share(runs_of("hybrid"))
claims.check("separation-last-share", last_share(normed), above=1.8, control=linear)

# %% [markdown]
# :::{admonition} Slide check: whose measure is it?
# :class: warning slide-check
# :name: slide-check-ps-measure
# Lecture 002 credits $D_l$, the ratio of the traces, to *He & Su. 2022, Tirer et al. (2022)*. He and Su's law
# is about $\operatorname{tr}(\Sigma_W \Sigma_B^\dagger)$, that is NC1 {cite}`he2023law`. The ratio of the traces
# belongs to the second name on the slide {cite}`tirer2023perturbation`. (000 and 001 say:
# *we replace $\mathrm{NC}_1$ with a simpler measure*.)
#
# The two can behave quite differently. In the linear tail of the hybrid, $D_l$ falls by a factor of about
# twenty while $\mathrm{NC}_1^l$ is about halved. An invertible linear map does not change NC1 at all if all the
# spread within classes lies in the span of the centred means. And spread outside of that span, which a linear
# layer can damp, NC1 does not see.
# :::


# %%
def fall(rows, measure, first, last):
    return [row[measure][first] / row[measure][last] for row in rows]


hybrids, untrained = runs_of("hybrid"), runs_of("hybrid", 0)
claims.check(
    "separation-tail-d",
    fall(hybrids, "D", 4, 10),
    above=12,
    control=fall(untrained, "D", 4, 10),
)
claims.check(
    "separation-tail-nc1",
    fall(hybrids, "nc1", 4, 10),
    below=3,
    control=fall(hybrids, "nc1", 0, 4),
)

# %% [markdown]
# **In two sentences.** In our MLPs with batch normalisation all layers but the last compress by nearly the
# same factor, in either measure. That is a finding and not a theorem; in a linear network we can compute it.
#
# (sec-ps-linear)=
# ## The same in a network that can be computed
#
# **Two classes, two layers.** Take four inputs in four dimensions, $e_1$ and $e_2$ in the first class, $e_3$
# and $e_4$ in the second, and call the first layer's matrix $W_1$. The first class has the mean
# $m = \frac12 (e_1 + e_2)$. Its two inputs are $m + \delta$ and $m - \delta$ with
# $\delta = \frac12 (e_1 - e_2)$.
#
# Suppose that training stretches the means by $s$ and leaves the differences at the $\varepsilon$ they started
# from. After the layer the inputs have become $s\, m \pm \varepsilon\, \delta$, up to a rotation. Now count:
#
# - within: $\operatorname{tr} \Sigma_W = \varepsilon^2 \|\delta\|^2 = \frac12 \varepsilon^2$;
# - between: the two means are $s \cdot \frac{1}{\sqrt 2}$ long and at right angles, each at the squared
#   distance $\frac14 s^2$ from the middle, so $\operatorname{tr} \Sigma_B = \frac14 s^2$.
#
# So $D_1 = 2 \varepsilon^2 / s^2$, where $D_0 = 2$. What is $s$? The network fits $W_2 W_1 m = (1, 0)$, which
# takes a factor of $\sqrt 2 = \sqrt n$ in all. Two layers that share it evenly have $s^2 = \sqrt 2$ each:
# $D_1 / D_0 = \varepsilon^2 / \sqrt n$. With $L$ layers it is $n^{1/L}$ in place of $\sqrt n$. That is the law
# of this section. Two words need proof: *evenly*, and *leaves*. The second will turn out half true.
#
# **The setting.** Take a {term}`deep linear network` with $L$ layers, the first $L-1$ square, $d \times d$, the
# last one $K \times d$. There are $N = nK$ orthonormal inputs, the columns of $X$ with $X^\top X = I$, and
# one-hot targets as the columns of $Y$. Let $N = d$, so that the inputs are {term}`whitened` as well,
# $X X^\top = I$. The start is $W_l(0) = \varepsilon Q_l$ with orthogonal $Q_l$. Train to zero loss by small
# steps. This is the wide case of the last chapter, whose gradient is
#
# $$ \nabla_l = W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l-1:1}^\top , \qquad \Phi = Y X^\top , $$
#
# and in which $d - 2K$ singular values of each layer but the last stay at $\varepsilon$ forever.

# %%
n, d = 10, 50
F64 = {"generator": generator, "dtype": torch.float64}
classes = torch.arange(5).repeat_interleave(n)
# Every orthonormal X is this one, rotated.
X = torch.eye(d, dtype=torch.float64)
Y = functional.one_hot(classes).T.double()


def train_linear(depth, scale, *, samples=X, targets=Y, kind="orthogonal", step=0.5):
    """Train a deep linear network to zero loss; return its weights before and after."""
    before = init_weights([len(samples)] * depth + [len(targets)], scale, kind, **F64)
    signal = targets.square().sum(1).max().sqrt() ** (1 / depth)
    lr = step / (depth * signal ** (2 * depth - 2)).item()
    path = gradient_descent(
        before, samples, targets, lr=lr, steps=10**6, every=[], tol=1e-12
    )
    return before, path.final


def profile_linear(weights, samples, labels, metric=feature_compression):
    """Measure the features of layers 0 .. L-1."""
    features = [samples.T]
    for weight in weights[:-1]:
        features.append(features[-1] @ weight.T)
    return torch.stack([metric(z, labels) for z in features])


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-linear", "caption": "Compression per layer in deep linear networks with orthonormal inputs, $K = 5$, $n = 10$, $d = 50$. Left: three depths, $\\varepsilon = 0.5$. Right: three scales, $L = 4$. Dashed: lines with the predicted factor {eq}`eq-decay`."}, "image": {"alt": "Two panels of D on a logarithmic axis against the layer, from 11 at the input. Left, markers for depths 6, 8 and 10 fall along straight lines by a factor of five to six per layer, the deeper the slightly flatter. Right, markers for scales 0.5, 0.25 and 0.125 fall the more steeply the smaller the scale, to 0.03, 0.0005 and 0.00001 at layer three. Dashed lines go through the markers."}}
runs = {}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.4))
for ax, cases in zip(
    axes,
    ([(6, 0.5), (8, 0.5), (10, 0.5)], [(4, 0.5), (4, 0.25), (4, 0.125)]),
    strict=True,
):
    for (L, scale), marker in zip(cases, "os^", strict=True):
        before, after = runs[L, scale] = train_linear(L, scale)
        profile = profile_linear(after, X, classes)
        ax.semilogy(profile, marker, markersize=5, label=f"L = {L}, ε = {scale}")
        decay = predicted_decay(scale, L, n)
        line = profile[0] * decay ** torch.arange(L, dtype=torch.float64)
        ax.semilogy(line, "k--", linewidth=1)
    ax.set(xlabel="layer", ylabel="$D_l$")
    ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# Straight lines, and steeper for smaller $\varepsilon$. Zero loss alone does not make them: replace $W_2$
# by $W_2 M^{-1}$ and $W_1$ by $M W_1$, with any invertible $M$, and $D_1$ is what you like. Among all these
# solutions gradient descent selects. How?
#
# :::{admonition} Slide check: assumptions that exclude each other
# :class: warning slide-check
# :name: slide-check-ps-assumptions
# Lecture 002 asks for $d \ge N$ inputs that are orthonormal up to $\theta / N$, and of the trained weights three
# things:
#
# 1. they are the *minimum-norm solution*: it reads $W_{L:1} = (X^\top X)^{-1} X^\top$ and must be
#    $Y (X^\top X)^{-1} X^\top$, as only a $K \times d$ matrix can be meant;
# 2. they are *balanced*: $W_{l+1}^\top W_{l+1} = W_l W_l^\top$ for $l \le L - 2$, and up to $\delta$ at the top;
# 3. they are *approximately of low rank*: the singular values $K + 1$ to $d - K$ of every layer but the last
#    lie between $\varepsilon - \rho$ and $\varepsilon$, with some $\rho < \varepsilon$.
#
# We derive 2 and 3 for descent from an orthogonal start, in the whitened case, $X X^\top = I$, of the lecture's
# part on dynamics. The two parts meet only at $N = d$: whitened inputs need $N \ge d$. For $d > N$ we find only
# $d - 3K$ singular values at $\varepsilon$, and descent ends at a distance of order $\varepsilon$ from the first
# assumption ({ref}`an exercise <ex-separation-more-dimensions>`).
# :::
#
# **Evenly: layers share their singular values.** Follow gradient *flow*, the limit of small steps. Both
# $\nabla_l W_l^\top$ and $W_{l+1}^\top \nabla_{l+1}$ are
#
# $$ W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l:1}^\top . $$
#
# So the two ends of
#
# $$
# \begin{aligned}
# \tfrac{d}{dt} \big( W_l W_l^\top \big) &= - \nabla_l W_l^\top - W_l \nabla_l^\top \\
#   &= - W_{l+1}^\top \nabla_{l+1} - \nabla_{l+1}^\top W_{l+1}
#   = \tfrac{d}{dt} \big( W_{l+1}^\top W_{l+1} \big)
# \end{aligned}
# $$
#
# agree, and $W_{l+1}^\top W_{l+1} - W_l W_l^\top$, the lack of {term}`balancedness`, is conserved
# {cite}`arora2018optimization`. At an orthogonal start it is zero for $l < L - 1$. At the top it is not, since
# $W_L$ is wide:
#
# $$
# W_L^\top W_L - W_{L-1} W_{L-1}^\top = - \varepsilon^2 (I - P_0) ,
# $$ (eq-top-balance)
#
# where $P_0$ projects onto the row space of $W_L(0)$. So the first $L - 1$ layers have the same singular
# values at all times. And $W_l W_l^\top = W_{l+1}^\top W_{l+1}$ lets us choose their singular vectors such
# that they match. With the diagonal matrix $\Lambda$ of these values, $W_{l:1} = U_l \Lambda^l V_1^\top$
# for $l < L$, where the exponent is a power.
#
# **The signal.** At zero loss, $W_{L:1} = \Phi$, whose $K$ singular values are $\sqrt n$. Spread evenly over
# $L$ layers, this asks of each for $K$ singular values
#
# $$ s = n^{1/(2L)} . $$
#
# **The noise.** All other directions carry the differences within classes, and nothing moves most of them:
# their singular values are $\varepsilon$. So each layer multiplies the variance between classes by $s^2$
# and the variance within by $\varepsilon^2$, and
#
# $$ \frac{D_{l+1}}{D_l} \approx \frac{\varepsilon^2}{s^2} = \frac{\varepsilon^2}{n^{1/L}} . $$ (eq-decay)
#
# This is the published law up to constants {cite}`wang2023understanding`. And the constant is not one. Of the
# $d - K$ directions within classes only $d - 2K$ are sure to keep $\varepsilon$. The slide's third assumption
# leaves out the other $K$ as well. They make the difference.
#
# **Leaves: what the last layer turns away from.** Where do the other $K$ come from? At the start, all rows of
# $W_L$ lie in one $K$-dimensional space $R_0$. Training turns them into another one, $R$, at angles
# $\theta_1, \dots, \theta_K$ to the first. Read {eq}`eq-top-balance` as
# $W_{L-1} W_{L-1}^\top = W_L^\top W_L + \varepsilon^2 (I - P_0)$: what the last layer does not see is scaled by
# $\varepsilon$, but only as far as it was not in $R_0$ either. A direction that the last layer has left by an
# angle $\theta$ keeps $\varepsilon \cos \theta$.
#
# Watch it in the smallest network with all three kinds of directions: $K = 2$ classes, $n = 3$ inputs each,
# $d = 6$, four layers. Press *Play* in {numref}`fig-turning`.


# %%
def row_space(head):
    """An orthonormal basis of the rows of the last layer, as columns."""
    return torch.linalg.qr(head.T).Q


toy_start = init_weights([6] * 4 + [2], 0.3, **F64)
toy_X = torch.eye(6, dtype=torch.float64)
toy_Y = functional.one_hot(torch.arange(2).repeat_interleave(3)).T.double()
MOMENTS = [0, 300, 600, 800, 1000, 1200, 1400, 1600, 1800, 2000, 2500, 4000]
toy = gradient_descent(
    toy_start, toy_X, toy_Y, lr=0.005, steps=4000, every=MOMENTS, record_weights=True
)
cosines, values = [], []
for moment in range(len(MOMENTS)):
    now = toy.weights(moment)
    cosines.append(
        torch.linalg.svdvals(row_space(toy_start[-1]).T @ row_space(now[-1]))
    )
    values.append(torch.linalg.svdvals(now[0]))
cosines, values = torch.stack(cosines).clamp(max=1), torch.stack(values)
claims.check(
    "separation-turned",
    values[-1, 4:] / (0.3 * cosines[-1]),
    1,
    rel=0.03,
    control=values[-1, 2:4] / (0.3 * cosines[-1]),
)


# %% tags=["hide-input"]
def draw_turning(step):
    now = MOMENTS.index(step)
    fig, axes = plt.subplots(1, 3, figsize=(6, 2.4), width_ratios=[1, 1, 1.4])
    for i, ax in enumerate(axes[:2]):
        cos = cosines[now, i].item()
        sin = (1 - cos**2) ** 0.5
        ax.plot([0, 1], [0, 0], "k--")
        ax.plot([0, cos], [0, sin], "-", color=COLOURS[0], linewidth=3)
        ax.plot([0, -sin * cos], [0, cos * cos], ":", color=COLOURS[1], linewidth=3)
        ax.set(title=f"θ = {np.degrees(np.arccos(cos)):.0f}°", aspect="equal")
        ax.set(xlim=(-0.7, 1.1), ylim=(-0.1, 1.1), xticks=[], yticks=[])
    for i, style in enumerate(["-", "-", "-.", "-.", ":", ":"]):
        axes[2].plot(MOMENTS, values[:, i], style, color=COLOURS[(0, 2, 1)[i // 2]])
    axes[2].axvline(step, color="0.4", linewidth=1)
    axes[2].set(ylim=(0, 1.3), xlabel="step", title="singular values, $W_1$")
    return fig


def describe_turning(step):
    now = MOMENTS.index(step)
    large, small = values[now, 0].item(), values[now, 5].item()
    return (
        f"After {step} steps the largest singular value is ⟨{large:.2f}⟩ and the smallest ⟨{small:.3f}⟩; "
        f"the larger angle has the cosine ⟨{cosines[now, 1].item():.2f}⟩."
    )


explore(
    draw_turning,
    name="turning",
    alt=describe_turning,
    caption="The two planes in which the last layer turns, and what becomes of the first layer's singular values. "
    "Dashed: a line of $R_0$. Thick: the line of $R$ that has left it by $\\theta$. Dotted: the direction at right "
    "angles to it, drawn $\\cos \\theta$ long, which keeps $\\varepsilon \\cos \\theta$. Right: two values grow "
    "(solid), two stay at $\\varepsilon = 0.3$ (dash-dotted), two sink (dotted).",
    labels={"step": "Step"},
    start={"step": 4000},
    play="step",
    step=MOMENTS,
)

# %% [markdown]
# :::{prf:theorem} Compression per layer
# :label: thm-decay
#
# In this setting, with $d \ge 2K$ and fixed $Q_1, \dots, Q_L$, let gradient flow from $\varepsilon Q_l$
# converge to weights with zero loss, and let $\theta_1, \dots, \theta_K$ be the {term}`principal angles` between
# the row spaces of the last layer before and after. (If $d = 2K$, suppose that the largest $\cos \theta_i$
# stays above a positive constant.) Then, as $\varepsilon \to 0$, for $l = 0, \dots, L - 2$
#
# $$
# \begin{aligned}
# \frac{D_{l+1}}{D_l} = {} & \frac{\varepsilon^2}{n^{1/L}} \cdot
#   \frac{d - 2K + \sum_i \cos^{2(l+1)} \theta_i}{d - 2K + \sum_i \cos^{2l} \theta_i} \\
#   & \cdot \big( 1 + O(\varepsilon^2) \big) .
# \end{aligned}
# $$ (eq-decay-exact)
# :::
#
# :::{prf:proof}
# Let $A = W_{L-1} W_{L-1}^\top$ at the end of training. By {eq}`eq-top-balance`,
# $A = W_L^\top W_L + \varepsilon^2 (I - P_0)$.
#
# *The last layer stays bounded.* Let $\sigma$ be its largest singular value, with $W_L^\top u = \sigma v$
# for unit vectors $u$, $v$. Since $W_{L-1:1} W_{L-1:1}^\top = A^{L-1}$, zero loss says
# $n I = W_L A^{L-1} W_L^\top$, so
#
# $$ n = \sigma^2\, v^\top A^{L-1} v \ge \sigma^2 (v^\top A v)^{L-1} \ge \sigma^{2L} , $$
#
# by Jensen's inequality for the eigenvalues of $A$, and as $A - W_L^\top W_L$ is positive semidefinite.
#
# *Large singular values.* Hence $n I = (W_L W_L^\top)^L + O(\varepsilon^2)$. So
# $W_L W_L^\top = n^{1/L} I + O(\varepsilon^2)$, and $A$ has $K$ eigenvalues $s^2 + O(\varepsilon^2)$.
#
# *Small ones.* With the large ones split off, the other eigenvalues of $A$ are those of
# $\varepsilon^2 (I - P_0)$ restricted to the orthogonal complement of the row space $R$ of $W_L$, up to
# $O(\varepsilon^4)$. Write $R_0$ for the row space at the start. On the vectors orthogonal to both $R$ and
# $R_0$, $d - 2K$ dimensions, $I - P_0$ is the identity: eigenvalue $\varepsilon^2$. What is left are $K$
# planes, in each of which a line of $R$ and a line of $R_0$ meet under the angle $\theta_i$. (If
# $\theta_i = 0$, one more direction is orthogonal to both, and $\cos \theta_i = 1$ counts it.) The unit
# vector orthogonal to the first line has the squared component $\sin^2 \theta_i$ along the second. So it is
# left with $1 - \sin^2 \theta_i$: eigenvalue $\varepsilon^2 \cos^2 \theta_i$. The sum of the $l$-th powers
# of the small eigenvalues is therefore $\varepsilon^{2l} \big( d - 2K + \sum_i \cos^{2l} \theta_i \big)$ up
# to a factor $1 + O(\varepsilon^2)$, whatever the angles, as $d - 2K > 0$ of them are $\varepsilon^2$
# exactly. (If $d = 2K$, because the largest cosine does not vanish in the limit.)
#
# *Which inputs meet which.* The rows of $\Phi = W_L W_{L-1:1}$ span the class means. A row is the sum of a
# part of size $s^L$ along the large right singular vectors of $W_{L-1:1}$ and one of size
# $O(\varepsilon^L)$ along the small ones ($W_L$ itself is $O(\varepsilon)$ there, by {eq}`eq-top-balance`).
# So the means lie along the large singular vectors, and the differences within classes along the small
# ones, up to angles $O(\varepsilon^L)$.
#
# *Traces.* The differences within classes of orthonormal inputs have equal variance in all $d - K$
# directions orthogonal to the means. With $P$ the projection onto these, $\operatorname{tr} \Sigma_W^l$ is
# proportional to $\operatorname{tr} \big( P (W_1^\top W_1)^l \big)$, in which the small singular values
# contribute the sum above and the large ones $s^{2l}$ times a squared angle, at most
# $O(\varepsilon^{2L}) = O(\varepsilon^2)\, \varepsilon^{2l}$ as $l \le L - 1$. And
# $\operatorname{tr} \Sigma_B^l \propto s^{2l}$ up to $1 + O(\varepsilon^2)$. Divide.
# :::
#
# **In two sentences.** A layer multiplies the differences between classes by $s$ and most differences within
# by $\varepsilon$; in $K$ directions, those that the last layer turned away from, it is
# $\varepsilon \cos \theta_i$. This costs a factor that is at most one and that no small $\varepsilon$ removes.
#
# For networks that start from the same $Q_l$ turn their last layer in nearly the same way, the smaller ones
# only later. So, although its derivation suggests it, {eq}`eq-decay` is not the limit of small $\varepsilon$.
# What does remove the factor is a large $d / K$. Depth helps as well.
#
# We can test that. A recorded run has trained 54 networks to zero loss, with $K = 5$ and $d = nK$. It has all
# combinations of $\varepsilon \in \{0.1, 0.2, 0.3\}$, $L \in \{4, 6, 8\}$ and $n \in \{5, 10, 20\}$, with and
# without a factor 10 on the output. A factor $\alpha$ has the same effect as targets divided by it: put
# $n / \alpha^2$ for $n$. (The longest run took more than six million steps, on the $10 \times 10$ cores of the
# last chapter. `python -m lecturelib.experiments run separation-decay` repeats them all.)
#
# Zero has to mean zero here. In the features of the last layer the noise has the variance
# $\varepsilon^{2(L-1)}$ per direction, down to $10^{-14}$, and a loss of $10^{-12}$ leaves more than that
# in the wrong directions. So these runs went to $10^{-20}$.

# %%
record = recorded("separation-decay")
laws = [
    predicted_decay(
        row["scale"], row["depth"], row["samples_per_class"], row["output_scale"]
    )
    for row in record.values
]
ratios = [torch.tensor(row["ratios"]) for row in record.values]
corrections = [torch.tensor(row["corrections"]) for row in record.values]
plain = [ratio / law for ratio, law in zip(ratios, laws, strict=True)]
exact = [a / b for a, b in zip(plain, corrections, strict=True)]
print("networks:", len(record.values))
claims.show("largest loss", max(row["loss"] for row in record.values))
claims.check(
    "separation-decay", torch.cat(exact), 1, rel=0.03, control=torch.cat(plain).min()
)
claims.check(
    "separation-decay-plain",
    torch.cat(plain).min(),
    above=0.9,
    below=0.93,
    control=torch.cat(exact).min(),
)


# %% [markdown]
# How do the gaps depend on $\varepsilon$? For each depth, $n$ and output scale we fit a power to the three
# scales, layer by layer. The correction itself tells the angles: for $l = 0$ it is
# $1 - \sum_i \sin^2 \theta_i / (d - K)$.

# %%
settings = {}
for i, row in enumerate(record.values):
    setting = row["depth"], row["samples_per_class"], row["output_scale"]
    settings.setdefault(setting, []).append(i)


def orders(gaps):
    """The power of ε in each layer's gap, setting by setting."""
    return [
        np.polyfit(
            np.log([0.3, 0.2, 0.1]), torch.stack([gaps[i] for i in rows]).log(), 1
        )[0]
        for rows in settings.values()
    ]


without, corrected = (
    np.concatenate(orders([(1 - g).abs() for g in gaps])) for gaps in (plain, exact)
)
claims.check("separation-decay-order", corrected, 2, abs=0.4, control=without)
claims.show("orders, least and largest", corrected.min(), corrected.max(), digits=3)
turned = {4: [], 6: [], 8: []}
for row, factors in zip(record.values, corrections, strict=True):
    width = 5 * row["samples_per_class"]
    turned[row["depth"]].append((1 - factors[0]) * (width - 5) / 5)
turned = {depth: torch.stack(values) for depth, values in turned.items()}
claims.table(
    ["mean sin² θ"], {f"L = {depth}": [v.mean()] for depth, v in turned.items()}
)
claims.check(
    "separation-correction-depth",
    turned[8].mean() / turned[4].mean(),
    below=0.45,
    control=turned[4][:6].mean() / turned[4][-6:].mean(),
)
distances = [[1 - corrections[i][0] for i in rows] for rows in settings.values()]
remains = [[(1 - exact[i][0]).abs() for i in rows] for rows in settings.values()]
claims.check(
    "separation-correction-stays",
    [max(row) / min(row) for row in distances],
    below=1.3,
    control=[max(row) / min(row) for row in remains],
)

# %% [markdown]
# A picture of the first layer, in four layers without output scale:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-grid", "caption": "Relative gap of the first layer's factor, without output scale and with $L = 4$, to {eq}`eq-decay` (open) and to {eq}`eq-decay-exact` (filled). The first does not vanish with $\\varepsilon$; the second falls like $\\varepsilon^2$ (dotted)."}, "image": {"alt": "Gaps against scale on logarithmic axes, for five, ten and twenty samples per class: open markers are flat at about 0.07, 0.023 and 0.012; filled ones fall from between 0.004 and 0.009 at scale 0.3 to below 0.001 at scale 0.1, parallel to a dotted line of slope two."}}
fig, right = plt.subplots(figsize=(5, 3.2))
for size, marker, colour in zip((5, 10, 20), "os^", COLOURS, strict=False):
    rows = settings[4, size, 1]
    style = {"marker": marker, "color": colour, "ls": "none"}
    gaps = [[1 - gap[i][0] for i in rows] for gap in (plain, exact)]
    right.loglog([0.3, 0.2, 0.1], gaps[0], mfc="none", markersize=5, **style)
    right.loglog([0.3, 0.2, 0.1], gaps[1], label=f"n = {size}", markersize=5, **style)
guide = np.array([0.1, 0.3])
right.loglog(guide, 0.05 * guide**2, "k:", linewidth=1)
right.set(xlabel="ε", title="relative gap", xticks=[0.1, 0.2, 0.3])
right.xaxis.set_major_formatter("{x:.1f}")
right.xaxis.set_minor_formatter("")
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# With the correction the prediction is within 3 % in all 54 networks and all layers. Its error falls like
# $\varepsilon^2$ in every layer, at all depths and output scales. Without it, a layer is off by up to 9 %; for
# $n = 5$ and $L = 4$ by 7 % even at $\varepsilon = 0.1$, and no smaller start would help. Deeper networks turn
# their last layer less, and the correction tends to one.
#
# :::{admonition} Slide check: two bounds for one theorem
# :class: warning slide-check
# :name: slide-check-ps-bounds
# For the same theorem, 001 bounds $D_{l+1} / D_l$ by $2 (\sqrt K + 1)\, \varepsilon^2$ and 000 by
# $2 (\sqrt{2K} + 1)\, \varepsilon^2$. Both hold and both are loose: by {eq}`eq-decay-exact` the ratio is
# below $\varepsilon^2$ for small $\varepsilon$ (without a factor on the output), and for $K = 5$ the bounds
# allow 6.5 and 8.3 times that. At $\varepsilon = \frac12$, on the left of {numref}`fig-linear`, both exceed
# 1 and say nothing.
# :::
#
# :::{admonition} Slide check: two constants for balancedness
# :class: warning slide-check
# :name: slide-check-ps-balance
# 000 and 001 build the theorem up over three slides each, some with
#
# $$ \| W_L^\top W_L - W_{L-1} W_{L-1}^\top \|_F \le \varepsilon^2 \sqrt{d - K} , $$
#
# others with $\varepsilon^2 \sqrt{d - 2K}$. By {eq}`eq-top-balance` the left side is
# $\varepsilon^2 \| I - P_0 \|_F = \varepsilon^2 \sqrt{d - K}$, at the start exactly, and later up to the
# size of the steps. The second is violated at the start already.
# :::

# %%
tightness = []
for (_, scale), (_, after) in runs.items():
    profile = profile_linear(after, X, classes)
    tightness.append((profile[1:] / profile[:-1]).max() / scale**2)
with_factor = [row for row in record.values if row["output_scale"] == 10]
scaled = [max(row["ratios"]) / row["scale"] ** 2 for row in with_factor]
claims.check("separation-bounds", tightness, below=1, control=scaled)
claims.show("the bounds at scale 1/2", 2 * (5**0.5 + 1) / 4, 2 * (10**0.5 + 1) / 4)
before, after = runs[4, 0.25]
imbalance = [
    (W[-1].T @ W[-1] - W[-2] @ W[-2].T).norm().item() / 0.25**2 for W in (before, after)
]
slide = (d - 10) ** 0.5
claims.check("separation-balance", imbalance, (d - 5) ** 0.5, rel=0.01, control=slide)

# %% [markdown]
# (sec-ps-angles)=
# ## Angles between the classes
#
# **Orthonormal inputs.** The class means start at right angles, and every layer stretches all of them by about
# $s$. So they stay at right angles, $S_l = 1$, up to $O(\varepsilon^2)$. What is the next term? It comes from
# $P_0$ in {eq}`eq-top-balance`. Look only at the $K$ large directions, in the basis of the classes, and let
# $b$ be what $I - P_0$ is there, a $K \times K$ matrix.
#
# - Zero loss says $n I = W_L A^{L-1} W_L^\top$ with $A = W_{L-1} W_{L-1}^\top$. On these directions, therefore,
#   $W_L^\top W_L = n A^{-(L-1)}$, up to $O(\varepsilon^{2L})$.
# - {eq}`eq-top-balance` says $A = W_L^\top W_L + \varepsilon^2 b$. Put in the first and multiply by $A^{L-1}$:
#
#   $$ A^L = n I + \varepsilon^2\, b\, A^{L-1} . $$ (eq-large)
#
# - To first order in $\varepsilon^2$ this is $A = s^2 \big( I + \frac{\varepsilon^2}{L s^2}\, b \big)$.
# - The Gram matrix of the class means after layer $l$ is a multiple of $A^l$. Its cosines are, again to first
#   order, $\frac lL \frac{\varepsilon^2}{s^2}\, b_{kk'}$. Hence
#
# $$
# 1 - S_l \approx \frac lL \, \frac{\varepsilon^2}{s^2} \, \max_{k \ne k'} b_{kk'} .
# $$ (eq-closing)
#
# From right angles the classes *close* a little, linearly in the number of layers. A recorded run has followed
# the flow for four pairs of $L$ and $\varepsilon$, three starts each.

# %%
rows, by_formula, by_count = {}, [], []
for row in recorded("separation-angles").values:
    depth, scale = row["depth"], row["scale"]
    b, found = torch.tensor(row["overlap"]), torch.tensor(row["closing"])
    layer, largest = torch.arange(1, depth), (b - b.diag().diag()).max()
    formula = layer / depth * scale**2 / 10 ** (1 / depth) * largest
    by_formula.append(found / formula)
    by_count.append(found / formula * (depth - 1) / depth)
    if row["seed"] == 0:
        rows[f"L = {depth}, ε = {scale}"] = [
            found[0],
            formula[0],
            found[-1],
            formula[-1],
        ]
heads = ["1 - S, layer 1", "formula", "1 - S, layer L-1", "formula"]
claims.table(heads, rows, digits=3)
by_formula, by_count = torch.cat(by_formula), torch.cat(by_count)
claims.check("separation-s", by_formula, 1, rel=0.02, control=by_count)

# %% [markdown]
# Lecture 002 defines $S_l$ in another way: with *centred* means, $\bar z_k^l - \bar z^l$, and with the absolute
# value of the cosine. It also states a theorem by which $S_l$ approaches one in the last layers. The two
# cannot hold together. Centred means sum to zero, so for $K$ classes the largest absolute cosine is at least
# $\frac{1}{K-1}$ ({ref}`an exercise <ex-separation-cap>`).
#
# :::{admonition} Slide check: which $S_l$?
# :class: warning slide-check
# :name: slide-check-ps-separation
# The slide's version never exceeds $1 - \frac{1}{K-1} = 0.75$, whatever the features.
# {eq}`eq-compression`, without centring and without absolute value, is near one for the same features. Only
# that can satisfy the theorem.
# :::

# %%
_, after = runs[4, 0.125]
uncentred = profile_linear(after, X, classes, feature_separation)
centred = profile_linear(
    after, X, classes, lambda z, y: feature_separation(z, y, centred=True)
)
claims.check("separation-s-slide", centred, 0.75, abs=0.01, control=uncentred)

# %% [markdown]
# **Nearly orthonormal inputs.** Does separation *grow*, as 002 says, at a sub-linear rate? For that the classes
# must not be at right angles to begin with. Let the columns of $M$ be the class means as the $K$ large right
# singular directions see them.
#
# - Each layer multiplies these by $\Lambda$. After layer $l$ their Gram matrix is $M^\top \Lambda^{2l} M$.
# - After layer $L$ the mean of class $k$ is $e_k$, as the loss is zero. So $M^\top \Lambda^{2L} M = I$, up to
#   $O(\varepsilon^2)$: the matrix $Q = \Lambda^L M$ is orthogonal.
# - Put $M = \Lambda^{-L} Q$ into the first line: it is $Q^\top \Lambda^{2(l - L)} Q$, that is
#   $G_0^{1 - l/L}$ with $G_0 = M^\top M = Q^\top \Lambda^{-2L} Q$.
#
# If $G_0$ is close to a multiple of $I$, its off-diagonal part shrinks in proportion:
#
# $$ 1 - S_l \propto 1 - \frac lL . $$ (eq-separation)
#
# This starts at layer 1. At the input the means also have parts that the large directions do not see, and
# these are scaled away by $\varepsilon$ in the first layer. And it needs $\varepsilon^2 / s^2$, the
# {eq}`eq-closing` of a perfect input, to be small against the angles that the input brings. With $L = 8$,
# $\varepsilon = 0.3$ and little noise it is not, and the law fails.
#
# Fifty inputs in 80 dimensions, orthonormal up to noise of 0.02 per entry:

# %%
L, scale = 5, 0.1
near = init_weights([50, 80], **F64)[0]  # 50 orthonormal columns
near = near + 0.02 * torch.randn(80, 50, **F64)
near_start, near_end = train_linear(L, scale, samples=near)
separation = profile_linear(near_end, near, classes, feature_separation)
compression = profile_linear(near_end, near, classes)

_, larger = train_linear(L, 2 * scale, samples=near)
wider = profile_linear(larger, near, classes, feature_separation)

# %% [markdown]
# As a control for the linear fall, the network with orthonormal inputs above, where $1 - S_l$ rises.

# %%
layer = torch.arange(L)
per_layer = (1 - separation)[1:] / (L - layer[1:])
other = (1 - uncentred)[1:] / (4 - layer[1:4])
claims.check(
    "separation-linear-rate",
    per_layer.max() / per_layer.min(),
    below=1.2,
    control=other.max() / other.min(),
)
double = profile_linear(larger, near, classes)[-1]
claims.check(
    "separation-last-layer",
    (1 - wider[-1]) / (1 - separation[-1]),
    above=0.7,
    below=1.4,
    control=double / compression[-1],
)

low, high = 4 ** (-1 / L), 2 ** (1 / L)
ratios, untrained = (
    profile[1:] / profile[:-1] / predicted_decay(scale, L, n)
    for profile in (compression, profile_linear(near_start, near, classes))
)
claims.check("separation-two-sided", ratios, above=low, below=high, control=untrained)

# %% [markdown]
# :::{admonition} Slide check: a bound that says nothing here
# :class: warning slide-check
# :name: slide-check-ps-vacuous
# The {claim}`lectures' bound <separation-s-bound>` on the angles is linear in $l$ too,
#
# $$ S_l \ge 1 - \frac{32 (\theta + 4 \delta)}{L} (L - l - 1) + o(1) , $$
#
# with $\theta$ and $\delta$ from the assumptions: no entry of $X^\top X - I$ is larger than $\theta / N$. (No
# relation to the angles $\theta_i$.) For our inputs $\theta$ is about 7, and the bound says that $S_1$ is
# at least about $-135$. It is true and says nothing. For it to say $S_1 \ge 0$, the noise would have to be more
# than a hundred times smaller. Also, at $l = L - 1$ it leaves only $o(1)$, where {eq}`eq-separation` leaves the
# share $\frac1L$, and so do our runs at two scales. Its layers may be counted in another way; we could confirm
# neither that nor the constant.
#
# For the ratio of $D_l$ the lecture has the bounds $c\, \varepsilon^2 / (\kappa\, (4n)^{1/L})$ and
# $\kappa\, \varepsilon^2 / (c\, (n/2)^{1/L})$ with constants $c$ and $\kappa$ that it does not give. Here
# $c = \kappa = 1$ will do.
# :::

# %%
theta = 50 * (near.T @ near - torch.eye(50)).abs().max()
claims.show("θ, and the bound on S₁ for δ = 0", theta, 1 - 32 * theta / 5 * 3)

# %% [markdown]
# (sec-ps-cost)=
# ## What steep lines cost
#
# If a smaller $\varepsilon$ separates faster from layer to layer, why not start at $10^{-3}$? Because the
# origin is a saddle point, and the closer one starts the longer one stays. While the weights are of size
# $\varepsilon$, a gradient is a product of $L - 1$ of them. Put $W_l = \varepsilon \widehat W_l$: the flow
# is $\frac{d}{dt} \widehat W_l = \varepsilon^{L-2}\, \widehat W_{L:l+1}^\top \Phi\, \widehat
# W_{l-1:1}^\top$ plus higher powers. So $\varepsilon$ only sets the clock. For $L \ge 3$ the rescaled flow
# without the higher powers grows beyond all bounds in a finite time, which does not depend on
# $\varepsilon$, if the correlation $\langle \Phi, \widehat W_{L:1} \rangle$ is or becomes positive. (Call
# it $f$. Then $\frac{d}{dt} \| \widehat W \|^2 = 2 \varepsilon^{L-2} L f$, summed over the layers, and
# $f / \| \widehat W \|^L$ never falls.) Just before, the weights are of size one, and the plateau is over.
# The {term}`time of escape <escape time>` is
#
# $$ T(\varepsilon) \propto \varepsilon^{-(L-2)} . $$ (eq-escape)
#
# All scales run at once, as a stack of networks. `path.reached` is the first step at which each one's loss
# is at most `tol`, here half of the loss at zero; the $K$ directions escape one after the other, each after
# a time of this order.

# %%
ESCAPES = {3: [0.2, 0.1, 0.05, 0.025], 4: [0.3, 0.2, 0.15, 0.1]}
half = 0.5 * Y.square().sum().item() / 2
escapes, exponents = {}, []
for L, scales in ESCAPES.items():
    unit = init_weights([d] * L + [5], **F64)
    sizes = torch.tensor(scales, dtype=torch.float64)[:, None, None]
    small = [sizes * W for W in unit]
    path = gradient_descent(small, X, Y, lr=0.02, steps=10_000, every=[], tol=half)
    escapes[L] = path.reached
    times = path.reached.double().log()
    exponents.append(np.polyfit(np.log(scales), times, 1)[0])
three, four = exponents
claims.check("separation-escape-3", three, -1, abs=0.1, control=four)
claims.check("separation-escape-4", four, -2, abs=0.1, control=three)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-escape-time", "caption": "The price of a small start. Left: loss during training for $L = 4$. Right: steps until half of the loss is gone, with lines of slope $-(L-2)$."}, "image": {"alt": "Left, three curves of the loss against the step: each stays on a plateau at 25 and then drops to zero in a few steep stairs, within about 50 steps for scale 0.5, 200 for 0.25 and 750 for 0.125. Right, steps against scale on logarithmic axes for three and four layers, on straight lines of slope minus one and minus two."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.3))
unit = init_weights([d] * 4 + [5], **F64)
sizes = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64)
small = [sizes[:, None, None] * W for W in unit]
path = gradient_descent(small, X, Y, lr=0.02, steps=1500)
for size, losses, style in zip(sizes, path["loss"].T, ("-", "--", ":"), strict=True):
    left.plot(path.steps, losses, style, label=f"ε = {size.item()}")
left.set(xlabel="step", ylabel="loss", ylim=(0, 27))
left.legend()
for (L, reached), marker in zip(escapes.items(), "os", strict=True):
    scales = np.array(ESCAPES[L])
    (points,) = right.loglog(scales, reached, marker, label=f"L = {L}")
    line = reached[0].item() * (scales / scales[0]) ** (2 - L)
    right.loglog(scales, line, "--", color=points.get_color(), linewidth=1)
right.set(xlabel="ε", ylabel="steps", xticks=[0.03, 0.1, 0.3])
right.xaxis.set_major_formatter("{x}")
right.xaxis.set_minor_formatter("")
right.legend()
plt.show()

# %% [markdown]
# With two layers there is no power: the escape is logarithmic. With ten, halving $\varepsilon$ costs a
# factor of 256. An $\varepsilon$ of 0.5 at $L = 10$, as in {numref}`fig-linear`, is a compromise.
#
# **Does the start have to be orthogonal?** Normal and uniform weights of the same expected size have
# singular values spread over $(0, 2\varepsilon)$ in place of a single one, and the theorem does not apply.
# The lines stay nearly straight, and here become slightly *steeper*: three networks of each kind, $L = 6$,
# $\varepsilon = 0.5$.

# %%
factors = {}
for kind in ("orthogonal", "normal", "uniform"):
    trained = [train_linear(6, 0.5, kind=kind)[1] for _ in range(3)]
    draws = torch.stack([profile_linear(after, X, classes) for after in trained])
    factors[kind] = draws[:, 1:] / draws[:, :-1]
even = {kind: f.amax(1) / f.amin(1) for kind, f in factors.items()}
slopes = {kind: f.log().mean(1).exp() for kind, f in factors.items()}
claims.table(
    ["factor per layer", "largest over smallest"],
    {kind: [slopes[kind].mean(), even[kind].max()] for kind in factors},
)
# The same function with layers out of balance: M doubles the signal after layer 1.
first, second, *others = trained[-1]
signal = torch.linalg.svd(first).U[:, :5]
M = torch.eye(d, dtype=torch.float64) + signal @ signal.T
profile = profile_linear([M @ first, second @ M.inverse(), *others], X, classes)
control = (profile[1:] / profile[:-1]).max() / (profile[1:] / profile[:-1]).min()
claims.check(
    "separation-kinds", torch.cat([*even.values()]), below=1.6, control=control
)
# %% [markdown]
# (sec-ps-images)=
# ## Is it about the images?
#
# Three tests, each with the MLP from five starts, from the recorded run.
#
# **Random labels.** Shuffle the labels and train until the network knows them by heart.

# %%
memory, fresh_memory = runs_of("labels", 150), runs_of("labels", 0)
memorised = [row["accuracy"][0] for row in memory]
claims.check(
    "separation-random-fit",
    memorised,
    above=0.95,
    control=[row["accuracy"][0] for row in fresh_memory],
)
steps = [np.diff(row["D"]).max() for row in memory]
steps_true = [np.diff(row["D_ten"]).min() for row in memory]
claims.check("separation-random", steps, below=0, control=steps_true)
claims.check("separation-random-true", steps_true, above=0, control=steps)
claims.check(
    "separation-random-fall",
    fall(memory, "D", 0, 10),
    above=100,
    control=fall(fresh_memory, "D", 0, 10),
)

# %% [markdown]
# $D_l$ falls in every layer, and more than a hundredfold in all, for classes whose members have nothing in
# common. At the same time the network *mixes* the true classes, more with every layer. Separation is about
# the labels one trains on.
#
# **New images, and shifted ones.** Lecture 003 evaluates a network on test images and on
# {claim}`CIFAR-10.2 <separation-cifar10-2>`, which was collected years later. It finds slightly less collapse
# under the shift, and notes *worse performance*. We have the test images, and we average each row with the next
# one, which moves an image up by half a pixel and blurs it a little.

# %%
D10 = {
    kind: np.array([row[key][10] for row in normed])
    for kind, key in (("training", "D"), ("new", "D_new"), ("shifted", "D_shifted"))
}
start10 = np.array([row["D_new"][10] / row["D"][10] for row in runs_of("digits", 0)])
moved10 = np.array([r["D_shifted"][10] / r["D_new"][10] for r in runs_of("digits", 0)])
claims.check(
    "separation-new-images", D10["new"] / D10["training"], above=2.8, control=start10
)
claims.check("separation-shift", D10["shifted"] / D10["new"], above=2, control=moved10)
seen, fresh_images, shifted = np.array([row["accuracy"] for row in normed]).T
claims.table(
    ["training", "new", "shifted"],
    {
        "D after layer 10": [values.mean() for values in D10.values()],
        "accuracy": [seen.mean(), fresh_images.mean(), shifted.mean()],
    },
)
claims.check(
    "separation-shift-worse",
    (fresh_images - shifted).mean(),
    above=0.1,
    control=np.ptp(fresh_images),
)
claims.check(
    "separation-shift-still",
    [
        row[key][10] / row[key][0]
        for row in normed
        for key in ("D", "D_new", "D_shifted")
    ],
    below=0.6,
    control=[
        row["D_shifted"][10] / row["D_shifted"][0] for row in runs_of("digits", 0)
    ],
)

# %% [markdown]
# The trend is the same, as on the slide, and so is the remark on performance. But the lack of collapse is not
# slight here: after the last layer, training images are about five times tighter than new ones, and these
# about three times tighter than shifted ones.
#
# **Another task.** What are these layers good for if the classes change? The lecture takes a network trained
# on ImageNet and finds {claim}`two phases on CIFAR-10 <separation-resnet34>`: $\mathrm{NC}_1^l$ first falls,
# as the early layers do something useful for any task, and then rises, as the later ones specialise. We
# train the MLP to tell even digits from odd ones, and ask how well its layers separate all ten.
#
# Expect a puzzle. $\mathrm{NC}_1^l$ and a probe show the two phases; $D_l$ does not: it falls all the way.
# Who is right? $D_l$ adds up all directions before it divides. One of the nine directions of the ten means is
# the gap between even and odd, and the network blows it up: at the input it holds a seventh of their spread,
# in the end about three quarters. $\mathrm{NC}_1^l$ divides direction by direction, so the gap counts once
# among nine. Take the gap out of $\operatorname{tr} \Sigma_B$: on the left of {numref}`fig-phases`, $D_l$ then falls
# to layer 5 and in four of the five networks rises again.

# %%
parity, fresh_parity = runs_of("parity"), runs_of("parity", 0)


def stack(rows, key):
    return np.array([row[key] for row in rows])


ten, nc1, own = (stack(parity, key) for key in ("D_ten", "nc1_ten", "nc1"))
gap, probes = stack(parity, "share"), stack(parity, "probe")
gap_start, nc1_start = (stack(fresh_parity, key) for key in ("share", "nc1_ten"))
rest, usual = ten / (1 - gap), profiles["MLP"]["probe"]
best, last = nc1.argmin(1), own.argmin(1)
claims.check("separation-two-phases", best, above=0, below=6, control=last)
fallen, untouched = (np.log(v[:, 1:].min(1) / v[:, 0]) for v in (nc1, nc1_start))
claims.check("separation-phase-one", fallen, below=-0.15, control=untouched)
risen, settled = (np.log(v[:, 10] / v.min(1)) for v in (nc1, own))
claims.check("separation-phase-two", risen, above=0.2, control=settled)
claims.check("separation-gap", gap[:, 10], above=0.55, control=gap_start[:, 10])
flat, falling = ((v[:, 10] / v[:, 5]).mean() for v in (rest, ten))
claims.check("separation-phase-two-d", flat, above=1, control=falling)
peak, late = probes.argmax(1), usual.argmax()
claims.check("separation-probe-peak", peak, above=0, below=4, control=late)
lost, kept = probes[:, 10] - probes.max(1), usual[10] - usual.max()
claims.check("separation-phase-two-probe", lost, below=-0.06, control=kept)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-phases", "caption": "MLPs trained on parity, measured on the ten digits: thin lines are five networks, markers their mean. $D_l$ falls all the way (circles), but not once the gap between even and odd is left out of the spread between classes (squares). $\\mathrm{NC}_1^l$ and the probe show two phases."}, "image": {"alt": "Three panels against the layer. Left, D on the ten digits falls from 2.2 to 0.6; without the gap it falls from 2.5 to below 2 at layer five and then stays about there. Middle, NC1 falls from 9 to about 6 at layer two and rises to between 8 and 24. Right, the accuracy of the probe rises from 0.90 to 0.92 and falls to 0.80."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.9))
for ax, title, curves in zip(
    axes,
    ("$D_l$, ten digits", "$\\mathrm{NC}_1^l$, ten digits", "linear probe, ten digits"),
    ({"all": ten, "without the gap": rest}, {"": nc1}, {"": probes}),
    strict=True,
):
    for (label, values), style, colour in zip(
        curves.items(), ("o-", "s--"), COLOURS, strict=False
    ):
        ax.plot(values.T, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(values.mean(0), style, markersize=4, color=colour, label=label or None)
    ax.set(title=title, xlabel="layer", ylim=(0, None) if ax is not axes[2] else None)
axes[0].legend(fontsize="small")
plt.show()

# %% [markdown]
# The two phases are not a law: train on the digits 0 to 4 and test on 5 to 9, and the first phase may be
# missing ({ref}`an exercise <ex-separation-new-classes>`). A first phase needs early layers that serve both
# tasks. (The lecture adds that
# {claim}`projection heads and fine-tuning <separation-projection-head>` help the transfer, which this book has
# not tried.)
#
#
# :::{exercise} Where it starts
# :label: ex-separation-start
# *Warm-up, 10 minutes.* By hand: show that $D_0 = \frac{(n-1) K}{K-1}$ for orthonormal inputs, $n$ per class.
# All curves of {numref}`fig-linear` start at this number, 11.25.
# :::
#
# :::{solution} ex-separation-start
# :class: dropdown
# The mean of $n$ orthonormal vectors has squared length $\frac1n$, so the mean squared distance of a class
# from its mean is $1 - \frac1n$: this is $\operatorname{tr} \Sigma_W$. The class means are orthogonal with
# squared length $\frac1n$, their mean has $\frac{1}{nK}$, so $\operatorname{tr} \Sigma_B = \frac1n -
# \frac{1}{nK} = \frac{K-1}{nK}$. Divide.
# :::
#
# :::{exercise} ReLU and right angles
# :label: ex-separation-relu
# *Warm-up, 10 minutes.* Two inputs of length one are at right angles, and the rows of a wide layer are drawn
# from the standard normal distribution. Which cosine do the outputs have before and after the ReLU?
# :::
#
# :::{solution} ex-separation-relu
# :class: dropdown
# The outputs of one unit are $u$ and $v$, two independent standard normal numbers. Over many units the cosine is
# $\mathrm E[uv] / \mathrm E[u^2] = 0$ before. After the ReLU, $\mathrm E[u_+ v_+] = \mathrm E[u_+]^2 =
# \frac{1}{2\pi}$ and $\mathrm E[u_+^2] = \frac12$: the cosine is $\frac1\pi \approx 0.32$.
# :::
#
# :::{exercise} A cap on centred separation
# :label: ex-separation-cap
# *Core, 15 minutes.* Show that $K$ non-zero vectors with sum zero have a pair with $|\cos| \ge \frac{1}{K-1}$.
# When is it attained?
#
# *Hint.* Multiply the sum by the longest of them.
# :::
#
# :::{solution} ex-separation-cap
# :class: dropdown
# Let $\mu_1$ be the longest. From $0 = \langle \mu_1, \sum_k \mu_k \rangle$ we get
#
# $$
# \begin{aligned}
# \|\mu_1\|^2 = - \sum_{k > 1} \langle \mu_1, \mu_k \rangle
#   &\le \sum_{k>1} |\cos_{1k}| \, \|\mu_1\| \|\mu_k\| \\
#   &\le \|\mu_1\|^2 \sum_{k>1} |\cos_{1k}| .
# \end{aligned}
# $$
#
# So the $K - 1$ absolute cosines sum to at least one, and the largest is at least $\frac{1}{K-1}$. Equality
# needs equal lengths and all these cosines equal to $-\frac{1}{K-1}$; for all pairs, that is the simplex
# ETF.
# :::
#
# :::{exercise} More dimensions than samples
# :label: ex-separation-more-dimensions
# *Core, 25 minutes.* Let $d > N$, as in lecture 002. Which matrices $W_{L:1}$ have zero loss? How far is the
# one that gradient descent finds from the one of least norm, for $\varepsilon = 0.4$, $0.2$ and $0.1$? And how many singular
# values of the first layer are still at $\varepsilon$?
# :::
#
# :::::{solution-start} ex-separation-more-dimensions
# :class: dropdown
# :::::
#
# All $Y X^\dagger + M (I - X X^\dagger)$, with any $M$: what the network does outside of the span of the
# samples, no sample tells. Gradient descent changes that part only by way of the other layers, and it is of
# order $\varepsilon$ at the end.

# %%
least_norm = Y @ torch.linalg.pinv(near)
for scale in (0.4, 0.2, 0.1):
    _, after = train_linear(4, scale, samples=near)
    rest = (end_to_end(after) - least_norm).norm() / least_norm.norm()
    claims.show(f"ε = {scale}, relative distance and that over ε", rest, rest / scale)
orthonormal = init_weights([30, 50], **F64)[0]
three_classes = torch.arange(3).repeat_interleave(10)
three_targets = functional.one_hot(three_classes).T.double()
_, after = train_linear(4, 0.3, samples=orthonormal, targets=three_targets)
values = torch.linalg.svdvals(after[0])
print("values at 0.3:", ((values - 0.3).abs() < 1e-9).sum().item())

# %% [markdown]
# Of $d = 50$ values $d - 3K = 41$ are at $\varepsilon$, for orthonormal inputs with $K = 3$: an {term}`idle
# direction` is now one that neither the targets nor the start nor the start *restricted to the samples*
# connect to an output.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} The clock
# :label: ex-separation-clock
# *Core, 15 minutes.* Take all widths one: $\dot w = w^{L-1} (\sqrt n - w^L)$ for each of $L$ equal weights. From
# $w(0) = \varepsilon$, how long until $w^L$ has reached half of $\sqrt n$, to leading order? What happens
# for $L = 2$?
# :::
#
# :::{solution} ex-separation-clock
# :class: dropdown
# While $w^L \ll \sqrt n$, $\dot w = \sqrt n\, w^{L-1}$, so $\frac{d}{dt} w^{-(L-2)} = -(L-2) \sqrt n$, and
# $T \approx \frac{\varepsilon^{-(L-2)}}{(L-2) \sqrt n}$; what comes after takes a time that doesn't depend
# on $\varepsilon$. For $L = 2$ growth is exponential, $T \approx \frac{1}{\sqrt n} \log \frac1\varepsilon$
# plus a constant: shallow networks pay almost nothing for a small start.
# :::
#
# :::{exercise} New classes
# :label: ex-separation-new-classes
# *Core, 15 minutes.* Train the MLP on the digits 0 to 4 and measure $\mathrm{NC}_1^l$ on 5 to 9, from several
# starts. Are there two phases?
# :::
#
# :::::{solution-start} ex-separation-new-classes
# :class: dropdown
# :::::
#
# The recorded run has five networks; here are the input, the best of the later layers, and the last one.

# %%
five = stack(runs_of("five"), "nc1_ten")
found = np.column_stack([five[:, 0], five[:, 1:].min(1), five[:, 10]])
claims.table(
    ["input", "least of layers 1 to 10", "layer 10"],
    {f"start {seed}": list(row) for seed, row in enumerate(found)},
)

# %% [markdown]
# No: no layer is better than the input, and the last one is eight times worse or more. Five digits are
# probably too narrow a task for features that serve others. ImageNet, with a thousand classes, is the opposite extreme.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} How straight, and why
# :label: ex-separation-open
# *Open, 60 minutes.* How do the shares of the layers in the MLP depend on the optimizer, on weight decay, and on depth? Is
# $\varrho^L$ the same when you double the depth?
# :::
#
# :::{solution} ex-separation-open
# :class: dropdown
# Look at the shares themselves: a squared correlation ignores the sign, and in a fresh network with batch
# normalisation $\log D_l$ *rises* along a straight line. At fixed settings $\varrho^L$ need not be constant; in
# one try of ours $D_L / D_0$ was about 0.05, 0.01 and 0.01 for 5, 10 and 20 layers, and at 20 the line bent. If
# you compare depths, train all to the same loss, and repeat over seeds. He and Su report that the law holds
# best when training is well tuned, and propose its straightness as a diagnostic.
# :::
#
# ## Summary
#
# Every layer of our trained networks compresses its classes. With batch normalisation the shares of the middle
# layers differ by about a fifth, without it by half. What a linear probe needs is there after four layers.
#
# In a deep linear network the factor per layer is $\varepsilon^2 / n^{1/L}$, times a correction for the $K$
# directions within classes that the last layer turned away from. The correction does not vanish for small
# $\varepsilon$; it does with depth. Angles between classes close linearly from right angles, by
# $O(\varepsilon^2)$, and open linearly from smaller ones.
#
# The layers share their singular values because $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ is conserved: that is
# why the line is straight. Steep lines take a small start, and a small start takes time,
# $\varepsilon^{-(L-2)}$.
#
# Separation concerns the labels one trains on, be they random. It carries over to new images in part, and
# to new tasks only through layers that serve both; $D_l$ may hide that, $\mathrm{NC}_1^l$ and a probe show it.
#
# ## Further reading
#
# The linear theory is from Wang et al. {cite}`wang2023understanding`, the straight line from He and Su
# {cite}`he2023law`; Papyan {cite}`papyan2020traces` saw class means separate through the layers before.
# Balancedness is due to Arora, Cohen and Hazan {cite}`arora2018optimization`. For features that are free
# variables at several layers see Tirer and Bruna {cite}`tirer2022extended`.
