"""Images for the page: indexed PNG whose index stands for the value, picture and data in one."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.layers import Layer
from skyfold.shades import colours, limits, norm, softening
from skyfold.skymap import NAMES
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.wcs import WCS

MASKED = 255  # index of pixels without a value
MOST_SIGMA = 12.0  # residuals beyond this are told as "beyond"
PLACES = 25  # along each side of the table of world coordinates


@dataclass(frozen=True, eq=False)
class Plate:
    """One image, ready for the page.

    Parameters
    ----------
    png
        An indexed PNG; row 0 is at the top of the page.
    levels
        Value of each index, increasing, shape (255,).
    low, high
        Values shown as the darkest and the brightest colour.
    most
        The largest value: what is above ``high`` is not told apart.
    exact
        Whether the levels are the values themselves, not the nearest.
    """

    png: bytes
    levels: Array
    low: float
    high: float
    most: float
    exact: bool

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    def for_script(self) -> dict[str, Any]:
        """Return what the script of the page needs to draw the image and to read its values."""
        return {
            "png": base64.b64encode(self.png).decode(),
            "levels": [float(f"{level:.5g}") for level in self.levels],
            "low": self.low,
            "high": self.high,
            "most": self.most,
            "exact": self.exact,
        }


def plate(values: Array, kind: str, upward: bool, scale: Array | None = None) -> Plate:
    """Return an image as a plate.

    Parameters
    ----------
    values
        Shape ``(y, x)``; NaN is masked.
    kind
        ``flux``, ``counts`` or ``sigma``.
    upward
        Whether the first row belongs at the bottom.
    scale
        Values that set the colours, for images that share them; its own by default.
    """
    scale = values if scale is None else scale
    low, high = limits(scale, kind)
    steps = _levels(scale, kind, high)
    index = np.searchsorted((steps[1:] + steps[:-1]) / 2, np.nan_to_num(values))
    index = np.where(np.isfinite(values), index, MASKED).astype(np.uint8)
    shades = colours(kind)(norm(scale, kind)(steps), bytes=True)[:, :3]
    grey = np.array(colours(kind)(np.nan, bytes=True)[:3], np.uint8)
    png = indexed_png(index[::-1] if upward else index, np.vstack([shades, grey]))
    known = values[np.isfinite(values)]
    most = float(known.max(initial=low))
    return Plate(png, steps, low, high, most, bool(np.all(np.isin(known, steps))))


def _levels(values: Array, kind: str, high: float) -> Array:
    """Return 255 values: whole numbers where they suffice, else dense near zero."""
    known = values[np.isfinite(values)]
    least, most = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if kind == "sigma":
        reach = float(np.clip(max(-least, most), high, MOST_SIGMA))
        return np.linspace(-reach, reach, MASKED)
    if most - least < MASKED and np.all(known == np.rint(known)):
        return least + np.arange(MASKED)
    width = softening(values, kind) / 10
    return width * np.sinh(np.linspace(np.arcsinh(least / width), np.arcsinh(most / width), MASKED))


def indexed_png(index: Array, palette: Array) -> bytes:
    """Return an 8-bit indexed PNG whose rows are stored without filter.

    Written here because the script of the page reads the indices back from the very same bytes,
    and relies on the missing filter.

    Parameters
    ----------
    index
        Shape ``(y, x)``, uint8.
    palette
        Shape ``(256, 3)``, uint8.
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = index.shape
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = index
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )


def planes(layer: Layer) -> list[Array]:
    """Return the images of a layer: of a cube its sum, then plane by plane."""
    return [layer.values] if layer.total is None else [layer.total, *layer.values]


def world_table(wcs: WCS, shape: tuple[int, ...], upward: bool) -> dict[str, Any] | None:
    """Return directions on a coarse raster over the image, to be interpolated by the page.

    Returns
    -------
    table
        ``names`` of the coordinates, ``places`` along each side, ``digits`` worth showing, and
        unit ``vectors`` row by row from the top left, null where the projection has no sky.
    """
    from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

    ny, nx = shape[-2:]
    x = np.linspace(-0.5, nx - 0.5, PLACES)
    y = np.linspace(-0.5, ny - 0.5, PLACES)[:: -1 if upward else 1]
    try:
        sky = wcs.pixel_to_world(*np.meshgrid(x, y))
        frame = wcs_to_celestial_frame(wcs).name
    except ValueError:  # a projection or frame that astropy has no name for
        return None
    vectors = np.moveaxis(sky.cartesian.xyz.value, 0, -1).reshape(-1, 3)
    equatorial = frame in ("icrs", "fk5", "fk4")
    scale = float(np.min(proj_plane_pixel_scales(wcs)))
    return {
        "names": ["RA", "Dec"]
        if equatorial
        else ["l", "b"]
        if frame == "galactic"
        else ["lon", "lat"],
        "sexagesimal": equatorial,
        "digits": int(np.clip(np.ceil(-np.log10(scale * (3600 if equatorial else 1))) + 1, 0, 6)),
        "places": PLACES,
        "vectors": [
            [round(float(c), 9) for c in v] if np.all(np.isfinite(v)) else None for v in vectors
        ],
    }


def ellipse_table(frame: str) -> dict[str, Any]:
    """Return what the page needs to find directions on a whole sky: it knows the projection."""
    names = NAMES.get(frame, ("lon", "lat"))
    return {"names": names, "sexagesimal": False, "digits": 1, "ellipse": True}
