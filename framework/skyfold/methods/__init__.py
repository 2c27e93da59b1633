"""What stands after ``--method``: bundles of components, priors and an algorithm for people."""

from __future__ import annotations

from abc import ABC, abstractmethod

from skyfold.algorithm import Algorithm
from skyfold.data import DataInterface


class Method(ABC):
    """Turns data into a problem with a loop that solves it. Subclasses are dataclasses."""

    @abstractmethod
    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data as the method sees them, and its algorithm.

        A method may change how the data are judged, or add components to them.
        """
