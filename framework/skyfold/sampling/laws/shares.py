"""Coordinates of a tree in which light moves without bounds: logarithms of Gamma numbers.

Dirichlet proportions are those of independent Gamma numbers g to their sum over siblings, and this
sum is independent of them: it may be drawn whenever a place in the tree is given coordinates.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from skyfold.sampling.laws.nodes import Nodes
from skyfold.vector import Array

LEAST = 1e-300  # light of a node whose logarithm is taken


class Shares:
    """The logarithms of the total of a tree and of a Gamma number for each node below the root.

    Parameters
    ----------
    nodes
        The tree.
    alpha
        Its strengths, one for each level.
    total
        Shape and rate of the Gamma density of the total.

    Attributes
    ----------
    size
        Number of coordinates: the total, then the nodes, leaves first.
    firm
        How much the law tells of each coordinate: what minus the second derivative of its
        log-density is expected to be.
    """

    def __init__(self, nodes: Nodes, alpha: Array, total: tuple[float, float]) -> None:
        self._nodes, (self._shape, self._rate) = nodes, total
        parameter, _ = nodes.strengths(alpha)
        self._parameter = parameter[:-1]
        self._alone = self._parameter == 0  # nothing to share with
        self.size = len(parameter)
        self.firm = np.concatenate([[self._shape], np.where(self._alone, 1.0, self._parameter)])

    def of(self, light: Array, rng: np.random.Generator) -> Array:
        """Return coordinates of the light of all leaves, the sums over siblings drawn."""
        sums = [np.maximum(light, LEAST)]
        for first in self._nodes.first:
            sums.append(np.add.reduceat(sums[-1], first[:-1]))
        share = [
            np.log(own) - self._down(level, np.log(above))
            for level, (own, above) in enumerate(pairwise(sums))
        ]
        made = np.concatenate([np.log(sums[-1]), *share])
        for level, first in enumerate(self._nodes.first):
            here = self._level(level)
            shape = np.add.reduceat(self._parameter[here], first[:-1])
            made[1:][here] += self._down(level, _log_gamma(shape, rng))
        made[1:][self._alone] = rng.standard_normal(np.count_nonzero(self._alone))
        return made

    def light(self, place: Array) -> tuple[Array, Array]:
        """Return the light of all leaves, and the proportion of each node."""
        logs = np.where(self._alone, 0.0, place[1:])
        shares, light = np.empty_like(logs), np.exp(place[:1])
        for level in reversed(range(len(self._nodes.first))):
            here, first = self._level(level), self._nodes.first[level][:-1]
            high = self._down(level, np.maximum.reduceat(logs[here], first))
            g = np.exp(logs[here] - high)
            shares[here] = g / self._down(level, np.add.reduceat(g, first))
            light = self._down(level, light) * shares[here]
        return light, shares

    def slopes(self, by_light: Array, shares: Array) -> Array:
        """Return derivatives by the coordinates, given those by the logarithms of the leaves."""
        slopes = np.empty(self.size)
        below = by_light
        for level, first in enumerate(self._nodes.first):
            here, above = self._level(level), np.add.reduceat(below, first[:-1])
            slopes[1:][here] = below - shares[here] * self._down(level, above)
            below = above
        slopes[0] = below[0]
        return slopes

    def log_density(self, place: Array) -> tuple[float, Array]:
        """Return that of the coordinates before counts are seen, up to a constant; its slopes."""
        g = np.exp(place)
        shape, rate = self.firm, np.ones(self.size)
        rate[0] = self._rate
        lone = np.concatenate([[False], self._alone])
        value = np.where(lone, -0.5 * place**2, shape * place - rate * g)
        return float(value.sum()), np.where(lone, -place, shape - rate * g)

    def _level(self, level: int) -> slice:
        return slice(*self._nodes.offsets[level : level + 2])

    def _down(self, level: int, values: Array) -> Array:
        """Return values of the parents of a level, one for each child."""
        return np.repeat(values, np.diff(self._nodes.first[level]))


def _log_gamma(shape: Array, rng: np.random.Generator) -> Array:
    """Draw logarithms of Gamma numbers, however small; 0 for no shape."""
    safe = np.where(shape > 0, shape, 1.0)
    drawn = np.log(rng.standard_gamma(safe + 1)) - rng.standard_exponential(safe.shape) / safe
    logs: Array = np.where(shape > 0, drawn, 0.0)
    return logs
