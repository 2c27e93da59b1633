"""Columns of a response: which bins single values light, and how much."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from skyfold.vector import Array


class Columns(NamedTuple):
    """Columns of a response, each without its zeros where these are many.

    Attributes
    ----------
    start
        Column i is from ``start[i]`` to ``start[i + 1]``: int64, one longer than the columns.
    bins
        Flat numbers of bins, ascending within a column, each once: int64.
    weights
        Expected counts that one unit of the value makes in these bins: float64.
    """

    start: Array
    bins: Array
    weights: Array

    def numbered(self, number: Array) -> Columns:
        """Return the columns with other numbers for the bins, without those whose number is -1.

        Parameters
        ----------
        number
            New number of each bin.
        """
        bins = number[self.bins]
        kept = np.flatnonzero(bins >= 0)
        start = np.searchsorted(kept, self.start)
        found = Columns(start, bins[kept], self.weights[kept])
        down = np.flatnonzero(np.diff(found.bins) <= 0) + 1
        return found if np.isin(down, start).all() else from_csr(found.csr(len(number)))

    def csr(self, bins: int) -> Any:
        """Return the columns as rows of a scipy.sparse array, given the number of all bins."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.bins, self.start), (len(self.start) - 1, bins))


def from_csr(matrix: Any) -> Columns:
    """Return columns from a CSR array whose rows they are."""
    matrix.sum_duplicates()  # sorts, too
    return Columns(
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int64, copy=False),
        matrix.data.astype(np.float64, copy=False),
    )


def full(weights: Array) -> Columns:
    """Return columns that light every bin, given their weights (columns, bins)."""
    columns, bins = weights.shape
    return Columns(
        np.arange(columns + 1) * bins, np.tile(np.arange(bins), columns), weights.ravel()
    )


def of_units(
    forward: Callable[[Array], Array], model_shape: tuple[int, ...], places: Array
) -> Columns:
    """Return columns as what a product makes of unit vectors."""
    start, bins, weights = [0], [], []
    for place in places:
        unit = np.zeros(prod(model_shape))
        unit[place] = 1.0
        light = forward(unit.reshape(model_shape)).ravel()
        bins.append(np.flatnonzero(light))
        weights.append(light[bins[-1]].astype(np.float64, copy=False))
        start.append(start[-1] + len(bins[-1]))
    none = np.zeros(0, np.int64)
    return Columns(
        np.array(start),
        np.concatenate([none, *bins]),
        np.concatenate([none.astype(float), *weights]),
    )


def chained(outer: Callable[[Array], Columns], inner: Columns, bins: int) -> Columns:
    """Return the columns of a chain of responses.

    Parameters
    ----------
    outer
        Gives columns of the outer response.
    inner
        Columns of the inner response, whose bins are the values of the outer one.
    bins
        Number of bins of the outer response.
    """
    if np.array_equal(inner.start, np.arange(len(inner.start))):  # each lights a single one
        start, bins_, weights = outer(inner.bins)
        return Columns(start, bins_, weights * np.repeat(inner.weights, np.diff(start)))
    between, at = np.unique(inner.bins, return_inverse=True)
    first = Columns(inner.start, at.ravel(), inner.weights).csr(len(between))
    return from_csr(first @ outer(between).csr(bins))
