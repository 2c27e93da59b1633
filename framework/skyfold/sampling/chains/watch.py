"""Numbers of a model that a sampler writes down at every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skyfold.errors import require
from skyfold.geometry import Geometry
from skyfold.model import Component
from skyfold.sphere import Sphere
from skyfold.vector import Array

ACROSS = 4  # blocks of an image along each axis
BRIGHT = 16  # pixels that are followed one by one
FEW = 16  # values that are followed one by one where they are no sky


@dataclass(frozen=True, eq=False)
class Watch:
    """Totals, sums over blocks and bright pixels of a sky; or all of a few normalisations.

    Blocks are those of a division of the field of an image into four by four, named by row and
    column (a line is one row), or the twelve base pixels of a sphere.

    Parameters
    ----------
    name
        Name of the component.
    component
        The component.
    values
        Values that show which pixels are bright.
    """

    name: str
    component: Component
    values: Array

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What the numbers are called."""
        if not self.component.geometry.sky:
            return _numbered(self.name, self._shape if np.prod(self._shape) <= FEW else (0,))
        totals = _numbered(f"{self.name}.total", (self._energies,))
        blocks = _numbered(f"{self.name}.block", self._division, short=False)
        pixels = tuple(f"{self.name}.pixel[{place}]" for place in self._places)
        return (*totals, *blocks, *pixels)

    def __call__(self, values: Array) -> Array:
        """Return the numbers of values of shape (number, ...), as (number, columns)."""
        number = len(values)
        if not self.component.geometry.sky:
            return values.reshape(number, -1)[:, : len(self.columns)]
        energies = planes(self.component.geometry, values)
        order, starts = self._blocks
        inside = energies[..., order] * self._cell
        totals = inside.sum(axis=-1)
        blocks = np.add.reduceat(inside.sum(axis=1), starts, axis=-1)
        bright = values.reshape(number, -1)[:, self._bright]
        return np.concatenate([totals, blocks, bright], axis=1)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.component.geometry.shape

    @property
    def _energies(self) -> int:
        return int(planes(self.component.geometry, self.values[None]).shape[1])

    @property
    def _cell(self) -> float:
        """What a value counts for in a sum: the solid angle of its pixel on a sphere."""
        geometry = self.component.geometry
        return geometry.pixel_area if isinstance(geometry, Sphere) else 1.0

    @property
    def _division(self) -> tuple[int, ...]:
        """Return how many rows and columns of blocks there are, or how many base pixels."""
        if isinstance(self.component.geometry, Sphere):
            return (len(self._blocks[1]),)
        across = tuple(min(ACROSS, n) for n in self._field)
        return (1,) * (2 - len(across)) + across

    @property
    def _field(self) -> tuple[int, ...]:
        """Return the size of the part of an image that the data cover."""
        shape = self._shape[-2:]
        field = getattr(self.component.geometry, "field", None)
        parts = field[-2:] if field else (slice(None),) * len(shape)
        return tuple(len(range(*part.indices(n))) for part, n in zip(parts, shape, strict=True))

    @cached_property
    def _blocks(self) -> tuple[Array, Array]:
        """Return the pixels of all blocks, one after the other, and where each begins."""
        labels = self._labels()
        inside = np.flatnonzero(labels >= 0)
        order = inside[np.argsort(labels[inside], kind="stable")]
        _, starts = np.unique(labels[order], return_index=True)
        return order, starts

    def _labels(self) -> Array:
        """Return the number of the block that each pixel is in; -1 for none."""
        geometry = self.component.geometry
        if isinstance(geometry, Sphere):
            pixel = np.arange(geometry.pixels)
            if not geometry.nested:
                pixel = require("healpy", "healpix").ring2nest(geometry.nside, pixel)
            return pixel // geometry.nside**2
        shape = self._shape[-2:]
        field = geometry.inside[-2:]
        labels = np.full(shape, -1)
        inside = np.zeros((), int)
        for size in self._field:
            inside = inside[..., None] * ACROSS + np.arange(size) * ACROSS // size
        labels[field] = inside
        return labels.ravel()

    @cached_property
    def _bright(self) -> Array:
        """Return the places of the brightest values, on the field that the data cover."""
        inside = self.component.geometry.inside
        values = np.full(self.values.shape, -np.inf)
        values[inside] = self.values[inside]
        number = min(BRIGHT, np.count_nonzero(np.isfinite(values)))
        return np.sort(np.argsort(-values.ravel(), kind="stable")[:number])

    @cached_property
    def _places(self) -> list[str]:
        """Return where they are, on the field that the data cover; pixel and energy of a sphere."""
        geometry = self.component.geometry
        starts = [part.start or 0 for part in geometry.inside]
        found = np.transpose(np.unravel_index(self._bright, self._shape)) - starts
        if not isinstance(geometry, Sphere):
            return [",".join(map(str, place)) for place in found]
        last = 1 if self._shape[1] == 1 else None
        return [" energy ".join(map(str, place[:last])) for place in found]


def planes(geometry: Geometry, values: Array) -> Array:
    """Return values (number, ...) as (number, energies, pixels), whatever their axes."""
    if isinstance(geometry, Sphere):
        return values.transpose(0, 2, 1)
    return values.reshape(len(values), -1, int(np.prod(geometry.shape[-2:])))


def _numbered(name: str, shape: tuple[int, ...], short: bool = True) -> tuple[str, ...]:
    """Return a name for each element; axes of length one are left out."""
    if short:
        shape = tuple(n for n in shape if n != 1)
    return tuple(name + f"[{','.join(map(str, i))}]" * bool(i) for i in np.ndindex(shape))


def listed(name: str, values: Array) -> tuple[str, ...]:
    """Return a name for each element of an array; axes of length one are left out."""
    return _numbered(name, np.shape(values))
