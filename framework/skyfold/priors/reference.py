"""Images that priors compare with, from files or arrays, brought to the places of a component."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError, require
from skyfold.geometry import Geometry, Grid, celestial_wcs
from skyfold.healpix_table import energy_edges, from_table, is_healpix, opened_fits
from skyfold.inputs import split_part
from skyfold.sphere import Sphere
from skyfold.vector import Array


def on_places(
    source: Any, geometry: Geometry, what: str = "reference", inside: Array | bool = True
) -> Array:
    """Return a reference as one value above zero for each place of a geometry.

    What covers only the field of a grid is continued by its edge; what has no energies holds for
    all.

    Parameters
    ----------
    source
        A number, an array in the order of the geometry, or the name of a FITS file, perhaps with
        an extension in brackets.
    geometry
        The places.
    what
        What it is called in messages.
    inside
        Where it must be above zero.

    Raises
    ------
    ConfigError
        If the shape does not fit.
    DataError
        If there is no image or map in the file, it shows other places, or not all values are
        finite and above zero inside.
    FileError
        If the file cannot be read.
    """
    if isinstance(source, str | Path):
        name, values = f"{what} {source}", _read(source, geometry)
    else:
        name, values = f"the {what}", np.asarray(source, dtype=np.float64)
    placed = _placed(values, geometry, name)
    wrong = ~(np.isfinite(placed) & (placed > 0)) & inside
    if np.any(wrong):
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{name}: {np.count_nonzero(wrong)} of {placed.size} values are not above zero, the "
            f"first is {placed[place]} at index {place}; raise them to a low level"
        )
    return placed


def _placed(values: Array, geometry: Geometry, name: str) -> Array:
    shape = geometry.shape
    if values.ndim == 0 or values.shape == shape:
        return np.broadcast_to(values, shape)
    if isinstance(geometry, Sphere) and values.shape in (shape[:1], (shape[0], 1)):
        return np.broadcast_to(values.reshape(-1, 1), shape)
    if isinstance(geometry, Grid):
        if values.shape == shape[-values.ndim :] and values.ndim > 1:
            return np.broadcast_to(values, shape)
        if geometry.field is not None and values.shape == geometry.crop().shape[-values.ndim :]:
            field = geometry.field[-values.ndim :]
            full = shape[-values.ndim :]
            margins = [(s.start, n - s.stop) for s, n in zip(field, full, strict=True)]
            return np.broadcast_to(np.pad(values, margins, mode="edge"), shape)
    seen = geometry.crop().shape if isinstance(geometry, Grid) else shape
    beyond = f", or {shape} with what lies beyond it" if seen != shape else ""
    raise ConfigError(
        f"{name} has shape {values.shape}, but the sky has {seen}{beyond}; they must agree"
    )


def image_in(source: str | Path) -> Array:
    """Return the first image of a FITS file, perhaps with an extension in brackets.

    Raises
    ------
    DataError
        If there is none.
    FileError
        If the file cannot be read.
    """
    path, part = split_part(source)
    with opened_fits(path) as hdus:
        for hdu in _parts(hdus, part, path):
            if hdu.is_image and hdu.header["NAXIS"]:
                return np.asarray(hdu.data, dtype=np.float64)
    raise DataError(f"{source}: no image in it")


def _read(source: str | Path, geometry: Geometry) -> Array:
    path, part = split_part(source)
    with opened_fits(path) as hdus:
        for hdu in _parts(hdus, part, path):
            if is_healpix(hdu):
                return _from_map(*from_table(hdu, energy_edges(hdus))[:2], geometry, path)
            if hdu.is_image and hdu.header["NAXIS"]:
                values = np.asarray(hdu.data, dtype=np.float64)
                _require_same_view(Grid(values.shape, celestial_wcs(hdu.header)), geometry, path)
                return values
    raise DataError(f"{source}: neither an image nor a HEALPix map in it")


def _parts(hdus: Any, part: str | None, path: Path) -> Any:
    """Return all parts of a file, or the one asked for."""
    try:
        return hdus if part is None else [hdus[int(part) if part.isdigit() else part]]
    except (KeyError, IndexError):
        names = ", ".join(str(hdu.name) for hdu in hdus)
        raise DataError(f"{path} has no part {part!r}; it has {names}") from None


def _from_map(values: Array, sphere: Sphere, geometry: Geometry, path: Path) -> Array:
    """Return a HEALPix map in the order of the geometry."""
    if not isinstance(geometry, Sphere):
        raise DataError(f"{path} is a HEALPix map, but the values are no sphere")
    there = Sphere(geometry.nside, nested=sphere.nested, frame=geometry.frame)
    if difference := Sphere(sphere.nside, nested=sphere.nested, frame=sphere.frame).difference(
        there
    ):
        raise DataError(f"reference {path}: {difference}")
    if sphere.nested != geometry.nested:
        healpy = require("healpy", "healpix")
        convert = healpy.nest2ring if geometry.nested else healpy.ring2nest
        values = values[convert(sphere.nside, np.arange(sphere.pixels))]
    return values


def _require_same_view(image: Grid, geometry: Geometry, path: Path) -> None:
    """Refuse an image whose coordinates are not those of the grid, or of its field."""
    if not isinstance(geometry, Grid):
        raise DataError(f"{path} is an image, but the values are no grid of pixels")
    for grid in (geometry, geometry.crop()):
        if image.shape[-2:] == grid.shape[-2:]:
            here = Grid(image.shape[-2:], image.wcs)
            if difference := here.difference(Grid(grid.shape[-2:], grid.wcs)):
                raise DataError(f"reference {path}: {difference}")
