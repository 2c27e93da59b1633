from dataclasses import replace

import numpy as np
import pytest

import skyfold
from skyfold.errors import ConfigError, DataError
from skyfold.report.verdict import verdict
from skyfold_cosi.binning import bin_events
from skyfold_cosi.conversion import conversion_histogram
from skyfold_cosi.exposure import by_attitude, by_time
from skyfold_cosi.galactic import Detector, galactic_response
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.opener import open_cosi
from skyfold_cosi.orientation import write_orientation
from skyfold_cosi.simulation.events import draw_source, unbinned
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.telescope import Telescope
from skyfold_cosi.unbinned import read_unbinned, write_unbinned

ENERGY = np.array([100.0, 300.0, 900.0])
PHI = np.linspace(0, 180, 7)


def measured(frame="galactic", energy=ENERGY):
    return (
        Axis("Em", energy, "keV"),
        Axis("Phi", PHI, "deg"),
        Axis.healpix("PsiChi", 1, frame),
    )


def response(frame="galactic", energy=ENERGY):
    axes = (
        Axis.healpix("NuLambda", 1, frame),
        Axis("Ei", energy, "keV", "log"),
        *measured(frame, energy),
    )
    shape = tuple(axis.size for axis in axes)
    numbers = np.random.default_rng(1).uniform(0.5, 1.5, shape) ** 4
    return Histogram(axes, numbers, "cm2 s" if frame == "galactic" else "cm2")


def background(level=2.0, axes=None):
    axes = axes or measured()
    shape = tuple(axis.size for axis in axes)
    return Histogram(axes, level * np.random.default_rng(3).uniform(0.5, 1.5, shape))


@pytest.fixture
def counts():
    """Counts of a sky of 0.2 in every pixel and of the background."""
    blank = open_cosi(background(0.0), response(), background=background())
    expected = blank.full_expectation({"sky": np.full((12, 2), 0.2), "background": np.ones(1)})
    return Histogram(measured(), np.random.default_rng(4).poisson(expected).astype(float))


def test_what_was_opened_is_told(counts):
    data = open_cosi(counts, response(), background=background())
    told = {check.subject: check.message for check in data.checks}
    assert f"{counts.total:.10g} counts" in told["event"]
    assert "% of those observed" in told["background"]
    assert "need" in told["memory"]
    assert data.components["sky"].geometry.shape == (12, 2)
    assert data.components["sky"].unit == "1 / (cm2 s sr)"


def test_the_sky_of_the_simulation_is_found(counts):
    run = skyfold.run(
        open_cosi(counts, response(), background=background()), iterations=60, progress=False
    )
    assert run.image.value.mean() == pytest.approx(0.2, rel=0.2)
    assert run.normalisations["background"] == pytest.approx(1, abs=0.5)


def test_whole_skies_are_restored_by_guarded_accelerated_steps_unless_told(counts):
    data = open_cosi(counts, response(), background=background())
    fast = skyfold.run(data, progress=False)
    assert fast.state.iteration == 100
    assert max(row.get("acceleration", 0) for row in fast.trace) > 1
    assert np.all(np.diff([row["log_likelihood"] for row in fast.trace]) > -1e-6)
    assert "acceleration" not in skyfold.run(data, "rl", 3, progress=False).trace[-1]
    published = open_cosi(counts, response(), background=background(), reference=True)
    assert "acceleration" not in skyfold.run(published, iterations=3, progress=False).trace[-1]


def test_reference_adds_the_published_offset(counts):
    data = open_cosi(counts, response(), background=background(), reference=True)
    assert data.components["almost_zero"].fixed
    plain = open_cosi(counts, response(), background=background())
    values = {"sky": np.zeros((12, 2)), "background": np.zeros(1)}
    assert plain.full_expectation(values).max() == 0
    offset = data.full_expectation({**values, "almost_zero": np.ones(1)})
    np.testing.assert_allclose(offset, 1e-12)


def test_storages_agree(counts):
    runs = [
        skyfold.run(
            open_cosi(counts, response(), background=background(), storage=storage),
            iterations=20,
            progress=False,
        ).image.value
        for storage in ("float64", "float32", "uint16")
    ]
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-5)
    np.testing.assert_allclose(runs[2], runs[0], rtol=2e-3)


