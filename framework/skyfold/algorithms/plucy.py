"""The step of PLUCY: two channels, stars and a smooth sky, at a fixed number of counts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, log, prod
from typing import Any

import numpy as np

from skyfold._kernels import advance
from skyfold.algorithm import REFRESH, Algorithm, Proposal, State
from skyfold.ascent import reach
from skyfold.conjugate import conjugated
from skyfold.data import DataInterface, Expectation
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.points import point_components
from skyfold.priors.channel import Channel
from skyfold.priors.entropy import Entropy
from skyfold.vector import Array, Vector

tell = logging.getLogger(__name__)

CLOSE = 0.01  # change of the acceleration with which Newton's method ends
NEAR = 0.05  # the same, in parts of the last one, where the search begins there
TRIALS = 50
FAR = 10.0  # an allowed acceleration beyond which a failed search takes none
ROUNDING = 1e-14  # part of the objective that rounding may change


@dataclass(frozen=True, eq=False)
class PlucyState(State):
    """A state that knows what its sky is drawn to, and whether steps are lengthened.

    Parameters
    ----------
    level
        What the entropy draws the sky to, shape of the sky; empty without entropy.
    floor
        What its steps are divided by at least; see `Channel.floor`.
    accelerating
        Whether steps are lengthened: asked for, or since the objective fell.
    share
        How often the last step was taken; zero before the first.
    before
        The objective one lap ago.
    direction, slope
        Direction of the last step, and the slope at its beginning; empty unless steps are
        conjugate.
    rise
        Step times slope there; zero if nothing is remembered.
    """

    level: Array = field(default_factory=lambda: np.zeros(0))
    floor: float = 0.0
    accelerating: bool = False
    share: float = 0.0
    before: float = -inf
    direction: Vector = field(default_factory=lambda: Vector({}))
    slope: Vector = field(default_factory=lambda: Vector({}))
    rise: float = 0.0


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
    conjugate
        Make each step conjugate to the last (Polak & Ribiere 1969) in the metric that these steps
        are scaled by, and lengthen it: to the same optimum in a third of the laps. PLUCY did not.
    """

    guard: bool = False
    accelerate: bool = True
    conjugate: bool = False

    @property
    def keeps_flux(self) -> bool:
        """Always."""
        return True

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap, with as many expected counts as observed.

        Raises
        ------
        ConfigError
            If there are refinements, bounds other than zero, or priors other than one entropy.
        DataError
            If there are no counts, or some that no model can explain.
        """
        self._require_known(model)
        first = super().start(data, model.balanced(data))
        level, channel = self._level(first.model), self._channel(first.model)
        floor = channel.floor(data.sensitivity[channel.name]) if channel else 0.0
        state = PlucyState.of(first, level=level, floor=floor, accelerating=self.accelerate)
        return self._told(self._judged(state), data)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the step, lengthened if asked, with its expectation and level."""
        assert isinstance(state, PlucyState)
        old, channel = state.model.vector, self._channel(state.model)
        scale = self._scale(state, data)
        step, longest, convergence = self._pulled(state, data, scale)
        memory: dict[str, Any] = {}
        if self.conjugate:
            step, longest, memory = conjugated(state, step, scale)
        ahead = data.forward(step)
        level_ahead = channel.level_ahead(step[channel.name]) if channel else np.zeros(0)
        accelerating = state.accelerating or self.conjugate or _fell(state)
        share = min(1.0, 0.9 * longest)
        if accelerating:
            telling = tell.isEnabledFor(logging.DEBUG)

            def slopes(share: float) -> tuple[float, float]:
                value, slope, bend = data.along(state.expectation, ahead, share)
                if channel:
                    line = (step[channel.name], level_ahead)
                    rise, bent = channel.along(state.level, line, share)
                    slope, bend = slope + rise, bend + bent
                if telling:
                    if channel:
                        there = replace(channel, values=channel.values + share * line[0])
                        value += there.valued(state.level + share * line[1])[1]
                    words = "iteration %d: tried %.4f of the step: objective %+.7g"
                    higher = (value - state.objective) / state.expectation.total
                    tell.debug(words, state.iteration + 1, share, higher)
                return slope, bend

            most = 1 + 0.9 * (longest - 1) if longest > 1 else 0.9 * longest
            known = state.share if self.conjugate else 0.0  # conjugate steps are much alike
            near = (known, NEAR * known) if known else (1.0, CLOSE)
            share = _newton(slopes, near, most, _rounding(state))
            if share >= most:
                memory["rise"] = 0.0  # a value in the way: what was learnt leads there again
        elif share < 1:
            words = "iteration %d: %g of the step taken, so that no value falls below zero"
            tell.info(words, state.iteration + 1, share)
        room = step.map(np.empty_like) if self.conjugate else step  # a direction is remembered
        new = step.map(lambda d, x, out: _moved(x, d, share, out), old, room)
        notes = {"acceleration": share, "largest_acceleration": longest, "convergence": convergence}
        memory |= {"accelerating": accelerating, "before": state.objective, "share": share}
        if (state.iteration + 1) % REFRESH == 0:  # `anew` makes the rest, when `ahead` is gone
            return Proposal(new, None, 0.5, notes, memory)
        expected = Expectation(
            _moved(state.expectation.observed, ahead.observed, share, ahead.observed),
            state.expectation.totals + share * ahead.totals,
        )
        memory["level"] = _moved(state.level, level_ahead, share, level_ahead)
        return Proposal(new, expected, 0.5, notes, memory)

    def follow(self, state: State, proposal: Proposal, data: DataInterface) -> State:
        """Return the state that a proposal leads to, with what PLUCY says of it."""
        return self._told(super().follow(state, proposal, data), data)

    def anew(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return a proposal with expectation and level computed, one after the other."""
        model = state.model.with_values(proposal.values)
        expectation = data.forward(model)
        memory = {**proposal.memory, "level": self._level(model)}
        return replace(
            proposal, expectation=expectation, products=proposal.products + 0.5, memory=memory
        )

    def _shortened(self, state: State, new: State, data: DataInterface) -> State:
        short = super()._shortened(state, new, data)
        assert isinstance(short, PlucyState)
        return self._told(self._judged(replace(short, level=self._level(short.model))), data)

    def _judged(self, state: State) -> State:
        """Return a state with the entropy of its sky."""
        channel = self._channel(state.model)
        if not isinstance(state, PlucyState) or channel is None:
            return state
        level, value = channel.valued(state.level)
        notes = {"log_prior": value, "log_posterior": state.log_likelihood + value}
        return replace(state, level=level, log_prior=value, notes={**state.notes, **notes})

    def _told(self, state: State, data: DataInterface) -> State:
        """Return a state with its figures as PLUCY gives them: per count, per pixel of the sky."""
        total, channel = state.expectation.total, self._channel(state.model)
        pixels = sum(state.model[name].size for name in state.model.skies)
        bins = sum(prod(part.shape) for part in data.parts)
        likelihood = (state.log_likelihood + total) / total - log(total * max(pixels, 1) / bins)
        notes = {
            "objective": likelihood + state.log_prior / total,
            "mean_log_likelihood": likelihood,
        }
        if channel:
            notes["entropy"] = state.log_prior / channel.prior.coefficient / total
        if stars := frozenset(point_components(state.model.components)):
            light = state.model.vector.only(stars).dot(data.sensitivity)
            notes["share_of_stars"] = light / total
        return replace(state, notes={**state.notes, **notes})

    def _pulled(
        self, state: PlucyState, data: DataInterface, scale: Vector
    ) -> tuple[Vector, float, float]:
        """Return the step, how often it may be taken, and the convergence parameter.

        That is the length of the step of the sky, over the sum of the lengths of its two parts.
        """
        model, channel = state.model, self._channel(state.model)
        free = model.vector.only(model.free)
        known = model.vector.only(frozenset(model) - model.free)
        seen = state.expectation.total - known.dot(data.sensitivity)
        steps, drag, longest, convergence = {}, 0.0, inf, 1.0
        if channel:
            name, back = channel.name, state.back[channel.name]
            quotient, mine = channel.quotient(state.level, back)
            others = free.only(frozenset(free) - {name})
            pull = -(mine + others.dot(state.back)) / seen
            drag = -channel.uphill(state.log_prior) / seen
            steps[name], (counts, entropy, both), longest = channel.step(
                quotient, back, data.sensitivity[name], (pull, drag), state.floor
            )
            convergence = both / (counts + entropy) if both > 0 else 0.0
        else:
            pull = -free.dot(state.back) / seen
        for name in [name for name in free if name not in steps]:
            s = data.sensitivity[name]
            per = np.divide(state.back[name], s, out=np.zeros(s.shape), where=s > 0)
            steps[name] = np.where(s > 0, free[name] * (per + pull + drag), 0.0)
            longest = min(longest, reach(model, Vector({name: steps[name]})))
        step = Vector(steps)
        if state.floor:
            step = _conserving(step, free, data.sensitivity, scale)
            longest = reach(model, step)
        return step, longest, convergence

    def _scale(self, state: PlucyState, data: DataInterface) -> Vector:
        """Return what steps are divided by."""
        scale, channel = dict(data.sensitivity.only(state.model.free)), self._channel(state.model)
        if channel and state.floor:
            scale[channel.name] = np.maximum(scale[channel.name], state.floor)
        return Vector(scale)

    def _channel(self, model: Model) -> Channel | None:
        """Return the sky that the entropy is on."""
        for prior in self.priors.values():
            (name,) = prior.chosen(model)
            assert isinstance(prior, Entropy)
            values = model[name].astype(np.float64, copy=False)
            return Channel(name, values, prior, model.components[name])
        return None

    def _level(self, model: Model) -> Array:
        """Return what the sky is drawn to."""
        channel = self._channel(model)
        return channel.level() if channel else np.zeros(0)

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


def _conserving(step: Vector, values: Vector, sensitivity: Vector, scale: Vector) -> Vector:
    """Return a step with what it changes of the expected total taken off, as far as it is seen."""
    heeding = values.map(
        lambda x, s, r: np.divide(x * s, r, out=np.zeros(x.shape), where=r > 0), sensitivity, scale
    )
    return step - heeding * (step.dot(sensitivity) / heeding.dot(sensitivity))


def _fell(state: PlucyState) -> bool:
    """Tell whether the objective fell, and say so."""
    fall = state.before - state.objective
    if not fall > _rounding(state):
        return False
    words = "iteration %d: the objective fell by %g; steps are accelerated from now on"
    tell.warning(words, state.iteration, fall)
    return True


def _rounding(state: State) -> float:
    return ROUNDING * (abs(state.log_likelihood) + state.expectation.total)


def _moved(start: Array, step: Array, share: float, out: Array) -> Array:
    """Return a place on the way along a step, in the memory of ``out`` where the dtypes allow."""
    if start.dtype != np.float64 or step.dtype != np.float64:
        return np.asarray(start + share * step, start.dtype)
    advance(np.ascontiguousarray(start), step, share, out)
    return out


def _newton(
    slopes: Callable[[float], tuple[float, float]],
    near: tuple[float, float],
    longest: float,
    rounding: float,
) -> float:
    """Return how far to go: to where the slope vanishes, by the rules of PLUCY.

    Where nothing is left to gain the step is taken as it is: PLUCY took it a million times then,
    and with it what rounding had added to the counts.

    Parameters
    ----------
    slopes
        Gives slope and bend somewhere along the step.
    near
        Where to begin, and a change with which to end.
    longest
        How far to go at most.
    rounding
        Slope at the beginning that is no more than rounding.
    """
    share, close = min(near[0], longest), near[1]
    for trial in range(TRIALS):
        slope, bend = slopes(share)
        if not bend > 0 or (trial == 0 and abs(slope) <= rounding):
            break
        last, share = share, min(longest, share + slope / bend)
        if share < 0:
            return longest if longest <= FAR else 1.0
        if abs(share - last) <= close:
            break
    return share
