"""The assignments: what they ask, the data of a variant, and the tests that students may see.

One module an assignment. What is right stands in none of them: hidden tests and solutions are the
teacher's.
"""

from importlib import import_module
from pkgutil import iter_modules

# What the chapters ask, and no course: "ex-…" are questions of the module `exercises`.
EXERCISES = "ex"


def names():
    """Return the names of all assignments: those of the modules here."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "exercises")


def assignment(name):
    """Return an assignment by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name == EXERCISES:
        return import_module(f"{__name__}.exercises").ASSIGNMENT
    if name not in names():
        raise ValueError(f"there is no assignment {name!r}: choose one of {', '.join(names())}")
    return import_module(f"{__name__}.{name}").ASSIGNMENT


def question(name):
    """Return a question by its name, for example "hw1-q2".

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    found = {q.name: q for q in assignment(name.partition("-")[0]).questions}
    if name not in found:
        raise ValueError(f"there is no question {name!r}: choose one of {', '.join(found)}")
    return found[name]
