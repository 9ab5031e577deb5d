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
# # Assignment 5: sparse codes, and an attack that seems to fail
#
# The chapter turns one dial, the penalty, on atoms of length one; it certifies codes and takes steps that are
# safe. Here one atom is longer than the others, a second penalty comes in, and steps get too long. In the end you
# break a network that withstands PGD.
#
# **You will be able to** follow a code along its penalty by hand; certify a code of the elastic net; prove
# stability for codes that must not be negative; say how long a step may be, and how fast the last error
# dies; and tell a robust network from one whose gradients hide.
#
# **Time**: 90 minutes. **You need** the chapter *Sparse features*. As there, atoms are the columns of $A$, and the
# code of $x$ minimises $F(z) = \frac12 \|x - A z\|^2 + \lambda \|z\|_1$.
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 20 points are given by tests and 12
# by a person who reads what you write. You may answer with tensors, NumPy arrays or lists of numbers.

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

import torch
from torch import nn

from lecturelib import coursework
from lecturelib.coursework.assignments import hw5
from lecturelib.datasets import load
from lecturelib.sparse_features import fista, pgd_attack

# %% [markdown]
# Write your own address below: your atoms, your problem and your network depend on it.

# %%
mine = coursework.begin("hw5", student="your.name@example.org")

# %% [markdown] question="hw5-q1"
# ## 1. A long atom (5 points)
#
# *By pen.* All atoms of the chapter have length one. Of your three atoms in the plane one is longer: it says as
# much with a smaller coefficient, so it is cheaper. They are printed below, with an input $x$.
#
# Turn $\lambda$ down from large values to zero. At first the code is zero; then it moves along straight pieces.
# Find all corners of this path. Give `corners`, a list of rows $[\lambda, z_1, z_2, z_3]$ with falling $\lambda$:
# the first row is where the code ceases to be zero, the last one is the limit $\lambda \to 0$, and
# between them stands one row for each $\lambda$ at which the code changes direction. Three decimals are enough, and
# fractions such as `5 / 3` are welcome.
#
# *Hint.* On every piece, write down the residual, and ask of each atom whether it obeys its condition for a
# little longer. There are two kinds of conditions.

# %%
atoms, x = hw5.three_atoms(mine)
for number in range(3):
    print(f"a_{number + 1} =", tuple(atoms[:, number].tolist()))
print("x   =", tuple(x.tolist()))

# %% question="hw5-q1"
# BEGIN SOLUTION
# STUB corners = ...
# Turn atoms around so that all products with x are positive; turn their coefficients back at the end.
signs = (atoms.T @ x).sign()
turned = signs * atoms
long = max(range(3), key=lambda j: float(atoms[:, j].norm()))
first, last = sorted(set(range(3)) - {long}, key=lambda j: -float(turned[:, j] @ x))
p, q = float(turned[:, long] @ turned[:, first]), -float(turned[:, long] @ turned[:, last])
u, v = float(turned[:, first] @ x), float(turned[:, last] @ x)
square = p * p + q * q
# The long atom has the largest product with x, though not the smallest angle: it goes alone, until
# the product of the first unit atom with the residual, u - p (start - λ) / square, reaches λ.
start = p * u - q * v
joins = (square * u - p * start) / (square - p)
# Now both products are λ, so the residual is λ (1, (p - 1) / q), and what is left for the long atom
# is (λ (p - 1) / q - v) / q: it falls, and comes back to zero.
leaves = q * v / (p - 1)
# From there on there are two orthonormal atoms; the last one joins at λ = v.
rows = [
    (start, {}),
    (joins, {long: (start - joins) / square}),
    (leaves, {first: u - leaves}),
    (v, {first: u - v}),
    (0, {first: u, last: v}),
]
corners = [
    [penalty, *(float(signs[j]) * code.get(j, 0) for j in range(3))] for penalty, code in rows
]
print(corners)
# END SOLUTION

# %%
coursework.check("hw5-q1", corners)

# %% [markdown] question="hw5-q2"
# ## 2. A gap for the elastic net (5 points)
#
# Where two atoms are nearly alike, a code takes one and drops the other, and a little noise swaps them. The
# *elastic net* adds a second penalty that prefers to use both:
#
# $$ F_\rho(z) = \tfrac12 \|x - A z\|^2 + \lambda \|z\|_1 + \tfrac\rho2 \|z\|^2 , \qquad \rho > 0 . $$
#
# How close is a code to the minimum? Take any vector $\theta$, and write for any code $z'$
#
# $$
# F_\rho(z') = \Big[ \tfrac12 \|x - A z'\|^2 + \theta^\top A z' \Big]
#   + \Big[ \lambda \|z'\|_1 + \tfrac\rho2 \|z'\|^2 - \theta^\top A z' \Big] .
# $$
#
# Bound each bracket from below by its minimum: the first over all vectors in place of $A z'$, the second
# over all $z'$. Now *no* condition on $\theta$ is needed. Put $\theta = x - A z$ for the code $z$ that you have, and
# write a function that returns $F_\rho(z)$ minus the bound.


