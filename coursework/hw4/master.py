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
# # Assignment 4: when a shallow network can collapse
#
# Whether a two-layer ReLU network can collapse is decided by its inputs: one system of linear inequalities
# for each class. How likely is it solvable when the labels are dealt at random? Which of its solutions is the
# best? And if there is none, how short a proof of that can you give?
#
# **You will be able to** compute a probability of collapse by counting; find the shortest weights of a
# feasible class, and say what their length measures; prove with a handful of samples that a class cannot
# collapse; and tell what a training run shows from what a certificate shows.
#
# **Time**: 90 minutes. **You need** the chapter *When can a shallow network collapse?*
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 20 points are given by tests and
# 18 by a person who reads your derivations. You may answer with tensors or NumPy arrays.
#
# Here as there, class $k$ with samples $X_k$ $(n_k, d)$, one a row, is *feasible* if some
# $\beta \in \mathbb R^d$ solves $X_k \beta = \mathbf 1$ and $X_{-k} \beta \le 0$, where $X_{-k}$ are the samples
# of all other classes.

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

import math

import numpy as np
import torch
from scipy.optimize import linprog, nnls

from lecturelib import coursework
from lecturelib.coursework.assignments import hw4
from lecturelib.shallow_feasibility import nc_feasibility

# %% [markdown]
# Write your own address below: your data depend on it.

# %%
mine = coursework.begin("hw4", student="your.name@example.org")

# %% [markdown] question="hw4-q1"
# ## 1. Labels by chance (5 points)
#
# The chapter's law of pure noise is for classes of a given size. Now nobody has balanced the classes: $N$
# samples are drawn from a standard normal distribution in $\mathbb R^d$, and the label of each is drawn from
# $K$ classes, all equally likely, independently of all else. What is the probability that class 0 is
# feasible?
#
# A class without samples counts as feasible. Write a function of $K \ge 2$, $N \ge 1$ and $d \ge 1$, up to
# $N = 120$. A class of more than $d$ samples is infeasible, with probability one.
#
# *Hint.* Given the sizes of the class and of the rest, the chapter has an answer.


# %% question="hw4-q1"
def random_label_law(num_classes, num_samples, dim):
    """Return the probability that class 0 is feasible, if labels are drawn at random."""
    # BEGIN SOLUTION
    ways = 0  # to choose a label and a sign for each sample; those of class 0 may have any sign
    for size in range(num_samples + 1):
        others = num_samples - size
        regions = sum(math.comb(others, i) for i in range(dim - size + 1))
        signs = 2**others if size == 0 else regions
        ways += math.comb(num_samples, size) * (num_classes - 1) ** others * signs * 2**size
    return ways / (2 * num_classes) ** num_samples
    # END SOLUTION


# %%
coursework.check("hw4-q1", random_label_law)

# %% [markdown] question="hw4-q2"
# ## 2. The shortest weights (5 points)
#
# A feasible class has many solutions $\beta$. With weight decay on the first layer you want the one with the
# smallest norm. Write a function that returns it.
#
# `own` $(n, d)$ are the samples of the class, linearly independent, `others` $(m, d)$ all others, float64
# tensors. You may assume that the class is feasible. The result, of shape $(d,)$, must be right to a
# ten-thousandth of its length.
#
# *Hint.* There is one shortest solution, since the solutions form a convex set. Any way to it will do; a
# geometric one is in the next question.


# %% question="hw4-q2"
def shortest_weights(own, others):
    """Return the shortest beta (d,) with own @ beta = 1 and others @ beta <= 0."""
    # BEGIN SOLUTION
    own, others = np.asarray(own), np.asarray(others)
    # z leads from the nearest point of the cone of the others to that of the affine hull; along the
    # hull, spanned by differences, it has no part.
    differences = own[1:] - own[0]
    across = np.eye(own.shape[1]) - np.linalg.pinv(differences) @ differences
    cone = across @ others.T
    z = across @ own[0] - cone @ nnls(cone, across @ own[0])[0]
    return z / (z @ z)
    # END SOLUTION


