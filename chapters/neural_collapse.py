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
# all move towards one arrangement: every class shrinks to a point, and the points spread out as evenly as
# geometry allows. This chapter defines that arrangement, measures the distance from it, and watches real
# networks arrive.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** state the four properties of neural collapse and say why each is what a
# classifier should want; prove which arrangement of class means is best; measure collapse without
# falling into four traps; and tell what collapse says about test error, and what it does not.
#
# **Follows** lecture 003: *Setup*, *Deep Neural Network Classifiers*, *Neural Collapse in Classification
# I–VI*, the experiments from *NC is algorithm independent* to *NC Occurs on Random Labels/Inputs*, and
# *Exploit NC*.
# Lectures 000 and 001 open with the first of these slides.
#
# **You need** linear algebra up to the pseudo-inverse, softmax regression, and to have trained a small
# network in PyTorch before.
#
# **Time**: reading, an hour and a quarter; running, about a minute and a half on a CPU. A GPU pays off only for the
# larger data sets.
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
from lecturelib.neural_collapse import NeuralCollapse
from lecturelib.records import recorded
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
# input $x$ into a {term}`feature` vector $h = \phi_\theta(x) \in \mathbb R^d$. A linear rule then reads the
# label off it: the last layer, called the *head*, with weights $W \in \mathbb R^{K \times d}$ and bias
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
# testing. What happens where classes differ in size is {ref}`an exercise <ex-nc-imbalance>`, and the next
# chapter has {ref}`the theory <sec-ufm-imbalance>`.
#
# The names `DATASET` and `SCALE` in the next cell are switches: on a GPU, the same cells run on
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
# normalisation and ReLU, then the head; its scores are the *logits*.

# %%
WIDTH = 100 * SCALE
WIDTHS = [x_train[0].numel(), *[WIDTH] * 5, K]
net = MLP(WIDTHS, batch_norm=True).to(DEVICE)
features = net.features(x_train)
print("features", tuple(features.shape), "→ logits", tuple(net.head(features).shape))

# %% [markdown]
# (sec-nc-hand)=
# ## Two classes, by hand
#
# Before ten classes in a hundred dimensions, take two classes in the plane, with two samples of each. Here
# are their features:
#
# | class | samples | mean | deviations from the mean |
# |---|---|---|---|
# | 1 | $(1, 1)$ and $(3, -1)$ | $(2, 0)$ | $(-1, 1)$ and $(1, -1)$ |
# | 2 | $(-1, 1)$ and $(-3, -1)$ | $(-2, 0)$ | $(1, 1)$ and $(-1, -1)$ |
#
# All that this chapter measures can be done here with a pencil.
#
# **How far do the samples scatter around their mean?** Average the products of the deviations' coordinates
# over all four samples. The squares of the first coordinates have the average 1, so have those of the second,
# and the mixed products cancel. So the *scatter within* the classes is
# $\Sigma_W = \begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}$.
#
# **How far apart are the means?** The mean of the two means is $(0, 0)$. Around it they have the *scatter
# between* the classes, $\Sigma_B = \begin{pmatrix} 4 & 0 \\ 0 & 0 \end{pmatrix}$.
#
# **Is the scatter bad?** Scatter up or down cannot confuse the classes, because their means do not differ
# in that direction. In the other direction it is 1 within, against 4 between. Their ratio is the
# first number of this chapter: $\mathrm{NC}_1 = \frac14$. Pull every sample half-way to its mean, and it is
# $\frac1{16}$. When the samples have arrived, it is 0.
#
# **At which angle do the means stand?** Their cosine is $\frac{(2)(-2)}{2 \cdot 2} = -1$. They are opposite,
# and no angle is wider. Two *centred* means always are, wherever the classes lie; with three classes it gets
# interesting. (NC2 will measure the distance from the widest angles. Here it is zero.)
#
# **Does the head point along the means?** Give class 1 the row $w_1 = (1, 0)$ and class 2 the row
# $w_2 = (-1, 0)$, without a bias: these are parallel to the means. Now tilt them to $(1, 1)$ and $(-1, -1)$, at
# 45° to the means. The score of class 1 minus that of class 2 was $2 h_1$ and becomes $2 h_1 + 2 h_2$. In all
# four samples the right class was ahead by at least 2. After the tilt the sample $(-1, 1)$ has the difference
# 0: it sits on the border. (NC3 will measure whether rows and means agree. Here it is zero, and it stays
# zero after the tilt: a blind spot, to which we {ref}`come back <sec-nc-tilt>`.)
#
# **Who is nearest?** The mean of class 1 is the nearer one wherever $h_1 > 0$, and there the first head
# decides for class 1. So the two rules never disagree, and NC4, which counts disagreements, is zero. The tilted
# head does disagree with the nearest mean: it gives the new input $(1, -3)$ to class 2, although that mean
# is at distance $\sqrt{18}$ and the other at $\sqrt{10}$.
#
# The next cells check two of these numbers. `claims.check` prints what was demanded, what was measured, and a
# *control*: the same quantity where the statement is false. For NC1 the control is the ratio of the traces of
# $\Sigma_W$ and $\Sigma_B$, ½, which counts the harmless direction as well; for NC4 it is the tilted head. A ✓
# means that the measurement is as demanded, and the control is not.


# %%
h = torch.tensor([[1.0, 1], [3, -1], [-1, 1], [-3, -1]]).double()
y = torch.tensor([0, 0, 1, 1])
means = ClassStatistics.from_features(h, y).means
traces = (h - means[y]).square().mean() / means.square().mean()
claims.check("nc1-by-hand", nc1(h, y), 1 / 4, abs=1e-12, control=traces)

# %%
new, parallel = torch.tensor([[1.0, -3]]).double(), means / 2
tilted = parallel + torch.tensor([[0, 1], [0, -1]])
differ = [nc4(new, y[:1], W, means=means) for W in (parallel, tilted)]
claims.check("nc4-by-hand", differ[0], 0, control=differ[1])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-by-hand", "caption": "Left: the example by hand. The border of the parallel head (solid) keeps all samples at a distance, that of the tilted one (dashed) touches a sample; the cross is the new input on which it disagrees with the nearest mean. Right: three means in the plane. At equal angles (solid) no two are closer than 120°; any other angles, here 90°, 120° and 150° (dashed), bring a pair closer."}, "image": {"alt": "Left, two circles around the point (2, 0) and two squares around (−2, 0), with the class means as large marks; a solid vertical line between the classes, and a dashed diagonal line through one of the squares; a cross at (1, −3) lies to the right of the solid line and below the dashed one. Right, three solid arrows from a centre at 120 degrees to each other, and three dashed ones of which two are at a right angle."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.3))
for k in range(2):
    style = {"color": COLOURS[k], "marker": "os"[k]}
    left.scatter(*h[y == k].T, **style, label=f"class {k + 1}")
    left.scatter(*means[k], **style, s=110, edgecolor="black")
left.plot([0, 0], [-4, 4], "-", color="0.3")
left.plot([-4, 4], [4, -4], "--", color="0.3")
left.plot(1, -3, "x", color="black")
left.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="$h_1$", ylabel="$h_2$")
left.legend(loc="upper right")
for style, angles, size in [("-", [90, 210, 330], 1), ("--", [60, 150, 270], 0.7)]:
    for k, angle in enumerate(np.deg2rad(angles)):
        tip = size * np.cos(angle), size * np.sin(angle)
        right.plot(
            [0, tip[0]],
            [0, tip[1]],
            style,
            color=COLOURS[k],
            marker="osD"[k],
            markevery=[1],
        )
