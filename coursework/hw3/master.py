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
# # Assignment 3: matrix completion and low-rank training
#
# A matrix of low rank is determined by few numbers. When do the entries that you see determine it? How do
# you know that a completed matrix is the one you asked for? And if you may train only a thin update of a
# network, where does training take it, and where are its few directions best spent?
#
# **You will be able to** decide for a given pattern of entries whether it determines a matrix of rank $r$,
# and mend one that does not; bound how far an estimate is from a minimum that you don't know; find the
# end of gradient flow from what it conserves; and spend a budget of parameters on the layers that need it.
#
# **Time**: 90 minutes. **You need** the chapters *Deep matrix completion* and *Low-rank training*.
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 24 points are given by tests and
# 12 by a person who reads your derivations. Matrices are float64 tensors; you may answer with tensors or
# NumPy arrays.

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

import matplotlib.pyplot as plt
import torch
from scipy.integrate import solve_ivp

from lecturelib import coursework
from lecturelib.coursework.assignments import hw3

# %% [markdown]
# Write your own address below: your data depend on it.

# %%
mine = coursework.begin("hw3", student="your.name@example.org")

# %% [markdown] question="hw3-q1"
# ## 1. What the entries leave loose (5 points)
#
# You see some entries of a matrix $A B^\top$ of rank $r$, with $A$ $(d_1, r)$ and $B$ $(d_2, r)$. Counting
# says how many entries are needed at least. It does not say whether *these* entries are enough. So look
# closer: move the matrix a little, in all ways that keep its rank. Which moves would you not notice?
#
# To first order, changes $\dot A$ and $\dot B$ move the matrix by $\dot A B^\top + A \dot B^\top$. These
# moves form a space of dimension $r (d_1 + d_2 - r)$. Call a move *loose* if it is zero at all observed
# entries. Write a function that returns the dimension of the space of loose moves, an integer.
#
# `left` is $A$ and `right` is $B$, both with independent columns. The observed places are
# `(rows[i], cols[i])`, for $i = 0, \dots, M - 1$; `rows` and `cols` are int64 tensors (M,), and a place may
# occur more than once.
#
# *Hint.* The observed entries of a move are linear in the $r (d_1 + d_2)$ numbers in $\dot A$ and $\dot B$.
# Some changes of $A$ and $B$ do not move the matrix at all.


# %% question="hw3-q1"
def loose_directions(left, right, rows, cols):
    """Return how many independent moves of left @ right.T, of the same rank, no observed entry shows."""
    # BEGIN SOLUTION
    left, right = torch.as_tensor(left).double(), torch.as_tensor(right).double()
    rank = left.shape[1]
    equations = torch.zeros(len(rows), len(left) + len(right), rank, dtype=torch.float64)
    each = torch.arange(len(rows))
    equations[each, rows] = right[cols]
    equations[each, len(left) + cols] = left[rows]
    free = rank * (len(left) + len(right) - rank)
    return free - int(torch.linalg.matrix_rank(equations.flatten(1)))
    # END SOLUTION


# %%
coursework.check("hw3-q1", loose_directions)

# %% [markdown] question="hw3-q2"
# ## 2. The entries that are missing (4 points)
#
# Here is your pattern, for a matrix of rank 3. It has more entries than the count asks for, and no row or
# column is thin. All the same, some moves are loose.
#
# For nearly all matrices of rank 3 the number of loose moves is the same, and depends on the pattern only.
# So you can find it with factors that you draw.
#
# Choose further entries, as few as possible, with which nothing is loose. Give them as a list of pairs
# `(row, column)`, counted from 0.

# %%
task = hw3.pattern(mine)
observed = torch.zeros(task.shape)
observed[task.rows, task.cols] = 1
fig, ax = plt.subplots(figsize=(4, 4))
ax.imshow(observed, cmap="Greys", vmax=1.5)
ax.set(xlabel="column", ylabel="row", title=f"{len(task.rows)} entries of {observed.numel()}")
plt.show()

# %% question="hw3-q2"
# BEGIN SOLUTION
# STUB more = ...
generator = torch.Generator().manual_seed(0)
left, right = (
    torch.randn(size, task.rank, generator=generator, dtype=torch.float64) for size in task.shape
)
rows, cols, more = task.rows, task.cols, []
loose = loose_directions(left, right, rows, cols)
for i, j in (observed == 0).nonzero():
    with_it = torch.cat([rows, i[None]]), torch.cat([cols, j[None]])
    left_loose = loose_directions(left, right, *with_it)
    if left_loose < loose:  # this entry shows a move that no other did
        (rows, cols), loose = with_it, left_loose
        more.append((int(i), int(j)))
