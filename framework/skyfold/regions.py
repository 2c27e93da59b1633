"""Parts of a sky whose flux is asked for: shapes in sky or pixel coordinates, and masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError, require
from skyfold.geometry import Geometry, Grid
from skyfold.healpix_table import ring
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

LATTICE = 200  # points along each side of a shape that is measured


@dataclass(frozen=True, eq=False)
class Shape:
    """A circle, annulus, ellipse, box or polygon; a pixel is inside if its centre is.

    Parameters
    ----------
    kind
        Its name.
    points
        The centre, or the corners of a polygon, shape ``(n, 2)``: longitude and latitude in
        degrees, or x and y in pixels, counted from 0 at the centre of the first.
    sizes
        Radius; inner and outer radius; half axes; width and height. In degrees or pixels.
    angle
        By how many degrees it is turned anti-clockwise, seen with north up and east to the left.
    sky
        Whether it has sky coordinates.
    frame
        Name of their frame, as astropy knows it; that of the image by default.
    """

    kind: str
    points: Array
    sizes: tuple[float, ...] = ()
    angle: float = 0.0
    sky: bool = True
    frame: str = ""

    def inside(self, geometry: Geometry) -> Array:
        """Return how much of each pixel is inside, 0 or 1: shape ``(y, x)`` or ``(pixel, 1)``."""
        return self._contains(*self._offsets(geometry))

    def beyond(self, grid: Grid) -> float:
        """Return how much of the area lies outside of an image, from 0 to 1."""
        reach = max(self.sizes or np.hypot(*self._corners().T))
        places = np.linspace(-reach, reach, LATTICE)
        u, v = (offset.ravel() for offset in np.meshgrid(places, places))
        within = self._contains(u, v) > 0
        x, y = self._pixels(u[within], v[within], grid)
        ny, nx = grid.shape
        seen = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        return float(1 - np.mean(seen)) if seen.size else 0.0

    def _contains(self, u: Array, v: Array) -> Array:
        """Return whether offsets from the centre are inside, 0 or 1."""
        if self.kind == "polygon":
            return self._within_corners(u, v)
        turn = np.deg2rad(self.angle)
        a, b = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        distance, size = np.hypot(u, v), self.sizes
        with np.errstate(invalid="ignore"):  # pixels of a projection may lie off the sky
            if self.kind == "circle":
                found = distance <= size[0]
            elif self.kind == "annulus":
                found = (distance > size[0]) & (distance <= size[1])
            elif self.kind == "ellipse":
                found = np.hypot(a / size[0], b / size[1]) <= 1
            else:
                found = (np.abs(a) <= size[0] / 2) & (np.abs(b) <= size[1] / 2)
        return np.asarray(found, float)

    def _offsets(self, geometry: Geometry) -> tuple[Array, Array]:
        """Return how far pixels lie right of and above the centre: west and north on the sky.

        Distances and directions from the centre of a shape are true; the sides of a polygon are
        great circles.
        """
        if not self.sky:
            if isinstance(geometry, Sphere):
                raise ConfigError("a whole sky has no pixel coordinates x, y: give angles")
            y, x = _rows_and_columns(geometry)
            return x - self._middle[0], y - self._middle[1]
        positions = _positions(geometry)
        centre = self._at(self._middle, positions.frame.name)
        return _project(centre, positions, flat=self.kind == "polygon")

    def _pixels(self, u: Array, v: Array, grid: Grid) -> tuple[Array, Array]:
        """Return the places of offsets in pixels of an image: what `_offsets` undoes."""
        if not self.sky:
            return u + self._middle[0], v + self._middle[1]
        from astropy.units import deg, rad
        from astropy.wcs.utils import wcs_to_celestial_frame

        distance = np.hypot(u, v)
        if self.kind == "polygon":
            distance = np.rad2deg(np.arctan(np.deg2rad(distance)))
        centre = self._at(self._middle, wcs_to_celestial_frame(grid.wcs).name)
        there = centre.directional_offset_by(np.arctan2(-u, v) * rad, distance * deg)
        assert grid.wcs is not None
        x, y = grid.wcs.world_to_pixel(there)
        return x, y

    @property
    def _middle(self) -> Array:
        if not self.sky or len(self.points) == 1:
            middle: Array = self.points.mean(axis=0)
            return middle
        lon, lat = np.deg2rad(self.points).T
        x, y = np.sum(np.cos(lat) * np.cos(lon)), np.sum(np.cos(lat) * np.sin(lon))
        return np.rad2deg([np.arctan2(y, x), np.arctan2(np.sum(np.sin(lat)), np.hypot(x, y))])

    def _at(self, points: Array, frame: str) -> SkyCoord:
        """Return places, longitude and latitude last, in the frame of the region."""
        from astropy.coordinates import SkyCoord

        try:
            return SkyCoord(points[..., 0], points[..., 1], unit="deg", frame=self.frame or frame)
        except ValueError as error:
            raise ConfigError(f"region frame {self.frame!r}: {error}") from error

    def _within_corners(self, u: Array, v: Array) -> Array:
        from matplotlib.path import Path as Outline

        found = Outline(self._corners()).contains_points(np.stack([u.ravel(), v.ravel()], axis=1))
        return found.reshape(u.shape).astype(float)

    def _corners(self) -> Array:
        """Return the offsets of the corners of a polygon, shape ``(n, 2)``."""
        if not self.sky:
            return self.points - self._middle
        corners = self._at(self.points, "icrs")  # offsets are the same in every frame
        return np.stack(_project(self._at(self._middle, "icrs"), corners, flat=True), axis=1)


@dataclass(frozen=True, eq=False)
class Mask:
    """How much of each pixel counts, from 0 to 1, on the pixels of an image or of a sphere.

    Parameters
    ----------
    values
        Shape ``(y, x)`` or ``(pixel, 1)``.
    geometry
        Their places.
    """

    values: Array
    geometry: Geometry

    def inside(self, geometry: Geometry) -> Array:
        """Return the values, if they are on the pixels of the sky."""
        own = replace(_spatial(geometry), energy_edges=None)
        difference = own.difference(self.geometry)
        if difference is None:
            return self.values
        if isinstance(own, Sphere) and isinstance(self.geometry, Sphere):
            turned = replace(self.geometry, nested=own.nested)
            if own.difference(turned) is None:
                values = ring(self.values, self.geometry)
                return _nested(values, own) if own.nested else values
        raise DataError(f"the mask is not on the pixels of the sky: {difference}")


@dataclass(frozen=True, eq=False)
class Region:
    """A named part of a sky.

    Parameters
    ----------
    name
        Its name.
    shape
        A shape, or a mask.
    without
        Shapes that are cut out of it.
    """

    name: str
    shape: Shape | Mask
    without: tuple[Shape, ...] = ()

    def weights(self, geometry: Geometry) -> Array:
        """Return how much of each pixel counts, to be multiplied with values of the geometry.

        Raises
        ------
        ConfigError
            If no pixel is inside, or the pixels have no such coordinates.
        DataError
            If a mask is on other pixels.
        """
        try:
            found = self.shape.inside(geometry)
            for hole in self.without:
                found = found * (1 - hole.inside(geometry))
        except (ConfigError, DataError) as error:
            raise type(error)(f"region {self.name!r}: {error}") from error
        if not np.any(found > 0):
            raise ConfigError(
                f"region {self.name!r} holds the centre of no pixel: it lies outside of the field, "
                f"or is smaller than a pixel. The sky is {_described(geometry)}"
            )
        if isinstance(geometry, Grid) and geometry.field is not None:
            full = np.zeros(geometry.shape[-2:])
            full[geometry.field[-2:]] = found
            return full
        return found

    def beyond(self, geometry: Geometry) -> float:
        """Return how much of its area lies outside of an image, from 0 to 1; of all else 0."""
        if not (isinstance(geometry, Grid) and isinstance(self.shape, Shape)):
            return 0.0
        return self.shape.beyond(_spatial(geometry)) if len(geometry.shape) > 1 else 0.0


def _project(centre: SkyCoord, positions: SkyCoord, flat: bool) -> tuple[Array, Array]:
    """Return offsets to the west and to the north, in degrees; ``flat`` keeps great circles."""
    positions = positions.transform_to(centre.frame)
    distance = centre.separation(positions).deg
    turn = centre.position_angle(positions).rad
    if flat:
        with np.errstate(invalid="ignore"):
            distance = np.where(distance < 89, np.rad2deg(np.tan(np.deg2rad(distance))), np.nan)
    return -distance * np.sin(turn), distance * np.cos(turn)


def _positions(geometry: Geometry) -> SkyCoord:
    """Return the directions of the pixel centres of the field."""
    from astropy.coordinates import SkyCoord

    if isinstance(geometry, Sphere):
        lon, lat = geometry.directions()
        return SkyCoord(lon[:, None], lat[:, None], unit="deg", frame=geometry.frame)
    grid = _spatial(geometry)
    if grid.wcs is None:
        raise ConfigError("the image has no world coordinates: give pixels, without a unit")
    y, x = _rows_and_columns(geometry)
    return grid.wcs.pixel_to_world(x, y)


def _rows_and_columns(geometry: Geometry) -> Iterator[Array]:
    shape = _spatial(geometry).shape
    return iter(np.indices((1,) * (2 - len(shape)) + tuple(shape)).reshape(2, *shape))


def _spatial(geometry: Geometry) -> Any:
    """Return the places alone: the field of a grid without its energies, or the sphere."""
    if isinstance(geometry, Sphere):
        return replace(geometry, energy_edges=None)
    if not isinstance(geometry, Grid):
        raise ConfigError(f"{type(geometry).__name__} have no regions")
    grid = geometry.crop()
    return replace(grid, shape=grid.shape[-2:], energy_edges=None)


def _nested(values: Array, sphere: Sphere) -> Array:
    order = require("healpy", "healpix").nest2ring(sphere.nside, np.arange(sphere.pixels))
    turned: Array = values[order]
    return turned


def _described(geometry: Geometry) -> str:
    if isinstance(geometry, Sphere):
        return f"a sphere of {geometry.pixels} pixels of {geometry.pixel_size:.3g} deg"
    ny, nx = (1, *_spatial(geometry).shape)[-2:]
    return f"{nx} x {ny} pixels (x, y), counted from 0"
