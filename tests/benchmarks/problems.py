"""The problems that solvers are compared on. Shapes, strengths and seeds are fixed here, once.

Each is made from a true sky by `skyfold.simulate.simulate`; a build gives the same counts
everywhere. The models start from one flat level (`Model.start`), the race from 0.5 per pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import healpy
import numpy as np
from scipy import sparse

from skyfold.binned import BinnedData
from skyfold.geometry import Normalisations
from skyfold.matrices import Matrix, Template
from skyfold.model import Component
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold.simulate import generator, simulate
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_responses import Psf

SIDE, POINTS = 256, 60
SHARES = {"points": 0.35, "ridge": 0.3, "bulge": 0.2, "isotropic": 0.15}  # of the source light
RINGS, WIDTH, WING, WING_SHARE, CUT = 12, 3.0, 4.0, 0.03, 2e-3  # degrees where they are angles


@dataclass(frozen=True, eq=False)
class Problem:
    """Counts to restore, and the truth that they were drawn from.

    Parameters
    ----------
    about
        What it is, in one line.
    data, truth
        Simulated data, and the values of all components.
    rows
        Whether some of the bins cost less than all: subsets make sense.
    """

    about: str
    data: BinnedData
    truth: Mapping[str, Array]
    rows: bool


def image(side: int = SIDE, counts: float = 5e4, seed: int = 1) -> Problem:
    """Point sources on a ridge, a bulge and an even level; vignetting; known background of 20 %.

    The sky has the pixels of the data, and what lies beyond them is dark.
    """
    y, x = np.indices((side, side)) - (side - 1) / 2
    vignetting = 1 - 0.5 * (x**2 + y**2) / np.max(x**2 + y**2)  # 0.5 in the corners
    response = Psf(beta_psf(), (side, side), "same") @ Diagonal(vignetting)
    sky = _scaled(response, _image_sky(side, seed), 0.8 * counts)
    background = np.full((side, side), 0.2 * counts / side**2)
    about = f"image, {side} x {side} pixels, {counts:g} counts, PSF 65 x 65, known background"
    return _drawn(about, {"sky": response, "background": Template(background)}, sky, seed, False)


def dark_image(side: int = SIDE, counts: float = 5e4, seed: int = 4) -> Problem:
    """Make the same kind of sky without background and exposure, started from 0.5 per pixel."""
    response = Psf(beta_psf(), (side, side), "same")
    sky = _scaled(response, _image_sky(side, seed), counts)
    about = f"image, {side} x {side} pixels, {counts:g} counts, PSF 65 x 65, nothing else"
    made = _drawn(about, {"sky": response}, sky, seed, False)
    part = Component(made.data.components["sky"].geometry, start=0.5)
    return Problem(about, made.data.with_components(sky=part), made.truth, False)


def rings(nside: int = 16, counts: float = 1e5, seed: int = 2) -> Problem:
    """Rings of Compton scattering on the sphere: 12 scatter angles, 25 % source, the rest known."""
    pixels, shape = healpy.nside2npix(nside), (RINGS, healpy.nside2npix(nside))
    response = Matrix(_ring_matrix(nside), (pixels, 1), shape)
    sky = _scaled(response, _sphere_sky(nside, seed), 0.25 * counts)
    _, _, z = healpy.pix2vec(nside, np.arange(pixels))
    uneven = _efficiency()[:, None] * (1 + 0.3 * z)
    background = uneven * (0.75 * counts / uneven.sum())
    about = f"rings, {pixels} pixels of the sky, {RINGS} x {pixels} bins, {counts:g} counts"
    return _drawn(about, {"sky": response, "background": Template(background)}, sky, seed, True)


def compton(seed: int = 1) -> Problem:
    """Simulate two months of a Compton telescope: 511 keV sky, normalisation of the background
    fitted. The counts are those of the demo ``compton``.
    """
    from skyfold_cosi.demos import compton as demo

    made = demo(seed)
    size = " x ".join(map(str, made.data.shape))
    total = np.sum(made.data.full_counts)
    about = f"Compton telescope, 768 pixels of the sky, {size} bins, {total:g} counts"
    return Problem(f"{about}, background fitted", made.data, made.truth, True)


PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    "image": image,
    "rings": rings,
    "compton": compton,
}


def beta_psf(size: int = 65, core: float = 2.0, beta: float = 1.5) -> Array:
    """Return a PSF of sum one that falls like (1 + (r/core)^2)^-beta."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    profile = (1 + (x**2 + y**2) / core**2) ** -beta
    return np.asarray(profile / profile.sum())


