"""Pictures of counts, restored skies, residuals and the way there.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skyfold.layers import Layer, layers_of
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.gridspec import SubplotSpec

    from skyfold.result import Result

SIGMAS = 5.0  # residuals saturate here
SOFTENING = 30.0  # asinh stretch: linear below this fraction of the range, logarithmic above
FLAT = 1e-290  # a smaller range is none, for fear of underflow
MASKED = "0.62"
ENERGY_PANELS = 12  # more would be stamps
COORDINATES = {
    "pos.eq.ra": "RA",
    "pos.eq.dec": "Dec",
    "pos.galactic.lon": "galactic longitude",
    "pos.galactic.lat": "galactic latitude",
}
BLUE, ORANGE, RED = "#2b6cb0", "#c05621", "#c53030"


class Picture(Figure):
    """A figure that shows itself in a notebook, whichever backend is active, if any."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def limits(values: Array, kind: str) -> tuple[float, float]:
    """Return the values shown as the darkest and the brightest colour."""
    if kind == "sigma":
        return -SIGMAS, SIGMAS
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, (0.5, 99.8))
    lit = known[known > 0]
    if lit.size:
        high = max(high, float(np.percentile(lit, 99)))
    low = min(float(low), 0.0) if low < 0.2 * high else float(low)
    return low, float(high) if high - low > FLAT else low + max(1.0, abs(low))


def norm(values: Array, kind: str) -> Normalize:
    """Return how values become colours: linear for residuals, asinh for all else."""
    low, high = limits(values, kind)
    if kind == "sigma":
        return Normalize(low, high)
    return AsinhNorm(linear_width=(high - low) / SOFTENING, vmin=low, vmax=high)


def colours(kind: str) -> Colormap:
    """Return the colours of a kind of image: diverging for residuals; what is masked is grey."""
    return colormaps["RdBu_r" if kind == "sigma" else "inferno"].with_extremes(bad=MASKED)


def draw_image(
    axes: Axes,
    values: Array,
    unit: str = "",
    kind: str = "flux",
    upward: bool = True,
    bar: bool = True,
) -> None:
    """Draw an image with its colour bar.

    Parameters
    ----------
    axes
        Where to draw; WCSAxes show world coordinates.
    values
        Shape ``(y, x)``; NaN is shown as grey.
    unit
        Written on the colour bar.
    kind
        ``flux`` or ``counts`` (asinh stretch between percentiles), or ``sigma`` (symmetric).
    upward
        Whether the first row is at the bottom.
    bar
        Whether to draw the colour bar.
    """
    scale = norm(values, kind)
    origin = "lower" if upward else "upper"
    image = axes.imshow(values, origin=origin, norm=scale, cmap=colours(kind))  # type: ignore[arg-type]
    if bar and axes.figure is not None:
        beside = axes.inset_axes((1.03, 0, 0.045, 1))
        made = axes.figure.colorbar(image, cax=beside, extend=_beyond(values, scale))
        made.set_label(unit)
        if kind != "sigma":
            made.set_ticks(ticks(values, kind))
            made.ax.yaxis.set_major_formatter("{x:.3g}")
        made.minorticks_off()
        made.ax.tick_params(labelsize="small")


def ticks(values: Array, kind: str) -> list[float]:
    """Return round values to mark on a colour bar, apart enough to be read."""
    scale = norm(values, kind)
    low, high = limits(values, kind)
    decades = 10.0 ** (np.floor(np.log10(max(high, 1e-300))) - np.arange(3, -1, -1))
    chosen: list[float] = []
    for value in [0.0, *(step * d for d in decades for step in (1, 2, 5))]:
        if low <= value <= high and (not chosen or scale(value) - scale(chosen[-1]) > 0.09):
            chosen.append(float(value))
    return chosen


