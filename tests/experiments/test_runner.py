"""The runner: what is computed, what is read from the cache, on one process or on many."""

import importlib
import json
import platform
import re
import subprocess
import sys
from datetime import date

import pytest
import torch
from helpers import ROOT

from lecturelib import experiments as runner
from lecturelib.experiments import Experiment, __main__, run
from lecturelib.records import Record

# Cells in a file of their own, so that other processes can import them. Each says that it begins;
# those that meet wait until two processes have begun.
CELLS = """
import os
import random
import time
from pathlib import Path


def note(log, line):
    with open(log, "a") as file:
        file.write(f"{line}\\n")


def draw(index, log, seconds=0.0):
    note(log, index)
    time.sleep(seconds)
    return {"index": index, "value": random.Random(index).random()}


def meet(index, log):
    note(log, os.getpid())
    last = time.monotonic() + 60
    while len(set(Path(log).read_text().split())) < 2:
        if time.monotonic() > last:
            raise TimeoutError("no other process has begun")
        time.sleep(0.01)
    return index
"""

# Runs the experiment and kills it, five times, each at a random moment; then lets it finish.
KILLER = """
import os
import random
import signal
import sys
import time
from pathlib import Path

from cells import draw, note

from lecturelib import experiments
from lecturelib.experiments import Experiment, run

folder, log = sys.argv[1:]
grid = tuple({"index": index, "log": log, "seconds": 0.01} for index in range(100))
experiments.experiments = lambda: {"tiny": Experiment("tiny", draw, grid)}


def lines():
    return len(Path(log).read_text().splitlines()) if Path(log).exists() else 0


for _ in range(5):
    before, child = lines(), os.fork()
    if child == 0:
        run("tiny", cache=folder + "/cache", folder=folder)
        os._exit(0)
    while lines() < before + 2:  # it has begun
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    note(log, "killed")
run("tiny", cache=folder + "/cache", folder=folder)
"""


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """The module of the cells, in a folder from which every process can import it."""
    (tmp_path / "cells.py").write_text(CELLS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("cells")
    del sys.modules["cells"]


@pytest.fixture
def tiny(cells, tmp_path, monkeypatch):
    """Make an experiment of a few cells the only one; return where they say that they begin."""
    log = tmp_path / "log"

    def make(count=4, cell=cells.draw, **options):
        grid = tuple({"index": index, "log": str(log)} for index in range(count))
        found = {"tiny": Experiment("tiny", cell, grid, **options)}
        monkeypatch.setattr(runner, "experiments", lambda: found)
        monkeypatch.setattr(__main__, "experiments", lambda: found)
        return log

    return make


def begun(log):
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def expected(cells, tmp_path, count):
    return [cells.draw(index, tmp_path / "unused") for index in range(count)]


def test_a_run_writes_the_record_that_it_returns(tiny, cells, tmp_path):
    log = tiny()
    folder = tmp_path / "not" / "there"
    record = run("tiny", cache=tmp_path / "cache", folder=folder)
    assert type(record) is Record and record.values == expected(cells, tmp_path, 4)
    assert begun(log) == ["0", "1", "2", "3"]
    assert [path.name for path in folder.iterdir()] == ["tiny.json"]
    text = (folder / "tiny.json").read_text("utf-8")
    assert text.endswith("}\n") and json.loads(text) == vars(record)


def test_the_record_is_what_is_assembled_and_json_can_hold(tiny, tmp_path):
    tiny(3, assemble=lambda results: {7: tuple(result["index"] for result in results)})
    record = run("tiny", cache=tmp_path / "cache", folder=tmp_path)
    assert record.values == {"7": [0, 1, 2]}


def test_a_second_run_computes_nothing_and_replaces_the_record(tiny, tmp_path):
    log = tiny()
    first = run("tiny", cache=tmp_path / "cache", folder=tmp_path)
    again = run("tiny", cache=str(tmp_path / "cache"), folder=str(tmp_path))
    assert again.values == first.values and len(begun(log)) == 4
    assert again.provenance["seconds"] == first.provenance["seconds"]
    tiny(6)
    longer = run("tiny", cache=tmp_path / "cache", folder=tmp_path)
    assert begun(log)[4:] == ["4", "5"] and longer.values[:4] == first.values
    assert len(json.loads((tmp_path / "tiny.json").read_text("utf-8"))["values"]) == 6


def test_a_killed_run_goes_on_where_it_was(tiny, cells, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER, encoding="utf-8")
    log = tmp_path / "log"
    arguments = [sys.executable, tmp_path / "killer.py", tmp_path, log]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    *killed, finished = (part.split() for part in log.read_text("utf-8").split("killed"))
    assert len(killed) == 5 and all(killed)
    # A killed run may have been busy with its last cell; all others it had finished.
    kept = [cell for part in killed for cell in part[:-1]]
    assert len(set(kept)) == len(kept) and not set(kept) & set(finished)
    assert {*kept, *finished, *(part[-1] for part in killed)} == set(map(str, range(100)))
    values = json.loads((tmp_path / "tiny.json").read_text("utf-8"))["values"]
    assert values == expected(cells, tmp_path, 100)


def test_several_processes_compute_the_same_record(tiny, cells, tmp_path):
    log = tiny(8, cell=cells.meet)
    record = run("tiny", jobs=2, cache=tmp_path / "cache", folder=tmp_path)
    assert record.values == list(range(8))
    assert len(begun(log)) == 8 and len(set(begun(log))) == 2
    assert record.provenance["command"].endswith("run tiny --jobs 2")
    assert run("tiny", cache=tmp_path / "cache", folder=tmp_path).values == list(range(8))
    assert len(begun(log)) == 8


def test_a_dask_cluster_computes_the_same_record(tiny, cells, tmp_path):
    distributed = pytest.importorskip("distributed")
    log = tiny(6)
    # Its workers are threads of this process: the runner only knows the address.
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        record = run("tiny", dask=address, cache=tmp_path / "cache", folder=tmp_path)
        assert len(cluster.scheduler.clients) <= 1  # the cluster's own: the runner's has gone
    assert record.values == expected(cells, tmp_path, 6)
    assert sorted(begun(log)) == list("012345")
    run("tiny", cache=tmp_path / "cache", folder=tmp_path)
    assert len(begun(log)) == 6


def test_without_distributed_the_error_says_what_to_install(tiny, tmp_path, monkeypatch):
    log = tiny()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="pip install distributed"):
        run("tiny", dask="tcp://localhost:1", cache=tmp_path / "cache", folder=tmp_path)
    assert begun(log) == []


