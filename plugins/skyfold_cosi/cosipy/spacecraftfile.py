"""Where the spacecraft pointed, as cosipy's notebooks ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from skyfold.errors import ConfigError
from skyfold.vector import Array
from skyfold_cosi.orientation import Orientation, read_orientation
from skyfold_responses.attitude import longitude_latitude


class SpacecraftFile:
    """An orientation: pointings of the axes, zenith of the Earth, altitude and livetime.

    Parameters
    ----------
    time
        Times of the rows.
    x_pointings, z_pointings
        Axes of the detector, as sky coordinates.
    y_pointings
        Not needed.
    earth_zenith
        Direction away from the centre of the Earth.
    altitude
        Height in km.
    livetime
        Seconds of observation between rows, one less than there are rows.

    Attributes
    ----------
    orientation
        The same as an `Orientation`.
    """

    def __init__(
        self,
        time: Time,
        x_pointings: SkyCoord | None = None,
        y_pointings: SkyCoord | None = None,
        z_pointings: SkyCoord | None = None,
        earth_zenith: SkyCoord | None = None,
        altitude: Any = None,
        livetime: Any = None,
    ) -> None:
        if x_pointings is None or z_pointings is None:
            raise ConfigError("SpacecraftFile: give x_pointings and z_pointings")
        seconds = np.atleast_1d(time.unix)
        unknown = np.full(seconds.size, np.nan)
        self.orientation = Orientation(
            seconds,
            _vectors(x_pointings),
            _vectors(z_pointings),
            np.stack([unknown] * 3, axis=1) if earth_zenith is None else _vectors(earth_zenith),
            unknown if altitude is None else np.asarray(altitude, float),
            np.append(np.diff(seconds) if livetime is None else livetime, 0.0),
        )

    @classmethod
    def parse_from_file(cls, file: str | Path) -> SpacecraftFile:
        """Read an orientation file, text or FITS.

        Raises
        ------
        FileError, DataError
            If the file holds none.
        """
        return cls._of(read_orientation(file))

    @property
    def x_pointings(self) -> SkyCoord:
        """Directions of the x axis."""
        return _coordinates(self.orientation.x)

    @property
    def z_pointings(self) -> SkyCoord:
        """Directions of the z axis."""
        return _coordinates(self.orientation.z)

    @property
    def earth_zenith(self) -> SkyCoord:
        """Directions away from the centre of the Earth."""
        return _coordinates(self.orientation.zenith)

    @property
    def livetime(self) -> Array:
        """Seconds of observation between rows."""
        return self.orientation.livetime[:-1]

    def get_time(self) -> Time:
        """Return the times of the rows."""
        return Time(self.orientation.time, format="unix")

    def get_time_delta(self) -> u.Quantity:
        """Return the time between rows."""
        return np.diff(self.orientation.time) * u.s

    def get_altitude(self) -> Array:
        """Return the height of each row in km."""
        return self.orientation.altitude

    def source_interval(self, start: Time, stop: Time) -> SpacecraftFile:
        """Return the part between two times."""
        return self._of(self.orientation.between(float(start.unix), float(stop.unix)))

    @classmethod
    def _of(cls, orientation: Orientation) -> SpacecraftFile:
        new = cls.__new__(cls)
        new.orientation = orientation
        return new


def _vectors(directions: SkyCoord) -> Array:
    vectors: Array = np.ascontiguousarray(directions.galactic.cartesian.xyz.value.T)
    return vectors


def _coordinates(vectors: Array) -> SkyCoord:
    lon, lat = longitude_latitude(vectors)
    return SkyCoord(lon * u.deg, lat * u.deg, frame="galactic")
