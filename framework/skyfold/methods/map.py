"""Maximum a posteriori: the likelihood and what is known besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from skyfold.algorithm import Algorithm, Refinement
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.methods import Method
from skyfold.priors import Prior
from skyfold.registry import default_registry
from skyfold.strength import scaled

Factor = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class MAP(Method):
    """The most probable model under priors.

    Parameters
    ----------
    prior
        Priors by name, with their options: ``--prior tsv=1e-3``; tsv, gamma, entropy,
        relative_difference, ...
    strength
        Factor by which all coefficients are multiplied; several, as [0.1, 1, 10], or ``auto``, to
        let held-out photons choose.
    solver
        Name of the algorithm: sgp, lbfgs, one-step-late, ...
    guard
        Never let the log-posterior fall. Without it one-step-late is the recipe published for
        Compton telescopes, whose limit is only near the maximum.
    refinements
        Treatments of each step, in the order given: mask, floor, ...
    """

    prior: Mapping[str, Prior] = field(default_factory=dict)
    strength: Factor | Literal["auto"] | Annotated[tuple[Factor, ...], Field(min_length=1)] = 1.0
    solver: str = "sgp"
    guard: bool = True
    refinements: tuple[Refinement, ...] = ()
    until: ClassVar = {
        "relative_gap": 1e-3,
        "delta_log_posterior": {"threshold": 0.01, "over": 20},
        "iterations": 2000,
    }

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop.

        Raises
        ------
        ConfigError
            If there is no prior.
        UnknownNameError
            If there is no solver of that name.
        """
        if not self.prior:
            raise ConfigError(
                "map needs a prior: --prior tsv=1e-3, or prior={'tsv': 1e-3}; without one the "
                "method to the optimum is ml (--converge)"
            )
        make = default_registry().algorithms[self.solver]
        if not make.takes_priors:
            raise ConfigError(
                f"the solver {self.solver} heeds no priors; sgp, lbfgs and one-step-late do"
            )
        factor = self.strength if isinstance(self.strength, int | float) else 1.0
        return data, make(self.refinements, scaled(self.prior, factor), self.guard)
