"""Orientation of the spacecraft: where its axes and the zenith pointed, and when it observed.

Files: text (``.ori``, also packed as ``.ori.gz``) with one row for each second,
``OG time Xb Xl Zb Zl altitude Eb El livetime``, latitude before longitude in Galactic degrees;
and the FITS tables (VERSION 20260130) that cosipy writes since 2026.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.files import replacing
from skyfold.inputs import AGAIN, require_data
from skyfold.vector import Array
from skyfold_responses.attitude import longitude_latitude, unit_vectors

if TYPE_CHECKING:
    from astropy.table import QTable

FIRST_LINE = b"Type OrientationsGalactic"
BLOCK = 1 << 25
COLUMNS = 10
OLD_COLUMNS = 6  # without altitude, zenith and livetime
VERSION = "20260130"
FITS_COLUMNS = ("TimeStamp", "XPointings", "ZPointings", "EarthZenith", "Altitude", "LiveTime")
SQUARE = 0.1  # largest cosine between the axes x and z


@dataclass(frozen=True, eq=False)
class Orientation:
    """Where the axes of the spacecraft pointed at each row, and how long it was live after it.

    Parameters
    ----------
    time
        Unix seconds of each row, increasing, shape (n,).
    x, z
        Axes of the detector: Galactic unit vectors, shape (n, 3).
    zenith
        Direction away from the centre of the Earth, shape (n, 3); NaN where it is not known.
    altitude
        Height above the ground, km; NaN where it is not known.
    livetime
        Seconds of observation between each row and the next one; 0 in the South Atlantic
        Anomaly and at the last row.

    Raises
    ------
    DataError
        If there are fewer than two rows, shapes differ, or times do not increase.
    """

    time: Array
    x: Array
    z: Array
    zenith: Array
    altitude: Array
    livetime: Array

    def __post_init__(self) -> None:
        rows = len(self.time)
        if rows < 2:
            raise DataError(f"an orientation needs two rows or more, this one has {rows}")
        for name in (field.name for field in fields(self)):
            shape = (rows, 3) if name in ("x", "z", "zenith") else (rows,)
            if getattr(self, name).shape != shape:
                found = getattr(self, name).shape
                raise DataError(f"orientation: {name} has shape {found}, not {shape}")
        steps = np.diff(self.time)
        if not np.all(steps > 0):
            row = int(np.argmin(steps > 0)) + 1
            raise DataError(
                f"orientation: row {row + 1} at {self.time[row]:.3f} s does not come after "
                f"{self.time[row - 1]:.3f} s; rows must be in the order of time"
            )

    def __len__(self) -> int:
        return len(self.time)

    @property
    def earth_known(self) -> bool:
        """Whether zenith and altitude are known, as they are not in the oldest files."""
        return bool(np.isfinite(self.altitude[0]))

    @property
    def total_livetime(self) -> float:
        """Seconds of observation."""
        return float(self.livetime[:-1].sum())

    def between(self, start: float, stop: float) -> Orientation:
        """Return the part from ``start`` to ``stop``, in unix seconds.

        Axes at the two ends are interpolated; an interval that is cut keeps its livetime in
        proportion.

        Raises
        ------
        DataError
            If the orientation does not cover this range.
        """
        if not self.time[0] <= start < stop <= self.time[-1]:
            raise DataError(
                f"there is no orientation from {start:.3f} to {stop:.3f} s: it goes from "
                f"{self.time[0]:.3f} to {self.time[-1]:.3f} s"
            )
        first = int(np.searchsorted(self.time, start, "right"))
        last = int(np.searchsorted(self.time, stop, "left"))
        ends = self.at(np.array([start, stop]))
        x, z, zenith, altitude = (
            np.concatenate([at[:1], held[first:last], at[1:]])
            for at, held in zip(ends, (self.x, self.z, self.zenith, self.altitude), strict=True)
        )
        time = np.concatenate([[start], self.time[first:last], [stop]])
        share = np.diff(time) / np.diff(self.time[first - 1 : last + 1])
        livetime = np.append(self.livetime[first - 1 : last] * share, 0.0)
        return Orientation(time, x, z, zenith, altitude, livetime)

    @property
    def good_times(self) -> Array:
        """Beginning and end of each stretch with livetime, in unix seconds, shape (n, 2)."""
        live = np.concatenate([[False], self.livetime[:-1] > 0, [False]])
        begins, ends = np.flatnonzero(live[1:] & ~live[:-1]), np.flatnonzero(live[:-1] & ~live[1:])
        return np.stack([self.time[begins], self.time[ends]], axis=-1)

    def at(self, time: Array) -> tuple[Array, Array, Array, Array]:
        """Return x, z, zenith and altitude at times between the rows.

        Directions are interpolated as vectors; times outside take the first or last row.
        """
        row = np.clip(np.searchsorted(self.time, time, "right") - 1, 0, len(self) - 2)
        part = (time - self.time[row]) / (self.time[row + 1] - self.time[row])
        return self.after(row, np.clip(part, 0.0, 1.0))

    def after(self, row: Array, part: Array) -> tuple[Array, Array, Array, Array]:
        """Return x, z, zenith and altitude when parts of the intervals after rows have passed."""

        def between(vectors: Array) -> Array:
            mixed = (1 - part)[:, None] * vectors[row] + part[:, None] * vectors[row + 1]
            length = np.linalg.norm(mixed, axis=-1, keepdims=True)
            # opposite directions have no mean: the first holds until the second is there
            return np.where(length > 1e-6, mixed / np.maximum(length, 1e-6), vectors[row])

        altitude = (1 - part) * self.altitude[row] + part * self.altitude[row + 1]
        return between(self.x), between(self.z), between(self.zenith), altitude


def read_orientation(path: Path | str) -> Orientation:
    """Read an orientation, from text (``.ori``, ``.ori.gz``) or a FITS table.

    Files of the oldest form have no altitude, zenith and livetime: then the first two are not
    known, and the instrument is taken to be live all the time.

    Raises
    ------
    FileError
        If the file is damaged or cut off, with the number of the line that cannot be read.
    DataError
        If it is no orientation, the axes x and z are not perpendicular, or times do not increase.
    """
    path = Path(path)
    require_data(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if packed else open
    with opener(path, "rb") as file:
        try:
            start = file.read(len(FIRST_LINE))
            if start.startswith(b"SIMPLE"):
                return _read_fits(path)
            if start != FIRST_LINE:
                raise DataError(
                    f"{path} is no orientation: its first line is not {FIRST_LINE.decode()!r}"
                )
            file.readline()
            rows = np.concatenate(list(_blocks(file, path)))
        except (EOFError, gzip.BadGzipFile) as error:
            raise FileError(f"{path} is damaged: {error}. {AGAIN}") from error
    return _from_columns(rows.T, path)


def write_orientation(path: Path | str, orientation: Orientation) -> None:
    """Write an orientation as text: ``.ori``, or packed if the name ends with ``.gz``.

    Without altitude and zenith it takes the oldest form, which has no livetime either.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    path = Path(path)
    angles = [
        angle
        for vectors in (orientation.x, orientation.z, orientation.zenith)
        for angle in longitude_latitude(vectors)[::-1]
    ]
    columns = [orientation.time, *angles[:4]]
    if orientation.earth_known:
        columns += [orientation.altitude, *angles[4:], orientation.livetime]
    form = "OG " + " ".join(["%.17g"] * len(columns))
    opener = gzip.open if path.suffix == ".gz" else open
    with replacing(path) as partial, opener(partial, "wb") as file:
        file.write(FIRST_LINE + b"\n")
        np.savetxt(file, np.stack(columns, axis=1), fmt=form)
        file.write(b"EN\n")


