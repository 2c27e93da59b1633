"""How far to go along a direction: a search in data space, without any response product."""

from __future__ import annotations

from skyfold.data import DataInterface, Expectation


def best_step(
    data: DataInterface, here: Expectation, direction: Expectation, longest: float
) -> float:
    """Return the step in [0, longest] at which the log-likelihood is largest.

    The expectation is linear in the step and the Poisson log-likelihood concave, so its slope
    changes sign at most once; it is bracketed and found by the Illinois variant of false position.

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

    def slope(step: float) -> float:
        return data.slope(here + direction * step, direction)

    low, high = 0.0, longest
    rising, falling = slope(low), slope(high)
    steepest = rising
    if rising <= 0:
        return 0.0
    if falling >= 0:
        return high
    side = 0
    for _ in range(60):
        step = (low * falling - high * rising) / (falling - rising)
        now = slope(step)
        if now >= 0:
            low, rising = step, now
            falling *= 0.5 if side == 1 else 1.0
            side = 1
        else:
            high, falling = step, now
            rising *= 0.5 if side == -1 else 1.0
            side = -1
        if 0 <= now < 1e-3 * steepest or high - low < 1e-3 * high:
            break
    return low
