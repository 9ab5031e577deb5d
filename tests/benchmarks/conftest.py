"""What all benchmarks share: the table that is printed when a file is done, and a busy machine."""

import multiprocessing
import os
import time
from contextlib import contextmanager

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def report(request):
    """Lines of the table. ``start()`` of the benchmark warms up and returns what heads them."""
    threads = torch.get_num_threads()
    lines = [f"{request.module.start()}, {threads} thread{'s'[: threads > 1]}"]
    yield lines
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n\n" + "\n".join(lines))


def _burn():
    while True:
        sum(range(100_000))


@contextmanager
def busy_machine():
    """Keep every core but one busy with other processes."""
    context = multiprocessing.get_context("spawn")
    count = max(1, len(os.sched_getaffinity(0)) - 1)
    burners = [context.Process(target=_burn, daemon=True) for _ in range(count)]
    for burner in burners:
        burner.start()
    time.sleep(1)  # until they have started
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


@pytest.fixture
def slowdown():
    """Return a function that measures what a second thread costs on a busy machine.

    ``slowdown(seconds)`` → the time that ``seconds()`` returns with two threads over that with
    one, medians of five interleaved runs while other processes keep the machine busy.
    """

    def measure(seconds):
        threads, times = torch.get_num_threads(), {1: [], 2: []}
        with busy_machine():
            for _ in range(5):
                for count, found in times.items():
                    torch.set_num_threads(count)
                    found.append(seconds())
        torch.set_num_threads(threads)
        return sorted(times[2])[2] / sorted(times[1])[2]

    return measure
