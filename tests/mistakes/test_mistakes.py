"""Nonsense in place of any argument: it works, or the error names the argument.

Every public function and class of the library has an entry in a file of this folder, ``NAME.py``
for the module ``lecturelib.NAME``: a function that returns what to call and valid arguments by
name. Every argument is replaced by every nonsense, and two at a time by chance.
"""

import importlib.util
import inspect
import pkgutil
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lecturelib

NONSENSE = {
    "None": lambda: None,
    "a word": lambda: "nonsense",
    "no word": lambda: "",
    "no list": lambda: [],
    "a list": lambda: [1, 2],
    "a list of lists": lambda: [[1.0, 2.0], [3.0, 4.0]],
    "a list of None": lambda: [None],
    "a set": lambda: {1, 2},
    "a dict": lambda: {"a": 1},
    "bytes": lambda: b"ab",
    "an object": object,
    "a function": lambda: lambda *args, **kwargs: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "3": lambda: 3,
    "0.5": lambda: 0.5,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "complex": lambda: 1j,
    "an array": lambda: np.random.default_rng(0).standard_normal((4, 3)),
    "a long array": lambda: np.linspace(0, 1, 5),
    "no array": lambda: np.zeros(0),
    "an array of words": lambda: np.array(["a", "b"]),
    "an array of NaN": lambda: np.full((4, 3), np.nan),
    "a 0-d tensor": lambda: torch.tensor(0.5),
    "no tensor": lambda: torch.zeros(0),
    "a tensor": lambda: torch.arange(6.0).view(2, 3),
    "a high tensor": lambda: torch.ones(2, 2, 2, 2),
    "an integer tensor": lambda: torch.tensor([0, 1, 5]),
    "a tensor of NaN": lambda: torch.full((4, 3), torch.nan),
    "a complex tensor": lambda: torch.ones(2, 2, dtype=torch.complex64),
    "a tensor of booleans": lambda: torch.tensor([True, False]),
    "a module": lambda: torch.nn.Linear(2, 3),
    "a module without parameters": torch.nn.Identity,
    "a type": lambda: torch.int64,
}
# Nonsense that could have been meant, had another argument been different: then that one may be
# the one that is named.
PLAUSIBLE = {"-1", "0", "3", "0.5", "a list", "no list"}
PLAUSIBLE |= {kind for kind in NONSENSE if "array" in kind or "tensor" in kind}
# What a public function may raise besides, as its docstring says.
ALLOWED = (FloatingPointError, FileNotFoundError)
FOLDER = Path(__file__).parent
MODULES = [module.name for module in pkgutil.iter_modules(lecturelib.__path__)]


def calls():
    """All entries, by module and name."""
    found = {}
    for path in sorted(set(FOLDER.glob("*.py")) - {Path(__file__)}):
        spec = importlib.util.spec_from_file_location(f"mistakes_{path.stem}", path)
        entries = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(entries)
        found |= {(path.stem, name): make for name, make in entries.CALLS.items()}
    return found


CALLS = calls()


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module):
    public = importlib.import_module(f"lecturelib.{module}")
    names = {
        name
        for name in public.__all__
        if callable(getattr(public, name)) and not is_exempt(getattr(public, name))
    }
    entries = {name.partition(".")[0] for place, name in CALLS if place == module}
    assert names <= entries


def is_exempt(thing):
    """Results, which the library makes itself, and what is abstract."""
    return inspect.isclass(thing) and (
        issubclass(thing, Exception | tuple)
        or inspect.isabstract(thing)
        or getattr(thing, "__dataclass_params__", None) is not None
        or thing.__name__ == "Movable"
    )


@pytest.mark.parametrize("place", CALLS, ids=".".join)
def test_the_entries_are_valid(place):
    function, arguments = CALLS[place]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(**arguments)
    plt.close("all")


def arguments_of(place):
    """Names of the arguments that can be replaced."""
    function, _ = CALLS[place]()
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def attempt(place, chosen):
    """Make a call with nonsense for some arguments; demand that an error names one of them."""
    function, arguments = CALLS[place]()
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments | {name: NONSENSE[kind]() for name, kind in chosen.items()})
    except ALLOWED:
        pass
    except (TypeError, ValueError) as error:
        culprits = arguments_of(place) if PLAUSIBLE & set(chosen.values()) else chosen
        named = any(re.search(rf"\b{name}\b", str(error)) for name in culprits)
        assert named, f"{chosen}: {type(error).__name__}: {error}"
    except Exception as error:
        raise AssertionError(f"{chosen}: {type(error).__name__}: {error}") from error
    finally:
        plt.close("all")
        assert torch.get_num_threads() == threads
        torch.set_rng_state(state)


@pytest.mark.parametrize("place", CALLS, ids=".".join)
def test_any_nonsense_works_or_is_named(place):
    for name in arguments_of(place):
        for kind in NONSENSE:
            attempt(place, {name: kind})


@pytest.mark.parametrize(
    "place", [place for place in CALLS if len(arguments_of(place)) > 1], ids=".".join
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_two_kinds_of_nonsense_work_or_are_named(place, data):
    names = st.lists(st.sampled_from(arguments_of(place)), min_size=2, max_size=2, unique=True)
    kinds = st.sampled_from(list(NONSENSE))
    attempt(place, {name: data.draw(kinds, label=name) for name in data.draw(names)})
