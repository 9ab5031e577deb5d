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
# It could be that nine of them prepare and the tenth does it all. Or that they share the work. In networks with
# batch normalisation, at well-chosen settings, the middle layers share it nearly evenly: each shrinks the
# spread within the classes by about the same factor. In other networks they do not. This chapter measures
# that factor in networks trained on images. It computes it for deep linear networks. And it finds the
# constant that the published bounds leave open.
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
from lecturelib.deep_linear import gradient_descent, init_weights
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
networks = recorded("separation-networks").values


def runs_of(task, epochs=60, batch_norm=True):
    """Five recorded networks of one kind."""
    kind = {"task": task, "epochs": epochs, "batch_norm": batch_norm}
    return [row for row in networks if kind.items() <= row.items()]


def gains(profiles, measure, first=0, last=-1):
    """How much larger a measure is after one layer than after another."""
    return [p[measure][last] - p[measure][first] for p in profiles]


def largest_step(profile):
    """The largest change of log D from one layer to the next."""
    return np.diff(np.log(profile["D"])).max()


normed, bare = runs_of("digits"), runs_of("digits", batch_norm=False)
hybrids, untrained = runs_of("hybrid"), runs_of("hybrid", 0)
steps, start = (
    [largest_step(r) for r in rows] for rows in (normed + hybrids, untrained)
)
claims.check("separation-compression", steps, below=0, control=start)
grown, shrunk = gains(normed + hybrids, "S"), gains(bare, "S")
claims.check("separation-s-grows", grown, above=0.05, control=shrunk)
trained = profiles.values()
early, late = gains(trained, "probe", last=4), gains(trained, "probe", first=4)
total, untouched = gains(trained, "probe"), gains(fresh.values(), "probe")
claims.check("separation-probe", total, above=0.01, control=untouched)
claims.check("separation-probe-early", late, below=0.015, control=early)

# %% [markdown]
# In our runs every layer of both networks compresses. What the probe needs is there after four layers, on new
# images: later layers tighten what is already separable.
#
# **Why does $S_l$ dip in the first layer?** It falls from 0.55 to 0.3 before it rises. The ReLU does it. Its
# outputs are not negative, so all class means move into the same corner of the space and have a long part in
# common. Take two inputs at right angles and random weights: after the ReLU their cosine is about
# $\frac1\pi = 0.32$ ({ref}`an exercise <ex-separation-relu>`). Let us take the layers apart.

# %%
changes, z = [], inputs.flatten(1)
with torch.no_grad():
    for stages in mlp.hidden:
        seen = [feature_separation(z, labels)]
        for stage in stages:  # linear, normalisation, ReLU
            z = stage(z)
            seen.append(feature_separation(z, labels))
        changes.append(torch.stack(seen).diff())
by_linear, by_norm, by_relu = torch.stack(changes).mean(0)
claims.table(
    ["change of S, mean of 10 layers"],
    {"linear map": [by_linear], "normalisation": [by_norm], "ReLU": [by_relu]},
)
claims.check("separation-norm", by_norm, above=0.13, control=by_linear)
claims.check("separation-relu", by_relu, below=-0.1, control=by_linear)

# %% [markdown]
# The linear maps change little. A normalisation takes away the common mean, and with it the part that all
# classes share; the next ReLU brings it back. Without normalisation the linear maps have to push. In the
# recorded runs $S_{10}$ then ends at 0.3 to 0.4, below the 0.55 of the input, where before training it is 0.01.
# In the hybrid's linear tail nothing pulls, and $S_l$ climbs above one.
#
# You can see the classes tighten. For three of the ten classes, the centred {term}`class means <class mean>`
# span a plane; {numref}`fig-layer-by-layer` shows what falls onto that plane. Press *Play*. Then set the
# network to *before training* and play again. Random layers do not sort: $D_l$ rises.

# %% tags=["hide-input"]
three = labels < 3
with torch.random.fork_rng():
    states = {"before training": ten_layers().eval(), "after training": mlp}
with torch.no_grad():
    layers = {
        state: [inputs[three].flatten(1), *net.taps(inputs[three])]
        for state, net in states.items()
    }
curves = fresh["MLP"]["D"], profiles["MLP"]["D"]
compressions = dict(zip(states, curves, strict=True))
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


def draw_layer(layer, network):
    flat = in_plane(layers[network][layer])
    fig, (left, right) = plt.subplots(1, 2, figsize=(5.4, 2.8))
    for k, marker in enumerate("os^"):
        own = labels[three].cpu() == k
        left.plot(*flat[own].T, marker, markersize=2.5, alpha=0.5, color=COLOURS[k])
    left.set(title=f"layer {layer}", aspect="equal", xticks=[], yticks=[])
    left.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
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
    caption="Features of the digits 0 to 2 in the MLP, layer by layer, in the plane of their three class means. "
    "Right: $D_l$ of all ten classes.",
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
# How should one measure straightness? Take the *shares* of the layers, the logarithms of their factors. Their
# *unevenness* is the standard deviation over the mean, for layers 2 to 9. The last two columns of the table are
# the last layer's share over the mean of those.


# %%
def shares(row, measure="D"):
    """Logarithm of the factor of each layer."""
    return np.diff(np.log(row[measure]))


