"""Simulated surveys: orbit, skies, background, events and files agree with each other."""

from dataclasses import replace

import healpy
import numpy as np
import pytest

from skyfold.errors import ConfigError, FileError
from skyfold.healpix_table import read as read_map
from skyfold_cosi import container
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.orientation import read_orientation
from skyfold_cosi.response_files import open_response
from skyfold_cosi.simulation.background import Background
from skyfold_cosi.simulation.challenge import draw, simulate_compton
from skyfold_cosi.simulation.densities import background_density, sky_rows
from skyfold_cosi.simulation.events import draw_background
from skyfold_cosi.simulation.orbit import ANGLES, dwell, low_earth_orbit, visible
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey
from skyfold_cosi.unbinned import read_unbinned, within


@pytest.fixture(scope="module")
def survey():
    return Survey(SCENES["511"], low_earth_orbit(1, 120), nside=4, phi_step=10)


@pytest.fixture(scope="module")
def events(survey):
    return draw(survey, 4e4, 8e4, seed=1)


def test_orbit_is_a_frame_that_rocks_and_is_blind_at_times():
    orbit = low_earth_orbit(1, 60)
    assert np.allclose(np.linalg.norm(orbit.z, axis=1), 1)
    assert np.allclose(np.sum(orbit.x * orbit.z, axis=1), 0, atol=1e-12)
    tilt = np.degrees(np.arccos(np.sum(orbit.z * orbit.zenith, axis=1)))
    assert np.allclose(tilt, 22)
    pole = np.cross(orbit.zenith[0], orbit.zenith[10])
    side = np.sign(orbit.z @ pole)
    assert np.count_nonzero(np.diff(side)) == 2  # every 12 hours, the last time at the end
    assert 0.8 < orbit.livetime.sum() / 86400 < 0.97
    revolution = 2 * np.pi / np.arccos(np.sum(orbit.zenith[0] * orbit.zenith[1])) * 60
    assert revolution == pytest.approx(95.2 * 60, rel=0.01)  # 530 km high


def test_earth_hides_what_is_behind_it():
    orbit = low_earth_orbit(0.2, 60)
    time = orbit.time[:-1]
    x, z, zenith, _ = orbit.at(time)
    assert np.allclose(x, orbit.x[:-1])
    assert np.allclose(z, orbit.z[:-1])
    limit = np.pi - np.arcsin(6378 / (6378 + 530))
    for angle, seen in ((limit - 1e-6, True), (limit + 1e-6, False)):
        directions = np.cos(angle) * zenith + np.sin(angle) * orbit.x[:-1]
        assert np.all(visible(orbit, directions, time, zenith) == seen)


def test_dwell_shares_out_the_time_above_the_horizon():
    orbit = low_earth_orbit(1, 120)
    directions = np.eye(3)
    everything = dwell(orbit, directions, np.full(np.count_nonzero(orbit.livetime), 120.0))
    assert np.allclose(everything.sum(axis=1), orbit.livetime.sum())
    seen = dwell(orbit, directions).sum(axis=1) / orbit.livetime.sum()
    assert np.all((seen > 0.5) & (seen < 1))  # the Earth fills a third of the sky


@pytest.mark.parametrize("name", SCENES)
def test_skies_are_normalised_and_drawn_as_they_are(name, rng):
    scene = SCENES[name]
    truth = scene.truth(4)
    assert truth.sum() == pytest.approx(1)
    directions, energies = scene.draw(20_000, rng)
    pixel = healpy.vec2pix(4, *directions.T)
    band = np.searchsorted(scene.energies, energies, "right") - 1
    found = np.zeros(truth.shape)
    np.add.at(found, (pixel, band), 1)
    expected = 20_000 * truth
    enough = expected > 8
    assert np.mean((found - expected)[enough] ** 2 / expected[enough]) < 1.5
    assert found[expected == 0].sum() == 0


def test_varied_skies_keep_their_flux_and_hold_new_sources(rng):
    for scene in (SCENES["511"], SCENES["crab"]):
        varied = scene.varied(rng)
        assert len(varied.points) == len(scene.points) + 3
        assert varied.truth(4).sum() == pytest.approx(1)
        assert 0.1 < np.abs(varied.truth(4) - scene.truth(4)).sum() <= 0.4 + 1e-6


def test_background_fills_its_templates(survey, events, rng):
    background = Background(variation=0.5)
    one = replace(survey, background=background)
    drawn = draw_background(one.telescope, one.orientation, background, one.energies, 100_000, rng)
    expected = one.template(100_000)
    assert expected.total == pytest.approx(100_000)
    assert chi2(one.binned(drawn).dense, expected.dense) < 1.1
    table = by_attitude(one.orientation, 4)
    steady = replace(one, background=Background())
    local = steady.template(100_000, table).dense.sum(axis=0)
    assert chi2(one.binned(drawn, table).dense.sum(axis=0), local) < 1.15


def test_template_does_not_depend_on_what_is_drawn(survey):
    assert np.array_equal(survey.template(10).dense, survey.template(10).dense)


