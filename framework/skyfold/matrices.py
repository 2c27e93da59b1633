"""Responses written out in numbers: a matrix, or the shape of a background."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from skyfold.attribution import Attribution, among_entries, among_rows, share
from skyfold.columns import Columns, from_csr, full
from skyfold.errors import DataError, PluginError
from skyfold.response import Response
from skyfold.vector import Array


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