# %%
coursework.check("hw4-q2", shortest_weights)

# %% [markdown] question="hw4-q3"
# ## 3. What their length says (6 points, read by a person)
#
# Let class $k$ be feasible and $\beta^*$ its shortest solution. Let $\delta$ be the distance between the
# affine hull of class $k$ and the cone of the other samples. (Both are polyhedra, so some $p$ in the hull and
# $c$ in the cone have this distance.)
#
# 1. Show that $\|\beta\| \ge 1 / \delta$ for every solution $\beta$. *(2 points)*
# 2. Show that $\beta^* = (p - c) / \delta^2$, and thus $\|\beta^*\| = 1 / \delta$. *(3 points)*
# 3. Suppose that $\delta$ is tiny. The features model, and a penalty on the features, do not notice. Who
#    does, and what would you expect it to do instead of collapsing? *(1 point)*

# %% [markdown] answer="hw4-q3"
# **1.** For a solution $\beta$, every point $p'$ of the affine hull has $\beta^\top p' = 1$, as its
# coefficients sum to one, and every $c'$ of the cone has $\beta^\top c' \le 0$, as its coefficients are not
# negative. So $1 \le \beta^\top (p' - c') \le \|\beta\| \, \|p' - c'\|$ for all of them, also for $p$ and $c$.
# Therefore $1 \le \|\beta\| \, \delta$; in particular $\delta > 0$.
#
# **2.** Let $z = p - c$, $\|z\| = \delta$. No small move of $p$ or $c$ may bring them closer.
#
# - Moves of $p$ within the hull go both ways: $z$ is orthogonal to all differences of samples of the class,
#   so $z^\top x_i = z^\top p$ for each of them.
# - $c$ may be made longer and shorter: $z^\top c = 0$.
# - Some of another sample may be added to $c$: $z^\top x_j \le 0$.
#
# So $z^\top x_i = z^\top p = z^\top (z + c) = \delta^2$, and $z / \delta^2$ solves $X_k \beta = \mathbf 1$ and
# $X_{-k} \beta \le 0$. Its length is $1 / \delta$, and by part 1 no solution is shorter. The shortest solution
# of a convex problem is unique, hence it is $\beta^*$.
#
# **3.** A penalty on the *weights* $W_1$ notices: collapse costs $\|\beta^*\|^2 = 1 / \delta^2$. It pays to
# give up a little of the collapse, that is, to allow some spread of the features or some overlap of the
# classes, for much shorter weights.

# %% [markdown] rubric="hw4-q3"
# - 1 point: $\beta^\top p' = 1$ on the hull and $\beta^\top c' \le 0$ on the cone, each with its reason.
# - 1: Cauchy–Schwarz, for the nearest points.
# - 2: the conditions of optimality: equal outputs on the class, not above zero on the others. One of them
#   without a reason: 1.
# - 1: the common output is $\delta^2$ (this needs $z^\top c = 0$), and the conclusion by part 1.
# - 1: weight decay on $W_1$; features with a little spread and shorter weights. "It cannot train" alone: 0.

# %% [markdown] question="hw4-q4"
# ## 4. A short certificate (5 points)
#
# Class 0 of your samples cannot collapse. The library proves it, with nearly all of the samples. A reader
# who wants to check a proof by hand, or to find a mislabelled sample in it, prefers a short one.
#
# Give a certificate of class 0 that uses as few samples as always suffice: at most $d + 1$, where $d$ is the
# dimension of your samples. (The next question asks why.) As in `nc_feasibility`, `certificate` has shape
# $(N,)$: the coefficients $u$ at the samples of class 0, which sum to one, and $-v \le 0$ at all others, such
# that $X_k^\top u = X_{-k}^\top v$. Entries below $10^{-9}$ of the largest count as zero.

# %%
inputs, labels = hw4.samples(mine)
found = nc_feasibility(inputs, labels)
print("verdict on class 0:", int(found.verdict[0]), "in dimension", inputs.shape[1])
print("samples that the library uses:", int((found.certificate[0].abs() > 1e-9).sum()))

