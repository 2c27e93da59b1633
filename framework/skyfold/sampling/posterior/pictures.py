"""Pictures of a sky that was drawn: its mean, how well it is known, how its light moves.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from skyfold.errors import ConfigError
from skyfold.geometry import Geometry, Grid
from skyfold.layers import Layer, image_layer
from skyfold.model import Component
from skyfold.plotting import Picture, draw_panel, panels
from skyfold.region_files import find
from skyfold.regions import Region, Shape
from skyfold.sampling.posterior.chain_drawing import (
    draw_distribution,
    draw_traces,
    draw_way,
    named_chains,
    told,
)
from skyfold.sampling.posterior.images import tails
from skyfold.sampling.posterior.planes import Plane, plane_of
from skyfold.shades import MASKED
from skyfold.skymap import layout
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from skyfold.sampling.posterior.posterior import Posterior

NEIGHBOURS = 60  # traces of neighbours that are drawn, the brightest; more would be a smear
LEAST = 1e-3  # of the largest mean: below that no pixel is surely lit
ROWS = 6  # chains with a panel of their own


def overview(
    posterior: Posterior,
    component: str | None = None,
    energy: int | None = None,
    level: float = 0.68,
) -> Figure:
    """Return a figure of the counts, the posterior mean, and how well it is known.

    Parameters
    ----------
    posterior
        The draws.
    component
        Name of the sky, where there are several.
    energy
        Which energy, counted from 0; all together by default.
    level
        Which part of the draws lies in the credible interval of a pixel.

    Raises
    ------
    ConfigError
        If there is no such sky or energy.
    DataError
        If nothing was kept yet.
    """
    plane = plane_of(posterior, component, energy)
    mean, (std, low, high) = plane.mean, plane.scatter(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(std > 0, mean / std, np.nan)
    part = f"{100 * level:.4g} % interval"
    first = plane.layer(_titled("Posterior mean", plane), mean)
    second = plane.layer("Standard deviation", std)
    third = plane.layer("Mean / standard deviation", ratio, unit="")
    width = plane.layer(f"Width of the {part}", high - low)
    if first.frame:
        return panels([[first, second], [third, width]])
    lower, upper = (
        plane.layer(f"{end} end of the {part}", values)
        for end, values in (("Lower", low), ("Upper", high))
    )
    counts = _counts(posterior, energy)
    if counts is None or counts.flat.ndim != first.flat.ndim:
        return panels([[first, second, third], [lower, upper, width]])
    sure = np.max(low) > LEAST * np.max(mean)
    return panels([[counts, first, second], [third, lower if sure else upper, width]])


def pixel_traces(
    posterior: Posterior,
    center: tuple[float, float],
    radius: float = 3,
    component: str | None = None,
    energy: int | None = None,
) -> Figure:
    """Return a figure with the trace of a pixel and, in grey, those of the pixels around it.

    Left the posterior mean, right a panel for each chain. What a pixel loses its neighbours gain:
    where its dips meet their peaks the counts cannot tell in which of them the light is.

    Parameters
    ----------
    posterior, component, energy
        As for `overview`.
    center
        The pixel: x and y counted from 0, or longitude and latitude in degrees on a sphere.
    radius
        Radius of the circle of neighbours, in pixels or degrees.

    Raises
    ------
    ConfigError
        If the pixel is not on the sky.
    """
    if np.shape(center) != (2,):
        raise ConfigError(f"center {center}: give both coordinates, as in plot_pixel((24, 30))")
    plane = plane_of(posterior, component, energy)
    geometry, mean, samples = plane.component.geometry, plane.mean, plane.samples
    around = _circle(center, radius, geometry).weights(geometry) > 0
    middle = _nearest(center, geometry)
    others = np.flatnonzero(around.ravel())
    others = others[others != middle]
    others = others[np.argsort(-mean.ravel()[others], kind="stable")[:NEIGHBOURS]]
    drawn = samples.reshape(*samples.shape[:2], -1)[:ROWS]
    image = plane.layer(_titled("Posterior mean", plane), mean, kind="sky")
    figure, axes, right = _beside(image, len(drawn))
    _outline(axes, around, geometry)
    rows = right.subplots(len(drawn), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    start, step, followed = posterior.burn, posterior.thin, plane.followed(middle)
    for chain, (panel, own) in enumerate(zip(rows, drawn, strict=True)):
        for other in others:
            draw_way(panel, own[:, other], 0, start, step, color=MASKED, alpha=0.5)
        if followed is None:
            draw_traces(panel, own[None, :, middle], 0, start, step)
        else:
            draw_traces(panel, followed[chain, None], posterior.burn)
    shown = [drawn[:, :, [middle, *others]], *([] if followed is None else [followed])]
    rows[0].set_ylim(0, 1.05 * max(float(values.max()) for values in shown))
    place = ", ".join(f"{value:g}" for value in center)
    title = f"pixel ({place}) in blue, its neighbours in grey"
    rows[0].set_title(title, fontsize="medium", loc="left")
    for chain, panel in enumerate(rows if len(rows) > 1 else ()):
        panel.text(
            0.99,
            0.94,
            f"chain {chain + 1}",
            transform=panel.transAxes,
            ha="right",
            va="top",
            fontsize="small",
        )
    rows[-1].set_xlabel("sweep")
    right.supylabel(_flux(plane.component.unit), fontsize="medium")
    return figure


def region_traces(
    posterior: Posterior,
    region: str | Path | Region,
    level: float = 0.68,
    component: str | None = None,
    energy: int | None = None,
) -> Figure:
    """Return a figure with the trace of the flux of a region, chain by chain, and its distribution.

    Parameters
    ----------
    posterior, component, level
        As for `overview`.
    region
        What `skyfold.Result.errors` takes.
    energy
        Which energy, counted from 0; all together by default, if their fluxes can be added.
    """
    (found,) = find([region])
    plane = plane_of(posterior, component, energy)
    geometry = plane.component.geometry
    trace = posterior.region(found, level, plane.name).trace
    values = trace.value
    if values.ndim == 3:
        values = values.sum(axis=2) if energy is None else values[:, :, energy]
    image = plane.layer(_titled("Posterior mean", plane), plane.mean, kind="sky")
    figure, axes, right = _beside(image, 2)
    _outline(axes, found.weights(geometry) > 0, geometry)
    above, below = right.subplots(2, 1, height_ratios=[3, 2])
    draw_traces(above, values, 0, posterior.burn, posterior.thin)
    above.set(xlabel="sweep", ylabel=_flux(str(trace.unit)))
    draw_distribution(below, values, level)
    low, high = np.quantile(values, tails(level))
    below.set_xlabel(f"{_flux(str(trace.unit))}: {told(float(values.mean()), low, high)}")
    above.legend(
        handles=named_chains(posterior.chains, posterior.origins),
        title=f"flux of {found.name}",
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize="small",
        alignment="left",
    )  # fmt: skip
    return figure


def _flux(unit: str) -> str:
    return f"flux [{unit}]" if unit else "flux"


def _titled(title: str, plane: Plane) -> str:
    return f"{title}, {plane.label}" if plane.label else title


def _counts(posterior: Posterior, energy: int | None) -> Layer | None:
    """Return the counts of the first observation, if they form an image."""
    part = posterior.data.parts[0]
    grid, counts = part.origin.geometry, part.full_counts
    if not isinstance(grid, Grid) or counts.ndim > 3:
        return None
    seen = np.where(part.weight > 0, counts, np.nan)
    paths = [path for _, path in part.origin.files]
    layer = image_layer("Counts", seen, Component(grid, "ct"), paths)
    if layer.total is None or energy is None or energy >= len(layer.values):
        return layer
    return replace(layer, values=layer.values[energy], total=None, labels=())


def _circle(center: tuple[float, float], radius: float, geometry: Geometry) -> Region:
    """Return the circle around a pixel."""
    sky = isinstance(geometry, Sphere)
    circle = Shape("circle", np.array([center], float), (float(radius),), sky=sky)
    return Region("the circle", circle)


def _nearest(center: tuple[float, float], geometry: Geometry) -> int:
    """Return the number of the pixel at a place.

    Raises
    ------
    ConfigError
        If it is not on the sky.
    """
    if isinstance(geometry, Sphere):
        lon, lat = (np.radians(values) for values in geometry.directions())
        here = np.radians(center)
        cosine = np.sin(lat) * np.sin(here[1])
        cosine += np.cos(lat) * np.cos(here[1]) * np.cos(lon - here[0])
        return int(np.argmax(cosine))
    ny, nx = (1, *geometry.shape)[-2:]
    x, y = (round(value) for value in center)
    if not (0 <= x < nx and 0 <= y < ny):
        raise ConfigError(
            f"pixel x {center[0]:g}, y {center[1]:g} is not on the image: "
            f"it has {nx} x {ny} pixels (x, y), counted from 0"
        )
    return y * nx + x


def _beside(image: Layer, down: int) -> tuple[Figure, Axes, SubFigure]:
    """Return a figure with an image on the left, and what is free on its right."""
    wide = bool(image.frame)
    height = max(4.0, 1.15 * down + 0.8)
    figure = Picture(figsize=(12.4 if wide else 11.0, height), layout="constrained")
    widths = (1.1, 1) if wide else (0.82, 1)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=widths).ravel()
    axes = draw_panel(left, left.add_gridspec(1, 1)[0], image)
    return figure, axes, right


def _outline(axes: Axes, inside: Array, geometry: Geometry) -> None:
    """Draw the border of the pixels of a region."""
    shape = geometry.shape[-2:]
    if isinstance(geometry, Sphere):
        shown = layout(inside.reshape(-1, 1).astype(float), geometry.nside, geometry.nested)[0]
        ny, nx = shown.shape
        x, y = (np.arange(nx) + 0.5) * 4 / nx - 2, (np.arange(ny) + 0.5) * 2 / ny - 1
        axes.contour(x, y, np.nan_to_num(shown), [0.5], colors="white", linewidths=1.2)
        return
    if len(shape) < 2:
        axes.fill_between(
            np.arange(shape[0]),
            0,
            1,
            where=inside.ravel(),
            transform=axes.get_xaxis_transform(),
            color=MASKED,
            alpha=0.3,
            linewidth=0,
        )
        return
    fine = np.repeat(np.repeat(np.pad(inside.reshape(shape), 1), 8, 0), 8, 1).astype(float)
    y, x = (np.arange(8 * (n + 2)) / 8 - 1.4375 for n in shape)
    axes.contour(x, y, fine, [0.5], colors="white", linewidths=1.2)
