"""Skies of one simple shape: to start from, to simulate, to compare with.

Each is an intensity per steradian whose integral over the sky is the flux asked for. It is averaged
over pixels, so that a shape smaller than a pixel keeps its place and its light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from skyfold.errors import ConfigError, require
from skyfold.geometry import Geometry, Grid
from skyfold.options import Angle
from skyfold.sphere import Sphere
from skyfold.vector import Array

SAMPLES = 8  # along each side of a pixel,
MOST = 4_000_000  # but not more than these in all

Degrees = float | Angle
Flux = Annotated[float, Field(ge=0)] | Sequence[float]
Profile = Callable[[Array, Array], Array]


def flat(geometry: Geometry, flux: Flux) -> Array:
    """Return a sky of one intensity.

    Parameters
    ----------
    geometry
        Where the values live: a sphere, or a grid with coordinates.
    flux
        Integral over all pixels, one number or one for each energy.
    """
    return _shape(geometry, flux, lambda lon, lat: np.zeros_like(lon))


def point(geometry: Geometry, lon: Degrees, lat: Degrees, flux: Flux) -> Array:
    """Return a point source: all its flux in the pixel that holds it.

    Parameters
    ----------
    geometry
        Where the values live: a sphere, or a grid with coordinates.
    lon, lat
        Position in the frame of the geometry; numbers are degrees.
    flux
        Integral, one number or one for each energy.
    """
    near = _squared_distance(geometry, lon, lat)
    return _shape(geometry, flux, lambda x, y: np.where((d := near(x, y)) == d.min(), 0, -np.inf))


def gaussian(geometry: Geometry, lon: Degrees, lat: Degrees, sigma: Degrees, flux: Flux) -> Array:
    """Return a round Gaussian source.

    Parameters
    ----------
    geometry
        Where the values live: a sphere, or a grid with coordinates.
    lon, lat
        Centre in the frame of the geometry; numbers are degrees.
    sigma
        Standard deviation; a number is degrees.
    flux
        Integral, one number or one for each energy.
    """
    far, width = _squared_distance(geometry, lon, lat), _size(sigma, "sigma")
    return _shape(geometry, flux, lambda x, y: -0.5 * far(x, y) / width**2)


def elliptic_gaussian(
    geometry: Geometry,
    lon: Degrees,
    lat: Degrees,
    sigma_lon: Degrees,
    sigma_lat: Degrees,
    flux: Flux,
) -> Array:
    """Return a Gaussian in longitude times one in latitude: the disk of a galaxy seen edge-on.

    Parameters
    ----------
    geometry
        Where the values live: a sphere, or a grid with coordinates.
    lon, lat
        Centre in the frame of the geometry; numbers are degrees.
    sigma_lon, sigma_lat
        Standard deviations; numbers are degrees.
    flux
        Integral, one number or one for each energy.
    """
    centre = _centre(geometry, lon, lat)
    width, height = _size(sigma_lon, "sigma_lon"), _size(sigma_lat, "sigma_lat")

    def profile(x: Array, y: Array) -> Array:
        away = (x - centre[0] + 180) % 360 - 180
        return -0.5 * ((away / width) ** 2 + ((y - centre[1]) / height) ** 2)

    return _shape(geometry, flux, profile)


def disk(geometry: Geometry, lon: Degrees, lat: Degrees, radius: Degrees, flux: Flux) -> Array:
    """Return a round disk of one intensity.

    Parameters
    ----------
    geometry
        Where the values live: a sphere, or a grid with coordinates.
    lon, lat
        Centre in the frame of the geometry; numbers are degrees.
    radius
        Angular radius; a number is degrees.
    flux
        Integral, one number or one for each energy.
    """
    far, size = _squared_distance(geometry, lon, lat), _size(radius, "radius")

    def profile(x: Array, y: Array) -> Array:
        distance = far(x, y)  # the nearest sample is always in: no disk is too small
        return np.where(distance <= max(size**2, distance.min()), 0, -np.inf)

    return _shape(geometry, flux, profile)


def _shape(geometry: Geometry, flux: Flux, log_profile: Profile) -> Array:
    """Return intensities for the logarithm of a profile over longitude and latitude in degrees."""

    def profile(lon: Array, lat: Array) -> Array:
        height = np.full(lon.shape, -np.inf)
        on = np.isfinite(lon)  # an all-sky map has corners off the sky
        height[on] = log_profile(lon[on], lat[on])
        values: Array = np.exp(height - np.max(height))  # nothing is lost by underflow
        return values

    area: Array | float
    if isinstance(geometry, Sphere):
        image, area = _mean_on_sphere(geometry, profile), geometry.pixel_area
        energies = geometry.shape[1]
    elif isinstance(geometry, Grid) and geometry.wcs is not None:
        image, area = _mean_on_grid(geometry, profile), _areas(geometry)
        energies = geometry.shape[0] if len(geometry.shape) > 2 else 1
    else:
        raise ConfigError("a shape needs a sky with celestial coordinates")
    given = np.asarray(flux, dtype=float)
    if given.ndim > 1 or given.size not in (1, energies) or not np.all(given >= 0):
        raise ConfigError(
            f"flux {flux}: give one number of at least 0 for all energies, or {energies} of them"
        )
    each, image = np.broadcast_to(given, energies), image / np.sum(image * area)
    values = image[:, None] * each if isinstance(geometry, Sphere) else each[:, None, None] * image
    return values.reshape(geometry.shape)


def _mean_on_sphere(sphere: Sphere, profile: Profile) -> Array:
    healpy = require("healpy", "healpix")
    side = _samples(sphere.pixels)
    fine = sphere.nside * side
    lon, lat = healpy.pix2ang(fine, np.arange(12 * fine**2), nest=True, lonlat=True)
    mean: Array = profile(lon, lat).reshape(sphere.pixels, -1).mean(axis=1)
    return mean if sphere.nested else healpy.reorder(mean, n2r=True)


def _mean_on_grid(grid: Grid, profile: Profile) -> Array:
    height, width = grid.shape[-2:]
    side = _samples(height * width)
    fine = Grid((height, width), grid.wcs).refine(side)
    y, x = np.indices(fine.shape)
    lon, lat = _coordinates(fine, x, y)
    mean: Array = profile(lon, lat).reshape(height, side, width, side).mean(axis=(1, 3))
    return mean


def _areas(grid: Grid) -> Array:
    """Return the solid angle of each pixel in sr, zero where a corner is off the sky."""
    y, x = np.indices([n + 1 for n in grid.shape[-2:]]) - 0.5
    corner = _directions(*_coordinates(grid, x, y))
    one, other = corner[1:, 1:] - corner[:-1, :-1], corner[1:, :-1] - corner[:-1, 1:]
    area: Array = 0.5 * np.linalg.norm(np.cross(one, other), axis=-1)
    return np.nan_to_num(area)


def _coordinates(grid: Grid, x: Array, y: Array) -> tuple[Array, Array]:
    """Return longitude and latitude, degrees; not a number off the sky."""
    assert grid.wcs is not None
    lon, lat = grid.wcs.pixel_to_world_values(x, y)
    return np.asarray(lon), np.asarray(lat)


def _samples(pixels: int) -> int:
    """Return how many samples along the side of a pixel are affordable."""
    side = SAMPLES
    while side > 1 and pixels * side**2 > MOST:
        side //= 2
    return side


def _squared_distance(geometry: Geometry, lon: Degrees, lat: Degrees) -> Profile:
    """Return the squared angular distance to a place, in square degrees, as a profile."""
    centre = _directions(*_centre(geometry, lon, lat))

    def squared(x: Array, y: Array) -> Array:
        half_chord = 0.5 * np.linalg.norm(_directions(x, y) - centre, axis=-1)
        angle: Array = np.degrees(2 * np.arcsin(np.minimum(half_chord, 1)))
        return angle**2

    return squared


def _centre(geometry: Geometry, lon: Degrees, lat: Degrees) -> tuple[float, float]:
    """Return a place in degrees.

    Raises
    ------
    ConfigError
        If there is no such place, or it is outside the grid.
    """
    centre = _degrees(lon), _degrees(lat)
    if not -90 <= centre[1] <= 90:
        raise ConfigError(f"lat {lat} is not between -90 and 90 degrees")
    if isinstance(geometry, Grid) and geometry.wcs is not None:
        x, y = (float(v) for v in geometry.wcs.world_to_pixel_values(*centre))
        if not (-0.5 <= x <= geometry.shape[-1] - 0.5 and -0.5 <= y <= geometry.shape[-2] - 0.5):
            raise ConfigError(
                f"lon {lon}, lat {lat} is outside the image, at pixel {x:.1f}, {y:.1f}"
            )
    return centre


def _directions(lon: Any, lat: Any) -> Array:
    """Return unit vectors, shape (..., 3), for degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    vector = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon)
    return np.stack(vector, axis=-1)


def _size(value: Degrees, name: str) -> float:
    size = _degrees(value)
    if size <= 0:
        raise ConfigError(f"{name} {value} must be greater than 0")
    return size


def _degrees(value: Any) -> float:
    return float(value.to_value("deg")) if hasattr(value, "unit") else float(value)