right.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# With a third class not all pairs can be opposite. Three directions in the plane leave three gaps, and the
# gaps sum to 360°. If one is wider than 120°, the other two share less than 240°, and one of them is narrower
# than 120°. So the best that three can do is 120° for all, a cosine of $-\frac12$.
#
# In two sentences: a good arrangement has samples close to their mean, measured in the
# directions that matter, and means at the widest angles that all pairs can have at once. And a good
# head looks along the means, so that it decides for the nearest one.
#
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
# - **NC1, variability collapse:** every example sits on its class mean: $\| h_{k,i} - \bar h_k \|$ becomes
#   small against the distances between the means;
# - **NC2, {term}`simplex ETF`:** the centred means $\bar h_k - \bar h$ have, in the limit, one common length,
#   not zero, and the cosine between any two of them is $-\frac{1}{K-1}$;
# - **NC3, self-duality:** head and centred means are the same up to one scale $c > 0$,
#   $w_k \to c \, (\bar h_k - \bar h)$, where $w_k$ is row $k$ of $W$;
# - **NC4, nearest centre:** the classifier decides for the class whose mean is nearest, also on new
#   inputs: $\arg\max_k (Wh + b)_k$ is $\arg\min_k \| h - \bar h_k \|$, with the means $\bar h_k$ of
#   the training features.
# :::
#
# The example by hand had all of them but NC1. Each wish is reasonable on its own. If examples of one class
# differ, some of them lie closer to the border than others, and pulling them together moves the worst ones
# away from it: that is NC1. If the means stood at unequal angles, two classes would be easier to confuse than
# necessary: NC2 asks for the best worst case. Once the features are fixed, the best rows of $W$ are the
# directions that separate each mean from the others, and for means in such a symmetric position these are the
# means themselves: NC3.
#
# NC4 follows from NC2 and NC3 if bias and global mean favour no class, that is if the sums
# $b_k + \langle w_k, \bar h \rangle$ are equal. For then the score of class $k$ is
# $c \, \langle \bar h_k - \bar h, h - \bar h \rangle$ plus a number that is the same for all $k$. And in
#
# $$
# \| h - \bar h_k \|^2 = \| h - \bar h \|^2
#   - 2 \langle \bar h_k - \bar h, h - \bar h \rangle + \| \bar h_k - \bar h \|^2
# $$
#
# only the middle term depends on $k$, since all lengths are equal. So the largest score belongs to the nearest
# mean.
#
# What is remarkable is not that the four are desirable but that gradient descent, told only to
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
# The Gram matrix of such vectors is $G = \frac{K}{K-1} \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$,
# with the identity $I$ and the vector $\mathbf 1$ of ones: a multiple of the projection onto the vectors
# that sum to zero. It is positive semidefinite, so it *is* the Gram matrix of some vectors, and it has rank
# $K - 1$, so these span $K - 1$ dimensions: they fit into $\mathbb R^d$ if and only if $d \ge K - 1$.
# :::
#
# This arrangement is the *simplex equiangular tight frame*, ETF for short: two opposite points for
# $K = 2$, the corners of an equilateral triangle for $K = 3$, of a regular tetrahedron for $K = 4$.
# The proof also tells that its vectors sum to zero, which is why NC2 looks at *centred* means. To place more
# vectors than $2d$ as far apart as possible is much harder; the slides call our case
# {claim}`the simplest one of the Tammes problem <tammes-problem>`.
#
# :::{admonition} Two more reasons, from the slides
# :class: dropdown
# Max-margin: for features on an ETF {claim}`the max-margin classifier is the same ETF <etf-max-margin>`
# {cite}`papyan2020prevalence`.
#
# Coding: {claim}`the simplex is an optimal code for Shannon's Gaussian channel <etf-shannon-code>`. In which
# sense? Send one of $K$ codewords of equal length, and let Gaussian noise disturb it. When the noise is weak,
# nearly all errors confuse two codewords at the smallest distance, so that distance decides the exponent with
# which errors vanish. By {prf:ref}`thm-rankin` no code of equally long words has a larger one than the simplex.
# That it makes the fewest errors at *every* noise level was known for a long time as the weak simplex
# conjecture; {cite}`pastore2023proof`, a preprint, gives a proof.
# :::
#
# In two sentences: $K$ directions cannot all have cosines below $-\frac1{K-1}$, and only the simplex ETF
# has this cosine throughout. Its vectors sum to zero, and it fits into $K - 1$ dimensions, no fewer: look at
# the one of four classes, the tetrahedron in {numref}`fig-means-become-etf`.
#
# :::{admonition} Slide check: centred or not?
# :class: warning slide-check
# :name: slide-check-nc-centred
# Lecture 003, *Neural Collapse in Classification III* and *V*, writes NC2 and NC3 with the class means
# $\bar h_k$ themselves. After a ReLU that cannot hold: vectors without negative entries have no negative
# cosine. The statement is about the *centred* means, as in {cite}`papyan2020prevalence`;
# {ref}`an exercise <ex-nc-relu>` looks at both on a trained network. Slide *V* compares row and mean after
# dividing each by its own length. Our NC3, with one scale $c$ for all classes, asks for more.
# :::
#
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
# In the example by hand, $\Sigma_B$ had only one direction, and NC1 was the ratio of two variances in it.
# With $K$ classes it has at most $K - 1$ directions, in a space of $d$ dimensions. So it has no inverse. The
# pseudo-inverse $\Sigma_B^\dagger$ inverts it on these directions, and is zero on all others: scatter where no
# two means differ does not count.
#
# **NC2.** An ETF is recognised by its Gram matrix $G$ (all inner products), whatever its orientation.
# So scale the Gram matrix to norm one (Frobenius: the root of the sum of squares) and subtract that of an
# ETF,
#
# $$
# \mathrm{NC}_2(G) = \Big\| \frac{G}{\|G\|_F}
#   - \frac{1}{\sqrt{K-1}} \Big( I - \frac1K \mathbf 1 \mathbf 1^\top \Big) \Big\|_F ,
# $$ (eq-nc2)
#
# with $G = \bar H \bar H^\top$ for the centred means $\bar H$ (rows), or $G = W W^\top$ for the head.
# Neither matrix has a negative eigenvalue, so their inner product is not negative, and the distance is at
# most $\sqrt 2$. The code behind the slides' figures applies it to the rows of $W$; we measure both.
#
# A warning: random vectors in many dimensions are nearly orthogonal and nearly of one length. Orthogonal vectors
# of one length become a simplex ETF when their mean is subtracted. So random vectors have a small NC2, too,
# {ref}`for large d <ex-nc-random>` about
#
# $$
# \sqrt{\frac{(K-2)(K+1)}{(K-1) \, d}} \approx \sqrt{K / d} .
# $$ (eq-nc2-random)
#
# For $K = 10$ and $d = 100$ that is 0.3. An NC2 means something only beside this number.
#
# **NC3** is $\mathrm{NC}_2(W \bar H^\top)$. It is zero if the centred means form an ETF *and* $W$
# is a positive multiple of them; it is at most 2, since both matrices in {eq}`eq-nc2` have norm one. Try it where
# we know what to expect: let three means form an ETF in the plane, and let the head be the same three rows, turned
# by an angle $\varphi$.
#
# With $R$ for the turn, $G$ is a multiple of $\bar H R \bar H^\top$, and the target of $\bar H \bar H^\top$. For
# an ETF in the plane $\bar H^\top \bar H$ is a multiple of $I$. So $\|G\|_F$ is the same for every $R$, and the
# inner product of $G$ with the target is a multiple of $\operatorname{tr} R = 2 \cos\varphi$. Scaled to norm one,
# the two matrices have the inner product $\cos\varphi$; hence the distance
# $\sqrt{2 - 2 \cos\varphi} = 2 \sin\frac\varphi2$: zero when they are aligned, about a half at 30°, and 2 when
# they are opposed.


# %%
means = simplex_etf(3, 2, dtype=torch.float64)


