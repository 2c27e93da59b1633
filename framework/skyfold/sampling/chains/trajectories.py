"""Trajectories of all values at once, along the slope of the posterior.

Where each count may have come from many places, draws by attributed counts hardly change the sky:
they need as many sweeps as Richardson-Lucy iterations. Here all values, logarithms of totals, of
factors and of shares in a tree, move together with the strengths of the tree under the likelihood
of the counts themselves (Hamiltonian Monte Carlo: Duane et al. 1987; Neal 2011). Which coordinates
suit, their masses, and the length of a step are learnt while chains burn in, and kept from then on.

It pays where one value lights most bins: skies of telescopes whose every bin looks at much of them,
backgrounds that are fitted. It pays behind a narrow PSF, too, where the sky may be smooth: counts
then tell little of the strengths of fine levels, which sweeps change slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

import numpy as np

from skyfold.data import DataInterface
from skyfold.sampling.chains.moves import Light
from skyfold.sampling.laws.coordinates import Coordinates, Made
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array

EVERY = 16  # sweeps from one trajectory to the next
LONG, SHORT = 5.0, 2.0  # lengths of trajectories on which unknowns move along, and of others
MOST = 100  # steps
FIRST, GOAL = 0.1, 0.7  # length of the first step, and the probability that is aimed at
PROBES, MEMORY = 4, 32  # looks at what the counts tell, and trajectories that they are held for
WIDE = 0.5  # of the bins with counts, that a value lights where trajectories pay
LOST = 1000.0  # of its energy, at which a trajectory is given up


def pays(data: DataInterface, laws: Mapping[str, Law]) -> bool:
    """Return whether a sky may be smooth, or one value lights most bins that hold counts."""
    wide = WIDE * np.count_nonzero(data.counts)
    return any(law.smooth or Light(data, name).footprint > wide for name, law in laws.items())


class Point(NamedTuple):
    """Values and unknowns on a trajectory: their log-posterior, and its slopes."""

    values: dict[str, Array]
    unknowns: dict[str, Mapping[str, Array]]
    level: float
    slopes: Array


class Learnt:
    """What trajectories go by: one array, so that it can be kept.

    Parameters
    ----------
    kept
        Number of trajectories it was learnt from, logarithm of the step, and what the counts tell
        of the coordinates; of no size before the first.
    """

    def __init__(self, kept: Array, size: int) -> None:
        self.kept = kept if kept.size else np.concatenate([[0.0, np.log(FIRST)], np.zeros(size)])

    @property
    def step(self) -> float:
        """The length of a step."""
        return float(np.exp(self.kept[1]))

    @property
    def told(self) -> Array:
        """What the counts tell of the coordinates."""
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

    Attributes
    ----------
    looks
        How many numbers `told` returns.
    """

    def __init__(
        self,
        data: DataInterface,
        values: Mapping[str, Array],
        coordinates: Mapping[str, Coordinates],
    ) -> None:
        self._data, self._values, self._coordinates = data, values, coordinates
        self.looks = sum(own.looks for own in coordinates.values())

    def settled(self, told: Array) -> tuple[Field, Array]:
        """Return the same in coordinates that suit what counts tell, and their masses."""
        parts = self._parted(told, [own.looks for own in self._coordinates.values()])
        settled = {name: own.settled(parts[name]) for name, own in self._coordinates.items()}
        coordinates = {name: own for name, (own, _) in settled.items()}
        masses = np.concatenate([masses for _, masses in settled.values()])
        return Field(self._data, self._values, coordinates), masses

    def place(self, rng: np.random.Generator) -> Array:
        """Return the coordinates of the values."""
        return np.concatenate(
            [own.of(self._values[name], rng) for name, own in self._coordinates.items()]
        )

    def at(self, place: Array) -> Point:
        """Return the values at a place, and the slopes there."""
        made = self._made(place)
        values, unknowns = self._all(made), {name: own.unknowns for name, own in made.items()}
        level = sum(own.density for own in made.values())
        slopes = np.concatenate([own.slopes for own in made.values()])
        if not level > -np.inf:
            return Point(values, unknowns, -np.inf, slopes)
        step = self._data.e_step(self._seen(values))
        by_log = {n: values[n] * (step.back[n] - self._data.sensitivity[n]) for n in made}
        by_data = [own.slopes(by_log[n], made[n].known) for n, own in self._coordinates.items()]
        level += step.log_likelihood
        return Point(values, unknowns, level, slopes + np.concatenate(by_data))

    def told(self, rng: np.random.Generator) -> Array:
        """Return a guess at what the counts tell of the coordinates.

        That is the diagonal of the observed information, the mean of squares of its root times
        random signs.
        """
        made = self._made(self.place(rng))
        values = self._all(made)
        seen = self._data.forward(self._seen(values))
        root = np.sqrt(np.maximum(self._data.curvature(seen), 0))
        found = np.zeros(self.looks)
        for _ in range(PROBES):
            back = self._data.adjoint(root * (2 * rng.integers(2, size=root.size) - 1))
            looks = [
                own.look(values[n] * back[n], made[n].known) for n, own in self._coordinates.items()
            ]
            found += np.concatenate(looks)
        return found / PROBES

    def _made(self, place: Array) -> dict[str, Made]:
        """Return what the coordinates of each component stand for."""
        parts = self._parted(place, [own.size for own in self._coordinates.values()])
        return {name: own.at(parts[name]) for name, own in self._coordinates.items()}

    def _parted(self, numbers: Array, sizes: list[int]) -> dict[str, Array]:
        """Return those of each component."""
        return dict(zip(self._coordinates, np.split(numbers, np.cumsum(sizes)[:-1]), strict=True))

    def _all(self, made: Mapping[str, Made]) -> dict[str, Array]:
        """Return values of all components, each in the precision that it is kept in."""
        moved = {
            name: own.values.astype(self._values[name].dtype, copy=False)
            for name, own in made.items()
        }
        return {**self._values, **moved}

    def _seen(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return values in the precision of the data."""
        return {name: np.asarray(v, self._data.dtype) for name, v in values.items()}


def follow(
    field: Field, kept: Array, learn: bool, rng: np.random.Generator
) -> tuple[Point | None, Array]:
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
    end
        Where it ends; None where that was not accepted.
    kept
        What the next trajectory goes by.
    """
    learnt = Learnt(kept, field.looks)
    if learn:
        before, _ = field.settled(learnt.told)
        learnt = learnt.look(before.told(rng))
    settled, masses = field.settled(learnt.told)
    place = settled.place(rng)
    pace = learnt.step * rng.uniform(0.8, 1.2) / np.sqrt(masses)
    push = rng.standard_normal(place.size)
    here = start = settled.at(place)
    energy = float(start.level - 0.5 * push @ push)
    length = LONG if any(start.unknowns.values()) else SHORT
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(min(ceil(length / learnt.step), MOST)):
            push = push + 0.5 * pace * here.slopes
            place = place + pace * push
            here = settled.at(place)
            push = push + 0.5 * pace * here.slopes
            gain = float(here.level - 0.5 * push @ push - energy)
            if not gain > -LOST:
                break
    chance = float(np.exp(min(gain, 0.0))) if gain > -LOST else 0.0
    accepted = rng.random() < chance
    if learn:
        learnt = learnt.tried(chance)
    return (here if accepted else None), learnt.kept
