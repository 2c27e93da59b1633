"""Images that are NumPy arrays, in memory or in ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold_image import fitsfile
from skyfold_image.image import Image, SizeLimit, native, one_of

OBJECTS = "holds Python objects, which are never loaded; save a plain array of numbers"


def from_object(given: Any, role: str) -> Image:
    """Return the image in an array, Quantity, masked array, NDData, HDU or HDUList.

    Raises
    ------
    DataError
        If it holds no numbers.
    """
    file = f"{role} array"
    hdus = given if isinstance(given, list) else [given]
    if hdus and all(hasattr(hdu, "is_image") for hdu in hdus):
        return fitsfile.from_hdus(hdus, role, None, SizeLimit(f"{role} HDU", 0, allow_large=True))
    missing = getattr(given, "mask", None)
    unit = getattr(given, "unit", None)
    values = given.data if isinstance(given, np.ma.MaskedArray) or hasattr(given, "meta") else given
    values = getattr(values, "value", values)
    known: dict[str, Any] = {"unit": "" if unit is None else str(unit)}
    if (wcs := getattr(given, "wcs", None)) is not None:
        known["wcs"] = wcs.celestial if wcs.has_celestial else None
        known["header"] = fitsfile.header_of(getattr(given, "meta", None))
    if missing is not None:
        missing = np.broadcast_to(np.asarray(missing, bool), np.shape(values))
    return native(values, file, role, missing=missing, **known)


def read_npy(stream: BinaryIO, size: int, role: str, part: str | None, limit: SizeLimit) -> Image:
    """Read a ``.npy`` file."""
    return native(_load(stream, size, limit.file), limit.file, role)


def read_npz(stream: BinaryIO, size: int, role: str, part: str | None, limit: SizeLimit) -> Image:
    """Read the array of a ``.npz`` file asked for, or named like its role, or the first."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if not members:
                raise DataError(f"{limit.file} is a zip file without arrays")
            names = [PurePath(m.filename).stem for m in members]
            index, guessed = one_of(names, part, role, limit.file, "array")
            limit.require(members[index].file_size, f"array {names[index]!r}")
            with archive.open(members[index]) as member:
                image = native(
                    _load(member, members[index].file_size, limit.file), limit.file, role
                )
    except zipfile.BadZipFile as error:
        raise FileError(f"{limit.file} is damaged or cut off: {error}") from error
    if not guessed:
        return image
    there = ", ".join(names)
    return image.noting(
        "warning", f"{limit.file} holds several arrays ({there}); using {names[index]!r}, choose "
        f"another with {PurePath(limit.file).name}[name]",
    )  # fmt: skip


def _load(stream: Any, size: int, file: str) -> Any:
    """Load an array whose header has been compared with the length of the file."""
    try:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
        if dtype.hasobject:
            raise DataError(f"{file} {OBJECTS}")
        needed = stream.tell() + prod(shape) * dtype.itemsize
        if needed > size:
            raise FileError(f"{file} is cut off: {size} of {needed} bytes. Download it again")
        stream.seek(0)
        return np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        if isinstance(error, DataError):
            raise
        raise FileError(f"{file} is damaged and cannot be read as an array: {error}") from error
