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
# is about *topology*, the second about *dimension*. This chapter answers both by hand for a few points, then by machine,
# and then follows the answers through the layers of trained networks. In the end we shall see what they leave out: which
# points belong together.
#
# :::{admonition} Before you start
# :class: tip
# **You will be able to** count the holes of a complex by the rank of two matrices; read a persistence diagram; say why a
# ReLU or tanh network must be wider than its input to take a ball out of a shell; derive two estimates of intrinsic
# dimension and say when they mislead; and tell what layers do to both.
#
# **Follows** lecture 003: *Representations: Topology Change I–III*, *Representations: Intrinsic Dimension* and
# *Representations: Topology and Intrinsic Dimension*.
#
# **You need** the rank of a matrix, the exponential distribution, and to have trained a small network in PyTorch before.
#
# **Time**: reading, an hour and a quarter; running, about a minute on a CPU. No GPU is needed.
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
from lecturelib.experiments.topology_and_dimension import longest
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
# **How many pieces?** Start with three vertices, three pieces. Each edge whose boundary is not a sum of those of earlier
# edges joins two pieces into one. There are $\operatorname{rank} \partial_1 = 2$ of them, so $3 - 2 = 1$ piece is left.
#
# It is one rule for all. Vertices, edges, triangles and tetrahedra are *simplices* of dimension 0, 1, 2 and 3. A *face*
# of a simplex is what is left without one of its vertices. A *complex* is a set of simplices, with all their faces.
#
# :::{prf:definition} Betti numbers
# :label: def-betti
#
# Let a complex have $m_k$ simplices of dimension $k$. For $k \ge 1$ let $\partial_k$ be the matrix with a column for
# each of them, a row for each simplex of dimension $k - 1$, a one where the row is a face of the column, and zeros
# elsewhere. Its rank modulo two is zero if there are no columns, and $\operatorname{rank} \partial_0 = 0$. The $k$-th
# {term}`Betti number` of the complex is
#
# $$
# \begin{aligned} \beta_k &= m_k - \operatorname{rank} \partial_k \\ &\quad - \operatorname{rank} \partial_{k+1} . \end{aligned}
# $$ (eq-betti)
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
# Which scale is right? Move the slider in {numref}`fig-td-scale` from the left. Forty points of a ring are first forty
# pieces. At 0.3 they are one piece, with the loop that we expect and a small one by chance. Then, for a long while,
# there is one loop. In the end the hole is filled, all at once. Choose the other cloud: loops come, and go immediately.

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
    faces, lines = ([points[list(c)] for c in cells if len(c) == n] for n in (3, 2))
    ax.add_collection(PolyCollection(faces, facecolor=COLOURS[5], alpha=0.3))
    ax.add_collection(LineCollection(lines, color="0.5", linewidth=0.7))
    ax.plot(*points.T, "o", color=COLOURS[0], markersize=4)
    pieces, loops = FOUND[cloud].betti(scale)
    ax.set(title=f"pieces: {pieces}, loops: {loops}", xticks=[], yticks=[])
    ax.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", frame_on=False)
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
    start={"scale": 0.5, "cloud": "ring"},
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
# shortest longest side, $\sqrt 3$. So the loop dies at $\sqrt 3$ if three divides $N$. Else the longest side has to span
# $m = \lceil N/3 \rceil$ steps, and the loop dies a little later, at $2 \sin \frac{\pi m}{N}$ for $N \ge 4$. A hundred
# points give a bar from 0.063 to 1.753. The ratio of death to birth, 28, does not depend on the radius.
#
# **What is missing between the points** can change this only a little. If every point of the whole shape is within
# $\delta$ of a chosen one, births and deaths move by at most $2 \delta$ {cite}`chazal2014persistence`. The machine needs
# that: its work grows with the number of simplices, so `persistence` chooses a few hundred points that are as far apart
# as possible. It uses GUDHI {cite}`maria2014gudhi`, with Ripser's method {cite}`bauer2021ripser`.
#
# {numref}`fig-td-diagrams` has four shapes and one cloud without shape. Read the numbers of pieces, loops and cavities
# off the diagrams. The piece that never dies is not drawn: add one. The claim counts how many of these 2 + 2 + 3 + 3
# numbers are wrong, at one scale for each shape.

# %%
SHAPES = {  # points, largest dimension, scale, points used, what is right
    "circle": (lambda g: sphere(400, 1, generator=g), 1, 0.6, 60, (1, 1)),
    "linked rings": (lambda g: linked_rings(300, generator=g)[0], 1, 0.5, 150, (2, 2)),
    "sphere": (lambda g: sphere(800, generator=g), 2, 1.0, 120, (1, 0, 1)),
    "torus": (lambda g: torus(1500, generator=g), 2, 1.45, 160, (1, 2, 1)),
}


