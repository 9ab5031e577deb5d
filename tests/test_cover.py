"""The cover: every image is drawn at its point, what is near over what is far."""

import cover
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lecturelib.figures import COLOURS
from lecturelib.metrics import simplex_etf

CORNERS = simplex_etf(4, 3).double().numpy()
BLOT = np.ones((4, 8, 8))


def colour_at(frame, place):
    """Colour and opacity of a frame at a place of the larger drawing."""
    column, row = np.round(place * cover.PIXELS / cover.SIZE).astype(int)
    *colour, shade = np.array(frame)[row, column] / 255
    return np.array(colour), shade


def test_images_at_the_corners_are_seen_there_in_the_colours_of_their_classes():
    places, _ = cover.seen(CORNERS)
    assert places.min() > 0 and places.max() < cover.SIZE
    frame = cover.draw_frame(BLOT, np.arange(4), CORNERS)
    for k, place in enumerate(places):
        colour, shade = colour_at(frame, place)
        assert shade == 1
        np.testing.assert_allclose(colour, to_rgb(COLOURS[k]), atol=0.02)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_image_hides_the_other(order):
    eye = np.array([np.sin(cover.TURN), np.cos(cover.TURN), 0]) * [-1, -1, 0] * np.cos(cover.TILT)
    eye[2] = np.sin(cover.TILT)
    points = np.array([-0.3 * eye, 0.3 * eye])
    places, near = cover.seen(points)
    assert near[1] > near[0]
    np.testing.assert_allclose(places[0], places[1], atol=1)
    labels = np.array(order)
    colour, _ = colour_at(cover.draw_frame(BLOT[:2], labels, points), places[1])
    np.testing.assert_allclose(colour, to_rgb(COLOURS[order[1]]), atol=0.02)


def test_a_picture_has_a_square_for_each_moment_and_fades_at_its_borders():
    far = np.array([[0, 0, 0], [1.2, 0.9, 0.9], [-1.2, -0.9, 0.9], [0.9, -1.2, -0.9]])
    picture = cover.draw(BLOT, np.arange(4), [CORNERS, far, CORNERS])
    assert picture.size == (3 * cover.PIXELS, cover.PIXELS)
    shade = np.array(picture)[..., 3]
    assert shade[0].max() == shade[:, 0].max() == 0 and shade.max() == 255
