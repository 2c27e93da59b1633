"""How many iterations: as many as predict photons best that the restoration has not seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, State
from skyfold.data import DataInterface
from skyfold.errors import DataError
from skyfold.observers import Observer
from skyfold.simulate import generator
from skyfold.stopping import StoppingRule, Trace
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

FILE = "held_out.ecsv"
USUAL = 100  # iterations where the photons cannot be divided
PATIENCE = (1.25, 10)  # iterations looked at beyond the best: a quarter more, and ten
FLAT = 0.1  # rise of the log-likelihood over a fifth of all iterations that is not worth them


@dataclass(frozen=True)
class HeldOut(StoppingRule):
    """Stop at the iteration that predicts unseen photons best.

    The photons are divided at random into parts. Each in turn is held out while the others are
    restored, from the same start. Poisson counts divided photon by photon are independent, so the
    log-likelihood of those held out has its maximum where the restoration begins to follow noise.
    The sum over the parts decides. All photons are then restored with that many iterations and a
    little more, for with more photons noise is followed later, about in proportion. It costs as
    many restorations as there are parts.

    This makes the number of iterations a regulariser that the data choose. It belongs to plain
    Richardson-Lucy, ``sgp`` or ``momentum-em``; the fastest way to the optimum passes by worse
    images.

    Parameters
    ----------
    folds
        Number of parts.
    longest
        Iterations after which the search ends, whether a best one was passed or not.
    best
        The number found; none to find it.
    """

    folds: Annotated[int, Field(ge=2)] = 10
    longest: Annotated[int, Field(ge=1)] = 500
    best: Annotated[int, Field(ge=0)] | None = None

    def reason(self, trace: Trace) -> str | None:
        """Count the iterations."""
        if self.best is None or trace[-1]["iteration"] < self.best:
            return None
        return f"held-out photons are predicted best after {self.best} iterations"


@dataclass(frozen=True, eq=False)
class Curve:
    """Log-likelihood of held-out photons by iteration, relative to the start.

    Parameters
    ----------
    gains
        Shape (iteration, part).
    """

    gains: Array = field(repr=False)

    @property
    def top(self) -> int:
        """The iteration with the largest sum."""
        return int(np.argmax(self.gains.sum(axis=1))) if len(self.gains) else 0

    @property
    def best(self) -> int:
        """The iteration for all photons: later by as much as they are more."""
        folds: int = self.gains.shape[1]
        return round(self.top * folds / (folds - 1))

    @property
    def ends(self) -> bool:
        """Whether enough iterations beyond the best were looked at, or more change nothing."""
        (factor, more), size = PATIENCE, len(self.gains)
        if size <= more:
            return False
        rise = float(self.gains[-1].sum() - self.gains[int(0.8 * size)].sum())
        return size > factor * self.top + more or abs(rise) < FLAT

    def table(self) -> Table:
        """Return one row per iteration: the gain, and its error against the best one's."""
        from astropy.table import Table

        apart = self.gains - self.gains[self.top]
        folds = self.gains.shape[1]
        columns = {
            "held_out": self.gains.sum(axis=1),
            "error": apart.std(axis=1, ddof=1) * sqrt(folds),
        }
        return Table({"iteration": np.arange(len(apart)), **columns}, meta={"best": self.best})


def choose(
    rule: HeldOut,
    algorithm: Algorithm,
    data: DataInterface,
    start: State,
    seed: int = 0,
    observer: Observer | None = None,
) -> tuple[HeldOut, Curve | None]:
    """Find the number of iterations for these data.

    Parameters
    ----------
    rule
        How to look for it.
    algorithm, data, start
        What is to be run.
    seed
        Seed of the divisions.
    observer
        Who watches: it is shown a state of the first division, and the curve so far.

    Returns
    -------
    rule, curve
        The rule that stops there, and what it was chosen from; none if the counts are too
        few, or no whole numbers, and cannot be divided, which is logged.
    """
    try:
        curve = _curve(rule, algorithm, data, start, seed, observer or Observer())
    except DataError as error:
        log.warning("iterations: held-out photons cannot choose: %s; %d are done", error, USUAL)
        return replace(rule, best=USUAL), None
    if not curve.ends:
        log.warning("the best number of iterations may lie beyond %d", rule.longest)
    log.info("held-out photons are predicted best after %d iterations", curve.best)
    return replace(rule, best=curve.best), curve


def _curve(
    rule: HeldOut,
    algorithm: Algorithm,
    data: DataInterface,
    start: State,
    seed: int,
    observer: Observer,
) -> Curve:
    """Return how well each iteration predicts what was held out, to some way beyond the best."""
    pairs = data.folds(rule.folds, generator(seed, "held-out"))
    runs = [_gains(algorithm, kept, held, start, rule.folds) for kept, held in pairs]
    curve, trace = Curve(np.empty((0, rule.folds))), list[dict[str, float]]()
    observer.on_start(start)
    while len(curve.gains) <= rule.longest and not curve.ends:
        found = [next(run) for run in runs]
        curve = Curve(np.vstack([curve.gains, [gain for _, gain in found]]))
        trace.append({"log_likelihood": float(curve.gains[-1].sum())})
        if len(trace) > 1:
            observer.on_iteration(found[0][0], trace)
    observer.on_finish(start, trace, "")
    return curve


def _gains(
    algorithm: Algorithm, kept: DataInterface, held: DataInterface, start: State, folds: int
) -> Iterator[tuple[State, float]]:
    """Yield the states of one restoration, with the gain in log-likelihood of what it never saw."""
    first = None
    for state in algorithm.iterate(kept, algorithm.start(kept, start.model)):
        now = held.log_likelihood(state.expectation * (1 / (folds - 1)))
        first = now if first is None else first
        yield state, now - first
