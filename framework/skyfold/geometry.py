"""Where values live: grids of pixels, with coordinates where there are any, and bare numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import Quantity
    from astropy.wcs import WCS

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


class Geometry(ABC):
    """The places of a component's values.

    Attributes
    ----------
    shape
        Shape of the values.
    sky
        Whether the values are parts of a sky; a normalisation is not, and is therefore never
        weighted, smoothed or accelerated.
    """

    shape: tuple[int, ...]
    sky: bool = True

    @property
    def inside(self) -> tuple[slice, ...]:
        """Index of the values that the data cover: all of them, unless a grid reaches beyond."""
        return (slice(None),) * len(self.shape)

    @abstractmethod
    def difference(self, other: Geometry) -> str | None:
        """Return in words what keeps ``other`` from being the same places, or None."""

    @abstractmethod
    def smooth(self, values: Array, fwhm: Quantity) -> Array:
        """Return the values smoothed by a Gaussian that keeps their sum."""

    def neighbours(self, values: Array) -> Iterator[Array]:
        """Yield, direction by direction, the neighbour of each value, or itself if there is none.

        Neighbours are mutual, and of the same energy.

        Parameters
        ----------
        values
            Shape of the geometry; so are the arrays that are yielded.

        Raises
        ------
        ConfigError
            If values of this kind have no neighbours.
        """
        raise ConfigError(f"{type(self).__name__} have no neighbours that a prior could compare")


@dataclass(frozen=True)
class Normalisations(Geometry):
    """Factors of templates, one for each group of bins.

    Parameters
    ----------
    names
        What each factor stands for.
    """

    names: tuple[str, ...] = ("",)
    sky = False

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """One value per name."""
        return (len(self.names),)

    def difference(self, other: Geometry) -> str | None:
        """Compare the names."""
        return None if self == other else f"{self.names} against {other}"

    def smooth(self, values: Array, fwhm: Quantity) -> Array:
        """Refuse: factors have no neighbours."""
        raise ConfigError("normalisations have no neighbours and cannot be smoothed")


@dataclass(frozen=True, eq=False)
class Grid(Geometry):
    """A regular grid of pixels, ``(..., y, x)`` or ``(x,)``, perhaps with world coordinates.

    Parameters
    ----------
    shape
        Shape of the values; a leading axis is energy.
    wcs
        Celestial coordinates of the last two axes.
    energy_edges
        Edges of the energy bins along the first axis, increasing, length ``shape[0] + 1``.
    field
        The part of the grid that the data cover; the grid may reach beyond it, so that light from
        outside can be modelled. The whole grid by default.
    """

    shape: tuple[int, ...]
    wcs: WCS | None = None
    energy_edges: Quantity | None = None
    field: tuple[slice, ...] | None = None

    @property
    def inside(self) -> tuple[slice, ...]:
        """Index of the field."""
        return self.field or super().inside

    @property
    def first(self) -> Array:
        """First pixel that the data cover: x and y."""
        first = np.zeros(2)
        for axis, part in enumerate(self.inside[:-3:-1]):
            first[axis] = part.indices(self.shape[-1 - axis])[0]
        return first

    def difference(self, other: Geometry) -> str | None:
        """Compare shape, coordinates (to a thousandth of a pixel) and energies."""
        if not isinstance(other, Grid):
            return f"a grid of pixels against {type(other).__name__}"
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        if self.wcs is not None and other.wcs is not None:
            offset = pixel_offset(self.wcs, other.wcs, self.shape)
            if np.max(np.abs(offset)) > 1e-3:
                x, y = offset[np.argmax(np.abs(offset).max(axis=1))].round(3) + 0.0
                return f"coordinates that differ by ({x:+.3f}, {y:+.3f}) pixels in x and y"
        if self.energy_edges is not None and other.energy_edges is not None:
            mine = self.energy_edges.value
            theirs = other.energy_edges.to_value(self.energy_edges.unit)
            if not np.allclose(mine, theirs, rtol=1e-4):
                i = int(np.argmax(~np.isclose(mine, theirs, rtol=1e-4)))
                return f"energy edge {i}: {self.energy_edges[i]} against {other.energy_edges[i]}"
        return None

    @property
    def pixel_size(self) -> Quantity | None:
        """Mean angular size of a pixel, or None without coordinates."""
        if self.wcs is None:
            return None
        from astropy import units as u
        from astropy.wcs.utils import proj_plane_pixel_scales

        return float(np.mean(proj_plane_pixel_scales(self.wcs))) * u.deg

    def pixels(self, length: Quantity) -> float:
        """Return a length, given as an angle or in pixels, in pixels.

        Raises
        ------
        ConfigError
            If it is an angle and the grid has no coordinates.
        """
        from astropy import units as u

        if length.unit.is_equivalent(u.pix):
            return float(length.to_value(u.pix))
        size = self.pixel_size
        if size is None:
            raise ConfigError(
                f"{length} is an angle, but the image has no world coordinates: "
                'give it in pixels, as "2 pix"'
            )
        return float((length / size).to_value(u.one))

    def smooth(self, values: Array, fwhm: Quantity) -> Array:
        """Smooth the last two axes; light does not leave at the edges."""
        from scipy.ndimage import gaussian_filter

        sigma = self.pixels(fwhm) / FWHM_PER_SIGMA
        axes = tuple(range(values.ndim))[-2:]
        smoothed: Array = gaussian_filter(values, sigma, axes=axes, mode="reflect")
        return smoothed

    def neighbours(self, values: Array) -> Iterator[Array]:
        """Yield the neighbours along the last two axes, diagonal ones included."""
        ahead, behind, all_ = slice(1, None), slice(None, -1), slice(None)
        moves = {0: (all_, all_), 1: (behind, ahead), -1: (ahead, behind)}
        for direction in product(moves, repeat=min(values.ndim, 2)):
            if any(direction):
                here, there = zip(*(moves[way] for way in direction), strict=True)
                neighbour = values.copy()
                neighbour[(..., *here)] = values[(..., *there)]
                yield neighbour

    def crop(self) -> Grid:
        """Return the grid that the data cover."""
        if self.field is None:
            return self
        shape = tuple(len(range(n)[part]) for n, part in zip(self.shape, self.field, strict=True))
        wcs = None if self.wcs is None else shifted(self.wcs, *-self.first)
        return replace(self, shape=shape, wcs=wcs, field=None)

    def refine(self, factor: int) -> Grid:
        """Return the grid with each pixel divided along the last two axes."""
        if factor == 1:
            return self
        cut = len(self.shape) - 2
        shape = tuple(n * (factor if i >= cut else 1) for i, n in enumerate(self.shape))
        return replace(
            self, shape=shape, wcs=None if self.wcs is None else refined(self.wcs, factor)
        )

    def extend(self, margins: tuple[int, ...]) -> Grid:
        """Return the grid with that many pixels more on both sides of each of the last axes."""
        if not any(margins):
            return self
        full = (0,) * (len(self.shape) - len(margins)) + tuple(margins)
        shape = tuple(n + 2 * m for n, m in zip(self.shape, full, strict=True))
        field = tuple(slice(m, m + n) for n, m in zip(self.shape, full, strict=True))
        wcs = None if self.wcs is None else shifted(self.wcs, *full[:-3:-1])
        return replace(self, shape=shape, wcs=wcs, field=field)


def celestial_wcs(header: Header) -> WCS | None:
    """Return the celestial coordinates that a FITS header gives to the image, or None.

    Raises
    ------
    DataError
        If its celestial axes are not the first two.
    """
    import warnings

    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy tells of each date that it derives
        wcs = WCS(header)
        if not wcs.has_celestial:
            return None
        if sorted((wcs.wcs.lng, wcs.wcs.lat)) != [0, 1]:
            raise DataError(
                f"celestial coordinates are on FITS axes {wcs.wcs.lng + 1} and {wcs.wcs.lat + 1}; "
                "they must be on the first two"
            )
        celestial: WCS = wcs.celestial
        return celestial


def refined(wcs: WCS, factor: float | tuple[float, float]) -> WCS:
    """Return celestial coordinates of pixels that are ``factor`` times smaller, or so in x and y.

    Raises
    ------
    DataError
        If they are distorted: the polynomials of SIP hold for one pixel size.
    """
    if wcs.sip is not None:
        raise DataError(
            "coordinates with a distortion (SIP) cannot be divided into finer pixels; "
            "rectify the image first, as drizzling does"
        )
    fine, (x, y) = wcs.deepcopy(), np.broadcast_to(factor, 2)
    fine.wcs.crpix = (fine.wcs.crpix - 0.5) * (x, y) + 0.5
    if fine.wcs.has_cd():
        fine.wcs.cd = fine.wcs.cd / (x, y)
    elif x == y:
        fine.wcs.cdelt = fine.wcs.cdelt / x
    else:
        fine.wcs.pc = fine.wcs.get_pc() / (x, y)
    fine.wcs.set()
    return fine


def shifted(wcs: WCS, x: float = 0, y: float = 0) -> WCS:
    """Return celestial coordinates whose origin lies ``x``, ``y`` pixels further down and left."""
    moved = wcs.deepcopy()
    moved.wcs.crpix[0] += x
    moved.wcs.crpix[1] += y
    if wcs.sip is not None:
        from astropy.wcs import Sip

        old = wcs.sip
        moved.sip = Sip(old.a, old.b, old.ap, old.bp, old.crpix + np.array([x, y]))
    moved.wcs.set()
    return moved


def pixel_offset(here: WCS, there: WCS, shape: tuple[int, ...]) -> Array:
    """Return where places all over one image lie in another, as offsets in pixels.

    Places off the sky in both, as the corners of an all-sky map are, agree.

    Returns
    -------
    offset
        Shape (25, 2): x and y of each place in ``there`` minus those in ``here``.
    """
    ny, nx = shape[-2:]
    x, y = np.meshgrid(np.linspace(0, nx - 1, 5), np.linspace(0, ny - 1, 5))
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    moved: Any = there.world_to_pixel(here.pixel_to_world(*places.T))
    offset: Array = np.nan_to_num(np.stack(moved, axis=1) - places, nan=np.inf)
    offset[_off_sky(here, places) & _off_sky(there, places)] = 0
    return offset


def _off_sky(wcs: WCS, places: Array) -> Array:
    outside: Array = np.isnan(np.stack(wcs.pixel_to_world_values(*places.T), axis=1)).any(axis=1)
    return outside
