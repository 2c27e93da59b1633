"""Fluxes by any algorithm, and places of point sources by Gauss and Newton, by turns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.astrometry import MOVES, free_places, loosened, moved_by
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.priors import log_densities
from skyfold.vector import Array, Vector

log = logging.getLogger(__name__)

STEP = 1 / 3  # of the farthest that a source may move at all, in one turn
FAINTEST = 0.1  # of its flux that a source keeps in one turn
SHORTEST = 2.0**-10  # part of a step that is still tried
NEGLIGIBLE = 1e-4  # rise of the objective for which places are not touched
PRODUCTS, ACCURACY = 40, 1e-3  # of the conjugate gradients that find a step


@dataclass(frozen=True)
class Recentred(Algorithm):
    """Iterations of an algorithm with the places of point sources held; now and then they move.

    Places and fluxes of all sources take a joint step of Gauss and Newton, with everything else
    held. It is halved until the objective rises, so that it rises over all. The sources together
    keep their counts in it: what they share with the sky below them is up to the algorithm, which
    then begins anew. No source goes farther from where it was listed than told: one that wants to
    is not where it is thought to be, or is none, and is named in a warning.

    Parameters
    ----------
    inner
        The algorithm; its refinements, priors, guard and seed are those given here.
    reach
        How far from its first place a source may go, in pixels of the sky's grid.
    turn
        Iterations after which places move.
    """

    inner: Algorithm = field(kw_only=True)
    reach: Annotated[float, Field(gt=0)] = field(kw_only=True)
    turn: Annotated[int, Field(ge=1)] = 5

    @classmethod
    def around(cls, inner: Algorithm, reach: float) -> Recentred:
        """Return the loop around an algorithm, whose options become its own."""
        shared = {name: getattr(inner, name) for name in _SHARED}
        return cls(**shared, inner=inner, reach=reach)

    @property
    def _inner(self) -> Algorithm:
        return replace(self.inner, **{name: getattr(self, name) for name in _SHARED})

    @property
    def keeps_flux(self) -> bool:
        """As the inner algorithm does."""
        return self.inner.keeps_flux

    def start(self, data: DataInterface, model: Any) -> State:
        """Return the first state of the inner algorithm, with the places listed.

        Raises
        ------
        ConfigError
            If the data have no point sources that can move.
        """
        places = free_places(data)
        if not places:
            raise ConfigError(
                "there are no stars between the pixels of an image, whose places could be fitted"
            )
        return replace(self._inner.start(data, model), parameters=Vector(places))

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return what the inner algorithm proposes with the places held."""
        return self._inner.m_step(state, data.at(state.parameters))

    def step(self, state: State, data: DataInterface) -> State:
        """Return the next state of the inner algorithm and, in its turn, move the sources."""
        seen = data.at(state.parameters)
        new = self._inner.step(state, seen)
        if new.iteration % self.turn:
            return new
        return self._moved(new, data, seen)

    def figures(self, state: State, data: DataInterface) -> Mapping[str, Any]:
        """Return how far the sources have moved at most, in pixels of the data."""
        far = np.hypot(*moved_by(data, state).T)
        own = self._inner.figures(state, data)
        return {**own, "largest_move": float(np.max(far, initial=0.0))}

    def _moved(self, state: State, data: DataInterface, seen: DataInterface) -> State:
        """Return the state after one joint step, seen with the new places."""
        free = loosened(seen, state.model)
        step, rise, products = _joint_step(state, free)
        state = replace(state, products=state.products + products)
        if rise < NEGLIGIBLE:
            return state
        first, here = (_only(p) for p in (free_places(data), state.parameters))
        fluxes = step.only(frozenset(step) - {MOVES})
        old = state.model.vector.only(frozenset(fluxes))
        rest = state.expectation + free.forward(old) * -1.0
        share = 1.0
        while share > SHORTEST:
            moves = self._within(here - first, step[MOVES] * share)
            new = old.map(lambda x, d: np.maximum(x + d, FAINTEST * x), fluxes * share)
            parameters = Vector({name: p + moves for name, p in state.parameters.items()})
            there = data.at(parameters)
            new = new * (free.sensitivity.dot(old) / there.sensitivity.dot(new))
            new = new.map(lambda x: x.astype(data.dtype, copy=False))
            model = state.model.with_values(new)
            now = data.log_likelihood(rest + there.forward(new))
            state = replace(state, products=state.products + 1)
            if now + sum(log_densities(self.priors, model).values()) > state.objective:
                begun = self._inner.start(there, model)
                self._tell(data, here - first, moves)
                return replace(
                    begun,
                    iteration=state.iteration,
                    parameters=parameters,
                    products=state.products + begun.products,
                    notes={**begun.notes, "moved": float(np.max(np.hypot(*moves.T)))},
                )
            share /= 2
        return state

    def _within(self, before: Array, moves: Array) -> Array:
        """Return moves cut off at what is allowed in one turn, and over all."""
        near = before + _shortened(moves, STEP * self.reach)
        return _shortened(near, self.reach) - before

    def _tell(self, data: DataInterface, before: Array, moves: Array) -> None:
        """Warn of sources that have just come to the end of their way."""
        far = 0.999 * self.reach
        ended = (np.hypot(*(before + moves).T) > far) & (np.hypot(*before.T) <= far)
        if np.any(ended):
            name = next(iter(free_places(data))).partition("[")[0]
            names: Any = data.components[name].geometry
            log.warning(
                "stars: %s would go farther than %.3g pixels from where it was listed, and is "
                "stopped there: is there a star?",
                ", ".join(repr(names.names[i]) for i in np.flatnonzero(ended)),
                self.reach,
            )


