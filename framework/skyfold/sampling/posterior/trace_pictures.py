"""Pictures of the parameters of chains: traces, distributions, ranks, and how well they mix.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skyfold.errors import DataError
from skyfold.plotting import Picture
from skyfold.sampling.chains.diagnostics import FEWEST, LEAST_ESS, MOST_R_HAT
from skyfold.sampling.posterior.chain_drawing import (
    INK,
    Density,
    colour,
    draw_distribution,
    draw_traces,
    headings,
    named_chains,
    tail_of,
    told,
)
from skyfold.sampling.posterior.images import tails
from skyfold.shades import BLUE, MASKED, RED
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST = 40  # parameters whose mixing is shown
RANKS = 20  # bins of a rank plot


def traces(
    table: Array,
    names: Sequence[str],
    burn: int = 0,
    across: int = 3,
    origins: Array | None = None,
) -> Figure:
    """Return a figure with the way of each parameter through all sweeps, chain by chain.

    The burn-in is pale; mean and standard deviation after it are a line and a band. The axis of a
    log-density leaves out its spikes.

    Parameters
    ----------
    table
        Shape ``(chains, sweeps, parameters)``.
    names
        Names of the parameters.
    burn
        Sweeps that do not count.
    across
        Panels side by side.
    origins
        Number of the origin of each chain, for the legend.
    """
    figure, panels = _grid(len(names), across, 1.55, sharex=True)
    for axes, name, values, title in zip(
        panels, names, np.moveaxis(table, 2, 0), headings(names), strict=True
    ):
        draw_traces(axes, values, burn, tail=tail_of(name))
        axes.set_title(title, fontsize="medium", loc="left")
    _label_below(panels, across, "sweep")
    _legend(figure, len(table), origins)
    return figure


def distributions(
    table: Array,
    names: Sequence[str],
    burn: int = 0,
    priors: Mapping[str, Density] | None = None,
    level: float = 0.68,
    across: int = 3,
    origins: Array | None = None,
) -> Figure:
    """Return a figure with the distribution of each parameter after burn-in.

    A line is one chain, what is filled are all together, dotted lines bound their middle part.

    Parameters
    ----------
    table, names, burn, across, origins
        As for `traces`.
    priors
        Density before the counts were seen, for those parameters that have one: dashed.
    level
        Which part of the draws lies between the dotted lines.
    """
    figure, panels = _grid(len(names), across, 2.0)
    for axes, name, title, values in zip(
        panels, names, headings(names), np.moveaxis(table[:, burn:], 2, 0), strict=True
    ):
        density = (priors or {}).get(name)
        draw_distribution(axes, values, level, density, tail_of(name))
        low, high = np.quantile(values, tails(level))
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel(told(float(values.mean()), low, high), fontsize="small")
    _legend(figure, len(table), origins, prior=bool(priors))
    return figure


def intervals(
    table: Array, names: Sequence[str], burn: int = 0, levels: tuple[float, float] = (0.68, 0.95)
) -> Figure:
    """Return a figure of the mean of each parameter after burn-in, and two credible intervals.

    Parameters
    ----------
    table, names, burn
        As for `traces`; the parameters share an axis, so they should share a unit.
    levels
        Parts of the draws between the ends of the thick and of the thin line.
    """
    figure = Picture(figsize=(4.8, 0.7 + 0.21 * max(len(names), 3)), layout="constrained")
    axes = figure.add_subplot()
    draws, rows = table[:, burn:].reshape(-1, len(names)), np.arange(len(names))
    for level, width in zip(levels, (3.5, 1.2), strict=True):
        low, high = np.quantile(draws, tails(level), axis=0)
        axes.hlines(rows, low, high, color=BLUE, linewidth=width, alpha=0.75)
    axes.plot(draws.mean(axis=0), rows, "o", color=INK, markersize=3.5)
    axes.set_yticks(rows, headings(names), fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", color="0.92", linewidth=0.7)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter("{x:.7g}")
    axes.set_xlabel("mean, {:.0%} and {:.0%} of the draws".format(*levels), fontsize="small")
    return figure


def ranks(
    table: Array,
    names: Sequence[str],
    burn: int = 0,
    across: int = 3,
    origins: Array | None = None,
) -> Figure:
    """Return a figure of how the draws of each chain rank among those of its origin.

    Chains that have found the same posterior are flat, near the dashed line (Vehtari et al. 2021,
    Bayesian Analysis 16, 667, section 5).

    Parameters
    ----------
    table, names, burn, across, origins
        As for `traces`; without origins all chains are of one.
    """
    from scipy.stats import rankdata

    groups = np.zeros(len(table)) if origins is None else np.asarray(origins)
    figure, panels = _grid(len(names), across, 1.7, sharex=True)
    for axes, title, values in zip(
        panels, headings(names), np.moveaxis(table[:, burn:], 2, 0), strict=True
    ):
        bins = np.linspace(0, 1, RANKS + 1)
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            places = rankdata(values[own].ravel()).reshape(values[own].shape)
            for chain, rank in zip(own, (places - 0.5) / places.size, strict=True):
                share = np.histogram(rank, bins)[0] / rank.size * RANKS
                axes.stairs(share, bins, baseline=None, color=colour(int(chain)), linewidth=1.1)
        axes.axhline(1, color=MASKED, linestyle="--", linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(0, max(2.0, axes.get_ylim()[1])))
        axes.set_title(title, fontsize="medium", loc="left")
    _label_below(panels, across, "rank, from lowest to highest")
    panels[0].set_ylabel("draws, times\ntheir even share", fontsize="small")
    _legend(figure, len(table), origins)
    return figure


def mixing(figures: Mapping[str, Array], names: Sequence[str], most: int = WORST) -> Figure:
    """Return a figure of R-hat and effective sample sizes of all parameters, the worst on top.

    Parameters
    ----------
    figures
        ``r_hat``, ``ess_bulk`` and ``ess_tail``, one value per parameter; NaN where nothing is
        known (see `skyfold.sampling.chains.diagnostics.diagnose`).
    names
        Names of the parameters.
    most
        How many are shown.

    Raises
    ------
    DataError
        If nothing is known of any parameter.
    """
    order = worst_first(figures)
    if not order:
        raise DataError(
            f"R-hat and effective sample sizes need at least {2 * FEWEST} draws after burn-in of "
            "something that moves; go on with skyfold resume"
        )
    shown = order[:most]
    rows, titles = np.arange(len(shown)), headings(names)
    figure = Picture(figsize=(8.4, 1.3 + 0.2 * max(len(shown), 3)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    above = np.clip(np.asarray(figures["r_hat"])[shown] - 1, 5e-4, None)
    left.scatter(above, rows, s=22, c=_judged(above > MOST_R_HAT - 1), zorder=3)
    left.set_xscale("log")
    left.set_xlim(4e-4, 2 * max(0.05, float(np.nanmax(above, initial=0))))
    left.xaxis.set_major_formatter(lambda x, _: f"{1 + x:g}")
    left.axvline(MOST_R_HAT - 1, color=MASKED, linestyle="--", linewidth=1)
    left.set_xlabel("R-hat, at most 1.01")
    if np.all(np.isnan(above)):
        said = "R-hat needs at least\n2 chains per origin"
        left.text(0.5, 0.5, said, transform=left.transAxes, ha="center", va="center", color="0.4")
    sizes = [np.asarray(figures[name])[shown] for name in ("ess_bulk", "ess_tail")]
    for values, filled, label in zip(sizes, (True, False), ("bulk", "tails"), strict=True):
        faces = _judged(values < LEAST_ESS)
        right.scatter(
            values, rows, s=22, zorder=3, edgecolors=faces, facecolors=faces if filled else "none"
        )
        right.scatter(
            [], [], s=22, edgecolors=BLUE, facecolors=BLUE if filled else "none", label=label
        )
    right.set_xscale("log")
    known = np.concatenate(sizes)[np.isfinite(np.concatenate(sizes))]
    low, high = min(100.0, *known / 2), max(2 * LEAST_ESS, *known * 2)
    right.set_xlim(low, high)
    right.xaxis.set_major_formatter("{x:g}")
    right.axvline(LEAST_ESS, color=MASKED, linestyle="--", linewidth=1)
    right.set_xlabel("effective sample size, at least 400")
    right.legend(frameon=False, fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    left.set_yticks(rows, [titles[i] for i in shown], fontsize="small")
    left.set_ylim(len(shown) - 0.4, -0.6)
    for axes in (left, right):
        axes.grid(axis="y", color="0.92", linewidth=0.7)
        axes.minorticks_off()
        axes.tick_params(axis="y", length=0)
    if len(order) > most:
        left.set_title(f"the worst {most} of {len(order)} parameters", fontsize="small", loc="left")
    return figure


def worst_first(figures: Mapping[str, Array]) -> list[int]:
    """Return the parameters in the order of how far they miss R-hat and ESS, unknown ones left out.

    A miss is how many times longer the chains would have to be, as squared errors fall.
    """
    r_hat, bulk, tail = (np.asarray(figures[name]) for name in ("r_hat", "ess_bulk", "ess_tail"))
    by_error = (np.nan_to_num(r_hat, nan=1.0) ** 2 - 1) / (MOST_R_HAT**2 - 1)
    size = np.fmin(bulk, tail)
    times = np.fmax(by_error, LEAST_ESS / np.maximum(np.nan_to_num(size, nan=np.inf), 1e-3))
    known = np.isfinite(size) | np.isfinite(r_hat)
    return [int(i) for i in np.argsort(-times, kind="stable") if known[i]]


def _judged(missed: Array) -> list[str]:
    return [RED if bad else BLUE for bad in missed]


def _grid(
    number: int, across: int, height: float, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels; of the last row those left over are taken away."""
    across = min(across, max(number, 1))
    down = -(-number // across)
    figure = Picture(figsize=(min(9.6, 4.8 * across), 0.6 + height * down), layout="constrained")
    panels = list(figure.subplots(down, across, sharex=sharex, squeeze=False).ravel())
    for axes in panels[number:]:
        axes.remove()
    return figure, panels[:number]


def _label_below(panels: Sequence[Axes], across: int, label: str) -> None:
    """Name the shared axis below the last row, and number it below each column."""
    first = (len(panels) - 1) // across * across
    for axes in panels[first:]:
        axes.set_xlabel(label, fontsize="small")
    for axes in panels[-across:]:
        axes.tick_params(labelbottom=True)


def _legend(figure: Figure, chains: int, origins: Array | None, prior: bool = False) -> None:
    """Name the chains above all panels."""
    handles = named_chains(chains, origins)
    if prior:
        handles.append(Line2D([], [], color=RED, linestyle="--", linewidth=1.2, label="prior"))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=5, frameon=False, fontsize="small"
    )
