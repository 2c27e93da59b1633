"""A telescope in low-Earth orbit: where it points, when it is blind, and what the Earth hides."""

from __future__ import annotations

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.orientation import Orientation
from skyfold_responses.attitude import EARTH_RADIUS, horizon

START = 1835487300.0  # unix seconds
GRAVITY = 398600.44  # of the Earth, km3 / s2
SIDEREAL_DAY = 86164.1  # s
STEP = np.radians(0.25)
ANGLES = np.arange(721) * STEP  # from the telescope's axis, or from a photon, to its antipode


def low_earth_orbit(
    days: float,
    step: float = 15.0,
    *,
    altitude: float = 530.0,
    inclination: float = 2.0,
    rocking: float = 22.0,
    period: float = 43200.0,
    start: float = START,
) -> Orientation:
    """Return the orientation of a survey: away from the Earth, rocked to the north and south.

    The orbit is a circle that keeps its plane. The x axis points along the flight, the z axis
    between the zenith and the pole of the orbit.

    Parameters
    ----------
    days
        Length of the survey.
    step
        Seconds between rows.
    altitude
        Above the ground, km.
    inclination
        Between orbit and equator, degrees.
    rocking
        Angle between z axis and zenith, degrees.
    period
        Seconds after which it rocks to the other side.
    start
        Unix seconds of the first row.

    Returns
    -------
    Orientation
        Without livetime in the South Atlantic Anomaly, and while it rocks.
    """
    count = max(1, round(days * 86400 / step))
    passed = step * np.arange(count + 1)
    turn = np.radians(inclination)
    radius = EARTH_RADIUS + altitude
    phase = passed * np.sqrt(GRAVITY / radius**3)
    node = np.array([1.0, 0.0, 0.0])
    ahead = np.array([0.0, np.cos(turn), np.sin(turn)])
    pole = np.cross(node, ahead)
    zenith = np.outer(np.cos(phase), node) + np.outer(np.sin(phase), ahead)
    flight = np.cross(pole, zenith)
    side = np.where(passed // period % 2 == 0, 1.0, -1.0)[:, None]
    rock = np.radians(rocking)
    axis = np.cos(rock) * zenith + side * np.sin(rock) * pole
    blind = _in_anomaly(zenith, passed)
    blind[:-1] |= side[1:, 0] != side[:-1, 0]
    livetime = np.where(blind, 0.0, step)
    livetime[-1] = 0.0
    galactic = _galactic_axes()
    return Orientation(
        time=start + passed,
        x=flight @ galactic.T,
        z=axis @ galactic.T,
        zenith=zenith @ galactic.T,
        altitude=np.full(count + 1, altitude),
        livetime=livetime,
    )


def middles(orientation: Orientation) -> tuple[Array, Array]:
    """Return the middle and the livetime of each interval that has livetime."""
    live = np.flatnonzero(orientation.livetime[:-1] > 0)
    middle = 0.5 * (orientation.time[live] + orientation.time[live + 1])
    return middle, orientation.livetime[live]


def visible(orientation: Orientation, directions: Array, time: Array, zenith: Array) -> Array:
    """Return whether directions, shape (n, 3), were above the Earth at times, shape (n,)."""
    limit = horizon(np.interp(time, orientation.time, orientation.altitude))
    above: Array = np.sum(directions * zenith, axis=1) > limit
    return above


def dwell(orientation: Orientation, directions: Array, weight: Array | None = None) -> Array:
    """Return for how long directions were at each angle to the axis of the telescope.

    Parameters
    ----------
    orientation
        Where the telescope pointed.
    directions
        Galactic directions, shape (n, 3).
    weight
        One for each of the `middles`, instead of its livetime; then the Earth hides nothing.

    Returns
    -------
    seconds
        Shape (n, angles), on the grid of `ANGLES`.
    """
    middle, livetime = middles(orientation)
    _, axis, zenith, _ = orientation.at(middle)
    limit = horizon(np.interp(middle, orientation.time, orientation.altitude))
    seconds = np.zeros((len(directions), len(ANGLES)))
    for first in range(0, len(directions), 128):
        part = directions[first : first + 128]
        index = np.rint(np.arccos(np.clip(part @ axis.T, -1, 1)) / STEP).astype(np.int64)
        index += len(ANGLES) * np.arange(len(part))[:, None]
        time = np.where(part @ zenith.T > limit, livetime, 0) if weight is None else weight
        spent = np.bincount(
            index.ravel(), np.broadcast_to(time, index.shape).ravel(), len(part) * len(ANGLES)
        )
        seconds[first : first + 128] = spent.reshape(len(part), -1)
    return seconds


def _in_anomaly(zenith: Array, passed: Array) -> Array:
    """Return whether each place above the Earth is in the South Atlantic Anomaly, an ellipse."""
    latitude = np.degrees(np.arcsin(np.clip(zenith[:, 2], -1, 1)))
    longitude = np.degrees(
        np.arctan2(zenith[:, 1], zenith[:, 0]) - 2 * np.pi * passed / SIDEREAL_DAY
    )
    east = (longitude + 40 + 180) % 360 - 180
    inside: Array = (east / 35) ** 2 + ((latitude + 22) / 26) ** 2 < 1
    return inside


def _galactic_axes() -> Array:
    """Return the matrix that takes equatorial (ICRS) vectors to Galactic ones."""
    from astropy.coordinates import ICRS, CartesianRepresentation, SkyCoord

    axes = SkyCoord(CartesianRepresentation(*np.eye(3)), frame=ICRS()).galactic.cartesian
    return np.asarray(axes.xyz.value)
