"""Point sources as somebody listed them, and where they are on the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Geometry, Grid
from skyfold.origin import Check
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

SAME = 0.01  # pixels: closer than this, two stars are one
AXES = {"": ("x", "y"), "galactic": ("l", "b")} | dict.fromkeys(
    ("icrs", "fk5", "fk4"), ("ra", "dec")
)


@dataclass(frozen=True, eq=False)
class Sources:
    """Point sources as somebody listed them.

    Parameters
    ----------
    names
        One for each source, all different.
    places
        Shape ``(n, 2)``: x and y in pixels of the data, counted from 0 at the centre of the first,
        or longitude and latitude in degrees.
    frame
        Frame of longitude and latitude, as astropy knows it; empty for pixels.
    flux
        First estimate of the light of each in ``unit``, shape ``(n,)``; NaN, or None for all,
        where there is none.
    psf
        Number of the PSF of each, from 0, shape ``(n,)``; None if the list does not say.
    unit
        Unit of the flux as text; empty for counts.
    origin
        What the list calls the first pixel, 0 or 1: for messages.
    file
        Where they come from: for messages.
    checks
        What was found on reading them.
    magzero
        Magnitude of a flux of one.

    Raises
    ------
    DataError
        If there is no source, two have one name, what is told of them is not told of each, or a
        number cannot be what it stands for.
    """

    names: tuple[str, ...]
    places: Array
    frame: str = ""
    flux: Array | None = None
    psf: Array | None = None
    unit: str = ""
    origin: int = 0
    file: str = ""
    checks: tuple[Check, ...] = ()
    magzero: float = 20.0

    def __post_init__(self) -> None:
        if not self.names:
            raise self.error("no star in it; to restore without stars, give no list")
        if self.places.shape != (len(self.names), 2):
            raise self.error(f"{len(self.names)} names for places of shape {self.places.shape}")
        for title, values in (("flux", self.flux), ("psf", self.psf)):
            if values is not None and values.shape != (len(self.names),):
                raise self.error(
                    f"{title} of shape {values.shape} for {len(self.names)} names: give one number "
                    "for each star, or none at all"
                )
        if twice := _first_twice(self.names):
            raise self.error(
                f"stars {twice[0] + 1} and {twice[1] + 1} are both called "
                f"{self.names[twice[0]]!r}; give each a name of its own"
            )
        self._refuse(~np.isfinite(self.places).all(axis=1), "its place is not finite")
        if self.frame:
            self._require_angles()
        if self.flux is not None:
            self._refuse(np.isinf(self.flux), "its flux is infinite")
            self._refuse(self.flux < 0, "its flux is negative; leave it out (NaN) if unknown")
        if self.psf is not None:
            self._refuse(self.psf < 0, "PSFs are numbered from 1")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def axes(self) -> tuple[str, str]:
        """What the two numbers of a place are called."""
        return AXES.get(self.frame, ("lon", "lat"))

    def told(self, i: int) -> str:
        """Return a source and its place for people, as the list has it."""
        numbers = self.places[i] if self.frame else self.places[i] + self.origin
        where = ", ".join(f"{a} {v:.8g}" for a, v in zip(self.axes, numbers, strict=True))
        return f"star {self.names[i]!r} ({where})"

    def error(self, message: str) -> DataError:
        """Return an error that names the file."""
        return DataError(f"{self.file}: {message}" if self.file else f"stars: {message}")

    def _refuse(self, wrong: Any, reason: str) -> None:
        if np.any(wrong):
            raise self.error(f"{self.told(int(np.argmax(wrong)))}: {reason}")

    def _require_angles(self) -> None:
        (lon, lat), (first, second) = self.places.T, self.axes
        swapped = "" if np.any(np.abs(lon) > 90) else f"; are {first} and {second} swapped?"
        self._refuse(np.abs(lat) > 90, f"{second} is not between -90 and 90 degrees{swapped}")
        self._refuse((lon < -180) | (lon > 360), f"{first} is not between -180 and 360 degrees")


def placed(sources: Sources, geometry: Geometry) -> Array:
    """Return where sources are on the data: all there, and no two at one place.

    Parameters
    ----------
    sources
        Their list.
    geometry
        Places of the data: an image, or the whole sky.

    Returns
    -------
    places
        Shape ``(n, 2)``: x and y in pixels, from 0 at the centre of the first, of the part of the
        image that the data cover; or longitude and latitude in degrees in the frame of the sphere.

    Raises
    ------
    ConfigError
        If the data are no image.
    DataError
        If a source is outside the image, two are at one place, or the image cannot tell pixels
        from positions on the sky or the other way round.
    """
    if isinstance(geometry, Sphere):
        return _on_sphere(sources, geometry)
    if not isinstance(geometry, Grid):
        raise ConfigError(f"stars need an image or a sky; {type(geometry).__name__} have no places")
    grid = geometry.crop()
    if sources.frame and grid.wcs is None:
        raise sources.error(
            f"stars are given by {' and '.join(sources.axes)}, but the image has no celestial "
            "coordinates: give x and y in pixels"
        )
    places = _pixels(sources.places, sources.frame, grid)
    if not np.all(inside := _inside(places, grid)):
        raise sources.error(_outside(sources, places, inside, grid))
    _require_apart(sources, places[:, :1] if len(grid.shape) == 1 else places, SAME)
    return places


def psf_numbers(sources: Sources, psfs: int) -> Array:
    """Return the number of the PSF of each source, from 0, shape ``(n,)``.

    Raises
    ------
    DataError
        If there is no such PSF, or there are several and the list does not say which is whose.
    """
    if sources.psf is None:
        if psfs > 1:
            raise sources.error(
                f"{psfs} PSFs are given, but the list does not say which star has which: add their "
                "numbers, from 1, as fourth number of each line, or as column psf"
            )
        return np.zeros(len(sources), int)
    if np.any(wrong := sources.psf >= psfs):
        i = int(np.argmax(wrong))
        there = "there is one" if psfs == 1 else f"there are {psfs}"
        raise sources.error(f"{sources.told(i)} asks for PSF {sources.psf[i] + 1}, but {there}")
    return sources.psf


def _first_twice(names: tuple[str, ...]) -> tuple[int, int] | None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in seen:
            return seen[name], i
        seen[name] = i
    return None


def _coordinates(places: Array, frame: str) -> SkyCoord:
    from astropy.coordinates import SkyCoord

    try:
        return SkyCoord(places[:, 0], places[:, 1], unit="deg", frame=frame)
    except ValueError as error:
        raise DataError(f"frame {frame!r} of the stars: {error}") from error


def _pixels(places: Array, frame: str, grid: Grid) -> Array:
    """Return places in pixels, NaN where a position is not on the projection."""
    if not frame:
        return places
    import warnings

    assert grid.wcs is not None
    assert grid.pixel_size is not None
    on = np.abs(places[:, 1]) <= 90
    pixels = np.full(places.shape, np.nan)
    coordinates = _coordinates(places[on], frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # far from an image, its distortion has no inverse:
        found = np.stack(grid.wcs.world_to_pixel(coordinates), axis=1)
        back = grid.wcs.pixel_to_world(*found.T)  # seen here
    near = back.separation(coordinates.transform_to(back.frame)) < SAME * grid.pixel_size
    pixels[on] = np.where(near[:, None], found, np.nan)
    return pixels


def _inside(places: Array, grid: Grid) -> Array:
    """Return which places are on the pixels of a grid."""
    size = np.array(grid.shape[:-3:-1])
    offset = places[:, : len(size)]
    inside: Array = np.all((offset >= -0.5) & (offset <= size - 0.5), axis=1)
    return inside


def _outside(sources: Sources, places: Array, inside: Array, grid: Grid) -> str:
    """Return which stars are outside, and what the list may have meant."""
    first, number = int(np.argmin(inside)), int(np.sum(~inside))
    size = " x ".join(str(n) for n in grid.shape[:-3:-1])
    many = f"{number} of {len(sources)} stars are outside the image, the first is " * (number > 1)
    at = ""
    if sources.frame and np.all(np.isfinite(places[first])):
        at = f", at pixel {places[first][0]:.1f}, {places[first][1]:.1f} from 0"
    is_outside = ": it has" if many else " is outside the image of"
    said = f"{many}{sources.told(first)}{at}{is_outside} {size} pixels (x, y)"
    for question, meant, frame in _guesses(sources, grid):
        if np.all(_inside(_pixels(meant, frame, grid), grid)):
            return f"{said}; {question}"
    return f"{said}; leave it out, or give an image that holds it"


def _guesses(sources: Sources, grid: Grid) -> Iterator[tuple[str, Array, str]]:
    """Yield what the numbers may mean instead: a question, places and their frame."""
    places, frame, (first, second) = sources.places, sources.frame, sources.axes
    if frame:
        yield f"are {first} and {second} swapped?", places[:, ::-1], frame
        yield f"is {first} in hours? Then give its unit", places * (15, 1), frame
        other = "icrs" if frame == "galactic" else "galactic"
        yield f"are these {' and '.join(AXES[other])}?", places, other
        return
    yield other_origin(sources), places + 2 * sources.origin - 1, ""
    yield "are x and y swapped?", places[:, ::-1], ""
    if grid.wcs is not None:
        question = "are these ra and dec? Then give a table with columns of these names"
        yield question, places + sources.origin, "icrs"


def other_origin(sources: Sources) -> str:
    """Return what to do if pixels of a list are counted from the other number."""
    return f"are pixels counted from {1 - sources.origin}? Then --stars.origin {1 - sources.origin}"


def _on_sphere(sources: Sources, sphere: Sphere) -> Array:
    if not sources.frame:
        raise sources.error(
            "a whole sky has no pixel coordinates x, y: give l and b, or ra and dec"
        )
    found = _coordinates(sources.places, sources.frame).transform_to(sphere.frame).spherical
    _require_apart(sources, found.to_cartesian().xyz.value.T, np.radians(SAME * sphere.pixel_size))
    return np.stack([found.lon.deg, found.lat.deg], axis=1)


def _require_apart(sources: Sources, points: Array, least: float) -> None:
    from scipy.spatial import KDTree

    if pairs := KDTree(points).query_pairs(least):
        i, j = min(pairs)
        more = f" ({len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
        raise sources.error(
            f"{sources.told(i)} and {sources.told(j)} are at the same place{more}: nothing can "
            "divide their light; leave one out"
        )
