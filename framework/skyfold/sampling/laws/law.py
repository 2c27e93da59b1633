"""What a component may be like before its counts are seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np

from skyfold.data import DataInterface
from skyfold.sampling.laws.coordinates import Coordinates
from skyfold.vector import Array


class Law(ABC):
    """A prior that can be drawn from once it is known how many counts came from each value.

    It is bound to a component and its sensitivity. What it does not know itself (strengths, an
    origin) are its unknowns, arrays by name.

    Attributes
    ----------
    smooth
        Whether values may follow each other so closely that counts tell little of how closely;
        False by default.
    """

    smooth: bool = False

    @abstractmethod
    def start(
        self, values: Array, group: int, rng: np.random.Generator
    ) -> tuple[Array, dict[str, Array]]:
        """Return values scattered around those given, and unknowns, for a chain to start from.

        Parameters
        ----------
        values
            A first restoration.
        group
            Chains of one group share what is held fixed, such as an origin.
        rng
            Source of randomness.
        """

    @abstractmethod
    def draw(
        self,
        attributed: Array,
        values: Array,
        unknowns: dict[str, Array],
        rng: np.random.Generator,
    ) -> tuple[Array, dict[str, Array], float]:
        """Draw unknowns and values given the counts attributed to each value.

        Returns
        -------
        values, unknowns, log_density
            New ones, and their log-density before counts are seen.
        """

    @abstractmethod
    def maximise(
        self, attributed: Array, values: Array, unknowns: dict[str, Array]
    ) -> tuple[Array, dict[str, Array], float]:
        """Return what is best given the counts expected to have come from each value."""

    @abstractmethod
    def simulate(self, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
        """Draw values and unknowns before any counts are seen."""

    @abstractmethod
    def log_density(self, values: Array, unknowns: dict[str, Array]) -> float:
        """Return the log-density of values and unknowns before any counts are seen."""

    def move(
        self,
        name: str,
        data: DataInterface,
        values: Mapping[str, Array],
        unknowns: Mapping[str, Array],
        sweep: int,
        rng: np.random.Generator,
    ) -> Array | None:
        """Return the values of its component after steps that leave the posterior as it is.

        They make up for what draws given the attributed counts change only slowly. None, the
        default, if there was no step.

        Parameters
        ----------
        name
            Name of the component.
        data
            The data.
        values
            Values of all components.
        unknowns
            Those of the component.
        sweep
            Number of the sweep.
        rng
            Source of randomness.
        """
        return None

    def coordinates(self, unknowns: Mapping[str, Array]) -> Coordinates | None:
        """Return coordinates for trajectories, of the values and of those unknowns that move along.

        None, the default, if the values do not take part in them (see
        `skyfold.sampling.chains.trajectories`).
        """
        return None

    def hotter(self, factor: float) -> Self:
        """Return a law that lets a chain move more freely, by a factor; itself by default."""
        return self

    def adopt(self, unknowns: dict[str, Array]) -> dict[str, Array]:
        """Return the unknowns of a hotter or colder law, with what this one keeps of its own."""
        return unknowns