def noise_like(points, source):
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

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-diagrams", "caption": "Four clouds and a shapeless one, and below each its persistence diagram: birth and death of pieces (circles; the one that never dies is not drawn), loops (crosses) and cavities (squares). What lies far above the diagonal is a hole of the shape."}, "image": {"alt": "Five pictures of clouds of points, a circle, two linked rings, a sphere, a torus and a blob. Below each a diagram of death against birth, with a diagonal. For the circle one cross stands far above the diagonal, for the rings two crosses nearly on one another, for the sphere one square, for the torus two crosses and a square, for the blob nothing but circles does."}}
g = torch.Generator().manual_seed(0)
clouds = {name: (shape[0](g), *shape[1:4:2]) for name, shape in SHAPES.items()}
clouds["noise"] = noise_like(clouds["sphere"][0], g), 2, 120
fig, axes = plt.subplots(4, 3, figsize=(5.4, 7.4))
tops, bottoms = axes[::2].ravel(), axes[1::2].ravel()
panels = zip(clouds.items(), tops, bottoms, strict=False)
for (name, (points, dim, samples)), top, bottom in panels:
    found = persistence(points, dim, samples=samples)
    seen = points[found.indices]
    height = seen[:, 2] if seen.shape[1] > 2 else 0 * seen[:, 0]
    top.plot(seen[:, 0], seen[:, 1] * 0.85 + height * 0.5, ".", markersize=3)
    top.set(title=name, box_aspect=1, aspect="equal")
    bottom.plot([0, 2.1], [0, 2.1], color="0.6", linewidth=1)
    kinds = zip(found.bars, "oxs", ("pieces", "loops", "cavities"), strict=False)
    for bars, marker, label in kinds:
        bars = bars[bars[:, 1].isfinite()]
        bottom.plot(*bars.T, marker, markersize=6, fillstyle="none", label=label)
    bottom.set(xlim=(-0.1, 2.1), ylim=(-0.1, 2.1), xticks=range(3), yticks=range(3))
    bottom.set(xlabel="birth", ylabel="death", aspect="equal")
tops[-1].legend(*bottom.get_legend_handles_labels(), loc="center")
for ax in (*tops, bottoms[-1]):
    ax.axis("off")
plt.show()

# %% [markdown]
# The rings surprise: their loops die at 1 and not at $\sqrt 3$. Each ring passes through the middle of the other, and a
# point there is 1 away from that whole ring. At scale 1 it is joined to all of it and fills it, and there is one piece.
#
# **In two sentences.** Betti numbers come from the ranks of two matrices, once points are joined at some scale. A
# persistence diagram keeps all scales, and a hole counts if it dies much later than it is born.
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
# so it lies on $S$.
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
# it could hide them, and pull the inner circle out through a gap between two of the 200 samples of the outer one. So we
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


runs = [(2, kind, seed) for kind in ("relu", "tanh") for seed in range(3)]
runs += [(3, "tanh", seed) for seed in range(3)] + [(5, "relu", 0)]
nets = {run: trained_on_circles(*run) for run in runs}
beyond = [excess(net) for net in nets.values()]
claims.check("topology-width", beyond[:6], below=0.02, control=beyond[6:])
entries, LABELS = {}, {"relu": "ReLU", "tanh": "tanh"}
for (width, kind, seed), net in nets.items():
    missed = (scores(net, rim) > 0).double().mean()
    name = f"{LABELS[kind]}, width\u00a0{width}, seed\u00a0{seed}"
    entries[name] = [accuracy(net, circles, ring_of), missed]
claims.table(["training accuracy", "outer circle wrong"], entries)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-width", "caption": "Where three networks say *inner* (shaded). Left and middle: with layers of two units the shaded region cannot close, and runs through the outer circle. Right: with three it can."}, "image": {"alt": "Three pictures of two circles, one in the other, with a shaded region. With width two, for ReLU and tanh, the region around the inner circle is open to one side and covers a part of the outer circle. With width three it is a closed region between the two circles."}}
fig, axes = plt.subplots(1, 3, figsize=(6, 2.3))
axis = torch.linspace(-3, 3, 201)
grid = torch.cartesian_prod(axis, axis)
shown = {
    "ReLU, width 2": nets[2, "relu", 1],
    "tanh, width 2": nets[2, "tanh", 0],
    "tanh, width 3": nets[3, "tanh", 0],
}
for ax, (title, net) in zip(axes, shown.items(), strict=True):
    inner = (scores(net, grid) > 0).reshape(201, 201).T.double()
    ax.contourf(axis, axis, inner, levels=[0.5, 1.5], colors=[COLOURS[5]], alpha=0.5)
    for k, marker in enumerate("os"):
        ax.plot(*circles[ring_of == k].T, marker, markersize=1.5, color=COLOURS[k])
    ax.set(title=title, aspect="equal", xticks=[], yticks=[], frame_on=False)
plt.show()

# %% [markdown]
# With width two, 69 % to 94 % of the sample are right, and 18 % to 67 % of the outer circle are called inner. In space,
# the theorem says that a sphere within a sphere takes at least one layer of four units or more. Two linked rings stay
# linked under every continuous and invertible map of space to itself. In four dimensions they come apart. Lift one ring
# to height 1 in the fourth direction: no point of the other has that height, so nothing is in the way. Push it aside.
#
# (sec-td-layers)=
# ## Linked classes, layer by layer
#
# Now let the network be wide enough: eight layers of 15 units, and two rings in space, each through the hole of the
# other. Lecture 003 shows with such pictures that *the topology of two classes changes through the layer-wise
# transformation*. What can change, and what did we measure?
#
# **What can change.** Think of a class as the whole ring and not as some points of it. Its Betti numbers are those of
# any complex that one gets by cutting it into simplices; that all cuts give the same is a theorem that we use without
# proof. A layer is continuous. If it also takes different points to different points, nothing is torn and nothing glued.
#
# :::{prf:lemma} No gluing, no change
# :label: lem-homeomorphism
#
# Let $M \subset \mathbb R^D$ be closed and bounded, and such that it can be cut into simplices. Let $F$ be continuous on
# $M$ and take different points to different points. Then the inverse map from $F(M)$ to $M$ is continuous, and $F(M)$
# has the Betti numbers of $M$.
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
# full rank. So *the hidden layers of a tanh network, none narrower than the one before and all $W$ of full rank, change
# no Betti number of such a class*. They can only make a loop thin. A layer with ReLU may glue: where fewer units are on
# than there are directions, whole pieces fall together, and where none is on, a region becomes a point.
#
# **What is measured** is a sample, and there a loop counts if it lasts. As the loop gets thinner than the gaps between
# the points, it is lost from sight. We follow the largest ratio of death to birth in each class, with 150 points chosen
# from 500, and for cavities with 80. (`longest` does so; it is 1 where there is no hole.) What does chance reach? Here
# are the largest ratios of eight normal clouds.

