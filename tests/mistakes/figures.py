"""Valid calls of lecturelib.figures."""

import matplotlib as mpl

from lecturelib import figures


def styled():
    with mpl.rc_context():
        figures.use_style()


CALLS = {"use_style": lambda: (styled, {})}
