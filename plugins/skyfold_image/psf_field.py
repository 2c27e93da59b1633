"""PSFs that vary over the field: cubes whose planes say where each of them is the PSF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_image.image import Image

if TYPE_CHECKING:
    from astropy.io.fits import Header

FINER = 4  # pixels of the standardised PSFs of HST for one of the detector


class PsfField(NamedTuple):
    """PSFs and where they hold.

    Attributes
    ----------
    planes
        One image for each.
    places
        x and y of each in pixels of the data, from 0 at the centre of the first.
    finer
        Their pixels per pixel of the data; if several, each value is the light in a whole pixel of
        the data, in units that make the light of a star the sum of a plane.
    check
        What was found.
    """

    planes: list[Image]
    places: Array
    finer: int
    check: Check


def psf_field(psf: Image, counts: Image, block: int = 1) -> PsfField | None:
    """Return the PSFs of a file whose header says where each is the PSF; None if it does not.

    Either the header has ``IPSFX01, ...`` and ``JPSFY01, ...``, columns and rows of a grid on the
    detector, as the standardised PSFs of HST have them (x runs fastest), or ``PSFX1, PSFY1`` and so
    on for each plane. All count pixels of the detector from 1; ``LTV1`` and ``LTV2`` of the counts
    tell where a cutout lies on it. Planes on finer pixels, 4 for one by the standard or as many as
    ``OVERSAMP`` says, are effective PSFs: each value is the light in a whole pixel centred there.

    Parameters
    ----------
    psf
        The image of one PSF, or a cube of several.
    counts
        The image whose PSF it is.
    block
        Pixels of the restored image per pixel of the counts.

    Raises
    ------
    DataError
        If planes and places are not as many, or the counts were binned on the detector.
    ConfigError
        If effective PSFs are asked to make a finer image.
    """
    header = psf.header
    if header is None or psf.values.ndim == 1:
        return None
    if "IPSFX01" in header:
        x, y = _listed(header, "IPSFX{:02d}"), _listed(header, "JPSFY{:02d}")
        places = np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)
        finer = int(header.get("OVERSAMP", FINER))
    elif "PSFX1" in header:
        columns = [_listed(header, name) for name in ("PSFX{:d}", "PSFY{:d}")]
        if len(columns[0]) != len(columns[1]):
            raise DataError(f"{psf.file}: {len(columns[0])} PSFX and {len(columns[1])} PSFY")
        places, finer = np.stack(columns, axis=1), int(header.get("OVERSAMP", 1))
    else:
        return None
    images = psf.values.reshape(-1, *psf.values.shape[-2:])
    if len(places) != len(images):
        raise DataError(
            f"{psf.file}: {len(images)} planes of PSFs, but its header has {len(places)} places"
        )
    if finer > 1 and block > 1:
        raise ConfigError(
            f"{psf.file} holds effective PSFs, which pixels of the data have blurred already: they "
            "make no finer image; leave out --block"
        )
    places = places - 1 + _cutout(counts)
    planes = [replace(psf, values=i / finer**2, header=None, wcs=None) for i in images]
    low, high = (np.round(f(places, axis=0), 1) for f in (np.min, np.max))
    told = "one PSF for the whole field"
    if len(places) > 1:
        told = (
            f"{len(places)} PSFs, at x {low[0]:g} to {high[0]:g} and y {low[1]:g} to {high[1]:g}; "
            "interpolated in between"
        )
    if finer > 1:
        told += f"; on pixels {finer} times finer, where stars between pixels are taken from"
    return PsfField(planes, places, finer, Check("ok", "psf", told))


def _cutout(counts: Image) -> Array:
    """Return what takes x and y on the detector to those of the counts.

    Raises
    ------
    DataError
        If that is more than a shift: then PSFs, too, are for other pixels than those of the counts.
    """
    header = {} if counts.header is None else counts.header
    for i, j in np.ndindex(2, 2):
        card = f"LTM{i + 1}_{j + 1}"
        scale = float(header.get(card, i == j))
        if abs(scale - (i == j)) > 1e-6:
            raise DataError(
                f"{counts.file}: {card} = {scale:g}: its pixels are not those of the detector, for "
                "which the PSFs hold; give counts that are neither binned nor turned, or one PSF "
                "in their own pixels"
            )
    return np.array([float(header.get(card, 0)) for card in ("LTV1", "LTV2")])


def of_one_shape(kernels: Sequence[Array]) -> list[Array]:
    """Return kernels padded to the largest, their middles kept."""
    size = np.max([kernel.shape for kernel in kernels], axis=0)
    padded = []
    for kernel in kernels:
        before = (size - 1) // 2 - (np.array(kernel.shape) - 1) // 2
        after = size - kernel.shape - before
        padded.append(np.pad(kernel, list(zip(before, after, strict=True))))
    return padded


def _listed(header: Header, name: str) -> Array:
    """Return the numbers of a series of keywords, as far as it goes."""
    found, number = [], 1
    while (key := name.format(number)) in header:
        found.append(float(header[key]))
        number += 1
    return np.array(found)
