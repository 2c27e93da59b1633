"""What held-out photons decide before a run begins: strengths of priors, a number of iterations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from skyfold import strength
from skyfold.data import DataInterface
from skyfold.errors import DataError
from skyfold.heldout import Curve, HeldOut, choose
from skyfold.observers import Observer
from skyfold.priors import Prior
from skyfold.runner import Problem
from skyfold.stopping import Both, Either, StoppingRule

log = logging.getLogger(__name__)


def settle(problem: Problem, observer: Observer | None = None) -> Problem:
    """Return the problem with all that held-out photons decide: strengths, iterations.

    Parameters
    ----------
    problem
        What to solve.
    observer
        Who watches.
    """
    curve: Curve | None = None
    problem = _strengthened(problem, observer)
    config = problem.config

    def settled(rule: StoppingRule) -> StoppingRule:
        nonlocal curve, config
        if isinstance(rule, Either | Both):
            return replace(rule, first=settled(rule.first), second=settled(rule.second))
        if not isinstance(rule, HeldOut) or rule.best is not None:
            return rule
        found, curve = choose(
            rule, problem.algorithm, problem.data, problem.start, config.seed, observer
        )
        config = replace(config, stop={**config.stop, "held_out": asdict(found)})
        return found

    stop = settled(problem.stop)
    return replace(problem, stop=stop, curve=curve, config=config)


def _strengthened(problem: Problem, observer: Observer | None) -> Problem:
    """Return the problem with the strength, and width, of priors that held-out photons choose."""
    config, data, start = problem.config, problem.data, problem.start
    method = config.build_method()
    wanted = getattr(method, "strength", None)
    open_ = isinstance(wanted, tuple) or (isinstance(wanted, str) and wanted == "auto")
    if not (open_ and problem.algorithm.priors):
        return problem
    factors = wanted if isinstance(wanted, tuple) else None
    found: strength.Strengths | None = None
    widen: Callable[[DataInterface, float], Any] = getattr(method, "widened", lambda *_: None)

    def widened(times: float) -> Mapping[str, Prior] | None:
        wider = widen(data, times)
        return None if wider is None else wider.prepare(data)[1].priors

    try:
        found = strength.choose(
            problem.algorithm, data, start, factors, config.seed, observer, widened
        )
        taken, times = found.taken, found.times
    except DataError as error:
        usual: float | None = getattr(method, "usual", None)
        if usual is None or "strength" in config.method:
            raise
        taken, times = usual, 1.0
        log.warning("%s; %g is taken", error, taken)
    chosen: dict[str, Any] = {"strength": taken}
    if (wider := widen(data, times)) is not None:
        chosen["smooth"] = wider.smooth
    priors = strength.scaled(widened(times) or problem.algorithm.priors, taken)
    algorithm = replace(problem.algorithm, priors=priors)
    return replace(
        problem,
        config=replace(config, method={**config.method, **chosen}),
        algorithm=algorithm,
        start=algorithm.start(data, start.model),
        strengths=found,
    )
