"""A metric for steps: diagonal, but for the priors, whose second derivative costs no product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skyfold.model import Model
from skyfold.priors import Prior, derivative, hessian
from skyfold.vector import Array, Vector

INNER, ACCURATE = 30, 0.03  # conjugate gradients for one step, and how exact they need to be


@dataclass(frozen=True, eq=False)
class Metric:
    """``diagonal - stretch H stretch`` with the second derivative H of concave priors.

    Parameters
    ----------
    model
        Where the second derivative is taken.
    diagonal
        What the likelihood and other priors add.
    stretch
        How the values change with the variables.
    priors
        Concave priors.
    """

    model: Model
    diagonal: Vector
    stretch: Vector
    priors: Mapping[str, Prior]

    def __call__(self, step: Vector) -> Vector:
        """Return the metric times a step."""
        bent = hessian(self.priors, self.model, step * self.stretch)
        return step * self.diagonal - bent * self.stretch

    @cached_property
    def scale(self) -> Vector:
        """Inverse of a diagonal that bounds the metric; zero where that is zero."""
        more = derivative(self.priors, self.model, "curvature")

        def inverse(d: Array, c: Array, t: Array) -> Array:
            whole = d + t * t * c
            inverted: Array = np.divide(1.0, whole, out=np.zeros(whole.shape), where=whole > 0)
            return inverted

        return self.diagonal.map(inverse, more, self.stretch)

    def solve(self, slope: Vector) -> Vector:
        """Return about the inverse of the metric times a slope, by conjugate gradients."""
        ahead = slope * self.scale
        if not self.priors:
            return ahead
        left, step = slope, slope * 0.0
        first = size = left.dot(ahead)
        for _ in range(INNER):
            if not size > ACCURATE**2 * first:
                break
            bent = self(ahead)
            share = size / ahead.dot(bent)
            step, left = step + ahead * share, left - bent * share
            scaled = left * self.scale
            size, before = left.dot(scaled), size
            ahead = scaled + ahead * (size / before)
        return step
