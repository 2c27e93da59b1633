"""What counts must be before Poisson statistics may be applied to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_image.image import Image

CountsUnit = Literal["ct", "ct/s"]
Negative = Literal["refuse", "clip"]
Saturation = Literal["mask", "keep"]

FEW = 50
LIKE_A_PSF = 0.05  # how far the sum may be from one
RATE_UNIT = re.compile(r"(/\s*s(ec(onds?)?)?|s(\*\*|\^)?-1)\b", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts to work with.

    Parameters
    ----------
    values
        Counts, read-noise variance included; zero where not seen.
    seen
        False for pixels that are masked, blank or saturated.
    variance
        Variance of the read noise in counts squared, shape of the values; None without.
    checks
        What was looked at.
    """

    values: Array
    seen: Array
    variance: Array | None
    checks: tuple[Check, ...]


def prepared(
    image: Image,
    mask: Array | None = None,
    *,
    unit: CountsUnit = "ct",
    gain: float | None = None,
    read_noise: Array | float | None = None,
    negative: Negative = "refuse",
    saturation: Saturation = "mask",
) -> Counts:
    """Turn the values of an image into counts, or say why they cannot be counts.

    Parameters
    ----------
    image
        The image.
    mask
        True where the image is to be used; everywhere by default.
    unit
        Counts, or counts per second to be multiplied by the exposure time in the header.
    gain
        Counts per unit of the image.
    read_noise
        Standard deviation of Gaussian read noise, in counts. Its variance is added to the data,
        which then follow nearly a Poisson distribution (Snyder, Hammoud & White 1993), and is
        expected by a component of the model.
    negative
        Refuse negative values, or set them to zero.
    saturation
        Mask pixels at the largest number that the file can hold, or keep them.

    Raises
    ------
    DataError
        If values are not finite or negative where they are to be used, or no counts are left.
    ConfigError
        If the header holds no exposure time and it is needed.
    """
    checks: list[Check] = []
    seen = np.ones(image.values.shape, bool) if mask is None else mask.copy()
    if image.missing is not None:
        seen &= ~image.missing
    if mask is not None:
        _require_use_of_mask(image, seen, checks)
    _mask_saturated(image, seen, saturation, checks)
    _require_finite(image, seen)
    raw = np.where(seen, image.values, 0.0)
    # below zero there is only noise
    if not np.any(raw > 0) and (negative == "clip" or not raw.any()):
        raise DataError(
            f"{image.file}: no counts at all in the selected region; nothing to restore. Check the "
            "file, the mask and the energy range"
        )
    if gain is None and read_noise is None:
        _look_for_rates(image, raw, unit, checks)
    values = raw * _factor(image, unit, gain, checks)
    variance = None
    if read_noise is not None:
        variance = _variance(image, read_noise)
        values = np.where(seen, values + variance, 0.0)
        below = np.count_nonzero(values < 0)
        sigma = float(np.sqrt(np.median(variance)))
        text = f"read noise of {sigma:g} counts: its variance is added to data and model"
        if below:
            text += f"; {below} pixels still below zero set to zero"
        checks.append(Check("fixed" if below else "ok", image.role, text))
        values = np.maximum(values, 0)
    else:
        values = _without_negative(image, values, negative, checks)
    _describe(image, values, seen, variance, checks)
    return Counts(values, seen, variance, tuple(checks))


def place(image: Array, where: Array) -> str:
    """Name the first of the pixels chosen, counted from zero."""
    *plane, y, x = (0, *np.argwhere(where)[0])[-image.ndim if image.ndim > 1 else -2 :]
    text = f"pixel x={x} y={y}" if image.ndim > 1 else f"pixel x={x}"
    return text + (f" plane={plane[0]}" if plane else "") + " (counted from 0)"


def _mask_saturated(image: Image, seen: Array, saturation: str, checks: list[Check]) -> None:
    if image.saturated is None:
        return
    full = image.saturated & seen
    if not full.any():
        return
    text = f"{np.count_nonzero(full)} pixels equal {image.ceiling:g} (saturated)"
    if saturation == "keep":
        checks.append(Check("warning", image.role, f"{text}, kept"))
        return
    seen &= ~full
    checks.append(Check("warning", image.role, f"{text}: masked; --saturation keep to use them"))


def _require_finite(image: Image, seen: Array) -> None:
    bad = seen & ~np.isfinite(image.values)
    if bad.any():
        raise DataError(
            f"{image.file}: {np.count_nonzero(bad)} non-finite values, first at "
            f"{place(image.values, bad)}. Mask them with --mask nan, or repair the file"
        )


def _require_use_of_mask(image: Image, seen: Array, checks: list[Check]) -> None:
    """Refuse a mask that leaves no counts, doubt one that leaves hardly any."""
    light = np.abs(np.where(np.isfinite(image.values), image.values, 0))
    everything, left = light.sum(), light[seen].sum()
    inverted = "; did you invert it? (--mask-invert)"
    if everything > 0 and left == 0:
        raise DataError(f"{image.file}: mask removes 100 % of the counts{inverted}")
    if not seen.any():
        raise DataError(f"{image.file}: mask leaves no pixels{inverted}")
    share = 100 * (1 - left / everything) if everything > 0 else 0.0
    pixels = 100 * (1 - np.count_nonzero(seen) / seen.size)
    text = f"mask removes {pixels:.3g} % of the pixels with {share:.3g} % of the counts"
    doubtful = share > 90
    checks.append(
        Check("warning" if doubtful else "ok", "mask", text + (inverted if doubtful else ""))
    )


