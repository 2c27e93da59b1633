"""How far to go along a direction: a search in data space, without any response product."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from skyfold.data import DataInterface, Expectation

FLAT = 1e-3  # slope at the end, relative to the slope at the beginning
TRIALS = 60


class Found(NamedTuple):
    """Where a search ended.

    Attributes
    ----------
    step
        How far to go.
    rise
        By how much the log-likelihood is larger there than at the beginning; never negative.
    """

    step: float
    rise: float


def search(
    data: DataInterface, here: Expectation, direction: Expectation, longest: float = inf
) -> Found:
    """Return the step in [0, longest] at which the log-likelihood is largest, and its rise.

    The expectation is linear in the step and the Poisson log-likelihood concave, so its slope
    changes sign at most once: Newton's method on the slope, within a bracket that is halved where
    Newton leaves it or counts become impossible. A bend that is not known is taken from the last
    two slopes.

    Parameters
    ----------
    data
        The data.
    here
        Expectation of the point to start from.
    direction
        Expectation of the direction.
    longest
        Longest step allowed; it is never exceeded.
    """
    start, steepest, bend = data.along(here, direction, 0.0)
    best = Found(0.0, 0.0)
    if not (steepest > 0 and longest > 0):
        return best
    low, high, fallen = 0.0, longest, False
    last, before = 0.0, steepest
    step = _newton(0.0, steepest, bend) if bend > 0 else 1.0
    for _ in range(TRIALS):
        if step >= high and not fallen:
            step = high if high < inf else 2.0 * low or 1.0
        elif not low < step < high:
            step = 0.5 * (low + high)
        value, slope, bend = data.along(here, direction, step)
        if value - start >= best.rise:
            best = Found(step, value - start)
        if abs(slope) <= FLAT * steepest or (slope > 0 and step >= longest):
            break
        if not bend > 0 and step != last:
            bend = (before - slope) / (step - last)
        if slope > 0:
            low = step
        else:
            high, fallen = step, True
        last, before = step, slope
        step = _newton(step, slope, bend)
    return best


def best_step(
    data: DataInterface, here: Expectation, direction: Expectation, longest: float = inf
) -> float:
    """Return the step in [0, longest] at which the log-likelihood is largest; see `search`."""
    return search(data, here, direction, longest).step


def _newton(step: float, slope: float, bend: float) -> float:
    """Return where a parabola has its top; infinity if it has none."""
    return step + slope / bend if bend > 0 else inf
