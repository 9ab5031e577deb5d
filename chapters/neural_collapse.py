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
# # Neural collapse
#
# Train a classifier until it makes no more mistakes on its training images, and then keep training.
# What is left to learn? The labels are all right already, yet the features go on moving, and they
# all move towards one figure: every class shrinks to a point, and the points spread out as evenly as
# geometry allows. This chapter defines that figure, measures the distance from it, and watches real
# networks arrive.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** state the four properties of neural collapse and say why each is what a
# classifier should want; prove which arrangement of class means is best; measure collapse without
# falling into three traps; and tell what collapse says about test error, and what it does not.
#
# **Follows** lecture 003: *Setup*, *Deep Neural Network Classifiers*, *Neural Collapse in Classification
# I–VI*, and the experiments from *NC is algorithm independent* to *NC Occurs on Random Labels/Inputs*.
# Lectures 000 and 001 open with the first of these slides.
#
# **You need** linear algebra up to the pseudo-inverse, softmax regression, and to have trained a small
# network in PyTorch before.
#
# **Time**: reading, an hour; running, about two minutes on a CPU. A GPU pays off only for the larger
# data sets.
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
from lecturelib.datasets import load, load_standardized
from lecturelib.device import default_device, seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.metrics import ClassStatistics, nc1, nc2, nc3, nc4, simplex_etf
from lecturelib.networks import MLP
from lecturelib.neural_collapse import ClassMeans, NeuralCollapse
from lecturelib.training import accuracy, train

use_style()
torch.set_num_threads(1)  # networks this small lose more to waiting than they gain
DEVICE = default_device()
generator = seed_everything(0)

# %% [markdown]
# (sec-nc-classifier)=
# ## A classifier is a map and a rule
#
# A deep classifier does two things. A *feature map* $\phi_\theta$, all layers but the last, turns an
# input $x$ into a {term}`feature` vector $h = \phi_\theta(x) \in \mathbb R^d$. A *linear rule* then reads the
# label off it: the last layer, with weights $W \in \mathbb R^{K \times d}$ and bias
# $b \in \mathbb R^K$, gives class $k$ the score $(Wh + b)_k$, and the largest score wins. The rule is
# simple, so the map must do the work: it has to move the classes to where one matrix can tell them
# apart.
#
# Both are trained together, on $n$ examples of each of $K$ classes, $N = nK$ in all:
#
# $$
# \min_{\theta, W, b} \; \frac1N \sum_{k=1}^{K} \sum_{i=1}^{n}
#   \mathcal L_{\mathrm{CE}}\big(W \phi_\theta(x_{k,i}) + b,\, k\big)
#   + \frac{\lambda}{2} \big\| (\theta, W, b) \big\|^2 .
# $$ (eq-training)
#
# Here $\mathcal L_{\mathrm{CE}}(z, k) = -\log \big( e^{z_k} / \sum_j e^{z_j} \big)$ is the cross-entropy of
# the scores $z$, and the last term is called *{term}`weight decay`*. The factor ½ makes $\lambda$ what PyTorch
# calls `weight_decay`. The slides write $\lambda \| \cdot \|^2$ without it, so their $\lambda$ is half of ours.
#
# Our inputs are real: 1 797 handwritten digits of 8 × 8 pixels, which come with scikit-learn. We take
# the first 140 of each class for training, so that the classes are exactly balanced, and keep 397 for
# testing. The names `DATASET` and `SCALE` in the next cell are switches: on a GPU, the same cells run on
# `"mnist"`, `"fashion_mnist"` or `"cifar10"`, with networks `SCALE` times as wide. (The classes of MNIST
# are only nearly balanced; $N = nK$ then holds approximately.)

# %%
DATASET, SCALE = "digits", 1
# The claims below were measured with these settings; elsewhere they only report.
claims.strict(DATASET == "digits" and SCALE == 1)

train_set, test_set = load_standardized(DATASET, device=DEVICE)
x_train, y_train = train_set.inputs, train_set.labels
x_test, y_test = test_set.inputs, test_set.labels
K = train_set.num_classes
print(len(y_train), "training and", len(y_test), "test images,", K, "classes")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-digits", "caption": "The first training image of each class, before standardisation."}, "image": {"classes": "photograph", "alt": "A row of ten small grey images, the handwritten digits 0 to 9, eight by eight pixels each."}}
raw = load(DATASET)
fig, axes = plt.subplots(1, 10, figsize=(7, 0.9))
for k, ax in enumerate(axes):
    image = raw.inputs[raw.labels == k][0]
    ax.imshow(image.permute(1, 2, 0).squeeze(-1), cmap="gray_r")
    ax.set_title(raw.classes[k])
    ax.axis("off")
plt.show()

# %% [markdown]
# The network is an ordinary multilayer perceptron: five hidden layers of 100 units, each with batch
# normalisation and ReLU, then the last layer, called the *head*; its scores are the *logits*.

# %%
WIDTH = 100 * SCALE
WIDTHS = [x_train[0].numel(), *[WIDTH] * 5, K]
net = MLP(WIDTHS, batch_norm=True).to(DEVICE)
features = net.features(x_train)
print("features", tuple(features.shape), "→ logits", tuple(net.head(features).shape))

