"""A sky and the entropy on it, for steps along which sky and level are linear."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from skyfold._kernels import entropy_along, entropy_step, level_quotient, relative_entropy
from skyfold.model import Component
from skyfold.priors.entropy import Entropy
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
    component
        Whose values they are.
    """

    name: str
    values: Array
    prior: Entropy
    component: Component

    def level(self) -> Array:
        """Return what the sky is drawn to."""
        return np.array(self.prior.level(self.values, self.component), np.float64, order="C")

    def level_ahead(self, step: Array) -> Array:
        """Return how that changes with a step."""
        if not self.prior.floats:
            return np.zeros(self.values.shape)
        return self.prior.level(step, self.component)

    def valued(self, level: Array) -> tuple[Array, float]:
        """Return a level, raised where it is no more than rounding, and the log-density with it."""
        made, low, top = relative_entropy(self.values, level)
        if self.prior.floats and low < (floor := self.prior.floor(top)):
            level = np.maximum(level, floor)
            made, *_ = relative_entropy(self.values, level)
        if not self.prior.floats:
            made += float(np.sum(self.values))
        return level, self.prior.coefficient * made

    def uphill(self, value: float) -> float:
        """Return the sum of values times slope, where the log-density is ``value``."""
        if self.prior.floats:
            return value  # it is of degree one
        return value - self.prior.coefficient * float(np.sum(self.values))

    def floor(self, sensitivity: Array) -> float:
        """Return what steps are divided by at least: what the entropy asks where little is seen."""
        floor = min(self.prior.coefficient, float(np.max(sensitivity)))
        return floor if np.min(sensitivity) < floor else 0.0

    def quotient(self, level: Array, back: Array) -> tuple[Array, float]:
        """Return values over level, and the sum of values times R^T q."""
        out = np.empty(self.values.shape)
        return out, level_quotient(self.values, level, _plain(back), out)

    def step(
        self,
        quotient: Array,
        back: Array,
        sensitivity: Array,
        pulls: tuple[float, float],
        floor: float,
    ) -> tuple[Array, tuple[float, float, float], float]:
        """Return a multiplicative step, and how often it may be taken above zero.

        Parameters
        ----------
        quotient
            Values over what the sky is drawn to.
        back, sensitivity
            R^T q and R^T w.
        pulls
            What is added for counts and for entropy to the relative step of what is well seen.
        floor
            Sensitivity below which the entropy moves a value; see `floor`.

        Returns
        -------
        step, lengths, reach
            ``x / r (back + pulls[0] s) + x / r (slope + pulls[1] s)`` with r the larger of s and
            the floor, the lengths of its two terms and of their sum, and how often it may be taken.
        """
        floats, strength = self.prior.floats, self.prior.coefficient
        spread = self.prior.spread(quotient, self.component) if floats else np.ones(quotient.shape)
        seen = _plain(back), np.asarray(sensitivity, np.float64)
        counts, entropy, both, reach = entropy_step(
            self.values, *seen, quotient, spread, (strength, *pulls), floor, spread
        )  # each value is read before the step takes its place
        return spread, (sqrt(counts), sqrt(entropy), sqrt(both)), reach

    def along(self, level: Array, line: tuple[Array, Array], share: float) -> tuple[float, float]:
        """Return slope and bend of the log-density at a share of a step of sky and level."""
        rise, bend = entropy_along(self.values, line[0], level, line[1], share)
        if not self.prior.floats:
            rise += float(np.sum(line[0]))
        return self.prior.coefficient * rise, self.prior.coefficient * bend


def _plain(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float64)