def draw_line(axes: Axes, layers: Sequence[Layer]) -> None:
    """Draw one-dimensional layers over each other."""
    for layer in layers:
        axes.stairs(layer.flat.ravel(), label=layer.title, baseline=None, linewidth=1.2)
    axes.set_ylabel(layers[0].unit)
    axes.margins(x=0)
    if layers[0].kind == "sigma":
        axes.axhline(0, color=MASKED, linewidth=0.8)
    if len(layers) > 1:
        axes.legend(frameon=False, fontsize="small")


def draw_histogram(axes: Axes, sigma: Array) -> None:
    """Draw how residuals are distributed, beside the unit normal that noise alone would give."""
    known = np.clip(sigma[np.isfinite(sigma)], -SIGMAS, SIGMAS)
    places = np.linspace(-SIGMAS, SIGMAS, 201)
    bins = np.linspace(-SIGMAS, SIGMAS, 51)
    density = np.histogram(known, bins)[0] / (max(known.size, 1) * np.diff(bins))
    axes.stairs(density, bins, fill=True, color=BLUE, alpha=0.35, label="residuals")
    axes.stairs(density, bins, color=BLUE)
    normal = np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(places, normal, color=ORANGE, label="unit normal")
    axes.set(xlim=(-SIGMAS, SIGMAS), xlabel="residual [sigma]", ylabel="share per sigma")
    _log_scale(axes)
    axes.set_ylim(max(0.3 / max(known.size, 1), 1e-6), max(1.0, 2 * float(density.max())))
    axes.legend(frameon=False, fontsize="small")


def overview(result: Result) -> Figure:
    """Return a figure of counts, restored image and residual of a result.

    Cubes are summed over energy, and shown energy by energy below.
    """
    skies, observations = layers_of(result)
    first, *others = observations
    if all(layer.flat.ndim == 1 for layer in (first.counts, *skies)):
        rows = [[first.counts, first.expected], *([sky] for sky in skies), [first.residual]]
        return lines(rows)
    rows = [[first.counts, *skies[:2], first.telling], *([sky] for sky in skies[2:])]
    rows += [[other.counts, other.telling] for other in others]
    return panels(rows, detail=[layer for layer in rows[0][:2] if layer.total is not None])


