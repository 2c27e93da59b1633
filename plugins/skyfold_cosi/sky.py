"""What the sky looks like before the counts were seen: where it may shine, and its first values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.origin import Check
from skyfold.sphere import Sphere
from skyfold.vector import Array

FLUX = "1 / (cm2 s sr)"
Ordering = Literal["ring", "nested"]


def start_values(given: Any, geometry: Sphere, ordering: Ordering | None = None) -> Array | None:
    """Return the intensities to start from, shape (pixel, energy); None lets the counts decide.

    Parameters
    ----------
    given
        A number, one per energy, a file or map of the sky, or a parametric shape such as
        ``{shape: gaussian, lon: 0, lat: 0, sigma: 10, flux: 1e-3}``.
    geometry
        The sky.
    ordering
        Order of the pixels of maps that do not state it.

    Raises
    ------
    ConfigError
        If it is none of these.
    DataError
        If the values are negative, or as many as do not fit.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        values = _shape(given, geometry)
    elif isinstance(given, int | float) or _is_numbers(given):
        values = _flat(given, geometry)
    else:
        from skyfold_cosi.sky_files import read_sky

        values = read_sky(given, geometry, ordering=ordering)
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise DataError("start: there are negative or undefined intensities")
    return values


def mask_values(given: Any, geometry: Sphere, ordering: Ordering | None = None) -> Array | None:
    """Return where the sky may shine, shape (pixel, energy), or None for everywhere."""
    if given is None:
        return None
    from skyfold_cosi.sky_files import read_sky

    on: Array = read_sky(given, geometry, unit=None, ordering=ordering) > 0
    return on


def back_projection(data: BinnedData) -> Array:
    """Return the counts thrown back on the sky, ``R^T n / R^T 1``, brought to the total of counts.

    A first guess that is blurred, but has the sources at their places.
    """
    sensitivity = data.sensitivity["sky"]
    thrown = data.adjoint(data.counts)["sky"]
    values = np.divide(thrown, sensitivity, out=np.zeros_like(thrown), where=sensitivity > 0)
    made = float(np.sum(values * sensitivity))
    factor = float(np.sum(data.counts)) / made if made > 0 else 1.0
    return values * factor


def judge_coverage(data: BinnedData) -> list[Check]:
    """Tell how much of the sky was never seen, and how much of it starts, and stays, dark."""
    component, checks = data.components["sky"], []
    blind = np.all(data.sensitivity["sky"] <= 0, axis=1)
    if np.any(blind):
        text = f"{np.count_nonzero(blind)} of {blind.size} sky pixels are never observed: kept at 0"
        checks.append(Check("fixed", "sky", text))
    if component.start is not None:
        dark = np.all(np.asarray(component.start) == 0, axis=1) & ~blind
        if component.mask is not None:
            dark &= np.any(component.mask, axis=1)
        if np.any(dark):
            text = f"{np.count_nonzero(dark)} of {dark.size} sky pixels start, and stay, at 0"
            checks.append(Check("warning", "start", text))
    return checks


def _flat(given: Any, geometry: Sphere) -> Array:
    levels = np.atleast_1d(np.asarray(given, float))
    if levels.size not in (1, geometry.shape[1]):
        raise ConfigError(
            f"start: {levels.size} values for {geometry.shape[1]} energies; give one for all, or "
            "one each"
        )
    return np.broadcast_to(levels, geometry.shape).copy()


def _shape(given: Mapping[str, Any], geometry: Sphere) -> Array:
    from skyfold import options, shapes

    rest = dict(given)
    name = rest.pop("shape", None)
    known = {entry.__name__: entry for entry in (shapes.point, shapes.gaussian, shapes.disk)}
    if name not in known:
        raise ConfigError(f"start: shape {name!r} is none of {', '.join(known)}")
    values: Array = options.build(known[name], {"geometry": geometry, **rest}, "start")
    return values


def _is_numbers(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(v, int | float) for v in given)
