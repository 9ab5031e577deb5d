"""Valid calls of lecturelib.explore."""

from unittest import mock

import matplotlib.pyplot as plt

from lecturelib import explore


def draw(epoch):
    return plt.figure(figsize=(1, 1))


def shown(draw, name, alt, caption="", labels=None, start=None, live=False, epoch=(0, 1)):
    with mock.patch("IPython.display.display"):
        explore.explore(
            draw,
            name=name,
            alt=alt,
            caption=caption,
            labels=labels,
            start=start,
            live=live,
            epoch=epoch,
        )


def html(draw, name, alt, budget=400_000, epoch=(0,)):
    explore.explore_html(draw, name=name, alt=alt, budget=budget, epoch=epoch)


CALLS = {
    "explore": lambda: (shown, {"draw": draw, "name": "demo", "alt": "A panel"}),
    "explore_html": lambda: (html, {"draw": draw, "name": "demo", "alt": "A panel"}),
}
