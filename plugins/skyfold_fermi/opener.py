"""Open the products of the Fermi Science Tools, or a MapDataset, as counts, PSF and exposure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.inputs import by_name, split_part
from skyfold.origin import Check
from skyfold_fermi.counts import distortion, mapdataset_parts, pixel_angles, read_binned
from skyfold_fermi.exposure import UNIT, read_exposure, unit_unsaid
from skyfold_fermi.psf_table import PsfTable, read_mapdataset_psf, read_psf_table
from skyfold_fermi.tables import fits_file, is_fits
from skyfold_image.assemble import Boundary, Dtype, Engine
from skyfold_image.image import Image
from skyfold_image.opener import open_image
from skyfold_image.reading import read_image
from skyfold_image.sources import ImageSource, MapSource, PsfSource, is_number

if TYPE_CHECKING:
    from astropy.units import Quantity

DISTORTED = 0.02
NO_ENERGIES = (
    "the counts do not tell their energies (no EBOUNDS, no data-selection keywords), so {what} at "
    "{n} energies cannot be averaged over them; give {instead}, or counts as gtbin writes them"
)


def open_fermi(
    counts: ImageSource,
    psf: PsfSource | None = None,
    exposure: ImageSource | None = None,
    background: MapSource | Mapping[str, MapSource] | None = None,
    baseline: MapSource | Mapping[str, MapSource] | None = None,
    mask: Literal["nan"] | ImageSource | None = None,
    *,
    mask_invert: bool = False,
    fit_background: bool = False,
    fit_baseline: bool = False,
    spectral_index: Annotated[float, Field(ge=-10, le=10)] = 2.0,
    psf_containment: Annotated[float, Field(gt=0.5, le=1)] = 0.999,
    psf_centre: Literal["centroid", "peak", "keep"] = "centroid",
    psf_norm: Literal["unit", "keep"] = "unit",
    psf_pedestal: Literal["keep", "subtract"] = "keep",
    psf_resample: bool = False,
    psf_keep: bool = False,
    block: Annotated[int, Field(ge=1, le=16)] = 1,
    boundary: Boundary = "extended",
    margin: Annotated[int, Field(ge=0)] | None = None,
    engine: Engine = "auto",
    workers: Annotated[int, Field(ge=1)] = 1,
    dtype: Dtype = "float64",
    name: str | None = None,
) -> BinnedData:
    """Open Fermi-LAT products: counts map or cube, PSF, exposure and background.

    The image is in photons per cm2 and second, per pixel and energy bin. Reconstructed energies
    are taken as true ones.

    Parameters
    ----------
    counts
        Counts map or cube of gtbin, or a MapDataset file, which brings PSF, exposure, background
        and mask with it.
    psf
        Table of gtpsf, MapDataset file, image, or text like ``gauss:0.1 deg``.
    exposure
        Map or cube of gtexpcube2, also in HEALPix, at bin edges or centres, in cm2 s where it
        states no unit; it is brought to the pixels and energy bins of the counts.
    background
        Expected background counts per bin, such as a model cube of gtmodel, or a number, the same
        everywhere; several by name.
    baseline
        Known flux per pixel that goes through exposure and PSF, in the unit of the image, as an
        image or a number, the same everywhere; several by name.
    mask
        Image that is not zero where pixels are to be used, or ``nan`` to leave out what is not
        finite.
    mask_invert
        Use the pixels where the mask is zero.
    fit_background
        Fit the normalisation of each background instead of taking it as it is.
    fit_baseline
        Fit the normalisation of each baseline instead of taking it as it is.
    spectral_index
        Index of the power-law spectrum that weights PSF and exposure within an energy bin.
    psf_containment
        Share of the light at which a tabulated PSF is cut off.
    psf_centre
        What of a PSF image comes to lie in the middle; ``keep`` leaves it where it is.
    psf_norm
        Bring the sum of a PSF image to one, or keep it because it contains an efficiency.
    psf_pedestal
        Keep or subtract the level at the edge of a PSF image.
    psf_resample
        Bring a PSF image with pixels of another size to the pixels of the counts.
    psf_keep
        Take a PSF image exactly as it is.
    block
        Pixels of the restored image per pixel of the counts along each axis.
    boundary
        What lies outside of the image; ``extended`` models the sky beyond its edge.
    margin
        Pixels of sky modelled beyond each edge; half of the PSF by default.
    engine
        How to convolve.
    workers
        Threads of the convolution.
    dtype
        Precision of the arithmetic.
    name
        Name of the data set; that of the file by default.

    Returns
    -------
    data
        With the component ``sky``, and one for each background and baseline.

    Raises
    ------
    ConfigError
        If there is no PSF, or options contradict each other.
    DataError
        If a product is not what it must be.
    FileError
        If a file cannot be read.
    """
    parts = mapdataset_parts(counts)
    if parts:
        psf = counts if psf is None and "PSF" in parts else psf
        exposure = counts if exposure is None and "EXPOSURE" in parts else exposure
        background = counts if background is None and "BACKGROUND" in parts else background
        mask = f"{counts}[MASK_SAFE]" if mask is None and "MASK_SAFE" in parts else mask
    image, edges = read_binned(f"{counts}[COUNTS]" if parts else counts, "counts")
    if "EDISP" in parts:
        text = "energy dispersion of the file is not applied: energies are taken as true ones"
        image = image.noting("warning", text)
    return open_image(
        image,
        psf=_psf(psf, image, edges, block, spectral_index, psf_containment),
        exposure=_exposure(exposure, image, edges, spectral_index),
        background={n: _background(i) for n, i in by_name(background, "background").items()},
        baseline=baseline,
        mask=mask,
        mask_invert=mask_invert,
        fit_background=fit_background,
        fit_baseline=fit_baseline,
        psf_centre=psf_centre,
        psf_norm=psf_norm,
        psf_pedestal=psf_pedestal,
        psf_resample=psf_resample,
        psf_keep=psf_keep,
        block=block,
        boundary=boundary,
        margin=margin,
        engine=engine,
        workers=workers,
        dtype=dtype,
        name=name,
    ).with_origin(instrument="fermi")


def _psf(
    psf: Any,
    counts: Image,
    edges: Quantity | None,
    block: int,
    spectral_index: float,
    containment: float,
) -> Any:
    """Return a tabulated PSF as an image on the pixels of the sky; anything else as it is."""
    table = _psf_table(psf)
    if table is None:
        return psf
    if counts.wcs is None:
        raise DataError(
            f"{counts.file} has no celestial coordinates, so the size of its pixels is unknown; "
            "give the PSF as an image"
        )
    if edges is None and len(table.energy) > 1:
        what = {"what": "a PSF", "n": len(table.energy), "instead": "the PSF as an image"}
        raise DataError(f"{counts.file}: {NO_ENERGIES.format(**what)}")
    if edges is not None:
        table = table.averaged(edges.to_value("MeV"), spectral_index)
    height, width = pixel_angles(counts.wcs, counts.values.shape)
    kernels, check = table.kernels((height / block, width / block), containment)
    checks = [check]
    varying = distortion(counts.wcs, counts.values.shape)
    if varying > DISTORTED:
        text = (
            f"pixels at the edge differ by {varying:.1%} in width from that in the middle, for "
            "which the PSF is made; choose another projection, or a smaller field"
        )
        checks.append(Check("warning", "psf", text))
    values = kernels if counts.values.ndim == 3 else kernels[0]
    path, _ = split_part(psf)
    return Image(values, table.file, "psf", path=path, checks=tuple(checks))


def _psf_table(psf: Any) -> PsfTable | None:
    """Return the radial profiles of a file that holds any."""
    if not is_fits(psf):
        return None
    with fits_file(psf) as hdus:
        if "THETA" in hdus:
            return read_psf_table(hdus, psf)
        if "PSF_BANDS" in hdus:
            return read_mapdataset_psf(hdus, psf)
    return None


def _exposure(
    exposure: Any, counts: Image, edges: Quantity | None, spectral_index: float
) -> Image | None:
    """Return the exposure at the pixels and bins of the counts; an array stays where it is."""
    if exposure is None:
        return None
    if not is_fits(exposure) or counts.wcs is None:
        image = read_image(exposure, "exposure")
        known = (*image.checks, unit_unsaid(image.file))
        return image if image.unit else replace(image, unit=UNIT, checks=known)
    path, _ = split_part(exposure)
    with fits_file(exposure) as hdus:
        nodes = read_exposure(hdus, path, counts.wcs, counts.values.shape[-2:])
    if len(nodes.energy) == 1:
        values = np.broadcast_to(nodes.values[0], counts.values.shape)
    elif edges is None:
        what = {"what": "exposure", "n": len(nodes.energy), "instead": "an exposure map"}
        raise DataError(f"{counts.file}: {NO_ENERGIES.format(**what)}")
    else:
        means = nodes.averaged(edges.to_value("MeV"), spectral_index)
        values = means if counts.values.ndim == 3 else means[0]
    return Image(
        values, str(path), "exposure", counts.wcs, unit=UNIT, path=path, checks=nodes.checks
    )


def _background(source: Any) -> Any:
    """Return the background of a file, or in an array; a number as it is."""
    if is_number(source):
        return source
    named = f"{source}[BACKGROUND]" if mapdataset_parts(source) else source
    return read_binned(named, "background")[0]
