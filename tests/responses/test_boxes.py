"""Stars as small boxes of an interpolated kernel."""

import numpy as np
import pytest

from skyfold.errors import DataError
from skyfold.response import check_adjoint
from skyfold_responses import Psf
from skyfold_responses.boxes import boxes

PLACES = np.array([[20.0, 21.0], [3.4, 30.7], [39.2, 0.1]])


def gauss(shape, sigma=1.4):
    y, x = (np.arange(n) - (n - 1) // 2 for n in shape)
    kernel = np.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))
    return kernel / kernel.sum()


@pytest.mark.parametrize("interpolant", ["nearest", "linear", "poly3", "poly5"])
def test_on_a_pixel_a_box_is_the_kernel(interpolant):
    made = boxes(gauss((32, 33)), PLACES[:1], (40, 45), (9, 11), interpolant)
    image = made.forward(np.array([5.0]))
    np.testing.assert_allclose(image[17:26, 15:26], 5 * gauss((32, 33))[11:20, 11:22], rtol=1e-12)
    assert np.count_nonzero(image) == 99


def test_more_nodes_come_closer_to_the_exact_shift():
    exact = Psf(gauss((41, 41)), (40, 45), "same").points(PLACES[:2]).forward(np.array([1.0, 2.0]))
    away = []
    for interpolant in ("nearest", "linear", "poly3", "poly5"):
        made = boxes(gauss((41, 41)), PLACES[:2], (40, 45), (21, 21), interpolant)
        away.append(np.abs(made.forward(np.array([1.0, 2.0])) - exact).max())
    assert away[0] > 2 * away[1] > 8 * away[2] > 16 * away[3]


def test_boxes_end_at_the_edges_and_keep_the_share_inside():
    made = boxes(gauss((41, 41)), PLACES, (40, 45), (7, 7))
    assert check_adjoint(made) < 1e-15
    light = made.sensitivity(np.ones((40, 45)))
    assert light[0] == pytest.approx(gauss((41, 41))[17:24, 17:24].sum())
    assert light[2] == pytest.approx(0.65, abs=0.02)  # the rest lies below the first row


def test_a_kernel_smaller_than_its_box_is_dark_beyond():
    made = boxes(gauss((5, 5)), PLACES[:2], (40, 45), (21, 21), "linear")
    image = made.forward(np.array([0.0, 1.0]))
    assert np.count_nonzero(image) == 36
    assert image.sum() == pytest.approx(1.0)


def test_stars_outside_are_refused():
    with pytest.raises(DataError, match=r"star 2 at \(45, 3\).*45 x 40 pixels: remove it"):
        boxes(gauss((5, 5)), np.array([[44.4, 3.0], [45.0, 3.0]]), (40, 45))