# %% question="hw5-q2"
def elastic_gap(dictionary, inputs, codes, penalty, ridge):
    """Return how far a code is from the minimum of the elastic net at most, one number.

    `dictionary` (m, n), `inputs` (m,) and `codes` (n,) are A, x and z, float64 tensors; `penalty`
    and `ridge` are λ and ρ, positive numbers.
    """
    # BEGIN SOLUTION
    seen = dictionary.T @ (inputs - dictionary @ codes)
    # The first minimum is at Az' = x - θ = Az, so of the first bracket nothing is lost. In the second
    # the entries do not see each other: z' is the soft threshold of Aᵀθ, divided by the ridge.
    own = penalty * codes.abs() + ridge / 2 * codes.square() - seen * codes
    lowest = -(seen.abs() - penalty).relu().square() / (2 * ridge)
    return float((own - lowest).sum())
    # END SOLUTION


# %%
coursework.check("hw5-q2", elastic_gap)

# %% [markdown] question="hw5-q3"
# ## 3. Stability without signs (6 points, read by a person)
#
# The layer of the chapter has codes $z \ge 0$. Its stability theorem is about codes of any sign. Let
# $x = A z^\circ + e$ with atoms of length one and coherence $\mu$, $z^\circ \ge 0$ with the $s$ non-zeros $S$,
# $s < \frac13 (1 + \frac1\mu)$, and let $z$ be the code of $x$ among all $z \ge 0$. Write
# $\kappa = 1 / (1 + \mu - \mu s)$; you may use $\kappa < \frac32$ and $\kappa \mu s < \frac12$ from the chapter.
#
# 1. Write down the conditions of optimality for $z \ge 0$. Which sentence of the chapter's proof do they no longer
#    give? *(1 point)*
# 2. Let $z$ be the minimiser among codes $z \ge 0$ that are zero outside of $S$. Show that still
#    $|z_j - z^\circ_j| \le \kappa (\lambda + \|e\|)$ for all $j$. *(3 points)*
#    *Hint.* Look at the entry that is off by most, and treat $z_j > 0$ and $z_j = 0$ apart.
# 3. Show that no other atom wants to join if $\lambda \ge 3 \|e\|$ and $\lambda > 0$. Why is one side of a condition
#    enough here, and where has the chapter's $2 \|e\|$ become $3 \|e\|$? *(2 points)*

# %% [markdown] answer="hw5-q3"
# **1.** With $r = x - A z$: $a_j^\top r \le \lambda$ for all $j$, and $a_j^\top r = \lambda$ where $z_j > 0$. (At
# zero a code may only go up.) So "$A_S^\top r = \lambda g$ with entries of $g$ of size at most one" is lost: where
# $z_j = 0$ we only know $g_j \le 1$.
#
# **2.** Let $d = z^\circ - z$, zero outside of $S$, so $r = A_S d_S + e$. Let $i \in S$ be the entry with the largest
# $|d_i| = D$; suppose $D > 0$. As atoms have length one,
# $d_i = a_i^\top r - a_i^\top e - \sum_{j \ne i} a_i^\top a_j\, d_j$, where the last sum has at most $s - 1$ terms, of size
# at most $\mu D$. If $z_i > 0$, then $a_i^\top r = \lambda$, and $D = |d_i| \le \lambda + \|e\| + \mu (s - 1) D$. If
# $z_i = 0$, then $d_i = z^\circ_i \ge 0$, so $D = d_i$, and $a_i^\top r \le \lambda$ is enough for the same bound. Solved
# for $D$: $D \le \kappa (\lambda + \|e\|)$.
#
# **3.** For $j$ outside of $S$ codes can only go up, so $a_j^\top r \le \lambda$ is all that is asked; how
# negative it is does not matter. With part 2
# $a_j^\top r = \sum_{i \in S} a_j^\top a_i\, d_i + a_j^\top e \le \mu s D + \|e\|
# \le \kappa \mu s (\lambda + \|e\|) + \|e\| < \frac12 \lambda + \frac32 \|e\| \le \lambda$ (strict, as
# $\lambda + \|e\| > 0$). So the candidate satisfies all conditions, which are sufficient as $F$ is convex. The chapter
# had the noise without its projection onto the atoms of $S$, which costs $\|e\|$ once; this needs
# $A_S^\top r = \lambda g$ exactly. Here the noise also enters through $d$, with $\frac12 \|e\|$ more.

