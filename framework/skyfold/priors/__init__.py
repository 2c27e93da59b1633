"""What is known of a sky before the counts: log-densities that a method adds to the likelihood.

One prior per file; all work on pixel images and on the sphere alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import numpy as np

from skyfold.model import Component, Model
from skyfold.vector import Array, Vector


class Prior(ABC):
    """The logarithm of a density of values, up to a constant. Subclasses are frozen dataclasses.

    It is told whose values they are: a component says where they live, and by its mask which of
    them may differ from zero. Of the others, which are zero, nothing is known: they add nothing to
    the density, and nothing is compared with them; slope and curvature are zero there.

    Attributes
    ----------
    components
        Names of the components it is put on; by default all skies. It reaches only those that
        are fitted.
    """

    components: tuple[str, ...] | None

    @property
    def concave(self) -> bool:
        """Whether it is a concave function, so that the posterior has a single maximum."""
        return True

    @property
    def cheap(self) -> bool:
        """Whether its second derivative times a direction costs less than a response product."""
        return True

    def chosen(self, model: Model) -> frozenset[str]:
        """Return the names of the fitted components that it is put on."""
        return model.chosen(self.components)

    @abstractmethod
    def value(self, values: Array, component: Component) -> float:
        """Return the log-density of the values of one component."""

    @abstractmethod
    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative of `value` by each value."""

    @abstractmethod
    def curvature(self, values: Array, component: Component) -> Array:
        """Return a non-negative diagonal matrix, not smaller than minus the second derivative.

        With it a step can be scaled so that it does not overshoot.
        """

    @abstractmethod
    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative of `value` times a direction: how the gradient changes."""

    def lift(self, component: Component) -> float:
        """Return an upper bound of ``sum x * gradient(x)`` over all x from zero up.

        At a maximum of the posterior that which is fitted expects at most as many counts as were
        observed, plus this. It is zero for a prior that never falls when all values shrink
        together, as for those that compare neighbours.
        """
        return 0.0


def log_densities(priors: Mapping[str, Prior], model: Model) -> dict[str, float]:
    """Return the log-density of a model by each prior, under its name."""
    return {
        name: sum(
            prior.value(model[part].astype(np.float64), model.components[part])
            for part in sorted(prior.chosen(model))
        )
        for name, prior in priors.items()
    }


def derivative(
    priors: Mapping[str, Prior], model: Model, kind: Literal["gradient", "curvature"] = "gradient"
) -> Vector:
    """Return the gradients or the curvatures of all priors, summed, for all that is fitted.

    Returns
    -------
    derivative
        In float64.
    """
    total = {name: np.zeros(model[name].shape) for name in model if name in model.free}
    for prior in priors.values():
        for name in prior.chosen(model):
            values = model[name].astype(np.float64)
            total[name] += getattr(prior, kind)(values, model.components[name])
    return Vector(total)


def hessian(priors: Mapping[str, Prior], model: Model, direction: Mapping[str, Array]) -> Vector:
    """Return the second derivatives of all priors times a direction, summed.

    Returns
    -------
    change
        In float64, for the components that a prior is put on.
    """
    total: dict[str, Array] = {}
    for prior in priors.values():
        for name in prior.chosen(model):
            values = model[name].astype(np.float64)
            change = prior.hessian(values, direction[name], model.components[name])
            total[name] = total[name] + change if name in total else change
    return Vector(total)
