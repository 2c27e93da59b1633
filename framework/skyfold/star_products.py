"""What a run with point sources leaves besides: a table, regions, and the sky with its stars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.astrometry import moved_by
from skyfold.geometry import Grid
from skyfold.pixels import Shared
from skyfold.points import Few, PointList, on_grid, places_of, point_components
from skyfold.products import sky_hdu
from skyfold.source_rows import CARD
from skyfold.source_tables import summed, write_sources
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold.result import Result

TABLE, REGIONS = "stars.ecsv", "stars.reg"
PRODUCTS = (TABLE, REGIONS)
SHOWN = 10  # stars on a terminal


def total(result: Result) -> Array:
    """Return the sky with its point sources, each shared among the values around it.

    Where each observation has fluxes of its own, it is the mean over those that see the star.
    Shape of the sky.
    """
    light: Array = result.model[result.sky].astype(float)
    for points, flux in mean_fluxes(result):
        light += _shining(result, points)(flux)
    return light


def mean_fluxes(result: Result) -> list[tuple[PointList, Array]]:
    """Return each list of point sources with their fluxes, the mean over all that see them."""
    found: list[tuple[PointList, list[str]]] = []
    lists = point_components(result.model.components)
    for name, points in lists.items():
        same = [names for other, names in found if points.difference(other) is None]
        if same:
            same[0].append(name)
        else:
            found.append((points, [name]))
    means = []
    for points, names in found:
        masks = [result.model.components[name].mask for name in names]
        seen = np.array([np.ones(points.shape, bool) if m is None else m for m in masks])
        fluxes = np.array([result.model[name] for name in names], float)
        means.append((points, np.sum(fluxes, axis=0, where=seen) / np.maximum(seen.sum(axis=0), 1)))
    return means


def _shining(result: Result, points: PointList) -> Callable[[Array], Array]:
    """Return what makes a sky of the fluxes of point sources."""
    name, part = next(
        (name, part)
        for part in result.data.parts
        for name, own in point_components(part.components).items()
        if points.difference(own) is None
    )
    response = part.whole[name]
    if isinstance(response, Few):
        return response.inner.forward
    geometry, own = part.components[result.sky].geometry, places_of(result.data.parts[0])
    assert isinstance(geometry, Grid)
    assert isinstance(own, Grid)
    places = points.places
    if any(parameter.partition("[")[0] == name for parameter in result.state.parameters):
        places = places + moved_by(result.data, result.state)
    return Shared(on_grid(places, own, geometry), geometry.shape).forward


def hdus(result: Result) -> Iterator[Any]:
    """Yield ``TOTAL``, the sky with its point sources, and their table ``STARS``."""
    from astropy.io import fits
    from astropy.table import Table

    if not point_components(result.model.components):
        return
    yield sky_hdu(result, result.sky, total(result), "TOTAL")
    columns = dict(result.stars.items())
    for name in ("name", "neighbour", "flags", "component"):
        if name in columns:
            columns[name] = [v.encode("unicode_escape").decode() for v in map(str, columns[name])]
    units = {name: result.stars[name].unit for name in result.stars.colnames}
    listed = fits.BinTableHDU(Table(columns, units=units), name="STARS")
    for key, card in (("origin", CARD), ("magzero", "magzero"), ("frame", "frame")):
        if key in result.stars.meta:
            listed.header[card] = result.stars.meta[key]
    yield listed


def write(result: Result, folder: Path) -> None:
    """Write the table and the regions of the point sources, if there are any."""
    if point_components(result.model.components):
        write_sources(result.stars, folder / TABLE)
        files.write_text(folder / REGIONS, regions(result.stars))


def regions(table: Table) -> str:
    """Return the point sources as regions of DS9: by their coordinates, where there are any."""
    (first, second), frame, shift = places_in(table)
    if frame == "":
        frame, shift = "image", 1 - table.meta["origin"]
    rows = {str(row["name"]): (row[first] + shift, row[second] + shift) for row in table}
    lines = [
        f"point({x:.9g}, {y:.9g}) # point=circle text={{{name.replace('}', ')')}}}"
        for name, (x, y) in rows.items()
    ]
    return "\n".join(["# Region file format: DS9 version 4.1", frame, *lines]) + "\n"


def places_in(table: Table) -> tuple[tuple[str, str], str, float]:
    """Return which columns tell places best, their frame, and what to add to count as listed."""
    if "ra" in table.colnames:
        return ("ra", "dec"), "icrs", 0
    if "lon" in table.colnames:
        return ("lon", "lat"), table.meta["frame"], 0
    return ("x", "y"), "", table.meta["listed_from"] - table.meta["origin"]


def told(table: Table) -> list[str]:
    """Return the brightest point sources for a terminal: a heading, a line for each, the rest.

    Of those with a flux in each observation it is the mean, and the chi-square about it.
    """
    flux, error = summed(table)
    rows = []
    for name, own in by_name(table).items():
        mean, wrong, chi, freedom = constancy(flux[own], error[own])
        flags = dict.fromkeys(" ".join(map(str, table["flags"][own])).split())
        steady = f"chi2 {chi:.1f} of {freedom}" if freedom > 0 else ""
        rows.append((mean, wrong, name, own[0], " ".join([*filter(None, [steady]), *flags])))
    bright = sorted(rows, key=lambda row: -row[0])[:SHOWN]
    axes, counted, shift = ("lon", "lat"), "", 0
    if "x" in table.colnames:
        axes, shift = ("x", "y"), table.meta["listed_from"] - table.meta["origin"]
        counted = f", x and y counted from {table.meta['listed_from']}"
    magnitudes = "x" in table.colnames
    shown = ", the brightest" if len(rows) > SHOWN else ""
    width = max([4, *(len(name) for _, _, name, _, _ in bright)])
    lines = [
        f"{len(rows)}{shown}{counted}; fluxes in {table['flux'].unit}",
        f"{'name':{width}} {axes[0]:>9} {axes[1]:>9} {'flux':>12} {'+-':>9}"
        + (f" {'mag':>8}" if magnitudes else ""),
    ]
    for mean, wrong, name, i, remark in bright:
        x, y = (float(table[axis][i]) + shift for axis in axes)
        cells = f"{x:9.3f} {y:9.3f} {mean:12.5g} {wrong:9.3g}"
        if magnitudes:
            magnitude = table.meta["magzero"] - 2.5 * np.log10(mean) if mean > 0 else np.nan
            cells += f" {magnitude:8.3f}"
        lines.append(f"{name:{width}} {cells}  {remark}".rstrip())
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more in {TABLE}")
    if "errors" in table.meta:
        lines.append(f"no errors: {table.meta['errors']}")
    return lines


def by_name(table: Table) -> dict[str, list[int]]:
    """Return the rows of each star."""
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(table["name"]):
        rows.setdefault(str(name), []).append(i)
    return rows


def constancy(flux: Array, error: Array) -> tuple[float, float, float, int]:
    """Return the mean of fluxes, weighted by their errors, its error, the chi-square about it.

    And of how many degrees of freedom that is. Fluxes that are NaN were not seen, and count not.
    """
    seen = np.isfinite(flux)
    flux, error, freedom = flux[seen], error[seen], int(np.sum(seen)) - 1
    if not np.all(error > 0):
        return float(np.mean(flux)), float("nan"), float("nan"), freedom
    weight = error**-2.0
    mean = float(np.sum(weight * flux) / np.sum(weight))
    chi = float(np.sum(weight * (flux - mean) ** 2))
    return mean, float(np.sum(weight) ** -0.5), chi, freedom
