"""Stars in an image: found there, or compared with a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.errors import DataError, require
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.origin import Check
from skyfold.sources import Sources, other_origin
from skyfold.vector import Array

REACH = 2.0  # pixels around its place in which a star is looked for,
STEP = 0.25  # at places this far apart
STANDS_OUT = 5.0  # sigma


def compare(sources: Sources, places: Array, counts: Array, fwhm: float) -> Check:
    """Say whether sources are where the image has its peaks, or all beside them.

    Parameters
    ----------
    sources
        Their list.
    places
        Where `placed` found them.
    counts
        Image, shape ``(y, x)``.
    fwhm
        Width of the PSF in pixels.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    sigma = max(fwhm, 1.0) / FWHM_PER_SIGMA
    smooth = gaussian_filter(np.nan_to_num(np.asarray(counts, float)), sigma)
    ways = np.arange(-REACH, REACH + STEP / 2, STEP)
    x, y = (places[:, i, None, None] for i in (0, 1))
    light = map_coordinates(
        smooth, np.broadcast_arrays(y + ways[:, None], x + ways), order=3, mode="nearest"
    )
    row, column = np.divmod(light.reshape(len(places), -1).argmax(axis=1), ways.size)
    peak, rim = light.max(axis=(1, 2)), _rim(light)
    noise = np.sqrt(np.maximum(rim.mean(axis=1), 0) / (4 * np.pi * sigma**2)) + 1e-12
    seen = (peak > rim.max(axis=1)) & (peak - rim.mean(axis=1) > STANDS_OUT * noise)
    total, found = len(sources), int(np.sum(seen))
    if not found:
        text = f"none of {total} stars has a peak of counts within {REACH:g} pixels of its place"
        return Check("warning", "stars", text + ": is this the list of this image?")
    away = np.stack([ways[column], ways[row]], axis=1)[seen]
    middle = np.median(away, axis=0)
    agree = int(np.sum(np.hypot(*(away - middle).T) < 0.5))
    if np.max(np.abs(middle)) < 0.6 or 2 * agree <= total:
        return Check("ok", "stars", f"{found} of {total} stars stand out in the image")
    text = (
        f"{agree} of {total} stars lie about ({middle[0]:+.1f}, {middle[1]:+.1f}) pixels in x and y"
    )
    text += " beside the place that the list gives"
    off = 1 - 2 * sources.origin  # what the other origin would be good for
    if not sources.frame and np.max(np.abs(middle + off)) < 0.4:
        text += f": {other_origin(sources)}"
    return Check("warning", "stars", text)


def find_sources(image: Array, fwhm: float, threshold: float = 5.0) -> Sources:
    """Return the point sources of an image, the brightest first.

    They are the peaks of the image filtered by the shape of a star (Stetson 1987, PASP 99, 191),
    as photutils finds them over a background that may vary slowly.

    Parameters
    ----------
    image
        Counts, shape ``(y, x)``; pixels that are not finite are left out.
    fwhm
        Width of the PSF in pixels.
    threshold
        How far peaks must stand above the background, in its standard deviation.

    Raises
    ------
    MissingExtraError
        If photutils is not installed.
    DataError
        If the image is none, or no star stands out.
    """
    detection = require("photutils.detection", "stars")
    counts = np.asarray(image, float)
    mask = ~np.isfinite(counts)
    if counts.ndim != 2:
        raise DataError(f"stars are found in an image (y, x); here is {counts.shape}")
    if mask.all():
        raise DataError("no pixel of the image is finite, so there are no stars to find")
    level, noise = _background(counts, mask, fwhm)
    width = max(fwhm, 1.0)
    finder = detection.DAOStarFinder(threshold * noise, width, min_separation=width)
    found = _quiet(finder, np.where(mask, 0.0, counts - level), mask)
    if found is None:
        raise DataError(
            f"no star stands out by {threshold:g} sigma; give a list of stars, or restore "
            "without stars"
        )
    found.sort("flux", reverse=True)
    places = np.stack([found["x_centroid"], found["y_centroid"]], axis=1).astype(float)
    text = f"{len(found)} stars found that stand out by {threshold:g} sigma"
    return Sources(
        tuple(str(i + 1) for i in range(len(found))),
        places,
        flux=np.maximum(np.asarray(found["flux"], float), 0.0),
        checks=(Check("ok", "stars", text),),
    )


def _background(counts: Array, mask: Array, fwhm: float) -> tuple[Array, Array]:
    """Return level and scatter of each pixel without the stars: medians of clipped boxes."""
    background = require("photutils.background", "stars")
    box = [min(n, max(8, round(6 * fwhm))) for n in counts.shape]
    size = [min(3, 2 * ((n // b + 1) // 2) - 1) for n, b in zip(counts.shape, box, strict=True)]
    found = _quiet(
        background.Background2D, counts, box, mask=mask, filter_size=size, exclude_percentile=90
    )
    rms = np.asarray(found.background_rms)
    return np.asarray(found.background), np.maximum(rms, 1e-6 * max(float(np.max(rms)), 1.0))


def _quiet(function: Any, *args: Any, **options: Any) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was found is told by us
        return function(*args, **options)


def _rim(light: Array) -> Array:
    """Return the values along the border of each window, shape ``(n, rim)``."""
    sides = (light[:, 0], light[:, -1], light[:, 1:-1, 0], light[:, 1:-1, -1])
    return np.concatenate(sides, axis=1)
