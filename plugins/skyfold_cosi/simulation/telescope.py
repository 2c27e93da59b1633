"""The physics of one Compton telescope; densities, binned responses and drawn events share it.

A photon of energy E gives an electron the energy T in its first scatter, through the angle theta
(Compton; Klein & Nishina 1929). If the telescope then absorbs all of it, the measured energy is E
within the resolution; else some escapes and less is measured. From the measured energy and T
follows the measured Compton angle phi, from the places of the first two interactions their
direction psi chi, first minus second. It lies on a ring about the photon's origin, at the angle
theta within the angular resolution.

All angles are in radians, energies in keV, areas in cm2, directions unit vectors in the detector's
frame, whose z axis is the axis of the telescope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skyfold.vector import Array

ELECTRON = 510.9989500015  # rest energy in keV
PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
FWHM = 2.0 * np.sqrt(2.0 ** (2 / 3) - 1)  # of the ring's profile, in its width


def electron_energy(energy: Array | float, angle: Array | float) -> Array:
    """Return the energy of the electron that scatters a photon of ``energy`` through ``angle``."""
    return np.asarray(energy - energy / (1 + energy / ELECTRON * (1 - np.cos(angle))))


def scatter_cosine(energy: Array | float, electron: Array | float) -> Array:
    """Return the cosine of the angle of a photon of ``energy`` whose electron took ``electron``.

    It lies below -1 where the kinematics forbid it.
    """
    return np.asarray(1 - ELECTRON * (1 / (energy - electron) - 1 / np.asarray(energy)))


class Rings(NamedTuple):
    """Rings on the sphere of psi chi, about the direction that the photon came from.

    Attributes
    ----------
    weight
        Probability of each, or a density.
    centre
        Cosine of its opening angle.
    width
        Width of its profile in the cosine.
    """

    weight: Array
    centre: Array
    width: Array

    def of(self, chosen: Any) -> Rings:
        """Return some of them, each as a row that broadcasts over directions."""
        return Rings(*(values[chosen, None] for values in self))

    def density(self, cosine: Array) -> Array:
        """Return the weighted probability per sr at this cosine of the angle to the photon.

        The profile ``(1 + x^2)^(-3/2)`` in the cosine has a core like a Lorentzian's, and an
        integral in closed form, so that every ring is normalised exactly.
        """
        total = self._below(1 - self.centre) + self._below(1 + self.centre)
        shape = 1 + ((cosine - self.centre) / self.width) ** 2
        return np.asarray(self.weight / (2 * np.pi * total) / (shape * np.sqrt(shape)))

    def draw(self, rng: np.random.Generator) -> Array:
        """Draw the cosine of the angle to the photon for each ring."""
        low, high = -self._below(1 + self.centre), self._below(1 - self.centre)
        chosen = low + (high - low) * rng.random(self.centre.shape)
        drawn = self.centre + chosen / np.sqrt(1 - (chosen / self.width) ** 2)
        return np.clip(drawn, -1, 1)

    def _below(self, distance: Array) -> Array:
        return np.asarray(distance / np.sqrt(1 + (distance / self.width) ** 2))


@dataclass(frozen=True)
class Telescope:
    """A germanium Compton telescope in an active shield, symmetric about its axis.

    Parameters
    ----------
    largest_area
        Effective area on the axis at the best energy, cm2.
    best_energy
        Energy of the largest area, keV.
    field
        Angle to the axis at which half of the area is left, degrees.
    leakage
        Part of the area that is left outside the shield's opening.
    threshold
        Electrons below this energy are seldom found, keV.
    position
        What the resolution in position adds to the width of the ring (FWHM), degrees.
    profile
        Half width of the momentum of bound electrons, in m c: it broadens the ring (Doppler).
    lowest
        Smallest energy measured of a photon that was not fully absorbed, keV.
    """

    largest_area: float = 22.0
    best_energy: float = 400.0
    field: float = 55.0
    leakage: float = 0.01
    threshold: float = 20.0
    position: float = 3.6
    profile: float = 0.007
    lowest: float = 60.0

    def opening(self, axis_cosine: Array | float) -> Array:
        """Return the part of the area that is left off the axis, by the cosine to it."""
        angle = np.degrees(np.arccos(np.clip(axis_cosine, -1, 1)))
        return np.asarray(
            self.leakage + (1 - self.leakage) / (1 + np.exp((angle - self.field) / 8))
        )

    def area(self, energy: Array | float) -> Array:
        """Return the effective area on the axis; off the axis it is times `opening`."""
        offset = np.log(np.asarray(energy) / self.best_energy) / 1.1
        return np.asarray(self.largest_area * np.exp(-0.5 * offset**2))

    def resolution(self, energy: Array | float) -> Array:
        """Return the standard deviation of the measured energy."""
        return np.sqrt(0.49 + 7e-4 * np.asarray(energy))

    def absorbed(self, energy: Array | float) -> Array:
        """Return the probability that all of the energy is measured."""
        return np.minimum(0.95, 0.75 * (np.asarray(energy) / ELECTRON) ** -0.4)

    def rings(self, energy: Array | float, electron: Array, weight: Array) -> Rings:
        """Return the rings of photons of ``energy`` that gave their electron ``electron``.

        The width joins three parts: the momentum of bound electrons (Zoglauer & Kanbach 2003,
        equation for the Compton profile), the resolution in energy and that in position.
        """
        scattered = energy - electron
        cosine = np.clip(scatter_cosine(energy, electron), -1, 1)
        sine = np.sqrt(1 - cosine**2)
        held = np.maximum(sine, 0.2)  # the ring closes at 180 deg, its width does not diverge
        momentum = np.sqrt(energy**2 + scattered**2 - 2 * energy * scattered * cosine)
        doppler = 2 * self.profile * ELECTRON * momentum / (energy * scattered * held)
        of_photon = self.resolution(scattered) * (1 / scattered**2 - 1 / energy**2)
        of_electron = self.resolution(electron) / energy**2
        resolved = PER_SIGMA * ELECTRON * np.hypot(of_photon, of_electron) / held
        spread = np.sqrt(doppler**2 + resolved**2 + np.radians(self.position) ** 2) / FWHM
        return Rings(weight, cosine, spread * np.sqrt(sine**2 + spread**2 / 4))

    def electrons(self, energy: Array | float, electron: Array) -> Array:
        """Return the density of electron energies, not normalised (Klein & Nishina 1929)."""
        share = 1 - electron / energy
        cosine = scatter_cosine(energy, electron)
        found = electron**2 / (electron**2 + self.threshold**2)
        return np.asarray((share + 1 / share - (1 - cosine**2)) * found)

    def electrons_below(self, energy: float) -> tuple[Array, Array]:
        """Return a fine grid of electron energies and the integral of `electrons` up to each."""
        grid = np.linspace(0, electron_energy(energy, np.pi), 4001)
        density = self.electrons(energy, grid)
        steps = 0.5 * (density[1:] + density[:-1]) * np.diff(grid)
        return grid, np.concatenate([[0.0], np.cumsum(steps)])

    def event_rings(self, energy: float, measured: Array, angle: Array) -> tuple[Rings, Rings]:
        """Return the rings of measured events: of absorbed photons, and of those that were not.

        Parameters
        ----------
        energy
            Energy of the photon.
        measured, angle
            Measured energy and Compton angle of each event.

        Returns
        -------
        absorbed, escaped
            Their weights are densities per keV and rad, so that the sum of their `Rings.density`,
            times the effective area, is the response in cm2 / (keV rad sr).
        """
        grid, below = self.electrons_below(energy)
        sigma, whole = self.resolution(energy), self.absorbed(energy)

        def part(spectrum: Array, kinematic: Array) -> Rings:
            electron = electron_energy(kinematic, angle)
            slope = (kinematic - electron) ** 2 / ELECTRON * np.sin(angle)
            within = np.interp(electron_energy(kinematic, np.pi), grid, below)
            density = self.electrons(energy, np.minimum(electron, grid[-1]))
            return self.rings(energy, electron, spectrum * density * slope / within)

        peak = np.exp(-0.5 * ((measured - energy) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
        tail = (measured > self.lowest) & (measured < energy)
        return (
            part(whole * peak, np.full_like(measured, energy)),
            part((1 - whole) / (energy - self.lowest) * tail, np.clip(measured, 1, energy)),
        )

    def draw(
        self, directions: Array, energies: Array, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Draw what is measured of photons that are detected.

        Parameters
        ----------
        directions
            Where each comes from, shape (n, 3).
        energies
            Its energy, shape (n,).
        rng
            Random numbers.

        Returns
        -------
        measured, angle, psichi
            Measured energy and Compton angle, shape (n,), and direction, shape (n, 3).
        """
        whole = rng.random(len(energies)) < self.absorbed(energies)
        seen = self.lowest + (energies - self.lowest) * rng.random(len(energies))
        kinematic = np.where(whole, energies, seen)
        electron = self._draw_electrons(energies, electron_energy(kinematic, np.pi), rng)
        resolved = energies + self.resolution(energies) * rng.standard_normal(len(energies))
        angle = np.arccos(np.clip(scatter_cosine(kinematic, electron), -1, 1))
        cosine = self.rings(energies, electron, np.ones_like(electron)).draw(rng)
        return np.where(whole, resolved, seen), angle, around(directions, cosine, rng)

    def _draw_electrons(self, energy: Array, largest: Array, rng: np.random.Generator) -> Array:
        """Draw electron energies up to a largest one, by rejection."""
        electron, left = np.zeros_like(energy), np.arange(len(energy))
        share = 1 - largest / energy
        highest = (share + 1 / share) * largest**2 / (largest**2 + self.threshold**2)
        highest = np.maximum(highest, 2 * largest**2 / (largest**2 + self.threshold**2))
        while len(left):
            tried = largest[left] * rng.random(len(left))
            kept = rng.random(len(left)) * highest[left] < self.electrons(energy[left], tried)
            electron[left[kept]] = tried[kept]
            left = left[~kept]
        return electron


def around(directions: Array, cosine: Array, rng: np.random.Generator) -> Array:
    """Draw unit vectors at given cosines from given directions, the azimuth at random."""
    helper = np.where(np.abs(directions[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(helper, directions)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(directions, first)
    azimuth = 2 * np.pi * rng.random(len(directions))
    sine = np.sqrt(1 - cosine**2)
    across = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * second
    drawn: Array = cosine[:, None] * directions + sine[:, None] * across
    return drawn
