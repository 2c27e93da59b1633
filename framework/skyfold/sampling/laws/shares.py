"""Coordinates of a tree in which light and strengths move without bounds.

Dirichlet proportions are those of independent Gamma numbers g to their sum over siblings, and this
sum is independent of them: it may be drawn whenever a place in the tree is given coordinates. Where
counts tell more of g than the law does, the node is *tight*, and its logarithm is the coordinate.
Elsewhere g is a Gamma number of shape b + 1 times a uniform one to the power of 1 / b, with b the
Dirichlet parameter, and either is told by a number that is about normal (Marsaglia & Tsang 2000)
whatever b is: they may stay where they are while strengths move, and what no count tells of
follows (Papaspiliopoulos, Roberts & Sköld 2007).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from skyfold._kernels import tree_light, tree_slopes
from skyfold.sampling.laws import strengths
from skyfold.sampling.laws.nodes import Nodes
from skyfold.vector import Array

LEAST = 1e-300  # light of a node whose logarithm is taken
TIGHT = 30.0  # times what the law tells of a node, that counts tell of a tight one


class Shared(NamedTuple):
    """What coordinates stand for.

    Attributes
    ----------
    density, slopes
        Log-density of the coordinates before counts are seen, up to a constant; its slopes.
    alpha
        Strengths.
    light
        Light of all leaves.
    shares
        Proportion of each node.
    first, second, strength
        Derivatives of log g of each node by its two coordinates, and by the logarithm of the
        strength.
    """

    density: float
    slopes: Array
    alpha: Array
    light: Array
    shares: Array
    first: Array
    second: Array
    strength: Array


class Shares:
    """The logarithm of the total of a tree, two numbers for each node, and strengths.

    Parameters
    ----------
    nodes
        The tree.
    alpha
        Its strengths, one for each level.
    total
        Shape and rate of the Gamma density of the total.
    hyper
        Density of the strengths; None if they are kept.
    tight
        Which nodes are tight: by default all if strengths are kept, none if not. The second number
        of a tight node stands for nothing, neither do both of one with nothing to share with.

    Attributes
    ----------
    size
        Number of coordinates: the total, the first number of all nodes, leaves first, the second
        of all, and the logarithms of the strengths, if they are not kept.
    looks
        How many numbers `settled` needs.
    free
        Whether strengths move.
    """

    def __init__(
        self,
        nodes: Nodes,
        alpha: Array,
        total: tuple[float, float],
        hyper: strengths.Terms | None = None,
        tight: Array | None = None,
    ) -> None:
        self._nodes, self._alpha, self._total, self._hyper = nodes, alpha, total, hyper
        self._weight = self._parameter(np.ones_like(alpha))
        shared = self._weight > 0
        self._tight = shared & (hyper is None) if tight is None else tight
        self._loose = shared & ~self._tight
        self.free = hyper is not None
        self._ends = np.cumsum([1, len(self._weight), len(self._weight)])
        self.size = int(self._ends[-1]) + self.free * len(alpha)
        self.looks = 1 + 3 * len(self._weight) + 2 * len(alpha)

    def of(self, light: Array, rng: np.random.Generator) -> Array:
        """Return coordinates of the light of all leaves; what it says nothing of is drawn."""
        sums, parameter = [np.maximum(light, LEAST)], self._parameter(self._alpha)
        for first in self._nodes.first:
            sums.append(np.add.reduceat(sums[-1], first[:-1]))
        logs = np.empty(parameter.size)
        for level, (own, above) in enumerate(pairwise(sums)):
            here, first = self._level(level), self._nodes.first[level]
            shape = np.add.reduceat(parameter[here], first[:-1])
            rest = _log_gamma(shape, rng) - np.log(above)
            logs[here] = np.log(own) + np.repeat(rest, np.diff(first))
        one, two = rng.standard_normal((2, logs.size))
        one[self._tight] = logs[self._tight]
        known, b = logs[self._loose], parameter[self._loose]
        whole = np.logaddexp(known, np.log(rng.standard_exponential(known.size)))
        two[self._loose] = _about_normal(np.log(np.maximum(b * (whole - known), LEAST)), 0.0)
        one[self._loose] = _about_normal(whole, b)
        logs_of_alpha = () if self._hyper is None else np.log(self._alpha)
        return np.concatenate([np.log(sums[-1]), one, two, logs_of_alpha])

    def at(self, place: Array) -> Shared:
        """Return what coordinates stand for."""
        total, one, two, logs = np.split(place, self._ends)
        alpha = self._alpha if self._hyper is None else np.exp(logs)
        density, known, light, *rest = tree_light(
            float(total[0]),
            one,
            two,
            alpha,
            self._weight,
            self._nodes.offsets,
            self._nodes.links[0],
            self._tight,
        )
        shape, rate = self._total
        slopes = np.concatenate([shape - rate * np.exp(total), known[: self.size - 1]])
        density += float(shape * total[0] - rate * np.exp(total[0]))
        if self._hyper is not None:
            density += float(np.sum(strengths.log_density(self._hyper, alpha) + logs))
            slopes[self._ends[-1] :] += strengths.slopes(self._hyper, alpha) + 1
        return Shared(density, slopes, alpha, light[: len(self._nodes.places)], *rest)

    def slopes(self, by_light: Array, known: Shared) -> Array:
        """Return derivatives by the coordinates, given those by the logarithms of the leaves."""
        by = tree_slopes(by_light, known.shares, self._nodes.links[0])
        each, total = by[:-1], by[-1:]
        parts = [total, each * known.first, each * known.second]
        if self._hyper is not None:
            parts.append(self._by_level(each * known.strength))
        return np.concatenate(parts)

    def look(self, by_light: Array, known: Shared) -> Array:
        """Return what `settled` needs the mean of, given random slopes by the light of the leaves.

        That is the square of derivatives by the total, by log g of each node, by both of the
        numbers that it has if loose, and by the logarithms of the strengths; and these logarithms.
        """
        by = tree_slopes(by_light, known.shares, self._nodes.links[0])
        each, total = by[:-1], by[-1:]
        b = np.maximum(self._parameter(self._alpha), LEAST)
        first = np.where(self._loose, known.first, 1 / np.sqrt(b + 2 / 3))
        second = np.where(self._loose, known.second, 1 / b)
        parts = [total, each, each * first, each * second]
        parts.append(self._by_level(each * known.strength))
        return np.concatenate([*(part**2 for part in parts), np.log(self._alpha)])

    def settled(self, told: Array) -> tuple[Shares, Array]:
        """Return the same with those nodes tight of which counts tell most; and masses."""
        size, levels = self._weight.size, len(self._alpha)
        total, log_g, one, two, by_alpha, logs = np.split(
            told, np.cumsum([1, size, size, size, levels])
        )
        parameter = self._parameter(np.exp(logs))
        tight = self._tight
        if self._hyper is not None:  # the variance of log g is about (1 + b) / b^2
            tight = log_g * (1 + parameter) > TIGHT * parameter**2
            tight &= self._weight > 0
        same = Shares(self._nodes, self._alpha, self._total, self._hyper, tight)
        masses = [
            self._total[0] + total,
            np.where(tight, parameter + log_g, 1 + one),
            np.where(tight, 1.0, 1 + two),
        ]
        if self._hyper is not None:
            masses.append(1 + by_alpha + self._by_level(np.where(tight, 1 + parameter, 0)))
        return same, np.concatenate(masses)

    def _parameter(self, alpha: Array) -> Array:
        """Return the Dirichlet parameter of each node."""
        parameter, _ = self._nodes.strengths(alpha)
        return parameter[:-1]

    def _level(self, level: int) -> slice:
        return slice(*self._nodes.offsets[level : level + 2])

    def _by_level(self, values: Array) -> Array:
        """Return sums over the nodes of each level."""
        return np.add.reduceat(values, self._nodes.offsets[: len(self._alpha)])


def _log_gamma(shape: Array, rng: np.random.Generator) -> Array:
    """Draw logarithms of Gamma numbers, however small; 0 for no shape."""
    safe = np.where(shape > 0, shape, 1.0)
    drawn = np.log(rng.standard_gamma(safe + 1)) - rng.standard_exponential(safe.shape) / safe
    logs: Array = np.where(shape > 0, drawn, 0.0)
    return logs


def _about_normal(logs: Array, b: Array | float) -> Array:
    """Return z of logarithms of Gamma numbers of shape b + 1."""
    d = b + 2 / 3
    log_h = (logs - np.log(d)) / 3
    below = np.minimum(log_h + np.log(2), 0.0)
    x: Array = np.where(
        below < 0, -np.sqrt(1 - 2 * below) / 2, np.expm1(np.maximum(log_h, -np.log(2)))
    )
    return x * 3 * np.sqrt(d)
