"""The demos: simulated observations with a known sky, opened by the door that real data take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.binned import BinnedData
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.simulate import Demo, generator, simulate
from skyfold.vector import Array
from skyfold_image.assemble import READ_NOISE, SKY
from skyfold_image.opener import open_image
from skyfold_image.scenes import gauss, landscape, moffat, spiral_galaxy

if TYPE_CHECKING:
    from astropy.io.fits import Header

Sky = Callable[[Array, Array], Array]


def galaxy(seed: int = 1) -> Demo:
    """Simulate a galaxy and 12 stars, with uneven exposure and a flat background."""
    shape = (128, 128)
    y, x = np.indices(shape)
    vignetting = 1 - 0.25 * ((y - 63.5) ** 2 + (x - 63.5) ** 2) / 63.5**2
    options = {
        "psf": "gauss:3.2px",
        "exposure": np.where(np.abs(x - 40) < 2, 0.5, 1.0) * vignetting,
        "background": np.full(shape, 0.15),
    }
    places = generator(seed, "stars").integers(4, 124, (12, 2))

    def sky(y: Array, x: Array) -> Array:
        image = 17 * spiral_galaxy(y - 63.5, x - 63.5)
        for (row, column), flux in zip(places, np.geomspace(80, 800, 12), strict=True):
            image += flux * gauss(y - row, x - column, 1.2)
        return image

    return Demo(
        "galaxy",
        "a spiral galaxy and 12 stars in 128 x 128 pixels: Gaussian PSF of 3.2 pixels, "
        "uneven exposure, flat background",
        *_observed("galaxy", shape, options, sky, seed),
        {"name": "rl"},
        50,
    )


def chandra_like(seed: int = 1) -> Demo:
    """Simulate a jet beside a bright core, seen through a PSF with wide wings."""
    shape = (96, 128)
    v, u = np.indices((65, 65)) - 32
    psf = 0.85 * gauss(v, u, 2.6, 0.8, 0.6) + 0.15 * moffat(v, u, 5.0, 1.6)

    def sky(y: Array, x: Array) -> Array:
        y, x = y - 40, x - 40
        image: Array = 4000 * gauss(y, x, 1.0) + 400 * gauss(y - 12, x - 32, 55, 0.12, 0.35) + 0.02
        for distance, flux, width in ((16, 90, 2), (26, 130, 3), (33, 60, 2), (45, 200, 3)):
            image = image + flux * gauss(y - 0.36 * distance, x - distance, width)
        return image

    header = _header(shape, 0.246, (187.706, 12.391))
    return Demo(
        "chandra-like",
        "an X-ray jet beside a core that outshines it, in pixels of 0.246 arcsec: "
        "the PSF has wide wings",
        *_observed("chandra-like", shape, {"psf": psf / psf.sum()}, sky, seed, header=header),
        {"name": "rl"},
        100,
    )


def fermi_like(seed: int = 1) -> Demo:
    """Simulate a crowded gamma-ray field at three energies."""
    shape = (3, 64, 96)
    width, level = np.array([7.0, 4.0, 2.4]), np.array([1.0, 0.35, 0.12])[:, None, None]
    v, u = np.indices((33, 33)) - 16
    y, x = np.indices(shape[1:])
    psf = np.stack([0.8 * gauss(v, u, w) + 0.2 * moffat(v, u, 1.5 * w, 2) for w in width])
    options = {
        "psf": psf / psf.sum(axis=(1, 2), keepdims=True),
        "exposure": np.array([0.8, 1.0, 1.1])[:, None, None] * (0.9 + 0.2 * x / 95),
        "background": level * (0.4 + 1.6 * np.exp(-0.5 * ((y - 32) / 7) ** 2)),
        "fit_background": True,
    }
    rng = generator(seed, "stars")
    rows, columns = rng.normal(31.5, 9, 14).clip(2, 61), rng.uniform(3, 92, 14)
    hardness = rng.uniform(0.5, 1.2, 14)

    def sky(y: Array, x: Array) -> Array:
        image = np.zeros((3, *y.shape))
        for row, column, flux, slope in zip(
            rows, columns, np.geomspace(100, 1500, 14), hardness, strict=True
        ):
            image += flux * level**slope * gauss(y - row, x - column, 2.0)
        return image

    def near(y: Array, x: Array) -> Array:
        distance = np.hypot(y[..., None] - rows, x[..., None] - columns)
        return np.asarray(distance.min(axis=-1) < 3.5)

    header = _header(shape, 180.0, (266.4, -29.0))
    return Demo(
        "fermi-like",
        "14 gamma-ray sources of known places at three energies with PSF, exposure and background "
        "of their own, and a background normalisation to be fitted",
        *_observed("fermi-like", shape, options, sky, seed, header=header, region=near, scale=1.25),
        {"name": "rl"},
        100,
    )


def photo(seed: int = 1) -> Demo:
    """Simulate a photograph in data numbers, of a scene with fine spokes and letters."""
    shape, white, gain, read_noise = (128, 192), 1500.0, 2.0, 6.0
    options = {"psf": "gauss:3px", "gain": gain, "read_noise": read_noise}

    def sky(y: Array, x: Array) -> Array:
        return white * landscape(shape[0] - 1 - y, x, shape)  # photographs begin at the top

    def camera(electrons: Array) -> Array:
        noise = generator(seed, "read noise").normal(0, read_noise, shape)
        return np.rint((electrons + noise) / gain)

    return Demo(
        "photo",
        "a photograph out of focus, in data numbers of 2 electrons, with a read noise of 6",
        *_observed("photo", shape, options, sky, seed, camera=camera),
        {"name": "rl"},
        40,
    )


def point_source(seed: int = 1) -> Demo:
    """Simulate one point source behind a wide PSF, whose posterior is drawn."""
    shape = (32, 32)
    v, u = np.indices((29, 29)) - 14
    psf = gauss(v, u, 3 * FWHM_PER_SIGMA)
    options = {"psf": psf / psf.sum(), "background": np.full(shape, 2.0)}

    def sky(y: Array, x: Array) -> Array:
        return np.where((y == 16) & (x == 16), 1000.0, 0.0)

    return Demo(
        "point-source",
        "one point of 1000 counts behind a Gaussian PSF with a sigma of 3 pixels, on a background "
        "of 2 counts per pixel: images drawn from the posterior, and their error bars",
        *_observed("point-source", shape, options, sky, seed),
        {"name": "lira", "burn": 300, "draws": 700},
        1000,
    )


def _observed(
    name: str,
    shape: tuple[int, ...],
    options: Mapping[str, Any],
    sky: Sky,
    seed: int,
    *,
    header: Header | None = None,
    region: Sky | None = None,
    scale: float = 1.0,
    camera: Callable[[Array], Array] = np.asarray,
) -> tuple[BinnedData, dict[str, Array]]:
    """Return simulated data, opened like real ones, and the truth they were drawn from.

    Parameters
    ----------
    name, shape
        Name and shape of the data.
    options
        What `open_image` takes.
    sky
        The true sky at any pixel coordinates.
    seed
        Seed of the counts.
    header
        Coordinates of the counts.
    region
        Not zero where the sky may shine; everywhere by default.
    scale
        True normalisation of a background that is fitted.
    camera
        Turns whole counts into the values that are read out.
    """
    from astropy.io import fits

    def opened(values: Array) -> BinnedData:
        image = values if header is None else fits.ImageHDU(values, header)
        return open_image(image, name=name, **options)

    blank = opened(np.ones(shape))
    truth, drawn = {}, {}
    for part, component in blank.components.items():
        grid = component.geometry
        values = sky(*_coordinates(grid)) if isinstance(grid, Grid) else np.full(grid.shape, scale)
        truth[part] = np.ones_like(values) if component.fixed else values
        drawn[part] = 0 * values if part == READ_NOISE else truth[part]  # the camera adds it
    data = opened(camera(simulate(blank, drawn, seed)))
    return data if region is None else _confined(data, region), truth


def _confined(data: BinnedData, region: Sky) -> BinnedData:
    """Return the same data, whose sky may shine in a region only."""
    sky = data.components[SKY]
    grid = sky.geometry
    assert isinstance(grid, Grid)
    mask = np.broadcast_to(region(*_coordinates(grid)) != 0, grid.shape)
    mask = mask if sky.mask is None else mask & sky.mask
    components = {**data.components, SKY: replace(sky, mask=mask)}
    return BinnedData(
        data.full_counts, data.whole, data.weight, components=components, origin=data.origin
    )


def _coordinates(grid: Grid) -> tuple[Array, Array]:
    """Return y and x of the pixels, counted from the first one that the data cover."""
    y, x = np.indices(grid.shape[-2:])
    if grid.field is not None:
        top, left = (part.start or 0 for part in grid.field[-2:])
        y, x = y - top, x - left
    return y, x


def _header(shape: tuple[int, ...], pixel: float, centre: tuple[float, float]) -> Header:
    """Return coordinates: pixels in arcsec, right ascension and declination of the middle."""
    from astropy.io import fits

    ny, nx = shape[-2:]
    cards = {
        "CTYPE1": "RA---TAN", "CRVAL1": centre[0], "CRPIX1": (nx + 1) / 2, "CDELT1": -pixel / 3600,
        "CTYPE2": "DEC--TAN", "CRVAL2": centre[1], "CRPIX2": (ny + 1) / 2, "CDELT2": pixel / 3600,
        "CUNIT1": "deg", "CUNIT2": "deg",
    }  # fmt: skip
    return fits.Header(cards)