def test_normalisations_by_energy():
    truth, template = np.array([0.5, 2.0]), background(30.0)
    expected = template.dense * truth[:, None, None]
    found = Histogram(measured(), np.random.default_rng(5).poisson(expected).astype(float))
    data = open_cosi(found, response(), background=template, background_per="energy", start=1e-9)
    run = skyfold.run(data, iterations=20, progress=False)
    np.testing.assert_allclose(
        list(run.normalisations.values()), truth, rtol=0.1
    )  # one for each energy


def test_normalisations_by_time():
    times = Axis("Time", np.array([0.0, 10, 20]), "s")
    axes = (times, *measured("spacecraftframe"))
    template, truth = background(20.0, axes), np.array([0.5, 2.0])
    expected = template.dense * truth[:, None, None, None]
    found = Histogram(axes, np.random.default_rng(5).poisson(expected).astype(float))
    seconds = np.random.default_rng(6).uniform(0, 1e-6, (2, 12, 12))
    sky, local = Axis.healpix("lb", 1), Axis.healpix("NuLambda", 1, "spacecraftframe")
    conversion = Histogram((times, sky, local), seconds, "s")
    data = open_cosi(
        found,
        response("spacecraftframe"),
        background=template,
        conversion=conversion,
        background_per="time",
        start=1e-9,
    )
    run = skyfold.run(data, iterations=10, progress=False)
    np.testing.assert_allclose(list(run.normalisations.values()), truth, rtol=0.1)


def test_normalisations_keep_to_their_range(counts):
    data = open_cosi(
        counts, response(), background={"b": background(0.1)}, background_range={"b": (0.9, 1.1)}
    )
    run = skyfold.run(data, iterations=20, progress=False)
    assert all(0.9 <= row["b"] <= 1.1 for row in run.trace)
    fixed = open_cosi(counts, response(), background=background(), fit_background=False)
    run = skyfold.run(fixed, iterations=3, progress=False)
    assert run.normalisations["background"] == 1


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (0.5, np.full((12, 2), 0.5)),
        ([0.5, 0.25], np.tile([0.5, 0.25], (12, 1))),
        (Histogram((Axis.healpix("lb", 1), Axis("Ei", ENERGY, "keV")), np.ones((12, 2))), 1.0),
    ],
)
def test_starts(counts, start, expected):
    data = open_cosi(counts, response(), start=start)
    np.testing.assert_allclose(skyfold.Model.start(data)["sky"], expected)


def test_start_from_a_shape(counts):
    shape = {"shape": "gaussian", "lon": 0.0, "lat": 0.0, "sigma": 20.0, "flux": 3.0}
    values = skyfold.Model.start(open_cosi(counts, response(), start=shape))["sky"]
    np.testing.assert_allclose(values.sum(axis=0) * 4 * np.pi / 12, 3.0)


def test_start_from_the_counts(counts):
    data = open_cosi(counts, response(), start="backprojection")
    start = skyfold.Model.start(data)
    assert data.forward(start).total == pytest.approx(counts.total)
    assert np.all(start["sky"] > 0)
    assert np.ptp(start["sky"]) > 0


def test_a_mask_keeps_the_sky_dark(counts):
    on = np.zeros((12, 2))
    on[4:8] = 1
    axes = (Axis.healpix("lb", 1), Axis("Ei", ENERGY, "keV"))
    data = open_cosi(counts, response(), background=background(), sky_mask=Histogram(axes, on))
    image = skyfold.run(data, iterations=5, progress=False).image.value
    assert np.all(image[:4] == 0)
    assert np.all(image[4:8] > 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"background": {"sky": background()}}, "cannot be called 'sky'"),
        (
            {"background": background(), "background_range": {"c": (0, 1)}},
            "background_range names c",
        ),
        ({"background": background(), "background_range": (2.0, 1.0)}, "is no range"),
        ({"background": background(), "background_per": "time"}, "no axis Time or ScAtt"),
        ({"start": [1.0, 2.0, 3.0]}, "3 values for 2 energies"),
        ({"start": {"shape": "square"}}, "square"),
        ({"conversion": background()}, "belong to a response in the detector frame"),
        ({"list_mode": True}, "needs a file of events"),
    ],
)
def test_contradictions_are_refused(counts, options, says):
    with pytest.raises(ConfigError, match=says):
        open_cosi(counts, response(), **options)