def unevenness(rows, measure="D"):
    """Of layers 2 to 9, network by network."""
    middle = np.array([shares(row, measure)[1:9] for row in rows])
    return middle.std(1) / -middle.mean(1)


KINDS = {
    f"{name} norm, {epochs} epochs": runs_of("digits", epochs, name == "batch")
    for name in ("batch", "no")
    for epochs in (20, 60, 240)
} | {"hybrid, 60 epochs": hybrids}
entries = {}
for kind, five in KINDS.items():
    uneven = [unevenness(five, measure) for measure in ("D", "nc1")]
    steps = [np.array([shares(row, m) for row in five]) for m in ("D", "nc1")]
    last = [np.mean(v[:, 9] / v[:, 1:9].mean(1)) for v in steps]
    entries[kind] = [f(u) for u in uneven for f in (np.mean, np.std)] + last
claims.table(["D", "±", "NC1", "±", "last, D", "last, NC1"], entries)
tails = {m: [row[m][4] / row[m][10] for row in hybrids] for m in ("D", "nc1")}
claims.check("separation-tail", tails["D"], above=10, control=tails["nc1"])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shares", "caption": "Who does the work: the share of each layer in the fall of $\\log D_l$, mean of five MLPs each, 60 epochs. With batch normalisation layers 1 to 9 do about as much as each other, and the last one more than twice as much. Without it layers 2 to 6 do most of the work."}, "image": {"alt": "Bars for the layers 1 to 10. With batch normalisation: between 0.3 and 0.5 for layers 1 to 9, and 0.9 for layer 10. Without it, hatched: 0.07 for layer 1, 0.49 for layer 2, falling to between 0.1 and 0.17 for layers 7 to 10."}}
fig, ax = plt.subplots(figsize=(6, 2.8))
bars = {"batch normalisation": (normed, -0.2, ""), "without": (bare, 0.2, "///")}
for (label, (rows, shift, hatch)), colour in zip(bars.items(), COLOURS, strict=False):
    heights = -np.mean([shares(row) for row in rows], axis=0)
    style = {"width": 0.4, "color": colour, "hatch": hatch, "edgecolor": "white"}
    ax.bar(np.arange(1, 11) + shift, heights, label=label, **style)
ax.set(xlabel="layer", ylabel="share", xticks=range(1, 11))
ax.legend()
plt.show()

# %% [markdown]
# With batch normalisation the shares of layers 2 to 9 differ by about a fifth of their mean, by 0.08 to 0.33 from
# seed to seed, and longer training changes little but the slope. The last layer does two to three times its
# share of $D$, and one and a third to twice its share of NC1. Without normalisation the shares differ by half:
# layer 1 hardly compresses, layers 2 to 6 do most of it, the later ones little. In the hybrid's six linear
# layers the shares of $D$ fall from 0.7 to 0.2. Its inputs there are not orthonormal, and the theorem below does
# not apply.
#
# Is it the normalisation, or the learning rate? Another recorded run has varied the rate, five seeds each.

# %%
groups = {(True, "sgd", 0.02): normed, (False, "sgd", 0.02): bare}
for row in recorded("separation-settings").values:
    setting = row["batch_norm"], row["optimizer"], row["lr"]
    groups.setdefault(setting, []).append(row)
entries = {}
for (norm, name, lr), five in sorted(groups.items(), reverse=True):
    uneven, label = unevenness(five), f"{'batch' if norm else 'no'} norm, {name} {lr}"
    entries[label] = [uneven.mean(), uneven.std()]
claims.table(["unevenness of D", "±"], entries)
well, fast = (unevenness(groups[True, "sgd", lr]).mean() for lr in (0.02, 0.1))
claims.check("separation-equal-shares", well, below=0.25, control=fast)

