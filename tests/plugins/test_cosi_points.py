"""Point sources over a diffuse sky, seen by a Compton telescope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import skyfold
from skyfold import points
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.errors import ConfigError, DataError
from skyfold.joint import JointData
from skyfold.points import PointList, with_points
from skyfold.source_files import read_sources
from skyfold.sources import Sources
from skyfold.star_request import Stars
from skyfold_cosi.histogram import Histogram
from skyfold_cosi.opener import open_cosi
from skyfold_cosi.simulation.events import Drawn, draw_background, draw_source, unbinned
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey
from skyfold_cosi.unbinned import write_unbinned

LISTED = Sources(("Crab", "far"), np.array([[184.56, -5.78], [90.0, 40.0]]), frame="galactic")
COUNTS = np.array([3000.0, 1500.0])
DIFFUSE, BACKGROUND = 2e4, 4e4


@pytest.fixture(scope="module")
def survey():
    return Survey(SCENES["511"], low_earth_orbit(10, 900), nside=4, phi_step=10)


@pytest.fixture(scope="module")
def blank(survey):
    template = survey.template(BACKGROUND)
    nothing = Histogram(template.axes, np.zeros(template.shape))
    response = Histogram(survey.response.axes, survey.response.dense(), "cm2 s")
    data = open_cosi(nothing, response, background={"instrument": template})
    return data.with_counts(np.ones(data.shape))


@pytest.fixture(scope="module")
def truth(blank, survey):
    seen = with_points(blank, LISTED).sensitivity["stars"]
    stars = COUNTS[:, None] / seen
    return {"sky": survey.truth(DIFFUSE), "instrument": np.ones(1), "stars": stars}


def observed(blank, truth, seed=1):
    expected = with_points(blank, LISTED).full_expectation(truth)
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    return with_points(blank.with_counts(counts), LISTED)


def bound(data, truth):
    """Return the least errors of the sources, in counts, if the shape of the sky was known."""
    columns = [data.whole["stars"].forward(row[:, None]).ravel() for row in np.eye(2)]
    columns += [data.whole[name].forward(truth[name]).ravel() for name in ("sky", "instrument")]
    made = np.array(columns)
    expected = np.maximum(data.full_expectation(truth).ravel(), 1e-12)
    errors = np.sqrt(np.diag(np.linalg.inv((made / expected) @ made.T)))[:2]
    return errors * data.sensitivity["stars"].ravel()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rl", {"iterations": 60}),
        ("map", {"prior": {"gamma": {"k": 0.5}}, "iterations": 60}),
        ("two-channel", {"smooth": "30 deg", "strength": 0.1}),
        ("lira", {"chains": 1, "draws": 150, "burn": 100, "hyper": (1, 0.02, 1)}),
    ],
)
def test_sources_are_found_by_every_method(blank, truth, method, options):
    data = observed(blank, truth)
    run = skyfold.run(data, method, progress=False, stop={}, **options)
    found = (run.model["stars"] * data.sensitivity["stars"]).ravel()
    error = bound(data, truth)
    assert np.all(np.abs(found - COUNTS) < 6 * error), (found, error)
    assert run.model["instrument"] == pytest.approx(1, abs=0.05)


def test_positions_in_either_frame_are_the_same_places(blank, tmp_path):
    (tmp_path / "galactic.csv").write_text("name,l,b\nCrab,184.5575,-5.7844\n")
    (tmp_path / "equatorial.csv").write_text("name,ra,dec\nCrab,83.6331,22.0145\n")
    places = []
    for name in ("galactic", "equatorial"):
        data = with_points(blank, read_sources(tmp_path / f"{name}.csv"))
        geometry = data.components["stars"].geometry
        assert isinstance(geometry, PointList)
        places.append(geometry.places)
    np.testing.assert_allclose(places[0], places[1], atol=1e-3)
    assert data.components["stars"].unit in ("1 / (s cm2)", "1 / (cm2 s)")


def test_what_is_refused(blank, truth):
    with pytest.raises(DataError, match="no pixel coordinates"):
        with_points(blank, replace(LISTED, frame=""))
    data = observed(blank, truth)
    listed = {"list": "none", "free": True}
    with pytest.raises(ConfigError, match="stay where they are listed"):
        Stars(**listed).loop(RichardsonLucy(), data)


def test_observations_share_sources_or_not(blank, truth):
    counts = [observed(blank, truth, seed).full_counts for seed in (1, 2)]
    both = JointData([blank.with_counts(c).with_origin(name=str(i)) for i, c in enumerate(counts)])
    shared = with_points(both, LISTED)
    each = with_points(both, LISTED, each=True)
    assert set(each.components) == {"instrument", "sky", "stars 1", "stars 2"}
    run = skyfold.run(shared, "two-channel", smooth="30 deg", strength=0.1, progress=False)
    found = (run.model["stars"] * shared.sensitivity["stars"]).ravel() / 2
    assert np.all(np.abs(found - COUNTS) < 6 * bound(observed(blank, truth), truth) / np.sqrt(2))


def test_columns_of_all_bins_are_held_only_where_they_are_small(blank, truth, monkeypatch):
    data = observed(blank, truth)
    whole = data.full_expectation(truth)
    weights = np.random.default_rng(0).random(data.shape)
    back = data.whole["stars"].adjoint(weights)
    monkeypatch.setattr(points, "MOST_HELD", 10)
    lean = observed(blank, truth)
    np.testing.assert_allclose(lean.full_expectation(truth), whole, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(lean.whole["stars"].adjoint(weights), back, rtol=1e-6)
    assert "_matrix" not in vars(lean.whole["stars"])


def test_event_lists_agree_with_bins(survey, tmp_path):
    rng = np.random.default_rng(3)
    scene = replace(survey.scene, points=((184.56, -5.78, 1.0),), diffuse=0.5)
    telescope, orbit = survey.telescope, survey.orientation
    source = draw_source(telescope, orbit, scene, 3000, rng)
    noise = draw_background(telescope, orbit, survey.background, survey.energies, 3000, rng)
    write_unbinned(tmp_path / "events.h5", unbinned(Drawn.joined(source, noise), rng))
    response = Histogram(survey.response.axes, survey.response.dense(), "cm2 s")
    template = Histogram(survey.axes[1:], survey.template(3000).dense[0])
    listed = Sources(("Crab",), LISTED.places[:1], frame="galactic")
    found = []
    for one_by_one in (False, True):
        data = open_cosi(
            tmp_path / "events.h5", response, background=template, list_mode=one_by_one
        )
        data = with_points(data, listed)
        run = skyfold.run(data, "two-channel", smooth="30 deg", strength=0.1, progress=False)
        found.append(float((run.model["stars"] * data.sensitivity["stars"])[0, 0]))
    assert found[0] == pytest.approx(1500, rel=0.25)
    assert found[1] == pytest.approx(found[0], rel=0.1)
