"""Linear operators on image grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.columns import Columns
from skyfold.errors import ConfigError
from skyfold.response import Response
from skyfold.vector import Array


class BlockSum(Response):
    """Sums over blocks of a finer model grid: several model pixels make one data pixel.

    Parameters
    ----------
    factor
        Model pixels per data pixel: one number for the last two axes (all that there are, of
        one-dimensional data), or one number for each axis.
    data_shape
        Shape of the data.

    Raises
    ------
    ConfigError
        If a factor is below 1, or their number is not that of the axes.
    """

    def __init__(self, factor: int | Sequence[int], data_shape: Sequence[int]) -> None:
        self.data_shape = tuple(int(n) for n in data_shape)
        axes = len(self.data_shape)
        if isinstance(factor, int):
            self.factor = (1,) * max(axes - 2, 0) + (factor,) * min(axes, 2)
        else:
            self.factor = tuple(int(f) for f in factor)
        if len(self.factor) != axes or min(self.factor, default=1) < 1:
            raise ConfigError(
                f"block factor {factor} must be at least 1, one number or one for each of the "
                f"{axes} axes of the data"
            )
        self.model_shape = tuple(n * f for n, f in zip(self.data_shape, self.factor, strict=True))

    def forward(self, values: Array) -> Array:
        """Return the sum over each block, shape ``data_shape``."""
        for axis, factor in enumerate(self.factor):
            lines = np.moveaxis(values, axis, 0)
            total = lines[::factor].copy()
            for i in range(1, factor):
                total += lines[i::factor]
            values = np.moveaxis(total, 0, axis)
        return np.ascontiguousarray(values)

    def adjoint(self, weights: Array) -> Array:
        """Return the weight of its data pixel for each model pixel, shape ``model_shape``."""
        for axis, factor in enumerate(self.factor):
            weights = np.repeat(weights, factor, axis)
        return weights

    def columns(self, places: Array) -> Columns:
        """Return the block of each value: one bin, once."""
        at = np.unravel_index(np.asarray(places, np.int64), self.model_shape)
        block = tuple(i // factor for i, factor in zip(at, self.factor, strict=True))
        bins = np.ravel_multi_index(block, self.data_shape).astype(np.int64, copy=False)
        return Columns(np.arange(len(bins) + 1), bins, np.ones(len(bins)))
