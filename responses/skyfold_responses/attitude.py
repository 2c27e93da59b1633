"""An instrument that turns under the sky: how long each direction spent in each pixel of its frame.

Directions are unit vectors; HEALPix pixels (Gorski et al. 2005) are in RING order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, require
from skyfold.vector import Array
from skyfold_responses import _kernels
from skyfold_responses.memory import usable_threads

if TYPE_CHECKING:
    from scipy.sparse import csr_array

EARTH_RADIUS = 6378.0  # km
EVERYWHERE = -2.0  # the cosine of a horizon that hides nothing


def unit_vectors(longitude: Array, latitude: Array) -> Array:
    """Return directions, shape (n, 3), of longitudes and latitudes in degrees."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def longitude_latitude(vectors: Array) -> tuple[Array, Array]:
    """Return longitudes from 0 to 360 and latitudes, in degrees, of vectors (n, 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def pixel_centres(nside: int, nested: bool = False) -> Array:
    """Return the directions of all pixels, shape (pixels, 3)."""
    healpy = require("healpy", "healpix")

    centres = healpy.pix2vec(nside, np.arange(12 * nside**2), nest=nested)
    return np.ascontiguousarray(np.transpose(centres))


def rotations(x: Array, z: Array) -> Array:
    """Return the matrices that take directions of the sky into a frame given by its axes.

    Axes that are not quite perpendicular are moved apart or together, both by the same angle:
    the closest orthogonal matrix (Loewdin 1950).

    Parameters
    ----------
    x, z
        Where the axes point, shape (n, 3).

    Returns
    -------
    Array
        Matrices, shape (n, 3, 3); their rows are the axes x, y and z.

    Raises
    ------
    DataError
        If an x axis is parallel to its z axis.
    """
    x, z = _normalised(x), _normalised(z)
    along, across = z + x, z - x
    lengths = np.minimum(np.linalg.norm(along, axis=-1), np.linalg.norm(across, axis=-1))
    if np.any(~(lengths > 1e-6)):
        i = int(np.argmin(np.where(np.isfinite(lengths), lengths, -1)))
        raise DataError(f"pointing {i}: its x and z axes are parallel; they must be perpendicular")
    along, across = _normalised(along), _normalised(across)
    x, z = (along - across) / np.sqrt(2), (along + across) / np.sqrt(2)
    return np.stack([x, np.cross(z, x), z], axis=-2)


def quaternion_rotations(axes: Array) -> Array:
    """Return rotations from axes that need not be perpendicular, by way of quaternions.

    The quaternion is read from the matrix as it is (Markley 2008, J. Guidance 31, 440); where
    axes are not perpendicular the answer depends on the frame in which they are given.

    Parameters
    ----------
    axes
        Where x, y and z point, shape (n, 3, 3): one axis a row.
    """
    trace = np.trace(axes, axis1=1, axis2=2)
    quaternions = np.empty((len(axes), 4, 4))  # four ways to read it, by the part found first
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        quaternions[:, i, i] = 1 - trace + 2 * axes[:, i, i]
        quaternions[:, i, j] = quaternions[:, j, i] = axes[:, i, j] + axes[:, j, i]
        quaternions[:, i, 3] = quaternions[:, 3, i] = axes[:, j, k] - axes[:, k, j]
    quaternions[:, 3, 3] = 1 + trace
    diagonal = np.concatenate([np.diagonal(axes, axis1=1, axis2=2), trace[:, None]], axis=1)
    best = quaternions[np.arange(len(axes)), np.argmax(diagonal, axis=1)]
    a, b, c, d = _normalised(best).T
    rows = [
        [a * a - b * b - c * c + d * d, 2 * (a * b + c * d), 2 * (a * c - b * d)],
        [2 * (a * b - c * d), b * b - a * a - c * c + d * d, 2 * (b * c + a * d)],
        [2 * (a * c + b * d), 2 * (b * c - a * d), c * c - a * a - b * b + d * d],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def interpolation(nside: int, directions: Array, threads: int | None = None) -> tuple[Array, Array]:
    """Return the pixels around directions (n, 3), and their weights, that interpolate bilinearly.

    The weights of a direction, like the pixels of shape (n, 4), add up to 1.
    """
    directions = np.ascontiguousarray(directions, dtype=np.float64)
    pixels, weights = _kernels.interpolation(nside, directions, threads or usable_threads())
    return pixels, weights


def horizon(altitude: Array) -> Array:
    """Return the cosine of the angle to the zenith at which the Earth begins.

    The angle is pi - arcsin(R / (R + h)), with R = 6378 km and the altitude h in km.
    """
    return -np.sqrt(1 - (EARTH_RADIUS / (EARTH_RADIUS + altitude)) ** 2)


def turning_table(nside: int, rotation: Array, threads: int | None = None) -> tuple[Array, Array]:
    """Return what carries a map in a turned frame to the pixels of the sky.

    Bilinear interpolation at each pixel of the sky, whose weights are then balanced (Sinkhorn and
    Knopp 1967) so that every pixel of the map is used exactly once: totals are conserved, and
    uniform maps stay uniform as far as the 30 steps converge (1 per cent where it is worst).

    Parameters
    ----------
    nside
        Resolution of both maps.
    rotation
        Matrices from `rotations`, shape (attitudes, 3, 3).
    threads
        Threads; all cores by default.

    Returns
    -------
    pixels, weights
        Shape (attitudes, pixels of the sky, 4): pixels of the turned map.
    """
    centres = pixel_centres(nside)
    count, size = len(rotation), len(centres)
    local = np.einsum("aij,pj->api", rotation, centres).reshape(-1, 3)
    pixels, weights = interpolation(nside, local, threads)
    column = (pixels.reshape(count, -1) + size * np.arange(count)[:, None]).ravel()
    for _ in range(30):
        weights /= weights.sum(axis=1, keepdims=True)
        used = np.bincount(column, weights.ravel(), count * size)
        weights /= used[column].reshape(-1, 4)
    return pixels.reshape(count, size, 4), weights.reshape(count, size, 4)


@dataclass(frozen=True, eq=False)
class Pointings:
    """Attitudes that an instrument held for some seconds each, in groups.

    Parameters
    ----------
    x, z
        Where its axes pointed, shape (pointings, 3).
    seconds
        How long, shape (pointings,).
    first
        The first pointing of each group, and at the end the number of pointings.
    zenith
        Direction away from the centre of the Earth, shape (pointings, 3); None where unknown.
    altitude
        Above the Earth in km, shape (pointings,).
    """

    x: Array
    z: Array
    seconds: Array
    first: Array
    zenith: Array | None = None
    altitude: Array | None = None

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.first) - 1

    @cached_property
    def group(self) -> Array:
        """The group of each pointing."""
        return np.repeat(np.arange(self.groups), np.diff(self.first))

    @cached_property
    def exposure(self) -> Array:
        """Seconds of each group."""
        return np.bincount(self.group, self.seconds, self.groups)

    @cached_property
    def mean_x(self) -> Array:
        """Mean direction of the x axis of each group, shape (groups, 3)."""
        return self._mean(self.x, np.array([1.0, 0.0, 0.0]))

    @cached_property
    def mean_z(self) -> Array:
        """Mean direction of the z axis of each group, shape (groups, 3)."""
        return self._mean(self.z, np.array([0.0, 0.0, 1.0]))

    def take(self, groups: Array) -> Pointings:
        """Return some of the groups, in the order they are given."""
        lengths = np.diff(self.first)[groups]
        first = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.first[groups] - first[:-1], lengths) + np.arange(first[-1])

        def rows_of(values: Array | None) -> Array | None:
            return None if values is None else values[rows]

        return Pointings(
            self.x[rows],
            self.z[rows],
            self.seconds[rows],
            first,
            rows_of(self.zenith),
            rows_of(self.altitude),
        )

    def merged(self, nside: int) -> Pointings:
        """Return the same with pointings of a group joined that lie close together.

        Those whose axes, and zenith, fall into the same pixels become one, with their mean
        directions and the sum of their seconds; those without seconds go.
        """
        healpy = require("healpy", "healpix")

        held = np.flatnonzero(self.seconds > 0)
        cell = self.group[held]
        for vectors in (self.x, self.z, self.zenith):
            if vectors is not None and np.all(np.isfinite(vectors)):
                pixel = healpy.vec2pix(nside, *vectors[held].T)
                _, at, cell = np.unique(
                    cell * (12 * nside**2) + pixel, return_index=True, return_inverse=True
                )
        group = self.group[held][at]
        seconds = np.bincount(cell, self.seconds[held])

        def mean(values: Array | None) -> Array | None:
            if values is None:
                return None
            columns = np.atleast_2d(values[held].T)
            sums = np.array([np.bincount(cell, self.seconds[held] * c) for c in columns]).T
            return _normalised(sums) if values.ndim == 2 else sums[:, 0] / seconds

        x, z = mean(self.x), mean(self.z)
        assert x is not None
        assert z is not None
        first = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=self.groups))])
        return Pointings(x, z, seconds, first, mean(self.zenith), mean(self.altitude))

    def visible(
        self, directions: Array, occultation: bool = True, threads: int | None = None
    ) -> Array:
        """Return for how long directions (n, 3) were not behind the Earth.

        Returns
        -------
        Array
            Seconds, shape (groups, n).

        Raises
        ------
        DataError
            If the place of the Earth is not known.
        """
        zenith, limit = self._earth(occultation)
        return _kernels.visible_seconds(
            np.ascontiguousarray(self.seconds, dtype=np.float64),
            zenith,
            limit,
            np.ascontiguousarray(self.first, dtype=np.int64),
            np.ascontiguousarray(directions, dtype=np.float64),
            threads or usable_threads(),
        )

    def sojourn(
        self,
        nside: int,
        directions: Array,
        *,
        averaged: bool = False,
        occultation: bool = True,
        rotation: Callable[[Array, Array], Array] = rotations,
        threads: int | None = None,
    ) -> csr_array:
        """Return for how long directions of the sky stayed in each pixel of the turning frame.

        Each moment is shared out among the four pixels that interpolate at the direction.

        Parameters
        ----------
        nside
            Resolution of the pixels in the frame.
        directions
            Of the sky, shape (n, 3).
        averaged
            Whether a group counts as one attitude, the mean of its pointings, held as long as
            the direction was visible; by default every pointing counts by itself.
        occultation
            Whether what is behind the Earth is not seen.
        rotation
            What makes matrices of the axes x and z.
        threads
            Threads; all cores by default. The result does not depend on them.

        Returns
        -------
        csr_array
            Seconds, shape (groups * n, pixels).

        Raises
        ------
        DataError
            If the place of the Earth is needed and not known.
        """
        from scipy.sparse import csr_array

        shape = self.groups * len(directions), 12 * nside**2
        if averaged:
            seconds = self.visible(directions, occultation, threads)
            turned = np.einsum("gij,nj->gni", rotation(self.mean_x, self.mean_z), directions)
            columns, values = interpolation(nside, turned.reshape(-1, 3), threads)
            values *= seconds.reshape(-1, 1)
            starts = np.arange(0, values.size + 1, 4)
            result = csr_array((values.ravel(), columns.ravel(), starts), shape=shape)
            result.eliminate_zeros()
            result.sort_indices()
            return result
        zenith, limit = self._earth(occultation)
        lengths, columns, values = _kernels.sojourn(
            nside,
            np.ascontiguousarray(rotation(self.x, self.z)),
            np.ascontiguousarray(self.seconds, dtype=np.float64),
            zenith,
            limit,
            np.ascontiguousarray(self.first, dtype=np.int64),
            np.ascontiguousarray(directions, dtype=np.float64),
            threads or usable_threads(),
        )
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return csr_array((values, columns, starts), shape=shape)

    def _mean(self, vectors: Array, empty: Array) -> Array:
        """Return the means of groups; one without seconds counts its pointings alike."""
        weights = np.where(self.exposure[self.group] > 0, self.seconds, 1.0)
        sums = [np.bincount(self.group, weights * v, self.groups) for v in vectors.T]
        total = np.stack(sums, axis=-1)
        return _normalised(np.where(np.linalg.norm(total, axis=-1)[:, None] > 0, total, empty))

    def _earth(self, occultation: bool) -> tuple[Array, Array]:
        """Return zenith and cosine of the horizon for each pointing."""
        if not occultation:
            return np.zeros((len(self.seconds), 3)), np.full(len(self.seconds), EVERYWHERE)
        if self.zenith is None or self.altitude is None or not np.all(np.isfinite(self.zenith)):
            raise DataError(
                "what the Earth hides is not known: these pointings have no zenith and altitude. "
                "Make them from an orientation that tells, or switch occultation off"
            )
        zenith = np.ascontiguousarray(self.zenith, dtype=np.float64)
        return zenith, np.ascontiguousarray(horizon(self.altitude), dtype=np.float64)


def _normalised(vectors: Array) -> Array:
    normalised: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normalised
