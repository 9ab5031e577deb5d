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
# # Topology and intrinsic dimension
#
# The features of a layer are a cloud of points in a space with hundreds of axes. Nobody can look at it. But one can ask
# it two questions. How many pieces and holes does it have? And in how many directions can one move within it? The first
# is about *topology*, the second about *dimension*, and neither needs labels. This chapter answers both by hand for a
# few points, then by machine, and then follows the answers through the layers of trained networks. In the end we shall
# see what they leave out: which points belong together.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** count the holes of a complex by the rank of two matrices; read a persistence diagram; say why a
# network must be wider than its input to take a ball out of a shell; derive two estimates of intrinsic dimension and say
# when they mislead; and tell what layers do to both.
#
# **Follows** lecture 003: *Representations: Topology Change I–III*, *Representations: Intrinsic Dimension* and
# *Representations: Topology and Intrinsic Dimension*.
#
# **You need** the rank of a matrix, the exponential distribution, and to have trained a small network in PyTorch before.
#
# **Time**: reading, an hour and a quarter; running, about half a minute on a CPU. No GPU is needed.
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

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection, PolyCollection
from torch import nn

from lecturelib import claims
from lecturelib.datasets import load
from lecturelib.device import seed_everything
from lecturelib.explore import explore
from lecturelib.figures import COLOURS, use_style
from lecturelib.networks import MLP
from lecturelib.records import recorded
from lecturelib.topology_and_dimension import (
    betti_numbers,
    boundary_matrix,
    farthest_points,
    linked_rings,
    mle_dimension,
    nested_spheres,
    persistence,
    rips_complex,
    simplicial_betti_numbers,
    sphere,
    torus,
    two_nn,
)
from lecturelib.training import accuracy, train

use_style()
torch.set_num_threads(1)  # networks this small lose more to waiting than they gain
generator = seed_everything(0)

# %% [markdown]
# (sec-td-holes)=
# ## Holes, counted by hand
#
# Take three points, 0, 1 and 2, and join each two of them by an edge. You see a triangle: one piece, with one loop
# around a hole. Now fill it. It is still one piece, and the hole is gone. We want two numbers that say so and that a
# machine can compute.
#
# **What is a loop?** Let us walk along edges, $01$, then $12$, then $20$. What makes this walk closed is that no vertex
# is left over: we come into each as often as we leave it. Count only whether a vertex is met an even or an odd number of
# times, so that $1 + 1 = 0$. The *{term}`boundary`* of an edge is the sum of its two ends. For our walk,
#
# $$ (0 + 1) + (1 + 2) + (2 + 0) = 0 . $$
#
# A *loop* is a set of edges whose boundary is zero. As a matrix, with a column for each edge $01$, $02$, $12$ and a row
# for each vertex, the boundary of edges is
#
# $$
# \partial_1 = \begin{pmatrix} 1 & 1 & 0 \\ 1 & 0 & 1 \\ 0 & 1 & 1 \end{pmatrix} ,
# $$ (eq-td-boundary)
#
# and loops are the vectors that it sends to zero. Its columns add up to zero, since each row has two ones. The first two
# are different, so its rank is 2. There are $3 - 2 = 1$ independent loops.
#
# **Which loops go around a hole?** Those that nothing fills. A filled triangle has a boundary, too: its three edges. So
# $\partial_2$ is a single column, $(1, 1, 1)^\top$, of rank 1. The only loop is the boundary of something, and
# $1 - 1 = 0$ loops are left.
#
# **How many pieces?** Call two vertices the same if they are the ends of a walk, that is if their sum is the boundary of
# some edges. The rank of $\partial_1$ says how many vertices are given up in this way: $3 - 2 = 1$ piece.
#
# It is one rule for all. Vertices, edges, triangles and tetrahedra are *simplices* of dimension 0, 1, 2 and 3, and a
# *complex* is a set of them that has, with a simplex, all its faces.
#
# :::{prf:definition} Betti numbers
# :label: def-betti
#
# Let a complex have $m_k$ simplices of dimension $k$, and let $\partial_k$ be the matrix of zeros and ones that has a
# column for each of them and a one for each of its $k + 1$ faces; $\partial_0 = 0$. Its $k$-th {term}`Betti number` is,
# with ranks modulo two,
#
# $$ \beta_k = m_k - \operatorname{rank} \partial_k - \operatorname{rank} \partial_{k+1} . $$ (eq-betti)
# :::
#
# The first difference, $m_k - \operatorname{rank} \partial_k$, counts what is closed. The last term takes away what is
# filled; for this to make sense the boundary of a boundary has to vanish. It does: a face of a face of a simplex is
# reached by leaving out two vertices, in either order, so it is met twice. $\beta_0$ counts pieces, $\beta_1$ loops and
# $\beta_2$ cavities, such as that of a football.

# %%
edges = [(0, 1), (0, 2), (1, 2)]
print(boundary_matrix(edges, 1))
print("empty triangle: ", simplicial_betti_numbers(edges))
print("filled triangle:", simplicial_betti_numbers([(0, 1, 2)]))

# %% [markdown]
# (sec-td-scale)=
# ## From points to shapes
#
# Features are points, and points have no holes. What looks like a ring is a ring only if one does not look too closely,
# nor from too far away. So choose a *scale* $s$ and join points that lie within $s$ of each other: each two of them by
# an edge, each three by a triangle, and so on. This is the *{term}`Rips complex`* of the cloud at scale $s$.
#
# Which scale is right? Move the slider in {numref}`fig-td-scale`. Forty points of a ring are first forty pieces. At 0.3
# they are one piece, with the loop that we expect and a small one that is there by chance. Then, for a long while, there
# is one loop. In the end the hole is filled, all at once. Choose the other cloud: loops come, and go immediately.

# %% tags=["hide-input"]
spots = torch.Generator().manual_seed(4)
CLOUDS = {
    "ring": sphere(300, 1, noise=0.06, generator=spots),
    "blob": 0.7 * torch.randn(40, 2, generator=spots, dtype=torch.float64),
}
CLOUDS["ring"] = CLOUDS["ring"][farthest_points(CLOUDS["ring"], 40)[0]]
FOUND = {name: persistence(cloud) for name, cloud in CLOUDS.items()}


def draw_scale(scale, cloud):
    points = CLOUDS[cloud].numpy()
    cells = rips_complex(CLOUDS[cloud], scale)
    fig, ax = plt.subplots(figsize=(3.4, 3.4))
    faces = [points[list(cell)] for cell in cells if len(cell) == 3]
    lines = [points[list(cell)] for cell in cells if len(cell) == 2]
    ax.add_collection(PolyCollection(faces, facecolor=COLOURS[5], alpha=0.3))
    ax.add_collection(LineCollection(lines, color="0.5", linewidth=0.7))
    ax.plot(*points.T, "o", color=COLOURS[0], markersize=4)
    pieces, loops = FOUND[cloud].betti(scale)
    ax.set(title=f"pieces: {pieces}, loops: {loops}", xticks=[], yticks=[])
    ax.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    return fig


def describe_scale(scale, cloud):
    pieces, loops = FOUND[cloud].betti(scale)
    return (
        f"Forty points of a {cloud}, joined where they are within {scale}: the number "
        f"of pieces is {pieces}, the number of loops that are not filled is {loops}."
    )


explore(
    draw_scale,
    name="td-scale",
    alt=describe_scale,
    caption="The Rips complex of forty points at a scale of your choice: edges, and triangles shaded.",
    labels={"scale": "Scale", "cloud": "Cloud"},
    start={"scale": 0.2, "cloud": "ring"},
    play="scale",
    scale=[0.1, 0.2, 0.3, 0.5, 0.9, 1.3, 1.8],
    cloud=["ring", "blob"],
)

