"""Whether chains have found their posterior: R-hat, effective sample sizes, and what they ask for.

Rank-normalised split R-hat and the effective sample sizes (ESS) of bulk and tails follow Vehtari,
Gelman, Simpson, Carpenter, Buerkner (2021, Bayesian Analysis 16, 667), by ArviZ. Chains of one
origin of the multi-scale tree share one posterior and are compared with each other; chains of
different origins have different priors, and how far these lie apart is told beside it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import QTable

FIGURES = ("mean", "std", "mcse", "r_hat", "ess_bulk", "ess_tail", "between")
LEAST_ESS = 400.0  # Vehtari et al. (2021), section 4
MOST_R_HAT = 1.01
TAILS = (0.05, 0.95)
FEWEST = 4  # draws of a half chain
APART = 1.0  # standard deviations by which origins may lie apart
APART_R_HAT = 1.1  # above it the means of origins are not known well enough to be compared
ENOUGH = 2000  # draws of a chain to begin with
HOPELESS = 100.0  # times the draws: what is as far from mixing is not waited for


def diagnose(draws: Array, groups: Array) -> dict[str, Array]:
    """Return the figures of every parameter, each of shape ``(columns,)``.

    Parameters
    ----------
    draws
        Values after burn-in, shape ``(chains, draws, columns)``.
    groups
        Number of the origin of each chain; each has the same number of chains.

    Returns
    -------
    figures
        ``mean`` and ``std`` over all chains; ``mcse``, the Monte Carlo error of the mean;
        ``r_hat``, the largest within an origin; ``ess_bulk`` and ``ess_tail``, summed over the
        origins; ``between``, the standard deviation of the means of the origins in units of that
        within an origin. What cannot be known is NaN: everything but mean and std of a parameter
        that never moves within an origin or is not finite, R-hat of one chain per origin,
        ``between`` of one origin.
    """
    draws = np.asarray(draws, dtype=np.float64)
    columns = draws.shape[2]
    found = {name: np.full(columns, np.nan) for name in FIGURES}
    if draws.shape[1] == 0:
        return found
    finite = np.all(np.isfinite(draws), axis=(0, 1))
    found["mean"][finite] = draws[..., finite].mean(axis=(0, 1))
    found["std"][finite] = draws[..., finite].std(axis=(0, 1))
    origins = np.stack([draws[groups == group] for group in np.unique(groups)])
    moving = finite & np.any(origins != origins[:, :1, :1], axis=(0, 1, 2))
    if draws.shape[1] < 2 * FEWEST or not np.any(moving):
        return found
    for name, values in _of_origins(np.moveaxis(origins[..., moving], 3, 0)).items():
        found[name][moving] = values
    return found


def _of_origins(origins: Array) -> dict[str, Array]:
    """Return the figures of draws of shape ``(columns, origins, chains, draws)``."""
    from arviz_stats.base import array_stats

    half = origins.shape[3] // 2
    halves = np.concatenate([origins[..., :half], origins[..., -half:]], axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):  # what never moves within an origin

        def ess(values: Array) -> Array:
            found: Array = np.asarray(array_stats.ess(values, method="identity"))
            return found

        scores = _normal_scores(halves)
        middle = np.median(halves, axis=(2, 3), keepdims=True)
        folded = _normal_scores(np.abs(halves - middle))
        r_hat = [array_stats.rhat(values, method="identity") for values in (scores, folded)]
        low, high = np.quantile(origins, TAILS, axis=(2, 3), keepdims=True)
        tail = np.minimum(ess(halves <= low), ess(halves <= high))
        within = np.var(origins, axis=(2, 3))
        spread = np.sqrt(np.mean(within, axis=1))
        figures = {
            "mcse": np.sqrt(np.sum(within / ess(halves), axis=1)) / origins.shape[1],
            "ess_bulk": np.sum(ess(scores), axis=1),
            "ess_tail": np.sum(tail, axis=1),
        }
        if origins.shape[2] > 1:
            figures["r_hat"] = np.max(np.maximum(*r_hat), axis=1)
        if origins.shape[1] > 1:
            figures["between"] = np.std(origins.mean(axis=(2, 3)), axis=1, ddof=1) / spread
    return figures


def _normal_scores(draws: Array) -> Array:
    """Return the normal quantiles of the ranks among all draws of the last two axes."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    pooled = draws.reshape(*draws.shape[:-2], -1)
    ranks = rankdata(pooled, axis=-1)
    scores: Array = ndtri((ranks - 0.375) / (pooled.shape[-1] + 0.25)).reshape(draws.shape)
    return scores


