"""Runs that a chapter cannot wait for: each a grid of cells, computed anywhere, in any order.

``python -m lecturelib.experiments run NAME`` computes the cells of one and writes its record to
``lecturelib/records``. Cells run in as many processes as asked for, or on a Dask cluster, and a
cell that was finished once is read from a cache: a run that was stopped goes on where it was. A
test computes the cheaper cells of every record again and fails once they come out differently.
"""

import hashlib
import importlib
import json
import pkgutil
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import joblib
import pooch
import torch
from tqdm import tqdm

from lecturelib import checks
from lecturelib.records import Record

__all__ = ["Experiment", "cluster", "experiments", "run"]

LIBRARY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Experiment:
    """A grid of cells and what is made of them.

    Attributes
    ----------
    name : str
        Of the record: lower-case words joined by hyphens.
    cell : callable
        ``cell(**settings)`` → anything json can hold. It seeds its own random numbers, so that its
        result does not depend on the other cells or on who computes it.
    grid : tuple of dict
        The settings of every cell.
    assemble : callable, optional
        Makes the record's values of the list of all results (default: they are that list).
    """

    name: str
    cell: Callable
    grid: tuple
    assemble: Callable = list


@cache
def experiments():
    """Return all experiments by name: those of the modules of this package, one for each chapter.

    Returns
    -------
    dict of str to Experiment

    Examples
    --------
    >>> len(experiments()["separation-decay"].grid)
    54
    """
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"{__name__}.{module.name}")
            found |= {experiment.name: experiment for experiment in loaded.EXPERIMENTS}
    return found


def run(name, *, jobs=1, dask=None, cache=None, folder=None):
    """Run an experiment at full scale and write its record.

    Parameters
    ----------
    name : str
        A key of :func:`experiments`.
    jobs : int, optional
        Processes; -1 for all cores. Experiments that measure time want one.
    dask : str, optional
        Address of a Dask scheduler, which then computes the cells in place of these processes.
    cache : str or Path, optional
        Folder for finished cells (default: in this user's cache folder). A change of the library's
        code starts a new one.
    folder : str or Path, optional
        Where ``NAME.json`` is written (default: ``lecturelib/records``).

    Returns
    -------
    Record
        As :func:`~lecturelib.records.recorded` reads it.

    Raises
    ------
    TypeError, ValueError
        If there is no such experiment, or an option is not as described.
    ImportError
        If ``dask`` is given and the package ``distributed`` is missing.

    Examples
    --------
    >>> run("separation-decay", jobs=-1).values[0]["depth"]  # doctest: +SKIP
    4
    """
    experiment = experiments()[checks.choice("name", name, experiments())]
    jobs = checks.integer("jobs", jobs, least=-1)
    if jobs == 0:
        raise checks.wrong("jobs", "-1 or a positive integer", jobs)
    address = None if dask is None else checks.text("dask", dask)
    cache = checks.path("cache", cache) or Path(pooch.os_cache("lecturelib")) / "experiments"
    path = (checks.path("folder", folder) or LIBRARY / "records") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Before the run: it may take hours, and the repository may move on meanwhile.
    commit = _commit()
    command = f"python -m lecturelib.experiments run {name}" + f" --jobs {jobs}" * (jobs != 1)
    cell = joblib.Memory(cache / _fingerprint(), verbose=0).cache(_timed)
    with cluster(address):
        work = (joblib.delayed(cell)(experiment.cell, settings) for settings in experiment.grid)
        done = joblib.Parallel(n_jobs=None if address else jobs, return_as="generator")(work)
        results = list(tqdm(done, total=len(experiment.grid), desc=name, unit="cell"))
    record = {
        "values": experiment.assemble([result for _, result in results]),
        "provenance": {
            "command": command,
            "date": date.today().isoformat(),
            "seconds": round(sum(seconds for seconds, _ in results)),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
            "commit": commit,
        },
    }
    text = json.dumps(record, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return Record(**json.loads(text))


def _timed(cell, settings):
    """Return the seconds that a cell took, and its result."""
    start = time.perf_counter()
    result = cell(**settings)
    return time.perf_counter() - start, result


@contextmanager
def cluster(address):
    """Let joblib compute on a Dask cluster within a block, if there is an address.

    Parameters
    ----------
    address : str or None
        Of the cluster's scheduler; without it, joblib computes as ever.

    Yields
    ------
    None

    Raises
    ------
    ImportError
        If Dask's package ``distributed`` is not installed.

    Examples
    --------
    >>> with cluster(None):
    ...     joblib.Parallel()(joblib.delayed(abs)(n) for n in (-1, 2))
    [1, 2]
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a Dask cluster needs: pip install distributed") from error
    with Client(address), joblib.parallel_config("dask"):
        yield


def _commit():
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    return subprocess.check_output(describe, cwd=LIBRARY, text=True).strip()


def _fingerprint():
    """Return a short hash of the library's code."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
