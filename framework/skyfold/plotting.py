"""Pictures of counts, restored skies and residuals.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from skyfold.dataspace import Projection
from skyfold.drawing import (
    draw_histogram,
    draw_image,
    draw_line,
    draw_projection,
    draw_sky,
)
from skyfold.errors import DataError
from skyfold.layers import Layer, Observation, layers_of, projection_layers, sphere_layer
from skyfold.skymap import as_marks
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.gridspec import SubplotSpec

    from skyfold.result import Result

ENERGY_PANELS = 12  # more would be stamps
COORDINATES = {
    "pos.eq.ra": "RA",
    "pos.eq.dec": "Dec",
    "pos.galactic.lon": "galactic longitude",
    "pos.galactic.lat": "galactic latitude",
}


class Picture(Figure):
    """A figure that shows itself in a notebook, whichever backend is active, if any."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def overview(result: Result) -> Figure:
    """Return a figure of counts, restored image and residual of a result.

    Cubes are summed over energy, and shown energy by energy below. Of whole skies the map is
    followed by the projections of the counts.
    """
    skies, observations = layers_of(result)
    projected = [p for explained in result.explained for p in explained.projections]
    if projected or not observations:
        return _survey(skies, observations, projected)
    first, *others = observations
    if all(layer.flat.ndim == 1 for layer in (first.counts, *skies)):
        rows = [[first.counts, first.expected], *([sky] for sky in skies), [first.residual]]
        return lines(rows)
    rows = [[first.counts, *skies[:2], first.telling], *([sky] for sky in skies[2:])]
    rows += [[other.counts, other.telling] for other in others]
    return panels(rows, detail=[layer for layer in rows[0][:2] if layer.total is not None])


def _survey(
    skies: Sequence[Layer], observations: Sequence[Observation], projected: Sequence[Projection]
) -> Figure:
    """Return a figure of skies side by side, energies below, and what was counted at the end."""
    rows: list[list[Layer]] = [list(skies[:2]), *([sky_] for sky_ in skies[2:])]
    rows += [[seen.counts, seen.telling] for seen in observations]
    detail = [layer for layer in skies if layer.total is not None]
    return panels(rows, detail, projected)


