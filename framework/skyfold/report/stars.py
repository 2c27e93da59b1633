"""The point sources of a run: where they are, how bright, and how they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyfold.layers import Layer
from skyfold.report.folder import RunFolder
from skyfold.report.markup import SIGMA, Html, chart, note, section, table
from skyfold.report.stills import span, still
from skyfold.skymap import Mark
from skyfold.source_tables import summed
from skyfold.star_products import by_name, constancy

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

MOST = 50  # rows of the table, and circles on a picture
ACROSS, CURVES = 3, 12  # stars whose light curves are drawn
CHI_SQUARE = "\N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}"
READING = (
    "Errors are those of repeated observations to first order, the background fitted anew in each; "
    "what its prior takes from all stars alike is no part of them. Blended: the error is shared "
    "with the neighbour named, light may have gone to the wrong one. Residual: the largest of a "
    f"pixel within two pixels of the star; beyond 5{SIGMA} PSF or place are wrong."
)
DRAWN = "Fluxes are means of the draws, errors their standard deviations."


def stars(run: RunFolder) -> Html:
    """Return the section with pictures, fluxes and light curves of the point sources."""
    found = run.stars
    if found is None or not len(found):
        return Html()
    bright = _brightest(found)
    remarks = [note(DRAWN if run.sampled else READING)]
    if "errors" in found.meta:
        remarks.append(note(f"There are no errors: {found.meta['errors']}."))
    if len(bright) < len(found):
        rest = f"The {len(bright)} brightest of {len(found)} stars; stars.ecsv holds all of them."
        remarks.append(note(rest))
    drawn = ""
    if "component" in found.colnames:
        drawn = chart(light_curves(found), "fluxes of stars in each observation", "wide")
    elif _compared(found):
        drawn = chart(first_and_fitted(found), "fluxes against their first estimates")
    return section("Stars", _pictures(run, bright), _listed(found, bright), *remarks, drawn)


def _brightest(found: Table) -> list[int]:
    """Return rows of the table, the brightest first, together with those of the same star."""
    flux, _ = summed(found)
    same = sorted(by_name(found).values(), key=lambda rows: -np.nanmax(flux[rows]))
    return [i for rows in same for i in rows][:MOST]


def _pictures(run: RunFolder, bright: Sequence[int]) -> str:
    """Return the sky with its stars, without them, the stars alone and the residual."""
    if run.total is None or not run.skies or run.total.flat.ndim != 2:
        return ""
    assert run.stars is not None
    background, alone = run.skies[0], replace(run.total, title="Stars alone")
    alone = replace(
        alone, values=run.total.values - background.values,
        total=None if background.total is None else run.total.flat - background.flat,
    )  # fmt: skip
    shown = [run.total, replace(background, title="Background"), alone]
    residual = [seen.residual for seen in run.observations[:1] if seen.residual.flat.ndim == 2]
    counted = run.observations[0].counts.flat.shape[-1] if run.observations else 0
    stills = []
    for layer in [*shown, *residual]:
        finer = layer.flat.shape[-1] / counted if counted else 1.0
        marks = _marks(run.stars, bright, layer, finer / run.binning)
        told = span(layer) if layer.kind != "sigma" else "in sigma"
        stills.append(still(replace(layer, marks=marks), told))
    return f'<div class="pair">{"".join(stills)}</div>'


def _marks(found: Table, bright: Sequence[int], layer: Layer, scale: float) -> tuple[Mark, ...]:
    """Return circles around stars, by longitude and latitude or in pixels of the picture.

    A pixel of the data is ``scale`` of them wide.
    """
    columns, shift = ("x", "y"), 0.5 - found.meta.get("origin", 0)
    if layer.frame:
        columns, shift, scale = ("lon", "lat"), 0.0, 1.0
    marks = {}
    for i in bright:
        x, y = ((float(found[c][i]) + shift) * scale for c in columns)
        marks[str(found["name"][i])] = Mark(x, y, str(found["name"][i]))
    return tuple(marks.values())


def _listed(found: Table, bright: Sequence[int]) -> Html:
    """Return the table: what is known of each star, columns that say nothing left out."""
    unit, shift = found["flux"].unit, found.meta["listed_from"] - found.meta.get("origin", 0)
    plus_minus = "\N{PLUS-MINUS SIGN}"
    flux, errors = summed(found)
    columns: dict[str, Callable[[int], str]] = {"star": lambda i: str(found["name"][i])}
    if "component" in found.colnames:
        columns["observation"] = lambda i: str(found["component"][i]).rpartition(" ")[2]
    if "x" in found.colnames:
        counted = f"x, y from {found.meta['listed_from']}"
        columns[counted] = lambda i: f"{found['x'][i] + shift:.2f}, {found['y'][i] + shift:.2f}"
    for first, second in (("ra", "dec"), ("lon", "lat")):
        if first in found.colnames:
            columns[f"{first}, {second} [deg]"] = _pair(found, first, second, ".6f")
    if "dx" in found.colnames:
        columns["moved by"] = _pair(found, "dx", "dy", "+.3f")
    if "dx_error" in found.colnames:
        columns[plus_minus] = _pair(found, "dx_error", "dy_error", ".3f")
    columns[f"flux [{unit}]"] = lambda i: f"{flux[i]:.5g} {plus_minus} {errors[i]:.3g}"
    if "truth" in found.colnames and np.ndim(found["truth"]) == 1:
        columns["truth"] = lambda i: f"{found['truth'][i]:.5g}"
        pull = (flux - found["truth"]) / errors
        columns[f"off by [{SIGMA[1:]}]"] = lambda i: f"{pull[i]:+.1f}"
    if "x" in found.colnames and np.ndim(found["mag"]) == 1:
        columns["magnitude"] = lambda i: f"{found['mag'][i]:.3f}"
    if "residual" in found.colnames:
        columns[f"residual [{SIGMA[1:]}]"] = lambda i: f"{found['residual'][i]:+.1f}"
    columns["beware"] = lambda i: _beware(found, i)
    return table(columns, ([column(i) for column in columns.values()] for i in bright))


def _pair(found: Table, first: str, second: str, form: str) -> Callable[[int], str]:
    return lambda i: f"{found[first][i]:{form}}, {found[second][i]:{form}}"


def _beware(found: Table, i: int) -> str:
    flags = str(found["flags"][i]).split()
    with_whom = f"blended with {found['neighbour'][i]} ({found['correlation'][i]:+.2f})"
    return ", ".join(with_whom if flag == "blended" else flag for flag in flags)


def _compared(found: Table) -> bool:
    """Return whether the list told fluxes to compare with, and not the same for all."""
    if "first_flux" not in found.colnames or found["first_flux"].unit != found["flux"].unit:
        return False
    first = np.asarray(found["first_flux"], float)
    return len(np.unique(first[(first > 0) & (summed(found)[0] > 0)])) > 1


def first_and_fitted(found: Table) -> Figure:
    """Return a figure of fluxes with their errors against their first estimates."""
    from matplotlib.ticker import LogLocator

    from skyfold.plotting import Picture
    from skyfold.shades import BLUE, MASKED

    (flux, error), first = summed(found), np.asarray(found["first_flux"], float)
    good = (first > 0) & (flux > 0)
    figure = Picture(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    ends = [min(first[good].min(), flux[good].min()), max(first[good].max(), flux[good].max())]
    axes.plot(ends, ends, color=MASKED, linewidth=0.8, label="as estimated")
    bars = np.nan_to_num(error[good])
    axes.errorbar(first[good], flux[good], bars, fmt=".", color=BLUE, linewidth=1.0, label="fitted")
    unit = found["flux"].unit
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel=f"first estimate [{unit}]", ylabel=f"flux [{unit}]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
    return figure


def light_curves(found: Table) -> Figure:
    """Return a figure of the brightest stars: their flux in each observation, with errors.

    Beside each name stands the chi-square of a constant flux, and its degrees of freedom.
    """
    from matplotlib.ticker import MaxNLocator

    from skyfold.plotting import Picture
    from skyfold.shades import BLUE, MASKED

    flux, error = summed(found)
    rows = by_name(found)
    order = sorted(rows, key=lambda name: -np.nanmax(flux[rows[name]]))[:CURVES]
    down = -(-len(order) // ACROSS)
    figure = Picture(figsize=(10.0, 0.6 + 2.0 * down), layout="constrained")
    for panel, name in enumerate(order, 1):
        own = rows[name]
        axes = figure.add_subplot(down, min(ACROSS, len(order)), panel)
        when = np.arange(1, len(own) + 1)
        mean, _, chi, freedom = constancy(flux[own], error[own])
        axes.axhline(mean, color=MASKED, linewidth=0.8)
        axes.errorbar(when, flux[own], np.nan_to_num(error[own]), fmt="o", color=BLUE, markersize=4)
        steady = "" if np.isnan(chi) else f", {CHI_SQUARE} {chi:.1f} of {freedom}"
        axes.set_title(f"{name}{steady}", fontsize="small", loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set(xlabel="observation", ylabel=str(found["flux"].unit))
    return figure