# %%
source, entries = torch.Generator().manual_seed(0), {}
for dim in (2, 3, 15):
    clouds = [torch.randn(500, dim, generator=source) for _ in range(8)]
    kinds = ((1, 150), (2, 80))
    row = [max(longest(c, *k) for c in clouds) for k in kinds]
    entries[f"{dim}\u00a0directions"] = row
claims.table(["loops", "cavities"], entries)

# %% [markdown]
# We draw the line at 2 for loops, hardly more than a plane allows, as trained layers are thin, and at 1.3 for cavities.
#
# The recorded runs have three pairs of classes: rings with noise 0.02; tori, rings with a thick tube, of which we follow
# the long loop; and a noisy sphere within another. Each has five seeds, ReLU and tanh, before and after training. All
# trained networks have all their samples right. In {numref}`fig-td-layers` a curve that falls is a hole getting thinner.
# The table below it says up to which of eight layers a hole is seen, on average. Guess: what happens before training?

# %%
networks = recorded("topology-networks").values


def ratios_of(shape, activation, task):
    """Death over birth, both classes of five networks, shape (10, 9)."""
    kind = {"shape": shape, "activation": activation, "task": task}
    rows = [row for row in networks if kind.items() <= row.items()]
    return np.concatenate([row["ratios"] for row in rows])


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-layers", "caption": "Longest-lived hole of each class, layer by layer: the ratio of death to birth of a loop (rings, tori) or cavity (spheres). Geometric means over two classes and five networks. The dotted line marks what chance reaches."}, "image": {"alt": "Three panels of death over birth on a logarithmic axis against the layer from 0 to 8, for rings, tori and spheres. The trained curves fall below the dotted line between layers 2 and 5. Of the untrained ones that for tanh stays above it, but for spheres at the last layer; that for ReLU stays above it for rings, comes near it for tori and falls as fast as the trained ones for spheres."}}
fig, axes = plt.subplots(1, 3, figsize=(5.6, 3.1))
ABOVE = {"loc": "outside upper center", "handlelength": 3.5, "columnspacing": 1}
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
        kind = {"color": COLOURS[colour], "label": label, "markersize": 5}
        ax.semilogy(mean, style, mfc=None if task == "true" else "white", **kind)
    ax.axhline(chance, color="0.4", linestyle=":", linewidth=1)
    ticks = [1, 2, 5, 10] if shape != "spheres" else [1, 1.5, 2, 2.5]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(title=shape, xlabel="layer", xticks=range(0, 9, 2))
axes[0].set_ylabel("death over birth")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=2, **ABOVE)
plt.show()


# %%
def seen_until(shape, activation, task):
    """Last layer in which a hole is above the line, mean of ten."""
    seen = ratios_of(shape, activation, task) >= CHANCE[shape]
    return (seen * np.arange(9)).max(1).mean()


entries = {shape: [seen_until(shape, *kind) for kind in STYLES] for shape in CHANCE}
claims.table([label for *_, label in STYLES.values()], entries)

# %% [markdown]
# After training all are lost from sight but one of sixty: a ring in a ReLU network ends at 2.3. Rings and tori are seen
# for three to five layers, cavities for two or three. Before training the networks with tanh show rings and tori up to
# the end, and cavities for six or seven layers.
#
# *ReLU is faster for two shapes of three.* It loses tori and spheres about a layer earlier than tanh, in five and four
# of five seeds. For rings nothing can be said: one ReLU network shows them for seven layers, and it makes the whole
# difference. *It need not be learnt*: over the first three layers untrained networks of the
# two kinds differ as much, and with ReLU they lose the cavities nearly as early as trained ones.


# %%
def of_networks(task, activation):
    """Ratio in the last layer, geometric mean over both rings of each network."""
    last = np.log(ratios_of("rings", activation, task)[:, -1])
    return np.exp(last.reshape(-1, 2).mean(1))


ratio_after, ratio_before, ratio_shuffled = (
    np.array([of_networks(task, kind) for kind in ("relu", "tanh")])
    for task in ("true", "untrained", "shuffled")
)
claims.check("topology-simplifies", ratio_after, below=2, control=ratio_before)
relu, tanh = (
    {shape: np.log(ratios_of(shape, kind, "true"))[:, 1:4].mean() for shape in CHANCE}
    for kind in ("relu", "tanh")
)
on_rings, *faster = (relu[shape] - tanh[shape] for shape in CHANCE)
claims.check("topology-relu-faster-here", faster, below=-0.12, control=on_rings)

