"""Where the instrument pointed, and when it could see: orientation files."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.files import replacing
from skyfold.inputs import require_data
from skyfold.vector import Array

HEAD = "Type OrientationsGalactic"
BLOCK = 1 << 26  # bytes of text that are read at a time
ALTITUDE = 530.0  # km; old files do not tell


@dataclass(frozen=True, eq=False)
class Orientation:
    """Attitude of a spacecraft at points in time, and the livetime of the intervals between.

    Parameters
    ----------
    time
        Unix time in seconds, increasing, shape (n,).
    x, z
        Axes of the detector, Galactic unit vectors, shape (n, 3).
    zenith
        Direction away from the centre of the Earth, the same way; NaN where it is not known.
    altitude
        Height above the Earth in km, shape (n,).
    livetime
        Seconds of livetime in the interval that begins at each row; the last is zero.

    Raises
    ------
    DataError
        If times do not increase, or livetimes are negative.
    """

    time: Array
    x: Array
    z: Array
    zenith: Array
    altitude: Array
    livetime: Array

    def __post_init__(self) -> None:
        back = np.flatnonzero(np.diff(self.time) <= 0)
        if back.size:
            i = int(back[0])
            raise DataError(
                f"orientation: time does not increase from row {i} ({self.time[i]:.3f} s) to the "
                f"next ({self.time[i + 1]:.3f} s)"
            )
        if np.any(~(self.livetime >= 0)):
            i = int(np.argmax(~(self.livetime >= 0)))
            raise DataError(f"orientation: livetime of row {i} is {self.livetime[i]:g} s")

    def __len__(self) -> int:
        return len(self.time)

    def between(self, start: float, stop: float) -> Orientation:
        """Return the part between two times; intervals that are cut keep their share of livetime.

        Raises
        ------
        DataError
            If the orientation does not cover it.
        """
        if not self.time[0] <= start < stop <= self.time[-1]:
            raise DataError(
                f"the time from {start:.3f} to {stop:.3f} s is not covered by the orientation, "
                f"which goes from {self.time[0]:.3f} to {self.time[-1]:.3f} s"
            )
        inside = self.time[(self.time > start) & (self.time < stop)]
        time = np.concatenate([[start], inside, [stop]])
        row = np.minimum(np.searchsorted(self.time, time, "right") - 1, len(self) - 2)
        width = np.diff(self.time)[row]
        share = (time - self.time[row]) / width
        left = np.append(np.diff(time), 0.0) / width

        def at(values: Array) -> Array:
            weight = share if values.ndim == 1 else share[:, None]
            return values[row] * (1 - weight) + values[row + 1] * weight

        def direction(values: Array) -> Array:
            mean = at(values)
            unit: Array = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            return unit

        return Orientation(
            time,
            direction(self.x),
            direction(self.z),
            direction(self.zenith),
            at(self.altitude),
            self.livetime[row] * left,
        )

    def live_at(self, times: Array) -> Array:
        """Return which times fall into an interval with livetime, shape of ``times``."""
        row = np.searchsorted(self.time, times, "right") - 1
        inside = (row >= 0) & (row < len(self) - 1)
        live: Array = inside & (self.livetime[np.clip(row, 0, len(self) - 1)] > 0)
        return live


def read_orientation(path: Path | str) -> Orientation:
    """Read an ``.ori`` text file, perhaps compressed with gzip.

    Rows are ``OG time Xb Xl Zb Zl altitude Eb El livetime``: unix seconds, then latitude before
    longitude in Galactic degrees, km, s. Very old files end after ``Zl``: the Earth is then not
    known, and all time is livetime.

    Raises
    ------
    FileError
        If it cannot be read, or a line is no such row.
    DataError
        If times do not increase.
    """
    path = Path(path)
    require_data(path)
    blocks = list(_blocks(path))
    if not blocks:
        raise FileError(f"{path} holds no orientation: there is no line that begins with OG")
    rows = np.concatenate(blocks)
    time, angles = rows[:, 0], np.radians(rows[:, 1:5])
    x, z = _vector(angles[:, 0], angles[:, 1]), _vector(angles[:, 2], angles[:, 3])
    livetime = np.append(np.diff(time), 0.0)
    if rows.shape[1] < 9:
        nowhere = np.full_like(x, np.nan)
        return Orientation(time, x, z, nowhere, np.full_like(time, ALTITUDE), livetime)
    zenith = _vector(*np.radians(rows[:, 6:8]).T)
    livetime[:-1] = rows[:-1, 8]
    return Orientation(time, x, z, zenith, rows[:, 5].copy(), livetime)


def write_orientation(path: Path | str, orientation: Orientation) -> None:
    """Write an ``.ori`` text file."""
    angles = [_angles(v) for v in (orientation.x, orientation.z, orientation.zenith)]
    columns = np.column_stack(
        [
            orientation.time,
            *angles[0],
            *angles[1],
            orientation.altitude,
            *angles[2],
            orientation.livetime,
        ]
    )
    with replacing(Path(path)) as partial, partial.open("w") as file:
        file.write(HEAD + "\n")
        np.savetxt(file, columns, fmt="OG %.6f" + " %.12f" * 8)
        file.write("EN\n")


def joined(parts: list[Orientation]) -> Orientation:
    """Return several orientations, one after the other, as one; the gaps have no livetime."""
    ends = [replace(p, livetime=np.append(p.livetime[:-1], 0.0)) for p in parts]
    names = ("time", "x", "z", "zenith", "altitude", "livetime")
    return Orientation(*(np.concatenate([getattr(p, name) for p in ends]) for name in names))


def _blocks(path: Path) -> Iterator[Array]:
    """Yield the numbers of the rows, shape (rows, columns), block by block."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.readline().split()
        if head[:1] != [b"Type"]:
            first = b" ".join(head)[:40].decode("utf-8", "replace")
            raise FileError(f"{path} is no orientation file: it begins with {first!r}")
        done = 1
        while lines := file.readlines(BLOCK):
            rows = [line for line in lines if line.startswith(b"OG")]
            if rows:
                yield _numbers(path, rows, lines, done)
            done += len(lines)


def _numbers(path: Path, rows: list[bytes], lines: list[bytes], done: int) -> Array:
    """Return the numbers of rows that all have as many columns as the first."""
    columns = len(rows[0].split()) - 1
    text = b" ".join(row[2:] for row in rows)
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError:
        values = np.empty(0)
    if columns not in (5, 9) or values.size != columns * len(rows) or not np.isfinite(values).all():
        raise FileError(f"{path}, line {done + _bad_line(lines, columns)}: expected OG and "
                        "9 numbers (time, Xb, Xl, Zb, Zl, altitude, Eb, El, livetime)")  # fmt: skip
    return values.reshape(-1, columns)


def _bad_line(lines: list[bytes], columns: int) -> int:
    for i, line in enumerate(lines, 1):
        words = line.split()
        if words[:1] != [b"OG"]:
            continue
        try:
            good = len(words) == columns + 1 and np.isfinite([float(w) for w in words[1:]]).all()
        except ValueError:
            good = False
        if not good or columns not in (5, 9):
            return i
    return 0


def _vector(lat: Array, lon: Array) -> Array:
    flat = np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], axis=1)


def _angles(vectors: Array) -> tuple[Array, Array]:
    """Return latitude and longitude in degrees."""
    lon = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    lat = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    return lat, lon
