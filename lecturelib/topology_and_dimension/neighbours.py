"""Nearest neighbours without the N x N matrix, and subsets that cover a cloud."""

import math

import torch

from lecturelib import checks
from lecturelib.device import one_thread

# Entries of a block of distances: 16 MiB in single precision, which a processor keeps at hand.
BLOCK = 2**22
# Candidates that are found besides the neighbours asked for.
SPARE = 8


def nearest_neighbours(points, neighbours=1):
    r"""Find the nearest other points of every point.

    Parameters
    ----------
    points : Tensor, shape (N, D)
        Points as rows, on any device.
    neighbours : int, optional
        How many of each, k: in 1 .. N - 1.

    Returns
    -------
    distances : Tensor, shape (N, k)
        Euclidean distances, ascending, float64 (float32 on Apple's GPUs, which have no float64).
        Zero where points coincide.
    indices : Tensor, shape (N, k), int64
        Which points these are. Among equal distances the choice is arbitrary.

    Raises
    ------
    TypeError, ValueError
        If the points are not finite, or fewer than k + 1.

    Notes
    -----
    Candidates are found in blocks by :math:`\|x\|^2 + \|y\|^2 - 2 x^\top y`, a matrix product in
    single precision. It is fast, and useless for points that lie much closer to each other than to
    the mean. So the distances of the candidates are computed again, from differences of the points
    as they were given; and an ordinary bound on the rounding says whether a point that is no
    candidate could still be nearer than the k-th. Where it could, the search is repeated in double
    precision, and at last with differences only. So the result is that of the slowest method. The
    memory is a few copies of the points and some blocks of 16 or 32 MiB.

    Examples
    --------
    >>> points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> distances, indices = nearest_neighbours(points)
    >>> distances[:, 0].tolist(), indices[:, 0].tolist()
    ([1.0, 1.0, 2.0, 4.0], [1, 0, 1, 2])
    """
    points = checks.tensor("points", points, ("N", "D")).detach()
    count = len(points)
    if count < 2:
        raise checks.wrong("points", "two points or more", points)
    neighbours = checks.integer("neighbours", neighbours, 1, count - 1)
    exact, scale = scaled(points)
    centred, spread = scaled(exact - exact.mean(0))
    distances = exact.new_empty(count, neighbours)
    indices = torch.empty(count, neighbours, dtype=torch.long, device=exact.device)
    left = torch.arange(count, device=exact.device)
    for dtype in _precisions(exact):
        left = _by_products(left, exact, centred.to(dtype), spread, distances, indices)
    _by_differences(left, exact, distances, indices)
    return distances * scale, indices


def scaled(points):
    """Return points in double precision, divided by a power of two near the largest entry, and it.

    So squares stay in range, and the division rounds nothing.
    """
    wide = torch.float32 if points.device.type == "mps" else torch.float64
    points = points.to(wide)
    limit = 100 if wide == torch.float32 else 1000
    scale = 2.0 ** max(-limit, min(limit, math.frexp(float(points.abs().max()))[1]))
    return points / scale, scale


def _precisions(exact):
    """Types of the matrix products to try, the fast one first."""
    single = torch.get_float32_matmul_precision() == "highest"  # else it is not single
    double = exact.dtype == torch.float64
    return [torch.float32] * single + [torch.float64] * double


def _by_products(left, exact, copy, spread, distances, indices):
    """Search for the rows that are left; return those whose result is not certain.

    ``copy`` holds the points once more: centred, in units of ``spread``, in the type to compute in.
    """
    count, dim = exact.shape
    wanted = distances.shape[1]
    candidates = min(count - 1, wanted + SPARE)
    size = max(1, BLOCK // max(count, candidates * dim))
    squares = copy.square().sum(1)
    # Of the rounding of points, squares and products: at most half of this.
    bound = (
        (dim + 8) * torch.finfo(copy.dtype).eps * (squares.sqrt() + squares.max().sqrt()).square()
    )
    uncertain = torch.zeros(count, dtype=torch.bool, device=left.device)
    # One block for all: new ones, though freed, were seen to fill the memory with gaps.
    block = copy.new_empty(min(size, len(left)), count)
    for rows in left.split(size):
        products = torch.addmm(squares, copy[rows], copy.T, alpha=-2, out=block[: len(rows)])
        products[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        nearest = products.topk(candidates, largest=False)
        found = (exact[nearest.indices] - exact[rows, None]).norm(dim=2)
        found, order = found.sort(dim=1)
        distances[rows] = found[:, :wanted]
        indices[rows] = nearest.indices.gather(1, order[:, :wanted])
        last = distances[rows, -1]
        others = nearest.values.amax(1) + squares[rows] - bound[rows]  # squared, from below
        uncertain[rows] = ((last / spread).square() > others) & (last > 0)
    return left[uncertain[left]] if candidates < count - 1 else left[:0]


def _by_differences(left, exact, distances, indices):
    """Search without products, which is certain."""
    for rows in left.split(max(1, BLOCK // len(exact))):
        found = between(exact[rows], exact)
        found[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        distances[rows], indices[rows] = found.topk(distances.shape[1], largest=False)


def between(first, second):
    """Distances from differences, shape (len(first), len(second))."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def farthest_points(points, samples, *, start=0):
    r"""Choose points that lie far from each other and leave no other point far away.

    Parameters
    ----------
    points : Tensor, shape (N, D)
        Points as rows.
    samples : int
        How many to choose, at least 1. It may exceed N; then all are chosen.
    start : int, optional
        The first one, in 0 .. N - 1.

    Returns
    -------
    indices : Tensor, shape (n,), int64
        Which ones, in the order of choice: n = ``samples``, or fewer if there are not so many
        different points.
    cover : Tensor, 0-d
        The largest distance of a point from the nearest one chosen, float64.

    Raises
    ------
    TypeError, ValueError
        If the points are not finite, or a number is out of range.

    Notes
    -----
    Every next point is the one farthest from those before it. No choice of as many points has a
    cover smaller than half of this one. Outliers are chosen first: where they are many, draw at
    random instead.

    References
    ----------
    Gonzalez (1985), "Clustering to minimize the maximum intercluster distance".

    Examples
    --------
    >>> points = torch.tensor([[0.0], [0.1], [0.2], [1.0]])
    >>> indices, cover = farthest_points(points, 2)
    >>> indices.tolist(), round(float(cover), 4)
    ([0, 3], 0.2)
    """
    points = checks.tensor("points", points, ("N", "D")).detach()
    samples = checks.integer("samples", samples, least=1)
    start = checks.integer("start", start, 0, len(points) - 1)
    exact, scale = scaled(points)
    chosen, nearest = [start], (exact - exact[start]).norm(dim=1)
    with one_thread(exact.numel() < 2**16):
        while len(chosen) < min(samples, len(points)):
            cover, index = nearest.max(0)
            if cover == 0:
                break
            chosen.append(int(index))
            nearest = torch.minimum(nearest, (exact - exact[index]).norm(dim=1))
    return torch.tensor(chosen, device=points.device), nearest.max() * scale


def cover_radius(points, indices):
    """Return the largest distance of a point from the nearest one of a choice."""
    exact, scale = scaled(points)
    parts = exact.split(max(1, BLOCK // len(indices)))
    return (
        torch.stack([between(part, exact[indices]).amin(1).max() for part in parts]).max() * scale
    )
