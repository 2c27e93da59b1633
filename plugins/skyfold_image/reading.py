"""Read an image, whatever holds it; the content decides, not the name of the file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.inputs import split_part, trouble_of
from skyfold_image import arrays, fitsfile, photo
from skyfold_image.image import Image, SizeLimit

__all__ = ["Channels", "Encoding", "Image", "opened", "read_image"]

Channels = Literal["each", "luma"]
Encoding = Literal["auto", "linear", "srgb"]

GZIP = b"\x1f\x8b"
READERS = {
    fitsfile.MAGIC: fitsfile.read,
    b"\x93NUMPY": arrays.read_npy,
    b"PK\x03\x04": arrays.read_npz,
    b"\x89PNG": photo.read_png,
    b"II*\0": photo.read_tiff,
    b"MM\0*": photo.read_tiff,
    b"II+\0": photo.read_tiff,
    b"MM\0+": photo.read_tiff,
}
REC_709 = np.array([0.2126, 0.7152, 0.0722])


def read_image(
    source: Any,
    role: str = "image",
    *,
    channels: Channels = "each",
    encoding: Encoding = "auto",
    allow_large: bool = False,
) -> Image:
    """Read an image from a file, or take it from an array.

    Parameters
    ----------
    source
        A FITS, TIFF, PNG, ``.npy`` or ``.npz`` file, gzipped or not, recognised by its content;
        ``counts.fits[2]``, ``counts.fits[SCI]`` or ``arrays.npz[name]`` choose a part of it. Or a
        NumPy array, a Quantity, an astropy NDData, HDU or HDUList.
    role
        What the image is: ``counts``, ``psf``, ``exposure``, ``background``, ``mask``, ...
    channels
        Keep the channels of a colour image as planes, or join them to the luma of Rec. 709.
    encoding
        How brightness was encoded; ``srgb`` is linearised.
    allow_large
        Read files that unpack to more than a hundred times their size.

    Raises
    ------
    FileError
        If the file is absent, cut off, damaged, or not what its name says.
    DataError
        If it holds no image, or one that is no array of numbers.
    MissingExtraError
        If it is a TIFF or PNG and its library is not installed.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, str | Path):
        image = _read_file(source, role, allow_large)
    else:
        image = arrays.from_object(source, role)
    return _joined(_linear(image, encoding), channels)


def _read_file(source: str | Path, role: str, allow_large: bool) -> Image:
    path, part = split_part(source)
    with opened(path, allow_large) as (stream, size):
        start = stream.read(512)
        stream.seek(0)
        limit = SizeLimit(str(path), path.stat().st_size, allow_large)
        for magic, reader in READERS.items():
            if start.startswith(magic):
                return replace(reader(stream, size, role, part, limit), path=path)
    raise FileError(f"{path} {_what_it_is(start)}")


@contextmanager
def opened(path: Path, allow_large: bool = False) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file as a stream of its unpacked content, and yield that and its length.

    Raises
    ------
    FileError
        If the file is absent, unreadable, empty or damaged.
    DataError
        If it unpacks to far more than its size.
    """
    try:
        stream: BinaryIO = path.open("rb")
        size = path.stat().st_size
    except FileNotFoundError:
        raise FileError(f"{path}: no such file (looked in {path.absolute().parent})") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    with stream:
        packed = stream.read(2) == GZIP
        stream.seek(0)
        if size == 0:
            raise FileError(f"{path} is empty: a download or copy failed")
        if not packed:
            yield stream, size
            return
        content = _unpacked(stream, SizeLimit(str(path), size, allow_large))
    yield io.BytesIO(content), len(content)


def _unpacked(stream: BinaryIO, limit: SizeLimit) -> bytes:
    """Unpack gzipped content, at most as far as that is plausible."""
    try:
        with gzip.open(stream) as file:
            start = file.read(1 << 20)
            if start.startswith(fitsfile.MAGIC) and (known := fitsfile.announced(start)):
                limit.require(known[1], f"header announces {known[0]}")
            rest = file.read(-1 if limit.allow_large else limit.bytes)
    except EOFError:
        raise FileError(
            f"{limit.file} is cut off: its compressed data end too early, at {limit.size} bytes. "
            "Download it again (skyfold data verify)"
        ) from None
    except (OSError, zlib.error) as error:
        raise FileError(f"{limit.file} is damaged and cannot be unpacked: {error}") from error
    limit.require(len(start) + len(rest), "unpacked size")
    return start + rest


def _what_it_is(start: bytes) -> str:
    """Say what a file is that holds no image."""
    if trouble := trouble_of(start):
        return trouble
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file of no layout known here: name the instrument with --instrument"
    if start.startswith(b"\xff\xd8\xff"):
        return (
            "is a JPEG: 8 bits, gamma-encoded and lossy, so its values are no counts. "
            "Export the raw image as linear 16-bit TIFF"
        )
    return "is none of the known kinds of image: FITS, TIFF, PNG, .npy, .npz"


def _linear(image: Image, encoding: Encoding) -> Image:
    """Undo the sRGB curve of IEC 61966-2-1 where asked to: of counts, and of photographs."""
    suspected = any(photo.ENCODED in check.message for check in image.checks)
    if encoding == "auto" or not (suspected or image.role == "counts"):
        return image
    told = replace(image, checks=tuple(c for c in image.checks if photo.ENCODED not in c.message))
    if encoding == "linear":
        return told
    scale = image.ceiling or 1.0
    v = image.values / scale
    if np.nanmin(v) < 0 or np.nanmax(v) > 1:
        raise DataError(
            f"{image.file}: values from {image.values.min():g} to {image.values.max():g} cannot be "
            f"sRGB-encoded, whose range is 0 to {scale:g}; say --encoding linear"
        )
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) * scale
    return told.noting("fixed", "sRGB-encoded values linearised", values=linear)


def _joined(image: Image, channels: Channels) -> Image:
    """Bring the channels of a colour image, its last axis until here, to planes or to one image."""
    shape = image.values.shape
    colour = len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4
    if not colour or image.wcs is not None or image.energy_edges is not None:
        return image
    if shape[2] == 4:
        image = image.noting("fixed", "fourth channel (opacity) left out")
    rgb = image.values[..., :3]
    if channels == "luma":
        return image.noting(
            "fixed",
            "3 channels joined to luma, 0.2126 R + 0.7152 G + 0.0722 B",
            values=rgb @ REC_709,
            missing=None if image.missing is None else image.missing[..., :3].any(axis=2),
            saturated=None if image.saturated is None else image.saturated[..., :3].any(axis=2),
        )

    def planes(array: Any) -> Any:
        return None if array is None else np.ascontiguousarray(np.moveaxis(array[..., :3], 2, 0))

    return image.noting(
        "fixed",
        "image has 3 channels: each is restored on its own; --channels luma makes one of them",
        values=planes(rgb),
        missing=planes(image.missing),
        saturated=planes(image.saturated),
    )
