"""Conjugate gradients in the metric of EM: to the maximum of the likelihood in few products."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from skyfold._kernels import conjugate_direction, scaled_slope
from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.data import DataInterface
from skyfold.linesearch import best_step
from skyfold.model import Model
from skyfold.vector import Vector

FLOOR = 1e-2  # what counts as small, relative to the even level that makes all counts
STRETCH = 2.0  # how much longer than the last a step may be before values are cut
FARTHEST = 1e3  # longest step, where that of EM is one
UPHILL = 0.01  # a direction rises at least so much of what the scaled slope does


@dataclass(frozen=True, eq=False)
class Conjugate(State):
    """A state that knows where it came from.

    Parameters
    ----------
    direction
        Direction p of the last step.
    slope
        Slope g of the log-likelihood at its beginning.
    rise
        ``z . g`` there; zero if nothing is remembered.
    length
        How much of the direction was gone.
    """

    direction: Vector = field(default_factory=lambda: Vector({}))
    slope: Vector = field(default_factory=lambda: Vector({}))
    rise: float = 0.0
    length: float = 1.0


@dataclass(frozen=True)
class EMConjugateGradient(Algorithm):
    """Maximise the log-likelihood by preconditioned conjugate gradients (Kaufman 1987, 1993).

    The EM step is a step along the slope scaled by ``x / s``, value over sensitivity. Here that
    scaled slope z is made conjugate to the last direction (Polak & Ribiere), and the step is as
    long as the likelihood rises. The search is done on the expected counts, which are linear in
    the step, so a lap costs one product like one of EM; it needs some ten times fewer of them.

    Values stay within bounds because the direction is cut before its product: twice the last
    step, taken whole, may just reach them. A value that should be zero thus halves or so with each
    lap, and one at zero that should rise is scaled as if it were a little above it.

    It goes straight for the maximum: stopped early it is no regulariser, as plain EM is.
    """

    takes_priors: ClassVar[bool] = False

    def start(self, data: DataInterface, model: Model) -> Conjugate:
        """Return the state before the first lap, which remembers nothing."""
        state = super().start(data, model)
        nothing = state.model.vector.only(model.free).map(np.zeros_like)
        return Conjugate.of(state, direction=nothing, slope=nothing)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the best step along the direction conjugate to the last one."""
        assert isinstance(state, Conjugate)
        slope, scaled, rise, mixed = _slopes(state, data)
        beta = max(0.0, (rise - mixed) / state.rise) if state.rise > 0 else 0.0
        direction, uphill, far = _direction(state, slope, scaled, beta)
        if uphill < UPHILL * rise:
            direction, _, far = _direction(state, slope, scaled, 0.0)
        along = data.forward(direction)
        length = best_step(data, state.expectation, along, min(far, FARTHEST))
        moved = state.model.vector.only(state.model.free) + direction * length
        return Proposal(
            state.model.project(moved),
            state.expectation + along * length,
            products=0.5,
            notes={"length": length},
            memory={
                "direction": direction,
                "slope": slope,
                "rise": rise if length > 0 else 0.0,
                "length": length or 1.0,
            },
        )


def _slopes(state: Conjugate, data: DataInterface) -> tuple[Vector, Vector, float, float]:
    """Return slope g, scaled slope z, ``z . g`` and ``z . (last slope)``.

    The scale is ``x / s``, where x is the way to the bound for values that fall, and not below a
    floor for those that rise; zero where nothing is seen or may change.
    """
    slope, scaled, rise, mixed = {}, {}, 0.0, 0.0
    counts = float(np.sum(data.counts, dtype=np.float64))
    for name, last in sorted(state.slope.items()):
        values, part = state.model[name], state.model.components[name]
        seen = data.sensitivity[name]
        if part.mask is not None:
            seen = np.where(part.mask, seen, seen.dtype.type(0))
        total = float(np.sum(seen, dtype=np.float64))
        floor = FLOOR * counts / total if total > 0 else 0.0
        g, z = np.empty_like(values), np.empty_like(values)
        both = scaled_slope(values, state.back[name], seen, floor, *part.bounds, last, g, z)
        slope[name], scaled[name] = g, z
        rise, mixed = rise + both[0], mixed + both[1]
    return Vector(slope), Vector(scaled), rise, mixed


def _direction(
    state: Conjugate, slope: Vector, scaled: Vector, beta: float
) -> tuple[Vector, float, float]:
    """Return ``z + beta p`` cut at the bounds, its slope, and how much of it stays within them."""
    direction, uphill, far = {}, 0.0, np.inf
    longest = STRETCH * state.length
    for name, z in scaled.items():
        values, bounds = state.model[name], state.model.components[name].bounds
        p = np.empty_like(values)
        rise, reach = conjugate_direction(
            values, z, slope[name], state.direction[name], beta, longest, *bounds, p
        )
        direction[name] = p
        uphill, far = uphill + rise, min(far, reach)
    return Vector(direction), uphill, far
