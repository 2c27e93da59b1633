"""Binned responses of the simulated telescope: its densities, integrated over bins and pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import require
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis
from skyfold_cosi.simulation.orbit import ANGLES, STEP, dwell
from skyfold_cosi.simulation.telescope import Rings, Telescope, electron_energy

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from skyfold_cosi.orientation import Orientation
    from skyfold_cosi.response_files import ResponseFile

Axes = tuple[Axis, Axis, Axis, Axis, Axis]
FINE_SKY, FINE_PSICHI = 16, 32  # nside of the places that a pixel's mean is taken over
TAIL = 4  # measured energies that stand for a bin of photons not fully absorbed
INDEX = 2.0  # of the photon spectrum within an energy bin


@dataclass(frozen=True, eq=False)
class BinnedResponse:
    """Response by pixel and energy, made one pixel at a time: nothing large is held.

    Parameters
    ----------
    axes
        Sky pixels (``NuLambda``), ``Ei``, ``Em``, ``Phi`` and ``PsiChi``.
    area
        Effective area, or area x time, of each sky pixel and energy, shape (pixels, Ei).
    table
        Probability of each Ei, Em and Phi per sr of psi chi, at the `ANGLES` to the
        photon, shape (angles, Ei, Em, Phi).
    share
        Probability of each Ei, Em and Phi, shape (Ei, Em, Phi).
    """

    axes: Axes
    area: Array
    table: Array
    share: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Number of values (pixel, Ei) and of bins (Em, Phi, PsiChi)."""
        sizes = [axis.size for axis in self.axes]
        return sizes[0] * sizes[1], sizes[2] * sizes[3] * sizes[4]

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        """Yield the number of the first value, and the rows of all energies of a pixel."""
        sky, energies, *_, psichi = self.axes
        assert sky.nside is not None
        assert psichi.nside is not None
        origins, to = places(sky.nside, FINE_SKY), places(psichi.nside, FINE_PSICHI)
        columns, share = self.table.reshape(len(self.table), -1), self.share.ravel()
        turns = _quarter_turns(psichi.nside)
        first = 0
        for size in _ring_sizes(sky.nside):
            quarter = []
            for inside in origins[first : first + size // 4]:
                place = np.arccos(np.clip(to @ inside.T, -1, 1)).reshape(len(to), -1) / STEP
                rings = interpolation(place, len(columns)) @ columns
                rings *= share / np.maximum(rings.sum(axis=0), np.finfo(float).tiny)
                quarter.append(rings)
            for pixel in range(first, first + size):
                turn, start = divmod(pixel - first, size // 4)
                rows = quarter[start][turns[turn]].T.reshape(energies.size, -1)
                yield pixel * energies.size, rows * self.area[pixel][:, None]
            first += size

    def file(self) -> ResponseFile:
        """Return the response as if it had been opened from a file."""
        from skyfold_cosi.response_files import ResponseFile

        def read(dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
            for first, rows in self:
                yield first, rows.astype(dtype, copy=False)

        frame, unit = self.axes[0].frame or "galactic", self.unit
        return ResponseFile(None, "simulated", self.axes, frame, unit, (), {}, read)

    @property
    def unit(self) -> str:
        """Unit of the contents."""
        return "cm2" if self.axes[0].frame == "spacecraftframe" else "cm2 s"

    def dense(self) -> Array:
        """Return the whole, shaped like the axes."""
        return np.concatenate([rows for _, rows in self]).reshape([a.size for a in self.axes])


def detector_response(
    telescope: Telescope,
    nside: int,
    energies: Array,
    measured: Array,
    phi: Array,
    psichi_nside: int | None = None,
    line: float | None = None,
) -> BinnedResponse:
    """Return the response in the detector's frame, in cm2.

    Parameters
    ----------
    telescope
        The physics.
    nside, psichi_nside
        Resolution of the directions of photons and of psi chi; the same by default.
    energies, measured
        Edges of the bins of true and measured energy, keV.
    phi
        Edges of the bins of the Compton angle, degrees.
    line
        Energy of all photons in its bin; else they follow a power law of index 2 within each.
    """
    axes = _axes(nside, psichi_nside or nside, energies, measured, phi, "spacecraftframe")
    open_ = telescope.opening(places(nside, FINE_SKY)[..., 2]).mean(axis=1)
    return _response(telescope, axes, open_, line)


def galactic_response(
    telescope: Telescope,
    orientation: Orientation,
    nside: int,
    energies: Array,
    measured: Array,
    phi: Array,
    psichi_nside: int | None = None,
    line: float | None = None,
) -> BinnedResponse:
    """Return the response of the whole sky in Galactic coordinates, in cm2 s.

    A ring looks the same wherever it comes from, so the attitude enters by the exposure alone.

    Parameters
    ----------
    telescope
        The physics.
    orientation
        Where the telescope pointed, and for how long; the Earth hides what is behind it.
    nside, energies, measured, phi, psichi_nside, line
        As in `detector_response`.
    """
    axes = _axes(nside, psichi_nside or nside, energies, measured, phi, "galactic")
    inside = places(nside, FINE_SKY)
    seconds = dwell(orientation, inside.reshape(-1, 3))
    seen = seconds @ telescope.opening(np.cos(ANGLES))
    return _response(telescope, axes, seen.reshape(inside.shape[:2]).mean(axis=1), line)


def _ring_sizes(nside: int) -> Array:
    """Return the number of pixels in each ring of latitude."""
    ring = np.arange(1, 4 * nside)
    return np.asarray(4 * np.minimum(nside, np.minimum(ring, 4 * nside - ring)))


def _quarter_turns(nside: int) -> Array:
    """Return where each pixel comes from in a map turned by 0, 90, 180, 270 degrees.

    All rings of HEALPix look the same after a quarter turn about the poles.
    """
    sizes = _ring_sizes(nside)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = np.repeat(sizes, sizes)
    inside = np.arange(len(first)) - first
    return np.stack([first + (inside - turn * size // 4) % size for turn in range(4)])


def interpolation(place: Array, nodes: int) -> csr_array:
    """Return the matrix that takes a table to the means over each row of places in it."""
    from scipy.sparse import csr_array

    rows, count = place.shape
    index = np.minimum(place.astype(np.int32), nodes - 2)
    above = place - index
    if count <= 64:  # few to add up: the matrix product does it
        both = np.stack([index, index + 1]).transpose(1, 2, 0).ravel()
        weights = np.stack([1 - above, above]).transpose(1, 2, 0).ravel()
        starts = 2 * count * np.arange(rows + 1)
        return csr_array((weights, both, starts), (rows, nodes))
    flat = (index + nodes * np.arange(rows)[:, None]).ravel()
    dense = np.bincount(flat, 1 - above.ravel(), rows * nodes)
    dense += np.bincount(flat + 1, above.ravel(), rows * nodes)
    return csr_array(dense.reshape(rows, nodes))


def places(nside: int, fine: int) -> Array:
    """Return directions spread evenly over each pixel of RING order, shape (pixels, n, 3)."""
    healpy = require("healpy", "healpix")

    factor = max(1, fine // nside)
    nested = healpy.ring2nest(nside, np.arange(12 * nside**2))
    children = nested[:, None] * factor**2 + np.arange(factor**2)
    return np.stack(healpy.pix2vec(nside * factor, children, nest=True), axis=-1)


def _response(telescope: Telescope, axes: Axes, seen: Array, line: float | None) -> BinnedResponse:
    """Integrate over energies and Compton angles; ``seen`` is the opening, or times seconds."""
    _, true, measured, phi, _ = axes
    table = np.zeros((len(ANGLES), true.size, measured.size, phi.size))
    share, area = np.zeros(table.shape[1:]), np.zeros(true.size)
    first, angles = _divided(np.radians(phi.edges))
    cosine = np.cos(ANGLES)[:, None]
    for i in range(true.size):
        bin_ = nodes(true.edges[i], true.edges[i + 1], line)
        chances = [(e, w * float(telescope.area(e))) for e, w in bin_]
        area[i] = sum(weight for _, weight in chances)
        for energy, weight in chances:
            for m in range(measured.size):
                for rings in _binned_rings(telescope, energy, measured.edges[m : m + 2], angles):
                    density = np.add.reduceat(rings.density(cosine), first, axis=1)
                    table[:, i, m] += weight / area[i] * density
                    share[i, m] += weight / area[i] * np.add.reduceat(rings.weight, first)
    return BinnedResponse(axes, seen[:, None] * area, table, share)


def _divided(edges: Array) -> tuple[Array, Array]:
    """Divide bins of the Compton angle finely: the first part of each, and all edges."""
    parts = np.ceil(np.diff(edges) / np.radians(1.5)).astype(int)
    fine = [
        np.linspace(low, high, n, endpoint=False)
        for low, high, n in zip(edges[:-1], edges[1:], parts, strict=True)
    ]
    return np.cumsum(parts) - parts, np.concatenate([*fine, edges[-1:]])


def _binned_rings(
    telescope: Telescope, energy: float, measured: Array, angles: Array
) -> Iterator[Rings]:
    """Yield rings, one for each bin of the Compton angle, whose probabilities add up."""
    from scipy.special import ndtr

    grid, below = telescope.electrons_below(energy)
    whole = float(telescope.absorbed(energy))
    peak = np.diff(ndtr((measured - energy) / telescope.resolution(energy)))[0]
    parts = [(energy, peak * whole)]
    low, high = max(measured[0], telescope.lowest), min(measured[1], energy)
    if high > low:
        tail = (1 - whole) * (high - low) / (energy - telescope.lowest)
        parts += [(low + (high - low) * (n + 0.5) / TAIL, tail / TAIL) for n in range(TAIL)]
    for kinematic, chance in parts:
        if chance > 0:
            within = np.interp(electron_energy(kinematic, np.pi), grid, below)
            inside = np.diff(np.interp(electron_energy(kinematic, angles), grid, below))
            middle = electron_energy(kinematic, 0.5 * (angles[1:] + angles[:-1]))
            yield telescope.rings(energy, middle, chance * inside / within)


def nodes(low: float, high: float, line: float | None) -> list[tuple[float, float]]:
    """Return energies within a bin, and their weights."""
    if line is not None and low <= line < high:
        return [(line, 1.0)]
    edges = np.geomspace(low, high, 5)
    weights = edges[:-1] ** (1 - INDEX) - edges[1:] ** (1 - INDEX)
    return list(zip(np.sqrt(edges[1:] * edges[:-1]), weights / weights.sum(), strict=True))


def _axes(
    nside: int, psichi: int, energies: Array, measured: Array, phi: Array, frame: str
) -> Axes:
    return (
        Axis.healpix("NuLambda", nside, frame),
        Axis("Ei", np.asarray(energies, float), "keV", "log"),
        Axis("Em", np.asarray(measured, float), "keV", "log"),
        Axis("Phi", np.asarray(phi, float), "deg"),
        Axis.healpix("PsiChi", psichi, frame),
    )