def test_frames_must_agree(counts):
    local = replace(counts, axes=measured("spacecraftframe"))
    with pytest.raises(DataError, match="frame 'spacecraftframe'"):
        open_cosi(local, response())
    with pytest.raises(ConfigError, match="--conversion"):
        open_cosi(counts, response("spacecraftframe"))


LINE = np.array([509.0, 513.0])


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """A file of events of a day, its orientation, and a response for the line."""
    path, rng = tmp_path_factory.mktemp("events") / "events.h5", np.random.default_rng(7)
    orbit = low_earth_orbit(0.2, 120)
    drawn = draw_source(Telescope(), orbit, SCENES["511"], 400, rng)
    write_unbinned(path, unbinned(drawn, rng))
    return path


def test_events_are_binned_on_the_way_in(events):
    matrix = response(energy=LINE)
    data = open_cosi(events, matrix)
    axes = (Axis("Time", np.array([-np.inf, np.inf]), "s"), *measured(energy=LINE))
    made = bin_events(read_unbinned(events), axes).histogram
    np.testing.assert_array_equal(data.full_counts, made.dense[0])
    assert any("400 of 400 events binned" in check.message for check in data.checks)


def test_events_one_by_one(events):
    matrix, template = response(energy=LINE), background(1.0, measured(energy=LINE))
    data = open_cosi(events, matrix, background=template, list_mode=True)
    assert data.full_counts.shape == (400,)
    binned = open_cosi(events, matrix, background=template)
    for name in ("sky", "background"):  # the whole that was observed is the same
        np.testing.assert_allclose(data.sensitivity[name], binned.sensitivity[name], rtol=1e-6)
    run = skyfold.run(data, "rl", 5, progress=False)
    assert run.state.expectation.total == pytest.approx(400)
    warned = [check.message for check in data.checks if check.level == "warning"]
    assert any("wider than the rings" in message for message in warned)
    assert "Events have no bins" in verdict(run.manifest)
    with pytest.raises(ConfigError, match="no list mode"):
        open_cosi(events, matrix, list_mode=True, reference=True)


def in_mev(histogram):
    axes = [
        replace(axis, edges=axis.edges / 1000, unit="MeV") if axis.unit == "keV" else axis
        for axis in histogram.axes
    ]
    return replace(histogram, axes=tuple(axes))


def test_events_know_their_units_and_storages(events):
    matrix, one = response(energy=LINE), {"sky": np.ones((12, 1))}
    binned, listed = open_cosi(events, matrix), open_cosi(events, matrix, list_mode=True)
    np.testing.assert_array_equal(open_cosi(events, in_mev(matrix)).full_counts, binned.full_counts)
    for given, storage in ((in_mev(matrix), None), (matrix, "uint16")):
        data = open_cosi(events, given, list_mode=True, storage=storage)
        expected = listed.forward(one).observed
        np.testing.assert_allclose(data.forward(one).observed, expected, rtol=1e-4)


def test_directions_without_frame_are_galactic_as_the_unit_says(events):
    matrix = response(energy=LINE)
    silent = tuple(replace(axis, frame=None) if axis.nside else axis for axis in matrix.axes)
    data = open_cosi(events, replace(matrix, axes=silent))
    np.testing.assert_array_equal(data.full_counts, open_cosi(events, matrix).full_counts)


def test_impossible_events_take_no_exposure_with_them(events):
    matrix = response(energy=LINE)
    matrix.contents[:, :, :, 2:5] = 0
    data = open_cosi(events, matrix, list_mode=True, mask="impossible")
    assert 0 < data.full_counts.sum() < 400
    whole = open_cosi(events, matrix, list_mode=True)
    np.testing.assert_array_equal(data.sensitivity["sky"], whole.sensitivity["sky"])


