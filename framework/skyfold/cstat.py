"""The C-statistic of Poisson counts, and what it is on average if the model is true.

``C = sum over bins of 2 (e - n + n log(n/e))`` is -2 log-likelihood but for a constant of the data
(Cash 1979, ApJ 228, 939). Unlike chi-square it is not worth one unit a bin: nearly empty bins
add almost nothing, bins of about one count more than one unit (Kaastra 2017, A&A 605, A51). So it
is compared with its own mean and variance, which are sums over the Poisson distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, log, sqrt
from typing import Any

import numpy as np

from skyfold.vector import Array

FEWEST, MOST = 1e-12, 100.0  # expected counts of a bin; sums are tabulated between them
LOG_FEWEST = log(FEWEST)
SPACING = 0.02  # of the table, in the logarithm of the expected counts
CHUNK = 1 << 14  # bins looked at together: with the table they fit into the cache
SLAB = 1 << 20  # bins summed together, so that they take little memory
# mean and variance in powers of 1/mu, from the central moments of the Poisson distribution
MEAN = np.array([1, 1 / 6, 1 / 6, 19 / 60, 9 / 10])
VARIANCE = np.array([2, 2 / 3, 4 / 3, 701 / 180, 449 / 30])


@dataclass(frozen=True)
class CStatistic:
    """The C-statistic of some bins beside its mean and variance under the model.

    Parameters
    ----------
    value
        Of the counts.
    mean, variance
        Of counts that the model would make.
    """

    value: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    def __add__(self, other: CStatistic) -> CStatistic:
        return CStatistic(
            self.value + other.value, self.mean + other.mean, self.variance + other.variance
        )

    @property
    def sigma(self) -> float:
        """Standard deviation under the model."""
        return sqrt(self.variance)

    @property
    def excess(self) -> float:
        """How far the value lies above its mean, in sigma."""
        return (self.value - self.mean) / self.sigma if self.variance else 0.0


def cstat(counts: Array, mu: Array) -> Array:
    """Return the C-statistic of each bin: twice how much less likely it is than the best model.

    Parameters
    ----------
    counts
        Counts per bin.
    mu
        Expected counts, same shape. Where they vanish but counts do not, the statistic is huge
        instead of infinite, so that sums stay numbers.
    """
    e = np.maximum(np.asarray(mu, dtype=float), np.finfo(float).tiny)
    held = counts > 0
    n = counts[held]
    deviance = e - counts
    with np.errstate(over="ignore"):
        deviance[held] += n * np.log(n / e[held])
    doubled: Array = 2 * np.maximum(deviance, 0)
    return doubled


def expected(mu: Any) -> tuple[Array, Array]:
    """Return mean and variance of the C-statistic of bins with these expected counts.

    Up to 100 expected counts they are sums over the Poisson distribution (from a table), beyond a
    series in 1/mu: both right to 1e-8 of their value. For mu -> 0 they vanish as
    ``2 mu log(1/mu)`` and ``4 mu log(1/mu)^2``, for mu -> infinity they are 1 and 2.

    Parameters
    ----------
    mu
        Expected counts per bin, any shape.

    Returns
    -------
    mean, variance
        Same shape.
    """
    mu = np.asarray(mu, dtype=float)
    flat = mu.ravel()
    both = np.empty((2, flat.size))
    for first in range(0, flat.size, CHUNK):
        here = slice(first, first + CHUNK)
        both[:, here] = _expected(flat[here])
    return both[0].reshape(mu.shape), both[1].reshape(mu.shape)


def compare(counts: Array, mu: Array) -> CStatistic:
    """Return the C-statistic of all bins together beside its mean and variance."""
    total = CStatistic()
    flat = counts.ravel(), mu.ravel()
    for first in range(0, counts.size, SLAB):
        n, e = (values[first : first + SLAB] for values in flat)
        total += CStatistic(*(float(part.sum()) for part in (cstat(n, e), *expected(e))))
    return total


def _expected(mu: Array) -> Array:
    """Return mean and variance, shape (2, bins)."""
    both, table = np.empty((2, mu.size)), _table()
    offset = np.log(np.clip(mu, FEWEST, MOST))
    offset -= LOG_FEWEST
    interval = (offset / SPACING).astype(np.int32)
    offset -= interval * SPACING
    for result, (highest, *others) in zip(both, table, strict=True):
        highest.take(interval, out=result, mode="clip")
        for coefficient in others:
            result *= offset
            result += coefficient.take(interval, mode="clip")
    few, many = mu < FEWEST, mu > MOST
    if np.any(few):
        both[:, few] = _sums(mu[few], 3)
    if np.any(many):
        inverse = 1 / mu[many]
        both[:, many] = [np.polynomial.polynomial.polyval(inverse, c) for c in (MEAN, VARIANCE)]
    return both


@cache
def _table() -> Array:
    """Return mean and variance as cubic splines in log mu: shape (2, powers, intervals).

    The intervals are of one length, so that finding one is a division, not a search.
    """
    from scipy.interpolate import CubicSpline

    intervals = ceil((log(MOST) - LOG_FEWEST) / SPACING)
    at = LOG_FEWEST + SPACING * np.arange(intervals + 1)
    spline = CubicSpline(at, _sums(np.exp(at), round(MOST + 12 * sqrt(MOST))).T)
    return np.ascontiguousarray(np.moveaxis(spline.c, -1, 0))


def _sums(mu: Array, terms: int) -> Array:
    """Return mean and variance summed over the first terms of the Poisson distribution.

    The mean of ``n log n`` is mu times that of ``log(n + 1)``, which spares a difference of large
    numbers: ``mean = 2 mu (E[log(n + 1)] - log mu)``.
    """
    from scipy.special import gammaln, xlogy

    n = np.arange(terms)[:, None]
    log_mu = np.log(np.maximum(mu, np.finfo(float).tiny))
    chance = np.exp(xlogy(n, mu) - mu - gammaln(n + 1))
    mean = 2 * mu * (np.sum(chance * np.log1p(n), axis=0) - log_mu)
    off = 2 * (mu - n + xlogy(n, n) - n * log_mu) - mean
    return np.array([mean, np.sum(chance * off**2, axis=0)])
