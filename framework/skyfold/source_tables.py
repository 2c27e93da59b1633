"""What was measured of point sources, as a table, as files, and in the layout of PLUCY."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold import files
from skyfold.errors import ConfigError, DataError, FileError
from skyfold.geometry import Geometry, Grid
from skyfold.source_rows import CARD
from skyfold.sources import Sources
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

FAINT = 3.0  # sigma
BLENDED = -0.3  # correlation with a neighbour below which light may have gone to the wrong one
NO_MAGNITUDE = -100.0  # of a star without light, in PLUCY's table
PER_MAGNITUDE = 2.5 / np.log(10)


def source_table(
    sources: Sources,
    geometry: Geometry,
    places: Array,
    flux: Array,
    *,
    error: Array | None = None,
    total_error: Array | None = None,
    correlation: Array | None = None,
    shift: Array | None = None,
    shift_error: Array | None = None,
    unit: str = "",
    edge: Array | None = None,
) -> Table:
    """Return what was measured of point sources, one row for each.

    ``number`` in the list; ``name``; ``x, y``, counted as ``origin`` in the metadata says, ``ra,
    dec`` (ICRS) where the image has coordinates; ``lon, lat`` on a sphere, with ``frame`` in the
    metadata; ``flux``, ``flux_error``, ``total_error`` of the sum over energies, ``mag``,
    ``mag_error``, ``first_flux``; ``dx, dy``, by how much positions were moved, and their errors;
    the lowest ``correlation`` with another source, and which is this ``neighbour``; ``psf``;
    ``flags``: *unseen* without a flux, *edge* close to the border, *zero* without light, *faint*
    below 3 sigma, *blended* with a correlation below -0.3.

    Parameters
    ----------
    sources
        Their list.
    geometry
        Places of the data.
    places
        Where the list puts them, as `skyfold.sources.placed` tells, shape ``(n, 2)``.
    flux, error
        What was measured, shape ``(n,)`` or ``(n, energy)``; NaN where nothing can be.
    total_error
        Error of the sum over energies, shape ``(n,)``, which heeds their covariance.
    correlation
        That of the fluxes, shape ``(n, n)``.
    shift, shift_error
        By how much positions were moved, in the unit of the places, shape ``(n, 2)``.
    unit
        Unit of the fluxes, as text; empty for counts.
    edge
        Which are close to the border of the data, shape ``(n,)``; see `near_border`.
    """
    from astropy.table import Table

    now, unit = places if shift is None else places + shift, unit or "ct"
    length = "deg" if isinstance(geometry, Sphere) else "pix"
    # the number comes first, since names may begin with #, which would be a comment
    table = Table({"number": np.arange(1, len(sources) + 1), "name": np.array(sources.names)})
    table.meta["magzero"] = sources.magzero
    _add_places(table, now, geometry)
    _add(table, unit, flux=flux, flux_error=error, total_error=total_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        _add(table, "mag", mag=np.where(flux > 0, sources.magzero - 2.5 * np.log10(flux), np.nan))
        if error is not None:
            _add(table, "mag", mag_error=np.where(flux > 0, PER_MAGNITUDE * error / flux, np.nan))
    _add(table, sources.unit or unit, first_flux=sources.flux)
    if shift is not None:
        _add(table, length, dx=shift[:, 0], dy=shift[:, 1])
    if shift_error is not None:
        _add(table, length, dx_error=shift_error[:, 0], dy_error=shift_error[:, 1])
    if correlation is not None:
        _add_neighbours(table, correlation)
    _add(table, "", psf=None if sources.psf is None else sources.psf + 1)
    table["flags"] = _flags(table, edge)
    return table


def near_border(places: Array, geometry: Grid, border: float) -> Array:
    """Return which places are within so many pixels of the border of an image, or beyond it."""
    size = np.array(geometry.crop().shape[:-3:-1])
    inside = np.minimum(places[:, : len(size)] + 0.5, size - 0.5 - places[:, : len(size)])
    near: Array = inside.min(axis=1) < border
    return near


def summed(table: Table) -> tuple[Array, Array]:
    """Return fluxes of all energies together, and their errors, shape ``(rows,)``.

    Energies at which a source is not seen are left out; NaN where none is left, and for errors
    that are not known.
    """
    flux: Array = np.asarray(table["flux"], float).reshape(len(table), -1)
    seen = np.isfinite(flux)
    total = np.where(seen.any(axis=1), np.sum(flux, axis=1, where=seen), np.nan)
    if "total_error" in table.colnames:
        return total, np.asarray(table["total_error"], float)
    if "flux_error" not in table.colnames:
        return total, np.full(len(table), np.nan)
    error: Array = np.asarray(table["flux_error"], float).reshape(flux.shape)
    return total, np.sqrt(np.sum(error**2, axis=1, where=seen))


def _add(table: Table, unit: str, **columns: Array | None) -> None:
    """Add what is there."""
    for name, values in columns.items():
        if values is not None:
            table[name] = values
            table[name].unit = unit or None


def _add_places(table: Table, places: Array, geometry: Geometry) -> None:
    if isinstance(geometry, Sphere):
        table.meta["frame"] = geometry.frame
        _add(table, "deg", lon=places[:, 0], lat=places[:, 1])
        return
    assert isinstance(geometry, Grid)
    table.meta["origin"] = 0
    _add(table, "pix", x=places[:, 0], y=places[:, 1])
    if (wcs := geometry.crop().wcs) is not None:
        sky = wcs.pixel_to_world(*places.T).icrs
        _add(table, "deg", ra=sky.ra.deg, dec=sky.dec.deg)


def _add_neighbours(table: Table, correlation: Array) -> None:
    """Add the lowest correlation of each source with another; nothing where it is not known."""
    known = np.isfinite(correlation) & ~np.eye(len(table), dtype=bool)
    others = np.where(known, correlation, np.inf)
    lowest = others.min(axis=1)
    table["correlation"] = np.where(np.isinf(lowest), np.nan, lowest)
    table["neighbour"] = np.where(np.isinf(lowest), "", table["name"][others.argmin(axis=1)])


def _flags(table: Table, edge: Array | None) -> list[str]:
    """Return what to beware of in each row."""
    flux, error = summed(table)
    edge = np.zeros(len(table), bool) if edge is None else edge
    found = {"unseen": np.isnan(flux), "edge": edge, "zero": flux <= 0}
    found["faint"] = (flux > 0) & (flux < FAINT * error)
    if "correlation" in table.colnames:
        found["blended"] = np.asarray(table["correlation"]) < BLENDED
    return [" ".join(name for name, on in found.items() if on[i]) for i in range(len(table))]


def write_sources(table: Table, path: Path) -> None:
    """Write a table of sources as ECSV or FITS, by the ending of its name; whole or not at all.

    `skyfold.source_files.read_sources` takes either as a list.

    Raises
    ------
    ConfigError
        If the ending is neither ``.ecsv`` nor ``.fits``.
    DataError
        If a name holds what FITS cannot.
    FileError
        If it cannot be written.
    """
    import warnings

    suffix = path.suffix.lower()
    if suffix not in (".ecsv", ".fits"):
        raise ConfigError(f"{path}: tables of stars are written as .ecsv or .fits")
    if suffix == ".fits":
        if odd := [name for name in map(str, table["name"]) if not name.isascii()]:
            raise DataError(f"{path}: FITS cannot hold the name {odd[0]!r}; write .ecsv")
        meta = {CARD if key == "origin" else key: value for key, value in table.meta.items()}
        table = table.copy()
        table.meta = meta
    with files.replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cards with long names, which are read back
        form = "fits" if suffix == ".fits" else "ascii.ecsv"
        table.write(partial, format=form, overwrite=True)


def historical_table(table: Table, path: Path, header: Mapping[str, object]) -> None:
    """Write a table of sources as PLUCY does: text with a header and seven columns.

    Number, x and y as the list had them, counted from 1, first flux, flux, magnitude and, if
    the list tells PSFs, their numbers, as ``I6, F7.2, F7.2, F12.2, F12.2, F7.3, I5``; a number too
    long for its column pushes the others to the right. A star without light has magnitude -100.

    Parameters
    ----------
    table
        What `source_table` returns for an image, fluxes without energies.
    path
        The file, which must not exist.
    header
        What to say above the columns, title by title.

    Raises
    ------
    DataError
        If the sources are not those of one image.
    FileError
        If there is such a file, or it cannot be written.
    """
    if path.exists():
        raise FileError(f"{path} exists already; give another name, or remove it")
    if "x" not in table.colnames or np.ndim(table["flux"]) > 1:
        raise DataError(f"{path}: this layout holds stars of one image, without energies")
    moved = np.array(
        [table[d] if d in table.colnames else np.zeros(len(table)) for d in ("dx", "dy")]
    )
    x, y = np.array([table["x"], table["y"]]) - moved + 1 - table.meta["origin"]
    first = table["first_flux"] if "first_flux" in table.colnames else np.full(len(table), np.nan)
    magnitude = np.nan_to_num(np.asarray(table["mag"]), nan=NO_MAGNITUDE)
    titles = f"#{'No':>5}{'X':>7}{'Y':>7}{'First flux':>12}{'Flux':>12}{'Mag':>7}"
    psf = table["psf"] if "psf" in table.colnames else None
    lines = [*(f"# {key}: {value}" for key, value in header.items()), "#"]
    lines.append(titles if psf is None else f"{titles}{'PSF':>5}")
    for i, row in enumerate(zip(x, y, first, table["flux"], magnitude, strict=True)):
        forms = ("6.2f", "6.2f", "11.2f", "11.2f", "6.3f")
        cells = [f"{i + 1:5d}", *(f"{v:{form}}" for v, form in zip(row, forms, strict=True))]
        cells += [] if psf is None else [f"{psf[i]:4d}"]
        lines.append("".join(f" {cell}" for cell in cells))
    files.write_text(path, "\n".join(lines) + "\n")