# %% [markdown]
# **How many pieces?** The slide goes on: *progressively separate the two classes from shallow to deep layers*. So look
# at both classes together. The table counts the pieces that meet only at three times the scale on which they hold
# together themselves, on average of five networks.

# %%
TASKS = {"true": "true labels", "untrained": "untrained", "shuffled": "shuffled labels"}
entries, ends = {}, {task: [] for task in TASKS}
for row in networks:
    ends[row["task"]].append(row["components"][-1])
    name = f"{row['shape']},\u00a0{LABELS[row['activation']]}, {TASKS[row['task']]}"
    if row["shape"] == "rings" or row["task"] == "true":
        entries.setdefault(name, []).append(row["components"][::2])
means = {name: np.mean(counts, axis=0) for name, counts in entries.items()}
claims.table([f"layer {layer}" for layer in range(0, 9, 2)], means)
untaught = ends["untrained"] + ends["shuffled"]
claims.check("topology-separates", ends["true"], 2, control=untaught)
after, before = (np.exp(np.log(r).mean(1)) for r in (ratio_shuffled, ratio_before))
claims.check("topology-shuffled", after, below=2, control=before)

# %% [markdown]
# At the start linked rings are two pieces, as they keep a distance of 1. Then they come close, and in the last layers
# they part. The chapter on [progressive separation](progressive_separation.ipynb) follows how.
#
# The networks trained on shuffled labels lose the loops as well, but for two rings of twenty. They have hardly learnt
# anything: 58 % of their labels are right, and half would be by chance. So a loop that disappears is no sign of classes
# being sorted. The number of pieces is one: two after training on the true labels, one after shuffled labels or before.
#
# :::{admonition} Slide check: does the topology change?
# :class: warning slide-check
# :name: slide-check-td-change
# Lecture 003 takes its pictures from Naitzat, Zhitnikov and Lim {cite}`naitzat2020topology`, who report that
# {claim}`Betti numbers fall in every well-trained network, and faster with ReLU than with tanh <topology-relu-faster>`.
# Both we find, too, the second for tori and spheres; for rings our five seeds do not decide. The reason that they give,
# that tanh layers preserve topology, is right for the whole class and wrong for a sample: there the loops are lost, too.
#
# *Changes* is also a matter of words. By {prf:ref}`lem-homeomorphism` the loop of a perfect ring is still there after
# layers with tanh. In the middle layers a denser sample shows it again; in the last one 500 points do not.
# :::
#
# **Thin, not gone.** Train three tanh networks on noisy rings, as before. Then send through them 3000 points with the
# same noise, and 3000 of a perfect ring. We look at 150 and at 500 of them.

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


def layers_of(network, points):
    with torch.no_grad():
        return [points, *network.taps(points)]


rings = {("tanh", seed): trained_on_rings("tanh", seed) for seed in range(3)}
source = torch.Generator().manual_seed(9)
more, of_ring = linked_rings(3000, noise=0.02, generator=source)
entries = {}
for layer in (4, 8):
    for (_, seed), (network, points, labels) in rings.items():
        few, many = points[labels == 0], more[of_ring == 0]
        looks = (few, 150), (many, 500), (perfect, 150), (perfect, 500)
        ratios = [longest(layers_of(network, x)[layer], 1, n) for x, n in looks]
        entries[f"layer\u00a0{layer}, network\u00a0{seed}"] = ratios
claims.table(["noisy, 150", "noisy, 500", "perfect, 150", "perfect, 500"], entries)
four = np.array(list(entries.values()))[:3]
claims.check("topology-thin", four[:, 3], above=7, control=four[:, 1:3])

# %% [markdown]
# In layer 4 less noise and more points each make the ratio three times as large. So *the number of holes of layer 4*
# means nothing without a scale, set by the noise and the number of points. In layer 8 the ring is too thin for all.
#
# Look at it yourself in {numref}`fig-td-rings`. It shows the features of both classes in the three directions in which
# they vary most, and the persistence diagram of one class. Press *Play*. With tanh the rings are crushed first, one of
# them on top of the other, and pulled apart in the last layers. With ReLU they come apart earlier.

# %% tags=["hide-input"]
rings["relu", 0], VIEWS = trained_on_rings("relu", 0), {}
for name in ("ReLU", "tanh"):
    network, points, labels = rings[name.lower(), 0]
    for number, layer in enumerate(layers_of(network, points)):
        centred = layer - layer.mean(0)
        axes3 = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
        flat = centred @ axes3.T / centred.norm(dim=1).max()
        bars = persistence(layer[labels == 0], samples=150, relative=True)
        VIEWS[number, name] = flat, labels, bars, longest(layer[labels == 0], 1, 150)


def draw_ring_layer(layer, network):
    flat, labels, bars, ratio = VIEWS[layer, network]
    fig = plt.figure(figsize=(5.4, 2.7))
    left = fig.add_subplot(1, 2, 1, projection="3d")
    right = fig.add_subplot(1, 2, 2)
    for k, marker in enumerate("o^"):
        own = flat[labels == k][::3]
        left.plot(*own.T, marker, markersize=2, color=COLOURS[k], alpha=0.7)
    left.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    left.set(xticklabels=[], yticklabels=[], zticklabels=[], title=f"layer {layer}")
    right.plot([0, 2], [0, 2], color="0.6", linewidth=1)
    right.plot(*bars[0][1:].T, "o", markersize=3, fillstyle="none", label="pieces")
    right.plot(*bars[1].T, "x", markersize=6, color=COLOURS[1], label="loops")
    right.set(xlim=(-0.05, 1.9), ylim=(-0.05, 1.9), xlabel="birth", ylabel="death")
    right.set(title=f"longest loop: ratio {ratio:.1f}" if len(bars[1]) else "no loop")
    right.legend(loc="lower right")
    return fig


