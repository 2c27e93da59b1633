"""Convolution with a point-spread function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.attribution import Attribution
from skyfold.columns import Columns
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.response import Response, Rows
from skyfold.vector import Array
from skyfold_responses.attribution import Footprints
from skyfold_responses.convolution import Direct, Ducc, Engine, Fourier, Scipy, cast_as
from skyfold_responses.layout import Boundary, Layout, as_planes, border_pixels, lay_out
from skyfold_responses.points import BESIDE, Points
from skyfold_responses.ratio import Ratio

# The direct sum wins up to about 11 x 11 elements with AVX2 and beyond 17 x 17 with AVX-512
# (tests/benchmarks/README.md).
DIRECT_ELEMENTS = 121


class Psf(Response):
    """Convolution with a point-spread function: values per pixel to values per pixel.

    Element ``(k - 1)//2`` of each kernel axis is the pixel that light came from: the middle of an
    odd kernel, the one before the middle of an even kernel (as in `scipy.signal.convolve`). The
    kernel is taken as it is: nothing is centred, normalised or clipped.

    Parameters
    ----------
    kernel
        ``(x,)`` for one-dimensional data, ``(y, x)``, or ``(energy, y, x)``: one per energy.
    data_shape
        ``(x,)``, ``(y, x)`` or ``(energy, y, x)``; a ``(y, x)`` kernel serves all energies.
    boundary
        What lies outside the data. ``extended``: more sky, part of the model, from which light
        scatters into the data; ``same``: darkness. ``reflect`` (the edge pixel repeated) and
        ``periodic`` serve for comparison with other programs.
    engine
        ``auto``, ``direct``, ``scipy``, or ``ducc`` (needs the optional library ducc0).
    dtype
        Precision of the arithmetic, float64 or float32; results have the dtype of the argument.
    workers
        Threads.
    margin
        Pixels by which an extended model reaches over the data on each side, for all axes or
        per axis: by default as far as light can come from, the half-width of the kernel.
    further
        Further kernels, which only point sources may have.

    Attributes
    ----------
    field : tuple of slice
        Picks the pixels of the data out of a model.
    kernel, parameters
        The kernel; the expected counts are linear in it.

    Raises
    ------
    ConfigError
        If an option is unknown, the margin is beyond the reach of the kernel, or further kernels
        are given for a reflecting boundary.
    DataError
        If kernel and data do not fit together, or the kernel is empty or not finite.
    MissingExtraError
        If ``engine`` is ``ducc`` and ducc0 is not installed.
    """

    def __init__(
        self,
        kernel: Any,
        data_shape: Sequence[int],
        boundary: Boundary = "extended",
        engine: Literal["auto", "scipy", "ducc", "direct"] = "auto",
        dtype: Any = np.float64,
        workers: int = 1,
        margin: int | Sequence[int] | None = None,
        further: Sequence[Any] = (),
    ) -> None:
        if boundary not in ("extended", "same", "reflect", "periodic"):
            raise ConfigError(f"boundary {boundary!r} is none of extended, same, reflect, periodic")
        if boundary == "reflect" and further:
            raise ConfigError("PSFs of point sources do not go with the boundary reflect")
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, not {workers}")
        self.data_shape = tuple(int(n) for n in data_shape)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float64, np.float32):
            raise ConfigError(f"a PSF computes in float64 or float32, not {self.dtype}")
        self.kernel = self.parameters = np.asarray(kernel, np.float64)
        self._options = (boundary, engine, dtype, workers, margin, further)
        self._further, self.psfs = further, 1 + len(further)
        self._planes, planes, axes = as_planes(self.kernel, self.data_shape)

        layout, planes = lay_out(planes, self._planes[1:], boundary, margin, axes)
        self._layout, self._kernels, self.workers = layout, planes, workers
        cyclic = boundary == "periodic"
        self.engine = _choose(engine, planes, layout, self.dtype, workers, cyclic)
        exact = isinstance(self.engine, Direct) and bool(np.all(planes >= 0))
        self.accuracy = 0.0 if exact else 16 * float(np.finfo(self.dtype).eps)

        self._border = border_pixels(layout, boundary)
        self._wraps = cyclic and isinstance(self.engine, Fourier)  # needs no frame
        model, before = (
            (layout.model, layout.before) if self._border is None else (layout.data, (0, 0))
        )
        self._model_planes = (self._planes[0], *model)
        leading = self.data_shape[: len(self.data_shape) - axes]
        self.model_shape = (*leading, *model[2 - axes :])
        inner = zip(before, layout.data, strict=True)
        self.field = (
            *(slice(None) for _ in leading),
            *[slice(b, b + n) for b, n in inner][2 - axes :],
        )

    def forward(self, values: Array) -> Array:
        """Return the convolved values, shape ``data_shape``."""
        model = values.reshape(self._model_planes) if self._wraps else self._framed(values)
        return cast_as(values, self.engine.forward(model)).reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return the correlation with the kernel, shape ``model_shape``."""
        return cast_as(weights, self._folded(self.engine.adjoint(weights.reshape(self._planes))))

    def sensitivity(self, weight: Array) -> Array:
        """Return R^T w; one number for all where no light is lost and no pixel weighs more."""
        if self._options[0] != "periodic" or self.kernel.ndim > 2 or any(weight.strides):
            return self.adjoint(weight)
        light = weight.flat[0] * np.sum(self.kernel)
        return np.broadcast_to(light.astype(weight.dtype), self.model_shape)

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Return expectation, R^T(n/e) and the sum of n log e; the others are added in place."""
        if others is None:
            return super().e_step(values, counts, others)
        expectation = self.forward(values).ravel()
        ratio = np.empty_like(expectation)
        fit = poisson_ratio(counts, expectation, self.accuracy, ratio, others)
        return expectation, self.adjoint(ratio.reshape(self.data_shape)), fit

    def back_project(
        self, counts: Array, expectation: Array, accuracy: float
    ) -> tuple[Array, float]:
        """Return R^T(n/e) and the sum of n log e; Fourier transforms take n/e row by row."""
        if not isinstance(self.engine, Fourier):
            return super().back_project(counts, expectation, accuracy)
        ratio = Ratio(counts, expectation, self._planes, accuracy, self.engine.rows)
        back = cast_as(expectation, self._folded(self.engine.adjoint(ratio)))
        return back, ratio.fit

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which value each count came from, visiting only the pixels with counts.

        Raises
        ------
        DataError
            If the kernel has negative elements, or nothing can make the counts of a pixel.
        """
        return self.attribute_some(None, values, counts, others, rng)

    def attribute_some(
        self,
        pixels: Array | None,
        values: Array,
        counts: Array,
        others: Array | None,
        rng: np.random.Generator,
    ) -> Attribution:
        """Draw the same for the counts of some pixels of the data, given by their flat numbers."""
        model = values.reshape(self._model_planes)
        found = self._footprints.attribute(model, counts, others, rng, self.workers, pixels)
        return found._replace(drawn=found.drawn.reshape(self.model_shape))

    def rows(self, bins: Array) -> Response:
        """Return a view of some pixels; only to attribute counts is it quicker than the whole."""
        return SomePixels(self, bins)

    divisions = 1

    def columns(self, places: Array) -> Columns:
        """Return which pixels of the data these values light, and how much."""
        return self._footprints.columns(places)

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Return what point sources make, between pixels too: a kernel, shifted exactly."""
        if self._options[0] == "reflect":
            return super().points(places)
        first = Grid(self.model_shape, field=self.field).first
        cyclic = self._options[0] == "periodic"
        kernels = [self.kernel, *self._further]
        return Points(kernels, places - first, self.data_shape, which, cyclic)

    def moved(self, by: Array) -> Psf:
        """Return the convolution with kernels shifted by parts of a pixel, none below zero."""
        boundary, engine, dtype, workers, margin, further = self._options
        kernels = [moved_kernel(kernel, by) for kernel in (self.kernel, *further)]
        return Psf(
            kernels[0], self.data_shape, boundary, engine, dtype, workers, margin, kernels[1:]
        )

    @cached_property
    def _footprints(self) -> Footprints:
        return Footprints(self._kernels, self._layout, self._border, self._model_planes)

    def at(self, parameters: Array) -> Psf:
        """Return the same convolution with another kernel of the same shape."""
        return Psf(parameters, self.data_shape, *self._options)

    def tangent(self, values: Array) -> Response:
        """Return the map from kernels to expected counts, with these values in the sky."""
        return KernelTangent(self, values)

    def surrounded(self, values: Array) -> Array:
        """Return all that light can come from, planes of ``data + kernel - 1`` pixels."""
        model = self._framed(values)
        layout, size = self._layout, (1, 1, *self.kernel.shape)[-2:]
        around = [(0, 0)]
        for axis in (0, 1):
            centre = (size[axis] - 1) // 2
            before = size[axis] - 1 - centre - layout.before[axis]
            around.append((before, centre - layout.after[axis]))
        return np.pad(model, around)

    def _folded(self, model: Array) -> Array:
        """Return planes with what the boundary made of their surroundings added to them."""
        if self._border is not None and not self._wraps:
            for axis, index in enumerate(self._border, start=1):
                model = _fold(model, index, axis)
        return model.reshape(self.model_shape)

    def _framed(self, values: Array) -> Array:
        """Return the values as planes, with what the boundary makes of their surroundings."""
        model = values.reshape(self._model_planes)
        if self._border is not None:
            for axis, index in enumerate(self._border, start=1):
                model = np.take(model, index, axis)
        return model


class SomePixels(Rows):
    """Some pixels of the data behind a convolution."""

    whole: Psf

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which value each count came from, visiting only these pixels."""
        return self.whole.attribute_some(self.bins, values, counts, others, rng)


