import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.matrices import Matrix
from skyfold.simulate import Demo, generator, score, simulate

SHAPE = (6, 7)


def observation(counts=None, weight=None) -> BinnedData:
    blur = 0.8 * np.eye(42) + 0.1 * np.eye(42, k=1) + 0.1 * np.eye(42, k=-1)
    return BinnedData(
        np.ones(SHAPE) if counts is None else counts,
        {"sky": Matrix(blur, SHAPE, SHAPE), "background": np.full(SHAPE, 2.0)},
        weight,
    )


def truth(level: float = 30.0) -> dict[str, np.ndarray]:
    return {"sky": np.full(SHAPE, level), "background": np.array([1.5])}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), level=st.floats(0, 1e4))
def test_counts_are_a_function_of_seed_and_purpose(seed, level):
    data = observation()
    first = simulate(data, truth(level), seed)
    np.testing.assert_array_equal(first, simulate(data, truth(level), seed))
    np.testing.assert_array_equal(first, np.rint(first))
    assert np.any(first != simulate(data, truth(level + 50), seed, "other"))


def test_purposes_and_seeds_are_independent():
    draws = [generator(s, p).random(2000) for s in (1, 2) for p in ("counts", "stars")]
    correlation = np.corrcoef(draws)
    assert np.max(np.abs(correlation - np.eye(4))) < 5 / np.sqrt(2000)


def test_counts_have_mean_and_variance_of_the_expectation():
    data = observation(weight=np.linspace(0, 1, 42).reshape(SHAPE))
    expected = data.full_expectation(truth()) * data.weight
    draws = np.array([simulate(data, truth(), seed) for seed in range(400)])
    error = np.sqrt(np.maximum(expected, 1e-9) / 400)
    assert np.max(np.abs(draws.mean(axis=0) - expected) / error) < 5
    assert np.all(draws[:, 0, 0] == 0)
    np.testing.assert_allclose(draws.var(axis=0).sum(), expected.sum(), rtol=0.05)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"sky": np.ones(SHAPE)}, "no values for component 'background'"),
        ({"sky": np.ones((7, 6)), "background": np.ones(1)}, "'sky': values of shape"),
        ({"sky": np.full(SHAPE, np.nan), "background": np.ones(1)}, "'sky': the truth has"),
        ({"sky": np.ones(SHAPE), "background": -np.ones(1)}, "'background': the truth has"),
    ],
)
def test_impossible_truths_are_refused(values, complaint):
    with pytest.raises(DataError, match=complaint):
        simulate(observation(), values, seed=1)


def test_score_of_the_truth_is_zero_and_of_twice_the_truth_is_one():
    from skyfold.algorithms.richardson_lucy import RichardsonLucy
    from skyfold.model import Model
    from skyfold.result import Result

    values = truth() | {"sky": np.linspace(1, 60, 42).reshape(SHAPE)}
    data = observation(simulate(observation(), values, seed=3))
    demo = Demo("toy", "A toy.", data, values, {"method": "rl"}, 10)

    def judged(factor):
        model = Model.start(data, **{name: factor * v for name, v in values.items()})
        state = RichardsonLucy().start(data, model)
        return score(demo, Result(data, state, [], "test"))

    right, twice = judged(1.0), judged(2.0)
    assert right["nrmse"] == right["flux_error_percent"] == right["background_error_percent"] == 0
    assert twice["nrmse"] == pytest.approx(1)
    assert twice["flux_error_percent"] == pytest.approx(100)
    assert twice["background_error_percent"] == pytest.approx(100)
    assert 0 < right["nrmse_observed"] < 1


def test_score_of_a_whole_sky(sky_result, sky_demo):
    figures = score(sky_demo, sky_result)
    assert "nrmse_observed" not in figures
    assert abs(figures["flux_error_percent"]) < 20
    assert 0.9 < figures["correlation"] < 1
    assert 0 < figures["nrmse"] < 0.5
