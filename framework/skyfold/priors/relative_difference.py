"""Relative differences: neighbours are alike in proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.model import Component
from skyfold.priors.pairwise import Pairwise
from skyfold.priors.raised import above_zero, raised
from skyfold.vector import Array


@dataclass(frozen=True)
class RelativeDifference(Pairwise):
    """Draw neighbours together in proportion: ``-c sum w d^2 / (x_i + x_j + g |d|)``.

    A difference ``d = x_i - x_j`` weighs less where both pixels are bright, as its noise is larger
    there, and with g above zero less if it is an edge (Nuyts et al. 2002, IEEE Trans. Nucl. Sci.
    49, 56). Each pair counts once, with the inverse distance w of the two pixels as its weight.
    Energies are independent. Concave; an image t times as bright has t times the value.

    Parameters
    ----------
    coefficient
        Strength c, per unit of the component.
    gamma
        How edges are spared, g: 0 not at all.
    epsilon
        What is added to each x in the formula, as a share of the mean of its energy, so that it is
        smooth at zero. The larger, the less faint pixels are smoothed.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    gamma: Annotated[float, Field(ge=0)] = 2.0
    epsilon: Annotated[float, Field(ge=0)] = 1e-3
    components: tuple[str, ...] | None = None

    def cost(self, a: Array, b: Array) -> Array:
        """Return ``d^2 / D`` with ``d = a - b`` and ``D = a + b + g |d|``."""
        d, below = self._parts(a, b)
        d *= d
        d /= below
        return d

    def slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return ``d (a + 3 b + g |d|) / D^2`` and ``-d (3 a + b + g |d|) / D^2``."""
        d, below = self._parts(a, b)
        d /= below
        odd = np.abs(d, out=below)
        odd *= -self.gamma
        odd += 2
        odd *= d
        d *= d  # now the part that is the same for both
        first = odd - d
        return first, np.negative(np.add(odd, d, out=odd), out=odd)

    def bends(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Return ``8 b^2 / D^3``, ``8 a^2 / D^3`` and ``-8 a b / D^3``."""
        _, below = self._parts(a, b)
        scale = 8 / (below * below * below)
        return scale * b * b, scale * a * a, -scale * a * b

    def _parts(self, a: Array, b: Array) -> tuple[Array, Array]:
        d = a - b
        below = np.abs(d)
        below *= self.gamma
        below += a
        below += b
        return d, below

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density."""
        return super().value(above_zero(values, self.epsilon, component), component)

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        slope = super().gradient(above_zero(values, self.epsilon, component), component)
        return raised(slope, self.epsilon, component)

    def curvature(self, values: Array, component: Component) -> Array:
        """Return a bound of minus the second derivative."""
        bend = super().curvature(above_zero(values, self.epsilon, component), component)
        return (1 + self.epsilon) * raised(bend, self.epsilon, component)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        up = raised(direction, self.epsilon, component)
        bend = super().hessian(above_zero(values, self.epsilon, component), up, component)
        return raised(bend, self.epsilon, component)
