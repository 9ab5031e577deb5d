"""The book's style: white panels, and colours that every common kind of sight tells apart."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from lecturelib.figures import COLOURS, use_style

# Machado, Oliveira, Fernandes (2009), full severity, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


@pytest.fixture(autouse=True)
def _restore_style():
    with mpl.rc_context():
        yield


def lab(colour, vision):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / RGB_TO_XYZ.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / 3 / (6 / 29) ** 2 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest_pair(colours, vision):
    return min(
        np.linalg.norm(lab(one, vision) - lab(two, vision)) for one, two in combinations(colours, 2)
    )


@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(vision):
    # In CIELAB 2.3 is just noticeable; the nearest pair of matplotlib's ten falls below 8.
    assert nearest_pair(COLOURS, vision) > 15
    assert min(np.linalg.norm(lab(one, vision) - lab("white", vision)) for one in COLOURS) > 25


def test_the_measure_sees_colours_that_are_confused():
    assert lab("white", "protanopia") == pytest.approx([100, 0, 0], abs=0.1)
    assert nearest_pair(["tab:red", "tab:green"], "normal") > 100
    assert nearest_pair(["tab:red", "tab:green"], "deuteranopia") < 8


def test_style_of_a_figure():
    use_style()
    figure, axes = plt.subplots()
    lines = [axes.plot([0, 1])[0] for _ in range(21)]
    plt.close(figure)
    assert to_hex(figure.get_facecolor()) == to_hex(axes.get_facecolor()) == "#ffffff"
    assert to_hex(plt.rcParams["savefig.facecolor"]) == "#ffffff"
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 21
    assert [line.get_color() for line in lines[:7]] == list(COLOURS)


def test_panels_are_white_whatever_an_earlier_cell_chose():
    plt.style.use("dark_background")
    plt.rcParams["savefig.bbox"] = "tight"
    use_style()
    first = dict(plt.rcParams)
    use_style()
    assert dict(plt.rcParams) == first
    figure, axes = plt.subplots()
    plt.close(figure)
    colours = figure.get_facecolor(), axes.get_facecolor(), plt.rcParams["savefig.facecolor"]
    assert {to_hex(colour) for colour in colours} == {"#ffffff"}
    assert to_hex(axes.xaxis.label.get_color()) == "#000000"
    assert plt.rcParams["savefig.bbox"] is None
