"""What was measured of point sources: fluxes with their errors, places, and what to beware of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import astrometry
from skyfold.errors import ConfigError
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.points import PointList, fineness, places_of, point_components, seen_from
from skyfold.residuals import deviance_residual
from skyfold.resolution import image_sensitivity
from skyfold.source_tables import BLENDED, near_border, source_table
from skyfold.sources import Sources
from skyfold.star_errors import Errors, star_errors
from skyfold.star_products import mean_fluxes
from skyfold.stars import star_fwhm
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold.binned import BinnedData
    from skyfold.result import Result

log = logging.getLogger(__name__)
NEAR = 2.0  # pixels from a star in which residuals are its own
OFF = 5.0  # sigma of a residual there above which its PSF or its place is wrong
PEAK = 10.0  # sigma of the light of a peak of the sky that may be a star
NARROW = 2.5  # height of its top over that of its blur: about 1.5 in the middle of a galaxy
APART = 2.0  # widths of the PSF from a listed star, from which peaks are none of its own
TOLD = 3  # peaks at most


def photometry(result: Result, errors: bool | None = None) -> Table:
    """Return what was measured of the point sources of a run, one row for each.

    What the columns mean, see `skyfold.source_tables.source_table`. ``flux_error`` is the scatter
    of repeated observations to first order, the background fitted anew in each; the width of the
    posterior beside it, ``flux_error_posterior``, is larger where a prior counts for little.
    After a sampler ``flux_error`` is the standard deviation of the draws. ``residual`` is the
    largest of a pixel within two pixels of the star, in sigma; ``truth`` the flux that a demo has
    given it.

    Where each observation has fluxes of its own there is a row for each star and observation, and
    a column ``component`` that tells them apart.

    Parameters
    ----------
    result
        The result.
    errors
        Whether errors are worked out, a linear system for each star: by default where that does
        not take long. Where there are none they are NaN, and ``meta["errors"]`` tells why.

    Raises
    ------
    ConfigError
        If the run has no point sources.
    """
    from astropy.table import vstack

    lists = point_components(result.model.components)
    if not lists:
        raise ConfigError("this run has no point sources; give them with --stars")
    found = star_errors(result, lists, errors)
    tables, first = [], 0
    for name, points in lists.items():
        end = first + int(np.prod(points.shape))
        tables.append(_measured(result, name, points, found, slice(first, end)))
        first = end
    if len(tables) > 1:
        for name, table in zip(lists, tables, strict=True):
            table.add_column(np.full(len(table), name), name="component", index=1)
    table = vstack(tables, metadata_conflicts="silent")
    table.meta |= _about(result)
    if found.reason:
        log.warning("no errors of the fluxes of stars: %s", found.reason)
        table.meta["errors"] = found.reason
    return table


def figures(result: Result) -> dict[str, Any]:
    """Return what the manifest tells of stars: their number, and which to beware of.

    Returns
    -------
    figures
        ``number``; ``flux`` of all of them, of several observations the mean, in ``unit``;
        ``blended``: pairs of stars and the correlation of their fluxes; ``off``: stars with a
        residual beyond 5 sigma beside them; ``unlisted``: x, y (counted as in the list) and
        significance of peaks of the sky that look like stars.
    """
    table = result.stars
    names = [str(name) for name in table["name"]]
    told: dict[str, Any] = {
        "number": len(set(names)),
        "flux": float(sum(np.sum(flux) for _, flux in mean_fluxes(result))),
        "unit": str(table["flux"].unit),
        "unlisted": _unlisted(result, table),
    }
    if "correlation" in table.colnames:
        both = zip(names, table["neighbour"], table["correlation"], strict=True)
        told["blended"] = [[n, str(o), float(c)] for n, o, c in both if c < BLENDED]
    if "component" in table.colnames:
        names = [f"{n} ({c})" for n, c in zip(names, table["component"], strict=True)]
    if "residual" in table.colnames:
        pairs = zip(names, table["residual"], strict=True)
        told["off"] = [[n, float(sigma)] for n, sigma in pairs if abs(sigma) > OFF]
    return told


def _unlisted(result: Result, table: Table) -> list[list[float]]:
    """Return peaks of the sky as narrow as the PSF allows, away from all stars of the list.

    The light of each is what a blur by the PSF leaves above one three times as wide. Its noise is
    that of the counts under the PSF.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    part, sky = result.data.parts[0], result.model.components[result.sky].geometry
    expected = result.explained[0].expectation
    if not isinstance(sky, Grid) or expected is None or expected.ndim < 2:
        return []
    seen = result.image.value * image_sensitivity(part, result.sky)[result.field]
    light, expected = (v.reshape(-1, *v.shape[-2:]).sum(axis=0) for v in (seen, expected))
    block = np.array(light.shape) // expected.shape
    width = star_fwhm(part.whole[result.sky]) / FWHM_PER_SIGMA
    sigma = width * block
    narrow, wide = (gaussian_filter(light, k * sigma, mode="nearest") for k in (1, 3))
    flux = 9 / 8 * 2 * np.pi * np.prod(sigma) * (narrow - wide)
    level = expected.repeat(block[0], axis=0).repeat(block[1], axis=1)
    significance = flux / np.sqrt(np.maximum(level, 1e-300) * 4 * np.pi * width**2)
    top = narrow == maximum_filter(narrow, 2 * np.ceil(2 * sigma).astype(int) + 1)
    found = top & (significance > PEAK) & (light - wide > NARROW * (narrow - wide))
    y, x = np.nonzero(found)
    places = (np.stack([x, y], axis=1) + 0.5) / block[::-1] - 0.5
    listed = np.stack([table["x"], table["y"]], axis=1) - table.meta["origin"]
    away = np.linalg.norm(places[:, None] - listed, axis=2).min(axis=1)
    far = away > APART * FWHM_PER_SIGMA * width
    rows = np.column_stack([places + table.meta["listed_from"], significance[found]])[far]
    return [[float(v) for v in row] for row in rows[np.argsort(-rows[:, 2])][:TOLD]]