# %% [markdown]
# Straightness belongs to the settings as much as to the architecture. With batch normalisation and our rate, 0.02,
# the shares differ by a fifth of their mean. With a rate five times larger they differ by 0.44, with one seven
# times smaller by 0.37. Without normalisation it is half at 0.02 and 0.85 at 0.04; at 0.05 some runs diverge.
# With Adam the two kinds of networks hardly differ.
#
# :::{admonition} Slide check: whose measure is it?
# :class: warning slide-check
# :name: slide-check-ps-measure
# Lecture 002 credits $D_l$, the ratio of the traces, to *He & Su. 2022, Tirer et al. (2022)*. He and Su's law
# is about $\operatorname{tr}(\Sigma_W \Sigma_B^\dagger)$, that is NC1 {cite}`he2023law`. For the ratio of
# the traces we follow the second name on the slide {cite}`tirer2023perturbation`.
#
# The two can behave quite differently. In the linear tail of the hybrid, $D_l$ falls by a factor of about
# twenty while $\mathrm{NC}_1^l$ is about halved: spread outside of the span of the centred means, which a linear
# layer can damp, NC1 does not see.
# :::
#
# **In two sentences.** In our MLPs with batch normalisation, at well-chosen settings, layers 2 to 9 compress by
# nearly the same factor. That is a finding and not a theorem; in a linear network we can compute it.
#
# (sec-ps-linear)=
# ## The same in a network that can be computed
#
# **Two classes, two layers.** Take six inputs in six dimensions, $e_1, e_2, e_3$ in the first class and
# $e_4, e_5, e_6$ in the second. The first class has the mean $m = \frac13 (e_1 + e_2 + e_3)$, of squared length
# $\frac13$. So each of its inputs is $m$ plus a difference $v$ at right angles to it, with
# $\|v\|^2 = 1 - \frac13 = \frac23$.
#
# The first layer starts as $\varepsilon$ times a rotation. Suppose that training stretches the means by $s$ and
# leaves the differences at $\varepsilon$. After the layer the inputs have become $s\, m + \varepsilon\, v$, up
# to a rotation. Now count:
#
# - within: $\operatorname{tr} \Sigma_W = \varepsilon^2 \|v\|^2 = \frac23 \varepsilon^2$;
# - between: the two means have the squared length $\frac13 s^2$ and are at right angles, each at the squared
#   distance $\frac16 s^2$ from the middle, so $\operatorname{tr} \Sigma_B = \frac16 s^2$.
#
# So $D_1 = 4 \varepsilon^2 / s^2$, where $D_0 = 4$. What is $s$? The network fits $W_2 W_1 m = (1, 0)$, which
# takes a factor of $\sqrt 3 = \sqrt n$ in all. Two layers that share it evenly have $s = 3^{1/4}$ each, so
# $s^2 = \sqrt 3$ and $D_1 / D_0 = \varepsilon^2 / \sqrt n$. With $L$ layers it is $n^{1/L}$ in place of
# $\sqrt n$.
#
# Let us see whether training agrees.

# %%
F64 = {"generator": generator, "dtype": torch.float64}
entries = {}
for n in (3, 10):
    start = init_weights([2 * n, 2 * n, 2], **F64)
    X, y = torch.eye(2 * n, dtype=torch.float64), torch.arange(2).repeat_interleave(n)
    Y, quotients = functional.one_hot(y).T.double(), []
    for scale in (0.2, 0.1, 0.05):
        weights = [scale * W for W in start]
        path = gradient_descent(weights, X, Y, lr=0.05, steps=10**5, tol=1e-12)
        D0, D1 = (feature_compression(z, y) for z in (X, path.final[0].T))
        quotients.append(D1 / D0 / (scale**2 / n**0.5))
    entries[f"n = {n}"] = quotients
claims.table(["ε = 0.2", "ε = 0.1", "ε = 0.05"], entries)

# %% [markdown]
# Nearly, and not quite, however small $\varepsilon$ is: with three samples a class more than a quarter is missing. So
# *evenly* needs a proof, and *leaves* is not quite true. Of the $d - K = 4$ differences two stay at
# $\varepsilon$ and two fall below it, because the last layer turns. Where the missing part goes is
# the point of this section.
#
# **The setting.** Take a {term}`deep linear network` with $L$ layers, the first $L-1$ square, $d \times d$, the
# last one $K \times d$. There are $N = nK$ orthonormal inputs, the columns of $X$ with $X^\top X = I$, and
# one-hot targets as the columns of $Y$. Let $N = d$, so that the inputs are {term}`whitened` as well,
# $X X^\top = I$. The start is $W_l(0) = \varepsilon Q_l$ with orthogonal $Q_l$. Train to zero loss by small
# steps. This is the wide case of the last chapter, whose gradient is
#
# $$ \nabla_l = W_{L:l+1}^\top (W_{L:1} - \Phi) W_{l-1:1}^\top , \qquad \Phi = Y X^\top , $$
#
# and in which $d - 2K$ singular values of each layer but the last stay at $\varepsilon$ forever. Their
# directions are {term}`idle <idle direction>`.

# %%
n, d = 10, 50
classes = torch.arange(5).repeat_interleave(n)
# Every orthonormal X is this one, rotated.
X = torch.eye(d, dtype=torch.float64)
Y = functional.one_hot(classes).T.double()


def train_linear(depth, scale, *, samples=X, targets=Y, kind="orthogonal"):
    """Train a deep linear network to zero loss; return its weights before and after."""
    before = init_weights([len(samples)] * depth + [len(targets)], scale, kind, **F64)
    signal = targets.square().sum(1).max().sqrt() ** (1 / depth)
    lr = 0.5 / (depth * signal ** (2 * depth - 2)).item()
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
    for (depth, scale), marker in zip(cases, "os^", strict=True):
        before, after = runs[depth, scale] = train_linear(depth, scale)
        profile = profile_linear(after, X, classes)
        ax.semilogy(profile, marker, markersize=5, label=f"L = {depth}, ε = {scale}")
        decay = predicted_decay(scale, depth, n)
        line = profile[0] * decay ** torch.arange(depth, dtype=torch.float64)
        ax.semilogy(line, "k--", linewidth=1)
    ax.set(xlabel="layer", ylabel="$D_l$")
    ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# Straight lines, and steeper for smaller $\varepsilon$. Zero loss alone does not make them: replace $W_2$
