"""Inputs of the data reduction: the bins and ranges of cosipy's ``inputs_*.yaml``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.document import Document, shown
from skyfold.errors import ConfigError
from skyfold.strict_yaml import load
from skyfold.vector import Array

FILES = ("data_file", "ori_file")
NUMBERS = ("phi_pix_size", "tmin", "tmax")
REQUIRED = ("time_bins", "energy_bins", "nside", "scheme", *NUMBERS)
SCHEMES = {"ring": False, "nested": True, "nest": True}
UNBINNED = ("fits", "hdf5")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Bins of events, and where the events are.

    Parameters
    ----------
    energies
        Edges of the bins of measured energy, keV.
    phi
        Edges of the bins of the Compton angle, degrees.
    nside
        HEALPix resolution of the directions.
    nested
        Whether pixels are numbered in NESTED order.
    times
        Edges of the bins of time, unix seconds.
    start, stop
        Range of time of the events, unix seconds.
    data_file, orientation_file
        Files named in the inputs, found from their folder; None where none is named.
    unbinned_output
        Format in which cosipy writes events: ``fits`` or ``hdf5``.
    """

    energies: Array
    phi: Array
    nside: int
    nested: bool
    times: Array
    start: float
    stop: float
    data_file: Path | None = None
    orientation_file: Path | None = None
    unbinned_output: str | None = None


def read_inputs(path: Path | str) -> Inputs:
    """Read ``inputs_*.yaml``.

    Raises
    ------
    FileError
        If the file cannot be read.
    ConfigError
        With file and line, if it is no YAML, a key is missing or unknown, or a value impossible.
    """
    document = load(path)
    known = (*REQUIRED, *FILES, "unbinned_output")
    for key in document.data:
        if key not in known:
            raise document.place().unknown(key, known)
    if missing := [key for key in REQUIRED if key not in document.data]:
        raise ConfigError(
            f"{path}: the key {missing[0]!r} is missing; needed: {', '.join(REQUIRED)}"
        )
    width, start, stop = (_number(document, key) for key in NUMBERS)
    if not start < stop:
        raise document.place("tmax").error(f"{stop:.3f} must be later than tmin, {start:.3f}")
    if not 0 < width <= 180:
        raise document.place("phi_pix_size").error(f"{width:g} is not between 0 and 180 degrees")
    data, orientation = (_file(document, key) for key in FILES)
    written = document.data.get("unbinned_output")
    return Inputs(
        _edges(document, "energy_bins"),
        phi_edges(width),
        _nside(document),
        SCHEMES[_choice(document, "scheme", SCHEMES)],
        _times(document, start, stop),
        start,
        stop,
        data,
        orientation,
        None if written is None else _choice(document, "unbinned_output", UNBINNED),
    )


def phi_edges(width: float) -> Array:
    """Return edges of equal bins of the Compton angle in degrees: as many as fit into 180."""
    return np.linspace(0.0, 180.0, int(180.0 / width) + 1)


def time_edges(width: float, start: float, stop: float) -> Array:
    """Return edges of equal bins of time, of about this width, from ``start`` to ``stop``."""
    return np.linspace(start, stop, max(1, round((stop - start) / width)) + 1)


def _times(document: Document, start: float, stop: float) -> Array:
    """Return the edges of time bins, from their width or their list."""
    if not isinstance(document.data["time_bins"], list):
        width = _number(document, "time_bins")
        if width <= 0:
            raise document.place("time_bins").error(f"{width:g} s is no width of a bin")
        return time_edges(width, start, stop)
    edges = _edges(document, "time_bins")
    if edges[0] > start or edges[-1] < stop:
        raise document.place("time_bins").error(
            f"from {edges[0]:.3f} to {edges[-1]:.3f} s they do not cover tmin to tmax, "
            f"{start:.3f} to {stop:.3f} s"
        )
    return edges


def _number(document: Document, key: str) -> float:
    value = document.data[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise document.place(key).error(f"expected a number, got {shown(value)}")
    return float(value)


def _edges(document: Document, key: str) -> Array:
    values: Any = document.data[key]
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    edges = np.array(values, dtype=np.float64) if numbers else np.empty(0)
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise document.place(key).error(
            f"expected a list of increasing edges, two or more, got {shown(values)}"
        )
    return edges


def _nside(document: Document) -> int:
    value = document.data["nside"]
    if type(value) is not int or value < 1 or value & (value - 1):
        raise document.place("nside").error(f"expected a power of two, got {shown(value)}")
    return value


def _choice(document: Document, key: str, known: Any) -> str:
    value = str(document.data[key]).lower()
    if value not in known:
        raise document.place(key).error(
            f"expected {' or '.join(known)}, got {shown(document.data[key])}"
        )
    return value


def _file(document: Document, key: str) -> Path | None:
    """Return a file that is named; empty names and ``NA`` stand for none."""
    value = document.data.get(key)
    if value is None or value in ("", "NA"):
        return None
    if not isinstance(value, str):
        raise document.place(key).error(f"expected a file name, got {shown(value)}")
    return Path(document.source).parent / Path(value).expanduser()
