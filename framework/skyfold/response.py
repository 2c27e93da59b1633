"""Linear maps from the values of one component to expected counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.attribution import Attribution, among_entries, among_rows, share
from skyfold.columns import Columns, chained, from_csr, full, of_units
from skyfold.errors import DataError, PluginError
from skyfold.vector import Array


class Response(ABC):
    """A linear map R from values to expected counts.

    Only `forward` and `adjoint` are owed, both linear for values of any sign; everything else has
    a default that is right, and may be overridden for speed.

    Attributes
    ----------
    model_shape
        Shape of the values.
    data_shape
        Shape of the expected counts.
    accuracy
        Relative rounding error of `forward`: an expectation below ``accuracy`` times its maximum
        is noise. Zero where sums of products are exact to the last digits; set by FFT operators.
    rows_pay_below
        Share of bins with counts below which the products visit these alone; one where every row
        left out is work saved.
    complete
        Whether the data hold every bin that a photon could fall into. Event lists do not: they
        have one bin per event, and their `sensitivity` knows of all the others.
    parameters
        What it depends on besides the values, and may be made again with, as one array: the
        kernel of a PSF, the positions of stars. None where there is nothing of the kind.
    psfs
        How many PSFs point sources may have.
    """

    model_shape: tuple[int, ...]
    data_shape: tuple[int, ...]
    accuracy: float = 0.0
    rows_pay_below: float = 0.5
    complete: bool = True
    parameters: Array | None = None
    psfs: int = 1

    @property
    def divisions(self) -> int:
        """Into how many parts of bins a product can be divided that cost about their share.

        One where nobody wrote `rows`, for then some bins cost as much as all.
        """
        return 1 if type(self).rows is Response.rows else prod(self.data_shape)

    @abstractmethod
    def forward(self, values: Array) -> Array:
        """Return R x, of shape ``data_shape``."""

    @abstractmethod
    def adjoint(self, weights: Array) -> Array:
        """Return R^T w, of shape ``model_shape``."""

    def sensitivity(self, weight: Array) -> Array:
        """Return R^T w over all bins: how many counts one unit of each value makes."""
        return self.adjoint(weight)

    def rows(self, bins: Array) -> Response:
        """Return a view whose counts are restricted to these flat indices of the data."""
        return Rows(self, bins)

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Return expectation, R^T(n/e) and the sum of n log e, in one pass where overridden.

        Parameters
        ----------
        values
            Values of this component, shape ``model_shape``.
        counts
            Observed counts, flat.
        others
            Expected counts from other components, flat, or None.
        """
        expectation = self.forward(values).ravel()
        if others is not None:
            expectation = expectation + others
        ratio = np.empty_like(expectation)
        fit = poisson_ratio(counts, expectation, self.accuracy, ratio)
        return expectation, self.adjoint(ratio.reshape(self.data_shape)), fit

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which value each count came from, a multinomial for each bin.

        This default builds one row of R at a time from unit vectors: always right, and slow.

        Parameters
        ----------
        values
            Values of this component, shape ``model_shape``; none negative.
        counts
            Observed counts: whole numbers, shape ``data_shape`` or flat.
        others
            Expected counts from other components, flat, or None.
        rng
            Source of randomness.

        Raises
        ------
        DataError
            If no value can make the counts of a bin.
        """
        expectation, mine, left = share(self.forward(values), counts, others, rng)
        drawn = np.zeros(values.shape, dtype=np.int64)
        for i in np.flatnonzero(mine):
            unit = np.zeros(prod(self.data_shape))
            unit[i] = 1.0
            chance = np.maximum(self.adjoint(unit.reshape(self.data_shape)) * values, 0).ravel()
            drawn += rng.multinomial(mine[i], chance / chance.sum()).reshape(values.shape)
        return Attribution(drawn, expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return which bins single values light, and how much.

        This default applies `forward` to unit vectors: always right, and slow.

        Parameters
        ----------
        places
            Flat numbers of the values.
        """
        return of_units(self.forward, self.model_shape, places)

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Return the response of point sources; its values are their fluxes.

        By default a source between pixels is shared among its neighbours, in proportion to how
        near they are.

        Parameters
        ----------
        places
            x and y of each in pixels of the values, from 0 at the centre of the first, shape
            ``(n, 2)``.
        which
            Number of the PSF of each, from 0 and below `psfs`; the first by default.

        Returns
        -------
        response
            Of values of shape ``(n,)``; ``(n, energy)`` if there are energies here.
        """
        return self @ Shared(places, self.model_shape)

    def moved(self, by: Array) -> Response:
        """Return the response for the same sky, seen a part of a pixel further along x and y.

        Parameters
        ----------
        by
            How far, in x and y, in pixels of the values.

        Raises
        ------
        DataError
            If it knows of no way.
        """
        raise DataError(
            f"{type(self).__name__} cannot be shifted by parts of a pixel: bring the images to "
            "the same pixels"
        )

    def at(self, parameters: Array) -> Response:
        """Return the same response with other parameters, of the same shape."""
        raise PluginError(f"{type(self).__name__} has no parameters")

    def tangent(self, values: Array) -> Response:
        """Return the linear map from changes of the parameters to changes of the expected counts.

        Where the expectation is linear in the parameters, it maps the parameters themselves to the
        expected counts.

        Parameters
        ----------
        values
            The values at which the parameters change, shape ``model_shape``.
        """
        raise PluginError(f"{type(self).__name__} has no parameters")

    def __matmul__(self, inner: Response) -> Response:
        return Chain(self, inner)


class Rows(Response):
    """A response restricted to some bins: the full product, then a selection."""

    def __init__(self, whole: Response, bins: Array) -> None:
        self.whole, self.bins = whole, bins
        self.model_shape, self.data_shape = whole.model_shape, bins.shape
        self.accuracy = whole.accuracy

    def forward(self, values: Array) -> Array:
        """Return the selected bins of R x."""
        picked: Array = self.whole.forward(values).ravel()[self.bins]
        return picked

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w with zero weight elsewhere."""
        return self.whole.adjoint(self._spread(weights).reshape(self.whole.data_shape))

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Attribute with no counts elsewhere."""
        others = None if others is None else self._spread(others)
        drawn, expectation, left = self.whole.attribute(values, self._spread(counts), others, rng)
        return Attribution(drawn, expectation[self.bins], left[self.bins])

    def columns(self, places: Array) -> Columns:
        """Return the part of the columns that lies in the selected bins."""
        return self.whole.columns(places).numbered(self._number)

    @cached_property
    def _number(self) -> Array:
        number = np.full(prod(self.whole.data_shape), -1)
        number[self.bins] = np.arange(len(self.bins))
        return number

    def _spread(self, seen: Array) -> Array:
        full = np.zeros(prod(self.whole.data_shape), dtype=seen.dtype)
        full[self.bins] = seen.ravel()
        return full


class Chain(Response):
    """``outer @ inner``: the inner response first."""

    def __init__(self, outer: Response, inner: Response) -> None:
        if outer.model_shape != inner.data_shape:
            raise PluginError(
                f"{type(outer).__name__} takes values of shape {outer.model_shape}, but "
                f"{type(inner).__name__} gives {inner.data_shape}: they cannot be chained"
            )
        if outer.parameters is not None and inner.parameters is not None:
            raise PluginError(
                f"{type(outer).__name__} and {type(inner).__name__} both have parameters: "
                "a chain can hold one such response"
            )
        self.outer, self.inner = outer, inner
        self.parameters = outer.parameters if inner.parameters is None else inner.parameters
        self.model_shape, self.data_shape = inner.model_shape, outer.data_shape
        self.accuracy = max(outer.accuracy, inner.accuracy)
        self.rows_pay_below, self.complete = outer.rows_pay_below, outer.complete
        self.psfs = max(outer.psfs, inner.psfs)

    @property
    def divisions(self) -> int:
        """Those of the outer response, whose rows are chosen."""
        return self.outer.divisions

    def forward(self, values: Array) -> Array:
        """Return outer (inner x)."""
        return self.outer.forward(self.inner.forward(values))

    def adjoint(self, weights: Array) -> Array:
        """Return inner^T (outer^T w)."""
        return self.inner.adjoint(self.outer.adjoint(weights))

    def sensitivity(self, weight: Array) -> Array:
        """Let the outer response know best what its bins collect."""
        return self.inner.adjoint(self.outer.sensitivity(weight))

    def rows(self, bins: Array) -> Response:
        """Restrict the outer response."""
        return Chain(self.outer.rows(bins), self.inner)

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Let the outer response fuse its pass."""
        expectation, back, fit = self.outer.e_step(self.inner.forward(values), counts, others)
        return expectation, self.inner.adjoint(back), fit

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Attribute to the values in between, then those counts to ours."""
        between = self.outer.attribute(self.inner.forward(values), counts, others, rng)
        if isinstance(self.inner, Diagonal):  # each came from the value of its own place
            return between
        return between._replace(drawn=self.inner.attribute(values, between.drawn, None, rng).drawn)

    def columns(self, places: Array) -> Columns:
        """Return what the outer response makes of the columns of the inner one."""
        return chained(self.outer.columns, self.inner.columns(places), prod(self.data_shape))

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Let the inner response place the sources; factors are taken where these are."""
        if isinstance(self.inner, Diagonal):
            return Weighted(self.outer.points(places, which), places, self.inner.factor)
        if isinstance(self.inner, Window):
            own = self.inner.places(places)
            seen = np.all((own >= -0.5) & (own <= self.inner.size - 0.5), axis=1)
            held = np.where(seen[:, None], own, np.clip(own, 0, self.inner.size - 1.0))
            near = self.outer.points(held, which)
            shape = (-1, *(1,) * (len(near.model_shape) - 1))
            seen = np.broadcast_to(seen.reshape(shape), near.model_shape).astype(float)
            return near @ Diagonal(seen)
        return self.outer @ self.inner.points(places, which)

    def moved(self, by: Array) -> Response:
        """Move what light goes through last before it is a sky no more."""
        if isinstance(self.inner, Diagonal):
            return Chain(self.outer.moved(by), self.inner)
        return Chain(self.outer, self.inner.moved(by))

    def at(self, parameters: Array) -> Response:
        """Hand the parameters to the response that has them."""
        if self.inner.parameters is None:
            return Chain(self.outer.at(parameters), self.inner)
        return Chain(self.outer, self.inner.at(parameters))

    def tangent(self, values: Array) -> Response:
        """Chain the tangent of the response that has parameters with the other response."""
        if self.inner.parameters is None:
            return self.outer.tangent(self.inner.forward(values))
        return Chain(self.outer, self.inner.tangent(values))