# %% [markdown]
# (sec-nc-properties)=
# ## What should the features look like?
#
# After a while the network labels every training image correctly. What follows is called the
# *{term}`terminal phase of training`* {cite}`papyan2020prevalence`: the training error is zero, the loss is
# not, and training goes on. Suppose you could place the features by hand. What would you wish for?
#
# Write $h_{k,i}$ for the feature of example $i$ of class $k$, $\bar h_k = \frac1n \sum_i h_{k,i}$ for
# the {term}`class means <class mean>` and $\bar h = \frac1K \sum_k \bar h_k$ for their mean.
#
# :::{prf:definition} Neural collapse
# :label: def-nc
#
# A classifier has collapsed, in the limit of its training, if
#
# - **NC1, variability collapse:** every example sits on its class mean,
#   $h_{k,i} \to \bar h_k$;
# - **NC2, {term}`simplex ETF`:** the centred means $\bar h_k - \bar h$ have one common length, and the cosine
#   between any two of them is $-\frac{1}{K-1}$;
# - **NC3, self-duality:** classifier and centred means are the same up to one scale $c > 0$,
#   $w_k \to c \, (\bar h_k - \bar h)$, where $w_k$ is row $k$ of $W$;
# - **NC4, nearest centre:** the classifier decides for the class whose mean is nearest, also on new
#   inputs: $\arg\max_k (Wh + b)_k$ is $\arg\min_k \| h - \bar h_k \|$, with the means $\bar h_k$ of
#   the training features.
# :::
#
# Each wish is reasonable on its own. If examples of one class differ, some of them lie closer to the
# border than others, and pulling them together moves the worst ones away from it: that is NC1. If the
# means stood at unequal angles, two classes would be easier to confuse than necessary: NC2 asks for
# the best worst case. Once the features are fixed, the best rows of $W$ are the directions that
# separate each mean from the others, and for means in such a symmetric position these are the means
# themselves: NC3. And when all of that holds, and bias and global mean favour no class (the sums
# $b_k + \langle w_k, \bar h \rangle$ are equal), "largest score" and "nearest mean" are the same rule:
# NC4. What is remarkable is not that the four are desirable but that gradient descent, told only to
# lower {eq}`eq-training`, brings them about. {claim}`It was found in common networks of many kinds,
# from VGG to DenseNet, on seven standard data sets <collapse-prevalent>`.
#
# (sec-nc-simplex)=
# ## Why −1/(K−1)?
#
# How far apart can $K$ directions be? Two can point in opposite ways, at cosine −1. With a third
# direction, not all pairs can be opposite. The exact answer has a short proof.
#
# :::{prf:theorem} Rankin's simplex bound
# :label: thm-rankin
#
# For any $K \ge 2$ unit vectors $u_1, \dots, u_K$,
#
# $$\max_{k \neq k'} \langle u_k, u_{k'} \rangle \ge -\frac{1}{K-1},$$
#
# with equality exactly if $\langle u_k, u_{k'} \rangle = -\frac{1}{K-1}$ for all $k \ne k'$. Such
# vectors exist in $\mathbb R^d$ if and only if $d \ge K - 1$.
# :::
#
# :::{prf:proof}
# A square is not negative. Expand it, and bound each of the $K(K-1)$ mixed terms by the largest:
#
# $$
# \begin{aligned}
# 0 \le \Big\| \sum_k u_k \Big\|^2 &= K + \sum_{k \ne k'} \langle u_k, u_{k'} \rangle \\
#   &\le K + K (K-1) \max_{k \ne k'} \langle u_k, u_{k'} \rangle .
# \end{aligned}
# $$
#
# Solving for the maximum gives the bound. Where the maximum is $-\frac{1}{K-1}$, the right-hand end is
# zero, so both inequalities are equalities: the second says that all mixed terms equal the maximum.
# Conversely, if all of them equal $-\frac1{K-1}$, so does their maximum.
#
# The Gram matrix of such vectors is
# $G = \frac{K}{K-1} \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$, a multiple of the projection onto the
# vectors that sum to zero. It is positive semidefinite, so it *is* the Gram
# matrix of some vectors, and it has rank $K - 1$, so these span $K - 1$ dimensions: they fit into
# $\mathbb R^d$ if and only if $d \ge K - 1$.
# :::
#
# This arrangement is the *simplex equiangular tight frame*, ETF for short: two opposite points for
# $K = 2$, the corners of an equilateral triangle for $K = 3$, of a regular tetrahedron for $K = 4$.
# The proof also tells that its vectors sum to zero, which is why NC2 looks at *centred* means. The slides
# give two more reasons to like it: among equally long codewords {claim}`the simplex is an optimal code
# for Shannon's Gaussian channel <etf-shannon-code>`, and for features on an ETF
# {claim}`the max-margin classifier is the same ETF <etf-max-margin>` {cite}`papyan2020prevalence`.
# To place more vectors than $2d$ as far apart as possible is much harder; the slides call our case
# {claim}`the simplest one of the Tammes problem <tammes-problem>`.
#
# Do not take the theorem's word for it. Let four points on the sphere repel each other, from 64 random
# starts, and see where they come to rest. Beside them stand five points, one more than three dimensions
# can hold at equal obtuse angles.


# %%
def cosines(vectors):
    """Return the cosines between different rows, shape (…, K (K - 1))."""
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    different = ~torch.eye(unit.shape[-2], dtype=torch.bool)
    return (unit @ unit.mT)[..., different]


def at_rest(num_points, starts=64):
    """Let points on the sphere repel each other; return the cosines at the end."""
    shape = (starts, num_points, 3)
    points = torch.randn(shape, generator=generator, dtype=torch.float64)
    solver = torch.optim.Adam([points.requires_grad_()], lr=0.05)
    for _ in range(1000):
        solver.zero_grad()
        torch.exp(4 * cosines(points)).sum().backward()
        solver.step()
    return cosines(points.detach())


# %%
four, five = at_rest(4), at_rest(5)
claims.check("etf-repulsion", four, -1 / 3, abs=1e-3, control=five.amax(-1))

lowest = four.amax(-1).min()
claims.check("rankin-bound", lowest + 1 / 3, above=-1e-6, control=lowest + 1 / 4)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-tetrahedron", "caption": "The simplex ETF of four classes is a regular tetrahedron, and its vectors sum to zero. It needs three dimensions, one fewer than there are classes."}, "image": {"alt": "Four coloured arrows in three dimensions from the origin to the corners of a regular tetrahedron, whose six edges are drawn in grey."}}
frame = simplex_etf(4, 3)


def draw_frame(ax, frame):
    """Draw vectors as arrows from the origin, with a grey line between every two tips."""
    for k, tip in enumerate(frame):
        ax.plot(*zip((0, 0, 0), tip, strict=True), "-", color=COLOURS[k])
        for other in frame[k + 1 :]:
            ax.plot(*zip(tip, other, strict=True), "-", color="0.6", linewidth=0.8)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), xticks=[], yticks=[], zticks=[])
    ax.set_box_aspect((1, 1, 1), zoom=1.1)


fig, ax = plt.subplots(figsize=(4, 3.4), subplot_kw={"projection": "3d"})
draw_frame(ax, frame.tolist())
plt.show()

# %% [markdown]
# :::{admonition} Slide check: centred or not?
# :class: warning slide-check
# :name: slide-check-nc-centred
# Lecture 003, *Neural Collapse in Classification III* and *V*, writes NC2 and NC3 with the class means
# $\bar h_k$ themselves. After a ReLU that cannot hold: vectors without negative entries have no negative
# cosine. The statement is about the *centred* means, as in {cite}`papyan2020prevalence`. Slide *II* says
# that collapsed features live on a $K$-dimensional subspace. That is right for the features, since $K$
# points span at most $K$ dimensions; the centred means span only $K - 1$, because they sum to zero. Two
# lines show the second point, on means that are as generic as can be; {ref}`an exercise <ex-nc-relu>`
# shows the first on a trained network.
# :::

# %%
means = torch.randn(10, 100, generator=generator, dtype=torch.float64)
rank, uncentred = (torch.linalg.matrix_rank(m) for m in (means - means.mean(0), means))
claims.check("centred-means-rank", rank, 9, control=uncentred)

