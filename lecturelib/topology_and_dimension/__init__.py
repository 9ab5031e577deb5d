r"""Topology and intrinsic dimension: what holes a cloud of points has, and how many directions.

Points are rows, as features are. Two questions are asked of them, and neither knows of classes.

Topology
    At a scale s, points within s of each other are joined. The Betti numbers
    :math:`\beta_0, \beta_1, \beta_2` count components, loops and cavities;
    :func:`persistence` follows them over all scales.
Dimension
    :func:`two_nn` and :func:`mle_dimension` read from the distances of neighbours in how many
    directions the points spread, wherever they lie.

:func:`layer_profiles` asks both of every layer of a network.
"""

from lecturelib.topology_and_dimension.clouds import linked_rings, nested_spheres, sphere, torus
from lecturelib.topology_and_dimension.dimension import (
    LevinaBickel,
    TwoNN,
    mle_dimension,
    two_nn,
)
from lecturelib.topology_and_dimension.homology import (
    PersistenceDiagrams,
    betti_numbers,
    boundary_matrix,
    persistence,
    rips_complex,
    simplicial_betti_numbers,
)
from lecturelib.topology_and_dimension.neighbours import farthest_points, nearest_neighbours
from lecturelib.topology_and_dimension.profiles import LayerProfiles, layer_profiles

__all__ = [
    "LayerProfiles",
    "LevinaBickel",
    "PersistenceDiagrams",
    "TwoNN",
    "betti_numbers",
    "boundary_matrix",
    "farthest_points",
    "layer_profiles",
    "linked_rings",
    "mle_dimension",
    "nearest_neighbours",
    "nested_spheres",
    "persistence",
    "rips_complex",
    "simplicial_betti_numbers",
    "sphere",
    "torus",
    "two_nn",
]
