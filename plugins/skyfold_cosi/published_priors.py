"""The priors of cosipy as published: they take what lies outside a mask for dark sky."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from skyfold.kept import Kept
from skyfold.model import Component
from skyfold.priors import Prior
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.vector import Array

_unmasked: Kept[Component, Component] = Kept()


class Everywhere(Prior):
    """A prior that heeds no mask, on purpose; stands before the prior that it is.

    Any solver finds its maximum, in which light beside the mask is pressed down by the dark beyond.
    """

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density of all values."""
        return super().value(values, unmasked(component))  # type: ignore[safe-super]

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        return super().gradient(values, unmasked(component))  # type: ignore[safe-super]

    def curvature(self, values: Array, component: Component) -> Array:
        """Return a bound of minus the second derivative."""
        return super().curvature(values, unmasked(component))  # type: ignore[safe-super]

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        return super().hessian(values, direction, unmasked(component))  # type: ignore[safe-super]

    def lift(self, component: Component) -> float:
        """Return an upper bound of ``sum x * gradient(x)`` over all values."""
        return super().lift(unmasked(component))


@dataclass(frozen=True)
class PublishedVariation(Everywhere, TotalSquaredVariation):
    """Total squared variation that compares with masked pixels too."""


@dataclass(frozen=True)
class PublishedGamma(Everywhere, Gamma):
    """Gamma density of all values, masked ones included."""


@dataclass(frozen=True)
class PublishedEntropy(Everywhere, Entropy):
    """Entropy of all values, masked ones included, towards one level.

    Parameters
    ----------
    reference
        The level m, in the unit of the component.
    """

    reference: Annotated[float, Field(gt=0)]


def unmasked(component: Component) -> Component:
    """Return a component without its mask, the same one as long as the component lives."""
    if component.mask is None:
        return component
    return _unmasked.of(component, lambda: replace(component, mask=None))