def describe_ring_layer(layer, network):
    return (
        f"Two classes after layer {layer} of the {network} network, and the diagram of the first: "
        f"its longest loop dies at ⟨{VIEWS[layer, network][3]:.1f}⟩ times its birth."
    )


explore(
    draw_ring_layer,
    name="td-rings",
    alt=describe_ring_layer,
    caption="Left: two linked rings, in the three main directions. Right: diagram of the first, in units of its radius.",
    labels={"layer": "Layer", "network": "Network"},
    start={"layer": 0, "network": "tanh"},
    play="layer",
    layer=[0, 1, 2, 3, 4, 6, 8],
    network=["ReLU", "tanh"],
)

# %% [markdown]
# **In two sentences.** Trained layers make the loops of each class so thin that a sample no longer shows them, for
# shuffled labels, too; with tanh they cannot remove them. Only with the true labels does the whole end in two pieces.
#
# (sec-td-dimension)=
# ## How many directions
#
# A ring in space is given by three coordinates, and one number, the angle, would do. The *{term}`intrinsic dimension`*
# of a cloud is the number of directions in which one can move within it, for the lecture *the minimal number of
# variables to describe the data*. How can one see it from distances only?
#
# **Count neighbours.** Stand on a point and count others within a distance $r$. On a line their number grows like $r$:
# twice as far, twice as many. In a plane it grows like $r^2$: twice as far, four times as many. With $d$ directions
#
# $$ \text{neighbours within } r \;\propto\; r^d , $$ (eq-td-count)
#
# so $d$ is how often the count doubles when $r$ doubles. It does not matter in how many coordinates the cloud lies. But
# $r$ must be small enough for the cloud to look flat, and even, and large enough to count something. The smallest
# distances that count anything are those to the first and the second neighbour, $r_1$ and $r_2$.
#
# **Two neighbours are enough.** This is the idea of Facco et al. {cite}`facco2017estimating`. Look at
# the ratio $\mu = r_2 / r_1 \ge 1$. In many directions there is far more room a little further out. So the second
# neighbour comes right after the first, and $\mu$ is close to 1. On a line it often is large. How often?
#
# :::{prf:theorem} Two neighbours
# :label: thm-two-nn
#
# Let two points or more be independent and uniform in a ball of dimension $d$ around $x$. Then
#
# $$ P(\mu > t) = t^{-d} , \qquad t \ge 1 . $$ (eq-pareto)
# :::
#
# :::{prf:proof}
# Given the distance $r_2$ of the second neighbour, the first one is anywhere within $r_2$ with equal chance. A ball of
# radius $r$ has a volume in proportion to $r^d$. So the share $(r_1 / r_2)^d$ of the volume up to the first neighbour is
# uniform between 0 and 1. And $\mu > t$ where this share is below $t^{-d}$, which has probability $t^{-d}$.
# :::
#
# Neither the number of points occurs nor how dense they are. They only have to be spread evenly up to the second one.
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
# small: with 2000 points, 2.2 per cent. For the line it is 2.4.
#
# **More neighbours.** Levina and Bickel take $k$ of them, with distances $T_1 < \dots < T_k$ {cite}`levina2004maximum`.
# Given the ball up to the $k$-th, the $k - 1$ points within are spread evenly in it. So each one's share of the volume,
# $(T_j / T_k)^d$, is uniform between 0 and 1 if one takes them in any order. Minus the logarithm of a uniform number is
# exponential with rate one. Hence the numbers $\log (T_k / T_j)$ are exponential with rate $d$; we average them:
#
# $$
# \frac{1}{\hat d} = \frac{1}{k - 1} \sum_{j=1}^{k-1} \log \frac{T_k}{T_j} .
# $$ (eq-levina)
#
# For $k = 2$ these are the same. A larger $k$ has a smaller error, since it uses more distances. But it looks at a
# larger ball, where the cloud is less flat and less even. Levina and Bickel average $\hat d$ over all points, which on
# average is too large by the factor $\frac{k-1}{k-2}$. `mle_dimension` averages $1 / \hat d$, as MacKay and Ghahramani
# proposed in 2005, with $k = 20$. Its error bar, $1 / \sqrt{N (k - 1)}$ of the estimate, takes all ratios for
# independent. Neighbours that share neighbours are not: the true spread is up to one and a half times as large.
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
    "sphere, d\u00a0=\u00a03": (3, lambda: sphere(2000, 3, generator=generator)),
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
# **In two sentences.** Where the density hardly changes up to the second neighbour, $P(\mu > t) = t^{-d}$, whatever
# the density and the space around. So $\log \mu$ has the mean $\frac1d$, an estimate with an error bar.
#
# (sec-td-bias)=
# ## What the error bar does not say
#
# At $d = 20$ the points in {numref}`fig-td-line` leave the line. The error bar knows nothing of it. It says how much the
# estimate would vary between samples, if the points around each were spread evenly up to the second neighbour. Are they?
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
    row = [pairs.mean(), pairs.std(), fewer.mean(), many.mean()]
    entries[f"d\u00a0=\u00a0{d}"] = row
    plane = 1 - pairs / d if d == 2 else plane
    small = 1 - pairs / d if d == 20 else small
