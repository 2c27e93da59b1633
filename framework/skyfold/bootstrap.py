"""The bootstrap: the same procedure on counts that might as well have been observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import Interrupted
from skyfold.model import Model
from skyfold.runner import Problem, solve
from skyfold.simulate import generator
from skyfold.stopping import MaxIterations
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from skyfold.result import Result


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """What repetitions of a run found.

    Parameters
    ----------
    values
        Functions of the model, shape ``(replica, function)``.
    mean, deviation
        Mean and standard deviation of every fitted value.
    """

    values: Array
    mean: Vector
    deviation: Vector


def bootstrap(
    problem: Problem,
    functions: Sequence[Vector],
    replicas: int,
    seed: int,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Bootstrap:
    """Repeat a run on counts drawn from Poisson laws around the observed ones.

    Every replica starts as the run did and stops by the same rule, so that whatever the method
    does, early stopping and refinements included, is part of the error (Efron 1979). It tells the
    scatter, not the bias: what the method cannot resolve, it cannot resolve in the replicas.

    Parameters
    ----------
    problem
        The run.
    functions
        Weights of the values, by component.
    replicas
        How many repetitions.
    seed
        Replica k is a function of seed and k.
    watch
        Hands the numbers of the replicas on, and may show how far it is.

    Raises
    ------
    Interrupted
        If a signal arrives.
    """
    values, mean, squares = [], Vector({}), Vector({})
    for k in watch(range(replicas)):
        data = problem.data.resample(generator(seed, f"bootstrap {k}"))
        start = problem.algorithm.start(data, Model.start(data))
        state, _, reason, interrupted = solve(replace(problem, data=data, start=start))
        if interrupted:
            raise Interrupted(f"{reason} after {k} of {replicas} replicas; nothing was written")
        values.append([function.dot(state.model) for function in functions])
        found = state.model.images.vector.only(state.model.free).map(lambda v: v.astype(np.float64))
        change = found - mean  # Welford (1962)
        mean = mean + change * (1 / (k + 1))
        squares = squares + change * (found - mean)
    return Bootstrap(np.array(values), mean, (squares * (1 / (replicas - 1))).map(np.sqrt))


def repeatable(problem: Problem, result: Result) -> Problem:
    """Return a run to repeat; one that was cut short is repeated as far as it went."""
    if problem.stop.reason(result.trace) is None:
        return replace(problem, stop=MaxIterations(result.state.iteration))
    return problem
