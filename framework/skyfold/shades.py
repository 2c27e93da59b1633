"""How values become colours, and which of them stand beside a colour bar."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, Colormap, LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from skyfold.errors import ConfigError
from skyfold.vector import Array

SIGMAS = 5.0  # residuals saturate here
SOFTENING = 30.0  # asinh stretch: linear below this fraction of the range, logarithmic above
DEEPEST = 1000.0  # the same where a few pixels of a sky outshine all the rest
DECADES = 1e-3  # of the brightest value: the darkest of a logarithmic scale
FLAT = 1e-290  # a smaller range is none, for fear of underflow
MASKED = "0.62"
BLUE, ORANGE, RED = "#2b6cb0", "#c05621", "#c53030"


def limits(values: Array, kind: str) -> tuple[float, float]:
    """Return the values shown as the darkest and the brightest colour.

    They are percentiles, so that a hot pixel does not darken an image; of a whole sky, where the
    brightest pixel may be all there is, they are the extremes.
    """
    if kind == "sigma":
        return -SIGMAS, SIGMAS
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    if kind == "sky":
        low, high = min(float(known.min()), 0.0), float(known.max())
        return low, high if high - low > FLAT else low + 1.0
    low, high = np.percentile(known, (0.5, 99.8))
    lit = known[known > 0]
    if lit.size:
        high = max(high, float(np.percentile(lit, 99)))
    low = min(float(low), 0.0) if low < 0.2 * high else float(low)
    return low, float(high) if high - low > FLAT else low + max(1.0, abs(low))


def norm(values: Array, kind: str, scale: str = "asinh") -> Normalize:
    """Return how values become colours.

    Parameters
    ----------
    values
        What is shown; NaN is no value.
    kind
        ``sigma`` is always linear.
    scale
        ``asinh``, ``linear`` or ``log``.

    Raises
    ------
    ConfigError
        If there is no such scale.
    """
    low, high = limits(values, kind)
    if kind == "sigma" or scale == "linear":
        return Normalize(low, high)
    if scale == "log":
        return LogNorm(max(low, high * DECADES), high)
    if scale != "asinh":
        raise ConfigError(f"no scale is called {scale!r}; there are asinh, linear and log")
    return AsinhNorm(softening(values, kind), vmin=low, vmax=high)


def softening(values: Array, kind: str) -> float:
    """Return how far above the darkest value an asinh stretch is linear; beyond, logarithmic."""
    low, high = limits(values, kind)
    known = values[np.isfinite(values)]
    if kind != "sky" or not known.size:
        return (high - low) / SOFTENING
    most = float(np.percentile(known, 90)) - low  # where a few pixels outshine all the rest
    return float(np.clip(most, (high - low) / DEEPEST, (high - low) / SOFTENING))


def colours(kind: str) -> Colormap:
    """Return the colours of a kind of image: diverging for residuals; what is masked is grey."""
    return colormaps["RdBu_r" if kind == "sigma" else "inferno"].with_extremes(bad=MASKED)


def ticks(values: Array, kind: str, scale: str = "asinh", apart: float = 0.09) -> list[float]:
    """Return round values to mark on a colour bar, that share of its length apart at least."""
    shade, (low, high) = norm(values, kind, scale), limits(values, kind)
    decades = 10.0 ** (np.floor(np.log10(max(high, 1e-300))) - np.arange(3, -1, -1))
    chosen: list[float] = []
    for value in [0.0, *(step * d for d in decades for step in (1, 2, 5))]:
        shown = low <= value <= high and (value > 0 or scale != "log") and shade(value) >= 0
        if shown and (not chosen or shade(value) - shade(chosen[-1]) > apart):
            chosen.append(float(value))
    if len(chosen) < 3:
        chosen = [v for v in MaxNLocator(2).tick_values(low, high) if low <= v <= high]
    return chosen


def beyond(values: Array, scale: Normalize) -> str:
    """Return at which ends of the colour bar values go on."""
    known = values[np.isfinite(values)]
    low = bool(np.any(known < scale.vmin))
    high = bool(np.any(known > scale.vmax))
    return {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(
        (low, high), "both"
    )