# %% [markdown]
# (sec-nc-measures)=
# ## From four wishes to four numbers
#
# To watch collapse happen we need numbers: zero when the property holds.
#
# **NC1.** Compare the scatter within the classes with the scatter between them, direction by
# direction. With
#
# $$
# \begin{aligned}
# \Sigma_W &= \frac1N \sum_{k,i} (h_{k,i} - \bar h_k)(h_{k,i} - \bar h_k)^\top, \\
# \Sigma_B &= \frac1K \sum_k (\bar h_k - \bar h)(\bar h_k - \bar h)^\top ,
# \end{aligned}
# $$
#
# the measure is
#
# $$\mathrm{NC}_1 = \operatorname{tr}\big( \Sigma_W \Sigma_B^\dagger \big).$$ (eq-nc1)
#
# The pseudo-inverse is not a nicety: $\Sigma_B$ has rank at most $K - 1$ in a space of $d$ dimensions.
#
# **NC2 and NC3.** An ETF is recognised by its Gram matrix (all inner products), whatever its orientation.
# So scale the Gram matrix to norm one (Frobenius: the root of the sum of squares) and subtract that of an
# ETF,
#
# $$
# \Big\| \frac{G}{\|G\|_F} - \frac{1}{\sqrt{K-1}} \Big( I - \frac1K \mathbf 1 \mathbf 1^\top \Big) \Big\|_F ,
# $$ (eq-nc2)
#
# with $G = \bar H \bar H^\top$ for the centred means $\bar H$ (rows), $G = W W^\top$ for the classifier,
# and $G = W \bar H^\top$ for NC3. Both matrices have norm one, so the distance is at most 2, and at most
# $\sqrt 2$ for NC2, where neither has a negative eigenvalue. The code behind the slides' figures applies
# it to the rows of $W$; we measure both.
#
# The number for NC3 is zero if the centred means form an ETF *and* $W$ is a positive multiple of them. It is not
# zero only then: a part of $W$ orthogonal to all centred means goes unseen, and $W = (\bar H^\dagger)^\top$
# gives zero for any means that span $K - 1$ dimensions. So read it together with NC2, and look at the
# angles themselves once.
#
# **NC4** is a fraction: how often the two rules disagree, counted on test images.
#
# ### Computing NC1 without large matrices
#
# Formula {eq}`eq-nc1` read literally asks for two $d \times d$ matrices and a singular value
# decomposition. For $d = 2048$ features that is slow, and in single precision it can go badly wrong, as
# we shall see. There is no need for either.
#
# :::{prf:lemma} NC1 from a small matrix
# :label: lem-gram
#
# Let $M$ be the $K \times d$ matrix of class means, let the columns of $C \in \mathbb R^{K \times (K-1)}$
# be an orthonormal basis of the vectors that sum to zero, and let $B = C^\top M$ have full rank $K-1$.
# With $A = \sqrt K \, (B B^\top)^{-1} B$,
#
# $$\Sigma_B^\dagger = A^\top A, \qquad
# \mathrm{NC}_1 = \frac1N \sum_{k,i} \big\| A (h_{k,i} - \bar h_k) \big\|^2 .$$
# :::
#
# :::{prf:proof}
# $C C^\top = I - \frac1K \mathbf 1 \mathbf 1^\top$ centres the means, hence
# $\Sigma_B = \frac1K M^\top C C^\top M = \frac1K B^\top B$. Put $S = A^\top A = K B^\top (B B^\top)^{-2} B$
# and multiply: $\Sigma_B S = B^\top (B B^\top)^{-1} B = S \Sigma_B$, which is the orthogonal projection $P$
# onto the row space of $B$. It is symmetric, $P \Sigma_B = \Sigma_B$ and $P S = S$: these are the four
# Moore–Penrose conditions, so $S = \Sigma_B^\dagger$. Finally
# $\operatorname{tr}(\Sigma_W A^\top A) = \operatorname{tr}(A \Sigma_W A^\top)$ is the average of
# $\| A (h_{k,i} - \bar h_k) \|^2$.
# :::
#
# The one direction in which the means carry nothing is removed by $C$ *exactly*; no threshold has to
# guess which singular values are "really" zero. What remains to invert has $K - 1$ rows. In code the
# lemma is as short as on paper, and a simplex ETF supplies $C$: its columns, rescaled, are orthonormal
# and sum to zero.


# %%
def nc1_from_lemma(features, labels):
    classes = labels.unique()
    means = torch.stack([features[labels == k].mean(0) for k in classes])
    K = len(means)
    C = simplex_etf(K, K - 1, dtype=features.dtype) * ((K - 1) / K) ** 0.5
    B = C.T @ means
    A = K**0.5 * torch.linalg.solve(B @ B.T, B)
    return ((features - means[labels]) @ A.T).square().sum() / len(features)


h = torch.randn(500, 30, generator=generator, dtype=torch.float64)
y = torch.arange(500) % 5
S_W, S_B = torch.zeros(30, 30).double(), torch.zeros(30, 30).double()
means = torch.stack([h[y == k].mean(0) for k in range(5)])
for k in range(5):
    S_W += (h[y == k] - means[k]).T @ (h[y == k] - means[k]) / 500
    S_B += torch.outer(means[k] - means.mean(0), means[k] - means.mean(0)) / 5
textbook = torch.trace(S_W @ torch.linalg.pinv(S_B, rtol=1e-10))

uncentred = torch.trace(S_W @ torch.linalg.pinv(means.T @ means / 5, rtol=1e-10))

ratio = nc1_from_lemma(h, y) / textbook
claims.check("nc1-lemma", ratio, 1, abs=1e-9, control=uncentred / textbook)
ratio = nc1(h, y) / textbook
claims.check("nc1-library", ratio, 1, abs=1e-9, control=ratio / 5)

# %% [markdown]
# The library's `nc1` is this lemma with the care that large inputs need: it checks them, works through
# them in pieces, accumulates in double precision, and takes the pseudo-inverse of $B$, so that means in
# special position are allowed too.
#
# ### A case with a known answer
#
# A measure is trustworthy once it gives the right number where we know it. Put the class means on an
# ETF of radius $a$ and add isotropic noise of standard deviation $s$ per coordinate. The vectors of an
# ETF satisfy $\sum_k u_k u_k^\top = \frac{K}{K-1} P$, with $P$ the projection onto their span, so
# $\Sigma_B = \frac{a^2}{K-1} P$ ({ref}`an exercise <ex-nc-spectrum>` proves it another way). With many samples
# per class, $\Sigma_W = s^2 I$; and since $\operatorname{tr} P = K - 1$,
#
# $$\mathrm{NC}_1 = \operatorname{tr}\Big( s^2 \, \frac{K-1}{a^2} P \Big)
#   = \frac{s^2 (K-1)^2}{a^2} .$$ (eq-etf-noise)


