"""Richardson-Lucy: the expected attribution of the counts, divided by the sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skyfold._kernels import em_update
from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.data import DataInterface
from skyfold.vector import Array, Vector


def expected_values(state: State, data: DataInterface) -> Vector:
    """Return ``x R^T(n/e) / s`` for all that is fitted: the EM step.

    The sum of sensitivity times values equals the observed counts after it (Richardson 1972,
    eq. 5; Lucy 1974, eq. 15; Shepp & Vardi 1982), components and background normalisations alike.
    """

    def update(values: Array, back: Array, sensitivity: Array) -> Array:
        updated = np.empty_like(values)
        em_update(values, back, sensitivity, updated)
        return updated

    free = state.model.vector.only(state.model.free)
    return free.map(update, state.back, data.sensitivity)


@dataclass(frozen=True)
class RichardsonLucy(Algorithm):
    """``x <- x R^T(n/e) / R^T w`` on every component that is not fixed.

    Plain, it never lowers the likelihood and keeps values non-negative. Stopped early it acts as
    a regulariser; run long it turns noise into points. Refinements have no objective and may lower
    the likelihood, so the guard is off.
    """

    guard: bool = False
    takes_priors: ClassVar[bool] = False

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the EM step, within the bounds of each component."""
        return Proposal(state.model.project(expected_values(state, data)))
