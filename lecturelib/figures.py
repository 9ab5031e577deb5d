"""One look for all figures."""

import matplotlib.pyplot as plt
from cycler import cycler

__all__ = ["COLOURS", "use_style"]

# Okabe and Ito's palette, told apart with every common kind of colour vision; its yellow is left
# out, as it is too faint on white.
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
    plt.style.use("default")  # whatever an earlier cell chose, panels are white
    dashes = cycler(linestyle=["-", "--", ":"]) * cycler(color=COLOURS)
    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.prop_cycle": dashes,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 144,
            "figure.facecolor": "white",
            "figure.figsize": (7.0, 3.6),
            "font.size": 10,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "image.cmap": "RdBu_r",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.facecolor": "white",
        }
    )