# %%
def noisy_etf(num_classes, dim, samples_per_class, radius, noise):
    """Draw features around a simplex ETF: (N, d) rows and their labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(num_classes).repeat(samples_per_class)
    frame = simplex_etf(num_classes, dim, generator=generator, dtype=torch.float64)
    normal = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return radius * frame[labels] + noise * normal, labels


closed_form = 0.1**2 * (10 - 1) ** 2 / 2.0**2
h, y = noisy_etf(10, 30, samples_per_class=2000, radius=2.0, noise=0.1)
ratio = nc1(h, y) / closed_form
claims.check("nc1-etf-noise", ratio, 1, rel=0.03, control=ratio * (10 - 1))

# %% [markdown]
# Drag the noise in {numref}`fig-nc1-against-noise`. Three classes need a plane only, so you see all there is: at
# $s = 0.1$ the classes are three separate clouds; at $s = 0.5$ the noise reaches the neighbours, and the
# measure has grown twenty-five-fold, because it counts squares. (In a running notebook, add `live=True` to
# the call of `explore`, and the slider stops at any value in between.)


# %% tags=["hide-input"]
def draw_noise(noise):
    h, y = noisy_etf(3, 2, samples_per_class=80, radius=1.0, noise=noise)
    levels = np.linspace(0.04, 0.72, 50)
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
    for k in range(3):
        left.scatter(*h[y == k].T, s=8, color=COLOURS[k], marker="osD"[k])
    limits = (-2.2, 2.2)
    left.set(xlim=limits, ylim=limits, aspect="equal", title=f"noise $s = {noise}$")
    right.plot(levels, levels**2 * 4, color="0.3", label="$s^2 (K-1)^2 / a^2$")
    right.plot(noise, nc1(h, y), "o", color=COLOURS[1], label="measured")
    right.set(xlabel="noise $s$", ylabel="NC1", yscale="log", xscale="log")
    right.set_xticks([0.05, 0.1, 0.2, 0.5], [0.05, 0.1, 0.2, 0.5])
    right.minorticks_off()
    right.legend()
    return fig


def describe_noise(noise):
    clouds = "that stay apart" if noise < 0.25 else "that touch"
    clouds = clouds if noise < 0.45 else "that run into each other"
    measured = nc1(*noisy_etf(3, 2, samples_per_class=80, radius=1.0, noise=noise))
    return (
        f"Three clouds {clouds}, around the corners of an equilateral triangle. On the "
        "right NC1 rises with the noise along a straight line on logarithmic axes; "
        f"the measured value is {measured.item():.2g}."
    )


explore(
    draw_noise,
    name="nc1-against-noise",
    alt=describe_noise,
    caption="NC1 against the noise $s$: three classes on a simplex ETF of radius $a = 1$ in the plane.",
    labels={"noise": "Noise s"},
    noise=[k / 20 for k in range(1, 15)],
    start={"noise": 0.1},
)

# %% [markdown]
# (sec-nc-training)=
# ## Watching a network collapse
#
# Now the real thing. Three networks start from the same weights and minimise the same objective
# {eq}`eq-training`, with three very different algorithms: stochastic gradient descent with momentum,
# Adam, and L-BFGS, which sees all data at once and uses curvature. Lecture 003 (*NC is algorithm
# independent*) shows that {claim}`a ResNet-18 on CIFAR-10 collapses with all three <resnet18-cifar10>`. If
# collapse were a quirk of SGD's noise, L-BFGS would not show it.
#
# A small number means little without one to compare it with. So a fourth network is trained by SGD
# *without* weight decay: it fits the images as well as the others, and the end of the chapter says why it
# stays behind. And ten random vectors, centred, have an NC2 as well: in a hundred dimensions about 0.3.


# %%
def measurements(x, y):
    """Return the metrics to record, for the features of the inputs x with labels y."""

    def statistics(net):
        return ClassStatistics.from_features(net.features(x), y)

    def disagreement(net):
        head, means = net.head, statistics(net).means
        return nc4(net.features(x_test), y_test, head.weight, head.bias, means=means)

    return {
        "nc1": lambda net: nc1(net.features(x), y),
        "nc2": lambda net: nc2(statistics(net).centred_means),
        "nc2 of W": lambda net: nc2(net.head.weight),
        "nc3": lambda net: nc3(net.head.weight, statistics(net).means),
        "nc4": disagreement,
        "train accuracy": lambda net: accuracy(net, x, y),
        "test accuracy": lambda net: accuracy(net, x_test, y_test),
    }


EPOCHS = 480 if DATASET == "digits" else 150
SGD = {
    "optimizer": "sgd",
    "lr": 0.02,
    "epochs": EPOCHS,
    "milestones": [EPOCHS * 5 // 6],
}
SETTINGS = {
    "SGD": SGD,
    "Adam": SGD | {"optimizer": "adam", "lr": 1e-3},
    "L-BFGS": {"optimizer": "lbfgs", "lr": 1.0, "epochs": 32},
    "SGD, λ = 0": SGD | {"weight_decay": 0.0},
}
SHARED = {"batch_size": 350, "weight_decay": 5e-3}

# %%
runs, nets = {}, {}
for name, settings in SETTINGS.items():
    seed_everything(0)
    nets[name] = MLP(WIDTHS, batch_norm=True).to(DEVICE)
    options = SHARED | settings | {"every": settings["epochs"] // 32}
    metrics = measurements(x_train, y_train)
    runs[name] = train(nets[name], x_train, y_train, **options, metrics=metrics)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-algorithms", "caption": "Three algorithms, one destination. A dot marks the first measurement with zero training error; in the terminal phase, to its right, the measures fall further, those of Adam with setbacks. Without weight decay they soon level off. (L-BFGS takes 32 outer steps of up to 20 iterations, the others 480 epochs.)"}, "image": {"alt": "Three panels with NC1, NC2 of the class means and NC3 against the share of training done, on logarithmic axes. In each, the curves of SGD, Adam and L-BFGS fall by one to five orders of magnitude and end below where they were when the training error reached zero, Adam's with several peaks on the way; a dotted curve, SGD without weight decay, levels off above them."}}
fig, axes = plt.subplots(1, 3, figsize=(7, 3.2), sharex=True)
titles = {"nc1": "NC1: variability", "nc2": "NC2: angles", "nc3": "NC3: duality"}
for ax, (metric, title) in zip(axes, titles.items(), strict=True):
    for (name, run), style, colour in zip(
        runs.items(), ["-", "--", "-.", ":"], [*COLOURS[:3], "0.4"], strict=True
    ):
        progress = run.steps / run.steps[-1]
        terminal = int((run["train accuracy"] == 1).double().argmax())
        ax.plot(progress, run[metric], style, color=colour, label=name)
        ax.plot(progress[terminal], run[metric][terminal], "o", color=colour)
    ax.set(title=title, yscale="log", xlabel="share of training")
axes[0].legend()
plt.show()

# %% [markdown]
# The network had a hundred dimensions to place its features in, and fits its training set long before
# the end. Nothing in {eq}`eq-training` mentions class means or angles. The measures fall all the same,
# for all three algorithms. Here is where they end, and what they are compared with.


# %%
def last(runs, metric):
    """Return a metric's last value in every run."""
    return [run[metric][-1] for run in runs.values()]


untrained = MLP(WIDTHS, batch_norm=True).to(DEVICE).eval()
measures = ["nc1", "nc2", "nc2 of W", "nc3", "nc4"]
with torch.no_grad():
    before = [measurements(x_train, y_train)[name](untrained) for name in measures]
rows = {name: [run[measure][-1] for measure in measures] for name, run in runs.items()}
claims.table(["NC1", "NC2", "NC2 of W", "NC3", "NC4"], rows | {"untrained": before})

# %% [markdown]
# A bar that says "collapsed" has to keep the last two rows out. In our runs it does so for each of the
# measures but NC4, which cannot tell the network without weight decay from the others.

# %%
random_means = torch.randn(K, WIDTH, generator=generator)
random_nc2 = nc2(random_means - random_means.mean(0))
baseline = runs["SGD, λ = 0"]
trained_runs = {name: runs[name] for name in ["SGD", "Adam", "L-BFGS"]}

ends = {
    measure: last(trained_runs, measure) for measure in [*measures, "train accuracy"]
}
without = {measure: baseline[measure][-1] for measure in measures}

# %%
fit, guess = ends["train accuracy"], accuracy(untrained, x_train, y_train)
claims.check("collapse-terminal-phase", fit, 1, control=guess)
claims.check("collapse-nc1", ends["nc1"], below=0.01, control=without["nc1"])
control = [without["nc2"], random_nc2]
claims.check("collapse-nc2", ends["nc2"], below=0.11, control=control)
control = [without["nc2 of W"], random_nc2]
claims.check("collapse-nc2-classifier", ends["nc2 of W"], below=0.08, control=control)
claims.check("collapse-nc3", ends["nc3"], below=0.1, control=without["nc3"])
claims.check("collapse-nc4", ends["nc4"], below=0.01, control=before[-1])


# %%
def self_duality(net):
    """Cosine between each row of W and its centred class mean; also the statistics."""
    with torch.no_grad():
        trained = ClassStatistics.from_features(net.eval().features(x_train), y_train)
    rows = net.head.weight.detach().to(trained.means)
    return torch.cosine_similarity(rows, trained.centred_means), trained


duality, trained = self_duality(nets["SGD"])
without, without_decay = self_duality(nets["SGD, λ = 0"])
claims.check("collapse-self-dual", duality, above=0.96, control=without.min())

