"""The side of whoever scores: warm processes, and what one of their children answers."""

import atexit
import builtins
import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from lecturelib.coursework.grading import wire
from lecturelib.coursework.questions import Wrong
from lecturelib.coursework.variants import student_name

__all__ = ["NoWorker", "NotDone", "Session", "Slow", "Worker", "worker"]

ROOT = Path(__file__).parents[3]
START = 120.0  # seconds that a warm process may take to get warm on a busy machine
GRACE = 2.0  # seconds beyond a limit that the child keeps itself, until it is ended
RUNS = 4  # times that a submission is run, each without the cells that ended the run before
# Names of errors say something; one made up could carry away the inputs of a hidden test.
KNOWN = set(vars(builtins))
ENDS = {
    "exited": "it ended Python",
    "time": "it took too long",
    "disk": "it wrote too much",
    "signal 9": "it used more time or memory than allowed",
    "signal 11": "it made Python crash",
    "signal 24": "it used more time than allowed",
    "signal 25": "it wrote too much",
    "signal 31": "it called the system in a way that is not allowed",
}


class NoWorker(RuntimeError):
    """No submission can be run at all."""


class Worker:
    """A warm process. It holds no test and no answer, and an environment without secrets.

    Parameters
    ----------
    forks : bool, optional
        Whether it runs each submission in a fork; otherwise it serves one and ends (default: where
        there is Linux).
    """

    def __init__(self, forks=sys.platform == "linux"):
        self.forks = forks
        self.home = tempfile.mkdtemp(prefix="coursework-")
        self.control, theirs = socket.socketpair()
        threads = ["OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR"]
        environment = {f"{name}_NUM_THREADS": "1" for name in threads}
        environment |= {"MPLBACKEND": "agg", "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"HOME": self.home, "TMPDIR": self.home, "MPLCONFIGDIR": self.home}
        environment |= {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "LANG": "C.UTF-8"}
        command = [sys.executable, "-P", "-m", "lecturelib.coursework.grading.worker"]
        command += [str(theirs.fileno()), *([] if forks else ["once"])]
        with theirs:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.home,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            wire.receive(self.control, START)
        except (OSError, EOFError, wire.Malformed) as error:
            self.close()
            raise NoWorker(
                "the process that runs submissions did not start: see its message above"
            ) from error

    def start(self, job):
        """Have a child run a submission; return the socket that leads to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.control.settimeout(START)
            socket.send_fds(self.control, [b"!"], [theirs.fileno()])
            wire.send(self.control, {}, **job, once=not self.forks)
        return ours

    def stop(self, died=False):
        """End the child and all that it started; return how it ended, in case it did by itself."""
        if not self.forks:
            self.close()
            return "ended"
        try:
            self.control.settimeout(START)
            self.control.sendall(b"?" if died else b".")
            return str(wire.receive(self.control, START)[0].get("ended"))
        except (OSError, EOFError, wire.Malformed):
            self.close()  # a warm process that is gone is replaced by the next who asks for one
            return "signal 9"

    @property
    def usable(self):
        """Whether it runs and can be asked again."""
        return self.process.poll() is None

    def close(self):
        """End the warm process, and with it what it runs."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.forks:  # it ends its child, then itself
                self.process.wait(5)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


_idle, _lock = [], threading.Lock()


@contextmanager
def worker():
    """Lend a warm process within a block; it stays warm for the next."""
    with _lock:
        found = _idle.pop() if _idle else None
    if found is None or not found.usable:
        found = Worker()
    try:
        yield found
    finally:
        if found.usable:
            with _lock:
                _idle.append(found)


@atexit.register
def _close():
    while _idle:
        _idle.pop().close()


class NotDone(Wrong):
    """The notebook has no answer there."""


class Slow(Wrong):
    """A function did not come back in time."""


class Session:
    """A submission that runs in a child of a warm process; the child may be ended and run anew.

    Parameters
    ----------
    host : Worker
        The warm process.
    cells : list of str
        Source of the notebook's code.
    folder : Path
        What it may write to.
    limits : Limits
        What it may use.

    Attributes
    ----------
    errors : list
        For each cell None, or what went wrong.
    output : str
        What the cells printed, up to a limit.
    notes : list of str
        What ended the run before its end.
    begun : str
        Whom the notebook named when it ran, or empty.
    quiet : bool
        Whether the submission's own words are kept out of hints: they could hold the inputs of a
        hidden test.
    """

    def __init__(self, host, cells, folder, limits):
        self.host, self.cells, self.folder, self.limits = host, cells, folder, limits
        self.errors, self.output, self.notes, self.quiet = [None] * len(cells), "", [], False
        self._end = time.monotonic() + limits.total
        self.begun = ""
        self._runs, self._skipped, self._connection = RUNS, {}, None

    def run(self):
        """Run the cells, unless they did and can be asked; skip those that ended a run before."""
        while self._connection is None and self._runs > 0 and self._left() > 0:
            self._runs -= 1
            job = {"cells": self.cells, "folder": str(self.folder), "skipped": list(self._skipped)}
            at = None
            try:
                if not self.host.usable:
                    raise EOFError
                self._connection = self.host.start(
                    {**job, "limits": dataclasses.asdict(self.limits)}
                )
                while True:
                    seconds = min(self._left(), self.limits.cell + GRACE)
                    message, found = wire.receive(self._connection, seconds)
                    if "ran" in message:
                        break
                    if "failed" in message and at is None:  # before the first line of a student
                        text = str(found.get("text"))
                        raise NoWorker(f"the walls around submissions could not be built: {text}")
                    if type(message.get("cell")) is int:
                        at = message["cell"]
                errors, output = found.get("errors"), found.get("output")
                if isinstance(errors, list) and len(errors) == len(self.cells) and not self.quiet:
                    self.errors = [None if text is None else str(text)[:500] for text in errors]
                    self.output = str(output)[:20_000]
                    self.begun = student_name(str(found.get("begun") or ""))[:200]
                for index, why in self._skipped.items():
                    self.errors[index] = why
            except (OSError, EOFError, wire.Malformed) as error:
                why = self._ended(error)
                if at is None or not 0 <= at < len(self.cells) or at in self._skipped:
                    self.notes.append(f"the notebook could not be run: {why}")
                    return
                self._skipped[at] = self.errors[at] = why
                self.notes.append(f"cell {at + 1} ended the run, and was left out: {why}")

    def get(self, name):
        """Return the value of a variable of the notebook; raise `Wrong` if it can't be had."""
        return self._ask(name, self.limits.call, name=name)

    def call(self, name, arguments):
        """Return what a function of the notebook returns; raise `Wrong` if it does not."""
        return self._ask(name, self.limits.call, name=name, arguments=list(arguments))

    def close(self):
        """End the child."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.host.stop()

    def _left(self):
        return self._end - time.monotonic()

    def _ended(self, error):
        """End the child, and say in words why."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        how = self.host.stop(died=isinstance(error, (EOFError, ConnectionError)))
        if isinstance(error, wire.Malformed):
            return "it sent something that cannot be read"
        if isinstance(error, TimeoutError):
            return "it took too long"
        return ENDS.get(how, f"it ended unexpectedly ({how})")

    def _ask(self, what, seconds, **asked):
        if self._connection is None:
            raise Wrong("the notebook could not be run so far that this can be looked at")
        number = secrets.token_hex(8)
        end = time.monotonic() + min(seconds + GRACE, max(self._left(), 0))
        try:
            self._connection.settimeout(max(end - time.monotonic(), 0.01))
            wire.send(self._connection, {"id": number}, **asked)
            message = {}
            while message.get("id") != number:  # it may have sent something before it was asked
                message, found = wire.receive(self._connection, end - time.monotonic())
        except (OSError, EOFError, wire.Malformed) as error:
            why = self._ended(error)
            self.notes.append(f"{what} ended the run: {why}")
            raise Wrong(f"{what} could not be looked at: {why}") from None
        if "value" in found:
            return found["value"]
        raise self._wrong(what, found.get("problem"), str(found.get("text", "")))

    def _wrong(self, what, problem, text):
        if problem == "missing":
            return NotDone(f"there is no {what} in the notebook")
        if problem == "callable":
            return Wrong(f"{what} must be a value, but is a function, or returned one")
        if problem == "not callable":
            return Wrong(f"{what} must be a function")
        if problem == "time":
            return Slow(f"{what} was stopped after {self.limits.call:g} s")
        if self.quiet:
            name = text.partition(":")[0]
            text = name if problem == "error" and name in KNOWN else "no more can be said here"
        if problem == "error":
            return Wrong(f"{what} raised an error: {text[:300]}")
        return Wrong(f"{what} can't be handed over: {text[:300]}")