print(more)
# END SOLUTION

# %%
coursework.check("hw3-q2", more)

# %% [markdown] question="hw3-q3"
# ## 3. Two blocks (6 points, read by a person)
#
# Sort the rows and columns of a matrix such that all entries of two blocks are seen and no others: rows
# $R_1$ with columns $C_1$, and rows $R_2$ with columns $C_2$. The sets $C_1$ and $C_2$ have no column in
# common and are all columns together; $R_1$ and $R_2$ have $o \le r$ rows in common and are all rows
# together. Each block has rank $r$, and so has the matrix. Assume that the matrix is *generic*: rows of a
# factor are linearly independent whenever there are no more than $r$ of them.
#
# 1. Show that the matrices of rank $r$ with these entries form a family with $r (r - o)$ free parameters.
#    *(4 points)* *Hint.* A block determines its factors up to one invertible matrix.
# 2. A friend says: "The blocks together have many more entries than the matrix has degrees of
#    freedom. So they determine it." In one or two sentences: what does your result say? And where would you
#    look for one more entry, if you may have one? *(2 points)*

# %% [markdown] answer="hw3-q3"
# **1.** The first block is $A_1 B_1^\top$, and we choose such factors once and for all. In every matrix of rank
# $r$ with this block, its factors can be chosen such that they continue these: rows $R_1$ of the left
# factor are $A_1$, rows $C_1$ of the right one are $B_1$. Nothing else can then be chosen.
#
# The second block is $A_2 B_2^\top$ with some fixed factors. It has rank $r$, so in a matrix that contains it
# rows $R_2$ of the left factor are $A_2 G$ and rows $C_2$ of the right one are $B_2 G^{-\top}$, for an
# invertible $r \times r$ matrix $G$. The only further condition is that both agree about the common rows
# $S = R_1 \cap R_2$:
#
# $$ (A_1)_S = (A_2)_S \, G . $$
#
# These are $o r$ linear equations for the $r^2$ entries of $G$. The matrix $(A_2)_S$ has $o \le r$
# independent rows, so the equations are independent and solvable: the solutions are an affine space of
# dimension $r^2 - o r = r (r - o)$. The given matrix belongs to an invertible one, and those near it are
# invertible too. Different $G$ give different matrices: the unseen block with rows $R_1$ and columns $C_2$
# is $A_1 G^{-1} B_2^\top$, where $A_1$ and $B_2$ have independent columns.
#
# **2.** More entries within the blocks change nothing: how many there are does not enter, only how much the
# blocks share. As long as $o < r$ the matrix is not determined. One more entry helps only outside both
# blocks, with a row of one and a column of the other: it is one equation for $G$.

# %% [markdown] rubric="hw3-q3"
# - 1 point: the factors of one block are fixed, once and for all (or: it is said what is divided out).
# - 1: the second block leaves one invertible matrix free.
# - 1: the equations at the common rows, and that they are independent because $o \le r$.
# - 1: different solutions are different matrices (name an entry or a block in which they differ).
# - 1: the number of entries within the blocks does not matter.
# - 1: the entry lies outside of both blocks, with a reason.
# - A count of unknowns and equations alone, without independence: at most 2 of the first 4.

# %% [markdown] question="hw3-q4"
# ## 4. How far from the minimum? (5 points)
#
# Soft-impute completes a matrix by going downhill on
#
# $$ F(Z) = \tfrac12 \sum_{(i,j) \in \Omega} (Z_{ij} - \Phi_{ij})^2 + \lambda \|Z\|_* . $$
#
# You stop it somewhere. How much lower could $F$ still get? You don't know the minimum, and yet you can
# bound it. Let $Y$ be any matrix that is zero outside of $\Omega$ and whose largest singular value is at most
# $\lambda$. Then for every $Z$
#
# $$ F(Z) \ge \langle Y, \Phi \rangle - \tfrac12 \|Y\|_F^2 . $$
#
# (Convince yourself: $\lambda \|Z\|_* \ge \langle Y, Z \rangle$, and half a square is never below its
# tangent.) Write a function that returns the *gap* between $F$ at the estimate and such a bound. Take
# $Y = t R$, where $R$ is the residual $\Phi - Z$ of the estimate on $\Omega$ and zero elsewhere, and $t$ is the
# largest number, at most one, for which $Y$ is allowed.
#
# `estimate` is $Z$ $(d_1, d_2)$, `rows`, `cols` and `values` (M,) are the observed entries of $\Phi$, each
# place once, `penalty` is $\lambda > 0$. At the minimum the gap is zero.


