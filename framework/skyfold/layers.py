"""What there is to be seen in a result: counts, skies and residuals, each ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyfold.dataspace import BLOCK, Projection
from skyfold.geometry import Grid
from skyfold.model import Component
from skyfold.residuals import block_residual, deviance_residual
from skyfold.skymap import Mark, brightest, integrated, layout, map_wcs
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity
    from astropy.wcs import WCS

    from skyfold.result import Result

BRIGHT = 5.0  # mean expected counts above which single pixels show more than noise


@dataclass(frozen=True, eq=False)
class Layer:
    """One quantity on pixels, ready to be drawn.

    Parameters
    ----------
    title
        What it is.
    kind
        ``flux``, ``counts``, ``sigma``, or ``sky``: all of it, shown over its full range.
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
    frame
        Celestial frame of a whole sky on its ellipse (see `skyfold.skymap`); empty for all else.
    marks
        Positions to mark on a whole sky.
    """

    title: str
    kind: str
    values: Array
    unit: str = ""
    total: Array | None = None
    labels: tuple[str, ...] = ()
    wcs: WCS | None = None
    upward: bool = True
    frame: str = ""
    marks: tuple[Mark, ...] = ()

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


def sphere_layer(
    title: str,
    values: Array,
    sphere: Sphere,
    unit: str,
    mask: Array | None = None,
    marks: tuple[Mark, ...] = (),
) -> Layer:
    """Return the layer of a whole sky: its energies, and their sum, on the ellipse.

    Parameters
    ----------
    title
        What it is.
    values, sphere
        Shape ``(pixel, energy)``, and their places.
    unit
        Unit of the values; values per energy are shown per energy bin.
    mask
        Where the sky was restored.
    marks
        Positions to mark.
    """
    values, unit = integrated(values, sphere, unit)
    if mask is not None:
        values = np.where(mask, values, np.nan)
    planes = values.shape[1]
    total = np.where(np.isnan(values).all(axis=1), np.nan, np.nansum(values, axis=1))
    columns = np.column_stack([total, values] if planes > 1 else [total])
    shown = layout(columns, sphere.nside, sphere.nested)
    return Layer(
        title,
        "sky",
        shown[1:] if planes > 1 else shown[0],
        unit,
        shown[0] if planes > 1 else None,
        energy_labels(sphere.energy_edges, planes) if planes > 1 else (),
        map_wcs(sphere.frame),
        frame=sphere.frame,
        marks=marks,
    )


def projection_layers(projection: Projection) -> tuple[Layer, Layer, Layer]:
    """Return counts, expected counts and residual along a HEALPix axis, as maps."""
    axis, n, e = projection.axis, projection.counts, projection.expectation
    assert axis.nside is not None
    residual = deviance_residual(n, e, (e > 0).astype(float))
    maps = layout(np.column_stack([n, e, residual]), axis.nside, axis.nested)
    suffix = f" over {axis.label}"
    return (
        Layer(f"Counts{suffix}", "counts", maps[0], "ct", frame=axis.label),
        Layer(f"Expected counts{suffix}", "counts", maps[1], "ct", frame=axis.label),
        Layer(f"Residual{suffix}", "sigma", maps[2], "sigma", frame=axis.label),
    )


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
        together = on_pixels(block_residual(n, e), n.shape)
        total = None
        if n_all is not None and e_all is not None:
            total = on_pixels(block_residual(n_all, e_all), n_all.shape)
        title = f"Residual of {BLOCK} \N{MULTIPLICATION SIGN} {BLOCK} pixels{suffix}"
        blocks = Layer(title, "sigma", together, "sigma", total, **looks)
    return Observation(
        Layer(f"Counts{suffix}", "counts", n, "ct", n_all, **looks),
        Layer(f"Expected counts{suffix}", "counts", e, "ct", e_all, **looks),
        Layer(f"Residual{suffix}", "sigma", residual, "sigma", r_all, **looks),
        blocks,
    )


def on_pixels(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Return each block's value on its pixels."""
    for axis in (-2, -1):
        blocks = blocks.repeat(BLOCK, axis=axis).take(range(shape[axis]), axis=axis)
    return blocks


def energy_labels(edges: Quantity | None, planes: int) -> tuple[str, ...]:
    """Return what to call each plane of a cube: "10-14 GeV", or its number without energies."""
    if edges is None or len(edges) != planes + 1:
        return tuple(f"plane {i + 1}" for i in range(planes))
    from astropy import units as u

    if edges.unit.is_equivalent(u.eV):
        middle = np.sqrt(edges[0] * edges[-1])
        units = [unit for unit in (u.eV, u.keV, u.MeV, u.GeV, u.TeV) if middle >= 1 * unit]
        edges = edges.to((units or [u.eV])[-1])
    pairs = zip(edges.value[:-1], edges.value[1:], strict=True)
    return tuple(f"{_short(low)}\N{EN DASH}{_short(high)} {edges.unit}" for low, high in pairs)


