"""How strong a prior: as strong as predicts photons best that the restoration has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.algorithm import Algorithm, State
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.observers import Observer
from skyfold.points import point_components
from skyfold.priors import Prior, derivative
from skyfold.simulate import generator
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

FILE = "strength.ecsv"
FOLDS = 5  # parts of the photons, each held out in turn
LAPS, LATE, RISE = 200, 5, 0.1  # an optimum is near when five iterations bring no more than this
STEP, WIDEST = 0.5, 16  # half powers of ten, and how many of them are looked at in one direction
WORTH = 1.0  # rise of the log-likelihood for which one of them is taken
BESIDE_POINTS = 0.125  # of the best strength, where fluxes of points are fitted too


def scaled(priors: Mapping[str, Prior], factor: float) -> dict[str, Prior]:
    """Return priors whose strengths are multiplied by a factor.

    Raises
    ------
    ConfigError
        If one of them has no ``coefficient``.
    """
    if factor == 1:
        return dict(priors)
    made: dict[str, Prior] = {}
    for name, prior in priors.items():
        if not hasattr(prior, "coefficient"):
            raise ConfigError(
                f"the prior {name} has no coefficient that a strength could multiply; "
                "give its options by hand"
            )
        changes: dict[str, Any] = {"coefficient": prior.coefficient * factor}
        made[name] = replace(prior, **changes)  # type: ignore[type-var]
    return made


@dataclass(frozen=True, eq=False)
class Strengths:
    """Log-likelihood of held-out photons by strength.

    Parameters
    ----------
    gains
        For each factor one number per part.
    share
        The part of the best that is taken.
    """

    gains: Mapping[float, Array] = field(repr=False)
    share: float = 1.0

    @property
    def best(self) -> float:
        """The factor with the largest sum, by a parabola where it has neighbours."""
        factors = sorted(self.gains)
        i = factors.index(self.top)
        if not 0 < i < len(factors) - 1:
            return self.top
        near = factors[i - 1 : i + 2]
        sums = [float((self.gains[factor] - self.gains[self.top]).sum()) for factor in near]
        bend, slope, _ = np.polyfit(np.log10(near), sums, 2)
        return float(10 ** (-slope / (2 * bend))) if bend < 0 else self.top

    @property
    def top(self) -> float:
        """The factor with the largest sum of those tried."""
        return max(self.gains, key=lambda factor: float(self.gains[factor].sum()))

    @property
    def taken(self) -> float:
        """The factor for the run."""
        return self.best * self.share

    def table(self) -> Table:
        """Return one row per factor: the log-likelihood below the best, and its error."""
        from astropy.table import Table

        factors = sorted(self.gains)
        apart = np.array([self.gains[f] - self.gains[self.top] for f in factors])
        error = apart.std(axis=1, ddof=1) * sqrt(apart.shape[1])
        columns = {"strength": factors, "held_out": apart.sum(axis=1), "error": error}
        return Table(columns, meta={"best": self.best, "taken": self.taken})


def choose(
    algorithm: Algorithm,
    data: DataInterface,
    start: State,
    factors: Sequence[float] | None = None,
    seed: int = 0,
    observer: Observer | None = None,
) -> Strengths:
    """Restore parts of the photons with priors of different strength, and judge them by the rest.

    Photons are predicted best where what a prior takes from an image is about as much as noise.
    That is too much where fluxes of points are fitted besides: it would all be bias. Their part of
    it falls in proportion to the strength while their errors hardly grow, so there less is taken.

    Parameters
    ----------
    algorithm, data, start
        What is to be run; the strengths of its priors are multiplied by each factor.
    factors
        Which factors; by default a walk in half powers of ten uphill from where prior and
        likelihood are about equally curved, as long as it is worth it.
    seed
        Seed of the divisions.
    observer
        Who watches.

    Raises
    ------
    DataError
        If the counts are not whole numbers and cannot be divided.
    """
    observer = observer or Observer()
    try:
        pairs = list(data.folds(FOLDS, generator(seed, "strength")))
        states = [algorithm.start(kept, start.model) for kept, _ in pairs]
    except DataError as error:
        raise DataError(
            f"held-out photons cannot choose the strength: {error}; give it as a number"
        ) from error
    gains: dict[float, Array] = {}
    observer.on_start(start)

    def judged(factor: float) -> float:
        if factor not in gains:
            found = []
            for i, (kept, held) in enumerate(pairs):
                priors = scaled(algorithm.priors, factor)
                states[i] = _climbed(replace(algorithm, priors=priors), kept, states[i])
                found.append(held.log_likelihood(states[i].expectation * (1 / (FOLDS - 1))))
            gains[factor] = np.array(found)
            observer.on_iteration(states[0], [{"log_likelihood": float(gains[factor].sum())}])
        return float(gains[factor].sum())

    if factors is None:
        _walk(judged, _balanced(algorithm, data, start))
    else:
        for factor in sorted(factors, reverse=True):
            judged(factor)
    observer.on_finish(start, [], "")
    chosen = Strengths(gains, BESIDE_POINTS if point_components(start.model.components) else 1.0)
    log.info("held-out photons are predicted best at %g times the strength given", chosen.best)
    if chosen.share < 1:
        log.info("%g times is taken, for fluxes without bias", chosen.taken)
    if len(gains) > 1 and factors is not None and chosen.top in (min(gains), max(gains)):
        log.warning("strength %g is at the edge of those tried: try further ones", chosen.top)
    return chosen


def _walk(judged: Callable[[float], float], first: float) -> None:
    """Judge half powers of ten uphill, to one beyond the best."""
    way = STEP if judged(10 ** (first + STEP)) > judged(10.0**first) else -STEP
    power = first
    for _ in range(WIDEST):
        if judged(10 ** (power + way)) <= judged(10.0**power) + WORTH:
            break
        power += way


def _balanced(algorithm: Algorithm, data: DataInterface, start: State) -> float:
    """Return the power of ten at which priors and likelihood are about equally curved."""
    model, bends = start.model, derivative(algorithm.priors, start.model, "curvature")
    prior = likelihood = 0.0
    for name, bend in bends.items():
        seen = (model[name] > 0) & (bend > 0)
        prior += float(bend[seen].sum())
        likelihood += float((data.sensitivity[name][seen] / model[name][seen]).sum())
    if not 0 < prior < inf or likelihood <= 0:
        return 0.0
    return float(round(log10(likelihood / prior)))


def _climbed(algorithm: Algorithm, data: DataInterface, state: State) -> State:
    """Return a state near the optimum."""
    trail: list[float] = []
    for now in algorithm.iterate(data, algorithm.start(data, state.model)):
        trail.append(now.objective)
        near = len(trail) > LATE and trail[-1] - trail[-1 - LATE] < RISE
        if near or len(trail) > LAPS:
            break
    return now
