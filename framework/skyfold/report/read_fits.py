"""Images and skies of a run, from its FITS files, as layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.dataspace import DataAxis, Projection
from skyfold.healpix_table import energy_edges, from_table, is_healpix
from skyfold.layers import Layer, energy_labels, rows_go_up, sphere_layer, truth_peak
from skyfold.products import PROJECTION
from skyfold.report.page_size import OBSERVED, binning_of, join, small_observation, small_sky
from skyfold.significance import NAME as SIGNIFICANCE
from skyfold.skymap import Mark, layout
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import Quantity
    from astropy.wcs import WCS

SCATTER = ("POSTERIOR_STD", "INTERVAL_LOW", "INTERVAL_HIGH")


def read_fits(file: Path, inputs: list[str], restored: str) -> dict[str, Any]:
    """Return what `RunFolder` keeps of a file of results.

    Parameters
    ----------
    file
        The file.
    inputs
        Names of the files that the run read, which tell which way rows go.
    restored
        Title of what was restored.
    """
    from astropy.io import fits

    with fits.open(file) as hdus:
        projections = [_projection(hdu) for hdu in hdus if hdu.name.startswith(PROJECTION)]
        apart = {hdu.ver for hdu in hdus if hdu.name.startswith(PROJECTION)}
        versions = [hdu.ver for hdu in hdus if hdu.name == "COUNTS" and hdu.ver not in apart]
        raw = [[_values(hdus[key, v]) for key in OBSERVED] for v in versions]
        fixed = [row["name"] for row in hdus["COMPONENTS"].data if row["fixed"]]
        edges = energy_edges(hdus)
        whole_sky = "SKY" in hdus
        own = [] if whole_sky else [_values(hdus[0])]
        binning = binning_of([*own, *(array for arrays in raw for array in arrays)])

        def looks(header: Header, values: Array) -> dict[str, Any]:
            wcs = _wcs(header, binning) if values.ndim > 1 else None
            labels = energy_labels(edges, len(values)) if values.ndim == 3 else ()
            return {"wcs": wcs, "labels": labels, "upward": rows_go_up(wcs, inputs)}

        observations = []
        for version, arrays in zip(versions, raw, strict=True):
            cards = hdus["COUNTS", version].header
            name = str(cards.get("DATASET", version)) if len(versions) > 1 else ""
            observations.append(small_observation(arrays, binning, name, looks(cards, arrays[0])))
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


def read_significance(file: Path, inputs: list[str]) -> Layer:
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
            binning = binning_of([values])
            wcs = _wcs(hdu.header, binning)
            values = join(values, binning, np.max)
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
        return small_sky(title, values, cards.get("BUNIT", ""), on, binning, looks(cards, values))

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


def _values(hdu: Any) -> Array:
    """Return the values of an image in the byte order of this machine."""
    values: Array = np.asarray(hdu.data)
    return values.astype(values.dtype.newbyteorder("="))


def _wcs(header: Header, binning: int) -> WCS | None:
    """Return celestial coordinates, if there are any; oddities of headers are not our subject."""
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    if wcs.naxis != 2:
        return None
    return wcs[::binning, ::binning]
