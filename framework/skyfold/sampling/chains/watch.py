"""Numbers of a model that a sampler writes down at every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from skyfold.errors import require
from skyfold.geometry import Geometry
from skyfold.model import Component
from skyfold.sphere import Sphere
from skyfold.vector import Array

ACROSS = 4  # blocks of an image along each axis
BASE = 12  # pixels that a sphere is made of
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
        blocks = self._sums(values)
        totals = blocks.sum(axis=-1)
        bright = values.reshape(number, -1)[:, self._bright]
        return np.concatenate([totals, blocks.sum(axis=1), bright], axis=1)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.component.geometry.shape

    @property
    def _energies(self) -> int:
        return int(planes(self.component.geometry, self.values[None]).shape[1])

    @property
    def _division(self) -> tuple[int, ...]:
        """Return how many rows and columns of blocks there are, or how many base pixels."""
        if isinstance(self.component.geometry, Sphere):
            return (BASE,)
        across = tuple(min(ACROSS, n) for n in self._field)
        return (1,) * (2 - len(across)) + across

    @property
    def _field(self) -> tuple[int, ...]:
        """Return the size of the part of an image that the data cover."""
        shape = self._shape[-2:]
        field = getattr(self.component.geometry, "field", None)
        parts = field[-2:] if field else (slice(None),) * len(shape)
        return tuple(len(range(*part.indices(n))) for part, n in zip(parts, shape, strict=True))

    def _sums(self, values: Array) -> Array:
        """Return the sums over the blocks of values (number, ...): (number, energies, blocks)."""
        geometry = self.component.geometry
        if isinstance(geometry, Sphere):
            light = planes(geometry, values)
            inside = light if self._nested is None else light[..., self._nested]
            blocks: Array = inside.reshape(*light.shape[:2], BASE, -1).sum(axis=-1)
            return blocks * geometry.pixel_area
        sums: Array = values[(slice(None), *geometry.inside)]
        for axis, size in enumerate(self._field, -len(self._field)):  # whole rows at a time first
            number = min(ACROSS, size)
            sums = np.add.reduceat(sums, -(-size * np.arange(number) // number), axis=axis)
        return sums.reshape(len(values), -1, prod(self._division))

    @cached_property
    def _nested(self) -> Array | None:
        """The pixels of a sphere in nested order, where they are in another one."""
        sphere = self.component.geometry
        assert isinstance(sphere, Sphere)
        if sphere.nested:
            return None
        number = np.arange(sphere.pixels)
        order: Array = require("healpy", "healpix").nest2ring(sphere.nside, number)
        return order

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
