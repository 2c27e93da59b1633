"""What a run folder holds, as layers and tables: the only part of the report that reads files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import heldout, strength
from skyfold.dataspace import DataAxis, Projection
from skyfold.errors import FileError
from skyfold.fluxes import TABLE as FLUXES
from skyfold.healpix_table import energy_edges, from_table, is_healpix
from skyfold.layers import (
    Layer,
    Observation,
    energy_labels,
    observe,
    rows_go_up,
    sky_layer,
    sphere_layer,
    truth_peak,
)
from skyfold.products import PROJECTION
from skyfold.residuals import deviance_residual
from skyfold.significance import FILE as SIGNIFICANCE_FILE
from skyfold.significance import NAME as SIGNIFICANCE
from skyfold.skymap import Mark, layout
from skyfold.sphere import Sphere
from skyfold.star_products import TABLE as STARS
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table
    from astropy.units import Quantity
    from astropy.wcs import WCS

MAX_PIXELS = 6_000_000  # of all layers together; a larger image is binned for the page
SCATTER = ("POSTERIOR_STD", "INTERVAL_LOW", "INTERVAL_HIGH")
CHOICES = {"iteration": heldout.FILE, "strength": strength.FILE}
FLATTEST = 16  # arrays longer than this in one direction are tables, not images


@dataclass(frozen=True)
class RunFolder:
    """A finished or interrupted run, read back.

    Parameters
    ----------
    path
        The folder.
    manifest
        Settings, inputs, versions, figures.
    trace
        One row per iteration.
    skies
        What was restored.
    scatter
        How far the draws of a sampler scatter: `SCATTER`, for each energy of the only sky.
    truth
        What the counts were simulated from, where that is known.
    sensitivity
        Expected counts per unit of a whole sky.
    significance
        How many sigma more light the counts ask for, where that was worked out.
    observations
        Counts, expectation and residual of each observation that is an image.
    projections
        Counts and expectation along each axis of the observations that are none.
    binning
        How many pixels were joined along each side, so that the page stays light.
    about
        Object, telescope and instrument, from the header of the counts.
    product
        Name of the file with the result.
    fixed
        Names of components that were not fitted.
    fluxes
        Fluxes of regions with their errors, if they were asked for: the rows of the table.
    stars, total
        Point sources, if there are any, as a table, and the sky with them.
    choices
        What held-out photons chose, ``iteration`` or ``strength``, and the rows they chose from.
    """

    path: Path
    manifest: dict[str, Any]
    trace: list[dict[str, float]]
    skies: list[Layer] = field(default_factory=list)
    scatter: list[Layer] = field(default_factory=list)
    truth: Layer | None = None
    sensitivity: Layer | None = None
    significance: Layer | None = None
    observations: list[Observation] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    binning: int = 1
    about: dict[str, str] = field(default_factory=dict)
    product: str = ""
    fixed: frozenset[str] = frozenset()
    fluxes: Table | None = None
    stars: Table | None = None
    total: Layer | None = None
    choices: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Read whatever of a run is there.

        Raises
        ------
        FileError
            If nothing of a run is there, or a file is damaged.
        """
        manifest_file, trace_file = path / "manifest.json", path / "trace.ecsv"
        fits_file, hdf5_file = path / "result.fits", path / "result.h5"
        if not any(file.is_file() for file in (manifest_file, trace_file, fits_file, hdf5_file)):
            raise FileError(f"{path} holds no run: no manifest, no trace, no result in it")
        from astropy.table import Table

        with _readable(manifest_file):
            manifest = (
                json.loads(manifest_file.read_text("utf-8")) if manifest_file.exists() else {}
            )
            if not isinstance(manifest, dict):
                raise TypeError("it is not a mapping")
        with _readable(trace_file):
            trace = _read_trace(trace_file) if trace_file.exists() else []
        flux_file = path / FLUXES
        with _readable(flux_file):
            fluxes = Table.read(flux_file, format="ascii.ecsv") if flux_file.exists() else None
        star_file = path / STARS
        with _readable(star_file):
            stars = _read_stars(star_file) if star_file.exists() else None
        images: dict[str, Any] = {}
        restored = "Posterior mean" if _sampled(manifest) else "Restored"
        inputs = [str(entry.get("path", "")) for entry in manifest.get("inputs", [])]
        if fits_file.exists():
            with _readable(fits_file):
                images = _read_fits(fits_file, inputs, restored) | {"product": fits_file.name}
        elif hdf5_file.exists():
            with _readable(hdf5_file):
                images = _read_hdf5(hdf5_file, inputs, restored) | {"product": hdf5_file.name}
        tested = path / SIGNIFICANCE_FILE
        if tested.exists():
            with _readable(tested):
                images["significance"] = _read_significance(tested, inputs)
        choices = {}
        for kind, name in CHOICES.items():
            with _readable(path / name):
                if (path / name).exists():
                    choices[kind] = _read_trace(path / name)
        return cls(path, manifest, trace, **images, fluxes=fluxes, stars=stars, choices=choices)

    @property
    def figures(self) -> dict[str, Any]:
        """What the manifest says of the outcome."""
        return dict(self.manifest.get("results", {}))

    @property
    def sampled(self) -> bool:
        """Whether the skies are means of draws from a posterior."""
        return _sampled(self.manifest)

    @property
    def normalisations(self) -> dict[str, float]:
        """Factors of backgrounds and baselines."""
        return dict(self.figures.get("normalisations", {}))

    @property
    def sources(self) -> list[dict[str, Any]]:
        """What the configuration says of the data, observation by observation."""
        entries = self.manifest.get("config", {}).get("data") or []
        return [entry for entry in entries if isinstance(entry, dict)]

    def holds(self, name: str) -> bool:
        """Return whether a normalisation was held fixed."""
        return name.partition("[")[0] in self.fixed


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{file} is damaged or was not written by skyfold: {error}") from error


