"""The nodes of a hierarchy as numbered things: who is whose parent, and who lies beside whom."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from skyfold.geometry import Geometry, Grid
from skyfold.sampling.laws.hierarchy import Hierarchy
from skyfold.sphere import Sphere
from skyfold.vector import Array


class Tiling(NamedTuple):
    """Nodes of a level in tiles of a few neighbours.

    Attributes
    ----------
    start
        Where the nodes of each tile begin, and one more.
    nodes
        The nodes, tile by tile; those alone in their tile are left out.
    """

    start: Array
    nodes: Array


class Nodes:
    """All nodes of a tree, its leaves first, level by level.

    Parameters
    ----------
    hierarchy
        The trees.
    energy
        Which of them.
    origin
        Where the frame of an image begins; empty on a sphere.

    Attributes
    ----------
    leaves
        Pixel of each leaf.
    places
        Flat number of the value of each leaf.
    """

    def __init__(self, hierarchy: Hierarchy, energy: int, origin: tuple[int, ...] = ()) -> None:
        trees = hierarchy.trees(origin)
        self._splits = trees.splits(energy)
        self.leaves = trees.leaves(energy)
        pixels = np.arange(np.prod(hierarchy.geometry.shape)).reshape(hierarchy.geometry.shape)
        by_energy = pixels.T if isinstance(hierarchy.geometry, Sphere) else pixels
        self.places = by_energy.reshape(hierarchy.energies, -1)[energy][self.leaves]
        self._where = _where(hierarchy.geometry, self.leaves, origin, hierarchy.frame)
        self.tiling = lru_cache(maxsize=None)(self._tiling)

    @cached_property
    def offsets(self) -> Array:
        """Number of the first node of each level, and of all nodes."""
        sizes = [len(self.places), *(len(first) - 1 for first, _, _ in self._splits)]
        return np.concatenate([[0], np.cumsum(sizes)])

    @cached_property
    def links(self) -> tuple[Array, Array, Array, Array]:
        """Parent, first child (and one more), first leaf, and the leaf after the last."""
        number = np.arange(len(self.places))
        begin, end, parents, children = [number], [number + 1], [], [np.zeros_like(number)]
        for level, (first, _, _) in enumerate(self._splits):
            below, own = self.offsets[level : level + 2]
            parents.append(own + np.repeat(np.arange(len(first) - 1), np.diff(first)))
            children.append(below + first[:-1])
            begin.append(begin[-1][first[:-1]])
            end.append(end[-1][first[1:] - 1])
        root = self.offsets[-1] - 1
        pieces = [[*parents, [root]], [*children, [root]], begin, end]
        parent, child, leaf, after = (np.concatenate(each).astype(np.int32) for each in pieces)
        return parent, child, leaf, after

    def strengths(self, alpha: Array) -> tuple[Array, Array]:
        """Return the Dirichlet parameter of each node, and the same minus those of its children.

        Parameters
        ----------
        alpha
            One for each level.
        """
        by_level = list(zip(alpha, self._splits, strict=True))
        own = np.concatenate([*(a * children for a, (_, children, _) in by_level), [0.0]])
        below = [np.zeros(len(self.places)), *(a * parents for a, (_, _, parents) in by_level)]
        return own, own - np.concatenate(below)

    def sums(self, values: Array) -> Array:
        """Return the sum of the values below each node."""
        levels = [values.ravel()[self.places].astype(np.float64, copy=False)]
        for first, _, _ in self._splits:
            levels.append(np.add.reduceat(levels[-1], first[:-1]))
        return np.concatenate(levels)

    @property
    def shifts(self) -> int:
        """How many tilings of a level there are: the children of its parents are the first."""
        return 1 << (len(self._where) - 1)

    def _tiling(self, level: int, shift: int) -> Tiling:
        """Return tiles of two nodes each way, which the shift may put across their parents.

        Base pixels of a sphere have no others beside them: they stay with their parent.
        """
        nodes = np.arange(*self.offsets[level : level + 2])
        parent, _, first, _ = self.links
        tile = parent[nodes].astype(np.int64)
        if shift:
            face, *along = self._where[:, first[nodes]]
            tile = face
            for axis, place in enumerate(along):
                moved = ((place >> level) + (shift >> axis & 1)) >> 1
                tile = tile * (int(moved.max()) + 1) + moved
        _, tile, size = np.unique(tile, return_inverse=True, return_counts=True)
        shared = size[tile] > 1
        if shift and not np.any(shared):
            return self.tiling(level, 0)
        order = np.argsort(tile[shared], kind="stable")
        return Tiling(np.concatenate([[0], np.cumsum(size[size > 1])]), nodes[shared][order])


def _where(
    geometry: Geometry, leaves: Array, origin: tuple[int, ...], frame: tuple[int, ...]
) -> Array:
    """Return face and position of pixels, as their tree counts them."""
    if isinstance(geometry, Grid):
        along = np.unravel_index(leaves, geometry.shape[-len(frame) :])
        begin = origin or (0,) * len(frame)
        moved = [(x - o) % n for x, o, n in zip(along, begin, frame, strict=True)]
        return np.array([np.zeros_like(moved[0]), *moved])
    assert isinstance(geometry, Sphere)
    number = np.arange(12 * geometry.nside**2)
    if not geometry.nested:
        import healpy

        number = healpy.ring2nest(geometry.nside, number)
    face, inside = np.divmod(number[leaves], geometry.nside**2)
    bits = range(geometry.nside.bit_length())
    x, y = (sum((inside >> (2 * b + s) & 1) << b for b in bits) for s in (0, 1))
    return np.array([face, x, y])
