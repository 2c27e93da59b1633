import json
import signal
import threading

import numpy as np
import pytest
from astropy.io import fits

import skyfold
from skyfold.errors import ConfigError, FileError, Interrupted
from skyfold.observers import Observer, Progress
from skyfold.runner import solve
from skyfold.stopping import DeltaLogLikelihood


@pytest.fixture
def data(rng):
    matrix = rng.random((60, 20))
    counts = rng.poisson(matrix @ rng.gamma(1, 9, 20) + 3).reshape(6, 10)
    response = skyfold.Matrix(matrix, (4, 5), (6, 10))
    return skyfold.BinnedData(counts, {"sky": response, "background": np.full((6, 10), 3.0)})


class Seen(Observer):
    def __init__(self):
        self.iterations, self.end = [], None

    def on_start(self, state):
        self.iterations.append(state.iteration)

    def on_iteration(self, state, trace):
        assert trace[-1]["iteration"] == state.iteration
        self.iterations.append(state.iteration)

    def on_finish(self, state, trace, reason):
        self.end = reason


def test_run_is_iterate(data):
    seen = Seen()
    result = skyfold.run(data, iterations=7, observers=[seen], progress=False)
    assert seen.iterations == list(range(8))
    assert seen.end == result.reason == "all 7 iterations done"
    for state in skyfold.iterate(data):
        if state.iteration == 7:
            break
    assert np.array_equal(state.model["sky"], result.model["sky"])
    assert result.image.shape == (4, 5)
    assert result.image.unit == ""


def test_a_rule_of_the_users_own_stops(data):
    result = skyfold.run(data, stop=DeltaLogLikelihood(1.0), progress=False)
    assert "rose by" in result.reason
    rises = np.diff([row["log_likelihood"] for row in result.trace])
    assert rises[-1] < 1.0 <= rises[:-1].min()


def test_options_reach_the_method(data):
    plain = skyfold.run(data, iterations=5, progress=False)
    fast = skyfold.run(data, iterations=5, acceleration={"maximum": 5}, progress=False)
    damped = skyfold.run(data, iterations=5, damping=3, progress=False)
    assert fast.state.log_likelihood > plain.state.log_likelihood
    assert "acceleration" in fast.trace[-1]
    assert not np.array_equal(damped.model["sky"], plain.model["sky"])


def test_a_refinement_may_be_switched(data):
    def level(**options):
        return skyfold.run(data, iterations=5, progress=False, **options).state.log_likelihood

    assert level(acceleration=True) == level(acceleration={})
    assert level(acceleration=False) == level()
    assert level(acceleration=3) == level(acceleration={"maximum": 3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"smothing": {"fwhm": "2 pix"}},
            "unknown key 'smothing' in method. Did you mean 'smoothing'",
        ),
        ({"smoothing": {"fwhm": 2}}, r'method.smoothing.fwhm: expected .* got 2 \(write "2 deg"'),
        ({"damping": -1}, "method.damping"),
        ({"method": "rll"}, "no method named 'rll'. Did you mean 'rl'"),
        ({"iterations": -5}, "iterations: expected a whole number of at least 0"),
        ({"iterations": 2.5}, "iterations"),
        ({"acceleration": {"maximum": 0.5}}, "at least 1"),
    ],
)
def test_wrong_requests_are_refused(data, options, words):
    with pytest.raises(ConfigError, match=words):
        skyfold.run(data, progress=False, **options)


def test_the_run_folder_holds_everything(data, tmp_path):
    from astropy.io import fits
    from astropy.table import Table

    result = skyfold.run(data, iterations=9, output=tmp_path / "out", progress=False)
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "result.fits",
        "trace.ecsv",
        "report.html",
        "manifest.json",
        "log.txt",
        "checkpoint.npz",
    }
    with fits.open(folder / "result.fits") as hdus:
        hdus.verify("exception")
        names = [hdu.name for hdu in hdus]
        assert names == [
            "PRIMARY",
            "COUNTS",
            "EXPECTATION",
            "RESIDUAL",
            "SENSITIVITY",
            "MASK",
            "TRACE",
            "COMPONENTS",
        ]
        np.testing.assert_array_equal(hdus[0].data, result.model["sky"])
        assert hdus["EXPECTATION"].data.sum() == pytest.approx(data.full_counts.sum())
    trace = Table.read(folder / "trace.ecsv")
    assert len(trace) == 10
    assert {"iteration", "log_likelihood", "products", "seconds", "background"} <= set(
        trace.colnames
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["results"]["iterations"] == 9
    assert manifest["results"]["ratio"] == pytest.approx(1)
    assert manifest["settings"]["stop"] == {"iterations": 9}
    assert manifest["settings"]["method"] == {"name": "rl", "damping": None}
    assert "damping: null" in (folder / "report.html").read_text()
    assert "stopped after iteration 9" in (folder / "log.txt").read_text()


def test_an_existing_run_is_not_overwritten(data, tmp_path):
    skyfold.run(data, iterations=1, output=tmp_path, progress=False)
    with pytest.raises(FileError, match=r"exists and holds result\.fits.*--overwrite"):
        skyfold.run(data, iterations=1, output=tmp_path, progress=False)
    skyfold.run(data, iterations=2, output=tmp_path, overwrite=True, progress=False)
    assert json.loads((tmp_path / "manifest.json").read_text())["results"]["iterations"] == 2


def test_a_signal_ends_the_iteration_and_the_run_is_kept(data, tmp_path, caplog):
    class Signal(Observer):
        def on_iteration(self, state, trace):
            if state.iteration == 3:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"SIGTERM after iteration 3; go on with: skyfold resume"):
        skyfold.run(data, iterations=9, output=tmp_path, observers=[Signal()], progress=False)
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "result.fits").exists()
    assert skyfold.open(tmp_path, data=data).state.iteration == 3
    assert "has not ended: this is what it held after iteration 3" in caplog.text