class Diagonal(Response):
    """A factor for each value: exposure, vignetting, pixel area."""

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
        self.size = np.array(data_shape[:-3:-1])
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

    def places(self, places: Array) -> Array:
        """Return x and y in the larger image as x and y in the part."""
        own: Array = places - self._start[::-1]
        return own

    def columns(self, places: Array) -> Columns:
        """Return the bin of each value, if it has one."""
        number = self.adjoint(1 + np.arange(prod(self.data_shape)).reshape(self.data_shape))
        bins = number.ravel()[places] - 1
        start = np.concatenate([[0], np.cumsum(bins >= 0)])
        return Columns(start, bins[bins >= 0], np.ones(start[-1]))


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
        light = np.zeros((*self._energies, self._size[0] * self._size[1]), values.dtype)
        shares = values.T[..., None] * self._share
        pixels: Any = (..., self._pixel)
        np.add.at(light, pixels, shares.astype(values.dtype, copy=False))
        return light.reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return the mean weight around each source, shape ``model_shape``."""
        flat = weights.reshape(*self._energies, -1)
        mean: Array = np.sum(flat[..., self._pixel] * self._share, axis=-1).T
        return mean.astype(weights.dtype, copy=False)


class Matrix(Response):
    """A dense or scipy.sparse matrix of shape (bins, values).

    Parameters
    ----------
    matrix
        The matrix; its columns are the values in C order.
    model_shape, data_shape
        Shapes of values and counts, if they are not flat.
    """

    def __init__(
        self,
        matrix: Any,
        model_shape: tuple[int, ...] | None = None,
        data_shape: tuple[int, ...] | None = None,
    ) -> None:
        bins, values = matrix.shape
        self.matrix = matrix
        self.model_shape, self.data_shape = model_shape or (values,), data_shape or (bins,)
        if (prod(self.data_shape), prod(self.model_shape)) != (bins, values):
            raise PluginError(
                f"a matrix of shape {matrix.shape} cannot map "
                f"{self.model_shape} to {self.data_shape}"
            )

    def forward(self, values: Array) -> Array:
        """Return the matrix times the values."""
        product: Array = (self.matrix @ values.ravel()).reshape(self.data_shape)
        return product

    def adjoint(self, weights: Array) -> Array:
        """Return the transpose times the weights."""
        product: Array = (self.matrix.T @ weights.ravel()).reshape(self.model_shape)
        return product

    def rows(self, bins: Array) -> Response:
        """Keep only these rows."""
        return Matrix(self.matrix[bins], self.model_shape)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw one multinomial for each bin that holds counts, reading its row once.

        Raises
        ------
        DataError
            If an element is negative, or no value can make the counts of a bin.
        """
        if self._least < 0:
            raise DataError(
                f"the response matrix has negative elements, down to {self._least:.3g}: they are "
                "no chances, so counts cannot be attributed"
            )
        if isinstance(self._by_rows, np.ndarray):
            found = among_rows(self._by_rows, values.reshape(1, -1), counts, others, rng)
        else:
            found = among_entries(self._by_rows, values.reshape(-1, 1), counts, others, rng)
        return found._replace(drawn=found.drawn.reshape(self.model_shape))

    def columns(self, places: Array) -> Columns:
        """Return these columns of the matrix."""
        if isinstance(self.matrix, np.ndarray):
            return full(np.asarray(self.matrix[:, places].T, np.float64))
        return from_csr(self._by_columns[:, places].T.tocsr())

    @cached_property
    def _by_rows(self) -> Any:
        """The matrix as the kernels of attribution take it."""
        matrix = self.matrix if isinstance(self.matrix, np.ndarray) else self.matrix.tocsr()
        if matrix.dtype != np.float32:
            matrix = matrix.astype(np.float64, copy=False)
        return np.ascontiguousarray(matrix) if isinstance(matrix, np.ndarray) else matrix

    @cached_property
    def _by_columns(self) -> Any:
        return self.matrix.tocsc()

    @cached_property
    def _least(self) -> float:
        return float(self.matrix.min()) if prod(self.matrix.shape) else 0.0


