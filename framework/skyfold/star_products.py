"""What a run with point sources leaves besides: a table, regions, and the sky with its stars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.astrometry import free_places
from skyfold.binned import BinnedData
from skyfold.geometry import Grid
from skyfold.points import Few, on_grid, places_of, point_components
from skyfold.products import sky_hdu
from skyfold.response import Shared
from skyfold.source_rows import CARD
from skyfold.source_tables import write_sources
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold.result import Result

TABLE, REGIONS = "stars.ecsv", "stars.reg"
PRODUCTS = (TABLE, REGIONS)
SHOWN = 10  # stars on a terminal


def total(result: Result) -> Array:
    """Return the sky with its point sources, each shared among the values around it.

    Where each observation has fluxes of its own, it is the mean over the observations. Shape of
    the sky.
    """
    light = [_stars_of(result, part) for part in result.data.parts]
    joined: Array = result.model[result.sky] + np.mean(light, axis=0)
    return joined


def _stars_of(result: Result, part: BinnedData) -> Array:
    """Return the point sources that an observation sees, as a sky."""
    geometry, moved = part.components[result.sky].geometry, free_places(result.data)
    light = np.zeros(geometry.shape)
    for name, points in point_components(part.components).items():
        response = part.whole[name]
        if isinstance(response, Few):
            light += response.inner.forward(result.model[name])
            continue
        own = places_of(part)
        assert isinstance(geometry, Grid)
        assert isinstance(own, Grid)
        places = on_grid(points.places, own, geometry)
        for parameter in set(moved) & set(result.state.parameters):
            if parameter.partition("[")[0] == name:
                places = result.state.parameters[parameter]
        light += Shared(places, geometry.shape).forward(result.model[name])
    return light


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
        mean, wrong, chi = constancy(flux[own], error[own])
        flags = dict.fromkeys(" ".join(map(str, table["flags"][own])).split())
        steady = f"chi2 {chi:.1f} of {len(own) - 1}" if len(own) > 1 else ""
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


def summed(table: Table) -> tuple[Array, Array]:
    """Return fluxes of all energies together, and their errors, shape ``(rows,)``."""
    flux: Array = np.asarray(table["flux"], float).reshape(len(table), -1)
    error: Array = np.asarray(table["flux_error"], float).reshape(flux.shape)
    return flux.sum(axis=1), np.sqrt(np.sum(error**2, axis=1))


def constancy(flux: Array, error: Array) -> tuple[float, float, float]:
    """Return the mean of fluxes, weighted by their errors, its error, and the chi-square."""
    if not np.all(error > 0):
        return float(np.mean(flux)), float("nan"), float("nan")
    weight = error**-2.0
    mean = float(np.sum(weight * flux) / np.sum(weight))
    return mean, float(np.sum(weight) ** -0.5), float(np.sum(weight * (flux - mean) ** 2))
