"""When draws suffice: a stopping rule for chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, log
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.stopping import StoppingRule, Trace

if TYPE_CHECKING:
    from skyfold.algorithm import Algorithm, State
    from skyfold.algorithms.gibbs import GibbsState
    from skyfold.data import DataInterface

GROWTH = 1.3  # the draws have grown by so much when they are looked at again


@dataclass(frozen=True)
class Mixed(StoppingRule):
    """Stop when the chains have mixed, by R-hat and effective sample size of every parameter.

    R-hat is the largest within an origin, the effective sample size (ESS) the smaller of those of
    bulk and tails, summed over the origins; see `skyfold.sampling.chains.diagnostics`. Only draws
    after burn-in count. The chains are looked at when their draws have grown by a third, and the
    trace holds what was found as ``r_hat`` and ``ess``. Stopping when a test passes favours runs
    that pass it by luck: the more parameters are watched, the less.

    Parameters
    ----------
    r_hat
        Largest R-hat allowed.
    ess
        Least effective sample size.
    """

    r_hat: Annotated[float, Field(gt=1)] = 1.01
    ess: Annotated[float, Field(gt=0)] = 400.0

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return the worst of all parameters, where it is time to look.

        Raises
        ------
        ConfigError
            If the method draws no chains, or only one for each origin.
        """
        from skyfold.algorithms.gibbs import Gibbs, GibbsState
        from skyfold.sampling.chains.diagnostics import diagnose, worst

        if not (isinstance(algorithm, Gibbs) and isinstance(state, GibbsState)):
            raise ConfigError(
                "the stopping rule mixed needs chains, and this method draws none: take "
                "--method lira, or another rule"
            )
        if algorithm.chains == algorithm.origins:
            raise ConfigError(
                "the stopping rule mixed compares chains of one origin, and each origin has only "
                f"one: take at least {2 * algorithm.origins} chains"
            )
        if not _due(state, algorithm.thin):
            return {}
        names = algorithm.columns(state, data)
        found = worst(names, diagnose(state.table[:, algorithm.burn :], algorithm.groups))
        return {name: found[name] for name in ("r_hat", "ess") if name in found}

    def reason(self, trace: Trace) -> str | None:
        """Compare both."""
        r_hat, ess = (trace[-1].get(name) for name in ("r_hat", "ess"))
        if r_hat is None or ess is None or r_hat >= self.r_hat or ess < self.ess:
            return None
        return f"the chains have mixed: R-hat {r_hat:.4f}, ESS {ess:.0f} for the worst parameter"


def _due(state: GibbsState, thin: int) -> bool:
    """Return whether the images kept have grown enough in the last lap: rarer and rarer."""
    now = -(-state.counted // thin)
    before = now - max((images.shape[1] for images in state.kept.values()), default=1)
    steps = [floor(log(max(number, 1)) / log(GROWTH)) for number in (before, now)]
    return steps[0] < steps[1]
