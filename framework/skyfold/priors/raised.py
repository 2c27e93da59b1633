"""Values raised a little, so that priors of their ratios stay finite at zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.model import Component
from skyfold.sphere import Sphere
from skyfold.vector import Array

SMALLEST = float(np.finfo(np.float32).tiny)


def raised(values: Array, share: float, component: Component) -> Array:
    """Return values plus a share of the mean of their energy, inside the mask; zero outside.

    The map M is linear and symmetric, and keeps the scale: M t x = t M x. A function F of raised
    values therefore has the gradient ``M F'(M x)``, the second derivative ``M F''(M x) M``, and if
    -F'' is bounded by a diagonal C the bound ``(1 + share) M C``; F stays concave if it was.
    """
    sphere = isinstance(component.geometry, Sphere)
    axes: Any = (0,) if sphere else tuple(range(values.ndim))[-2:]
    if component.mask is None:
        up: Array = values + share * np.mean(values, axis=axes, keepdims=True)
        return up
    number = np.maximum(np.sum(component.mask, axis=axes, keepdims=True), 1)
    total = np.sum(component.confined(values), axis=axes, keepdims=True)
    return component.confined(values + share * total / number)


def above_zero(values: Array, share: float, component: Component) -> Array:
    """Return raised values, and something tiny for those that are zero all the same."""
    up: Array = np.maximum(raised(values, share, component), SMALLEST)
    return up
