"""A PSF improved by the stars of a list, before they are measured with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import skyfold
from skyfold import files
from skyfold.binned import BinnedData
from skyfold.geometry import Grid, Normalisations
from skyfold.model import Component
from skyfold.pixels import Diagonal
from skyfold.points import on_grid, with_points
from skyfold.profiles import centroid, fwhm_of
from skyfold.source_files import read_sources
from skyfold.sources import Sources, placed
from skyfold.vector import Array
from skyfold_hst.frames import SKY, STARS, open_plucy
from skyfold_image.reading import read_image
from skyfold_responses.points import Points

BELOW = "below"
ROUNDS, LAPS = 3, 30
REACH = 4.0  # widths of the PSF: further out it cannot be told from what lies below
LEAST = 1e-6  # of its peak, from which the PSF can grow
SMOOTH: Mapping[str, Any] = {"smooth": "10 pix", "strength": 0.3}
ALIKE: Mapping[str, Any] = {"entropy": {"coefficient": 1.0, "reference": {"smooth": "2 pix"}}}


def better_psf(options: Mapping[str, Any], path: Path) -> str:
    """Write the PSF that the stars of a list show, and tell how it changed.

    By turns stars and a smooth sky are restored with the PSF held, by the method two-channel, and
    the PSF with these held. Stars stay where they are, between pixels. The PSF is the one given
    times factors above zero that resemble their own blur, by the floating prior, so that what is
    changed is what the counts tell. Beyond four widths from its middle the given one stays:
    there, light of the stars and of the sky look alike.

    Parameters
    ----------
    options
        What `open_plucy` takes, with a list of stars.
    path
        FITS file to write.

    Raises
    ------
    DataError
        If no star of the list has light.
    """
    from astropy.io import fits

    given = {k: v for k, v in options.items() if v is not None}
    listed, block = given.pop("stars"), tuple(given.pop("block"))
    if isinstance(given["psf"], list):
        given["psf"] = given["psf"][0]
    data = open_plucy(**given, block=block)
    image, frame = read_image(given["counts"], "counts").grid, data.origin.geometry
    assert isinstance(frame, Grid)
    sources = read_sources(listed)
    places = on_grid(placed(sources, image), image, frame)
    sources = replace(sources, places=places, frame="", flux=None, psf=None)
    (before,) = data.parameters.values()
    form = np.maximum(before, LEAST * before.max())
    form /= form.sum()
    after = form
    for _ in range(ROUNDS):
        after = _restored(data.at({SKY: after}), sources, form, after)
    with files.replacing(path) as partial:
        fits.PrimaryHDU(after).writeto(partial, overwrite=True)
    return f"its width went from {fwhm_of(before):.3g} to {fwhm_of(after):.3g} pixels"


def _restored(data: BinnedData, sources: Sources, given: Array, kernel: Array) -> Array:
    """Return the PSF restored with stars and sky held, as its last version tells them."""
    measured = skyfold.run(with_points(data, sources), "two-channel", progress=False, **SMOOTH)
    if not np.any(measured.model[STARS] > 0):
        raise sources.error("no star of the list has light, so nothing shows the PSF: modpsf=no")
    sky, grid, frame = data.whole[SKY], data.components[SKY].geometry, data.origin.geometry
    assert isinstance(grid, Grid)
    assert isinstance(frame, Grid)
    points = Points([np.ones((1, 1))], on_grid(sources.places, frame, grid), grid.shape, None, True)
    starlight = sky.tangent(points.forward(measured.model[STARS]))
    away = np.indices(given.shape) - np.array(centroid(given))[:, None, None]
    inside = np.hypot(*away) <= REACH * fwhm_of(given)
    wings = np.where(inside, 0, given)
    below = sky.forward(measured.model[SKY]) + starlight.forward(wings)
    shown = BinnedData(
        data.full_counts,
        {"psf": starlight @ Diagonal(given), BELOW: np.maximum(below, 1e-6 * below.max())},
        data.weight,
        components={
            "psf": Component(
                Grid(given.shape), start=np.where(inside, kernel / given, 0), mask=inside
            ),
            BELOW: Component(Normalisations(), fixed=True),
        },
    )
    factors = skyfold.run(shown, "map", LAPS, prior=ALIKE, progress=False).model["psf"]
    core = np.where(inside, factors * given, 0)
    restored: Array = wings + core * ((1 - wings.sum()) / core.sum())
    return restored
