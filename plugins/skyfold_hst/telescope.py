"""A telescope like Hubble, and a field for it to look at: for the demo, tutorials and tests."""

from __future__ import annotations

import numpy as np

from skyfold.simulate import generator
from skyfold.vector import Array
from skyfold_image.scenes import gauss, spiral_galaxy

GRAIN = 3  # points at which light is worked out, for each pixel along an axis
JITTER = 0.35  # pixels
OBSCURED, VANE = 0.33, 0.022  # secondary mirror and half its vanes, of the radius of the mirror
PADS, PAD = ((0.87, 0.16), (-0.3, 0.86), (-0.57, -0.78)), 0.065  # that hold the mirror


def telescope_psf(size: int, core: float = 2.3) -> Array:
    """Return the PSF of an obscured mirror with vanes, in focus; its sum is one.

    It is the Fourier transform of the pupil, squared: a core in rings, with four spikes. Pixels
    gather what falls on them, while the pointing jitters.

    Parameters
    ----------
    size
        Pixels along each side, even; the peak is on pixel ``size / 2``, counted from 1.
    core
        Wavelength over diameter in pixels, about the full width of the core at half maximum. From
        2 on the PSF is well sampled.
    """
    n = GRAIN * size
    frequency = np.fft.fftfreq(n)
    radius = 0.5 / (GRAIN * core)  # of the pupil, in cycles from point to point
    y, x = frequency[:, None] / radius, frequency / radius
    distance = np.hypot(y, x)
    pupil = (distance < 1) & (distance > OBSCURED) & (abs(x) > VANE) & (abs(y) > VANE)
    for right, up in PADS:
        pupil &= np.hypot(y - up, x - right) > PAD
    light = np.abs(np.fft.fft2(pupil)) ** 2
    along = np.sinc(GRAIN * frequency) * np.exp(-2 * (np.pi * JITTER * GRAIN * frequency) ** 2)
    seen = np.fft.ifft2(np.fft.fft2(light) * along[:, None] * along).real
    psf = np.roll(np.maximum(seen[::GRAIN, ::GRAIN], 0), size // 2 - 1, (0, 1))
    unit: Array = psf / psf.sum()
    return unit


def field(y: Array, x: Array) -> Array:
    """Return a spiral galaxy with knots in its arms, over a level: counts per pixel."""
    light: Array = 120 * spiral_galaxy(y, x) + 15
    for row, column, flux in ((-14, 9, 900), (6, -22, 700), (17, 12, 500)):
        light = light + flux * gauss(y - row, x - column, 7.0)
    return light


def stars(seed: int, number: int, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return x and y of stars, shape ``(number, 2)``, and their fluxes, from 600 to 30000 counts.

    Every other one lies in the middle of a pixel. None is nearer to another than three pixels, or
    to the border than six.
    """
    rng, places = generator(seed, "stars"), np.zeros((0, 2))
    while len(places) < number:
        trial = rng.uniform(6, np.array(shape[::-1]) - 7)
        trial = np.rint(trial) if len(places) % 2 == 0 else trial
        if np.all(np.hypot(*(places - trial).T) > 3):
            places = np.vstack([places, trial])
    return places, rng.permutation(np.geomspace(600, 30_000, number))
