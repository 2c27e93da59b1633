"""Photographs: TIFF and PNG, 8 or 16 bits, with or without colour."""

from __future__ import annotations

from math import prod
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np

from skyfold.errors import DataError, FileError, SkyfoldError, require
from skyfold_image.image import Image, SizeLimit, native, one_of

ENCODED = "gamma-encoded"
TOLD = "--encoding srgb to linearise, or --encoding linear if it is linear already"


def read_png(stream: BinaryIO, size: int, role: str, part: str | None, limit: SizeLimit) -> Image:
    """Read a PNG file; 16 bits are kept, palettes expanded."""
    png = require("png", "photo")
    try:
        reader = png.Reader(file=stream)
        reader.preamble()
        shape = (reader.height, reader.width, reader.planes)
        limit.require(prod(shape) * max(reader.bitdepth // 8, 1), f"PNG of {shape[1]}x{shape[0]}")
        width, height, rows, info = reader.asDirect()
        kind = np.uint16 if info["bitdepth"] > 8 else np.uint8
        raw = np.array([np.asarray(row, kind) for row in rows]).reshape(height, width, -1)
    except SkyfoldError:
        raise
    except Exception as error:  # pypng raises its own and many others
        raise FileError(f"{limit.file} is cut off or damaged: {error}") from error
    raw = _without_opacity(raw, bool(info["alpha"]))
    image = native(raw, limit.file, role, bits=info["bitdepth"])
    gamma = info.get("gamma")
    if gamma is not None and abs(gamma - 1) < 0.01:
        return image
    why = "has 8 bits" if info["bitdepth"] <= 8 else f"states gamma {gamma:g}" if gamma else ""
    return _suspected(image, why)


def read_tiff(stream: BinaryIO, size: int, role: str, part: str | None, limit: SizeLimit) -> Image:
    """Read one image of a TIFF file."""
    tifffile = require("tifffile", "photo")
    try:
        with tifffile.TiffFile(stream) as file:
            names = [""] * len(file.series)
            index, guessed = one_of(names, part, role, limit.file, "image")
            series = file.series[index]
            page = series.keyframe
            limit.require(series.nbytes, f"TIFF of shape {series.shape}")
            axes, photometric = series.axes, page.photometric
            raw = series.asarray()
            profile = page.tags.get(34675)
            bits = page.bitspersample if raw.dtype.kind == "u" else 0
    except SkyfoldError:
        raise
    except Exception as error:  # tifffile raises its own and many others
        hint = "; save it without compression" if "imagecodecs" in str(error) else ""
        raise FileError(f"{limit.file} is damaged or of an unknown kind: {error}{hint}") from error
    if photometric in (tifffile.PHOTOMETRIC.PALETTE, tifffile.PHOTOMETRIC.MINISWHITE):
        raise DataError(
            f"{limit.file}: {photometric.name} TIFF holds no brightness; save as grey or RGB"
        )
    if "S" in axes:
        raw = np.moveaxis(raw, axes.index("S"), -1)
        raw = _without_opacity(raw, raw.shape[-1] in (2, 4))
    image = native(raw, limit.file, role, bits=bits)
    if guessed:
        image = image.noting(
            "warning", f"{limit.file} holds {len(names)} images; using 0, choose another with "
            f"{PurePath(limit.file).name}[number]",
        )  # fmt: skip
    srgb = profile is not None and b"sRGB" in bytes(profile.value)
    return _suspected(
        image, "carries an sRGB profile" if srgb else "has 8 bits" if bits == 8 else ""
    )


def _without_opacity(raw: Any, opaque: bool) -> Any:
    """Drop the opacity channel and the axis of a single channel."""
    colour = raw[..., :-1] if opaque else raw
    return np.ascontiguousarray(colour[..., 0] if colour.shape[-1] == 1 else colour)


def _suspected(image: Image, why: str) -> Image:
    if not why:
        return image
    return image.noting(
        "warning",
        f"{image.file} {why}: it looks {ENCODED} (sRGB), and such values are not proportional to "
        f"photons. Say {TOLD}",
    )
