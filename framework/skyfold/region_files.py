"""Regions from text, from files of DS9 and CASA, and from FITS masks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skyfold import healpix_table
from skyfold.errors import ConfigError, DataError, FileError, require
from skyfold.geometry import Grid, celestial_wcs
from skyfold.regions import Mask, Region, Shape
from skyfold.vector import Array

# shape -> how many sizes follow the centre; ellipse and box may be turned by an angle
SIZES = {"circle": 1, "annulus": 2, "ellipse": 2, "box": 2, "polygon": 0}
HOW = (
    "give circle(x, y, radius), annulus(x, y, inner, outer), ellipse(x, y, a, b, angle), "
    "box(x, y, width, height, angle) or polygon(x1, y1, x2, y2, ...), in pixels or with units, as "
    "circle(266.4 deg, -29.0 deg, 30 arcsec)"
)


def find(given: Iterable[str | Path | Region]) -> list[Region]:
    """Return the regions of shapes as text, of DS9 files and of FITS masks, each with its name.

    Raises
    ------
    ConfigError
        If something is no region, or two have one name.
    DataError, FileError
        If a file is not what it should be.
    MissingExtraError
        If a region file is given and the package to read it is not installed.
    """
    found = [region for one in given for region in _read(one)]
    names = [region.name for region in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two regions are called {sorted(twice)[0]!r}; write NAME=circle(...)")
    return found


def _read(given: str | Path | Region) -> list[Region]:
    if isinstance(given, Region):
        return [given]
    if not isinstance(given, str | Path):
        raise ConfigError(f"{given!r} is no region: {HOW}")
    path = Path(given)
    if "(" in str(given) and not path.exists():
        return [parse(str(given))]
    if path.suffix.lower() in (".fits", ".fit", ".gz", ".fts"):
        return [_read_mask(path)]
    return _read_file(path)


def parse(text: str) -> Region:
    """Return the region that a text like ``core = galactic; circle(0.1 deg, 0 deg, 5')`` tells.

    Numbers without a unit are pixels, counted from 0. Name and frame may be left out.

    Raises
    ------
    ConfigError
        If it tells none.
    """
    pattern = r"(?:([^=;()]+)=)?\s*(?:([\w ]+);)?\s*(\w+)\s*\((.*)\)\s*"
    matched = re.fullmatch(pattern, text.strip(), re.DOTALL)
    name, frame, kind, inner = matched.groups() if matched else ("", "", "", "")
    kind, words = kind.lower(), [word.strip() for word in inner.split(",")]
    if kind not in SIZES:
        raise ConfigError(f"{text!r} is no region: {HOW}")
    try:
        numbers = [_number(word) for word in words]
    except ValueError as error:
        raise ConfigError(f"region {text!r}: {error}; {HOW}") from error
    ends = 2 if kind != "polygon" else len(numbers)
    places, sizes, angles = (
        numbers[:ends],
        numbers[ends : ends + SIZES[kind]],
        numbers[ends + SIZES[kind] :],
    )
    turns = kind in ("ellipse", "box")
    wrong = len(sizes) < SIZES[kind] or len(angles) > turns or len(places) % 2
    if wrong or (kind == "polygon" and len(places) < 6):
        raise ConfigError(f"region {text!r} has {len(numbers)} numbers: {HOW}")
    if len({sky for _, sky in places + sizes}) > 1:
        raise ConfigError(f"region {text!r} mixes pixels and angles: give all with a unit, or none")
    lengths = tuple(value for value, _ in sizes)
    if any(length <= 0 for length in lengths[-1:]) or lengths != tuple(map(abs, lengths)):
        raise ConfigError(f"region {text!r}: sizes must be positive")
    points = np.reshape([value for value, _ in places], (-1, 2))
    angle, sky = sum(value for value, _ in angles), places[0][1]
    shape = Shape(kind, points, lengths, angle, sky, (frame or "").strip().lower())
    return Region((name or text).strip(), shape)


def _number(word: str) -> tuple[float, bool]:
    """Return a number of pixels, or an angle in degrees, and whether it is an angle."""
    from astropy.coordinates import Angle
    from astropy.units import UnitsError

    plain = re.fullmatch(r"(.+?)\s*(?:pix|px|pixels?)?", word)
    try:
        return float(plain[1] if plain else word), False
    except ValueError:
        pass
    try:
        return float(Angle(word).deg), True
    except (ValueError, UnitsError) as error:
        raise ValueError(f"{word!r} is neither a number of pixels nor an angle") from error


def opened(path: Path, how: str) -> list[Any]:
    """Return the regions of a file of DS9 or CASA, as the package `regions` reads them.

    Parameters
    ----------
    path
        The file.
    how
        What to put into it, for messages.

    Raises
    ------
    DataError, FileError
        If it is no such file, or something in it is no region.
    MissingExtraError
        If the package is not installed.
    """
    package = require("regions", "regions")
    if not path.exists():
        raise FileError(f"{path}: there is no such file; {how}")
    try:
        with warnings.catch_warnings(record=True) as skipped:
            warnings.simplefilter("always")
            found = package.Regions.read(str(path))
    except Exception as error:  # its parsers raise whatever they stumble over
        raise FileError(f"{path} is no region file: {error}") from error
    if skipped or not found:
        said = str(skipped[0].message) if skipped else "there is no region in it"
        raise DataError(f"{path}: {said}; {how}")
    return list(found)


def _read_file(path: Path) -> list[Region]:
    """Return the regions of a file of DS9 or CASA; excluded ones are cut out of all others."""
    shapes = [(_from_package(one, path), one) for one in opened(path, HOW)]
    holes = tuple(shape for shape, one in shapes if not one.meta.get("include", True))
    wanted = [(shape, one) for shape, one in shapes if one.meta.get("include", True)]
    return [
        Region(label(one, f"{path.stem}-{i}" if len(wanted) > 1 else path.stem), shape, holes)
        for i, (shape, one) in enumerate(wanted, 1)
    ]


def label(found: Any, otherwise: str) -> str:
    """Return what a region is called in its file."""
    return str(found.meta.get("text") or found.meta.get("label") or otherwise)


def _from_package(found: Any, path: Path) -> Shape:
    """Return the shape of a region of the package `regions`."""
    name = type(found).__name__
    kinds = {"Circle": "circle", "CircleAnnulus": "annulus", "Ellipse": "ellipse",
             "Rectangle": "box", "Polygon": "polygon"}  # fmt: skip
    kind = kinds.get(re.sub("(Sky|Pixel)Region$", "", name))
    if kind is None:
        raise DataError(f"{path}: {name} is no shape with a flux; {HOW}")
    fields = {"circle": ("radius",), "annulus": ("inner_radius", "outer_radius"),
              "polygon": ()}.get(kind, ("width", "height"))  # fmt: skip
    sky = name.endswith("SkyRegion")
    sizes = [getattr(found, key) for key in fields]
    lengths = tuple(float(size.to_value("deg") if sky else size) for size in sizes)
    where = found.vertices if kind == "polygon" else found.center
    x, y = (where.spherical.lon.deg, where.spherical.lat.deg) if sky else (where.x, where.y)
    points = np.stack([np.atleast_1d(x), np.atleast_1d(y)], axis=1)
    angle = float(found.angle.to_value("deg")) if kind in ("ellipse", "box") else 0.0
    if kind == "ellipse":  # full axes there, half axes here
        lengths = tuple(length / 2 for length in lengths)
    return Shape(kind, points, lengths, angle, sky, where.frame.name if sky else "")


def _read_mask(path: Path) -> Region:
    """Return the region of the first image or HEALPix map of a FITS file."""
    with healpix_table.opened_fits(path) as hdus:
        for hdu in hdus:
            if healpix_table.is_healpix(hdu):
                values, sphere, _ = healpix_table.from_table(hdu)
                shape = Mask(_shares(values[:, :1], path), replace(sphere, energy_edges=None))
                return Region(path.stem, shape)
            if hdu.is_image and hdu.header.get("NAXIS") == 2:
                values = np.asarray(hdu.data, dtype=float)
                grid = Grid(values.shape, celestial_wcs(hdu.header))
                return Region(path.stem, Mask(_shares(values, path), grid))
    raise DataError(f"{path}: neither an image (y, x) nor a HEALPix map in it")


def _shares(values: Array, path: Path) -> Array:
    if not np.all((values >= 0) & (values <= 1)):
        raise DataError(
            f"{path}: a mask holds how much of each pixel counts, from 0 to 1; here are "
            f"{np.nanmin(values):g} to {np.nanmax(values):g}"
        )
    return values
