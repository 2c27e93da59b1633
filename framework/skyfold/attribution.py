"""Where counts came from: random draws of the attribution of counts to values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from skyfold._kernels import attribute_rows, attribute_sparse
from skyfold.errors import DataError
from skyfold.vector import Array


class Attribution(NamedTuple):
    """Where counts came from, drawn at random.

    Attributes
    ----------
    drawn
        Counts that came from each value: int64, shape ``model_shape``.
    expectation
        Expected counts, flat, those of other components included; it may be left at zero where
        there are no counts.
    left
        Counts of each bin that came from other components: int64, flat.
    """

    drawn: Array
    expectation: Array
    left: Array


def share(
    own: Array, counts: Array, others: Array | None, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Divide counts between a component and all others.

    Parameters
    ----------
    own, others
        Expected counts of either, any shape; None if there are no others.
    counts
        Whole numbers.
    rng
        Source of randomness.

    Returns
    -------
    expectation, mine, left
        Expected counts of both, float64; counts of the component and of the others, int64; flat.

    Raises
    ------
    DataError
        If neither can make the counts of a bin.
    """
    own = np.maximum(np.ravel(own).astype(np.float64, copy=False), 0)
    counts = np.ravel(counts).astype(np.int64, copy=False)
    expectation = own if others is None else own + others
    seen = counts > 0
    lost = seen & ~(expectation > 0)
    if lost.any():
        refuse(int(np.argmax(lost)), counts)
    left = np.zeros_like(counts)
    if others is None:
        return expectation, counts, left
    many = counts[seen]
    left[seen] = many - rng.binomial(many, np.minimum(own[seen] / expectation[seen], 1))
    return expectation, counts - left, left


def refuse(bin_: int, counts: Array) -> None:
    """Raise the error of a bin whose counts nothing can have made; -1 stands for no bin."""
    if bin_ >= 0:
        raise DataError(
            f"bin {bin_} of those observed holds {counts.flat[bin_]} counts, but no value of the "
            "model can make any there"
        )


def key(rng: np.random.Generator) -> Array:
    """Return a key for a kernel, which makes a stream of random numbers of it for each bin."""
    return rng.bit_generator.random_raw(2)


def among_rows(
    rows: Array,
    values: Array,
    counts: Array,
    others: Array | None,
    rng: np.random.Generator,
    *,
    index: Array | None = None,
    attitude: Array | None = None,
    order: Array | None = None,
    scales: Array | None = None,
    threads: int = 1,
) -> Attribution:
    """Attribute counts to values, given the row of the response for each bin.

    Each row is read once; results do not depend on threads.

    Parameters
    ----------
    rows
        Rows, shape (rows, values), none negative: float32, float64 or uint16.
    values
        Values, shape (attitudes, values); what is below zero counts as zero.
    counts, others, rng
        As `Response.attribute` takes them.
    index, attitude
        Row and attitude of each bin: bin i has row i, and all bins attitude 0, by default.
    order
        In which order the bins are visited.
    scales
        What the numbers of each row are multiplied with.
    threads
        How many threads to use.

    Raises
    ------
    DataError
        If no value can make the counts of a bin.
    """
    response = rows, index, attitude, order, scales
    return _attributed(attribute_rows, response, values, counts, others, rng, threads)


def among_entries(
    matrix: Any,
    values: Array,
    counts: Array,
    others: Array | None,
    rng: np.random.Generator,
    threads: int = 1,
) -> Attribution:
    """Attribute counts to values, given a sparse response; results do not depend on threads.

    Parameters
    ----------
    matrix
        scipy.sparse CSR array of shape (bins, values), of float32 or float64, none negative.
    values
        Values, shape (values, columns): each column makes counts of its own.
    counts, others
        Counts, and expected counts of other components or None, shape (bins, columns) or flat.
    rng
        Source of randomness.
    threads
        How many threads to use.

    Raises
    ------
    DataError
        If no value can make the counts of a bin.
    """
    response = matrix.data, matrix.indices, matrix.indptr
    return _attributed(attribute_sparse, response, values, counts, others, rng, threads)


def _attributed(
    kernel: Callable[..., int],
    response: tuple[Array | None, ...],
    values: Array,
    counts: Array,
    others: Array | None,
    rng: np.random.Generator,
    threads: int,
) -> Attribution:
    """Attribute counts by a kernel that reads a response of its kind."""
    given = np.ascontiguousarray(np.ravel(counts), np.int64)
    drawn = np.zeros(values.shape, np.int64)
    expectation, left = np.zeros(given.size), np.zeros(given.size, np.int64)
    bad = kernel(
        *response,
        np.maximum(values, 0, dtype=np.float64),
        given,
        None if others is None else np.ascontiguousarray(np.ravel(others), np.float64),
        key(rng),
        drawn,
        expectation,
        left,
        threads,
    )
    refuse(bad, given)
    return Attribution(drawn, expectation, left)
