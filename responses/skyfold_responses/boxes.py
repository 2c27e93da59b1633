"""Point sources as small boxes of an interpolated kernel, as CPLUCY makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from skyfold.errors import DataError
from skyfold.matrices import Matrix
from skyfold.vector import Array

Interpolant = Literal["nearest", "linear", "poly3", "poly5"]
NODES = {"nearest": 1, "linear": 2, "poly3": 4, "poly5": 6}


def boxes(
    kernel: Any,
    places: Array,
    data_shape: Sequence[int],
    size: tuple[int, int] = (21, 21),
    interpolant: Interpolant = "poly5",
) -> Matrix:
    """Return the response of stars whose images are a kernel, interpolated between its pixels.

    It serves the comparison with results of CPLUCY; `Psf.points` is exact. The middle of the box
    lies on the pixel nearest to the star; the wings of the kernel outside the box are missing, so
    that the sensitivity of a flux is the share inside. CPLUCY fits the light inside, and divides
    it by that share afterwards: these fluxes are the quotient.

    Parameters
    ----------
    kernel
        ``(y, x)``, its origin as `Psf` takes it.
    places
        x and y of each star in pixels of the data, from 0 at the centre of the first, shape
        ``(n, 2)``.
    data_shape
        ``(y, x)``; what a box has outside is lost.
    size
        Pixels of a box in y and x.
    interpolant
        Nearest pixel, or a polynomial through the nearest 2, 4 or 6 pixels of each axis.

    Raises
    ------
    DataError
        If a star lies outside the data.
    """
    from scipy.sparse import coo_array

    kernel, (height, width) = np.asarray(kernel), data_shape
    x, y = np.floor(places.T + 0.5).astype(int)
    if np.any(outside := (x < 0) | (x >= width) | (y < 0) | (y >= height)):
        i = int(np.argmax(outside))
        raise DataError(
            f"star {i + 1} at ({places[i, 0]:g}, {places[i, 1]:g}) (x, y; from 0) lies outside the "
            f"data of {width} x {height} pixels: remove it from the list"
        )
    rows, columns, light = [], [], []
    for i, (right, up) in enumerate(places - np.stack([x, y], axis=1)):
        box = (
            _weights(kernel.shape[0], size[0], up, interpolant)
            @ kernel
            @ _weights(kernel.shape[1], size[1], right, interpolant).T
        )
        at_y = np.arange(size[0])[:, None] - size[0] // 2 + y[i]
        at_x = np.arange(size[1]) - size[1] // 2 + x[i]
        inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
        rows.append((at_y * width + at_x)[inside])
        columns.append(np.full(rows[-1].size, i))
        light.append(box[inside])
    entries = np.concatenate(light), (np.concatenate(rows), np.concatenate(columns))
    matrix = coo_array(entries, shape=(height * width, len(places)))
    return Matrix(matrix.tocsr(), (len(places),), (height, width))


def _weights(pixels: int, size: int, offset: float, interpolant: Interpolant) -> Array:
    """Return the shares of the pixels of a kernel in those of a box, shape ``(size, pixels)``."""
    count = NODES[interpolant]
    wanted = (pixels - 1) // 2 + np.arange(size) - size // 2 - offset
    first = np.floor(wanted + 0.5 if count == 1 else wanted).astype(int) - (count - 1) // 2
    away = wanted - first
    weights = np.zeros((size, pixels))
    for node in range(count):
        others = [k for k in range(count) if k != node]
        share = np.prod([(away - k) / (node - k) for k in others], axis=0) * np.ones(size)
        at = first + node
        seen = (at >= 0) & (at < pixels)
        weights[seen, at[seen]] += share[seen]
    return weights