def test_an_event_list_has_one_normalisation(events):
    with pytest.raises(ConfigError, match="no background_per energy"):
        open_cosi(events, response(energy=LINE), list_mode=True, background_per="energy")


def test_other_frames_are_refused(counts):
    matrix = response()
    turned = tuple(replace(axis, frame="icrs") if axis.nside else axis for axis in matrix.axes)
    with pytest.raises(DataError, match="frame 'icrs'"):
        open_cosi(counts, replace(matrix, axes=turned))
    local = Axis.healpix("NuLambda", 1, "spacecraftframe")
    times, sky = Axis("Time", np.array([0.0, 1.0]), "s"), Axis.healpix("lb", 1, "icrs")
    conversion = Histogram((times, sky, local), np.ones((1, 12, 12)), "s")
    with pytest.raises(DataError, match="frame 'icrs'"):
        open_cosi(counts, response("spacecraftframe"), conversion=conversion)


def test_pixels_that_start_dark_are_told(counts):
    start = np.ones(12)
    start[3:5] = np.nan
    warned = [c for c in open_cosi(counts, response(), start=start).checks if c.level == "warning"]
    assert [check.subject for check in warned] == ["start"]  # and none of a missing background
    assert warned[0].message.startswith("2 of 12 sky pixels start, and stay, at 0")


def test_a_conversion_matrix_needs_no_orientation(counts, tmp_path):
    with pytest.raises(ConfigError, match="--conversion or --orientation"):
        open_cosi(
            counts,
            response("spacecraftframe"),
            conversion=background(),
            orientation=tmp_path / "o.ori",
        )


def test_the_matrix_of_counts_in_time_is_made_from_the_orientation(tmp_path):
    history = low_earth_orbit(0.1, 600)
    write_orientation(tmp_path / "o.ori", history)
    detector = response("spacecraftframe")
    times = Axis("Time", history.time[[0, 5, -1]], "s")
    found = background(1.0, (times, *measured("spacecraftframe")))
    made = conversion_histogram(by_time(history, times.edges), detector.axes[0])
    ours, theirs = (
        open_cosi(found, detector, **options).sensitivity["sky"]
        for options in ({"orientation": tmp_path / "o.ori"}, {"conversion": made})
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    attitudes = (Axis("ScAtt", np.arange(3)), *found.axes[1:])
    with pytest.raises(ConfigError, match="bins of Time"):
        open_cosi(replace(found, axes=attitudes), detector, orientation=tmp_path / "o.ori")


def test_galactic_counts_were_taken_in_their_time(tmp_path):
    history = low_earth_orbit(0.1, 600)
    detector = response("spacecraftframe")

    def sensitivity(held, *times):
        write_orientation(tmp_path / "o.ori", held)
        axes = (*(Axis("Time", np.array(t), "s") for t in times), *measured())
        data = open_cosi(background(1.0, axes), detector, orientation=tmp_path / "o.ori")
        return data.sensitivity["sky"]

    first, last = history.time[[2, 7]]
    part = history.between(first, last)
    np.testing.assert_allclose(sensitivity(history, (first, last)), sensitivity(part), rtol=1e-6)
    wide = sensitivity(history, (history.time[0] - 50, history.time[-1] + 50))
    np.testing.assert_allclose(wide, sensitivity(history), rtol=1e-6)
    with pytest.raises(DataError, match="no orientation from"):
        sensitivity(history, (0.0, 1.0))


def test_responses_made_on_the_way_are_as_precise_as_their_storage(tmp_path):
    history = low_earth_orbit(0.1, 600)
    write_orientation(tmp_path / "o.ori", history)
    detector = response("spacecraftframe")
    made = galactic_response(Detector.from_histogram(detector), by_attitude(history, 1))
    expected = np.concatenate([slab.sum(axis=1) for _, slab in made])
    data = open_cosi(background(), detector, orientation=tmp_path / "o.ori", storage="float64")
    np.testing.assert_allclose(data.sensitivity["sky"].ravel(), expected * np.pi / 3, rtol=1e-12)
