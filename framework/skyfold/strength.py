"""How strong a prior, and of what width: as predicts photons best that were not seen."""

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
from skyfold.geometry import Grid
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
BY_CHANCE = 1.8  # rise of the log-likelihood that is no more than its own scatter, see `_walk`
WORTH = 1.0  # rise for which another width is taken
BESIDE_POINTS = 0.125  # of the best strength, where fluxes of points in an image are fitted too


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
    times
        Width of the prior, in units of the usual one.
    others
        The same for other widths, which are no better.
    """

    gains: Mapping[float, Array] = field(repr=False)
    share: float = 1.0
    times: float = 1.0
    others: tuple[Strengths, ...] = ()

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
    def height(self) -> float:
        """That sum."""
        return float(self.gains[self.top].sum())

    @property
    def taken(self) -> float:
        """The factor for the run."""
        return self.best * self.share

    def table(self) -> Table:
        """Return one row per factor: the log-likelihood below the best, and its error.

        With several widths there is a column for them, in units of the usual one.
        """
        from astropy.table import Table

        widths = sorted((self, *self.others), key=lambda one: one.times)
        rows = [(one.times, f, one.gains[f]) for one in widths for f in sorted(one.gains)]
        times, factors, gains = zip(*rows, strict=True)
        apart = np.array(gains) - self.gains[self.top]
        error = apart.std(axis=1, ddof=1) * sqrt(apart.shape[1])
        columns = {"strength": factors, "held_out": apart.sum(axis=1), "error": error}
        if self.others:
            columns = {"width": times, **columns}
        return Table(columns, meta={"best": self.best, "taken": self.taken})


def choose(
    algorithm: Algorithm,
    data: DataInterface,
    start: State,
    factors: Sequence[float] | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    widened: Callable[[float], Mapping[str, Prior] | None] | None = None,
) -> Strengths:
    """Restore parts of the photons with priors of different strength, and judge them by the rest.

    Photons are predicted best where what a prior takes from an image is about as much as noise.
    That is too much where fluxes of points are fitted besides: it would all be bias. Their part of
    it falls in proportion to the strength while their errors hardly grow, so there less is taken.
    Not so on the sphere, whose photons may have come from many pixels: a sky that follows noise
    takes more from a point there than a prior does.

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
    widened
        Gives priors so many times as wide, or None where that is too much or too little; by default
        the width is known. It is halved or doubled as long as that is worth it.

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
    observer.on_start(start)
    flat = any(isinstance(part.geometry, Grid) for part in start.model.components.values())
    share = BESIDE_POINTS if flat and point_components(start.model.components) else 1.0

    def judged(algorithm: Algorithm) -> Array:
        found = []
        for i, (kept, held) in enumerate(pairs):
            states[i] = _climbed(algorithm, kept, states[i])
            found.append(held.log_likelihood(states[i].expectation * (1 / (FOLDS - 1))))
        observer.on_iteration(states[0], [{"log_likelihood": float(sum(found))}])
        return np.array(found)

    def at(times: float, priors: Mapping[str, Prior], first: float) -> Strengths:
        gains: dict[float, Array] = {}

        def height(factor: float) -> float:
            if factor not in gains:
                gains[factor] = judged(replace(algorithm, priors=scaled(priors, factor)))
            return float(gains[factor].sum())

        if factors is None:
            _walk(height, first)
        else:
            for factor in sorted(factors, reverse=True):
                height(factor)
        return Strengths(gains, share, times)

    chosen = at(1.0, algorithm.priors, _balanced(algorithm, data, start))
    if widened is not None:
        chosen = _widths(chosen, widened, at)
    observer.on_finish(start, [], "")
    _tell(chosen, factors)
    return chosen


def _tell(chosen: Strengths, factors: Sequence[float] | None) -> None:
    words = "held-out photons are predicted best at %g times the strength given"
    if chosen.others:
        words += f", and {chosen.times:g} times the usual width"
    log.info(words, chosen.best)
    if chosen.share < 1:
        log.info("%g times is taken, for fluxes without bias", chosen.taken)
    gains = chosen.gains
    if len(gains) > 1 and factors is not None and chosen.top in (min(gains), max(gains)):
        log.warning("strength %g is at the edge of those tried: try further ones", chosen.top)
    elif factors is None and chosen.top == min(gains):
        log.warning(
            "held-out photons are predicted best without this prior, which has no say at %g times "
            "its strength: the image follows noise. Take another prior, or end early (method rl)",
            chosen.top,
        )


def _widths(
    first: Strengths,
    widened: Callable[[float], Mapping[str, Prior] | None],
    at: Callable[[float, Mapping[str, Prior], float], Strengths],
) -> Strengths:
    """Halve or double the width as long as that is worth it; the walk goes to one beyond the best.

    A prior half as wide sees less structure, and is about as much stronger for the same.
    """
    best, seen = first, [first]
    for factor in (0.5, 2.0):
        while (priors := widened(best.times * factor)) is not None:
            power = round((log10(best.top) - log10(factor)) / STEP) * STEP
            seen.append(at(best.times * factor, priors, power))
            if seen[-1].height <= best.height + WORTH:
                break
            best = seen[-1]
        if best is not first:
            break
    return replace(best, others=tuple(one for one in seen if one is not best))


def _walk(judged: Callable[[float], float], first: float) -> None:
    """Judge half powers of ten uphill, to one beyond the best, or one that is hardly better.

    A value of the sky that is noise alone, taken out, raises the log-likelihood of five held-out
    parts by 0.625 on average, with a variance of 1.13. A rise made of such values is above its own
    scatter where it is above the ratio of the two, 1.8. Where a sky is flat it falls below that
    long before it ends: no strength is too much there, but nothing is won by the next, and the
    iterations grow in number with each.
    """
    way = STEP if judged(10 ** (first + STEP)) > judged(10.0**first) else -STEP
    power = first
    for _ in range(WIDEST):
        gain = judged(10 ** (power + way)) - judged(10.0**power)
        if gain <= BY_CHANCE:
            if gain > 0:
                judged(10 ** (power + 2 * way))
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
