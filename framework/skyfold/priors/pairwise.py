"""Priors that sum a cost over pairs of neighbours."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np

from skyfold.model import Component
from skyfold.priors import Prior
from skyfold.priors.pairs import Pairs, pairs_of
from skyfold.vector import Array


class Pairwise(Prior):
    """Compare neighbours: ``-c sum w f(x_i, x_j)`` over all pairs, with a convex cost f.

    A pixel has up to eight neighbours, of its own energy; each pair counts once, if both of its
    ends lie inside the mask.

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

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density."""
        total = 0.0
        for pairs, scale, on in self._weighed(component):
            cost = self.cost(*pairs.ends(values))
            total -= scale * float(np.sum(cost if on is True else on * cost))
        return total

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        total = np.zeros(values.shape)
        for pairs, scale, on in self._weighed(component):
            first, second = self.slopes(*pairs.ends(values))
            first *= -scale * on
            second *= -scale * on
            pairs.collect(first, second, total)
        return total

    def curvature(self, values: Array, component: Component) -> Array:
        """Return a bound of minus the second derivative."""
        total = np.zeros(values.shape)
        for pairs, scale, on in self._weighed(component):
            first, second = self.bounds(*pairs.ends(values))
            pairs.collect(scale * on * first, scale * on * second, total)
        return total

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        total = np.zeros(values.shape)
        for pairs, scale, on in self._weighed(component):
            first, second, mixed = self.bends(*pairs.ends(values))
            u, v = pairs.ends(direction)
            falls = -scale * on
            pairs.collect(falls * (first * u + mixed * v), falls * (mixed * u + second * v), total)
        return total

    def _weighed(self, component: Component) -> Iterator[tuple[Pairs, float, Array | bool]]:
        """Yield the pairs with c times w, and whether both ends lie inside the mask."""
        for pairs in pairs_of(component.geometry):
            on = True if component.mask is None else pairs.within(component.mask)
            yield pairs, self.coefficient * self.weight(pairs), on


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
