"""Point spread functions written as text: ``gauss:1.2 pix``, ``moffat:0.8 arcsec,2.5``."""

from __future__ import annotations

import re

import numpy as np

from skyfold.errors import ConfigError
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.vector import Array

HOW = 'write it as "gauss:1.2 pix", "gauss:0.5 arcsec" or "moffat:1.2 pix,2.5" (FWHM, beta)'
REACH = 1e-3  # share of a Moffat's light that falls off the kernel
LARGEST_HALF = 2048


def is_text(psf: object) -> bool:
    """Return whether a PSF is given as a formula rather than as a file or an array."""
    return isinstance(psf, str) and re.match(r"[a-z]+:", psf.strip(), re.IGNORECASE) is not None


def kernel_from_text(text: str, grid: Grid, block: int = 1) -> Array:
    """Return a kernel integrated over pixels, of odd sides and sum one.

    Parameters
    ----------
    text
        ``gauss:FWHM`` or ``moffat:FWHM,beta``; the width in pixels of ``grid`` or as an angle.
    grid
        The grid that gives an angle its pixels.
    block
        How many times smaller the pixels of the kernel are than those of the grid.

    Returns
    -------
    kernel
        Shape ``(y, x)``; ``(x,)`` for a grid of one axis.

    Raises
    ------
    ConfigError
        If the text is no formula, or the width is an angle and the grid has no coordinates.
    """
    kind, _, rest = text.strip().partition(":")
    width, _, shape = rest.partition(",")
    fwhm = block * _pixels(width, text, grid)
    axes = min(len(grid.shape), 2)
    if kind.lower() in ("gauss", "gaussian") and not shape:
        return gauss(fwhm, axes)
    if kind.lower() == "moffat" and shape:
        try:
            beta = float(shape)
        except ValueError:
            raise ConfigError(f"PSF {text!r}: beta {shape!r} is no number; {HOW}") from None
        return moffat(fwhm, beta, axes)
    raise ConfigError(f"PSF {text!r} is not understood; {HOW}")


def gauss(fwhm: float, axes: int = 2) -> Array:
    """Return a Gaussian integrated over pixels.

    Parameters
    ----------
    fwhm
        Full width at half maximum, pixels.
    axes
        1 or 2.
    """
    from scipy.special import ndtr

    sigma = fwhm / FWHM_PER_SIGMA
    half = int(np.ceil(4.5 * sigma + 0.5))
    beyond = ndtr(-(np.arange(half + 1) + 0.5) / sigma)  # the accurate tail, and mirrored
    side = -np.diff(beyond)
    line = np.concatenate([side[::-1], [1 - 2 * beyond[0]], side])
    kernel = line if axes == 1 else np.outer(line, line)
    normal: Array = kernel / kernel.sum()
    return normal


def moffat(fwhm: float, beta: float, axes: int = 2) -> Array:
    """Return a Moffat profile ``(1 + (r/alpha)^2)^-beta`` integrated over pixels (Moffat 1969).

    It ends where a thousandth of its light is left outside, and has the sum one.

    Parameters
    ----------
    fwhm
        Full width at half maximum, pixels.
    beta
        Steepness of the wings, above 1.
    axes
        1 or 2.

    Raises
    ------
    ConfigError
        If beta is so small that the wings never end.
    """
    if not beta > 1:
        raise ConfigError(f"Moffat beta {beta:g} must be above 1: its light would be infinite")
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    reach = np.log(alpha) - np.log(REACH) / (2 * (beta - 1))  # of the light, in two dimensions
    if reach > np.log(LARGEST_HALF):
        raise ConfigError(
            f"Moffat beta {beta:g} has wings of {np.exp(min(reach, 700)):.2g} pixels; give a "
            "steeper profile, or the PSF as an image"
        )
    half = int(np.ceil(np.exp(reach)))
    # Gauss-Legendre within panels no wider than the profile
    panels = int(np.ceil(1 / fwhm))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    steps = ((np.arange(panels)[:, None] + (nodes + 1) / 2) / panels - 0.5).ravel()
    weights = np.tile(weights / (2 * panels), panels)
    centres = np.arange(half + 1)

    def integrated(y: Array | float) -> Array:
        """Integrate over x, for one offset in y or several."""
        total = 0.0
        for step, weight in zip(steps, weights, strict=True):
            r2 = (centres + step) ** 2 + np.asarray(y)[..., None] ** 2
            total = total + weight * (1 + r2 / alpha**2) ** -beta
        return np.asarray(total)

    if axes == 1:
        part = integrated(0.0)
    else:
        rows = (w * integrated(centres + s) for s, w in zip(steps, weights, strict=True))
        part = np.sum(list(rows), axis=0)
    kernel = np.pad(part, [(half, 0)] * axes, mode="reflect")
    normal: Array = kernel / kernel.sum()
    return normal


def _pixels(width: str, text: str, grid: Grid) -> float:
    """Return a width in pixels."""
    from astropy import units as u

    try:
        length = u.Quantity(re.sub(r"px\b", "pix", width.strip()))
        if length.unit == u.dimensionless_unscaled:
            raise ConfigError(f"PSF {text!r}: the width needs a unit; {HOW}")
        if not (length.unit.is_equivalent(u.pix) or length.unit.is_equivalent(u.deg)):
            raise ConfigError(f"PSF {text!r}: {length.unit} is no width; {HOW}")
    except TypeError:
        raise ConfigError(f"PSF {text!r}: {width!r} is no width; {HOW}") from None
    pixels = grid.pixels(length)
    if not 0 < pixels < LARGEST_HALF / 4:
        raise ConfigError(f"PSF {text!r}: a width of {pixels:g} pixels is out of range")
    return pixels
