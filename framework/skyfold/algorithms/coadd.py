"""The step of ACOADD: several frames of one scene, restored together."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.richardson_lucy import expected_values
from skyfold.data import DataInterface, Expectation
from skyfold.vector import Vector

CLOSE, TRIALS = 0.02, 50
DARK = 1e-10  # values that do not limit the step


@dataclass(frozen=True)
class Coadd(Algorithm):
    """Richardson-Lucy on all frames at once, its steps lengthened by Newton's method (ACOADD 1.6).

    Frames that share a sky are the parts of `JointData`, each with its exposure in its response.
    Unaccelerated it is `RichardsonLucy`. The search along a step maximises the log-likelihoods of
    the frames, each once more weighted by its share of the counts, and stops 70 % of the way
    beyond one at which a value would turn negative.

    Parameters
    ----------
    refinements, priors, guard, seed, limit
        See `Algorithm`; no priors, and without a guard, as the original.
    """

    guard: bool = False
    takes_priors: ClassVar[bool] = False

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the lengthened EM step, with its expectation."""
        old = state.model.vector
        step = expected_values(state, data) - old.only(state.model.free)
        ahead = data.forward(step)
        share = self._share(state, data, step, ahead)
        new = state.model.project(Vector({n: old[n] + share * d for n, d in step.items()}))
        return Proposal(new, state.expectation + ahead * share, 0.5, {"acceleration": share})

    def _share(self, state: State, data: DataInterface, step: Vector, ahead: Expectation) -> float:
        """Return how far to go, by the rules of ACOADD."""
        longest = inf
        for name, d in step.items():
            x = state.model[name]
            if np.any(falling := (d < 0) & (x > DARK)):
                longest = min(longest, float(np.min(x[falling] / -d[falling])))
        share = 1.0
        for trial in range(TRIALS):
            slope, bend = _along(data, state.expectation, ahead, share)
            if not bend > 0 or (trial == 0 and slope < 0):
                return 1.0
            last, share = share, share + slope / bend
            if share > longest:
                return 1 + 0.7 * (longest - 1)
            if abs(share - last) <= CLOSE:
                break
        return share


def _along(
    data: DataInterface, here: Expectation, ahead: Expectation, share: float
) -> tuple[float, float]:
    """Return slope and bend along a step, each frame weighted by its share of the counts."""
    counts = [float(np.sum(part.counts, dtype=np.float64)) for part in data.parts]
    ends = np.cumsum([part.counts.size for part in data.parts])[:-1]
    pieces = zip(
        data.parts,
        counts,
        *(np.split(e.observed, ends) for e in (here, ahead)),
        *(e.totals[:, None] for e in (here, ahead)),
        strict=True,
    )
    sums = np.zeros(2)
    for part, seen, e, d, total, change in pieces:
        _, slope, bend = part.along(Expectation(e, total), Expectation(d, change), share)
        sums += np.array([slope, bend]) * seen / sum(counts)
    return float(sums[0]), float(sums[1])
