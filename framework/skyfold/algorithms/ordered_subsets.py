"""Ordered subsets: a quick approach, handed over to a solver that arrives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.richardson_lucy import expected_values
from skyfold.ascent import reach
from skyfold.data import DataInterface
from skyfold.joint import JointData
from skyfold.linesearch import best_step
from skyfold.model import Model
from skyfold.registry import default_registry
from skyfold.vector import Array, Vector

log = logging.getLogger(__name__)

MOST = 20  # subsets of the last epoch
COUNTS, BINS = 1000, 100  # that such a subset holds at least
CHANGE = 10.0  # largest factor by which a subset may change a value
FAR = 3.0  # how often the way of all epochs may be gone


@dataclass(frozen=True)
class OrderedSubsets(Algorithm):
    """Some epochs of EM by subsets of the bins, then another solver from there.

    An epoch visits the subsets one after the other, each as if it were all data (Hudson & Larkin
    1994): as many EM steps as there are subsets for one product. Each epoch has half as many as
    the one before, because the fewer they are, the nearer to the maximum they lead before they go
    round in circles. All epochs are one lap of the loop. It ends with a search along the whole way,
    on the expected counts, so that the likelihood never falls; ``step`` in the trace says how much
    of the way was gone.

    Where subsets cost more than their share of a product, as with FFTs, or would hold too few
    counts, there are no epochs.

    Parameters
    ----------
    subsets
        Number of subsets in the last epoch; at most 20 by default, each with 1000 counts in 100
        bins at least.
    epochs
        How often all bins are visited.
    then
        Name of the solver that goes on, and alone heeds priors; by default em-pcg, with priors sgp.
    """

    subsets: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 3
    then: str | None = None

    @property
    def following(self) -> str:
        """Name of the solver that goes on."""
        return self.then or ("sgp" if self.priors else "em-pcg")

    @cached_property
    def solver(self) -> Algorithm:
        """The solver that goes on, with the same refinements, priors and guard."""
        made: Algorithm = default_registry().algorithms[self.following](
            self.refinements, self.priors, self.guard
        )
        return made

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap; the solver's own, with nothing remembered yet."""
        return self.solver.start(data, model)

    def step(self, state: State, data: DataInterface) -> State:
        """Return the state after all epochs, or after a step of the solver."""
        if state.iteration == 0 and self._last(data):
            return super().step(state, data)
        return self.solver.step(state, data)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return where the epochs lead, or the best point on the way there and beyond."""
        most = self._last(data) << (self.epochs - 1)
        parts, free = data.split(most), state.model.free
        log.info("%d epochs of %d subsets and fewer, then %s", self.epochs, most, self.following)
        model = state.model.with_values(state.model.project(expected_values(state, data)))
        for epoch in range(self.epochs):
            n = most >> epoch
            for i in _order(n):
                chosen = parts[i::n]
                part = JointData(chosen) if len(chosen) > 1 else chosen[0]
                model = model.with_values(_visited(model, part))
        way = model.vector.only(free) - state.model.vector.only(free)
        along, share, spent = data.forward(way), 1.0, 0.5 + self.epochs + 0.5
        if self.guard:
            longest = max(1.0, min(FAR, 0.99 * reach(state.model, way)))
            share = best_step(data, state.expectation, along, longest)
        return Proposal(
            state.model.project(state.model.vector.only(free) + way * share),
            state.expectation + along * share,
            spent,
            {"step": share},
        )

    def _last(self, data: DataInterface) -> int:
        """Return the number of subsets in the last epoch; none if they are of no use."""
        possible = data.divisions >> (self.epochs - 1)
        counts = float(np.sum(data.counts, dtype=np.float64))
        useful = min(MOST, int(counts) // COUNTS, data.counts.size // BINS)
        found = min(self.subsets or useful, possible)
        if not found:
            why = "hold too few counts" if possible else "each cost as much as all data"
            log.info("subsets would %s: %s from the start", why, self.following)
        return found


def _order(n: int) -> Iterator[int]:
    """Yield all numbers below n, neighbours far apart."""
    stride = next(s for s in range(round(0.618 * n) or 1, n + 1) if gcd(s, n) == 1)
    return (stride * i % n for i in range(n))


def _visited(model: Model, part: DataInterface) -> Vector:
    """Return the values after an EM step on some of the data; what these do not see stays."""
    back = part.e_step(model).back

    def update(x: Array, b: Array, s: Array) -> Array:
        factor = np.divide(b, s, out=np.ones_like(x), where=s > 0)
        return np.asarray(x * np.clip(factor, 1 / CHANGE, CHANGE))

    seen = model.vector.only(model.free & frozenset(part.components))
    return model.project(seen.map(update, back, part.sensitivity))
