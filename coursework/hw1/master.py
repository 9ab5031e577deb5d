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
# # Assignment 1: neural collapse and unconstrained features
#
# The chapters treat classes of one size, with the labels that the network was trained on, and a
# classifier that learns. Here you take each of these away, and see what is left of neural collapse.
#
# **You will be able to** measure collapse where classes are unequally large; say what a measure of collapse
# cannot see; choose a penalty from what you want the model to reach; explain why learning nothing can be
# optimal; and mend a classifier that does not decide for the nearest class mean.
#
# **Time**: 90 minutes. **You need** the chapters *Neural collapse* and *Unconstrained features*.
#
# **You hand in** this notebook, run from top to bottom, by its last cell. 25 points are given by tests and 11
# by a person.

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

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import brentq

from lecturelib import coursework
from lecturelib.coursework.assignments import hw1

# %% [markdown]
# Write your own address below: it decides the data and the constants you get.

# %%
mine = coursework.begin("hw1", student="your.name@example.org")

# %% [markdown] question="hw1-q1"
# ## 1. Collapse of unequal classes (5 points)
#
# Real classes are rarely equally large. Let $h_i \in \mathbb R^d$, $i = 1, \dots, N$, be features with
# labels $y_i$; let $n_k$ be the number of samples of class $k$, $\bar h_k$ their mean, and $\bar h$ the
# mean of all $N$ samples. Count every sample once, in both scatters:
#
# $$
# \Sigma_W = \frac1N \sum_i (h_i - \bar h_{y_i})(h_i - \bar h_{y_i})^\top, \qquad
# \Sigma_B = \sum_k \frac{n_k}{N} (\bar h_k - \bar h)(\bar h_k - \bar h)^\top .
# $$
#
# Write a function that returns $\operatorname{tr}(\Sigma_W \Sigma_B^\dagger)$. The labels are any integers,
# not always $0, \dots, K - 1$. There may be more dimensions than classes or fewer, and $\Sigma_B$ may be
# singular: take every eigenvalue of it that is below $10^{-10}$ times the largest as zero.


# %% question="hw1-q1"
def weighted_nc1(features, labels):
    """Return tr(Σ_W Σ_B†) of features (N, d), float64, with labels (N,), int64, as one number."""
    # BEGIN SOLUTION
    mean = features.mean(0)
    dim = features.shape[1]
    within = torch.zeros(dim, dim, dtype=features.dtype)
    between = torch.zeros(dim, dim, dtype=features.dtype)
    for k in labels.unique():
        members = features[labels == k]
        centred = members - members.mean(0)
        offset = members.mean(0) - mean
        within += centred.T @ centred / len(features)
        between += len(members) / len(features) * torch.outer(offset, offset)
    return torch.trace(within @ torch.linalg.pinv(between, rtol=1e-10, hermitian=True))
    # END SOLUTION


# %%
coursework.check("hw1-q1", weighted_nc1)

# %% [markdown] question="hw1-q2"
# ## 2. Coarse labels (6 points, read by a person)
#
# A network was trained on $K$ classes until it collapsed completely: every feature of class $k$ is
# $a\,u_k$, and $u_1, \dots, u_K$ is a simplex ETF of unit vectors. All classes are equally large. Now
# somebody merges the classes into $G$ coarse ones, $2 \le G < K$ ("cat" and "dog" become "animal"), made of
# $g_1, \dots, g_G$ of the old classes, and measures collapse with the coarse labels, by the formulas of
# question 1.
#
# 1. Show that $\Sigma_W \Sigma_B = 0$, and conclude what your function returns.
# 2. Compute $\operatorname{tr} \Sigma_W / \operatorname{tr} \Sigma_B$. Which of $K$, $G$, $a$ and the sizes
#    of the groups does it depend on?
# 3. Somebody finds that the first number is zero and says: "the coarse classes have collapsed". What do you
#    answer, in two sentences?

