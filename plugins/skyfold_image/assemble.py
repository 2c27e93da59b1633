"""From images and a kernel to data: sky, backgrounds, baselines, read noise, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations, shifted
from skyfold.matrices import Template
from skyfold.model import Component
from skyfold.origin import Check, Origin
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_image.align import require_same_pixels
from skyfold_image.counts import CountsUnit, Negative, Saturation, prepared
from skyfold_image.image import Image
from skyfold_image.maps import expected_counts, exposure_values, flux_unit, not_negative
from skyfold_responses.image import BlockSum
from skyfold_responses.psf import Psf
from skyfold_responses.varying import VaryingPsf

Boundary = Literal["extended", "same", "reflect", "periodic"]
Engine = Literal["auto", "direct", "scipy", "ducc"]
Dtype = Literal["float64", "float32"]

SKY, READ_NOISE = "sky", "read noise"
NOT_MEASURED = 1e-3  # of the largest sensitivity
NO_IMAGES: Mapping[str, Image] = {}


def assemble(
    counts: Image,
    kernel: Array,
    *,
    exposure: Image | None = None,
    exposure_unit: str | None = None,
    backgrounds: Mapping[str, Image] = NO_IMAGES,
    baselines: Mapping[str, Image] = NO_IMAGES,
    mask: Image | None = None,
    fit_background: bool = False,
    fit_baseline: bool = False,
    gain: float | None = None,
    counts_unit: CountsUnit = "ct",
    read_noise: Image | float | None = None,
    negative: Negative = "refuse",
    saturation: Saturation = "mask",
    block: int = 1,
    boundary: Boundary = "extended",
    margin: int | None = None,
    engine: Engine = "auto",
    workers: int = 1,
    dtype: Dtype = "float64",
    star_kernels: Sequence[Array] = (),
    psf_places: Array | None = None,
    psf_finer: int = 1,
    checks: Sequence[Check] = (),
    files: Sequence[tuple[str, str]] = (),
    instrument: str = "image",
    name: str = "data",
) -> BinnedData:
    """Join images and a kernel to data with the components of a model.

    counts ~ Poisson(blocks . PSF . exposure . sky  +  backgrounds  +  baselines  +  read noise).

    The sky is modelled on a grid that, with the boundary ``extended``, reaches beyond the data by
    half the kernel, and that is ``block`` times finer than the data. There the exposure continues
    with the values at its edge. Pixels of the sky with less than a thousandth of the greatest
    sensitivity are not measured and stay at zero.

    Parameters
    ----------
    counts
        Counts, shape ``(x,)``, ``(y, x)`` or ``(energy, y, x)``; all other images lie on the same
        pixels.
    kernel
        PSF on the pixels of the sky, shape ``(x,)``, ``(y, x)`` or ``(energy, y, x)``, its
        reference pixel in the middle; or several along a first axis, if they have places.
    exposure
        Counts per unit of flux, such as area times time.
    exposure_unit
        Unit of the exposure, where the image does not state it.
    backgrounds
        Expected counts per pixel by component name.
    baselines
        Known fluxes by component name, in the unit of the sky: they go through exposure and PSF.
    mask
        Pixels to use: those with values other than zero.
    fit_background, fit_baseline
        Fit their normalisations instead of taking them as one.
    gain, counts_unit, read_noise, negative, saturation
        How values become counts; see `skyfold_image.counts.prepared`.
    block
        Pixels of the sky per pixel of the data, along each axis.
    boundary, margin, engine, workers
        See `skyfold_responses.psf.Psf`.
    dtype
        Precision of the arithmetic.
    star_kernels
        Further PSFs, which stars may have.
    psf_places
        Where each of several PSFs holds: x and y in pixels of the data, from 0 at the centre of
        the first, shape ``(n, 2)``.
    psf_finer
        Pixels of these per pixel of the data; see `skyfold_responses.varying.VaryingPsf`.
    checks
        What was looked at before.
    files
        Role and path of the inputs beyond the images given here.
    instrument, name
        Names of instrument and data set.

    Raises
    ------
    DataError
        If the counts cannot be counts, or images do not fit together.
    ConfigError
        If two components have one name, or the exposure has another unit than told.
    """
    for other in (exposure, mask, *backgrounds.values(), *baselines.values()):
        if other is not None:
            require_same_pixels(counts, other)
    noise = _plain_noise(counts, read_noise)
    ready = prepared(
        counts,
        None if mask is None else used(mask),
        unit=counts_unit,
        gain=gain,
        read_noise=noise,
        negative=negative,
        saturation=saturation,
    )
    shape, more = counts.grid.refine(block).shape, (boundary, engine, np.dtype(dtype), workers)
    psf: Psf | VaryingPsf
    if psf_places is None:
        psf = Psf(kernel, shape, *more, margin, star_kernels)
    else:
        places = (psf_places + 0.5) * block - 0.5
        psf = VaryingPsf(list(kernel), places, shape, *more, margin, finer=psf_finer)
    setting = _Setting.of(counts, psf, block, dtype)
    said = [*ready.checks]
    if counts.wcs is None:
        level = "warning" if counts.header is not None else "ok"
        said.append(Check(level, "counts", "no world coordinates: pixel coordinates only"))

    response, unit = setting.response, "ct"
    if exposure is not None:
        factor = exposure_values(exposure, ready.seen, said)
        response = setting.chain(Diagonal(setting.on_model(factor)))
        unit = flux_unit(exposure, exposure_unit, float(factor[ready.seen].max()), said)
    responses: dict[str, Response] = {SKY: response}
    components = {SKY: _sky(setting.grid, response, ready.seen, unit, said)}
    noise_level = 0 if ready.variance is None else ready.variance
    observed = float((ready.values - noise_level)[ready.seen].sum())
    for given, image in backgrounds.items():
        own = _add(responses, given, "background")
        expected = expected_counts(image, own, observed, ready.seen, said)
        responses[own] = Template(expected.astype(dtype))
        components[own] = Component(Normalisations(), fixed=not fit_background)
    for given, image in baselines.items():
        own = _add(responses, given, "baseline")
        flux = setting.on_model(not_negative(image), share=True)
        responses[own] = Template(np.maximum(response.forward(flux), 0).astype(dtype))
        components[own] = Component(Normalisations(), fixed=not fit_baseline)
    if ready.variance is not None:
        responses[_add(responses, READ_NOISE, "")] = Template(ready.variance.astype(dtype))
        components[READ_NOISE] = Component(Normalisations(), fixed=True)

    images = [counts, exposure, mask, *backgrounds.values(), *baselines.values()]
    origin = Origin(
        name=name,
        instrument=instrument,
        files=(*_paths(images), *files),
        checks=(*(c for i in images if i is not None for c in i.checks), *said, *checks),
        geometry=counts.grid,
        header=counts.header,
    )
    return BinnedData(
        ready.values,
        responses,
        ready.seen.astype(dtype),
        components=components,
        origin=origin,
        dtype=dtype,
    )


def used(mask: Image) -> Array:
    """Return where a mask says that pixels are to be used: values that are not zero."""
    chosen: Array = np.isfinite(mask.values) & (mask.values != 0)
    return chosen


@dataclass(frozen=True, eq=False)
class _Setting:
    """The grid of the sky, and the way from there to the counts without exposure.

    Parameters
    ----------
    psf
        The convolution.
    blocks
        Sums of fine pixels, or None where pixels of sky and data are the same.
    grid
        Places of the sky's pixels.
    block
        Pixels of the sky per pixel of the data.
    dtype
        Precision.
    """

    psf: Psf | VaryingPsf
    blocks: BlockSum | None
    grid: Grid
    block: int
    dtype: Dtype

    @classmethod
    def of(cls, counts: Image, psf: Psf | VaryingPsf, block: int, dtype: Dtype) -> _Setting:
        fine = counts.grid.refine(block)
        blocks = BlockSum(block, counts.values.shape) if block > 1 else None
        grid = fine
        if psf.model_shape != fine.shape:
            x, y = (psf.field[-1].start, psf.field[-2].start if len(fine.shape) > 1 else 0)
            wcs = None if fine.wcs is None else shifted(fine.wcs, x, y)
            grid = replace(fine, shape=psf.model_shape, wcs=wcs, field=psf.field)
        return cls(psf, blocks, grid, block, dtype)

    @property
    def response(self) -> Response:
        """From light that was registered, per pixel of the sky, to counts."""
        return self.psf if self.blocks is None else self.blocks @ self.psf

    def chain(self, first: Response) -> Response:
        """Return the way to the counts with one more step before the PSF."""
        inner = self.psf @ first
        return inner if self.blocks is None else self.blocks @ inner

    def on_model(self, values: Array, share: bool = False) -> Array:
        """Return what is known per pixel of the data per pixel of the sky.

        Beyond the data it continues with the values at the edge. With ``share`` the value of a
        pixel is divided among its parts.
        """
        axes = tuple(range(values.ndim))[-2:]
        for axis in axes if self.block > 1 else ():
            values = np.repeat(values, self.block, axis)
        if share:
            values = values / self.block ** len(axes)
        inside = zip(self.psf.field, values.shape, self.grid.shape, strict=True)
        outside = [(f.start or 0, total - n - (f.start or 0)) for f, n, total in inside]
        padded: Array = np.pad(values, outside, mode="edge").astype(self.dtype)
        return padded


def _sky(grid: Grid, response: Response, seen: Array, unit: str, checks: list[Check]) -> Component:
    """Return the component of the image; what is not measured is held at zero."""
    sensitivity = response.sensitivity(seen.astype(float))
    planes = tuple(range(sensitivity.ndim))[-2:]
    measured = sensitivity > NOT_MEASURED * sensitivity.max(axis=planes, keepdims=True)
    if measured.all():
        return Component(grid, unit)
    inside = measured if grid.field is None else measured[grid.field]
    dark = inside.size - np.count_nonzero(inside)
    if dark:
        text = f"{dark} of {inside.size} pixels of the image are not measured: kept at 0"
        checks.append(Check("ok", "sensitivity", text))
    return Component(grid, unit, mask=measured)


def _plain_noise(counts: Image, noise: Image | float | None) -> Array | float | None:
    if not isinstance(noise, Image):
        return noise
    require_same_pixels(counts, noise)
    return noise.values


def _add(responses: Mapping[str, Any], name: str, kind: str) -> str:
    """Return the name of a new component; one named like the image gets its kind before it."""
    own = f"{kind} {name}" if name == SKY else name
    if own in responses:
        raise ConfigError(f"two components are named {own!r}; give each background its own name")
    return own


def _paths(images: Sequence[Image | None]) -> list[tuple[str, str]]:
    return [(i.role, str(i.path)) for i in images if i is not None and i.path is not None]
