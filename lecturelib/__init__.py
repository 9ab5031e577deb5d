"""The routines behind *Low-dimensional structures in deep representation learning*.

A chapter ``chapters/NAME.ipynb`` teaches the module ``lecturelib.NAME``; the other modules are
shared by all chapters. Import a module, not this package: nothing is re-exported here.
"""

__version__ = "0.1.0"
