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
# # Assignment 6: topology and intrinsic dimension
#
# The chapter draws hundreds of points to see a hole, finds that layers as wide as their input cannot take a
# disc out of a ring, and looks at one scale by leaving points out. Here a hole of any dimension needs only
# two points for each direction; a small change of the layer gets around the theorem; and all scales of a
# cloud come from one table of distances.
#
# **You will be able to** follow holes of several dimensions by pen; say exactly when a residual layer has an
# invertible derivative, and build a summit where it has not; derive an estimate of dimension for any two
# neighbours; and say what the estimate means for a union of clouds.
#
# **Time**: 90 minutes. **You need** the chapter *Topology and intrinsic dimension*.
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 19 points are given by tests and 17
# by a person who reads your derivations. You may answer with tensors or NumPy arrays.

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

import itertools
import math

import matplotlib.pyplot as plt
import torch

from lecturelib import coursework
from lecturelib.coursework.assignments import hw6
from lecturelib.topology_and_dimension import nearest_neighbours

# %% [markdown]
# Write your own address below: your lengths, layer and clouds depend on it.

# %%
mine = coursework.begin("hw6", student="your.name@example.org")
hw6.lengths(mine)

# %% [markdown] question="hw6-q1"
# ## 1. Two points for each direction (5 points, read by a person)
#
# By pen. In $D \ge 2$ dimensions take the $2D$ points $\pm a_i e_i$, where $e_i$ are the coordinate directions
# and $0 < a_1 \le a_2 \le \dots \le a_D$.
#
# 1. Let $D = 3$, with the three lengths $a_1 < a_2 < a_3$ that you see above. List the scales at which edges
#    of the Rips complex appear, and give $\beta_0$, $\beta_1$ and $\beta_2$ from each one to the next.
#    *(2 points)*
# 2. For any $D$, suppose that $\sqrt{a_{D-1}^2 + a_D^2} < 2 a_1$. Show that there is exactly one hole of
#    dimension $D - 1$, find its birth and its death, and show that there is none at any other scale.
#    *(2 points)*
# 3. How large can the ratio of death to birth be? For loops the chapter draws the line at a ratio of 2,
#    which chance hardly reaches. What would this rule say of a sphere of nine dimensions, seen with 20 points?
#    *(1 point)*
#
# *Hint.* Which points does $a_1 e_1$ see before $s = 2 a_1$, and which after it?

# %% [markdown] answer="hw6-q1"
# **1.** Write $d_{ij} = \sqrt{a_i^2 + a_j^2}$ for the distance of points of different directions. The other
# distances are $2 a_i$. Here $d_{12} < d_{13} < d_{23} < 2 a_1 < 2 a_2 < 2 a_3$.
#
# | from | what appears | $\beta_0$ | $\beta_1$ | $\beta_2$ |
# |---|---|---|---|---|
# | 0 | six points | 6 | 0 | 0 |
# | $d_{12}$ | a square of the first four points | 3 | 1 | 0 |
# | $d_{13}$ | four more edges, no triangle: $1 - \beta_1 = 6 - 8$ | 1 | 3 | 0 |
# | $d_{23}$ | the last four edges and eight triangles, an octahedron | 1 | 0 | 1 |
# | $2 a_1$ | the diagonal, which is joined to all other points | 1 | 0 | 0 |
#
# and no hole comes back at $2 a_2$ and $2 a_3$.
#
# **2.** Let $b = \sqrt{a_{D-1}^2 + a_D^2}$. *Below $b$* no point of direction $D-1$ is joined to one of
# direction $D$, and no two opposite points are joined, as $b < 2 a_1$. So a simplex has at most $D - 1$
# vertices, and there are none of dimension $D - 1$. *From $b$ to $2 a_1$* all points are joined but the
# opposite ones. The largest simplices take one of the two points of each direction: $2^D$ of them, of
# dimension $D - 1$. A face leaves out one direction and lies in exactly two of them. So the sum of all has
# boundary zero. It is the only such sum besides nothing: with one simplex it must contain its neighbour
# across each face, and one reaches all of them by changing one sign after the other. Nothing fills it, for
# there are no simplices of dimension $D$. Hence $\beta_{D-1} = 1$. *From $2 a_1$ on* $a_1 e_1$ is joined to all
# other points. Whatever is closed is then the boundary of its cone: joining the point $a_1 e_1$ to each
# simplex of a cycle fills it. So all holes are gone, for good. The hole lives from $b$ to $2 a_1$.
#
# **3.** $b \ge \sqrt 2\, a_1$, so the ratio is at most $\sqrt 2$, for equal lengths. With 20 points in ten
# dimensions a rule that asks for a factor of two misses a perfect hole. A threshold belongs to a dimension
# and to a number of points.