def turned(degrees):
    """Return NC3 if the rows of W are the means, turned by an angle."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    return nc3(means @ turn, means)


degrees = [0, 10, 30, 90, 180]
claims.table([f"{d}°" for d in degrees], {"NC3": [turned(d) for d in degrees]})

# %%
ratio = [turned(d) / (2 * np.sin(np.deg2rad(d) / 2)) for d in [10, 30, 90, 180]]
control = [turned(d) / np.sin(np.deg2rad(d)) for d in [10, 30, 90]]
claims.check("nc3-turned", ratio, 1, abs=1e-9, control=control)

# %% [markdown]
# **NC4** is a fraction: how often the two rules disagree, counted on test images.
#
# ### A case with a known answer
#
# A measure is trustworthy once it gives the right number where we know it. Put the class means on an
# ETF of radius $a$ and add isotropic noise of standard deviation $s$ per coordinate. The vectors of an
# ETF satisfy $\sum_k u_k u_k^\top = \frac{K}{K-1} P$, with $P$ the orthogonal projection onto their span, so
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
claims.check("nc1-etf-noise", ratio, 1, rel=0.03, control=ratio * (10 - 1) / 10)

# %% [markdown]
# Drag the noise in {numref}`fig-nc1-against-noise`. Three classes need a plane only, so you see all there is:
# at $s = 0.1$ the classes are three separate clouds; at $s = 0.5$ the noise reaches the neighbours, and the
# measure has grown twenty-five-fold, because it counts squares. (In a running notebook, add `live=True` to
# the call of `explore`, and the slider stops at any value in between.)


# %% tags=["hide-input"]
def draw_noise(noise):
    h, y = noisy_etf(3, 2, samples_per_class=80, radius=1.0, noise=noise)
    levels = np.linspace(0.04, 0.72, 50)
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
    for k in range(3):
        left.scatter(*h[y == k].T, s=8, color=COLOURS[k], marker="osD"[k])
    limits = (-3, 3)
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
    noise=[0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7],
    start={"noise": 0.1},
)

# %% [markdown]
# In two sentences: four numbers, zero at full collapse, of which NC1 compares noise with signal where it
# matters, NC2 and NC3 compare angles with those of an ETF, and NC4 counts. In a case with a known answer
# they give that answer.
#
# (sec-nc-training)=
# ## Watching a network collapse
#
# Now the real thing. Three networks start from the same weights and minimise {eq}`eq-training` with
# $\lambda = 0.005$, by three very different algorithms: stochastic gradient descent with momentum, Adam,
# and L-BFGS, which sees all data at once and uses curvature. (The objective is the same up to one thing:
# batch normalisation averages over the batch, of 350 images for the first two, of all 1400 for L-BFGS.)
# Lecture 003 (*NC is algorithm independent*) shows that {claim}`a ResNet-18 on CIFAR-10 collapses with all
# three <resnet18-cifar10>`. If collapse were a quirk of SGD's noise, L-BFGS would not show it.
#
# A small number means little without one to compare it with. So a fourth network is trained by SGD
# *without* weight decay: it fits the images as well as the others, and {ref}`sec-nc-decay` says why it stays
# behind.


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

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-algorithms", "caption": "Three algorithms, one direction. A dot marks the first measurement with zero training error; in the terminal phase, to its right, the measures fall further, those of Adam with setbacks. Without weight decay they soon level off. Of the two panels in the right column, the slide *NC is algorithm independent II* shows the upper one, NC2 of the head. (L-BFGS takes 32 outer steps of up to 20 iterations, the others 480 epochs.)"}, "image": {"alt": "Four panels with NC1, NC2 of W, NC3 and NC2 of the class means against the share of training done, on logarithmic axes. In each, the curves of SGD, Adam and L-BFGS fall by one to five orders of magnitude and end below where they were when the training error reached zero, Adam's with several peaks on the way; a dotted curve, SGD without weight decay, levels off above them."}}
fig, axes = plt.subplots(2, 2, figsize=(7, 5), sharex=True)
titles = {
    "nc1": "NC1: variability",
    "nc2 of W": "NC2 of the rows of W",
    "nc3": "NC3: duality",
    "nc2": "NC2 of the class means",
}
for ax, (metric, title) in zip(axes.flat, titles.items(), strict=True):
    for (name, run), style, colour in zip(
        runs.items(), ["-", "--", "-.", ":"], [*COLOURS[:3], "0.4"], strict=True
    ):
        progress = run.steps / run.steps[-1]
        terminal = int((run["train accuracy"] == 1).double().argmax())
        ax.plot(progress, run[metric], style, color=colour, label=name)
        ax.plot(progress[terminal], run[metric][terminal], "o", color=colour)
    ax.set(title=title, yscale="log")
axes[0, 0].legend()
for ax in axes[1]:
    ax.set_xlabel("share of training")
plt.show()

# %% [markdown]
# The network had a hundred dimensions to place its features in, and fits its training set long before
# the end. Nothing in {eq}`eq-training` mentions class means or angles. The measures fall all the same,
# for all three algorithms.
#
# One run could be luck. So the networks of this chapter were trained from five random starts each, each with
# its own order of batches. The first start is the one above. What they ended with is recorded, and
# `python -m lecturelib.experiments run collapse-seeds` repeats it. The table shows the smallest and the largest
# value of five runs. Below the three algorithms stand their baselines: each of them without weight decay, the
# network before training, and ten Gaussian vectors in the place of means or rows, with the average of twenty
# draws. The vectors in the place of means are centred, as means are; those in the place of rows are not.


# %%
record = recorded("collapse-seeds").values


def seeds(metric, task="digits", optimizer="sgd", **options):
    """Return a measure of the recorded runs with these settings, one for each seed."""
    usual = {"width": 100, "weight_decay": 5e-3, "lr": None, "epochs": None}
    keys = ("task", "optimizer", *usual)
    wanted = (task, optimizer, *(usual | options).values())
    found = [row[metric] for row in record if tuple(row[key] for key in keys) == wanted]
    return torch.tensor(found)


def span(numbers):
    """Write the smallest and the largest of some numbers."""
    ends = (numbers.min().item(), numbers.max().item())
    words = [f"{end:.0f}" if end > 100 else f"{end:.2g}" for end in ends]
    return "…".join(dict.fromkeys(words)).replace("-", "−")


def ranges(columns, rows):
    """Print a table whose columns are wide enough for the smallest and the largest."""
    claims.table([f"{head:>13}" for head in columns], rows)


def random_nc2(dim, draws=20, number=K, centre=True):
    """Return NC2 of Gaussian vectors in the place of means, or of rows: centre=False."""
    shape = (draws, number, dim)
    vectors = torch.randn(shape, generator=generator, dtype=torch.float64)
    if centre:
        vectors -= vectors.mean(1, keepdim=True)
    return torch.stack([nc2(draw) for draw in vectors])


# %%
settings = {
    "SGD": {},
    "Adam": {"optimizer": "adam"},
    "L-BFGS": {"optimizer": "lbfgs"},
    "SGD, λ = 0": {"weight_decay": 0.0},
    "Adam, λ = 0": {"optimizer": "adam", "weight_decay": 0.0},
    "L-BFGS, λ = 0": {"optimizer": "lbfgs", "weight_decay": 0.0},
    "untrained": {"optimizer": "none"},
}
measures = {
    "NC1": "nc1",
    "NC2 of means": "nc2",
    "NC2 of W": "nc2_classifier",
    "NC3": "nc3",
    "NC4": "nc4",
}
rows = {
    name: [span(seeds(measure, **options)) for measure in measures.values()]
    for name, options in settings.items()
}
random_floor, random_rows = random_nc2(WIDTH), random_nc2(WIDTH, centre=False)
rows["random"] = ["", random_floor.mean(), random_rows.mean(), "", ""]
ranges(measures, rows)

# %% [markdown]
# (Why are the rows of $W$ not centred? Softmax ignores what all rows share, and so the loss gives their mean no
# gradient: what is left of it is left from the start. Weight decay alone removes it, and NC2 of $W$ shows
# whether it did.)
#
# From which number on do we say "collapsed"? We set a limit, the *bar*, between the first three rows and the
# baselines, and at least a factor of two below the baseline that is named on each line. For NC1 and NC2 of
# $W$ the baseline includes all three algorithms without weight decay. The other columns do not separate that
# well. With $\lambda = 0.005$, SGD and Adam bring NC2 of the means to about a third of that of random vectors,
# but only to a half or more of that without weight decay; so it is compared with random vectors. NC3 is at most
# 0.07 with weight decay, and Adam gets to 0.1 without; so no bar of ours fits between, and NC3 has to wait for the
# next table. And NC4 is as small without weight decay; so it is compared with networks trained on
# {ref}`classes of different sizes <ex-nc-imbalance>`.

# %%
ALGORITHMS = {name: settings[name] for name in ("SGD", "Adam", "L-BFGS")}
UNDECAYED = {name: settings[f"{name}, λ = 0"] for name in ALGORITHMS}


def of(metric, options):
    """Return a recorded measure of several settings."""
    return torch.cat([seeds(metric, **o) for o in options])


def collapsed(metric, recorded_as=None):
    """Return how the runs with weight decay end: those above, and the recorded ones."""
    above = [runs[name][metric][-1] for name in ALGORITHMS]
    return [*above, *of(recorded_as or metric, ALGORITHMS.values())]


def without_decay(metric, recorded_as=None):
    """Return how the same algorithms end without."""
    above = runs["SGD, λ = 0"][metric][-1]
    return [above, *of(recorded_as or metric, UNDECAYED.values())]


fit = collapsed("train accuracy", "train_accuracy")
untrained = seeds("train_accuracy", optimizer="none")
claims.check("collapse-terminal-phase", fit, 1, control=untrained)
control = without_decay("nc1")
claims.check("collapse-nc1", collapsed("nc1"), below=0.01, control=control)
claims.check("collapse-nc2", collapsed("nc2"), below=0.12, control=random_floor)
both = "nc2 of W", "nc2_classifier"
control = [*without_decay(*both), random_rows]
claims.check("collapse-nc2-classifier", collapsed(*both), below=0.08, control=control)
control = seeds("nc4", "imbalanced")
claims.check("collapse-nc4", collapsed("nc4"), below=0.006, control=control)

# %% [markdown]
# What SGD lacks for a clear NC2 and NC3 is time. With $\lambda = 0.02$ it gets there in 480 epochs, as L-BFGS does
# in its 32 steps; with $\lambda = 0.005$ in four times as many. Without weight decay four times the epochs do little.

# %%
CLEAR = {
    "L-BFGS": {"optimizer": "lbfgs"},
    "SGD, λ = 0.02": {"weight_decay": 2e-2},
    "SGD, 1920 epochs": {"epochs": 1920},
}
longer = {"weight_decay": 0.0, "epochs": 1920}
rows = {
    name: [span(seeds(measure, **options)) for measure in measures.values()]
    for name, options in (CLEAR | {"1920 epochs, λ = 0": longer}).items()
}
ranges(measures, rows)

# %%
clear, control = (
    of("nc2", CLEAR.values()),
    [*without_decay("nc2"), seeds("nc2", **longer)],
)
claims.check("collapse-nc2-clear", clear, below=0.062, control=control)
clear, control = (
    of("nc3", CLEAR.values()),
    [*without_decay("nc3"), seeds("nc3", **longer)],
)
claims.check("collapse-nc3", clear, below=0.045, control=control)

# %% [markdown]
# On the *training* images NC4 would be zero without further ado once NC1 is small and the training error zero: a
# feature that sits on the mean of its class has no nearer one. That the two rules agree on test images as
# well, of which some lie far from all means, is what the measure is there for.
#
# (sec-nc-tilt)=
# ### What NC3 does not see
#
# The two classes by hand show a gap in NC3. Tilt the rows from $(1, 0)$ and $(-1, 0)$ to $(1, 1)$ and
# $(-1, -1)$: their products with the means $(2, 0)$ and $(-2, 0)$ stay the same, so NC3 stays zero, at an
# angle of 45°. What $W$ has orthogonal to all centred means goes unseen; {ref}`an exercise <ex-nc-three>` finds a
# second gap. So look at the angles themselves once: the cosine between each row of $W$ and its centred mean.


# %%
by_hand = torch.tensor([[2.0, 0], [-2, 0]]).double()
tilted = torch.tensor([[1.0, 1], [-1, -1]]).double()
claims.show("NC3 of the tilted rows", nc3(tilted, by_hand))

duality, control = (of("duality", o.values()) for o in (ALGORITHMS, UNDECAYED))
claims.check("collapse-self-dual", 1 - duality, below=0.04, control=1 - control)


def seen_by_nc3(net):
    """Return the smallest cosine after W is centred and projected onto the means' span."""
    with torch.no_grad():
        statistics = ClassStatistics.from_features(
            net.eval().features(x_train), y_train
        )
        centred, W = statistics.centred_means, net.head.weight.double()
    projected = (W - W.mean(0)) @ torch.linalg.pinv(centred) @ centred
    return torch.cosine_similarity(projected, centred).min()