def _short(value: float) -> str:
    """Return a number in three digits, more only where it is that long."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def rows_go_up(wcs: WCS | None, files: Iterable[str]) -> bool:
    """Return whether the first row of an image belongs at the bottom.

    It does where there are coordinates or FITS files, not for photographs and bare arrays.
    """
    return wcs is not None or any(".fit" in PurePath(file).name.lower() for file in files)


def same_field(first: Layer, second: Layer) -> bool:
    """Return whether two images show the same piece of sky, so that one may be laid on the other.

    Their corners must agree to a pixel; without coordinates their proportions must.
    """
    (ny, nx), (my, mx) = first.flat.shape, second.flat.shape
    if first.frame or second.frame:
        return first.frame == second.frame
    if first.wcs is None or second.wcs is None:
        return bool(abs(ny * mx - nx * my) <= max(ny, nx, my, mx))
    x, y = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    here = first.wcs.pixel_to_world(x * nx - 0.5, y * ny - 0.5)
    there = second.wcs.world_to_pixel(here)
    offset = np.array([there[0] - (x * mx - 0.5), there[1] - (y * my - 0.5)])
    return bool(np.all(np.abs(offset) < 1))


def layers_of(result: Result) -> tuple[list[Layer], list[Observation]]:
    """Return the skies of a result, on the field of the data, and its observations.

    Observations are images of the counts; data spaces and event lists have none.
    """
    from skyfold.points import point_components
    from skyfold.star_products import total

    starry = bool(point_components(result.model.components))
    parts = result.data.parts
    paths = [path for part in parts for _, path in part.origin.files]
    skies, observations = [], []
    for name, component in result.model.components.items():
        if component.geometry.sky:
            title = "Restored" if len(result.model.skies) < 2 else f"Restored: {name}"
            if starry:
                skies.append(image_layer("With stars", total(result), component, paths))
            truth = None if result.demo is None else result.demo.truth[name]
            marks: tuple[Mark, ...] = ()
            if truth is not None and isinstance(component.geometry, Sphere):
                marks = (truth_peak(truth, component.geometry, component.unit),)
            skies.append(image_layer(title, result.model[name], component, paths, marks))
            if truth is not None:
                title = title.replace("Restored", "Truth")
                skies.append(image_layer(title, truth, replace(component, mask=None), paths, marks))
    for part, explained in zip(parts, result.explained, strict=True):
        if explained.expectation is None or explained.residual is None or explained.projections:
            continue
        place = part.origin.geometry if isinstance(part.origin.geometry, Grid) else None
        looks = _looks(place, part.full_counts, paths)
        expected = explained.expectation * part.weight
        name = part.origin.name if len(parts) > 1 else ""
        observations.append(observe(part.full_counts, expected, explained.residual, name, **looks))
    return skies, observations


def truth_peak(truth: Array, sphere: Sphere, unit: str) -> Mark:
    """Return where the true sky is brightest, all energies together."""
    return brightest(integrated(truth, sphere, unit)[0].sum(axis=1), sphere, "true peak")


def image_layer(
    title: str,
    values: Array,
    component: Component,
    paths: Sequence[str] = (),
    marks: tuple[Mark, ...] = (),
) -> Layer:
    """Return the layer of values of a component, cut to the field that the data cover.

    Parameters
    ----------
    title
        What it is.
    values, component
        Shape of the geometry of the component.
    paths
        Input files: they tell whether the first row belongs at the bottom.
    marks
        Positions to mark on a whole sky.
    """
    if isinstance(component.geometry, Sphere):
        return sphere_layer(
            title, values, component.geometry, component.unit, component.mask, marks
        )
    if not isinstance(component.geometry, Grid):
        return sky_layer(title, values, component.unit, component.mask)
    field = component.geometry.field or (slice(None),) * values.ndim
    values, mask = values[field], None if component.mask is None else component.mask[field]
    looks = _looks(component.geometry.crop(), values, paths)
    return sky_layer(title, values, component.unit, mask, **looks)


def _looks(grid: Grid | None, values: Array, paths: Sequence[str]) -> dict[str, Any]:
    wcs = None if grid is None else grid.wcs
    edges = None if grid is None else grid.energy_edges
    labels = energy_labels(edges, len(values)) if values.ndim == 3 else ()
    return {"wcs": wcs, "labels": labels, "upward": rows_go_up(wcs, paths)}
