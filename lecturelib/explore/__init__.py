"""Interactive figures: one call each, readable with or without a kernel.

:func:`explore` draws every frame beforehand and shows them in one piece of html with a slider per
parameter, so that the sliders also work on a static page. With ``live=True`` the same call gives
ipywidgets that draw anew for any value between the listed ones. :func:`cone` shows points that the
reader drags, and answers in the page itself.

Stored outputs are compared exactly (nbval), with data URIs blanked. The html therefore depends on
the arguments and on the figure size only; whatever depends on pixels lives inside the data URIs.
"""

from lecturelib.explore.cone import cone
from lecturelib.explore.frames import explore, explore_html

__all__ = ["cone", "explore", "explore_html"]
