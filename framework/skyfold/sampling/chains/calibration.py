"""What is not known of a response, and is drawn along with the sky.

A calibration is drawn given the values, from the likelihood of the counts themselves, before it is
drawn where each count came from (Lee et al. 2011; Xu et al. 2014).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import NumericalError
from skyfold.vector import Array, Vector

NOWHERE = np.zeros(0, np.intp)
ROUNDING = 1e-5  # of the largest sensitivity


@dataclass(frozen=True, eq=False)
class View:
    """Data as they are seen with one setting of a calibration.

    The sensitivity of a value changes with the setting where its light leaves the field, and the
    laws know one sensitivity. They are told the largest of all settings; what it is more than that
    of the data is made up for by counts that were never seen, drawn as Poisson numbers.

    Parameters
    ----------
    data
        The data.
    gaps
        By component: places of the values that are seen less than their law believes, flat, and
        by how much.
    """

    data: DataInterface
    gaps: Mapping[str, tuple[Array, Array]]

    @classmethod
    def of(cls, data: DataInterface, most: Vector) -> View:
        """Return the view of data, given the largest sensitivities.

        Raises
        ------
        NumericalError
            If the data are more sensitive than that.
        """
        gaps = {}
        for name, bound in most.items():
            gap = (bound - data.sensitivity[name]).ravel()
            scale = float(np.max(bound, initial=0.0)) * ROUNDING
            if np.min(gap, initial=0.0) < -scale:
                raise NumericalError(
                    f"component {name!r} is more sensitive with one of its PSFs than was foreseen"
                )
            places = np.flatnonzero(gap > scale)
            gaps[name] = (places, gap[places])
        return cls(data, gaps)

    def completed(self, name: str, drawn: Array, values: Array, rng: np.random.Generator) -> Array:
        """Return the counts drawn for each value of a component, and those never seen."""
        places, gap = self.gaps.get(name, (NOWHERE, NOWHERE))
        if not places.size:
            return drawn
        full = drawn.copy()
        full.flat[places] += rng.poisson(gap * values.flat[places])
        return full


class Calibration(ABC):
    """Settings of a response, of which one is right.

    Attributes
    ----------
    names
        Parameters of the data that it sets (see `skyfold.data.DataInterface.parameters`).
    every
        Sweeps from one draw to the next.
    columns
        What the numbers of a setting are called.
    """

    names: tuple[str, ...]
    every: int
    columns: tuple[str, ...]

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Array:
        """Draw a setting before any counts are seen: float64, one number for each column."""

    @abstractmethod
    def parameters(self, setting: Array) -> Array:
        """Return what the response depends on with a setting."""

    @abstractmethod
    def draw(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array,
        rng: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Draw the setting given all values, leaving its posterior as it is.

        Parameters
        ----------
        data
            The data, seen with any setting.
        values
            Values of all components.
        setting
            The one of before.
        rng
            Source of randomness.
        """

    @abstractmethod
    def log_density(self, setting: Array) -> float:
        """Return the log-density of a setting before counts are seen, up to a constant."""

    @abstractmethod
    def sensitivity(self, data: DataInterface) -> Vector:
        """Return the largest sensitivity of any setting, for the laws."""

    def view(self, data: DataInterface, setting: Array) -> View:
        """Return the data seen with a setting."""
        return View.of(self.at(data, setting), self.sensitivity(data))

    def at(self, data: DataInterface, setting: Array) -> DataInterface:
        """Return the same counts seen with a setting."""
        return data.at(dict.fromkeys(self.names, self.parameters(setting)))

    def log_likelihood(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array
    ) -> float:
        """Return the log-likelihood of the values with a setting."""
        seen = self.view(data, setting).data
        return seen.log_likelihood(seen.forward(values))
