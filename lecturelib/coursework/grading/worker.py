"""A warm process that runs submissions, each in a child of its own behind the sandbox's walls.

``python -P -m lecturelib.coursework.grading.worker DESCRIPTOR`` imports all that notebooks need and
makes one step of an optimiser, which takes seconds; a fork of it takes milliseconds. It never sees
a test and never runs a student's line itself. A child runs the cells, then gives answers and calls
functions as it is asked over a socket, until it is ended together with whatever it started.
"""

import ast
import builtins
import contextlib
import gc
import importlib
import io
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import types
from pathlib import Path

from lecturelib.coursework.grading import sandbox, wire

SILENT = "begin", "check", "done", "progress", "submit"  # what a notebook calls and no grader needs
BEGUN = "__student__"  # where it is kept whom the notebook named
OUTPUT = 20_000  # characters of what a notebook prints that a report shows
MESSAGE = 300  # characters of an error
FILES = 2000  # that a submission may create


class TimeIsUp(BaseException):
    """A cell or call took too long; no ordinary ``except`` catches it."""


def main(descriptor, forks):
    """Warm up, then run one submission after the other until nobody asks any more."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    try:
        if forks:
            warm_up()
        serve(control, forks)
    finally:
        home = os.environ["HOME"]  # made for this process by the one that started it
        if Path(home).name.startswith("coursework-"):
            shutil.rmtree(home, ignore_errors=True)


def serve(control, forks):
    """Run what is asked for, each in a fork; or, where that can't be, one and no more."""
    sandbox.adopt_orphans()
    if forks and sys.platform == "linux" and len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(
            "the warm process has several threads, and a fork of it would hang: set "
            "OMP_NUM_THREADS=1 before Python starts"
        )
    gc.collect()
    gc.freeze()  # so that children don't write to every page
    wire.send(control, {"ready": os.getpid()})
    while True:
        try:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return  # whoever asked is gone
            _, job = wire.receive(control)
        except (OSError, EOFError):
            return
        job["limits"] = sandbox.Limits(**job["limits"])
        connection = socket.socket(fileno=descriptors[0])
        if not forks:
            submission(connection, control, job)
            return
        child = os.fork()
        if child == 0:
            status = 70
            with contextlib.suppress(BaseException):
                status = submission(connection, control, job)
            os._exit(status)
        connection.close()
        limits = job["limits"]
        how = watch(child, control, Path(job["folder"]), limits.disk, limits.total + 5)
        try:
            wire.send(control, {"ended": how})
        except OSError:
            return