def sky(
    values: Result | Any,
    geometry: Sphere | None = None,
    scale: str = "linear",
    marks: Sequence[Sequence[Any]] = (),
    energy: int | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> FigureBase:
    """Return a figure of a whole sky in Mollweide's projection.

    Parameters
    ----------
    values
        A result, or values of shape ``(pixel, energy)`` or ``(pixel,)``, perhaps with a unit.
    geometry
        The places of values; a result knows its own.
    scale
        ``linear``, ``log`` (three decades) or ``asinh``.
    marks
        Positions to mark: longitude and latitude in degrees, and a name.
    energy
        Which energy; all together by default.
    title
        Written above.
    axes
        Where to draw; on a figure of its own by default.

    Raises
    ------
    DataError
        If the restored sky is no whole sky, or values have no geometry.

    Examples
    --------
    >>> plotting.sky(result, scale="log", marks=[(184.6, -5.8, "Crab")])  # doctest: +SKIP
    """
    from skyfold.result import Result

    if isinstance(values, Result):
        geometry, values = values.sphere, values.image
    if geometry is None:
        raise DataError("values without their places are no sky: give the Sphere they belong to")
    unit, values = str(getattr(values, "unit", "")), getattr(values, "value", values)
    layer = sphere_layer(title, np.reshape(values, geometry.shape), geometry, unit)
    shown, label = layer.flat, ""
    if layer.total is not None:
        label = "all energies" if energy is None else layer.labels[energy]
        shown = shown if energy is None else layer.values[energy]
    if axes is None:
        axes = Picture(figsize=(8.0, 5.2), layout="constrained").add_subplot()
    draw_sky(axes, shown, layer.unit, "sky", scale, layer.frame, as_marks(marks))
    axes.set_title(", ".join(filter(None, (title, label))))
    return axes.figure


def projections(projected: Sequence[Projection]) -> Figure:
    """Return a figure of counts, expectation and residual along each axis of a data space."""
    figure = Picture(figsize=(11.0, _height(projected)), layout="constrained")
    _draw_projections(figure, projected)
    return figure


def _height(projected: Sequence[Projection]) -> float:
    binned = sum(p.axis.nside is None and p.axis.size > 1 for p in projected)
    return 3.3 * -(-binned // 2) + 2.3 * sum(p.axis.nside is not None for p in projected)


def _draw_projections(figure: FigureBase, projected: Sequence[Projection]) -> None:
    """Draw axes of bins two in a row, then spheres as three maps each; one bin alone is no axis."""
    binned = [p for p in projected if p.axis.nside is None and p.axis.size > 1]
    spheres = [p for p in projected if p.axis.nside is not None]
    several = len({p.observation for p in projected}) > 1
    down = -(-len(binned) // 2)
    heights = [3.3] * down + [2.3] * len(spheres)
    rows = figure.add_gridspec(len(heights), 6, height_ratios=heights)
    for i, projection in enumerate(binned):
        wide = slice(0, 6) if len(binned) == 1 else slice(3 * (i % 2), 3 * (i % 2) + 3)
        cell = rows[i // 2, wide].subgridspec(2, 1, height_ratios=[3, 1], hspace=0)
        axes = figure.add_subplot(cell[0])
        draw_projection(axes, figure.add_subplot(cell[1], sharex=axes), projection)
        if several:
            axes.set_title(projection.observation, fontsize="small", loc="left")
    for i, projection in enumerate(spheres, down):
        for j, layer in enumerate(projection_layers(projection)):
            axes = figure.add_subplot(rows[i, 2 * j : 2 * j + 2])
            draw_sky(axes, layer.flat, layer.unit, layer.kind, frame=layer.frame)
            axes.set_title(layer.title, fontsize="small")


def panels(
    rows: Sequence[Sequence[Layer]],
    detail: Sequence[Layer] = (),
    projected: Sequence[Projection] = (),
) -> Figure:
    """Return a figure with one panel per layer, and small ones for the planes of cubes.

    Parameters
    ----------
    rows
        Layers, row by row.
    detail
        Cubes to show plane by plane below.
    projected
        Projections of data spaces, to be shown at the end.
    """
    columns = max(len(row) for row in rows)
    shapes = [layer.flat.shape for row in rows for layer in row if layer.flat.ndim == 2]
    ratio = shapes[0][0] / shapes[0][1] if shapes else 0.75
    width = 4.6 * columns if not projected else max(4.6 * columns, 9.0)
    across = min(6, max((len(_planes(layer)) for layer in detail), default=1))
    down = sum(-(-len(_planes(layer)) // across) for layer in detail)
    heights = [
        len(rows) * (0.7 * width / columns * ratio + 1.0),
        down * (width / across * ratio + 0.3),
        _height(projected),
    ]
    figure = Picture(figsize=(width, sum(heights)), layout="constrained")
    used = [height for height in heights if height]
    slots = figure.add_gridspec(len(used), 1, height_ratios=used)
    rest: list[FigureBase] = [figure]
    if len(used) > 1:
        rest = [figure.add_subfigure(slots[i]) for i in range(len(used))]
    top = rest.pop(0)
    cells = top.add_gridspec(len(rows), columns)
    for i, row in enumerate(rows):
        for j, layer in enumerate(row):
            draw_panel(top, cells[i, j], layer)
    if down:
        _draw_planes(rest.pop(0), detail, down, across)
    if projected:
        _draw_projections(rest.pop(0), projected)
    return figure


def _draw_planes(figure: FigureBase, detail: Sequence[Layer], down: int, across: int) -> None:
    """Draw the planes of cubes as small panels, each cube from a row of its own."""
    place = 1
    for layer in detail:
        for i in _planes(layer):
            axes = figure.add_subplot(down, across, place)
            if layer.frame:
                draw_sky(axes, layer.values[i], kind=layer.kind, bar=False)
            else:
                draw_image(axes, layer.values[i], kind=layer.kind, upward=layer.upward, bar=False)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{layer.title}, {layer.labels[i]}", fontsize="x-small")
            place += 1
        place += -(place - 1) % across


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


def draw_panel(figure: FigureBase, cell: SubplotSpec, layer: Layer) -> Axes:
    """Draw a layer with its title into a cell of a figure, and return its axes."""
    if layer.flat.ndim != 2:
        axes = figure.add_subplot(cell)
        draw_line(axes, [layer])
        axes.set_title(layer.title)
        return axes
    if layer.frame:
        axes = figure.add_subplot(cell)
        draw_sky(axes, layer.flat, layer.unit, layer.kind, frame=layer.frame, marks=layer.marks)
        axes.set_title(layer.title)
        return axes
    axes = figure.add_subplot(cell, projection=layer.wcs)
    draw_image(axes, layer.flat, layer.unit, layer.kind, layer.upward)
    axes.set_title(layer.title)
    if layer.wcs is None:
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]")
        return axes
    coordinates = axes.coords  # type: ignore[attr-defined]
    for i, kind in enumerate(layer.wcs.world_axis_physical_types):
        coordinates[i].set_ticks(number=4)
        coordinates[i].set_ticklabel(size="small", exclude_overlapping=True)
        coordinates[i].set_axislabel(COORDINATES.get(kind, kind))
    return axes


def _planes(layer: Layer) -> list[int]:
    """Return which planes of a cube to show, evenly spread."""
    count = len(layer.values)
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, ENERGY_PANELS))})