# by $W_2 C^{-1}$ and $W_1$ by $C W_1$, with any invertible $C$, and $D_1$ is what you like. Among all these
# solutions gradient descent selects. How?
#
# :::{admonition} Slide check: assumptions that exclude each other
# :class: warning slide-check
# :name: slide-check-ps-assumptions
# Lecture 002 *assumes* of the trained weights that they are the minimum-norm solution, that they are balanced, and
# that all but $2K$ of their singular values stay near $\varepsilon$. We derive the last two, for whitened inputs,
# $N = d$, from an orthogonal start. For the lecture's $d > N$ the first does not hold: $\nabla_1$ ends in
# $X^\top$, so on a vector $z$ at right angles to the samples $W_1 z = \varepsilon Q_1 z$ forever, and
# $W_{L:1} z = \varepsilon W_{L:2} Q_1 z$ is of order $\varepsilon$ and not zero.
# :::
#
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
# $d - K$ directions within classes only the $d - 2K$ idle ones are sure to keep $\varepsilon$. The other $K$
# make the difference.
#
# **Leaves: what the last layer turns away from.** Where do the other $K$ come from? At the start, all rows of
# $W_L$ lie in one $K$-dimensional space $R_0$. Training turns them into another one, $R$, at angles
# $\theta_1, \dots, \theta_K$ to the first. Take a unit vector $u$ that the last layer no longer sees,
# $W_L u = 0$. By {eq}`eq-top-balance`,
#
# $$ u^\top W_{L-1} W_{L-1}^\top u = \varepsilon^2 \big( 1 - \|P_0 u\|^2 \big) . $$ (eq-unseen)
#
# - If $u$ is at right angles to $R_0$ as well, this is $\varepsilon^2$.
# - If $u$ lies in the plane of a line of $R_0$ and a line of $R$ at the angle $\theta$, then
#   $\|P_0 u\| = \sin \theta$, and it is $\varepsilon^2 \cos^2 \theta$. So $u$ is scaled by
#   $\varepsilon \cos \theta$.
#
# Watch it in the smallest network with all three kinds of directions: the six inputs of the hand example, now with
# four layers. Press *Play* in {numref}`fig-turning`.


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
moments = [toy.weights(moment) for moment in range(len(MOMENTS))]
values = torch.stack([torch.linalg.svdvals(now[0]) for now in moments])
R0 = row_space(toy_start[-1])
overlaps = [R0.T @ row_space(now[-1]) for now in moments]
cosines = torch.linalg.svdvals(torch.stack(overlaps)).clamp(max=1)
still, sunk = (values[-1, i : i + 2] / (0.3 * cosines[-1]) for i in (2, 4))
claims.check("separation-turned", sunk, 1, rel=0.03, control=still)


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
# In this setting, with $d > 2K$ and fixed $Q_1, \dots, Q_L$, let gradient flow from $\varepsilon Q_l$
# converge to weights with zero loss, and let $\theta_1, \dots, \theta_K$ be the {term}`principal angles` between
# the row spaces of the last layer before and after. Then, as $\varepsilon \to 0$, for $l = 0, \dots, L - 2$
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
# $O(\varepsilon^4)$. On the idle vectors, those orthogonal to both $R$ and $R_0$, $d - 2K$ dimensions, it is
# $\varepsilon^2$. What is left are $K$ planes, in each of which a line of $R$ and a line of $R_0$ meet under the
# angle $\theta_i$; the unit vector orthogonal to the first line has the eigenvalue
# $\varepsilon^2 \cos^2 \theta_i$, by {eq}`eq-unseen`. (If $\theta_i = 0$, one more direction is orthogonal to
# both, and $\cos \theta_i = 1$ counts it.) The sum of the $l$-th powers of the small eigenvalues is therefore
# $\varepsilon^{2l} \big( d - 2K + \sum_i \cos^{2l} \theta_i \big)$ up to a factor $1 + O(\varepsilon^2)$,
# whatever the angles, as $d - 2K > 0$ of them are $\varepsilon^2$ exactly.
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
# For $d = 2K$ it holds if the largest $\cos \theta_i$ stays away from zero.
#
# **In two sentences.** A layer multiplies the differences between classes by $s$ and most differences within
# by $\varepsilon$; in $K$ directions, those that the last layer turned away from, it is
# $\varepsilon \cos \theta_i$. This costs a factor that is at most one and that no small $\varepsilon$ removes.
#
# For networks that start from the same $Q_l$ turn their last layer in nearly the same way, the smaller ones
# only later. So, although its derivation suggests it, {eq}`eq-decay` is not the limit of small $\varepsilon$.
# What does remove the factor is a large $d / K$. Depth helps too, in our runs.
#
# We can test that. A recorded run has trained 54 networks to zero loss, with $K = 5$ and $d = nK$. It has all
# combinations of $\varepsilon \in \{0.1, 0.2, 0.3\}$, $L \in \{4, 6, 8\}$ and $n \in \{5, 10, 20\}$, with and
# without a factor $\alpha = 10$ on the output (as if the network's output were multiplied by 10 before the loss;
# put $n / \alpha^2$ for $n$). Zero has to mean zero here: in the last layer the noise has a variance down to
# $10^{-14}$ per direction. So these runs went to a loss of $10^{-20}$.

