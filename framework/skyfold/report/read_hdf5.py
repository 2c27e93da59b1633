"""Images and skies of a run, from its HDF5 file, as layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyfold.dataspace import DataAxis, Projection
from skyfold.layers import energy_labels, rows_go_up, sphere_layer
from skyfold.products import PROJECTION
from skyfold.report.page_size import OBSERVED, binning_of, drawable, small_observation, small_sky
from skyfold.sphere import Sphere
from skyfold.vector import Array


def read_hdf5(file: Path, inputs: list[str], restored: str) -> dict[str, Any]:
    """Return what `RunFolder` keeps of a file of results (see `read_fits.read_fits`)."""
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
            key: [group[name][()] for name in OBSERVED]
            for key, group in stored["DATA"].items()
            if OBSERVED[0] in group and not any(name.startswith(PROJECTION) for name in group)
        }
        names = {key: str(group.attrs["name"]) for key, group in stored["DATA"].items()}
    images = {n: (v, unit) for n, (v, unit, sphere) in model.items() if not sphere and drawable(v)}
    binning = binning_of([*(v for v, _ in images.values()), *(a for d in data.values() for a in d)])

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
        small_sky(f"{restored}: {name}", values, unit, masks.get(name), binning, looks(values))
        for name, (values, unit) in images.items()
    ]
    observations = [
        small_observation(arrays, binning, names[key] if len(data) > 1 else "", looks(arrays[0]))
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
