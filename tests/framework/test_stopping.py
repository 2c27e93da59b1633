import astropy.units as u
import numpy as np
import pytest

import skyfold
from skyfold.binned import BinnedData
from skyfold.cstat import CStatistic
from skyfold.errors import ConfigError
from skyfold.pixels import Diagonal
from skyfold.stopping import (
    ChiSquare,
    DeltaLogLikelihood,
    Discrepancy,
    MaxIterations,
    RelativeGap,
    WallTime,
)


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


def blurred(rng, *levels, size=40):
    """Counts of a lumpy line, seen through a wide kernel once for each exposure."""
    away = np.subtract.outer(np.arange(size), np.arange(size))
    matrix = np.exp(-0.5 * (away / 2.0) ** 2)
    sky = rng.gamma(0.3, 3, size)
    return [
        skyfold.BinnedData(rng.poisson(seen @ sky), {"sky": skyfold.Matrix(seen)})
        for seen in (level * matrix for level in levels)
    ]


@pytest.mark.parametrize("sigmas", [2.0, 0.0])
def test_discrepancy_stops_once_the_counts_are_explained(rng, sigmas):
    data = skyfold.JointData(blurred(rng, 40.0, 25.0))
    rule = Discrepancy(sigmas) | MaxIterations(200)
    result = skyfold.run(data, stop=rule, progress=False)
    *before, last = [row["discrepancy"] for row in result.trace]
    assert len(before) > 5
    assert all(excess > sigmas for excess in before)
    assert last <= sigmas
    together = sum((one.c_stat for one in result.explained), CStatistic())
    assert last == pytest.approx(together.excess)
    assert "the C-statistic is" in result.reason


def test_discrepancy_counts_the_empty_bins_and_is_weak_on_them(rng):
    (data,) = blurred(rng, 2e-3, size=1000)
    assert data.bins is not None  # products skip the empty bins, the rule must not
    result = skyfold.run(data, stop=Discrepancy() | MaxIterations(50), progress=False)
    assert result.trace[-1]["discrepancy"] == pytest.approx(result.explained[0].c_stat.excess)
    assert result.state.iteration <= 1


def test_discrepancy_refuses_event_lists(rng):
    class Events(skyfold.Matrix):
        complete = False

    data = skyfold.BinnedData(np.ones(30), {"sky": Events(rng.random((30, 4)))})
    with pytest.raises(ConfigError, match="event lists"):
        skyfold.run(data, stop=Discrepancy(), progress=False)


@pytest.mark.parametrize(
    "prior",
    [
        {"tsv": 1e-3},
        {"gamma": {"k": 2.0, "theta": 10.0}},
        {"entropy": {"coefficient": 0.1, "reference": 5.0}},
    ],
)
def test_an_endless_bound_is_no_reason_to_stop(prior, rng):
    matrix = rng.random((60, 16)) ** 4
    matrix[:, :4] = 0  # nothing sees these, but priors pull them
    counts = rng.poisson(matrix @ np.full(16, 3.0))
    data = skyfold.BinnedData(counts, {"sky": skyfold.Matrix(matrix, (4, 4))})
    result = skyfold.run(data, prior=prior, progress=False)
    assert "inf" not in result.reason
    assert result.state.iteration > 5
    longer = skyfold.run(data, prior=prior, iterations=300, progress=False)
    assert longer.state.objective - result.state.objective < 0.1


def test_a_bound_is_refused_where_there_is_none(rng):
    data = skyfold.BinnedData(rng.poisson(3.0, (4, 4)), {"sky": Diagonal(np.ones((4, 4)))})
    with pytest.raises(ConfigError, match="nothing bounds the way left"):
        skyfold.run(data, prior={"gamma": 0.5}, stop=RelativeGap(1e-3), progress=False)
    quiet = skyfold.run(data, prior={"gamma": 0.5}, progress=False)
    assert quiet.reason.startswith("the log-posterior rose by")


def test_a_start_at_the_maximum_is_the_end():
    data = skyfold.BinnedData(np.full((4, 4), 20), {"sky": Diagonal(np.ones((4, 4)))})
    result = skyfold.run(data, prior={"tsv": 1e-3}, progress=False)
    assert result.state.iteration == 0
    assert "lacks at most 0" in result.reason


def test_chi_square_is_pearsons(rng):
    counts = rng.poisson(20, (8, 9)).astype(float)
    weight = (rng.uniform(size=counts.shape) > 0.2).astype(float)
    data = BinnedData(counts, {"sky": Diagonal(np.ones(counts.shape))}, weight)
    result = skyfold.run(data, "rl", 1, stop=ChiSquare(0.0) | MaxIterations(1), progress=False)
    level = counts[weight > 0].mean()
    expected = ((counts[weight > 0] - level) ** 2 / level).sum() / (weight.sum() - 1)
    first, last = (row["chi_square"] for row in result.trace)
    assert first == pytest.approx(expected, rel=1e-12)
    assert last == pytest.approx(0, abs=1e-12)


def test_chi_square_below_its_limit_is_a_reason():
    assert ChiSquare().reason([{"chi_square": 1.01}]) is None
    assert "0.99, not more than 1" in ChiSquare().reason([{"chi_square": 0.99}])
