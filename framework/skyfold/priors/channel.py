"""A sky and the entropy on it, for steps along which sky and level are linear."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from skyfold._kernels import entropy_along, entropy_step, level_quotient, relative_entropy
from skyfold.geometry import Geometry
from skyfold.priors.entropy import SMALLEST, Entropy
from skyfold.vector import Array


@dataclass(frozen=True, eq=False)
class Channel:
    """A sky and the entropy on it: what `Entropy` says, without smoothing what is smoothed.

    Parameters
    ----------
    name
        Name of its component.
    values
        Its values, in float64.
    prior
        The entropy.
    geometry
        Where the values live.
    """

    name: str
    values: Array
    prior: Entropy
    geometry: Geometry

    def level(self) -> Array:
        """Return what the sky is drawn to."""
        return np.array(self.prior.level(self.values, self.geometry), np.float64, order="C")

    def level_ahead(self, step: Array) -> Array:
        """Return how that changes with a step."""
        if not self.prior.floats:
            return np.zeros(self.values.shape)
        return self.prior.level(step, self.geometry)

    def value(self, level: Array) -> float:
        """Return the log-density."""
        made = relative_entropy(self.values, level)
        if not self.prior.floats:
            made += float(np.sum(self.values))
        return self.prior.coefficient * made

    def uphill(self, value: float) -> float:
        """Return the sum of values times slope, where the log-density is ``value``."""
        if self.prior.floats:
            return value  # it is of degree one
        return value - self.prior.coefficient * float(np.sum(self.values))

    def scale(self, sensitivity: Array) -> Array:
        """Return what steps are divided by: the sensitivity, or what the entropy asks at least."""
        floor = min(self.prior.coefficient, float(np.max(sensitivity)))
        low = float(np.min(sensitivity)) < floor
        return np.maximum(sensitivity, floor) if low else sensitivity

    def quotient(self, level: Array, back: Array) -> tuple[Array, float]:
        """Return values over level, and the sum of values times R^T q."""
        out = np.empty(self.values.shape)
        return out, level_quotient(self.values, level, _plain(back), out)

    def step(
        self,
        level: Array,
        quotient: Array,
        back: Array,
        sensitivity: Array,
        pulls: tuple[float, float],
    ) -> tuple[Array, tuple[float, float, float], float]:
        """Return a multiplicative step, and how often it may be taken above zero.

        Parameters
        ----------
        level, quotient
            What the sky is drawn to, and values over that.
        back, sensitivity
            R^T q and R^T w.
        pulls
            What is added for counts and for entropy to the relative step of every value.

        Returns
        -------
        step, lengths, reach
            ``x (back / s + pulls[0]) + x (slope / s + pulls[1])``, the lengths of its two terms
            and of their sum, and how often it may be taken. What is hardly seen is moved by the
            entropy: there `scale` takes the place of s, and the pulls are as much less.
        """
        floats, strength = self.prior.floats, self.prior.coefficient
        spread = self.prior.level(quotient, self.geometry) if floats else np.ones(quotient.shape)
        scale = self.scale(sensitivity)
        if scale is not sensitivity:
            part = self.values / scale
            first = part * (back + pulls[0] * sensitivity)
            log = np.log(np.maximum(quotient, SMALLEST))
            second = part * (strength * (spread - 1 - log) + pulls[1] * sensitivity)
            step = first + second
            norms = (_norm(first), _norm(second), _norm(step))
            falling = step < 0
            far = np.min(self.values[falling] / -step[falling], initial=inf)
            return step, norms, float(far)
        all_pulls = (strength, *pulls)
        counts, entropy, both, reach = entropy_step(
            self.values, _plain(back), _plain(sensitivity), level, spread, all_pulls, spread
        )  # each value is read before the step takes its place
        return spread, (sqrt(counts), sqrt(entropy), sqrt(both)), reach

    def along(self, level: Array, line: tuple[Array, Array], share: float) -> tuple[float, float]:
        """Return slope and bend of the log-density at a share of a step of sky and level."""
        rise, bend = entropy_along(self.values, line[0], level, line[1], share)
        if not self.prior.floats:
            rise += float(np.sum(line[0]))
        return self.prior.coefficient * rise, self.prior.coefficient * bend


def _norm(values: Array) -> float:
    return sqrt(float(np.sum(values**2)))


def _plain(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float64)
