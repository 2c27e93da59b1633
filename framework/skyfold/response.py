"""Linear maps from the values of one component to expected counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from math import prod

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.attribution import Attribution, share
from skyfold.columns import Columns, chained, of_units
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
    finer
        Into how many parts the PSF of point sources divides a pixel of the values, along an axis.
    pointwise
        Whether each bin sees the value in its own place, and no other.
    """

    model_shape: tuple[int, ...]
    data_shape: tuple[int, ...]
    accuracy: float = 0.0
    rows_pay_below: float = 0.5
    complete: bool = True
    parameters: Array | None = None
    psfs: int = 1
    finer: int = 1
    pointwise: bool = False

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
        return expectation, *self.back_project(counts, expectation, self.accuracy)

    def back_project(
        self, counts: Array, expectation: Array, accuracy: float
    ) -> tuple[Array, float]:
        """Return R^T(n/e) and the sum of n log e, without holding n/e whole where overridden.

        Parameters
        ----------
        counts, expectation
            One value per bin, flat.
        accuracy
            Expectations below this fraction of their maximum are rounding noise.
        """
        ratio = np.empty_like(expectation)
        fit = poisson_ratio(counts, expectation, accuracy, ratio)
        return self.adjoint(ratio.reshape(self.data_shape)), fit

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
        from skyfold.pixels import Shared

        return self @ Shared(places, self.model_shape)

    def points_behind(self, outer: Response, places: Array, which: Array | None = None) -> Response:
        """Return the response of point sources that are seen through this one and then another.

        Parameters
        ----------
        outer
            The response that takes what this one gives.
        places, which
            As for `points`.
        """
        return outer @ self.points(places, which)

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
        self.psfs, self.finer = max(outer.psfs, inner.psfs), max(outer.finer, inner.finer)

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

    def back_project(
        self, counts: Array, expectation: Array, accuracy: float
    ) -> tuple[Array, float]:
        """Let the outer response hold what it must."""
        back, fit = self.outer.back_project(counts, expectation, accuracy)
        return self.inner.adjoint(back), fit

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Attribute to the values in between, then those counts to ours."""
        between = self.outer.attribute(self.inner.forward(values), counts, others, rng)
        if self.inner.pointwise:
            return between
        return between._replace(drawn=self.inner.attribute(values, between.drawn, None, rng).drawn)

    def columns(self, places: Array) -> Columns:
        """Return what the outer response makes of the columns of the inner one."""
        return chained(self.outer.columns, self.inner.columns(places), prod(self.data_shape))

    def points(self, places: Array, which: Array | None = None) -> Response:
        """Let the inner response place the sources."""
        return self.inner.points_behind(self.outer, places, which)

    def moved(self, by: Array) -> Response:
        """Move what light goes through last before it is a sky no more."""
        if self.inner.pointwise:
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