def as_table(names: Sequence[str], figures: Mapping[str, Array]) -> QTable:
    """Return the figures as a table, one row per parameter."""
    from astropy.table import QTable

    return QTable({"name": list(names), **{name: figures[name] for name in FIGURES}})


def worst(names: Sequence[str], figures: Mapping[str, Array]) -> dict[str, Any]:
    """Return which parameters speak most against the draws, as plain numbers for a manifest.

    Returns
    -------
    found
        The largest ``r_hat``, the smallest ``ess`` (of bulk or tails), and ``r_hat_of`` and
        ``ess_of`` which parameters; the largest ``between`` of parameters that have mixed, alphas
        and log-densities not counted: every prior has its own. Without those that nothing is
        known of.
    """
    of_image = [not (name.startswith("log_") or ".alpha" in name) for name in names]
    compared = of_image & ~(figures["r_hat"] > APART_R_HAT)
    sizes = {
        "r_hat": figures["r_hat"],
        "ess": -np.minimum(figures["ess_bulk"], figures["ess_tail"]),
        "between": np.where(compared, figures["between"], np.nan),
    }
    found: dict[str, Any] = {}
    for key, size in sizes.items():
        if np.any(np.isfinite(size)):
            i = int(np.nanargmax(size))
            found |= {key: abs(float(size[i])), f"{key}_of": names[i]}
    return found


def judge(
    names: Sequence[str], figures: Mapping[str, Array], groups: Array, burn: int, sweeps: int
) -> dict[str, Any]:
    """Return what a manifest says of chains: their numbers, and what `worst` finds.

    Parameters
    ----------
    names, figures
        Names of the columns, and what `diagnose` found.
    groups
        Number of the origin of each chain.
    burn, sweeps
        Sweeps that do not count, and all that were done, the former included.
    """
    numbers = {"chains": len(groups), "origins": len(np.unique(groups)), "sweeps": sweeps}
    return {**numbers, "burn": burn, "draws": max(sweeps - burn, 0), **worst(names, figures)}


def doubts(found: Mapping[str, Any], seconds: float = 0.0) -> list[str]:
    """Return in one sentence each what speaks against the draws; nothing if all is well.

    Parameters
    ----------
    found
        What `judge` says; empty where nothing was drawn.
    seconds
        What the run has taken so far; 0 where that is not known.
    """
    if not found:
        return []
    said, draws = [], found["draws"]
    found = {"sweeps": found["burn"] + draws, **found}  # older runs do not say how many
    if "ess" not in found:
        said.append(_too_few(found))
    elif (times := _times(found)) > 1:
        told = f"ESS {found['ess']:.0f}"
        if found["ess_of"] != found.get("r_hat_of"):
            told += f" for {spoken(found['ess_of'])}"
        if "r_hat" in found:
            told = f"R-hat {found['r_hat']:.3f} for {spoken(found['r_hat_of'])}, {told}"
        hopeless = times > HOPELESS and draws >= LEAST_ESS  # fewer cannot tell slow from stuck
        remedy = _elsewhere(found) if hopeless else _longer(found, times, seconds)
        said.append(f"{told}: {remedy}.")
    if found["chains"] == found["origins"]:
        said.append(
            "R-hat needs at least 2 chains per origin: whether one chain got stuck, only another "
            f"can tell. Draw with --chains {max(4, 2 * found['origins'])}."
        )
    if found.get("between", 0.0) > APART:
        said.append(
            f"The origins of the tree disagree on {spoken(found['between_of'])}: their means "
            f"scatter by {found['between']:.1f} of its standard deviations. There the prior "
            "speaks, not the counts; the intervals include that, and more origins average it "
            f"better: --origins {2 * found['origins']} --chains {4 * found['origins']}."
        )
    return said


