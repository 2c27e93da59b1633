"""Entropy: nothing is known but a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.geometry import Geometry
from skyfold.priors import Prior
from skyfold.vector import Array

SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Entropy(Prior):
    """Relative entropy towards a level m: ``c sum x (1 - log(x / m))``, largest at x = m.

    Its slope is infinite at zero, but a multiplicative step never leaves zero: give a floor above
    zero with it (Skilling & Bryan 1984).

    Parameters
    ----------
    coefficient
        Strength c, per unit of the component.
    reference
        Level m, in the unit of the component.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    reference: Annotated[float, Field(gt=0)]
    components: tuple[str, ...] | None = None

    def value(self, values: Array, geometry: Geometry) -> float:
        """Return the log-density; a value of zero adds zero."""
        return self.coefficient * float(np.sum(values * (1 - self._log(values))))

    def gradient(self, values: Array, geometry: Geometry) -> Array:
        """Return ``-c log(x / m)``."""
        return -self.coefficient * self._log(values)

    def curvature(self, values: Array, geometry: Geometry) -> Array:
        """Return ``c / x``."""
        bend: Array = self.coefficient / np.maximum(values, SMALLEST)
        return bend

    def _log(self, values: Array) -> Array:
        log: Array = np.log(np.maximum(values, SMALLEST) / self.reference)
        return log
