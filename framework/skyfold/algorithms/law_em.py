"""EM under the laws of a sampler: every draw of a Gibbs sweep replaced by what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import nan
from typing import ClassVar

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.gibbs import BEFORE
from skyfold.data import DataInterface
from skyfold.model import Model
from skyfold.sampling.chains.chains import Numbers
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array, Vector


@dataclass(frozen=True, eq=False)
class LawState(State):
    """A model, and what the laws of its components do not know.

    Parameters
    ----------
    unknowns
        By component and name.
    """

    unknowns: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class LawEM(Algorithm):
    """Attribute the counts as expected, then take the best values and unknowns given these.

    For LIRA's law it is the EM of Esch et al. (2004): a mode of the posterior, quickly, without
    errors. The log-prior is that of the logarithms of what is drawn, which is not what a sampler
    of the same laws tells; before the first lap there is none.

    Parameters
    ----------
    laws
        Law of each component that is fitted.
    """

    laws: Mapping[str, Law] = field(default_factory=dict)
    guard: bool = False
    takes_priors: ClassVar[bool] = False
    takes_places: ClassVar[bool] = False

    def start(self, data: DataInterface, model: Model) -> LawState:
        """Return the state before the first lap."""
        rng = Numbers(self.seed, 0).at(BEFORE)
        unknowns = {name: law.start(model[name], 0, rng)[1] for name, law in self.laws.items()}
        state = LawState.of(super().start(data, model), unknowns=unknowns)
        return replace(state, log_prior=nan, notes={"log_prior": nan, "log_posterior": nan})

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return what the laws find best."""
        assert isinstance(state, LawState)
        values: dict[str, Array] = {}
        unknowns: dict[str, dict[str, Array]] = {}
        densities: dict[str, float] = {}
        for name, law in self.laws.items():
            expected = (state.model[name] * state.back[name]).astype(np.float64)
            values[name], unknowns[name], densities[name] = law.maximise(
                expected, state.model[name], dict(state.unknowns[name])
            )
        new = Vector(values).map(lambda v: v.astype(data.dtype))
        return Proposal(new, memory={"unknowns": unknowns, "log_prior": sum(densities.values())})

    def _judged(self, state: State) -> State:
        """Return a state that tells its log-prior."""
        total = state.log_prior
        notes = {"log_prior": total, "log_posterior": state.log_likelihood + total}
        return replace(state, notes={**state.notes, **notes})
