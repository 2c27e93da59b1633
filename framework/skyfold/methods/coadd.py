"""Several frames of one scene by the steps of ACOADD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skyfold.algorithm import Algorithm
from skyfold.algorithms.coadd import Coadd as Steps
from skyfold.data import DataInterface
from skyfold.methods import Method


@dataclass(frozen=True)
class Coadd(Method):
    """Accelerated Richardson-Lucy on several frames of one sky, as ACOADD did it.

    Any method restores several frames together; this one gives the numbers of ACOADD 1.6.
    """

    until: ClassVar = {"iterations": 20}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop."""
        return data, Steps()