def panels(rows: Sequence[Sequence[Layer]], detail: Sequence[Layer] = ()) -> Figure:
    """Return a figure with one panel per layer, and small ones for the planes of cubes.

    Parameters
    ----------
    rows
        Layers, row by row.
    detail
        Cubes to show plane by plane below.
    """
    columns = max(len(row) for row in rows)
    shapes = [layer.flat.shape for row in rows for layer in row if layer.flat.ndim == 2]
    ratio = shapes[0][0] / shapes[0][1] if shapes else 0.75
    width = 4.6 * columns
    across = min(6, max((len(_planes(layer)) for layer in detail), default=1))
    down = sum(-(-len(_planes(layer)) // across) for layer in detail)
    heights = [len(rows) * (3.1 * ratio + 1.0), down * (width / across * ratio + 0.3)]
    figure = Picture(figsize=(width, sum(heights)), layout="constrained")
    top: FigureBase = figure
    below: FigureBase = figure
    if down:
        slots = figure.add_gridspec(2, 1, height_ratios=heights)
        top, below = figure.add_subfigure(slots[0]), figure.add_subfigure(slots[1])
    cells = top.add_gridspec(len(rows), columns)
    for i, row in enumerate(rows):
        for j, layer in enumerate(row):
            _draw_panel(top, cells[i, j], layer)
    place = 1
    for layer in detail:
        for i in _planes(layer):
            axes = below.add_subplot(down, across, place)
            draw_image(axes, layer.values[i], kind=layer.kind, upward=layer.upward, bar=False)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{layer.title}, {layer.labels[i]}", fontsize="x-small")
            place += 1
        place += -(place - 1) % across
    return figure


def lines(rows: Sequence[Sequence[Layer]]) -> Figure:
    """Return a figure of one-dimensional layers: one panel per row, its layers together."""
    figure = Picture(figsize=(6.4, 0.6 + 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for panel, row in zip(axes, rows, strict=True):
        draw_line(panel, row)
        panel.set_title(" and ".join(layer.title for layer in row), fontsize="medium", loc="left")
    axes[-1].set_xlabel("bin")
    return figure


def histogram(sigma: Array) -> Figure:
    """Return a figure of the distribution of residuals."""
    figure = Picture(figsize=(4.8, 3.4), layout="constrained")
    draw_histogram(figure.add_subplot(), sigma)
    return figure


def curves(trace: Sequence[Mapping[str, float]], normalisations: Collection[str] = ()) -> Figure:
    """Return a figure of what changed with the iterations.

    Parameters
    ----------
    trace
        One row per iteration, as `Result.trace`.
    normalisations
        Which columns are factors of backgrounds and baselines, to be drawn together. Whatever else
        the algorithm noted, an acceleration factor say, gets a panel of its own.
    """
    known = {"iteration", "log_likelihood", "expected", "products", "seconds", *normalisations}
    columns = dict.fromkeys(name for row in trace for name in row)
    notes = [name for name in columns if name not in known]
    factors = [name for name in normalisations if name in columns]
    count = 1 + bool(factors) + len(notes)
    figure = Picture(figsize=(6.4, 0.6 + 1.9 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    _draw_gain(axes[0], trace)
    for name in factors:
        axes[1].plot(*_series(trace, name), label=name, linewidth=1.4)
    if factors:
        axes[1].set_ylabel("normalisation")
        axes[1].legend(frameon=False, fontsize="small")
    for panel, name in zip(axes[count - len(notes) :], notes, strict=True):
        x, y = _series(trace, name)
        panel.plot(x, y, ".-", color=BLUE, linewidth=0.8, markersize=4)
        panel.set_ylabel(name.replace("_", " "))
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _series(trace: Sequence[Mapping[str, float]], name: str) -> tuple[Array, Array]:
    x = np.array([row["iteration"] for row in trace], dtype=float)
    y = np.array([row.get(name, np.nan) for row in trace], dtype=float)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _draw_gain(axes: Axes, trace: Sequence[Mapping[str, float]]) -> None:
    x, y = _series(trace, "log_likelihood")
    gain, at = np.diff(y), x[1:]
    axes.plot(at[gain > 0], gain[gain > 0], color=BLUE, linewidth=1.4, label="rise")
    if np.any(gain < 0):
        axes.plot(at[gain < 0], -gain[gain < 0], "v", color=RED, markersize=4, label="fall")
        axes.legend(frameon=False, fontsize="small")
    if np.any(gain != 0):
        _log_scale(axes)
    axes.set_ylabel("gain of log-likelihood\nper iteration")


def _log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers: matplotlib's typeset powers are slow."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _draw_panel(figure: FigureBase, cell: SubplotSpec, layer: Layer) -> None:
    if layer.flat.ndim != 2:
        axes = figure.add_subplot(cell)
        draw_line(axes, [layer])
        axes.set_title(layer.title)
        return
    axes = figure.add_subplot(cell, projection=layer.wcs)
    draw_image(axes, layer.flat, layer.unit, layer.kind, layer.upward)
    axes.set_title(layer.title)
    if layer.wcs is None:
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]")
        return
    coordinates = axes.coords  # type: ignore[attr-defined]
    for i, kind in enumerate(layer.wcs.world_axis_physical_types):
        coordinates[i].set_ticks(number=4)
        coordinates[i].set_ticklabel(size="small", exclude_overlapping=True)
        coordinates[i].set_axislabel(COORDINATES.get(kind, kind))


def _planes(layer: Layer) -> list[int]:
    """Return which planes of a cube to show, evenly spread."""
    count = len(layer.values)
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, ENERGY_PANELS))})


def _beyond(values: Array, scale: Normalize) -> str:
    """Return at which ends of the colour bar values go on."""
    known = values[np.isfinite(values)]
    low = bool(np.any(known < scale.vmin))
    high = bool(np.any(known > scale.vmax))
    return {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(
        (low, high), "both"
    )