# %% question="hw3-q4"
def gap(estimate, rows, cols, values, penalty):
    """Return F(estimate) minus the lower bound that its scaled residual gives: one number."""
    # BEGIN SOLUTION
    estimate, values = torch.as_tensor(estimate).double(), torch.as_tensor(values).double()
    residual = values - estimate[rows, cols]
    matrix = torch.zeros_like(estimate)
    matrix[rows, cols] = residual
    largest = torch.linalg.matrix_norm(matrix, 2)
    dual = residual if largest <= penalty else residual * penalty / largest
    nuclear = torch.linalg.matrix_norm(estimate, "nuc")
    objective = residual.square().sum() / 2 + penalty * nuclear
    return objective - (dual @ values - dual.square().sum() / 2)
    # END SOLUTION


# %%
coursework.check("hw3-q4", gap)

# %% [markdown] question="hw3-q5"
# ## 5. Where an adapter ends (5 points)
#
# A layer has frozen weights $W_0$. It should become $W$, and $W - W_0$ has rank one. You train an adapter of
# rank one,
#
# $$ W_0 + s \, b a^\top , \qquad f(a, b) = \tfrac12 \big\| W_0 + s \, b a^\top - W \big\|_F^2 , $$
#
# by gradient flow $\dot a = -\nabla_a f$, $\dot b = -\nabla_b f$, from a given $a(0)$ and $b(0) = 0$, until
# the loss is zero. Many pairs $a$, $b$ have zero loss. Where does *this* flow end?
#
# `layer.weights` is $W_0$ and `layer.wanted` is $W$, both $(d_{out}, d_{in})$; `layer.start` is $a(0)$
# $(d_{in})$; `layer.scale` is $s$. Give the end of the flow as `adapted = {"a": ..., "b": ...}`, each
# entry to a thousandth of the vector's length.
#
# *Hint.* What does the flow keep? (You may also follow it in small steps. Whether they were small enough
# you see best from what it keeps.)

# %%
layer = hw3.adapter(mine)
layer.weights.shape, layer.start.norm(), layer.scale

# %% question="hw3-q5"
# BEGIN SOLUTION
# STUB adapted = {"a": ..., "b": ...}
# Along the flow |a|^2 - |b|^2 does not change, and at the end b a^T is known.
left, sizes, right = torch.linalg.svd(layer.wanted - layer.weights)
u, v, size = left[:, 0], right[0], sizes[0] / layer.scale
kept = layer.start @ layer.start
length = ((kept + (kept**2 + 4 * size**2).sqrt()) / 2).sqrt()
sign = torch.sign(layer.start @ v)  # of the two ends, the one on the side of the start
adapted = {"a": sign * length * v, "b": sign * size / length * u}
print(adapted)
# END SOLUTION

# %%
coursework.check("hw3-q5", adapted)

# %% [markdown] question="hw3-q6"
# ## 6. A long start (6 points, read by a person)
#
# Start the same adapter from ten times your `layer.start`, with $b(0) = 0$ as before. Write $\sigma$ for the
# singular value of $W - W_0$, $v$ for its right singular vector, with the sign for which $v^\top a(0) > 0$,
# and $\theta < 90°$ for the angle between $a$ and $v$.
#
# 1. Follow the flow and plot the loss against time, both on logarithmic axes. The loss falls fast, then
#    hardly at all, and only much later to zero. (Small steps of equal size would take long.
#    `solve_ivp` with `method="LSODA"` chooses its steps itself.) *(1 point)*
# 2. At which height is the plateau, in terms of $\sigma$ and $\theta$? Why? *(2 points)*
# 3. How does the time on the plateau grow with the length of the start? A scaling with its reason is
#    enough. *(2 points)*
# 4. An adapter with a long start is said to be "a linear model in disguise". What does your plot say for
#    and against that? *(1 point)*
#
# Use the cell below for your plot, and the next one for your answers.

# %% question="hw3-q6"
# BEGIN SOLUTION
# STUB ...
update, scale, long = layer.wanted - layer.weights, layer.scale, 10 * layer.start


def flow(time, state):
    a, b = torch.from_numpy(state).split([len(long), len(update)])
    error = scale * (update - scale * torch.outer(b, a))
    return torch.cat([error.T @ b, error @ a]).numpy()


