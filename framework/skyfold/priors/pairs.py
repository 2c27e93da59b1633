"""Pairs of neighbouring pixels, each pair once, for priors that compare neighbours.

They come in blocks that fit into the processor's cache, which is faster than all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt
from typing import Any

import numpy as np

from skyfold.geometry import Geometry, Grid
from skyfold.sphere import Sphere
from skyfold.vector import Array

BLOCK = 8192  # values of one block, about
DIAGONAL = sqrt(2)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pixels that lie alike to each other.

    Parameters
    ----------
    here, there
        Index of the first and of the second pixels; none occurs twice in the same index.
    distance
        Between the two, in pixels: 1 across a side, the root of 2 across a corner.
    """

    here: tuple[Any, ...]
    there: tuple[Any, ...]
    distance: float

    def ends(self, values: Array) -> tuple[Array, Array]:
        """Return the values at both ends of each pair; they are not to be changed."""
        return values[self.here], values[self.there]

    def within(self, mask: Array) -> Array:
        """Return whether both ends of each pair lie inside a mask."""
        here, there = self.ends(mask)
        return here & there

    def collect(self, first: Array, second: Array, total: Array) -> None:
        """Add to each pixel of ``total`` what its pairs have for it: the transpose of `ends`."""
        total[self.here] += first
        total[self.there] += second


@lru_cache(maxsize=16)
def pairs_of(geometry: Geometry) -> Sequence[Pairs]:
    """Return the pairs of neighbours of a geometry, diagonal ones included.

    Raises
    ------
    ConfigError
        If values of this kind have no neighbours.
    """
    return tuple(_shifted(geometry.shape) if isinstance(geometry, Grid) else _linked(geometry))


def _shifted(shape: tuple[int, ...]) -> Iterator[Pairs]:
    """Yield the pairs of a grid, as slices, by blocks of rows."""
    ahead, behind, all_ = slice(1, None), slice(None, -1), slice(None)
    if len(shape) == 1:
        yield Pairs((behind,), (ahead,), 1.0)
        return
    ny, rows = shape[-2], max(1, BLOCK * shape[-2] // prod(shape))
    for start in range(0, ny, rows):
        block = slice(start, min(start + rows, ny))
        low = slice(start, min(start + rows, ny - 1))
        high = slice(low.start + 1, low.stop + 1)
        yield Pairs((..., block, behind), (..., block, ahead), 1.0)
        yield Pairs((..., low, all_), (..., high, all_), 1.0)
        yield Pairs((..., low, behind), (..., high, ahead), DIAGONAL)
        yield Pairs((..., low, ahead), (..., high, behind), DIAGONAL)


def _linked(geometry: Geometry) -> Iterator[Pairs]:
    """Yield the pairs of any geometry, as numbers of its pixels."""
    sphere = isinstance(geometry, Sphere)
    shape = (geometry.shape[0], 1) if sphere else geometry.shape  # alike for all energies
    own = np.arange(prod(shape)).reshape(shape)
    length = max(1, BLOCK * own.size // prod(geometry.shape))
    for direction, neighbour in enumerate(geometry.neighbours(own)):
        # on the sphere south-west, west, north-west, ...: sides and corners in turn
        distance = DIAGONAL if sphere and direction % 2 else 1.0
        here, there = own[neighbour > own], neighbour[neighbour > own]
        while here.size:
            first = np.sort(np.unique(there, return_index=True)[1])
            for start in range(0, first.size, length):
                part = first[start : start + length]
                ends = [np.unravel_index(end[part], shape) for end in (here, there)]
                one, other = [end[:1] for end in ends] if sphere else ends
                yield Pairs(one, other, distance)
            here, there = np.delete(here, first), np.delete(there, first)
