"""Total squared variation: neighbours are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.geometry import Geometry
from skyfold.priors import Prior
from skyfold.vector import Array


@dataclass(frozen=True)
class TotalSquaredVariation(Prior):
    """Draw neighbouring pixels together: ``-c sum_i sum_m (x_i - x_m)^2``, m the neighbours of i.

    A pixel has up to eight neighbours; every pair enters twice. Energies are independent.

    Parameters
    ----------
    coefficient
        Strength c, per squared unit of the component.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    components: tuple[str, ...] | None = None

    def value(self, values: Array, geometry: Geometry) -> float:
        """Return the log-density."""
        pairs = sum(float(np.sum((values - m) ** 2)) for m in geometry.neighbours(values))
        return -self.coefficient * pairs

    def gradient(self, values: Array, geometry: Geometry) -> Array:
        """Return ``-4 c sum_m (x_i - x_m)``."""
        total = np.zeros_like(values)
        for neighbour in geometry.neighbours(values):
            total += values - neighbour
        return -4 * self.coefficient * total

    def curvature(self, values: Array, geometry: Geometry) -> Array:
        """Return ``8 c`` times the number of neighbours (De Pierro 1995)."""
        number = np.arange(values.size).reshape(values.shape)
        count = np.zeros_like(values)
        for neighbour in geometry.neighbours(number):
            count += neighbour != number
        return 8 * self.coefficient * count
