"""Trees over pixels: each node splits into the few smaller ones that it is made of.

A grid splits into halves along its last two axes, down to single pixels; where its size is no power
of two some nodes have fewer children. A HEALPix sphere splits into its twelve base pixels, and each
pixel into the four of the next resolution. Energies have trees of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, require
from skyfold.geometry import Geometry, Grid
from skyfold.sphere import Sphere
from skyfold.vector import Array


class Tree(ABC):
    """The nodes above the pixels of a geometry, level by level.

    Level 0 are the pixels, in the order of the tree, the last level is the root. Node values of a
    level are one array, whose other axes are energies.

    Attributes
    ----------
    splits
        Number of levels above the pixels, each of which splits into the one below.
    """

    splits: int

    @abstractmethod
    def leaves(self, values: Array) -> Array:
        """Return values of the geometry as level 0."""

    @abstractmethod
    def values(self, leaves: Array) -> Array:
        """Return level 0 as values of the geometry."""

    @abstractmethod
    def up(self, nodes: Array) -> Array:
        """Return the sums over the children of each node of the next level up."""

    @abstractmethod
    def down(self, nodes: Array, level: int) -> Array:
        """Return for each node of a level the value of its parent: the transpose of `up`."""

    @cached_property
    def children(self) -> tuple[Array, ...]:
        """For each split, pixels first, how many children each node above it has."""
        nodes, found = np.ones_like(self._one_energy), []
        for _ in range(self.splits):
            nodes = self.up(np.ones_like(nodes))
            found.append(nodes)
        return tuple(found)

    @property
    @abstractmethod
    def _one_energy(self) -> Array:
        """Level 0, with a single energy."""

    def sums(self, values: Array) -> list[Array]:
        """Return the sum of the values below each node, for all levels."""
        levels = [self.leaves(values)]
        for _ in range(self.splits):
            levels.append(self.up(levels[-1]))
        return levels

    def gather(self, levels: Sequence[Array]) -> Array:
        """Return for each value the total of the nodes above it: the transpose of `sums`."""
        total = levels[-1]
        for level in reversed(range(self.splits)):
            total = self.down(total, level) + levels[level]
        return self.values(total)


class GridTree(Tree):
    """The tree of a grid; it starts at the first pixel.

    Parameters
    ----------
    shape
        Number of pixels along each axis that is split, the last one or two.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.splits = (max(shape) - 1).bit_length()
        self._parts = list(product((0, 1), repeat=len(shape)))

    def leaves(self, values: Array) -> Array:
        """Return them unchanged."""
        return values

    def values(self, leaves: Array) -> Array:
        """Return them unchanged."""
        return leaves

    def up(self, nodes: Array) -> Array:
        """Return the sums over blocks of two by two."""
        first, *others = self._parts
        total: Array = nodes[self._every_other(first)].copy()
        for part in others:
            some = nodes[self._every_other(part)]
            total[self._first(some)] += some
        return total

    def down(self, nodes: Array, level: int) -> Array:
        """Return each value of a block, repeated in the block."""
        shape = tuple(-(-n // 2**level) for n in self.shape)
        spread = np.empty((*nodes.shape[: -len(shape)], *shape), dtype=nodes.dtype)
        for part in self._parts:
            some = spread[self._every_other(part)]
            some[...] = nodes[self._first(some)]
        return spread

    @property
    def _one_energy(self) -> Array:
        return np.ones(self.shape)

    def _first(self, some: Array) -> tuple[Any, ...]:
        """Return the index of as many nodes as another array has, from the first on."""
        return (..., *(slice(n) for n in some.shape[-len(self.shape) :]))

    @staticmethod
    def _every_other(part: tuple[int, ...]) -> tuple[Any, ...]:
        return (..., *(slice(first, None, 2) for first in part))


class SphereTree(Tree):
    """The tree of a HEALPix sphere: pixels in NESTED order.

    Parameters
    ----------
    nside, nested
        Resolution, and order of the values.
    """

    def __init__(self, nside: int, nested: bool) -> None:
        self.nside = nside
        self.splits = nside.bit_length()
        self._to_nested = self._to_ring = None
        if not nested:
            healpy, number = require("healpy", "healpix"), np.arange(12 * nside**2)
            self._to_nested = healpy.nest2ring(nside, number)
            self._to_ring = healpy.ring2nest(nside, number)

    def leaves(self, values: Array) -> Array:
        """Return them in NESTED order."""
        return values if self._to_nested is None else values[self._to_nested]

    def values(self, leaves: Array) -> Array:
        """Return them in the order of the sphere."""
        return leaves if self._to_ring is None else leaves[self._to_ring]

    def up(self, nodes: Array) -> Array:
        """Return the sums over fours, or over the twelve base pixels."""
        number = 12 if len(nodes) == 12 else 4
        total: Array = nodes[::number].copy()
        for first in range(1, number):
            total += nodes[first::number]
        return total

    def down(self, nodes: Array, level: int) -> Array:
        """Return each value, repeated."""
        return np.repeat(nodes, 12 if len(nodes) == 1 else 4, axis=0)

    @property
    def _one_energy(self) -> Array:
        return np.ones((12 * self.nside**2, 1))


@lru_cache(maxsize=8)
def _sphere_tree(nside: int, nested: bool) -> Tree:
    return SphereTree(nside, nested)


@lru_cache(maxsize=8)
def _grid_tree(shape: tuple[int, ...]) -> Tree:
    return GridTree(shape)


def tree_of(geometry: Geometry) -> Tree:
    """Return the tree over the pixels of a geometry.

    Raises
    ------
    ConfigError
        If its values have no neighbours.
    """
    if isinstance(geometry, Sphere):
        return _sphere_tree(geometry.nside, geometry.nested)
    if isinstance(geometry, Grid):
        return _grid_tree(geometry.shape[-2:])
    raise ConfigError(f"{type(geometry).__name__} have no scales that a prior could compare")
