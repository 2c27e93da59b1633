"""Runs side by side, and against a truth: flux, likeness, positions, likelihood, time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import dist
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, require
from skyfold.geometry import Grid, celestial_wcs
from skyfold.healpix_table import energy_edges, from_table, is_healpix, opened_fits, ring
from skyfold.runfolder import read_manifest
from skyfold.simulate import correlation, nrmse, percent
from skyfold.skymap import NAMES, brightest, integrated
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.units import Quantity

ROWS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "method": lambda f: f["method"],
    "total flux": lambda f: f"{f['flux']:.5g}",
    "  unit": lambda f: f["flux_unit"] or None,
    "stars": lambda f: f"{f['stars']['number']}",
    "  their flux": lambda f: f"{f['stars']['flux']:.5g}",
    "flux error [%]": lambda f: f"{f['flux_error_percent']:+.3f}",
    "NRMSE": lambda f: f"{f['nrmse']:.4f}",
    "correlation": lambda f: f"{f['correlation']:.4f}",
    "brightest at": lambda f: ", ".join(f"{k} {v:.6g}" for k, v in f["brightest"].items()),
    "offset from truth": lambda f: f"{f['offset']:.2f}",
    "log-likelihood": lambda f: f"{f['log_likelihood']:.8g}",
    "log-posterior": lambda f: f"{f['log_posterior']:.8g}",
    "iterations": lambda f: f"{f['iterations']}",
    "products": lambda f: f"{f['products']:.6g}",
    "seconds": lambda f: f"{f['seconds']:.3g}",
}


@dataclass(frozen=True, eq=False)
class Sky:
    """A sky from a file: restored, or true.

    Parameters
    ----------
    values
        Shape of the geometry, the pixels of a sphere in RING order; values per energy are
        integrated over their bins.
    geometry
        Their places.
    unit
        Their unit.
    path
        The file.
    """

    values: Array
    geometry: Sphere | Grid
    unit: str
    path: Path

    @property
    def image(self) -> Array:
        """The sum over energy: one value per pixel."""
        if isinstance(self.geometry, Sphere):
            return np.asarray(self.values.sum(axis=1))
        front = tuple(range(self.values.ndim - 2))
        return np.asarray(self.values.sum(axis=front))

    @property
    def flux(self) -> Quantity:
        """The total: of a sphere the integral over all directions, else the sum of the pixels."""
        from astropy import units as u

        total: Quantity = float(self.values.sum()) * u.Unit(self.unit)
        if isinstance(self.geometry, Sphere):
            total = total * self.geometry.pixel_area * u.sr
        return total

    @property
    def peak(self) -> dict[str, float]:
        """Where it is brightest: in degrees, or in pixels where there are no coordinates."""
        if isinstance(self.geometry, Sphere):
            place = brightest(self.image, self.geometry)
            return dict(zip(NAMES.get(self.geometry.frame, ("lon", "lat")), place[:2], strict=True))
        y, x = np.unravel_index(int(np.nanargmax(self.image)), self.image.shape)
        if self.geometry.wcs is None:
            return {"x": float(x), "y": float(y)}
        lon, lat = (float(c) for c in self.geometry.wcs.pixel_to_world_values(x, y))
        galactic = self.geometry.wcs.wcs.ctype[0].startswith("GLON")
        return {"l": lon, "b": lat} if galactic else {"RA": lon, "Dec": lat}


def compare(runs: Sequence[Path], truth: Path | None = None) -> list[dict[str, Any]]:
    """Return the figures of runs, each a mapping; without a truth those that need one are missing.

    Parameters
    ----------
    runs
        Run folders.
    truth
        FITS file with the true sky: an image on the pixels of the runs, or a HEALPix map of any
        resolution; by default what each run was simulated from, if it was.

    Returns
    -------
    figures
        ``run``, ``method``, ``flux`` (of the sky without point sources), ``flux_unit``,
        ``stars`` (see `skyfold.photometry.figures`), ``flux_error_percent``, ``nrmse``,
        ``correlation``, ``brightest`` (position), ``offset`` (from the truth's, in degrees, or
        pixels without coordinates), ``log_likelihood``, ``log_posterior``, ``iterations``,
        ``products`` (of the response) and ``seconds``.

    Raises
    ------
    ConfigError
        If a folder holds no run.
    DataError
        If a run has not one sky, or the truth does not fit.
    FileError
        If a file cannot be read.
    """
    given = None if truth is None else read(truth)
    return [_figures(Path(run), given) for run in runs]


def _figures(run: Path, truth: Sky | None) -> dict[str, Any]:
    notes = read_manifest(run)
    path = run / "result.fits"
    if not path.exists():
        raise DataError(f"{run} holds no result.fits: only runs with one sky can be compared")
    sky = read(path)
    truth = truth or _own_truth(path)
    figures: dict[str, Any] = {"run": str(run)}
    figures |= {"flux": float(sky.flux.value), "flux_unit": str(sky.flux.unit)}
    if truth is not None:
        mine, theirs = _matched(sky, truth)
        figures["flux_error_percent"] = percent(mine, theirs)
        figures |= {"nrmse": nrmse(mine, theirs), "correlation": correlation(mine, theirs)}
    figures["brightest"] = sky.peak
    if truth is not None:
        figures["offset"] = _apart(sky.peak, truth.peak)
    results = notes.get("results", {})
    told = ("log_likelihood", "log_posterior", "iterations", "stars")
    figures |= {key: results[key] for key in told if key in results}
    method = notes.get("config", {}).get("method", {})
    figures["method"] = " ".join(str(method[key]) for key in ("name", "solver") if key in method)
    if "iterating" in notes.get("timings", {}):
        figures["seconds"] = notes["timings"]["iterating"]
    if "products" in notes.get("timings", {}):
        figures["products"] = notes["timings"]["products"]
    return figures


def read(path: Path) -> Sky:
    """Read a sky from a FITS file: its first HEALPix map or image.

    Raises
    ------
    DataError
        If there is neither.
    FileError
        If the file cannot be read.
    """
    with opened_fits(path) as hdus:
        for hdu in hdus:
            if is_healpix(hdu) or (hdu.is_image and hdu.header["NAXIS"] >= 2):
                return _sky(hdus, hdu, path)
    raise DataError(f"{path}: neither a HEALPix map nor an image in it")


def _own_truth(path: Path) -> Sky | None:
    """Return what a result was simulated from, if it was."""
    with opened_fits(path) as hdus:
        return _sky(hdus, hdus["TRUTH"], path) if "TRUTH" in hdus else None


def _sky(hdus: HDUList, hdu: Any, path: Path) -> Sky:
    edges = energy_edges(hdus)
    if is_healpix(hdu):
        values, sphere, unit = from_table(hdu, edges)
        values, unit = integrated(ring(values, sphere), sphere, unit)
        sphere = Sphere(sphere.nside, sphere.energy_edges, False, sphere.frame)
        return Sky(np.nan_to_num(values), sphere, unit, path)
    values = np.nan_to_num(np.asarray(hdu.data, dtype=float))
    unit = str(hdu.header.get("BUNIT", ""))
    return Sky(values, Grid(values.shape, celestial_wcs(hdu.header)), unit, path)


def _matched(sky: Sky, truth: Sky) -> tuple[Array, Array]:
    """Return values of both on the same places in the same unit.

    A true sphere is brought to the resolution of the restored one; where one of them has a single
    energy, the sums over energy are compared.

    Raises
    ------
    DataError
        If that is not possible.
    """
    from astropy import units as u

    said = f"{truth.path} is no truth for {sky.path}"
    mine, theirs, here, there = sky.values, truth.values, sky.geometry, truth.geometry
    if isinstance(here, Sphere) and isinstance(there, Sphere):
        if here.frame != there.frame:
            raise DataError(f"{said}: its frame is {there.frame}, not {here.frame}")
        if here.nside != there.nside:
            grade = require("healpy", "healpix").ud_grade
            theirs = np.stack([grade(column, here.nside) for column in theirs.T], axis=1)
        if mine.shape != theirs.shape and 1 in (mine.shape[1], theirs.shape[1]):
            mine, theirs = mine.sum(axis=1), theirs.sum(axis=1)
        if mine.shape != theirs.shape:
            raise DataError(f"{said}: {theirs.shape[1]} energies against {mine.shape[1]}")
    elif difference := here.difference(there):
        raise DataError(f"{said}: {difference}")
    if sky.unit and truth.unit:
        try:
            theirs = theirs * u.Unit(truth.unit).to(sky.unit)
        except u.UnitConversionError:
            raise DataError(f"{said}: unit {truth.unit!r} against {sky.unit!r}") from None
    return mine, theirs


def _apart(here: Mapping[str, float], there: Mapping[str, float]) -> float:
    """Return the angle between two positions in degrees; without coordinates their distance."""
    if "x" in here:
        return dist(here.values(), there.values())
    from astropy.coordinates import angular_separation

    return float(np.degrees(angular_separation(*np.radians([*here.values(), *there.values()]))))


def labels(runs: Sequence[str]) -> list[str]:
    """Return short names of runs: their folders', or their paths where these are not enough."""
    names = [Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def rows(figures: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return rows of text, a title and a cell for each run; the first holds their names."""

    def cell(make: Any, of: Mapping[str, Any]) -> str:
        try:
            return make(of) or "-"
        except KeyError:
            return "-"

    table = [["", *labels([f["run"] for f in figures])]]
    table += [[title, *(cell(make, f) for f in figures)] for title, make in ROWS.items()]
    return [row for row in table if set(row[1:]) != {"-"}]


def as_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return figures as text, one column for each run."""
    table = rows(figures)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(text.ljust(w) if i == 0 else text.rjust(w)
                  for i, (text, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def as_json(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return figures as JSON."""
    return json.dumps(list(figures), indent=1)