# %% [markdown] rubric="hw5-q3"
# - 1 point: both conditions, and that $|g_j| \le 1$ is lost where $z_j = 0$.
# - 1: $d_i$ from $a_i^\top r$, with $r = A_S d_S + e$ and the coherence for the other terms.
# - 1: the case $z_i > 0$, both signs of $d_i$.
# - 1: the case $z_i = 0$: $d_i = z^\circ_i \ge 0$, so the upper bound is enough. Without this reason: 0.
# - 1: $a_j^\top r < \lambda$ with all three terms, and why one side is enough.
# - 1: where the factor comes from: the noise counts in $d$ as well. (Uniqueness is not asked for.)

# %% [markdown] question="hw5-q4"
# ## 4. How long may a step be? (5 points)
#
# With the step $1 / L$, $L = \|A\|^2$, ISTA never goes up. Who estimates $L$ too low takes longer steps,
#
# $$ z \leftarrow S_{t \lambda} \big( z + t A^\top (x - A z) \big) . $$
#
# The code of $x$ stays where it is for every $t > 0$. But does a *small* error of the code die out? For your
# problem, give a dict with
#
# - `longest`: the number $t^*$ such that for every $t < t^*$ all errors that are small enough die out, and for
#   every $t > t^*$ nearly none does, however small,
# - `rate`: for the step $t = 1 / L$, the factor by which a small error shrinks with every step in the long run, for
#   nearly all errors.
#
# Your problem is such that no atom is on the brink: all conditions that are inequalities hold with room to spare.
#
# *Hint.* Which entries of the code take part in a small error? What does the threshold do to them?

# %% question="hw5-q4"
dictionary, inputs, penalty = hw5.coding_problem(mine)
# BEGIN SOLUTION
# STUB steps = {"longest": ..., "rate": ...}
used = fista(dictionary, inputs, penalty).codes != 0
# Unused atoms are below the threshold and stay there. On the used ones the threshold only shifts, so
# an error is multiplied by 1 - t G, with the products G of the used atoms alone.
values = torch.linalg.eigvalsh(dictionary[:, used].T @ dictionary[:, used])
whole = torch.linalg.matrix_norm(dictionary, 2).square()
steps = {"longest": float(2 / values.max()), "rate": float(1 - values.min() / whole)}
print(steps)
# END SOLUTION

# %%
coursework.check("hw5-q4", steps)

# %% [markdown] question="hw5-q5"
# ## 5. An attack that seems to fail (5 points)
#
# `network` has 200 units that are on or off: unit $j$ is one if $w_j^\top x > \tau_j$ and zero otherwise. Its
# logits are a linear function of what is on. It gets your 24 `images` of digits right. Now the pixels may
# change, by at most 0.15 each, and must stay between 0 and 1. The next cell attacks it.

# %%
network, images, labels = hw5.network(mine)


def still_right(model, changed):
    """How many of the changed images a model gets right."""
    return int((model(changed).argmax(1) == labels).sum())


for count, loss in ((20, "cross-entropy"), (100, "margin")):
    found = pgd_attack(network, images, labels, hw5.RADIUS, steps=count, loss=loss)
    print(f"right after {count} steps on the {loss}: {still_right(network, found)} of 24")

# %% [markdown] question="hw5-q5"
# Show that this network is not robust. Give `changes`, of the shape $(24, 64)$ of the images, such that
# `network(images + changes)` gets at least 18 images wrong; 12 earn 3 of the points. You may use all that
# the network has: `network.weights` (200, 64), `network.thresholds` (200,), `network.readout` (200, 10).

# %% question="hw5-q5"
# BEGIN SOLUTION
# STUB changes = ...


class Smooth(nn.Module):
    """The same network with a slope in place of every jump."""

    def forward(self, points):
        """Return its logits."""
        above = points @ network.weights.T - network.thresholds
        return torch.sigmoid(16 * above) @ network.readout


start = torch.Generator().manual_seed(0)
settings = {"steps": 40, "loss": "margin", "generator": start}
changes = pgd_attack(Smooth(), images, labels, hw5.RADIUS, **settings) - images
print(still_right(network, images + changes), "of 24 are still right")
# END SOLUTION

# %%
coursework.check("hw5-q5", changes)

