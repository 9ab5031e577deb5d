"""Both forms of the matrix of the errors, and every routine."""

import pytest
from deep_matrix_completion.cases import SOLVERS

from lecturelib.deep_matrix_completion import errors


@pytest.fixture(params=["dense", "sparse"])
def form(request, monkeypatch):
    """Small matrices are multiplied out, or entries are gathered as in large ones."""
    if request.param == "sparse":
        monkeypatch.setattr(errors, "TINY", 0)
        monkeypatch.setattr(errors, "MEDIUM", 0)
    return request.param


@pytest.fixture(params=SOLVERS.values(), ids=SOLVERS)
def solve(request):
    """A routine for observed entries."""
    return request.param
