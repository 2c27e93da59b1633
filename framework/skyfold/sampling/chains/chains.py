"""A walk through the posterior: attribute the counts, then draw each component given its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skyfold._kernels import add_moments
from skyfold.data import DataInterface
from skyfold.sampling.chains.calibration import Calibration, View
from skyfold.sampling.chains.tempering import exchange
from skyfold.sampling.chains.trajectories import Field, follow
from skyfold.sampling.chains.watch import Watch, listed
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array, Vector

HELD = 65_536  # values of a chain that are held before they are summed up: they stay in the cache
Unknowns = dict[str, dict[str, Array]]


class Numbers:
    """Random numbers of a chain, a function of seed, chain and sweep alone.

    Philox is counter-based: nothing has to be stored, to go on from any sweep.

    Parameters
    ----------
    seed, chain
        What they depend on, besides the sweep.
    """

    def __init__(self, seed: int, chain: int) -> None:
        key = np.random.SeedSequence([seed, chain]).generate_state(2, np.uint64)
        self._source = np.random.Philox(key=key)
        self._begin: Any = self._source.state
        self._generator = np.random.Generator(self._source)

    def at(self, sweep: int) -> np.random.Generator:
        """Return the numbers of a sweep; those of an earlier one are gone."""
        self._begin["state"]["counter"][2] = sweep
        self._source.state = self._begin
        return self._generator

    @property
    def rest(self) -> np.random.Generator:
        """The numbers of the present sweep that nobody took."""
        return self._generator


@dataclass(eq=False)
class Moments:
    """Mean, and sum of squared differences to it, of values that come one by one.

    Parameters
    ----------
    count
        How many have come.
    mean, spread
        By component.
    """

    count: int
    mean: dict[str, Array]
    spread: dict[str, Array]

    def add(self, values: Mapping[str, Array]) -> None:
        """Take note of more values, shape (number, ...)."""
        for name, mean in self.mean.items():
            add_moments(values[name], self.count, mean, self.spread[name])
        self.count += len(next(iter(values.values())))


@dataclass(eq=False)
class Chain:
    """Values that walk through the posterior, with all that it takes to go on.

    Parameters
    ----------
    data
        The data.
    laws
        Law of each component that is fitted.
    watches
        What to write down of each.
    seed, number
        What the random numbers are a function of, together with the sweep.
    values
        Values of all components.
    unknowns
        What the laws do not know, by component.
    densities
        Log-density of values and unknowns, by component.
    sweeps
        Sweeps done.
    moments
        Those of the values since burn-in.
    calibration, setting
        What is not known of the responses, and what it is taken for now.
    hotter
        Chains of hotter laws beside it, one hotter than the other, with which it exchanges where
        they are (see `skyfold.sampling.chains.tempering`).
    moves
        Whether the laws may take steps of their own, besides those by attributed counts.
    follows
        Sweeps from one trajectory to the next; 0 for none.
    learns
        Sweeps in which it is learnt how trajectories go.
    learnt
        What they go by (see `skyfold.sampling.chains.trajectories`).
    """

    data: DataInterface
    laws: Mapping[str, Law]
    watches: Mapping[str, Watch]
    seed: int
    number: int
    values: dict[str, Array]
    unknowns: Unknowns
    densities: dict[str, float]
    sweeps: int
    moments: Moments = field(default_factory=lambda: Moments(0, {}, {}))
    calibration: Calibration | None = None
    setting: Array = field(default_factory=lambda: np.zeros(0))
    hotter: Sequence[Chain] = ()
    moves: bool = False
    follows: int = 0
    learns: int = 0
    learnt: Array = field(default_factory=lambda: np.zeros(0))
    swaps: Array = field(init=False)
    numbers: Numbers = field(init=False)
    view: View = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = Numbers(self.seed, self.number)
        self.swaps = np.zeros((len(self.hotter), 2))
        self._look()

    @property
    def seen(self) -> DataInterface:
        """The data as they are seen with the present setting of the calibration."""
        return self.view.data

    def _look(self) -> None:
        if self.calibration is None:
            self.view = View(self.data, {})
        else:
            self.view = self.calibration.view(self.data, self.setting)

    def _calibrate(self, rng: np.random.Generator) -> None:
        """Draw the setting of the calibration, where its turn has come."""
        if self.calibration is None or self.sweeps % self.calibration.every:
            return
        before = self.setting
        self.setting = self.calibration.draw(self.data, self.values, before, rng)
        if self.setting is not before:
            self._look()

    def sweep(self) -> float:
        """Draw the calibration, then where each count came from, then each component.

        Returns
        -------
        log_likelihood
            That of the values before, with the calibration of now.
        """
        rng = self.numbers.at(self.sweeps)
        self._calibrate(rng)
        step = self.seen.attribute(self.values, rng)
        for name, law in self.laws.items():
            drawn = self.view.completed(name, step.back[name], self.values[name], rng)
            self.values[name], self.unknowns[name], self.densities[name] = law.draw(
                drawn, self.values[name], self.unknowns[name], rng
            )
        if self.moves:
            self.move(rng)
        if self.follows and (self.sweeps + 1) % self.follows == 0:
            self.follow(rng)
        self.sweeps += 1
        return step.log_likelihood

    def move(self, rng: np.random.Generator) -> None:
        """Let the laws take their own steps."""
        for name, law in self.laws.items():
            unknowns = self.unknowns[name]
            moved = law.move(name, self.seen, self.values, unknowns, self.sweeps, rng)
            if moved is not None:
                before, self.values[name] = self.values[name], moved
                self.densities[name] += law.log_density(moved, unknowns)
                self.densities[name] -= law.log_density(before, unknowns)

    def follow(self, rng: np.random.Generator) -> None:
        """Let values and unknowns follow a trajectory, if all laws have coordinates for it."""
        able = {}
        for name, law in self.laws.items():
            if (own := law.coordinates(self.unknowns[name])) is None:
                return
            able[name] = own
        learn = self.sweeps < self.learns
        if not (learn or self.learnt.size):
            return
        posterior = Field(self.seen, self.values, able)
        end, self.learnt = follow(posterior, self.learnt, learn, rng)
        if end is None:
            return
        self.values = end.values
        for name, law in self.laws.items():
            self.unknowns[name] = {**self.unknowns[name], **end.unknowns[name]}
            self.densities[name] = law.log_density(self.values[name], self.unknowns[name])

    def temper(self) -> None:
        """Let the hotter chains follow, and exchange where all are."""
        for chain in self.hotter:
            chain.sweep()
        if self.hotter:
            self.swaps += exchange([self, *self.hotter], self.numbers.rest)

    def walk(self, sweeps: int, burn: int, thin: int) -> tuple[Array, dict[str, Array]]:
        """Go on.

        Parameters
        ----------
        sweeps
            How many sweeps.
        burn
            Number of the first sweep whose values count.
        thin
            Of these, one of so many is kept.

        Returns
        -------
        rows
            What is watched before each sweep, shape (sweeps, columns); see `columns`.
        kept
            Values of the skies, float32, shape (kept, ...).
        """
        most = max(1, HELD // sum(self.values[name].size for name in self.laws))
        number = len(range(self._wait(burn, thin), sweeps, thin))
        kept = {n: np.empty((number, *self.values[n].shape), np.float32) for n in self.skies}
        rows, done = [], 0
        for first in range(0, sweeps, most):
            unheeded, wait = max(burn - self.sweeps, 0), self._wait(burn, thin)
            row, held = self._piece(min(most, sweeps - first))
            rows.append(row)
            self.moments.add({name: values[unheeded:] for name, values in held.items()})
            for name, images in kept.items():
                chosen = held[name][wait::thin]
                images[done : done + len(chosen)] = chosen
            done += len(range(wait, len(row), thin))
        return np.concatenate(rows), kept

    def _wait(self, burn: int, thin: int) -> int:
        """Return how many sweeps there are before the next one whose values are kept."""
        ahead = burn - self.sweeps
        return ahead if ahead > 0 else ahead % thin

    def _piece(self, sweeps: int) -> tuple[Array, dict[str, Array]]:
        """Go on for a few sweeps; return their rows, and the values before each of them."""
        before: dict[str, list[Array]] = {name: [] for name in self.laws}
        scalars, unknowns = np.empty((sweeps, 3)), []
        settings = np.empty((sweeps, self.setting.size))
        for i in range(sweeps):
            for name, values in before.items():
                values.append(self.values[name])
            unknowns.append([list(unknown.values()) for unknown in self.unknowns.values()])
            scalars[i, 1] = sum(self.densities.values())
            scalars[i, 0] = self.sweep()
            settings[i] = self.setting  # drawn for the values of before
            if self.calibration is not None:
                scalars[i, 1] += self.calibration.log_density(self.setting)
            self.temper()
        held = {name: _row_by_row(values) for name, values in before.items()}
        scalars[:, 2] = scalars[:, 0] + scalars[:, 1]
        columns = [scalars]
        for number, name in enumerate(self.laws):
            columns.append(self.watches[name](held[name]))
            for own in zip(*(row[number] for row in unknowns), strict=True):
                columns.append(np.array(own).reshape(sweeps, -1))
        return np.concatenate([*columns, settings], axis=1), held

    @property
    def skies(self) -> list[str]:
        """Names of the components that are skies."""
        return [name for name in self.laws if self.data.components[name].geometry.sky]

    @property
    def columns(self) -> tuple[str, ...]:
        """What stands in a row."""
        names = ["log_likelihood", "log_prior", "log_posterior"]
        for name in self.laws:
            names += self.watches[name].columns
            for key, value in self.unknowns[name].items():
                names += listed(f"{name}.{key}", value)
        return (*names, *(self.calibration.columns if self.calibration else ()))


def _row_by_row(values: list[Array]) -> Array:
    """Return arrays as one; a single one is not copied."""
    first, *more = values
    return np.array(values) if more else first[None]


def together(chains: Sequence[Chain]) -> dict[str, Any]:
    """Return where chains are, in arrays whose first axis is their number."""
    first = chains[0]
    return {
        "draws": stacked(chains, lambda chain: chain.values),
        "unknowns": {
            name: {key: np.array([chain.unknowns[name][key] for chain in chains]) for key in known}
            for name, known in first.unknowns.items()
        },
        "densities": {n: np.array([chain.densities[n] for chain in chains]) for n in first.laws},
        "settings": np.array([chain.setting for chain in chains]),
    }


def stacked(chains: Sequence[Chain], pick: Callable[[Chain], Mapping[str, Array]]) -> Vector:
    """Return something that each chain has of each component, in arrays of all chains."""
    return Vector({n: np.array([pick(chain)[n] for chain in chains]) for n in chains[0].laws})
