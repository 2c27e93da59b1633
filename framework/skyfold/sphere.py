"""The whole sky in HEALPix pixels, by energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, require
from skyfold.geometry import Geometry
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity


@dataclass(frozen=True, eq=False)
class Sphere(Geometry):
    """All pixels of a HEALPix sphere (Gorski et al. 2005), each with a value for every energy.

    Values have the shape ``(pixel, energy)``.

    Parameters
    ----------
    nside
        Resolution: there are ``12 nside**2`` pixels of equal area.
    energy_edges
        Edges of the energy bins, increasing; one bin without edges by default.
    nested
        Whether pixels are numbered in NESTED order instead of RING.
    frame
        Name of the celestial frame, as astropy knows it.

    Raises
    ------
    DataError
        If ``nside`` is no power of two.
    """

    nside: int
    energy_edges: Quantity | None = None
    nested: bool = False
    frame: str = "galactic"

    def __post_init__(self) -> None:
        if self.nside < 1 or self.nside & (self.nside - 1):
            raise DataError(f"nside {self.nside} is no power of two (1, 2, 4, 8, ...)")

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """Pixels and energies."""
        return self.pixels, 1 if self.energy_edges is None else len(self.energy_edges) - 1

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return 12 * self.nside**2

    @property
    def pixel_area(self) -> float:
        """Solid angle of a pixel in sr."""
        return float(4 * np.pi / self.pixels)

    @property
    def pixel_size(self) -> float:
        """Root of the solid angle of a pixel, in degrees."""
        return float(np.degrees(np.sqrt(self.pixel_area)))

    def difference(self, other: Geometry) -> str | None:
        """Compare resolution, order, frame and energies."""
        if not isinstance(other, Sphere):
            return f"a HEALPix sphere against {type(other).__name__}"
        if self.nside != other.nside:
            return f"nside {self.nside} against {other.nside}"
        if self.nested != other.nested:
            order = {True: "NESTED", False: "RING"}
            return f"pixels in {order[self.nested]} order against {order[other.nested]}"
        if self.frame != other.frame:
            return f"the frame {self.frame} against {other.frame}"
        if self.shape != other.shape:
            return f"{self.shape[1]} energies against {other.shape[1]}"
        if self.energy_edges is not None and other.energy_edges is not None:
            theirs = other.energy_edges.to(self.energy_edges.unit)
            wrong = ~np.isclose(self.energy_edges.value, theirs.value, rtol=1e-6)
            if np.any(wrong):
                i = int(np.argmax(wrong))
                return f"energy edge {i}: {self.energy_edges[i]} against {theirs[i]}"
        return None

    def smooth(self, values: Array, fwhm: Quantity) -> Array:
        """Smooth each energy by a Gaussian that keeps positive values positive, and their sum."""
        from skyfold.sphere_smoothing import smooth

        return smooth(self, values, fwhm)

    def neighbours(self, values: Array) -> Iterator[Array]:
        """Yield the neighbours in the eight directions; some pixels have seven."""
        for index in self._neighbours:
            yield values[index]

    @cached_property
    def _neighbours(self) -> Array:
        healpy = require("healpy", "healpix")
        own = np.arange(self.pixels)
        index = healpy.get_all_neighbours(self.nside, own, nest=self.nested)
        return np.where(index < 0, own, index)

    def directions(self) -> tuple[Array, Array]:
        """Return longitude and latitude of the pixel centres, in degrees."""
        healpy = require("healpy", "healpix")
        lon, lat = healpy.pix2ang(self.nside, np.arange(self.pixels), self.nested, lonlat=True)
        return lon, lat
