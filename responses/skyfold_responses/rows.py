"""Rows of a response that lie in memory: one for each bin that is looked at."""

from __future__ import annotations

from math import prod

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.attribution import Attribution, among_rows
from skyfold.columns import Columns, full
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses._kernels import row_products
from skyfold_responses.memory import usable_threads


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
        found = among_rows(
            self.numbers,
            flattened(values)[None],
            counts,
            others,
            rng,
            index=self.index,
            scales=self.scales,
            threads=usable_threads(),
        )
        return found._replace(drawn=found.drawn.reshape(self.model_shape))

    def columns(self, places: Array) -> Columns:
        """Return these columns of the rows."""
        return full(self.picked(places).T)

    def picked(self, places: Array) -> Array:
        """Return columns of the rows, (bins, columns), in float64."""
        index = np.arange(len(self.numbers)) if self.index is None else self.index
        numbers: Array = self.numbers[np.ix_(index, places)].astype(np.float64)
        return numbers if self.scales is None else numbers * self.scales[index, None]

    def _products(self, **arrays: Array | None) -> None:
        threads = usable_threads()
        row_products(self.numbers, self.index, self.scales, threads=threads, **arrays)


def judged(expectation: Array, back: Array, counts: Array) -> tuple[Array, Array, float]:
    """Return an E-step in the dtype of the counts, with its sum of n log e."""
    expectation = expectation.astype(counts.dtype, copy=False)
    fit = poisson_ratio(counts.ravel(), expectation, 0.0, np.empty_like(expectation))
    return expectation, back, fit


def flattened(array: Array) -> Array:
    """Return the array flat and in float64, as the kernels take it."""
    return np.ascontiguousarray(array, np.float64).ravel()