def test_events_of_the_sky_follow_the_galactic_response(survey):
    at_point = replace(SCENES["511"], extended=None, points=((30.0, 20.0, 1.0),), diffuse=0.0)
    fine = Survey(at_point, survey.orientation, nside=16, phi_step=10)
    drawn = draw(fine, 20_000, 0, seed=3)
    pixel = int(np.flatnonzero(at_point.truth(16)[:, 0])[0])
    ring = next(rows for first, rows in fine.response if first == pixel)[0]
    expected = ring.reshape(18, -1) / ring.sum() * len(drawn.time)
    coarse = healpy.ang2pix(4, *healpy.pix2ang(16, np.arange(3072)))
    grouped = np.stack([np.bincount(coarse, row, 192) for row in expected])
    counts = fine.binned(drawn).dense[0, 0]
    found = np.stack([np.bincount(coarse, row, 192) for row in counts])
    assert chi2(found, grouped) < 1.5


def test_events_depend_on_seed_and_purpose(survey):
    first, again, other, apart = (
        draw(survey, 50, 50, *given).energy for given in ((1,), (1,), (2,), (1, "test"))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:50], other[:50])
    assert not np.array_equal(first[:50], apart[:50])


def test_events_keep_the_angle_to_their_source_in_both_frames(events):
    longitude = np.arccos(np.clip(events.local[:, 2], -1, 1))
    other = np.arccos(np.clip(np.sum(events.galactic * events.z, axis=1), -1, 1))
    assert np.allclose(longitude, other, atol=1e-7)


def test_rows_of_events_add_up_to_the_response(survey, rng):
    """Importance sampling: events of a known density, weighted by the rows of the sky."""
    drawn = draw_background(
        survey.telescope, survey.orientation, survey.background, survey.energies, 4000, rng
    )
    inside = (drawn.angle > np.radians(30)) & (drawn.angle < np.radians(120))  # seldom outside
    drawn = drawn[inside]
    rows = sky_rows(
        survey.telescope, survey.orientation, drawn, 4, survey.energies, survey.scene.line
    )
    density = background_density(
        survey.background, survey.telescope, survey.orientation, drawn, survey.energies
    )
    sample = rows / density[:, None] * np.mean(inside)
    share = survey.response.share[0, 0, 3:12].sum()
    sensitivity = survey.response.area[:, 0] * share * 4 * np.pi / 192
    whole = np.column_stack([sample, sample.sum(axis=1)])
    expected = np.append(sensitivity, sensitivity.sum())
    pull = (whole.mean(axis=0) - expected) / (whole.std(axis=0) / np.sqrt(len(whole)))
    assert np.mean(pull**2) < 3
    assert abs(pull[-1]) < 3
    assert whole[:, -1].std() < 2.5 * expected[-1]  # so that this proves something


def test_truth_makes_the_counts_asked_for(survey):
    values = survey.truth(1000.0)
    response = survey.response
    made = np.sum(values * response.area * response.share.sum(axis=(1, 2))) * 4 * np.pi / 192
    assert made == pytest.approx(1000)


def test_response_is_opened_like_a_file(survey):
    file = survey.response.file()
    assert file.frame == "galactic"
    assert np.allclose(
        np.concatenate([rows for _, rows in file.slabs()]),
        survey.response.dense().reshape(survey.response.shape),
    )


def test_command_writes_what_it_says_and_the_same_again(tmp_path):
    options = {"nside": 2, "days": 0.1, "source_counts": 500, "background_counts": 800}
    for name in "ab":
        simulate_compton(tmp_path / name, phi_step=20, seed=7, **options)
    a, b = (container.read(tmp_path / name / "event.h5").dense for name in "ab")
    assert np.array_equal(a, b)
    events = read_unbinned(tmp_path / "a" / "events.fits.gz")
    assert len(events) == a.sum()
    again = read_unbinned(tmp_path / "b" / "events.fits.gz")
    assert np.array_equal(events.energy, again.energy)
    assert np.array_equal(events.distance, again.distance)
    orientation = read_orientation(tmp_path / "a" / "orientation.ori")
    assert np.all(within(orientation.good_times, events.time))
    response = open_response(tmp_path / "a" / "response.h5")
    assert (response.frame, response.unit) == ("galactic", "cm2 s")
    assert open_response(tmp_path / "a" / "detector.h5").frame == "spacecraftframe"
    truth, *_ = read_map(tmp_path / "a" / "truth.fits")
    expected = np.tensordot(truth, response.load().contents, 2) * 4 * np.pi / 48
    assert expected.sum() == pytest.approx(500, rel=1e-5)
    with pytest.raises(FileError, match="not empty"):
        simulate_compton(tmp_path / "a", **options)


def test_challenge_keeps_the_truth_of_its_test_apart(tmp_path):
    simulate_compton(
        tmp_path, nside=2, days=0.1, phi_step=20, source_counts=300, background_counts=300,
        challenge=True,
    )  # fmt: skip
    assert (tmp_path / "train" / "truth.fits").exists()
    assert not (tmp_path / "test" / "truth.fits").exists()
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(lines) == len(files) - 2
    train, test = (read_map(tmp_path / p / "truth.fits")[0] for p in ("train", "truth"))
    assert not np.allclose(train, test)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scene": "511keV"}, "511"), ({"phi_step": 7}, "phi_step"), ({"nside": 3}, "power of two")],
)
def test_impossible_requests_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        simulate_compton(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def chi2(found, expected):
    enough = expected > 8
    return np.mean((found - expected)[enough] ** 2 / expected[enough])


def test_angles_reach_from_the_axis_to_its_antipode():
    assert ANGLES[0] == 0
    assert ANGLES[-1] == pytest.approx(np.pi)