# %% question="hw4-q4"
# BEGIN SOLUTION
# STUB certificate = ...
# A vertex of the polyhedron of all certificates: the simplex method goes from one to the next.
own = (labels == 0).numpy()
equations = np.vstack([inputs.T, own])
ends = [0] * inputs.shape[1] + [1]
signs = [(None, None) if of_class else (None, 0) for of_class in own]
no_cost = np.zeros(len(own))  # all of them are equally good
result = linprog(no_cost, A_eq=equations, b_eq=ends, bounds=signs, method="highs-ds")
certificate = result.x
print(certificate)
# END SOLUTION

# %%
coursework.check("hw4-q4", certificate)

# %% [markdown] question="hw4-q5"
# ## 5. Why so few samples (6 points, read by a person)
#
# 1. Show that an infeasible class always has a certificate with at most $d + 1$ entries that are not zero.
#    *(3 points)* *Hint.* Take one with the fewest, suppose that they are more, and find a direction in which
#    to change them without breaking the equations.
# 2. Give an example, for every $d$, in which $d + 1$ entries are needed. *(1 point)*
# 3. You remove one sample of a short certificate from your data. Is class 0 feasible now? And can an
#    infeasible class become feasible when samples are *added*? Give reasons. *(2 points)*

# %% [markdown] answer="hw4-q5"
# **1.** Write a certificate as $c = (u, -v)$, so that $X^\top c = 0$ and the entries of $u$ sum to one. That
# are $d + 1$ linear equations for the entries of $c$. Take a certificate with the fewest nonzero entries, and
# suppose that they are more than $d + 1$. Then there is a $w \ne 0$, zero wherever $c$ is zero, with
# $X^\top w = 0$ and with entries at the class that sum to zero. All $c + \tau w$ solve the equations. Begin
# at $\tau = 0$ and move $\tau$ in a direction in which some entry of $c$ shrinks; as $w \ne 0$, there is one.
# Stop when the first nonzero entry becomes zero. Until then no entry has changed its sign, so $v \ge 0$ still
# holds: it is a certificate, with fewer nonzero entries. That contradicts the choice of $c$.
#
# **2.** One sample $x = e_1 + \dots + e_d$ in the class, and $e_1, \dots, e_d$ outside of it. The only
# certificate is $u = 1$, $v = (1, \dots, 1)$.
#
# **3.** Not necessarily. *This* proof is gone, but others may exist that do without the sample: with a copy of
# it in the data the certificate stays. The class becomes feasible only if the sample is in all certificates.
# Adding never helps: a certificate, continued by zeros, is one of the larger data too, whatever the labels of
# the new samples.

# %% [markdown] rubric="hw4-q5"
# - 1 point: $d + 1$ linear equations, so more than $d + 1$ nonzero entries leave a direction $w$.
# - 1: go to the first entry that becomes zero (in some direction one does).
# - 1: signs: $v$ stays $\ge 0$ until then, and $u$ may have any sign. A reference to basic solutions of a
#   linear program or to Carathéodory, with the free signs of $u$ dealt with: full points.
# - 1: an example for every $d$, with a reason why fewer do not do.
# - 1: removing: other certificates may exist.
# - 1: adding: zeros continue the certificate.

# %% [markdown] question="hw4-q6"
# ## 6. Three means and no room (5 points)
#
# Three classes of $n$ samples each, $\mu_k + \sigma z$ with standard normal $z \in \mathbb R^d$, and $d = n$:
# just enough dimensions for the equations, and none to spare. As $\sigma \to 0$, each class is feasible with
# a probability that depends on the three means alone. An exercise of the chapter finds it for two means. What
# is it for your three?
#
# `means` $(3, 3)$ has one mean a row; in $d > 3$ dimensions the other coordinates of the means are zero. Give
# `chances`, the three probabilities for classes 0, 1 and 2, each to within 0.001.
#
# *Hint.* Which pairs of means does a random hyperplane through the origin have on different sides?

# %%
means = hw4.means(mine)
means

