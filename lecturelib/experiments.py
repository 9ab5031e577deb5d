"""Full-scale runs that a chapter cannot wait for, recorded with their provenance.

``python -m lecturelib.experiments NAME`` runs one and writes ``lecturelib/records/NAME.json``;
chapters read it with :func:`recorded`. A record says which commit made it; a test runs its cheaper
rows again and fails once they come out differently.
"""

import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import torch

from lecturelib.deep_linear import init_weights
from lecturelib.law_of_parsimony import reduced_gradient_descent
from lecturelib.progressive_separation import decay_correction, feature_compression

__all__ = ["EXPERIMENTS", "Record", "recorded", "run"]


def separation_decay(
    scales=(0.3, 0.2, 0.1),
    depths=(4, 6, 8),
    samples_per_class=(5, 10, 20),
    output_scales=(1.0, 10.0),
    num_classes=5,
):
    r"""Train deep linear networks to zero loss and measure how D decays from layer to layer.

    Parameters
    ----------
    scales, depths, samples_per_class, output_scales : sequence of number, optional
        Values of :math:`\varepsilon`, L, n and :math:`\alpha`: all combinations are run.
    num_classes : int, optional
        Number K of classes; width and samples are d = N = nK, inputs orthonormal.

    Returns
    -------
    list of dict
        One row per network: its settings, the steps to a loss of 1e-20 with targets
        :math:`Y / \alpha`, the ratios
        :math:`D_{l+1} / D_l` and the factors of
        :func:`~lecturelib.progressive_separation.decay_correction`.

    Examples
    --------
    >>> (row,) = separation_decay([0.3], [4], [5], [1.0])
    >>> row["steps"] < 1000, len(row["ratios"])
    (True, 3)
    """
    return [
        _decay_row(scale, depth, n, output_scale, num_classes)
        for depth in depths
        for scale in scales
        for n in samples_per_class
        for output_scale in output_scales
    ]


def _decay_row(scale, depth, n, output_scale, num_classes):
    width = n * num_classes
    widths = [width] * depth + [num_classes]
    generator = torch.Generator().manual_seed(0)
    weights = init_weights(widths, scale, generator=generator, dtype=torch.float64)
    inputs = torch.eye(width, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(n)
    targets = torch.nn.functional.one_hot(labels).T.double() / output_scale
    # Half of the rate at which the descent would leave the minimum, where the Hessian is largest.
    signal = (n**0.5 / output_scale) ** (1 / depth)
    lr = 1 / (depth * signal ** (2 * depth - 2))
    # The noise in the last layers has energy scale^(2 depth) >= 1e-16: the loss must end far below.
    path = reduced_gradient_descent(
        weights, inputs, targets, num_classes, lr=lr, steps=10**7, record_every=[], tol=1e-20
    )
    trained, features = path.weights(), inputs
    compression = [feature_compression(features, labels)]
    for weight in trained[:-1]:
        features = features @ weight.T
        compression.append(feature_compression(features, labels))
    compression = torch.stack(compression)
    return {
        "scale": scale,
        "depth": depth,
        "samples_per_class": n,
        "output_scale": output_scale,
        "steps": int(path.cores.steps[-1]),
        "loss": float(path.losses[-1]),
        "ratios": (compression[1:] / compression[:-1]).tolist(),
        "corrections": decay_correction(weights[-1], trained[-1], depth).tolist(),
    }


EXPERIMENTS = {"separation-decay": separation_decay}


@dataclass(frozen=True)
class Record:
    """What a full-scale run measured, and where it comes from.

    Attributes
    ----------
    values : list or dict
        What the experiment returned.
    provenance : dict
        Command, date, seconds, versions, machine and commit.
    """

    values: object
    provenance: dict


def recorded(name):
    """Read the record of an experiment.

    Parameters
    ----------
    name : str
        A key of :data:`EXPERIMENTS`.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If there is no such experiment.
    FileNotFoundError
        If it was never recorded.

    Examples
    --------
    >>> len(recorded("separation-decay").values)
    54
    """
    _check_name(name)
    text = resources.files(__package__).joinpath("records", f"{name}.json").read_text("utf-8")
    return Record(**json.loads(text))


def run(name, folder):
    """Run an experiment at full scale and write its record.

    Parameters
    ----------
    name : str
        A key of :data:`EXPERIMENTS`.
    folder : str or Path
        Where ``NAME.json`` is written.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    _check_name(name)
    # Before the run: it may take hours, and the repository may move on meanwhile.
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    commit = subprocess.check_output(describe, cwd=Path(__file__).parent, text=True).strip()
    start = time.perf_counter()
    values = EXPERIMENTS[name]()
    record = Record(
        values=values,
        provenance={
            "command": f"python -m lecturelib.experiments {name}",
            "date": date.today().isoformat(),
            "seconds": round(time.perf_counter() - start),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
            "commit": commit,
        },
    )
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(vars(record), indent=1) + "\n", encoding="utf-8")
    return record


def _check_name(name):
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: there are {', '.join(EXPERIMENTS)}")


if __name__ == "__main__":
    run(sys.argv[1], Path(__file__).parent / "records")
