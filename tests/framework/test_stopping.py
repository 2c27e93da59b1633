import astropy.units as u
import pytest

from skyfold.stopping import DeltaLogLikelihood, MaxIterations, WallTime


def trace(*levels, seconds=0.0):
    return [
        {"iteration": i, "log_likelihood": level, "seconds": seconds}
        for i, level in enumerate(levels)
    ]


def test_max_iterations():
    assert MaxIterations(2).reason(trace(0, 1)) is None
    assert "all 2 iterations" in MaxIterations(2).reason(trace(0, 1, 2))
    assert MaxIterations(0).reason(trace(0))


def test_wall_time():
    rule = WallTime(2 * u.min)
    assert rule.reason(trace(0, 1, seconds=119)) is None
    assert "2.0 min" in rule.reason(trace(0, 1, seconds=120))


@pytest.mark.parametrize(("rise", "stops"), [(0.5, False), (0.05, True), (0, True), (-3, False)])
def test_delta_log_likelihood(rise, stops):
    assert bool(DeltaLogLikelihood(0.1).reason(trace(-7, -7 + rise))) == stops
    assert DeltaLogLikelihood(0.1).reason(trace(-7)) is None


def test_rules_combine():
    either = MaxIterations(3) | DeltaLogLikelihood(0.1)
    both = MaxIterations(1) & DeltaLogLikelihood(0.1)
    assert either.reason(trace(0, 5)) is None
    assert "rose by" in either.reason(trace(0, 5, 5.01))
    assert both.reason(trace(0, 5)) is None
    reason = both.reason(trace(0, 0.01))
    assert "iterations" in reason
    assert "rose by" in reason
