"""Bounds of p-values from results and their replicates."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

from skyfold.errors import ConfigError, DataError
from skyfold_image.pylira import LIRADeconvolverResult, LIRASignificanceEstimator

BURN_IN = 50
LABELS = np.zeros((8, 8))
LABELS[2:5, 2:5], LABELS[6:, 6:] = 1, 2
DATA = {"background": np.full((8, 8), 2.0)}


def result(seed, bright=0.0, scale=None):
    """Draws of an image of faint noise, bright in region 1; the burn-in is far off."""
    rng = np.random.default_rng(seed)
    images = rng.gamma(0.2, 0.5, (250, 8, 8))
    images[:BURN_IN] += 1e4
    images[BURN_IN:, LABELS == 1] += bright
    table = {"iteration": np.arange(250)}
    if scale is not None:
        table["bkgScale"] = np.full(250, scale)
    config = {"n_burn_in": BURN_IN, "n_iter_max": 250}
    return LIRADeconvolverResult(config, images[BURN_IN:].mean(axis=0), None, Table(table), images)


@pytest.fixture
def replicates():
    return [result(seed) for seed in range(1, 41)]


def test_only_the_region_with_a_source_is_significant(replicates):
    estimator = LIRASignificanceEstimator(result(0, bright=3), replicates, LABELS)
    p_values, nulls, observed, quantiles, statistics = estimator.estimate_p_values(DATA)
    assert set(p_values) == set(nulls) == set(observed) == set(quantiles) == {"0.0", "1.0", "2.0"}
    assert 0.005 <= p_values["1.0"] < 0.01
    assert statistics["1.0"] == 1
    assert p_values["0.0"] > 0.1
    assert p_values["2.0"] > 0.1
    assert estimator.bounds["1.0"].p_upper >= p_values["1.0"]


def test_draws_before_burn_in_do_not_count(replicates):
    estimator = LIRASignificanceEstimator(result(0), replicates, LABELS)
    _, nulls, observed, quantiles, _ = estimator.estimate_p_values(DATA)
    assert len(observed["1.0"]) == 200
    assert len(nulls["1.0"]) == 40 * 200
    assert observed["1.0"].max() < 0.9  # the burn-in has shares next to one
    assert quantiles["1.0"] < 0.9


def test_a_drawn_scale_of_the_background_counts(replicates):
    shares = []
    for scale in (None, 1.0, 2.0):
        estimator = LIRASignificanceEstimator(result(0, 3, scale), replicates, LABELS)
        shares.append(estimator.estimate_p_values(DATA)[2]["1.0"].mean())
    assert shares[0] == shares[1] > shares[2]


def test_what_tells_nothing_is_refused(replicates):
    observed = result(0)
    with pytest.raises(DataError, match="copies"):
        LIRASignificanceEstimator(observed, [replicates[0]] * 9, LABELS).estimate_p_values(DATA)
    with pytest.raises(DataError, match="no background"):
        LIRASignificanceEstimator(observed, replicates, LABELS).estimate_p_values({})
    with pytest.raises(ConfigError, match="2 simulations"):
        LIRASignificanceEstimator(observed, replicates[:2], LABELS).estimate_p_values(DATA)
    with pytest.raises(DataError, match=r"labels_im has shape \(4, 8\)"):
        LIRASignificanceEstimator(observed, replicates, LABELS[:4])


def test_densities_are_drawn(replicates):
    estimator = LIRASignificanceEstimator(result(0, 3), replicates, LABELS)
    _, nulls, observed, _, _ = estimator.estimate_p_values(DATA)
    (axes,) = estimator.plot_xi_dist(observed, nulls, "1.0").axes
    assert len(axes.lines) == 42
    peak = axes.lines[-1]
    assert 10 ** peak.get_xdata()[peak.get_ydata().argmax()] == pytest.approx(
        np.median(observed["1.0"]), rel=0.05
    )
    with pytest.raises(DataError, match="no region '7'"):
        estimator.plot_xi_dist(observed, nulls, "7")
    plt.close("all")
