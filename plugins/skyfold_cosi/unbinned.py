"""Events before binning, one row each: FITS, HDF5 and MEGAlib's text, read in blocks.

Memory does not grow with the size of a file, nor with the number of files.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError, FileError
from skyfold.inputs import AGAIN, require_data
from skyfold.vector import Array
from skyfold_cosi.unbinned_files import (
    AXES,
    NEEDED,
    UNITS,
    Columns,
    fits_blocks,
    hdf5_blocks,
    unpacked,
    write_fits,
    write_hdf5,
)
from skyfold_responses.attitude import longitude_latitude, rotations, unit_vectors

if TYPE_CHECKING:
    from skyfold_cosi.orientation import Orientation

BLOCK = 500_000


@dataclass(frozen=True, eq=False)
class Unbinned:
    """Compton events, one row each.

    The direction of an event points from the second interaction to the first: back along the
    scattered photon. A source lies at the Compton angle from it.

    Parameters
    ----------
    time
        Unix seconds, shape (n,).
    energy
        Measured energy, keV.
    phi
        Compton angle, rad; NaN where the energies allow none.
    x, z
        Longitude and latitude of the detector's axes, Galactic, rad, shape (n, 2).
    local
        Azimuth and colatitude of the direction in the detector's frame, rad, shape (n, 2).
    galactic
        Longitude and latitude of the direction, Galactic, DEGREES, shape (n, 2).
    distance
        Between the first two interactions, cm.
    """

    time: Array
    energy: Array
    phi: Array
    x: Array
    z: Array
    local: Array
    galactic: Array
    distance: Array

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, chosen: Any) -> Unbinned:
        return Unbinned(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, blocks: Iterable[Unbinned]) -> Unbinned:
        """Return the events of all blocks as one.

        Raises
        ------
        DataError
            If there is no block.
        """
        held = list(blocks)
        if not held:
            raise DataError("there are no events")
        return cls(*(np.concatenate([getattr(b, f.name) for b in held]) for f in fields(cls)))

    @property
    def columns(self) -> dict[str, Array]:
        """The columns under the names of the files, in their order."""
        x, z = (unit_vectors(*np.degrees(axis).T) for axis in (self.x, self.z))
        y = np.radians(np.stack(longitude_latitude(np.cross(z, x)), axis=-1))
        held = (self.energy, self.time, self.x, y, self.z, self.phi)
        angles = (*self.local.T, self.distance, *self.galactic.T)
        return {
            name: np.stack([_half_turn(values[:, 0]), values[:, 1]], axis=-1)
            if name.endswith(AXES)
            else values
            for name, values in zip(UNITS, (*held, *angles), strict=True)
        }


@dataclass(frozen=True, eq=False)
class Selection:
    """Which events are taken.

    Parameters
    ----------
    start, stop
        Unix seconds; the end is left out.
    energy
        Lowest and highest energy, keV; the highest is left out.
    good_times
        Beginning and end of intervals in unix seconds, increasing, shape (n, 2), such as
        `Orientation.good_times`, which leaves out the South Atlantic Anomaly.
    """

    start: float = -np.inf
    stop: float = np.inf
    energy: tuple[float, float] = (-np.inf, np.inf)
    good_times: Array | None = None

    def reasons(self, events: Unbinned) -> dict[str, Array]:
        """Return for each criterion which events do not meet it, shape (n,)."""
        low, high = self.energy
        out = {
            "outside the selected time": ~((events.time >= self.start) & (events.time < self.stop)),
            "outside the selected energy": ~((events.energy >= low) & (events.energy < high)),
        }
        if self.good_times is not None:
            out["without livetime"] = ~within(self.good_times, events.time)
        return out

    def __call__(self, events: Unbinned) -> Unbinned:
        """Return the events that meet all criteria."""
        return events[~np.logical_or.reduce(list(self.reasons(events).values()))]


def within(intervals: Array, time: Array) -> Array:
    """Return which times lie in one of the intervals, shape (n, 2), that increase."""
    if not len(intervals):
        return np.zeros(len(time), dtype=bool)
    place = np.searchsorted(intervals[:, 0], time, "right") - 1
    inside: Array = (place >= 0) & (time < intervals[np.maximum(place, 0), 1])
    return inside


def read_blocks(
    paths: Path | str | Sequence[Path | str],
    *,
    size: int = BLOCK,
    orientation: Orientation | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Unbinned]:
    """Read events of one file or several, block by block.

    Parameters
    ----------
    paths
        FITS (``.fits``, ``.fits.gz``), HDF5, or text of MEGAlib (``.tra``, ``.tra.gz``); what
        they are is seen from their content.
    size
        Most events in a block.
    orientation
        Where the detector pointed, for text files that do not say it.
    skipped
        Takes the number of records of text files that are no Compton event with two
        interactions.

    Yields
    ------
    Unbinned
        In the order of the files.

    Raises
    ------
    FileError
        If a file is damaged or cut off.
    DataError
        If it holds no events, or a column is missing or has an impossible unit or value.
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    for path in map(Path, several):
        require_data(path)
        kind = _kind(path)
        if kind == "tra":
            from skyfold_cosi.tra import read_tra

            yield from read_tra(path, size=size, orientation=orientation, skipped=skipped)
            continue
        reader = hdf5_blocks if kind == "hdf5" else fits_blocks
        for columns in reader(path, size):
            yield _events(columns, path)


