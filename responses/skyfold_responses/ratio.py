"""Counts over expectation, for engines that take an image row by row."""

from __future__ import annotations

import numpy as np

from skyfold._kernels import poisson_ratio
from skyfold.vector import Array


class Ratio:
    """The planes of n/e, each part made when it is asked for: they are never held whole.

    Parameters
    ----------
    counts, expectation
        One value per pixel, flat.
    shape
        Of the planes: ``(planes, y, x)``.
    accuracy
        Expectations below this fraction of their maximum are rounding noise, and raised to it.
    rows
        Rows that are summed at a time, however many times as many are asked for: so the fit does
        not depend on that.

    Attributes
    ----------
    fit
        Sum of n log e over all that was asked for.
    """

    def __init__(
        self,
        counts: Array,
        expectation: Array,
        shape: tuple[int, int, int],
        accuracy: float,
        rows: int,
    ) -> None:
        self.shape, self.fit, self._rows = shape, 0.0, rows
        self._counts, self._expectation = counts.reshape(shape), expectation.reshape(shape)
        self._accuracy, self._top = accuracy, float(np.max(expectation, initial=0.0))

    def __getitem__(self, place: tuple[int, slice]) -> Array:
        counts, expectation = self._counts[place], self._expectation[place]
        ratio = np.empty_like(expectation)
        for at in range(0, len(ratio), self._rows):
            some = slice(at, at + self._rows)
            parts = counts[some], expectation[some], self._accuracy, ratio[some]
            self.fit += poisson_ratio(*parts, top=self._top)
        return ratio
