"""Event lists: one row of response for each photon, without bins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from skyfold.attribution import Attribution
from skyfold.columns import Columns, full
from skyfold.errors import DataError
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_responses.rows import HeldRows, judged

BLOCK = 1 << 23  # numbers that are made at a time


class EventRows(Response):
    """List mode: row i holds how much each value expects of events like event i.

    Every event is a bin that holds one count: a cell around the event so small that it holds no
    other. The size of the cell is common to response and background and drops out. The expected
    total cannot come from the events; the sensitivity over all events that could have happened is
    given.

    Parameters
    ----------
    rows
        Densities, shape (events, values), float32 or float64; or a function that returns those of
        the events whose numbers it is given, called for block after block in every product.
    sensitivity
        Expected number of all events for one unit of each value; its shape is that of the values.
    events
        How many events there are, or the numbers of those wanted, where ``rows`` is a function.

    Raises
    ------
    DataError
        If shapes disagree, or an entry is negative or not finite.
    """

    rows_pay_below = 1.0
    complete = False

    def __init__(
        self,
        rows: Array | HeldRows | Callable[[Array], Array],
        sensitivity: Array,
        events: int | Array | None = None,
    ) -> None:
        total = np.asarray(sensitivity, np.float64)
        if not np.all((total >= 0) & (total < np.inf)):
            raise DataError("the sensitivity of an event list must be finite and not negative")
        self.total, self.model_shape = total, total.shape
        if isinstance(rows, np.ndarray):
            rows = self._checked(rows, np.arange(len(rows)))
        elif events is None and not isinstance(rows, HeldRows):
            raise DataError("an event list whose rows are made by a function needs their number")
        self.source = rows
        self._events = np.arange(events or 0) if not isinstance(events, np.ndarray) else events
        self.data_shape = rows.data_shape if isinstance(rows, HeldRows) else self._events.shape

    def sensitivity(self, weight: Array) -> Array:
        """Return the sensitivity given, times the mean weight: weights thin the list."""
        return self.total * (float(np.mean(weight)) if weight.size else 1.0)

    def forward(self, values: Array) -> Array:
        """Return the density expected at each event."""
        expectation = np.empty(self.data_shape)
        for at, rows in self._blocks():
            expectation[at] = rows.forward(values)
        return expectation

    def adjoint(self, weights: Array) -> Array:
        """Return R^T w over the events."""
        back = np.zeros(self.model_shape)
        for at, rows in self._blocks():
            back += rows.adjoint(weights[at])
        return back

    def rows(self, bins: Array) -> EventRows:
        """Return some of the events."""
        if isinstance(self.source, HeldRows):
            return EventRows(self.source.rows(bins), self.total)
        return EventRows(self.source, self.total, self._events[bins])

    def e_step(
        self, values: Array, counts: Array, others: Array | None
    ) -> tuple[Array, Array, float]:
        """Return expectation, R^T(n/e) and the sum of n log e, reading each row once."""
        expectation, back = np.empty(self.data_shape), np.zeros(self.model_shape)
        for at, rows in self._blocks():
            other = None if others is None else others[at]
            expectation[at], part, _ = rows.e_step(values, counts[at], other)
            back += part
        return judged(expectation, back, counts)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Draw which value each event came from."""
        drawn = np.zeros(self.model_shape, np.int64)
        expectation, left = np.empty(self.data_shape), np.empty(self.data_shape, np.int64)
        for at, rows in self._blocks():
            other = None if others is None else others[at]
            part, expectation[at], left[at] = rows.attribute(values, counts[at], other, rng)
            drawn += part
        return Attribution(drawn, expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return the densities that these values give to each event."""
        return full(np.concatenate([rows.picked(places) for _, rows in self._blocks()]).T)

    def _blocks(self) -> Iterator[tuple[slice, HeldRows]]:
        """Yield the rows, all at once if they lie in memory."""
        if isinstance(self.source, HeldRows):
            yield slice(None), self.source
            return
        step = max(1, BLOCK // max(prod(self.model_shape), 1))
        for start in range(0, len(self._events), step):
            at = slice(start, start + step)
            yield at, self._checked(self.source(self._events[at]), self._events[at])

    def _checked(self, rows: Array, events: Array) -> HeldRows:
        values = prod(self.model_shape)
        if rows.shape != (len(events), values) or rows.dtype not in (np.float32, np.float64):
            raise DataError(
                f"{len(events)} events need rows of shape {(len(events), values)} in float32 or "
                f"float64 (values of shape {self.model_shape}), got {rows.shape} in {rows.dtype}"
            )
        low = rows.min(initial=0)  # NaN comes through
        if not (low >= 0 and rows.max(initial=0) < np.inf):
            event, value = np.argwhere(~((rows >= 0) & (rows < np.inf)))[0]
            place = tuple(int(i) for i in np.unravel_index(value, self.model_shape))
            raise DataError(
                f"the response is {rows[event, value]:g} for event {events[event]} at value "
                f"{place}; it must be finite and not negative"
            )
        return HeldRows(np.ascontiguousarray(rows), self.model_shape)
