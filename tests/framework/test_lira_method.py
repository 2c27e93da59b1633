from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

import skyfold
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, FileError
from skyfold.geometry import Grid, Normalisations
from skyfold.likelihood import Damped
from skyfold.matrices import Matrix
from skyfold.model import Component
from skyfold.runfolder import reopen

SHORT = {"method": "lira", "chains": 1, "draws": 300, "burn": 50, "progress": False}


def image(seed=0, shape=(9, 7), **options):
    counts = np.random.default_rng(seed).poisson(np.full(shape, 4.0)).astype(float)
    return skyfold.read(counts, psf="gauss:1.5 pix", **options)


def with_star(star, **component):
    """A sky of 4 x 4 pixels, and a star that alone is seen by one more bin."""
    rows = np.vstack([np.eye(16), np.zeros((1, 16))])
    template = np.append(np.zeros(16), 1.0)
    counts = np.append(np.full(16, 5.0), star)
    return BinnedData(
        counts,
        {"sky": Matrix(rows, (4, 4)), "star": template},
        components={
            "sky": Component(Grid((4, 4))),
            "star": Component(Normalisations(), **component),
        },
    )


def test_a_factor_of_any_size_is_left_as_the_counts_have_it():
    result = skyfold.run(with_star(1000.0), **SHORT)
    assert result.model["star"][0] == pytest.approx(1000, rel=0.01)
    stated = skyfold.run(with_star(1000.0), background_error=0.5, **SHORT)
    assert stated.model["star"][0] < 900, "what is stated counts"


def test_bounds_of_a_factor_hold():
    result = skyfold.run(with_star(30.0, bounds=(0.9, 25.0)), **SHORT)
    drawn = result.posterior.parameter("star")
    assert drawn.min() >= 0.9
    assert drawn.max() <= 25
    assert drawn.mean() > 20


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda d: d.with_likelihood(Damped(2.0)), {}, "judged by Damped"),
        (
            lambda d: d.with_components(sky=replace(d.components["sky"], bounds=(0.0, 5.0))),
            {},
            "'sky': a multi-scale law has no bounds",
        ),
        (lambda d: d, {"background_error": {"bb": 0.1}}, "no background 'bb' is fitted"),
        (lambda d: d, {"published": True, "origin": "fixed"}, "leave out origin fixed"),
        (lambda d: d, {"smoothing": {"fwhm": "2 pix"}}, "'smoothing' treats the steps"),
        (lambda d: d, {"template": np.ones((3, 3))}, "template has shape (3, 3)"),
        (lambda d: d, {"alpha": (1.0, 2.0)}, "alpha"),
        (lambda d: d, {"psf_components": 2}, "give psf_library"),
        (lambda d: d, {"half_cauchy": 1.0, "alpha": 0.1}, "give one"),
        (lambda d: d, {"half_cauchy": 1.0, "hyper": (1, 0.02, 1)}, "hyper and half_cauchy"),
        (lambda d: d, {"alpha": 0.1, "hyper": (1, 0.02, 1)}, "alpha keeps them"),
        (lambda d: d, {"background_error": 0.1}, "no background is fitted"),
        (lambda d: d, {"thin": 301}, "thin 301 keeps no image of 300 draws"),
        (lambda d: d, {"origin": "anywhere"}, "origin"),
    ],
)
def test_what_cannot_be_done_is_said(change, options, says):
    with pytest.raises(ConfigError) as error:
        skyfold.run(change(image()), **SHORT, **options)
    assert says in str(error.value)


def test_an_option_comes_before_a_refinement_of_its_name(tmp_path):
    """The plugin of COSI brings a refinement that is called published, too."""
    options = {**SHORT, "draws": 5, "burn": 2, "published": True}
    result = skyfold.run(image(shape=(8, 8)), output=tmp_path / "run", **options)
    again = skyfold.open(tmp_path / "run", data=image(shape=(8, 8)))
    assert again.problem.config.method["published"] is True
    usual = skyfold.run(image(shape=(8, 8)), **{**options, "published": False})
    assert not np.array_equal(result.state.draws["sky"], usual.state.draws["sky"])


def test_a_run_ends_with_the_iteration_asked_for():
    result = skyfold.run(image(), **SHORT, iterations=63)
    assert result.state.iteration == 63


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), deepcopy])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hyper": (1, 0.02, 1), "chains": 2, "rungs": 2},
        {"template": 1 + np.arange(63.0).reshape(9, 7), "origin": "random"},
        {"psf_library": np.array([np.eye(5), np.eye(5)[::-1]])},
    ],
)
def test_a_result_goes_on_in_another_process(options, copied):
    result = skyfold.run(image(), **{**SHORT, "draws": 30, **options})
    whole = result.problem.algorithm, result.state, result.data
    algorithm, state, data = copied(whole)
    expected, found = whole[0].step(*whole[1:]), algorithm.step(state, data)
    np.testing.assert_array_equal(found.draws["sky"], expected.draws["sky"])


def test_mixed_stands_for_its_defaults():
    result = skyfold.run(image(), **{**SHORT, "chains": 2, "draws": 200}, stop={"mixed": True})
    assert any("r_hat" in row for row in result.trace)


def test_a_single_pixel_is_an_image_too():
    data = BinnedData(
        np.array([7.0]),
        {"sky": Matrix(np.array([[1.0]]), (1, 1))},
        components={"sky": Component(Grid((1, 1)))},
    )
    result = skyfold.run(data, **SHORT)
    assert result.model["sky"][0, 0] == pytest.approx(8, rel=0.15)


def test_lost_images_are_named(tmp_path):
    skyfold.run(image(), output=tmp_path / "run", **SHORT)
    path = tmp_path / "run" / "samples.f32"
    path.write_bytes(path.read_bytes()[:100])
    counts = image()
    with pytest.raises(FileError, match=r"samples.f32 holds 100 bytes, but the images"):
        reopen(tmp_path / "run", counts)


def test_origins_are_spread_and_shared():
    result = skyfold.run(image(), **{**SHORT, "chains": 4, "draws": 20, "burn": 5})
    origins = result.state.unknowns["sky"]["origin"]
    np.testing.assert_array_equal(origins[0], origins[1])
    assert not np.array_equal(origins[0], origins[2])
    fixed = skyfold.run(image(), origin="fixed", **{**SHORT, "chains": 2, "draws": 20})
    assert not np.any(fixed.state.unknowns["sky"]["origin"])
