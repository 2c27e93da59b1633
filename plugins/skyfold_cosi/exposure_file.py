"""Files of exposure tables: FITS, as cosipy wrote them until 2025 and since 2026."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError
from skyfold.files import replacing
from skyfold.vector import Array
from skyfold_cosi.exposure import ExposureTable
from skyfold_image.fitsfile import hdus_of
from skyfold_image.reading import opened
from skyfold_responses.attitude import Pointings, longitude_latitude, unit_vectors

if TYPE_CHECKING:
    from astropy.io import fits

NAME = "EXPOSURETABLE"


def read_exposure_table(path: Path | str) -> ExposureTable:
    """Read an exposure table of either generation.

    Raises
    ------
    DataError
        If the file holds no exposure table, or one that contradicts itself.
    FileError
        If it cannot be read.
    """
    with opened(Path(path)) as (stream, size), hdus_of(stream, size, str(path)) as hdus:
        if NAME not in hdus:
            raise DataError(f"{path}: no table {NAME}; this is no exposure table")
        data = hdus[NAME].data
        columns = {name.lower(): data[name] for name in data.names}
        return _table(Path(path), hdus[NAME].header, columns)


def write_exposure_table(path: Path | str, table: ExposureTable, *, generation: int = 2025) -> None:
    """Write an exposure table, whole or not at all.

    Parameters
    ----------
    path
        File to write.
    table
        What to write.
    generation
        2025, which every cosipy until then reads, or 2026, which keeps zenith and altitude.
        Bins of time are only known to 2026.

    Raises
    ------
    DataError
        If the table cannot be told in that generation.
    FileError
        If the file cannot be written.
    """
    from astropy.io import fits

    columns = _columns_2025(table) if generation == 2025 else _columns_2026(table)
    hdu = fits.BinTableHDU.from_columns(columns, name=NAME)
    if table.nside is not None:
        hdu.header["NSIDE"] = table.nside
        hdu.header["SCHEME"] = "nested" if table.nested else "ring"
    if generation != 2025:
        hdu.header["BINMETH"] = table.axis.label
    if table.intervals is not None:
        hdu.header["FORMAT"], hdu.header["SCALE"] = "unix", "utc"
    with replacing(Path(path)) as partial:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(partial, overwrite=True)


def _table(path: Path, header: Any, columns: dict[str, Any]) -> ExposureTable:
    def column(name: str) -> Array:
        if name not in columns:
            raise DataError(f"{path}: the exposure table has no column {name!r}")
        return np.asarray(columns[name])

    lists = [np.asarray(v, dtype=np.float64) for v in column(_seconds_name(columns))]
    lengths = np.array([len(v) for v in lists], dtype=np.int64)

    def joined(name: str) -> Array:
        rows = [np.asarray(v, dtype=np.float64) for v in column(name)]
        for i, row in enumerate(rows):
            if len(row) != lengths[i]:
                raise DataError(
                    f"{path}: row {i} has {lengths[i]} times, but {len(row)} values of {name!r}"
                )
        return np.concatenate([np.empty(0), *rows])

    def vectors(name: str) -> Array:
        return unit_vectors(joined(f"{name}_l"), joined(f"{name}_b"))

    seconds = np.concatenate([np.empty(0), *lists])
    if not seconds.size:
        raise DataError(f"{path}: the exposure table is empty")
    if not np.all(seconds >= 0):
        worst = seconds[np.argmin(np.where(seconds >= 0, np.inf, -1))]
        raise DataError(f"{path}: a pointing of {worst:g} s in {_seconds_name(columns)!r}")
    earth = "altitude" in columns and "earth_zenith_l" in columns
    pointings = Pointings(
        vectors("xpointing"),
        vectors("zpointing"),
        seconds,
        np.concatenate([[0], np.cumsum(lengths)]),
        vectors("earth_zenith") if earth else None,
        joined("altitude") if earth else None,
    )
    if header.get("BINMETH", "ScAtt") == "Time":
        intervals = np.stack([column("tstart"), column("tstop")], axis=-1).astype(np.float64)
        return ExposureTable(pointings, intervals=intervals)
    if "NSIDE" not in header:
        raise DataError(f"{path}: the exposure table has no NSIDE: its bins are not known")
    names = "healpix_index_z_pointing", "healpix_index_x_pointing"
    pixels = np.stack([column(name) for name in names], axis=-1).astype(np.int64)
    nside = int(header["NSIDE"])
    if not 0 <= pixels.min() <= pixels.max() < 12 * nside**2:
        raise DataError(f"{path}: pixels from {pixels.min()} to {pixels.max()} at NSIDE {nside}")
    nested = str(header.get("SCHEME", "ring")).lower().startswith("nest")
    group = column("bkg_group").astype(np.int64) if "bkg_group" in columns else None
    return ExposureTable(pointings, pixels, nside, nested, background_group=group)


def _seconds_name(columns: dict[str, Any]) -> str:
    return "livetime" if "livetime" in columns else "delta_time"


def _columns_2025(table: ExposureTable) -> list[fits.Column]:
    if table.intervals is not None:
        raise DataError("exposure tables of 2025 know no bins of time; write generation 2026")
    group = table.background_group
    return [
        _column("scatt_binning_index", "K", np.arange(len(table))),
        _column("exposure", "D", table.exposure, "s"),
        _column("num_pointings", "K", table.num_pointings),
        _column("bkg_group", "K", np.zeros(len(table), np.int64) if group is None else group),
        *_pixel_columns(table),
        _lists("delta_time", table.pointings, table.pointings.seconds, "s"),
        *_pointing_columns(table.pointings),
    ]


def _columns_2026(table: ExposureTable) -> list[fits.Column]:
    pointings = table.pointings
    if table.intervals is None:
        bins = [_column("scatt_binning_index", "K", np.arange(len(table))), *_pixel_columns(table)]
    else:
        bins = [
            _column("time_binning_index", "K", np.arange(len(table))),
            _column("tstart", "D", table.intervals[:, 0], "s"),
            _column("tstop", "D", table.intervals[:, 1], "s"),
        ]
    earth = []
    if pointings.zenith is not None and pointings.altitude is not None:
        lon, lat = longitude_latitude(pointings.zenith)
        earth = [
            _lists("altitude", pointings, pointings.altitude, "km"),
            _lists("earth_zenith_l", pointings, lon, "degree"),
            _lists("earth_zenith_b", pointings, lat, "degree"),
        ]
    return [
        *bins,
        _column("total_livetime", "D", table.exposure, "s"),
        _column("num_pointings", "K", table.num_pointings),
        _lists("livetime", pointings, pointings.seconds, "s"),
        *_pointing_columns(pointings),
        *earth,
    ]


def _pixel_columns(table: ExposureTable) -> list[fits.Column]:
    assert table.pixels is not None
    names = "healpix_index_z_pointing", "healpix_index_x_pointing"
    return [_column(name, "K", table.pixels[:, i]) for i, name in enumerate(names)]


def _pointing_columns(pointings: Pointings) -> list[fits.Column]:
    axes = {"zpointing": pointings.z, "xpointing": pointings.x}
    means = {"zpointing_averaged": pointings.mean_z, "xpointing_averaged": pointings.mean_x}
    each = {name: longitude_latitude(vectors) for name, vectors in axes.items()}
    mean = {name: longitude_latitude(vectors) for name, vectors in means.items()}
    return [
        *(
            _lists(f"{name}_{part}", pointings, values, "degree")
            for name, both in each.items()
            for part, values in zip("lb", both, strict=True)
        ),
        *(
            _column(f"{name}_{part}", "D", values, "degree")
            for name, both in mean.items()
            for part, values in zip("lb", both, strict=True)
        ),
    ]


def _column(name: str, code: str, values: Array, unit: str | None = None) -> fits.Column:
    from astropy.io import fits

    return fits.Column(name=name, format=code, array=values, unit=unit)


def _lists(name: str, pointings: Pointings, values: Array, unit: str) -> fits.Column:
    """Return a column whose cells are lists: the values of each group."""
    cells = np.empty(pointings.groups, dtype=object)
    for i, (start, end) in enumerate(zip(pointings.first[:-1], pointings.first[1:], strict=True)):
        cells[i] = values[start:end]
    return _column(name, "PD()", cells, unit)