# %% [markdown]
# The way out is to choose no scale and keep them all. As $s$ grows, a hole is *born* when simplices close around it and
# *dies* when it is filled. Each hole is then a point, with its birth and its death as coordinates, in the
# *{term}`persistence diagram`* of the cloud {cite}`edelsbrunner2002topological`. Holes of the shape live long: they are
# far above the diagonal. Holes between neighbours that happen to lie in a circle die soon after birth.
#
# **By hand.** Put $N$ points evenly on a circle of radius 1. Neighbours are $2 \sin \frac{\pi}{N}$ apart. At this scale
# the loop is born. It is alive as long as no triangle of the complex contains the middle, for until then all of them can
# be pushed outwards onto the circle. Of the triangles on the circle that do contain it, the equilateral one has the
# shortest longest side, $\sqrt 3$. So the loop dies near $s = \sqrt 3$, and exactly there if three divides $N$. A
# hundred points give a bar from 0.06 to 1.73, and the ratio of death to birth, 28, does not depend on the radius. For
# chance loops among points without any shape it hardly exceeds 2.
#
# **What is missing between the points** can change this only a little. If every point of the whole shape is within
# $\delta$ of a chosen one, births and deaths move by at most $2 \delta$ {cite}`chazal2014persistence`. The machine needs
# that: its work grows with the number of simplices, so `persistence` chooses a few hundred points that are as far apart
# as possible. It uses GUDHI {cite}`maria2014gudhi`, with Ripser's method {cite}`bauer2021ripser`.
#
# {numref}`fig-td-diagrams` has four shapes and one cloud without shape. Read the numbers of pieces, loops and cavities
# off the diagrams. Then look at the claim: at one scale for each shape, all are right, in five samples.

# %%
SHAPES = {  # points, largest dimension, scale, points used, what is right
    "circle": (lambda g: sphere(400, 1, generator=g), 1, 0.6, 60, (1, 1)),
    "linked rings": (lambda g: linked_rings(300, generator=g)[0], 1, 0.5, 150, (2, 2)),
    "sphere": (lambda g: sphere(800, generator=g), 2, 1.0, 120, (1, 0, 1)),
    "torus": (lambda g: torus(1500, generator=g), 2, 1.45, 160, (1, 2, 1)),
}


def noise_like(points, source):
    """Normal points with the same spread in every coordinate."""
    normal = torch.randn(points.shape, generator=source, dtype=torch.float64)
    return normal * points.std(0)


wrong, wrong_noise, deaths = [], [], []
for seed in range(5):
    source = torch.Generator().manual_seed(seed)
    errors = np.zeros(2, dtype=int)
    for draw, dim, scale, samples, right in SHAPES.values():
        points = draw(source)
        for i, cloud in enumerate((points, noise_like(points, source))):
            found = betti_numbers(cloud, dim, scale, samples=samples)
            errors[i] += sum(a != b for a, b in zip(found, right, strict=True))
    wrong.append(errors[0])
    wrong_noise.append(errors[1])
    deaths.append(persistence(sphere(400, 1, generator=source), samples=60)[1][0, 1])
claims.check("topology-betti", wrong, 0, control=wrong_noise)
claims.check("topology-circle", torch.stack(deaths), 3**0.5, rel=0.05, control=2)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-diagrams", "caption": "Four clouds and a shapeless one (top), and their persistence diagrams (bottom): birth and death of pieces (circles), loops (crosses) and cavities (squares). What lies far above the diagonal is a hole of the shape."}, "image": {"alt": "Five pictures of clouds of points, a circle, two linked rings, a sphere, a torus and a blob. Below each a diagram of death against birth, with a diagonal. For the circle one cross stands far above the diagonal, for the rings two crosses nearly on one another, for the sphere one square, for the torus two crosses and a square, for the blob nothing but circles does."}}
g = torch.Generator().manual_seed(0)
clouds = {name: (shape[0](g), *shape[1:4:2]) for name, shape in SHAPES.items()}
clouds["noise"] = noise_like(clouds["sphere"][0], g), 2, 120
fig, axes = plt.subplots(2, 5, figsize=(7.5, 3.4))
for (name, (points, dim, samples)), (top, bottom) in zip(
    clouds.items(), axes.T, strict=True
):
    found = persistence(points, dim, samples=samples)
    seen = points[found.indices]
    height = seen[:, 2] if seen.shape[1] > 2 else 0 * seen[:, 0]
    top.plot(seen[:, 0], seen[:, 1] * 0.85 + height * 0.5, ".", markersize=3)
    top.set(title=name, aspect="equal", xticks=[], yticks=[])
    end = 1.15 * max(bars[bars.isfinite()].max() for bars in found.bars if len(bars))
    bottom.plot([0, end], [0, end], color="0.6", linewidth=1)
    for bars, marker in zip(found.bars, "ox" + "s" * (dim > 1), strict=True):
        bars = bars[bars[:, 1].isfinite()]
        bottom.plot(*bars.T, marker, markersize=4, fillstyle="none", alpha=0.8)
    bottom.set(xlim=(-0.1, end), ylim=(-0.1, end), aspect="equal", xlabel="birth")
axes[1, 0].set_ylabel("death")
plt.show()

# %% [markdown]
# **In two sentences.** Betti numbers are ranks of two matrices, once points are joined at some scale. A persistence
# diagram keeps all scales, and a hole counts if it dies much later than it is born.
#
# (sec-td-width)=
# ## What a narrow network cannot do
#
# Why should a classifier care about holes? Take two classes in the plane, a circle of radius 1 and a circle of radius 2
# around it. No straight line separates them. So a network has to move them, layer by layer, until one does. Give it
# layers of two units, so that every layer is again a plane. Can it learn to?
#
# Picture a rubber sheet. Stretch, turn and bend it as you like, and the inner circle stays inside of the outer one. To
# take it out you must cut the sheet, or lift it into the third dimension. The following makes this precise. It says
# more, too: not even ReLU, which can fold the sheet and crush it, gets around it.
#
# :::{prf:theorem} No summit inside
# :label: thm-width
#
# Let a network take inputs from $\mathbb R^D$ through layers $x \mapsto \sigma(Wx + b)$, none of them wider than $D$,
# with $\sigma = \tanh$ or $\sigma = \mathrm{ReLU}$, and then form an affine score $f(x) \in \mathbb R$. Let $B$ be a
# closed ball and $S$ the sphere around it. Then
#
# $$ \max_{x \in B} f(x) = \max_{x \in S} f(x) . $$ (eq-width)
# :::
#
# :::{prf:proof}
# *Smooth and invertible.* Suppose first that all $W$ are invertible $D \times D$ matrices and that $\sigma' > 0$
# everywhere. If the score is constant there is nothing to show. Else $f(x) = a^\top F(x) + c$ with $a \ne 0$, where $F$
# is what the layers do. By the chain rule, the derivative of $F$ is a product of invertible matrices, the $W$ and
# diagonal matrices of positive numbers $\sigma'$. So the gradient of $f$, which is $a$ times that product, is nowhere
# zero. But at a maximum in the interior of $B$ it would be. As $B$ is closed and bounded, $f$ has a maximum on it, and
# so that lies on $S$.
#
# *Everything else, as a limit.* A layer with fewer than $D$ units is one with $D$ units of which some are not used: rows
# of $W$ that are zero, and zeros in the next layer. A singular $W$ becomes invertible by adding $\varepsilon I$, for all
# but finitely many $\varepsilon$. And ReLU is the limit of
# $\sigma_\varepsilon(u) = \varepsilon \log(1 + e^{u / \varepsilon})$, which has $\sigma_\varepsilon' > 0$ and lies
# within $\varepsilon \log 2$ of it. Let $\varepsilon$ go to zero. On the bounded set $B$ the scores of these networks
# converge uniformly to $f$. Their maxima on $B$ and on $S$ agree, and converge to those of $f$.
# :::
#
# The same holds for the minimum, as $-f$ is a score, too. Apply it to the score of *inner* minus that of *outer*. If
# some point within the outer circle is called inner, some point *on* the outer circle is called inner, too. So a network
# of width two makes mistakes on one of the circles, whatever its depth and however it is trained. With a finite sample
# it may hide them: it pulls the inner circle out through a gap between two of the 200 samples of the outer one. So we
# look at 4000 points.

