from __future__ import annotations

import numpy as np
import pytest
from tests.framework.test_heldout import predictive_loss, star_field

import skyfold
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.priors.gamma import Gamma
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.strength import BY_CHANCE, FOLDS, Strengths, _walk, choose, scaled
from skyfold.trails import held_out


def test_coefficients_are_multiplied_and_what_has_none_is_refused():
    (prior,) = scaled({"tsv": TotalSquaredVariation(0.5)}, 4).values()
    assert prior.coefficient == 2
    with pytest.raises(ConfigError, match="the prior gamma has no coefficient"):
        scaled({"gamma": Gamma(2)}, 3)
    assert scaled({"gamma": Gamma(2)}, 1) == {"gamma": Gamma(2)}


def test_the_best_is_the_largest_sum_and_errors_are_of_differences():
    gains = {1.0: np.array([3.0, 1.0]), 10.0: np.array([4.0, 1.5])}
    table = Strengths(gains).table()
    assert Strengths(gains).best == 10
    assert list(table["strength"]) == [1, 10]
    assert list(table["held_out"]) == [-1.5, 0]
    assert table["error"][1] == 0


def test_widths_stand_beside_each_other_below_the_best():
    narrow = Strengths({1.0: np.array([3.0, 1.0])}, times=0.5)
    usual = {1.0: np.array([3.0, 2.0]), 10.0: np.array([1.0, 2.0])}
    table = Strengths(usual, others=(narrow,)).table()
    assert [tuple(row) for row in table["width", "strength", "held_out"]] == [
        (0.5, 1, -1),
        (1, 1, 0),
        (1, 10, -2),
    ]
    rows = [dict(zip(table.colnames, row, strict=True)) for row in table.iterrows()]
    labels = [line.get_label() for line in held_out(rows).axes[0].lines]
    assert labels[:2] == ["0.5 times the usual width", "1 times the usual width"]
    assert labels[-1] == "best: 1"


def test_held_out_photons_choose_a_strength_that_predicts_well():
    data, truth = star_field(4e3, size=20)
    algorithm = ScaledGradientProjection(priors={"tsv": TotalSquaredVariation(1.0)})
    start = algorithm.start(data, Model.start(data))
    found = choose(algorithm, data, start, seed=1)
    losses = {}
    for factor in [*found.gains, found.best]:
        result = skyfold.run(
            data, prior={"tsv": factor}, iterations=60, progress=False, method="map"
        )
        losses[factor] = predictive_loss(data, truth, result.state)
    least, most = min(losses.values()), max(losses.values())
    assert losses[found.best] < least + 0.2 * (most - least)


def test_auto_and_a_grid_are_said_in_the_method():
    data, _ = star_field(2e3, size=16)
    with pytest.raises(ConfigError, match="strength"):
        skyfold.run(data, prior={"tsv": 1.0}, strength=-1, progress=False)
    result = skyfold.run(
        data, prior={"tsv": 1e-3}, strength=[1.0, 1e-3], iterations=5, progress=False
    )
    assert result.manifest["config"]["method"]["strength"] in (1.0, 1e-3)


def test_a_prior_that_held_out_photons_would_rather_not_have_is_told(caplog):
    chess = 1e5 * (np.indices((8, 8)).sum(axis=0) % 2) + 10
    counts = np.random.default_rng(3).poisson(chess).astype(float)
    data = skyfold.BinnedData(counts, {"sky": skyfold.Diagonal(np.ones((8, 8)))})
    algorithm = ScaledGradientProjection(priors={"tsv": TotalSquaredVariation(1.0)})
    found = choose(algorithm, data, algorithm.start(data, Model.start(data)))
    assert found.top == min(found.gains)
    assert "predicted best without this prior" in caplog.text


@pytest.mark.parametrize(
    ("rises", "last"),
    [
        ([30, 10, 3, *[1.6] * 20], 5),  # a flat sky, as strong as may be
        ([30, 10, 1.6, -20, -20], 4),  # a peak
        ([2.5, 1.9, 2.2, 5.0, -3], 5),
    ],
)
def test_a_walk_ends_where_it_wins_no_more_than_chance(rises, last):
    judged = []

    def height(factor):
        judged.append(round(2 * np.log10(factor)))
        return sum(rises[: judged[-1]])

    _walk(height, 0.0)
    assert max(judged) == last


def test_what_noise_alone_wins_by_chance(rng):
    """A value that is noise, from one part of the photons and from the others."""
    part = rng.normal(0, FOLDS**0.5, (200_000, FOLDS))
    rest = (part.sum(axis=1, keepdims=True) - part) / (FOLDS - 1)
    rise = 0.5 / FOLDS * ((rest - part) ** 2 - part**2).sum(axis=1)  # of leaving it out
    assert rise.var() / rise.mean() == pytest.approx(BY_CHANCE, rel=0.02)
