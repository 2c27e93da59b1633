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
from skyfold.profiles import fwhm_of
from skyfold.source_files import read_sources
from skyfold.sources import placed
from skyfold.stars import smooth_level
from skyfold_hst.frames import SKY, open_plucy
from skyfold_image.reading import read_image

LEVEL = "level"
LAPS = 20


def better_psf(options: Mapping[str, Any], path: Path) -> str:
    """Write the PSF that the stars of a list show, and tell how it changed.

    The sky is the stars, each in the pixels around its place, over a smooth level: all else that
    there is, with stars left out. Sky and PSF are restored by turns, by `skyfold.algorithms.blind`
    with a PSF of free pixels.

    Parameters
    ----------
    options
        What `open_plucy` takes, with a list of stars.
    path
        FITS file to write.
    """
    from astropy.io import fits

    given = {k: v for k, v in options.items() if v is not None}
    sources = read_sources(given.pop("stars"))
    if isinstance(given["psf"], list):
        given["psf"] = given["psf"][0]
    given["block"] = tuple(given["block"])
    data = open_plucy(**given)
    sky = data.components[SKY]
    image = read_image(given["counts"], "counts")
    ratio = np.array(sky.geometry.shape[::-1]) / image.values.shape[::-1]
    places = (placed(sources, image.grid) + 0.5) * ratio - 0.5
    mask = np.zeros(sky.geometry.shape, bool)
    for x, y in places:
        rows, columns = (_around(at, n) for at, n in zip((y, x), mask.shape, strict=True))
        mask[np.ix_(rows, columns)] = True
    level = smooth_level(data, SKY)
    confined = BinnedData(
        data.full_counts,
        {**data.whole, LEVEL: np.maximum(level, 1e-3 * float(np.mean(level)))},
        data.weight,
        components={SKY: replace(sky, mask=mask)},
        origin=data.origin,
    )
    result = skyfold.run(confined, "blind", LAPS, sky="free", shape="pixels", progress=False)
    (before,), (after,) = data.parameters.values(), result.state.parameters.values()
    with files.replacing(path) as partial:
        fits.PrimaryHDU(after / after.sum()).writeto(partial, overwrite=True)
    return f"its width went from {fwhm_of(before):.3g} to {fwhm_of(after):.3g} pixels"


def _around(place: float, pixels: int) -> list[int]:
    """Return the two pixels around a place."""
    return sorted({min(max(int(np.floor(place)) + i, 0), pixels - 1) for i in (0, 1)})