def _read_trace(file: Path) -> list[dict[str, float]]:
    from astropy.table import Table

    table = Table.read(file, format="ascii.ecsv")
    return [{name: float(row[name]) for name in table.colnames} for row in table]


def _read_stars(file: Path) -> Table:
    """Return the table of stars; texts that are empty come back as such."""
    from astropy.table import Table

    table = Table.read(file, format="ascii.ecsv")
    for name in table.colnames:
        if table[name].dtype.kind == "U" and hasattr(table[name], "filled"):
            table[name] = table[name].filled("")
    return table


def _sampled(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("results", {}).get("posterior", {}).get("draws"))


def _read_fits(file: Path, inputs: list[str], restored: str) -> dict[str, Any]:
    from astropy.io import fits

    with fits.open(file) as hdus:
        projections = [_projection(hdu) for hdu in hdus if hdu.name.startswith(PROJECTION)]
        apart = {hdu.ver for hdu in hdus if hdu.name.startswith(PROJECTION)}
        versions = [hdu.ver for hdu in hdus if hdu.name == "COUNTS" and hdu.ver not in apart]
        raw = [[_values(hdus[key, v]) for key in _OBSERVED] for v in versions]
        fixed = [row["name"] for row in hdus["COMPONENTS"].data if row["fixed"]]
        edges = energy_edges(hdus)
        whole_sky = "SKY" in hdus
        own = [] if whole_sky else [_values(hdus[0])]
        binning = _binning([*own, *(array for arrays in raw for array in arrays)])

        def looks(header: Header, values: Array) -> dict[str, Any]:
            wcs = _wcs(header, binning) if values.ndim > 1 else None
            labels = energy_labels(edges, len(values)) if values.ndim == 3 else ()
            return {"wcs": wcs, "labels": labels, "upward": rows_go_up(wcs, inputs)}

        observations = []
        for version, arrays in zip(versions, raw, strict=True):
            cards = hdus["COUNTS", version].header
            name = str(cards.get("DATASET", version)) if len(versions) > 1 else ""
            observations.append(_observe(arrays, binning, name, looks(cards, arrays[0])))
        if whole_sky:
            skies = _whole_skies(hdus, edges, restored)
        else:
            skies = _images(hdus, own[0], binning, looks, restored)
        return {
            **skies,
            "observations": observations,
            "projections": projections,
            "binning": binning,
            "fixed": frozenset(fixed),
        }


def _read_significance(file: Path, inputs: list[str]) -> Layer:
    """Return significances; of several energies, the largest lies on top."""
    from astropy.io import fits

    looks: dict[str, Any]
    with fits.open(file) as hdus:
        hdu = hdus[SIGNIFICANCE]
        if is_healpix(hdu):
            values, sphere, _ = from_table(hdu)
            values, looks = layout(values, sphere.nside, sphere.nested), {"frame": sphere.frame}
            values = values if len(values) > 1 else values[0]
        else:
            values = _values(hdu)
            binning = _binning([values])
            wcs = _wcs(hdu.header, binning)
            values = _join(values, binning, np.max)
            looks = {"wcs": wcs, "upward": rows_go_up(wcs, inputs)}
    total = np.fmax.reduce(values) if values.ndim == 3 else None
    return Layer("Significance of more light", "sigma", values, "sigma", total, **looks)


