"""Frames as pictures: drawn on white at one size, encoded as small as they come."""

import base64
import io
import math
from contextlib import contextmanager
from html import escape

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from lecturelib import checks

CSS_PIXELS_PER_INCH = 100

# Lines and text at 640 x 400 CSS pixels take about 11 kB of base64 x density in 24 colours, so that
# 11 frames fit the default budget at density 2 (sharp on any screen) and 18 at 1.25 (a little soft
# on phones). Lossless WebP is a quarter smaller than PNG; lossy WebP of that size blurs text.
BYTES_PER_FRAME = 13_000
DENSITIES = 1.25, 2.0
PALETTES = 256, 64, 24, 16  # heat maps need the first and stay small; lines look well in the last


def called(name, function, values: dict):
    """Call what was given for an argument with the values of the sliders."""
    try:
        return function(**values)
    except TypeError as error:
        message = f"{name} must be a function of {', '.join(values)}, but: {error}"
        raise TypeError(message) from error


@contextmanager
def _closing_new_figures():
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def render(draw, values: dict, density: float) -> Image.Image:
    """Draw one frame on white, whatever style is in use, and close its figure."""
    with _closing_new_figures():
        figure = called("draw", draw, values)
        if not isinstance(figure, Figure):
            expected = "a function that returns a matplotlib Figure (end it with `return fig`)"
            raise checks.wrong("draw", expected, figure, TypeError)
        png = io.BytesIO()
        figure.savefig(
            png,
            format="png",
            dpi=density * CSS_PIXELS_PER_INCH,
            facecolor="white",
            transparent=False,
            bbox_inches=figure.bbox_inches,  # never "tight": all frames keep one size
        )
        plt.close(figure)  # also a figure that was open before and is drawn anew for each frame
    return Image.open(png).convert("RGB")


def encode(image: Image.Image, colours: int) -> str:
    """Return a frame as the data URI of a lossless WebP with a palette."""
    palette = image.quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
    )
    # The palette's white is an average with its near greys.
    whitened = palette.convert("RGB").point(lambda level: 255 if level >= 251 else level)
    webp = io.BytesIO()
    whitened.save(webp, format="WEBP", lossless=True, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(webp.getvalue()).decode()


def encode_within(images: list, size: float) -> list[str]:
    """Encode frames in the largest palette with which they should fit `size` bytes, else the least.

    A few frames, evenly spaced, are tried instead of all: encoding takes as long as drawing.
    """
    sample = images[:: math.ceil(len(images) / 4)]
    room = size * len(sample) / len(images)
    for colours in PALETTES:
        if sum(len(encode(image, colours)) for image in sample) <= room:
            break
    return [encode(image, colours) for image in images]


def image_html(uri: str, alt: str, size: tuple[int, int], density: float) -> str:
    """Return the element that shows a frame at its size in CSS pixels."""
    width, height = (round(pixels / density) for pixels in size)
    return (
        f'<img class="explore-frame" src="{uri}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}">'
    )
