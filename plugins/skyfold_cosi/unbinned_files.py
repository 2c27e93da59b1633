"""Files of unbinned events as columns: FITS from the stream, HDF5, in blocks of rows."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.files import replacing
from skyfold.inputs import AGAIN
from skyfold.vector import Array
from skyfold_cosi.hdf5 import opened, require_numbers

AXES = " (glon,glat)"
UNITS = {
    "Energies": "keV",
    "TimeTags": "s",
    "Xpointings" + AXES: "rad",
    "Ypointings" + AXES: "rad",
    "Zpointings" + AXES: "rad",
    "Phi": "rad",
    "Chi local": "rad",
    "Psi local": "rad",
    "Distance": "cm",
    "Chi galactic": "deg",
    "Psi galactic": "deg",
}
NEEDED = tuple(name for name in UNITS if name[0] != "Y" and name != "Distance")
FITS_UNIT = 2880
GZIP = 4
Columns = Mapping[str, Array]


def unpacked(path: Path) -> Any:
    """Open a file for reading, through gzip if it is packed."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def hdf5_blocks(path: Path, size: int) -> Iterator[Columns]:
    """Yield blocks of rows of an HDF5 file: one dataset for each column."""
    with opened(path) as file:
        names = _require_columns(file, path)
        for name in names:
            require_numbers(file[name], f"{path}: {name!r}")
            axis = "pointings" in name
            if file[name].shape != (len(file[names[0]]), 2)[: 1 + axis]:
                raise DataError(f"{path}: column {name!r} has shape {file[name].shape}")
        for first in range(0, len(file[names[0]]), size):
            rows = slice(first, first + size)
            yield {name: file[name][rows].astype(np.float64) for name in names}


def fits_blocks(path: Path, size: int) -> Iterator[Columns]:
    """Yield blocks of rows from the stream: astropy unpacks a whole ``.fits.gz`` first."""
    from astropy.io import fits

    with unpacked(path) as file:
        try:
            if fits.Header.fromfile(file)["NAXIS"]:
                raise DataError(f"{path} begins with an image, not with a table of events")
            header = fits.Header.fromfile(file)
            width, rows = int(header["NAXIS1"]), int(header["NAXIS2"])
            columns = fits.ColDefs(
                [
                    fits.Column(
                        header[f"TTYPE{i}"],
                        header[f"TFORM{i}"],
                        header.get(f"TUNIT{i}"),
                        bscale=header.get(f"TSCAL{i}"),
                        bzero=header.get(f"TZERO{i}"),
                    )
                    for i in range(1, int(header["TFIELDS"]) + 1)
                ]
            )
        except (EOFError, OSError, zlib.error, KeyError, ValueError, TypeError) as error:
            raise FileError(
                f"{path} is cut off or has no table of events: {error}. {AGAIN}"
            ) from error
        names = _require_columns(columns.names, path)
        factors = {name: _factor(columns[name], path) for name in names}
        dtype = columns.dtype.newbyteorder(">")
        if dtype.itemsize != width:
            raise DataError(f"{path}: rows of {width} bytes, its columns make {dtype.itemsize}")
        try:
            for first in range(0, rows, size):
                wanted = width * min(size, rows - first)
                raw = file.read(wanted)
                if len(raw) < wanted:
                    raise EOFError(f"it ends within its {rows} rows")
                block = np.frombuffer(raw, dtype=dtype)
                yield {name: block[name].astype(np.float64) * factors[name] for name in names}
        except (EOFError, OSError, zlib.error) as error:
            raise FileError(f"{path} is cut off or damaged: {error}. {AGAIN}") from error


def write_hdf5(path: Path, blocks: Iterable[Columns]) -> int:
    """Write blocks of rows as HDF5 and return the number of rows."""
    import h5py

    count = 0
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        for name, unit in UNITS.items():
            pair = (2,) if name.endswith(AXES) else ()
            dataset = file.create_dataset(
                name,
                (0, *pair),
                "f8",
                chunks=(1 << 16, *pair),
                maxshape=(None, *pair),
                compression="gzip",
                compression_opts=GZIP,
            )
            dataset.attrs["unit"] = unit
        for block in blocks:
            for name, values in block.items():
                file[name].resize(count + len(block["TimeTags"]), axis=0)
                file[name][count:] = values
            count += len(block["TimeTags"])
    return count


def write_fits(path: Path, blocks: Iterable[Columns]) -> int:
    """Write blocks of rows as FITS and return the number of rows.

    They are kept aside until their number, which stands before them, is known.
    """
    from astropy.io import fits

    columns = [
        fits.Column(name, "2D" if name.endswith(AXES) else "D", unit)
        for name, unit in UNITS.items()
    ]
    count = 0
    with replacing(path) as partial, tempfile.TemporaryFile(dir=path.parent) as rows:
        for block in blocks:
            table = np.empty(
                len(block["TimeTags"]), [(n, ">f8", v.shape[1:]) for n, v in block.items()]
            )
            for name, values in block.items():
                table[name] = values
            rows.write(table.tobytes())
            count += len(block["TimeTags"])
        header = fits.BinTableHDU.from_columns(columns, nrows=0, name="EVENTS").header
        header["NAXIS2"] = count
        rows.seek(0)
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(partial, "wb") as file:
            file.write(fits.PrimaryHDU().header.tostring().encode())
            file.write(header.tostring().encode())
            shutil.copyfileobj(rows, file)
            file.write(bytes(-count * header["NAXIS1"] % FITS_UNIT))
    return count


def _require_columns(found: Iterable[str], path: Path) -> list[str]:
    """Return the columns to read."""
    found = list(found)
    old = "Xpointings" in found
    names = [name.removesuffix(AXES) if old else name for name in NEEDED]
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{path} holds no events: column {missing[0]!r} is missing, there are "
            f"{', '.join(map(repr, found)) or 'none'}"
        )
    return names + ["Distance"] * ("Distance" in found)


def _factor(column: Any, path: Path) -> float:
    """Return what turns a FITS column into our unit."""
    from astropy import units as u

    if column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0):
        raise DataError(f"{path}: column {column.name!r} is scaled (TSCAL, TZERO): not supported")
    ours = next(unit for name, unit in UNITS.items() if name.removesuffix(AXES) in column.name)
    try:
        return float(u.Unit(column.unit).to(ours)) if column.unit else 1.0
    except (ValueError, u.UnitConversionError):
        raise DataError(f"{path}: column {column.name!r} in {column.unit!r}, not {ours}") from None
