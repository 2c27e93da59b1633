"""Point sources anywhere between pixels, seen through a point-spread function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from skyfold.attribution import Attribution
from skyfold.errors import DataError
from skyfold.matrices import Matrix
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses.convolution import cast_as, transfer
from skyfold_responses.layout import as_planes

Shares = Callable[[Array], Array]
BESIDE = 16  # pixels of dark around the data, where the ringing of a shifted kernel ends


class Points(Response):
    """Kernels at given places, exactly: shifted by a phase in the Fourier transform.

    A source at ``(x, y)`` makes ``irfft2(K exp(-2 pi i (k_x x + k_y y)))`` times its flux, with the
    transform K of its kernel. In whole pixels that is the kernel itself. Between them it is the
    only image that the samples of a well-sampled kernel allow; where a kernel is narrower than
    about two pixels, give it on finer pixels. Sources cost no image each: the sum over phases is
    a product of two thin matrices.

    Parameters
    ----------
    kernels
        One or more, as `Psf` takes them.
    places
        x and y of each source in pixels of the data, from 0 at the centre of the first, shape
        ``(n, 2)``; y is not looked at where the data have one axis.
    data_shape
        ``(x,)``, ``(y, x)`` or ``(energy, y, x)``.
    which
        Number of the kernel of each source, from 0; the first by default. Or a function that
        gives for places, shape ``(n, 2)``, the share of each kernel, shape ``(n, kernels)``.
    cyclic
        Whether light that leaves at one end comes in at the other, instead of being lost.

    Attributes
    ----------
    parameters
        The places.

    Raises
    ------
    DataError
        If kernels and data do not fit together, or a source asks for a kernel that is not there.
    """

    parameters: Array

    def __init__(
        self,
        kernels: Sequence[Any],
        places: Array,
        data_shape: Sequence[int],
        which: Array | Shares | None = None,
        cyclic: bool = False,
    ) -> None:
        self.data_shape = tuple(int(n) for n in data_shape)
        self.parameters = np.asarray(places, np.float64)
        self.model_shape = (len(self.parameters), *self.data_shape[:-2])
        self._which, self.cyclic, self._kernels = which, cyclic, kernels
        self._share = self._shares(which)
        planes = [as_planes(np.asarray(kernel, np.float64), self.data_shape) for kernel in kernels]
        self._planes = planes[0][0]
        self._period = self._periods([p for _, p, _ in planes])
        self.accuracy = 16 * float(np.finfo(np.float64).eps)
        self._transfer = [
            transfer(p, tuple((k - 1) // 2 for k in p.shape[1:]), self._period)
            for _, p, _ in planes
        ]
        self._y, self._x = self._phases()

    def forward(self, values: Array) -> Array:
        """Return the expected counts, shape ``data_shape``."""
        return self._made([(values, self._y, self._x)], values)

    def adjoint(self, weights: Array) -> Array:
        """Return the weight that each source collects, shape ``model_shape``."""
        (collected,) = self._collected(weights, [(self._y, self._x)])
        return collected

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which source each count came from; negative parts of shifted kernels are left out.

        Raises
        ------
        DataError
            If no source can make the counts of a bin.
        """
        return self._matrix.attribute(values, counts, others, rng)

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Return the same for other sources."""
        chosen = self._which if callable(self._which) else which
        return Points(self._kernels, places, self.data_shape, chosen, self.cyclic)

    def at(self, parameters: Array) -> Points:
        """Return the same sources elsewhere."""
        return Points(self._kernels, parameters, self.data_shape, self._which, self.cyclic)

    def tangent(self, values: Array) -> Response:
        """Return the map from moves of the sources, shape ``(n, 2)``, to expected counts."""
        return PointsTangent(self, values)

    def _shares(self, which: Array | Shares | None) -> Array:
        if callable(which):
            return which(self.parameters)
        number: Array = np.zeros(len(self.parameters), int)
        if which is not None:
            number = np.asarray(which)
        if np.any(wrong := (number < 0) | (number >= len(self._kernels))):
            first, many = int(np.argmax(wrong)), len(self._kernels)
            raise DataError(
                f"source {first + 1} asks for PSF {number[first] + 1}, but there "
                f"{'is one' if many == 1 else f'are {many}'}"
            )
        one: Array = np.eye(len(self._kernels))[number]
        return one

    def _periods(self, kernels: Sequence[Array]) -> tuple[int, int]:
        from scipy.fft import next_fast_len

        if self.cyclic:
            return self._planes[1:]
        least = [
            n + max(kernel.shape[axis] for kernel in kernels) + BESIDE
            for axis, n in enumerate(self._planes[1:], start=1)
        ]
        y = 1 if len(self.data_shape) == 1 else next_fast_len(least[0])
        return y, next_fast_len(least[1], real=True)

    def _phases(self) -> tuple[Array, Array]:
        """Return the phases of each source, shapes (frequencies in y, n) and (n, those in x)."""
        y, x = (np.fft.fftfreq(self._period[0]), np.fft.rfftfreq(self._period[1]))
        if self._period[0] == 1:
            y = np.zeros(1)
        return (
            np.exp(-2j * np.pi * np.outer(y, self.parameters[:, 1])),
            np.exp(-2j * np.pi * np.outer(self.parameters[:, 0], x)),
        )

    def _made(self, terms: Sequence[tuple[Array, Array, Array]], like: Array) -> Array:
        """Return the sum of images: fluxes, shape ``model_shape``, with their phases."""
        from scipy.fft import irfft2

        made = np.empty(self._planes, np.float64)
        _, height, width = self._planes
        for p in range(self._planes[0]):
            spectrum = np.zeros((self._period[0], self._period[1] // 2 + 1), complex)
            for i, kernel in enumerate(self._transfer):
                share = self._share[:, i]
                mine = share != 0
                phases = sum(
                    (y[:, mine] * (share * values.reshape(len(mine), -1)[:, p])[mine]) @ x[mine]
                    for values, y, x in terms
                )
                spectrum += kernel[p % len(kernel)] * phases
            made[p] = irfft2(spectrum, self._period)[:height, :width]
        return cast_as(like, made.reshape(self.data_shape))

    def _collected(self, weights: Array, terms: Sequence[tuple[Array, Array]]) -> list[Array]:
        """Return what sources with these phases collect of weights: the transpose of `_made`."""
        from scipy.fft import rfft2

        collected = [np.zeros((len(self._share), self._planes[0])) for _ in terms]
        twice = np.full(self._period[1] // 2 + 1, 2.0)  # a half spectrum stands for both halves
        twice[0] = 1.0
        if self._period[1] % 2 == 0:
            twice[-1] = 1.0
        for p, plane in enumerate(weights.reshape(self._planes)):
            spectrum = rfft2(plane.astype(np.float64, copy=False), self._period)
            spectrum *= twice / prod(self._period)
            for i, kernel in enumerate(self._transfer):
                share = self._share[:, i]
                mine = share != 0
                seen = spectrum * kernel[p % len(kernel)].conj()
                for found, (y, x) in zip(collected, terms, strict=True):
                    across = seen @ x[mine].conj().T
                    light = np.sum((y[:, mine].conj() * across).real, axis=0)
                    found[mine, p] += share[mine] * light
        return [cast_as(weights, found.reshape(self.model_shape)) for found in collected]

    @cached_property
    def _matrix(self) -> Matrix:
        """The images of the sources, one per column."""
        columns = self.columns(np.arange(prod(self.model_shape)))
        return without_ringing(columns.csr(prod(self.data_shape)).T.tocsr(), self)


def without_ringing(images: Any, points: Response) -> Matrix:
    """Return images of sources, one per column, without the negative parts of moved kernels."""
    return Matrix(images.maximum(0), points.model_shape, points.data_shape)


class PointsTangent(Response):
    """Sources of held fluxes, seen as a linear map of small moves.

    Parameters
    ----------
    points
        The sources.
    values
        Their fluxes.
    """

    def __init__(self, points: Points, values: Array) -> None:
        self._points, self._values = points, np.asarray(values, np.float64)
        self.model_shape, self.data_shape = points.parameters.shape, points.data_shape
        self.accuracy = points.accuracy
        y, x = np.fft.fftfreq(points._period[0]), np.fft.rfftfreq(points._period[1])
        self._along_x = points._y, points._x * (-2j * np.pi * x)
        self._along_y = points._y * (-2j * np.pi * y)[:, None], points._x

    def forward(self, values: Array) -> Array:
        """Return the change of the expected counts when the sources move by ``(dx, dy)``."""
        extra = (1,) * (self._values.ndim - 1)
        x, y = (self._values * move.reshape(-1, *extra) for move in values.T)
        return self._points._made([(x, *self._along_x), (y, *self._along_y)], values)

    def adjoint(self, weights: Array) -> Array:
        """Return the change of the weighted sum of counts with each place."""
        collected = self._points._collected(weights, [self._along_x, self._along_y])
        axes = tuple(range(1, self._values.ndim))
        moved = [np.sum(found * self._values, axis=axes) for found in collected]
        return np.stack(moved, axis=1).astype(weights.dtype, copy=False)
