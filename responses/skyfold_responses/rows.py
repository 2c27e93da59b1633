"""Rows of a response that lie in memory: one for each bin that is looked at."""

from __future__ import annotations

from math import prod

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.errors import DataError
from skyfold.response import Attribution, Response, share
from skyfold.vector import Array
from skyfold_responses._kernels import draw_cells, row_products
from skyfold_responses.memory import usable_threads

DRAWS = 1 << 22  # counts that are attributed at a time


class HeldRows(Response):
    """Rows of a response that lie in memory, read once per E-step.

    Results do not depend on the number of threads, to the last bit.

    Parameters
    ----------
    numbers
        Rows, shape (rows, values): float32, float64 or uint16.
    model_shape
        Shape of the values.
    index
        Which rows are the bins; all by default.
    scales
        What the numbers of each row are multiplied with.
    """

    rows_pay_below = 1.0

    def __init__(
        self,
        numbers: Array,
        model_shape: tuple[int, ...],
        index: Array | None = None,
        scales: Array | None = None,
    ) -> None:
        self.numbers, self.index, self.scales = numbers, index, scales
        self.model_shape = model_shape
        self.data_shape = (len(numbers) if index is None else len(index),)

    def forward(self, values: Array) -> Array:
        """Return R x."""
        expectation = np.empty(self.data_shape)
        self._products(values=flattened(values), expectation=expectation)
        return expectation

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w."""
        back = np.empty(prod(self.model_shape))
        self._products(counts=flattened(weights), back=back)
        return back.reshape(self.model_shape)

    def rows(self, bins: Array) -> HeldRows:
        """Return some of these rows, without a copy."""
        index = bins if self.index is None else self.index[bins]
        index = np.ascontiguousarray(index, np.int64)
        return HeldRows(self.numbers, self.model_shape, index, self.scales)

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Return expectation, R^T(n/e) and the sum of n log e, reading each row once."""
        expectation, back = np.empty(self.data_shape), np.empty(prod(self.model_shape))
        self._products(
            values=flattened(values),
            counts=flattened(counts),
            others=None if others is None else flattened(others),
            expectation=expectation,
            back=back,
        )
        return judged(expectation, back.reshape(self.model_shape), counts)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw one multinomial for each bin that holds counts.

        Raises
        ------
        DataError
            If no value can make the counts of a bin.
        """
        expectation, mine, left = share(self.forward(values), counts, others, rng)
        row = np.arange(self.data_shape[0]) if self.index is None else self.index
        drawn = attribute_cells(
            self.numbers, np.zeros(row.size, np.int64), row, flattened(values)[None], mine, rng
        )
        return Attribution(drawn.reshape(self.model_shape), expectation, left)

    def _products(self, **arrays: Array | None) -> None:
        threads = usable_threads()
        row_products(self.numbers, self.index, self.scales, threads=threads, **arrays)


def judged(expectation: Array, back: Array, counts: Array) -> tuple[Array, Array, float]:
    """Return an E-step in the dtype of the counts, with its sum of n log e."""
    expectation = expectation.astype(counts.dtype, copy=False)
    fit = poisson_ratio(counts.ravel(), expectation, 0.0, np.empty_like(expectation))
    return expectation, back, fit


def attribute_cells(
    numbers: Array,
    attitude: Array,
    row: Array,
    seen: Array,
    counts: Array,
    rng: np.random.Generator,
) -> Array:
    """Draw which value the counts of each cell came from, with chances ``row * seen[attitude]``.

    Parameters
    ----------
    numbers
        Rows (rows, values); a factor common to a row changes nothing.
    attitude, row, counts
        Of each cell.
    seen
        Values at each attitude, (attitudes, values).
    rng
        Source of randomness: one number for each count, so threads do not matter.

    Returns
    -------
    drawn
        int64, shaped like ``seen``.

    Raises
    ------
    DataError
        If no value can make the counts of a cell.
    """
    drawn = np.zeros(seen.shape, np.int64)
    held = np.flatnonzero(counts)
    many = np.ravel(counts)[held].astype(np.int64)
    ends = np.cumsum(many)
    start = 0
    while start < held.size:
        stop = int(np.searchsorted(ends, ends[start] - many[start] + DRAWS, side="right"))
        stop = max(stop, start + 1)
        cells, n = held[start:stop], many[start:stop]
        if n[0] > DRAWS:  # a single cell, of which one binomial per value is less work
            share = np.maximum(numbers[row[cells[0]]] * seen[attitude[cells[0]]], 0)
            total = share.sum()
            bad = -1 if 0 < total < np.inf else 0
            if bad < 0:
                drawn[attitude[cells[0]]] += rng.multinomial(n[0], share / total)
        else:
            bad = draw_cells(
                numbers,
                np.ascontiguousarray(attitude[cells]),
                np.ascontiguousarray(row[cells]),
                seen,
                n,
                rng.random(int(n.sum())),
                drawn,
                usable_threads(),
            )
        if bad >= 0:
            raise DataError(
                f"bin {cells[bad]} of those observed holds {n[bad]} counts, but no value of the "
                "model can make any there"
            )
        start = stop
    return drawn


def flattened(array: Array) -> Array:
    """Return the array flat and in float64, as the kernels take it."""
    return np.ascontiguousarray(array, np.float64).ravel()
