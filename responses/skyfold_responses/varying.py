"""Convolution with a point-spread function that varies over the field."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from skyfold.attribution import Attribution
from skyfold.columns import Columns, from_csr
from skyfold.errors import DataError
from skyfold.geometry import Grid
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses.effective import EffectivePoints
from skyfold_responses.layout import Boundary
from skyfold_responses.points import Points
from skyfold_responses.psf import Psf, moved_kernel


class VaryingPsf(Response):
    """Convolution with a PSF that is interpolated between kernels known at some places.

    The light of each pixel is divided among the kernels by weights that add up to one, and each
    part is convolved with its own. On a regular grid of places the weights are bilinear, and those
    at the edge hold beyond it; at other places they are in proportion to the inverse square of the
    distance. A kernel that has no weight anywhere costs nothing.

    Parameters
    ----------
    kernels
        Of one shape, as `Psf` takes them; on finer pixels than those of the data they are effective
        PSFs, each value the light in a whole pixel of the data that is centred there, in units that
        make the light of a star their sum.
    centres
        Where each is the PSF: x and y in pixels of the data, from 0 at the centre of the first,
        shape ``(kernels, 2)``.
    data_shape
        ``(y, x)`` or ``(energy, y, x)``.
    boundary, options
        As those of `Psf`, in its order.
    finer
        Pixels of the kernels per pixel of the data, along each axis.

    Attributes
    ----------
    field : tuple of slice
        Picks the pixels of the data out of a model.

    Raises
    ------
    DataError
        If kernels and places do not fit together, or two places are one.
    """

    def __init__(
        self,
        kernels: Sequence[Array],
        centres: Array,
        data_shape: Sequence[int],
        boundary: Boundary = "extended",
        *options: Any,
        finer: int = 1,
    ) -> None:
        self._centres = _require_places(kernels, np.asarray(centres, np.float64))
        shapes = {np.shape(kernel) for kernel in kernels}
        if len(shapes) > 1 or len(data_shape) < 2:
            raise DataError(f"PSFs that vary are images of one shape, not of {sorted(shapes)}")
        self._options, self.finer = (boundary, *options), finer
        self._kernels = [np.asarray(kernel, np.float64) for kernel in kernels]
        sampled = [self._sampled(kernel) for kernel in self._kernels]
        first = Psf(sampled[0], data_shape, *self._options)
        self.data_shape, self.model_shape, self.field = (
            first.data_shape, first.model_shape, first.field
        )  # fmt: skip
        y, x = np.indices(self.model_shape[-2:], dtype=np.float64)
        self._start = Grid(self.model_shape, field=self.field).first
        places = np.stack([x.ravel(), y.ravel()], axis=1) - self._start
        weights = shares(places, self._centres).T.reshape(len(kernels), *y.shape)
        weights = weights.astype(first.dtype, copy=False)
        self._parts = [
            (
                Psf(kernel, data_shape, *self._options),
                Diagonal(np.broadcast_to(w, self.model_shape)),
            )
            for kernel, w in zip(sampled, weights, strict=True)
            if np.any(w)
        ]
        self.accuracy = max(psf.accuracy for psf, _ in self._parts)

    def forward(self, values: Array) -> Array:
        """Return the expected counts."""
        return np.asarray(sum(psf.forward(part.forward(values)) for psf, part in self._parts))

    def adjoint(self, weights: Array) -> Array:
        """Return what each value collects, through each of the kernels."""
        return np.asarray(sum(part.adjoint(psf.adjoint(weights)) for psf, part in self._parts))

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw for kernel after kernel; what went to the next ones is left for them.

        Raises
        ------
        DataError
            If a kernel has negative elements, or nothing can make the counts of a pixel.
        """
        light = [part.forward(values) for _, part in self._parts]
        pairs = zip(self._parts, light, strict=True)
        made = [np.maximum(psf.forward(x).ravel(), 0) for (psf, _), x in pairs]
        last = made[-1] if others is None else made[-1] + others
        *below, total = others, *accumulate(reversed(made[:-1]), initial=last)
        drawn, left = np.zeros(self.model_shape, np.int64), np.ravel(counts)
        for (psf, _), x, rest in zip(self._parts, light, reversed(below), strict=True):
            found = psf.attribute(x, left, rest, rng)
            drawn, left = drawn + found.drawn, found.left
        return Attribution(drawn, total, left)

    def columns(self, places: Array) -> Columns:
        """Return which bins values light, through each of the kernels."""
        from scipy.sparse import diags_array

        bins = int(np.prod(self.data_shape))
        return from_csr(
            sum(
                diags_array(part.factor.ravel()[places]) @ psf.columns(places).csr(bins)
                for psf, part in self._parts
            ).tocsr()
        )

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Return what point sources make: each has the PSF of its place."""

        def parts(there: Array) -> Array:
            return shares(there, self._centres)

        seen, cyclic = (places - self._start, self.data_shape), self._options[0] == "periodic"
        if self.finer > 1:
            return EffectivePoints(self._kernels, self.finer, *seen, parts, cyclic)
        return Points(self._kernels, *seen, parts, cyclic)

    def moved(self, by: Array) -> Response:
        """Return the convolution with kernels shifted by parts of a pixel."""
        kernels = [moved_kernel(kernel, self.finer * by) for kernel in self._kernels]
        return VaryingPsf(kernels, self._centres, self.data_shape, *self._options, finer=self.finer)

    def _sampled(self, kernel: Array) -> Array:
        """Return what a kernel is at the pixels of the data, for light from a pixel's centre."""
        y, x = ((n - 1) // 2 % self.finer for n in kernel.shape[-2:])
        return self.finer**2 * kernel[..., y :: self.finer, x :: self.finer]


def shares(places: Array, centres: Array) -> Array:
    """Return the share that the PSF of each centre has in the PSF at each place.

    Parameters
    ----------
    places
        x and y, shape ``(n, 2)``.
    centres
        Where PSFs are known, shape ``(kernels, 2)``.

    Returns
    -------
    shares
        Shape ``(n, kernels)``; each row adds up to one.
    """
    x, y = (np.unique(axis) for axis in centres.T)
    if len(x) * len(y) == len(centres):
        along = [_hats(place, axis) for place, axis in zip(places.T, (x, y), strict=True)]
        columns = np.searchsorted(x, centres[:, 0]), np.searchsorted(y, centres[:, 1])
        product: Array = along[0][:, columns[0]] * along[1][:, columns[1]]
        return product
    square = np.sum((places[:, None] - centres) ** 2, axis=-1)
    near = 1 / np.maximum(square, 1e-12)
    share: Array = near / near.sum(axis=1, keepdims=True)
    return share


def _hats(places: Array, knots: Array) -> Array:
    """Return linear interpolation between knots as a matrix, constant beyond the outermost."""
    return np.stack([np.interp(places, knots, unit) for unit in np.eye(len(knots))], axis=1)


def _require_places(kernels: Sequence[Array], centres: Array) -> Array:
    if centres.shape != (len(kernels), 2):
        raise DataError(f"{len(kernels)} PSFs for places of shape {centres.shape}")
    if len(np.unique(centres, axis=0)) < len(centres):
        raise DataError("two PSFs are given for the same place of the field")
    return centres
