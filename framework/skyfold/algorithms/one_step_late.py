"""EM with priors, each evaluated one step late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.data import DataInterface
from skyfold.errors import NumericalError
from skyfold.model import Model
from skyfold.priors import Prior, derivative
from skyfold.priors.gamma import Gamma
from skyfold.refinements import Floor
from skyfold.vector import Array, Vector

OVERFLOW = 100.0  # largest exponent of the filter


@dataclass(frozen=True)
class OneStepLate(Algorithm):
    """Maximise log-likelihood plus log-priors by EM, with the slope of the priors as it was.

    Gamma priors are part of the EM step, for they are conjugate: with the sensitivity s, the
    expected attribution ``a = x R^T q + k - 1`` and ``b = s + 1/theta`` it would give ``a / b``.

    With the guard, the other priors enter by a parabola below them, with their slope g and
    curvature c at the present values; the next ones maximise ``a log x - b x + g x -
    c (x - x_old)^2 / 2`` (De Pierro 1995). The limit is the maximum. A step that would
    lower the log-posterior, as refinements may make it do, is shortened by a search on the
    expected counts, which are linear in the step; the trace notes the part gone as ``step``.

    Without the guard, they multiply ``m = a / b`` by ``exp(g(m) / b)``. That is the filter
    published for Compton telescopes, a form of the one-step-late rule (Green 1990). Its limit is
    near the maximum if the priors are weak; if they are strong it diverges.
    """

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the EM step with its priors.

        Raises
        ------
        NumericalError
            Without the guard, if a prior is so strong that the filter overflows.
        """
        model, above, below = state.model, {}, {}
        for name in sorted(model.free):
            gammas = [p for p in self.priors.values() if isinstance(p, Gamma)]
            gammas = [prior for prior in gammas if name in prior.chosen(model)]
            attributed = model[name] * state.back[name] + sum(p.k - 1 for p in gammas)
            above[name] = np.maximum(attributed, 0)
            below[name] = data.sensitivity[name] + sum(1 / p.theta for p in gammas)
        others = {name: p for name, p in self.priors.items() if not isinstance(p, Gamma)}
        step = self._bounded_step if self.guard else self._filtered_step
        new = step(model, Vector(above), Vector(below), others)
        return Proposal(model.project(new.map(lambda x: x.astype(data.dtype))))

    def _bounded_step(
        self, model: Model, above: Vector, below: Vector, priors: Mapping[str, Prior]
    ) -> Vector:
        slopes, bends = derivative(priors, model), derivative(priors, model, "curvature")
        falls = below - slopes - bends * model.vector

        def summit(a: Array, b: Array, c: Array) -> Array:  # of a log x - b x - c x^2 / 2
            root = np.sqrt(b * b + 4 * a * c)
            return np.where(b > 0, _quotient(2 * a, b + root), _quotient(root - b, 2 * c))

        return above.map(summit, falls, bends)

    def _filtered_step(
        self, model: Model, above: Vector, below: Vector, priors: Mapping[str, Prior]
    ) -> Vector:
        floors = [r for r in self.refinements if isinstance(r, Floor)]
        values = {}
        for name, plain in above.map(_quotient, below).items():
            own = [f.minimum for f in floors if name in model.chosen(f.components)]
            values[name] = np.maximum(plain, max(own, default=0.0))
        exponents = derivative(priors, model.with_values(Vector(values))).map(_quotient, below)
        if (largest := max(float(np.max(x)) for x in exponents.values())) > OVERFLOW:
            raise NumericalError(
                f"the priors multiply a value by exp({largest:.3g}): they are too strong for the "
                "recipe without guard; lower their coefficients, or switch the guard on"
            )
        return Vector(values).map(lambda x, exponent: x * np.exp(exponent), exponents)


def _quotient(above: Array, below: Array) -> Array:
    """Return ``above / below``, and zero where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
