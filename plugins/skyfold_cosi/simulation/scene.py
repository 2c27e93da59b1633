"""Skies to simulate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.simulation.telescope import ELECTRON
from skyfold_responses.attitude import unit_vectors

FINE = 64  # nside on which an intensity is known

Intensity = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Scene:
    """A sky with one spectrum, and the bins to observe it in.

    Parameters
    ----------
    description
        What it shows, in a few words.
    extended
        Relative intensity by Galactic longitude (-180 to 180) and latitude, degrees; or None.
    points
        Longitude, latitude and relative flux of each point source.
    diffuse
        Part of the flux that is extended.
    energies
        Edges of the energy bins, keV, true and measured.
    line
        Energy of all photons, keV; None for a power law.
    index
        Photon index of the power law.
    """

    description: str
    extended: Intensity | None = None
    points: tuple[tuple[float, float, float], ...] = ()
    diffuse: float = 1.0
    energies: tuple[float, ...] = (509.0, 513.0)
    line: float | None = None
    index: float = 2.0

    def truth(self, nside: int) -> Array:
        """Return the flux in each pixel (RING) and energy bin, of a sky whose flux is 1."""
        import healpy

        flux = np.zeros(12 * nside**2)
        if self.extended is not None:
            fine, share = self._fine()
            pixel = healpy.vec2pix(nside, *fine.T)
            flux += self.diffuse * np.bincount(pixel, share, len(flux))
        places, share = self._points()
        np.add.at(flux, healpy.vec2pix(nside, *places.T), (1 - self.diffuse) * share)
        return np.asarray(flux[:, None] * self._spectrum())

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw photons: Galactic directions, shape (count, 3), and energies."""
        import healpy

        parts = []
        of_points = count if self.extended is None else rng.binomial(count, 1 - self.diffuse)
        if self.extended is not None:
            _, share = self._fine()
            pixel = rng.choice(len(share), count - of_points, p=share)
            inside = healpy.ring2nest(FINE, pixel) * 256 + rng.integers(0, 256, len(pixel))
            parts.append(np.stack(healpy.pix2vec(16 * FINE, inside, nest=True), axis=-1))
        if of_points:
            places, share = self._points()
            parts.append(places[rng.choice(len(share), of_points, p=share)])
        directions = rng.permutation(np.concatenate(parts))
        if self.line is not None:
            return directions, np.full(count, self.line)
        low, high = (self.energies[i] ** (1 - self.index) for i in (0, -1))
        return directions, (low + (high - low) * rng.random(count)) ** (1 / (1 - self.index))

    def _fine(self) -> tuple[Array, Array]:
        """Return fine pixels and the share of the flux of each."""
        import healpy

        assert self.extended is not None
        lon, lat = healpy.pix2ang(FINE, np.arange(12 * FINE**2), lonlat=True)
        share = self.extended((lon + 180) % 360 - 180, lat)
        return unit_vectors(lon, lat), share / share.sum()

    def _points(self) -> tuple[Array, Array]:
        lon, lat, flux = np.array(self.points, float).reshape(-1, 3).T
        return unit_vectors(lon, lat), flux / max(flux.sum(), np.finfo(float).tiny)

    def _spectrum(self) -> Array:
        """Return the part of the photons in each energy bin."""
        if self.line is not None:
            return np.histogram([self.line], self.energies)[0].astype(float)
        inside = -np.diff(np.array(self.energies) ** (1 - self.index))
        return np.asarray(inside / inside.sum())


def positrons(lon: Array, lat: Array) -> Array:
    """Return the 511 keV sky: a bulge on a thin disk (after Siegert et al. 2016, simplified)."""
    disk = np.exp(-0.5 * (lat / 3) ** 2 - 0.5 * (lon / 60) ** 2)
    bulge = np.exp(-0.5 * (lat**2 + lon**2) / 8.7**2)
    return np.asarray(disk / (2 * np.pi * 3 * 60) * 0.6 + bulge / (2 * np.pi * 8.7**2) * 0.4)


def spiral_arms(lon: Array, lat: Array) -> Array:
    """Return a disk with a few bright regions, as 26Al shows."""
    disk = np.exp(-np.abs(lat) / 5) * (1 + np.cos(np.radians(lon))) ** 2
    cygnus = np.exp(-0.5 * (((lon - 80) / 5) ** 2 + ((lat - 1) / 4) ** 2))
    vela = np.exp(-0.5 * (((lon + 95) / 5) ** 2 + (lat / 4) ** 2))
    return np.asarray(disk + 2.5 * cygnus + 1.5 * vela)


CONTINUUM = (200.0, 300.0, 450.0, 700.0, 1100.0, 1800.0)

SCENES = {
    "511": Scene("511 keV: thin disk and bulge", positrons, line=ELECTRON),
    "al26": Scene(
        "1809 keV: disk with Cygnus and Vela",
        spiral_arms,
        energies=(1803.0, 1817.0),
        line=1808.7,
    ),
    "crab": Scene(
        "a Crab-like point source at five energies",
        points=((184.56, -5.78, 1.0),),
        diffuse=0.0,
        energies=CONTINUUM,
        index=2.1,
    ),
    "points": Scene(
        "six point sources at five energies",
        points=(
            (184.56, -5.78, 1.0), (71.33, 3.07, 0.8), (309.5, 19.4, 0.5), (0.0, 0.0, 0.4),
            (266.0, -3.0, 0.4), (135.0, 40.0, 0.3),
        ),
        diffuse=0.0,
        energies=CONTINUUM,
    ),
}  # fmt: skip