# %%
STEPS = {"epochs": 400, "optimizer": "adam", "every": []}


def network_of(widths, activation, seed):
    torch.manual_seed(seed)
    network = MLP(widths)
    if activation == "tanh":
        for layer in network.hidden:
            layer[-1] = nn.Tanh()
    return network


circles, ring_of = nested_spheres(200, 1, generator=generator)
circles = circles.float()


def trained_on_circles(width, activation, seed):
    network = network_of([2, width, width, width, 2], activation, seed)
    train(network, circles, ring_of, lr=0.02, batch_size=400, **STEPS)
    return network


# %% [markdown]
# The measure is by how much the highest score in the disc exceeds the highest score on its rim, in units of the range of
# scores. By {eq}`eq-width` it is zero for width two. With one unit more, a network that gets both circles right has it
# above zero. (A ReLU network of width three sometimes dies at the start, so we give ReLU five in the control.)
# {numref}`fig-td-width` shows where three of the networks say *inner*.

# %%
turn = torch.arange(4000) * (2 * math.pi / 4000)
rim = 2 * torch.stack([turn.cos(), turn.sin()], dim=1)
disc = torch.cat([share * rim for share in torch.linspace(0, 1, 21)])


def scores(network, points):
    with torch.no_grad():
        logits = network(points)
    return logits[:, 0] - logits[:, 1]


def excess(network):
    inside, around = scores(network, disc), scores(network, rim)
    return (inside.max() - around.max()) / (inside.max() - inside.min())


narrow = [trained_on_circles(2, kind, s) for kind in ("relu", "tanh") for s in range(3)]
wide = [trained_on_circles(3, "tanh", seed) for seed in range(3)]
wide.append(trained_on_circles(5, "relu", 0))
above, beyond = ([excess(net) for net in nets] for nets in (narrow, wide))
claims.check("topology-width", above, below=0.02, control=beyond)
entries = {}
for net in narrow + wide:
    missed = (scores(net, rim) > 0).double().mean()
    name = f"{len(entries) + 1}: width {net.hidden[0][0].out_features}"
    entries[name] = [accuracy(net, circles, ring_of), missed]
claims.table(["training accuracy", "outer circle wrong"], entries)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-width", "caption": "Where three networks say *inner* (shaded). Left and middle: with layers of two units the shaded region cannot close, and runs through the outer circle. Right: with three it can."}, "image": {"alt": "Three pictures of two circles, one in the other, with a shaded region. With width two, for ReLU and tanh, the region around the inner circle is open to one side and covers a part of the outer circle. With width three it is a closed region between the two circles."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.5))
axis = torch.linspace(-3, 3, 201)
grid = torch.cartesian_prod(axis, axis)
shown = {
    "ReLU, width 2": narrow[1],
    "tanh, width 2": narrow[3],
    "tanh, width 3": wide[0],
}
for ax, (title, net) in zip(axes, shown.items(), strict=True):
    inner = (scores(net, grid) > 0).reshape(201, 201).T.double()
    ax.contourf(axis, axis, inner, levels=[0.5, 1.5], colors=[COLOURS[5]], alpha=0.5)
    for k, marker in enumerate("os"):
        ax.plot(*circles[ring_of == k].T, marker, markersize=1.5, color=COLOURS[k])
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# In space, the theorem says that a sphere within a sphere takes layers of four units. Other shapes take other arguments.
# Two linked rings stay linked under every continuous and invertible map of space to itself. In four dimensions they come
# apart.
#
# (sec-td-layers)=
# ## Linked classes, layer by layer
#
# Now let the network be wide enough: eight layers of 15 units, and two rings in space, each through the hole of the
# other. Lecture 003 shows with such pictures that *the topology of two classes changes through the layer-wise
# transformation*. What can change, and what did we measure?
#
# **What can change.** Think of a class as the whole ring and not as some points of it. A layer is continuous. If it also
# takes different points to different points, nothing is torn and nothing is glued.
#
# :::{prf:lemma} No gluing, no change
# :label: lem-homeomorphism
#
# Let $M \subset \mathbb R^D$ be closed and bounded, and let $F$ be continuous on $M$ and take different points to
# different points. Then the inverse map from $F(M)$ to $M$ is continuous, and $F(M)$ has the Betti numbers of $M$.
# :::
#
# :::{prf:proof}
# Let $y_i = F(x_i)$ converge to $y = F(x)$. Suppose the $x_i$ did not converge to $x$. Then infinitely many of them keep
# away from $x$. As $M$ is closed and bounded, some of these converge to a point $x' \ne x$ of $M$. By continuity
# $F(x') = y = F(x)$, which is excluded. So $F$ and its inverse are both continuous, and such maps preserve Betti numbers
# {cite}`carlsson2009topology`.
# :::
#
# A layer with tanh, and with $W$ of full rank and at least as many units as inputs, fulfils this. Random weights have
# full rank. So *a tanh network changes no Betti number of a class*. It can only make a loop thin. A layer with ReLU may
# glue: where all units are off, a whole region becomes a point.
#
# **What is measured** is a sample, and there a loop counts if it lasts. As the loop gets thinner than the gaps between
# the points, it is lost from sight. We follow the largest ratio of death to birth in each class, with 150 points chosen
# from 500. The recorded runs have three pairs of classes: noisy rings, tori (rings with a thick tube around them), and a
# noisy sphere within another one, where we look for the cavity with 80 points. Each has five seeds, ReLU and tanh,
# before and after training. In {numref}`fig-td-layers` a curve that falls is a hole that gets thinner.

# %%
networks = recorded("topology-networks").values


def ratios_of(shape, activation, task):
    """Death over birth, both classes of five networks, shape (10, 9)."""
    kind = {"shape": shape, "activation": activation, "task": task}
    rows = [row for row in networks if kind.items() <= row.items()]
    return np.concatenate([row["ratios"] for row in rows])


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-layers", "caption": "Longest-lived hole of each class, layer by layer: the ratio of death to birth of a loop (rings, tori) or cavity (spheres). Geometric means over two classes and five networks. The dotted line marks what chance reaches."}, "image": {"alt": "Three panels of death over birth on a logarithmic axis against the layer from 0 to 8, for rings, tori and spheres. The two trained curves fall to about 1.3 within five layers, for ReLU and tanh alike. Of the untrained ones that for tanh stays high, and that for ReLU falls slowly."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.9))
CHANCE = {"rings": 2, "tori": 2, "spheres": 1.3}
STYLES = {
    ("relu", "true"): ("o-", 0, "ReLU, trained"),
    ("tanh", "true"): ("s-", 1, "tanh, trained"),
    ("relu", "untrained"): ("o--", 0, "ReLU, untrained"),
    ("tanh", "untrained"): ("s--", 1, "tanh, untrained"),
}
for ax, (shape, chance) in zip(axes, CHANCE.items(), strict=True):
    for (activation, task), (style, colour, label) in STYLES.items():
        mean = np.exp(np.log(ratios_of(shape, activation, task)).mean(0))
        kind = {"color": COLOURS[colour], "label": label, "markersize": 4}
        ax.semilogy(mean, style, **kind)
    ax.axhline(chance, color="0.4", linestyle=":", linewidth=1)
    ticks = [1, 2, 5, 10] if shape != "spheres" else [1, 1.5, 2, 2.5]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(title=shape, xlabel="layer", xticks=range(0, 9, 2))
