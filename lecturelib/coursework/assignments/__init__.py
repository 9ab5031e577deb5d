"""The assignments: what they ask, the data of a variant, and the tests that students may see.

One module an assignment. What is right stands in none of them: hidden tests and solutions are the
teacher's.
"""

from importlib import import_module

NAMES = ("hw1", "hw2", "hw3", "hw4", "project")


def assignment(name):
    """Return an assignment by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no assignment {name!r}: choose one of {', '.join(NAMES)}")
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
