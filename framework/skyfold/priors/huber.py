"""Smoothed total variation: neighbours are alike, but for edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.priors.pairwise import Pairwise
from skyfold.vector import Array


@dataclass(frozen=True)
class Huber(Pairwise):
    """Draw neighbours together and spare edges: ``-c sum w (sqrt((x_i - x_j)^2 + e^2) - e)``.

    This is total variation, anisotropic and over eight neighbours, whose kink is rounded
    (Charbonnier et al. 1997, IEEE Trans. Image Process. 6, 298). Differences d well below e cost
    ``d^2 / 2 e``, as if they were noise; those well above cost ``d``, whether they are one step or
    several. Each pair counts once, with the inverse distance w of the two pixels as its weight.
    Energies are independent. Concave.

    Parameters
    ----------
    coefficient
        Strength c, per unit of the component.
    smoothing
        The difference e between noise and edges, in the unit of the component. Far below the noise
        of a pixel this is total variation proper, which takes solvers many times longer.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    smoothing: Annotated[float, Field(gt=0)]
    components: tuple[str, ...] | None = None

    def cost(self, a: Array, b: Array) -> Array:
        """Return ``sqrt((a - b)^2 + e^2) - e``, written so that small ones keep their digits."""
        square = (a - b) ** 2
        cost: Array = square / (np.sqrt(square + self.smoothing**2) + self.smoothing)
        return cost

    def slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return ``(a - b) / sqrt((a - b)^2 + e^2)`` and its opposite."""
        difference = a - b
        slope = difference / np.sqrt(difference**2 + self.smoothing**2)
        return slope, -slope

    def bends(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Return ``e^2 / ((a - b)^2 + e^2)^(3/2)``, twice, and its opposite."""
        square = (a - b) ** 2 + self.smoothing**2
        bend = self.smoothing**2 / (square * np.sqrt(square))
        return bend, bend, -bend

    def bounds(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return ``2 / sqrt((a - b)^2 + e^2)``, twice.

        This is the bend of the parabola in a - b that touches the cost and lies above it
        everywhere (Geman & Reynolds 1992): at an edge the cost itself hardly bends, but soon will.
        """
        bound = 2 / np.sqrt((a - b) ** 2 + self.smoothing**2)
        return bound, bound