def _blocks(file: IO[bytes] | gzip.GzipFile, path: Path) -> Iterator[Array]:
    """Yield the numbers of the rows up to the line ``EN``, block by block, shape (rows, 9 or 5)."""
    line, columns, rest = 2, 0, b""
    while block := file.read(BLOCK):
        block = rest + block
        end = block.rfind(b"\n") + 1 or len(block)
        block, rest = block[:end], block[end:]
        end = block.find(b"EN")
        rows = block[: end if end >= 0 else len(block)]
        if rows.strip():
            columns = columns or len(rows.split(b"\n", 1)[0].split())
            yield _numbers(rows, columns, path, line)
        if end >= 0:
            return
        line += block.count(b"\n")
    if rest.strip() != b"EN":
        raise FileError(f"{path} is cut off: its last line is not 'EN'. {AGAIN}")


def _numbers(block: bytes, columns: int, path: Path, line: int) -> Array:
    """Return the numbers of whole lines; ``line`` is the number of the first one."""
    try:
        if columns not in (COLUMNS, OLD_COLUMNS):
            raise ValueError
        rows = np.loadtxt(io.BytesIO(block), usecols=range(1, columns), comments=None, ndmin=2)
        if len(rows) == block.count(b"OG") and np.all(np.isfinite(rows)):
            return rows
    except ValueError:
        pass
    for number, text in enumerate(block.splitlines(), line):
        words = text.split()
        if words and not _is_row(words, columns):
            shown = text[:80].decode("utf-8", "replace")
            raise FileError(
                f"{path}:{number}: {shown!r} is no row of an orientation: expected 'OG' and "
                f"{COLUMNS - 1} numbers, time Xb Xl Zb Zl altitude Eb El livetime "
                f"({OLD_COLUMNS - 1} in the oldest files)"
            )
    raise FileError(f"{path}: lines from {line} on cannot be read. {AGAIN}")