class Template(Response):
    """A fixed shape in data space times normalisations: a background.

    Parameters
    ----------
    template
        Expected counts per bin at normalisation one.
    groups
        Number of the normalisation that each bin follows, of a shape that broadcasts to the
        template's: ``(times, 1, 1, 1)`` for one per time. One normalisation for all by default.
    totals
        Expected counts in all bins at normalisation one, for each normalisation, where the
        template does not hold all bins.
    """

    def __init__(
        self, template: Array, groups: Array | None = None, totals: Array | None = None
    ) -> None:
        self.template, self.groups, self.totals = template, groups, totals
        self.data_shape = template.shape
        self.model_shape = (1 if groups is None else int(np.max(groups, initial=0)) + 1,)
        if totals is not None:
            self.complete = False

    def forward(self, values: Array) -> Array:
        """Return the scaled template."""
        factor = values[0] if self.groups is None else values[self.groups]
        scaled: Array = self.template * factor
        return scaled

    def adjoint(self, weights: Array) -> Array:
        """Return the overlap with the template, summed in float64."""
        overlap = self.template * weights
        if self.groups is None:
            return np.array([np.sum(overlap, dtype=np.float64)])
        across = tuple(
            i
            for i, (a, b) in enumerate(zip(self.groups.shape, overlap.shape, strict=True))
            if a < b
        )
        summed = np.sum(overlap, axis=across, dtype=np.float64, keepdims=True)
        groups = np.broadcast_to(self.groups, summed.shape).ravel()
        totals: Array = np.bincount(groups, summed.ravel(), self.model_shape[0])
        return totals

    def sensitivity(self, weight: Array) -> Array:
        """Return the counts of the background at normalisation one; weights thin an event list."""
        if self.totals is None:
            return self.adjoint(weight)
        return np.asarray(self.totals, float) * (float(np.mean(weight)) if weight.size else 1.0)

    def rows(self, bins: Array) -> Response:
        """Keep only these bins."""
        place = np.unravel_index(bins, self.data_shape)
        groups = self.groups
        if groups is not None:
            groups = np.broadcast_to(groups, self.data_shape)[place]
        kept = Template(self.template[place], groups, self.totals)
        kept.model_shape = self.model_shape
        return kept

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """All counts of a group came from its one normalisation."""
        expectation, mine, left = share(self.forward(values), counts, others, rng)
        if self.groups is None:
            return Attribution(np.array([mine.sum()]), expectation, left)
        groups = np.broadcast_to(self.groups, self.data_shape).ravel()
        drawn = np.zeros(self.model_shape, np.int64)
        np.add.at(drawn, groups, mine)
        return Attribution(drawn, expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return the bins of each group, and their template."""
        template = self.template.ravel().astype(np.float64, copy=False)
        if self.groups is None:
            return full(np.broadcast_to(template, (len(places), template.size)))
        groups = np.broadcast_to(self.groups, self.data_shape).ravel()
        bins = [np.flatnonzero(groups == place) for place in places]
        start = np.cumsum([0, *map(len, bins)])
        all_ = np.concatenate([np.zeros(0, np.int64), *bins])
        return Columns(start, all_, template[all_])


def as_response(given: Any, data_shape: tuple[int, ...], name: str = "response") -> Response:
    """Return a response for anything that is one: a `Response`, or an array as background template.

    Raises
    ------
    DataError
        If the shape does not fit the counts; nothing is ever broadcast.
    """
    response = given if isinstance(given, Response) else Template(np.asarray(given))
    if response.data_shape != data_shape:
        raise DataError(
            f"component {name!r}: its expected counts have shape {response.data_shape}, "
            f"the counts have shape {data_shape}; they must agree"
        )
    return response


def check_adjoint(response: Response, seed: int = 0) -> float:
    """Return how far <R x, y> and <x, R^T y> are apart, relative to the norms of x and y seen by R.

    A correct pair gives about 1e-16 in float64 and 1e-7 in float32.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(response.model_shape)
    y = rng.standard_normal(response.data_shape)
    seen, back = response.forward(x), response.adjoint(y)
    left = float(np.sum(seen * y, dtype=np.float64))
    right = float(np.sum(x * back, dtype=np.float64))
    scale = float(np.linalg.norm(np.ravel(seen)) * np.linalg.norm(np.ravel(y)))
    return abs(left - right) / scale if scale > 0 else abs(left - right)
