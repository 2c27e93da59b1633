"""Trees over the values of a geometry that begin at any pixel, as the compiled draws need them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skyfold import _kernels
from skyfold.errors import ConfigError, require
from skyfold.geometry import Geometry, Grid
from skyfold.sphere import Sphere
from skyfold.vector import Array

STEPS = (0.7548776662466927, 0.5698402909980532)  # spread points evenly (Roberts 2018)


def fitting(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return numbers that are not negative, repeated along axes that they lack.

    Raises
    ------
    ConfigError
        If they do not fit the shape, or some are negative or not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    try:
        full = np.broadcast_to(given, shape)
    except ValueError:
        raise ConfigError(f"{name}: shape {given.shape} does not fit {shape}") from None
    if wrong := int(np.sum(~(np.isfinite(full) & (full >= 0)))):
        raise ConfigError(f"{name}: {wrong} of {full.size} numbers are negative or not finite")
    return full


class Hierarchy:
    """The trees of a geometry, one for each energy, by where their frame begins.

    An image lies in a square frame of the next power of two, which begins at any of its places and
    goes round, and splits into fours; a line splits into twos. The sphere splits into its twelve
    base pixels, and these into fours. A node splits only between those children in which there is
    a pixel.

    Parameters
    ----------
    geometry
        Where the values live.
    measure
        How much of the light of a node each pixel is expected to have, shape of the geometry;
        pixels without any are in no tree. All the same by default.
    strength
        How closely the splits follow the measure, by pixel, above zero: a node has the mean over
        its pixels, weighted by the measure. One by default.
    factors
        The same by level, from the pixels up.

    Attributes
    ----------
    energies, levels
        Number of trees, and of splits between a pixel and the root.
    frame
        Number of places that the frame can begin at, along each axis; empty on a sphere.
    forest
        The trees, and the draws that go from one to another.

    Raises
    ------
    ConfigError
        If the geometry has no scales, a map does not fit it or holds numbers below zero, no pixel
        has a measure, or factors and levels differ in number.
    """

    def __init__(
        self,
        geometry: Geometry,
        measure: Array | None = None,
        strength: Array | None = None,
        factors: Sequence[float] | None = None,
    ) -> None:
        self._given = geometry, measure, strength, factors
        axes, order = geometry.shape[-2:], None
        if isinstance(geometry, Sphere):
            pixels, self.energies = geometry.shape
            self.frame: tuple[int, ...] = ()
            branching = [4] * (geometry.nside.bit_length() - 1) + [12]
            axes, order = (), _in_order(geometry)
        elif isinstance(geometry, Grid):
            pixels, self.energies = prod(axes), prod(geometry.shape[:-2])
            splits = (max(axes) - 1).bit_length()
            self.frame = (2**splits,) * len(axes)
            branching = [2 ** len(axes)] * splits
        else:
            raise ConfigError(f"{type(geometry).__name__} have no scales to split light over")
        self.geometry, self.levels, self._pixels = geometry, len(branching), pixels
        measure = self._by_energy("measure", measure)
        strength = self._by_energy("strength", strength)
        if measure is not None and not np.all(np.any(measure > 0, axis=1)):
            which = int(np.argmin(np.any(measure > 0, axis=1)))
            raise ConfigError(
                f"no pixel of energy {which} has a positive measure: mask or template leave nothing"
            )
        if strength is not None and np.any(strength == 0):
            raise ConfigError("strength: it must be above zero everywhere")
        by_level = np.ones(self.levels) if factors is None else np.asarray(factors, float)
        if by_level.shape != (self.levels,):
            raise ConfigError(
                f"{by_level.size} factors, but there are {self.levels} levels from the pixels "
                "up to the whole; give one for each"
            )
        if not np.all((by_level > 0) & np.isfinite(by_level)):
            raise ConfigError("factors: they must be above zero")
        self.forest = _kernels.Forest(
            axes, order, branching, self.energies, pixels, measure, strength, by_level
        )

    def __reduce__(self) -> tuple[type[Hierarchy], tuple[Any, ...]]:
        return type(self), self._given

    def _by_energy(self, name: str, values: Array | None) -> Array | None:
        """Return values of the geometry with the shape (energies, pixels)."""
        if values is None:
            return None
        full = fitting(name, values, self.geometry.shape)
        full = full.T if isinstance(self.geometry, Sphere) else full
        return np.ascontiguousarray(full).reshape(self.energies, self._pixels)

    def flat(self, energy: int, pixels: Array) -> Array:
        """Return the flat numbers of the values of pixels."""
        far = pixels.astype(np.int64)
        if isinstance(self.geometry, Sphere):
            return far * self.energies + energy
        return far + energy * self._pixels

    def trees(self, origin: tuple[int, ...] = ()) -> _kernels.Trees:
        """Return the trees whose frame begins at a place of it, (row, column) or (pixel,)."""
        return self.forest.at(origin or (0,) * len(self.frame))


def _in_order(sphere: Sphere) -> Array:
    """Return the pixels of a sphere in the order of the tree."""
    pixels = np.arange(sphere.pixels)
    if not sphere.nested:
        pixels = require("healpy", "healpix").nest2ring(sphere.nside, pixels)
    return pixels.astype(np.int32)


def spread(geometry: Geometry, number: int) -> list[tuple[int, ...]]:
    """Return places in the frame of a tree, spread evenly, the first at its beginning."""
    last = geometry.shape[-2:] if isinstance(geometry, Grid) else ()
    side = 1 << (max(last, default=1) - 1).bit_length()
    return [tuple(int(i * step % 1 * side) for step in STEPS[: len(last)]) for i in range(number)]