# %%
record = recorded("separation-decay").values
laws = [
    predicted_decay(
        row["scale"], row["depth"], row["samples_per_class"], row["output_scale"]
    )
    for row in record
]
ratios = [np.array(row["ratios"]) for row in record]
first_order = [ratio / law for ratio, law in zip(ratios, laws, strict=True)]
exact = [
    ratio / row["corrections"] for ratio, row in zip(first_order, record, strict=True)
]
worst = np.concatenate(first_order).min()
claims.check("separation-decay", np.concatenate(exact), 1, rel=0.04, control=worst)


def orders(quotients):
    """The power of ε in the gap of every layer, from ε = 0.3 to 0.1."""
    powers = []
    for first in range(0, 54, 18):  # of one depth: three scales, six settings each
        gaps = np.log(np.abs(1 - np.array(quotients[first : first + 18])))
        large, _, small = gaps.reshape(3, 6, -1)
        powers.append((large - small).ravel() / np.log(3))
    return np.concatenate(powers)


claims.check(
    "separation-decay-order", orders(exact), 2, abs=0.6, control=orders(first_order)
)
claims.show("gap without it, n = 5, L = 4, ε = 0.1", 1 - first_order[12][0])

# %% [markdown]
# With the correction the prediction is within 3 % in all 54 networks and all layers. Its error falls like
# $\varepsilon^2$ in every layer, at all depths and output scales. Without it, a layer is off by up to 9 %; for
# $n = 5$ and $L = 4$ by 7 % even at $\varepsilon = 0.1$, and no smaller start would help.
#
# How does the turning depend on depth? A second recorded run has $K = 2$ and $n = 4$, and twelve starts for each
# depth.

# %%
turned = {}
for row in recorded("separation-turning").values:
    turned.setdefault(row["depth"], []).append(row["turned"])
claims.table(
    ["mean sin² θ", "±"],
    {f"L = {depth}": [np.mean(v), np.std(v)] for depth, v in turned.items()},
)
claims.check(
    "separation-turning",
    np.mean(turned[16]) / np.mean(turned[4]),
    below=0.3,
    control=np.mean(turned[4][:6]) / np.mean(turned[4][6:]),
)

# %% [markdown]
# Deeper networks turn their last layer less, down to 0.03 at sixteen layers from 0.5 at two. We have no proof that
# it goes to zero.
#
# :::{admonition} Slide check: constants
# :class: warning slide-check
# :name: slide-check-ps-bounds
# For the same theorem, 001 bounds $D_{l+1} / D_l$ by $2 (\sqrt K + 1)\, \varepsilon^2$ and 000 by
# $2 (\sqrt{2K} + 1)\, \varepsilon^2$. Both hold and are loose: by {eq}`eq-decay-exact` the ratio is below
# $\varepsilon^2$ for small $\varepsilon$. For the imbalance at the top some slides allow
# $\varepsilon^2 \sqrt{d - 2K}$; by {eq}`eq-top-balance` it is $\varepsilon^2 \sqrt{d - K}$ from the start.
# :::
#
# (sec-ps-angles)=
# ## Angles between the classes
#
# **Orthonormal inputs.** The class means start at right angles, and every layer stretches all of them by about
# $s$. So they stay at right angles, $S_l = 1$, up to $O(\varepsilon^2)$. What is the next term? It comes from
# $P_0$ in {eq}`eq-top-balance`. Let $f_k$ be the unit vector in which class $k$ arrives at the last layer: its
# mean after layer $L - 1$, made orthonormal to the others. Let $b_{kk'} = f_k^\top (I - P_0) f_{k'}$, a
# $K \times K$ matrix, and look only at these $K$ directions.
#
# - Zero loss says $n I = W_L A^{L-1} W_L^\top$ with $A = W_{L-1} W_{L-1}^\top$. On these directions, therefore,
#   $W_L^\top W_L = n A^{-(L-1)}$, up to $O(\varepsilon^{2L})$.
# - {eq}`eq-top-balance` says $A = W_L^\top W_L + \varepsilon^2 b$. Put in the first and multiply by $A^{L-1}$:
#
#   $$ A^L = n I + \varepsilon^2\, b\, A^{L-1} . $$ (eq-large)
#
# - Put $A = s^2 I + \varepsilon^2 B$. To first order in $\varepsilon^2$ this reads
#   $L s^{2L-2} B = s^{2L-2}\, b$, so $B = \frac1L\, b$.
# - The Gram matrix of the class means after layer $l$ is a multiple of $A^l$. Its cosines are, again to first
#   order, $\frac lL \frac{\varepsilon^2}{s^2}\, b_{kk'}$. Hence
#
# $$
# 1 - S_l \approx \frac lL \, \frac{\varepsilon^2}{s^2} \, \max_{k \ne k'} b_{kk'} .
# $$ (eq-closing)
#
# A pair of classes closes if its $b_{kk'}$ is positive and opens if it is negative, linearly in the number of
# layers. Which of the two, one knows only after training. With five classes there are ten pairs, some of which
# closed in each of our runs, and $S_l$ looks at the closest. With two classes there is one pair, and it is a
# matter of the start. A recorded run has followed the flow for four pairs of $L$ and $\varepsilon$, with $K = 5$,
# three starts each.

