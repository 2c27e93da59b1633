"""Gamma densities: the conjugate prior of a Poisson rate, for pixels and normalisations."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.model import Component, Model
from skyfold.priors import Prior
from skyfold.vector import Array

SMALLEST = float(np.finfo(np.float64).eps)  # keeps the logarithm of zero finite


@dataclass(frozen=True)
class Gamma(Prior):
    """Gamma density of each value: ``sum (k - 1) log x - x / theta``.

    Its EM step has a closed form. Concave for k of at least 1. With k below 1 values are drawn to
    zero, and there may be several maxima.

    Parameters
    ----------
    k
        Shape; 1 is flat but for theta.
    theta
        Scale, in the unit of the component.
    components
        Names of the components; by default all skies.
    """

    k: Annotated[float, Field(gt=0)] = 1.0
    theta: Annotated[float, Field(gt=0)] = inf
    components: tuple[str, ...] | None = None

    @property
    def concave(self) -> bool:
        """Whether k is at least 1."""
        return self.k >= 1

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density, with 2.2e-16 added to the values inside the logarithm."""
        log = float(np.sum(component.confined(np.log(values + SMALLEST))))
        return (self.k - 1) * log - float(np.sum(values)) / self.theta

    def gradient(self, values: Array, component: Component) -> Array:
        """Return ``(k - 1) / x - 1 / theta``."""
        return component.confined((self.k - 1) / (values + SMALLEST) - 1 / self.theta)

    def curvature(self, values: Array, component: Component) -> Array:
        """Return ``(k - 1) / x^2``, or zero for k below 1."""
        return component.confined(max(self.k - 1, 0) / (values + SMALLEST) ** 2)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return ``-(k - 1) v / x^2``."""
        return component.confined((1 - self.k) * direction / (values + SMALLEST) ** 2)

    def lift(self, component: Component) -> float:
        """Return k - 1 for each value, or zero for k below 1."""
        return max(self.k - 1, 0) * float(np.sum(component.support))


@dataclass(frozen=True)
class GammaBackground(Gamma):
    """Gamma density of each background normalisation: ``sum (k - 1) log B - B / theta``.

    Parameters
    ----------
    k
        Shape; 1 is flat but for theta.
    theta
        Scale.
    components
        Names of the components; by default all fitted normalisations.
    """

    def chosen(self, model: Model) -> frozenset[str]:
        """Return the names of the fitted normalisations, or of what was named."""
        if self.components is not None:
            return super().chosen(model)
        return model.free - model.skies
