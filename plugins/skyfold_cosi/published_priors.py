"""The priors of cosipy as published: they take what lies outside a mask for dark sky."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skyfold.model import Component
from skyfold.priors import Prior
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.vector import Array


class Everywhere(Prior):
    """A prior that heeds no mask; stands before the prior that it is."""

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density of all values."""
        return super().value(values, replace(component, mask=None))  # type: ignore[safe-super]

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        return super().gradient(values, replace(component, mask=None))  # type: ignore[safe-super]


@dataclass(frozen=True)
class PublishedVariation(Everywhere, TotalSquaredVariation):
    """Total squared variation that compares with masked pixels too."""


@dataclass(frozen=True)
class PublishedGamma(Everywhere, Gamma):
    """Gamma density of all values, masked ones included."""


@dataclass(frozen=True)
class PublishedEntropy(Everywhere, Entropy):
    """Entropy of all values, masked ones included."""
