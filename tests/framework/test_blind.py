"""Blind restoration: a PSF wrong in width, recovered from stars; what cannot be told is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold import checkpoint
from skyfold.algorithms.blind import Blind
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.points import with_points
from skyfold.profiles import Profile, balanced, centroid, fwhm_of, mirrored, stretched
from skyfold.report.verdict import doubts
from skyfold.sources import Sources
from skyfold.stars import find_stars
from skyfold_responses import Psf

FWHM, BETA = 5.0, 3.0


def moffat(shape, fwhm, centre=None, total=1.0):
    """Return a Moffat profile integrated over pixels, with all its light on a wide frame."""
    middle = tuple((n - 1) / 2 for n in shape) if centre is None else centre
    everywhere = np.ones(shape, bool)
    profile = Profile("moffat", shape, middle, total, True, everywhere)
    return profile.kernel(np.log([fwhm, BETA - 1]))


def star_field(seed, size=96, stars=20, *, level=20.0, extended=0.0, scale=1.0, fluxes=(3.0, 5.0)):
    """Return counts of stars anywhere between the pixels, on a level and on extended emission."""
    rng = np.random.default_rng(seed)
    wide = moffat((201, 201), FWHM, total=1.0)
    peak, mean = wide[100, 100], np.full((size, size), level)
    y, x = np.indices(mean.shape)
    places = rng.uniform(6, size - 7, (stars, 2))
    if extended:
        places = rng.uniform(0.35 * size, 0.65 * size, (stars, 2))
        far = np.hypot(y - size / 2, x - size / 2)
        mean = mean + extended * np.exp(-0.5 * (far / scale) ** 2)
    for place, flux in zip(places, 10 ** rng.uniform(*fluxes, stars), strict=True):
        own = moffat(mean.shape, FWHM, tuple(place))
        on_grid = moffat(mean.shape, FWHM, tuple(np.rint(place)))
        mean = mean + flux * own * (peak / on_grid.max())
    return rng.poisson(mean).astype(float)


def opened(counts, fwhm, level=None):
    """Return the counts as data seen through a round Moffat PSF, over a known level."""
    responses = {"sky": Psf(moffat((25, 25), fwhm), counts.shape)}
    if level is None:
        return BinnedData(counts, responses)
    background = Component(skyfold.geometry.Normalisations(), fixed=True)
    responses["background"] = np.full(counts.shape, level)
    return BinnedData(counts, responses, components={"background": background})


def restored(data, iterations=4, **options):
    return skyfold.run(data, "blind", iterations, progress=False, **options)


@pytest.fixture(scope="module")
def field():
    """A field of 20 stars, restored from a PSF that is 20 % too wide."""
    return restored(opened(star_field(1), 1.2 * FWHM))


def test_a_psf_too_wide_by_a_fifth_is_recovered(field):
    psf = field.manifest["results"]["psf"]
    assert psf["fwhm_start"] == pytest.approx(1.2 * FWHM, rel=1e-3)
    assert psf["fwhm"] == pytest.approx(FWHM, rel=0.05)
    kernel = field.state.parameters["sky"]
    assert fwhm_of(kernel) == pytest.approx(FWHM, rel=0.05)
    assert field.trace[-1]["psf_fwhm"] == psf["fwhm"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("wrong", [0.8, 1.2])
@pytest.mark.parametrize(("shape", "level"), [("moffat", None), ("moffat", 20.0), ("pixels", None)])
def test_wherever_the_stars_are(seed, wrong, shape, level):
    result = restored(opened(star_field(seed), wrong * FWHM, level), 15, shape=shape)
    assert result.manifest["results"]["psf"]["fwhm"] == pytest.approx(FWHM, rel=0.05)
    assert not any("Ambiguous" in doubt for doubt in result.doubts)


def test_stars_on_a_plain_level_leave_no_doubt_of_the_width(field):
    assert field.manifest["results"]["psf"]["told"] > 10
    assert not any("PSF" in doubt for doubt in field.doubts)


@pytest.mark.parametrize(("scale", "wrong"), [(4.0, 0.8), (9.0, 1.2)])
def test_stars_alone_on_extended_emission_are_reported(scale, wrong):
    counts = star_field(3, 64, 3, level=1.0, extended=80.0, scale=scale, fluxes=(3.0, 3.2))
    result = restored(opened(counts, wrong * FWHM), 4)
    assert any("Ambiguous" in doubt for doubt in result.doubts)


def test_a_sky_free_to_be_anything_is_doubted():
    result = restored(opened(star_field(1, 64, 8), FWHM), 2, sky="free")
    assert any("free to be anything" in doubt for doubt in result.doubts)


def test_a_psf_gone_astray_is_doubted():
    psf = {"fwhm_start": 4.0, "fwhm": 7.0, "told": 30.0, "sky_in_use": 0.01}
    assert any("from 4 to 7 pixels" in d for d in doubts({"results": {"psf": psf}}))


@pytest.mark.parametrize("shape", ["moffat", "gaussian", "pixels"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), wrong=st.floats(0.6, 1.6), level=st.sampled_from([0.5, 20.0]))
def test_the_likelihood_never_falls_and_the_kernel_keeps_sum_and_centroid(
    shape, seed, wrong, level
):
    rng = np.random.default_rng(seed)
    sky = rng.gamma(0.1, 50, (28, 28))
    counts = rng.poisson(Psf(moffat((9, 9), 3.0), (28, 28), "same").forward(sky) + level)
    skew = moffat((9, 9), 3.0 * wrong, (4.3, 3.9), total=0.8)
    data = BinnedData(counts, {"sky": Psf(skew, (28, 28), "same"), "level": np.ones((28, 28))})
    loop = Blind(shape=shape, laps=2)
    states = loop.iterate(data, loop.start(data, Model.start(data)))
    before = next(states)
    first = before.parameters["sky"]
    for _ in range(4):
        after = next(states)
        kernel = after.parameters["sky"]
        assert after.log_likelihood >= before.log_likelihood - 1e-9 * abs(before.log_likelihood)
        assert np.all(kernel >= 0)
        assert kernel.sum() == pytest.approx(0.8)
        tolerance = 1e-9 if shape == "pixels" else 0.1  # the wings of a profile are cut off
        assert centroid(kernel) == pytest.approx(centroid(first), abs=tolerance)
        seen = data.at(after.parameters).forward(after.model)
        assert np.allclose(seen.observed, after.expectation.observed, rtol=1e-6, atol=1e-9)
        before = after


@pytest.mark.parametrize("shape", ["moffat", "pixels"])
def test_a_resumed_run_is_bit_identical(tmp_path, shape):
    data, loop = opened(star_field(2, 48, 6), 1.1 * FWHM, 20.0), Blind(shape=shape, laps=2)
    states = loop.iterate(data, loop.start(data, Model.start(data)))
    through = [next(states) for _ in range(5)]
    checkpoint.save(tmp_path / "c.npz", through[2], [])
    state, _ = checkpoint.load(tmp_path / "c.npz", through[0])
    for expected in through[3:]:
        state = loop.step(state, data)
        assert state.log_likelihood == expected.log_likelihood
        assert np.array_equal(state.parameters["sky"], expected.parameters["sky"])
        assert np.array_equal(state.profile, expected.profile)
        assert state.start_fwhm == expected.start_fwhm


def test_result_and_residuals_are_those_of_the_restored_psf(field):
    expected = field.data.parts[0].full_expectation(field.model)
    assert np.allclose(expected, field.explained[0].expectation)
    assert expected.sum() == pytest.approx(field.state.expectation.total, rel=1e-6)
    hdus = field.to_fits()
    assert np.array_equal(hdus["PSF"].data, field.state.parameters["sky"])


def test_profiles_before_and_after_show_what_changed(field):
    psf = field.manifest["results"]["psf"]
    assert psf["radius"] == [float(i) for i in range(13)]
    assert psf["restored"][0] == pytest.approx(field.state.parameters["sky"].max())
    assert psf["given"][0] < 0.8 * psf["restored"][0]
    assert psf["given"][6] > psf["restored"][6]


def test_the_support_holds_the_kernel():
    data = opened(star_field(2, 48, 6), FWHM, 20.0)
    for shape in ("moffat", "pixels"):
        loop = Blind(shape=shape, support=6.0, laps=1)
        state = loop.step(loop.start(data, Model.start(data)), data)
        y, x = np.indices((25, 25)) - 12
        assert np.all(state.parameters["sky"][np.hypot(y, x) > 6.0] == 0)


def test_round_pixels_stay_equal_under_reflections():
    data = opened(star_field(2, 48, 6), FWHM, 20.0)
    loop = Blind(shape="pixels", round=True, laps=1)
    kernel = loop.step(loop.start(data, Model.start(data)), data).parameters["sky"]
    for other in (kernel[::-1], kernel[:, ::-1], kernel.T):
        assert np.allclose(kernel, other, rtol=0, atol=1e-12)


def test_stars_are_found_where_they_are():
    rng = np.random.default_rng(4)
    psf = Psf(moffat((25, 25), FWHM), (64, 64))
    top, left = (part.start for part in psf.field)
    sky, places = np.zeros(psf.model_shape), [(12, 15), (30, 50), (50, 20), (45, 40)]
    for (y, x), flux in zip(places, (3e3, 1e5, 2e4, 1e4), strict=True):
        sky[top + y, left + x] = flux
    counts = rng.poisson(psf.forward(sky) + 10)
    for wrong in (0.85, 1.2):
        found = find_stars(opened(counts, wrong * FWHM, 10.0), "sky", 2.0)
        assert all(found[top + y, left + x] for y, x in places)
        assert np.count_nonzero(found) == 4 * len(places)


def test_a_pair_is_divided():
    psf = Psf(moffat((25, 25), FWHM), (48, 48))
    sky = np.zeros(psf.model_shape)
    sky[36, 32], sky[36, 39] = 5e4, 3e4
    counts = np.random.default_rng(5).poisson(psf.forward(sky) + 10)
    found = find_stars(opened(counts, FWHM, 10.0), "sky", 0.3)
    assert found[35:38, 30:35].any()
    assert found[35:38, 38:41].any()
    assert not found[:, 35:38].any()


def test_refused_in_words():
    psf = moffat((9, 9), 3.0)
    with pytest.raises(DataError, match="no star stands out"):
        restored(opened(np.random.default_rng(0).poisson(5.0, (40, 40)), 3.0), 1)
    with pytest.raises(ConfigError, match="a PSF"):
        restored(BinnedData(np.ones(4), {"sky": Matrix(np.eye(4))}), 1)
    listed = with_points(
        BinnedData(np.ones((12, 12)), {"sky": Psf(psf, (12, 12))}),
        Sources(("a",), np.array([[5.0, 6.0]])),
    )
    for sky in ("stars", "free"):
        with pytest.raises(ConfigError, match="takes no list of stars"):
            skyfold.run(listed, "blind", sky=sky, progress=False)
    cube = BinnedData(np.ones((2, 12, 12)), {"sky": Psf(np.stack([psf, psf]), (2, 12, 12))})
    with pytest.raises(ConfigError, match="free pixels"):
        Blind().start(cube, Model.start(cube))
    even = BinnedData(np.ones((12, 12)), {"sky": Psf(np.ones((4, 4)) / 16, (12, 12))})
    with pytest.raises(ConfigError, match="odd number"):
        Blind(shape="pixels", round=True).start(even, Model.start(even))


@settings(max_examples=12, deadline=None)
@given(st.floats(1.0, 8.0), st.floats(1.3, 6.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_profile_is_found_again(fwhm, beta, along, across):
    profile = Profile("moffat", (31, 31), (15.0, 15.0), 1.0, False, np.ones((31, 31), bool))
    numbers = np.array([np.log(fwhm), np.log(beta - 1), along, across])
    kernel = profile.kernel(numbers)
    assert kernel.sum() == pytest.approx(1.0)
    assert np.allclose(
        profile.kernel(profile.fit(kernel)), kernel, rtol=0, atol=1e-5 * kernel.max()
    )


def test_slopes_of_a_profile():
    profile = Profile("moffat", (9, 11), (4.2, 5.0), 2.0, False, np.ones((9, 11), bool))
    numbers, step = np.array([1.0, 0.5, 0.1, -0.2]), np.array([1e-3, -2e-3, 1e-3, 2e-3])
    change = profile.kernel(numbers + step) - profile.kernel(numbers - step)
    assert np.allclose(2 * np.tensordot(step, profile.slopes(numbers), 1), change, atol=1e-6)
    assert profile.slopes(numbers).sum(axis=(1, 2)) == pytest.approx(0, abs=1e-9)


def test_widths():
    kernel = moffat((41, 41), 4.0)
    assert fwhm_of(kernel) == pytest.approx(4.0, rel=1e-3)
    wide = stretched(kernel, 1.25)
    assert fwhm_of(wide) == pytest.approx(5.0, rel=0.02)
    assert wide.sum() == pytest.approx(1.0)
    assert centroid(wide) == pytest.approx(centroid(kernel), abs=1e-6)
    line = Profile("gaussian", (21,), (10.0,), 1.0, True, np.ones(21, bool))
    assert np.exp(line.fit(line.kernel(np.log([3.0])))[0]) == pytest.approx(3.0)


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from([(7,), (6, 7), (9, 9), (2, 5, 5)]), seed=st.integers(0, 1000))
def test_a_kernel_put_back_to_sum_and_centroid(shape, seed):
    rng = np.random.default_rng(seed)
    like, kernel = rng.random(shape), rng.random(shape)
    balance = balanced(kernel, like)
    assert np.all(balance >= 0)
    planes = [(balance, like)] if len(shape) < 3 else list(zip(balance, like, strict=True))
    for one, other in planes:
        assert one.sum() == pytest.approx(other.sum())
        assert centroid(one) == pytest.approx(centroid(other), abs=1e-8)


def test_mirrored_keeps_the_sum(rng):
    kernel = rng.random((3, 5, 5))
    assert mirrored(kernel).sum() == pytest.approx(kernel.sum())
    assert np.allclose(mirrored(kernel), np.swapaxes(mirrored(kernel), 1, 2))


def test_a_component_may_be_restored_again_with_the_psf_found(field):
    whole = field.data.parts[0]
    free = whole.with_components(sky=replace(whole.components["sky"], mask=None))
    assert np.array_equal(free.parameters["sky"], field.state.parameters["sky"])
    again = skyfold.run(free, "rl", 3, progress=False)
    assert again.state.log_likelihood > again.trace[0]["log_likelihood"]