axes[0].set_ylabel("death over birth")
axes[2].legend(fontsize="x-small")
plt.show()

# %%
last = {
    (kind, task): ratios_of("rings", kind, task)[:, -1]
    for kind in ("relu", "tanh")
    for task in ("true", "untrained", "shuffled")
}
trained_last = np.concatenate([last["relu", "true"], last["tanh", "true"]])
untouched = last["tanh", "untrained"]
claims.check("topology-simplifies", trained_last, below=3, control=untouched)
mixed = np.concatenate([last["relu", "shuffled"], last["tanh", "shuffled"]])
claims.check("topology-shuffled", mixed, below=3, control=untouched)


def seen_until(shape, activation, task):
    """Mean number of layers up to which a hole is seen, the input not counted."""
    lost = ratios_of(shape, activation, task) < CHANCE[shape]
    return np.where(lost.any(1), lost.argmax(1), 9).mean() - 1


claims.table(
    [label for *_, label in STYLES.values()],
    {shape: [seen_until(shape, *kind) for kind in STYLES] for shape in CHANCE},
)

# %% [markdown]
# The table says up to which layer a hole is seen, on average, of eight. After training all are lost from sight, in both
# kinds of networks: rings and tori are seen for three to five layers, cavities for two or three. Compare with the
# control. Before training, the networks with tanh show rings and tori up to the end, and cavities for six layers.
#
# Two more things stand there. *Between ReLU and tanh there is no winner*: tanh loses the rings a layer earlier, and tori
# and spheres about a layer later. And *ReLU does part of it without learning*. An untrained ReLU network loses the
# cavities as early as a trained one.

# %%
folded, kept = (seen_until("spheres", kind, "untrained") for kind in ("relu", "tanh"))
claims.check("topology-random-relu", folded, below=2.9, control=kept)
memorised = [row["accuracy"] for row in networks if row["task"] == "shuffled"]
claims.show("accuracy on shuffled labels", np.mean(memorised))

# %% [markdown]
# The networks trained on shuffled labels lose the loops as well. They have hardly learnt anything: half of the labels
# would be right by chance. So a loop that disappears is no sign of classes being sorted.
#
# :::{admonition} Slide check: does the topology change?
# :class: warning slide-check
# :name: slide-check-td-change
# Lecture 003 takes its pictures from Naitzat, Zhitnikov and Lim {cite}`naitzat2020topology`, who report that
# {claim}`Betti numbers fall in every well-trained network, and faster with ReLU than with tanh <topology-relu-faster>`.
# The first we find, too. The second we do not, in our networks: of three shapes, one goes the other way. They use other
# shapes and other networks, and measure distances along a graph of neighbours. The reason that they give, that tanh
# layers preserve topology, is right for the whole class and wrong for a sample: there the loops are lost, too.
#
# *Changes* is also a matter of words. By {prf:ref}`lem-homeomorphism` the loop of a tanh network is still there. Sampled
# more densely, it can be seen again.
# :::
#
# **Thin, not gone.** Train three tanh networks on noisy rings, as before. Then send a perfect ring through them, once
# with the 150 points of the measurement, once with 500 of 3000.

# %%
angle = torch.arange(3000, dtype=torch.float64) * (2 * math.pi / 3000)
perfect = torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)


def trained_on_rings(activation, seed):
    source = torch.Generator().manual_seed(seed)
    points, labels = linked_rings(500, noise=0.02, generator=source)
    network = network_of([3, *[15] * 8, 2], activation, seed)
    more = {"lr": 0.005, "batch_size": 1000, "generator": source}
    train(network, points.float(), labels, **STEPS, **more)
    return network.double(), points, labels


def longest(points, samples=150):
    bars = persistence(points, samples=samples)[1]
    return (bars[:, 1] / bars[:, 0]).max()


def layers_of(network, points):
    with torch.no_grad():
        return [points, *network.taps(points)]


rings = {("tanh", seed): trained_on_rings("tanh", seed) for seed in range(3)}
dense, noisy, entries = [], [], {}
for (_, seed), (network, points, labels) in rings.items():
    ideal = layers_of(network, perfect)[4]
    noisy.append(longest(layers_of(network, points[labels == 0])[4]))
    dense.append(longest(ideal, 500))
    entries[f"network {seed}"] = [noisy[-1], longest(ideal), dense[-1]]
claims.table(["noisy, 150", "perfect, 150", "perfect, 500"], entries)
claims.check("topology-thin", dense, above=5, control=noisy)

# %% [markdown]
# So *the number of holes of layer 4* means nothing without a scale, and that is set by the noise and the number of
# points.
#
# Look at it yourself in {numref}`fig-td-rings`. It shows the features of both classes in the three directions in which
# they vary most, and the persistence diagram of one class. Press *Play*: the rings are pulled apart first and then
# crushed.

# %% tags=["hide-input"]
rings["relu", 0] = trained_on_rings("relu", 0)
SHOWN = {"ReLU": ("relu", 0), "tanh": ("tanh", 0)}
VIEWS = {}
for name, key in SHOWN.items():
    network, points, labels = rings[key]
    for number, layer in enumerate(layers_of(network, points)):
        centred = layer - layer.mean(0)
        axes3 = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
        flat = centred @ axes3.T / centred.norm(dim=1).max()
        bars = persistence(layer[labels == 0], samples=150, relative=True)
        VIEWS[number, name] = flat, labels, bars


def draw_ring_layer(layer, network):
    flat, labels, bars = VIEWS[layer, network]
    fig = plt.figure(figsize=(5.4, 2.7))
    left = fig.add_subplot(1, 2, 1, projection="3d")
    right = fig.add_subplot(1, 2, 2)
    for k, marker in enumerate("o^"):
        own = flat[labels == k][::3]
        left.plot(*own.T, marker, markersize=2, color=COLOURS[k], alpha=0.7)
    left.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    left.set(xticklabels=[], yticklabels=[], zticklabels=[], title=f"layer {layer}")
    right.plot([0, 2], [0, 2], color="0.6", linewidth=1)
    right.plot(*bars[0][1:].T, "o", markersize=3, fillstyle="none")
    right.plot(*bars[1].T, "x", markersize=6, color=COLOURS[1])
    right.set(xlim=(-0.05, 1.9), ylim=(-0.05, 1.9), xlabel="birth", ylabel="death")
    right.set(title="pieces (o), loops (x)")
    return fig


def describe_ring_layer(layer, network):
    bars = VIEWS[layer, network][2][1]
    ratio = (bars[:, 1] / bars[:, 0]).max().item() if len(bars) else 1.0
    return (
        f"Two classes after layer {layer} of the {network} network, and the diagram of the first: "
        f"its longest loop dies at ⟨{ratio:.1f}⟩ times its birth."
    )


explore(
    draw_ring_layer,
    name="td-rings",
    alt=describe_ring_layer,
    caption="Left: features of two linked rings in their three main directions. Right: persistence diagram of the "
    "first class, in units of its radius.",
    labels={"layer": "Layer", "network": "Network"},
    start={"layer": 0, "network": "tanh"},
    play="layer",
    layer=[0, 1, 2, 3, 4, 6, 8],
    network=["ReLU", "tanh"],
)