inside = [seen_by_nc3(nets[name]) for name in ("SGD", "SGD, λ = 0")]
claims.show(
    "smallest cosine after projection, with decay and without", *inside, digits=3
)

# %% [markdown]
# With weight decay the worst row is within 11° of its centred mean, without it 26 to 33° off.
# Most of the tilt is the start's: the part of $W$ orthogonal to all means gets hardly any gradient, and only
# weight decay shrinks it. Projected onto the span of the means, the smallest cosine of SGD is 0.999 with weight
# decay and 0.987 without. Four times as many epochs bring the unprojected one to 0.998.
#
# NC2 mixes lengths and angles, and NC4 depends on the bias. {ref}`An exercise <ex-nc-finer>` looks at them one by
# one: with weight decay, lengths vary by about 1 % or less.
#
# %% [markdown]
# ### Four classes, to look at
#
# Ten means cannot be drawn, but four can: the centred means of four classes span three dimensions
# exactly. So train the same network on the digits 0 to 3, and keep the features after some epochs.

# %%
chosen = y_train < 4
x_four, y_four = x_train[chosen], y_train[chosen]
seed_everything(0)
net = MLP([x_train[0].numel(), *[WIDTH] * 5, 4], batch_norm=True).to(DEVICE)
metrics = {name: measurements(x_four, y_four)[name] for name in ["nc1", "nc2"]}
metrics["features"] = lambda net: net.features(x_four).double().cpu()
options = SHARED | SGD | {"epochs": 300, "milestones": [250], "batch_size": 140}
shown = [0, 1, 3, 10, 30, 100, 300]
history = train(net, x_four, y_four, **options, metrics=metrics, every=shown)

# %%
final = [history["nc1"][-1], *seeds("nc1", "four")]
control = seeds("nc1", "four", weight_decay=0.0)
claims.check("collapse-four-classes", final, below=0.005, control=control)
four_random = random_nc2(WIDTH, number=4)
final = [history["nc2"][-1], *seeds("nc2", "four")]
control = [seeds("nc2", "four", "none"), *four_random]
claims.check("collapse-tetrahedron", final, below=0.041, control=control)


# %% [markdown]
# Without weight decay the means come near a tetrahedron as well: NC2 is 0.03 to 0.07, against 0.17 for random
# vectors. So the second claim does not show what weight decay does. NC1 does, which is twenty times larger
# without it, and so do the rows of $W$, with an NC2 of 0.10 to 0.14 against 0.02 to 0.03.
#
# Look at the features in the space of their means, turned and scaled to fit the tetrahedron. Drag the epoch.


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


def draw_frame(ax, frame):
    """Draw vectors as arrows from the origin, with a grey line between every two tips."""
    for k, tip in enumerate(frame):
        ax.plot(*zip((0, 0, 0), tip, strict=True), "-", color=COLOURS[k])
        for other in frame[k + 1 :]:
            ax.plot(*zip(tip, other, strict=True), "-", color="0.6", linewidth=0.8)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), xticks=[], yticks=[], zticks=[])
    ax.set_box_aspect((1, 1, 1), zoom=1.1)


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
# them by heart. Does it then still build an ETF? Train one of width 200 for 300 epochs, with
# weight decay 0.01.

# %%
few = torch.cat([(y_train == k).nonzero().flatten()[:50] for k in range(K)])
order = torch.randperm(len(few), generator=generator).to(DEVICE)
x_few, y_random = x_train[few], y_train[few][order]

seed_everything(0)
net = MLP([x_train[0].numel(), *[200 * SCALE] * 5, K], batch_norm=True).to(DEVICE)
options = SGD | {"epochs": 300, "milestones": [225], "every": 300}
options |= {"batch_size": 250, "weight_decay": 1e-2}
metrics = measurements(x_few, y_random)
memory = train(net, x_few, y_random, **options, metrics=metrics)
ends = ["nc1", "nc2", "nc3", "train accuracy", "test accuracy"]
rows = {
    f"epoch {end}": [memory[name][k] for name in ends] for k, end in enumerate([0, 300])
}
rows["random"] = ["", random_nc2(200).mean(), "", "", ""]
claims.table(ends, rows)

# %% [markdown]
# NC1 fell from above 200 to 0.02, and NC2 to 0.12, against 0.21 for random vectors. The recorded runs go on to
# 600 epochs, at five widths, from five starts each, with labels shuffled anew for each. At width 200 they were
# repeated without weight decay, and with Gaussian noise in place of the images: then the inputs have no
# meaning either.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-random-labels", "caption": "Random labels: NC1 after 600 epochs against the width of the network, one mark for each of five starts. Memorising is not enough: at width 20 the training error is zero, and the features have not collapsed yet. At width 200 they have, on noise as well; without weight decay they have not."}, "image": {"alt": "NC1 against network width 10 to 200 on logarithmic axes: circles fall by several orders of magnitude from width 10 to 200. At width 20, squares for four times the epochs lie about a factor of twenty below the circles. At width 200, triangles for noise inputs lie with the circles, and crosses for training without weight decay well above."}}
widths = [10, 20, 50, 100, 200]
labels = [{"task": "labels", "width": w, "weight_decay": 1e-2} for w in widths]
noise = {"task": "noise", "width": 200, "weight_decay": 1e-2}
undecayed = [task | {"weight_decay": 0.0} for task in (labels[-1], noise)]
patient = labels[1] | {"epochs": 2400}
fig, ax = plt.subplots(figsize=(6, 3))
shown_here = {
    "labels": (widths, labels, "o"),
    "2400 epochs": ([22], [patient], "s"),
    "noise inputs": ([180], [noise], "^"),
    "labels, λ = 0": ([220], undecayed[:1], "x"),
}
for (name, (places, options, marker)), colour in zip(
    shown_here.items(), [*COLOURS[:3], "0.3"], strict=True
):
    x = np.repeat(places, 5)
    ax.loglog(x, of("nc1", options), marker, color=colour, label=name)
ax.set(xlabel="width", ylabel="NC1", xticks=widths, xticklabels=widths)
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# Call NC1 below 0.03 collapsed. At width 200 all five are. At widths 50 and 100 it depends on the start:
# there NC1 differs between starts by more than a factor of ten. At widths 10 and 20 none is after 600
# epochs. Four times as long brings width 20 to between 0.027 and 0.11, and one of five below 0.03: narrow
# networks are slow at least, and how far they would get we have not tried.

# %%
names = ["labels", "noise", "labels, λ = 0", "noise, λ = 0"]
columns = {name: measures[name] for name in ("NC1", "NC2 of means", "NC2 of W", "NC3")}
columns |= {"test accuracy": "test_accuracy"}
rows = {
    name: [span(seeds(measure, **options)) for measure in columns.values()]
    for name, options in zip(names, [labels[-1], noise, *undecayed], strict=True)
}
random_rows_200 = random_nc2(200, centre=False)
rows["random"] = ["", random_nc2(200).mean(), random_rows_200.mean(), "", ""]
ranges(columns, rows)

