"""Shapes of point-spread functions with few parameters, and kernels seen as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.vector import Array

STEP = 1e-4  # of a difference quotient
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)  # within a pixel, along each axis


@dataclass(frozen=True, eq=False)
class Profile:
    """Kernels of one shape around a fixed centre, integrated over pixels, as a function of numbers.

    The numbers are ln(full width at half maximum), of a Moffat profile (Moffat 1969) also
    ln(beta - 1), and, unless it is round, the elongation along the axes and along the diagonals.
    With an elongation the width is the geometric mean of the longest and the shortest.

    Parameters
    ----------
    kind
        ``moffat`` or ``gaussian``.
    shape
        Shape of the kernel, ``(x,)`` or ``(y, x)``.
    centre
        Position of the centre, in pixels of the kernel, one for each axis.
    total
        Sum of the kernel.
    round
        Whether the width is the same in all directions.
    within
        True for the elements that may be other than zero.
    """

    kind: Literal["moffat", "gaussian"]
    shape: tuple[int, ...]
    centre: tuple[float, ...]
    total: float
    round: bool
    within: Array

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Smallest and largest numbers allowed."""
        low, high = [np.log(0.2)], [np.log(2.0 * max(self.shape))]
        if self.kind == "moffat":
            low, high = [*low, np.log(0.1)], [*high, np.log(30.0)]
        if self._elongated:
            low, high = [*low, -0.8, -0.8], [*high, 0.8, 0.8]
        return np.array(low), np.array(high)

    @property
    def _elongated(self) -> bool:
        return len(self.shape) == 2 and not self.round

    def kernel(self, numbers: Array) -> Array:
        """Return the kernel of these numbers."""
        fwhm, elongation = np.exp(numbers[0]), numbers[-2:] if self._elongated else np.zeros(2)
        x = np.arange(self.shape[-1]) - self.centre[-1]
        y = np.arange(self.shape[0]) - self.centre[0] if len(self.shape) == 2 else np.zeros(1)
        weights = WEIGHTS if len(self.shape) == 2 else [2.0]
        kernel = np.zeros((y.size, x.size))
        for dy, wy in zip(NODES if len(self.shape) == 2 else [0.0], weights, strict=True):
            for dx, wx in zip(NODES, WEIGHTS, strict=True):
                u, v = (x + dx / 2)[None, :], (y + dy / 2)[:, None]
                kernel += (
                    wx * wy * self._value(_squared_radius(u, v, elongation) / fwhm**2, numbers)
                )
        kernel = np.where(self.within, kernel.reshape(self.shape), 0)
        normal: Array = kernel * (self.total / kernel.sum())
        return normal

    def _value(self, squared: Array, numbers: Array) -> Array:
        """Return the profile at squared radii in units of the width."""
        if self.kind == "gaussian":
            value: Array = np.exp(-0.5 * squared * FWHM_PER_SIGMA**2)
            return value
        beta = 1 + np.exp(numbers[1])
        wings: Array = (1 + 4 * squared * (2 ** (1 / beta) - 1)) ** -beta
        return wings

    def slopes(self, numbers: Array) -> Array:
        """Return the derivatives of the kernel by each number, along the first axis."""
        steps = STEP * np.eye(numbers.size)
        return np.stack(
            [(self.kernel(numbers + d) - self.kernel(numbers - d)) / (2 * STEP) for d in steps]
        )

    def fit(self, kernel: Array) -> Array:
        """Return the numbers whose kernel is nearest to a given one, in least squares."""
        from scipy.optimize import least_squares

        low, high = self.bounds
        start = np.clip(np.zeros(low.size), low, high)
        start[0] = np.clip(np.log(half_width(kernel)), low[0], high[0])
        if self.kind == "moffat":
            start[1] = np.log(2.0)
        peak = float(np.max(kernel))
        found = least_squares(
            lambda numbers: ((self.kernel(numbers) - kernel) / peak).ravel(),
            start,
            bounds=(low, high),
        )
        numbers: Array = found.x
        return numbers

    def widened(self, numbers: Array, factor: float) -> Array:
        """Return the numbers of the same shape, so many times as wide."""
        wider = numbers.copy()
        wider[0] += np.log(factor)
        return wider


