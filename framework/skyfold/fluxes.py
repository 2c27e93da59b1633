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

from skyfold import astrometry, files
from skyfold.bootstrap import Bootstrap, bootstrap, repeatable
from skyfold.errors import ConfigError
from skyfold.products import sky_hdu
from skyfold.regions import Region
from skyfold.sampling.chains.diagnostics import diagnose
from skyfold.sampling.posterior.images import tails
from skyfold.sums import Sums
from skyfold.uncertainty import AT_THE_MAXIMUM, scatter
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.table import Table

    from skyfold.result import Result

log = logging.getLogger(__name__)
METHODS = ("sandwich", "laplace", "bootstrap", "posterior")
TABLE, MAPS = "errors.ecsv", "bootstrap.fits"
PRODUCTS = (TABLE, MAPS)
UNSETTLED = 0.3  # sigma that a flux may still be away from its maximum


@dataclass(frozen=True, eq=False, repr=False)
class Fluxes:
    """Fluxes of regions and their errors.

    Parameters
    ----------
    table
        One row per region and energy: ``region``, ``energy`` where there are several, ``pixels``,
        ``flux``, ``error_`` and the name of each method; ``low`` and ``high``, between which
        the middle ``level`` of the replicas or draws lie; ``prior``, how far the priors moved the
        flux, to first order; ``r_hat`` and ``ess`` of the draws of a posterior (see
        `skyfold.sampling.chains.diagnostics`). Its ``meta`` tells the products spent, the
        ``level`` and the ``correlation`` of the rows.
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
    level: float = 0.68,
    progress: bool = False,
) -> Fluxes:
    """Return the fluxes of regions with their errors (see `skyfold.Result.errors`)."""
    if not regions:
        raise ConfigError("errors need at least one region: circle(x, y, radius), or a file")
    methods = tuple(dict.fromkeys(methods or _usual(result)))
    if unknown := [method for method in methods if method not in METHODS]:
        raise ConfigError(f"no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    _require_suited(result, methods)
    if "bootstrap" in methods and replicas < 2:
        raise ConfigError(f"{replicas} replicas have no scatter; ask for 50 or more")
    quantiles = tails(level)
    component = component or result.sky
    sums = Sums(result.data, result.state.model, component, regions)
    columns, maps = sums.columns(), None
    meta: dict[str, Any] = {"unit": sums.unit}
    correlation: Array | None = None
    watch_for = partial(watched, progress=progress)
    if {"sandwich", "laplace"} & set(methods):
        _require_known_response(result)
        algorithm = _of(result).algorithm
        watch = partial(watch_for, doing="solving for the errors")
        solve = astrometry.scatter if result.state.parameters else scatter
        found = solve(
            result.state, result.data, algorithm.priors, sums.functions, watch, algorithm.keeps_flux
        )
        _require_maximum(sums, found.remaining, found.sandwich)
        for method in [m for m in METHODS[:2] if m in methods]:
            covariance = sums.joined @ getattr(found, method) @ sums.joined.T
            columns[f"error_{method}"] = np.sqrt(np.diag(covariance))
            correlation = _correlation(covariance) if correlation is None else correlation
        columns["prior"] = sums.joined @ found.pulled
        meta["products"] = found.products
    if "bootstrap" in methods:
        watch = partial(watch_for, doing="repeating the run")
        maps = bootstrap(repeatable(_of(result), result), sums.functions, replicas, seed, watch)
        drawn = maps.values @ sums.joined.T
        columns["error_bootstrap"] = np.std(drawn, axis=0, ddof=1)
        columns |= _between(drawn, quantiles)
        if correlation is None:
            correlation = _correlation(np.atleast_2d(np.cov(drawn, rowvar=False)))
        meta |= {"replicas": replicas, "seed": seed, "level": level}
    if "posterior" in methods:
        posterior = result.posterior
        drawn = posterior.sums(component, sums.functions) @ sums.joined.T
        together = drawn.reshape(-1, drawn.shape[-1])
        columns["error_posterior"] = np.std(together, axis=0, ddof=1)
        columns |= _between(together, quantiles)
        mixing = diagnose(drawn, posterior.origins)
        columns |= {"r_hat": mixing["r_hat"], "ess": mixing["ess_bulk"]}
        correlation = _correlation(np.atleast_2d(np.cov(together, rowvar=False)))
        meta |= {"draws": len(together), "level": level}
    assert correlation is not None
    table = _table(columns, sums.unit, {**meta, "correlation": correlation.tolist()})
    return Fluxes(table, component, maps)


def flux(result: Result, region: Region, component: str | None = None) -> Any:
    """Return the flux of a region: one number, or one for each energy."""
    from astropy import units as u

    sums = Sums(result.data, result.state.model, component or result.sky, [region])
    values = np.array([function.dot(result.state.model) for function in sums.functions])
    return (values[0] if len(values) == 1 else values) * u.Unit(sums.unit)


def _usual(result: Result) -> tuple[str]:
    """Return the posterior where it was drawn; else sandwich with priors, bootstrap without."""
    if result.samples:
        return ("posterior",)
    return ("sandwich",) if _of(result).algorithm.priors else ("bootstrap",)


def _require_suited(result: Result, methods: Sequence[str]) -> None:
    """Refuse the posterior where none was drawn, and all else where one was."""
    others = [method for method in methods if method != "posterior"]
    if result.samples and others:
        raise ConfigError(
            f"{others[0]} judges a maximum, and this run drew from the posterior instead: leave "
            "--method out, or say posterior"
        )
    if not result.samples and "posterior" in methods:
        raise ConfigError("this run drew nothing from the posterior; the method lira does")


def _between(drawn: Array, quantiles: tuple[float, float]) -> dict[str, Array]:
    """Return the bounds between which the middle part of values lie."""
    low, high = np.quantile(drawn, quantiles, axis=0)
    return {"low": low, "high": high}


def _of(result: Result) -> Any:
    if result.problem is None:
        raise ConfigError("this result does not know its run: take that of skyfold.run")
    return result.problem


def _require_known_response(result: Result) -> None:
    """Refuse errors that would leave out a response restored along with the sky."""
    if result.state.parameters.keys() - astrometry.free_places(result.data):
        raise ConfigError(
            "the PSF was restored too, and sandwich and laplace take it for known; only the "
            "bootstrap repeats that as well (--method bootstrap)"
        )


def _require_maximum(sums: Sums, remaining: Array, covariance: Array) -> None:
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
        if name not in ("region", "energy", "pixels", "r_hat", "ess"):
            table[name].unit = unit
    return table


def watched(things: Iterable[Any], doing: str, progress: bool) -> Iterable[Any]:
    """Hand things on, under a bar on a terminal."""
    from tqdm.auto import tqdm

    bar: Iterable[Any] = tqdm(things, desc=doing, disable=None if progress else True)
    return bar