# %% [markdown]
# The last line looks at the angles themselves: every row of $W$ is nearly parallel to its centred mean.
#
# On the *training* images NC4 would be zero without further ado once NC1 is small and the training error
# zero: a feature that sits on the mean of its class has no nearer one. That the two rules agree on test
# images as well, of which some lie far from all means, is what the measure is there for.

# %% [markdown]
# Ten means cannot be drawn, but four can: the centred means of four classes span three dimensions
# exactly. So train the same network on the digits 0 to 3, keep the features after some epochs, and look
# at them in the space of their means, turned and scaled to fit the tetrahedron. Drag the epoch.

# %%
chosen = y_train < 4
x_four, y_four = x_train[chosen], y_train[chosen]
seed_everything(0)
net = MLP([x_train[0].numel(), *[WIDTH] * 5, 4], batch_norm=True).to(DEVICE)
metrics = {name: measurements(x_four, y_four)[name] for name in ["nc1", "nc2"]}
metrics["features"] = lambda net: net.features(x_four).double().cpu()
options = SHARED | SGD | {"epochs": 300, "milestones": [250], "batch_size": 140}
shown = [0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 300]
history = train(net, x_four, y_four, **options, metrics=metrics, every=shown)

seed_everything(0)
bare = MLP([x_train[0].numel(), *[WIDTH] * 5, 4], batch_norm=True).to(DEVICE)
options |= {"weight_decay": 0.0, "metrics": {"nc1": metrics["nc1"]}, "every": [0]}
undecayed = train(bare, x_four, y_four, **options)["nc1"][-1]
four_random = torch.randn(4, WIDTH, generator=generator)

final = history["nc1"][-1]
claims.check("collapse-four-classes", final, below=0.005, control=undecayed)
first, *_, final = history["nc2"]
control = [first, nc2(four_random - four_random.mean(0))]
claims.check("collapse-tetrahedron", final, below=0.06, control=control)


# %% tags=["hide-input"]
def in_means_space(h, y):
    """Return coordinates (N, 3) in the span of four class means, turned to fit an ETF."""
    statistics = ClassStatistics.from_features(h, y)
    centred = statistics.centred_means
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:3]
    # Procrustes: the orthogonal map that brings the means closest to the ETF.
    target = simplex_etf(4, 3, dtype=h.dtype)
    left, _, right = torch.linalg.svd((centred @ axes.T).T @ target)
    coordinates = (h - statistics.global_mean) @ axes.T @ (left @ right)
    return coordinates / centred.norm(dim=1).mean()


def draw_epoch(epoch):
    y, when = y_four.cpu(), shown.index(epoch)
    coordinates = in_means_space(history["features"][when], y)
    fig, ax = plt.subplots(figsize=(6, 4), subplot_kw={"projection": "3d"})
    draw_frame(ax, simplex_etf(4, 3).tolist())
    for k in range(4):
        points = coordinates[y == k]
        colour = COLOURS[k]
        ax.scatter(*points.T, s=5, color=colour, alpha=0.5, label=f"digit {k}")
        mean = {"s": 60, "color": colour, "edgecolor": "black", "depthshade": False}
        ax.scatter(*points.mean(0), **mean)
    ax.set_title(f"epoch {epoch}: NC1 = {history['nc1'][when]:.2g}")
    fig.legend(loc="outside center left", markerscale=2)
    return fig


def describe_epoch(epoch):
    measured = history["nc1"][shown.index(epoch)].item()
    clouds = "wide clouds that overlap" if measured > 1 else "clouds that stand apart"
    clouds = clouds if measured > 0.016 else "spots in the corners of the tetrahedron"
    return (
        f"The features of four digits in the space of their class means: {clouds}. "
        f"NC1 is ⟨{measured:.2g}⟩."
    )


explore(
    draw_epoch,
    name="means-become-etf",
    alt=describe_epoch,
    caption="Class means becoming a simplex ETF: small dots are training images, large ones class "
    "means, lines the tetrahedron.",
    labels={"epoch": "Epoch"},
    epoch=shown,
    start={"epoch": 3},
    play="epoch",
)

# %% [markdown]
# (sec-nc-random)=
# ## Collapse needs no meaning: random labels
#
# Perhaps the features collapse because images of a digit resemble each other. Test it: take 50 images
# per class and shuffle their labels, so that nothing connects image and label. A network can only learn
# them by heart. Does it then still build an ETF?

# %%
few = torch.cat([(y_train == k).nonzero().flatten()[:50] for k in range(K)])
order = torch.randperm(len(few), generator=generator).to(DEVICE)
x_few, y_random = x_train[few], y_train[few][order]


def memorise(x, y, width, weight_decay=1e-2):
    """Train a network of the given width on inputs x with arbitrary labels y."""
    seed_everything(0)
    widths = [x[0].numel(), *[width * SCALE] * 5, K]
    net = MLP(widths, batch_norm=True).to(DEVICE)
    options = SGD | {"epochs": 600, "milestones": [450], "every": 600}
    options |= {"batch_size": 250, "weight_decay": weight_decay}
    return train(net, x, y, **options, metrics=measurements(x, y))


widths = [10, 20, 50, 100, 200]
random_runs = {width: memorise(x_few, y_random, width) for width in widths}

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-random-labels", "caption": "Random labels: NC1 against the width of the network, with the training and test accuracy below. Memorising is not enough: at width 20 the training error is zero, but the features have not collapsed. The widest two collapse; on test images all of them can only guess."}, "image": {"alt": "Upper panel, NC1 against network width 10 to 200 on logarithmic axes, falling from about 100 at width 10 to below 0.01 at widths 100 and 200. Lower panel, training accuracy close to 1 at width 10 and 1 from width 20 on; test accuracy near 0.1 throughout."}}
fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(6, 4), sharex=True, height_ratios=[3, 2]
)
top.loglog(widths, last(random_runs, "nc1"), "o-")
top.set(ylabel="NC1")
fit, guess = (last(random_runs, f"{part} accuracy") for part in ("train", "test"))
bottom.plot(widths, fit, "o-", label="training accuracy")
bottom.plot(widths, guess, "s--", label="test accuracy")
bottom.set(xlabel="width", ylim=(0, 1.1), xticks=widths, xticklabels=widths)
bottom.minorticks_off()
bottom.legend(loc="center right")
plt.show()

# %%
wide, narrow = random_runs[200], [random_runs[width] for width in (10, 20)]
undecayed = memorise(x_few, y_random, width=200, weight_decay=0.0)
random_means = torch.randn(K, 200 * SCALE, generator=generator)
random_nc2 = nc2(random_means - random_means.mean(0))

before = wide["train accuracy"][0]
after = [run["train accuracy"][-1] for run in (narrow[1], wide)]
claims.check("random-labels-fit", after, 1, control=before)
control = [undecayed["nc1"][-1], narrow[1]["nc1"][-1]]
claims.check("random-labels-collapse", wide["nc1"][-1], below=0.03, control=control)
control = [undecayed["nc2"][-1], random_nc2]
claims.check("random-labels-etf", wide["nc2"][-1], below=0.12, control=control)
measured = [run["nc1"][-1] for run in narrow]
claims.check("random-labels-narrow", measured, above=0.3, control=wide["nc1"][-1])
control = runs["SGD"]["test accuracy"][-1]
claims.check("random-labels-chance", guess, below=0.2, control=control)

# %% [markdown]
# It does, once the network is wide enough; fitting the labels alone is not enough. Nor do the inputs need
# a meaning. Replace the images by Gaussian noise:

