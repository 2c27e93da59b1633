"""The whole sky on an ellipse: HEALPix pixels in Mollweide's equal-area projection.

The centre of the map is at longitude 0, longitude increases to the left, as seen from inside.
Equations from Calabretta & Greisen 2002, A&A 395, 1077, section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyfold.errors import require
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.wcs import WCS

WIDTH = 960  # pixels of a map; half as many high
AXES = {"galactic": ("GLON", "GLAT"), "icrs": ("RA--", "DEC-"), "fk5": ("RA--", "DEC-")}
NAMES = {"galactic": ("l", "b"), "icrs": ("RA", "Dec"), "fk5": ("RA", "Dec")}
MERIDIANS = (120, 60, 0, -60, -120)
PARALLELS = (60, 30, 0, -30, -60)


class Mark(NamedTuple):
    """A position worth marking on a map: longitude and latitude in degrees, and its name."""

    lon: float
    lat: float
    name: str = ""


def project(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Return places on the map, each coordinate from -1 to 1, of directions in degrees."""
    sine = np.pi * np.sin(np.radians(np.asarray(lat, dtype=float)))
    angle = np.arcsin(sine / np.pi)
    for _ in range(60):  # Newton; slow only at the poles, where the slope vanishes
        slope = np.maximum(2 + 2 * np.cos(2 * angle), 1e-12)
        angle = np.clip(
            angle - (2 * angle + np.sin(2 * angle) - sine) / slope, -np.pi / 2, np.pi / 2
        )
    around = (np.asarray(lon, dtype=float) + 180) % 360 - 180
    return -around / 180 * np.cos(angle), np.sin(angle)


def unproject(x: Array, y: Array) -> tuple[Array, Array]:
    """Return directions in degrees of places on the map; NaN off the ellipse."""
    on = x**2 + y**2 <= 1
    angle = np.arcsin(np.where(on, y, 0))
    lat = np.degrees(np.arcsin(np.clip((2 * angle + np.sin(2 * angle)) / np.pi, -1, 1)))
    lon = -180 * np.where(on, x, 0) / np.maximum(np.cos(angle), 1e-12)
    return np.where(on, lon, np.nan), np.where(on, lat, np.nan)


def layout(values: Array, nside: int, nested: bool = False, width: int = WIDTH) -> Array:
    """Return HEALPix pixels laid out on the map; the first row is in the south.

    Parameters
    ----------
    values
        Shape ``(pixel,)`` or ``(pixel, energy)``.
    nside, nested
        Resolution and order of the pixels.
    width
        Pixels of the map from left to right.

    Returns
    -------
    image
        Shape ``(y, x)`` or ``(energy, y, x)``; NaN off the sky.
    """
    healpy = require("healpy", "healpix")
    x = (np.arange(width) + 0.5) / width * 2 - 1
    lon, lat = unproject(*np.meshgrid(x, x[::2] + 1 / width))
    on = np.isfinite(lon)
    pixel = healpy.ang2pix(nside, lon[on], lat[on], nest=nested, lonlat=True)
    image = np.full((*values.shape[1:], *on.shape), np.nan)
    image[..., on] = np.moveaxis(values[pixel], 0, -1)
    return image


def map_wcs(frame: str, width: int = WIDTH) -> WCS | None:
    """Return the coordinates of the map; None for frames that FITS has no name for."""
    from astropy.wcs import WCS

    if frame not in AXES:
        return None
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{name}-MOL" for name in AXES[frame]]
    wcs.wcs.crpix = (width + 1) / 2, (width / 2 + 1) / 2
    step = 2 * np.degrees(2 * np.sqrt(2)) / width
    wcs.wcs.cdelt = -step, step
    wcs.wcs.crval = 0, 0
    wcs.wcs.set()
    return wcs


def frame_name(frame: str) -> str:
    """Return the name of a frame as people write it."""
    return {"galactic": "Galactic", "icrs": "ICRS", "fk5": "FK5"}.get(frame, frame)


def integrated(values: Array, sphere: Sphere, unit: str) -> tuple[Array, str]:
    """Return the values of each energy bin, and their unit: values per energy times its width.

    Parameters
    ----------
    values
        Shape ``(pixel, energy)``.
    sphere
        Their places.
    unit
        Their unit, as text.
    """
    from astropy import units as u

    made = u.Unit(unit)
    per_energy = [
        base
        for base, power in zip(made.bases, made.powers, strict=True)
        if power < 0 and base.is_equivalent(u.eV)
    ]
    if sphere.energy_edges is None or not per_energy:
        return values, unit
    widths = np.diff(sphere.energy_edges.to_value(per_energy[0]))
    return values * widths, (made * per_energy[0]).to_string()


def brightest(total: Array, sphere: Sphere, name: str = "") -> Mark:
    """Return the centre of the brightest pixel of a map of shape ``(pixel,)``."""
    lon, lat = sphere.directions()
    i = int(np.nanargmax(total))
    return Mark(float(lon[i]), float(lat[i]), name)


def as_marks(given: Sequence[Sequence[float | str]]) -> tuple[Mark, ...]:
    """Return marks from tuples of longitude, latitude and, if it has one, a name."""
    return tuple(Mark(float(lon), float(lat), *map(str, name)) for lon, lat, *name in given)


def meridian(lon: float) -> tuple[Array, Array]:
    """Return the line of a longitude on the map."""
    lat = np.linspace(-90, 90, 61)
    return project(np.full(lat.shape, lon), lat)