times = torch.logspace(-4, 3.5, 200).double()
start = torch.cat([long, torch.zeros(len(update))])
options = {"method": "LSODA", "rtol": 1e-8, "atol": 1e-10}
run = solve_ivp(flow, (0, times[-1]), start, t_eval=times, **options)
ends_of = torch.from_numpy(run.y.T).split([len(long), len(update)], 1)
losses = [
    (update - scale * torch.outer(b, a)).square().sum() / 2 for a, b in zip(*ends_of, strict=True)
]
sine_squared = 1 - (layer.start @ v / layer.start.norm()) ** 2
fig, ax = plt.subplots(figsize=(6, 3))
ax.loglog(times, losses)
ax.axhline(float(sizes[0] ** 2 * sine_squared / 2), color="0.5", linestyle="--")
ax.set(xlabel="time", ylabel="loss", ylim=(1e-6, None))
plt.show()
# END SOLUTION

# %% [markdown] answer="hw3-q6"
# **2.** At first $b$ alone moves: $\dot b = s \, (W - W_0 - s\, b a^\top)\, a$ is large because $a$ is long, with
# the rate $s^2 \|a\|^2$, while $\dot a$ is proportional to $b$, which is short. So $b$ solves a linear
# least-squares problem with $a$ fixed: the best multiple of $a^\top$ for every row. What is left of
# $\sigma u v^\top$ is the part of $v$ orthogonal to $a$, of length $\sigma \sin \theta$. The plateau is at
# $\frac12 \sigma^2 \sin^2 \theta$.
#
# **3.** On the plateau $s b = \sigma \frac{\cos \theta}{\|a\|} u$. The part of $a$ that is orthogonal to $v$ must
# vanish, and does so at the rate $s^2 \|b\|^2 = \sigma^2 \cos^2 \theta / \|a\|^2$. The time thus grows with
# the *square* of the start's length, as $\|a\|^2 / \sigma^2$, whatever $s$ is. (Exactly: $\|a\|$ hardly
# changes, and $\tan \theta$ falls as $e^{-\sigma^2 t / \|a\|^2}$.) Relative to the first phase, of duration
# $1 / (s^2 \|a\|^2)$, it is the fourth power.
#
# **4.** For: during the first phase and on the plateau $a$ stands still and the adapter is the linear model
# $x \mapsto W_0 x + s\, b \, (a^\top x)$ in $b$. Against: it is not stuck. In the end $a$ must point along $v$,
# as the loss goes to zero: it turns, however long it is. A linear model would stay on the plateau.

# %% [markdown] rubric="hw3-q6"
# - 1 point: a plot with both phases visible (logarithmic time), and steps that are fine enough.
# - 2: the height, $\frac12 \sigma^2 \sin^2 \theta$ (1), because $b$ solves least squares at a fixed $a$ (1).
# - 2: time proportional to $\|a\|^2$ (1), from the size of $b$ on the plateau (1). An exponent read off a
#   plot of several lengths, without a reason: 1.
# - 1: $a$ is fixed on the plateau and turns later; a linear model would not reach zero.

# %% [markdown] question="hw3-q7"
# ## 7. Ranks for a budget (5 points)
#
# Full fine-tuning has changed each layer of a network by a matrix `updates[l]`. You may store these changes
# with `budget` numbers in all. Which rank do you give to which layer?
#
# A layer of shape $(d_{out}, d_{in})$ that keeps the best approximation of rank $k$ stores
# $k (d_{out} + d_{in})$ numbers, or the whole matrix with its $d_{out} d_{in}$ numbers if that is no more.
# What it keeps is the sum of its $k$ largest *squared* singular values.
#
# Write a function that returns a list of ranks, one for each layer, that keeps the most in all and costs at
# most `budget`. Ranks are integers from 0 to $\min(d_{out}, d_{in})$; a layer stored whole has the largest.
# There are two or three layers with at most twelve rows or columns, so you can afford to be thorough.


# %% question="hw3-q7"
def best_ranks(updates, budget):
    """Return the list of ranks that keep the most of the updates (d_out, d_in) within the budget."""
    # BEGIN SOLUTION
    best = {0: (0.0, [])}  # for each cost so far, the most that it keeps, and with which ranks
    for update in updates:
        squares = torch.linalg.svdvals(torch.as_tensor(update)).square().tolist()
        longer = {}
        for cost, (held, ranks) in best.items():
            for rank in range(len(squares) + 1):
                price = cost + min(rank * sum(update.shape), update.shape[0] * update.shape[1])
                option = held + sum(squares[:rank]), [*ranks, rank]
                if price <= budget and option > longer.get(price, (-1.0,)):
                    longer[price] = option
        best = longer
    return max(best.values())[1]
    # END SOLUTION


# %%
coursework.check("hw3-q7", best_ranks)

# %%
coursework.progress()

# %%
coursework.submit()
