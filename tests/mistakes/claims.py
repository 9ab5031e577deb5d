"""Valid calls of lecturelib.claims."""

from contextlib import redirect_stdout, suppress
from io import StringIO
from unittest import mock

from lecturelib import claims

REGISTRY = {
    "tiny": claims.Claim(
        "tiny", "chapter", "It is small.", "Slide 1", "Size", "something large", "checked"
    )
}


def silently(function):
    """Call it with one claim registered and nothing printed."""

    def call(*args, **kwargs):
        with mock.patch.object(claims, "registry", lambda: REGISTRY), redirect_stdout(StringIO()):
            function(*args, **kwargs)

    return call


def check(name, measured, expected=None, rel=None, abs=None, below=None, above=None, control=None):
    with suppress(claims.ClaimError):  # it was not as claimed, which is no mistake in the call
        silently(claims.check)(
            name, measured, expected, rel=rel, abs=abs, below=below, above=above, control=control
        )


def strict(enabled):
    try:
        claims.strict(enabled)
    finally:
        claims.strict(True)


CALLS = {
    "check": lambda: (check, {"name": "tiny", "measured": 0.1, "below": 1.0, "control": 5.0}),
    "registry": lambda: (lambda: claims.registry(), {}),
    "show": lambda: (
        lambda label, values, digits=2: silently(claims.show)(label, values, digits=digits),
        {"label": "NC1", "values": 0.1},
    ),
    "strict": lambda: (strict, {"enabled": True}),
    "table": lambda: (
        lambda columns, rows, digits=2: silently(claims.table)(columns, rows, digits),
        {"columns": ["NC1"], "rows": {"SGD": [0.1]}},
    ),
}
