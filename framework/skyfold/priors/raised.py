"""Values raised a little, so that priors of their ratios stay finite at zero."""

from __future__ import annotations

import numpy as np

from skyfold.geometry import Geometry
from skyfold.sphere import Sphere
from skyfold.vector import Array

SMALLEST = float(np.finfo(np.float32).tiny)


def raised(values: Array, share: float, geometry: Geometry) -> Array:
    """Return values plus a share of the mean of their energy.

    The map M is linear and symmetric, and keeps the scale: M t x = t M x. A function F of raised
    values therefore has the gradient ``M F'(M x)``, the second derivative ``M F''(M x) M``, and if
    -F'' is bounded by a diagonal C the bound ``(1 + share) M C``; F stays concave if it was.
    """
    axes = (0,) if isinstance(geometry, Sphere) else tuple(range(values.ndim))[-2:]
    up: Array = values + share * np.mean(values, axis=axes, keepdims=True)
    return up


def above_zero(values: Array, share: float, geometry: Geometry) -> Array:
    """Return raised values, and something tiny for those that are zero all the same."""
    up: Array = np.maximum(raised(values, share, geometry), SMALLEST)
    return up
