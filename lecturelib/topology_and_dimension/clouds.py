"""Clouds of points whose topology and dimension are known."""

import math

import torch

from lecturelib import checks


def _noisy(points, noise, generator):
    normal = torch.randn(points.shape, generator=generator, dtype=points.dtype)
    return points + noise * normal if noise else points


def sphere(samples, dim=2, *, radius=1.0, noise=0.0, generator=None):
    r"""Draw points uniformly from a sphere: a circle for ``dim=1``.

    Parameters
    ----------
    samples : int
        How many, at least 1.
    dim : int, optional
        Dimension d of the sphere, at least 0; it lies in d + 1 dimensions.
    radius : float, optional
        Its radius, positive.
    noise : float, optional
        Standard deviation of a normal number added to every coordinate.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).

    Returns
    -------
    Tensor, shape (samples, dim + 1), float64

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    Betti numbers: :math:`\beta_0 = \beta_d = 1` for d > 0, and zero otherwise.

    Examples
    --------
    >>> sphere(4, 2, radius=3.0).norm(dim=1).round(decimals=6).tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    samples = checks.integer("samples", samples, least=1)
    dim = checks.integer("dim", dim, least=0)
    radius, noise, generator = _options(radius, noise, generator)
    normal = torch.randn(samples, dim + 1, generator=generator, dtype=torch.float64)
    return _noisy(radius * normal / normal.norm(dim=1, keepdim=True), noise, generator)


def _options(radius, noise, generator):
    radius = checks.number("radius", radius, above=0)
    noise = checks.number("noise", noise, least=0)
    return radius, noise, checks.generator("generator", generator)


def torus(samples, *, radius=2.0, tube=1.0, noise=0.0, generator=None):
    r"""Draw points uniformly from a torus around the third axis, the surface of a tube.

    Parameters
    ----------
    samples : int
        How many, at least 1.
    radius : float, optional
        Radius of the circle in the middle of the tube, positive.
    tube : float, optional
        Radius of the tube, from 0 (then it is that circle) to below ``radius``.
    noise : float, optional
        Standard deviation of a normal number added to every coordinate.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).

    Returns
    -------
    Tensor, shape (samples, 3), float64

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    Betti numbers: 1, 2, 1. Uniformly by area: the outer half of the tube is larger than the inner
    one, and has more points.

    Examples
    --------
    >>> x, y, z = torus(5).T
    >>> ((x.hypot(y) - 2) ** 2 + z**2).round(decimals=6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    samples = checks.integer("samples", samples, least=1)
    radius, noise, generator = _options(radius, noise, generator)
    tube = checks.number("tube", tube, least=0, below=radius)
    angles = torch.empty(0, dtype=torch.float64)
    while len(angles) < samples:  # draw, and keep each with a chance in proportion to the area
        drawn, chance = torch.rand(2, 2 * samples, generator=generator, dtype=torch.float64)
        drawn = 2 * math.pi * drawn
        kept = chance * (radius + tube) < radius + tube * drawn.cos()
        angles = torch.cat([angles, drawn[kept]])
    inner = angles[:samples]
    around = 2 * math.pi * torch.rand(samples, generator=generator, dtype=torch.float64)
    far = radius + tube * inner.cos()
    points = torch.stack([far * around.cos(), far * around.sin(), tube * inner.sin()], dim=1)
    return _noisy(points, noise, generator)


def linked_rings(samples_per_class, *, tube=0.0, noise=0.0, generator=None):
    """Draw two classes that are rings, each through the hole of the other.

    Parameters
    ----------
    samples_per_class : int
        Samples n of each class.
    tube : float, optional
        Radius of a tube around each, in [0, 0.5): with a positive one they are linked tori. The
        rings themselves have radius 1.
    noise : float, optional
        Standard deviation of a normal number added to every coordinate.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).

    Returns
    -------
    points : Tensor, shape (2 n, 3), float64
        Class after class.
    labels : Tensor, shape (2 n,), int64

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    Betti numbers of the whole: 2, 2 for rings; 2, 4, 2 for tori. Every point of one ring is 1 away
    from the other, and tori are nearer by twice the radius of their tubes. No continuous and
    invertible map of space to itself can pull them apart, which takes a fourth dimension.

    Examples
    --------
    >>> points, labels = linked_rings(100)
    >>> points.shape, labels.bincount().tolist()
    (torch.Size([200, 3]), [100, 100])
    """
    samples = checks.integer("samples_per_class", samples_per_class, least=1)
    tube = checks.number("tube", tube, least=0, below=0.5)
    _, noise, generator = _options(1.0, noise, generator)
    first, second = (torus(samples, radius=1.0, tube=tube, generator=generator) for _ in range(2))
    # The second one stands upright, and its middle lies on the first.
    second = second[:, [0, 2, 1]] + torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    return _classes([first, second], noise, generator)


def nested_spheres(samples_per_class, dim=2, *, radii=(1.0, 2.0), noise=0.0, generator=None):
    """Draw classes that are spheres around one centre.

    Parameters
    ----------
    samples_per_class : int
        Samples n of each class.
    dim : int, optional
        Dimension of the spheres, at least 1: circles for 1.
    radii : sequence of float, optional
        Radius of each class, positive.
    noise : float, optional
        Standard deviation of a normal number added to every coordinate.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).

    Returns
    -------
    points : Tensor, shape (K n, dim + 1), float64
        Class after class.
    labels : Tensor, shape (K n,), int64

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there are no radii.

    Notes
    -----
    Betti numbers of K spheres: K in dimensions 0 and ``dim``, zero between them.

    Examples
    --------
    >>> points, labels = nested_spheres(3, radii=(1.0, 5.0))
    >>> points.norm(dim=1).round(decimals=6).tolist()
    [1.0, 1.0, 1.0, 5.0, 5.0, 5.0]
    """
    samples = checks.integer("samples_per_class", samples_per_class, least=1)
    dim = checks.integer("dim", dim, least=1)
    if not isinstance(radii, list | tuple):
        raise checks.wrong("radii", "a sequence of positive numbers", radii, TypeError)
    if not radii:
        raise checks.wrong("radii", "one positive number or more", radii)
    radii = [checks.number("each of radii", radius, above=0) for radius in radii]
    _, noise, generator = _options(1.0, noise, generator)
    parts = [sphere(samples, dim, radius=radius, generator=generator) for radius in radii]
    return _classes(parts, noise, generator)


def _classes(parts, noise, generator):
    labels = torch.arange(len(parts)).repeat_interleave(len(parts[0]))
    return _noisy(torch.cat(parts), noise, generator), labels
