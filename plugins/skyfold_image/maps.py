"""What exposure maps, backgrounds and baselines must be."""

from __future__ import annotations

import numpy as np

from skyfold.data import Check
from skyfold.errors import DataError
from skyfold.vector import Array
from skyfold_image.counts import place
from skyfold_image.image import Image


def flux_unit(exposure: Image, checks: list[Check]) -> str:
    """Return the unit of a sky that times the exposure gives counts: ``ph cm-2 s-1`` for cm2 s."""
    from astropy import units as u

    try:
        if not exposure.unit:
            raise ValueError("it has no unit")
        with u.add_enabled_aliases({"counts": u.ct, "photons": u.ph, "sec": u.s}):
            unit = u.Unit(exposure.unit)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        level = "warning" if exposure.path is not None else "ok"
        text = f"exposure taken as a relative factor, so the image is in counts: {reason}"
        checks.append(Check(level, "exposure", text))
        return "ct"
    area = any(base.is_equivalent(u.m) for base in unit.decompose().bases)
    light = u.ph if area and u.ct not in unit.bases else u.ct
    return str((light / unit).to_string())


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
