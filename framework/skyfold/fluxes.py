"""Fluxes of regions with their errors, as a table and as files of a run folder.

What was measured on simulated images (the pull is flux less truth, over the error):

- With a prior, in regions wider than the PSF where few values are zero, the pulls of the sandwich
  have a standard deviation of 0.9 to 1.1, background known or fitted; those of ``laplace`` 0.7.
- Where a tenth of the values are zero it is 0.8 to 1, on a dark ground 0.5: errors are too large.
- A sky that is dark has a positive flux on average: values cannot be negative.
- The column ``prior`` tells the bias by smoothing within a factor of two where it is small.
- Without priors the sandwich is twice too large; the bootstrap is right to its own precision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.bootstrap import Bootstrap, bootstrap, repeatable
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Geometry, Grid
from skyfold.layers import energy_labels
from skyfold.products import sky_hdu
from skyfold.regions import Region
from skyfold.skymap import integrated
from skyfold.sphere import Sphere
from skyfold.uncertainty import AT_THE_MAXIMUM, scatter
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.table import Table

    from skyfold.result import Result

log = logging.getLogger(__name__)
METHODS = ("sandwich", "laplace", "bootstrap")
TABLE, MAPS = "errors.ecsv", "bootstrap.fits"
PRODUCTS = (TABLE, MAPS)
UNSETTLED = 0.3  # sigma that a flux may still be away from its maximum
TOTAL = "total"


@dataclass(frozen=True, eq=False, repr=False)
class Fluxes:
    """Fluxes of regions and their errors.

    Parameters
    ----------
    table
        One row per region and energy: ``region``, ``energy`` where there are several, ``pixels``,
        ``flux``, ``error_`` and the name of each method; ``low`` and ``high``, the 16th and
        84th percentile of the replicas; ``prior``, how far the priors moved the flux, to first
        order. Its ``meta`` tells the products spent and the ``correlation`` of the rows.
    component
        Name of the sky.
    maps
        What the bootstrap found for every value, if it was asked.
    """

    table: Table
    component: str
    maps: Bootstrap | None = None

    def __repr__(self) -> str:
        """Return the table for people: each flux with its errors."""
        rows = [dict(row) for row in self.table]
        shown = [column for column in self.table.colnames if column not in ("region", "energy")]
        names = [" ".join(str(row[k]) for k in ("region", "energy") if k in row) for row in rows]
        width = max(map(len, ["region", *names]))
        lines = [f"{'region':{width}}" + "".join(f"{c.removeprefix('error_'):>12}" for c in shown)]
        for name, row in zip(names, rows, strict=True):
            lines.append(f"{name:{width}}" + "".join(f"{row[column]:12.5g}" for column in shown))
        return "\n".join([*lines, f"fluxes and errors in {self.table.meta['unit']}"])

    def write(self, folder: Path, result: Result) -> list[Path]:
        """Write ``errors.ecsv`` and, after a bootstrap, ``bootstrap.fits`` into a folder."""
        written = [folder / TABLE]
        with files.replacing(folder / TABLE) as temporary:
            self.table.write(temporary, format="ascii.ecsv", overwrite=True)
        if self.maps is not None:
            written.append(folder / MAPS)
            with files.replacing(folder / MAPS) as temporary:
                self.to_fits(result).writeto(temporary, overwrite=True, checksum=True)
        return written

    def to_fits(self, result: Result) -> HDUList:
        """Return ``MEAN`` and ``STD`` of the replicas, in the form of the restored sky."""
        from astropy.io import fits

        assert self.maps is not None
        found = {"MEAN": self.maps.mean, "STD": self.maps.deviation}
        hdus = [sky_hdu(result, self.component, v[self.component], k) for k, v in found.items()]
        return fits.HDUList([fits.PrimaryHDU(), *hdus])


def fluxes(
    result: Result,
    regions: Sequence[Region],
    methods: Sequence[str] | None = None,
    *,
    component: str | None = None,
    replicas: int = 50,
    seed: int = 0,
    progress: bool = False,
) -> Fluxes:
    """Return the fluxes of regions with their errors (see `skyfold.Result.errors`)."""
    if not regions:
        raise ConfigError("errors need at least one region: circle(x, y, radius), or a file")
    methods = tuple(dict.fromkeys(methods or _usual(result)))
    if unknown := [method for method in methods if method not in METHODS]:
        raise ConfigError(f"no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    if "bootstrap" in methods and replicas < 2:
        raise ConfigError(f"{replicas} replicas have no scatter; ask for 50 or more")
    component = component or result.sky
    sums = _Sums(result, component, regions)
    columns, maps = sums.columns(), None
    meta: dict[str, Any] = {"unit": sums.unit}
    correlation: Array | None = None
    watched = partial(_watched, progress=progress)
    if {"sandwich", "laplace"} & set(methods):
        _require_known_response(result)
        algorithm = _of(result).algorithm
        watch = partial(watched, doing="solving for the errors")
        found = scatter(result.state, result.data, algorithm.priors, sums.functions, watch)
        _require_maximum(sums, found.remaining, found.sandwich)
        for method in [m for m in METHODS[:2] if m in methods]:
            covariance = sums.joined @ getattr(found, method) @ sums.joined.T
            columns[f"error_{method}"] = np.sqrt(np.diag(covariance))
            correlation = _correlation(covariance) if correlation is None else correlation
        columns["prior"] = sums.joined @ found.pulled
        meta["products"] = found.products
    if "bootstrap" in methods:
        watch = partial(watched, doing="repeating the run")
        maps = bootstrap(repeatable(_of(result), result), sums.functions, replicas, seed, watch)
        drawn = maps.values @ sums.joined.T
        columns["error_bootstrap"] = np.std(drawn, axis=0, ddof=1)
        columns["low"], columns["high"] = np.percentile(drawn, [15.866, 84.134], axis=0)
        if correlation is None:
            correlation = _correlation(np.atleast_2d(np.cov(drawn, rowvar=False)))
        meta |= {"replicas": replicas, "seed": seed}
    assert correlation is not None
    table = _table(columns, sums.unit, {**meta, "correlation": correlation.tolist()})
    return Fluxes(table, component, maps)


def flux(result: Result, region: Region, component: str | None = None) -> Any:
    """Return the flux of a region: one number, or one for each energy."""
    from astropy import units as u

    sums = _Sums(result, component or result.sky, [region])
    values = np.array([function.dot(result.model) for function in sums.functions])
    return (values[0] if len(values) == 1 else values) * u.Unit(sums.unit)


class _Sums:
    """Sums over regions as functions of the model, one for each region and energy."""

    def __init__(self, result: Result, name: str, regions: Sequence[Region]) -> None:
        if name not in result.model:
            raise ConfigError(f"no component {name!r}; the model has {', '.join(result.model)}")
        part = result.model.components[name]
        per_value, self.unit, labels = _measure(part.geometry, part.unit)
        self.result, self.functions, self.pixels = result, [], []
        for region in regions:
            shares = np.broadcast_to(region.weights(part.geometry), part.geometry.shape)
            _require_seen(result, name, region, shares)
            for plane in range(max(len(labels), 1)):
                own = np.zeros(part.geometry.shape)
                own[_plane(part.geometry, plane)] = (shares * per_value)[
                    _plane(part.geometry, plane)
                ]
                self.functions.append(Vector({name: own}))
            self.pixels.append(float(shares[_plane(part.geometry, 0)].sum()))
        self.names = [region.name for region in regions]
        self.labels = [*labels, TOTAL] if len(labels) > 1 else [""]
        planes = (
            np.vstack([np.eye(len(labels)), np.ones(len(labels))]) if len(labels) > 1 else [1.0]
        )
        self.joined = np.kron(np.eye(len(regions)), planes)

    def columns(self) -> dict[str, Any]:
        """Return the first columns of the table."""
        values = np.array([function.dot(self.result.model) for function in self.functions])
        rows = len(self.labels)
        columns: dict[str, Any] = {"region": np.repeat(self.names, rows)}
        if rows > 1:
            columns["energy"] = np.tile(self.labels, len(self.names))
        return {**columns, "pixels": np.repeat(self.pixels, rows), "flux": self.joined @ values}


def _plane(geometry: Geometry, plane: int) -> Any:
    """Return the index of one energy."""
    if isinstance(geometry, Sphere):
        return (slice(None), plane)
    return plane if len(geometry.shape) == 3 else ...


def _measure(geometry: Geometry, unit: str) -> tuple[Array | float, str, tuple[str, ...]]:
    """Return what a value counts in a flux, the unit of the flux, and the names of energies."""
    from astropy import units as u

    if isinstance(geometry, Grid) and len(geometry.shape) <= 3:
        planes = geometry.shape[0] if len(geometry.shape) == 3 else 0
        return 1.0, unit, energy_labels(geometry.energy_edges, planes) if planes else ()
    if not isinstance(geometry, Sphere):
        raise ConfigError(f"{geometry.shape} values of a {type(geometry).__name__} have no regions")
    per_value, made = integrated(np.ones((1, geometry.shape[1])), geometry, unit)
    whole = u.Unit(made)
    if any(
        base == u.sr and power < 0 for base, power in zip(whole.bases, whole.powers, strict=True)
    ):
        per_value, whole = per_value * geometry.pixel_area, whole * u.sr
    return per_value, whole.to_string(), energy_labels(geometry.energy_edges, geometry.shape[1])


def _require_seen(result: Result, name: str, region: Region, shares: Array) -> None:
    """Refuse a region that nothing is known of, and tell of one that is known in part."""
    part = result.model.components[name]
    on = np.ones(shares.shape, bool) if part.mask is None else part.mask
    inside, seen = shares > 0, on & (result.data.sensitivity[name] > 0)
    if not np.any(inside & seen):
        raise DataError(
            f"region {region.name!r}: none of its pixels is both seen by the instrument and "
            "restored: it lies outside of the exposure or of the mask"
        )
    if lost := np.count_nonzero(inside & ~seen):
        log.warning(
            "region %r: %d of its %d values are not seen or masked; their light is missing",
            region.name, lost, np.count_nonzero(inside),
        )  # fmt: skip


def _usual(result: Result) -> tuple[str]:
    """Return the sandwich where there are priors, the bootstrap where there are none."""
    return ("sandwich",) if _of(result).algorithm.priors else ("bootstrap",)


def _of(result: Result) -> Any:
    if result.problem is None:
        raise ConfigError("this result does not know its run: take that of skyfold.run")
    return result.problem


def _require_known_response(result: Result) -> None:
    """Refuse errors that would leave out a response restored along with the sky."""
    if result.state.parameters:
        raise ConfigError(
            "the PSF was restored too, and sandwich and laplace take it for known; only the "
            "bootstrap repeats that as well (--method bootstrap)"
        )


def _require_maximum(sums: _Sums, remaining: Array, covariance: Array) -> None:
    sigma = np.sqrt(np.diag(covariance))
    names = [name for name in sums.names for _ in range(len(sigma) // len(sums.names))]
    for name in dict.fromkeys(name for name, s in zip(names, sigma, strict=True) if s == 0):
        log.warning("region %r is held at zero: its error is no upper limit, ask bootstrap", name)
    away = np.divide(np.abs(remaining), sigma, out=np.zeros(sigma.shape), where=sigma > 0)
    if np.max(away) > UNSETTLED:
        raise ConfigError(
            f"the run ended before its maximum: the flux of {names[int(np.argmax(away))]!r} would "
            f"still move by {np.max(away):.2g} sigma. {AT_THE_MAXIMUM}"
        )


def _correlation(covariance: Array) -> Array:
    sigma = np.sqrt(np.diag(covariance))
    scale = np.outer(sigma, sigma)
    found = np.full(scale.shape, np.nan)
    np.divide(covariance, scale, out=found, where=scale > 0)
    return found


def _table(columns: dict[str, Any], unit: str, meta: dict[str, Any]) -> Table:
    from astropy.table import Table

    table = Table(columns, meta=meta)
    for name in table.colnames:
        if name not in ("region", "energy", "pixels"):
            table[name].unit = unit
    return table


def _watched(things: Iterable[Any], doing: str, progress: bool) -> Iterable[Any]:
    """Hand things on, under a bar on a terminal."""
    from tqdm.auto import tqdm

    bar: Iterable[Any] = tqdm(things, desc=doing, disable=None if progress else True)
    return bar
