"""The maximum by other means: SciPy's L-BFGS, with bounds or on square roots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from skyfold.binned import BinnedData
from skyfold.model import Model
from skyfold.priors import Prior, derivative, log_densities
from skyfold.vector import Array, Vector

Priors = Mapping[str, Prior]

MEMORY = 20  # pairs that L-BFGS remembers
LOWEST = 1e-9  # of the start: keeps the slope of log x finite; costs less than 1e-8 of the span
STALL = 1e-12  # relative progress of an iteration at which SciPy stops


@dataclass(frozen=True, eq=False)
class Path:
    """Products, seconds and objective of every state of a run."""

    products: Array
    seconds: Array
    objective: Array

    def reached(self, goal: float) -> int | None:
        """Return which state was the first to reach a goal."""
        reached = np.flatnonzero(self.objective >= goal)
        return int(reached[0]) if reached.size else None

    @property
    def fall(self) -> float:
        """Largest fall of the objective in a step."""
        return max(0.0, -float(np.min(np.diff(self.objective), initial=0.0)))


def l_bfgs_b(data: BinnedData, priors: Priors, products: int) -> Path:
    """Run L-BFGS-B on expected counts per value."""
    value, start, scale = _flat(data, priors)
    bounds = [(LOWEST * u, None) for u in start * scale]

    def cost(u: Array) -> tuple[float, Array]:
        objective, slope = value(u / scale)
        return -objective, -slope / scale

    return _run(cost, start * scale, products, bounds=bounds)


def square_roots(data: BinnedData, priors: Priors, products: int) -> Path:
    """Run L-BFGS on the roots of expected counts per value."""
    value, start, scale = _flat(data, priors)

    def cost(u: Array) -> tuple[float, Array]:
        objective, slope = value(u * u / scale)
        return -objective, -2 * u * slope / scale

    return _run(cost, np.sqrt(start * scale), products)


REFERENCES: Mapping[str, Callable[[BinnedData, Priors, int], Path]] = {
    "L-BFGS-B": l_bfgs_b,
    "L-BFGS on roots": square_roots,
}


def _run(
    cost: Callable[[Array], tuple[float, Array]], start: Array, products: int, **options: object
) -> Path:
    """Minimise, and return the best value so far at each evaluation, of one product each.

    SciPy sees the costs less that of the start, for the sake of precision.
    """
    first = cost(start)[0]
    seconds, costs = [], []
    begin = time.thread_time()

    def shifted(u: Array) -> tuple[float, Array]:
        f, slope = cost(u)
        costs.append(f)
        seconds.append(time.thread_time() - begin)
        return f - first, slope

    limits = {"maxfun": products, "maxiter": products, "maxcor": MEMORY, "ftol": STALL, "gtol": 0.0}
    minimize(shifted, start, jac=True, method="L-BFGS-B", options=limits, **options)
    best = -np.minimum.accumulate(costs)
    return Path(np.arange(1.0, len(best) + 1), np.array(seconds), best)


def _flat(
    data: BinnedData, priors: Priors
) -> tuple[Callable[[Array], tuple[float, Array]], Array, Array]:
    """Return the objective with its slope by all fitted values in a row, their start and scale."""
    model = Model.start(data)
    names = sorted(model.free)
    ends = np.cumsum([model[name].size for name in names])[:-1]
    sensitivity = np.concatenate([data.sensitivity[name].ravel() for name in names])

    def value(x: Array) -> tuple[float, Array]:
        parts = zip(names, np.split(x, ends), strict=True)
        now = model.with_values(Vector({n: v.reshape(model[n].shape) for n, v in parts}))
        step = data.e_step(now)
        slope = np.concatenate([step.back[name].ravel() for name in names]) - sensitivity
        objective = step.log_likelihood
        if priors:
            rise = derivative(priors, now)
            slope += np.concatenate([rise[name].ravel() for name in names])
            objective += sum(log_densities(priors, now).values())
        return objective, slope

    start = np.concatenate([model[name].ravel() for name in names])
    return value, start, np.where(sensitivity > 0, sensitivity, sensitivity.mean())