# %% [markdown] rubric="hw6-q1"
# - 2 points: the table, with the student's numbers. One wrong entry: 1. Without $\beta_1 = 3$ between $d_{13}$
#   and $d_{23}$: 1. Copied from `persistence` without a reason: ½.
# - 1: between birth and death: one cycle, by two neighbours across each face, and nothing of dimension $D$.
#   "It is a sphere", with a reason (such as the boundary of a cross-polytope): full.
# - 1: none before, for lack of simplices, and none after, by the cone.
# - 1: $\sqrt 2$, and that the rule would miss this hole (or that thresholds go with the dimension).

# %% [markdown] question="hw6-q2"
# ## 2. The hole of highest dimension (4 points)
#
# Write a function that takes the lengths $a_1, \dots, a_D$, in any order, and returns birth and death of the
# hole of dimension $D - 1$. If there is no such hole at any scale, it returns two zeros.
#
# $D$ goes from 2 to 40, where the complex has more simplices than any machine can hold. (That there is
# none if the condition of question 1 fails you may take for granted.)


# %% question="hw6-q2"
def hole(lengths):
    """Return birth and death of the hole of dimension D - 1; lengths is a list of D numbers."""
    # BEGIN SOLUTION
    ordered = sorted(lengths)
    appears = math.hypot(ordered[-2], ordered[-1])
    filled = 2 * ordered[0]
    return (appears, filled) if appears < filled else (0.0, 0.0)
    # END SOLUTION


# %%
coursework.check("hw6-q2", hole)

# %% [markdown] question="hw6-q3"
# ## 3. Past the narrow layer (5 points)
#
# *No summit inside* is for layers $x \mapsto \sigma(Wx + b)$. A *residual* layer adds its input,
#
# $$ x \mapsto x + \tanh(Wx + b) , $$
#
# with as many units as inputs. Its derivative is $I + \operatorname{diag}(s)\, W$, where $s_i = \tanh'$ of unit
# $i$ lies in $(0, 1]$. The proof of the theorem needs this to be invertible wherever one stands.
#
# Write a function that says whether $I + \operatorname{diag}(s)\, W$ is invertible for **every**
# $s \in (0, 1]^D$, for $D$ up to 8. Trying out many $s$ will not do: there are matrices that fail in a
# region which nobody finds by chance.
#
# *Hint.* Change a single $s_i$. What kind of function of it is the determinant?


# %% question="hw6-q3"
def never_singular(weight):
    """Return True or False for W (D, D), a float64 tensor."""
    # BEGIN SOLUTION
    eye = torch.eye(len(weight), dtype=torch.float64)
    # Affine in each s_i, so the smallest determinant is at a corner; at s = 0 it is one.
    return all(
        torch.det(eye + torch.tensor(corner, dtype=torch.float64)[:, None] * weight) > 0
        for corner in itertools.product((0, 1), repeat=len(weight))
    )
    # END SOLUTION


# %%
coursework.check("hw6-q3", never_singular)

# %% [markdown] question="hw6-q4"
# ## 4. A summit of your own (5 points)
#
# `hw6.residual_layer(mine)` is a residual layer of two units, in the plane, whose derivative is somewhere
# singular. Find a score $a \ne 0$ and a point $x$ such that
#
# $$ f(x) = a^\top \big( x + \tanh(Wx + b) \big) $$
#
# has a strict local maximum at $x$: the gradient of $f$ vanishes there, and all its second derivatives are
# negative, also in slanted directions. Give a dict with `score` (2,) and `point` (2,). The gradient, for $a$ of
# length one, may be off by $10^{-4}$ and the point by $10^{-3}$.
#
# *Hint.* First choose $s$, then $a$. Each $s_i < 1$ belongs to two values of $(Wx + b)_i$. The choice between
# them decides.

