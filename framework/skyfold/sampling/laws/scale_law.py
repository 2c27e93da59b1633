"""Laws of normalisations: how well a background, or a point source, is known before counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.sampling.laws.coordinates import Logs
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array

Unknowns = dict[str, Array]
Above = Annotated[float, Field(gt=0)]
STEPS = 4
"""Proposals of a factor of log-normal law, in each draw."""


@dataclass(frozen=True)
class GammaFactor:
    """The Gamma density of a factor. A rate of zero makes it improper: there is no mean.

    Parameters
    ----------
    shape, rate
        Of the density ``x^(shape - 1) exp(-rate x)``.
    """

    shape: Above
    rate: Annotated[float, Field(ge=0)]

    @classmethod
    def of(cls, mean: float, sigma: float) -> GammaFactor:
        """Return the density of given mean and standard deviation."""
        return cls((mean / sigma) ** 2, mean / sigma**2)


@dataclass(frozen=True)
class LogNormalFactor:
    """The log-normal density of a factor.

    Parameters
    ----------
    median
        Its median.
    sigma
        Standard deviation of its logarithm.
    """

    median: Above
    sigma: Above


class Scale(Law):
    """Independent factors, of one density: normalisations of backgrounds and sources.

    Parameters
    ----------
    sensitivity
        Expected counts per unit of each factor.
    density
        What is known of each factor before counts. Given these, a factor of Gamma density is
        drawn as it is; one of log-normal density by Metropolis-Hastings, from Student's
        distribution around the mode of its logarithm.
    bounds
        Least and greatest factor allowed; the density is cut off there, and not normalised anew.
        For Gamma densities only.

    Raises
    ------
    ConfigError
        If a log-normal density has bounds.
    """

    def __init__(
        self,
        sensitivity: Array,
        density: GammaFactor | LogNormalFactor,
        bounds: tuple[float, float] = (0.0, math.inf),
    ) -> None:
        self._seen = np.asarray(sensitivity, dtype=np.float64)
        self._density, self._bounds = density, bounds
        if bounds != (0.0, math.inf) and isinstance(density, LogNormalFactor):
            raise ConfigError(
                f"a factor of log-normal law has no bounds, but {bounds} are asked for: take the "
                "Gamma law, or leave the bounds out"
            )

    def start(self, values: Array, group: int, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Return the factors times log-normal noise of 0.3."""
        return np.clip(values * np.exp(0.3 * rng.normal(size=values.shape)), *self._bounds), {}

    def draw(
        self,
        attributed: Array,
        values: Array,
        unknowns: dict[str, Array],
        rng: np.random.Generator,
    ) -> tuple[Array, Unknowns, float]:
        """Draw each factor given its counts; one too small for a float is the least one."""
        law = self._density
        if isinstance(law, GammaFactor):
            drawn = self._gamma(attributed + law.shape, self._seen + law.rate, rng)
        else:
            places = zip(attributed.flat, self._seen.flat, values.flat, strict=True)
            drawn = np.array([_draw(*place, law, rng) for place in places]).reshape(values.shape)
        return drawn, {}, self.log_density(drawn, {})

    def maximise(
        self, attributed: Array, values: Array, unknowns: dict[str, Array]
    ) -> tuple[Array, Unknowns, float]:
        """Return the mode of each factor, or the least one where that is zero."""
        law = self._density
        if isinstance(law, GammaFactor):
            best = np.maximum(attributed + law.shape - 1, 0) / (self._seen + law.rate)
            best = np.clip(best, *self._bounds)
        else:
            places = zip(attributed.flat, self._seen.flat, strict=True)
            modes = [math.exp(_mode(n - 1, s, law)) for n, s in places]
            best = np.array(modes).reshape(values.shape)
        best = np.maximum(best, 1e-300)
        return best, {}, self.log_density(best, {})

    def simulate(self, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Draw factors before counts are seen.

        Raises
        ------
        ConfigError
            If the density is improper.
        """
        law, shape = self._density, self._seen.shape
        if isinstance(law, LogNormalFactor):
            return law.median * np.exp(law.sigma * rng.normal(size=shape)), {}
        if law.rate == 0:
            raise ConfigError("a Gamma density of rate 0 is improper: there is nothing to draw")
        return self._gamma(np.full(shape, law.shape), np.full(shape, law.rate), rng), {}

    def _gamma(self, shape: Array, rate: Array, rng: np.random.Generator) -> Array:
        """Draw from Gamma densities within the bounds."""
        if self._bounds == (0.0, math.inf):
            return np.maximum(rng.standard_gamma(shape) / rate, 1e-300)
        from scipy.special import gammainc, gammaincinv

        low, high = (gammainc(shape, rate * bound) for bound in self._bounds)
        drawn = gammaincinv(shape, low + rng.random(rate.shape) * (high - low)) / rate
        kept: Array = np.clip(drawn, max(self._bounds[0], 1e-300), self._bounds[1])
        return kept

    def coordinates(self, unknowns: Mapping[str, Array]) -> Logs:
        """Return the logarithms of the factors."""
        law, (low, high) = self._density, self._bounds

        def log_density(logs: Array) -> tuple[float, Array]:
            if isinstance(law, LogNormalFactor):
                z = (logs - math.log(law.median)) / law.sigma
                return float(-0.5 * z @ z), -z / law.sigma
            values = np.exp(logs)
            slopes = law.shape - law.rate * values
            if np.any((values < low) | (values > high)):
                return -math.inf, slopes
            return float(np.sum(law.shape * logs - law.rate * values)), slopes

        firm = law.shape if isinstance(law, GammaFactor) else law.sigma**-2
        return Logs(self._seen.shape, firm, log_density)

    def log_density(self, values: Array, unknowns: dict[str, Array]) -> float:
        """Return that of the factors, without normalisation where it is improper."""
        law, logs = self._density, np.log(values)
        if isinstance(law, LogNormalFactor):
            z = (logs - math.log(law.median)) / law.sigma
            return float(-np.sum(z**2 / 2 + logs)) - z.size * math.log(
                law.sigma * math.sqrt(2 * math.pi)
            )
        norm = law.shape * math.log(law.rate) - math.lgamma(law.shape) if law.rate else 0.0
        return float(np.sum((law.shape - 1) * logs - law.rate * values)) + values.size * norm


def _mode(counts: float, seen: float, law: LogNormalFactor) -> float:
    """Return the mode of ``counts t - seen exp(t) - (t - log median)^2 / (2 sigma^2)``.

    It is concave, and its slope too: Newton's steps from above the mode never pass it.
    """
    centre, width = math.log(law.median), law.sigma**2
    t = max(centre + max(counts, 0) * width, centre)
    if seen > 0 and counts > 0:
        t = min(t, max(centre, math.log(counts / seen)))
    for _ in range(100):
        lit = seen * math.exp(t)
        step = (counts - lit - (t - centre) / width) / (lit + 1 / width)
        t += step
        if abs(step) < 1e-8:
            break
    return t


def _draw(
    counts: float, seen: float, value: float, law: LogNormalFactor, rng: np.random.Generator
) -> float:
    """Return a factor after a few independent proposals."""
    centre, median = _mode(counts, seen, law), math.log(law.median)
    width = 1.3 / math.sqrt(seen * math.exp(centre) + 1 / law.sigma**2)

    def balance(t: float) -> float:
        """Log-density of the logarithm t over that of its proposal."""
        z = (t - centre) / width
        fit = counts * t - seen * math.exp(min(t, 700)) - ((t - median) / law.sigma) ** 2 / 2
        return fit + 2.5 * math.log1p(z * z / 4)

    here = math.log(value)
    log_here = balance(here)
    for z, u in zip(rng.standard_t(4, STEPS).tolist(), rng.random(STEPS).tolist(), strict=True):
        there = centre + width * z
        log_there = balance(there)
        if math.log(u) < log_there - log_here:
            here, log_here = there, log_there
    return math.exp(here)