def test_a_run_from_arrays_cannot_be_resumed_by_itself(data, tmp_path):
    skyfold.run(data, iterations=3, output=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="started from arrays"):
        skyfold.resume(tmp_path)
    result = skyfold.resume(tmp_path, iterations=8, data=data, progress=False)
    through = skyfold.run(data, iterations=8, progress=False)
    assert np.array_equal(result.model["sky"], through.model["sky"])


def test_threads_may_run_at_once(data):
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(skyfold.run(data, iterations=20, progress=False))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.state.log_likelihood for result in results}) == 1


def test_solve_goes_on_where_a_trace_ends(data):
    from skyfold.config import RunConfig
    from skyfold.runner import prepare

    problem = prepare(RunConfig.of(data=[], iterations=8), data)
    half = prepare(RunConfig.of(data=[], iterations=4), data)
    state, trace, *_ = solve(half)
    state, trace, _, interrupted = solve(problem, (), state, trace)
    through, rows, *_ = solve(problem)
    assert not interrupted
    assert [row["log_likelihood"] for row in trace] == [row["log_likelihood"] for row in rows]
    assert np.array_equal(state.model["sky"], through.model["sky"])
    assert np.diff([row["seconds"] for row in trace]).min() >= 0


def test_python_overrules_a_configuration_file(data, tmp_path):
    np.save(tmp_path / "counts.npy", data.full_counts)
    (tmp_path / "run.yaml").write_text(
        "data: {counts: counts.npy, psf: 'gauss:2 pix'}\nmethod: rl\niterations: 9\n"
    )
    plain = skyfold.run(tmp_path / "run.yaml", progress=False)
    other = skyfold.run(
        tmp_path / "run.yaml", iterations=3, smoothing={"fwhm": "3 pix"}, progress=False
    )
    assert (plain.state.iteration, other.state.iteration) == (9, 3)
    assert other.manifest["config"]["method"] == {"name": "rl", "smoothing": {"fwhm": "3 pix"}}


def test_counts_need_not_be_opened_first(data):
    result = skyfold.run(data.full_counts, psf="gauss:2 pix", iterations=2, progress=False)
    assert result.image.shape == (6, 10)
    with pytest.raises(ConfigError, match="Did you mean 'smoothing'"):
        skyfold.run(data.full_counts, psf="gauss:2 pix", smothing=True)


def test_an_interrupted_run_in_memory_says_so(data):
    class Signal(Observer):
        def on_iteration(self, state, trace):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="SIGINT after iteration 1") as caught:
        skyfold.run(data, iterations=9, observers=[Signal()], progress=False)
    assert caught.value.result.state.iteration == 1


def test_lines_of_a_batch_log_tell_how_much_is_left(capfd, monkeypatch):
    """The method itself says here how far it goes."""
    monkeypatch.setattr("skyfold.observers.Progress.on_start", _at_once(Progress.on_start))
    counts = np.random.default_rng(0).poisson(4.0, (6, 6)).astype(float)
    skyfold.run(counts, "lira", psf="gauss:1.5 pix", chains=1, draws=30, burn=10)
    assert " of 40, " in capfd.readouterr().err


def _at_once(start):
    def on_start(self, state):
        start(self, state)
        self.interval = 0

    return on_start


def test_a_run_that_has_ended_is_told(data, tmp_path, caplog):
    skyfold.run(data, iterations=2, output=tmp_path, progress=False)
    skyfold.resume(tmp_path, iterations=3, data=data, progress=False)
    assert "has ended" not in caplog.text
    again = skyfold.resume(tmp_path, data=data, progress=False)
    assert "this run has ended" in caplog.text
    assert again.state.iteration == 3


def test_resume_does_not_go_back(data, tmp_path):
    skyfold.run(data, iterations=5, output=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="has done 5 iterations already"):
        skyfold.resume(tmp_path, iterations=4, data=data)


def test_things_are_called_by_their_contents(data):
    assert repr(data) == "<BinnedData: data (6, 10); components background, sky>"
    assert "after iteration 2" in repr(skyfold.run(data, iterations=2, progress=False))


def test_files_of_a_configuration_are_found_again_from_anywhere(tmp_path, rng, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    np.save(here / "counts.npy", rng.poisson(5.0, (12, 12)))
    upper = np.arange(144).reshape(12, 12) >= 72
    for folder, mask in ((here, upper), (there, ~upper)):
        fits.writeto(folder / "mask.fits", mask.astype(float))
    data = "{counts: counts.npy, psf: gauss:1.5 pix, background: 1}"
    text = f"data: {data}\nmethod: {{sky_mask: mask.fits}}\n"
    (here / "run.yaml").write_text(text)
    monkeypatch.chdir(there)
    run = skyfold.run(here / "run.yaml", iterations=2, output="out", progress=False)
    assert np.all(run.image.value[:6] == 0)
    resumed = skyfold.resume("out", 4, progress=False)
    assert np.all(resumed.image.value[:6] == 0)
    assert np.all(resumed.image.value[6:] > 0)


def test_the_new_number_of_iterations_counts(data, tmp_path):
    config = "data: {demo: galaxy}\nstop: {iterations: 2}\n"
    (tmp_path / "run.yaml").write_text(config)
    skyfold.run(tmp_path / "run.yaml", output=tmp_path / "out", progress=False)
    assert skyfold.resume(tmp_path / "out", 3, progress=False).state.iteration == 3
