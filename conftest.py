"""Settings for every run of pytest in this repository, including nbval's."""

import os

# Progress bars are for people: their output, read back from a kernel, is never the same twice.
os.environ.setdefault("TQDM_DISABLE", "1")
