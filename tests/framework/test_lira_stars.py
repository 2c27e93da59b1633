"""Fluxes of point sources drawn from their posterior, and the errors of a maximum checked by it."""

from __future__ import annotations

import numpy as np
import pytest

import skyfold
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.points import with_points
from skyfold.sources import Sources
from skyfold.uncertainty import scatter
from skyfold.vector import Vector
from skyfold_responses import Psf

KERNEL = np.outer(*[np.exp(-0.5 * (np.arange(-5, 6) / 1.4) ** 2)] * 2)
KERNEL /= KERNEL.sum()
SHAPE = (16, 16)
PLACES = np.array([[4.0, 5.0], [9.3, 10.6], [12.0, 4.4]])
FLUX = np.array([600.0, 400.0, 40.0])


def field(counts=None, weight=None):
    psf = Psf(KERNEL, SHAPE)
    data = BinnedData(
        np.ones(SHAPE) if counts is None else counts,
        {"sky": psf},
        weight,
        components={"sky": Component(Grid(psf.model_shape, field=psf.field))},
    )
    return with_points(data, Sources(("a", "b", "c"), PLACES))


def observed(seed, level):
    data = field()
    truth = {"sky": level(data.components["sky"].geometry.shape), "stars": FLUX}
    expected = data.full_expectation(truth)
    return field(np.random.default_rng(seed).poisson(expected)), expected


def test_over_a_flat_sky_the_posterior_is_as_wide_as_the_counts_tell():
    data, expected = observed(3, lambda shape: np.full(shape, 2.0))
    run = skyfold.run(
        data, "lira", chains=1, draws=300, burn=60, alpha=1e5, origin="fixed", progress=False
    )
    response = data.whole["stars"]
    columns = [response.forward(row).ravel() for row in np.eye(3)]
    columns.append(data.whole["sky"].forward(np.ones(data.whole["sky"].model_shape)).ravel())
    made = np.array(columns)
    bound = np.sqrt(np.diag(np.linalg.inv((made / expected.ravel()) @ made.T)))[:3]
    errors = run.posterior.deviation("stars")
    assert errors == pytest.approx(bound, rel=0.25)
    assert np.all(np.abs(run.model["stars"] - FLUX) < 4 * bound)


def test_what_is_not_seen_is_refused():
    weight = np.ones(SHAPE)
    weight[:, 6:] = 0
    with pytest.raises(DataError, match="can come from star 'c'"):
        skyfold.run(field(np.full(SHAPE, 5), weight), "lira", draws=5, burn=2, progress=False)
    with pytest.raises(ConfigError, match="no background 'stars' is fitted"):
        skyfold.run(field(), "lira", background_error={"stars": 0.1}, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"), [("lira", {"draws": 60, "burn": 30, "chains": 1}), ("lira-mode", {})]
)
def test_a_frame_that_misses_a_star_has_no_flux_of_it(method, options):
    psf, left = Psf(KERNEL, SHAPE), np.ones(SHAPE)
    left[:, 2:] = 0
    sky = {"sky": Component(Grid(psf.model_shape, field=psf.field))}
    counts = np.asarray(observed(3, lambda shape: np.full(shape, 2.0))[0].full_counts)
    frames = [BinnedData(counts, {"sky": psf}, w, components=sky) for w in (None, left, 1 - left)]
    listed = Sources(("a", "b", "c"), PLACES)
    data = with_points(JointData(frames), listed, each=True)
    inside = np.array([True, False, False])
    np.testing.assert_array_equal(data.components["stars 2"].mask, inside)
    run = skyfold.run(data, method, progress=False, **options)
    assert np.all(run.model["stars 2"][~inside] == 0)
    assert np.all(run.model["stars 2"][inside] > 0)
    for name in ("stars 1", "stars 3"):
        assert run.model[name][:2] == pytest.approx(FLUX[:2], rel=0.25)
    if method == "lira":
        np.testing.assert_array_equal(run.posterior.deviation("stars 2") > 0, inside)
        np.testing.assert_array_equal(np.isfinite(run.stars["flux"][3:6]), inside)


@pytest.mark.slow
def test_errors_of_the_maximum_are_those_of_the_posterior():
    data, _ = observed(5, lambda shape: 2 + 3 * np.exp(-((np.indices(shape)[1] - 13) ** 2) / 40))
    best = skyfold.run(data, "two-channel", strength=0.3, smooth="7 pix", progress=False)
    units = [Vector({"stars": row}) for row in np.eye(3)]
    found = scatter(best.state, best.data, best.problem.algorithm.priors, units)
    run = skyfold.run(
        data, "lira", chains=4, draws=3000, burn=800, hyper=(1, 0.02, 1), progress=False
    )
    laplace = np.sqrt(np.diag(found.laplace))
    assert run.posterior.deviation("stars") == pytest.approx(laplace, rel=0.3)
    assert np.all(np.abs(run.model["stars"] - best.model["stars"]) < 0.7 * laplace)
