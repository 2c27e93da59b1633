"""Draw one thing on given axes: an image, a line, a whole sky, a projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator

from skyfold.dataspace import DataAxis, Projection
from skyfold.layers import Layer
from skyfold.residuals import deviance_residual
from skyfold.shades import BLUE, MASKED, ORANGE, SIGMAS, beyond, colours, norm, ticks
from skyfold.skymap import MERIDIANS, PARALLELS, Mark, frame_name, meridian, project
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 20.0  # ratio of last and first edge above which an axis is logarithmic
FAR = 20.0  # lengths of an axis from zero above which it is counted from its first edge


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
        made = axes.figure.colorbar(image, cax=beside, extend=beyond(values, scale))
        made.set_label(unit)
        if kind != "sigma":
            made.set_ticks(ticks(values, kind))
            made.ax.yaxis.set_major_formatter("{x:.4g}")
        made.minorticks_off()
        made.ax.tick_params(labelsize="small")


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
    log_scale(axes)
    axes.set_ylim(max(0.3 / max(known.size, 1), 1e-6), max(1.0, 2 * float(density.max())))
    axes.legend(frameon=False, fontsize="small")


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers: matplotlib's typeset powers are slow."""
    low, high = axes.dataLim.intervaly
    axes.set_yscale("log")
    if low > 0 and high < 100 * low:  # powers of ten alone would be too few
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def draw_sky(
    axes: Axes,
    values: Array,
    unit: str = "",
    kind: str = "sky",
    scale: str = "asinh",
    frame: str = "",
    marks: Sequence[Mark] = (),
    bar: bool = True,
) -> None:
    """Draw a whole sky on its ellipse, with its grid, marks and colour bar.

    Parameters
    ----------
    axes
        Where to draw; they lose their frame.
    values
        Shape ``(y, x)``, as laid out by `skyfold.skymap.layout`.
    unit
        Written on the colour bar.
    kind
        ``sky``, ``counts`` or ``sigma``.
    scale
        ``asinh``, ``linear`` or ``log``.
    frame
        Name of the celestial frame, written beside the map.
    marks
        Positions to mark.
    bar
        Whether to draw the colour bar, and to name the lines of the grid.
    """
    shade = norm(values, kind, scale)
    low = shade.inverse(0.0)
    image = axes.imshow(
        np.maximum(values, low),
        origin="lower",
        extent=(-2, 2, -1, 1),
        norm=shade,
        cmap=colours(kind),
    )
    image.set_clip_path(Ellipse((0, 0), 4, 2, transform=axes.transData))
    ink = "0.25" if kind == "sigma" else "white"
    _draw_graticule(axes, ink, bar)
    for mark in marks:
        x, y = project(np.array(mark.lon), np.array(mark.lat))
        axes.plot(2 * x, y, "o", ms=11, mfc="none", mec="#38bdf8", mew=1.4)
        left = x > 0.2
        axes.annotate(
            mark.name,
            (2 * float(x), float(y)),
            (-8 if left else 8, 7),
            textcoords="offset points",
            ha="right" if left else "left",
            color="white" if ink == "white" else "#0369a1",
            fontsize="small",
            path_effects=_outline("black" if ink == "white" else "white", 2.5, 0.8),
        )
    axes.set(xlim=(-2.02, 2.02), ylim=(-1.4 if bar else -1.02, 1.02), aspect="equal")
    axes.axis("off")
    if not bar or axes.figure is None:
        return
    axes.text(-2, -1.05, frame_name(frame), fontsize="small", color="0.4", va="top")
    beside = axes.inset_axes((-1, -1.17, 2, 0.09), transform=axes.transData)
    made = axes.figure.colorbar(
        image, cax=beside, orientation="horizontal", extend=beyond(values, shade)
    )
    made.set_label(unit, size="small")
    if kind != "sigma":
        if scale != "linear":
            made.set_ticks(ticks(values, kind, scale, apart=0.18))
        made.ax.xaxis.set_major_formatter("{x:.4g}")
    made.minorticks_off()
    made.ax.tick_params(labelsize="small")


def _draw_graticule(axes: Axes, ink: str, named: bool) -> None:
    """Draw meridians and parallels, longitudes named along the equator, latitudes at the edge."""
    outline = _outline("black" if ink == "white" else "white")
    for lon in MERIDIANS:
        x, y = meridian(lon)
        axes.plot(2 * x, y, color=ink, linewidth=0.6, alpha=0.45)
        if named:
            text = axes.text(2 * float(x[30]) + 0.03, 0.01, f"{lon % 360}\N{DEGREE SIGN}")
            text.set(color=ink, fontsize="x-small", path_effects=outline)
    for lat in PARALLELS:
        x, y = project(np.array([-179.999, 179.999]), np.array([lat, lat]))
        axes.plot(2 * x, y, color=ink, linewidth=0.6, alpha=0.45)
        if named and lat:
            name = f"{lat:+d}\N{DEGREE SIGN}".replace("-", "\N{MINUS SIGN}")
            text = axes.text(2 * float(x.min()) - 0.06, 1.02 * float(y[0]), name)
            text.set(color="0.4", fontsize="x-small", ha="right", va="center")
    axes.add_patch(Ellipse((0, 0), 4, 2, fill=False, edgecolor="0.4", linewidth=0.8))


def _outline(colour: str, width: float = 1.6, alpha: float = 0.5) -> list[Any]:
    return [withStroke(linewidth=width, foreground=colour, alpha=alpha)]


def draw_projection(axes: Axes, below: Axes, projection: Projection) -> None:
    """Draw counts with their errors and their expectation along an axis, the residual below."""
    axis, counts, expected = projection.axis, projection.counts, projection.expectation
    edges, label = bins_of(axis)
    centres = (edges[:-1] + edges[1:]) / 2
    axes.stairs(counts, edges, baseline=None, color=BLUE, linewidth=1.2, label="counts")
    axes.errorbar(centres, counts, np.sqrt(counts), fmt="none", ecolor=BLUE, elinewidth=0.7)
    axes.stairs(expected, edges, baseline=None, color=ORANGE, linewidth=1.4, label="expected")
    axes.set_ylabel("counts per bin")
    axes.legend(frameon=False, fontsize="small")
    residual = deviance_residual(counts, expected, (expected > 0).astype(float))
    reach = max(3.5, 1.1 * float(np.nanmax(np.abs(residual), initial=0)))
    below.axhspan(-1, 1, color=MASKED, alpha=0.25, linewidth=0)
    below.axhline(0, color=MASKED, linewidth=0.8)
    below.plot(centres, residual, ".", color=BLUE, markersize=4)
    below.set(xlabel=label, ylabel="residual\n[sigma]", ylim=(-reach, reach))
    if edges[0] > 0 and edges[-1] > WIDE * edges[0]:
        below.set_xscale("log")
        below.xaxis.set_major_formatter("{x:g}")
        below.xaxis.set_minor_formatter("")
    below.set_xlim(edges[0], edges[-1])
    axes.tick_params(labelbottom=False)


def bins_of(axis: DataAxis) -> tuple[Array, str]:
    """Return edges and label of an axis; clocks far from zero are counted from the first edge."""
    from astropy import units as u

    edges, unit = axis.values, f" [{axis.unit}]" if axis.unit else ""
    clock = u.Unit(axis.unit).is_equivalent(u.s)
    if clock and abs(edges[0]) > FAR * (edges[-1] - edges[0]):
        return edges - edges[0], f"{axis.label} since {edges[0]:.12g}{unit}"
    return edges, f"{axis.label}{unit}"
