"""Entropy: nothing is known but a level, an image, or that the sky resembles its own blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import e
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.geometry import FWHM_PER_SIGMA, Geometry, Grid
from skyfold.options import Length, build
from skyfold.priors import Prior
from skyfold.priors.reference import on_places
from skyfold.vector import Array

SMALLEST = float(np.finfo(np.float32).tiny)
NOISE = 16 * float(np.finfo(np.float64).eps)  # rounding of a Fourier transform, of the largest


@dataclass(frozen=True)
class Smoothed:
    """The present image, smoothed by a Gaussian that keeps its sum.

    Parameters
    ----------
    smooth
        Full width at half maximum, as an angle or in pixels: "5 pix".
    cyclic
        Let light that leaves at one edge come in at the other, as PLUCY does, instead of holding
        it back. The Gaussian is sampled, and ends at five sigma and at half the size of the image.
    """

    smooth: Length
    cyclic: bool = False

    def __call__(self, values: Array, geometry: Geometry) -> Array:
        """Return the smoothed values; the map is its own transpose."""
        if not self.cyclic:
            return geometry.smooth(values, self.smooth)
        if not isinstance(geometry, Grid):
            raise ConfigError(f"smooth: {type(geometry).__name__} has no edges to be cyclic at")
        sigma = geometry.pixels(self.smooth) / FWHM_PER_SIGMA
        return _convolved(values, _transfer(geometry.shape[-2:], sigma))

    def above_noise(self, level: Array) -> Array:
        """Return smoothed values, raised where they are no more than rounding."""
        floor = self.floor(float(np.max(level, initial=0.0)))
        return level if np.min(level, initial=floor) >= floor else np.maximum(level, floor)

    def floor(self, top: float) -> float:
        """Return the level below which smoothed values are rounding; ``top`` is the largest."""
        return max(NOISE * top if self.cyclic else 0.0, SMALLEST)

    def at(self, values: Array, geometry: Geometry) -> Blurred:
        """Return the blurs of these values: kept, for value and slope are asked one by one."""
        last = self._last.get(geometry)
        if last is None or not np.array_equal(last.values, values):
            last = self._last[geometry] = Blurred(self, values.copy(), geometry)
        return last

    @cached_property
    def _last(self) -> dict[Geometry, Blurred]:
        return {}


@dataclass(frozen=True, eq=False)
class Blurred:
    """Values x, with their blur m above rounding, and ``G(x / m)``, as far as they are wanted."""

    smoothed: Smoothed
    values: Array
    geometry: Geometry

    @cached_property
    def level(self) -> Array:
        """The blur m."""
        return self.smoothed.above_noise(self.smoothed(self.values, self.geometry))

    @cached_property
    def ratio(self) -> Array:
        """The blur of values over m."""
        return self.smoothed(self.values / self.level, self.geometry)


@lru_cache(maxsize=8)
def _transfer(shape: tuple[int, ...], sigma: float) -> Array:
    """Return the half spectrum of a Gaussian of pixels, cut at five sigma; it is real."""
    from scipy.fft import rfftn

    away = [np.minimum(np.arange(n), n - np.arange(n)) for n in shape]  # of a period
    square = np.asarray(sum(axis**2 for axis in np.ix_(*away)))
    kernel = np.where(square < 25 * sigma**2, np.exp(-square / (2 * sigma**2)), 0.0)
    return np.ascontiguousarray(rfftn(kernel / kernel.sum()).real)


def _convolved(values: Array, transfer: Array) -> Array:
    """Return values convolved on the period of their last axes, by ducc0 where it is installed."""
    axes, length = tuple(range(-transfer.ndim, 0)), values.shape[-1]
    try:
        from ducc0.fft import c2r, r2c
    except ImportError:
        from scipy.fft import fftn, ifftn, irfft, rfft

        spectrum = fftn(rfft(values), axes=axes[:-1], overwrite_x=True)
        spectrum *= transfer
        image: Array = irfft(ifftn(spectrum, axes=axes[:-1], overwrite_x=True), length)
    else:
        spectrum = r2c(values, axes=axes)
        spectrum *= transfer
        options = {"forward": False, "inorm": 2, "allow_overwriting_input": True}
        image = c2r(spectrum, axes=axes, lastsize=length, **options)
    return image


@dataclass(frozen=True)
class Entropy(Prior):
    """Relative entropy towards m, a level or an image: ``c sum x (1 - log(x / m))``, largest at m.

    With ``{smooth: "5 pix"}`` the image is the present one, smoothed: a floating reference (Lucy
    1994, in The Restoration of HST Images and Spectra II, 79). What is smooth on that scale then
    costs nothing, at any level, and the value ``-c sum x log(x / m)`` is differentiated through m
    too. It grows with the image: at the maximum the expected counts fall short of the observed
    ones by minus the value. With c = 1, in counts, a departure from m costs as much as one of the
    data by Poisson noise.

    Concave with each reference. Its slope is infinite at zero: the maximum has no zeros. A step
    that multiplies never leaves zero, so start above (Skilling & Bryan 1984, MNRAS 211, 111).

    Parameters
    ----------
    coefficient
        Strength c, per unit of the component.
    reference
        What the values are drawn to, m, in the unit of the component: a number; a FITS image or
        HEALPix map, or an array, shaped like the restored image or the whole model grid, all above
        zero, without energies the same for all; or ``{smooth: "5 pix"}``, the full width at half
        maximum by which the present image is smoothed, with ``cyclic: true`` around its edges.
    components
        Names of the components; by default all skies.

    Raises
    ------
    ConfigError
        If the reference is none of these.
    """

    coefficient: Annotated[float, Field(ge=0)]
    reference: Annotated[float, Field(gt=0)] | Path | Any
    components: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        match self.reference:
            case Mapping():
                object.__setattr__(self, "reference", build(Smoothed, self.reference))
            case str() | Path() | Smoothed():
                pass
            case bool() | None:
                raise ConfigError(f"reference: expected a level or an image, got {self.reference}")
            case level if np.ndim(level) == 0 and not level > 0:
                raise ConfigError(f"reference: expected a number greater than 0, got {level}")

    def value(self, values: Array, geometry: Geometry) -> float:
        """Return the log-density; a value of zero adds zero."""
        log = np.log(np.maximum(values, SMALLEST) / self._raised(values, geometry))
        constant = 0 if self.floats else 1
        return self.coefficient * float(np.sum(values * (constant - log)))

    def gradient(self, values: Array, geometry: Geometry) -> Array:
        """Return ``-c log(x / m)``; with a floating m ``c (G(x / m) - 1 - log(x / m))``."""
        slope: Array = np.log(np.maximum(values, SMALLEST) / self._raised(values, geometry))
        if self.floats:
            slope += 1 - self._blurred.at(values, geometry).ratio
        return -self.coefficient * slope

    def curvature(self, values: Array, geometry: Geometry) -> Array:
        """Return ``c / x``; with a floating m ``2 c (1 + G(x / m)) / x``."""
        bend: Array = self.coefficient / np.maximum(values, SMALLEST)
        if self.floats:
            bend *= 2 + 2 * self._blurred.at(values, geometry).ratio
        return bend

    def hessian(self, values: Array, direction: Array, geometry: Geometry) -> Array:
        """Return the second derivative times a direction v: ``-c v / x``, or through m too."""
        change = direction / np.maximum(values, SMALLEST)
        if self.floats:
            level = self._raised(values, geometry)
            moved = self._smooth(direction, geometry) / level
            change -= moved + self._smooth((direction - values * moved) / level, geometry)
        return -self.coefficient * change

    @property
    def floats(self) -> bool:
        """Whether the reference is the present image, smoothed."""
        return isinstance(self.reference, Smoothed)

    @property
    def cheap(self) -> bool:
        """Whether it does without blurs."""
        return not self.floats

    def level(self, values: Array, geometry: Geometry) -> Array:
        """Return m: linear in the values if it floats, the same for all values otherwise."""
        return self._smooth(values, geometry) if self.floats else self._reference_on(geometry)

    def floor(self, top: float) -> float:
        """Return below what a floating m is no more than rounding, if ``top`` is its largest."""
        return self._blurred.floor(top)

    def lift(self, values: Array, geometry: Geometry) -> float:
        """Return ``c sum m / e``, which x has at ``m / e``; zero with a floating m."""
        if self.floats:
            return 0.0
        return self.coefficient * float(np.sum(self._reference_on(geometry))) / e

    @property
    def _blurred(self) -> Smoothed:
        return cast(Smoothed, self.reference)

    def _smooth(self, values: Array, geometry: Geometry) -> Array:
        return self._blurred(values, geometry)

    def _raised(self, values: Array, geometry: Geometry) -> Array:
        if self.floats:
            return self._blurred.at(values, geometry).level
        return self._reference_on(geometry)

    def _reference_on(self, geometry: Geometry) -> Array:
        if geometry not in self._placed:
            self._placed[geometry] = on_places(self.reference, geometry)
        return self._placed[geometry]

    @cached_property
    def _placed(self) -> dict[Geometry, Array]:
        return {}
