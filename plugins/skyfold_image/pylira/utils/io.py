"""Files: results as FITS, and the text files of traces that LIRA writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold_image.pylira.result import LIRADeconvolverResult

TRACE_HDU = "IMAGE_TRACE"
NO_PARAMETERS = ("iteration", "stepSize", "cycleSpinRow", "cycleSpinCol")  # columns of a trace


@dataclass(frozen=True)
class TraceFile:
    """The image trace of a FITS file, which is read when it is first asked for."""

    path: Path

    def read(self) -> Array:
        """Return the trace, shape (iterations, y, x); what is not looked at stays on disk."""
        from astropy.io import fits

        with fits.open(self.path, memmap=True) as opened:
            return np.asarray(opened[TRACE_HDU].data)


def write_to_fits(
    result: LIRADeconvolverResult, filename: str | Path, overwrite: bool = False
) -> None:
    """Write a result: images, traces and configuration.

    Raises
    ------
    FileError
        If the file exists and ``overwrite`` is false, or cannot be written.
    """
    from astropy.io import fits

    from skyfold.files import replacing

    path = Path(filename)
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists; give another name, or overwrite=True")
    header = None if result.wcs is None else result.wcs.to_header()
    units = [
        fits.PrimaryHDU(result.posterior_mean, header),
        fits.ImageHDU(result.posterior_std, header, name="POSTERIOR_STD"),
    ]
    if result.has_parameter_trace:
        units.append(fits.BinTableHDU(result.parameter_trace, name="PARAMETER_TRACE"))
    if result.has_image_trace:
        units.append(fits.ImageHDU(result.image_trace, header, name=TRACE_HDU))
    units.append(fits.BinTableHDU(result.config_table, name="CONFIG"))
    with replacing(path) as partial:
        fits.HDUList(units).writeto(partial, overwrite=True)


def read_from_fits(filename: str | Path) -> dict[str, Any]:
    """Read what makes up a result; its image trace stays on disk until it is asked for.

    Raises
    ------
    FileError
        If there is no such file, or it is no result.
    """
    from astropy.io import fits
    from astropy.table import Table

    from skyfold.geometry import celestial_wcs

    path = Path(filename)
    try:
        with fits.open(path, memmap=False) as opened:
            names = [unit.name for unit in opened]
            (row,) = Table.read(opened["CONFIG"])
            traced = "PARAMETER_TRACE" in names
            return {
                "config": {name: row[name].tolist() for name in row.colnames},
                "posterior_mean": np.asarray(opened[0].data, dtype=float),
                "posterior_std": np.asarray(opened["POSTERIOR_STD"].data, dtype=float),
                "parameter_trace": Table.read(opened["PARAMETER_TRACE"]) if traced else None,
                "image_trace": TraceFile(path) if TRACE_HDU in names else None,
                "wcs": celestial_wcs(opened[0].header),
            }
    except (OSError, KeyError, ValueError) as error:
        raise FileError(f"{path}: no deconvolution result ({error})") from error


def read_parameter_trace_file(filename: str | Path, format: str = "ascii") -> Table:
    """Read a table of parameters, one row per iteration; ``#`` begins a comment.

    Raises
    ------
    FileError
        If the file is missing, or no such table.
    """
    from astropy.table import Table

    try:
        return Table.read(filename, format=format)
    except (OSError, ValueError) as error:
        raise FileError(f"{filename}: no parameter trace ({error})") from error


def read_image_trace_file(filename: str | Path) -> Array:
    """Read square images that stand below each other, as shape (iterations, y, x).

    Raises
    ------
    FileError
        If the file is missing, or holds other things than numbers.
    DataError
        If its rows are no whole number of square images.
    """
    try:
        rows = np.loadtxt(filename, ndmin=2)
    except (OSError, ValueError) as error:
        raise FileError(f"{filename}: no image trace ({error})") from error
    lines, size = rows.shape
    if lines % size:
        raise DataError(f"{filename}: {lines} rows of {size} values are no square images")
    return rows.reshape(-1, size, size)
