"""Runs from files and from configurations, and what they leave in their folder."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

RUN = "run counts.fits --psf psf.fits --iterations 4 -o out"


@pytest.fixture(autouse=True)
def _observation(files):
    files.observation()


def image(folder):
    return fits.getdata(folder / "result.fits")


def test_run_folder(skyfold, files):
    """Everything that the specification promises is there, and fits together."""
    files.fits("exposure.fits", np.full((32, 32), 1e9), BUNIT="cm2 s")
    files.fits("flat.fits", np.full((32, 32), 3.0))
    flags = "--exposure exposure.fits --background flat=flat.fits --fit-background --seed 5"
    skyfold.accepts(f"{RUN} {flags}", says=("stopped   all 4 iterations done", "fitted    flat:"))
    out = files.folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("result.fits", "trace.ecsv", "report.html", "manifest.json", "log.txt"),
        "checkpoint.npz",
    }
    with fits.open(out / "result.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["BUNIT"] == "ph / (s cm2)"
        counts = WCS(fits.getheader(files.folder / "counts.fits"))
        for name in ("PRIMARY", "COUNTS", "EXPECTATION", "RESIDUAL", "SENSITIVITY", "MASK"):
            assert hdus[name].shape == (32, 32)
            there = WCS(hdus[name].header).pixel_to_world_values([0, 31], [0, 31])
            np.testing.assert_allclose(there, counts.pixel_to_world_values([0, 31], [0, 31]))
        assert hdus["RESIDUAL"].header["BUNIT"] == "sigma"
        assert (hdus["MASK"].data == 1).all()
        np.testing.assert_array_equal(hdus["COUNTS"].data, files.sky())
        total = hdus["EXPECTATION"].data.sum()
        assert total == pytest.approx(files.sky().sum(), rel=1e-3)
        wide = WCS(hdus["EXTENDED"].header).pixel_to_world_values(4, 4)
        np.testing.assert_allclose(wide, counts.pixel_to_world_values(0, 0))
        np.testing.assert_array_equal(hdus["EXTENDED"].data[4:-4, 4:-4], hdus[0].data)
        levels = hdus["TRACE"].data["log_likelihood"]
    trace = Table.read(out / "trace.ecsv")
    assert list(trace["iteration"]) == [0, 1, 2, 3, 4]
    assert list(trace["log_likelihood"]) == list(levels)
    assert np.all(np.diff(levels) > 0)
    assert trace["flat"][-1] != 1
    notes = json.loads((out / "manifest.json").read_text())
    assert notes["status"] == "finished"
    assert notes["results"]["stop_reason"] == "all 4 iterations done"
    assert notes["seed"] == notes["config"]["seed"] == 5
    assert notes["peak_memory"] > 1e6
    assert notes["timings"]["iterating"] > 0
    assert {"python", "numpy", "skyfold"} <= notes["versions"].keys()
    for entry in notes["inputs"]:
        content = (files.folder / entry["path"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
    roles = sorted(entry["role"] for entry in notes["inputs"])
    assert roles == ["background", "counts", "exposure", "psf"]
    log = (out / "log.txt").read_text()
    assert "iteration 4: log L" in log
    assert "PSF sums to 1" in log


def test_report_needs_nothing_else(skyfold, files):
    skyfold.accepts(RUN)
    page = (files.folder / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "all 4 iterations done" in page
    (files.folder / "out" / "report.html").unlink()
    skyfold.accepts("report out", says=("report.html",))
    assert (files.folder / "out" / "report.html").stat().st_size > 0.9 * len(page)


def test_configuration_in_another_folder(skyfold, files):
    """File names start at the configuration, wherever one stands; results where one stands."""
    skyfold.accepts(RUN)
    place = files.folder / "elsewhere" / "deep"
    place.mkdir(parents=True)
    (place / "data").mkdir()
    for name in ("counts", "psf"):
        shutil.move(files.folder / f"{name}.fits", place / "data" / f"{name}.fits")
    text = "data: {counts: data/counts.fits, psf: data/psf.fits}\niterations: 4\noutput: mine\n"
    (place / "run.yaml").write_text(text)
    skyfold.accepts("run elsewhere/deep/run.yaml", says=("mine",))
    made = [path.parent for path in files.folder.rglob("result.fits")]
    assert files.folder / "mine" in made
    np.testing.assert_array_equal(image(files.folder / "mine"), image(files.folder / "out"))
    shutil.rmtree(files.folder / "mine")
    skyfold.accepts("run", place / "run.yaml", "--set", "iterations=2", "-o", "two")
    notes = json.loads((files.folder / "two" / "manifest.json").read_text())
    assert notes["config"]["iterations"] == 2


@pytest.mark.slow
def test_settings_from_everywhere_are_the_same(skyfold, files):
    files.text(
        "run.yaml",
        "data: {counts: counts.fits, psf: psf.fits, boundary: same}\n"
        'method:\n  name: rl\n  smoothing: {fwhm: "1.5 pix"}\n  acceleration: {maximum: 4}\n'
        "iterations: 4\n",
    )
    files.text("bare.yaml", "data: {counts: counts.fits, psf: psf.fits}\niterations: 9\n")
    flags = "--boundary same --smoothing.fwhm '1.5 pix' --acceleration.maximum 4"
    sets = (
        "--set data.boundary=same --set method.smoothing.fwhm='1.5 pix' "
        "--set method.acceleration.maximum=4 --set iterations=4"
    )
    skyfold.accepts("run run.yaml -o yaml")
    skyfold.accepts(f"{RUN.replace('-o out', '-o flags')} {flags}")
    skyfold.accepts(f"run bare.yaml -o sets {sets}")
    expected = image(files.folder / "yaml")
    for name in ("flags", "sets"):
        np.testing.assert_array_equal(image(files.folder / name), expected, err_msg=name)
    traces = [Table.read(files.folder / n / "trace.ecsv") for n in ("yaml", "flags", "sets")]
    assert all("acceleration" in trace.colnames for trace in traces)


def test_dry_run_writes_nothing(skyfold, files):
    before = sorted(path.name for path in files.folder.iterdir())
    skyfold.accepts(f"{RUN} --dry-run", says=("everything fits", "4 iterations", "9536 counts"))
    assert sorted(path.name for path in files.folder.iterdir()) == before


def test_strict(skyfold, files):
    files.psf(files.kernel(15, at=(5, 6)))
    skyfold.refuses(3, f"{RUN} --strict", says=("warning", "--strict", "centroid"))
    skyfold.refuses(3, "check counts.fits --psf psf.fits --strict", says=("--strict",))


def test_check_in_json(skyfold):
    found = json.loads(skyfold.accepts("check counts.fits --psf psf.fits --json").out)
    assert {"level", "subject", "message", "dataset"} <= found[0].keys()
    assert {"counts", "psf"} <= {entry["subject"] for entry in found}


def test_folder_with_a_telling_name(skyfold, files):
    skyfold.accepts(RUN.removesuffix("-o out"), says=("counts-20",))
    assert [path.name for path in files.folder.glob("counts-20*/result.fits")]


def test_quiet(skyfold):
    """Nothing is printed but problems."""
    early = skyfold.accepts(f"{RUN} -q")
    assert not early.out
    assert all(line.startswith("NOTE") for line in early.err.splitlines())
    assert "the run was too short" in early.err
    late = skyfold.accepts(f"{RUN.replace('4', 'auto')} --overwrite -q")
    assert not late.said


def test_terminal_without_greek_letters(skyfold):
    skyfold.env["PYTHONIOENCODING"] = "ascii"
    skyfold.accepts(RUN, says=("stopped", "3??", "written"))


def test_stopping_rules(skyfold):
    line = RUN.replace("4", "500")
    says = ("stopped   the log-likelihood rose by",)
    skyfold.accepts(f"{line} --stop delta_log_likelihood=5", says=says)
    line = line.replace("500", "100000000")
    says = ("stopped   1.0 s have passed",)
    skyfold.accepts(f"{line} --overwrite --stop wall_time='1 s'", says=says)


def test_two_observations_are_one_run(skyfold, files):
    files.counts(files.sky() * 2, "second.fits")
    skyfold.accepts(
        "run counts.fits second.fits --psf psf.fits --iterations 4 -o out",
        says=("counts: 32 x 32 bins", "second: 32 x 32 bins"),
    )
    with fits.open(files.folder / "out" / "result.fits") as hdus:
        assert len([hdu for hdu in hdus if hdu.name == "RESIDUAL"]) == 2
        total = sum(hdu.data.sum() for hdu in hdus if hdu.name == "EXPECTATION")
    assert total == pytest.approx(3 * files.sky().sum(), rel=1e-3)
    files.counts(files.sky((16, 16)), "third.fits", wcs=None)
    line = "run counts.fits third.fits --psf psf.fits --iterations 4 -o out3"
    skyfold.refuses(3, line, says=("third", "another 'sky'", "(40, 40) against (24, 24)"))


def test_resume_extends_a_finished_run(skyfold, files):
    skyfold.accepts(RUN)
    skyfold.accepts("resume out --iterations 7", says=("all 7 iterations done",))
    skyfold.accepts(RUN.replace("4", "7").replace("-o out", "-o seven"))
    np.testing.assert_array_equal(image(files.folder / "out"), image(files.folder / "seven"))
    trace = Table.read(files.folder / "out" / "trace.ecsv")
    assert list(trace["iteration"]) == list(range(8))
    says = ("has done 7 iterations already", "more than that")
    skyfold.refuses(2, "resume out --iterations 6", says=says)


def test_configuration_commands(skyfold, files):
    """What `config init` writes can be run, and the schema agrees with it."""
    skyfold.accepts("config init run.yaml", says=("run.yaml",))
    path = files.folder / "run.yaml"
    schema = json.loads(skyfold.accepts("config schema").out)
    assert {"data", "method", "iterations", "stop", "seed", "output"} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    skyfold.refuses(2, "run run.yaml -o out", says=("psf",))
    path.write_text(re.sub(r"(?m)^  # psf: .*$", "  psf: psf.fits", path.read_text()))
    skyfold.accepts("run run.yaml -o out --iterations 2")
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    written = yaml.safe_load(path.read_text())
    jsonschema.validate(written, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written, "iteration": 3}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written, "method": {"name": "rl", "smothing": {}}}, schema)


@pytest.mark.parametrize("key", ["", "iterations", "method.smoothing", "data.psf", "stop"])
def test_keys_are_explained(skyfold, key):
    said = skyfold.accepts(f"config explain {key}").out
    assert key in said
    assert len(said.splitlines()) >= 2
