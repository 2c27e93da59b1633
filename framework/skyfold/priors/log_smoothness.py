"""Smoothness of the logarithm: neighbours differ by factors that are near one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.model import Component
from skyfold.priors.pairwise import Squares
from skyfold.priors.raised import above_zero, raised
from skyfold.vector import Array


@dataclass(frozen=True)
class LogSmoothness(Squares):
    """Draw the logarithms of neighbours together: ``-c sum w (log x_i - log x_j)^2``.

    A Gaussian density of the differences of logarithms, for light that spans decades. Each pair
    counts once, with the inverse distance w of the two pixels as its weight. Energies are
    independent. Concave in the logarithms but not in x: there may be several maxima. An image t
    times as bright has the same value.

    Parameters
    ----------
    coefficient
        Strength c, without unit: 1 / (2 s^2) for neighbours that differ by a factor of about
        exp(s).
    epsilon
        What is added to each x in the formula, as a share of the mean of its energy, so that it is
        finite at zero: how deep a dark pixel is.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    epsilon: Annotated[float, Field(gt=0)] = 1e-3
    components: tuple[str, ...] | None = None

    @property
    def concave(self) -> bool:
        """It is not."""
        return False

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density."""
        return super().value(np.log(above_zero(values, self.epsilon, component)), component)

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        up = above_zero(values, self.epsilon, component)
        slope = super().gradient(np.log(up), component) / up
        return raised(slope, self.epsilon, component)

    def curvature(self, values: Array, component: Component) -> Array:
        """Return a bound of minus the second derivative, which the logarithm lowers uphill."""
        up = above_zero(values, self.epsilon, component)
        log = np.log(up)
        bend = super().curvature(log, component) + super().gradient(log, component)
        bend = np.maximum(bend, 0) / up**2
        return (1 + self.epsilon) * raised(bend, self.epsilon, component)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        up = above_zero(values, self.epsilon, component)
        log, share = np.log(up), raised(direction, self.epsilon, component) / up
        bend = super().hessian(log, share, component) - super().gradient(log, component) * share
        return raised(bend / up, self.epsilon, component)
