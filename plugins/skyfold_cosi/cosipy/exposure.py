"""Exposure tables with the columns of cosipy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold_cosi.cosipy.spacecraftfile import SpacecraftFile
from skyfold_cosi.exposure import ExposureTable, by_attitude
from skyfold_cosi.exposure_file import read_exposure_table, write_exposure_table
from skyfold_cosi.histogram import to_histpy
from skyfold_responses.attitude import Pointings, longitude_latitude, unit_vectors

SCHEMES = {"ring": False, "nested": True}


class Table(dict[str, list[Any]]):
    """Columns by name: what is needed of a pandas table where pandas is not installed."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self)

    @property
    def iloc(self) -> list[dict[str, Any]]:
        """Rows by number."""
        rows = zip(*self.values(), strict=True)
        return [dict(zip(self, row, strict=True)) for row in rows]


class SpacecraftAttitudeExposureTable:
    """For how long the spacecraft held which attitude.

    Parameters
    ----------
    df
        Columns scatt_binning_index, healpix_index (z, x), zpointing and xpointing ([l, b] in
        degrees of each pointing), zpointing_averaged, xpointing_averaged, delta_time (s), exposure
        (s), num_pointings, bkg_group: a pandas table or anything with such columns, or an
        `ExposureTable`.
    nside
        HEALPix resolution of the bins.
    scheme
        ``ring`` or ``nested``.

    Attributes
    ----------
    df
        The columns, as a pandas table where pandas is installed.
    table
        The same as an `ExposureTable`.
    """

    def __init__(self, df: Any, nside: int, scheme: str = "ring") -> None:
        self.nside, self.scheme = nside, scheme
        self.table = df if isinstance(df, ExposureTable) else _table(df, nside, scheme)
        self.df = _columns(self.table) if isinstance(df, ExposureTable) else df

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, column: str) -> Any:
        return self.df[column]

    @property
    def iloc(self) -> Any:
        """Rows by number."""
        return self.df.iloc

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpacecraftAttitudeExposureTable):
            return NotImplemented
        same = (self.nside, self.scheme, len(self)) == (other.nside, other.scheme, len(other))
        mine, theirs = self.table, other.table
        return (
            same
            and bool(np.all(mine.pixels == theirs.pixels))
            and np.allclose(mine.exposure, theirs.exposure)
            and np.allclose(mine.pointings.z, theirs.pointings.z)
            and np.allclose(mine.pointings.x, theirs.pointings.x)
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_orientation(
        cls,
        orientation: SpacecraftFile,
        nside: int,
        scheme: str = "ring",
        start: Any = None,
        stop: Any = None,
        min_exposure: float | None = None,
        min_num_pointings: int | None = None,
    ) -> SpacecraftAttitudeExposureTable:
        """Bin an orientation by attitude, as published: see `skyfold_cosi.exposure.by_attitude`.

        Parameters
        ----------
        orientation
            Where the instrument pointed.
        nside
            HEALPix resolution of the bins.
        scheme
            ``ring`` or ``nested``.
        start, stop
            Range of time, both astropy times or both None.
        min_exposure
            Bins with fewer seconds are left out.
        min_num_pointings
            Bins with fewer pointings are left out.

        Raises
        ------
        ConfigError
            If only one end of the range is given, or the scheme is unknown.
        """
        if (start is None) != (stop is None):
            raise ConfigError("start and stop must be given together")
        if scheme not in SCHEMES:
            raise ConfigError(f"scheme: expected 'ring' or 'nested', got {scheme!r}")
        table = by_attitude(
            orientation.orientation,
            nside,
            nested=SCHEMES[scheme],
            start=None if start is None else float(start.unix),
            stop=None if stop is None else float(stop.unix),
            min_exposure=min_exposure or 0.0,
            min_num_pointings=min_num_pointings or 1,
            reference=True,
        )
        return cls(table, nside, scheme)

    @classmethod
    def analyze_orientation(
        cls,
        orientation: SpacecraftFile,
        nside: int,
        scheme: str = "ring",
        start: Any = None,
        stop: Any = None,
        min_exposure: float | None = None,
        min_num_pointings: int | None = None,
    ) -> Any:
        """Return the columns alone; see `from_orientation`."""
        return cls.from_orientation(
            orientation, nside, scheme, start, stop, min_exposure, min_num_pointings
        ).df

    @classmethod
    def from_fits(cls, filename: str | Path) -> SpacecraftAttitudeExposureTable:
        """Read a table of either generation.

        Raises
        ------
        FileError, DataError
            If the file holds none.
        """
        table = read_exposure_table(Path(filename))
        if table.nside is None:
            raise ConfigError(f"{filename}: the table has bins of time, not of attitude")
        return cls(table, table.nside, "nested" if table.nested else "ring")

    def save_as_fits(self, filename: str | Path, overwrite: bool = False) -> None:
        """Write the table.

        Raises
        ------
        FileExistsError
            If the file is there, and ``overwrite`` is not set.
        """
        if Path(filename).exists() and not overwrite:
            raise FileExistsError(f"{filename} exists; say overwrite=True to replace it")
        write_exposure_table(Path(filename), self.table)

    def calc_pointing_trajectory_map(self) -> Any:
        """Return a sparse histpy histogram of the seconds over the pixels of z and x."""
        return to_histpy(self.table.pointing_map())


def _columns(table: ExposureTable) -> Any:
    """Return the columns of a table."""
    pointings, bounds = table.pointings, table.pointings.first[1:-1]
    assert table.pixels is not None
    groups = table.background_group

    def degrees(vectors: Any) -> Any:
        return np.stack(longitude_latitude(vectors), axis=-1)

    columns = {
        "scatt_binning_index": list(range(len(table))),
        "healpix_index": [(int(z), int(x)) for z, x in table.pixels],
        "zpointing": np.split(degrees(pointings.z), bounds),
        "xpointing": np.split(degrees(pointings.x), bounds),
        "zpointing_averaged": list(degrees(pointings.mean_z)),
        "xpointing_averaged": list(degrees(pointings.mean_x)),
        "delta_time": np.split(pointings.seconds, bounds),
        "exposure": table.exposure.tolist(),
        "num_pointings": table.num_pointings.tolist(),
        "bkg_group": [0] * len(table) if groups is None else groups.tolist(),
    }
    try:
        from pandas import DataFrame  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return Table(columns)
    return DataFrame(columns)


def _table(columns: Any, nside: int, scheme: str) -> ExposureTable:
    """Return the table that columns describe."""
    seconds = [np.asarray(row, float) for row in columns["delta_time"]]

    def vectors(name: str) -> Any:
        return unit_vectors(*np.concatenate([np.asarray(row, float) for row in columns[name]]).T)

    pointings = Pointings(
        vectors("xpointing"),
        vectors("zpointing"),
        np.concatenate(seconds),
        np.concatenate([[0], np.cumsum([len(row) for row in seconds])]),
    )
    pixels = np.array([list(pair) for pair in columns["healpix_index"]], np.int64)
    groups = np.array(list(columns["bkg_group"]), np.int64)
    return ExposureTable(
        pointings, nside=nside, nested=SCHEMES[scheme], pixels=pixels, background_group=groups
    )
