"""The Galactic response: what a detector that turns under the sky sees of each place of the sky."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, require
from skyfold.origin import Check
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_cosi.exposure import ExposureTable, published_attitudes
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_responses import _kernels
from skyfold_responses.attitude import (
    Pointings,
    interpolation,
    pixel_centres,
    quaternion_rotations,
    rotations,
    turning_table,
)
from skyfold_responses.memory import usable_threads

if TYPE_CHECKING:
    from skyfold_cosi.orientation import Orientation
    from skyfold_responses.matrix import Slabs

LABELS = "NuLambda", "Ei", "Em", "Phi", "PsiChi"
SLAB = 64 * 2**20  # bytes
RING = 10.0  # degrees; wider pixels blur the rings of Compton events


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector response, laid out to be turned.

    Parameters
    ----------
    axes
        ``NuLambda``, ``Ei``, ``Em``, ``Phi``, ``PsiChi``.
    values
        Area in cm2, float32 or float64, shape (NuLambda, PsiChi, Ei * Em * Phi).
    """

    axes: tuple[Axis, ...]
    values: Array

    def __post_init__(self) -> None:
        labels = tuple(axis.label for axis in self.axes)
        if labels != LABELS:
            raise DataError(
                f"axes {', '.join(labels)}: a detector response has {', '.join(LABELS)}"
            )
        for axis in (self.axes[0], self.axes[4]):
            if axis.nside is None or axis.scheme != "RING":
                raise DataError(f"axis {axis.label!r} must hold HEALPix pixels in RING order")

    @classmethod
    def from_histogram(cls, histogram: Histogram) -> Detector:
        """Take a response from memory, whatever the order of its axes."""
        ordered = histogram.project(*LABELS)
        shape = ordered.shape
        values = ordered.dense.transpose(0, 4, 1, 2, 3).reshape(shape[0], shape[4], -1)
        return cls(ordered.axes, np.ascontiguousarray(values))

    @classmethod
    def from_slabs(cls, axes: tuple[Axis, ...], slabs: Slabs) -> Detector:
        """Read a response piece by piece, in the precision in which the pieces come."""
        pixels, energies, measured, angles, directions = (axis.size for axis in axes)
        held = np.empty(0)
        for first, slab in slabs:
            if not held.size:
                held = np.empty((pixels, directions, energies, measured * angles), slab.dtype)
            pixel, energy = np.divmod(np.arange(first, first + len(slab)), energies)
            parts = slab.reshape(len(slab), measured * angles, directions)
            held[pixel, :, energy] = parts.transpose(0, 2, 1)
        return cls(axes, held.reshape(pixels, directions, -1))


