"""When to stop, and why: rules that look at the trace of a run and may give a reason.

Rules combine with ``|`` (the first that speaks) and ``&`` (only when both speak).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.options import Duration

if TYPE_CHECKING:
    from skyfold.algorithm import Algorithm, State
    from skyfold.data import DataInterface

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

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return what the rule wants to find in the row of a state besides; nothing by default."""
        return {}

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

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return what both want."""
        return _columns_of(self, state, data, algorithm)


@dataclass(frozen=True)
class Both(StoppingRule):
    """Stops when two rules do."""

    first: StoppingRule
    second: StoppingRule

    def reason(self, trace: Trace) -> str | None:
        """Return both reasons, or None."""
        reasons = self.first.reason(trace), self.second.reason(trace)
        return f"{reasons[0]}, and {reasons[1]}" if all(reasons) else None

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return what both want."""
        return _columns_of(self, state, data, algorithm)


def _columns_of(
    pair: Either | Both, state: State, data: DataInterface, algorithm: Algorithm
) -> dict[str, float]:
    first, second = (rule.columns(state, data, algorithm) for rule in (pair.first, pair.second))
    return {**first, **second}


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
    """Stop when the log-likelihood rises by less than a threshold.

    The threshold is absolute: below about one unit a difference has no statistical meaning. A
    fall is no reason to stop. The rise of one iteration says little of what is still to come:
    with a threshold of 0.01, Richardson-Lucy runs until noise has become points.

    Parameters
    ----------
    threshold
        Smallest rise worth going on for.
    over
        How many iterations are given to bring it.
    """

    threshold: Annotated[float, Field(gt=0)]
    over: Annotated[int, Field(ge=1)] = 1

    def reason(self, trace: Trace) -> str | None:
        """Compare two rows."""
        return _small_rise(trace, "log_likelihood", self.threshold, self.over)


@dataclass(frozen=True)
class DeltaLogPosterior(StoppingRule):
    """Stop when the log-posterior rises by less than a threshold.

    A fall is no reason to stop.

    Parameters
    ----------
    threshold
        Smallest rise worth going on for.
    over
        How many iterations are given to bring it.
    """

    threshold: Annotated[float, Field(gt=0)]
    over: Annotated[int, Field(ge=1)] = 1

    def reason(self, trace: Trace) -> str | None:
        """Compare two rows.

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
        return _small_rise(trace, "log_posterior", self.threshold, self.over)


@dataclass(frozen=True)
class RelativeGap(StoppingRule):
    """Stop when the way left to the maximum is certainly less than a part of the whole way up.

    The bound comes from the slopes at the present model (see `skyfold.ascent.certificate`): it
    is never too small, and usually 10 to 300 times too large. The trace holds it as ``gap``. It
    speaks of the optimum, not of the best image: the way to a maximum of the likelihood without
    a prior leads past it.

    Parameters
    ----------
    fraction
        Largest part of the rise since the start that may be left.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)]

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return the bound."""
        from skyfold.ascent import certificate

        return {"gap": certificate(state, data, algorithm.priors)}

    def reason(self, trace: Trace) -> str | None:
        """Compare the bound with the rise."""
        column = "log_posterior" if "log_posterior" in trace[-1] else "log_likelihood"
        rise, gap = trace[-1][column] - trace[0][column], trace[-1]["gap"]
        if gap < inf and gap <= self.fraction * (rise + gap):
            name = column.replace("_", "-")
            left = gap / (rise + gap) if gap > 0 else 0.0
            return (
                f"of its whole rise, the {name} lacks at most {left:.1g} ({gap:.2g} of {rise:.6g})"
            )
        return None


@dataclass(frozen=True)
class Discrepancy(StoppingRule):
    """Stop when the counts are no further from the model than photon noise puts them.

    That is when the C-statistic over all bins has come down to its exact mean under the model, or
    to some sigma beside it; the trace holds the distance in sigma as ``discrepancy``. The number
    of bins is no substitute for that mean: a bin of much less than one expected count adds much
    less than one unit.

    The rule is weak where most bins are empty: they say little, and a flat first image may seem to
    explain them. And a fitted sky takes up noise, of which the mean knows nothing: the rule stops
    too early, with one count in a bin after a few iterations already. It is of use where each bin
    holds many. Event lists have no bins and are left out.

    Looking costs one forward product an iteration, half of what Richardson-Lucy needs, which the
    products of the trace do not tell; nothing where the response visits all bins anyway, as it
    does for images of which most pixels hold counts.

    Parameters
    ----------
    sigmas
        How far above its mean the C-statistic may be; negative for a closer fit.
    """

    sigmas: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return the distance.

        Raises
        ------
        ConfigError
            If the data are event lists.
        """
        from skyfold.residuals import c_statistic

        _require_bins(data, "discrepancy")
        return {"discrepancy": c_statistic(data, state.model, state.expectation).excess}

    def reason(self, trace: Trace) -> str | None:
        """Compare the distance with the one allowed."""
        excess = trace[-1]["discrepancy"]
        if excess <= self.sigmas:
            side = "above" if excess > 0 else "below"
            return f"the C-statistic is {abs(excess):.2g} sigma {side} what the model predicts"
        return None


@dataclass(frozen=True)
class ChiSquare(StoppingRule):
    """Stop when chi-square per bin has come down to a limit.

    It is Pearson's, ``sum (n - e)^2 / e`` over the number of bins less one, as in the task lucy of
    STSDAS; the trace holds it as ``chi_square``. Like `Discrepancy` it is of use where each bin
    holds many counts: one with few adds little or, with one too many, a lot. With read noise of
    known variance, which data and expectation both contain, empty pixels are such bins, too.

    Looking costs what `Discrepancy` costs.

    Parameters
    ----------
    limit
        Largest chi-square per bin.
    """

    limit: Annotated[float, Field(ge=0)] = 1.0

    def columns(
        self, state: State, data: DataInterface, algorithm: Algorithm
    ) -> Mapping[str, float]:
        """Return chi-square per bin.

        Raises
        ------
        ConfigError
            If the data are event lists.
        """
        from skyfold.residuals import chi_square

        _require_bins(data, "chi_square")
        return {"chi_square": chi_square(data, state.model, state.expectation)}

    def reason(self, trace: Trace) -> str | None:
        """Compare it with the limit, before the first iteration too."""
        value = trace[-1]["chi_square"]
        if value > self.limit:
            return None
        return f"chi-square per bin is {value:.4g}, not more than {self.limit:g}"


def _require_bins(data: DataInterface, rule: str) -> None:
    if not any(part.complete for part in data.parts):
        raise ConfigError(
            f"the stopping rule {rule} needs binned counts, and these are event lists; "
            "use another rule"
        )


def _small_rise(trace: Trace, column: str, threshold: float, over: int) -> str | None:
    """Return in words that the last rise was below the threshold, or None."""
    if len(trace) <= over:
        return None
    rise = trace[-1][column] - trace[-1 - over][column]
    if 0 <= rise < threshold:
        name, laps = column.replace("_", "-"), f" in {over} iterations" if over > 1 else ""
        return f"the {name} rose by {rise:.2g}{laps}, less than {threshold:g}"
    return None
