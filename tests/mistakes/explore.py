"""Valid calls of lecturelib.explore."""

from unittest import mock

import matplotlib.pyplot as plt

from lecturelib import explore


def draw(epoch):
    return plt.figure(figsize=(1, 1))


def shown(
    draw, name, alt, caption="", labels=None, start=None, play=None, live=False, epoch=(0, 1)
):
    options = {"caption": caption, "labels": labels, "start": start, "play": play, "live": live}
    with mock.patch("IPython.display.display"):
        explore.explore(draw, name=name, alt=alt, epoch=epoch, **options)


def html(draw, name, alt, budget=300_000, epoch=(0,)):
    explore.explore_html(draw, name=name, alt=alt, budget=budget, epoch=epoch)


def dragged(own, others, name, alt, caption=""):
    with mock.patch("IPython.display.display"):
        explore.cone(own, others, name=name, alt=alt, caption=caption)


POINTS = {"own": [(0, 1), (1, 1)], "others": [(0, -1)]}
CALLS = {
    "cone": lambda: (dragged, {**POINTS, "name": "demo", "alt": "A line"}),
    "explore": lambda: (shown, {"draw": draw, "name": "demo", "alt": "A panel"}),
    "explore_html": lambda: (html, {"draw": draw, "name": "demo", "alt": "A panel"}),
}
