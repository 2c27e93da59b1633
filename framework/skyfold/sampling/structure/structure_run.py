"""The significance of structure in regions of a sampled sky: as a table, a file and a picture."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.algorithms.gibbs import Gibbs, GibbsState
from skyfold.errors import ConfigError, FileError, Interrupted
from skyfold.runner import signals
from skyfold.sampling.chains.diagnostics import of_folder
from skyfold.sampling.structure.nulls import Nulls, RegionLight
from skyfold.sampling.structure.structure import (
    GAMMA,
    bound,
    holm,
    quoted,
    require_sense,
    shares,
)
from skyfold.sums import Sums
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold.regions import Region
    from skyfold.result import Result

log = logging.getLogger(__name__)
TABLE, DRAWS, PICTURE = "structure.ecsv", "structure.npz", "structure.svg"
PRODUCTS = (TABLE, DRAWS, PICTURE)
BOUNDS = ("p_bound", "p_upper", "p_empirical", "p_holm")
SHOWN = ("region", "extra", "low", "high", "share", "tail", *BOUNDS)
NUMBER = 100
PAUSE = 20.0  # seconds between two writings of what was found so far


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """How significant the structure in regions of a sky is.

    Parameters
    ----------
    table
        One row per region: ``region``; ``pixels``; ``extra`` with ``low`` and ``high``, median and
        16th and 84th percentile of its light beyond the known; ``share``, the median of xi;
        ``c`` and ``tail``, the posterior probability of a share of c or more; ``p_bound``, an
        upper bound of the p-value, and ``p_upper``, the same with an upper limit of its Monte
        Carlo error; ``p_empirical``, the p-value from the rank among the simulations, and
        ``p_holm``, that corrected for the number of regions (Holm 1979). Its ``meta`` tell how
        they were found (see `remarks`).
    light
        Draws of extra and known light, shape (1 + simulations, 2, regions, draws); the counts
        observed come first.
    """

    table: Table
    light: Array

    @property
    def shares(self) -> Array:
        """Draws of xi, shape (1 + simulations, regions, draws)."""
        return _shares(self.light)

    def __repr__(self) -> str:
        """Return the table for people."""
        width = max(map(len, ["region", *self.table["region"]]))
        lines = [f"{'region':{width}}" + "".join(f"{name:>12}" for name in SHOWN[1:])]
        for row in self.table:
            numbers = "".join(f"{row[name]:12.4g}" for name in SHOWN[1:])
            lines.append(f"{row['region']:{width}}{numbers}")
        return "\n".join([*lines, *remarks(self.table.meta)])

    def write(self, folder: Path) -> list[Path]:
        """Write ``structure.ecsv`` and ``structure.svg`` into a folder."""
        from skyfold.sampling.structure.structure_picture import picture

        with files.replacing(folder / TABLE) as partial:
            self.table.write(partial, format="ascii.ecsv", overwrite=True)
        with files.replacing(folder / PICTURE) as partial:
            picture(self).savefig(partial, format="svg")
        return [folder / TABLE, folder / PICTURE]


def remarks(meta: Mapping[str, Any]) -> list[str]:
    """Return what belongs to the figures, in a sentence each: which to quote, compared with what.

    Parameters
    ----------
    meta
        Of the table of a `Structure`.
    """
    why = " (it holds the Monte Carlo error of so few)" if meta["quoted"] == "p_upper" else ""
    ranked = meta["simulations"] // 2
    doubts = [f"What speaks against the run: {doubt}" for doubt in meta["doubts"]]
    return [
        f"Light in {meta['unit'] or 'counts'}. Of {meta['simulations']} simulations, gamma "
        f"{meta['gamma']:g}: quote {meta['quoted']}{why}. Half of them find c, the other {ranked} "
        f"the bounds, so that p_empirical is at least {1 / (1 + ranked):.2g}.",
        f"The null model: no {meta['sky']}, but {', '.join(meta['null'])}.",
        *(doubts or ["The chains of the run have mixed."]),
    ]


def structure(
    result: Result,
    regions: Sequence[Region],
    *,
    simulations: int = NUMBER,
    gamma: float = GAMMA,
    draws: int | None = None,
    component: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> Structure:
    """Return how significant the structure in regions is, beyond the other components.

    The counts observed and each simulation are sampled with the settings of the run. What the
    other components do not know of themselves is drawn from their posterior without the sky.

    Parameters
    ----------
    result
        Of a sampler.
    regions
        The regions, chosen without looking at the counts.
    simulations
        How many simulations of the null model.
    gamma
        Mean of the tail probability under the null model, and the least bound within reach; to be
        chosen beforehand.
    draws
        Sweeps of each analysis after burn-in; those of the run by default.
    component
        Name of the sky, where there are several.
    seed
        Simulation k is a function of it and of k.
    workers
        How many simulations are worked on at a time; the outcome does not depend on it.
    folder
        Where what was found is kept for the case of an interruption; nowhere by default.
    progress
        Show progress.

    Raises
    ------
    ConfigError
        If the run was none of a sampler or has no draws yet, or there is nothing to compare with.
    DataError
        If the other components cannot make the counts.
    Interrupted
        If a signal arrives.
    """
    require_sense(simulations, gamma)
    nulls, sums = _nulls(result, regions, draws, component, seed)
    doubts = of_folder(result.posterior.doubts, folder or "RUN")
    for doubt in doubts:
        log.warning("%s", doubt)
    found = _collected(nulls, simulations, workers, folder, progress)
    light = np.array([found[k] for k in range(simulations + 1)], np.float32)
    told = {"sky": nulls.name, "null": nulls.known, "doubts": doubts}
    return Structure(_table(light, sums, gamma, {"seed": seed, **told}), light)


def _nulls(
    result: Result, regions: Sequence[Region], draws: int | None, component: str | None, seed: int
) -> tuple[Nulls, Sums]:
    if not regions:
        raise ConfigError("structure where? Give a region: circle(x, y, radius), or a file")
    if result.problem is None or not isinstance(result.problem.algorithm, Gibbs):
        raise ConfigError(
            "the significance of structure comes from a sampler: run with --method lira first"
        )
    state, gibbs = result.state, result.problem.algorithm
    assert isinstance(state, GibbsState)
    if state.counted == 0:
        raise ConfigError(
            f"the run has no draws after its burn-in of {gibbs.burn} sweeps yet, so there is "
            "nothing to compare: go on with skyfold resume"
        )
    gibbs = replace(gibbs, draws=draws or state.counted)
    name = component or result.sky
    if name not in gibbs.laws:
        raise ConfigError(f"{name!r} was not sampled; {', '.join(gibbs.laws)} were")
    sums = Sums(result.data, result.model, name, regions)
    planes = len(sums.functions) // len(regions)
    whole = [
        sum(function[name] for function in sums.functions[i * planes : (i + 1) * planes])
        for i in range(len(regions))
    ]
    data = result.problem.data
    light = RegionLight.of(data, name, [np.asarray(region) for region in whole])
    return Nulls(data, gibbs, name, light, seed), sums


def _collected(
    nulls: Nulls, number: int, workers: int | None, folder: Path | None, progress: bool
) -> dict[int, Array]:
    """Return the light of all analyses by number, those kept in a folder included."""
    from tqdm.auto import tqdm

    key, found = _key(nulls), {}
    if folder is not None:
        found = _read(folder / DRAWS, key)
    kept, written = len(found), monotonic()
    with signals() as received:
        made = nulls.draws(number, workers, found)
        bar: Iterable[Any] = tqdm(
            made,
            "analysing",
            total=number + 1,
            disable=not progress,
            mininterval=0.1 if sys.stderr.isatty() else PAUSE,
        )
        for k, light in bar:
            found[k] = light
            if folder is not None and (received or monotonic() - written > PAUSE):
                _write(folder / DRAWS, key, found)
                written = monotonic()
            if received:
                raise Interrupted(
                    f"interrupted after {len(found)} of {number + 1} analyses"
                    + ("; the same command goes on from there" if folder else "")
                )
    if folder is not None and len(found) > kept:
        _write(folder / DRAWS, key, found)
    return found


def _key(nulls: Nulls) -> str:
    """Return what the draws are a function of, as a short text."""
    gibbs = nulls.gibbs
    digest = hashlib.sha256()
    for array in (nulls.data.counts, nulls.light.extra, *nulls.light.known.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    figures = (gibbs.chains, gibbs.origins, gibbs.burn, gibbs.draws, gibbs.thin, nulls.seed)
    return json.dumps([digest.hexdigest(), nulls.name, *figures])


def _write(path: Path, key: str, found: dict[int, Array]) -> None:
    numbers = sorted(found)
    with files.replacing(path) as partial, partial.open("wb") as file:
        light = np.array([found[k] for k in numbers], np.float32)
        np.savez(file, key=np.array(key), numbers=np.array(numbers), light=light)


def _read(path: Path, key: str) -> dict[int, Array]:
    """Return the draws that a file keeps; none if they are of something else."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                log.warning(
                    "%s holds simulations of other regions or settings: all are worked on anew",
                    path,
                )
                return {}
            return dict(zip(stored["numbers"].tolist(), stored["light"], strict=True))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise FileError(f"{path} is damaged: {error}; remove it") from error


