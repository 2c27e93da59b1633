"""The law of a component some of whose values nothing is known of: they are held at zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skyfold.sampling.laws.coordinates import Within
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array

Unknowns = dict[str, Array]


class Masked(Law):
    """A law for some of the values of a component; the others stay at zero.

    Parameters
    ----------
    law
        What the values inside are like, as a line; its moves are not made.
    inside
        Which values these are, shaped like the component.
    """

    def __init__(self, law: Law, inside: Array) -> None:
        self._law, self._inside, self.smooth = law, inside, law.smooth

    def start(self, values: Array, group: int, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Return what the law starts from, inside."""
        found, unknowns = self._law.start(values[self._inside], group, rng)
        return self._spread(found), unknowns

    def draw(
        self, attributed: Array, values: Array, unknowns: Unknowns, rng: np.random.Generator
    ) -> tuple[Array, Unknowns, float]:
        """Draw the values inside."""
        inside = self._inside
        drawn, unknowns, density = self._law.draw(attributed[inside], values[inside], unknowns, rng)
        return self._spread(drawn), unknowns, density

    def maximise(
        self, attributed: Array, values: Array, unknowns: Unknowns
    ) -> tuple[Array, Unknowns, float]:
        """Return what is best inside."""
        inside = self._inside
        best, unknowns, density = self._law.maximise(attributed[inside], values[inside], unknowns)
        return self._spread(best), unknowns, density

    def simulate(self, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Draw values inside before counts are seen."""
        drawn, unknowns = self._law.simulate(rng)
        return self._spread(drawn), unknowns

    def log_density(self, values: Array, unknowns: Unknowns) -> float:
        """Return that of the values inside."""
        return self._law.log_density(values[self._inside], unknowns)

    def coordinates(self, unknowns: Mapping[str, Array]) -> Within | None:
        """Return those of the values inside, if they have any."""
        own = self._law.coordinates(unknowns)
        return None if own is None else Within(own, self._inside)

    def _spread(self, found: Array) -> Array:
        values = np.zeros(self._inside.shape, found.dtype)
        values[self._inside] = found
        return values
