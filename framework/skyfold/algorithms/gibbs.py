"""Gibbs sampling: the E-step drawn instead of expected, the M-step drawn instead of maximised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.sampling.chains.calibration import Calibration
from skyfold.sampling.chains.chains import Chain, Moments, Numbers, stacked, together
from skyfold.sampling.chains.diagnostics import diagnose, judge
from skyfold.sampling.chains.tempering import ladder, numbered
from skyfold.sampling.chains.trajectories import EVERY, pays
from skyfold.sampling.chains.watch import Watch
from skyfold.sampling.laws.law import Law
from skyfold.vector import Array, Vector

Nested = Mapping[str, Mapping[str, Array]]

APPROACH = 10  # laps of Richardson-Lucy before the chains part
BEFORE = 1 << 63  # stands for the sweep in the random numbers of the start
LAP = 500_000  # values and bins that a lap of the loop visits, about
MOST = 100  # images of each chain that a lap keeps at most


@dataclass(frozen=True, eq=False)
class GibbsState(State):
    """Chains on their way; the model is the mean of all their values since burn-in.

    Parameters
    ----------
    draws
        Current values of each chain, shape (chains, ...).
    unknowns
        What the laws do not know, by component and name, shape (chains, ...).
    densities
        Log-density of both, by component, shape (chains,).
    sweeps, counted
        Sweeps done, and those since burn-in.
    mean, spread
        Mean and sum of squared differences to it, of each chain since burn-in.
    series
        Rows of `Chain.columns`, one for each sweep, in pieces of shape (chains, sweeps, columns).
    bright
        Values that the choice of the pixels that are watched was made from.
    kept
        Images of the skies that the last lap kept, shape (chains, kept, ...).
    settings
        What the calibration is taken for, shape (chains, numbers).
    hotter
        For each hotter rung the same of its chains: ``draws``, ``unknowns``, ``densities``,
        ``settings``; and ``swaps``, how often each was proposed to exchange with its colder
        neighbour, and did, shape (chains, 2).
    learnt
        For each chain what its trajectories go by, if there are any (see
        `skyfold.sampling.chains.trajectories`).
    """

    draws: Vector = field(default_factory=lambda: Vector({}))
    unknowns: Nested = field(default_factory=dict)
    densities: Mapping[str, Array] = field(default_factory=dict)
    sweeps: int = 0
    counted: int = 0
    mean: Vector = field(default_factory=lambda: Vector({}))
    spread: Vector = field(default_factory=lambda: Vector({}))
    series: tuple[Array, ...] = ()
    bright: Vector = field(default_factory=lambda: Vector({}))
    kept: Vector = field(default_factory=lambda: Vector({}))
    settings: Array = field(default_factory=lambda: np.zeros((0, 0)))
    hotter: tuple[Mapping[str, Any], ...] = ()
    learnt: tuple[Array, ...] = ()

    @property
    def table(self) -> Array:
        """All rows so far, shape (chains, sweeps, columns)."""
        return np.concatenate(self.series, axis=1)


@dataclass(frozen=True)
class Gibbs(Algorithm):
    """Draw from the posterior of all components, by several chains at once.

    A sweep draws where each count came from, then each component from its law given its counts
    (data augmentation: Tanner & Wong 1987; for Poisson images van Dyk et al. 2001; Esch et al.
    2004). A lap of the loop is many sweeps of all chains, each in a thread; ``iteration`` counts
    sweeps. The results depend on the seed alone.

    Parameters
    ----------
    laws
        Law of each component that is fitted.
    chains
        Number of chains.
    origins
        Number of groups of chains that share what the laws hold fixed: the origin of a tree.
    burn, draws
        Sweeps before the values count, and after that.
    thin
        Of the images after burn-in one of so many is kept.
    calibration
        What is not known of the responses, and drawn along.
    moves
        Whether light is transferred between neighbours, too (see `skyfold.sampling.chains.moves`);
        and, where that pays, all values and strengths follow trajectories (see
        `skyfold.sampling.chains.trajectories`).
    rungs
        Number of chains on a ladder of ever smoother laws that stand behind each chain, itself
        counted: they carry it from mode to mode, for their multiple of the work (see
        `skyfold.sampling.chains.tempering`).
    """

    laws: Mapping[str, Law] = field(default_factory=dict)
    chains: Annotated[int, Field(ge=1)] = 4
    origins: Annotated[int, Field(ge=1)] = 2
    burn: Annotated[int, Field(ge=0)] = 1000
    draws: Annotated[int, Field(ge=1)] = 3000
    thin: Annotated[int, Field(ge=1)] = 1
    calibration: Calibration | None = None
    moves: bool = True
    rungs: Annotated[int, Field(ge=1)] = 1
    guard: bool = False
    takes_priors: ClassVar[bool] = False
    takes_places: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.chains % self.origins:
            raise ConfigError(
                f"{self.chains} chains cannot be shared out among {self.origins} origins: "
                "let origins divide chains"
            )
        if 0 < (self.limit or 0) <= self.burn:
            raise ConfigError(
                f"{self.limit} iterations end within the burn-in of {self.burn} sweeps, so that "
                "nothing would be drawn: leave iterations out, or lower --burn"
            )

    @property
    def groups(self) -> Array:
        """Number of the origin of each chain."""
        return np.arange(self.chains) // (self.chains // self.origins)

    def start(self, data: DataInterface, model: Model) -> GibbsState:
        """Return the state before the first lap: chains scattered around a first restoration."""
        state = super().start(data, model)
        steps = RichardsonLucy().iterate(data, state)
        near = next(islice(steps, APPROACH, None)).model
        bright = near.vector.only(frozenset(self.laws))
        first, *hotter = [self._begin(near, rung) for rung in range(self.rungs)]
        draws = first["draws"]
        new = GibbsState.of(
            state,
            **first,
            mean=draws.map(lambda v: np.zeros(v.shape)),
            spread=draws.map(lambda v: np.zeros(v.shape)),
            bright=bright,
            hotter=tuple({**rung, "swaps": np.zeros((self.chains, 2))} for rung in hotter),
            learnt=(np.zeros(0),) * self.chains if self.moves and pays(data, self.laws) else (),
        )
        return replace(new, products=new.products + APPROACH)

    def _begin(self, near: Model, rung: int) -> dict[str, Any]:
        """Return where the chains of a rung start."""
        values: dict[str, list[Array]] = {name: [] for name in self.laws}
        unknowns: dict[str, dict[str, list[Array]]] = {name: {} for name in self.laws}
        densities: dict[str, list[float]] = {name: [] for name in self.laws}
        settings: list[Array] = []
        for chain, group in enumerate(self.groups):
            rng = Numbers(self.seed, numbered(chain, rung)).at(BEFORE)
            for name, law in self._ladder[rung].items():
                own, unknown = law.start(near[name], int(group), rng)
                values[name].append(own)
                densities[name].append(law.log_density(own, unknown))
                for key, value in unknown.items():
                    unknowns[name].setdefault(key, []).append(np.asarray(value))
            settings.append(self.calibration.start(rng) if self.calibration else np.zeros(0))
        return {
            "draws": Vector({name: np.array(each) for name, each in values.items()}),
            "unknowns": {n: {k: np.array(v) for k, v in u.items()} for n, u in unknowns.items()},
            "densities": {name: np.array(each) for name, each in densities.items()},
            "settings": np.array(settings),
        }

    @cached_property
    def _ladder(self) -> tuple[Mapping[str, Law], ...]:
        return ladder(self.laws, self.rungs)

    def step(self, state: State, data: DataInterface) -> State:
        """Return the state after another lap of all chains."""
        new = super().step(state, data)
        assert isinstance(new, GibbsState)
        return replace(new, iteration=new.sweeps)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return the mean of all values so far, and where the chains are."""
        assert isinstance(state, GibbsState)
        sweeps, walks = self._lap(state, data), self.chains_at(state, data)

        def walk(chain: Chain) -> tuple[Array, dict[str, Array]]:
            return chain.walk(sweeps, self.burn, self.thin)

        with ThreadPoolExecutor(min(self.chains, os.cpu_count() or 1)) as pool:
            found = list(pool.map(walk, walks))
        rows, kept = zip(*found, strict=True)
        memory = self._memory(walks)
        series = _appended(state.series, np.array(rows))
        images = Vector({name: np.array([own[name] for own in kept]) for name in kept[0]})
        now = memory["mean"] if memory["counted"] else memory["draws"]
        mean = now.map(lambda v: v.mean(axis=0).astype(data.dtype))
        spent = float(sweeps * self.chains)
        log_likelihood = float(np.mean([table[:, 0] for table in rows]))
        notes = {"mean_log_likelihood": log_likelihood}
        for rung, known in enumerate(memory["hotter"], 1):
            tried, accepted = known["swaps"].sum(axis=0)
            notes[f"swapped_{rung}"] = float(accepted / max(tried, 1))
        return Proposal(mean, None, spent, notes, {**memory, "series": series, "kept": images})

    def figures(self, state: State, data: DataInterface) -> Mapping[str, Any]:
        """Return whether the chains can be believed (see `diagnostics.judge`)."""
        assert isinstance(state, GibbsState)
        if not state.series:
            return {}
        draws, names = state.table[:, self.burn :], self.columns(state, data)
        found = judge(names, diagnose(draws, self.groups), self.groups, self.burn, state.sweeps)
        return {"posterior": found}

    def columns(self, state: GibbsState, data: DataInterface) -> tuple[str, ...]:
        """Return what stands in the columns of the series."""
        return self.chains_at(state, data)[0].columns

    def _lap(self, state: GibbsState, data: DataInterface) -> int:
        """Return the number of sweeps of a lap; the run ends with one."""
        size = data.counts.size + sum(v[0].size for v in state.draws.values())
        sweeps = self.thin * int(np.clip(LAP // (size * self.thin), 1, MOST))
        ends = (self.burn, self.burn + self.draws, self.limit or 0)
        return min([sweeps, *(end - state.sweeps for end in ends if state.sweeps < end)])

    def chains_at(self, state: GibbsState, data: DataInterface) -> list[Chain]:
        """Return the chains as they stand."""
        watches = {n: Watch(n, data.components[n], state.bright[n]) for n in self.laws}
        fixed = {name: v for name, v in state.model.items() if name not in self.laws}

        def chain(number: int, rung: int, known: Mapping[str, Any], **more: Any) -> Chain:
            return Chain(
                data,
                self._ladder[rung],
                watches,
                self.seed,
                numbered(number, rung),
                fixed | {name: v[number] for name, v in known["draws"].items()},
                {n: {k: v[number] for k, v in u.items()} for n, u in known["unknowns"].items()},
                {name: float(v[number]) for name, v in known["densities"].items()},
                state.sweeps,
                calibration=self.calibration,
                setting=known["settings"][number],
                moves=self.moves,
                **more,
            )

        walks = []
        for number in range(self.chains):
            moments = Moments(
                state.counted,
                {name: v[number].copy() for name, v in state.mean.items()},
                {name: v[number].copy() for name, v in state.spread.items()},
            )
            hotter = [chain(number, k, known) for k, known in enumerate(state.hotter, 1)]
            more: dict[str, Any] = {"moments": moments, "hotter": hotter}
            if state.learnt:
                more |= {"learnt": state.learnt[number], "learns": self.burn, "follows": EVERY}
            walks.append(chain(number, 0, vars(state), **more))
            for k, known in enumerate(state.hotter):
                walks[-1].swaps[k] = known["swaps"][number]
        return walks

    def _memory(self, walks: list[Chain]) -> dict[str, Any]:
        """Return the fields of the state that tell where the chains are."""
        rungs = zip(*(walk.hotter for walk in walks), strict=True)
        swaps = np.array([walk.swaps for walk in walks])
        return {
            **together(walks),
            "sweeps": walks[0].sweeps,
            "counted": walks[0].moments.count,
            "mean": stacked(walks, lambda chain: chain.moments.mean),
            "spread": stacked(walks, lambda chain: chain.moments.spread),
            "learnt": tuple(walk.learnt for walk in walks if walk.follows),
            "hotter": tuple(
                {**together(rung), "swaps": swaps[:, k]} for k, rung in enumerate(rungs)
            ),
        }


def _appended(pieces: tuple[Array, ...], new: Array) -> tuple[Array, ...]:
    """Return the pieces of a series with one more; equal ones join, so that there are few."""
    pieces = (*pieces, new)
    while len(pieces) > 1 and pieces[-2].shape[1] <= pieces[-1].shape[1]:
        pieces = (*pieces[:-2], np.concatenate(pieces[-2:], axis=1))
    return pieces