# %% [markdown] answer="hw1-q2"
# **1.** The mean of all features is zero. Let $m_j = \frac{a}{g_j} \sum_{k \in j} u_k$ be the mean of group
# $j$. $\Sigma_W$ is a sum of terms with the vectors $a u_k - m_j$ for $k \in j$, and $\Sigma_B$ one with the
# vectors $m_i$. They are orthogonal: for a group $i \ne j$, $\langle u_k, m_i \rangle = -\frac{a}{K-1}$ for
# every $k \in j$, hence the same for their mean, and the difference is zero. For $i = j$,
# $\langle u_k, m_j \rangle = \frac{a}{g_j} \big( 1 - \frac{g_j - 1}{K - 1} \big)$ for every $k \in j$, again
# the same number as for their mean. So $\Sigma_W \Sigma_B = 0$. The pseudo-inverse has the range of
# $\Sigma_B$, so $\Sigma_W \Sigma_B^\dagger = 0$, and the function returns 0.
#
# **2.** With $\|m_j\|^2 = \frac{a^2}{g_j} \big( 1 - \frac{g_j - 1}{K - 1} \big)
# = a^2 \frac{K - g_j}{g_j (K - 1)}$ we get
# $\operatorname{tr} \Sigma_B = \sum_j \frac{g_j}{K} \|m_j\|^2 = a^2 \frac{GK - K}{K (K - 1)}
# = a^2 \frac{G - 1}{K - 1}$. Both traces sum to $a^2$, so
# $\operatorname{tr} \Sigma_W = a^2 \frac{K - G}{K - 1}$ and the ratio is $\frac{K - G}{G - 1}$. The sizes of
# the groups and $a$ do not matter.
#
# **3.** NC1 compares the scatters only in those directions in which the means of the coarse classes differ,
# and there the differences within a coarse class are invisible. Each coarse class is still $g_j$ separate
# points, as the ratio of the traces shows: with ten classes merged into two, $\operatorname{tr} \Sigma_W$ is
# eight times $\operatorname{tr} \Sigma_B$.

# %% [markdown] rubric="hw1-q2"
# - **Orthogonality** (3 points): the two kinds of vectors are named (1); inner products for another group (1)
#   and for the own group (1). A calculation for equal groups only: 2 of the 3.
# - **Ratio** (2): $(K - G)/(G - 1)$ (1), with a derivation (1). That it depends neither on $a$ nor on the
#   sizes belongs to it.
# - **Answer** (1): NC1 looks only along the differences of means; each coarse class is still several points.

# %% [markdown] question="hw1-q3"
# ## 3. Cosines of coarse classes (4 points)
#
# In the setting of question 2, what has become of the angles? Write a function that takes the list
# `sizes` $= [g_1, \dots, g_G]$ of integers (at least two of them, each at least one), with
# $K = g_1 + \dots + g_G$, and returns the matrix of cosines between the means of the coarse classes. The
# mean of all features is zero, so nothing has to be centred.
#
# Before you write, guess: is it again a simplex ETF?


# %% question="hw1-q3"
def coarse_cosines(sizes):
    """Return the cosines, shape (G, G), between the means of groups of an ETF's vectors."""
    # BEGIN SOLUTION
    sizes = torch.tensor(sizes, dtype=torch.float64)
    odds = (sizes / (sizes.sum() - sizes)).sqrt()
    cosines = -torch.outer(odds, odds)
    cosines.fill_diagonal_(1.0)
    return cosines
    # END SOLUTION


# %%
coursework.check("hw1-q3", coarse_cosines)

# %% [markdown] question="hw1-q4"
# ## 4. A penalty for a given confidence (6 points)
#
# You want the unconstrained features model of the chapter (cross-entropy, $\frac\lambda2 \|\cdot\|^2$, a free
# bias without penalty, $d \ge K$) to be *calibrated by design*: at its global minimum, softmax should give every
# sample's own class the probability $p$, not more. `hw1.model(mine)` holds your `num_classes` $K$,
# `samples_per_class` $n$, `decay_w` $\lambda_W$ and `confidence` $p$. You may choose
# $\lambda_H$. Give a dict with
#
# - `decay_h`: the $\lambda_H$ that does it,
# - `objective`: the value of the whole objective (loss and penalties) at the minimum,
# - `norm_w`: $\|W\|_F$ at the minimum.
#
# Two of the three have short formulas in $p$; find them on paper first. Seven digits are asked for.

