"""HEALPix maps as FITS tables, as healpy and the all-sky surveys write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, FileError, SkyfoldError, require
from skyfold.inputs import AGAIN, require_data
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, HDUList
    from astropy.units import Quantity
    from mhealpy import HealpixMap

COORDSYS = {"galactic": "G", "icrs": "C", "fk5": "C", "geocentrictrueecliptic": "E"}
FRAMES = {"g": "galactic", "c": "icrs", "q": "icrs", "e": "geocentrictrueecliptic"}


def to_table(values: Array, sphere: Sphere, unit: str, name: str) -> BinTableHDU:
    """Return values as a table with one row per pixel and one column per energy.

    ``healpy.read_map(file, field=i, hdu=name)`` reads column ``i``.

    Parameters
    ----------
    values
        Shape ``(pixel, energy)``.
    sphere
        Their places.
    unit
        Their unit, as text.
    name
        Name of the HDU; of its only column too, while those of several energies are numbered.
    """
    single = values.shape[1] == 1
    columns = {name if single else f"{name}_{i + 1}": v for i, v in enumerate(values.T)}
    table = columns_to_table(columns, sphere.nside, sphere.nested, name, unit)
    table.header["COORDSYS"] = (COORDSYS.get(sphere.frame, sphere.frame), "celestial frame")
    return table


def columns_to_table(
    columns: dict[str, Array], nside: int, nested: bool, name: str, unit: str = ""
) -> BinTableHDU:
    """Return columns over the pixels of a HEALPix sphere as a table."""
    from astropy.io import fits

    made = []
    for title, values in columns.items():
        kept = values.astype(np.uint8) if values.dtype == bool else values
        letter = fits.column.NUMPY2FITS[kept.dtype.str[1:]]
        made.append(fits.Column(title, letter, unit=unit or None, array=kept))
    table = fits.BinTableHDU.from_columns(made, name=name)
    table.header.update(
        {
            "PIXTYPE": ("HEALPIX", "HEALPix pixels"),
            "ORDERING": ("NESTED" if nested else "RING", "order of the pixels"),
            "NSIDE": (nside, "resolution"),
            "FIRSTPIX": (0, "first pixel"),
            "LASTPIX": (12 * nside**2 - 1, "last pixel"),
            "INDXSCHM": ("IMPLICIT", "row number is pixel number"),
            "OBJECT": ("FULLSKY", "all pixels are here"),
        }
    )
    return table


def from_table(table: Any, edges: Quantity | None = None) -> tuple[Array, Sphere, str]:
    """Return values of shape ``(pixel, energy)``, their places and their unit.

    Pixels that the table leaves out, or marks as unseen, are NaN.

    Parameters
    ----------
    table
        An open FITS table with HEALPix pixels.
    edges
        Edges of the energies, if they are known and there is one column for each.

    Raises
    ------
    DataError
        If it is no HEALPix map, or its number of pixels is none that a sphere can have.
    """
    header, names = table.header, list(table.columns.names)
    if not is_healpix(table):
        raise DataError(f"HDU {table.name!r} holds no HEALPix map: PIXTYPE is not HEALPIX")
    explicit = str(header.get("INDXSCHM", "IMPLICIT")).upper() == "EXPLICIT"
    index = names.pop(0) if explicit else None
    columns = [np.asarray(table.data[name], dtype=float).ravel() for name in names]
    nside = int(header.get("NSIDE", round(np.sqrt(columns[0].size / 12))))
    edges = edges if edges is not None and len(edges) == len(columns) + 1 else None
    nested = str(header.get("ORDERING", "RING")).upper().startswith("NEST")
    frame = str(header.get("COORDSYS", "G")).strip().lower()
    sphere = Sphere(nside, edges, nested, FRAMES.get(frame, frame))
    values = np.stack(columns, axis=1)
    if index is not None:
        there = np.asarray(table.data[index], dtype=np.int64).ravel()
        if there.size and not 0 <= there.min() <= there.max() < sphere.pixels:
            raise DataError(
                f"HDU {table.name!r}: {index} goes from {there.min()} to {there.max()}, but nside "
                f"{nside} has the pixels 0 to {sphere.pixels - 1}"
            )
        values, known = np.full((sphere.pixels, len(columns)), np.nan), values
        values[there] = known
    if len(values) != sphere.pixels:
        raise DataError(
            f"HDU {table.name!r}: {len(values)} pixels, but nside {nside} has {sphere.pixels}"
        )
    values[values < -1.6e30] = np.nan  # the value that HEALPix gives to unseen pixels
    return values, sphere, str(table.columns[names[0]].unit or "")


def read(path: Path) -> tuple[Array, Sphere, str]:
    """Read the first HEALPix map of a FITS file: values ``(pixel, energy)``, places and unit.

    Raises
    ------
    DataError
        If there is none in it.
    FileError
        If the file is damaged.
    """
    with opened_fits(path) as hdus:
        for hdu in hdus:
            if is_healpix(hdu):
                return from_table(hdu, energy_edges(hdus))
    raise DataError(f"{path}: no HEALPix map in it; no table has PIXTYPE = 'HEALPIX'")


@contextmanager
def opened_fits(path: Path) -> Iterator[HDUList]:
    """Open a FITS file; what cannot be read of it is a `FileError`, also inside the block.

    Raises
    ------
    FileError
        If the file is damaged.
    """
    from astropy.io import fits

    require_data(path)
    try:
        with path.open("rb") as file, fits.open(file) as hdus:
            yield hdus
    except SkyfoldError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{path} is damaged or no FITS file: {error}. {AGAIN}") from error


def is_healpix(hdu: Any) -> bool:
    """Return whether an HDU holds a HEALPix map."""
    return str(hdu.header.get("PIXTYPE", "")).upper() == "HEALPIX"


def energy_edges(hdus: Any) -> Quantity | None:
    """Return the edges of the energies from the table EBOUNDS, or None where there is none."""
    from astropy.table import QTable

    if "EBOUNDS" not in hdus:
        return None
    bounds = QTable.read(hdus["EBOUNDS"])
    edges: Quantity = np.append(bounds["E_MIN"], bounds["E_MAX"][-1:])
    return edges


def ring(values: Array, sphere: Sphere) -> Array:
    """Return values of shape ``(pixel, energy)`` in RING order."""
    if not sphere.nested:
        return values
    order = require("healpy", "healpix").ring2nest(sphere.nside, np.arange(sphere.pixels))
    sorted_: Array = values[order]
    return sorted_


def to_mhealpy(image: Quantity, sphere: Sphere) -> list[HealpixMap]:
    """Return an image of shape ``(pixel, energy)`` as maps of mhealpy, one for each energy.

    Raises
    ------
    MissingExtraError
        If mhealpy is not installed.
    """
    mhealpy = require("mhealpy", "healpix")
    scheme, frame = "NESTED" if sphere.nested else "RING", COORDSYS.get(sphere.frame)
    return [
        mhealpy.HealpixMap(v.value, scheme=scheme, coordsys=frame, unit=v.unit, density=True)
        for v in image.T
    ]