# %%
wide, narrow = labels[-1], labels[:2]
before = memory["train accuracy"][0]
fit = of("train_accuracy", labels[1:])
claims.check("random-labels-fit", fit, 1, control=before)
final, control = seeds("nc1", **wide), of("nc1", [undecayed[0], narrow[1]])
claims.check("random-labels-collapse", final, below=0.01, control=control)
rows_of_W = seeds("nc2_classifier", **wide)
control = [seeds("nc2_classifier", **undecayed[0]), random_rows_200]
claims.check("random-labels-etf", rows_of_W, below=0.07, control=control)
measured, control = of("nc1", narrow), of("nc1", [wide, patient])
claims.check("random-labels-narrow", measured, above=0.5, control=control)
guess = of("test_accuracy", labels)
control = seeds("test_accuracy")
claims.check("random-labels-chance", guess, below=0.3, control=control)

# %%
fit = seeds("train_accuracy", **noise)
claims.check("random-inputs-fit", fit, 1, control=before)
final, control = seeds("nc1", **noise), seeds("nc1", **undecayed[1])
claims.check("random-inputs-collapse", final, below=0.01, control=control)

# %% [markdown]
# So collapse is not a property of the data: a sufficiently flexible map, trained with weight decay past zero
# error, does it here without any pattern to learn. This is the reason to study a model in which the features
# are not computed from inputs at all but are free variables: the *{term}`unconstrained features model`*
# {cite}`mixon2020neural,zhu2021geometric`. [Its minimisers](unconstrained_features.ipynb) can be written
# down. With classes of one size, $d \ge K - 1$ dimensions and not too much weight decay, they are collapsed.
#
# (sec-nc-test-error)=
# ## What collapse says about test error
#
# The random-label networks answer the question bluntly: collapse on the *training* set says nothing
# about test accuracy. The widest of them collapse, and 9 to 17 % of their test images are right. (Images of a
# digit go together, so the number scatters more than 397 independent guesses would.)
#
# What about features of *test* images? Take the networks that SGD trained on the true labels. Their test
# images are mostly classified correctly, yet the features have not collapsed nearly as far: NC1 is 0.9 to 1.1
# on test images, and 0.0013 to 0.0015 on training images.


# %%
def test_over_train(net):
    """Return how much less collapsed the test features are than the training features."""
    with torch.no_grad():
        on_train, on_test = (net.eval().features(x) for x in (x_train, x_test))
        return nc1(on_test, y_test) / nc1(on_train, y_train)


correct = collapsed("test accuracy", "test_accuracy")
claims.check("test-accuracy", correct, above=0.9, control=guess)
ratio = [test_over_train(nets["SGD"]), *(seeds("test_nc1") / seeds("nc1"))]
control = seeds("test_nc1", optimizer="none") / seeds("nc1", optimizer="none")
claims.check("test-nc1", ratio, above=300, control=control)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-test-features", "caption": "Training and test features of three classes, along the two directions in which their means differ. Training features sit on the means; many test features lie between them."}, "image": {"alt": "Two scatter plots of three digit classes in the plane of their means. Left, the training features form three points at the corners of a triangle. Right, the test features cluster near the same corners, with some stretched towards other corners or the centre."}}
with torch.no_grad():
    three = [3, 8, 9] if K >= 10 else [0, 1, 2]
    h_train, h_test = (nets["SGD"].features(x).double() for x in (x_train, x_test))
corners = torch.stack([h_train[y_train == k].mean(0) for k in three])
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
# Collapse alone does not bring it: the networks on random labels have it, and guess.
#
# (sec-nc-exploit)=
# ### What it is used for
#
# If the head ends as an ETF anyway, {claim}`it need not be learned: fix it as one
# <exploit-fixed-etf>`; the slide refers to {cite}`hoffer2018fix`. It counts what that saves: 8 % of the
# parameters of a ResNet-50, 12 % of a DenseNet-169, 53 % of a ShuffleNet. And since $K$ means need no more than
# $K$ dimensions, {claim}`features of dimension K will do <exploit-small-dimension>`, which saves another 21 % of
# a ResNet-18 and 4.5 % of a ResNet-50. {claim}`Both together are reported to cost no accuracy for a ResNet-50 on
# CIFAR-10 <exploit-on-par>`.
#
# With NC3 in mind, {claim}`one may also put the class means in the place of the rows of W, on a par for a
# ResNet-18 on CIFAR-100 <exploit-class-means>`. Fine-tuned in this way,
# {claim}`networks are reported to do better on inputs from elsewhere <exploit-out-of-distribution>`
# {cite}`jiang2023generalized`; the slide calls that simpler than the two stages of {cite}`kumar2022finetuning`. Of
# all these we have tried the first only, on a small scale, in {ref}`an exercise <ex-nc-fixed>`.
#
# (sec-nc-decay)=
# ## Why weight decay matters
#
# Without the penalty in {eq}`eq-training` the cross-entropy has no minimiser: doubling $W$ and
# $b$ doubles every margin, and so lowers the loss of any classifier that is right everywhere. The
# directions may still converge, but so slowly that you will rarely see it. With the penalty a large $W$ has its
# price, so the scores stay finite. (The weights before a batch normalisation may shrink for free, up to the small
# constant in its denominator. What is held is its scale, the last layer, and with them the features.)
# Lecture 004 reports the same, in the questions after the talk: {claim}`in
# the experiments of its authors collapse was rarely seen without regularisation <no-decay-no-collapse>`.
# Compare four strengths, with everything else the same.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-weight-decay", "caption": "The same network and the same SGD with four weight decays, five starts each. All fit the training set; at this learning rate, 0.02, only the two larger weight decays bring the features near the ETF in 480 epochs. Squares: learning rate 0.5."}, "image": {"alt": "Two panels, NC1 and NC3 on a logarithmic axis above four weight decays, five marks each. With 0 and 0.0002 the circles lie at about 0.1 or above; with 0.005 and 0.02 they lie far lower. Squares, for learning rate 0.5, lie above the circles at 0, and below them at 0.0002, far below in NC1, by about a half in NC3."}}
decays = [0.0, 2e-4, 5e-3, 2e-2]
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
for ax, metric in zip(axes, ["nc1", "nc3"], strict=True):
    for place, decay in enumerate(decays):
        values = seeds(metric, weight_decay=decay)
        ax.semilogy([place] * 5, values, "o", fillstyle="none", color=COLOURS[0])
        if decay < 1e-3:
            fast = seeds(metric, weight_decay=decay, lr=0.5)
            ax.semilogy(
                [place + 0.2] * 5, fast, "s", fillstyle="none", color=COLOURS[1]
            )
    ax.set(title=metric.upper(), xlabel="weight decay λ", xlim=(-0.5, 3.5))
    ax.set_xticks(range(4), [f"{decay:g}" for decay in decays])
plt.show()

# %%
none, little, enough, _ = (seeds("nc1", weight_decay=decay) for decay in decays)
claims.check("weight-decay-gain", none / enough, above=50, control=none / little)
fit = torch.cat([seeds("train_accuracy", weight_decay=decay) for decay in decays])
control = seeds("train_accuracy", optimizer="none")
claims.check("weight-decay-fit", fit, 1, control=control)
fast, control = (seeds("nc1", weight_decay=d, lr=0.5) for d in (2e-4, 0.0))
claims.check("weight-decay-fast", fast, below=0.02, control=[*control, *little])

# %% [markdown]
# So 0.0002 is not too small, it is too slow. Weight decay shrinks what the loss does not hold by a factor
# $e^{-\lambda \eta t}$, where $\eta$ is the effective learning rate, the learning rate over one minus the
# momentum, and $t$ the number of steps. With the learning rate 0.5 in place of 0.02 the same $\lambda$ brings
# NC1 to about 0.005. Without weight decay the larger learning rate does not help.
#
# More is not always better: beyond a certain $\lambda$ the cheapest features are zero, and nothing is
# learned at all. Where that happens can be computed in the [unconstrained
# features model](unconstrained_features.ipynb).
#
# (sec-nc-traps)=
# ## Four traps in the measurement
#
# Measures of collapse are easy to get wrong, because what is left at the end of training is small. The first
# trap is a matter of convention, the second and third are mistakes that run without complaint, and the last
# one is the most tempting: a small number that means nothing.
#
# :::{admonition} Trap 1: one name, two scales
# :class: warning
# Papers and public code often divide {eq}`eq-nc1` by $K$. The curves have the same shape, and the numbers
# differ by a factor of ten on ten classes. This book follows the slides and does not divide. Before you
# compare a number with a paper, find out which one the paper means.
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
within, between = deviations.T @ deviations / len(h), centred.T @ centred / 10
tiny = np.trace(within.numpy() @ np.linalg.pinv(between.numpy(), rcond=1e-15))
fitting = torch.trace(within @ torch.linalg.pinv(between))
control = abs(fitting) / nc1(h, y)
claims.check("pinv-trap", abs(tiny) / nc1(h, y), above=1000, control=control)

