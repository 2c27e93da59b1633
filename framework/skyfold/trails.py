"""Pictures of the way there: one run, several beside each other, and what was chosen from.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skyfold.drawing import log_scale
from skyfold.plotting import Picture
from skyfold.shades import BLUE, RED
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skyfold.result import Result

Trace = Sequence[Mapping[str, float]]
COSTS = {"products": "response products", "seconds": "seconds"}


def curves(trace: Result | Trace, normalisations: Collection[str] = ()) -> Figure:
    """Return a figure of what changed with the iterations.

    Parameters
    ----------
    trace
        A result, or one row per iteration, as `Result.trace`.
    normalisations
        Which columns are factors of backgrounds and baselines, to be drawn together; a result
        knows its own. Whatever else the algorithm noted, an acceleration factor say, gets a panel
        of its own.
    """
    from skyfold.result import Result

    if isinstance(trace, Result):
        free = trace.model.free
        fixed = [n for n in trace.normalisations if n.partition("[")[0] not in free]
        normalisations = [n for n in trace.normalisations if n not in fixed]
        trace = [{k: v for k, v in row.items() if k not in fixed} for row in trace.trace]
    known = {"iteration", "log_likelihood", "expected", "products", "seconds", *normalisations}
    columns = dict.fromkeys(name for row in trace for name in row)
    notes = _different([name for name in columns if name not in known], trace)
    factors = [name for name in normalisations if name in columns]
    count = 1 + bool(factors) + len(notes)
    figure = Picture(figsize=(6.4, 0.6 + 1.9 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    _draw_gain(axes[0], trace)
    for name in factors:
        axes[1].plot(*_series(trace, name), label=name, linewidth=1.4)
    if factors:
        axes[1].set_ylabel("normalisation")
        axes[1].legend(
            frameon=False, fontsize="small", ncols=3, loc="lower left", bbox_to_anchor=(0, 1)
        )
    for panel, name in zip(axes[count - len(notes) :], notes, strict=True):
        x, y = _series(trace, name)
        panel.plot(x, y, ".-", color=BLUE, linewidth=0.8, markersize=4)
        panel.set_ylabel(name.replace("_", " "))
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _different(names: Sequence[str], trace: Trace) -> list[str]:
    """Return the columns that are no multiple of the log-likelihood, or of one before them."""
    kept = {"log_likelihood": _series(trace, "log_likelihood")[1]}
    for name in names:
        _, y = _series(trace, name)
        if not any(_proportional(y, other) for other in kept.values()):
            kept[name] = y
    return list(kept)[1:]


def _proportional(a: Array, b: Array) -> bool:
    if len(a) != len(b) or not len(a):
        return False
    both = ((a, b), (a - a.mean(), b - b.mean()))
    return all(
        abs(float(x @ y)) >= (1 - 1e-9) * float(np.linalg.norm(x) * np.linalg.norm(y))
        for x, y in both
    )


def _series(trace: Trace, name: str) -> tuple[Array, Array]:
    x = np.array([row["iteration"] for row in trace], dtype=float)
    y = np.array([row.get(name, np.nan) for row in trace], dtype=float)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _draw_gain(axes: Axes, trace: Trace) -> None:
    x, y = _series(trace, "log_likelihood")
    gain, at = np.diff(y), x[1:]
    axes.plot(at[gain > 0], gain[gain > 0], color=BLUE, linewidth=1.4, label="rise")
    if np.any(gain < 0):
        axes.plot(at[gain < 0], -gain[gain < 0], "v", color=RED, markersize=4, label="fall")
        axes.legend(frameon=False, fontsize="small")
    if np.any(gain != 0):
        log_scale(axes)
    axes.set_ylabel("gain of log-likelihood\nper iteration")


def held_out(rows: Trace) -> Figure:
    """Return a figure of the log-likelihood of held-out photons, and its error against the best.

    Parameters
    ----------
    rows
        ``iteration`` (or ``strength``), ``held_out`` and ``error`` of each choice, and its
        ``width`` where there are several: one curve for each.
    """
    figure = Picture(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    over = "strength" if "strength" in rows[0] else "iteration"
    best = max(rows, key=lambda row: row["held_out"])
    for width in sorted({row.get("width", 1.0) for row in rows}):
        mine = [row for row in rows if row.get("width", 1.0) == width]
        x, below, error = (
            np.array([row[name] for row in mine]) for name in (over, "held_out", "error")
        )
        below = below - best["held_out"]
        label = f"{width:g} times the usual width" if "width" in best else None
        if width == best.get("width", 1.0):
            axes.fill_between(x, below - error, below + error, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(x, below, ".-", color=BLUE, linewidth=1.2, markersize=4, label=label)
        else:
            mark = "v" if width < best["width"] else "^"
            axes.plot(x, below, f"{mark}-", color="0.6", linewidth=1, markersize=4, label=label)
    axes.axvline(best[over], color=RED, linewidth=1, label=f"best: {best[over]:g}")
    axes.set_yscale("symlog", linthresh=10)  # of interest is what lies near the best
    axes.set_ylabel("held-out log-likelihood\nbelow the best")
    axes.set_xlabel(over if over == "iteration" else "strength, times the one given")
    if over == "strength":
        axes.set_xscale("log")
    axes.legend(frameon=False, fontsize="small")
    return figure


def climbs(trails: Mapping[str, Trace]) -> Figure:
    """Return a figure of how far runs lie below the best of them, against products and seconds.

    Where all have priors it is the log-posterior, else the log-likelihood.

    Parameters
    ----------
    trails
        The trace of each run by its name.
    """
    posterior = all("log_posterior" in trace[0] for trace in trails.values())
    column = "log_posterior" if posterior else "log_likelihood"
    heights = {n: np.array([row[column] for row in trace]) for n, trace in trails.items()}
    top = max(float(np.max(height)) for height in heights.values())
    span = top - min(float(height[0]) for height in heights.values())
    figure = Picture(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (spent, label) in zip(panels, COSTS.items(), strict=True):
        for name, trace in trails.items():
            cost = np.array([row.get(spent, np.nan) for row in trace])
            below = np.maximum(top - heights[name], 1e-7 * span)
            axes.plot(cost, below, label=name, linewidth=1.4)
        axes.set(xlabel=label, yscale="log")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel(f"{column.replace('_', '-')}\nbelow the best")
    panels[0].legend(frameon=False, fontsize="small")
    return figure
