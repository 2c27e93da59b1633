import numpy as np
import pytest

import skyfold
from skyfold import cstat, residuals
from skyfold.cstat import compare
from skyfold.residuals import c_statistic, explain
from skyfold.result import summary


def flat_image(rng, level, shape=(24, 32), weight=None, **more):
    """Counts of a flat sky that is known."""
    counts = rng.poisson(level, shape)
    sky = skyfold.Component(skyfold.Grid(shape), "ct")
    responses = {"sky": skyfold.Diagonal(np.ones(shape))}
    return skyfold.BinnedData(counts, responses, weight, components={"sky": sky}, **more)


@pytest.mark.parametrize("level", [0.05, 1.0, 30.0])
def test_a_true_model_explains_its_counts(rng, level):
    data = flat_image(rng, level, (100, 120))
    found = explain(data, {"sky": np.full(data.shape, level)}, 0.0)
    assert abs(found.c_stat.excess) < 4
    wrong = explain(data, {"sky": np.full(data.shape, level / 2)}, 0.0)
    assert wrong.c_stat.excess > 10


def test_masked_bins_are_left_out_and_weights_thin(rng, monkeypatch):
    monkeypatch.setattr(residuals, "SLAB", 100)
    monkeypatch.setattr(cstat, "SLAB", 100)
    weight = rng.choice([0.0, 0.5, 1.0], (24, 32))
    counts = rng.poisson(5.0 * weight).astype(float)
    counts[weight == 0] = np.nan
    sky = skyfold.Component(skyfold.Grid((24, 32)), "ct")
    data = skyfold.BinnedData(
        counts, {"sky": skyfold.Diagonal(np.ones((24, 32)))}, weight, components={"sky": sky}
    )
    found = explain(data, {"sky": np.full((24, 32), 5.0)}, 0.0)
    used = weight > 0
    told = compare(counts[used], 5.0 * weight[used])
    assert found.bins == np.count_nonzero(used)
    assert found.c_stat.value == pytest.approx(told.value)
    assert found.c_stat.mean == pytest.approx(told.mean)
    assert found.c_stat.variance == pytest.approx(told.variance)
    assert found.c_stat.value == pytest.approx(np.nansum(found.residual**2))


@pytest.mark.parametrize("level", [0.1, 20.0])
def test_the_statistic_of_all_data_is_the_sum_over_observations(rng, level):
    shape = (24, 32)
    parts = [flat_image(rng, level, shape, origin=skyfold.Origin(name)) for name in ("one", "two")]
    result = skyfold.run(skyfold.JointData(parts), iterations=2, progress=False)
    assert (parts[0].bins is None) == (level == 20)  # all bins visited, or those with counts
    together = c_statistic(result.data, result.model, result.state.expectation)
    one, two = (explained.c_stat for explained in result.explained)
    assert together.value == pytest.approx(one.value + two.value)
    assert together.mean == pytest.approx(one.mean + two.mean)
    rows = summary(result)["observations"]
    assert [row["name"] for row in rows] == ["one", "two"]
    assert [row["c_stat"] for row in rows] == [one.value, two.value]
    assert sum(row["bins"] for row in rows) == 2 * 24 * 32


def test_the_counts_of_components_add_up(sky_result):
    told = summary(sky_result)
    assert set(told["components"]) == {"sky", "background"}
    assert sum(told["components"].values()) == pytest.approx(told["expectation"])
