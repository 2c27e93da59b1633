"""Trajectories of all values at once, along the slope of the posterior.

Where each count may have come from many places, draws by attributed counts hardly change the sky:
they need as many sweeps as Richardson-Lucy iterations. Here all values, logarithms of totals, of
factors and of shares in a tree, move together under the likelihood of the counts themselves
(Hamiltonian Monte Carlo: Duane et al. 1987; Neal 2011). The masses of the coordinates are what law
and counts tell of each; that and the length of a step are learnt while chains burn in, and kept
from then on. The unknowns of the laws stay where they are.

It pays where one value lights most bins: skies of telescopes whose every bin looks at much of them,
backgrounds that are fitted. Behind a narrow PSF alone what mixes most slowly are the strengths, and
the time is better spent on sweeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from skyfold.data import DataInterface
from skyfold.sampling.chains.moves import Light
from skyfold.sampling.laws.coordinates import Coordinates
from skyfold.vector import Array

EVERY = 16  # sweeps from one trajectory to the next
STEPS = 16  # of a trajectory: a slope for each sweep
FIRST, GOAL = 0.1, 0.7  # length of the first step, and the probability that is aimed at
PROBES, MEMORY = 4, 32  # looks at what the counts tell, and trajectories that they are held for
WIDE = 0.5  # of the bins with counts, that a value lights where trajectories pay
LOST = 1000.0  # of its energy, at which a trajectory is given up


def pays(data: DataInterface, names: Iterable[str]) -> bool:
    """Return whether a value of one of these components lights most bins that hold counts."""
    held = np.count_nonzero(data.counts)
    return any(Light(data, name).footprint > WIDE * held for name in names)


class Point(NamedTuple):
    """Values on a trajectory: their log-posterior, and its slopes."""

    values: dict[str, Array]
    level: float
    slopes: Array


class Learnt:
    """What trajectories go by: one array, so that it can be kept.

    Parameters
    ----------
    kept
        Number of trajectories it was learnt from, logarithm of the step, and what the counts tell
        of each coordinate; of no size before the first.
    """

    def __init__(self, kept: Array, size: int) -> None:
        self.kept = kept if kept.size else np.concatenate([[0.0, np.log(FIRST)], np.zeros(size)])

    @property
    def step(self) -> float:
        """The length of a step."""
        return float(np.exp(self.kept[1]))

    @property
    def told(self) -> Array:
        """What the counts tell of each coordinate."""
        return self.kept[2:]

    def look(self, seen: Array) -> Learnt:
        """Return the same with another look at what the counts tell."""
        number = self.kept[0] + 1
        told = self.told + (seen - self.told) * max(1 / number, 1 / MEMORY)
        return Learnt(np.concatenate([[number, self.kept[1]], told]), told.size)

    def tried(self, chance: float) -> Learnt:
        """Return the same after a trajectory that was accepted with some probability."""
        kept = self.kept.copy()
        kept[1] += (chance - GOAL) / np.sqrt(kept[0])
        return Learnt(kept, kept.size - 2)


class Field:
    """The posterior of all values in their coordinates.

    Parameters
    ----------
    data
        The data.
    values
        Values of all components.
    coordinates
        Those of each component that moves.
    """

    def __init__(
        self,
        data: DataInterface,
        values: Mapping[str, Array],
        coordinates: Mapping[str, Coordinates],
    ) -> None:
        self._data, self._values = data, values
        self.firm = np.concatenate([own.firm for own in coordinates.values()])
        ends = np.cumsum([0, *(own.firm.size for own in coordinates.values())])
        self._parts = [
            (name, own, slice(*ends[i : i + 2]))
            for i, (name, own) in enumerate(coordinates.items())
        ]

    def place(self, rng: np.random.Generator) -> Array:
        """Return the coordinates of the values."""
        return np.concatenate([own.of(self._values[name], rng) for name, own, _ in self._parts])

    def at(self, place: Array) -> Point:
        """Return the values at a place, and the slopes there."""
        values, known = dict(self._values), {}
        level, slopes = 0.0, np.empty(place.size)
        for name, own, here in self._parts:
            made, known[name] = own.values(place[here])
            values[name] = made.astype(self._values[name].dtype, copy=False)
            density, slopes[here] = own.log_density(place[here])
            level += density
        if not level > -np.inf:
            return Point(values, -np.inf, slopes)
        step = self._data.e_step(self._seen(values))
        by_log = {n: values[n] * (step.back[n] - self._data.sensitivity[n]) for n in known}
        return Point(values, level + step.log_likelihood, slopes + self._by(by_log, known))

    def told(self, place: Array, rng: np.random.Generator) -> Array:
        """Return a guess at what the counts tell of each coordinate.

        That is the diagonal of the observed information, the mean of squares of its root times
        random signs.
        """
        values, known = dict(self._values), {}
        for name, own, here in self._parts:
            values[name], known[name] = own.values(place[here])
        seen = self._data.forward(self._seen(values))
        root = np.sqrt(np.maximum(self._data.curvature(seen), 0))
        found = np.zeros(place.size)
        for _ in range(PROBES):
            back = self._data.adjoint(root * (2 * rng.integers(2, size=root.size) - 1))
            found += self._by({n: values[n] * back[n] for n in known}, known) ** 2
        return found / PROBES

    def _seen(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return values in the precision of the data."""
        return {name: np.asarray(v, self._data.dtype) for name, v in values.items()}

    def _by(self, by_log: Mapping[str, Array], known: Mapping[str, Any]) -> Array:
        """Return derivatives by all coordinates."""
        return np.concatenate(
            [own.slopes(by_log[name], known[name]) for name, own, _ in self._parts]
        )


def follow(
    field: Field, kept: Array, learn: bool, rng: np.random.Generator
) -> tuple[dict[str, Array] | None, Array]:
    """Follow a trajectory.

    Parameters
    ----------
    field
        The posterior, where it begins.
    kept
        What trajectories go by (see `Learnt`).
    learn
        Whether that may still change.
    rng
        Source of randomness.

    Returns
    -------
    values
        Those at the end; None where it was not accepted.
    kept
        What the next trajectory goes by.
    """
    learnt, place = Learnt(kept, field.firm.size), field.place(rng)
    if learn:
        learnt = learnt.look(field.told(place, rng))
    pace = learnt.step * rng.uniform(0.8, 1.2) / np.sqrt(field.firm + learnt.told)
    push = rng.standard_normal(place.size)
    here = start = field.at(place)
    energy = float(start.level - 0.5 * push @ push)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS):
            push = push + 0.5 * pace * here.slopes
            place = place + pace * push
            here = field.at(place)
            push = push + 0.5 * pace * here.slopes
            gain = float(here.level - 0.5 * push @ push - energy)
            if not gain > -LOST:
                break
    chance = float(np.exp(min(gain, 0.0))) if gain > -LOST else 0.0
    accepted = rng.random() < chance
    if learn:
        learnt = learnt.tried(chance)
    return (here.values if accepted else None), learnt.kept