# %% [markdown]
# **In two sentences.** Trained layers make the loops of each class so thin that a sample no longer shows them; with tanh
# they cannot remove them. They do so for shuffled labels, too.
#
# (sec-td-dimension)=
# ## How many directions
#
# A ring in space is given by three coordinates, and one number, the angle, would do. The *{term}`intrinsic dimension`*
# of a cloud is the number of directions in which one can move within it. The lecture calls it the minimal number of
# variables that describe the data. How can one see it from distances only?
#
# **Count neighbours.** Stand on a point and count others within a distance $r$. On a line their number grows like $r$:
# twice as far, twice as many. In a plane it grows like $r^2$: twice as far, four times as many. Within $d$ directions it
# is
#
# $$ \text{neighbours within } r \;\propto\; r^d , $$ (eq-td-count)
#
# so $d$ is how often the count doubles when $r$ doubles. It does not matter in how many coordinates the cloud lies. But
# $r$ must be small enough for the cloud to look flat, and even, and large enough to count something. The smallest
# distances that count anything are those to the first and the second neighbour, $r_1$ and $r_2$.
#
# **Two neighbours are enough.** This is the idea of Facco et al. {cite}`facco2017estimating`. Look at
#
# $$ \mu = \frac{r_2}{r_1} \ge 1 . $$
#
# In many directions there is far more room a little further out. So the second neighbour comes right after the first,
# and $\mu$ is close to 1. On a line it often is large. How often?
#
# :::{prf:theorem} Two neighbours
# :label: thm-two-nn
#
# If the points around $x$ are spread evenly and independently in $d$ directions, then
#
# $$ P(\mu > t) = t^{-d} , \qquad t \ge 1 . $$ (eq-pareto)
# :::
#
# :::{prf:proof}
# *Volumes in place of distances.* A ball of radius $r$ has the volume $v = \omega_d r^d$, with $\omega_d$ that of the
# unit ball. Let $v_1$ and $v_2$ be the volumes of the balls that reach to the first and the second neighbour. Then
# $\mu^d = v_2 / v_1$.
#
# *Waiting for neighbours.* Let the ball grow. Among many points, evenly and independently spread with a density
# $\varrho$, a region of volume $v$ holds no point with probability $e^{-\varrho v}$, whatever happens outside of it. So
# $v_1$ exceeds $v$ with probability $e^{-\varrho v}$. From there on, the further volume $w = v_2 - v_1$ until the next
# point has the same distribution and is independent of $v_1$. These are two independent waiting times with the same
# rate.
#
# *Their ratio.* For $u \ge 0$,
#
# $$
# P\Big( \frac{w}{v_1} > u \Big)
#   = \int_0^\infty \varrho\, e^{-\varrho v} \, e^{-\varrho u v} \, dv = \frac{1}{1 + u} .
# $$
#
# The density has cancelled.
#
# *Back to distances.* $\mu^d = 1 + w / v_1$. So $\mu > t$ where $w / v_1 > t^d - 1$, which has probability $1 / t^d$.
# :::
#
# On a line every second point has $\mu > 2$, in ten directions one in a thousand.
#
# The law $t^{-d}$ is called Pareto's. Its logarithm is more familiar: $P(\log \mu > y) = e^{-d y}$, so $\log \mu$ is
# exponentially distributed with rate $d$ and mean $\frac1d$. Two estimates are at hand.
#
# - **Average.** The likelihood of $n$ independent values is $d^n e^{-d \sum_i \log \mu_i}$. It is largest where
#   $\frac nd = \sum_i \log \mu_i$, which says that $\frac1d$ is the mean of the logarithms.
# - **Fit a line.** $-\log P(\mu > t) = d \log t$ is a line through the origin with slope $d$. Sort the values, take
#   $1 - \frac in$ for the probability that the $i$-th is exceeded, and fit. One *sees* whether it is a line, and can
#   leave out the largest ratios, where the density is least even. `two_nn` does this and discards a tenth.
#
# How far off are they? A sum of $n$ exponentials with mean $\frac1d$ has the mean $\frac nd$ and the standard deviation
# $\frac{\sqrt n}{d}$, which is $\frac{1}{\sqrt n}$ of the mean. One over the sum has the same relative error, if it is
# small: with 2000 points, two per cent.
#
# **More neighbours.** Levina and Bickel take $k$ of them, with distances $T_1 < \dots < T_k$ {cite}`levina2004maximum`.
# Given the ball up to the $k$-th, the $k - 1$ points within are spread evenly in it. So each one's share of the volume,
# $(T_j / T_k)^d$, is uniform between 0 and 1 if one takes them in any order. Minus the logarithm of a uniform number is
# exponential with rate one. Hence the numbers $\log (T_k / T_j)$ are exponential with rate $d$, and we average them as
# before:
#
# $$
# \frac{1}{\hat d} = \frac{1}{k - 1} \sum_{j=1}^{k-1} \log \frac{T_k}{T_j} .
# $$ (eq-levina)
#
# For $k = 2$ these are the same. A larger $k$ has a smaller error, since it uses more distances. But it looks at a
# larger ball, where the cloud is less flat and less even. `mle_dimension` averages {eq}`eq-levina` over all points, with
# $k = 20$.
#
# Let us try shapes whose dimension we know, rotated into fifty dimensions.

# %%
F64 = {"generator": generator, "dtype": torch.float64}


def embedded(points, dim=50):
    """The same cloud, turned into some direction of a larger space."""
    frame = torch.linalg.qr(torch.randn(dim, points.shape[1], **F64)).Q
    return points @ frame.T


KNOWN = {
    "circle": (1, lambda: sphere(2000, 1, generator=generator)),
    "torus": (2, lambda: torus(2000, generator=generator)),
    "sphere, d = 3": (3, lambda: sphere(2000, 3, generator=generator)),
}
off, off_naive, entries = [], [], {}
for name, (d, draw) in KNOWN.items():
    for _ in range(3):
        points = embedded(draw())
        pair, many = two_nn(points), mle_dimension(points)
        off += [pair.dimension - d, many.dimension - d]
        off_naive.append(torch.linalg.matrix_rank(points) - d)
    entries[name] = [pair.dimension, pair.error, many.dimension, many.error]
claims.table(["two neighbours", "±", "twenty", "±"], entries, digits=3)
claims.check("dimension-known", off, 0, abs=0.35, control=off_naive)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-line", "caption": "Minus the logarithm of the share of points with a larger $\\mu$, against $d \\log \\mu$, for cubes of dimension 1, 2, 5 and 20 with 2000 points. If {eq}`eq-pareto` holds they follow the dashed diagonal. At $d = 20$ they fall below."}, "image": {"alt": "Minus the logarithm of the share of larger ratios against d times the logarithm of mu. Points for dimensions one and two follow the dashed diagonal, those for five stay a little below it, and those for twenty follow a line that is clearly less steep."}}
fig, ax = plt.subplots(figsize=(5, 3.2))
for d, marker, colour in zip((1, 2, 5, 20), "os^v", COLOURS, strict=False):
    found = two_nn(torch.rand(2000, d, **F64))
    x, y = found.log_ratios[:-1], found.log_survival[:-1]
    kind = {"markersize": 3.5, "color": colour, "fillstyle": "none"}
    ax.plot(d * x[::25], y[::25], marker, label=f"d = {d}", **kind)
ax.plot([0, 5], [0, 5], "k--", linewidth=1)
ax.set(xlim=(0, 6), ylim=(0, 6), xlabel="d log μ", ylabel="−log(share above)")
ax.legend()
plt.show()

# %% [markdown]
# **In two sentences.** The ratio of the distances to the second and the first neighbour follows $t^{-d}$, whatever the
# density and the space around. Its logarithm has the mean $\frac1d$, which gives an estimate with an error bar.
#
# (sec-td-bias)=
# ## What the error bar does not say
#
# At $d = 20$ the points in {numref}`fig-td-line` leave the line. The error bar knows nothing of it. It says how much the
# estimate would vary from sample to sample, if the points around each one were spread evenly up to the second neighbour.
# Are they?
#
# **How far is the nearest neighbour?** Put $N = 2000$ points into a cube of side 1. The nearest neighbour is about where
# one point is expected, $N \omega_d r^d = 1$.
#
# - In the plane $\omega_2 = \pi$ and $r = (2000 \pi)^{-1/2} = 0.013$. The ball is tiny, and nearly always inside.
# - For $d = 20$, $\omega_{20} = 0.026$ and $r = (2000 \cdot 0.026)^{-1/20} = 0.82$. The ball is wider than the cube. In
#   nearly every direction it sticks out, and there is nothing there.
#
# A ball that sticks out gains less volume than $r^d$ as it grows. So the second neighbour is further away than it should
# be, $\mu$ is too large and the estimate too small. To have $r = 0.1$ in 20 dimensions takes
# $N = 10^{20} / 0.026 = 4 \cdot 10^{21}$ points. No data set will do.

