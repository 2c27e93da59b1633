"""Images in FITS files."""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from skyfold.errors import DataError, FileError, SkyfoldError
from skyfold.geometry import celestial_wcs
from skyfold.inputs import split_part
from skyfold_image.image import Image, SizeLimit, native, one_of

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import Quantity

MAGIC = b"SIMPLE  ="
LAYOUT = ("EXTNAME", "EXTVER", "EXTLEVEL", "INHERIT", "BLANK", "CHECKSUM", "DATASUM", "ZIMAGE")


def read(stream: BinaryIO, size: int, role: str, part: str | None, limit: SizeLimit) -> Image:
    """Read one image of a FITS file; see `read_image`."""
    with hdus_of(stream, size, limit.file) as hdus:
        return from_hdus(hdus, role, part, limit)


@contextmanager
def hdus_of(stream: BinaryIO, size: int, file: str) -> Iterator[Any]:
    """Open the content of a FITS file and yield its HDUs.

    Parameters
    ----------
    stream, size
        Unpacked content and its length.
    file
        Its name, for messages.

    Raises
    ------
    FileError
        If it is cut off or damaged, also where that shows only while it is used.
    """
    from astropy.io import fits

    # never memory-mapped: a file that shrinks or a network that fails must not kill the process
    whole = {"memmap": False, "lazy_load_hdus": True}
    with quiet(), _blaming(file), fits.open(stream, **whole) as hdus:
        _require_whole(hdus, size, file)
        yield hdus


def from_hdus(hdus: Sequence[Any], role: str, part: str | None, limit: SizeLimit) -> Image:
    """Return the image asked for, the one named like its role or ``SCI``, or the first.

    Raises
    ------
    DataError
        If there is none, or it is no image.
    """
    file = limit.file
    images = [i for i, hdu in enumerate(hdus) if hdu.is_image and hdu.header.get("NAXIS", 0) > 0]
    if part is not None:
        every = [hdu.name for hdu in hdus]
        index, guessed = one_of(every, part, role, file, "HDU")
        if index not in images:
            raise DataError(f"{file}[{part}] {_content(hdus[index])}, not an image")
    elif not images:
        raise DataError(f"{file} {_no_image(hdus)}")
    else:
        own = [hdus[i].name if i or hdus[i].name != "PRIMARY" else "" for i in images]
        chosen, guessed = one_of(own, None, role, file, "HDU")
        index = images[chosen]
    hdu = hdus[index]
    limit.require(_nbytes(hdu), f"header announces {_size(hdu)}")
    image = _image(hdus, hdu, file, role)
    called = f"HDU {index}{f' {hdu.name!r}' if hdu.name else ''}"
    other = f"choose another with {PurePath(file).name}[name or number]"
    if guessed:
        there = ", ".join(f"{i} {hdus[i].name!r} {hdus[i].shape}" for i in images)
        return image.noting(
            "warning", f"{file} holds several images ({there}); using {called}, {other}"
        )
    if index and part is None:
        return image.noting("fixed", f"using {called}; {other}")
    return image