def _measured(result: Result, name: str, points: PointList, errors: Errors, own: slice) -> Table:
    """Return the table of one component; `own` are its rows among all errors."""
    part = next(part for part in result.data.parts if name in part.components)
    first = result.data.parts[0]
    component, geometry = result.model.components[name], places_of(first)
    sources = points.listed or Sources(points.names, points.places, points.frame)
    seen = component.support
    flux, shift, shift_error = np.where(seen, result.model[name], np.nan), None, None
    if result.state.parameters.keys() & astrometry.free_places(result.data):
        shift = astrometry.moved_by(result.data, result.state)
    if errors.moves is not None:
        assert isinstance(geometry, Grid)
        sky = part.components[result.sky].geometry
        assert isinstance(sky, Grid)
        shift_error = errors.moves / fineness(geometry, sky)
    now = seen_from(part, first, points.places if shift is None else points.places + shift)
    covariance = errors.flux[own, own]
    together = _together(covariance, len(sources))
    together[~seen.reshape(len(sources), -1).any(axis=1)] = np.nan
    table = source_table(
        sources,
        geometry,
        points.places,
        flux,
        error=np.where(seen, np.sqrt(np.diag(covariance)).reshape(flux.shape), np.nan),
        total_error=np.sqrt(np.diag(together)) if flux.ndim > 1 else None,
        correlation=_correlation(together),
        shift=shift,
        shift_error=shift_error,
        unit=component.unit,
        edge=_near_border(part, now),
    )
    table.meta["listed_from"] = sources.origin
    if errors.posterior is not None:
        width = np.where(seen, errors.posterior[own].reshape(flux.shape), np.nan)
        after = table.colnames.index("flux_error") + 1
        table.add_column(width, name="flux_error_posterior", index=after)
        table["flux_error_posterior"].unit = table["flux"].unit
    if result.demo is not None and name in result.demo.truth:
        table["truth"] = np.asarray(result.demo.truth[name], float)
        table["truth"].unit = table["flux"].unit
    image = _residual(result, part)
    if image is not None:
        table["residual"] = [_worst(image, place) for place in now]
        table["residual"].format = ".2f"
    return table


def _together(covariance: Array, sources: int) -> Array:
    """Return the covariance of the sums over energy."""
    blocks = covariance.reshape(sources, -1, sources, covariance.shape[1] // max(sources, 1))
    joined: Array = blocks.sum(axis=(1, 3))
    return joined


def _correlation(covariance: Array) -> Array:
    """Return correlations; zero where one of two does not scatter."""
    sigma = np.sqrt(np.diag(covariance))
    scale = np.outer(sigma, sigma)
    found = np.where(np.isfinite(scale), 0.0, np.nan)
    np.divide(covariance, scale, out=found, where=scale > 0)
    return found


def _near_border(part: BinnedData, places: Array) -> Array | None:
    """Return which places lie within half of the width of the PSF of the border of an image."""
    geometry = places_of(part)
    if not isinstance(geometry, Grid):
        return None
    (sky,) = (name for name, own in part.components.items() if own.geometry.sky)
    return near_border(places, geometry, star_fwhm(part.whole[sky]) / 2)


def _residual(result: Result, part: BinnedData) -> Array | None:
    """Return the residual of an image, all energies together, in sigma; None of other data."""
    explained = next(
        e for e, p in zip(result.explained, result.data.parts, strict=True) if p is part
    )
    if explained.expectation is None or not isinstance(places_of(part), Grid):
        return None
    energies = tuple(range(part.full_counts.ndim - 2))
    counts, expected = part.full_counts * (part.weight > 0), explained.expectation * part.weight
    weight = (part.weight > 0).any(axis=energies).astype(float)
    return deviance_residual(counts.sum(axis=energies), expected.sum(axis=energies), weight)


def _worst(image: Array, place: Array) -> float:
    """Return the residual farthest from zero near a place; NaN where nothing was counted."""
    away = np.indices(image.shape)[::-1] - place[: image.ndim].reshape(-1, *(1,) * image.ndim)
    near = image[(np.sum(away**2, axis=0) <= NEAR**2) & np.isfinite(image)]
    return float(near[np.argmax(np.abs(near))]) if near.size else np.nan


def _about(result: Result) -> dict[str, Any]:
    """Return what a table of stars tells of the run that measured them."""
    method = result.manifest.get("config", {}).get("method", {})
    roles = {role: path for part in result.data.parts for role, path in part.origin.files}
    told = {
        "data": ", ".join(part.origin.name for part in result.data.parts),
        "stars": roles.get("stars"),
        "psf": roles.get("psf"),
        "method": method.get("name"),
        "strength": method.get("strength"),
        "smooth": method.get("smooth"),
        "iterations": result.state.iteration,
    }
    return {key: value for key, value in told.items() if value is not None}
