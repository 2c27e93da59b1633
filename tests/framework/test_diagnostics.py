"""R-hat and effective sample sizes of chains, and what they are told as."""

from __future__ import annotations

import numpy as np
import pytest
from arviz_stats.base import array_stats

from skyfold.sampling.chains.diagnostics import (
    FIGURES,
    as_table,
    diagnose,
    doubts,
    judge,
    spoken,
    worst,
)

NAMES = ("log_likelihood", "log_posterior", "sky.total", "sky.alpha[0]", "sky.pixel[3,7]")


def autoregressive(rng, chains=8, draws=1000, columns=5, memory=0.9):
    """Chains in which each draw remembers the last."""
    noise = rng.normal(size=(chains, draws, columns))
    found = noise / np.sqrt(1 - memory**2)
    for i in range(1, draws):
        found[:, i] = memory * found[:, i - 1] + noise[:, i]
    return found


def test_one_origin_gives_what_arviz_gives(rng):
    draws = autoregressive(rng)
    found = diagnose(draws, np.zeros(8, int))
    each = np.moveaxis(draws, 2, 0)
    np.testing.assert_allclose(found["r_hat"], array_stats.rhat(each))
    np.testing.assert_allclose(found["ess_bulk"], array_stats.ess(each))
    np.testing.assert_allclose(
        found["ess_tail"], array_stats.ess(each, method="tail", prob=(0.05, 0.95))
    )
    np.testing.assert_allclose(found["mcse"], array_stats.mcse(each), rtol=1e-3)
    assert np.all(np.isnan(found["between"]))


def test_the_effective_sample_size_is_that_of_theory(rng):
    found = diagnose(autoregressive(rng, draws=20_000, columns=2, memory=0.8), np.zeros(8, int))
    theory = 8 * 20_000 * (1 - 0.8) / (1 + 0.8)
    np.testing.assert_allclose(found["ess_bulk"], theory, rtol=0.1)


def test_the_monte_carlo_error_is_the_scatter_of_the_mean(rng):
    groups = np.arange(4) // 2
    runs = [autoregressive(rng, chains=4, columns=1, memory=0.8) for _ in range(60)]
    found = [diagnose(run, groups) for run in runs]
    scatter = np.std([f["mean"][0] for f in found], ddof=1)
    assert np.mean([f["mcse"][0] for f in found]) == pytest.approx(scatter, rel=0.3)


def test_origins_are_compared_with_themselves_only(rng):
    """Two origins with different posteriors: both converged, and the spread says so."""
    draws, groups = rng.normal(size=(4, 1000, 1)), np.array([0, 0, 1, 1])
    draws[groups == 1] += 5
    found = diagnose(draws, groups)
    assert found["r_hat"] < 1.01
    assert found["between"] == pytest.approx(5 / np.sqrt(2), rel=0.05)
    assert found["std"] == pytest.approx(np.sqrt(1 + 2.5**2), rel=0.05)
    assert diagnose(draws, np.zeros(4, int))["r_hat"] > 1.5


def test_the_worst_origin_is_the_one_reported(rng):
    draws, groups = rng.normal(size=(4, 1000, 1)), np.array([0, 0, 1, 1])
    draws[3] += 3
    apart = array_stats.rhat(draws[2:, :, 0])
    assert diagnose(draws, groups)["r_hat"][0] == pytest.approx(apart)


def test_the_order_of_the_chains_does_not_matter(rng):
    draws, groups = autoregressive(rng, chains=6), np.arange(6) // 2
    order = rng.permutation(6)
    one, other = diagnose(draws, groups), diagnose(draws[order], groups[order])
    for name in FIGURES:
        np.testing.assert_allclose(one[name], other[name])


@pytest.mark.parametrize("value", [3.0, np.nan, -np.inf])
def test_what_never_moves_or_is_not_finite_has_no_figures(rng, value):
    draws = rng.normal(size=(4, 100, 2))
    draws[..., 1] = value
    found = diagnose(draws, np.zeros(4, int))
    assert np.isnan([found[name][1] for name in FIGURES if name not in ("mean", "std")]).all()
    assert np.isfinite([found[name][0] for name in FIGURES if name != "between"]).all()
    if np.isfinite(value):
        assert (found["mean"][1], found["std"][1]) == (3, 0)


def test_what_each_origin_holds_fixed_is_not_compared(rng):
    """Such as the origin itself."""
    draws, groups = rng.normal(size=(4, 100, 2)), np.array([0, 0, 1, 1])
    draws[:2, :, 0], draws[2:, :, 0] = 1.0, 7.0
    draws[:2, :, 1] = 1.0
    found = diagnose(draws, groups)
    assert np.isnan([found[name][0] for name in FIGURES if name not in ("mean", "std")]).all()
    assert np.isfinite(found["between"][1])
    assert worst(("origin", "other"), found)["between_of"] == "other"


@pytest.mark.parametrize("number", [0, 1, 5])
def test_too_few_draws_have_no_figures(rng, number):
    found = diagnose(rng.normal(size=(4, number, 3)), np.zeros(4, int))
    assert np.isnan(found["r_hat"]).all()
    assert np.isfinite(found["mean"]).all() == (number > 0)


