"""Whether images lie on the same pixels, and exposure maps that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyfold.errors import DataError
from skyfold_image.image import Image


def require_same_pixels(counts: Image, other: Image) -> None:
    """Refuse an image that does not lie on the pixels of the counts.

    Raises
    ------
    DataError
        If shape, coordinates or energies differ. Nothing is ever broadcast.
    """
    cure = ", or say --align reproject" if other.role == "exposure" else ""
    if other.values.shape != counts.values.shape:
        raise DataError(
            f"{other.file}: {other.role} has shape {other.values.shape}, {counts.file} "
            f"{counts.values.shape}; they must agree exactly, nothing is broadcast{cure}"
        )
    difference = counts.grid.difference(other.grid)
    if difference is not None:
        raise DataError(
            f"{other.file}: {other.role} does not lie on the pixels of {counts.file}: "
            f"{difference}. Bring it to the same grid{cure}"
        )


def reprojected(exposure: Image, counts: Image) -> Image:
    """Return an exposure map at the pixels of the counts, interpolated linearly.

    That is right for what is known per place, as area times time is, and wrong for what is known
    per pixel, as counts are. Outside of the map nothing is exposed.

    Raises
    ------
    DataError
        If one of the images has no coordinates, or the energies differ.
    """
    from scipy.ndimage import map_coordinates

    if exposure.wcs is None or counts.wcs is None:
        raise DataError(
            f"{exposure.file}: --align reproject needs world coordinates of counts and exposure"
        )
    if exposure.values.shape[:-2] != counts.values.shape[:-2]:
        require_same_pixels(counts, exposure)
    y, x = np.indices(counts.values.shape[-2:])
    there = exposure.wcs.world_to_pixel(counts.wcs.pixel_to_world(x, y))
    at = np.nan_to_num(np.array(there[::-1]), nan=-np.inf)
    size = np.array(exposure.values.shape[-2:])[:, None, None]
    inside = np.all((at >= -0.5) & (at <= size - 0.5), axis=0)
    at = np.clip(at, 0, size - 1)
    planes = exposure.values.reshape(-1, *exposure.values.shape[-2:])
    values = np.stack([map_coordinates(plane, at, order=1) * inside for plane in planes])
    moved = replace(
        exposure, values=values.reshape(counts.values.shape), wcs=counts.wcs, missing=None
    )
    return moved.noting("fixed", f"{exposure.file} reprojected to the pixels of {counts.file}")
