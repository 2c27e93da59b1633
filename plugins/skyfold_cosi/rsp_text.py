"""Detector responses as text: the .rsp and .rsp.gz files of MEGAlib.

Lines before the counts: ``TS`` simulated events, ``SA`` area in cm2 of the disk they started from,
``SP`` spectrum, ``MS`` whether sparse; ``AN``, ``AT``, ``AD`` name, type and edges of each axis.
Then one line of counts between ``StartStream`` and ``StopStream``, the first axis fastest, or a
line ``RD``, bin of each axis, counts, for every bin that is not empty.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.files import replacing
from skyfold.inputs import AGAIN, require_data
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis

NAMES = {
    "Ei": '"Initial energy [keV]"',
    "NuLambda": '"#nu [deg]" "#lambda [deg]"',
    "Pol": '"Polarization Angle [deg]"',
    "Em": '"Measured energy [keV]"',
    "Phi": '"#phi [deg]"',
    "PsiChi": '"#psi [deg]" "#chi [deg]"',
    "SigmaTau": '"#sigma [deg]" "#tau [deg]"',
    "Dist": '"Distance [cm]"',
}
UNITS = {"Ei": "keV", "Em": "keV", "Pol": "deg", "Phi": "deg", "Dist": "cm"}
ORDER = ("NuLambda", "Ei", "Pol", "Em", "Phi", "PsiChi", "SigmaTau", "Dist")
BLOCK = 1 << 24  # bytes of text that are worked on at a time
SPECTRA = "Linear EMIN EMAX, PowerLaw EMIN EMAX INDEX, Mono ENERGY or Gaussian MEAN SIGMA CUTOFF"


@dataclass(frozen=True)
class Header:
    """What stands before the counts.

    Parameters
    ----------
    axes
        Axes in the order of the file.
    sparse
        Whether only bins that are not empty are listed.
    fields
        All other lines by their key: TS, SA, SP, ...
    size
        Number of counts that follow; None if sparse.
    """

    axes: tuple[Axis, ...]
    sparse: bool
    fields: Mapping[str, str]
    size: int | None


def read_header(path: Path) -> Header:
    """Read what stands before the counts.

    Raises
    ------
    FileError
        If the file is empty or damaged.
    DataError
        If it is no response, or its pixels are none of HEALPix.
    """
    with _opened(path) as file:
        return _header(path, file)[0]


def read(path: Path) -> tuple[tuple[Axis, ...], Array, Header]:
    """Read all counts.

    Everything is held in memory, 8 bytes for each bin: convert large files to HDF5 once.

    Returns
    -------
    axes, counts, header
        Axes in the order NuLambda, Ei, [Pol,] Em, Phi, PsiChi [, SigmaTau, Dist], counts in this
        order, and what stood before them.

    Raises
    ------
    FileError
        If the file is cut off or damaged.
    DataError
        If there are other than numbers, or bins outside the axes.
    """
    with _opened(path) as file:
        header, rest = _header(path, file)
        blocks = _blocks(path, file, rest)
        axes, counts = (_sparse if header.sparse else _dense)(path, header, blocks)
    labels = [axis.label for axis in axes]
    places = [labels.index(label) for label in ORDER if label in labels]
    return tuple(axes[i] for i in places), np.ascontiguousarray(counts.transpose(places)), header


def effective_area(path: Path, header: Header, spectrum: str | None = None) -> Array:
    """Return the area in cm2 that one count stands for, for each bin of Ei.

    The area of the start disk over the number of photons that were simulated in a bin of Ei and a
    pixel of NuLambda; those of a bin are its share of the spectrum.

    Parameters
    ----------
    path
        Name for error messages.
    header
        Axes, events, area, spectrum.
    spectrum
        Spectrum of the simulation instead of the file's: ``Linear EMIN EMAX``, ``PowerLaw EMIN EMAX
        INDEX``, ``Mono ENERGY`` or ``Gaussian MEAN SIGMA CUTOFF``, in keV.

    Raises
    ------
    DataError
        If events, area or spectrum are missing or cannot be.
    """
    by_label = {axis.label: axis for axis in header.axes}
    events, area = (_positive(path, header, key) for key in ("TS", "SA"))
    given = spectrum or header.fields.get("SP", "")
    shares = _shares(path, given, np.asarray(by_label["Ei"].edges, float))
    made: Array = area / (events * shares / by_label["NuLambda"].size)
    return made


def write(path: Path, axes: tuple[Axis, ...], counts: Array, fields: Mapping[str, str]) -> None:
    """Write counts over NuLambda, Ei, [Pol,] Em, Phi, PsiChi; packed if the name ends with .gz.

    Parameters
    ----------
    path
        The file.
    axes, counts
        Axes, and whole numbers in their order.
    fields
        Lines before the axes by their key; TS, SA and SP make areas of the counts.
    """
    labels = [axis.label for axis in axes]
    order = [labels.index(label) for label in NAMES if label in labels]
    with replacing(path) as partial, partial.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8") as file:
            file.writelines(f"{key} {value}\n" for key, value in fields.items())
            for axis in (axes[i] for i in order):
                file.write(f"AN {NAMES[axis.label]}\nAT {_type_and_edges(axis)}\n")
            file.write(f"StartStream {counts.size}\n")
            for plane in counts.transpose(order).T:  # the last axis is the slowest
                file.write(" ".join(map(str, plane.ravel().tolist())) + " ")
            file.write("\nStopStream\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    require_data(path)
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} is damaged or cut off: {error}. {AGAIN}") from error


def _header(path: Path, file: IO[bytes]) -> tuple[Header, bytes]:
    """Return the header, and the line of counts that was already read."""
    fields: dict[str, str] = {}
    names: list[str] = []
    types: list[str] = []
    edges: list[str] = []
    collected = {"AN": names, "AT": types, "AD": edges}
    size, rest, started = None, b"", False
    while line := file.readline(BLOCK):
        key, _, value = line.decode("utf-8", "replace").strip().partition(" ")
        value = " ".join(value.split())
        if key == "StartStream":
            size, started = int(value) if value.isdigit() else 0, True
            break
        if key == "RD":
            rest, started = line, True
            break
        if key in collected:
            collected[key].append(value)
        elif key and not key.startswith("#"):
            fields[key] = value
    if not names or not len(names) == len(types) == len(edges):
        raise DataError(f"{path} is no response: there are no axes (lines AN, AT, AD) in it")
    sparse = fields.pop("MS", "true" if rest else "false").startswith("true")
    if not started and not sparse:
        raise FileError(f"{path} is cut off: there are no counts. {AGAIN}")
    try:
        axes = tuple(_axis(*one) for one in zip(names, types, edges, strict=True))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if missing := {"NuLambda", "Ei", "Em", "Phi", "PsiChi"} - {axis.label for axis in axes}:
        raise DataError(f"{path}: there is no axis {', '.join(sorted(missing))}")
    return Header(axes, sparse, fields, size), rest


def _axis(name: str, kind: str, edges: str) -> Axis:
    label = next((label for label, known in NAMES.items() if known == name), None)
    if label is None:
        raise DataError(f"axis {name} is unknown; known: {', '.join(NAMES.values())}")
    if "FISBEL" in kind.upper():
        raise DataError(f"axis {label}: FISBEL pixels are not read, only those of HEALPix")
    if "HEALPIX" not in kind.upper():
        scale = "log" if label in ("Ei", "Em") else "linear"
        return Axis(label, np.array(edges.split(), float), UNITS.get(label, ""), scale)
    order, scheme = [*edges.split(), "RING"][:2]
    if int(order) < 0:
        return Axis(label, np.array([0, 1]))
    return Axis.healpix(label, 2 ** int(order), "spacecraftframe", scheme)


def _type_and_edges(axis: Axis) -> str:
    if axis.nside is None and axis.label not in UNITS:
        return "2D HEALPix\nAD -1 RING"
    if axis.nside is not None:
        return f"2D HEALPix\nAD {axis.nside.bit_length() - 1} {axis.scheme}"
    return f"1D BinEdges\nAD {' '.join(map(repr, np.asarray(axis.edges, float).tolist()))}"


def _blocks(path: Path, file: IO[bytes], rest: bytes) -> Iterator[bytes]:
    """Yield the text of the counts in pieces that end between lines or numbers."""
    while block := file.read(BLOCK):
        block = rest + block
        end, _, tail = block.rpartition(b"\n")
        if len(tail) > BLOCK // 2 or not end:  # one long line
            end, _, tail = block.rpartition(b" ")
        rest = tail
        yield end
    yield rest


def _dense(path: Path, header: Header, blocks: Iterator[bytes]) -> tuple[tuple[Axis, ...], Array]:
    """Read counts in Fortran order; SigmaTau and Dist may be listed without being there."""
    axes = header.axes
    if header.size != prod(axis.size for axis in axes):
        axes = tuple(axis for axis in axes if axis.label not in ("SigmaTau", "Dist"))
    shape = tuple(axis.size for axis in axes)
    if header.size != prod(shape):
        raise DataError(f"{path}: {header.size} counts for axes with {prod(shape)} bins")
    counts, filled = np.empty(prod(shape), np.int64), 0
    for block in blocks:
        numbers = _numbers(path, block.partition(b"StopStream")[0])
        if filled + numbers.size > counts.size:
            raise DataError(f"{path}: more than the {counts.size} counts that were announced")
        counts[filled : filled + numbers.size] = numbers
        filled += numbers.size
    if filled < counts.size:
        raise FileError(f"{path} is cut off: {filled} of {counts.size} counts. {AGAIN}")
    return axes, counts.reshape(shape, order="F")


def _sparse(path: Path, header: Header, blocks: Iterator[bytes]) -> tuple[tuple[Axis, ...], Array]:
    """Read one bin per line; SigmaTau and Dist are summed out at once."""
    kept = [i for i, axis in enumerate(header.axes) if axis.label not in ("SigmaTau", "Dist")]
    axes = tuple(header.axes[i] for i in kept)
    shape = tuple(axis.size for axis in axes)
    counts = np.zeros(shape, np.int64)
    for block in blocks:
        lines = b"\n".join(line for line in block.splitlines() if line.startswith(b"RD"))
        numbers = _numbers(path, lines.replace(b"RD", b""))
        if numbers.size % (len(header.axes) + 1):
            raise DataError(f"{path}: a line RD has not {len(header.axes) + 1} numbers")
        rows = numbers.reshape(-1, len(header.axes) + 1)
        try:
            flat = np.ravel_multi_index(tuple(rows[:, i] for i in kept), shape)
        except ValueError:
            raise DataError(f"{path}: a line RD names a bin outside the axes") from None
        np.add.at(counts.reshape(-1), flat, rows[:, -1])
    return axes, counts


def _numbers(path: Path, block: bytes) -> Array:
    if not block.strip():
        return np.empty(0, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(block.decode("ascii"), np.int64, sep=" ")
        except (ValueError, DeprecationWarning):
            raise DataError(
                f"{path}: there are other than whole numbers among the counts"
            ) from None


def _positive(path: Path, header: Header, key: str) -> float:
    what = {"TS": "number of simulated events", "SA": "simulated area"}[key]
    try:
        value = float(header.fields[key].split()[0])
    except (KeyError, ValueError, IndexError):
        raise DataError(f"{path}: the {what} is not stated (line {key})") from None
    if value <= 0:
        raise DataError(f"{path}: the {what} is {value:g} (line {key})")
    return value


def _shares(path: Path, spectrum: str, edges: Array) -> Array:
    """Return the share of a spectrum in each bin."""
    name, *given = spectrum.split() or [""]
    try:
        numbers = [float(number) for number in given]
        shares = SHARES[name.lower()](edges, *numbers)
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: spectrum of the simulation {spectrum!r} (line SP) is not understood; state "
            f"it: {SPECTRA}"
        ) from None
    if not np.all(shares > 0):
        i = int(np.argmax(~(shares > 0)))
        raise DataError(
            f"{path}: the simulated spectrum, {spectrum}, does not reach the bin of Ei from "
            f"{edges[i]:g} to {edges[i + 1]:g} keV, or a line is not within the only bin"
        )
    return shares


def _linear(edges: Array, low: float, high: float) -> Array:
    shares: Array = np.diff(np.clip(edges, low, high)) / (high - low)
    return shares


def _power_law(edges: Array, low: float, high: float, index: float) -> Array:
    def integral(energy: Array | float) -> Array:
        made: Array = np.log(energy) if index == 1 else np.power(energy, 1 - index) / (1 - index)
        return made

    shares: Array = np.diff(integral(np.clip(edges, low, high))) / (integral(high) - integral(low))
    return shares


def _mono(edges: Array, energy: float | None = None) -> Array:
    within = len(edges) == 2 and (energy is None or edges[0] <= energy <= edges[1])
    return np.full(len(edges) - 1, float(within))


def _gaussian(edges: Array, mean: float, sigma: float, cutoff: float = np.inf) -> Array:
    """Return one for a line within the only bin, up to 3 sigma or where it was cut off."""
    reach = min(3 * sigma, cutoff)
    within = len(edges) == 2 and edges[0] <= mean - reach and mean + reach <= edges[1]
    return np.full(len(edges) - 1, float(within))


SHARES: dict[str, Callable[..., Array]] = {
    "linear": _linear,
    "powerlaw": _power_law,
    "mono": _mono,
    "gaussian": _gaussian,
}
