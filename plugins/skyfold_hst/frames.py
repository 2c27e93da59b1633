"""Frames as PLUCY, CPLUCY and ACOADD took them: cyclic, the PSF as it is, stars on pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid, refined
from skyfold.model import Component
from skyfold.origin import Origin
from skyfold.pixels import Diagonal
from skyfold.points import with_points
from skyfold.response import Response
from skyfold.source_files import read_sources
from skyfold.sources import Sources, placed, psf_numbers
from skyfold.vector import Array
from skyfold_hst.blocks import of_detector
from skyfold_hst.kernels import as_it_is, blurred
from skyfold_image.align import require_same_pixels
from skyfold_image.assemble import used
from skyfold_image.counts import prepared
from skyfold_image.image import Image
from skyfold_image.reading import read_image
from skyfold_image.sources import ImageSource
from skyfold_responses.boxes import Interpolant, boxes
from skyfold_responses.image import BlockSum
from skyfold_responses.psf import Psf

SKY, STARS = "sky", "stars"
Blocks = Annotated[int, Field(ge=1)]


def open_plucy(
    counts: ImageSource,
    psf: ImageSource,
    *,
    stars: Path | None = None,
    magzero: float = 20.0,
    shift: Literal["whole", "exact"] | Interpolant = "whole",
    box: tuple[Blocks, Blocks] = (21, 21),
    pixel_response: bool = False,
    block: tuple[Blocks, Blocks] = (1, 1),
    gain: Annotated[float, Field(gt=0)] | None = None,
    exposure: Annotated[float, Field(gt=0)] = 1.0,
    mask: ImageSource | None = None,
    start: ImageSource | None = None,
    coordinates: bool = True,
    name: str | None = None,
) -> BinnedData:
    """Open a frame as PLUCY took it: the PSF as it is, cyclic borders, stars on whole pixels.

    Negative data are set to zero, and so are negative elements of the PSF, whose sum is brought to
    one. A frame whose pixels come in blocks of equal values is taken as a repetition of the
    detector's pixels, and these are the data.

    Parameters
    ----------
    counts
        Image of the counts.
    psf
        Image of the PSF on the pixels of the restored image, or a list of several: its pixel
        ``(NX/2, NY/2)``, counted from 1, lies on the star. The first is that of the sky.
    stars
        List of stars: ``x y magnitude``, in pixels of the counts from 1; tables and regions too.
    magzero
        Magnitude of one count.
    shift
        How the PSF is brought to a star. With ``whole`` stars are moved to whole pixels, and begin
        with their magnitudes; else they stay between pixels and begin with equal fluxes, half of
        the counts in all, as in CPLUCY: ``exact`` shifts by a phase of the Fourier transform, the
        others interpolate the PSF in a box, as that did.
    box
        Pixels of that box in x and y.
    pixel_response
        Blur the stars by the response of a pixel of WFPC2.
    block
        Pixels of the restored image for each of the detector, in x and y.
    gain
        Counts per unit of the image.
    exposure
        Counts for each unit of the sky.
    mask
        Image that is not zero where pixels are to be used.
    start
        Image to start from, on the pixels of the restored image.
    coordinates
        Take the celestial coordinates of the frame; else it lies where the PSF puts it.
    name
        Name of the frame; that of the file by default.

    Raises
    ------
    ConfigError
        If several PSFs are to be interpolated.
    DataError
        If an image or the list is not what it must be.
    FileError
        If a file cannot be read.
    """
    given = read_image(counts, "counts")
    if not coordinates:
        given = replace(given, wcs=None)
    psfs = psf if isinstance(psf, list | tuple) else [psf]
    images = [read_image(one, "psf") for one in psfs]
    detector = of_detector(given, block, [image.values.shape for image in images])
    grid, fine = detector.grid, finer(detector.grid, block)
    kernels, said = zip(*(as_it_is(image, fine.shape) for image in images), strict=True)
    chosen = None if mask is None else read_image(mask, "mask")
    if chosen is not None:
        require_same_pixels(detector, chosen)
    ready = prepared(
        detector,
        None if chosen is None else used(chosen),
        gain=gain,
        negative="clip",
        saturation="keep",
    )
    first = None if start is None else _start(read_image(start, "start"), fine)
    roles = ("counts", given), *(("psf", i) for i in images), ("mask", chosen)
    files = [(role, str(i.path)) for role, i in roles if i is not None and i.path is not None]
    origin = Origin(
        name=name or ("frame" if given.path is None else given.path.name.partition(".")[0]),
        instrument="plucy",
        files=tuple(files),
        checks=(*detector.checks, *ready.checks, *(check for part in said for check in part)),
        geometry=grid,
        header=given.header,
    )
    chain = _chain(block, grid.shape, fine.shape, exposure)
    further = [blurred(kernel) for kernel in kernels] if pixel_response else kernels[1:]
    data = BinnedData(
        ready.values,
        {SKY: chain(Psf(kernels[0], fine.shape, "periodic", further=further))},
        ready.seen.astype(float),
        components={SKY: Component(fine, "ct", start=first)},
        origin=origin,
    )
    if stars is None:
        return data
    listed = read_sources(stars, magzero=magzero, historical=True)
    numbers = psf_numbers(listed, len(kernels)) + int(pixel_response)
    steps = np.array(fine.shape)[::-1] / np.array(given.values.shape)[::-1]
    places = (placed(listed, given.grid) + 0.5) * steps - 0.5
    flux = None
    if shift == "whole":
        places, flux = on_pixels(listed, places, fine.shape), listed.flux
    moved = (places + 0.5) / block - 0.5
    own = numbers if further else None
    joined = with_points(data, replace(listed, places=moved, frame="", flux=flux, psf=own))
    assert isinstance(joined, BinnedData)
    if shift == "whole" or shift == "exact":
        return joined
    if len(kernels) > 1:
        raise ConfigError(f"shift {shift} takes one PSF, there are {len(kernels)}; say exact")
    seen = chain(boxes([*kernels, *further][-1], places, fine.shape, box[::-1], shift))
    return _seen_by(joined, seen)


def on_pixels(sources: Sources, places: Array, shape: tuple[int, ...]) -> Array:
    """Return the whole pixels on which stars lie, x and y from 0, shape ``(n, 2)``.

    Raises
    ------
    DataError
        If two are on one pixel.
    """
    rounded: Array = np.minimum(np.floor(places + 0.5), np.array(shape[::-1]) - 1.0)
    _, first, same = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    earlier = first[same.ravel()]
    if np.any(again := earlier != np.arange(len(places))):
        j = int(np.argmax(again))
        x, y = rounded[j].astype(int) + 1
        raise sources.error(
            f"{sources.told(int(earlier[j]))} and {sources.told(j)} are both on pixel ({x}, {y}) "
            "of the restored image, counted from 1: sub-sample (xsubsam, ysubsam), or take cplucy, "
            "which leaves stars between pixels"
        )
    return rounded


def _seen_by(data: BinnedData, stars: Response) -> BinnedData:
    """Return the same data, whose stars have another response."""
    return BinnedData(
        data.full_counts,
        {**data.whole, STARS: stars},
        data.weight,
        components=data.components,
        origin=data.origin,
    )


def finer(grid: Grid, block: tuple[int, int]) -> Grid:
    """Return a grid with each pixel divided into ``block`` in x and y."""
    if block == (1, 1):
        return grid
    shape = tuple(n * b for n, b in zip(grid.shape, block[::-1], strict=True))
    return replace(grid, shape=shape, wcs=None if grid.wcs is None else refined(grid.wcs, block))


def _chain(
    block: tuple[int, int], shape: tuple[int, ...], fine: tuple[int, ...], exposure: float
) -> Callable[[Response], Response]:
    """Return what puts sums over blocks behind a response, and an exposure before it."""

    def chain(inner: Response) -> Response:
        if exposure != 1:
            inner = inner @ Diagonal(np.full(inner.model_shape, exposure))
        return inner if shape == fine else BlockSum(block[::-1], shape) @ inner

    return chain


def _start(image: Image, grid: Grid) -> Array:
    require_same_pixels(replace(image, values=np.zeros(grid.shape), wcs=grid.wcs), image)
    return np.maximum(image.values, 0)
