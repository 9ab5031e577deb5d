"""What the tests of interactive figures share: a small figure, and what its html stores."""

import json
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from lecturelib.explore import explore_html

DATA_URI = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")


def draw(epoch, noise=0.0, colour="tab:blue"):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, 1], [epoch, noise], color=colour)
    ax.set(xlim=(0, 1), ylim=(-1, 5))
    return fig


def make(draw=draw, name="demo", alt="A line", epoch=(0, 1, 2), **arguments):
    return explore_html(draw, name=name, alt=alt, epoch=epoch, **arguments)


def stored(html):
    data = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(data)
