"""Which of COSI's files this is, seen from its content."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

START = 4096  # bytes of text that are looked at
FITS_START = 1 << 16  # bytes of FITS: the headers of the first table
KINDS = {
    "binned": "counts in a Compton data space",
    "galactic response": "pre-computed response of the sky",
    "detector response": "response of the detector",
    "conversion": "coordinate conversion matrix",
    "exposure": "table of attitudes and exposures",
    "sky": "model of the whole sky",
    "orientation": "where the spacecraft looked",
    "unbinned": "events",
    "inputs": "settings of cosipy's data reduction",
}
MEASURED = {"Em", "Phi", "PsiChi"}


def is_cosi(path: Path) -> bool:
    """Say whether a file is one of COSI's."""
    return kind_of(path) is not None


def kind_of(path: Path | str) -> str | None:
    """Return what a file holds, one of `KINDS`, or None if it is none of COSI's.

    Only headers and the first lines are read; foreign and damaged files are None, never an error.
    """
    path = Path(path)
    try:
        start = start_of(path)
        if start.startswith(b"\x89HDF"):
            return _kind_of_hdf5(path)
        if start.startswith(b"SIMPLE  ="):
            return _kind_of_fits(path)
        return _kind_of_text(path, start)
    except Exception:
        return None


def start_of(path: Path, size: int = START) -> bytes:
    """Return the first bytes of a file, unpacked if it is gzip."""
    with path.open("rb") as file:
        start = file.read(size)
    if not start.startswith(b"\x1f\x8b"):
        return start
    try:
        with gzip.open(path, "rb") as file:
            return file.read(size)
    except (EOFError, OSError, zlib.error):
        return start


def _kind_of_hdf5(path: Path) -> str | None:
    import h5py

    with h5py.File(path, "r") as file:
        own = [n for n in file if not isinstance(file.get(n, getlink=True), h5py.ExternalLink)]
        if "DRM" in own:
            return "detector response"
        if {"TimeTags", "Energies"} <= set(own):
            return "unbinned"
        for group in (file.get(name) for name in own):
            if isinstance(group, h5py.Group) and {"axes", "contents"} <= set(group):
                attributes = [axis.attrs for axis in group["axes"].values()]
                return _kind_of_axes({_text(a.get("label", "")): a for a in attributes})
    return None


def _kind_of_axes(axes: dict[str, Any]) -> str | None:
    labels = set(axes)
    sky = labels & {"lb", "NuLambda"}
    if labels >= MEASURED and sky and "Ei" in labels:
        local = any(_text(a.get("coordsys", "")) == "spacecraftframe" for a in axes.values())
        return "detector response" if local else "galactic response"
    if labels >= MEASURED and labels <= MEASURED | {"Time", "ScAtt"}:
        return "binned"
    if labels in ({"Time", "lb", "NuLambda"}, {"ScAtt", "lb", "NuLambda"}):
        return "conversion"
    return "sky" if labels == {"lb", "Ei"} else None


def _kind_of_fits(path: Path) -> str | None:
    """Look for the names of columns without a FITS library, which damaged files can hold up."""
    names = set(re.findall(rb"TTYPE\d+ *= *'([^']*?) *'", start_of(path, FITS_START)))
    if {b"TimeTags", b"Energies"} <= names:
        return "unbinned"
    if {b"TimeStamp", b"XPointings", b"ZPointings"} <= names:
        return "orientation"
    attitudes = names & {b"scatt_binning_index", b"time_binning_index"}
    return "exposure" if attitudes and b"num_pointings" in names else None


def _kind_of_text(path: Path, start: bytes) -> str | None:
    text = start.decode("latin-1")
    if text.startswith("Type OrientationsGalactic"):
        return "orientation"
    if re.search(r"^AN ", text, re.M) and re.search(r"^AT [12]D", text, re.M):
        return "detector response"
    if re.search(r"^SE\s*$", text, re.M) and re.search(r"^(ET|ID) ", text, re.M):
        return "unbinned"
    wanted = (r"^energy_bins\s*:", r"^phi_pix_size\s*:")
    return "inputs" if all(re.search(one, text, re.M) for one in wanted) else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
