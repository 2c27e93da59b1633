"""Limited-memory BFGS on the square roots of the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.ascent import backtrack, gradient, least
from skyfold.data import DataInterface, Expectation
from skyfold.errors import ConfigError
from skyfold.metric import Metric
from skyfold.model import Model
from skyfold.priors import Prior, derivative, log_densities
from skyfold.vector import Vector

PAIRS = 8  # steps remembered
ROUND = 1e-10  # cosine of a step and the change of slope along it, below which it is not used


@dataclass(frozen=True, eq=False)
class LBFGSState(State):
    """A state that knows its last steps in the roots.

    Parameters
    ----------
    roots, slope
        Roots before the last step, and the slope by them there; empty at the beginning.
    moves, bends
        The last steps, and by how much the slope fell along each.
    """

    roots: Vector = field(default_factory=lambda: Vector({}))
    slope: Vector = field(default_factory=lambda: Vector({}))
    moves: tuple[Vector, ...] = ()
    bends: tuple[Vector, ...] = ()


@dataclass(frozen=True)
class LBFGS(Algorithm):
    """Quasi-Newton steps in the roots u of ``x = low + u^2`` (Nocedal 1980).

    So no value falls below its lower bound; at an upper one steps are cut off. What stands for the
    Hessian before anything was learnt is ``4 s - 2 g - 4 u H u``, with the sensitivity s, the
    slope g of the priors where that is negative and their second derivative H; without priors it
    gives an EM step, in the roots. It is inverted by a few conjugate gradients, without products.
    For priors that are not concave the diagonal ``4 x c`` takes the place of ``-4 u H u``.

    At a root of zero there is no slope; small values that should rise are therefore given a step
    of their own. Along a step d the expectation is ``e + 2 a R(u d) + a^2 R(d^2)``. The whole step
    needs one forward product; if it is too long, a second one gives all the shorter ones.

    With the flux conserved the roots lie on the ellipsoid ``s . u^2 = const``: the slope loses its
    part along u, by one multiplier, and what a step adds across is scaled back.

    Parameters
    ----------
    conserve_flux
        Keep the expected counts as many as those observed: for priors that would otherwise lower
        them. Values must have no bound but zero.
    """

    conserve_flux: bool = False

    @property
    def keeps_flux(self) -> bool:
        """As asked for."""
        return self.conserve_flux

    def start(self, data: DataInterface, model: Model) -> LBFGSState:
        """Return the state before the first lap.

        Raises
        ------
        ConfigError
            If the flux is to be conserved of values with bounds other than zero, or what is held
            fixed expects all counts.
        """
        if self.conserve_flux:
            _require_open(model)
            model = _filled(data, model)
        return LBFGSState.of(super().start(data, model))

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the quasi-Newton step, or the part of it that raises the objective."""
        assert isinstance(state, LBFGSState)
        model, slope = state.model, gradient(state, data, self.priors, self.conserve_flux)
        kept = data.sensitivity.only(frozenset(slope)) if self.conserve_flux else None
        bounds = {name: model.components[name].bounds for name in slope}
        old = Vector({n: model[n].astype(np.float64) for n in slope})
        roots = Vector({n: np.sqrt(np.maximum(old[n] - low, 0)) for n, (low, _) in bounds.items()})
        lows = Vector({n: np.asarray(low) for n, (low, _) in bounds.items()})
        tops = Vector({n: np.asarray(np.sqrt(high - low)) for n, (low, high) in bounds.items()})
        rising = roots * slope * 2.0
        moves, bends = _pairs(state, roots, rising)
        near = 1 - 4 * float(np.finfo(data.dtype).eps)
        inside = rising.map(
            lambda g, u, top: np.where((u >= near * top) & (g > 0), 0, g), roots, tops
        )
        metric = _metric(state, data, self.priors, slope, roots)

        def allowed(step: Vector) -> Vector:
            lifted = _lifted(step, state, data, slope, roots)
            lifted = lifted.map(lambda d, u, top: np.clip(d, -top - u, top - u), roots, tops)
            if kept is not None:  # tangent to the ellipsoid
                lifted = lifted - roots * ((kept * roots).dot(lifted) / kept.dot(model))
            return lifted

        step = allowed(_two_loop(inside, moves, bends, metric))
        if step.dot(rising) <= 0:
            moves, bends, step = (), (), allowed(inside * metric.scale)
        path = _Path(data, state, roots, step, kept)

        def objective(share: float) -> float:
            there = model.with_values(lows + path.values(share))
            densities = log_densities(self.priors, there)
            return data.log_likelihood(path.expectation(share)) + sum(densities.values())

        share = backtrack(objective, state.objective, step.dot(rising))
        if share == 0:
            moves, bends = (), ()
        new = (lows + path.values(share) if share else old).map(lambda x: x.astype(data.dtype))
        memory = {"roots": roots, "slope": rising, "moves": moves, "bends": bends}
        reached = path.expectation(share)
        return Proposal(model.project(new), reached, path.products, {"share": share}, memory)


def _require_open(model: Model) -> None:
    """Refuse bounds, at which values would leave counts that no other takes up."""
    for name in sorted(model.free):
        if (bounds := model.components[name].bounds) != (0.0, inf):
            raise ConfigError(
                f"the flux is conserved only of values with no bound but zero, and {name!r} has "
                f"the bounds {bounds}: leave them out, hold it fixed, or take a method that does "
                "not conserve the flux, as map"
            )


