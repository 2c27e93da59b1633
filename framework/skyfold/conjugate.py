"""Directions conjugate to the last one, for steps that are scaled by the values."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

import numpy as np

from skyfold._kernels import conjugate_direction, unscaled_slope
from skyfold.model import Model
from skyfold.vector import Array, Vector

UNCUT = 1e-300  # part of a direction that must keep within bounds: none of it is cut


class Remembering(Protocol):
    """A state that knows its last direction and slope; see `conjugated`."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def direction(self) -> Vector:
        """Direction of the last step."""

    @property
    def slope(self) -> Vector:
        """Slope at its beginning."""

    @property
    def rise(self) -> float:
        """Step times slope there; zero if nothing is remembered."""


def conjugated(
    state: Remembering, step: Vector, scale: Mapping[str, Array]
) -> tuple[Vector, float, dict[str, Any]]:
    """Return a direction conjugate to the last one (Polak & Ribiere 1969).

    Where steps leave the expected total as it was, so does the direction.

    Parameters
    ----------
    state
        Model, and the last direction; none at the beginning.
    step
        The slope times values over ``scale``.
    scale
        The sensitivity, say.

    Returns
    -------
    direction, reach, memory
        The direction, or the step itself if that would not lead up; how often it may be taken
        before a value is below zero; fields of the next state.
    """
    model, slope, rise, mixed = state.model, step.map(np.empty_like), 0.0, 0.0
    last = state.direction or step.map(np.zeros_like)
    before = state.slope or last
    for name, z in step.items():
        x, s = (v[name].astype(z.dtype, copy=False) for v in (model, scale))
        sums = unscaled_slope(x, z, s, before[name], slope[name])
        rise, mixed = rise + sums[0], mixed + sums[1]
    beta = max(0.0, (rise - mixed) / state.rise) if state.rise > 0 else 0.0
    for part in (beta, 0.0):
        direction, uphill, far = {}, 0.0, inf
        for name, z in step.items():
            x, direction[name] = model[name].astype(z.dtype, copy=False), np.empty_like(z)
            ahead, reached = conjugate_direction(
                x, z, slope[name], last[name], part, UNCUT, 0.0, inf, direction[name]
            )
            uphill, far = uphill + ahead, min(far, reached)
        if uphill > 0:
            break
    new = Vector(direction)
    return new, far, {"direction": new, "slope": slope, "rise": rise}
