"""A background to simulate: smooth in the frame of the detector, steady or not in time."""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma
from typing import TYPE_CHECKING

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.simulation.binned import interpolation, places
from skyfold_cosi.simulation.orbit import ANGLES, STEP, dwell, middles
from skyfold_cosi.simulation.telescope import ELECTRON, Rings, Telescope, around

if TYPE_CHECKING:
    from skyfold_cosi.orientation import Orientation

INSTRUMENT, ALBEDO = (3.5, 3.5), (3.0, 3.0)  # beta distributions of the Compton angle / pi
TILT, SPREAD = 0.4, 0.35  # slope towards the axis; width of the albedo's rings in the cosine


@dataclass(frozen=True)
class Background:
    """What is measured without the sky, symmetric about the telescope's axis.

    Radioactivity of the instrument comes from everywhere, photons from the Earth's atmosphere
    from behind. Both follow a power law in energy, with the annihilation line on it.

    Parameters
    ----------
    albedo
        Part that comes from behind.
    line
        Part in the line at 511 keV, where it is within the energies that are measured.
    index
        Photon index of the rest.
    variation
        Relative amplitude of the rate's change, with the period of a day.
    """

    albedo: float = 0.4
    line: float = 0.3
    index: float = 1.7
    variation: float = 0.0

    def rate(self, time: Array) -> Array:
        """Return the rate at unix times, relative to its mean."""
        return np.asarray(1 + self.variation * np.sin(2 * np.pi * time / 86400))

    def spectrum(self, telescope: Telescope, measured: Array) -> Array:
        """Return the probability of each bin of measured energy; they add up to 1."""
        inside = -np.diff(measured ** (1 - self.index))
        inside *= (1 - self._in_line(measured)) / inside.sum()
        if self._in_line(measured):
            peak = np.diff(_line_below(telescope, measured))
            inside += self.line * peak / peak.sum()
        return np.asarray(inside)

    def energy_density(self, telescope: Telescope, measured: Array, energy: Array) -> Array:
        """Return the density per keV of measured energies between the outer edges."""
        ends = measured[[0, -1]]
        smooth = (self.index - 1) * energy**-self.index / -np.diff(ends ** (1 - self.index))
        share = self._in_line(measured)
        sigma = telescope.resolution(ELECTRON)
        peak = np.exp(-0.5 * ((energy - ELECTRON) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
        inside = np.diff(_line_below(telescope, ends))
        return np.asarray((1 - share) * smooth + (share * peak / inside if share else 0))

    def shape(self, angle: Array, cosine: Array) -> Array:
        """Return the density per rad of the Compton angle and per sr, at a cosine to the axis."""
        rings = Rings(_beta(angle, *ALBEDO), np.cos(angle), np.array(SPREAD))
        own = _beta(angle, *INSTRUMENT) * (1 + TILT * cosine) / (4 * np.pi)
        return np.asarray((1 - self.albedo) * own + self.albedo * rings.density(-cosine))

    def template(
        self,
        telescope: Telescope,
        measured: Array,
        phi: Array,
        nside: int,
        orientation: Orientation | None = None,
    ) -> Array:
        """Return the probability of each bin (Em, Phi, PsiChi); they add up to 1.

        Parameters
        ----------
        telescope
            Its resolution widens the line.
        measured
            Edges in keV.
        phi
            Edges in degrees.
        nside
            Resolution of psi chi.
        orientation
            Makes psi chi Galactic, as they lay while the background was measured; else they are
            in the detector's frame.
        """
        edges = np.radians(phi)
        part = (np.arange(8) + 0.5) / 8
        angle = edges[:-1, None] + np.diff(edges)[:, None] * part
        table = self.shape(angle, np.cos(ANGLES)[:, None, None]).mean(axis=2) * np.diff(edges)
        inside = places(nside, 16)
        if orientation is None:
            place = np.arccos(np.clip(inside[..., 2], -1, 1)) / STEP
            rings = interpolation(place, len(ANGLES)) @ table
        else:
            middle, livetime = middles(orientation)
            spent = dwell(orientation, inside.reshape(-1, 3), livetime * self.rate(middle))
            spent = spent.reshape(*inside.shape[:2], -1).mean(axis=1)
            rings = spent @ table
        rings /= rings.sum()
        spectrum = self.spectrum(telescope, measured)
        return np.asarray(spectrum[:, None, None] * rings.T)

    def draw(
        self, telescope: Telescope, measured: Array, count: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Draw measured energies, Compton angles and, in the detector's frame, directions."""
        from scipy.special import ndtri

        low, high = measured[[0, -1]] ** (1 - self.index)
        energy = (low + (high - low) * rng.random(count)) ** (1 / (1 - self.index))
        in_line = rng.random(count) < self._in_line(measured)
        below = _line_below(telescope, measured[[0, -1]])
        chosen = below[0] + (below[1] - below[0]) * rng.random(count)
        if np.any(in_line):
            sigma = telescope.resolution(ELECTRON)
            energy[in_line] = ELECTRON + sigma * ndtri(chosen[in_line])
        behind = rng.random(count) < self.albedo
        angle = np.pi * np.where(behind, rng.beta(*ALBEDO, count), rng.beta(*INSTRUMENT, count))
        rings = Rings(np.ones(count), np.cos(angle), np.full(count, SPREAD))
        # 1 + a z has the distribution function (z + 1) / 2 + a (z^2 - 1) / 4
        uniform = rng.random(count)
        own = (np.sqrt(1 + TILT * (TILT - 2 + 4 * uniform)) - 1) / TILT
        cosine = np.where(behind, -rings.draw(rng), own)
        axis = np.broadcast_to([0.0, 0.0, 1.0], (count, 3))
        return energy, angle, around(axis, cosine, rng)

    def _in_line(self, measured: Array) -> float:
        return self.line if measured[0] < ELECTRON < measured[-1] else 0.0


def _beta(angle: Array, p: float, q: float) -> Array:
    """Return the density, per rad, of angles that follow a beta distribution in angle / pi."""
    part = angle / np.pi
    scale = np.pi * gamma(p) * gamma(q) / gamma(p + q)
    return np.asarray(part ** (p - 1) * (1 - part) ** (q - 1) / scale)


def _line_below(telescope: Telescope, energy: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr((energy - ELECTRON) / telescope.resolution(ELECTRON)))