def _filled(data: DataInterface, model: Model) -> Model:
    """Return a model with all that is fitted scaled so that as much is expected as was counted."""
    values = model.vector.only(model.free)
    fitted = data.sensitivity.dot(values)
    known = data.sensitivity.dot(model) - fitted
    counted = float(np.sum(data.counts, dtype=np.float64))
    if not counted > known:
        raise ConfigError(
            f"what is held fixed expects {known:.6g} counts, and {counted:.6g} were counted: "
            "nothing is left whose flux could be conserved; let the background be fitted, or "
            "lower it"
        )
    if not fitted > 0:
        raise ConfigError("all that is fitted starts from zero: give start values above zero")
    share = (counted - known) / fitted
    return model.with_values(values.map(lambda x: x * x.dtype.type(share)))


def _metric(
    state: State, data: DataInterface, priors: Mapping[str, Prior], slope: Vector, roots: Vector
) -> Metric:
    """Return what stands for minus the Hessian by the roots: EM's, and that of the priors."""
    exact = {name: prior for name, prior in priors.items() if prior.concave and prior.cheap}
    others = {name: prior for name, prior in priors.items() if name not in exact}
    known = derivative(priors, state.model)
    bends = derivative(others, state.model, "curvature")
    diagonal = {}
    for name, g in slope.items():
        bent = data.sensitivity[name] + roots[name] ** 2 * bends[name]
        bent = 4 * bent + 2 * np.maximum(-known[name], 0)
        diagonal[name] = np.where(bent > 0, bent, 4 * np.abs(g))
    return Metric(state.model, Vector(diagonal), roots * 2.0, exact)


def _lifted(
    step: Vector, state: State, data: DataInterface, slope: Vector, roots: Vector
) -> Vector:
    """Return a step that takes small values with a slope upwards off their bound."""
    lifted = {}
    for name, d in step.items():
        u, g, s = roots[name], slope[name], data.sensitivity[name]
        small = least(data, name, state.iteration)
        part = np.divide(np.clip(g, 0, s), s, out=np.ones(g.shape), where=s > 0)
        goal = np.sqrt(small * part) - u
        lifted[name] = np.where((u * u < small) & (g > 0), np.maximum(d, goal), d)
    return Vector(lifted)


class _Path:
    """The curve ``(u + a d)^2`` and what is expected along it, counting the products.

    With the flux kept, by the sensitivity s, both are scaled back by ``s.u^2 / s.(u + a d)^2``.
    """

    def __init__(
        self, data: DataInterface, state: State, roots: Vector, step: Vector, kept: Vector | None
    ) -> None:
        self.data, self.here, self.roots, self.step = data, state.expectation, roots, step
        self.ahead, self.bent = roots * step * 2.0, step * step
        self.whole = self._forward(self.ahead + self.bent)
        self.products = 0.5
        self.line: Expectation | None = None
        self.kept = kept
        if kept is not None:
            fixed = state.model.vector.only(frozenset(state.model) - state.model.free)
            self.fixed = self._forward(fixed)
            self.flux, self.across = kept.dot(roots * roots), kept.dot(self.bent)

    def values(self, share: float) -> Vector:
        """Return how far the values lie above their bound there."""
        there = self.roots + self.step * share
        return there * there * self._scale(share)

    def expectation(self, share: float) -> Expectation:
        """Return what is expected there."""
        if share == 0:
            return self.here
        if share == 1:
            there = self.here + self.whole
        else:
            if self.line is None:
                self.line, self.products = self._forward(self.ahead), 1.0
            there = self.here + self.whole * share**2 + self.line * (share - share**2)
        if self.kept is None:
            return there
        return self.fixed + (there + self.fixed * -1.0) * self._scale(share)

    def _scale(self, share: float) -> float:
        return 1.0 if self.kept is None else self.flux / (self.flux + share**2 * self.across)

    def _forward(self, values: Vector) -> Expectation:
        return self.data.forward(values.map(lambda v: v.astype(self.data.dtype)))


def _pairs(
    state: LBFGSState, roots: Vector, rising: Vector
) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
    """Return the last steps and changes of slope, the newest last; only such that bend down.

    Roots are taken positive. A step through zero and one that turns back before it lead to the
    same values and slopes, so the pair is one of the same symmetric function.
    """
    moves, bends = state.moves, state.bends
    if state.roots:
        move, bend = roots - state.roots, state.slope - rising
        if move.dot(bend) > ROUND * np.sqrt(move.dot(move) * bend.dot(bend)):
            moves, bends = (*moves, move)[-PAIRS:], (*bends, bend)[-PAIRS:]
    return moves, bends


def _two_loop(
    rising: Vector, moves: tuple[Vector, ...], bends: tuple[Vector, ...], metric: Metric
) -> Vector:
    """Return the inverse Hessian times a slope, by the recursion of Nocedal (1980)."""
    step, taken = rising, []
    for move, bend in zip(reversed(moves), reversed(bends), strict=True):
        taken.append(move.dot(step) / move.dot(bend))
        step = step - bend * taken[-1]
    step = metric.solve(step)
    if moves:
        step = step * (moves[-1].dot(bends[-1]) / bends[-1].dot(metric.solve(bends[-1])))
    for move, bend, part in zip(moves, bends, reversed(taken), strict=True):
        step = step + move * (part - bend.dot(step) / move.dot(bend))
    return step
