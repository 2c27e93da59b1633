"""What is known of the strengths of a multi-scale law before counts are seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, lgamma, log, pi
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.vector import Array

Terms = tuple[float, float, float, float, float]
"""k1, k2, k3, s, c of the log-density ``k1 log a - k2 a^k3 - log(1 + (a/s)^2) + c``."""


@dataclass(frozen=True)
class Lira:
    """The density ``a^kap1 exp(-kap2 a^kap3)`` of a strength a.

    It falls off sharply at about ``kap2^(-1/kap3)``: 0.1 for the default, by which sources stay
    small. Faint diffuse light asks for (1, 0.02, 1), of mean 100 (Esch et al. 2004, ApJ 610, 1213;
    Connors & van Dyk 2007).

    Parameters
    ----------
    kap1, kap2, kap3
        Power, rate of decay, and power of the decay.
    """

    kap1: Annotated[float, Field(gt=-1)] = 0.0
    kap2: Annotated[float, Field(gt=0)] = 1000.0
    kap3: Annotated[float, Field(gt=0)] = 3.0

    @property
    def terms(self) -> Terms:
        """Coefficients of the normalised log-density."""
        n = (self.kap1 + 1) / self.kap3
        return self.kap1, self.kap2, self.kap3, inf, log(self.kap3) + n * log(self.kap2) - lgamma(n)

    @property
    def largest(self) -> float:
        """Where the density begins to fall off sharply."""
        return float(self.kap2 ** (-1 / self.kap3))


@dataclass(frozen=True)
class HalfCauchy:
    """The density ``1 / (1 + (a/scale)^2)`` of a strength a: half of it lies below the scale.

    Parameters
    ----------
    scale
        Median.
    """

    scale: Annotated[float, Field(gt=0)] = 1.0

    @property
    def terms(self) -> Terms:
        """Coefficients of the normalised log-density."""
        return 0.0, 0.0, 1.0, self.scale, log(2 / (pi * self.scale))

    @property
    def largest(self) -> float:
        """Where the density begins to fall off; it does so slowly."""
        return self.scale


HyperPrior = Lira | HalfCauchy


def log_density(terms: Terms, alpha: Array) -> Array:
    """Return the log-density of strengths, given its coefficients."""
    power, rate, decay, scale, constant = terms
    with np.errstate(divide="ignore"):
        rise = power * np.log(alpha) if power else 0.0
    found: Array = rise - rate * alpha**decay - np.log1p((alpha / scale) ** 2) + constant
    return found


def slopes(terms: Terms, alpha: Array) -> Array:
    """Return the derivatives of the log-density by the logarithms of the strengths."""
    power, rate, decay, scale, _ = terms
    square = (alpha / scale) ** 2
    found: Array = power - decay * rate * alpha**decay - 2 * square / (1 + square)
    return found
