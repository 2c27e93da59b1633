"""Convolution of planes by Fourier transform or by a compiled direct sum, and the exact adjoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from skyfold.errors import require
from skyfold.vector import Array
from skyfold_responses._kernels import correlate
from skyfold_responses.layout import Layout, Pair
from skyfold_responses.ratio import Ratio


class Engine(ABC):
    """Convolution of ``(planes, y, x)`` arrays on one layout."""

    @abstractmethod
    def forward(self, model: Array) -> Array:
        """Return the convolved model on the data pixels, a new contiguous array."""

    @abstractmethod
    def adjoint(self, data: Array) -> Array:
        """Return the transpose, on the model pixels, a new contiguous array."""


class Direct(Engine):
    """The sum itself: exact to the last digits, fastest for small kernels.

    Parameters
    ----------
    kernel
        One kernel, or one for each plane: (planes or 1, y, x).
    layout
        Which pixels are joined.
    dtype
        float64 or float32.
    workers
        Threads.
    """

    def __init__(self, kernel: Array, layout: Layout, dtype: np.dtype[Any], workers: int) -> None:
        self.kernel = np.ascontiguousarray(kernel, dtype)
        self.flipped = np.ascontiguousarray(self.kernel[:, ::-1, ::-1])
        self.dtype, self.workers, self.layout = dtype, workers, layout
        (sy, sx), (ey, ex) = layout.reach
        (by, bx), (ay, ax) = layout.before, layout.after
        self._around_model = (sy - by, ey - ay), (sx - bx, ex - ax)
        self._around_data = (ey + by, sy + ay), (ex + bx, sx + ax)

    def forward(self, model: Array) -> Array:
        """Return the convolved model on the data pixels."""
        padded = self._pad(model, self._around_model)
        return correlate(padded, self.flipped, self.workers)

    def adjoint(self, data: Array) -> Array:
        """Return the transpose, on the model pixels."""
        padded = self._pad(data, self._around_data)
        return correlate(padded, self.kernel, self.workers)

    def _pad(self, image: Array, around: tuple[Pair, Pair]) -> Array:
        (top, bottom), (left, right) = around
        planes, y, x = image.shape
        if not (top or bottom or left or right):
            return np.ascontiguousarray(image, self.dtype)
        padded = np.zeros((planes, top + y + bottom, left + x + right), self.dtype)
        padded[:, top : top + y, left : left + x] = image
        return padded


class Fourier(Engine):
    """Convolution by real Fourier transforms, axis by axis.

    The transform of the kernel is made once. The adjoint needs its complex conjugate, which the
    same product gives between transforms of the opposite sign, for real images. The period is only
    as long as wrap-around stays outside what is kept: ``n + (k - 1)/2`` for model and data of ``n``
    pixels, ``n + k - 1`` for an extended model. Rows that are zero or thrown away are never
    transformed, and blocks of rows and columns stay in the processor's cache.

    Parameters
    ----------
    kernel
        One kernel, or one for each plane: (planes or 1, y, x).
    layout
        Which pixels are joined.
    dtype
        float64 or float32.
    workers
        Threads.
    transforms
        `Scipy` or `Ducc`.
    cyclic
        Let light that leaves at one end come in at the other: the period is the size of the data.
    """

    def __init__(
        self,
        kernel: Array,
        layout: Layout,
        dtype: np.dtype[Any],
        workers: int,
        transforms: type[Scipy] | type[Ducc],
        cyclic: bool = False,
    ) -> None:
        from scipy.fft import next_fast_len

        if cyclic:
            layout = replace(layout, before=(0, 0), after=(0, 0))
        self.layout, self.dtype, self.workers = layout, dtype, workers
        self.transforms = transforms(workers)
        start, end = layout.reach
        least = [
            n + max(after + s, before + e)
            for n, before, after, s, e in zip(
                layout.data, layout.before, layout.after, start, end, strict=True
            )
        ]
        fast = next_fast_len(least[0]), next_fast_len(least[1], real=True)
        self.period = layout.data if cyclic else fast
        origin = tuple(c + b for c, b in zip(layout.centre, layout.before, strict=True))
        transform = transfer(kernel, origin, self.period)
        self.spectral_dtype = np.result_type(dtype, np.complex64)
        self._cyclic, whole = cyclic, [slice(0, transform.shape[2])]
        self._columns = whole if cyclic else self._blocks(transform.shape[2], self.period[0])
        # block by block, for each plane: memory is read in the order in which it lies
        self._factors = [
            [np.ascontiguousarray(plane[:, c], self.spectral_dtype) for c in self._columns]
            for plane in transform
        ]

    def forward(self, model: Array) -> Array:
        """Return the convolved model on the data pixels."""
        return self._convolve(model, self.layout.data, adjoint=False)

    def adjoint(self, data: Array | Ratio) -> Array:
        """Return the transpose, on the model pixels."""
        return self._convolve(data, self.layout.model, adjoint=True)

    def _convolve(self, image: Array | Ratio, shape: Pair, *, adjoint: bool) -> Array:
        if self._cyclic:
            return self._around(image, adjoint=adjoint)
        period_x, (planes, given_y, given_x) = self.period[1], image.shape
        spectrum = np.empty((max(given_y, shape[0]), period_x // 2 + 1), self.spectral_dtype)
        lines = np.zeros((self._block(period_x), period_x), self.dtype)
        result = np.empty((planes, *shape), self.dtype)
        for p in range(planes):
            for rows in self._blocks(given_y, period_x):
                block = lines[: rows.stop - rows.start]
                block[:, :given_x] = image[p, rows]
                spectrum[rows] = self.transforms.rows(block, adjoint=adjoint)
            factors = self._factors[p % len(self._factors)]
            for columns, factor in zip(self._columns, factors, strict=True):
                block = np.empty(factor.shape, self.spectral_dtype)
                block[:given_y], block[given_y:] = spectrum[:given_y, columns], 0
                block = self.transforms.filter_columns(block, factor, adjoint=adjoint)
                spectrum[: shape[0], columns] = block[: shape[0]]
            for rows in self._blocks(shape[0], period_x):
                block = self.transforms.back(spectrum[rows], period_x, adjoint=adjoint)
                result[p, rows] = block[:, : shape[1]]
        return result

    def _around(self, image: Array | Ratio, *, adjoint: bool) -> Array:
        """Return the planes convolved on their own period: nothing is zero or thrown away."""
        made = []
        for p in range(image.shape[0]):
            (factor,) = self._factors[p % len(self._factors)]
            if isinstance(image, Ratio):
                made.append(self._in_place(image, p, factor))
                continue
            plane = image[p].astype(self.dtype, copy=False)
            spectrum = self.transforms.rows(plane, adjoint=adjoint)
            spectrum = self.transforms.filter_columns(spectrum, factor, adjoint=adjoint)
            made.append(self.transforms.back(spectrum, self.period[1], adjoint=adjoint))
        return made[0][None] if len(made) == 1 else np.stack(made)

    def _in_place(self, ratio: Ratio, p: int, factor: Array) -> Array:
        """Return the adjoint of one plane, in the memory of its spectrum."""
        y, x = self.period
        spectrum = np.empty((y, x // 2 + 1), self.spectral_dtype)
        for rows in self._blocks(y, x):
            lines = ratio[p, rows].astype(self.dtype, copy=False)
            spectrum[rows] = self.transforms.rows(lines, adjoint=True)
        spectrum = self.transforms.filter_columns(spectrum, factor, adjoint=True)
        plane = spectrum.view(self.dtype).reshape(-1)[: y * x].reshape(y, x)
        for rows in self._blocks(y, x):  # a row of pixels ends before its spectrum does
            plane[rows] = self.transforms.back(spectrum[rows], x, adjoint=True)
        return plane

    @property
    def rows(self) -> int:
        """How many rows a worker transforms at a time."""
        return self._block(self.period[1]) // self.workers

    def _block(self, length: int) -> int:
        """Return how many transforms of this length fit the cache, for each worker."""
        return max(16, (1 << 15) // length) * self.workers

    def _blocks(self, count: int, length: int) -> list[slice]:
        """Cut ``count`` transforms of ``length`` into blocks that fit the cache."""
        size = self._block(length)
        return [slice(at, min(at + size, count)) for at in range(0, count, size)]


def transfer(kernel: Array, origin: tuple[int, ...], period: tuple[int, ...]) -> Array:
    """Return the half spectra of kernels on a period, ``(planes, y, x)``.

    Parameters
    ----------
    kernel
        Kernels, shape ``(planes, y, x)``; what is longer than the period is wrapped around.
    origin
        The element that leaves light where it is.
    period
        Pixels in y and x.
    """
    from scipy.fft import rfft2

    sizes = zip(kernel.shape[1:], origin, period, strict=True)
    y, x = ((np.arange(elements) - o) % n for elements, o, n in sizes)
    wrapped = np.zeros((len(kernel), *period))
    for plane, one in zip(wrapped, kernel, strict=True):
        np.add.at(plane, np.ix_(y, x), one)
    spectra: Array = rfft2(wrapped)
    return spectra


def cast_as(given: Array, result: Array) -> Array:
    """Return the result in the floating dtype of what was given."""
    return result.astype(given.dtype, copy=False) if given.dtype.kind == "f" else result


class Scipy:
    """Transforms by scipy.fft."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def rows(self, image: Array, *, adjoint: bool) -> Array:
        """Return the half spectrum of each row."""
        from scipy.fft import ihfft, rfft

        spectrum: Array = (ihfft if adjoint else rfft)(image, axis=1, workers=self.workers)
        return spectrum

    def filter_columns(self, spectrum: Array, factor: Array, *, adjoint: bool) -> Array:
        """Multiply the transform of each column by ``factor``, and go back, in place."""
        from scipy.fft import fft, ifft

        there, back = (ifft, fft) if adjoint else (fft, ifft)
        spectrum = there(spectrum, axis=0, overwrite_x=True, workers=self.workers)
        spectrum *= factor
        filtered: Array = back(spectrum, axis=0, overwrite_x=True, workers=self.workers)
        return filtered

    def back(self, spectrum: Array, length: int, *, adjoint: bool) -> Array:
        """Return the rows of a half spectrum."""
        from scipy.fft import hfft, irfft

        image: Array = (hfft if adjoint else irfft)(spectrum, length, axis=1, workers=self.workers)
        return image


