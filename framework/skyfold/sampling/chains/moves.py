"""Transfers of light between neighbours: what the attribution of counts changes only slowly.

Light goes from one node of a tree to another of the same tile: between neighbouring pixels, or
blocks of them. The light of the tile stays, so that tiles may be chosen by it. Either the two are
swapped, or the logarithm of their ratio makes a step, or it is drawn from the prior; what lies
below them is scaled. All is accepted by the change of likelihood and prior (Metropolis-Hastings),
at counts that nobody attributed.

How much is done is a function of the sizes of the problem, not of the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from math import ceil

import numpy as np

from skyfold._kernels import transfer
from skyfold.attribution import key
from skyfold.columns import Columns, from_csr
from skyfold.data import DataInterface
from skyfold.kept import Kept
from skyfold.sampling.laws.hierarchy import Hierarchy
from skyfold.sampling.laws.nodes import Nodes, Tiling
from skyfold.vector import Array

SHARE = 0.3  # of the time that a chain takes
TRIALS = 8  # transfers tried in each tile that is chosen
POWER = 0.75  # of the light of a tile, by which tiles are chosen
KEPT = 64  # trees whose nodes are kept
HELD, CHUNK = 8_000_000, 1024  # elements of a response that are kept, values looked at together
PROBES = 64
# nanoseconds: for each element of the response that a product visits, count, value, and sweep
PRODUCT, COUNT, VALUE, STEP = 0.35, 60.0, 45.0, 100_000.0
# and for each bin of a pixel of a tile, if it must be asked for, each trial, and each of its bins
GATHER, FETCH, TRIAL, BIN = 4.0, 60.0, 1000.0, 2.5


class Light:
    """What one component makes in the data, value by value.

    Parameters
    ----------
    data
        The data.
    name
        Name of the component.
    """

    def __init__(self, data: DataInterface, name: str) -> None:
        self._parts, self.name, self._asked = data.parts, name, 0
        self.sensitivity = data.sensitivity[name].ravel().astype(np.float64)
        self.counts = data.counts.astype(np.float64)
        every = np.unique(np.linspace(0, self.sensitivity.size - 1, PROBES).astype(int))
        self.footprint = len(self.columns(every).bins) / len(every)

    def columns(self, places: Array) -> Columns:
        """Return which bins with counts values light, given their flat numbers."""
        ends = [np.zeros(1, np.int64)]
        some = [places[i : i + CHUNK] for i in range(0, max(len(places), 1), CHUNK)]
        pieces = [self._columns(few) for few in some]
        for start, _, _ in pieces:
            ends.append(ends[-1][-1] + start[1:])
        _, bins, weights = zip(*pieces, strict=True)
        return Columns(np.concatenate(ends), np.concatenate(bins), np.concatenate(weights))

    def _columns(self, places: Array) -> Columns:
        """Return the same of so few values that all that has to be held stays in the cache."""
        from scipy.sparse import csr_array, hstack

        pieces = []
        for part in self._parts:
            size, response = part.counts.size, part.responses.get(self.name)
            if response is None:
                pieces.append(csr_array((len(places), size)))
                continue
            held = np.where(part.counts > 0, np.arange(size), -1)
            pieces.append(response.columns(places).numbered(held).csr(size))
        return from_csr(pieces[0] if len(pieces) == 1 else hstack(pieces, format="csr"))

    @cached_property
    def _whole(self) -> Columns | None:
        """All columns, where they are few enough to be kept."""
        return self.columns(np.arange(self.sensitivity.size)) if self._kept else None

    @property
    def _kept(self) -> bool:
        return self.footprint * self.sensitivity.size <= HELD

    def of(self, nodes: Nodes, tiling: Tiling, chosen: Array) -> tuple[Array, Columns]:
        """Return for each leaf a number, and the columns of those in some tiles by it."""
        if self._asked > self.sensitivity.size and self._whole is not None:
            return nodes.places, self._whole
        members = tiling.nodes[_from_to(tiling.start[chosen], tiling.start[chosen + 1])]
        _, _, begin, end = nodes.links
        leaves = _from_to(begin[members], end[members])
        self._asked += len(leaves)  # all are not made at once: other data may come soon
        rows = np.full(len(nodes.places), -1)
        rows[leaves] = np.arange(len(leaves))
        return rows, self.columns(nodes.places[leaves])

    @cached_property
    def every(self) -> int:
        """Sweeps from one time to the next."""
        return ceil(self._price / (0.5 * SHARE * self._sweep))

    def groups(self, pixels: float) -> int:
        """Return how many tiles of so many pixels may be chosen each time."""
        gathered = (GATHER + FETCH * (not self._kept)) * pixels * self.footprint
        tried = TRIALS * (TRIAL + BIN * self.footprint * pixels**0.25)  # footprints overlap
        left = SHARE / (1 - SHARE) * self.every * self._sweep - self._price
        return int(left / (gathered + tried))

    @cached_property
    def _sweep(self) -> float:
        """What a sweep takes."""
        values, counts = self.sensitivity.size, float(self.counts.sum())
        return PRODUCT * self.footprint * values + COUNT * counts + VALUE * values + STEP

    @cached_property
    def _price(self) -> float:
        """What it takes to begin: the expectation, the sums over the tree, the log-density."""
        return (PRODUCT * self.footprint + VALUE) * self.sensitivity.size + STEP


class Transfers:
    """Transfers of light within one component, along the trees of its law.

    Parameters
    ----------
    hierarchy
        The trees.

    Attributes
    ----------
    nodes
        Returns the nodes of a tree, by its energy and origin.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        self.nodes = lru_cache(maxsize=KEPT)(lambda *which: Nodes(hierarchy, *which))
        self._lights: Kept[DataInterface, dict[str, Light]] = Kept()

    def __reduce__(self) -> tuple[type[Transfers], tuple[Hierarchy]]:
        return type(self), (self.hierarchy,)

    def __call__(
        self,
        name: str,
        data: DataInterface,
        values: Mapping[str, Array],
        unknowns: Mapping[str, Array],
        sweep: int,
        rng: np.random.Generator,
    ) -> Array | None:
        """Return the values of a component after some transfers; None where it is not their turn.

        Parameters
        ----------
        name
            Name of the component.
        data
            The data.
        values
            Values of all components.
        unknowns
            Strengths, and the origin.
        sweep
            Number of the sweep.
        rng
            Source of randomness.
        """
        light = self._light(name, data)
        if (sweep + 1) % light.every or not self.hierarchy.levels:
            return None
        energies = self._by_energy(values[name]).sum(axis=1, dtype=np.float64)
        energy = _one_of(energies, rng)
        nodes = self.nodes(energy, tuple(np.ravel(unknowns.get("origin", ())).tolist()))
        level, groups = self._level(light, nodes, rng)
        if not groups or not energies[energy] > 0:
            return None
        tiling = nodes.tiling(level, int(rng.integers(nodes.shifts)))
        if not len(tiling.nodes):  # nothing is shared on this level
            return None
        expectation = data.forward(values).observed.astype(np.float64)
        moved = values[name].astype(np.float64)
        transferred(
            nodes, unknowns["alpha"][energy], moved, tiling, groups, light, expectation, rng
        )
        return moved.astype(values[name].dtype, copy=False)

    def _level(self, light: Light, nodes: Nodes, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a level, pixels as often as all others; return how many tiles to choose there."""
        parents = np.diff(nodes.offsets)[1:].tolist()
        groups = [light.groups(len(nodes.places) / number) for number in parents]
        able = [level for level, number in enumerate(groups) if number and level]
        level = 0 if not able or rng.random() < 0.5 else able[int(rng.integers(len(able)))]
        return level, groups[level]

    def _light(self, name: str, data: DataInterface) -> Light:
        known = self._lights.of(data, dict)
        if name not in known:
            known[name] = Light(data, name)
        return known[name]

    def _by_energy(self, values: Array) -> Array:
        """Return values with the energies first, all others in one axis."""
        first = values if self.hierarchy.frame else values.T
        return first.reshape(self.hierarchy.energies, -1)


def transferred(
    nodes: Nodes,
    alpha: Array,
    values: Array,
    tiling: Tiling,
    groups: int,
    light: Light,
    expectation: Array,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Try transfers in some tiles, the brighter the more often.

    Parameters
    ----------
    nodes, alpha
        The tree of one energy, and its strengths.
    values, expectation
        Values of the component, and expected counts of all; both change in place.
    tiling, groups
        The tiles, and how many of them are chosen.
    light
        What the component makes in the data.
    rng
        Source of randomness.

    Returns
    -------
    tried, accepted
        How many.
    """
    sums = nodes.sums(values)
    totals = np.add.reduceat(sums[tiling.nodes], tiling.start[:-1])
    chosen = _some_of(totals**POWER, groups, rng)
    rows, columns = light.of(nodes, tiling, chosen)
    tried, accepted = transfer(
        sums,
        *nodes.links,
        *nodes.strengths(alpha),
        light.sensitivity[nodes.places],
        *tiling,
        chosen,
        TRIALS,
        rows,
        *columns,
        light.counts,
        expectation,
        key(rng),
    )
    values.ravel()[nodes.places] = sums[: len(nodes.places)]
    return tried, accepted


def _from_to(begin: Array, end: Array) -> Array:
    """Return the numbers from each beginning to each end."""
    start = np.concatenate([[0], np.cumsum(end - begin)])
    numbers: Array = np.arange(start[-1]) + np.repeat(begin - start[:-1], end - begin)
    return numbers


def _some_of(weights: Array, number: int, rng: np.random.Generator) -> Array:
    """Draw numbers in proportion to weights."""
    ladder = weights.cumsum()
    drawn = ladder.searchsorted(rng.random(number) * ladder[-1], side="right")
    some: Array = np.minimum(drawn, len(weights) - 1)
    return some


def _one_of(weights: Array, rng: np.random.Generator) -> int:
    return int(_some_of(weights, 1, rng)[0]) if len(weights) > 1 else 0