def _drawn(
    about: str, responses: dict[str, Response], sky: Array, seed: int, rows: bool
) -> Problem:
    """Return a problem with counts drawn from the truth; its background is known."""
    known = {"background": Component(Normalisations(), fixed=True)}
    if sky.shape[1] == 1:
        known["sky"] = Component(Sphere(healpy.npix2nside(len(sky))))
    blank = np.zeros(responses["sky"].data_shape)
    data = BinnedData(blank, responses, components=known)
    truth = {"sky": sky, "background": np.ones(1)}
    truth = {name: truth[name] for name in responses}
    return Problem(about, data.with_counts(simulate(data, truth, seed)), truth, rows)


def _scaled(response: Response, sky: Array, counts: float) -> Array:
    """Return the sky scaled so that it makes so many counts."""
    return np.asarray(sky * (counts / response.forward(sky).sum()))


def _mixed(**parts: Array) -> Array:
    """Return the sum of the parts, each with its share of the light."""
    mixed: Array = sum(SHARES[name] / part.sum() * part for name, part in parts.items())
    return mixed


def _points(size: int, seed: int) -> Array:
    """Return sources at random places with fluxes N(>S) ~ 1/S."""
    rng, sky = generator(seed, "points"), np.zeros(size)
    np.add.at(sky, rng.integers(size, size=POINTS), 1 + rng.pareto(1.0, POINTS))
    return sky


def _image_sky(side: int, seed: int) -> Array:
    y, x = (np.indices((side, side)) - (side - 1) / 2) / side
    return _mixed(
        points=_points(side**2, seed).reshape(side, side),
        ridge=np.exp(-0.5 * ((y / 0.02) ** 2 + (x / 0.3) ** 2)),
        bulge=np.exp(-0.5 * (x**2 + y**2) / 0.08**2),
        isotropic=np.ones((side, side)),
    )


def _sphere_sky(nside: int, seed: int) -> Array:
    pixels = np.arange(healpy.nside2npix(nside))
    longitude, latitude = healpy.pix2ang(nside, pixels, lonlat=True)
    longitude = (longitude + 180) % 360 - 180
    return _mixed(
        points=_points(pixels.size, seed),
        ridge=np.exp(-0.5 * ((latitude / 5) ** 2 + (longitude / 60) ** 2)),
        bulge=np.exp(-0.5 * (latitude**2 + longitude**2) / 8**2),
        isotropic=np.ones(pixels.size),
    )[:, None]


def _angles() -> Array:
    """Return the scatter angles, degrees."""
    return np.linspace(10.0, 120.0, RINGS)


def _efficiency() -> Array:
    """Return the share of photons that scatter by each angle, relative."""
    return np.asarray(0.5 * (1 + np.cos(np.radians(_angles())) ** 2))


def _ring_matrix(nside: int) -> sparse.csr_array:
    """Return the response (bins, pixels): a core and a wing about each ring, small values dropped.

    The numbers are rounded to float32 and held in float64, in which all sums are made.
    """
    directions = np.stack(healpy.pix2vec(nside, np.arange(healpy.nside2npix(nside))))
    apart = np.degrees(np.arccos(np.clip(directions.T @ directions, -1, 1)))
    blocks = []
    for angle, efficiency in zip(_angles(), _efficiency(), strict=True):
        off = np.abs(apart - angle)
        profile = (1 - WING_SHARE) * np.exp(-0.5 * (off / WIDTH) ** 2)
        profile += WING_SHARE / WING * np.exp(-0.5 * (off / (WIDTH * WING)) ** 2)
        profile[profile < CUT * profile.max()] = 0
        around = efficiency / np.sin(np.radians(angle))  # a wide ring is a thin one
        scale = around / len(apart)
        blocks.append(sparse.csr_array((profile * scale).astype(np.float32)))
    return sparse.vstack(blocks, format="csr").astype(np.float64)
