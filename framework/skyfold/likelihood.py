"""How well an expectation explains the counts: Poisson, and damped Poisson."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from skyfold._kernels import poisson_along, poisson_ratio
from skyfold.errors import ConfigError
from skyfold.vector import Array


class Likelihood(ABC):
    """Value and slope of a log-likelihood that is a sum over bins.

    Attributes
    ----------
    sparse
        Whether a bin without counts enters only through the total expectation, so that products
        are needed on the observed bins alone.
    concave
        Whether it is concave in the expectation, so that slopes bound what is left to gain.
    """

    sparse: bool
    concave: bool = False

    @abstractmethod
    def evaluate(
        self, counts: Array, expectation: Array, weight: Array, total: float, accuracy: float
    ) -> tuple[Array, float]:
        """Return the ratio q and the log-likelihood, up to a constant of the data.

        The slope along a change of the model is ``sum(q . R dx) - sensitivity . dx``.

        Parameters
        ----------
        counts, expectation, weight
            One value per bin seen, flat.
        total
            Weighted total of the expectation over all bins.
        accuracy
            Expectations below this fraction of their maximum are rounding noise.
        """

    def along(
        self,
        counts: Array,
        line: tuple[Array, Array],
        weight: Array,
        totals: tuple[float, float],
        step: float,
        accuracy: float,
    ) -> tuple[float, float, float]:
        """Return value, slope and bend of the log-likelihood at a step along a line.

        Parameters
        ----------
        counts, weight
            One value per bin seen, flat.
        line, totals
            Expectation at the beginning and its change per step; the weighted totals of both.
        step
            How far to go.
        accuracy
            Expectations below this fraction of their maximum are rounding noise.

        Returns
        -------
        value, slope, bend
            The log-likelihood, its derivative by the step, and minus the second one; 0 where that
            is not known. The value is minus infinity where counts are impossible.
        """
        moved = line[0] + line[1] * line[1].dtype.type(step)
        total = totals[0] + step * totals[1]
        with np.errstate(all="ignore"):
            ratio, value = self.evaluate(counts, moved, weight, total, accuracy)
            slope = float(np.sum(ratio * line[1], dtype=np.float64)) - totals[1]
        return value, slope, 0.0

    @abstractmethod
    def curvature(self, counts: Array, expectation: Array, weight: Array, accuracy: float) -> Array:
        """Return minus the second derivative by the expectation of each bin seen, not negative."""


@dataclass(frozen=True)
class Poisson(Likelihood):
    """``log L = sum over bins with counts of n log e  -  total``, with ``q = n / e``."""

    sparse = True
    concave = True

    def evaluate(
        self, counts: Array, expectation: Array, weight: Array, total: float, accuracy: float
    ) -> tuple[Array, float]:
        """Return n/e and the Poisson log-likelihood."""
        ratio = np.empty_like(expectation)
        return ratio, poisson_ratio(counts, expectation, accuracy, ratio) - total

    def along(
        self,
        counts: Array,
        line: tuple[Array, Array],
        weight: Array,
        totals: tuple[float, float],
        step: float,
        accuracy: float,
    ) -> tuple[float, float, float]:
        """Return value, slope and bend, in one pass."""
        fit, rise, bend = poisson_along(counts, *line, step, accuracy)
        return fit - totals[0] - step * totals[1], rise - totals[1], bend

    def curvature(self, counts: Array, expectation: Array, weight: Array, accuracy: float) -> Array:
        """Return the observed information ``n / e^2``."""
        noise = accuracy * float(np.max(expectation, initial=0.0))
        tiny = float(np.finfo(expectation.dtype).tiny) ** 0.25  # its square is still a number
        curved: Array = (
            counts / np.maximum(expectation, expectation.dtype.type(max(noise, tiny))) ** 2
        )
        return curved


@dataclass(frozen=True)
class Damped(Likelihood):
    """Poisson, but flat where data and expectation agree within some sigma (White 1994).

    With the deviance ``u = 2 (e - n + n log(n/e)) / threshold^2`` of a bin, its log-likelihood
    ``-threshold^2/2 u`` becomes ``-threshold^2/2 phi(u)``, where phi follows u above one and is
    nearly flat below: differences that are noise no longer drive the restoration.

    Parameters
    ----------
    threshold
        Differences below about this many sigma are damped.
    power
        Sharpness of the transition.
    """

    threshold: float = 3.0
    power: int = 10
    sparse = False

    def evaluate(
        self, counts: Array, expectation: Array, weight: Array, total: float, accuracy: float
    ) -> tuple[Array, float]:
        """Return the damped ratio and log-likelihood."""
        n, half = self.power, 0.5 * self.threshold**2
        tiny = float(np.finfo(expectation.dtype).tiny)
        e = np.maximum(expectation * weight, max(accuracy * float(np.max(expectation)), tiny))
        e = np.where(weight > 0, e, 1.0)
        seen = np.where(weight > 0, counts, 1.0)
        log = np.log(np.where(seen > 0, seen / e, 1.0))
        u = np.clip((e - seen + seen * log) / half, 0.0, None)
        v = np.minimum(u, 1.0)
        phi = np.where(u < 1, (n - 1) / (n + 1) * (1 - v ** (n + 1)) + v**n, u)
        slope = v ** (n - 1) * (n - (n - 1) * v)
        return weight * (1.0 + slope * (seen / e - 1.0)), float(-half * np.sum(phi))

    def curvature(self, counts: Array, expectation: Array, weight: Array, accuracy: float) -> Array:
        """Refuse: what is damped has no error.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(
            "a damped likelihood has no curvature to tell errors from: ask for the bootstrap, or "
            "restore without damping"
        )
