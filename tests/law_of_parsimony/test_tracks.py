"""Angles between subspaces, and singular vectors that are followed over time."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers import F64, SEEDS, close, columns, examples, normal
from hypothesis import given
from hypothesis import strategies as st

from lecturelib.law_of_parsimony import singular_trajectories, subspace_angles

# --- angles -----------------------------------------------------------------------------------


@examples(40)
@given(seed=SEEDS, d=st.integers(1, 12), data=st.data())
def test_angles_agree_with_scipy(seed, d, data):
    p, q = data.draw(st.integers(1, d)), data.draw(st.integers(1, d))
    A, B = normal(seed, d, p), normal(seed + 1, d, q)
    angles = subspace_angles(A, B)
    assert angles.shape == (min(p, q),)
    expected = np.sort(scipy.linalg.subspace_angles(A.numpy(), B.numpy()))
    np.testing.assert_allclose(angles, expected, rtol=0, atol=1e-7)  # scipy: sqrt(eps) near 0
    assert (angles.diff() >= 0).all()
    assert angles.min() >= 0
    assert angles.max() <= math.pi / 2 + 1e-15
    close(subspace_angles(B, A), angles, 1e-10)
    mixed = subspace_angles(A @ normal(seed + 2, p, p), B @ columns(seed + 3, q, q))
    close(mixed, angles, 1e-6)


@pytest.mark.parametrize(("p", "q"), [(3, 3), (3, 4), (4, 3)])
def test_small_and_large_angles_are_precise(p, q):
    expected = torch.tensor([1e-12, 1e-6, math.pi / 2 - 1e-12], dtype=F64)
    frame, identity = columns(0, 12, 12), torch.eye(12, dtype=F64)
    A = identity[:, :3]
    B = A * expected.cos() + identity[:, 3:6] * expected.sin()
    A = torch.cat([A, identity[:, 6:7]], 1)[:, :p]
    B = torch.cat([B, identity[:, 7:8]], 1)[:, :q]
    found = subspace_angles(frame @ A @ columns(1, p, p), frame @ B @ columns(2, q, q))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    close(subspace_angles(A, A @ normal(3, p, p)), torch.zeros(p, dtype=F64), 1e-14)


def test_angles_in_batches():
    A, B = normal(0, 2, 3, 7, 4), normal(1, 3, 7, 2)
    angles = subspace_angles(A, B)
    assert angles.shape == (2, 3, 2)
    for i in range(2):
        for j in range(3):
            close(angles[i, j], subspace_angles(A[i, j], B[j]), 1e-12)
    assert subspace_angles(A.float(), B.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        (normal(0, 4, 2), normal(1, 5, 2), r"B must be .* of shape \(…, 4, q\)"),
        (normal(0, 4, 5), normal(1, 4, 2), "A .* independent"),
        (normal(0, 4, 2), normal(1, 4, 5), "B .* independent"),
        (torch.ones(4, 2, dtype=F64), normal(1, 4, 2), "A .* independent"),
        (normal(1, 4, 2), torch.zeros(4, 1, dtype=F64), "B .* independent"),
        (normal(0, 4, 0), normal(1, 4, 2), "A must be .* of shape"),
        (normal(0, 2, 4, 2), normal(1, 3, 4, 2), "B must be of leading dimensions"),
        (normal(0, 4, 2), normal(1, 4, 2).float(), "B must be of the type"),
        (torch.stack([normal(0, 4, 2), torch.ones(4, 2)]), normal(1, 4, 2), "A .* independent"),
    ],
)
def test_no_such_angles(A, B, message):
    with pytest.raises(ValueError, match=message):
        subspace_angles(A, B)


# --- trajectories -----------------------------------------------------------------------------


def check_reconstruction(matrices, path, tolerance=1e-11):
    close(path.left * path.values[:, None] @ path.right.mT, matrices, tolerance)
    for vectors in (path.left, path.right):
        gram = vectors.mT @ vectors
        close(gram, torch.eye(gram.shape[-1], dtype=F64).expand_as(gram), tolerance)


def moving(seed, times, m, n, offset=0.0123):
    """Rotate singular vectors slowly while their values cross."""
    p = min(m, n)
    rate = torch.linspace(0, 1, times, dtype=F64)
    turns = []
    for k, size in enumerate((m, n)):
        skew = normal(seed + k, size, size)
        skew = 0.3 * (skew - skew.mT)
        turns.append(torch.linalg.matrix_exp(rate[:, None, None] * skew)[..., :p])
    first = torch.linspace(1, 3, p, dtype=F64)
    values = first * (1 - rate[:, None]) + first.flip(0) * rate[:, None]
    values = values + offset * torch.arange(p, dtype=F64)
    return turns[0] * values[:, None] @ turns[1].mT, turns, values


@pytest.mark.parametrize(("m", "n"), [(5, 5), (7, 4), (4, 7), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0123, 1e-6), (0.01, 1e-2)])
def test_crossing_values_are_followed(seed, m, n, offset, tolerance):
    """All cross at once: between two times, or (less precise by a step) at one of them."""
    matrices, (left, right), values = moving(seed, 401, m, n, offset)
    copy = matrices.clone()
    path = singular_trajectories(matrices)
    assert torch.equal(matrices, copy)
    assert path.values.shape == (401, min(m, n))
    check_reconstruction(matrices, path)
    assert (path.values[-1].diff() <= 0).all()
    order = values[-1].argsort(descending=True)
    close(path.values, values[:, order], 1e-10)
    crossings = (values.argsort(-1) != values[-1].argsort()).any()
    assert crossings == (min(m, n) > 1)
    for found, expected in ((path.left, left[..., order]), (path.right, right[..., order])):
        signs = (found[-1] * expected[-1]).sum(0)
        close(found, expected * signs.sign(), tolerance)  # one sign, at all times
    for side, expected in (("left", left), ("right", right)):
        cosines = (expected[..., order] * expected[0][..., order]).sum(1).clamp(-1, 1)
        close(path.angles(side), torch.rad2deg(cosines.acos()), 100 * tolerance)


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_equal_values_at_the_start_take_the_basis_that_follows(noise):
    """From a multiple of an orthogonal matrix three values grow; the rest does not turn."""
    left, right = columns(0, 12, 12), columns(1, 12, 12)
    growth = torch.linspace(0, 1, 30, dtype=F64)
    values = torch.ones(30, 12, dtype=F64)
    values[:, :3] += growth[:, None] * torch.tensor([3.0, 2.0, 1.0], dtype=F64)
    matrices = 0.3 * (left * values[:, None] @ right.mT) + noise * normal(2, 30, 12, 12)
    path = singular_trajectories(matrices)
    check_reconstruction(matrices, path, 1e-9)
    close(path.values, 0.3 * values, 1e-9)
    for side in ("left", "right"):
        assert path.angles(side).max() < 1e-6


@pytest.mark.parametrize(("m", "n"), [(5, 5), (7, 4), (4, 7)])
@pytest.mark.parametrize("zeros", [1, 2])
def test_vectors_of_zero_are_followed_too(m, n, zeros):
    """Where values vanish, left and right vectors have each their own freedom."""
    _, (left, right), _ = moving(0, 60, m, n)
    p = min(m, n)
    values = torch.linspace(3, 1, p, dtype=F64)
    values[p - zeros :] = 0
    matrices = left * values @ right.mT
    path = singular_trajectories(matrices)
    check_reconstruction(matrices, path)
    close(path.values, values.expand(60, p), 1e-12)
    for vectors in (path.left, path.right):
        if vectors.shape[1] == p:  # else the vectors of zero may leave their span
            turn = (vectors[1:] - vectors[:-1]).norm(dim=1)
            assert turn.max() < 0.1  # a flip is 2


def test_angles_of_a_flip():
    """A vector may come to stand opposite to where it was."""
    t = torch.linspace(0, math.pi, 50, dtype=F64)
    rotation = torch.stack([t.cos(), -t.sin(), t.sin(), t.cos()], -1).view(50, 2, 2)
    path = singular_trajectories(rotation * torch.tensor([2.0, 1.0], dtype=F64))
    close(path.angles("left"), torch.rad2deg(t)[:, None].expand(50, 2), 1e-6)
    close(path.angles("right"), torch.zeros(50, 2, dtype=F64), 1e-6)
    with pytest.raises(ValueError, match="side"):
        path.angles("up")


def test_closest_basis_is_so_on_both_sides():
    """Where only the left vectors turn, the start shares the turn between left and right."""
    turn = torch.tensor([[0.96, -0.28], [0.28, 0.96]], dtype=F64)
    later = turn * torch.tensor([2.0, 1.0], dtype=F64)
    path = singular_trajectories(torch.stack([torch.eye(2, dtype=F64), later]))
    half = torch.full((2,), math.degrees(math.acos(0.96)) / 2, dtype=F64)
    close(path.angles("left")[1], half)
    close(path.angles("right")[1], half)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_tolerance_says_which_values_are_equal(scale):
    matrices = torch.stack([torch.diag(torch.tensor([1 + 1e-6, 1.0], dtype=F64))] * 2)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=F64)
    matrices[1] = turn @ torch.diag(torch.tensor([2.0, 1.0], dtype=F64)) @ turn.mT
    matrices = scale * matrices
    fine = singular_trajectories(matrices)
    assert fine.angles("left")[1].min() > 30
    check_reconstruction(matrices, fine)
    coarse = singular_trajectories(matrices, tol=1e-5)
    assert coarse.angles("left").max() < 1e-3


def test_one_time_is_an_svd():
    matrix = normal(0, 1, 4, 3)
    path = singular_trajectories(matrix)
    close(path.values, torch.linalg.svdvals(matrix), 1e-13)
    check_reconstruction(matrix, path)
    assert path.angles("left").abs().max() == 0


@pytest.mark.parametrize(
    "matrices",
    [
        normal(0, 3, 4),
        normal(0, 2, 2, 3, 4),
        normal(0, 0, 3, 4),
        normal(0, 2, 0, 4),
        normal(0, 2, 3, 4) * math.nan,
        normal(0, 2, 3, 4) / 0,
    ],
)
def test_no_such_trajectories(matrices):
    with pytest.raises(ValueError, match="matrices must be"):
        singular_trajectories(matrices)


def test_no_such_tolerance():
    with pytest.raises(ValueError, match="tol must be a finite number >= 0, got -1"):
        singular_trajectories(normal(0, 2, 3, 4), tol=-1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    matrices, *_ = moving(0, 20, 5, 4)
    path = singular_trajectories(matrices.cuda())
    assert path.values.is_cuda
    check_reconstruction(matrices, path.to("cpu"))
    assert subspace_angles(matrices[0, :, :2].cuda(), matrices[1].cuda()).is_cuda
