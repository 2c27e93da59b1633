"""Coordinates without bounds, in which values can follow the slope of their posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skyfold.sampling.laws.shares import Shares
from skyfold.vector import Array


class Coordinates(ABC):
    """Numbers that stand for the values of a component, given its unknowns.

    Attributes
    ----------
    firm
        How much the law tells of each: what minus the second derivative of its log-density is
        expected to be.
    """

    firm: Array

    @abstractmethod
    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the coordinates of values; what values say nothing of is drawn."""

    @abstractmethod
    def values(self, place: Array) -> tuple[Array, Any]:
        """Return the values of coordinates, and what `slopes` needs."""

    @abstractmethod
    def slopes(self, by_log: Array, known: Any) -> Array:
        """Return derivatives by the coordinates, given those by the logarithms of the values."""

    @abstractmethod
    def log_density(self, place: Array) -> tuple[float, Array]:
        """Return that of the coordinates before counts are seen, up to a constant; its slopes."""


class Logs(Coordinates):
    """The logarithms of the values.

    Parameters
    ----------
    shape
        Shape of the values.
    firm
        What their law tells, for each or for all.
    law
        Log-density of the logarithms, and its derivatives.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        firm: float,
        law: Callable[[Array], tuple[float, Array]],
    ) -> None:
        self._shape, self._law = shape, law
        self.firm = np.full(int(np.prod(shape)), firm)

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the logarithms."""
        return np.log(values.ravel().astype(np.float64))

    def values(self, place: Array) -> tuple[Array, None]:
        """Return the values."""
        return np.exp(place).reshape(self._shape), None

    def slopes(self, by_log: Array, known: None) -> Array:
        """Return them as they are."""
        return by_log.ravel()

    def log_density(self, place: Array) -> tuple[float, Array]:
        """Return that of the logarithms."""
        return self._law(place)


class Within(Coordinates):
    """Coordinates of some of the values of a component; the others are zero.

    Parameters
    ----------
    own
        Those of the values inside, as a line.
    inside
        Which values these are, shaped like the component.
    """

    def __init__(self, own: Coordinates, inside: Array) -> None:
        self._own, self._inside, self.firm = own, inside, own.firm

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return those of the values inside."""
        return self._own.of(values[self._inside], rng)

    def values(self, place: Array) -> tuple[Array, Any]:
        """Return the values inside, and zeros."""
        found, known = self._own.values(place)
        values = np.zeros(self._inside.shape, found.dtype)
        values[self._inside] = found
        return values, known

    def slopes(self, by_log: Array, known: Any) -> Array:
        """Return derivatives by the coordinates inside."""
        return self._own.slopes(by_log[self._inside], known)

    def log_density(self, place: Array) -> tuple[float, Array]:
        """Return that inside."""
        return self._own.log_density(place)


class Trees(Coordinates):
    """Totals and shares of the trees of a sky, one tree for each energy.

    Parameters
    ----------
    shape
        Shape of the sky.
    trees
        Flat numbers of the leaves of each tree, counts per unit of their values, and the tree.
    """

    def __init__(
        self, shape: tuple[int, ...], trees: Sequence[tuple[Array, float, Shares]]
    ) -> None:
        self._shape, self._trees = shape, trees
        self.firm = np.concatenate([shares.firm for *_, shares in trees])
        self._ends = np.cumsum([shares.size for *_, shares in trees])[:-1]

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the coordinates, the sums over siblings drawn."""
        light = values.ravel().astype(np.float64)
        return np.concatenate([own.of(light[at] * s, rng) for at, s, own in self._trees])

    def values(self, place: Array) -> tuple[Array, list[Array]]:
        """Return the values, and the proportions of all trees."""
        values, known = np.zeros(int(np.prod(self._shape))), []
        for (at, scale, own), mine in zip(self._trees, self._parted(place), strict=True):
            light, shares = own.light(mine)
            values[at] = light / scale
            known.append(shares)
        return values.reshape(self._shape), known

    def slopes(self, by_log: Array, known: list[Array]) -> Array:
        """Return derivatives by totals and shares."""
        flat = by_log.ravel()
        return np.concatenate(
            [
                own.slopes(flat[at], mine)
                for (at, _, own), mine in zip(self._trees, known, strict=True)
            ]
        )

    def log_density(self, place: Array) -> tuple[float, Array]:
        """Return the sum over the trees, and its slopes."""
        each = [
            own.log_density(mine)
            for (*_, own), mine in zip(self._trees, self._parted(place), strict=True)
        ]
        return sum(value for value, _ in each), np.concatenate([slopes for _, slopes in each])

    def _parted(self, place: Array) -> list[Array]:
        return np.split(place, self._ends)
