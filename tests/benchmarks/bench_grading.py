"""A class of 200, a tenth of it hostile, graded on two cores, beside a fresh process for each.

Run ``pytest tests/benchmarks/bench_grading.py``: the table is printed at the end. A notebook has
five cells: it imports PyTorch and this library, makes a hundred steps of SGD and defines what is
asked for. A fresh process that runs such a notebook (no sandbox, no tests, nothing hostile) is
measured eight times, two at once, and scaled to 200. Hostile are four endless loops, four sleeps,
crashes, forks, floods, attempts to read and to write elsewhere; a cell may take ten seconds.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import cloudpickle
from helpers import ROOT

from lecturelib.coursework.grading import Limits, grade, sandbox
from lecturelib.coursework.questions import Assignment, Question, Test, expect_close

CLASS, HOSTILE, FRESH = 200, 20, 8
CELLS = [
    "import numpy as np\nimport torch\nfrom lecturelib import coursework, metrics",
    "mine = coursework.variant({student!r}, 'bench')\nsquare = mine.stream('a').uniform(1, 2) ** 2",
    "torch.manual_seed(0)\ninputs, labels = torch.randn(200, 10), torch.arange(200) % 4\n"
    "model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))",
    "descent = torch.optim.SGD(model.parameters(), lr=0.1)\nfor _ in range(100):\n"
    "    loss = torch.nn.functional.cross_entropy(model(inputs), labels)\n"
    "    descent.zero_grad()\n    loss.backward()\n    descent.step()\nlast = float(loss.detach())",
    "def centre(rows):\n    rows = np.asarray(rows)\n    return rows - rows.mean(0)",
]
ATTACKS = [
    "while True: pass",
    "import time\ntime.sleep(1000)",
    "import os\nos._exit(0)",
    "import os\nos.fork()",
    "huge = bytearray(1 << 34)",
    "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "import os\nos.kill(os.getppid(), 9)",
    "for _ in range(20_000): print('x' * 1000)",
    "open('x', 'wb').write(bytes(100 << 20))",
    "import ctypes\nctypes.string_at(0)",
]


def begins(student):
    return f"from lecturelib import coursework\ncoursework.begin('bench', student={student!r})"


def square_test(answer, mine):
    expect_close(answer, mine.stream("a").uniform(1, 2) ** 2, "the square")


def last_test(answer, mine):
    expect_close(answer, 1.2, "the loss", abs=0.3)


def centre_test(answer, mine):
    rows = mine.stream("rows").normal((50, 4))
    expect_close(answer(rows), rows - rows.mean(0), "the rows", abs=1e-12)


WHOLE = Assignment(
    "bench",
    "Benchmark",
    5,
    (
        Question("bench-q1", "Square", "square", "value", ()),
        Question("bench-q2", "Loss", "last", "value", ()),
        Question("bench-q3", "Centre", "centre", "function", ()),
    ),
)
HIDDEN = {
    "bench-q1": (Test("square", square_test, points=1),),
    "bench-q2": (Test("loss", last_test, points=1),),
    "bench-q3": (Test("centre", centre_test, points=1),),
}
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # other processes can't import it


def start():
    return f"{CLASS} submissions, {HOSTILE} hostile; walls missing: {sandbox.missing() or 'none'}"


def cells(student):
    return [cell.replace("{student!r}", repr(student)) for cell in CELLS]


def test_grading_takes_a_third_of_fresh_processes(report, tmp_path):
    folder = tmp_path / "submissions"
    folder.mkdir()
    attacks = islice(cycle(ATTACKS), HOSTILE)
    for index in range(CLASS):
        student = f"student{index:03}@example.org"
        sources = [begins(student), *cells(student)]
        if index % (CLASS // HOSTILE) == 5:
            sources.insert(1, next(attacks))
        book = [{"cell_type": "code", "source": source} for source in sources]
        path = folder / f"student{index:03}.ipynb"
        path.write_text(json.dumps({"cells": book, "nbformat": 4}))

    def fresh(index):
        code = "\n".join(["import sys", f"sys.path.insert(0, {str(ROOT)!r})", *cells(str(index))])
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
        return time.perf_counter() - begin

    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        each = list(pool.map(fresh, range(FRESH)))
    plain = (time.perf_counter() - begin) * CLASS / FRESH
    begin = time.perf_counter()
    results = grade(
        folder, WHOLE, HIDDEN, tmp_path / "out", workers=2, limits=Limits(cell=10), progress=False
    )
    graded = time.perf_counter() - begin
    right = sum(result["score"] == 3 for result in results)
    report.append(
        f"fresh processes, two at once: {sum(each) / FRESH:.1f} s each, {plain:.0f} s all"
    )
    report.append(f"graded by two workers: {graded:.0f} s, {graded / plain:.2f} of that")
    report.append(f"all points: {right} of {CLASS} (an attack costs a cell, not the notebook)")
    assert right == CLASS
    assert graded < plain / 3
