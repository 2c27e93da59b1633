"""Maximum a posteriori: the likelihood and what is known besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skyfold.algorithm import Algorithm, Refinement
from skyfold.algorithms.one_step_late import OneStepLate
from skyfold.data import DataInterface
from skyfold.methods import Method
from skyfold.priors import Prior


@dataclass(frozen=True)
class MAP(Method):
    """The most probable model under priors, by EM.

    Parameters
    ----------
    prior
        Priors by name, with their options: tsv, gamma, gamma_background, entropy.
    guard
        Never let the log-posterior fall; without it the recipe is the one published for Compton
        telescopes, whose limit is only near the maximum.
    refinements
        Treatments of each step, in the order given: response weighting, mask, floor, ...
    """

    prior: Mapping[str, Prior] = field(default_factory=dict)
    guard: bool = True
    refinements: tuple[Refinement, ...] = ()

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop."""
        return data, OneStepLate(self.refinements, self.prior, self.guard)