# %%
entries, small, plane = {}, [], []
for d in (1, 2, 5, 10, 20, 40):
    cubes = [torch.rand(2000, d, **F64) for _ in range(5)]
    pairs = torch.stack([two_nn(cube).dimension for cube in cubes])
    many = torch.stack([mle_dimension(cube).dimension for cube in cubes])
    fewer = torch.stack([two_nn(cube[:250]).dimension for cube in cubes])
    entries[f"d = {d}"] = [pairs.mean(), pairs.std(), fewer.mean(), many.mean()]
    plane = 1 - pairs / d if d == 2 else plane
    small = 1 - pairs / d if d == 20 else small
heads = ["two neighbours", "±", "of 250 points", "twenty neighbours"]
claims.table(heads, entries, digits=3)
claims.check("dimension-bias", small, above=0.1, control=plane)

# %% [markdown]
# Up to $d = 2$ all is well. At 5 some per cent are missing, at 20 a quarter, at 40 more than a third. Twenty neighbours,
# for which the ball is larger, miss more. So an estimate of 15 says *at least 15*. Still, larger is larger: the order is
# right.
#
# **Noise has a dimension, too.** Take a square in the plane, in a space of ten dimensions, and add noise of size
# $\sigma$ to all ten coordinates. Seen from afar it is two-dimensional. Seen from nearer than $\sigma$ it has ten
# dimensions. And what is near? The distance of neighbours, about $\frac{1}{2 \sqrt N}$ here. So the number of points is
# a scale: keep fewer of them, and you look from further away, as in {numref}`fig-td-noise`.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-noise", "caption": "A square in ten dimensions with noise: the estimated dimension against the number of points that are kept. Means of five samples. With noise 0.01 few points see almost the square, many see the noise."}, "image": {"alt": "Estimated dimension from 1.5 to 9 against the number of points from 60 to 4000 on a logarithmic axis, for three sizes of noise. Without noise the curve stays at two. With noise 0.01 it rises from about three to nearly eight, with noise 0.05 from seven to nine."}}
sheet = {}
for sigma in (0.0, 0.01, 0.05):
    for _ in range(5):
        square = embedded(torch.rand(4000, 2, **F64), 10)
        square = square + sigma * torch.randn(4000, 10, **F64)
        for count in (60, 125, 250, 500, 1000, 2000, 4000):
            estimate = two_nn(square[:count]).dimension
            sheet.setdefault((sigma, count), []).append(estimate.item())
fig, ax = plt.subplots(figsize=(5, 3))
for sigma, style in zip((0.0, 0.01, 0.05), ("o-", "s--", "^:"), strict=True):
    counts = sorted(count for noise, count in sheet if noise == sigma)
    means = [np.mean(sheet[sigma, count]) for count in counts]
    ax.semilogx(counts, means, style, markersize=4, label=f"noise {sigma:g}")
ax.axhline(2, color="0.4", linewidth=1)
ax.set(xlabel="points kept", ylabel="estimated dimension")
ax.legend()
plt.show()

# %%
many, few = (np.array(sheet[0.01, count]) - 2 for count in (4000, 60))
claims.check("dimension-noise", many, above=3.2, control=few)

# %% [markdown]
# An estimate of dimension is therefore always one *at a scale*. Where the curve has a plateau, it says something about
# the data.
#
# (sec-td-images)=
# ## The dimension of images
#
# *Natural images lie on a manifold of low intrinsic dimension*, the lecture says, after Brown et al.
# {cite}`brown2023verifying`. A digit of $8 \times 8$ pixels has 64 coordinates. In how many directions do the digits
# vary? We compare with two clouds of the same size. In the first, every pixel is taken from another image: each pixel
# has the same values as before, and they know nothing of each other. The second is a normal cloud with the covariance of
# the digits.

# %%
known, other = load("digits"), load("digits", "test")
images = torch.cat([known.inputs, other.inputs]).flatten(1)
order = [torch.randperm(len(images), generator=generator) for _ in range(64)]
apart = torch.stack([p[i] for p, i in zip(images.T, order, strict=True)], dim=1)
values, vectors = torch.linalg.eigh(torch.cov(images.T.double()))
normal = torch.randn(len(images), 64, **F64) * values.clamp(min=0).sqrt()
normal = normal @ vectors.T
entries = {}
for name, cloud in {"digits": images, "pixels apart": apart, "normal": normal}.items():
    pair, many = two_nn(cloud), mle_dimension(cloud)
    entries[name] = [pair.dimension, pair.error, many.dimension]
claims.table(["two neighbours", "±", "twenty"], entries)

# %% [markdown]
# About nine directions by two neighbours, seven by twenty, in 64 coordinates. The other two clouds have more than twice
# as many, and by the last section these estimates are too low. So the digits are not like a normal cloud with the same
# principal components and the same variances. They lie in clusters, or along something curved, and principal components
# see neither.
#
# A recorded run has done the same for larger images: MNIST's 10 000 test images, and 10 000 training images of CIFAR-10
# (from a copy compressed as JPEG). It draws 5000 of them three times, and 1250 of the digits.

# %%
entries, shares, redrawn = {}, [], []
for name in ("digits", "mnist", "cifar10"):
    rows = [r for r in recorded("dimension-images").values if r["data"] == name]
    pairs, many, control = (
        np.array([row[key] for row in rows]) for key in ("two_nn", "mle", "apart")
    )
    shares.extend((pairs / control).ravel())
    redrawn.extend((np.roll(control, 1, axis=0) / control).ravel())
    entries[name] = [*pairs.mean(0), many.mean(0)[0], control.mean(0)[0]]
heads = ["two neighbours", "of a quarter", "twenty", "pixels apart"]
claims.table(heads, entries)
claims.check("dimension-images", shares, below=0.45, control=redrawn)

# %%
digit_of = torch.cat([known.labels, other.labels])


def uneven(groups):
    """By how much the largest dimension of ten groups of digits exceeds the smallest."""
    parts = [mle_dimension(images[groups == k]).dimension for k in range(10)]
    return max(parts) / min(parts) - 1


mixed = [digit_of[torch.randperm(len(images), generator=generator)] for _ in range(3)]
chance = [uneven(groups) for groups in mixed]
claims.check("dimension-classes", uneven(digit_of), above=0.45, control=chance)

# %% [markdown]
# By two neighbours, MNIST has about 13 dimensions of 784 and CIFAR-10 about 30 of 3072. Where the same pixels are drawn
# apart, there are a hundred and three hundred and fifty of them. These numbers hold at the scale that the number of
# images sets, and large ones are too small: a quarter of the images shows fewer.
#
# :::{admonition} Slide check: one manifold?
# :class: warning slide-check
# :name: slide-check-td-union
# The slide says *a manifold*. The paper that it cites argues against a single one, and for a *union of manifolds*, of
# different dimensions {cite}`brown2023verifying`. Our digits agree with the paper. By twenty neighbours the zeros have
# 8.6 dimensions and the ones 4.8, much more apart than random groups of as many digits.
# :::
#
# (sec-td-hump)=
# ## Up and down through the layers
#
# What do the layers do to it? For networks trained on ImageNet, Ansuini et al. report {cite}`ansuini2019intrinsic`, and
# the lecture shows, that
# {claim}`intrinsic dimension first increases and then progressively decreases across layers <dimension-hunchback>`. They
# find this neither before training nor in networks that were trained on random labels.
#
# Our networks are small: five hidden layers of 128 ReLUs. Five of them are trained on 1400 digits, five on the same
# digits with shuffled labels, until they know them by heart; and as many with batch normalisation. Three more of each,
# without normalisation, have 2000 images of MNIST. The dimension is that of the training images by two neighbours.
# (`layer_profiles` measures both dimension and topology in all layers of a network of your own.) Guess before you look
# at {numref}`fig-td-hump`: which networks raise the dimension, and which lower it?