heads = ["two neighbours", "±", "of 250 points", "twenty neighbours"]
claims.table(heads, entries, digits=3)
claims.check("dimension-bias", small, above=0.12, control=plane)

# %% [markdown]
# Up to $d = 2$ all is well. At 5 some per cent are missing, at 20 a fifth, at 40 a third. Twenty neighbours, for which
# the ball is larger, miss more. So for a cloud with a boundary an estimate of 15 stands for more. It is no bound: on a
# product of twenty circles there is no boundary, chords are shorter than arcs, and 2000 points give about 25. Still, in
# one family larger is larger.
#
# **Noise has a dimension, too.** Take a square in the plane, in a space of ten dimensions, and add noise of size
# $\sigma$ to all ten coordinates. Seen from afar it is two-dimensional, seen from near it has ten dimensions. How near?
# Two noisy copies of one point differ by $\sqrt 2 \, \sigma$ in each coordinate, so they are $\sqrt{20} \, \sigma$ apart:
# 0.045 for $\sigma = 0.01$. Neighbours in the square are about $\frac{1}{2 \sqrt N}$ apart, which is 0.045 for
# $N = 125$. With more points the noise takes over. So their number is a scale: keep fewer, and you look from further
# away, as in {numref}`fig-td-noise`.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-noise", "caption": "A square in ten dimensions with noise: the estimated dimension against the number of points that are kept. Means of five samples. With noise 0.01 few points come near to the square, many see the noise."}, "image": {"alt": "Estimated dimension from 1.5 to 9 against the number of points from 60 to 4000 on a logarithmic axis, for three sizes of noise. Without noise the curve stays at two. With noise 0.01 it rises from about three to nearly eight, with noise 0.05 from seven to nine."}}
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
claims.check("dimension-noise", many, above=4, control=few)

# %% [markdown]
# An estimate of dimension is therefore always one *at a scale*. Where the curve is flat, it says something of the data.
#
# (sec-td-images)=
# ## The dimension of images
#
# *Natural images lie on a manifold of low intrinsic dimension*, the lecture says, after Brown et al.
# {cite}`brown2023verifying`. A digit of $8 \times 8$ pixels has 64 coordinates. In how many directions do the digits
# vary? We compare with a cloud in which every pixel is taken from another image: each pixel has the same values as
# before, and they know nothing of each other.

# %%
known, other = load("digits"), load("digits", "test")
images = torch.cat([known.inputs, other.inputs]).flatten(1)
order = [torch.randperm(len(images), generator=generator) for _ in range(64)]
apart = torch.stack([p[i] for p, i in zip(images.T, order, strict=True)], dim=1)
entries = {}
for name, cloud in {"digits": images, "pixels apart": apart}.items():
    pair, many = two_nn(cloud), mle_dimension(cloud)
    entries[name] = [pair.dimension, pair.error, many.dimension]
claims.table(["two neighbours", "±", "twenty"], entries)

# %% [markdown]
# About nine directions by two neighbours, seven by twenty, in 64 coordinates. The other cloud has more than twice as
# many, and by the last section that is probably too low.
#
# A recorded run has done the same for larger images: MNIST's 10 000 test images, and 10 000 training images of CIFAR-10
# (from a copy compressed as JPEG). It draws 5000 of them three times, and 1250 of the digits.

# %%
entries, shares, redrawn = {}, [], []
DATA = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
for name, label in DATA.items():
    rows = [r for r in recorded("dimension-images").values if r["data"] == name]
    pairs, many, control = (
        np.array([row[key] for row in rows]) for key in ("two_nn", "mle", "apart")
    )
    shares.extend((pairs / control).ravel())
    redrawn.extend((np.roll(control, 1, axis=0) / control).ravel())
    entries[label] = [*pairs.mean(0), many.mean(0)[0], control.mean(0)[0]]
heads = ["two neighbours", "of a quarter", "twenty", "pixels apart"]
claims.table(heads, entries)
claims.check("dimension-images", shares, below=0.45, control=redrawn)

# %%
digit_of = torch.cat([known.labels, other.labels])


def of_groups(cloud, groups):
    """Dimension of each of ten groups of points, by twenty neighbours."""
    return [mle_dimension(cloud[groups == k]).dimension for k in range(10)]


parts, groups = [of_groups(images, digit_of)], []
for _ in range(3):
    half, mixed = torch.randperm(1796, generator=generator).chunk(2)
    parts.append(of_groups(images[half], digit_of[half]))
    groups.append(of_groups(images[half], digit_of[mixed]))
claims.table([str(k) for k in range(10)], {"by twenty": parts[0]})
uneven, chance = ([max(d) / min(d) - 1 for d in each] for each in (parts, groups))
claims.check("dimension-classes", uneven, above=0.55, control=chance)

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
# For networks trained on ImageNet, Ansuini et al. report {cite}`ansuini2019intrinsic`, and the lecture shows, that
# {claim}`intrinsic dimension first increases and then progressively decreases across layers <dimension-hunchback>`. They
# find this neither before training nor in networks that were trained on random labels.
#
# Our networks are small: five hidden layers of 128 ReLUs. Five of them are trained on 1400 digits (standardised, so
# their dimension is 8.5 here), five on the same digits with shuffled labels, until they know them by heart; and as many
# with batch normalisation. Three more of each, without it, have 2000 of MNIST's test images. All are trained for 120
# epochs with the step 0.05. (`layer_profiles` measures dimension and topology in all layers of a network of your own.)
# Guess before you look at {numref}`fig-td-hump`: which networks raise the dimension, and which lower it? The first table
# below has the dimension in layers 3 and 5, by two neighbours, by twenty, and by two of new images.