def warm_up():
    """Import and do once what takes long the first time."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(2, 2)
    descent = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    descent.step()
    figure, axes = plt.subplots()
    axes.set_title("$x$")
    figure.savefig(io.BytesIO())
    plt.close("all")
    # Those that a notebook imports; one that is broken or absent there is broken or absent here.
    names = "sklearn.linear_model scipy.linalg scipy.optimize pandas torchmetrics tqdm.auto"
    names += " IPython.core.inputtransformer2 IPython.display lecturelib.coursework.notebook"
    library = Path(__file__).parents[2]
    names = [*names.split(), *(f"lecturelib.{found.stem}" for found in library.glob("[a-z]*.py"))]
    names += [f"lecturelib.{found.parent.name}" for found in library.glob("[a-z]*/__init__.py")]
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    with contextlib.suppress(Exception):
        from lecturelib.coursework.assignments import assignment
        from lecturelib.coursework.assignments import names as known

        for name in known():
            with contextlib.suppress(Exception):
                assignment(name)


def watch(child, control, folder, disk, seconds):
    """Watch a child until whoever asked for it wants it ended; end it and all that it started.

    Returns how it ended: "ended", "exited", "signal N", "time" or "disk".
    """
    end, how, alive = time.monotonic() + seconds, None, True
    asked = False
    while not asked:
        asked = bool(select.select([control], [], [], 0.25 if alive else None)[0])
        if asked and control.recv(1) == b"?":  # it seems to have died: let that become true
            end = min(end, time.monotonic() + 1)
            while not ended(child) and time.monotonic() < end:
                time.sleep(0.002)
        if alive and ended(child):
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            alive, how = False, how or (f"signal {-code}" if code < 0 else "exited")
            sweep()  # what it left behind must not go on
        elif alive and how is None and not asked:
            how = "time" if time.monotonic() > end else "disk" if too_much(folder, disk) else None
            if how:
                os.kill(child, signal.SIGKILL)  # whoever asked sees the socket close
    if alive:
        os.kill(child, signal.SIGKILL)
    sweep()
    return how or "ended"


def ended(child):
    """Say whether a child has ended; it stays there to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def sweep():
    """End all descendants: those whose parents end become children of this process."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for name in os.listdir("/proc") if sys.platform == "linux" else ():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{int(name)}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    os.kill(int(name), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def too_much(folder, disk):
    """Say whether a folder holds more bytes or files than it may, or is nested too deep to tell."""
    files = size = 0
    todo = [folder]
    try:
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
                    if files > FILES or size > disk:
                        return True
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def submission(connection, control, job):
    """Run a submission's cells and give its answers, in a process that is this submission's."""
    forks = not job["once"]
    if forks:
        os.setsid()
        control.close()
    keep = connection.fileno()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 4096)
    folder, limits = job["folder"], job["limits"]
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder, MPLCONFIGDIR=folder)
    tempfile.tempdir = folder
    try:
        sandbox.enter(folder, limits)
    except Exception as error:  # then no code is run
        wire.send(connection, {"failed": 1}, text=str(error))
        return 71
    namespace = types.ModuleType("__main__")
    sys.modules["__main__"] = namespace
    pretend_notebook(namespace)
    signal.signal(signal.SIGALRM, ring)
    text = Capped()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        errors = [run_cell(connection, job, index, namespace) for index in range(len(job["cells"]))]
    sys.stdout = sys.stderr = Capped(0)  # inputs of hidden tests are coming
    begun = vars(namespace).get(BEGUN)
    wire.send(connection, {"ran": 1}, errors=errors, output=text.getvalue(), begun=begun)
    while True:
        try:
            message, asked = wire.receive(connection)
        except EOFError:
            return 0
        number = message["id"]
        reply = answer(namespace, asked, limits.call)
        try:
            wire.send(connection, {"id": number}, **reply)
        except wire.Malformed as error:
            wire.send(connection, {"id": number}, problem="kind", text=str(error))


def ring(*_):
    """Stop what runs too long."""
    raise TimeIsUp


class Capped(io.StringIO):
    """What is printed, up to a limit; the rest is thrown away."""

    def __init__(self, most=OUTPUT):
        super().__init__()
        self.most = most

    def write(self, text):
        """Keep what there is room for."""
        super().write(text[: max(0, self.most - self.tell())])
        return len(text)


def pretend_notebook(namespace):
    """Offer what IPython would: `display`, magics that do nothing, functions of the coursework."""

    def run_cell_magic(name, line, cell):
        if name in ("time", "timeit", "capture", "prun"):
            exec(compile(cell, "<cell>", "exec"), vars(namespace))

    def run_line_magic(name, line, *_, **__):
        if name in ("time", "timeit"):
            exec(compile(line, "<line>", "exec"), vars(namespace))

    shell = types.SimpleNamespace(
        run_cell_magic=run_cell_magic,
        run_line_magic=run_line_magic,
        magic=lambda *_: None,
        system=lambda *_: None,
        getoutput=lambda *_, **__: [],
        user_ns=vars(namespace),
    )
    builtins.get_ipython = lambda: shell
    builtins.display = lambda *_, **__: None
    for name in ("IPython", "IPython.core.getipython"):
        if name in sys.modules:
            sys.modules[name].get_ipython = builtins.get_ipython
    if "IPython.display" in sys.modules:
        sys.modules["IPython.display"].display = builtins.display
    from lecturelib import coursework

    def begin(assignment, student):
        mine = coursework.variant(student, assignment)
        vars(namespace)[BEGUN] = mine.student
        return mine

    stand_ins = {name: lambda *_, **__: None for name in SILENT}
    stand_ins["begin"] = begin
    stand_ins["done"] = lambda *_, **__: False  # what waits for it shows pictures
    for module in ("lecturelib.coursework", "lecturelib.coursework.notebook"):
        if module in sys.modules:
            vars(sys.modules[module]).update(stand_ins)


def run_cell(connection, job, index, namespace):
    """Run a cell; return None, or what went wrong."""
    wire.send(connection, {"cell": index})
    if index in job["skipped"]:
        return "not run: it ended the whole run before"
    try:
        signal.setitimer(signal.ITIMER_REAL, job["limits"].cell)
        try:
            source = plain_python(job["cells"][index])
            tree = ast.parse(source)
            exec(compile(tree, f"<cell {index + 1}>", "exec"), vars(namespace))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeIsUp:
        return f"stopped after {job['limits'].cell:g} s"
    except SyntaxError as error:
        return f"SyntaxError: {str(error)[:MESSAGE]}"
    except BaseException as error:
        return describe(error)


def plain_python(source):
    """Rewrite magics of notebooks as calls."""
    try:
        from IPython.core.inputtransformer2 import TransformerManager
    except ImportError:
        lines = source.splitlines()
        return "\n".join("pass" if line.startswith(("%", "!", "?")) else line for line in lines)
    return TransformerManager().transform_cell(source)


def describe(error):
    """Name an error and what it says; neither needs to be true, it is the student's."""
    with contextlib.suppress(BaseException):
        return f"{type(error).__name__}: {error}"[:MESSAGE]
    return "an error that cannot be shown"


def answer(namespace, asked, seconds):
    """Look up a name, or call it: what to send back."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            if asked["name"] not in vars(namespace):
                return {"problem": "missing", "text": ""}
            found = vars(namespace)[asked["name"]]
            if "arguments" in asked:
                if not callable(found):
                    kind = "missing" if found is None or found is ... else "not callable"
                    return {"problem": kind, "text": ""}
                found = found(*asked["arguments"])
            if callable(found):
                return {"problem": "callable", "text": ""}
            wire.encode(found, [])  # within the time limit: its methods are the student's
            return {"value": found}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeIsUp:
        return {"problem": "time", "text": ""}
    except wire.Malformed as error:
        return {"problem": "kind", "text": str(error)}
    except BaseException as error:
        return {"problem": "error", "text": describe(error)}


if __name__ == "__main__":
    main(int(sys.argv[1]), forks=sys.argv[2:] != ["once"])
