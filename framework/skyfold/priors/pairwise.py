"""Priors that sum a cost over pairs of neighbours."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from skyfold.geometry import Geometry
from skyfold.priors import Prior
from skyfold.priors.pairs import Pairs, pairs_of
from skyfold.vector import Array


class Pairwise(Prior):
    """Compare neighbours: ``-c sum w f(x_i, x_j)`` over all pairs, with a convex cost f.

    A pixel has up to eight neighbours, of its own energy; each pair counts once. Pixels that a
    mask keeps at zero are neighbours too.

    Attributes
    ----------
    coefficient
        Strength c.
    """

    coefficient: float

    @abstractmethod
    def cost(self, a: Array, b: Array) -> Array:
        """Return ``f(a, b)``."""

    @abstractmethod
    def slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return the derivatives of the cost by a and by b, in new arrays."""

    @abstractmethod
    def bends(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Return the second derivatives of the cost: by a, by b and by both."""

    def bounds(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return a diagonal matrix that is not smaller than the second derivative of the cost.

        Twice its own diagonal always is such a one, as f is convex.
        """
        first, second, _ = self.bends(a, b)
        return 2 * first, 2 * second

    def weight(self, pairs: Pairs) -> float:
        """Return the weight w: the inverse distance."""
        return 1 / pairs.distance

    def value(self, values: Array, geometry: Geometry) -> float:
        """Return the log-density."""
        total = sum(
            self.weight(pairs) * float(np.sum(self.cost(*pairs.ends(values))))
            for pairs in pairs_of(geometry)
        )
        return -self.coefficient * total

    def gradient(self, values: Array, geometry: Geometry) -> Array:
        """Return the derivative by each value."""
        total = np.zeros(values.shape)
        for pairs in pairs_of(geometry):
            scale = -self.coefficient * self.weight(pairs)
            first, second = self.slopes(*pairs.ends(values))
            first *= scale
            second *= scale
            pairs.collect(first, second, total)
        return total

    def curvature(self, values: Array, geometry: Geometry) -> Array:
        """Return a bound of minus the second derivative."""
        total = np.zeros(values.shape)
        for pairs in pairs_of(geometry):
            scale = self.coefficient * self.weight(pairs)
            first, second = self.bounds(*pairs.ends(values))
            pairs.collect(scale * first, scale * second, total)
        return total

    def hessian(self, values: Array, direction: Array, geometry: Geometry) -> Array:
        """Return the second derivative times a direction."""
        total = np.zeros(values.shape)
        for pairs in pairs_of(geometry):
            scale = -self.coefficient * self.weight(pairs)
            first, second, mixed = self.bends(*pairs.ends(values))
            u, v = pairs.ends(direction)
            pairs.collect(scale * (first * u + mixed * v), scale * (mixed * u + second * v), total)
        return total


class Squares(Pairwise):
    """The cost ``(a - b)^2``."""

    def cost(self, a: Array, b: Array) -> Array:
        """Return ``(a - b)^2``."""
        square: Array = (a - b) ** 2
        return square

    def slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return ``2 (a - b)`` and its opposite."""
        slope = 2 * (a - b)
        return slope, -slope

    def bends(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Return 2, 2 and -2."""
        two = np.full(a.shape, 2.0)
        return two, two, -two
