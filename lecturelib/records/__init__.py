"""What full-scale runs measured, with their provenance; needs nothing but the standard library.

``python -m lecturelib.experiments run NAME`` writes ``NAME.json`` here, chapters read it.
"""

import json
from dataclasses import dataclass
from importlib import resources

__all__ = ["Record", "recorded"]


@dataclass(frozen=True)
class Record:
    """A measurement that a chapter cannot wait for, and where it comes from.

    Attributes
    ----------
    values : list or dict
        What the experiment returned.
    provenance : dict
        Command, date, seconds, versions, machine and commit.
    """

    values: list | dict
    provenance: dict


def recorded(name):
    """Read the record of an experiment.

    Parameters
    ----------
    name : str
        As ``python -m lecturelib.experiments list`` shows it.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If there is no such record; the message names those there are.

    Examples
    --------
    >>> len(recorded("separation-decay").values)
    54
    """
    files = {
        file.name.removesuffix(".json"): file
        for file in resources.files(__package__).iterdir()
        if file.name.endswith(".json")
    }
    if not isinstance(name, str) or name not in files:
        raise ValueError(f"name must be one of {', '.join(sorted(files))}, got {name!r}")
    return Record(**json.loads(files[name].read_text(encoding="utf-8")))