# %% question="hw6-q4"
weight, bias = hw6.residual_layer(mine)
# BEGIN SOLUTION
# STUB summit = {"score": ..., "point": ...}
first = torch.linspace(0.01, 0.99, 9801, dtype=torch.float64)
# det(I + diag(s) W) = 0, solved for the second entry of s.
second = -(1 + first * weight[0, 0]) / (weight[1, 1] + first * torch.det(weight))
pairs = torch.stack([first, second], dim=1)
inside = torch.minimum(pairs, 1 - pairs).amin(1)
shares = pairs[inside.argmax()]  # farthest from the border
derivative = torch.eye(2, dtype=torch.float64) + shares[:, None] * weight
score = torch.linalg.svd(derivative).U[:, -1]  # score @ derivative = 0
# tanh'' has the sign of minus its argument, so each unit bends downwards if the signs agree.
heights = score.sign() * torch.atanh((1 - shares).sqrt())
summit = {"score": score, "point": torch.linalg.solve(weight, heights - bias)}
print(summit)
# END SOLUTION

# %%
coursework.check("hw6-q4", summit)

# %% [markdown] question="hw6-q5"
# ## 5. What a residual layer may do (6 points, read by a person)
#
# 1. Prove that what you test in question 3 is right: it says *yes* if and only if
#    $I + \operatorname{diag}(s)\, W$ is invertible for all $s \in (0, 1)^D$. (Determinants that are exactly
#    zero at what you test may be left aside.) *(2 points)*
# 2. Show that *No summit inside* holds for a network of residual layers, all with spectral norm
#    $\|W\| < 1$. In the chapter, layers with a singular $W$ are dealt with as limits. Why does this not help
#    a residual layer with a larger $W$? *(2 points)*
# 3. We trained networks of width two on the chapter's two circles, with six layers of tanh and 1500 steps of
#    Adam. *Excess* is the chapter's measure: by how much the highest score in the disc exceeds that on its rim,
#    in units of the range. *Missed* is the share of the whole outer circle that is called inner.
#
#    | Layers | seeds | training accuracy | excess | missed |
#    |---|---|---|---|---|
#    | plain | 5 | 0.43 to 0.95 | 0.000 | 0.10 to 0.73 |
#    | residual | 5 | 1.00 | 0.08 to 0.71 | 0.000 to 0.027 |
#    | residual, norm of $W$ kept at 0.95 or less | 5 | 0.90 to 0.98 | 0.000 | 0.05 to 0.20 |
#
#    Which numbers had to come out as they did, and which are findings? Is the second row due to the skip
#    connection, and to what does the third row owe its 0.90 to 0.98? *(2 points)*

# %% [markdown] answer="hw6-q5"
# **1.** Let $p(s) = \det(I + \operatorname{diag}(s)\, W)$. Row $i$ of the matrix is $e_i^\top + s_i w_i^\top$, and
# the other rows do not contain $s_i$. A determinant is linear in each row, so $p$ is affine in each $s_i$. On a
# segment an affine function lies between its values at the ends. Move one entry after the other to 0 or 1:
# every $p(s)$ is at least the smallest of the values at the corners. If these are positive, $p > 0$
# everywhere. If one of them is negative, so is $p$ at points of $(0, 1)^D$ close to this corner, by
# continuity. Near $s = 0$ we have $p > 0$, as $p(0) = 1$. On the segment in between, which lies inside of the
# cube, $p$ has a zero.
#
# **2.** For $v \ne 0$ we have
# $\|\operatorname{diag}(s) W v\| \le \|W v\| \le \|W\| \|v\| < \|v\|$, so
# $v + \operatorname{diag}(s) W v \ne 0$: each derivative is invertible. The derivative of the whole network is a
# product of invertible matrices, and the gradient of a score $a^\top F(x) + c$ with $a \ne 0$ is nowhere zero.
# On a closed ball the maximum exists, and is on the sphere. (For $a = 0$ there is nothing to show.) The limit in
# the chapter needs invertible layers arbitrarily close by. Where $p$ is negative at a corner, it is negative for
# all nearby $W$, too: every layer nearby has a singular derivative somewhere.
#
# **3.** The excess of the plain networks and of those with small norms had to be zero, by the theorem and by
# part 2, whatever the seeds. That they all miss a part of the outer circle, or of the inner one, follows, too;
# how much is a finding. All of the second row is: the theorem does not apply, but that training finds such a
# way is not said anywhere. The skip connection alone does not do it, as the third row has it, too. What is
# needed is a skip *and* weights large enough to fold. Its accuracy is a matter of the sample: the network gets the
# inner circle out through a gap in it, or sacrifices a few points. On the whole circle it misses 5 to 20 per cent.

