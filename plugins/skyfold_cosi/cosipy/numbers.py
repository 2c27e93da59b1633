"""Plain numbers of histograms that may carry units."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.vector import Array


def numbers(histogram: Any, unit: str | None = None) -> Array:
    """Return the contents of a histogram as a dense array of float64.

    Parameters
    ----------
    histogram
        A histogram of histpy, or an array.
    unit
        Unit to convert them to, if they have one; their own by default.

    Raises
    ------
    astropy.units.UnitConversionError
        If the units measure different things.
    """
    contents = getattr(histogram, "contents", histogram)
    if hasattr(contents, "to_value"):
        contents = contents.value if unit is None else contents.to_value(unit)
    if hasattr(contents, "todense"):
        contents = contents.todense()
    return np.asarray(contents, np.float64)
