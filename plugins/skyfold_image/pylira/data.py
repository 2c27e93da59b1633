"""The example data sets: simulated ones of known truth, and two kept by `skyfold data`.

Each is a dictionary of two-dimensional arrays ``counts``, ``psf``, ``exposure``, ``background``
and, where the truth is known, ``flux``: what `skyfold_image.pylira.LIRADeconvolver` takes. The
simulated ones are functions of ``random_state`` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.vector import Array

OVERSAMPLING = 10  # points per pixel and axis at which an extended source is drawn
Data = dict[str, Any]

CHANDRA = {4683: "chandra-gc-4683", 4684: "chandra-gc-4684"}
CHANDRA_CUT = slice(65, 193), slice(64, 192)
CHANDRA_PSF_CUT = slice(14, 31), slice(15, 32)


def point_source_gauss_psf(
    shape: tuple[int, int] = (32, 32),
    shape_psf: tuple[int, int] = (17, 17),
    sigma_psf: float = 3,
    source_level: float = 1000,
    background_level: float = 2,
    random_state: np.random.RandomState | None = None,
) -> Data:
    """Simulate one point source behind a Gaussian PSF, on a flat background that is not blurred.

    Parameters
    ----------
    shape, shape_psf
        Shapes (y, x) of the image and of the PSF, in pixels.
    sigma_psf
        Width of the PSF, in pixels.
    source_level
        Flux of the source, in the middle of the image.
    background_level
        Expected background per pixel.
    random_state
        Source of the Poisson noise; a new one by default.
    """
    flux = np.zeros(shape)
    flux[shape[0] // 2, shape[1] // 2] = source_level
    psf = _gauss_psf(shape_psf, sigma_psf)
    background, exposure = np.full(shape, float(background_level)), np.ones(shape)
    expected = background + _blurred(flux, psf)
    return _observed(expected, psf, exposure, background, flux, random_state)


def disk_source_gauss_psf(
    shape: tuple[int, int] = (32, 32),
    shape_psf: tuple[int, int] = (17, 17),
    sigma_psf: float = 3,
    source_level: float = 1000,
    source_radius: float = 3,
    background_level: float = 2,
    random_state: np.random.RandomState | None = None,
) -> Data:
    """Simulate a flat disk; the exposure rises from 0.5 to 1.5 along the columns.

    Parameters
    ----------
    shape, shape_psf, sigma_psf, background_level, random_state
        See `point_source_gauss_psf`; here the background is blurred like the source.
    source_level
        Flux of the disk.
    source_radius
        Radius of the disk, in pixels.
    """
    y, x = _fine_coordinates(shape)
    disk = _coarse(y**2 + x**2 <= source_radius**2)
    exposure = np.broadcast_to(_gradient(shape[1]), shape).copy()
    return _exposed(
        source_level * disk / disk.sum(),
        exposure,
        shape_psf,
        sigma_psf,
        background_level,
        random_state,
    )


def gauss_and_point_sources_gauss_psf(
    shape: tuple[int, int] = (32, 32),
    shape_psf: tuple[int, int] = (17, 17),
    sigma_psf: float = 2,
    source_level: float = 1000,
    source_radius: float = 2,
    background_level: float = 2,
    random_state: np.random.RandomState | None = None,
) -> Data:
    """Simulate a Gaussian source amid four point sources of 1, 0.3, 0.1 and 0.03 of its flux.

    The exposure rises from 0.5 to 1.5 along the rows.

    Parameters
    ----------
    shape, shape_psf, sigma_psf, background_level, random_state
        See `point_source_gauss_psf`; here the background is blurred like the sources.
    source_level
        Flux of the Gaussian, and of the brightest point.
    source_radius
        Standard deviation of the Gaussian, in pixels.
    """
    y, x = _fine_coordinates(shape)
    profile = np.exp(-0.5 * (y**2 + x**2) / source_radius**2) / (2 * np.pi * source_radius**2)
    flux = source_level * _coarse(profile)
    middle_y, middle_x = shape[0] // 2, shape[1] // 2
    for share, dy, dx in ((1, 10, 0), (0.3, -10, 0), (0.1, 0, 10), (0.03, 0, -10)):
        flux[middle_y + dy, middle_x + dx] = share * source_level
    exposure = np.broadcast_to(_gradient(shape[0])[:, None], shape).copy()
    return _exposed(flux, exposure, shape_psf, sigma_psf, background_level, random_state)


def lincoln(psf: Any = None, random_state: np.random.RandomState | None = None) -> Data:
    """Simulate a blurred photograph from the picture of the data set ``lincoln``.

    Parameters
    ----------
    psf
        Kernel (y, x), or an object of astropy.convolution; a Gaussian of 3 pixels by default.
    random_state
        See `point_source_gauss_psf`.

    Raises
    ------
    FileError
        If the data set is not on this machine; ``skyfold data get lincoln`` brings it.
    """
    from matplotlib.image import imread

    picture = imread(_kept("lincoln")["lincoln.png"]).sum(axis=-1)
    flux = np.asarray(picture.max() - picture, dtype=float)
    kernel = _gauss_psf((25, 25), 3) if psf is None else np.asarray(getattr(psf, "array", psf))
    nothing, exposure = np.zeros(flux.shape), np.ones(flux.shape)
    return _observed(_blurred(flux, kernel), kernel, exposure, nothing, flux, random_state)


def chandra_gc(obs_id: int = 4683, cutout: bool = True) -> Data:
    """Read the Galactic Centre as seen by Chandra, with its coordinates as ``wcs``.

    Parameters
    ----------
    obs_id
        Observation, 4683 or 4684.
    cutout
        Whether to cut out the middle 128 x 128 pixels, and 17 x 17 of the PSF, instead of all
        256 x 256 and 48 x 48.

    Raises
    ------
    DataError
        If there is no such observation.
    FileError
        If it is not on this machine; ``skyfold data get chandra-gc-4684`` brings it.
    """
    from astropy.io import fits

    from skyfold.geometry import celestial_wcs

    if obs_id not in CHANDRA:
        raise DataError(f"obs_id {obs_id} is none of {', '.join(map(str, CHANDRA))}")
    files = _kept(CHANDRA[obs_id])
    with fits.open(files[f"chandra-counts-obs-id-{obs_id}.fits.gz"]) as opened:
        counts, wcs = opened[0].data, celestial_wcs(opened[0].header)
    psf = fits.getdata(files[f"chandra-psf-obs-id-{obs_id}.fits.gz"])
    if cutout:
        counts, psf = counts[CHANDRA_CUT], psf[CHANDRA_PSF_CUT]
        wcs = None if wcs is None else wcs[CHANDRA_CUT]
    return {
        "counts": counts.astype(np.int64),
        "psf": psf.astype(float),
        "exposure": np.ones(counts.shape),
        "background": np.zeros(counts.shape),
        "wcs": wcs,
    }


def _exposed(
    flux: Array,
    exposure: Array,
    shape_psf: tuple[int, int],
    sigma_psf: float,
    background_level: float,
    random_state: np.random.RandomState | None,
) -> Data:
    """Observe source and background together through exposure and PSF."""
    psf, background = _gauss_psf(shape_psf, sigma_psf), np.full(flux.shape, float(background_level))
    expected = _blurred((flux + background) * exposure, psf)
    return _observed(expected, psf, exposure, background, flux, random_state)


def _observed(
    expected: Array,
    psf: Array,
    exposure: Array,
    background: Array,
    flux: Array,
    random_state: np.random.RandomState | None,
) -> Data:
    random_state = random_state or np.random.RandomState()
    counts = random_state.poisson(expected)
    return {
        "counts": counts,
        "psf": psf,
        "exposure": exposure,
        "background": background,
        "flux": flux,
    }


def _blurred(image: Array, psf: Array) -> Array:
    """Return the convolution; outside the image it is dark.

    It is summed directly: noise of an FFT where nothing shines would shift the random numbers.
    """
    from scipy.signal import convolve2d

    return np.asarray(convolve2d(image, psf, mode="same"))


def _gauss_psf(shape: tuple[int, int], sigma: float) -> Array:
    """Return a Gaussian sampled at the pixel centres, of sum one."""
    y, x = np.indices(shape)
    squares = (y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2
    kernel = np.exp(-0.5 * squares / sigma**2)
    return np.asarray(kernel / kernel.sum())


def _gradient(size: int) -> Array:
    return 1 + 0.5 * np.linspace(-1, 1, size)


def _fine_coordinates(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return y and x of `OVERSAMPLING` points per pixel, counted from the middle of the image."""
    y, x = ((np.arange(n * OVERSAMPLING) + 0.5) / OVERSAMPLING - n / 2 for n in shape)
    return y[:, None], x[None, :]


def _coarse(fine: Array) -> Array:
    """Return the means over the points of each pixel."""
    ny, nx = (n // OVERSAMPLING for n in fine.shape)
    return np.asarray(fine.reshape(ny, OVERSAMPLING, nx, OVERSAMPLING).mean(axis=(1, 3)))


def _kept(name: str) -> dict[str, Path]:
    """Return the files of a public data set on this machine."""
    from skyfold import datasets
    from skyfold.registry import default_registry

    found = datasets.locate(name, default_registry().datasets[name])
    if found is None:
        raise FileError(
            f"the data set {name} is not on this machine, or damaged: `skyfold data get {name}`"
        )
    return found