def _look_for_rates(image: Image, raw: Array, unit: str, checks: list[Check]) -> None:
    """Warn of values that are no counts: rates, a PSF, normalised or 8-bit images."""
    if unit == "ct/s":
        return
    broken = np.abs(raw - np.rint(raw)) > 1e-4 * np.maximum(np.abs(raw), 1)
    largest, text = float(raw.max()), ""
    sums = np.asarray(raw.sum(axis=tuple(range(raw.ndim))[-2:]))
    if RATE_UNIT.search(image.unit):
        text = f"unit is {image.unit!r}: these are rates, not counts. {_wrong_by(image)}"
    elif np.any(raw != np.rint(raw)) and np.all(np.abs(sums - 1) <= LIKE_A_PSF):
        text = (
            f"sum {sums.flat[0]:.4g}, not whole numbers; these look like a PSF: are --psf and the "
            "counts swapped? If not, give --gain COUNTS_PER_UNIT"
        )
    elif not image.unit and 0 < largest <= 1 and broken.any() and not _exposure_time(image)[0]:
        text = (
            f"largest value is {largest:g} and BUNIT is missing: looks normalised. Give --gain "
            "COUNTS_PER_UNIT"
        )
    elif not image.unit and image.ceiling == 255 and largest > 200:
        text = (
            f"values have 8 bits and reach {largest:g}: looks scaled. Give --gain COUNTS_PER_UNIT"
        )
    elif broken.any():
        text = (
            f"values are not whole numbers (e.g. {raw[broken].flat[0]:.4g} at "
            f"{place(raw, broken)}): this looks like a rate map or a resampled image. "
            f"{_wrong_by(image)}"
        )
    if text:
        checks.append(Check("warning", image.role, f"{image.file}: {text}"))


def _wrong_by(image: Image) -> str:
    key, seconds = _exposure_time(image)
    if not key:
        return "Statistics will be wrong. Give raw counts, or --gain COUNTS_PER_UNIT"
    return (
        f"Statistics will be wrong by the factor {key}={seconds:g} s. Use --counts-unit ct/s to "
        "multiply back"
    )


def _exposure_time(image: Image) -> tuple[str, float]:
    for key in ("EXPOSURE", "EXPTIME"):
        seconds = None if image.header is None else image.header.get(key)
        if isinstance(seconds, int | float) and seconds > 0:
            return key, float(seconds)
    return "", 1.0


def _factor(image: Image, unit: str, gain: float | None, checks: list[Check]) -> float:
    factor = 1.0
    if unit == "ct/s":
        key, factor = _exposure_time(image)
        if not key:
            raise ConfigError(
                f"--counts-unit ct/s needs the exposure time, but the header of {image.file} has "
                "neither EXPOSURE nor EXPTIME; give it as --gain SECONDS instead"
            )
        checks.append(Check("fixed", image.role, f"rates multiplied by {key}={factor:g} s"))
    if gain is not None:
        if not (np.isfinite(gain) and gain > 0):
            raise ConfigError(f"gain {gain:g} must be above zero: counts per unit of the image")
        factor *= gain
        checks.append(Check("ok", image.role, f"values multiplied by the gain {gain:g}"))
    return factor


def _variance(image: Image, read_noise: Array | float) -> Array:
    sigma = np.asarray(read_noise, np.float64)
    if sigma.ndim and sigma.shape != image.values.shape:
        raise DataError(
            f"read noise has shape {sigma.shape}, {image.file} {image.values.shape}; they must "
            "agree exactly"
        )
    if not np.all(np.isfinite(sigma) & (sigma >= 0)) or not np.any(sigma > 0):
        raise ConfigError("read noise must be a number of counts above zero")
    return np.broadcast_to(sigma**2, image.values.shape).copy()


def _without_negative(image: Image, values: Array, negative: str, checks: list[Check]) -> Array:
    below = values < 0
    if not below.any():
        return values
    lost, total = -float(values[below].sum()), float(values.sum())
    change = f" (changes the total by {100 * lost / total:+.2g} %)" if total > 0 else ""
    found = f"{np.count_nonzero(below)} negative values (min {values.min():g})"
    if negative == "refuse":
        raise DataError(
            f"{image.file}: {found}, first at {place(values, below)}. Poisson methods need raw "
            "counts. Give the unsubtracted image plus --background, --read-noise SIGMA if the "
            f"detector's noise makes them, or --negative clip to zero them{change}"
        )
    checks.append(Check("warning", image.role, f"{found} set to zero{change}"))
    return np.maximum(values, 0)


def _describe(
    image: Image, values: Array, seen: Array, variance: Array | None, checks: list[Check]
) -> None:
    total = float(values.sum() - (0 if variance is None else variance[seen].sum()))
    size = " x ".join(map(str, values.shape[::-1]))
    brightest = np.zeros(values.shape, bool)
    brightest.flat[int(np.argmax(values))] = True
    text = (
        f"{size} pixels, {total:.8g} counts, largest {values.max():g} at {place(values, brightest)}"
    )
    pixel = image.grid.pixel_size
    if pixel is not None:
        text += f"; pixels of {pixel.to_value('arcsec'):.4g} arcsec"
    checks.append(Check("ok", image.role, text))
    if total < FEW:
        checks.append(
            Check(
                "warning",
                image.role,
                f"only {total:g} counts: no more than upper limits are meaningful",
            )
        )
