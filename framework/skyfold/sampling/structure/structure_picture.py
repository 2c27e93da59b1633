"""How the share of extra light is distributed: given the counts observed, and under the null model.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from skyfold.shades import BLUE
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skyfold.sampling.structure.structure_run import Structure

BINS = 60
SPAN = 6.0  # decades below the largest value that are drawn
GREY = "0.6"


def picture(found: Structure) -> Figure:
    """Return a panel per region: log10 of the share, observed and under the null model."""
    xi, rows, quoted = found.shares, list(found.table), found.table.meta["quoted"]
    figure = Figure(figsize=(6.4, 0.6 + 2.2 * len(rows)), layout="constrained")
    for axes, row, values in zip(
        figure.subplots(len(rows), squeeze=False).ravel(), rows, np.moveaxis(xi, 1, 0), strict=True
    ):
        _panel(axes, values[0], values[1:])
        axes.axvline(_log(row["c"]), color="0.2", lw=0.8, ls="--")
        told = ", ".join(f"{name} {row[name]:.2g}" for name in (quoted, "p_empirical"))
        axes.set_title(f"{row['region']}: {told}", fontsize="medium", loc="left")
    axes.set_xlabel("log10 of the share of light beyond the known (first bar: all below)")
    return figure


def _panel(axes: Axes, observed: Array, null: Array) -> None:
    top = _log(max(observed.max(), null.max()))
    edges = np.linspace(top - SPAN, top, BINS + 1)
    for values, colour, name in ((null, GREY, "null model"), (observed, BLUE, "observed")):
        heights, _ = np.histogram(np.maximum(_log(values.ravel()), edges[0]), edges)
        share = heights / values.size
        axes.stairs(share, edges, color=colour, fill=colour == GREY, alpha=0.9, label=name)
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize="small", loc="upper left")


def _log(values: Array | float) -> Array:
    found: Array = np.log10(np.maximum(values, np.finfo(float).tiny))
    return found
