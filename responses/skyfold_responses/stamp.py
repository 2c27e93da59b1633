"""Moving and cutting the stamps that hold point spread functions, shape ``(plane, y, x)``."""

from __future__ import annotations

import numpy as np

from skyfold.vector import Array


def centroids(planes: Array) -> Array:
    """Return the centroid (y, x) of each plane, shape ``(plane, 2)``."""
    axes = np.indices(planes.shape[1:]).reshape(2, -1)
    light = planes.reshape(len(planes), -1)
    found: Array = light @ axes.T / light.sum(axis=1, keepdims=True)
    return found


def peaks(planes: Array) -> Array:
    """Return the brightest pixel (y, x) of each plane, shape ``(plane, 2)``."""
    brightest = planes.reshape(len(planes), -1).argmax(axis=1)
    return np.stack(np.unravel_index(brightest, planes.shape[1:]), axis=1).astype(float)


def placed(planes: Array, where: Array) -> Array:
    """Pad with zeros so that the pixel nearest to ``where`` becomes the middle one."""
    shape = np.array(planes.shape[1:])
    reference = np.rint(where).astype(int)
    half = np.maximum(reference, shape - 1 - reference).max(axis=0)
    wide = np.zeros((len(planes), *(2 * half + 1)))
    for plane, target, (y, x) in zip(planes, wide, half - reference, strict=True):
        target[y : y + shape[0], x : x + shape[1]] = plane
    return wide


def resampled(planes: Array, where: Array, ratio: float) -> Array:
    """Share the light of each pixel among pixels ``1 / ratio`` times as wide, by area.

    The place ``where`` comes to lie on the middle of the middle pixel.
    """
    shape = np.array(planes.shape[1:])
    reach = np.maximum(where + 0.5, shape - 0.5 - where).max(axis=0) * ratio
    half = np.where(shape > 1, np.ceil(reach - 0.5 - 1e-9), 0).astype(int)
    coarse = np.empty((len(planes), *(2 * half + 1)))
    for plane, target, middle in zip(planes, coarse, where, strict=True):
        rows, columns = (
            _overlap(n, c, ratio, h) for n, c, h in zip(shape, middle, half, strict=True)
        )
        target[:] = rows @ plane @ columns.T
    return coarse


def cropped(planes: Array, shape: tuple[int, ...]) -> Array:
    """Return the largest part around the middle whose sides are odd and within a shape (y, x)."""
    parts = []
    for size, most in zip(planes.shape[1:], shape, strict=True):
        middle, reach = (size - 1) // 2, (most - 1) // 2
        parts.append(slice(max(middle - reach, 0), middle + reach + 1))
    return planes[:, *parts]


def is_wrapped(plane: Array) -> bool:
    """Tell whether the peak lies in a corner while the other corners hold light as well."""
    long = [axis for axis in (0, 1) if plane.shape[axis] > 2]
    peak = np.unravel_index(np.argmax(plane), plane.shape)
    if not long or any(
        min(peak[a], plane.shape[a] - 1 - peak[a]) > plane.shape[a] // 8 for a in long
    ):
        return False
    if plane[tuple(n // 2 for n in plane.shape)] > 0.5 * plane.max():
        return False
    light = []
    for sides in np.ndindex(*(2,) * len(long)):
        corner = [slice(None), slice(None)]
        for axis, side in zip(long, sides, strict=True):
            width = max(1, plane.shape[axis] // 4)
            corner[axis] = slice(-width, None) if side else slice(width)
        light.append(plane[tuple(corner)].sum())
    return bool(min(light) > 0.01 * max(light) and sum(light) > plane.sum() / 2)


def unwrapped(plane: Array) -> Array:
    """Roll the peak to the middle."""
    peak = np.unravel_index(np.argmax(plane), plane.shape)
    return np.roll(plane, [n // 2 - int(p) for n, p in zip(plane.shape, peak, strict=True)], (0, 1))


def ring_level(planes: Array) -> Array:
    """Return the median of the outermost pixels of each plane."""
    sides = zip(np.indices(planes.shape[1:]), planes.shape[1:], strict=True)
    edge = np.any([(i == 0) | (i == n - 1) for i, n in sides if n > 1], axis=0)
    return np.median(planes[:, edge], axis=1) if np.any(edge) else np.zeros(len(planes))


def containment_radius(kernel: Array, fraction: float) -> float:
    """Return the radius in pixels of the disc about the middle that holds a share of the light.

    Pixels are filled from the middle outwards, so that the radius is also meaningful for kernels
    about as wide as a pixel.
    """
    plane = kernel.reshape((1,) * (2 - kernel.ndim) + kernel.shape)
    y, x = (np.arange(n) - (n - 1) / 2 for n in plane.shape)
    order = np.argsort(np.hypot(y[:, None], x).ravel(), kind="stable")
    inside = np.concatenate([[0.0], np.cumsum(plane.ravel()[order])])
    area = float(np.interp(fraction * inside[-1], inside, np.arange(len(inside))))
    return area / 2 if min(plane.shape) == 1 else float(np.sqrt(area / np.pi))


def _overlap(size: int, middle: float, ratio: float, half: int) -> Array:
    """Return which share of each narrow pixel falls on each wide one, along one axis."""
    if size == 1:
        return np.ones((1, 1))
    edges = (np.arange(size + 1) - 0.5 - middle) * ratio
    bins = np.arange(2 * half + 2)[:, None] - half - 0.5
    inside = np.minimum(edges[1:], bins[1:]) - np.maximum(edges[:-1], bins[:-1])
    shares: Array = np.maximum(inside, 0) / ratio
    return shares
