"""How values become colours."""

import numpy as np
import pytest

from skyfold.shades import norm, softening


def test_diffuse_light_is_seen_beside_a_point_that_outshines_it():
    sky = np.full((40, 40), 1.0)
    sky[3, 5] = 1000.0

    assert float(norm(sky, "sky")(1.0)) > 0.1
    assert float(norm(sky, "sky")(1000.0)) == 1.0


def test_a_sky_of_even_light_is_stretched_as_any_image():
    sky = np.random.default_rng(1).uniform(1, 2, (40, 40))

    assert softening(sky, "sky") == pytest.approx(sky.max() / 30)


def test_a_sky_without_values_has_colours():
    assert softening(np.full((3, 3), np.nan), "sky") > 0
