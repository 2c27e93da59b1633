"""The loop that every method shares: M-step, refinements, E-step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from skyfold.data import DataInterface, EStep, Expectation
from skyfold.errors import DataError, NumericalError
from skyfold.model import Model
from skyfold.vector import Vector

REFRESH = 30  # laps after which an expectation handed on by linearity is computed anew


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
    """

    iteration: int
    model: Model
    expectation: Expectation
    back: Vector
    log_likelihood: float
    log_prior: float = 0.0
    products: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def objective(self) -> float:
        """What is maximised: log-likelihood plus log-prior."""
        return self.log_likelihood + self.log_prior


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
    """

    values: Vector
    expectation: Expectation | None = None
    products: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)


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
    """

    refinements: tuple[Refinement, ...] = ()

    @abstractmethod
    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the next values, with their expectation where linearity gives it for free."""

    def e_step(self, model: Model, expectation: Expectation | None, data: DataInterface) -> EStep:
        """Return what a model says of the counts."""
        return data.e_step(model) if expectation is None else data.back_project(expectation)

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap.

        Raises
        ------
        DataError
            If there are no counts, or some that no model can explain.
        """
        if not np.any(data.counts > 0):
            raise DataError("no bin in use holds counts: there is nothing to restore")
        with np.errstate(all="ignore"):  # counts that nothing explains are refused in words
            step = self.e_step(model, None, data)
        data.require_explained(step.expectation)
        return State(0, model, *step, products=1.0)

    def step(self, state: State, data: DataInterface) -> State:
        """Return the next state; the same state always gives the same one.

        Raises
        ------
        NumericalError
            If the log-likelihood is no longer a number.
        """
        return self.follow(state, self.m_step(state, data), data)

    def follow(self, state: State, proposal: Proposal, data: DataInterface) -> State:
        """Return the state that a proposal leads to: refinements, then the E-step."""
        for refine in self.refinements:
            proposal = refine(state, proposal, data)
        model = state.model.with_values(proposal.values)
        expectation, cost = proposal.expectation, 0.5
        if expectation is None or (state.iteration + 1) % REFRESH == 0:
            expectation, cost = None, 1.0
        step = self.e_step(model, expectation, data)
        if not step.log_likelihood - step.log_likelihood == 0:
            raise NumericalError(
                f"iteration {state.iteration + 1}: the log-likelihood is {step.log_likelihood}; "
                "the response or a start value is not finite"
            )
        return replace(
            state,
            iteration=state.iteration + 1,
            model=model,
            expectation=step.expectation,
            back=step.back,
            log_likelihood=step.log_likelihood,
            products=state.products + proposal.products + cost,
            notes=dict(proposal.notes),
        )

    def iterate(self, data: DataInterface, state: State) -> Iterator[State]:
        """Yield this state and its successors, for ever; the caller decides when to stop."""
        while True:
            yield state
            state = self.step(state, data)
