"""Valid calls of lecturelib.records."""

from lecturelib import records

CALLS = {"recorded": lambda: (records.recorded, {"name": "separation-decay"})}
