"""The blur of an image, that floating priors compare it with: by a Gaussian, or by any kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.geometry import FWHM_PER_SIGMA, Geometry, Grid
from skyfold.kept import Kept
from skyfold.model import Component
from skyfold.options import Length, build
from skyfold.priors.raised import SMALLEST
from skyfold.priors.reference import image_in
from skyfold.vector import Array

NOISE = 16 * float(np.finfo(np.float64).eps)  # rounding of a Fourier transform, of the largest


class Blur(ABC):
    """A linear map of images that keeps their sum, and what is above zero so."""

    @abstractmethod
    def __call__(self, values: Array, geometry: Geometry) -> Array:
        """Return the blurred values."""

    def transposed(self, values: Array, geometry: Geometry) -> Array:
        """Return the transpose of the map, here itself."""
        return self(values, geometry)

    def floor(self, top: float) -> float:
        """Return the level below which blurred values are rounding; ``top`` is the largest."""
        return max(NOISE * top, SMALLEST)

    def above_noise(self, level: Array) -> Array:
        """Return blurred values, raised where they are no more than rounding."""
        floor = self.floor(float(np.max(level, initial=0.0)))
        return level if np.min(level, initial=floor) >= floor else np.maximum(level, floor)

    def within(self, component: Component) -> Confined:
        """Return the blur inside the mask of a component."""
        return self._confined.of(component, lambda: Confined(self, component))

    @cached_property
    def _confined(self) -> Kept[Component, Confined]:
        return Kept()


class Confined:
    """A blur G inside the mask M of a component: ``m = M G x + x (1 - G^T M)``.

    What would fall outside stays where it came from. So the sum is kept, what is above zero stays
    so, and a flat sky stays flat, if G is its own transpose. Without a mask it is G.

    Parameters
    ----------
    blur
        The blur G.
    component
        Whose values are blurred.
    """

    def __init__(self, blur: Blur, component: Component) -> None:
        self.blur, self.geometry, self.mask = blur, component.geometry, component.mask
        self._last: Blurred | None = None

    def __call__(self, values: Array) -> Array:
        """Return the blurred values, zero outside."""
        if self.mask is None:
            return self.blur(values, self.geometry)
        moved: Array = self.mask * self.blur(self.mask * values, self.geometry)
        moved += self._kept * values
        return moved

    def transposed(self, values: Array) -> Array:
        """Return the transpose of the map, zero outside too."""
        if self.mask is None:
            return self.blur.transposed(values, self.geometry)
        moved: Array = self.mask * self.blur.transposed(self.mask * values, self.geometry)
        moved += self._kept * values
        return moved

    def at(self, values: Array) -> Blurred:
        """Return the blurs of these values: kept, for value and slope are asked one by one."""
        if self._last is None or not np.array_equal(self._last.values, values):
            self._last = Blurred(self, values.copy())
        return self._last

    @cached_property
    def _kept(self) -> Array:
        """The share of each value that would fall outside."""
        inside = np.asarray(self.mask, np.float64)
        back: Array = inside * self.blur.transposed(inside, self.geometry)
        return np.maximum(inside - back, 0.0)


@dataclass(frozen=True, eq=False)
class Blurred:
    """Values x, with their blur m above rounding, and ``G^T(x / m)``, as far as they are wanted."""

    by: Confined
    values: Array

    @cached_property
    def level(self) -> Array:
        """The blur m."""
        return self.by.blur.above_noise(self.by(self.values))

    @cached_property
    def ratio(self) -> Array:
        """The transposed blur of values over m."""
        return self.by.transposed(self.values / self.level)


@dataclass(frozen=True)
class Smoothed(Blur):
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

    def floor(self, top: float) -> float:
        """Return the level below which smoothed values are rounding; ``top`` is the largest."""
        return super().floor(top) if self.cyclic else SMALLEST


@dataclass(frozen=True, eq=False)
class Kernel(Blur):
    """The present image, convolved with a kernel that keeps its sum.

    Parameters
    ----------
    kernel
        What a point becomes: a FITS image or an array of pixels as large as those of the sky, as
        the PSF of a coarser telescope. Its middle pixel, the lower one of two, is where the point
        is; its sum does not matter.
    cyclic
        Let light that leaves at one edge come in at the other, instead of reflecting it.
    """

    kernel: Path | Any
    cyclic: bool = False

    def __call__(self, values: Array, geometry: Geometry) -> Array:
        """Return the convolved values."""
        from scipy.signal import fftconvolve

        kernel, places = self._on(geometry)
        axes = tuple(range(-len(places), 0))
        spread: Array = fftconvolve(values, kernel, axes=axes)
        for axis, place in zip(axes, places, strict=True):
            spread = np.moveaxis(spread, axis, 0)
            folded = np.zeros((geometry.shape[axis], *spread.shape[1:]))
            np.add.at(folded, place, spread)
            spread = np.moveaxis(folded, 0, axis)
        return np.ascontiguousarray(spread)

    def transposed(self, values: Array, geometry: Geometry) -> Array:
        """Return the values correlated with the kernel, those beyond the edges as reflected."""
        from scipy.signal import fftconvolve

        kernel, places = self._on(geometry)
        axes = tuple(range(-len(places), 0))
        around: Any = (..., *np.ix_(*places))
        spread = fftconvolve(values[around], np.flip(kernel), mode="valid", axes=axes)
        return np.ascontiguousarray(spread)

    def _on(self, geometry: Geometry) -> tuple[Array, tuple[Array, ...]]:
        """Return the kernel, one axis for each of the values, and whither its light falls."""
        if not isinstance(geometry, Grid):
            raise ConfigError(
                f"kernel: an image cannot blur a {type(geometry).__name__}; give a width instead, "
                'as {smooth: "20 deg"}'
            )
        kernel, shape = self._normal, geometry.shape[-2:]
        if kernel.ndim != len(shape):
            raise ConfigError(
                f"kernel: its shape is {kernel.shape}, but the sky has {len(shape)} axes to blur"
            )
        mode: Any = "wrap" if self.cyclic else "symmetric"
        places = tuple(
            np.pad(np.arange(n), ((k - 1) // 2, k // 2), mode=mode)
            for n, k in zip(shape, kernel.shape, strict=True)
        )
        return kernel.reshape((1,) * (len(geometry.shape) - len(shape)) + kernel.shape), places

    @cached_property
    def _normal(self) -> Array:
        """The kernel with a sum of one."""
        given = self.kernel
        kernel = image_in(given) if isinstance(given, str | Path) else np.asarray(given, float)
        wrong = ~(np.isfinite(kernel) & (kernel >= 0))
        if np.any(wrong) or not np.sum(kernel) > 0:
            name = f" {given}" if isinstance(given, str | Path) else ""
            raise DataError(
                f"kernel{name}: {np.count_nonzero(wrong)} of {kernel.size} values are negative or "
                f"no numbers, the sum of all is {np.sum(kernel):g}; it must be above zero, and no "
                "value below"
            )
        return np.asarray(kernel / np.sum(kernel))


def blur_of(options: Mapping[str, Any]) -> Blur:
    """Return the blur that options describe: by a ``kernel``, or a Gaussian (``smooth``).

    Raises
    ------
    ConfigError
        If they describe none, or both, or several widths.
    """
    if isinstance(widths := options.get("smooth"), list | tuple | Mapping):
        several = ", ".join(map(str, widths))
        raise ConfigError(
            f"smooth: one prior compares with one blur, got {several}: give a prior for each width "
            f"(from Python, under names of their own), or the method's own smooth: [{several}]"
        )
    return build(Kernel if "kernel" in options else Smoothed, options)


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