# %%
entries, by_formula, by_count = {}, [], []
for row in recorded("separation-angles").values:
    depth, scale = row["depth"], row["scale"]
    b, found = np.array(row["overlap"]), np.array(row["closing"])
    largest = (b - np.diag(b.diagonal())).max()
    formula = np.arange(1, depth) / depth * scale**2 / 10 ** (1 / depth) * largest
    by_formula.extend(found / formula)
    by_count.extend(found / formula * (depth - 1) / depth)
    if row["seed"] == 0:
        ends = [found[0], formula[0], found[-1], formula[-1]]
        entries[f"L = {depth}, ε = {scale}"] = ends
heads = ["1 - S, layer 1", "formula", "1 - S, layer L-1", "formula"]
claims.table(heads, entries, digits=3)
claims.check("separation-s", by_formula, 1, rel=0.02, control=by_count)

# %% [markdown]
# :::{admonition} Slide check: which $S_l$?
# :class: warning slide-check
# :name: slide-check-ps-separation
# Lecture 002 defines $S_l$ in another way: with *centred* means, $\bar z_k^l - \bar z^l$, and with the absolute
# value of the cosine. It also states a theorem by which $S_l$ approaches one in the last layers. The two
# cannot hold together. Centred means sum to zero, so for $K$ classes the largest absolute cosine is at least
# $\frac{1}{K-1}$ ({ref}`an exercise <ex-separation-cap>`), and the slide's version never exceeds 0.75 for five
# classes. {eq}`eq-compression`, without either, is near one for the same features.
# :::
#
# **Nearly orthonormal inputs.** Does separation *grow*, as 002 says, at a sub-linear rate? For that the classes
# must not be at right angles to begin with. Then $1 - S_l$ falls linearly in $l$, neither faster nor slower, as
# long as the angles that the input brings are small but large against {eq}`eq-closing`:
# {ref}`an exercise <ex-separation-nearly>`.
#
# (sec-ps-cost)=
# ## What steep lines cost
#
# If a smaller $\varepsilon$ separates faster from layer to layer, why not start at $10^{-3}$? Because the
# origin is a saddle point, and the closer one starts the longer one stays. With one weight per layer,
# $\dot w = \sqrt n\, w^{L-1}$ while $w$ is small. So $w^{-(L-2)}$ falls at the constant rate $(L-2) \sqrt n$
# and reaches zero after $T = \varepsilon^{-(L-2)} / ((L-2) \sqrt n)$. Just before, $w$ is of size one, and the
# plateau is over.
#
# With matrices $\varepsilon$ again only sets the clock. Put $W_l = \varepsilon \widehat W_l$: the flow is
# $\frac{d}{dt} \widehat W_l = \varepsilon^{L-2}\, \widehat W_{L:l+1}^\top \Phi\, \widehat W_{l-1:1}^\top$ plus
# higher powers. The {term}`time of escape <escape time>` is, to leading order, proportional to
#
# $$ T(\varepsilon) \sim \varepsilon^{-(L-2)} . $$ (eq-escape)
#
# All scales run at once, as a stack of networks. `path.reached` is the first step at which each one's loss
# is at most `tol`, here half of the loss at zero.

# %%
ESCAPES = {3: [0.2, 0.1, 0.05, 0.025], 4: [0.3, 0.2, 0.15, 0.1]}
half = 0.5 * Y.square().sum().item() / 2
exponents = {3: [], 4: []}
for depth, scales in 3 * [*ESCAPES.items()]:  # three starts
    sizes = torch.tensor(scales, dtype=torch.float64)[:, None, None]
    small = [sizes * W for W in init_weights([d] * depth + [5], **F64)]
    path = gradient_descent(small, X, Y, lr=0.02, steps=10**4, every=[], tol=half)
    slopes = path.reached.double().log().diff() / sizes.flatten().log().diff()
    exponents[depth].append(slopes[-1])
    claims.show(f"L = {depth}, steps", *path.reached.tolist(), digits=4)
three, four = exponents.values()
claims.check("separation-escape-3", three, -1, abs=0.1, control=four)
claims.check("separation-escape-4", four, -2, abs=0.1, control=three)

# %% [markdown]
# With two layers there is no power: the escape is logarithmic. With ten, halving $\varepsilon$ costs a
# factor of 256. An $\varepsilon$ of 0.5 at $L = 10$, as in {numref}`fig-linear`, is a compromise.
#
# **Does the start have to be orthogonal?** Normal and uniform weights of the same expected size have
# singular values spread over $(0, 2\varepsilon)$ in place of a single one, and the theorem does not apply.
# The lines stay nearly straight: three networks of each kind, $L = 6$, $\varepsilon = 0.5$.

# %%
entries = {}
for kind in ("orthogonal", "normal", "uniform"):
    ends = [train_linear(6, 0.5, kind=kind)[1] for _ in range(3)]
    D = torch.stack([profile_linear(after, X, classes) for after in ends])
    factors = D[:, 1:] / D[:, :-1]
    entries[kind] = [factors.min(), factors.max()]
claims.table(["smallest factor", "largest"], entries)

# %% [markdown]
# (sec-ps-images)=
# ## Is it about the images?
#
# Three tests, each with the MLP from five starts, from the recorded run.
#
# **Random labels.** Shuffle the labels and train until the network knows them by heart.

