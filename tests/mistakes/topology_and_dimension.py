"""Valid calls of lecturelib.topology_and_dimension."""

import torch

from lecturelib import topology_and_dimension
from lecturelib.networks import MLP
from lecturelib.topology_and_dimension import persistence


def points():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def call(name, **arguments):
    return lambda: (getattr(topology_and_dimension, name), {**arguments})


def of_points(name, **arguments):
    return lambda: (getattr(topology_and_dimension, name), {"points": points(), **arguments})


CHOICE = {"samples": 8, "subsample": "random", "relative": True}
TRIANGLE = [(0, 1), (1, 2), (0, 2)]
CALLS = {
    "boundary_matrix": call("boundary_matrix", simplices=TRIANGLE, dim=1),
    "simplicial_betti_numbers": call("simplicial_betti_numbers", simplices=TRIANGLE),
    "rips_complex": of_points("rips_complex", scale=1.0, max_dim=1),
    "persistence": of_points("persistence", max_dim=1, max_scale=2.0, **CHOICE),
    "PersistenceDiagrams.betti": lambda: (persistence(points()).betti, {"scale": 0.5}),
    "PersistenceDiagrams.curves": lambda: (
        persistence(points()).curves,
        {"scales": torch.ones(2)},
    ),
    "betti_numbers": of_points("betti_numbers", max_dim=1, scale=1.0, **CHOICE),
    "nearest_neighbours": of_points("nearest_neighbours", neighbours=2),
    "farthest_points": of_points("farthest_points", samples=3, start=1),
    "two_nn": of_points("two_nn", discard=0.1, method="likelihood"),
    "mle_dimension": of_points("mle_dimension", neighbours=4, average="mean"),
    "sphere": call("sphere", samples=5, dim=1, radius=2.0, noise=0.1),
    "torus": call("torus", samples=5, radius=2.0, tube=0.5, noise=0.1),
    "linked_rings": call("linked_rings", samples_per_class=5, tube=0.1, noise=0.1),
    "nested_spheres": call("nested_spheres", samples_per_class=5, dim=1, radii=(1.0, 3.0)),
    "layer_profiles": lambda: (
        topology_and_dimension.layer_profiles,
        {"network": MLP([3, 5, 5, 2]), "inputs": points(), "neighbours": 4, "max_dim": 1},
    ),
}