# %%
noise = torch.randn(x_few.shape, generator=generator).to(DEVICE)
noise_run = memorise(noise, y_random, width=200)
undecayed = memorise(noise, y_random, width=200, weight_decay=0.0)

before, *_, after = noise_run["train accuracy"]
claims.check("random-inputs-fit", after, 1, control=before)
final, control = noise_run["nc1"][-1], undecayed["nc1"][-1]
claims.check("random-inputs-collapse", final, below=0.03, control=control)

# %% [markdown]
# So collapse is not a property of the data: a sufficiently flexible map, trained with weight decay past
# zero error, does it here without any pattern to learn. This is the reason to study a model in which the
# features are not computed from inputs at all but are free variables: the *{term}`unconstrained features model`*
# {cite}`mixon2020neural,zhu2021geometric`. [Its minimisers](unconstrained_features.ipynb) can be
# written down, and unless weight decay is too strong they are collapsed.
#
# (sec-nc-test-error)=
# ## What collapse says about test error
#
# The random-label networks answer the question bluntly: collapse on the *training* set says nothing
# about test accuracy. The widest of them collapse and guess.
#
# What about features of *test* images? Take the network that SGD trained on the true labels. Its test
# images are mostly classified correctly, yet their features have not collapsed nearly as far.


# %%
def test_over_train(net):
    """Return how much less collapsed the test features are than the training features."""
    with torch.no_grad():
        on_train, on_test = (net.eval().features(x) for x in (x_train, x_test))
        return nc1(on_test, y_test) / nc1(on_train, y_train)


correct = last(trained_runs, "test accuracy")
claims.check("test-accuracy", correct, above=0.9, control=guess)
ratio, control = (test_over_train(net) for net in (nets["SGD"], untrained))
claims.check("test-nc1", ratio, above=30, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-test-features", "caption": "Training and test features of three classes, along the two directions in which their means differ. Training features sit on the means; many test features lie between them."}, "image": {"alt": "Two scatter plots of three digit classes in the plane of their means. Left, the training features form three points at the corners of a triangle. Right, the test features cluster near the same corners, with some stretched towards other corners or the centre."}}
with torch.no_grad():
    three = [3, 8, 9] if K >= 10 else [0, 1, 2]
    h_train, h_test = (nets["SGD"].features(x).double() for x in (x_train, x_test))
corners = trained.means[three]
plane = torch.linalg.svd(corners - corners.mean(0), full_matrices=False)[2][:2]
parts = {"training images": (h_train, y_train), "test images": (h_test, y_test)}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), sharex=True, sharey=True)
for ax, (title, (h, y)) in zip(axes, parts.items(), strict=True):
    for k, colour, marker in zip(three, COLOURS, "osD", strict=False):
        points = ((h[y == k] - corners.mean(0)) @ plane.T).cpu()
        style = {"s": 12, "color": colour, "marker": marker, "alpha": 0.6}
        ax.scatter(*points.T, **style, label=f"class {k}")
    ax.set(title=title, aspect="equal")
axes[0].legend()
plt.show()

# %% [markdown]
# Test accuracy is decided by where the map sends *new* images, and collapse on the training set does
# not reach that far. The lectures say that collapse "leads to better" generalisation and robustness;
# what {cite}`papyan2020prevalence` observed is that
# {claim}`both improve in the terminal phase of the networks studied there <collapse-improves-generalisation>`.
# That is not a consequence of collapse.
#
# (sec-nc-decay)=
# ## Why weight decay matters
#
# Without the penalty in {eq}`eq-training` the cross-entropy has no minimiser: doubling $W$ and
# $b$ doubles every margin, and so lowers the loss of any classifier that is right everywhere. The
# directions may still converge, but so slowly that you will rarely see it. The penalty makes the optimum
# finite, and a network can reach it. Compare four strengths, with everything else the same.