def _squared_radius(x: Array, y: Array, elongation: Array) -> Array:
    """Return the squared radius in the metric in which an elongated profile is round."""
    along, across = elongation
    norm = np.sqrt(1 - np.tanh(np.hypot(along, across)) ** 2)
    scale = np.tanh(np.hypot(along, across)) / max(np.hypot(along, across), 1e-12)
    squared: Array = (
        (1 - scale * along) * x**2 + (1 + scale * along) * y**2 - 2 * scale * across * x * y
    ) / norm
    return squared


def half_width(kernel: Array) -> float:
    """Return the width of all that is above half the maximum: of a disk of the same area."""
    above = float(np.count_nonzero(kernel >= 0.5 * np.max(kernel)))
    return above if kernel.ndim == 1 else 2 * np.sqrt(above / np.pi)


def centroid(kernel: Array) -> tuple[float, ...]:
    """Return the centre of gravity in pixels, one number for each axis."""
    total = kernel.sum()
    return tuple(float((place * kernel).sum() / total) for place in np.indices(kernel.shape))


def stretched(kernel: Array, factor: float) -> Array:
    """Return a kernel so many times as wide, around its centroid, with the same sum."""
    from scipy.ndimage import affine_transform

    middle = np.array(centroid(kernel))
    wide = affine_transform(
        kernel, np.eye(kernel.ndim) / factor, middle - middle / factor, order=3, mode="constant"
    )
    wide = np.maximum(wide, 0)
    same_sum: Array = wide * (kernel.sum() / wide.sum())
    return same_sum


def fwhm_of(kernel: Array) -> float:
    """Return the full width at half maximum in pixels, of the round Moffat profile nearest to it.

    Raises
    ------
    DataError
        If there are several kernels, one for each energy.
    """
    if kernel.ndim > 2:
        raise DataError("a PSF for each energy has no one width; restore one energy at a time")
    everywhere = np.ones(kernel.shape, bool)
    total = float(kernel.sum())
    profile = Profile("moffat", kernel.shape, centroid(kernel), total, True, everywhere)
    return float(np.exp(profile.fit(kernel)[0]))


def balanced(kernel: Array, like: Array) -> Array:
    """Return a kernel with the sum and the centroid of another.

    It is multiplied by an exponential of the position, which keeps it positive; the exponent is
    found by Newton steps.
    """
    if kernel.ndim > 2:
        return np.stack([balanced(k, own) for k, own in zip(kernel, like, strict=True)])
    middle = np.array(centroid(like))
    away = np.indices(kernel.shape).reshape(kernel.ndim, -1) - middle[:, None]
    weight, tilt = kernel.ravel(), np.zeros(kernel.ndim)
    for _ in range(20):
        tilted = weight * np.exp(tilt @ away)
        tilted /= tilted.sum()
        off = away @ tilted
        spread = (away * tilted) @ away.T - np.outer(off, off)
        tilt = tilt - np.linalg.lstsq(spread, off, rcond=1e-10)[0]
        if np.max(np.abs(off)) < 1e-12 * max(kernel.shape):
            break
    put_back: Array = (tilted * like.sum()).reshape(kernel.shape)
    return put_back


def mirrored(kernel: Array) -> Array:
    """Return the mean of a kernel and its reflections about the middle pixel."""
    axes = range(kernel.ndim)[-2:]
    if any(kernel.shape[axis] % 2 == 0 for axis in axes):
        raise ConfigError("round needs a PSF with an odd number of pixels along each side")
    for axis in axes:
        kernel = (kernel + np.flip(kernel, axis)) / 2
    if len(axes) == 2 and kernel.shape[-1] == kernel.shape[-2]:
        kernel = (kernel + np.swapaxes(kernel, -1, -2)) / 2
    return kernel
