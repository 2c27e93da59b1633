"""Exposure tables: for how long the spacecraft held which attitude, in bins of attitude or of time.

File formats: `skyfold_cosi.exposure_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, require
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis, Histogram, Sparse
from skyfold_responses.attitude import Pointings, longitude_latitude, rotations, unit_vectors

if TYPE_CHECKING:
    from skyfold_cosi.orientation import Orientation

SLACK = 1e-3  # s; times beyond the orientation by no more than this are rounding


@dataclass(frozen=True, eq=False)
class ExposureTable:
    """Pointings in bins, those of attitude or those of time.

    Parameters
    ----------
    pointings
        The pointings, grouped by bin; directions are Galactic.
    pixels
        HEALPix pixels of the z axis and of the x axis of each bin, shape (bins, 2); None for
        bins of time.
    nside
        Resolution of these pixels.
    nested
        Whether they are numbered in NESTED order instead of RING.
    intervals
        Start and end of each bin of time in unix seconds, shape (bins, 2).
    background_group
        A number for each bin, which files carry along.
    """

    pointings: Pointings
    pixels: Array | None = None
    nside: int | None = None
    nested: bool = False
    intervals: Array | None = None
    background_group: Array | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.intervals is None):
            raise DataError("an exposure table has either pixels of attitude or intervals of time")

    def __len__(self) -> int:
        return self.pointings.groups

    @property
    def exposure(self) -> Array:
        """Seconds of each bin."""
        return self.pointings.exposure

    @property
    def num_pointings(self) -> Array:
        """Number of pointings in each bin."""
        return np.diff(self.pointings.first)

    @property
    def axis(self) -> Axis:
        """The bins as an axis: ``ScAtt`` or ``Time``.

        Raises
        ------
        DataError
            If bins of time are not adjacent: then they are no axis.
        """
        if self.intervals is None:
            return Axis("ScAtt", np.arange(len(self) + 1))
        starts, stops = self.intervals.T
        if np.any(np.abs(starts[1:] - stops[:-1]) > SLACK):
            i = int(np.argmax(np.abs(starts[1:] - stops[:-1]) > SLACK))
            raise DataError(
                f"time bin {i} ends at {stops[i]:.3f} s, the next begins at {starts[i + 1]:.3f} s: "
                "bins of an axis must be adjacent"
            )
        return Axis("Time", np.append(starts, stops[-1]), "s")

    def take(self, bins: Array) -> ExposureTable:
        """Return some of the bins, numbered anew."""

        def of(values: Array | None) -> Array | None:
            return None if values is None else values[bins]

        return replace(
            self,
            pointings=self.pointings.take(bins),
            pixels=of(self.pixels),
            intervals=of(self.intervals),
            background_group=of(self.background_group),
        )

    def find(self, x: Array, z: Array) -> Array:
        """Return the attitude bin of pointings given by their axes, shape (n, 3); -1 for none.

        Raises
        ------
        DataError
            If the table has bins of time.
        """
        if self.nside is None or self.pixels is None:
            raise DataError("this exposure table has bins of time, not of attitude")
        wanted = _key(_pixel(self.nside, z, self.nested), _pixel(self.nside, x, self.nested))
        known = _key(*self.pixels.T)
        order = np.argsort(known)
        place = np.minimum(np.searchsorted(known[order], wanted), len(order) - 1)
        return np.where(known[order][place] == wanted, order[place], -1)

    def pointing_map(self) -> Histogram:
        """Return the seconds in each pair of pixels of the z axis and the x axis.

        Raises
        ------
        DataError
            If the table has bins of time.
        """
        if self.nside is None or self.pixels is None:
            raise DataError("this exposure table has bins of time, not of attitude")
        scheme = "NESTED" if self.nested else "RING"
        axes = tuple(Axis.healpix(name, self.nside, "galactic", scheme) for name in "zx")
        shape = axes[0].size, axes[1].size
        return Histogram(axes, Sparse.from_coordinates(shape, self.pixels.T, self.exposure), "s")


def by_attitude(
    orientation: Orientation,
    nside: int,
    *,
    nested: bool = False,
    start: float | None = None,
    stop: float | None = None,
    min_exposure: float = 0.0,
    min_num_pointings: int = 1,
    reference: bool = False,
) -> ExposureTable:
    """Bin an orientation by the HEALPix pixels of its z axis and x axis.

    Between two rows the instrument points to the mean of both, as unit vectors, for the livetime
    of the interval; intervals without livetime do not appear. Bins come in the order in which
    they are first met.

    Parameters
    ----------
    orientation
        Where the instrument pointed.
    nside
        Resolution of the bins.
    nested
        Whether pixels are numbered in NESTED order.
    start, stop
        Range of time in unix seconds; all by default.
    min_exposure
        Bins with fewer seconds are left out.
    min_num_pointings
        Bins with fewer pointings are left out.
    reference
        Whether to follow what cosipy published: means of longitude and latitude, which break at
        0/360 degrees, and the difference of times instead of the livetime.

    Raises
    ------
    DataError
        If no interval, or no bin, is left.
    """
    if start is not None or stop is not None:
        first = orientation.time[0] if start is None else start
        orientation = orientation.between(first, orientation.time[-1] if stop is None else stop)
    steps = _published_steps(orientation) if reference else _steps(orientation)
    if not len(steps.seconds):
        raise DataError("the orientation holds no interval with livetime: nothing was observed")
    pixels = np.stack([_pixel(nside, v, nested) for v in (steps.z, steps.x)], axis=-1)
    table = ExposureTable(*_binned(steps, pixels), nside, nested)
    kept = (table.exposure >= min_exposure) & (table.num_pointings >= min_num_pointings)
    if not np.any(kept):
        raise DataError(
            f"no attitude bin has {min_exposure:g} s and {min_num_pointings} pointings: the "
            f"largest have {table.exposure.max():g} s and {table.num_pointings.max()} pointings"
        )
    return table if np.all(kept) else table.take(np.flatnonzero(kept))


def by_time(orientation: Orientation, edges: Array, *, reference: bool = False) -> ExposureTable:
    """Bin an orientation by time; intervals that an edge cuts are shared in proportion.

    Parameters
    ----------
    orientation
        Where the instrument pointed.
    edges
        Edges of the bins in unix seconds, increasing.
    reference
        Whether to follow what cosipy published: the attitude at the beginning of each interval
        instead of its middle, and differences of times instead of livetime.

    Raises
    ------
    DataError
        If the orientation does not cover the bins.
    """
    time, edges = orientation.time, np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or np.any(np.diff(edges) <= 0):
        raise DataError("edges of time bins must increase")
    if edges[0] < time[0] - SLACK or edges[-1] > time[-1] + SLACK:
        raise DataError(
            f"time bins from {edges[0]:.3f} to {edges[-1]:.3f} s are not covered by the "
            f"orientation, which goes from {time[0]:.3f} to {time[-1]:.3f} s"
        )
    inside = edges[(edges > time[0]) & (edges < time[-1])]
    cuts = np.unique(np.concatenate([time, inside]))
    left, right = cuts[:-1], cuts[1:]
    group = np.searchsorted(edges, 0.5 * (left + right), "right") - 1
    used = (group >= 0) & (group < len(edges) - 1)
    left, right, group = left[used], right[used], group[used]
    row = np.searchsorted(time, left, "right") - 1
    width = time[row + 1] - time[row]
    share = (right - left) / width
    place = (left if reference else 0.5 * (left + right)) - time[row]
    steps = _between_rows(orientation, row, place / width)
    steps = replace(steps, seconds=right - left if reference else orientation.livetime[row] * share)
    pointings = _grouped(steps, group, len(edges) - 1)
    return ExposureTable(pointings, intervals=np.stack([edges[:-1], edges[1:]], axis=-1))


def published_attitudes(orientation: Orientation, nside: int) -> tuple[Pointings, Array]:
    """Return the rows of an orientation in bins of the x axis and the y axis, as published.

    Returns
    -------
    pointings, pixels
        The pixels of x and y of each group, shape (groups, 2).
    """
    axes = rotations(orientation.x, orientation.z)[:-1]
    steps = Pointings(
        axes[:, 0],
        axes[:, 2],
        orientation.livetime[:-1],
        np.array([0, len(axes)]),
        orientation.zenith[:-1],
        orientation.altitude[:-1],
    )
    return _binned(steps, np.stack([_pixel(nside, axes[:, i], False) for i in (0, 1)], axis=-1))


def _steps(orientation: Orientation) -> Pointings:
    """Return the middle of each interval that has livetime."""
    row = np.flatnonzero(orientation.livetime[:-1] > 0)
    return replace(
        _between_rows(orientation, row, np.full(len(row), 0.5)), seconds=orientation.livetime[row]
    )


def _between_rows(orientation: Orientation, row: Array, place: Array) -> Pointings:
    """Return attitudes at parts of the intervals between rows, all in one group."""
    x, z, zenith, altitude = orientation.after(row, place)
    return Pointings(x, z, np.zeros(len(row)), np.array([0, len(row)]), zenith, altitude)


def _published_steps(orientation: Orientation) -> Pointings:
    """Return means of longitude and latitude, as published: wrong across 0/360 degrees."""
    matrices = rotations(orientation.x, orientation.z)

    def mean(axis: int) -> Array:
        lon, lat = longitude_latitude(matrices[:, axis])
        return unit_vectors((lon[:-1] + lon[1:]) / 2, (lat[:-1] + lat[1:]) / 2)

    return Pointings(
        mean(0),
        mean(2),
        np.diff(orientation.time),
        np.array([0, len(orientation.time) - 1]),
        orientation.zenith[:-1],
        orientation.altitude[:-1],
    )


def _binned(steps: Pointings, pixels: Array) -> tuple[Pointings, Array]:
    """Group pointings by pairs of pixels (n, 2), in order of their first appearance."""
    _, met, group = np.unique(_key(*pixels.T), return_index=True, return_inverse=True)
    rank = np.empty(len(met), dtype=np.int64)
    rank[np.argsort(met)] = np.arange(len(met))
    return _grouped(steps, rank[group], len(met)), pixels[np.sort(met)]


def _grouped(steps: Pointings, group: Array, groups: int) -> Pointings:
    """Return pointings sorted by their groups, each group in the order of time."""
    order = np.argsort(group, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=groups))])
    zenith, altitude = steps.zenith, steps.altitude
    if altitude is not None and np.isnan(altitude).any():
        zenith = altitude = None  # the oldest orientations do not know the Earth
    return Pointings(
        steps.x[order],
        steps.z[order],
        steps.seconds[order],
        first,
        None if zenith is None else zenith[order],
        None if altitude is None else altitude[order],
    )


def _pixel(nside: int, directions: Array, nested: bool) -> Array:
    healpy = require("healpy", "healpix")

    pixels: Array = healpy.vec2pix(nside, *directions.T, nest=nested)
    return pixels


def _key(z_pixel: Array, x_pixel: Array) -> Array:
    """Return one number for a pair of pixels."""
    return z_pixel.astype(np.int64) << 32 | x_pixel
