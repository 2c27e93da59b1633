"""Images whose pixels were repeated, so that stars lie nearer to the middle of one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from skyfold.errors import DataError
from skyfold.geometry import refined
from skyfold_image.image import Image
from skyfold_responses.image import BlockSum

SAME = 1e-6  # of the value: what repeats of a pixel may differ by in single precision


def of_detector(
    image: Image, block: tuple[int, int], psfs: Collection[tuple[int, ...]] = ()
) -> Image:
    """Return the pixels of the detector: sums over blocks where an image repeats its pixels.

    Parameters
    ----------
    image
        The image: pixels of the detector, or each repeated ``block`` times, its light shared among
        the repeats.
    block
        Repeats in x and y.
    psfs
        Shapes of the PSFs. One of the size of the image tells that this is meant to be repeated.

    Raises
    ------
    DataError
        If it is no image, or meant to be repeated and is not; the first block that differs is told.
    """
    if image.values.ndim != 2:
        raise DataError(f"{image.file}: shape {image.values.shape}; expected an image (y, x)")
    if block == (1, 1):
        return image
    (across, up), (ny, nx) = block, image.values.shape
    whole = nx % across == 0 and ny % up == 0
    if not whole and image.values.shape not in psfs:
        return _native(image, block)
    if not whole:
        raise DataError(
            f"{image.file}: {nx} x {ny} pixels are no multiple of {across} x {up}: with "
            "sub-sampling repeat each pixel of the detector so often"
        )
    tiles = image.values.reshape(ny // up, up, nx // across, across)
    low, high = tiles.min(axis=(1, 3)), tiles.max(axis=(1, 3))
    equal = high - low <= SAME * np.maximum(abs(low), abs(high))
    if equal.all():
        return _summed(image, block)
    lit = high != 0
    if image.values.shape in psfs or np.mean(equal[lit]) > 0.5:
        y, x = np.argwhere(~equal)[0]
        raise DataError(
            f"{image.file}: {np.count_nonzero(~equal)} of {equal.size} blocks of {across} x {up} "
            f"pixels are not equal, the first at pixel ({x * across + 1}, {y * up + 1}), counted "
            f"from 1, with values from {low[y, x]:g} to {high[y, x]:g}: repeat each pixel of the "
            "detector and divide by the number of repeats. To give the detector's own pixels "
            f"instead, give a PSF of another size, best that of the restored image, {nx * across} "
            f"x {ny * up}"
        )
    return _native(image, block)


def _native(image: Image, block: tuple[int, int]) -> Image:
    across, up = block
    text = f"pixels of the detector, each divided into {across} x {up} of the restored image"
    return image.noting("ok", text)


def _summed(image: Image, block: tuple[int, int]) -> Image:
    """Return the sums over blocks."""
    (across, up), (ny, nx) = block, image.values.shape
    shape = ny // up, nx // across
    text = (
        f"all blocks of {across} x {up} pixels are equal: {shape[1]} x {shape[0]} of the detector"
    )
    return image.noting(
        "ok",
        text,
        values=BlockSum((up, across), shape).forward(image.values),
        wcs=None if image.wcs is None else refined(image.wcs, (1 / across, 1 / up)),
        missing=None,
        saturated=None,
    )
