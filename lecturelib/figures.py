"""One look for all figures."""

from importlib import resources

import matplotlib.pyplot as plt

__all__ = ["COLOURS", "use_style"]

# Okabe and Ito's palette, told apart with every common kind of colour vision; its yellow is left
# out, as it is too faint on white. The style sheet has the same.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def use_style():
    """Set matplotlib's defaults for the book: sizes, colours, a white panel on any page.

    Lines cycle through colour first and then dash pattern, so that no two of the first 21 look
    alike, also in print.

    Examples
    --------
    >>> use_style()
    >>> plt.rcParams["figure.figsize"]
    [7.0, 3.6]
    """
    # First matplotlib's own defaults: whatever an earlier cell chose, panels are white.
    plt.style.use(["default", str(resources.files(__package__) / "book.mplstyle")])
