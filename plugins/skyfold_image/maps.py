"""What exposure maps, backgrounds and baselines must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_image.counts import place
from skyfold_image.image import Image

NEAR_ONE = 10  # within this factor of one an exposure without unit is a relative factor


def flux_unit(exposure: Image, told: str | None, largest: float, checks: list[Check]) -> str:
    """Return the unit of a sky that times the exposure gives counts: ``ph cm-2 s-1`` for cm2 s.

    Parameters
    ----------
    exposure
        The exposure map.
    told
        Its unit, where the file does not state it.
    largest
        Its largest value; without a unit, values near one are a relative factor.
    checks
        Grows by what was found.

    Returns
    -------
    unit
        Empty where it is unknown.

    Raises
    ------
    ConfigError
        If ``told`` is no unit, or the file states another one.
    """
    stated, why = _flux_of(exposure.unit)
    if told is not None:
        flux, trouble = _flux_of(told)
        if flux is None:
            raise ConfigError(f'--exposure-unit "{told}" must be a unit like "cm2 s": {trouble}')
        if stated is not None and stated != flux:
            raise ConfigError(
                f'--exposure-unit "{told}" contradicts {exposure.file}, which states '
                f'"{exposure.unit}"; leave the option out, or correct the file'
            )
        checks.append(Check("ok", "exposure", f"unit {told}, as told"))
        return str(flux.to_string())
    if stated is not None:
        return str(stated.to_string())
    if 1 / NEAR_ONE <= largest <= NEAR_ONE:
        level = "warning" if exposure.path is not None else "ok"
        text = f"exposure taken as a relative factor, so the image is in counts: {why}"
        checks.append(Check(level, "exposure", text))
        return "ct"
    text = (
        f"{why}, and it reaches {largest:.4g}: the image is in counts per unit of exposure and "
        'its unit is left empty. Say what it is, as in --exposure-unit "cm2 s"'
    )
    checks.append(Check("warning", "exposure", text))
    return ""


def _flux_of(exposure: str) -> tuple[Any, str]:
    """Return the unit of a flux from that of an exposure, or None and the reason."""
    from astropy import units as u

    try:
        if not exposure.strip():
            raise ValueError("no unit is given")
        with u.add_enabled_aliases({"counts": u.ct, "photons": u.ph, "sec": u.s}):
            unit = u.Unit(exposure)
    except (ValueError, TypeError) as error:
        return None, str(error).partition("If this is meant to be")[0].strip(" .\n")
    area = any(base.is_equivalent(u.m) for base in unit.decompose().bases)
    light = u.ph if area and u.ct not in unit.bases else u.ct
    return light / unit, ""


def exposure_values(image: Image, seen: Array, checks: list[Check]) -> Array:
    """Return an exposure map, zero where unknown.

    Raises
    ------
    DataError
        If it is negative somewhere, or zero wherever it matters.
    """
    unknown = ~np.isfinite(image.values)
    values = np.where(unknown, 0.0, image.values)
    if np.any(unknown & seen):
        text = f"{np.count_nonzero(unknown & seen)} values that are not finite taken as no exposure"
        checks.append(Check("fixed", "exposure", text))
    below = values < 0
    if below.any():
        raise DataError(
            f"{image.file}: exposure is negative in {np.count_nonzero(below)} pixels, first "
            f"{values[below].flat[0]:g} at {place(values, below)}; repair the map"
        )
    if not np.any(values[seen] > 0):
        raise DataError(f"{image.file}: exposure is zero everywhere; nothing was observed")
    dark = seen & (values == 0)
    reach = values[values > 0]
    text = f"from {reach.min():.4g} to {reach.max():.4g} {image.unit}".rstrip()
    if dark.any():
        text += f"; {100 * np.count_nonzero(dark) / dark.size:.2g} % of the pixels have none"
    checks.append(Check("ok", "exposure", text))
    return values


def expected_counts(
    image: Image, name: str, observed: float, seen: Array, checks: list[Check]
) -> Array:
    """Return the expected counts of a background; doubt what can hardly be counts."""
    values = not_negative(image)
    total = float(values[seen].sum())
    ratio = total / observed if observed > 0 else np.inf
    text = f"{name!r}: {total:.6g} counts expected, {100 * ratio:.3g} % of those observed"
    doubtful = not 0.005 < ratio < 1.5
    if doubtful:
        text += "; unit mismatch? It must be in counts per pixel, like the counts"
    checks.append(Check("warning" if doubtful else "ok", "background", text))
    return values


def uniform(value: float, role: str, name: str, shape: tuple[int, ...]) -> Image:
    """Return a map with one value everywhere.

    Raises
    ------
    ConfigError
        If it is negative or not finite.
    """
    if not (np.isfinite(float(value)) and value >= 0):
        raise ConfigError(f"{role} {name!r}: {value:g} must be a finite number of at least 0")
    return Image(np.full(shape, float(value)), f"{name} {value:g}", role)


def not_negative(image: Image) -> Array:
    """Return the values of a map of counts or flux.

    Raises
    ------
    DataError
        If some are negative or not finite.
    """
    bad = ~(np.isfinite(image.values) & (image.values >= 0))
    if bad.any():
        raise DataError(
            f"{image.file}: {image.role} has {np.count_nonzero(bad)} negative or non-finite "
            f"values, first {image.values[bad].flat[0]:g} at "
            f"{place(image.values, bad)}; repair the file"
        )
    return image.values
