"""Coordinates without bounds, in which values can follow the slope of their posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skyfold.sampling.laws.shares import Shared, Shares
from skyfold.vector import Array


class Made(NamedTuple):
    """What coordinates stand for.

    Attributes
    ----------
    values
        Values of the component.
    density, slopes
        Log-density of the coordinates before counts are seen, up to a constant; its slopes.
    known
        What `Coordinates.slopes` and `Coordinates.look` need.
    unknowns
        Those unknowns of the law that move along.
    """

    values: Array
    density: float
    slopes: Array
    known: Any
    unknowns: Mapping[str, Array] = {}


class Coordinates(ABC):
    """Numbers that stand for the values of a component, and for unknowns of its law.

    Attributes
    ----------
    size
        How many there are.
    looks
        How many numbers `look` returns.
    """

    size: int
    looks: int

    @abstractmethod
    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the coordinates of values; what values say nothing of is drawn."""

    @abstractmethod
    def at(self, place: Array) -> Made:
        """Return what coordinates stand for."""

    @abstractmethod
    def slopes(self, by_log: Array, known: Any) -> Array:
        """Return derivatives by the coordinates, given those by the logarithms of the values."""

    @abstractmethod
    def settled(self, told: Array) -> tuple[Coordinates, Array]:
        """Return coordinates that suit what counts tell, and the masses to move them with.

        Parameters
        ----------
        told
            Mean of what `look` returned.
        """

    def look(self, by_log: Array, known: Any) -> Array:
        """Return what counts tell of the coordinates, by derivatives of random sign.

        By default these are the squares of the derivatives by each.
        """
        squares: Array = self.slopes(by_log, known) ** 2
        return squares


class Logs(Coordinates):
    """The logarithms of the values.

    Parameters
    ----------
    shape
        Shape of the values.
    firm
        How much their law tells of each: what minus the second derivative of its log-density is
        expected to be.
    law
        Log-density of the logarithms, and its derivatives.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        firm: float,
        law: Callable[[Array], tuple[float, Array]],
    ) -> None:
        self._shape, self._firm, self._law = shape, firm, law
        self.size = self.looks = int(np.prod(shape))

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the logarithms."""
        return np.log(values.ravel().astype(np.float64))

    def at(self, place: Array) -> Made:
        """Return the values."""
        return Made(np.exp(place).reshape(self._shape), *self._law(place), None)

    def slopes(self, by_log: Array, known: None) -> Array:
        """Return them as they are."""
        return by_log.ravel()

    def settled(self, told: Array) -> tuple[Logs, Array]:
        """Return the same, and what law and counts tell."""
        return self, self._firm + told


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
        self._own, self._inside = own, inside
        self.size, self.looks = own.size, own.looks

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return those of the values inside."""
        return self._own.of(values[self._inside], rng)

    def at(self, place: Array) -> Made:
        """Return the values inside, and zeros."""
        made = self._own.at(place)
        values = np.zeros(self._inside.shape, made.values.dtype)
        values[self._inside] = made.values
        return made._replace(values=values)

    def slopes(self, by_log: Array, known: Any) -> Array:
        """Return derivatives by the coordinates inside."""
        return self._own.slopes(by_log[self._inside], known)

    def settled(self, told: Array) -> tuple[Within, Array]:
        """Return what suits the values inside."""
        own, masses = self._own.settled(told)
        return Within(own, self._inside), masses

    def look(self, by_log: Array, known: Any) -> Array:
        """Return what counts tell of the coordinates inside."""
        return self._own.look(by_log[self._inside], known)


class EveryTree(Coordinates):
    """Totals, shares and strengths of every tree of a sky, one for each energy.

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
        self._ends = np.cumsum([shares.size for *_, shares in trees])
        self.size, self.looks = int(self._ends[-1]), sum(shares.looks for *_, shares in trees)
        self._free = any(shares.free for *_, shares in trees)

    def of(self, values: Array, rng: np.random.Generator) -> Array:
        """Return the coordinates of the trees."""
        light = values.ravel().astype(np.float64)
        return np.concatenate([own.of(light[at] * s, rng) for at, s, own in self._trees])

    def at(self, place: Array) -> Made:
        """Return the values and strengths of all trees."""
        parts = np.split(place, self._ends[:-1])
        known = [own.at(mine) for (*_, own), mine in zip(self._trees, parts, strict=True)]
        values = np.zeros(int(np.prod(self._shape)))
        for (places, scale, _), shared in zip(self._trees, known, strict=True):
            values[places] = shared.light / scale
        return Made(
            values.reshape(self._shape),
            sum(shared.density for shared in known),
            np.concatenate([shared.slopes for shared in known]),
            known,
            {"alpha": np.array([shared.alpha for shared in known])} if self._free else {},
        )

    def slopes(self, by_log: Array, known: list[Shared]) -> Array:
        """Return derivatives by the coordinates of the trees."""
        return self._joined(Shares.slopes, by_log, known)

    def look(self, by_log: Array, known: list[Shared]) -> Array:
        """Return what counts tell of the trees."""
        return self._joined(Shares.look, by_log, known)

    def settled(self, told: Array) -> tuple[EveryTree, Array]:
        """Return trees that suit what counts tell."""
        parts = np.split(told, np.cumsum([own.looks for *_, own in self._trees])[:-1])
        settled = [own.settled(part) for (*_, own), part in zip(self._trees, parts, strict=True)]
        trees = [
            (places, scale, own)
            for (places, scale, _), (own, _) in zip(self._trees, settled, strict=True)
        ]
        return EveryTree(self._shape, trees), np.concatenate([masses for _, masses in settled])

    def _joined(
        self, what: Callable[[Shares, Array, Shared], Array], by_log: Array, known: list[Shared]
    ) -> Array:
        flat = by_log.ravel()
        return np.concatenate(
            [
                what(own, flat[places], mine)
                for (places, _, own), mine in zip(self._trees, known, strict=True)
            ]
        )