def _too_few(found: Mapping[str, Any]) -> str:
    """Return how many sweeps are missing before anything can be judged."""
    burn, draws, done = found["burn"], found["draws"], found["sweeps"]
    least, better = burn + 2 * FEWEST - done, burn + ENOUGH - done
    said = f"{draws} draws after burn-in are too few to judge them"
    if draws == 0:
        said = f"The run ended within its burn-in, after {done} of {burn} sweeps: too few to judge"
    remedy = _resume(burn + ENOUGH)
    return f"{said}. At least {least} more sweeps are needed, better {better}: {remedy}."


def _longer(found: Mapping[str, Any], times: float, seconds: float) -> str:
    """Return how to draw so many times as much."""
    more, done = max(2, ceil(times)), found["sweeps"]
    total = found["burn"] + _round_up(more * found["draws"])
    price = f" (about {_duration(seconds * (total - done) / done)} more)" if seconds else ""
    return f"draw at least {more} times as many{price}: {_resume(total)}"


def _elsewhere(found: Mapping[str, Any]) -> str:
    """Return what helps where waiting does not."""
    said = "the chains hold different images of the same counts and will not mix by waiting"
    if found["chains"] == found["origins"]:
        said = "draws hang together for too long to be waited for"
    return (
        f"{said}; run again with more chains (--chains {2 * found['chains']}), or with rungs that "
        "carry them from one image to another (--rungs 4)"
    )


def _resume(iterations: int) -> str:
    """Return what continues a run; iterations are sweeps, burn-in included."""
    return f"skyfold resume RUN --iterations {iterations}"


def of_folder(doubts: Iterable[str], folder: str | Path) -> list[str]:
    """Return doubts whose commands name the folder of the run, instead of any."""
    return [d.replace("resume RUN", f"resume {shlex.quote(str(folder))}") for d in doubts]


def spoken(name: str, brief: bool = False) -> str:
    """Return what a column of the parameters is, in words: ``sky.total`` is the total flux.

    Parameters
    ----------
    name
        The column.
    brief
        Whether to say no more than there is room for above a picture.
    """
    if name.startswith("log_"):
        return f"the {name.replace('_', '-')}"
    component, _, rest = name.partition(".")
    kind, _, index = rest.partition("[")
    index = index.rstrip("]")
    energies: list[str] = []
    code = ""
    match kind:
        case "":
            return component
        case "total":
            said, energies = "total flux", [index] if index else []
        case "pixel" if "," in index:
            *energies, y, x = index.split(",")
            said = f"pixel x {x}, y {y}"
        case "pixel":
            pixel, *energies = index.split(" energy ")
            said = f"pixel {pixel}"
        case "alpha":
            *energies, level = index.split(",")
            said = f"alpha {level}".rstrip()
            if not brief:
                finest = level in ("", "0")
                which = "the finest splits" if finest else f"the splits at level {level}"
                said, code = f"strength of {which}", f" ({said})"
        case "block" if "," in index:
            row, column = index.split(",")
            said = f"block row {row}, column {column}"
        case "block":
            said = f"base pixel {index}"
        case _:
            said = f"{kind} {index}".rstrip()
    return ", ".join([f"{said} of {component}{code}", *(f"energy {energy}" for energy in energies)])


def _times(found: Mapping[str, Any]) -> float:
    """Return how many times the draws are needed if squared Monte Carlo errors fall as one over."""
    by_error = (found.get("r_hat", 1.0) ** 2 - 1) / (MOST_R_HAT**2 - 1)
    return float(max(LEAST_ESS / max(found.get("ess", LEAST_ESS), 1.0), by_error))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _round_up(number: float) -> int:
    """Return the next number of two digits and zeros."""
    unit = int(10 ** max(floor(log10(number)) - 1, 0))
    return ceil(number / unit) * unit