class KernelTangent(Response):
    """A convolution seen as a linear map of its kernel, for values held fixed.

    Parameters
    ----------
    psf
        The convolution.
    values
        Values of its component.
    """

    def __init__(self, psf: Psf, values: Array) -> None:
        from scipy.fft import next_fast_len, rfft2

        kernel = psf.kernel
        self.model_shape, self.data_shape = kernel.shape, psf.data_shape
        self.accuracy = 16 * float(np.finfo(psf.dtype).eps)
        around = psf.surrounded(values).astype(psf.dtype, copy=False)
        planes, y, x = around.shape
        self._kernels = (1,) * (3 - kernel.ndim) + kernel.shape
        self._planes = (planes, y - self._kernels[1] + 1, x - self._kernels[2] + 1)
        self._period = next_fast_len(y, real=True), next_fast_len(x, real=True)
        self._spectrum = rfft2(around, self._period)

    def forward(self, values: Array) -> Array:
        """Return the expected counts of a kernel."""
        from scipy.fft import irfft2, rfft2

        _, y, x = self._kernels
        spectrum = self._spectrum * rfft2(values.reshape(self._kernels), self._period)
        made = irfft2(spectrum, self._period)[:, y - 1 :, x - 1 :]
        made = made[:, : self._planes[1], : self._planes[2]]
        return cast_as(values, made).reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return for each element of the kernel the weights of the counts that it makes."""
        from scipy.fft import irfft2, rfft2

        _, y, x = self._kernels
        spectrum = self._spectrum * rfft2(weights.reshape(self._planes), self._period).conj()
        back = irfft2(spectrum, self._period)[:, y - 1 :: -1, x - 1 :: -1]
        if self._kernels[0] == 1:
            back = back.sum(axis=0)
        return cast_as(weights, np.ascontiguousarray(back)).reshape(self.model_shape)


def _choose(
    name: str, kernel: Array, layout: Layout, dtype: np.dtype[Any], workers: int, cyclic: bool
) -> Engine:
    if name == "auto":
        name = "direct" if kernel[0].size <= DIRECT_ELEMENTS else "scipy"
    if name == "direct":
        return Direct(kernel, layout, dtype, workers)
    if name == "scipy":
        return Fourier(kernel, layout, dtype, workers, Scipy, cyclic)
    if name == "ducc":
        return Fourier(kernel, layout, dtype, workers, Ducc, cyclic)
    raise ConfigError(f"engine {name!r} is none of auto, direct, scipy, ducc")


def moved_kernel(kernel: Array, by: Array) -> Array:
    """Return a kernel of the same shape and sum, shifted along its last two axes."""
    from scipy.ndimage import fourier_shift

    kernel = np.asarray(kernel, np.float64)
    axes = min(kernel.ndim, 2)
    beside = [(0, 0)] * (kernel.ndim - axes) + [(BESIDE, BESIDE)] * axes
    wide = np.fft.fftn(np.pad(kernel, beside))
    moved = np.fft.ifftn(
        fourier_shift(wide, [0.0] * (kernel.ndim - axes) + list(by[axes - 1 :: -1]))
    )
    inside = tuple(slice(a, n - b) for (a, b), n in zip(beside, wide.shape, strict=True))
    found = np.maximum(moved.real[inside], 0)
    planes = tuple(range(kernel.ndim - axes, kernel.ndim))
    found *= kernel.sum(axis=planes, keepdims=True) / found.sum(axis=planes, keepdims=True)
    return found


def _fold(framed: Array, index: Array, axis: int) -> Array:
    """Add what lies on the frame to the pixels it stands for: the transpose of `np.take`."""
    lines = np.moveaxis(framed, axis, 0)
    folded = np.zeros((int(index.max()) + 1, *lines.shape[1:]), framed.dtype)
    for place, line in zip(index, lines, strict=True):
        folded[place] += line
    return np.ascontiguousarray(np.moveaxis(folded, 0, axis))
