"""Responses pixel by pixel: a factor for each, a part of them, point sources between them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from skyfold.attribution import Attribution, share
from skyfold.columns import Columns
from skyfold.response import Chain, Response
from skyfold.vector import Array


class Diagonal(Response):
    """A factor for each value: exposure, vignetting, pixel area."""

    pointwise = True

    def __init__(self, factor: Array) -> None:
        self.factor = factor
        self.model_shape = self.data_shape = factor.shape

    def forward(self, values: Array) -> Array:
        """Return the product."""
        product: Array = values * self.factor
        return product

    def adjoint(self, weights: Array) -> Array:
        """Return the product: a diagonal is its own transpose."""
        return self.forward(weights)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Each count came from its own value."""
        expectation, mine, left = share(self.forward(values), counts, others, rng)
        return Attribution(mine.reshape(self.model_shape), expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return the factors: each value lights its own bin."""
        bins = np.asarray(places, np.int64)
        return Columns(np.arange(len(bins) + 1), bins, np.asarray(self.factor.ravel()[bins], float))

    def points_behind(self, outer: Response, places: Array, which: Array | None = None) -> Response:
        """Return the sources with the factors that stand where they are."""
        return Weighted(outer.points(places, which), places, self.factor)


class Window(Response):
    """A part of a larger image.

    Parameters
    ----------
    start
        Where its last two axes, y and x, begin in the larger image.
    data_shape
        Shape of the part, ``(y, x)`` or ``(energy, y, x)``.
    model_shape
        Shape of the larger image.
    """

    def __init__(
        self, start: Array, data_shape: tuple[int, ...], model_shape: tuple[int, ...]
    ) -> None:
        self.data_shape, self.model_shape = data_shape, model_shape
        self._start = np.asarray(start, int)
        ends = self._start + data_shape[-2:]
        self._part: Any = (..., *(slice(a, b) for a, b in zip(self._start, ends, strict=True)))

    def forward(self, values: Array) -> Array:
        """Return the part."""
        return np.ascontiguousarray(values[self._part])

    def adjoint(self, weights: Array) -> Array:
        """Return the part in its place, with zeros around it."""
        whole = np.zeros(self.model_shape, weights.dtype)
        whole[self._part] = weights
        return whole

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Each count came from its own value."""
        expectation, mine, left = share(self.forward(values), counts, others, rng)
        return Attribution(self.adjoint(mine.reshape(self.data_shape)), expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return the bin of each value, if it has one."""
        number = self.adjoint(1 + np.arange(prod(self.data_shape)).reshape(self.data_shape))
        bins = number.ravel()[places] - 1
        start = np.concatenate([[0], np.cumsum(bins >= 0)])
        return Columns(start, bins[bins >= 0], np.ones(start[-1]))

    def points_behind(self, outer: Response, places: Array, which: Array | None = None) -> Response:
        """Return the sources as the part has them; one that lies outside makes no counts."""
        last = np.array(self.data_shape[:-3:-1]) - 1
        own = places - self._start[::-1]
        seen = np.all((own >= -0.5) & (own <= last + 0.5), axis=1)
        near = outer.points(np.where(seen[:, None], own, np.clip(own, 0, last)), which)
        seen = np.expand_dims(seen, tuple(range(1, len(near.model_shape))))
        return near @ Diagonal(np.broadcast_to(seen, near.model_shape).astype(float))


class Shared(Response):
    """Point sources shared among the four pixels around each, in proportion to how near they are.

    Parameters
    ----------
    places
        x and y of each, in pixels from 0 at the centre of the first, shape ``(n, 2)``; beyond the
        outermost centres the nearest counts.
    data_shape
        Shape of the pixels: ``(x,)``, ``(y, x)`` or ``(energy, y, x)``.
    """

    def __init__(self, places: Array, data_shape: tuple[int, ...]) -> None:
        self.data_shape = data_shape
        self._energies = data_shape[:-2]
        self.model_shape = (len(places), *self._energies)
        self._size = (1, *data_shape)[-2:]
        places = np.clip(places[:, ::-1], 0, np.array(self._size) - 1.0)
        first = np.floor(places).astype(int)
        corner = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        part = np.abs(1 - corner - (places - first)[:, None])
        self._share = np.prod(part, axis=-1)
        y, x = np.minimum(first[:, None] + corner, np.array(self._size) - 1).transpose(2, 0, 1)
        self._pixel = y * self._size[1] + x

    def forward(self, values: Array) -> Array:
        """Return the light of each pixel, shape ``data_shape``."""
        return self.onto(np.zeros(self.data_shape, values.dtype), values)

    def onto(self, light: Array, values: Array) -> Array:
        """Return the light of each pixel added to what is given, in its memory if contiguous."""
        flat = light.reshape(*self._energies, self._size[0] * self._size[1])
        shares = values.T[..., None] * self._share
        pixels: Any = (..., self._pixel)
        np.add.at(flat, pixels, shares.astype(light.dtype, copy=False))
        return flat.reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return the mean weight around each source, shape ``model_shape``."""
        flat = weights.reshape(*self._energies, -1)
        mean: Array = np.sum(flat[..., self._pixel] * self._share, axis=-1).T
        return mean.astype(weights.dtype, copy=False)


class Weighted(Chain):
    """Point sources times a factor that a map has at their places.

    Parameters
    ----------
    points
        The sources.
    places
        x and y of each in pixels of the map, shape ``(n, 2)``.
    factor
        The map.
    """

    def __init__(self, points: Response, places: Array, factor: Array) -> None:
        self._places, self._factor = places, factor
        super().__init__(points, Diagonal(Shared(places, factor.shape).adjoint(factor)))

    def at(self, parameters: Array) -> Response:
        """Return the same sources elsewhere, with the factors that the map has there."""
        places, known = self._places, self.outer.parameters
        if known is not None and known.shape == places.shape:
            places = places + (parameters - known)
        return Weighted(self.outer.at(parameters), places, self._factor)
