"""Draw the figure of the front page: four digits on their way to the corners of a tetrahedron.

The network and its training are those of the chapter *Neural collapse*; every mark is a training
image, put where the network sees it. The picture is kept in `_static/cover.png`, four square
frames side by side on a transparent ground, in colours that stand out from white and from black.

usage: python tools/cover.py
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from lecturelib.datasets import load, load_standardized
from lecturelib.device import seed_everything
from lecturelib.figures import COLOURS
from lecturelib.metrics import ClassStatistics, simplex_etf
from lecturelib.networks import MLP
from lecturelib.training import train

COVER = Path(__file__).resolve().parents[1] / "_static" / "cover.png"
EPOCHS = (0, 2, 7, 300)
PIXELS = 440  # of a frame: twice what a page shows
CENTRE, VIEW = (0, 0.28), 1.22  # of a frame, and half its side, in radii of the tetrahedron
TURN, TILT = 0.62, 0.28  # of the tetrahedron before the eye, in radians
SIZE = 2 * PIXELS  # a frame is drawn twice as large
GLYPH = 68  # size of an image there
GREY = "#888888"  # as far from white as from black


def features_of_four_digits():
    """Train as the chapter does; return the images, their labels, and features at `EPOCHS`."""
    images = load("digits")
    standardized, _ = load_standardized("digits")
    chosen = images.labels < 4
    inputs, labels = standardized.inputs[chosen], images.labels[chosen]
    seed_everything(0)
    net = MLP([inputs[0].numel(), *[100] * 5, 4], batch_norm=True)
    history = train(
        net,
        inputs,
        labels,
        optimizer="sgd",
        lr=0.02,
        epochs=EPOCHS[-1],
        milestones=[250],
        batch_size=140,
        weight_decay=5e-3,
        every=EPOCHS,
        metrics={"features": lambda net: net.features(inputs).double()},
    )
    return images.inputs[chosen].flatten(1, 2), labels, history["features"]


def in_space_of_means(features, labels):
    """Return coordinates (N, 3) in the span of the class means, turned towards the tetrahedron."""
    statistics = ClassStatistics.from_features(features, labels)
    centred = statistics.centred_means
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:3]
    corners = simplex_etf(4, 3, dtype=features.dtype)
    left, _, right = torch.linalg.svd(axes @ centred.T @ corners)
    coordinates = (features - statistics.global_mean) @ axes.T @ left @ right
    return coordinates / centred.norm(dim=1).mean()


def seen(points, turn=TURN, tilt=TILT):
    """Return places in the frame (pixels, from its upper left) and how near they are to the eye."""
    x, y, z = points.T
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    up, depth = np.cos(tilt) * z + np.sin(tilt) * y, np.sin(tilt) * z - np.cos(tilt) * y
    near = 6 / (6 - np.minimum(depth, 3))  # nothing comes too near
    places = np.stack([x * near, -up * near], axis=-1)
    return (1 + (places - CENTRE) / VIEW) * SIZE / 2, near


def glyph(image, size):
    """Return the ink of an image at a size, and the paper around its strokes, as masks."""
    ink = Image.fromarray(np.pad(np.uint8(255 * image / image.max()), 1))
    ink = ink.resize((size, size), Image.Resampling.BICUBIC).point(
        lambda shade: min(255, 2 * shade)
    )
    paper = ink.filter(ImageFilter.MaxFilter(7)).point(lambda shade: min(255, 3 * shade))
    return ink, paper


def draw_frame(images, labels, points):
    """Return a frame: the tetrahedron, then images from far to near, each cut out of the last."""
    frame = Image.new("RGBA", (SIZE, SIZE), (*ImageColor.getrgb(GREY), 0))
    lines = ImageDraw.Draw(frame)
    corners, _ = seen(simplex_etf(4, 3, dtype=torch.float64).numpy())
    for a, b in combinations(corners, 2):
        lines.line([*a, *b], fill=GREY, width=5)
    frame = frame.convert("RGBa")  # colours times alpha, so that to cut out leaves no dark rims
    places, near = seen(points)
    for k in np.argsort(near):
        size = round(GLYPH * near[k])
        ink, paper = glyph(images[k], size)
        corner = tuple(np.round(places[k] - size / 2).astype(int))
        colour = ImageColor.getcolor(COLOURS[labels[k]], "RGBA")
        for fill, mask in [((0, 0, 0, 0), paper), (colour, ink)]:
            frame.paste(Image.new("RGBa", mask.size, fill), corner, mask)
    return frame.resize((PIXELS, PIXELS), Image.Resampling.BOX).convert("RGBA")


def fade(frame):
    """Let a frame run out softly where points lie beyond its border."""
    to_border = 1 - np.abs(np.linspace(-1, 1, PIXELS))
    shade = np.clip(np.minimum.outer(to_border, to_border) / 0.12, 0, 1)
    faded = np.array(frame)
    faded[..., 3] = faded[..., 3] * shade
    return Image.fromarray(faded)


def draw(images, labels, frames):
    """Return the picture: a square for each of the given coordinates, side by side."""
    picture = Image.new("RGBA", (len(frames) * PIXELS, PIXELS))
    for k, points in enumerate(frames):
        picture.paste(fade(draw_frame(images, labels, points)), (k * PIXELS, 0))
    return picture


def main():
    """Write the picture anew."""
    images, labels, features = features_of_four_digits()
    frames = [in_space_of_means(when, labels).numpy() for when in features]
    picture = draw(images.numpy(), labels.numpy(), frames)
    # Few colours, each with its own transparency, make a small file.
    picture.quantize(128, Image.Quantize.FASTOCTREE).save(COVER, optimize=True)


if __name__ == "__main__":
    main()