def peek(path: str | Path) -> Header | None:
    """Return the first header of a FITS file, gzipped or not, or None if it is none; never raises.

    The first header of an extension follows where the primary one holds no data: its cards are
    added to those of the primary header.
    """
    from astropy.io import fits

    path, _ = split_part(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with quiet(), gzip.open(path) if packed else path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return None
            stream.seek(0)
            header = fits.Header.fromfile(stream)
            if header.get("NAXIS") == 0:
                header.extend(fits.Header.fromfile(stream), unique=True)
            return header
    except Exception:  # whatever is wrong is said when the file is opened for use
        return None


def announced(start: bytes) -> tuple[str, int] | None:
    """Return what the first header says of the size of its data, in words and bytes."""
    from astropy.io import fits

    try:
        with quiet():
            header = fits.Header.fromfile(io.BytesIO(start))
            shape = [header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])]
            nbytes = prod(shape) * abs(header["BITPIX"]) // 8 if shape else 0
    except Exception:  # a header that cannot be read is refused later, in words
        return None
    return "x".join(map(str, [*shape, abs(header["BITPIX"]) // 8])), nbytes


def header_of(meta: Any) -> Header | None:
    """Return metadata as a FITS header where they are one."""
    from astropy.io import fits

    return meta.copy(strip=True) if isinstance(meta, fits.Header) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of astropy for itself; what matters is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _blaming(file: str) -> Iterator[None]:
    """Turn whatever astropy raises on a damaged file into one kind of error."""
    try:
        yield
    except (SkyfoldError, MemoryError):
        raise
    except Exception as error:
        raise FileError(f"{file} is damaged or no valid FITS file: {error}") from error


def _require_whole(hdus: Sequence[Any], size: int, file: str) -> None:
    from astropy.io import fits

    for i, hdu in enumerate(hdus):  # each is read when its turn comes
        place = hdu.fileinfo()
        if place["datSpan"] < 0:  # astropy would go round in circles
            raise FileError(f"{file} is damaged: HDU {i} has an axis of negative length")
        end = place["datLoc"] + place["datSpan"]
        # the last block may lack its padding
        packed = isinstance(hdu, fits.CompImageHDU)
        needed = max(place["datSpan"] - 2879, 0) if packed else hdu.size
        if place["datLoc"] + needed > size:
            raise FileError(
                f"{file} is cut off: {size} of {end} bytes. Download it again (skyfold data verify)"
            )


def _image(hdus: Sequence[Any], hdu: Any, file: str, role: str) -> Image:
    blanks = hdu.header["BITPIX"] > 0 and "BLANK" in hdu.header  # reading the data changes both
    raw = hdu.data
    missing = ~np.isfinite(raw) if blanks else None
    header = hdu.header.copy(strip=True)
    if hdu is not hdus[0] and not hdus[0].header.get("NAXIS"):
        header.extend(hdus[0].header.copy(strip=True), unique=True)
    for key in LAYOUT:
        header.remove(key, ignore_missing=True, remove_all=True)
    try:
        wcs = celestial_wcs(header)
        trouble = None
    except Exception as error:  # wcslib has many ways to fail
        wcs, trouble = None, str(error).splitlines()[0]
    unit = str(header.get("BUNIT", "")).strip()
    image = native(raw, file, role, missing=missing, wcs=wcs, header=header, unit=unit)
    if image.values.ndim == 3:
        image = _with_energies(image, hdus)
    if trouble is not None:
        return image.noting("warning", f"world coordinates cannot be read: {trouble}")
    return image


def _with_energies(image: Image, hdus: Sequence[Any]) -> Image:
    """Add the energy edges of an ``EBOUNDS`` table (OGIP: keV, unless it says otherwise)."""
    from dataclasses import replace

    for hdu in hdus:
        if hdu.name == "EBOUNDS" and len(hdu.data) == len(image.values):
            return replace(image, energy_edges=energy_edges(hdu, image.file))
    return image


def energy_edges(hdu: Any, file: str) -> Quantity:
    """Return the edges of the energy bins in an ``EBOUNDS`` table.

    Raises
    ------
    DataError
        If they do not increase, or leave gaps.
    """
    from astropy import units as u

    low, high = (
        np.asarray(hdu.data[key], np.float64) * u.Unit(hdu.columns[key].unit or "keV")
        for key in ("E_MIN", "E_MAX")
    )
    edges = u.Quantity([*low, high[-1]])
    bad = ~(np.diff(edges.value) > 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            f"{file}: energy edges of EBOUNDS decrease ({edges[i]:g}, {edges[i + 1]:g})"
        )
    gap = ~np.isclose(low[1:].value, high[:-1].to_value(low.unit), rtol=1e-4)
    if gap.any():
        i = int(np.argmax(gap))
        raise DataError(f"{file}: energy bins of EBOUNDS do not join: {high[i]:g}, {low[i + 1]:g}")
    return edges


def _no_image(hdus: Sequence[Any]) -> str:
    tables = [hdu for hdu in hdus if hasattr(hdu, "columns")]
    if not tables:
        return "holds no image: its HDUs are empty"
    largest = max(tables, key=lambda hdu: hdu.header.get("NAXIS2", 0))
    return f"{_content(largest)}, no image. {_way_out(largest)}"


def _content(hdu: Any) -> str:
    if not hasattr(hdu, "columns"):
        return "is empty"
    names = list(hdu.columns.names)
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    kind = "events" if _are_events(hdu) else "rows"
    return f"holds a table of {hdu.header.get('NAXIS2', 0)} {kind} (columns {shown})"


def _way_out(hdu: Any) -> str:
    if hdu.header.get("PIXTYPE") == "HEALPIX":
        return "It is a HEALPix map, which this instrument does not take"
    if not _are_events(hdu):
        return "Give the file that holds the image, or name another --instrument"
    return (
        "Bin the events into an image first: dmcopy for Chandra, gtbin for Fermi, or "
        "numpy.histogram2d of two columns"
    )


def _are_events(hdu: Any) -> bool:
    places = {"RA", "DEC"}, {"X", "Y"}, {"DETX", "DETY"}, {"L", "B"}
    columns = {name.upper() for name in hdu.columns.names}
    named = "EVENT" in hdu.name.upper() or hdu.header.get("HDUCLAS1") == "EVENTS"
    return hdu.name != "GTI" and (named or any(pair <= columns for pair in places))


def _size(hdu: Any) -> str:
    return "x".join(map(str, [*hdu.shape[::-1], abs(hdu.header["BITPIX"]) // 8]))


def _nbytes(hdu: Any) -> int:
    return int(prod(hdu.shape) * abs(hdu.header["BITPIX"]) // 8)
