"""Whether there is more than the known: the significance of structure (Stein et al. 2015).

The null model is what is known, such as a background; what is asked is whether the counts want a
multi-scale sky on top of it. Of a region, the share of the light that is extra ::

    xi = tau_1 / (tau_1 + tau_0)

is drawn by the sampler, from the counts observed and from many that the null model made. The test
statistic is the posterior probability of a large share, ``T = Pr(xi >= c | counts)``. With c such
that T has the mean gamma under the null model, ``Pr(T >= t) <= gamma / t`` (Markov), so that
``gamma / T`` is an upper bound of the p-value, however few simulations of the null model there
are; it cannot be less than gamma. Gamma, and the regions, are to be chosen before one has looked.

Of 500 images of noise alone (16 x 16 pixels, one count each), against 400 simulations, the bound
was below 5 % for 6 and the p-value by rank for 25. A star over the 36 counts of a region was found
at 5 % by the bound (and by rank), against 200 simulations, in 28 (55) % of images with 10 counts,
78 (93) % with 20, and all with 40.

Stein, van Dyk, Kashyap, Siemiginowska (2015), Astrophysical Journal 813, 66.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.simulate import generator
from skyfold.vector import Array

GAMMA = 0.005
FEWEST = 4  # simulations, so that there are two in each half
PLENTY = 400  # simulations; that p_bound holds was measured with so many
REPETITIONS = 4000  # of the bootstrap
LEVEL = 0.95  # confidence of the upper limit of gamma


def shares(extra: Array, known: Array) -> Array:
    """Return the share of the light that is extra.

    Parameters
    ----------
    extra, known
        Light of the extra component and of all others in a region, in one unit, of any shape.

    Returns
    -------
    shares
        ``extra / (extra + known)``. Where nothing at all is known in a region that would be one
        for every draw and tell nothing: then it is ``extra`` itself, which orders the draws as
        the share would on any even ground.
    """
    if not np.any(known):
        return extra
    total = extra + known
    share: Array = np.divide(extra, total, out=np.zeros(np.shape(total)), where=total > 0)
    return share


@dataclass(frozen=True, eq=False)
class Bound:
    """How well the null model explains a region.

    Parameters
    ----------
    c
        The share that is called large.
    tail
        Posterior probability of a share as large, given the counts observed.
    tails
        The same of the simulations that gamma was found from.
    gamma
        Their mean; no less than what was asked for.
    gamma_upper
        Upper confidence limit of that (95 %, by the bootstrap over simulations). The counts
        observed are one more of them if the null model is right, and are counted with them: what
        few simulations never showed may still be.
    """

    c: float
    tail: float
    tails: Array
    gamma: float
    gamma_upper: float

    @property
    def p_bound(self) -> float:
        """Upper bound of the p-value."""
        return self._over(self.gamma)

    @property
    def p_upper(self) -> float:
        """The same with the upper limit of gamma, for the Monte Carlo error of the bound."""
        return self._over(self.gamma_upper)

    @property
    def p_empirical(self) -> float:
        """The p-value from the rank of the tail probability among those of the simulations.

        It is right for any number of them, and cannot be less than one over that.
        """
        return float((1 + np.sum(self.tails >= self.tail)) / (1 + len(self.tails)))

    def _over(self, gamma: float) -> float:
        return min(1.0, gamma / self.tail) if self.tail > 0 else 1.0


def bound(observed: Array, replicates: Array, gamma: float = GAMMA, seed: int = 0) -> Bound:
    """Return how well the null model explains the shares of a region.

    Every other simulation serves to find c, the rest to find gamma and the rank, so that neither
    rests on draws that were used before.

    Parameters
    ----------
    observed
        Draws of the share given the counts observed, after burn-in, shape (draws,).
    replicates
        The same given the counts of each simulation of the null model, shape (simulations, draws).
    gamma
        Mean of the tail probability under the null model.
    seed
        Seed of the bootstrap behind the upper limit.

    Raises
    ------
    ConfigError
        If gamma is no probability, or there are too few simulations.
    DataError
        If two simulations are the same, or draws are not finite.
    """
    replicates = np.asarray(replicates, float)
    _require_sound(np.asarray(observed, float), replicates, gamma)
    chosen, rest = replicates[::2], replicates[1::2]
    c = float(np.quantile(chosen, 1 - gamma, method="higher"))
    tail, tails = float(np.mean(observed >= c)), np.mean(rest >= c, axis=1)
    rng, among = generator(seed, "structure"), np.append(tails, tail)
    means = among[rng.integers(len(among), size=(REPETITIONS, len(among)))].mean(axis=1)
    return Bound(
        c,
        tail,
        tails,
        max(gamma, float(tails.mean())),
        max(gamma, float(np.quantile(means, LEVEL))),
    )


def quoted(simulations: int) -> str:
    """Return which bound to quote: with its Monte Carlo error unless simulations are plenty."""
    return "p_bound" if simulations >= PLENTY else "p_upper"


def holm(p_values: Any) -> Array:
    """Return p-values corrected for their number, so that none is small by chance (Holm 1979)."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    found = np.empty(len(p_values))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return found


def require_sense(simulations: int, gamma: float) -> None:
    """Refuse too few simulations, and what is no probability.

    Raises
    ------
    ConfigError
        If it is one of these.
    """
    if not 0 < gamma < 1:
        raise ConfigError(f"gamma is a probability, such as {GAMMA}, not {gamma:g}")
    if simulations < FEWEST:
        raise ConfigError(
            f"{simulations} simulations of the null model are too few: take at least {FEWEST}, "
            "better a hundred"
        )


def _require_sound(observed: Array, replicates: Array, gamma: float) -> None:
    require_sense(len(replicates), gamma)
    if not (np.all(np.isfinite(observed)) and np.all(np.isfinite(replicates))):
        raise DataError("some draws are not finite, so they say nothing of a share")
    rows = {row.tobytes() for row in replicates if np.ptp(row) > 0}
    moving = sum(np.ptp(row) > 0 for row in replicates)
    if len(rows) < moving:
        raise DataError(
            f"{moving - len(rows)} of {len(replicates)} simulations of the null model are copies "
            "of another one: give each its own seed"
        )