# %% [markdown]
# With the tiny cutoff the result is wrong by more than three orders of magnitude, and on many machines even
# negative; with the fitting one it is right.
#
# There is a way around the cutoff: the library's `nc1` works with a matrix of $K - 1$ rows, in double precision,
# and needs none. {ref}`An exercise <ex-nc-small>` finds that matrix.
#
# :::{admonition} Trap 3: an accumulator that eats the data
# :class: warning
# `tensor.numpy()` on the CPU does not copy: the array and the tensor share their memory. If the first
# sample of a class is used as the accumulator of the class mean, the sums are written *into the
# features*, and the sample becomes the mean. A scatter computed afterwards lacks one sample per class:
# it is too small by a factor of about $\frac{n-1}{n}$ (exactly, if all deviations have one length), and
# there is no error to notice. {ref}`An exercise <ex-nc-blind>` catches it in the act.
# :::
#
# :::{admonition} Trap 4: NC2 is small in high dimensions
# :class: warning
# Random means have a small NC2, {eq}`eq-nc2-random`, the smaller the larger $d$ is. So no bar for NC2 is good for
# all networks. The rule: always give the number of random vectors of the same $K$ and $d$ beside it.
# :::

# %%
dims = [100, 200, 500, 1000, 2048]
floors = {dim: random_nc2(dim) for dim in dims}
law = {dim: ((K - 2) * (K + 1) / ((K - 1) * dim)) ** 0.5 for dim in dims}
claims.check("nc2-random-wide", floors[2048], below=0.1, control=floors[100])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-nc2-random", "caption": "NC2 of ten random vectors, centred, falls with the dimension: bars from the smallest to the largest of 20 draws, and the law. Marks: class means of trained networks. What the networks of width 100 have reached, random vectors have for free at $d = 2048$."}, "image": {"alt": "NC2 against the dimension from 100 to 2048 on logarithmic axes. Short bars fall along a dashed line of slope minus one half, from about 0.3 to 0.07. Circles at width 100 and squares at width 200, for trained networks, lie well below the line; crosses at width 100, without weight decay, lie between."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
ends = [(floor.min(), floor.mean(), floor.max()) for floor in floors.values()]
low, middle, high = (np.array(part) for part in zip(*ends, strict=True))
ax.errorbar(
    dims, middle, [middle - low, high - middle], fmt="_", capsize=3, label="random"
)
ax.loglog(dims, list(law.values()), "--", color="0.4", label="law")
ax.loglog([100] * 5, seeds("nc2"), "o", label="digits, SGD")
ax.loglog([200] * 5, seeds("nc2", **wide), "s", label="random labels")
ax.loglog(
    [100] * 5, seeds("nc2", weight_decay=0.0), "x", color="0.2", label="digits, λ = 0"
)
ax.set(xlabel="dimension $d$", ylabel="NC2", xticks=dims, xticklabels=dims)
ax.set_yticks([0.05, 0.1, 0.2, 0.3], [0.05, 0.1, 0.2, 0.3])
ax.minorticks_off()
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# In our network of width 100, 0.1 is a third of the random number and says something; in a ResNet-50 with 2048
# features and ten classes, 0.1 would be *worse* than random. The law knows the example by hand, too: for
# $K = 2$ it is zero. Two centred means are always opposite, and their NC2 says nothing at all.
#
# ## Measuring in batches
#
# A million features of dimension 2048 are eight gigabytes in single precision. Then measure batch by
# batch with `NeuralCollapse`; averaging the measure of the batches is no substitute. With `ClassMeans` in a
# first pass over the data it costs no more memory than `nc1`, and both merge exactly across processes.

# %%
with torch.no_grad():
    h = nets["SGD"].eval().features(x_train)
metric, average = NeuralCollapse(K).to(DEVICE), []
for features, labels_here in zip(h.split(256), y_train.split(256), strict=True):
    metric.update(features, labels_here)
    average.append(nc1(features, labels_here))
ratio, control = (
    value / nc1(h, y_train)
    for value in (metric.compute()["nc1"], sum(average) / len(average))
)
claims.check("nc1-in-batches", ratio, 1, abs=1e-6, control=control)

# %% [markdown]
# ## Exercises
#
# Where a line says *To check*, try before you open the solution: run `from lecturelib import coursework`
# and then that line with your own answer. It says what is wrong, and never what is right.
#
# :::{exercise} Angles between class means
# :label: ex-nc-angle
# *Warm-up, 10 minutes, by hand.* What are the angles, in degrees, between the class means of a collapsed
# network with $K = 2$, 3, 10 and 1000 classes? What remains of the difference between an ETF and an
# {term}`orthogonal frame` for ImageNet?
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
# *Core, 15 minutes.* Show that if the centred means form an ETF of radius $a$, then $\Sigma_B$ has the
# eigenvalue $\frac{a^2}{K-1}$ exactly $K-1$ times, and zero otherwise. *Hint:* which matrix has the same
# nonzero eigenvalues as $\frac1K \bar H^\top \bar H$?
# :::
#
# :::{solution} ex-nc-spectrum
# :class: dropdown
# $\frac1K \bar H^\top \bar H$ and $\frac1K \bar H \bar H^\top$ share their nonzero eigenvalues. The second is
# $\frac{a^2}{K} \cdot \frac{K}{K-1} \big( I - \frac1K \mathbf 1 \mathbf 1^\top \big)$,
# that is $\frac{a^2}{K-1}$ times a projection of rank $K - 1$.
# :::
#
# :::{exercise} Orthonormal features
# :label: ex-nc-blind
# *Core, 25 minutes.* Take as features the $N = nK$ unit vectors of $\mathbb R^N$, $n$ to a class. They show no
# sign of collapse: every sample stands at a right angle to all others.
#
# 1. By hand: what is $\operatorname{tr} \Sigma_W / \operatorname{tr} \Sigma_B$?
# 2. Compute their NC1. What does it teach about {eq}`eq-nc1`?
# 3. Write Trap 3: class means whose accumulator is `row.numpy()` of the first sample. Are the means right? What is
#    the ratio of traces afterwards?
# :::
#
# :::{solution-start} ex-nc-blind
# :class: dropdown
# :::
#
# 1\. $\|\bar h_k\|^2 = \frac1n$, so $\operatorname{tr} \Sigma_W = 1 - \frac1n$ and
# $\operatorname{tr} \Sigma_B = \frac1n - \frac1{nK} = \frac{K-1}{nK}$. The ratio is
# $\frac{(n-1)K}{K-1}$, without any rounding to hide behind.
#
# 2\. It is zero. The deviation $h_{k,i} - \bar h_k$ is orthogonal to all class means, and NC1 looks only along the
# directions in which means differ. It measures the scatter that could lead to a *confusion*, not the scatter as a
# whole; the ratio of traces measures the latter.
#
# 3\. The means are right, so that nothing looks wrong; the features are not what they were, and the ratio has
# shrunk by $\frac{n-1}{n}$. Here are five classes of eight.


# %%
def class_means_eating_data(features, labels):
    means = {}
    for row, k in zip(features, labels.tolist(), strict=True):
        if k in means:
            means[k] += row.numpy()
        else:  # no copy: this *is* the first sample of class k
            means[k] = row.numpy()
    for k, count in enumerate(labels.bincount().tolist()):
        means[k] /= count
    return torch.stack([torch.from_numpy(means[k].copy()) for k in sorted(means)])


def trace_ratio(features, labels, means):
    within = (features - means[labels]).square().sum() / len(features)
    between = (means - means.mean(0)).square().sum() / len(means)
    return within / between


n = 8
h, y = torch.eye(5 * n, dtype=torch.float64), torch.arange(5).repeat_interleave(n)
right = ClassStatistics.from_features(h, y).means
normal = torch.randn(h.shape, generator=generator, dtype=h.dtype)
claims.check("nc1-blind", nc1(h, y), below=1e-20, control=nc1(normal, y))