# %% [markdown] rubric="hw6-q5"
# - 1 point: affine in each $s_i$, with the reason, and thus not below the smallest corner.
# - 1: the converse: negative near the corner, positive near zero, a zero in between.
# - 1: $\|W\| < 1$ makes the derivative invertible, and the chain rule with the maximum on the sphere.
# - 1: no invertible layers nearby: a negative corner stays negative for nearby $W$.
# - 1: which zeros are theorems (rows one and three), and that the second row is a finding.
# - 1: skip and large weights together, and that accuracy on 200 samples hides a gap. One of them: ½.

# %% [markdown] question="hw6-q6"
# ## 6. From the near to the far (5 points)
#
# The chapter looks from further away by leaving points out. That wastes them. Here is a way to keep all. Let
# $T_j$ be the distance of a point to its $j$-th neighbour, $T_1 \le T_2 \le \dots$, and choose two of them, $k < m$.
# Under the assumptions of *Two neighbours*, with $m$ points or more, there is one number $c$ that depends on
# $k$ and $m$ only, such that
#
# $$ \frac{1}{\hat d} = \frac{c}{n} \sum_{i=1}^{n} \log \frac{T_m(x_i)}{T_k(x_i)} $$
#
# has exactly the mean $\frac1d$, whatever $d$ is. Find $c$, and write the function. `distances` $(N, K)$ holds
# $T_1, \dots, T_K$ of each point, as `nearest_neighbours` returns them; `near` is $k$ and `far` is $m \le K$.
# Points with $T_k = 0$ are left out, and $n$ points remain.
#
# *Hint.* The chapter knows about $T_{j+1} / T_j$.


# %% question="hw6-q6"
def dimension_between(distances, near, far):
    """Return the estimate, a number, from neighbours `near` < `far`, counted from 1."""
    # BEGIN SOLUTION
    closer, farther = distances[:, near - 1], distances[:, far - 1]
    apart = closer > 0
    # log T_{j+1} / T_j has the mean 1 / (j d).
    total = sum(1 / j for j in range(near, far))
    return float(total / torch.log(farther[apart] / closer[apart]).mean())
    # END SOLUTION


# %%
coursework.check("hw6-q6", dimension_between)

# %% [markdown] question="hw6-q7"
# ## 7. One number for two dimensions (6 points, read by a person)
#
# You have two clouds of 2000 points: `hw6.sheet(mine)` is a square, turned into ten dimensions, with a little
# noise. `hw6.union(mine)` is a piece of a line and a cube that lie far apart. The next cell draws, for
# $k = 1, 2, 4, \dots$, what your function says for $k$ and $m = 2k$, against the mean of $T_k$ and $T_{2k}$.

