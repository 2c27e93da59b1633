import numpy as np
import pytest

import skyfold
from skyfold.registry import default_registry
from skyfold.simulate import score
from skyfold_image import scenes

NAMES = ("galaxy", "chandra-like", "fermi-like", "photo", "point-source")


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_is_a_function_of_its_seed(name):
    make = default_registry().demos[name]
    first, again, other = make(3), make(3), make(4)
    np.testing.assert_array_equal(first.data.full_counts, again.data.full_counts)
    assert np.any(first.data.full_counts != other.data.full_counts)
    assert first.name == first.data.origin.name == name


@pytest.mark.parametrize("name", NAMES)
def test_opening_a_demo_finds_nothing_to_complain_of(name):
    checks = default_registry().demos[name](1).data.origin.checks
    assert [check for check in checks if check.level == "warning"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [1, 2])
def test_restoring_a_demo_comes_nearer_to_the_truth(name, seed):
    demo = default_registry().demos[name](seed)
    options = dict(demo.method)
    result = skyfold.run(demo.data, options.pop("name"), demo.iterations, progress=False, **options)
    found = score(demo, result)
    assert found["nrmse"] < 0.85 * found["nrmse_observed"]
    assert abs(found["flux_error_percent"]) < 10
    assert abs(found.get("background_error_percent", 0.0)) < 10


def test_the_truth_explains_the_counts():
    for name in NAMES:
        demo = default_registry().demos[name](5)
        expected = demo.data.full_expectation(demo.truth)
        chi = (demo.data.full_counts - expected).sum() / np.sqrt(expected.sum())
        assert abs(chi) < 4, name


def test_galaxy_has_about_twenty_thousand_counts():
    assert 15_000 < default_registry().demos["galaxy"](1).data.full_counts.sum() < 25_000


def test_fermi_like_sky_shines_near_known_places_only():
    demo = default_registry().demos["fermi-like"](1)
    mask = demo.data.components["sky"].mask
    assert 0.01 < mask.mean() < 0.1
    assert demo.truth["sky"][~mask].sum() < 0.01 * demo.truth["sky"].sum()
    assert not demo.data.components["background"].fixed


def test_photo_is_whole_data_numbers_with_gain_and_read_noise():
    data = default_registry().demos["photo"](1).data
    variance = data.whole["read noise"].template
    np.testing.assert_allclose(variance, 36)
    numbers = (data.full_counts - variance) / 2.0
    held = data.full_counts > 0
    np.testing.assert_allclose(numbers[held], np.rint(numbers[held]), atol=1e-9)


@pytest.mark.parametrize("profile", [scenes.gauss, scenes.moffat])
def test_profiles_sum_to_one_and_have_the_width_asked_for(profile):
    y, x = np.indices((401, 401)) - 200.0
    image = profile(y, x, 6.0) if profile is scenes.gauss else profile(y, x, 6.0, 3.0)
    assert image.sum() == pytest.approx(1, abs=1e-3)
    assert image[200, 203] == pytest.approx(image[200, 200] / 2)


def test_landscape_is_the_same_scene_at_any_size():
    small, large = (
        scenes.landscape(*np.indices(shape), shape) for shape in ((128, 192), (256, 384))
    )
    assert small.min() >= 0
    assert large.max() <= 1
    blocks = large.reshape(128, 2, 192, 2).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.85