def _is_row(words: list[bytes], columns: int) -> bool:
    try:
        finite = np.all(np.isfinite([float(word) for word in words[1:]]))
    except ValueError:
        return False
    return bool(
        finite and words[0] == b"OG" and len(words) == columns and columns in (COLUMNS, OLD_COLUMNS)
    )


def _from_columns(columns: Array, path: Path) -> Orientation:
    """Return the orientation of the columns of a text file."""
    time, x_lat, x_lon, z_lat, z_lon = columns[:5]
    unknown = np.full(len(time), np.nan)
    if len(columns) == COLUMNS - 1:
        altitude, zenith = columns[5].copy(), unit_vectors(columns[7], columns[6])
        livetime = columns[8].copy()
    else:
        altitude, zenith = unknown, np.stack([unknown] * 3, axis=-1)
        livetime = np.append(np.diff(time), 0.0)
    x, z = unit_vectors(x_lon, x_lat), unit_vectors(z_lon, z_lat)
    return _checked(path, time.copy(), x, z, zenith, altitude, livetime)


def _checked(
    path: Path, time: Array, x: Array, z: Array, zenith: Array, altitude: Array, livetime: Array
) -> Orientation:
    """Return the orientation if axes are perpendicular and livetimes are possible."""
    slanted = np.abs(np.einsum("ij,ij->i", x, z))
    if slanted.max() > SQUARE:
        row = int(slanted.argmax())
        angle = np.degrees(np.arccos(np.sum(x[row] * z[row])))
        raise DataError(
            f"{path}: row {row + 1} at {time[row]:.3f} s: the axes x and z are {angle:.1f} degrees "
            "apart, not 90; are latitude and longitude in this order?"
        )
    livetime[-1] = 0.0
    wrong = (livetime < 0) | (livetime > 1.01 * np.append(np.diff(time), np.inf))
    if np.any(wrong & np.append(np.diff(time) > 0, True)):
        row = int(wrong.argmax())
        raise DataError(
            f"{path}: row {row + 1} at {time[row]:.3f} s: the livetime is {livetime[row]:g} s, the "
            f"interval to the next row {time[row + 1] - time[row]:g} s"
        )
    try:
        return Orientation(time, x, z, zenith, altitude, livetime)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read_fits(path: Path) -> Orientation:
    """Read a FITS table of 2026: pairs are longitude and latitude in Galactic coordinates."""
    from astropy.table import QTable

    try:
        table = QTable.read(path, hdu=1)
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{path} cannot be read as a FITS table: {error}. {AGAIN}") from error
    if missing := [name for name in FITS_COLUMNS if name not in table.colnames]:
        raise DataError(f"{path} is no orientation: column {missing[0]} is missing")
    if (version := str(table.meta.get("VERSION"))) != VERSION:
        raise DataError(f"{path}: VERSION {version} is not known, only {VERSION}")
    x, z, zenith = (
        unit_vectors(*_column(table, name, "deg", path).T) for name in FITS_COLUMNS[1:4]
    )
    time, altitude, livetime = (
        _column(table, name, unit, path)
        for name, unit in (("TimeStamp", "s"), ("Altitude", "km"), ("LiveTime", "s"))
    )
    return _checked(path, time, x, z, zenith, altitude, livetime)


def _column(table: QTable, name: str, unit: str, path: Path) -> Array:
    from astropy import units as u

    try:
        values = table[name].to_value(unit)
    except (AttributeError, u.UnitConversionError):
        raise DataError(f"{path}: column {name} is not in {unit} or what converts to it") from None
    return np.array(values, dtype=np.float64)