# %%
runs = recorded("dimension-networks").values


def runs_of(data="digits", batch_norm=False, shuffled=False):
    kind = {"data": data, "batch_norm": batch_norm, "shuffled": shuffled}
    return [row for row in runs if kind.items() <= row.items()]


def stack(rows, key="after"):
    return np.array([row[key] for row in rows])


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-hump", "caption": "Intrinsic dimension of the training images, input and five hidden layers, by two neighbours. Thin: single networks; markers: their mean."}, "image": {"alt": "Three panels of dimension against the layer from 0 to 5. Digits without normalisation: untrained networks stay near 9, trained ones fall from 8.5 to about 4, those on shuffled labels rise to about 11.5 at layer three and fall to about 6. Digits with normalisation: trained ones stay near 9, those on shuffled labels rise to about 13. MNIST without normalisation: untrained networks rise from 12 to 15, trained ones fall to 5, those on shuffled labels rise to 14 and fall to 6."}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.9))
PANELS = [("digits", False), ("digits", True), ("mnist", False)]
for ax, (data, norm) in zip(axes, PANELS, strict=True):
    curves = {
        "untrained": stack(runs_of(data, norm), "before"),
        "trained": stack(runs_of(data, norm)),
        "shuffled labels": stack(runs_of(data, norm, True)),
    }
    for (label, values), style, colour in zip(
        curves.items(), ("^:", "o-", "s--"), ("0.45", *COLOURS), strict=False
    ):
        ax.plot(values.T, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(values.mean(0), style, markersize=4, color=colour, label=label)
    title = data.replace("mnist", "MNIST") + ", batch norm" * norm
    ax.set(title=title, xlabel="layer", ylim=(0, None))
axes[0].set_ylabel("dimension")
axes[1].legend(fontsize="x-small", loc="lower left")
plt.show()

# %%
plain, normed = runs_of(), runs_of(batch_norm=True)
memory, normed_memory = runs_of(shuffled=True), runs_of("digits", True, True)
dims, start = stack(plain), stack(plain, "before")
lost, random_lost = (1 - d[:, -1] / d[:, 0] for d in (dims, start))
claims.check("dimension-falls", lost, above=0.3, control=random_lost)


def rise(rows):
    """By how much the largest dimension of a hidden layer exceeds that of the input."""
    return stack(rows)[:, 1:].max(1) / stack(rows)[:, 0] - 1


grown, level = rise(memory + normed_memory), rise(plain + normed)
claims.check("dimension-hump", grown, above=0.15, control=level)
entries = {
    name: [
        *stack(rows).mean(0)[[0, 3, 5]],
        stack(rows, "new").mean(0)[5],
        stack(rows, "accuracy")[:, 1].mean(),
        stack(rows, "nc1").mean(),
    ]
    for name, rows in (
        ("digits", plain),
        ("shuffled labels", memory),
        ("batch norm", normed),
        ("batch norm, shuffled", normed_memory),
    )
}
heads = ["input", "layer 3", "layer 5", "new images", "accuracy, new", "NC1"]
claims.table(heads, entries)

# %% [markdown]
# Without normalisation the dimension falls from the first layer on, to half of that of the input, on new images too.
# There is no rise. Before training nothing falls: random layers keep it near 9. With batch normalisation it stays near 9
# on the training images, and falls a little on new ones.
#
# The rise is there, but elsewhere: where the labels are shuffled. A likely reason: to know each image by heart, layers
# have to pull neighbours apart, and that takes more directions than the digits have. Without normalisation the dimension
# goes up to 11 and then comes down, which is the shape on the slide. With it, it goes up to the end. On MNIST the rise
# is small, from 12 to 14, and less than what random layers do before training, so there it says little. Twenty
# neighbours give lower numbers and the same shapes.
#
# :::{admonition} Slide check: first up, then down?
# :class: warning slide-check
# :name: slide-check-td-hump
# The slide says so without conditions. In our networks training on the true labels lowers the dimension or hardly
# changes it, and *up, then down* is what shuffled labels do. For networks trained on ImageNet it is reported the other
# way round. Ours see small images, and every unit of the first layer sees all pixels. But a convolutional network that
# we tried once on MNIST did not show the rise either: after training its dimension fell from 13 to 6, and it rose before
# training, from 13 to 19. So the curve depends on data and architecture, and is no signature of learning by itself.
# :::
#
# (sec-td-miss)=
# ## What both views miss
#
# Look at the table again. With batch normalisation, the networks are better on new images, and their classes are about
# ten times as tight, compared with the gaps between them: this is what NC1 measures, which the [next
# chapter](neural_collapse.ipynb) defines. Their dimension says the contrary: it is twice as high. So the rule that
# {claim}`a lower dimension of the last layer goes with a better accuracy <dimension-accuracy>`, found among networks for
# ImageNet, does not hold for our two kinds.
#
# How can a tighter class have more directions? Dimension knows no size. A class may shrink to a tiny ball and keep all
# its directions. And the networks with shuffled labels and no normalisation end with a dimension below that of the
# input, while the digits in them are mixed beyond recognition. Nothing in the numbers of this chapter says so. NC1 does,
# once it is told which images belong together.

# %%
high, tight, loose = stack(normed)[:, -1], stack(normed, "nc1"), stack(plain, "nc1")
claims.check("dimension-not-collapse", high, above=6.5, control=dims[:, -1])
claims.check("dimension-collapse", tight, below=0.6, control=loose)
wrong, right = (stack(r, "nc1_true") / stack(r, "nc1") for r in (memory, plain))
claims.check("dimension-wrong-classes", wrong, above=10, control=right)

# %% [markdown]
# Two views of one set of features, then. *Topology* says that each class is in one piece, and without loops. *Dimension*
# says in how many directions the points around a point lie. Both would say the same if the labels of all samples were
# exchanged, as no label entered. So neither can say whether the pieces are the classes, how tight they are, or how they
# lie with respect to each other. The lecture puts it in one line: *neither captures the geometry that distinguishes
# different classes of objects*.
#
# What captures it compares distances *within* the classes with distances *between* them, and this is where [Neural
# collapse](neural_collapse.ipynb) begins.
#
# :::{exercise} A hollow tetrahedron
# :label: ex-td-tetrahedron
# *Warm-up, 10 minutes.* By hand: four vertices, all six edges and all four triangles, and nothing inside. Find the ranks
# of $\partial_1$ and $\partial_2$ and all Betti numbers. What changes if you fill it?
# :::
#
# :::{solution} ex-td-tetrahedron
# :class: dropdown
# The columns $01$, $02$, $03$ of $\partial_1$ are independent, and each other edge is a sum of two of them: the rank
# is 3. Each edge lies in two triangles, so the four columns of $\partial_2$ add up to zero. No three of them do, as each
# edge of a triangle left out would be met once; nor do two or one. The rank is 3. So $\beta_0 = 4 - 3 = 1$,
# $\beta_1 = 6 - 3 - 3 = 0$, $\beta_2 = 4 - 3 = 1$: one piece with one cavity. Filling adds a simplex of dimension 3,
# whose boundary is the sum of all four triangles. $\partial_3$ has rank 1, and $\beta_2 = 4 - 3 - 1 = 0$.
# :::
#
# :::{exercise} A number without ranks
# :label: ex-td-euler
# *Warm-up, 10 minutes.* Show that for every complex
#
# $$ \beta_0 - \beta_1 + \beta_2 - \dots = m_0 - m_1 + m_2 - \dots $$
#
# A network of roads has 50 junctions and 64 roads, and one can drive from everywhere to everywhere. How many independent
# round trips are there?
# :::
#
# :::{solution} ex-td-euler
# :class: dropdown
# Insert {eq}`eq-betti`. $\operatorname{rank} \partial_k$ occurs in $\beta_k$ and in $\beta_{k-1}$, with the same sign
# there, and so with opposite signs in the sum. All ranks cancel, and $m_0 - m_1 + \dots$ is left. For the roads
# $\beta_0 = 1$ and $1 - \beta_1 = 50 - 64$: 15 round trips.
# :::
#
# :::{exercise} Four points, six points
# :label: ex-td-square
# *Core, 15 minutes.* When is the loop of the four corners of a rectangle with sides $1$ and $a \ge 1$ born, and when
# does it die? How large can the ratio of death to birth be? And for a regular hexagon?
# :::
#
# :::{solution} ex-td-square
# :class: dropdown
# It is born with the longer sides, at $a$, and dies with the two diagonals, at $\sqrt{1 + a^2}$, when all four triangles
# appear. The ratio $\sqrt{1 + 1/a^2}$ is at most $\sqrt 2$, for the square. In a hexagon with side 1 the loop is born
# at 1. At $\sqrt 3$ the short diagonals appear. They form two equilateral triangles, and with the sides six thin ones. One
# of the two and the three thin ones at its sides have the six sides as their boundary, which fills the hexagon. So the
# ratio is $\sqrt 3$. Four points can never be a good circle; a hundred reach 28.
# :::
#
# :::{exercise} Three units are enough
# :label: ex-td-three
# *Core, 20 minutes.* One hidden layer of three ReLUs takes the disc out of the ring. Find its weights. What is the
# smallest ratio of the two radii that your solution can tell apart?
#
# *Hint.* Three directions at 120 degrees, all with the same weight in the score.
# :::
#
# :::{solution} ex-td-three
# :class: dropdown
# Let $w_1, w_2, w_3$ be unit vectors at 120 degrees and $g(x) = \sum_i \mathrm{ReLU}(w_i^\top x)$. For $\|x\| = 1$ at an
# angle $\varphi \le 60°$ from $w_1$, the first term is $\cos \varphi$, and of the others the nearer one has the angle
# $120° - \varphi$ and counts from $\varphi = 30°$ on. So $g$ falls from 1 to $\cos 30° = 0.87$ and rises again to
# $\frac12 + \frac12 = 1$. As $g$ grows in proportion to $\|x\|$, it lies in $[0.87 \|x\|, \|x\|]$. The score $c - g$
# tells radius 1 from radius 2 for $1 < c < 1.73$. It works as long as the ratio of the radii exceeds
# $2 / \sqrt 3 = 1.15$. (Two hidden units cannot, by {prf:ref}`thm-width`.)
# :::
#
# :::{exercise} A grid
# :label: ex-td-grid
# *Warm-up, 5 minutes.* What does `two_nn` say of a square grid of points, and why? Where do real data look like that,
# and what helps?
# :::
#
# :::{solution} ex-td-grid
# :class: dropdown
# First and second neighbour are at the same distance, $\mu = 1$ for every point, and all logarithms are zero: the
# estimate is infinite. Few grey values, or rounded measurements, do the same to data of low dimension. Noise that is
# small against the grid helps little: with a hundredth of the spacing, 900 points give 89. A larger piece does: twenty
# neighbours give 2.9.
# :::
#
# :::{exercise} The next neighbours
# :label: ex-td-next
# *Core, 20 minutes.* Show that $P(r_{k+1} / r_k > t) = t^{-kd}$ under the assumptions of {prf:ref}`thm-two-nn`. What
# would you gain by estimating $d$ from $r_{11} / r_{10}$ alone, and what would you lose?
# :::
#
# :::{solution} ex-td-next
# :class: dropdown
# Given the ball up to neighbour $k + 1$, the $k$ points within it have shares of its volume that are independent and
# uniform. The largest of them is $(r_k / r_{k+1})^d$, and it lies below $u$ with probability $u^k$. So
# $r_{k+1} / r_k > t$ where the share is below $t^{-d}$, which has probability $t^{-kd}$. For $k = 1$ it is
# {eq}`eq-pareto`. The logarithm is exponential with rate $kd$, so the relative error is $1 / \sqrt n$ as before. One
# looks from further away, across the noise. But the density must be even in a ball with eleven points, and the balls of
# neighbours overlap, so that the $n$ values are far from independent.
# :::
#
# :::{exercise} Is the error bar right?
# :label: ex-td-error
# *Core, 15 minutes.* The error bar assumes that the ratios of different points are independent. They are not: two points
# may be each other's neighbours. Compare it with the spread over forty samples of 500 points.
# :::
#
# :::::{solution-start} ex-td-error
# :class: dropdown
# :::::

# %%
entries = {}
for d in (1, 2, 5):
    found = [two_nn(torch.rand(500, d, **F64)) for _ in range(40)]
    spread = torch.stack([sample.dimension for sample in found]).std()
    stated = torch.stack([sample.error for sample in found]).mean()
    entries[f"d = {d}"] = [spread, stated, spread / stated]
claims.table(["spread", "error bar", "ratio"], entries)

# %% [markdown]
# The true spread is 1.2 to 1.3 times as large as the error bar says.
#
# :::::{solution-end}
# :::::
#
# :::{exercise} Thin or gone?
# :label: ex-td-gone
# *Open, 45 minutes.* {prf:ref}`lem-homeomorphism` does not protect a ReLU network. Does one really glue the ring, or
# does it make it thin, too? Send the perfect ring through `rings["relu", 0]` and others, and vary the number of points,
# the width and the depth.
# :::
#
# :::{solution} ex-td-gone
# :class: dropdown
# Look for points that were far apart on the ring and now coincide: the smallest distance between such pairs in every
# layer, in double precision. In two networks of ours, no two points became one in any of the eight layers; they came as
# near as $10^{-4}$ of the radius of the cloud. After layer 4, 500 points of the perfect ring show loops with a ratio of
# 8 and 23. So with 15 units ReLU did not glue either: at every place some unit was on. Where all units of a layer are
# off on an arc, the arc becomes a point; look for that in narrow layers.
# :::
#
# ## Summary
#
# Betti numbers count pieces, loops and cavities, as ranks of boundary matrices. Of points they exist at a scale; a
# persistence diagram shows all scales.
#
# A network whose layers are not wider than its input cannot take a ball out of a shell, whatever it is trained on.
#
# In our networks trained layers thin out the loops and cavities of each class until a sample no longer shows them, with
# tanh as with ReLU, and for shuffled labels as for true ones. Tanh cannot remove them; a denser sample shows them again.
#
# The ratio of two distances gives the number of directions, with an error bar that does not know of the bias. For large
# dimensions the estimate is a lower bound, and it depends on the scale.
#
# In small networks trained on digits the dimension falls or stays; it rises first where the labels are shuffled. Neither
# view knows the classes, and a network may collapse its classes without lowering their dimension.
#
# ## Further reading
#
# Persistence is due to Edelsbrunner, Letscher and Zomorodian {cite}`edelsbrunner2002topological`; Carlsson
# {cite}`carlsson2009topology` wrote the introduction that made it known. Topology through layers is from Naitzat,
# Zhitnikov and Lim {cite}`naitzat2020topology`. That narrow networks cannot bound a region is in Johnson
# {cite}`johnson2019skinny`. The two estimates of dimension are from Facco et al. {cite}`facco2017estimating` and from
# Levina and Bickel {cite}`levina2004maximum`; Ansuini et al. {cite}`ansuini2019intrinsic` applied the first to networks.
