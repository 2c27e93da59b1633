"""Is a sampler calibrated: truths drawn from the prior, and where they rank among its draws.

If truth and counts are drawn from the model, the truth is a draw from its own posterior, and its
rank among others is uniform (Cook, Gelman & Rubin 2006; Talts et al. 2018). Draws of a chain are
correlated, which would spoil the ranks; they do not if the chain starts at the truth and the truth
stands at a random place in it, the draws before it made by the chain run backwards (Gandy & Scott
2020). Attribution followed by draws given the attributed counts is a reversible step, so forwards
and backwards are the same, and the ranks are uniform whatever the number of draws; mixing only
decides how much a fault shows. Transfers of light after each sweep, trajectories, and exchanges
with hotter chains, are reversible too, if not together with the sweep: with enough sweeps between
draws the order matters little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from zlib import crc32

import numpy as np
from scipy import stats

from skyfold.data import DataInterface
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.sampling.chains.chains import Chain
from skyfold.sampling.chains.tempering import ladder, numbered
from skyfold.sampling.chains.watch import listed, planes
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array

SEED = 5_110_836  # of all calibrations; chosen before the first run, never changed
BATCHES = 30
FORGET = 100  # sweeps

Values = dict[str, Array]
Unknowns = dict[str, dict[str, Array]]


@dataclass(frozen=True, eq=False)
class Setup:
    """A model to calibrate the sampler on.

    Parameters
    ----------
    data
        Any counts, seen through the responses of the model.
    laws
        Law of each component that is fitted.
    fixed
        Values of all others.
    true
        Laws that truths are drawn from, where the sampler takes others: a planted fault.
    draws, thin
        Draws of a chain, the truth among them, and sweeps between them.
    moves
        Whether light is transferred, too.
    rungs
        Chains on the ladder of tempering. The hotter ones start at the truth, and go by themselves
        until they have forgotten it.
    follows
        Sweeps from one trajectory to the next; 0 for none. What they go by is learnt on counts of
        its own.
    """

    data: DataInterface
    laws: Mapping[str, Law]
    fixed: Mapping[str, Array] = field(default_factory=dict)
    true: Mapping[str, Law] = field(default_factory=dict)
    draws: int = 16
    thin: int = 8
    moves: bool = False
    rungs: int = 1
    follows: int = 0

    def truth(self, rng: np.random.Generator) -> tuple[Values, Unknowns]:
        """Draw values of all components and what the laws do not know."""
        laws = {**self.laws, **self.true}
        drawn = {name: law.simulate(rng) for name, law in laws.items()}
        values = {name: np.asarray(v) for name, v in self.fixed.items()}
        values |= {name: v for name, (v, _) in drawn.items()}
        return values, {name: unknown for name, (_, unknown) in drawn.items()}

    def observed(self, values: Values, rng: np.random.Generator) -> DataInterface:
        """Draw the counts that such values may make."""
        parts = [
            part.with_counts(1.0 * rng.poisson(part.full_expectation(values) * part.weight))
            for part in self.data.parts
        ]
        return JointData(parts) if isinstance(self.data, JointData) else parts[0]

    def chain(
        self, data: DataInterface, values: Values, unknowns: Unknowns, seed: int, number: int
    ) -> Chain:
        """Return a chain that starts at the values given."""

        def rung(which: int, laws: Mapping[str, Law], hotter: Sequence[Chain] = ()) -> Chain:
            known = {n: law.adopt(unknowns[n]) for n, law in laws.items()}
            return Chain(
                data=data,
                laws=laws,
                watches={},
                seed=seed,
                number=numbered(number, which),
                values=dict(values),
                unknowns=known,
                densities={n: law.log_density(values[n], known[n]) for n, law in laws.items()},
                sweeps=0,
                hotter=hotter,
                moves=self.moves,
                follows=0 if which else self.follows,
                learnt=np.zeros(0) if which else self.learnt,
            )

        _, *laws = ladder(self.laws, self.rungs)
        hotter = [rung(which, own) for which, own in enumerate(laws, 1)]
        for chain in hotter:
            for _ in range(FORGET):
                chain.sweep()
        return rung(0, self.laws, hotter)

    @cached_property
    def learnt(self) -> Array:
        """What trajectories go by."""
        if not self.follows:
            return np.zeros(0)
        rng = np.random.default_rng(SEED)
        values, unknowns = self.truth(rng)
        other = replace(self, follows=0, rungs=1)
        chain = other.chain(self.observed(values, rng), values, unknowns, SEED, 0)
        chain.follows, chain.learns = 1, FORGET
        for _ in range(FORGET):
            chain.sweep()
        return chain.learnt

    def at(self, chain: Chain) -> dict[str, float]:
        """Return the quantities of a chain where it stands."""
        likelihood = chain.data.log_likelihood(chain.data.forward(chain.values))
        prior = sum(
            law.log_density(chain.values[name], chain.unknowns[name])
            for name, law in self.laws.items()
        )
        found = {"log_likelihood": likelihood, "log_prior": prior}
        for name in self.laws:
            found |= quantities(name, chain.data, chain.values[name], chain.unknowns[name])
        return found


def quantities(
    name: str, data: DataInterface, values: Array, unknowns: Mapping[str, Array]
) -> dict[str, float]:
    """Return totals, quadrants, pixels, the maximum, and all unknowns of a component."""
    found: dict[str, float] = {}
    for key, value in unknowns.items():
        found |= _each(f"{name}.{key}", value)
    geometry = data.components[name].geometry
    if not geometry.sky:
        return found | _each(name, values)
    energies = planes(geometry, values[None])[0]
    found |= _each(f"{name}.total", energies.sum(axis=1))
    found[f"{name}.max"] = float(energies.max())
    sky = energies.sum(axis=0)
    if isinstance(geometry, Grid) and len(geometry.shape) > 1:
        ny, nx = geometry.shape[-2:]
        image = sky.reshape(ny, nx)
        upper, lower = np.array_split(image, 2, axis=0)
        quarters = [q for half in (upper, lower) for q in np.array_split(half, 2, axis=1)]
        pixels = [image[ny // 2, nx // 2], image[0, nx // 3]]
    else:
        quarters = np.array_split(sky, 4)
        pixels = [sky[len(sky) // 2], sky[0]]
    found |= {f"{name}.quarter[{i}]": float(q.sum()) for i, q in enumerate(quarters)}
    return found | {f"{name}.pixel[{i}]": float(p) for i, p in enumerate(pixels)}


def _each(name: str, values: Array) -> dict[str, float]:
    return dict(zip(listed(name, values), np.ravel(values).astype(float), strict=True))


def geweke(name: str, setup: Setup, cycles: int) -> dict[str, float]:
    """Return by how many errors two ways to simulate values and counts differ (Geweke 2004).

    One draws all anew each time; the other goes from counts to values by a step of the sampler, and
    from values to counts by the model. The errors of the second are those of means of batches.
    """
    rng = generator(f"geweke {name}", 0)
    fresh, series = [], []
    values, unknowns = setup.truth(rng)
    seed = int(rng.integers(2**32))
    for cycle in range(cycles):
        data = setup.observed(values, rng)
        series.append(_functions(setup, data, values, unknowns))
        chain = setup.chain(data, values, unknowns, seed, cycle)
        chain.sweep()
        values, unknowns = setup.truth(rng)
        fresh.append(_functions(setup, setup.observed(values, rng), values, unknowns))
        values, unknowns = chain.values, chain.unknowns
    z = {}
    for key in fresh[0]:
        one, other = (np.array([row[key] for row in rows]) for rows in (fresh, series))
        if np.all(one == one[0]) and np.all(other == one[0]):
            continue
        batches = np.array([batch.mean() for batch in np.array_split(other, BATCHES)])
        error = np.hypot(one.std() / cycles**0.5, batches.std(ddof=1) / BATCHES**0.5)
        z[key] = float((other.mean() - one.mean()) / error)
    return z


def _functions(
    setup: Setup, data: DataInterface, values: Values, unknowns: Unknowns
) -> dict[str, float]:
    """Return what Geweke's test compares."""
    found = {"counts": float(data.counts.sum())}
    for name in setup.laws:
        found |= quantities(name, data, values[name], unknowns[name])
    for key, value in list(found.items()):
        if ".total" in key:
            found[f"{key} squared"] = value**2
        if ".alpha" in key:
            found[f"log {key}"] = float(np.log(value))
    return found