# %% question="hw1-q4"
task = hw1.model(mine)
# BEGIN SOLUTION
# STUB penalty = {"decay_h": ..., "objective": ..., "norm_w": ...}
# At the margin a of the theorem exp(-a) = c / (1 - (K - 1) c), so p = 1 / (1 + (K - 1) exp(-a))
# is 1 - (K - 1) c.
wrong_classes = task.num_classes - 1
c = (1 - task.confidence) / wrong_classes
decay_h = c**2 / (task.samples_per_class * task.decay_w)
margin = math.log(1 / c - wrong_classes)
penalty = {
    "decay_h": decay_h,
    "objective": -math.log(task.confidence) + c * wrong_classes * margin,
    # Both penalties are equal, so each is half of c (K - 1) a.
    "norm_w": math.sqrt(c * wrong_classes * margin / task.decay_w),
}
# END SOLUTION

# %%
coursework.check("hw1-q4", penalty)

# %% [markdown] question="hw1-q5"
# ## 5. A classifier that does not learn (5 points)
#
# If the last layer ends up as a simplex ETF anyway, why train it? Fix it: let the rows of
# $W \in \mathbb R^{K \times d}$ be a simplex ETF of vectors of length $s$, without a bias, and learn only the
# features. With $n$ samples in each class, $N = nK$,
#
# $$ \min_H \; \frac1N \sum_{k,i} \mathcal L_{\mathrm{CE}}(W h_{k,i}, k) + \frac{\lambda_H}{2} \|H\|_F^2 . $$
#
# Write a function that returns the margin at the minimum: by how much the score of the right class exceeds
# each of the others. (They are equal; why?) There is no closed form. Reduce the problem to one equation in
# one unknown, and solve it numerically (`brentq` from SciPy finds a root between two points at which a
# function has different signs). Six digits are asked for; $\lambda_H$ will lie between $10^{-5}$ and $10$.


# %% question="hw1-q5"
def fixed_margin(num_classes, samples_per_class, decay_h, length):
    """Return the margin a > 0 for K classes of n samples, λ_H > 0 and rows of length s > 0."""
    # BEGIN SOLUTION
    # By symmetry h = α w_k / s, with the scores s α and -s α / (K - 1): the margin is s α K / (K - 1).
    wrong_classes, number = num_classes - 1, num_classes * samples_per_class
    alpha_over_margin = wrong_classes / (length * num_classes)

    def slope(margin):
        """Derivative of one sample's part of the objective, times N, in the margin."""
        push = wrong_classes / (math.exp(margin) + wrong_classes)
        return number * decay_h * alpha_over_margin**2 * margin - push

    return brentq(slope, 0, 100, xtol=1e-13)
    # END SOLUTION


# %%
coursework.check("hw1-q5", fixed_margin)

# %% [markdown] question="hw1-q6"
# ## 6. Why one has a threshold (5 points, read by a person)
#
# The next cell compares your margin with that of the chapter's model, whose classifier learns. Once
# question 5 passes, it draws both against $\lambda_H$.

# %%
if coursework.done("hw1-q5"):
    decays = np.geomspace(1e-5, 10, 200)
    price = np.sqrt(20 * 0.01 * decays)
    learned = np.log(np.maximum(1 / price - 9, 1.0))
    fixed = [fixed_margin(10, 20, decay, 2.0) for decay in decays]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    axes.semilogx(decays, learned, "-", label="learned classifier, $\\lambda_W = 0.01$")
    axes.semilogx(decays, fixed, "--", label="fixed classifier, $s = 2$")
    axes.set(xlabel="$\\lambda_H$", ylabel="margin", title="ten classes of twenty samples")
    axes.legend()
    plt.show()

# %% [markdown] question="hw1-q6"
# 1. The margin of the learned classifier is exactly zero from some $\lambda_H$ on, that of the fixed one
#    never is. Explain it: let all features have a small size $\delta$ (and the learned classifier too), and
#    compare the order in $\delta$ of what the loss gains with that of what the penalty costs.
# 2. On the left of the figure, one curve rises nearly twice as fast as the other. Which one, and why?
# 3. A colleague concludes: "With a fixed ETF, strong weight decay can do no harm." Name one thing that the figure
#    says against it, and one that this model cannot say anything about.