spoiled = h.clone()
means = class_means_eating_data(spoiled, y)
control = (ClassStatistics.from_features(spoiled, y).means - right).abs().max()
claims.check(
    "aliasing-means", (means - right).abs().max(), below=1e-15, control=control
)
exact = (n - 1) * 5 / (5 - 1)
factor, control = (trace_ratio(rows, y, right) / exact for rows in (spoiled, h))
claims.check("aliasing-ratio", factor, (n - 1) / n, abs=1e-12, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} NC1 without a cutoff
# :label: ex-nc-small
# *Core, 30 minutes.* Let $M$ be the $K \times d$ matrix of class means, let the columns of
# $C \in \mathbb R^{K \times (K-1)}$ be an orthonormal basis of the vectors that sum to zero, and let
# $B = C^\top M$ have full rank $K-1$. Show that with $A = \sqrt K \, (B B^\top)^{-1} B$
#
# $$\Sigma_B^\dagger = A^\top A, \qquad
# \mathrm{NC}_1 = \frac1N \sum_{k,i} \big\| A (h_{k,i} - \bar h_k) \big\|^2 .$$
#
# Write it as a function, and try it on the features of Trap 2. *Hint:* what is $C C^\top$? And which columns,
# rescaled, does a simplex ETF have?
# :::
#
# :::{solution-start} ex-nc-small
# :class: dropdown
# :::
#
# $C C^\top = I - \frac1K \mathbf 1 \mathbf 1^\top$ centres the means, hence
# $\Sigma_B = \frac1K M^\top C C^\top M = \frac1K B^\top B$. Multiply it with
# $A^\top A = K B^\top (B B^\top)^{-2} B$:
#
# $$\Sigma_B A^\top A = B^\top (B B^\top)^{-1} B = A^\top A \, \Sigma_B .$$
#
# That is the orthogonal projection $P$ onto the row space of $B$, the span of the centred means. It is
# symmetric, $P \Sigma_B = \Sigma_B$, and $P A^\top A = A^\top A$. These are the four
# Moore–Penrose conditions, so $A^\top A = \Sigma_B^\dagger$. Finally
# $\operatorname{tr}(\Sigma_W A^\top A) = \operatorname{tr}(A \Sigma_W A^\top)$ is the average of
# $\| A (h_{k,i} - \bar h_k) \|^2$.
#
# The one direction in which the means carry nothing is removed by $C$ *exactly*; no threshold has to
# guess which singular values are "really" zero. What remains to invert has $K - 1$ rows. The library's `nc1`
# does this with the care that large inputs need, and takes the pseudo-inverse of $B$, so that means in special
# position are allowed too.


# %%
def nc1_from_small_matrix(features, labels):
    means = ClassStatistics.from_features(features, labels).means.to(features)
    K = len(means)
    C = simplex_etf(K, K - 1, dtype=features.dtype) * ((K - 1) / K) ** 0.5
    B = C.T @ means
    A = K**0.5 * torch.linalg.solve(B @ B.T, B)
    return ((features - means[labels]) @ A.T).square().sum() / len(features)


h = torch.randn(500, 30, generator=generator, dtype=torch.float64)
y = torch.arange(500) % 5
means = ClassStatistics.from_features(h, y).means
within, centred = torch.cov((h - means[y]).T, correction=0), means - means.mean(0)
textbook, uncentred = (
    torch.trace(within @ torch.linalg.pinv(rows.T @ rows / 5, rtol=1e-10))
    for rows in (centred, means)
)
ratio = torch.stack([nc1_from_small_matrix(h, y), nc1(h, y)]) / textbook
claims.check("nc1-small-matrix", ratio, 1, abs=1e-9, control=uncentred / textbook)

h, y = noisy_etf(10, 100, samples_per_class=100, radius=1.0, noise=0.01)
collapsed_nc1 = nc1_from_small_matrix(h.float() + 1.0, y)
claims.check("nc1-collapsed", collapsed_nc1, 0.01**2 * 81, rel=0.05, control=tiny)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} NC2 of random vectors
# :label: ex-nc-random
# *Core, 30 minutes.* Derive {eq}`eq-nc2-random` for $K$ Gaussian vectors in $\mathbb R^d$, centred, with $d$ much
# larger than $K$. *Hint:* in an orthonormal basis of the $K - 1$ directions that centring leaves, $G$ becomes the
# Gram matrix of $m = K - 1$ independent Gaussian vectors, and the target becomes $I / \sqrt m$. Split $G$ into its
# part along $I$ and the rest. Check the law by drawing.
# :::
#
# :::{solution-start} ex-nc-random
# :class: dropdown
# :::
#
# The part along $I$ has the squared norm $\frac1m (\operatorname{tr} G)^2$. A diagonal entry of $G$ has the mean
# $d$ and the mean square $d^2 + 2d$; an entry off the diagonal has mean zero and mean square $d$. So
#
# $$
# \begin{aligned}
# \mathbb E \|G\|_F^2 &= m (d^2 + 2 d) + m (m - 1) \, d, \\
# \mathbb E \, \tfrac1m (\operatorname{tr} G)^2 &= \tfrac1m (m^2 d^2 + 2 m d) = m d^2 + 2 d, \\
# \mathbb E \, \|\text{rest}\|_F^2 &= (m - 1)(m + 2) \, d .
# \end{aligned}
# $$
#
# For $d$ much larger than $K$, $G / \|G\|_F$ is close to its target, and NC2 is, in root mean square, the rest's
# share of the norm: $\sqrt{(m-1)(m+2) \, d \, / \, (m d^2)}$. For smaller $d$ the law is too large: at
# $K = d = 10$ the mean is about three quarters of it. The shorter $\sqrt{K/d}$ is 1 % off for ten classes, and
# 22 % for three.

# %%
few_classes = {
    number: random_nc2(1000, draws=1000, number=number) for number in (3, 4, 10)
}
size = {number: draws.square().mean().sqrt() for number, draws in few_classes.items()}
exact = {m + 1: ((m - 1) * (m + 2) / (m * 1000)) ** 0.5 for m in (2, 3, 9)}
ratio = [size[number] / exact[number] for number in size]
control = size[3] / (3 / 1000) ** 0.5
claims.check("nc2-random-law", ratio, 1, rel=0.05, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Lengths, angles and bias
# :label: ex-nc-finer
# *Core, 20 minutes.* {cite}`papyan2020prevalence` look at what NC2 mixes one by one: how much the lengths
# vary (their standard deviation over their mean), and how much the cosines do (their standard deviation).
# {cite}`zhu2021geometric` add $\| W \bar h + b \|$: it is zero if bias and global mean cancel, which is more
# than NC4 needs. Compare it with the size of the logits, $\| W h + b \|$, in root mean square over the training
# images. Measure the networks above with `equinorm`, `equiangularity` and `bias_measure` from
# `lecturelib.metrics`. Which algorithm is best?
# :::
#
# :::{solution-start} ex-nc-finer
# :class: dropdown
# :::
#
# The recorded runs did. With weight decay, lengths vary by about 1 % or less and the cosines of $W$ by 0.015 or
# less; without it by 1 to 6 % and 0.04 to 0.12. L-BFGS comes closest, in the angles about ten times closer than
# SGD and Adam. What bias and mean leave is about 2 % of the logits or less with weight decay, and 5 % or more
# without.

# %%
finer = {
    "lengths of means": "equinorm",
    "cosines of means": "equiangularity",
    "lengths of W": "equinorm_classifier",
    "cosines of W": "equiangularity_classifier",
}


def remaining(**options):
    return seeds("bias_measure", **options) / seeds("logits", **options)


rows = {
    name: [*(span(seeds(m, **o)) for m in finer.values()), span(remaining(**o))]
    for name, o in (settings | {"SGD, λ = 0.02": CLEAR["SGD, λ = 0.02"]}).items()
}
ranges([*finer, "bias and mean"], rows)

# %%
name = "equiangularity_classifier"
angles, control = (of(name, o.values()) for o in (ALGORITHMS, UNDECAYED))
claims.check("collapse-angles", angles, below=0.019, control=control)
ratio, control = (
    torch.cat([remaining(**o) for o in options])
    for options in ([CLEAR["L-BFGS"], CLEAR["SGD, λ = 0.02"]], UNDECAYED.values())
)
claims.check("bias-cancels", ratio, below=0.022, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} What leaves NC1 as it is
# :label: ex-nc-invariance
# *Core, 20 minutes, by hand.* Show that NC1 does not change if all features are rotated, scaled or shifted. Does it
# change under an arbitrary invertible linear map? *Hint:* when is $\Sigma_B$ invertible? Treat $d \le K - 1$
# and $d > K - 1$ separately.
# :::
#
# :::{solution} ex-nc-invariance
# :class: dropdown
# A shift cancels in all differences. For $h \mapsto cQh$ with orthogonal $Q$ and $c \ne 0$, $\Sigma_W$ becomes
# $c^2 Q \Sigma_W Q^\top$ and $\Sigma_B^\dagger$ becomes $c^{-2} Q \Sigma_B^\dagger Q^\top$; the trace of
# the product is unchanged.
#
# For an invertible $T$ and $d \le K - 1$, centred means in {term}`general position` span all $d$ dimensions,
# so $\Sigma_B$ is invertible. Then $\Sigma_B^{-1}$ becomes $T^{-\top} \Sigma_B^{-1} T^{-1}$, $\Sigma_W$ becomes
# $T \Sigma_W T^\top$, and the trace of the product is unchanged as well.
#
# For $d > K - 1$ it does change. Take the two classes by hand and shear them, $(h_1, h_2) \mapsto (h_1 + h_2, h_2)$.
# The means $(\pm 2, 0)$ stay. The deviations become $\pm (0, 1)$ in class 1 and $\pm (2, 1)$ in class 2. So the
# scatter along the means is $\frac{0 + 0 + 4 + 4}{4} = 2$, and NC1 is $\frac24 = \frac12$ instead of $\frac14$:
# the map tilted harmless scatter into the direction that matters.
# :::
#
# :::{exercise} An ETF after a ReLU
# :label: ex-nc-relu
# *Core, 20 minutes.* The features of our networks come out of a ReLU, so they are non-negative, and two
# non-negative vectors cannot have a negative cosine. How can NC2 hold all the same? Find $K$ non-negative
# unit vectors whose *centred* versions form a simplex ETF, and look at the uncentred class means of the
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
# $\alpha + \beta$, so $\beta = 0$ is the shortest choice, which suits weight decay. In our runs training comes
# close to it with L-BFGS, and with SGD at the larger weight decay of 0.02 or with four times the epochs; with
# SGD and Adam at 0.005 cosines of about 0.06 and 0.11 remain after 480 epochs.
# The table has the smallest, the mean and the largest cosine between uncentred means, over five starts.
# These means span all ten dimensions, as slide *II* says; centred they span nine.

# %%
basis = torch.eye(6, 8, dtype=torch.float64)
centred = nc2(basis - basis.mean(0))
claims.check("orthogonal-centres-to-etf", centred, below=1e-12, control=nc2(basis))

rows = {
    name: [span(part) for part in seeds("cosines", **options).T]
    for name, options in (settings | CLEAR).items()
}
ranges(["smallest cosine", "mean", "largest"], rows)
mean = of("cosines", CLEAR.values())[:, 1]
control = of("cosines", [settings["SGD, λ = 0"], settings["untrained"]])[:, 1]
claims.check("relu-means-orthogonal", mean, below=0.06, control=control)

with torch.no_grad():
    trained = ClassStatistics.from_features(nets["SGD"].features(x_train), y_train)
ranks = [torch.linalg.matrix_rank(m) for m in (trained.means, trained.centred_means)]
claims.check("relu-means-rank", ranks[0], K, control=ranks[1])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} NC4 without NC2
# :label: ex-nc-four-without-two
# *Core, 15 minutes.* NC4 can hold without NC2. Construct features and a classifier that agree with the
# nearest-centre rule everywhere, although the means are far from an ETF. Which choice of $W$ and $b$ makes
# any set of means work?
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
far, control = nc2(statistics.centred_means), collapsed("nc2")
claims.check("nc4-without-nc2", far, above=0.2, control=control)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} Zero, and not dual
# :label: ex-nc-three
# *Core, 15 minutes.* Let the centred means $\bar H$ of ten classes span nine dimensions, at any angles. Show
# that $W = (\bar H^\dagger)^\top$ has NC3 zero. Then compute the cosines between its rows and the centred
# means, for Gaussian means in 10 dimensions. *Hint:* what is $\bar H \bar H^\dagger$?
# :::
#
# :::{solution-start} ex-nc-three
# :class: dropdown
# :::
#
# $\bar H \bar H^\dagger$ is the orthogonal projection onto the column space of $\bar H$. Its columns sum to
# zero, and their span has dimension $K - 1$, so it is all of the vectors that sum to zero, and the projection
# is $I - \frac1K \mathbf 1 \mathbf 1^\top$. So is its transpose $W \bar H^\top$: scaled to norm one, that is
# the target of NC3. And yet some row stands at 60° or more to its mean:

