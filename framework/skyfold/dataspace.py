"""Counts that are no image: axes of bins or of HEALPix pixels, and what is seen along each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError, require
from skyfold.geometry import Geometry
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity

BLOCK = 8  # bins along each side of the blocks whose residual is judged


@dataclass(frozen=True, eq=False)
class DataAxis:
    """One axis of a data space: bins with edges, or the pixels of a HEALPix sphere.

    Parameters
    ----------
    label
        What is measured along it.
    edges
        Edges of the bins, increasing, plain numbers or a quantity.
    nside
        Resolution of the sphere, instead of edges.
    nested
        Whether the pixels are in NESTED order instead of RING.

    Raises
    ------
    DataError
        If there are neither edges nor a resolution, or both.
    """

    label: str
    edges: Quantity | Array | None = None
    nside: int | None = None
    nested: bool = False

    def __post_init__(self) -> None:
        if (self.edges is None) == (self.nside is None):
            raise DataError(f"axis {self.label!r} needs either the edges of its bins or an nside")

    @property
    def size(self) -> int:
        """Number of bins or pixels."""
        if self.edges is None:
            assert self.nside is not None
            return 12 * self.nside**2
        return len(self.edges) - 1

    @property
    def unit(self) -> str:
        """Unit of the edges, as text; empty without one."""
        return str(getattr(self.edges, "unit", ""))

    @property
    def values(self) -> Array:
        """The edges as plain numbers."""
        return np.asarray(getattr(self.edges, "value", self.edges), dtype=float)

    def blocks(self) -> tuple[Array | None, Array]:
        """Return the order that puts neighbours together, if it is another, and where blocks start.

        A block is `BLOCK` bins, or a HEALPix pixel that is `BLOCK` times as wide.
        """
        if self.nside is None:
            return None, np.arange(0, self.size, BLOCK)
        width = min(BLOCK, self.nside)
        pixels = np.arange(self.size)
        order = None
        if not self.nested:
            order = require("healpy", "healpix").nest2ring(self.nside, pixels)
        return order, pixels[:: width**2]


@dataclass(frozen=True, eq=False)
class DataSpace(Geometry):
    """The places of counts that form no image, axis by axis.

    Parameters
    ----------
    axes
        The axes, in the order of the counts.

    Raises
    ------
    DataError
        If two axes share a label.
    """

    axes: Sequence[DataAxis]
    sky = False

    def __post_init__(self) -> None:
        labels = [axis.label for axis in self.axes]
        if len(set(labels)) < len(labels):
            raise DataError(f"two axes of a data space share a label: {', '.join(labels)}")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Bins along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def block(self) -> str:
        """Size of the blocks whose residual is judged, in words."""
        sides = [
            min(BLOCK, axis.size) if axis.nside is None else min(BLOCK, axis.nside) ** 2
            for axis in self.axes
        ]
        labels = ", ".join(axis.label for axis in self.axes)
        return f"{' x '.join(map(str, sides))} bins ({labels})"

    def difference(self, other: Geometry) -> str | None:
        """Compare the axes: labels, resolution and edges."""
        if not isinstance(other, DataSpace):
            return f"a data space against {type(other).__name__}"
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        for mine, theirs in zip(self.axes, other.axes, strict=True):
            if (mine.label, mine.nside, mine.nested) != (theirs.label, theirs.nside, theirs.nested):
                return f"axis {mine.label!r} against {theirs.label!r}"
            if mine.edges is not None and not np.allclose(mine.values, theirs.values, rtol=1e-6):
                return f"other edges along {mine.label!r}"
        return None

    def smooth(self, values: Array, fwhm: Any) -> Array:
        """Refuse: counts are never smoothed."""
        raise ConfigError("a data space holds counts, and counts are not smoothed")


@dataclass(frozen=True, eq=False)
class Projection:
    """Counts and their expectation along one axis, summed over all others.

    Parameters
    ----------
    axis
        The axis.
    counts, expectation
        Sums over the bins in use, one per bin of the axis.
    observation
        Name of the observation.
    """

    axis: DataAxis
    counts: Array
    expectation: Array
    observation: str = ""
