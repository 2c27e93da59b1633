"""How sure the fluxes and places of point sources are, whatever method measured them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from skyfold import astrometry
from skyfold.errors import ConfigError, NumericalError
from skyfold.fluxes import UNSETTLED, watched
from skyfold.model import Model
from skyfold.points import PointList
from skyfold.sampling.chains.diagnostics import diagnose
from skyfold.sampling.posterior.images import deviation
from skyfold.uncertainty import Scatter, scatter
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from skyfold.result import Result

WORK = 5e6  # stars times values of the model up to which errors are worked out unasked
ENOUGH = 100.0  # independent draws that tell a correlation
REMEDY = (
    "Restore up to the maximum under a prior that tells stars from the sky: two-channel with a "
    "strength, or map"
)


@dataclass(frozen=True, eq=False)
class Errors:
    """How far fluxes and places may be off, star by star in the order of the functions.

    Parameters
    ----------
    flux
        Covariance of the fluxes over repeated observations, or of the draws of a posterior.
    posterior
        Width of the posterior of each flux, if that is something else.
    moves
        Errors of the places in pixels of the sky's grid, shape ``(n, 2)``, where they were fitted.
    reason
        Why there are none, if there are none.
    """

    flux: Array
    posterior: Array | None = None
    moves: Array | None = None
    reason: str = ""


def star_errors(
    result: Result, lists: Mapping[str, PointList], asked: bool | None = None
) -> Errors:
    """Return the errors of all values of all point sources, or why there are none.

    Parameters
    ----------
    result
        The result.
    lists
        Its point sources, by component.
    asked
        Whether errors are wanted; None where they do not take long.
    """
    state, size = result.state, sum(prod(points.shape) for points in lists.values())
    if result.samples:
        return _drawn(result, lists)
    if reason := _left_out(result, lists, size, asked):
        return _none(size, reason)
    assert result.problem is not None
    algorithm = result.problem.algorithm
    moving = [name for name in state.parameters if name in astrometry.free_places(result.data)]
    functions = list(_units(result.model, lists))
    solve = scatter
    if moving:
        solve, number = astrometry.scatter, len(next(iter(lists.values())).names)
        for row in np.eye(2 * number):
            functions.append(Vector({astrometry.MOVES: row.reshape(number, 2)}))
    watch = partial(watched, doing="errors of the stars", progress=True)
    try:
        found = solve(state, result.data, algorithm.priors, functions, watch, algorithm.keeps_flux)
    except (ConfigError, NumericalError) as error:
        return _none(size, f"{str(error).partition('. ')[0]}. {REMEDY}")
    except KeyboardInterrupt:
        return _none(size, "interrupted; ask for them again in Python: skyfold.open(folder).stars")
    return _judged(result, found, functions[:size], bool(moving))


def _left_out(result: Result, lists: Mapping[str, PointList], size: int, asked: bool | None) -> str:
    """Return why no errors are worked out; nothing if they are."""
    if asked is None and result.problem is not None and result.problem.config.stars:
        asked = result.problem.config.build_stars().errors
    if asked is False:
        return "not asked for"
    if result.problem is None:
        return "this result does not know its run: take that of skyfold.run"
    if result.reason.startswith("interrupted"):
        return "the run was interrupted before its maximum"
    places = astrometry.free_places(result.data)
    if others := [name for name in result.state.parameters if name not in places]:
        return f"the PSF was restored too ({', '.join(others)}), and errors take it for known"
    values = sum(value.size for value in result.model.values())
    if asked is None and size * values > WORK:
        return (
            f"{size} stars on {values} values take a while; ask for them with --stars.errors true"
        )
    return ""


def _none(size: int, reason: str) -> Errors:
    return Errors(np.full((size, size), np.nan), reason=reason)


def _units(model: Model, lists: Mapping[str, PointList]) -> Iterator[Vector]:
    """Yield the functions that are single fluxes."""
    for name, points in lists.items():
        for row in np.eye(prod(points.shape), dtype=model[name].dtype):
            yield Vector({name: row.reshape(points.shape)})


def _judged(result: Result, found: Scatter, functions: Sequence[Vector], moving: bool) -> Errors:
    """Return errors, unless the run is too far from its maximum for them.

    The flux of a star that is held at zero, or nearly so, does not scatter. No error is therefore
    below that which the star would have on its own, were all else known.
    """
    size, root = len(functions), np.sqrt(result.data.curvature(result.state.expectation))
    known = np.array([np.sum((root * result.data.forward(f).observed) ** 2) for f in functions])
    least = np.divide(1.0, known, out=np.zeros(size), where=known > 0)
    flux = found.sandwich[:size, :size].copy()
    flux[np.diag_indices(size)] = np.maximum(np.diag(flux), least)
    sigma, away = np.sqrt(np.diag(flux)), np.abs(found.remaining[:size])
    far = float(np.max(np.divide(away, sigma, out=np.zeros(size), where=sigma > 0)))
    if far > UNSETTLED:
        return _none(
            size,
            f"the run ended before its maximum: a flux would still move by {far:.2g} sigma. "
            f"{REMEDY}",
        )
    posterior = np.sqrt(np.maximum(np.diag(found.laplace)[:size], least))
    moves = np.sqrt(np.diag(found.sandwich)[size:]).reshape(-1, 2) if moving else None
    return Errors(flux, posterior, moves)


def _drawn(result: Result, lists: Mapping[str, PointList]) -> Errors:
    """Return the scatter of the draws; correlations where fluxes were traced, and have mixed."""
    drawn, blocks = result.posterior, []
    for name, points in lists.items():
        spread = deviation(drawn.means[name], drawn.spreads[name], drawn.draws).ravel()
        own = [i for i, title in enumerate(drawn.columns) if title.partition("[")[0] == name]
        matrix = np.diag(spread**2)
        if len(own) == prod(points.shape) > 1 and drawn.draws > 1:
            table = drawn.table[:, drawn.burn :, own]
            if np.min(diagnose(table, drawn.origins)["ess_bulk"]) > ENOUGH:
                matrix = np.cov(table.reshape(-1, len(own)), rowvar=False)
        blocks.append(matrix)
    from scipy.linalg import block_diag

    reason = "" if drawn.draws > 1 else "nothing was drawn after burn-in yet"
    return Errors(block_diag(*blocks), reason=reason)