# %%
means = torch.randn(10, 10, generator=generator, dtype=torch.float64)
centred = means - means.mean(0)
dual = torch.linalg.pinv(centred).T
cosine = torch.cosine_similarity(dual, centred)
claims.check(
    "nc3-pseudo-inverse", nc3(dual, means), below=1e-9, control=nc3(centred, means)
)
claims.show("smallest and largest cosine", cosine.min(), cosine.max())

# %% [markdown]
# NC3 is zero for this $W$, and not for $W = \bar H$, which has all cosines 1: for means that are no ETF, NC3
# asks for something other than duality. So read it together with NC2.
#
# :::{solution-end}
# :::
#
# :::{exercise} A classifier that is never trained
# :label: ex-nc-fixed
# *Core, 30 minutes.* Train the network on the digits with a head that is fixed from the start: an ETF,
# scaled, and no bias. Does it learn as well? Do the features collapse, and at which scale of the head best?
# How many of its parameters does that save, and how many of a ResNet-50 for ImageNet, with 25.6 million
# parameters in all? *Hint:* put `simplex_etf(K, WIDTH, generator=generator)` into `net.head.weight.data`,
# zeros into `net.head.bias.data`, and call `net.head.requires_grad_(False)` before `train`.
# :::
#
# :::{solution} ex-nc-fixed
# :class: dropdown
# We tried 240 epochs of SGD from three starts each. With rows of length 1 all training images were
# fitted, and 94 to 96 % of the test images were right, about as many as with a learned head (94.0 to 95.5 % over
# five starts, twice the epochs). NC1 was 0.011 to 0.012, and NC2 of the means 0.17 to 0.22, against 0.017 and
# 0.09 with a learned head in one run.
# With rows of length 5, NC1 stayed above 0.4.
#
# The orientation matters, too. Print `simplex_etf(K, K - 1)`: no entry of any row is larger than the entry of the
# first row above it. Features after a ReLU are not negative. So with this head the score of class 0 is never below
# another, every image is called a 0, and the accuracy is 10 % whatever the training does. (The loss still falls,
# from 2.3 to 1.5.) A random rotation (`generator=`) mixes the signs.
#
# The head has $100 \cdot 10 + 10 = 1010$ of 48 910 parameters, 2 %. That of a ResNet-50 has
# $2048 \cdot 1000 + 1000 \approx 2.05$ million, 8 %, as on the slide.
# :::
#
# :::{exercise} Classes of different sizes
# :label: ex-nc-imbalance
# *Open, 30 minutes.* Keep all images of the digits 0 to 4 but only ten of each of the digits 5 to 9, and train
# again. Do the classes still collapse? Do the means still form an ETF? *Hint:* look at the cosines between the
# centred means, within and between the two groups. (Lecture 003 lists imbalanced learning among the uses of
# neural collapse.)
# :::
#
# :::{solution-start} ex-nc-imbalance
# :class: dropdown
# :::
#
# Give `train` the rows `torch.cat([(y_train == k).nonzero().flatten()[: 140 if k < 5 else 10] for k in
# range(10)])`. The recorded runs did, from five starts.

# %%
unequal = {
    "NC1": seeds("nc1", "imbalanced"),
    "NC2 of means": seeds("nc2", "imbalanced"),
    "cosine, frequent": seeds("groups", "imbalanced")[:, 0],
    "cosine, rare": seeds("groups", "imbalanced")[:, 1],
    "between": seeds("groups", "imbalanced")[:, 2],
    "lengths, rare / frequent": seeds("groups", "imbalanced")[:, 3],
}
ranges(unequal, {"10 of 140": [span(part) for part in unequal.values()]})
control = seeds("nc2")
claims.check("imbalance-no-etf", unequal["NC2 of means"], above=0.2, control=control)

# %% [markdown]
# The samples still come close to their means, if less so than in the balanced run. But the means are far from
# an ETF. After centring, the rare classes' means are the longer ones, and the
# two groups point away from each other. The symmetry between classes that the theorems on balanced data use is
# gone, and with it the ETF. What takes its place can be computed where features are free:
# {ref}`Unequal classes <sec-ufm-imbalance>` in [Unconstrained features](unconstrained_features.ipynb).
#
# :::{solution-end}
# :::
#
# :::{exercise} Which layers collapse?
# :label: ex-nc-open
# *Open, an hour.* Which layers collapse? `net.taps(x)` returns the output of every hidden layer. Plot NC1 of
# each against its depth, for a network with ten layers, at several epochs; then for random labels. Form a
# hypothesis on how NC1 falls from layer to layer, then compare with
# [Progressive separation](progressive_separation.ipynb).
# :::
#
# :::{solution} ex-nc-open
# :class: dropdown
# Under `torch.no_grad()`, `[float(nc1(h, y_train)) for h in nets["SGD"].eval().taps(x_train)]` measures the
# network above: NC1 falls at every layer. Whether the factor per layer is constant depends on depth, training
# time and labels: say for which settings you found it so and for which you did not.
# :::
#
# ## Summary
#
# Trained past zero error, a classifier moves its features to their class means (NC1), the means to a
# simplex ETF (NC2), the weights to the means (NC3), and decides by the nearest mean (NC4).
#
# The ETF is the best worst case: no $K$ directions have all cosines below $-\frac1{K-1}$.
#
# In our runs, one kind of network on small images, and on the slides, collapse depends neither on the
# algorithm nor on meaningful labels or inputs. In the time one trains, it takes a wide network and enough
# weight decay times learning rate.
#
# It describes the training set. Test error is decided elsewhere.
#
# Measure NC1 along the directions in which the means differ, in double precision. Work on a copy of the features.
# Give NC2 of random vectors of the same $K$ and $d$ beside yours.
#
# ## Further reading
#
# {cite}`papyan2020prevalence` discovered the phenomenon. {cite}`zhu2021geometric` explain it with free
# features and use the distances {eq}`eq-nc2`; {cite}`mixon2020neural` proposed that model.
# {cite}`rankin1955closest` has the bound, in the language of packing caps on a sphere.
