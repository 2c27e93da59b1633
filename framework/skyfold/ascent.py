"""The way up: slope of the objective, bounds, and how far the summit can be at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, nan

import numpy as np

from skyfold.algorithm import State
from skyfold.data import DataInterface
from skyfold.model import Component, Model
from skyfold.priors import Prior, derivative
from skyfold.vector import Array, Vector

RISE, FADING = 1e-3, 0.95  # part of the flat level that a zero may rise to, lap by lap
ENOUGH = 1e-4  # part of the rise that the slope promises


def gradient(
    state: State, data: DataInterface, priors: Mapping[str, Prior], keep_flux: bool = False
) -> Vector:
    """Return the slope of log-likelihood plus log-priors by all that is fitted.

    Parameters
    ----------
    state
        A model with its own E-step.
    data
        The data.
    priors
        Priors by name.
    keep_flux
        Whether the expected counts of all that is fitted are held: then a multiple of the
        sensitivity is taken off, so that the slope has no part along the model.

    Returns
    -------
    slope
        ``R^T q - R^T w`` plus the gradients of the priors, in float64; zero outside masks, and
        without priors where nothing is seen.
    """
    model, known = state.model, derivative(priors, state.model) if priors else {}
    slope, seen = {}, {}
    for name in sorted(model.free):
        sensitivity, mask = data.sensitivity[name], model.components[name].mask
        rise = state.back[name].astype(np.float64) - sensitivity
        rise = np.where(sensitivity > 0, rise, 0.0) + known.get(name, 0.0)
        slope[name] = rise if mask is None else np.where(mask, rise, 0.0)
        seen[name] = sensitivity if mask is None else np.where(mask, sensitivity, 0)
    rising = Vector(slope)
    if not keep_flux:
        return rising
    inside = Vector(seen)
    return rising - inside * (rising.dot(model) / inside.dot(model))


def blocked(model: Model, slope: Vector) -> Vector:
    """Return where a value lies on a bound and the slope points outwards, as booleans."""

    def at(component: Component, x: Array, g: Array) -> Array:
        low, high = component.bounds
        return np.asarray(((x <= low) & (g < 0)) | ((x >= high) & (g > 0)))

    return Vector({n: at(model.components[n], model[n], g) for n, g in slope.items()})


def reach(model: Model, step: Vector) -> float:
    """Return how often a step may be taken before a value leaves its bounds; 0 if it is at one."""
    longest = inf
    for name, move in step.items():
        low, high = model.components[name].bounds
        values = model[name]
        if np.any(falling := move < 0):
            longest = min(longest, float(np.min((values[falling] - low) / -move[falling])))
        if high < inf and np.any(rising := move > 0):
            longest = min(longest, float(np.min((high - values[rising]) / move[rising])))
    return max(longest, 0.0)


def least(data: DataInterface, name: str, iteration: int) -> float:
    """Return a value to which the values of a component may rise from zero in one step.

    It is a small part of the flat level that alone would make all counts, and fades: at first
    every value has a chance, in the end none is disturbed.
    """
    seen = float(np.sum(data.sensitivity[name], dtype=np.float64))
    flat = float(np.sum(data.counts, dtype=np.float64)) / seen if seen > 0 else 0.0
    return RISE * FADING**iteration * flat


def backtrack(objective: Callable[[float], float], here: float, rise: float) -> float:
    """Return a part of a step, 1 at most, that raises the objective enough (Armijo 1966).

    Parameters
    ----------
    objective
        Objective at a part of the step.
    here
        Objective at the beginning.
    rise
        Slope of the objective along the step, at the beginning.

    Returns
    -------
    share
        The whole step, or else about as much as the parabolas through the points tried suggest;
        zero if nothing rises beyond rounding.
    """
    share, rounding = 1.0, float(np.finfo(np.float64).eps) * abs(here)
    while share * rise > rounding:
        gain = objective(share) - here
        if gain >= ENOUGH * share * rise:
            return share
        lost = share * rise - gain  # infinite or NaN where counts are impossible
        best = 0.5 * share * rise / lost if 0 < lost < inf else 0.0
        share *= min(max(best, 0.1), 0.6)
    return 0.0


def certificate(state: State, data: DataInterface, priors: Mapping[str, Prior]) -> float:
    """Return how far the objective lies below its maximum at most; NaN if it is not concave.

    A concave objective with the slope g obeys ``F(x*) - F(x) <= g . (x* - x)`` for its maximum
    x*. There, ``x* . g* = 0`` bounds the expected counts, ``s . x* <= N + l`` with the N counts
    and the largest possible ``l = x . (slope of the log-priors)``; so with the lower bounds x_0,
    ``F(x*) - F(x) <= max(g / s)_+ (N + l) - g . (x - x_0)``. Values with an upper bound enter
    with the bound they would be driven to.

    Parameters
    ----------
    state
        A model with its own E-step.
    data
        The data.
    priors
        Priors by name.
    """
    concave = all(part.likelihood.concave for part in data.parts)
    if not concave or not all(prior.concave for prior in priors.values()):
        return nan
    model, slope = state.model, gradient(state, data, priors)
    lift = sum(
        prior.lift(model.components[name])
        for prior in priors.values()
        for name in prior.chosen(model)
    )
    counts = float(np.sum(data.counts, dtype=np.float64)) + lift
    steepest = bound = 0.0
    for name, g in slope.items():
        low, high = model.components[name].bounds
        if high < inf:
            bound += float(np.sum(np.maximum(g * (high - model[name]), g * (low - model[name]))))
            continue
        bound -= float(np.sum(g * (model[name] - low)))
        sensitivity = data.sensitivity[name]
        if np.any((sensitivity <= 0) & (g > 0)):
            return inf
        seen = sensitivity > 0
        steepest = max(steepest, float(np.max(g[seen] / sensitivity[seen], initial=0.0)))
    return bound + steepest * counts
