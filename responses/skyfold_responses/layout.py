"""Which pixels of a model a kernel joins with which pixels of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.vector import Array

Boundary = Literal["extended", "same", "reflect", "periodic"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Which pixels of a model row a kernel brings to which pixels of a data row, per axis (y, x).

    Data pixel ``i`` and model pixel ``j`` are joined by kernel element
    ``centre + i - (j - before)``.

    Parameters
    ----------
    data
        Pixels of the data.
    before, after
        Pixels by which the model reaches over the data at either end.
    kernel
        Elements of the kernel.
    centre
        The element that maps a model pixel onto the data pixel of the same place.
    """

    data: Pair
    before: Pair
    after: Pair
    kernel: Pair
    centre: Pair

    @property
    def model(self) -> Pair:
        """Pixels of the model."""
        y, x = (n + b + a for n, b, a in zip(self.data, self.before, self.after, strict=True))
        return y, x

    @property
    def reach(self) -> tuple[Pair, Pair]:
        """How far light from outside travels into the data: at their beginning, at their end."""
        start = (self.kernel[0] - 1 - self.centre[0], self.kernel[1] - 1 - self.centre[1])
        return start, self.centre


def as_planes(kernel: Array, data: tuple[int, ...]) -> tuple[tuple[int, int, int], Array, int]:
    """Return data shape and kernel as (planes, y, x), and how many axes are convolved."""
    fits = kernel.ndim == len(data) <= 3 or (kernel.ndim, len(data)) == (2, 3)
    if not fits or min(data, default=0) < 1:
        raise DataError(
            f"a PSF of shape {kernel.shape} does not fit data of shape {data}: give (x,) for (x,), "
            "(y, x) for (y, x) or (energy, y, x), (energy, y, x) for (energy, y, x)"
        )
    if kernel.ndim == 3 and kernel.shape[0] != data[0]:
        raise DataError(f"the PSF has {kernel.shape[0]} energies, the data have {data[0]}")
    if kernel.size == 0 or not np.all(np.isfinite(kernel)):
        bad = np.argwhere(~np.isfinite(kernel))
        place = (
            f"first at index {tuple(int(i) for i in bad[0])}" if len(bad) else "it has no pixels"
        )
        raise DataError(f"the PSF holds {len(bad)} values that are not finite, {place}")
    planes = kernel.reshape((1,) * (3 - kernel.ndim) + kernel.shape)
    y, x = (1, *data)[-2:]
    return (data[0] if len(data) == 3 else 1, y, x), planes, min(kernel.ndim, 2)


def lay_out(
    kernel: Array, data: Pair, boundary: Boundary, margin: int | Sequence[int] | None, axes: int
) -> tuple[Layout, Array]:
    """Return the layout, and the kernel cut down to the elements that join any two pixels."""
    size, wanted = kernel.shape[1:], _margins(margin, boundary, kernel.shape[1:], axes)
    cut, rows = [slice(None)], []
    for n, k, m in zip(data, size, wanted, strict=True):
        centre = (k - 1) // 2
        before, after = min(m, k - 1 - centre), min(m, centre)
        first, last = max(0, centre - (n - 1 + after)), min(k, centre + n + before)
        cut.append(slice(first, last))
        rows.append((n, before, after, last - first, centre - first))
    return Layout(*zip(*rows, strict=True)), kernel[tuple(cut)]


def border_pixels(layout: Layout, boundary: Boundary) -> tuple[Array, Array] | None:
    """Return which pixel stands at each place of the frame around the data, for y and x."""
    if boundary not in ("reflect", "periodic"):
        return None
    mode: Literal["symmetric", "wrap"] = "symmetric" if boundary == "reflect" else "wrap"
    y, x = (
        np.pad(np.arange(n), (before, after), mode)
        for n, before, after in zip(layout.data, layout.before, layout.after, strict=True)
    )
    return y, x


def _margins(
    margin: int | Sequence[int] | None, boundary: Boundary, size: tuple[int, ...], axes: int
) -> list[int]:
    """Return the wanted margin for y and x."""
    most = [k // 2 for k in size]
    if margin is None:
        return [0, 0] if boundary == "same" else most
    if boundary != "extended":
        raise ConfigError(f"a margin belongs to boundary 'extended', not to {boundary!r}")
    given = [margin] * axes if isinstance(margin, int) else list(margin)
    if len(given) != axes:
        raise ConfigError(f"margin {margin} must be one number, or one for each of {axes} axes")
    if any(not 0 <= m <= limit for m, limit in zip(given, most[2 - axes :], strict=True)):
        raise ConfigError(
            f"margin {margin} must lie between 0 and the half-width of the PSF, "
            f"{' x '.join(map(str, most[2 - axes :]))} pixels: no light comes from further out"
        )
    return [0] * (2 - axes) + given