# %% [markdown] answer="hw1-q6"
# **1.** With a fixed classifier the scores are linear in $H$: the loss falls by a multiple of $\delta$, the
# penalty costs a multiple of $\delta^2$, so for small $\delta$ the gain wins, whatever $\lambda_H$. With a
# learned one the scores are products $W h$: gain and cost are both of the order $\delta^2$, so their
# coefficients decide. The gain wins only if $K \sqrt{n \lambda_W \lambda_H} < 1$.
#
# **2.** The fixed one. The learned margin is $\log(1/c - (K - 1)) \approx \frac12 \log (1 / \lambda_H)$ plus
# a constant, because $c$ contains the root of $\lambda_H$: the penalty is shared by two factors. For the
# fixed one the equation is $(K - 1) e^{-a} \approx N \lambda_H \kappa^2 a$, hence
# $a \approx \log(1 / \lambda_H)$ up to a constant and a $\log a$.
#
# **3.** The margin is positive, but it becomes as small as you like: at $\lambda_H = 10$ it is below 0.01, and
# softmax gives every class nearly the same probability. The model has no inputs, so it cannot say what
# happens to test error (nor whether gradient descent on a network gets there).

# %% [markdown] rubric="hw1-q6"
# - **Orders** (2 points): linear against quadratic for the fixed classifier (1); quadratic against quadratic for
#   the learned one, so that coefficients decide (1).
# - **Slopes** (2): the fixed one rises faster (½ if the reason is missing); the square root in $c$ (1); the
#   stationarity equation or an equivalent argument for the fixed one (½).
# - **Limits** (1): the margin becomes arbitrarily small (½); test error, generalisation or training dynamics
#   are outside of the model (½).

# %% [markdown] question="hw1-q7"
# ## 7. A bias for the nearest centre (5 points)
#
# `hw1.classifier(mine)` holds training `features` (N, d) with `labels` (N,), a last layer `weights` (K, d)
# and `bias` (K,), and the features `new` (M, d) of new inputs. The network is near NC3: with the class means
# $\bar h_k$ of the training features and the mean $\bar h = \frac1K \sum_k \bar h_k$ *of these means*, its
# rows are close to $c (\bar h_k - \bar h)$. But its classes are not equally long, and its bias is wrong.
#
# Suppose that $w_k = c (\bar h_k - \bar h)$ held exactly. For which bias would the largest score always
# belong to the nearest class mean? Work it out, and give a dict with
#
# - `c`: the number that minimises $\sum_k \| w_k - c (\bar h_k - \bar h) \|^2$ for your weights,
# - `before`: the share of the new inputs on which the largest score and the nearest class mean disagree,
# - `after`: the same share with your bias for this $c$ in place of theirs, and their weights.

# %% question="hw1-q7"
net = hw1.classifier(mine)
# BEGIN SOLUTION
# STUB nearest = {"c": ..., "before": ..., "after": ...}
means = torch.stack([net.features[net.labels == k].mean(0) for k in range(len(net.bias))])
centred = means - means.mean(0)
scale = (net.weights * centred).sum() / centred.square().sum()
# The nearest mean has the largest <m_k, h> - |m_k|²/2; subtracting <m, h> changes no order.
better = -scale * means.square().sum(1) / 2
centre = torch.cdist(net.new, means).argmin(1)


def disagree(bias):
    """Return the share of new inputs on which scores and distances decide differently."""
    return ((net.new @ net.weights.T + bias).argmax(1) != centre).double().mean().item()


nearest = {"c": scale.item(), "before": disagree(net.bias), "after": disagree(better)}
# END SOLUTION

# %%
coursework.check("hw1-q7", nearest)

# %% [markdown]
# ## Hand in
#
# Run all cells once more from the top (in Colab: *Runtime ▸ Restart session and run all*), and save.

# %%
coursework.progress()

# %%
coursework.submit()