# %%
decays = [0.0, 2e-4, 5e-3, 2e-2]
decay_runs = {0.0: runs["SGD, λ = 0"], 5e-3: runs["SGD"]}
for decay in [2e-4, 2e-2]:
    seed_everything(0)
    net = MLP(WIDTHS, batch_norm=True).to(DEVICE)
    options = SHARED | SGD | {"weight_decay": decay, "every": EPOCHS // 20}
    metrics = measurements(x_train, y_train)
    decay_runs[decay] = train(net, x_train, y_train, **options, metrics=metrics)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-weight-decay", "caption": "The same network and the same SGD with four weight decays. All fit the training set; only the two larger weight decays bring the features near the ETF within the time of training."}, "image": {"alt": "Two panels, NC1 and NC3 against the epoch on a logarithmic axis, one curve for each of four weight decays. With 0 and 0.0002 both measures level off at about 0.1 or above; with 0.005 and 0.02 they fall far lower."}}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2))
for decay, style, colour in zip(decays, [":", "-.", "-", "--"], COLOURS, strict=False):
    run = decay_runs[decay]
    for ax, metric in zip(axes, ["nc1", "nc3"], strict=True):
        ax.semilogy(run.steps, run[metric], style, color=colour, label=f"λ = {decay:g}")
        ax.set(title=metric.upper(), xlabel="epoch")
axes[1].legend()
plt.show()

# %%
none, little, enough, _ = (decay_runs[decay]["nc1"][-1] for decay in decays)
claims.check("weight-decay-none", none, above=0.06, control=enough)
claims.check("weight-decay-gain", none / enough, above=20, control=none / little)
fit = last(decay_runs, "train accuracy")
control = accuracy(untrained, x_train, y_train)
claims.check("weight-decay-fit", fit, 1, control=control)

# %% [markdown]
# More is not always better: beyond a certain $\lambda$ the cheapest features are zero, and nothing is
# learned at all. Where that happens can be computed in the [unconstrained
# features model](unconstrained_features.ipynb).
#
# (sec-nc-traps)=
# ## Three traps in the measurement
#
# Measures of collapse are easy to get wrong, because what is left at the end of training is small. The first
# trap is a matter of convention; the other two are mistakes that run without complaint.
#
# :::{admonition} Trap 1: one name, two scales
# :class: warning
# Papers and public code often divide {eq}`eq-nc1` by $K$. The curves have the same shape, and the numbers
# differ by a factor of ten on ten classes. This book follows the slides and does not divide. Before you compare a
# number with a paper, find out which one the paper means.
# :::
#
# :::{admonition} Trap 2: a pseudo-inverse that inverts noise
# :class: warning
# $\Sigma_B$ has rank $K - 1$. Formed as a $d \times d$ matrix in single precision, its other singular
# values are not zero but rounding errors, and a pseudo-inverse with a tiny cutoff inverts them. The
# cutoff decides: NumPy's default of $10^{-15}$ is made for double precision, those of SciPy and PyTorch
# follow the precision and the size of the matrix.
# The collapsed features that follow have $\mathrm{NC}_1$ of about 0.008; see what the cutoffs make of it.
# :::

# %%
h, y = noisy_etf(10, 100, samples_per_class=100, radius=1.0, noise=0.01)
h = h.float() + 1.0  # like ReLU features, the means are not centred

means = torch.stack([h[y == k].mean(0) for k in range(10)])
deviations, centred = h - means[y], means - means.mean(0)
S_W, S_B = deviations.T @ deviations / len(h), centred.T @ centred / 10
tiny = np.trace(S_W.numpy() @ np.linalg.pinv(S_B.numpy(), rcond=1e-15))
fitting = torch.trace(S_W @ torch.linalg.pinv(S_B))

by_lemma = nc1_from_lemma(h, y)
claims.check("nc1-collapsed", by_lemma, 0.01**2 * 81, rel=0.05, control=tiny)
control = abs(fitting) / nc1(h, y)
claims.check("pinv-trap", abs(tiny) / nc1(h, y), above=1000, control=control)

# %% [markdown]
# With the tiny cutoff the result is wrong by more than three orders of magnitude, and on many machines even
# negative; with the fitting one it is right. {prf:ref}`lem-gram` has no cutoff to get wrong: it never forms
# the rank-deficient matrix.
#
# :::{admonition} Trap 3: an accumulator that eats the data
# :class: warning
# `tensor.numpy()` on the CPU does not copy: the array and the tensor share their memory. If the first
# sample of a class is used as the accumulator of the class mean, the sums are written *into the
# features*, and the sample becomes the mean. A scatter computed afterwards lacks one sample per class:
# it is too small by a factor of about $\frac{n-1}{n}$ (exactly, if all deviations have one length), and
# there is no error to notice.
# :::
#
# To catch it we need features whose scatter is known exactly. Orthonormal ones will do: for
# $h_{k,i}$ the $N$ unit vectors, $\|\bar h_k\|^2 = \frac1n$, so
# $\operatorname{tr} \Sigma_W = 1 - \frac1n$ and
# $\operatorname{tr} \Sigma_B = \frac1n - \frac1{nK} = \frac{K-1}{nK}$. Their ratio is
# $\frac{(n-1)K}{K-1}$, without any rounding to hide behind.


# %%
def class_means_eating_data(features, labels):
    means, counts = {}, {}
    for row, k in zip(features, labels.tolist(), strict=True):
        counts[k] = counts.get(k, 0) + 1
        if k in means:
            means[k] += row.numpy()
        else:  # no copy: this *is* the first sample of class k
            means[k] = row.numpy()
    for k in means:
        means[k] /= counts[k]
    return torch.stack([torch.from_numpy(means[k].copy()) for k in sorted(means)])


def trace_ratio(features, labels, means):
    within = (features - means[labels]).square().sum() / len(features)
    between = (means - means.mean(0)).square().sum() / len(means)
    return within / between


# %%
n = 8
h, y = torch.eye(5 * n, dtype=torch.float64), torch.arange(5).repeat_interleave(n)
normal = torch.randn(h.shape, generator=generator, dtype=h.dtype)


def class_means(features):
    return ClassStatistics.from_features(features, y).means


exact = (n - 1) * 5 / (5 - 1)
ratio, control = (trace_ratio(rows, y, class_means(rows)) for rows in (h, normal))
claims.check("orthonormal-ratio", ratio, exact, abs=1e-12, control=control)

# %%
spoiled = h.clone()
means = class_means_eating_data(spoiled, y)
error, control = (
    (rows - class_means(h)).abs().max() for rows in (means, class_means(spoiled))
)
claims.check("aliasing-means", error, below=1e-15, control=control)
factor = trace_ratio(spoiled, y, means) / exact
claims.check("aliasing-ratio", factor, (n - 1) / n, abs=1e-12, control=ratio / exact)

# %% [markdown]
# The means are right, so that nothing looks wrong; the features are not what they were.
#
# ## Measuring in batches
#
# A million features of dimension 2048 are eight gigabytes in single precision. Then measure batch by
# batch, in two passes: `ClassMeans` finds the class means, and `NeuralCollapse` measures around them, at the
# cost of `nc1`. Both merge exactly across processes: the same lines run under `torchrun` on many GPUs. Where
# the features can be seen only once, `NeuralCollapse` does without the first pass, at the price of one
# $d \times d$ matrix. Averaging the measure of the batches is no substitute.

# %%
with torch.no_grad():
    batches = [
        (nets["SGD"].features(x), y)
        for x, y in zip(x_train.split(256), y_train.split(256), strict=True)
    ]
    on_train = nc1(nets["SGD"].features(x_train), y_train)
means = ClassMeans(K).to(DEVICE)
for features, labels in batches:
    means.update(features, labels)

# %%
head = nets["SGD"].head
twice = NeuralCollapse(K, means=means.compute(), classifier=head.weight, bias=head.bias)
once = NeuralCollapse(K)
for metric in (twice.to(DEVICE), once.to(DEVICE)):
    for features, labels in batches:
        metric.update(features, labels)
ratios = torch.stack([metric.compute()["nc1"] for metric in (twice, once)]) / on_train
average = sum(nc1(*batch) for batch in batches) / len(batches)
claims.check("nc1-in-batches", ratios, 1, abs=1e-6, control=average / on_train)

# %% [markdown]
# ## Exercises
#
# Where a line says *To check*, try before you open the solution: run `from lecturelib import coursework`
# and then that line with your own answer. It says what is wrong, and never what is right.
#
# :::{exercise} Angles between class means
# :label: ex-nc-angle
# What are the angles, in degrees, between the class means of a collapsed network with $K = 2$, 3, 10
# and 1000 classes? What remains of the difference between an ETF and an {term}`orthogonal frame` for ImageNet?
#
# *To check:* `coursework.check("ex-nc-angle", [...])`, the four angles in degrees.
# :::
#
# :::{solution} ex-nc-angle
# :class: dropdown
# $\arccos\big(-\frac1{K-1}\big)$ is 180°, 120°, 96.38° and 90.06°. With a thousand classes the two
# frames differ by six hundredths of a degree: the best arrangement of many directions is hardly better
# than right angles.
# :::
#
# :::{exercise} The spectrum of an ETF
# :label: ex-nc-spectrum
# Show that if the centred means form an ETF of radius $a$, then $\Sigma_B$ has the eigenvalue
# $\frac{a^2}{K-1}$ exactly $K-1$ times, and zero otherwise. *Hint:* which matrix has the same nonzero
# eigenvalues as $\frac1K \bar H^\top \bar H$?
# :::
#
# :::{solution} ex-nc-spectrum
# :class: dropdown
# $\frac1K \bar H^\top \bar H$ and $\frac1K \bar H \bar H^\top$ share their nonzero eigenvalues. The second is
# $\frac{a^2}{K} \cdot \frac{K}{K-1} \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$,
# that is $\frac{a^2}{K-1}$ times a projection of rank $K - 1$.
# :::
#
# :::{exercise} What NC1 does not see
# :label: ex-nc-blind
# The orthonormal features of Trap 3 show no sign of collapse: every sample stands at a right
# angle to all others. Compute their NC1. What does the result teach about {eq}`eq-nc1`?
# :::
#
# :::{solution-start} ex-nc-blind
# :class: dropdown
# :::

# %%
claims.check("nc1-blind", nc1(h, y), below=1e-20, control=nc1(normal, y))

# %% [markdown]
# It is zero. The deviation $h_{k,i} - \bar h_k$ of an orthonormal sample is orthogonal to all class
# means, and NC1 looks only along the directions in which means differ. It measures the noise that could
# lead to a *confusion*, not the noise as a whole; the ratio of traces measures the latter.
#
# :::{solution-end}
# :::
#
# :::{exercise} What leaves NC1 as it is
# :label: ex-nc-invariance
# Show that NC1 does not change if all features are rotated, scaled or shifted. Does it change under an
# arbitrary invertible linear map? *Hint:* treat $d = K - 1$ and $d > K - 1$ separately.
# :::
#
# :::{solution-start} ex-nc-invariance
# :class: dropdown
# :::
#
# A shift cancels in all differences. For $h \mapsto cQh$ with orthogonal $Q$ and $c \ne 0$, $\Sigma_W$ becomes
# $c^2 Q \Sigma_W Q^\top$ and $\Sigma_B^\dagger$ becomes $c^{-2} Q \Sigma_B^\dagger Q^\top$; the trace of
# the product is unchanged. For an invertible $T$ and $d = K - 1$, $\Sigma_B$ is invertible for means in
# {term}`general position`, $\Sigma_B^{-1}$ becomes $T^{-\top} \Sigma_B^{-1} T^{-1}$, and the trace is unchanged
# as well. For $d > K - 1$ it is not: $T$ can tilt the noise into the span of the means.


# %%
def after_over_before(dim, T):
    """Return by how much the map T changes the NC1 of a noisy ETF of four classes."""
    h, y = noisy_etf(4, dim, samples_per_class=50, radius=1.0, noise=0.3)
    return nc1(h @ T.T, y) / nc1(h, y)


small, large = (
    torch.randn(d, d, generator=generator, dtype=torch.float64) for d in (3, 20)
)
rotation = torch.linalg.qr(large).Q
ratio, changed = after_over_before(3, small), after_over_before(20, large)
claims.check("nc1-linear-map-small", ratio, 1, abs=1e-9, control=changed)
kept = after_over_before(20, rotation)
claims.check("nc1-linear-map-large", abs(changed - 1), above=0.1, control=abs(kept - 1))

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} An ETF after a ReLU
# :label: ex-nc-relu
# The features of our networks come out of a ReLU, so they are non-negative, and two non-negative
# vectors cannot have a negative cosine. How can NC2 hold all the same? Find $K$ non-negative unit
# vectors whose *centred* versions form a simplex ETF, and look at the uncentred class means of the
# network that SGD trained.
#
# *To check:* `coursework.check("ex-nc-relu", vectors)`, a vector in each row.
# :::
#
# :::{solution-start} ex-nc-relu
# :class: dropdown
# :::
#
# Take the first $K$ unit vectors. Their Gram matrix is $I$, and centring turns it into
# $I - \frac1K \mathbf 1 \mathbf 1^\top$, up to scale that of an ETF. So would any
# $\alpha I + \beta \mathbf 1 \mathbf 1^\top$ with $\beta \ge 0$; but its vectors have squared length
# $\alpha + \beta$, so $\beta = 0$ is the shortest choice, which suits weight decay. Training comes close to
# it: nearly orthogonal before centring, nearly an ETF after.