# %%
memory, fresh_memory = runs_of("labels", 150), runs_of("labels", 0)
claims.show("accuracy on the shuffled labels", *(row["accuracy"][0] for row in memory))
shuffled = [np.diff(row["D"]).max() for row in memory]
true = [np.diff(row["D_ten"]).min() for row in memory]
claims.check("separation-random", shuffled, below=0, control=true)
claims.show("D₀/D₁₀", *(row["D"][0] / row["D"][10] for row in memory))

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
entries = {}
kinds = {"training": "D", "new": "D_new", "shifted": "D_shifted"}
for i, (name, key) in enumerate(kinds.items()):
    D = [np.mean([row[key][layer] for row in normed]) for layer in (0, 10)]
    entries[name] = [*D, np.mean([row["accuracy"][i] for row in normed])]
claims.table(["D at the input", "D after layer 10", "accuracy"], entries)


def looser(rows):
    """New images over training images, and shifted ones over new ones, after layer 10."""
    D = [np.array([row[key][10] for row in rows]) for key in kinds.values()]
    return D[1] / D[0], D[2] / D[1]


by_new, by_shift = looser(normed)
new_start, shift_start = looser(runs_of("digits", 0))
claims.check("separation-new-images", by_new, above=2.5, control=new_start)
claims.check("separation-shift", by_shift, above=2, control=shift_start)

# %% [markdown]
# The trend is the same, as on the slide, and so is the remark on performance: the network as a whole compresses
# all three. But the lack of collapse is not slight here. After the last layer, training images are about
# five times tighter than new ones, and these about three times tighter than shifted ones.
#
# **Another task.** What are these layers good for if the classes change? The lecture takes a network trained
# on ImageNet and finds {claim}`two phases on CIFAR-10 <separation-resnet34>`: $\mathrm{NC}_1^l$ first falls,
# as the early layers do something useful for any task, and then rises, as the later ones specialise. We
# train the MLP to tell even digits from odd ones, and ask how well its layers separate all ten.
#
# Expect a puzzle. $\mathrm{NC}_1^l$ and a probe show the two phases; $D_l$ does not: it keeps falling but for one
# step in one network. Who is right? $D_l$ adds up all directions before it divides. One of the nine directions
# of the ten means is the gap between even and odd, and the network blows it up: at the input it holds a seventh
# of their spread, in the end about three quarters. $\mathrm{NC}_1^l$ divides direction by direction, so the gap
# counts once among nine. Take the gap out of $\operatorname{tr} \Sigma_B$, on the left of {numref}`fig-phases`:
# $D_l$ then has its least value at layer 5 to 7 in four of five networks and rises again by a fifth to two fifths.
# In the fifth it falls to the end.

# %%
parity, fresh_parity = runs_of("parity"), runs_of("parity", 0)


def stack(rows, key):
    return np.array([row[key] for row in rows])


ten, nc1, gap, probes = (
    stack(parity, key) for key in ("D_ten", "nc1_ten", "share", "probe")
)
rest, unseen = ten / (1 - gap), stack(runs_of("five"), "nc1_ten")
entries = {
    name: [np.mean(v[:, 0]), np.mean(extreme(v[:, 1:], axis=1)), np.mean(v[:, 10])]
    for name, v, extreme in (
        ("D", ten, np.min),
        ("D without the gap", rest, np.min),
        ("NC1", nc1, np.min),
        ("probe", probes, np.max),
        ("NC1 of 5 to 9, trained on 0 to 4", unseen, np.min),
    )
}
claims.table(["input", "best of 1 to 10", "layer 10"], entries)


def phases(values):
    """Logarithms of the fall to the best of the later layers, and of the rise from there."""
    best = values[:, 1:].min(1)
    return np.log(best / values[:, 0]), np.log(values[:, 10] / best)