class Ducc:
    """Transforms by ducc0, an optional library under the GPL: faster than scipy.fft.

    Raises
    ------
    MissingExtraError
        If ducc0 is not installed.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        require("ducc0", "ducc")

    def rows(self, image: Array, *, adjoint: bool) -> Array:
        """Return the half spectrum of each row."""
        from ducc0.fft import r2c

        spectrum: Array = r2c(image, axes=(1,), forward=not adjoint, nthreads=self.workers)
        return spectrum

    def filter_columns(self, spectrum: Array, factor: Array, *, adjoint: bool) -> Array:
        """Multiply the transform of each column by ``factor``, and go back, in place."""
        from ducc0.fft import c2c

        both: dict[str, Any] = {"axes": (0,), "out": spectrum, "nthreads": self.workers}
        c2c(spectrum, forward=not adjoint, **both)
        spectrum *= factor
        c2c(spectrum, forward=adjoint, inorm=2, **both)
        return spectrum

    def back(self, spectrum: Array, length: int, *, adjoint: bool) -> Array:
        """Return the rows of a half spectrum."""
        from ducc0.fft import c2r

        image: Array = c2r(
            spectrum,
            lastsize=length,
            axes=(1,),
            forward=adjoint,
            inorm=2,
            nthreads=self.workers,
        )
        return image