def test_other_code_starts_another_cache(tiny, tmp_path, monkeypatch):
    log = tiny()
    for count, code in [(4, "one"), (8, "other"), (8, "one")]:
        monkeypatch.setattr(runner, "_fingerprint", lambda code=code: code)
        run("tiny", cache=tmp_path / "cache", folder=tmp_path)
        assert len(begun(log)) == count


def test_the_fingerprint_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "LIBRARY", tmp_path)
    (tmp_path / "package").mkdir()
    seen = set()
    for path, text in [
        ("module.py", "x = 1"),
        ("module.py", "x = 2"),
        ("package/inner.py", "y = 1"),
        ("package/inner.py", ""),
    ]:
        (tmp_path / path).write_text(text, encoding="utf-8")
        seen.add(runner._fingerprint())
    assert len(seen) == 3  # an empty file is no code
    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    assert runner._fingerprint() in seen


def test_provenance(tiny, tmp_path, monkeypatch):
    tiny(2)
    clock = iter([10.0, 42.0, 100.0, 131.6])
    monkeypatch.setattr(runner.time, "perf_counter", clock.__next__)
    days = [date.today().isoformat()]
    provenance = run("tiny", cache=tmp_path / "cache", folder=tmp_path).provenance
    days.append(date.today().isoformat())
    names = ["command", "date", "seconds", "python", "torch", "machine", "commit"]
    assert list(provenance) == names
    assert provenance["command"] == "python -m lecturelib.experiments run tiny"
    assert provenance["date"] in days
    assert provenance["seconds"] == 64
    assert provenance["python"] == platform.python_version()
    assert provenance["torch"] == torch.__version__
    assert provenance["machine"].startswith(platform.machine())
    assert f"{torch.get_num_threads()} CPU threads" in provenance["machine"]


