"""What stands after ``--method``: bundles of components, priors and an algorithm for people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from skyfold.algorithm import Algorithm
from skyfold.data import DataInterface


class Method(ABC):
    """Turns data into a problem with a loop that solves it. Subclasses are dataclasses.

    Attributes
    ----------
    until
        Stopping rules by name, with their options: what ends a run when nobody says otherwise.
    """

    until: ClassVar[Mapping[str, Any]] = {"iterations": 100}

    @abstractmethod
    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data as the method sees them, and its algorithm.

        A method may change how the data are judged, or add components to them.
        """
