"""What all benchmarks share: the table that is printed when a file is done."""

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
