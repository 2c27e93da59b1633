"""Richardson-Lucy for people: plain, damped, or refined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from skyfold.algorithm import Algorithm, Refinement
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.data import DataInterface
from skyfold.likelihood import Damped
from skyfold.methods import Method


@dataclass(frozen=True)
class RL(Method):
    """Richardson-Lucy restoration of all components that are not fixed.

    Parameters
    ----------
    damping
        Do not follow differences below this many sigma (White 1994); none by default.
    refinements
        Treatments of each step, in the order given: smoothing, acceleration, floor, ...
    """

    damping: Annotated[float, Field(gt=0)] | None = None
    refinements: tuple[Refinement, ...] = ()
    until: ClassVar = {"held_out": {}}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data, damped if asked, and the loop."""
        if self.damping is not None:
            data = data.with_likelihood(Damped(self.damping))
        return data, RichardsonLucy(refinements=self.refinements)
