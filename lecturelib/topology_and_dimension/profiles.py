"""Topology and intrinsic dimension of the features of every layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.device import Movable
from lecturelib.topology_and_dimension.dimension import from_distances, local_dimensions
from lecturelib.topology_and_dimension.homology import persistence
from lecturelib.topology_and_dimension.neighbours import nearest_neighbours
from lecturelib.training import evaluating


@dataclass(frozen=True, eq=False)
class LayerProfiles(Movable):
    """What the features of every layer look like, the input included.

    Attributes
    ----------
    two_nn, two_nn_error : Tensor, shape (L + 1,)
        Intrinsic dimension by :func:`two_nn` and its standard error, float64 on the CPU; NaN where
        the points of a layer nearly all coincide.
    mle, mle_error : Tensor, shape (L + 1,)
        The same by :func:`mle_dimension`.
    diagrams : list of PersistenceDiagrams
        Holes of each layer, scales in units of the radius of its cloud; empty if none were asked
        for.

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> from lecturelib.topology_and_dimension import sphere
    >>> profiles = layer_profiles(MLP([3, 16, 16, 2]), sphere(200).float())
    >>> profiles.two_nn.shape, profiles.betti(0.8).shape
    (torch.Size([3]), torch.Size([3, 2]))
    """

    two_nn: Tensor
    two_nn_error: Tensor
    mle: Tensor
    mle_error: Tensor
    diagrams: list

    def betti(self, scale):
        """Count the holes of every layer at a scale.

        Parameters
        ----------
        scale : float
            In units of the radius of each cloud.

        Returns
        -------
        Tensor, shape (L + 1, max_dim + 1), int64
        """
        return torch.tensor([layer.betti(scale) for layer in self.diagrams])

    def prominent(self, ratio=2.0):
        """Count the holes of every layer that last.

        Parameters
        ----------
        ratio : float, optional
            As in :meth:`PersistenceDiagrams.prominent`.

        Returns
        -------
        Tensor, shape (L + 1, max_dim + 1), int64
        """
        return torch.tensor([layer.prominent(ratio) for layer in self.diagrams])


def layer_profiles(
    network,
    inputs,
    *,
    discard=0.1,
    neighbours=20,
    max_dim=1,
    samples=None,
    subsample="farthest",
    generator=None,
):
    """Measure intrinsic dimension and topology at every layer of a network.

    Parameters
    ----------
    network : torch.nn.Module
        Any network with feature taps: ``network.taps(inputs)`` returns one tensor of N rows per
        layer, first to last. Used in evaluation mode and left as it was.
    inputs : Tensor, shape (N, ...)
        Inputs, on the network's device, at least three. No labels: the inputs of one class give the
        profile of that class.
    discard : float, optional
        As in :func:`two_nn`.
    neighbours : int, optional
        As in :func:`mle_dimension`, and less than N.
    max_dim : int or None, optional
        Largest dimension of the holes, as in :func:`persistence`; None leaves them out.
    samples, subsample, generator
        As in :func:`persistence`, for every layer anew.

    Returns
    -------
    LayerProfiles
        Entry 0 is the flattened inputs.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Dimension: Ansuini et al. (2019). Topology: Naitzat, Zhitnikov, Lim (2020). Lecture 003.

    Examples
    --------
    >>> from lecturelib.networks import MLP
    >>> from lecturelib.topology_and_dimension import linked_rings
    >>> points, labels = linked_rings(100)
    >>> network = MLP([3, 16, 16, 2])
    >>> profiles = layer_profiles(network, points.float()[labels == 0])
    >>> profiles.prominent()[0].tolist()  # the inputs of one class: a ring
    [1, 1]
    """
    network = checks.module("network", network, "taps")
    inputs = checks.inputs("inputs", inputs, network).detach()
    if inputs.ndim < 2 or len(inputs) < 3:
        raise checks.wrong("inputs", "three or more samples of at least one dimension", inputs)
    discard = checks.number("discard", discard, least=0, below=1)
    neighbours = checks.integer("neighbours", neighbours, 2, len(inputs) - 1)
    with evaluating(network):
        layers = [inputs, *network.taps(inputs)]
    layers = [layer.detach().flatten(1) for layer in layers]
    dimensions = torch.stack([_dimensions(layer, discard, neighbours) for layer in layers])
    diagrams = []
    if max_dim is not None:
        options = {"samples": samples, "subsample": subsample, "generator": generator}
        diagrams = [persistence(layer, max_dim, relative=True, **options) for layer in layers]
    return LayerProfiles(*dimensions.T.contiguous(), diagrams)


def _dimensions(points, discard, neighbours):
    """Return both estimates of one layer and their errors, NaN where there is none."""
    distances, _ = nearest_neighbours(points, neighbours)
    if (distances[:, 0] > 0).sum() < 3:
        return torch.full((4,), torch.nan, dtype=torch.float64)
    pair, many = from_distances(distances, discard), local_dimensions(distances)
    values = [pair.dimension, pair.error, many.dimension, many.error]
    return torch.stack(values).cpu().double()
