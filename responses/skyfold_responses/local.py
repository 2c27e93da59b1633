"""A response in the frame of the detector, followed as it turns under the sky."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from skyfold.attribution import Attribution, among_entries, among_rows
from skyfold.columns import Columns, full
from skyfold.errors import DataError
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses._kernels import run_products
from skyfold_responses.matrix import RowMatrix
from skyfold_responses.memory import usable_threads
from skyfold_responses.rows import HeldRows, judged

CACHE = 1 << 18  # bytes of detector rows that are used for one attitude after the other
RUN = 16  # cells for which the sky of an attitude is worth fetching
BLOCK = 1 << 23  # expected counts that are computed at a time
ENTRY = 30  # numbers of detector rows that take as long as an entry of the conversion matrix


class LocalFrame(Response):
    """Conversion matrix times detector response: data binned by attitude (or time) and channel.

    With the sky seen by the detector, ``U = conversion @ image``, the expectation in attitude s and
    detector bin c is ``U[s] . R[c]``. Products visit the observed cells (s, c) alone; the matrix
    product of the two is never made.

    Parameters
    ----------
    conversion
        scipy.sparse array of shape (attitudes x local pixels, sky pixels): for how long (s) each
        sky pixel was seen at each local pixel.
    detector
        Response of the detector, values of shape (local pixels, energies).

    Raises
    ------
    DataError
        If the shapes disagree, or the conversion holds negative or non-finite times.
    """

    rows_pay_below = 1.0

    def __init__(self, conversion: Any, detector: RowMatrix) -> None:
        if len(detector.model_shape) != 2:
            raise DataError(
                "a detector response needs values of shape (local pixels, energies), not "
                f"{detector.model_shape}"
            )
        pixels, energies = detector.model_shape
        seen, sky = conversion.shape
        if not seen or seen % pixels:
            raise DataError(
                f"the conversion matrix has {seen} rows (attitudes x local pixels), no multiple of "
                f"the {pixels} local pixels of the detector response"
            )
        self.conversion, self.detector = conversion.tocsr(), detector
        if not np.all((self.conversion.data >= 0) & (self.conversion.data < np.inf)):
            raise DataError("the conversion matrix holds negative or non-finite times")
        self.attitudes = seen // pixels
        self.model_shape = sky, energies
        self.data_shape = self.attitudes, *detector.data_shape

    def forward(self, values: Array) -> Array:
        """Return the expected counts of all cells, streaming over the detector response."""
        local = self.to_local(values)
        total = np.zeros((self.attitudes, prod(self.detector.data_shape)))
        for first, slab in self.detector.exact():
            for block in self._blocks(slab.shape[1]):
                total[block] += local[block, first : first + len(slab)] @ slab
        return total.reshape(self.data_shape)

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w over all cells, streaming over the detector response."""
        flat = weights.reshape(self.attitudes, -1)
        back = np.empty((self.attitudes, prod(self.detector.model_shape)))
        for first, slab in self.detector.exact():
            for block in self._blocks(slab.shape[1]):
                back[block, first : first + len(slab)] = flat[block] @ slab.T
        return self.to_sky(back)

    def sensitivity(self, weight: Array) -> Array:
        """Return R^T w; where all weights are equal, from the column sums of the detector."""
        if any(weight.strides) and np.ptp(weight) > 0:
            return self.adjoint(weight)
        even = np.broadcast_to(weight.flat[0], self.detector.data_shape)
        sums = self.detector.sensitivity(even)
        return self.to_sky(np.broadcast_to(sums, (self.attitudes, *sums.shape)))

    def rows(self, bins: Array) -> Cells:
        """Return the response of these cells; the detector rows they need are read once."""
        attitude, channel = np.divmod(bins, prod(self.detector.data_shape))
        channels, row = np.unique(channel, return_inverse=True)
        return Cells(self, self.detector.rows(channels), attitude, row)

    def to_local(self, values: Array) -> Array:
        """Return the sky as the detector sees it, (attitudes, local pixels x energies)."""
        image = np.asarray(values, np.float64).reshape(self.model_shape)
        local: Array = (self.conversion @ image).reshape(self.attitudes, -1)
        return np.ascontiguousarray(local, np.float64)

    def to_sky(self, local: Array) -> Array:
        """Return the transpose of `to_local`."""
        sky: Array = self.conversion.T @ local.reshape(-1, self.model_shape[1])
        return sky

    def looks(self, sky: int) -> tuple[Array, Array]:
        """Return the (attitude, local pixel) flat at which a sky pixel was seen, and how long."""
        start, end = self._by_sky.indptr[sky : sky + 2]
        return self._by_sky.indices[start:end], self._by_sky.data[start:end]

    @cached_property
    def _by_sky(self) -> Any:
        return self.conversion.tocsc()

    def _blocks(self, bins: int) -> list[slice]:
        """Cut the attitudes into blocks whose expectation stays small."""
        step = max(1, BLOCK // max(bins, 1))
        return [slice(at, at + step) for at in range(0, self.attitudes, step)]


class Cells(Response):
    """The cells (attitude, detector bin) of a `LocalFrame` that hold counts.

    A few detector rows at a time stay in the cache while all attitudes that need them pass by; the
    cells of one attitude among these rows are one run, a product of rows with what was seen. Each
    thread has attitudes of its own, so results do not depend on threads, to the last bit.

    Parameters
    ----------
    frame
        Where they belong.
    detector
        Rows of the detector response.
    attitude, row
        Attitude and detector row of each cell.
    """

    rows_pay_below = 1.0

    def __init__(self, frame: LocalFrame, detector: HeldRows, attitude: Array, row: Array) -> None:
        self.frame, self.detector = frame, detector
        self.attitude, self.row = (np.ascontiguousarray(a, np.int64) for a in (attitude, row))
        self.model_shape, self.data_shape = frame.model_shape, self.attitude.shape
        self._place, self._runs = self._sorted()

    @property
    def divisions(self) -> int:
        """Such that in each part the cells take as long as the way from the sky and back."""
        cells, pixels = self.data_shape[0], self.frame.detector.model_shape[0]
        way = ENTRY * max(int(self.frame.conversion.nnz), 1)
        return max(1, min(cells, cells * pixels // way))

    def forward(self, values: Array) -> Array:
        """Return the expected counts of the cells."""
        expectation = np.empty(self.data_shape)
        self._products(seen=self.frame.to_local(values), expectation=expectation)
        return self._in_given_order(expectation)

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w."""
        back = self._zeros()
        self._products(counts=self._in_runs(weights), back=back)
        return self.frame.to_sky(back)

    def rows(self, bins: Array) -> Cells:
        """Return some of these cells."""
        return Cells(self.frame, self.detector, self.attitude[bins], self.row[bins])

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Return expectation, R^T(n/e) and the sum of n log e, in one pass over the cells."""
        expectation, back = np.empty(self.data_shape), self._zeros()
        self._products(
            seen=self.frame.to_local(values),
            counts=self._in_runs(counts),
            others=None if others is None else self._in_runs(others),
            expectation=expectation,
            back=back,
        )
        return judged(self._in_given_order(expectation), self.frame.to_sky(back), counts)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw the local value each count came from, then the sky pixel that was seen there.

        Raises
        ------
        DataError
            If no value can make the counts of a cell.
        """
        found = among_rows(
            self.detector.numbers,
            self.frame.to_local(values),
            counts,
            others,
            rng,
            index=self._numbers_of(self.row),
            attitude=self.attitude,
            order=self._place,
            scales=self.detector.scales,
            threads=usable_threads(),
        )
        image, energies = np.asarray(values).reshape(self.model_shape), self.model_shape[1]
        sky = among_entries(
            self.frame.conversion,
            image,
            found.drawn.reshape(-1, energies),
            None,
            rng,
            usable_threads(),
        )
        return found._replace(drawn=sky.drawn)

    def columns(self, places: Array) -> Columns:
        """Return what these values make in the cells, from what each attitude saw of them."""
        pixels, energies = self.frame.detector.model_shape
        numbers, scales = self.detector.numbers, self.detector.scales
        first, cells = self._by_attitude
        row = self._numbers_of(self.row)
        weights = np.zeros((len(places), self.attitude.size))
        for weight, place in zip(weights, places, strict=True):
            sky, energy = divmod(int(place), energies)
            seen, seconds = self.frame.looks(sky)
            attitude, pixel = np.divmod(seen, pixels)
            many = first[attitude + 1] - first[attitude]
            entry = np.repeat(np.arange(len(seen)), many)
            rank = np.arange(len(entry)) - np.repeat(np.cumsum(many) - many, many)
            cell = cells[first[attitude[entry]] + rank]
            light = seconds[entry] * numbers[row[cell], pixel[entry] * energies + energy]
            if scales is not None:
                light = light * scales[row[cell]]
            weight += np.bincount(cell, light, weight.size)
        return full(weights)

    @cached_property
    def _by_attitude(self) -> tuple[Array, Array]:
        """Return where the cells of each attitude begin in an order by attitude, and that order."""
        many = np.bincount(self.attitude, minlength=self.frame.attitudes)
        return np.concatenate([[0], np.cumsum(many)]), np.argsort(self.attitude, kind="stable")

    def _products(self, **arrays: Any) -> None:
        held, threads = self.detector, usable_threads()
        run_products(held.numbers, held.scales, *self._runs, threads=threads, **arrays)

    def _sorted(self) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """Return the order of the work: places of the cells; their rows, runs, and shares of work.

        Runs follow each other by share (one for each thread), by block of rows, by attitude.
        """
        attitudes, cells = self.frame.attitudes, self.attitude.size
        share = np.cumsum(np.bincount(self.attitude, minlength=attitudes))
        share = np.maximum(share - 1, 0) * usable_threads() // max(cells, 1)
        rows = self.detector.data_shape[0]
        fit = CACHE // (self.detector.numbers.itemsize * self.detector.numbers.shape[1])
        tall = max(1, fit, RUN * attitudes * rows // max(cells, 1))
        blocks = rows // tall + 1
        run = (share[self.attitude] * blocks + self.row // tall) * attitudes + self.attitude
        place = np.argsort(run * tall + self.row % tall, kind="stable")
        starts = np.flatnonzero(np.diff(run[place], prepend=-1))
        attitude = self.attitude[place[starts]]
        groups = np.append(np.flatnonzero(np.diff(share[attitude], prepend=-1)), starts.size)
        ends = np.append(starts, cells)
        return place, (self._numbers_of(self.row[place]), ends, attitude, groups)

    def _numbers_of(self, row: Array) -> Array:
        return row if self.detector.index is None else self.detector.index[row]

    def _in_runs(self, array: Array) -> Array:
        return np.ascontiguousarray(array, np.float64).ravel()[self._place]

    def _in_given_order(self, array: Array) -> Array:
        given = np.empty_like(array)
        given[self._place] = array
        return given

    def _zeros(self) -> Array:
        return np.zeros((self.frame.attitudes, prod(self.frame.detector.model_shape)))
