"""Layers small enough for a page: what is too large is binned, what is no image is a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.layers import Layer, Observation, observe, sky_layer
from skyfold.residuals import deviance_residual
from skyfold.vector import Array

OBSERVED = ("COUNTS", "EXPECTATION", "RESIDUAL")
MAX_PIXELS = 6_000_000  # of all layers together; a larger image is binned for the page
FLATTEST = 16  # arrays longer than this in one direction are tables, not images


def small_sky(
    title: str, values: Array, unit: str, on: Array | None, binning: int, looks: dict[str, Any]
) -> Layer:
    """Return a sky with so many pixels joined along each side, and what of it is in use."""
    if binning > 1:
        values = join(values, binning, np.mean)
        on = None if on is None else join(on, binning, np.max)
    return sky_layer(title, values, str(unit), on, **looks)


def small_observation(
    arrays: list[Array], binning: int, name: str, looks: dict[str, Any]
) -> Observation:
    """Return an observation with so many pixels joined along each side.

    Its residuals are those of the joined pixels.
    """
    if not drawable(arrays[0]):
        arrays, looks = [array.ravel() for array in arrays], {}
    counts, expectation, residual = arrays
    if binning > 1 and counts.ndim > 1:
        seen = np.isfinite(residual)
        counts = join(np.where(seen, counts, 0), binning, np.sum)
        expectation = join(np.where(seen, expectation, 0), binning, np.sum)
        seen = join(seen, binning, np.max)
        residual = deviance_residual(counts, expectation, seen)
    return observe(counts, expectation, residual, name, **looks)


def drawable(values: Array) -> bool:
    """Return whether values form a line, or an image of a shape worth looking at."""
    if values.ndim == 1:
        return values.size > 1
    ny, nx = values.shape[-2:]
    return values.ndim in (2, 3) and max(ny, nx) <= FLATTEST * min(ny, nx)


def binning_of(arrays: list[Array]) -> int:
    """Return how many pixels must be joined along each side of all arrays together."""
    pixels = sum(array.size for array in arrays if array.ndim > 1)
    return int(np.ceil(np.sqrt(pixels / MAX_PIXELS))) if pixels > MAX_PIXELS else 1


def join(values: Array, size: int, how: Any) -> Array:
    """Return sums, means or maxima of square blocks of the last two axes; the rest is cut."""
    if values.ndim < 2:
        return values
    *front, ny, nx = values.shape
    cut = values[..., : ny // size * size, : nx // size * size]
    joined: Array = how(cut.reshape(*front, ny // size, size, nx // size, size), axis=(-3, -1))
    return joined
