"""How far fluxes may be off: errors from the curvature at the maximum, and from repetition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.algorithm import State
from skyfold.ascent import blocked, gradient
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, NumericalError
from skyfold.priors import Prior, derivative, hessian
from skyfold.vector import Array, Vector

ACCURACY = 1e-3  # of a variance: its error is half of that
LAG = 8  # products over which a variance must have settled
LONGEST = 500  # products for one flux
FAR = 3  # sigma by which a flux may still move, so that its error is worth working on
AT_THE_MAXIMUM = (
    "The errors sandwich and laplace describe the maximum alone. Ask for the bootstrap, which "
    "repeats the very same run (--method bootstrap), or restore up to the maximum "
    "(--converge, or a prior)"
)

Watch = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Scatter:
    """Errors of linear functions of a model, to first order around its maximum.

    Parameters
    ----------
    sandwich, laplace
        Covariance matrices, one row per function.
    remaining
        How far each function would still move until the maximum is reached.
    pulled
        How far the priors move each function, roughly: its bias, if they are wrong. Where the
        flux is conserved it is that of moves which leave the expected counts as they are.
    products
        Response products spent.
    """

    sandwich: Array
    laplace: Array
    remaining: Array
    pulled: Array
    products: float


def scatter(
    state: State,
    data: DataInterface,
    priors: Mapping[str, Prior],
    functions: Sequence[Vector],
    watch: Watch = iter,
    keep_flux: bool = False,
) -> Scatter:
    """Return the errors of linear functions of a model at the maximum of its objective.

    The maximum obeys ``x g = 0`` for every value x, g being the slope of the objective. To first
    order it answers a change of the counts by ``M dx = R^T (dn / e)``, with::

        M = J + P + diag(-g / x),      J = R^T diag(n / e^2) R,

    P the curvature of the priors. The last term is zero where x is fitted and infinite where x is
    held at zero, so values that the counts want to be negative do not move. With ``z = M^-1 r``
    for a function ``r . x`` the ``laplace`` variance is ``r . z``, the width of the posterior; the
    ``sandwich`` variance ``z . J z`` is the scatter of the estimate over repeated observations.
    They are equal without priors. Background normalisations are part of M.

    Parameters
    ----------
    state
        The model, with its own E-step.
    data
        The data.
    priors
        Priors by name.
    functions
        Weights of the values, by component.
    watch
        Hands the functions on, one by one, and may show how far it is.
    keep_flux
        Whether the maximum is the one at which as many counts are expected as at the start.

    Raises
    ------
    ConfigError
        If the model is far from the maximum, or the counts leave a function open.
    NumericalError
        If the objective is not concave there.
    """
    curvature = Curvature(state, data, priors, keep_flux)
    pull = derivative(priors, state.model)
    if keep_flux and priors:
        pull = across(pull, data.sensitivity, curvature.solve(data.sensitivity))
    root = np.sqrt(data.curvature(state.expectation))
    seen, laplace, remaining, pulled = [], [], [], []
    for function in watch(functions):
        answer = curvature.solve(function)
        seen.append((root * data.forward(curvature.cast(answer)).observed).astype(np.float64))
        laplace.append([other.dot(answer) for other in functions])
        remaining.append(answer.dot(curvature.rising))
        pulled.append(answer.dot(pull))
    spread = np.stack(seen)
    return Scatter(
        spread @ spread.T,
        np.array(laplace),
        np.array(remaining),
        np.array(pulled),
        curvature.products + 0.5 * len(seen),
    )


def across(pull: Vector, sensitivity: Vector, answer: Vector) -> Vector:
    """Return a pull less the multiple of the sensitivity s that keeps ``s . M^-1 pull`` zero.

    Parameters
    ----------
    pull
        Slope of the priors.
    sensitivity, answer
        s, and ``M^-1 s``.
    """
    return pull - sensitivity * (answer.dot(pull) / answer.dot(sensitivity))


class Curvature:
    """M of `scatter`, solved by conjugate gradients in the variables ``dx / sqrt(d)``.

    The scale ``d = x / (s + c x)``, with the sensitivity s and the curvature c of the priors,
    is that of the EM step: it keeps M below about one.
    """

    def __init__(
        self,
        state: State,
        data: DataInterface,
        priors: Mapping[str, Prior],
        keep_flux: bool = False,
    ) -> None:
        self.state, self.data, self.priors = state, data, priors
        self.products = 0.0
        model, slope = state.model, gradient(state, data, priors, keep_flux)
        held, bends = blocked(model, slope), derivative(priors, model, "curvature")
        roots, pins = {}, {}
        for name, g in slope.items():
            component = model.components[name]
            x = model[name].astype(np.float64)
            free = ~held[name] & (component.mask if component.mask is not None else True)
            bend = data.sensitivity[name] + bends[name] * x
            scale = np.divide(x, bend, out=np.zeros(x.shape), where=free & (bend > 0))
            above = x - component.bounds[0]
            roots[name] = np.sqrt(scale)
            pins[name] = np.divide(
                scale * np.maximum(-g, 0), above, out=np.zeros(x.shape), where=above > 0
            )
        self.root, self.pin = Vector(roots), Vector(pins)
        self.rising, self.slope = slope, slope * self.root

    def cast(self, values: Vector) -> Vector:
        """Return values in the dtype of the data."""
        return values.map(lambda v: v.astype(self.data.dtype))

    def times(self, scaled: Vector) -> Vector:
        """Return M, in scaled variables, times a vector: one product."""
        self.products += 1
        model, step = self.state.model, scaled * self.root
        bent = self.data.hessian(self.state.expectation, self.cast(step)).only(frozenset(step))
        bent = bent.map(lambda v: v.astype(np.float64))
        bent = bent - hessian(self.priors, model, step)
        return bent * self.root + scaled * self.pin

    def solve(self, function: Vector) -> Vector:
        """Return ``M^-1 r``.

        The variance ``r . M^-1 r`` grows with every step of the conjugate gradients, so its last
        steps tell how near it is (Strakos & Tichy 2002).
        """
        full = Vector({name: np.zeros(root.shape) for name, root in self.root.items()}) + function
        rest = full.only(frozenset(self.root)) * self.root
        found, way = rest * 0.0, rest
        size, steps = rest.dot(rest), [0.0]
        enough = np.finfo(self.data.dtype).eps ** 2 * size
        while size > enough and (len(steps) <= LAG or sum(steps[-LAG:]) > ACCURACY * sum(steps)):
            self._require_near(found, sum(steps))
            if len(steps) > LONGEST:
                raise ConfigError(
                    f"after {LONGEST} products the error of a flux still grows: the run ended "
                    f"before its maximum, or the counts leave it open. {AT_THE_MAXIMUM}"
                )
            bent = self.times(way)
            curved = way.dot(bent)
            if curved <= 0:
                raise NumericalError(
                    "the objective is not concave here, so its curvature tells no error; a prior "
                    "that is not concave has several maxima. Ask for the bootstrap"
                )
            length = size / curved
            found, rest = found + way * length, rest - bent * length
            steps.append(length * size)
            size, before = rest.dot(rest), size
            way = rest + way * (size / before)
        return found * self.root

    def _require_near(self, found: Vector, variance: float) -> None:
        """Refuse a model far from the maximum before all is spent on it."""
        if abs(found.dot(self.slope)) > FAR * np.sqrt(variance):
            raise ConfigError(
                f"the run ended before its maximum: a flux would still move by more than {FAR} "
                f"sigma. {AT_THE_MAXIMUM}"
            )
