"""When to stop, and why: rules that look at the trace of a run and may give a reason.

Rules combine with ``|`` (the first that speaks) and ``&`` (only when both speak).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.options import Duration

Trace = Sequence[Mapping[str, float]]


class StoppingRule(ABC):
    """Gives a reason to stop, or none."""

    @abstractmethod
    def reason(self, trace: Trace) -> str | None:
        """Return why the run should end now, or None.

        Parameters
        ----------
        trace
            One row per iteration since the very start, interrupted or not; the last is now. Rows
            hold at least ``iteration``, ``log_likelihood`` and ``seconds`` (of the run so far).
        """

    def __or__(self, other: StoppingRule) -> StoppingRule:
        return Either(self, other)

    def __and__(self, other: StoppingRule) -> StoppingRule:
        return Both(self, other)


@dataclass(frozen=True)
class Either(StoppingRule):
    """Stops when one of two rules does."""

    first: StoppingRule
    second: StoppingRule

    def reason(self, trace: Trace) -> str | None:
        """Return the first reason there is."""
        return self.first.reason(trace) or self.second.reason(trace)


@dataclass(frozen=True)
class Both(StoppingRule):
    """Stops when two rules do."""

    first: StoppingRule
    second: StoppingRule

    def reason(self, trace: Trace) -> str | None:
        """Return both reasons, or None."""
        reasons = self.first.reason(trace), self.second.reason(trace)
        return f"{reasons[0]}, and {reasons[1]}" if all(reasons) else None


@dataclass(frozen=True)
class MaxIterations(StoppingRule):
    """Stop after a number of iterations.

    Parameters
    ----------
    iterations
        How many.
    """

    iterations: Annotated[int, Field(ge=0)]

    def reason(self, trace: Trace) -> str | None:
        """Count the iterations."""
        done = trace[-1]["iteration"] >= self.iterations
        return f"all {self.iterations} iterations done" if done else None


@dataclass(frozen=True)
class WallTime(StoppingRule):
    """Stop after some time, interruptions not counted.

    Parameters
    ----------
    limit
        How long, as "10 min" or "2 h".
    """

    limit: Duration

    def reason(self, trace: Trace) -> str | None:
        """Look at the clock."""
        seconds = float(self.limit.to_value("s"))
        return f"{self.limit} have passed" if trace[-1]["seconds"] >= seconds else None


@dataclass(frozen=True)
class DeltaLogLikelihood(StoppingRule):
    """Stop when an iteration raises the log-likelihood by less than a threshold.

    The threshold is absolute: below about one unit a difference has no statistical meaning. A
    fall is no reason to stop.

    Parameters
    ----------
    threshold
        Smallest rise worth another iteration.
    """

    threshold: Annotated[float, Field(gt=0)]

    def reason(self, trace: Trace) -> str | None:
        """Compare the last two rows."""
        return _small_rise(trace, "log_likelihood", self.threshold)


@dataclass(frozen=True)
class DeltaLogPosterior(StoppingRule):
    """Stop when an iteration raises the log-posterior by less than a threshold.

    A fall is no reason to stop.

    Parameters
    ----------
    threshold
        Smallest rise worth another iteration.
    """

    threshold: Annotated[float, Field(gt=0)]

    def reason(self, trace: Trace) -> str | None:
        """Compare the last two rows.

        Raises
        ------
        ConfigError
            If the method has no prior.
        """
        if "log_posterior" not in trace[-1]:
            raise ConfigError(
                "delta_log_posterior needs a method with a prior; without one the rule is "
                "delta_log_likelihood"
            )
        return _small_rise(trace, "log_posterior", self.threshold)


def _small_rise(trace: Trace, column: str, threshold: float) -> str | None:
    """Return in words that the last rise was below the threshold, or None."""
    if len(trace) < 2:
        return None
    rise = trace[-1][column] - trace[-2][column]
    if 0 <= rise < threshold:
        name = column.replace("_", "-")
        return f"the {name} rose by {rise:.2g}, less than {threshold:g}"
    return None