# %%
runs = recorded("dimension-networks").values


def runs_of(data="digits", batch_norm=False, shuffled=False):
    kind = {"data": data, "batch_norm": batch_norm, "shuffled": shuffled}
    return [row for row in runs if kind.items() <= row.items()]


def stack(rows, key="after"):
    return np.array([row[key] for row in rows])


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-td-hump", "caption": "Intrinsic dimension of the training images, input and five hidden layers, by two neighbours. Thin: single networks; markers: their mean."}, "image": {"alt": "Three panels of dimension against the layer from 0 to 5. Digits without normalisation: untrained networks stay near 9, trained ones fall from 8.5 to about 4, those on shuffled labels rise to about 11.5 at layer three and fall to about 6. Digits with normalisation: trained ones fall to about 7, those on shuffled labels rise to about 11 and stay near it. MNIST without normalisation: untrained networks rise from 12 to 15, trained ones fall to 5, those on shuffled labels rise to 14 and fall to 6."}}
fig, axes = plt.subplots(1, 3, figsize=(5.6, 3.1))
PANELS = [("digits", False), ("digits", True), ("mnist", False)]
for ax, (data, norm) in zip(axes, PANELS, strict=True):
    curves = {
        "untrained": stack(runs_of(data, norm), "before"),
        "trained": stack(runs_of(data, norm)),
        "shuffled labels": stack(runs_of(data, norm, True)),
    }
    kinds = zip(curves.items(), ("^:", "o-", "s--"), ("0.45", *COLOURS), strict=False)
    for (label, values), style, colour in kinds:
        ax.plot(values.T, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(values.mean(0), style, markersize=4, color=colour, label=label)
    title = DATA[data] + ", batch norm" * norm
    ax.set(title=title, xlabel="layer", ylim=(0, None), xticks=range(6))
axes[0].set_ylabel("dimension")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=3, **ABOVE)
plt.show()

# %%
plain, normed = runs_of(), runs_of(batch_norm=True)
memory, normed_memory = runs_of(shuffled=True), runs_of("digits", True, True)
dims, start = stack(plain), stack(plain, "before")
lost, random_lost = (1 - d[:, -1] / d[:, 0] for d in (dims, start))
claims.check("dimension-falls", lost, above=0.3, control=random_lost)


def rise(rows, key="after"):
    """By how much the largest dimension of a hidden layer exceeds that of the input."""
    return stack(rows, key)[:, 1:].max(1) / stack(rows, key)[:, 0] - 1


grown = rise(memory + normed_memory)
level = [rise(plain + normed), rise(plain + normed, "before")]
claims.check("dimension-hump", grown, above=0.22, control=level)
names = "digits", "shuffled labels", "batch norm", "batch norm, shuffled"
kinds, sizes, rest = (plain, memory, normed, normed_memory), {}, {}
for name, rows in zip(names, kinds, strict=True):
    ends = [stack(rows, key).mean(0)[[3, 5]] for key in ("after", "mle", "new")]
    tightness = [stack(rows, key).mean() for key in ("nc1", "nc1_true")]
    sizes[name] = np.ravel(ends)
    rest[name] = [stack(rows, "accuracy")[:, 1].mean(), *tightness]
looks = "two neighbours", "twenty", "two, new images"
claims.table([f"{look}, layer {layer}" for look in looks for layer in (3, 5)], sizes)
claims.table(["accuracy, new images", "NC1, labels taught", "NC1, true labels"], rest)

# %% [markdown]
# With the true labels the dimension falls, without normalisation to half of that of the input and with it to 7, and
# further on new images. Random layers raise it by a tenth.
#
# The rise is there, but elsewhere: where the labels are shuffled. A likely reason: to know each image by heart, layers
# have to pull neighbours apart, and that takes more directions than the digits have. The dimension goes up to 11 and
# then comes down, which is the shape on the slide: far without normalisation, a little with it. By twenty neighbours the
# rise is steeper, from 7 to 12. It is a matter of the images that were learnt: on new ones it is a fifth, little more
# than in random layers. On MNIST the rise, from 12 to 14, is less than in random layers, so there it says little.
#
# :::{admonition} Slide check: first up, then down?
# :class: warning slide-check
# :name: slide-check-td-hump
# The slide says so without conditions. In our networks training on the true labels lowers the dimension, and *up, then
# down* is what shuffled labels do. The paper reports the opposite: the rise in networks trained on the true labels, and
# none with random ones. Ours see small images, and every unit of the first layer sees all pixels. So the curve depends
# on data and architecture, and is no signature of learning by itself.
# :::
#
# (sec-td-miss)=
# ## What both views miss
#
# Look at the tables again. With batch normalisation, the networks are better on new images, and their classes are
# about ten times as tight, compared with the gaps between them: this is what NC1 measures, which the [next
# chapter](neural_collapse.ipynb) defines. Their dimension is nearly twice as high. So the rule that
# {claim}`a lower dimension of the last layer goes with a better accuracy <dimension-accuracy>`, found among networks for
# ImageNet, does not hold for our two kinds.
#
# How can a tighter class have more directions? Dimension knows no size. A class may shrink to a tiny ball and keep all
# its directions. And the networks with shuffled labels and no normalisation end with a dimension below that of the
# input, while the digits in them are mixed beyond recognition. Nothing in the dimension of the last layer says so. NC1
# does, once it is told which images belong together: for the true digits it is 800, for the labels taught 12.

