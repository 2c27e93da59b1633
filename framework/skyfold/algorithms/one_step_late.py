"""EM with priors, each evaluated one step late."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.data import DataInterface
from skyfold.errors import NumericalError
from skyfold.model import Model
from skyfold.priors import Prior, derivative, log_densities
from skyfold.priors.gamma import Gamma
from skyfold.refinements import Floor
from skyfold.vector import Array, Vector

log = logging.getLogger(__name__)

LARGEST = np.log(10)  # exponent of the filter, with the guard
OVERFLOW = 100.0  # exponent of the filter, without the guard
SHORTEST = 2.0**-20  # part of a step that is still tried


@dataclass(frozen=True)
class OneStepLate(Algorithm):
    """Maximise log-likelihood plus log-priors by an EM step and a filter for the priors.

    Gamma priors are part of the EM step, ``m = (x R^T q + k - 1) / (s + 1/theta)``, for they are
    conjugate; all others with gradient g multiply it by ``exp(g(m) / (s + 1/theta))``. That is the
    multiplicative form of the one-step-late rule (Green 1990): quick, but the posterior may fall,
    and a strong prior makes it diverge. The guard repairs both.

    Parameters
    ----------
    priors
        Priors by name.
    guard
        Never let the log-posterior fall: a step that would lower it is shortened, by a search on
        the expected counts, which are linear in the step; the trace notes how much of it was gone
        as ``step``. Where no part of it helps, a scaled gradient step is tried instead. The filter
        changes no value by more than a factor of ten. Without the guard this is the recipe as
        published.
    """

    priors: Mapping[str, Prior] = field(default_factory=dict)
    guard: bool = True

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap; with the guard within masks and floors."""
        state = super().start(data, model)
        if self.guard and self.refinements:
            proposal = Proposal(model.vector.only(model.free))
            for refine in self.refinements:
                proposal = refine(state, proposal, data)
            state = super().start(data, model.with_values(proposal.values))
        return self._judged(state)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the EM step with its gamma priors, filtered by the other priors.

        Raises
        ------
        NumericalError
            Without the guard, if a prior is so strong that the filter overflows.
        """
        model, conjugate, divisors = state.model, {}, {}
        shape, rate = self._gamma_terms(model)
        for name in sorted(model.free):
            divisors[name] = data.sensitivity[name] + rate[name]
            expected = model[name] * state.back[name] + shape[name]
            conjugate[name] = np.maximum(
                _quotient(expected, divisors[name]), self._floor(name, model)
            )
        others = {name: p for name, p in self.priors.items() if not isinstance(p, Gamma)}
        slopes = derivative(others, model.with_values(Vector(conjugate)))
        new = {}
        for name, values in conjugate.items():
            exponent = _quotient(slopes[name], divisors[name])
            if self.guard:
                exponent = np.clip(exponent, -LARGEST, LARGEST)
            elif np.max(exponent, initial=0.0) > OVERFLOW:
                raise NumericalError(
                    f"iteration {state.iteration + 1}: the priors multiply a value of {name!r} by "
                    f"exp({np.max(exponent):.3g}); they are too strong for the recipe without "
                    "guard: lower their coefficients, or switch the guard on"
                )
            new[name] = (values * np.exp(exponent)).astype(data.dtype)
        return Proposal(model.project(Vector(new)))

    def follow(self, state: State, proposal: Proposal, data: DataInterface) -> State:
        """Return the state that a proposal leads to, with its log-priors."""
        return self._judged(super().follow(state, proposal, data))

    def step(self, state: State, data: DataInterface) -> State:
        """Return the next state."""
        new = super().step(state, data)
        if not self.guard or new.objective >= state.objective:
            return new
        part = self._part(state, new, data)
        if part is None:
            uphill = self.follow(state, self._uphill(state, data), data)
            uphill = replace(uphill, products=uphill.products + new.products - state.products)
            new, part = uphill, self._part(state, uphill, data)
        if part is None:
            part = replace(state, iteration=new.iteration, products=new.products)
            part = self._judged(replace(part, notes={**new.notes, "step": 0.0}))
        log.info("iteration %d: %g of the step taken", part.iteration, part.notes["step"])
        return part

    def _part(self, state: State, new: State, data: DataInterface) -> State | None:
        """Return the best part of the move to a new state, or None if none raises the objective."""
        move = new.model.vector - state.model.vector
        along = new.expectation + state.expectation * -1.0
        share, best, found = 1.0, state.objective, None
        while share > SHORTEST:
            model = state.model.with_values(state.model.vector + move * share)
            expectation = state.expectation + along * share
            prior = sum(log_densities(self.priors, model).values())
            if data.log_likelihood(expectation) + prior > best:
                best, found = data.log_likelihood(expectation) + prior, (share, model, expectation)
            elif found:
                break
            share /= 2
        if found is None:
            return None
        share, model, expectation = found
        judged = data.back_project(expectation)
        return self._judged(
            replace(
                new,
                model=model,
                expectation=expectation,
                back=judged.back,
                log_likelihood=judged.log_likelihood,
                products=new.products + 0.5,
                notes={**new.notes, "step": share},
            )
        )

    def _floor(self, name: str, model: Model) -> float:
        """Return the floor of a component: it is applied before the filter, too."""
        floors = [r for r in self.refinements if isinstance(r, Floor)]
        return max((f.minimum for f in floors if name in model.chosen(f.components)), default=0.0)

    def _uphill(self, state: State, data: DataInterface) -> Proposal:
        """Return a gradient step, scaled as by EM and by the curvature of the priors."""
        model, sensitivity = state.model, data.sensitivity
        slopes = derivative(self.priors, model)
        curvatures = derivative(self.priors, model, "curvature")

        def moved(x: Array, back: Array, s: Array, slope: Array, curvature: Array) -> Array:
            step = _quotient(x * (back - s + slope), s + x * curvature)
            result: Array = np.maximum(x + step, 0).astype(data.dtype)
            return result

        free = model.vector.only(model.free)
        return Proposal(model.project(free.map(moved, state.back, sensitivity, slopes, curvatures)))

    def _gamma_terms(self, model: Model) -> tuple[dict[str, float], dict[str, float]]:
        """Return the sums of k - 1 and of 1/theta of all gamma priors on each component."""
        shape, rate = dict.fromkeys(model.free, 0.0), dict.fromkeys(model.free, 0.0)
        for prior in self.priors.values():
            if isinstance(prior, Gamma):
                for name in prior.chosen(model):
                    shape[name] += prior.k - 1
                    rate[name] += 1 / prior.theta
        return shape, rate

    def _judged(self, state: State) -> State:
        """Return a state with its log-priors."""
        densities = log_densities(self.priors, state.model)
        total = sum(densities.values())
        notes = {f"prior_{name}": value for name, value in densities.items()}
        notes |= {"log_prior": total, "log_posterior": state.log_likelihood + total}
        return replace(state, log_prior=total, notes={**state.notes, **notes})


def _quotient(above: Array, below: Array) -> Array:
    """Return ``above / below``, and zero where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
