"""Pictures of counts, restored skies, residuals and the way there.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skyfold.geometry import Grid
from skyfold.result import deviance_residual
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.gridspec import SubplotSpec

    from skyfold.result import Result

SIGMAS = 5.0  # residuals saturate here
SOFTENING = 30.0  # asinh stretch: linear below this fraction of the range, logarithmic above
MASKED = "0.62"
BLOCK = 8  # pixels along each side of the blocks whose residual is shown
BRIGHT = 5.0  # mean expected counts above which single pixels show more than noise
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


@dataclass(frozen=True, eq=False)
class Layer:
    """One quantity on pixels, ready to be drawn.

    Parameters
    ----------
    title
        What it is.
    kind
        ``flux``, ``counts`` or ``sigma``.
    values
        ``(y, x)``, ``(x,)``, or a cube with one leading axis; NaN where nothing is known.
    unit
        Unit of the values.
    total
        A cube summed over its leading axis, shape ``(y, x)``; None for all else.
    labels
        What each plane of a cube is: its energies.
    wcs
        Celestial coordinates of the last two axes.
    upward
        Whether the first row is at the bottom, as in FITS; photographs begin at the top.
    """

    title: str
    kind: str
    values: Array
    unit: str = ""
    total: Array | None = None
    labels: tuple[str, ...] = ()
    wcs: WCS | None = None
    upward: bool = True

    @property
    def flat(self) -> Array:
        """The image or line: a cube summed over energy."""
        return self.values if self.total is None else self.total

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title


class Observation(NamedTuple):
    """The layers of one observation; `blocks` is the residual of 8 x 8 pixels together."""

    counts: Layer
    expected: Layer
    residual: Layer
    blocks: Layer | None

    @property
    def telling(self) -> Layer:
        """The residual to look at: of single pixels only where they hold some counts."""
        bright = np.nanmean(self.expected.flat) >= BRIGHT
        return self.residual if bright or self.blocks is None else self.blocks


def sky_layer(
    title: str, values: Array, unit: str, mask: Array | None = None, **looks: Any
) -> Layer:
    """Return the layer of restored values; outside the mask nothing was restored."""
    known = values if mask is None else np.where(mask, values, np.nan)
    total = np.nansum(known, axis=0) if values.ndim == 3 else None
    return Layer(title, "flux", known, unit, total, **looks)


def observe(
    counts: Array, expectation: Array, residual: Array, name: str = "", **looks: Any
) -> Observation:
    """Return the layers of one observation.

    Parameters
    ----------
    counts, expectation
        Per bin.
    residual
        In sigma, NaN where a bin has no weight.
    name
        Of the observation, if there are several.
    """
    seen = np.isfinite(residual)
    n, e = np.where(seen, counts, np.nan), np.where(seen, expectation, np.nan)
    n_all = e_all = r_all = blocks = None
    suffix = f", {name}" if name else ""
    if counts.ndim == 3:
        n_all, e_all = np.nansum(n, axis=0), np.nansum(e, axis=0)
        r_all = deviance_residual(n_all, e_all, np.any(seen, axis=0, keepdims=True)[0])
    if counts.ndim in (2, 3):
        together = block_residual(n, e)
        total = None if n_all is None or e_all is None else block_residual(n_all, e_all)
        title = f"Residual of {BLOCK} \N{MULTIPLICATION SIGN} {BLOCK} pixels{suffix}"
        blocks = Layer(title, "sigma", together, "sigma", total, **looks)
    return Observation(
        Layer(f"Counts{suffix}", "counts", n, "ct", n_all, **looks),
        Layer(f"Expected counts{suffix}", "counts", e, "ct", e_all, **looks),
        Layer(f"Residual{suffix}", "sigma", residual, "sigma", r_all, **looks),
        blocks,
    )


def block_residual(counts: Array, expectation: Array) -> Array:
    """Return the residual of square blocks along the last two axes, repeated on their pixels."""
    n, e = np.nan_to_num(counts), np.nan_to_num(expectation)
    for axis in (-2, -1):
        starts = np.arange(0, counts.shape[axis], BLOCK)
        n, e = np.add.reduceat(n, starts, axis=axis), np.add.reduceat(e, starts, axis=axis)
    sigma = deviance_residual(n, e, (e > 0).astype(float))
    for axis in (-2, -1):
        sigma = sigma.repeat(BLOCK, axis=axis).take(range(counts.shape[axis]), axis=axis)
    return sigma


def energy_labels(edges: Quantity | None, planes: int) -> tuple[str, ...]:
    """Return what to call each plane of a cube: "10-14 GeV", or its number without energies."""
    if edges is None:
        return tuple(f"plane {i + 1}" for i in range(planes))
    from astropy import units as u

    if edges.unit.is_equivalent(u.eV):
        middle = np.sqrt(edges[0] * edges[-1])
        units = [unit for unit in (u.eV, u.keV, u.MeV, u.GeV, u.TeV) if middle >= 1 * unit]
        edges = edges.to((units or [u.eV])[-1])
    pairs = zip(edges.value[:-1], edges.value[1:], strict=True)
    return tuple(f"{low:.3g}\N{EN DASH}{high:.3g} {edges.unit}" for low, high in pairs)


def rows_go_up(wcs: WCS | None, files: Iterable[str]) -> bool:
    """Return whether the first row of an image belongs at the bottom.

    It does where there are coordinates or FITS files, not for photographs and bare arrays.
    """
    return wcs is not None or any(".fit" in PurePath(file).name.lower() for file in files)


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
    return low, float(high) if high > low else low + 1.0


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
    axes.set_yscale("log")
    axes.set_ylim(max(0.3 / max(known.size, 1), 1e-6), max(1.0, 2 * float(density.max())))
    axes.legend(frameon=False, fontsize="small")


def overview(result: Result) -> Figure:
    """Return a figure of counts, restored image and residual of a result.

    Cubes are summed over energy, and shown energy by energy below.
    """
    skies, observations = layers_of(result)
    first, *others = observations
    if first.counts.flat.ndim == 1:
        rows = [[first.counts, first.expected], *([sky] for sky in skies), [first.residual]]
        return lines(rows)
    rows = [[first.counts, *skies[:1], first.telling], *([sky] for sky in skies[1:])]
    rows += [[other.counts, other.telling] for other in others]
    return panels(rows, detail=[layer for layer in rows[0][:2] if layer.total is not None])


def layers_of(result: Result) -> tuple[list[Layer], list[Observation]]:
    """Return the skies of a result, on the field of the data, and its observations."""
    parts = result.data.parts
    paths = [path for part in parts for _, path in part.origin.files]
    skies, observations = [], []
    for name, component in result.model.components.items():
        if not component.geometry.sky:
            continue
        values, mask, looks = result.model[name], component.mask, {}
        if isinstance(component.geometry, Grid):
            field = component.geometry.field or (slice(None),) * values.ndim
            values, mask = values[field], None if mask is None else mask[field]
            looks = _looks(component.geometry.crop(), values, paths)
        title = "Restored" if len(result.model.skies) < 2 else f"Restored: {name}"
        skies.append(sky_layer(title, values, component.unit, mask, **looks))
    for part, residual in zip(parts, result.residual(), strict=True):
        place = part.origin.geometry if isinstance(part.origin.geometry, Grid) else None
        looks = _looks(place, part.full_counts, paths)
        expected = part.full_expectation(result.model) * part.weight
        name = part.origin.name if len(parts) > 1 else ""
        observations.append(observe(part.full_counts, expected, residual, name, **looks))
    return skies, observations


def _looks(grid: Grid | None, values: Array, paths: Sequence[str]) -> dict[str, Any]:
    wcs = None if grid is None else grid.wcs
    edges = None if grid is None else grid.energy_edges
    labels = energy_labels(edges, len(values)) if values.ndim == 3 else ()
    return {"wcs": wcs, "labels": labels, "upward": rows_go_up(wcs, paths)}


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
    first = rows[0][0].flat
    ratio = first.shape[-2] / first.shape[-1] if first.ndim == 2 else 0.75
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
    figure = Picture(figsize=(8.0, 0.6 + 1.9 * len(rows)), layout="constrained")
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
    figure = Picture(figsize=(7.6, 0.7 + 2.1 * count), layout="constrained")
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
        axes.set_yscale("log")
    axes.set_ylabel("gain of log-likelihood\nper iteration")


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