(first, second), (none, _) = phases(nc1), phases(stack(fresh_parity, "nc1_ten"))
_, settled = phases(stack(parity, "nc1"))
claims.check("separation-phase-one", first, below=-0.15, control=none)
claims.check("separation-phase-two", second, above=0.2, control=settled)
usual = profiles["MLP"]["probe"]
lost, kept = probes[:, 10] - probes.max(1), usual[10] - usual.max()
claims.check("separation-phase-two-probe", lost, below=-0.06, control=kept)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-phases", "caption": "MLPs trained on parity, measured on the ten digits: thin lines are five networks, markers their mean. $D_l$ keeps falling (circles); with the gap between even and odd left out of the spread between classes (squares), it stops falling around layer 5. $\\mathrm{NC}_1^l$ and the probe show two phases."}, "image": {"alt": "Three panels against the layer. Left, D on the ten digits falls from 2.2 to 0.6; without the gap it falls from 2.5 to below 2 at layer five and rises again to 2.2. Middle, NC1 falls from 9 to about 6 at layer two and rises to between 8 and 24. Right, the accuracy of the probe rises from 0.90 to 0.92 and falls to 0.80."}}
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
# The two phases are not a law. Train on the digits 0 to 4 and measure on 5 to 9: no layer is better than the
# input, and the last one is eight times worse or more (the table's last row). A first phase needs early layers that serve both tasks.
# (The lecture adds that {claim}`projection heads and fine-tuning <separation-projection-head>` help the transfer,
# which this book has not tried.)
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
# needs all lengths equal and every $\langle \mu_1, \mu_k \rangle$ negative with the cosine $-\frac{1}{K-1}$. As all
# lengths are equal, each $\mu_k$ is a longest one and the same holds for it: all cosines are $-\frac{1}{K-1}$,
# the simplex ETF. For $K = 2$ it is always attained.
# :::
#
# :::{exercise} Where separation grows
# :label: ex-separation-nearly
# *Core, 30 minutes.* Now the class means are not quite at right angles. Let the columns of $H$ be the class means of
# the inputs as the $K$ large right singular directions of a trained network see them. Show that after layer $l$
# their Gram matrix is $G_0^{1 - l/L}$ with $G_0 = H^\top H$, up to $O(\varepsilon^2)$. What follows for $S_l$ if
# $G_0$ is close to a multiple of $I$? Test it.
# :::
#
# :::::{solution-start} ex-separation-nearly
# :class: dropdown
# :::::
#
# Each layer multiplies these parts by $\Lambda$: after layer $l$ their Gram matrix is $H^\top \Lambda^{2l} H$.
# After layer $L$ the mean of class $k$ is $e_k$, so $H^\top \Lambda^{2L} H = I$, and $Q = \Lambda^L H$ is
# orthogonal. Put $H = \Lambda^{-L} Q$ into the first line: it is $Q^\top \Lambda^{2(l - L)} Q$, and for $l = 0$
# this is $G_0$. Near a multiple of $I$ the power $1 - l/L$ shrinks the off-diagonal part in proportion:
#
# $$ 1 - S_l \approx c \, \Big( 1 - \frac lL \Big) , \qquad l \ge 1 . $$ (eq-separation)
#
# (At the input the means also have parts that the large directions do not see.) The lectures'
# {claim}`lower bound <separation-s-bound>` is linear in $l$ too, and says nothing here: see
# {ref}`the errata <erratum-ps-angles>`. Fifty inputs in 80 dimensions, orthonormal up to noise of 0.02 per entry,
# two starts for each of two $\varepsilon$:

# %%
spread = []
for scale in (0.1, 0.2, 0.1, 0.2):
    near = init_weights([50, 80], **F64)[0] + 0.02 * torch.randn(80, 50, **F64)
    _, after = train_linear(5, scale, samples=near)
    lack = 1 - profile_linear(after, near, classes, feature_separation)[1:]
    per_layer = lack / torch.arange(4, 0, -1)
    spread.append(per_layer.max() / per_layer.min())
rising = np.array(recorded("separation-angles").values[3]["closing"]) / [3, 2, 1]
claims.check(
    "separation-linear-rate", spread, below=2, control=rising.max() / rising.min()
)

# %% [markdown]
# :::::{solution-end}
# :::::
#
# :::{exercise} The clock
# :label: ex-separation-clock
# *Core, 15 minutes.* Take all widths one: $\dot w = w^{L-1} (\sqrt n - w^L)$ for each of $L$ equal weights. From
# $w(0) = \varepsilon$, how long exactly until $w^L$ has reached half of $\sqrt n$, for $L = 2$? What changes for
# $L \ge 3$?
# :::
#
# :::{solution} ex-separation-clock
# :class: dropdown
# Let $p = w^2$, so $\dot p = 2 p (\sqrt n - p)$. Then $\log \frac{p}{\sqrt n - p}$ grows at the rate $2 \sqrt n$
# and ends at zero, so $T = \frac{1}{2 \sqrt n} \log \big( \frac{\sqrt n}{\varepsilon^2} - 1 \big)$. For
# $n = 10$ and $\varepsilon = 0.1, 0.05, 0.025$ it is 0.91, 1.13 and 1.35: shallow networks pay almost nothing for
# a small start. For $L \ge 3$ the time is a power of $\varepsilon$, plus a part that doesn't depend on it.
# :::
#
# :::{exercise} How straight, and why
# :label: ex-separation-open
# *Open, 60 minutes.* How do the shares of the layers in the MLP depend on weight decay and on depth? Is
# $\varrho^L$ the same when you double the depth? Use `ten_layers(seed=…)` and `train` with `SETTINGS`, about ten
# seconds each.
# :::
#
# :::{solution} ex-separation-open
# :class: dropdown
# Look at the shares themselves, train all depths to the same loss, and repeat over seeds. In one try of ours
# $D_L / D_0$ was about 0.05, 0.01 and 0.01 for 5, 10 and 20 layers, and at 20 the line bent. He and Su report
# that the law holds best when training is well tuned, and propose its straightness as a diagnostic.
# :::
#
# ## Summary
#
# Every layer of our trained networks compresses its classes. The middle ones share the work evenly only at
# well-chosen settings. What a linear probe needs is there after four layers.
#
# In a deep linear network the factor per layer is $\varepsilon^2 / n^{1/L}$, times a correction for the $K$
# directions within classes that the last layer turned away from. The correction does not vanish for small
# $\varepsilon$; it shrinks with depth. From right angles the classes move by $O(\varepsilon^2)$, linearly in the
# layer, in either direction; from smaller angles they open linearly.
#
# The line is straight because $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ is conserved. Steep lines take a small start,
# and a small start takes time, $\varepsilon^{-(L-2)}$.
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
