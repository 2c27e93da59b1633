"""Gaussian smoothing on the HEALPix sphere: no rings, nothing negative, no light lost.

Cutting off the harmonics of a Gaussian that is narrower than a pixel or two makes rings. Two exact
representations of a positive kernel between pixel centres avoid them: a sparse matrix where the
Gaussian is narrow, and harmonics up to a degree where it has vanished, without the iterations that
try to invert the sampling, where it is wide. Both are symmetric and are scaled from both sides to
unit sums of rows and columns (Sinkhorn & Knopp 1967): a flat field and the sum are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import require
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity
    from scipy.sparse import csr_array

    from skyfold.sphere import Sphere

log = logging.getLogger(__name__)

REACH = 4.5  # sigmas at which the sparse kernel ends
VANISHED = 7.5  # degree times sigma beyond which exp(-(l sigma)^2 / 2) is hardly more than rounding


def smooth(sphere: Sphere, values: Array, fwhm: Quantity) -> Array:
    """Smooth each energy by a Gaussian.

    Values that are not negative stay so, the sum of each energy and a flat field are kept to
    rounding.

    Parameters
    ----------
    sphere
        Where the values live, RING or NESTED.
    values
        Shape (pixel, energy).
    fwhm
        Full width at half maximum, as an angle or in pixels (the root of a pixel's area).

    Raises
    ------
    MissingExtraError
        If healpy is not installed.
    """
    from astropy import units as u

    pixels = fwhm.unit.is_equivalent(u.pix)
    width = np.radians(fwhm.to_value(u.pix) * sphere.pixel_size if pixels else fwhm.to_value(u.deg))
    sigma = float(width) / FWHM_PER_SIGMA
    wide = 4 * sphere.nside * sigma >= VANISHED  # healpy goes up to degree 4 nside
    kernel = (harmonic_kernel if wide else pixel_kernel)(sphere.nside, sphere.nested, sigma)
    smoothed: Array = kernel(values)
    return smoothed.astype(values.dtype, copy=False)


@lru_cache(maxsize=8)
def pixel_kernel(nside: int, nested: bool, sigma: float) -> Callable[[Array], Array]:
    """Return smoothing by a sparse kernel sampled at the pixel centres, for narrow Gaussians.

    A Gaussian much narrower than a pixel does not reach its neighbours; this is said in a warning.

    Parameters
    ----------
    nside, nested
        Resolution and order of the pixels.
    sigma
        Width in radians.
    """
    from scipy.sparse import coo_array, diags_array
    from scipy.spatial import KDTree

    healpy = require("healpy", "healpix")
    pixels = 12 * nside**2
    centres = np.stack(healpy.pix2vec(nside, np.arange(pixels), nest=nested), axis=1)
    chord = 2 * np.sin(0.5 * min(REACH * sigma, np.pi))
    i, j = KDTree(centres).query_pairs(chord, output_type="ndarray").T
    chords = np.linalg.norm(centres[i] - centres[j], axis=1)
    angles = 2 * np.arcsin(np.minimum(0.5 * chords, 1))
    off = coo_array((np.exp(-0.5 * (angles / sigma) ** 2), (i, j)), (pixels, pixels))
    kernel = (off + off.T + diags_array(np.ones(pixels))).tocsr()
    scale = _balance(lambda x: kernel @ x, pixels)
    kernel = (diags_array(scale) @ kernel @ diags_array(scale)).tocsr()
    _warn_if_narrow(sigma, nside, kernel, scale[i] * scale[j] * off.data @ angles**2)

    def apply(values: Array) -> Array:
        result: Array = kernel @ values
        return result

    return apply


@lru_cache(maxsize=8)
def harmonic_kernel(nside: int, nested: bool, sigma: float) -> Callable[[Array], Array]:
    """Return smoothing by spherical harmonics, for wide Gaussians.

    Parameters
    ----------
    nside, nested
        Resolution and order of the pixels.
    sigma
        Width in radians.
    """
    healpy = require("healpy", "healpix")
    pixels = 12 * nside**2
    highest = int(np.ceil(VANISHED / sigma))
    degrees = np.arange(highest + 1)
    transfer = np.exp(-0.5 * degrees * (degrees + 1) * sigma**2)
    order = healpy.ring2nest(nside, np.arange(pixels)) if nested else np.arange(pixels)

    def convolved(column: Array) -> Array:
        ring = np.ascontiguousarray(column[order], dtype=np.float64)
        alm = healpy.map2alm(ring, lmax=highest, iter=0, pol=False)
        healpy.almxfl(alm, transfer, inplace=True)
        result = np.empty(pixels)
        result[order] = healpy.alm2map(alm, nside, lmax=highest, pol=False)
        return result

    scale = _balance(convolved, pixels)

    def blurred(column: Array) -> Array:
        result: Array = scale * convolved(scale * column)
        if np.all(column >= 0) and np.min(result) < 0:  # by rounding
            result = np.maximum(result, 0)
            result *= np.sum(column) / np.sum(result)
        return result

    def apply(values: Array) -> Array:
        columns = values.reshape(pixels, -1).T
        return np.stack([blurred(column) for column in columns], axis=1).reshape(values.shape)

    return apply


def _balance(kernel: Callable[[Array], Array], size: int) -> Array:
    """Return d such that ``d_i K_ij d_j``, K symmetric, has unit sums of rows and columns.

    Each lap halves the error at least where K has no negative eigenvalues, as a Gaussian.
    """
    scale = np.ones(size)
    for _ in range(100):
        sums = scale * kernel(scale)
        scale = scale / np.sqrt(sums)
        if np.max(np.abs(sums - 1)) < 1e-15:
            break
    return scale


def _warn_if_narrow(sigma: float, nside: int, kernel: csr_array, square: float) -> None:
    """Say how wide a kernel really is that hardly reaches the next pixel."""
    pixel = np.sqrt(np.pi / 3) / nside
    if sigma * FWHM_PER_SIGMA < 1.5 * pixel:
        effective = FWHM_PER_SIGMA * np.sqrt(square / kernel.shape[0])
        log.warning(
            "smoothing by %.3g deg on pixels of %.3g deg: below about 1.5 pixels a "
            "Gaussian hardly reaches the next pixel; the width in effect is %.2g deg",
            *np.degrees([sigma * FWHM_PER_SIGMA, pixel, effective]),
        )