# %% [markdown] question="hw5-q6"
# ## 6. What the table shows (6 points, read by a person)
#
# The next cell fills the chapter's table for your network and for a plain linear classifier, which was fitted to
# the pixels and knows nothing of the network: images right out of 24, clean, after the worst of 20 random changes, after
# 20 steps of PGD, after 100 more on the margin, and with the changes made for the other one. Pixels may
# change by 0.25 here, so that the columns differ clearly.

# %%
train = load("digits", "train")
pixels, wanted = train.inputs.double().flatten(1), nn.functional.one_hot(train.labels, 10).double()
linear = nn.Linear(64, 10, bias=False).double()
ridge = torch.eye(64, dtype=torch.float64)
linear.weight.data = torch.linalg.solve(pixels.T @ pixels + ridge, pixels.T @ wanted).T.contiguous()
seeds = torch.Generator().manual_seed(1)
options = {"radius": 0.25, "generator": seeds}
rows = {}
for name, model in {"network": network, "linear": linear}.items():
    noise = pgd_attack(model, images, labels, steps=0, starts=20, **options)
    twenty = pgd_attack(model, images, labels, steps=20, **options)
    late = pgd_attack(model, images, labels, steps=100, loss="margin", **options)
    more = torch.where((model(twenty).argmax(1) == labels)[:, None], late, twenty)
    rows[name] = [images, noise, twenty, more]
print(f"{'':8}  clean  noise  20 steps  more  transfer")
for name, other, model in (("network", "linear", network), ("linear", "network", linear)):
    counts = [still_right(model, found) for found in [*rows[name], rows[other][2]]]
    print(f"{name:8}  {counts[0]:5}  {counts[1]:5}  {counts[2]:8}  {counts[3]:4}  {counts[4]:8}")

# %% [markdown] question="hw5-q6"
# 1. "After 100 steps on the margin the network gets as many images right as after 20. The margin is a loss that
#    never goes flat, so no gradients are hidden here." What is wrong with this? Which of the other columns give
#    the network away, *before* anybody has solved question 5, and by what? *(2 points)*
# 2. Suppose that your attack in question 5 had failed for all images. Would the network be robust then? Describe
#    a computation that could prove, for one image, that no allowed change makes the network wrong. (It need
#    not succeed for this network.) *(2 points)*
# 3. The chapter's layer has thresholds, too, and the chapter says that nothing speaks for hidden gradients there.
#    What is the difference between $\operatorname{ReLU}(v - \lambda)$ and the units here? And what would you
#    expect to see in the columns for that layer with a penalty above the critical one? *(2 points)*

# %% [markdown] answer="hw5-q6"
# **1.** The margin does not go flat as a function of the *logits*. But between the pixels and the logits stand the
# jumps, whose slope is zero wherever there is one: every gradient is zero, of this loss or of another, and PGD stays
# where it began, however many steps it takes. Two columns tell. PGD finds no more than noise does, or even less, as it
# begins once and noise is drawn twenty times; an attack that sees something finds much more, as for the
# linear classifier. And the changes made for the linear classifier do more harm than those made for the network
# itself: its own gradients say less about it than another model's.
#
# **2.** No. A failed attack shows that this attack fails; only success is a proof. A proof for one image: over
# all allowed changes, $w_j^\top x$ moves by at most $0.15 \, \|w_j\|_1$ (less at pixels near 0 and 1). Units whose
# distance from the threshold is larger cannot switch. Let all the others switch as badly as they
# can, each by itself: for every other class, this bounds from below how far the logit of the right class stays
# ahead. If all these bounds are positive, no change makes the network wrong. (Or search exactly, by a mixed
# integer program over the units that can switch.)
#
# **3.** The ReLU has a kink and no jump: above the threshold its slope is one, so the gradient says how to change
# a unit that is on. Units that are off hide theirs, but some are on for nearly every image. Above the critical
# penalty all units are off, for the image and for what is near it: the gradients are zero, noise and PGD agree, and
# the network says the same of all images. But then it says so on clean ones as well: the first column falls to
# chance.

# %% [markdown] rubric="hw5-q6"
# - 1 point: jumps between pixels and logits: the slope is zero before any loss is reached.
# - 1: attack no better than noise (½); transfer does more harm than its own (½).
# - 1: a failed attack proves nothing, an attack that succeeds does.
# - 1: a bound over *all* allowed changes, by intervals, a mixed integer program, or all patterns of switches.
#   "More steps", "more starts", "other attacks": 0.
# - 1: a kink against a jump; slope one where a unit is on.
# - 1: all off, gradients zero, noise and attack agree (½), and clean accuracy is at chance (½).

# %% [markdown]
# ## Hand in
#
# Run all cells once more from the top (in Colab: *Runtime ▸ Restart session and run all*), and save.

# %%
coursework.progress()

# %%
coursework.submit()
