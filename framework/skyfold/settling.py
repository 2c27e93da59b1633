"""What held-out photons decide before a run begins: strengths of priors, a number of iterations."""

from __future__ import annotations

from dataclasses import asdict, replace

from skyfold import strength
from skyfold.heldout import Curve, HeldOut, choose
from skyfold.observers import Observer
from skyfold.runner import Problem
from skyfold.stopping import Both, Either, StoppingRule


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
    wanted = problem.config.method.get("strength", 1.0)
    problem = problem if isinstance(wanted, int | float) else _strengthened(problem, observer)
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
    """Return the problem with the strength of the priors that predicts held-out photons best."""
    config, data, start = problem.config, problem.data, problem.start
    wanted = config.method["strength"]
    factors = None if wanted == "auto" else wanted
    found = strength.choose(problem.algorithm, data, start, factors, config.seed, observer)
    priors = strength.scaled(problem.algorithm.priors, found.best)
    algorithm = replace(problem.algorithm, priors=priors)
    return replace(
        problem,
        config=replace(config, method={**config.method, "strength": found.best}),
        algorithm=algorithm,
        start=algorithm.start(data, start.model),
        strengths=found,
    )
