"""A convolution seen from single pixels: where counts came from, and where light goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.attribution import Attribution, key
from skyfold.columns import Columns
from skyfold.errors import DataError
from skyfold.vector import Array
from skyfold_responses import _kernels
from skyfold_responses.layout import Layout
from skyfold_responses.memory import aligned

WIDTH = 8  # a stored kernel is as wide as a multiple of it


class Footprints:
    """The footprints of a kernel on a grid of pixels.

    Parameters
    ----------
    kernels
        One kernel, or one for each plane: (planes or 1, y, x).
    layout
        Which pixels are joined.
    border
        Which pixel stands at each place of the frame around the data, for y and x; None where the
        frame is part of the model, or dark.
    model
        Shape of the model, (planes, y, x).
    """

    def __init__(
        self,
        kernels: Array,
        layout: Layout,
        border: tuple[Array, Array] | None,
        model: tuple[int, int, int],
    ) -> None:
        self._given = kernels, layout, border, model
        planes, y, x = kernels.shape
        stored = aligned((planes, y, -(-x // WIDTH) * WIDTH), np.float64)
        stored[:, :, x:] = 0
        stored[:, :, :x] = kernels[:, ::-1, ::-1]
        self._least, self._layout = np.min(kernels), layout
        rows, columns = (_places(layout, border, axis) for axis in (0, 1))
        self._prepared = _kernels.Footprints(stored, x, rows, columns, *model)

    def __reduce__(self) -> tuple[type[Footprints], tuple[Any, ...]]:
        return type(self), self._given

    def attribute(
        self,
        model: Array,
        counts: Array,
        others: Array | None,
        rng: np.random.Generator,
        threads: int,
        pixels: Array | None = None,
    ) -> Attribution:
        """Draw which model pixel each count came from; results do not depend on threads.

        Parameters
        ----------
        model
            Values, (planes, y, x); what is below zero counts as zero.
        counts
            Whole numbers of counts of the pixels.
        others
            Expected counts from other components, flat, or None.
        rng
            Source of randomness, of which two numbers are taken.
        threads
            How many threads to use.
        pixels
            Flat numbers of the pixels of the data that are looked at; all by default.

        Raises
        ------
        DataError
            If the kernel has negative elements, or nothing can make the counts of a pixel.
        """
        if self._least < 0:
            raise DataError(
                f"the PSF has negative elements, down to {self._least:.3g}: they are no chances, "
                "so counts cannot be attributed; set them to zero"
            )
        drawn, expectation, left, bad = self._prepared.attribute(
            np.ascontiguousarray(model, np.float32 if model.dtype == np.float32 else np.float64),
            pixels,
            np.ascontiguousarray(counts, np.int64),
            None if others is None else np.ascontiguousarray(others, np.float64),
            key(rng),
            threads,
        )
        if bad >= 0:
            pixel = bad if pixels is None else pixels[bad]
            shape = len(model), *self._layout.data
            plane, y, x = (int(i) for i in np.unravel_index(pixel, shape))
            where = f"pixel x={x} y={y}" + (f" of plane {plane}" if len(model) > 1 else "")
            raise DataError(
                f"{where} holds {int(counts.flat[bad])} counts, but the model expects "
                f"{expectation[bad]:g} there: nothing that the PSF shows it can have made them"
            )
        return Attribution(drawn, expectation, left)

    def columns(self, places: Array) -> Columns:
        """Return where the light of single model pixels goes, given their flat numbers."""
        return Columns(*self._prepared.columns(np.ascontiguousarray(places, np.int64)))


def _places(layout: Layout, border: tuple[Array, Array] | None, axis: int) -> Array:
    """Return which pixel of the model lies at each place that data pixels see, or -1."""
    inner = np.arange(layout.model[axis]) if border is None else border[axis]
    start, end = layout.reach
    around = start[axis] - layout.before[axis], end[axis] - layout.after[axis]
    return np.pad(inner, around, constant_values=-1).astype(np.int64, copy=False)
