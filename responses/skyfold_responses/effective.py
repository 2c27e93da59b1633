"""Point sources as samples of effective PSFs, which are known between the pixels of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from skyfold.attribution import Attribution
from skyfold.matrices import Matrix
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses.convolution import cast_as
from skyfold_responses.layout import as_planes
from skyfold_responses.points import BESIDE, without_ringing


class Stamps(Matrix):
    """A matrix in double precision, whose products have the precision of what it is applied to."""

    def forward(self, values: Array) -> Array:
        """Return the matrix times the values."""
        return cast_as(values, super().forward(values))

    def adjoint(self, weights: Array) -> Array:
        """Return the transpose times the weights."""
        return cast_as(weights, super().adjoint(weights))

    def rows(self, bins: Array) -> Response:
        """Keep only these rows."""
        return Stamps(self.matrix[bins], self.model_shape)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which star each count came from; negative parts of moved kernels are left out.

        Raises
        ------
        DataError
            If no star can make the counts of a bin.
        """
        return self._chances.attribute(values, counts, others, rng)

    @cached_property
    def _chances(self) -> Matrix:
        return without_ringing(self.matrix, self)


class EffectivePoints(Stamps):
    """Stars seen through an effective PSF on pixels finer than those of the data.

    Each value of an effective PSF is the light in a whole pixel of the data that is centred there
    (Anderson & King 2000, PASP 112, 1360). A star is the PSF moved on its own fine pixels, exactly
    by a phase of its Fourier transform, and sampled at the pixels of the data: that holds for PSFs
    much narrower than two of these. Stars are stamps, kept as a sparse matrix.

    Parameters
    ----------
    kernels
        Of one shape, ``(y, x)`` or ``(energy, y, x)``, with the light of a star as their sum;
        element ``(k - 1)//2`` of each axis is the place of the star.
    finer
        Pixels of a kernel per pixel of the data, along each axis.
    places
        x and y of each star in pixels of the data, from 0 at the centre of the first, shape
        ``(n, 2)``.
    data_shape
        ``(y, x)`` or ``(energy, y, x)``.
    shares
        Gives for places the share of each kernel, shape ``(n, kernels)``.
    cyclic
        Whether light that leaves at one end comes in at the other, instead of being lost.

    Attributes
    ----------
    parameters
        The places.
    """

    parameters: Array

    def __init__(
        self,
        kernels: Sequence[Array],
        finer: int,
        places: Array,
        data_shape: Sequence[int],
        shares: Callable[[Array], Array],
        cyclic: bool = False,
    ) -> None:
        self.parameters = np.asarray(places, np.float64)
        self._kernels, self._finer = kernels, finer
        self._shares, self._cyclic = shares, cyclic
        self.data_shape = tuple(data_shape)
        planes = [as_planes(np.asarray(k, np.float64), self.data_shape)[1] for k in kernels]
        mixed = np.tensordot(shares(self.parameters), planes, 1)
        self._near = np.rint(self.parameters)
        self._stamps = _stamps(mixed, finer, self.parameters - self._near)
        shape = (len(mixed), *self.data_shape[:-2])
        columns = np.arange(prod(shape)).reshape(len(mixed), 1, prod(shape[1:]))
        seen = self._columns(self._stamps[:, :1], np.ones(shape), columns)
        super().__init__(seen, shape, self.data_shape)
        self.accuracy = 16 * float(np.finfo(np.float64).eps)

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Return the same for other stars."""
        return self.at(places)

    def at(self, parameters: Array) -> EffectivePoints:
        """Return the same stars elsewhere."""
        return EffectivePoints(
            self._kernels, self._finer, parameters, self.data_shape, self._shares, self._cyclic
        )

    def tangent(self, values: Array) -> Response:
        """Return the map from moves of the stars, shape ``(n, 2)``, to expected counts."""
        columns = np.arange(self.parameters.size).reshape(*self.parameters.shape, 1)
        seen = self._columns(self._stamps[:, 1:], np.asarray(values, np.float64), columns)
        return Stamps(seen, self.parameters.shape, self.data_shape)

    def _columns(self, stamps: Array, fluxes: Array, columns: Array) -> Any:
        """Return stamps, shape ``(n, k, energy, y, x)``, times fluxes, ``(n, energy)``.

        They go into these columns, of shape ``(n, k, energy)``; energies may share them, and
        stamps too.
        """
        from scipy.sparse import coo_array

        *planes, height, width = self.data_shape
        x, y = (
            near[:, None].astype(int) + np.arange(size) - size // 2
            for near, size in zip(self._near.T, stamps.shape[:2:-1], strict=True)
        )
        if self._cyclic:
            x, y = x % width, y % height
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        pixels = (y * width)[:, :, None] + x[:, None]
        energies = prod(planes)
        bins = np.arange(energies)[:, None, None] * height * width + pixels[:, None, None]
        light = stamps * fluxes.reshape(len(stamps), 1, energies, 1, 1)
        held = np.broadcast_to(inside[:, None, None], light.shape)
        entries = [np.broadcast_to(a, light.shape)[held] for a in (bins, columns[..., None, None])]
        shape = energies * height * width, int(np.max(columns, initial=-1)) + 1
        return coo_array((light[held], entries), shape).tocsr()


def _stamps(kernels: Array, finer: int, by: Array) -> Array:
    """Return moved kernels at the pixels of the data, and their slopes in x and y.

    Parameters
    ----------
    kernels
        Shape ``(n, energy, y, x)``.
    finer
        Their pixels per pixel of the data.
    by
        Moves in x and y, in pixels of the data, shape ``(n, 2)``.

    Returns
    -------
    stamps
        Shape ``(n, 3, energy, y, x)``, of odd sides, about the pixel that is moved from.
    """
    from scipy.fft import fft2, fftfreq, ifft2, next_fast_len

    size = kernels.shape[2:]
    period = [next_fast_len(n + 2 * BESIDE) for n in size]
    reach = [(n // 2 + BESIDE) // finer for n in size]
    taken = [(n - 1) // 2 + finer * np.arange(-r, r + 1) for n, r in zip(size, reach, strict=True)]
    y, x = (-2j * np.pi * finer * fftfreq(n) for n in period)
    rows, columns = np.ix_(*taken)
    stamps = np.empty((len(kernels), 3, kernels.shape[1], *map(len, taken)))
    for stamp, kernel, (right, up) in zip(stamps, kernels, by, strict=True):
        moved = fft2(kernel, period) * np.exp(up * y)[:, None] * np.exp(right * x)
        for image, slope in zip(stamp, (1, x, y[:, None]), strict=True):
            image[:] = finer**2 * ifft2(moved * slope).real[:, rows, columns]
    return stamps
