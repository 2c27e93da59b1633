"""Demos of a Compton telescope: restored sky and background come near the truth."""

import numpy as np
import pytest

import skyfold
from skyfold.simulate import score
from skyfold_cosi.demos import compton, compton_attitude


@pytest.fixture(scope="module", params=[compton, compton_attitude])
def demo(request):
    return request.param(1)


def test_truth_explains_the_counts(demo):
    expected = demo.data.full_expectation(demo.truth)
    counts = demo.data.full_counts
    assert counts.sum() == pytest.approx(2.4e5, rel=0.01)
    expected, counts = (values.reshape(-1, 30).sum(axis=0) for values in (expected, counts))
    assert np.mean((counts - expected) ** 2 / expected) < 2


def test_demo_has_a_sky_in_physical_units_and_a_background_to_fit(demo):
    assert demo.data.components["sky"].unit == "1 / (cm2 s sr)"
    assert not demo.data.components["instrument"].fixed
    assert set(demo.truth) == {"sky", "instrument"}


def test_restoring_comes_near_the_truth(demo):
    options = dict(demo.method)
    result = skyfold.run(demo.data, options.pop("name"), demo.iterations, progress=False, **options)
    found = score(demo, result)
    assert abs(found["flux_error_percent"]) < 15
    assert abs(found["instrument_error_percent"]) < 4
    assert found["nrmse"] < 0.4


def test_flux_is_that_of_the_real_sky(demo):
    truth = demo.truth["sky"]
    if demo.name == "compton":
        assert 1e-3 < truth.sum() * 4 * np.pi / len(truth) < 5e-3  # 1/(cm2 s)
