"""A dense response matrix of which only the rows of observed bins are kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from math import prod
from typing import Any, Protocol

import numpy as np

from skyfold.columns import Columns, full
from skyfold.errors import DataError
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses._kernels import pick_rows, row_products, store
from skyfold_responses.memory import (
    Storage,
    aligned,
    memory_limit,
    memory_needed,
    on_disk,
    usable_threads,
)
from skyfold_responses.rows import HeldRows, flattened

PIECE = 1 << 23  # numbers of a slab that are worked on at a time
LONG = 1 << 27  # numbers in a matrix that takes long to read


class Slabs(Protocol):
    """A matrix (values, bins) that is read piece by piece, as often as needed."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of values and of bins."""

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        """Yield (first value, numbers of shape (some values, all bins)), in order, without gaps."""


class RowMatrix(Response):
    """A dense matrix response, read from slabs (values, bins) and stored bin by bin.

    Nothing is read before it is needed. `rows` reads once and keeps the rows of some bins, in
    memory or, where they do not fit, in a temporary file mapped into memory; the same pass sums the
    columns over all bins, which is the sensitivity. Products of the whole matrix stream over the
    slabs and keep nothing. Every number is rounded to the storage first, so that sensitivity and
    rows always belong to the same matrix.

    Parameters
    ----------
    slabs
        The matrix as `Slabs`, or an array of shape (values, bins) or (*model_shape, *data_shape).
    model_shape, data_shape
        Shapes of values and expected counts.
    storage
        ``float32`` (relative error 6e-8), ``float64``, or ``uint16``: steps of 1/65535 of the
        largest number in each bin, found by one more pass. Arithmetic is in float64.
    factor
        What every number is multiplied with: a solid angle, say.
    memory
        Bytes that kept rows may take; 80 % of what is free by default.

    Raises
    ------
    DataError
        If the shapes disagree; when it is read, if an entry is negative, not finite or cannot be
        stored, or if values are missing.
    """

    rows_pay_below = 1.0

    def __init__(
        self,
        slabs: Slabs | Array,
        model_shape: tuple[int, ...],
        data_shape: tuple[int, ...],
        *,
        storage: Storage = "float32",
        factor: float = 1.0,
        memory: int | None = None,
    ) -> None:
        self.model_shape, self.data_shape = tuple(model_shape), tuple(data_shape)
        size = prod(self.model_shape), prod(self.data_shape)
        if isinstance(slabs, np.ndarray) and slabs.size == prod(size):
            slabs = _OneSlab(slabs.reshape(size))
        if tuple(slabs.shape) != size:
            raise DataError(
                f"the response has shape {tuple(slabs.shape)} (values, bins), but values of shape "
                f"{self.model_shape} and counts of shape {self.data_shape} need {size}"
            )
        self.slabs, self.storage, self.factor, self.memory = slabs, storage, factor, memory
        self._size = size
        self._sums: Array | None = None
        self._tops: Array | None = None
        self._kept: tuple[Any, Array, Array | None] | None = None

    def forward(self, values: Array) -> Array:
        """Return the expected counts of all bins, streaming over the matrix."""
        flat, total, part = flattened(values), np.zeros(self._size[1]), np.empty(self._size[1])
        for first, slab in self.stored():
            row_products(
                slab, counts=flat[first : first + len(slab)], back=part, threads=usable_threads()
            )
            total += part
        scales = self._scales()
        return (total if scales is None else total * scales).reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w over all bins, streaming over the matrix."""
        result = np.empty(self._size[0])
        seen = self._scaled(weights)
        for first, slab in self.stored():
            _sum_columns(slab, seen, result[first : first + len(slab)])
        return result.reshape(self.model_shape)

    def sensitivity(self, weight: Array) -> Array:
        """Return R^T w; where all weights are equal, from the column sums, which are kept."""
        even = float(weight.flat[0]) if weight.size else 1.0
        if any(weight.strides) and not np.all(weight == even):
            return self.adjoint(weight)
        if self._sums is None:
            self._sums = self._checked(self.adjoint(np.ones(self.data_shape)).ravel())
        return even * self._sums.reshape(self.model_shape)

    def rows(self, bins: Array) -> HeldRows:
        """Return the rows of these bins; those that another data set still holds are shared."""
        bins = np.ascontiguousarray(bins, np.int64)
        if self._kept is not None:
            alive, places, scales = self._kept
            numbers = alive()
            if numbers is not None:
                at = np.minimum(np.searchsorted(places, bins), len(places) - 1)
                if np.array_equal(places[at], bins):
                    same = len(at) == len(places) and np.array_equal(places, bins)
                    return HeldRows(numbers, self.model_shape, None if same else at, scales)
        numbers = self._read(bins)
        scales = self._scales()
        scales = None if scales is None else scales[bins]
        if bins.size and np.all(np.diff(bins) > 0):
            self._kept = weakref.ref(numbers), bins, scales
        return HeldRows(numbers, self.model_shape, None, scales)

    def columns(self, places: Array) -> Columns:
        """Return what these values make in all bins, streaming over the matrix once."""
        wanted, weights = np.asarray(places), np.empty((len(places), self._size[1]))
        for first, slab in self.exact():
            here = (wanted >= first) & (wanted < first + len(slab))
            weights[here] = slab[wanted[here] - first]
        return full(weights)

    def stored(self) -> Iterator[tuple[int, Array]]:
        """Yield (first value, numbers as they are stored), in one array that is used again.

        Integers of the ``uint16`` storage are yet to be multiplied with the scale of their bin.
        """
        values, bins = self._size
        step = max(1, min(values, PIECE // max(bins, 1)))
        room = aligned((step, bins), self.storage)
        scales = self._scales()
        if scales is not None:
            scales = np.divide(1.0, scales, out=np.zeros(bins), where=scales > 0)
        for first, slab in self._pieces(step):
            numbers = room[: len(slab)]
            bad = store(slab, self.factor, scales, numbers, usable_threads())
            if bad >= 0:
                self._refuse(first + bad // bins, bad % bins, float(slab.flat[bad]))
            yield first, numbers

    def exact(self) -> Iterator[tuple[int, Array]]:
        """Yield (first value, float64 numbers that the stored ones stand for)."""
        scales = self._scales()
        for first, slab in self.stored():
            numbers = slab.astype(np.float64, copy=False)
            yield first, numbers if scales is None else numbers * scales

    def _pieces(self, step: int) -> Iterator[tuple[int, Array]]:
        """Yield the slabs in pieces of at most ``step`` values, in a type that is understood."""
        values, bins = self._size
        reached = 0
        for first, slab in _progressing(self.slabs, values, bins):
            if first != reached or slab.ndim != 2 or slab.shape[1] != bins:
                raise DataError(
                    f"a slab of the response starts at value {first} and has shape {slab.shape}: "
                    f"expected value {reached} and {bins} bins"
                )
            if slab.dtype.kind not in "fiu" or slab.dtype == np.float16:
                raise DataError(
                    f"the response holds numbers of type {slab.dtype}: float32, float64 or "
                    "integers are understood. Halves (float16) end at 65504 and have lost too much "
                    "already; convert the original"
                )
            good = np.float32 if slab.dtype.kind + str(slab.dtype.itemsize) == "f4" else np.float64
            for start in range(0, len(slab), step):
                yield first + start, np.ascontiguousarray(slab[start : start + step], good)
            reached += len(slab)
        if reached != values:
            raise DataError(f"the response ends after {reached} of {values} values: cut off?")

    def _read(self, bins: Array) -> Array:
        """Read the rows of these bins, and the column sums of all."""
        values = self._size[0]
        needed, limit = memory_needed(len(bins), values, self.storage), memory_limit(self.memory)
        fits = limit is None or needed <= limit
        shape = len(bins), values
        numbers = aligned(shape, self.storage) if fits else on_disk(shape, self.storage)
        # a file is written in strips as wide as memory allows
        width = values if fits else max(1, min(values, (limit or 0) * values // needed))
        strip = numbers if fits else aligned((len(bins), width), self.storage)
        sums, ones = np.empty(values), self._scaled(np.ones(self._size[1]))
        for first, slab in self.stored():
            _sum_columns(slab, ones, sums[first : first + len(slab)])
            at = first
            while at < first + len(slab):
                start = at % width
                part = slab[at - first :][: width - start]
                pick_rows(part, bins, strip, start, usable_threads())
                at += len(part)
                if not fits and (at % width == 0 or at == values):
                    begin = at - (start + len(part))
                    numbers[:, begin:at] = strip[:, : at - begin]
        self._sums = self._checked(sums)
        numbers.flags.writeable = False
        return numbers

    def _scales(self) -> Array | None:
        """Return the size of an integer's step in each bin, if integers are stored."""
        if self.storage != "uint16":
            return None
        if self._tops is None:
            tops = np.zeros(self._size[1])
            for _, slab in self._pieces(max(1, PIECE // max(self._size[1], 1))):
                np.maximum(tops, slab.max(axis=0), out=tops)
            self._tops = tops * (self.factor / np.iinfo(np.uint16).max)
        return self._tops

    def _scaled(self, weights: Array) -> Array:
        scales, flat = self._scales(), flattened(weights)
        return flat if scales is None else flat * scales

    def _checked(self, sums: Array) -> Array:
        if not np.max(sums, initial=0) > np.finfo(np.float32).tiny:
            raise DataError(
                "no entry of the response is above 1e-38: nothing is left of it in "
                f"{self.storage}. Is the unit right? A factor can bring it to usual numbers"
            )
        return sums

    def _refuse(self, value: int, at: int, number: float) -> None:
        place = tuple(int(i) for i in np.unravel_index(value, self.model_shape))
        bin_ = tuple(int(i) for i in np.unravel_index(at, self.data_shape))
        range_ = "" if number < 0 or not np.isfinite(number) else f", too large for {self.storage}"
        raise DataError(
            f"the response is {number:g}{range_} at value {place}, bin {bin_}; "
            "it must be finite and not negative"
        )


def _progressing(slabs: Slabs, values: int, bins: int) -> Iterator[tuple[int, Array]]:
    """Yield the slabs, with a bar on a terminal where there are many numbers to read."""
    if values * bins < LONG:
        yield from slabs
        return
    from tqdm import tqdm

    about = f"reading the response, {8e-9 * values * bins:.2g} GB"
    with tqdm(total=values, desc=about, unit="rows", leave=False, disable=None) as bar:
        for first, slab in slabs:
            yield first, slab
            bar.update(len(slab))


class _OneSlab:
    """A matrix that lies in memory."""

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.shape: tuple[int, int] = matrix.shape

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        yield 0, self.matrix


def _sum_columns(slab: Array, weights: Array, out: Array) -> None:
    row_products(slab, values=weights, expectation=out, threads=usable_threads())