def _images(
    hdus: Any,
    image: Array,
    binning: int,
    looks: Callable[[Header, Array], dict[str, Any]],
    restored: str,
) -> dict[str, Any]:
    """Return the restored image, and the truth if it is known."""
    header = hdus[0].header
    mask = _values(hdus["MASK"]) > 0 if "MASK" in hdus else np.ones(image.shape, bool)

    def sky(title: str, hdu: Any, on: Array | None = None) -> Layer:
        values, cards = _values(hdu), hdu.header
        return _sky(title, values, cards.get("BUNIT", ""), on, binning, looks(cards, values))

    about = {key: str(header.get(key, "")).strip() for key in ("OBJECT", "TELESCOP", "INSTRUME")}
    return {
        "skies": [sky(restored, hdus[0], mask)],
        "scatter": [sky(name, hdus[name], mask) for name in SCATTER if name in hdus],
        "truth": sky("Truth", hdus["TRUTH"]) if "TRUTH" in hdus else None,
        "total": sky("Total", hdus["TOTAL"], mask) if "TOTAL" in hdus else None,
        "about": about,
    }


def _whole_skies(hdus: Any, edges: Quantity | None, restored: str) -> dict[str, Any]:
    """Return the restored whole sky, its truth and its sensitivity, laid out on the ellipse."""
    mask, _, _ = from_table(hdus["MASK"])
    marks: tuple[Mark, ...] = ()
    if "TRUTH" in hdus:
        marks = (truth_peak(*from_table(hdus["TRUTH"], edges)),)

    def sky(title: str, name: str, on: Array | None = None) -> Layer:
        values, sphere, unit = from_table(hdus[name], edges)
        return sphere_layer(title, values, sphere, unit, on, marks)

    seen, sphere, unit = from_table(hdus["SENSITIVITY"])
    sensitivity = sphere_layer(
        "Sensitivity", seen.mean(axis=1, keepdims=True), replace(sphere, energy_edges=None), unit
    )
    return {
        "skies": [sky(restored, "SKY", mask > 0)],
        "scatter": [sky(name, name, mask > 0) for name in SCATTER if name in hdus],
        "truth": sky("Truth", "TRUTH") if "TRUTH" in hdus else None,
        "total": sky("Total", "TOTAL", mask > 0) if "TOTAL" in hdus else None,
        "sensitivity": replace(sensitivity, marks=marks),
    }


def _projection(table: Any) -> Projection:
    """Return a projection from its table."""
    from astropy.table import QTable

    header = table.header
    counts, expected = (
        np.asarray(table.data[key], dtype=float) for key in ("COUNTS", "EXPECTATION")
    )
    if "PIXTYPE" in header:
        axis = DataAxis(
            header["LABEL"], nside=header["NSIDE"], nested=header["ORDERING"] == "NESTED"
        )
    else:
        bins = QTable.read(table)
        axis = DataAxis(header["LABEL"], np.append(bins["LOW"], bins["HIGH"][-1:]))
    return Projection(axis, counts, expected, header["DATASET"])


def _read_hdf5(file: Path, inputs: list[str], restored: str) -> dict[str, Any]:
    import h5py

    upward = rows_go_up(None, inputs)
    with h5py.File(file, "r") as stored:
        model = {
            name: (item[()], item.attrs["unit"], _sphere(item.attrs))
            for name, item in stored["MODEL"].items()
        }
        fixed = frozenset(n for n, item in stored["MODEL"].items() if item.attrs["fixed"])
        masks = {name: item[()] > 0 for name, item in stored.get("MASK", {}).items()}
        projections = [
            _stored_projection(group[key], str(group.attrs["name"]))
            for group in stored["DATA"].values()
            for key in group
            if key.startswith(PROJECTION)
        ]
        data = {
            key: [group[name][()] for name in _OBSERVED]
            for key, group in stored["DATA"].items()
            if _OBSERVED[0] in group and not any(name.startswith(PROJECTION) for name in group)
        }
        names = {key: str(group.attrs["name"]) for key, group in stored["DATA"].items()}
    images = {n: (v, unit) for n, (v, unit, sphere) in model.items() if not sphere and _drawable(v)}
    binning = _binning([*(v for v, _ in images.values()), *(a for d in data.values() for a in d)])

    def looks(values: Array) -> dict[str, Any]:
        return {
            "labels": energy_labels(None, len(values)) if values.ndim == 3 else (),
            "upward": upward,
        }

    skies = [
        sphere_layer(f"{restored}: {name}", values, sphere, str(unit), masks.get(name))
        for name, (values, unit, sphere) in model.items()
        if sphere
    ]
    skies += [
        _sky(f"{restored}: {name}", values, unit, masks.get(name), binning, looks(values))
        for name, (values, unit) in images.items()
    ]
    observations = [
        _observe(arrays, binning, names[key] if len(data) > 1 else "", looks(arrays[0]))
        for key, arrays in data.items()
    ]
    return {
        "skies": skies,
        "observations": observations,
        "projections": projections,
        "binning": binning,
        "fixed": fixed,
    }


