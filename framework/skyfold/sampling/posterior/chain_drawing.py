"""Draw chains on given axes: their way, their distribution, their names.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skyfold.sampling.chains.diagnostics import spoken
from skyfold.sampling.posterior.images import tails
from skyfold.shades import BLUE, MASKED, ORANGE, RED
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# One colour per chain, then from the first again.
CHAINS = (BLUE, ORANGE, "#2f855a", "#6b46c1", "#b7791f", "#0987a0", "#b83280", "#4a5568")
INK = "0.15"
POINTS = 200  # of a drawn line; of a longer one the extremes of each piece are kept
BINS = (12, 50)
PALE = 0.4
MINUS = "\N{MINUS SIGN}"
TAIL = 0.01  # draws beyond which an axis may end, on either side
SPIKY_TAIL = 0.16  # of log-densities: those of laws without bounds know spikes of any height
Density = Callable[[Array], Array]


def draw_traces(
    axes: Axes,
    values: Array,
    burn: int,
    start: float = 0,
    step: float = 1,
    tail: float = TAIL,
) -> None:
    """Draw the values of chains, shape ``(chains, sweeps)``, with mean and standard deviation.

    Parameters
    ----------
    axes
        Where to draw.
    values
        Shape ``(chains, sweeps)``.
    burn
        How many of the first are burn-in.
    start, step
        Number of the first sweep, and sweeps from one value to the next.
    tail
        See `span`.
    """
    sweeps = start + step * np.arange(values.shape[1])
    for chain, own in enumerate(values):
        draw_way(axes, own, burn, start, step, color=colour(chain))
    counted = values[:, burn:]
    if counted.size:
        mean, std, ends = float(counted.mean()), float(counted.std()), sweeps[[burn, -1]]
        axes.fill_between(ends, mean - std, mean + std, color=INK, alpha=0.1, linewidth=0)
        axes.hlines(mean, *ends, color=INK, linewidth=1.2, zorder=4)
        axes.hlines([mean - std, mean + std], *ends, color=INK, ls=":", linewidth=0.9, zorder=4)
    low, high = span(values[:, burn // 2 :], tail)
    room = 0.06 * (high - low)
    axes.set_ylim(low - room, high + room)
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter("{x:.7g}")


def draw_way(
    axes: Axes,
    values: Array,
    burn: int,
    start: float = 0,
    step: float = 1,
    color: str = BLUE,
    alpha: float = 0.8,
) -> None:
    """Draw the values of one chain, shape ``(sweeps,)``; what is burn-in is pale."""
    at, y = extremes(np.arange(len(values)), values)
    for part, shade in ((at <= burn, PALE * alpha), (at >= burn, alpha)):
        axes.plot(start + step * at[part], y[part], color=color, alpha=shade, linewidth=0.7)


def draw_distribution(
    axes: Axes, values: Array, level: float, prior: Density | None = None, tail: float = TAIL
) -> None:
    """Draw how the values of chains are distributed, shape ``(chains, draws)``.

    Parameters
    ----------
    axes
        Where to draw.
    values
        Shape ``(chains, draws)``.
    level
        Which part of the draws lies between the dotted lines.
    prior
        Density before the counts were seen, dashed.
    tail
        See `span`.
    """
    low, high = span(values, tail)
    number = int(np.clip(np.sqrt(values.size / len(values)), *BINS))
    bins = np.linspace(low, high, number + 1)
    pooled = np.histogram(values, bins, density=True)[0]
    axes.stairs(pooled, bins, fill=True, color=MASKED, alpha=0.35)
    for chain, own in enumerate(values):
        share = np.histogram(own, bins, density=True)[0]
        axes.stairs(share, bins, color=colour(chain), linewidth=1)
    for bound in np.quantile(values, tails(level)):
        axes.axvline(bound, color=INK, linestyle=":", linewidth=1)
    axes.axvline(float(values.mean()), color=INK, linewidth=1.1)
    if prior is not None:
        x = np.linspace(low, high, 201)
        axes.plot(x, prior(x), color=RED, linestyle="--", linewidth=1.2)
    axes.set(yticks=[], xlim=(low, high))
    axes.set_ylim(0, 1.08 * max(axes.dataLim.y1, 1e-300))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter("{x:.7g}")
    axes.tick_params(axis="x", labelsize="small")


def span(values: Array, tail: float = TAIL) -> tuple[float, float]:
    """Return the range worth drawing: all values, but few that lie far off.

    Parameters
    ----------
    values
        Of any shape.
    tail
        The range goes beyond the quantiles of that and of one minus that by the difference of the
        two, if there are values.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, (tail, 1 - tail))
    low = max(float(finite.min()), float(low - (high - low)))
    high = min(float(finite.max()), float(2 * high - low))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def extremes(x: Array, y: Array, points: int = POINTS) -> tuple[Array, Array]:
    """Return a line of few points that looks the same: lowest and highest of each piece."""
    if len(y) <= 2 * points:
        return x, y
    edges = np.linspace(0, len(y), points // 2 + 1).astype(int)
    pieces = [y[begin:end] for begin, end in pairwise(edges)]
    found = [edges[i] + np.sort([p.argmin(), p.argmax()]) for i, p in enumerate(pieces)]
    chosen = np.unique(np.concatenate([[0], *found, [len(y) - 1]]))
    return x[chosen], y[chosen]


def tail_of(name: str) -> float:
    """Return the share of the draws of a parameter beyond which an axis may end."""
    return SPIKY_TAIL if name in ("log_prior", "log_posterior") else TAIL


def named_chains(chains: int, origins: Array | None = None) -> list[Line2D]:
    """Return what a legend says of the chains."""
    several = origins is not None and len(np.unique(origins)) > 1
    handles = []
    for chain in range(min(chains, len(CHAINS))):
        of = f", origin {origins[chain] + 1}" if several and origins is not None else ""
        label = f"chain {chain + 1}{of}"
        handles.append(Line2D([], [], color=colour(chain), linewidth=1.6, label=label))
    return handles


def colour(chain: int) -> str:
    """Return the colour of a chain."""
    return CHAINS[chain % len(CHAINS)]


def headings(names: Sequence[str], brief: bool = True) -> list[str]:
    """Return what parameters are in words; of which sky is said only where there are several.

    Parameters
    ----------
    names
        Columns.
    brief
        See `skyfold.sampling.chains.diagnostics.spoken`.
    """
    said = [spoken(name, brief).removeprefix("the ") for name in names]
    owners = {name.partition(".")[0] for name in names if "." in name}
    if len(owners) == 1:
        said = [text.replace(f" of {next(iter(owners))}", "") for text in said]
    return said


def told(mean: float, low: float, high: float) -> str:
    """Return a mean and its interval in as many digits as the interval is wide."""
    size = max(abs(value) for value in (mean, low, high))
    wide = max(high - low, abs(mean - min(max(mean, low), high)), 1e-6 * size)
    if not 1e-3 <= size < 1e7:
        return f"{mean:.3g} ({low:.3g} to {high:.3g})".replace("-", MINUS)
    digits = max(1 - int(np.floor(np.log10(wide))), 0)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})".replace("-", MINUS)
