"""The step of PLUCY: two channels, stars and a smooth sky, at a fixed number of counts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, log, prod, sqrt
from typing import NamedTuple

import numpy as np

from skyfold._kernels import entropy_along, entropy_step, relative_entropy
from skyfold.algorithm import REFRESH, Algorithm, Proposal, State
from skyfold.ascent import reach
from skyfold.data import DataInterface, Expectation
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.points import point_components
from skyfold.priors.entropy import Entropy
from skyfold.vector import Array, Vector

tell = logging.getLogger(__name__)

CLOSE = 0.01  # change of the acceleration with which Newton's method ends
TRIALS = 50
FAR = 10.0  # an allowed acceleration beyond which a failed search takes none
ROUNDING = 1e-12  # part of the objective by which it may fall without having fallen


@dataclass(frozen=True, eq=False)
class PlucyState(State):
    """A state that knows what its sky is drawn to, and whether steps are lengthened.

    Parameters
    ----------
    level
        What the entropy draws the sky to, shape of the sky; empty without entropy.
    accelerating
        Whether steps are lengthened: asked for, or since the objective fell.
    before
        The objective one lap ago.
    """

    level: Array = field(default_factory=lambda: np.zeros(0))
    accelerating: bool = False
    before: float = -inf


class Step(NamedTuple):
    """What all values are pulled by.

    Attributes
    ----------
    values
        Changes of all that is fitted.
    reach
        How often it may be taken before a value is below zero.
    convergence
        Length of the step of the sky, relative to those of its two parts.
    """

    values: Vector
    reach: float
    convergence: float


@dataclass(frozen=True)
class Plucy(Algorithm):
    """Multiply by what counts and entropy ask for, less what keeps the expected counts.

    With R^T q from the counts and the slope S' of a relative entropy, every value that is fitted
    moves by ``x ((R^T q + S') / s + mu)``. The multiplier mu is the same for all and leaves
    ``s . x`` as it was, for any length of the step (Lucy 1994, in The Restoration of HST Images
    and Spectra II, 79; Hook & Lucy 1994, ibid. 86). Stars feel the entropy through mu alone.

    Accelerated steps are lengthened by Newton's method on the objective along the step, on which
    expectation and level are linear, to 90 % of the way beyond one at which a value would turn
    negative. Stars count in that limit; the programs of the time left them out, and set to zero
    for good those that fell below. A fall of the objective switches acceleration on.

    A lap costs one product, and two smoothings where the level floats. It starts from the model
    given, its sky scaled to the counts that stars and backgrounds leave; if they leave none, from
    half of the counts in either.

    Parameters
    ----------
    refinements
        None: they would break what is linear.
    priors
        One `Entropy` on one component, or none.
    guard
        Shorten a step that would lower the objective; PLUCY does not.
    seed, limit
        See `Algorithm`.
    accelerate
        Lengthen the steps from the beginning.
    """

    guard: bool = False
    accelerate: bool = True

    def start(self, data: DataInterface, model: Model) -> PlucyState:
        """Return the state before the first lap, with as many expected counts as observed.

        Raises
        ------
        ConfigError
            If there are refinements, bounds other than zero, or priors other than one entropy.
        DataError
            If there are no counts, or some that no model can explain.
        """
        self._require_known(model)
        first = super().start(data, balanced(data, model))
        state = PlucyState.of(first, level=self._level(first.model), accelerating=self.accelerate)
        return self._told(self._judged(state), data)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the step, lengthened if asked, with its expectation and level."""
        assert isinstance(state, PlucyState)
        values, longest, convergence = self._pull(state, data)
        ahead = data.forward(values)
        level_ahead = self._level_ahead(state.model, values)
        accelerating = state.accelerating or self._fell(state)
        share = min(1.0, 0.9 * longest)
        if accelerating:
            slopes = self._slopes(state, data, (values, ahead, level_ahead))
            share = _newton(slopes, 1 + 0.9 * (longest - 1) if longest > 1 else 0.9 * longest)
        elif share < 1:
            tell.info("iteration %d: %g of the step taken: no value falls below zero",
                      state.iteration + 1, share)  # fmt: skip
        new = values.map(lambda d, x: (x + share * d).astype(data.dtype), state.model.vector)
        level = state.level + share * level_ahead
        if (state.iteration + 1) % REFRESH == 0:
            level = self._level(state.model.with_values(new))
        notes = {"acceleration": share, "largest_acceleration": longest, "convergence": convergence}
        memory = {"level": level, "accelerating": accelerating, "before": state.objective}
        return Proposal(new, state.expectation + ahead * share, 0.5, notes, memory)

    def follow(self, state: State, proposal: Proposal, data: DataInterface) -> State:
        """Return the state that a proposal leads to, with what PLUCY says of it."""
        return self._told(super().follow(state, proposal, data), data)

    def _shortened(self, state: State, new: State, data: DataInterface) -> State:
        short = super()._shortened(state, new, data)
        assert isinstance(short, PlucyState)
        return self._told(self._judged(replace(short, level=self._level(short.model))), data)

    def _judged(self, state: State) -> State:
        """Return a state with the entropy of its sky."""
        if not isinstance(state, PlucyState) or not self.priors:
            return state
        sky, prior = self._entropy(state.model)
        values = state.model[sky].astype(np.float64, copy=False)
        value = prior.coefficient * relative_entropy(values, prior.above_noise(state.level))
        if not prior.floats:
            value += prior.coefficient * float(np.sum(values))
        return replace(state, log_prior=value)

    def _told(self, state: State, data: DataInterface) -> State:
        """Return a state with its figures as PLUCY gives them: per count, per pixel of the sky."""
        total = state.expectation.total
        pixels = sum(state.model[name].size for name in state.model.skies)
        bins = sum(prod(part.shape) for part in data.parts)
        likelihood = (state.log_likelihood + total) / total - log(total * max(pixels, 1) / bins)
        notes = {
            "objective": likelihood + state.log_prior / total,
            "mean_log_likelihood": likelihood,
        }
        if self.priors:
            notes["entropy"] = state.log_prior / self._entropy(state.model)[1].coefficient / total
        if stars := frozenset(point_components(state.model.components)):
            light = state.model.vector.only(stars).dot(data.sensitivity)
            notes["share_of_stars"] = light / total
        return replace(state, notes={**state.notes, **notes})

    def _pull(self, state: PlucyState, data: DataInterface) -> Step:
        """Return the step that conserves the expected counts."""
        model = state.model
        free = model.vector.only(model.free)
        seen = free.dot(data.sensitivity)
        pulls, steps, longest, convergence = [-free.dot(state.back) / seen, 0.0], {}, inf, 1.0
        sky, strength = "", 0.0
        if self.priors:
            sky, prior = self._entropy(model)
            strength = prior.coefficient
            drawn = model[sky].astype(np.float64, copy=False)
            level = prior.above_noise(state.level)
            # x . S' is this for a floating level and for a fixed one
            pulls[1] = -strength * relative_entropy(drawn, level) / seen
            spread = np.ones_like(drawn)
            if prior.floats:
                spread = prior.level(drawn / level, model.components[sky].geometry)
            steps[sky], out = spread, spread  # each of its values is read before it is written
            back, sensitivity = (
                np.ascontiguousarray(v[sky], np.float64) for v in (state.back, data.sensitivity)
            )
            first, second, both, longest = entropy_step(
                drawn, back, sensitivity, level, spread, (strength, *pulls), out
            )
            apart = sqrt(first) + sqrt(second)
            convergence = sqrt(both) / apart if apart > 0 else 0.0
        for name, values in free.items():
            if name != sky:
                s = data.sensitivity[name]
                per = np.divide(state.back[name], s, out=np.zeros(s.shape), where=s > 0)
                steps[name] = np.where(s > 0, values * (per + sum(pulls)), 0.0)
        others = Vector(steps).only(frozenset(free) - {sky})
        return Step(Vector(steps), min(longest, reach(model, others)), convergence)

    def _slopes(
        self, state: PlucyState, data: DataInterface, line: tuple[Vector, Expectation, Array]
    ) -> Callable[[float], tuple[float, float]]:
        """Return the slope of the objective, and minus the second one, at a share of the step."""
        values, ahead, level_ahead = line

        def slopes(share: float) -> tuple[float, float]:
            _, slope, bend = data.along(state.expectation, ahead, share)
            if self.priors:
                sky, prior = self._entropy(state.model)
                drawn = state.model[sky].astype(np.float64, copy=False)
                rise, bent = entropy_along(drawn, values[sky], state.level, level_ahead, share)
                if not prior.floats:
                    rise += float(np.sum(values[sky]))
                slope, bend = slope + prior.coefficient * rise, bend + prior.coefficient * bent
            return slope, bend

        return slopes

    def _fell(self, state: PlucyState) -> bool:
        fall = state.before - state.objective
        if not fall > ROUNDING * abs(state.objective):
            return False
        tell.warning(
            "iteration %d: the objective fell by %g; steps are accelerated from now on",
            state.iteration,
            fall,
        )
        return True

    def _entropy(self, model: Model) -> tuple[str, Entropy]:
        """Return the component that the entropy is on, and the entropy."""
        (prior,) = self.priors.values()
        assert isinstance(prior, Entropy)
        (sky,) = prior.chosen(model)
        return sky, prior

    def _level(self, model: Model) -> Array:
        """Return what the sky is drawn to."""
        if not self.priors:
            return np.zeros(0)
        sky, prior = self._entropy(model)
        values = model[sky].astype(np.float64, copy=False)
        return np.ascontiguousarray(prior.level(values, model.components[sky].geometry))

    def _level_ahead(self, model: Model, step: Vector) -> Array:
        """Return how the level changes with a step."""
        if not self.priors:
            return np.zeros(0)
        sky, prior = self._entropy(model)
        if not prior.floats:
            return np.zeros(step[sky].shape)
        return prior.level(step[sky], model.components[sky].geometry)

    def _require_known(self, model: Model) -> None:
        if self.refinements:
            raise ConfigError("plucy takes no refinements; rl, map and ml do")
        bound = [n for n in sorted(model.free) if model.components[n].bounds != (0.0, inf)]
        if bound:
            raise ConfigError(
                f"plucy keeps values above zero, but {bound[0]!r} has the bounds "
                f"{model.components[bound[0]].bounds}; lbfgs and sgp heed them"
            )
        for name, prior in self.priors.items():
            if not isinstance(prior, Entropy) or len(self.priors) > 1:
                raise ConfigError(f"plucy heeds one entropy, not {', '.join(self.priors)}")
            if len(chosen := prior.chosen(model)) != 1:
                raise ConfigError(
                    f"the prior {name} of plucy must be on one component, not on "
                    f"{len(chosen)}: {', '.join(sorted(chosen))}"
                )


def balanced(data: DataInterface, model: Model) -> Model:
    """Return the model with its skies scaled so that as many counts are expected as observed.

    If stars and backgrounds alone expect them all, they are scaled to half of them.
    """
    light = {n: model.vector.only(frozenset([n])).dot(data.sensitivity) for n in model}
    total = float(np.sum(data.counts, dtype=np.float64))
    known = sum(light[n] for n in model if n not in model.free)
    room = max(total - known, 0.1 * total)
    others, skies = model.free - model.skies, sum(light[n] for n in model.skies)
    points = sum(light[n] for n in others)
    share = 1.0
    if skies <= 0 or points >= room:
        share = room * (0.5 if skies > 0 else 1.0) / points if points > 0 else 1.0
    factors = dict.fromkeys(others, share)
    if skies > 0:
        factors |= dict.fromkeys(model.skies, (room - share * points) / skies)
    scaled = {n: (model[n] * f).astype(model[n].dtype) for n, f in factors.items()}
    return model.with_values(Vector(scaled))


def _newton(slopes: Callable[[float], tuple[float, float]], longest: float) -> float:
    """Return how far to go: to where the slope vanishes, by the rules of PLUCY."""
    share = min(1.0, longest)
    for _ in range(TRIALS):
        slope, bend = slopes(share)
        if not bend > 0:
            break
        last, share = share, min(longest, share + slope / bend)
        if share < 0:
            return longest if longest <= FAR else 1.0
        if abs(share - last) <= CLOSE:
            break
    return share
