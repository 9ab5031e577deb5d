"""Valid calls of lecturelib.experiments.

Nonsense for ``jobs``, ``dask`` and the address of a cluster is left to the tests of the runner:
three processes, or a search for a cluster, take seconds.
"""

import tempfile
from contextlib import chdir
from pathlib import Path
from unittest import mock

from lecturelib import experiments


def known():
    with mock.patch("pkgutil.iter_modules", return_value=[]):
        experiments.experiments.__wrapped__()


def run(name="tiny", cache=None, folder=None):
    tiny = {"tiny": experiments.Experiment("tiny", dict, ({"a": 1},))}
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.object(experiments, "experiments", lambda: tiny),
        mock.patch("pooch.os_cache", lambda project: Path(place)),
        mock.patch.object(experiments, "LIBRARY", Path(place)),
        mock.patch.object(experiments, "_commit", lambda: "none"),
        chdir(place),
    ):
        experiments.run(name, cache=cache, folder=folder)


def cluster():
    with experiments.cluster(None):
        pass


CALLS = {
    "cluster": lambda: (cluster, {}),
    "experiments": lambda: (known, {}),
    "run": lambda: (run, {}),
}
