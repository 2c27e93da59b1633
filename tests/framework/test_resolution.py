"""Skies of finite resolution: their values are light that a blur makes the image of."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from tests.benchmarks.two_channel_solver import with_stars
from tests.framework.test_plucy import least_of_total

import skyfold
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.methods.two_channel import TwoChannel
from skyfold.model import Component, Model
from skyfold.priors.blurs import Confined, Smoothed
from skyfold.resolution import Resolved, image_sensitivity, resolved
from skyfold.sphere import Sphere
from skyfold.stars import star_fwhm
from skyfold.vector import Vector
from skyfold_responses import Psf

KERNEL = np.outer(near := np.array([0.25, 0.5, 0.25]), near)
PLACES = np.array([[1.0, 2.0], [5.4, 3.7]])
FLUX = np.array([400.0, 700.0])
SHAPE = 6, 7
HOLED = np.ones(SHAPE, bool)
HOLED[3:5, 2:4] = False


def seen(seed=3):
    psf = Psf(KERNEL, SHAPE, "same")
    y, x = np.indices(SHAPE)
    below = 4 + 30 * np.exp(-((x - 3) ** 2 + (y - 2) ** 2) / 18)
    mean = psf.forward(below) + psf.points(PLACES).forward(FLUX)
    return with_stars(1.0 * np.random.default_rng(seed).poisson(mean), psf, PLACES)


@pytest.mark.parametrize(
    "component",
    [
        Component(Grid((7, 8))),
        Component(Grid((7, 8)), mask=np.arange(56).reshape(7, 8) % 8 > 2),
        Component(Grid((2, 5, 4))),
        Component(Sphere(2)),
    ],
)
def test_the_blur_is_a_response(component, rng):
    blur = Smoothed(70 * u.deg if isinstance(component.geometry, Sphere) else 3 * u.pix)
    shape = component.geometry.shape
    response = Resolved(replace(component, resolution=Confined(blur, component)))
    values, weights = rng.random(shape), rng.random(shape)
    inside = np.ones(shape) if component.mask is None else component.mask
    image = response.forward(values * inside)
    assert np.all(image * inside == image)
    assert image.sum() == pytest.approx((values * inside).sum(), rel=1e-10)
    adjoint = np.sum(values * response.adjoint(weights))
    assert np.sum(response.forward(values) * weights) == pytest.approx(adjoint, rel=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_it_ends_where_an_independent_optimiser_does(masked):
    data, width = seen(), "2.5 pix"
    if masked:
        data = data.with_components(sky=Component(Grid(SHAPE), mask=HOLED))
    within = resolved(data, Smoothed(u.Quantity(width)))
    total, inside = data.counts.sum(), np.broadcast_to(HOLED if masked else True, SHAPE)
    weights = within.sensitivity["sky"][inside], within.sensitivity["stars"]
    scale = np.concatenate([w.ravel() for w in weights])

    def values(x):
        sky = np.zeros(SHAPE)
        sky[inside] = x[:-2] / scale[:-2]
        return {"sky": sky, "stars": x[-2:] / scale[-2:]}

    def judged(x):
        step = within.e_step(values(x))
        back = np.concatenate([step.back["sky"][inside], step.back["stars"]])
        return -step.log_likelihood, 1 - back / scale

    best = least_of_total(judged, scale.size, total)
    run = skyfold.run(data, "two-channel", 300, resolution=width, progress=False)
    assert run.state.log_likelihood == pytest.approx(-best.fun, abs=5e-2)
    assert run.state.log_likelihood <= -best.fun + 1e-3
    assert run.data.sensitivity.dot(run.state.model) == pytest.approx(total, rel=1e-9)
    np.testing.assert_allclose(run.model["stars"], values(best.x)["stars"], rtol=5e-3)


def test_the_result_is_the_image(tmp_path):
    data, region = seen(), "circle(3, 2, 2.1)"
    run = skyfold.run(data, "two-channel", 60, resolution="4 pix", progress=False)
    light, image = run.state.model["sky"], run.image.value
    np.testing.assert_allclose(image, Grid(SHAPE).smooth(light, 4 * u.pix))
    assert np.abs(np.diff(image)).max() < 0.5 * np.abs(np.diff(light)).max()
    (explained,) = run.explained
    made = data.whole["sky"].forward(image) + data.whole["stars"].forward(run.model["stars"])
    np.testing.assert_allclose(explained.expectation, made, rtol=1e-6)
    y, x = np.indices(SHAPE)
    inside = image[(x - 3) ** 2 + (y - 2) ** 2 < 4.41].sum()
    assert run.flux(region).value == pytest.approx(inside, rel=1e-9)
    errors = run.errors(region, method="bootstrap", replicas=3, progress=False)
    assert errors.table["flux"][0] == pytest.approx(inside)
    mean = errors.maps.mean["sky"]
    assert np.abs(np.diff(mean)).max() < 0.5 * np.abs(np.diff(light)).max()
    assert errors.maps.values.mean() == pytest.approx(
        mean[(x - 3) ** 2 + (y - 2) ** 2 < 4.41].sum(), rel=1e-9
    )
    with fits.open(run.write(tmp_path)) as hdus:
        np.testing.assert_allclose(hdus[0].data, image)
        counted = run.data.sensitivity.only(frozenset(["sky"])).dot(run.state.model)
        assert np.sum(hdus[0].data * hdus["SENSITIVITY"].data) == pytest.approx(counted)


def test_points_stay_points():
    data = seen()
    wide = resolved(data, Smoothed(6 * u.pix))
    assert star_fwhm(wide.whole["sky"]) == pytest.approx(star_fwhm(data.whole["sky"]))
    assert wide.components["sky"].resolution.blur == Smoothed(6 * u.pix)
    assert wide.components["stars"].resolution is None
    np.testing.assert_array_equal(image_sensitivity(wide, "sky"), data.sensitivity["sky"])


def test_several_observations_share_the_sky():
    masks = HOLED, HOLED[::-1]
    pairs = [(seen(seed), mask) for seed, mask in enumerate(masks)]
    parts = [p.with_components(sky=replace(p.components["sky"], mask=m)) for p, m in pairs]
    run = skyfold.run(JointData(parts), "two-channel", 20, resolution="3 pix", progress=False)
    assert run.state.log_likelihood > run.trace[0]["log_likelihood"]
    for part, before in zip(run.data.parts, parts, strict=True):
        made = part.full_expectation(run.state.model)
        np.testing.assert_allclose(made, before.full_expectation(run.model), rtol=1e-6)


def test_images_are_not_negative():
    within = resolved(seen(), Smoothed(2 * u.pix, cyclic=True))
    point = np.zeros(SHAPE)
    point[2, 3] = 1e6
    model = Model.start(within)
    image = model.with_values(Vector({"sky": point})).images["sky"]
    assert np.all(image >= 0)
    assert image.sum() == pytest.approx(1e6)


def test_a_second_resolution_is_refused():
    with pytest.raises(ConfigError, match="sky has a limited resolution already"):
        resolved(resolved(seen(), Smoothed(2 * u.pix)), Smoothed(3 * u.pix))


@pytest.mark.parametrize(
    "more",
    [{"smooth": "3 pix"}, {"strength": 0.1}, {"relative": True}, {"kernel": np.ones((3, 3))}],
)
def test_it_stands_alone(more):
    with pytest.raises(ConfigError, match=f"no place for {next(iter(more))}"):
        TwoChannel(resolution=2 * u.pix, **more).prepare(seen())
