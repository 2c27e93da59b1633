"""EM with momentum: the simplest acceleration that never lowers the likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.richardson_lucy import expected_values
from skyfold.data import DataInterface
from skyfold.model import Model
from skyfold.vector import Vector

KEPT = 0.5  # least part of a value that the momentum leaves


@dataclass(frozen=True, eq=False)
class Moving(State):
    """A state with momentum.

    Parameters
    ----------
    landed
        Where the last EM step led, before the momentum carried on.
    pace
        Nesterov's t: one without momentum, and about half the laps since then.
    """

    landed: Vector = field(default_factory=lambda: Vector({}))
    pace: float = 1.0


@dataclass(frozen=True)
class MomentumEM(Algorithm):
    """EM steps that each begin further on along the way the last two led (Nesterov 1983).

    An EM step leads from y to x; the next begins at ``y = x + beta (x - last x)``, where beta grows
    from 0 towards 1 and no value falls below half of x. If that y were less likely than the last
    one, the momentum is given up and the next step begins at x itself, where the likelihood never
    is lower (O'Donoghue & Candes 2015); then a lap costs half a product more. The model is y.
    """

    takes_priors: ClassVar[bool] = False

    def start(self, data: DataInterface, model: Model) -> Moving:
        """Return the state before the first lap, at rest."""
        state = super().start(data, model)
        return Moving.of(state, landed=state.model.vector.only(model.free))

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the EM step and what the momentum adds to it."""
        assert isinstance(state, Moving)
        landed = state.model.project(expected_values(state, data))
        pace = _next(state.pace)
        beta = (state.pace - 1) / pace
        if beta > 0:
            carried = landed + (landed - state.landed) * beta
            values = state.model.project(carried.map(np.maximum, landed * KEPT))
            expectation = data.forward(state.model.with_values(values))
            if data.log_likelihood(expectation) >= state.log_likelihood:
                memory = {"landed": landed, "pace": pace}
                return Proposal(values, expectation, 0.5, {"momentum": beta}, memory)
            pace = _next(1.0)
        memory = {"landed": landed, "pace": pace}
        return Proposal(landed, None, 0.5 * (beta > 0), {"momentum": 0.0}, memory)


def _next(pace: float) -> float:
    """Return what follows in Nesterov's sequence."""
    return 0.5 * (1 + sqrt(1 + 4 * pace**2))
