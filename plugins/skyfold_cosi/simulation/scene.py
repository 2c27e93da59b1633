"""Skies to simulate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skyfold import shapes
from skyfold.errors import require
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_cosi.simulation.telescope import ELECTRON
from skyfold_responses.attitude import pixel_centres, unit_vectors

FINE = 32  # nside on which an intensity is known


@dataclass(frozen=True)
class Scene:
    """A sky with one spectrum, and the bins to observe it in.

    Parameters
    ----------
    description
        What it shows, in a few words.
    extended
        Makes the extended part on the pixels of a sphere; None for none.
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
    extended: Callable[[Sphere], Array] | None = None
    points: tuple[tuple[float, float, float], ...] = ()
    diffuse: float = 1.0
    energies: tuple[float, ...] = (509.0, 513.0)
    line: float | None = None
    index: float = 2.0

    def truth(self, nside: int) -> Array:
        """Return the flux in each pixel (RING) and energy bin, of a sky whose flux is 1."""
        healpy = require("healpy", "healpix")

        flux = np.zeros(12 * nside**2)
        if self.extended is not None:
            fine, share = self._fine
            pixel = healpy.vec2pix(nside, *fine.T)
            flux += self.diffuse * np.bincount(pixel, share, len(flux))
        places, share = self._points()
        np.add.at(flux, healpy.vec2pix(nside, *places.T), (1 - self.diffuse) * share)
        return np.asarray(flux[:, None] * self._spectrum())

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw photons: Galactic directions, shape (count, 3), and energies."""
        healpy = require("healpy", "healpix")

        parts = []
        of_points = count if self.extended is None else rng.binomial(count, 1 - self.diffuse)
        if self.extended is not None:
            _, share = self._fine
            pixel = rng.choice(len(share), count - of_points, p=share)
            inside = healpy.ring2nest(FINE, pixel) * 1024 + rng.integers(0, 1024, len(pixel))
            parts.append(np.stack(healpy.pix2vec(32 * FINE, inside, nest=True), axis=-1))
        if of_points:
            places, share = self._points()
            parts.append(places[rng.choice(len(share), of_points, p=share)])
        directions = rng.permutation(np.concatenate(parts))
        if self.line is not None:
            return directions, np.full(count, self.line)
        low, high = (self.energies[i] ** (1 - self.index) for i in (0, -1))
        return directions, (low + (high - low) * rng.random(count)) ** (1 / (1 - self.index))

    def varied(self, rng: np.random.Generator) -> Scene:
        """Return the same with three more point sources, which hold a fifth of the flux."""
        lon, sine = rng.uniform(0, 360, 3), rng.uniform(-1, 1, 3)
        share = rng.dirichlet([2.0, 2.0, 2.0])
        known = sum(flux for *_, flux in self.points)
        scale = 0.25 * known if self.extended is None else 1.0
        places = zip(lon, np.degrees(np.arcsin(sine)), scale * share, strict=True)
        added = tuple((float(x), float(y), float(flux)) for x, y, flux in places)
        diffuse = 0.0 if self.extended is None else 0.8 * self.diffuse
        return replace(self, points=self.points + added, diffuse=diffuse)

    @cached_property
    def _fine(self) -> tuple[Array, Array]:
        """Return fine pixels and the share of the flux of each."""
        assert self.extended is not None
        share = self.extended(Sphere(FINE)).ravel()
        return pixel_centres(FINE), share / share.sum()

    def _points(self) -> tuple[Array, Array]:
        lon, lat, flux = np.array(self.points, float).reshape(-1, 3).T
        return unit_vectors(lon, lat), flux / max(flux.sum(), np.finfo(float).tiny)

    def _spectrum(self) -> Array:
        """Return the part of the photons in each energy bin."""
        if self.line is not None:
            return np.histogram([self.line], self.energies)[0].astype(float)
        inside = -np.diff(np.array(self.energies) ** (1 - self.index))
        return np.asarray(inside / inside.sum())


def positrons(sky: Sphere) -> Array:
    """Return a 511 keV sky: a bulge on a thin disk (after Siegert et al. 2016, simplified)."""
    disk = shapes.elliptic_gaussian(sky, 0.0, 0.0, 60.0, 3.0, 0.6)
    return disk + shapes.gaussian(sky, 0.0, 0.0, 8.7, 0.4)


def aluminium(sky: Sphere) -> Array:
    """Return a 1809 keV sky: a disk with two bright regions, Cygnus and Vela."""
    disk = shapes.elliptic_gaussian(sky, 0.0, 0.0, 50.0, 5.0, 0.75)
    cygnus = shapes.gaussian(sky, 80.0, 1.0, 4.0, 0.15)
    return disk + cygnus + shapes.gaussian(sky, 265.0, 0.0, 4.0, 0.1)


CONTINUUM = (200.0, 350.0, 600.0, 1000.0, 1800.0)

SCENES = {
    "511": Scene("511 keV: thin disk and bulge", positrons, line=ELECTRON),
    "al26": Scene(
        "1809 keV: disk with Cygnus and Vela",
        aluminium,
        energies=(1803.0, 1817.0),
        line=1808.7,
    ),
    "crab": Scene(
        "a Crab-like point source at four energies",
        points=((184.56, -5.78, 1.0),),
        diffuse=0.0,
        energies=CONTINUUM,
        index=2.1,
    ),
    "points": Scene(
        "six point sources at four energies",
        points=(
            (184.56, -5.78, 1.0), (71.33, 3.07, 0.8), (309.5, 19.4, 0.5), (0.0, 0.0, 0.4),
            (266.0, -3.0, 0.4), (135.0, 40.0, 0.3),
        ),
        diffuse=0.0,
        energies=CONTINUUM,
    ),
}  # fmt: skip