def generator(name: str, number: int) -> np.random.Generator:
    """Return the random numbers of a data set, a function of the name of its setup and a number."""
    return np.random.default_rng([SEED, crc32(name.encode()), number])


def place(name: str, setup: Setup, number: int) -> dict[str, float]:
    """Return where the truth of a data set stands among draws, as numbers in (0, 1).

    A rank is spread over its part of the interval at random, so that they are uniform exactly. NaN
    stands for what no draw differs in.
    """
    rng = generator(name, number)
    values, unknowns = setup.truth(rng)
    data = setup.observed(values, rng)
    before = int(rng.integers(setup.draws))
    others: list[dict[str, float]] = []
    for direction, draws in enumerate((before, setup.draws - 1 - before)):
        chain = setup.chain(data, values, unknowns, int(rng.integers(2**32)), direction)
        for _ in range(draws):
            for _ in range(setup.thin):
                chain.sweep()
                chain.temper()
            others.append(setup.at(chain))
    truth = setup.at(replace(setup, rungs=1).chain(data, values, unknowns, 0, 0))
    found = {}
    for key, true in truth.items():
        drawn = np.array([other[key] for other in others])
        below, same = np.count_nonzero(drawn < true), np.count_nonzero(drawn == true)
        where = (below + rng.random() * (same + 1)) / setup.draws
        found[key] = np.nan if same == len(drawn) else where
    return found


def places(name: str, setup: Setup, sets: int) -> dict[str, Array]:
    """Return where the truths of many data sets stand, by quantity."""
    found = [place(name, setup, number) for number in range(sets)]
    table = {key: np.array([one[key] for one in found]) for key in found[0]}
    rng = generator(name, sets)
    return {
        key: np.where(np.isnan(where), rng.random(sets), where)
        for key, where in table.items()
        if not np.all(np.isnan(where))
    }


def p_values(found: Mapping[str, Array]) -> dict[str, float]:
    """Return how likely such places are if they are uniform: two tests of each quantity.

    Kolmogorov and Smirnov's is good at shifts, chi-squared on ten or twenty bins at wrong widths.
    """
    p = {}
    for key, where in found.items():
        bins = 10 if where.size <= 200 else 20
        held = np.bincount((where * bins).astype(int), minlength=bins)
        p[f"{key} KS"] = float(stats.kstest(where, "uniform").pvalue)
        p[f"{key} chi2"] = float(stats.chisquare(held).pvalue)
    return p


def calibrate(name: str, setup: Setup, sets: int) -> dict[str, float]:
    """Return the p-values of a setup."""
    return p_values(places(name, setup, sets))