_SHARED = ("refinements", "priors", "guard", "seed", "limit")


def _joint_step(state: State, free: DataInterface) -> tuple[Vector, float, float]:
    """Return a step of Gauss and Newton, how much it promises, and the products spent.

    The equations are solved by conjugate gradients in variables scaled by the step of EM, and
    for moves by what the counts of a star would tell of its place if nothing lay below; across
    the direction in which the counts of all sources would change.
    """
    slope = free.back_project(state.expectation).back - free.sensitivity
    fluxes = {name: state.model[name] for name in slope if name != MOVES}
    scale = {
        name: np.sqrt(np.maximum(x, 0) / np.maximum(free.sensitivity[name], 1e-30))
        for name, x in fluxes.items()
    }
    light = sum(
        (x * free.sensitivity[name]).reshape(len(x), -1).sum(axis=1) for name, x in fluxes.items()
    )
    scale[MOVES] = np.repeat(1 / np.sqrt(np.maximum(light, 1e-30))[:, None], 2, axis=1)
    root = Vector({name: scale[name].astype(np.float64) for name in slope})

    total: Vector = free.sensitivity * root
    total = total * (1 / np.sqrt(max(total.dot(total), 1e-300)))

    def kept(vector: Vector) -> Vector:
        return vector - total * total.dot(vector)

    rest = kept(slope * root)
    found, way, size, products = rest * 0.0, rest, rest.dot(rest), 1.0
    enough = ACCURACY**2 * size
    while size > enough and products < PRODUCTS:
        ahead = (way * root).map(lambda v: v.astype(free.dtype, copy=False))
        bent = kept(free.hessian(state.expectation, ahead) * root)
        products += 1
        curved = way.dot(bent)
        if curved <= 0:
            break
        length = size / curved
        found, rest = found + way * length, rest - bent * length
        size, before = rest.dot(rest), size
        way = rest + way * (size / before)
    step = found * root
    return step, 0.5 * step.dot(slope), products


def _shortened(moves: Array, longest: float) -> Array:
    far = np.hypot(*moves.T)
    shorter: Array = moves * np.minimum(1.0, longest / np.maximum(far, 1e-30))[:, None]
    return shorter


def _only(places: Mapping[str, Array]) -> Array:
    """Return places of the first observation: in all of them sources move alike."""
    return next(iter(places.values()))