def test_the_commit_is_that_of_the_library_when_the_run_began(tiny, tmp_path, monkeypatch):
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    tiny()
    monkeypatch.chdir(tmp_path)
    commit = run("tiny", cache=tmp_path / "cache", folder=tmp_path).provenance["commit"]
    assert re.fullmatch(rf"{head}(-dirty)?", commit)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": "no-such-run"}, ValueError, "name must be \"tiny\", got 'no-such-run'"),
        ({"name": "../claims"}, ValueError, "name must be "),
        ({"name": None}, TypeError, "name must be "),
        ({"jobs": 0}, ValueError, "jobs must be -1 or a positive integer, got 0"),
        ({"jobs": -2}, ValueError, "jobs must be an integer >= -1, got -2"),
        ({"jobs": "2"}, TypeError, "jobs must be an integer"),
        ({"dask": 8786}, TypeError, "dask must be a string, got 8786"),
        ({"cache": 3}, TypeError, "cache must be a path, got 3"),
        ({"folder": ""}, ValueError, "folder must be a path that is not empty"),
    ],
)
def test_a_run_that_is_refused_writes_nothing(tiny, tmp_path, arguments, kind, message):
    log = tiny()
    good = {"name": "tiny", "cache": tmp_path / "cache", "folder": tmp_path / "records"}
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        run(**good | arguments)
    assert begun(log) == [] and not (tmp_path / "records").exists()


# --- the command line ---------------------------------------------------------------------------


def test_the_list_names_experiments_and_their_cells(tiny, capsys):
    tiny(3)
    __main__.main(["list"])
    assert capsys.readouterr().out == "tiny: 3 cells\n"


def test_the_command_line_runs_an_experiment(tiny, monkeypatch):
    tiny()
    seen = {}
    monkeypatch.setattr(__main__, "run", lambda name, **options: seen.update(name=name, **options))
    __main__.main(["run", "tiny"])
    assert seen == {"name": "tiny", "jobs": 1, "dask": None, "cache": None}
    __main__.main(["run", "tiny", "--jobs", "-1", "--dask", "tcp://a:1", "--cache", "here"])
    assert seen == {"name": "tiny", "jobs": -1, "dask": "tcp://a:1", "cache": "here"}


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["run", "none"], ["run", "tiny", "--jobs", "x"]]
)
def test_the_command_line_refuses_nonsense(tiny, capsys, arguments):
    tiny()
    with pytest.raises(SystemExit):
        __main__.main(arguments)
    assert "python -m lecturelib.experiments" in capsys.readouterr().err


# --- the experiments of the book ----------------------------------------------------------------


def test_every_record_has_its_experiment_and_every_experiment_its_record():
    found = runner.experiments()
    files = (ROOT / "lecturelib" / "experiments").glob("[a-z]*.py")
    modules = [importlib.import_module(f"lecturelib.experiments.{file.stem}") for file in files]
    assert len(found) == sum(len(module.EXPERIMENTS) for module in modules)
    assert set(found) == {path.stem for path in (ROOT / "lecturelib" / "records").glob("*.json")}
    for name, experiment in found.items():
        assert experiment.name == name and re.fullmatch("[a-z]+(-[a-z]+)*", name)
        settings = [json.dumps(cell, sort_keys=True) for cell in experiment.grid]
        assert settings and len(set(settings)) == len(settings)