def test_the_table_has_a_row_for_each_parameter(rng):
    table = as_table(NAMES, diagnose(autoregressive(rng), np.arange(8) // 4))
    assert table.colnames == ["name", *FIGURES]
    assert list(table["name"]) == list(NAMES)


def judged(rng, draws=1000, chains=4, origins=2, names=NAMES, **changes):
    values = rng.normal(size=(chains, draws, len(names)))
    for name, change in changes.items():
        index = names.index({"total": "sky.total", "alpha": "sky.alpha[0]"}[name])
        values[:, :, index] += np.asarray(change)
    groups = np.arange(chains) // (chains // origins)
    return judge(names, diagnose(values, groups), groups, 500, 500 + draws)


def test_nothing_is_said_of_chains_that_have_mixed(rng):
    found = judged(rng, 4000)
    assert found["ess"] > 400
    assert doubts(found, 60.0) == []


def test_chains_apart_are_told_with_what_to_do(rng):
    offset = np.array([[0.0], [0.9], [0.0], [0.0]])
    found = judged(rng, total=offset)
    assert (found["r_hat_of"], found["ess_of"]) == ("sky.total", "sky.total")
    (said,) = doubts(found, 90.0)
    assert f"R-hat {found['r_hat']:.3f} for total flux of sky, ESS {found['ess']:.0f}: " in said
    times = np.ceil((found["r_hat"] ** 2 - 1) / (1.01**2 - 1))
    assert f"draw at least {times:.0f} times as many" in said
    total = int(said.split("skyfold resume RUN --iterations ")[1].rstrip("."))
    assert 500 + times * 1000 <= total <= 500 + 1.1 * times * 1000
    minutes = 90 * (total - 1500) / 1500 / 60
    assert f"about {minutes:.0f} min more" in said


def test_chains_that_stay_apart_are_not_told_to_wait(rng):
    offset = np.array([[0.0], [9.0], [0.0], [0.0]])
    (said,) = doubts(judged(rng, total=offset), 90.0)
    assert "will not mix by waiting" in said
    assert "--chains 8" in said
    assert "--rungs 4" in said
    assert "resume" not in said
    (few,) = doubts(judged(rng, 60, total=offset))
    assert "resume" in few  # few draws cannot tell slow chains from stuck ones


def test_one_slow_chain_of_an_origin_is_not_said_to_differ_from_others(rng):
    values = np.cumsum(rng.normal(size=(2, 1000, 5)), axis=1)
    found = judge(NAMES, diagnose(values, np.arange(2)), np.arange(2), 0, 1000)
    said = " ".join(doubts(found))
    assert "hang together for too long" in said
    assert "different images" not in said


def test_sticky_chains_are_told_by_their_sample_size(rng):
    values = autoregressive(rng, chains=4, memory=0.97)
    found = judge(NAMES, diagnose(values, np.zeros(4, int)), np.zeros(4, int), 0, 1000)
    assert found["ess"] < 400
    (said,) = doubts(found)
    assert f"ESS {found['ess']:.0f}" in said
    assert "about" not in said  # nothing is known of the time


def test_one_chain_is_told_apart(rng):
    found = judged(rng, 4000, chains=1, origins=1)
    assert "r_hat" not in found
    (said,) = doubts(found)
    assert said.startswith("R-hat needs at least 2 chains per origin")


def test_origins_that_disagree_are_told(rng):
    offset = np.array([[0.0], [0.0], [9.0], [9.0]])
    found = judged(rng, 4000, total=offset)
    assert found["between"] == pytest.approx(9 / np.sqrt(2), rel=0.05)
    (said,) = doubts(found)
    assert "disagree on total flux of sky" in said
    assert f"{found['between']:.1f} of its standard deviations" in said
    assert doubts(judged(rng, 4000, alpha=offset)) == []  # every prior has its own alphas


def test_origins_whose_chains_have_not_mixed_are_not_compared(rng):
    offset = np.array([[0.0], [5.0], [9.0], [14.0]])
    found = judged(rng, total=offset)
    assert found["r_hat_of"] == "sky.total"
    assert found["between_of"] != "sky.total"


def test_too_few_draws_are_told(rng):
    (said,) = doubts(judged(rng, 5))
    assert said == (
        "5 draws after burn-in are too few to judge them. At least 3 more sweeps are needed, "
        "better 1995: skyfold resume RUN --iterations 2500."
    )


def test_a_run_within_its_burn_in_is_told_how_many_sweeps_are_missing(rng):
    found = judge(NAMES, diagnose(rng.normal(size=(4, 0, 5)), np.zeros(4)), np.zeros(4), 500, 10)
    assert found["draws"] == 0
    (said,) = doubts(found)
    assert "after 10 of 500 sweeps" in said
    assert said.endswith(
        "At least 498 more sweeps are needed, better 2490: skyfold resume RUN --iterations 2500."
    )


def test_parameters_in_words():
    assert [spoken(name) for name in NAMES] == [
        "the log-likelihood",
        "the log-posterior",
        "total flux of sky",
        "strength of the finest splits of sky (alpha 0)",
        "pixel x 7, y 3 of sky",
    ]
    assert spoken("background") == "background"
    assert spoken("sky.total[2]") == "total flux of sky, energy 2"
    assert (
        spoken("sky.alpha[1,2]") == "strength of the splits at level 2 of sky (alpha 2), energy 1"
    )
    assert spoken("sky.alpha[1,2]", brief=True) == "alpha 2 of sky, energy 1"
    assert spoken("sky.block[2,3]") == "block row 2, column 3 of sky"
    assert spoken("sky.block[7]") == "base pixel 7 of sky"


def test_figures_of_a_manifest_are_plain(rng):
    import json

    found = worst(NAMES, diagnose(rng.normal(size=(2, 100, 5)), np.arange(2)))
    assert json.loads(json.dumps(found)) == found
