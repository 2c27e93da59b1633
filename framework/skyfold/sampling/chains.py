"""A walk through the posterior: attribute the counts, then draw each component given its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skyfold.data import DataInterface
from skyfold.sampling.law import Law
from skyfold.sampling.watch import Watch, listed
from skyfold.vector import Array

Unknowns = dict[str, dict[str, Array]]


def generator(seed: int, chain: int, sweep: int) -> np.random.Generator:
    """Return the random numbers of one sweep of a chain.

    Philox is counter-based: they are a function of the three alone, so none is ever stored.
    """
    key = np.random.SeedSequence([seed, chain]).generate_state(2, np.uint64)
    return _at(key, sweep)


def _at(key: Array, sweep: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, sweep, 0]))


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
        """Take note of the next values (Welford 1962)."""
        self.count += 1
        for name, mean in self.mean.items():
            off = values[name] - mean
            mean += off / self.count
            self.spread[name] += off * (values[name] - mean)


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
    moments: Moments
    _key: Array = field(init=False)

    def __post_init__(self) -> None:
        entropy = np.random.SeedSequence([self.seed, self.number])
        self._key = entropy.generate_state(2, np.uint64)

    def sweep(self) -> Array:
        """Draw anew where each count came from, then each component; return the row of before."""
        rng = _at(self._key, self.sweeps)
        step = self.data.attribute(self.values, rng)
        row = self._row(step.log_likelihood)
        for name, law in self.laws.items():
            self.values[name], self.unknowns[name], self.densities[name] = law.draw(
                step.back[name], self.values[name], self.unknowns[name], rng
            )
        self.sweeps += 1
        return row

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
            Shape (sweeps, columns); see `columns`.
        kept
            Values of the skies, float32, shape (kept, ...).
        """
        rows, kept = [], {name: [] for name in self.skies}
        for _ in range(sweeps):
            if self.sweeps >= burn:
                self.moments.add(self.values)
                if (self.sweeps - burn) % thin == 0:
                    for name, images in kept.items():
                        images.append(self.values[name].astype(np.float32))
            rows.append(self.sweep())
        shapes = {name: (len(images), *self.values[name].shape) for name, images in kept.items()}
        stacked = {n: np.array(images, np.float32).reshape(shapes[n]) for n, images in kept.items()}
        return np.array(rows), stacked

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
        return tuple(names)

    def _row(self, log_likelihood: float) -> Array:
        log_prior = sum(self.densities.values())
        pieces = [np.array([log_likelihood, log_prior, log_likelihood + log_prior])]
        for name in self.laws:
            pieces.append(self.watches[name](self.values[name]))
            pieces += [np.ravel(value) for value in self.unknowns[name].values()]
        return np.concatenate(pieces)
