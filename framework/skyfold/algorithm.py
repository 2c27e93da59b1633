"""The loop that every method shares: M-step, refinements, E-step."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from skyfold.data import DataInterface, EStep, Expectation
from skyfold.errors import ConfigError, DataError, NumericalError
from skyfold.model import Model
from skyfold.priors import Prior, log_densities
from skyfold.vector import Vector

log = logging.getLogger(__name__)

REFRESH = 30  # laps after which an expectation handed on by linearity is computed anew
SHORTEST = 2.0**-20  # part of a step that the guard still tries


@dataclass(frozen=True, eq=False)
class State:
    """A model together with its own E-step: consistent, storable, enough to go on from.

    Algorithms with more to remember subclass it; fields are numbers, text, arrays, vectors,
    expectations, mappings of numbers or tuples of such, so that one `checkpoint` stores them all.

    Parameters
    ----------
    iteration
        Laps done.
    model
        The model.
    expectation, back, log_likelihood
        What this very model says of the counts (see `EStep`).
    log_prior
        Log-density of the model before the counts were seen.
    products
        Response products spent; one is a forward and an adjoint.
    notes
        What the last lap has to tell, for the trace: an acceleration factor, say.
    parameters
        Parameters of the responses that were restored too; the others are those of the data.
    """

    iteration: int
    model: Model
    expectation: Expectation
    back: Vector
    log_likelihood: float
    log_prior: float = 0.0
    products: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)
    parameters: Vector = field(default_factory=lambda: Vector({}))

    @property
    def objective(self) -> float:
        """What is maximised: log-likelihood plus log-prior."""
        return self.log_likelihood + self.log_prior

    @classmethod
    def of(cls, state: State, **memory: Any) -> Self:
        """Return a state of this class: the fields of another, and what it remembers besides."""
        common = {f.name: getattr(state, f.name) for f in fields(State)}
        return cls(**common, **memory)


@dataclass(frozen=True, eq=False)
class Proposal:
    """Values that may become the next model.

    Parameters
    ----------
    values
        New values of the components that change.
    expectation
        Their expectation together with the unchanged ones, where linearity gave it for free.
    products
        Response products spent on finding them.
    notes
        What to tell in the trace.
    memory
        Fields of the next state, by name: what an algorithm wants to remember.
    """

    values: Vector
    expectation: Expectation | None = None
    products: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)


Refinement = Callable[[State, Proposal, DataInterface], Proposal]


@dataclass(frozen=True)
class Algorithm(ABC):
    """Alternate the M-step (the next model) and the E-step (what it says of the counts).

    Subclasses are dataclasses: their fields are their options. A lap is ``m_step``, then the
    refinements in the order given, then ``e_step``.

    Parameters
    ----------
    refinements
        Treatments of a proposal before it becomes the model.
    priors
        Log-densities that are added to the log-likelihood, by name.
    guard
        Shorten a step that would lower the objective, as rounding and refinements may make it do.
    seed
        Seed of all that is random.
    limit
        Iteration with which the run ends at the latest, for laps that are several iterations.

    Attributes
    ----------
    takes_priors
        Whether the steps heed priors.
    takes_places
        Whether the places of point sources may be fitted between the steps.
    """

    refinements: tuple[Refinement, ...] = ()
    priors: Mapping[str, Prior] = field(default_factory=dict)
    guard: bool = True
    seed: int = 0
    limit: int | None = None
    takes_priors: ClassVar[bool] = True
    takes_places: ClassVar[bool] = True

    @property
    def keeps_flux(self) -> bool:
        """Whether the expected counts of all that is fitted stay those of the start."""
        return False

    @abstractmethod
    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the next values, with their expectation where linearity gives it for free."""

    def e_step(self, model: Model, expectation: Expectation | None, data: DataInterface) -> EStep:
        """Return what a model says of the counts."""
        return data.e_step(model) if expectation is None else data.back_project(expectation)

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap, with the guard within masks and floors.

        Raises
        ------
        ConfigError
            If there are priors that it does not heed.
        DataError
            If there are no counts, or some that no model can explain.
        """
        if self.priors and not self.takes_priors:
            raise ConfigError(
                f"{type(self).__name__} heeds no priors; sgp, lbfgs and one-step-late do"
            )
        if not np.any(data.counts > 0):
            raise DataError("no bin in use holds counts: there is nothing to restore")
        state = self._first(data, model)
        if not (self.guard and self.refinements):
            return state
        proposal = Proposal(model.vector.only(model.free))
        for refine in self.refinements:
            proposal = refine(state, proposal, data)
        return self._first(data, model.with_values(proposal.values))

    def _first(self, data: DataInterface, model: Model) -> State:
        with np.errstate(all="ignore"):  # counts that nothing explains are refused in words
            step = self.e_step(model, None, data)
        data.require_explained(step.expectation)
        return self._judged(State(0, model, *step, products=1.0))

    def step(self, state: State, data: DataInterface) -> State:
        """Return the next state; the same state always gives the same one.

        With the guard it is the same model again if no part of the step raises the objective.

        Raises
        ------
        NumericalError
            If the log-likelihood is no longer a number.
        """
        new = self.follow(state, self.m_step(state, data), data)
        if not self.guard or new.objective >= state.objective - _rounding(state, data):
            return new
        new = self._shortened(state, new, data)
        share = new.notes["step"]
        said = (
            f"{share:g} of the step taken" if share else "no part of the step raises the objective"
        )
        log.info("iteration %d: %s", new.iteration, said)
        return new

    def figures(self, state: State, data: DataInterface) -> Mapping[str, Any]:
        """Return what else there is to say of a result, by name; nothing by default."""
        return {}

    def follow(self, state: State, proposal: Proposal, data: DataInterface) -> State:
        """Return the state that a proposal leads to: refinements, then the E-step."""
        for refine in self.refinements:
            proposal = refine(state, proposal, data)
        if (state.iteration + 1) % REFRESH == 0:
            proposal = self.anew(state, proposal, data)
        model = state.model.with_values(proposal.values)
        cost = 1.0 if proposal.expectation is None else 0.5
        step = self.e_step(model, proposal.expectation, data)
        if not step.log_likelihood - step.log_likelihood == 0:
            raise NumericalError(
                f"iteration {state.iteration + 1}: the log-likelihood is {step.log_likelihood}; "
                "the response or a start value is not finite"
            )
        new = replace(
            state,
            iteration=state.iteration + 1,
            model=model,
            products=state.products + proposal.products + cost,
            notes=dict(proposal.notes),
            **step._asdict(),
            **proposal.memory,
        )
        return self._judged(new)

    def anew(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return a proposal without what linearity handed on, for the E-step to make it."""
        return replace(proposal, expectation=None)

    def _shortened(self, state: State, new: State, data: DataInterface) -> State:
        """Return the best of the halves, quarters, ... of a move; the old model if none is better.

        The expectation is linear in the move, so only the state taken costs a product.
        """
        move = new.model.vector - state.model.vector
        along = new.expectation + state.expectation * -1.0
        share, best, found = 0.5, state.objective, 0.0
        while share > SHORTEST:
            model = state.model.with_values(state.model.vector + move * share)
            now = data.log_likelihood(state.expectation + along * share)
            now += sum(log_densities(self.priors, model).values())
            if now > best:
                best, found = now, share
            elif found:
                break
            share /= 2
        model, step = state.model, EStep(state.expectation, state.back, state.log_likelihood)
        if found:
            model = model.with_values(model.vector + move * found)
            step = data.back_project(state.expectation + along * found)
        products, notes = new.products + 0.5 * bool(found), {**new.notes, "step": found}
        return self._judged(
            replace(new, model=model, products=products, notes=notes, **step._asdict())
        )

    def _judged(self, state: State) -> State:
        """Return a state with its log-priors."""
        if not self.priors:
            return state
        densities = log_densities(self.priors, state.model)
        total = sum(densities.values())
        notes = {f"prior_{name}": value for name, value in densities.items()}
        notes |= {"log_prior": total, "log_posterior": state.log_likelihood + total}
        return replace(state, log_prior=total, notes={**state.notes, **notes})

    def iterate(self, data: DataInterface, state: State) -> Iterator[State]:
        """Yield this state and its successors, for ever; the caller decides when to stop."""
        while True:
            yield state
            state = self.step(state, data)


def _rounding(state: State, data: DataInterface) -> float:
    """Return how far the objective may fall by rounding alone."""
    sums = abs(state.log_likelihood) + state.expectation.total + abs(state.log_prior)
    return float(np.finfo(data.dtype).eps) * sums