def _sphere(notes: Mapping[str, Any]) -> Sphere | None:
    """Return the places of values from the notes beside them, if they are a whole sky."""
    from astropy import units as u

    if "NSIDE" not in notes:
        return None
    edges = notes["EDGES"] * u.Unit(notes["EDGES_UNIT"]) if "EDGES" in notes else None
    return Sphere(int(notes["NSIDE"]), edges, notes["ORDERING"] == "NESTED", notes["FRAME"])


def _stored_projection(group: Any, observation: str) -> Projection:
    from astropy import units as u

    notes = group.attrs
    if "NSIDE" in notes:
        nested = notes["ORDERING"] == "NESTED"
        axis = DataAxis(notes["LABEL"], nside=int(notes["NSIDE"]), nested=nested)
    else:
        axis = DataAxis(notes["LABEL"], group["EDGES"][()] * u.Unit(notes["UNIT"]))
    return Projection(axis, group["COUNTS"][()], group["EXPECTATION"][()], observation)


_OBSERVED = ("COUNTS", "EXPECTATION", "RESIDUAL")


def _sky(
    title: str, values: Array, unit: str, on: Array | None, binning: int, looks: dict[str, Any]
) -> Layer:
    if binning > 1:
        values = _join(values, binning, np.mean)
        on = None if on is None else _join(on, binning, np.max)
    return sky_layer(title, values, str(unit), on, **looks)


def _observe(arrays: list[Array], binning: int, name: str, looks: dict[str, Any]) -> Observation:
    if not _drawable(arrays[0]):
        arrays, looks = [array.ravel() for array in arrays], {}
    counts, expectation, residual = arrays
    if binning > 1 and counts.ndim > 1:
        seen = np.isfinite(residual)
        counts = _join(np.where(seen, counts, 0), binning, np.sum)
        expectation = _join(np.where(seen, expectation, 0), binning, np.sum)
        seen = _join(seen, binning, np.max)
        residual = deviance_residual(counts, expectation, seen)
    return observe(counts, expectation, residual, name, **looks)


def _values(hdu: Any) -> Array:
    """Return the values of an image in the byte order of this machine."""
    values: Array = np.asarray(hdu.data)
    return values.astype(values.dtype.newbyteorder("="))


def _drawable(values: Array) -> bool:
    """Return whether values form a line, or an image of a shape worth looking at."""
    if values.ndim == 1:
        return values.size > 1
    ny, nx = values.shape[-2:]
    return values.ndim in (2, 3) and max(ny, nx) <= FLATTEST * min(ny, nx)


def _binning(arrays: list[Array]) -> int:
    pixels = sum(array.size for array in arrays if array.ndim > 1)
    return int(np.ceil(np.sqrt(pixels / MAX_PIXELS))) if pixels > MAX_PIXELS else 1


def _join(values: Array, size: int, how: Any) -> Array:
    """Return sums, means or maxima of square blocks of the last two axes; the rest is cut."""
    if values.ndim < 2:
        return values
    *front, ny, nx = values.shape
    cut = values[..., : ny // size * size, : nx // size * size]
    joined: Array = how(cut.reshape(*front, ny // size, size, nx // size, size), axis=(-3, -1))
    return joined


def _wcs(header: Header, binning: int) -> WCS | None:
    """Return celestial coordinates, if there are any; oddities of headers are not our subject."""
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    if wcs.naxis != 2:
        return None
    return wcs[::binning, ::binning]