@dataclass(frozen=True, eq=False)
class GalacticResponse:
    """Response of the whole sky, made when it is asked for: iterate over its slabs.

    Slabs are ``(first value, array (k, bins))`` with values = (NuLambda, Ei) and bins = (Em, Phi,
    PsiChi), in cm2 s; so it serves wherever a response read from a file does.

    Parameters
    ----------
    detector
        The response in the detector's frame.
    pointings
        Attitudes, grouped.
    rotation
        The matrix of each group, shape (groups, 3, 3).
    nside
        Resolution of the sky.
    occultation
        Whether what is behind the Earth is not seen.
    nearest
        Whether directions take the value of the nearest pixel; by default they are interpolated
        between four, and totals are conserved (`skyfold_responses.attitude.turning_table`).
    """

    detector: Detector
    pointings: Pointings
    rotation: Array
    nside: int
    occultation: bool = True
    nearest: bool = False

    @cached_property
    def table(self) -> tuple[Array, Array]:
        """Pixels of PsiChi in each frame, and weights, for each pixel of PsiChi in the sky."""
        nside = self.detector.axes[4].nside
        assert nside is not None
        if not self.nearest:
            return turning_table(nside, self.rotation)
        turned = _turned(self.rotation, pixel_centres(nside))
        pixels = _nearest(nside, turned).astype(np.int32)
        return _only(pixels, np.ones(pixels.shape))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the whole, Galactic."""
        inner = self.detector.axes
        assert inner[4].nside is not None
        sky, directions = (
            Axis.healpix(label, nside, "galactic")
            for label, nside in (("NuLambda", self.nside), ("PsiChi", inner[4].nside))
        )
        return sky, *inner[1:4], directions

    @property
    def shape(self) -> tuple[int, int]:
        """Values (pixels of the sky, energies) and bins."""
        sizes = [axis.size for axis in self.axes]
        return sizes[0] * sizes[1], sizes[2] * sizes[3] * sizes[4]

    @property
    def checks(self) -> tuple[Check, ...]:
        """What to know about the grids."""
        found = []
        for axis in (self.detector.axes[0], self.detector.axes[4]):
            assert axis.nside is not None
            size = Sphere(axis.nside).pixel_size
            if size > RING:
                how = "taken from the nearest pixel" if self.nearest else "interpolated"
                found.append(
                    Check(
                        "warning",
                        axis.label,
                        f"pixels of {size:.0f} deg (nside {axis.nside}) are wider than the rings "
                        f"of Compton events; {how}, they are blurred by as much",
                    )
                )
        return tuple(found)

    def at(self, directions: Array) -> Array:
        """Return the response of single directions.

        Parameters
        ----------
        directions
            Galactic unit vectors, shape (n, 3).

        Returns
        -------
        Array
            cm2 s, shape (n, Ei, Em, Phi, PsiChi), in the precision of the detector response.
        """
        seconds = self.pointings.visible(directions, self.occultation)
        turned = _turned(self.rotation, directions)
        local = self.detector.axes[0].nside
        assert local is not None
        if self.nearest:
            pixels, weights = _only(_nearest(local, turned), seconds)
        else:
            flat = interpolation(local, turned.reshape(-1, 3))
            pixels, weights = (part.reshape(*seconds.shape, 4) for part in flat)
            weights = weights * seconds[..., None]
        made = _kernels.turned_response(
            self.detector.values,
            np.ascontiguousarray(pixels.transpose(1, 0, 2), dtype=np.int32),
            np.ascontiguousarray(weights.transpose(1, 0, 2)),
            *self.table,
            usable_threads(),
        )
        inner = tuple(axis.size for axis in self.axes[1:4])
        made = np.moveaxis(made.reshape(len(directions), -1, *inner), 1, -1)
        return made.astype(self.detector.values.dtype, order="C")

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        """Yield slabs of values."""
        centres = pixel_centres(self.nside)
        energies, bins = self.axes[1].size, self.shape[1]
        step = max(1, SLAB // (8 * energies * bins))
        for first in range(0, len(centres), step):
            slab = self.at(centres[first : first + step])
            yield first * energies, slab.reshape(-1, bins)


def galactic_response(
    detector: Detector,
    table: ExposureTable,
    nside: int | None = None,
    *,
    occultation: bool = True,
) -> GalacticResponse:
    """Return the response of the sky for an exposure table.

    Each bin of attitude acts with the mean of its pointings, for as long as a direction was seen.

    Parameters
    ----------
    detector
        The response in the detector's frame.
    table
        Pointings in bins; the smaller they are, the sharper the result.
    nside
        Resolution of the sky; the detector's by default.
    occultation
        Whether what is behind the Earth is not seen.
    """
    pointings = table.pointings
    return GalacticResponse(
        detector,
        pointings,
        rotations(pointings.mean_x, pointings.mean_z),
        nside or _nside(detector),
        occultation,
    )


def published_response(
    detector: Detector,
    orientation: Orientation,
    nside: int | None = None,
    *,
    nside_attitude: int | None = None,
    occultation: bool = True,
) -> GalacticResponse:
    """Return the response of the sky as cosipy published it.

    Attitudes at the rows of the orientation are binned by the pixels of the x and the y axis and
    act from the centres of these pixels; directions take the value of the nearest pixel.

    Parameters
    ----------
    detector
        The response in the detector's frame.
    orientation
        Where the instrument pointed.
    nside
        Resolution of the sky; the detector's by default.
    nside_attitude
        Resolution of the bins of attitude; the detector's by default.
    occultation
        Whether what is behind the Earth is not seen.
    """
    resolution = nside_attitude or _nside(detector)
    pointings, pixels = published_attitudes(orientation, resolution)
    centres = pixel_centres(resolution)
    # axes that are not perpendicular make a rotation that depends on the frame: theirs is ICRS
    to_icrs = _galactic_to_icrs()
    x, y = (centres[pixel] @ to_icrs.T for pixel in pixels.T)
    rotation = quaternion_rotations(np.stack([x, y, np.cross(x, y)], axis=1)) @ to_icrs
    return GalacticResponse(
        detector,
        pointings,
        rotation,
        nside or _nside(detector),
        occultation,
        nearest=True,
    )


def _nside(detector: Detector) -> int:
    nside = detector.axes[0].nside
    assert nside is not None
    return nside


def _turned(rotation: Array, directions: Array) -> Array:
    """Return directions in each frame, shape (attitudes, n, 3)."""
    turned: Array = np.einsum("aij,nj->ani", rotation, directions)
    return turned


def _nearest(nside: int, directions: Array) -> Array:
    healpy = require("healpy", "healpix")

    pixels: Array = healpy.vec2pix(nside, *np.moveaxis(directions, -1, 0))
    return pixels


def _only(pixels: Array, weights: Array) -> tuple[Array, Array]:
    """Return single pixels and weights in the form of interpolation between four."""
    four = np.array([1.0, 0.0, 0.0, 0.0])
    return np.repeat(pixels[..., None], 4, axis=-1), weights[..., None] * four


def _galactic_to_icrs() -> Array:
    """Return the matrix that takes Galactic directions to ICRS."""
    from astropy.coordinates import SkyCoord

    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame="galactic")
    matrix: Array = axes.icrs.cartesian.xyz.value
    return matrix
