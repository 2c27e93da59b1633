"""The nodes of a hierarchy as numbered things: who is whose parent, and who lies beside whom."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NamedTuple

from skyfold.sampling.laws.hierarchy import Hierarchy
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
    offsets
        Number of the first node of each level, and of all nodes.
    links
        Parent, first child (and one more), first leaf, and the leaf after the last.
    shifts
        How many tilings of a level there are: the children of its parents are the first.
    """

    def __init__(self, hierarchy: Hierarchy, energy: int, origin: tuple[int, ...] = ()) -> None:
        self._trees, self._energy = hierarchy.trees(origin), energy
        self.leaves = self._trees.leaves(energy)
        self.places = hierarchy.flat(energy, self.leaves)
        self.offsets, parent, child, first, end = self._trees.links(energy)
        self.links = parent, child, first, end
        self.shifts = 1 << (len(hierarchy.frame) or 2)
        self.tiling = lru_cache(maxsize=None)(self._tiling)

    @cached_property
    def first(self) -> list[Array]:
        """For each level: where in it the children of each node above begin, and one more."""
        return [first for first, _, _ in self._trees.splits(self._energy)]

    def strengths(self, alpha: Array) -> tuple[Array, Array]:
        """Return the Dirichlet parameter of each node, and the same minus those of its children.

        Parameters
        ----------
        alpha
            One for each level.
        """
        return self._trees.strengths(self._energy, alpha)

    def sums(self, values: Array) -> Array:
        """Return the sum of the values below each node."""
        return self._trees.sums(self._energy, values)

    def _tiling(self, level: int, shift: int) -> Tiling:
        """Return tiles of two nodes each way, which the shift may put across their parents.

        Base pixels of a sphere have no others beside them: they stay with their parent.
        """
        return Tiling(*self._trees.tiling(self._energy, level, shift))
