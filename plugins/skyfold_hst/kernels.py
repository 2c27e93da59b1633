"""PSFs as they are: nothing is centred or cut, as the programs of the time took them."""

from __future__ import annotations

import numpy as np

from skyfold.errors import DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_image.counts import place
from skyfold_image.image import Image

NEAR_ONE = 1e-5  # of the sum of a PSF: further off it is worth a warning
PIXEL = np.array([[0.0125, 0.05, 0.0125], [0.05, 0.75, 0.05], [0.0125, 0.05, 0.0125]])  # WFPC2


def as_it_is(image: Image, shape: tuple[int, ...]) -> tuple[Array, tuple[Check, ...]]:
    """Return a PSF with negative elements at zero and a sum of one, and what was found.

    Parameters
    ----------
    image
        The PSF.
    shape
        Shape of the restored image.

    Raises
    ------
    DataError
        If it holds no light, is larger than the restored image, or not finite.
    """
    values, checks = image.values, [*image.checks]
    size = " x ".join(map(str, values.shape[::-1]))
    if values.ndim != len(shape) or np.any(np.array(values.shape) > shape):
        restored = " x ".join(map(str, shape[::-1]))
        raise DataError(
            f"{image.file}: the PSF has {size} pixels, the restored image {restored}: it may be "
            "smaller, but not larger, and is on the same pixels"
        )
    if not np.all(finite := np.isfinite(values)):
        raise DataError(
            f"{image.file}: {np.count_nonzero(~finite)} values of the PSF are not finite, first at "
            f"{place(values, ~finite)}; repair the file"
        )
    below, kernel = values < 0, np.maximum(values, 0)
    total = float(kernel.sum())
    if total <= 0:
        raise DataError(f"{image.file}: the PSF holds no light")
    if below.any():
        text = f"{np.count_nonzero(below)} negative elements of the PSF (min {values.min():g})"
        checks.append(Check("warning", "psf", f"{text} set to zero"))
    if abs(total - 1) > NEAR_ONE:
        checks.append(Check("warning", "psf", f"the sum of the PSF is {total:.8g}: brought to 1"))
    checks.append(Check("ok", "psf", f"{size} pixels, {_registration(kernel)}"))
    return kernel / total, tuple(checks)


def peak_centred(kernel: Array) -> Array:
    """Return a PSF moved cyclically, so that its peak lies on the pixel it is taken from."""
    peak = np.unravel_index(np.argmax(kernel), kernel.shape)
    moves = [(n - 1) // 2 - int(at) for n, at in zip(kernel.shape, peak, strict=True)]
    return np.roll(kernel, moves, tuple(range(kernel.ndim)))


def blurred(kernel: Array) -> Array:
    """Return a PSF blurred by the response of a pixel of WFPC2."""
    from scipy.ndimage import convolve

    made = convolve(kernel, PIXEL, mode="constant")
    unit: Array = made / made.sum()
    return unit


def _registration(kernel: Array) -> str:
    """Return in words where the peak is, and by how much that moves light."""
    peak = np.unravel_index(np.argmax(kernel), kernel.shape)[::-1]
    moves = [int(p) - (n - 1) // 2 for p, n in zip(peak, kernel.shape[::-1], strict=True)]
    at = ", ".join(str(int(p) + 1) for p in peak)
    moved = f"light moves by ({', '.join(f'{m:+d}' for m in moves)}) pixels"
    return f"its peak at ({at}), counted from 1: {moved if any(moves) else 'light stays in place'}"
