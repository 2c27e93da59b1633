"""The demo: stars over a galaxy, opened by the door that real data take."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.binned import BinnedData
from skyfold.geometry import Grid
from skyfold.points import with_points
from skyfold.simulate import Demo, simulate
from skyfold.sources import Sources
from skyfold.vector import Array
from skyfold_hst.frames import SKY, STARS
from skyfold_hst.telescope import field, stars, telescope_psf
from skyfold_image.opener import open_image

NAME = "hst-stars"
METHOD = {"name": "two-channel"}


def hst_stars(seed: int = 1) -> Demo:
    """Simulate 25 stars over a spiral galaxy, half of them between pixels."""
    shape = (96, 96)
    places, fluxes = stars(seed, 25, shape)
    sources = Sources(tuple(str(i + 1) for i in range(len(places))), places)
    psf = telescope_psf(48)

    def opened(values: Any) -> BinnedData:
        data = with_points(open_image(values, psf, psf_keep=True, name=NAME), sources)
        assert isinstance(data, BinnedData)
        return data.with_origin(advice={"method": METHOD})

    blank = opened(_image(np.ones(shape)))
    grid = blank.components[SKY].geometry
    assert isinstance(grid, Grid)
    y, x = np.indices(grid.shape)
    top, left = (part.start or 0 for part in grid.inside)
    truth = {SKY: field(y - top - 47.5, x - left - 47.5), STARS: fluxes}
    data = opened(_image(simulate(blank, truth, seed)))
    return Demo(
        NAME,
        "25 stars of 600 to 30000 counts, half of them between pixels, over a spiral galaxy, seen "
        "by a telescope like Hubble: fluxes of the stars, and the galaxy without them",
        data,
        truth,
        METHOD,
        150,
    )


def _image(values: Array) -> Any:
    """Return values with celestial coordinates, 0.0455 arcsec per pixel."""
    from astropy.io import fits

    cards = {
        "CTYPE1": "RA---TAN", "CRVAL1": 202.47, "CRPIX1": 48.5, "CDELT1": -0.0455 / 3600,
        "CTYPE2": "DEC--TAN", "CRVAL2": 47.195, "CRPIX2": 48.5, "CDELT2": 0.0455 / 3600,
        "CUNIT1": "deg", "CUNIT2": "deg",
    }  # fmt: skip
    return fits.ImageHDU(values, fits.Header(cards))