# %%
high, tight, loose = stack(normed)[:, -1], stack(normed, "nc1"), stack(plain, "nc1")
claims.check("dimension-not-collapse", high, above=6, control=dims[:, -1])
claims.check("dimension-collapse", tight, below=0.6, control=loose)
rows = memory + normed_memory
wrong = stack(rows, "nc1_true") / stack(rows, "nc1")
begin = stack(rows, "nc1_true_before") / stack(rows, "nc1_before")
claims.check("dimension-wrong-classes", wrong, above=10, control=begin)

# %% [markdown]
# Two views of one set of features, then. *Topology* says into how many pieces they fall and, class by class, that loops
# are lost. *Dimension* says in how many directions the points around a point lie; no label enters it. Two pieces show
# *that* something has been separated, not *what*: which points are in which piece, how tight they are, how far apart.
# The lecture puts it in one line: *neither captures the geometry that distinguishes different classes of objects*.
#
# What captures it compares distances *within* the classes with distances *between* them, and this is where [Neural
# collapse](neural_collapse.ipynb) begins.
#
# ## Exercises
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
# $$ \begin{aligned} & \beta_0 - \beta_1 + \beta_2 - \dots \\ = {} & m_0 - m_1 + m_2 - \dots \end{aligned} $$
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
# ratio is $\sqrt 3$. A hundred points reach 28.
# :::
#
# :::{exercise} Three units are enough
# :label: ex-td-three
# *Core, 20 minutes.* One hidden layer of three ReLUs takes the inner circle out of the outer one. Find its weights. What
# is the smallest ratio of the two radii that it can tell apart? (Try three directions at 120 degrees.)
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
# *Warm-up, 5 minutes.* What does `two_nn` say of a square grid, and why? Where do data look like that, and what helps?
# :::
#
# :::{solution} ex-td-grid
# :class: dropdown
# First and second neighbour are at the same distance, $\mu = 1$ for every point, and all logarithms are zero: the
# estimate is infinite. Few grey values, or rounded measurements, do the same to data of low dimension. Noise that is
# small against the grid helps little: with a hundredth of the spacing, 900 points give 80 to 90. A larger piece does:
# forty neighbours give 2.05. (Twenty give 2.9: the twentieth is one of several at the same distance.)
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
# *Core, 15 minutes.* The error bars assume that the ratios of different points are independent. They are not: two points
# may be each other's neighbours. Compare them with the spread over forty samples of 500 points of cubes.
# :::
#
# :::{solution} ex-td-error
# :class: dropdown
# Take `found = [two_nn(torch.rand(500, d)) for _ in range(40)]`, the standard deviation of `.dimension` and the mean of
# `.error`. For $d = 1, 2, 5$ the spread is 0.06, 0.12 and 0.27, the error bar 0.05, 0.09 and 0.22: the spread is 1.1 to
# 1.3 times as large. With `mle_dimension` it is 0.014, 0.027 and 0.064 against 0.010, 0.020 and 0.044, 1.4 times.
# :::
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
# Take the smallest distance in every layer between points that were far apart on the ring, in double precision. In two
# networks of ours no two points became one; they came as near as $10^{-4}$ of the radius of the cloud. After layer 4,
# 500 points of the perfect ring show loops with a ratio of 8 and 23. So at our 3000 points ReLU did not glue. An arc is
# crushed where the rows of $W$ that are on are orthogonal to it, above all where none is on; look in narrow layers.
# :::
#
# ## Summary
#
# Betti numbers count pieces, loops and cavities. Points have them at a scale; a persistence diagram shows all scales.
#
# A ReLU or tanh network without skips, no layer of which is wider than its input, cannot take a ball out of a shell.
#
# In our networks trained layers thin out the loops and cavities of each class until a sample no longer shows them, with
# tanh as with ReLU, and for shuffled labels as for true ones. Tanh cannot remove them: in the middle layers a denser
# sample shows them again, in the last one none that we tried. If the labels were true, the whole ends in two pieces.
#
# The ratio of two distances gives the number of directions, with an error bar that does not know of the bias. For large
# dimensions the estimate is far off, for clouds with a boundary too small, and it depends on the scale.
#
# In small networks trained on digits the dimension falls; it rises first where the labels are shuffled. Neither view
# says which points belong together, and tighter classes may have more directions.
#
# ## Further reading
#
# Persistence is due to Edelsbrunner, Letscher and Zomorodian {cite}`edelsbrunner2002topological`; Carlsson
# {cite}`carlsson2009topology` wrote the introduction that made it known. Topology through layers is from Naitzat,
# Zhitnikov and Lim {cite}`naitzat2020topology`; the picture of linked classes that a network pulls apart is older, from
# Olah's *Neural Networks, Manifolds, and Topology* (2014). That narrow networks cannot bound a region is, for ReLU, in
# Hanin and Sellke {cite}`hanin2017approximating`, and for other functions in Johnson {cite}`johnson2019skinny`. The two
# estimates of dimension are from Facco et al. {cite}`facco2017estimating` and from Levina and Bickel
# {cite}`levina2004maximum`; Ansuini et al. {cite}`ansuini2019intrinsic` applied the first to networks.