def _shares(light: Array) -> Array:
    """Return xi of each region, shape (analyses, regions, draws)."""
    regions = [shares(light[:, 0, r], light[:, 1, r]) for r in range(light.shape[2])]
    return np.stack(regions, axis=1)


def _table(light: Array, sums: Sums, gamma: float, told: Mapping[str, Any]) -> Table:
    from astropy.table import Table

    xi, number = _shares(light), len(light) - 1
    bounds = [bound(xi[0, r], xi[1:, r], gamma, told["seed"]) for r in range(len(sums.names))]
    low, extra, high = np.percentile(light[0, 0], [15.866, 50, 84.134], axis=-1)
    ranked = [one.p_empirical for one in bounds]
    table = Table(
        {
            "region": sums.names,
            "pixels": sums.pixels,
            "extra": extra,
            "low": low,
            "high": high,
            "share": np.median(xi[0], axis=-1),
            "c": [one.c for one in bounds],
            "tail": [one.tail for one in bounds],
            "gamma": [one.gamma for one in bounds],
            "gamma_upper": [one.gamma_upper for one in bounds],
            "p_bound": [one.p_bound for one in bounds],
            "p_upper": [one.p_upper for one in bounds],
            "p_empirical": ranked,
            "p_holm": holm(ranked),
        },
        meta={
            "unit": sums.unit,
            "gamma": gamma,
            "simulations": number,
            "quoted": quoted(number),
            **told,
        },
    )
    for name in ("extra", "low", "high"):
        table[name].unit = sums.unit
    return table
