"""Places of point sources that are fitted along with everything else, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skyfold.algorithm import State
from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.points import PointList, fineness, on_grid, places_of
from skyfold.priors import Prior, derivative
from skyfold.uncertainty import Curvature, Scatter, Watch, across
from skyfold.vector import Array, Vector

MOVES = "moves"
"""Component of loosened data: how far each source moves, shape ``(n, 2)``."""
UNKNOWN = 1e-30  # curvature of a place that the counts tell nothing of


def free_places(data: DataInterface) -> dict[str, Array]:
    """Return the places of point sources that can move, by the name of the parameter.

    They are in pixels of the sky's grid; several observations have the same sources, each with
    places of its own, which move together.
    """
    found = {}
    for name, places in data.parameters.items():
        geometry = data.components[name.partition("[")[0]].geometry
        if isinstance(geometry, PointList) and places.shape == geometry.places.shape:
            found[name] = places
    return found


def moved_by(data: DataInterface, state: State) -> Array:
    """Return how far sources have moved from where they were listed, in pixels of the data.

    Returns
    -------
    moves
        In x and y, shape ``(n, 2)``; zeros where places were held.
    """
    part = data.parts[0]
    lists = (c.geometry for c in part.components.values() if isinstance(c.geometry, PointList))
    listed = next(lists).places
    for name in free_places(data):
        if name in state.parameters:
            ((sky, grid),) = ((n, c.geometry) for n, c in part.components.items() if c.geometry.sky)
            own = places_of(part)
            assert isinstance(own, Grid)
            assert isinstance(grid, Grid)
            first = part.whole[sky].points(on_grid(listed, own, grid)).parameters
            return np.asarray((state.parameters[name] - first) / fineness(own, grid))
    return np.zeros(listed.shape)


def loosened(data: DataInterface, values: Mapping[str, Array]) -> DataInterface:
    """Return data as a linear problem in the fluxes of their point sources and small moves of them.

    Parameters
    ----------
    data
        Data with point sources that can move.
    values
        Fluxes around which the problem is linear, by component.

    Returns
    -------
    loosened
        With the fluxes as components, by their own names, and `MOVES` in pixels of the sky's grid,
        which all observations share.
    """
    if isinstance(data, JointData):
        return JointData([loosened(member, values) for member in data.members])
    assert isinstance(data, BinnedData)
    (name,) = free_places(data)
    tangent = data.whole[name].tangent(values[name])
    listed = {name: data.components[name], MOVES: Component(Grid(tangent.model_shape))}
    same = data._through({name: data.whole[name], MOVES: tangent}, components=listed)
    slopes = tangent.sensitivity(data.weight).astype(data.dtype)  # of either sign
    same.sensitivity = Vector({name: data.sensitivity[name], MOVES: slopes})
    return same


def scatter(
    state: State,
    data: DataInterface,
    priors: Mapping[str, Prior],
    functions: Sequence[Vector],
    watch: Watch = iter,
    keep_flux: bool = False,
) -> Scatter:
    """Return errors of fluxes and places of point sources whose places were fitted too.

    As `skyfold.uncertainty.scatter`, with the moves as further unknowns: their columns T join
    those of the model, background and its priors included, and are eliminated last. The second
    derivative by a place is that of Gauss and Newton, which leaves out ``(n/e - 1)`` times how
    the image of a star bends.

    Parameters
    ----------
    state
        The model, with its own E-step.
    data
        The data seen with the places restored: ``data.at(state.parameters)``.
    priors
        Priors by name.
    functions
        Weights of the values by component; those of the moves are under `MOVES`, shape
        ``(n, 2)``, in pixels of the sky's grid.
    watch
        Hands the functions on, one by one, and may show how far it is.
    keep_flux
        Whether the maximum is the one at which as many counts are expected as at the start.

    Raises
    ------
    ConfigError
        If the run ended before its maximum.
    """
    curvature = Curvature(state, data, priors, keep_flux)
    pull, root = derivative(priors, state.model), np.sqrt(data.curvature(state.expectation))
    free = loosened(data, state.model)
    step = free.back_project(state.expectation).back[MOVES] - free.sensitivity[MOVES]
    size = step.size
    units = [Vector({MOVES: row.reshape(step.shape)}) for row in np.eye(size, dtype=data.dtype)]
    lit = np.stack([root * free.forward(unit).observed for unit in units])
    bent = [data.adjoint(root * light) for light in lit]
    answers = [curvature.solve(one) for one in bent]
    left = np.stack(
        [light - _seen(curvature, root, z) for light, z in zip(lit, answers, strict=True)]
    )
    inner = lit @ lit.T - np.array([[one.dot(z) for z in answers] for one in bent])
    inner = 0.5 * (inner + inner.T)
    inner[np.diag_indices(size)] = np.maximum(np.diag(inner), UNKNOWN)

    def solved(function: Vector) -> tuple[Vector, Array]:
        answer = curvature.solve(function)
        own = function.get(MOVES, np.zeros(step.shape)).ravel()
        moves = np.linalg.solve(inner, own - [one.dot(answer) for one in bent])
        lights = _seen(curvature, root, answer) + moves @ left
        for z, move in zip(answers, moves, strict=True):
            answer = answer - z * float(move)
        return answer + Vector({MOVES: moves.reshape(step.shape)}), lights

    if keep_flux and priors:
        sensitivity = data.sensitivity + Vector({MOVES: free.sensitivity[MOVES]})
        pull = across(pull, sensitivity, solved(sensitivity)[0])
    found, spread = zip(*(solved(function) for function in watch(functions)), strict=True)
    seen = np.stack(spread)
    rising = curvature.rising + Vector({MOVES: step})
    return Scatter(
        seen @ seen.T,
        np.array([[other.dot(answer) for other in functions] for answer in found]),
        np.array([answer.dot(rising) for answer in found]),
        np.array([answer.dot(pull) for answer in found]),
        curvature.products + 1.5 * size + 0.5 * len(found),
    )


def _seen(curvature: Curvature, root: Array, answer: Vector) -> Array:
    """Return what values make of the bins seen, in sigma."""
    light = curvature.data.forward(curvature.cast(answer)).observed
    return np.asarray(root * light, np.float64)