# %% question="hw4-q6"
# BEGIN SOLUTION
# STUB chances = ...
directions = means / means.norm(dim=1, keepdim=True)
angles = torch.arccos(directions @ directions.T)
# A hyperplane has means i and j on different sides with probability angle / pi. Of the three pairs
# it parts two or none, and class k is feasible if both pairs with k are parted: the probabilities
# of these two, less that of the third, count this case twice.
chances = [
    float(angles[k, i] + angles[k, j] - angles[i, j]) / (2 * math.pi)
    for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
]
print(chances)
# END SOLUTION

# %%
coursework.check("hw4-q6", chances)

# %% [markdown] question="hw4-q7"
# ## 7. Does width help? (6 points, read by a person)
#
# We took the samples of one variant of this assignment (25 in 6 dimensions, five classes, none of them
# feasible) and trained the network of the chapter with the penalty $\lambda = 10^{-3}$ on the features, from
# three starts for each width, for 2000 steps. Then we did the same behind a fixed random ReLU layer of 60
# units; there all classes are feasible, by certificate. The table has the objective $F$ at the end, relative
# to the minimum $V$ of the positive features model (lowest and highest of the starts), and NC1 of the lowest.
#
# | Width $p$ | on the samples: $F / V$ | NC1 | behind the layer: $F / V$ | NC1 |
# |---|---|---|---|---|
# | 10 | 2.92 to 3.03 | 6.7 | 1.40 to 4.05 | 0.67 |
# | 40 | 2.60 to 2.62 | 4.3 | 1.10 to 1.13 | 0.003 |
# | 160 | 2.58 to 2.59 | 4.1 | 1.06 to 1.08 | 0.0007 |
#
# 1. "Ten times the width has lowered $F$ on the samples. With a million neurons it will come to $V$." What is
#    known about the lowest $F$ at every width, and what not, and how do you know? *(2 points)*
# 2. Behind the layer, ten neurons end between 1.40 and 4.05 times $V$. Does that contradict the certificates?
#    What does width do here, then? *(2 points)*
# 3. "Behind the layer NC1 is 0.0007, so the layer has made the classes easier to tell apart for new samples
#    as well." Name an experiment that could show this claim to be wrong, with the outcome that would.
#    *(2 points)*

# %% [markdown] answer="hw4-q7"
# **1.** Known: at every $p \ge K$ the minimum is above $V$, because a class is infeasible and there is a
# certificate; no training is needed to know it. Also, more neurons can only lower the minimum, since further
# ones may be zero. From some width on it stays the same: the outputs are a sum of $K \times N$ matrices, one
# for each neuron, and by the argument of question 5 some $KN$ neurons of no more cost have the same sum. Hence
# the limit is a minimum, and above $V$ too. Not known: how far above. The numbers near 2.58 are upper bounds
# from training; their agreement suggests a floor and proves none.
#
# **2.** No. The certificates are about the lowest possible $F$, which is $V$ for every $p \ge 5$. Training
# has stopped elsewhere, at local minima or too early: the starts differ among each other, by a factor of
# three. Width does not change what is possible here; it changes how easily training gets near it.
#
# **3.** Feasibility and NC1 are about the training samples alone. Deal the labels at random and repeat: the
# random layer makes nearly all labels feasible, so NC1 gets as small, while accuracy on new samples must be
# chance. Or draw new samples of the same classes, and compare their error with and without the layer: the
# claim falls if it does not get smaller. (The samples of this assignment are noise; it will not.)

# %% [markdown] rubric="hw4-q7"
# - 1 point: the minimum is above $V$ at every width, by the certificate and the theorem on width.
# - 1: what is not known: how far; trained values are upper bounds. (That from
#   some width on the minimum stays the same is not asked for.)
# - 1: certificates are about minima, training may end elsewhere; the spread between the starts shows it.
# - 1: width changes the search and not what is possible, from $p = K$ on.
# - 1: an experiment that looks at *new* samples, or at labels dealt at random.
# - 1: the outcome that would refute the claim is named before it is measured.

# %%
coursework.progress()

# %%
coursework.submit()