# %%
basis = torch.eye(6, 8, dtype=torch.float64)
centred = nc2(basis - basis.mean(0))
claims.check("orthogonal-centres-to-etf", centred, below=1e-12, control=nc2(basis))

with torch.no_grad():
    start = ClassStatistics.from_features(untrained.features(x_train), y_train)
largest, *control = (
    cosines(part.means.cpu()).max() for part in (trained, start, without_decay)
)
claims.check("relu-means-orthogonal", largest, below=0.17, control=control)
ranks = [torch.linalg.matrix_rank(m) for m in (trained.means, trained.centred_means)]
claims.check("relu-means-rank", ranks[0], K, control=ranks[1])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} NC4 without NC2
# :label: ex-nc-four-without-two
# NC4 can hold without NC2. Construct features and a classifier that agree with the nearest-centre rule
# everywhere, although the means are far from an ETF. Which choice of $W$ and $b$ makes any set of means
# work?
#
# *To check:* `coursework.check("ex-nc-four-without-two", classifier)`, a function that takes means
# $(K, d)$ and returns $W$ and $b$.
# :::
#
# :::{solution-start} ex-nc-four-without-two
# :class: dropdown
# :::
#
# $\| h - \bar h_k \|^2 = \|h\|^2 - 2 \langle \bar h_k, h \rangle + \| \bar h_k \|^2$, and the first term
# is the same for all classes. So $w_k = \bar h_k$ with $b_k = -\frac12 \| \bar h_k \|^2$ *is*
# the nearest-centre rule, whatever the means.

# %%
h = torch.randn(600, 20, generator=generator, dtype=torch.float64) * torch.arange(1, 21)
y = torch.arange(600) % 6
statistics = ClassStatistics.from_features(h, y)
means = statistics.means
nearest = torch.cdist(h, means).argmin(1)


def disagreements(bias):
    return ((h @ means.T + bias).argmax(1) != nearest).double().mean()


bias = -means.square().sum(1) / 2
claims.check("nc4-any-means", disagreements(bias), 0, control=disagreements(0 * bias))
collapsed = runs["SGD"]["nc2"][-1]
claims.check(
    "nc4-without-nc2", nc2(statistics.centred_means), above=0.2, control=collapsed
)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Classes of different sizes
# :label: ex-nc-imbalance
# Keep all images of the digits 0 to 4 but only ten of each of the digits 5 to 9, and train again. Do the
# classes still collapse? Do the means still form an ETF? *Hint:* look at the cosines between the
# centred means, within and between the two groups. (Lecture 003 lists imbalanced learning among the uses of
# neural collapse.)
# :::
#
# :::{solution} ex-nc-imbalance
# :class: dropdown
# Give `train` the rows `torch.cat([(y_train == k).nonzero().flatten()[: 140 if k < 5 else 10] for k in
# range(10)])` and plot `cosines(statistics.centred_means)` as an image. In one run of ours NC1 fell to 0.02,
# an order of magnitude above the balanced run, and NC2 stayed at 0.5. After centring, the means of the
# frequent classes have positive cosines with each other, those of the rare classes are longer, and the two
# groups point away from each other. The symmetry between classes that the theorems on balanced data use is
# gone, and with it the ETF.
# :::
#
# :::{exercise} Which layers collapse?
# :label: ex-nc-open
# *Open.* Which layers collapse? `net.taps(x)` returns the output of every hidden layer. Plot NC1 of each
# against its depth, for a network with ten layers, at several epochs; then for random labels. Form a
# hypothesis on how NC1 falls from layer to layer, then compare it with *Progressive separation from
# shallow to deep layers* in lecture 003.
# :::
#
# :::{solution} ex-nc-open
# :class: dropdown
# Under `torch.no_grad()`, `[float(nc1(h, y_train)) for h in nets["SGD"].eval().taps(x_train)]` measures the
# network above: NC1 falls at every layer. Lecture 003 reports a nearly constant factor per layer. Whether
# you find one depends on depth, training time and labels: say for which settings you did and for which you
# did not.
# :::
#
# ## Summary
#
# Trained past zero error, a classifier moves its features to their class means (NC1), the means to a
# simplex ETF (NC2), the weights to the means (NC3), and decides by the nearest mean (NC4).
#
# The ETF is the best worst case: no $K$ directions have all cosines below $-\frac1{K-1}$.
#
# In our runs, as on the slides, collapse depends neither on the algorithm nor on meaningful labels or
# inputs; in the time one trains, it takes a wide network and enough weight decay.
#
# It describes the training set. Test error is decided elsewhere.
#
# Measure it on the Gram matrix of the means, in a precision that survives small numbers, and never in
# the memory of your data.
#
# ## Further reading
#
# {cite}`papyan2020prevalence` discovered the phenomenon. {cite}`zhu2021geometric` explain it with free
# features and use the distances {eq}`eq-nc2`; {cite}`mixon2020neural` proposed that model.
# {cite}`rankin1955closest` has the bound, in the language of packing caps on a sphere.
