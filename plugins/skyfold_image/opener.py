"""Open an observation that consists of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.inputs import by_name
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_image.align import reprojected
from skyfold_image.assemble import Boundary, Dtype, Engine, assemble
from skyfold_image.counts import CountsUnit, Negative, Saturation
from skyfold_image.image import Image
from skyfold_image.kernels import is_text, kernel_from_text
from skyfold_image.maps import uniform
from skyfold_image.psf_field import of_one_shape, psf_field
from skyfold_image.reading import Channels, Encoding, read_image
from skyfold_image.sources import ImageSource, MapSource, PsfSource, is_number
from skyfold_responses.conditioner import condition

NO_PSF = (
    'no PSF: give its image as --psf psf.fits, or its width as --psf "gauss:1.2 pix", '
    '"gauss:0.5 arcsec" or "moffat:1.2 pix,2.5" (FWHM, beta)'
)

PSF_USUALLY = {
    "centre": "centroid",
    "norm": "unit",
    "pedestal": "keep",
    "resample": False,
    "keep": False,
}


def open_image(
    counts: ImageSource,
    psf: PsfSource | None = None,
    *,
    exposure: ImageSource | None = None,
    exposure_unit: str | None = None,
    background: MapSource | Mapping[str, MapSource] | None = None,
    baseline: MapSource | Mapping[str, MapSource] | None = None,
    mask: Literal["nan"] | ImageSource | None = None,
    mask_invert: bool = False,
    fit_background: bool = False,
    fit_baseline: bool = False,
    gain: Annotated[float, Field(gt=0)] | None = None,
    read_noise: Annotated[float, Field(gt=0)] | ImageSource | None = None,
    counts_unit: CountsUnit = "ct",
    negative: Negative = "refuse",
    saturation: Saturation = "mask",
    channels: Channels = "each",
    encoding: Encoding = "auto",
    psf_centre: Literal["centroid", "peak", "keep"] = "centroid",
    psf_norm: Literal["unit", "keep"] = "unit",
    psf_pedestal: Literal["keep", "subtract"] = "keep",
    psf_resample: bool = False,
    psf_keep: bool = False,
    star_psf: tuple[PsfSource, ...] | PsfSource | None = None,
    align: Literal["refuse", "reproject"] = "refuse",
    block: Annotated[int, Field(ge=1, le=16)] = 1,
    boundary: Boundary = "extended",
    margin: Annotated[int, Field(ge=0)] | None = None,
    engine: Engine = "auto",
    workers: Annotated[int, Field(ge=1)] = 1,
    dtype: Dtype = "float64",
    allow_large: bool = False,
    name: str | None = None,
) -> BinnedData:
    """Open images: FITS files, linear TIFF or PNG photographs, or arrays.

    Parameters
    ----------
    counts
        Image of the counts; ``counts.fits[2]`` or ``counts.fits[SCI]`` choose an extension.
    psf
        Point spread function: an image on pixels of the same size, or text like ``gauss:1.2 pix``,
        ``gauss:0.5 arcsec`` or ``moffat:1.2 pix,2.5`` (full width at half maximum, beta). A cube
        whose header says where each of its planes is the PSF, like the standardised PSFs of HST,
        is interpolated between these places; on finer pixels, stars are sampled from it.
    exposure
        Exposure map, such as area times time, on the pixels of the counts.
    exposure_unit
        Unit of the exposure map where its file states none, such as ``cm2 s``.
    background
        Expected background counts per bin, as an image or a number, the same everywhere; several
        by name.
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
    gain
        Counts per unit of the image.
    read_noise
        Standard deviation of the detector's read noise in counts, a number or an image; negative
        values are then legal.
    counts_unit
        Unit of the image; ``ct/s`` is multiplied by the exposure time in the header.
    negative
        What to do with negative values.
    saturation
        What to do with pixels at the largest number that the file can hold.
    channels
        Restore each channel of a colour image, or their luma.
    encoding
        Whether photographs are linear or sRGB-encoded; ``auto`` takes them as linear and warns.
    psf_centre
        What of the PSF comes to lie in the middle; ``keep`` leaves it where it is.
    psf_norm
        Bring the sum of the PSF to one, or keep it because it contains an efficiency.
    psf_pedestal
        Keep or subtract the level at the edge of the PSF.
    psf_resample
        Bring a PSF with pixels of another size to the pixels of the image.
    psf_keep
        Take the PSF exactly as it is.
    star_psf
        Further PSFs, one or several, for stars whose list says so: the PSF of the image is number
        1, these are 2, 3, ... They are treated as it is.
    align
        Refuse an exposure map on other pixels, or interpolate it.
    block
        Pixels of the restored image per pixel of the counts along each axis; the PSF is then given
        on these finer pixels.
    boundary
        What lies outside of the image; ``extended`` models the sky beyond its edge.
    margin
        Pixels of sky modelled beyond each edge; half of the PSF by default. Observations that are
        restored together need the same.
    engine
        How to convolve.
    workers
        Threads of the convolution.
    dtype
        Precision of the arithmetic.
    allow_large
        Read files that unpack to far more than their size.
    name
        Name of the data set; that of the file by default.

    Returns
    -------
    data
        With the component ``sky``, one for each background and baseline, and ``read noise``.

    Raises
    ------
    ConfigError
        If there is no PSF, a number is not what it must be, or options contradict each other.
    DataError
        If an image is not what it must be.
    FileError
        If a file cannot be read.
    """

    def read(source: Any, role: str) -> Image:
        return read_image(
            source, role, channels=channels, encoding=encoding, allow_large=allow_large
        )

    def maps(given: Any, role: str) -> dict[str, Image]:
        return {
            n: uniform(i, role, n, image.values.shape) if is_number(i) else read(i, role)
            for n, i in by_name(given, role).items()
        }

    if psf is None:
        raise ConfigError(NO_PSF)
    _require(
        ("--mask-invert", mask_invert, "--mask", mask),
        ("--fit-background", fit_background, "--background", background),
        ("--fit-baseline", fit_baseline, "--baseline", baseline),
        ("--exposure-unit", exposure_unit is not None, "--exposure", exposure),
        ("--align reproject", align == "reproject", "--exposure", exposure),
    )
    image = read(counts, "counts")
    stars = () if star_psf is None else star_psf
    stars = stars if isinstance(stars, list | tuple) else [stars]
    psf = psf if is_text(psf) else read_image(psf, "psf", allow_large=allow_large)
    field = psf_field(psf, image, block) if isinstance(psf, Image) else None
    if field and stars:
        raise ConfigError("--star-psf does not go with a PSF that varies over the field")
    finer = field.finer if field else 1
    kernels, psf_checks, psf_files = _kernels(
        field.planes if field else [psf, *stars],
        replace(image, wcs=None) if field else image,
        block * finer,
        allow_large,
        centre=psf_centre,
        norm=psf_norm,
        pedestal=psf_pedestal,
        resample=psf_resample,
        keep=psf_keep,
    )
    if field:
        kernels, psf_files = [np.stack(of_one_shape(kernels))], psf_files[:1]
        psf_checks = [*(check for check in psf_checks if check.subject == "psf"), field.check]
    area = None if exposure is None else read(exposure, "exposure")
    if area is not None and align == "reproject" and area.grid.difference(image.grid):
        area = reprojected(area, image)
    noise = read_noise
    if noise is not None and not isinstance(noise, int | float):
        noise = read(noise, "read noise")
    return assemble(
        image,
        kernels[0],
        exposure=area,
        exposure_unit=exposure_unit,
        backgrounds=maps(background, "background"),
        baselines=maps(baseline, "baseline"),
        mask=_mask(mask, mask_invert, image, allow_large),
        fit_background=fit_background,
        fit_baseline=fit_baseline,
        gain=gain,
        counts_unit=counts_unit,
        read_noise=noise,
        negative=negative,
        saturation=saturation,
        block=block,
        boundary=boundary,
        margin=margin,
        engine=engine,
        workers=workers,
        dtype=dtype,
        star_kernels=kernels[1:],
        psf_places=field.places if field else None,
        psf_finer=finer,
        checks=psf_checks,
        files=psf_files,
        name=name or _stem(image),
    )


def _require(*needs: tuple[str, bool, str, Any]) -> None:
    """Refuse options that ask for something to be done with what is not there."""
    for option, asked, needed, given in needs:
        if asked and (given is None or (isinstance(given, Mapping) and not given)):
            raise ConfigError(f"{option} needs a {needed}")


def _kernels(
    psfs: Sequence[Any], counts: Image, block: int, allow_large: bool, **options: Any
) -> tuple[list[Array], list[Check], list[tuple[str, str]]]:
    """Return the kernels of several PSFs, what was found, and their files."""
    kernels, checks, files = [], list[Check](), list[tuple[str, str]]()
    for number, psf in enumerate(psfs, 1):
        kernel, own, paths = _kernel(psf, counts, block, allow_large, **options)
        role = "psf" if number == 1 else f"star_psf {number}"
        kernels.append(kernel)
        checks += [replace(check, subject=role) if number > 1 else check for check in own]
        files += [(role, path) for _, path in paths]
    return kernels, checks, files


def _kernel(
    psf: Any, counts: Image, block: int, allow_large: bool, **options: Any
) -> tuple[Array, tuple[Check, ...], list[tuple[str, str]]]:
    """Return the kernel on the pixels of the sky, what was found, and its file."""
    asked = [f"--psf-{name}" for name, value in options.items() if value != PSF_USUALLY[name]]
    if is_text(psf):
        if asked:
            raise ConfigError(f"{asked[0]} is for the image of a PSF, not for {psf}")
        kernel = kernel_from_text(psf, counts.grid, block)
        size = " x ".join(map(str, kernel.shape[::-1]))
        return kernel, (Check("ok", "psf", f"{psf}: kernel of {size} pixels"),), []
    if options["keep"] and len(asked) > 1:
        raise ConfigError(
            f"--psf-keep takes the PSF exactly as it is, {asked[0]} says what to do with it: "
            "leave one of them out"
        )
    image = read_image(psf, "psf", allow_large=allow_large)
    fine = counts.grid.refine(block)
    try:
        ready = condition(
            image.values,
            pixel_size=image.grid.pixel_size,
            data_pixel_size=fine.pixel_size,
            rotation=_rotation(image, counts),
            max_shape=fine.shape,
            **options,
        )
    except DataError as error:
        finer = f" (with --block {block} the data pixels are those finer ones)" if block > 1 else ""
        raise DataError(f"{image.file}: {error}{finer}") from None
    files = [] if image.path is None else [("psf", str(image.path))]
    return ready.kernel, (*image.checks, *ready.checks), files


def _rotation(psf: Image, counts: Image) -> float:
    """Return by how many degrees the axes of the PSF are turned against those of the counts."""
    if psf.wcs is None or counts.wcs is None:
        return 0.0
    if tuple(psf.wcs.wcs.ctype) != tuple(counts.wcs.wcs.ctype):
        return 0.0  # other projections or frames say nothing of the detector
    mine, theirs = psf.wcs.pixel_scale_matrix, counts.wcs.pixel_scale_matrix
    angles = [np.arctan2(m[0, 1] * np.sign(m[0, 0] * m[1, 1]), m[1, 1]) for m in (mine, theirs)]
    return float(np.rad2deg(angles[0] - angles[1]))


def _mask(given: Any, invert: bool, counts: Image, allow_large: bool) -> Image | None:
    """Return the mask, not zero where pixels are to be used."""
    if given is None:
        return None
    if isinstance(given, str) and given == "nan":
        used = np.isfinite(counts.values)
        mask = replace(counts, values=used.astype(float), role="mask", path=None, checks=())
    else:
        mask = read_image(given, "mask", allow_large=allow_large)
    if not invert:
        return mask
    return replace(mask, values=(mask.values == 0).astype(float))


def _stem(counts: Image) -> str:
    return "data" if counts.path is None else Path(counts.path).name.partition(".")[0]
