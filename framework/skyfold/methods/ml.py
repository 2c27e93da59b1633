"""Maximum likelihood: to the optimum, not stopped early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skyfold.algorithm import Algorithm, Refinement
from skyfold.data import DataInterface
from skyfold.methods import Method
from skyfold.registry import default_registry


@dataclass(frozen=True)
class ML(Method):
    """The model under which the counts are most likely.

    Nothing smooths it: of an image it makes points on a dark ground. It is meant for models of few
    values, for likelihood ratios, and as a reference.

    Parameters
    ----------
    solver
        Name of the algorithm: em-pcg, sgp, lbfgs, ...
    refinements
        Treatments of each step, in the order given: mask, floor, ...
    """

    solver: str = "em-pcg"
    refinements: tuple[Refinement, ...] = ()
    until: ClassVar = {
        "relative_gap": 1e-3,
        "delta_log_likelihood": {"threshold": 0.01, "over": 20},
        "iterations": 2000,
    }

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop.

        Raises
        ------
        UnknownNameError
            If there is no solver of that name.
        """
        return data, default_registry().algorithms[self.solver](self.refinements)