def read_unbinned(paths: Path | str | Sequence[Path | str], **options: Any) -> Unbinned:
    """Read all events of one file or several into memory; options as those of `read_blocks`."""
    return Unbinned.joined(read_blocks(paths, **options))


def write_unbinned(path: Path | str, blocks: Unbinned | Iterable[Unbinned]) -> int:
    """Write events as FITS (``.fits``, ``.fits.gz``) or HDF5 (``.h5``, ``.hdf5``).

    Parameters
    ----------
    path
        Its ending chooses the format.
    blocks
        Events, or blocks of them as `read_blocks` yields them.

    Returns
    -------
    int
        Number of events.

    Raises
    ------
    ConfigError
        If the ending is another one.
    FileError
        If it cannot be written.
    """
    path = Path(path)
    several = [blocks] if isinstance(blocks, Unbinned) else blocks
    columns = (block.columns for block in several)
    if path.suffix in (".h5", ".hdf5"):
        return write_hdf5(path, columns)
    if path.name.endswith((".fits", ".fits.gz")):
        return write_fits(path, columns)
    raise ConfigError(f"{path}: events are written as .fits, .fits.gz, .h5 or .hdf5")


def from_vectors(
    time: Array, energy: Array, phi: Array, x: Array, z: Array, step: Array
) -> Unbinned:
    """Make events from vectors.

    Parameters
    ----------
    time, energy, phi
        As in `Unbinned`.
    x, z
        Axes of the detector, Galactic unit vectors, shape (n, 3); NaN where not known.
    step
        From the second to the first interaction in the detector's frame, cm, shape (n, 3).
    """
    distance = np.linalg.norm(step, axis=-1)
    azimuth, latitude = longitude_latitude(step)
    x, z = (np.radians(np.stack(longitude_latitude(axis), axis=-1)) for axis in (x, z))
    local = np.radians(np.stack([azimuth, 90.0 - latitude], axis=-1))
    events = Unbinned(time, energy, phi, x, z, local, np.empty_like(local), distance)
    return replace(events, galactic=galactic_directions(events))


def galactic_directions(events: Unbinned) -> Array:
    """Turn the directions of the detector's frame into the sky.

    Returns
    -------
    Array
        Longitude and latitude in degrees, shape (n, 2); NaN where the axes are not known.
    """
    x, z = (unit_vectors(*np.degrees(axis).T) for axis in (events.x, events.z))
    known = np.abs(np.einsum("ni,ni->n", x, z)) < 0.5  # false for NaN
    azimuth, colatitude = np.degrees(events.local).T
    turned = np.full((len(events), 2), np.nan)
    frame = rotations(x[known], z[known])
    directions = unit_vectors(azimuth, 90.0 - colatitude)[known]
    galactic = np.einsum("nji,nj->ni", frame, directions)
    turned[known] = np.stack(longitude_latitude(galactic), axis=-1)
    return turned


def _events(columns: Columns, path: Path) -> Unbinned:
    """Return the events of a file's columns; those of old files are turned into the sky anew."""
    old = "Xpointings" in columns
    names = [name.removesuffix(AXES) if old else name for name in NEEDED]
    energy, time, x, z, phi, chi, psi, longitude, latitude = (columns[name] for name in names)
    distance = columns.get("Distance", np.full(len(time), np.nan))
    events = Unbinned(
        time,
        energy,
        phi,
        x,
        z,
        np.stack([chi, psi], axis=-1),
        np.stack([longitude, latitude], axis=-1),
        distance,
    )
    if old:
        # there, Chi and Psi galactic are radians, a colatitude, and count from another axis
        return replace(events, galactic=galactic_directions(events))
    for name, values, low, high in (
        ("Psi local", psi, -1e-6, np.pi + 1e-6),
        ("Psi galactic", latitude, -90 - 1e-6, 90 + 1e-6),
    ):
        wrong = (values < low) | (values > high)
        if np.any(wrong):
            raise DataError(
                f"{path}: column {name!r} holds {values[wrong][0]:g} {UNITS[name]}, outside "
                f"{low:.4g} to {high:.4g}: is it in another unit?"
            )
    return events


def _kind(path: Path) -> str:
    import h5py

    if h5py.is_hdf5(path):
        return "hdf5"
    with unpacked(path) as file:
        try:
            start = file.read(6)
        except (EOFError, OSError, zlib.error) as error:
            raise FileError(f"{path} is damaged: {error}. {AGAIN}") from error
    return "fits" if start == b"SIMPLE" else "tra"


def _half_turn(longitude: Array) -> Array:
    """Return longitudes in radians between -pi and pi."""
    return np.where(longitude > np.pi, longitude - 2 * np.pi, longitude)
