"""Counts of gtbin (CMAP, CCUBE) and of the one-file MapDataset layout, and their energies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError
from skyfold.inputs import split_part
from skyfold.vector import Array
from skyfold_fermi.tables import fits_file, is_fits
from skyfold_image.fitsfile import energy_edges
from skyfold_image.image import Image
from skyfold_image.reading import read_image

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import Quantity
    from astropy.wcs import WCS

MAPDATASET = ("COUNTS", "COUNTS_BANDS")


def mapdataset_parts(source: Any) -> frozenset[str]:
    """Return the names of the HDUs of a file in the MapDataset layout, or none of another file.

    A file of which one part is named, ``dataset.fits[COUNTS]``, counts as a plain image.
    """
    if not is_fits(source) or split_part(source)[1] is not None:
        return frozenset()
    with fits_file(source) as hdus:
        names = frozenset(hdu.name for hdu in hdus)
    return names if names.issuperset(MAPDATASET) else frozenset()


def read_binned(source: Any, role: str) -> tuple[Image, Quantity | None]:
    """Read counts, or a background, and the edges of their energy bins as far as the file tells.

    A cube has its edges in ``EBOUNDS`` or, in a MapDataset, in ``COUNTS_BANDS``, both in keV; a
    counts map was cut to the range in its data-selection keywords.

    Returns
    -------
    image, edges
        Two edges for an image of two axes.
    """
    image = read_image(source, role)
    if image.values.ndim == 2:
        return image, None if image.header is None else selected_energies(image.header)
    bands = f"{split_part(source)[1] or role.upper()}_BANDS" if is_fits(source) else ""
    if image.energy_edges is None and bands:
        with fits_file(source) as hdus:
            if bands in hdus:
                image = replace(image, energy_edges=energy_edges(hdus[bands], image.file))
    return image, image.energy_edges


def selected_energies(header: Header) -> Quantity | None:
    """Return the energy range of the data-selection keywords (DSTYPn, DSVALn, DSUNIn), or None."""
    from astropy import units as u

    for key, kind in header.items():
        if key.startswith("DSTYP") and str(kind).strip().upper() == "ENERGY":
            number = key.removeprefix("DSTYP")
            low, _, high = str(header.get(f"DSVAL{number}", "")).partition(":")
            try:
                unit = u.Unit(str(header.get(f"DSUNI{number}", "MeV")).strip())
                return u.Quantity([float(low), float(high)], unit).to("MeV")
            except (ValueError, u.UnitConversionError):
                return None
    return None


def pixel_angles(wcs: WCS, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return height and width in radians of the pixel in the middle of an image.

    They are measured on the sky: in plate carree, pixels far from the reference latitude are
    narrower than the header says.

    Raises
    ------
    DataError
        If the middle of the image is off the sky.
    """
    y, x = (n / 2 - 0.5 for n in shape[-2:])
    ends = np.array([[x, y - 0.5], [x, y + 0.5], [x - 0.5, y], [x + 0.5, y]])
    places: Any = wcs.pixel_to_world(*ends.T)
    height, width = (float(places[i].separation(places[i + 1]).rad) for i in (0, 2))
    if not (height > 0 and width > 0):
        raise DataError("the middle of the counts image is off the sky: no PSF can be placed there")
    return height, width


def distortion(wcs: WCS, shape: tuple[int, ...]) -> float:
    """Return by which share the width of pixels in the corners differs from that in the middle."""
    ny, nx = shape[-2:]
    corners: Array = np.array([(x, y) for x in (0, nx - 1) for y in (0, ny - 1)], dtype=float)
    half = np.array([0.5, 0.0])
    left, right = (wcs.pixel_to_world(*ends.T) for ends in (corners - half, corners + half))
    widths: Any = left.separation(right).rad
    return float(np.nanmax(np.abs(widths / pixel_angles(wcs, shape)[1] - 1)))
