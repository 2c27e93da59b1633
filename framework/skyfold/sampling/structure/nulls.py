"""Counts that the known would make by itself, and what a sampler finds in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skyfold.algorithms.gibbs import Gibbs, GibbsState
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.joint import JointData
from skyfold.model import Model
from skyfold.simulate import generator, simulate
from skyfold.vector import Array, Vector

OBSERVED, NULLS = 1, 2  # what a seed is for
MOST = 2000  # draws of an analysis that are kept, about


def seeds(seed: int, purpose: int, number: int) -> int:
    """Return a seed of its own for each analysis."""
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(2)
    return int(words[0]) << 32 | int(words[1])


@dataclass(frozen=True, eq=False)
class RegionLight:
    """Light of regions as functions of a model, extra and known, in one unit.

    Parameters
    ----------
    extra
        Weights of the sky, one row per region.
    known
        Weights of each other component, one row per region.
    """

    extra: Array
    known: Mapping[str, Array]

    @classmethod
    def of(cls, data: DataInterface, name: str, regions: Sequence[Array]) -> RegionLight:
        """Return the light of regions.

        Whatever the known components make in the counts, B, is taken for light of the sky: in the
        value k it is ``sum_i R_ik B_i / (R 1)_i`` over the sensitivity of k, with the response R.
        That is f where B is what an even sky of f would make.

        Parameters
        ----------
        data
            The data.
        name
            The sky whose light is the extra.
        regions
            What each value of it counts in a region.
        """
        component, seen = data.components[name], data.sensitivity[name]
        on = np.broadcast_to(True if component.mask is None else component.mask, seen.shape)
        on = on & (seen > 0)
        extra, known = [], []
        for region in regions:
            own = np.where(on, region, 0.0)
            share = np.divide(own, seen, out=np.zeros(seen.shape), where=on)
            extra.append(own.ravel())
            known.append(_known(data, name, share))
        names = [other for other in data.components if other != name]
        return cls(np.array(extra), {n: np.array([row[n].ravel() for row in known]) for n in names})

    def of_values(self, name: str, values: Mapping[str, Array]) -> Array:
        """Return extra and known light of each region, shape (2, regions)."""
        known = np.zeros(len(self.extra))
        for other, weights in self.known.items():
            known = known + weights @ values[other].ravel()
        return np.array([self.extra @ values[name].ravel(), known])


def _known(data: DataInterface, name: str, share: Array) -> Vector:
    """Return what each value of the other components is, as light of one region of a sky."""
    total = Vector({n: np.zeros(part.geometry.shape) for n, part in data.components.items()})
    for part in data.parts:
        if name not in part.whole:
            continue
        sky = part.whole[name]
        even = sky.forward(np.ones(sky.model_shape, part.dtype))
        lit = even > 1e-9 * float(np.max(even, initial=0.0))
        into = sky.forward(share.astype(part.dtype)) * part.weight
        weights = np.divide(into, even, out=np.zeros(even.shape), where=lit)
        others = {n: r for n, r in part.whole.items() if n != name}
        total = total + Vector({n: r.adjoint(weights) for n, r in others.items()})
    return total


@dataclass(frozen=True, eq=False)
class Nulls:
    """The null model of an observation: all of its components but one sky.

    Everything is a function of the seed and of the number of a simulation, never of how many there
    are, or of how many are worked on at a time.

    Parameters
    ----------
    data
        The data observed.
    gibbs
        The sampler, with all settings.
    name
        The sky that the null model lacks.
    light
        Light of regions.
    seed
        Seed of all that is random.
    """

    data: DataInterface
    gibbs: Gibbs
    name: str
    light: RegionLight
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(part.complete for part in self.data.parts):
            raise DataError(
                "event lists cannot be simulated from a model: bin the events, and sample those "
                "counts"
            )
        model = Model.start(self.data).with_values(self._dark)
        if self.data.forward(model).total <= 0:
            raise ConfigError(
                f"without {self.name!r} no counts are expected at all, so there is nothing to "
                "compare with: give what is known as --background or --baseline"
            )

    @property
    def known(self) -> list[str]:
        """What the null model is made of, in words."""
        return [
            f"{other} {'drawn from its posterior' if other in self.gibbs.laws else 'held fixed'}"
            for other in self.data.components
            if other != self.name
        ]

    @property
    def _dark(self) -> Vector:
        shape = self.data.components[self.name].geometry.shape
        return Vector({self.name: np.zeros(shape, self.data.dtype)})

    def truths(self, number: int) -> list[tuple[dict[str, Array], Array]]:
        """Draw the known components, and the calibration, from their posterior without the sky.

        Returns
        -------
        truths
            For each simulation values of all components, and the setting of the calibration.

        Raises
        ------
        DataError
            If there are counts where the known components expect none.
        """
        gibbs, model = self.gibbs, Model.start(self.data).with_values(self._dark)
        laws = {name: law for name, law in gibbs.laws.items() if name != self.name}
        if not laws:
            settings = [np.zeros(0)] * number
            if gibbs.calibration:
                rngs = (generator(self.seed, f"response {k}") for k in range(number))
                settings = [gibbs.calibration.start(rng) for rng in rngs]
            return [(dict(model), setting) for setting in settings]
        seed = seeds(self.seed, NULLS, 0)
        loop = replace(gibbs, laws=laws, chains=number, origins=1, draws=1, seed=seed)
        try:
            state = loop.start(self.data, model)
        except DataError as error:
            raise DataError(f"without {self.name!r}: {error}") from error
        while state.sweeps <= loop.burn:
            found = loop.step(state, self.data)
            assert isinstance(found, GibbsState)
            state = found
        return [
            ({**model, **{n: v[k] for n, v in state.draws.items()}}, state.settings[k])
            for k in range(number)
        ]

    def simulated(self, k: int, truth: Mapping[str, Array], setting: Array) -> DataInterface:
        """Return the data with the counts of a simulation; without any counts it is another one."""
        calibration = self.gibbs.calibration
        seen = calibration.at(self.data, setting) if calibration else self.data
        for again in range(1000):
            counts = [
                simulate(part, truth, self.seed, f"null {k} {again} {i}")
                for i, part in enumerate(seen.parts)
            ]
            if any(np.any(each) for each in counts):
                break
        else:
            raise ConfigError(f"without {self.name!r} hardly any counts are expected: no test")
        made = [p.with_counts(c) for p, c in zip(self.data.parts, counts, strict=True)]
        return made[0] if len(made) == 1 else JointData(made)

    def analysed(self, data: DataInterface, seed: int) -> Array:
        """Return light drawn from the posterior, shape (2, regions, draws): extra and known."""
        gibbs, found = replace(self.gibbs, seed=seed), []
        thin = max(gibbs.thin, gibbs.chains * gibbs.draws // MOST)
        state = gibbs.start(data, Model.start(data))
        for chain in gibbs.chains_at(state, data):
            for sweep in range(gibbs.burn + gibbs.draws):
                if sweep >= gibbs.burn and (sweep - gibbs.burn) % thin == 0:
                    found.append(self.light.of_values(self.name, chain.values))
                chain.sweep()
                chain.temper()
        return np.moveaxis(np.array(found), 0, -1)

    def draws(
        self,
        number: int,
        workers: int | None = None,
        known: Mapping[int, Array] | None = None,
    ) -> Iterator[tuple[int, Array]]:
        """Yield the light found in the counts observed (number 0), and in each simulation.

        Parameters
        ----------
        number
            How many simulations.
        workers
            How many are worked on at a time; as many as there are cores by default.
        known
            What was found before, by number.
        """
        known = dict(known or {})
        missing = [k for k in range(number + 1) if k not in known]
        truths = self.truths(number) if any(missing) else []

        def work(k: int) -> tuple[int, Array]:
            if k == 0:
                return k, self.analysed(self.data, seeds(self.seed, OBSERVED, 0))
            data = self.simulated(k, *truths[k - 1])
            return k, self.analysed(data, seeds(self.seed, NULLS, k))

        yield from known.items()
        yield from _spread(work, missing, workers or os.cpu_count() or 1)


def _spread(work: Callable[[int], Any], numbers: Iterable[int], workers: int) -> Iterator[Any]:
    """Yield the work on numbers in turn; what was not begun when nobody listens is left."""
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(work, k) for k in numbers]
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
