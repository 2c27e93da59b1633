"""Scaled gradient projection: to the most probable model under any priors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.ascent import backtrack, gradient, least
from skyfold.data import DataInterface, Expectation
from skyfold.linesearch import best_step
from skyfold.metric import Metric
from skyfold.model import Model
from skyfold.priors import derivative, log_densities
from skyfold.vector import Array, Vector

SHORTEST, LONGEST = 1e-2, 1e3  # limits of the step lengths
FALL = 0.01  # part of a value that is left at least after one step


@dataclass(frozen=True, eq=False)
class SGPState(State):
    """A state that knows where it comes from.

    Parameters
    ----------
    before, slope
        Values before the last step, and the slope of the objective there; empty at the beginning.
    lengths
        The last three short step lengths.
    switch
        Ratio of the short to the long step length, below which the short ones are taken.
    """

    before: Vector = field(default_factory=lambda: Vector({}))
    slope: Vector = field(default_factory=lambda: Vector({}))
    lengths: tuple[float, ...] = ()
    switch: float = 0.5


@dataclass(frozen=True)
class ScaledGradientProjection(Algorithm):
    """Go along the scaled slope, within the bounds (Bonettini, Zanella & Zanni 2009).

    The slope is divided by the metric ``s / x - H`` with the sensitivity s and the second
    derivative H of the priors, by a few conjugate gradients that cost no product; without priors
    and with a step length of one that is the EM step. For priors that are not concave the diagonal
    c that bounds -H takes its place: ``x / (s + x c)`` times the slope. The lengths are those of
    Barzilai & Borwein (1988) in that metric, chosen between the short and the long one by a
    threshold that adapts. The part of the step that is taken comes from a search along it, in
    which the likelihood costs no product.

    One step leaves at least a hundredth of each value. So priors whose slope is infinite at zero
    keep all values above it, and values that belong to zero come close to it at once, whatever
    the priors. Values near zero with a slope upwards move as if they were larger.
    """

    def start(self, data: DataInterface, model: Model) -> SGPState:
        """Return the state before the first lap."""
        return SGPState.of(super().start(data, model))

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the best part of the projected step."""
        assert isinstance(state, SGPState)
        model, slope = state.model, gradient(state, data, self.priors)
        old = model.vector.only(frozenset(slope))
        values = old.map(lambda x: x.astype(np.float64))
        metric = self._metric(state, data, slope)
        length, memory = _length(state, values, slope, metric)

        def ahead(x: Array, d: Array) -> Array:
            moved: Array = np.maximum(x + length * d, FALL * x)
            return moved.astype(data.dtype)

        root = metric.stretch
        new = model.project(values.map(ahead, root * metric.solve(root * slope)))
        if slope.dot(new - old) <= 0:  # what was cut off may have been the good part
            new = model.project(values.map(ahead, root * root * metric.scale * slope))
        step = new - old
        along = data.forward(step)
        share = self._share(state, data, step, along, slope.dot(step))
        if share < 1:
            new = model.project(old + step.map(lambda d: d * d.dtype.type(share)))
        notes = {"step_length": length, "share": share}
        return Proposal(new, state.expectation + along * share, 0.5, notes, memory)

    def _metric(self, state: State, data: DataInterface, slope: Vector) -> Metric:
        """Return the metric of the variables ``step / sqrt(x / s)``.

        Small values with a slope upwards have a little more; priors that are not concave enter by
        their curvature c, as ``x / (s + x c)``.
        """
        concave = {name: prior for name, prior in self.priors.items() if prior.concave}
        others = {name: prior for name, prior in self.priors.items() if not prior.concave}
        bends, stretch = derivative(others, state.model, "curvature"), {}
        for name, g in slope.items():
            x = state.model[name].astype(np.float64)
            small = least(data, name, state.iteration)
            below = data.sensitivity[name] + x * bends[name]
            below = np.where((x < small) | (below <= 0), np.maximum(below, np.abs(g)), below)
            above = np.where(g > 0, np.maximum(x, small), x)
            scale = np.divide(above, below, out=np.zeros(x.shape), where=below > 0)
            stretch[name] = np.sqrt(scale)
        even = Vector({name: np.ones(t.shape) for name, t in stretch.items()})
        return Metric(state.model, even, Vector(stretch), concave)

    def _share(
        self, state: State, data: DataInterface, step: Vector, along: Expectation, rise: float
    ) -> float:
        """Return the part of the step that is taken."""
        if not self.priors:
            return best_step(data, state.expectation, along, 1.0)

        def objective(share: float) -> float:
            model = state.model.with_values(state.model.vector.only(frozenset(step)) + step * share)
            densities = log_densities(self.priors, model)
            return data.log_likelihood(state.expectation + along * share) + sum(densities.values())

        return backtrack(objective, state.objective, rise)


def _length(
    state: SGPState, values: Vector, slope: Vector, metric: Metric
) -> tuple[float, dict[str, Any]]:
    """Return the step length and what to remember.

    With the change of values dx and of slope dg, and the metric M, the long length is
    ``dx . M dx / (dx . -dg)`` and the short one ``(dx . -dg) / (dg . dg / M)``: those of Barzilai
    and Borwein for the variables in which M is one.
    """
    memory: dict[str, Any] = {"before": values, "slope": slope}
    if not state.before:
        return 1.0, memory
    moves, bends = values - state.before, state.slope - slope
    plain = moves.map(_over, metric.stretch)
    spread = plain.dot(metric(plain))
    if spread == 0:
        return 1.0, memory
    turned = metric.stretch * bends
    met, bent = moves.dot(bends), turned.dot(metric.solve(turned))
    long, short = (
        min(max(above / below, SHORTEST), LONGEST) if above > 0 and below > 0 else LONGEST
        for above, below in ((spread, met), (met, bent))
    )
    lengths = (*state.lengths, short)[-3:]
    if short < state.switch * long:
        return min(lengths), {**memory, "lengths": lengths, "switch": 0.9 * state.switch}
    return long, {**memory, "lengths": lengths, "switch": 1.1 * state.switch}


def _over(moves: Array, scale: Array) -> Array:
    return np.divide(moves, scale, out=np.zeros(moves.shape), where=scale > 0)