# %%
if coursework.done("hw6-q6"):
    line, cube = hw6.union(mine)
    clouds = {
        "sheet": hw6.sheet(mine),
        "union": torch.cat([line, cube]),
        "line": line,
        "cube": cube,
    }
    print(len(line), "points of the line,", len(cube), "of the cube")
    figure, axes = plt.subplots(figsize=(6, 3.2))
    for (name, cloud), style in zip(clouds.items(), ("o-", "s-", "^:", "v:"), strict=True):
        far_and_near, _ = nearest_neighbours(cloud, 256)
        ranks = [2**power for power in range(8)]
        found = [dimension_between(far_and_near, k, 2 * k) for k in ranks]
        sizes = [float(far_and_near[:, [k - 1, 2 * k - 1]].mean()) for k in ranks]
        axes.semilogx(sizes, found, style, label=name)
    axes.set(xlabel="mean distance", ylabel="dimension", ylim=(0, None))
    axes.legend()
    plt.show()

# %% [markdown] question="hw6-q7"
# 1. Explain the curve of the sheet at its left end, at its right end and in between. Does it have a plateau?
#    What would you report as its dimension? *(2 points)*
# 2. A union of clouds that lie far apart has shares $p_1, p_2, \dots$ of all points, in $d_1, d_2, \dots$
#    directions. To what does $\hat d$ tend for $k = 1$, $m = 2$, as the number of points grows? And what is the
#    curve of $-\log P(\mu > t)$ against $\log t$, which for one cloud is a straight line: what is its slope at
#    the beginning, and far out? *(3 points)*
# 3. For the 1797 digits of the chapter, $k = 1$ and $m = 2$ give 9.0. For each kind of digit alone we found
#    between 6.9 (the ones) and 11.8 (the zeros). Weighted by their shares, these ten have the mean 9.3, and
#    their harmonic mean is 9.0. The nearest neighbour of 98.8 per cent of the digits is of the same kind.
#    *Digits vary in nine directions*: what is right about it, and what is not? *(1 point)*

# %% [markdown] answer="hw6-q7"
# **1.** At the left the distances are not larger than the noise, which has ten directions. One sees six
# or seven: between noise and sheet, and ten come out too small. To the right the distances exceed
# the noise more and more, and the square shows. At the very right the curve goes below two: the ball is now so
# large that it sticks out over the edges for many points. It passes two rather than stay there, or hardly
# stays. I would report two, with the range of distances in which it is seen (above the noise and below the
# size of the sheet), and say that no wide plateau supports it.
#
# **2.** If the parts are far apart, the first two neighbours of a point belong to its own part. The mean of
# $\log \mu$ over the part with $d_i$ is $\frac{1}{d_i}$, and over all points it is $\sum_i \frac{p_i}{d_i}$. So
#
# $$ \hat d \to \Big( \sum_i \frac{p_i}{d_i} \Big)^{-1} , $$
#
# the harmonic mean, weighted by numbers of points. In a union of line and cube the line counts most: with a share
# of one third and $d_2 = 5$ it is 2.1, near what the curve shows. With $y = \log t$,
# $P(\mu > t) = \sum_i p_i e^{-d_i y}$. The slope of minus its logarithm is
#
# $$ \frac{\sum_i p_i d_i e^{-d_i y}}{\sum_i p_i e^{-d_i y}} . $$
#
# At $y = 0$ it is $\sum_i p_i d_i$, the usual mean. For large $y$ the term with the smallest $d_i$ is left, and
# the slope tends to that. So the line bends, as it does in the chapter for $d = 20$, where edges are the
# reason: a bend does not say which of the two it is.
#
# **3.** Nine is what the data as a whole give, and right as a harmonic mean of ten numbers: nearly all pairs of
# neighbours are of one kind, so the formula of part 2 must hold. But it is no property of any one kind, and
# says of a digit only how many directions there are on average. With other shares, say more ones, it would
# be another number; and it holds at this scale only.

# %% [markdown] rubric="hw6-q7"
# - 1 point: the left end is noise (and biased, so not ten), the right end edges.
# - 1: two, with its scale, and that there is hardly a plateau. "Two" because it is known: ½.
# - 1: the harmonic mean, from the mean of $\log \mu$; that neighbours are of one's own part.
# - 1: the slope at the beginning, $\sum p_i d_i$.
# - 1: the slope far out, $\min d_i$, with a reason. (That edges bend the line too is not asked for.)
# - 1: an average over kinds, weighted by how many there are, and not the dimension of a manifold.

# %%
coursework.progress()

# %%
coursework.submit()
